/* Families are declared as data, then series are made once and kept by pointer, so that counting is
 * a load and a store. */
#include "server/predictor/telemetry.h"

#include <stdlib.h>
#include <time.h>

/* Statuses a route can answer with get a series; anything else is counted under the last, 500. */
static const int codes[] = {200, 400, 401, 404, 405, 408, 413, 417,
                            429, 431, 501, 503, 504, 505, 500};
enum { CODE_COUNT = sizeof codes / sizeof *codes };

static const char *const route_names[ROUTE_COUNT] = {
    [ROUTE_ROOT] = "/",
    [ROUTE_MODELS] = "/v1/models",
    [ROUTE_MODEL] = "/v1/models/{model}",
    [ROUTE_PREDICT] = "/v1/models/{model}:predict",
    [ROUTE_EXPLAIN] = "/v1/models/{model}:explain",
    [ROUTE_FEEDBACK] = "/v1/models/{model}:feedback",
    [ROUTE_UI] = "/ui",
    [ROUTE_UI_MODEL] = "/ui/model",
    [ROUTE_METRICS] = "/metrics",
    [ROUTE_HEALTHZ] = "/healthz",
    [ROUTE_READYZ] = "/readyz",
    [ROUTE_OTHER] = "other",
};

static const double latency_buckets[] = {1e-5,   2.5e-5, 5e-5, 1e-4,  2.5e-4, 5e-4, 1e-3,
                                         2.5e-3, 5e-3,   0.01, 0.025, 0.05,   0.1,  0.25,
                                         0.5,    1.0,    2.5,  5.0,   10.0};
static const double byte_buckets[] = {256,    1024,    4096,    16384,   65536,
                                      262144, 1048576, 4194304, 16777216};
#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

#define MODEL_LABELS "model_name", "version", "user_id", "namespace"

struct telemetry {
    struct telemetry_labels labels;
    struct metric_family *predictions, *rows, *latency, *info, *loaded;
    struct quality_families *quality;
    struct metric_family *stages[STAGE_COUNT];
    struct metric_series *requests[ROUTE_COUNT][CODE_COUNT], *in_flight, *body_bytes;
    struct metric_series *reloads[2], *reload_failed; /* failure, success */
};

struct telemetry_model {
    struct telemetry *telemetry;
    struct metric_series *success, *error, *rows, *latency, *info, *loaded;
    struct quality_series *quality;
    struct metric_series *stages[STAGE_COUNT];
};

/* ---- families ---- */

static bool make_model_families(struct telemetry *t, struct metrics *metrics)
{
    static const struct metric_spec predictions = {
        "model_prediction_total",
        METRIC_COUNTER,
        "Predict requests answered by a served model, by outcome.",
        {MODEL_LABELS, "status"},
        NULL,
        0};
    static const struct metric_spec rows = {
        "model_prediction_rows_total", METRIC_COUNTER, "Rows predicted.", {MODEL_LABELS}, NULL, 0};
    static const struct metric_spec latency = {
        "model_prediction_latency",
        METRIC_DURATION,
        "Seconds from the last byte of a predict request to its answer being ready.",
        {MODEL_LABELS},
        latency_buckets,
        COUNT_OF(latency_buckets)};
    static const struct metric_spec loaded = {"model_loaded_timestamp_seconds",
                                              METRIC_GAUGE,
                                              "When the artifact began to be served, in seconds "
                                              "since 1970.",
                                              {MODEL_LABELS},
                                              NULL,
                                              0};
    static const struct metric_spec info = {"model_info",
                                            METRIC_INFO,
                                            "The artifact being served.",
                                            {MODEL_LABELS, "kind", "sha256"},
                                            NULL,
                                            0};
    t->predictions = metrics_family(metrics, &predictions);
    t->rows = metrics_family(metrics, &rows);
    t->latency = metrics_family(metrics, &latency);
    t->info = metrics_family(metrics, &info);
    t->loaded = metrics_family(metrics, &loaded);
    t->quality = quality_families_new(metrics);
    return t->predictions != NULL && t->rows != NULL && t->latency != NULL && t->info != NULL &&
           t->loaded != NULL && t->quality != NULL;
}

