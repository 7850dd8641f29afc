# lab_stories.sh - what lab_preferences.sh and lab_rlhf.sh share (they read it): stories, a rule that prefers endings, pairs.
#
# The model tells stories and ends each of them in four ways. The rule prefers an ending: its last sentence has a word of joy.
# Measured are whole stories of beginnings that were not learned from.
set -eu
run=${RUN:-./run} model=${MODEL:-models/stories.gguf}
rm -rf "$out"
mkdir -p "$out"

# Beginnings of stories as requests, of n stories each.
beginnings() { # how many, n, max_tokens, seed
    awk -v many="$1" -v n="$2" -v room="$3" -v seed="$4" '
    function random(k) { seed = seed * 16807 % 2147483647; return int(seed / 2147483647 * k) } # the same in every awk
    BEGIN {
        split("Tom Tim Lily Sara Ben Mia Max Anna Sam Lucy Jack Amy", name)
        split("boy girl dog cat bird bear rabbit frog mouse duck", who)
        split("a ball|a big box|an old tree|a red hat|a lost key|a little boat|a cold river|a long stick|a broken toy|" \
              "a dark cave|a shiny stone|a hungry fox", thing, "|")
        for (i = 0; i < many; i++) {
            m = name[1 + random(12)]
            printf "{\"id\": \"%d\", \"prompt\": \"Once upon a time, there was a little %s named %s. One day, %s found %s.\", " \
                   "\"n\": %d, \"max_tokens\": %d}\n", i, who[1 + random(10)], m, m, thing[1 + random(12)], n, room
        }
    }'
}

# What awk needs to know of requests and answers. text[1 to n]: an answer, as JSON has it; ended[i]: it is not cut.
lib='
    function texts(line,   i, n) {
        while ((i = index(line, "\"text\":\""))) {
            line = substr(line, i + 8)
            text[++n] = substr(line, 1, index(line, "\",\"logprobs\"") - 1)
            line = substr(line, index(line, "\"finish_reason\":\"") + 17)
            ended[n] = line ~ /^stop/ && text[n] != ""
        }
        return n
    }
    function prompt_of(line) {
        line = substr(line, index(line, "\"prompt\": \"") + 11)
        return substr(line, 1, index(line, "\", \"n\": ") - 1)
    }
    function happy(s,   n, part) { # the rule: a word of joy in the last sentence
        gsub(/\\n/, " ", s); gsub(/\\"/, "", s); sub(/ +$/, "", s); sub(/ ?The end[.!]?$/, "", s); sub(/[.!?]+$/, "", s)
        n = split(s, part, /[.!?]/)
        return part[n] ~ /happ|smil|laugh|lov/
    }'

tell() { # requests answers flags...
    from=$1 to=$2
    shift 2
    "$run" batch "$model" "$@" -f "$from" -o "$to" -t 0.9 -p 0.95 --top-k 0 --min-p 0 --quiet
}

happily() { # name flags...: percent of whole stories that end happily
    name=$1
    shift
    tell "$out/held.jsonl" "$out/$name.jsonl" "$@"
    awk "$lib"'{ n = texts($0); for (i = 1; i <= n; i++) { all++; good += ended[i] && happy(text[i]) } }
               END { printf "%.1f\n", 100 * good / all }' "$out/$name.jsonl"
}

beginnings 200 2 300 14000045 > "$out/held.jsonl"

# Stories, each without its last sentence ($out/ask.jsonl), four endings of each, and of these a pair ($out/pairs.jsonl).
make_pairs() { # of how many stories
    beginnings "$1" 1 160 12000037 > "$out/begin.jsonl"
    tell "$out/begin.jsonl" "$out/stories.jsonl"
    awk "$lib"'FNR == NR { prompt[FNR] = prompt_of($0); next }
        { texts($0); rest = text[1]; n = 0
          while (ended[1] && match(rest, /[.!?](\\")?( |\\n)/)) {
              cut[++n] = length(text[1]) - length(rest) + RSTART + RLENGTH - 1
              rest = substr(rest, RSTART + RLENGTH)
          }
          if (n < 3) next
          story = substr(text[1], 1, cut[n - 1]); sub(/( |\\n)$/, "", story)
          printf "{\"id\": \"%d\", \"prompt\": \"%s%s\", \"n\": 4, \"max_tokens\": 120}\n", FNR, prompt[FNR], story
        }' "$out/begin.jsonl" "$out/stories.jsonl" > "$out/ask.jsonl"
    tell "$out/ask.jsonl" "$out/endings.jsonl"
    awk "$lib"'FNR == NR { prompt[FNR] = prompt_of($0); next }
        { n = texts($0); good = bad = 0
          for (i = n; i; i--) if (ended[i]) { if (happy(text[i])) good = i; else bad = i }
          if (good && bad) printf "{\"prompt\": \"%s\", \"chosen\": \"%s\", \"rejected\": \"%s\"}\n", prompt[FNR], text[good], text[bad]
        }' "$out/ask.jsonl" "$out/endings.jsonl" > "$out/pairs.jsonl"
}
