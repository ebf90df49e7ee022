/* The body is walked once; the value of `instances` or `inputs` is decoded as a matrix on the way if
 * it is one, else its span is kept and read again cell by cell. By then it is known to be valid JSON,
 * so the second reading words errors of shape and value only. There a dict row is collected first,
 * one span per feature: so the last of duplicates counts, and lists are compared before rows are made
 * of them, which keeps memory in proportion to the cells that were sent. */
#include "server/predictor/v1.h"

#include "base/json.h"
#include "base/number.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QUOTED_MAX = 40, QUOTED_SIZE = QUOTED_MAX + sizeof "...", PLACE_SIZE = 64 };

#define UNRECOGNIZED "Unrecognized request format" /* KServe's words for what does not parse */
#define WANTED       "expected a JSON object with \"instances\" or \"inputs\""

/* The members that are looked at; of the first two the later counts. */
enum { INSTANCES, INPUTS, PARAMETERS, MEMBERS };

/* What stands under one of their names. */
struct candidate {
    const char *name;
    bool found, decoded;
    struct json_matrix matrix; /* when decoded */
    struct span text;          /* otherwise */
};

/* What the rows are, as the first of them tells; the others have to follow. */
enum form { FORM_OPEN, FORM_LISTS, FORM_NAMED };

/* A feature's name and its place in the model. */
struct feature {
    const char *name;
    size_t index;
};

/* The second reading: where it is and what it has. */
struct decoder {
    const struct model *model;
    struct arena *arena;
    const char *member; /* "instances" or "inputs" */
    size_t features, max_rows;
    double *x;
    size_t rows, capacity; /* in rows */
    enum form form;
    size_t element; /* index in the list */
    size_t inner;   /* index inside [[{...}]]; SIZE_MAX elsewhere */

    struct span *values;     /* by feature, of the dict being read; NULL before the first dict */
    struct feature *by_name; /* sorted; NULL until a name came out of order */
    size_t next;             /* feature whose name the model's order has next */
};

/* ---- words ---- */

static bool no_memory(struct error *err)
{
    return error_set(err, ERR_NO_MEMORY, "out of memory");
}

static const char *kind_name(enum json_kind kind)
{
    static const char *const names[] = {
        [JSON_NULL] = "null",       [JSON_FALSE] = "false",     [JSON_TRUE] = "true",
        [JSON_NUMBER] = "a number", [JSON_STRING] = "a string", [JSON_ARRAY] = "a list",
        [JSON_OBJECT] = "an object"};
    return names[kind];
}

static bool is_control(const char *p, size_t n)
{
    return *p == 0x7f || (n == 2 && (unsigned char)p[0] == 0xc2 && (unsigned char)p[1] < 0xa0);
}

/* Text as a message may show it: cut short at a character, without the control characters that JSON
 * lets through. A client's text comes as it was sent, its own escapes left in. */
static const char *quote(struct span text, char out[QUOTED_SIZE])
{
    const char *p = text.p, *end = text.p + text.n;
    size_t n = 0, length;
    for (; p < end; p += length) {
        length = json_utf8_length(p, end);
        bool control = is_control(p, length);
        size_t takes = control ? 6 : length;
        if (length == 0 || takes > QUOTED_MAX - n)
            break;
        if (control)
            (void)snprintf(out + n, 7, "\\u%04x", (unsigned char)p[length - 1]);
        else
            memcpy(out + n, p, length);
        n += takes;
    }
    (void)snprintf(out + n, QUOTED_SIZE - n, "%s", p < end ? "..." : "");
    return out;
}

static const char *quote_name(const struct decoder *d, size_t j, char out[QUOTED_SIZE])
{
    const char *name = model_feature_name(d->model, j);
    return quote((struct span){name, strlen(name)}, out);
}

