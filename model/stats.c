/* The statistics of one block of rows at a time: its features are made, then summed up. */
#include "model/stats.h"

#include "model/model_file.h"
#include "model/model_internal.h"
#include "model/model_score.h"

#include <inttypes.h>
#include <math.h>
#include <sha2.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_NUMBERS = 1 << 22 }; /* 32 MB of features */

static bool no_memory(struct error *err)
{
    return error_set(err, ERR_NO_MEMORY, "statistics: out of memory");
}

/* ---- one part ---- */

/* The reference that a column is counted over, NULL where the map has none. */
static const double *reference_of(const struct model_parts *parts, size_t column)
{
    bool known =
        parts->quantiles != NULL && (column < parts->feature_count || parts->predicted_quantiles);
    return known ? parts->quantiles + column * MODEL_QUANTILES : NULL;
}

static void init_histograms(struct stats *s)
{
    const struct model_parts *parts = &s->map->parts;
    for (size_t c = 0; c < s->columns; c++) {
        const double *q = reference_of(parts, c);
        double least = q != NULL ? q[0] : 0, greatest = q != NULL ? q[MODEL_QUANTILES - 1] : 0;
        if (c < parts->feature_count) { /* a hand-made artifact may say anything */
            least = fmin(least, parts->features[c].transform.min);
            greatest = fmax(greatest, parts->features[c].transform.max);
        }
        histogram_init(&s->histograms[c], q, least, greatest);
    }
}

bool stats_init(struct stats *s, enum stats_kind kind, const char *map_text, size_t map_bytes,
                struct error *err)
{
    *s = (struct stats){.kind = kind, .map_bytes = map_bytes};
    s->map = model_from_text(map_text, map_bytes, err);
    if (s->map == NULL)
        return false;
    s->columns = s->map->parts.feature_count + 1;
    s->map_text = malloc(map_bytes);
    s->histograms = calloc(s->columns, sizeof *s->histograms);
    if (kind == STATS_RESIDUALS)
        s->scores = calloc(SCORE_CELLS, sizeof *s->scores);
    bool ok = s->map_text != NULL && s->histograms != NULL &&
              (kind != STATS_RESIDUALS || s->scores != NULL);
    if (ok) {
        memcpy(s->map_text, map_text, map_bytes);
        init_histograms(s);
    } else
        (void)no_memory(err);
    if (ok && kind == STATS_ROWS)
        ok = ridge_moments_init(&s->moments, s->map->parts.prediction.coefficient_count, err);
    if (!ok)
        stats_clear(s);
    return ok;
}

void stats_clear(struct stats *s)
{
    model_free(s->map);
    free(s->map_text);
    free(s->histograms);
    free(s->scores);
    ridge_moments_clear(&s->moments);
    *s = (struct stats){.columns = 0};
}

/* ---- rows ---- */

/* Room for a block of rows. */
struct block {
    size_t max_rows;
    double *rows;      /* (max_rows, features + 1), the target last */
    double *phi;       /* (max_rows, map's columns), and padding */
    double *y, *f, *r; /* (max_rows): targets, predictions, what errors are divided by */
};

static bool block_init(struct block *b, const struct stats *s, struct error *err)
{
    size_t cols = s->map->parts.prediction.coefficient_count, most = BLOCK_NUMBERS / cols;
    b->max_rows = most < MODEL_BLOCK_ROWS ? most : MODEL_BLOCK_ROWS;
    b->rows = calloc(b->max_rows * s->columns, sizeof *b->rows);
    b->phi =
        s->kind == STATS_ROWS ? calloc(b->max_rows * cols + KERNEL_LANES, sizeof *b->phi) : NULL;
    b->y = calloc(3 * b->max_rows, sizeof *b->y);
    if (b->rows == NULL || (s->kind == STATS_ROWS && b->phi == NULL) || b->y == NULL)
        return no_memory(err);
    b->f = b->y + b->max_rows;
    b->r = b->f + b->max_rows;
    return true;
}

static void block_clear(struct block *b)
{
    free(b->rows);
    free(b->phi);
    free(b->y);
}

static bool check_finite(double value, const char *what, uint64_t row, struct error *err)
{
    return isfinite(value) ||
           error_set(err, ERR_NUMERIC, "row %" PRIu64 ": expected a finite %s, got none", row + 1,
                     what);
}

/* Counts the inputs and, if it is finite, the map's prediction. */
static void count_row(struct stats *s, const double *x, double f)
{
    size_t features = s->columns - 1;
    for (size_t j = 0; j < features; j++)
        histogram_add(&s->histograms[j], x[j]);
    histogram_add(&s->histograms[features], f);
}

/* Features are made row by row, front to back: the padding of one is overwritten by the next. */
static void sum_rows(struct stats *s, struct block *b, size_t rows)
{
    size_t cols = s->moments.cols;
    for (size_t i = 0; i < rows; i++)
        model_feature_map(s->map, b->rows + i * s->columns, b->phi + i * cols);
    ridge_moments_add(&s->moments, rows, b->phi, b->y);
}

/* What errors are divided by, as interval_half_widths has it. */
static double error_scale(const struct model *map, const double *x)
{
    const struct model_parts *parts = &map->parts;
    return parts->interval.scaled
               ? fmax(model_function_value(map, &parts->residual, x), parts->interval.floor)
               : 1;
}

static void sum_errors(struct stats *s, const struct block *b, size_t rows)
{
    struct stats_errors *e = &s->errors;
    for (size_t i = 0; i < rows; i++) {
        double error = b->y[i] - b->f[i], from_mean = b->y[i] - e->mean_y;
        e->absolute += fabs(error);
        e->squares += error * error;
        e->mean_y += from_mean / (double)(s->rows + i + 1);
        e->yy += from_mean * (b->y[i] - e->mean_y);
        s->scores[score_cell(fabs(error) / error_scale(s->map, b->rows + i * s->columns))]++;
    }
}

