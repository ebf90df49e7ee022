/* The real ridge-relay between an alert and a mock GitHub. */
#include "tests/support/http_client.h"
#include "tests/support/relay_bench.h"
#include "tests/support/t.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POST_START "POST /repos/octo-org/octo-repo/actions/workflows/retrain-model.yaml/dispatches"
#define LIST_START                                                                                 \
    "GET /repos/octo-org/octo-repo/actions/workflows/retrain-model.yaml/runs?"                     \
    "event=workflow_dispatch&created=%3E%3D2"
#define POLL_START  "GET /repos/octo-org/octo-repo/actions/runs/30433642"
#define SCRIPT(...) ((const int[]){__VA_ARGS__, -1})
#define MORE(...)   ((const char *const[]){__VA_ARGS__, NULL})

static struct relay_bench bench;

static void begin(const int *script, const char *const *more)
{
    relay_bench_open(&bench, script);
    relay_bench_start(&bench, MORE(process_program("ridge-relay")), more);
}

static void end(void)
{
    relay_bench_end(&bench);
    relay_bench_close(&bench);
}

/* The correlation id that the i-th dispatch bears. */
static void id_of(size_t i, char id[33])
{
    struct mock_request request = mock_github_request(bench.mock, POST_START, i);
    const char *at = strstr(request.body, "\"correlation_id\":\"");
    assert_non_null(at);
    (void)snprintf(id, 33, "%s", at + strlen("\"correlation_id\":\""));
}

static void assert_same_id(size_t a, size_t b)
{
    char first[33], second[33];
    id_of(a, first);
    id_of(b, second);
    assert_string_equal(first, second);
}

static void an_alert_becomes_one_dispatch_that_is_watched_to_its_end(void **state)
{
    (void)state;
    char id[33], body[512];
    begin(SCRIPT(MOCK_ACCEPT), NULL);
    mock_github_conclude(bench.mock, 3, "success");
    assert_int_equal(relay_bench_alert(&bench, "firing", "user01"), 202);
    relay_bench_expect(&bench, "relay_run_conclusion_total{conclusion=\"success\"}", 1);
    assert_int_equal(mock_github_count(bench.mock, ""), 4);
    assert_int_equal(mock_github_count(bench.mock, POLL_START), 3);
    struct mock_request request = mock_github_request(bench.mock, POST_START, 0);
    id_of(0, id);
    (void)snprintf(
        body, sizeof body,
        "{\"ref\":\"main\",\"inputs\":{\"user_id\":\"user01\",\"drift_score\":\"0.2000\","
        "\"drift_reason\":\"mae 0.54 (normal: at most 0.45), r2 0.6 (normal: at least "
        "0.75)\",\"correlation_id\":\"%s\"},\"return_run_details\":true}",
        id);
    assert_string_equal(request.body, body);
    assert_contains(request.headers, "Accept: application/vnd.github+json\n");
    assert_contains(request.headers, "Authorization: Bearer github-secret-1\n");
    assert_contains(request.headers, "X-GitHub-Api-Version: 2022-11-28\n");
    assert_contains(request.headers, "User-Agent: ridge-relay/0");
    assert_contains(request.headers, "Content-Type: application/json\n");
    assert_int_equal(relay_bench_alert(&bench, "firing", "user01"), 202);
    relay_bench_expect(&bench, "relay_suppressed_total{reason=\"cooldown\"}", 1);
    assert_int_equal(relay_bench_alert(&bench, "resolved", "user01"), 202);
    relay_bench_expect(&bench, "relay_recoveries_total", 1);
    assert_int_equal(mock_github_count(bench.mock, POST_START), 1);
    assert_null(strstr(bench.relay->text, "secret"));
    end();
}

static void the_newer_api_version_is_spoken_too(void **state)
{
    (void)state;
    begin(SCRIPT(MOCK_ACCEPT), MORE("--github_api_version=2026-03-10"));
    assert_int_equal(relay_bench_alert(&bench, "firing", "user01"), 202);
    relay_bench_expect(&bench, "relay_run_conclusion_total{conclusion=\"success\"}", 1);
    struct mock_request request = mock_github_request(bench.mock, POST_START, 0);
    assert_contains(request.headers, "X-GitHub-Api-Version: 2026-03-10\n");
    assert_null(strstr(request.body, "return_run_details"));
    end();
}

