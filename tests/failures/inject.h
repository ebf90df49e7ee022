/* inject.h - makes the nth call of a kind fail, in this program and in the libraries it uses.
 *
 * Idea:    the test program defines malloc and its like, fsync and renameat itself, so that the dynamic
 *          linker gives them to libevent, cJSON and the C library too. Built as a shared object and
 *          preloaded, the same makes the nth allocation of any program fail: INJECT_ALLOC=n in its
 *          environment, counted from its start.
 * Does not: work beside the sanitizers, which define malloc themselves; so these tests are built with the
 *          release and cover variants only.
 * Threads: calls are counted in the threads that are exposed, which new ones are while everybody is.
 */
#ifndef TESTS_FAILURES_INJECT_H
#define TESTS_FAILURES_INJECT_H

#include <stdbool.h>
#include <stddef.h>

enum inject_kind { INJECT_ALLOC, INJECT_FSYNC, INJECT_RENAME, INJECT_KINDS };

/* The nth call of that kind from now on fails (1: the next), once; 0: none does. */
void inject_fail(enum inject_kind kind, size_t nth);

/* Whether it has failed since. */
bool inject_failed(enum inject_kind kind);

/* Whether the calls of this thread count; at first they do not. */
void inject_expose(bool exposed);

/* Whether those of all threads do that have not called inject_expose. */
void inject_expose_others(bool exposed);

/* Blocks of memory that any thread has and has not freed. */
size_t inject_live(void);

#endif
