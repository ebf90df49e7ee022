#include "server/predictor/telemetry_quality.h"

#include "model/model.h"

#include <math.h>
#include <stdlib.h>

#define MODEL_LABELS "model_name", "version", "user_id", "namespace"
enum { LABELS = 4 };

/* Gauges with the four labels alone. */
enum gauge {
    MAE,
    R2,
    RMSE,
    BIAS,
    LIVE,
    LAST_FEEDBACK,
    WINDOW_ROWS,
    ABSOLUTE_ERROR_SUM,
    SQUARED_ERROR_SUM,
    ERROR_SUM,
    DEVIATION_SUM,
    DEVIATION_SQUARED_SUM,
    INTERVAL_ROWS,
    EXPECTED_MAE,
    DRIFT_ROWS,
    PREDICTION_PSI,
    PREDICTION_KS,
    GAUGES
};
#define CARD_OR_LIVE "; the model card's holdout figure while model_quality_live is 0."
static const char *const gauge_texts[GAUGES][2] = {
    [MAE] = {"model_mae_score", "Mean absolute error, in the target's unit" CARD_OR_LIVE},
    [R2] = {"model_r2_score", "Coefficient of determination" CARD_OR_LIVE},
    [RMSE] = {"model_rmse_score", "Root mean squared error, in the target's unit" CARD_OR_LIVE},
    [BIAS] = {"model_bias_score", "Mean of prediction minus true value, in the target's unit."},
    [LIVE] = {"model_quality_live",
              "1 when the quality figures come from true values sent back, 0 "
              "when they are the model card's."},
    [LAST_FEEDBACK] = {"model_quality_last_feedback_timestamp_seconds",
                       "When the last true value came back, in seconds since 1970."},
    [WINDOW_ROWS] = {"model_window_rows", "True values in the quality window."},
    [ABSOLUTE_ERROR_SUM] = {"model_window_absolute_errors",
                            "Sum of absolute errors in the quality window; adds up over replicas."},
    [SQUARED_ERROR_SUM] = {"model_window_squared_errors",
                           "Sum of squared errors in the quality window; adds up over replicas."},
    [ERROR_SUM] = {"model_window_errors",
                   "Sum of prediction minus true value in the quality window; adds up over "
                   "replicas."},
    [DEVIATION_SUM] =
        {"model_window_deviations",
         "Sum of true value minus the artifact's intercept in the quality window; adds "
         "up over replicas."},
    [DEVIATION_SQUARED_SUM] = {"model_window_squared_deviations",
                               "Sum of squares of true value minus the artifact's intercept in the "
                               "quality window; adds up over replicas."},
    [INTERVAL_ROWS] = {"model_interval_window_rows",
                       "True values in the quality window that had an interval."},
    [EXPECTED_MAE] =
        {"model_expected_mae",
         "Mean absolute error to expect of the predictions in the drift window, without "
         "true values."},
    [DRIFT_ROWS] = {"model_drift_window_rows", "Rows in the drift window."},
    [PREDICTION_PSI] = {"model_prediction_psi",
                        "Population stability index of the predictions against training."},
    [PREDICTION_KS] = {"model_prediction_ks",
                       "Kolmogorov-Smirnov distance of the predictions from training."},
};

/* With the label `feature` behind the four. */
enum feature_metric { FEATURE_PSI, FEATURE_KS, OUT_OF_RANGE, CLIPPED, FEATURE_METRICS };
static const struct {
    const char *name, *help;
    enum metric_type type;
} feature_texts[FEATURE_METRICS] = {
    [FEATURE_PSI] = {"model_feature_psi",
                     "Population stability index of a feature against training.", METRIC_GAUGE},
    [FEATURE_KS] = {"model_feature_ks", "Kolmogorov-Smirnov distance of a feature from training.",
                    METRIC_GAUGE},
    [OUT_OF_RANGE] = {"model_feature_out_of_range_total",
                      "Counted values of a feature outside its range in training.", METRIC_COUNTER},
    [CLIPPED] = {"model_feature_clipped_total",
                 "Counted values of a feature that the model clipped.", METRIC_COUNTER},
};

static const double fsync_buckets[] = {1e-4,  2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01,
                                       0.025, 0.05,   0.1,  0.25, 0.5,    1.0,  5.0};

struct quality_families {
    struct metric_family *gauges[GAUGES], *features[FEATURE_METRICS];
    struct metric_family *coverage, *not_estimable, *feedback;
    struct metric_series *journal_bytes, *journal_rows, *journal_failed, *fsync;
};

struct quality_series {
    struct quality_families *families;
    const struct model *model;
    size_t features;
    struct metric_series *gauges[GAUGES], *coverage, *not_estimable;
    struct metric_series *feedback[FEEDBACK_OUTCOMES];
    struct metric_series *(*by_feature)[FEATURE_METRICS]; /* (features) */
};

