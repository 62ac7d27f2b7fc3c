/* Loaded before the C library (LD_PRELOAD) it lets a real process meet a disk that refuses, on paths that hold a text.

   FAULT_PATH   the text
   FAULT_ERRNO  what the system answers, as a number
   FAULT_FLAG   a file; while it is there, everything that needs room is refused

   fault_at(n) has the n-th call from now on (write, flush, rename) refused, once; fault_calls() says how many came. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long calls, wanted;

void fault_at(long number) { calls = 0; wanted = number; }
long fault_calls(void) { return calls; }

static const char *setting(const char *name) { const char *value = getenv(name); return value ? value : ""; }

static int ours(const char *path) { const char *part = setting("FAULT_PATH"); return path && *part && strstr(path, part) != NULL; }

static int our_file(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return ours(path);
}

static int refused(void) { errno = atoi(setting("FAULT_ERRNO")); return -1; }

static int full(void) { const char *flag = setting("FAULT_FLAG"); return *flag && access(flag, F_OK) == 0; }

static int due(void) { return atomic_fetch_add(&calls, 1) + 1 == wanted; }

/* Whether a call on this file or path is to be refused; saves errno, which access() may have set. */
#define CHECK(mine) do { int kept = errno; if ((mine) && (due() || full())) return refused(); errno = kept; } while (0)
#define NEXT(name) static __typeof__(&name) next; if (!next) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *data, size_t size) { NEXT(write); CHECK(our_file(fd)); return next(fd, data, size); }
ssize_t writev(int fd, const struct iovec *parts, int count) { NEXT(writev); CHECK(our_file(fd)); return next(fd, parts, count); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { NEXT(pwrite); CHECK(our_file(fd)); return next(fd, data, size, at); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) { NEXT(pwrite64); CHECK(our_file(fd)); return next(fd, data, size, at); }
int fsync(int fd) { NEXT(fsync); CHECK(our_file(fd)); return next(fd); }
int fdatasync(int fd) { NEXT(fdatasync); CHECK(our_file(fd)); return next(fd); }
int rename(const char *from, const char *to) { NEXT(rename); CHECK(ours(to)); return next(from, to); }
int mkdir(const char *path, mode_t mode) {
    static int (*next)(const char *, mode_t);
    if (!next) next = (int (*)(const char *, mode_t))dlsym(RTLD_NEXT, "mkdir");
    if (ours(path) && full()) return refused();
    return next(path, mode);
}
