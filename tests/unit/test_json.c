/* The reader against hand-made verdicts and Python's json; the fast path against the reader and strtod;
 * the writer against the reader. Every text is read from a copy that ends at a guard page. */
#include "base/json.h"

#include "tests/support/t.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t next_random(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    return *s ^= *s << 17;
}

static uint64_t below(uint64_t *s, uint64_t n)
{
    return next_random(s) % n;
}

/* A span with a literal's bytes, NULs among them. */
#define SPAN(literal) ((struct span){(literal), sizeof(literal) - 1})

static struct arena *make_arena(void)
{
    struct arena *arena = arena_new(4096, 0);
    assert_non_null(arena);
    return arena;
}

static bool accepts(struct span text, struct error *err)
{
    struct json_reader r;
    struct span whole;
    char *copy = t_guarded(text.p, text.n);
    json_reader_init(&r, copy, text.n);
    bool ok = json_skip(&r, &whole, err) && json_end(&r, err);
    t_guarded_free(copy, text.n);
    return ok;
}

static bool makes_a_tree(struct span text, struct error *err)
{
    char *copy = t_guarded(text.p, text.n);
    cJSON *tree = json_tree((struct span){copy, text.n}, err);
    t_guarded_free(copy, text.n);
    cJSON_Delete(tree);
    return tree != NULL;
}

/* ---- verdicts ---- */

static void skip_accepts_what_the_grammar_allows(void **state)
{
    (void)state;
    static const char *const texts[] = {"null",
                                        " \t\r\n true \t\r\n",
                                        "false",
                                        "0",
                                        "-0",
                                        "-0.0e-0",
                                        "1E+2",
                                        "1e05",
                                        "1e400",
                                        "1e-400",
                                        "[]",
                                        "[ ]",
                                        "{}",
                                        "{ }",
                                        "[[],{}]",
                                        "\"\"",
                                        "\"\x7f\"",
                                        "\"\\/\"",
                                        "\"\xc3\xa4\"",
                                        "\"\xed\x9f\xbf\"",
                                        "\"\xee\x80\x80\"",
                                        "\"\xf0\x90\x80\x80\"",
                                        "\"\xf4\x8f\xbf\xbf\"",
                                        "\"\\u0000\"",
                                        "\"\\uD83D\\ude00\"",
                                        "{\"a\":1,\"a\":2}",
                                        "{\"\":{\"\":[0]}}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct error err = {0};
        if (!accepts((struct span){texts[i], strlen(texts[i])}, &err))
            fail_msg("%s: %s", texts[i], err.message);
        assert_int_equal(err.code, ERR_NONE);
    }
}

