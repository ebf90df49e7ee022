/* Welford's recurrence (1962, "Note on a method for calculating corrected sums of squares and
 * products"): one pass, no digits lost far from zero. While learning, `scale` is the sum of squared
 * deviations from the mean so far. */
#include "model/transform.h"

#include <float.h>
#include <math.h>

static void take_in(struct transform *t, double n, double x)
{
    double d = x - t->mean;
    t->mean += d / n;
    t->scale += d * (x - t->mean);
    t->min = x < t->min ? x : t->min;
    t->max = x > t->max ? x : t->max;
}

void transform_learn(struct transform *t, size_t cols, uint64_t seen, const double *x, size_t rows)
{
    for (size_t j = 0; seen == 0 && rows > 0 && j < cols; j++)
        t[j] = (struct transform){
            .kind = TRANSFORM_STANDARDISE, .min = x[j], .max = x[j], .mean = x[j]};
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++)
            take_in(&t[j], (double)(seen + i + 1), *x++);
}

/* A spread that underflows cannot be told from none. */
static void finish(struct transform *t, double rows)
{
    t->scale = sqrt(t->scale / rows);
    if (t->min == t->max || t->scale < DBL_MIN)
        t->scale = 1;
}

bool transform_finish(struct transform *t, size_t cols, uint64_t rows, struct error *err)
{
    for (size_t j = 0; j < cols; j++) {
        finish(&t[j], (double)rows);
        if (!transform_is_valid(&t[j]))
            return error_set(err, ERR_NUMERIC,
                             "column %zu: expected numbers whose squares do not overflow", j);
    }
    return true;
}

/* ---- the kernel model's choice ---- */

/* Where skewness is measured: quantiles, so that a few far rows do not decide. */
static const double tail = 0.01;

/* A log has to halve a skewness of at least this much, of 1. */
static const double skewed = 0.3;

static const double margin = 0.05;

static double quantile(const double *sorted, size_t rows, double q)
{
    return sorted[(size_t)(q * (double)(rows - 1) + 0.5)];
}

/* Skewness of log(x + offset), or of x itself when offset is NAN: -1 to 1, 0 for a constant. */
static double skewness(const double *sorted, size_t rows, double offset)
{
    double q[3] = {quantile(sorted, rows, tail), quantile(sorted, rows, 0.5),
                   quantile(sorted, rows, 1 - tail)};
    for (size_t i = 0; i < 3 && !isnan(offset); i++)
        q[i] = log(q[i] + offset);
    double width = q[2] - q[0];
    return width > 0 ? ((q[2] - q[1]) - (q[1] - q[0])) / width : 0;
}

/* An offset that makes all values positive; NAN if none is apparent. */
static double find_offset(double least, const double *sorted, size_t rows)
{
    double step = quantile(sorted, rows, 0.5) - least;
    if (least > 0)
        return 0;
    if (!(step > 0))
        step = quantile(sorted, rows, 0.9) - least;
    return step > 0 && isfinite(step) ? step / 10 - least : NAN;
}

static void set_log(struct transform *t, double offset, const double *sorted, size_t rows)
{
    double first = log(sorted[0] + offset);
    struct transform learnt = {.min = first, .max = first, .mean = first};
    for (size_t i = 0; i < rows; i++)
        take_in(&learnt, (double)(i + 1), log(sorted[i] + offset));
    finish(&learnt, (double)rows);
    t->kind = TRANSFORM_LOG;
    t->offset = offset;
    t->mean = learnt.mean;
    t->scale = learnt.scale;
}

void transform_choose(struct transform *t, const double *sorted, size_t rows)
{
    double skew = skewness(sorted, rows, NAN), offset = find_offset(t->min, sorted, rows);
    double room = margin * (t->max - t->min);
    room = isfinite(room) ? room : 0;
    if (skew > skewed && !isnan(offset) && fabs(skewness(sorted, rows, offset)) < skew / 2) {
        set_log(t, offset, sorted, rows);
        room = fmin(room, (t->min + offset) / 2);
    }
    t->clipped = true;
    t->low = isfinite(t->min - room) ? t->min - room : t->min;
    t->high = isfinite(t->max + room) ? t->max + room : t->max;
}

static bool range_is_valid(const struct transform *t)
{
    if (!t->clipped)
        return t->kind != TRANSFORM_LOG;
    return isfinite(t->low) && isfinite(t->high) && t->low <= t->min && t->max <= t->high &&
           (t->kind != TRANSFORM_LOG || (isfinite(t->offset) && t->low + t->offset >= DBL_MIN));
}

bool transform_is_valid(const struct transform *t)
{
    return isfinite(t->min) && isfinite(t->max) && t->min <= t->max && isfinite(t->mean) &&
           isfinite(t->scale) && t->scale >= DBL_MIN && range_is_valid(t);
}

void transform_row(const struct transform *t, size_t cols, const double *x, double *u)
{
    for (size_t j = 0; j < cols; j++)
        u[j] = transform_value(&t[j], x[j]);
}