static bool add_block(struct stats *s, struct block *b, size_t rows, struct error *err)
{
    for (size_t i = 0; i < rows; i++) {
        const double *x = b->rows + i * s->columns;
        model_predict(s->map, 1, x, &b->f[i]);
        b->y[i] = x[s->columns - 1];
        if (!check_finite(b->f[i], "prediction", s->rows + i, err))
            return false;
        count_row(s, x, b->f[i]);
    }
    if (s->kind == STATS_ROWS && rows > 0)
        sum_rows(s, b, rows);
    if (s->kind == STATS_RESIDUALS)
        sum_errors(s, b, rows);
    s->rows += rows;
    return true;
}

/* Sums that are not finite would make every merge so. */
static bool check_sums(const struct stats *s, struct error *err)
{
    const struct ridge_moments *m = &s->moments;
    bool ok = isfinite(m->yy) && isfinite(s->errors.squares) && isfinite(s->errors.yy);
    for (size_t j = 0; ok && j < m->cols; j++)
        ok = isfinite(m->gram.data[j * m->cols + j]) && isfinite(m->xy.data[j]);
    return ok || error_set(err, ERR_NUMERIC, "sums of squares exceed the largest double");
}

bool stats_collect(struct stats *s, struct dataset *ds, void (*tell)(void *ctx), void *ctx,
                   struct error *err)
{
    struct block b = {0};
    bool ok = model_select(s->map, true, ds, err) && block_init(&b, s, err);
    for (size_t rows = b.max_rows; ok && rows == b.max_rows;) {
        ok = dataset_read(ds, b.max_rows, b.rows, &rows, err) && add_block(s, &b, rows, err);
        if (tell != NULL)
            tell(ctx);
    }
    block_clear(&b);
    if (ok && s->rows == 0)
        ok = error_set(err, ERR_INVALID, "expected at least one row");
    if (!ok)
        return false;
    ridge_moments_finish(&s->moments);
    memcpy(s->data_sha256, dataset_sha256(ds), sizeof s->data_sha256);
    return check_sums(s, err);
}

/* ---- many parts ---- */

bool stats_check_match(const struct stats *s, const struct stats *part, struct error *err)
{
    static const char *const words[] = {"rows", "residuals"};
    if (strcmp(model_sha256(s->map), model_sha256(part->map)) != 0)
        return error_set(err, ERR_INVALID,
                         "expected statistics through the map %.16s..., got the map %.16s...",
                         model_sha256(s->map), model_sha256(part->map));
    return s->kind == part->kind ||
           error_set(err, ERR_INVALID, "expected statistics of %s, got those of %s", words[s->kind],
                     words[part->kind]);
}

/* The digest of the digests, in the order of the parts; of one part its own. */
static void join_digests(struct stats *s, const struct stats *part, const char *sign)
{
    SHA2_CTX sha;
    if (s->rows == 0) {
        memcpy(s->data_sha256, part->data_sha256, sizeof s->data_sha256);
        return;
    }
    SHA256Init(&sha);
    SHA256Update(&sha, (const uint8_t *)s->data_sha256, strlen(s->data_sha256));
    SHA256Update(&sha, (const uint8_t *)sign, strlen(sign));
    SHA256Update(&sha, (const uint8_t *)part->data_sha256, strlen(part->data_sha256));
    (void)SHA256End(&sha, s->data_sha256);
}

/* Chan's formula for one variable, as ridge_moments_merge has it. */
static void merge_errors(struct stats *s, const struct stats *part)
{
    struct stats_errors *e = &s->errors;
    const struct stats_errors *p = &part->errors;
    double n = (double)s->rows, k = (double)part->rows, shift = p->mean_y - e->mean_y;
    e->absolute += p->absolute;
    e->squares += p->squares;
    e->yy += p->yy + n * k / (n + k) * shift * shift;
    e->mean_y += k / (n + k) * shift;
    for (size_t i = 0; i < SCORE_CELLS; i++)
        s->scores[i] += part->scores[i];
}

bool stats_merge(struct stats *s, const struct stats *part, struct error *err)
{
    if (!stats_check_match(s, part, err))
        return false;
    if (s->kind == STATS_ROWS && !ridge_moments_merge(&s->moments, &part->moments, err))
        return false;
    if (s->kind == STATS_RESIDUALS)
        merge_errors(s, part);
    for (size_t c = 0; c < s->columns; c++)
        histogram_merge(&s->histograms[c], &part->histograms[c]);
    join_digests(s, part, "+");
    s->rows += part->rows;
    return true;
}

bool stats_subtract(struct stats *s, const struct stats *part, struct error *err)
{
    if (!stats_check_match(s, part, err))
        return false;
    if (s->kind != STATS_ROWS)
        return error_set(err, ERR_INVALID, "expected statistics of rows to subtract");
    if (!ridge_moments_subtract(&s->moments, &part->moments, err))
        return false;
    for (size_t c = 0; c < s->columns; c++)
        if (!histogram_subtract(&s->histograms[c], &part->histograms[c]))
            return error_set(err, ERR_INVALID, "expected rows that are part of the others");
    join_digests(s, part, "-");
    s->rows -= part->rows;
    return true;
}

bool stats_quantiles(const struct stats *s, size_t column, double *quantiles)
{
    if (reference_of(&s->map->parts, column) == NULL)
        return false;
    histogram_quantiles(&s->histograms[column], quantiles);
    return true;
}
