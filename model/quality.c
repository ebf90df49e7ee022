#include "model/quality.h"

#include "model/exact_sum.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

struct entry {
    uint64_t time_ns;
    double error, deviation;
    enum quality_interval interval;
};

struct quality {
    pthread_mutex_t lock;
    struct quality_config config;
    struct entry *ring;
    size_t oldest, count;
    uint64_t last_time_ns, with_interval, inside;
    struct exact_sum absolute_error, error, squared_error, deviation, squared_deviation;
};

struct quality *quality_new(const struct quality_config *config, struct error *err)
{
    if (config->rows == 0 || config->rows > QUALITY_ROWS_MAX) {
        (void)error_set(err, config->rows == 0 ? ERR_INVALID : ERR_TOO_LARGE,
                        "quality window: expected 1 to %d rows, got %zu", QUALITY_ROWS_MAX,
                        config->rows);
        return NULL;
    }
    if (!isfinite(config->offset)) {
        (void)error_set(err, ERR_INVALID, "quality window: expected a finite offset");
        return NULL;
    }
    struct quality *quality = calloc(1, sizeof *quality);
    struct entry *ring = calloc(config->rows, sizeof *ring);
    if (quality == NULL || ring == NULL) {
        free(quality);
        free(ring);
        (void)error_set(err, ERR_NO_MEMORY, "quality window: no memory for %zu rows", config->rows);
        return NULL;
    }
    quality->config = *config;
    quality->ring = ring;
    (void)pthread_mutex_init(&quality->lock, NULL);
    return quality;
}

void quality_free(struct quality *quality)
{
    if (quality == NULL)
        return;
    (void)pthread_mutex_destroy(&quality->lock);
    free(quality->ring);
    free(quality);
}

/* Puts a row into the sums (sign 1) or takes it out again (sign -1). */
static void account(struct quality *quality, const struct entry *entry, int sign)
{
    exact_sum_add(&quality->absolute_error, sign * fabs(entry->error));
    exact_sum_add(&quality->error, sign * entry->error);
    exact_sum_add_square(&quality->squared_error, entry->error, sign);
    exact_sum_add(&quality->deviation, sign * entry->deviation);
    exact_sum_add_square(&quality->squared_deviation, entry->deviation, sign);
    quality->with_interval += (uint64_t)(sign * (entry->interval != QUALITY_NO_INTERVAL));
    quality->inside += (uint64_t)(sign * (entry->interval == QUALITY_INSIDE));
}

static void drop_oldest(struct quality *quality)
{
    account(quality, &quality->ring[quality->oldest], -1);
    quality->oldest = (quality->oldest + 1) % quality->config.rows;
    quality->count--;
}

static void drop_aged(struct quality *quality, uint64_t now_ns)
{
    uint64_t age = quality->config.age_ns;
    while (age > 0 && quality->count > 0 && now_ns >= age &&
           quality->ring[quality->oldest].time_ns <= now_ns - age)
        drop_oldest(quality);
}

bool quality_add(struct quality *quality, const struct quality_row *row)
{
    const double limit = 1e150;
    struct entry entry = {row->time_ns, row->prediction - row->target,
                          row->target - quality->config.offset, row->interval};
    /* So worded that NaN is refused, too. */
    if (!(fabs(entry.error) <= limit && fabs(entry.deviation) <= limit))
        return false;
    (void)pthread_mutex_lock(&quality->lock);
    drop_aged(quality, row->time_ns);
    if (quality->count == quality->config.rows)
        drop_oldest(quality);
    quality->ring[(quality->oldest + quality->count++) % quality->config.rows] = entry;
    account(quality, &entry, 1);
    if (row->time_ns > quality->last_time_ns)
        quality->last_time_ns = row->time_ns;
    (void)pthread_mutex_unlock(&quality->lock);
    return true;
}

/* 1 - squared / (squares - sum^2 / n) from the exact sums. The difference is taken in twice the
 * precision: where the targets are far from the offset, nearly everything cancels. */
static double determination(const struct quality *quality, double n)
{
    double sum, sum_low, squares, squares_low;
    exact_sum_split(&quality->deviation, &sum, &sum_low);
    exact_sum_split(&quality->squared_deviation, &squares, &squares_low);
    double a = n * squares, b = sum * sum;
    double spread =
        (a - b) + (fma(n, squares, -a) - fma(sum, sum, -b)) + (n * squares_low - 2 * sum * sum_low);
    if (!(spread > ldexp(a, -96)))
        return NAN;
    return 1 - exact_sum_value(&quality->squared_error) / (spread / n);
}

static void fill_report(const struct quality *quality, struct quality_report *report)
{
    double n = (double)quality->count, inside = (double)quality->inside;
    *report = (struct quality_report){
        .rows = quality->count,
        .interval_rows = quality->with_interval,
        .absolute_error_sum = exact_sum_value(&quality->absolute_error),
        .squared_error_sum = exact_sum_value(&quality->squared_error),
        .error_sum = exact_sum_value(&quality->error),
        .deviation_sum = exact_sum_value(&quality->deviation),
        .deviation_squared_sum = exact_sum_value(&quality->squared_deviation),
        .mae = NAN,
        .rmse = NAN,
        .bias = NAN,
        .r2 = NAN,
        .coverage = NAN,
        .last_time_ns = quality->last_time_ns};
    if (quality->with_interval > 0)
        report->coverage = inside / (double)quality->with_interval;
    if (quality->count == 0)
        return;
    report->mae = report->absolute_error_sum / n;
    report->rmse = sqrt(report->squared_error_sum / n);
    report->bias = report->error_sum / n;
    report->r2 = determination(quality, n);
}

void quality_read(struct quality *quality, uint64_t now_ns, struct quality_report *report)
{
    (void)pthread_mutex_lock(&quality->lock);
    drop_aged(quality, now_ns);
    fill_report(quality, report);
    (void)pthread_mutex_unlock(&quality->lock);
}
