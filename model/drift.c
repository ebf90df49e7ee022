#include "model/drift.h"

#include "model/model_internal.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    POINTS = MODEL_QUANTILES, /* a power of two */
    CELLS = 2 * POINTS + 1,   /* below, at and between the points; see cell_of */
    FIRST_CUT = 2,            /* PSI's cuts are every third level, the same from both ends */
    CUT_STEP = 3,
    CUTS = (POINTS - 2 * FIRST_CUT - 1) / CUT_STEP + 1,
    SLOTS = DRIFT_SUBWINDOWS +
            1, /* one more than is read: the next one is cleared while others are read */
    CACHE_LINE = 64,
};

#define RELAXED memory_order_relaxed

/* Counts of one feature, or of the prediction, in one sub-window. */
struct counts {
    _Atomic uint32_t cell[CELLS];
};

/* Since the start. */
struct totals {
    _Atomic uint64_t out_of_range, clipped;
};

struct shard {
    pthread_mutex_t lock;  /* the owner: to write epochs and clear counts; readers: to read */
    uint64_t epoch[SLOTS]; /* of the counts in the slot, from 1; 0: none yet */
    uint32_t rows[SLOTS];  /* the owner's */
    size_t requests;       /* the owner's: that were counted */
    uint64_t credit;       /* the owner's: values it may count */
    uint64_t newest;       /* the owner's: epoch it counts in */
    struct counts *counts; /* (SLOTS, columns) */
    struct totals *totals; /* (columns) */
};

struct drift {
    const struct model *model;
    unsigned shards;
    uint64_t span_ns;        /* of a sub-window */
    size_t columns;          /* features, and the prediction */
    double *points;          /* (columns, POINTS) */
    bool known[2];           /* whether there are points for the features, for the prediction */
    struct shard **shard;    /* (shards) */
    pthread_mutex_t reading; /* guards sums */
    uint64_t (*sums)[CELLS]; /* (columns) */
};

/* ---- life ---- */

static void free_shard(struct shard *shard)
{
    if (shard == NULL)
        return;
    (void)pthread_mutex_destroy(&shard->lock);
    free(shard->counts);
    free(shard->totals);
    free(shard);
}

void drift_free(struct drift *drift)
{
    if (drift == NULL)
        return;
    for (unsigned i = 0; drift->shard != NULL && i < drift->shards; i++)
        free_shard(drift->shard[i]);
    free(drift->shard);
    free(drift->points);
    free(drift->sums);
    (void)pthread_mutex_destroy(&drift->reading);
    free(drift);
}

