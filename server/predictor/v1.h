/* v1.h - KServe's V1 protocol: body bytes to rows, predictions and explanations to body bytes.
 *
 * Idea:    one validating pass over the body. `instances` or `inputs` (which wins when both are there;
 *          of duplicates the last) goes through base/json's matrix fast path; what that declines is
 *          read again, value by value, by the slow path, which accepts all that KServe accepts
 *          (numeric strings, booleans, dict rows, list-valued dicts, [[{...}]]) and words every error.
 *          Both give the same bits where both accept. Of `parameters` only `interval` is read.
 * Does not: route, predict, count, know limits other than those given, or build trees.
 * Threads: no state.
 * Memory:  everything in the arena.
 * Errors:  ERR_INVALID naming the cell: `instances[3]: expected 8 numbers, got 7`,
 *          `instances[0].MedInc: expected a number, got null`; ERR_UNSUPPORTED an interval of a model
 *          that gives none; ERR_TOO_LARGE over max_rows or too deep; ERR_NO_MEMORY.
 * Source:  KServe V1 protocol; python/kserve get_predict_input for the accepted shapes.
 */
#ifndef SERVER_PREDICTOR_V1_H
#define SERVER_PREDICTOR_V1_H

#include "base/arena.h"
#include "base/error.h"
#include "model/explain.h"
#include "model/interval.h"
#include "model/model.h"

/* What a predict or explain body asks for. */
struct v1_request {
    size_t rows;
    const double *x;       /* (rows, model_feature_count), row-major, all finite */
    bool interval;         /* wanted, of the level in `parameters` */
    double interval_score; /* the one of interval.h for that level */
};

/* Decodes body into out. The names of dict rows are the model's feature names, in any order; each
 * must be there exactly once (of JSON duplicates the last counts), others are refused by name. */
bool v1_decode(struct span body, const struct model *model, size_t max_rows, struct arena *arena,
               struct v1_request *out, struct error *err) MUST_CHECK;

/* ERR_INVALID names the first row whose prediction is not finite. */
bool v1_check_predictions(const double *y, size_t rows, struct error *err) MUST_CHECK;

/* {"predictions":[...]}; y(rows). With half(rows), which may be NULL, also "intervals":[[y - half,
 * y + half],...]. ERR_INVALID names the first row whose prediction or interval is not finite. */
bool v1_encode(const double *y, const double *half, size_t rows, struct arena *arena,
               struct span *out, struct error *err) MUST_CHECK;

/* {"explanations":[{"base":b,"prediction":y,"attributions":{"player":phi,...}},...]}; y(rows),
 * attributions(rows, players) as explainer_run fills them. ERR_INVALID names the first row of which
 * something is not finite. */
bool v1_encode_explanations(const struct explainer *explainer, const double *y,
                            const double *attributions, size_t rows, struct arena *arena,
                            struct span *out, struct error *err) MUST_CHECK;

#endif
