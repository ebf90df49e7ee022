/* The options of ridge-relay; server/options.c reads them. */
#include "server/relay/config.h"

#include "server/options.h"

#include <string.h>

#define DAY                           86400
#define MEMBER(member)                offsetof(struct relay_config, member)
#define TEXT(member)                  OPTION_TEXT, MEMBER(member), 0, 0
#define UNSIGNED(member, least, most) OPTION_UNSIGNED, MEMBER(member), least, most
#define SECONDS(member, least, most)  OPTION_MS, MEMBER(member), least, most
#define DEFAULT(text)                 text, text
static const struct option_spec specs[] = {
    {"host", NULL, TEXT(host), DEFAULT("0.0.0.0"), "address to listen on"},
    {"http_port", NULL, UNSIGNED(http_port, 0, 65535), DEFAULT("9099"),
     "alerts, override, health, metrics; 0 picks one"},
    {"max_body_bytes", NULL, OPTION_SIZE, MEMBER(max_body_bytes), 1, 1e8, DEFAULT("1048576"),
     "largest request body; 413 over it"},
    {"webhook_token_file", NULL, TEXT(webhook_token_file), "", "required",
     "holds the bearer token that Alertmanager sends"},
    {"override_token_file", NULL, TEXT(override_token_file), "", "none: no override",
     "holds the bearer token of people who may ask for a retraining"},
    {"users_file", NULL, TEXT(users_file), "", "required",
     "who may have models retrained, one name a line"},
    {"journal", NULL, TEXT(journal), "", "required", "file that survives crashes"},
    {"journal_rewrite_bytes", NULL, OPTION_SIZE, MEMBER(journal_rewrite_bytes), 0, 6e7,
     DEFAULT("1048576"), "a longer journal is rewritten, one line a model"},
    {"github_repository", "GITHUB_REPOSITORY", TEXT(github.repository), "", "required",
     "OWNER/NAME"},
    {"github_workflow", NULL, TEXT(github.workflow), DEFAULT("retrain-model.yaml"),
     "file name of the workflow to start"},
    {"github_ref", NULL, TEXT(github.ref), DEFAULT("main"), "branch or tag it runs on"},
    {"github_token_file", NULL, TEXT(github_token_file), "", "required",
     "holds a token that may write Actions; read again for every request"},
    {"github_api_url", "GITHUB_API_URL", TEXT(github.api_url), DEFAULT("https://api.github.com"),
     "http only to a loopback address"},
    {"github_api_version", NULL, TEXT(github.api_version), DEFAULT("2022-11-28"),
     "2022-11-28 or 2026-03-10"},
    {"github_return_run_details", NULL, OPTION_BOOLEAN, MEMBER(github.return_run_details), 0, 0,
     DEFAULT("true"), "with 2022-11-28, ask for the run's id; old GitHub Enterprise refuses that"},
    {"github_timeout", NULL, SECONDS(github_timeout_ms, 0.05, 600), DEFAULT("15"),
     "seconds a request to GitHub may take"},
    {"cooldown", NULL, SECONDS(policy.cooldown_ms, 0, 365 * DAY), DEFAULT("21600"),
     "seconds from an accepted dispatch to the next of the same model"},
    {"hourly_budget", NULL, UNSIGNED(policy.hourly_budget, 1, POLICY_BUDGET_MAX), DEFAULT("8"),
     "most retrainings an hour that alerts may cause, all users together"},
    {"breaker_after", NULL, UNSIGNED(policy.breaker_after, 1, 1000), DEFAULT("3"),
     "retrainings without recovery after which alerts cause no more"},
    {"max_attempts", NULL, UNSIGNED(policy.max_attempts, 1, 1000), DEFAULT("20"),
     "times a dispatch is tried"},
    {"retry_delay", NULL, SECONDS(policy.retry_ms, 0.001, 600), DEFAULT("5"),
     "seconds before the first further try; doubles up to ten minutes"},
    {"write_interval", NULL, SECONDS(policy.write_interval_ms, 0, 3600), DEFAULT("1"),
     "least seconds between two dispatches; GitHub asks for 1"},
    {"list_delay", NULL, SECONDS(policy.list_delay_ms, 0, 3600), DEFAULT("60"),
     "seconds after which GitHub's list surely shows an accepted run"},
    {"poll_interval", NULL, SECONDS(policy.poll_interval_ms, 0.01, 3600), DEFAULT("30"),
     "seconds between two looks at a run"},
    {"run_timeout", NULL, SECONDS(policy.run_timeout_ms, 1, 40 * DAY), DEFAULT("21600"),
     "seconds after which a run that has not ended is given up"},
    {"log_level", NULL, OPTION_LEVEL, MEMBER(log_level), 0, 0, DEFAULT("info"),
     "debug, info, warning or error"},
};

static bool take_unknown(void *ctx, const char *word, struct error *err)
{
    struct relay_config *config = ctx;
    if (strcmp(word, "--help") == 0)
        return (config->help = true);
    if (strcmp(word, "--version") == 0)
        return (config->version = true);
    return error_set(err, ERR_INVALID, "%s: expected an option that --help lists", word);
}

static const struct option_set options = {specs, sizeof specs / sizeof *specs, take_unknown};

static bool check(const struct relay_config *config, struct error *err)
{
    const char *const required[][2] = {{"webhook_token_file", config->webhook_token_file},
                                       {"users_file", config->users_file},
                                       {"journal", config->journal},
                                       {"github_repository", config->github.repository},
                                       {"github_token_file", config->github_token_file}};
    for (size_t i = 0; i < sizeof required / sizeof *required; i++)
        if (*required[i][1] == '\0')
            return error_set(err, ERR_INVALID, "--%s: expected, but missing", required[i][0]);
    return github_check_target(&config->github, err);
}

bool relay_config_read(struct relay_config *config, int argc, char *const *argv, struct error *err)
{
    memset(config, 0, sizeof *config);
    return options_read(&options, config, argc, argv, err) &&
           (config->help || config->version || check(config, err));
}

void relay_config_help(FILE *out)
{
    (void)fputs(
        "usage: ridge-relay [--option value | --option=value]...\n"
        "Turns a drift alert from Alertmanager into one run of a GitHub workflow.\n"
        "Flag over environment over default.\n\n",
        out);
    options_help(&options, out);
}
