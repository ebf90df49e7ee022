/* api_internal.h - a call in full, for the files of the door: api.c and api_feedback.c.
 *
 * Threads: as api.h. Members that others than the owning thread write are atomic.
 */
#ifndef SERVER_PREDICTOR_API_INTERNAL_H
#define SERVER_PREDICTOR_API_INTERNAL_H

#include "server/predictor/api.h"
#include "server/predictor/v1.h"

#include <stdatomic.h>

/* Ids handed out by one shard; a cache line of its own. */
struct id_counter {
    uint64_t next;
    char pad[64 - sizeof(uint64_t)];
};

struct api {
    struct api_config config;
    _Atomic(enum api_lifecycle) lifecycle;
    atomic_size_t charged;
    uint64_t id_seed;
    struct id_counter *ids; /* one per shard */
};

enum stage { STAGE_DECODING, STAGE_PREDICTING, STAGE_KEEPING, STAGE_ENCODING, STAGE_FINISHED };

/* Where a call stands with the journal. */
enum keeping { KEEPING_NOT_BEGUN, KEEPING_WAITS, KEEPING_DONE, KEEPING_FAILED };

struct api_call {
    struct api *api;
    const struct request *request;
    struct arena *arena;
    struct served *served; /* NULL until a model was found */
    enum telemetry_route route;
    enum api_surface surface;
    unsigned shard;
    enum stage stage;
    bool inplace, pinned;
    atomic_bool cancelled;
    size_t charged, rows_per_block;
    struct v1_request input;
    double *y;            /* (rows) */
    double *half;         /* (rows), half widths of the intervals; NULL: not asked for */
    double *attributions; /* (rows, players); NULL: not asked for */
    const struct explainer *explainer;
    atomic_bool starved; /* a block found no memory */
    uint64_t stage_started_ns;
    struct span id;
    struct error error;
    struct response response;

    /* Feedback. */
    struct truth *truths; /* (truth_count) */
    size_t truth_count;
    uint64_t wall_ns;
    struct span answer; /* if they are kept */
    struct journal_ticket ticket;
    _Atomic(enum keeping) keeping;
    void (*wake)(void *ctx);
    void *wake_ctx;
};

/* Reserves bytes of the memory budget until api_end. */
bool api_charge(struct api_call *call, size_t bytes) MUST_CHECK;

/* count numbers for every row of the input, or NULL and the error set. */
double *api_results(struct api_call *call, size_t count);

uint64_t api_wall_ns(void); /* since 1970 */

void api_answer_json(struct api_call *call, int status, struct span body);

/* ---- api_feedback.c ---- */

/* The stages of POST :feedback: as run_decode; on the owning thread, true: the journal is waited for, false:
 * there is an answer or an error. */
void feedback_run_decode(struct api_call *call);
bool feedback_keep(struct api_call *call);

/* GET :feedback */
void feedback_answer_journal(struct api_call *call);

#endif
