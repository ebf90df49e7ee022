/* log.h - one JSON line per event, written by a thread of its own.
 *
 * Idea:    a line is formatted by the caller into a bounded ring and written to the stream by the
 *          log's thread, so that no worker ever waits for a slow or blocked sink; when the ring is
 *          full lines are dropped, and the drop is counted and reported when there is room again.
 * Does not: rotate, colour, or log bodies, tokens and feature values.
 * Threads: log_event from any thread; log_start and log_stop from main.
 * Memory:  fields are borrowed for the call; the log is released by log_stop.
 * Errors:  log_start fails with ERR_NO_MEMORY or ERR_INTERNAL; log_event cannot fail.
 */
#ifndef SERVER_LOG_H
#define SERVER_LOG_H

#include "base/arena.h"
#include "base/error.h"

#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };

/* One "name": value of a line. Made by the three macros below. */
struct log_field {
    const char *name;
    enum { LOG_FIELD_TEXT, LOG_FIELD_UNSIGNED, LOG_FIELD_REAL } kind;
    struct span text;
    uint64_t number;
    double real;
};
#define LOG_TEXT(name, value)                                                                      \
    ((struct log_field){(name), LOG_FIELD_TEXT, {(value), strlen(value)}, 0, 0})
#define LOG_SPAN(name, value) ((struct log_field){(name), LOG_FIELD_TEXT, (value), 0, 0})
#define LOG_NUMBER(name, value)                                                                    \
    ((struct log_field){(name), LOG_FIELD_UNSIGNED, {NULL, 0}, (uint64_t)(value), 0})
#define LOG_REAL(name, value) ((struct log_field){(name), LOG_FIELD_REAL, {NULL, 0}, 0, (value)})

struct log;

/* Lines below `least` are discarded; lines go to fd, which is borrowed. */
struct log *log_start(int fd, enum log_level least, struct error *err) MUST_CHECK;

/* Writes what is queued, waiting at most a second for the sink, and frees the log; NULL is allowed. */
void log_stop(struct log *log);

/* {"time":"<RFC 3339, UTC, microseconds>","level":...,"event":event, fields...}. A line that is too
 * long is cut after the last field that fits. log may be NULL: then nothing happens. */
#define log_event(log, level, event, ...)                                                          \
    log_write((log), (level), (event), (const struct log_field[]){__VA_ARGS__},                    \
              sizeof((const struct log_field[]){__VA_ARGS__}) / sizeof(struct log_field))
void log_write(struct log *log, enum log_level level, const char *event,
               const struct log_field *fields, size_t count);

/* Lines dropped because the ring was full. */
uint64_t log_dropped(struct log *log);

/* "debug", "info", "warning", "error" in any case; false for anything else. */
bool log_level_parse(const char *text, enum log_level *level) MUST_CHECK;

#endif
