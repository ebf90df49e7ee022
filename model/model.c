/* The parts are checked one by one in the artifact's own words, then copied into one arena. A
 * prediction is a plain sum in the order of the features: no BLAS and no vector lanes, so a row's bits
 * depend on nothing but the row. */
#include "model/model_internal.h"

#include "base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const model_kind_words[] = {[MODEL_LINEAR] = "linear", [MODEL_KERNEL] = "kernel"};

/* ---- checks ---- */

bool model_check_identifier(const char *text, const char *place, struct error *err)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t n = strlen(text);
    return (n > 0 && n <= MODEL_TEXT_MAX && strspn(text, letters) == n) ||
           error_set(err, ERR_INVALID, "%s: expected 1 to %d of A-Z a-z 0-9 . _ -, got \"%.64s\"",
                     place, MODEL_TEXT_MAX, text);
}

/* Text that can be shown on one line: UTF-8 without control characters. */
static bool is_line(const char *text, size_t least)
{
    size_t n = strlen(text), length;
    const char *p = text, *end = text + n;
    while (p < end && (unsigned char)*p >= 0x20 && *p != 0x7f &&
           (length = json_utf8_length(p, end)) > 0)
        p += length;
    return p == end && n >= least && n <= MODEL_TEXT_MAX;
}

static bool check_line(const char *text, size_t least, const char *place, struct error *err)
{
    return is_line(text, least) ||
           error_set(err, ERR_INVALID,
                     "%s: expected %zu to %d bytes of UTF-8 without control characters", place,
                     least, MODEL_TEXT_MAX);
}

static bool check_figures(const struct model_figures *f, const char *place, struct error *err)
{
    return ((isnan(f->mae) || (f->mae >= 0 && isfinite(f->mae))) &&
            (isnan(f->rmse) || (f->rmse >= 0 && isfinite(f->rmse))) &&
            (isnan(f->r2) || (f->r2 <= 1 && isfinite(f->r2)))) ||
           error_set(err, ERR_INVALID, "%s: expected mae and rmse >= 0 and r2 <= 1", place);
}

static bool is_sha256(const char *text)
{
    return strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64;
}

static bool check_card(const struct model_card *card, struct error *err)
{
    if (!is_sha256(card->data_sha256))
        return error_set(err, ERR_INVALID,
                         "card.data_sha256: expected 64 lower-case hexadecimal digits");
    if (!isfinite(card->penalty) || card->penalty < 0)
        return error_set(err, ERR_INVALID, "card.penalty: expected a number >= 0");
    return check_line(card->date, 0, "card.date", err) &&
           check_line(card->kernel, 0, "card.kernel", err) &&
           check_figures(&card->leave_one_out, "card.leave_one_out", err) &&
           check_figures(&card->holdout, "card.holdout", err) &&
           check_figures(&card->linear, "card.linear", err);
}

