/* Drift that is not there must not be seen, drift that is must be, whatever the distribution. */
#include "model/drift.h"

#include "model/model_internal.h"
#include "tests/support/t.h"

#include <float.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FEATURES = 3, POINTS = MODEL_QUANTILES, TRAINING = 20000 };
#define HOUR ((uint64_t)3600 * 1000000000)

typedef double draw(uint64_t *seed);

static double uniform(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return (double)(*seed >> 11) * 0x1p-53;
}

static double normal(uint64_t *seed)
{
    double radius = sqrt(-2 * log(1 - uniform(seed)));
    return radius * cos(6.283185307179586 * uniform(seed));
}

static double coin(uint64_t *seed)
{
    return uniform(seed) < 0.5;
}

static double years(uint64_t *seed) /* whole numbers of about 2 % each, 6 % in the last: HouseAge */
{
    return fmin(floor(1 + 54 * uniform(seed)), 52);
}

static double counts_of_few(uint64_t *seed) /* 95 % zeros */
{
    return floor(fmax(0, 20 * (uniform(seed) - 0.95)) * 5);
}

static double constant(uint64_t *seed)
{
    (void)uniform(seed);
    return 7.25;
}

static double capped(uint64_t *seed) /* continuous with a tenth of the mass at one end */
{
    return fmin(uniform(seed), 0.9);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The artifact's quantiles of TRAINING draws. */
static void learn(draw *from, uint64_t seed, double *quantiles)
{
    static double values[TRAINING];
    for (size_t i = 0; i < TRAINING; i++)
        values[i] = from(&seed);
    qsort(values, TRAINING, sizeof *values, ascending);
    for (size_t i = 0; i < POINTS; i++)
        quantiles[i] = values[(2 * i + 1) * TRAINING / (2 * POINTS)];
}

static struct model_parts parts_of(const struct model_feature *features, const double *coefficients,
                                   size_t count, const double *quantiles)
{
    struct model_parts parts = {
        .name = "m",
        .version = "1",
        .kind = MODEL_LINEAR,
        .target_name = "y",
        .target_unit = "",
        .features = features,
        .feature_count = count,
        .quantiles = quantiles,
        .prediction = {.coefficients = coefficients, .coefficient_count = count},
        .card = {.rows = 10, .penalty = 1, .kernel = "x", .threads = 1}};
    memset(parts.card.data_sha256, 'a', 64);
    return parts;
}

/* A model with these quantiles(FEATURES, POINTS), or with none. */
static struct model *new_model(const double *quantiles)
{
    struct error err = {0};
    const double coefficients[FEATURES] = {1, 1, 1};
    struct model_feature features[FEATURES] = {{.name = "a"}, {.name = "b"}, {.name = "c"}};
    for (size_t j = 0; j < FEATURES; j++)
        features[j].transform = (struct transform){
            .min = -1, .max = 1, .scale = 1, .clipped = true, .low = -2, .high = 2};
    struct model_parts parts = parts_of(features, coefficients, FEATURES, quantiles);
    struct model *model = model_new(&parts, &err);
    if (model == NULL)
        fail_msg("%s", err.message);
    return model;
}

static struct drift *new_drift(const struct model *model, unsigned shards, uint64_t window_ns,
                               const double *prediction_quantiles)
{
    struct error err = {0};
    struct drift_config config = {shards, window_ns, prediction_quantiles};
    struct drift *drift = drift_new(model, &config, &err);
    if (drift == NULL)
        fail_msg("%s", err.message);
    return drift;
}

/* Figures of a feature that was learnt from one distribution and is asked with another, moved. */
static struct drift_figures watch(draw *learnt, draw *asked, double moved, size_t rows,
                                  uint64_t seed)
{
    double quantiles[FEATURES * POINTS];
    struct drift_figures features[FEATURES], prediction;
    learn(learnt, 77, quantiles);
    for (size_t j = 1; j < FEATURES; j++)
        memcpy(quantiles + j * POINTS, quantiles, POINTS * sizeof *quantiles);
    struct model *model = new_model(quantiles);
    struct drift *drift = new_drift(model, 1, HOUR, quantiles);
    for (size_t i = 0; i < rows; i++) {
        double x[FEATURES] = {asked(&seed) + moved, 0, 0};
        drift_add(drift, 0, HOUR, 1, x, x);
    }
    drift_read(drift, HOUR, features, &prediction);
    assert_int_equal(features[0].rows, rows);
    assert_close(prediction.psi, features[0].psi,
                 0); /* the same values against the same reference */
    drift_free(drift);
    model_free(model);
    return features[0];
}

static draw *const distributions[] = {normal,        uniform,  coin,  years,
                                      counts_of_few, constant, capped};
enum { DISTRIBUTIONS = sizeof distributions / sizeof *distributions };

static void rows_like_the_training_rows_stay_below_a_tenth(void **state)
{
    (void)state;
    double psi = 0, ks = 0;
    for (size_t d = 0; d < DISTRIBUTIONS; d++)
        for (uint64_t seed = 1; seed <= 20; seed++) {
            struct drift_figures f =
                watch(distributions[d], distributions[d], 0, DRIFT_ROWS_MIN, seed * 1000003);
            psi = fmax(psi, f.psi);
            ks = fmax(ks, f.ks);
        }
    print_message("without drift, %d rows: PSI up to %.3f, KS up to %.3f\n", DRIFT_ROWS_MIN, psi,
                  ks);
    assert_true(psi < 0.1);
    assert_true(ks < 0.09); /* Kolmogorov: above 1.95 / sqrt(500) once in a thousand times */
}

/* With many rows nothing is left but what the reference does not know: for whole numbers, too, no bias. */
static void figures_vanish_with_many_rows_of_no_drift(void **state)
{
    (void)state;
    for (size_t d = 0; d < DISTRIBUTIONS; d++) {
        struct drift_figures f = watch(distributions[d], distributions[d], 0, 100000, 5);
        assert_true(f.psi >= 0 && f.psi < 0.002);
        assert_true(f.ks < 0.015);
    }
}

static void a_shift_of_one_sigma_is_above_a_quarter_and_ks_is_near_its_true_value(void **state)
{
    (void)state;
    struct drift_figures f = watch(normal, normal, 1, 1000, 9);
    assert_true(f.psi > 0.25);
    assert_close(f.ks, 0.3829, 0.1); /* 2 Phi(1/2) - 1 */
    f = watch(normal, normal, 1, 100000, 9);
    assert_close(f.psi, 0.94, 0.05); /* of these 11 cells; 1 of infinitely many */
}

static double unfair_coin(uint64_t *seed)
{
    return uniform(seed) < 0.9;
}

static double bent_coin(uint64_t *seed)
{
    return uniform(seed) < 0.6;
}

static void discrete_features_that_drift_are_seen(void **state)
{
    (void)state;
    /* True PSI of two values: 0.878 and 0.041. */
    struct drift_figures f = watch(coin, unfair_coin, 0, 20000, 3);
    assert_close(f.ks, 0.4, 0.06); /* the levels are 1/32 apart */
    assert_true(f.psi > 0.5 && f.psi < 1.7);
    f = watch(coin, bent_coin, 0, 20000, 3);
    assert_true(f.psi > 0.02 && f.psi < 0.08);
    f = watch(years, years, 15, 1000, 3);
    assert_true(f.psi > 0.25 && f.ks > 0.2);
    f = watch(constant, constant, 1e-9, 1000, 3);
    assert_true(f.psi > 1 && f.ks > 0.95);
    f = watch(counts_of_few, constant, 0, 1000, 3);
    assert_true(f.psi > 0.25 && f.ks > 0.9);
}

static void empty_cells_cost_a_stated_amount_not_infinity(void **state)
{
    (void)state;
    struct drift_figures f = watch(uniform, uniform, 5, 1000, 3);
    /* all above: e = 2.5/32 in the last cell, nothing anywhere else */
    double n = 1000, last = 2.5 / 32, expected = 0;
    for (int k = 0; k < 11; k++) {
        double e = k == 0 || k == 10 ? last : 3.0 / 32;
        double a = ((k == 10 ? n : 0) + 11 * e) / (n + 11);
        expected += (a - e) * log(a / e);
    }
    assert_close(f.psi, expected, 1e-12);
    assert_close(f.ks, 31.5 / 32, 1e-15);
}

static void there_is_no_figure_below_the_least_rows_or_without_reference(void **state)
{
    (void)state;
    struct drift_figures features[FEATURES], prediction;
    double x[FEATURES] = {0.5, 0.5, 0.5};
    struct model *model = new_model(NULL);
    struct drift *drift = new_drift(model, 1, HOUR, NULL);
    for (size_t i = 0; i < 2 * DRIFT_ROWS_MIN; i++)
        drift_add(drift, 0, 0, 1, x, x);
    drift_read(drift, 0, features, &prediction);
    assert_true(isnan(features[0].psi) && isnan(features[0].ks) && isnan(prediction.psi));
    drift_free(drift);
    model_free(model);
    struct drift_figures f = watch(uniform, uniform, 0, DRIFT_ROWS_MIN - 1, 1);
    assert_true(isnan(f.psi) && isnan(f.ks));
}

static void only_the_feature_that_moved_is_named(void **state)
{
    (void)state;
    double quantiles[FEATURES * POINTS];
    struct drift_figures f[FEATURES], prediction;
    uint64_t seed = 21;
    for (size_t j = 0; j < FEATURES; j++)
        learn(normal, j + 1, quantiles + j * POINTS);
    struct model *model = new_model(quantiles);
    struct drift *drift = new_drift(model, 2, HOUR, NULL);
    for (size_t i = 0; i < 2000; i++) {
        double x[FEATURES] = {normal(&seed), normal(&seed) + 1, normal(&seed)};
        drift_add(drift, i % 2, 0, 1, x, x);
    }
    drift_read(drift, 0, f, &prediction);
    assert_true(f[1].psi > 0.25 && f[0].psi < 0.1 && f[2].psi < 0.1);
    assert_true(f[1].ks > 0.25 && f[0].ks < 0.05 && f[2].ks < 0.05);
    drift_free(drift);
    model_free(model);
}

static void rows_leave_with_their_sub_window(void **state)
{
    (void)state;
    double quantiles[FEATURES * POINTS];
    struct drift_figures f[FEATURES], prediction;
    const double x[FEATURES] = {0, 0, 0};
    uint64_t span = HOUR / DRIFT_SUBWINDOWS;
    for (size_t j = 0; j < FEATURES; j++)
        learn(normal, j + 1, quantiles + j * POINTS);
    struct model *model = new_model(quantiles);
    struct drift *drift = new_drift(model, 2, HOUR, NULL);
    for (uint64_t t = 0; t < 40; t++)
        for (size_t i = 0; i < 100; i++)
            drift_add(drift, 0, t * span, 1, x, x);
    drift_read(drift, 39 * span, f, &prediction);
    assert_int_equal(f[0].rows, 8 * 100);
    drift_add(drift, 1, 40 * span, 1, x, x); /* the other shard has seen the next one begin */
    drift_read(drift, 40 * span, f, &prediction);
    assert_int_equal(f[0].rows, 7 * 100 + 1);
    drift_add(drift, 0, 3 * span, 1, x, x); /* a little late: counted in the newest */
    drift_read(drift, 46 * span, f, &prediction);
    assert_int_equal(f[0].rows, 100 + 2);
    drift_read(drift, 48 * span, f, &prediction);
    assert_int_equal(f[0].rows, 0);
    assert_true(isnan(f[0].psi));
    drift_add(drift, 0, 1000 * span, 1, x, x); /* after a long silence */
    drift_read(drift, 1000 * span, f, &prediction);
    assert_int_equal(f[0].rows, 1);
    drift_free(drift);
    model_free(model);
}

static void values_out_of_range_and_clipped_are_counted_for_good(void **state)
{
    (void)state;
    struct drift_figures f[FEATURES], prediction;
    struct model *model = new_model(NULL);
    struct drift *drift = new_drift(model, 2, HOUR, NULL);
    const double rows[][FEATURES] = {{1, -1, 0}, {1.5, -1.5, 2}, {2.5, -3, 0}, {INFINITY, NAN, 0}};
    for (size_t i = 0; i < 4; i++)
        drift_add(drift, i % 2, 0, 1, rows[i], rows[i]);
    drift_read(drift, 100 * HOUR, f, &prediction);
    assert_int_equal(f[0].out_of_range, 3);
    assert_int_equal(f[0].clipped, 2);
    assert_int_equal(f[1].out_of_range, 2);
    assert_int_equal(f[1].clipped, 1);
    assert_int_equal(f[2].out_of_range, 1);
    assert_int_equal(f[2].clipped, 0);
    assert_int_equal(prediction.out_of_range, 0);
    drift_free(drift);
    model_free(model);
}

static void a_request_enters_with_at_most_256_rows(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 2, 31, 1000, 16384, 16385, 100000};
    enum { MOST = 100000 };
    double *x = calloc(MOST * FEATURES, sizeof *x), *y = calloc(MOST, sizeof *y);
    double quantiles[FEATURES * POINTS];
    struct drift_figures f[FEATURES], prediction;
    assert_true(x != NULL && y != NULL);
    learn(normal, 1, quantiles);
    memcpy(quantiles + POINTS, quantiles, POINTS * sizeof *quantiles);
    memcpy(quantiles + 2 * POINTS, quantiles, POINTS * sizeof *quantiles);
    struct model *model = new_model(quantiles);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct drift *drift = new_drift(model, 1, HOUR, NULL);
        for (int request = 0; request < 10; request++)
            drift_add(drift, 0, 0, sizes[i], x, y);
        drift_read(drift, 0, f, &prediction);
        /* 10 values and a 64th; 4 columns with the prediction */
        double fair = fmin((double)sizes[i], (10 + (double)sizes[i] * 4 / 64) / 4);
        assert_true((double)f[0].rows <= 10 * fmin(fair, 256) + 1);
        assert_true((double)f[0].rows >= 8 * fmin(floor(fair), 256));
        drift_free(drift);
    }
    model_free(model);
    free(x);
    free(y);
}

