/* index.c - the vectors of a text's lines in a file, TEXT.pith-index, so that they are computed once.
 *
 * A line's vector is found by the hash of the line, wherever that stands: when a text has changed, only lines that are
 * new have to go through the model. The file is read as a whole only by who searches it; what it says of itself is
 * checked at once, and each vector when it is used: a number that has changed does not leave the sum of the vector's bits. */
#include "search.h"

#include <stdlib.h>
#include <string.h>

/* A head, the vectors, and behind them for each the hash of its line, then the sum of its bits. */
typedef struct {
    char magic[8];
    uint32_t version, dim;
    uint64_t n;              /* vectors */
    uint64_t size;           /* bytes of the file */
    uint64_t model, how;     /* of the key */
    char computed_by[32];    /* the program */
    uint64_t tables;         /* hash of what follows the vectors */
    uint64_t stamp;          /* of the model's files, see pith__file: while it is the same, nobody has to read them all */
    uint64_t padding[3];     /* zeros: vectors begin at a line of the cache */
    uint64_t head;           /* hash of all before it */
} index_head;
_Static_assert(sizeof(index_head) == 128, "as in the file");

enum { INDEX_VERSION = 1 };
static const char index_magic[8] = "PITHVECS";

/* Where the tables begin, at a multiple of 8, and all bytes; 0: more than can be counted. */
static size_t index_size(uint64_t n, size_t dim, size_t *tables) {
    size_t bytes, table;
    if (n > SIZE_MAX / 16 || pith__mul(&bytes, (size_t)n, dim) || pith__mul(&bytes, bytes, sizeof(float)) ||
        pith__mul(&table, (size_t)n, sizeof(uint64_t) + sizeof(uint32_t)) || bytes > SIZE_MAX / 2)
        return 0;
    *tables = sizeof(index_head) + (bytes + 7) / 8 * 8;
    return pith__add(&bytes, *tables, table) ? 0 : bytes;
}

static uint64_t head_hash(const index_head *h) { return pith__hash(0, h, offsetof(index_head, head)); }

static void say_version(char *to, size_t room) { snprintf(to, room, "pith %s", PITH_VERSION); }

/* ---- reading ----------------------------------------------------------------------------------------- */

static int check_head(const pith__file *f, const char *path, index_head *h, size_t *tables, pith_error *err) {
    memset(h, 0, sizeof *h);
    memcpy(h, f->data, f->size < sizeof *h ? f->size : sizeof *h);
    if (memcmp(h->magic, index_magic, f->size < sizeof index_magic ? f->size : sizeof index_magic) != 0)
        return pith__fail(err, PITH_EARCH, "%s: is no index that pith has made", path);
    if (f->size < sizeof *h) return pith__fail(err, PITH_EFORMAT, "%s: is cut: it has %zu bytes", path, f->size);
    if (h->version != INDEX_VERSION)
        return pith__fail(err, PITH_EARG, "%s: is of version %u, need %d", path, h->version, INDEX_VERSION);
    if (h->head != head_hash(h)) return pith__fail(err, PITH_EFORMAT, "%s: its head was altered", path);
    size_t size = index_size(h->n, h->dim, tables);
    if (!size || h->size != size) return pith__fail(err, PITH_EFORMAT, "%s: its head contradicts itself", path);
    if (f->size != size) return pith__fail(err, PITH_EFORMAT, "%s: has %zu bytes, need %zu", path, f->size, size);
    if (h->tables != pith__hash(0, f->data + *tables, size - *tables))
        return pith__fail(err, PITH_EFORMAT, "%s: the hashes of its lines were altered", path);
    return PITH_OK;
}

static int check_key(const index_head *h, const char *path, const index_key *key, pith_error *err) {
    char version[sizeof h->computed_by] = "";
    say_version(version, sizeof version);
    if (memcmp(h->computed_by, version, sizeof version) != 0)
        return pith__fail(err, PITH_EARG, "%s: is by another version of pith", path);
    if (h->model != key->model) return pith__fail(err, PITH_EARG, "%s: is of another model", path);
    if (h->how != key->how || h->dim != key->dim)
        return pith__fail(err, PITH_EARG, "%s: its vectors were made in another way", path);
    return PITH_OK;
}

static int read_head(FILE *f, index_head *h) {
    return f && fread(h, sizeof *h, 1, f) == 1 && !memcmp(h->magic, index_magic, sizeof h->magic) && h->version == INDEX_VERSION &&
           h->head == head_hash(h);
}

uint64_t index_stamp(const char *path, uint64_t *model) {
    index_head h;
    FILE *f = pith__path_kind(path) == 'f' ? fopen(path, "rb") : NULL;
    int good = read_head(f, &h);
    if (f) fclose(f);
    *model = good ? h.model : 0;
    return good ? h.stamp : 0;
}

void index_restamp(const char *path, uint64_t stamp) {
    index_head h;
    FILE *f = fopen(path, "r+b");
    if (read_head(f, &h) && !fseek(f, 0, SEEK_SET)) {
        h.stamp = stamp;
        h.head = head_hash(&h);
        fwrite(&h, sizeof h, 1, f);
    }
    if (f) fclose(f);
}

