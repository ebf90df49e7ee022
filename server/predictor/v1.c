/* The body is walked once; the value of `instances` or `inputs` is decoded as a matrix on the way if it
 * is one, else its span is kept and read again cell by cell. By then it is known to be valid JSON, so
 * the second reading words errors of shape and value only. */
#include "server/predictor/v1.h"

#include "base/json.h"
#include "base/number.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { QUOTED_MAX = 48, PLACE_MAX = 96 };

/* The value found under one of the two names. */
struct candidate {
    bool found, decoded;
    struct json_matrix matrix; /* when decoded */
    struct span text;          /* otherwise */
};

/* The second reading: where it is and what it has. */
struct slow {
    const struct model *model;
    struct arena *arena;
    const char *name; /* "instances" or "inputs" */
    size_t cols, max_rows;
    double *x;
    size_t rows, capacity; /* in rows */
    uint64_t *seen;        /* one bit per feature, of the dict being read */
    size_t element;        /* index in the list */
    size_t inner;          /* index inside [[{...}]]; SIZE_MAX elsewhere */
};

/* ---- words ---- */

static const char *kind_name(enum json_kind kind)
{
    static const char *const names[] = {"null",     "false",  "true",     "a number",
                                        "a string", "a list", "an object"};
    return names[kind];
}

static int shown(struct span text)
{
    return (int)(text.n < QUOTED_MAX ? text.n : QUOTED_MAX);
}

/* "instances[3]", "instances[0][2]" */
static const char *place(const struct slow *s, char buffer[PLACE_MAX])
{
    int n = snprintf(buffer, PLACE_MAX, "%s[%zu]", s->name, s->element);
    if (s->inner != SIZE_MAX)
        (void)snprintf(buffer + n, PLACE_MAX - (size_t)n, "[%zu]", s->inner);
    return buffer;
}

static bool no_memory(struct error *err)
{
    return error_set(err, ERR_NO_MEMORY, "out of memory");
}

/* ---- one cell ---- */

/* How a cell is named: by feature in a dict row, by position in a list row. */
static bool refuse_cell(const struct slow *s, const char *feature, size_t column, const char *what,
                        struct span got, struct error *err)
{
    char at[PLACE_MAX];
    if (feature != NULL)
        return error_set(err, ERR_INVALID, "%s.%.64s: expected %s, got %.*s", place(s, at), feature,
                         what, shown(got), got.p);
    return error_set(err, ERR_INVALID, "%s[%zu]: expected %s, got %.*s", place(s, at), column, what,
                     shown(got), got.p);
}

static struct span text_of(const char *text)
{
    return (struct span){text, strlen(text)};
}

static bool read_string_cell(const struct slow *s, struct json_reader *r, const char *feature,
                             size_t column, double *value, struct error *err)
{
    struct json_reader at = *r;
    struct span text, token;
    if (!json_string(r, s->arena, &text, err) || !json_skip(&at, &token, err))
        return false;
    switch (number_read_text(text.p, text.n, value)) {
    case NUMBER_OK:
        return true;
    case NUMBER_OVERFLOW:
        return refuse_cell(s, feature, column, "a finite number", token, err);
    case NUMBER_SYNTAX:
        break;
    }
    return refuse_cell(s, feature, column, "a number", token, err);
}

/* A number, a numeric string or a boolean, as KServe takes them. */
static bool read_cell(const struct slow *s, struct json_reader *r, const char *feature,
                      size_t column, double *value, struct error *err)
{
    enum json_kind kind;
    struct span token;
    bool truth;
    if (!json_peek(r, &kind, err))
        return false;
    switch (kind) {
    case JSON_NUMBER: {
        struct json_reader at = *r;
        if (json_number(r, value, err))
            return true;
        return json_skip(&at, &token, err) &&
               refuse_cell(s, feature, column, "a finite number", token, err);
    }
    case JSON_STRING:
        return read_string_cell(s, r, feature, column, value, err);
    case JSON_TRUE:
    case JSON_FALSE:
        if (!json_bool(r, &truth, err))
            return false;
        *value = truth;
        return true;
    case JSON_NULL:
    case JSON_ARRAY:
    case JSON_OBJECT:
        break;
    }
    return refuse_cell(s, feature, column, "a number", text_of(kind_name(kind)), err);
}

