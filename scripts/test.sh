#!/bin/sh
# test.sh PROGRAM ... - run the TAP programs, the fuzz targets' files, the command-line tests and the checks of the code
# itself (CODE=0: without these), as many at a time as there are processors, and count. Every line "ok" or "not ok" is one
# test; a program that dies is one that failed. What a program prints is kept whole, in BUILD/tap, and shown if it failed.
BUILD=${BUILD:-build}; RUN=${RUN:-./run}
tap=$BUILD/tap

replay() { # the fuzz target on files it knows, and on changed copies of them
    case $1 in
    llama2c) seeds="tiny.bin tiny.v1.bin tiny.v2.bin spm.gguf bpe.gguf" ;;
    gguf) seeds="spm.gguf bpe.gguf words.gguf" ;;
    hftokenizer) seeds="tiny.json words.json unigram.json" ;;
    sentence) seeds=sentence.txt ;;
    tokenizer) seeds=tok.bin ;;
    safetensors) seeds=tiny.safetensors ;;
    session) seeds=tiny.text ;;
    adapter) seeds="lora.gguf lora.json lora.safetensors" ;;
    jinja) seeds=chat.jinja ;;
    messages) seeds=chat.json ;;
    rows) seeds=rows.jsonl ;;
    *) seeds=tiny.json ;;
    esac
    (cd "$BUILD/seeds" && ASAN_OPTIONS=allocator_may_return_null=1:$ASAN_OPTIONS ../fuzz_$1 $seeds)
}

one() {
    case $1 in
    t_*) "$BUILD/$1" ;;
    fuzz_*) replay "${1#fuzz_}" ;;
    cli) sh tests/cli.sh "$RUN" "$BUILD/fixture" ;;
    *) sh scripts/checks.sh "$1" ;;
    esac
}

if [ "$1" = --one ]; then
    { one "$2" || printf '\nnot ok - %s ended with status %s\n' "$2" $?; } > "$tap/$2.part" 2>&1
    exec mv "$tap/$2.part" "$tap/$2"
fi

rm -rf "$tap" && mkdir -p "$tap" "$BUILD/seeds" && "$BUILD/fixture" "$BUILD/seeds" || exit 1
all=
for t in "$@"; do all="$all ${t##*/}"; done
for t in tests/fuzz_*.c; do
    t=${t#tests/}; [ "$t" = fuzz_main.c ] || all="$all ${t%.c}"
done
all="$all cli bundle"
[ "${CODE:-1}" = 0 ] || all="$all source dist make"

# The long ones begin first. OpenMP's threads sleep while they wait: if they spin, as they do by default, they take the
# processors from the programs beside them, and t_generate_many costs 27 s of processor time instead of 0.7.
export BUILD RUN OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"
printf '%s\n' $all | awk -v long="cli make dist t_pretrain t_grpo t_ppo_run t_lora t_forget t_adapt t_dpo t_batch t_order" '
    { name[NR] = $0; left[$0] }
    END { n = split(long, first, " ")
          for (i = 1; i <= n; i++) if (first[i] in left) { print first[i]; delete left[first[i]] }
          for (i = 1; i <= NR; i++) if (name[i] in left) print name[i] }' |
    xargs -n 1 -P "$(getconf _NPROCESSORS_ONLN)" sh "$0" --one

export LC_ALL=C # programs may print any bytes
files=
for t in $all; do
    files="$files $tap/$t"
    [ -f "$tap/$t" ] || echo "not ok - $t was not run to its end" > "$tap/$t"
    ! grep -q '^not ok' "$tap/$t" || { echo "== $t"; sed '/^ok/d' "$tap/$t"; }
done
cat $files > "$BUILD/test.log"
awk '/^ok.*# SKIP/ { skipped++; next } /^ok/ { passed++ } /^not ok/ { print FILENAME ": " $0; failed++ }
     END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped; exit failed > 0 }' $files
