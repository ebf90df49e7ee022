/* Families are declared as data, then series are made once and kept by pointer. */
#include "server/relay/telemetry.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const relay_route_names[RELAY_ROUTES] = {
    [RELAY_ALERTS] = "/alerts",   [RELAY_RETRAIN] = "/retrain", [RELAY_METRICS] = "/metrics",
    [RELAY_HEALTHZ] = "/healthz", [RELAY_READYZ] = "/readyz",   [RELAY_OTHER] = "other"};

const char *const relay_verdict_words[POLICY_VERDICTS] = {
    [POLICY_ACCEPTED] = "accepted", [POLICY_IN_FLIGHT] = "in_flight", [POLICY_BREAKER] = "breaker",
    [POLICY_COOLDOWN] = "cooldown", [POLICY_BUDGET] = "budget",       [POLICY_FULL] = "capacity"};

const char *const relay_ignored_words[WEBHOOK_IGNORED] = {[IGNORED_ACTION] = "action",
                                                          [IGNORED_USER] = "user",
                                                          [IGNORED_NAMESPACE] = "namespace",
                                                          [IGNORED_MODEL] = "model",
                                                          [IGNORED_TRUNCATED] = "truncated"};

const char *const relay_outcome_words[POLICY_DISPATCH_OUTCOMES] = {
    [OUTCOME_ACCEPTED] = "accepted",       [OUTCOME_FOUND] = "found",
    [OUTCOME_ABSENT] = "absent",           [OUTCOME_LIMITED] = "rate_limited",
    [OUTCOME_UNREACHABLE] = "unreachable", [OUTCOME_UNSURE] = "unsure",
    [OUTCOME_REFUSED] = "refused",         [OUTCOME_GAVE_UP] = "gave_up"};

const char *const relay_conclusion_words[POLICY_CONCLUSIONS] = {
    [CONCLUSION_SUCCESS] = "success",     [CONCLUSION_FAILURE] = "failure",
    [CONCLUSION_CANCELLED] = "cancelled", [CONCLUSION_TIMED_OUT] = "timed_out",
    [CONCLUSION_OTHER] = "other",         [CONCLUSION_LOST] = "lost"};

/* Statuses the routes answer with; anything else is counted under the last, 500. */
static const int codes[] = {200, 202, 400, 401, 404, 405, 408, 409,
                            413, 417, 429, 431, 501, 503, 505, 500};
enum { CODES = sizeof codes / sizeof *codes };

/* The gauge of a slot and whose it is. */
struct breaker {
    char user[POLICY_USER_MAX + 1], model[POLICY_MODEL_MAX + 1];
    struct metric_series *open;
};

struct relay_telemetry {
    struct metric_family *breakers;
    struct metric_series *requests[RELAY_ROUTES][CODES];
    struct metric_series *suppressed[POLICY_VERDICTS + WEBHOOK_IGNORED]; /* [0] is never used */
    struct metric_series *requested, *recoveries;
    struct metric_series *outcomes[POLICY_DISPATCH_OUTCOMES], *conclusions[POLICY_CONCLUSIONS];
    struct metric_series *last_success, *queue, *runs, *journal_bytes, *journal_failed;
    struct breaker slots[POLICY_KEYS_MAX];
};

/* ---- families ---- */

static bool make_series(struct metrics *metrics, const struct metric_spec *spec,
                        const char *const *words, size_t count, struct metric_series **out)
{
    struct metric_family *family = metrics_family(metrics, spec);
    if (family == NULL)
        return false;
    for (size_t i = 0; i < count; i++)
        if (words[i] != NULL && (out[i] = metrics_series(family, &words[i])) == NULL)
            return false;
    return true;
}

/* A family of one series. */
static struct metric_series *make_single(struct metrics *metrics, const char *name,
                                         enum metric_type type, const char *help)
{
    const struct metric_spec spec = {name, type, help, {NULL}, NULL, 0};
    struct metric_family *family = metrics_family(metrics, &spec);
    return family == NULL ? NULL : metrics_series(family, NULL);
}