/* ---- rows ---- */

/* Makes the matrix hold `rows` rows. */
static bool reserve_rows(struct slow *s, size_t rows, struct error *err)
{
    if (rows > s->max_rows)
        return error_set(err, ERR_TOO_LARGE, "%s: expected at most %zu rows, got more", s->name,
                         s->max_rows);
    if (rows <= s->capacity)
        return true;
    size_t capacity = s->capacity * 2 < rows ? rows : s->capacity * 2, bytes;
    if (capacity > s->max_rows)
        capacity = s->max_rows;
    if (__builtin_mul_overflow(capacity, s->cols * sizeof *s->x, &bytes))
        return no_memory(err);
    double *x = arena_grow(s->arena, s->x, s->capacity * s->cols * sizeof *x, bytes);
    if (x == NULL)
        return no_memory(err);
    s->x = x;
    s->capacity = capacity;
    return true;
}

/* The reader stands behind the bracket of a list row, before its first element or the end. */
static bool read_list_row(struct slow *s, struct json_reader *r, bool more, struct error *err)
{
    char at[PLACE_MAX];
    size_t n = 0;
    struct span ignored;
    if (!reserve_rows(s, s->rows + 1, err))
        return false;
    double *row = s->x + s->rows * s->cols;
    for (; more; n++) {
        bool ok =
            n < s->cols ? read_cell(s, r, NULL, n, &row[n], err) : json_skip(r, &ignored, err);
        if (!ok || !json_next_element(r, &more, err))
            return false;
    }
    if (n != s->cols)
        return error_set(err, ERR_INVALID, "%s: expected %zu number%s, got %zu", place(s, at),
                         s->cols, s->cols == 1 ? "" : "s", n);
    s->rows++;
    return true;
}

/* ---- dict rows ---- */

/* Rows that the dict being read makes, once its first value has told. */
struct dict {
    bool listed;
    size_t rows; /* 0: not known yet */
};

/* Index of the feature of that name, trying `hint` first: most clients keep the model's order. */
static size_t find_feature(const struct model *model, struct span name, size_t hint)
{
    size_t n = model_feature_count(model);
    for (size_t i = 0; i < n; i++) {
        size_t j = (hint + i) % n;
        const char *feature = model_feature_name(model, j);
        if (strlen(feature) == name.n && memcmp(feature, name.p, name.n) == 0)
            return j;
    }
    return SIZE_MAX;
}

/* The text of a key; unescaped into the arena if it has to be. */
static bool key_text(struct arena *arena, struct span *key, bool escaped, struct error *err)
{
    struct json_reader r;
    if (!escaped)
        return true;
    json_reader_init(&r, key->p - 1, key->n + 2); /* with its quotes */
    return json_string(&r, arena, key, err);
}

/* One row more of a dict's list; the reader stands before the cell. */
static bool read_listed_cell(struct slow *s, struct json_reader *r, const struct dict *dict,
                             size_t k, size_t j, struct error *err)
{
    double value;
    const char *feature = model_feature_name(s->model, j);
    if (!read_cell(s, r, feature, j, &value, err))
        return false;
    if (dict->rows > 0 && k >= dict->rows)
        return true; /* counted, and refused below */
    if (!reserve_rows(s, s->rows + k + 1, err))
        return false;
    s->x[(s->rows + k) * s->cols + j] = value;
    return true;
}

static bool read_listed_value(struct slow *s, struct json_reader *r, struct dict *dict, size_t j,
                              struct error *err)
{
    char at[PLACE_MAX];
    bool more;
    size_t k = 0;
    if (!json_enter_array(r, err) || !json_next_element(r, &more, err))
        return false;
    for (; more; k++)
        if (!read_listed_cell(s, r, dict, k, j, err) || !json_next_element(r, &more, err))
            return false;
    if (k == 0 || (dict->rows > 0 && k != dict->rows))
        return error_set(err, ERR_INVALID, "%s.%.64s: expected a list of %zu numbers, got %zu",
                         place(s, at), model_feature_name(s->model, j),
                         dict->rows > 0 ? dict->rows : (size_t)1, k);
    dict->rows = k;
    return true;
}

