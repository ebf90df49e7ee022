#include "model/feedback_rows.h"

#include "base/journal_format.h"
#include "base/number.h"
#include "model/dataset.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { SOURCES_MAX = 4096 };

const char *const feedback_drop_words[FEEDBACK_DROPS] = {
    "damaged", "unreadable", "feature_range", "target_range", "duplicate", "before_shift", "old"};

/* What a field of a line is: a column of the row, or one of these. */
enum { PLACE_TIME = -1, PLACE_ID = -2, PLACE_NONE = -3 };

/* A file that is being read. */
struct reading {
    struct feedback_rows *rows;
    struct feedback_source *source;
    size_t number; /* of the source */
    FILE *in;
    char *line; /* (FEEDBACK_LINE_MAX) */
    size_t n;   /* bytes of it, with the LF; more than FEEDBACK_LINE_MAX: too long */
    uint64_t at;
    int *places; /* (columns): what the header says each field is */
    size_t columns;
    double *values; /* (features + 1) */
};

static bool no_memory(struct error *err)
{
    return error_set(err, ERR_NO_MEMORY, "feedback: out of memory");
}

void dropped_add(struct dropped *dropped, const char *fmt, ...)
{
    va_list args;
    if (dropped->rows++ > 0)
        return;
    va_start(args, fmt);
    (void)vsnprintf(dropped->first, sizeof dropped->first, fmt, args);
    va_end(args);
}

/* ---- lines ---- */

/* Reads to the LF or the end of the file; r->n is 0 there. */
static bool read_line(struct reading *r, struct error *err)
{
    int c = 0;
    for (r->n = 0; c != '\n' && (c = getc(r->in)) != EOF;) {
        if (r->n < FEEDBACK_LINE_MAX)
            r->line[r->n] = (char)c;
        r->n += r->n <= FEEDBACK_LINE_MAX;
    }
    r->at++;
    return !ferror(r->in) ||
           error_set(err, ERR_INTERNAL, "%s: %s", r->source->path, strerror(errno));
}

/* Takes the field at *p, unquoted where it stands; *last: there is none behind it. */
static bool take_field(char **p, const char *end, struct span *field, bool *last)
{
    char *from = *p, *to = *p;
    bool quoted = from < end && *from == '"';
    for (from += quoted; from < end && (quoted || *from != ','); *to++ = *from++)
        if (quoted && *from == '"' && (++from == end || *from != '"')) {
            quoted = false;
            break;
        }
    if (quoted || (from < end && *from != ','))
        return false;
    *field = (struct span){*p, (size_t)(to - *p)};
    *last = from == end;
    *p = from + !*last;
    return true;
}

/* ---- the header ---- */

static size_t find_name(const struct dataset *header, const char *name, size_t underscores)
{
    size_t n = dataset_column_count(header);
    for (size_t i = 0; i < n; i++) {
        const char *column = dataset_column_name(header, i);
        if (strspn(column, "_") >= underscores && strcmp(column + underscores, name) == 0)
            return i;
    }
    return n;
}

static bool find_place(struct reading *r, const struct dataset *header, const char *name,
                       size_t underscores, int place, struct error *err)
{
    size_t at = find_name(header, name, underscores);
    if (at == r->columns)
        return error_set(err, ERR_INVALID, "%s:1: expected a column \"%.*s%.64s\", got none",
                         r->source->path, (int)underscores, "________", name);
    r->places[at] = place;
    return true;
}

static bool find_places(struct reading *r, const struct dataset *header, const char **names,
                        struct error *err)
{
    const struct plausible *p = r->rows->plausible;
    size_t count = p->features + 1;
    for (size_t j = 0; j < count; j++)
        names[j] = plausible_column(p, j);
    for (size_t i = 0; i < r->columns; i++)
        r->places[i] = PLACE_NONE;
    for (size_t j = 0; j < count; j++)
        if (!find_place(r, header, names[j], 0, (int)j, err))
            return false;
    if (!find_place(r, header, "time", journal_underscores("time", names, count), PLACE_TIME,
                    err) ||
        !find_place(r, header, "id", journal_underscores("id", names, count), PLACE_ID, err))
        return false;
    size_t crc = find_name(header, "crc32", journal_underscores("crc32", names, count));
    return crc == r->columns - 1 ||
           error_set(err, ERR_INVALID, "%s:1: expected the last column to be crc32",
                     r->source->path);
}

static bool read_places(struct reading *r, const struct dataset *header, struct error *err)
{
    size_t count = r->rows->plausible->features + 1;
    const char **names = calloc(count, sizeof *names);
    r->columns = dataset_column_count(header);
    r->places = calloc(r->columns, sizeof *r->places);
    bool ok =
        names != NULL && r->places != NULL ? find_places(r, header, names, err) : no_memory(err);
    free(names);
    return ok;
}

