/* webhook.h - an Alertmanager notification (webhook body, version 4) to what it asks for.
 *
 * Idea:    every alert of the body is screened: it must carry action=retrain, a listed user, the user's
 *          own namespace and a model name that is one. Alerts of one key become one event, and it fires if
 *          any of them does: one alert of a group that ends is no recovery while another goes on. So the
 *          route must group by nothing that tells apart the alerts of one model.
 * Does not: keep state, decide about cooldowns, or pass on any text beside the screened names.
 * Threads: no state.
 * Memory:  events and their texts are in the arena.
 * Errors:  ERR_INVALID, ERR_TOO_LARGE (over WEBHOOK_ALERTS_MAX alerts, or too deep), ERR_NO_MEMORY.
 * Source:  prometheus.io/docs/alerting/latest/configuration, webhook_config.
 */
#ifndef SERVER_RELAY_WEBHOOK_H
#define SERVER_RELAY_WEBHOOK_H

#include "base/arena.h"
#include "server/relay/policy.h"

enum { WEBHOOK_ALERTS_MAX = 1000, WEBHOOK_USERS_MAX = 256 };

/* ---- who may ask ---- */

struct webhook_users {
    char names[WEBHOOK_USERS_MAX][POLICY_USER_MAX + 1];
    size_t count;
};

/* Reads the file: one name a line, [a-z0-9-], blank lines and # lines apart. */
bool webhook_users_load(struct webhook_users *users, const char *path,
                        struct error *err) MUST_CHECK;

bool webhook_knows_user(const struct webhook_users *users, struct span name);
/* A DNS label of at most POLICY_MODEL_MAX bytes. */
bool webhook_is_model(struct span name);

/* ---- what is asked ---- */

struct webhook_event {
    bool firing;
    struct policy_drift drift; /* of the firing alerts the worst figures; NaN: not told */
};

/* Why an alert asks for nothing. */
enum webhook_ignored {
    IGNORED_ACTION,    /* no action=retrain */
    IGNORED_USER,      /* not listed */
    IGNORED_NAMESPACE, /* not kubeflow-<user> */
    IGNORED_MODEL,     /* no name of a model */
    IGNORED_TRUNCATED, /* resolved, but Alertmanager left alerts out that may still fire */
    WEBHOOK_IGNORED
};

struct webhook {
    struct webhook_event *events; /* (count) */
    size_t count;
    size_t ignored[WEBHOOK_IGNORED];
};

bool webhook_decode(struct span body, const struct webhook_users *users, struct arena *arena,
                    struct webhook *out, struct error *err) MUST_CHECK;

/* {"user_id":...,"model_name":...}: a person's wish. No figures: drift holds NaN. */
bool webhook_decode_manual(struct span body, const struct webhook_users *users, struct arena *arena,
                           struct policy_drift *out, struct error *err) MUST_CHECK;

#endif
