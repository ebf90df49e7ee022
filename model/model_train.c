/* A fit is a ridge_source over the dataset: asked for row 0, it rewinds; after the last row it makes sure
 * that the file ends where it ended before. What is in X is up to the map that is being fitted. */
#include "model/model_train.h"

#include "model/calibrate.h"
#include "model/centres.h"
#include "model/model_internal.h"
#include "model/model_score.h"
#include "model/ridge.h"
#include "model/sample.h"
#include "model/tune.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SAMPLE_NUMBERS = 1 << 22, /* 32 MB */
    ROWS_PER_CENTRE = 4,      /* in the sample, if the data has them */
    TUNED_ROWS_MIN = 500,
    JUDGED_MAX = 8192,
    KERNEL_ROWS_MIN = 60,
    PATH_POINTS = 13,     /* of the kernel's penalty, around the tuned one */
    RESIDUAL_POINTS = 11, /* of the residual function's */
    PREDICTED_ROWS = 4096,
    RESIDUAL_COLS = 1024,
};

/* What a raw row becomes in X. */
struct map {
    enum model_kind kind;
    const struct transform *transforms; /* (inputs) */
    struct kernel_map plain;            /* kind kernel */
    struct kernel *kernel;
    size_t inputs, cols;
    size_t stride; /* only every stride-th centre is a column; cols = their count */
};

/* Judged rows' leave-one-out errors of one fit. */
struct errors {
    double *all; /* (judged, penalties) */
    size_t penalties;
};

/* Everything training holds. */
struct training {
    const struct train_options *options;
    struct dataset *ds;
    size_t features;
    const char **names;         /* (features + 1), the target last */
    struct transform *learnt;   /* (features + 1), for the linear map; the target's last */
    struct transform *shaped;   /* (features), for the kernel map */
    double *block;              /* (MODEL_BLOCK_ROWS, features + 1) */
    double *u;                  /* (features): a transformed row */
    double *k;                  /* (padded centres) */
    uint64_t rows, passes, due; /* due: passes of all fits, for the progress */
    struct sample sample;
    size_t *judged, judged_count; /* places in the sample, ascending */
    struct tuned tuned;
    struct centres centres;
    struct map linear_map, kernel_map;
    const struct map *map; /* being fitted */
    struct ridge linear, kernel;
    struct errors linear_errors, kernel_errors;
    struct errors *errors; /* of the fit that runs */
    struct calibration calibration;
    double *absolute;  /* (judged): |e| of the chosen fit */
    double *quantiles; /* (features + 1, MODEL_QUANTILES); the last row of the predictions */
};

static void tell(const struct training *t, const char *stage, double fraction)
{
    if (t->options->progress != NULL)
        t->options->progress(t->options->progress_ctx, stage, fraction);
}

static bool no_memory(struct error *err)
{
    return error_set(err, ERR_NO_MEMORY, "training: out of memory");
}

/* ---- columns ---- */

static size_t find_column(const struct dataset *ds, const char *name)
{
    size_t j = 0;
    while (j < dataset_column_count(ds) && strcmp(dataset_column_name(ds, j), name) != 0)
        j++;
    return j;
}

static bool is_dropped(const struct train_options *options, const char *name)
{
    for (size_t i = 0; i < options->dropped_count; i++)
        if (strcmp(options->dropped[i], name) == 0)
            return true;
    return false;
}

/* What model_new would refuse after the long part is better refused before it; and a name that is not
 * there is more likely mistyped than meant. */
