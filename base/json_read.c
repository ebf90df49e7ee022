/* One cursor and, for every open container, two bits: is it an object, has it had an element. All
 * entry points below come down to the same three scanners (string, number, word), so what one of them
 * passes over is validated however it is read. Nothing recurses. */
#include "base/json.h"

#include "base/number.h"

#include <stdio.h>
#include <string.h>

void json_reader_init(struct json_reader *r, const char *text, size_t n)
{
    *r = (struct json_reader){.begin = text, .p = text, .end = text + n};
}

static const char *skip_blanks(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    return p;
}

/* ---- errors ---- */

static bool expected(const struct json_reader *r, const char *at, const char *what,
                     struct error *err)
{
    char got[16] = "the end";
    if (at < r->end) {
        unsigned char c = (unsigned char)*at;
        (void)snprintf(got, sizeof got, c > ' ' && c < 0x7f ? "'%c'" : "'\\x%02x'", c);
    }
    return error_set(err, ERR_INVALID, "byte %zu: expected %s, got %s", (size_t)(at - r->begin),
                     what, got);
}

/* ---- containers ---- */

static bool get_bit(const uint64_t *bits, unsigned i)
{
    return bits[i / 64] >> i % 64 & 1;
}

static void set_bit(uint64_t *bits, unsigned i, bool value)
{
    bits[i / 64] = (bits[i / 64] & ~((uint64_t)1 << i % 64)) | (uint64_t)value << i % 64;
}

static bool enter(struct json_reader *r, char open, struct error *err)
{
    r->p = skip_blanks(r->p, r->end);
    if (r->p == r->end || *r->p != open)
        return expected(r, r->p, open == '{' ? "an object" : "an array", err);
    if (r->depth == JSON_MAX_DEPTH)
        return error_set(err, ERR_TOO_LARGE, "byte %zu: expected at most %d levels of nesting",
                         (size_t)(r->p - r->begin), JSON_MAX_DEPTH);
    set_bit(r->object, r->depth, open == '{');
    set_bit(r->fresh, r->depth, true);
    r->depth++;
    r->p++;
    return true;
}

bool json_enter_object(struct json_reader *r, struct error *err)
{
    return enter(r, '{', err);
}

bool json_enter_array(struct json_reader *r, struct error *err)
{
    return enter(r, '[', err);
}

/* Up to where the next member or element begins, or out of the container. */
static bool next_item(struct json_reader *r, char close, bool *more, struct error *err)
{
    bool fresh = get_bit(r->fresh, r->depth - 1);
    r->p = skip_blanks(r->p, r->end);
    if (r->p < r->end && *r->p == close) {
        r->p++;
        r->depth--;
        *more = false;
        return true;
    }
    if (fresh)
        set_bit(r->fresh, r->depth - 1, false);
    else if (r->p < r->end && *r->p == ',')
        r->p = skip_blanks(r->p + 1, r->end);
    else
        return expected(r, r->p, close == '}' ? "',' or '}'" : "',' or ']'", err);
    *more = true;
    return true;
}

bool json_next_element(struct json_reader *r, bool *more, struct error *err)
{
    return next_item(r, ']', more, err);
}

/* ---- strings ---- */

static bool is_continuation(const char *p, const char *end)
{
    return p < end && ((unsigned char)*p & 0xc0) == 0x80;
}

size_t json_utf8_length(const char *p, const char *end)
{
    unsigned char c = (unsigned char)*p;
    unsigned char second = end - p > 1 ? (unsigned char)p[1] : 0;
    if (c < 0x80)
        return 1;
    if (c < 0xc2 || c > 0xf4 || !is_continuation(p + 1, end))
        return 0;
    if (c < 0xe0)
        return 2;
    if ((c == 0xe0 && second < 0xa0) || (c == 0xed && second > 0x9f) ||
        !is_continuation(p + 2, end))
        return 0;
    if (c < 0xf0)
        return 3;
    if ((c == 0xf0 && second < 0x90) || (c == 0xf4 && second > 0x8f) ||
        !is_continuation(p + 3, end))
        return 0;
    return 4;
}

