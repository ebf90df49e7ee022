/* model_internal.h - what a model is made of; for the trainer and model_file.c.
 *
 * Idea:    a trainer and the loader both hand named parts to model_new, which is the only place that
 *          checks them, so what was trained can be loaded and what was loaded could have been trained.
 * Does not: learn or do I/O.
 * Threads: as model.h.
 * Memory:  model_new copies the parts; they may go right after.
 * Errors:  ERR_INVALID "features[3].scale: expected ...", ERR_TOO_LARGE, ERR_NO_MEMORY.
 */
#ifndef MODEL_MODEL_INTERNAL_H
#define MODEL_MODEL_INTERNAL_H

#include "base/arena.h"
#include "model/model.h"
#include "model/transform.h"

enum {
    MODEL_FEATURES_MAX = 4096,
    MODEL_TEXT_MAX = 255 /* bytes of any name */
};

enum model_kind { MODEL_LINEAR, MODEL_KIND_COUNT };
extern const char *const model_kind_words[MODEL_KIND_COUNT]; /* as the artifact spells them */

struct model_feature {
    const char *name;
    struct transform transform;
};

/* f(u) = intercept + coefficients . u */
struct linear_parameters {
    double intercept;
    const double *coefficients; /* one per feature */
    size_t coefficient_count;
};

struct model_parts {
    const char *name, *version; /* 1 to 255 of A-Z a-z 0-9 . _ - */
    enum model_kind kind;
    const char *target_name, *target_unit;
    const struct model_feature *features;
    size_t feature_count;
    struct linear_parameters linear;
    struct model_card card;
};

struct model {
    struct arena *arena; /* holds the model itself, too */
    struct model_parts parts;
    char sha256[65]; /* of the artifact it was loaded from, else "" */
};

/* Whether text can be a model's name or version; place is for the message. */
bool model_check_identifier(const char *text, const char *place, struct error *err) MUST_CHECK;

/* Checks and copies the parts. Released with model_free. */
struct model *model_new(const struct model_parts *parts, struct error *err) MUST_CHECK;

#endif
