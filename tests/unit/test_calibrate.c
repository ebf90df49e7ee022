/* Scores by hand-made rows, and noise whose width is known. */
#include "model/calibrate.h"

#include "tests/support/t.h"

#include <math.h>
#include <string.h>

enum { ROWS = 1200 };

/* One column, and |e| uniform on [0, width(x)]. */
struct rows {
    size_t count;
    double x[ROWS], absolute[ROWS];
};

static struct rows make_rows(size_t count, double slope, uint64_t seed)
{
    struct rows r = {.count = count};
    for (size_t i = 0; i < count; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        r.x[i] = (double)(i % 100) / 100;
        r.absolute[i] = (1 + slope * r.x[i]) * (double)(seed >> 11) * 0x1p-53;
    }
    return r;
}

static bool read_rows(void *ctx, uint64_t first, size_t max_rows, double *x, double *y,
                      size_t *rows, struct error *err)
{
    const struct rows *r = ctx;
    (void)err;
    *rows = max_rows;
    memcpy(x, r->x + first, max_rows * sizeof *x);
    memcpy(y, r->absolute + first, max_rows * sizeof *y);
    return true;
}

static struct calibration calibrate_or_fail(struct rows *r)
{
    static const double penalties[] = {0.1, 1, 10};
    const struct ridge_source source = {1, r->count, r, read_rows};
    const struct ridge_options options = {.penalties = penalties, .penalty_count = 3};
    struct calibration c;
    struct error err = {0};
    if (!calibrate(&source, &options, r->absolute, &c, &err))
        fail_msg("calibrate: %s", err.message);
    return c;
}

static void the_residual_function_is_the_expected_error(void **state)
{
    (void)state;
    struct rows r = make_rows(ROWS, 9, 1);
    struct calibration c = calibrate_or_fail(&r);
    for (double x = 0.1; x < 1; x += 0.2)
        assert_true(fabs(c.residual.intercept + c.residual.beta[0] * x - (1 + 9 * x) / 2) < 0.4);
    calibration_clear(&c);
}

static void noise_that_differs_is_scaled_and_noise_that_does_not_is_not_worse(void **state)
{
    (void)state;
    struct rows fan = make_rows(ROWS, 9, 2), flat = make_rows(ROWS, 0, 3);
    struct calibration c = calibrate_or_fail(&fan);
    assert_true(c.interval.scaled && c.interval.floor > 0);
    calibration_clear(&c);
    c = calibrate_or_fail(&flat);
    if (!c.interval.scaled)
        assert_true(fabs(c.interval.scores[899] - 0.9) < 0.03);
    calibration_clear(&c);
}

static void scores_ascend_and_few_rows_have_a_score_each(void **state)
{
    (void)state;
    static const size_t counts[] = {2, 20, 998, 999, 1000, ROWS};
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
        struct rows r = make_rows(counts[k], 0, 4);
        struct calibration c = calibrate_or_fail(&r);
        size_t n = c.interval.score_count;
        assert_int_equal(n, counts[k] < MODEL_SCORES_MAX ? counts[k] : MODEL_SCORES_MAX);
        for (size_t i = 0; i < n; i++)
            assert_true(isfinite(c.interval.scores[i]) && c.interval.scores[i] >= 0 &&
                        (i == 0 || c.interval.scores[i] >= c.interval.scores[i - 1]));
        calibration_clear(&c);
    }
}

static void a_model_that_is_never_wrong_gets_no_intervals(void **state)
{
    (void)state;
    struct rows r = make_rows(50, 0, 5);
    memset(r.absolute, 0, sizeof r.absolute);
    struct calibration c = calibrate_or_fail(&r);
    assert_int_equal(c.interval.score_count, 0);
    calibration_clear(&c);
    calibration_clear(&c);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_residual_function_is_the_expected_error),
    cmocka_unit_test(noise_that_differs_is_scaled_and_noise_that_does_not_is_not_worse),
    cmocka_unit_test(scores_ascend_and_few_rows_have_a_score_each),
    cmocka_unit_test(a_model_that_is_never_wrong_gets_no_intervals),
};

T_MAIN(tests)
