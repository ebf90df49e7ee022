/* metrics.h - counters, gauges and histograms that cost one load and one store to update.
 *
 * Idea:    a family (name, type, help, label names) holds series (label values); a series holds one
 *          slot per shard, on cache lines of its own. A shard is written by one thread only, so an
 *          update is a few plain loads and stores, never a locked instruction; a scrape sums the
 *          shards. Histograms add up integers (nanoseconds, bytes), and a sequence number lets the
 *          scrape take every observation whole or not at all (a seqlock).
 * Does not: know a route or a model, look a series up by name on the hot path, or expire series.
 * Threads: families are made before any other thread runs. Series are made and removed under the
 *          registry's lock, which only the loader and a scrape take. metric_add, metric_gauge_add, metric_observe: the
 *          thread that owns the shard. metric_set: any one thread at a time per series.
 * Memory:  the registry owns families and series and copies every text; a series pointer is valid
 *          until metrics_series_remove or metrics_free.
 * Errors:  wrong use (a duplicate family, a bad name, a wrong label count) is a programmer's mistake
 *          and aborts with a message; exhausted memory gives NULL.
 */
#ifndef METRICS_METRICS_H
#define METRICS_METRICS_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct metrics;
struct metric_family;
struct metric_series;

enum metric_type {
    METRIC_COUNTER,
    METRIC_GAUGE,
    METRIC_HISTOGRAM, /* of whole amounts: bytes, rows */
    METRIC_DURATION,  /* a histogram of seconds, observed in nanoseconds */
    METRIC_INFO,
};

enum { METRIC_LABELS_MAX = 8, METRIC_BUCKETS_MAX = 32 };

/* What a family is; borrowed for the call. */
struct metric_spec {
    const char *name; /* full name as in text 0.0.4: counters end in _total, infos in _info */
    enum metric_type type;
    const char *help;
    const char *labels[METRIC_LABELS_MAX + 1]; /* NULL-terminated */
    const double *buckets; /* histogram: ascending upper bounds, seconds or units */
    size_t bucket_count;   /* without +Inf */
};

/* shards >= 1: number of threads that will write. NULL when out of memory. */
struct metrics *metrics_new(unsigned shards) MUST_CHECK;
void metrics_free(struct metrics *metrics);

struct metric_family *metrics_family(struct metrics *metrics,
                                     const struct metric_spec *spec) MUST_CHECK;

/* The series with these label values (as many as the family has names; values are copied). Made at
 * zero if it does not exist, else the existing one, which then has one more user. Gauges start
 * absent: they appear in the exposition with the first metric_set. */
struct metric_series *metrics_series(struct metric_family *family,
                                     const char *const *values) MUST_CHECK;

/* Ends one use of a series; with the last one it leaves the exposition and is freed, so no thread may
 * still use it. NULL is allowed. */
void metrics_series_remove(struct metric_family *family, struct metric_series *series);

/* Counter: adds n. */
void metric_add(struct metric_series *series, unsigned shard, uint64_t n);
/* Gauge kept per shard (in-flight): adds a signed amount. */
void metric_gauge_add(struct metric_series *series, unsigned shard, int64_t n);
/* Gauge, or a counter that is kept elsewhere: sets the value. NaN takes the series out of the
 * exposition until the next number. */
void metric_set(struct metric_series *series, double value);
/* Histogram: observes an amount; nanoseconds for METRIC_DURATION. */
void metric_observe(struct metric_series *series, unsigned shard, uint64_t amount);

/* Sum over shards of a counter or gauge, or a histogram's count; for tests and the log. */
double metric_read(const struct metric_series *series);

/* Has `update` called at the start of every rendering, under the lock, to set what is read on demand. */
void metrics_on_scrape(struct metrics *metrics, void (*update)(void *ctx), void *ctx);

#endif
