"""A disk that fails on demand, for the processes of a test: a library that `LD_PRELOAD` puts before the system's.

The environment says what fails: `FAULT_CALL` (`write` or `sync`), `FAULT_CODE` (`EIO` or `ENOSPC`), `FAULT_AT` (the how manieth
of such calls on files under `FAULT_UNDER`, from 1) and `FAULT_TIMES` (so many in a row).
"""

from __future__ import annotations

import subprocess
from pathlib import Path

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long seen = 0;

static int is_ours(int descriptor) {
    const char *under = getenv("FAULT_UNDER");
    char link[64], path[PATH_MAX];
    if (under == NULL) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    return length > 0 && strncmp(path, under, strlen(under)) == 0;
}

static int fails(const char *call, int descriptor) {
    const char *wanted = getenv("FAULT_CALL"), *at = getenv("FAULT_AT"), *times = getenv("FAULT_TIMES");
    int failing = 0;
    if (wanted == NULL || at == NULL || strcmp(wanted, call) != 0 || !is_ours(descriptor)) return 0;
    pthread_mutex_lock(&lock);
    seen++;
    failing = seen >= atol(at) && seen < atol(at) + (times ? atol(times) : 1);
    pthread_mutex_unlock(&lock);
    if (failing) {
        const char *code = getenv("FAULT_CODE");
        errno = code != NULL && strcmp(code, "ENOSPC") == 0 ? ENOSPC : EIO;
    }
    return failing;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pwrite64(int d, const void *b, size_t n, off64_t o) { return fails("write", d) ? -1 : NEXT(pwrite64)(d, b, n, o); }
ssize_t pwrite(int d, const void *b, size_t n, off_t o) { return fails("write", d) ? -1 : NEXT(pwrite)(d, b, n, o); }
ssize_t write(int d, const void *b, size_t n) { return fails("write", d) ? -1 : NEXT(write)(d, b, n); }
int fsync(int d) { return fails("sync", d) ? -1 : NEXT(fsync)(d); }
int fdatasync(int d) { return fails("sync", d) ? -1 : NEXT(fdatasync)(d); }
"""


def build(folder: Path) -> Path:
    """Compile the library into `folder`; needs a C compiler, `cc`."""
    source, library = folder / "faulty_disk.c", folder / "faulty_disk.so"
    source.write_text(_SOURCE)
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl", "-lpthread"], check=True)  # noqa: S603, S607  a fixed command of the system's compiler
    return library
