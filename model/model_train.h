/* model_train.h - rows in, model out: learns the transform, tunes, fits, measures, fills in the card.
 *
 * Idea:    the rows are read again for every pass instead of being held; a sample of them, the same for
 *          the same rows, is held for what looks at rows more often: transforms, scales, centres. A
 *          quarter of the sample is never part of a centre: on those rows, left out one at a time, the
 *          kernel's error, the residual function and the intervals are measured. The linear fit is made
 *          first and stays unless the kernel's errors on the same rows are clearly smaller. Every column
 *          but the target and the dropped ones is a feature.
 *          With a prior: its feature map is kept, and the coefficients' change is what is penalised,
 *          |y - f0 - b - X d|^2 + lambda d'P d, lambda chosen by leave-one-out.
 * Does not: print or know a clock: the date comes from the caller, progress goes to a callback.
 * Threads: OpenBLAS's; see ridge.h. The callback runs on the calling thread.
 * Memory:  the model is released with model_free; working memory is at most 4 M^2 doubles and 128 MB, M
 *          the columns that are fitted: features, or centres if there are more; independent of the
 *          rows, of which there may be fewer than columns (see ridge.h).
 * Errors:  those of dataset.h, ridge.h and model_internal.h.
 */
#ifndef MODEL_MODEL_TRAIN_H
#define MODEL_MODEL_TRAIN_H

#include "model/dataset.h"
#include "model/model.h"

enum { TRAIN_CENTRES_DEFAULT = 4096 };

struct train_options {
    const char *name, *version, *target;
    const char *unit, *date;    /* "" if none */
    const char *const *dropped; /* columns that are no features */
    size_t dropped_count;
    bool linear; /* do not try a kernel */
    size_t
        centres; /* at most; 0: TRAIN_CENTRES_DEFAULT, and 3 in 8 rows. Tuning looks at 4 rows each, at least 500 */
    double penalty; /* NAN: chosen by leave-one-out */
    const struct model
        *prior; /* borrowed; NULL: none. Its features are the columns; nothing is dropped */

    /* Told now and then what is going on and how far it is, 0 to 1 or NAN if that is unknown. May be
     * NULL. */
    void (*progress)(void *ctx, const char *stage, double fraction);
    void *progress_ctx;
};

/* Trains on ds and, if holdout is not NULL, measures on that. Nothing may have been selected in
 * either. */
struct model *model_train(const struct train_options *options, struct dataset *ds,
                          struct dataset *holdout, struct error *err) MUST_CHECK;

#endif