/* Zeros on cache lines of their own. */
static void *lines_of(size_t count, size_t size)
{
    size_t bytes = (count * size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    void *lines = aligned_alloc(CACHE_LINE, bytes);
    if (lines != NULL)
        memset(lines, 0, bytes);
    return lines;
}

static struct shard *new_shard(size_t columns)
{
    struct shard *shard = lines_of(1, sizeof *shard);
    if (shard == NULL)
        return NULL;
    (void)pthread_mutex_init(&shard->lock, NULL);
    shard->counts = lines_of(SLOTS * columns, sizeof *shard->counts);
    shard->totals = lines_of(columns, sizeof *shard->totals);
    if (shard->counts != NULL && shard->totals != NULL)
        return shard;
    free_shard(shard);
    return NULL;
}

static void copy_points(struct drift *drift, const double *prediction_quantiles)
{
    const double *quantiles = drift->model->parts.quantiles;
    size_t features = drift->columns - 1;
    drift->known[0] = quantiles != NULL;
    drift->known[1] = prediction_quantiles != NULL;
    if (quantiles != NULL)
        memcpy(drift->points, quantiles, features * POINTS * sizeof *quantiles);
    if (prediction_quantiles != NULL)
        memcpy(drift->points + features * POINTS, prediction_quantiles,
               POINTS * sizeof *prediction_quantiles);
}

struct drift *drift_new(const struct model *model, const struct drift_config *config,
                        struct error *err)
{
    size_t columns = model->parts.feature_count + 1;
    if (config->shards == 0 || config->window_ns < DRIFT_SUBWINDOWS) {
        (void)error_set(err, ERR_INVALID, "drift: expected a shard and a window of at least %d ns",
                        DRIFT_SUBWINDOWS);
        return NULL;
    }
    struct drift *drift = calloc(1, sizeof *drift);
    if (drift == NULL)
        goto no_memory;
    (void)pthread_mutex_init(&drift->reading, NULL);
    drift->model = model;
    drift->shards = config->shards;
    drift->span_ns = config->window_ns / DRIFT_SUBWINDOWS;
    drift->columns = columns;
    drift->points = calloc(columns * POINTS, sizeof *drift->points);
    drift->sums = calloc(columns, sizeof *drift->sums);
    drift->shard = calloc(config->shards, sizeof(struct shard *));
    if (drift->points == NULL || drift->sums == NULL || drift->shard == NULL)
        goto no_memory;
    copy_points(drift, config->prediction_quantiles);
    for (unsigned i = 0; i < config->shards; i++)
        if ((drift->shard[i] = new_shard(columns)) == NULL)
            goto no_memory;
    return drift;
no_memory:
    drift_free(drift);
    (void)error_set(err, ERR_NO_MEMORY, "drift: no memory for %zu features", columns - 1);
    return NULL;
}

/* ---- counting ---- */

/* How many of a request's rows to count: what the shard has saved up pays for them. */
static size_t rows_to_count(const struct drift *drift, struct shard *shard, size_t rows)
{
    const uint64_t values_per_request = 10, values_per_counted_one = 64;
    uint64_t columns = drift->columns;
    shard->credit += values_per_request + rows * columns / values_per_counted_one;
    uint64_t count = shard->credit / columns;
    if (count > rows)
        count = rows;
    if (count > DRIFT_REQUEST_ROWS_MAX)
        count = DRIFT_REQUEST_ROWS_MAX;
    shard->credit -= count * columns;
    if (shard->credit > columns)
        shard->credit = columns;
    return count;
}

/* Points below x and points up to x, added: 2a between the a-th point and the next, and a number of its
 * own where x equals a point or a run of equal ones. */
static size_t cell_of(const double *points, double x)
{
    size_t below = 0, upto;
    for (size_t step = POINTS / 2; step > 0; step /= 2)
        below += step * (size_t)(points[below + step - 1] < x);
    below += points[below] < x;
    for (upto = below; upto < POINTS && points[upto] == x; upto++)
        ;
    return below + upto;
}

static void count_value(struct counts *counts, const double *points, double x)
{
    if (!isfinite(x))
        return;
    _Atomic uint32_t *cell = &counts->cell[cell_of(points, x)];
    atomic_store_explicit(cell, atomic_load_explicit(cell, RELAXED) + 1, RELAXED);
}

static void count_bounds(struct totals *totals, const struct transform *t, double x)
{
    if (x < t->min || x > t->max)
        atomic_store_explicit(&totals->out_of_range,
                              atomic_load_explicit(&totals->out_of_range, RELAXED) + 1, RELAXED);
    if (transform_clips(t, x))
        atomic_store_explicit(&totals->clipped, atomic_load_explicit(&totals->clipped, RELAXED) + 1,
                              RELAXED);
}

/* The slot to count in at that time, cleared if a new sub-window has begun. */
static size_t enter_slot(const struct drift *drift, struct shard *shard, uint64_t now_ns)
{
    uint64_t epoch = now_ns / drift->span_ns + 1;
    size_t slot = epoch % SLOTS;
    if (epoch <= shard->newest)
        return shard->newest % SLOTS;
    (void)pthread_mutex_lock(&shard->lock);
    shard->epoch[slot] = epoch;
    for (size_t c = 0; c < drift->columns; c++)
        for (size_t i = 0; i < CELLS; i++)
            atomic_store_explicit(&shard->counts[slot * drift->columns + c].cell[i], 0, RELAXED);
    (void)pthread_mutex_unlock(&shard->lock);
    shard->rows[slot] = 0;
    shard->newest = epoch;
    return slot;
}

static void count_row(const struct drift *drift, struct shard *shard, struct counts *counts,
                      const double *x, double y)
{
    size_t features = drift->columns - 1;
    for (size_t j = 0; j < features; j++) {
        count_bounds(&shard->totals[j], &drift->model->parts.features[j].transform, x[j]);
        if (drift->known[0])
            count_value(&counts[j], drift->points + j * POINTS, x[j]);
    }
    if (drift->known[1])
        count_value(&counts[features], drift->points + features * POINTS, y);
}

void drift_add(struct drift *drift, unsigned shard_index, uint64_t now_ns, size_t rows,
               const double *x, const double *y)
{
    struct shard *shard = drift->shard[shard_index];
    size_t count = rows_to_count(drift, shard, rows), features = drift->columns - 1;
    if (count == 0)
        return;
    size_t slot = enter_slot(drift, shard, now_ns), stride = (rows - 1) / count + 1;
    /* Clients may order their rows; a start that moves lets every place in a request be seen. */
    size_t first = shard->requests++ % stride;
    for (size_t i = first; i < rows && shard->rows[slot] < UINT32_MAX; i += stride) {
        shard->rows[slot]++;
        count_row(drift, shard, &shard->counts[slot * drift->columns], x + i * features, y[i]);
    }
}

/* ---- figures ---- */

/* G(POINTS) of drift.h. */
static void observed_shares(const double *points, const uint64_t *cells, double rows,
                            double *shares)
{
    uint64_t below = 0;
    size_t cell = 0;
    for (size_t a = 0, b; a < POINTS; a = b) {
        for (b = a + 1; b < POINTS && points[b] == points[a]; b++)
            ;
        for (; cell < a + b; cell++)
            below += cells[cell];
        double low = (double)below / rows, high = (double)(below + cells[a + b]) / rows;
        for (size_t i = a; i < b; i++)
            shares[i] = fmin(fmax(((double)i + 0.5) / POINTS, low), high);
    }
}

static double psi_term(double expected, double observed, double rows)
{
    const double prior = CUTS + 1;
    double smooth = (rows * observed + prior * expected) / (rows + prior);
    return (smooth - expected) * log(smooth / expected);
}

static double psi_of(const double *points, const double *shares, double rows)
{
    double psi = 0, level = 0, share = 0;
    for (size_t k = 0; k < CUTS; k++) {
        size_t i = FIRST_CUT + CUT_STEP * k;
        double next_level = ((double)i + 0.5) / POINTS;
        if (k > 0 && k < CUTS - 1 && points[i - CUT_STEP] == points[i + CUT_STEP])
            continue; /* inside one tied value */
        psi += psi_term(next_level - level, shares[i] - share, rows);
        level = next_level;
        share = shares[i];
    }
    return psi + psi_term(1 - level, 1 - share, rows);
}

static struct drift_figures figures_of(const double *points, const uint64_t *cells)
{
    struct drift_figures figures = {.psi = NAN, .ks = NAN};
    double shares[POINTS];
    for (size_t i = 0; i < CELLS; i++)
        figures.rows += cells[i];
    if (figures.rows < DRIFT_ROWS_MIN)
        return figures;
    observed_shares(points, cells, (double)figures.rows, shares);
    figures.ks = 0;
    for (size_t i = 0; i < POINTS; i++)
        figures.ks = fmax(figures.ks, fabs(shares[i] - ((double)i + 0.5) / POINTS));
    figures.psi = psi_of(points, shares, (double)figures.rows);
    return figures;
}

static void add_shard(struct drift *drift, struct shard *shard, uint64_t epoch)
{
    (void)pthread_mutex_lock(&shard->lock);
    for (size_t slot = 0; slot < SLOTS; slot++) {
        if (shard->epoch[slot] == 0 || shard->epoch[slot] + DRIFT_SUBWINDOWS <= epoch)
            continue;
        for (size_t c = 0; c < drift->columns; c++)
            for (size_t i = 0; i < CELLS; i++)
                drift->sums[c][i] += atomic_load_explicit(
                    &shard->counts[slot * drift->columns + c].cell[i], RELAXED);
    }
    (void)pthread_mutex_unlock(&shard->lock);
}

void drift_read(struct drift *drift, uint64_t now_ns, struct drift_figures *features,
                struct drift_figures *prediction)
{
    size_t count = drift->columns - 1;
    (void)pthread_mutex_lock(&drift->reading);
    memset(drift->sums, 0, drift->columns * sizeof *drift->sums);
    for (unsigned s = 0; s < drift->shards; s++)
        add_shard(drift, drift->shard[s], now_ns / drift->span_ns + 1);
    for (size_t j = 0; j <= count; j++) {
        struct drift_figures *out = j < count ? &features[j] : prediction;
        *out = figures_of(drift->points + j * POINTS, drift->sums[j]);
        for (unsigned s = 0; s < drift->shards; s++) {
            const struct totals *totals = &drift->shard[s]->totals[j];
            out->out_of_range += atomic_load_explicit(&totals->out_of_range, RELAXED);
            out->clipped += atomic_load_explicit(&totals->clipped, RELAXED);
        }
    }
    (void)pthread_mutex_unlock(&drift->reading);
}
