/* The parts are checked one by one in the artifact's own words, then copied into one arena. A
 * prediction is a plain sum in the order of the features: no BLAS and no vector lanes, so a row's bits
 * depend on nothing but the row. */
#include "model/model_internal.h"

#include "base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const model_kind_words[] = {[MODEL_LINEAR] = "linear"};

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
           check_figures(&card->holdout, "card.holdout", err);
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

static bool check_linear(const struct linear_parameters *linear, size_t features, struct error *err)
{
    if (!isfinite(linear->intercept))
        return error_set(err, ERR_INVALID, "parameters.intercept: expected a finite number");
    if (linear->coefficient_count != features)
        return error_set(err, ERR_INVALID,
                         "parameters.coefficients: expected %zu numbers, one per feature, got %zu",
                         features, linear->coefficient_count);
    for (size_t j = 0; j < features; j++)
        if (!isfinite(linear->coefficients[j]))
            return error_set(err, ERR_INVALID,
                             "parameters.coefficients[%zu]: expected a finite number", j);
    return true;
}

static bool check(const struct model_parts *parts, struct error *err)
{
    return model_check_identifier(parts->name, "name", err) &&
           model_check_identifier(parts->version, "version", err) &&
           check_line(parts->target_name, 1, "target.name", err) &&
           check_line(parts->target_unit, 0, "target.unit", err) && check_features(parts, err) &&
           check_names_differ(parts, err) &&
           check_linear(&parts->linear, parts->feature_count, err) && check_card(&parts->card, err);
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
    memcpy(*to, from, count * size);
    return true;
}

/* Replaces every pointer of the parts by one to a copy in the arena. */
static bool copy_into(struct arena *arena, struct model_parts *parts)
{
    void *features, *coefficients;
    if (!copy_text(arena, &parts->name) || !copy_text(arena, &parts->version) ||
        !copy_text(arena, &parts->target_name) || !copy_text(arena, &parts->target_unit) ||
        !copy_array(arena, parts->features, parts->feature_count, sizeof *parts->features,
                    &features) ||
        !copy_array(arena, parts->linear.coefficients, parts->linear.coefficient_count,
                    sizeof *parts->linear.coefficients, &coefficients))
        return false;
    struct model_feature *feature = features;
    for (size_t j = 0; j < parts->feature_count; j++)
        if (!copy_text(arena, &feature[j].name))
            return false;
    parts->features = feature;
    parts->linear.coefficients = coefficients;
    return true;
}

struct model *model_new(const struct model_parts *parts, struct error *err)
{
    if (!check(parts, err))
        return NULL;
    struct arena *arena = arena_new(4096, 0);
    struct model *model = arena != NULL ? arena_alloc(arena, sizeof *model) : NULL;
    if (model == NULL) {
        arena_free(arena);
        (void)error_set(err, ERR_NO_MEMORY, "out of memory");
        return NULL;
    }
    *model = (struct model){.arena = arena, .parts = *parts};
    if (!copy_into(arena, &model->parts)) {
        arena_free(arena);
        (void)error_set(err, ERR_NO_MEMORY, "out of memory");
        return NULL;
    }
    return model;
}

void model_free(struct model *model)
{
    if (model != NULL)
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

static double predict_linear(const struct model_parts *parts, const double *x)
{
    double sum = parts->linear.intercept;
    for (size_t j = 0; j < parts->feature_count; j++)
        sum += parts->linear.coefficients[j] * transform_value(&parts->features[j].transform, x[j]);
    return sum;
}

double model_row_ns(const struct model *model)
{
    return 5 + 2 * (double)model->parts.feature_count;
}

void model_predict(const struct model *model, size_t rows, const double *x, double *y)
{
    for (size_t i = 0; i < rows; i++, x += model->parts.feature_count)
        y[i] = predict_linear(&model->parts, x);
}
