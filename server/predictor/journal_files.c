#define _DEFAULT_SOURCE /* flock */
#include "server/predictor/journal_files.h"

#include "base/number.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DIGITS = 8, FILE_NAME_MAX = JOURNAL_NAME_MAX + 1 + DIGITS + 4, READ_BYTES = 1 << 16 };

static const char extension[] = ".csv";

/* ---- names ---- */

static void file_name(const struct journal_place *place, uint64_t sequence,
                      char out[FILE_NAME_MAX + 1])
{
    size_t n = strlen(place->name);
    memcpy(out, place->name, n);
    out[n] = '.';
    for (size_t i = DIGITS; i > 0; i--, sequence /= 10)
        out[n + i] = (char)('0' + sequence % 10);
    memcpy(out + n + 1 + DIGITS, extension, sizeof extension);
}

/* Whether a name is that of one of the place's files. */
static bool parse_name(const struct journal_place *place, const char *name, uint64_t *sequence)
{
    char same[FILE_NAME_MAX + 1];
    size_t n = strlen(place->name);
    if (strlen(name) != n + 1 + DIGITS + sizeof extension - 1)
        return false;
    *sequence = 0;
    for (size_t i = n + 1; i <= n + DIGITS; i++)
        *sequence = *sequence * 10 + (uint64_t)((unsigned char)name[i] - '0') % 10;
    file_name(place, *sequence, same);
    return strcmp(name, same) == 0;
}

static bool fail(const struct journal_place *place, uint64_t sequence, const char *what,
                 struct error *err)
{
    char name[FILE_NAME_MAX + 1];
    int reason = errno;
    file_name(place, sequence, name);
    return error_set(err, reason == ENOENT ? ERR_NOT_FOUND : ERR_INTERNAL, "%s: %s: %s", name, what,
                     strerror(reason));
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = ((const struct journal_file *)a)->sequence;
    uint64_t y = ((const struct journal_file *)b)->sequence;
    return (x > y) - (x < y);
}

