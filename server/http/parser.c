/* Character classes are tables; everything else is memchr and comparisons. Each rule is one small
 * function that either passes or names its fault. */
#include "server/http/parser.h"

#include <string.h>
#include <strings.h>

enum { CHUNK_LINE_MAX = 4096, CHUNK_DIGITS_MAX = 15, TRAILER_MAX = 8192 };

static bool fault_set(struct http_fault *fault, int status, const char *text)
{
    *fault = (struct http_fault){status, text};
    return false;
}

/* ---- the end of the head ---- */

enum parse_status parse_find_head(struct head_search *search, const char *data, size_t n,
                                  size_t max_bytes, size_t max_headers, size_t *length,
                                  struct http_fault *fault)
{
    const char *lf;
    while ((lf = memchr(data + search->looked, '\n', n - search->looked)) != NULL) {
        size_t end = (size_t)(lf - data); /* of the line, with its CR */
        search->looked = end + 1;
        if (search->looked > max_bytes) /* what is wrong behind the limit depends on the cut */
            break;
        if (end == search->line_start || data[end - 1] != '\r') {
            (void)fault_set(fault, 400, "head: expected lines that end in CR LF, got a bare LF");
            return PARSE_FAULT;
        }
        bool empty = end == search->line_start + 1;
        search->line_start = search->looked;
        search->lines += !empty;
        /* RFC 9112 2.2: empty lines before the request line are skipped by the caller. */
        if (empty || search->lines > max_headers + 1)
            break;
    }
    if (lf == NULL)
        search->looked = n;
    if (search->looked > max_bytes) {
        (void)fault_set(fault, 431, "head: expected fewer bytes of request line and headers");
        return PARSE_FAULT;
    }
    if (search->lines > max_headers + 1) {
        (void)fault_set(fault, 431, "head: expected fewer headers");
        return PARSE_FAULT;
    }
    *length = search->looked;
    return lf != NULL ? PARSE_DONE : PARSE_MORE;
}

/* ---- character classes ---- */

/* RFC 9110 5.6.2 token characters. */
static const bool token_char[256] = {
    ['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1, ['&'] = 1, ['\''] = 1, ['*'] = 1, ['+'] = 1,
    ['-'] = 1, ['.'] = 1, ['^'] = 1, ['_'] = 1, ['`'] = 1, ['|'] = 1,  ['~'] = 1, ['0'] = 1,
    ['1'] = 1, ['2'] = 1, ['3'] = 1, ['4'] = 1, ['5'] = 1, ['6'] = 1,  ['7'] = 1, ['8'] = 1,
    ['9'] = 1, ['A'] = 1, ['B'] = 1, ['C'] = 1, ['D'] = 1, ['E'] = 1,  ['F'] = 1, ['G'] = 1,
    ['H'] = 1, ['I'] = 1, ['J'] = 1, ['K'] = 1, ['L'] = 1, ['M'] = 1,  ['N'] = 1, ['O'] = 1,
    ['P'] = 1, ['Q'] = 1, ['R'] = 1, ['S'] = 1, ['T'] = 1, ['U'] = 1,  ['V'] = 1, ['W'] = 1,
    ['X'] = 1, ['Y'] = 1, ['Z'] = 1, ['a'] = 1, ['b'] = 1, ['c'] = 1,  ['d'] = 1, ['e'] = 1,
    ['f'] = 1, ['g'] = 1, ['h'] = 1, ['i'] = 1, ['j'] = 1, ['k'] = 1,  ['l'] = 1, ['m'] = 1,
    ['n'] = 1, ['o'] = 1, ['p'] = 1, ['q'] = 1, ['r'] = 1, ['s'] = 1,  ['t'] = 1, ['u'] = 1,
    ['v'] = 1, ['w'] = 1, ['x'] = 1, ['y'] = 1, ['z'] = 1,
};

static size_t token_length(const char *p, const char *end)
{
    const char *start = p;
    while (p < end && token_char[(unsigned char)*p])
        p++;
    return (size_t)(p - start);
}

