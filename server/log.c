/* A ring of fixed-size lines behind one short mutex; the writer thread copies a batch out and writes
 * it without the lock. Callers hold the lock only to copy one finished line. */
#include "server/log.h"

#include "base/number.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 1024, RING_LINES = 1024 };

struct line {
    size_t n;
    char text[LINE_MAX_BYTES];
};

struct log {
    pthread_mutex_t lock;
    pthread_cond_t wake, ended_changed;
    pthread_t thread;
    int fd;
    enum log_level least;
    bool stopping, ended;
    uint64_t dropped, dropped_reported;
    size_t head, count; /* ring[head] is the oldest of count lines */
    struct line ring[RING_LINES];
};

static const char *const level_names[] = {"debug", "info", "warning", "error"};

/* ---- formatting ---- */

static bool put(struct line *line, const char *text, size_t n)
{
    /* Three bytes are kept back for the closing quote, brace and LF. */
    if (n > sizeof line->text - 3 - line->n)
        return false;
    memcpy(line->text + line->n, text, n);
    line->n += n;
    return true;
}

static bool put_text(struct line *line, const char *text)
{
    return put(line, text, strlen(text));
}

static bool put_escaped(struct line *line, struct span text)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        char escape[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
        /* Bytes above ASCII may be invalid UTF-8 from a client; \u00xx keeps the line valid JSON. */
        bool plain = c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
        if (!(plain ? put(line, text.p + i, 1) : put(line, escape, sizeof escape)))
            return false;
    }
    return true;
}

static bool put_value(struct line *line, const struct log_field *field)
{
    char number[NUMBER_TEXT_MAX];
    switch (field->kind) {
    case LOG_FIELD_UNSIGNED:
        return put(line, number, number_write_u64(number, field->number));
    case LOG_FIELD_REAL:
        return put(line, number, number_write(number, field->real));
    case LOG_FIELD_TEXT:
        break;
    }
    return put(line, "\"", 1) && put_escaped(line, field->text) && put(line, "\"", 1);
}

static bool put_field(struct line *line, const struct log_field *field)
{
    size_t before = line->n;
    if (put_text(line, ",\"") && put_text(line, field->name) && put_text(line, "\":") &&
        put_value(line, field))
        return true;
    line->n = before;
    return false;
}

static void put_time(struct line *line)
{
    char text[40];
    struct timespec now;
    struct tm utc;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &utc);
    size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S.", &utc);
    for (long unit = 100000, us = now.tv_nsec / 1000; unit > 0; us %= unit, unit /= 10)
        text[n++] = (char)('0' + us / unit);
    text[n++] = 'Z';
    (void)put(line, text, n);
}

static void format_line(struct line *line, enum log_level level, const char *event,
                        const struct log_field *fields, size_t count)
{
    line->n = 0;
    (void)put_text(line, "{\"time\":\"");
    put_time(line);
    (void)put_text(line, "\",\"level\":\"");
    (void)put_text(line, level_names[level]);
    (void)put_text(line, "\",\"event\":\"");
    (void)put_text(line, event);
    (void)put_text(line, "\"");
    for (size_t i = 0; i < count && put_field(line, &fields[i]); i++)
        ;
    line->text[line->n++] = '}';
    line->text[line->n++] = '\n';
}

/* ---- the ring ---- */

static bool enqueue_locked(struct log *log, const struct line *line)
{
    if (log->count == RING_LINES)
        return false;
    struct line *slot = &log->ring[(log->head + log->count) % RING_LINES];
    slot->n = line->n;
    memcpy(slot->text, line->text, line->n);
    log->count++;
    return true;
}

static void report_drops_locked(struct log *log)
{
    struct line line;
    struct log_field lost = LOG_NUMBER("lines", log->dropped - log->dropped_reported);
    if (lost.number == 0)
        return;
    format_line(&line, LOG_WARNING, "log_lines_dropped", &lost, 1);
    if (enqueue_locked(log, &line))
        log->dropped_reported = log->dropped;
}

