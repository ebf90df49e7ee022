#define _DEFAULT_SOURCE /* getrandom */
#include "server/relay/ledger.h"

#include "server/relay/record.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum {
    WAIT_MS_MOST = 60000,    /* the wall clock may be set meanwhile */
    JOURNAL_PAUSE_MS = 5000, /* before work goes on after a failed write */
    RECORD_ARENA = 8192,
};

struct ledger {
    struct ledger_config config;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* All under lock. */
    struct relay_journal *journal;
    struct arena *arena; /* of one record at a time */
    struct policy policy;
    uint64_t rewrite_at;      /* bytes */
    uint64_t paused_until_ms; /* no GitHub: what comes of it could not be recorded */
    bool failed, stopping;
};

uint64_t ledger_now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Where no randomness is to be had the clock must do: ids only have to differ. */
static uint64_t random_bits(void)
{
    struct timespec t;
    uint64_t bits;
    if (getrandom(&bits, sizeof bits, GRND_NONBLOCK) == sizeof bits)
        return bits;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_nsec * UINT64_C(0x9e3779b97f4a7c15) ^ (uint64_t)t.tv_sec;
}

static void make_id(char id[POLICY_ID_MAX + 1])
{
    static const char digits[] = "0123456789abcdef";
    uint64_t bits = 0;
    for (size_t i = 0; i < POLICY_ID_MAX; i++, bits >>= 4) {
        if (i % 16 == 0)
            bits = random_bits();
        id[i] = digits[bits & 15];
    }
    id[POLICY_ID_MAX] = '\0';
}

/* ---- the journal ---- */

/* A key as it would be after `change`, in the arena. */
static bool write_record(struct ledger *ledger, const struct policy_key *key,
                         const struct policy_shared *shared, struct span *text, struct error *err)
{
    struct record record = {ledger_now_ms(), *key, *shared};
    return record_write(&record, ledger->arena, text, err);
}

static void rewrite(struct ledger *ledger)
{
    struct error err = {0};
    struct span texts[POLICY_KEYS_MAX];
    const struct policy *policy = &ledger->policy;
    bool ok = true;
    arena_reset(ledger->arena);
    for (size_t i = 0; ok && i < policy->count; i++)
        ok = write_record(ledger, &policy->keys[i], &policy->shared, &texts[i], &err);
    ok = ok && relay_journal_rewrite(ledger->journal, texts, policy->count, &err);
    if (!ok)
        log_event(ledger->config.log, LOG_WARNING, "journal_not_rewritten",
                  LOG_TEXT("error", err.message));
    ledger->rewrite_at = ledger->config.rewrite_bytes;
    if (!ok) /* the old one goes on growing, for as long again */
        ledger->rewrite_at += relay_journal_bytes(ledger->journal);
}

/* Makes a change durable, then true. */
static bool commit(struct ledger *ledger, const struct policy_change *change, struct error *err)
{
    struct span text;
    bool ok = true;
    if (change->durable && ledger->failed) /* what a failed sync left cannot be trusted */
        rewrite(ledger);
    if (change->durable) {
        arena_reset(ledger->arena);
        ok = write_record(ledger, &change->key, &change->shared, &text, err) &&
             relay_journal_append(ledger->journal, text, err);
        ledger->failed = !ok;
    }
    if (ok)
        policy_commit(&ledger->policy, change);
    if (ok && change->durable && relay_journal_bytes(ledger->journal) > ledger->rewrite_at)
        rewrite(ledger);
    if (!ok) {
        log_event(ledger->config.log, LOG_ERROR, "journal_failed", LOG_TEXT("error", err->message));
        ledger->paused_until_ms = ledger_now_ms() + JOURNAL_PAUSE_MS;
    }
    relay_telemetry_journal(ledger->config.telemetry, relay_journal_bytes(ledger->journal),
                            ledger->failed);
    if (ok)
        relay_telemetry_state(ledger->config.telemetry, &ledger->policy, change->slot);
    return ok;
}

static bool take_line(void *ctx, struct span text, struct error *err)
{
    struct ledger *ledger = ctx;
    struct record record;
    arena_reset(ledger->arena);
    return record_read(text, ledger->arena, &record, err) &&
           policy_restore(&ledger->policy, &record.key, &record.shared, record.at_ms, err);
}

static void show_restored(struct ledger *ledger, size_t cut)
{
    const struct policy *policy = &ledger->policy;
    uint64_t accepted = 0;
    for (size_t i = 0; i < policy->count; i++) {
        relay_telemetry_state(ledger->config.telemetry, policy, i);
        if (policy->keys[i].dispatched_ms > accepted)
            accepted = policy->keys[i].dispatched_ms;
    }
    if (accepted != 0)
        relay_telemetry_last_success(ledger->config.telemetry, accepted);
    relay_telemetry_journal(ledger->config.telemetry, relay_journal_bytes(ledger->journal), false);
    log_event(ledger->config.log, cut > 0 ? LOG_WARNING : LOG_INFO, "journal_read",
              LOG_NUMBER("models", policy->count), LOG_NUMBER("torn_bytes_cut", cut));
}