static bool has_control(const char *p, const char *end)
{
    for (; p < end; p++)
        if (((unsigned char)*p < 0x20 && *p != '\t') || *p == 0x7f)
            return true;
    return false;
}

static bool is(struct span s, const char *text)
{
    return s.n == strlen(text) && strncasecmp(s.p, text, s.n) == 0;
}

static int hex_digit(char c)
{
    char low = (char)(c | 0x20);
    return c >= '0' && c <= '9' ? c - '0' : low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
}

/* ---- request line ---- */

static enum http_method method_of(struct span name)
{
    static const char *const names[] = {
        [HTTP_GET] = "GET",        [HTTP_HEAD] = "HEAD",     [HTTP_POST] = "POST",
        [HTTP_PUT] = "PUT",        [HTTP_DELETE] = "DELETE", [HTTP_PATCH] = "PATCH",
        [HTTP_OPTIONS] = "OPTIONS"};
    for (int i = HTTP_GET; i < HTTP_OTHER_METHOD; i++)
        if (strlen(names[i]) == name.n && memcmp(names[i], name.p, name.n) == 0)
            return (enum http_method)i;
    return HTTP_OTHER_METHOD;
}

int request_escape(const char *p, const char *end)
{
    int high = end - p > 2 ? hex_digit(p[1]) : -1, low = high >= 0 ? hex_digit(p[2]) : -1;
    return low < 0 ? -1 : high * 16 + low;
}

/* Replaces %XX in path; into the arena if there is any. */
static bool decode_path(struct span raw, struct arena *arena, struct span *path,
                        struct http_fault *fault)
{
    *path = raw;
    if (memchr(raw.p, '%', raw.n) == NULL)
        return true;
    char *out = arena_alloc(arena, raw.n);
    if (out == NULL)
        return fault_set(fault, 503, "out of memory");
    size_t n = 0;
    for (size_t i = 0; i < raw.n; i++) {
        char c = raw.p[i];
        if (c == '%') {
            int byte = request_escape(raw.p + i, raw.p + raw.n);
            if (byte <= 0)
                return fault_set(fault, 400,
                                 "target: expected %XX with two hexadecimal digits, not 00");
            c = (char)byte;
            i += 2;
        }
        out[n++] = c;
    }
    *path = (struct span){out, n};
    return true;
}

/* Takes scheme and authority off an absolute-form target (http only). */
static bool strip_authority(struct span *target, bool *absolute, struct http_fault *fault)
{
    static const char scheme[] = "http://";
    const size_t start = sizeof scheme - 1;
    size_t end = start;
    *absolute = target->n >= start && strncasecmp(target->p, scheme, start) == 0;
    if (!*absolute)
        return true;
    while (end < target->n && target->p[end] != '/' && target->p[end] != '?')
        end++;
    *target = (struct span){target->p + end, target->n - end};
    return end > start || fault_set(fault, 400, "target: expected http://authority/path");
}

/* origin-form, absolute-form, or * with OPTIONS. */
static bool parse_target(struct span target, enum http_method method, struct arena *arena,
                         struct request *request, struct http_fault *fault)
{
    bool absolute;
    /* A fragment is never sent; servers that are sent one do not agree on what it means. */
    for (size_t i = 0; i < target.n; i++)
        if ((unsigned char)target.p[i] <= ' ' || (unsigned char)target.p[i] >= 0x7f ||
            target.p[i] == '#')
            return fault_set(fault, 400, "target: expected visible ASCII characters without '#'");
    if (!strip_authority(&target, &absolute, fault))
        return false;
    const char *query = memchr(target.p, '?', target.n);
    if (query != NULL) {
        request->query = (struct span){query + 1, target.n - (size_t)(query + 1 - target.p)};
        target.n = (size_t)(query - target.p);
    }
    if (target.n == 0 && absolute) /* RFC 9110 4.2.3 */
        target = (struct span){"/", 1};
    if (target.n == 0 || (target.p[0] != '/' && !(is(target, "*") && method == HTTP_OPTIONS)))
        return fault_set(fault, 400, "target: expected a path that starts with '/'");
    return decode_path(target, arena, &request->path, fault);
}

