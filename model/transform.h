/* transform.h - brings every raw feature to a common scale, as learned from the training rows.
 *
 * Formula: u = (g(c(x)) - mean) / scale. c moves x into [low, high] if the transform clips; g is the
 *          identity, or log(x + offset) where that un-skews; mean and standard deviation (population)
 *          are those of g over the training column. A column that does not vary gets scale 1, so u is
 *          0 there.
 * Does not: count what it clipped (transform_clips tells).
 * Threads: no state.
 * Memory:  the caller's array, one struct per feature; it is also where learning keeps its sums.
 * Errors:  ERR_NUMERIC when the squares of a column overflow.
 */
#ifndef MODEL_TRANSFORM_H
#define MODEL_TRANSFORM_H

#include "base/error.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum transform_kind { TRANSFORM_STANDARDISE, TRANSFORM_LOG, TRANSFORM_KIND_COUNT };

/* One feature's transform. */
struct transform {
    enum transform_kind kind;
    double min, max; /* of the training rows */
    double mean, scale;
    double offset; /* log: low + offset > 0 */
    bool clipped;
    double low, high; /* if clipped: finite, low <= min, max <= high */
};

/* Takes in rows x(rows, cols), row-major and finite, after `seen` earlier ones (0: starts anew). How
 * the rows are cut into calls does not change a bit of the result. */
void transform_learn(struct transform *t, size_t cols, uint64_t seen, const double *x, size_t rows);

/* After the last of `rows` rows, at least one: t[0..cols) is ready for use. */
bool transform_finish(struct transform *t, size_t cols, uint64_t rows,
                      struct error *err) MUST_CHECK;

/* Chooses for the kernel model: t, learned from all rows, becomes a log if that un-skews `sorted` (rows
 * values of the column, ascending, at least one), the log's mean and deviation being those of `sorted`,
 * and it clips to the training range with a margin of a twentieth on both sides. */
void transform_choose(struct transform *t, const double *sorted, size_t rows);

/* True if every number is finite, min <= max, scale is a normal positive number, and a log is clipped to
 * where it is defined. */
bool transform_is_valid(const struct transform *t) MUST_CHECK;

/* One value; the same bits wherever it is computed. */
static inline double transform_value(const struct transform *t, double x)
{
    if (t->clipped)
        x = x < t->low ? t->low : x > t->high ? t->high : x;
    if (t->kind == TRANSFORM_LOG)
        x = log(x + t->offset);
    return (x - t->mean) / t->scale;
}

/* Whether x lies outside what the transform keeps. */
static inline bool transform_clips(const struct transform *t, double x)
{
    return t->clipped && (x < t->low || x > t->high);
}

/* u(cols) from one raw row x(cols). */
void transform_row(const struct transform *t, size_t cols, const double *x, double *u);

#endif
