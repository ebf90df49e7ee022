/* journal.h - the feedback journal: rows with their true values, durable before they are acknowledged.
 *
 * Idea:    any thread appends lines (journal_line.h) to a batch in memory; the journal's thread takes the
 *          batch, writes and fsyncs it, then completes the ticket of every append in it: the more wait, the
 *          fewer fsyncs. What a reader sees ends at the last fsync.
 *          After a failed write or fsync nothing is known of the file's end (fsync(2): an error is
 *          reported once, the pages count as clean): its waiters fail, it is cut back to its durable
 *          length as far as that goes, and closed. Appends are refused until a new file has been made
 *          durable; the first append after a pause that doubles from retry_ms to 64 times that tries it. Rows that
 *          were not acknowledged may so still be read after a restart; acknowledged ones always are.
 *          A file that has reached file_bytes is followed by a new one; the oldest are removed while all
 *          together hold more than total_bytes (they can exceed it by one batch). Files with another
 *          header (other features) count, but are not read.
 * Does not: know models, ids that were given before, or the wall clock.
 * Threads: journal_append, journal_stats, journal_durable: any. Tickets complete on the journal's thread.
 *          One process per name and folder: ERR_NOT_READY by journal_start while another has it.
 * Memory:  two batches of batch_bytes, allocated by journal_start.
 * Errors:  ERR_INVALID, ERR_TOO_LARGE a row that cannot be a line, more rows than a batch holds;
 *          ERR_OVERLOADED the batch is full; ERR_NOT_READY failed or stopping; ERR_INTERNAL I/O.
 */
#ifndef SERVER_PREDICTOR_JOURNAL_H
#define SERVER_PREDICTOR_JOURNAL_H

#include "server/predictor/journal_files.h"

struct journal;

struct journal_config {
    const char *folder; /* must exist */
    const char *name;   /* of this pod: 1 to JOURNAL_NAME_MAX of A-Z a-z 0-9 . _ - */
    struct journal_schema schema;
    uint64_t file_bytes, total_bytes; /* 0: 64 MB, 1 GB */
    size_t batch_bytes;               /* 0: 8 MB */
    unsigned retry_ms;                /* 0: at once */
    struct journal_io io;             /* NULL members: the system's */
    /* Both on the journal's thread; may be NULL. */
    void (*synced)(void *ctx, uint64_t nanoseconds); /* how long write and fsync of a batch took */
    void (*failed)(void *ctx, const char *message);  /* what went wrong */
    void *ctx;
};

/* Lives in the caller's own struct, untouched by the caller until it is done. */
struct journal_ticket {
    void (*done)(struct journal_ticket *ticket, bool durable); /* once; must not block */
    struct journal_ticket *next;                               /* the journal's */
};

struct journal_stats {
    uint64_t bytes; /* of all files */
    uint64_t rows;  /* made durable since the start */
    uint64_t lost;  /* rows whose batch failed since the start */
    bool failed;    /* refuses appends until a new file is durable */
    struct journal_repair repair;
};

/* Opens or makes the newest file, repairs its end, starts the thread. Everything is copied. Released with
 * journal_stop. */
struct journal *journal_start(const struct journal_config *config, struct error *err) MUST_CHECK;

/* Writes what is there, completes every ticket, ends the thread. NULL is allowed. No append may run. */
void journal_stop(struct journal *journal);

/* Appends all rows or none. True: they will be written together and ticket->done is called once; with a
 * NULL ticket nobody is told. False: it is not. arena holds the lines for the call. */
bool journal_append(struct journal *journal, const struct journal_row *rows, size_t count,
                    struct arena *arena, struct journal_ticket *ticket,
                    struct error *err) MUST_CHECK;

void journal_stats(struct journal *journal, struct journal_stats *out);

/* The header line, as long as the journal lives. */
struct span journal_header_line(const struct journal *journal);

/* For journal_reader: the place, and the files with their durable lengths. */
const struct journal_place *journal_place(const struct journal *journal);
size_t journal_durable(struct journal *journal, struct journal_file files[JOURNAL_FILES_MAX]);

#endif