/* "instances[3]", or "instances[0][2]" within [[{...}]] */
static const char *place(const struct decoder *d, char out[PLACE_SIZE])
{
    int n = snprintf(out, PLACE_SIZE, "%s[%zu]", d->member, d->element);
    if (d->inner != SIZE_MAX)
        (void)snprintf(out + n, PLACE_SIZE - (size_t)n, "[%zu]", d->inner);
    return out;
}

/* These put a place in front of what is wrong there, and return false. */

static bool at_row(const struct decoder *d, struct error *err)
{
    char at[PLACE_SIZE];
    error_prefix(err, "%s", place(d, at));
    return false;
}

static bool at_column(const struct decoder *d, size_t j, struct error *err)
{
    char at[PLACE_SIZE];
    error_prefix(err, "%s[%zu]", place(d, at), j);
    return false;
}

static bool at_feature(const struct decoder *d, size_t j, struct error *err)
{
    char at[PLACE_SIZE], name[QUOTED_SIZE];
    error_prefix(err, "%s.%s", place(d, at), quote_name(d, j, name));
    return false;
}

static bool at_listed(const struct decoder *d, size_t j, size_t k, struct error *err)
{
    char at[PLACE_SIZE], name[QUOTED_SIZE];
    error_prefix(err, "%s.%s[%zu]", place(d, at), quote_name(d, j, name), k);
    return false;
}

/* ---- one cell ---- */

/* What raw stands for; empty for text with \u0000, which so is neither a name nor a number. */
static bool unescape(struct arena *arena, struct span raw, struct span *text, struct error *err)
{
    struct json_reader r;
    struct error why;
    *text = raw;
    if (memchr(raw.p, '\\', raw.n) == NULL)
        return true;
    json_reader_init(&r, raw.p - 1, raw.n + 2); /* with its quotes */
    if (json_string(&r, arena, text, &why))
        return true;
    *text = (struct span){"", 0};
    return why.code != ERR_NO_MEMORY || no_memory(err);
}

static bool check_number(enum number_status status, struct span got, const char *mark,
                         struct error *err)
{
    char quoted[QUOTED_SIZE];
    return status == NUMBER_OK ||
           error_set(err, ERR_INVALID, "expected a %snumber, got %s%s%s",
                     status == NUMBER_OVERFLOW ? "finite " : "", mark, quote(got, quoted), mark);
}

static bool read_string(struct decoder *d, struct span token, double *value, struct error *err)
{
    struct span raw = {token.p + 1, token.n - 2}, text;
    return unescape(d->arena, raw, &text, err) &&
           check_number(number_read_text(text.p, text.n, value), raw, "\"", err);
}

/* A number, a numeric string or a boolean, as KServe takes them. */
static bool read_cell(struct decoder *d, struct json_reader *r, double *value, struct error *err)
{
    enum json_kind kind;
    struct span token;
    const char *end;
    if (!json_peek(r, &kind, err) || !json_skip(r, &token, err))
        return false;
    switch (kind) {
    case JSON_NUMBER:
        return check_number(number_read_json(token.p, token.p + token.n, value, &end), token, "",
                            err);
    case JSON_STRING:
        return read_string(d, token, value, err);
    case JSON_TRUE:
    case JSON_FALSE:
        *value = kind == JSON_TRUE;
        return true;
    case JSON_NULL:
    case JSON_ARRAY:
    case JSON_OBJECT:
        break;
    }
    return error_set(err, ERR_INVALID, "expected a number, got %s", kind_name(kind));
}

/* ---- rows ---- */

