# story.sh - make story-model: learn a vocabulary and a model from TEXT, and put the model where the next
# make builds it in. The same command goes on where it was stopped. docs/TRAINING.md tells more.
#
#   TEXT         documents separated by <|endoftext|>, or a .jsonl     STORY        the folder of the run
#   STORY_STEPS  how many steps, if not as the text's size says        STORY_MODEL  where the model goes
#   STORY_FLAGS  more flags for pretrain                               RUN          the program
say() { echo "story-model: $*" >&2; }

[ -n "$TEXT" ] || { say 'give it a text: make story-model TEXT=stories.txt'; exit 1; }
[ -f "$TEXT" ] || { say "$TEXT: is no file"; exit 1; }
out=$STORY/out
mkdir -p "$out" || exit 4

# A run goes on with the text it began with. Whose text has changed decides what becomes of it.
sum=$(cksum < "$TEXT") || exit 4
[ -f "$STORY/text.cksum" ] || echo "$sum" > "$STORY/text.cksum"
[ "$sum" = "$(cat "$STORY/text.cksum")" ] || {
    say "the run in $STORY learned from another text than $TEXT: begin anew with" \
        "STORY=build/another, or after rm -r '$STORY'"
    exit 1
}

# A step learns from 2,048 tokens, about 7,500 bytes of English: so many steps read the text eight times.
bytes=$(wc -c < "$TEXT")
steps=${STORY_STEPS:-$((bytes / 950))}
[ -n "$STORY_STEPS" ] || [ "$steps" -ge 300 ] || steps=300
[ -n "$STORY_STEPS" ] || [ "$steps" -le 14000 ] || steps=14000
warmup=$((steps / 20))
[ "$warmup" -le 200 ] || warmup=200
pieces=2048
[ "$bytes" -ge 100000 ] || pieces=512 # all that a short text gives

trap : INT # pretrain saves and ends; then this says how to go on
[ -f "$STORY/vocab.gguf" ] || "$RUN" vocab "$TEXT" -o "$STORY/vocab.gguf" --vocab-size "$pieces" &&
"$RUN" pretrain "$TEXT" --output_dir "$out" --tokenizer "$STORY/vocab.gguf" --resume_from_checkpoint last \
    --dim 128 --layers 8 --heads 4 --kv-heads 2 --ffn 352 --context 512 --per_device_train_batch_size 4 \
    --learning_rate 2.5e-3 --warmup_steps "$warmup" --max_steps "$steps" --outtype q8_0 \
    --load_best_model_at_end $STORY_FLAGS
code=$?
[ $code != 130 ] || say "stopped; the same make command goes on"
[ $code = 0 ] || exit $code

# The first model that is replaced is kept: those that come later lie in folders of their own runs.
old=${STORY_MODEL%.gguf}.old.gguf
[ ! -f "$STORY_MODEL" ] || [ -f "$old" ] || cmp -s "$out/model.gguf" "$STORY_MODEL" || cp "$STORY_MODEL" "$old" || exit 4
cp "$out/model.gguf" "$STORY_MODEL" || exit 4
say "$STORY_MODEL is the new model: make builds it in. To get the old one back: mv '$old' '$STORY_MODEL' && make"
