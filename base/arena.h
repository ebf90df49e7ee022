/* arena.h - bump allocator: everything a request needs, released in one step.
 *
 * Idea:    a chain of blocks; allocation moves a pointer, reset rewinds it and keeps the first block
 *          warm, so a worker that recycles arenas allocates nothing for ordinary requests.
 * Does not: free single objects, run destructors, zero memory, or share between threads.
 * Threads: one owner at a time.
 * Memory:  objects live until arena_reset or arena_free. All results are 64-byte aligned when
 *          their size is 64 bytes or more, else 16-byte aligned.
 * Errors:  NULL when memory or the arena's limit is exhausted; the caller names the error.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/error.h"

#include <stddef.h>
#include <string.h>

struct arena;

/* Text that is borrowed and not NUL-terminated. */
struct span {
    const char *p;
    size_t n;
};

static inline bool span_is(struct span span, const char *text)
{
    return span.n == strlen(text) && memcmp(span.p, text, span.n) == 0;
}

/* Order by bytes, as strcmp's. */
static inline int span_compare(struct span a, struct span b)
{
    int order = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
    return order != 0 ? order : (a.n > b.n) - (a.n < b.n);
}

/* first_bytes: size of the block that is kept over resets; limit_bytes: most the arena may hold in
 * all blocks together, 0 for no limit. NULL when out of memory. Released with arena_free. */
struct arena *arena_new(size_t first_bytes, size_t limit_bytes) MUST_CHECK;

/* Releases every block; NULL is allowed. */
void arena_free(struct arena *arena);

/* Forgets every object; keeps the first block, returns the others to the system. */
void arena_reset(struct arena *arena);

/* bytes of uninitialised memory (bytes == 0 gives a valid pointer), or NULL. */
void *arena_alloc(struct arena *arena, size_t bytes) MUST_CHECK;

/* count * size bytes, overflow-checked, uninitialised; or NULL. */
void *arena_array(struct arena *arena, size_t count, size_t size) MUST_CHECK;

/* Makes the object at `old` (old_bytes, from this arena) at least new_bytes long, in place when it
 * was the newest object and room remains, else by copying. old may be NULL with old_bytes 0.
 * NULL when out of memory; the old object stays valid then. */
void *arena_grow(struct arena *arena, void *old, size_t old_bytes, size_t new_bytes) MUST_CHECK;

/* Copies n bytes and appends a NUL; or NULL. */
char *arena_text(struct arena *arena, const char *text, size_t n) MUST_CHECK;

/* Bytes held in all blocks; what a memory budget should count. */
size_t arena_held(const struct arena *arena);

#endif