/* Where n more rows go, or NULL. */
static double *add_rows(struct decoder *d, size_t n, struct error *err)
{
    size_t first = d->rows, row_bytes = d->features * sizeof *d->x;
    if (n > d->max_rows - first) {
        (void)error_set(err, ERR_TOO_LARGE, "%s: expected at most %zu rows, got more", d->member,
                        d->max_rows);
        return NULL;
    }
    if (d->x == NULL || first + n > d->capacity) {
        /* The text holds every row but the last in full, so the products are of its order. */
        size_t capacity = 2 * d->capacity > first + n ? 2 * d->capacity : first + n;
        double *x = arena_grow(d->arena, d->x, d->capacity * row_bytes, capacity * row_bytes);
        if (x == NULL) {
            (void)no_memory(err);
            return NULL;
        }
        d->x = x;
        d->capacity = capacity;
    }
    d->rows += n;
    return d->x + first * d->features;
}

/* The rest of a list row; `more`: an element comes next. */
static bool read_list_row(struct decoder *d, struct json_reader *r, bool more, struct error *err)
{
    struct span extra;
    size_t n = 0;
    double *row = add_rows(d, 1, err);
    if (row == NULL)
        return false;
    for (; more; n++) {
        if (n < d->features && !read_cell(d, r, &row[n], err))
            return at_column(d, n, err);
        if ((n >= d->features && !json_skip(r, &extra, err)) || !json_next_element(r, &more, err))
            return false;
    }
    if (n == d->features)
        return true;
    (void)error_set(err, ERR_INVALID, "expected %zu number%s, got %zu", d->features,
                    d->features == 1 ? "" : "s", n);
    return at_row(d, err);
}

/* ---- rows by name ---- */

static int compare_features(const void *a, const void *b)
{
    return strcmp(((const struct feature *)a)->name, ((const struct feature *)b)->name);
}

static int compare_name(struct span name, const char *feature)
{
    int order = strncmp(name.p, feature, name.n);
    return order != 0 ? order : -(feature[name.n] != '\0');
}

static int compare_key(const void *key, const void *feature)
{
    return compare_name(*(const struct span *)key, ((const struct feature *)feature)->name);
}

static bool sort_features(struct decoder *d, struct error *err)
{
    d->by_name = arena_array(d->arena, d->features, sizeof *d->by_name);
    if (d->by_name == NULL)
        return no_memory(err);
    for (size_t j = 0; j < d->features; j++)
        d->by_name[j] = (struct feature){model_feature_name(d->model, j), j};
    qsort(d->by_name, d->features, sizeof *d->by_name, compare_features);
    return true;
}

static bool find_feature(struct decoder *d, struct span key, size_t *j, struct error *err)
{
    char quoted[QUOTED_SIZE];
    struct span name;
    *j = d->next++;
    if (!unescape(d->arena, key, &name, err))
        return false;
    if (*j < d->features && compare_name(name, model_feature_name(d->model, *j)) == 0)
        return true;
    if (d->by_name == NULL && !sort_features(d, err))
        return false;
    const struct feature *found =
        bsearch(&name, d->by_name, d->features, sizeof *d->by_name, compare_key);
    if (found == NULL) {
        (void)error_set(err, ERR_INVALID, "expected a feature of the model, got \"%s\"",
                        quote(key, quoted));
        return at_row(d, err);
    }
    *j = found->index;
    d->next = *j + 1;
    return true;
}

static bool check_complete(const struct decoder *d, struct error *err)
{
    char name[QUOTED_SIZE];
    for (size_t j = 0; j < d->features; j++)
        if (d->values[j].p == NULL) {
            (void)error_set(err, ERR_INVALID, "expected the feature \"%s\", which is missing",
                            quote_name(d, j, name));
            return at_row(d, err);
        }
    return true;
}

/* Fills d->values from the dict that comes next. */
static bool collect_values(struct decoder *d, struct json_reader *r, struct error *err)
{
    struct span key;
    bool more, escaped;
    size_t j;
    if (d->values == NULL)
        d->values = arena_array(d->arena, d->features, sizeof *d->values);
    if (d->values == NULL)
        return no_memory(err);
    for (j = 0; j < d->features; j++)
        d->values[j] = (struct span){NULL, 0};
    d->next = 0;
    if (!json_enter_object(r, err))
        return false;
    while (json_next_member(r, &more, &key, &escaped, err)) {
        if (!more)
            return check_complete(d, err);
        if (!find_feature(d, key, &j, err) || !json_skip(r, &d->values[j], err))
            return false;
    }
    return false;
}