static bool read_header(struct reading *r, struct error *err)
{
    if (!read_line(r, err))
        return false;
    if (r->n == 0 || r->n > FEEDBACK_LINE_MAX)
        return error_set(err, ERR_INVALID, "%s:1: expected a header line of at most %d bytes",
                         r->source->path, FEEDBACK_LINE_MAX);
    FILE *text = fmemopen(r->line, r->n, "rb");
    if (text == NULL)
        return no_memory(err);
    struct dataset *header = dataset_new(text, r->source->path, 0, err);
    bool ok = header != NULL && read_places(r, header, err);
    dataset_free(header);
    (void)fclose(text);
    return ok;
}

/* ---- rows ---- */

/* Stores a field; false if it is none of its column. */
static bool store(struct reading *r, size_t column, struct span field, struct feedback_row *row)
{
    int place = column < r->columns ? r->places[column] : PLACE_NONE;
    if (place == PLACE_NONE)
        return true;
    if (place == PLACE_ID) {
        row->id = field;
        return field.n > 0;
    }
    double *to = place == PLACE_TIME ? &row->time : &r->values[place];
    return number_read_text(field.p, field.n, to) == NUMBER_OK && (place != PLACE_TIME || *to >= 0);
}

static void drop(struct reading *r, enum feedback_drop why, const char *what)
{
    dropped_add(&r->source->dropped[why], "line %" PRIu64 ": %s", r->at, what);
}

/* Splits the line; false if it is no row, which has been dropped then. */
static bool parse_line(struct reading *r, struct feedback_row *row)
{
    char *p = r->line, message[64];
    const char *end = r->line + r->n - 1;
    struct span field;
    bool last = false;
    size_t fields = 0;
    for (; !last; fields++) {
        if (!take_field(&p, end, &field, &last)) {
            drop(r, DROP_UNREADABLE, "expected a closing quote and a comma");
            return false;
        }
        if (!store(r, fields, field, row)) {
            (void)snprintf(message, sizeof message, "field %zu: expected %s", fields + 1,
                           r->places[fields] == PLACE_ID ? "an id" : "a number");
            drop(r, DROP_UNREADABLE, message);
            return false;
        }
    }
    (void)snprintf(message, sizeof message, "expected %zu fields, got %zu", r->columns, fields);
    if (fields != r->columns)
        drop(r, DROP_UNREADABLE, message);
    return fields == r->columns;
}

static bool is_plausible(struct reading *r)
{
    const struct plausible *p = r->rows->plausible;
    size_t at = plausible_check(p, r->values, p->features + 1);
    if (at > p->features)
        return true;
    dropped_add(&r->source->dropped[at < p->features ? DROP_FEATURE_RANGE : DROP_TARGET_RANGE],
                "line %" PRIu64 ": %.64s: expected %g to %g, got %g", r->at,
                plausible_column(p, at), p->low[at], p->high[at], r->values[at]);
    return false;
}

static bool check_room(const struct feedback_rows *f, struct error *err)
{
    size_t most = FEEDBACK_NUMBERS_MAX / (f->plausible->features + 1);
    most = most < FEEDBACK_ROWS_MAX ? most : FEEDBACK_ROWS_MAX;
    return f->count < most ||
           error_set(err, ERR_TOO_LARGE, "feedback: expected at most %zu rows in all files", most);
}

static bool keep(struct reading *r, struct feedback_row *row, struct error *err)
{
    struct feedback_rows *f = r->rows;
    size_t count = f->plausible->features + 1;
    if (!check_room(f, err))
        return false;
    if (f->count == f->capacity) {
        size_t capacity = 2 * f->capacity + 1024;
        struct feedback_row *larger = realloc(f->rows, capacity * sizeof *larger);
        if (larger == NULL)
            return no_memory(err);
        f->rows = larger;
        f->capacity = capacity;
    }
    double *values = arena_array(f->arena, count, sizeof *values);
    char *id = arena_alloc(f->arena, row->id.n);
    if (values == NULL || id == NULL)
        return no_memory(err);
    memcpy(values, r->values, count * sizeof *values);
    memcpy(id, row->id.p, row->id.n);
    row->id.p = id;
    row->values = values;
    f->rows[f->count++] = *row;
    return true;
}

static bool take_line(struct reading *r, struct error *err)
{
    struct feedback_row row = {.source = r->number, .line = r->at};
    r->source->rows++;
    if (r->n > FEEDBACK_LINE_MAX || !journal_crc_holds((struct span){r->line, r->n})) {
        drop(r, DROP_DAMAGED, "expected its CRC-32 in the last column");
        return true;
    }
    memcpy(row.crc, r->line + r->n - 1 - sizeof row.crc, sizeof row.crc);
    return !parse_line(r, &row) || !is_plausible(r) || keep(r, &row, err);
}

