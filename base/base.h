/* base.h - what everything stands on: errors, memory, bytes, the system, UTF-8, JSON.
 *
 * Letters mean one thing in the whole tree:
 *     l layer        t token, the row of a batch     u earlier token, a position in the KV cache
 *     h head         i, j channel                    r row of a weight matrix
 *     b run of 32 numbers (math/), or the layer at work (forward.c, backward.c)
 *     n how many of what the name says
 * Shapes stand beside their pointers, slowest index first: (n_layer, n_embd). A matrix is (rows, cols)
 * with rows outputs and cols inputs, as on disk: y = W x is rows dot products of length cols.
 * Names: pith_x is public (model.h), pith__x is shared between files, bare names are static in their file.
 *
 * Each folder has one header with one section a file, in reading order, which is the link order too:
 * base > math > formats > text > the files of the root (internal.h) > train > tools. A file may use the
 * sections before its own, never those after (scripts/layers.sh proves it), and a header includes only
 * those of the rooms before. */
#ifndef PITH_BASE_H
#define PITH_BASE_H

#include "../model.h"

#include <float.h>
#include <limits.h>
#include <stdio.h>

/* What pith needs of a machine and its compiler. Where it is not there, results would be wrong without a word. */
#if !defined(__STDC_VERSION__) || __STDC_VERSION__ < 201112L || defined(__STDC_NO_ATOMICS__) || \
    (defined(__TINYC__) && __TINYC__ < 928)
