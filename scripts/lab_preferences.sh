# lab_preferences.sh - the story model learns from preferences (DPO) to end its stories happily.
#
#   sh scripts/lab_preferences.sh            minutes; LAB=short: less of it, for CI
#
#   RUN   the program (./run)      OUT   the folder of the lab (build/lab_preferences; begun anew)
#
# lab_stories.sh says what is preferred and measured, docs/TUNING.md what happens.
set -eu
out=${OUT:-build/lab_preferences}
. "$(dirname "$0")/lab_stories.sh"
stories=2000 need=75
[ "${LAB:-}" != short ] || { stories=800 need=60; }

before=$(happily before)
echo "lab_preferences: $before % of the stories end happily" >&2
make_pairs "$stories"
"$run" dpo "$model" "$out/pairs.jsonl" --output_dir "$out/dpo" --learning_rate 1e-3 --num_train_epochs 2
after=$(happily after --lora "$out/dpo")

# Of the last line of the log that has them: how far from the base on a general text, and how much worse there.
awk -v before="$before" -v after="$after" -v need=$need '
    function field(name,   s) { s = $0; if (!sub(".*\"" name "\": ", "", s)) return ""; sub(/[,}].*/, "", s); return s }
    field("kl") != "" { kl = field("kl"); loss = field("forget_loss"); if (first == "") first = loss }
    END {
        printf "lab_preferences: end happily %s %% before, %s %% after (need %d); KL %.3f, general loss %.3f to %.3f (need at most 10 %% more)\n",
               before, after, need, kl, first, loss
        exit !(after >= need && loss <= 1.1 * first && kl != "")
    }' "$out/dpo/train.log.jsonl"
