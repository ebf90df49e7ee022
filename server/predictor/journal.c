#include "server/predictor/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { RETRY_DOUBLINGS = 6, BATCH_BYTES_MAX = 1 << 30 };

struct batch {
    char *bytes; /* (batch_bytes) */
    size_t n;
    uint64_t rows;
    struct journal_ticket *first, **last;
};

struct journal {
    struct journal_config config;
    struct journal_place place;
    int claim;           /* of the name; -1 none */
    struct arena *arena; /* holds the header */
    pthread_t thread;
    pthread_mutex_t lock; /* guards all below but fd and the batch being written */
    pthread_cond_t wake;
    bool stopping;
    struct batch pending;
    struct journal_stats stats;
    uint64_t retry_at_ns;                         /* while failed: no try before */
    unsigned failures;                            /* in a row */
    struct journal_file files[JOURNAL_FILES_MAX]; /* the last one is being written unless failed */
    size_t count;
    uint64_t next_sequence; /* the thread's, as are: */
    int fd;                 /* of the last file; -1 after a failure */
    struct batch writing;
};

static uint64_t monotonic_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* ---- appending ---- */

/* The rows as lines, in the arena. */
static bool format_rows(const struct journal *journal, const struct journal_row *rows, size_t count,
                        struct arena *arena, struct span *out, struct error *err)
{
    size_t features = journal->place.feature_count, n = 0, capacity = 0;
    char *text = NULL;
    for (size_t i = 0; i < count; i++) {
        if (!journal_check_row(&rows[i], features, err)) {
            error_prefix(err, "rows[%zu]", i);
            return false;
        }
        if (capacity - n < journal_line_max(features)) {
            size_t more = 2 * capacity + journal_line_max(features);
            text = arena_grow(arena, text, capacity, more);
            if (text == NULL)
                return error_set(err, ERR_NO_MEMORY, "journal: no memory for %zu rows", count);
            capacity = more;
        }
        n += journal_write_line(text + n, &rows[i], features);
        if (n > journal->config.batch_bytes)
            return error_set(err, ERR_TOO_LARGE, "journal: expected rows of at most %zu bytes",
                             journal->config.batch_bytes);
    }
    *out = (struct span){text, n};
    return true;
}

static bool admit_locked(const struct journal *journal, size_t bytes, struct error *err)
{
    if (journal->stopping)
        return error_set(err, ERR_NOT_READY, "journal: the server is stopping");
    if (journal->stats.failed && monotonic_ns() < journal->retry_at_ns)
        return error_set(err, ERR_NOT_READY, "journal: cannot be written at the moment");
    if (bytes > journal->config.batch_bytes - journal->pending.n)
        return error_set(err, ERR_OVERLOADED, "journal: too many rows are waiting to be written");
    return true;
}

bool journal_append(struct journal *journal, const struct journal_row *rows, size_t count,
                    struct arena *arena, struct journal_ticket *ticket, struct error *err)
{
    struct span text;
    if (!format_rows(journal, rows, count, arena, &text, err))
        return false;
    (void)pthread_mutex_lock(&journal->lock);
    bool ok = admit_locked(journal, text.n, err);
    if (ok) {
        struct batch *batch = &journal->pending;
        if (text.n > 0)
            memcpy(batch->bytes + batch->n, text.p, text.n);
        batch->n += text.n;
        batch->rows += count;
        if (ticket != NULL) {
            ticket->next = NULL;
            *batch->last = ticket;
            batch->last = &ticket->next;
        }
        (void)pthread_cond_signal(&journal->wake);
    }
    (void)pthread_mutex_unlock(&journal->lock);
    return ok;
}

/* ---- the thread's files ---- */

