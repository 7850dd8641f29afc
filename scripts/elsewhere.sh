#!/bin/sh
# elsewhere.sh NAME RUNNER CC=... - the test programs in which the processor and the C library matter, built for another
# machine and run there, as many at a time as there are processors, each path once (BRIEF, tests/test.h): by RUNNER, or as they
# are if that is empty. MORE names some more programs, TESTS all of them.
set -e
name=$1 runner=$2; shift 2
tests="${TESTS:-t_kernels t_order t_quant t_forward t_families t_golden t_tokenizer t_pretokenize t_vocabularies t_llama2c t_gguf t_gguf_vocab t_sampler t_os} $MORE"
programs=$(for t in $tests; do echo "build/$name/$t"; done)
make -s -j2 BRIEF=1 BUILD="build/$name" RUN="build/$name/run" LDFLAGS=-static "$@" $programs
export runner
echo "$programs" | xargs -n 1 -P "$(getconf _NPROCESSORS_ONLN)" sh -c \
    '$runner "$0" > "$0.log" || printf "\nnot ok - ended with status %s\n" $? >> "$0.log"'
failed=0
for t in $programs; do
    ! grep '^not ok' "$t.log" || failed=1
    tail -n 1 "$t.log" | sed "s,^,$t: ,"
done
exit $failed
