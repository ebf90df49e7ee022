#include "server/predictor/journal_reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct journal_reader {
    const struct journal_place *place;
    struct journal_file files[JOURNAL_FILES_MAX];
    size_t count, next; /* the file to open next */
    struct journal_lines lines;
    struct journal_reader_report report;
};

struct journal_reader *journal_reader_new(struct journal *journal, struct error *err)
{
    struct journal_reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL) {
        (void)error_set(err, ERR_NO_MEMORY, "journal: no memory to read it");
        return NULL;
    }
    reader->place = journal_place(journal);
    reader->count = journal_durable(journal, reader->files);
    if (journal_lines_init(&reader->lines, reader->place->feature_count, err))
        return reader;
    free(reader);
    return NULL;
}

void journal_reader_free(struct journal_reader *reader)
{
    if (reader == NULL)
        return;
    journal_lines_clear(&reader->lines);
    free(reader);
}

/* Opens the next file that is ours; *more is false when there is none. */
static bool enter_next_file(struct journal_reader *reader, bool *more, struct error *err)
{
    while (reader->next < reader->count) {
        const struct journal_file *file = &reader->files[reader->next++];
        int fd;
        if (!journal_file_open(reader->place, file->sequence, &fd, err))
            return false;
        if (fd >= 0) {
            journal_lines_enter(&reader->lines, fd, reader->place->header.n, file->bytes);
            *more = true;
            return true;
        }
        reader->report.foreign++;
    }
    *more = false;
    return true;
}

bool journal_reader_next(struct journal_reader *reader, struct span *line, struct error *err)
{
    bool more = true;
    *line = (struct span){NULL, 0};
    while (more) {
        enum journal_line_state state =
            reader->lines.fd >= 0 ? journal_lines_next(&reader->lines, line) : JOURNAL_END;
        switch (state) {
        case JOURNAL_WHOLE:
            reader->report.rows++;
            return true;
        case JOURNAL_DAMAGED:
        case JOURNAL_TORN:
            reader->report.damaged++;
            break;
        case JOURNAL_END:
            *line = (struct span){NULL, 0};
            if (!enter_next_file(reader, &more, err))
                return false;
            break;
        case JOURNAL_FAILED:
            return error_set(err, ERR_INTERNAL, "journal: cannot read: %s", strerror(errno));
        }
    }
    return true;
}

bool journal_reader_since(struct journal_reader *reader, struct span id, struct error *err)
{
    struct span line;
    do {
        if (!journal_reader_next(reader, &line, err))
            return false;
        if (line.n == 0)
            return error_set(err, ERR_NOT_FOUND, "since: no row with the id \"%.*s\"",
                             (int)(id.n < JOURNAL_ID_MAX ? id.n : JOURNAL_ID_MAX), id.p);
    } while (!journal_line_has_id(line, id));
    reader->report.rows = 0;
    return true;
}

void journal_reader_report(const struct journal_reader *reader, struct journal_reader_report *out)
{
    *out = reader->report;
}
