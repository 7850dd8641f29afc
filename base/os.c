/* os.c - the operating system (POSIX): files, folders, locks, processors.
 *
 * A file is mapped (or read) once. No other file of the engine talks to the system; another system is a
 * twin of this one. */
#define _GNU_SOURCE /* sched_getaffinity */
#include "base.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#ifdef _OPENMP
#include <omp.h>
#include <pthread.h>
#endif
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
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

static int map_whole(pith__file *f, int fd, const char *path, pith_error *err) {
    void *p = mmap(NULL, f->size, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) return pith__fail(err, PITH_EIO, "%s: cannot be mapped: %s", path, strerror(errno));
    f->data = p;
    f->mapped = 1;
    return PITH_OK;
}

/* The size comes from the descriptor that is mapped, so another file cannot slip in between; opening
 * does not wait for a writer should path be a FIFO. */
/* Times have seconds: what was written in the last few may change again without another time. */
static uint64_t stamp_of(const struct stat *st) {
    enum { SETTLED = 3 };
    const uint64_t parts[] = { (uint64_t)st->st_dev, (uint64_t)st->st_ino, (uint64_t)st->st_size, (uint64_t)st->st_mtime, (uint64_t)st->st_ctime };
    time_t now = time(NULL);
    return st->st_ctime + SETTLED < now && st->st_mtime + SETTLED < now ? pith__hash(1, parts, sizeof parts) | 1 : 0;
}

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
    } else {
        f->size = (size_t)st.st_size;
        f->stamp = stamp_of(&st);
        code = no_mmap ? read_whole(f, fd, path, err) : map_whole(f, fd, path, err);
    }
    close(fd);
    return code;
}

/* A dangling link counts as a file, so that opening it fails with an error. */
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

/* 1 or 2 where the file is what standard output or error go to, else 0. */
static int standard_stream(const struct stat *file) {
    struct stat at;
    for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++)
        if (!fstat(fd, &at) && at.st_dev == file->st_dev && at.st_ino == file->st_ino) return fd;
    return 0;
}

/* What others write too, as they do: renaming would put a file in the place of a device, and lose what a
 * standard stream has in its file already. */
static FILE *open_as_it_is(pith__writer *w, int stream) {
    free(w->temporary);
    w->temporary = NULL;
    if (!stream) return fopen(w->path, "wb");
    int fd = fcntl(stream, F_DUPFD_CLOEXEC, 3);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "wb");
    if (!f && fd >= 0) close(fd);
    return f;
}

/* The temporary file is in /tmp where the folder takes no new one: commit then writes the old file itself. */
static FILE *open_beside(pith__writer *w, size_t room) {
    struct stat old;
    int there = stat(w->path, &old) == 0, stream = there ? standard_stream(&old) : 0;
    if (there && (stream || !S_ISREG(old.st_mode))) return open_as_it_is(w, stream);
    if (there && access(w->path, W_OK) != 0) return NULL;
    FILE *f = fopen(w->temporary, "wbx");
    if (!f && there) {
        snprintf(w->temporary, room, "/tmp/pith.%ld.%llu.part", (long)getpid(), (unsigned long long)old.st_ino);
        f = fopen(w->temporary, "wbx");
    }
    if (f && there) (void)!fchmod(fileno(f), old.st_mode & 0777); /* stays as private as it was */
    return f;
}

static void writer_free(pith__writer *w) {
    free(w->path);
    free(w->temporary);
    memset(w, 0, sizeof *w);
}

/* The file that is behind a link, so that the link stays one; behind a link to nothing, where it points. */
static char *behind_links(const char *path) {
    char to[4096], *real = realpath(path, NULL);
    ssize_t n = real ? 0 : readlink(path, to, sizeof to);
    if (n <= 0 || n == (ssize_t)sizeof to) return real;
    const char *slash = *to == '/' ? NULL : strrchr(path, '/');
    size_t folder = slash ? (size_t)(slash - path) + 1 : 0, room = folder + (size_t)n + 1;
    if ((real = malloc(room))) snprintf(real, room, "%.*s%.*s", (int)folder, path, (int)n, to);
    return real;
}

