#include "server/token.h"

#include "tests/support/process.h"
#include "tests/support/t.h"

#include <stdio.h>
#include <string.h>

static char folder[512], path[600];

static int set_up(void **state)
{
    (void)state;
    process_folder(folder, sizeof folder);
    (void)snprintf(path, sizeof path, "%s/token", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    process_remove(folder);
    return 0;
}

static void keep(const char *text, size_t n)
{
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(text, 1, n, out), n);
    assert_int_equal(fclose(out), 0);
}

static bool matches(struct token *token, const char *authorization)
{
    return token_matches(token, (struct span){authorization, strlen(authorization)});
}

static void only_the_whole_token_under_the_right_scheme_matches(void **state)
{
    (void)state;
    struct error err = {0};
    keep(" abc.DEF-123 \r\n", 15);
    struct token *token = token_new(path, &err);
    assert_non_null(token);
    assert_true(matches(token, "Bearer abc.DEF-123"));
    assert_true(matches(token, "bearer abc.DEF-123"));
    static const char *const wrong[] = {"",
                                        "Bearer",
                                        "Bearer ",
                                        "Bearer abc.DEF-12",
                                        "Bearer abc.DEF-1234",
                                        "Bearer abc.def-123",
                                        "Bearer  abc.DEF-123",
                                        "Basic abc.DEF-123",
                                        "abc.DEF-123"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(matches(token, wrong[i]));
    token_free(token);
}

static void a_rotated_file_counts_after_a_refresh_and_a_bad_one_changes_nothing(void **state)
{
    (void)state;
    struct error err = {0};
    keep("one", 3);
    struct token *token = token_new(path, &err);
    assert_non_null(token);
    keep("two", 3);
    assert_true(matches(token, "Bearer one"));
    assert_true(token_refresh(token, &err));
    assert_true(matches(token, "Bearer two"));
    assert_false(matches(token, "Bearer one"));
    keep("", 0);
    assert_false(token_refresh(token, &err));
    assert_true(matches(token, "Bearer two"));
    token_free(token);
}

static void what_is_no_token_is_refused(void **state)
{
    (void)state;
    static char large[TOKEN_MAX + 1];
    static const char *const bad[] = {"", " \n", "two words", "a\nb", "caf\xc3\xa9"};
    struct error err = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        keep(bad[i], strlen(bad[i]));
        assert_null(token_new(path, &err));
        assert_contains(err.message, "expected one token");
    }
    keep("a\0b", 3);
    assert_null(token_new(path, &err));
    memset(large, 'x', sizeof large);
    keep(large, sizeof large);
    assert_null(token_new(path, &err));
    keep(large, TOKEN_MAX);
    struct token *token = token_new(path, &err);
    assert_non_null(token);
    token_free(token);
    (void)remove(path);
    assert_null(token_new(path, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
static const struct CMUnitTest tests[] = {
    CASE(only_the_whole_token_under_the_right_scheme_matches),
    CASE(a_rotated_file_counts_after_a_refresh_and_a_bad_one_changes_nothing),
    CASE(what_is_no_token_is_refused),
};

T_MAIN(tests)
