/* plausible.h - values that cannot well be what their column says.
 *
 * Idea:    of every column a range is known, of the features that of the champion's training rows. It is
 *          widened by a margin, in widths of the range itself, on both sides. Inside that, a new value may
 *          be drift, which training is there to follow; outside, it is more likely another unit, a
 *          placeholder like -999 or a slip, and least squares would bend the whole model towards it.
 *          Columns that had one value only are not judged: their range has no width.
 * Does not: know rows that are odd in no single column.
 * Threads: immutable once made.
 * Memory:  released with plausible_clear; names are the model's.
 * Errors:  ERR_NO_MEMORY.
 */
#ifndef MODEL_PLAUSIBLE_H
#define MODEL_PLAUSIBLE_H

#include "model/model.h"

struct plausible {
    const struct model *model; /* borrowed */
    double *low, *high;        /* (features + 1), the target last */
    size_t features;
};

/* margin >= 0. Of the target everything is plausible as yet. */
bool plausible_init(struct plausible *p, const struct model *model, double margin,
                    struct error *err) MUST_CHECK;

void plausible_set_target(struct plausible *p, double min, double max, double margin);

/* Looks at the first count of a row's (features, target); the first column that is not plausible, or
 * count. */
size_t plausible_check(const struct plausible *p, const double *row, size_t count);

/* Name of a column. */
const char *plausible_column(const struct plausible *p, size_t column);

void plausible_clear(struct plausible *p);

#endif