/* Removes the oldest files while there are too many or they hold too much. */
static void remove_old_files(struct journal *journal)
{
    for (;;) {
        (void)pthread_mutex_lock(&journal->lock);
        struct journal_file oldest = journal->files[0];
        bool remove = journal->count > 1 && (journal->stats.bytes > journal->config.total_bytes ||
                                             journal->count == JOURNAL_FILES_MAX);
        if (remove) {
            journal->stats.bytes -= oldest.bytes;
            journal->count--;
            memmove(journal->files, journal->files + 1, journal->count * sizeof oldest);
        }
        (void)pthread_mutex_unlock(&journal->lock);
        if (!remove)
            return;
        journal_file_remove(&journal->place, oldest.sequence);
    }
}

/* Makes the next file the one that is written. */
static bool begin_file(struct journal *journal, struct error *err)
{
    struct journal_file file = {journal->next_sequence, 0};
    int fd;
    remove_old_files(journal); /* so that there is room in the list */
    if (file.sequence > JOURNAL_SEQUENCE_MAX)
        return error_set(err, ERR_INTERNAL, "journal: all file numbers are used up");
    journal
        ->next_sequence++; /* after a failure, too: a name left behind must not stand in the way */
    if (!journal_file_create(&journal->place, file.sequence, &fd, &file.bytes, err))
        return false;
    if (journal->fd >= 0)
        (void)close(journal->fd);
    journal->fd = fd;
    (void)pthread_mutex_lock(&journal->lock);
    journal->files[journal->count++] = file;
    journal->stats.bytes += file.bytes;
    (void)pthread_mutex_unlock(&journal->lock);
    return true;
}

static bool file_is_full(const struct journal *journal, size_t more)
{
    uint64_t bytes = journal->files[journal->count - 1].bytes;
    return bytes > journal->place.header.n && bytes + more > journal->config.file_bytes;
}

/* The batch on disk, in a file with room for it. */
static bool write_batch(struct journal *journal, struct error *err)
{
    const struct batch *batch = &journal->writing;
    if ((journal->fd < 0 || file_is_full(journal, batch->n)) && !begin_file(journal, err))
        return false;
    if (!journal_write_all(&journal->place.io, journal->fd, batch->bytes, batch->n))
        return error_set(err, ERR_INTERNAL, "journal: cannot write: %s", strerror(errno));
    if (journal->place.io.sync(journal->fd) != 0)
        return error_set(err, ERR_INTERNAL, "journal: cannot fsync: %s", strerror(errno));
    return true;
}

/* ---- the thread ---- */

static void note_success(struct journal *journal)
{
    (void)pthread_mutex_lock(&journal->lock);
    journal->files[journal->count - 1].bytes += journal->writing.n;
    journal->stats.bytes += journal->writing.n;
    journal->stats.rows += journal->writing.rows;
    journal->stats.failed = false;
    journal->failures = 0;
    (void)pthread_mutex_unlock(&journal->lock);
}

/* Gives the file up: cut back to what is durable, or removed if that is no row, lest a disk that keeps
 * failing fills with headers. Should either not work, readers still stop at the durable length. */
static void give_up_file(struct journal *journal)
{
    struct journal_file file = journal->files[journal->count - 1];
    bool remove = file.bytes == journal->place.header.n;
    int ignored = ftruncate(journal->fd, (off_t)file.bytes);
    (void)ignored;
    (void)close(journal->fd);
    journal->fd = -1;
    if (!remove)
        return;
    journal_file_remove(&journal->place, file.sequence);
    (void)pthread_mutex_lock(&journal->lock);
    journal->count--;
    journal->stats.bytes -= file.bytes;
    (void)pthread_mutex_unlock(&journal->lock);
}

static void note_failure(struct journal *journal)
{
    uint64_t pause = journal->config.retry_ms * (uint64_t)1000000;
    if (journal->fd >= 0)
        give_up_file(journal);
    (void)pthread_mutex_lock(&journal->lock);
    journal->stats.failed = true;
    journal->stats.lost += journal->writing.rows;
    journal->retry_at_ns = monotonic_ns() + (pause << journal->failures);
    journal->failures += journal->failures < RETRY_DOUBLINGS;
    (void)pthread_mutex_unlock(&journal->lock);
}

