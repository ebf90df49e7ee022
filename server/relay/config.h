/* config.h - what ridge-relay is told: flags, environment, defaults (server/options.h).
 *
 * Does not: read files or open anything. Unlike ridged it refuses an unknown option.
 * Threads: filled by main before any other thread runs; const after.
 * Memory:  texts point into argv or the environment.
 * Errors:  ERR_INVALID "--cooldown: expected from 0 to 31536000 seconds, got \"x\"".
 */
#ifndef SERVER_RELAY_CONFIG_H
#define SERVER_RELAY_CONFIG_H

#include "server/log.h"
#include "server/relay/github_api.h"

#include <stdio.h>

struct relay_config {
    const char *host;
    unsigned http_port;
    size_t max_body_bytes;
    const char *webhook_token_file;
    const char *override_token_file; /* "": no override */
    const char *users_file;
    const char *journal;
    size_t journal_rewrite_bytes;
    struct github_target github;
    const char *github_token_file;
    uint64_t github_timeout_ms;
    struct policy_settings policy;
    enum log_level log_level;
    bool help, version; /* print and exit 0 */
};

bool relay_config_read(struct relay_config *config, int argc, char *const *argv,
                       struct error *err) MUST_CHECK;

/* Every option with its default and environment name, one line each. */
void relay_config_help(FILE *out);

#endif
