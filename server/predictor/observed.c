#include "server/predictor/observed.h"

#include "model/drift.h"
#include "model/interval.h"
#include "model/quality.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

/* The interval whose coverage is watched. */
static const double level = 0.9;

/* Expected errors of one sub-window of the drift window's length. */
struct expected_part {
    uint64_t epoch; /* time / length of a part */
    uint64_t rows;
    double sum;
};

/* One shard's; its owner adds, a scrape reads. */
struct expected {
    pthread_mutex_t lock;
    uint64_t seen; /* rows; the owner's */
    uint64_t far;  /* rows that nothing can be said of, since the start */
    struct expected_part parts[DRIFT_SUBWINDOWS];
};

struct observed {
    const struct model *model;
    struct observed_config config;
    struct quality *quality;
    struct drift *drift;
    struct drift_figures *figures; /* (features), for observed_publish, under the registry's lock */
    bool intervals;
    double interval_score;
    struct expected *expected; /* (shards) */
};

static bool make_windows(struct observed *o, struct error *err)
{
    const struct quality_config quality = {.rows = o->config.window_rows,
                                           .age_ns = o->config.window_ns,
                                           .offset = model_intercept(o->model)};
    const struct drift_config drift = {.shards = o->config.shards,
                                       .window_ns = o->config.drift_ns,
                                       .prediction_quantiles = model_predicted_quantiles(o->model)};
    struct error none = {0};
    o->figures = calloc(model_feature_count(o->model), sizeof *o->figures);
    o->expected = calloc(o->config.shards, sizeof *o->expected);
    if (o->figures == NULL || o->expected == NULL)
        return error_set(err, ERR_NO_MEMORY, "out of memory");
    for (unsigned i = 0; i < o->config.shards; i++)
        (void)pthread_mutex_init(&o->expected[i].lock, NULL);
    o->intervals = interval_score(o->model, level, &o->interval_score, &none);
    return (o->quality = quality_new(&quality, err)) != NULL &&
           (o->drift = drift_new(o->model, &drift, err)) != NULL;
}

struct observed *observed_new(const struct model *model, const struct observed_config *config,
                              struct error *err)
{
    struct observed *o = calloc(1, sizeof *o);
    if (o == NULL) {
        (void)error_set(err, ERR_NO_MEMORY, "out of memory");
        return NULL;
    }
    o->model = model;
    o->config = *config;
    if (make_windows(o, err))
        return o;
    observed_free(o);
    return NULL;
}

void observed_free(struct observed *o)
{
    if (o == NULL)
        return;
    quality_free(o->quality);
    drift_free(o->drift);
    for (unsigned i = 0; o->expected != NULL && i < o->config.shards; i++)
        (void)pthread_mutex_destroy(&o->expected[i].lock);
    free(o->expected);
    free(o->figures);
    free(o);
}

/* ---- predictions ---- */

static uint64_t epoch_of(const struct observed *o, uint64_t monotonic_ns)
{
    uint64_t length = o->config.drift_ns / DRIFT_SUBWINDOWS;
    return monotonic_ns / (length > 0 ? length : 1);
}

static void expect_error(const struct observed *o, struct expected *e, uint64_t epoch,
                         const double *x)
{
    double error;
    if (!model_expected_error(o->model, x, &error))
        return;
    (void)pthread_mutex_lock(&e->lock);
    struct expected_part *part = &e->parts[epoch % DRIFT_SUBWINDOWS];
    if (part->epoch != epoch)
        *part = (struct expected_part){.epoch = epoch};
    if (isfinite(error)) {
        part->rows++;
        part->sum += error;
    } else
        e->far++;
    (void)pthread_mutex_unlock(&e->lock);
}

void observed_predictions(struct observed *o, unsigned shard, uint64_t monotonic_ns, size_t rows,
                          const double *x, const double *y)
{
    struct expected *e = &o->expected[shard];
    size_t features = model_feature_count(o->model);
    drift_add(o->drift, shard, monotonic_ns, rows, x, y);
    size_t first = (size_t)((EXPECTED_EVERY - e->seen % EXPECTED_EVERY) % EXPECTED_EVERY);
    size_t spread = rows / EXPECTED_REQUEST_ROWS;
    for (size_t i = first; i<rows; i += spread> EXPECTED_EVERY ? spread : EXPECTED_EVERY)
        expect_error(o, e, epoch_of(o, monotonic_ns), x + i * features);
    e->seen += rows;
}

/* ---- true values ---- */

void observed_truth(struct observed *o, uint64_t wall_ns, const double *x, double prediction,
                    double target)
{
    struct quality_row row = {wall_ns, prediction, target, QUALITY_NO_INTERVAL};
    double half;
    if (o->intervals) {
        interval_half_widths(o->model, o->interval_score, 1, x, &half);
        row.interval = fabs(target - prediction) <= half ? QUALITY_INSIDE : QUALITY_OUTSIDE;
    }
    (void)!quality_add(o->quality, &row); /* beyond 1e150 it is no error of a model */
}

/* ---- figures ---- */

static double expected_mae(const struct observed *o, uint64_t monotonic_ns, uint64_t *far)
{
    uint64_t now = epoch_of(o, monotonic_ns), rows = 0;
    double sum = 0;
    *far = 0;
    for (unsigned i = 0; i < o->config.shards; i++) {
        struct expected *e = &o->expected[i];
        (void)pthread_mutex_lock(&e->lock);
        *far += e->far;
        for (size_t j = 0; j < DRIFT_SUBWINDOWS; j++)
            if (e->parts[j].epoch + DRIFT_SUBWINDOWS > now) {
                rows += e->parts[j].rows;
                sum += e->parts[j].sum;
            }
        (void)pthread_mutex_unlock(&e->lock);
    }
    return rows > 0 ? sum / (double)rows : NAN;
}

void observed_publish(struct observed *o, uint64_t monotonic_ns, uint64_t wall_ns,
                      struct quality_series *series)
{
    struct quality_view view = {.features = o->figures};
    quality_read(o->quality, wall_ns, &view.quality);
    view.live = view.quality.rows >= o->config.min_samples;
    drift_read(o->drift, monotonic_ns, o->figures, &view.prediction);
    view.expected_mae = expected_mae(o, monotonic_ns, &view.not_estimable);
    quality_show(series, &view);
}
