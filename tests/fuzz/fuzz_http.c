/* Reads any bytes as a connection's input. What comes of it, message by message, must not depend on how
 * the bytes were cut; and what is accepted keeps the promises of message.h. */
#define _GNU_SOURCE /* open_memstream */
#include "server/http/parser.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INPUT_MAX = 4096, HEAD_BYTES = 512, HEADERS = 8, BODY_BYTES = 200 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* A connection without sockets: the same steps as connection.c. */
struct stream {
    char *data; /* an allocation of exactly n bytes, so that over-reads are seen */
    size_t n;
    enum { AT_HEAD, AT_BODY, AT_CHUNKS, AT_END } at;
    struct head_search search;
    struct chunked chunked;
    size_t head_length, body_length;
    struct arena *arena;
    FILE *transcript;
};

static bool is_text(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if (((unsigned char)s.p[i] < ' ' && s.p[i] != '\t') || s.p[i] == 0x7f)
            return false;
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static void check_request(const struct stream *s, const struct http_head *head)
{
    const struct request *r = &head->request;
    check(r->method_name.n > 0 && is_text(r->method_name));
    check(r->path.n > 0 && (r->path.p[0] == '/' || r->path.p[0] == '*'));
    check(memchr(r->path.p, '\0', r->path.n) == NULL);
    check(r->query.n == 0 || (is_text(r->query) && memchr(r->query.p, ' ', r->query.n) == NULL));
    check(r->header_count <= HEADERS && r->header_count == s->search.lines - 1);
    for (size_t i = 0; i < r->header_count; i++) {
        struct span name = r->headers[i].name, value = r->headers[i].value;
        check(name.n > 0 && is_text(name) && is_text(value));
        check(name.p >= s->data && value.p + value.n <= s->data + s->head_length);
        check(value.n == 0 || (!is_blank(value.p[0]) && !is_blank(value.p[value.n - 1])));
    }
    check(!head->chunked || request_header(r, "content-length").p == NULL);
    check(head->http10 || request_header(r, "host").p != NULL);
    check(r->fault == 0);
}

static void write_span(FILE *to, struct span s)
{
    (void)fprintf(to, "%zu:", s.n);
    if (s.n > 0)
        (void)fwrite(s.p, 1, s.n, to);
}

static bool end_with(struct stream *s, const struct http_fault *fault)
{
    (void)fprintf(s->transcript, "fault %d %s\n", fault->status, fault->text);
    check(fault->status >= 400 && fault->status <= 505 && fault->text != NULL);
    s->at = AT_END;
    return false;
}

static bool read_head(struct stream *s)
{
    struct http_fault fault = {0, NULL};
    struct http_head head;
    enum parse_status found =
        parse_find_head(&s->search, s->data, s->n, HEAD_BYTES, HEADERS, &s->head_length, &fault);
    if (found == PARSE_MORE)
        return false;
    if (found == PARSE_FAULT)
        return end_with(s, &fault);
    if (s->search.lines == 0) {
        s->at = AT_BODY; /* an empty line is left behind like a message without a body */
        s->body_length = 0;
        return true;
    }
    arena_reset(s->arena);
    if (!parse_head(s->data, s->head_length, s->search.lines, s->arena, &head, &fault))
        return end_with(s, &fault);
    check_request(s, &head);
    if (head.length > BODY_BYTES)
        return end_with(s, &(struct http_fault){413, "body"});
    write_span(s->transcript, head.request.method_name);
    write_span(s->transcript, head.request.path);
    write_span(s->transcript, head.request.query);
    for (size_t i = 0; i < head.request.header_count; i++) {
        write_span(s->transcript, head.request.headers[i].name);
        write_span(s->transcript, head.request.headers[i].value);
    }
    (void)fprintf(s->transcript, " %d%d%d%d\n", head.chunked, head.keep_alive, head.expect_continue,
                  head.http10);
    s->at = head.chunked ? AT_CHUNKS : AT_BODY;
    s->body_length = head.length;
    return true;
}

/* Goes to the next message behind a body of `body` bytes that took up `taken`. */
static bool end_message(struct stream *s, size_t body, size_t taken)
{
    write_span(s->transcript, (struct span){s->data + s->head_length, body});
    s->n -= s->head_length + taken;
    memmove(s->data, s->data + s->head_length + taken, s->n);
    s->search = (struct head_search){0};
    s->chunked = (struct chunked){0};
    s->at = AT_HEAD;
    return true;
}

static bool read_chunks(struct stream *s)
{
    struct http_fault fault;
    size_t n = s->n - s->head_length;
    switch (parse_chunked(&s->chunked, s->data + s->head_length, &n, BODY_BYTES, &fault)) {
    case PARSE_FAULT:
        return end_with(s, &fault);
    case PARSE_MORE:
        check(n <= s->n - s->head_length && s->chunked.out <= BODY_BYTES);
        s->n = s->head_length + n;
        return false;
    case PARSE_DONE:
        break;
    }
    check(s->chunked.out <= s->chunked.in && s->chunked.in <= n);
    return end_message(s, s->chunked.out, s->chunked.in);
}

static bool step(struct stream *s)
{
    switch (s->at) {
    case AT_HEAD:
        return s->n > 0 && read_head(s);
    case AT_BODY:
        return s->n - s->head_length >= s->body_length &&
               end_message(s, s->body_length, s->body_length);
    case AT_CHUNKS:
        return read_chunks(s);
    case AT_END:
        break;
    }
    return false;
}

static void feed(struct stream *s, const uint8_t *data, size_t n)
{
    char *grown = malloc(s->n + n + 1);
    check(grown != NULL);
    if (s->n > 0)
        memcpy(grown, s->data, s->n);
    memcpy(grown + s->n, data, n);
    free(s->data);
    s->data = realloc(grown, s->n + n);
    s->n += n;
    while (step(s))
        ;
}

/* The transcript of the input read in pieces of 1 to `most` bytes, or whole with most == 0; free. */
static char *transcribe(const uint8_t *data, size_t size, size_t most, size_t *length)
{
    struct stream s = {.arena = arena_new(4096, 0)};
    char *text = NULL;
    size_t n;
    uint32_t random = (uint32_t)size;
    check(s.arena != NULL && (s.transcript = open_memstream(&text, length)) != NULL);
    for (size_t at = 0; at < size && s.at != AT_END; at += n) {
        random = random * 1664525 + 1013904223 + data[at];
        n = most > 0 ? 1 + (random >> 8) % most : size;
        n = n < size - at ? n : size - at;
        feed(&s, data + at, n);
    }
    (void)fprintf(s.transcript, "end %d\n", (int)s.at);
    check(fclose(s.transcript) == 0);
    free(s.data);
    arena_free(s.arena);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t pieces[] = {1, 3, 40, 700};
    size_t expected_length, length;
    if (size > INPUT_MAX)
        return 0;
    char *expected = transcribe(data, size, 0, &expected_length);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        char *text = transcribe(data, size, pieces[i], &length);
        check(length == expected_length && memcmp(text, expected, length) == 0);
        free(text);
    }
    free(expected);
    return 0;
}