/* A row of a hundred features costs more to count than to answer: not every request pays it. */
static void wide_rows_are_counted_less_often(void **state)
{
    (void)state;
    enum { WIDE = 100 };
    static double coefficients[WIDE], quantiles[WIDE * POINTS], x[WIDE];
    static struct drift_figures f[WIDE];
    static char names[WIDE][8];
    struct model_feature features[WIDE];
    struct drift_figures prediction;
    struct error err = {0};
    for (size_t j = 0; j < WIDE; j++) {
        (void)snprintf(names[j], sizeof names[j], "f%zu", j);
        features[j] = (struct model_feature){names[j], {.max = 1, .scale = 1}};
    }
    struct model_parts parts = parts_of(features, coefficients, WIDE, quantiles);
    struct model *model = model_new(&parts, &err);
    assert_non_null(model);
    struct drift *drift = new_drift(model, 1, HOUR, NULL);
    for (int request = 0; request < 1000; request++)
        drift_add(drift, 0, 0, 1, x, x);
    drift_read(drift, 0, f, &prediction);
    assert_int_equal(f[WIDE - 1].rows, 1000 * (10 + 101 / 64) / 101);
    drift_free(drift);
    model_free(model);
}

/* Were only first rows counted, clients that sort their rows would cause drift. */
static void every_place_in_a_request_is_seen(void **state)
{
    (void)state;
    enum { ROWS = 40, STRIDE = 14, REQUESTS = 200 * STRIDE };
    double quantiles[FEATURES * POINTS], x[ROWS * FEATURES] = {0}, y[ROWS] = {0};
    struct drift_figures f[FEATURES], prediction;
    for (size_t i = 0; i < FEATURES * POINTS; i++)
        quantiles[i] = ((double)(i % POINTS) + 0.5) / POINTS;
    for (size_t i = 0; i < ROWS; i++)
        x[i * FEATURES] = ((double)i + 0.5) / ROWS;
    struct model *model = new_model(quantiles);
    struct drift *drift = new_drift(model, 1, HOUR, NULL);
    for (size_t i = 0; i < REQUESTS; i++)
        drift_add(drift, 0, 0, ROWS, x, y);
    drift_read(drift, 0, f, &prediction);
    assert_int_equal(f[0].rows, REQUESTS / STRIDE * ROWS);
    assert_true(f[0].ks < 0.02 && f[0].psi < 0.02);
    drift_free(drift);
    model_free(model);
}

