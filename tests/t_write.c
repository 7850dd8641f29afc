/* t_write.c - files are written beside their name and renamed, and what happens where they cannot be; models
 * and vocabularies written are those that were read, or are refused by name.
 * Linked with --wrap=rename (see the Makefile), so the engine's calls come here. */
#define _XOPEN_SOURCE 700
#include "../internal.h"
#include "fixture.h"
#include "test.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);

static int refuse; /* errno that rename fails with, or 0 */
static const char *lost; /* a file that vanishes at that moment, or NULL */

int __wrap_rename(const char *from, const char *to) {
    if (!refuse) return __real_rename(from, to);
    if (lost && (remove(lost) || mkdir(lost, 0777))) return -1;
    errno = refuse;
    return -1;
}

static char folder[] = "/tmp/pith-write-XXXXXX", file[64], part[96];

static void begin(const char *old) {
    snprintf(file, sizeof file, "%s/file", folder);
    snprintf(part, sizeof part, "%s.%ld.part", file, (long)getpid());
    FILE *f = fopen(file, "wb");
    if (!f || fputs(old, f) < 0 || fclose(f)) exit(99);
}

static int holds(const char *path, const char *text) {
    char got[64] = "";
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(got, 1, sizeof got - 1, f) : 0;
    if (f) fclose(f);
    return f && n == strlen(text) && !strcmp(got, text);
}

static int there(const char *path) { return access(path, F_OK) == 0; }

TEST(the_old_file_stays_until_the_new_one_is_whole) {
    pith__writer w;
    struct stat st;
    begin("old");
    if (chmod(file, 0640)) exit(99);
    REQUIRE(pith__writer_open(&w, file, NULL) == 0);
    pith__writer_put(&w, "nex", 3);
    fflush(w.file);
    CHECK(holds(file, "old") && holds(part, "nex"));
    pith__writer_rewind(&w);
    pith__writer_put(&w, "new", 3);
    EQ(pith__writer_commit(&w, NULL), 0);
    CHECK(holds(file, "new") && !there(part));
    CHECK(stat(file, &st) == 0 && (st.st_mode & 0777) == 0640);
}

TEST(what_is_dropped_was_never_there) {
    pith__writer w;
    begin("old");
    REQUIRE(pith__writer_open(&w, file, NULL) == 0);
    pith__writer_put(&w, "new", 3);
    pith__writer_drop(&w);
    CHECK(holds(file, "old") && !there(part));
}

TEST(a_link_stays_a_link) {
    pith__writer w;
    struct stat st;
    char link[64];
    begin("old");
    snprintf(link, sizeof link, "%s/link", folder);
    if (symlink("file", link)) exit(99);
    REQUIRE(pith__writer_open(&w, link, NULL) == 0);
    pith__writer_put(&w, "new", 3);
    EQ(pith__writer_commit(&w, NULL), 0);
    CHECK(holds(file, "new") && lstat(link, &st) == 0 && S_ISLNK(st.st_mode));
    remove(file); /* a link to nothing makes the file that it points to */
    REQUIRE(pith__writer_open(&w, link, NULL) == 0);
    pith__writer_put(&w, "new", 3);
    EQ(pith__writer_commit(&w, NULL), 0);
    CHECK(holds(file, "new") && lstat(link, &st) == 0 && S_ISLNK(st.st_mode));
}

TEST(a_failure_keeps_the_old_file_and_has_its_name) {
    pith__writer w;
    pith_error e = { 0, "" };
    begin("old");
    REQUIRE(pith__writer_open(&w, file, NULL) == 0);
    pith__writer_put(&w, "new", 3);
    w.failed = ENOSPC; /* as a full disk leaves it */
    EQ(pith__writer_commit(&w, &e), PITH_EIO);
    CHECK(strstr(e.text, file) && strstr(e.text, strerror(ENOSPC)));
    CHECK(holds(file, "old") && !there(part));
    EQ(pith__writer_open(&w, "/tmp/pith/no/such", &e), PITH_EIO);
    CHECK(strstr(e.text, "/tmp/pith/no/such: cannot be written"));
}

TEST(where_renaming_fails_the_old_file_is_written) {
    pith__writer w;
    struct stat before, after;
    begin("older and longer");
    if (stat(file, &before)) exit(99);
    REQUIRE(pith__writer_open(&w, file, NULL) == 0);
    pith__writer_put(&w, "new", 3);
    refuse = EBUSY;
    EQ(pith__writer_commit(&w, NULL), 0);
    refuse = 0;
    CHECK(holds(file, "new") && !there(part));
    CHECK(stat(file, &after) == 0 && before.st_ino == after.st_ino);
}