static bool read_rows(struct reading *r, struct error *err)
{
    r->line = malloc(FEEDBACK_LINE_MAX);
    r->values = calloc(r->rows->plausible->features + 1, sizeof *r->values);
    if (r->line == NULL || r->values == NULL)
        return no_memory(err);
    if (!read_header(r, err))
        return false;
    while (read_line(r, err)) {
        if (r->n == 0)
            return true;
        if (!take_line(r, err))
            return false;
    }
    return false;
}

bool feedback_rows_read(struct feedback_rows *f, FILE *in, const char *path, struct error *err)
{
    if (f->source_count == SOURCES_MAX)
        return error_set(err, ERR_TOO_LARGE, "feedback: expected at most %d files", SOURCES_MAX);
    struct feedback_source *larger =
        realloc(f->sources, (f->source_count + 1) * sizeof *f->sources);
    if (larger == NULL)
        return no_memory(err);
    f->sources = larger;
    f->sources[f->source_count] = (struct feedback_source){.path = path};
    struct reading r = {
        .rows = f, .source = &f->sources[f->source_count], .number = f->source_count, .in = in};
    f->source_count++;
    bool ok = read_rows(&r, err);
    free(r.line);
    free(r.values);
    free(r.places);
    return ok;
}

bool feedback_rows_read_path(struct feedback_rows *f, const char *path, struct error *err)
{
    FILE *in = fopen(path, "rb");
    if (in == NULL)
        return error_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_INTERNAL, "%s: %s", path,
                         strerror(errno));
    bool ok = feedback_rows_read(f, in, path, err);
    (void)fclose(in);
    return ok;
}

bool feedback_rows_init(struct feedback_rows *f, const struct plausible *plausible,
                        struct error *err)
{
    *f = (struct feedback_rows){.plausible = plausible, .arena = arena_new(1 << 16, 0)};
    return f->arena != NULL || no_memory(err);
}

void feedback_rows_clear(struct feedback_rows *f)
{
    free(f->rows);
    free(f->sources);
    arena_free(f->arena);
    *f = (struct feedback_rows){0};
}

/* ---- order ---- */

static int compare_numbers(double a, double b)
{
    return (a > b) - (a < b);
}

/* Of rows that agree in id and time, the order of the files counts only where they are the same. */
static int compare_rest(const struct feedback_row *a, const struct feedback_row *b)
{
    int order = memcmp(a->crc, b->crc, sizeof a->crc);
    if (order != 0)
        return order;
    if (a->source != b->source)
        return a->source < b->source ? -1 : 1;
    return (a->line > b->line) - (a->line < b->line);
}

static int by_id(const void *x, const void *y)
{
    const struct feedback_row *a = x, *b = y;
    int order = span_compare(a->id, b->id);
    if (order == 0)
        order = compare_numbers(a->time, b->time);
    return order != 0 ? order : compare_rest(a, b);
}

static int by_time(const void *x, const void *y)
{
    const struct feedback_row *a = x, *b = y;
    int order = compare_numbers(a->time, b->time);
    return order != 0 ? order : span_compare(a->id, b->id);
}

static void drop_duplicates(struct feedback_rows *f)
{
    size_t kept = 0;
    if (f->count > 0)
        qsort(f->rows, f->count, sizeof *f->rows, by_id);
    for (size_t i = 0; i < f->count; i++) {
        const struct feedback_row *row = &f->rows[i], *first = &f->rows[kept > 0 ? kept - 1 : 0];
        if (i > 0 && span_compare(row->id, first->id) == 0)
            dropped_add(&f->sources[row->source].dropped[DROP_DUPLICATE],
                        "line %" PRIu64 ": its id is that of %s:%" PRIu64, row->line,
                        f->sources[first->source].path, first->line);
        else
            f->rows[kept++] = *row;
    }
    f->count = kept;
}

void feedback_rows_arrange(struct feedback_rows *f, size_t recent)
{
    drop_duplicates(f);
    if (f->count > 0)
        qsort(f->rows, f->count, sizeof *f->rows, by_time);
    if (recent > 0 && f->count > recent)
        feedback_rows_drop_first(f, f->count - recent, DROP_OLD);
}

void feedback_rows_drop_first(struct feedback_rows *f, size_t count, enum feedback_drop why)
{
    for (size_t i = 0; i < count; i++)
        dropped_add(&f->sources[f->rows[i].source].dropped[why],
                    "line %" PRIu64 ": %zu rows follow", f->rows[i].line, f->count - i - 1);
    f->count -= count;
    if (count > 0)
        memmove(f->rows, f->rows + count, f->count * sizeof *f->rows);
}

struct span feedback_request(struct span id)
{
    size_t n = id.n;
    while (n > 0 && id.p[n - 1] >= '0' && id.p[n - 1] <= '9')
        n--;
    bool row = n > 1 && n < id.n && id.p[n - 1] == '/';
    return (struct span){id.p, row ? n - 1 : id.n};
}
