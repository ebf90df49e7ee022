#include "server/relay/policy.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define SECOND        UINT64_C(1000)
#define MINUTE        (60 * SECOND)
#define HOUR          (60 * MINUTE)
#define RETRY_MOST    (10 * MINUTE)
#define LIMITED_LEAST MINUTE /* GitHub's advice where no header says how long */

#define MAE_NORMAL_MAX 0.45
#define R2_NORMAL_MIN  0.75
#define EXCESS_MAX     1000 /* more says no more, and must not become infinite */

void policy_init(struct policy *policy, const struct policy_settings *settings)
{
    memset(policy, 0, sizeof *policy);
    policy->settings = *settings;
}

static uint64_t since(uint64_t then_ms, uint64_t now_ms)
{
    return now_ms > then_ms ? now_ms - then_ms : 0;
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

bool policy_breaker_open(const struct policy *policy, const struct policy_key *key)
{
    return key->retrains >= policy->settings.breaker_after;
}

/* ---- slots ---- */

static size_t find_key(const struct policy *policy, const char *user, const char *model)
{
    size_t i = 0;
    while (i < policy->count &&
           (strcmp(policy->keys[i].user, user) != 0 || strcmp(policy->keys[i].model, model) != 0))
        i++;
    return i;
}

static bool cooling(const struct policy *policy, const struct policy_key *key, uint64_t now_ms)
{
    return key->dispatched_ms != 0 &&
           since(key->dispatched_ms, now_ms) < policy->settings.cooldown_ms;
}

/* The slot of a key, or one for it; POLICY_KEYS_MAX when there is none. A key that neither works, cools
 * down nor counts retrains holds nothing that a new one would not. */
static size_t slot_for(const struct policy *policy, const char *user, const char *model,
                       uint64_t now_ms)
{
    size_t slot = find_key(policy, user, model);
    if (slot < policy->count || policy->count < POLICY_KEYS_MAX)
        return slot;
    for (slot = 0; slot < POLICY_KEYS_MAX; slot++) {
        const struct policy_key *key = &policy->keys[slot];
        if (key->state == POLICY_IDLE && key->retrains == 0 && !cooling(policy, key, now_ms))
            break;
    }
    return slot;
}

void policy_commit(struct policy *policy, const struct policy_change *change)
{
    policy->keys[change->slot] = change->key;
    policy->shared = change->shared;
    if (change->slot == policy->count)
        policy->count++;
}

bool policy_restore(struct policy *policy, const struct policy_key *key,
                    const struct policy_shared *shared, uint64_t at_ms, struct error *err)
{
    struct policy_change change = {slot_for(policy, key->user, key->model, at_ms), *key, *shared,
                                   true};
    if (change.slot == POLICY_KEYS_MAX)
        return error_set(err, ERR_TOO_LARGE, "expected at most %d models at work", POLICY_KEYS_MAX);
    policy_commit(policy, &change);
    return true;
}

/* ---- changes ---- */

static void begin_change(const struct policy *policy, size_t slot, struct policy_change *change)
{
    memset(change, 0, sizeof *change);
    change->slot = slot;
    change->shared = policy->shared;
    change->durable = true;
    if (slot < policy->count)
        change->key = policy->keys[slot];
}

/* The key without its job. */
static void end_job(struct policy_key *key)
{
    struct policy_key idle = {.dispatched_ms = key->dispatched_ms,
                              .recovered_ms = key->recovered_ms,
                              .retrains = key->retrains};
    memcpy(idle.user, key->user, sizeof idle.user);
    memcpy(idle.model, key->model, sizeof idle.model);
    *key = idle;
}

/* ---- alerts ---- */

static double excess(double value)
{
    if (value > EXCESS_MAX)
        return EXCESS_MAX;
    return value > 0 ? value : 0; /* NaN: 0 */
}

double policy_drift_score(double mae, double r2)
{
    return (excess((mae - MAE_NORMAL_MAX) / MAE_NORMAL_MAX) +
            excess((R2_NORMAL_MIN - r2) / R2_NORMAL_MIN)) /
           2;
}

/* Numbers only: nothing that somebody wrote goes into a workflow. */
static void put_reason(char reason[POLICY_REASON_MAX + 1], double mae, double r2)
{
    const char *comma = "";
    int n = 0;
    (void)snprintf(reason, POLICY_REASON_MAX + 1, "drift");
    if (!isnan(mae)) {
        n = snprintf(reason, POLICY_REASON_MAX + 1, "mae %.4g (normal: at most 0.45)", mae);
        comma = ", ";
    }
    if (!isnan(r2))
        (void)snprintf(reason + n, (size_t)(POLICY_REASON_MAX + 1 - n),
                       "%sr2 %.4g (normal: at least 0.75)", comma, r2);
}

static size_t past_hour(const struct policy_shared *shared, uint64_t now_ms)
{
    size_t old = 0;
    while (old < shared->requests && since(shared->requests_ms[old], now_ms) >= HOUR)
        old++;
    return shared->requests - old;
}

static void note_request(struct policy_shared *shared, uint64_t now_ms)
{
    size_t keep = past_hour(shared, now_ms);
    if (keep == POLICY_BUDGET_MAX)
        keep--;
    memmove(shared->requests_ms, shared->requests_ms + shared->requests - keep,
            keep * sizeof *shared->requests_ms);
    shared->requests_ms[keep] = now_ms;
    shared->requests = keep + 1;
}

static void queue(const struct policy *policy, size_t slot, const struct policy_drift *drift,
                  const char *id, uint64_t now_ms, struct policy_change *change)
{
    begin_change(policy, slot, change);
    if (slot == policy->count || strcmp(change->key.user, drift->user) != 0 ||
        strcmp(change->key.model, drift->model) != 0)
        memset(&change->key, 0, sizeof change->key);
    struct policy_key *key = &change->key;
    (void)snprintf(key->user, sizeof key->user, "%s", drift->user);
    (void)snprintf(key->model, sizeof key->model, "%s", drift->model);
    (void)snprintf(key->id, sizeof key->id, "%s", id);
    key->score = policy_drift_score(drift->mae, drift->r2);
    put_reason(key->reason, drift->mae, drift->r2);
    key->state = POLICY_QUEUED;
    key->requested_ms = key->due_ms = now_ms;
    note_request(&change->shared, now_ms);
}

enum policy_verdict policy_firing(const struct policy *policy, const struct policy_drift *drift,
                                  const char *id, uint64_t now_ms, struct policy_change *change)
{
    size_t known = find_key(policy, drift->user, drift->model);
    if (known < policy->count) {
        const struct policy_key *key = &policy->keys[known];
        if (key->state != POLICY_IDLE)
            return POLICY_IN_FLIGHT;
        if (policy_breaker_open(policy, key))
            return POLICY_BREAKER;
        if (cooling(policy, key, now_ms))
            return POLICY_COOLDOWN;
    }
    if (past_hour(&policy->shared, now_ms) >= policy->settings.hourly_budget)
        return POLICY_BUDGET;
    size_t slot = slot_for(policy, drift->user, drift->model, now_ms);
    if (slot == POLICY_KEYS_MAX)
        return POLICY_FULL;
    queue(policy, slot, drift, id, now_ms, change);
    return POLICY_ACCEPTED;
}

enum policy_verdict policy_manual(const struct policy *policy, const struct policy_drift *drift,
                                  const char *id, uint64_t now_ms, struct policy_change *change)
{
    size_t slot = slot_for(policy, drift->user, drift->model, now_ms);
    if (slot == POLICY_KEYS_MAX)
        return POLICY_FULL;
    if (slot < policy->count && policy->keys[slot].state != POLICY_IDLE)
        return POLICY_IN_FLIGHT;
    queue(policy, slot, drift, id, now_ms, change);
    (void)snprintf(change->key.reason, sizeof change->key.reason, "manual");
    change->key.retrains = 0;
    return POLICY_ACCEPTED;
}

bool policy_recovered(const struct policy *policy, const char *user, const char *model,
                      uint64_t now_ms, struct policy_change *change)
{
    size_t slot = find_key(policy, user, model);
    if (slot == policy->count)
        return false;
    begin_change(policy, slot, change);
    change->key.recovered_ms = now_ms;
    change->key.retrains = 0;
    return true;
}

/* ---- what to do next ---- */

static uint64_t due_at(const struct policy *policy, const struct policy_key *key, uint64_t now_ms)
{
    uint64_t due = later(key->due_ms, policy->shared.blocked_ms), wrote = policy->shared.wrote_ms;
    if (key->state == POLICY_QUEUED && wrote != 0) /* a clock set back must not stop the queue */
        due = later(due, (wrote < now_ms ? wrote : now_ms) + policy->settings.write_interval_ms);
    return due;
}

static enum policy_action action_of(const struct policy_key *key)
{
    if (key->state == POLICY_QUEUED)
        return POLICY_DISPATCH;
    return key->state == POLICY_RUNNING && key->run_id != 0 ? POLICY_POLL : POLICY_FIND;
}

void policy_next(const struct policy *policy, uint64_t now_ms, struct policy_step *step)
{
    uint64_t first = UINT64_MAX;
    size_t slot = 0;
    for (size_t i = 0; i < policy->count; i++) {
        if (policy->keys[i].state == POLICY_IDLE)
            continue;
        uint64_t due = due_at(policy, &policy->keys[i], now_ms);
        if (due < first) {
            first = due;
            slot = i;
        }
    }
    *step = (struct policy_step){.action = POLICY_WAIT, .slot = slot, .wait_ms = UINT64_MAX};
    if (first == UINT64_MAX)
        return;
    step->key = policy->keys[slot];
    step->wait_ms = since(now_ms, first);
    if (step->wait_ms == 0)
        step->action = action_of(&step->key);
}

void policy_intent(const struct policy *policy, const struct policy_step *step, uint64_t now_ms,
                   struct policy_change *change)
{
    begin_change(policy, step->slot, change);
    change->key.state = POLICY_SENT;
    change->key.sent_ms = change->shared.wrote_ms = now_ms;
    change->key.due_ms = now_ms + policy->settings.list_delay_ms;
    change->key.attempts++;
}

/* ---- answers ---- */

static uint64_t doubled(uint64_t first, unsigned attempts, uint64_t most)
{
    unsigned times = attempts > 1 ? attempts - 1 : 0;
    while (times-- > 0 && first < most)
        first *= 2;
    return first < most ? first : most;
}

static uint64_t back_off(const struct policy *policy, unsigned attempts, double jitter)
{
    uint64_t full = doubled(policy->settings.retry_ms, attempts, RETRY_MOST);
    return (uint64_t)((1 + jitter) * (double)full / 2);
}

static void block(const struct policy_answer *answer, unsigned attempts, uint64_t now_ms,
                  struct policy_change *change)
{
    uint64_t wait = answer->wait_ms != 0 ? answer->wait_ms : doubled(LIMITED_LEAST, attempts, HOUR);
    change->shared.blocked_ms = later(change->shared.blocked_ms, now_ms + wait);
}

static enum policy_outcome give_up(struct policy_change *change)
{
    end_job(&change->key);
    return OUTCOME_GAVE_UP;
}

static enum policy_outcome accept(const struct policy *policy, uint64_t run_id, uint64_t now_ms,
                                  struct policy_change *change, enum policy_outcome outcome)
{
    struct policy_key *key = &change->key;
    key->state = POLICY_RUNNING;
    key->run_id = run_id;
    key->dispatched_ms = now_ms;
    key->retrains++;
    key->attempts = 0;
    key->due_ms =
        now_ms + (run_id != 0 ? policy->settings.poll_interval_ms : policy->settings.list_delay_ms);
    return outcome;
}

/* To a dispatch that has just been sent. */
static enum policy_outcome dispatched(const struct policy *policy,
                                      const struct policy_answer *answer, uint64_t now_ms,
                                      double jitter, struct policy_change *change)
{
    struct policy_key *key = &change->key;
    const struct policy_settings *settings = &policy->settings;
    uint64_t pause = later(back_off(policy, key->attempts, jitter), answer->wait_ms);
    bool again = key->attempts < settings->max_attempts;
    switch (answer->reply) {
    case REPLY_ACCEPTED:
        return accept(policy, answer->run_id, now_ms, change, OUTCOME_ACCEPTED);
    case REPLY_LIMITED:
        key->state = POLICY_QUEUED;
        key->due_ms = now_ms;
        block(answer, key->attempts, now_ms, change);
        return again ? OUTCOME_LIMITED : give_up(change);
    case REPLY_NOT_SENT:
        key->state = POLICY_QUEUED;
        key->due_ms = now_ms + pause;
        return again ? OUTCOME_UNREACHABLE : give_up(change);
    case REPLY_REFUSED:
        end_job(key);
        return OUTCOME_REFUSED;
    default: /* stays sent; even the last attempt may have arrived, so the list decides */
        key->due_ms = now_ms + later(pause, settings->list_delay_ms);
        return OUTCOME_UNSURE;
    }
}

/* Whether a dispatch arrived that got no answer. */
static enum policy_outcome looked_for(const struct policy *policy,
                                      const struct policy_answer *answer, uint64_t now_ms,
                                      double jitter, struct policy_change *change)
{
    struct policy_key *key = &change->key;
    bool again = key->attempts < policy->settings.max_attempts;
    if (answer->reply == REPLY_FOUND)
        return accept(policy, answer->run_id, now_ms, change, OUTCOME_FOUND);
    if (answer->reply == REPLY_ABSENT) {
        key->state = POLICY_QUEUED;
        key->due_ms = now_ms;
        return again ? OUTCOME_ABSENT : give_up(change);
    }
    key->attempts++;
    key->due_ms = now_ms + later(back_off(policy, key->attempts, jitter), answer->wait_ms);
    if (answer->reply == REPLY_LIMITED)
        block(answer, key->attempts, now_ms, change);
    return again ? OUTCOME_UNSURE : give_up(change);
}

/* How an accepted run does. */
static enum policy_outcome watched(const struct policy *policy, const struct policy_answer *answer,
                                   uint64_t now_ms, double jitter, struct policy_change *change,
                                   enum policy_conclusion *conclusion)
{
    struct policy_key *key = &change->key;
    bool answered = answer->reply == REPLY_ACTIVE || answer->reply == REPLY_ABSENT ||
                    answer->reply == REPLY_FOUND;
    bool gone = answer->reply == REPLY_REFUSED && answer->status == 404 && key->run_id != 0;
    if (answer->reply == REPLY_CONCLUDED || gone ||
        since(key->dispatched_ms, now_ms) >= policy->settings.run_timeout_ms) {
        *conclusion = answer->reply == REPLY_CONCLUDED ? answer->conclusion : CONCLUSION_LOST;
        end_job(key);
        return OUTCOME_CONCLUDED;
    }
    change->durable = answer->reply == REPLY_FOUND || answer->reply == REPLY_LIMITED;
    if (answer->reply == REPLY_FOUND)
        key->run_id = answer->run_id;
    key->attempts = answered ? 0 : key->attempts + 1;
    key->due_ms = now_ms + policy->settings.poll_interval_ms;
    if (!answered)
        key->due_ms = later(
            key->due_ms, now_ms + later(back_off(policy, key->attempts, jitter), answer->wait_ms));
    if (answer->reply == REPLY_LIMITED)
        block(answer, key->attempts, now_ms, change);
    return OUTCOME_WATCHING;
}

enum policy_outcome policy_answered(const struct policy *policy, const struct policy_step *step,
                                    const struct policy_answer *answer, uint64_t now_ms,
                                    double jitter, struct policy_change *change,
                                    enum policy_conclusion *conclusion)
{
    begin_change(policy, step->slot, change);
    if (change->key.state == POLICY_RUNNING)
        return watched(policy, answer, now_ms, jitter, change, conclusion);
    if (step->action == POLICY_DISPATCH)
        return dispatched(policy, answer, now_ms, jitter, change);
    return looked_for(policy, answer, now_ms, jitter, change);
}