static void complete(struct journal_ticket *ticket, bool durable)
{
    while (ticket != NULL) {
        struct journal_ticket *next = ticket->next; /* done may free it */
        ticket->done(ticket, durable);
        ticket = next;
    }
}

static void empty(struct batch *batch)
{
    batch->n = 0;
    batch->rows = 0;
    batch->first = NULL;
    batch->last = &batch->first;
}

/* Moves the pending batch to `writing`; false when stopping and nothing is left. */
static bool take_batch_locked(struct journal *journal)
{
    while (journal->pending.n == 0 && journal->pending.first == NULL && !journal->stopping)
        (void)pthread_cond_wait(&journal->wake, &journal->lock);
    struct batch free_batch = journal->writing;
    journal->writing = journal->pending;
    journal->pending = free_batch;
    empty(&journal->pending);
    return journal->writing.n > 0 || journal->writing.first != NULL;
}

/* What was taken after a failure was let in before it, so it fails likewise until the pause is over. */
static bool may_write_locked(const struct journal *journal)
{
    return !journal->stats.failed || monotonic_ns() >= journal->retry_at_ns;
}

static void put_on_disk(struct journal *journal)
{
    struct error err = {0};
    uint64_t began = monotonic_ns();
    bool ok = write_batch(journal, &err);
    if (ok) {
        note_success(journal);
        remove_old_files(journal);
    } else {
        note_failure(journal);
    }
    if (ok && journal->config.synced != NULL)
        journal->config.synced(journal->config.ctx, monotonic_ns() - began);
    if (!ok && journal->config.failed != NULL)
        journal->config.failed(journal->config.ctx, err.message);
    complete(journal->writing.first, ok);
}

static void *write_batches(void *arg)
{
    struct journal *journal = arg;
    (void)pthread_mutex_lock(&journal->lock);
    while (take_batch_locked(journal)) {
        bool may = may_write_locked(journal);
        if (!may)
            journal->stats.lost += journal->writing.rows;
        (void)pthread_mutex_unlock(&journal->lock);
        if (may)
            put_on_disk(journal);
        else
            complete(journal->writing.first, false);
        (void)pthread_mutex_lock(&journal->lock);
    }
    (void)pthread_mutex_unlock(&journal->lock);
    return NULL;
}

/* ---- life ---- */

static bool check_name(const char *name, struct error *err)
{
    size_t n = strlen(name);
    if (n > 0 && n <= JOURNAL_NAME_MAX &&
        strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == n)
        return true;
    return error_set(err, ERR_INVALID, "journal: expected a name of 1 to %d of A-Z a-z 0-9 . _ -",
                     JOURNAL_NAME_MAX);
}

static bool take_config(struct journal *journal, const struct journal_config *config,
                        struct error *err)
{
    struct journal_config *own = &journal->config;
    struct journal_place *place = &journal->place;
    *own = *config;
    own->file_bytes = config->file_bytes > 0 ? config->file_bytes : (uint64_t)64 << 20;
    own->total_bytes = config->total_bytes > 0 ? config->total_bytes : (uint64_t)1 << 30;
    own->batch_bytes = config->batch_bytes > 0 ? config->batch_bytes : (size_t)8 << 20;
    if (own->batch_bytes > BATCH_BYTES_MAX)
        return error_set(err, ERR_TOO_LARGE, "journal: expected a batch of at most %d bytes",
                         BATCH_BYTES_MAX);
    if (!check_name(config->name, err) ||
        !journal_header(&config->schema, journal->arena, &place->header, err))
        return false;
    memcpy(place->name, config->name, strlen(config->name) + 1);
    place->feature_count = config->schema.feature_count;
    place->io.write = config->io.write != NULL ? config->io.write : write;
    place->io.sync = config->io.sync != NULL ? config->io.sync : fsync;
    place->folder = open(config->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return place->folder >= 0 || error_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_INTERNAL,
                                           "%s: %s", config->folder, strerror(errno));
}

