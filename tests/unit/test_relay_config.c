#define _GNU_SOURCE /* setenv */
#include "server/relay/config.h"

#include "tests/support/t.h"

#include <stdlib.h>
#include <string.h>

static int clear_environment(void **state)
{
    (void)state;
    (void)unsetenv("GITHUB_REPOSITORY");
    (void)unsetenv("GITHUB_API_URL");
    return 0;
}

#define LEAST                                                                                      \
    "--webhook_token_file=w", "--users_file=u", "--journal", "j", "--github_token_file=t",         \
        "--github_repository=o/r"

static bool read_line(struct relay_config *config, struct error *err, const char *const *words)
{
    static char storage[32][64];
    static char *argv[33];
    int argc = 0;
    argv[argc++] = strcpy(storage[0], "ridge-relay");
    for (; *words != NULL; words++, argc++)
        argv[argc] = strcpy(storage[argc], *words);
    argv[argc] = NULL;
    return relay_config_read(config, argc, argv, err);
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void defaults_are_what_help_says(void **state)
{
    (void)state;
    struct relay_config config;
    struct error err = {0};
    assert_true(read_line(&config, &err, WORDS(LEAST)));
    assert_string_equal(config.journal, "j");
    assert_string_equal(config.github.api_url, "https://api.github.com");
    assert_string_equal(config.github.workflow, "retrain-model.yaml");
    assert_string_equal(config.github.ref, "main");
    assert_string_equal(config.github.api_version, "2022-11-28");
    assert_true(config.github.return_run_details);
    assert_string_equal(config.override_token_file, "");
    assert_int_equal(config.http_port, 9099);
    assert_int_equal(config.policy.cooldown_ms, 6 * 3600 * 1000);
    assert_int_equal(config.policy.write_interval_ms, 1000);
    assert_int_equal(config.policy.hourly_budget, 8);
    assert_int_equal(config.policy.breaker_after, 3);
}

static void seconds_may_have_fractions(void **state)
{
    (void)state;
    struct relay_config config;
    struct error err = {0};
    assert_true(read_line(&config, &err, WORDS(LEAST, "--poll_interval=0.25", "--cooldown", "0")));
    assert_int_equal(config.policy.poll_interval_ms, 250);
    assert_int_equal(config.policy.cooldown_ms, 0);
}

static void a_flag_beats_the_environment(void **state)
{
    (void)state;
    struct relay_config config;
    struct error err = {0};
    (void)setenv("GITHUB_API_URL", "https://ghe.example/api/v3", 1);
    (void)setenv("GITHUB_REPOSITORY", "from/env", 1);
    assert_true(read_line(&config, &err, WORDS(LEAST)));
    assert_string_equal(config.github.api_url, "https://ghe.example/api/v3");
    assert_string_equal(config.github.repository, "o/r");
}

static void what_is_wrong_or_missing_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *words[10], *named;
    } cases[] = {
        {{LEAST, "--cool_down=1"}, "--cool_down=1: expected an option"},
        {{LEAST, "stray"}, "stray: expected an option"},
        {{LEAST, "--cooldown=-1"}, "--cooldown: expected from 0 to 31536000 seconds, got \"-1\""},
        {{LEAST, "--hourly_budget=0"}, "--hourly_budget: expected a whole number from 1 to 64"},
        {{LEAST, "--github_api_version=1"}, "--github_api_version"},
        {{LEAST, "--github_api_url=http://example.org"}, "--github_api_url"},
        {{LEAST, "--journal="}, "--journal: expected, but missing"},
        {{"--journal=j"}, "--webhook_token_file: expected, but missing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct relay_config config;
        struct error err = {0};
        assert_false(read_line(&config, &err, cases[i].words));
        assert_contains(err.message, cases[i].named);
    }
}

static void help_and_version_need_nothing_else(void **state)
{
    (void)state;
    struct relay_config config;
    struct error err = {0};
    assert_true(read_line(&config, &err, WORDS("--help")));
    assert_true(config.help);
    assert_true(read_line(&config, &err, WORDS("--version")));
    assert_true(config.version);
}

static void help_lists_every_option_with_its_environment(void **state)
{
    (void)state;
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    assert_non_null(out);
    relay_config_help(out);
    assert_int_equal(fclose(out), 0);
    assert_contains(text, "--github_api_url");
    assert_contains(text, "[GITHUB_REPOSITORY]");
    assert_contains(text, "(default 21600)");
    free(text);
}

#define CASE(name) cmocka_unit_test_setup(name, clear_environment)
static const struct CMUnitTest tests[] = {
    CASE(defaults_are_what_help_says),        CASE(seconds_may_have_fractions),
    CASE(a_flag_beats_the_environment),       CASE(what_is_wrong_or_missing_is_named),
    CASE(help_and_version_need_nothing_else), CASE(help_lists_every_option_with_its_environment),
};

T_MAIN(tests)
