/* policy.h - what ridge-relay decides: which alert becomes a dispatch, and what is to be done next.
 *
 * Idea:    a pure state machine. A key is a user's model (namespace kubeflow-<user> and model name):
 *
 *            idle --firing, manual--> queued --intent--> sent --accepted--> running --concluded--> idle
 *                                       ^  \--refused--> idle |
 *                                       +------- absent ------+ (also "may have arrived": look first)
 *
 *          Deciding yields a struct policy_change; the caller makes it durable, then commits it, so that
 *          memory never knows more than the disk. `sent` without an answer means "may have arrived",
 *          after a crash as after a timeout: GitHub is asked for the run before the same id goes out
 *          again.
 * Does not: read clocks or randomness (both are arguments), files, sockets, JSON.
 * Threads: no state beyond the struct; the ledger locks.
 * Memory:  fixed size; texts are copied.
 * Errors:  none; what is suppressed is told by a verdict.
 * Units:   milliseconds since 1970, 0 for never. A clock set back only makes waits longer.
 */
#ifndef SERVER_RELAY_POLICY_H
#define SERVER_RELAY_POLICY_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum {
    POLICY_USER_MAX = 32,
    POLICY_MODEL_MAX = 63,
    POLICY_ID_MAX = 32,     /* a correlation id: hexadecimal digits */
    POLICY_REASON_MAX = 95, /* drift_reason */
    POLICY_KEYS_MAX = 256,
    POLICY_BUDGET_MAX = 64,
};

struct policy_settings {
    uint64_t cooldown_ms;       /* between an accepted dispatch and the next of its key */
    uint64_t write_interval_ms; /* between two dispatches of any key */
    uint64_t list_delay_ms;     /* until GitHub's list surely shows a run that was accepted */
    uint64_t poll_interval_ms;
    uint64_t retry_ms; /* first back-off; doubles up to ten minutes */
    uint64_t run_timeout_ms;
    unsigned hourly_budget; /* 1 to POLICY_BUDGET_MAX */
    unsigned breaker_after; /* retrains without recovery */
    unsigned max_attempts;
};

enum policy_state { POLICY_IDLE, POLICY_QUEUED, POLICY_SENT, POLICY_RUNNING };

struct policy_key {
    char user[POLICY_USER_MAX + 1], model[POLICY_MODEL_MAX + 1];
    uint64_t dispatched_ms; /* the last accepted dispatch */
    uint64_t recovered_ms;
    unsigned retrains; /* accepted since the last recovery */
    enum policy_state state;
    /* What follows is the job's; all zero when idle. */
    char id[POLICY_ID_MAX + 1], reason[POLICY_REASON_MAX + 1];
    double score;
    uint64_t requested_ms, sent_ms; /* sent: the last intent */
    uint64_t due_ms;                /* nothing happens before */
    unsigned attempts;              /* in this state */
    uint64_t run_id;                /* 0: not known */
};

/* What all keys share. */
struct policy_shared {
    uint64_t requests_ms[POLICY_BUDGET_MAX]; /* of the past hour, oldest first */
    size_t requests;
    uint64_t blocked_ms; /* GitHub wants no call before */
    uint64_t wrote_ms;   /* the last intent of any key */
};

struct policy {
    struct policy_settings settings; /* const once set */
    struct policy_shared shared;
    struct policy_key keys[POLICY_KEYS_MAX];
    size_t count;
};

/* A decision not yet taken effect. */
struct policy_change {
    size_t slot; /* of the key: below count, or count for a new one */
    struct policy_key key;
    struct policy_shared shared;
    bool durable; /* false: losing it in a crash loses nothing */
};

void policy_init(struct policy *policy, const struct policy_settings *settings);
void policy_commit(struct policy *policy, const struct policy_change *change);

/* Takes up what a journal holds, as of at_ms. ERR_TOO_LARGE when every slot has a job. */
bool policy_restore(struct policy *policy, const struct policy_key *key,
                    const struct policy_shared *shared, uint64_t at_ms,
                    struct error *err) MUST_CHECK;

bool policy_breaker_open(const struct policy *policy, const struct policy_key *key);

/* ---- alerts ---- */

struct policy_drift {
    const char *user, *model; /* screened: see webhook.h */
    double mae, r2;           /* NaN: not told */
};

