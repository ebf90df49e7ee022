/* feedback.h - true values that come back: body bytes to targets and ids, outcomes to body bytes.
 *
 * Format:  {"ids":["<request id>", "<request id>/<row>", ...], "targets":[y, ...]}, one target per id, or
 *          {"instances":[...], "targets":[y, ...]} as v1.h reads instances, one target per row.
 *          Answer: {"accepted":n,"results":["accepted", "unknown", ...]}, one word per target, and
 *          "predictions" beside them where there were instances.
 * Does not: read instances (v1_decode does), join, keep, or count anything.
 * Threads: no state.
 * Memory:  everything in the arena; ids without escapes point into the body.
 * Errors:  ERR_INVALID naming the cell: `targets[3]: expected a number, got null`; ERR_TOO_LARGE over
 *          max_items; ERR_NO_MEMORY.
 */
#ifndef SERVER_PREDICTOR_FEEDBACK_H
#define SERVER_PREDICTOR_FEEDBACK_H

#include "base/arena.h"
#include "base/error.h"

enum { FEEDBACK_ID_MAX = 128 }; /* bytes of a request id */

/* A prediction's id: the request's, and the row in it. */
struct feedback_id {
    struct span request;
    size_t row;
};

struct feedback {
    size_t count;
    const double *targets;         /* (count), finite */
    const struct feedback_id *ids; /* (count), or NULL: the body has instances */
};

/* What became of one true value. */
enum feedback_outcome {
    FEEDBACK_ACCEPTED,
    FEEDBACK_LATE,          /* its prediction is no longer kept */
    FEEDBACK_DUPLICATE,     /* a true value for it came before */
    FEEDBACK_UNKNOWN,       /* no such prediction here; another replica's, perhaps */
    FEEDBACK_OTHER_VERSION, /* of a model that is no longer served */
    FEEDBACK_OUTCOMES
};
extern const char *const feedback_words[FEEDBACK_OUTCOMES]; /* as the answer spells them */

/* Decodes all but the instances. Of JSON duplicates the last counts. */
bool feedback_decode(struct span body, size_t max_items, struct arena *arena, struct feedback *out,
                     struct error *err) MUST_CHECK;

/* outcomes(count); predictions(count) or NULL. */
bool feedback_encode(const enum feedback_outcome *outcomes, const double *predictions, size_t count,
                     struct arena *arena, struct span *out, struct error *err) MUST_CHECK;

#endif
