/* A change of level is found where it is, and none where there is none. */
#include "model/shift.h"

#include "model/random.h"
#include "tests/support/t.h"

enum { ROWS = 2000 };

/* Uniform around the level: |level| + [0, 1). */
static void fill(double *x, size_t from, size_t to, double level, uint64_t seed)
{
    for (size_t i = from; i < to; i++)
        x[i] = level + (double)(random_next(&seed) >> 11) * 0x1p-53;
}

static void a_change_is_found_within_a_few_numbers(void **state)
{
    (void)state;
    double x[ROWS];
    for (int sign = -1; sign <= 1; sign += 2) {
        fill(x, 0, 700, 0, 1);
        fill(x, 700, ROWS, sign * 0.5, 2);
        assert_in_range(shift_find(x, ROWS, 1), 690, 710);
    }
}

static void the_last_of_several_changes_counts(void **state)
{
    (void)state;
    double x[ROWS];
    fill(x, 0, 500, 0, 1);
    fill(x, 500, 1200, 2, 2);
    fill(x, 1200, ROWS, 1, 3);
    assert_in_range(shift_find(x, ROWS, 1), 1190, 1210);
}

static void where_too_little_would_be_left_nothing_is_found(void **state)
{
    (void)state;
    double x[ROWS];
    fill(x, 0, 1900, 0, 1);
    fill(x, 1900, ROWS, 3, 2);
    assert_in_range(shift_find(x, ROWS, 50), 1890, 1910);
    assert_int_equal(shift_find(x, ROWS, 200), 0);
}

static void what_does_not_change_has_no_shift(void **state)
{
    (void)state;
    double x[ROWS] = {0};
    assert_int_equal(shift_find(x, ROWS, 1), 0);
    assert_int_equal(shift_find(x, 0, 1), 0);
    assert_int_equal(shift_find((const double[]){7}, 1, 1), 0);
    for (uint64_t seed = 1; seed <= 300; seed++) {
        fill(x, 0, ROWS, 0, seed * 7919);
        assert_int_equal(shift_find(x, ROWS, 1), 0);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_change_is_found_within_a_few_numbers),
    cmocka_unit_test(the_last_of_several_changes_counts),
    cmocka_unit_test(where_too_little_would_be_left_nothing_is_found),
    cmocka_unit_test(what_does_not_change_has_no_shift),
};

T_MAIN(tests)
