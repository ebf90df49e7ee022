#define _GNU_SOURCE /* setenv */
#include "server/predictor/config.h"
#include "tests/support/t.h"

#include <stdlib.h>
#include <string.h>

static const char *const environment[] = {"INFERENCE_SERVICE_NAME", "USER_ID", "POD_NAMESPACE",
                                          "KSERVE_LOGLEVEL", "POD_NAME"};

static int clear_environment(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof environment / sizeof *environment; i++)
        (void)unsetenv(environment[i]);
    return 0;
}

/* Reads a command line; the texts stay valid, as argv's do. */
static bool read_line(struct config *config, struct error *err, const char *const *words)
{
    static char storage[32][64];
    static char *argv[33];
    int argc = 0;
    argv[argc++] = strcpy(storage[0], "ridged");
    for (; *words != NULL; words++, argc++)
        argv[argc] = strcpy(storage[argc], *words);
    argv[argc] = NULL;
    return config_read(config, argc, argv, err);
}

#define READ(...) assert_true(read_line(&config, &err, (const char *const[]){__VA_ARGS__, NULL}))

static void defaults_are_what_help_says(void **state)
{
    (void)state;
    struct config config;
    struct error err = {0};
    assert_true(read_line(&config, &err, (const char *const[]){NULL}));
    assert_string_equal(config.model_dir, "/mnt/models");
    assert_null(config.model_name);
    assert_string_equal(config.host, "0.0.0.0");
    assert_int_equal(config.http_port, 8080);
    assert_int_equal(config.metrics_port, 8000);
    assert_true(config.workers >= 1);
    assert_int_equal(config.max_body_bytes, 16777216);
    assert_int_equal(config.log_level, LOG_INFO);
    assert_false(config.access_log);
    assert_true(config.ui);
    assert_int_equal(config.unknown_count, 0);
}

static void both_spellings_work_and_the_last_wins(void **state)
{
    (void)state;
    struct config config;
    struct error err = {0};
    READ("--http_port=1", "--model_name", "a", "--http_port", "2", "--model_name=b", "--workers=3");
    assert_int_equal(config.http_port, 2);
    assert_string_equal(config.model_name, "b");
    assert_int_equal(config.workers, 3);
}

static void a_flag_beats_the_environment_and_that_the_default(void **state)
{
    (void)state;
    struct config config;
    struct error err = {0};
    (void)setenv("INFERENCE_SERVICE_NAME", "from-env", 1);
    (void)setenv("USER_ID", "user01", 1);
    (void)setenv("POD_NAMESPACE", "", 1);
    (void)setenv("KSERVE_LOGLEVEL", "ERROR", 1);
    READ("--user_id=user02");
    assert_string_equal(config.model_name, "from-env");
    assert_string_equal(config.user_id, "user02");
    assert_string_equal(config.space, "");
    assert_int_equal(config.log_level, LOG_ERROR);
}

static void figures_that_could_never_be_live_are_refused(void **state)
{
    (void)state;
    struct config config;
    struct error err = {0};
    READ("--quality_window=200");
    READ("--quality_window=100", "--quality_min_samples=100");
    assert_false(read_line(&config, &err, (const char *const[]){"--quality_window=199", NULL}));
    assert_string_equal(err.message,
                        "--quality_min_samples: expected at most --quality_window (199), got 200");
}

static void unknown_options_are_noted_once_and_skipped_with_their_value(void **state)
{
    (void)state;
    struct config config;
    struct error err = {0};
    READ("--enable_grpc", "false", "--max_threads=4", "stray", "--max_threads=4", "--http_port",
         "7", "-xy", "--enable_docs_url=true", "--", "-");
    assert_int_equal(config.http_port, 7);
    assert_int_equal(config.unknown_count, 6);
    assert_string_equal(config.unknown[0], "--enable_grpc");
    assert_string_equal(config.unknown[1], "--max_threads=4");
    assert_string_equal(config.unknown[2], "-xy");
    assert_string_equal(config.unknown[3], "--enable_docs_url=true");
}

/* An option of KServe's that begins like one of ours must not be taken for it. */
static void options_are_not_abbreviated(void **state)
{
    (void)state;
    struct config config;
    struct error err = {0};
    READ("--work=7", "--http_por", "1", "--http_ports=2", "--helpful", "--=x");
    assert_int_equal(config.http_port, 8080);
    assert_false(config.help);
    assert_int_equal(config.unknown_count, 5);
}

