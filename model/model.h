/* model.h - the trained thing: raw row in, prediction out.
 *
 * Formula: f(x) = b + beta . phi(u(x)), u the stored transform, phi the stored feature map
 *          (linear: phi(u) = u; kernel: phi_m(u) = k(u, z_m), see kernel.h).
 * Does not: learn, print, log, read clocks or the environment, or clip predictions.
 * Threads: immutable after model_load or model_new; share it freely.
 * Memory:  released with model_free; every text and array it returns lives as long as the model.
 * Errors:  ERR_INVALID a bad artifact (message names the member), ERR_NO_MEMORY; see model_file.h.
 */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct model;

/* A set of figures measured on rows; NAN where undefined (R2 of a constant target). */
struct model_figures {
    uint64_t rows; /* 0: not measured */
    double mae, rmse, r2;
};

/* The training card. */
struct model_card {
    uint64_t rows;        /* training rows */
    char data_sha256[65]; /* of the training file */
    char date[32];        /* given by the caller, "" if none */
    double penalty;       /* lambda */
    char kernel[32];      /* OpenBLAS core that did the solve */
    unsigned threads;     /* its thread count */
    struct model_figures leave_one_out, holdout;
    struct model_figures linear; /* leave-one-out figures of the linear fit to the same rows */
};

void model_free(struct model *model);

const char *model_name(const struct model *model);
const char *model_version(const struct model *model);
const char *model_kind(const struct model *model);   /* "linear", "kernel" */
const char *model_sha256(const struct model *model); /* digest of the artifact, 64 hex */
size_t model_feature_count(const struct model *model);
const char *model_feature_name(const struct model *model, size_t j);
/* Smallest and largest training value of feature j. */
void model_feature_range(const struct model *model, size_t j, double *min, double *max);
/* Values of feature j that are ascending and spread evenly over the training rows, *count of them: the
 * i-th is their ((i + 1/2) / *count)-quantile. NULL and 0 where the artifact has none. */
const double *model_feature_quantiles(const struct model *model, size_t j, size_t *count);
/* A usual value of feature j within its range: the median, else what its transform takes to 0. */
double model_feature_typical(const struct model *model, size_t j);
/* Whether the artifact holds what intervals are made from. */
bool model_gives_intervals(const struct model *model);
double model_intercept(const struct model *model); /* of the prediction */
const char *model_target_name(const struct model *model);
const char *model_target_unit(const struct model *model); /* "" if none */
const struct model_card *model_card(const struct model *model);

/* The 32 quantiles of the predictions for the training rows, for drift.h; NULL if there are none. */
const double *model_predicted_quantiles(const struct model *model);

/* What |true value - prediction| is expected to be for one raw row x(features), without a true value; NAN
 * for a row so far from all centres that nothing can be said. False: the model has no such estimate. */
bool model_expected_error(const struct model *model, const double *x, double *error);

/* Estimated nanoseconds to predict one row; what admission and scheduling count with. */
double model_row_ns(const struct model *model);

/* y(rows) from x(rows, features), row-major raw inputs, all finite. A row's result has the same bits
 * alone or in any batch, and that of a kernel model on every CPU. The results may be infinite or NaN if the arithmetic overflows; the caller
 * checks. */
void model_predict(const struct model *model, size_t rows, const double *x, double *y);

/* How many of the values x(rows, features) lie outside the range that their feature's transform keeps,
 * so that the prediction takes the nearest end of that range for them. */
size_t model_clipped(const struct model *model, size_t rows, const double *x);

#endif