static bool make_requests(struct relay_telemetry *t, struct metrics *metrics)
{
    static const struct metric_spec spec = {
        "relay_requests_total", METRIC_COUNTER, "Requests answered, by route and status.",
        {"route", "code"},      NULL,           0};
    struct metric_family *family = metrics_family(metrics, &spec);
    if (family == NULL)
        return false;
    for (size_t r = 0; r < RELAY_ROUTES; r++)
        for (size_t c = 0; c < CODES; c++) {
            char code[16];
            (void)snprintf(code, sizeof code, "%d", codes[c]);
            t->requests[r][c] =
                metrics_series(family, (const char *const[]){relay_route_names[r], code});
            if (t->requests[r][c] == NULL)
                return false;
        }
    return true;
}

static bool make_suppressed(struct relay_telemetry *t, struct metrics *metrics)
{
    static const struct metric_spec spec = {"relay_suppressed_total",
                                            METRIC_COUNTER,
                                            "Alerts that caused no dispatch, by reason.",
                                            {"reason"},
                                            NULL,
                                            0};
    const char *words[POLICY_VERDICTS + WEBHOOK_IGNORED];
    memcpy(words, relay_verdict_words, sizeof relay_verdict_words);
    memcpy(words + POLICY_VERDICTS, relay_ignored_words, sizeof relay_ignored_words);
    words[POLICY_ACCEPTED] = NULL;
    return make_series(metrics, &spec, words, POLICY_VERDICTS + WEBHOOK_IGNORED, t->suppressed);
}

static bool make_github(struct relay_telemetry *t, struct metrics *metrics)
{
    static const struct metric_spec outcomes = {
        "relay_dispatch_total",
        METRIC_COUNTER,
        "What became of dispatches sent to GitHub, and of looking for those without an answer.",
        {"outcome"},
        NULL,
        0};
    static const struct metric_spec conclusions = {"relay_run_conclusion_total",
                                                   METRIC_COUNTER,
                                                   "Workflow runs at their end, by conclusion.",
                                                   {"conclusion"},
                                                   NULL,
                                                   0};
    return make_series(metrics, &outcomes, relay_outcome_words, POLICY_DISPATCH_OUTCOMES,
                       t->outcomes) &&
           make_series(metrics, &conclusions, relay_conclusion_words, POLICY_CONCLUSIONS,
                       t->conclusions);
}

static bool make_singles(struct relay_telemetry *t, struct metrics *metrics)
{
    t->requested = make_single(metrics, "relay_requested_total", METRIC_COUNTER,
                               "Retrainings recorded for dispatch, by alerts and by hand.");
    t->recoveries = make_single(metrics, "relay_recoveries_total", METRIC_COUNTER,
                                "Resolved alerts of models that had been retrained.");
    t->last_success = make_single(metrics, "relay_last_success_timestamp_seconds", METRIC_GAUGE,
                                  "When GitHub last accepted a dispatch.");
    t->queue = make_single(metrics, "relay_queue_depth", METRIC_GAUGE,
                           "Dispatches recorded and not yet known to be accepted.");
    t->runs = make_single(metrics, "relay_runs_in_flight", METRIC_GAUGE,
                          "Accepted workflow runs not yet at their end.");
    t->journal_bytes =
        make_single(metrics, "relay_journal_bytes", METRIC_GAUGE, "Size of the journal.");
    t->journal_failed = make_single(metrics, "relay_journal_failed", METRIC_GAUGE,
                                    "1 when the last write to the journal failed.");
    return t->requested != NULL && t->recoveries != NULL && t->last_success != NULL &&
           t->queue != NULL && t->runs != NULL && t->journal_bytes != NULL &&
           t->journal_failed != NULL;
}

static bool make_info(struct relay_telemetry *t, struct metrics *metrics, const char *version,
                      const char *revision)
{
    static const struct metric_spec info = {"relay_build_info",
                                            METRIC_INFO,
                                            "The program that is running.",
                                            {"version", "revision", "compiler"},
                                            NULL,
                                            0};
    static const struct metric_spec breakers = {"relay_breaker_open",
                                                METRIC_GAUGE,
                                                "1 when a model was retrained time and again "
                                                "without recovery, so that no alert retrains it.",
                                                {"user_id", "namespace", "model_name"},
                                                NULL,
                                                0};
    struct metric_family *family = metrics_family(metrics, &info);
    t->breakers = metrics_family(metrics, &breakers);
    return family != NULL && t->breakers != NULL &&
           metrics_series(family, (const char *const[]){version, revision, __VERSION__}) != NULL;
}