static void more_unknown_options_than_are_kept_do_no_harm(void **state)
{
    (void)state;
    struct config config;
    struct error err = {0};
    char words[CONFIG_UNKNOWN_MAX + 10][16];
    char *argv[CONFIG_UNKNOWN_MAX + 11] = {NULL};
    for (size_t i = 0; i < CONFIG_UNKNOWN_MAX + 10; i++) {
        (void)snprintf(words[i], sizeof words[i], "--unknown%zu", i);
        argv[i] = words[i];
    }
    assert_true(config_read(&config, CONFIG_UNKNOWN_MAX + 10, argv, &err));
    assert_int_equal(config.unknown_count, CONFIG_UNKNOWN_MAX);
}

static void a_value_apart_may_begin_with_a_dash_but_is_no_option(void **state)
{
    (void)state;
    struct config config;
    struct error err = {0};
    READ("--user_id", "-1", "--namespace", "");
    assert_string_equal(config.user_id, "-1");
    assert_string_equal(config.space, "");
    assert_false(
        read_line(&config, &err, (const char *const[]){"--user_id", "--http_port=1", NULL}));
    assert_string_equal(err.message, "--user_id: expected a value");
}

static void booleans_are_kserves_words(void **state)
{
    (void)state;
    static const char *const yes[] = {"true", "True", "YES", "y", "t", "on", "1"};
    static const char *const no[] = {"false", "no", "N", "f", "off", "0"};
    struct config config;
    struct error err = {0};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        READ("--access_log", yes[i]);
        assert_true(config.access_log);
    }
    for (size_t i = 0; i < sizeof no / sizeof *no; i++) {
        READ("--access_log", "true", "--access_log", no[i]);
        assert_false(config.access_log);
    }
}

static void a_bad_value_is_named_with_what_was_expected(void **state)
{
    (void)state;
    static const struct {
        const char *word, *message;
    } cases[] = {
        {"--http_port=65536",
         "--http_port: expected a whole number from 0 to 65535, got \"65536\""},
        {"--http_port=-1", "--http_port: expected a whole number from 0 to 65535, got \"-1\""},
        {"--http_port=80.5", "--http_port: expected a whole number from 0 to 65535, got \"80.5\""},
        {"--http_port=", "--http_port: expected a whole number from 0 to 65535, got \"\""},
        {"--workers=0", "--workers: expected a whole number from 1 to 256, got \"0\""},
        {"--access_log=maybe", "--access_log: expected true or false, got \"maybe\""},
        {"--log_level=loud", "--log_level: expected debug, info, warning or error, got \"loud\""},
        {"--model_dir", "--model_dir: expected a value"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config config;
        struct error err = {0};
        assert_false(read_line(&config, &err, (const char *const[]){cases[i].word, NULL}));
        assert_int_equal(err.code, ERR_INVALID);
        assert_string_equal(err.message, cases[i].message);
    }
}

static void help_lists_every_option_with_its_environment(void **state)
{
    (void)state;
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    config_help(out);
    (void)fclose(out);
    for (size_t i = 0; i < sizeof environment / sizeof *environment; i++)
        assert_contains(text, environment[i]);
    assert_contains(text, "--http_port");
    assert_contains(text, "(default 8080)");
    free(text);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup(defaults_are_what_help_says, clear_environment),
    cmocka_unit_test_setup(both_spellings_work_and_the_last_wins, clear_environment),
    cmocka_unit_test_setup_teardown(a_flag_beats_the_environment_and_that_the_default,
                                    clear_environment, clear_environment),
    cmocka_unit_test_setup(figures_that_could_never_be_live_are_refused, clear_environment),
    cmocka_unit_test(unknown_options_are_noted_once_and_skipped_with_their_value),
    cmocka_unit_test(options_are_not_abbreviated),
    cmocka_unit_test(more_unknown_options_than_are_kept_do_no_harm),
    cmocka_unit_test(a_value_apart_may_begin_with_a_dash_but_is_no_option),
    cmocka_unit_test(booleans_are_kserves_words),
    cmocka_unit_test(a_bad_value_is_named_with_what_was_expected),
    cmocka_unit_test(help_lists_every_option_with_its_environment),
};

T_MAIN(tests)
