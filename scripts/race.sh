#!/bin/sh
# race.sh TURNS FILE.gguf BENCH... - run bench beside other programs, in turns: a prompt of 256 tokens, 48 tokens one by one, two
# threads. A BENCH is a llama-bench, of llama.cpp or ik_llama.cpp; nothing of others is built here, and options for one can stand
# behind it ("path/llama-bench -fa 0"). Prints each turn, then medians, and medians of ratios: only what ran in one turn, on a
# machine that others use too, can be compared. PITH, THREADS: the program and its threads. random_gguf.py writes files.
turns=$1 file=$2 run=${PITH:-./run} threads=${THREADS:-2}
[ $# -ge 3 ] || { sed -n '2,5s/^# //p' "$0"; exit 1; }
shift 2
table=$(mktemp) && trap 'rm -f "$table"' EXIT
cat "$file" > /dev/null # all read from memory
turn=0
while [ $((turn += 1)) -le "$turns" ]; do
    "$run" bench "$file" --n-prompt 256 --n-gen 48 --repetitions 1 --threads "$threads" --json |
        sed 's/.*"mean": \([0-9.]*\).*/\1/' | tr '\n' ' ' | sed "s/^/$turn pith /; s/\$/\n/" | tee -a "$table"
    for bench in "$@"; do
        $bench -m "$file" -t "$threads" -p 256 -n 48 -r 1 -b 256 -ub 256 2> /dev/null |
            awk -F'|' -v head="$turn $bench" '/ pp256 / { split($(NF - 1), p, " ") } / tg48 / { split($(NF - 1), g, " ") }
                END { gsub(/ /, "_", head); sub(/_/, " ", head); print head, p[1], g[1] }' | tee -a "$table"
    done
done
awk '
function median(list,   a, n, i, j, x) {
    n = split(list, a, " ")
    for (i = 2; i <= n; i++)
        for (j = i; j > 1 && a[j] + 0 < a[j - 1] + 0; j--) { x = a[j]; a[j] = a[j - 1]; a[j - 1] = x }
    return n % 2 ? a[(n + 1) / 2] : (a[n / 2] + a[n / 2 + 1]) / 2
}
NF == 4 { name[$2]; read[$1, $2] = $3; write[$1, $2] = $4; r[$2] = r[$2] " " $3; w[$2] = w[$2] " " $4; if ($1 > last) last = $1 }
END {
    for (n in name) {
        over = more = ""
        for (t = 1; t <= last; t++)
            if (read[t, n] > 0 && write[t, n] > 0 && ((t, "pith") in read)) {
                over = over " " read[t, "pith"] / read[t, n]; more = more " " write[t, "pith"] / write[t, n]
            }
        printf "%s: prefill %.1f tok/s, decode %.1f; pith over it %.2f, %.2f\n", n, median(r[n]), median(w[n]), median(over), median(more)
    }
}' "$table"
