#!/bin/sh
# numbers.sh RUN MODEL.gguf TEXT [TYPE ...] - what each type costs, as rows of a table for docs/NUMBERS.md: sizes of the
# file that run quantize makes of MODEL, how far it is from MODEL on TEXT (run drift), and its speed (run bench).
run=$1 model=$2 text=$3
[ -n "$text" ] || { echo "usage: numbers.sh RUN MODEL.gguf TEXT [TYPE ...]" >&2; exit 1; }
shift 3
[ $# -gt 0 ] || set -- BF16 Q8_0 Q6_K Q5_K_M Q5_1 Q5_0 Q4_K_M Q4_K_S IQ4_NL IQ4_XS Q4_1 Q4_0 MXFP4 Q3_K_M Q2_K
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
field() { sed -n "s/.*\"$1\": *\([^,}]*\).*/\1/p" "$dir/drift"; }
echo '| type | bits a weight | size | mean KL | same top token | perplexity | decode, tok/s |'
echo '|---|---:|---:|---:|---:|---:|---:|'
for type in "$@"; do
    "$run" quantize "$model" "$dir/small.gguf" "$type" -q 2> "$dir/sizes" || { cat "$dir/sizes" >&2; exit 1; }
    sizes=$(sed -n 's/.*-> \(.* [kM]B\), \(.*\) bits a weight$/\2 | \1/p' "$dir/sizes")
    "$run" drift "$model" "$dir/small.gguf" -f "$text" --json > "$dir/drift" 2> "$dir/err" || { cat "$dir/err" >&2; exit 1; }
    speed=$("$run" bench "$dir/small.gguf" --n-prompt 0 --n-gen 32 --repetitions 3 --json 2> /dev/null |
        sed -n 's/.*"test": *"tg32".*"mean": *\([0-9.]*\).*/\1/p')
    printf '| %s | %s | %.5f | %.1f %% | %.3f | %.0f |\n' "$type" "$sizes" "$(field mean_kl)" \
        "$(awk "BEGIN { print 100 * $(field top1_agreement) }")" "$(field ppl_b)" "${speed:-0}"
done