/* How many cells the value of feature j lists. */
static bool count_listed(const struct decoder *d, size_t j, size_t *n, struct error *err)
{
    struct json_reader r;
    enum json_kind kind;
    struct span cell;
    bool more;
    char first[QUOTED_SIZE];
    json_reader_init(&r, d->values[j].p, d->values[j].n);
    if (!json_peek(&r, &kind, err))
        return false;
    if (kind != JSON_ARRAY) {
        (void)error_set(err, ERR_INVALID, "expected a list as for %s, got %s",
                        quote_name(d, 0, first), kind_name(kind));
        return at_feature(d, j, err);
    }
    if (!json_enter_array(&r, err))
        return false;
    for (*n = 0; json_next_element(&r, &more, err); (*n)++) {
        if (!more)
            return true;
        if (!json_skip(&r, &cell, err))
            return false;
    }
    return false;
}

/* How many rows the lists collected make. */
static bool count_rows(const struct decoder *d, size_t *rows, struct error *err)
{
    char first[QUOTED_SIZE];
    size_t n;
    if (!count_listed(d, 0, rows, err))
        return false;
    for (size_t j = 1; j < d->features; j++) {
        if (!count_listed(d, j, &n, err))
            return false;
        if (n != *rows) {
            (void)error_set(err, ERR_INVALID, "expected a list of %zu as for %s, got one of %zu",
                            *rows, quote_name(d, 0, first), n);
            return at_feature(d, j, err);
        }
    }
    return true;
}

/* The cells of feature j into column[0], column[d->features], ... */
static bool read_listed(struct decoder *d, size_t j, size_t rows, double *column, struct error *err)
{
    struct json_reader r;
    bool more;
    json_reader_init(&r, d->values[j].p, d->values[j].n);
    if (!json_enter_array(&r, err))
        return false;
    for (size_t k = 0; k < rows; k++) {
        if (!json_next_element(&r, &more, err))
            return false;
        if (!read_cell(d, &r, &column[k * d->features], err))
            return at_listed(d, j, k, err);
    }
    return true;
}

static bool read_bare(struct decoder *d, size_t j, double *cell, struct error *err)
{
    struct json_reader r;
    json_reader_init(&r, d->values[j].p, d->values[j].n);
    return read_cell(d, &r, cell, err) || at_feature(d, j, err);
}

/* {"a": 1, ...} is one row, {"a": [1, 2], ...} as many as its lists are long. */
static bool read_dict(struct decoder *d, struct json_reader *r, struct error *err)
{
    size_t rows = 1;
    if (!collect_values(d, r, err))
        return false;
    bool listed = d->inner == SIZE_MAX && d->values[0].p[0] == '[';
    if (listed && !count_rows(d, &rows, err))
        return false;
    double *x = add_rows(d, rows, err);
    if (x == NULL)
        return false;
    for (size_t j = 0; j < d->features; j++)
        if (!(listed ? read_listed(d, j, rows, x + j, err) : read_bare(d, j, x + j, err)))
            return false;
    return true;
}

/* ---- the second reading ---- */

/* Refuses a row that is not what it has to be. */
static bool wrong_row(const struct decoder *d, enum json_kind kind, struct error *err)
{
    if (d->form == FORM_OPEN && kind == JSON_NUMBER)
        return error_set(err, ERR_INVALID,
                         "%s: expected a list of rows, got a list of numbers; "
                         "wrap the row in another pair of brackets",
                         d->member);
    if (d->form == FORM_OPEN)
        (void)error_set(err, ERR_INVALID, "expected a list of numbers or an object, got %s",
                        kind_name(kind));
    else
        (void)error_set(err, ERR_INVALID, "expected %s like the first row, got %s",
                        d->form == FORM_LISTS ? "a list of numbers" : "an object", kind_name(kind));
    return at_row(d, err);
}

