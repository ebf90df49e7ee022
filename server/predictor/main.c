/* ridged: reads its configuration, starts the log, the metrics, the observer, the model and the
 * workers in that order, waits for a signal, and takes everything down in reverse. */
#include "metrics/process.h"
#include "server/predictor/config.h"
#include "server/predictor/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifndef RIDGED_VERSION
#define RIDGED_VERSION "unknown"
#endif
#ifndef RIDGED_REVISION
#define RIDGED_REVISION "unknown"
#endif

enum {
    OBSERVER_BODY_BYTES = 65536,
    OBSERVER_CONNECTIONS = 256,
    JOURNAL_TRY_S = 1,        /* between tries for a journal that another process has */
    RETURNED_BYTES = 1 << 20, /* blocks from here on go back to the system when they are freed */
};
static const uint64_t SECOND_NS = 1000000000;

static uint64_t nanoseconds(const struct timespec *t)
{
    return (uint64_t)t->tv_sec * SECOND_NS + (uint64_t)t->tv_nsec;
}

/* Everything the program owns, in the order it is made. */
struct ridged {
    struct config config;
    struct log *log;
    struct metrics *metrics;
    struct process_metrics *process;
    struct telemetry *telemetry;
    struct registry *registry;
    struct monitor *monitor;
    struct token *feedback_token; /* NULL: none is required */
    struct api *api;
    char host_name[HOST_NAME_MAX + 1];
    struct serve predict, observe;
    struct http_server *observer, *server;
};

/* ---- start ---- */

static void warn_of_unknown_options(const struct ridged *r)
{
    for (size_t i = 0; i < r->config.unknown_count; i++) {
        const char *option = r->config.unknown[i];
        log_event(r->log, LOG_WARNING, "unknown_option",
                  LOG_SPAN("option", ((struct span){option, strcspn(option, "=")})));
    }
}

/* Threads that take requests: the workers and the observer. */
static unsigned request_shards(const struct ridged *r)
{
    return r->config.workers + 1;
}

/* The journal's thread counts, too. */
static unsigned metric_shards(const struct ridged *r)
{
    return request_shards(r) + 1;
}

/* Before every exposition: what is measured rather than counted. */
static void publish(void *ctx)
{
    struct ridged *r = ctx;
    struct timespec wall, monotonic;
    (void)clock_gettime(CLOCK_REALTIME, &wall);
    (void)clock_gettime(CLOCK_MONOTONIC, &monotonic);
    monitor_publish(r->monitor, nanoseconds(&monotonic), nanoseconds(&wall));
}

static bool make_metrics(struct ridged *r, struct error *err)
{
    const struct observed_config observed = {.shards = request_shards(r),
                                             .window_rows = r->config.quality_window,
                                             .window_ns = r->config.quality_max_age_s * SECOND_NS,
                                             .drift_ns = r->config.drift_window_s * SECOND_NS,
                                             .min_samples = r->config.quality_min_samples};
    struct telemetry_labels labels = {r->config.user_id, r->config.space, RIDGED_VERSION,
                                      RIDGED_REVISION};
    r->metrics = metrics_new(metric_shards(r));
    if (r->metrics != NULL) {
        r->process = process_metrics_new(r->metrics);
        r->telemetry = telemetry_new(r->metrics, &labels);
    }
    if (r->telemetry != NULL)
        r->registry =
            registry_new(r->telemetry, r->config.model_dir, r->config.model_name, &observed);
    return (r->process != NULL && r->registry != NULL) ||
           error_set(err, ERR_NO_MEMORY, "metrics: out of memory");
}

static bool make_monitor(struct ridged *r, struct error *err)
{
    (void)gethostname(r->host_name, sizeof r->host_name - 1);
    const struct monitor_config config = {
        .shards = request_shards(r),
        .journal_shard = metric_shards(r) - 1,
        .predictions = r->config.feedback_predictions,
        .folder = r->config.feedback_dir,
        .name = r->config.feedback_name != NULL ? r->config.feedback_name : r->host_name,
        .file_bytes = r->config.feedback_file_bytes,
        .total_bytes = r->config.feedback_total_bytes,
        .registry = r->registry,
        .telemetry = r->telemetry,
        .log = r->log};
    const char *token_file = r->config.feedback_token_file;
    if (token_file != NULL && (r->feedback_token = token_new(token_file, err)) == NULL)
        return false;
    r->monitor = monitor_new(&config, err);
    if (r->monitor == NULL)
        return false;
    metrics_on_scrape(r->metrics, publish, r);
    return true;
}

