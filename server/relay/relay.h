/* relay.h - the whole of ridge-relay: ledger, GitHub thread and HTTP server, put together.
 *
 * Threads: relay_start, relay_port and relay_stop from main; between them run the log's, one HTTP worker
 *          and the GitHub thread.
 * Memory:  released with relay_stop; config, log and probe are borrowed and must outlive it.
 * Errors:  of what cannot be read or opened; the message names it.
 */
#ifndef SERVER_RELAY_RELAY_H
#define SERVER_RELAY_RELAY_H

#include "server/relay/config.h"
#include "server/relay/probe.h"

struct relay_build {
    const char *version, *revision;
};

struct relay;

/* Reads what a crash left, then listens. log and probe may be NULL. */
struct relay *relay_start(const struct relay_config *config, const struct relay_build *build,
                          struct log *log, const struct relay_probe *probe,
                          struct error *err) MUST_CHECK;

/* The port actually bound. */
unsigned relay_port(const struct relay *relay);

/* Answers what has arrived, lets the request to GitHub end, frees everything; NULL is allowed. */
void relay_stop(struct relay *relay);

#endif
