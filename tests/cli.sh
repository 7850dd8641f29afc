#!/bin/sh
# cli.sh RUN FIXTURE - the command line as its user meets it: exit codes, what goes to which stream, flags,
# hostile input, signals, and (with ../shared) the texts that llama2.c writes. Prints TAP.
run=${1:-./run}; fixture=${2:-build/fixture}; shared=${PITH_SHARED:-../shared}
ASAN_OPTIONS=allocator_may_return_null=1:$ASAN_OPTIONS; export ASAN_OPTIONS
case $run in /*) ;; *) run=$PWD/$run;; esac
dir=$(mktemp -d) || exit 99
trap 'chmod -R u+rwx "$dir"; rm -rf "$dir"' EXIT
n=0; failed=0; skipped=0

ok() { # ok STATUS NAME: one test, passed if STATUS is 0
    n=$((n + 1))
    if [ "$1" -eq 0 ]; then printf 'ok %d - %s\n' $n "$2"; return; fi
    failed=$((failed + 1)); printf 'not ok %d - %s\n' $n "$2"
    printf '# status %s\n# stdout: %s\n# stderr: %s\n' "$status" "$(shown out)" "$(shown err)"
}
shown() { head -c 300 "$dir/$1" | tr '\n' '~' | LC_ALL=C tr -cd ' -~'; }
skip() { n=$((n + 1)); skipped=$((skipped + 1)); printf 'ok %d - %s # SKIP %s\n' $n "$1" "$2"; }

# Runs it with a time limit; status, $dir/out and $dir/err are what it left. Input is $in, or nothing.
in=/dev/null
go() { timeout 60 "$run" "$@" < "$in" > "$dir/out" 2> "$dir/err"; status=$?; }
tiny() { go "$dir/tiny.bin" -z "$dir/tok.bin" "$@"; }
stories() { go "$shared/data/llama2c/stories260K.bin" -z "$shared/data/llama2c/tok512.bin" "$@"; }

# Success says nothing that begins with "pith:"; failure says one such line, and prints no result. What was
# asked just before must hold as well.
fine() { [ $? -eq 0 ] && [ "$status" -eq 0 ] && [ -s "$dir/out" ] && ! grep -q '^pith:' "$dir/err"; ok $? "$1"; }
refused() { # refused STATUS PATTERN NAME
    [ $? -eq 0 ] && [ "$status" -eq "$1" ] && [ ! -s "$dir/out" ] && [ "$(wc -l < "$dir/err")" -eq 1 ] &&
        grep -q "^pith: .*$2" "$dir/err"
    ok $? "$3"
}
out_is() { [ $? -eq 0 ] && [ "$status" -eq 0 ] && printf '%b' "$1" | cmp -s - "$dir/out"; ok $? "$2"; }
same_out() { [ $? -eq 0 ] && [ "$status" -eq 0 ] && [ -s "$dir/out" ] && cmp -s "$1" "$dir/out"; ok $? "$2"; }
utf8() { [ $? -eq 0 ] && [ "$status" -eq 0 ] && [ -s "$dir/out" ] && iconv -f UTF-8 -t UTF-8 < "$dir/out" > /dev/null 2>&1; ok $? "$1"; }

"$fixture" "$dir" || { echo "Bail out! no fixture"; exit 99; }

# ---- usage -------------------------------------------------------------------------------------------
go; [ "$(grep -c '\.' "$dir/out")" -gt 1 ] && grep -q 'run MODEL' "$dir/err"; fine "without arguments: a story, and on stderr how to go on"
cp "$run" "$dir/copy" && (cd / && "$dir/copy" -s 7 > "$dir/told" 2> "$dir/err"); rm "$dir/copy"
go -s 7 --threads 3; same_out "$dir/told" "a copy of the program elsewhere tells the same story"
go -i "The dog" -n 30 -t 0; grep -q '^The dog' "$dir/out"; fine "the model that is built in goes on from a prompt"
for v in "" batch score tokenize info bench quantize drift imatrix; do
    go $v --help; [ "$status" -eq 0 ] && [ ! -s "$dir/err" ] && grep -q -e '--threads' "$dir/out"
    ok $? "help of '$v' on stdout"
done
go --version; out_is "pith 0.1.0\n" "version"
go "$dir/no.bin"; refused 2 no.bin "a model that is not there"
go "$dir"; refused 2 "$dir" "an empty folder as a model"
go info; grep -q '^parameters' "$dir/out"; fine "info on the model that is built in"
go "$dir/tiny.bin"; refused 2 -z "a llama2.c file without its vocabulary"
go "$dir/tiny.bin" -z "$dir/tiny.bin"; [ "$status" -eq 2 ]; ok $? "a checkpoint for a vocabulary"
tiny two; refused 1 two "two models"
go inof "$dir/tiny.bin"; refused 1 "is it 'info'" "a word that is nearly a verb"
go tokenise; refused 1 "is it 'tokenize'" "and alone"
go sing "$dir/tiny.bin"; refused 1 "'sing', need one of: score" "a verb that is none"
go "$dir/tiny.bin" info; refused 1 "run info $dir/tiny.bin" "the verb after the model"
go pretrain "$dir/story.txt" --lr 1; refused 1 "is --learning_rate" "a flag that other trainers have"
go chat MODEL -sys x; refused 1 "here it is -y TEXT" "a flag of llama.cpp"
go --epochs 1; refused 1 "help lists them" "but only where there is one"
tiny -y hi -n 5; refused 1 "-y is of a conversation" "a system prompt outside of a chat"
go help; [ "$status" -eq 0 ] && [ ! -s "$dir/err" ] && grep -q '^run MODEL' "$dir/out"; ok $? "run help"
echo "Once upon a time, and so on." > "$dir/story.txt"
go "$dir/story.txt"; refused 2 "story.txt: is text" "a text for a model"
cp "$dir/tiny.bin" "$dir/score"
(cd "$dir" && timeout 60 "$run" score -z tok.bin -t 0 > out 2> err < /dev/null); status=$?
fine "a file with a verb's name wins"
(cd "$dir" && cp tok.bin tokenizer.bin && timeout 60 "$run" tiny.bin -t 0 > out 2> err < /dev/null); status=$?
fine "tokenizer.bin of this folder is the default"

go -s 7 -n 20 -o "$dir/w.txt" && go -s 7 -n 20 -o "$dir/w.txt"; [ "$status" -eq 0 ] && [ -s "$dir/w.txt" ]
ok $? "-o over a file that is there, with the model that is built in" # make check: stat(NULL) is seen

# ---- bench -------------------------------------------------------------------------------------------
bench() { go bench "$dir/tiny.bin" --repetitions 2 "$@"; }
bench --n-prompt 20 --n-gen 4 -d 8
grep -q 'pp20 @ d8' "$dir/out" && grep -q 'tg4 @ d8' "$dir/out" && grep -q 'GB/s read, [1-9][0-9]* GFLOP/s fp32' "$dir/out"
fine "bench after some tokens, and the machine's limits"
bench --n-prompt 8 --n-gen 4 --json; [ "$(grep -c '^{"test": "[pt][pg][84]", "mean": [0-9.]*, "sd": ' "$dir/out")" -eq 2 ]
ok $? "bench as JSON, an object a test"
bench --n-prompt 0 --n-gen 4 -d 8 --parallel 1,3,16; grep -q '| tg4 @ d8 |' "$dir/out" && grep -q '| tg4 x3 @ d8 | [0-9.]* ±' "$dir/out" &&
    grep -q '^tg4 x16 @ d8: [0-9.]* t/s a text, .* GB/s of weights and cache, .*; [0-9]* GOP/s in matrices, ' "$dir/out"
fine "bench of texts that are written together, and their share of both limits"
bench --n-prompt 0 --n-gen 4 --parallel 2 --json; [ "$(grep -c '^{"test": "tg4 x2", "mean": [0-9.]*, "sd": [0-9.]*, "threads": [0-9]*}$' "$dir/out")" -eq 1 ] &&
    [ "$(wc -l < "$dir/out")" -eq 1 ]; fine "the same as JSON"
for v in "" 0 x 1, 1,,2 1025 99999999999 -1; do bench --parallel "$v"; refused 1 "--parallel has" "bench --parallel '$v'"; done
bench --parallel "$(seq -s, 40)"; refused 1 "more than" "bench of too many tests"
threads_of() { "$run" bench "$dir/tiny.bin" --repetitions 1 --n-prompt 2 --n-gen 0 --json "$@" | sed -n 's/.*"threads": \([0-9]*\).*/\1/p'; }
three=$(threads_of --threads 3); two=$(threads_of --threads 2) # 1 without OpenMP
[ "$(OMP_NUM_THREADS=3 threads_of)" = "$three" ] && [ "$(OMP_NUM_THREADS=3,1 threads_of --threads 2)" = "$two" ] &&
    [ "$(OMP_NUM_THREADS=-2 threads_of 2> /dev/null)" = 1 ]
ok $? "OMP_NUM_THREADS is what --threads would be, where that is not given"
[ "$(OMP_THREAD_LIMIT=1 threads_of --threads 3)" = 1 ]; ok $? "bench counts the threads that OpenMP gives"
bench --type q8_0; refused 1 "of --shape" "bench: a type for a model that has its own"
bench --shape stories260K; refused 1 "need one of them" "bench: a model and a shape"
bench --n-prompt 0 --n-gen 0; refused 1 "nothing to do" "bench: nothing"
bench -d 1000; refused 1 "n-depth 1000" "bench beyond the context"
if [ -d "$shared/families" ]; then
    go bench "$shared/families/gptossmx-hf" --repetitions 1 --n-prompt 8 --n-gen 2
    [ "$status" -eq 0 ] && grep -q 'gptossmx-hf MXFP4 | 0.15 MiB' "$dir/out"; ok $? "bench of weights whose scales lie apart"
    go imatrix "$shared/families/qwen35.gguf" -f README.md --chunks 2 -o "$dir/states.gguf"
    [ "$status" -eq 0 ] && grep -aq 'blk.0.ssm_out.weight.in_sum2' "$dir/states.gguf" && grep -aq 'blk.0.attn_gate.weight.in_sum2' "$dir/states.gguf"
    ok $? "imatrix: what layers with a state read counts too"
    printf '\1\0\0\0\23\0\0\0blk.0.attn_q.weight\1\0\0\0\100\0\0\0' > "$dir/one.dat"; i=64
    while [ $i -gt 0 ]; do printf '\0\0\200\77'; i=$((i - 1)); done >> "$dir/one.dat"; printf '\1\0\0\0\0\0\0\0' >> "$dir/one.dat"
    go quantize "$shared/fixtures/llama3.gguf" "$dir/x.gguf" q4_0 --imatrix "$dir/one.dat"
    [ "$status" -eq 0 ] && grep -q 'in 20 tensors all columns count alike, .* (blk.0.attn_k.weight)' "$dir/err"; ok $? "quantize says what an imatrix does not have"
    go quantize "$shared/families/gemma4e.gguf" "$dir/gemma4" --outtype f32; go quantize "$dir/gemma4" "$dir/x.gguf" f32
    go score "$shared/families/gemma4e.gguf" -i "abc"; cp "$dir/out" "$dir/same"; go score "$dir/x.gguf" -i "abc"
    cmp -s "$dir/same" "$dir/out"; ok $? "a Gemma 4 of SentencePiece's vocabulary goes over a folder and back"; rm -rf "$dir/gemma4" "$dir/x.gguf"
else skip "bench of weights whose scales lie apart" "no ../shared"; skip "imatrix of layers with a state" "no ../shared"
    skip "an imatrix of some tensors" "no ../shared"; skip "Gemma 4 over a folder" "no ../shared"; fi
go bench "$dir/masks.gguf" --n-prompt 8 --parallel 1,20 --repetitions 2
[ "$(grep -c '| pp8 \(x20 \)*| [0-9.]* ±' "$dir/out")" -eq 2 ] && grep -q '^pp8 x20: [0-9.]* texts/s, [0-9]* GOP/s in matrices, [0-9]* % of the' "$dir/out"
fine "bench of an encoder: texts that are read together"
go bench "$dir/masks.gguf" --repetitions 1 --json
[ "$(sed 's/"mean.*/"/' "$dir/out" | tr -d '\n')" = '{"test": "pp16", "{"test": "pp16 x256", "' ] && grep -q 'context is 16 tokens: pp16' "$dir/err" &&
    awk -F'[:,}]' '{ r = $4 / $10; if (!(r > 15.99 && r < 16.01)) exit 1 }' "$dir/out"; [ $? -eq 0 ] && [ "$status" -eq 0 ]; ok $? "as JSON: tokens and texts a second"
go bench "$dir/masks.gguf" --n-gen 4; refused 1 "is an encoder, which writes nothing" "bench of an encoder that is to write"
go bench "$dir/masks.gguf" --n-prompt 0; refused 1 "nothing to do" "bench of an encoder: nothing"

go bench --search 3000 --threads 2 --repetitions 2; grep -q '^search: 3000 vectors of 384 numbers in [0-9.]* ms, 2 threads: .* GB/s, [0-9]* % of' "$dir/out"; fine "bench of a search"
go bench --search 3000 --json; grep -q '^{"test": "search", "vectors": 3000, "seconds": [0-9.]*, "share": [0-9.]*, "threads": [0-9]*}$' "$dir/out"; fine "as JSON"

# ---- flags -------------------------------------------------------------------------------------------
for v in abc "" 1abc nan inf -1 1e999 0x1 " 1"; do tiny -t "$v"; refused 1 "-t is" "-t '$v'"; done
for v in abc "" 1abc nan 7 -0.5; do tiny -p "$v"; refused 1 "-p is" "-p '$v'"; done
for v in abc "" 1abc nan 1.5 -5 2147483648 4294967297 99999999999999999999; do
    tiny -n "$v"; refused 1 "-n is" "-n '$v'"
done
for f in --top-k --min-p --seed --ctx-size --threads --repeat-penalty --repeat-last-n --n-predict; do
    tiny $f x; refused 1 "$f is 'x'" "$f x"
done
for f in -t -n -i -z --stop --temp; do tiny $f; refused 1 "$f needs a value" "$f without a value"; done
tiny --tmep 1; refused 1 "'--temp'" "an unknown flag names the nearest"
tiny --frobnicate 1; refused 1 "'--frobnicate', --help" "a flag that is near no other"
tiny --max_tokens=5; refused 1 "is --n-predict" "a flag that other programs have"
tiny -cnv; refused 1 "is -m chat" "and a short one"
tiny -s 18446744073709551615; refused 1 "from 0 to 9223372036854775807" "a seed out of range"
tiny --repeat-penaly=1; refused 1 "'--repeat-penalty'" "an unknown flag with a value"
tiny -q 1; refused 1 "'-q'" "an unknown letter"
tiny --ignore-eos=1; refused 1 "no value" "a value for a switch"
tiny -m sing; refused 1 sing "an unknown mode"
for f in kernels pretokenizer chat-template; do tiny --$f sing; refused 1 "'sing', need one of: " "--$f lists its names"; done
go "$dir/spm.gguf" -z "$dir/none" -i a; refused 1 "none' is of no use" "-z beside a model with a vocabulary of its own"
go "$dir/spm.gguf" --pretokenizer qwen2 -i a; refused 1 "qwen2' is of no use" "--pretokenizer where none is used"
tiny --cache-type-k q3; refused 1 q3 "an unknown type of cache"
tiny --samplers "top_k;tail_free"; refused 1 "sampler 'tail_free', need some of: " "a sampler that is none"
tiny --sampler-seq ktz; refused 1 "sampler-seq is 'ktz'" "a letter that is no sampler's"
tiny --samplers top_k --sampler-seq k; refused 1 "both say the order" "two orders"
tiny --mirostat 2 --samplers top_k; refused 1 "takes the place of --samplers" "mirostat and an order"
tiny --mirostat 3; refused 1 "mirostat is '3'" "a mirostat that is none"
tiny --adaptive-target 0.5; refused 1 "needs adaptive_p" "adaptive-p that takes no part"
tiny --dry-sequence-breaker ""; refused 1 "not empty" "an empty breaker"
tiny --dry-sequence-breaker "$(head -c 2000 /dev/zero | tr '\0' x)"; refused 1 "more than 1023 bytes" "a breaker of 2000 bytes"
for f in typical top-n-sigma xtc-probability xtc-threshold dynatemp-range dynatemp-exp dry-multiplier dry-base dry-allowed-length \
    dry-penalty-last-n mirostat-ent mirostat-lr adaptive-decay; do tiny --$f x; refused 1 "--$f is 'x'" "--$f x"; done
tiny --stop ""; refused 1 stop "an empty stop text"
tiny --logit-bias 300+1; refused 1 "below 300" "a bias for no token"
tiny --logit-bias 3; refused 1 "logit-bias" "a bias without a number"
tiny -f "$dir/none"; refused 3 none "a prompt file that is not there"
tiny -f "$dir"; refused 3 "" "a folder as a prompt"
tiny -c 2147483647; [ "$status" -eq 4 ] && grep -q '^pith: .*memory' "$dir/err"
ok $? "a context that no memory holds"
tiny -s 5 -n 20; cp "$dir/out" "$dir/a"
tiny --seed=5 -n 20; same_out "$dir/a" "--flag=v is -f v"
tiny --seed 5 --top_p 0.9 --temp=1.0 -n 20; same_out "$dir/a" "_ is - in a name; llama2.c's defaults"
tiny -n 20; seed=$(sed -n 's/^seed: //p' "$dir/err"); cp "$dir/out" "$dir/b"
tiny -n 20 -s "${seed:-0}"; same_out "$dir/b" "the seed that is printed gives the text again"
if ldd "$run" 2> /dev/null | grep -q libomp; then skip "more threads than memory has room for" "LLVM's OpenMP ends the process"
elif (ulimit -v 250000; tiny --version; [ "$status" -eq 0 ]) 2> /dev/null; then
    (ulimit -v 250000; tiny -s 5 -n 20 --threads 64; exit "$status"); status=$?
    same_out "$dir/a" "more threads than memory has room for"
else skip "more threads than memory has room for" "no memory limit here"; fi
for f in "--threads 1" "--threads 3" "--no-mmap" "-c 64" "-i ''" "--repeat-last-n 0"; do
    eval "tiny -s 5 -n 20 $f"; same_out "$dir/a" "the same text with $f"
done
go "$dir/tiny.v1.bin" -z "$dir/tok.bin" -s 5 -n 20; same_out "$dir/a" "the same text of version 1"
go "$dir/tiny.v2.bin" -z "$dir/tok.bin" -s 5 -n 20; fine "version 2 writes"
tiny -t 0 -n 20; cp "$dir/out" "$dir/a"
tiny -t 1 --top-k 1 -n 20; same_out "$dir/a" "--top-k 1 is greedy"

# ---- streams -----------------------------------------------------------------------------------------
tiny -t 0 -n 20; fine "a text"
[ "$(tail -c 1 "$dir/out" | od -An -tx1 | tr -d ' ')" = 0a ]; ok $? "ends with a newline"
grep -q '^achieved tok/s: [0-9.]*$' "$dir/err"; ok $? "speed on stderr"
utf8 "is UTF-8"
tiny -t 0 -i once --n-predict 1; grep -q '^achieved tok/s: [0-9.]*$' "$dir/err"; ok $? "of the prompt, where the text has one token"
"$run" "$dir/tiny.bin" -z "$dir/tok.bin" > /dev/full 2> "$dir/err" < /dev/null; status=$?; : > "$dir/out"
if [ -c /dev/full ]; then
    [ $status -eq 4 ] && [ "$(grep -c '^pith:' "$dir/err")" -eq 1 ]; ok $? "a full disk behind stdout"
    for v in "score -i the" "tokenize -i the" info; do
        "$run" ${v%% *} "$dir/tiny.bin" -z "$dir/tok.bin" $(echo "$v" | cut -s -d ' ' -f 2-) \
            > /dev/full 2> "$dir/err" < /dev/null; status=$?
        [ $status -eq 4 ]; ok $? "a full disk behind $v"
    done
