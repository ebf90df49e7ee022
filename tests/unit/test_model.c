/* model_new against every part it must refuse; predictions against hand-made numbers, and
 * themselves in other batches. */
#include "model/model_internal.h"

#include "tests/support/t.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FEATURES = 3, CENTRES = 11 };

/* Valid parts in storage a case may spoil. */
struct sample {
    struct model_feature features[FEATURES];
    double coefficients[FEATURES];
    struct model_parts parts;
};

static void make_sample(struct sample *s)
{
    const struct model_figures figures = {10, 0.5, 0.75, 0.25};
    *s = (struct sample){
        .features =
            {{"rooms", {.kind = TRANSFORM_STANDARDISE, .min = 1, .max = 9, .mean = 5, .scale = 2}},
             {"age",
              {.kind = TRANSFORM_STANDARDISE, .min = 0, .max = 100, .mean = 40, .scale = 16}},
             {"grade \"A\", \xc3\xa4",
              {.kind = TRANSFORM_STANDARDISE, .min = -1, .max = 1, .mean = 0, .scale = 0.5}}},
        .coefficients = {3, -1, 0.25},
        .parts = {.name = "houses",
                  .version = "1.0-rc_2",
                  .kind = MODEL_LINEAR,
                  .target_name = "price",
                  .target_unit = "100000 USD",
                  .feature_count = FEATURES,
                  .prediction = {.intercept = 7, .coefficient_count = FEATURES},
                  .card = {.rows = 10,
                           .date = "2026-11-24",
                           .penalty = 0.5,
                           .kernel = "Haswell",
                           .threads = 1,
                           .leave_one_out = figures,
                           .holdout = figures}}};
    s->parts.features = s->features;
    s->parts.prediction.coefficients = s->coefficients;
    memset(s->parts.card.data_sha256, 'a', 64);
}

static struct model *new_model(const struct sample *s)
{
    struct error err = {0};
    struct model *model = model_new(&s->parts, &err);
    if (model == NULL)
        fail_msg("%s", err.message);
    return model;
}

static void assert_refused(const struct sample *s, enum error_code code, const char *part)
{
    struct error err = {0};
    assert_null(model_new(&s->parts, &err));
    assert_int_equal(err.code, code);
    assert_contains(err.message, part);
}

/* The same features under a kernel of eleven centres and two directions, with everything a model can
 * have. */
struct kernel_sample {
    struct sample s;
    struct kernel_direction directions[2];
    double scales[FEATURES + 2], centres[CENTRES * FEATURES];
    double coefficients[2][CENTRES], quantiles[FEATURES * MODEL_QUANTILES], scores[3];
};

static void make_kernel_sample(struct kernel_sample *k)
{
    *k = (struct kernel_sample){.directions = {{0, 1, true}, {2, 0, false}},
                                .scales = {0.5, 0.25, 0, 1, 0.125},
                                .scores = {0.5, 1, 2}};
    make_sample(&k->s);
    for (size_t i = 0; i < CENTRES * FEATURES; i++)
        k->centres[i] = (double)(i * 7919 % 40000) * 1e-4 - 2;
    for (size_t i = 0; i < 2 * CENTRES; i++)
        k->coefficients[i / CENTRES][i % CENTRES] = (double)(i * i % 17) - 8.25;
    for (size_t i = 0; i < FEATURES * MODEL_QUANTILES; i++)
        k->quantiles[i] = (double)(i % MODEL_QUANTILES) / 4;
    k->s.features[0].transform = (struct transform){.kind = TRANSFORM_LOG,
                                                    .min = 1,
                                                    .max = 9,
                                                    .mean = 1.5,
                                                    .scale = 0.5,
                                                    .offset = 0.5,
                                                    .clipped = true,
                                                    .low = 0.5,
                                                    .high = 10};
    k->s.features[1].transform.clipped = true;
    k->s.features[1].transform.low = -10;
    k->s.features[1].transform.high = 110;
    struct model_parts *parts = &k->s.parts;
    parts->kind = MODEL_KERNEL;
    parts->kernel = (struct kernel_map){FEATURES, 2, CENTRES, k->directions, k->scales, k->centres};
    parts->prediction = (struct model_function){7, k->coefficients[0], CENTRES};
    parts->residual = (struct model_function){0.5, k->coefficients[1], CENTRES};
    parts->quantiles = k->quantiles;
    parts->interval = (struct model_interval){true, 0.25, k->scores, 3};
}

