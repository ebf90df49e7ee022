/* transform.h - brings every raw feature to a common scale, as learned from the training rows.
 *
 * Formula: standardise: u = (x - mean) / scale, mean and standard deviation (population) of the
 *          training column. A column that does not vary gets scale 1, so u is 0 there.
 * Does not: clip; the range is kept for those who do, and for people.
 * Threads: no state.
 * Memory:  the caller's arrays; learning borrows one number per column from the heap.
 * Errors:  ERR_NUMERIC when the squares of a column overflow, ERR_NO_MEMORY.
 */
#ifndef MODEL_TRANSFORM_H
#define MODEL_TRANSFORM_H

#include "base/error.h"

#include <stddef.h>

enum transform_kind { TRANSFORM_STANDARDISE };

/* One feature's transform. */
struct transform {
    enum transform_kind kind;
    double min, max; /* of the training rows */
    double mean, scale;
};

/* Learns t[0..cols) from x(rows, cols), row-major and finite, neither count 0. */
bool transform_learn(const double *x, size_t rows, size_t cols, struct transform *t,
                     struct error *err) MUST_CHECK;

/* True if every number is finite, min <= max and scale is a normal positive number. */
bool transform_is_valid(const struct transform *t) MUST_CHECK;

/* One value; the same bits wherever it is computed. */
static inline double transform_value(const struct transform *t, double x)
{
    return (x - t->mean) / t->scale;
}

/* u(cols) from one raw row x(cols). */
void transform_row(const struct transform *t, size_t cols, const double *x, double *u);

#endif
