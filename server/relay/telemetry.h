/* telemetry.h - every metric ridge-relay has, in one place.
 *
 * Idea:    all series with closed labels exist from the start at zero; relay_breaker_open gets one for each
 *          key the policy holds.
 * Threads: relay_telemetry_request by the HTTP worker; everything else by whoever holds the ledger's
 *          lock.
 * Memory:  released with relay_telemetry_free, before metrics_free.
 * Errors:  NULL when out of memory.
 */
#ifndef SERVER_RELAY_TELEMETRY_H
#define SERVER_RELAY_TELEMETRY_H

#include "metrics/metrics.h"
#include "server/relay/policy.h"
#include "server/relay/webhook.h"

/* One for the worker, one for what the lock protects. */
enum { RELAY_SHARDS = 2, RELAY_WORKER_SHARD = 0, RELAY_LEDGER_SHARD = 1 };

/* Routes as the label `route` names them. */
enum relay_route {
    RELAY_ALERTS,
    RELAY_RETRAIN,
    RELAY_METRICS,
    RELAY_HEALTHZ,
    RELAY_READYZ,
    RELAY_OTHER, /* unknown paths and framing faults */
    RELAY_ROUTES,
};

extern const char *const relay_route_names[RELAY_ROUTES];

/* Words of the label `reason`, also for the log. */
extern const char *const relay_verdict_words[POLICY_VERDICTS];
extern const char *const relay_ignored_words[WEBHOOK_IGNORED];
extern const char *const relay_outcome_words[POLICY_DISPATCH_OUTCOMES];
extern const char *const relay_conclusion_words[POLICY_CONCLUSIONS];

struct relay_telemetry;

/* version and revision are borrowed for good. */
struct relay_telemetry *relay_telemetry_new(struct metrics *metrics, const char *version,
                                            const char *revision) MUST_CHECK;
void relay_telemetry_free(struct relay_telemetry *telemetry);

void relay_telemetry_request(struct relay_telemetry *telemetry, enum relay_route route, int status);

/* Alerts that ask for nothing, by reason: (WEBHOOK_IGNORED). */
void relay_telemetry_ignored(struct relay_telemetry *telemetry, const size_t *counts);
/* What became of a wish to retrain. */
void relay_telemetry_verdict(struct relay_telemetry *telemetry, enum policy_verdict verdict);
void relay_telemetry_recovery(struct relay_telemetry *telemetry);

/* What became of a dispatch or of looking for one. */
void relay_telemetry_outcome(struct relay_telemetry *telemetry, enum policy_outcome outcome);
/* When GitHub last accepted one. */
void relay_telemetry_last_success(struct relay_telemetry *telemetry, uint64_t at_ms);
void relay_telemetry_conclusion(struct relay_telemetry *telemetry,
                                enum policy_conclusion conclusion);

/* Queue, runs and breakers as the policy has them now; call after each commit, with the slot it changed. */
void relay_telemetry_state(struct relay_telemetry *telemetry, const struct policy *policy,
                           size_t slot);
void relay_telemetry_journal(struct relay_telemetry *telemetry, uint64_t bytes, bool failed);

#endif
