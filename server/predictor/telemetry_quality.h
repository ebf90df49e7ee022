/* telemetry_quality.h - the metrics of quality, drift, feedback and its journal.
 *
 * Idea:    as telemetry.h, whose part it is; kept apart because what is measured here is set when
 *          somebody scrapes, not counted as requests pass.
 * Does not: measure anything.
 * Threads: families and series: the loader. quality_show: one at a time, under the registry's lock (from
 *          metrics_on_scrape). quality_count_feedback: the thread that owns the shard.
 * Memory:  released with quality_families_free and quality_series_free.
 * Errors:  NULL when out of memory.
 */
#ifndef SERVER_PREDICTOR_TELEMETRY_QUALITY_H
#define SERVER_PREDICTOR_TELEMETRY_QUALITY_H

#include "metrics/metrics.h"
#include "model/drift.h"
#include "model/quality.h"
#include "server/predictor/feedback.h"
#include "server/predictor/journal.h"

struct quality_families;
struct quality_series;

struct quality_families *quality_families_new(struct metrics *metrics) MUST_CHECK;
void quality_families_free(struct quality_families *families); /* NULL is allowed */

/* Series of one served model; labels are its model_name, version, user_id, namespace. Its quality gauges
 * show the card's holdout figures until quality_show says otherwise. model is borrowed. */
struct quality_series *quality_series_new(struct quality_families *families,
                                          const char *const labels[4],
                                          const struct model *model) MUST_CHECK;
/* Takes the gauges out of the exposition; counters stay. */
void quality_series_retire(struct quality_series *series);
void quality_series_free(struct quality_series *series); /* NULL is allowed */

/* What is known of a model now. */
struct quality_view {
    struct quality_report quality;
    bool live; /* enough true values: the window's figures count, not the card's */
    const struct drift_figures *features; /* (feature count) */
    struct drift_figures prediction;
    double expected_mae; /* NAN: not known */
    uint64_t not_estimable;
};
void quality_show(struct quality_series *series, const struct quality_view *view);

void quality_count_feedback(struct quality_series *series, unsigned shard,
                            enum feedback_outcome outcome);

/* Global: the journal. */
void quality_show_journal(struct quality_families *families, const struct journal_stats *stats);
void quality_observe_fsync(struct quality_families *families, unsigned shard, uint64_t ns);

#endif
