/* The reader of protocol cases and its comparer: a case that could not fail would say nothing. */
#include "tests/conformance/case.h"
#include "tests/support/t.h"

#include <stdio.h>
#include <string.h>

static int setup(void **state)
{
    *state = arena_new(4096, 0);
    return *state == NULL;
}

static int teardown(void **state)
{
    arena_free(*state);
    return 0;
}

static struct span span_of(const char *text)
{
    return (struct span){text, strlen(text)};
}

static void assert_span(struct span span, const char *text)
{
    if (span.n != strlen(text) || memcmp(span.p, text, span.n) != 0)
        fail_msg("expected %s, got %.*s", text, (int)span.n, span.p);
}

static const struct conformance_case *parse(struct arena *arena, const char *text, size_t count)
{
    const struct conformance_case *cases;
    struct error err = {0};
    size_t n;
    if (!conformance_parse(span_of(text), "x.txt", arena, &cases, &n, &err))
        fail_msg("%s", err.message);
    assert_int_equal(n, count);
    return cases;
}

/* ---- reading ---- */

static void parse_reads_every_part_of_a_case(void **state)
{
    const struct conformance_case *c = parse(*state,
                                             "# about\n\n== first\n# prose\n@ starting\n"
                                             "POST /a%20b/%C3%a4?q=%zz\nX-One:  1\nX-Two:\n\n"
                                             "{\n\n# not prose\n}\n--\n"
                                             "404\nAllow: GET, HEAD\n\n{\"x\":\n~1e2}\n\n# prose\n"
                                             "== second\nGET /\n--\n200",
                                             2);
    assert_string_equal(c->title, "first");
    assert_int_equal(c->line, 3);
    assert_true(c->starting);
    assert_int_equal(c->request.method, HTTP_POST);
    assert_span(c->request.method_name, "POST");
    assert_span(c->target, "/a%20b/%C3%a4?q=%zz");
    assert_span(c->request.path, "/a b/\xc3\xa4");
    assert_span(c->request.query, "q=%zz");
    assert_int_equal(c->request.header_count, 2);
    assert_span(c->request.headers[0].name, "X-One");
    assert_span(c->request.headers[0].value, "1");
    assert_span(c->request.headers[1].value, "");
    assert_span(c->request.body, "{\n\n# not prose\n}");
    assert_int_equal(c->status, 404);
    assert_int_equal(c->header_count, 1);
    assert_span(c->headers[0].value, "GET, HEAD");
    assert_span(c->body, "{\"x\":\n~1e2}");
    c++;
    assert_string_equal(c->title, "second");
    assert_false(c->starting);
    assert_int_equal(c->request.method, HTTP_GET);
    assert_int_equal(c->request.header_count, 0);
    assert_int_equal(c->request.body.n, 0);
    assert_int_equal(c->status, 200);
    assert_null(c->body.p);
}

static void parse_keeps_methods_it_does_not_know(void **state)
{
    const struct conformance_case *c = parse(*state, "== t\nBREW /\n--\n405\n", 1);
    assert_int_equal(c->request.method, HTTP_OTHER_METHOD);
    assert_span(c->request.method_name, "BREW");
}

static void parse_names_the_line_of_a_mistake(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "x.txt:1: expected at least one case, got the end"},
        {"# only prose\n", "x.txt:2: expected at least one case, got the end"},
        {"GET /\n", "x.txt:1: expected == title, got GET /"},
        {"== t\n", "x.txt:2: expected METHOD /target, got the end"},
        {"== t\nGET\n--\n200\n", "x.txt:2: expected METHOD /target, got GET"},
        {"== t\nGET ", "x.txt:2: expected METHOD /target, got GET "},
        {"== t\nGET x\n--\n200\n", "x.txt:2: expected METHOD /target, got GET x"},
        {"== t\nGET /%4\n--\n200\n", "x.txt:2: expected a percent-encoded target, got GET /%4"},
        {"== t\nGET /\nnot a header\n--\n200\n",
         "x.txt:3: expected a header, at most 16 of them, or a blank line, got not a header"},
        {"== t\nPOST /\n\n{}\n", "x.txt:5: expected --, got the end"},
        {"== t\nGET /\n== u\n", "x.txt:3: expected --, got == u"},
        {"== t\nGET /\n--\n", "x.txt:4: expected a status of three digits, got the end"},
        {"== t\nGET /\n--\n20x\n", "x.txt:4: expected a status of three digits, got 20x"},
        {"== t\nGET /\n--\n200\n{}\n",
         "x.txt:5: expected a header, at most 16 of them, or a blank line, got {}"},
        {"== t\nGET /\n--\n200\n\n{]\n",
         "x.txt:6: the expected body: byte 1: expected a string, got ']'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct conformance_case *parsed;
        struct error err = {0};
        size_t n, length = strlen(cases[i].text);
        char *text = t_guarded(cases[i].text, length);
        assert_false(
            conformance_parse((struct span){text, length}, "x.txt", *state, &parsed, &n, &err));
        assert_string_equal(err.message, cases[i].message);
        t_guarded_free(text, length);
    }
}