static void a_value_at_a_point_counts_as_half_below_at_most(void **state)
{
    (void)state;
    double quantiles[FEATURES * POINTS];
    struct drift_figures f[FEATURES], prediction;
    for (size_t i = 0; i < FEATURES * POINTS; i++)
        quantiles[i] = (double)(i % POINTS);
    struct model *model = new_model(quantiles);
    struct drift *drift = new_drift(model, 1, HOUR, NULL);
    /* 32 of each point: the share up to point i is (i + 1) / 32, below it i / 32: l_i lies between */
    for (size_t i = 0; i < 1024; i++) {
        double x[FEATURES] = {(double)(i % 32), nextafter((double)(i % 32), -DBL_MAX),
                              nextafter((double)(i % 32), DBL_MAX)};
        drift_add(drift, 0, 0, 1, x, x);
    }
    drift_read(drift, 0, f, &prediction);
    assert_close(f[0].ks, 0.0, 0);
    assert_close(f[1].ks, 0.5 / 32, 1e-12); /* all just below: every share is half a level high */
    assert_close(f[2].ks, 0.5 / 32, 1e-12);
    drift_free(drift);
    model_free(model);
}

static void no_shards_or_no_window_is_refused(void **state)
{
    (void)state;
    struct model *model = new_model(NULL);
    const struct drift_config bad[] = {{0, HOUR, NULL}, {1, 7, NULL}};
    for (size_t i = 0; i < 2; i++) {
        struct error err = {0};
        assert_null(drift_new(model, &bad[i], &err));
        assert_int_equal(err.code, ERR_INVALID);
    }
    drift_free(NULL);
    model_free(model);
}