#error "pith is C11 with atomics: compile it with gcc, clang or another such C compiler, -std=c11 or later"
#endif
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "pith uses numbers as they lie in model files: it needs a little-endian processor"
#endif
#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) || \
    (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error "pith looks for NaN and adds in one order: compile it without -Ofast and -ffast-math (-O3 is as fast)"
#endif
#if FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16 /* 16: only _Float16 is widened */
#error "pith needs float arithmetic in float: on 32-bit x86, compile it with -msse2 -mfpmath=sse"
#endif
#if FLT_RADIX != 2 || FLT_MANT_DIG != 24 || DBL_MANT_DIG != 53 || CHAR_BIT != 8 || INT_MAX != 2147483647
#error "pith needs IEEE 754's float and double, bytes of 8 bits and int of 32"
#endif

#ifndef PITH_SHARED /* "static" in dist/pith.c, where all files are one */
#define PITH_SHARED
#define PITH_SHARED_DATA extern
#else
#define PITH_SHARED_DATA PITH_SHARED
#endif

/* ---- base/bytes.c: errors, sizes, a hash, views, the cursor -------------------------------------- */

/* Fill err and return code. Control characters in the text become '?', so it stays one line. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
PITH_SHARED int pith__fail(pith_error *err, int code, const char *fmt, ...);

/* Long work says how far it is and asks whether to go on. */
typedef struct {
    int (*tell)(void *data, const char *what, size_t done, size_t all); /* not 0: stop; NULL: nobody listens */
    void *data;
} pith__progress;

PITH_SHARED int pith__tell(const pith__progress *p, const char *what, size_t done, size_t all,
                           pith_error *err); /* PITH_OK or PITH_ESTOP */

/* Both return 1 on overflow and then leave *r alone. */
PITH_SHARED int pith__mul(size_t *r, size_t a, size_t b);
PITH_SHARED int pith__add(size_t *r, size_t a, size_t b);

/* A hash of n bytes, which goes on from h: where one byte differs, the hash differs. It does not protect from those
 * who choose their bytes. */
PITH_SHARED uint64_t pith__hash(uint64_t h, const void *p, size_t n);
PITH_SHARED uint64_t pith__random_at(uint64_t seed, uint64_t i); /* number i of the sequence called seed */

typedef struct {
    const char *p;
    size_t n;
} pith__str; /* a view of bytes, not ended by a NUL */

PITH_SHARED pith__str pith__str_of(const char *s);
PITH_SHARED int pith__str_cmp(pith__str a, pith__str b); /* as memcmp, the shorter first */
PITH_SHARED int pith__str_is(pith__str a, const char *s);

/* How many letters must be changed, added or left out to make b of a. Of b no more than 63 letters, or INT_MAX. */
PITH_SHARED int pith__letters_apart(const char *a, const char *b);

/* " a b c": known(0) and so on, to the first that has no bytes. Returns to. */
PITH_SHARED const char *pith__names(char *to, size_t room, pith__str (*known)(int i));

/* The only way bytes of a file are read: once a read went past the end, bad is set and stays set, and
 * every later read gives NULL or 0. Ask once, at the end. */
typedef struct {
    const uint8_t *p;
    size_t left;
    int bad;
} pith__cursor;

PITH_SHARED const uint8_t *pith__take(pith__cursor *c, uint64_t n);
PITH_SHARED uint8_t  pith__u8(pith__cursor *c);
PITH_SHARED uint16_t pith__u16(pith__cursor *c);
PITH_SHARED uint32_t pith__u32(pith__cursor *c);
PITH_SHARED uint64_t pith__u64(pith__cursor *c);
PITH_SHARED float    pith__f32(pith__cursor *c);

/* ---- base/os.c: files, folders, locks, processors ------------------------------------------------ */

typedef struct {
    const uint8_t *data;
    size_t size;
    int mapped; /* 1: unmap it, 0: free it, -1: the caller's memory */
    uint64_t stamp; /* while it is the same the file is: of its place, size and times; 0: not known, as of a new one */
} pith__file;

PITH_SHARED int  pith__file_open(pith__file *f, const char *path, int no_mmap, pith_error *err);
PITH_SHARED void pith__file_close(pith__file *f);
PITH_SHARED char pith__path_kind(const char *path); /* d: a folder; f: something else; 0: nothing */
/* How many names in the folder begin and end so, not counting hidden ones; the first by the alphabet. */
PITH_SHARED int  pith__find_named(const char *folder, const char *begin, const char *end, char *name,
                                  size_t size);
enum { PITH__LARGE_PAGE = 1 << 21 }; /* bytes */
PITH_SHARED void pith__large_pages(void *p, size_t n); /* a wish for memory that begins at a multiple of that, before it is used */
PITH_SHARED void pith__yield(void); /* let another thread or process have the processor for now */
PITH_SHARED double pith__seconds(void); /* since some time */
PITH_SHARED int  pith__threads(int most); /* that can be started now, the caller's own included */

typedef struct {
    int cpus;      /* processors, of the affinity mask where there is one, and not more than the CPU quota; at least 1 */
    int cores;     /* physical ones: of the affinity mask, and not more than the CPU quota; at least 1 */
    double memory; /* bytes: of the machine, and not more than the cgroups' limits */
} pith__resources;
PITH_SHARED pith__resources pith__may_use(const char *root); /* "", or where a test has its own /proc and /sys */

/* A file being written: beside its name, and renamed when all of it is there, so that the old file stays
 * until then, whatever happens. A device, a pipe and what standard output or error go to are written as they are.
 * After open comes one commit or drop. */
typedef struct pith__writer {
    FILE *file;
    char *path, *temporary; /* temporary NULL: written in place */
    int failed;             /* errno of the first failure, or 0 */
} pith__writer;

PITH_SHARED int  pith__writer_open(pith__writer *w, const char *path, pith_error *err);
PITH_SHARED void pith__writer_put(pith__writer *w, const void *p, size_t n); /* a failure waits for commit */
PITH_SHARED void pith__writer_rewind(pith__writer *w); /* go back to the first byte, to write over it */
PITH_SHARED int  pith__writer_commit(pith__writer *w, pith_error *err);
PITH_SHARED void pith__writer_drop(pith__writer *w); /* nothing was written */
/* Commit; where code says that the file could not be made, drop, and the old one stays. */
PITH_SHARED int  pith__writer_close(pith__writer *w, int code, pith_error *err);

/* A folder being written: beside its name, and renamed when all of it is there. One that is there gets its files
 * one by one. Files go into at; after open comes one commit or drop. */
typedef struct {
    char *path, *at; /* at is path: the folder was there */
} pith__new_folder;

PITH_SHARED int  pith__new_folder_open(pith__new_folder *f, const char *path, pith_error *err);
PITH_SHARED int  pith__new_folder_commit(pith__new_folder *f, pith_error *err);
PITH_SHARED void pith__new_folder_drop(pith__new_folder *f);

/* For training, which writes into a folder: tools/pretrain.c, tools/trainer.c. */
PITH_SHARED int  pith__make_folder(const char *path, pith_error *err); /* or find it there */
/* A file that only one process holds, until it ends or closes the descriptor. < 0: PITH_EFULL: somebody
 * else has it, or another error. */
PITH_SHARED int  pith__lock(const char *path, pith_error *err);
PITH_SHARED void pith__unlock(int descriptor);
/* The files in folder whose names are begin, a number, end: these numbers, sorted; n may be over cap. */
PITH_SHARED size_t pith__numbered(const char *folder, const char *begin, const char *end,
                                  int64_t *number, size_t cap);
PITH_SHARED void pith__remove(const char *path); /* a file, or an empty folder */
PITH_SHARED void pith__remove_named(const char *folder, const char *begin, const char *end); /* folders of files too */

/* ---- base/arena.c: memory that is freed together --------------------------------------------------- */

typedef struct pith__chunk pith__chunk;
typedef struct {
    pith__chunk *chunk;
    size_t left;
} pith__arena; /* many small pieces of memory that are freed together; zero-initialised is empty */

PITH_SHARED void *pith__arena_new(pith__arena *a, size_t n, size_t size); /* zeroed (n, size), or NULL */
PITH_SHARED char *pith__arena_text(pith__arena *a, const char *p, size_t n); /* a copy and a NUL, or NULL */
PITH_SHARED void  pith__arena_free(pith__arena *a);

/* ---- base/utf8.c: bytes <-> characters (RFC 3629) ------------------------------------------------- */

/* Bytes of the character at p, which has n > 0 bytes; 0: it may become one with more than n bytes;
 * -k: its first k bytes can begin none. */
PITH_SHARED int pith__utf8_length(const uint8_t *p, size_t n);
/* The character at p, left > 0 bytes before the end, and how many bytes it has. A byte that is no
 * UTF-8 is one U+FFFD. */
PITH_SHARED size_t pith__utf8_read(const uint8_t *p, size_t left, uint32_t *c);
PITH_SHARED size_t pith__utf8_write(uint32_t c, char *out); /* the bytes of c, up to 4 */

/* ---- base/json.c: a strict reader of JSON (RFC 8259) --------------------------------------------- */

/* A value is its place in a text that was checked whole; p NULL: there is none. */
typedef struct {
    const char *p, *end;
} pith__json;

PITH_SHARED int pith__json_read(pith__json *j, const void *text, size_t n, const char *path,
                                pith_error *err);
PITH_SHARED pith__json pith__json_at(const char *p, const char *end); /* the value that begins at p in a text that was checked */
PITH_SHARED char pith__json_type(pith__json j); /* one of { [ " 0 (a number) t f n, or 0: none */
PITH_SHARED pith__str pith__json_raw(pith__json j); /* the text of the value */
PITH_SHARED pith__json pith__json_get(pith__json object, const char *name); /* or none */
PITH_SHARED void pith__json_pick(pith__json object, const char *const *names, pith__json *values,
                                 size_t n); /* the same for n names at once */
/* Walk a container: it starts as the container itself. key is NULL for an array. 0: no more. */
PITH_SHARED int pith__json_next(pith__json *it, pith__json *key, pith__json *value);
/* The same, of an array, where the next item is a string without escapes: what it holds. 0: it is not, or there is none. */
PITH_SHARED int pith__json_next_plain(pith__json *it, pith__str *s);
PITH_SHARED size_t pith__json_count(pith__json array);
PITH_SHARED int pith__json_is(pith__json j, const char *s); /* the string s */
/* A view of the text, or, of a string with escapes, memory of a. PITH_EFORMAT: no string. */
PITH_SHARED int pith__json_string(pith__json j, pith__arena *a, pith__str *s);
/* 1: a string with half a surrogate pair, which is no character; pith__json_string makes it U+FFFD. */
PITH_SHARED int pith__json_half(pith__json j);
PITH_SHARED int pith__json_int(pith__json j, int64_t *i); /* 0: not an integer, or too large */
PITH_SHARED int pith__json_float(pith__json j, double *f); /* 0: not a number, or infinite */
PITH_SHARED int pith__json_fail(pith__json j, int code, const char *path, const char *name,
                                const char *need, pith_error *err); /* "PATH: NAME is j, need NEED" */

/* Of megabytes: where long arrays and objects end, and how many items they have, is noted while the text is checked, and those
 * who look for what is beside them need not go through them. */
typedef struct {
    int n;
    struct { const char *p, *end; size_t items; } of[16];
} pith__json_ends;

PITH_SHARED int pith__json_read_long(pith__json *j, pith__json_ends *ends, const void *text, size_t n, const char *path,
                                     pith_error *err);
PITH_SHARED size_t pith__json_count_long(pith__json array, const pith__json_ends *ends); /* NULL: there are none */
PITH_SHARED void pith__json_pick_long(pith__json object, const pith__json_ends *ends, const char *const *names,
                                      pith__json *values, size_t n);

/* ---- base/team.c: threads that share out work ----------------------------------------------------- */

typedef struct pith__crew pith__crew;

/* Who does the work: threads, and scratch memory for each. */
typedef struct {
    int n_threads;
    uint8_t *scratch; /* (n_threads, scratch_bytes) */
    size_t scratch_bytes;
    pith__crew *crew; /* the threads at work, while pith__together runs; else NULL */
    double gain, alone; /* seconds won by the threads; for which they are not called (team.c) */
} pith__team;

typedef void pith__task(const void *data, size_t i, uint8_t *scratch); /* task i of a job */

/* Calls work(data); within it, all threads of the team take part in what pith__share is given. */
PITH_SHARED void pith__together(pith__team *team, void (*work)(void *), void *data);
/* All n tasks, shared out when that is worth it: each should take some ten microseconds or more. */
PITH_SHARED void pith__share(const pith__team *team, size_t n, int worth_it, pith__task *work,
                             const void *data);

#endif