static bool parse_version(struct span version, struct http_head *head, struct http_fault *fault)
{
    if (version.n != 8 || memcmp(version.p, "HTTP/", 5) != 0 || version.p[6] != '.' ||
        version.p[5] < '0' || version.p[5] > '9' || version.p[7] < '0' || version.p[7] > '9')
        return fault_set(fault, 400, "request line: expected METHOD target HTTP/1.1");
    if (version.p[5] != '1')
        return fault_set(fault, 505, "version: expected HTTP/1.0 or HTTP/1.1");
    /* RFC 9110 2.5: a higher minor version is answered as the highest one known. */
    head->http10 = version.p[7] == '0';
    return true;
}

static bool parse_request_line(const char *p, const char *end, struct arena *arena,
                               struct http_head *head, struct http_fault *fault)
{
    struct request *request = &head->request;
    const char *target = memchr(p, ' ', (size_t)(end - p));
    const char *version =
        target == NULL ? NULL : memchr(target + 1, ' ', (size_t)(end - target - 1));
    if (version == NULL)
        return fault_set(fault, 400, "request line: expected METHOD target HTTP/1.1");
    request->method_name = (struct span){p, (size_t)(target - p)};
    if (request->method_name.n == 0 || token_length(p, target) != request->method_name.n)
        return fault_set(fault, 400, "method: expected a token");
    request->method = method_of(request->method_name);
    struct span name = {target + 1, (size_t)(version - target - 1)};
    return parse_version((struct span){version + 1, (size_t)(end - version - 1)}, head, fault) &&
           parse_target(name, request->method, arena, request, fault);
}

/* ---- headers ---- */

static bool parse_header(const char *p, const char *end, struct header *header,
                         struct http_fault *fault)
{
    if (*p == ' ' || *p == '\t')
        return fault_set(fault, 400, "header: expected no folded lines");
    size_t n = token_length(p, end);
    if (n == 0 || p + n == end || p[n] != ':')
        return fault_set(fault, 400, "header: expected name and colon without blanks between");
    header->name = (struct span){p, n};
    for (p += n + 1; p < end && (*p == ' ' || *p == '\t'); p++)
        ;
    while (end > p && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    header->value = (struct span){p, (size_t)(end - p)};
    return !has_control(p, end) ||
           fault_set(fault, 400, "header: expected a value without control characters");
}

/* What the framing headers said so far. */
struct framing {
    bool host, length, encoding, close, keep_alive;
};

/* uri-host [":" port]: not its whole grammar (RFC 3986 3.2.2), but nothing that ends or separates hosts. */
static bool read_host(struct span value, struct framing *seen, struct http_fault *fault)
{
    if (seen->host)
        return fault_set(fault, 400, "Host: expected it once");
    seen->host = true;
    for (size_t i = 0; i < value.n; i++) {
        char c = value.p[i];
        if ((unsigned char)c <= ' ' || (unsigned char)c >= 0x7f || c == '/' || c == '?' ||
            c == '#' || c == '@' || c == ',' || c == '\\')
            return fault_set(fault, 400, "Host: expected a name or address and perhaps a port");
    }
    return true;
}

static bool read_length(struct span value, struct framing *seen, size_t *length,
                        struct http_fault *fault)
{
    size_t n = 0;
    if (seen->length)
        return fault_set(fault, 400, "Content-Length: expected it once");
    seen->length = true;
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] < '0' || value.p[i] > '9')
            return fault_set(fault, 400, "Content-Length: expected digits only");
        if (n > (SIZE_MAX - 9) / 10)
            return fault_set(fault, 413, "Content-Length: expected a smaller body");
        n = n * 10 + (size_t)(value.p[i] - '0');
    }
    *length = n;
    return value.n > 0 || fault_set(fault, 400, "Content-Length: expected digits only");
}

static void read_connection(struct span value, struct framing *seen)
{
    const char *p = value.p, *end = value.p + value.n;
    while (p < end) {
        struct span token = {p, token_length(p, end)};
        seen->close |= is(token, "close");
        seen->keep_alive |= is(token, "keep-alive");
        p += token.n > 0 ? token.n : 1;
    }
}

