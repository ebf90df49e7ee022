/* github.h - the one thread that talks to GitHub.
 *
 * Idea:    take a step from the ledger, make one HTTPS request of it, hand the answer back: serial by
 *          nature. Whether a request may have been taken is told apart as finely as libcurl can: without a
 *          connection it was not, with one it may have been. Every request has a connection of its own,
 *          because libcurl repeats a request by itself when a kept connection turns out dead.
 * Does not: follow redirects (they would carry the token elsewhere), decide or wait, log bodies or tokens.
 * Threads: github_start and github_stop from main.
 * Memory:  released with github_stop. The token is read from its file for every request and wiped.
 * Errors:  ERR_INTERNAL libcurl or the thread could not be started, ERR_NO_MEMORY.
 */
#ifndef SERVER_RELAY_GITHUB_H
#define SERVER_RELAY_GITHUB_H

#include "server/relay/github_api.h"
#include "server/relay/ledger.h"

/* Borrowed, must outlive the thread. */
struct github_config {
    struct github_target target;
    const char *token_file;
    const char *user_agent;
    unsigned timeout_ms; /* of a whole request */
    struct ledger *ledger;
    const struct relay_probe *probe; /* may be NULL */
};

struct github;

struct github *github_start(const struct github_config *config, struct error *err) MUST_CHECK;

/* Lets the request in flight end (within its timeout), then the thread. NULL is allowed. The ledger must
 * have been stopped. */
void github_stop(struct github *github);

#endif