int index_open(line_vectors *v, const char *path, const index_key *key, pith_error *err) {
    index_head h;
    size_t tables = 0;
    memset(v, 0, sizeof *v);
    if (!pith__path_kind(path)) return pith__fail(err, PITH_EIO, "%s: is not there", path);
    int code = pith__file_open(&v->file, path, 0, err);
    if (code == PITH_EIO) return pith__fail(err, PITH_EARCH, "%s", err->text); /* a folder, or not ours to read */
    if (code) return code;
    code = check_head(&v->file, path, &h, &tables, err);
    if (!code) code = check_key(&h, path, key, err);
    if (code) return vectors_free(v), code;
    v->n = (size_t)h.n;
    v->dim = h.dim;
    v->x = (const float *)(const void *)(v->file.data + sizeof h);
    v->line = (const uint64_t *)(const void *)(v->file.data + tables);
    v->bits = (const uint32_t *)(const void *)(v->line + v->n);
    return PITH_OK;
}

/* ---- writing ------------------------------------------------------------------------------------------ */

/* The vectors are written in one piece: a file system then keeps them in large pages, which cost a reader next to nothing to
 * map. 200 MB that were written 4 kB at a time took 18 ms to search for the first time, and 7 ms so. */
int index_save(const line_vectors *v, const char *path, const index_key *key, pith_error *err) {
    static const char zeros[8];
    size_t tables = 0, bytes = v->n * v->dim * sizeof *v->x, n_line = v->n * sizeof *v->line;
    index_head h = { .version = INDEX_VERSION, .dim = (uint32_t)v->dim, .n = v->n, .model = key->model, .how = key->how,
                     .stamp = key->stamp };
    pith__writer w;
    memcpy(h.magic, index_magic, sizeof h.magic);
    say_version(h.computed_by, sizeof h.computed_by);
    h.size = index_size(v->n, v->dim, &tables);
    uint8_t *table = malloc(n_line + v->n * sizeof *v->bits + 1);
    if (!table) return pith__fail(err, PITH_EMEMORY, "%s: no memory to write it", path);
    memcpy(table, v->line, n_line);
    memcpy(table + n_line, v->bits, v->n * sizeof *v->bits);
    h.tables = pith__hash(0, table, (size_t)h.size - tables);
    h.head = head_hash(&h);
    int code = pith__writer_open(&w, path, err);
    if (!code) {
        pith__writer_put(&w, &h, sizeof h);
        pith__writer_put(&w, v->x, bytes);
        pith__writer_put(&w, zeros, tables - sizeof h - bytes);
        pith__writer_put(&w, table, (size_t)h.size - tables);
        code = pith__writer_commit(&w, err);
    }
    free(table);
    return code;
}

/* ---- vectors in memory --------------------------------------------------------------------------------- */

void vectors_free(line_vectors *v) {
    pith__file_close(&v->file);
    free(v->made), free(v->made_bits);
    memset(v, 0, sizeof *v);
}

int vectors_new(line_vectors *v, size_t n, size_t dim, const uint64_t *line) {
    size_t bytes;
    memset(v, 0, sizeof *v);
    if (pith__mul(&bytes, n, dim * sizeof *v->x) || (double)bytes > pith__may_use("").memory) return PITH_EMEMORY;
    v->made = malloc(bytes + 1);
    v->made_bits = malloc(n * sizeof *v->bits + 1);
    if (!v->made || !v->made_bits) return vectors_free(v), PITH_EMEMORY;
    v->n = n, v->dim = dim, v->line = line;
    v->x = v->made, v->bits = v->made_bits;
    return PITH_OK;
}

static uint32_t bits_of(const float *x, size_t dim, const pith__kernels *k) {
    float y;
    uint32_t bits;
    const pith__scan s = { x, x, dim, &y, &bits };
    k->scan(&s, 0, 1);
    return bits;
}

void vectors_set(line_vectors *v, size_t at, const float *x, const pith__kernels *k) {
    memcpy(v->made + at * v->dim, x, v->dim * sizeof *x);
    v->made_bits[at] = bits_of(x, v->dim, k);
}

/* A table of hashes: a line of old is at its hash, or at the next free place. */
static size_t *table_of(const line_vectors *old, size_t *room) {
    size_t *at;
    for (*room = 16; *room < 2 * old->n; *room *= 2) continue;
    if (!(at = calloc(*room, sizeof *at))) return NULL;
    for (size_t r = 0; r < old->n; r++) {
        size_t i = (size_t)old->line[r] & (*room - 1);
        while (at[i] && old->line[at[i] - 1] != old->line[r]) i = (i + 1) & (*room - 1);
        at[i] = r + 1;
    }
    return at;
}

long long vectors_take(line_vectors *v, const line_vectors *old, const pith__kernels *k, size_t *missing) {
    size_t room, *at = table_of(old, &room), n = 0;
    if (!at) return PITH_EMEMORY;
    for (size_t r = 0; r < v->n; r++) {
        size_t i = (size_t)v->line[r] & (room - 1);
        while (at[i] && old->line[at[i] - 1] != v->line[r]) i = (i + 1) & (room - 1);
        size_t from = at[i] ? at[i] - 1 : old->n;
        const float *x = old->x + from * v->dim;
        if (from == old->n || bits_of(x, v->dim, k) != old->bits[from]) missing[n++] = r;
        else vectors_set(v, r, x, k);
    }
    free(at);
    return (long long)n;
}

void vectors_pack(line_vectors *v, uint64_t *line, const size_t *missing, size_t n_missing) {
    size_t n = 0;
    for (size_t r = 0, next = 0; r < v->n; r++) {
        if (next < n_missing && missing[next] == r) {
            next++;
            continue;
        }
        memmove(v->made + n * v->dim, v->made + r * v->dim, v->dim * sizeof *v->made);
        v->made_bits[n] = v->made_bits[r];
        line[n++] = line[r];
    }
    v->n = n;
}
