/* drift.h - whether the rows that are asked about still look like the training rows, feature by
 *           feature and for the prediction, without true values.
 *
 * Formula: the reference are the 32 quantiles of the training rows: level l_i = (i + 1/2) / 32 at value
 *          v_i. G_i is the observed share of values up to v_i. Where many values equal v_i, the training
 *          share up to v_i was only known to lie between "below" and "up to" v_i; so G_i is the number
 *          nearest to l_i between the observed shares below and up to v_i. Features of few values so show
 *          no drift that is not there; of one that is there they show PSI within a factor of 2.
 *          KS  = max_i |G_i - l_i|.
 *          PSI = sum over cells of (a - e) ln(a / e), e = l_k - l_i, a = G_k - G_i, over the 11 cells
 *          between every third level (cells inside one tied value are one cell). Cells may be empty:
 *          a is taken as (n a + 11 e) / (n + 11), as if 11 rows more had been seen, all as expected.
 *          Without drift n PSI is distributed like chi2 with 10 degrees of freedom: PSI is 10 / n on
 *          average and above 30 / n once in a thousand times. Below DRIFT_ROWS_MIN rows there is no
 *          figure; from there on 0.1 and 0.25 keep their usual meaning.
 * Idea:    per shard a ring of sub-windows of counts; a value costs one search and one increment, 10 to
 *          15 ns; how many are counted is bound to what the request costs anyway (the aim is at most 3 %
 *          of any workload). Figures are made when somebody asks.
 * Does not: read a clock: time is an argument, in nanoseconds that do not run backwards. Tell
 *          which feature caused a drift of the prediction.
 * Threads: drift_add: the one thread that owns the shard. Counts are atomics that it loads and stores
 *          (metrics.h); it takes the shard's lock only to clear a sub-window, once per sub-window.
 *          drift_read: any thread; holds a shard's lock while it adds its counts up.
 * Memory:  shards * (features + 1) * 2.4 KB, allocated once. Released with drift_free.
 * Errors:  ERR_INVALID, ERR_NO_MEMORY.
 * Sources: thresholds 0.1 and 0.25: Siddiqi, Credit Risk Scorecards (2006); distribution of PSI without
 *          drift: Yurdakul and Naranjo (2020), J. Risk Model Validation 14(4).
 */
#ifndef MODEL_DRIFT_H
#define MODEL_DRIFT_H

#include "model/model.h"

struct drift;

enum {
    DRIFT_ROWS_MIN = 500,         /* rows in the window before there is a figure */
    DRIFT_REQUEST_ROWS_MAX = 256, /* rows of one request that are counted */
    DRIFT_SUBWINDOWS = 8,
};

struct drift_config {
    unsigned shards;    /* threads that will add, at least 1 */
    uint64_t window_ns; /* a figure is of the last 7/8 to 8/8 of this; at least 8 */
    /* (MODEL_QUANTILES) as model_parts.quantiles, of the predictions for the training rows; copied. NULL:
     * no figure for the prediction. */
    const double *prediction_quantiles;
};

/* psi and ks are NAN while the window has fewer than DRIFT_ROWS_MIN rows, and without a reference. */
struct drift_figures {
    double psi, ks;
    uint64_t rows;         /* in the window */
    uint64_t out_of_range; /* since the start: values outside the range of the training rows, */
    uint64_t clipped;      /* values the transform clips; both of the rows that were counted */
};

/* model is borrowed and must outlive the drift. */
struct drift *drift_new(const struct model *model, const struct drift_config *config,
                        struct error *err) MUST_CHECK;
void drift_free(struct drift *drift); /* NULL is allowed */

/* Takes in a request: x(rows, features) raw inputs, y(rows) predictions. Counted are every k-th of its
 * rows, at most DRIFT_REQUEST_ROWS_MAX, and so few that 10 values and a 64th of the request's are counted
 * on average: all requests of one row with up to 9 features, one in ten of one row with 100. The first row
 * differs from request to request. Values that are not finite are passed over. */
void drift_add(struct drift *drift, unsigned shard, uint64_t now_ns, size_t rows, const double *x,
               const double *y);

/* Fills features(feature count) and *prediction with the figures as of now_ns. */
void drift_read(struct drift *drift, uint64_t now_ns, struct drift_figures *features,
                struct drift_figures *prediction);

#endif
