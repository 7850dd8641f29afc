#!/bin/sh
# elsewhere.sh NAME RUNNER CC=... - the test programs in which the processor and the C library matter, built for another
# machine and run there: by RUNNER, or as they are if that is empty.
set -e
name=$1 runner=$2; shift 2
tests="t_kernels t_order t_quant t_forward t_families t_golden t_tokenizer t_pretokenize t_vocabularies t_llama2c t_gguf t_gguf_vocab t_sampler t_os"
make -s -j2 BUILD="build/$name" RUN="build/$name/run" LDFLAGS=-static "$@" $(for t in $tests; do echo "build/$name/$t"; done)
failed=0
for t in $tests; do t=build/$name/$t
    $runner "$t" > "$t.log" || failed=1
    grep '^not ok' "$t.log" && failed=1
    tail -n 1 "$t.log" | sed "s,^,$t: ,"
done
exit $failed