static void skip_names_the_byte_and_what_it_expected_there(void **state)
{
    (void)state;
    static const struct {
        struct span text;
        const char *message;
    } cases[] = {
        {{"", 0}, "byte 0: expected a value, got the end"},
        {SPAN(" "), "byte 1: expected a value, got the end"},
        {SPAN("\xef\xbb\xbf[]"), "byte 0: expected a value, got '\\xef'"},
        {SPAN("\0"), "byte 0: expected a value, got '\\x00'"},
        {SPAN("[]\0"), "byte 2: expected the end, got '\\x00'"},
        {SPAN("[] x"), "byte 3: expected the end, got 'x'"},
        {SPAN("01"), "byte 0: expected a number, got '0'"},
        {SPAN("[-01]"), "byte 1: expected a number, got '-'"},
        {SPAN("[1.]"), "byte 1: expected a number, got '1'"},
        {SPAN("[-]"), "byte 1: expected a number, got '-'"},
        {SPAN("[+1]"), "byte 1: expected a value, got '+'"},
        {SPAN("[.5]"), "byte 1: expected a value, got '.'"},
        {SPAN("[1e]"), "byte 1: expected a number, got '1'"},
        {SPAN("[0x1]"), "byte 2: expected ',' or ']', got 'x'"},
        {SPAN("NaN"), "byte 0: expected a value, got 'N'"},
        {SPAN("[-Infinity]"), "byte 1: expected a number, got '-'"},
        {SPAN("nul"), "byte 0: expected true, false or null, got 'n'"},
        {SPAN("truE"), "byte 0: expected true, false or null, got 't'"},
        {SPAN("nulll"), "byte 4: expected the end, got 'l'"},
        {SPAN("[1,]"), "byte 3: expected a value, got ']'"},
        {SPAN("[,1]"), "byte 1: expected a value, got ','"},
        {SPAN("[1 2]"), "byte 3: expected ',' or ']', got '2'"},
        {SPAN("[1}"), "byte 2: expected ',' or ']', got '}'"},
        {SPAN("[1"), "byte 2: expected ',' or ']', got the end"},
        {SPAN("{\"a\":1]"), "byte 6: expected ',' or '}', got ']'"},
        {SPAN("{\"a\":1,}"), "byte 7: expected a string, got '}'"},
        {SPAN("{a:1}"), "byte 1: expected a string, got 'a'"},
        {SPAN("{\"a\"}"), "byte 4: expected ':', got '}'"},
        {SPAN("{\"a\":}"), "byte 5: expected a value, got '}'"},
        {SPAN("[]/**/"), "byte 2: expected the end, got '/'"},
        {SPAN("\"a"), "byte 2: expected '\"', got the end"},
        {SPAN("\"\t\""), "byte 1: expected an escaped control character, got '\\x09'"},
        {SPAN("\"\0\""), "byte 1: expected an escaped control character, got '\\x00'"},
        {SPAN("\"\\"), "byte 1: expected an escape sequence of JSON"},
        {SPAN("\"\\x41\""), "byte 1: expected an escape sequence of JSON"},
        {SPAN("\"\\u12g4\""), "byte 1: expected an escape sequence of JSON"},
        {SPAN("\"\\u123"), "byte 1: expected an escape sequence of JSON"},
        {SPAN("\"\\ud800\""), "byte 1: expected an escape sequence of JSON"},
        {SPAN("\"\\udc00\""), "byte 1: expected an escape sequence of JSON"},
        {SPAN("\"\\ud800\\u0041\""), "byte 1: expected an escape sequence of JSON"},
        {SPAN("\"\\ud800\\ue000\""), "byte 1: expected an escape sequence of JSON"},
        {SPAN("\"\\ud800\\ud800\""), "byte 1: expected an escape sequence of JSON"},
        {SPAN("\"\x80\""), "byte 1: expected valid UTF-8, got '\\x80'"},
        {SPAN("\"\xc0\x80\""), "byte 1: expected valid UTF-8, got '\\xc0'"},
        {SPAN("\"\xe0\x9f\xbf\""), "byte 1: expected valid UTF-8, got '\\xe0'"},
        {SPAN("\"\xf0\x8f\xbf\xbf\""), "byte 1: expected valid UTF-8, got '\\xf0'"},
        {SPAN("\"\xed\xa0\x80\""), "byte 1: expected valid UTF-8, got '\\xed'"},
        {SPAN("\"\xf4\x90\x80\x80\""), "byte 1: expected valid UTF-8, got '\\xf4'"},
        {SPAN("\"\xe2\x82"), "byte 1: expected valid UTF-8, got '\\xe2'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err = {0};
        if (accepts(cases[i].text, &err))
            fail_msg("accepted: %.*s", (int)cases[i].text.n, cases[i].text.p);
        assert_int_equal(err.code, ERR_INVALID);
        assert_string_equal(err.message, cases[i].message);
    }
}

/* Verdicts and bytes of a line of tests/golden/json_golden.txt. */
static size_t read_golden(const char *line, char verdict[16], char tree[16], char *bytes,
                          size_t room)
{
    size_t n = 0;
    int used = 0;
    assert_int_equal(sscanf(line, "%15s %15s%n", verdict, tree, &used), 2);
    for (const char *p = line + used + 1; *p != '\n' && *p != '\0'; p += 2) {
        unsigned byte;
        assert_true(n < room);
        assert_int_equal(sscanf(p, "%2x", &byte), 1);
        bytes[n++] = (char)byte;
    }
    return n;
}

static void verdicts_are_those_of_python_but_for_its_leniencies(void **state)
{
    (void)state;
    char line[1024], verdict[16], tree[16], bytes[512];
    size_t lines = 0;
    FILE *in = fopen("tests/golden/json_golden.txt", "r");
    assert_non_null(in);
    for (; fgets(line, sizeof line, in) != NULL; lines++) {
        struct span text = {bytes, read_golden(line, verdict, tree, bytes, sizeof bytes)};
        struct error err = {0}, tree_err = {0};
        if (accepts(text, &err) != (strcmp(verdict, "accept") == 0))
            fail_msg("%.*s: expected %s, got \"%s\"", (int)text.n, bytes, verdict, err.message);
        if (makes_a_tree(text, &tree_err) != (strcmp(tree, "tree") == 0))
            fail_msg("%.*s: expected %s, got \"%s\"", (int)text.n, bytes, tree, tree_err.message);
    }
    (void)fclose(in);
    assert_int_equal(lines, 2500);
}

/* `opening` n times, then `middle`, then `closing` n times. */
static struct span nested(struct arena *arena, const char *opening, const char *middle,
                          const char *closing, size_t n)
{
    size_t size = n * (strlen(opening) + strlen(closing)) + strlen(middle);
    char *text = arena_alloc(arena, size + 1), *p = text;
    assert_non_null(text);
    for (size_t i = 0; i < n; i++)
        p = stpcpy(p, opening);
    p = stpcpy(p, middle);
    for (size_t i = 0; i < n; i++)
        p = stpcpy(p, closing);
    return (struct span){text, size};
}

static void nesting_ends_at_its_limit(void **state)
{
    (void)state;
    static const struct {
        const char *opening, *middle, *closing;
        size_t most;
    } forms[] = {{"[", "", "]", JSON_MAX_DEPTH},
                 {"[[],", "0", "]", JSON_MAX_DEPTH - 1},
                 {"{\"a\":", "0", "}", JSON_MAX_DEPTH},
                 {"{\"a\":[", "{}", "]}", (JSON_MAX_DEPTH - 1) / 2}};
    struct arena *arena = make_arena();
    struct error err = {0};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct span fits = nested(arena, forms[i].opening, forms[i].middle, forms[i].closing,
                                  forms[i].most),
                    deeper = nested(arena, forms[i].opening, forms[i].middle, forms[i].closing,
                                    forms[i].most + 1);
        if (!accepts(fits, &err) || !makes_a_tree(fits, &err))
            fail_msg("%s: %s", forms[i].opening, err.message);
        assert_false(accepts(deeper, &err));
        assert_int_equal(err.code, ERR_TOO_LARGE);
        assert_contains(err.message, ": expected at most 512 levels of nesting");
        err = (struct error){0};
    }
    assert_false(accepts(nested(arena, "[", "", "", 1000000), &err));
    assert_string_equal(err.message, "byte 512: expected at most 512 levels of nesting");
    arena_free(arena);
}