/* Value of the four hexadecimal digits at p, or -1. */
static int hex4(const char *p, const char *end)
{
    int value = 0;
    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char c = p[i], low = (char)(c | 0x20);
        int digit = c >= '0' && c <= '9' ? c - '0' : low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* The character of the \u escape whose digits are at p; *length is what it takes up from p on, six
 * more for the second half of a pair. -1: not hexadecimal, or half a pair. */
static int unicode_escape(const char *p, const char *end, size_t *length)
{
    int high = hex4(p, end), low;
    *length = 4;
    if (high < 0xd800 || high > 0xdfff)
        return high;
    if (high > 0xdbff || end - p < 10 || p[4] != '\\' || p[5] != 'u')
        return -1;
    low = hex4(p + 6, end);
    *length = 10;
    return low < 0xdc00 || low > 0xdfff ? -1 : 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
}

/* Bytes of the escape at p (a backslash), or 0. */
static size_t escape_length(struct json_reader *r, const char *p)
{
    size_t digits;
    if (r->end - p < 2)
        return 0;
    if (p[1] != 'u')
        return memchr("\"\\/bfnrt", p[1], 8) != NULL ? 2 : 0;
    int character = unicode_escape(p + 2, r->end, &digits);
    r->saw_nul |= character == 0;
    return character < 0 ? 0 : 2 + digits;
}

/* Passes over a string; *raw is what stands between the quotes. */
static bool scan_string(struct json_reader *r, struct span *raw, bool *escaped, struct error *err)
{
    const char *p = r->p;
    *escaped = false;
    if (p == r->end || *p != '"')
        return expected(r, p, "a string", err);
    for (p++; p < r->end && *p != '"';) {
        unsigned char c = (unsigned char)*p;
        size_t length = 1;
        if (c == '\\') {
            *escaped = true;
            if ((length = escape_length(r, p)) == 0)
                return error_set(err, ERR_INVALID, "byte %zu: expected an escape sequence of JSON",
                                 (size_t)(p - r->begin));
        } else if (c < 0x20) {
            return expected(r, p, "an escaped control character", err);
        } else if (c >= 0x80 && (length = json_utf8_length(p, r->end)) == 0) {
            return expected(r, p, "valid UTF-8", err);
        }
        p += length;
    }
    if (p == r->end)
        return expected(r, p, "'\"'", err);
    *raw = (struct span){r->p + 1, (size_t)(p - r->p - 1)};
    r->p = p + 1;
    return true;
}

bool json_next_member(struct json_reader *r, bool *more, struct span *key, bool *escaped,
                      struct error *err)
{
    if (!next_item(r, '}', more, err))
        return false;
    if (!*more)
        return true;
    if (!scan_string(r, key, escaped, err))
        return false;
    r->p = skip_blanks(r->p, r->end);
    if (r->p == r->end || *r->p != ':')
        return expected(r, r->p, "':'", err);
    r->p++;
    return true;
}

static char *put_utf8(char *out, int c)
{
    if (c < 0x80) {
        *out++ = (char)c;
        return out;
    }
    int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static const int lead[] = {0, 0xc0, 0xe0, 0xf0};
    *out++ = (char)(lead[more] | c >> 6 * more);
    while (more-- > 0)
        *out++ = (char)(0x80 | (c >> 6 * more & 0x3f));
    return out;
}

/* Unescapes validated text; never longer than raw. Returns the end. */
static char *unescape(char *out, struct span raw)
{
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    const char *p = raw.p, *end = raw.p + raw.n;
    while (p < end) {
        size_t digits;
        if (*p != '\\') {
            *out++ = *p++;
        } else if (p[1] == 'u') {
            out = put_utf8(out, unicode_escape(p + 2, end, &digits));
            p += 2 + digits;
        } else {
            const char *named = strchr(from, p[1]);
            *out++ = named != NULL ? to[named - from] : p[1];
            p += 2;
        }
    }
    return out;
}

bool json_string(struct json_reader *r, struct arena *arena, struct span *value, struct error *err)
{
    struct span raw;
    bool escaped, nul_before = r->saw_nul;
    r->p = skip_blanks(r->p, r->end);
    const char *start = r->p;
    r->saw_nul = false;
    if (!scan_string(r, &raw, &escaped, err))
        return false;
    if (r->saw_nul)
        return error_set(err, ERR_INVALID, "byte %zu: expected a string without \\u0000",
                         (size_t)(start - r->begin));
    r->saw_nul = nul_before;
    char *text = arena_alloc(arena, raw.n + 1);
    if (text == NULL)
        return error_set(err, ERR_NO_MEMORY, "out of memory");
    char *end = unescape(text, raw);
    *end = '\0';
    *value = (struct span){text, (size_t)(end - text)};
    return true;
}

/* ---- scalars ---- */

bool json_peek(struct json_reader *r, enum json_kind *kind, struct error *err)
{
    r->p = skip_blanks(r->p, r->end);
    char c = '\0';
    if (r->p < r->end)
        c = *r->p;
    switch (c) {
    case '{':
        *kind = JSON_OBJECT;
        return true;
    case '[':
        *kind = JSON_ARRAY;
        return true;
    case '"':
        *kind = JSON_STRING;
        return true;
    case 't':
        *kind = JSON_TRUE;
        return true;
    case 'f':
        *kind = JSON_FALSE;
        return true;
    case 'n':
        *kind = JSON_NULL;
        return true;
    default:
        break;
    }
    if (c != '-' && (c < '0' || c > '9'))
        return expected(r, r->p, "a value", err);
    *kind = JSON_NUMBER;
    return true;
}

bool json_number(struct json_reader *r, double *value, struct error *err)
{
    const char *next;
    r->p = skip_blanks(r->p, r->end);
    switch (number_read_json(r->p, r->end, value, &next)) {
    case NUMBER_OK:
        r->p = next;
        return true;
    case NUMBER_OVERFLOW:
        return error_set(err, ERR_INVALID,
                         "byte %zu: expected a finite number, got one beyond 1.8e308",
                         (size_t)(r->p - r->begin));
    case NUMBER_SYNTAX:
        break;
    }
    return expected(r, r->p, "a number", err);
}

bool json_count(struct json_reader *r, uint64_t max, uint64_t *value, struct error *err)
{
    double number;
    r->p = skip_blanks(r->p, r->end);
    const char *start = r->p;
    if (!json_number(r, &number, err))
        return false;
    uint64_t count = 0;
    for (const char *p = start; p < r->p; p++) {
        uint64_t digit = (uint64_t)(*p - '0');
        if (digit > 9 || digit > max || count > (max - digit) / 10)
            return error_set(err, ERR_INVALID, "byte %zu: expected a whole number from 0 to %llu",
                             (size_t)(start - r->begin), (unsigned long long)max);
        count = count * 10 + digit;
    }
    *value = count;
    return true;
}

static bool word(struct json_reader *r, const char *text, struct error *err)
{
    size_t n = strlen(text);
    if ((size_t)(r->end - r->p) < n || memcmp(r->p, text, n) != 0)
        return expected(r, r->p, "true, false or null", err);
    r->p += n;
    return true;
}

bool json_bool(struct json_reader *r, bool *value, struct error *err)
{
    r->p = skip_blanks(r->p, r->end);
    *value = r->p < r->end && *r->p == 't';
    if (r->p == r->end || (*r->p != 't' && *r->p != 'f'))
        return expected(r, r->p, "true or false", err);
    return word(r, *value ? "true" : "false", err);
}

/* ---- whole values ---- */

/* Passes over a number of any size: whoever wants its value will say what is wrong with it. */
static bool skip_number(struct json_reader *r, struct error *err)
{
    double number;
    const char *next = r->p;
    enum number_status status = number_read_json(r->p, r->end, &number, &next);
    if (status == NUMBER_SYNTAX)
        return expected(r, r->p, "a number", err);
    r->saw_overflow |= status == NUMBER_OVERFLOW;
    r->saw_long |= next - r->p > JSON_TREE_NUMBER_MAX;
    r->p = next;
    return true;
}

/* Passes over a scalar, or enters a container. */
static bool begin_value(struct json_reader *r, struct error *err)
{
    enum json_kind kind;
    struct span raw;
    bool escaped;
    if (!json_peek(r, &kind, err))
        return false;
    switch (kind) {
    case JSON_OBJECT:
    case JSON_ARRAY:
        return enter(r, kind == JSON_OBJECT ? '{' : '[', err);
    case JSON_STRING:
        return scan_string(r, &raw, &escaped, err);
    case JSON_NUMBER:
        return skip_number(r, err);
    case JSON_TRUE:
        return word(r, "true", err);
    case JSON_FALSE:
        return word(r, "false", err);
    case JSON_NULL:
        break;
    }
    return word(r, "null", err);
}

bool json_skip(struct json_reader *r, struct span *value, struct error *err)
{
    unsigned depth = r->depth;
    r->p = skip_blanks(r->p, r->end);
    const char *start = r->p;
    bool more, escaped;
    struct span key;
    if (!begin_value(r, err))
        return false;
    while (r->depth > depth) {
        bool ok = get_bit(r->object, r->depth - 1) ? json_next_member(r, &more, &key, &escaped, err)
                                                   : json_next_element(r, &more, err);
        if (!ok || (more && !begin_value(r, err)))
            return false;
    }
    *value = (struct span){start, (size_t)(r->p - start)};
    return true;
}

bool json_end(struct json_reader *r, struct error *err)
{
    r->p = skip_blanks(r->p, r->end);
    return r->p == r->end || expected(r, r->p, "the end", err);
}

/* ---- the fast path ---- */

/* Numbers decoded so far; grows in the arena. */
struct numbers {
    struct arena *arena;
    double *data;
    size_t n, capacity, most; /* `most` numbers is all the text left can hold */
};

static bool make_room(struct numbers *out, size_t more)
{
    if (more <= out->capacity - out->n)
        return true;
    size_t capacity = out->capacity * 2;
    if (capacity < out->n + more)
        capacity = out->n + more;
    if (capacity > out->most)
        capacity = out->most;
    if (capacity < out->n + more)
        return false;
    double *data =
        arena_grow(out->arena, out->data, out->capacity * sizeof *data, capacity * sizeof *data);
    if (data == NULL)
        return false;
    out->data = data;
    out->capacity = capacity;
    return true;
}

/* Decodes exactly cols numbers and the closing bracket behind an opening one; the byte behind, or NULL. */
static const char *decode_row(const char *p, const char *end, size_t cols, double *row)
{
    for (size_t j = 0; j < cols; j++) {
        p = skip_blanks(p, end);
        if (number_read_json(p, end, &row[j], &p) != NUMBER_OK)
            return NULL;
        p = skip_blanks(p, end);
        if (p == end || *p != (j + 1 < cols ? ',' : ']'))
            return NULL;
        p++;
    }
    return p;
}

bool json_matrix(struct json_reader *r, struct arena *arena, size_t cols, size_t max_rows,
                 struct json_matrix *out, bool *oom)
{
    const char *p = skip_blanks(r->p, r->end), *end = r->end;
    size_t left = (size_t)(end - p);
    /* A number takes two bytes at least; eight is what real data comes to. */
    struct numbers numbers = {arena, NULL, 0, 0, left / 2 + cols};
    size_t rows = 0;
    *oom = false;
    if (cols == 0 || p == end || *p++ != '[')
        return false;
    if (!make_room(&numbers, left / 8 / cols * cols + cols)) {
        *oom = true;
        return false;
    }
    for (;; rows++) {
        p = skip_blanks(p, end);
        if (p == end || *p++ != '[' || rows == max_rows)
            return false;
        if (!make_room(&numbers, cols)) {
            *oom = true;
            return false;
        }
        p = decode_row(p, end, cols, numbers.data + numbers.n);
        if (p == NULL)
            return false;
        numbers.n += cols;
        p = skip_blanks(p, end);
        if (p == end || (*p != ',' && *p != ']'))
            return false;
        if (*p++ == ']')
            break;
    }
    r->p = p;
    *out = (struct json_matrix){numbers.data, rows + 1, cols};
    return true;
}

bool json_vector(struct json_reader *r, struct arena *arena, size_t max, struct json_matrix *out,
                 bool *oom)
{
    const char *p = skip_blanks(r->p, r->end), *end = r->end;
    struct numbers numbers = {arena, NULL, 0, 0, (size_t)(end - p) / 2 + 1};
    *oom = false;
    if (p == end || *p++ != '[')
        return false;
    p = skip_blanks(p, end);
    bool empty = p < end && *p == ']';
    for (char c = ','; !empty && c == ',';) {
        if (numbers.n == max || (!make_room(&numbers, 1) && (*oom = true)))
            return false;
        p = skip_blanks(p, end);
        if (number_read_json(p, end, &numbers.data[numbers.n], &p) != NUMBER_OK)
            return false;
        numbers.n++;
        p = skip_blanks(p, end);
        if (p == end || (*p != ',' && *p != ']'))
            return false;
        c = *p++;
    }
    r->p = p + empty;
    *out = (struct json_matrix){numbers.data, 1, numbers.n};
    return true;
}

/* ---- trees ---- */

cJSON *json_tree(struct span text, struct error *err)
{
    struct json_reader r;
    struct span whole;
    json_reader_init(&r, text.p, text.n);
    if (!json_skip(&r, &whole, err) || !json_end(&r, err))
        return NULL;
    if (r.saw_nul || r.saw_overflow) {
        (void)error_set(err, ERR_INVALID, "expected %s",
                        r.saw_nul ? "strings without \\u0000" : "finite numbers");
        return NULL;
    }
    if (r.saw_long) {
        (void)error_set(err, ERR_INVALID, "expected numbers of at most %d characters",
                        JSON_TREE_NUMBER_MAX);
        return NULL;
    }
    cJSON *tree = cJSON_ParseWithLength(whole.p, whole.n);
    if (tree == NULL)
        (void)error_set(err, ERR_NO_MEMORY, "out of memory");
    return tree;
}

const cJSON *json_member(const cJSON *object, const char *name)
{
    const cJSON *member, *found = NULL;
    if (object != NULL)
        cJSON_ArrayForEach(member, object) if (member->string != NULL &&
                                               strcmp(member->string, name) == 0) found = member;
    return found;
}
