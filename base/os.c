/* os.c - the operating system (POSIX): files, folders, locks, processors.
 *
 * A file is mapped (or read) once. No other file of the engine talks to the system; another system is a
 * twin of this one. */
#define _GNU_SOURCE /* sched_getaffinity */
#include "base.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#ifdef _OPENMP
#include <pthread.h>
#endif
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- files ----------------------------------------------------------------------------------------- */

static int read_whole(pith__file *f, int fd, const char *path, pith_error *err) {
    uint8_t *p = malloc(f->size);
    if (!p) return pith__fail(err, PITH_EMEMORY, "%s: no memory for %zu bytes", path, f->size);
    for (size_t got = 0; got < f->size;) {
        ssize_t n = read(fd, p + got, f->size - got);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            const char *why = n < 0 ? strerror(errno) : "it became shorter";
            pith__fail(err, PITH_EIO, "%s: cannot be read: %s", path, why);
            free(p);
            return PITH_EIO;
        }
        got += (size_t)n;
    }
    f->data = p;
    f->mapped = 0;
    return PITH_OK;
}

/* The size comes from the descriptor that is mapped, so another file cannot slip in between; opening
 * does not wait for a writer should path be a FIFO. */
PITH_SHARED int pith__file_open(pith__file *f, const char *path, int no_mmap, pith_error *err) {
    memset(f, 0, sizeof *f);
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) return pith__fail(err, PITH_EIO, "%s: cannot be opened: %s", path, strerror(errno));
    struct stat st;
    int code;
    if (fstat(fd, &st) < 0) {
        code = pith__fail(err, PITH_EIO, "%s: cannot be examined: %s", path, strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        const char *what = S_ISDIR(st.st_mode) ? "a directory" : "a device or a pipe";
        code = pith__fail(err, PITH_EIO, "%s: is %s, need a regular file", path, what);
    } else if (st.st_size == 0) {
        code = pith__fail(err, PITH_EFORMAT, "%s: is empty", path);
    } else if ((uint64_t)st.st_size > SIZE_MAX / 2) {
        code = pith__fail(err, PITH_EFORMAT, "%s: is too large for this machine", path);
    } else if (f->size = (size_t)st.st_size, no_mmap) {
        code = read_whole(f, fd, path, err);
    } else {
        void *p = mmap(NULL, f->size, PROT_READ, MAP_SHARED, fd, 0);
        code = p == MAP_FAILED
                   ? pith__fail(err, PITH_EIO, "%s: cannot be mapped: %s", path, strerror(errno))
                   : PITH_OK;
        f->data = code ? NULL : p;
        f->mapped = 1;
    }
    close(fd);
    return code;
}

/* lstat: what a dangling link stands for is missing, but somebody meant it to be there. */
PITH_SHARED char pith__path_kind(const char *path) {
    struct stat st;
    if (stat(path, &st) == 0) return S_ISDIR(st.st_mode) ? 'd' : 'f';
    return lstat(path, &st) == 0 ? 'f' : 0;
}

PITH_SHARED void pith__file_close(pith__file *f) {
    if (f->data && f->mapped == 1) munmap((void *)(uintptr_t)f->data, f->size);
    if (f->data && f->mapped == 0) free((void *)(uintptr_t)f->data);
    f->data = NULL;
}

/* ---- a file being written -------------------------------------------------------------------------- */

/* A device or a pipe is written as it is: renaming would put a file in its place. */
static FILE *open_beside(pith__writer *w) {
    struct stat old;
    int there = stat(w->path, &old) == 0;
    if (there && !S_ISREG(old.st_mode)) {
        free(w->temporary);
        w->temporary = NULL;
        return fopen(w->path, "wb");
    }
    FILE *f = fopen(w->temporary, "wbx");
    if (f && there) (void)!fchmod(fileno(f), old.st_mode & 0777); /* stays as private as it was */
    return f;
}

