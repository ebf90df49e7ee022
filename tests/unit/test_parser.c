/* HTTP/1.1 syntax at its edges. Every message is judged whole, cut in two at every byte, and byte by
 * byte; the verdict must be the same to the word. */
#include "server/http/parser.h"

#include "tests/support/t.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPAN(literal)                                                                              \
    {                                                                                              \
        (literal), sizeof(literal) - 1                                                             \
    }

enum { MAX_BYTES = 1024, MAX_HEADERS = 20 };

/* ---- judging a head ---- */

/* What a head came to. */
struct verdict {
    enum parse_status found;
    struct http_fault fault;
    size_t length, lines;
};

/* The search, with `first` bytes at once and `step` bytes more each time. Every piece is copied to its
 * own block, so that a sanitizer sees a look beyond it. */
static struct verdict find_in_pieces(struct span bytes, size_t first, size_t step)
{
    struct verdict v = {PARSE_MORE, {0, NULL}, 0, 0};
    struct head_search search = {0};
    for (size_t n = first;; n = bytes.n - n < step ? bytes.n : n + step) {
        char *copy = malloc(n + 1);
        assert_non_null(copy);
        char *piece = copy + 1; /* not aligned, and ends with the block */
        if (n > 0)
            memcpy(piece, bytes.p, n);
        v.found = parse_find_head(&search, piece, n, MAX_BYTES, MAX_HEADERS, &v.length, &v.fault);
        free(copy);
        if (v.found != PARSE_MORE || n == bytes.n)
            break;
    }
    v.lines = search.lines;
    if (v.found != PARSE_DONE)
        v.length = 0;
    return v;
}

static void assert_same_verdict(const struct verdict *a, const struct verdict *b)
{
    assert_int_equal(a->found, b->found);
    assert_int_equal(a->length, b->length);
    assert_int_equal(a->fault.status, b->fault.status);
    if (a->fault.status != 0)
        assert_string_equal(a->fault.text, b->fault.text);
    else
        assert_int_equal(a->lines, b->lines);
}

/* The verdict of the search, which does not depend on the cuts. */
static struct verdict find(struct span bytes)
{
    struct verdict whole = find_in_pieces(bytes, bytes.n, 1), cut = find_in_pieces(bytes, 0, 1);
    assert_same_verdict(&whole, &cut);
    for (size_t at = 0; at < bytes.n; at++) {
        cut = find_in_pieces(bytes, at, bytes.n);
        assert_same_verdict(&whole, &cut);
    }
    return whole;
}

/* A parsed head with what its spans point to. */
struct parsed {
    struct verdict verdict;
    struct http_head head;
    struct arena *arena;
    char *copy;
};

static void parsed_clear(struct parsed *parsed)
{
    arena_free(parsed->arena);
    t_guarded_free(parsed->copy, parsed->verdict.length);
}

static struct parsed parse(struct span bytes)
{
    struct parsed p = {.verdict = find(bytes)};
    p.copy = t_guarded(bytes.p, p.verdict.length);
    assert_non_null(p.arena = arena_new(1024, 0));
    if (p.verdict.found == PARSE_DONE && p.verdict.lines > 0)
        (void)!parse_head(p.copy, p.verdict.length, p.verdict.lines, p.arena, &p.head,
                          &p.verdict.fault);
    return p;
}

/* A case: the bytes, and the status of the fault (0: none) with a part of its text. */
struct head_case {
    struct span bytes;
    int status;
    const char *text;
};

static void check_heads(const struct head_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct parsed p = parse((struct span){cases[i].bytes.p, cases[i].bytes.n});
        const struct http_fault *fault = &p.verdict.fault;
        if (fault->status != cases[i].status || p.verdict.found == PARSE_MORE)
            fail_msg("expected %d, got %d (%s) for\n%.*s", cases[i].status, fault->status,
                     fault->text != NULL ? fault->text : "no fault", (int)cases[i].bytes.n,
                     cases[i].bytes.p);
        if (fault->status != 0)
            assert_contains(fault->text, cases[i].text);
        parsed_clear(&p);
    }
}

#define CHECK_HEADS(cases) check_heads((cases), sizeof(cases) / sizeof *(cases))
/* A head of a request line and of headers behind a valid start. */
#define LINE(line)       SPAN(line "\r\nHost: a\r\n\r\n")
#define HEADERS(headers) SPAN("POST / HTTP/1.1\r\nHost: a\r\n" headers "\r\n")

static void assert_span(struct span span, const char *text)
{
    if (span.n != strlen(text) || (span.n > 0 && memcmp(span.p, text, span.n) != 0))
        fail_msg("expected \"%s\", got \"%.*s\"", text, (int)span.n, span.p);
}

/* ---- the head as a whole ---- */