else skip "a full disk behind stdout" "no /dev/full"; fi
{ "$run" "$dir/tiny.bin" -z "$dir/tok.bin" -n 0 2> "$dir/err"; echo $? > "$dir/status"; } | :
status=$(cat "$dir/status"); [ "$status" -eq 0 ] && grep -q '^seed' "$dir/err" && ! grep -q '^pith:' "$dir/err"
ok $? "a closed pipe ends quietly"
"$run" "$dir/tiny.bin" -z "$dir/tok.bin" -t 0 -n 20 <&- > "$dir/out" 2> "$dir/err"; status=$?
same_out "$dir/a" "stdin closed"
"$run" "$dir/tiny.bin" -z "$dir/tok.bin" -t 0 -n 20 2>&- > "$dir/out" < /dev/null; status=$?
same_out "$dir/a" "stderr closed"
"$run" "$dir/tiny.bin" -z "$dir/tok.bin" -t 0 -n 20 >&- 2> "$dir/err" < /dev/null; status=$?
[ $status -eq 4 ]; ok $? "stdout closed is an error"
"$run" "$dir/tiny.bin" -z "$dir/tok.bin" -t 0 -n 20 -o "$dir/file" >&- 2>&- <&-; status=$?
cp "$dir/file" "$dir/out"; same_out "$dir/a" "all closed, and a file written"
env -i "$run" "$dir/tiny.bin" -z "$dir/tok.bin" -t 0 -n 20 > "$dir/out" 2> "$dir/err" < /dev/null; status=$?
same_out "$dir/a" "an empty environment"
LC_ALL=xx_YY.bogus LANG=de_DE tiny -t 0.0 -n 20; same_out "$dir/a" "another locale"

# ---- -o ----------------------------------------------------------------------------------------------
tiny -t 0 -n 20 -o "$dir/text"; [ "$status" -eq 0 ] && [ ! -s "$dir/out" ] && cmp -s "$dir/a" "$dir/text"
ok $? "-o writes the file and nothing to stdout"
tiny -o "$dir/no/such"; refused 4 no/such "-o into a folder that is not there"
tiny -o "$dir/tiny.bin"; refused 1 "model itself" "-o onto the model"
tiny -o "$dir/tok.bin"; refused 1 "model itself" "-o onto its vocabulary"
echo old > "$dir/text"; tiny -o "$dir/text" -i "$(printf 'x%.0s' $(seq 200))"
[ "$status" -eq 1 ] && grep -q 'context 64' "$dir/err" && [ "$(cat "$dir/text")" = old ]; ok $? "after a failure the old file is as it was"
ls "$dir" | grep -q part; [ $? -ne 0 ]; ok $? "and nothing is left beside it"
tiny -t 0 -n 20 -o /dev/null; [ "$status" -eq 0 ] && grep -q tok/s "$dir/err" && [ -c /dev/null ]; ok $? "-o /dev/null leaves the device"
for name in /dev/stdout /proc/self/fd/1 "$dir/shared"; do
    (echo before; "$run" "$dir/tiny.bin" -z "$dir/tok.bin" -t 0 -n 20 --quiet -o "$name"; echo after) > "$dir/shared" 2> "$dir/err" < /dev/null
    (echo before; cat "$dir/a"; echo after) | cmp -s - "$dir/shared"; ok $? "-o $name writes to standard output's own file"
done
tiny -o ""; refused 1 "-o is empty" "-o with an empty name"

# ---- prompts -----------------------------------------------------------------------------------------
tiny -t 0 -n 30 -i "the once"; cp "$dir/out" "$dir/a"
[ "$(head -c 8 "$dir/out")" = "the once" ]; ok $? "the prompt is printed"
printf 'the once' > "$dir/prompt"; printf 'the once\n' > "$dir/line"
tiny -t 0 -n 30 -f "$dir/prompt"; same_out "$dir/a" "-f FILE"
tiny -t 0 -n 30 -f "$dir/line"; same_out "$dir/a" "-f FILE with a line end"
in=$dir/prompt; tiny -t 0 -n 30 -i -; same_out "$dir/a" "-i -"; in=/dev/null
tiny -i a -f "$dir/prompt"; refused 1 "-f" "-i and -f together"
tiny -n 1 -i "the once"; out_is "the\n" "-n less than the prompt prints so many tokens"
tiny -n 2 -i "the once"; out_is "the \n" "and one more"
tiny --n-predict 0 -i "the once"; out_is "the once\n" "--n-predict 0"
go "$dir/chat.gguf" --n-predict 0 -i a; out_is "a\n" "--n-predict 0 after a prompt of one token"
tiny -n 64 -i "$(printf 'z%.0s' $(seq 100))"; refused 1 "102 tokens, the context 64" "a prompt too long"
tiny -n 7 -c 5 -i "once once once once"; refused 1 "the context 5" "a prompt too long for -c"
tiny -n 0 -t 0; cp "$dir/out" "$dir/b"; tiny -n 100000 -t 0; same_out "$dir/b" "-n is cut to the context"
i=0
for bytes in '\200' 'a\342\202' '\300\200' '\355\240\200' '\365\377' '\033[31m' '%%n%%s' 'a\000b' '   '; do
    i=$((i + 1)); printf "$bytes" > "$dir/p$i"; tiny -n 40 -f "$dir/p$i"; utf8 "a prompt of bytes $bytes"
done
tiny --n-predict 0 -f "$dir/p2"; out_is 'a\0357\0277\0275\n' "a cut character is one U+FFFD"
tiny --n-predict 0 -f "$dir/p6"; out_is '[31m\n' "no escape codes"
awk 'BEGIN { for (i = 0; i < 40000; i++) printf "the once and then " }' > "$dir/big"
tiny -f "$dir/big"; refused 1 "the context 64" "700 kB of prompt"
awk 'BEGIN { for (i = 0; i < 120000; i++) printf "a" }' > "$dir/big"
tiny -f "$dir/big"; refused 1 "the context 64" "120 kB without a space"
head -c 3000000 /dev/urandom > "$dir/big"; tiny -f "$dir/big"; refused 1 "the context 64" "3 MB of noise"

# ---- where a text ends, and what is said about it ----------------------------------------------------
noted() { [ "$status" -eq 0 ] && [ "$(grep -c '^note: ' "$dir/err")" -eq 1 ] && grep -q "^note: .*$1" "$dir/err"; ok $? "$2"; }
no_note() { [ "$status" -eq 0 ] && ! grep -q '^note: ' "$dir/err"; ok $? "$1"; }
awk 'BEGIN { for (i = 0; i < 35; i++) printf "the dog and the cat went to the park to play%s", i < 34 ? " " : "" }' > "$dir/long"
go -f "$dir/long" -s 1; head -c "$(wc -c < "$dir/long")" "$dir/out" | cmp -s - "$dir/long"
ok $? "a prompt of more than 256 tokens is not cut"
go "$dir/spm.gguf" -i a -t 0 -c 300 --ignore-eos; cp "$dir/out" "$dir/b"
[ "$status" -eq 0 ] && grep -q '^note: the text ends here, after 256 new tokens (--n-predict)' "$dir/err"
ok $? "by default a GGUF model writes 256 new tokens"
go "$dir/spm.gguf" -i a -t 0 -c 300 --ignore-eos --n-predict 256; same_out "$dir/b" "which is --n-predict 256"
tiny -t 0 -c 300 --ignore-eos; [ "$status" -eq 0 ] && grep -q '^note: the text ends here, at 256 tokens in all (-n)' "$dir/err"
ok $? "a llama2.c model 256 in all, as llama2.c"
tiny -t 0 -i the -n 9 --logit-bias 271+99; noted "at 9 tokens in all (-n)" "-n ended the text"
tiny -t 0 -i the --n-predict 9 --logit-bias 271+99; noted "after 9 new tokens (--n-predict)" "--n-predict ended the text"
tiny -t 0 -i the --n-predict 9 --logit-bias 271+99 --format jsonl; noted "after 9 new tokens (--n-predict)" "and that as JSON"
tiny -t 0 -n 0 --logit-bias 271+99; noted "context of 64 tokens is full (-c)" "the context ended the text"
tiny -t 0 -n 64 --logit-bias 271+99; noted "context of 64 tokens is full (-c)" "which -n leaves as it is"
tiny -n 1 -i "the once"; noted "-n 1 cuts the prompt, which has 4 tokens" "-n cut the prompt"
tiny -n 3 -i "the once"; noted "prompt has all the 4 tokens of -n 3" "-n leaves nothing to write"
tiny -t 0 -i the --logit-bias 1+99; no_note "a text that the model ended"
tiny -t 0 -i the --stop once --logit-bias 271+99; no_note "a text that a stop text ended"
tiny -t 0 -i "the " --logit-bias 1+99; noted "ends in a blank" "a prompt that ends in a blank"
go "$dir/spm.gguf" -i "<s>a" --parse-special -t 0 --n-predict 0; noted "BOS twice" "a prompt that brings its own BOS"
tiny -t 0 -i the -c 100 --logit-bias 1+99; noted "context of 100 tokens, while the model was made for 64" "a context beyond the model's"
tiny -s 5 -n 20 -c 100 -i "the " --draft-lookup 4 --quiet; [ "$status" -eq 0 ] && [ -s "$dir/out" ] && [ ! -s "$dir/err" ]
ok $? "--quiet"
tiny --quiet -t x; refused 1 "-t is" "--quiet still says what is wrong"
in=$dir/prompt; tiny -t 0 --logit-bias 1+99; noted "not read (-i -" "a file on standard input that nobody reads"
tiny -t 0 -i the --logit-bias 1+99; no_note "but with -i"; in=/dev/null
(printf 'the'; sleep 2) | (sleep 1; exec "$run" "$dir/tiny.bin" -z "$dir/tok.bin" -t 0 -n 9) > "$dir/out" 2> "$dir/err"; status=$?
[ $status -eq 0 ] && grep -q '^note: .*not read' "$dir/err"; ok $? "a pipe that nobody reads, and nobody waits for"
(sleep 0.5; printf 'the') | "$run" "$dir/tiny.bin" -z "$dir/tok.bin" -t 0 -n 0 -c 20000 --ignore-eos > "$dir/out" 2> "$dir/err"
[ "$(grep -c '^note: .*not read' "$dir/err")" -eq 1 ]; ok $? "nor one that is slow"
sleep 1 | "$run" "$dir/tiny.bin" -z "$dir/tok.bin" -t 0 --logit-bias 1+99 > "$dir/out" 2> "$dir/err"; status=$?
no_note "a pipe with nothing in it"
# A context that is full goes on with its newer half: the library's test says that to the bit.
tiny -s 5 -n 64 --ignore-eos; head -c "$(($(wc -c < "$dir/out") - 1))" "$dir/out" > "$dir/b"
tiny -s 5 -n 64 --ignore-eos --context-shift; head -c "$(wc -c < "$dir/b")" "$dir/out" | cmp -s - "$dir/b"; fine "--context-shift within the context"
tiny -s 5 -n 300 --ignore-eos --context-shift; [ "$(wc -c < "$dir/out")" -gt 300 ] && head -c "$(wc -c < "$dir/b")" "$dir/out" | cmp -s - "$dir/b"
noted "at 300 tokens in all (-n)" "--context-shift beyond it"
tiny -s 5 -n 300 --ignore-eos --context-shift --draft-lookup 4 --threads 3; cp "$dir/out" "$dir/b"
tiny -s 5 -n 300 --ignore-eos --context-shift --keep 0; same_out "$dir/b" "BOS stays"
tiny -s 5 -n 300 --ignore-eos --context-shift --keep 20; [ "$status" -eq 0 ] && ! cmp -s "$dir/out" "$dir/b"; ok $? "--keep 20"; cp "$dir/out" "$dir/b"
tiny -s 5 -n 300 --ignore-eos --context-shift --keep 20 -c 100; [ "$status" -eq 0 ] && ! cmp -s "$dir/out" "$dir/b"; ok $? "and -c 100"
tiny -s 5 -n 300 --ignore-eos --context-shift -i abcd --keep 5; cp "$dir/out" "$dir/b" # which is 5 tokens
tiny -s 5 -n 300 --ignore-eos --context-shift -i abcd --keep -1; same_out "$dir/b" "--keep -1 is the prompt"
tiny --context-shift -n 0 --keep 63; refused 1 "no room to keep 63 tokens of 64" "--keep more than there is room for"
tiny --context-shift -n 64 --keep 63; fine "but where nothing is dropped"
tiny --context-shift --keep -2; refused 1 "--keep is" "--keep -2"
tiny --keep 3; refused 1 "with --context-shift" "--keep alone"
tiny -m chat --context-shift; refused 1 "not of a conversation" "--context-shift of a chat"
tiny -t 0 --n-predict 1 -i a --logit-bias 198+99; out_is "a\n" "half a character at the end is dropped"
tiny -t 0 -n 30; cp "$dir/out" "$dir/b"; for t in 1e-6 1e-38 1e-45; do tiny -s 5 -t $t -n 30; same_out "$dir/b" "-t $t is greedy"; done

# ---- text from elsewhere -----------------------------------------------------------------------------
printf '\357\273\277the once\r\n' > "$dir/p"; tiny -t 0 -n 30 -f "$dir/p"; same_out "$dir/a" "-f with a byte order mark and \\r\\n"
in=$dir/p; tiny -t 0 -n 30 -i -; same_out "$dir/a" "-i - too"; in=/dev/null
printf 'the\nonce\rx\n\n' > "$dir/p"; tiny -t 0 -n 30 -f "$dir/p"; cp "$dir/out" "$dir/b"
printf 'the\r\nonce\rx\r\n\r\n' > "$dir/p"; tiny -t 0 -n 30 -f "$dir/p"; same_out "$dir/b" "\\r\\n within, and \\r alone"
for bytes in '\377\376t\000' '\376\377\000t'; do
    printf "$bytes" > "$dir/p"; tiny -f "$dir/p"; refused 3 "UTF-16" "UTF-16 is named"
done
printf 'the\nonce\n' > "$dir/said"; in=$dir/said; tiny -m chat -t 0 --n-predict 5; cp "$dir/out" "$dir/b"
[ "$(grep -c 'note: the answer ends here, after 5 tokens (--n-predict)' "$dir/err")" -eq 2 ]; ok $? "chat: --n-predict ended an answer"
printf '\357\273\277the\r\nonce\r\n' > "$dir/said"; tiny -m chat -t 0 --n-predict 5; same_out "$dir/b" "chat: lines that end in \\r\\n"
printf '\377\376t\000\n' > "$dir/said"; tiny -m chat; [ "$status" -eq 3 ] && grep -q 'UTF-16' "$dir/err"
ok $? "chat: UTF-16 is named"; in=/dev/null

# ---- at a terminal -----------------------------------------------------------------------------------
if script -qec true /dev/null > /dev/null 2>&1 < /dev/null; then
    at_terminal() { script -qec "env TERM=xterm $run $*" /dev/null < /dev/null > "$dir/out" 2> "$dir/err"; status=$?; }
    at_terminal "$dir/chat.gguf" -i a -t 0 -n 5; grep -q 'made for conversations: -m chat' "$dir/out"
    ok $? "a model for conversations that is given a prompt"
    at_terminal "$dir/chat.gguf" -i a -t 0 -n 5 -m generate; grep -q 'made for conversations' "$dir/out"
    [ $? -ne 0 ]; ok $? "but not where -m was said"
    at_terminal "$dir/spm.gguf" -i a -t 0 -n 5; grep -q 'made for conversations' "$dir/out"
    [ $? -ne 0 ]; ok $? "nor another model"
    at_terminal "$dir/chat.gguf"; grep -q '> ' "$dir/out"; ok $? "without a prompt it begins a conversation"
    at_terminal "$dir/spm.gguf" -t 0 -n 5; grep -q '> ' "$dir/out"; [ $? -ne 0 ]; ok $? "another model does not"
    go "$dir/chat.gguf" -n 5; [ "$status" -eq 0 ] && ! grep -q 'User: ' "$dir/err"; ok $? "nor without a terminal"
else skip "hints at a terminal" "no script(1)"; fi

# ---- many texts of one prompt ------------------------------------------------------------------------
# What -s 5, -s 6, ... give alone, with the line between them that the help names.
alone() { : > "$dir/alone"; for k in 0 1 2 3 4; do
    [ $k -gt 0 ] && echo '<|endoftext|>' >> "$dir/alone"; "$run" "$@" -s $((5 + k)) >> "$dir/alone" 2> /dev/null < /dev/null; done; }
for f in "-n 40" "-n 2 -i 'the once'" "-n 4 -i 'the once'" "--n-predict 0 -i the" "-n 0 -i 'the once'" "-t 0 -n 30" \
    "-n 30 --stop a --stop e --repeat-penalty 1.2" "-n 150 --context-shift --keep 2 --ignore-eos -i 'the once and so'" \
    "-n 150 --context-shift --ignore-eos -c 20 --threads 3"; do
    eval "alone \"$dir/tiny.bin\" -z \"$dir/tok.bin\" $f"
    for at_once in 1 2 5 100; do
        eval "tiny -s 5 --samples 5 --parallel $at_once $f"; same_out "$dir/alone" "--samples 5, $at_once at a time: $f"
    done
done
alone "$dir/spm.gguf" -i a -c 32; go "$dir/spm.gguf" -i a -c 32 -s 5 --samples 5; same_out "$dir/alone" "--samples of a GGUF model"
tiny -s 5 -n 20 --samples 1; cp "$dir/out" "$dir/b"; tiny -s 5 -n 20; same_out "$dir/b" "--samples 1 is as without"
tiny -s 5 -n 20 --samples 3 -o "$dir/text"; cp "$dir/out" "$dir/b"; tiny -s 5 -n 20 --samples 3
[ ! -s "$dir/b" ]; same_out "$dir/text" "--samples with -o"
tiny -s 5 -n 8 -i the --samples 2 --format jsonl --logit-bias 271+99
out_is '{"index": 0, "seed": 5, "text": "theonceonceonceonceonceonceonce", "tokens": [271, 271, 271, 271, 271, 271, 271], "finish_reason": "length"}\n{"index": 1, "seed": 6, "text": "theonceonceonceonceonceonceonce", "tokens": [271, 271, 271, 271, 271, 271, 271], "finish_reason": "length"}\n' "--format jsonl"
tiny -s 5 -n 8 -i 'the"' --format jsonl --logit-bias 1+99
out_is '{"index": 0, "seed": 5, "text": "the\\"", "tokens": [1], "finish_reason": "stop"}\n' "of one text that the model ended"
tiny -s 5 -n 8 -i the --format jsonl --logit-bias 271+99 --stop cc --stop eo
out_is '{"index": 0, "seed": 5, "text": "theonc", "tokens": [271, 271], "finish_reason": "stop"}\n' "of one that a stop text ended"
tiny -s 5 -n 3 -i 'the once' --format jsonl; out_is '{"index": 0, "seed": 5, "text": "the once", "tokens": [], "finish_reason": "length"}\n' "of one without new tokens"
tiny -s 5 -n 20 --samples 9 --ignore-eos; noted "9 of 9 texts end where they have all the tokens of -n" "-n ended them"
tiny --samples 0; refused 1 "--samples is" "--samples 0"
tiny --samples 3 --parallel 0; refused 1 "--parallel is" "--parallel 0"
tiny --parallel 3; refused 1 "of more --samples" "--parallel without --samples"
tiny --format json; refused 1 "need text or jsonl" "an unknown format"
tiny --samples 3 -m chat; refused 1 "--samples is of a text" "--samples of a chat"
tiny --format jsonl -m chat; refused 1 "--format is of a text" "a chat as JSON"
tiny --samples 3 --draft-lookup 3; refused 1 "--draft-lookup is of one" "--samples with --draft-lookup"
tiny --samples 3 --trace; refused 1 "--trace is of one" "--samples with --trace"
tiny --samples 3 -s 9223372036854775806; refused 1 "seeds end at 9223372036854775807" "seeds beyond the last"
tiny --samples 2 -s 9223372036854775806 -n 9; fine "up to the last"
tiny --num_return_sequences 3; refused 1 "is --samples N" "the name that others give it"
tiny --samples 400 --parallel 400 -n 0 -c 10000000; [ "$status" -eq 4 ] && grep -q '^pith: no memory' "$dir/err"; ok $? "more at once than memory holds"
if [ -c /dev/full ]; then
    "$run" "$dir/tiny.bin" -z "$dir/tok.bin" --samples 3 > /dev/full 2> "$dir/err" < /dev/null; status=$?
    [ $status -eq 4 ] && [ "$(grep -c '^pith:' "$dir/err")" -eq 1 ]; ok $? "a full disk behind --samples"
else skip "a full disk behind --samples" "no /dev/full"; fi
{ "$run" "$dir/tiny.bin" -z "$dir/tok.bin" --samples 3000 2> "$dir/err"; echo $? > "$dir/status"; } | head -1 > /dev/null
[ "$(cat "$dir/status")" -eq 0 ] && ! grep -q '^pith:' "$dir/err"; ok $? "--samples into a pipe that closes"

