#!/bin/sh
# arm64.sh - the test programs built for arm64 and run under qemu-user (those of the command line are left out).
set -e
make -s -j2 BUILD=build/arm64 RUN=build/arm64/run CC=aarch64-linux-gnu-gcc LDFLAGS=-static NO_OPENMP=1 \
    $(ls tests/t_*.c | sed 's,tests/\(.*\)\.c,build/arm64/\1,')
failed=0
for t in build/arm64/t_*; do
    case $t in *.*) continue;; esac
    qemu-aarch64 "$t" > "$t.log" || failed=1
    grep '^not ok' "$t.log" && failed=1
    tail -n 1 "$t.log" | sed "s,^,$t: ,"
done
exit $failed
