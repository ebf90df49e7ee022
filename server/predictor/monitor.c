/* A model is known by the number the registry gave it, which also tells its version's name for a while: a
 * true value for a version that has just been replaced is still journaled. */
#define _GNU_SOURCE /* getrandom */
#include "server/predictor/monitor.h"

#include "server/predictor/ids.h"
#include "server/predictor/journal_reader.h"
#include "server/predictor/observed.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { PIECE_BYTES = 64 * 1024 };

struct monitor {
    struct monitor_config config;
    size_t features;
    struct ids *ids;                   /* NULL: none are kept */
    _Atomic(struct journal *) journal; /* NULL: there is none, or not yet */
    atomic_bool awaits;                /* the journal, which another process has */
    atomic_uint streams;               /* open */
};

struct monitor *monitor_new(const struct monitor_config *config, struct error *err)
{
    struct monitor *m = calloc(1, sizeof *m);
    if (m == NULL) {
        (void)error_set(err, ERR_NO_MEMORY, "feedback: out of memory");
        return NULL;
    }
    m->config = *config;
    return m;
}

void monitor_free(struct monitor *m)
{
    if (m == NULL)
        return;
    journal_stop(m->journal);
    ids_free(m->ids);
    free(m);
}

/* ---- opening ---- */

static bool make_ids(struct monitor *m, struct error *err)
{
    struct ids_config config = {
        .shards = m->config.shards, .predictions = m->config.predictions, .features = m->features};
    if (m->config.predictions == 0)
        return true;
    if (getrandom(config.secret, sizeof config.secret, 0) != sizeof config.secret)
        return error_set(err, ERR_INTERNAL, "feedback: no randomness for the ids' secret");
    m->ids = ids_new(&config, err);
    return m->ids != NULL;
}

/* On the journal's thread. */
static void synced(void *ctx, uint64_t nanoseconds)
{
    const struct monitor *m = ctx;
    quality_observe_fsync(telemetry_quality_families(m->config.telemetry), m->config.journal_shard,
                          nanoseconds);
}

static void failed(void *ctx, const char *message)
{
    const struct monitor *m = ctx;
    log_event(m->config.log, LOG_ERROR, "journal_failed", LOG_TEXT("error", message));
}

static struct journal *start_journal(struct monitor *m, const struct model *model,
                                     struct error *err)
{
    const char **names = calloc(m->features, sizeof *names);
    if (names == NULL) {
        (void)error_set(err, ERR_NO_MEMORY, "out of memory");
        return NULL;
    }
    for (size_t j = 0; j < m->features; j++)
        names[j] = model_feature_name(model, j);
    const struct journal_config config = {.folder = m->config.folder,
                                          .name = m->config.name,
                                          .schema = {names, m->features, model_target_name(model)},
                                          .file_bytes = m->config.file_bytes,
                                          .total_bytes = m->config.total_bytes,
                                          .retry_ms = 1000,
                                          .synced = synced,
                                          .failed = failed,
                                          .ctx = m};
    struct journal *journal = journal_start(&config, err);
    free(names);
    return journal;
}

/* The rows of this version that the journal holds, oldest first. */
static bool replay(const struct monitor *m, struct journal *journal, const struct served *served,
                   struct error *err)
{
    struct journal_texts texts;
    struct journal_row row;
    struct span line;
    uint64_t rows = 0;
    const char *version = model_version(served->model);
    double *x = calloc(m->features, sizeof *x);
    if (x == NULL)
        return error_set(err, ERR_NO_MEMORY, "out of memory");
    struct journal_reader *reader = journal_reader_new(journal, err);
    bool ok = reader != NULL;
    while (ok && (ok = journal_reader_next(reader, &line, err)) && line.n > 0) {
        struct error unreadable = {0};
        if (!journal_read_line(line, m->features, x, &texts, &row, &unreadable) ||
            row.version.n != strlen(version) || memcmp(row.version.p, version, row.version.n) != 0)
            continue;
        observed_truth(served->observed, row.time_ns, x, row.prediction, row.target);
        rows++;
    }
    journal_reader_free(reader);
    free(x);
    if (ok)
        log_event(m->config.log, LOG_INFO, "journal_replayed", LOG_NUMBER("rows", rows));
    return ok;
}

