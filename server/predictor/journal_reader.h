/* journal_reader.h - the durable rows of a journal, oldest first, across its files.
 *
 * Idea:    a reader goes over the files and lengths that were durable when it was made; what is appended
 *          meanwhile is for the next one. A line whose CRC is wrong is passed over and counted.
 * Does not: hold the journal up, or keep old files from being removed: reading one that is gone is
 *          ERR_NOT_FOUND.
 * Threads: a reader belongs to its caller; it reads files, so not on a thread that must not wait.
 * Memory:  one line's buffer (at least 64 KB) whatever the journal's length. Released with
 *          journal_reader_free, before journal_stop.
 * Errors:  ERR_NOT_FOUND, ERR_INTERNAL, ERR_NO_MEMORY.
 */
#ifndef SERVER_PREDICTOR_JOURNAL_READER_H
#define SERVER_PREDICTOR_JOURNAL_READER_H

#include "server/predictor/journal.h"

struct journal_reader;

struct journal_reader_report {
    uint64_t rows;    /* returned */
    uint64_t damaged; /* lines, and ends of lines, passed over */
    uint64_t foreign; /* files passed over because their header is another */
};

struct journal_reader *journal_reader_new(struct journal *journal, struct error *err) MUST_CHECK;
void journal_reader_free(struct journal_reader *reader); /* NULL is allowed */

/* The next whole line with its LF, valid until the next call; n is 0 at the end. */
bool journal_reader_next(struct journal_reader *reader, struct span *line,
                         struct error *err) MUST_CHECK;

/* Goes on behind the first row with this id; ERR_NOT_FOUND if there is none. Before any
 * journal_reader_next. An id that was used again so gives rows twice rather than losing one. */
bool journal_reader_since(struct journal_reader *reader, struct span id,
                          struct error *err) MUST_CHECK;

void journal_reader_report(const struct journal_reader *reader, struct journal_reader_report *out);

#endif
