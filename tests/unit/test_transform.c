/* The learned numbers against hand-made ones and a long double loop; the columns that break naive
 * formulas. */
#include "model/transform.h"

#include "tests/support/t.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct transform learn_one(const double *x, size_t rows)
{
    struct transform t;
    struct error err = {0};
    transform_learn(&t, 1, 0, x, rows);
    assert_true(transform_finish(&t, 1, rows, &err));
    return t;
}

static void learn_finds_mean_deviation_and_range_of_every_column(void **state)
{
    (void)state;
    const double x[] = {2, 10, 4, 30, 4, 20, 4, 20, 5, 20, 5, 20, 7, 0, 9, 40};
    struct transform t[2];
    struct error err = {0};
    transform_learn(t, 2, 0, x, 8);
    assert_true(transform_finish(t, 2, 8, &err));
    assert_int_equal(t[0].kind, TRANSFORM_STANDARDISE);
    assert_close(t[0].mean, 5.0, 0);
    assert_close(t[0].scale, 2.0, 0);
    assert_close(t[0].min, 2.0, 0);
    assert_close(t[0].max, 9.0, 0);
    assert_close(t[1].mean, 20.0, 0);
    assert_close(t[1].scale, sqrt(125.0), 1e-15);
    assert_close(t[1].min, 0.0, 0);
    assert_close(t[1].max, 40.0, 0);
}

static void learned_column_has_mean_zero_and_deviation_one(void **state)
{
    (void)state;
    enum { ROWS = 1000 };
    double x[ROWS], sum = 0, squares = 0;
    uint64_t seed = 1;
    for (size_t i = 0; i < ROWS; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        x[i] = 300 + (double)(seed >> 40) * 1e-3;
    }
    struct transform t = learn_one(x, ROWS);
    for (size_t i = 0; i < ROWS; i++) {
        double u = transform_value(&t, x[i]);
        sum += u;
        squares += u * u;
    }
    assert_true(fabs(sum / ROWS) < 1e-13);
    assert_close(squares / ROWS, 1.0, 1e-13);
}

static void learn_keeps_its_digits_far_from_zero(void **state)
{
    (void)state;
    /* The textbook formula, mean of squares minus square of mean, has no digit left here. */
    const double x[] = {1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16};
    struct transform t = learn_one(x, 4);
    assert_close(t.mean, 1e9 + 10, 0);
    assert_close(t.scale, sqrt(22.5), 1e-15);
}

static void constant_column_contributes_exactly_nothing(void **state)
{
    (void)state;
    const double values[] = {0.1, 0, -0.0, 1e300, 1.7e308, -DBL_MAX, 4.9e-324};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        const double x[] = {values[i], values[i], values[i]};
        struct transform t = learn_one(x, 3);
        assert_close(t.scale, 1.0, 0);
        assert_true(transform_value(&t, values[i]) == 0);
    }
}

static void single_row_is_a_constant_column(void **state)
{
    (void)state;
    const double x = 7.25;
    struct transform t = learn_one(&x, 1);
    assert_close(t.mean, 7.25, 0);
    assert_close(t.scale, 1.0, 0);
}

static void spread_that_underflows_counts_as_none(void **state)
{
    (void)state;
    const double x[] = {1e-200, 2e-200, 3e-200};
    struct transform t = learn_one(x, 3);
    assert_close(t.scale, 1.0, 0);
    assert_true(transform_is_valid(&t));
    assert_close(t.min, 1e-200, 0);
    assert_close(t.max, 3e-200, 0);
}

static void learn_refuses_a_column_whose_squares_overflow(void **state)
{
    (void)state;
    const double squares[] = {1, 1e200, 2, -1e200}, differences[] = {1, 1.7e308, 2, -1.6e308};
    struct transform t[2];
    struct error err = {0};
    transform_learn(t, 2, 0, squares, 2);
    assert_false(transform_finish(t, 2, 2, &err));
    assert_int_equal(err.code, ERR_NUMERIC);
    assert_contains(err.message, "column 1");
    err = (struct error){0};
    transform_learn(t, 2, 0, differences, 2);
    assert_false(transform_finish(t, 2, 2, &err));
    assert_int_equal(err.code, ERR_NUMERIC);
}

