/* relay_bench.h - a folder with everything ridge-relay needs, a mock GitHub, and alerts to send.
 *
 * Waits of the relay are short: a poll every 20 ms, 50 ms for the list.
 */
#ifndef TESTS_SUPPORT_RELAY_BENCH_H
#define TESTS_SUPPORT_RELAY_BENCH_H

#include "tests/support/mock_github.h"
#include "tests/support/process.h"

enum { RELAY_BENCH_ARGS_MAX = 40 };

struct relay_bench {
    char folder[512], journal[600], users[600], webhook[600], override[600], token[600];
    char options[6][700], port_option[64];
    struct mock_github *mock;
    struct process *relay;
    unsigned port;
};

/* The folder and the mock; nothing runs yet. */
void relay_bench_open(struct relay_bench *bench, const int *script);
void relay_bench_close(struct relay_bench *bench);

/* Starts `program` (a NULL-terminated list of first words) with the bench's options and `more`
 * (NULL-terminated, may be NULL) and waits until it is ready. */
void relay_bench_start(struct relay_bench *bench, const char *const *program,
                       const char *const *more);
/* The same, without waiting. */
void relay_bench_spawn(struct relay_bench *bench, const char *const *program,
                       const char *const *more);
/* Reads the port from the line that says it is ready. */
void relay_bench_ready(struct relay_bench *bench);
/* SIGTERM, and it exits 0. */
void relay_bench_end(struct relay_bench *bench);

void relay_bench_put(const char *path, const char *text);

/* Sends a notification with one alert of the user's model "california-housing"; the status. */
int relay_bench_alert(const struct relay_bench *bench, const char *status, const char *user);

/* Waits until the series has that value. */
void relay_bench_expect(const struct relay_bench *bench, const char *series, double value);
double relay_bench_metric(const struct relay_bench *bench, const char *series);

/* One alert as Alertmanager writes it, into out(room). */
const char *relay_bench_body(char *out, size_t room, const char *status, const char *user);

#endif