/* ---- what it keeps ---- */

static void model_answers_with_the_parts_it_was_made_from(void **state)
{
    (void)state;
    struct sample s;
    double min, max;
    make_sample(&s);
    struct model *model = new_model(&s);
    assert_string_equal(model_name(model), "houses");
    assert_string_equal(model_version(model), "1.0-rc_2");
    assert_string_equal(model_kind(model), "linear");
    assert_string_equal(model_target_name(model), "price");
    assert_string_equal(model_target_unit(model), "100000 USD");
    assert_int_equal(model_feature_count(model), FEATURES);
    assert_string_equal(model_feature_name(model, 1), "age");
    model_feature_range(model, 2, &min, &max);
    assert_close(min, -1.0, 0);
    assert_close(max, 1.0, 0);
    assert_int_equal(model_card(model)->rows, 10);
    assert_string_equal(model_card(model)->kernel, "Haswell");
    assert_string_equal(model_sha256(model), "");
    assert_true(model_row_ns(model) > 0);
    model_free(model);
}

static void a_usual_value_is_the_median_or_the_transforms_centre_within_the_range(void **state)
{
    (void)state;
    double quantiles[FEATURES][MODEL_QUANTILES];
    struct sample s;
    size_t count;
    make_sample(&s);
    s.features[1].transform.mean = 1000;
    struct model *model = new_model(&s);
    assert_close(model_feature_typical(model, 0), 5, 0);
    assert_close(model_feature_typical(model, 1), 100, 0);
    assert_null(model_feature_quantiles(model, 2, &count));
    assert_int_equal(count, 0);
    assert_false(model_gives_intervals(model));
    model_free(model);
    for (size_t i = 0; i < MODEL_QUANTILES; i++)
        quantiles[0][i] = quantiles[1][i] = quantiles[2][i] = (double)i / MODEL_QUANTILES;
    s.parts.quantiles = &quantiles[0][0];
    model = new_model(&s);
    assert_close(model_feature_quantiles(model, 2, &count)[count - 1], 31.0 / 32, 0);
    assert_close(model_feature_typical(model, 2), 0.5, 0);
    assert_close(model_feature_typical(model, 0), 1, 0); /* quantiles below the range */
    model_free(model);
}

static void model_owes_nothing_to_the_parts_it_was_made_from(void **state)
{
    (void)state;
    struct sample *s = malloc(sizeof *s);
    char name[] = "houses", feature[] = "rooms";
    const double x[FEATURES] = {7, 40, 0};
    double y;
    make_sample(s);
    s->parts.name = name;
    s->features[0].name = feature;
    struct model *model = new_model(s);
    memset(name, '?', sizeof name - 1);
    memset(feature, '?', sizeof feature - 1);
    memset(s, 0xff, sizeof *s);
    free(s);
    assert_string_equal(model_name(model), "houses");
    assert_string_equal(model_feature_name(model, 0), "rooms");
    model_predict(model, 1, x, &y);
    assert_close(y, 10.0, 0);
    model_free(model);
}