bool journal_files_list(const struct journal_place *place, struct journal_file *files,
                        size_t *count, struct error *err)
{
    const struct dirent *entry;
    bool ok = true;
    *count = 0;
    int fd = openat(place->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
    if (folder == NULL) {
        if (fd >= 0)
            (void)close(fd);
        return error_set(err, ERR_INTERNAL, "journal: cannot list its folder: %s", strerror(errno));
    }
    while (ok && (entry = readdir(folder)) != NULL) {
        struct journal_file file;
        struct stat info;
        if (!parse_name(place, entry->d_name, &file.sequence) ||
            fstatat(place->folder, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(info.st_mode))
            continue;
        file.bytes = (uint64_t)info.st_size;
        if (*count == JOURNAL_FILES_MAX)
            ok = error_set(err, ERR_TOO_LARGE, "journal: expected at most %d files called %s.*",
                           JOURNAL_FILES_MAX, place->name);
        else
            files[(*count)++] = file;
    }
    (void)closedir(folder);
    qsort(files, *count, sizeof *files, ascending);
    return ok;
}

/* ---- making, taking up, removing ---- */

bool journal_write_all(const struct journal_io *io, int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t done = io->write(fd, bytes, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0) {
            errno = done == 0 ? EIO : errno;
            return false;
        }
        bytes += done;
        n -= (size_t)done;
    }
    return true;
}

static int open_file(const struct journal_place *place, uint64_t sequence, int flags)
{
    char name[FILE_NAME_MAX + 1];
    file_name(place, sequence, name);
    return openat(place->folder, name, flags | O_CLOEXEC | O_NOFOLLOW, 0640);
}

void journal_file_remove(const struct journal_place *place, uint64_t sequence)
{
    char name[FILE_NAME_MAX + 1];
    file_name(place, sequence, name);
    (void)unlinkat(place->folder, name, 0);
}

bool journal_files_claim(const struct journal_place *place, int *fd, struct error *err)
{
    static const char lock[] = ".lock";
    char name[FILE_NAME_MAX + 1];
    size_t n = strlen(place->name);
    memcpy(name, place->name, n);
    memcpy(name + n, lock, sizeof lock);
    *fd = openat(place->folder, name, O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (*fd >= 0 && flock(*fd, LOCK_EX | LOCK_NB) == 0)
        return true;
    if (*fd >= 0 && errno == EWOULDBLOCK)
        (void)error_set(err, ERR_NOT_READY, "%s: in use by another process", name);
    else
        (void)error_set(err, ERR_INTERNAL, "%s: cannot lock: %s", name, strerror(errno));
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
    return false;
}

bool journal_file_create(const struct journal_place *place, uint64_t sequence, int *fd,
                         uint64_t *bytes, struct error *err)
{
    *fd = open_file(place, sequence, O_CREAT | O_EXCL | O_WRONLY | O_APPEND);
    if (*fd < 0)
        return fail(place, sequence, "cannot create", err);
    *bytes = place->header.n;
    if (journal_write_all(&place->io, *fd, place->header.p, place->header.n) &&
        place->io.sync(*fd) == 0 && place->io.sync(place->folder) == 0)
        return true;
    (void)fail(place, sequence, "cannot begin", err);
    journal_file_remove(place, sequence);
    (void)close(*fd);
    *fd = -1;
    return false;
}

enum header { HEADER_OURS, HEADER_OTHER, HEADER_TORN, HEADER_FAILED };

static enum header read_header(const struct journal_place *place, int fd)
{
    char chunk[4096];
    size_t at = 0;
    while (at < place->header.n) {
        size_t want = place->header.n - at < sizeof chunk ? place->header.n - at : sizeof chunk;
        ssize_t got = pread(fd, chunk, want, (off_t)at);
        if (got < 0)
            return HEADER_FAILED;
        if (memcmp(chunk, place->header.p + at, (size_t)got) != 0)
            return HEADER_OTHER;
        if (got == 0)
            return HEADER_TORN;
        at += (size_t)got;
    }
    return HEADER_OURS;
}

bool journal_file_open(const struct journal_place *place, uint64_t sequence, int *fd,
                       struct error *err)
{
    *fd = open_file(place, sequence, O_RDONLY);
    enum header header = *fd < 0 ? HEADER_FAILED : read_header(place, *fd);
    if (header == HEADER_OURS)
        return true;
    bool ok = header != HEADER_FAILED || fail(place, sequence, "cannot read", err);
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
    return ok;
}

/* Finds the end of the last good line and cuts off what is behind it. */
static bool cut_torn_end(const struct journal_place *place, struct journal_file *file, int fd,
                         struct journal_repair *repair, struct error *err)
{
    struct journal_lines lines;
    struct span line;
    uint64_t good = place->header.n, damaged = 0;
    enum journal_line_state state;
    int reading = open_file(place, file->sequence, O_RDONLY);
    if (reading < 0)
        return fail(place, file->sequence, "cannot read", err);
    if (!journal_lines_init(&lines, place->feature_count, err)) {
        (void)close(reading);
        return false;
    }
    journal_lines_enter(&lines, reading, place->header.n, file->bytes);
    while ((state = journal_lines_next(&lines, &line)) < JOURNAL_END) {
        damaged += state == JOURNAL_DAMAGED;
        if (state != JOURNAL_WHOLE)
            continue;
        good = journal_lines_position(&lines);
        repair->damaged_lines = damaged;
    }
    bool ok = state == JOURNAL_END || fail(place, file->sequence, "cannot read", err);
    journal_lines_clear(&lines);
    if (!ok || good == file->bytes)
        return ok;
    if (ftruncate(fd, (off_t)good) != 0 || place->io.sync(fd) != 0)
        return fail(place, file->sequence, "cannot cut off its torn end", err);
    repair->torn_bytes = file->bytes - good;
    file->bytes = good;
    return true;
}

/* Goes by what the file begins with; *ours says whether to go on writing to it. */
static bool take_up_contents(const struct journal_place *place, struct journal_file *file, int fd,
                             bool *ours, struct journal_repair *repair, struct error *err)
{
    enum header header = read_header(place, fd);
    *ours = header == HEADER_OURS;
    if (*ours)
        return cut_torn_end(place, file, fd, repair, err);
    if (header == HEADER_FAILED)
        return fail(place, file->sequence, "cannot read", err);
    if (header == HEADER_TORN) { /* so no row was ever acknowledged in it */
        journal_file_remove(place, file->sequence);
        repair->torn_bytes = file->bytes;
        file->bytes = 0;
    }
    return true;
}

bool journal_file_resume(const struct journal_place *place, struct journal_file *file, int *fd,
                         struct journal_repair *repair, struct error *err)
{
    bool ours = false;
    *fd = open_file(place, file->sequence, O_RDWR | O_APPEND);
    if (*fd < 0)
        return fail(place, file->sequence, "cannot take up again", err);
    bool ok = take_up_contents(place, file, *fd, &ours, repair, err);
    if (ok && ours)
        return true;
    (void)close(*fd);
    *fd = -1;
    return ok;
}

/* ---- lines ---- */

bool journal_lines_init(struct journal_lines *lines, size_t feature_count, struct error *err)
{
    size_t longest = journal_line_max(feature_count);
    *lines = (struct journal_lines){.fd = -1};
    lines->capacity = longest > READ_BYTES ? longest : READ_BYTES;
    lines->buffer = malloc(lines->capacity);
    return lines->buffer != NULL ||
           error_set(err, ERR_NO_MEMORY, "journal: no memory for a line of %zu bytes", longest);
}

void journal_lines_clear(struct journal_lines *lines)
{
    if (lines->fd >= 0)
        (void)close(lines->fd);
    lines->fd = -1;
    free(lines->buffer);
    lines->buffer = NULL;
}

void journal_lines_enter(struct journal_lines *lines, int fd, uint64_t from, uint64_t limit)
{
    if (lines->fd >= 0)
        (void)close(lines->fd);
    lines->fd = fd;
    lines->start = lines->fill = 0;
    lines->offset = from;
    lines->limit = limit;
    lines->overlong = false;
}

uint64_t journal_lines_position(const struct journal_lines *lines)
{
    return lines->offset - (lines->fill - lines->start);
}

/* Reads on; 0 at the end, -1 on failure. */
static ssize_t fill_buffer(struct journal_lines *lines)
{
    memmove(lines->buffer, lines->buffer + lines->start, lines->fill - lines->start);
    lines->fill -= lines->start;
    lines->start = 0;
    if (lines->fill == lines->capacity) {
        lines->overlong = true;
        lines->fill = 0;
    }
    size_t want = lines->capacity - lines->fill;
    if (want > lines->limit - lines->offset)
        want = (size_t)(lines->limit - lines->offset);
    ssize_t got = pread(lines->fd, lines->buffer + lines->fill, want, (off_t)lines->offset);
    if (got > 0) {
        lines->fill += (size_t)got;
        lines->offset += (uint64_t)got;
    }
    return got;
}

enum journal_line_state journal_lines_next(struct journal_lines *lines, struct span *line)
{
    const char *lf;
    while ((lf = memchr(lines->buffer + lines->start, '\n', lines->fill - lines->start)) == NULL) {
        ssize_t got = fill_buffer(lines);
        if (got > 0)
            continue;
        bool rest = lines->fill > lines->start || lines->overlong;
        lines->start = lines->fill;
        lines->overlong = false;
        return got < 0 ? JOURNAL_FAILED : rest ? JOURNAL_TORN : JOURNAL_END;
    }
    *line = (struct span){lines->buffer + lines->start,
                          (size_t)(lf + 1 - (lines->buffer + lines->start))};
    lines->start += line->n;
    bool whole = !lines->overlong && journal_line_is_whole(*line);
    lines->overlong = false;
    return whole ? JOURNAL_WHOLE : JOURNAL_DAMAGED;
}