static bool check_options(const struct training *t, struct error *err)
{
    const struct train_options *options = t->options;
    size_t count = dataset_column_count(t->ds), date_max = sizeof((struct model_card *)0)->date - 1;
    if (!model_check_identifier(options->name, "name", err) ||
        !model_check_identifier(options->version, "version", err))
        return false;
    if (strlen(options->date) > date_max)
        return error_set(err, ERR_INVALID, "date: expected at most %zu bytes", date_max);
    if (find_column(t->ds, options->target) == count)
        return error_set(err, ERR_INVALID, "target: expected a column of the data, got \"%.64s\"",
                         options->target);
    for (size_t i = 0; i < options->dropped_count; i++)
        if (find_column(t->ds, options->dropped[i]) == count)
            return error_set(err, ERR_INVALID, "drop: expected a column of the data, got \"%.64s\"",
                             options->dropped[i]);
    return true;
}

static bool choose_columns(struct training *t, struct error *err)
{
    const struct train_options *options = t->options;
    size_t count = dataset_column_count(t->ds);
    if (!check_options(t, err))
        return false;
    const struct model *prior = options->prior;
    size_t most =
        prior != NULL && model_feature_count(prior) > count ? model_feature_count(prior) : count;
    t->names = calloc(most + 1, sizeof *t->names);
    if (t->names == NULL)
        return no_memory(err);
    for (size_t j = 0; prior != NULL && j < model_feature_count(prior); j++)
        t->names[t->features++] = model_feature_name(prior, j);
    for (size_t j = 0; prior == NULL && j < count; j++) {
        const char *name = dataset_column_name(t->ds, j);
        if (strcmp(name, options->target) != 0 && !is_dropped(options, name))
            t->names[t->features++] = name;
    }
    if (t->features == 0)
        return error_set(err, ERR_INVALID, "expected a column beside the target");
    t->names[t->features] = options->target;
    return dataset_select(t->ds, t->names, t->features + 1, err);
}

/* ---- rows ---- */

/* The first pass: ranges, means and the sample. */
static bool learn_rows(struct training *t, struct error *err)
{
    size_t rows = MODEL_BLOCK_ROWS;
    tell(t, "reading", NAN);
    while (rows == MODEL_BLOCK_ROWS) {
        if (!dataset_read(t->ds, MODEL_BLOCK_ROWS, t->block, &rows, err))
            return false;
        sample_add(&t->sample, t->block, rows);
        transform_learn(t->learnt, t->features + 1, t->rows, t->block, rows);
        t->rows += rows;
    }
    if (t->rows == 0)
        return error_set(err, ERR_INVALID, "expected at least one row to train on");
    return sample_finish(&t->sample, err) &&
           transform_finish(t->learnt, t->features + 1, t->rows, err);
}

static bool check_end(struct training *t, struct error *err)
{
    size_t rows;
    if (!dataset_read(t->ds, 1, t->block, &rows, err))
        return false;
    return rows == 0 || error_set(err, ERR_INVALID, "the data grew while it was read");
}

/* x(cols) of a transformed row. */
static void kernel_columns(const struct training *t, const double *u, double *x)
{
    const struct map *map = t->map;
    kernel_row(map->kernel, u, t->k);
    for (size_t m = 0; m < map->cols; m++)
        x[m] = t->k[m * map->stride];
}

/* x(cols) of a raw row. */
static void map_row(struct training *t, const double *raw, double *x)
{
    const struct map *map = t->map;
    transform_row(map->transforms, map->inputs, raw, t->u);
    if (map->kind == MODEL_LINEAR) {
        memcpy(x, t->u, map->inputs * sizeof *x);
        return;
    }
    kernel_columns(t, t->u, x);
}

/* What the rows should be fitted to: the target, less what a prior says already. */
static double map_target(const struct training *t, const double *row)
{
    double known = 0;
    if (t->options->prior != NULL)
        model_predict(t->options->prior, 1, row, &known);
    return row[t->features] - known;
}

