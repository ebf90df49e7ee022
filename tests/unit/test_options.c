#define _GNU_SOURCE /* setenv */
#include "server/options.h"

#include "server/log.h"
#include "tests/support/t.h"

#include <stdlib.h>
#include <string.h>

struct told {
    const char *text;
    unsigned count;
    size_t size;
    uint64_t ms;
    bool flag;
    enum log_level level;
    const char *unknown;
};

static bool take_unknown(void *ctx, const char *word, struct error *err)
{
    struct told *told = ctx;
    told->unknown = word;
    return strcmp(word, "stop") != 0 || error_set(err, ERR_INVALID, "%s: no", word);
}

static const struct option_spec specs[] = {
    {"text", "T_TEXT", OPTION_TEXT, offsetof(struct told, text), 0, 0, "a", "a", "some text"},
    {"count", NULL, OPTION_UNSIGNED, offsetof(struct told, count), 1, 9, "2", "2", "a count"},
    {"size", NULL, OPTION_SIZE, offsetof(struct told, size), 0, 1e12, NULL, "computed", "a size"},
    {"wait", NULL, OPTION_MS, offsetof(struct told, ms), 0, 10, "0.5", "", "seconds"},
    {"flag", NULL, OPTION_BOOLEAN, offsetof(struct told, flag), 0, 0, "no", "no", "yes or no"},
    {"level", NULL, OPTION_LEVEL, offsetof(struct told, level), 0, 0, "info", "info", "a level"},
};
static const struct option_set set = {specs, sizeof specs / sizeof *specs, take_unknown};

static bool read_words(struct told *told, struct error *err, const char *const *words)
{
    static char storage[16][64];
    static char *argv[17];
    int argc = 1;
    argv[0] = strcpy(storage[0], "program");
    for (; *words != NULL; words++, argc++)
        argv[argc] = strcpy(storage[argc], *words);
    argv[argc] = NULL;
    *told = (struct told){.size = 77};
    return options_read(&set, told, argc, argv, err);
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static int clear_environment(void **state)
{
    (void)state;
    return unsetenv("T_TEXT");
}

static void defaults_are_read_and_what_has_none_is_kept(void **state)
{
    (void)state;
    struct told told;
    struct error err = {0};
    assert_true(read_words(&told, &err, (const char *const[]){NULL}));
    assert_string_equal(told.text, "a");
    assert_int_equal(told.count, 2);
    assert_int_equal(told.size, 77);
    assert_int_equal(told.ms, 500);
    assert_false(told.flag);
    assert_int_equal(told.level, LOG_INFO);
    assert_null(told.unknown);
}

static void every_kind_is_read_in_both_spellings_and_the_last_wins(void **state)
{
    (void)state;
    struct told told;
    struct error err = {0};
    assert_true(
        read_words(&told, &err,
                   WORDS("--text", "b", "--text=c=d", "--count", "9", "--size=1000000000000",
                         "--wait", "0.0014", "--flag", "ON", "--level=error")));
    assert_string_equal(told.text, "c=d");
    assert_int_equal(told.count, 9);
    assert_int_equal(told.size, 1000000000000u);
    assert_int_equal(told.ms, 1);
    assert_true(told.flag);
    assert_int_equal(told.level, LOG_ERROR);
}

static void an_empty_environment_variable_is_none(void **state)
{
    (void)state;
    struct told told;
    struct error err = {0};
    assert_int_equal(setenv("T_TEXT", "", 1), 0);
    assert_true(read_words(&told, &err, (const char *const[]){NULL}));
    assert_string_equal(told.text, "a");
    assert_int_equal(setenv("T_TEXT", "e", 1), 0);
    assert_true(read_words(&told, &err, (const char *const[]){NULL}));
    assert_string_equal(told.text, "e");
    assert_true(read_words(&told, &err, WORDS("--text=f")));
    assert_string_equal(told.text, "f");
}

static void the_program_judges_what_nobody_knows(void **state)
{
    (void)state;
    struct told told;
    struct error err = {0};
    assert_true(read_words(&told, &err, WORDS("--texts=1")));
    assert_string_equal(told.unknown, "--texts=1");
    assert_true(read_words(&told, &err, WORDS("--")));
    assert_string_equal(told.unknown, "--");
    assert_false(read_words(&told, &err, WORDS("stop", "--text=b")));
    assert_string_equal(err.message, "stop: no");
}

static void a_bad_value_is_named_with_what_was_expected(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"--count=0", "--count: expected a whole number from 1 to 9, got \"0\""},
        {"--count=1.5", "--count: expected a whole number"},
        {"--size=x", "--size: expected a whole number"},
        {"--wait=11", "--wait: expected from 0 to 10 seconds, got \"11\""},
        {"--wait=nan", "--wait: expected"},
        {"--flag=maybe", "--flag: expected true or false, got \"maybe\""},
        {"--level=loud", "--level: expected debug, info, warning or error"},
        {"--text", "--text: expected a value"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct told told;
        struct error err = {0};
        assert_false(read_words(&told, &err, WORDS(bad[i][0])));
        assert_contains(err.message, bad[i][1]);
    }
}

static void help_has_a_line_for_each(void **state)
{
    (void)state;
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    assert_non_null(out);
    options_help(&set, out);
    assert_int_equal(fclose(out), 0);
    assert_contains(text, "  --text                 some text (default a) [T_TEXT]\n");
    assert_contains(text, "  --size                 a size (default computed)\n");
    assert_contains(text, "  --wait                 seconds\n");
    free(text);
}

#define CASE(name) cmocka_unit_test_setup(name, clear_environment)
static const struct CMUnitTest tests[] = {
    CASE(defaults_are_read_and_what_has_none_is_kept),
    CASE(every_kind_is_read_in_both_spellings_and_the_last_wins),
    CASE(an_empty_environment_variable_is_none),
    CASE(the_program_judges_what_nobody_knows),
    CASE(a_bad_value_is_named_with_what_was_expected),
    CASE(help_has_a_line_for_each),
};

T_MAIN(tests)
