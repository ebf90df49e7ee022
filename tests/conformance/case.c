/* Reading goes line by line over one copy of the file, into which all spans point. To be compared,
 * an expected body becomes JSON: each ~x outside a string turns into a string of a kind of its own. */
#include "tests/conformance/case.h"

#include "base/json.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { HEADERS_MAX = 16, FILE_MAX = 1 << 20 };

static const double tolerance = 1e-9;

/* Where the reader of a file is. */
struct lines {
    const char *name, *p, *end;
    unsigned number; /* of the line at p */
    struct arena *arena;
};

/* ---- lines ---- */

static bool starts_with(struct span line, const char *text)
{
    size_t n = strlen(text);
    return line.n >= n && memcmp(line.p, text, n) == 0;
}

static bool at_end(const struct lines *l)
{
    return l->p == l->end;
}

static struct span peek_line(const struct lines *l)
{
    const char *newline = memchr(l->p, '\n', (size_t)(l->end - l->p));
    return (struct span){l->p, (size_t)((newline != NULL ? newline : l->end) - l->p)};
}

static struct span next_line(struct lines *l)
{
    struct span line = peek_line(l);
    l->p += line.n;
    if (!at_end(l)) {
        l->p++;
        l->number++;
    }
    return line;
}

static bool is_prose(struct span line)
{
    return starts_with(line, "#");
}

static void skip_prose(struct lines *l)
{
    while (!at_end(l) && (peek_line(l).n == 0 || is_prose(peek_line(l))))
        (void)next_line(l);
}

static bool expected(const struct lines *l, const char *what, struct error *err)
{
    struct span got = {"the end", 7};
    if (!at_end(l))
        got = peek_line(l);
    return error_set(err, ERR_INVALID, "%s:%u: expected %s, got %.*s", l->name, l->number, what,
                     (int)(got.n < 80 ? got.n : 80), got.p);
}

static bool no_memory(struct error *err)
{
    return error_set(err, ERR_NO_MEMORY, "out of memory");
}

/* ---- the request ---- */

static int hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    const char *found = c != '\0' ? strchr(digits, c) : NULL;
    return found != NULL ? (int)(found - digits) % 16 : -1;
}

/* The path of the target, decoded; p is NULL when memory ran out or an escape is none. */
static struct span decode_path(struct span raw, struct arena *arena)
{
    char *text = arena_alloc(arena, raw.n + 1), *out = text;
    for (size_t i = 0; text != NULL && i < raw.n; i++) {
        *out = raw.p[i];
        if (raw.p[i] == '%') {
            int high = i + 2 < raw.n ? hex_digit(raw.p[i + 1]) : -1;
            int low = i + 2 < raw.n ? hex_digit(raw.p[i + 2]) : -1;
            if (high < 0 || low < 0)
                return (struct span){NULL, 0};
            *out = (char)(high * 16 + low);
            i += 2;
        }
        out++;
    }
    return (struct span){text, text != NULL ? (size_t)(out - text) : 0};
}