static void writer_free(pith__writer *w) {
    free(w->path);
    free(w->temporary);
    memset(w, 0, sizeof *w);
}

PITH_SHARED int pith__writer_open(pith__writer *w, const char *path, pith_error *err) {
    memset(w, 0, sizeof *w);
    char *real = realpath(path, NULL); /* a link stays one */
    size_t room = strlen(real ? real : path) + 32;
    w->path = malloc(room);
    w->temporary = malloc(room);
    if (w->path && w->temporary) {
        snprintf(w->path, room, "%s", real ? real : path);
        snprintf(w->temporary, room, "%s.%ld.part", w->path, (long)getpid());
    }
    w->file = w->path && w->temporary ? open_beside(w) : NULL;
    free(real);
    if (w->file) return PITH_OK;
    int code = pith__fail(err, PITH_EIO, "%s: cannot be written: %s", path, strerror(errno));
    writer_free(w);
    return code;
}

PITH_SHARED void pith__writer_put(pith__writer *w, const void *p, size_t n) {
    if (!w->failed && n && fwrite(p, 1, n, w->file) != n) w->failed = errno ? errno : EIO;
}

PITH_SHARED void pith__writer_rewind(pith__writer *w) {
    if (!w->failed && fseek(w->file, 0, SEEK_SET) != 0) w->failed = errno;
}

PITH_SHARED void pith__writer_drop(pith__writer *w) {
    if (w->file) fclose(w->file);
    if (w->temporary) unlink(w->temporary);
    writer_free(w);
}

/* Some names cannot be renamed to: a file that a container has mounted, or one in another's sticky folder.
 * The bytes go to the old file itself then, and the temporary file stays until they are safe there. */
static int write_in_place(const pith__writer *w) {
    static const size_t room = 1 << 16;
    char *bytes = malloc(room);
    FILE *from = bytes ? fopen(w->temporary, "rb") : NULL, *to = from ? fopen(w->path, "wb") : NULL;
    int good = to != NULL;
    for (size_t n; good && (n = fread(bytes, 1, room, from)) > 0;) good = fwrite(bytes, 1, n, to) == n;
    good = good && !ferror(from) && fflush(to) == 0 && fsync(fileno(to)) == 0;
    int why = errno;
    if (from) fclose(from);
    if (to) fclose(to);
    free(bytes);
    errno = why;
    return good;
}

PITH_SHARED int pith__writer_commit(pith__writer *w, pith_error *err) {
    if (!w->failed && fflush(w->file) != 0) w->failed = errno;
    if (!w->failed && w->temporary && fsync(fileno(w->file)) != 0) w->failed = errno;
    if (fclose(w->file) != 0 && !w->failed) w->failed = errno;
    w->file = NULL;
    int code = PITH_OK;
    if (w->failed) {
        code = pith__fail(err, PITH_EIO, "%s: %s", w->path, strerror(w->failed));
    } else if (w->temporary && rename(w->temporary, w->path) != 0 && !write_in_place(w)) {
        code = pith__fail(err, PITH_EIO, "%s: %s; what was to be in it is in %s", w->path, strerror(errno),
                          w->temporary);
        free(w->temporary);
        w->temporary = NULL; /* not removed: there is no other copy */
    }
    if (w->temporary) unlink(w->temporary); /* renamed, it is not there any more */
    writer_free(w);
    return code;
}

/* ---- folders and locks ----------------------------------------------------------------------------- */

PITH_SHARED int pith__make_folder(const char *path, pith_error *err) {
    struct stat st;
    if (mkdir(path, 0777) == 0 || (errno == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode)))
        return PITH_OK;
    return pith__fail(err, PITH_EIO, "%s: cannot be made a folder: %s", path, strerror(errno));
}

