#define _DEFAULT_SOURCE /* flock */
#include "server/relay/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { CRC_BYTES = 9 /* digits and blank */, PATH_ROOM = PATH_MAX };

struct relay_journal {
    const char *path;
    const struct relay_probe *probe;
    int fd, lock;
    uint64_t bytes;
    bool broken; /* holds bytes after the last whole line that could not be cut off */
};

static bool system_error(const char *path, const char *what, struct error *err)
{
    return error_set(err, ERR_INTERNAL, "%s: %s: %s", path, what, strerror(errno));
}

/* ---- lines ---- */

static void put_crc(char out[CRC_BYTES + 1], struct span text)
{
    (void)snprintf(out, CRC_BYTES + 1, "%08lx ",
                   (unsigned long)crc32(0, (const Bytef *)text.p, (uInt)text.n));
}

/* line has no LF. */
static bool is_whole(struct span line)
{
    char crc[CRC_BYTES + 1];
    if (line.n < CRC_BYTES || line.n >= RELAY_JOURNAL_LINE_MAX)
        return false;
    put_crc(crc, (struct span){line.p + CRC_BYTES, line.n - CRC_BYTES});
    return memcmp(crc, line.p, CRC_BYTES) == 0;
}

/* Bytes of the line into out, or 0 when it is too long. */
static size_t put_line(char out[RELAY_JOURNAL_LINE_MAX + 1], struct span text)
{
    if (text.n + CRC_BYTES + 1 > RELAY_JOURNAL_LINE_MAX)
        return 0;
    put_crc(out, text);
    memcpy(out + CRC_BYTES, text.p, text.n);
    out[CRC_BYTES + text.n] = '\n';
    return CRC_BYTES + text.n + 1;
}

static bool write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t wrote = write(fd, p, n);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            return false;
        p += wrote;
        n -= (size_t)wrote;
    }
    return true;
}

/* ---- opening ---- */