/* Mean of the relative excess of MAE over 0.45 and the relative deficit of R2 under 0.75, each from 0 to
 * 1000; what is not told counts 0. */
double policy_drift_score(double mae, double r2);

enum policy_verdict {
    POLICY_ACCEPTED,
    POLICY_IN_FLIGHT,
    POLICY_BREAKER,
    POLICY_COOLDOWN,
    POLICY_BUDGET,
    POLICY_FULL, /* every slot has a job or cools down */
    POLICY_VERDICTS
};

/* A firing alert; id is what the dispatch will bear. *change is filled when accepted. */
enum policy_verdict policy_firing(const struct policy *policy, const struct policy_drift *drift,
                                  const char *id, uint64_t now_ms, struct policy_change *change);

/* A person asks: neither cooldown, breaker nor budget count, and the breaker starts anew. */
enum policy_verdict policy_manual(const struct policy *policy, const struct policy_drift *drift,
                                  const char *id, uint64_t now_ms, struct policy_change *change);

/* The model is good again: closes the breaker. False when the key is not known, so there is nothing to
 * record. */
bool policy_recovered(const struct policy *policy, const char *user, const char *model,
                      uint64_t now_ms, struct policy_change *change);

/* ---- GitHub ---- */

enum policy_action {
    POLICY_WAIT,     /* for wait_ms, or for an alert */
    POLICY_DISPATCH, /* after the intent has been recorded: policy_intent */
    POLICY_FIND,     /* list runs since sent_ms, look for the id */
    POLICY_POLL,     /* ask for the run */
};

struct policy_step {
    enum policy_action action;
    size_t slot;
    struct policy_key key; /* a copy: what to say */
    uint64_t wait_ms;      /* POLICY_WAIT; UINT64_MAX when nothing is pending */
};

void policy_next(const struct policy *policy, uint64_t now_ms, struct policy_step *step);

/* A dispatch is about to be sent. */
void policy_intent(const struct policy *policy, const struct policy_step *step, uint64_t now_ms,
                   struct policy_change *change);

enum policy_reply {
    REPLY_ACCEPTED,  /* dispatch: 2xx, with run_id or 0 */
    REPLY_FOUND,     /* find: run_id */
    REPLY_ABSENT,    /* find: GitHub lists no such run */
    REPLY_ACTIVE,    /* poll: not at its end */
    REPLY_CONCLUDED, /* poll: conclusion */
    REPLY_LIMITED,   /* 403, 429: wait_ms, 0 if not told */
    REPLY_REFUSED,   /* any other status that asking again does not change */
    REPLY_NOT_SENT,  /* no connection: the request never left */
    REPLY_UNSURE,    /* 5xx, timeout, cut: it may have been taken; wait_ms, 0 if not told */
};

enum policy_conclusion {
    CONCLUSION_SUCCESS,
    CONCLUSION_FAILURE,
    CONCLUSION_CANCELLED,
    CONCLUSION_TIMED_OUT,
    CONCLUSION_OTHER, /* GitHub's others: neutral, skipped, stale, action_required, ... */
    CONCLUSION_LOST,  /* gone, or not at its end within run_timeout */
    POLICY_CONCLUSIONS
};

struct policy_answer {
    enum policy_reply reply;
    int status; /* HTTP, 0: none */
    uint64_t run_id, wait_ms;
    enum policy_conclusion conclusion;
};

enum policy_outcome {
    OUTCOME_ACCEPTED,
    OUTCOME_FOUND,  /* accepted after all: the list has it */
    OUTCOME_ABSENT, /* not accepted: goes out again with the same id */
    OUTCOME_LIMITED,
    OUTCOME_UNREACHABLE,
    OUTCOME_UNSURE,
    OUTCOME_REFUSED, /* for good */
    OUTCOME_GAVE_UP, /* after max_attempts */
    POLICY_DISPATCH_OUTCOMES,
    OUTCOME_WATCHING = POLICY_DISPATCH_OUTCOMES, /* the run goes on */
    OUTCOME_CONCLUDED                            /* see *conclusion */
};

/* What an answer means. jitter in [0, 1) spreads retries. */
enum policy_outcome policy_answered(const struct policy *policy, const struct policy_step *step,
                                    const struct policy_answer *answer, uint64_t now_ms,
                                    double jitter, struct policy_change *change,
                                    enum policy_conclusion *conclusion);

#endif
