/* Counts the operations by which a process changes files under two folders, and lets one fail.

   Preloaded (LD_PRELOAD), it stands between a program and libc: Python, torch, safetensors,
   tokenizers and SQLite all write through it. An operation makes a file (opened anew, and written),
   writes into one that is there, flushes, renames, links, or removes. What follows into the file
   that is being made, and flushes that follow one another, belong to one operation.
   `mishap_arm` says what happens at the n-th.

   "Before": a crash comes when half of a file is written, or before anything else is done; an error
   is returned, and nothing was done. "After": both come once it was done; an error in writing, once
   half was written. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CRASH = -1, KILLED = 137 };

static struct {
    char roots[2][PATH_MAX]; /* the folders; "": none */
    long at;                 /* the operation that fails; 0: none */
    int after, fault, lasting, log;
    long count;
    int failed;             /* whether it has come to that */
    char file[PATH_MAX];    /* what the last operation wrote into; "": it was another one */
    int due;                /* whether that file's first write is to fail */
    int broken;             /* whether it did */
    int flushing;           /* whether the last operation was a flush */
} plan = {.log = -1};

/* Watch two folders; at operation `at` crash (fault -1) or fail with the errno `fault`. `lasting`:
   whatever takes room fails from then on, as on a full disk. `log`: a descriptor to which every
   operation is written, a line each; -1: none. */
void mishap_arm(const char *first, const char *second, long at, int after, int fault, int lasting,
                int log)
{
    memset(&plan, 0, sizeof plan);
    snprintf(plan.roots[0], PATH_MAX, "%s", first);
    snprintf(plan.roots[1], PATH_MAX, "%s", second);
    plan.at = at, plan.after = after, plan.fault = fault, plan.lasting = lasting, plan.log = log;
}

/* A fresh command is armed by its environment: the arguments of mishap_arm, a line each. The
   processes that it starts are left alone. */
__attribute__((constructor)) static void armed_by_environment(void)
{
    char *given = getenv("MISHAP"), first[PATH_MAX], second[PATH_MAX];
    long at;
    int after, fault, lasting, log;
    if (given && sscanf(given, "%4095[^\n]\n%4095[^\n]\n%ld\n%d\n%d\n%d\n%d", first, second, &at,
                        &after, &fault, &lasting, &log) == 7)
        mishap_arm(first, second, at, after, fault, lasting, log);
    unsetenv("MISHAP");
}

static int of_descriptor(int fd, char *path)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, PATH_MAX - 1);
    path[size < 0 ? 0 : size] = 0;
    return size > 0;
}

static int watched(const char *path)
{
    for (int i = 0; i < 2; i++) {
        size_t size = strlen(plan.roots[i]);
        if (size && !strncmp(path, plan.roots[i], size) && (path[size] == '/' || !path[size]))
            return 1;
    }
    return 0;
}

/* Whether a path is watched; it may be relative to a folder that is open, or to the current one. */
static int watched_at(int folder, const char *name, char *path)
{
    char beside[PATH_MAX];
    if (!plan.roots[0][0] || !name)
        return 0;
    if (name[0] == '/')
        snprintf(path, PATH_MAX, "%s", name);
    else if (folder == AT_FDCWD ? getcwd(beside, PATH_MAX) != NULL : of_descriptor(folder, beside))
        snprintf(path, PATH_MAX, "%.2000s/%.2000s", beside, name);
    else
        return 0;
    return watched(path);
}

static int watched_fd(int fd, char *path)
{
    return plan.roots[0][0] && fd > 2 && of_descriptor(fd, path) && watched(path);
}

static int fails(void)
{
    if (plan.fault == CRASH)
        _exit(KILLED);
    errno = plan.fault;
    return -1;
}

enum fate { DO, FAIL_BEFORE, FAIL_AFTER, FAIL_HALF };

/* Count an operation and say what becomes of it. */
static enum fate next(const char *what, const char *path, int takes_room, int writes)
{
    int saved = errno;
    if (plan.due && plan.fault == CRASH)
        _exit(KILLED); /* nothing was ever written into the file that was being made */
    plan.due = plan.broken = plan.flushing = 0, plan.file[0] = 0;
    plan.count++;
    if (plan.log >= 0)
        dprintf(plan.log, "%s\t%s\n", what, path);
    errno = saved;
    if (plan.count != plan.at)
        return plan.failed && plan.lasting && takes_room ? FAIL_BEFORE : DO;
    plan.failed = 1;
    if (writes && plan.fault == CRASH)
        return plan.after ? FAIL_AFTER : FAIL_HALF;
    return plan.after ? (writes ? FAIL_HALF : FAIL_AFTER) : FAIL_BEFORE;
}