static bool read_framing_header(const struct header *header, struct framing *seen,
                                struct http_head *head, struct http_fault *fault)
{
    switch (header->name.n) { /* most headers are told apart by their length alone */
    case 4:
        return !is(header->name, "Host") || read_host(header->value, seen, fault);
    case 6:
        if (!is(header->name, "Expect"))
            return true;
        head->expect_continue = is(header->value, "100-continue");
        return head->expect_continue || fault_set(fault, 417, "Expect: expected 100-continue");
    case 10:
        if (is(header->name, "Connection"))
            read_connection(header->value, seen);
        return true;
    case 14:
        return !is(header->name, "Content-Length") ||
               read_length(header->value, seen, &head->length, fault);
    case 17:
        if (!is(header->name, "Transfer-Encoding"))
            return true;
        if (seen->encoding || !is(header->value, "chunked"))
            return fault_set(fault, 501, "Transfer-Encoding: expected chunked and nothing else");
        seen->encoding = head->chunked = true;
        return true;
    default:
        return true;
    }
}

static bool check_framing(const struct framing *seen, struct http_head *head,
                          struct http_fault *fault)
{
    if (seen->encoding && seen->length)
        return fault_set(fault, 400,
                         "framing: expected Transfer-Encoding or Content-Length, got both");
    if (seen->encoding && head->http10)
        return fault_set(fault, 400, "Transfer-Encoding: expected HTTP/1.1");
    if (!seen->host && !head->http10)
        return fault_set(fault, 400, "Host: expected it in an HTTP/1.1 request");
    head->keep_alive = !seen->close && (!head->http10 || seen->keep_alive);
    head->expect_continue = head->expect_continue && !head->http10;
    return true;
}

bool parse_head(const char *data, size_t length, size_t lines, struct arena *arena,
                struct http_head *head, struct http_fault *fault)
{
    struct framing seen = {0};
    const char *p = data, *end = data + length - 2; /* without the empty line */
    struct header *headers = arena_array(arena, lines, sizeof *headers);
    *head = (struct http_head){.request.headers = headers};
    if (headers == NULL)
        return fault_set(fault, 503, "out of memory");
    for (size_t line = 0; p < end; line++) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        const char *eol = lf - 1;
        /* The lines were found by their LF, so a CR elsewhere is a bare one; has_control sees it in
         * values, the token tables elsewhere. */
        if (line == 0) {
            if (!parse_request_line(p, eol, arena, head, fault))
                return false;
        } else {
            struct header *header = &headers[head->request.header_count];
            if (!parse_header(p, eol, header, fault))
                return false;
            head->request.header_count++; /* a fault's handler sees no half-read header */
            if (!read_framing_header(header, &seen, head, fault))
                return false;
        }
        p = lf + 1;
    }
    return check_framing(&seen, head, fault);
}

struct span request_header(const struct request *request, const char *name)
{
    for (size_t i = 0; i < request->header_count; i++)
        if (is(request->headers[i].name, name))
            return request->headers[i].value;
    return (struct span){NULL, 0};
}

/* ---- chunked bodies ---- */

/* size [; extensions] CR LF, without the CR LF. */
static bool read_chunk_size(struct span line, size_t *size, struct http_fault *fault)
{
    size_t n = 0, value = 0;
    for (; n < line.n && hex_digit(line.p[n]) >= 0; n++) {
        if (n == CHUNK_DIGITS_MAX)
            return fault_set(fault, 413, "chunk: expected a smaller size");
        value = value * 16 + (size_t)hex_digit(line.p[n]);
    }
    *size = value;
    if (n == 0)
        return fault_set(fault, 400, "chunk: expected a hexadecimal size");
    while (n < line.n && (line.p[n] == ' ' || line.p[n] == '\t')) /* "bad" blanks, RFC 9112 7.1.1 */
        n++;
    if (n < line.n && line.p[n] != ';')
        return fault_set(fault, 400, "chunk: expected a hexadecimal size and perhaps extensions");
    return !has_control(line.p + n, line.p + line.n) ||
           fault_set(fault, 400, "chunk: expected extensions without control characters");
}

