/* A reader over one buffer that hands out a field at a time, so that nothing longer than a field is
 * ever held. Fields of columns that were not selected are scanned by the same code and dropped.
 * Format: RFC 4180, read strictly. */
#include "model/dataset.h"

#include "base/number.h"

#include <errno.h>
#include <inttypes.h>
#include <sha2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

enum { BUFFER_BYTES = 1 << 16, QUOTED_MAX = 48, FIRST_ROWS = 1024 };

static const size_t not_selected = SIZE_MAX;

enum field_end { END_FIELD, END_ROW, END_FILE };

struct column {
    char *name; /* owned by dataset.columns */
    size_t place;
};

struct dataset {
    FILE *in, *owned; /* owned: to be closed, or NULL */
    char *name;
    off_t start; /* position of the first byte in `in`; -1 if it has none */

    struct column *columns; /* (column_count), in the file's order */
    struct column *sorted;  /* (column_count), the same by name */
    size_t *slot;           /* (column_count), place in a row, or not_selected */
    size_t column_count, selected;

    uint64_t max_rows, rows;
    uint64_t line;       /* of the next byte */
    uint64_t row_line;   /* on which the row began */
    uint64_t read;       /* bytes of this pass that have been in the buffer */
    uint64_t row_offset; /* of the row's first byte */
    bool ended;

    SHA2_CTX digest;
    char sha256[SHA256_DIGEST_STRING_LENGTH]; /* of the first complete pass */

    size_t at, end; /* unread bytes of the buffer */
    size_t field_bytes;
    char field[DATASET_MAX_FIELD];
    char buffer[BUFFER_BYTES];
};

/* ---- bytes ---- */

/* Makes sure that a byte is there; false at the end of the file or on a read error. */
static bool fill(struct dataset *ds)
{
    if (ds->at < ds->end)
        return true;
    ds->at = 0;
    ds->end = fread(ds->buffer, 1, sizeof ds->buffer, ds->in);
    ds->read += ds->end;
    SHA256Update(&ds->digest, (const uint8_t *)ds->buffer, ds->end);
    return ds->end > 0;
}

/* The next byte, left where it is, or EOF. */
static int peek(struct dataset *ds)
{
    return fill(ds) ? (unsigned char)ds->buffer[ds->at] : EOF;
}

static bool take_if(struct dataset *ds, int byte)
{
    if (peek(ds) != byte)
        return false;
    ds->at++;
    ds->line += byte == '\n';
    return true;
}

/* ---- errors ---- */

static bool refuse(const struct dataset *ds, struct error *err)
{
    error_prefix(err, "%s:%" PRIu64, ds->name, ds->row_line);
    return false;
}

/* Text of the file as a message can show it: short, and without control bytes. */
static const char *quote(const char *text, size_t n, char out[QUOTED_MAX])
{
    size_t kept = n <= QUOTED_MAX - 4 ? n : QUOTED_MAX - 4;
    while (kept < n && kept > 0 && ((unsigned char)text[kept] & 0xC0) == 0x80)
        kept--;
    for (size_t i = 0; i < kept; i++)
        out[i] = (unsigned char)text[i] < ' ' || text[i] == 0x7F ? '?' : text[i];
    memcpy(out + kept, "...", 4);
    if (kept == n)
        out[kept] = '\0';
    return out;
}

/* A read error looks like the end of the file until somebody asks. */
static bool check_stream(const struct dataset *ds, struct error *err)
{
    return ferror(ds->in) == 0 || error_set(err, ERR_INTERNAL, "read error: %s", strerror(errno));
}

/* ---- fields ---- */

static bool append(struct dataset *ds, const char *bytes, size_t n, struct error *err)
{
    if (n > sizeof ds->field - ds->field_bytes)
        return error_set(err, ERR_TOO_LARGE, "expected a field of at most %d bytes",
                         DATASET_MAX_FIELD);
    memcpy(ds->field + ds->field_bytes, bytes, n);
    ds->field_bytes += n;
    return true;
}

/* Appends the bytes before the next one that is special here. */
static bool append_plain(struct dataset *ds, bool quoted, struct error *err)
{
    size_t from = ds->at, at = from;
    for (; at < ds->end; at++) {
        char c = ds->buffer[at];
        if (c == '"' || c == '\0' || c == '\n' || (!quoted && (c == ',' || c == '\r')))
            break;
    }
    ds->at = at;
    return append(ds, ds->buffer + from, at - from, err);
}