# ---- stop texts, biases, penalties -------------------------------------------------------------------
tiny -t 0 -n 30 -i the --stop once --logit-bias 271+99; out_is "the\n" "a stop text is not printed"
tiny -t 0 -n 6 -i the --stop oncex --logit-bias 271+99; cp "$dir/out" "$dir/b"
tiny -t 0 -n 6 -i the --logit-bias 271+99; same_out "$dir/b" "text held back for a stop text comes after all"
tiny -t 0 -n 3 -i the --logit-bias 271+99; out_is "theonceonce\n" "--logit-bias"
tiny -t 0 -n 30 --logit-bias 1+99; out_is "\n" "BOS ends the text of a llama2.c file"
tiny -t 0 -n 30 --logit-bias 1+99 --ignore-eos; [ "$status" -eq 0 ] && [ "$(wc -c < "$dir/out")" -gt 9 ]
ok $? "--ignore-eos goes on"
tiny -t 0 -n 9 -i the --logit-bias 271+20 --presence-penalty 100 --repeat-last-n -1
[ "$(grep -o once "$dir/out" | wc -l)" -eq 1 ]; ok $? "a penalty"

# ---- chat --------------------------------------------------------------------------------------------
printf 'the\nonce\n' > "$dir/said"
in=$dir/said; tiny -m chat -y a -n 60 --logit-bias 2+99
[ "$status" -eq 0 ] && printf '\n\n' | cmp -s - "$dir/out" && [ "$(grep -c '^User: ' "$dir/err")" -eq 3 ]
ok $? "chat: a turn a line, EOS ends it, stdout has the assistant's text only"
tiny -m chat -n 60 --logit-bias 2+99
[ "$status" -eq 0 ] && printf '\n\n' | cmp -s - "$dir/out" && [ "$(grep -c '^User: ' "$dir/err")" -eq 3 ] &&
    ! grep -q '[Ss]ystem' "$dir/err"
ok $? "chat: without -y too the first line is the user's, and nothing else is asked"
printf 'the\nwhy\n' > "$dir/said" # as llama2.c's run does, but for bytes that are no character and the token after EOS
tiny -m chat -y "" -t 1 -p 0.9 -s 104 -n 60; LC_ALL=C tr -cd '\000-\177' < "$dir/out" > "$dir/ascii"
printf '$$$$$zzllllm\n}ll\n' | cmp -s - "$dir/ascii"; ok $? "chat: two turns of llama2.c's, a random number a position"
in=/dev/null; tiny -m chat -y a -i the -t 0 -n 60; cp "$dir/out" "$dir/b"
[ "$status" -eq 0 ] && [ "$(wc -c < "$dir/b")" -gt 9 ]; ok $? "chat: -i is the first turn"
in=$dir/said; tiny -m chat -y a -i the -t 0 -n 60; same_out "$dir/b" "chat: -i without a terminal is one answer and the end"
go chat "$dir/tiny.bin" -z "$dir/tok.bin" -y a -i the -t 0 -n 60; same_out "$dir/b" "run chat MODEL is -m chat"
think() { tiny -m chat --chat-template deepseek-r1 -i the -t 0 -n 60 "$@"; } # its form ends in <think>
think --n-predict 8; [ "$(head -n 1 "$dir/out")" = "<think>" ] && grep -q '^</think>$' "$dir/out"; ok $? "chat: thoughts stand between tags"
think --n-predict 8 --thoughts hide; out_is "\n" "chat: --thoughts hide"
think --n-predict 30 --reasoning-budget 2 --reasoning-budget-message stop
sed -n 2p "$dir/out" | grep -q 'stop' && [ "$(tail -n +5 "$dir/out" | wc -c)" -gt 9 ]; ok $? "chat: --reasoning-budget ends them with its message"
think --n-predict 30 --reasoning off; [ -s "$dir/out" ] && ! grep -q think "$dir/out"; ok $? "chat: --reasoning off"
{ printf '%s' "{% if messages|length > 2 and 'reasoning_content' not in messages[1] %}{{ raise_exception('forgotten') }}{% endif %}"
  printf '%s' "{% for m in messages %}{{ m.role + m.content }}{% endfor %}<think>"; } > "$dir/thinks.jinja"
printf 'the\nonce\n' > "$dir/said"; in=$dir/said
tiny -m chat --chat-template-file "$dir/thinks.jinja" -t 0 -c 300 --n-predict 12 --reasoning-budget 2; in=/dev/null
[ "$status" -eq 0 ] && [ "$(grep -c '^</think>' "$dir/out")" -eq 2 ]; ok $? "chat: a template gets old thoughts as reasoning_content"
think --n-predict 0; refused 1 "without answers" "chat: --n-predict 0"
think --chat-template-file "$dir/thinks.jinja"; refused 1 "takes no --chat-template-file" "chat: a form and a template"
think --chat-template-kwargs '{}'; refused 1 "takes no --chat-template-kwargs" "chat: a form and variables"
think --quiet --n-predict 4; [ "$status" -eq 0 ] && [ ! -s "$dir/err" ]; ok $? "chat: --quiet asks nothing of a pipe"
printf 'the\0once\n' > "$dir/said"; in=$dir/said; tiny -m chat -n 60; in=/dev/null
[ "$status" -eq 3 ] && grep -q 'line 1, byte 3: a NUL' "$dir/err"; ok $? "chat: a NUL in a line"
printf 'the\nonce\n\353\260\n' > "$dir/said"; in=$dir/said; tiny -m chat -t 0 --n-predict 2; in=/dev/null
[ "$status" -eq 3 ] && [ "$(wc -l < "$dir/out")" -eq 2 ] && grep -q 'standard input: line 3, byte 0: bytes that are not UTF-8' "$dir/err"
ok $? "chat: a line that is no UTF-8, after the answers before it"
printf 'the\nonce\nthe\n' > "$dir/said"; in=$dir/said; tiny -m chat -t 0 -c 30 --no-drop; in=/dev/null
[ "$status" -eq 1 ] && [ "$(wc -l < "$dir/out")" -eq 1 ] && grep -q 'the context 30' "$dir/err"; ok $? "chat: --no-drop makes a question that has no room an error"
printf ' \n\t\n' > "$dir/blank.jinja"; tiny -m chat -i the --quiet --chat-template-file "$dir/blank.jinja"
refused 3 'blank.jinja: is empty' "chat: a template without anything"
printf '{%% if false %%}a{%% endif %%}' > "$dir/blank.jinja"; tiny -m chat -i the --quiet --chat-template-file "$dir/blank.jinja"
refused 3 'template writes nothing' "chat: a template that writes nothing"
[ ! -c /dev/full ] || { printf 'the\n' | "$run" "$dir/tiny.bin" -z "$dir/tok.bin" -m chat --quiet > /dev/full 2> "$dir/err"; [ $? -eq 4 ] && [ "$(wc -l < "$dir/err")" -eq 1 ]; }
ok $? "chat: a full disk has one message"
missing=; for f in $("$run" --help | grep -o '^ .*  --[a-z-]*\|^ *-., --[a-z-]*' | grep -o -- '--[a-z-]*'); do
    grep -qF -- "$(echo "$f" | sed 's/-/\\-/g')" scripts/pith.1 || missing="$missing $f"; done # from the project's folder, as make test
[ -z "$missing" ]; ok $? "the man page has every flag of --help:$missing"
think --thoughts dimm; refused 1 "show, dim or hide" "--thoughts lists what it may be"
think --reasoning no; refused 1 "on, off or auto" "--reasoning too"
tiny -i the --reasoning off; refused 1 "is of a conversation" "--reasoning outside of a chat"
go chat "$dir/tiny.bin" -z "$dir/tok.bin" -m generate; refused 1 "two things" "run chat and -m generate"
in=/dev/null
tiny -m chat -y a -t 0 -n 60; [ "$status" -eq 0 ] && [ ! -s "$dir/out" ] && grep -q '^User: ' "$dir/err"
ok $? "chat: nobody says anything"
tiny -m chat -i "$(printf 'x%.0s' $(seq 100))"; [ "$status" -eq 1 ] && grep -q "the context 64" "$dir/err"
ok $? "chat: a turn too long"
tiny -m chat -y a --chat-template none; refused 1 chatml "chat: an unknown template lists those known, before a question"

if script -qec true /dev/null > /dev/null 2>&1 < /dev/null; then
    script -qec "env TERM=dumb $run $dir/tiny.bin -z $dir/tok.bin -m chat" /dev/null < /dev/null > "$dir/out" 2> "$dir/err"; status=$?
    case $(tr -d '\r\004\010' < "$dir/out" | sed 's/\^D//g'; echo .) in *"User: .") false;; *"User: "*) ;; *) false;; esac
    ok $? "chat: the end of input leaves the terminal's line"
else skip "chat: the end of input leaves the terminal's line" "no script(1)"; fi

# ---- signals -----------------------------------------------------------------------------------------
hup_ignored() { [ $((0x$(sed -n 's/^SigIgn:[^0-9a-f]*//p' /proc/self/status 2> /dev/null || echo 0) & 1)) -ne 0 ]; } # by a nohup around us
written() { for i in $(seq 100); do [ -s "$1" ] && break; sleep 0.1; done; } # waits for a file, which may take long beside others
first= # a file that interrupt waits for
interrupt() { # interrupt SIGNAL STATUS NAME ARGS...: ends within a second with what there is
    signal=$1; want=$2; name=$3; shift 3
    # what a shell starts in the background ignores SIGINT; the program asks to be told all the same
    "$run" "$@" > "$dir/out" 2> "$dir/err" < "$in" &
    pid=$!; sleep 0.5; [ ! "$first" ] || written "$first"; kill -s "$signal" $pid; wait $pid; status=$?
    [ $status -eq "$want" ]; ok $? "$name"
}
long="-n 0 -c 1000000 --ignore-eos --cache-type-k f16 --cache-type-v f16"
interrupt INT 130 "SIGINT while writing" "$dir/tiny.bin" -z "$dir/tok.bin" $long
status=0; utf8 "leaves what was written, as UTF-8"
interrupt INT 130 "SIGINT with --samples" "$dir/tiny.bin" -z "$dir/tok.bin" $long --samples 3 --parallel 2
[ "$(grep -c '^<|endoftext|>$' "$dir/out")" -eq 1 ]; ok $? "leaves those that were begun"
interrupt INT 130 "SIGINT with --format jsonl" "$dir/tiny.bin" -z "$dir/tok.bin" $long --format jsonl
grep -q '"finish_reason": "cancelled"}$' "$dir/out"; ok $? "which says so"
interrupt TERM 143 "SIGTERM while writing" "$dir/tiny.bin" -z "$dir/tok.bin" $long
interrupt INT 130 "SIGINT with -o" "$dir/tiny.bin" -z "$dir/tok.bin" $long -o "$dir/stopped"
[ -s "$dir/stopped" ]; ok $? "keeps the file"
if hup_ignored; then skip "SIGHUP with -o" "SIGHUP is ignored here"; else
    interrupt HUP 129 "SIGHUP with -o" "$dir/tiny.bin" -z "$dir/tok.bin" $long -o "$dir/hungup"
    [ -s "$dir/hungup" ] && ! ls "$dir" | grep -q part; ok $? "keeps the file, and leaves nothing beside it"
fi
nohup "$run" "$dir/tiny.bin" -z "$dir/tok.bin" $long -o "$dir/nohup" > "$dir/out" 2> "$dir/err" < /dev/null & pid=$!
sleep 0.5; kill -s HUP $pid; sleep 0.2; kill -s TERM $pid; wait $pid; status=$?
[ $status -eq 143 ]; ok $? "under nohup SIGHUP is not heard"
mkfifo "$dir/fifo"; sleep 3 > "$dir/fifo" & in=$dir/fifo
interrupt INT 130 "SIGINT while waiting for the user" "$dir/tiny.bin" -z "$dir/tok.bin" -m chat -y a
in=/dev/null
cp "$dir/tiny.bin" "$dir/shrinks.bin"
timeout 30 "$run" "$dir/shrinks.bin" -z "$dir/tok.bin" $long > /dev/null 2> "$dir/err" < /dev/null & pid=$!
sleep 0.5; : > "$dir/shrinks.bin"; wait $pid; status=$?
[ $status -eq 4 ] && grep -q '^pith: .*shrank' "$dir/err"; ok $? "a model file that shrinks"

# ---- samplers ----------------------------------------------------------------------------------------
tell() { go -i "Once upon a time" -n 60 -s 11 "$@"; } # the model that is built in
tell -t 0.9; cp "$dir/out" "$dir/a"
tell --temperature 0.9 --typical 1 --top-n-sigma 0 --xtc-probability 0 --dynatemp-range 0 --dry-multiplier 0 --mirostat 0; same_out "$dir/a" "samplers that are off change no text"
tell -t 0.9 --samplers "penalties;temperature;top_k;top_p;min_p"; same_out "$dir/a" "samplers in the order that they have"
tell -t 0.9 --sampler-seq etkpm; same_out "$dir/a" "the same by letters"
tell -t 0; cp "$dir/out" "$dir/greedy"
tell --samplers "top-k;temperature" --top-k 1; same_out "$dir/greedy" "samplers: top_k alone"
differs() { [ "$status" -eq 0 ] && [ -s "$dir/out" ] && ! cmp -s "$1" "$dir/out"; ok $? "$2"; }
tell -t 0.9 --samplers "" --top-k 1; differs "$dir/greedy" "samplers: none takes part"
for f in "typical 0.1" "top-n-sigma 0.2" "xtc-probability 1" "dynatemp-range 0.9" "mirostat 1" "mirostat 2"; do
    set -- $f; tell -t 0.9 --$1 $2; differs "$dir/a" "--$f takes part"
done
tell -t 0.9 --samplers "adaptive_p" --adaptive-target 0.01; differs "$dir/a" "adaptive-p takes part"
tell -t 0 -n 250; cp "$dir/out" "$dir/long"
tell -t 0 -n 250 --dry-multiplier 5 --dry-penalty-last-n -1 --dry-sequence-breaker none; differs "$dir/long" "DRY keeps greedy text from repeating itself"
cp "$dir/out" "$dir/b"; breakers=; for b in a e i o u y . , "'"; do breakers="$breakers --dry-sequence-breaker $b"; done # no two tokens without one
tell -t 0 -n 250 --dry-multiplier 5 --dry-penalty-last-n -1 --dry-sequence-breaker " " $breakers; same_out "$dir/long" "but not over a breaker"
tell -t 0 -n 250 --dry-multiplier 5 --dry-penalty-last-n -1 --dry-sequence-breaker zzz --dry-sequence-breaker qqq; same_out "$dir/b" "breakers that do not come break nothing"

# ---- NaN ---------------------------------------------------------------------------------------------
cp "$dir/tiny.bin" "$dir/nan.bin" # the embedding of BOS, row 1 of (300, 32) after 28 bytes
printf '\000\000\300\177' | dd of="$dir/nan.bin" bs=1 seek=$((28 + 4 * 32)) conv=notrunc 2> /dev/null
go "$dir/nan.bin" -z "$dir/tok.bin" -n 20
[ "$status" -eq 0 ] && [ "$(grep -c '^pith: .*NaN' "$dir/err")" -eq 1 ]; ok $? "NaN weights run, and are told once"
go score "$dir/nan.bin" -z "$dir/tok.bin" -i "the once"
[ "$status" -eq 0 ] && [ "$(grep -c '^pith: .*NaN' "$dir/err")" -eq 1 ]; ok $? "and scored"

