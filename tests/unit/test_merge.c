/* Models from parts against fits that see all rows, and intervals from parts against the rows they are
 * to cover. */
#include "model/merge.h"

#include "model/interval.h"
#include "model/model_file.h"
#include "model/stats_file.h"
#include "tests/support/process.h"
#include "tests/support/shards.h"
#include "tests/support/t.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 500, PARTS = 4, PATH_MAX_BYTES = 600, FRESH = 10000 /* rows in no part */ };

static const size_t part_begin[PARTS + 1] = {0, 7, 200, 320, ROWS};

/* A folder with a map and the statistics of every part. */
struct place {
    char folder[512], map[PATH_MAX_BYTES], csv[PATH_MAX_BYTES];
    char parts[PARTS][PATH_MAX_BYTES], other[PATH_MAX_BYTES];
    const char *list[PARTS];
};

static void make_parts(struct place *p, enum model_kind kind, double penalty)
{
    shards_write_map(p->map, kind, penalty);
    for (size_t k = 0; k < PARTS; k++) {
        (void)snprintf(p->parts[k], sizeof p->parts[k], "%s/part-%zu.stats", p->folder, k);
        p->list[k] = p->parts[k];
        shards_write(p->csv, part_begin[k], part_begin[k + 1] - part_begin[k]);
        shards_stats(p->map, STATS_ROWS, p->csv, p->parts[k]);
    }
}