/* What comes after a field. */
static bool end_field(struct dataset *ds, enum field_end *end, struct error *err)
{
    bool carriage_return = false;
    *end = END_ROW;
    if (take_if(ds, '\n'))
        return true;
    if (take_if(ds, ',')) {
        *end = END_FIELD;
        return true;
    }
    if (take_if(ds, '\r')) {
        carriage_return = true;
        if (take_if(ds, '\n'))
            return true;
    }
    if (peek(ds) == EOF && !carriage_return) {
        *end = END_FILE;
        return true;
    }
    return error_set(err, ERR_INVALID, "expected a comma or a line end after a field, got %s",
                     carriage_return    ? "a bare CR"
                     : peek(ds) == '"'  ? "a quote"
                     : peek(ds) == '\0' ? "a NUL byte"
                                        : "text behind the closing quote");
}

static bool read_plain(struct dataset *ds, enum field_end *end, struct error *err)
{
    do {
        if (!append_plain(ds, false, err))
            return false;
    } while (ds->at == ds->end && fill(ds));
    return end_field(ds, end, err);
}

static bool read_quoted(struct dataset *ds, enum field_end *end, struct error *err)
{
    for (;;) {
        if (fill(ds) && !append_plain(ds, true, err))
            return false;
        if (take_if(ds, '"')) {
            if (!take_if(ds, '"'))
                return end_field(ds, end, err);
            if (!append(ds, "\"", 1, err))
                return false;
        } else if (take_if(ds, '\n')) {
            if (!append(ds, "\n", 1, err))
                return false;
        } else if (peek(ds) == '\0') {
            return error_set(err, ERR_INVALID, "expected text in quotes, got a NUL byte");
        } else if (peek(ds) == EOF) {
            return error_set(err, ERR_INVALID, "expected a closing quote, got the end of the file");
        }
    }
}

/* Reads one field into ds->field. */
static bool read_field(struct dataset *ds, enum field_end *end, struct error *err)
{
    ds->field_bytes = 0;
    bool ok = take_if(ds, '"') ? read_quoted(ds, end, err) : read_plain(ds, end, err);
    if (!check_stream(ds, err))
        return false;
    if (ok && ds->read - (ds->end - ds->at) - ds->row_offset > DATASET_MAX_RECORD)
        return error_set(err, ERR_TOO_LARGE, "expected a row of at most %d bytes",
                         DATASET_MAX_RECORD);
    return ok;
}

static void begin_row(struct dataset *ds)
{
    ds->row_line = ds->line;
    ds->row_offset = ds->read - (ds->end - ds->at);
}

static bool at_line_end(struct dataset *ds)
{
    int c = peek(ds);
    return c == '\n' || c == '\r';
}

/* ---- header ---- */

static bool add_column(struct dataset *ds, struct error *err)
{
    if (ds->column_count == DATASET_MAX_COLUMNS)
        return error_set(err, ERR_TOO_LARGE, "expected at most %d columns", DATASET_MAX_COLUMNS);
    char *name = strndup(ds->field, ds->field_bytes);
    if (name == NULL)
        return error_set(err, ERR_NO_MEMORY, "out of memory");
    ds->columns[ds->column_count] = (struct column){name, ds->column_count};
    ds->column_count++;
    return true;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct column *)a)->name, ((const struct column *)b)->name);
}

static bool sort_columns(struct dataset *ds, struct error *err)
{
    char text[QUOTED_MAX];
    memcpy(ds->sorted, ds->columns, ds->column_count * sizeof *ds->sorted);
    qsort(ds->sorted, ds->column_count, sizeof *ds->sorted, compare_names);
    for (size_t j = 1; j < ds->column_count; j++)
        if (compare_names(&ds->sorted[j - 1], &ds->sorted[j]) == 0)
            return error_set(err, ERR_INVALID, "expected different column names, got \"%s\" twice",
                             quote(ds->sorted[j].name, strlen(ds->sorted[j].name), text));
    return true;
}

static const struct column *find_column(const struct dataset *ds, const char *name)
{
    struct column key = {(char *)name, 0};
    return bsearch(&key, ds->sorted, ds->column_count, sizeof key, compare_names);
}

/* Starts a pass at the first byte. */
static void begin_pass(struct dataset *ds)
{
    ds->at = ds->end = 0;
    ds->read = ds->rows = 0;
    ds->line = 1;
    ds->ended = false;
    SHA256Init(&ds->digest);
    if (fill(ds) && ds->end >= 3 && memcmp(ds->buffer, "\xEF\xBB\xBF", 3) == 0)
        ds->at = 3;
    begin_row(ds);
}

