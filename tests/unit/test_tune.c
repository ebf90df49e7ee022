/* Tables whose best scales and directions are known beforehand. */
#include "model/tune.h"

#include "tests/support/t.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 400, INPUTS = 4 };

static double uniform(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 11) * 0x1p-53;
}

/* Random rows between -1.7 and 1.7, whose last column is constant. */
static struct matrix random_rows(size_t rows, uint64_t seed)
{
    struct matrix u;
    struct error err = {0};
    assert_true(matrix_init(&u, rows, INPUTS, &err));
    for (size_t i = 0; i < rows * INPUTS; i++)
        u.data[i] = i % INPUTS == INPUTS - 1 ? 0 : 3.4 * uniform(&seed) - 1.7;
    return u;
}

static struct tuned tune_or_fail(const struct matrix *u, const double *y)
{
    struct tuned t;
    struct error err = {0};
    if (!tune(u, y, 100, NULL, &t, &err))
        fail_msg("tune: %s", err.message);
    for (size_t j = 0; j < t.inputs + t.direction_count; j++)
        assert_true(isfinite(t.scales[j]) && t.scales[j] >= 0);
    assert_true(isfinite(t.penalty) && t.penalty > 0 && isfinite(t.rmse));
    return t;
}

static void a_column_that_matters_gets_more_weight_and_a_constant_one_none(void **state)
{
    (void)state;
    struct matrix u = random_rows(ROWS, 1);
    double y[ROWS];
    for (size_t i = 0; i < ROWS; i++)
        y[i] = sin(3 * matrix_row(&u, i)[1]) + 0.1 * matrix_row(&u, i)[0];
    struct tuned t = tune_or_fail(&u, y);
    assert_true(t.scales[1] > 10 * t.scales[0]);
    assert_true(t.scales[1] > 10 * t.scales[2]);
    assert_true(t.scales[3] == 0);
    assert_true(t.rmse < 0.1);
    tuned_clear(&t);
    matrix_clear(&u);
}

static void a_target_along_a_diagonal_finds_the_direction(void **state)
{
    (void)state;
    struct matrix u = random_rows(ROWS, 2);
    double y[ROWS];
    for (size_t i = 0; i < ROWS; i++)
        y[i] = sin(4 * (matrix_row(&u, i)[0] - matrix_row(&u, i)[2]));
    struct tuned t = tune_or_fail(&u, y);
    assert_true(t.direction_count >= 1);
    double most = 0;
    for (size_t d = 0; d < t.direction_count; d++) {
        assert_int_equal(t.directions[d].a + t.directions[d].b, 2);
        if (t.directions[d].difference)
            most = t.scales[INPUTS + d];
    }
    assert_true(most > t.scales[0] && most > t.scales[2]);
    tuned_clear(&t);
    matrix_clear(&u);
}

static void pairs_share_no_input(void **state)
{
    (void)state;
    struct matrix u = random_rows(ROWS, 3);
    double y[ROWS];
    for (size_t i = 0; i < ROWS; i++) {
        const double *x = matrix_row(&u, i);
        y[i] = sin(3 * (x[0] - x[1])) + sin(3 * (x[1] + x[2])) + cos(2 * (x[0] + x[2]));
    }
    struct tuned t = tune_or_fail(&u, y);
    for (size_t d = 0; d < t.direction_count; d++)
        for (size_t e = 0; e < d; e++) {
            const struct kernel_direction *a = &t.directions[d], *b = &t.directions[e];
            bool same = a->a == b->a && a->b == b->b;
            assert_true(same || (a->a != b->a && a->a != b->b && a->b != b->a && a->b != b->b));
        }
    tuned_clear(&t);
    matrix_clear(&u);
}

static void noise_gets_a_large_penalty(void **state)
{
    (void)state;
    uint64_t seed = 5;
    struct matrix u = random_rows(ROWS, 4);
    double y[ROWS], squares = 0;
    for (size_t i = 0; i < ROWS; i++) {
        y[i] = uniform(&seed) - 0.5;
        squares += y[i] * y[i] / ROWS;
    }
    struct tuned t = tune_or_fail(&u, y);
    assert_true(t.rmse < 1.1 * sqrt(squares));
    tuned_clear(&t);
    matrix_clear(&u);
}

static void constant_targets_and_columns_are_survived(void **state)
{
    (void)state;
    struct matrix u = random_rows(ROWS, 6);
    double y[ROWS];
    for (size_t i = 0; i < ROWS; i++)
        y[i] = 7;
    struct tuned t = tune_or_fail(&u, y);
    tuned_clear(&t);
    for (size_t i = 0; i < ROWS; i++)
        y[i] = (double)(i % 5);
    memset(u.data, 0, ROWS * INPUTS * sizeof *u.data);
    t = tune_or_fail(&u, y);
    for (size_t j = 0; j < INPUTS; j++)
        assert_true(t.scales[j] == 0);
    tuned_clear(&t);
    matrix_clear(&u);
}

static void tuning_twice_gives_the_same_bits(void **state)
{
    (void)state;
    struct matrix u = random_rows(200, 7);
    double y[200];
    for (size_t i = 0; i < 200; i++)
        y[i] = fabs(matrix_row(&u, i)[0]) + matrix_row(&u, i)[1];
    struct tuned a = tune_or_fail(&u, y), b = tune_or_fail(&u, y);
    assert_int_equal(a.direction_count, b.direction_count);
    assert_memory_equal(a.scales, b.scales, (a.inputs + a.direction_count) * sizeof *a.scales);
    assert_memory_equal(&a.penalty, &b.penalty, sizeof a.penalty);
    tuned_clear(&a);
    tuned_clear(&b);
    matrix_clear(&u);
}

static void tell(void *ctx, double fraction)
{
    double *last = ctx;
    assert_true(fraction >= *last && fraction <= 1);
    *last = fraction;
}

static void progress_never_goes_back(void **state)
{
    (void)state;
    double last = 0, y[100];
    struct tuned t;
    struct error err = {0};
    struct matrix u = random_rows(100, 8);
    for (size_t i = 0; i < 100; i++)
        y[i] = matrix_row(&u, i)[0];
    assert_true(tune(&u, y, 100, &(struct tune_progress){tell, &last}, &t, &err));
    assert_true(last > 0);
    tuned_clear(&t);
    matrix_clear(&u);
}

static void too_few_rows_are_refused(void **state)
{
    (void)state;
    double y[TUNE_ROWS_MIN] = {0};
    struct tuned t;
    struct error err = {0};
    struct matrix u = random_rows(TUNE_ROWS_MIN - 1, 9);
    assert_false(tune(&u, y, 100, NULL, &t, &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_contains(err.message, "tune: expected at least 30 rows, got 29");
    tuned_clear(&t);
    matrix_clear(&u);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_column_that_matters_gets_more_weight_and_a_constant_one_none),
    cmocka_unit_test(a_target_along_a_diagonal_finds_the_direction),
    cmocka_unit_test(pairs_share_no_input),
    cmocka_unit_test(noise_gets_a_large_penalty),
    cmocka_unit_test(constant_targets_and_columns_are_survived),
    cmocka_unit_test(tuning_twice_gives_the_same_bits),
    cmocka_unit_test(progress_never_goes_back),
    cmocka_unit_test(too_few_rows_are_refused),
};

T_MAIN(tests)
