#define _GNU_SOURCE /* syscall */
#include "tests/failures/inject.h"

#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* glibc's own, behind the names that are defined below. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *block, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);
void __libc_free(void *block);

static atomic_size_t left[INJECT_KINDS]; /* calls until the one that fails; 0: none does */
static atomic_bool failed[INJECT_KINDS];
static atomic_bool others;
static atomic_size_t live;
static _Thread_local enum { UNSAID, HIDDEN, EXPOSED } self;

void inject_fail(enum inject_kind kind, size_t nth)
{
    atomic_store(&failed[kind], false);
    atomic_store(&left[kind], nth);
}

bool inject_failed(enum inject_kind kind)
{
    return atomic_load(&failed[kind]);
}

void inject_expose(bool exposed)
{
    self = exposed ? EXPOSED : HIDDEN;
}

void inject_expose_others(bool exposed)
{
    atomic_store(&others, exposed);
}

size_t inject_live(void)
{
    return atomic_load(&live);
}

static bool fails(enum inject_kind kind, int error)
{
    if (self == HIDDEN || (self == UNSAID && !atomic_load(&others)) ||
        atomic_load(&left[kind]) == 0)
        return false;
    if (atomic_fetch_sub(&left[kind], 1) != 1)
        return false;
    atomic_store(&failed[kind], true);
    errno = error;
    return true;
}

static void *counted(void *block)
{
    if (block != NULL)
        (void)atomic_fetch_add(&live, 1);
    return block;
}

void *malloc(size_t bytes)
{
    return fails(INJECT_ALLOC, ENOMEM) ? NULL : counted(__libc_malloc(bytes));
}

void *calloc(size_t count, size_t bytes)
{
    return fails(INJECT_ALLOC, ENOMEM) ? NULL : counted(__libc_calloc(count, bytes));
}

/* Shrinking does not fail, but nobody may rely on it. */
void *realloc(void *block, size_t bytes)
{
    if (fails(INJECT_ALLOC, ENOMEM))
        return NULL;
    return block == NULL ? counted(__libc_malloc(bytes)) : __libc_realloc(block, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    return fails(INJECT_ALLOC, ENOMEM) ? NULL : counted(__libc_memalign(alignment, bytes));
}

void *memalign(size_t alignment, size_t bytes)
{
    return aligned_alloc(alignment, bytes);
}

int posix_memalign(void **block, size_t alignment, size_t bytes)
{
    void *got = aligned_alloc(alignment, bytes);
    if (got != NULL)
        *block = got;
    return got != NULL ? 0 : ENOMEM;
}

void free(void *block)
{
    if (block != NULL)
        (void)atomic_fetch_sub(&live, 1);
    __libc_free(block);
}

int fsync(int fd)
{
    return fails(INJECT_FSYNC, EIO) ? -1 : (int)syscall(SYS_fsync, fd);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
    return fails(INJECT_RENAME, EIO) ? -1
                                     : (int)syscall(SYS_renameat, from_folder, from, to_folder, to);
}

/* Preloaded: what a program does before its main is counted as well. */
static void __attribute__((constructor)) read_environment(void)
{
    const char *nth = getenv("INJECT_ALLOC");
    if (nth == NULL)
        return;
    inject_fail(INJECT_ALLOC, strtoul(nth, NULL, 10));
    inject_expose_others(true);
}

static void __attribute__((destructor)) tell_if_not_reached(void)
{
    static const char text[] = "INJECT_ALLOC was not reached\n";
    if (getenv("INJECT_ALLOC") != NULL && !inject_failed(INJECT_ALLOC))
        (void)!write(STDERR_FILENO, text, sizeof text - 1);
}
