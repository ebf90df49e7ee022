/* Making families and series, and the few instructions that update them. A slot is written by one
 * thread only, so load, add, store is enough; the atomics are there for the scrape that reads. */
#include "metrics/metrics.h"

#include "metrics/metrics_internal.h"

#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CACHE_LINE = 64 };

#define RELAXED memory_order_relaxed

/* Instrumentation that is wrong is a programmer's mistake, found by the first test that starts. */
static void require(bool condition, const char *what, const char *name)
{
    if (condition)
        return;
    (void)fprintf(stderr, "metrics: %s: %s\n", name, what);
    abort();
}

static bool valid_name(const char *name)
{
    for (const char *p = name; *p != '\0'; p++)
        if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_", *p) == NULL &&
            (p == name || *p < '0' || *p > '9'))
            return false;
    return *name != '\0';
}

static bool is_histogram(enum metric_type type)
{
    return type == METRIC_HISTOGRAM || type == METRIC_DURATION;
}

/* ---- registry ---- */

struct metrics *metrics_new(unsigned shards)
{
    struct metrics *metrics = calloc(1, sizeof *metrics);
    if (metrics == NULL)
        return NULL;
    require(shards > 0, "expected at least one shard", "registry");
    metrics->shards = shards;
    metrics->last = &metrics->families;
    (void)pthread_mutex_init(&metrics->lock, NULL);
    return metrics;
}

static void free_series(struct metric_series *series)
{
    if (series == NULL)
        return;
    for (size_t i = 0; i < METRIC_LABELS_MAX; i++)
        free(series->values[i]);
    free(series->slots);
    free(series);
}

static void free_family(struct metric_family *family)
{
    for (struct metric_series *series = family->series, *next; series != NULL; series = next) {
        next = series->next;
        free_series(series);
    }
    for (size_t i = 0; i < family->label_count; i++)
        free(family->labels[i]);
    free(family->name);
    free(family->help);
    free(family);
}

void metrics_free(struct metrics *metrics)
{
    if (metrics == NULL)
        return;
    for (struct metric_family *family = metrics->families, *next; family != NULL; family = next) {
        next = family->next;
        free_family(family);
    }
    (void)pthread_mutex_destroy(&metrics->lock);
    free(metrics);
}

void metrics_on_scrape(struct metrics *metrics, void (*update)(void *ctx), void *ctx)
{
    require(metrics->update_count < METRIC_UPDATES_MAX, "too many updates", "registry");
    metrics->updates[metrics->update_count++] = (struct metric_update){update, ctx};
}

/* ---- families ---- */

static void check_spec(const struct metrics *metrics, const struct metric_spec *spec)
{
    size_t n = strlen(spec->name);
    bool total = n > 6 && strcmp(spec->name + n - 6, "_total") == 0;
    require(valid_name(spec->name), "bad name", spec->name);
    require(total == (spec->type == METRIC_COUNTER), "counters, and they alone, end in _total",
            spec->name);
    require((spec->type != METRIC_INFO) == (n < 5 || strcmp(spec->name + n - 5, "_info") != 0),
            "infos, and they alone, end in _info", spec->name);
    require(spec->bucket_count <= METRIC_BUCKETS_MAX, "too many buckets", spec->name);
    require((spec->bucket_count > 0) == is_histogram(spec->type), "buckets go with histograms",
            spec->name);
    for (size_t i = 1; i < spec->bucket_count; i++)
        require(spec->buckets[i - 1] < spec->buckets[i], "buckets must ascend", spec->name);
    for (size_t i = 0; spec->labels[i] != NULL; i++)
        require(i < METRIC_LABELS_MAX && valid_name(spec->labels[i]) &&
                    strcmp(spec->labels[i], "le") != 0,
                "bad label", spec->name);
    for (const struct metric_family *f = metrics->families; f != NULL; f = f->next)
        require(strcmp(f->name, spec->name) != 0, "made twice", spec->name);
}

static bool copy_texts(struct metric_family *family, const struct metric_spec *spec)
{
    family->name = strdup(spec->name);
    family->help = strdup(spec->help);
    bool ok = family->name != NULL && family->help != NULL;
    for (; spec->labels[family->label_count] != NULL; family->label_count++)
        ok = (family->labels[family->label_count] = strdup(spec->labels[family->label_count])) !=
                 NULL &&
             ok;
    return ok;
}

