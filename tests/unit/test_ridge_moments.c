/* Moments against the rows they are of: fits and held-out errors as ridge_fit gives them when it sees the
 * rows themselves. */
#include "model/ridge.h"
#include "tests/support/t.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 160, COLS = 5, PARTS = 4, PENALTIES = 3 };

static const size_t part_begin[PARTS + 1] = {0, 1, 40, 43, ROWS};
static const double penalties[PENALTIES] = {0.01, 3, 500};

/* Rows that go into a fit: all but those of one part. */
struct rows {
    double x[ROWS * COLS], y[ROWS];
    size_t count;
};

static double uniform(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 11) * 0x1p-53;
}

/* Columns of mean `offset`, much larger than their spread if it is large. */
static void fill(struct rows *rows, double offset)
{
    uint64_t state = 7;
    rows->count = ROWS;
    for (size_t i = 0; i < ROWS; i++) {
        rows->y[i] = offset + uniform(&state);
        for (size_t j = 0; j < COLS; j++) {
            double x = uniform(&state) * (double)(j + 1);
            rows->x[i * COLS + j] = x + offset;
            rows->y[i] += (double)j * x - x * x / 4;
        }
    }
}

static bool read_rows(void *ctx, uint64_t first, size_t max_rows, double *x, double *y,
                      size_t *count, struct error *err)
{
    const struct rows *rows = ctx;
    (void)err;
    *count = max_rows;
    memcpy(x, rows->x + first * COLS, max_rows * COLS * sizeof *x);
    memcpy(y, rows->y + first, max_rows * sizeof *y);
    return true;
}

/* p = 1 on the diagonal, 0.3 beside it */
static bool fill_metric(void *ctx, double *p, struct error *err)
{
    (void)ctx;
    (void)err;
    for (size_t i = 0; i < COLS; i++)
        for (size_t j = 0; j < COLS; j++)
            p[i * COLS + j] = i == j ? 1 : i + 1 == j || j + 1 == i ? 0.3 : 0;
    return true;
}

static struct ridge_options options_of(const double *path, size_t count, bool metric)
{
    return (struct ridge_options){
        .penalties = path, .penalty_count = count, .metric = metric ? fill_metric : NULL};
}

static struct ridge batch(const struct rows *rows, double penalty, bool metric)
{
    struct error err = {0};
    struct ridge r;
    const struct ridge_options options = options_of(&penalty, 1, metric);
    const struct ridge_source source = {COLS, rows->count, (void *)(uintptr_t)rows, read_rows};
    if (!ridge_fit(&source, &options, &r, &err))
        fail_msg("%s", err.message);
    return r;
}

/* The rows from begin to end, in blocks of 7. */
static void sum_up(struct ridge_moments *m, const struct rows *rows, size_t begin, size_t end)
{
    struct error err = {0};
    struct rows copy = *rows;
    assert_true(ridge_moments_init(m, COLS, &err));
    for (size_t i = begin; i < end; i += 7) {
        size_t n = end - i < 7 ? end - i : 7;
        ridge_moments_add(m, n, copy.x + i * COLS, copy.y + i);
    }
    ridge_moments_finish(m);
}

static void merge_parts(struct ridge_moments *m, const struct rows *rows)
{
    struct error err = {0};
    assert_true(ridge_moments_init(m, COLS, &err));
    for (size_t k = 0; k < PARTS; k++) {
        struct ridge_moments part;
        sum_up(&part, rows, part_begin[k], part_begin[k + 1]);
        assert_true(ridge_moments_merge(m, &part, &err));
        ridge_moments_clear(&part);
    }
}

static void assert_same(const struct ridge *a, const struct ridge *b, double rtol)
{
    for (size_t j = 0; j < COLS; j++)
        assert_close(a->beta[j], b->beta[j], rtol);
    assert_close(a->intercept, b->intercept, rtol);
    assert_close(a->penalty, b->penalty, 0);
}

static struct ridge solve(const struct ridge_moments *m, double penalty, bool metric)
{
    struct error err = {0};
    struct ridge r;
    const struct ridge_options options = options_of(&penalty, 1, metric);
    if (!ridge_solve(m, &options, &r, &err))
        fail_msg("%s", err.message);
    return r;
}