/* A new name is on disk only when its folder is. */
static bool sync_folder(const char *path, struct error *err)
{
    char copy[PATH_ROOM];
    (void)snprintf(copy, sizeof copy, "%s", path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (!ok)
        (void)system_error(path, "folder", err);
    if (fd >= 0)
        (void)close(fd);
    return ok;
}

static bool take_lock(struct relay_journal *journal, struct error *err)
{
    char path[PATH_ROOM];
    if (snprintf(path, sizeof path, "%s.lock", journal->path) >= (int)sizeof path)
        return error_set(err, ERR_INVALID, "%s: expected a shorter path", journal->path);
    journal->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (journal->lock < 0)
        return system_error(path, "open", err);
    if (flock(journal->lock, LOCK_EX | LOCK_NB) != 0)
        return error_set(err, ERR_OVERLOADED, "%s: in use by another process", journal->path);
    return true;
}

/* Hands out whole lines; *whole is where the last of them ends. Only the tail may be damaged. */
static bool read_lines(const struct relay_journal *journal, const char *text, size_t n,
                       const struct relay_journal_reader *reader, size_t *whole, struct error *err)
{
    size_t number = 1;
    for (*whole = 0; *whole < n; number++) {
        const char *begin = text + *whole, *end = memchr(begin, '\n', n - *whole);
        if (end == NULL)
            return true;
        struct span line = {begin, (size_t)(end - begin)};
        if (!is_whole(line)) {
            if ((size_t)(end + 1 - text) == n)
                return true;
            return error_set(err, ERR_INVALID,
                             "%s: line %zu: expected its checksum; move the file "
                             "away to start without it",
                             journal->path, number);
        }
        struct span told = {line.p + CRC_BYTES, line.n - CRC_BYTES};
        if (!reader->line(reader->ctx, told, err)) {
            error_prefix(err, "%s: line %zu", journal->path, number);
            return false;
        }
        *whole += line.n + 1;
    }
    return true;
}

static bool read_bytes(int fd, char *to, size_t n)
{
    for (size_t got = 0; got < n;) {
        ssize_t more = pread(fd, to + got, n - got, (off_t)got);
        if (more == 0 || (more < 0 && errno != EINTR))
            return false;
        got += more > 0 ? (size_t)more : 0;
    }
    return true;
}

static bool read_file(struct relay_journal *journal, const struct relay_journal_reader *reader,
                      size_t *cut, struct error *err)
{
    struct stat info;
    size_t whole = 0;
    if (fstat(journal->fd, &info) != 0)
        return system_error(journal->path, "stat", err);
    if (!S_ISREG(info.st_mode) || info.st_size > RELAY_JOURNAL_BYTES_MAX)
        return error_set(err, ERR_TOO_LARGE, "%s: expected a file of at most %d bytes",
                         journal->path, RELAY_JOURNAL_BYTES_MAX);
    size_t n = (size_t)info.st_size;
    char *text = malloc(n + 1);
    if (text == NULL)
        return error_set(err, ERR_NO_MEMORY, "%s: no memory for %zu bytes", journal->path, n);
    bool ok = read_bytes(journal->fd, text, n) ? read_lines(journal, text, n, reader, &whole, err)
                                               : system_error(journal->path, "read", err);
    free(text);
    if (!ok)
        return false;
    *cut = n - whole;
    journal->bytes = whole;
    if (*cut > 0 && (ftruncate(journal->fd, (off_t)whole) != 0 || fsync(journal->fd) != 0))
        return system_error(journal->path, "truncate", err);
    return true;
}

struct relay_journal *relay_journal_open(const char *path,
                                         const struct relay_journal_reader *reader,
                                         const struct relay_probe *probe, size_t *cut,
                                         struct error *err)
{
    struct relay_journal *journal = calloc(1, sizeof *journal);
    if (journal == NULL) {
        (void)error_set(err, ERR_NO_MEMORY, "%s: out of memory", path);
        return NULL;
    }
    *journal = (struct relay_journal){.path = path, .probe = probe, .fd = -1, .lock = -1};
    bool ok = take_lock(journal, err);
    if (ok) {
        journal->fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        ok = journal->fd >= 0 || system_error(path, "open", err);
    }
    if (ok && sync_folder(path, err) && read_file(journal, reader, cut, err))
        return journal;
    relay_journal_close(journal);
    return NULL;
}

void relay_journal_close(struct relay_journal *journal)
{
    if (journal == NULL)
        return;
    if (journal->fd >= 0)
        (void)close(journal->fd);
    if (journal->lock >= 0)
        (void)close(journal->lock);
    free(journal);
}

uint64_t relay_journal_bytes(const struct relay_journal *journal)
{
    return journal->bytes;
}

/* ---- writing ---- */

bool relay_journal_append(struct relay_journal *journal, struct span text, struct error *err)
{
    char line[RELAY_JOURNAL_LINE_MAX + 1];
    size_t n = put_line(line, text);
    if (n == 0)
        return error_set(err, ERR_TOO_LARGE, "%s: expected at most %d bytes a line", journal->path,
                         RELAY_JOURNAL_LINE_MAX);
    if (journal->broken)
        return error_set(err, ERR_INTERNAL, "%s: an earlier line could not be cut off",
                         journal->path);
    relay_probe_at(journal->probe, "append");
    bool ok = write_all(journal->fd, line, n);
    if (ok)
        relay_probe_at(journal->probe, "written");
    if (ok && fdatasync(journal->fd) == 0) {
        journal->bytes += n;
        relay_probe_at(journal->probe, "synced");
        return true;
    }
    (void)system_error(journal->path, ok ? "sync" : "write", err);
    journal->broken = ftruncate(journal->fd, (off_t)journal->bytes) != 0;
    return false;
}

static bool write_lines(int fd, const struct span *texts, size_t count, uint64_t *bytes)
{
    char line[RELAY_JOURNAL_LINE_MAX + 1];
    *bytes = 0;
    for (size_t i = 0; i < count; i++) {
        size_t n = put_line(line, texts[i]);
        if (n == 0)
            errno = EFBIG;
        if (n == 0 || !write_all(fd, line, n))
            return false;
        *bytes += n;
    }
    return fsync(fd) == 0;
}

bool relay_journal_rewrite(struct relay_journal *journal, const struct span *texts, size_t count,
                           struct error *err)
{
    char path[PATH_ROOM];
    uint64_t bytes = 0;
    (void)snprintf(path, sizeof path, "%s.new", journal->path);
    relay_probe_at(journal->probe, "rewrite");
    int fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && write_lines(fd, texts, count, &bytes);
    if (ok) {
        relay_probe_at(journal->probe, "rewritten");
        ok = rename(path, journal->path) == 0;
    }
    if (!ok) {
        (void)system_error(path, "rewrite", err);
        if (fd >= 0)
            (void)close(fd);
        return false;
    }
    (void)close(journal->fd);
    journal->fd = fd;
    journal->bytes = bytes;
    journal->broken = false;
    relay_probe_at(journal->probe, "renamed");
    return sync_folder(journal->path, err);
}