static void strangers_and_large_bodies_get_nowhere(void **state)
{
    (void)state;
    struct http_answer answer;
    static char large[4096];
    char body[1024];
    begin(SCRIPT(MOCK_ACCEPT), MORE("--max_body_bytes=2048"));
    (void)relay_bench_body(body, sizeof body, "firing", "user01");
    http_client_request(bench.port, "POST", "/alerts", "Authorization: Bearer github-secret-1\r\n",
                        body, strlen(body), &answer);
    assert_int_equal(answer.status, 401);
    http_answer_clear(&answer);
    memset(large, ' ', sizeof large);
    http_client_request(bench.port, "POST", "/alerts", "Authorization: Bearer webhook-secret\r\n",
                        large, sizeof large, &answer);
    assert_int_equal(answer.status, 413);
    http_answer_clear(&answer);
    assert_int_equal(relay_bench_alert(&bench, "firing", "user03"), 202);
    relay_bench_expect(&bench, "relay_suppressed_total{reason=\"user\"}", 1);
    assert_int_equal(relay_bench_alert(&bench, "resolved", "user01"), 202);
    assert_int_equal(mock_github_count(bench.mock, ""), 0);
    end();
}

static void a_person_can_ask_in_the_cooldown(void **state)
{
    (void)state;
    struct http_answer answer;
    static const char wish[] = "{\"user_id\":\"user01\",\"model_name\":\"california-housing\"}";
    begin(SCRIPT(MOCK_ACCEPT), NULL);
    assert_int_equal(relay_bench_alert(&bench, "firing", "user01"), 202);
    relay_bench_expect(&bench, "relay_run_conclusion_total{conclusion=\"success\"}", 1);
    http_client_request(bench.port, "POST", "/retrain", "Authorization: Bearer override-secret\r\n",
                        wish, sizeof wish - 1, &answer);
    assert_int_equal(answer.status, 202);
    mock_github_wait(bench.mock, POST_START, 2);
    struct mock_request request = mock_github_request(bench.mock, POST_START, 1);
    char id[33];
    id_of(1, id);
    assert_contains(answer.body, id);
    assert_contains(request.body, "\"drift_score\":\"0.0000\",\"drift_reason\":\"manual\"");
    http_answer_clear(&answer);
    end();
}

static void two_users_are_dispatched_apart(void **state)
{
    (void)state;
    begin(SCRIPT(MOCK_ACCEPT), MORE("--write_interval=0.3"));
    assert_int_equal(relay_bench_alert(&bench, "firing", "user01"), 202);
    assert_int_equal(relay_bench_alert(&bench, "firing", "user02"), 202);
    mock_github_wait(bench.mock, POST_START, 2);
    struct mock_request first = mock_github_request(bench.mock, POST_START, 0),
                        second = mock_github_request(bench.mock, POST_START, 1);
    assert_contains(first.body, "\"user_id\":\"user01\"");
    assert_contains(second.body, "\"user_id\":\"user02\"");
    assert_true(second.at_ms - first.at_ms >= 250); /* 300, less what the first spent on its way */
    relay_bench_expect(&bench, "relay_run_conclusion_total{conclusion=\"success\"}", 2);
    end();
}

static void a_server_error_is_looked_into_and_tried_again_with_the_same_id(void **state)
{
    (void)state;
    begin(SCRIPT(MOCK_500, MOCK_500, MOCK_ACCEPT), NULL);
    assert_int_equal(relay_bench_alert(&bench, "firing", "user01"), 202);
    relay_bench_expect(&bench, "relay_run_conclusion_total{conclusion=\"success\"}", 1);
    assert_int_equal(mock_github_count(bench.mock, POST_START), 3);
    assert_int_equal(mock_github_count(bench.mock, LIST_START), 2);
    assert_same_id(0, 1);
    assert_same_id(0, 2);
    assert_int_equal(mock_github_runs(bench.mock, NULL), 1);
    assert_close(relay_bench_metric(&bench, "relay_dispatch_total{outcome=\"unsure\"}"), 2, 0);
    assert_close(relay_bench_metric(&bench, "relay_dispatch_total{outcome=\"absent\"}"), 2, 0);
    end();
}

static void what_was_accepted_in_silence_is_found_and_not_sent_again(void **state)
{
    (void)state;
    static const int ways[] = {MOCK_ACCEPT_THEN_HANG, MOCK_ACCEPT_THEN_500, MOCK_ACCEPT_NO_ID};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        begin(SCRIPT(ways[i]), MORE("--github_timeout=0.2"));
        assert_int_equal(relay_bench_alert(&bench, "firing", "user01"), 202);
        relay_bench_expect(&bench, "relay_run_conclusion_total{conclusion=\"success\"}", 1);
        assert_int_equal(mock_github_count(bench.mock, POST_START), 1);
        assert_true(mock_github_count(bench.mock, LIST_START) >= 1);
        assert_int_equal(mock_github_runs(bench.mock, NULL), 1);
        end();
    }
}