struct ledger *ledger_open(const struct ledger_config *config, struct error *err)
{
    pthread_condattr_t monotonic;
    size_t cut = 0;
    struct ledger *ledger = calloc(1, sizeof *ledger);
    struct arena *arena = arena_new(RECORD_ARENA, 0);
    if (ledger == NULL || arena == NULL) {
        free(ledger);
        arena_free(arena);
        (void)error_set(err, ERR_NO_MEMORY, "ledger: out of memory");
        return NULL;
    }
    ledger->config = *config;
    ledger->arena = arena;
    ledger->rewrite_at = config->rewrite_bytes;
    (void)pthread_mutex_init(&ledger->lock, NULL);
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&ledger->changed, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    policy_init(&ledger->policy, &config->policy);
    const struct relay_journal_reader reader = {take_line, ledger};
    ledger->journal = relay_journal_open(config->journal, &reader, config->probe, &cut, err);
    if (ledger->journal == NULL) {
        ledger_close(ledger);
        return NULL;
    }
    show_restored(ledger, cut);
    return ledger;
}

void ledger_close(struct ledger *ledger)
{
    if (ledger == NULL)
        return;
    relay_journal_close(ledger->journal);
    arena_free(ledger->arena);
    (void)pthread_cond_destroy(&ledger->changed);
    (void)pthread_mutex_destroy(&ledger->lock);
    free(ledger);
}

/* ---- entering ---- */

static void log_verdict(struct ledger *ledger, const struct policy_drift *drift,
                        enum policy_verdict verdict, const struct policy_change *change)
{
    if (verdict == POLICY_ACCEPTED)
        log_event(
            ledger->config.log, LOG_INFO, "retraining_requested", LOG_TEXT("user_id", drift->user),
            LOG_TEXT("model", drift->model), LOG_TEXT("correlation_id", change->key.id),
            LOG_TEXT("reason", change->key.reason), LOG_REAL("drift_score", change->key.score));
    else
        log_event(ledger->config.log,
                  verdict == POLICY_BREAKER || verdict == POLICY_FULL ? LOG_WARNING : LOG_INFO,
                  "alert_suppressed", LOG_TEXT("user_id", drift->user),
                  LOG_TEXT("model", drift->model),
                  LOG_TEXT("reason", relay_verdict_words[verdict]));
}

/* Under the lock. */
static bool enter(struct ledger *ledger, const struct policy_drift *drift, bool manual,
                  enum policy_verdict *verdict, char id[POLICY_ID_MAX + 1], struct error *err)
{
    struct policy_change change;
    make_id(id);
    *verdict = manual ? policy_manual(&ledger->policy, drift, id, ledger_now_ms(), &change)
                      : policy_firing(&ledger->policy, drift, id, ledger_now_ms(), &change);
    if (*verdict == POLICY_ACCEPTED && !commit(ledger, &change, err))
        return false;
    relay_telemetry_verdict(ledger->config.telemetry, *verdict);
    log_verdict(ledger, drift, *verdict, &change);
    (void)pthread_cond_signal(&ledger->changed);
    return true;
}

static bool recover(struct ledger *ledger, const struct policy_drift *drift, bool *known,
                    struct error *err)
{
    struct policy_change change;
    *known = policy_recovered(&ledger->policy, drift->user, drift->model, ledger_now_ms(), &change);
    if (!*known)
        return true;
    if (!commit(ledger, &change, err))
        return false;
    relay_telemetry_recovery(ledger->config.telemetry);
    log_event(ledger->config.log, LOG_INFO, "model_recovered", LOG_TEXT("user_id", drift->user),
              LOG_TEXT("model", drift->model));
    return true;
}

bool ledger_alerts(struct ledger *ledger, const struct webhook *webhook, struct ledger_tally *tally,
                   struct error *err)
{
    char id[POLICY_ID_MAX + 1];
    enum policy_verdict verdict;
    bool ok = true, known;
    *tally = (struct ledger_tally){0, 0, 0};
    (void)pthread_mutex_lock(&ledger->lock);
    for (size_t i = 0; ok && i < webhook->count; i++) {
        const struct webhook_event *event = &webhook->events[i];
        if (event->firing) {
            ok = enter(ledger, &event->drift, false, &verdict, id, err);
            tally->queued += ok && verdict == POLICY_ACCEPTED;
            tally->suppressed += ok && verdict != POLICY_ACCEPTED;
        } else {
            ok = recover(ledger, &event->drift, &known, err);
            tally->recovered += ok && known;
        }
    }
    if (ok) /* else the body comes again, and would be counted twice */
        relay_telemetry_ignored(ledger->config.telemetry, webhook->ignored);
    for (size_t i = 0; ok && i < WEBHOOK_IGNORED; i++)
        tally->suppressed += webhook->ignored[i];
    (void)pthread_mutex_unlock(&ledger->lock);
    return ok;
}

bool ledger_manual(struct ledger *ledger, const struct policy_drift *drift,
                   enum policy_verdict *verdict, char id[POLICY_ID_MAX + 1], struct error *err)
{
    (void)pthread_mutex_lock(&ledger->lock);
    bool ok = enter(ledger, drift, true, verdict, id, err);
    (void)pthread_mutex_unlock(&ledger->lock);
    return ok;
}

