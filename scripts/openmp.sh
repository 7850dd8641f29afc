#!/bin/sh
# openmp.sh COMPILER AND FLAGS - prints -fopenmp if this compiler's programs run with threads. It is not enough that it
# takes the flag: musl-gcc links with glibc's library, and the program does not start. Of a cross compiler the program
# cannot be tried, so it is enough that it links. What was found is said on stderr if it is not the usual.
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT || exit 1
cat > "$dir/alone.c" << 'END'
int main(void) { return 0; }
END
cat > "$dir/threads.c" << 'END'
#include <omp.h>
int main(void) {
    int sum = 0, n = 0;
#pragma omp parallel num_threads(2) reduction(+ : sum)
    {
        sum += 1 + omp_get_thread_num();
        if (!omp_get_thread_num()) n = omp_get_num_threads();
    }
    return n < 1 || sum != n * (n + 1) / 2;
}
END
why() { echo "pith: no OpenMP, so one thread: $1" >&2; exit 0; }
"$@" "$dir/alone.c" -o "$dir/alone" 2> "$dir/errors" || exit 0 # this compiler makes nothing at all: it will say why
"$@" -fopenmp "$dir/threads.c" -o "$dir/threads" 2> "$dir/errors" || why "$1 -fopenmp does not link"
if "$dir/alone" 2> "$dir/errors"; then
    "$dir/threads" 2> "$dir/errors" || why "what $1 -fopenmp makes does not run"
else
    echo "pith: cross compiling: OpenMP was linked but could not be tried" >&2
fi
echo -fopenmp
