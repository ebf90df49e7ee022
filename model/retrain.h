/* retrain.h - several ways to a new model, of which rows that none of them saw choose one.
 *
 * Idea:    few rows after a shift are best used to correct the champion, many stand alone, and where nothing
 *          much has changed all rows together are best: which it is cannot be known before, so all are
 *          tried. The winner has the least MAE on selection.csv, which is also its card's holdout; as the
 *          least of several it is a little too good, which is what validation.csv is for.
 *          A candidate that cannot be fitted is one less.
 * Does not: decide whether the winner is good enough, look at validation.csv, print or know a clock.
 * Threads: as model_train.h.
 * Memory:  that of one training at a time, and a temporary file of the size of base.csv and feedback.csv;
 *          released with retrained_clear.
 * Errors:  those of model_train.h; a failed candidate's stands beside it.
 */
#ifndef MODEL_RETRAIN_H
#define MODEL_RETRAIN_H

#include "model/model_train.h"

enum retrain_way {
    RETRAIN_PRIOR,    /* towards the champion, on feedback.csv */
    RETRAIN_FEEDBACK, /* on feedback.csv alone */
    RETRAIN_BOTH,     /* on base.csv and feedback.csv */
    RETRAIN_WAYS
};
extern const char *const retrain_words[RETRAIN_WAYS];

struct retrain_options {
    const struct model *champion;
    const char *folder;         /* of prepare.h */
    const char *name, *version; /* of the new model */
    const char *date;           /* "" if none */
    size_t centres;             /* of those that have no prior, at most; 0: as model_train.h */
    void (*progress)(void *ctx, const char *stage, double fraction); /* as model_train.h */
    void *progress_ctx;
};

struct candidate {
    struct model *model; /* NULL: it failed */
    struct error error;  /* why */
};

struct retrained {
    struct candidate candidates[RETRAIN_WAYS];
    struct model_figures champion; /* on selection.csv */
    enum retrain_way winner;
};

/* *out is to be cleared whatever comes of it; on success the winner has a model. */
bool retrain(const struct retrain_options *options, struct retrained *out,
             struct error *err) MUST_CHECK;
void retrained_clear(struct retrained *r);

#endif
