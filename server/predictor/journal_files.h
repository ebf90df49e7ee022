/* journal_files.h - the files a feedback journal is made of; for journal.c and journal_reader.c.
 *
 * Idea:    `<name>.<8 digits>.csv` in one folder, numbered upwards; only the newest is ever written. A
 *          file is made with its header durable and its name durable in the folder before any row goes
 *          into it. A line that was being written when the process or the machine died has no LF or a
 *          wrong CRC: it is cut off when the file is taken up again.
 * Does not: start threads, lock, or decide when to write.
 * Threads: a struct journal_place is constant once opened; the functions share nothing.
 * Memory:  a struct journal_lines owns a buffer of at least 64 KB: journal_lines_clear.
 * Errors:  ERR_INTERNAL names the file and the system's reason; ERR_NOT_FOUND no such folder or file;
 *          ERR_TOO_LARGE over JOURNAL_FILES_MAX; ERR_NOT_READY another process has the name.
 */
#ifndef SERVER_PREDICTOR_JOURNAL_FILES_H
#define SERVER_PREDICTOR_JOURNAL_FILES_H

#include "server/predictor/journal_line.h"

#include <sys/types.h>

enum { JOURNAL_NAME_MAX = 200, JOURNAL_FILES_MAX = 1024, JOURNAL_SEQUENCE_MAX = 99999999 };

/* write(2) and fsync(2), or what a test puts in their place. */
struct journal_io {
    ssize_t (*write)(int fd, const void *bytes, size_t n);
    int (*sync)(int fd);
};

/* Where the files are and what a file begins with. */
struct journal_place {
    int folder; /* descriptor */
    char name[JOURNAL_NAME_MAX + 1];
    struct span header;
    size_t feature_count;
    struct journal_io io;
};

struct journal_file {
    uint64_t sequence, bytes;
};

/* What was found when the newest file was taken up again. */
struct journal_repair {
    uint64_t torn_bytes;    /* cut off its end */
    uint64_t damaged_lines; /* before the last good line: left in place, passed over by readers */
};

/* Lists the place's files in ascending order into files(JOURNAL_FILES_MAX). */
bool journal_files_list(const struct journal_place *place, struct journal_file *files,
                        size_t *count, struct error *err) MUST_CHECK;

/* Opens a file for reading, behind its header. *fd is -1 if it has another header. */
bool journal_file_open(const struct journal_place *place, uint64_t sequence, int *fd,
                       struct error *err) MUST_CHECK;

/* Takes file up again for writing: *fd, its torn end cut off, file->bytes what is left. *fd is -1 if it has
 * another header, or so little of ours (file->bytes is 0 then) that it was removed. */
bool journal_file_resume(const struct journal_place *place, struct journal_file *file, int *fd,
                         struct journal_repair *repair, struct error *err) MUST_CHECK;

/* Takes the name for this process until *fd is closed, by a lock on the empty file `<name>.lock`:
 * ERR_NOT_READY while another process has it. */
bool journal_files_claim(const struct journal_place *place, int *fd, struct error *err) MUST_CHECK;

/* Makes the file of that number, durable; *bytes is the header's length. Nothing is left of it on failure. */
bool journal_file_create(const struct journal_place *place, uint64_t sequence, int *fd,
                         uint64_t *bytes, struct error *err) MUST_CHECK;

/* Removes a file; its absence is no error. */
void journal_file_remove(const struct journal_place *place, uint64_t sequence);

/* Writes all n bytes; false with errno set. */
bool journal_write_all(const struct journal_io *io, int fd, const char *bytes, size_t n) MUST_CHECK;

/* ---- lines of a file ---- */

enum journal_line_state {
    JOURNAL_WHOLE,   /* a line with its right CRC */
    JOURNAL_DAMAGED, /* a line that is not */
    JOURNAL_TORN,    /* bytes without an LF at the end */
    JOURNAL_END,
    JOURNAL_FAILED, /* errno */
};

struct journal_lines {
    int fd; /* owned; -1 none */
    char *buffer;
    size_t capacity, start, fill;
    uint64_t offset, limit; /* of the byte after the buffer's last, of the end */
    bool overlong;          /* inside a line longer than any */
};

bool journal_lines_init(struct journal_lines *lines, size_t feature_count,
                        struct error *err) MUST_CHECK;
void journal_lines_clear(struct journal_lines *lines);

/* Goes on with a file, from one offset to another; takes the descriptor over, closes the last one. */
void journal_lines_enter(struct journal_lines *lines, int fd, uint64_t from, uint64_t limit);

/* The next line with its LF; it is valid until the next call. */
enum journal_line_state journal_lines_next(struct journal_lines *lines, struct span *line);

/* Offset of the byte after the last line returned. */
uint64_t journal_lines_position(const struct journal_lines *lines);

#endif
