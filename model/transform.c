/* Mean and variance by the corrected two-pass algorithm (Chan, Golub, LeVeque 1983, "Algorithms for
 * computing the sample variance"), row by row for all columns at once, because rows are what is
 * contiguous. The first pass keeps the sum in `mean`; the second the sum of squares in `scale`, and
 * the sum of the deviations, which would be 0 in exact arithmetic, corrects the mean. */
#include "model/transform.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

static void find_means(const double *x, size_t rows, size_t cols, struct transform *t)
{
    for (size_t j = 0; j < cols; j++)
        t[j] = (struct transform){TRANSFORM_STANDARDISE, x[j], x[j], 0, 0};
    for (size_t i = 0; i < rows; i++, x += cols)
        for (size_t j = 0; j < cols; j++) {
            t[j].min = x[j] < t[j].min ? x[j] : t[j].min;
            t[j].max = x[j] > t[j].max ? x[j] : t[j].max;
            t[j].mean += x[j];
        }
    for (size_t j = 0; j < cols; j++)
        t[j].mean /= (double)rows;
}

static void sum_deviations(const double *x, size_t rows, size_t cols, struct transform *t,
                           double *sums)
{
    for (size_t i = 0; i < rows; i++, x += cols)
        for (size_t j = 0; j < cols; j++) {
            double d = x[j] - t[j].mean;
            sums[j] += d;
            t[j].scale += d * d;
        }
}

static void finish(struct transform *t, size_t rows, double sum)
{
    double n = (double)rows, correction = sum / n;
    t->mean += correction;
    t->scale = sqrt(fmax(t->scale / n - correction * correction, 0));
    /* A spread that underflows cannot be told from none. */
    if (t->min == t->max || t->scale < DBL_MIN) {
        t->mean = t->min == t->max ? t->min : t->mean;
        t->scale = 1;
    }
}

bool transform_learn(const double *x, size_t rows, size_t cols, struct transform *t,
                     struct error *err)
{
    double *sums = calloc(cols, sizeof *sums);
    if (sums == NULL)
        return error_set(err, ERR_NO_MEMORY, "out of memory");
    bool ok = true;
    find_means(x, rows, cols, t);
    sum_deviations(x, rows, cols, t, sums);
    for (size_t j = 0; ok && j < cols; j++) {
        finish(&t[j], rows, sums[j]);
        ok = transform_is_valid(&t[j]) ||
             error_set(err, ERR_NUMERIC,
                       "column %zu: expected numbers whose squares do not overflow", j);
    }
    free(sums);
    return ok;
}

bool transform_is_valid(const struct transform *t)
{
    return isfinite(t->min) && isfinite(t->max) && t->min <= t->max && isfinite(t->mean) &&
           isfinite(t->scale) && t->scale >= DBL_MIN;
}

void transform_row(const struct transform *t, size_t cols, const double *x, double *u)
{
    for (size_t j = 0; j < cols; j++)
        u[j] = transform_value(&t[j], x[j]);
}