static bool read_member_value(struct slow *s, struct json_reader *r, struct dict *dict, size_t j,
                              struct error *err)
{
    char at[PLACE_MAX];
    enum json_kind kind;
    const char *feature = model_feature_name(s->model, j);
    if (!json_peek(r, &kind, err))
        return false;
    bool listed = kind == JSON_ARRAY && s->inner == SIZE_MAX;
    if (dict->rows > 0 && listed != dict->listed)
        return error_set(err, ERR_INVALID, "%s.%.64s: expected %s like the other features, got %s",
                         place(s, at), feature, dict->listed ? "a list" : "a number",
                         kind_name(kind));
    dict->listed = listed;
    if (listed)
        return read_listed_value(s, r, dict, j, err);
    dict->rows = 1;
    return reserve_rows(s, s->rows + 1, err) &&
           read_cell(s, r, feature, j, &s->x[s->rows * s->cols + j], err);
}

static bool check_complete(const struct slow *s, struct error *err)
{
    char at[PLACE_MAX];
    for (size_t j = 0; j < s->cols; j++)
        if ((s->seen[j / 64] >> j % 64 & 1) == 0)
            return error_set(err, ERR_INVALID,
                             "%s: expected the feature \"%.64s\", which is missing", place(s, at),
                             model_feature_name(s->model, j));
    return true;
}

static bool read_dict(struct slow *s, struct json_reader *r, struct error *err)
{
    char at[PLACE_MAX];
    struct dict dict = {0};
    struct span key;
    bool more, escaped;
    size_t hint = 0;
    memset(s->seen, 0, (s->cols + 63) / 64 * sizeof *s->seen);
    if (!json_enter_object(r, err))
        return false;
    for (;;) {
        if (!json_next_member(r, &more, &key, &escaped, err))
            return false;
        if (!more)
            break;
        if (!key_text(s->arena, &key, escaped, err))
            return false;
        size_t j = find_feature(s->model, key, hint);
        if (j == SIZE_MAX)
            return error_set(err, ERR_INVALID, "%s: expected a feature of the model, got \"%.*s\"",
                             place(s, at), shown(key), key.p);
        if (!read_member_value(s, r, &dict, j, err))
            return false;
        s->seen[j / 64] |= (uint64_t)1 << j % 64;
        hint = j + 1;
    }
    if (!check_complete(s, err))
        return false;
    s->rows += dict.rows;
    return true;
}

/* ---- the second reading ---- */

/* [n, ...] or [{...}, ...] */
static bool read_inner_list(struct slow *s, struct json_reader *r, struct error *err)
{
    bool more;
    enum json_kind kind = JSON_NUMBER;
    if (!json_enter_array(r, err) || !json_next_element(r, &more, err) ||
        (more && !json_peek(r, &kind, err)))
        return false;
    if (kind != JSON_OBJECT)
        return read_list_row(s, r, more, err);
    for (s->inner = 0; more; s->inner++)
        if (!read_dict(s, r, err) || !json_next_element(r, &more, err))
            return false;
    s->inner = SIZE_MAX;
    return true;
}

static bool read_element(struct slow *s, struct json_reader *r, struct error *err)
{
    char at[PLACE_MAX];
    enum json_kind kind;
    if (!json_peek(r, &kind, err))
        return false;
    if (kind == JSON_ARRAY)
        return read_inner_list(s, r, err);
    if (kind == JSON_OBJECT)
        return read_dict(s, r, err);
    if (kind == JSON_NUMBER)
        return error_set(
            err, ERR_INVALID,
            "%s: expected a list of rows, got a list of numbers; wrap the row in another "
            "pair of brackets",
            s->name);
    return error_set(err, ERR_INVALID, "%s: expected a row, got %s", place(s, at), kind_name(kind));
}

