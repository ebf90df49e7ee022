/* config.h - what ridged is told: flags, a closed list of environment names, defaults.
 *
 * Idea:    flag > environment > default. KServe concatenates argument lists, so the last of a
 *          repeated option wins and an unknown option is reported once and skipped with its value.
 * Does not: read files or open anything.
 * Threads: filled by main before any other thread runs; const after.
 * Memory:  texts point into argv or the environment.
 * Errors:  ERR_INVALID "--http_port: expected a port from 0 to 65535, got \"x\"".
 */
#ifndef SERVER_PREDICTOR_CONFIG_H
#define SERVER_PREDICTOR_CONFIG_H

#include "base/error.h"
#include "server/log.h"

#include <stddef.h>
#include <stdio.h>

enum { CONFIG_UNKNOWN_MAX = 32 };

struct config {
    const char *model_dir;
    const char *model_name; /* NULL: the artifact's */
    const char *host;
    const char *termination_log; /* NULL while even the defaults are not read */
    unsigned http_port, metrics_port, workers;
    const char *user_id, *space; /* labels user_id and namespace; "" if not told */
    size_t max_body_bytes, max_rows, memory_budget_bytes, max_connections;
    unsigned request_timeout_s, keep_alive_s, drain_delay_s, drain_timeout_s, watch_interval_s;
    const char *feedback_dir, *feedback_name, *feedback_token_file; /* NULL: none */
    bool feedback_durable;
    size_t feedback_file_bytes, feedback_total_bytes, feedback_predictions;
    size_t quality_window, quality_min_samples;
    unsigned quality_max_age_s, drift_window_s;
    bool access_log, ui;
    enum log_level log_level;
    bool help, version;                      /* print and exit 0 */
    const char *unknown[CONFIG_UNKNOWN_MAX]; /* options skipped, for one warning each */
    size_t unknown_count;
};

/* Reads argv (ends in NULL) and the environment into *config. */
bool config_read(struct config *config, int argc, char *const *argv, struct error *err) MUST_CHECK;

/* Every option with its default and environment name, one line each. */
void config_help(FILE *out);

#endif
