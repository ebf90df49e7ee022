/* journal.h - lines that are on disk when append returns.
 *
 * Format:  each line is the CRC-32 (zlib's) of the text in eight lower-case hexadecimal digits, a blank,
 *          the text, LF. The text is printable and has no line end.
 * Idea:    append-only, one fdatasync per line, so a crash can damage the last line only: a tail that is
 *          not whole is cut off when the journal is opened. A failed append is cut off again. Rewriting
 *          makes a new file beside the old one and renames it.
 * Does not: know what a line says.
 * Threads: one at a time; the ledger locks.
 * Memory:  released with journal_close; lines are borrowed.
 * Errors:  ERR_INVALID a damaged line before the last ("line 17: ..."), ERR_TOO_LARGE, ERR_OVERLOADED when
 *          another process has the journal, ERR_INTERNAL the system's, ERR_NO_MEMORY.
 * Files:   path, path.lock (locked as long as the journal is open), path.new while rewriting.
 */
#ifndef SERVER_RELAY_JOURNAL_H
#define SERVER_RELAY_JOURNAL_H

#include "base/arena.h"
#include "server/relay/probe.h"

#include <stdint.h>

enum {
    RELAY_JOURNAL_LINE_MAX = 4096,      /* with checksum and LF */
    RELAY_JOURNAL_BYTES_MAX = 64 << 20, /* a longer file is not ours */
};

struct relay_journal;

/* Called with each line's text, oldest first; false refuses the journal. */
struct relay_journal_reader {
    bool (*line)(void *ctx, struct span text, struct error *err);
    void *ctx;
};

/* Opens or makes the file and reads it; *cut is how many bytes of a torn tail were cut off. path and probe
 * are borrowed for good; probe may be NULL. */
struct relay_journal *relay_journal_open(const char *path,
                                         const struct relay_journal_reader *reader,
                                         const struct relay_probe *probe, size_t *cut,
                                         struct error *err) MUST_CHECK;
void relay_journal_close(struct relay_journal *journal); /* NULL is allowed */

/* On disk when it returns true; not there at all when it returns false. If the file cannot even be cut
 * back, every further append fails until the journal is rewritten. */
bool relay_journal_append(struct relay_journal *journal, struct span text,
                          struct error *err) MUST_CHECK;

/* Replaces all lines by these (count). On failure the old ones stay. */
bool relay_journal_rewrite(struct relay_journal *journal, const struct span *texts, size_t count,
                           struct error *err) MUST_CHECK;

uint64_t relay_journal_bytes(const struct relay_journal *journal);

#endif
