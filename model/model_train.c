/* A ridge_source over the dataset: asked for row 0, it rewinds; after the last row it makes sure that
 * the file ends where it ended before. */
#include "model/model_train.h"

#include "model/model_internal.h"
#include "model/model_score.h"
#include "model/ridge.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Everything training holds. */
struct training {
    const struct train_options *options;
    struct dataset *ds;
    size_t features;
    const char **names;       /* (features + 1), the target last */
    struct transform *learnt; /* (features) */
    double *block;            /* (MODEL_BLOCK_ROWS, features + 1) */
    uint64_t rows, passes;
    struct ridge fit;
};

static void tell(const struct training *t, const char *stage, double fraction)
{
    if (t->options->progress != NULL)
        t->options->progress(t->options->progress_ctx, stage, fraction);
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
    t->names = calloc(count + 1, sizeof *t->names);
    if (t->names == NULL)
        return error_set(err, ERR_NO_MEMORY, "out of memory");
    for (size_t j = 0; j < count; j++) {
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

/* Moves the features of the block's rows together, into x, and the target into y. x may be the block
 * itself. */
static void split(const double *block, size_t features, size_t rows, double *x, double *y)
{
    for (size_t i = 0; i < rows; i++, block += features + 1, x += features) {
        double target = block[features];
        memmove(x, block, features * sizeof *x);
        if (y != NULL)
            y[i] = target;
    }
}

static bool learn_transform(struct training *t, struct error *err)
{
    size_t rows = MODEL_BLOCK_ROWS;
    tell(t, "reading", NAN);
    while (rows == MODEL_BLOCK_ROWS) {
        if (!dataset_read(t->ds, MODEL_BLOCK_ROWS, t->block, &rows, err))
            return false;
        split(t->block, t->features, rows, t->block, NULL);
        transform_learn(t->learnt, t->features, t->rows, t->block, rows);
        t->rows += rows;
    }
    if (t->rows == 0)
        return error_set(err, ERR_INVALID, "expected at least one row to train on");
    return transform_finish(t->learnt, t->features, t->rows, err);
}

static bool check_end(struct training *t, struct error *err)
{
    size_t rows;
    if (!dataset_read(t->ds, 1, t->block, &rows, err))
        return false;
    return rows == 0 || error_set(err, ERR_INVALID, "the data grew while it was read");
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
    split(t->block, t->features, *rows, x, y);
    for (size_t i = 0; i < *rows; i++)
        transform_row(t->learnt, t->features, x + i * t->features, x + i * t->features);
    uint64_t done = first + *rows;
    /* ridge.h makes two passes. */
    tell(t, "fitting", ((double)(t->passes - 1) + (double)done / (double)t->rows) / 2);
    return done < t->rows || check_end(t, err);
}

static bool fit(struct training *t, struct error *err)
{
    const struct ridge_source source = {t->features, t->rows, t, read_rows};
    const struct ridge_options options = {.penalties = &t->options->penalty,
                                          .penalty_count = isnan(t->options->penalty) ? 0U : 1U,
                                          .leave_one_out = true};
    return ridge_fit(&source, &options, &t->fit, err);
}

/* ---- the result ---- */

/* A figure that is not finite is not a figure. */
static double figure(double value)
{
    return isfinite(value) ? value : NAN;
}

static struct model_card make_card(const struct training *t)
{
    const struct ridge_figures *loo = &t->fit.leave_one_out[t->fit.chosen];
    struct model_card card = {
        .rows = t->rows,
        .penalty = t->fit.penalty,
        .threads = ridge_threads(),
        .leave_one_out = {loo->rows, figure(loo->mae), figure(loo->rmse), figure(loo->r2)},
        .holdout = {0, NAN, NAN, NAN}};
    (void)snprintf(card.data_sha256, sizeof card.data_sha256, "%s", dataset_sha256(t->ds));
    (void)snprintf(card.date, sizeof card.date, "%s", t->options->date);
    ridge_kernel(card.kernel);
    return card;
}

static struct model *make_model(const struct training *t, struct error *err)
{
    struct model_feature *features = calloc(t->features, sizeof *features);
    if (features == NULL) {
        (void)error_set(err, ERR_NO_MEMORY, "out of memory");
        return NULL;
    }
    for (size_t j = 0; j < t->features; j++)
        features[j] = (struct model_feature){t->names[j], t->learnt[j]};
    const struct model_parts parts = {.name = t->options->name,
                                      .version = t->options->version,
                                      .kind = MODEL_LINEAR,
                                      .target_name = t->options->target,
                                      .target_unit = t->options->unit,
                                      .features = features,
                                      .feature_count = t->features,
                                      .prediction = {t->fit.intercept, t->fit.beta, t->features},
                                      .card = make_card(t)};
    struct model *model = model_new(&parts, err);
    free(features);
    return model;
}

static bool prepare(struct training *t, struct error *err)
{
    if (!choose_columns(t, err))
        return false;
    t->learnt = calloc(t->features, sizeof *t->learnt);
    t->block = calloc(MODEL_BLOCK_ROWS * (t->features + 1), sizeof *t->block);
    return (t->learnt != NULL && t->block != NULL) ||
           error_set(err, ERR_NO_MEMORY, "out of memory");
}

static bool measure(const struct training *t, struct model *model, struct dataset *holdout,
                    struct error *err)
{
    tell(t, "measuring", NAN);
    return model_score(model, holdout, &model->parts.card.holdout, err);
}

struct model *model_train(const struct train_options *options, struct dataset *ds,
                          struct dataset *holdout, struct error *err)
{
    struct training t = {.options = options, .ds = ds};
    struct model *model = NULL;
    if (prepare(&t, err) && learn_transform(&t, err) && fit(&t, err))
        model = make_model(&t, err);
    if (model != NULL && holdout != NULL && !measure(&t, model, holdout, err)) {
        model_free(model);
        model = NULL;
    }
    ridge_clear(&t.fit);
    free(t.block);
    free(t.learnt);
    free(t.names);
    return model;
}
