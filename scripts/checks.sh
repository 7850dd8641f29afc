#!/bin/sh
# checks.sh GROUP - checks of the code itself, of dist and of the Makefile's targets; test.sh runs the groups, side by
# side. Prints TAP.
BUILD=${BUILD:-build}; CC=${CC:-cc}; RUN=${RUN:-./run}; group=$1

check() { # check NAME COMMAND...: one test, passed if the command succeeds
    name=$1; shift
    if "$@" > "$BUILD/check.$group" 2>&1; then echo "ok - $name"; else
        echo "not ok - $name"; sed 's/^/# /' "$BUILD/check.$group"; fi
}
compile() { $CC -Wall -Wextra -Wpedantic -Wshadow -Werror -Idist "$@"; }
only_pith() { ! nm -g "$1" | awk 'NF == 3 && $3 !~ /^pith_/ && $3 !~ /^(__asan|__odr_asan|_ZN)/' | grep .; }
never_calls() { ! nm -u "$1" | awk '{ print $2 }' | grep -xE 'exit|_exit|abort|printf|fprintf|puts|putchar|getenv|__assert_fail'; }
embed_runs() { # examples/embed.c and the two files, and nothing else
    compile -std=c11 examples/embed.c "$BUILD/dist.o" -lm -o "$BUILD/embed" && mkdir -p "$BUILD/fx" &&
        "$BUILD/fixture" "$BUILD/fx" && "$BUILD/embed" "$BUILD/fx/tiny.bin" "$BUILD/fx/tok.bin" | grep -q '^Once upon a time.' &&
        ! "$BUILD/embed" "$BUILD/fx/tiny.bin" > "$BUILD/refused" 2>&1 && grep -q 'does not become' "$BUILD/refused"
}
search_runs() { # examples/search.c, the same way: the line that is the question comes first
    compile -std=c11 examples/search.c "$BUILD/dist.o" -lm -o "$BUILD/search" &&
        printf 'a dog\nthe cat\nonce' | "$BUILD/search" "$BUILD/fx/spm.gguf" "the cat" | head -n 1 | grep -q '^1.000000.the cat$' &&
        ! "$BUILD/search" "$BUILD/fx/spm.gguf" "the cat" < /dev/null 2> "$BUILD/refused" && grep -q 'no lines' "$BUILD/refused"
}
refuses() { # refuses WORD FLAGS...: pith.c says it in an #error with this word
    word=$1; shift
    ! $CC -std=c11 -Idist "$@" -fsyntax-only dist/pith.c > "$BUILD/refused" 2>&1 && grep -q "error.*$word" "$BUILD/refused"
}
makes() { MAKEFLAGS= ${MAKE:-make} -s CC="$CC" "$@"; }
ofast() { # llama2.c's habit: the program is right all the same. An #error of base.h would stop the first command.
    rm -rf "$BUILD/ofast" && makes BUILD="$BUILD/ofast" CFLAGS="-Ofast -ffast-math" "$BUILD/ofast/base/bytes.o" || return 1
    ! makes -n BUILD="$BUILD/ofast" RUN="$BUILD/ofast/run" CFLAGS=-Ofast "$BUILD/ofast/run" | grep -e -Ofast
}
openmp_is() { # openmp_is WANT ALONE THREADS: of a compiler whose programs end with these statuses
    printf '#!/bin/sh\nfor a; do [ "$b" = -o ] && o=$a; b=$a; done\ncase $o in */alone) s=%s;; *) s=%s;; esac\n%s\n' "$2" "$3" \
        'printf "#!/bin/sh\nexit $s\n" > "$o"; chmod +x "$o"' > "$BUILD/compiler"
    chmod +x "$BUILD/compiler"
    [ "$(sh scripts/openmp.sh "$BUILD/compiler" 2>&1)" = "$1" ]
}
openmp_probe() {
    openmp_is -fopenmp 0 0 && openmp_is "pith: no OpenMP, so one thread: what $BUILD/compiler -fopenmp makes does not run" 0 127 &&
        openmp_is "pith: cross compiling: OpenMP was linked but could not be tried
-fopenmp" 126 126
}
install_at() { makes CFLAGS=-O0 BUILD="$BUILD" RUN="$RUN" DESTDIR="$BUILD/in stall" PREFIX="/o pt" "$@"; }
installs() { # into folders with blanks in their names; another program finds the library; nothing is left behind
    rm -rf "$BUILD/in stall" && install_at install install-lib || return 1
    at="$BUILD/in stall/o pt"; threads=$(sed -n 's/.*-lpith//p' "$at/lib/pkgconfig/pith.pc")
    "$at/bin/pith" -s 7 -n 8 > /dev/null && test -s "$at/share/man/man1/pith.1" && test -s "$at/include/pith.h" &&
        compile -std=c11 examples/embed.c "$at/lib/libpith.a" $threads -o "$BUILD/installed" &&
        grep -q '^Libs: -L"/o pt/lib" -lpith -lm' "$at/lib/pkgconfig/pith.pc" || return 1
    install_at uninstall && [ ! -e "$at" ] && [ -d "$BUILD/in stall" ]
}
story() { # story VAR=...: make story-model, with blanks in its names; what it says is in said
    makes BUILD="$BUILD" RUN="$RUN" TEXT="$at/my text.txt" STORY="$at/the run" STORY_MODEL="$at/stories.gguf" \
        STORY_FLAGS="--layers 1 --context 32" "$@" story-model > "$BUILD/said" 2>&1
}
story_model() { # the same command goes on, the first model is kept, another text is not mixed in
    at="$BUILD/sto ry"; rm -rf "$at" && mkdir -p "$at" && cat formats/*.c > "$at/my text.txt" && echo old > "$at/stories.gguf"
    story STORY_STEPS=1 && story STORY_STEPS=2 && grep -q 'going on from .*checkpoint-1' "$BUILD/said" &&
        tail -n 1 "$BUILD/said" | grep -q "make builds it in.*mv '.*stories.old.gguf' .* && make" &&
        [ "$(cat "$at/stories.old.gguf")" = old ] && cmp "$at/the run/out/model.gguf" "$at/stories.gguf" || return 1
    cp "$at/the run/out/model.gguf" "$at/before" && echo more >> "$at/my text.txt"
    ! story STORY_STEPS=3 && grep -q 'another text' "$BUILD/said" && cmp "$at/before" "$at/stories.gguf"
}
story_plan() { # story_plan BYTES WANT: what pretrain is asked for; it is stopped, and that is told
    at="$BUILD/plan"; rm -rf "$at" && mkdir -p "$at" && printf '#!/bin/sh\necho "$@"\nexit 130\n' > "$at/run" && chmod +x "$at/run" &&
        : > "$at/vocab.gguf" && head -c "$1" /dev/zero > "$at/text" || return 1
    TEXT="$at/text" STORY="$at" STORY_MODEL="$at/m.gguf" RUN="$at/run" STORY_STEPS= STORY_FLAGS= sh scripts/story.sh > "$BUILD/said" 2>&1
    [ $? -eq 130 ] && grep -q -e "$2" "$BUILD/said" && tail -n 1 "$BUILD/said" | grep -q 'same make command goes on' && [ ! -e "$at/m.gguf" ]
}
story_plans() {
    story_plan 50000 '--warmup_steps 15 --max_steps 300 ' && story_plan 1900000 '--warmup_steps 100 --max_steps 2000 ' &&
        story_plan 20000000 '--warmup_steps 200 --max_steps 14000 '
}
forgotten() { # a test that is in no list must not pass for one
    printf '#include "tests/test.h"\nTEST(a) { CHECK(1); }\nint main(void) { return DONE(); }\n' > "$BUILD/forgotten.c"
    ! $CC -std=c11 -I. -c "$BUILD/forgotten.c" -o "$BUILD/forgotten.o"
}
one_system() { # another system is a twin of base/os.c; bundle.c knows two assemblers
    ! grep -nE '^ *# *(if|elif).*(__linux|_WIN32|__APPLE__|__unix|BSD__|__ANDROID__|__EMSCRIPTEN__|__wasi__|__MINGW)' \
        *.[ch] base/[!o]*.[ch] math/*.[ch] formats/*.[ch] text/*.[ch] train/*.[ch] tools/*.[ch] | grep -v '^tools/bundle.c:'
}
bsd_make() { MAKEFLAGS= bmake -n 2>&1 | grep -q 'GNU make' && ! MAKEFLAGS= bmake; }
readme_snippet() { # the README's C compiles as it stands
    { printf '#include "pith.h"\n#include <stdio.h>\nint main(void) {\n'
      awk '/^```c$/ { on = 1; next } /^```$/ { on = 0 } on' README.md; printf 'return 0; }\n'; } > "$BUILD/snippet.c"
    compile -std=c11 -c "$BUILD/snippet.c" -o "$BUILD/snippet.o"
}
doc_names() { # doc_names FILE: each `name` in `file` that the page has stands there
    grep -o '`[A-Za-z0-9_]*\(()\)\?` in `[a-z0-9_/]*\.[a-z]*`' "$1" | tr -d '`' | sed 's/ in / /' > "$BUILD/names"
    test -s "$BUILD/names" && while read -r name file; do
        case $name in *"()") name=${name%??}; grep -q "\b$name(" "$file";; *) grep -qw "$name" "$file";; esac ||
            { echo "no $name in $file"; return 1; }; done < "$BUILD/names"
}
no_bundle() { # make BUNDLE=0: no model inside, and a word about where some are
    "$BUILD/no_bundle" > "$BUILD/none" 2> "$BUILD/why"
    [ $? -eq 1 ] && [ ! -s "$BUILD/none" ] && grep -q README "$BUILD/why"
}
run_shows_the_interface() { ! grep -n 'pith__' run.c && ! $CC -E run.c | grep 'base/base.h'; }

case $group in
bundle)
    check "without a bundled model the program says where some are" no_bundle
    ;;
source)
    check "layers: calls go one way" sh scripts/layers.sh $ENGINE_OBJECTS
    check "only base/os.c and the twins ask which system this is" one_system
    check "a TEST without its RUN does not compile" forgotten
    check "threads are used where they run" openmp_probe
    for h in *.h base/*.h math/*.h formats/*.h text/*.h train/*.h tools/*.h; do
        check "$h compiles alone" $CC -std=c11 -Wall -Wextra -Werror -Wno-unused-function -fsyntax-only -x c $h
    done
    check "run.c needs model.h and the headers of tools/ only" run_shows_the_interface
    for doc in READING GLOSSARY; do check "docs/$doc.md: every name stands in its file" doc_names docs/$doc.md; done
    ;;
dist)
    check "dist/pith.c compiles alone as C11" compile -std=c11 -O1 -c dist/pith.c -o "$BUILD/dist.o"
    check "dist/pith.c exports only pith_*" only_pith "$BUILD/dist.o"
    check "dist/pith.c never exits, prints or reads the environment" never_calls "$BUILD/dist.o"
    check "examples/embed.c builds from dist and runs" embed_runs
    check "examples/search.c too" search_runs
    check "dist/pith.c compiles with PITH_PORTABLE" compile -std=c11 -O0 -DPITH_PORTABLE -c dist/pith.c -o "$BUILD/dist_portable.o"
    check "dist/pith.c refuses big-endian processors" refuses little-endian -U__BYTE_ORDER__ -D__BYTE_ORDER__=4321
    check "dist/pith.c refuses compilers without atomics" refuses C11 -D__STDC_NO_ATOMICS__
    check "dist/pith.c refuses -ffast-math" refuses NaN -ffast-math
    check "dist/pith.c refuses -ffinite-math-only" refuses NaN -ffinite-math-only
    check "dist/pith.h is C99" compile -std=c99 -fsyntax-only -x c dist/pith.h
    check "dist/pith.h is C++" compile -std=c++11 -fsyntax-only -x c++ dist/pith.h
    check "the README's C compiles" readme_snippet
    ;;
make)
    check "make CFLAGS=-Ofast keeps NaN and the order of sums" ofast
    check "make install, install-lib and uninstall" installs
    check "make story-model goes on, and keeps the model it replaces" story_model
    check "make story-model has steps for the text's size" story_plans
    if command -v bmake > /dev/null; then check "BSD's make names GNU make" bsd_make; else echo "ok - BSD's make names GNU make # SKIP no bmake"; fi
    ;;
*) echo "not ok - no group of checks is called $group" ;;
esac
