/* Blocks are linked newest first; the first one made is kept over resets. Only the newest block is
 * allocated from, so what a large object leaves over in an older block is given up: simple, and a
 * request rarely has more than two blocks. */
#include "base/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SMALL_ALIGN = 16, LARGE_ALIGN = 64 };

struct block {
    struct block *older;
    size_t size, used; /* of bytes[] */
    alignas(LARGE_ALIGN) unsigned char bytes[];
};

struct arena {
    struct block *newest;
    size_t held, limit;
};

static struct block *block_new(size_t size, struct block *older)
{
    struct block *block = NULL;
    size_t bytes = sizeof *block + size;
    bytes += -bytes & (LARGE_ALIGN - 1); /* what aligned_alloc asks for */
    block = aligned_alloc(LARGE_ALIGN, bytes);
    if (block != NULL) {
        block->older = older;
        block->size = size;
        block->used = 0;
    }
    return block;
}

struct arena *arena_new(size_t first_bytes, size_t limit_bytes)
{
    struct arena *arena = malloc(sizeof *arena);
    struct block *block = block_new(first_bytes, NULL);
    if (arena == NULL || block == NULL) {
        free(arena);
        free(block);
        return NULL;
    }
    *arena = (struct arena){block, first_bytes, limit_bytes};
    return arena;
}

/* Frees all blocks but the first and returns that. */
static struct block *free_newer(struct arena *arena)
{
    struct block *block = arena->newest;
    while (block->older != NULL) {
        struct block *older = block->older;
        arena->held -= block->size;
        free(block);
        block = older;
    }
    return block;
}

void arena_free(struct arena *arena)
{
    if (arena == NULL)
        return;
    free(free_newer(arena));
    free(arena);
}

void arena_reset(struct arena *arena)
{
    arena->newest = free_newer(arena);
    arena->newest->used = 0;
}

/* Room for bytes in the newest block, or NULL. */
static void *take(struct block *block, size_t bytes)
{
    size_t align = bytes >= LARGE_ALIGN ? LARGE_ALIGN : SMALL_ALIGN;
    size_t start = (block->used + align - 1) & ~(align - 1);
    if (start > block->size || bytes > block->size - start)
        return NULL;
    block->used = start + bytes;
    return block->bytes + start;
}

void *arena_alloc(struct arena *arena, size_t bytes)
{
    void *object = take(arena->newest, bytes);
    if (object != NULL)
        return object;
    /* Doubling keeps the number of blocks logarithmic in what is asked for. */
    size_t size = arena->newest->size * 2;
    size_t room = arena->limit == 0 ? SIZE_MAX / 2 - arena->held : arena->limit - arena->held;
    if (bytes > room || (arena->limit != 0 && arena->held > arena->limit))
        return NULL;
    size = size < bytes ? bytes : size;
    size = size > room ? room : size;
    struct block *block = block_new(size, arena->newest);
    if (block == NULL)
        return NULL;
    arena->newest = block;
    arena->held += size;
    return take(block, bytes);
}

void *arena_array(struct arena *arena, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return NULL;
    return arena_alloc(arena, bytes);
}

void *arena_grow(struct arena *arena, void *old, size_t old_bytes, size_t new_bytes)
{
    struct block *block = arena->newest;
    unsigned char *start = old;
    if (old != NULL && start + old_bytes == block->bytes + block->used &&
        new_bytes <= block->size - (size_t)(start - block->bytes)) {
        block->used = (size_t)(start - block->bytes) + new_bytes;
        return old;
    }
    void *grown = arena_alloc(arena, new_bytes);
    if (grown != NULL && old_bytes > 0)
        memcpy(grown, old, old_bytes < new_bytes ? old_bytes : new_bytes);
    return grown;
}

char *arena_text(struct arena *arena, const char *text, size_t n)
{
    char *copy = n < SIZE_MAX ? arena_alloc(arena, n + 1) : NULL;
    if (copy != NULL) {
        memcpy(copy, text, n);
        copy[n] = '\0';
    }
    return copy;
}

size_t arena_held(const struct arena *arena)
{
    return arena->held;
}