/* The next CR LF line at state->in, bounded; false with *fault set, or with status 0: more is needed. */
static bool next_line(struct chunked *state, const char *data, size_t n, size_t max,
                      struct span *line, struct http_fault *fault)
{
    const char *start = data + state->in;
    const char *lf = memchr(start + state->framing, '\n', n - state->in - state->framing);
    size_t length = lf != NULL ? (size_t)(lf - start) : n - state->in;
    if (length > max)
        return state->state == CHUNK_TRAILER
                   ? fault_set(fault, 431, "trailer: expected fewer bytes")
                   : fault_set(fault, 400, "chunk: expected a shorter line");
    if (lf == NULL) {
        state->framing = length; /* so that a drip is not searched again */
        return fault_set(fault, 0, NULL);
    }
    if (length == 0 || start[length - 1] != '\r')
        return fault_set(fault, 400, "chunk: expected lines that end in CR LF");
    *line = (struct span){start, length - 1};
    state->in += length + 1;
    state->framing = 0;
    return true;
}

static bool step_size(struct chunked *state, const char *data, size_t n, size_t max_body,
                      struct http_fault *fault)
{
    struct span line;
    if (!next_line(state, data, n, CHUNK_LINE_MAX, &line, fault) ||
        !read_chunk_size(line, &state->left, fault))
        return false;
    if (state->left > max_body - state->out)
        return fault_set(fault, 413, "body: expected fewer bytes");
    state->state = state->left > 0 ? CHUNK_DATA : CHUNK_TRAILER;
    return true;
}

static bool step_data(struct chunked *state, char *data, size_t n, struct http_fault *fault)
{
    size_t part = n - state->in < state->left ? n - state->in : state->left;
    memmove(data + state->out, data + state->in, part);
    state->in += part;
    state->out += part;
    state->left -= part;
    if (state->left > 0)
        return fault_set(fault, 0, NULL);
    state->state = CHUNK_DATA_END;
    return true;
}

static bool step_data_end(struct chunked *state, const char *data, size_t n,
                          struct http_fault *fault)
{
    if (n - state->in >= 1 && data[state->in] != '\r')
        return fault_set(fault, 400, "chunk: expected CR LF behind its data");
    if (n - state->in < 2)
        return fault_set(fault, 0, NULL);
    if (data[state->in + 1] != '\n')
        return fault_set(fault, 400, "chunk: expected CR LF behind its data");
    state->in += 2;
    state->state = CHUNK_SIZE;
    return true;
}

/* Trailers are checked like headers and dropped. *done at the empty line. */
static bool step_trailer(struct chunked *state, const char *data, size_t n, bool *done,
                         struct http_fault *fault)
{
    struct span line;
    struct header ignored;
    if (!next_line(state, data, n, TRAILER_MAX, &line, fault))
        return false;
    *done = line.n == 0;
    state->left += line.n; /* counts all trailers: they are bounded together */
    if (state->left > TRAILER_MAX)
        return fault_set(fault, 431, "trailer: expected fewer bytes");
    return *done || parse_header(line.p, line.p + line.n, &ignored, fault);
}

enum parse_status parse_chunked(struct chunked *state, char *data, size_t *length, size_t max_body,
                                struct http_fault *fault)
{
    bool going = true, done = false;
    const size_t n = *length;
    *fault = (struct http_fault){0, NULL};
    while (going && !done) {
        switch (state->state) {
        case CHUNK_SIZE:
            going = step_size(state, data, n, max_body, fault);
            break;
        case CHUNK_DATA:
            going = step_data(state, data, n, fault);
            break;
        case CHUNK_DATA_END:
            going = step_data_end(state, data, n, fault);
            break;
        case CHUNK_TRAILER:
            going = step_trailer(state, data, n, &done, fault);
            break;
        }
    }
    if (done || fault->status != 0)
        return done ? PARSE_DONE : PARSE_FAULT;
    /* What is left is part of a line at most. Without this, framing could fill the memory. */
    memmove(data + state->out, data + state->in, n - state->in);
    *length = n - (state->in - state->out);
    state->in = state->out;
    return PARSE_MORE;
}