static void
expected_error_is_the_residual_function_but_never_negative_and_unknown_when_far(void **state)
{
    (void)state;
    struct kernel_sample k;
    struct error err = {0};
    size_t positive = 0, negative = 0;
    make_kernel_sample(&k);
    struct model *model = model_new(&k.s.parts, &err);
    assert_non_null(model);
    for (int i = 0; i < 200; i++) {
        const double x[FEATURES] = {1 + i % 9, i % 13 * 8, i % 7};
        double error, value = model_function_value(model, &model->parts.residual, x);
        assert_true(model_expected_error(model, x, &error));
        if (isnan(error))
            continue;
        positive += value > 0;
        negative += value < 0;
        assert_true(fabs(error - fmax(value, 0)) < 1e-12);
    }
    assert_true(positive > 0 && negative > 0);
    double error = 0;
    assert_true(model_expected_error(model, (const double[FEATURES]){1, 1e6, 1e6}, &error));
    assert_true(isnan(error));
    model_free(model);
    k.s.parts.residual = (struct model_function){0.5, NULL, 0};
    k.s.parts.interval = (struct model_interval){0};
    model = model_new(&k.s.parts, &err);
    assert_non_null(model);
    assert_false(model_expected_error(model, (const double[FEATURES]){1, 1, 1}, &error));
    model_free(model);
}

static void kernel_model_owes_nothing_to_the_parts_it_was_made_from(void **state)
{
    (void)state;
    struct kernel_sample *k = malloc(sizeof *k);
    const double x[FEATURES] = {7, 40, 0};
    double y[2];
    make_kernel_sample(k);
    struct model *model = new_model(&k->s), *again;
    model_predict(model, 1, x, &y[0]);
    memset(k, 0xff, sizeof *k);
    free(k);
    assert_string_equal(model_kind(model), "kernel");
    /* Its parts make the same model, so nothing of them was lost. */
    struct error err = {0};
    again = model_new(&model->parts, &err);
    assert_non_null(again);
    model_predict(again, 1, x, &y[1]);
    assert_memory_equal(&y[0], &y[1], sizeof y[0]);
    assert_close(again->parts.interval.scores[2], 2.0, 0);
    assert_close(again->parts.quantiles[FEATURES * MODEL_QUANTILES - 1], 7.75, 0);
    model_free(model);
    model_free(again);
}

static void what_does_not_count_is_forgotten(void **state)
{
    (void)state;
    struct kernel_sample k;
    make_kernel_sample(&k);
    k.s.features[2].transform.offset = k.s.features[2].transform.low = NAN;
    k.s.features[2].transform.high = INFINITY;
    k.s.parts.interval.scaled = false;
    k.s.parts.interval.floor = NAN;
    struct model *model = new_model(&k.s);
    assert_close(model->parts.features[2].transform.offset, 0.0, 0);
    assert_close(model->parts.features[2].transform.low, 0.0, 0);
    assert_close(model->parts.features[2].transform.high, 0.0, 0);
    assert_close(model->parts.interval.floor, 0.0, 0);
    model_free(model);
    /* nor is a map part of a linear model */
    make_sample(&k.s);
    k.s.parts.kernel = (struct kernel_map){FEATURES, 2, CENTRES, k.directions, k.scales, k.centres};
    model = new_model(&k.s);
    assert_int_equal(model->parts.kernel.centre_count, 0);
    assert_null(model->parts.kernel.centres);
    model_free(model);
}

static void free_accepts_null(void **state)
{
    (void)state;
    model_free(NULL);
}

/* ---- what it refuses ---- */

static void new_refuses_names_that_do_not_fit_a_path_segment(void **state)
{
    (void)state;
    char longest[MODEL_TEXT_MAX + 2];
    struct sample s;
    make_sample(&s);
    memset(longest, 'n', sizeof longest);
    longest[MODEL_TEXT_MAX] = '\0';
    s.parts.name = longest;
    model_free(new_model(&s));
    longest[MODEL_TEXT_MAX] = 'n';
    longest[MODEL_TEXT_MAX + 1] = '\0';
    assert_refused(&s, ERR_INVALID, "name: expected 1 to 255");
    const char *const bad[] = {"", "a b", "a/b", "a:predict", "\xc3\xa4", "a\n", "a%20"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        make_sample(&s);
        s.parts.name = bad[i];
        assert_refused(&s, ERR_INVALID, "name: expected");
        make_sample(&s);
        s.parts.version = bad[i];
        assert_refused(&s, ERR_INVALID, "version: expected");
    }
}

