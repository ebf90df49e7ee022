/* Statistics of a file's rows against the rows themselves, and what goes together. */
#include "model/stats.h"

#include "model/model_file.h"
#include "tests/support/process.h"
#include "tests/support/shards.h"
#include "tests/support/t.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 300 };

/* A folder with two maps and the table. */
struct place {
    char folder[512], linear[600], kernel[600], csv[600];
};

static int make_place(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    assert_non_null(p);
    process_folder(p->folder, sizeof p->folder);
    (void)snprintf(p->linear, sizeof p->linear, "%s/linear.json", p->folder);
    (void)snprintf(p->kernel, sizeof p->kernel, "%s/kernel.json", p->folder);
    (void)snprintf(p->csv, sizeof p->csv, "%s/rows.csv", p->folder);
    shards_write_map(p->linear, MODEL_LINEAR, 1);
    shards_write_map(p->kernel, MODEL_KERNEL, 1);
    shards_write(p->csv, 0, ROWS);
    *state = p;
    return 0;
}

static int remove_place(void **state)
{
    struct place *p = *state;
    process_remove(p->folder);
    free(p);
    return 0;
}

static void assert_near(double got, double expected, double scale)
{
    if (!(fabs(got - expected) <= 1e-12 * scale))
        fail_msg("got %.17g, expected %.17g", got, expected);
}

/* Column by column, by the definition. */
static void assert_moments(const struct stats *s)
{
    size_t cols = s->moments.cols;
    double *phi = calloc(ROWS * (cols + KERNEL_LANES), sizeof *phi), y[ROWS];
    assert_non_null(phi);
    for (size_t i = 0; i < ROWS; i++) {
        double x[SHARDS_FEATURES];
        y[i] = shards_row(i, x);
        model_feature_map(s->map, x, phi + i * (cols + KERNEL_LANES));
    }
    for (size_t a = 0; a < cols; a++) {
        long double mean = 0, xy = 0;
        for (size_t i = 0; i < ROWS; i++)
            mean += phi[i * (cols + KERNEL_LANES) + a] / (long double)ROWS;
        for (size_t i = 0; i < ROWS; i++)
            xy += (phi[i * (cols + KERNEL_LANES) + a] - mean) * y[i];
        assert_near(s->moments.mean.data[a], (double)mean, 1);
        assert_near(s->moments.xy.data[a], (double)xy, 1e5);
        for (size_t b = a; b < cols; b++) {
            long double gram = 0;
            for (size_t i = 0; i < ROWS; i++) {
                const double *row = phi + i * (cols + KERNEL_LANES);
                gram += (row[a] - mean) * row[b];
            }
            assert_near(s->moments.gram.data[a * cols + b], (double)gram, 1e3);
        }
    }
    free(phi);
}

static void moments_are_those_of_the_maps_features(void **state)
{
    const struct place *p = *state;
    const char *const maps[] = {p->linear, p->kernel};
    for (size_t i = 0; i < 2; i++) {
        struct stats s;
        shards_collect(&s, maps[i], STATS_ROWS, p->csv);
        assert_int_equal(s.rows, ROWS);
        assert_int_equal(s.moments.rows, ROWS);
        assert_int_equal(s.moments.cols, i == 0 ? SHARDS_FEATURES : SHARDS_CENTRES);
        assert_moments(&s);
        stats_clear(&s);
    }
}

static void histograms_count_inputs_and_predictions(void **state)
{
    const struct place *p = *state;
    struct stats s;
    double quantiles[MODEL_QUANTILES], age[ROWS], least = INFINITY, greatest = -INFINITY;
    shards_collect(&s, p->kernel, STATS_ROWS, p->csv);
    for (size_t i = 0; i < ROWS; i++) {
        double x[SHARDS_FEATURES], f;
        (void)shards_row(i, x);
        model_predict(s.map, 1, x, &f);
        age[i] = x[1];
        least = fmin(least, f);
        greatest = fmax(greatest, f);
    }
    assert_close(s.histograms[SHARDS_FEATURES].least, least, 0);
    assert_close(s.histograms[SHARDS_FEATURES].greatest, greatest, 0);
    assert_true(stats_quantiles(&s, 1, quantiles));
    for (size_t i = 0; i < MODEL_QUANTILES; i++) {
        double below = 0, upto = 0, level = ((double)i + 0.5) / MODEL_QUANTILES;
        for (size_t k = 0; k < ROWS; k++) {
            below += age[k] < quantiles[i] - 1;
            upto += age[k] <= quantiles[i] + 1;
        }
        assert_true(below / ROWS <= level && level <= upto / ROWS);
    }
    stats_clear(&s);
}