/* The kernel lets go of the lock when the process ends, however it ends. */
PITH_SHARED int pith__lock(const char *path, pith_error *err) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666);
    if (fd < 0) return pith__fail(err, PITH_EIO, "%s: cannot be opened: %s", path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
    int code = errno == EWOULDBLOCK
                   ? pith__fail(err, PITH_EFULL, "%s: another process is at work in this folder", path)
                   : pith__fail(err, PITH_EIO, "%s: cannot be locked: %s", path, strerror(errno));
    close(fd);
    return code;
}

PITH_SHARED void pith__unlock(int descriptor) {
    if (descriptor >= 0) close(descriptor);
}

PITH_SHARED void pith__remove(const char *path) { unlink(path); }

PITH_SHARED void pith__remove_named(const char *folder, const char *begin, const char *end) {
    DIR *d = opendir(folder);
    size_t n = strlen(end), m = strlen(begin);
    for (struct dirent *e; d && (e = readdir(d));) {
        size_t length = strlen(e->d_name);
        if (length < n + m || strncmp(e->d_name, begin, m) != 0) continue;
        if (!strcmp(e->d_name + length - n, end)) unlinkat(dirfd(d), e->d_name, 0);
    }
    if (d) closedir(d);
}

PITH_SHARED size_t pith__numbered(const char *folder, const char *begin, const char *end,
                                  int64_t *number, size_t cap) {
    DIR *d = opendir(folder);
    size_t n = 0, length = strlen(begin);
    for (struct dirent *e; d && (e = readdir(d));) {
        const char *digit = e->d_name + length;
        if (strncmp(e->d_name, begin, length) != 0) continue;
        size_t digits = strspn(digit, "0123456789");
        if (!digits || digits > 18 || strcmp(digit + digits, end) != 0) continue;
        int64_t x = strtoll(digit, NULL, 10);
        size_t i = n < cap ? n : cap; /* where the new one goes; the largest fall out */
        for (; i > 0 && number[i - 1] > x; i--)
            if (i < cap) number[i] = number[i - 1];
        if (i < cap) number[i] = x;
        n++;
    }
    if (d) closedir(d);
    return n;
}

PITH_SHARED void pith__yield(void) { sched_yield(); }

/* ---- processors ------------------------------------------------------------------------------------ */

/* Hardware threads of one core share its arithmetic, so the second only gets in the way. A thread
 * counts when it is the first of its siblings that this process may run on. */
PITH_SHARED int pith__physical_cores(void) {
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        int n = 0;
        for (int c = 0; c < CPU_SETSIZE; c++) {
            if (!CPU_ISSET(c, &set)) continue;
            char name[96], text[64] = "";
            snprintf(name, sizeof name,
                     "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", c);
            int fd = open(name, O_RDONLY | O_CLOEXEC), first = c;
            if (fd >= 0) {
                ssize_t got = read(fd, text, sizeof text - 1);
                if (got > 0) first = atoi(text);
                close(fd);
            }
            if (first == c || first < 0 || first >= CPU_SETSIZE || !CPU_ISSET(first, &set)) n++;
        }
        if (n > 0) return n;
    }
#endif
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 && n < 4096 ? (int)n : 1;
}

#ifdef _OPENMP
static void *pass_gate(void *gate) {
    pthread_mutex_lock(gate);
    pthread_mutex_unlock(gate);
    return NULL;
}

/* OpenMP ends the process when a thread cannot be had. So they are asked for beforehand, all at once, and
 * one more, for there should be some memory left; half of what there is, where it is not enough. */
PITH_SHARED int pith__threads(int most) {
    enum { MOST_TRIED = 1024 };
    pthread_t thread[MOST_TRIED];
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    int n = 0;
    if (most > MOST_TRIED) most = MOST_TRIED;
    pthread_mutex_lock(&gate);
    while (n < most && !pthread_create(&thread[n], NULL, pass_gate, &gate)) n++;
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < n; i++) pthread_join(thread[i], NULL);
    return n == most ? most : n / 2 + 1;
}
#else
PITH_SHARED int pith__threads(int most) { return most; }
#endif