static void new_refuses_text_that_is_not_one_line_of_utf8(void **state)
{
    (void)state;
    const char *const bad[] = {"a\nb", "a\tb", "\x7f", "\xff", "\xc3", "\xed\xa0\x80", "\xc0\xaf"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct sample s;
        make_sample(&s);
        s.features[2].name = bad[i];
        assert_refused(&s, ERR_INVALID, "features[2].name: expected");
        make_sample(&s);
        s.parts.target_name = bad[i];
        assert_refused(&s, ERR_INVALID, "target.name: expected 1");
        make_sample(&s);
        s.parts.target_unit = bad[i];
        assert_refused(&s, ERR_INVALID, "target.unit: expected 0");
        make_sample(&s);
        strcpy(s.parts.card.date, bad[i]);
        assert_refused(&s, ERR_INVALID, "card.date");
        make_sample(&s);
        strcpy(s.parts.card.kernel, bad[i]);
        assert_refused(&s, ERR_INVALID, "card.kernel");
    }
}

static void new_wants_names_where_it_can_do_without_unit_date_and_kernel(void **state)
{
    (void)state;
    struct sample s;
    make_sample(&s);
    s.parts.target_unit = "";
    s.parts.card.date[0] = s.parts.card.kernel[0] = '\0';
    model_free(new_model(&s));
    s.parts.target_name = "";
    assert_refused(&s, ERR_INVALID, "target.name");
    make_sample(&s);
    s.features[0].name = "";
    assert_refused(&s, ERR_INVALID, "features[0].name");
}

static void new_refuses_no_features_and_too_many(void **state)
{
    (void)state;
    struct sample s;
    make_sample(&s);
    s.parts.feature_count = 0;
    assert_refused(&s, ERR_INVALID, "features: expected 1 to 4096, got 0");
    /* None of them may be looked at: there are only three. */
    s.parts.feature_count = MODEL_FEATURES_MAX + 1;
    assert_refused(&s, ERR_TOO_LARGE, "got 4097");
    s.parts.feature_count = SIZE_MAX;
    assert_refused(&s, ERR_TOO_LARGE, "features");
}

static void new_refuses_a_feature_name_that_is_there_twice(void **state)
{
    (void)state;
    struct sample s;
    make_sample(&s);
    s.features[2].name = "rooms";
    assert_refused(&s, ERR_INVALID, "features: expected different names, got \"rooms\" twice");
}

static void new_refuses_a_transform_that_cannot_be_replayed(void **state)
{
    (void)state;
    struct sample s;
    make_sample(&s);
    s.features[1].transform.scale = 0;
    assert_refused(&s, ERR_INVALID, "features[1]: expected");
    make_sample(&s);
    s.features[0].transform.min = 10;
    assert_refused(&s, ERR_INVALID, "features[0]: expected");
}

static void new_refuses_coefficients_that_are_not_one_finite_number_per_feature(void **state)
{
    (void)state;
    struct sample s;
    make_sample(&s);
    s.parts.prediction.coefficient_count = 2;
    assert_refused(&s, ERR_INVALID, "parameters.coefficients: expected 3 numbers");
    s.parts.prediction.coefficient_count = SIZE_MAX;
    assert_refused(&s, ERR_INVALID, "parameters.coefficients: expected 3 numbers");
    make_sample(&s);
    s.coefficients[2] = NAN;
    assert_refused(&s, ERR_INVALID, "parameters.coefficients[2]");
    make_sample(&s);
    s.parts.prediction.intercept = -INFINITY;
    assert_refused(&s, ERR_INVALID, "parameters.intercept");
}