static void a_request_that_hangs_goes_out_again_with_the_same_id(void **state)
{
    (void)state;
    begin(SCRIPT(MOCK_HANG, MOCK_ACCEPT), MORE("--github_timeout=0.2"));
    assert_int_equal(relay_bench_alert(&bench, "firing", "user01"), 202);
    relay_bench_expect(&bench, "relay_run_conclusion_total{conclusion=\"success\"}", 1);
    assert_int_equal(mock_github_count(bench.mock, POST_START), 2);
    assert_int_equal(mock_github_count(bench.mock, LIST_START), 1);
    assert_same_id(0, 1);
    end();
}

static void rate_limits_are_obeyed(void **state)
{
    (void)state;
    begin(SCRIPT(MOCK_403_RETRY_AFTER, MOCK_429_RESET, MOCK_ACCEPT), NULL);
    assert_int_equal(relay_bench_alert(&bench, "firing", "user01"), 202);
    relay_bench_expect(&bench, "relay_run_conclusion_total{conclusion=\"success\"}", 1);
    assert_int_equal(mock_github_count(bench.mock, POST_START), 3);
    assert_int_equal(mock_github_count(bench.mock, LIST_START), 0);
    assert_close(relay_bench_metric(&bench, "relay_dispatch_total{outcome=\"rate_limited\"}"), 2,
                 0);
    for (size_t i = 0; i < 2; i++) {
        struct mock_request first = mock_github_request(bench.mock, POST_START, i),
                            second = mock_github_request(bench.mock, POST_START, i + 1);
        assert_same_id(i, i + 1);
        assert_true(second.at_ms - first.at_ms >= 950); /* told: 1 s, and the least is 1 s */
    }
    end();
}

static void a_refusal_is_final_and_loud(void **state)
{
    (void)state;
    static const int ways[] = {MOCK_401, MOCK_404, MOCK_422};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        begin(SCRIPT(ways[i], MOCK_ACCEPT), NULL);
        assert_int_equal(relay_bench_alert(&bench, "firing", "user01"), 202);
        relay_bench_expect(&bench, "relay_dispatch_total{outcome=\"refused\"}", 1);
        process_expect(bench.relay, "\"level\":\"error\",\"event\":\"dispatch\"", 10);
        assert_close(relay_bench_metric(&bench, "relay_queue_depth"), 0, 0);
        assert_int_equal(mock_github_count(bench.mock, ""), 1);
        /* When Alertmanager repeats itself, the cause may have gone. */
        assert_int_equal(relay_bench_alert(&bench, "firing", "user01"), 202);
        relay_bench_expect(&bench, "relay_dispatch_total{outcome=\"accepted\"}", 1);
        end();
    }
}

static void the_token_is_read_for_every_request(void **state)
{
    (void)state;
    begin(SCRIPT(MOCK_ACCEPT), NULL);
    assert_int_equal(relay_bench_alert(&bench, "firing", "user01"), 202);
    relay_bench_expect(&bench, "relay_run_conclusion_total{conclusion=\"success\"}", 1);
    relay_bench_put(bench.token, "github-secret-2");
    assert_int_equal(relay_bench_alert(&bench, "firing", "user02"), 202);
    mock_github_wait(bench.mock, POST_START, 2);
    assert_contains(mock_github_request(bench.mock, POST_START, 1).headers,
                    "Authorization: Bearer github-secret-2\n");
    end();
}

static void an_unreachable_github_is_tried_until_attempts_run_out(void **state)
{
    (void)state;
    char url[64];
    relay_bench_open(&bench, SCRIPT(MOCK_ACCEPT));
    (void)snprintf(url, sizeof url, "--github_api_url=http://127.0.0.1:%u",
                   http_client_free_port());
    relay_bench_start(&bench, MORE(process_program("ridge-relay")),
                      MORE(url, "--max_attempts=3", "--retry_delay=0.01"));
    assert_int_equal(relay_bench_alert(&bench, "firing", "user01"), 202);
    relay_bench_expect(&bench, "relay_dispatch_total{outcome=\"gave_up\"}", 1);
    assert_close(relay_bench_metric(&bench, "relay_dispatch_total{outcome=\"unreachable\"}"), 2, 0);
    end();
}