#define REAL(name) (__extension__({ \
        static __typeof__(&name) real; \
        real = real ? real : (__typeof__(&name))dlsym(RTLD_NEXT, #name); \
        real; \
    }))

/* An operation that is done whole or not at all. */
#define WHOLE(what, path, takes_room, call) do { \
        enum fate fate = next(what, path, takes_room, 0); \
        if (fate == FAIL_BEFORE) return fails(); \
        int result = (call); \
        return fate == FAIL_AFTER ? fails() : result; \
    } while (0)

/* Whether opening makes a file, or empties one. */
static int makes(int folder, const char *name, int flags, char *path)
{
    struct stat there;
    if ((flags & O_ACCMODE) == O_RDONLY || !(flags & (O_CREAT | O_TRUNC)))
        return 0;
    if (!watched_at(folder, name, path))
        return 0;
    return lstat(path, &there) != 0 || ((flags & O_TRUNC) && there.st_size);
}

/* Begin to make a file: whether that fails at once. What else is due waits for the first write. */
static int refused(const char *path)
{
    enum fate fate = next("make", path, 1, 1);
    if (fate == FAIL_BEFORE)
        return 1;
    strcpy(plan.file, path);
    plan.due = fate != DO;
    return 0;
}

#define OPENING(folder, call) do { \
        mode_t mode = 0; \
        char path[PATH_MAX]; \
        if (flags & (O_CREAT | O_TMPFILE)) { \
            va_list list; \
            va_start(list, flags); \
            mode = va_arg(list, mode_t); \
            va_end(list); \
        } \
        if (makes(folder, name, flags, path) && refused(path)) return fails(); \
        return call; \
    } while (0)

int open(const char *name, int flags, ...) { OPENING(AT_FDCWD, REAL(open)(name, flags, mode)); }
int open64(const char *name, int flags, ...) { OPENING(AT_FDCWD, REAL(open64)(name, flags, mode)); }
int openat(int at, const char *name, int flags, ...)
{
    OPENING(at, REAL(openat)(at, name, flags, mode));
}
int openat64(int at, const char *name, int flags, ...)
{
    OPENING(at, REAL(openat64)(at, name, flags, mode));
}

/* C++ streams are opened inside libc. */
#define FOPENING(call) do { \
        char path[PATH_MAX]; \
        int flags = how[0] == 'r' ? 0 : O_WRONLY | O_CREAT | (how[0] == 'w' ? O_TRUNC : 0); \
        if (makes(AT_FDCWD, name, flags, path) && refused(path)) return fails(), NULL; \
        return call; \
    } while (0)

FILE *fopen(const char *name, const char *how) { FOPENING(REAL(fopen)(name, how)); }
FILE *fopen64(const char *name, const char *how) { FOPENING(REAL(fopen64)(name, how)); }

/* Into the file that the last operation wrote into, or another. Once it failed, it goes on failing. */
#define WRITING(fd, all, half) do { \
        char path[PATH_MAX]; \
        if (!watched_fd(fd, path)) return (all); \
        enum fate fate = plan.broken ? FAIL_BEFORE : DO; \
        if (strcmp(plan.file, path)) \
            fate = next("write", path, 1, 1); \
        else if (plan.due) \
            fate = plan.fault == CRASH && plan.after ? FAIL_AFTER : FAIL_HALF; \
        strcpy(plan.file, path); \
        plan.due = 0, plan.broken = fate != DO; \
        if (fate == DO) return (all); \
        if (fate == FAIL_HALF) (void)!(half); \
        if (fate == FAIL_AFTER) (void)!(all); \
        return fails(); \
    } while (0)

ssize_t write(int fd, const void *data, size_t size)
{
    WRITING(fd, REAL(write)(fd, data, size), REAL(write)(fd, data, size / 2));
}
ssize_t writev(int fd, const struct iovec *parts, int count)
{
    WRITING(fd, REAL(writev)(fd, parts, count),
            REAL(write)(fd, parts[0].iov_base, parts[0].iov_len / 2));
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at)
{
    WRITING(fd, REAL(pwrite)(fd, data, size, at), REAL(pwrite)(fd, data, size / 2, at));
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at)
{
    WRITING(fd, REAL(pwrite64)(fd, data, size, at), REAL(pwrite64)(fd, data, size / 2, at));
}

static size_t half_of(int fd)
{
    struct stat file;
    return fstat(fd, &file) ? 0 : (size_t)file.st_size / 2;
}