static void new_refuses_a_card_that_cannot_be_true(void **state)
{
    (void)state;
    struct sample s;
    make_sample(&s);
    s.parts.card.data_sha256[63] = '\0';
    assert_refused(&s, ERR_INVALID, "card.data_sha256");
    make_sample(&s);
    s.parts.card.data_sha256[5] = 'A';
    assert_refused(&s, ERR_INVALID, "card.data_sha256");
    const double penalties[] = {-1, INFINITY, NAN};
    for (size_t i = 0; i < 3; i++) {
        make_sample(&s);
        s.parts.card.penalty = penalties[i];
        assert_refused(&s, ERR_INVALID, "card.penalty");
    }
    make_sample(&s);
    s.parts.card.holdout.mae = -0.5;
    assert_refused(&s, ERR_INVALID, "card.holdout");
    make_sample(&s);
    s.parts.card.leave_one_out.r2 = 1.5;
    assert_refused(&s, ERR_INVALID, "card.leave_one_out");
    make_sample(&s);
    s.parts.card.holdout.rmse = INFINITY;
    assert_refused(&s, ERR_INVALID, "card.holdout");
    make_sample(&s);
    s.parts.card.holdout = (struct model_figures){0, NAN, NAN, NAN};
    model_free(new_model(&s));
}

static void new_refuses_a_map_that_is_not_of_its_features(void **state)
{
    (void)state;
    struct kernel_sample k;
    make_kernel_sample(&k);
    k.s.parts.kernel.inputs = FEATURES - 1;
    assert_refused(&k.s, ERR_INVALID, "map.centres: expected 3 inputs, one per feature, got 2");
    make_kernel_sample(&k);
    k.s.parts.kernel.centre_count = SIZE_MAX;
    assert_refused(&k.s, ERR_TOO_LARGE, "map.centres: expected 1 to 16384");
    make_kernel_sample(&k);
    k.scales[1] = -0.25;
    assert_refused(&k.s, ERR_INVALID, "map.scales[1]");
    make_kernel_sample(&k);
    k.centres[CENTRES * FEATURES - 1] = NAN;
    assert_refused(&k.s, ERR_INVALID, "map.centres[32]");
}

static void new_refuses_functions_that_do_not_fit_the_map(void **state)
{
    (void)state;
    struct kernel_sample k;
    make_kernel_sample(&k);
    k.s.parts.prediction.coefficient_count = CENTRES - 1;
    assert_refused(&k.s, ERR_INVALID,
                   "parameters.coefficients: expected 11 numbers, one per centre, got 10");
    make_kernel_sample(&k);
    k.s.parts.residual.coefficient_count = CENTRES + 1;
    assert_refused(&k.s, ERR_INVALID, "residual.coefficients: expected 11");
    make_kernel_sample(&k);
    k.coefficients[1][4] = INFINITY;
    assert_refused(&k.s, ERR_INVALID, "residual.coefficients[4]: expected a finite number");
    make_kernel_sample(&k);
    k.s.parts.residual.intercept = NAN;
    assert_refused(&k.s, ERR_INVALID, "residual.intercept");
}

static void new_refuses_quantiles_and_scores_that_do_not_ascend(void **state)
{
    (void)state;
    struct kernel_sample k;
    make_kernel_sample(&k);
    k.quantiles[MODEL_QUANTILES + 3] = -1;
    assert_refused(&k.s, ERR_INVALID, "quantiles[1]: expected finite, ascending numbers");
    make_kernel_sample(&k);
    k.quantiles[0] = -INFINITY;
    assert_refused(&k.s, ERR_INVALID, "quantiles[0]");
    make_kernel_sample(&k);
    k.scores[2] = 0.75;
    assert_refused(&k.s, ERR_INVALID, "interval.scores[2]");
    make_kernel_sample(&k);
    k.scores[0] = -0.5;
    assert_refused(&k.s, ERR_INVALID, "interval.scores[0]");
    make_kernel_sample(&k);
    k.s.parts.interval.floor = 0;
    assert_refused(&k.s, ERR_INVALID, "interval.floor: expected a number > 0");
    make_kernel_sample(&k);
    k.s.parts.interval.score_count = MODEL_SCORES_MAX + 1;
    assert_refused(&k.s, ERR_TOO_LARGE, "interval.scores: expected at most 999");
}

