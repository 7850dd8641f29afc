#!/bin/sh
# layers.sh a.o b.o ... - objects in reading order; each may use only symbols that stand before it or in it.
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
for o in "$@"; do
    nm -g "$o" | awk -v o="$o" 'NF == 3 && $2 != "U" { print "D", $3, o }
                                NF == 2 && $1 == "U" { print "U", $2, o }' >> "$dir/symbols"
done
awk '$1 == "D" { at[$2] = NR; from[$2] = $3 } $1 == "U" { use[NR] = $2; who[NR] = $3 }
     END { for (n in use) if (use[n] in at && at[use[n]] > n + 0 && from[use[n]] != who[n]) {
               print "UPWARD: " who[n] " uses " use[n] " of " from[use[n]]; bad = 1 }
           exit bad }' "$dir/symbols"
