/* transform.h - brings every raw feature to a common scale, as learned from the training rows.
 *
 * Formula: standardise: u = (x - mean) / scale, mean and standard deviation (population) of the
 *          training column. A column that does not vary gets scale 1, so u is 0 there.
 * Does not: clip; the range is kept for those who do, and for people.
 * Threads: no state.
 * Memory:  the caller's array, one struct per feature; it is also where learning keeps its sums.
 * Errors:  ERR_NUMERIC when the squares of a column overflow.
 */
#ifndef MODEL_TRANSFORM_H
#define MODEL_TRANSFORM_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum transform_kind { TRANSFORM_STANDARDISE };

/* One feature's transform. */
struct transform {
    enum transform_kind kind;
    double min, max; /* of the training rows */
    double mean, scale;
};

/* Takes in rows x(rows, cols), row-major and finite, after `seen` earlier ones (0: starts anew). How
 * the rows are cut into calls does not change a bit of the result. */
void transform_learn(struct transform *t, size_t cols, uint64_t seen, const double *x, size_t rows);

/* After the last of `rows` rows, at least one: t[0..cols) is ready for use. */
bool transform_finish(struct transform *t, size_t cols, uint64_t rows,
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