bool monitor_open(struct monitor *m, const struct served *served, struct error *err)
{
    struct error reason = {0};
    m->features = model_feature_count(served->model);
    if (!make_ids(m, err))
        return false;
    if (m->config.folder == NULL)
        return true;
    m->journal = start_journal(m, served->model, &reason);
    if (m->journal != NULL && replay(m, m->journal, served, &reason))
        return true;
    if (m->journal != NULL || reason.code != ERR_NOT_READY)
        return error_set(err, reason.code, "feedback: %s", reason.message);
    log_event(m->config.log, LOG_WARNING, "journal_awaited", LOG_TEXT("error", reason.message));
    m->awaits = true;
    return true;
}

bool monitor_awaits_journal(const struct monitor *m)
{
    return m->awaits;
}

void monitor_try_journal(struct monitor *m, const struct served *served)
{
    struct error err = {0};
    struct journal *journal = start_journal(m, served->model, &err);
    /* Nobody sees it before the window has its rows: a true value that comes now would count twice. */
    if ((journal == NULL && err.code != ERR_NOT_READY) ||
        (journal != NULL && !replay(m, journal, served, &err)))
        failed(m, err.message);
    m->journal = journal;
    m->awaits = journal == NULL;
}

void monitor_publish(struct monitor *m, uint64_t monotonic_ns, uint64_t wall_ns)
{
    struct journal_stats stats = {.failed = true};
    struct served *served = registry_pin(m->config.registry);
    if (served != NULL)
        observed_publish(served->observed, monotonic_ns, wall_ns,
                         telemetry_quality(served->telemetry));
    served_unpin(served);
    if (m->journal == NULL && !m->awaits)
        return;
    if (m->journal != NULL)
        journal_stats(m->journal, &stats);
    quality_show_journal(telemetry_quality_families(m->config.telemetry), &stats);
}

/* ---- predictions ---- */

void monitor_remember(struct monitor *m, const struct served *served, struct span request,
                      size_t rows, const double *x, const double *y)
{
    size_t kept = rows < MONITOR_REQUEST_ROWS_MAX ? rows : MONITOR_REQUEST_ROWS_MAX;
    if (m->ids != NULL && request.n > 0)
        ids_put(m->ids, request, served->number, kept, x, y);
}

/* ---- true values ---- */

static enum feedback_outcome outcome_of(struct monitor *m, enum ids_answer answer, uint64_t number,
                                        const struct served *served)
{
    char version[SERVED_NAME_MAX + 1];
    switch (answer) {
    case IDS_FOUND:
        return number == served->number                                ? FEEDBACK_ACCEPTED
               : registry_version(m->config.registry, number, version) ? FEEDBACK_OTHER_VERSION
                                                                       : FEEDBACK_LATE;
    case IDS_DUPLICATE:
        return FEEDBACK_DUPLICATE;
    case IDS_LATE:
        return FEEDBACK_LATE;
    case IDS_UNKNOWN:
        break;
    }
    return FEEDBACK_UNKNOWN;
}

void monitor_claim(struct monitor *m, const struct served *served, struct truth *truths,
                   size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct truth *t = &truths[i];
        struct ids_prediction found = {0};
        enum ids_answer answer = m->ids != NULL
                                     ? ids_claim(m->ids, t->id.request, t->id.row, &found, t->x)
                                     : IDS_UNKNOWN;
        t->claimed = answer == IDS_FOUND;
        t->prediction = found.prediction;
        t->model = found.version;
        t->number = found.number;
        t->outcome = outcome_of(m, answer, found.version, served);
    }
}

/* "request" or "request/row" */
static struct span id_text(const struct truth *t, char text[JOURNAL_ID_MAX + 1])
{
    int n = snprintf(text, JOURNAL_ID_MAX + 1, "%.*s", (int)t->id.request.n, t->id.request.p);
    if (t->id.row > 0)
        n += snprintf(text + n, (size_t)(JOURNAL_ID_MAX + 1 - n), "/%zu", t->id.row);
    return (struct span){text, (size_t)n};
}

static bool is_kept(const struct truth *t)
{
    return t->outcome == FEEDBACK_ACCEPTED || t->outcome == FEEDBACK_OTHER_VERSION;
}