static void utf8_length_is_that_of_the_shortest_form(void **state)
{
    (void)state;
    for (unsigned c = 0; c < 0x110000; c += c < 0x1000 ? 1 : 0x3f) {
        char bytes[4];
        size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        static const unsigned lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
        for (size_t i = n; i-- > 1;)
            bytes[i] = (char)(0x80 | (c >> 6 * (n - 1 - i) & 0x3f));
        bytes[0] = (char)(lead[n] | c >> 6 * (n - 1));
        char *copy = t_guarded(bytes, n);
        bool surrogate = c >= 0xd800 && c <= 0xdfff;
        assert_int_equal(json_utf8_length(copy, copy + n), surrogate ? 0 : n);
        if (n > 1)
            assert_int_equal(json_utf8_length(copy, copy + n - 1), 0);
        t_guarded_free(copy, n);
    }
}

/* ---- pulling ---- */

static void reader_pulls_members_and_elements_in_order(void **state)
{
    (void)state;
    struct span text = SPAN(" { \"a\" : [ 1 , -2.5e1 ] , \"\\u0062\" : { } , \"c\" : true } ");
    struct json_reader r;
    struct error err = {0};
    struct span key, value;
    bool more, escaped, boolean;
    double number;
    enum json_kind kind;
    json_reader_init(&r, text.p, text.n);
    assert_true(json_peek(&r, &kind, &err) && kind == JSON_OBJECT && json_enter_object(&r, &err));
    assert_true(json_next_member(&r, &more, &key, &escaped, &err) && more && !escaped);
    assert_memory_equal(key.p, "a", key.n);
    assert_true(json_enter_array(&r, &err));
    assert_true(json_next_element(&r, &more, &err) && more);
    assert_true(json_number(&r, &number, &err) && number == 1);
    assert_true(json_next_element(&r, &more, &err) && more);
    assert_true(json_number(&r, &number, &err) && number == -25);
    assert_true(json_next_element(&r, &more, &err) && !more);
    assert_true(json_next_member(&r, &more, &key, &escaped, &err) && more && escaped);
    assert_int_equal(key.n, 6);
    assert_memory_equal(key.p, "\\u0062", 6);
    assert_true(json_skip(&r, &value, &err));
    assert_int_equal(value.n, 3);
    assert_memory_equal(value.p, "{ }", 3);
    assert_true(json_next_member(&r, &more, &key, &escaped, &err) && more);
    assert_true(json_bool(&r, &boolean, &err) && boolean);
    assert_true(json_next_member(&r, &more, &key, &escaped, &err) && !more);
    assert_true(json_end(&r, &err));
}