static void assert_solves_to(const struct ridge_moments *m, const struct rows *rows, double rtol)
{
    for (size_t l = 0; l < PENALTIES; l++)
        for (int metric = 0; metric < 2; metric++) {
            struct ridge got = solve(m, penalties[l], metric);
            struct ridge expected = batch(rows, penalties[l], metric);
            assert_same(&got, &expected, rtol);
            ridge_clear(&got);
            ridge_clear(&expected);
        }
}

static void merged_parts_give_the_fit_to_all_rows(void **state)
{
    (void)state;
    struct rows rows;
    struct ridge_moments m;
    fill(&rows, 0);
    merge_parts(&m, &rows);
    assert_int_equal(m.rows, ROWS);
    assert_solves_to(&m, &rows, 1e-11);
    ridge_moments_clear(&m);
}

static void means_far_from_zero_cost_no_more_digits_than_they_have(void **state)
{
    (void)state;
    struct rows rows;
    struct ridge_moments m;
    fill(&rows, 1e6);
    merge_parts(&m, &rows);
    assert_solves_to(&m, &rows, 1e-8);
    ridge_moments_clear(&m);
}

static void fewer_rows_than_columns_give_the_fit_to_them(void **state)
{
    (void)state;
    struct rows rows;
    struct ridge_moments m;
    fill(&rows, 0);
    rows.count = COLS - 2;
    sum_up(&m, &rows, 0, rows.count);
    assert_solves_to(&m, &rows, 1e-10);
    ridge_moments_clear(&m);
}

/* The rows without those of part k. */
static struct rows without(const struct rows *rows, size_t k)
{
    struct rows rest = {.count = 0};
    for (size_t i = 0; i < ROWS; i++)
        if (i < part_begin[k] || i >= part_begin[k + 1]) {
            memcpy(rest.x + rest.count * COLS, rows->x + i * COLS, COLS * sizeof *rest.x);
            rest.y[rest.count++] = rows->y[i];
        }
    return rest;
}

static void subtracted_parts_leave_the_fit_to_the_others(void **state)
{
    (void)state;
    struct rows rows;
    struct error err = {0};
    fill(&rows, 0);
    for (size_t k = 0; k < PARTS; k++) {
        struct ridge_moments m, part;
        struct rows rest = without(&rows, k);
        merge_parts(&m, &rows);
        sum_up(&part, &rows, part_begin[k], part_begin[k + 1]);
        assert_true(ridge_moments_subtract(&m, &part, &err));
        assert_int_equal(m.rows, rest.count);
        assert_solves_to(&m, &rest, 1e-10);
        ridge_moments_clear(&m);
        ridge_moments_clear(&part);
    }
}

static void rows_that_cannot_have_been_there_are_not_subtracted(void **state)
{
    (void)state;
    struct rows rows, other;
    struct error err = {0};
    struct ridge_moments all, part, foreign;
    fill(&rows, 0);
    fill(&other, 40);
    sum_up(&all, &rows, 0, ROWS);
    sum_up(&part, &rows, 0, 40);
    sum_up(&foreign, &other, 0, 20);
    assert_false(ridge_moments_subtract(&part, &all, &err));
    assert_string_equal(err.message, "rows: expected fewer than 40, got 160");
    assert_false(ridge_moments_subtract(&part, &foreign, &err));
    assert_string_equal(err.message, "expected rows that are part of the others");
    ridge_moments_clear(&all);
    ridge_moments_clear(&part);
    ridge_moments_clear(&foreign);
}

/* Sum of squared errors on part k of a refit without it. */
static double refit_error(const struct rows *rows, size_t k, double penalty, bool metric)
{
    struct rows rest = without(rows, k);
    struct ridge r = batch(&rest, penalty, metric);
    double squares = 0;
    for (size_t i = part_begin[k]; i < part_begin[k + 1]; i++) {
        double error = rows->y[i] - r.intercept;
        for (size_t j = 0; j < COLS; j++)
            error -= rows->x[i * COLS + j] * r.beta[j];
        squares += error * error;
    }
    ridge_clear(&r);
    return squares;
}