static bool read_rows(void *ctx, uint64_t first, size_t max_rows, double *x, double *y,
                      size_t *rows, struct error *err)
{
    struct training *t = ctx;
    size_t most = max_rows < MODEL_BLOCK_ROWS ? max_rows : MODEL_BLOCK_ROWS;
    if (first == 0 && !dataset_rewind(t->ds, err))
        return false;
    t->passes += first == 0;
    if (!dataset_read(t->ds, most, t->block, rows, err))
        return false;
    for (size_t i = 0; i < *rows; i++) {
        const double *row = t->block + i * (t->features + 1);
        map_row(t, row, x + i * t->map->cols);
        y[i] = map_target(t, row);
    }
    uint64_t done = first + *rows;
    tell(t, "fitting", ((double)(t->passes - 1) + (double)done / (double)t->rows) / (double)t->due);
    return done < t->rows || check_end(t, err);
}

/* ---- judged rows ---- */

/* Chooses the rows of the sample whose errors will be kept. */
static bool choose_judged(struct training *t, struct error *err)
{
    size_t n = t->sample.count, wanted = t->options->centres, share = n / 4;
    if (t->options->linear || t->options->prior != NULL)
        share = n;
    else if (wanted > n / 4) /* centres need the rows more */
        share = n / 10;
    t->judged_count = share < JUDGED_MAX ? share : JUDGED_MAX;
    size_t *order = calloc(n + 1, sizeof *order);
    char *chosen = calloc(n + 1, 1);
    t->judged = calloc(t->judged_count + 1, sizeof *t->judged);
    bool ok = order != NULL && chosen != NULL && t->judged != NULL;
    if (ok) {
        sample_shuffle(order, n);
        for (size_t i = 0; i < t->judged_count; i++)
            chosen[order[i]] = 1;
        for (size_t i = 0, k = 0; i < n; i++)
            if (chosen[i])
                t->judged[k++] = i;
    }
    free(order);
    free(chosen);
    return ok || no_memory(err);
}

/* Which of the judged rows a row of the data is; judged_count if none. */
static size_t find_judged(const struct training *t, uint64_t row)
{
    size_t low = 0, high = t->judged_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (t->sample.row[t->judged[middle]] < row)
            low = middle + 1;
        else
            high = middle;
    }
    return low < t->judged_count && t->sample.row[t->judged[low]] == row ? low : t->judged_count;
}

static bool is_judged(void *ctx, uint64_t row)
{
    const struct training *t = ctx;
    return find_judged(t, row) < t->judged_count;
}

static bool keep_errors(void *ctx, uint64_t row, const double *residual, size_t count,
                        struct error *err)
{
    struct training *t = ctx;
    size_t at = find_judged(t, row);
    if (t->errors->all == NULL) {
        t->errors->penalties = count;
        t->errors->all = calloc((t->judged_count + 1) * count, sizeof *t->errors->all);
        if (t->errors->all == NULL)
            return no_memory(err);
    }
    if (at < t->judged_count)
        memcpy(t->errors->all + at * count, residual, count * sizeof *residual);
    return true;
}

static double error_of(const struct errors *errors, const struct ridge *fit, size_t judged)
{
    return errors->all[judged * errors->penalties + fit->chosen];
}

/* ---- fits ---- */

static bool fill_metric(void *ctx, double *p, struct error *err)
{
    struct training *t = ctx;
    const struct map *map = t->map;
    (void)err;
    for (size_t m = 0; m < map->cols; m++)
        kernel_columns(t, map->plain.centres + m * map->stride * map->inputs, p + m * map->cols);
    return true;
}

static bool fit_map(struct training *t, const struct map *map, const double *penalties,
                    size_t count, struct errors *errors, struct ridge *out, struct error *err)
{
    bool kernel = map->kind == MODEL_KERNEL;
    const struct ridge_source source = {map->cols, t->rows, t, read_rows};
    struct ridge_options options = {.penalties = penalties,
                                    .penalty_count = count,
                                    .metric = kernel ? fill_metric : NULL,
                                    .metric_ctx = t,
                                    .leave_one_out = t->rows > 1,
                                    .residuals = keep_errors,
                                    .residuals_ctx = t};
    if (kernel && t->options->prior == NULL) { /* the others made the centres */
        options.judged = is_judged;
        options.judged_ctx = t;
    }
    if (!isnan(t->options->penalty)) {
        options.penalties = &t->options->penalty;
        options.penalty_count = 1;
    }
    t->map = map;
    t->errors = errors;
    return ridge_fit(&source, &options, out, err);
}