static void a_failed_run_is_told_and_the_breaker_opens(void **state)
{
    (void)state;
    begin(SCRIPT(MOCK_ACCEPT), MORE("--cooldown=0", "--breaker_after=2"));
    mock_github_conclude(bench.mock, 1, "failure");
    for (int i = 1; i <= 2; i++) {
        assert_int_equal(relay_bench_alert(&bench, "firing", "user01"), 202);
        relay_bench_expect(&bench, "relay_run_conclusion_total{conclusion=\"failure\"}", i);
    }
    assert_int_equal(relay_bench_alert(&bench, "firing", "user01"), 202);
    relay_bench_expect(&bench, "relay_suppressed_total{reason=\"breaker\"}", 1);
    relay_bench_expect(&bench,
                       "relay_breaker_open{user_id=\"user01\",namespace=\"kubeflow-user01\","
                       "model_name=\"california-housing\"}",
                       1);
    assert_int_equal(relay_bench_alert(&bench, "resolved", "user01"), 202);
    assert_int_equal(relay_bench_alert(&bench, "firing", "user01"), 202);
    mock_github_wait(bench.mock, POST_START, 3);
    end();
}

static void a_restart_goes_on_where_it_was(void **state)
{
    (void)state;
    begin(SCRIPT(MOCK_ACCEPT), NULL);
    mock_github_conclude(bench.mock, 0, "");
    assert_int_equal(relay_bench_alert(&bench, "firing", "user01"), 202);
    mock_github_wait(bench.mock, POLL_START, 1);
    relay_bench_end(&bench);
    mock_github_conclude(bench.mock, 1, "success");
    relay_bench_start(&bench, MORE(process_program("ridge-relay")), NULL);
    relay_bench_expect(&bench, "relay_run_conclusion_total{conclusion=\"success\"}", 1);
    assert_int_equal(relay_bench_alert(&bench, "firing", "user01"), 202);
    relay_bench_expect(&bench, "relay_suppressed_total{reason=\"cooldown\"}", 1);
    assert_int_equal(mock_github_count(bench.mock, POST_START), 1);
    end();
}

static void exit_codes_are_2_for_usage_and_1_for_what_is_missing(void **state)
{
    (void)state;
    char text[8192];
    const char *program = process_program("ridge-relay");
    assert_int_equal(process_run(MORE(program, "--bogus=1"), text, sizeof text), 2);
    assert_contains(text, "ridge-relay: --bogus=1: expected an option that --help lists");
    assert_int_equal(process_run(MORE(program, "--version"), text, sizeof text), 0);
    assert_contains(text, "ridge-relay 0.");
    assert_int_equal(process_run(MORE(program, "--help"), text, sizeof text), 0);
    assert_contains(text, "--webhook_token_file");
    relay_bench_open(&bench, SCRIPT(MOCK_ACCEPT));
    (void)remove(bench.token);
    relay_bench_spawn(&bench, MORE(program), NULL);
    assert_int_equal(process_wait(bench.relay, 20), 1);
    assert_contains(bench.relay->text, "/token: No such file");
    relay_bench_close(&bench);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(an_alert_becomes_one_dispatch_that_is_watched_to_its_end),
    cmocka_unit_test(the_newer_api_version_is_spoken_too),
    cmocka_unit_test(strangers_and_large_bodies_get_nowhere),
    cmocka_unit_test(a_person_can_ask_in_the_cooldown),
    cmocka_unit_test(two_users_are_dispatched_apart),
    cmocka_unit_test(a_server_error_is_looked_into_and_tried_again_with_the_same_id),
    cmocka_unit_test(what_was_accepted_in_silence_is_found_and_not_sent_again),
    cmocka_unit_test(a_request_that_hangs_goes_out_again_with_the_same_id),
    cmocka_unit_test(rate_limits_are_obeyed),
    cmocka_unit_test(a_refusal_is_final_and_loud),
    cmocka_unit_test(the_token_is_read_for_every_request),
    cmocka_unit_test(an_unreachable_github_is_tried_until_attempts_run_out),
    cmocka_unit_test(a_failed_run_is_told_and_the_breaker_opens),
    cmocka_unit_test(a_restart_goes_on_where_it_was),
    cmocka_unit_test(exit_codes_are_2_for_usage_and_1_for_what_is_missing),
};

T_MAIN(tests)