/* Goes on with the newest file if it is ours, else begins one. */
static bool take_up(struct journal *journal, struct error *err)
{
    if (!journal_files_claim(&journal->place, &journal->claim, err) ||
        !journal_files_list(&journal->place, journal->files, &journal->count, err))
        return false;
    journal->next_sequence = 1;
    if (journal->count > 0) {
        struct journal_file *newest = &journal->files[journal->count - 1];
        journal->next_sequence = newest->sequence + 1;
        if (!journal_file_resume(&journal->place, newest, &journal->fd, &journal->stats.repair,
                                 err))
            return false;
        journal->count -= newest->bytes == 0; /* removed */
    }
    for (size_t i = 0; i < journal->count; i++)
        journal->stats.bytes += journal->files[i].bytes;
    remove_old_files(journal);
    return journal->fd >= 0 || begin_file(journal, err);
}

static void journal_free(struct journal *journal)
{
    if (journal->fd >= 0)
        (void)close(journal->fd);
    if (journal->claim >= 0) /* the last: what follows is another process's */
        (void)close(journal->claim);
    if (journal->place.folder >= 0)
        (void)close(journal->place.folder);
    free(journal->pending.bytes);
    free(journal->writing.bytes);
    arena_free(journal->arena);
    (void)pthread_cond_destroy(&journal->wake);
    (void)pthread_mutex_destroy(&journal->lock);
    free(journal);
}

static struct journal *journal_new(const struct journal_config *config, struct error *err)
{
    struct journal *journal = calloc(1, sizeof *journal);
    if (journal == NULL) {
        (void)error_set(err, ERR_NO_MEMORY, "journal: out of memory");
        return NULL;
    }
    journal->fd = journal->claim = journal->place.folder = -1;
    empty(&journal->pending);
    empty(&journal->writing);
    (void)pthread_mutex_init(&journal->lock, NULL);
    (void)pthread_cond_init(&journal->wake, NULL);
    journal->arena = arena_new(4096, 0);
    if (journal->arena == NULL)
        goto no_memory;
    if (!take_config(journal, config, err)) {
        journal_free(journal);
        return NULL;
    }
    journal->pending.bytes = malloc(journal->config.batch_bytes);
    journal->writing.bytes = malloc(journal->config.batch_bytes);
    if (journal->pending.bytes != NULL && journal->writing.bytes != NULL)
        return journal;
no_memory:
    (void)error_set(err, ERR_NO_MEMORY, "journal: no memory for its batches");
    journal_free(journal);
    return NULL;
}

struct journal *journal_start(const struct journal_config *config, struct error *err)
{
    struct journal *journal = journal_new(config, err);
    if (journal == NULL)
        return NULL;
    bool ok = take_up(journal, err);
    int rc = ok ? pthread_create(&journal->thread, NULL, write_batches, journal) : 0;
    if (rc != 0)
        ok = error_set(err, ERR_INTERNAL, "journal: no thread: %s", strerror(rc));
    if (ok)
        return journal;
    journal_free(journal);
    return NULL;
}

void journal_stop(struct journal *journal)
{
    if (journal == NULL)
        return;
    (void)pthread_mutex_lock(&journal->lock);
    journal->stopping = true;
    (void)pthread_cond_signal(&journal->wake);
    (void)pthread_mutex_unlock(&journal->lock);
    (void)pthread_join(journal->thread, NULL);
    journal_free(journal);
}

/* ---- looking on ---- */

void journal_stats(struct journal *journal, struct journal_stats *out)
{
    (void)pthread_mutex_lock(&journal->lock);
    *out = journal->stats;
    (void)pthread_mutex_unlock(&journal->lock);
}

struct span journal_header_line(const struct journal *journal)
{
    return journal->place.header;
}

const struct journal_place *journal_place(const struct journal *journal)
{
    return &journal->place;
}

size_t journal_durable(struct journal *journal, struct journal_file files[JOURNAL_FILES_MAX])
{
    (void)pthread_mutex_lock(&journal->lock);
    size_t count = journal->count;
    memcpy(files, journal->files, count * sizeof *files);
    (void)pthread_mutex_unlock(&journal->lock);
    return count;
}