static void residuals_are_those_of_the_maps_prediction(void **state)
{
    const struct place *p = *state;
    struct stats s;
    double absolute = 0, squares = 0, mean = 0, yy = 0;
    shards_collect(&s, p->kernel, STATS_RESIDUALS, p->csv);
    uint64_t *left = s.scores;
    for (size_t i = 0; i < ROWS; i++) {
        double x[SHARDS_FEATURES], f, y = shards_row(i, x);
        const struct model_parts *parts = &s.map->parts;
        model_predict(s.map, 1, x, &f);
        absolute += fabs(y - f);
        squares += (y - f) * (y - f);
        mean += y / ROWS;
        double r = fmax(model_function_value(s.map, &parts->residual, x), parts->interval.floor);
        assert_true(left[score_cell(fabs(y - f) / r)]-- > 0);
    }
    for (size_t i = 0; i < ROWS; i++) {
        double x[SHARDS_FEATURES], y = shards_row(i, x);
        yy += (y - mean) * (y - mean);
    }
    assert_close(s.errors.absolute, absolute, 1e-12);
    assert_close(s.errors.squares, squares, 1e-12);
    assert_close(s.errors.mean_y, mean, 1e-12);
    assert_close(s.errors.yy, yy, 1e-12);
    assert_int_equal(s.moments.cols, 0);
    stats_clear(&s);
}

static void merged_residuals_are_those_of_all_rows(void **state)
{
    const struct place *p = *state;
    struct stats all, a, b;
    struct error err = {0};
    char csv[620];
    (void)snprintf(csv, sizeof csv, "%s.part", p->csv);
    shards_collect(&all, p->linear, STATS_RESIDUALS, p->csv);
    shards_write(csv, 0, 11);
    shards_collect(&a, p->linear, STATS_RESIDUALS, csv);
    shards_write(csv, 11, ROWS - 11);
    shards_collect(&b, p->linear, STATS_RESIDUALS, csv);
    assert_true(stats_merge(&a, &b, &err));
    assert_close(a.errors.absolute, all.errors.absolute, 1e-13);
    assert_close(a.errors.squares, all.errors.squares, 1e-13);
    assert_close(a.errors.mean_y, all.errors.mean_y, 1e-13);
    assert_close(a.errors.yy, all.errors.yy, 1e-13);
    assert_memory_equal(a.scores, all.scores, SCORE_CELLS * sizeof *a.scores);
    assert_false(stats_subtract(&a, &b, &err));
    assert_string_equal(err.message, "expected statistics of rows to subtract");
    stats_clear(&all);
    stats_clear(&a);
    stats_clear(&b);
}

static void what_does_not_go_together_is_refused_by_name(void **state)
{
    const struct place *p = *state;
    struct stats linear, kernel, residuals;
    struct error err = {0};
    char expected[256];
    shards_collect(&linear, p->linear, STATS_ROWS, p->csv);
    shards_collect(&kernel, p->kernel, STATS_ROWS, p->csv);
    shards_collect(&residuals, p->kernel, STATS_RESIDUALS, p->csv);
    assert_false(stats_merge(&linear, &kernel, &err));
    (void)snprintf(expected, sizeof expected,
                   "expected statistics through the map %.16s..., got the map %.16s...",
                   model_sha256(linear.map), model_sha256(kernel.map));
    assert_string_equal(err.message, expected);
    assert_false(stats_merge(&kernel, &residuals, &err));
    assert_string_equal(err.message, "expected statistics of rows, got those of residuals");
    stats_clear(&linear);
    stats_clear(&kernel);
    stats_clear(&residuals);
}

static void refuse(const struct place *p, const char *csv, enum error_code code, const char *part)
{
    struct error err = {0};
    struct stats s, fresh;
    FILE *in = fmemopen((void *)(uintptr_t)csv, strlen(csv), "r");
    assert_non_null(in);
    struct dataset *ds = dataset_new(in, "rows.csv", 1000, &err);
    assert_non_null(ds);
    shards_collect(&s, p->linear, STATS_ROWS, p->csv);
    assert_true(stats_init(&fresh, STATS_ROWS, s.map_text, s.map_bytes, &err));
    assert_false(stats_collect(&fresh, ds, NULL, NULL, &err));
    assert_contains(err.message, part);
    assert_int_equal(err.code, code);
    stats_clear(&s);
    stats_clear(&fresh);
    dataset_free(ds);
    (void)fclose(in);
}

static void rows_that_cannot_be_summed_up_are_refused(void **state)
{
    const struct place *p = *state;
    refuse(p, "income,age,price\n1,2,3\n", ERR_INVALID, "rooms");
    refuse(p, "income,age,rooms\n1,2,3\n", ERR_INVALID, "price");
    refuse(p, "income,age,rooms,price\n", ERR_INVALID, "expected at least one row");
    refuse(p, "income,age,rooms,price\n1,2,3,4\n1e308,-1e308,3,4\n", ERR_NUMERIC,
           "exceed the largest double");
    refuse(p, "income,age,rooms,price\n1,2,3,1e200\n1,2,3,-1e200\n", ERR_NUMERIC,
           "exceed the largest double");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_place, remove_place)
static const struct CMUnitTest tests[] = {
    CASE(moments_are_those_of_the_maps_features),
    CASE(histograms_count_inputs_and_predictions),
    CASE(residuals_are_those_of_the_maps_prediction),
    CASE(merged_residuals_are_those_of_all_rows),
    CASE(what_does_not_go_together_is_refused_by_name),
    CASE(rows_that_cannot_be_summed_up_are_refused),
};

T_MAIN(tests)
