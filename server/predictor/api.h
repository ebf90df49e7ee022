/* api.h - the one door: a request goes in, is routed, checked, run, counted and answered.
 *
 * Idea:    a call is resumable. api_begin routes and admits it; api_step either finishes it or hands
 *          out a job that somebody else may run (a compute pool later; in place for now); api_end
 *          counts, times and gives the response. One path so serves sockets, tests and fuzzers.
 *          Order of checks: framing, path, method, token, model, ready, admission, size, body, shape.
 * Does not: know sockets or libevent, read clocks for its decisions (time enters by received_ns and
 *          is only measured for metrics), or hold a request after api_end.
 * Threads: a call belongs to the thread that began it, but a job's blocks may run anywhere, each on
 *          one thread; api_cancel from any thread. struct api is shared; see the table in CONTRIBUTING.md.
 * Memory:  call and response live in the arena of the request. registry, telemetry, metrics and log are
 *          borrowed and must outlive the api.
 * Errors:  become responses; error_status is the only place where a code meets an HTTP status.
 */
#ifndef SERVER_PREDICTOR_API_H
#define SERVER_PREDICTOR_API_H

#include "base/arena.h"
#include "server/http/message.h"
#include "server/log.h"
#include "server/predictor/monitor.h"
#include "server/predictor/registry.h"
#include "server/token.h"

struct api;
struct api_call;

/* What a lifecycle phase means: alive but not ready; ready; finishing. */
enum api_lifecycle { API_STARTING, API_READY, API_DRAINING };

/* Which routes a port answers. */
enum api_surface { API_EVERYTHING, API_OBSERVER /* /metrics, /healthz, /readyz */ };

struct api_config {
    struct registry *registry;
    struct monitor *monitor;
    struct token *feedback_token; /* NULL: feedback is open to all */
    bool feedback_durable;        /* answered only when the journal is on disk */
    struct telemetry *telemetry;
    struct metrics *metrics;
    struct log *log; /* may be NULL */
    bool access_log;
    bool ui; /* whether /ui and /ui/model answer */
    size_t max_rows;
    size_t
        memory_budget_bytes; /* shared by all bodies in work and all that is kept for slow clients */
    unsigned shards;         /* threads that will call */
};

struct job {
    void (*run)(struct api_call *call, size_t block); /* any order, any threads */
    struct api_call *call;
    size_t blocks;
};
enum api_step { API_DONE, API_COMPUTE, API_DURABLE };

struct api *api_new(const struct api_config *config, struct error *err) MUST_CHECK;
void api_free(struct api *api);

void api_set_lifecycle(struct api *api, enum api_lifecycle lifecycle);

/* Takes bytes of the memory budget, or none when there are not so many left; gives them back. Any thread. */
bool api_take_memory(struct api *api, size_t bytes) MUST_CHECK;
void api_give_memory(struct api *api, size_t bytes);

/* Starts a call; never NULL unless the arena is exhausted at once (answer 503 then). */
struct api_call *api_begin(struct api *api, enum api_surface surface, const struct request *request,
                           struct arena *arena, unsigned shard) MUST_CHECK;
/* Whom to tell, on the journal's thread, that what API_DURABLE waits for has happened. Before api_step. */
void api_on_durable(struct api_call *call, void (*wake)(void *ctx), void *ctx);
/* Goes on as far as possible. On API_COMPUTE, *next is to be run, all its blocks, before the next
 * api_step; on API_DURABLE, nothing is to be done until wake has been called. */
enum api_step api_step(struct api_call *call, struct job *next);
/* Once, after API_DONE, on the owning thread. */
const struct response *api_end(struct api_call *call);
/* Asks a call to stop early; its answer no longer matters. */
void api_cancel(struct api_call *call);

/* The answer when there is no memory for a call. */
const struct response *api_no_memory(void);

/* The whole of it in place, waiting for the journal where need be. */
const struct response *api_handle(struct api *api, enum api_surface surface,
                                  const struct request *request, struct arena *arena,
                                  unsigned shard);

#endif
