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