static int make_place(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    assert_non_null(p);
    process_folder(p->folder, sizeof p->folder);
    (void)snprintf(p->map, sizeof p->map, "%s/map.json", p->folder);
    (void)snprintf(p->csv, sizeof p->csv, "%s/rows.csv", p->folder);
    (void)snprintf(p->other, sizeof p->other, "%s/other.stats", p->folder);
    make_parts(p, MODEL_KERNEL, 0.5);
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

static struct merge_options options_of(const struct place *p, enum merge_penalty choice)
{
    return (struct merge_options){.parts = p->list, .part_count = PARTS, .choice = choice};
}

static struct model *merge_or_fail(const struct merge_options *options)
{
    struct error err = {0};
    struct model *model = merge(options, &err);
    if (model == NULL)
        fail_msg("%s", err.message);
    return model;
}

static void refuse(const struct merge_options *options, const char *part)
{
    struct error err = {0};
    assert_null(merge(options, &err));
    assert_contains(err.message, part);
}

/* ---- the fit that sees the rows ---- */

/* Rows begin .. end - 1 of the table, without those from hole_begin to hole_end - 1. */
struct rows {
    const struct model *map;
    size_t hole_begin, hole_end;
};

static bool read_rows(void *ctx, uint64_t first, size_t max_rows, double *x, double *y,
                      size_t *rows, struct error *err)
{
    const struct rows *r = ctx;
    size_t cols = r->map->parts.prediction.coefficient_count;
    double raw[SHARDS_FEATURES], phi[SHARDS_CENTRES + KERNEL_LANES];
    (void)err;
    *rows = max_rows;
    for (size_t i = 0; i < max_rows; i++) {
        size_t row = (size_t)first + i;
        y[i] = shards_row(row < r->hole_begin ? row : row + r->hole_end - r->hole_begin, raw);
        model_feature_map(r->map, raw, phi);
        memcpy(x + i * cols, phi, cols * sizeof *x);
    }
    return true;
}

static bool fill_metric(void *ctx, double *p, struct error *err)
{
    const struct model *map = ((const struct rows *)ctx)->map;
    const struct kernel_map *kernel = &map->parts.kernel;
    double k[SHARDS_CENTRES + KERNEL_LANES];
    (void)err;
    for (size_t m = 0; m < kernel->centre_count; m++) {
        kernel_row(map->kernel, kernel->centres + m * kernel->inputs, k);
        memcpy(p + m * kernel->centre_count, k, kernel->centre_count * sizeof *p);
    }
    return true;
}

static struct ridge batch(const struct model *map, size_t hole_begin, size_t hole_end,
                          double penalty)
{
    struct error err = {0};
    struct ridge r;
    struct rows rows = {map, hole_begin, hole_end};
    const struct ridge_source source = {map->parts.prediction.coefficient_count,
                                        ROWS - (hole_end - hole_begin), &rows, read_rows};
    const struct ridge_options options = {.penalties = &penalty,
                                          .penalty_count = 1,
                                          .metric =
                                              map->parts.kind == MODEL_KERNEL ? fill_metric : NULL,
                                          .metric_ctx = &rows};
    if (!ridge_fit(&source, &options, &r, &err))
        fail_msg("%s", err.message);
    return r;
}

static double predict_row(const struct model *map, const struct ridge *r, const double *x)
{
    double phi[SHARDS_CENTRES + KERNEL_LANES], sum = r->intercept;
    model_feature_map(map, x, phi);
    for (size_t j = 0; j < r->cols; j++)
        sum += r->beta[j] * phi[j];
    return sum;
}

static void assert_predicts_like(const struct model *model, const struct ridge *r)
{
    for (size_t i = 0; i < 200; i++) {
        double x[SHARDS_FEATURES], y;
        (void)shards_row(FRESH + i, x);
        model_predict(model, 1, x, &y);
        assert_close(y, predict_row(model, r, x), 1e-9);
    }
}

/* ---- merging ---- */

static void merged_shards_predict_like_the_fit_to_all_rows(void **state)
{
    struct place *p = *state;
    static const enum model_kind kinds[] = {MODEL_LINEAR, MODEL_KERNEL};
    for (size_t i = 0; i < 2; i++)
        for (double penalty = 1e-3; penalty < 1e3; penalty *= 100) {
            make_parts(p, kinds[i], penalty);
            struct merge_options options = options_of(p, MERGE_MAP);
            struct model *model = merge_or_fail(&options);
            struct ridge r = batch(model, 0, 0, penalty);
            assert_predicts_like(model, &r);
            assert_close(model_card(model)->penalty, penalty, 0);
            ridge_clear(&r);
            model_free(model);
        }
}

static void subtracted_shard_is_forgotten(void **state)
{
    struct place *p = *state;
    struct merge_options options = options_of(p, MERGE_GIVEN);
    options.penalty = 2;
    for (size_t k = 0; k < PARTS; k++) {
        options.subtracted = &p->list[k];
        options.subtracted_count = 1;
        struct model *model = merge_or_fail(&options);
        struct ridge r = batch(model, part_begin[k], part_begin[k + 1], 2);
        assert_predicts_like(model, &r);
        assert_int_equal(model_card(model)->rows, ROWS - (part_begin[k + 1] - part_begin[k]));
        ridge_clear(&r);
        model_free(model);
    }
}

/* Sum over the parts of the squared errors that refits without them make on them. */
static double refit_squares(const struct model *map, double penalty)
{
    double squares = 0;
    for (size_t k = 0; k < PARTS; k++) {
        struct ridge r = batch(map, part_begin[k], part_begin[k + 1], penalty);
        for (size_t i = part_begin[k]; i < part_begin[k + 1]; i++) {
            double x[SHARDS_FEATURES], y = shards_row(i, x), f = predict_row(map, &r, x);
            squares += (y - f) * (y - f);
        }
        ridge_clear(&r);
    }
    return squares;
}

static void penalty_has_the_least_error_of_refits_without_a_shard(void **state)
{
    struct place *p = *state;
    static const enum model_kind kinds[] = {MODEL_LINEAR, MODEL_KERNEL};
    for (size_t i = 0; i < 2; i++) {
        make_parts(p, kinds[i], 0.5);
        struct merge_options options = options_of(p, MERGE_AUTO);
        struct model *model = merge_or_fail(&options);
        const struct model_card *card = model_card(model);
        double best = refit_squares(model, card->penalty);
        assert_close(card->leave_one_out.rmse, sqrt(best / ROWS), 1e-9);
        assert_int_equal(card->leave_one_out.rows, ROWS);
        assert_true(isnan(card->leave_one_out.mae));
        assert_true(best <= refit_squares(model, card->penalty * pow(10, 1 / 3.0)));
        assert_true(best <= refit_squares(model, card->penalty * pow(10, -1 / 3.0)));
        struct ridge r = batch(model, 0, 0, card->penalty);
        assert_predicts_like(model, &r);
        ridge_clear(&r);
        model_free(model);
    }
}

static void map_without_a_penalty_still_has_a_path(void **state)
{
    struct place *p = *state;
    make_parts(p, MODEL_LINEAR, 0);
    struct merge_options options = options_of(p, MERGE_AUTO);
    struct model *model = merge_or_fail(&options);
    assert_true(model_card(model)->penalty > 0);
    model_free(model);
}

static void merged_model_is_the_map_with_the_rows_ranges_and_no_intervals(void **state)
{
    struct place *p = *state;
    struct merge_options options = options_of(p, MERGE_MAP);
    struct error err = {0};
    double score, min, max, least = INFINITY, greatest = -INFINITY;
    size_t count;
    struct model *model = merge_or_fail(&options);
    for (size_t i = 0; i < ROWS; i++) {
        double x[SHARDS_FEATURES];
        (void)shards_row(i, x);
        least = fmin(least, x[2]);
        greatest = fmax(greatest, x[2]);
    }
    model_feature_range(model, 2, &min, &max);
    assert_close(min, least, 0);
    assert_close(max, greatest, 0);
    const double *quantiles = model_feature_quantiles(model, 2, &count);
    assert_int_equal(count, MODEL_QUANTILES);
    for (size_t i = 0; i < count; i++)
        if (fabs(quantiles[i] - (3 + 4 * ((double)i + 0.5) / (double)count)) > 0.25)
            fail_msg("quantile %zu is %g", i, quantiles[i]);
    assert_non_null(model_predicted_quantiles(model));
    assert_string_equal(model_name(model), "map");
    assert_string_equal(model_version(model), "3");
    assert_string_equal(model_card(model)->date, "");
    assert_int_equal(model_card(model)->holdout.rows, 0);
    assert_false(model_gives_intervals(model));
    assert_false(interval_score(model, 0.9, &score, &err));
    assert_contains(err.message, "expected a model that gives intervals");
    model_free(model);
    options.name = "houses";
    options.version = "4";
    options.date = "2026-11-25";
    model = merge_or_fail(&options);
    assert_string_equal(model_name(model), "houses");
    assert_string_equal(model_version(model), "4");
    assert_string_equal(model_card(model)->date, "2026-11-25");
    model_free(model);
}

static void what_cannot_be_merged_is_refused(void **state)
{
    struct place *p = *state;
    char expected[2 * PATH_MAX_BYTES];
    struct merge_options options = options_of(p, MERGE_AUTO);
    options.part_count = 1;
    refuse(&options, "expected two parts, got 1");
    options = options_of(p, MERGE_AUTO);
    options.subtracted = &p->list[1];
    options.subtracted_count = 1;
    refuse(&options, "penalty: expected map or a number");
    options.choice = MERGE_MAP;
    options.part_count = 1;
    refuse(&options, "rows: expected fewer than 7, got 193");
    options = options_of(p, MERGE_MAP);
    options.date = "a date of more than thirty-one bytes";
    refuse(&options, "date: expected at most 31 bytes");
    options = options_of(p, MERGE_MAP);
    p->list[2] = p->parts[1];
    (void)snprintf(expected, sizeof expected, "expected other rows than those of %.100s",
                   p->parts[1]);
    refuse(&options, expected);
    p->list[2] = "/nowhere.stats";
    refuse(&options, "/nowhere.stats: ");
    p->list[2] = p->other;
    shards_write(p->csv, FRESH, 20);
    shards_write_map(p->map, MODEL_KERNEL, 0.25);
    shards_stats(p->map, STATS_ROWS, p->csv, p->other);
    (void)snprintf(expected, sizeof expected, "%s: expected statistics through the map ", p->other);
    refuse(&options, expected);
}

/* ---- residuals ---- */

/* Residual statistics of fresh rows, in two parts, through the model at p->map. */
static void make_residuals(struct place *p, size_t rows)
{
    shards_write(p->csv, FRESH, rows / 3);
    shards_stats(p->map, STATS_RESIDUALS, p->csv, p->parts[0]);
    shards_write(p->csv, FRESH + rows / 3, rows - rows / 3);
    shards_stats(p->map, STATS_RESIDUALS, p->csv, p->parts[1]);
}

static void save_as_map(const struct place *p, const struct model *model)
{
    struct error err = {0};
    FILE *out = fopen(p->map, "wb");
    assert_non_null(out);
    assert_true(model_save(model, out, &err));
    assert_int_equal(fclose(out), 0);
}

static double coverage(const struct model *model, double level, size_t first, size_t rows)
{
    struct error err = {0};
    double score, inside = 0;
    assert_true(interval_score(model, level, &score, &err));
    for (size_t i = 0; i < rows; i++) {
        double x[SHARDS_FEATURES], y = shards_row(first + i, x), f, half;
        model_predict(model, 1, x, &f);
        interval_half_widths(model, score, 1, x, &half);
        inside += fabs(y - f) <= half;
    }
    return inside / (double)rows;
}

static void residuals_give_the_merged_model_intervals_and_figures(void **state)
{
    struct place *p = *state;
    enum { RESIDUALS = 3000 };
    struct merge_options options = options_of(p, MERGE_AUTO);
    struct model *model = merge_or_fail(&options);
    save_as_map(p, model);
    make_residuals(p, RESIDUALS);
    options.part_count = 2;
    struct model *calibrated = merge_or_fail(&options);
    double absolute = 0, squares = 0;
    for (size_t i = 0; i < RESIDUALS; i++) {
        double x[SHARDS_FEATURES], y = shards_row(FRESH + i, x), f, g;
        model_predict(model, 1, x, &f);
        model_predict(calibrated, 1, x, &g);
        assert_close(f, g, 0);
        absolute += fabs(y - f);
        squares += (y - f) * (y - f);
    }
    assert_close(model_card(calibrated)->holdout.mae, absolute / RESIDUALS, 1e-12);
    assert_close(model_card(calibrated)->holdout.rmse, sqrt(squares / RESIDUALS), 1e-12);
    assert_int_equal(model_card(calibrated)->holdout.rows, RESIDUALS);
    assert_int_equal(model_card(calibrated)->rows, ROWS);
    assert_true(calibrated->parts.interval.scaled);
    assert_true(model_gives_intervals(calibrated));
    for (double level = 0.5; level < 1; level += 0.15) {
        double seen = coverage(calibrated, level, FRESH, RESIDUALS);
        if (!(seen >= level && seen < level + 0.02)) /* at least, and little more */
            fail_msg("%g of the residuals' own rows are covered at %g", seen, level);
        assert_true(fabs(coverage(calibrated, level, 20000, 20000) - level) < 0.04);
    }
    model_free(model);
    model_free(calibrated);
}

static void few_residuals_and_other_kinds_are_refused(void **state)
{
    struct place *p = *state;
    struct merge_options options = options_of(p, MERGE_AUTO);
    make_residuals(p, MERGE_ROWS_MIN - 1);
    options.part_count = 2;
    refuse(&options, "expected the residuals of at least 20 rows, got 19");
    p->list[1] = p->parts[3];
    refuse(&options, "expected statistics of residuals, got those of rows");
    p->list[1] = p->parts[1];
    options.subtracted = &p->list[1];
    options.subtracted_count = 1;
    refuse(&options, "expected statistics of rows to subtract");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_place, remove_place)
static const struct CMUnitTest tests[] = {
    CASE(merged_shards_predict_like_the_fit_to_all_rows),
    CASE(subtracted_shard_is_forgotten),
    CASE(penalty_has_the_least_error_of_refits_without_a_shard),
    CASE(map_without_a_penalty_still_has_a_path),
    CASE(merged_model_is_the_map_with_the_rows_ranges_and_no_intervals),
    CASE(what_cannot_be_merged_is_refused),
    CASE(residuals_give_the_merged_model_intervals_and_figures),
    CASE(few_residuals_and_other_kinds_are_refused),
};

T_MAIN(tests)