/* The rest of [{...}, ...]; `more`: an element comes next. */
static bool read_dicts(struct decoder *d, struct json_reader *r, bool more, struct error *err)
{
    enum json_kind kind;
    for (d->inner = 0; more; d->inner++) {
        if (!json_peek(r, &kind, err))
            return false;
        if (kind != JSON_OBJECT)
            return wrong_row(d, kind, err);
        if (!read_dict(d, r, err) || !json_next_element(r, &more, err))
            return false;
    }
    d->inner = SIZE_MAX;
    return true;
}

static bool read_list(struct decoder *d, struct json_reader *r, struct error *err)
{
    enum json_kind kind = JSON_NUMBER;
    bool more;
    if (!json_enter_array(r, err) || !json_next_element(r, &more, err) ||
        (more && !json_peek(r, &kind, err)))
        return false;
    if (d->form == FORM_OPEN)
        d->form = kind == JSON_OBJECT ? FORM_NAMED : FORM_LISTS;
    return d->form == FORM_NAMED ? read_dicts(d, r, more, err) : read_list_row(d, r, more, err);
}

static bool read_element(struct decoder *d, struct json_reader *r, struct error *err)
{
    enum json_kind kind;
    if (!json_peek(r, &kind, err))
        return false;
    if (kind == JSON_ARRAY)
        return read_list(d, r, err);
    if (kind != JSON_OBJECT || d->form == FORM_LISTS)
        return wrong_row(d, kind, err);
    d->form = FORM_NAMED;
    return read_dict(d, r, err);
}

static bool read_rows(struct decoder *d, struct span text, struct error *err)
{
    struct json_reader r;
    bool more;
    json_reader_init(&r, text.p, text.n);
    if (!json_enter_array(&r, err) || !json_next_element(&r, &more, err))
        return false;
    for (; more; d->element++)
        if (!read_element(d, &r, err) || !json_next_element(&r, &more, err))
            return false;
    return d->rows > 0 || error_set(err, ERR_INVALID,
                                    "%s: expected at least one row, got an empty list", d->member);
}

/* ---- the first ---- */

/* Takes the next value as a matrix, or keeps its span. Only one attempt is made for each name, so
 * that a body of duplicates costs what its length says. */
static bool take(const struct decoder *d, struct json_reader *r, bool attempt,
                 struct candidate *candidate, struct error *err)
{
    bool oom = false;
    attempt &= !candidate->found;
    candidate->found = true;
    candidate->decoded =
        attempt && json_matrix(r, d->arena, d->features, d->max_rows, &candidate->matrix, &oom);
    if (oom)
        return no_memory(err);
    return candidate->decoded || json_skip(r, &candidate->text, err);
}

static struct candidate *find_candidate(struct candidate found[MEMBERS], struct span name)
{
    for (size_t i = 0; i < MEMBERS; i++)
        if (strlen(found[i].name) == name.n && memcmp(found[i].name, name.p, name.n) == 0)
            return &found[i];
    return NULL;
}

static bool walk(const struct decoder *d, struct span body, struct candidate found[MEMBERS],
                 struct error *err)
{
    struct json_reader r;
    struct span key, name, ignored;
    bool more, escaped;
    json_reader_init(&r, body.p, body.n);
    if (!json_enter_object(&r, err))
        return false;
    while (json_next_member(&r, &more, &key, &escaped, err)) {
        if (!more)
            return json_end(&r, err);
        if (!unescape(d->arena, key, &name, err))
            return false;
        struct candidate *candidate = find_candidate(found, name);
        bool rows = candidate != NULL && candidate != &found[PARAMETERS];
        if (!(candidate != NULL ? take(d, &r, rows && !escaped, candidate, err)
                                : json_skip(&r, &ignored, err)))
            return false;
    }
    return false;
}