static void reader_says_which_kind_it_wanted(void **state)
{
    (void)state;
    struct json_reader r;
    struct error err = {0};
    bool boolean;
    double number;
    json_reader_init(&r, "[1]", 3);
    assert_false(json_enter_object(&r, &err));
    assert_string_equal(err.message, "byte 0: expected an object, got '['");
    assert_false(json_bool(&r, &boolean, &err));
    assert_string_equal(err.message, "byte 0: expected true or false, got '['");
    assert_false(json_number(&r, &number, &err));
    assert_string_equal(err.message, "byte 0: expected a number, got '['");
    json_reader_init(&r, "{}", 2);
    assert_false(json_enter_array(&r, &err));
    assert_string_equal(err.message, "byte 0: expected an array, got '{'");
    json_reader_init(&r, " -1e309", 7);
    assert_false(json_number(&r, &number, &err));
    assert_string_equal(err.message, "byte 1: expected a finite number, got one beyond 1.8e308");
}

static bool count(const char *text, uint64_t max, uint64_t *value, struct error *err)
{
    struct json_reader r;
    json_reader_init(&r, text, strlen(text));
    return json_count(&r, max, value, err) && json_end(&r, err);
}

static void count_takes_whole_numbers_up_to_its_limit(void **state)
{
    (void)state;
    struct error err = {0};
    uint64_t value;
    assert_true(count("0", 0, &value, &err) && value == 0);
    assert_true(count(" 7", 7, &value, &err) && value == 7);
    assert_true(count("18446744073709551615", UINT64_MAX, &value, &err) && value == UINT64_MAX);
    static const char *const refused[] = {"8",   "10",  "-0",    "-1",
                                          "1.0", "1e0", "\"1\"", "18446744073709551617"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        assert_false(count(refused[i], 7, &value, &err));
    assert_false(count("18446744073709551616", UINT64_MAX, &value, &err));
    assert_string_equal(err.message,
                        "byte 0: expected a whole number from 0 to 18446744073709551615");
}

static bool read_string(struct span text, struct arena *arena, struct span *value,
                        struct error *err)
{
    struct json_reader r;
    char *copy = t_guarded(text.p, text.n);
    json_reader_init(&r, copy, text.n);
    bool ok = json_string(&r, arena, value, err) && json_end(&r, err);
    t_guarded_free(copy, text.n);
    return ok;
}

static void string_unescapes_every_escape(void **state)
{
    (void)state;
    struct arena *arena = make_arena();
    struct error err = {0};
    struct span value;
    struct span text = SPAN(
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t \\u0001\\u007f\\u0080\\u07ff\\u0800\\uffff"
        "\\ud800\\udc00\\uDBFF\\uDFFF\xc3\xa4\"");
    struct span expected = SPAN(
        "\"\\/\b\f\n\r\t \x01\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf"
        "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\xc3\xa4");
    assert_true(read_string(text, arena, &value, &err));
    assert_int_equal(value.n, expected.n);
    assert_string_equal(value.p, expected.p);
    assert_false(read_string(SPAN(" \"a\\u0000\""), arena, &value, &err));
    assert_string_equal(err.message, "byte 1: expected a string without \\u0000");
    arena_free(arena);
}

/* ---- the fast path ---- */

/* What json_matrix promises, by the reader. */
static bool read_slowly(struct json_reader *r, size_t cols, size_t max_rows, double *out,
                        size_t *rows)
{
    struct error err = {0};
    bool row, more;
    *rows = 0;
    if (cols == 0 || !json_enter_array(r, &err))
        return false;
    while (json_next_element(r, &row, &err) && row) {
        if (*rows == max_rows || !json_enter_array(r, &err))
            return false;
        for (size_t j = 0; j < cols; j++, out++)
            if (!json_next_element(r, &more, &err) || !more || !json_number(r, out, &err))
                return false;
        if (!json_next_element(r, &more, &err) || more)
            return false;
        ++*rows;
    }
    return err.code == ERR_NONE && *rows > 0;
}

enum { CELLS_MAX = 4096 };

/* Both ways from the same place: the same verdict and bits, or the reader where it was. */
static bool decode_both_ways(struct span text, struct arena *arena, size_t cols, size_t max_rows)
{
    static double slow[CELLS_MAX];
    struct json_reader fast_reader, before, slow_reader;
    struct json_matrix fast = {0};
    size_t rows;
    bool oom = true;
    char *copy = t_guarded(text.p, text.n);
    json_reader_init(&fast_reader, copy, text.n);
    before = slow_reader = fast_reader;
    bool accepted = json_matrix(&fast_reader, arena, cols, max_rows, &fast, &oom);
    if (accepted != read_slowly(&slow_reader, cols, max_rows, slow, &rows))
        fail_msg("%.*s: fast path %d", (int)text.n, text.p, accepted);
    assert_false(oom);
    if (accepted) {
        assert_true(fast_reader.p == slow_reader.p);
        assert_int_equal(fast.rows, rows);
        assert_int_equal(fast.cols, cols);
        assert_memory_equal(fast.data, slow, rows * cols * sizeof *slow);
    } else {
        assert_memory_equal(&fast_reader, &before, sizeof before);
    }
    t_guarded_free(copy, text.n);
    return accepted;
}

static char *put_blanks(char *p, uint64_t *s)
{
    for (uint64_t n = below(s, 8); n > 5; n--)
        *p++ = " \t\r\n"[below(s, 4)];
    return p;
}

static char *put_number(char *p, uint64_t *s)
{
    static const char *const odd[] = {"-0",     "1e400",
                                      "5e-324", "2.2250738585072011e-308",
                                      "1E+2",   "9007199254740993",
                                      "0.1e1",  "123456789012345678901234567890"};
    double value = (double)(int64_t)next_random(s) * 0x1p-40;
    switch (below(s, 16)) {
    case 0:
        return stpcpy(p, odd[below(s, 8)]);
    case 1:
        return p + sprintf(p, "%.17e", value);
    case 2:
        return p + sprintf(p, "%d", (int)below(s, 1000));
    default:
        return p + sprintf(p, "%.*f", (int)below(s, 9) + 1, value);
    }
}

/* A matrix in some spelling, in one of three with a byte changed. */
static struct span random_matrix(char *text, size_t rows, size_t cols, uint64_t *s)
{
    static const char bytes[] = "[],.-+eE0 1\"{}:x";
    char *p = put_blanks(text, s);
    *p++ = '[';
    for (size_t i = 0; i < rows; i++) {
        p = put_blanks(p, s);
        *p++ = '[';
        for (size_t j = 0; j < cols; j++) {
            p = put_blanks(put_number(put_blanks(p, s), s), s);
            *p++ = j + 1 < cols ? ',' : ']';
        }
        p = put_blanks(p, s);
        *p++ = i + 1 < rows ? ',' : ']';
    }
    if (below(s, 3) == 0)
        text[below(s, (uint64_t)(p - text))] = bytes[below(s, sizeof bytes - 1)];
    return (struct span){text, (size_t)(p - text) - (below(s, 10) == 0)};
}

static void fast_path_agrees_with_the_reader_on_random_matrices(void **state)
{
    (void)state;
    char text[4096];
    uint64_t s = 20261124;
    size_t accepted = 0;
    enum { ROUNDS = 20000 };
    struct arena *arena = make_arena();
    for (int i = 0; i < ROUNDS; i++) {
        size_t rows = 1 + below(&s, 5), cols = 1 + below(&s, 5);
        struct span matrix = random_matrix(text, rows, cols, &s);
        accepted += decode_both_ways(matrix, arena, cols, 1 + below(&s, 5));
        arena_reset(arena);
    }
    arena_free(arena);
    /* neither branch of the oracle may be empty */
    assert_true(accepted > ROUNDS / 10 && accepted < ROUNDS * 9 / 10);
}

static void fast_path_gives_the_bits_of_strtod(void **state)
{
    (void)state;
    char text[256], *end;
    uint64_t s = 1;
    struct arena *arena = make_arena();
    for (int i = 0; i < 20000; i++) {
        struct json_reader r;
        struct json_matrix m;
        bool oom;
        text[0] = text[1] = '[';
        end = put_number(text + 2, &s);
        double expected = strtod(text + 2, NULL);
        (void)stpcpy(end, "]]");
        json_reader_init(&r, text, strlen(text));
        assert_int_equal(json_matrix(&r, arena, 1, 1, &m, &oom), isfinite(expected));
        if (isfinite(expected))
            assert_close(m.data[0], expected, 0);
        arena_reset(arena);
    }
    arena_free(arena);
}

static void fast_path_declines_what_is_not_such_a_matrix(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "[",
                                        "[]",
                                        "[[]]",
                                        "[[1]",
                                        "[[1,2",
                                        "[[1,2]",
                                        "[[1,2],]",
                                        "[[1]]",
                                        "[[1,2,3]]",
                                        "[[1,2],[3]]",
                                        "[[1,2],3]",
                                        "[1,2]",
                                        "{\"a\":1}",
                                        "[[1,01]]",
                                        "[[1,2.]]",
                                        "[[1,1e400]]",
                                        "[[1,\"2\"]]",
                                        "[[1,null]]",
                                        "[[1,true]]",
                                        "[[1,NaN]]",
                                        "[[1,[2]]]",
                                        "[[1 2]]",
                                        "[[1,2],,[3,4]]",
                                        "[[,1,2]]",
                                        "[[1,2,]]",
                                        "[[1,2]}",
                                        "[[1,+2]]",
                                        "\xef\xbb\xbf[[1,2]]"};
    struct arena *arena = make_arena();
    assert_true(decode_both_ways(SPAN("[[1,2]]"), arena, 2, 1));
    assert_true(decode_both_ways(SPAN(" [ [ 1 , 2 ] , [ 3 , 4 ] ] , more"), arena, 2, 2));
    assert_false(decode_both_ways(SPAN("[[1,2],[3,4]]"), arena, 2, 1));
    assert_false(decode_both_ways(SPAN("[[]]"), arena, 0, 1));
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (decode_both_ways((struct span){texts[i], strlen(texts[i])}, arena, 2, 10))
            fail_msg("accepted: %s", texts[i]);
    arena_free(arena);
}