enum { WRITERS = 3, WRITES = 10000 };

struct writer {
    struct drift *drift;
    unsigned shard;
    _Atomic int *left;
};

static void *add_many(void *arg)
{
    const struct writer *writer = arg;
    uint64_t seed = 100 + writer->shard;
    for (uint64_t i = 0; i < WRITES; i++) {
        double x[FEATURES] = {normal(&seed), normal(&seed), normal(&seed)};
        drift_add(writer->drift, writer->shard, i * 1000, 1, x, x);
    }
    (void)atomic_fetch_sub(writer->left, 1);
    return NULL;
}

static void shards_count_while_another_thread_reads(void **state)
{
    (void)state;
    double quantiles[FEATURES * POINTS];
    struct drift_figures f[FEATURES], prediction;
    struct writer writers[WRITERS];
    pthread_t threads[WRITERS];
    _Atomic int left = WRITERS;
    for (size_t j = 0; j < FEATURES; j++)
        learn(normal, j + 1, quantiles + j * POINTS);
    struct model *model = new_model(quantiles);
    /* 20 sub-windows pass */
    struct drift *drift =
        new_drift(model, WRITERS, WRITES * 1000 / 20 * DRIFT_SUBWINDOWS, quantiles);
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){drift, i, &left};
        assert_int_equal(pthread_create(&threads[i], NULL, add_many, &writers[i]), 0);
    }
    while (atomic_load(&left) > 0) {
        drift_read(drift, WRITES * 1000, f, &prediction);
        assert_true(isnan(f[1].psi) || f[1].psi < 0.1);
    }
    for (size_t i = 0; i < WRITERS; i++)
        (void)pthread_join(threads[i], NULL);
    drift_read(drift, WRITES * 1000 - 1, f, &prediction);
    assert_int_equal(f[2].rows, WRITERS * WRITES / 20 * DRIFT_SUBWINDOWS);
    drift_free(drift);
    model_free(model);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(rows_like_the_training_rows_stay_below_a_tenth),
    cmocka_unit_test(figures_vanish_with_many_rows_of_no_drift),
    cmocka_unit_test(a_shift_of_one_sigma_is_above_a_quarter_and_ks_is_near_its_true_value),
    cmocka_unit_test(discrete_features_that_drift_are_seen),
    cmocka_unit_test(empty_cells_cost_a_stated_amount_not_infinity),
    cmocka_unit_test(there_is_no_figure_below_the_least_rows_or_without_reference),
    cmocka_unit_test(only_the_feature_that_moved_is_named),
    cmocka_unit_test(rows_leave_with_their_sub_window),
    cmocka_unit_test(values_out_of_range_and_clipped_are_counted_for_good),
    cmocka_unit_test(a_request_enters_with_at_most_256_rows),
    cmocka_unit_test(wide_rows_are_counted_less_often),
    cmocka_unit_test(every_place_in_a_request_is_seen),
    cmocka_unit_test(a_value_at_a_point_counts_as_half_below_at_most),
    cmocka_unit_test(no_shards_or_no_window_is_refused),
    cmocka_unit_test(shards_count_while_another_thread_reads),
};

T_MAIN(tests)