static void column_learns_the_same_bits_alone_and_beside_others(void **state)
{
    (void)state;
    enum { ROWS = 257, COLS = 5 };
    double x[ROWS * COLS], column[ROWS];
    uint64_t seed = 42;
    for (size_t i = 0; i < ROWS * COLS; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        x[i] = (double)(int64_t)seed * 1e-12;
    }
    struct transform t[COLS];
    struct error err = {0};
    transform_learn(t, COLS, 0, x, ROWS);
    assert_true(transform_finish(t, COLS, ROWS, &err));
    for (size_t j = 0; j < COLS; j++) {
        for (size_t i = 0; i < ROWS; i++)
            column[i] = x[i * COLS + j];
        struct transform alone = learn_one(column, ROWS);
        assert_memory_equal(&alone.mean, &t[j].mean, sizeof alone.mean);
        assert_memory_equal(&alone.scale, &t[j].scale, sizeof alone.scale);
    }
}

static void cut_into_calls_does_not_change_a_bit(void **state)
{
    (void)state;
    enum { ROWS = 50 };
    double x[ROWS];
    for (size_t i = 0; i < ROWS; i++)
        x[i] = 1 / (double)(i * i + 3);
    struct transform whole = learn_one(x, ROWS);
    for (size_t cut = 0; cut <= ROWS; cut++) {
        struct transform t;
        struct error err = {0};
        transform_learn(&t, 1, 0, x, cut);
        transform_learn(&t, 1, cut, x + cut, ROWS - cut);
        assert_true(transform_finish(&t, 1, ROWS, &err));
        assert_close(t.mean, whole.mean, 0);
        assert_close(t.scale, whole.scale, 0);
        assert_close(t.min, whole.min, 0);
        assert_close(t.max, whole.max, 0);
    }
}

static void row_applies_each_features_own_transform(void **state)
{
    (void)state;
    const struct transform t[] = {
        {.kind = TRANSFORM_STANDARDISE, .min = 0, .max = 1, .mean = 1, .scale = 2},
        {.kind = TRANSFORM_STANDARDISE, .min = 0, .max = 1, .mean = -3, .scale = 0.5}};
    const double x[] = {5, -3.25};
    double u[2];
    transform_row(t, 2, x, u);
    assert_close(u[0], 2.0, 0);
    assert_close(u[1], -0.5, 0);
}

static void is_valid_wants_finite_numbers_and_a_normal_scale(void **state)
{
    (void)state;
    const struct transform good = {
        .kind = TRANSFORM_STANDARDISE, .min = -1, .max = 1, .mean = 0, .scale = 1};
    assert_true(transform_is_valid(&good));
    const double bad_scales[] = {0, -1, 4.9e-324, INFINITY, NAN};
    for (size_t i = 0; i < sizeof bad_scales / sizeof *bad_scales; i++) {
        struct transform t = good;
        t.scale = bad_scales[i];
        assert_false(transform_is_valid(&t));
    }
    assert_false(transform_is_valid(&(struct transform){
        .kind = TRANSFORM_STANDARDISE, .min = 2, .max = 1, .mean = 0, .scale = 1}));
    assert_false(transform_is_valid(&(struct transform){
        .kind = TRANSFORM_STANDARDISE, .min = NAN, .max = 1, .mean = 0, .scale = 1}));
    assert_false(transform_is_valid(&(struct transform){
        .kind = TRANSFORM_STANDARDISE, .min = 0, .max = INFINITY, .mean = 0, .scale = 1}));
    assert_false(transform_is_valid(&(struct transform){
        .kind = TRANSFORM_STANDARDISE, .min = 0, .max = 1, .mean = NAN, .scale = 1}));
}

/* ---- the kernel model's choice ---- */