void log_write(struct log *log, enum log_level level, const char *event,
               const struct log_field *fields, size_t count)
{
    struct line line;
    int saved = errno;
    if (log == NULL || level < log->least)
        return;
    format_line(&line, level, event, fields, count);
    (void)pthread_mutex_lock(&log->lock);
    if (!enqueue_locked(log, &line))
        log->dropped++;
    (void)pthread_cond_signal(&log->wake);
    (void)pthread_mutex_unlock(&log->lock);
    errno = saved;
}

static void write_all(int fd, const char *text, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, text, n);
        if (done < 0 && errno != EINTR)
            return; /* a closed sink loses lines, never the server */
        if (done > 0) {
            text += done;
            n -= (size_t)done;
        }
    }
}

/* Moves up to a buffer of lines out of the ring; returns the bytes. */
static size_t take_locked(struct log *log, char *buffer, size_t capacity)
{
    size_t n = 0;
    while (log->count > 0 && n + log->ring[log->head].n <= capacity) {
        const struct line *line = &log->ring[log->head];
        memcpy(buffer + n, line->text, line->n);
        n += line->n;
        log->head = (log->head + 1) % RING_LINES;
        log->count--;
    }
    report_drops_locked(log);
    return n;
}

static void *write_lines(void *arg)
{
    struct log *log = arg;
    char buffer[16 * LINE_MAX_BYTES];
    (void)pthread_mutex_lock(&log->lock);
    for (;;) {
        while (log->count == 0 && !log->stopping)
            (void)pthread_cond_wait(&log->wake, &log->lock);
        size_t n = take_locked(log, buffer, sizeof buffer);
        if (n == 0)
            break;
        (void)pthread_mutex_unlock(&log->lock);
        write_all(log->fd, buffer, n);
        (void)pthread_mutex_lock(&log->lock);
    }
    log->ended = true;
    (void)pthread_cond_signal(&log->ended_changed);
    (void)pthread_mutex_unlock(&log->lock);
    return NULL;
}

/* ---- life ---- */

/* A condition whose timed waits do not follow a clock that is set. */
static void init_monotonic(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(condition, &attributes);
    (void)pthread_condattr_destroy(&attributes);
}

struct log *log_start(int fd, enum log_level least, struct error *err)
{
    struct log *log = calloc(1, sizeof *log);
    if (log == NULL) {
        (void)error_set(err, ERR_NO_MEMORY, "log: out of memory");
        return NULL;
    }
    log->fd = fd;
    log->least = least;
    (void)pthread_mutex_init(&log->lock, NULL);
    (void)pthread_cond_init(&log->wake, NULL);
    init_monotonic(&log->ended_changed);
    int rc = pthread_create(&log->thread, NULL, write_lines, log);
    if (rc != 0) {
        free(log);
        (void)error_set(err, ERR_INTERNAL, "log: no thread: %s", strerror(rc));
        return NULL;
    }
    return log;
}

void log_stop(struct log *log)
{
    struct timespec limit;
    if (log == NULL)
        return;
    (void)pthread_mutex_lock(&log->lock);
    log->stopping = true;
    (void)pthread_cond_signal(&log->wake);
    (void)clock_gettime(CLOCK_MONOTONIC, &limit);
    limit.tv_sec += 1;
    while (!log->ended &&
           pthread_cond_timedwait(&log->ended_changed, &log->lock, &limit) != ETIMEDOUT)
        ;
    bool ended = log->ended;
    (void)pthread_mutex_unlock(&log->lock);
    if (!ended)
        return; /* the sink blocks: the thread keeps the log, the process is about to end */
    (void)pthread_join(log->thread, NULL);
    (void)pthread_cond_destroy(&log->ended_changed);
    (void)pthread_cond_destroy(&log->wake);
    (void)pthread_mutex_destroy(&log->lock);
    free(log);
}

uint64_t log_dropped(struct log *log)
{
    (void)pthread_mutex_lock(&log->lock);
    uint64_t dropped = log->dropped;
    (void)pthread_mutex_unlock(&log->lock);
    return dropped;
}

bool log_level_parse(const char *text, enum log_level *level)
{
    for (size_t i = 0; i < sizeof level_names / sizeof *level_names; i++)
        if (strcasecmp(text, level_names[i]) == 0) {
            *level = (enum log_level)i;
            return true;
        }
    return false;
}