/* Words why the walk failed: a body that is valid JSON is merely not an object. */
static bool refuse_body(struct span body, struct error *err)
{
    struct json_reader r;
    struct span whole;
    enum json_kind kind;
    if (err->code == ERR_NO_MEMORY)
        return false;
    json_reader_init(&r, body.p, body.n);
    if (json_peek(&r, &kind, err) && kind != JSON_OBJECT && json_skip(&r, &whole, err) &&
        json_end(&r, err))
        return error_set(err, ERR_INVALID, "body: " WANTED ", got %s", kind_name(kind));
    error_prefix(err, UNRECOGNIZED);
    return false;
}

/* The candidate that counts, or NULL. As in KServe the other one has to be a list as well. */
static const struct candidate *choose(const struct candidate found[MEMBERS], struct error *err)
{
    const struct candidate *chosen = NULL;
    for (size_t i = INSTANCES; i <= INPUTS; i++) {
        if (!found[i].found)
            continue;
        chosen = &found[i];
        if (!chosen->decoded && chosen->text.p[0] != '[') {
            (void)error_set(err, ERR_INVALID, "Expected \"%s\" to be a list", chosen->name);
            return NULL;
        }
    }
    if (chosen == NULL)
        (void)error_set(err, ERR_INVALID, "body: " WANTED ", got one with neither");
    return chosen;
}

/* ---- parameters ---- */

/* The last value of that name in an object, or NULL in *value. */
static bool find_member(struct span object, const char *wanted, struct arena *arena,
                        struct span *value, struct error *err)
{
    struct json_reader r;
    struct span key, name, skipped;
    bool more, escaped;
    *value = (struct span){NULL, 0};
    json_reader_init(&r, object.p, object.n);
    if (!json_enter_object(&r, err))
        return false;
    while (json_next_member(&r, &more, &key, &escaped, err)) {
        if (!more)
            return true;
        if (!unescape(arena, key, &name, err) || !json_skip(&r, &skipped, err))
            return false;
        if (name.n == strlen(wanted) && memcmp(name.p, wanted, name.n) == 0)
            *value = skipped;
    }
    return false;
}

static bool read_level(struct span text, double *level, struct error *err)
{
    struct json_reader r;
    enum json_kind kind;
    const char *end;
    json_reader_init(&r, text.p, text.n);
    if (!json_peek(&r, &kind, err))
        return false;
    return kind == JSON_NUMBER
               ? check_number(number_read_json(text.p, text.p + text.n, level, &end), text, "", err)
               : error_set(err, ERR_INVALID, "expected a number, got %s", kind_name(kind));
}

static bool read_parameters(const struct decoder *d, struct span text, struct v1_request *out,
                            struct error *err)
{
    struct json_reader r;
    enum json_kind kind;
    struct span value;
    double level;
    json_reader_init(&r, text.p, text.n);
    if (!json_peek(&r, &kind, err))
        return false;
    if (kind == JSON_NULL)
        return true;
    if (kind != JSON_OBJECT)
        return error_set(err, ERR_INVALID, "parameters: expected an object, got %s",
                         kind_name(kind));
    if (!find_member(text, "interval", d->arena, &value, err))
        return false;
    if (value.p == NULL)
        return true;
    out->interval = read_level(value, &level, err) &&
                    interval_score(d->model, level, &out->interval_score, err);
    if (!out->interval)
        error_prefix(err, "parameters.interval");
    return out->interval;
}

