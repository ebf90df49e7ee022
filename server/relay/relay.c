#define _DEFAULT_SOURCE /* explicit_bzero */
#include "server/relay/relay.h"

#include "metrics/process.h"
#include "server/http/http.h"
#include "server/relay/github.h"
#include "server/relay/intake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CONNECTIONS = 256,
    DRAIN_MS = 5000,
};

/* In the order it is made. */
struct relay {
    const struct relay_config *config;
    struct log *log;
    struct metrics *metrics;
    struct process_metrics *process;
    struct relay_telemetry *telemetry;
    struct token *webhook_token, *override_token;
    struct webhook_users users;
    struct ledger *ledger;
    char user_agent[64];
    struct github *github;
    struct intake intake;
    struct http_server *server;
};

static void handle(void *ctx, struct http_exchange *exchange, const struct request *request)
{
    http_respond(exchange, intake_handle(ctx, request, http_arena(exchange)));
}

/* ---- start ---- */

static bool make_metrics(struct relay *r, const struct relay_build *build, struct error *err)
{
    r->metrics = metrics_new(RELAY_SHARDS);
    if (r->metrics != NULL) {
        r->process = process_metrics_new(r->metrics);
        r->telemetry = relay_telemetry_new(r->metrics, build->version, build->revision);
    }
    return (r->process != NULL && r->telemetry != NULL) ||
           error_set(err, ERR_NO_MEMORY, "metrics: out of memory");
}

static bool read_files(struct relay *r, struct error *err)
{
    const struct relay_config *config = r->config;
    char token[TOKEN_MAX + 1];
    if (!token_read(config->github_token_file, token, err)) /* fail now, not at the first alert */
        return false;
    explicit_bzero(token, sizeof token);
    r->webhook_token = token_new(config->webhook_token_file, err);
    if (r->webhook_token == NULL)
        return false;
    if (*config->override_token_file != '\0') {
        r->override_token = token_new(config->override_token_file, err);
        if (r->override_token == NULL)
            return false;
    }
    return webhook_users_load(&r->users, config->users_file, err);
}

static bool open_ledger(struct relay *r, const struct relay_probe *probe, struct error *err)
{
    const struct ledger_config config = {.policy = r->config->policy,
                                         .journal = r->config->journal,
                                         .rewrite_bytes = r->config->journal_rewrite_bytes,
                                         .telemetry = r->telemetry,
                                         .log = r->log,
                                         .probe = probe};
    r->ledger = ledger_open(&config, err);
    return r->ledger != NULL;
}

static bool start_github(struct relay *r, const struct relay_build *build,
                         const struct relay_probe *probe, struct error *err)
{
    (void)snprintf(r->user_agent, sizeof r->user_agent, "ridge-relay/%s", build->version);
    const struct github_config config = {.target = r->config->github,
                                         .token_file = r->config->github_token_file,
                                         .user_agent = r->user_agent,
                                         .timeout_ms = (unsigned)r->config->github_timeout_ms,
                                         .ledger = r->ledger,
                                         .probe = probe};
    r->github = github_start(&config, err);
    return r->github != NULL;
}

static bool start_server(struct relay *r, struct error *err)
{
    struct http_config http = {.host = r->config->host,
                               .port = r->config->http_port,
                               .workers = 1,
                               .first_shard = RELAY_WORKER_SHARD,
                               .limits = http_default_limits(),
                               .handler = {.ctx = &r->intake, .request = handle}};
    http.limits.body_bytes = r->config->max_body_bytes;
    http.limits.connections = CONNECTIONS;
    r->intake.ledger = r->ledger;
    r->intake.telemetry = r->telemetry;
    r->intake.metrics = r->metrics;
    r->intake.log = r->log;
    r->intake.webhook_token = r->webhook_token;
    r->intake.override_token = r->override_token;
    r->intake.users = &r->users;
    atomic_init(&r->intake.ready, true);
    r->server = http_start(&http, err);
    return r->server != NULL;
}

struct relay *relay_start(const struct relay_config *config, const struct relay_build *build,
                          struct log *log, const struct relay_probe *probe, struct error *err)
{
    struct relay *r = calloc(1, sizeof *r);
    if (r == NULL) {
        (void)error_set(err, ERR_NO_MEMORY, "relay: out of memory");
        return NULL;
    }
    r->config = config;
    r->log = log;
    if (make_metrics(r, build, err) && read_files(r, err) && open_ledger(r, probe, err) &&
        start_github(r, build, probe, err) && start_server(r, err))
        return r;
    relay_stop(r);
    return NULL;
}

unsigned relay_port(const struct relay *relay)
{
    return http_port(relay->server);
}

/* ---- stop ---- */

void relay_stop(struct relay *relay)
{
    if (relay == NULL)
        return;
    if (relay->server != NULL) {
        atomic_store(&relay->intake.ready, false);
        http_close_connections(relay->server);
        (void)http_drain(relay->server, DRAIN_MS);
        http_stop(relay->server);
    }
    if (relay->ledger != NULL)
        ledger_stop(relay->ledger);
    github_stop(relay->github);
    ledger_close(relay->ledger);
    token_free(relay->override_token);
    token_free(relay->webhook_token);
    relay_telemetry_free(relay->telemetry);
    process_metrics_free(relay->process);
    metrics_free(relay->metrics);
    free(relay);
}
