# lab_reasoning.sh - from random numbers to reasoning: a model of a million parameters learns to add.
#
#   sh scripts/lab_reasoning.sh              minutes; LAB=short: less of it, for CI
#
#   RUN   the program (./run)      OUT   the folder of the lab (build/lab_reasoning; begun anew)
#
# pretrain: a book of sums that are worked out digit by digit. sft: few answers, most of them given at once. grpo: nothing
# but whether the answer is right. Held out are a tenth of all pairs of numbers. docs/TUNING.md tells what happens.
set -eu
run=${RUN:-./run} out=${OUT:-build/lab_reasoning}
steps=100 need=95
[ "${LAB:-}" != short ] || { steps=45 need=85; }
rm -rf "$out"
mkdir -p "$out"

# Sums as what: book (pages), sft (answers, hasty of 100 without their working), grpo (prompts and answers), test.
sums() { # what n seed
    awk -v what="$1" -v n="$2" -v seed="$3" -v hasty=60 '
    function random(k) { seed = seed * 16807 % 2147483647; return int(seed / 2147483647 * k) } # the same in every awk
    function number() { return random(4) ? 100 + random(900) : 10 + random(90) }
    function worked(a, b, line,   s, i, x, y, carry) {
        for (i = 0; i < 3; i++) {
            x = a % 10; y = b % 10; a = int(a / 10); b = int(b / 10)
            s = s sprintf("%d+%d+%d=%02d", x, y, carry, x + y + carry) line
            carry = x + y + carry > 9
        }
        return s
    }
    BEGIN {
        for (i = 0; i < n; i++) {
            do { a = number(); b = number() } while (((a * 31 + b * 17) % 10 == 0) != (what == "test"))
            sum = sprintf("%03d+%03d:", a, b)
            if (what == "book") printf "%s\n%s#### %04d.\n<|endoftext|>\n", sum, worked(a, b, "\n"), a + b
            if (what == "sft") printf "{\"prompt\": \"%s\\n\", \"completion\": \"%s#### %04d\"}\n", sum,
                                      random(100) < hasty ? "" : worked(a, b, "\\n"), a + b
            if (what == "grpo") printf "{\"prompt\": \"%s\\n\", \"answer\": \"%d\"}\n", sum, a + b
            if (what == "test") printf "{\"prompt\": \"%s\\n\", \"id\": \"%d=%04d\"}\n", sum, i, a + b
        }
    }'
}

# Percent of the held-out sums that are right when the likeliest token is taken each time.
right() { # name flags...
    name=$1
    shift
    "$run" batch "$@" -f "$out/test.jsonl" -o "$out/$name.jsonl" -t 0 --n-predict 40 --quiet
    awk -F'"' '{ split($4, id, "="); for (i = 1; i < NF && $i != "text"; i++) continue
                 answer = $(i + 2); n += sub(/.*#### /, "", answer) && answer == id[2] }
               END { printf "%.1f\n", 100 * n / NR }' "$out/$name.jsonl"
}

sums book 12000 11000033 > "$out/book.txt"
sums sft 400 12000037 > "$out/sft.jsonl"
sums grpo 4000 13000041 > "$out/prompts.jsonl"
sums test 400 14000045 > "$out/test.jsonl"

"$run" vocab "$out/book.txt" -o "$out/vocab.gguf" --vocab-size 275 # each character a token
"$run" pretrain "$out/book.txt" --output_dir "$out/base" --tokenizer "$out/vocab.gguf" --dim 128 --layers 5 --heads 4 --ffn 352 \
    --context 48 --per_device_train_batch_size 8 --learning_rate 1.2e-3 --max_steps 1000 --logging_steps 50
"$run" sft "$out/base/model.gguf" "$out/sft.jsonl" --output_dir "$out/sft" --full --learning_rate 1e-4
before=$(right before "$out/sft/model.gguf")
echo "lab_reasoning: after sft $before % of the sums are right" >&2
"$run" grpo "$out/sft/model.gguf" "$out/prompts.jsonl" --reward exact --output_dir "$out/grpo" --learning_rate 6e-4 \
    --warmup_steps 4 --adam_beta2 0.99 --per_device_train_batch_size 128 --max_completion_length 37 --max_steps $steps \
    --logging_steps 5 --log_completions --num_completions_to_print 2
after=$(right after "$out/sft/model.gguf" --lora "$out/grpo")
awk -v before="$before" -v after="$after" -v need=$need 'BEGIN {
    printf "lab_reasoning: right %s %% after sft (need less than 60), %s %% after grpo (need %d)\n", before, after, need
    exit !(before < 60 && after >= need) }'