# ---- verbs -------------------------------------------------------------------------------------------
verb() { v=$1; shift; go "$v" "$dir/tiny.bin" -z "$dir/tok.bin" "$@"; }
verb tokenize -i "the once"; out_is "1 265 259 271\n" "tokenize"
verb tokenize -i "the q\"" --pieces
[ "$(cat "$dir/out")" = "$(printf '1\t"\\n<s>\\n"\n265\t" the"\n259\t" "\n116\t"q"\n37\t"\\""')" ]; ok $? "tokenize --pieces"
[ "$(cat "$dir/err")" = "5 tokens, 6 bytes" ]; ok $? "and their number"
verb tokenize -i "the once" --no-bos; out_is "265 259 271\n" "tokenize --no-bos"
go tokenize "$dir/words.gguf" -i "Playing <sep> A."; out_is "1 3 4 0 0 0 6 5 2\n" "tokenize: special tokens before and behind a text"
go tokenize "$dir/words.gguf" -i "Playing <sep> A." --parse-special --no-bos; out_is "3 4 2 6 5\n" "or only those in it"
go tokenize "$dir/words.gguf" --decode 1,3,4,2,6,5,2; out_is "playing a." "pieces of words become text"
go tokenize "$dir/words.gguf" --decode 1,3,2 --parse-special; out_is "<cls> play <sep>" "and special tokens, where asked for"
go tokenize "$dir/words.gguf" --decode 3,9; refused 3 "token 9 is not below" "a token that is none"
go quantize "$dir/words.gguf" "$dir/words.hf/" --outtype f32; refused 3 "a vocabulary of WordPiece cannot be written" "no folder of a vocabulary that has no place there"
verb tokenize -i ""; out_is "1\n" "tokenize nothing"
verb tokenize --decode 1,265,259,271; out_is "the once" "decode"
verb tokenize --decode 265,259,271; out_is "the once" "decode without BOS"
printf ' \001\377a\000b  \342\202\n' > "$dir/p"
verb tokenize -f "$dir/p"; ids=$(tr ' ' , < "$dir/out"); verb tokenize --decode "$ids"
same_out "$dir/p" "decode gives back the bytes"
for v in "" 1, ,1 a 1,,2 1.5 -1 99999999999; do verb tokenize --decode "$v"; refused 1 "token ids" "--decode '$v'"; done
verb tokenize --decode 1,300; refused 3 300 "decode a token that is none"
verb tokenize; refused 1 "-i TEXT" "tokenize nothing at all"
verb score -i "the once and" --logits "$dir/logits"
[ "$status" -eq 0 ] && [ "$(head -1 "$dir/out")" = "$(printf 'pos\tid\tlogprob\trank\tpiece')" ] &&
    [ "$(sed -n 4p "$dir/out" | cut -f 1,2,5)" = "$(printf '3\t271\t"once"')" ] &&
    awk -F '\t' 'NR > 1 && !($3 ~ /^-[0-9]+\.[0-9][0-9][0-9][0-9][0-9][0-9]$/ && $4 >= 0 && $4 < 300) { exit 1 }' "$dir/out"
ok $? "score: a header and a line a token"
awk -F '\t' 'NR > 1 { s -= $3; n++ } END { printf "%d %.6f %.4f\n", n, s / n, exp(s / n) }' "$dir/out" > "$dir/want"
awk 'END { printf "%d %s %s\n", $2, $4, $6 }' "$dir/err" | cat - "$dir/want" |
    awk '{ n[NR] = $1; l[NR] = $2; p[NR] = $3 } # lines have 6 decimals, so their sum is not exact
         function near(a, b) { return a - b < 1e-5 * b && b - a < 1e-5 * b }
         END { exit !(NR == 2 && n[1] == n[2] && n[1] > 0 && near(l[1], l[2]) && near(p[1], p[2])) }'
ok $? "score: the sums"
[ "$(tail -1 "$dir/err" | tr -d '0-9.')" = "tokens   nll   perplexity   bits/byte " ]; ok $? "score: the last line"
[ "$(wc -c < "$dir/logits")" -eq $((5 * 300 * 4)) ]; ok $? "score: logits of every token"
cp "$dir/out" "$dir/a"; verb score --tokens 1,265,259,271,287; same_out "$dir/a" "score --tokens"
verb score --tokens 1,265,300; refused 3 300 "score a token that is none"
verb score --tokens 1,x; refused 1 "token ids" "score what is no token"
verb score; refused 1 "-i TEXT" "score nothing at all"
verb score -i ""; refused 3 "1 token, need" "score: a text of nothing"
printf '\357\273\277the once and a\r\n' > "$dir/p"; printf 'the once and a\n' > "$dir/q"
verb score -f "$dir/q"; cp "$dir/out" "$dir/a"; verb score -f "$dir/p"; same_out "$dir/a" "score: a byte order mark and CRLF are no text"
printf '\377\376t\000h\000' > "$dir/p"; verb score -f "$dir/p"; refused 3 "UTF-16" "score: UTF-16"
verb score -i a -f b; refused 1 "-f FILE" "score two texts"
verb score -i "the once and a cat"; awk -F'\t' 'NR > 1 { s += $3; b += length($5) - 2 } END { printf "%.4f\n", -s / log(2) / b }' "$dir/out" > "$dir/bits"
[ "$(sed -n 's/.*bits.byte //p' "$dir/err")" = "$(cat "$dir/bits")" ]; ok $? "score: bits a byte are logarithms to base 2"
(head -c 28 "$dir/tiny.bin"; head -c $(($(wc -c < "$dir/tiny.bin") - 28)) /dev/zero) > "$dir/zero.bin" # all logits are 0
go score "$dir/zero.bin" --tokens 1,7,0,299; [ "$(awk 'NR > 1 { printf "%d ", $4 }' "$dir/out")" = "7 0 299 " ]
ok $? "score: of equal logits the first has the lowest rank"
go score "$dir/zero.bin" --tokens 1,7; tail -1 "$dir/err" | grep -q 'perplexity 300.0000$'; ok $? "score: no bits/byte without bytes"
# Windows: the second begins after --stride tokens and the first, which is BOS, and scores what the first did not.
printf 'z%.0s' $(seq 100) > "$dir/long"
tiny_ids=$("$run" tokenize "$dir/tiny.bin" -z "$dir/tok.bin" -f "$dir/long" | tr ' ' ',')
part=$(echo "$tiny_ids" | cut -d, -f10-40)
verb score -f "$dir/long" -c 32 --stride 8; cp "$dir/out" "$dir/a"
[ "$(wc -l < "$dir/a")" -eq 102 ] && grep -q '^windows of 32 tokens, .* 8 ' "$dir/err"; fine "score: a text longer than the context"
verb score --tokens "1,$part"; awk -F'\t' '$1 >= 25 && $1 <= 31 { print $1 + 8, $2, $3, $4 }' "$dir/out" > "$dir/b"
awk -F'\t' '$1 >= 33 && $1 <= 39 { print $1, $2, $3, $4 }' "$dir/a" | cmp -s - "$dir/b" && [ "$(wc -l < "$dir/b")" -eq 7 ]
ok $? "score: a window is the text from there on"
verb score -f "$dir/long" -c 32 --logits "$dir/logits"; [ "$(wc -c < "$dir/logits")" -eq $((102 * 300 * 4)) ]
fine "score: a row of logits for each token, whatever the windows"
verb score -f "$dir/long" -c 32 --stride 32; refused 1 "stride" "score: windows that leave tokens out"
verb score -i the --logits "$dir/nowhere/kept"; [ "$status" -eq 4 ]; ok $? "score: logits that cannot be written"
printf 'q"\\\t\001\377' > "$dir/p"; verb score -f "$dir/p"
cut -f 5 "$dir/out" | tr '\n' ' ' > "$dir/got"
printf '%s' 'piece " " "q" "\"" "\\" "\t" "\u0001" "'"$(printf '\357\277\275')"'" ' | cmp -s - "$dir/got"
ok $? "score: pieces are JSON strings"
ids=$(seq -s, 1 49),$(seq -s, 0 49)
go score "$dir/longrope.1.gguf" --tokens "$ids"; cp "$dir/out" "$dir/a"
go score "$dir/longrope.80.gguf" --tokens "$ids"; same_out "$dir/a" "score: longrope by the length of the whole text"
letters=$(printf 'abcdefghij%.0s' $(seq 10))
go score "$dir/longrope.80.gguf" -i "$letters"
want=$(awk -F'\t' 'NR > 1 { s += $3 } NR > 92 { last += $3 } END { printf "%.4f %.4f", s, last }' "$dir/out")
(printf '{"text": "abc"}\n{"text": "%s"}\n{"text": "abc"}\n' "$letters"
 printf '{"prompt": "%s", "completion": "%s"}\n' "${letters%??????????}" abcdefghij) > "$dir/p.jsonl"
go score "$dir/longrope.80.gguf" -f "$dir/p.jsonl" --parallel 2; cp "$dir/out" "$dir/a"
[ "$(awk -F'\t' 'NR == 3 || NR == 5 { printf "%s%.4f", NR == 5 ? " " : "", $3 }' "$dir/a")" = "$want" ] && [ "$(sed -n '2s/^0//p' "$dir/a")" = "$(sed -n '4s/^2//p' "$dir/a")" ]
fine "score of rows: longrope by the length of each"
go score "$dir/longrope.80.gguf" -f "$dir/p.jsonl" --parallel 1; same_out "$dir/a" "score of rows: longrope, one after another"
for i in 1 2 3 4; do sed -n 2p "$dir/p.jsonl"; done > "$dir/q.jsonl" # more tokens than logits are kept of at once: texts come in parts
go score "$dir/longrope.80.gguf" -f "$dir/q.jsonl"; [ "$(cut -f 3 "$dir/out" | sort -u | wc -l)" -eq 2 ]; fine "score of rows: longrope, in parts"
go score "$dir/tiny.bin" --tokens 1,2,3; fine "score tokens without a vocabulary"
# Drift: a text shorter than a window is scored as score does it; of a longer one, the second half of each window is.
drift() { go drift "$dir/tiny.bin" "$dir/tiny.v2.bin" -z "$dir/tok.bin" "$@"; }
number() { sed -n "s/.*\"$1\": \([^,}]*\).*/\1/p" "$dir/out"; }
near() { awk -v a="$1" -v b="$2" 'BEGIN { d = a - b; exit !(a != "" && b != "" && d < 2e-5 * b && -d < 2e-5 * b) }'; }
printf 'the once and a cat sat, and a cat sat the once and a mat' > "$dir/told"
drift -f "$dir/told" --json; cp "$dir/out" "$dir/json"; [ "$(wc -l < "$dir/out")" -eq 1 ]; fine "drift --json: an object in a line"
for v in tiny tiny.v2; do
    go score "$dir/$v.bin" -z "$dir/tok.bin" -f "$dir/told"; want=$(sed -n 's/.*perplexity \([0-9.]*\).*/\1/p' "$dir/err"); cp "$dir/json" "$dir/out"
    near "$(number ppl_$([ $v = tiny ] && echo a || echo b))" "$want"; ok $? "drift: the perplexity of $v is that of score"
done
[ "$(number tokens)" -eq $(($("$run" tokenize "$dir/tiny.bin" -z "$dir/tok.bin" -f "$dir/told" | wc -w) - 1)) ] && [ "$(number windows)" = 1 ]
ok $? "drift: all tokens of a short text"
grep -q '"median_kl": [0-9]' "$dir/out" && grep -q '"max_kl": [0-9]' "$dir/out" && grep -q '"top1_agreement": [01]' "$dir/out" &&
    grep -q '"token": "[^"]' "$dir/out" && grep -q '"name": "blk.1.ffn_down.weight", "type_a": "F32"' "$dir/out"; ok $? "drift: what is asked for by name"
drift -f "$dir/told" --json --threads 3; same_out "$dir/json" "drift: the same for any number of threads"
drift -f "$dir/told" -c 16 --json; cp "$dir/out" "$dir/json"; grep -q '^note: the last [0-9]* tokens of the text fill no window of 16' "$dir/err"; ok $? "drift: what is left out"
t=$("$run" tokenize "$dir/tiny.bin" -z "$dir/tok.bin" -f "$dir/told"); rows=0; : > "$dir/rows"
set -- $t; while [ $# -ge 16 ]; do # BOS instead of the first of a window
    ids=1; shift; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do ids=$ids,$1; shift; done
    "$run" score "$dir/tiny.bin" -z "$dir/tok.bin" --tokens $ids 2> /dev/null | awk -F '\t' 'NR > 1 && $1 > 8' >> "$dir/rows"
done
cp "$dir/json" "$dir/out"; near "$(number ppl_a)" "$(awk -F '\t' '{ s -= $3; n++ } END { printf "%.6f", exp(s / n) }' "$dir/rows")" &&
    [ "$(number tokens)" = "$(wc -l < "$dir/rows" | tr -d ' ')" ]; ok $? "drift: the second half of each window"
drift -f "$dir/told"; cp "$dir/out" "$dir/a"
grep -q '^Mean    KLD:   [0-9.]* . ' "$dir/out" && grep -q '^Same top p: ' "$dir/out" && grep -q '^99.9%   KLD: ' "$dir/out" &&
    grep -q '^Mean PPL(Q)-PPL(base)         : ' "$dir/out" && grep -q '^token_embd.weight .*F32, I8' "$dir/out"; fine "drift: the table"
in=$dir/told; drift -f -; in=/dev/null; same_out "$dir/a" "drift of standard input"
go drift "$dir/tiny.bin" "$dir/tiny.v1.bin" -z "$dir/tok.bin" -f "$dir/told" --json
[ "$(number mean_kl)" = 0 ] && [ "$(number max_kl)" = 0 ] && [ "$(number top1_agreement)" = 1 ] && ! grep -q '"rmse": [^0]' "$dir/out"; fine "drift: none between equal weights"
go drift "$dir/nan.bin" "$dir/tiny.bin" -z "$dir/tok.bin" -f "$dir/told" --json; grep -q '"mean_kl": null' "$dir/out"; fine "drift: JSON has no NaN"
drift; refused 1 "-f FILE" "drift without a text"
go drift "$dir/tiny.bin" -f "$dir/told"; refused 1 "two models" "drift of one model"
drift "$dir/tiny.bin" -f "$dir/told"; refused 1 "two models" "drift of three"
drift -f "$dir/none"; refused 3 none "drift: a text that is not there"
drift -f /dev/null; refused 3 "is empty" "drift: an empty text"
drift --tokens 5; refused 3 "1 token, need two" "drift: a token"
drift --tokens 5,300; refused 3 "300" "drift: a token that is none"
drift -f "$dir/told" -c 1; refused 1 "-c is 1" "drift: a window of one token"
go drift "$dir/tiny.bin" "$dir/spm.gguf" -z "$dir/tok.bin" -f "$dir/told"; refused 3 "300 tokens, .* has 9: need the same vocabulary" "drift: of two vocabularies"
# Imatrix: in chunks; who was stopped, or killed, goes on to the same bytes.
imatrix() { go imatrix "$dir/tiny.bin" -z "$dir/tok.bin" -c 16 "$@"; }
done_well() { [ $? -eq 0 ] && [ "$status" -eq 0 ] && [ ! -s "$dir/out" ] && ! grep -q '^pith:' "$dir/err"; ok $? "$1"; }
awk 'BEGIN { for (i = 0; i < 400; i++) printf "the once and %d cats sat%s", i * i, i % 7 ? " " : "\n" }' > "$dir/read"
imatrix -f "$dir/read" -o "$dir/im.gguf"; grep -q "im.gguf: [0-9]* chunks of 16 tokens, 14 tensors" "$dir/err"; done_well "imatrix: what it read"
chunks=$(sed -n 's/.*: \([0-9]*\) chunks.*/\1/p' "$dir/err"); cp "$dir/im.gguf" "$dir/im.whole"
imatrix -f "$dir/read" -o "$dir/im.gguf"; grep -q "has all $chunks chunks already" "$dir/err" && cmp -s "$dir/im.gguf" "$dir/im.whole"; done_well "imatrix: once it is whole there is nothing to do"
rm "$dir/im.gguf"; imatrix -f "$dir/read" -o "$dir/im.gguf" --chunks 7 --threads 3; ! cmp -s "$dir/im.gguf" "$dir/im.whole"; done_well "imatrix --chunks"
imatrix -f "$dir/read" -o "$dir/im.gguf"; grep -q "going on at chunk 8 of $chunks" "$dir/err" && cmp -s "$dir/im.gguf" "$dir/im.whole"; done_well "imatrix goes on to the same bytes"
rm "$dir/im.gguf"; "$run" imatrix "$dir/tiny.bin" -z "$dir/tok.bin" -c 16 -f "$dir/read" -o "$dir/im.gguf" --output-frequency 1 2> /dev/null & pid=$!
for i in 1 2 3 4 5 6 7 8 9 10; do [ -s "$dir/im.gguf" ] && break; sleep 0.1; done; kill -s KILL $pid; wait $pid 2> /dev/null
imatrix -f "$dir/read" -o "$dir/im.gguf"; cmp -s "$dir/im.gguf" "$dir/im.whole"; done_well "imatrix after kill -9"
rm "$dir/im.gguf"; head -c 200000 /dev/zero | tr '\0' a > "$dir/long"
interrupt INT 130 "SIGINT during imatrix" imatrix "$dir/tiny.bin" -z "$dir/tok.bin" -c 16 -f "$dir/long" -o "$dir/im.gguf"
grep -q 'stopped at chunk [0-9]* of [0-9]*: the same command goes on' "$dir/err" && [ -s "$dir/im.gguf" ]; ok $? "imatrix says how to go on"
imatrix -f "$dir/read" -o "$dir/im.gguf"; refused 1 "another text, model or -c" "imatrix does not mix texts"
imatrix -f "$dir/told" -o "$dir/more.gguf" --in-file "$dir/im.whole"; grep -q "more.gguf: $((chunks + $("$run" tokenize "$dir/tiny.bin" -z "$dir/tok.bin" -f "$dir/told" | wc -w) / 16)) chunks" "$dir/err"
done_well "imatrix --in-file adds"
imatrix -f "$dir/told" -o "$dir/im.dat"; [ "$(od -An -tu4 -N4 "$dir/im.dat" | tr -d ' ')" = 14 ]; done_well "imatrix as .dat"
imatrix -f "$dir/told" -o "$dir/more2.gguf" --in-file "$dir/im.dat" --in-file "$dir/im.whole"; done_well "imatrix: begun with both kinds"
go imatrix "$dir/spm.gguf" --tokens 1,5,6,7 -c 4 -o "$dir/x.gguf" --in-file "$dir/im.whole"; refused 3 "im.whole: is of another model" "imatrix of another model"
head -c 3000 "$dir/im.whole" > "$dir/im.cut"; imatrix -f "$dir/told" -o "$dir/x.gguf" --in-file "$dir/im.cut"; refused 3 "im.cut" "imatrix that is cut"
imatrix -f "$dir/told" -o "$dir/x.gguf" --in-file "$dir/none"; refused 3 none "imatrix that is not there"
[ ! -e "$dir/x.gguf" ]; ok $? "and nothing is written"
imatrix -f "$dir/told"; refused 1 "-o OUT" "imatrix without a place"
imatrix -o "$dir/x.gguf"; refused 1 "-f FILE" "imatrix without a text"
imatrix -f /dev/null -o "$dir/x.gguf"; refused 3 "is empty" "imatrix of an empty text"
imatrix --tokens 1,5,6 -o "$dir/x.gguf"; refused 3 "3 tokens, need 16" "imatrix of a short text"
imatrix -f "$dir/told" -o "$dir/tiny.bin"; refused 1 "is the model itself" "imatrix: -o onto the model"
imatrix -f "$dir/told" -o "$dir/told"; refused 1 "is the text itself" "imatrix: -o onto the text"
imatrix -f "$dir/told" -o "$dir/tok.bin"; refused 1 "is no imatrix" "imatrix: -o onto another file"
imatrix -f "$dir/told" -o "$dir/none/x.gguf"; refused 4 none/x.gguf "imatrix: a folder that is not there"
go imatrix "$dir/nan.bin" -z "$dir/tok.bin" -c 16 -f "$dir/told" -o "$dir/x.gguf"; refused 3 "'blk.0.* is not finite" "imatrix of NaN"
# Rows: the sums are those of score, token by token; of a prompt and a completion, behind the prompt's own tokens.
sum_of() { # sum_of FIRST TEXT: of its tokens from position FIRST on
    "$run" score "$dir/tiny.bin" -z "$dir/tok.bin" -i "$2" 2> /dev/null |
        awk -F'\t' -v first="$1" 'NR > 1 && $1 >= first { s += $3; n++ } END { printf "%d %.4f", n, s }'
}
cat > "$dir/rows.jsonl" << 'END'
{"text": "the once and a cat"}
{"prompt": "the once", "completion": " and a"}

{"id": 3, "completion": "q!", "prompt": "the once"}
{"prompt": "the on", "completion": "ce"}
END
verb score -f "$dir/rows.jsonl"; cp "$dir/out" "$dir/rows"; cp "$dir/err" "$dir/rows.err"
[ "$(head -1 "$dir/rows")" = "$(printf 'row\ttokens\tsum_logprob\tbytes')" ] &&
    [ "$(awk -F'\t' 'NR > 1 { printf "%s %s %.4f %s,", $1, $2, $3, $4 }' "$dir/rows")" = \
      "0 $(sum_of 1 "the once and a cat") 18,1 $(sum_of 4 "the once and a") 6,2 $(sum_of 4 "the onceq!") 2,3 $(sum_of 3 "the once") 2," ]
fine "score: a line a row, with the sums of the rows alone"
awk -F'\t' 'NR == FNR { if (FNR > 1) { n += $2; s -= $3; b += $4 } } # the error is of 6 decimals a row
     /^tokens/ { exit !($2 == n && ($4 - s / n) ^ 2 < 1e-11 && ($8 - s / log(2) / b) ^ 2 < 1e-8) }' "$dir/rows" FS=' ' "$dir/rows.err"
ok $? "score of rows: the sums of all, at the end"
for i in $(seq 40); do # texts of different lengths, with prompts in common
    printf '{"prompt": "the once%s", "completion": "%s"}\n{"text": "%s%s"}\n' "$(printf ' and%.0s' $(seq $((i % 7))))" " cat $i" "$i" "$(printf ' q%.0s' $(seq $((1 + i * i % 25))))"
done > "$dir/many.jsonl"
verb score -f "$dir/many.jsonl" --parallel 1; cp "$dir/out" "$dir/a"; verb score -f "$dir/many.jsonl" --parallel 7 --threads 2
[ "$(wc -l < "$dir/a")" -eq 81 ]; same_out "$dir/a" "score: rows have the same sums, however many go together"
verb score -f "$dir/many.jsonl" --parallel 100; same_out "$dir/a" "score: all at once"
for q in 1 2 3; do # the prompt, of 26 tokens and a few of its own, comes four times
    for c in a cat "once and" q; do printf '{"prompt": "qqqqqqqqqqqqqqqqqqqqqqqq %s once", "completion": " %s"}\n' $q "$c"; done
done > "$dir/choice.jsonl"
verb score -f "$dir/choice.jsonl" --parallel 1; cp "$dir/out" "$dir/a"
for p in 4 5 12; do verb score -f "$dir/choice.jsonl" --parallel $p; same_out "$dir/a" "score: a prompt that $p rows have in common"
    awk '/tokens evaluated/ { n = $1; all = $3 } END { exit !(n < 100 && all > 330) }' "$dir/err"; ok $? "and is read once"; done
cp "$dir/rows.jsonl" "$dir/p"; verb score -f "$dir/p"; same_out "$dir/rows" "score: rows are known by their content"
in=$dir/rows.jsonl; verb score -f -; same_out "$dir/rows" "score: on standard input too"; in=/dev/null
(printf '\357\273\277\r\n'; sed 's/$/\r/' "$dir/rows.jsonl") > "$dir/dos.jsonl"; verb score -f "$dir/dos.jsonl"; same_out "$dir/rows" "score: rows with a byte order mark and CRLF"
printf '{ is how a text may begin\n' > "$dir/p"; verb score -f "$dir/p"; [ "$(sed -n 2p "$dir/out" | cut -f 1)" = 1 ]; fine "score: a brace makes no row"
cat > "$dir/wrong.jsonl" << 'END'
{"prompt": "the once"}
{"completion": "the once"}
{"text": "a", "completion": "b"}
{"messages": [{"role": "user", "content": "hi"}]}
{"text": 7}
{"prompt": ["the"], "completion": "a"}
{"text": ""}
{"prompt": "the", "completion": ""}
{"text": "a \ud800 b"}
["the once"]
{"text": "the once"
{"other": 1}
{"text": "z z z z z z z z z z z z z z z z z z z z"}
{"text": "the once and a cat"}
END
verb score -f "$dir/wrong.jsonl" -c 16
[ "$status" -eq 3 ] && [ "$(grep -c "$(printf '\t0\tnan\t0$')" "$dir/out")" -eq 13 ] && [ "$(grep -c '^pith: .*wrong.jsonl: line [0-9]*: ' "$dir/err")" -eq 13 ] &&
    sed -n '2s/^0/13/p' "$dir/rows" | cmp -s - "$(sed -n 15p "$dir/out" > "$dir/last"; echo "$dir/last")"
ok $? "score: a wrong row is named, keeps its place, and loses no other"
for what in '1: a "prompt" without' '2: a "completion" without' '3: "text" beside' '4: "messages"' '5: "text" is no string' '6: "prompt" is no string' \
    '7: nothing to score' '8: nothing to score' '9: half a surrogate' '10: is no object' '11: no JSON: byte' '12: need "text"' '13: 41 tokens, .* room for 16'; do
    grep -q "line $what" "$dir/err"; ok $? "score: a row's line $what"
done
: > "$dir/none.jsonl"; verb score -f "$dir/none.jsonl"; refused 3 "none.jsonl: no rows" "score: a file of no rows"
verb score -f "$dir/none/no.jsonl"; refused 3 "no.jsonl: No such" "score: rows that are not there"
verb score -f "$dir/rows.jsonl" --logits "$dir/logits"; refused 1 "logits is of one text" "score: logits of rows"
verb score -f "$dir/rows.jsonl" --stride 9; refused 1 "stride is of one text" "score: windows of rows"
verb score -i the --parallel 4; refused 1 "parallel is of the rows" "score: one text at once with none"
go score "$dir/nan.bin" -z "$dir/tok.bin" -f "$dir/rows.jsonl"
[ "$status" -eq 0 ] && [ "$(grep -c '^pith: .*NaN' "$dir/err")" -eq 1 ] && [ "$(cut -f 3 "$dir/out" | grep -c '^nan$')" -eq 4 ]; ok $? "score: rows of a model of NaN, told once"
verb info; [ "$status" -eq 0 ] && grep -q '^kind *llama2.c version 0$' "$dir/out" && grep -q '^family *llama$' "$dir/out"
ok $? "info"
verb info --tensors; [ "$(awk -F'\t' 'NR > 1 { s += $4 } END { print s }' "$dir/out")" = 112768 ] &&
    grep -q "^token_embd.weight$(printf '\t')F32$(printf '\t')300 x 32$(printf '\t')38400$" "$dir/out"; ok $? "info --tensors"
verb info
for what in "parameters *28192\$" "weights *112768 bytes" "KV cache *16384 bytes" "context *64 tokens" "300 pieces"; do
    grep -q "$what" "$dir/out"; ok $? "info: $what"
done
verb info --parallel 5 -c 32; grep -q '^memory of 5 texts of 32 tokens' "$dir/out" &&
    awk '{ b[NR] = $(NF - 3) } END { exit !(NR == 5 && b[3] > 1000 && b[4] > 4096 * 2 && b[5] == b[3] + 5 * b[4]) }' "$dir/out"
fine "info --parallel: one pass, and a session for each text"
verb info --parallel 2 --cache-type-k q3; refused 1 "q3" "info --parallel of a cache that is none"
verb info --parallel 0; refused 1 "parallel is '0'" "info of no texts"
verb info -c 16; grep -q "KV cache *4096 bytes" "$dir/out"; ok $? "info: the cache of another context"

# ---- embeddings ----------------------------------------------------------------------------------------
printf 'the once\n\na cat\r\n' > "$dir/lines"
verb embed -f "$dir/lines"; cp "$dir/out" "$dir/embd"
[ "$(sed 's/[[].*//' "$dir/out" | tr '\n' ' ')" = "$(printf '{"object":"embedding","index":%d,"embedding": ' 0 1 2)" ] &&
    [ "$(tr , '\n' < "$dir/out" | wc -l)" -eq 102 ] && grep -q 'does not say how to pool; this is the last' "$dir/err"; fine "embed: an object a line, also for an empty one"
verb embed -f "$dir/lines" --threads 3; same_out "$dir/embd" "embed: the same numbers whatever the threads"
in=$dir/lines; verb embed -f -; same_out "$dir/embd" "embed: from standard input"; in=/dev/null
sed 's/\r$//; s/.*/{"b": 1, "a": "&"}/' "$dir/lines" > "$dir/p.jsonl"; verb embed -f "$dir/p.jsonl" --jsonl a; same_out "$dir/embd" "embed --jsonl"
verb embed -i "a cat"; [ "$(cut -d '[' -f 2 "$dir/out")" = "$(sed -n 3p "$dir/embd" | cut -d '[' -f 2)" ]; fine "embed: of one text, the same"
verb embed -i "a cat" --format text; [ "$(tr ' ' , < "$dir/out")" = "$(sed -n '3s/.*\[\(.*\)\]}/\1/p' "$dir/embd")" ]; fine "embed --format text"
verb embed -f "$dir/lines" --format f32; cp "$dir/out" "$dir/f32"; [ "$(wc -c < "$dir/out")" -eq 384 ]; fine "embed --format f32"
verb embed -f "$dir/lines" --format npy; cp "$dir/out" "$dir/npy"; head -c 128 "$dir/npy" | grep -q "'<f4', 'fortran_order': False, 'shape': (3, 32), } *\$" &&
    tail -c +129 "$dir/npy" | cmp -s - "$dir/f32"; fine "embed --format npy"
verb embed -f "$dir/lines" --format npy -o "$dir/o.npy"; [ "$status" -eq 0 ] && cmp -s "$dir/npy" "$dir/o.npy"; ok $? "embed -o: the same file"
verb tokenize -i "a cat"; verb embed --tokens "$(tr ' ' , < "$dir/out")"; [ "$(cut -d '[' -f 2 "$dir/out")" = "$(sed -n 3p "$dir/embd" | cut -d '[' -f 2)" ]; fine "embed --tokens"
verb embed -i "a cat" --pooling none --format f32; tail -c 128 "$dir/out" > "$dir/a"; tail -c 128 "$dir/f32" | cmp -s - "$dir/a"; fine "embed --pooling none: the last vector is the last token's"
verb embed -i "a cat" --pooling none; [ "$(grep -c '"index":0,"token":[0-9]*,' "$dir/out")" -gt 2 ]; fine "embed --pooling none: an object a token"
verb embed -i "a cat" --pooling mean --dimensions 3 --format text; [ "$(wc -w < "$dir/out")" -eq 3 ]; fine "embed --dimensions"
verb embed -f "$dir/lines" -c 2; [ "$(grep -c '^warning: 2 of 3 texts were cut to 2 tokens, the first is line 1$' "$dir/err")" -eq 1 ]; fine "embed: texts that are cut, told once"
go embed "$dir/nan.bin" -z "$dir/tok.bin" -i the; [ "$status" -eq 0 ] && [ "$(grep -c '^pith: .*NaN' "$dir/err")" -eq 1 ] && grep -q '"embedding":.null,' "$dir/out"; ok $? "embed: a model of NaN, told once, and still JSON"
verb embed -f "$dir/lines" --threads 3 --trace; [ "$(grep -c '^  l  name' "$dir/err")" -eq 3 ]; same_out "$dir/embd" "embed --trace: text by text, to the same numbers"
go embed "$dir/masks.gguf" -i "the cat" --pooling none --no-normalize --format text --trace
[ "$(tail -1 "$dir/out" | awk '{ printf "%.4g %.4g %.4g %.4g", $1, $2, $3, $4 }')" = "$(tail -1 "$dir/err" | awk '{ print $(NF - 3), $(NF - 2), $(NF - 1), $NF }')" ] &&
    grep -q '^  0  sum ' "$dir/err"; fine "embed --trace of an encoder: the last stream is the hidden state"
verb embed; refused 1 "one of -i TEXT" "embed of nothing"
verb embed -i a --pooling best; refused 1 "need one of: cls max mean" "embed: a pooling that is none"
verb embed -i a --format xml; refused 1 "jsonl text f32 npy" "embed: a format that is none"
verb embed -i "e cat" --prefix "a  cat thinks: "; cp "$dir/out" "$dir/a"; verb embed -i "a  cat thinks: e cat"; same_out "$dir/a" "embed --prefix: a text with a blank in it"
verb embed -i a --prefix query; refused 1 "the model has no prompts" "embed: a prompt that is none"
verb embed -i a --dimensions 33; refused 1 "1 to 32" "embed: more dimensions than there are"
verb embed -i a -c 65; refused 1 "context of 64" "embed: more tokens than the model reads"
verb embed -i a --jsonl text; refused 1 "lines of -f" "embed --jsonl of no file"
verb embed --tokens 1,300; refused 1 "token 300" "embed: a token that is none"
verb embed -f "$dir/no.txt"; refused 3 "no.txt: No such" "embed: a file that is not there"
: > "$dir/p"; verb embed -f "$dir/p"; refused 3 "has no lines" "embed: a file of no lines"
printf '{"a": "x"}\n{"a": 5}\n' > "$dir/p"; cp "$dir/npy" "$dir/o.f32"
verb embed -f "$dir/p" --jsonl a -o "$dir/o.f32"; refused 3 "line 2: has no text 'a'" "embed: a line without the field"; cmp -s "$dir/npy" "$dir/o.f32"; ok $? "and the old file stays"
printf '{"a": "x"\n' > "$dir/p"; verb embed -f "$dir/p" --jsonl a; refused 3 "p: line 1: byte 9" "embed: a line that is no JSON"
verb embed -i a -o "$dir/tiny.bin"; refused 1 "is the model itself" "embed -o over the model"


# ---- what encoders say ---------------------------------------------------------------------------------
printf 'the cat\n\na\tcat\n' > "$dir/lines"
go rank "$dir/rank.gguf" -i "the cats" -f "$dir/lines"; cp "$dir/out" "$dir/ranks"
[ "$(cut -f 2 "$dir/out" | sort | tr -d '\n')" = 123 ] && cut -f 1 "$dir/out" | sort -gr | cmp -s - "$(cut -f 1 "$dir/out" > "$dir/a"; echo "$dir/a")" &&
    grep -q "^-*[0-9.]*$(printf '\t3\ta\tcat')\$" "$dir/out"; fine "rank: score, line and text, the best first, also of an empty line"
in=$dir/lines; go rank "$dir/rank.gguf" -i "the cats" -f - --threads 3; same_out "$dir/ranks" "rank: from standard input, and the same whatever the threads"; in=/dev/null
go rank "$dir/rank.gguf" -i "the cats" -f "$dir/lines" -k 2; head -2 "$dir/ranks" > "$dir/a"; same_out "$dir/a" "rank -k"
printf 'the cat\n%s\n' "the cat the cat the cat the cat the cat the cat" > "$dir/long"; go rank "$dir/rank.gguf" -i "the cats" -f "$dir/long"
grep -q '^warning: 1 of 2 texts was cut to 16 tokens, the first is line 2$' "$dir/err"; fine "rank: a line that is cut, told"
go rank "$dir/rank.gguf" -i a; refused 1 "-f LINES" "rank of no lines"
go rank "$dir/rank.gguf" -i - -f -; refused 1 "both be standard input" "rank: two texts from one place"
: > "$dir/p"; go rank "$dir/rank.gguf" -i a -f "$dir/p"; refused 3 "has no lines" "rank: a file of no lines"
go rank "$dir/rank.gguf" -i a -f "$dir/no.txt"; refused 3 "no.txt: No such" "rank: a file that is not there"
go classify "$dir/labels.gguf" -i "the cat"; cp "$dir/out" "$dir/a"
[ "$(cut -f 2 "$dir/out" | sort | tr '\n' ' ')" = "no perhaps yes " ] && sort -gr "$dir/out" | cmp -s - "$dir/out" &&
    [ "$(awk '{ s += $1 } END { printf "%.4f", s }' "$dir/out")" = 1.0000 ]; fine "classify: probability and label, the best first"
go classify "$dir/labels.gguf" -i "the cat" --trace; grep -q '^  l  name' "$dir/err"; same_out "$dir/a" "classify --trace"
go classify "$dir/labels.gguf" -f "$dir/lines"; head -3 "$dir/out" | cmp -s - "$dir/a" && [ "$(grep -c '^$' "$dir/out")" -eq 2 ] && [ "$(wc -l < "$dir/out")" -eq 11 ]
fine "classify: the lines of a file, with empty lines between"
go classify "$dir/rank.gguf" -i "the cat"; [ "$(cut -f 2 "$dir/out")" = LABEL_0 ]; fine "classify: a label without a name"
go classify "$dir/tokens.gguf" -i "The cats. foo"; [ "$(cut -f 2 "$dir/out" | tr '\n' ' ')" = "the cat ##s . [UNK] " ] && ! grep -qv '^LABEL_[0-3]	' "$dir/out"
fine "classify: a label for each piece"
go classify "$dir/labels.gguf"; refused 1 "one of -i TEXT" "classify of nothing"
go fill "$dir/masks.gguf" -i "the [MASK] a [MASK]" -k 3; cp "$dir/out" "$dir/a"
[ "$(cut -f 1 "$dir/out" | tr -d '\n')" = 111222 ] && [ "$(awk -F'\t' 'NF == 3 && $2 > 0 && $2 < 1' "$dir/out" | wc -l)" -eq 6 ]; fine "fill: words for each mask"
go fill "$dir/masks.gguf" -i "the [MASK] a [MASK]" -k 3 --trace; grep -q '^  l  name' "$dir/err"; same_out "$dir/a" "fill --trace"
go fill "$dir/masks.gguf" -i "the <mask> a <mask>" -k 3; same_out "$dir/a" "fill: the other spelling of a mask"
go fill "$dir/masks.gguf" -i "the [MASK]"; [ "$(wc -l < "$dir/out")" -eq 5 ]; fine "fill: five words"
go fill "$dir/masks.gguf" -i "the [MASK]" -k 99; [ "$(wc -l < "$dir/out")" -eq 10 ] && [ "$(awk '{ s += $2 } END { printf "%.4f", s }' "$dir/out")" = 1.0000 ]; fine "fill: all words"
if [ -d "$shared/encoders" ]; then go fill "$shared/encoders/roberta-mlm-hf" -i "Once <mask>" -k 421; grep -q '	<0x[0-9A-F]*>$' "$dir/out"; utf8 "fill: a part of a character as a word"
else skip "fill: a part of a character" "no $shared/encoders"; fi
go fill "$dir/masks.gguf" -i "the cat"; refused 1 "write \[MASK\] where" "fill: a text without a mask"
go fill "$dir/masks.gguf" -i "the cat the cat the cat the cat the cat the cat the cat the cat [MASK]"; refused 3 "no mask within the 16 tokens" "fill: a mask that is cut off"
go fill "$dir/masks.gguf"; refused 1 "-i TEXT" "fill of nothing"
go info "$dir/labels.gguf"; grep -q '^head *3 numbers of a text: run classify$' "$dir/out" && grep -q '^ *1 perhaps$' "$dir/out"; fine "info: a head and its labels"
go info "$dir/rank.gguf"; grep -q '^head *1 number of a text: run rank$' "$dir/out"; fine "info: a head of one score"
# Each model to what it is not for: what it is, and the verb to use.
go fill "$dir/spm.gguf" -i a; refused 2 "a decoder (llama).*run MODEL -i TEXT" "fill with a decoder"
go rank "$dir/spm.gguf" -i a -f "$dir/lines"; refused 2 "a decoder (llama).*cross-encoder" "rank with a decoder"
go classify "$dir/masks.gguf" -i a; refused 2 "finds words for masks: run fill.*taught labels" "classify with a model of words"
go fill "$dir/labels.gguf" -i a; refused 2 "texts one of 3 labels: run classify" "fill with a classifier"
go rank "$dir/labels.gguf" -i a -f "$dir/lines"; refused 2 "texts one of 3 labels: run classify" "rank with a classifier"
go rank "$dir/tokens.gguf" -i a -f "$dir/lines"; refused 2 "tokens one of 4 labels: run classify" "rank with a classifier of tokens"
go "$dir/rank.gguf" -i a; refused 2 "an encoder (bert) that gives a pair of texts a score: run rank" "an encoder given to generate"
go chat "$dir/masks.gguf" -i a; refused 2 "run fill" "an encoder given to chat"
go score "$dir/masks.gguf" -i a; refused 2 "run fill" "an encoder given to score"
printf '{"prompt": "a"}\n' > "$dir/q.jsonl"; go batch "$dir/masks.gguf" -f "$dir/q.jsonl" -o "$dir/q.out"; refused 2 "run fill" "an encoder given to batch"
go drift "$dir/masks.gguf" "$dir/masks.gguf" -f "$dir/lines"; refused 2 "run fill" "encoders given to drift"

# ---- adapters ----------------------------------------------------------------------------------------
spm() { of=$1; shift; go $of "$dir/spm.gguf" "$@"; }
a=$dir/lora.gguf
spm score -i "ab a" --logits "$dir/base"; cp "$dir/out" "$dir/b"
spm score -i "ab a" --logits "$dir/one" --lora "$a"; ! cmp -s "$dir/base" "$dir/one"; fine "score --lora: other logits"
spm score -i "ab a" --logits "$dir/same" --lora-scaled "$a:1"; cmp -s "$dir/one" "$dir/same"; fine "--lora is --lora-scaled A:1"
spm score -i "ab a" --logits "$dir/same" --lora-scaled "$a:0"; cmp -s "$dir/base" "$dir/same"; fine "--lora-scaled A:0 adds nothing"
spm score -i "ab a" --logits "$dir/two" --lora "$a,$a"; ! cmp -s "$dir/one" "$dir/two"; fine "--lora A,A: both"
spm score -i "ab a" --logits "$dir/same" --lora "$a" --lora "$a"; cmp -s "$dir/two" "$dir/same"; fine "is --lora A --lora A"
spm score -i "ab a" --logits "$dir/same" --lora-scaled "$a:1,$a:1.0"; cmp -s "$dir/two" "$dir/same"; fine "is --lora-scaled A:1,A:1"
cp "$a" "$dir/a,b"; spm score -i "ab a" --logits "$dir/same" --lora "$dir/a,b"; cmp -s "$dir/one" "$dir/same"; fine "a path with a comma"
alone "$dir/spm.gguf" -i a -c 32; cp "$dir/alone" "$dir/b"; alone "$dir/spm.gguf" -i a -c 32 --lora "$a"
spm "" -i a -c 32 -s 5 --samples 5 --lora "$a"; ! cmp -s "$dir/alone" "$dir/b"; same_out "$dir/alone" "--samples with --lora"
printf '{"prompt":"a","seed":5}\n' > "$dir/q.jsonl"; go batch "$dir/spm.gguf" -f "$dir/q.jsonl" --lora "$a"; cp "$dir/out" "$dir/b"
go batch "$dir/spm.gguf" -f "$dir/q.jsonl"; ! cmp -s "$dir/out" "$dir/b"; fine "batch --lora"
go batch "$dir/spm.gguf" -f "$dir/q.jsonl" -o "$dir/answers" --lora "$a"
go batch "$dir/spm.gguf" -f "$dir/q.jsonl" -o "$dir/answers" --resume; [ "$status" -ne 0 ]; ok $? "batch --resume without the adapter"
spm embed -i "ab a" --format f32; cp "$dir/out" "$dir/b"; spm embed -i "ab a" --format f32 --lora "$a"; ! cmp -s "$dir/b" "$dir/out"; fine "embed --lora: another vector"
spm bench --n-prompt 8 --n-gen 4 --repetitions 1 --parallel 1,2 --lora "$a"; fine "bench --lora"
spm "" -i "a ab" -n 9 --lora "$a" --prompt-cache "$dir/kept.lora" > /dev/null
spm "" -i "a ab" -n 9 --prompt-cache "$dir/kept.lora"; refused 3 "other adapters" "--prompt-cache of a text with an adapter"
spm "" -i "a ab" -n 9 --lora "$a" --prompt-cache "$dir/kept.lora"; fine "and with it"
cp "$a" "$dir/b"; spm "" -i a --lora "$a" -o "$a"; refused 1 "adapter itself" "-o over the adapter"; cmp -s "$a" "$dir/b"; ok $? "leaves it"
echo a > "$dir/in"; in=$dir/in
for f in "" "--chat-template chatml"; do
    go "$dir/chat.gguf" -m chat --lora "$a" -n 20 $f; grep -c 'taught with another' "$dir/err"
done | tr '\n' ' ' | grep -q '^1 0 $'; ok $? "a chat with an adapter that was taught with another template"
in=/dev/null

mkdir "$dir/reward"; cp "$dir/reward.json" "$dir/reward/adapter_config.json"; cp "$dir/reward.safetensors" "$dir/reward/adapter_model.safetensors"
reward() { spm score --reward "$dir/reward" "$@"; }
cat > "$dir/q.jsonl" <<'END'
{"text": "ab a"}
{"prompt": "ab", "completion": " a"}

{"chosen": "a", "rejected": "ab ab ab ab", "prompt": "b"}
{"prompt": "b", "completion": "a"}
END
reward -f "$dir/q.jsonl"; cp "$dir/out" "$dir/b"
[ "$status" -eq 0 ] && [ "$(sed 's/[0-9.e-]*//g' "$dir/out" | tr '\t\n' '+/')" = "//+//" ]; ok $? "score --reward: one score a line, two of a pair"
[ "$(sed -n 1p "$dir/b")" = "$(sed -n 2p "$dir/b")" ] && [ "$(sed -n 3p "$dir/b" | cut -f 1)" = "$(sed -n 4p "$dir/b")" ]
ok $? "the same text has the same score"
reward -f "$dir/q.jsonl" --threads 1; same_out "$dir/b" "and with one thread"
was=$in; in=$dir/q.jsonl; reward -f -; in=$was; same_out "$dir/b" "and from standard input"
spm score --lora "$dir/reward" -i a; refused 2 "is a reward model (task_type SEQ_CLS)" "a reward model writes no text"
grep -v '^$' "$dir/q.jsonl" | sed '2s/.*/{"prompt": 5}/; 3s/"b"}/"b"/' > "$dir/p.jsonl"; reward -f "$dir/p.jsonl"
[ "$status" -eq 3 ] && [ "$(grep -n nan "$dir/out" | tr '\n' ' ')" = "2:nan 3:nan " ] && [ "$(sed -n 4p "$dir/out")" = "$(sed -n 4p "$dir/b")" ] &&
    grep -q 'p.jsonl: line 2: has prompt without' "$dir/err" && grep -q 'p.jsonl: line 3: byte' "$dir/err"; ok $? "wrong rows lose no other's score"
reward -f "$dir/q.jsonl" -c 6 --show 2; [ "$status" -eq 3 ] && [ "$(sed -n 3p "$dir/out")" = nan ] && grep -q 'line 4: more than 6 tokens' "$dir/err" &&
    [ "$(grep -c '^line [12]: [0-9 ]*$' "$dir/err")" -eq 2 ]; ok $? "a row that is too long; --show"
: > "$dir/p.jsonl"; reward -f "$dir/p.jsonl"; refused 3 "no rows" "no rows to score"
reward -f "$dir/no.jsonl"; refused 3 "no.jsonl" "rows that are not there"
reward -i a; refused 1 "need -f ROWS.jsonl" "--reward of a text"
reward -f "$dir/q.jsonl" --logits "$dir/x"; refused 1 "--logits is of no use" "--reward with --logits"
reward -f "$dir/q.jsonl" --lora "$a"; refused 1 "--lora is of no use" "--reward with another adapter"
spm score --reward "$dir/none" -f "$dir/q.jsonl"; refused 2 none "a reward model that is not there"
mkdir "$dir/plain"; sed 's/SEQ_CLS/CAUSAL_LM/; s/.modules_to_save[^]]*],//' "$dir/reward.json" > "$dir/plain/adapter_config.json"
cp "$dir/lora.safetensors" "$dir/plain/adapter_model.safetensors"
spm score --reward "$dir/plain" -f "$dir/q.jsonl"; refused 2 "is no reward model" "a LoRA for a reward model"
t=$shared/tuning
for f in llama qwen2; do # torch's scores, before the reward model was trained (columns 2, 3) and after
    for r in "start 2" "plain.final 4"; do
        if [ ! -d "$t/$f" ]; then skip "scores as torch has them: $f/rm/${r% *}" "no $t"; continue; fi
        go score "$t/$f/base" --reward "$t/$f/rm/${r% *}" -f "$t/$f/data/rm.jsonl"
        grep -v '^[#r]' "$t/$f/rm/plain.scores.txt" | paste "$dir/out" - | awk -v c="$((2 + ${r#* }))" '
            { d += ($1 - $c) ^ 2 + ($2 - $(c + 1)) ^ 2; a += $c ^ 2 + $(c + 1) ^ 2 } END { exit !(NR == 12 && d <= 1e-10 * a) }'
        fine "scores as torch has them: $f/rm/${r% *}"
    done
done
go reward --help; grep -q -e '--center-rewards-coefficient' "$dir/out"; fine "help of reward"
for v in "" score batch bench; do go $v --help; grep -q -e '--lora-scaled PATH:X' "$dir/out"; ok $? "help of '$v' names --lora"; done
spm score -i "ab a" --lora "$dir/no.gguf"; refused 2 no.gguf "an adapter that is not there"
spm score -i "ab a" --lora "$dir/spm.gguf"; refused 2 "general.type' is none, need adapter" "a model for an adapter"
spm score -i "ab a" --lora "$dir/tok.bin"; refused 2 "is no adapter" "something else for an adapter"
spm score -i "ab a" --lora "$dir"; refused 2 adapter_config.json "a folder without an adapter"
spm merge --lora "$a" -o "$dir/merged.gguf" -f "$dir/story.txt"; [ "$status" -eq 0 ] && [ ! -s "$dir/out" ] && grep -q '^blk.0.attn_q.weight  *F32 ' "$dir/err"
ok $? "merge: all is on standard error"; grep -q 'tensors merged: .* 100.0 % of that survives rounding' "$dir/err"; ok $? "a line for all tensors"
tail -1 "$dir/err" | grep -q '^on [0-9]* tokens: mean KL(base + adapter || merged) [0-9.e-]*, the same token is likeliest in 100.00 %'; ok $? "and the drift"
go score "$dir/merged.gguf" -i "ab a"; sed 's/\(\.[0-9][0-9][0-9]\)[0-9]*/\1/' "$dir/out" > "$dir/same"
spm score -i "ab a" --lora "$a"; sed 's/\(\.[0-9][0-9][0-9]\)[0-9]*/\1/' "$dir/out" | cmp -s - "$dir/same"; ok $? "it runs as its own model"
go merge "$dir/merged.gguf" --lora "$a" -o "$dir/twice.gguf"; refused 1 "merged into $dir/merged.gguf already" "merged twice"
[ ! -e "$dir/twice.gguf" ]; ok $? "and nothing is written"
spm merge -q --lora "$a" -o "$dir/merged.gguf" --outtype f16; [ "$(wc -l < "$dir/err")" -eq 2 ] && grep -q "^on [0-9]* tokens" "$dir/err"; ok $? "merge -q: two lines"
spm merge --lora "$a" -o "$a"; refused 1 "adapter itself" "merge over the adapter"
spm merge --lora "$a" -o "$dir/spm.gguf"; refused 1 "model itself" "merge over the model"
spm merge --lora "$a" -o "$dir/merged"; refused 1 "has no config.json" "merge of a GGUF file to a folder"
spm merge --lora "$a"; refused 1 "-o OUT.gguf" "merge to nowhere"
spm merge -o "$dir/merged.gguf"; refused 1 "needs an adapter" "merge of nothing"
spm merge --lora "$a" -o "$dir/merged.gguf" --outtype i8; refused 1 "outtype is 'i8'" "merge to a type that is only read"
mkdir "$dir/adapter" && echo '{}' > "$dir/adapter/adapter_config.json"
spm merge --lora "$a" -o "$dir/adapter"; refused 1 "folder of an adapter" "merge into the folder of an adapter"
spm score -i "ab a" --lora "$a,"; refused 1 "empty path" "--lora A, with nothing behind it"

# ---- quantize ----------------------------------------------------------------------------------------
gone() { ! ls "$dir"/small.gguf* > /dev/null 2>&1; ok $? "$1"; }
go quantize "$dir/spm.gguf" "$dir/small.gguf" Q8_0
[ "$status" -eq 0 ] && [ ! -s "$dir/out" ] && tail -1 "$dir/err" | grep -q 'kB, 32.00 bits a weight -> .* kB, [0-9.]* bits a weight$'; ok $? "quantize: sizes and bits a weight"
go score "$dir/small.gguf" -i "ab a"; fine "what it writes runs"
go quantize "$dir/small.gguf" "$dir/same.gguf" Q8_0 -q; cmp -s "$dir/small.gguf" "$dir/same.gguf"; ok $? "and stays as it is when it is of that type"
go quantize "$dir/tiny.bin" "$dir/small.gguf" f16 -z "$dir/tok.bin"; go tokenize "$dir/tiny.bin" -z "$dir/tok.bin" -i "ab a"; cp "$dir/out" "$dir/ids"
go tokenize "$dir/small.gguf" -i "ab a"; same_out "$dir/ids" "a llama2.c checkpoint with its vocabulary"
rm "$dir/small.gguf"; go quantize "$dir/spm.gguf" Q4_K --dry-run; grep -q '^blk.0.attn_q.weight .* F32 -> ' "$dir/out"; fine "quantize --dry-run: a line a tensor"
gone "and nothing is written"
go quantize "$dir/spm.gguf" "$dir/small.gguf" Q9; refused 1 "TYPE is 'Q9', need one of: F32 F16" "a type that is none"
go quantize "$dir/spm.gguf" "$dir/small.gguf"; refused 1 "run quantize IN OUT.gguf Q4_K_M" "quantize without a type"
go quantize "$dir/spm.gguf" "$dir/small.gguf" Q8_0 more; refused 1 "'more' is one word too many" "a word too many"
go quantize "$dir/spm.gguf" "$dir/small" Q8_0; refused 1 "does not end in .gguf: need the type f32" "a folder of blocks"
go quantize "$dir/spm.gguf" "$dir/folder" --outtype f32; go score "$dir/spm.gguf" -i "ab a"; cp "$dir/out" "$dir/same"
go score "$dir/folder" -i "ab a"; same_out "$dir/same" "a Hugging Face folder of a .gguf"
go quantize "$dir/folder" "$dir/small.gguf" F32; go score "$dir/small.gguf" -i "ab a"; same_out "$dir/same" "and a .gguf of that"; rm "$dir/small.gguf"
cp "$dir/spm.gguf" "$dir/b"; ln "$dir/spm.gguf" "$dir/link.gguf"
go quantize "$dir/spm.gguf" "$dir/link.gguf" Q8_0; refused 1 "is the model itself" "quantize over the model"
cmp -s "$dir/b" "$dir/spm.gguf"; ok $? "leaves it"; rm "$dir/link.gguf"
go quantize "$dir/spm.gguf" "$dir/small.gguf" Q8_0 --tensor-type "a(=q8_0"; refused 1 "tensor-type" "a pattern that is none"
go quantize "$dir/spm.gguf" "$dir/small.gguf" Q8_0 --tensor-type "attn=q9"; refused 1 "'q9', need a type" "a format that is none"
go quantize "$dir/spm.gguf" "$dir/small.gguf" Q8_0 --split-max-size 3; refused 1 "need a whole number and M or G" "a size without its unit"
go quantize "$dir/spm.gguf" "$dir/no/small.gguf" Q8_0; refused 4 "no/small.gguf" "a folder that is not there"
(ulimit -f 4; trap '' XFSZ; go quantize "$dir/spm.gguf" "$dir/small.gguf" F32; exit "$status"); status=$?
[ "$status" -eq 4 ] && [ "$(wc -l < "$dir/err")" -eq 1 ]; ok $? "a file that would be too large"; gone "and nothing of it is left"
for v in "$a" "$a:" "$a:x" "$a:nan"; do spm score -i "ab a" --lora-scaled "$v"; refused 1 "need PATH:X" "--lora-scaled '${v#"$dir/"}'"; done
spm score -i "ab a" --lora "$a,$a,$a,$a,$a,$a,$a,$a,$a"; refused 1 "more than 8" "nine adapters"
go score "$dir/bpe.gguf" -i ab --lora "$a"; refused 2 "is an adapter of a llama" "an adapter of another family"
head -c 500 "$a" > "$dir/p"; spm score -i "ab a" --lora "$dir/p"; refused 2 "$dir/p" "half an adapter"

# ---- encoders, GPT-2 ---------------------------------------------------------------------------------
e=$shared/encoders
if [ -f "$e/gpt2.gguf" ]; then
    echo '{"prompt": "Hello", "completion": " world"}' > "$dir/hello.jsonl"
    go sft "$e/bert.gguf" "$dir/hello.jsonl" --output_dir "$dir/bert"; refused 2 "is a bert, .* no next token to learn" "sft of an encoder"
    for v in "$e/gpt2.gguf" "$e/gpt2-hf"; do
        rm -rf "$dir/gpt2"; go sft "$v" "$dir/hello.jsonl" --output_dir "$dir/gpt2" --max_steps 2
        [ "$status" -eq 0 ] && cksum < "$dir/gpt2/adapter_model.safetensors"
    done > "$dir/sums"; [ "$(sort -u "$dir/sums" | wc -l)" -eq 1 ] && [ "$(wc -l < "$dir/sums")" -eq 2 ]; ok $? "a LoRA of GPT-2, the same over .gguf and folder"
    go merge "$e/gpt2-hf" --lora "$dir/gpt2" -o "$dir/gpt2.gguf" --quiet; go score "$dir/gpt2.gguf" --tokens 5,9,3; fine "is merged"
    go score "$dir/gpt2.gguf" --tokens 5,9,3; cp "$dir/out" "$dir/a"
    go merge "$e/gpt2-hf" --lora "$dir/gpt2" -o "$dir/gpt2-again" --quiet; go score "$dir/gpt2-again" --tokens 5,9,3; same_out "$dir/a" "into a folder, whose matrices are (in, out), too"
    go embed "$e/embgemma-hf" -i "a cat"; cp "$dir/out" "$dir/a"; go quantize "$e/embgemma-hf" "$dir/gemma-again" --outtype f32; [ "$status" -eq 0 ]
    go embed "$dir/gemma-again" -i "a cat"; same_out "$dir/a" "a folder of sentence-transformers is copied with its steps"
    (cd "$e/embgemma-hf" && find . -type f ! -name model.safetensors; find . -path '*_Dense/model.safetensors') | while read -r f; do
        case $f in *README*|*.md|*original*) ;; *) cmp "$e/embgemma-hf/$f" "$dir/gemma-again/$f" || echo "$f"; esac; done > "$dir/differ" 2>&1
    cat "$dir/differ" > "$dir/err"; [ ! -s "$dir/differ" ]; ok $? "and all of its small files"
else skip "sft of an encoder" "no $shared"; fi

# ---- the texts of llama2.c ---------------------------------------------------------------------------
data=$shared/data/llama2c; texts=$shared/fixtures
llama2c() { # llama2c TEXT MODEL TOKENIZER FLAGS...
    text=$1; m=$2; z=$3; shift 3
    if [ ! -f "$texts/$text" ] || [ ! -f "$data/$m" ]; then skip "$m writes $text" "no $shared"; return; fi
    go "$data/$m" -z "$data/$z" "$@"; same_out "$texts/$text" "$m writes $text"
}
llama2c stories260K.greedy.txt stories260K.bin tok512.bin -t 0 -n 256
llama2c stories260K.greedy.txt stories260K.v1.bin tok512.bin -t 0 -n 256
llama2c stories260K.seed42.txt stories260K.bin tok512.bin -t 0.8 -p 0.9 -s 42 -n 256 -i "Once upon a time"
llama2c poem.seed7.txt poem_model.bin poem_tok.bin -t 1.0 -p 0.9 -s 7 -n 120
llama2c poem.v2.seed7.txt poem.v2.bin poem_tok.bin -t 1.0 -p 0.9 -s 7 -n 120
if [ -f "$data/stories260K.bin" ]; then
    stories -t 0 -n 0 --stop "red ball"; out_is "Once upon a time, there was a little girl named Lily. She loved to \
play outside in the park. One day, she saw a big, \n" "a stop text over several tokens"
    stories -m chat -y "be kind" -i hello -t 0 -n 70; out_is ". As she was about a small bird, she saw a big, \
scary b\n" "llama2.c's chat"
else skip "a stop text over several tokens" "no $shared"; skip "llama2.c's chat" "no $shared"; fi

# ---- guessing ahead ----------------------------------------------------------------------------------
per_pass() { sed -n 's/^tokens per pass: \([0-9.]*\) .*/\1/p' "$dir/err"; }
more_than() { awk -v got="$(per_pass)" -v least="$1" 'BEGIN { exit !(got > least) }'; ok $? "$2"; }
for f in "-t 0 -n 0" "-s 7 -n 0" "-s 7 -n 40 --logit-bias 271+9 --frequency-penalty 0.5" "-t 0 -n 9 -i the" \
    "-t 0 -n 40 --logit-bias 271+99 --stop onceonceonce" "-t 0 --n-predict 5 -i the --logit-bias 271+99" \
    "-s 7 -n 0 --cache-type-k f16 --cache-type-v f16" "-m chat -y a -i the -s 7 -n 60 --n-predict 20"; do
    tiny $f; cp "$dir/out" "$dir/a"
    for k in 1 8 255; do tiny $f --draft-lookup $k; same_out "$dir/a" "--draft-lookup $k: the same text with $f"; done
done
tiny -t 0 -n 0 --logit-bias 271+99 --draft-lookup 8; more_than 4 "--draft-lookup: several tokens a pass"
tail -1 "$dir/err" | grep -q '^achieved tok/s: '; ok $? "--draft-lookup: the speed stays the last line"
printf 'the\nonce\n' > "$dir/said"
in=$dir/said; tiny -m chat -y a -s 7 -n 200 -c 200 --n-predict 20 --logit-bias 271+9; cp "$dir/out" "$dir/a"
tiny -m chat -y a -s 7 -n 200 -c 200 --n-predict 20 --logit-bias 271+9 --draft-lookup 8; in=/dev/null
same_out "$dir/a" "--draft-lookup: the same chat"; more_than 1 "--draft-lookup: a chat says its tokens a pass"
tiny -t 0; grep -q 'per pass' "$dir/err"; [ $? -ne 0 ]; ok $? "nothing about passes without --draft-lookup"
tiny -s 7 -n 60 -i the; cp "$dir/out" "$dir/a"
for k in 1 16; do tiny -s 7 -n 60 -i the --model-draft "$dir/tiny.bin" --draft-max $k; same_out "$dir/a" "--model-draft: the same text, --draft-max $k"; done
tiny -t 0 -n 60 -i the --logit-bias 271+9; cp "$dir/out" "$dir/a"
tiny -t 0 -n 60 -i the --logit-bias 271+9 --model-draft "$dir/tiny.bin"; same_out "$dir/a" "--model-draft: the same text, biased"
tiny --model-draft "$dir/none"; refused 2 "none" "--model-draft of no file"
tiny --draft-max 4; refused 1 "--draft-max needs" "--draft-max alone"
tiny --model-draft "$dir/tiny.bin" --draft-lookup 4; refused 1 "two ways to guess" "--model-draft and --draft-lookup"
tiny --model-draft ''; refused 2 "" "--model-draft of no name"
for v in -1 256 x; do tiny --draft-lookup $v; refused 1 "--draft-lookup is '$v'" "--draft-lookup $v"; done

# ---- templates ---------------------------------------------------------------------------------------
cat > "$dir/t.jinja" <<'END'
{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role + '|' + m.content }}<|im_end|>{% endfor %}
{% if add_generation_prompt %}<|im_start|>{{ "" if enable_thinking else "quick" }}{{ strftime_now('%d %b %y') }}{% endif %}
END
printf '[{"role":"user","content":"a<s>"},{"role":"x","content":"a"}]' > "$dir/talk.json"
template() { go template --messages "$dir/talk.json" --chat-template-file "$dir/t.jinja" "$@"; }
template --now 2025-03-14T15:09:26; out_is '<|im_start|>user|a<s><|im_end|><|im_start|>x|a<|im_end|><|im_start|>quick14 Mar 25' "template: of a file, without a model"
template --bos-token B --no-generation-prompt; out_is 'B<|im_start|>user|a<s><|im_end|><|im_start|>x|a<|im_end|>' "template: no generation prompt"
template --continue-final --chat-template-kwargs '{"bos_token": 5}'; out_is '5<|im_start|>user|a<s><|im_end|><|im_start|>x|a' "template: a last message to go on with"
template --chat-template-kwargs '{"enable_thinking": true}'; grep -q '<|im_start|>[0-9]* [A-Z][a-z][a-z] [0-9]*$' "$dir/out"; fine "template: variables, and the date it is"
template "$dir/chat.gguf" --tokens --no-generation-prompt; grep -q '^1 6 .* 7 6 .* 7' "$dir/out" && ! grep -q ' 1 ' "$dir/out"; fine "template: tokens, of which a message writes none"
printf '{"messages":[{"role":"user","content":"a"}],"bos_token":"s","add_generation_prompt":false}' > "$dir/talk2.json"
go template --messages "$dir/talk2.json" --chat-template-file "$dir/t.jinja"; out_is 's<|im_start|>user|a<|im_end|>' "template: an object of messages and variables"
in=$dir/talk2.json; go template --messages - --chat-template-file "$dir/t.jinja"; out_is 's<|im_start|>user|a<|im_end|>' "template: messages of standard input"; in=/dev/null
go template --messages "$dir/talk2.json" "$dir/chat.gguf"; out_is 's<|im_start|>user\na<|im_end|>\n' "template: the model's own"
go template --messages "$dir/talk2.json" "$dir/spm.gguf"; refused 3 'spm.gguf: has no chat template' "template: a model without one"
go template --messages "$dir/talk2.json"; refused 1 'MODEL or --chat-template-file' "template: of nothing"
template --tokens; refused 1 'needs a MODEL' "template: tokens of no model"
template --now 2025-13-14T15:09:26; refused 1 "now is '2025-13" "template: no such month"
template --chat-template-kwargs '[1]'; refused 3 'variables: no object' "template: variables that are none"
go template --chat-template-file "$dir/t.jinja"; refused 1 'needs --messages' "template: no messages"
printf '[{"role":"user"}]' > "$dir/bad.json"; go template --messages "$dir/bad.json" --chat-template-file "$dir/t.jinja"; refused 3 "t.jinja: line 1: there is no attribute 'content'" "template: no content"
printf '[{"role":' > "$dir/bad.json"; go template --messages "$dir/bad.json" --chat-template-file "$dir/t.jinja"; refused 3 'messages: byte 9' "template: messages cut off"
printf 'a\n{%% for x in y' > "$dir/bad.jinja"; go template --messages "$dir/talk.json" --chat-template-file "$dir/bad.jinja"; refused 3 'bad.jinja: line 2' "template: one that does not end"
printf '{{ raise_exception("no, " ~ messages[0].role) }}' > "$dir/bad.jinja"; go template --messages "$dir/talk.json" --chat-template-file "$dir/bad.jinja"
refused 3 'the template says: no, user' "template: one that refuses"

