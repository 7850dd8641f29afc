#!/bin/sh
# arm64.sh - the test programs in which the processor matters, built for arm64 and run under qemu-user.
set -e
tests="t_kernels t_order t_attention t_quant t_forward t_families t_golden t_tokenizer t_llama2c t_gguf t_sampler"
make -s -j2 BUILD=build/arm64 RUN=build/arm64/run CC=aarch64-linux-gnu-gcc LDFLAGS=-static NO_OPENMP=1 \
    $(for t in $tests; do echo build/arm64/$t; done)
failed=0
for t in $tests; do t=build/arm64/$t
    qemu-aarch64 "$t" > "$t.log" || failed=1
    grep '^not ok' "$t.log" && failed=1
    tail -n 1 "$t.log" | sed "s,^,$t: ,"
done
exit $failed