static bool read_slowly(struct slow *s, struct span text, struct error *err)
{
    struct json_reader r;
    enum json_kind kind;
    bool more;
    json_reader_init(&r, text.p, text.n);
    if (!json_peek(&r, &kind, err))
        return false;
    if (kind != JSON_ARRAY)
        return error_set(err, ERR_INVALID, "Expected \"%s\" to be a list", s->name);
    s->cols = model_feature_count(s->model);
    s->seen = arena_array(s->arena, (s->cols + 63) / 64, sizeof *s->seen);
    if (s->seen == NULL)
        return no_memory(err);
    if (!json_enter_array(&r, err) || !json_next_element(&r, &more, err))
        return false;
    for (; more; s->element++)
        if (!read_element(s, &r, err) || !json_next_element(&r, &more, err))
            return false;
    return s->rows > 0 ||
           error_set(err, ERR_INVALID, "%s: expected at least one row, got an empty list", s->name);
}

/* ---- the first ---- */

/* Takes the next value as a matrix, or keeps its span. */
static bool take(struct json_reader *r, const struct model *model, size_t max_rows,
                 struct arena *arena, struct candidate *candidate, struct error *err)
{
    bool oom;
    candidate->found = true;
    candidate->decoded =
        json_matrix(r, arena, model_feature_count(model), max_rows, &candidate->matrix, &oom);
    if (candidate->decoded)
        return true;
    return oom ? no_memory(err) : json_skip(r, &candidate->text, err);
}

static const char *const names[2] = {"instances", "inputs"}; /* the second wins */

static bool walk(struct span body, const struct model *model, size_t max_rows, struct arena *arena,
                 struct candidate found[2], struct error *err)
{
    struct json_reader r;
    struct span key, ignored;
    bool more, escaped;
    json_reader_init(&r, body.p, body.n);
    if (!json_enter_object(&r, err))
        return false;
    for (;;) {
        if (!json_next_member(&r, &more, &key, &escaped, err))
            return false;
        if (!more)
            return json_end(&r, err);
        if (!key_text(arena, &key, escaped, err))
            return false;
        size_t which = 0;
        while (which < 2 &&
               (strlen(names[which]) != key.n || memcmp(names[which], key.p, key.n) != 0))
            which++;
        bool ok = which < 2 ? take(&r, model, max_rows, arena, &found[which], err)
                            : json_skip(&r, &ignored, err);
        if (!ok)
            return false;
    }
}

/* A valid body that is not an object gets its own words; anything else is not JSON. */
static bool refuse_body(struct span body, struct error *err)
{
    struct json_reader r;
    struct span whole;
    struct error other = {0};
    json_reader_init(&r, body.p, body.n);
    if (err->code == ERR_INVALID && json_skip(&r, &whole, &other) && json_end(&r, &other) &&
        whole.p[0] != '{')
        return error_set(err, ERR_INVALID,
                         "body: expected a JSON object with \"instances\" or \"inputs\"");
    if (err->code != ERR_NO_MEMORY)
        error_prefix(err, "Unrecognized request format");
    return false;
}

bool v1_decode(struct span body, const struct model *model, size_t max_rows, struct arena *arena,
               struct v1_request *out, struct error *err)
{
    struct candidate found[2] = {{0}};
    if (!walk(body, model, max_rows, arena, found, err))
        return refuse_body(body, err);
    size_t which = found[1].found;
    if (!found[which].found)
        return error_set(err, ERR_INVALID,
                         "body: expected \"instances\" or \"inputs\", got neither");
    if (found[which].decoded) {
        *out = (struct v1_request){found[which].matrix.rows, found[which].matrix.data};
        return true;
    }
    struct slow slow = {.model = model,
                        .arena = arena,
                        .name = names[which],
                        .max_rows = max_rows,
                        .inner = SIZE_MAX};
    if (!read_slowly(&slow, found[which].text, err))
        return false;
    *out = (struct v1_request){slow.rows, slow.x};
    return true;
}

bool v1_encode(const double *y, size_t rows, struct arena *arena, struct span *out,
               struct error *err)
{
    struct json_writer w;
    for (size_t i = 0; i < rows; i++)
        if (!isfinite(y[i]))
            return error_set(
                err, ERR_INVALID,
                "row %zu: expected inputs whose prediction is finite, got one that overflows", i);
    json_writer_init(&w, arena);
    json_begin_object(&w);
    json_key(&w, "predictions");
    json_put_numbers(&w, y, rows);
    json_end_object(&w);
    return json_writer_finish(&w, out) || no_memory(err);
}
