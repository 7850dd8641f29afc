/* t_write.c - files are written beside their name and renamed; and what happens where they cannot be.
 * Linked with --wrap=rename (see the Makefile), so the engine's calls come here. */
#define _XOPEN_SOURCE 700
#include "../base/base.h"
#include "test.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
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

TEST(a_device_is_written_as_it_is) {
    pith__writer w;
    REQUIRE(pith__writer_open(&w, "/dev/null", NULL) == 0);
    CHECK(!w.temporary);
    pith__writer_put(&w, "new", 3);
    EQ(pith__writer_commit(&w, NULL), 0);
}

int main(void) {
    if (!mkdtemp(folder)) return 99;
    RUN(the_old_file_stays_until_the_new_one_is_whole);
    RUN(what_is_dropped_was_never_there);
    RUN(a_link_stays_a_link);
    RUN(a_failure_keeps_the_old_file_and_has_its_name);
    RUN(where_renaming_fails_the_old_file_is_written);
    RUN(what_cannot_be_written_at_all_stays_beside_and_is_named);
    RUN(a_device_is_written_as_it_is);
    char remove_all[96];
    snprintf(remove_all, sizeof remove_all, "rm -rf %s", folder);
    if (system(remove_all)) return 99;
    return DONE();
}
