#!/bin/sh
# fuzz.sh BUILD SECONDS FLAGS... - every fuzz target for so long, from the fixtures on; what was learned stays in
# BUILD/corpus, what breaks a reader in BUILD/found.
BUILD=$1; seconds=$2; shift 2
mkdir -p "$BUILD/seeds" "$BUILD/found" && "$BUILD/fixture" "$BUILD/seeds" || exit 1
failed=0
for t in tests/fuzz_*.c; do
    t=${t#tests/fuzz_}; t=${t%.c}
    [ "$t" = main ] && continue
    clang -std=c11 "$@" -fsanitize=fuzzer -I. "tests/fuzz_$t.c" "$BUILD/libpith.a" -lm -o "$BUILD/fuzz_$t" || exit 1
    mkdir -p "$BUILD/corpus/$t"
    echo "== $t, $seconds s"
    ASAN_OPTIONS=allocator_may_return_null=1 "$BUILD/fuzz_$t" -max_total_time="$seconds" -max_len=16384 -timeout=10 \
        -malloc_limit_mb=0 -rss_limit_mb=4096 -artifact_prefix="$BUILD/found/$t-" "$BUILD/corpus/$t" "$BUILD/seeds" \
        > "$BUILD/$t.log" 2>&1 || { tail -20 "$BUILD/$t.log"; failed=1; }
    grep -E 'DONE|ERROR' "$BUILD/$t.log"
done
exit $failed