static bool make_api(struct ridged *r, struct error *err)
{
    struct api_config config = {.registry = r->registry,
                                .monitor = r->monitor,
                                .feedback_token = r->feedback_token,
                                .feedback_durable = r->config.feedback_durable,
                                .telemetry = r->telemetry,
                                .metrics = r->metrics,
                                .log = r->log,
                                .access_log = r->config.access_log,
                                .ui = r->config.ui,
                                .max_rows = r->config.max_rows,
                                .memory_budget_bytes = r->config.memory_budget_bytes,
                                .shards = request_shards(r)};
    r->api = api_new(&config, err);
    r->predict = (struct serve){r->api, API_EVERYTHING};
    r->observe = (struct serve){r->api, API_OBSERVER};
    return r->api != NULL;
}

static struct http_config http_settings(struct ridged *r)
{
    struct http_limits limits = http_default_limits();
    limits.body_bytes = r->config.max_body_bytes;
    limits.connections = r->config.max_connections;
    limits.request_ms = r->config.request_timeout_s * 1000;
    limits.idle_ms = r->config.keep_alive_s * 1000;
    return (struct http_config){.host = r->config.host, .limits = limits};
}

static bool start_observer(struct ridged *r, struct error *err)
{
    struct http_config http = http_settings(r);
    http.port = r->config.metrics_port;
    http.workers = 1;
    http.first_shard = r->config.workers;
    http.limits.body_bytes = OBSERVER_BODY_BYTES;
    if (http.limits.connections > OBSERVER_CONNECTIONS)
        http.limits.connections = OBSERVER_CONNECTIONS;
    http.handler = serve_handler(&r->observe);
    r->observer = http_start(&http, err);
    return r->observer != NULL;
}

static bool start_server(struct ridged *r, struct error *err)
{
    struct http_config http = http_settings(r);
    http.port = r->config.http_port;
    http.workers = r->config.workers;
    http.handler = serve_handler(&r->predict);
    r->server = http_start(&http, err);
    return r->server != NULL;
}

static void log_model(const struct ridged *r, bool swapped)
{
    const struct served *served = registry_current(r->registry);
    log_event(r->log, LOG_INFO, swapped ? "model_loaded" : "model_unchanged",
              LOG_TEXT("model", served->name), LOG_TEXT("version", model_version(served->model)),
              LOG_TEXT("sha256", model_sha256(served->model)));
}

static bool load_model(struct ridged *r, struct error *err)
{
    bool swapped;
    if (!registry_load(r->registry, &swapped, err))
        return false;
    log_model(r, swapped);
    return true;
}

/* A further artifact, or the one before goes on being served. */
static void reload_model(struct ridged *r)
{
    struct error err = {0};
    bool swapped, ok = registry_load(r->registry, &swapped, &err);
    telemetry_reload(r->telemetry, ok);
    if (ok)
        log_model(r, swapped);
    else
        log_event(r->log, LOG_ERROR, "model_reload_failed", LOG_TEXT("error", err.message));
}

/* The observer listens before the model is loaded, so that a probe sees "not ready" and not a refused
 * connection; the workers after, because KServe's default probe is a bare connect to their port. */
static bool start(struct ridged *r, struct error *err)
{
    if (!make_metrics(r, err) || !make_monitor(r, err) || !make_api(r, err) ||
        !start_observer(r, err) || !load_model(r, err) ||
        !monitor_open(r->monitor, registry_current(r->registry), err))
        return false;
    api_set_lifecycle(r->api, API_READY); /* before the first connection can ask */
    return start_server(r, err);
}

/* ---- stop ---- */

