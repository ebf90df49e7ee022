/* github_api.h - GitHub's REST API as far as ridge-relay uses it: requests and answers as bytes.
 *
 * Idea:    three calls. Dispatch starts a run of the workflow with four inputs; find lists the workflow's
 *          recent runs and looks for a correlation id in their names (the workflow puts it into
 *          run-name); poll asks how one run does. Answers are reduced to what the policy wants to know.
 * Does not: open connections, know the token, or wait.
 * Threads: no state.
 * Memory:  in the arena.
 * Errors:  ERR_NO_MEMORY; ERR_INVALID for settings that could not go into a URL.
 * Sources: docs.github.com/rest: actions/workflows (create a workflow dispatch event), actions/workflow-runs,
 *          using-the-rest-api/rate-limits; both API versions, 2022-11-28 and 2026-03-10.
 */
#ifndef SERVER_RELAY_GITHUB_API_H
#define SERVER_RELAY_GITHUB_API_H

#include "base/arena.h"
#include "server/relay/policy.h"

/* Borrowed texts. */
struct github_target {
    const char *api_url;    /* https, or http to a loopback address; no slash at its end */
    const char *repository; /* owner/name */
    const char *workflow;   /* file name */
    const char *ref;        /* branch or tag */
    const char *api_version;
    bool return_run_details; /* ask for the run's id; only 2022-11-28 knows the question */
};

bool github_check_target(const struct github_target *target, struct error *err) MUST_CHECK;

/* A loopback http URL: nothing leaves the machine, so no proxy may be asked either. */
bool github_is_loopback(const char *api_url);

struct github_request {
    const char *url;
    struct span body; /* {NULL, 0}: a GET */
};

bool github_request(const struct github_target *target, const struct policy_step *step,
                    struct arena *arena, struct github_request *out, struct error *err) MUST_CHECK;

/* What came back over HTTP. */
struct github_response {
    int status;
    struct span body;
    uint64_t retry_after_s;     /* 0: not told */
    bool exhausted;             /* x-ratelimit-remaining is 0 */
    uint64_t ratelimit_reset_s; /* x-ratelimit-reset, seconds since 1970; 0: not told */
};

struct policy_answer github_answer(const struct policy_step *step,
                                   const struct github_response *response, uint64_t now_ms,
                                   struct arena *arena);

/* GitHub's own words on an error, {NULL, 0} when there are none; cut to 200 bytes. For the log. */
struct span github_message(struct span body, struct arena *arena);

#endif
