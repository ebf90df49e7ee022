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
#include "model/kernel.h"
#include "model/model.h"
#include "model/transform.h"

enum {
    MODEL_FEATURES_MAX = 4096,
    MODEL_TEXT_MAX = 255, /* bytes of any name */
    MODEL_QUANTILES = 32, /* per feature */
    MODEL_SCORES_MAX = 999,
};

/* With every centre's k below this - 4.6 scale lengths away - a row is far from all of them. */
static const double MODEL_NEAREST_MIN = 0.01;

enum model_kind { MODEL_LINEAR, MODEL_KERNEL, MODEL_KIND_COUNT };
extern const char *const model_kind_words[MODEL_KIND_COUNT]; /* as the artifact spells them */

struct model_feature {
    const char *name;
    struct transform transform;
};

/* intercept + coefficients . phi(u): one coefficient per feature (linear) or per centre (kernel). */
struct model_function {
    double intercept;
    const double *coefficients;
    size_t coefficient_count;
};

/* Conformal scores s = |y - f| / r of rows the fit has not seen, r = max(residual, floor) if scaled,
 * else 1. scores[i] is their (i + 1) / (score_count + 1)-quantile, rounded up, ascending. */
struct model_interval {
    bool scaled;
    double floor; /* > 0 if scaled */
    const double *scores;
    size_t score_count; /* 0: the model gives no intervals, even if it knows their scale */
};

struct model_parts {
    const char *name, *version; /* 1 to 255 of A-Z a-z 0-9 . _ - */
    enum model_kind kind;
    const char *target_name, *target_unit;
    const struct model_feature *features;
    size_t feature_count;
    /* (feature_count, MODEL_QUANTILES) raw values, ascending in a row: the ((i + 1/2) / MODEL_QUANTILES)-
     * quantiles of the training rows. What an absent input is drawn from; NULL: not known. */
    const double *quantiles;
    bool predicted_quantiles; /* a further row: of the predictions for the training rows */
    struct kernel_map kernel; /* kind kernel; its inputs are the features */
    struct model_function prediction;
    struct model_function residual; /* expected |y - f| of unseen rows; no coefficients: none */
    struct model_interval interval;
    struct model_card card;
};

struct model {
    struct arena *arena; /* holds the model itself, too */
    struct model_parts parts;
    char sha256[65];       /* of the artifact it was loaded from, else "" */
    struct kernel *kernel; /* kind kernel */
};

/* Whether text can be a model's name or version; place is for the message. */
bool model_check_identifier(const char *text, const char *place, struct error *err) MUST_CHECK;

/* What a function of the model says about one raw row x(features); without coefficients its
 * intercept. */
double model_function_value(const struct model *model, const struct model_function *function,
                            const double *x);

/* phi(padded) = the features of one raw row x(features) that coefficients go with; padded: the
 * coefficient count of the prediction, for a kernel rounded up to KERNEL_LANES. */
void model_feature_map(const struct model *model, const double *x, double *phi);

/* Rows of parts->quantiles. */
size_t model_quantile_rows(const struct model_parts *parts);

/* Checks and copies the parts. Released with model_free. */
struct model *model_new(const struct model_parts *parts, struct error *err) MUST_CHECK;

#endif
