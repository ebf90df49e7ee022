/* Sizes that fit, sizes that cannot, and what survives a change of size. */
#include "model/matrix.h"

#include "tests/support/t.h"

#include <stdint.h>
#include <string.h>

static void init_makes_zeros_on_a_cache_line(void **state)
{
    (void)state;
    for (size_t rows = 1; rows < 40; rows++) {
        struct matrix m;
        struct error err = {0};
        assert_true(matrix_init(&m, rows, 3, &err));
        assert_int_equal(m.rows, rows);
        assert_int_equal(m.cols, 3);
        assert_int_equal((uintptr_t)m.data % 64, 0);
        for (size_t i = 0; i < rows * 3; i++) {
            assert_close(m.data[i], 0.0, 0);
            m.data[i] = 1;
        }
        matrix_clear(&m);
    }
}

static void empty_matrix_has_data(void **state)
{
    (void)state;
    static const size_t shapes[][2] = {{0, 0}, {0, 5}, {5, 0}, {SIZE_MAX, 0}, {0, SIZE_MAX}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct matrix m;
        struct error err = {0};
        assert_true(matrix_init(&m, shapes[i][0], shapes[i][1], &err));
        assert_int_equal(m.rows, shapes[i][0]);
        assert_int_equal(m.cols, shapes[i][1]);
        assert_non_null(m.data);
        matrix_clear(&m);
    }
}

static void init_refuses_sizes_that_overflow(void **state)
{
    (void)state;
    static const size_t shapes[][2] = {{SIZE_MAX, 1},
                                       {1, SIZE_MAX},
                                       {SIZE_MAX, SIZE_MAX},
                                       {(size_t)1 << 32, (size_t)1 << 32},
                                       {(size_t)1 << 31, (size_t)1 << 30},
                                       {1, PTRDIFF_MAX / 8}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct matrix m = {1, 1, NULL};
        struct error err = {0};
        assert_false(matrix_init(&m, shapes[i][0], shapes[i][1], &err));
        assert_int_equal(err.code, ERR_TOO_LARGE);
        assert_contains(err.message, "numbers do not fit in memory");
        assert_int_equal(m.rows, 0);
        assert_int_equal(m.cols, 0);
        assert_null(m.data);
    }
}

static void resize_keeps_the_rows_and_zeroes_the_new_ones(void **state)
{
    (void)state;
    struct matrix m;
    struct error err = {0};
    assert_true(matrix_init(&m, 3, 2, &err));
    for (size_t i = 0; i < 6; i++)
        m.data[i] = (double)i;
    assert_true(matrix_resize(&m, 100, &err));
    assert_int_equal(m.rows, 100);
    assert_int_equal(m.cols, 2);
    assert_true(matrix_row(&m, 2) == m.data + 4);
    for (size_t i = 0; i < 200; i++)
        assert_close(m.data[i], i < 6 ? (double)i : 0.0, 0);
    assert_true(matrix_resize(&m, 2, &err));
    assert_int_equal(m.rows, 2);
    assert_close(m.data[3], 3.0, 0);
    assert_true(matrix_resize(&m, 0, &err));
    assert_true(matrix_resize(&m, 2, &err));
    assert_close(m.data[3], 0.0, 0);
    matrix_clear(&m);
}

static void failed_resize_changes_nothing(void **state)
{
    (void)state;
    struct matrix m;
    struct error err = {0};
    assert_true(matrix_init(&m, 1, 2, &err));
    m.data[1] = 7;
    struct matrix before = m;
    assert_false(matrix_resize(&m, SIZE_MAX / 2, &err));
    assert_int_equal(err.code, ERR_TOO_LARGE);
    assert_memory_equal(&m, &before, sizeof m);
    assert_close(m.data[1], 7.0, 0);
    matrix_clear(&m);
}

static void clear_takes_what_is_clear(void **state)
{
    (void)state;
    struct matrix m = {0};
    matrix_clear(&m);
    matrix_clear(&m);
    assert_null(m.data);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(init_makes_zeros_on_a_cache_line),
    cmocka_unit_test(empty_matrix_has_data),
    cmocka_unit_test(init_refuses_sizes_that_overflow),
    cmocka_unit_test(resize_keeps_the_rows_and_zeroes_the_new_ones),
    cmocka_unit_test(failed_resize_changes_nothing),
    cmocka_unit_test(clear_takes_what_is_clear),
};

T_MAIN(tests)
