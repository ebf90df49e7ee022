/* metrics_internal.h - the inside of a registry, for the files of this folder only.
 *
 * Idea, threads, memory: see metrics.h. Lists are singly linked in the order of making, which is the
 * order of the exposition.
 */
#ifndef METRICS_METRICS_INTERNAL_H
#define METRICS_METRICS_INTERNAL_H

#include "metrics/metrics.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* What one thread writes of one series. Slots are padded to whole cache lines, so that no two threads
 * ever write the same line. */
struct metric_slot {
    _Atomic uint64_t sequence;  /* histogram: odd while an observation is being written */
    _Atomic uint64_t sum;       /* counter, gauge: two's complement; histogram: amounts */
    _Atomic uint64_t buckets[]; /* not cumulative; the last is +Inf */
};

struct metric_series {
    struct metric_family *family;
    struct metric_series *next;
    char *values[METRIC_LABELS_MAX];
    unsigned users;         /* under the registry's lock */
    _Atomic uint64_t level; /* bits of the double that was set */
    _Atomic bool shown;     /* gauges: not before they have been set or added to */
    unsigned char *slots;
};

struct metric_family {
    struct metrics *metrics;
    struct metric_family *next;
    struct metric_series *series, **last;
    enum metric_type type;
    char *name, *help;
    char *labels[METRIC_LABELS_MAX];
    size_t label_count, bucket_count;
    double bounds[METRIC_BUCKETS_MAX];
    uint64_t limits[METRIC_BUCKETS_MAX]; /* the bounds in what is observed */
    size_t slot_bytes;
};

struct metric_update {
    void (*update)(void *ctx);
    void *ctx;
};

enum { METRIC_UPDATES_MAX = 8 };

struct metrics {
    pthread_mutex_t lock;
    unsigned shards;
    struct metric_family *families, **last;
    struct metric_update updates[METRIC_UPDATES_MAX];
    size_t update_count;
};

/* What all shards have observed: counts by bucket (bucket_count + 1, not cumulative) and the sum of the
 * amounts, every observation whole. */
void metric_histogram_read(const struct metric_series *series, uint64_t *buckets, uint64_t *sum);

static inline struct metric_slot *metric_slot_at(const struct metric_series *series, unsigned shard)
{
    return (struct metric_slot *)(void *)(series->slots + shard * series->family->slot_bytes);
}

#endif
