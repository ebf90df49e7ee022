#include "model/merge.h"

#include "model/model_internal.h"
#include "model/ridge.h"
#include "model/stats.h"
#include "model/stats_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_POINTS = 25, PATH_MIDDLE = 12, PATH_PER_DECADE = 3 };

struct merging {
    const struct merge_options *options;
    struct stats sum;
    char (*digests)[65]; /* (part_count): of the parts' rows */
    double *k;           /* a row of the metric, padded */
    struct ridge fit;
    struct model_figures held_out; /* leave-one-part-out, rows 0: not measured */
    struct model_feature *features;
    double *quantiles;
    double scores[MODEL_SCORES_MAX];
};

static void tell(const struct merging *m, const char *stage, double fraction)
{
    if (m->options->progress != NULL)
        m->options->progress(m->options->progress_ctx, stage, fraction);
}

static bool no_memory(struct error *err)
{
    return error_set(err, ERR_NO_MEMORY, "merge: out of memory");
}

/* ---- the sum ---- */

/* Rows that count twice are more likely a slip than meant, and spoil what is left out. */
static bool check_digest(struct merging *m, size_t i, const struct stats *part, struct error *err)
{
    memcpy(m->digests[i], part->data_sha256, sizeof m->digests[i]);
    for (size_t k = 0; k < i; k++)
        if (strcmp(m->digests[k], m->digests[i]) == 0)
            return error_set(err, ERR_INVALID, "expected other rows than those of %.100s",
                             m->options->parts[k]);
    return true;
}

static bool add_part(struct merging *m, size_t i, struct error *err)
{
    struct stats part;
    const char *path = m->options->parts[i];
    tell(m, "merging", (double)i / (double)m->options->part_count);
    if (!stats_load_path(path, &part, err))
        return false;
    bool ok = check_digest(m, i, &part, err);
    if (ok && i == 0) { /* becomes the sum */
        m->sum = part;
        return true;
    }
    ok = ok && stats_merge(&m->sum, &part, err);
    stats_clear(&part);
    if (!ok)
        error_prefix(err, "%s", path);
    return ok;
}

static bool subtract_part(struct merging *m, const char *path, struct error *err)
{
    struct stats part;
    if (!stats_load_path(path, &part, err))
        return false;
    bool ok = stats_subtract(&m->sum, &part, err);
    stats_clear(&part);
    if (!ok)
        error_prefix(err, "%s", path);
    return ok;
}

static bool sum_up(struct merging *m, struct error *err)
{
    const struct merge_options *o = m->options;
    m->digests = calloc(o->part_count, sizeof *m->digests);
    if (m->digests == NULL)
        return no_memory(err);
    for (size_t i = 0; i < o->part_count; i++)
        if (!add_part(m, i, err))
            return false;
    for (size_t i = 0; i < o->subtracted_count; i++)
        if (!subtract_part(m, o->subtracted[i], err))
            return false;
    return true;
}

/* ---- the penalty ---- */

static bool fill_metric(void *ctx, double *p, struct error *err)
{
    struct merging *m = ctx;
    const struct model *map = m->sum.map;
    const struct kernel_map *kernel = &map->parts.kernel;
    (void)err;
    for (size_t c = 0; c < kernel->centre_count; c++) {
        kernel_row(map->kernel, kernel->centres + c * kernel->inputs, m->k);
        memcpy(p + c * kernel->centre_count, m->k, kernel->centre_count * sizeof *p);
    }
    return true;
}

static struct ridge_options options_of(struct merging *m, const double *penalties, size_t count)
{
    bool kernel = m->sum.map->parts.kind == MODEL_KERNEL;
    return (struct ridge_options){.penalties = penalties,
                                  .penalty_count = count,
                                  .metric = kernel ? fill_metric : NULL,
                                  .metric_ctx = m};
}

/* Around the map's penalty per row; if it has none to speak of, around the mean square of a column. */
static void make_path(const struct merging *m, double *penalties)
{
    const struct model_card *card = &m->sum.map->parts.card;
    const struct ridge_moments *moments = &m->sum.moments;
    double per_row = card->rows > 0 ? card->penalty / (double)card->rows : 0, trace = 0;
    double n = (double)m->sum.rows;
    for (size_t j = 0; j < moments->cols; j++)
        trace += moments->gram.data[j * moments->cols + j];
    if (!(per_row > 0))
        per_row = trace > 0 ? 1e-3 * trace / n / (double)moments->cols : 1;
    for (int l = 0; l < PATH_POINTS; l++)
        penalties[l] = per_row * n * pow(10, (double)(l - PATH_MIDDLE) / PATH_PER_DECADE);
}

