#include "base/arena.h"
#include "tests/support/t.h"

#include <stdint.h>
#include <string.h>

static void objects_are_aligned_and_apart(void **state)
{
    (void)state;
    struct arena *arena = arena_new(1000, 0);
    unsigned char *previous = NULL;
    size_t previous_size = 0;
    assert_non_null(arena);
    for (size_t size = 0; size < 300; size += 7) {
        unsigned char *p = arena_alloc(arena, size);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % (size >= 64 ? 64 : 16), 0);
        memset(p, (int)size, size);
        for (size_t i = 0; i < previous_size; i++)
            assert_int_equal(previous[i], (unsigned char)(size - 7));
        previous = p;
        previous_size = size;
    }
    arena_free(arena);
}

static void reset_keeps_the_first_block_only(void **state)
{
    (void)state;
    struct arena *arena = arena_new(256, 0);
    void *first = arena_alloc(arena, 100);
    assert_non_null(arena_alloc(arena, 100000));
    assert_true(arena_held(arena) > 100000);
    arena_reset(arena);
    assert_int_equal(arena_held(arena), 256);
    assert_ptr_equal(arena_alloc(arena, 100), first);
    arena_free(arena);
}

static void the_limit_counts_all_blocks(void **state)
{
    (void)state;
    struct arena *arena = arena_new(1024, 4096);
    assert_null(arena_alloc(arena, 4096));
    assert_non_null(arena_alloc(arena, 1000));
    assert_non_null(arena_alloc(arena, 3000));
    assert_null(arena_alloc(arena, 3000));
    assert_true(arena_held(arena) <= 4096);
    arena_free(arena);
}

static void sizes_that_overflow_are_refused(void **state)
{
    (void)state;
    struct arena *arena = arena_new(64, 0);
    assert_null(arena_array(arena, SIZE_MAX / 4, 8));
    assert_null(arena_alloc(arena, SIZE_MAX));
    assert_null(arena_alloc(arena, SIZE_MAX - 100));
    assert_null(arena_text(arena, "x", SIZE_MAX));
    assert_non_null(arena_array(arena, 0, 8));
    arena_free(arena);
}

static void the_newest_object_grows_in_place(void **state)
{
    (void)state;
    struct arena *arena = arena_new(4096, 0);
    char *p = arena_alloc(arena, 10);
    memcpy(p, "0123456789", 10);
    assert_ptr_equal(arena_grow(arena, p, 10, 1000), p);
    assert_non_null(arena_alloc(arena, 1));
    char *moved = arena_grow(arena, p, 1000, 2000);
    assert_ptr_not_equal(moved, p);
    assert_memory_equal(moved, "0123456789", 10);
    char *far = arena_grow(arena, moved, 2000, 100000);
    assert_memory_equal(far, "0123456789", 10);
    assert_non_null(arena_grow(arena, NULL, 0, 5));
    arena_free(arena);
}

static void text_is_copied_and_ended(void **state)
{
    (void)state;
    struct arena *arena = arena_new(64, 0);
    assert_string_equal(arena_text(arena, "abcdef", 3), "abc");
    assert_string_equal(arena_text(arena, "", 0), "");
    arena_free(arena);
    arena_free(NULL);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(objects_are_aligned_and_apart),
    cmocka_unit_test(reset_keeps_the_first_block_only),
    cmocka_unit_test(the_limit_counts_all_blocks),
    cmocka_unit_test(sizes_that_overflow_are_refused),
    cmocka_unit_test(the_newest_object_grows_in_place),
    cmocka_unit_test(text_is_copied_and_ended),
};

T_MAIN(tests)