static void a_request_is_taken_apart(void **state)
{
    (void)state;
    struct parsed p = parse((struct span)SPAN(
        "POST /v1/models/a%20b?x=%20&y HTTP/1.1\r\nHost: example.org:80\r\n"
        "Content-Length: 17\r\nX-Empty:\r\nx-blanks: \t a b \t \r\nX-Text: \xc3\xa4!\r\n\r\nbody"));
    const struct request *r = &p.head.request;
    assert_int_equal(p.verdict.fault.status, 0);
    assert_int_equal(r->method, HTTP_POST);
    assert_span(r->method_name, "POST");
    assert_span(r->path, "/v1/models/a b");
    assert_span(r->query, "x=%20&y");
    assert_int_equal(r->header_count, 5);
    assert_span(r->headers[0].name, "Host");
    assert_span(request_header(r, "HOST"), "example.org:80");
    assert_span(request_header(r, "x-empty"), "");
    assert_span(request_header(r, "X-Blanks"), "a b");
    assert_span(request_header(r, "x-text"), "\xc3\xa4!");
    assert_null(request_header(r, "x-none").p);
    assert_int_equal(p.head.length, 17);
    assert_true(p.head.keep_alive && !p.head.chunked && !p.head.expect_continue && !p.head.http10);
    parsed_clear(&p);
}

static void an_empty_line_before_the_request_is_a_head_without_lines(void **state)
{
    (void)state;
    struct verdict v = find((struct span)SPAN("\r\nGET / HTTP/1.1\r\n"));
    assert_int_equal(v.found, PARSE_DONE);
    assert_int_equal(v.length, 2);
    assert_int_equal(v.lines, 0);
}

static void an_unfinished_head_asks_for_more(void **state)
{
    (void)state;
    static const struct span cases[] = {SPAN(""),
                                        SPAN("G"),
                                        SPAN("\r"),
                                        SPAN("GET / HTTP/1.1\r\n"),
                                        SPAN("GET / HTTP/1.1\r\nHost: a\r\n\r"),
                                        SPAN("\0\0\0")};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(find(cases[i]).found, PARSE_MORE);
}

static void lines_end_in_cr_lf_and_nothing_else(void **state)
{
    (void)state;
    static const struct head_case cases[] = {
        {SPAN("\n"), 400, "bare LF"},
        {SPAN("GET / HTTP/1.1\n"), 400, "bare LF"},
        {SPAN("GET / HTTP/1.1\r\nHost: a\n\r\n"), 400, "bare LF"},
        {SPAN("GET / HTTP/1.1\r\nHost: a\r\n\n"), 400, "bare LF"},
        {SPAN("GET / HTTP/1.1\r\nHost: a\r\rX: b\r\n\r\n"), 400, "control"},
        {SPAN("GET / HTTP/1.1\rHost: a\r\n\r\n"), 400, "HTTP/1.1"},
        {SPAN("GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"), 400, "HTTP/1.1"},
        {SPAN("GET / HTTP/1.1\r\nHost: a\r\n\r\r\n\r\n"), 400, "header"},
    };
    CHECK_HEADS(cases);
}

/* ---- limits ---- */

/* A head of exactly `bytes` bytes; free. */
static struct span head_of_bytes(size_t bytes)
{
    static const char start[] = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
    char *head = malloc(bytes);
    assert_non_null(head);
    memset(head, 'x', bytes);
    memcpy(head, start, sizeof start - 1);
    memcpy(head + bytes - 4, "\r\n\r\n", 4);
    return (struct span){head, bytes};
}

static void a_head_of_the_limit_is_taken_and_one_byte_more_is_431(void **state)
{
    (void)state;
    for (size_t over = 0; over < 3; over++) {
        struct span head = head_of_bytes(MAX_BYTES + over);
        struct verdict v = find(head);
        assert_int_equal(v.found, over == 0 ? PARSE_DONE : PARSE_FAULT);
        assert_int_equal(v.fault.status, over == 0 ? 0 : 431);
        free((void *)(uintptr_t)head.p);
    }
}

static void a_line_that_never_ends_is_431_however_it_is_cut(void **state)
{
    (void)state;
    char line[MAX_BYTES + 8];
    memset(line, 'x', sizeof line);
    assert_int_equal(find((struct span){line, MAX_BYTES}).found, PARSE_MORE);
    assert_int_equal(find((struct span){line, MAX_BYTES + 1}).fault.status, 431);
    /* What comes behind the limit no longer matters, or else it would depend on the cut. */
    line[MAX_BYTES + 4] = '\n';
    assert_int_equal(find((struct span){line, sizeof line}).fault.status, 431);
    line[MAX_BYTES] = '\n';
    assert_int_equal(find((struct span){line, sizeof line}).fault.status, 431);
    line[MAX_BYTES - 1] = '\n';
    assert_int_equal(find((struct span){line, sizeof line}).fault.status, 400);
}

static struct span head_of_headers(size_t headers)
{
    char *head = malloc(64 + headers * 4);
    assert_non_null(head);
    size_t n = (size_t)sprintf(head, "GET / HTTP/1.0\r\n");
    for (size_t i = 0; i < headers; i++, n += 4)
        memcpy(head + n, "a:\r\n", 4);
    memcpy(head + n, "\r\n", 2);
    return (struct span){head, n + 2};
}

static void headers_of_the_limit_are_taken_and_one_more_is_431(void **state)
{
    (void)state;
    for (size_t over = 0; over < 3; over++) {
        struct span head = head_of_headers(MAX_HEADERS + over);
        struct parsed p = parse(head);
        assert_int_equal(p.verdict.fault.status, over == 0 ? 0 : 431);
        if (over == 0)
            assert_int_equal(p.head.request.header_count, MAX_HEADERS);
        else
            assert_contains(p.verdict.fault.text, "fewer headers");
        parsed_clear(&p);
        free((void *)(uintptr_t)head.p);
    }
}