/* ---- families ---- */

static struct metric_family *model_family(struct metrics *metrics, const char *name,
                                          enum metric_type type, const char *help,
                                          const char *further_label)
{
    const struct metric_spec spec = {name, type, help, {MODEL_LABELS, further_label}, NULL, 0};
    return metrics_family(metrics, &spec);
}

static struct metric_series *lone_series(struct metrics *metrics, const struct metric_spec *spec)
{
    struct metric_family *family = metrics_family(metrics, spec);
    return family != NULL ? metrics_series(family, NULL) : NULL;
}

static bool make_journal_series(struct quality_families *f, struct metrics *metrics)
{
    static const struct metric_spec bytes = {"feedback_journal_bytes",
                                             METRIC_GAUGE,
                                             "Bytes of all files of the feedback journal.",
                                             {NULL},
                                             NULL,
                                             0};
    static const struct metric_spec rows = {"feedback_journal_rows_total",
                                            METRIC_COUNTER,
                                            "Rows made durable in the feedback journal.",
                                            {NULL},
                                            NULL,
                                            0};
    static const struct metric_spec failed = {
        "feedback_journal_failed",
        METRIC_GAUGE,
        "1 while the feedback journal refuses rows because it could not be written.",
        {NULL},
        NULL,
        0};
    static const struct metric_spec fsync = {"feedback_journal_fsync_seconds",
                                             METRIC_DURATION,
                                             "Time to write and sync a batch of feedback.",
                                             {NULL},
                                             fsync_buckets,
                                             sizeof fsync_buckets / sizeof *fsync_buckets};
    f->journal_bytes = lone_series(metrics, &bytes);
    f->journal_rows = lone_series(metrics, &rows);
    f->journal_failed = lone_series(metrics, &failed);
    f->fsync = lone_series(metrics, &fsync);
    return f->journal_bytes != NULL && f->journal_rows != NULL && f->journal_failed != NULL &&
           f->fsync != NULL;
}

struct quality_families *quality_families_new(struct metrics *metrics)
{
    struct quality_families *f = calloc(1, sizeof *f);
    if (f == NULL)
        return NULL;
    bool ok = true;
    for (size_t i = 0; i < GAUGES; i++)
        ok = (f->gauges[i] = model_family(metrics, gauge_texts[i][0], METRIC_GAUGE,
                                          gauge_texts[i][1], NULL)) != NULL &&
             ok;
    for (size_t i = 0; i < FEATURE_METRICS; i++)
        ok = (f->features[i] = model_family(metrics, feature_texts[i].name, feature_texts[i].type,
                                            feature_texts[i].help, "feature")) != NULL &&
             ok;
    f->coverage =
        model_family(metrics, "model_interval_coverage_ratio", METRIC_GAUGE,
                     "Share of true values that lay in their interval of that level.", "level");
    f->not_estimable =
        model_family(metrics, "model_not_estimable_rows_total", METRIC_COUNTER,
                     "Rows looked at for their expected error and found too far from "
                     "all training rows.",
                     NULL);
    f->feedback = model_family(metrics, "model_feedback_total", METRIC_COUNTER,
                               "True values sent back, by what became of them.", "outcome");
    if (ok && f->coverage != NULL && f->not_estimable != NULL && f->feedback != NULL &&
        make_journal_series(f, metrics))
        return f;
    free(f);
    return NULL;
}

void quality_families_free(struct quality_families *families)
{
    free(families);
}

/* ---- a model's series ---- */

static bool make_series(struct quality_series *s, const char *const labels[LABELS])
{
    struct quality_families *f = s->families;
    const char *values[LABELS + 1] = {labels[0], labels[1], labels[2], labels[3], NULL};
    bool ok = true;
    for (size_t i = 0; i < GAUGES; i++)
        ok = (s->gauges[i] = metrics_series(f->gauges[i], values)) != NULL && ok;
    ok = (s->not_estimable = metrics_series(f->not_estimable, values)) != NULL && ok;
    values[LABELS] = "0.9";
    ok = (s->coverage = metrics_series(f->coverage, values)) != NULL && ok;
    for (size_t i = 0; i < FEEDBACK_OUTCOMES; i++) {
        values[LABELS] = feedback_words[i];
        ok = (s->feedback[i] = metrics_series(f->feedback, values)) != NULL && ok;
    }
    for (size_t j = 0; j < s->features; j++) {
        values[LABELS] = model_feature_name(s->model, j);
        for (size_t i = 0; i < FEATURE_METRICS; i++)
            ok = (s->by_feature[j][i] = metrics_series(f->features[i], values)) != NULL && ok;
    }
    return ok;
}

