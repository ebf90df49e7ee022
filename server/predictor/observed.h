/* observed.h - what is seen of one served model while it answers: drift of what it is asked, quality of
 *              what it said, and the error to expect meanwhile.
 *
 * Idea:    every predict request is shown to drift.h; every EXPECTED_EVERY-th row also has its expected
 *          error computed, which costs about one and a half predictions; true values go to quality.h. The
 *          figures are made when somebody scrapes.
 * Does not: keep predictions, journal, or read a clock.
 * Threads: observed_predictions: the thread that owns the shard. observed_truth, observed_publish: any.
 * Memory:  that of quality.h and drift.h, allocated once. Released with observed_free.
 * Errors:  those of quality.h and drift.h.
 */
#ifndef SERVER_PREDICTOR_OBSERVED_H
#define SERVER_PREDICTOR_OBSERVED_H

#include "model/model.h"
#include "server/predictor/telemetry_quality.h"

struct observed;

/* Rows of which one has its expected error computed, and how many of one request do, about. */
enum { EXPECTED_EVERY = 128, EXPECTED_REQUEST_ROWS = 32 };

struct observed_config {
    unsigned shards;
    size_t window_rows; /* true values a quality window holds at most */
    uint64_t window_ns; /* and how old they may be; 0: any age */
    uint64_t drift_ns;  /* length of a drift window */
    size_t min_samples; /* true values from which on the figures are the window's */
};

/* model is borrowed and must outlive it. */
struct observed *observed_new(const struct model *model, const struct observed_config *config,
                              struct error *err) MUST_CHECK;
void observed_free(struct observed *observed); /* NULL is allowed */

/* A predict request was answered with y(rows) for x(rows, features). */
void observed_predictions(struct observed *observed, unsigned shard, uint64_t monotonic_ns,
                          size_t rows, const double *x, const double *y);

/* A true value came back for x(features), which prediction had been given for. */
void observed_truth(struct observed *observed, uint64_t wall_ns, const double *x, double prediction,
                    double target);

/* Sets the model's gauges to the figures as of now. */
void observed_publish(struct observed *observed, uint64_t monotonic_ns, uint64_t wall_ns,
                      struct quality_series *series);

#endif