own() { go "$dir/chat.gguf" -m chat -i a -t 0 -n 30 "$@"; }
own --quiet; cp "$dir/out" "$dir/b"; own --quiet --chat-template-file "$dir/other.jinja"; refused 3 'other.jinja' "chat: a template that is not there"
printf '{{ messages[0].content }}' > "$dir/other.jinja"; own --quiet --chat-template-file "$dir/other.jinja"; [ "$status" -eq 0 ] && ! cmp -s "$dir/b" "$dir/out"; ok $? "chat: another template, another answer"
printf '{{ raise_exception("no " ~ enable_thinking ~ x) }}' > "$dir/other.jinja"
own --quiet --chat-template-file "$dir/other.jinja" --reasoning off --chat-template-kwargs '{"x": 5}'; grep -q 'other.jinja: line 1: the template says: no False5' "$dir/err" && [ "$status" -eq 3 ]; ok $? "chat: --reasoning off and variables reach the template"
own --quiet --chat-template-kwargs '[1]'; grep -q 'variables: no object' "$dir/err" && [ "$status" -eq 3 ]; ok $? "chat: variables that are none"
tiny -m chat -i a --quiet --chat-template-kwargs '{}'; refused 1 'the model has none' "chat: variables for no template"
tiny -i a --chat-template-kwargs '{}'; refused 1 'of a conversation' "chat: variables for no chat"

