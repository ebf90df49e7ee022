/* ridge-relay: reads its configuration, starts the relay, waits for a signal, takes it down. */
#include "server/relay/relay.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifndef RIDGED_VERSION
#define RIDGED_VERSION "unknown"
#endif
#ifndef RIDGED_REVISION
#define RIDGED_REVISION "unknown"
#endif

static void wait_for_end(const sigset_t *signals)
{
    int got = 0;
    while (sigwait(signals, &got) != 0 || got == SIGHUP)
        ; /* tokens are read again by themselves; a SIGHUP means no harm */
}

static int run(const struct relay_config *config)
{
    static const struct relay_build build = {RIDGED_VERSION, RIDGED_REVISION};
    struct error err = {0};
    sigset_t signals;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, &signals, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    struct log *log = log_start(STDERR_FILENO, config->log_level, &err);
    struct relay *relay = log == NULL ? NULL : relay_start(config, &build, log, NULL, &err);
    if (relay == NULL) {
        log_event(log, LOG_ERROR, "start_failed", LOG_TEXT("error", err.message));
        log_stop(log);
        return 1;
    }
    log_event(log, LOG_INFO, "ready", LOG_NUMBER("http_port", relay_port(relay)));
    wait_for_end(&signals);
    log_event(log, LOG_INFO, "stopping", LOG_NUMBER("http_port", relay_port(relay)));
    relay_stop(relay);
    log_stop(log);
    return 0;
}

int main(int argc, char **argv)
{
    struct relay_config config;
    struct error err = {0};
    if (!relay_config_read(&config, argc, argv, &err)) {
        (void)fprintf(stderr, "ridge-relay: %s\n", err.message);
        return 2;
    }
    if (config.help)
        relay_config_help(stdout);
    else if (config.version)
        (void)printf("ridge-relay %s (%s)\n", RIDGED_VERSION, RIDGED_REVISION);
    else
        return run(&config);
    return 0;
}
