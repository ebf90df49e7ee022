/* journal_line.h - one line of the feedback journal: a row to bytes and back.
 *
 * Format:  RFC 4180, LF. Header: time, id, model_version, the features' names, prediction, the target's
 *          name, crc32. Where a feature or the target has one of the fixed names, the fixed one gets
 *          leading underscores until it is unique. Time is in seconds since 1970 with nine decimals; numbers are
 *          the shortest that read back the same; crc32 is zlib's, of the bytes before its comma, in
 *          eight lower-case hexadecimal digits. Ids and versions are printable ASCII without blanks, so
 *          that no row ever contains a line end.
 * Does not: open files or know time.
 * Threads: no state.
 * Memory:  the caller's buffers; the header in an arena.
 * Errors:  ERR_INVALID, ERR_TOO_LARGE, ERR_NO_MEMORY.
 */
#ifndef SERVER_PREDICTOR_JOURNAL_LINE_H
#define SERVER_PREDICTOR_JOURNAL_LINE_H

#include "base/arena.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    JOURNAL_ID_MAX = 160,      /* a request id, "/", a row number */
    JOURNAL_VERSION_MAX = 255, /* as model_version */
    JOURNAL_FEATURES_MAX = 4096,
};

/* What the columns are called; borrowed. */
struct journal_schema {
    const char *const *features;
    size_t feature_count; /* 1 to JOURNAL_FEATURES_MAX */
    const char *target;
};

struct journal_row {
    uint64_t time_ns; /* since 1970 */
    struct span id, version;
    const double *features; /* (feature_count) */
    double prediction, target;
};

/* The header line with its LF. Refuses names that are not unique. */
bool journal_header(const struct journal_schema *schema, struct arena *arena, struct span *out,
                    struct error *err) MUST_CHECK;

/* Whether a row can be a line: lengths, characters, finite numbers. */
bool journal_check_row(const struct journal_row *row, size_t feature_count,
                       struct error *err) MUST_CHECK;

/* Longest line, in bytes with its LF. */
size_t journal_line_max(size_t feature_count);

/* Writes a checked row as a line with its LF into out(journal_line_max); returns the bytes. */
size_t journal_write_line(char *out, const struct journal_row *row, size_t feature_count);

/* Whether line (with its LF) ends in the CRC-32 of what is before it. */
bool journal_line_is_whole(struct span line) MUST_CHECK;

/* Room for what a row points at. */
struct journal_texts {
    char id[JOURNAL_ID_MAX], version[JOURNAL_VERSION_MAX];
};

/* Reads a line (with its LF) back. row->features points at features(feature_count), the texts into
 * *texts. */
bool journal_read_line(struct span line, size_t feature_count, double *features,
                       struct journal_texts *texts, struct journal_row *row,
                       struct error *err) MUST_CHECK;

/* Whether the line is that of a row with this id. */
bool journal_line_has_id(struct span line, struct span id) MUST_CHECK;

#endif
