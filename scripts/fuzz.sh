#!/bin/sh
# fuzz.sh BUILD SECONDS FLAGS... - every fuzz target for so long, from the fixtures on, as many at a time as there are
# processors; what was learned stays in BUILD/corpus, what breaks a reader in BUILD/found.
BUILD=$1; seconds=$2; shift 2
mkdir -p "$BUILD/seeds" "$BUILD/found" && "$BUILD/fixture" "$BUILD/seeds" || exit 1
rm -f "$BUILD/failed"
one() {
    mkdir -p "$BUILD/corpus/$1"
    ASAN_OPTIONS=allocator_may_return_null=1 "$BUILD/fuzz_$1" -max_total_time="$seconds" -max_len=16384 -timeout=10 \
        -malloc_limit_mb=0 -rss_limit_mb=4096 -artifact_prefix="$BUILD/found/$1-" "$BUILD/corpus/$1" "$BUILD/seeds" \
        > "$BUILD/$1.log" 2>&1 || { tail -20 "$BUILD/$1.log"; touch "$BUILD/failed"; }
    echo "== $1, $seconds s: $(grep -E 'DONE|ERROR' "$BUILD/$1.log")"
}
n=0
for t in tests/fuzz_*.c; do
    t=${t#tests/fuzz_}; t=${t%.c}
    [ "$t" = main ] && continue
    clang -std=c11 "$@" -fsanitize=fuzzer -I. "tests/fuzz_$t.c" "$BUILD/libpith.a" -lm -o "$BUILD/fuzz_$t" || exit 1
    one "$t" &
    n=$((n + 1))
    [ $((n % $(getconf _NPROCESSORS_ONLN))) -eq 0 ] && wait
done
wait
[ ! -f "$BUILD/failed" ]