PITH_SHARED int pith__writer_open(pith__writer *w, const char *path, pith_error *err) {
    memset(w, 0, sizeof *w);
    char *real = behind_links(path);
    size_t room = strlen(real ? real : path) + 64;
    w->path = malloc(room);
    w->temporary = malloc(room);
    int has_names = w->path && w->temporary;
    if (has_names) {
        snprintf(w->path, room, "%s", real ? real : path);
        snprintf(w->temporary, room, "%s.%ld.part", w->path, (long)getpid());
    }
    w->file = has_names ? open_beside(w, room) : NULL;
    free(real);
    if (w->file) return PITH_OK;
    int code = has_names ? pith__fail(err, PITH_EIO, "%s: cannot be written: %s", path, strerror(errno))
                             : pith__fail(err, PITH_EMEMORY, "%s: no memory to write it", path);
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

PITH_SHARED int pith__writer_close(pith__writer *w, int code, pith_error *err) {
    if (!code) return pith__writer_commit(w, err);
    pith__writer_drop(w);
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

PITH_SHARED void pith__remove(const char *path) { remove(path); }

/* A file, or a folder of files. */
static void remove_at(int folder, const char *name) {
    if (unlinkat(folder, name, 0) == 0 || name[strspn(name, ".")] == 0) return;
    int inner = openat(folder, name, O_RDONLY | O_DIRECTORY);
    DIR *d = inner < 0 ? NULL : fdopendir(inner);
    for (struct dirent *e; d && (e = readdir(d));) unlinkat(inner, e->d_name, 0);
    if (d) closedir(d);
    else if (inner >= 0) close(inner);
    unlinkat(folder, name, AT_REMOVEDIR);
}

PITH_SHARED void pith__remove_named(const char *folder, const char *begin, const char *end) {
    DIR *d = opendir(folder);
    size_t n = strlen(end), m = strlen(begin);
    for (struct dirent *e; d && (e = readdir(d));) {
        size_t length = strlen(e->d_name);
        if (length < n + m || strncmp(e->d_name, begin, m) != 0) continue;
        if (!strcmp(e->d_name + length - n, end)) remove_at(dirfd(d), e->d_name);
    }
    if (d) closedir(d);
}

static void new_folder_free(pith__new_folder *f) {
    if (f->at != f->path) free(f->at);
    free(f->path);
    memset(f, 0, sizeof *f);
}

PITH_SHARED int pith__new_folder_open(pith__new_folder *f, const char *path, pith_error *err) {
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--; /* "OUT/" */
    f->path = malloc(n + 1);
    f->at = malloc(n + 64);
    int has_names = f->path && f->at, there = pith__path_kind(path) == 'd';
    if (has_names) {
        snprintf(f->path, n + 1, "%s", path);
        snprintf(f->at, n + 64, "%s.%ld.part", f->path, (long)getpid());
    }
    if (has_names && there) free(f->at), f->at = f->path;
    if (has_names && (there || mkdir(f->at, 0777) == 0)) return PITH_OK;
    int code = has_names ? pith__fail(err, PITH_EIO, "%s: cannot be made a folder: %s", path, strerror(errno))
                         : pith__fail(err, PITH_EMEMORY, "%s: no memory to write it", path);
    new_folder_free(f);
    return code;
}

PITH_SHARED void pith__new_folder_drop(pith__new_folder *f) {
    if (f->at != f->path) {
        pith__remove_named(f->at, "", "");
        rmdir(f->at);
    }
    new_folder_free(f);
}

PITH_SHARED int pith__new_folder_commit(pith__new_folder *f, pith_error *err) {
    int code = PITH_OK;
    if (f->at != f->path && rename(f->at, f->path) != 0)
        code = pith__fail(err, PITH_EIO, "%s: cannot be made a folder: %s", f->path, strerror(errno));
    if (code) pith__new_folder_drop(f);
    else new_folder_free(f);
    return code;
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

PITH_SHARED int pith__find_named(const char *folder, const char *begin, const char *end, char *name,
                                 size_t size) {
    DIR *d = opendir(folder);
    size_t n = strlen(begin), m = strlen(end);
    int count = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        size_t length = strlen(e->d_name);
        if (e->d_name[0] == '.' || length < n + m || length >= size) continue;
        if (strncmp(e->d_name, begin, n) != 0 || strcmp(e->d_name + length - m, end) != 0) continue;
        if (count++ == 0 || strcmp(e->d_name, name) < 0) memcpy(name, e->d_name, length + 1);
    }
    if (d) closedir(d);
    return count;
}

PITH_SHARED void pith__large_pages(void *p, size_t n) {
#ifdef MADV_HUGEPAGE
    (void)madvise(p, n, MADV_HUGEPAGE);
#else
    (void)p, (void)n;
#endif
}

PITH_SHARED void pith__yield(void) { sched_yield(); }

PITH_SHARED double pith__seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- what this process may use ----------------------------------------------------------------------- */

#ifdef __linux__

enum { PATH = 4096 };

/* Hardware threads of one core share its arithmetic, so the second only gets in the way. A thread
 * counts when it is the first of its siblings that this process may run on. */
static int cores_of_mask(const char *root, long *cpus) {
    cpu_set_t set;
    int n = 0;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 0;
    *cpus = CPU_COUNT(&set);
    for (int c = 0; c < CPU_SETSIZE; c++) {
        if (!CPU_ISSET(c, &set)) continue;
        char name[PATH];
        int first = c;
        snprintf(name, sizeof name, "%s/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", root, c);
        FILE *f = fopen(name, "re");
        if (f && fscanf(f, "%d", &first) != 1) first = c;
        if (f) fclose(f);
        if (first == c || first < 0 || first >= CPU_SETSIZE || !CPU_ISSET(first, &set)) n++;
    }
    return n;
}

/* Up to two numbers of a file of the kernel; 0 where there is none, as for "max". */
static void read_numbers(const char *folder, const char *name, double *a, double *b) {
    char path[PATH + 64];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "re");
    long long x = 0, y = 0;
    int n = f ? fscanf(f, "%lld %lld", &x, &y) : 0;
    if (f) fclose(f);
    *a = n >= 1 ? (double)x : 0;
    if (b) *b = n >= 2 ? (double)y : 0;
}

typedef struct {
    double cpus, memory; /* processors at a time; bytes. INFINITY: no limit */
} limits;

/* One folder of a cgroup file system: version 2 (controller "") has both limits in it, version 1 one of them. */
static void limits_of_group(const char *folder, const char *controller, limits *least) {
    double quota = 0, period = 0, bytes = 0;
    if (!*controller) {
        read_numbers(folder, "cpu.max", &quota, &period);
        read_numbers(folder, "memory.max", &bytes, NULL);
    } else if (*controller == 'c') {
        read_numbers(folder, "cpu.cfs_quota_us", &quota, NULL);
        read_numbers(folder, "cpu.cfs_period_us", &period, NULL);
    } else {
        read_numbers(folder, "memory.limit_in_bytes", &bytes, NULL);
    }
    if (quota > 0 && period > 0 && quota / period < least->cpus) least->cpus = quota / period;
    if (bytes > 0 && bytes < least->memory) least->memory = bytes;
}

/* Is word one of those with commas between them? */
static int in_list(const char *list, const char *word) {
    size_t n = strlen(word);
    for (;; list++) {
        size_t length = strcspn(list, ",\n");
        if (length == n && !strncmp(list, word, n)) return 1;
        list += length;
        if (*list != ',') return 0;
    }
}

/* This process's group of the hierarchy with this controller, "": version 2's. 0: there is none. */
static int group_of(const char *root, const char *controller, char group[PATH]) {
    char line[PATH + 256];
    snprintf(line, sizeof line, "%s/proc/self/cgroup", root);
    FILE *f = fopen(line, "re");
    int found = 0;
    while (f && !found && fgets(line, sizeof line, f)) { /* number:controllers:path */
        char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;
        if (!path) continue;
        *path++ = 0;
        path[strcspn(path, "\n")] = 0;
        found = in_list(list + 1, controller);
        if (found) snprintf(group, PATH, "%.*s", PATH - 1, path);
    }
    if (f) fclose(f);
    return found;
}

/* The kernel writes blanks and the like as three octal digits after a backslash. */
static void unescape(char *s) {
    char *to = s;
    for (; *s; s++) {
        int octal = s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] && s[3];
        *to++ = octal ? (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0')) : *s;
        if (octal) s += 3;
    }
    *to = 0;
}

/* The limits of a group hold for all below it: from the process's own up to where the hierarchy is mounted.
 * A container may see only a part of it, which begins at top. */
typedef struct {
    const char *root, *controller;
    char top[PATH], mount[PATH];
} hierarchy;

static void limits_of_hierarchy(const hierarchy *h, limits *least) {
    char own[PATH], folder[3 * PATH], *group = own;
    if (!group_of(h->root, h->controller, own)) return;
    size_t n = strcmp(h->top, "/") ? strlen(h->top) : 0;
    int below = !strncmp(own, h->top, n) && (own[n] == '/' || !own[n]) && !strstr(own, "/..");
    group += below ? n : strlen(own);
    if (!strcmp(group, "/")) *group = 0;
    for (;;) {
        snprintf(folder, sizeof folder, "%s%s%s", h->root, h->mount, group);
        if (strlen(folder) < PATH) limits_of_group(folder, h->controller, least);
        char *end = strrchr(group, '/');
        if (!end) return;
        *end = 0;
    }
}

static limits limits_of_groups(const char *root) {
    static const char *const controllers[] = { "", "cpu", "memory" };
    limits least = { INFINITY, INFINITY };
    hierarchy h = { .root = root };
    char line[3 * PATH], type[16], options[256];
    snprintf(line, sizeof line, "%s/proc/self/mountinfo", root);
    FILE *f = fopen(line, "re");
    while (f && fgets(line, sizeof line, f)) { /* proc(5): 36 35 98:0 /top /mount ... - type device options */
        const char *rest = strstr(line, " - cgroup");
        if (!rest || sscanf(line, "%*s %*s %*s %4095s %4095s", h.top, h.mount) != 2 ||
            sscanf(rest, " - %15s %*s %255s", type, options) != 2)
            continue;
        unescape(h.top);
        unescape(h.mount);
        for (int i = 0; i < 3; i++) {
            h.controller = controllers[i];
            if (i ? !strcmp(type, "cgroup") && in_list(options, h.controller) : !strcmp(type, "cgroup2"))
                limits_of_hierarchy(&h, &least);
        }
    }
    if (f) fclose(f);
    return least;
}

#else

typedef struct {
    double cpus, memory;
} limits;

static int cores_of_mask(const char *root, long *cpus) { return (void)root, (void)cpus, 0; }
static limits limits_of_groups(const char *root) { return (void)root, (limits){ INFINITY, INFINITY }; }

#endif

PITH_SHARED pith__resources pith__may_use(const char *root) {
    limits l = limits_of_groups(root);
    long cpus = sysconf(_SC_NPROCESSORS_ONLN), n = cores_of_mask(root, &cpus);
    if (n < 1) n = cpus;
    if ((double)n > l.cpus) n = (long)l.cpus;
    if ((double)cpus > l.cpus) cpus = (long)l.cpus;
#ifdef _SC_PHYS_PAGES
    double all = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    if (all > 0 && all < l.memory) l.memory = all;
#endif
    return (pith__resources){ cpus > 0 && cpus < 4096 ? (int)cpus : 1, n > 0 && n < 4096 ? (int)n : 1, l.memory };
}

/* ---- threads ----------------------------------------------------------------------------------------- */

#ifdef _OPENMP
static void *pass_gate(void *gate) {
    pthread_mutex_lock(gate);
    pthread_mutex_unlock(gate);
    return NULL;
}

/* Start the threads once as a test, because OpenMP aborts if it cannot. If some fail, use half of those that
 * started. */
PITH_SHARED int pith__threads(int most) {
    enum { MOST_TRIED = 1024 };
    pthread_t thread[MOST_TRIED];
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    int n = 0;
    if (most > MOST_TRIED) most = MOST_TRIED;
    if (most > omp_get_thread_limit()) most = omp_get_thread_limit();
    pthread_mutex_lock(&gate);
    while (n < most && !pthread_create(&thread[n], NULL, pass_gate, &gate)) n++;
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < n; i++) pthread_join(thread[i], NULL);
    return n == most ? most : n / 2 + 1;
}
#else
PITH_SHARED int pith__threads(int most) { return (void)most, 1; }
#endif