static bool make_stage_families(struct telemetry *t, struct metrics *metrics)
{
    static const char *const texts[STAGE_COUNT][2] = {
        [STAGE_PREPROCESS] = {"request_preprocess_seconds", "pre-process request latency"},
        [STAGE_PREDICT] = {"request_predict_seconds", "predict request latency"},
        [STAGE_EXPLAIN] = {"request_explain_seconds", "explain request latency"},
        [STAGE_POSTPROCESS] = {"request_postprocess_seconds", "post-process request latency"}};
    bool ok = true;
    for (size_t i = 0; i < STAGE_COUNT; i++) {
        struct metric_spec spec = {texts[i][0],    METRIC_DURATION, texts[i][1],
                                   {"model_name"}, latency_buckets, COUNT_OF(latency_buckets)};
        ok = (t->stages[i] = metrics_family(metrics, &spec)) != NULL && ok;
    }
    return ok;
}

static bool make_http_series(struct telemetry *t, struct metrics *metrics)
{
    static const struct metric_spec requests = {
        "http_requests_total", METRIC_COUNTER, "Requests answered, by route and status.",
        {"route", "code"},     NULL,           0};
    static const struct metric_spec in_flight = {"http_requests_in_flight",
                                                 METRIC_GAUGE,
                                                 "Requests begun and not yet answered.",
                                                 {NULL},
                                                 NULL,
                                                 0};
    static const struct metric_spec bytes = {"http_request_body_bytes",
                                             METRIC_HISTOGRAM,
                                             "Size of request bodies.",
                                             {NULL},
                                             byte_buckets,
                                             COUNT_OF(byte_buckets)};
    struct metric_family *by_code = metrics_family(metrics, &requests);
    struct metric_family *flying = metrics_family(metrics, &in_flight);
    struct metric_family *sizes = metrics_family(metrics, &bytes);
    if (by_code == NULL || flying == NULL || sizes == NULL)
        return false;
    for (size_t r = 0; r < ROUTE_COUNT; r++)
        for (size_t c = 0; c < CODE_COUNT; c++) {
            char code[4] = {(char)('0' + codes[c] / 100), (char)('0' + codes[c] / 10 % 10),
                            (char)('0' + codes[c] % 10), '\0'};
            t->requests[r][c] =
                metrics_series(by_code, (const char *const[]){route_names[r], code});
            if (t->requests[r][c] == NULL)
                return false;
        }
    t->in_flight = metrics_series(flying, NULL);
    t->body_bytes = metrics_series(sizes, NULL);
    return t->in_flight != NULL && t->body_bytes != NULL;
}

static bool make_reload_series(struct telemetry *t, struct metrics *metrics)
{
    static const struct metric_spec reloads = {
        "model_reload_total", METRIC_COUNTER, "Attempts to load a further artifact, by outcome.",
        {"outcome"},          NULL,           0};
    static const struct metric_spec failed = {"model_reload_failed",
                                              METRIC_GAUGE,
                                              "1 when the last attempt to load a further artifact "
                                              "failed and the one before is served on.",
                                              {NULL},
                                              NULL,
                                              0};
    struct metric_family *by_outcome = metrics_family(metrics, &reloads);
    struct metric_family *last = metrics_family(metrics, &failed);
    if (by_outcome == NULL || last == NULL)
        return false;
    t->reloads[false] = metrics_series(by_outcome, (const char *const[]){"failure"});
    t->reloads[true] = metrics_series(by_outcome, (const char *const[]){"success"});
    t->reload_failed = metrics_series(last, NULL);
    if (t->reloads[false] == NULL || t->reloads[true] == NULL || t->reload_failed == NULL)
        return false;
    metric_set(t->reload_failed, 0);
    return true;
}

static bool make_build_info(const struct telemetry *t, struct metrics *metrics)
{
    static const struct metric_spec spec = {"ridged_build_info",
                                            METRIC_INFO,
                                            "The program that is running.",
                                            {"version", "revision", "compiler"},
                                            NULL,
                                            0};
    struct metric_family *family = metrics_family(metrics, &spec);
    return family != NULL && metrics_series(family, (const char *const[]){t->labels.build_version,
                                                                          t->labels.build_revision,
                                                                          __VERSION__}) != NULL;
}