bool monitor_append(struct monitor *m, const struct truth *truths, size_t count, uint64_t wall_ns,
                    struct arena *arena, struct journal_ticket *ticket, bool *waits,
                    struct error *err)
{
    struct text {
        char id[JOURNAL_ID_MAX + 1], version[SERVED_NAME_MAX + 1];
    };
    size_t rows = 0;
    *waits = false;
    if (m->awaits)
        return error_set(err, ERR_NOT_READY,
                         "feedback: another process has the journal; nothing was kept, try again");
    if (m->journal == NULL)
        return true;
    struct journal_row *lines = arena_array(arena, count, sizeof *lines);
    struct text *texts = arena_array(arena, count, sizeof *texts);
    if (lines == NULL || texts == NULL)
        return error_set(err, ERR_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < count; i++) {
        const struct truth *t = &truths[i];
        if (!is_kept(t) || !registry_version(m->config.registry, t->model, texts[rows].version))
            continue;
        lines[rows] = (struct journal_row){.time_ns = wall_ns,
                                           .id = id_text(t, texts[rows].id),
                                           .features = t->x,
                                           .prediction = t->prediction,
                                           .target = t->target};
        lines[rows].version = (struct span){texts[rows].version, strlen(texts[rows].version)};
        rows++;
    }
    if (rows == 0)
        return true;
    if (!journal_append(m->journal, lines, rows, arena, ticket, err))
        return false; /* nobody will be told */
    *waits = ticket != NULL;
    return true;
}

void monitor_settle(struct monitor *m, const struct served *served, unsigned shard,
                    const struct truth *truths, size_t count, uint64_t wall_ns, bool kept)
{
    struct quality_series *series = telemetry_quality(served->telemetry);
    for (size_t i = 0; i < count; i++) {
        const struct truth *t = &truths[i];
        if (!kept && t->claimed)
            ids_release(m->ids, t->id.request, t->id.row, t->number);
        if (!kept)
            continue;
        quality_count_feedback(series, shard, t->outcome);
        if (t->outcome == FEEDBACK_ACCEPTED)
            observed_truth(served->observed, wall_ns, t->x, t->prediction, t->target);
    }
}

/* ---- the journal as CSV ---- */

struct journal_stream {
    struct response_stream stream;
    struct monitor *monitor;
    struct journal_reader *reader;
    struct span pending; /* a line that did not fit any more, and at first the header */
    bool ended;
    size_t n;
    char piece[PIECE_BYTES];
};

/* As many lines as fit; one that is longer than a piece goes alone. */
static enum stream_state next_lines(struct response_stream *stream, struct span *piece)
{
    struct journal_stream *s = (struct journal_stream *)(void *)stream; /* its first member */
    struct error err = {0};
    s->n = 0;
    while (!s->ended && s->pending.n <= sizeof s->piece - s->n) {
        if (s->pending.n > 0)
            memcpy(s->piece + s->n, s->pending.p, s->pending.n);
        s->n += s->pending.n;
        if (!journal_reader_next(s->reader, &s->pending, &err))
            return STREAM_FAILED;
        s->ended = s->pending.n == 0;
    }
    if (s->n == 0 && s->pending.n > 0) {
        *piece = s->pending;
        s->pending.n = 0;
        return STREAM_PIECE;
    }
    *piece = (struct span){s->piece, s->n};
    return s->n > 0 ? STREAM_PIECE : STREAM_END;
}

static void end_lines(struct response_stream *stream)
{
    struct journal_stream *s = (struct journal_stream *)(void *)stream;
    journal_reader_free(s->reader);
    atomic_fetch_sub(&s->monitor->streams, 1);
    free(s);
}

struct response_stream *monitor_stream(struct monitor *m, struct span since, struct error *err)
{
    if (m->journal == NULL) {
        (void)(m->awaits ? error_set(err, ERR_NOT_READY,
                                     "feedback: another process has the journal; try again")
                         : error_set(err, ERR_UNSUPPORTED,
                                     "feedback: no journal is kept; see --feedback_dir"));
        return NULL;
    }
    struct journal_stream *s = NULL;
    bool room = atomic_fetch_add(&m->streams, 1) < MONITOR_STREAMS_MAX;
    if (!room || (s = calloc(1, sizeof *s)) == NULL) {
        atomic_fetch_sub(&m->streams, 1);
        (void)(room ? error_set(err, ERR_NO_MEMORY, "out of memory")
                    : error_set(err, ERR_OVERLOADED,
                                "feedback: expected at most %d readers of the journal at once",
                                MONITOR_STREAMS_MAX));
        return NULL;
    }
    s->stream = (struct response_stream){next_lines, end_lines};
    s->monitor = m;
    s->pending = journal_header_line(m->journal);
    s->reader = journal_reader_new(m->journal, err);
    if (s->reader != NULL && (since.n == 0 || journal_reader_since(s->reader, since, err)))
        return &s->stream;
    end_lines(&s->stream);
    return NULL;
}