# ---- grammars ----------------------------------------------------------------------------------------
printf 'root ::= "a"+ b\nb ::= [0-9]' > "$dir/a.gbnf"; printf 'aa7' > "$dir/yes"; printf 'aab' > "$dir/no"
grammar() { go grammar --grammar-file "$dir/a.gbnf" "$@"; }
grammar -f "$dir/yes"; [ "$status" -eq 0 ] && [ ! -s "$dir/out" ] && [ ! -s "$dir/err" ]; ok $? "grammar: a sentence"
grammar -f "$dir/no"; refused 3 'no: byte 2: "b", need \[0-9a\]' "grammar: no sentence"
in=$dir/no; grammar -f -; refused 3 'byte 2: "b"' "grammar: standard input"; in=/dev/null
grammar --print; out_is 'root ::= "a"+ b\nb ::= [0-9]' "grammar --print"
grammar -f "$dir/none"; refused 3 none "grammar: no such text"
printf 'root ::= root' > "$dir/b.gbnf"; go grammar --grammar-file "$dir/b.gbnf"; refused 3 "b.gbnf: grammar: line 1: rule 'root' begins" "grammar: none that can be"
printf '{"type":"array","items":{"type":"integer","maximum":9}}' > "$dir/s.json"; printf '[1, 9]\n' > "$dir/yes"; printf '[1, 10]' > "$dir/no"
schema() { go grammar --json-schema-file "$dir/s.json" "$@"; }
schema -f "$dir/yes"; [ "$status" -eq 0 ] && [ ! -s "$dir/out" ] && [ ! -s "$dir/err" ]; ok $? "grammar: a document and a line break"
schema -f "$dir/no"; refused 3 'no: byte 5: "0", need' "grammar: no document"
schema --print; cp "$dir/out" "$dir/s.gbnf"; go grammar --grammar-file "$dir/s.gbnf" -f "$dir/no"; refused 3 'byte 5' "grammar: what a schema becomes is a grammar"
printf '{"items":{"pattern":"("}}' > "$dir/b.json"; go grammar --json-schema-file "$dir/b.json"; refused 3 "b.json: schema: #/items/pattern: " "grammar: no schema"
go grammar -f "$dir/yes"; refused 1 "--grammar-file" "grammar: without one"

