/* telemetry.h - every metric ridged has, in one place.
 *
 * Idea:    the door (api.c) calls these functions; nothing else touches the registry. All series with
 *          fixed labels exist from the start at zero; those of a model are made when it is loaded.
 * Does not: render, negotiate, or know HTTP beyond a status number.
 * Threads: telemetry_new before other threads run; telemetry_model_new/_retire and telemetry_reload by
 *          the loader; the counting functions by the thread that owns the shard.
 * Memory:  released with telemetry_free, which must come before metrics_free.
 * Errors:  NULL when out of memory.
 * Source:  the metrics contract in README.md; KServe's four request_*_seconds histograms.
 */
#ifndef SERVER_PREDICTOR_TELEMETRY_H
#define SERVER_PREDICTOR_TELEMETRY_H

#include "metrics/metrics.h"
#include "model/model.h"
#include "server/predictor/telemetry_quality.h"

struct telemetry;
struct telemetry_model;

/* Routes as the label `route` names them. */
enum telemetry_route {
    ROUTE_ROOT,
    ROUTE_MODELS,
    ROUTE_MODEL,
    ROUTE_PREDICT,
    ROUTE_EXPLAIN,
    ROUTE_FEEDBACK,
    ROUTE_UI,
    ROUTE_UI_MODEL,
    ROUTE_METRICS,
    ROUTE_HEALTHZ,
    ROUTE_READYZ,
    ROUTE_OTHER, /* unknown paths and framing faults */
    ROUTE_COUNT,
};

enum telemetry_stage {
    STAGE_PREPROCESS,
    STAGE_PREDICT,
    STAGE_EXPLAIN,
    STAGE_POSTPROCESS,
    STAGE_COUNT
};

/* Labels of every model metric; borrowed, must outlive the telemetry. */
struct telemetry_labels {
    const char *user_id, *space;
    const char *build_version, *build_revision;
};

struct telemetry *telemetry_new(struct metrics *metrics,
                                const struct telemetry_labels *labels) MUST_CHECK;
void telemetry_free(struct telemetry *telemetry);

/* Series of one served model under the name it is served by; its quality gauges show the card's
 * holdout figures and model_quality_live is 0 until quality_show. Borrowed name and model must outlive it. */
struct telemetry_model *telemetry_model_new(struct telemetry *telemetry, const char *name,
                                            const struct model *model) MUST_CHECK;
/* Takes the model's gauges and info out of the exposition; what still is in flight may go on counting.
 * Counters and histograms stay, so that rates over a change are right. */
void telemetry_model_retire(struct telemetry_model *model);
void telemetry_model_free(struct telemetry_model *model);

/* A further attempt to load an artifact: counted by outcome, the last one also shown. */
void telemetry_reload(struct telemetry *telemetry, bool success);

/* The part that telemetry_quality.h is about. */
struct quality_families *telemetry_quality_families(struct telemetry *telemetry);
struct quality_series *telemetry_quality(struct telemetry_model *model);

/* One answered request on any route. */
void telemetry_request(struct telemetry *telemetry, unsigned shard, enum telemetry_route route,
                       int status, size_t body_bytes);

/* A request that begins (n = 1) or has been answered (n = -1). */
void telemetry_in_flight(struct telemetry *telemetry, unsigned shard, int n);

/* One answered predict request to a served model: outcome, rows it predicted, and the time from its
 * last body byte to the answer ready. */
void telemetry_prediction(struct telemetry_model *model, unsigned shard, bool success, size_t rows,
                          uint64_t latency_ns);

void telemetry_stage(struct telemetry_model *model, unsigned shard, enum telemetry_stage stage,
                     uint64_t ns);

#endif
