#include "base/error.h"
#include "tests/support/t.h"

#include <string.h>

static void set_formats_and_returns_false(void **state)
{
    (void)state;
    struct error err = {0};
    assert_false(
        error_set(&err, ERR_INVALID, "instances[%d]: expected %d numbers, got %d", 3, 8, 7));
    assert_int_equal(err.code, ERR_INVALID);
    assert_string_equal(err.message, "instances[3]: expected 8 numbers, got 7");
}

static void prefix_keeps_the_code(void **state)
{
    (void)state;
    struct error err = {0};
    (void)error_set(&err, ERR_TOO_LARGE, "expected less");
    error_prefix(&err, "row %d", 7);
    assert_int_equal(err.code, ERR_TOO_LARGE);
    assert_string_equal(err.message, "row 7: expected less");
}

/* Texts of two-, three- and four-byte characters, shifted so that the cut falls on every byte of one. */
static void a_long_message_is_cut_between_characters(void **state)
{
    (void)state;
    static const char *const characters[] = {"\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    for (size_t c = 0; c < 3; c++)
        for (size_t shift = 0; shift < 4; shift++) {
            char text[600];
            size_t n = shift, width = strlen(characters[c]);
            struct error err = {0};
            memset(text, 'x', shift);
            while (n + width < sizeof text)
                memcpy(text + n, characters[c], width), n += width;
            text[n] = '\0';
            (void)error_set(&err, ERR_INVALID, "%s", text);
            size_t kept = strlen(err.message);
            assert_true(kept >= sizeof err.message - 1 - 3);
            assert_int_equal((kept - shift) % width, 0);
            assert_memory_equal(err.message, text, kept);
        }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(set_formats_and_returns_false),
    cmocka_unit_test(prefix_keeps_the_code),
    cmocka_unit_test(a_long_message_is_cut_between_characters),
};

T_MAIN(tests)