/* squares(PATH_POINTS) += the errors that fits without part i make on it. */
static bool leave_out(struct merging *m, size_t i, const struct ridge_options *options,
                      double *squares, struct error *err)
{
    struct stats part;
    double errors[PATH_POINTS];
    const char *path = m->options->parts[i];
    tell(m, "choosing the penalty", (double)i / (double)m->options->part_count);
    if (!stats_load_path(path, &part, err))
        return false;
    bool ok = stats_check_match(&m->sum, &part, err) &&
              (strcmp(part.data_sha256, m->digests[i]) == 0 ||
               error_set(err, ERR_INVALID, "changed while it was read")) &&
              ridge_held_out(&m->sum.moments, &part.moments, options, errors, err);
    stats_clear(&part);
    if (!ok)
        error_prefix(err, "%s", path);
    for (size_t l = 0; ok && l < PATH_POINTS; l++)
        squares[l] += errors[l];
    return ok;
}

static bool choose_penalty(struct merging *m, double *penalty, struct error *err)
{
    double penalties[PATH_POINTS], squares[PATH_POINTS] = {0};
    double n = (double)m->sum.rows, yy = m->sum.moments.yy;
    size_t best = 0;
    make_path(m, penalties);
    const struct ridge_options options = options_of(m, penalties, PATH_POINTS);
    for (size_t i = 0; i < m->options->part_count; i++)
        if (!leave_out(m, i, &options, squares, err))
            return false;
    for (size_t l = 1; l < PATH_POINTS; l++)
        if (squares[l] <= squares[best] || isnan(squares[best]))
            best = l;
    if (!isfinite(squares[best]))
        return error_set(err, ERR_NUMERIC, "penalty: none has a finite leave-one-part-out error");
    *penalty = penalties[best];
    m->held_out = (struct model_figures){m->sum.rows, NAN, sqrt(squares[best] / n),
                                         yy > 0 ? 1 - squares[best] / yy : NAN};
    return true;
}

static bool find_penalty(struct merging *m, double *penalty, struct error *err)
{
    const struct merge_options *o = m->options;
    *penalty = o->choice == MERGE_MAP ? m->sum.map->parts.card.penalty : o->penalty;
    if (o->choice != MERGE_AUTO)
        return true;
    if (o->part_count < 2)
        return error_set(err, ERR_INVALID,
                         "penalty: auto leaves out one part at a time; expected two parts, got 1");
    if (o->subtracted_count > 0)
        return error_set(err, ERR_INVALID,
                         "penalty: expected map or a number, for auto cannot tell which parts the "
                         "subtracted rows were in");
    return choose_penalty(m, penalty, err);
}

/* ---- the model ---- */

static struct model_parts copy_map(const struct merging *m)
{
    struct model_parts parts = m->sum.map->parts;
    const struct merge_options *o = m->options;
    if (o->name != NULL)
        parts.name = o->name;
    if (o->version != NULL)
        parts.version = o->version;
    (void)snprintf(parts.card.date, sizeof parts.card.date, "%s", o->date != NULL ? o->date : "");
    return parts;
}

/* The quantiles of all columns, or of the prediction only: others stay the map's. */
static bool set_quantiles(struct merging *m, size_t first, struct model_parts *parts,
                          struct error *err)
{
    size_t rows = model_quantile_rows(parts);
    if (rows == 0)
        return true;
    m->quantiles = calloc(rows * MODEL_QUANTILES, sizeof *m->quantiles);
    if (m->quantiles == NULL)
        return no_memory(err);
    memcpy(m->quantiles, parts->quantiles, rows * MODEL_QUANTILES * sizeof *m->quantiles);
    for (size_t c = first; c < m->sum.columns; c++)
        (void)stats_quantiles(&m->sum, c, m->quantiles + c * MODEL_QUANTILES);
    parts->quantiles = m->quantiles;
    return true;
}

/* Ranges of the rows, as far as the map can tell values apart. */
static bool set_features(struct merging *m, struct model_parts *parts, struct error *err)
{
    m->features = calloc(parts->feature_count, sizeof *m->features);
    if (m->features == NULL)
        return no_memory(err);
    for (size_t j = 0; j < parts->feature_count; j++) {
        const struct histogram *h = &m->sum.histograms[j];
        struct transform *t = &m->features[j].transform;
        m->features[j] = parts->features[j];
        t->min = t->clipped ? fmin(fmax(h->least, t->low), t->high) : h->least;
        t->max = t->clipped ? fmin(fmax(h->greatest, t->low), t->high) : h->greatest;
    }
    parts->features = m->features;
    return true;
}