tiny -s 3 -n 100 -j '{"type":"array","items":{"type":"boolean"},"maxItems":3}'; tr -d ' \n' < "$dir/out" | grep -qx '\[\(true\|false\|,\)*\]'; fine "-j: an array"
tiny -s 3 -n 100 --json-schema-file "$dir/s.json"; cp "$dir/out" "$dir/a"; go grammar --json-schema-file "$dir/s.json" -f "$dir/a"; [ "$status" -eq 0 ]; ok $? "--json-schema-file: the text is what it asks for"
tiny -s 3 -n 40 --grammar 'root ::= "a"+ "!"{300}'; [ "$status" -eq 0 ] && grep -q '^aa*!*$' "$dir/out" && grep -q '^pith: the text ends in the middle' "$dir/err"; ok $? "--grammar: cut by -n, and it says so"
tiny -s 3 -n 40 --grammar 'root ::= "a"+ "!"{300}' --samples 2; grep -q '^pith: 2 of 2 texts end in the middle' "$dir/err"; ok $? "--grammar: --samples says it too"
tiny -s 3 -n 40 --grammar 'root ::= "a"+ "!"{300}' --format jsonl; grep -q '^pith: the text ends in the middle' "$dir/err"; ok $? "and --format jsonl"
tiny --grammar 'root ::= !<b>'; refused 1 "line 1: <b> is not one token of the vocabulary" "--grammar: a token that the vocabulary does not have"
tiny -s 3 -n 9 -i a --grammar 'root ::= !<[100]>{2} <[100]>'; grep -q '^a.*a$' "$dir/out"; fine "--grammar: a token by its number"
go grammar --grammar 'root ::= <b>'; [ "$status" -eq 0 ] && grep -q '^note: a grammar of 1 rule, with tokens' "$dir/err"; ok $? "grammar: one that names tokens"
go grammar --grammar 'root ::= <b>' -f "$dir/yes"; refused 1 "names the token <b>" "grammar: no text tells tokens"
grammar; [ "$status" -eq 0 ] && grep -q '^note: .*a.gbnf: a grammar of 2 rules; -f' "$dir/err"; ok $? "grammar: without a text it says what was read"
tiny --grammar 'root ::= b'; refused 1 "rule 'b' is used and not defined" "--grammar: none that can be"
tiny --grammar-file "$dir/b.json"; refused 3 'b.json: grammar: line 1' "--grammar-file: no grammar"
tiny -j '{"type":3}'; refused 1 'schema: #/type: need' "-j: no schema"
tiny -j '{}' --grammar-file x; refused 1 'need one of --grammar' "a grammar and a schema"
# ---- a text kept in a file ---------------------------------------------------------------------------
kept=$dir/kept
reused() { grep -qx "prompt cache: $1 tokens" "$dir/err"; }
for f in "" "--cache-type-k f16" "--draft-lookup 8" "--threads 3 --no-mmap"; do
    rm -f "$kept"
    for p in "-n 20 -i the" "-n 60 -i the" "-n 9 -i the" "-n 40 -i onceonce" "-n 40 -i onceand" "-c 100 -n 90 -i a" "-s 7 -n 50 -i once"; do
        tiny -t 0 --logit-bias 271+9 $f $p; cp "$dir/out" "$dir/a"
        tiny -t 0 --logit-bias 271+9 $f $p --prompt-cache "$kept"; same_out "$dir/a" "--prompt-cache: the same text with $f $p"
        tiny -t 0 --logit-bias 271+9 $f $p --prompt-cache "$kept"; same_out "$dir/a" "and once more"
    done
done
rm "$kept"; tiny -t 0 -n 20 -i onceand --prompt-cache "$kept"; ! grep -q 'prompt cache' "$dir/err"; fine "a file that is not there is made"
tiny -t 0 -n 30 -i onceand --prompt-cache "$kept"; reused "4 of 5" && [ "$(tail -1 "$dir/err" | cut -c1-8)" = achieved ]
fine "and the next run reads the prompt's last token only"
tiny -t 0 -n 30 -i oncethe --prompt-cache "$kept"; reused "3 of 5"; fine "or what is new"
cp "$kept" "$dir/b"; tiny -t 0 -n 60 -i other --prompt-cache "$kept" --prompt-cache-ro --quiet; [ ! -s "$dir/err" ] && cmp -s "$kept" "$dir/b"
fine "--prompt-cache-ro leaves the file as it is"
tiny -t 0 -n 2 -i onceand; cp "$dir/out" "$dir/a"; rm "$kept"; tiny -t 0 -n 2 -i onceand --prompt-cache "$kept"
same_out "$dir/a" "a text that is shorter than its prompt is kept"
tiny -t 0 -n 5 -i onceand --prompt-cache "$kept"; reused "2 of 5"; fine "and goes on"
in=$dir/said; tiny -m chat -y a -s 7 -n 200 -c 200 --n-predict 20 --logit-bias 271+9; cp "$dir/out" "$dir/a"; rm "$kept"
for k in 1 2; do
    tiny -m chat -y a -s 7 -n 200 -c 200 --n-predict 20 --logit-bias 271+9 --prompt-cache "$kept"; same_out "$dir/a" "a chat with --prompt-cache, run $k"
done
in=/dev/null; reused "[1-9][0-9]* of [1-9][0-9]*"; ok $? "which finds its beginning"
tiny -s 7 -n 30 -i onceand --samples 5; cp "$dir/out" "$dir/a"; rm "$kept"
for k in 1 2; do tiny -s 7 -n 30 -i onceand --samples 5 --prompt-cache "$kept"; same_out "$dir/a" "--samples with --prompt-cache, run $k"; done
reused "5 of 5"; ok $? "keeps the prompt"
tiny -t 0 -n 60 -i onceand --prompt-cache "$kept"; tiny -s 7 -n 30 -i onceand --samples 5 --prompt-cache "$kept"; same_out "$dir/a" "and goes on from a longer text"
if [ -d "$shared/fixtures" ]; then # windows, longrope, experts; the context is longer than a ring
    for f in gemma3 mistral phi3 qwen3moe; do
        rm -f "$kept"; : > "$dir/a"; : > "$dir/b"
        for k in 70 400 330 400; do
            go "$shared/fixtures/$f.gguf" -t 0 --ignore-eos -c 600 -n $((k + 100)) -i "$(head -c $k README.md)"; cat "$dir/out" >> "$dir/a"
            go "$shared/fixtures/$f.gguf" -t 0 --ignore-eos -c 600 -n $((k + 100)) -i "$(head -c $k README.md)" --prompt-cache "$kept"
            cat "$dir/out" >> "$dir/b"
        done
        ! reused "0 of .*" && cp "$dir/b" "$dir/out"; same_out "$dir/a" "--prompt-cache with $f"
    done
    for f in "" --swa-full; do
        rm -f "$kept"; go "$shared/fixtures/gemma3.gguf" -t 0 --ignore-eos -c 900 -n 900 -i "$(head -c 70 README.md)"; cp "$dir/out" "$dir/a"
        for k in 1 2; do go "$shared/fixtures/gemma3.gguf" -t 0 --ignore-eos -c 900 -n 900 -i "$(head -c 70 README.md)" --prompt-cache "$kept" $f; done
        if [ "$f" ]; then ! reused "0 of .*"; else reused "0 of .*"; fi; same_out "$dir/a" "what a window forgot is read again, but with --swa-full; $f"
    done
else skip "--prompt-cache with other families" "no ../shared"; fi
go -s 7 -n 60 -i "The dog"; cp "$dir/out" "$dir/a"; rm "$kept"
for k in 1 2; do go -s 7 -n 60 -i "The dog" --prompt-cache "$kept"; same_out "$dir/a" "--prompt-cache with the model that is built in, run $k"; done
kept_as_it_was() { cmp -s "$kept" "$dir/b" && [ -z "$(find "$dir" -name 'kept*.part')" ]; ok $? "and $1 stays"; }
cp "$kept" "$dir/b"; tiny -i the --prompt-cache "$kept"; refused 3 "kept: is a text of another model" "a text of another model"; kept_as_it_was "its file"
rm "$kept"; tiny -t 0 -n 50 -i the --prompt-cache "$kept"; cp "$kept" "$dir/b"
tiny -i the --prompt-cache "$kept" --cache-type-v f16; refused 3 "F32 and F32, need F32 and F16" "a text of another type of cache"
tiny -i the --prompt-cache "$kept" -c 20; refused 3 "20 tokens has no room for its 50 (-c)" "a text that is longer than the context"
tiny -i the --prompt-cache "$kept" --prompt-cache-ro --kernels portable
[ "$status" -eq 0 ] || { [ "$status" -eq 3 ] && grep -q 'kept: was computed by pith .*, not by pith .* portable' "$dir/err"; }
ok $? "a text that other kernels computed, where there are others"
kept_as_it_was "the file"
head -c 5000 "$dir/b" > "$kept"; tiny -i the --prompt-cache "$kept"; refused 3 "kept: has 5000 bytes, need" "a file that is cut"
[ "$(wc -c < "$kept")" -eq 5000 ]; ok $? "and stays so"
(head -c 5000 "$dir/b"; printf x; tail -c +5002 "$dir/b") > "$kept"; tiny -i the --prompt-cache "$kept"; refused 3 "kept: was altered" "a file that is altered"
for f in "$dir/tiny.bin" "$dir/story.txt"; do
    cp "$f" "$dir/b"; tiny -i the --prompt-cache "$f"; refused 3 "is no text that pith has saved" "another file for --prompt-cache"
    cmp -s "$f" "$dir/b"; ok $? "which stays as it was"
done
: > "$kept"; tiny -i the --prompt-cache "$kept"; refused 3 "is empty" "an empty file for --prompt-cache"
tiny -i the --prompt-cache "$dir"; refused 3 "is a directory" "a folder for --prompt-cache"
tiny -i the --prompt-cache "$dir/none" --prompt-cache-ro; refused 3 "none: cannot be opened" "--prompt-cache-ro of a file that is not there"
tiny -i the --prompt-cache-ro; refused 1 "needs --prompt-cache" "--prompt-cache-ro alone"
tiny -i the --prompt-cache ""; refused 1 "prompt-cache is empty" "--prompt-cache without a name"
tiny -i the --prompt-cache "$dir/both" -o "$dir/both"; refused 1 "both: is for the text (-o)" "--prompt-cache and -o are one file"
tiny -i the --prompt-cache-all; refused 1 "here it is --prompt-cache FILE" "a flag of llama.cpp"
tiny -t 0 -i the --prompt-cache "$dir/nowhere/kept"; [ "$status" -eq 4 ] && [ -s "$dir/out" ] && [ "$(grep -c '^pith: .*nowhere/kept' "$dir/err")" -eq 1 ]
ok $? "--prompt-cache in a folder that is not there: the text, and an error"
rm -f "$kept"; interrupt INT 130 "SIGINT with --prompt-cache" "$dir/tiny.bin" -z "$dir/tok.bin" -t 0 -n 0 -c 20000 --ignore-eos -i onceand --prompt-cache "$kept"
tiny -t 0 -n 40 -i onceand; cp "$dir/out" "$dir/a"; tiny -t 0 -n 40 -i onceand --prompt-cache "$kept"; reused "4 of 5" && same_out "$dir/a" "keeps what is there"

go bench "$dir/v.gguf" --grammar --repetitions 1 --json; [ "$status" -ne 0 ]; ok $? "bench --grammar: no vocabulary"
tiny_bench() { go bench "$dir/tok.bin" --grammar --repetitions 1 "$@"; }
tiny_bench --json; grep -q '^{"test": "grammar", "tokens": 300, "masks": [0-9]*, "median_ms": 0\.[0-9]*' "$dir/out"; fine "bench --grammar"
echo 'root ::= <[5]>' > "$dir/t.gbnf"; tiny_bench --grammar-file "$dir/t.gbnf"; refused 1 "names tokens" "bench --grammar: one that names tokens"
tiny_bench --json-schema-file "$dir/s.json"; [ "$(grep -c '^|' "$dir/out")" -eq 3 ]; fine "bench --grammar: of a schema"
go bench --grammar --shape llama-1b; refused 1 "needs a vocabulary" "bench --grammar --shape"

# ---- learning ----------------------------------------------------------------------------------------
awk 'BEGIN { for (i = 0; i < 400; i++) printf "the %d cats and the %d hats. ", i % 7, i % 11 }' > "$dir/learn.txt"
cp "$dir/learn.txt" "$dir/learn.old"
go vocab "$dir/learn.txt" -o "$dir/learn.txt" --vocab-size 270; refused 1 "the text itself" "vocab: -o onto the text"
cmp -s "$dir/learn.txt" "$dir/learn.old"; ok $? "and the text is as it was"
go vocab "$dir/learn.txt" -o "$dir/no/v.gguf" --vocab-size 270; refused 4 no/v.gguf "vocab: a folder that is not there"
go vocab "$dir/learn.txt" -o "$dir/v.gguf" --vocab-size 100; refused 1 "--vocab_size is 100" "vocab: fewer pieces than bytes"
go vocab "$dir/learn.txt" -o "$dir/v.gguf" --vocab-size 9999; refused 3 "learn.txt: the text gives" "vocab: more than there are"
[ ! -e "$dir/v.gguf" ]; ok $? "and nothing was written"
go vocab "$dir/learn.txt" -o "$dir/v.gguf" --vocab-size 270; go info "$dir/v.gguf"
grep -q '270 pieces, BOS 1, EOS 2' "$dir/out"; fine "info of a vocabulary"
go info "$dir/tok.bin"; grep -q 'tokenizer.bin' "$dir/out"; fine "info of a tokenizer.bin"
go tokenize "$dir/tok.bin" -i "the once"; out_is "1 265 259 271\n" "tokenize with a tokenizer.bin"
go "$dir/v.gguf"; refused 2 "vocabulary without weights" "a vocabulary as a model"
if [ -c /dev/full ]; then
    go vocab "$dir/learn.txt" -o /dev/full --vocab-size 270; refused 4 /dev/full "vocab: a full disk"
else skip "vocab: a full disk" "no /dev/full"; fi
learn="--vocab-size 270 --dim 16 --layers 1 --heads 2 --ffn 32 --context 16 --threads 1 --eval-steps 0"
go vocab "$dir/learn.txt" -o "$dir/v.gguf" --vocab-size 300 --normalizer nfd; refused 1 "need nfc or none" "vocab: a normaliser that is none"
# Han-geul as macOS writes it: two syllables, six jamo. A vocabulary that says NFC reads them as they are meant.
apart=$(printf '\341\204\222\341\205\241\341\206\253\341\204\200\341\205\263\341\206\257')
go score "$dir/spm.gguf" -i "$apart"; grep -q '^pith: the text: 2 Korean syllables are loose letters (NFD' "$dir/err"; ok $? "score: decomposed Hangul is noticed"
go "$dir/spm.gguf" -i "$apart" -n 3 -s 1; grep -q '^pith: the text: 2 Korean syllables' "$dir/err"; ok $? "run: decomposed Hangul is noticed"
for kind in none nfc; do
    "$run" vocab "$dir/learn.txt" -o "$dir/$kind.gguf" --vocab-size 300 --normalizer $kind 2> "$dir/err"
    "$run" tokenize "$dir/$kind.gguf" -i "$apart" > "$dir/$kind.ids" 2> "$dir/err"
done
"$run" tokenize "$dir/none.gguf" -i "$(printf '\355\225\234\352\270\200')" > "$dir/whole.ids" 2> "$dir/err"
cmp -s "$dir/whole.ids" "$dir/nfc.ids" && ! cmp -s "$dir/whole.ids" "$dir/none.ids"; ok $? "vocab: what it learned reads text in NFC unless told"
go pretrain "$dir/learn.txt" -o "$dir/learned" $learn --heads 3; refused 1 "--heads is 3" "pretrain: heads that do not divide"
[ ! -e "$dir/learned" ]; ok $? "and no folder was made"
interrupt INT 130 "SIGINT while training" pretrain "$dir/learn.txt" -o "$dir/learned" $learn --max-steps 1000000 --save-steps 0
ls "$dir/learned" | grep -q '^checkpoint-[0-9]*.gguf$' && grep -q -e '--resume_from_checkpoint last' "$dir/err"
ok $? "saves, and says how to go on"
interrupt TERM 143 "SIGTERM while training" pretrain "$dir/learn.txt" -o "$dir/learned" $learn --max-steps 1000000 \
    --save-steps 0 --resume-from-checkpoint last