static void vector_takes_a_row_of_any_length_up_to_its_limit(void **state)
{
    (void)state;
    struct arena *arena = make_arena();
    struct json_reader r, before;
    struct json_matrix v;
    bool oom;
    static const struct {
        const char *text;
        size_t n;
    } accepted[] = {{"[]", 0}, {" [ ] ", 0}, {"[1]", 1}, {" [ 1 , 2.5 ,\n-3e0 ] x", 3}};
    for (size_t i = 0; i < sizeof accepted / sizeof *accepted; i++) {
        json_reader_init(&r, accepted[i].text, strlen(accepted[i].text));
        assert_true(json_vector(&r, arena, 3, &v, &oom));
        assert_int_equal(v.cols, accepted[i].n);
        assert_int_equal(v.rows, 1);
        assert_true(r.p[-1] == ']');
    }
    assert_close(v.data[1], 2.5, 0);
    assert_close(v.data[2], -3.0, 0);
    static const char *const declined[] = {"",        "[",     "[1",       "[1,",   "[1,]",
                                           "[,1]",    "[1 2]", "[1;2]",    "[[1]]", "[\"1\"]",
                                           "[1e999]", "{}",    "[1,2,3,4]"};
    for (size_t i = 0; i < sizeof declined / sizeof *declined; i++) {
        char *copy = t_guarded(declined[i], strlen(declined[i]));
        json_reader_init(&r, copy, strlen(declined[i]));
        before = r;
        oom = true;
        if (json_vector(&r, arena, 3, &v, &oom) || oom)
            fail_msg("accepted: %s", declined[i]);
        assert_memory_equal(&r, &before, sizeof r);
        t_guarded_free(copy, strlen(declined[i]));
    }
    arena_free(arena);
}