struct telemetry *telemetry_new(struct metrics *metrics, const struct telemetry_labels *labels)
{
    struct telemetry *t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    t->labels = *labels;
    if (make_model_families(t, metrics) && make_stage_families(t, metrics) &&
        make_http_series(t, metrics) && make_reload_series(t, metrics) &&
        make_build_info(t, metrics)) {
        metric_gauge_add(t->in_flight, 0, 0);
        return t;
    }
    free(t);
    return NULL;
}

void telemetry_free(struct telemetry *telemetry)
{
    if (telemetry == NULL)
        return;
    quality_families_free(telemetry->quality);
    free(telemetry);
}

/* ---- a model's series ---- */

static bool make_model_series(struct telemetry_model *m, const char *name,
                              const struct model *model)
{
    const struct telemetry *t = m->telemetry;
    const char *values[METRIC_LABELS_MAX] = {name, model_version(model), t->labels.user_id,
                                             t->labels.space};
    bool ok = true;
    values[4] = "success";
    ok = (m->success = metrics_series(t->predictions, values)) != NULL && ok;
    values[4] = "error";
    ok = (m->error = metrics_series(t->predictions, values)) != NULL && ok;
    ok = (m->rows = metrics_series(t->rows, values)) != NULL && ok;
    ok = (m->latency = metrics_series(t->latency, values)) != NULL && ok;
    ok = (m->loaded = metrics_series(t->loaded, values)) != NULL && ok;
    ok = (m->quality = quality_series_new(t->quality, values, model)) != NULL && ok;
    for (size_t i = 0; i < STAGE_COUNT; i++)
        ok = (m->stages[i] = metrics_series(t->stages[i], values)) != NULL && ok;
    values[4] = model_kind(model);
    values[5] = model_sha256(model);
    return (m->info = metrics_series(t->info, values)) != NULL && ok;
}

struct telemetry_model *telemetry_model_new(struct telemetry *telemetry, const char *name,
                                            const struct model *model)
{
    struct telemetry_model *m = calloc(1, sizeof *m);
    if (m == NULL)
        return NULL;
    m->telemetry = telemetry;
    if (!make_model_series(m, name, model)) {
        telemetry_model_retire(m);
        telemetry_model_free(m);
        return NULL;
    }
    metric_set(m->loaded, (double)time(NULL));
    return m;
}

void telemetry_model_retire(struct telemetry_model *model)
{
    if (model->quality != NULL)
        quality_series_retire(model->quality);
    metrics_series_remove(model->telemetry->loaded, model->loaded);
    metrics_series_remove(model->telemetry->info, model->info);
}

void telemetry_model_free(struct telemetry_model *model)
{
    if (model == NULL)
        return;
    quality_series_free(model->quality);
    free(model);
}

void telemetry_reload(struct telemetry *telemetry, bool success)
{
    metric_set(telemetry->reloads[success], metric_read(telemetry->reloads[success]) + 1);
    metric_set(telemetry->reload_failed, !success);
}

struct quality_families *telemetry_quality_families(struct telemetry *telemetry)
{
    return telemetry->quality;
}

struct quality_series *telemetry_quality(struct telemetry_model *model)
{
    return model->quality;
}

/* ---- counting ---- */

void telemetry_request(struct telemetry *telemetry, unsigned shard, enum telemetry_route route,
                       int status, size_t body_bytes)
{
    size_t c = 0;
    while (c < CODE_COUNT - 1 && codes[c] != status)
        c++;
    metric_add(telemetry->requests[route][c], shard, 1);
    metric_observe(telemetry->body_bytes, shard, body_bytes);
}

void telemetry_in_flight(struct telemetry *telemetry, unsigned shard, int n)
{
    metric_gauge_add(telemetry->in_flight, shard, n);
}

void telemetry_prediction(struct telemetry_model *model, unsigned shard, bool success, size_t rows,
                          uint64_t latency_ns)
{
    metric_add(success ? model->success : model->error, shard, 1);
    metric_observe(model->latency, shard, latency_ns);
    if (success)
        metric_add(model->rows, shard, rows);
}

void telemetry_stage(struct telemetry_model *model, unsigned shard, enum telemetry_stage stage,
                     uint64_t ns)
{
    metric_observe(model->stages[stage], shard, ns);
}