grep -q '^going on from .*checkpoint-' "$dir/err"; ok $? "which had gone on from there"
for m in "$dir"/learned/checkpoint-*.gguf; do go quantize "$m" "$dir/resting.gguf" q8_0; break; done
go info "$dir/resting.gguf"; grep -q '^parameters' "$dir/out" && ! grep -q 'not used' "$dir/err" && ! grep -q adam_ "$dir/resting.gguf"
ok $? "quantize: a checkpoint becomes a model, without its optimizer"
if hup_ignored; then skip "SIGHUP while training" "SIGHUP is ignored here"; else
    interrupt HUP 129 "SIGHUP while training" pretrain "$dir/learn.txt" -o "$dir/hungtrain" $learn --max-steps 1000000 --save-steps 0
    ls "$dir/hungtrain" | grep -q '^checkpoint-[0-9]*.gguf$'; ok $? "saves too"
fi

# ---- many texts ----------------------------------------------------------------------------------------
text_of() { sed -n "$1s/.*\"\\(text\|content\\)\":\"\\([^\"]*\\)\",.*/\\2/p" "$2"; } # of answers without quotes in it
for i in 1 2 3; do echo '{"prompt": "The dog", "max_tokens": 12, "stop": "\""}'; done > "$dir/ask.jsonl"
go batch -f "$dir/ask.jsonl" -s 41; fine "batch: answers on standard output"
grep -q '^seed: 41' "$dir/err"; ok $? "batch says its seed"
cp "$dir/out" "$dir/answers"
printf '{"prompt": "\340\245\230", "max_tokens": 1}\n' > "$dir/last" # NFC makes two characters of it
for m in "$dir"/learned/checkpoint-*.gguf; do go batch "$m" -f "$dir/last"; break; done; grep -q '"prompt_tokens":8' "$dir/out"; ok $? "batch: more tokens than bytes"
for i in 1 2 3; do
    go -i "The dog" --n-predict 12 -s $((40 + i)) --stop '"'; printf 'The dog%s\n' "$(text_of $i "$dir/answers")" > "$dir/a"
    same_out "$dir/a" "batch: text $i is that of run with its seed"
done
printf '%s\n' '{"prompt": "The dog", "json_schema": {"enum": [12, 345]}, "seed": 3}' '{"prompt": "a", "json_schema": {"type": "x"}}' \
    '{"prompt": "The dog", "grammar": "root ::= [a-c]{4}", "max_tokens": 2, "seed": 3}' > "$dir/obey.jsonl"
go batch -f "$dir/obey.jsonl"; [ "$status" -eq 3 ] && grep -q '^{.*"line":2,.*schema: #/type: need' "$dir/out"; ok $? "batch: a bad schema is an error of its line"
cp "$dir/out" "$dir/b"; go -i "The dog" -s 3 -j '{"enum": [12, 345]}'; printf 'The dog%s\n' "$(text_of 1 "$dir/b")" > "$dir/a"
same_out "$dir/a" "batch: a text of a schema is that of run"
echo '{"prompt": "The dog", "json_schema": {"const": 71}, "logprobs": 0}' > "$dir/last"; go batch -f "$dir/last"
grep -q '"text":"71","logprobs":{"tokens":\["7","1"\]' "$dir/out"; ok $? "batch: logprobs of the token that makes a sentence whole"
sed -n 3p "$dir/b" | grep -q '"text":"[abc]*".*"finish_reason":"length"'; ok $? "batch: a sentence that was cut ends by length"
echo '{"messages": [{"role": "system", "content": "b"}, {"role": "user", "content": "the"}], "max_tokens": 6, "seed": 7}' > "$dir/said"
go batch "$dir/tiny.bin" -z "$dir/tok.bin" -f "$dir/said"; text_of 1 "$dir/out" > "$dir/a"
tiny -m chat -y b -i the -s 7 --n-predict 6; same_out "$dir/a" "batch: messages are as a chat"
printf '%s' "{{ bos_token }}{{ messages[0].content }}{{ strftime_now('%d') }}{{ end }}" > "$dir/form.jinja"
printf '%s\n' '{"messages": [{"role": "user", "content": "The dog"}], "max_tokens": 9, "seed": 2}' '{"prompt": "The dog14 saw", "max_tokens": 9, "seed": 2}' > "$dir/said"
go batch -f "$dir/said" --chat-template-file "$dir/form.jinja" --chat-template-kwargs '{"end": " saw"}' --now 2025-03-14T15:09:26
[ -n "$(text_of 1 "$dir/out")" ] && [ "$(text_of 1 "$dir/out")" = "$(text_of 2 "$dir/out")" ]; ok $? "batch: messages through a chat template, at a time"
echo '{"messages": [{"role": "user", "content": "The dog"}], "max_tokens": 9, "seed": 2, "logprobs": true, "json_schema": {}}' > "$dir/muse"
go batch -f "$dir/muse" --chat-template-file "$dir/form.jinja" --chat-template-kwargs '{"end": "<think>"}' --now 2025-03-14T15:09:26
grep -q '"content":"","reasoning_content":"[^"].*"logprobs":{"content":\[\]' "$dir/out"; ok $? "batch: thoughts are given apart, and obey no schema"
go batch -f "$dir/said" --chat-template-kwargs '{}' --chat-template llama2; refused 1 "has none" "batch: variables without a template"
go batch -f "$dir/said" --chat-template-file "$dir/form.jinja" --chat-template-kwargs '5'; refused 1 "need {" "batch: variables that are no object"
go batch -f "$dir/said" --now noon; refused 1 "such as 2025" "batch: a time that is none"
printf '%s\n' '{"prompt": "a", "max_tokens": 1}' '{"prompt": "a", "n": 2}' '{"prompt": "a", "seed": 0, "max_tokens": 1}' > "$dir/last"
go batch -f "$dir/last" -s 9223372036854775807; [ "$status" -eq 3 ] && grep -q '"line":2,.*those from -s on end at' "$dir/out" && grep -q '"seed":0}' "$dir/out"
ok $? "batch: seeds end where they do"
go score --help; ! grep -q -e '--swa-full.*prompt-cache' "$dir/out"; ok $? "help of score: no flag it does not have"
in=$dir/ask.jsonl; go batch -f - -s 41 --parallel 1; in=/dev/null; same_out "$dir/answers" "batch reads standard input"
go batch -f "$dir/ask.jsonl" -s 41 -o "$dir/b.jsonl"; cmp -s "$dir/answers" "$dir/b.jsonl"; ok $? "batch -o"
go batch -f "$dir/ask.jsonl" -s 41 -o "$dir/b.jsonl"; refused 1 "b.jsonl: has something in it" "batch does not write over answers"
go batch -f "$dir/ask.jsonl" -o "$dir/ask.jsonl" --resume; refused 1 "is what is read" "batch: -o onto the requests"
go batch; refused 1 "-f FILE" "batch without requests"
go batch -f "$dir/none"; refused 3 none "batch: requests that are not there"
go batch -f "$dir/ask.jsonl" --resume; refused 1 "needs a file" "batch: nothing to go on with"
go batch -f "$dir/ask.jsonl" --n-predict 0 ; refused 1 "n-predict is 0" "batch: texts without tokens"
go batch -f "$dir/ask.jsonl" -o "$dir/no/b.jsonl"; refused 4 no/b.jsonl "batch: a folder that is not there"
go batch "$dir/tiny.bin" -z "$dir/tok.bin" -f /dev/null; [ "$status" -eq 3 ] && grep -q "has no requests" "$dir/err"; ok $? "batch: no requests"
awk 'BEGIN { for (i = 0; i < 20000; i++) print "{\"prompt\": \"Once upon a time\", \"max_tokens\": 16, \"logprobs\": 9}" }' > "$dir/long.jsonl"
head -20 "$dir/long.jsonl" > "$dir/ask.jsonl"
go batch -f "$dir/ask.jsonl" -o "$dir/whole.jsonl"; (trap '' XFSZ; ulimit -f 8; go batch -f "$dir/ask.jsonl" -o "$dir/full.jsonl"; exit $status); status=$?
[ "$status" -eq 4 ] && grep -q '^pith: .*full.jsonl' "$dir/err" && [ -s "$dir/full.jsonl" ] && [ "$(tail -c 1 "$dir/full.jsonl" | tr '\n' x)" = x ]
ok $? "batch: a full disk keeps the answers that are whole"
go batch -f "$dir/ask.jsonl" -o "$dir/full.jsonl" --resume; cmp -s "$dir/whole.jsonl" "$dir/full.jsonl"; ok $? "and --resume goes on behind them"
first=$dir/cut.jsonl; interrupt INT 130 "SIGINT during batch" batch -f "$dir/long.jsonl" -o "$dir/cut.jsonl"
[ -s "$dir/cut.jsonl" ] && grep -q -e '--resume goes on' "$dir/err"; ok $? "keeps the answers, and says how to go on"
"$run" batch -f "$dir/long.jsonl" -o "$dir/cut.jsonl" --resume > /dev/null 2>&1 & pid=$!; sleep 0.5; written "$first"; kill -s KILL $pid; wait $pid 2> /dev/null
n=$(wc -l < "$dir/cut.jsonl"); [ "$n" -lt 20 ] || n=20 # a slow machine has not come as far
head -n "$n" "$dir/whole.jsonl" > "$dir/b.jsonl"; [ "$n" -gt 0 ] && head -n "$n" "$dir/cut.jsonl" | cmp -s - "$dir/b.jsonl"
ok $? "and kill -9 none of them"; first=
if [ -c /dev/full ]; then
    go batch -f "$dir/ask.jsonl" -o /dev/full --quiet; refused 4 /dev/full "batch: a full disk"
else skip "batch: a full disk" "no /dev/full"; fi

# ---- search ------------------------------------------------------------------------------------------
mkdir "$dir/find"; lines=$dir/find/lines.txt; index=$lines.pith-index
printf 'The cat sat on the mat.\r\nA dog ran.\n\nOnce upon a time\tin a wood\nA dog ran.\nthe end' > "$lines"
find() { go search "$dir/tiny.bin" -z "$dir/tok.bin" -f "$lines" "$@"; }
has() { grep -q "$1" "$dir/err"; } # of what was said
parts() { ls "$dir/find" | grep -c -e part -e lock; }
find -i "A dog ran." -k 2 && has '^6 lines, 6 new' && [ -s "$index" ]; out_is '1.000000\t2\tA dog ran.\n1.000000\t5\tA dog ran.\n' "search: the same line comes first, of two the first one"
find -i "The cat sat on the mat." -k 100 && [ "$(wc -l < "$dir/out")" -eq 6 ] && has ' 0 new' && head -n 1 "$dir/out" | cmp -s - <<EOF
1.000000	1	The cat sat on the mat.
EOF
ok $? "all lines, from the index: an empty one too, and without the end of a line of Windows"
sort -k 1,1nr -k 2,2n -s "$dir/out" > "$dir/sorted"; cmp -s "$dir/sorted" "$dir/out"; ok $? "best first"
cp "$dir/out" "$dir/all"; ask="The cat sat on the mat."
for t in 1 2 3 4; do find -i "$ask" -k 100 --threads $t; has ' 0 new'; same_out "$dir/all" "search: $t threads"; done
echo "$ask" > "$dir/question"; in=$dir/question; find -i - -k 100; in=/dev/null; same_out "$dir/all" "the question from standard input"
in=$lines; go search "$dir/tiny.bin" -z "$dir/tok.bin" -f - -i "$ask" -k 100; in=/dev/null; has ' 6 new'; same_out "$dir/all" "the text from standard input"
printf '%s' '{"t": "The cat sat on the mat."}' > "$dir/find/l.jsonl"; printf '\n\n{"t": "A dog ran.\\n"}\n' >> "$dir/find/l.jsonl"
go search "$dir/tiny.bin" -z "$dir/tok.bin" -f "$dir/find/l.jsonl" -i "$ask" --jsonl t -k 1; out_is '1.000000\t1\t{"t": "The cat sat on the mat."}\n' "lines of JSON"
go search "$dir/tiny.bin" -z "$dir/tok.bin" -f "$dir/find/l.jsonl" -i "$ask" --jsonl text; [ "$status" -eq 3 ] && has "line 1: has no text 'text'"; ok $? "that lack the field"
# Which vectors.
cp "$index" "$dir/asked"
find -i "$ask" -k 9 --pooling mean; has "another way: it is made anew" && has '6 new' && has 'of 32 numbers' && ! cmp -s "$dir/all" "$dir/out"; fine "search --pooling"
find -i "$ask" -k 9 --pooling mean --dimensions 3; has 'of 3 numbers'; fine "search --dimensions"
find -i "$ask" --pooling none; refused 1 "a line has one vector" "search --pooling none"
find -i "$ask" --dimensions 33 --quiet; refused 1 "1 to 32" "search: more dimensions than there are"
find -i "cat sat on the mat." -k 9 --prefix "The "; has 'another way'; same_out "$dir/all" "search --prefix: a text before the question"
find -i "$ask" -k 9 --prefix ""; has ' 0 new'; same_out "$dir/all" "search --prefix: nothing"
find -i "Oh: $ask" -k 1 --line-prefix "Oh: "; has '6 new'; out_is '1.000000\t1\tThe cat sat on the mat.\n' "search --line-prefix: a text before each line"
find -i "$ask" --prefix ask; refused 1 "no prompts; a text of yours needs a blank" "search: a prompt that is none"
find -i "$ask" -k 9; cmp -s "$index" "$dir/asked"; same_out "$dir/all" "search: and back"
# The model's files are read as a whole only where their places, sizes or times are others.
stamped() { od -An -tx8 -j 88 -N 8 "$index" | tr -d ' \n'; }
cp "$dir/tiny.bin" "$dir/copy.bin"; go search "$dir/copy.bin" -z "$dir/tok.bin" -f "$lines" -i "$ask" -k 9; has ' 0 new' && cmp -s "$index" "$dir/asked"; same_out "$dir/all" "search: a copy of the model, made just now"
sleep 4; old=$(stamped); go search "$dir/copy.bin" -z "$dir/tok.bin" -f "$lines" -i "$ask" -k 9
has ' 0 new' && [ "$old" != "$(stamped)" ] && [ "$(stamped)" != 0000000000000000 ]; same_out "$dir/all" "search: the copy's place is noted"
go search "$dir/copy.bin" -z "$dir/tok.bin" -f "$lines" -i "$ask" -k 9; has ' 0 new'; same_out "$dir/all" "and found again"
printf x | dd of="$dir/copy.bin" bs=1 seek=40000 conv=notrunc 2> /dev/null; go search "$dir/copy.bin" -z "$dir/tok.bin" -f "$lines" -i "$ask" -k 9
has 'another model: it is made anew'; fine "search: the copy with another byte"
find -i "$ask" -k 9; same_out "$dir/all" "and the model itself"
if [ -d "$shared/encoders" ]; then
    cp -r "$shared/encoders/modernbert-hf" "$dir/dot"; chmod -R u+w "$dir/dot"; sed -i 's/"cosine"/"dot"/' "$dir/dot/config_sentence_transformers.json"
    go embed "$dir/dot" -f "$lines" --format text; cp "$dir/out" "$dir/x"; go embed "$dir/dot" -i "$ask" --format text; cat "$dir/out" >> "$dir/x"
    awk '{ for (i = 1; i <= NF; i++) x[NR, i] = $i; n = NF } END { for (t = 1; t < NR; t++) { s = 0; for (i = 1; i <= n; i++) s += x[t, i] * x[NR, i]; printf "%.3f\t%d\n", s, t } }' "$dir/x" |
        sort -k 1,1gr -k 2,2n > "$dir/dots"
    go search "$dir/dot" -f "$lines" -i "$ask" -k 9; awk -F'\t' '{ printf "%.3f\t%d\n", $1, $2 }' "$dir/out" | cmp -s - "$dir/dots"; fine "search: a folder that asks for the dot product"
    sed -i 's/"dot"/"euclidean"/' "$dir/dot/config_sentence_transformers.json"; go search "$dir/dot" -f "$lines" -i "$ask"; refused 2 "similarity_fn_name is 'euclidean', need cosine or dot" "search: a folder that asks for a distance"
    rm -r "$dir/dot"; find -i "$ask"
else skip "search by the dot product" "no $shared/encoders"; fi
# What has changed.
cp "$index" "$dir/index"; printf '\nA new line' >> "$lines"; find -i "A new line" -k 1 && has '^7 lines, 1 new'; out_is '1.000000\t7\tA new line\n' "search: a line more"
sed -i '1d; s/^the end/The end/' "$lines"; find -i "The end" -k 1 && has '^6 lines, 1 new'; out_is '1.000000\t5\tThe end\n' "one less, and one other"
cp "$index" "$dir/good"; find -i "$ask" -k 9; cp "$dir/out" "$dir/all"
find -i "$ask" -k 9 -c 3; has "another way: it is made anew" && has '6 new'; fine "texts cut shorter"
go search "$dir/spm.gguf" -f "$lines" -i "$ask"; has "another model: it is made anew" && has '6 new'; fine "another model"
find -i "$ask" -k 9; has "another model: it is made anew"; same_out "$dir/all" "and back"
head -c 300 "$dir/good" > "$index"; find -i "$ask" -k 9; has "has 300 bytes, need"; same_out "$dir/all" "an index that is cut"
{ head -c 400 "$dir/good"; printf xyz; tail -c +404 "$dir/good"; } > "$index"; find -i "$ask" -k 9; has "line 3 was altered"; same_out "$dir/all" "a vector that was altered"
cmp -s "$index" "$dir/good"; ok $? "is right again"
printf x > "$index.77.part"; printf 'more\n' >> "$lines"; find -i more -k 1; [ "$(parts)" -eq 0 ]; ok $? "what a killed run left is removed"
echo "my notes" > "$index"; find -i "$ask" -k 1; has "left as it is" && [ "$(cat "$index")" = "my notes" ]; fine "a file that is no index stays"
rm "$index"; awk 'BEGIN { for (i = 0; i < 200; i++) print "line " i }' > "$lines"; find -i "line 77" -k 3; cp "$dir/out" "$dir/all"; cp "$index" "$dir/good"
rm "$index"; (trap '' XFSZ; ulimit -f 8; find -i "line 77" -k 3; exit $status); status=$?; has "the vectors are not kept" && [ ! -e "$index" ] && [ "$(parts)" -eq 0 ]; same_out "$dir/all" "search: a full disk"
find -i a --quiet & pid=$!; (dir=$dir/second; mkdir "$dir"; index=; go search "${dir%/second}/tiny.bin" -z "${dir%/second}/tok.bin" -f "$lines" -i "line 77" -k 3; exit $status)
status=$?; wait $pid; cp "$dir/second/out" "$dir/out"; cmp -s "$index" "$dir/good" && [ "$(parts)" -eq 0 ]; same_out "$dir/all" "two runs at once"
awk 'BEGIN { for (i = 0; i < 300000; i++) print "a line of some length, which is number " i }' > "$lines"
for t in 0.3 0.6; do rm -f "$index"; "$run" search "$dir/tiny.bin" -z "$dir/tok.bin" -f "$lines" -i a > /dev/null 2>&1 & pid=$!; sleep $t; kill -s KILL $pid; wait $pid 2> /dev/null; done
[ ! -e "$index" ]; ok $? "search: kill -9 leaves no half of an index"
interrupt INT 130 "SIGINT during search" search "$dir/tiny.bin" -z "$dir/tok.bin" -f "$lines" -i a
kept=$(sed -n 's/.*has what was done, \([0-9]*\) of 300000.*/\1/p' "$dir/err"); head -n 100 "$lines" > "$dir/few"; mv "$dir/few" "$lines"
[ "${kept:-0}" -gt 100 ] && find -i a && has '^100 lines, 0 new'; ok $? "keeps what was done"
: > "$lines"; find -i a; refused 3 "is empty" "search: an empty text"
go search "$dir/tiny.bin" -z "$dir/tok.bin" -f "$dir/none" -i a; refused 3 none "a text that is not there"
go search "$dir/tiny.bin" -z "$dir/tok.bin" -f "$lines"; refused 1 "-i QUESTION" "search without a question"
go search "$dir/tiny.bin" -z "$dir/tok.bin" -f - -i -; refused 1 "both" "two things from standard input"
printf '\377\376a\0' > "$lines"; find -i a; refused 3 UTF-16 "search: a text that is UTF-16"

echo "1..$n"; echo "# $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
