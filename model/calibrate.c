#include "model/calibrate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double floor_share = 0.2; /* of the mean |e|: the narrowest interval there is */

static const double judged_level = 0.9; /* where scaled and unscaled are compared */

/* Leave-one-out residuals of the residual function, one per row and penalty. */
struct store {
    double *residual;
    size_t penalties;
};

static bool keep_residuals(void *ctx, uint64_t row, const double *residual, size_t count,
                           struct error *err)
{
    struct store *s = ctx;
    (void)err;
    memcpy(s->residual + row * s->penalties, residual, count * sizeof *residual);
    return true;
}

static int compare_numbers(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The q-quantile of n ascending numbers as conformal prediction counts: rank ceil(q (n + 1)). */
static double conformal_quantile(const double *sorted, size_t n, double q)
{
    double rank = ceil(q * (double)(n + 1) - 1e-9);
    return rank > (double)n ? INFINITY : sorted[(size_t)rank - 1];
}

static double mean(const double *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    return sum / (double)n;
}

static void divide(const double *absolute, const double *width, size_t n, double *scores)
{
    for (size_t i = 0; i < n; i++)
        scores[i] = width != NULL ? absolute[i] / width[i] : absolute[i];
    qsort(scores, n, sizeof *scores, compare_numbers);
}

/* Scores of `width`, or plain ones if it does not tighten the intervals; scratch(n). */
static bool set_scores(struct calibration *c, const double *absolute, const double *width, size_t n,
                       double *scratch, struct error *err)
{
    size_t count = n < MODEL_SCORES_MAX ? n : MODEL_SCORES_MAX;
    divide(absolute, width, n, scratch);
    double scaled = conformal_quantile(scratch, n, judged_level) * mean(width, n);
    divide(absolute, NULL, n, scratch);
    c->interval.scaled = scaled < conformal_quantile(scratch, n, judged_level);
    if (c->interval.scaled)
        divide(absolute, width, n, scratch);
    c->scores = calloc(count, sizeof *c->scores);
    if (c->scores == NULL)
        return error_set(err, ERR_NO_MEMORY, "calibrate: out of memory");
    for (size_t i = 0; i < count; i++)
        c->scores[i] = conformal_quantile(scratch, n, (double)(i + 1) / (double)(count + 1));
    c->interval.scores = c->scores;
    c->interval.score_count = count;
    return true;
}

bool calibrate(const struct ridge_source *source, const struct ridge_options *options,
               const double *absolute, struct calibration *out, struct error *err)
{
    size_t n = (size_t)source->rows, count = options->penalty_count;
    struct ridge_options own = *options;
    *out = (struct calibration){.scores = NULL};
    double *room = calloc(n * (count + 2), sizeof *room);
    if (room == NULL)
        return error_set(err, ERR_NO_MEMORY, "calibrate: out of memory");
    double *width = room + n * count, *scratch = width + n;
    struct store store = {room, count};
    own.leave_one_out = true;
    own.residuals = keep_residuals;
    own.residuals_ctx = &store;
    bool ok = ridge_fit(source, &own, &out->residual, err);
    if (ok) {
        out->interval.floor = floor_share * mean(absolute, n);
        for (size_t i = 0; i < n; i++) {
            double wrong = room[i * count + out->residual.chosen];
            width[i] = fmax(absolute[i] - wrong, out->interval.floor);
        }
        ok = !(out->interval.floor > 0) || set_scores(out, absolute, width, n, scratch, err);
    }
    free(room);
    if (!ok)
        calibration_clear(out);
    return ok;
}

void calibration_clear(struct calibration *c)
{
    ridge_clear(&c->residual);
    free(c->scores);
    *c = (struct calibration){.scores = NULL};
}
