/* search.h - the vectors of a text's lines, and the file beside the text that keeps them. */
#ifndef PITH_SEARCH_H
#define PITH_SEARCH_H

#include "verbs.h"

typedef struct {             /* what a line's vector depends on beside the line */
    uint64_t model;          /* hash of the model's files and adapters, */
    uint64_t how;            /* and of prompt, pooling and the like */
    size_t dim;              /* numbers of a vector */
    uint64_t stamp;          /* of the model's files; 0: not known */
} index_key;

typedef struct {
    size_t n, dim;
    const float *x;          /* (n, dim) of the length 1 */
    const uint64_t *line;    /* (n) hashes of the lines */
    const uint32_t *bits;    /* (n) what pith__scan found when they were made */
    pith__file file;         /* that they lie in; */
    float *made;             /* (n, dim) or they are these; then line is the caller's, */
    uint32_t *made_bits;     /* and bits are these */
} line_vectors;

/* PITH_EIO: there is no file. PITH_EARCH: it is none of pith's, and not to be written over. PITH_EFORMAT: it is cut or
 * altered. PITH_EARG: it is of another model, or made in another way. Then there is nothing to free. */
int  index_open(line_vectors *v, const char *path, const index_key *key, pith_error *err);
/* The stamp of the files that the index at path was made with, and their hash as model; 0: there is none. */
uint64_t index_stamp(const char *path, uint64_t *model);
void index_restamp(const char *path, uint64_t stamp); /* as far as it can be written */
int  index_save(const line_vectors *v, const char *path, const index_key *key, pith_error *err);
void vectors_free(line_vectors *v);

/* Room for n vectors, whose lines have these hashes. PITH_EMEMORY: there is none. */
int  vectors_new(line_vectors *v, size_t n, size_t dim, const uint64_t *line);
/* Those of old are found by their lines and taken over, unless they have changed since they were made. Returns how many
 * are not there yet, and their numbers in missing (n); PITH_EMEMORY where old cannot be looked through. */
long long vectors_take(line_vectors *v, const line_vectors *old, const pith__kernels *k, size_t *missing);
void vectors_set(line_vectors *v, size_t at, const float *x, const pith__kernels *k); /* that one is there now */
/* Those that are there, one after the other, and the hashes of their lines. */
void vectors_pack(line_vectors *v, uint64_t *line, const size_t *missing, size_t n_missing);

#endif