static bool check_features(const struct model_parts *parts, struct error *err)
{
    if (parts->feature_count == 0 || parts->feature_count > MODEL_FEATURES_MAX)
        return error_set(err, parts->feature_count == 0 ? ERR_INVALID : ERR_TOO_LARGE,
                         "features: expected 1 to %d, got %zu", MODEL_FEATURES_MAX,
                         parts->feature_count);
    for (size_t j = 0; j < parts->feature_count; j++) {
        const struct model_feature *feature = &parts->features[j];
        if (!is_line(feature->name, 1))
            return error_set(err, ERR_INVALID,
                             "features[%zu].name: expected 1 to %d bytes of UTF-8 without control "
                             "characters",
                             j, MODEL_TEXT_MAX);
        if (!transform_is_valid(&feature->transform))
            return error_set(err, ERR_INVALID,
                             "features[%zu]: expected finite numbers, min <= max and scale > 0", j);
    }
    return true;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool check_names_differ(const struct model_parts *parts, struct error *err)
{
    size_t n = parts->feature_count;
    const char **names = malloc(n * sizeof *names);
    if (names == NULL)
        return error_set(err, ERR_NO_MEMORY, "out of memory");
    for (size_t j = 0; j < n; j++)
        names[j] = parts->features[j].name;
    qsort(names, n, sizeof *names, compare_names);
    bool ok = true;
    for (size_t j = 1; ok && j < n; j++)
        ok = strcmp(names[j - 1], names[j]) != 0 ||
             error_set(err, ERR_INVALID, "features: expected different names, got \"%.64s\" twice",
                       names[j]);
    free(names);
    return ok;
}

static bool check_function(const struct model_parts *parts, const struct model_function *function,
                           const char *place, struct error *err)
{
    bool kernel = parts->kind == MODEL_KERNEL;
    size_t expected = kernel ? parts->kernel.centre_count : parts->feature_count;
    if (!isfinite(function->intercept))
        return error_set(err, ERR_INVALID, "%s.intercept: expected a finite number", place);
    if (function->coefficient_count != expected)
        return error_set(err, ERR_INVALID,
                         "%s.coefficients: expected %zu numbers, one per %s, got %zu", place,
                         expected, kernel ? "centre" : "feature", function->coefficient_count);
    for (size_t j = 0; j < expected; j++)
        if (!isfinite(function->coefficients[j]))
            return error_set(err, ERR_INVALID, "%s.coefficients[%zu]: expected a finite number",
                             place, j);
    return true;
}

static bool check_functions(const struct model_parts *parts, struct error *err)
{
    return check_function(parts, &parts->prediction, "parameters", err) &&
           (parts->residual.coefficient_count == 0 ||
            check_function(parts, &parts->residual, "residual", err));
}

size_t model_quantile_rows(const struct model_parts *parts)
{
    return parts->quantiles != NULL ? parts->feature_count + parts->predicted_quantiles : 0;
}

static bool check_quantiles(const struct model_parts *parts, struct error *err)
{
    for (size_t j = 0; j < model_quantile_rows(parts); j++) {
        const double *q = parts->quantiles + j * MODEL_QUANTILES;
        for (size_t i = 0; i < MODEL_QUANTILES; i++)
            if (!isfinite(q[i]) || (i > 0 && q[i] < q[i - 1]))
                return error_set(err, ERR_INVALID,
                                 "quantiles[%zu]: expected finite, ascending numbers", j);
    }
    return true;
}

static bool check_interval(const struct model_interval *interval, struct error *err)
{
    if (interval->score_count > MODEL_SCORES_MAX)
        return error_set(err, ERR_TOO_LARGE,
                         "interval.scores: expected at most %d numbers, got %zu", MODEL_SCORES_MAX,
                         interval->score_count);
    if (interval->scaled && !(isfinite(interval->floor) && interval->floor > 0))
        return error_set(err, ERR_INVALID, "interval.floor: expected a number > 0");
    for (size_t i = 0; i < interval->score_count; i++)
        if (!isfinite(interval->scores[i]) ||
            interval->scores[i] < (i > 0 ? interval->scores[i - 1] : 0))
            return error_set(err, ERR_INVALID,
                             "interval.scores[%zu]: expected finite, ascending numbers >= 0", i);
    return true;
}

static bool check_schema(const struct model_parts *parts, struct error *err)
{
    return model_check_identifier(parts->name, "name", err) &&
           model_check_identifier(parts->version, "version", err) &&
           check_line(parts->target_name, 1, "target.name", err) &&
           check_line(parts->target_unit, 0, "target.unit", err) && check_features(parts, err) &&
           check_names_differ(parts, err);
}

static bool check_numbers(const struct model_parts *parts, struct error *err)
{
    return check_functions(parts, err) && check_quantiles(parts, err) &&
           check_interval(&parts->interval, err) && check_card(&parts->card, err);
}

/* ---- the copy ---- */

static bool copy_text(struct arena *arena, const char **text)
{
    *text = arena_text(arena, *text, strlen(*text));
    return *text != NULL;
}

static bool copy_array(struct arena *arena, const void *from, size_t count, size_t size, void **to)
{
    *to = arena_array(arena, count, size);
    if (*to == NULL)
        return false;
    if (count > 0)
        memcpy(*to, from, count * size);
    return true;
}

/* Coefficients are padded with zeros to whole lanes. */
static bool copy_function(struct arena *arena, struct model_function *function)
{
    size_t n = function->coefficient_count, padded = n + KERNEL_LANES;
    double *copy = arena_array(arena, padded, sizeof *copy);
    if (copy == NULL)
        return false;
    memset(copy, 0, padded * sizeof *copy);
    if (n > 0)
        memcpy(copy, function->coefficients, n * sizeof *copy);
    function->coefficients = copy;
    return true;
}

/* What does not count is zero, so that it can be saved whatever it was. */
static void forget_unused(struct transform *t)
{
    if (t->kind != TRANSFORM_LOG)
        t->offset = 0;
    if (!t->clipped)
        t->low = t->high = 0;
}

static bool copy_features(struct arena *arena, struct model_parts *parts)
{
    void *copy;
    if (!copy_array(arena, parts->features, parts->feature_count, sizeof *parts->features, &copy))
        return false;
    struct model_feature *features = copy;
    for (size_t j = 0; j < parts->feature_count; j++) {
        forget_unused(&features[j].transform);
        if (!copy_text(arena, &features[j].name))
            return false;
    }
    parts->features = features;
    return true;
}

static bool copy_kernel(struct arena *arena, struct kernel_map *map)
{
    void *directions, *scales, *centres;
    if (!copy_array(arena, map->directions, map->direction_count, sizeof *map->directions,
                    &directions) ||
        !copy_array(arena, map->scales, map->inputs + map->direction_count, sizeof *map->scales,
                    &scales) ||
        !copy_array(arena, map->centres, map->centre_count * map->inputs, sizeof *map->centres,
                    &centres))
        return false;
    map->directions = directions;
    map->scales = scales;
    map->centres = centres;
    return true;
}

/* Replaces every pointer of the parts by one to a copy in the arena. */
static bool copy_into(struct arena *arena, struct model_parts *parts)
{
    void *quantiles = NULL, *scores;
    if (!copy_text(arena, &parts->name) || !copy_text(arena, &parts->version) ||
        !copy_text(arena, &parts->target_name) || !copy_text(arena, &parts->target_unit) ||
        !copy_features(arena, parts) || !copy_function(arena, &parts->prediction) ||
        !copy_function(arena, &parts->residual) ||
        !copy_array(arena, parts->interval.scores, parts->interval.score_count, sizeof(double),
                    &scores))
        return false;
    if (parts->quantiles != NULL &&
        !copy_array(arena, parts->quantiles, model_quantile_rows(parts) * MODEL_QUANTILES,
                    sizeof(double), &quantiles))
        return false;
    parts->quantiles = quantiles;
    parts->interval.scores = scores;
    if (!parts->interval.scaled)
        parts->interval.floor = 0;
    if (parts->kind == MODEL_KERNEL)
        return copy_kernel(arena, &parts->kernel);
    parts->kernel = (struct kernel_map){0};
    return true;
}

static bool make_kernel(const struct model_parts *parts, struct kernel **kernel, struct error *err)
{
    if (parts->kind != MODEL_KERNEL)
        return true;
    if (parts->kernel.inputs != parts->feature_count)
        return error_set(err, ERR_INVALID,
                         "map.centres: expected %zu inputs, one per feature, got %zu",
                         parts->feature_count, parts->kernel.inputs);
    *kernel = kernel_new(&parts->kernel, err);
    return *kernel != NULL;
}

struct model *model_new(const struct model_parts *parts, struct error *err)
{
    struct kernel *kernel = NULL;
    struct arena *arena = NULL;
    struct model *model;
    if (!check_schema(parts, err) || !make_kernel(parts, &kernel, err) ||
        !check_numbers(parts, err))
        goto failed;
    arena = arena_new(4096, 0);
    if (arena != NULL && (model = arena_alloc(arena, sizeof *model)) != NULL) {
        *model = (struct model){.arena = arena, .parts = *parts, .kernel = kernel};
        if (copy_into(arena, &model->parts))
            return model;
    }
    (void)error_set(err, ERR_NO_MEMORY, "out of memory");
failed:
    arena_free(arena);
    kernel_free(kernel);
    return NULL;
}

void model_free(struct model *model)
{
    if (model == NULL)
        return;
    kernel_free(model->kernel);
    arena_free(model->arena);
}

/* ---- what it is ---- */

const char *model_name(const struct model *model)
{
    return model->parts.name;
}

const char *model_version(const struct model *model)
{
    return model->parts.version;
}

const char *model_kind(const struct model *model)
{
    return model_kind_words[model->parts.kind];
}

const char *model_sha256(const struct model *model)
{
    return model->sha256;
}

size_t model_feature_count(const struct model *model)
{
    return model->parts.feature_count;
}

const char *model_feature_name(const struct model *model, size_t j)
{
    return model->parts.features[j].name;
}

void model_feature_range(const struct model *model, size_t j, double *min, double *max)
{
    *min = model->parts.features[j].transform.min;
    *max = model->parts.features[j].transform.max;
}

const double *model_feature_quantiles(const struct model *model, size_t j, size_t *count)
{
    const double *quantiles = model->parts.quantiles;
    *count = quantiles == NULL ? 0 : MODEL_QUANTILES;
    return quantiles == NULL ? NULL : quantiles + j * MODEL_QUANTILES;
}

double model_feature_typical(const struct model *model, size_t j)
{
    const struct transform *t = &model->parts.features[j].transform;
    size_t count;
    const double *quantiles = model_feature_quantiles(model, j, &count);
    double x = quantiles != NULL          ? quantiles[count / 2]
               : t->kind == TRANSFORM_LOG ? exp(t->mean) - t->offset
                                          : t->mean;
    /* A hand-made artifact may say anything. */
    return x < t->min ? t->min : x > t->max ? t->max : x;
}

bool model_gives_intervals(const struct model *model)
{
    return model->parts.interval.score_count > 0;
}

double model_intercept(const struct model *model)
{
    return model->parts.prediction.intercept;
}

const char *model_target_name(const struct model *model)
{
    return model->parts.target_name;
}

const char *model_target_unit(const struct model *model)
{
    return model->parts.target_unit;
}

const struct model_card *model_card(const struct model *model)
{
    return &model->parts.card;
}

/* ---- what it says ---- */

static double linear_value(const struct model_parts *parts, const struct model_function *function,
                           const double *x)
{
    double sum = function->intercept;
    for (size_t j = 0; j < parts->feature_count; j++)
        sum += function->coefficients[j] * transform_value(&parts->features[j].transform, x[j]);
    return sum;
}

static double kernel_value(const struct model *model, const struct model_function *function,
                           const double *x)
{
    const struct model_parts *parts = &model->parts;
    double u[MODEL_FEATURES_MAX];
    for (size_t j = 0; j < parts->feature_count; j++)
        u[j] = transform_value(&parts->features[j].transform, x[j]);
    return function->intercept + kernel_sum(model->kernel, u, function->coefficients);
}

double model_function_value(const struct model *model, const struct model_function *function,
                            const double *x)
{
    if (function->coefficient_count == 0)
        return function->intercept;
    return model->parts.kind == MODEL_KERNEL ? kernel_value(model, function, x)
                                             : linear_value(&model->parts, function, x);
}

const double *model_predicted_quantiles(const struct model *model)
{
    const struct model_parts *parts = &model->parts;
    return parts->quantiles != NULL && parts->predicted_quantiles
               ? parts->quantiles + parts->feature_count * MODEL_QUANTILES
               : NULL;
}

void model_feature_map(const struct model *model, const double *x, double *phi)
{
    const struct model_parts *parts = &model->parts;
    double u[MODEL_FEATURES_MAX];
    double *to = parts->kind == MODEL_KERNEL ? u : phi;
    for (size_t j = 0; j < parts->feature_count; j++)
        to[j] = transform_value(&parts->features[j].transform, x[j]);
    if (parts->kind == MODEL_KERNEL)
        kernel_row(model->kernel, u, phi);
}

/* The residual function, NAN where the largest k(u, z) tells that even the nearest centre is far: one pass over
 * the centres for both. */
static double kernel_expected(const struct model *model, const double *x)
{
    const struct model_function *residual = &model->parts.residual;
    size_t padded = kernel_padded(model->kernel);
    double k[KERNEL_CENTRES_MAX], nearest[KERNEL_LANES] = {0}, sum[KERNEL_LANES] = {0};
    model_feature_map(model, x, k);
    for (size_t m = 0; m < padded; m += KERNEL_LANES)
        for (size_t lane = 0; lane < KERNEL_LANES; lane++) {
            double value = k[m + lane];
            nearest[lane] = value > nearest[lane] ? value : nearest[lane];
            sum[lane] += value * residual->coefficients[m + lane];
        }
    for (size_t lane = 1; lane < KERNEL_LANES; lane++) {
        nearest[0] = nearest[lane] > nearest[0] ? nearest[lane] : nearest[0];
        sum[0] += sum[lane];
    }
    return nearest[0] < MODEL_NEAREST_MIN ? NAN : residual->intercept + sum[0];
}

bool model_expected_error(const struct model *model, const double *x, double *error)
{
    const struct model_parts *parts = &model->parts;
    if (parts->residual.coefficient_count == 0)
        return false;
    double value = parts->kind == MODEL_KERNEL ? kernel_expected(model, x)
                                               : model_function_value(model, &parts->residual, x);
    *error = value < 0 ? 0 : value;
    return true;
}

/* Measured: a transform divides, and may take a logarithm. */
double model_row_ns(const struct model *model)
{
    double features = (double)model->parts.feature_count;
    if (model->parts.kind == MODEL_LINEAR)
        return 5 + 2 * features;
    return 20 + 15 * features + kernel_row_ns(model->kernel);
}

size_t model_clipped(const struct model *model, size_t rows, const double *x)
{
    const struct model_parts *parts = &model->parts;
    size_t count = 0;
    for (size_t i = 0; i < rows; i++, x += parts->feature_count)
        for (size_t j = 0; j < parts->feature_count; j++)
            count += transform_clips(&parts->features[j].transform, x[j]);
    return count;
}

void model_predict(const struct model *model, size_t rows, const double *x, double *y)
{
    for (size_t i = 0; i < rows; i++, x += model->parts.feature_count)
        y[i] = model_function_value(model, &model->parts.prediction, x);
}