static void load_names_a_file_that_is_not_there(void **state)
{
    const struct conformance_case *cases;
    struct error err = {0};
    size_t n;
    assert_false(conformance_load("tests/conformance/nope.txt", *state, &cases, &n, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_contains(err.message, "tests/conformance/nope.txt");
}

/* ---- comparing ---- */

/* Compares a body with an expected one; message is NULL if they are to agree. */
static void assert_compares(struct arena *arena, const char *want, const char *got,
                            const char *message)
{
    char text[512];
    struct error err = {ERR_NONE, "untouched"};
    (void)snprintf(text, sizeof text, "== t\nGET /\n--\n200\n\n%s\n", want);
    const struct conformance_case *c = parse(arena, text, 1);
    bool same = conformance_compare(c, 200, NULL, 0, span_of(got), &err);
    assert_string_equal(err.message, message != NULL ? message : "untouched");
    assert_int_equal(same, message == NULL);
}

static void compare_goes_by_structure(void **state)
{
    assert_compares(*state, "{\"a\": 1, \"b\": [true, null]}", "{\"b\":[true,null],\"a\":1.0}",
                    NULL);
    assert_compares(*state, "{\"a\": 1}", "{\"a\":1,\"b\":2}",
                    "body.b: expected no such member, got 2");
    assert_compares(*state, "{\"a\": {\"b\": 1}}", "{\"a\":{}}",
                    "body.a.b: expected a member, got nothing");
    assert_compares(*state, "{\"A\": 1}", "{\"a\":1}", "body.A: expected a member, got nothing");
    assert_compares(*state, "[[1, 2]]", "[[1]]", "body[0]: expected 2 elements, got [1]");
    assert_compares(*state, "[[1, 2]]", "[[1,3]]", "body[0][1]: expected 2, got 3");
    assert_compares(*state, "[]", "{}", "body: expected [], got {}");
    assert_compares(*state, "{\"x\": \"a\"}", "{\"x\":\"b\"}", "body.x: expected \"a\", got \"b\"");
    assert_compares(*state, "[true]", "[false]", "body[0]: expected true, got false");
    assert_compares(*state, "[1]", "[\"1\"]", "body[0]: expected 1, got \"1\"");
    assert_compares(*state, "[1]", "nonsense",
                    "body: expected JSON, got nonsense: byte 0: expected true, false or null, "
                    "got 'n'");
    assert_compares(*state, "[1]", "",
                    "body: expected JSON, got : byte 0: expected a value, "
                    "got the end");
}

static void compare_allows_what_the_notation_allows(void **state)
{
    assert_compares(*state, "[~9, ~-2.5e3, ~0.1]", "[9.000000001,-2500,0.1]", NULL);
    assert_compares(*state, "[~9]", "[9.00000002]", "body[0]: expected ~9, got 9.00000002");
    assert_compares(*state, "[~9]", "[-9]", "body[0]: expected ~9, got -9");
    assert_compares(*state, "[~0]", "[1e-300]", "body[0]: expected ~0, got 1e-300");
    assert_compares(*state, "[~9]", "[null]", "body[0]: expected ~9, got null");
    assert_compares(*state, "[9]", "[9.000000001]", "body[0]: expected 9, got 9.000000001");
    assert_compares(*state, "[\"...\"]", "[{\"any\":[1]}]", NULL);
    assert_compares(*state, "[\"...\"]", "[]", "body: expected 1 element, got []");
    assert_compares(*state, "[\"~9\", \"a\\\"~9\", {\"~9\": ~9}]",
                    "[\"~9\",\"a\\\"~9\",{\"~9\":9}]", NULL);
    assert_compares(*state, "[\"~9\"]", "[9]", "body[0]: expected \"~9\", got 9");
}

static void compare_looks_at_status_and_headers(void **state)
{
    const struct conformance_case *c =
        parse(*state, "== t\nGET /\n--\n405\nAllow: POST\nX: ...\n", 1);
    struct header headers[] = {{span_of("x"), span_of("1")}, {span_of("ALLOW"), span_of("POST")}};
    struct error err = {0};
    assert_true(conformance_compare(c, 405, headers, 2, span_of("not looked at"), &err));
    assert_false(conformance_compare(c, 200, headers, 2, span_of("{}"), &err));
    assert_string_equal(err.message, "status: expected 405, got 200; {}");
    assert_false(conformance_compare(c, 405, headers, 1, span_of(""), &err));
    assert_string_equal(err.message, "Allow: expected POST, got nothing");
    headers[1].value = span_of("POST, GET");
    assert_false(conformance_compare(c, 405, headers, 2, span_of(""), &err));
    assert_string_equal(err.message, "Allow: expected POST, got POST, GET");
    headers[0].name = span_of("y");
    headers[1].value = span_of("POST");
    assert_false(conformance_compare(c, 405, headers, 2, span_of(""), &err));
    assert_string_equal(err.message, "X: expected ..., got nothing");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(parse_reads_every_part_of_a_case, setup, teardown),
    cmocka_unit_test_setup_teardown(parse_keeps_methods_it_does_not_know, setup, teardown),
    cmocka_unit_test_setup_teardown(parse_names_the_line_of_a_mistake, setup, teardown),
    cmocka_unit_test_setup_teardown(load_names_a_file_that_is_not_there, setup, teardown),
    cmocka_unit_test_setup_teardown(compare_goes_by_structure, setup, teardown),
    cmocka_unit_test_setup_teardown(compare_allows_what_the_notation_allows, setup, teardown),
    cmocka_unit_test_setup_teardown(compare_looks_at_status_and_headers, setup, teardown),
};

T_MAIN(tests)