/* ---- what it predicts ---- */

static void prediction_is_intercept_plus_coefficients_times_standardised_values(void **state)
{
    (void)state;
    struct sample s;
    const double x[] = {7, 40, 0, 5, 56, 0, 5, 40, 2, 5, 40, 0};
    double y[4];
    make_sample(&s);
    struct model *model = new_model(&s);
    model_predict(model, 4, x, y);
    assert_close(y[0], 10.0, 0); /* 7 + 3 * (7 - 5) / 2 */
    assert_close(y[1], 6.0, 0);  /* 7 - 1 * (56 - 40) / 16 */
    assert_close(y[2], 8.0, 0);  /* 7 + 0.25 * 2 / 0.5: far out of range, not clipped */
    assert_close(y[3], 7.0, 0);
    model_predict(model, 0, x, y);
    model_free(model);
}

static uint64_t next_random(uint64_t *seed)
{
    return *seed = *seed * 6364136223846793005u + 1442695040888963407u;
}

static double uniform(uint64_t *seed)
{
    return (double)(next_random(seed) >> 11) * 0x1p-53;
}

/* A model of many features whose coefficients do not cancel nicely. */
static struct model *wide_model(size_t features, uint64_t *seed)
{
    struct sample s;
    char names[64][8];
    struct model_feature feature[64];
    double coefficients[64];
    make_sample(&s);
    for (size_t j = 0; j < features; j++) {
        (void)snprintf(names[j], sizeof names[j], "f%zu", j);
        feature[j] = (struct model_feature){names[j],
                                            {.kind = TRANSFORM_STANDARDISE,
                                             .min = 0,
                                             .max = 1,
                                             .mean = uniform(seed),
                                             .scale = 0.1 + uniform(seed)}};
        coefficients[j] = (uniform(seed) - 0.5) * pow(10, 6 * uniform(seed));
    }
    s.parts.features = feature;
    s.parts.feature_count = s.parts.prediction.coefficient_count = features;
    s.parts.prediction.coefficients = coefficients;
    return new_model(&s);
}

static void row_has_the_same_bits_alone_and_anywhere_in_any_batch(void **state)
{
    (void)state;
    enum { ROWS = 67, MOST = 61 };
    uint64_t seed = 7;
    for (size_t features = 1; features <= MOST; features += 6) {
        double x[ROWS * MOST + 1], whole[ROWS], part[ROWS];
        struct model *model = wide_model(features, &seed);
        for (size_t i = 0; i < ROWS * features; i++)
            x[i] = uniform(&seed);
        model_predict(model, ROWS, x, whole);
        for (size_t first = 0; first < ROWS; first++)
            for (size_t n = 1; first + n <= ROWS; n += 1 + n / 2) {
                model_predict(model, n, x + first * features, part);
                assert_memory_equal(part, whole + first, n * sizeof *part);
            }
        /* Nor does it matter how the row is aligned. */
        memmove(x + 1, x, ROWS * features * sizeof *x);
        model_predict(model, ROWS, x + 1, part);
        assert_memory_equal(part, whole, sizeof whole);
        model_free(model);
    }
}

static void predict_reads_no_value_behind_the_last_row(void **state)
{
    (void)state;
    struct sample s;
    const double rows[] = {7, 40, 0, 5, 56, 0};
    make_sample(&s);
    struct model *model = new_model(&s);
    char *x = t_guarded(rows, sizeof rows), *y = t_guarded(rows, 2 * sizeof *rows);
    model_predict(model, 2, (const double *)(void *)x, (double *)(void *)y);
    assert_close(((double *)(void *)y)[1], 6.0, 0);
    t_guarded_free(x, sizeof rows);
    t_guarded_free(y, 2 * sizeof *rows);
    model_free(model);
}