static bool fit_linear(struct training *t, struct error *err)
{
    t->linear_map = (struct map){.kind = MODEL_LINEAR,
                                 .transforms = t->learnt,
                                 .inputs = t->features,
                                 .cols = t->features,
                                 .stride = 1};
    return fit_map(t, &t->linear_map, NULL, 0, &t->linear_errors, &t->linear, err);
}

/* ---- the kernel ---- */

static int compare_numbers(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* column(sample.count) = feature j of the sample, ascending. */
static void sort_column(const struct training *t, size_t j, double *column)
{
    for (size_t i = 0; i < t->sample.count; i++)
        column[i] = matrix_row(&t->sample.rows, i)[j];
    qsort(column, t->sample.count, sizeof *column, compare_numbers);
}

/* Of sorted(n). */
static void take_quantiles(const double *sorted, size_t n, double *quantiles)
{
    for (size_t i = 0; i < MODEL_QUANTILES; i++)
        quantiles[i] = sorted[(size_t)(((double)i + 0.5) / MODEL_QUANTILES * (double)n)];
}

/* Transforms for the kernel, and every feature's quantiles. */
static bool shape_columns(struct training *t, struct error *err)
{
    size_t n = t->sample.count;
    double *column = calloc(n + 1, sizeof *column);
    if (column == NULL)
        return no_memory(err);
    for (size_t j = 0; j < t->features; j++) {
        sort_column(t, j, column);
        t->shaped[j] = t->learnt[j];
        transform_choose(&t->shaped[j], column, n);
        take_quantiles(column, n, t->quantiles + j * MODEL_QUANTILES);
    }
    free(column);
    return true;
}

static void tell_tuning(void *ctx, double fraction)
{
    tell(ctx, "tuning", fraction);
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Centres to ask for: no more than rows that may be part of one, and if nobody said how many, a row for
 * each half of a centre. */
static size_t count_centres(const struct training *t)
{
    size_t pool = t->sample.count - t->judged_count, wanted = t->options->centres;
    size_t most = smaller(wanted > 0 ? pool : pool / 2, KERNEL_NUMBERS_MAX / t->features);
    return smaller(wanted > 0 ? wanted : TRAIN_CENTRES_DEFAULT, most);
}

/* Rows of the sample to tune on: for a model that is asked to be small, no more than its centres are worth. */
static size_t count_tuned(const struct training *t)
{
    size_t most = smaller(t->sample.count, TUNE_ROWS_MAX), wanted = t->options->centres;
    size_t worth = wanted > 0 ? ROWS_PER_CENTRE * wanted : most;
    return smaller(most, worth > TUNED_ROWS_MIN ? worth : TUNED_ROWS_MIN);
}

/* Tunes on rows of the sample in random order. */
static bool tune_map(struct training *t, struct error *err)
{
    size_t n = t->sample.count, used = count_tuned(t);
    const struct tune_progress progress = {tell_tuning, t};
    struct matrix u = {0};
    size_t *order = calloc(n + 1, sizeof *order);
    double *y = calloc(used + 1, sizeof *y);
    bool ok = order != NULL && y != NULL ? matrix_init(&u, used, t->features, err) : no_memory(err);
    if (ok) {
        sample_shuffle(order, n);
        for (size_t i = 0; i < used;
             i++) { /* the judged rows come last: they are no centres here */
            const double *row = matrix_row(&t->sample.rows, order[n - 1 - i]);
            transform_row(t->shaped, t->features, row, matrix_row(&u, i));
            y[i] = row[t->features];
        }
        ok = tune(&u, y, count_centres(t), &progress, &t->tuned, err);
    }
    matrix_clear(&u);
    free(order);
    free(y);
    return ok;
}

/* Transformed rows of the sample that are not judged. */
static bool make_pool(const struct training *t, struct matrix *pool, struct error *err)
{
    size_t at = 0, k = 0;
    if (!matrix_init(pool, t->sample.count - t->judged_count, t->features, err))
        return false;
    for (size_t i = 0; i < t->sample.count; i++) {
        if (k < t->judged_count && t->judged[k] == i)
            k++;
        else
            transform_row(t->shaped, t->features, matrix_row(&t->sample.rows, i),
                          matrix_row(pool, at++));
    }
    return true;
}

static struct kernel_map plain_map(const struct training *t)
{
    return (struct kernel_map){.inputs = t->features,
                               .direction_count = t->tuned.direction_count,
                               .centre_count = t->centres.count,
                               .directions = t->tuned.directions,
                               .scales = t->tuned.scales,
                               .centres = t->centres.points};
}

static bool choose_centres(struct training *t, struct error *err)
{
    struct matrix pool;
    struct kernel_map plain = plain_map(t);
    if (!make_pool(t, &pool, err))
        return false;
    bool ok = centres_choose(&pool, &plain, count_centres(t), &t->centres, err);
    matrix_clear(&pool);
    return ok;
}

static bool make_kernel(struct training *t, struct error *err)
{
    struct map *map = &t->kernel_map;
    *map = (struct map){.kind = MODEL_KERNEL,
                        .transforms = t->shaped,
                        .plain = plain_map(t),
                        .inputs = t->features,
                        .cols = t->centres.count,
                        .stride = 1};
    map->kernel = kernel_new(&map->plain, err);
    if (map->kernel == NULL)
        return false;
    t->k = calloc(kernel_padded(map->kernel), sizeof *t->k);
    return t->k != NULL || no_memory(err);
}

static bool fit_kernel(struct training *t, struct error *err)
{
    double penalties[PATH_POINTS];
    if (!tune_map(t, err) || !choose_centres(t, err))
        return false;
    if (t->centres.count == 0) /* rows that hardly differ */
        return true;
    for (size_t l = 0; l < PATH_POINTS; l++)
        penalties[l] = t->tuned.penalty * (double)t->rows * pow(10, ((double)l - 6) / 4);
    return make_kernel(t, err) &&
           fit_map(t, &t->kernel_map, penalties, PATH_POINTS, &t->kernel_errors, &t->kernel, err);
}

/* Whether a kernel can be better at all. */
static bool is_worth_trying(const struct training *t)
{
    const struct ridge *fit = &t->linear;
    return !t->options->linear && t->sample.count >= KERNEL_ROWS_MIN &&
           t->features < KERNEL_INPUTS_MAX && fit->leave_one_out[fit->chosen].rmse > 0;
}

/* The squared errors differ by two standard errors of their difference. */
static bool kernel_is_better(const struct training *t)
{
    double sum = 0, squares = 0, n = (double)t->judged_count;
    if (t->kernel.cols == 0)
        return false;
    for (size_t i = 0; i < t->judged_count; i++) {
        double linear = error_of(&t->linear_errors, &t->linear, i);
        double kernel = error_of(&t->kernel_errors, &t->kernel, i);
        double gain = linear * linear - kernel * kernel;
        sum += gain;
        squares += gain * gain;
    }
    double mean = sum / n, variance = fmax(squares / n - mean * mean, 0);
    return mean > 2 * sqrt(variance / n);
}

/* ---- a prior ---- */

static bool fit_prior(struct training *t, struct error *err)
{
    const struct model *prior = t->options->prior;
    const struct model_parts *parts = &prior->parts;
    struct map *map = parts->kind == MODEL_KERNEL ? &t->kernel_map : &t->linear_map;
    for (size_t j = 0; j < t->features; j++)
        t->shaped[j] = parts->features[j].transform;
    *map = (struct map){.kind = parts->kind,
                        .transforms = t->shaped,
                        .plain = parts->kernel,
                        .kernel = prior->kernel,
                        .inputs = t->features,
                        .cols = parts->prediction.coefficient_count,
                        .stride = 1};
    t->k = calloc(map->cols + KERNEL_LANES, sizeof *t->k);
    if (t->k == NULL)
        return no_memory(err);
    bool kernel = map == &t->kernel_map;
    return fit_map(t, map, NULL, 0, kernel ? &t->kernel_errors : &t->linear_errors,
                   kernel ? &t->kernel : &t->linear, err);
}

/* ---- intervals ---- */

/* A ridge_source over the judged rows. */
static bool read_judged(void *ctx, uint64_t first, size_t max_rows, double *x, double *y,
                        size_t *rows, struct error *err)
{
    struct training *t = ctx;
    (void)err;
    *rows = max_rows;
    tell(t, "intervals", (double)first / (double)t->judged_count);
    for (size_t i = 0; i < max_rows; i++) {
        size_t at = (size_t)first + i;
        map_row(t, matrix_row(&t->sample.rows, t->judged[at]), x + i * t->map->cols);
        y[i] = t->absolute[at];
    }
    return true;
}

/* Gives the residual function a coefficient for every column: 0 for those that it was not fitted to. */
static bool spread_residual(struct training *t, size_t cols, size_t stride, struct error *err)
{
    struct ridge *residual = &t->calibration.residual;
    double *beta = calloc(cols, sizeof *beta);
    if (beta == NULL)
        return no_memory(err);
    for (size_t m = 0; m < residual->cols; m++)
        beta[m * stride] = residual->beta[m];
    free(residual->beta);
    residual->beta = beta;
    residual->cols = cols;
    return true;
}

/* Keeps |e| of the judged rows; false in *usable if they tell nothing. */
static bool keep_absolute(struct training *t, const struct ridge *fit, const struct errors *errors,
                          bool *usable, struct error *err)
{
    *usable = t->judged_count >= CALIBRATE_ROWS_MIN;
    t->absolute = calloc(t->judged_count + 1, sizeof *t->absolute);
    if (t->absolute == NULL)
        return no_memory(err);
    for (size_t i = 0; *usable && i < t->judged_count; i++) {
        t->absolute[i] = fabs(error_of(errors, fit, i));
        *usable = isfinite(t->absolute[i]); /* else a row that determines itself */
    }
    return true;
}

/* The residual function is smoother than the prediction: some of the centres will do, and the penalties
 * go from a hundredth of the prediction's own to 1,000 times that. */
static bool fit_intervals(struct training *t, const struct ridge *fit, const struct errors *errors,
                          struct error *err)
{
    struct map map = *t->map;
    bool kernel = map.kind == MODEL_KERNEL, usable;
    double penalties[RESIDUAL_POINTS], share = (double)t->judged_count / (double)t->rows;
    if (!keep_absolute(t, fit, errors, &usable, err))
        return false;
    if (!usable)
        return true;
    map.stride = kernel ? (map.cols + RESIDUAL_COLS - 1) / RESIDUAL_COLS : 1;
    map.cols = (map.cols + map.stride - 1) / map.stride;
    const struct ridge_source source = {map.cols, t->judged_count, t, read_judged};
    const struct ridge_options options = {.penalties = penalties,
                                          .penalty_count = RESIDUAL_POINTS,
                                          .metric = kernel ? fill_metric : NULL,
                                          .metric_ctx = t};
    for (size_t l = 0; l < RESIDUAL_POINTS; l++)
        penalties[l] = fmax(fit->penalty, 1e-12) * share * pow(10, ((double)l - 4) / 2);
    const struct map *whole = t->map;
    t->map = &map;
    bool ok = calibrate(&source, &options, t->absolute, &t->calibration, err);
    t->map = whole;
    return ok && spread_residual(t, fit->cols, map.stride, err);
}

/* ---- the result ---- */

/* A figure that is not finite is not a figure. */
static double figure(double value)
{
    return isfinite(value) ? value : NAN;
}

static struct model_figures figures_of(const struct ridge *fit)
{
    if (fit->cols == 0)
        return (struct model_figures){0, NAN, NAN, NAN};
    const struct ridge_figures *f = &fit->leave_one_out[fit->chosen];
    return (struct model_figures){f->rows, figure(f->mae), figure(f->rmse), figure(f->r2)};
}

/* The prior's share is part of what is explained, though not of what was fitted. */
static struct model_figures figures_with_prior(const struct training *t, const struct ridge *fit)
{
    struct model_figures figures = figures_of(fit);
    const struct transform *target = &t->learnt[t->features];
    double relative = figures.rmse / target->scale;
    if (t->options->prior != NULL && target->min < target->max)
        figures.r2 = figure(1 - relative * relative);
    return figures;
}

static struct model_card make_card(const struct training *t, const struct ridge *fit)
{
    struct model_card card = {.rows = t->rows,
                              .penalty = fit->penalty,
                              .threads = ridge_threads(),
                              .leave_one_out = figures_with_prior(t, fit),
                              .holdout = {0, NAN, NAN, NAN},
                              .linear = {0, NAN, NAN, NAN}};
    if (t->options->prior == NULL)
        card.linear = figures_of(&t->linear);
    (void)snprintf(card.data_sha256, sizeof card.data_sha256, "%s", dataset_sha256(t->ds));
    (void)snprintf(card.date, sizeof card.date, "%s", t->options->date);
    ridge_kernel(card.kernel);
    return card;
}

/* Adds the prior's function to what was fitted beside it. */
static struct model_function add_prior(struct ridge *fit, const struct model_function *prior)
{
    for (size_t j = 0; prior != NULL && j < prior->coefficient_count; j++)
        fit->beta[j] += prior->coefficients[j];
    return (struct model_function){fit->intercept + (prior != NULL ? prior->intercept : 0),
                                   fit->beta, fit->cols};
}

/* What the model says of rows of the sample, by fixed stride; for drift to be measured against. */
static bool shape_predictions(struct training *t, const struct model_function *f, struct error *err)
{
    size_t stride = (t->sample.count + PREDICTED_ROWS - 1) / PREDICTED_ROWS, n = 0;
    double *x = calloc(t->map->cols, sizeof *x), *y = calloc(PREDICTED_ROWS, sizeof *y);
    bool ok = x != NULL && y != NULL;
    for (size_t i = 0; ok && i < t->sample.count; i += stride, n++) {
        map_row(t, matrix_row(&t->sample.rows, i), x);
        y[n] = f->intercept;
        for (size_t j = 0; j < t->map->cols; j++)
            y[n] += f->coefficients[j] * x[j];
        if (!isfinite(y[n])) /* overflows are refused when they are asked for */
            y[n] = f->intercept;
    }
    if (ok) {
        qsort(y, n, sizeof *y, compare_numbers);
        take_quantiles(y, n, t->quantiles + t->features * MODEL_QUANTILES);
    }
    free(x);
    free(y);
    return ok || no_memory(err);
}

static struct model *make_model(struct training *t, struct ridge *fit, struct error *err)
{
    const struct model *prior = t->options->prior;
    struct model_function prediction =
        add_prior(fit, prior != NULL ? &prior->parts.prediction : NULL);
    if (!shape_predictions(t, &prediction, err))
        return NULL;
    struct model_feature *features = calloc(t->features, sizeof *features);
    if (features == NULL) {
        (void)no_memory(err);
        return NULL;
    }
    for (size_t j = 0; j < t->features; j++)
        features[j] = (struct model_feature){t->names[j], t->map->transforms[j]};
    const struct model_parts parts = {.name = t->options->name,
                                      .version = t->options->version,
                                      .kind = t->map->kind,
                                      .target_name = t->options->target,
                                      .target_unit = t->options->unit,
                                      .features = features,
                                      .feature_count = t->features,
                                      .quantiles = t->quantiles,
                                      .predicted_quantiles = true,
                                      .kernel = t->map->plain,
                                      .prediction = prediction,
                                      .residual = add_prior(&t->calibration.residual, NULL),
                                      .interval = t->calibration.interval,
                                      .card = make_card(t, fit)};
    struct model *model = model_new(&parts, err);
    free(features);
    return model;
}

static bool prepare(struct training *t, struct error *err)
{
    size_t centres = t->options->centres > 0 ? t->options->centres : TRAIN_CENTRES_DEFAULT;
    if (!choose_columns(t, err))
        return false;
    size_t cols = t->features + 1, rows = SAMPLE_NUMBERS / cols;
    size_t enough = ROWS_PER_CENTRE * centres + JUDGED_MAX;
    t->learnt = calloc(cols, sizeof *t->learnt);
    t->shaped = calloc(t->features, sizeof *t->shaped);
    t->u = calloc(t->features, sizeof *t->u);
    t->quantiles = calloc(cols * MODEL_QUANTILES, sizeof *t->quantiles);
    t->block = calloc(MODEL_BLOCK_ROWS * cols, sizeof *t->block);
    if (t->learnt == NULL || t->shaped == NULL || t->u == NULL || t->quantiles == NULL ||
        t->block == NULL)
        return no_memory(err);
    return sample_init(&t->sample, rows < enough ? rows : enough, cols, err);
}

/* The fit of the map that is kept, and how wrong it is. */
static struct ridge *fit_all(struct training *t, struct error *err)
{
    bool prior = t->options->prior != NULL, kernel = false;
    t->due = 2;
    if (!learn_rows(t, err) || !choose_judged(t, err) || !shape_columns(t, err))
        return NULL;
    if (prior ? !fit_prior(t, err) : !fit_linear(t, err))
        return NULL;
    if (!prior && is_worth_trying(t)) {
        t->due = 4;
        if (!fit_kernel(t, err))
            return NULL;
        kernel = kernel_is_better(t);
        t->map = kernel ? &t->kernel_map : &t->linear_map;
    } else if (prior)
        kernel = t->map == &t->kernel_map;
    struct ridge *fit = kernel ? &t->kernel : &t->linear;
    bool ok = fit_intervals(t, fit, kernel ? &t->kernel_errors : &t->linear_errors, err);
    return ok ? fit : NULL;
}

static bool measure(const struct training *t, struct model *model, struct dataset *holdout,
                    struct error *err)
{
    tell(t, "measuring", NAN);
    return model_score(model, holdout, &model->parts.card.holdout, err);
}

static void training_clear(struct training *t)
{
    if (t->options->prior == NULL)
        kernel_free(t->kernel_map.kernel);
    ridge_clear(&t->linear);
    ridge_clear(&t->kernel);
    calibration_clear(&t->calibration);
    centres_clear(&t->centres);
    tuned_clear(&t->tuned);
    sample_clear(&t->sample);
    free(t->linear_errors.all);
    free(t->kernel_errors.all);
    free(t->judged);
    free(t->absolute);
    free(t->quantiles);
    free(t->block);
    free(t->shaped);
    free(t->learnt);
    free(t->u);
    free(t->k);
    free(t->names);
}

struct model *model_train(const struct train_options *options, struct dataset *ds,
                          struct dataset *holdout, struct error *err)
{
    struct training t = {.options = options, .ds = ds};
    struct model *model = NULL;
    struct ridge *fit = prepare(&t, err) ? fit_all(&t, err) : NULL;
    if (fit != NULL)
        model = make_model(&t, fit, err);
    if (model != NULL && holdout != NULL && !measure(&t, model, holdout, err)) {
        model_free(model);
        model = NULL;
    }
    training_clear(&t);
    return model;
}