/* Readiness off, a pause in which clients move away, then no new connections, then the rest. */
static void drain(struct ridged *r, const sigset_t *signals)
{
    struct timespec pause = {.tv_sec = r->config.drain_delay_s};
    api_set_lifecycle(r->api, API_DRAINING);
    http_close_connections(r->server);
    log_event(r->log, LOG_INFO, "draining", LOG_NUMBER("delay_seconds", r->config.drain_delay_s));
    /* A second signal means: do not wait. */
    while (sigtimedwait(signals, NULL, &pause) == -1 && errno == EINTR)
        ;
    bool clean = http_drain(r->server, r->config.drain_timeout_s * 1000);
    log_event(r->log, clean ? LOG_INFO : LOG_WARNING, clean ? "drained" : "drain_timed_out",
              LOG_NUMBER("timeout_seconds", r->config.drain_timeout_s));
}

static void release(struct ridged *r)
{
    http_stop(r->server);
    http_stop(r->observer);
    api_free(r->api);
    monitor_free(r->monitor);
    token_free(r->feedback_token);
    registry_free(r->registry);
    telemetry_free(r->telemetry);
    process_metrics_free(r->process);
    metrics_free(r->metrics);
    log_stop(r->log);
}

/* ---- the program ---- */

/* Kubernetes shows this file as the reason a container ended. */
static void leave_termination_message(const struct config *config, const char *message)
{
    const char *path = config->termination_log;
    int fd = path != NULL ? open(path, O_WRONLY | O_TRUNC | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    if (write(fd, message, strlen(message)) < 0)
        (void)fprintf(stderr, "ridged: %s: %s\n", path, strerror(errno));
    (void)close(fd);
}

/* Secrets are rotated under a running program. */
static void refresh_token(const struct ridged *r)
{
    struct error err = {0};
    if (r->feedback_token != NULL && !token_refresh(r->feedback_token, &err))
        log_event(r->log, LOG_ERROR, "token_refresh_failed", LOG_TEXT("error", err.message));
}

/* Main is the loader: between signals it looks for a further artifact. Looking beats being told:
 * volumes that change on another machine send no notice. */
static void wait_for_end(struct ridged *r, const sigset_t *signals)
{
    const unsigned watch_s = r->config.watch_interval_s;
    int got = 0;
    while (got != SIGTERM && got != SIGINT) {
        bool awaits = monitor_awaits_journal(r->monitor);
        const struct timespec interval = {.tv_sec = awaits ? JOURNAL_TRY_S : watch_s};
        got = interval.tv_sec > 0 ? sigtimedwait(signals, NULL, &interval)
                                  : sigwaitinfo(signals, NULL);
        bool due = got == -1 && errno == EAGAIN;
        if (due && awaits)
            monitor_try_journal(r->monitor, registry_current(r->registry));
        if (got == SIGHUP || (due && watch_s > 0 && registry_changed(r->registry)))
            reload_model(r);
        if (got == SIGHUP || got == -1)
            refresh_token(r);
    }
}

static int run(struct ridged *r)
{
    struct error err = {0};
    sigset_t signals;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, &signals, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN); /* a file at its limit is an error of write(2) */
    /* Left alone malloc learns to keep what was freed, up to 64 MB for each thread beyond the budget. */
    (void)mallopt(M_MMAP_THRESHOLD, RETURNED_BYTES);
    r->log = log_start(STDERR_FILENO, r->config.log_level, &err);
    warn_of_unknown_options(r);
    if (r->log == NULL)
        (void)fprintf(stderr, "ridged: %s\n", err.message);
    if (r->log == NULL || !start(r, &err)) {
        log_event(r->log, LOG_ERROR, "start_failed", LOG_TEXT("error", err.message));
        leave_termination_message(&r->config, err.message);
        release(r);
        return 1;
    }
    log_event(r->log, LOG_INFO, "ready", LOG_NUMBER("http_port", http_port(r->server)),
              LOG_NUMBER("metrics_port", http_port(r->observer)),
              LOG_NUMBER("workers", r->config.workers));
    wait_for_end(r, &signals);
    drain(r, &signals);
    release(r);
    return 0;
}

int main(int argc, char **argv)
{
    struct ridged r = {0};
    struct error err = {0};
    if (!config_read(&r.config, argc, argv, &err)) {
        (void)fprintf(stderr, "ridged: %s\n", err.message);
        leave_termination_message(&r.config, err.message);
        return 2;
    }
    if (r.config.help)
        config_help(stdout);
    else if (r.config.version)
        (void)printf("ridged %s (%s)\n", RIDGED_VERSION, RIDGED_REVISION);
    else
        return run(&r);
    return 0;
}