static double kernel_by_hand(const struct kernel_sample *k, const double *u)
{
    double sum = 7;
    for (size_t m = 0; m < CENTRES; m++) {
        const double *z = k->centres + m * FEATURES;
        sum += k->coefficients[0][m] *
               exp(-(0.5 * fabs(u[0] - z[0]) + 0.25 * fabs(u[1] - z[1]) +
                     fabs(u[0] - u[1] - z[0] + z[1]) + 0.125 * fabs(u[2] + u[0] - z[2] - z[0])));
    }
    return sum;
}

static void kernel_prediction_is_the_formula_over_clipped_and_logged_values(void **state)
{
    (void)state;
    struct kernel_sample k;
    const double x[][FEATURES] = {{7, 40, 0},       {1, 99, -0.75}, {10, -10, 0},
                                  {1e9, -1e300, 0}, {-3, 1e300, 0}, {0.5, 110, 0}};
    const double same[][2] = {{2, 3}, {4, 5}}; /* what clipping makes equal */
    double y[6];
    make_kernel_sample(&k);
    struct model *model = new_model(&k.s);
    model_predict(model, 6, x[0], y);
    for (size_t i = 0; i < 3; i++) {
        const double u[] = {(log(x[i][0] + 0.5) - 1.5) / 0.5, (x[i][1] - 40) / 16, x[i][2] / 0.5};
        assert_close(y[i], kernel_by_hand(&k, u), 1e-13);
    }
    for (size_t i = 0; i < 2; i++)
        assert_close(y[(size_t)same[i][0]], y[(size_t)same[i][1]], 0);
    model_free(model);
}

static void clipped_counts_the_values_outside_what_is_kept(void **state)
{
    (void)state;
    struct kernel_sample k;
    /* The ends themselves are inside, and the third feature keeps everything. */
    const double x[] = {0.5, 110, 1e300, 10, -10, 0, 0.49, 111, 0, -DBL_MAX, 0, -1e300};
    make_kernel_sample(&k);
    struct model *model = new_model(&k.s);
    assert_int_equal(model_clipped(model, 2, x), 0);
    assert_int_equal(model_clipped(model, 4, x), 3);
    assert_int_equal(model_clipped(model, 0, x), 0);
    model_free(model);
    make_sample(&k.s);
    model = new_model(&k.s);
    assert_int_equal(model_clipped(model, 4, x), 0);
    model_free(model);
}

static void kernel_prediction_of_the_most_extreme_rows_is_a_number(void **state)
{
    (void)state;
    struct kernel_sample k;
    const double far[] = {DBL_MAX, -DBL_MAX, 1e300, -1e10, 0, 4.9e-324};
    make_kernel_sample(&k);
    k.s.features[1].transform.clipped = false;
    k.s.features[1].transform.scale = 1e-300; /* so that u overflows, too */
    struct model *model = new_model(&k.s);
    for (size_t i = 0; i < 6 * 6 * 6; i++) {
        const double x[FEATURES] = {far[i % 6], far[i / 6 % 6], far[i / 36]};
        double y;
        model_predict(model, 1, x, &y);
        assert_true(isfinite(y));
    }
    model_free(model);
}

static void constant_column_does_not_move_a_kernel_prediction(void **state)
{
    (void)state;
    struct kernel_sample k;
    double y[2];
    make_kernel_sample(&k);
    /* what training leaves of it: one value, scale 1, clipped to where it was */
    k.s.features[1].transform = (struct transform){.kind = TRANSFORM_STANDARDISE,
                                                   .min = 5,
                                                   .max = 5,
                                                   .mean = 5,
                                                   .scale = 1,
                                                   .clipped = true,
                                                   .low = 5,
                                                   .high = 5};
    struct model *model = new_model(&k.s);
    const double x[] = {7, 5, 0, 7, 1e9, 0};
    model_predict(model, 2, x, y);
    assert_close(y[0], y[1], 0);
    assert_true(isfinite(y[0]));
    model_free(model);
}

