/* quality.h - how wrong the predictions of late have been: figures over a sliding window of rows whose
 *             true values have come back.
 *
 * Formula: e = prediction - target, d = target - offset (a fixed number near the targets: the model's
 *          intercept). MAE = sum|e| / n, RMSE = sqrt(sum e^2 / n), bias = sum e / n,
 *          R2 = 1 - sum e^2 / (sum d^2 - (sum d)^2 / n). The sums of windows with the same offset add
 *          up, so the figures over replicas are those of the added sums.
 * Idea:    a ring holds the newest rows; a row that is too many or too old is taken out of the sums
 *          again. The sums are exact (exact_sum.h), so the window's figures are those of its rows alone
 *          after any number of updates.
 * Does not: read a clock: time is an argument, in nanoseconds of any epoch. It should not run backwards:
 *          a step back delays eviction by age for as long as the step.
 * Threads: any; a short lock in the window. An update costs about 0.1 us.
 * Memory:  32 bytes per row of the window, allocated once. Released with quality_free.
 * Errors:  ERR_INVALID, ERR_TOO_LARGE, ERR_NO_MEMORY.
 */
#ifndef MODEL_QUALITY_H
#define MODEL_QUALITY_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct quality;

enum { QUALITY_ROWS_MAX = 1 << 24 };

struct quality_config {
    size_t rows;     /* the window holds at most so many, 1 to QUALITY_ROWS_MAX */
    uint64_t age_ns; /* and none as old as this; 0: of any age */
    double offset;   /* finite */
};

/* Whether the true value lay in the interval given with the prediction. */
enum quality_interval { QUALITY_NO_INTERVAL, QUALITY_OUTSIDE, QUALITY_INSIDE };

struct quality_row {
    uint64_t time_ns;
    double prediction, target;
    enum quality_interval interval;
};

/* NAN is undefined: of no rows, and R2 where the targets are all (to 2^-48 of their distance from the
 * offset) the same. */
struct quality_report {
    uint64_t rows, interval_rows; /* in the window; those of them with an interval */
    double absolute_error_sum, squared_error_sum, error_sum;
    double deviation_sum, deviation_squared_sum;
    double mae, rmse, bias, r2;
    double coverage;       /* of intervals that held the true value */
    uint64_t last_time_ns; /* of the newest row ever added; 0: none yet */
};

struct quality *quality_new(const struct quality_config *config, struct error *err) MUST_CHECK;
void quality_free(struct quality *quality); /* NULL is allowed */

/* Adds a row and drops those it pushes out. False, and nothing happens, if a number is not finite or the
 * error or deviation is beyond 1e150, where squares would overflow. */
bool quality_add(struct quality *quality, const struct quality_row *row) MUST_CHECK;

/* The window as of now_ns: drops the rows too old by then, and fills *report. */
void quality_read(struct quality *quality, uint64_t now_ns, struct quality_report *report);

#endif