static void ten_thousand_headers_are_431_before_they_are_looked_at(void **state)
{
    (void)state;
    struct span head = head_of_headers(10000);
    struct verdict v = find_in_pieces(head, head.n, 1), dripped = find_in_pieces(head, 0, 1);
    assert_int_equal(v.fault.status, 431);
    assert_same_verdict(&v, &dripped);
    free((void *)(uintptr_t)head.p);
}

static void an_exhausted_arena_is_503(void **state)
{
    (void)state;
    static const struct span bytes = SPAN("GET /%41%41%41 HTTP/1.1\r\nHost: a\r\n\r\n");
    struct head_search search = {0};
    struct http_head head;
    struct http_fault fault = {0, NULL};
    size_t length;
    assert_int_equal(
        parse_find_head(&search, bytes.p, bytes.n, MAX_BYTES, MAX_HEADERS, &length, &fault),
        PARSE_DONE);
    struct arena *arena = arena_new(64, 64);
    assert_non_null(arena);
    while (arena_alloc(arena, 16) != NULL)
        ;
    assert_false(parse_head(bytes.p, length, search.lines, arena, &head, &fault));
    assert_int_equal(fault.status, 503);
    arena_free(arena);
}

/* ---- request line ---- */

static void request_lines_are_three_words_with_single_blanks(void **state)
{
    (void)state;
    static const struct head_case cases[] = {
        {LINE("GET / HTTP/1.1"), 0, NULL},
        {LINE("M-SEARCH!#$%&'*+.^_`|~09 / HTTP/1.1"), 0, NULL},
        {LINE("GET /"), 400, "request line"},
        {LINE("GET"), 400, "request line"},
        {LINE(" GET / HTTP/1.1"), 400, "method"},
        {LINE("GET  / HTTP/1.1"), 400, "request line"},
        {LINE("GET /  HTTP/1.1"), 400, "request line"},
        {LINE("GET / HTTP/1.1 "), 400, "request line"},
        {LINE("GET / x HTTP/1.1"), 400, "request line"},
        {LINE("GET\t/\tHTTP/1.1"), 400, "request line"},
        {LINE("GET\t / HTTP/1.1"), 400, "method"},
        {LINE("G\0T / HTTP/1.1"), 400, "method"},
        {LINE("G(T / HTTP/1.1"), 400, "method"},
        {LINE("G\xc3\xa4T / HTTP/1.1"), 400, "method"},
        {LINE("GET / HTTP/1.1\t"), 400, "request line"},
    };
    CHECK_HEADS(cases);
}

static void methods_are_case_sensitive(void **state)
{
    (void)state;
    static const struct {
        struct span bytes;
        enum http_method method;
    } cases[] = {
        {LINE("GET / HTTP/1.1"), HTTP_GET},          {LINE("HEAD / HTTP/1.1"), HTTP_HEAD},
        {LINE("POST / HTTP/1.1"), HTTP_POST},        {LINE("PUT / HTTP/1.1"), HTTP_PUT},
        {LINE("DELETE / HTTP/1.1"), HTTP_DELETE},    {LINE("PATCH / HTTP/1.1"), HTTP_PATCH},
        {LINE("OPTIONS * HTTP/1.1"), HTTP_OPTIONS},  {LINE("get / HTTP/1.1"), HTTP_OTHER_METHOD},
        {LINE("GETS / HTTP/1.1"), HTTP_OTHER_METHOD}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct parsed p = parse(cases[i].bytes);
        assert_int_equal(p.verdict.fault.status, 0);
        assert_int_equal(p.head.request.method, cases[i].method);
        parsed_clear(&p);
    }
}

static void versions_are_1_0_and_1_1_and_what_answers_as_1_1(void **state)
{
    (void)state;
    static const struct head_case cases[] = {
        {LINE("GET / HTTP/1.0"), 0, NULL},
        {LINE("GET / HTTP/1.7"), 0, NULL}, /* RFC 9110 2.5 */
        {LINE("GET / HTTP/2.0"), 505, "HTTP/1.1"},
        {LINE("GET / HTTP/0.9"), 505, "HTTP/1.1"},
        {SPAN("PRI * HTTP/2.0\r\n\r\n"), 505, "HTTP/1.1"},
        {LINE("GET / HTTP/1"), 400, "request line"},
        {LINE("GET / HTTP/1.10"), 400, "request line"},
        {LINE("GET / HTTP/11.1"), 400, "request line"},
        {LINE("GET / HTTP/x.1"), 400, "request line"},
        {LINE("GET / HTTP/1.x"), 400, "request line"},
        {LINE("GET / HTTP/1,1"), 400, "request line"},
        {LINE("GET / http/1.1"), 400, "request line"},
        {LINE("GET / HTTPS/1.1"), 400, "request line"},
        {LINE("GET / "), 400, "request line"},
    };
    CHECK_HEADS(cases);
    struct parsed p = parse((struct span)LINE("GET / HTTP/1.7"));
    assert_true(p.head.keep_alive && !p.head.http10);
    parsed_clear(&p);
}