static enum http_method method_of(struct span name)
{
    static const char *const names[] = {
        [HTTP_GET] = "GET",        [HTTP_HEAD] = "HEAD",     [HTTP_POST] = "POST",
        [HTTP_PUT] = "PUT",        [HTTP_DELETE] = "DELETE", [HTTP_PATCH] = "PATCH",
        [HTTP_OPTIONS] = "OPTIONS"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (span_is(name, names[i]))
            return (enum http_method)i;
    return HTTP_OTHER_METHOD;
}

static bool read_request_line(struct lines *l, struct conformance_case *c, struct error *err)
{
    struct span line = peek_line(l), path;
    const char *space = memchr(line.p, ' ', line.n), *end = line.p + line.n;
    if (space == NULL || space == line.p || space + 1 == end || space[1] != '/')
        return expected(l, "METHOD /target", err);
    c->request.method_name = (struct span){line.p, (size_t)(space - line.p)};
    c->request.method = method_of(c->request.method_name);
    c->target = (struct span){space + 1, (size_t)(end - space - 1)};
    const char *mark = memchr(c->target.p, '?', c->target.n);
    path = (struct span){c->target.p, mark != NULL ? (size_t)(mark - c->target.p) : c->target.n};
    if (mark != NULL)
        c->request.query = (struct span){mark + 1, (size_t)(end - mark - 1)};
    c->request.path = decode_path(path, l->arena);
    if (c->request.path.p == NULL)
        return expected(l, "a percent-encoded target", err);
    (void)next_line(l);
    return true;
}

/* Headers up to a blank line, which is consumed, or to whatever else ends them. */
static bool read_headers(struct lines *l, const struct header **headers, size_t *n,
                         bool *body_follows, struct error *err)
{
    struct header *list = arena_array(l->arena, HEADERS_MAX, sizeof *list);
    if (list == NULL)
        return no_memory(err);
    for (*n = 0; !at_end(l); (*n)++) {
        struct span line = peek_line(l);
        if (span_is(line, "--") || starts_with(line, "== ") || is_prose(line) || line.n == 0)
            break;
        const char *colon = memchr(line.p, ':', line.n);
        if (colon == NULL || colon == line.p || *n == HEADERS_MAX)
            return expected(l, "a header, at most 16 of them, or a blank line", err);
        const char *value = colon + 1, *end = line.p + line.n;
        while (value < end && *value == ' ')
            value++;
        list[*n].name = (struct span){line.p, (size_t)(colon - line.p)};
        list[*n].value = (struct span){value, (size_t)(end - value)};
        (void)next_line(l);
    }
    *headers = list;
    *body_follows = !at_end(l) && peek_line(l).n == 0;
    if (*body_follows)
        (void)next_line(l);
    return true;
}

static bool read_request(struct lines *l, struct conformance_case *c, struct error *err)
{
    bool body_follows = false;
    if (!read_request_line(l, c, err) ||
        !read_headers(l, &c->request.headers, &c->request.header_count, &body_follows, err))
        return false;
    c->request.body = (struct span){l->p, 0};
    while (body_follows && !at_end(l) && !span_is(peek_line(l), "--")) {
        struct span line = next_line(l);
        c->request.body.n = (size_t)(line.p + line.n - c->request.body.p);
    }
    if (at_end(l) || !span_is(peek_line(l), "--"))
        return expected(l, "--", err);
    (void)next_line(l);
    return true;
}

/* ---- what is expected ---- */

static bool read_status(struct lines *l, struct conformance_case *c, struct error *err)
{
    struct span line = peek_line(l);
    char text[4] = "";
    if (line.n == 3)
        memcpy(text, line.p, 3);
    c->status = atoi(text);
    if (c->status < 100 || strspn(text, "0123456789") != 3)
        return expected(l, "a status of three digits", err);
    (void)next_line(l);
    return true;
}

/* Writes body to out with every ~x as "\u0001x". */
static void write_as_json(struct span body, FILE *out)
{
    const char *end = body.p + body.n;
    bool quoted = false;
    for (const char *p = body.p; p < end; p++) {
        if (*p == '"' || (quoted && *p == '\\')) {
            quoted ^= *p == '"';
            (void)fputc(*p, out);
            if (*p == '\\' && p + 1 < end)
                (void)fputc(*++p, out);
        } else if (!quoted && *p == '~') {
            size_t n = 0;
            while (p + 1 + n < end && memchr("0123456789+-.eE", p[1 + n], 15) != NULL)
                n++;
            (void)fprintf(out, "\"\\u0001%.*s\"", (int)n, p + 1);
            p += n;
        } else {
            (void)fputc(*p, out);
        }
    }
}

static cJSON *expected_tree(struct span body, struct error *err)
{
    char *text = NULL;
    size_t n = 0;
    cJSON *tree = NULL;
    FILE *out = open_memstream(&text, &n);
    if (out != NULL)
        write_as_json(body, out);
    if (out == NULL || fclose(out) != 0)
        (void)no_memory(err);
    else
        tree = json_tree((struct span){text, n}, err);
    free(text);
    return tree;
}

static bool read_expected_body(struct lines *l, struct conformance_case *c, struct error *err)
{
    struct span body = {l->p, 0};
    unsigned first = l->number;
    while (!at_end(l) && !starts_with(peek_line(l), "== ") && !is_prose(peek_line(l))) {
        struct span line = next_line(l);
        if (line.n > 0)
            body.n = (size_t)(line.p + line.n - body.p);
    }
    if (body.n == 0)
        return true;
    cJSON *tree = expected_tree(body, err);
    if (tree == NULL) {
        error_prefix(err, "%s:%u: the expected body", l->name, first);
        return false;
    }
    cJSON_Delete(tree);
    c->body = body;
    return true;
}

static bool read_expectation(struct lines *l, struct conformance_case *c, struct error *err)
{
    bool body_follows = false;
    return read_status(l, c, err) &&
           read_headers(l, &c->headers, &c->header_count, &body_follows, err) &&
           (!body_follows || read_expected_body(l, c, err));
}

/* ---- the file ---- */

static bool read_case(struct lines *l, struct conformance_case *c, struct error *err)
{
    struct span title = peek_line(l);
    *c = (struct conformance_case){.line = l->number};
    if (!starts_with(title, "== "))
        return expected(l, "== title", err);
    c->title = arena_text(l->arena, title.p + 3, title.n - 3);
    if (c->title == NULL)
        return no_memory(err);
    (void)next_line(l);
    skip_prose(l);
    if (!at_end(l) && span_is(peek_line(l), "@ starting")) {
        c->starting = true;
        (void)next_line(l);
        skip_prose(l);
    }
    return read_request(l, c, err) && read_expectation(l, c, err);
}

bool conformance_parse(struct span text, const char *name, struct arena *arena,
                       const struct conformance_case **cases, size_t *n, struct error *err)
{
    struct lines l = {name, text.p, text.p + text.n, 1, arena};
    struct conformance_case *list = NULL;
    size_t capacity = 0;
    skip_prose(&l);
    for (*n = 0; !at_end(&l); (*n)++) {
        if (*n == capacity) {
            size_t grown = 2 * capacity + 16;
            list = arena_grow(arena, list, capacity * sizeof *list, grown * sizeof *list);
            if (list == NULL)
                return no_memory(err);
            capacity = grown;
        }
        if (!read_case(&l, &list[*n], err))
            return false;
        skip_prose(&l);
    }
    *cases = list;
    return *n > 0 || expected(&l, "at least one case", err);
}

bool conformance_load(const char *path, struct arena *arena, const struct conformance_case **cases,
                      size_t *n, struct error *err)
{
    FILE *in = fopen(path, "rb");
    if (in == NULL)
        return error_set(err, ERR_NOT_FOUND, "%s: %s", path, strerror(errno));
    char *text = arena_alloc(arena, FILE_MAX);
    size_t length = text != NULL ? fread(text, 1, FILE_MAX, in) : 0;
    bool whole = ferror(in) == 0 && length < FILE_MAX;
    (void)fclose(in);
    if (text == NULL)
        return no_memory(err);
    if (!whole)
        return error_set(err, ERR_INVALID, "%s: expected a readable file below 1 MB", path);
    return conformance_parse((struct span){text, length}, path, arena, cases, n, err);
}

/* ---- comparing ---- */

/* Where in the body the comparison is. */
struct place {
    char text[160];
    size_t n;
};

static bool differ(const struct place *at, const char *want, const cJSON *got, struct error *err)
{
    char *text = got != NULL ? cJSON_PrintUnformatted(got) : NULL;
    (void)error_set(err, ERR_INVALID, "%s: expected %s, got %s", at->text, want,
                    text != NULL ? text : "nothing");
    cJSON_free(text);
    return false;
}

/* The place of a member (name) or an element (i) of what is at `at`. */
static struct place below(const struct place *at, const char *name, int i)
{
    struct place place = *at;
    size_t room = sizeof place.text - place.n;
    int n = name != NULL ? snprintf(place.text + place.n, room, ".%s", name)
                         : snprintf(place.text + place.n, room, "[%d]", i);
    place.n += (size_t)n < room ? (size_t)n : room - 1;
    return place;
}

static bool compare(const cJSON *want, const cJSON *got, const struct place *at, struct error *err);

static bool compare_lists(const cJSON *want, const cJSON *got, const struct place *at,
                          struct error *err)
{
    int n = cJSON_GetArraySize(want), i = 0;
    char text[48];
    (void)snprintf(text, sizeof text, "%d element%s", n, n == 1 ? "" : "s");
    if (cJSON_GetArraySize(got) != n)
        return differ(at, text, got, err);
    for (want = want->child, got = got->child; want != NULL; want = want->next, got = got->next) {
        struct place place = below(at, NULL, i++);
        if (!compare(want, got, &place, err))
            return false;
    }
    return true;
}

static bool compare_objects(const cJSON *want, const cJSON *got, const struct place *at,
                            struct error *err)
{
    const cJSON *member;
    cJSON_ArrayForEach(member, want)
    {
        struct place place = below(at, member->string, 0);
        const cJSON *other = json_member(got, member->string);
        if (other == NULL)
            return differ(&place, "a member", NULL, err);
        if (!compare(member, other, &place, err))
            return false;
    }
    cJSON_ArrayForEach(member, got)
    {
        struct place place = below(at, member->string, 0);
        if (json_member(want, member->string) == NULL)
            return differ(&place, "no such member", member, err);
    }
    return true;
}

static bool is_near(const cJSON *got, const char *text)
{
    double x = strtod(text, NULL);
    return cJSON_IsNumber(got) &&
           fabs(got->valuedouble - x) <= tolerance * fmax(fabs(x), fabs(got->valuedouble));
}

static bool compare(const cJSON *want, const cJSON *got, const struct place *at, struct error *err)
{
    bool same = want->type == got->type;
    const char *text = cJSON_GetStringValue(want);
    if (text != NULL && strcmp(text, "...") == 0)
        return true;
    if (text != NULL && text[0] == '\1') {
        char shown[64];
        (void)snprintf(shown, sizeof shown, "~%s", text + 1);
        return is_near(got, text + 1) || differ(at, shown, got, err);
    }
    if (same && cJSON_IsArray(want))
        return compare_lists(want, got, at, err);
    if (same && cJSON_IsObject(want))
        return compare_objects(want, got, at, err);
    if (same && cJSON_IsNumber(want))
        same = want->valuedouble == got->valuedouble;
    if (same && text != NULL)
        same = strcmp(text, got->valuestring) == 0;
    if (same)
        return true;
    char *printed = cJSON_PrintUnformatted(want);
    (void)differ(at, printed != NULL ? printed : "something else", got, err);
    cJSON_free(printed);
    return false;
}

static bool compare_bodies(struct span expected_body, struct span body, struct error *err)
{
    struct place root = {"body", 4};
    cJSON *want = expected_tree(expected_body, err);
    cJSON *got = want != NULL ? json_tree(body, err) : NULL;
    bool same = false;
    if (got != NULL)
        same = compare(want, got, &root, err);
    else if (want != NULL)
        error_prefix(err, "body: expected JSON, got %.*s", (int)(body.n < 100 ? body.n : 100),
                     body.p);
    cJSON_Delete(want);
    cJSON_Delete(got);
    return same;
}

static bool compare_header(const struct header *want, const struct header *headers, size_t n,
                           struct error *err)
{
    struct span got = {"nothing", 7};
    for (size_t i = 0; i < n; i++)
        if (headers[i].name.n == want->name.n &&
            strncasecmp(headers[i].name.p, want->name.p, want->name.n) == 0) {
            got = headers[i].value;
            if (span_is(want->value, "...") ||
                (got.n == want->value.n && memcmp(got.p, want->value.p, got.n) == 0))
                return true;
        }
    return error_set(err, ERR_INVALID, "%.*s: expected %.*s, got %.*s", (int)want->name.n,
                     want->name.p, (int)want->value.n, want->value.p, (int)got.n, got.p);
}

bool conformance_compare(const struct conformance_case *expected_case, int status,
                         const struct header *headers, size_t header_count, struct span body,
                         struct error *err)
{
    if (status != expected_case->status)
        return error_set(err, ERR_INVALID, "status: expected %d, got %d; %.*s",
                         expected_case->status, status, (int)(body.n < 160 ? body.n : 160), body.p);
    for (size_t i = 0; i < expected_case->header_count; i++)
        if (!compare_header(&expected_case->headers[i], headers, header_count, err))
            return false;
    return expected_case->body.p == NULL || compare_bodies(expected_case->body, body, err);
}
