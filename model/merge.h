/* merge.h - statistics of many parts in, model out.
 *
 * Idea:    parts of rows (stats.h): their sums are added, others are subtracted, and the coefficients
 *          come from the sum: those of a fit to all the rows at once, but for rounding. The penalty is
 *          given, the map's own, or of a path the one with the least leave-one-part-out error, exact from
 *          the sums. The model keeps the map's transforms, features and residual function, and gets the
 *          parts' ranges and quantiles; it gives no intervals.
 *          Parts of residuals: the map they were made through gets intervals from the scores, and the
 *          figures as those of its holdout, so the rows should be such as it was not fitted to.
 * Does not: hold more than the sum and one part at a time: parts are read twice to choose the penalty.
 * Threads: OpenBLAS's. The callback runs on the calling thread.
 * Memory:  at most 6 M^2 doubles for M columns of the map; the model is released with model_free.
 * Errors:  those of stats_file.h, stats.h, ridge.h and model_internal.h; the message names the part.
 */
#ifndef MODEL_MERGE_H
#define MODEL_MERGE_H

#include "base/error.h"
#include "model/model.h"

#include <stddef.h>

enum merge_penalty {
    MERGE_AUTO,  /* leave-one-part-out; at least two parts, and none subtracted */
    MERGE_MAP,   /* the map's */
    MERGE_GIVEN, /* options.penalty */
};

enum { MERGE_ROWS_MIN = 20 }; /* of residuals, to make intervals from */

struct merge_options {
    const char *const *parts; /* paths, part_count of them, at least one */
    size_t part_count;
    const char *const *subtracted; /* paths */
    size_t subtracted_count;
    enum merge_penalty choice; /* parts of residuals: ignored */
    double penalty;
    const char *name, *version, *date; /* NULL: the map's, and no date */

    /* Told now and then what is going on and how far it is, 0 to 1 or NAN if that is unknown. May be
     * NULL. */
    void (*progress)(void *ctx, const char *stage, double fraction);
    void *progress_ctx;
};

struct model *merge(const struct merge_options *options, struct error *err) MUST_CHECK;

#endif
