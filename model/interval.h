/* interval.h - conformal prediction intervals from the scores kept in the artifact.
 *
 * Formula: f(x) +- s r(x): s the level's quantile of the scores |y - f| / r of rows the fit has not
 *          seen, r(x) = max(residual(x), floor) where the model scales its intervals, else 1.
 * Idea:    of n scores and a new one any rank is equally likely, so the ceil(level (n + 1))-th smallest
 *          covers at least a share `level` of new rows, whatever the errors' distribution, as long as
 *          new rows are like the old ones.
 * Does not: predict, or look at what is asked of it later.
 * Threads: no state.
 * Memory:  none.
 * Errors:  ERR_UNSUPPORTED the model gives no intervals; ERR_INVALID a level that its scores do not
 *          support. Messages begin with what was expected; callers know where the level was written.
 * Source:  Vovk, Gammerman and Shafer 2005; Lei et al. 2018 for the scaled scores.
 */
#ifndef MODEL_INTERVAL_H
#define MODEL_INTERVAL_H

#include "base/error.h"
#include "model/model.h"

/* The score that intervals of that level, above 0 and below 1, are made with. */
bool interval_score(const struct model *model, double level, double *score,
                    struct error *err) MUST_CHECK;

/* half(rows), half the intervals' widths, from x(rows, features) as model_predict takes it. */
void interval_half_widths(const struct model *model, double score, size_t rows, const double *x,
                          double *half);

#endif
