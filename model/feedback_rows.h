/* feedback_rows.h - feedback journals to rows that can be trained on: read, checked, each row once.
 *
 * Format:  as GET :feedback gives it (base/journal_format.h). Columns are found by name, in any order, but
 *          crc32 is the last. One row a line.
 * Idea:    a row that cannot be used is dropped and counted, by file and reason, with the place of the
 *          first: a journal is long, and one damaged line must not keep a model from being repaired.
 *          Journals may overlap and come from several replicas: an id's first row is kept.
 * Does not: drop a whole file silently: one whose header lacks a column is refused.
 * Threads: belongs to its caller.
 * Memory:  the rows, at most FEEDBACK_ROWS_MAX and FEEDBACK_NUMBERS_MAX numbers; one line of
 *          FEEDBACK_LINE_MAX. Released with feedback_rows_clear. Paths and limits are borrowed.
 * Errors:  `feedback.csv:1: expected a column "MedInc", got none`. ERR_INVALID a header, ERR_NOT_FOUND no
 *          such file, ERR_TOO_LARGE, ERR_INTERNAL I/O, ERR_NO_MEMORY.
 */
#ifndef MODEL_FEEDBACK_ROWS_H
#define MODEL_FEEDBACK_ROWS_H

#include "base/arena.h"
#include "model/plausible.h"

#include <stdio.h>

enum {
    FEEDBACK_ROWS_MAX = 4000000,
    FEEDBACK_NUMBERS_MAX = 1 << 26, /* 512 MB */
    FEEDBACK_LINE_MAX = 1 << 18,    /* bytes, with the LF */
};

/* Why rows are dropped. */
enum feedback_drop {
    DROP_DAMAGED,       /* its CRC-32 is wrong: changed, or the torn end of a file */
    DROP_UNREADABLE,    /* whole, but a cell is none of its column */
    DROP_FEATURE_RANGE, /* a feature is not plausible */
    DROP_TARGET_RANGE,  /* the target is not plausible */
    DROP_DUPLICATE,     /* an earlier row has its id */
    DROP_BEFORE_SHIFT,  /* the champion's errors have changed since */
    DROP_OLD,           /* more recent rows are enough */
    FEEDBACK_DROPS
};
extern const char *const feedback_drop_words[FEEDBACK_DROPS];

struct dropped {
    uint64_t rows;
    char first[192]; /* place and reason of the first; "" if there is none */
};

/* Counts a row that is dropped; place and reason are kept of the first. */
void dropped_add(struct dropped *dropped, const char *fmt, ...) PRINTF_LIKE(2, 3);

struct feedback_row {
    double time; /* seconds since 1970 */
    struct span id;
    const double *values; /* (features + 1), the target last */
    size_t source;        /* of which file, */
    uint64_t line;        /* which line */
    char crc[8];          /* of the line, as it was written */
};

/* A file and what became of its rows. */
struct feedback_source {
    const char *path;
    uint64_t rows; /* lines behind the header */
    struct dropped dropped[FEEDBACK_DROPS];
};

struct feedback_rows {
    const struct plausible *plausible;
    struct feedback_row *rows; /* (count) */
    size_t count, capacity;
    struct feedback_source *sources; /* (source_count) */
    size_t source_count;
    struct arena *arena; /* ids and values */
};

bool feedback_rows_init(struct feedback_rows *f, const struct plausible *plausible,
                        struct error *err) MUST_CHECK;
void feedback_rows_clear(struct feedback_rows *f);

/* Adds the rows of a file to those that there are. */
bool feedback_rows_read(struct feedback_rows *f, FILE *in, const char *path,
                        struct error *err) MUST_CHECK;
bool feedback_rows_read_path(struct feedback_rows *f, const char *path,
                             struct error *err) MUST_CHECK;

/* When everything has been read: drops duplicates, puts the rows in order of time, then id, whatever the
 * order of the files, and keeps the last `recent` of them (0: all). */
void feedback_rows_arrange(struct feedback_rows *f, size_t recent);

/* Drops the first count of the rows in order. */
void feedback_rows_drop_first(struct feedback_rows *f, size_t count, enum feedback_drop why);

/* The part of a row's id that names its request: all but "/" and the row's number. */
struct span feedback_request(struct span id);

#endif
