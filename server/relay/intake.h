/* intake.h - ridge-relay's door: a request in, a response out.
 *
 *   POST /alerts    an Alertmanager notification, with the webhook's bearer token: 202 once it is on disk
 *   POST /retrain   a person's wish, {"user_id":...,"model_name":...}, with the override's token: 202 and
 *                   the correlation id, 409 while one is at work. Neither cooldown, budget nor breaker
 *                   count, and the breaker starts anew. 404 when no override token is configured.
 *   GET /healthz, /readyz, /metrics
 *
 * Does not: know sockets.
 * Threads: one, the worker.
 * Memory:  responses live in the exchange's arena.
 * Errors:  as statuses: 400 not a notification, 401, 404, 405, 413, 503 what could not be recorded (come
 *          again).
 */
#ifndef SERVER_RELAY_INTAKE_H
#define SERVER_RELAY_INTAKE_H

#include "server/http/message.h"
#include "server/relay/ledger.h"
#include "server/token.h"

#include <stdatomic.h>

/* Borrowed, must outlive the server. */
struct intake {
    struct ledger *ledger;
    struct relay_telemetry *telemetry;
    struct metrics *metrics;
    struct log *log;
    struct token *webhook_token;
    struct token *override_token; /* NULL: no override */
    const struct webhook_users *users;
    atomic_bool ready;
};

const struct response *intake_handle(struct intake *intake, const struct request *request,
                                     struct arena *arena);

#endif