static bool read_header(struct dataset *ds, struct error *err)
{
    enum field_end end = END_FIELD;
    bool empty = peek(ds) == EOF;
    if (!check_stream(ds, err))
        return false;
    if (empty)
        return error_set(err, ERR_INVALID, "expected a header line, got an empty file");
    if (at_line_end(ds))
        return error_set(err, ERR_INVALID, "expected a header line, got a blank one");
    while (end == END_FIELD)
        if (!read_field(ds, &end, err) || !add_column(ds, err))
            return false;
    return sort_columns(ds, err);
}

static bool field_is(const struct dataset *ds, const char *text)
{
    return strlen(text) == ds->field_bytes && memcmp(text, ds->field, ds->field_bytes) == 0;
}

/* The header again, on a later pass. */
static bool skip_header(struct dataset *ds, struct error *err)
{
    enum field_end end = END_FIELD;
    size_t fields = 0;
    bool same = true;
    for (; end == END_FIELD; fields++) {
        if (!read_field(ds, &end, err))
            return false;
        same = same && fields < ds->column_count && field_is(ds, ds->columns[fields].name);
    }
    if (!same || fields != ds->column_count)
        return error_set(err, ERR_INVALID, "expected the header of the first pass, got another");
    return true;
}

/* ---- rows ---- */

static bool store_field(const struct dataset *ds, const struct column *column, double *row,
                        struct error *err)
{
    char name[QUOTED_MAX], text[QUOTED_MAX];
    size_t slot = ds->slot[column->place];
    if (slot == not_selected)
        return true;
    enum number_status status = number_read_text(ds->field, ds->field_bytes, &row[slot]);
    if (status == NUMBER_OK)
        return true;
    return error_set(err, ERR_INVALID, "column \"%s\": expected %s, got \"%s\"",
                     quote(column->name, strlen(column->name), name),
                     status == NUMBER_OVERFLOW ? "a number of double range" : "a number",
                     quote(ds->field, ds->field_bytes, text));
}

/* A wrong number of fields explains a bad cell, so it is reported before one. */
static bool read_fields(struct dataset *ds, double *row, struct error *err)
{
    enum field_end end = END_FIELD;
    size_t fields = 0;
    bool stored = true;
    for (; end == END_FIELD; fields++) {
        if (!read_field(ds, &end, err))
            return false;
        if (stored && fields < ds->column_count)
            stored = store_field(ds, &ds->columns[fields], row, err);
    }
    if (fields != ds->column_count)
        return error_set(err, ERR_INVALID, "expected %zu fields, got %zu", ds->column_count,
                         fields);
    return stored;
}

static bool end_pass(struct dataset *ds, struct error *err)
{
    char sha256[sizeof ds->sha256];
    SHA256End(&ds->digest, sha256);
    ds->ended = true;
    if (ds->sha256[0] == '\0')
        memcpy(ds->sha256, sha256, sizeof sha256);
    if (strcmp(ds->sha256, sha256) != 0)
        return error_set(err, ERR_INVALID, "%s: changed since it was first read", ds->name);
    return true;
}

/* Passes over blank lines, which only the end of the file may follow. */
static bool skip_blank_lines(struct dataset *ds, struct error *err)
{
    enum field_end end = END_ROW;
    if (!at_line_end(ds))
        return true;
    while (at_line_end(ds))
        if (!read_field(ds, &end, err))
            return false;
    if (peek(ds) != EOF)
        return error_set(err, ERR_INVALID, "expected %zu fields, got a blank line",
                         ds->column_count);
    return true;
}

/* Reads one row, or sees that there is none: ds->ended. */
static bool read_row(struct dataset *ds, double *row, struct error *err)
{
    begin_row(ds);
    if (!skip_blank_lines(ds, err))
        return refuse(ds, err);
    bool end = peek(ds) == EOF;
    if (!check_stream(ds, err))
        return refuse(ds, err);
    if (end)
        return end_pass(ds, err);
    if (ds->rows == ds->max_rows) {
        error_set(err, ERR_TOO_LARGE, "expected at most %" PRIu64 " rows", ds->max_rows);
        return refuse(ds, err);
    }
    ds->rows++;
    return read_fields(ds, row, err) || refuse(ds, err);
}

bool dataset_read(struct dataset *ds, size_t max_rows, double *x, size_t *rows, struct error *err)
{
    uint64_t before = ds->rows;
    *rows = 0;
    while (*rows < max_rows && !ds->ended) {
        if (!read_row(ds, x + *rows * ds->selected, err))
            return false;
        *rows = (size_t)(ds->rows - before);
    }
    return true;
}