static void targets_are_paths_or_absolute(void **state)
{
    (void)state;
    static const struct {
        struct span bytes;
        const char *path, *query; /* path NULL: 400 */
    } cases[] = {
        {LINE("GET /a/b HTTP/1.1"), "/a/b", ""},
        {LINE("GET /? HTTP/1.1"), "/", ""},
        {LINE("GET /a?b?c=/d HTTP/1.1"), "/a", "b?c=/d"},
        {LINE("GET //a HTTP/1.1"), "//a", ""},
        {LINE("GET http://a/b?c HTTP/1.1"), "/b", "c"},
        {LINE("GET HTTP://a:80/ HTTP/1.1"), "/", ""},
        {LINE("GET http://a HTTP/1.1"), "/", ""}, /* RFC 9110 4.2.3 */
        {LINE("GET http://a?b=/c HTTP/1.1"), "/", "b=/c"},
        {LINE("GET http:///b HTTP/1.1"), NULL, NULL},
        {LINE("GET http://?b HTTP/1.1"), NULL, NULL},
        {LINE("GET http:// HTTP/1.1"), NULL, NULL},
        {LINE("GET http:/a HTTP/1.1"), NULL, NULL},
        {LINE("GET ftp://a/b HTTP/1.1"), NULL, NULL},
        {LINE("GET a HTTP/1.1"), NULL, NULL},
        {LINE("GET ?a HTTP/1.1"), NULL, NULL},
        {LINE("CONNECT a:80 HTTP/1.1"), NULL, NULL},
        {LINE("OPTIONS * HTTP/1.1"), "*", ""},
        {LINE("GET * HTTP/1.1"), NULL, NULL},
        {LINE("OPTIONS *a HTTP/1.1"), NULL, NULL},
        /* A fragment is cut off by some servers and kept by others. */
        {LINE("GET /a#b HTTP/1.1"), NULL, NULL},
        {LINE("GET /a?b#c HTTP/1.1"), NULL, NULL},
        {LINE("GET http://a#/b HTTP/1.1"), NULL, NULL},
        {LINE("GET /a\x7f HTTP/1.1"), NULL, NULL},
        {LINE("GET /a\x01 HTTP/1.1"), NULL, NULL},
        {LINE("GET /a\0b HTTP/1.1"), NULL, NULL},
        {LINE("GET /a\tb HTTP/1.1"), NULL, NULL},
        {LINE("GET /\xc3\xa4 HTTP/1.1"), NULL, NULL},
        {LINE("GET /?\xff HTTP/1.1"), NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct parsed p = parse(cases[i].bytes);
        if (p.verdict.fault.status != (cases[i].path == NULL ? 400 : 0))
            fail_msg("got %d for %.*s", p.verdict.fault.status, (int)cases[i].bytes.n,
                     cases[i].bytes.p);
        if (cases[i].path != NULL) {
            assert_span(p.head.request.path, cases[i].path);
            assert_span(p.head.request.query, cases[i].query);
        } else {
            assert_contains(p.verdict.fault.text, "target");
        }
        parsed_clear(&p);
    }
}

static void paths_are_percent_decoded_once_and_queries_are_not(void **state)
{
    (void)state;
    static const struct {
        struct span bytes;
        const char *path; /* NULL: 400 */
    } cases[] = {
        {LINE("GET /%41%7a%2F%2f?%41 HTTP/1.1"), "/Az//"},
        {LINE("GET /%2541 HTTP/1.1"), "/%41"},
        {LINE("GET /%C3%A4%FF HTTP/1.1"), "/\xc3\xa4\xff"},
        {LINE("GET /a%0d%0Ab HTTP/1.1"), "/a\r\nb"},
        {LINE("GET /?%zz HTTP/1.1"), "/"},
        {LINE("GET /%zz HTTP/1.1"), NULL},
        {LINE("GET /%4 HTTP/1.1"), NULL},
        {LINE("GET /%4g HTTP/1.1"), NULL},
        {LINE("GET /%g4 HTTP/1.1"), NULL},
        {LINE("GET /% HTTP/1.1"), NULL},
        {LINE("GET /%%41 HTTP/1.1"), NULL},
        {LINE("GET /%4%41 HTTP/1.1"), NULL},
        {LINE("GET /a%00b HTTP/1.1"), NULL},
        {LINE("GET /%4?1 HTTP/1.1"), NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct parsed p = parse(cases[i].bytes);
        assert_int_equal(p.verdict.fault.status, cases[i].path == NULL ? 400 : 0);
        if (cases[i].path != NULL)
            assert_span(p.head.request.path, cases[i].path);
        parsed_clear(&p);
    }
}

/* ---- headers ---- */

static void headers_are_a_token_a_colon_and_a_value(void **state)
{
    (void)state;
    static const struct head_case cases[] = {
        {HEADERS("X: a\r\n"), 0, NULL},
        {HEADERS("X:a:b\r\n"), 0, NULL},
        {HEADERS("X:\t\ta\tb\t\r\n"), 0, NULL},
        {HEADERS("X: \x80\xff\r\n"), 0, NULL}, /* obs-text */
        {HEADERS("X : a\r\n"), 400, "colon"},
        {HEADERS("X\t: a\r\n"), 400, "colon"},
        {HEADERS(": a\r\n"), 400, "colon"},
        {HEADERS("X\r\n"), 400, "colon"},
        {HEADERS("X a\r\n"), 400, "colon"},
        {HEADERS("X(: a\r\n"), 400, "colon"},
        {HEADERS("\xc3\xa4: a\r\n"), 400, "colon"},
        {HEADERS("X\0: a\r\n"), 400, "colon"},
        {HEADERS("X: a\0b\r\n"), 400, "control"},
        {HEADERS("X: a\x01\r\n"), 400, "control"},
        {HEADERS("X: a\x7f\r\n"), 400, "control"},
        {HEADERS("X: a\rb\r\n"), 400, "control"},
        {HEADERS("X: a\r\r\n"), 400, "control"},
        {HEADERS("X: a\r\n b\r\n"), 400, "folded"},
        {HEADERS("X: a\r\n\tb\r\n"), 400, "folded"},
        {HEADERS("X: a\r\n \r\n"), 400, "folded"},
        {SPAN("GET / HTTP/1.1\r\n Host: a\r\n\r\n"), 400, "folded"},
    };
    CHECK_HEADS(cases);
}

/* Whoever answers a fault may look at the headers. */
static void a_fault_leaves_only_headers_that_were_read(void **state)
{
    (void)state;
    static const struct span cases[] = {HEADERS("X : a\r\nY: b\r\n"), HEADERS("X: \1\r\n"),
                                        HEADERS("X\r\n"), HEADERS(" X: a\r\n")};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct parsed p = parse(cases[i]);
        assert_int_equal(p.verdict.fault.status, 400);
        assert_int_equal(p.head.request.header_count, 1);
        assert_span(p.head.request.headers[0].value, "a");
        parsed_clear(&p);
    }
}

static void host_is_there_once_in_1_1(void **state)
{
    (void)state;
    static const struct head_case cases[] = {
        {SPAN("GET / HTTP/1.1\r\n\r\n"), 400, "Host"},
        {SPAN("GET / HTTP/1.7\r\n\r\n"), 400, "Host"},
        {SPAN("GET http://a/ HTTP/1.1\r\n\r\n"), 400, "Host"},
        {SPAN("GET / HTTP/1.0\r\n\r\n"), 0, NULL},
        {SPAN("GET / HTTP/1.1\r\nhOST:\r\n\r\n"), 0, NULL},
        {SPAN("GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n"), 0, NULL},
        {SPAN("GET / HTTP/1.1\r\nHosts: a\r\n\r\n"), 400, "Host"},
        {SPAN("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), 400, "Host"},
        {SPAN("GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n"), 400, "Host"},
        /* RFC 9112 3.2: an invalid value is 400. */
        {SPAN("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), 400, "Host"},
        {SPAN("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"), 400, "Host"},
        {SPAN("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), 400, "Host"},
        {SPAN("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"), 400, "Host"},
        {SPAN("GET / HTTP/1.1\r\nHost: \xc3\xa4\r\n\r\n"), 400, "Host"},
    };
    CHECK_HEADS(cases);
}

static void content_length_is_one_number(void **state)
{
    (void)state;
    static const struct head_case cases[] = {
        {HEADERS("Content-Length: 0\r\n"), 0, NULL},
        {HEADERS("content-length:\t007 \r\n"), 0, NULL},
        {HEADERS("Content-Length: 3\r\nContent-Length: 4\r\n"), 400, "once"},
        {HEADERS("Content-Length: 3\r\nContent-Length: 3\r\n"), 400, "once"},
        {HEADERS("Content-Length: 3, 3\r\n"), 400, "digits"},
        {HEADERS("Content-Length: +3\r\n"), 400, "digits"},
        {HEADERS("Content-Length: -3\r\n"), 400, "digits"},
        {HEADERS("Content-Length: 3.0\r\n"), 400, "digits"},
        {HEADERS("Content-Length: 0x3\r\n"), 400, "digits"},
        {HEADERS("Content-Length: 3 3\r\n"), 400, "digits"},
        {HEADERS("Content-Length: 3\x0b\r\n"), 400, "control"},
        {HEADERS("Content-Length:\r\n"), 400, "digits"},
        {HEADERS("Content-Length: \xb2\r\n"), 400, "digits"},
        {HEADERS("Content-Length : 3\r\n"), 400, "colon"},
        {HEADERS("Content-Length: 18446744073709551616\r\n"), 413, "smaller"},
        {HEADERS("Content-Length: 99999999999999999999999999999999\r\n"), 413, "smaller"},
    };
    CHECK_HEADS(cases);
    struct parsed p = parse((struct span)HEADERS("Content-Length: 1844674407370955161\r\n"));
    assert_true(p.head.length == 1844674407370955161u);
    parsed_clear(&p);
}

static void transfer_encoding_is_chunked_alone(void **state)
{
    (void)state;
    static const struct head_case cases[] = {
        {HEADERS("Transfer-Encoding: chunked\r\n"), 0, NULL},
        {HEADERS("transfer-encoding:CHUNKED\r\n"), 0, NULL},
        {HEADERS("Transfer-Encoding: gzip\r\n"), 501, "chunked"},
        {HEADERS("Transfer-Encoding: identity\r\n"), 501, "chunked"},
        {HEADERS("Transfer-Encoding: gzip, chunked\r\n"), 501, "chunked"},
        {HEADERS("Transfer-Encoding: chunked, gzip\r\n"), 501, "chunked"},
        {HEADERS("Transfer-Encoding: chunked, chunked\r\n"), 501, "chunked"},
        {HEADERS("Transfer-Encoding: chunked;q=1\r\n"), 501, "chunked"},
        {HEADERS("Transfer-Encoding: xchunked\r\n"), 501, "chunked"},
        {HEADERS("Transfer-Encoding: \"chunked\"\r\n"), 501, "chunked"},
        {HEADERS("Transfer-Encoding:\r\n"), 501, "chunked"},
        {HEADERS("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 501, "chunked"},
        {HEADERS("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"), 501, "chunked"},
        {HEADERS("Transfer-Encoding: \x0b"
                 "chunked\r\n"),
         400, "control"},
        {HEADERS("Transfer-Encoding : chunked\r\n"), 400, "colon"},
        {HEADERS("Transfer-Encoding:\r\n chunked\r\n"), 501, "chunked"},
        {HEADERS("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n"), 400, "both"},
        {HEADERS("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"), 400, "both"},
        {HEADERS("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"), 400, "both"},
        {SPAN("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400, "HTTP/1.1"},
    };
    CHECK_HEADS(cases);
    struct parsed p = parse((struct span)HEADERS("Transfer-Encoding: chunked\r\n"));
    assert_true(p.head.chunked);
    parsed_clear(&p);
}

static void connection_and_version_decide_whether_it_stays_open(void **state)
{
    (void)state;
    static const struct {
        struct span bytes;
        bool keep_alive;
    } cases[] = {
        {SPAN("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), true},
        {SPAN("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"), false},
        {SPAN("GET / HTTP/1.1\r\nHost: a\r\nconnection: foo, CLOSE\r\n\r\n"), false},
        {SPAN("GET / HTTP/1.1\r\nHost: a\r\nConnection: foo\t,,close,bar\r\n\r\n"), false},
        {SPAN("GET / HTTP/1.1\r\nHost: a\r\nConnection: a\r\nConnection: close\r\n\r\n"), false},
        {SPAN("GET / HTTP/1.1\r\nHost: a\r\nConnection: closed\r\n\r\n"), true},
        {SPAN("GET / HTTP/1.1\r\nHost: a\r\nConnection: x-close\r\n\r\n"), true},
        {SPAN("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, close\r\n\r\n"), false},
        {SPAN("GET / HTTP/1.0\r\n\r\n"), false},
        {SPAN("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"), true},
        {SPAN("GET / HTTP/1.0\r\nConnection: foo, keep-alive\r\n\r\n"), true},
        {SPAN("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n"), false},
        {SPAN("GET / HTTP/1.0\r\nKeep-Alive: 5\r\n\r\n"), false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct parsed p = parse(cases[i].bytes);
        assert_int_equal(p.verdict.fault.status, 0);
        if (p.head.keep_alive != cases[i].keep_alive)
            fail_msg("%.*s", (int)cases[i].bytes.n, cases[i].bytes.p);
        parsed_clear(&p);
    }
}

static void only_100_continue_can_be_expected(void **state)
{
    (void)state;
    static const struct head_case cases[] = {
        {HEADERS("Expect: 100-Continue\r\n"), 0, NULL},
        {HEADERS("Expect: 100-continue\r\nExpect: 100-continue\r\n"), 0, NULL},
        {HEADERS("Expect: 200-ok\r\n"), 417, "100-continue"},
        {HEADERS("Expect: 100-continue, foo\r\n"), 417, "100-continue"},
        {HEADERS("Expect:\r\n"), 417, "100-continue"},
        {HEADERS("Expect: foo\r\nExpect: 100-continue\r\n"), 417, "100-continue"},
    };
    CHECK_HEADS(cases);
    struct parsed p = parse((struct span)HEADERS("Expect: 100-continue\r\n"));
    assert_true(p.head.expect_continue);
    parsed_clear(&p);
    /* RFC 9110 10.1.1: ignored in a 1.0 request. */
    p = parse((struct span)SPAN("POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n"));
    assert_false(p.head.expect_continue);
    assert_int_equal(p.verdict.fault.status, 0);
    parsed_clear(&p);
}

/* ---- chunked bodies ---- */

/* What a chunked body came to: consumed counts the message's bytes, body is its decoded text. */
struct chunk_verdict {
    enum parse_status status;
    struct http_fault fault;
    size_t consumed, body_bytes;
    char *body;
    size_t most_held; /* bytes that were in the buffer between two reads, at most */
};

enum { MAX_BODY = 64 };

static struct chunk_verdict decode_in_pieces(struct span bytes, size_t first, size_t step)
{
    struct chunk_verdict v = {.status = PARSE_MORE};
    struct chunked state = {0};
    char *buffer = malloc(bytes.n + 1);
    size_t n = 0, fed = 0;
    assert_non_null(buffer);
    for (size_t part = first;; part = bytes.n - fed < step ? bytes.n - fed : step) {
        /* What is behind the input must not matter. */
        memset(buffer + n, '\n', bytes.n + 1 - n);
        memcpy(buffer + n, bytes.p + fed, part);
        n += part;
        fed += part;
        v.status = parse_chunked(&state, buffer, &n, MAX_BODY, &v.fault);
        if (v.status == PARSE_MORE && n > v.most_held)
            v.most_held = n;
        if (v.status != PARSE_MORE || fed == bytes.n)
            break;
    }
    v.consumed = v.status == PARSE_DONE ? fed - (n - state.in) : 0;
    v.body_bytes = v.status == PARSE_DONE ? state.out : 0;
    v.body = buffer;
    return v;
}

static void assert_same_chunks(const struct chunk_verdict *a, const struct chunk_verdict *b)
{
    assert_int_equal(a->status, b->status);
    assert_int_equal(a->fault.status, b->fault.status);
    if (a->fault.status != 0)
        assert_string_equal(a->fault.text, b->fault.text);
    assert_int_equal(a->consumed, b->consumed);
    assert_int_equal(a->body_bytes, b->body_bytes);
    assert_memory_equal(a->body, b->body, a->body_bytes);
}

/* Free .body. */
static struct chunk_verdict decode(struct span bytes)
{
    struct chunk_verdict whole = decode_in_pieces(bytes, bytes.n, 1);
    for (size_t at = 0; at <= bytes.n; at++) {
        struct chunk_verdict cut = decode_in_pieces(bytes, at, at == 0 ? 1 : bytes.n);
        assert_same_chunks(&whole, &cut);
        free(cut.body);
    }
    return whole;
}

static void chunked_bodies_are_decoded_in_place(void **state)
{
    (void)state;
    static const struct {
        struct span bytes;
        const char *body;
        size_t behind; /* bytes of the next message */
    } cases[] = {
        {SPAN("0\r\n\r\n"), "", 0},
        {SPAN("000\r\n\r\nGET"), "", 3},
        {SPAN("3\r\nabc\r\n0\r\n\r\n"), "abc", 0},
        {SPAN("a\r\n0123456789\r\n00000B\r\nabcdefghijk\r\n0\r\n\r\n"), "0123456789abcdefghijk", 0},
        {SPAN("2\r\n\r\n\r\n1\r\n0\r\n0\r\n\r\n\r\n\r\n"), "\r\n0", 4},
        {SPAN("3;x=1\r\nabc\r\n0;y\r\n\r\n"), "abc", 0},
        {SPAN("3 ;x=\"a;b\xc3\xa4\"\r\nabc\r\n0\t\r\n\r\n"), "abc", 0},
        {SPAN("1\r\na\r\n0\r\nX: b\r\nContent-Length: 5\r\n\r\nGET"), "a", 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct chunk_verdict v = decode(cases[i].bytes);
        if (v.status != PARSE_DONE)
            fail_msg("%d for %.*s", v.fault.status, (int)cases[i].bytes.n, cases[i].bytes.p);
        assert_span((struct span){v.body, v.body_bytes}, cases[i].body);
        assert_int_equal(v.consumed, cases[i].bytes.n - cases[i].behind);
        free(v.body);
    }
}

static void a_chunked_body_ends_only_at_its_empty_line(void **state)
{
    (void)state;
    static const struct span whole = SPAN("3;x\r\nabc\r\n0\r\nX: a\r\n\r\n");
    for (size_t n = 0; n < whole.n; n++) {
        struct chunk_verdict v = decode((struct span){whole.p, n});
        assert_int_equal(v.status, PARSE_MORE);
        free(v.body);
    }
}

static void malformed_chunks_are_refused(void **state)
{
    (void)state;
    static const struct head_case cases[] = {
        {SPAN("\r\n"), 400, "hexadecimal"},
        {SPAN("\n"), 400, "CR LF"},
        {SPAN("g\r\n"), 400, "hexadecimal"},
        {SPAN("-1\r\n"), 400, "hexadecimal"},
        {SPAN("+1\r\na"), 400, "hexadecimal"},
        {SPAN(" 1\r\na"), 400, "hexadecimal"},
        {SPAN("0x1\r\na"), 400, "hexadecimal"},
        {SPAN(";x\r\n"), 400, "hexadecimal"},
        {SPAN("1 1\r\na"), 400, "hexadecimal"},
        {SPAN("1\na\r\n"), 400, "CR LF"},
        {SPAN("1\ra\r\n"), 400, "hexadecimal"},
        {SPAN("1;a\rb\r\n"), 400, "control"},
        {SPAN("1;a\0b\r\n"), 400, "control"},
        {SPAN("1;a\nb\r\n"), 400, "CR LF"},
        {SPAN("1\r\nab\r\n"), 400, "behind its data"},
        {SPAN("1\r\na\n0\r\n"), 400, "behind its data"},
        {SPAN("1\r\na\rb"), 400, "behind its data"},
        {SPAN("1\r\na0\r\n"), 400, "behind its data"},
        {SPAN("0\r\nX : a\r\n\r\n"), 400, "colon"},
        {SPAN("0\r\nX: a\r\n b\r\n\r\n"), 400, "folded"},
        {SPAN("0\r\nX: a\n\r\n"), 400, "CR LF"},
        {SPAN("0\r\nX: \0\r\n\r\n"), 400, "control"},
        {SPAN("0\r\n\n"), 400, "CR LF"},
        {SPAN("ffffffffffffffffff\r\n"), 413, "smaller"},
        {SPAN("0000000000000003\r\nabc"), 413, "smaller"},
        {SPAN("fffffffffffffff\r\n"), 413, "fewer bytes"},
        {SPAN("41\r\n"), 413, "fewer bytes"},
        {SPAN("40\r\n0123456789012345678901234567890123456789012345678901234567890123\r\n1\r\n"),
         413, "fewer bytes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct chunk_verdict v = decode(cases[i].bytes);
        if (v.fault.status != cases[i].status)
            fail_msg("expected %d, got %d for %.*s", cases[i].status, v.fault.status,
                     (int)cases[i].bytes.n, cases[i].bytes.p);
        assert_int_equal(v.status, PARSE_FAULT);
        assert_contains(v.fault.text, cases[i].text);
        free(v.body);
    }
}

/* start, then n times 'x', then end; judged whole and byte by byte. */
static struct chunk_verdict decode_padded(const char *start, size_t n, const char *end)
{
    size_t before = strlen(start), behind = strlen(end);
    char *text = malloc(before + n + behind + 1);
    assert_non_null(text);
    memcpy(text, start, before);
    memset(text + before, 'x', n);
    memcpy(text + before + n, end, behind + 1);
    struct span bytes = {text, before + n + behind};
    struct chunk_verdict v = decode_in_pieces(bytes, bytes.n, 1),
                         dripped = decode_in_pieces(bytes, 0, 1);
    assert_same_chunks(&v, &dripped);
    free(dripped.body);
    free(text);
    return v;
}

static void lines_between_chunks_are_bounded(void **state)
{
    (void)state;
    static const struct {
        const char *start, *end;
        size_t n;
        int status;
    } cases[] = {{"0;", "\r\n\r\n", 4000, 0},
                 {"0;", "\r\n\r\n", 4094, 400},
                 {"0;", "", 5000, 400},
                 {"0\r\nX:", "\r\n\r\n", 8000, 0},
                 {"0\r\nX:", "\r\n\r\n", 8192, 431},
                 {"0\r\nX:", "", 9000, 431},
                 {"0\r\nX:", "\r\nX:12345678901234567890123456789\r\n\r\n", 8170, 431}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct chunk_verdict v = decode_padded(cases[i].start, cases[i].n, cases[i].end);
        assert_int_equal(v.fault.status, cases[i].status);
        free(v.body);
    }
}

/* A body of a few bytes may come with any amount of framing; it must not be kept. */
static void framing_does_not_pile_up_in_the_buffer(void **state)
{
    (void)state;
    enum { CHUNKS = MAX_BODY, LINE_BYTES = 1000 };
    char *text = malloc(CHUNKS * LINE_BYTES + 5);
    assert_non_null(text);
    for (size_t i = 0; i < CHUNKS; i++) {
        char *chunk = text + i * LINE_BYTES;
        memset(chunk, 'x', LINE_BYTES);
        memcpy(chunk, "1;", 2);
        memcpy(chunk + LINE_BYTES - 5, "\r\na\r\n", 5);
    }
    memcpy(text + CHUNKS * LINE_BYTES, "0\r\n\r\n", 5);
    struct span bytes = {text, CHUNKS * LINE_BYTES + 5};
    static const size_t steps[] = {1, 7, 999, 1000, 1001, 3333};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct chunk_verdict v = decode_in_pieces(bytes, 0, steps[i]);
        assert_int_equal(v.status, PARSE_DONE);
        assert_int_equal(v.body_bytes, CHUNKS);
        assert_in_range(v.most_held, 1, MAX_BODY + LINE_BYTES);
        free(v.body);
    }
    free(text);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_request_is_taken_apart),
    cmocka_unit_test(an_empty_line_before_the_request_is_a_head_without_lines),
    cmocka_unit_test(an_unfinished_head_asks_for_more),
    cmocka_unit_test(lines_end_in_cr_lf_and_nothing_else),
    cmocka_unit_test(a_head_of_the_limit_is_taken_and_one_byte_more_is_431),
    cmocka_unit_test(a_line_that_never_ends_is_431_however_it_is_cut),
    cmocka_unit_test(headers_of_the_limit_are_taken_and_one_more_is_431),
    cmocka_unit_test(ten_thousand_headers_are_431_before_they_are_looked_at),
    cmocka_unit_test(an_exhausted_arena_is_503),
    cmocka_unit_test(request_lines_are_three_words_with_single_blanks),
    cmocka_unit_test(methods_are_case_sensitive),
    cmocka_unit_test(versions_are_1_0_and_1_1_and_what_answers_as_1_1),
    cmocka_unit_test(targets_are_paths_or_absolute),
    cmocka_unit_test(paths_are_percent_decoded_once_and_queries_are_not),
    cmocka_unit_test(headers_are_a_token_a_colon_and_a_value),
    cmocka_unit_test(a_fault_leaves_only_headers_that_were_read),
    cmocka_unit_test(host_is_there_once_in_1_1),
    cmocka_unit_test(content_length_is_one_number),
    cmocka_unit_test(transfer_encoding_is_chunked_alone),
    cmocka_unit_test(connection_and_version_decide_whether_it_stays_open),
    cmocka_unit_test(only_100_continue_can_be_expected),
    cmocka_unit_test(chunked_bodies_are_decoded_in_place),
    cmocka_unit_test(a_chunked_body_ends_only_at_its_empty_line),
    cmocka_unit_test(malformed_chunks_are_refused),
    cmocka_unit_test(lines_between_chunks_are_bounded),
    cmocka_unit_test(framing_does_not_pile_up_in_the_buffer),
};

T_MAIN(tests)