struct metric_family *metrics_family(struct metrics *metrics, const struct metric_spec *spec)
{
    struct metric_family *family = calloc(1, sizeof *family);
    check_spec(metrics, spec);
    if (family == NULL || !copy_texts(family, spec)) {
        if (family != NULL)
            free_family(family);
        return NULL;
    }
    family->metrics = metrics;
    family->type = spec->type;
    family->last = &family->series;
    family->bucket_count = spec->bucket_count;
    for (size_t i = 0; i < spec->bucket_count; i++) {
        family->bounds[i] = spec->buckets[i];
        family->limits[i] =
            (uint64_t)(spec->buckets[i] * (spec->type == METRIC_DURATION ? 1e9 : 1) + 0.5);
    }
    size_t bytes = sizeof(struct metric_slot);
    if (is_histogram(spec->type))
        bytes += (spec->bucket_count + 1) * sizeof(uint64_t);
    family->slot_bytes = (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    *metrics->last = family;
    metrics->last = &family->next;
    return family;
}

/* ---- series ---- */

static bool has_values(const struct metric_series *series, const char *const *values)
{
    for (size_t i = 0; i < series->family->label_count; i++)
        if (strcmp(series->values[i], values[i]) != 0)
            return false;
    return true;
}

static struct metric_series *make_series(struct metric_family *family, const char *const *values)
{
    struct metric_series *series = calloc(1, sizeof *series);
    size_t bytes = family->metrics->shards * family->slot_bytes;
    if (series == NULL)
        return NULL;
    series->family = family;
    series->slots = aligned_alloc(CACHE_LINE, bytes);
    bool ok = series->slots != NULL;
    for (size_t i = 0; i < family->label_count; i++)
        ok = (series->values[i] = strdup(values[i])) != NULL && ok;
    if (!ok) {
        free_series(series);
        return NULL;
    }
    memset(series->slots, 0, bytes);
    atomic_init(&series->shown, family->type != METRIC_GAUGE);
    return series;
}

struct metric_series *metrics_series(struct metric_family *family, const char *const *values)
{
    struct metric_series *series;
    (void)pthread_mutex_lock(&family->metrics->lock);
    for (series = family->series; series != NULL && !has_values(series, values);
         series = series->next)
        ;
    if (series == NULL && (series = make_series(family, values)) != NULL) {
        *family->last = series;
        family->last = &series->next;
    }
    if (series != NULL)
        series->users++;
    (void)pthread_mutex_unlock(&family->metrics->lock);
    return series;
}

void metrics_series_remove(struct metric_family *family, struct metric_series *series)
{
    if (series == NULL)
        return;
    (void)pthread_mutex_lock(&family->metrics->lock);
    struct metric_series **link = &family->series;
    while (*link != NULL && *link != series)
        link = &(*link)->next;
    require(*link == series, "removed from a family it is not in", family->name);
    bool last = --series->users == 0;
    if (last) {
        *link = series->next;
        if (family->last == &series->next)
            family->last = link;
    }
    (void)pthread_mutex_unlock(&family->metrics->lock);
    if (last)
        free_series(series);
}

/* ---- updates ---- */

static void add(_Atomic uint64_t *to, uint64_t n)
{
    atomic_store_explicit(to, atomic_load_explicit(to, RELAXED) + n, memory_order_release);
}

void metric_add(struct metric_series *series, unsigned shard, uint64_t n)
{
    add(&metric_slot_at(series, shard)->sum, n);
}

void metric_gauge_add(struct metric_series *series, unsigned shard, int64_t n)
{
    add(&metric_slot_at(series, shard)->sum, (uint64_t)n);
    if (!atomic_load_explicit(&series->shown, RELAXED))
        atomic_store_explicit(&series->shown, true, RELAXED);
}

void metric_set(struct metric_series *series, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    atomic_store_explicit(&series->level, isnan(value) ? 0 : bits, RELAXED);
    atomic_store_explicit(&series->shown, !isnan(value), RELAXED);
}

void metric_observe(struct metric_series *series, unsigned shard, uint64_t amount)
{
    const struct metric_family *family = series->family;
    struct metric_slot *slot = metric_slot_at(series, shard);
    uint64_t sequence = atomic_load_explicit(&slot->sequence, RELAXED);
    size_t i = 0;
    while (i < family->bucket_count && amount > family->limits[i])
        i++;
    /* The stores release, so whoever reads one of them finds the sequence odd or moved on. */
    atomic_store_explicit(&slot->sequence, sequence + 1, RELAXED);
    add(&slot->buckets[i], 1);
    add(&slot->sum, amount);
    atomic_store_explicit(&slot->sequence, sequence + 2, memory_order_release);
}

/* ---- reading ---- */

/* False when an observation came in between. */
static bool try_read_slot(const struct metric_slot *slot, size_t n, uint64_t *buckets,
                          uint64_t *sum)
{
    uint64_t before = atomic_load_explicit(&slot->sequence, memory_order_acquire);
    for (size_t i = 0; i < n; i++)
        buckets[i] = atomic_load_explicit(&slot->buckets[i], memory_order_acquire);
    *sum = atomic_load_explicit(&slot->sum, memory_order_acquire);
    return before % 2 == 0 && atomic_load_explicit(&slot->sequence, RELAXED) == before;
}

void metric_histogram_read(const struct metric_series *series, uint64_t *buckets, uint64_t *sum)
{
    const struct metric_family *family = series->family;
    size_t n = family->bucket_count + 1;
    *sum = 0;
    memset(buckets, 0, n * sizeof *buckets);
    for (unsigned shard = 0; shard < family->metrics->shards; shard++) {
        uint64_t counts[METRIC_BUCKETS_MAX + 1], amounts;
        /* A writer may have lost its CPU in mid-observation: let it run. */
        while (!try_read_slot(metric_slot_at(series, shard), n, counts, &amounts))
            (void)sched_yield();
        for (size_t i = 0; i < n; i++)
            buckets[i] += counts[i];
        *sum += amounts;
    }
}

double metric_read(const struct metric_series *series)
{
    const struct metric_family *family = series->family;
    uint64_t bits = atomic_load_explicit(&series->level, RELAXED), sum = 0;
    double level;
    memcpy(&level, &bits, sizeof level);
    if (is_histogram(family->type)) {
        uint64_t buckets[METRIC_BUCKETS_MAX + 1], amounts;
        metric_histogram_read(series, buckets, &amounts);
        for (size_t i = 0; i <= family->bucket_count; i++)
            sum += buckets[i];
        return (double)sum;
    }
    for (unsigned shard = 0; shard < family->metrics->shards; shard++)
        sum += atomic_load_explicit(&metric_slot_at(series, shard)->sum, RELAXED);
    return level + (family->type == METRIC_GAUGE ? (double)(int64_t)sum : (double)sum);
}