bool dataset_read_all(struct dataset *ds, struct matrix *out, struct error *err)
{
    size_t rows = 0;
    if (!matrix_init(out, FIRST_ROWS, ds->selected, err))
        return false;
    for (size_t used = 0; !ds->ended; used += rows) {
        if (used == out->rows && !matrix_resize(out, out->rows * 2, err))
            goto fail;
        if (!dataset_read(ds, out->rows - used, matrix_row(out, used), &rows, err))
            goto fail;
    }
    if (matrix_resize(out, (size_t)ds->rows, err))
        return true;
fail:
    matrix_clear(out);
    return false;
}

/* ---- life ---- */

static bool open_table(struct dataset *ds, struct error *err)
{
    ds->columns = calloc(DATASET_MAX_COLUMNS, sizeof *ds->columns);
    ds->sorted = calloc(DATASET_MAX_COLUMNS, sizeof *ds->sorted);
    ds->slot = calloc(DATASET_MAX_COLUMNS, sizeof *ds->slot);
    if (ds->columns == NULL || ds->sorted == NULL || ds->slot == NULL)
        return error_set(err, ERR_NO_MEMORY, "out of memory");
    begin_pass(ds);
    return read_header(ds, err);
}

struct dataset *dataset_new(FILE *in, const char *name, uint64_t max_rows, struct error *err)
{
    struct dataset *ds = calloc(1, sizeof *ds);
    if (ds == NULL || (ds->name = strdup(name)) == NULL) {
        error_set(err, ERR_NO_MEMORY, "%s: out of memory", name);
        free(ds);
        return NULL;
    }
    ds->in = in;
    ds->max_rows = max_rows;
    ds->start = ftello(in);
    if (open_table(ds, err))
        return ds;
    refuse(ds, err);
    dataset_free(ds);
    return NULL;
}

struct dataset *dataset_new_path(const char *path, uint64_t max_rows, struct error *err)
{
    if (strcmp(path, "-") == 0)
        return dataset_new(stdin, "standard input", max_rows, err);
    FILE *in = fopen(path, "rb");
    if (in == NULL) {
        error_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_INTERNAL, "%s: %s", path,
                  strerror(errno));
        return NULL;
    }
    struct dataset *ds = dataset_new(in, path, max_rows, err);
    if (ds != NULL)
        ds->owned = in;
    else
        (void)fclose(in);
    return ds;
}

void dataset_free(struct dataset *ds)
{
    if (ds == NULL)
        return;
    for (size_t j = 0; j < ds->column_count; j++)
        free(ds->columns[j].name);
    free(ds->columns);
    free(ds->sorted);
    free(ds->slot);
    free(ds->name);
    if (ds->owned != NULL)
        (void)fclose(ds->owned);
    free(ds);
}

size_t dataset_column_count(const struct dataset *ds)
{
    return ds->column_count;
}

const char *dataset_column_name(const struct dataset *ds, size_t column)
{
    return ds->columns[column].name;
}

bool dataset_select(struct dataset *ds, const char *const *names, size_t count, struct error *err)
{
    char text[QUOTED_MAX];
    for (size_t j = 0; j < ds->column_count; j++)
        ds->slot[j] = not_selected;
    ds->selected = count;
    for (size_t i = 0; i < count; i++) {
        const struct column *found = find_column(ds, names[i]);
        const char *shown = quote(names[i], strlen(names[i]), text);
        if (found == NULL)
            return error_set(err, ERR_INVALID, "%s:1: expected a column \"%s\", got none", ds->name,
                             shown);
        size_t *slot = &ds->slot[found->place];
        if (*slot != not_selected)
            return error_set(err, ERR_INVALID, "%s:1: column \"%s\": selected twice", ds->name,
                             shown);
        *slot = i;
    }
    return true;
}

bool dataset_rewind(struct dataset *ds, struct error *err)
{
    if (ds->start < 0 || fseeko(ds->in, ds->start, SEEK_SET) != 0)
        return error_set(err, ERR_INVALID, "%s: cannot be read twice, expected a regular file",
                         ds->name);
    begin_pass(ds);
    return skip_header(ds, err) || refuse(ds, err);
}

uint64_t dataset_rows(const struct dataset *ds)
{
    return ds->rows;
}

const char *dataset_sha256(const struct dataset *ds)
{
    return ds->sha256;
}