static void fast_path_tells_a_full_arena_from_a_bad_value(void **state)
{
    (void)state;
    enum { NUMBERS = 1000 };
    char text[4 * NUMBERS + 8] = "[[";
    struct arena *small = arena_new(256, 4096), *large = make_arena();
    struct json_reader r, before;
    struct json_matrix m;
    bool oom = false;
    char *p = text + 2;
    assert_non_null(small);
    for (int i = 0; i < NUMBERS; i++)
        p = stpcpy(p, i + 1 < NUMBERS ? "1," : "1]]");
    json_reader_init(&r, text, strlen(text));
    before = r;
    assert_false(json_matrix(&r, small, NUMBERS, 1, &m, &oom));
    assert_true(oom);
    assert_memory_equal(&r, &before, sizeof r);
    assert_true(json_matrix(&r, large, NUMBERS, 1, &m, &oom));
    assert_false(oom);
    json_reader_init(&r, text + 1, strlen(text) - 2);
    assert_false(json_vector(&r, small, NUMBERS, &m, &oom));
    assert_true(oom);
    assert_true(json_vector(&r, large, NUMBERS, &m, &oom));
    assert_int_equal(m.cols, NUMBERS);
    arena_free(small);
    arena_free(large);
}

/* ---- trees ---- */

static void tree_holds_what_the_text_says(void **state)
{
    (void)state;
    struct error err = {0};
    cJSON *tree = json_tree(SPAN(" {\"a\":[1.5,\"\\u00e4\"],\"b\":1,\"b\":2,\"B\":3} "), &err);
    assert_non_null(tree);
    assert_close(json_member(tree, "a")->child->valuedouble, 1.5, 0);
    assert_string_equal(json_member(tree, "a")->child->next->valuestring, "\xc3\xa4");
    assert_close(json_member(tree, "b")->valuedouble, 2.0, 0);
    assert_null(json_member(tree, "c"));
    assert_null(json_member(NULL, "a"));
    cJSON_Delete(tree);
}