static struct model *make_fitted(struct merging *m, struct error *err)
{
    static const struct model_figures none = {0, NAN, NAN, NAN};
    struct model_parts parts = copy_map(m);
    struct model_card *card = &parts.card;
    parts.prediction = (struct model_function){m->fit.intercept, m->fit.beta, m->fit.cols};
    parts.interval.score_count = 0; /* the scale stays: a second pass finds scores for it */
    card->rows = m->sum.rows;
    memcpy(card->data_sha256, m->sum.data_sha256, sizeof card->data_sha256);
    card->penalty = m->fit.penalty;
    ridge_kernel(card->kernel);
    card->threads = ridge_threads();
    card->leave_one_out = m->held_out;
    card->holdout = card->linear = none;
    if (!set_features(m, &parts, err) || !set_quantiles(m, 0, &parts, err))
        return NULL;
    return model_new(&parts, err);
}

static struct model *merge_rows(struct merging *m, struct error *err)
{
    double penalty;
    const struct ridge_options options = options_of(m, &penalty, 1);
    if (m->sum.map->parts.kind == MODEL_KERNEL) {
        m->k = calloc(kernel_padded(m->sum.map->kernel), sizeof *m->k);
        if (m->k == NULL) {
            (void)no_memory(err);
            return NULL;
        }
    }
    if (!find_penalty(m, &penalty, err))
        return NULL;
    tell(m, "solving", NAN);
    return ridge_solve(&m->sum.moments, &options, &m->fit, err) ? make_fitted(m, err) : NULL;
}

/* scores[i] = the rank-th smallest of n, rank = (i + 1) / (count + 1) (n + 1) rounded up, or a little
 * more: the bound of the cell it is in. */
static size_t find_scores(const struct stats *s, double *scores)
{
    size_t count = s->rows < MODEL_SCORES_MAX ? (size_t)s->rows : MODEL_SCORES_MAX, cell = 0;
    double upto = (double)s->scores[0];
    for (size_t i = 0; i < count; i++) {
        double share = (double)(i + 1) / (double)(count + 1);
        double rank = ceil(share * (double)(s->rows + 1) - 1e-9);
        while (upto < rank && cell + 1 < SCORE_CELLS)
            upto += (double)s->scores[++cell];
        scores[i] = score_bound(cell);
    }
    return count;
}

static struct model *merge_residuals(struct merging *m, struct error *err)
{
    const struct stats_errors *e = &m->sum.errors;
    double n = (double)m->sum.rows;
    if (m->sum.rows < MERGE_ROWS_MIN) {
        (void)error_set(err, ERR_INVALID, "expected the residuals of at least %d rows, got %.0f",
                        MERGE_ROWS_MIN, n);
        return NULL;
    }
    struct model_parts parts = copy_map(m);
    if (m->options->date == NULL)
        memcpy(parts.card.date, m->sum.map->parts.card.date, sizeof parts.card.date);
    parts.interval.scores = m->scores;
    parts.interval.score_count = find_scores(&m->sum, m->scores);
    parts.card.holdout = (struct model_figures){m->sum.rows, e->absolute / n, sqrt(e->squares / n),
                                                e->yy > 0 ? 1 - e->squares / e->yy : NAN};
    if (!set_quantiles(m, m->sum.columns - 1, &parts, err))
        return NULL;
    return model_new(&parts, err);
}

struct model *merge(const struct merge_options *options, struct error *err)
{
    struct merging m = {.options = options, .held_out = {0, NAN, NAN, NAN}};
    struct model *model = NULL;
    size_t date_max = sizeof((struct model_card *)0)->date - 1;
    if (options->date != NULL && strlen(options->date) > date_max)
        (void)error_set(err, ERR_INVALID, "date: expected at most %zu bytes", date_max);
    else if (sum_up(&m, err))
        model = m.sum.kind == STATS_ROWS ? merge_rows(&m, err) : merge_residuals(&m, err);
    stats_clear(&m.sum);
    ridge_clear(&m.fit);
    free(m.digests);
    free(m.k);
    free(m.features);
    free(m.quantiles);
    return model;
}