ssize_t sendfile(int fd, int from, off_t *at, size_t size)
{
    WRITING(fd, REAL(sendfile)(fd, from, at, size), REAL(sendfile)(fd, from, at, half_of(from)));
}
ssize_t sendfile64(int fd, int from, off64_t *at, size_t size)
{
    WRITING(fd, REAL(sendfile64)(fd, from, at, size),
            REAL(sendfile64)(fd, from, at, half_of(from)));
}
ssize_t copy_file_range(int from, off64_t *at, int fd, off64_t *to, size_t size, unsigned flags)
{
    WRITING(fd, REAL(copy_file_range)(from, at, fd, to, size, flags),
            REAL(copy_file_range)(from, at, fd, to, half_of(from), flags));
}

#define RESIZING(call) do { \
        char path[PATH_MAX]; \
        if (!watched_fd(fd, path) || !strcmp(plan.file, path)) return (call); \
        WHOLE("truncate", path, 0, call); \
    } while (0)

int ftruncate(int fd, off_t size) { RESIZING(REAL(ftruncate)(fd, size)); }
int ftruncate64(int fd, off64_t size) { RESIZING(REAL(ftruncate64)(fd, size)); }

#define FLUSHING(call) do { \
        char path[PATH_MAX]; \
        if (!watched_fd(fd, path)) return (call); \
        if (plan.flushing && !(plan.failed && plan.lasting)) return (call); \
        enum fate fate = next("flush", path, 1, 0); \
        plan.flushing = 1; \
        if (fate == FAIL_BEFORE) return fails(); \
        int result = (call); \
        return fate == FAIL_AFTER ? fails() : result; \
    } while (0)

int fsync(int fd) { FLUSHING(REAL(fsync)(fd)); }
int fdatasync(int fd) { FLUSHING(REAL(fdatasync)(fd)); }

#define NAMING(what, folder, name, takes_room, call) do { \
        char path[PATH_MAX]; \
        if (!watched_at(folder, name, path)) return (call); \
        WHOLE(what, path, takes_room, call); \
    } while (0)

int rename(const char *a, const char *b) { NAMING("rename", AT_FDCWD, b, 0, REAL(rename)(a, b)); }
int renameat(int i, const char *a, int k, const char *b)
{
    NAMING("rename", k, b, 0, REAL(renameat)(i, a, k, b));
}
int renameat2(int i, const char *a, int k, const char *b, unsigned flags)
{
    NAMING("rename", k, b, 0, REAL(renameat2)(i, a, k, b, flags));
}
int link(const char *a, const char *b) { NAMING("link", AT_FDCWD, b, 1, REAL(link)(a, b)); }
int linkat(int i, const char *a, int k, const char *b, int flags)
{
    NAMING("link", k, b, 1, REAL(linkat)(i, a, k, b, flags));
}
int symlink(const char *a, const char *b) { NAMING("link", AT_FDCWD, b, 1, REAL(symlink)(a, b)); }
int symlinkat(const char *a, int k, const char *b)
{
    NAMING("link", k, b, 1, REAL(symlinkat)(a, k, b));
}

/* What libc refuses anyway (it is there already; nothing is there) is no operation. */
static int is_there(int folder, const char *name)
{
    struct stat found;
    return !fstatat(folder, name, &found, AT_SYMLINK_NOFOLLOW);
}

int mkdir(const char *a, mode_t mode)
{
    if (is_there(AT_FDCWD, a)) return REAL(mkdir)(a, mode);
    NAMING("mkdir", AT_FDCWD, a, 1, REAL(mkdir)(a, mode));
}
int mkdirat(int i, const char *a, mode_t mode)
{
    if (is_there(i, a)) return REAL(mkdirat)(i, a, mode);
    NAMING("mkdir", i, a, 1, REAL(mkdirat)(i, a, mode));
}
int unlink(const char *a)
{
    if (!is_there(AT_FDCWD, a)) return REAL(unlink)(a);
    NAMING("remove", AT_FDCWD, a, 0, REAL(unlink)(a));
}
int rmdir(const char *a)
{
    if (!is_there(AT_FDCWD, a)) return REAL(rmdir)(a);
    NAMING("remove", AT_FDCWD, a, 0, REAL(rmdir)(a));
}
int unlinkat(int i, const char *a, int flags)
{
    if (!is_there(i, a)) return REAL(unlinkat)(i, a, flags);
    NAMING("remove", i, a, 0, REAL(unlinkat)(i, a, flags));
}