static void tree_refuses_what_cjson_would_let_pass(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {{"01", "byte 0: expected a number, got '0'"},
                 {"[1.]", "byte 1: expected a number, got '1'"},
                 {"\"\t\"", "byte 1: expected an escaped control character, got '\\x09'"},
                 {"[1e400]", "expected finite numbers"},
                 {"[\"\\u0000\"]", "expected strings without \\u0000"},
                 {"{\"a\\u0000\":1}", "expected strings without \\u0000"},
                 {"[] []", "byte 3: expected the end, got '['"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err = {0};
        assert_false(makes_a_tree((struct span){cases[i].text, strlen(cases[i].text)}, &err));
        assert_int_equal(err.code, ERR_INVALID);
        assert_string_equal(err.message, cases[i].message);
    }
}

/* cJSON reads no more than 63 characters of a number. */
static void tree_refuses_numbers_that_cjson_would_cut_off(void **state)
{
    (void)state;
    struct error err = {0};
    char text[80] = "1";
    memset(text + 1, '0', 62);
    cJSON *tree = json_tree((struct span){text, 63}, &err);
    assert_non_null(tree);
    assert_close(tree->valuedouble, 1e62, 0);
    cJSON_Delete(tree);
    memset(text + 63, '0', 10);
    assert_false(makes_a_tree((struct span){text, 64}, &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_string_equal(err.message, "expected numbers of at most 63 characters");
}

/* ---- the writer ---- */

static const char *finish(struct json_writer *w)
{
    struct span out;
    assert_true(json_writer_finish(w, &out));
    char *text = arena_text(w->arena, out.p, out.n);
    assert_non_null(text);
    return text;
}

static void writer_puts_the_commas(void **state)
{
    (void)state;
    struct arena *arena = make_arena();
    struct json_writer w;
    const double numbers[] = {1, -0.0, 1e300};
    json_writer_init(&w, arena);
    json_begin_object(&w);
    json_key(&w, "a");
    json_begin_array(&w);
    json_end_array(&w);
    json_key(&w, "b");
    json_begin_object(&w);
    json_end_object(&w);
    json_key(&w, "c");
    json_begin_array(&w);
    json_put_null(&w);
    json_put_bool(&w, true);
    json_put_bool(&w, false);
    json_put_u64(&w, UINT64_MAX);
    json_put_numbers(&w, numbers, 3);
    json_put_numbers(&w, numbers, 0);
    json_put_raw(&w, SPAN("{\"raw\": 1}"));
    json_put_string(&w, "");
    json_end_array(&w);
    json_end_object(&w);
    assert_string_equal(finish(&w),
                        "{\"a\":[],\"b\":{},\"c\":[null,true,false,18446744073709551615,"
                        "[1.0,-0.0,1e+300],[],{\"raw\": 1},\"\"]}");
    arena_free(arena);
}

static void writer_escapes_and_mends_text(void **state)
{
    (void)state;
    struct arena *arena = make_arena();
    struct json_writer w;
    json_writer_init(&w, arena);
    json_begin_array(&w);
    json_put_span(&w, SPAN("\"\\/\b\f\n\r\t\0\x1f\x7f"));
    json_put_string(&w, "\xc3\xa4\xf0\x9f\x98\x80");
    json_put_string(&w,
                    "a\xff"
                    "b\xe2\x82"
                    "c\xed\xa0\x80\xc3");
    json_end_array(&w);
    assert_string_equal(finish(&w),
                        "[\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u001f\x7f\","
                        "\"\xc3\xa4\xf0\x9f\x98\x80\",\"a\xef\xbf\xbd"
                        "b\xef\xbf\xbd\xef\xbf\xbd"
                        "c"
                        "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"]");
    arena_free(arena);
}

static void what_is_written_reads_back_the_same(void **state)
{
    (void)state;
    uint64_t s = 7;
    struct arena *arena = make_arena();
    for (int i = 0; i < 5000; i++) {
        struct json_writer w;
        struct error err = {0};
        struct span out, text, back;
        char bytes[24];
        text = (struct span){bytes, below(&s, sizeof bytes)};
        for (size_t j = 0; j < text.n; j++)
            bytes[j] = (char)(1 + below(&s, 127));
        json_writer_init(&w, arena);
        json_put_span(&w, text);
        assert_true(json_writer_finish(&w, &out));
        if (!read_string(out, arena, &back, &err))
            fail_msg("%.*s: %s", (int)out.n, out.p, err.message);
        assert_int_equal(back.n, text.n);
        assert_memory_equal(back.p, bytes, text.n);
        arena_reset(arena);
    }
    arena_free(arena);
}

static void writer_puts_null_for_what_json_cannot_say(void **state)
{
    (void)state;
    struct arena *arena = make_arena();
    struct json_writer w;
    const double odd[] = {NAN, HUGE_VAL, -HUGE_VAL, 0.1};
    json_writer_init(&w, arena);
    json_put_numbers(&w, odd, 4);
    assert_string_equal(finish(&w), "[null,null,null,0.1]");
    arena_free(arena);
}

static void writer_fails_once_and_for_all_when_memory_ends(void **state)
{
    (void)state;
    struct arena *arena = arena_new(256, 1024);
    struct json_writer w;
    struct span out;
    assert_non_null(arena);
    json_writer_init(&w, arena);
    json_begin_array(&w);
    for (int i = 0; i < 1000; i++)
        json_put_number(&w, 0.1);
    json_end_array(&w);
    assert_false(json_writer_finish(&w, &out));
    json_put_null(&w);
    assert_false(json_writer_finish(&w, &out));
    arena_free(arena);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(skip_accepts_what_the_grammar_allows),
    cmocka_unit_test(skip_names_the_byte_and_what_it_expected_there),
    cmocka_unit_test(verdicts_are_those_of_python_but_for_its_leniencies),
    cmocka_unit_test(nesting_ends_at_its_limit),
    cmocka_unit_test(utf8_length_is_that_of_the_shortest_form),
    cmocka_unit_test(reader_pulls_members_and_elements_in_order),
    cmocka_unit_test(reader_says_which_kind_it_wanted),
    cmocka_unit_test(count_takes_whole_numbers_up_to_its_limit),
    cmocka_unit_test(string_unescapes_every_escape),
    cmocka_unit_test(fast_path_agrees_with_the_reader_on_random_matrices),
    cmocka_unit_test(fast_path_gives_the_bits_of_strtod),
    cmocka_unit_test(fast_path_declines_what_is_not_such_a_matrix),
    cmocka_unit_test(vector_takes_a_row_of_any_length_up_to_its_limit),
    cmocka_unit_test(fast_path_tells_a_full_arena_from_a_bad_value),
    cmocka_unit_test(tree_holds_what_the_text_says),
    cmocka_unit_test(tree_refuses_what_cjson_would_let_pass),
    cmocka_unit_test(tree_refuses_numbers_that_cjson_would_cut_off),
    cmocka_unit_test(writer_puts_the_commas),
    cmocka_unit_test(writer_escapes_and_mends_text),
    cmocka_unit_test(what_is_written_reads_back_the_same),
    cmocka_unit_test(writer_puts_null_for_what_json_cannot_say),
    cmocka_unit_test(writer_fails_once_and_for_all_when_memory_ends),
};

T_MAIN(tests)
