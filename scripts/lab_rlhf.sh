# lab_rlhf.sh - the story model learns from a reward model (PPO) to end its stories happily.
#
#   sh scripts/lab_rlhf.sh                   minutes; LAB=short: less of it, for CI
#
#   RUN   the program (./run)      OUT   the folder of the lab (build/lab_rlhf; begun anew)
#
# The pairs of lab_preferences.sh teach a reward model, which then judges what the story model writes. lab_stories.sh says
# what is preferred and measured, docs/TUNING.md what happens.
set -eu
out=${OUT:-build/lab_rlhf}
. "$(dirname "$0")/lab_stories.sh"
stories=2000 episodes=2048 need=75
[ "${LAB:-}" != short ] || { stories=800 episodes=640 need=50; }

before=$(happily before)
echo "lab_rlhf: $before % of the stories end happily" >&2
make_pairs "$stories"
"$run" reward "$model" "$out/pairs.jsonl" --output_dir "$out/reward" --learning_rate 1e-3 --num_train_epochs 2 \
    --center_rewards_coefficient 0.01
sed 's/, "n": .*/}/' "$out/ask.jsonl" > "$out/prompts.jsonl"
"$run" ppo "$model" "$out/prompts.jsonl" --reward_model "$out/reward" --output_dir "$out/ppo" --learning_rate 3e-4 \
    --total_episodes $episodes --per_device_train_batch_size 64 --response_length 60 --temperature 0.9 --missing_eos_penalty 1
after=$(happily after --lora "$out/ppo")
awk -v before="$before" -v after="$after" -v need=$need 'BEGIN {
    printf "lab_rlhf: end happily %s %% before, %s %% after (need %d)\n", before, after, need
    exit !(after >= need) }'