struct relay_telemetry *relay_telemetry_new(struct metrics *metrics, const char *version,
                                            const char *revision)
{
    struct relay_telemetry *t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    if (make_requests(t, metrics) && make_suppressed(t, metrics) && make_github(t, metrics) &&
        make_singles(t, metrics) && make_info(t, metrics, version, revision)) {
        metric_set(t->queue, 0);
        metric_set(t->runs, 0);
        return t;
    }
    free(t);
    return NULL;
}

void relay_telemetry_free(struct relay_telemetry *telemetry)
{
    free(telemetry);
}

/* ---- counting ---- */

void relay_telemetry_request(struct relay_telemetry *telemetry, enum relay_route route, int status)
{
    size_t c = 0;
    while (c < CODES - 1 && codes[c] != status)
        c++;
    metric_add(telemetry->requests[route][c], RELAY_WORKER_SHARD, 1);
}

static void count(struct metric_series *series, size_t n)
{
    metric_add(series, RELAY_LEDGER_SHARD, n);
}

void relay_telemetry_ignored(struct relay_telemetry *telemetry, const size_t *counts)
{
    for (size_t i = 0; i < WEBHOOK_IGNORED; i++)
        count(telemetry->suppressed[POLICY_VERDICTS + i], counts[i]);
}

void relay_telemetry_verdict(struct relay_telemetry *telemetry, enum policy_verdict verdict)
{
    count(verdict == POLICY_ACCEPTED ? telemetry->requested : telemetry->suppressed[verdict], 1);
}

void relay_telemetry_recovery(struct relay_telemetry *telemetry)
{
    count(telemetry->recoveries, 1);
}

void relay_telemetry_outcome(struct relay_telemetry *telemetry, enum policy_outcome outcome)
{
    if (outcome < POLICY_DISPATCH_OUTCOMES)
        count(telemetry->outcomes[outcome], 1);
}

void relay_telemetry_last_success(struct relay_telemetry *telemetry, uint64_t at_ms)
{
    metric_set(telemetry->last_success, (double)at_ms / 1000);
}

void relay_telemetry_conclusion(struct relay_telemetry *telemetry,
                                enum policy_conclusion conclusion)
{
    count(telemetry->conclusions[conclusion], 1);
}

/* ---- state ---- */

static void set_breaker(struct relay_telemetry *t, const struct policy *policy, size_t slot)
{
    const struct policy_key *key = &policy->keys[slot];
    struct breaker *breaker = &t->slots[slot];
    if (strcmp(breaker->user, key->user) != 0 || strcmp(breaker->model, key->model) != 0) {
        char space[sizeof "kubeflow-" + POLICY_USER_MAX];
        (void)snprintf(space, sizeof space, "kubeflow-%s", key->user);
        metrics_series_remove(t->breakers, breaker->open);
        breaker->open =
            metrics_series(t->breakers, (const char *const[]){key->user, space, key->model});
        memcpy(breaker->user, key->user, sizeof breaker->user);
        memcpy(breaker->model, key->model, sizeof breaker->model);
    }
    if (breaker->open != NULL) /* out of memory: a gauge less, the policy stands */
        metric_set(breaker->open, policy_breaker_open(policy, key));
}

void relay_telemetry_state(struct relay_telemetry *telemetry, const struct policy *policy,
                           size_t slot)
{
    size_t queued = 0, running = 0;
    for (size_t i = 0; i < policy->count; i++) {
        queued += policy->keys[i].state == POLICY_QUEUED || policy->keys[i].state == POLICY_SENT;
        running += policy->keys[i].state == POLICY_RUNNING;
    }
    metric_set(telemetry->queue, (double)queued);
    metric_set(telemetry->runs, (double)running);
    set_breaker(telemetry, policy, slot);
}

void relay_telemetry_journal(struct relay_telemetry *telemetry, uint64_t bytes, bool failed)
{
    metric_set(telemetry->journal_bytes, (double)bytes);
    metric_set(telemetry->journal_failed, failed);
}
