/* calibrate.h - how wrong the model is, and where: from the errors of rows its fit has not seen.
 *
 * Formula: residual function r(x) = ridge regression of |e| on the model's own features; conformal
 *          scores s = |e| / max(r, floor), r without the row itself, or s = |e| where that makes the mean
 *          interval of 0.9 no wider.
 * Does not: know what the features are: the rows come as a ridge_source.
 * Threads: OpenBLAS's.
 * Memory:  as ridge.h; released with calibration_clear.
 * Errors:  those of ridge.h.
 * Source:  locally weighted conformal prediction: Lei et al. 2018.
 */
#ifndef MODEL_CALIBRATE_H
#define MODEL_CALIBRATE_H

#include "model/model_internal.h"
#include "model/ridge.h"

enum { CALIBRATE_ROWS_MIN = 20 }; /* below, nothing is said */

struct calibration {
    struct ridge residual;
    struct model_interval interval;
    double *scores; /* what interval.scores points to */
};

/* absolute(rows): |e|; source: those rows, with targets |e|, or |e| less what the caller adds to the
 * residual function afterwards; options: penalties (at least one) and a metric. */
bool calibrate(const struct ridge_source *source, const struct ridge_options *options,
               const double *absolute, struct calibration *out, struct error *err) MUST_CHECK;

void calibration_clear(struct calibration *c);

#endif