static int compare_numbers(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Learns and chooses for a column, which is sorted on the way. */
static struct transform choose_for(double *x, size_t rows)
{
    struct transform t = learn_one(x, rows);
    qsort(x, rows, sizeof *x, compare_numbers);
    transform_choose(&t, x, rows);
    assert_true(transform_is_valid(&t));
    return t;
}

/* Evenly spread over [0, 1], then through `shape`. */
static void fill(double *x, size_t rows, double (*shape)(double))
{
    for (size_t i = 0; i < rows; i++)
        x[i] = shape(((double)i + 0.5) / (double)rows);
}

static double even(double u)
{
    return 5 * u - 1;
}

static double decades(double u)
{
    return exp(10 * u);
}

static double mirrored(double u)
{
    return -exp(10 * u);
}

static double mostly_zero(double u)
{
    return u < 0.6 ? 0 : exp(8 * u - 4.8) - 1;
}

static double from_minus_seven(double u)
{
    return exp(6 * u) - 8;
}

static void choose_takes_the_log_where_that_un_skews_and_nowhere_else(void **state)
{
    (void)state;
    enum { ROWS = 1000 };
    static const struct {
        double (*shape)(double);
        enum transform_kind kind;
    } cases[] = {{even, TRANSFORM_STANDARDISE},
                 {decades, TRANSFORM_LOG},
                 {mirrored, TRANSFORM_STANDARDISE},
                 {from_minus_seven, TRANSFORM_LOG}};
    double x[ROWS];
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        fill(x, ROWS, cases[k].shape);
        assert_int_equal(choose_for(x, ROWS).kind, cases[k].kind);
    }
}

static void a_chosen_log_has_mean_zero_and_deviation_one(void **state)
{
    (void)state;
    enum { ROWS = 1000 };
    double x[ROWS], sum = 0, squares = 0;
    fill(x, ROWS, from_minus_seven);
    struct transform t = choose_for(x, ROWS);
    for (size_t i = 0; i < ROWS; i++) {
        double u = transform_value(&t, x[i]);
        sum += u;
        squares += u * u;
    }
    assert_true(fabs(sum / ROWS) < 1e-12);
    assert_close(squares / ROWS, 1.0, 1e-12);
}

static void choose_clips_to_the_range_and_a_twentieth(void **state)
{
    (void)state;
    enum { ROWS = 100 };
    double x[ROWS];
    fill(x, ROWS, even);
    struct transform t = choose_for(x, ROWS);
    double range = t.max - t.min;
    assert_true(t.clipped);
    assert_close(t.low, t.min - range / 20, 1e-12);
    assert_close(t.high, t.max + range / 20, 1e-12);
    fill(x, ROWS, decades);
    t = choose_for(x, ROWS);
    assert_true(t.low > 0 && isfinite(transform_value(&t, -1e300)));
}

static void choose_survives_columns_with_hardly_any_values(void **state)
{
    (void)state;
    enum { ROWS = 100 };
    double x[ROWS], largest[] = {-1e150, 1e150};
    fill(x, ROWS, mostly_zero);
    (void)choose_for(x, ROWS);
    for (size_t i = 0; i < ROWS; i++)
        x[i] = (double)(i % 2);
    assert_int_equal(choose_for(x, ROWS).kind, TRANSFORM_STANDARDISE);
    for (size_t i = 0; i < ROWS; i++)
        x[i] = 3;
    struct transform t = choose_for(x, ROWS);
    assert_true(t.low == 3 && t.high == 3 && transform_value(&t, 8) == 0);
    (void)choose_for(x, 1);
    (void)choose_for(largest, 2);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(learn_finds_mean_deviation_and_range_of_every_column),
    cmocka_unit_test(learned_column_has_mean_zero_and_deviation_one),
    cmocka_unit_test(learn_keeps_its_digits_far_from_zero),
    cmocka_unit_test(constant_column_contributes_exactly_nothing),
    cmocka_unit_test(single_row_is_a_constant_column),
    cmocka_unit_test(spread_that_underflows_counts_as_none),
    cmocka_unit_test(learn_refuses_a_column_whose_squares_overflow),
    cmocka_unit_test(column_learns_the_same_bits_alone_and_beside_others),
    cmocka_unit_test(cut_into_calls_does_not_change_a_bit),
    cmocka_unit_test(row_applies_each_features_own_transform),
    cmocka_unit_test(is_valid_wants_finite_numbers_and_a_normal_scale),
    cmocka_unit_test(choose_takes_the_log_where_that_un_skews_and_nowhere_else),
    cmocka_unit_test(a_chosen_log_has_mean_zero_and_deviation_one),
    cmocka_unit_test(choose_clips_to_the_range_and_a_twentieth),
    cmocka_unit_test(choose_survives_columns_with_hardly_any_values),
};

T_MAIN(tests)
