/* model_train.h - rows in, model out: learns the transform, fits, measures, fills in the card.
 *
 * Idea:    the rows are read again for every pass instead of being held: one pass for the transform,
 *          those of ridge.h over the transformed rows. Every column but the target and the dropped
 *          ones is a feature.
 * Does not: print or know a clock: the date comes from the caller, progress goes to a callback.
 * Threads: OpenBLAS's; see ridge.h. The callback runs on the calling thread.
 * Memory:  the model is released with model_free; working memory as ridge.h says, and one block of
 *          rows.
 * Errors:  those of dataset.h, ridge.h and model_internal.h.
 */
#ifndef MODEL_MODEL_TRAIN_H
#define MODEL_MODEL_TRAIN_H

#include "model/dataset.h"
#include "model/model.h"

struct train_options {
    const char *name, *version, *target;
    const char *unit, *date;    /* "" if none */
    const char *const *dropped; /* columns that are no features */
    size_t dropped_count;
    double penalty; /* NAN: chosen by leave-one-out */

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