static void show_card(struct quality_series *s)
{
    const struct model_figures *card = &model_card(s->model)->holdout;
    metric_set(s->gauges[MAE], card->rows > 0 ? card->mae : NAN);
    metric_set(s->gauges[R2], card->rows > 0 ? card->r2 : NAN);
    metric_set(s->gauges[RMSE], card->rows > 0 ? card->rmse : NAN);
    metric_set(s->gauges[BIAS], NAN);
    metric_set(s->gauges[LIVE], 0);
}

struct quality_series *quality_series_new(struct quality_families *families,
                                          const char *const labels[4], const struct model *model)
{
    struct quality_series *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->families = families;
    s->model = model;
    s->features = model_feature_count(model);
    s->by_feature = calloc(s->features, sizeof *s->by_feature);
    if (s->by_feature != NULL && make_series(s, labels)) {
        show_card(s);
        return s;
    }
    if (s->by_feature != NULL)
        quality_series_retire(s);
    quality_series_free(s);
    return NULL;
}

void quality_series_retire(struct quality_series *s)
{
    for (size_t i = 0; i < GAUGES; i++)
        metrics_series_remove(s->families->gauges[i], s->gauges[i]);
    metrics_series_remove(s->families->coverage, s->coverage);
    for (size_t j = 0; j < s->features; j++) {
        metrics_series_remove(s->families->features[FEATURE_PSI], s->by_feature[j][FEATURE_PSI]);
        metrics_series_remove(s->families->features[FEATURE_KS], s->by_feature[j][FEATURE_KS]);
    }
}

void quality_series_free(struct quality_series *series)
{
    if (series == NULL)
        return;
    free(series->by_feature);
    free(series);
}

/* ---- values ---- */

static void show_quality(struct quality_series *s, const struct quality_report *q, bool live)
{
    metric_set(s->gauges[WINDOW_ROWS], (double)q->rows);
    metric_set(s->gauges[ABSOLUTE_ERROR_SUM], q->absolute_error_sum);
    metric_set(s->gauges[SQUARED_ERROR_SUM], q->squared_error_sum);
    metric_set(s->gauges[ERROR_SUM], q->error_sum);
    metric_set(s->gauges[DEVIATION_SUM], q->deviation_sum);
    metric_set(s->gauges[DEVIATION_SQUARED_SUM], q->deviation_squared_sum);
    metric_set(s->gauges[INTERVAL_ROWS], (double)q->interval_rows);
    metric_set(s->gauges[LAST_FEEDBACK], q->last_time_ns > 0 ? (double)q->last_time_ns / 1e9 : NAN);
    metric_set(s->coverage, live ? q->coverage : NAN);
    if (!live) {
        show_card(s);
        return;
    }
    metric_set(s->gauges[MAE], q->mae);
    metric_set(s->gauges[R2], q->r2);
    metric_set(s->gauges[RMSE], q->rmse);
    metric_set(s->gauges[BIAS], q->bias);
    metric_set(s->gauges[LIVE], 1);
}

/* Of whatever is counted: an artifact may have no reference for its predictions, or for its features. */
static uint64_t drift_rows(const struct quality_series *s, const struct quality_view *view)
{
    uint64_t rows = view->prediction.rows;
    for (size_t j = 0; j < s->features; j++)
        rows = view->features[j].rows > rows ? view->features[j].rows : rows;
    return rows;
}

void quality_show(struct quality_series *s, const struct quality_view *view)
{
    show_quality(s, &view->quality, view->live);
    metric_set(s->gauges[EXPECTED_MAE], view->expected_mae);
    metric_set(s->not_estimable, (double)view->not_estimable);
    metric_set(s->gauges[DRIFT_ROWS], (double)drift_rows(s, view));
    metric_set(s->gauges[PREDICTION_PSI], view->prediction.psi);
    metric_set(s->gauges[PREDICTION_KS], view->prediction.ks);
    for (size_t j = 0; j < s->features; j++) {
        const struct drift_figures *figures = &view->features[j];
        metric_set(s->by_feature[j][FEATURE_PSI], figures->psi);
        metric_set(s->by_feature[j][FEATURE_KS], figures->ks);
        metric_set(s->by_feature[j][OUT_OF_RANGE], (double)figures->out_of_range);
        metric_set(s->by_feature[j][CLIPPED], (double)figures->clipped);
    }
}

void quality_count_feedback(struct quality_series *series, unsigned shard,
                            enum feedback_outcome outcome)
{
    metric_add(series->feedback[outcome], shard, 1);
}

void quality_show_journal(struct quality_families *families, const struct journal_stats *stats)
{
    metric_set(families->journal_bytes, (double)stats->bytes);
    metric_set(families->journal_rows, (double)stats->rows);
    metric_set(families->journal_failed, stats->failed);
}

void quality_observe_fsync(struct quality_families *families, unsigned shard, uint64_t ns)
{
    metric_observe(families->fsync, shard, ns);
}
