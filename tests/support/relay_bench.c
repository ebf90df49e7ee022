#define _GNU_SOURCE /* poll with no descriptors */
#include "tests/support/relay_bench.h"

#include "tests/support/exposition_check.h"
#include "tests/support/http_client.h"
#include "tests/support/t.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

void relay_bench_put(const char *path, const char *text)
{
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    (void)fputs(text, out);
    assert_int_equal(fclose(out), 0);
}

void relay_bench_open(struct relay_bench *bench, const int *script)
{
    memset(bench, 0, sizeof *bench);
    process_folder(bench->folder, sizeof bench->folder);
    struct {
        char *path, *option;
        const char *name, *flag, *text;
    } files[] = {
        {bench->journal, bench->options[0], "journal", "journal", NULL},
        {bench->users, bench->options[1], "users", "users_file", "user01\nuser02\n"},
        {bench->webhook, bench->options[2], "webhook", "webhook_token_file", "webhook-secret\n"},
        {bench->override, bench->options[3], "override", "override_token_file",
         "override-secret\n"},
        {bench->token, bench->options[4], "token", "github_token_file", "github-secret-1\n"},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        (void)snprintf(files[i].path, sizeof bench->journal, "%s/%s", bench->folder, files[i].name);
        (void)snprintf(files[i].option, sizeof *bench->options, "--%s=%s", files[i].flag,
                       files[i].path);
        if (files[i].text != NULL)
            relay_bench_put(files[i].path, files[i].text);
    }
    bench->mock = mock_github_start(script);
    (void)snprintf(bench->options[5], sizeof *bench->options,
                   "--github_api_url=http://127.0.0.1:%u", mock_github_port(bench->mock));
}

void relay_bench_close(struct relay_bench *bench)
{
    process_free(bench->relay);
    mock_github_stop(bench->mock);
    process_remove(bench->folder);
}

void relay_bench_spawn(struct relay_bench *bench, const char *const *program,
                       const char *const *more)
{
    static const char *const fast[] = {
        "--host=127.0.0.1",   "--http_port=0",     "--github_repository=octo-org/octo-repo",
        "--write_interval=0", "--list_delay=0.05", "--poll_interval=0.02",
        "--retry_delay=0.02", "--github_timeout=5"};
    const char *argv[RELAY_BENCH_ARGS_MAX + 1];
    size_t n = 0;
    for (; *program != NULL; program++)
        argv[n++] = *program;
    for (size_t i = 0; i < sizeof bench->options / sizeof *bench->options; i++)
        argv[n++] = bench->options[i];
    for (size_t i = 0; i < sizeof fast / sizeof *fast; i++)
        argv[n++] = fast[i];
    for (; more != NULL && *more != NULL && n < RELAY_BENCH_ARGS_MAX; more++)
        argv[n++] = *more;
    argv[n] = NULL;
    process_free(bench->relay);
    bench->relay = process_start(argv);
}

void relay_bench_ready(struct relay_bench *bench)
{
    process_expect(bench->relay, "\"event\":\"ready\"", 20);
    bench->port = process_number(strstr(bench->relay->text, "\"event\":\"ready\""), "http_port");
}

void relay_bench_start(struct relay_bench *bench, const char *const *program,
                       const char *const *more)
{
    relay_bench_spawn(bench, program, more);
    relay_bench_ready(bench);
}

void relay_bench_end(struct relay_bench *bench)
{
    process_signal(bench->relay, SIGTERM);
    int code = process_wait(bench->relay, 30);
    if (code != 0)
        fail_msg("exit code %d:\n%s", code, bench->relay->text);
}

const char *relay_bench_body(char *out, size_t room, const char *status, const char *user)
{
    (void)snprintf(
        out, room,
        "{\"receiver\":\"ridge-relay\",\"status\":\"%s\",\"alerts\":[{\"status\":\"%s\","
        "\"labels\":{\"alertname\":\"ModelDriftDetected\",\"action\":\"retrain\","
        "\"category\":\"drift_trigger\",\"user_id\":\"%s\",\"namespace\":\"kubeflow-%s\","
        "\"model_name\":\"california-housing\",\"reason\":\"mae\"},\"annotations\":{"
        "\"mae\":\"0.5400\",\"r2\":\"0.6000\"},\"startsAt\":\"2026-11-25T10:00:00Z\","
        "\"endsAt\":\"0001-01-01T00:00:00Z\",\"fingerprint\":\"1\"}],\"version\":\"4\","
        "\"groupKey\":\"{}:{}\",\"truncatedAlerts\":0}",
        status, status, user, user);
    return out;
}

int relay_bench_alert(const struct relay_bench *bench, const char *status, const char *user)
{
    char body[1024];
    struct http_answer answer;
    (void)relay_bench_body(body, sizeof body, status, user);
    http_client_request(bench->port, "POST", "/alerts", "Authorization: Bearer webhook-secret\r\n",
                        body, strlen(body), &answer);
    int code = answer.status;
    http_answer_clear(&answer);
    return code;
}

double relay_bench_metric(const struct relay_bench *bench, const char *series)
{
    double value = -1;
    struct error err = {0};
    struct http_answer answer;
    http_client_request(bench->port, "GET", "/metrics", NULL, NULL, 0, &answer);
    assert_int_equal(answer.status, 200);
    if (!exposition_check(answer.body, answer.body_len, EXPOSITION_TEXT, &err))
        fail_msg("%s in\n%s", err.message, answer.body);
    if (!exposition_value(answer.body, answer.body_len, series, &value))
        fail_msg("no %s in\n%s", series, answer.body);
    http_answer_clear(&answer);
    return value;
}

void relay_bench_expect(const struct relay_bench *bench, const char *series, double value)
{
    for (int i = 0; i < 2000; i++) {
        if (relay_bench_metric(bench, series) == value)
            return;
        (void)poll(NULL, 0, 5);
    }
    fail_msg("%s: expected %g, got %g", series, value, relay_bench_metric(bench, series));
}
