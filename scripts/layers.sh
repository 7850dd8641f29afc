#!/bin/sh
# layers.sh a.o b.o ... - objects in reading order; each may use only symbols that stand before it or in it. And no file
# includes a header of a later room, so it cannot name its types either; every .c file is one of the objects.
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
rooms="base math formats text . train tools" # "." holds the root's files; model.h, the public header, comes first
for o in "$@"; do
    nm -g "$o" | awk -v o="$o" 'NF == 3 && $2 != "U" { print "D", $3, o }
                                NF == 2 && $1 == "U" { print "U", $2, o }' >> "$dir/symbols"
done
awk '$1 == "D" { at[$2] = NR; from[$2] = $3 } $1 == "U" { use[NR] = $2; who[NR] = $3 }
     END { for (n in use) if (use[n] in at && at[use[n]] > n + 0 && from[use[n]] != who[n]) {
               print "UPWARD: " who[n] " uses " use[n] " of " from[use[n]]; bad = 1 }
           exit bad }' "$dir/symbols" || bad=1
files=$(for r in $rooms; do find "$r" $([ "$r" = . ] && echo -maxdepth 1) -name '*.[ch]' -o -name '*.inc'; done | sed 's,^\./,,')
awk -v rooms="$rooms" '
function rank(path) { # of the room that a file is in
    sub(/^\.\//, "", path)
    if (path == "model.h") return 0
    return n[path ~ /\// ? substr(path, 1, index(path, "/") - 1) : "."]
}
BEGIN { k = split(rooms, r, " "); for (i = 1; i <= k; i++) n[r[i]] = i }
/^ *# *include "/ {
    path = $0; sub(/^[^"]*"/, "", path); sub(/".*/, "", path)
    folder = FILENAME; if (!sub(/[^\/]*$/, "", folder)) folder = ""
    path = folder path
    while (sub(/[^\/]+\/\.\.\//, "", path)) continue # text/../base/base.h
    if (rank(path) > rank(FILENAME) && FILENAME != "run.c") { print "UPWARD: " FILENAME " includes " path; bad = 1 }
}
END { exit bad }' $files || bad=1
for f in $files; do # a file that no list has is not built, and so not tested
    case $f in *.c) case " $* " in *"/${f%.c}.o "*) ;; *) echo "NOT BUILT: $f is in no list of the Makefile"; bad=1 ;; esac ;; esac
done
exit "${bad:-0}"