TEST(what_cannot_be_written_at_all_stays_beside_and_is_named) {
    pith__writer w;
    pith_error e = { 0, "" };
    begin("old");
    REQUIRE(pith__writer_open(&w, file, NULL) == 0);
    pith__writer_put(&w, "new", 3);
    refuse = EBUSY, lost = file;
    EQ(pith__writer_commit(&w, &e), PITH_EIO);
    refuse = 0, lost = NULL;
    CHECK(holds(part, "new") && strstr(e.text, part));
    remove(file), remove(part);
}

/* In a process of a user who is not root, with these modes of the file and of its folder. */
static int written_without_rights(mode_t mode, mode_t of_folder) {
    if (chmod(file, mode) || chmod(folder, of_folder)) exit(99);
    if (!getuid() && (chown(file, 65534, 65534) || chown(folder, 65534, 65534))) exit(99);
    pid_t pid = fork();
    if (pid == 0) {
        pith__writer w;
        pith_error e = { 0, "" };
        if (!getuid() && (setgid(65534) || setuid(65534))) _exit(99);
        if (pith__writer_open(&w, file, &e)) _exit(strstr(e.text, strerror(EACCES)) ? 1 : 2);
        pith__writer_put(&w, "new", 3);
        fflush(w.file);
        if (!holds(file, "older and longer")) _exit(3);
        _exit(pith__writer_commit(&w, &e) ? 4 : 0);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    if (chmod(folder, 0755)) exit(99);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(a_file_that_may_not_be_written_is_refused) {
    begin("older and longer");
    EQ(written_without_rights(0444, 0755), 1);
    CHECK(holds(file, "older and longer"));
    remove(file);
}

TEST(a_folder_that_takes_no_new_file_does_not_stop_an_old_one) {
    begin("older and longer");
    EQ(written_without_rights(0644, 0555), 0);
    CHECK(holds(file, "new"));
    remove(file);
}

TEST(a_device_is_written_as_it_is) {
    pith__writer w;
    REQUIRE(pith__writer_open(&w, "/dev/null", NULL) == 0);
    CHECK(!w.temporary);
    pith__writer_put(&w, "new", 3);
    EQ(pith__writer_commit(&w, NULL), 0);
}

/* ---- models ------------------------------------------------------------------------------------------ */

static const char llama[] = "general.architecture llama;llama.block_count 2;llama.embedding_length 32;"
                            "llama.feed_forward_length 64;llama.attention.head_count 4;llama.attention.head_count_kv 2;"
                            "llama.context_length 16;llama.attention.layer_norm_rms_epsilon 0.00001;";
static const char weights[] = "token_embd.weight 40 32;output.weight 40 32;output_norm.weight 32;"
                              "blk.{2}.attn_norm.weight 32;blk.{2}.ffn_norm.weight 32;blk.{2}.attn_q.weight 32 32;"
                              "blk.{2}.attn_k.weight 16 32;blk.{2}.attn_v.weight 16 32;"
                              "blk.{2}.attn_output.weight 32 32;blk.{2}.ffn_gate.weight 64 32;"
                              "blk.{2}.ffn_up.weight 64 32;blk.{2}.ffn_down.weight 32 64;";

static pith_model *model_with(const char *keys, const char *tensors) {
    char all_keys[1024], all_tensors[1024], path[96];
    snprintf(all_keys, sizeof all_keys, "%s%s", llama, keys);
    snprintf(all_tensors, sizeof all_tensors, "%s%s", weights, tensors);
    snprintf(path, sizeof path, "%s/in.gguf", folder);
    bytes b = fixture_gguf(all_keys, all_tensors, 3);
    pith_error e = { 0, "" };
    if (save(&b, path)) exit(99);
    free(b.p);
    pith_model *m = pith_open(path, &(pith_options){ .n_threads = 1 }, &e);
    if (!m) printf("# %s\n", e.text);
    return m;
}

static int logits_of(const pith_model *m, float *y) { /* (3, 40) */
    static const pith_token t[] = { 1, 7, 39 };
    pith_context c = { .cache_k = "f32", .cache_v = "f32" };
    pith_session *s = m ? pith_session_new(m, &c, NULL) : NULL;
    int code = s ? pith__eval_all(s, t, 3, y, NULL) : -1;
    pith_session_free(s);
    return code;
}

TEST(a_model_is_the_same_in_every_format) {
    float want[3 * 40], got[3 * 40];
    pith_model *m = model_with("llama.rope.freq_base 10000;tokenizer.ggml.model none;x.array [1,-2,3];x.name a b", "");
    REQUIRE(m && !logits_of(m, want));
    for (int i = 0; i < 2; i++) {
        pith_error e = { 0, "" };
        int code = i ? pith__llama2c_write(&m->store, m->store.tensor, m->store.n_tensor, file, &e)
                     : pith__gguf_write(&m->store, m->store.tensor, m->store.n_tensor,
                                        pith__format_of(PITH__F32), file, &e);
        if (code) printf("# %s\n", e.text);
        REQUIRE(code == 0);
        pith_model *again = pith_open(file, &(pith_options){ .n_threads = 1 }, &e);
        REQUIRE(again && !logits_of(again, got));
        EQ(memcmp(want, got, sizeof want), 0);
        const pith__key *k = pith__store_key(&again->store, "x.array");
        CHECK(i || (k && k->n == 3 && pith__key_item(k, 1) == -2));
        pith_close(again);
    }
    pith_close(m);
}

TEST(llama2c_takes_only_what_it_has_a_place_for) {
    static const struct { const char *keys, *tensors, *named; } bad[] = {
        { "llama.rope.freq_base 500000", "", "llama.rope.freq_base" },
        { "llama.rope.scaling.type linear;llama.rope.scaling.factor 2", "", "llama.rope.scaling" },
        { "llama.rope.dimension_count 4", "", "llama.rope.dimension_count" },
        { "llama.residual_scale 0.5", "", "llama.residual_scale" },
        { "", "blk.1.attn_q.bias 32", "a place for 21 of these 22" },
        { "", "rope_freqs.weight 4", "a place for 21 of these 22" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        pith_error e = { 0, "" };
        pith_model *m = model_with(bad[i].keys, bad[i].tensors);
        begin("old");
        REQUIRE(m);
        EQ(pith__llama2c_write(&m->store, m->store.tensor, m->store.n_tensor, file, &e), PITH_EARCH);
        CHECK(strstr(e.text, bad[i].named) && holds(file, "old") && !there(part));
        pith_close(m);
    }
}

/* A chat model ends its turns with another token than its texts, and both end what is generated. */
TEST(what_ends_a_text_is_written) {
    const char *const piece[] = { "<unk>", "<s>", "</s>", "<pause>", "a", "b" };
    pith__str name[6];
    float score[6] = { 0, 0, 0, 0, -1, -2 };
    uint8_t type[6] = { PITH__UNKNOWN, PITH__CONTROL, PITH__CONTROL, PITH__CONTROL, PITH__NORMAL, PITH__NORMAL };
    for (int i = 0; i < 6; i++) name[i] = pith__str_of(piece[i]);
    pith__store s = { .path = "test" }, t = { .path = file, .n_file = 1 };
    pith__file f[2];
    s.vocab = (pith__vocab){ .model = PITH__SPM, .spelling = PITH__METASPACE, .n = 6, .piece = name, .score = score,
                             .type = type, .bos = 1, .eos = 2, .unk = 0, .end = { 2, 3 }, .n_end = 2, .add_bos = 1, .nfc = 1 };
    REQUIRE(pith__gguf_write(&s, NULL, 0, pith__format_of(PITH__F32), file, NULL) == 0);
    t.file = f;
    REQUIRE(pith__file_open(f, file, 0, NULL) == 0 && pith__gguf_read(&t, 0, NULL) == 0);
    const pith__vocab *v = &t.vocab;
    CHECK(v->bos == 1 && v->eos == 2 && v->unk == 0 && v->add_bos && !v->add_space && v->nfc);
    CHECK(v->n_end == 2 && v->end[0] + v->end[1] == 5 && v->end[0] * v->end[1] == 6);
    CHECK(v->n == 6 && v->type[3] == PITH__CONTROL && v->score[5] == -2 && pith__str_is(v->piece[5], "b"));
    pith__store_free(&t);
    s.vocab.add_space = PITH__SPACE_FIRST; /* where GGUF has a yes or no */
    REQUIRE(pith__gguf_write(&s, NULL, 0, pith__format_of(PITH__F32), file, NULL) == 0);
    t = (pith__store){ .path = file, .n_file = 1, .file = f };
    REQUIRE(pith__file_open(f, file, 0, NULL) == 0 && pith__gguf_read(&t, 0, NULL) == 0);
    EQ(t.vocab.add_space, PITH__SPACE_FIRST);
    pith__store_free(&t);
}

int main(void) {
    if (!mkdtemp(folder)) return 99;
    RUN(the_old_file_stays_until_the_new_one_is_whole);
    RUN(what_is_dropped_was_never_there);
    RUN(a_link_stays_a_link);
    RUN(a_failure_keeps_the_old_file_and_has_its_name);
    RUN(where_renaming_fails_the_old_file_is_written);
    RUN(what_cannot_be_written_at_all_stays_beside_and_is_named);
    RUN(a_file_that_may_not_be_written_is_refused);
    RUN(a_folder_that_takes_no_new_file_does_not_stop_an_old_one);
    RUN(a_device_is_written_as_it_is);
    RUN(a_model_is_the_same_in_every_format);
    RUN(llama2c_takes_only_what_it_has_a_place_for);
    RUN(what_ends_a_text_is_written);
    char remove_all[96];
    snprintf(remove_all, sizeof remove_all, "rm -rf %s", folder);
    if (system(remove_all)) return 99;
    return DONE();
}