static void kernel_row_has_the_same_bits_alone_and_anywhere_in_any_batch(void **state)
{
    (void)state;
    enum { ROWS = 40 };
    struct kernel_sample k;
    uint64_t seed = 9;
    double x[ROWS * FEATURES], whole[ROWS], part[ROWS];
    make_kernel_sample(&k);
    struct model *model = new_model(&k.s);
    for (size_t i = 0; i < ROWS * FEATURES; i++)
        x[i] = 10 * uniform(&seed);
    model_predict(model, ROWS, x, whole);
    for (size_t first = 0; first < ROWS; first++)
        for (size_t n = 1; first + n <= ROWS; n += 1 + n / 2) {
            model_predict(model, n, x + first * FEATURES, part);
            assert_memory_equal(part, whole + first, n * sizeof *part);
        }
    model_free(model);
}

static void prediction_that_overflows_is_left_to_the_caller(void **state)
{
    (void)state;
    struct sample s;
    const double x[FEATURES] = {1.7e308, 40, 0};
    double y;
    make_sample(&s);
    s.coefficients[0] = 1e300;
    struct model *model = new_model(&s);
    model_predict(model, 1, x, &y);
    assert_true(isinf(y));
    model_free(model);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(model_answers_with_the_parts_it_was_made_from),
    cmocka_unit_test(a_usual_value_is_the_median_or_the_transforms_centre_within_the_range),
    cmocka_unit_test(model_owes_nothing_to_the_parts_it_was_made_from),
    cmocka_unit_test(
        expected_error_is_the_residual_function_but_never_negative_and_unknown_when_far),
    cmocka_unit_test(kernel_model_owes_nothing_to_the_parts_it_was_made_from),
    cmocka_unit_test(what_does_not_count_is_forgotten),
    cmocka_unit_test(free_accepts_null),
    cmocka_unit_test(new_refuses_names_that_do_not_fit_a_path_segment),
    cmocka_unit_test(new_refuses_text_that_is_not_one_line_of_utf8),
    cmocka_unit_test(new_wants_names_where_it_can_do_without_unit_date_and_kernel),
    cmocka_unit_test(new_refuses_no_features_and_too_many),
    cmocka_unit_test(new_refuses_a_feature_name_that_is_there_twice),
    cmocka_unit_test(new_refuses_a_transform_that_cannot_be_replayed),
    cmocka_unit_test(new_refuses_coefficients_that_are_not_one_finite_number_per_feature),
    cmocka_unit_test(new_refuses_a_card_that_cannot_be_true),
    cmocka_unit_test(new_refuses_a_map_that_is_not_of_its_features),
    cmocka_unit_test(new_refuses_functions_that_do_not_fit_the_map),
    cmocka_unit_test(new_refuses_quantiles_and_scores_that_do_not_ascend),
    cmocka_unit_test(prediction_is_intercept_plus_coefficients_times_standardised_values),
    cmocka_unit_test(row_has_the_same_bits_alone_and_anywhere_in_any_batch),
    cmocka_unit_test(predict_reads_no_value_behind_the_last_row),
    cmocka_unit_test(kernel_prediction_is_the_formula_over_clipped_and_logged_values),
    cmocka_unit_test(clipped_counts_the_values_outside_what_is_kept),
    cmocka_unit_test(kernel_prediction_of_the_most_extreme_rows_is_a_number),
    cmocka_unit_test(constant_column_does_not_move_a_kernel_prediction),
    cmocka_unit_test(kernel_row_has_the_same_bits_alone_and_anywhere_in_any_batch),
    cmocka_unit_test(prediction_that_overflows_is_left_to_the_caller),
};

T_MAIN(tests)