bool ledger_healthy(struct ledger *ledger)
{
    (void)pthread_mutex_lock(&ledger->lock);
    bool healthy = !ledger->failed;
    (void)pthread_mutex_unlock(&ledger->lock);
    return healthy;
}

/* ---- working off ---- */

static void wait_ms(struct ledger *ledger, uint64_t ms)
{
    struct timespec until;
    ms = ms < WAIT_MS_MOST ? ms : WAIT_MS_MOST;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(ms / 1000);
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    (void)pthread_cond_timedwait(&ledger->changed, &ledger->lock, &until);
}

/* True when there is something to do; for a dispatch, once its intent is on disk. */
static bool take_step(struct ledger *ledger, struct policy_step *step)
{
    struct policy_change change;
    struct error err = {0};
    uint64_t now = ledger_now_ms();
    policy_next(&ledger->policy, now, step);
    uint64_t left = ledger->paused_until_ms > now ? ledger->paused_until_ms - now : 0;
    if (step->action != POLICY_WAIT && left > 0 && left <= JOURNAL_PAUSE_MS) {
        step->action = POLICY_WAIT;
        step->wait_ms = left;
    }
    if (step->action != POLICY_DISPATCH)
        return step->action != POLICY_WAIT;
    policy_intent(&ledger->policy, step, now, &change);
    step->wait_ms = JOURNAL_PAUSE_MS;
    return commit(ledger, &change, &err);
}

bool ledger_next(struct ledger *ledger, struct policy_step *step)
{
    (void)pthread_mutex_lock(&ledger->lock);
    while (!ledger->stopping && !take_step(ledger, step))
        wait_ms(ledger, step->wait_ms);
    bool go_on = !ledger->stopping;
    (void)pthread_mutex_unlock(&ledger->lock);
    return go_on;
}

static enum log_level level_of(enum policy_outcome outcome)
{
    switch (outcome) {
    case OUTCOME_REFUSED:
    case OUTCOME_GAVE_UP:
        return LOG_ERROR;
    case OUTCOME_LIMITED:
    case OUTCOME_UNREACHABLE:
    case OUTCOME_UNSURE:
        return LOG_WARNING;
    default:
        return LOG_INFO;
    }
}

static void log_outcome(struct ledger *ledger, const struct policy_step *step,
                        const struct policy_answer *answer, enum policy_outcome outcome,
                        enum policy_conclusion conclusion, const char *text)
{
    const struct policy_key *key = &step->key;
    if (outcome == OUTCOME_CONCLUDED)
        log_event(ledger->config.log, LOG_INFO, "run_concluded", LOG_TEXT("user_id", key->user),
                  LOG_TEXT("model", key->model), LOG_TEXT("correlation_id", key->id),
                  LOG_NUMBER("run_id", key->run_id),
                  LOG_TEXT("conclusion", relay_conclusion_words[conclusion]));
    else if (outcome == OUTCOME_WATCHING)
        log_event(ledger->config.log, LOG_DEBUG, "run_watched", LOG_NUMBER("run_id", key->run_id),
                  LOG_NUMBER("status", answer->status), LOG_TEXT("error", text));
    else
        log_event(ledger->config.log, level_of(outcome), "dispatch",
                  LOG_TEXT("outcome", relay_outcome_words[outcome]), LOG_TEXT("user_id", key->user),
                  LOG_TEXT("model", key->model), LOG_TEXT("correlation_id", key->id),
                  LOG_NUMBER("status", answer->status), LOG_NUMBER("run_id", answer->run_id),
                  LOG_TEXT("error", text));
}

void ledger_answered(struct ledger *ledger, const struct policy_step *step,
                     const struct policy_answer *answer, const char *text)
{
    struct policy_change change;
    struct error err = {0};
    enum policy_conclusion conclusion = CONCLUSION_OTHER;
    uint64_t now = ledger_now_ms();
    double jitter = (double)(random_bits() >> 11) * 0x1p-53;
    (void)pthread_mutex_lock(&ledger->lock);
    enum policy_outcome outcome =
        policy_answered(&ledger->policy, step, answer, now, jitter, &change, &conclusion);
    /* What cannot be recorded has not been heard: the same question will be asked again. */
    if (commit(ledger, &change, &err)) {
        relay_telemetry_outcome(ledger->config.telemetry, outcome);
        if (outcome == OUTCOME_ACCEPTED || outcome == OUTCOME_FOUND)
            relay_telemetry_last_success(ledger->config.telemetry, now);
        if (outcome == OUTCOME_CONCLUDED)
            relay_telemetry_conclusion(ledger->config.telemetry, conclusion);
        log_outcome(ledger, step, answer, outcome, conclusion, text);
    }
    (void)pthread_mutex_unlock(&ledger->lock);
}

void ledger_stop(struct ledger *ledger)
{
    (void)pthread_mutex_lock(&ledger->lock);
    ledger->stopping = true;
    (void)pthread_cond_signal(&ledger->changed);
    (void)pthread_mutex_unlock(&ledger->lock);
}