static void held_out_errors_are_those_of_refits(void **state)
{
    (void)state;
    struct rows rows;
    struct ridge_moments m;
    struct error err = {0};
    fill(&rows, 0);
    merge_parts(&m, &rows);
    for (size_t k = 0; k < PARTS; k++)
        for (int metric = 0; metric < 2; metric++) {
            struct ridge_moments part;
            double squares[PENALTIES];
            const struct ridge_options options = options_of(penalties, PENALTIES, metric);
            sum_up(&part, &rows, part_begin[k], part_begin[k + 1]);
            if (!ridge_held_out(&m, &part, &options, squares, &err))
                fail_msg("%s", err.message);
            for (size_t l = 0; l < PENALTIES; l++)
                assert_close(squares[l], refit_error(&rows, k, penalties[l], metric), 1e-9);
            ridge_moments_clear(&part);
        }
    ridge_moments_clear(&m);
}

/* x(COLS) of (Gram + penalty) x = xy in long double, by elimination; the matrix is positive definite. */
static void eliminate(const struct ridge_moments *m, double penalty, double *x)
{
    long double a[COLS][COLS], b[COLS];
    for (size_t j = 0; j < COLS; j++) {
        b[j] = m->xy.data[j];
        for (size_t i = j; i < COLS; i++)
            a[i][j] = a[j][i] = m->gram.data[j * COLS + i] + (i == j ? (long double)penalty : 0);
    }
    for (size_t k = 0; k < COLS; k++)
        for (size_t i = k + 1; i < COLS; i++) {
            long double factor = a[i][k] / a[k][k];
            for (size_t j = k; j < COLS; j++)
                a[i][j] -= factor * a[k][j];
            b[i] -= factor * b[k];
        }
    for (size_t k = COLS; k-- > 0;) {
        for (size_t j = k + 1; j < COLS; j++)
            b[k] -= a[k][j] * b[j];
        b[k] /= a[k][k];
        x[k] = (double)b[k];
    }
}

static void rounding_in_the_factor_does_not_reach_the_coefficients(void **state)
{
    (void)state;
    struct rows rows;
    struct ridge_moments m;
    double expected[COLS], penalty = 0;
    fill(&rows, 0);
    for (size_t i = 0; i < ROWS; i++) /* a column that is nearly another */
        rows.x[i * COLS + 1] = rows.x[i * COLS] + 1e-4 * rows.x[i * COLS + 1];
    sum_up(&m, &rows, 0, ROWS);
    struct ridge r = solve(&m, penalty, false);
    eliminate(&m, penalty, expected);
    for (size_t j = 0; j < COLS; j++)
        assert_close(r.beta[j], expected[j], 2e-11); /* the oracle has no more */
    ridge_clear(&r);
    ridge_moments_clear(&m);
}

static void what_cannot_be_solved_is_refused(void **state)
{
    (void)state;
    struct rows rows;
    struct ridge_moments m, none;
    struct error err = {0};
    struct ridge r;
    double squares[PENALTIES];
    const double zero = 0;
    fill(&rows, 0);
    merge_parts(&m, &rows);
    assert_true(ridge_moments_init(&none, COLS, &err));
    struct ridge_options options = options_of(penalties, PENALTIES, false);
    assert_false(ridge_solve(&m, &options, &r, &err));
    assert_contains(err.message, "expected one penalty");
    options.penalty_count = 1;
    assert_false(ridge_solve(&none, &options, &r, &err));
    assert_contains(err.message, "at least one row");
    options.penalties = &zero;
    assert_false(ridge_held_out(&m, &m, &options, squares, &err));
    assert_contains(err.message, "penalties: expected numbers above 0");
    options.penalties = penalties;
    assert_false(ridge_held_out(&m, &m, &options, squares, &err));
    assert_contains(err.message, "rows: expected fewer than 160");
    assert_null(r.beta);
    ridge_moments_clear(&m);
    ridge_moments_clear(&none);
    assert_false(ridge_moments_init(&none, RIDGE_MAX_COLS + 1, &err));
    assert_contains(err.message, "columns: expected 1 to 16384, got 16385");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(merged_parts_give_the_fit_to_all_rows),
    cmocka_unit_test(means_far_from_zero_cost_no_more_digits_than_they_have),
    cmocka_unit_test(fewer_rows_than_columns_give_the_fit_to_them),
    cmocka_unit_test(subtracted_parts_leave_the_fit_to_the_others),
    cmocka_unit_test(rows_that_cannot_have_been_there_are_not_subtracted),
    cmocka_unit_test(held_out_errors_are_those_of_refits),
    cmocka_unit_test(rounding_in_the_factor_does_not_reach_the_coefficients),
    cmocka_unit_test(what_cannot_be_solved_is_refused),
};

T_MAIN(tests)