bool v1_decode(struct span body, const struct model *model, size_t max_rows, struct arena *arena,
               struct v1_request *out, struct error *err)
{
    struct candidate found[MEMBERS] = {
        [INSTANCES] = {.name = "instances"},
        [INPUTS] = {.name = "inputs"},
        [PARAMETERS] = {.name = "parameters"},
    };
    struct decoder d = {.model = model,
                        .arena = arena,
                        .features = model_feature_count(model),
                        .max_rows = max_rows,
                        .inner = SIZE_MAX};
    if (body.n == 0)
        return error_set(err, ERR_INVALID, UNRECOGNIZED ": " WANTED ", got an empty body");
    if (!walk(&d, body, found, err))
        return refuse_body(body, err);
    const struct candidate *chosen = choose(found, err);
    if (chosen == NULL)
        return false;
    *out = (struct v1_request){chosen->matrix.rows, chosen->matrix.data, false, 0};
    if (!chosen->decoded) {
        d.member = chosen->name;
        if (!read_rows(&d, chosen->text, err))
            return false;
        out->rows = d.rows;
        out->x = d.x;
    }
    return !found[PARAMETERS].found || read_parameters(&d, found[PARAMETERS].text, out, err);
}

/* ---- the answer ---- */

/* Whether n numbers of each row are finite. */
static bool check_finite(const double *values, size_t rows, size_t n, const char *what,
                         struct error *err)
{
    for (size_t i = 0; i < rows * n; i++)
        if (!isfinite(values[i]))
            return error_set(err, ERR_INVALID,
                             "row %zu: expected a finite %s, got one that overflows", i / n, what);
    return true;
}

bool v1_check_predictions(const double *y, size_t rows, struct error *err)
{
    return check_finite(y, rows, 1, "prediction", err);
}

static bool put_intervals(struct json_writer *w, const double *y, const double *half, size_t rows,
                          struct error *err)
{
    json_key(w, "intervals");
    json_begin_array(w);
    for (size_t i = 0; i < rows; i++) {
        const double ends[2] = {y[i] - half[i], y[i] + half[i]};
        if (!isfinite(ends[0]) || !isfinite(ends[1]))
            return error_set(err, ERR_INVALID,
                             "row %zu: expected a finite interval, got one that overflows", i);
        json_put_numbers(w, ends, 2);
    }
    json_end_array(w);
    return true;
}

bool v1_encode(const double *y, const double *half, size_t rows, struct arena *arena,
               struct span *out, struct error *err)
{
    struct json_writer w;
    if (!v1_check_predictions(y, rows, err))
        return false;
    json_writer_init(&w, arena);
    json_begin_object(&w);
    json_key(&w, "predictions");
    json_put_numbers(&w, y, rows);
    if (half != NULL && !put_intervals(&w, y, half, rows, err))
        return false;
    json_end_object(&w);
    return json_writer_finish(&w, out) || no_memory(err);
}

static void put_explanation(struct json_writer *w, const struct explainer *explainer, double y,
                            const double *attributions)
{
    json_begin_object(w);
    json_key(w, "base");
    json_put_number(w, explainer_base(explainer));
    json_key(w, "prediction");
    json_put_number(w, y);
    json_key(w, "attributions");
    json_begin_object(w);
    for (size_t k = 0; k < explainer_player_count(explainer); k++) {
        json_key(w, explainer_player_name(explainer, k));
        json_put_number(w, attributions[k]);
    }
    json_end_object(w);
    json_end_object(w);
}

bool v1_encode_explanations(const struct explainer *explainer, const double *y,
                            const double *attributions, size_t rows, struct arena *arena,
                            struct span *out, struct error *err)
{
    struct json_writer w;
    size_t players = explainer_player_count(explainer);
    if (!v1_check_predictions(y, rows, err) ||
        !check_finite(attributions, rows, players, "attribution", err))
        return false;
    json_writer_init(&w, arena);
    json_begin_object(&w);
    json_key(&w, "explanations");
    json_begin_array(&w);
    for (size_t i = 0; i < rows; i++)
        put_explanation(&w, explainer, y[i], attributions + i * players);
    json_end_array(&w);
    json_end_object(&w);
    return json_writer_finish(&w, out) || no_memory(err);
}
