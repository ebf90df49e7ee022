/* The door with a real ledger behind it and nobody who works it off. */
#include "server/relay/intake.h"

#include "tests/support/exposition_check.h"
#include "tests/support/process.h"
#include "tests/support/t.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct webhook_users users = {{"user01", "user02", "user03"}, 3};
static char folder[512], journal[600], webhook_file[600], override_file[600];
static struct metrics *metrics;
static struct intake intake;
static struct arena *arena;

static void put(char path[600], const char *name, const char *text)
{
    (void)snprintf(path, 600, "%s/%s", folder, name);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    (void)fputs(text, out);
    assert_int_equal(fclose(out), 0);
}

static void open_ledger(void)
{
    struct error err = {0};
    const struct ledger_config config = {.policy = {.cooldown_ms = 1000000,
                                                    .hourly_budget = 2,
                                                    .breaker_after = 1,
                                                    .max_attempts = 3},
                                         .journal = journal,
                                         .rewrite_bytes = 1 << 20,
                                         .telemetry = intake.telemetry};
    intake.ledger = ledger_open(&config, &err);
    if (intake.ledger == NULL)
        fail_msg("%s", err.message);
}

static int set_up(void **state)
{
    (void)state;
    struct error err = {0};
    process_folder(folder, sizeof folder);
    put(webhook_file, "webhook", "secret-one\n");
    put(override_file, "override", "secret-two\n");
    (void)snprintf(journal, sizeof journal, "%s/journal", folder);
    metrics = metrics_new(RELAY_SHARDS);
    arena = arena_new(65536, 0);
    assert_true(metrics != NULL && arena != NULL);
    intake = (struct intake){.metrics = metrics, .users = &users};
    intake.telemetry = relay_telemetry_new(metrics, "1", "r");
    intake.webhook_token = token_new(webhook_file, &err);
    intake.override_token = token_new(override_file, &err);
    assert_true(intake.telemetry != NULL && intake.webhook_token != NULL &&
                intake.override_token != NULL);
    atomic_init(&intake.ready, true);
    open_ledger();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ledger_close(intake.ledger);
    token_free(intake.webhook_token);
    token_free(intake.override_token);
    relay_telemetry_free(intake.telemetry);
    metrics_free(metrics);
    arena_free(arena);
    process_remove(folder);
    return 0;
}

static const struct response *ask(enum http_method method, const char *path, const char *token,
                                  const char *body)
{
    char value[128];
    struct header header = {{"authorization", 13}, {value, 0}};
    struct request request = {.method = method,
                              .path = {path, strlen(path)},
                              .headers = &header,
                              .header_count = token != NULL,
                              .body = {body, strlen(body)}};
    arena_reset(arena);
    header.value.n = (size_t)snprintf(value, sizeof value, "Bearer %s", token != NULL ? token : "");
    return intake_handle(&intake, &request, arena);
}

static const char *text_of(const struct response *response)
{
    return arena_text(arena, response->body.p, response->body.n);
}

static double metric(const char *series)
{
    const struct response *response = ask(HTTP_GET, "/metrics", NULL, "");
    double value = -1;
    struct error err = {0};
    assert_int_equal(response->status, 200);
    if (!exposition_check(response->body.p, response->body.n, EXPOSITION_TEXT, &err))
        fail_msg("%s", err.message);
    if (!exposition_value(response->body.p, response->body.n, series, &value))
        fail_msg("no %s in\n%s", series, text_of(response));
    return value;
}

#define ALERT(status, user, model)                                                                 \
    "{\"status\":\"" status "\",\"labels\":{\"action\":\"retrain\",\"user_id\":\"" user            \
    "\",\"namespace\":\"kubeflow-" user "\",\"model_name\":\"" model "\"}}"
#define BODY(alerts) "{\"version\":\"4\",\"alerts\":[" alerts "]}"

static const char *alerts(const char *body)
{
    const struct response *response = ask(HTTP_POST, "/alerts", "secret-one", body);
    assert_int_equal(response->status, 202);
    return text_of(response);
}

/* Works off what is due as the GitHub thread would. */
static void work(enum policy_action expected, struct policy_answer answer)
{
    struct policy_step step;
    assert_true(ledger_next(intake.ledger, &step));
    assert_int_equal(step.action, expected);
    ledger_answered(intake.ledger, &step, &answer, "");
}

static void only_the_webhooks_token_opens_alerts(void **state)
{
    (void)state;
    static const char *const wrong[] = {NULL, "", "secret-on", "secret-one1", "secret-two"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const struct response *response = ask(HTTP_POST, "/alerts", wrong[i], BODY(""));
        assert_int_equal(response->status, 401);
        assert_memory_equal(response->headers[0].name.p, "WWW-Authenticate", 16);
    }
    assert_string_equal(alerts(BODY("")), "{\"queued\":0,\"recovered\":0,\"suppressed\":0}");
    assert_close(metric("relay_requests_total{route=\"/alerts\",code=\"401\"}"), 5, 0);
    assert_close(metric("relay_requests_total{route=\"/alerts\",code=\"202\"}"), 1, 0);
}

static void a_rotated_token_counts_at_once(void **state)
{
    (void)state;
    put(webhook_file, "webhook", "secret-new");
    assert_int_equal(ask(HTTP_POST, "/alerts", "secret-one", BODY(""))->status, 401);
    assert_int_equal(ask(HTTP_POST, "/alerts", "secret-new", BODY(""))->status, 202);
    assert_int_equal(unlink(webhook_file), 0);
    assert_int_equal(ask(HTTP_POST, "/alerts", "secret-new", BODY(""))->status, 202);
}

static void every_reason_to_dispatch_nothing_is_counted(void **state)
{
    (void)state;
    assert_string_equal(alerts(BODY(ALERT("firing", "user01", "m"))),
                        "{\"queued\":1,\"recovered\":0,\"suppressed\":0}");
    assert_close(metric("relay_queue_depth"), 1, 0);
    assert_string_equal(alerts(BODY(ALERT("firing", "user01", "m"))),
                        "{\"queued\":0,\"recovered\":0,\"suppressed\":1}");
    work(POLICY_DISPATCH, (struct policy_answer){.reply = REPLY_ACCEPTED, .run_id = 5});
    assert_close(metric("relay_queue_depth"), 0, 0);
    assert_close(metric("relay_runs_in_flight"), 1, 0);
    work(POLICY_POLL, (struct policy_answer){.reply = REPLY_CONCLUDED});
    assert_close(metric("relay_runs_in_flight"), 0, 0);
    (void)alerts(BODY(ALERT("firing", "user01", "m")));   /* the breaker, after one */
    (void)alerts(BODY(ALERT("resolved", "user01", "m"))); /* closes it */
    (void)alerts(BODY(ALERT("firing", "user01", "m")));   /* cooldown */
    (void)alerts(BODY(ALERT("firing", "user02", "m")));
    (void)alerts(BODY(ALERT("firing", "user03", "m"))); /* the hour's third */
    (void)alerts(BODY(ALERT("firing", "user04", "m") "," ALERT(
        "firing", "user01",
        "M") ","
             "{\"status\":\"firing\",\"labels\":{\"alertname\":\"SevereModelDrift\"}},"
             "{\"status\":\"firing\",\"labels\":{\"action\":\"retrain\",\"user_id\":"
             "\"user01\",\"namespace\":\"kubeflow-user02\",\"model_name\":\"m\"}}"));
    (void)alerts("{\"version\":\"4\",\"truncatedAlerts\":2,\"alerts\":[" ALERT("resolved", "user01",
                                                                               "m") "]}");
    static const char *const reasons[] = {"in_flight", "breaker", "cooldown",  "budget",   "user",
                                          "model",     "action",  "namespace", "truncated"};
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
        char series[96];
        (void)snprintf(series, sizeof series, "relay_suppressed_total{reason=\"%s\"}", reasons[i]);
        assert_close(metric(series), 1, 0);
    }
    assert_close(metric("relay_suppressed_total{reason=\"capacity\"}"), 0, 0);
    assert_close(metric("relay_requested_total"), 2, 0);
    assert_close(metric("relay_recoveries_total"), 1, 0);
    assert_close(metric("relay_dispatch_total{outcome=\"accepted\"}"), 1, 0);
    assert_close(metric("relay_run_conclusion_total{conclusion=\"success\"}"), 1, 0);
    assert_true(metric("relay_last_success_timestamp_seconds") > 1.6e9);
}

static void the_breaker_is_shown_by_model(void **state)
{
    (void)state;
    static const char series[] =
        "relay_breaker_open{user_id=\"user01\",namespace=\"kubeflow-user01\",model_name=\"m\"}";
    (void)alerts(BODY(ALERT("firing", "user01", "m")));
    assert_close(metric(series), 0, 0);
    work(POLICY_DISPATCH, (struct policy_answer){.reply = REPLY_ACCEPTED, .run_id = 5});
    assert_close(metric(series), 1, 0);
    (void)alerts(BODY(ALERT("resolved", "user01", "m")));
    assert_close(metric(series), 0, 0);
}

static void what_was_accepted_is_there_after_a_restart(void **state)
{
    (void)state;
    (void)alerts(BODY(ALERT("firing", "user01", "m") "," ALERT("firing", "user02", "m")));
    work(POLICY_DISPATCH, (struct policy_answer){.reply = REPLY_ACCEPTED, .run_id = 5});
    ledger_close(intake.ledger);
    open_ledger();
    assert_close(metric("relay_queue_depth"), 1, 0);
    assert_close(metric("relay_runs_in_flight"), 1, 0);
    assert_true(metric("relay_last_success_timestamp_seconds") > 1.6e9);
    assert_close(metric("relay_breaker_open{user_id=\"user01\",namespace=\"kubeflow-user01\","
                        "model_name=\"m\"}"),
                 1, 0);
    (void)alerts(BODY(ALERT("firing", "user03", "m"))); /* the hour's budget is remembered too */
    assert_close(metric("relay_suppressed_total{reason=\"budget\"}"), 1, 0);
}

static void a_person_asks_with_a_token_of_their_own(void **state)
{
    (void)state;
    static const char wish[] = "{\"user_id\":\"user01\",\"model_name\":\"m\"}";
    assert_int_equal(ask(HTTP_POST, "/retrain", "secret-one", wish)->status, 401);
    assert_int_equal(ask(HTTP_POST, "/retrain", "secret-two", "{}")->status, 400);
    const struct response *response = ask(HTTP_POST, "/retrain", "secret-two", wish);
    assert_int_equal(response->status, 202);
    assert_int_equal(response->body.n, sizeof "{\"correlation_id\":\"\"}" - 1 + POLICY_ID_MAX);
    response = ask(HTTP_POST, "/retrain", "secret-two", wish);
    assert_int_equal(response->status, 409);
    assert_string_equal(text_of(response), "{\"error\":\"in_flight\"}");
    token_free(intake.override_token);
    intake.override_token = NULL;
    assert_int_equal(ask(HTTP_POST, "/retrain", "secret-two", wish)->status, 404);
}

static void bad_bodies_are_400_and_large_ones_413(void **state)
{
    (void)state;
    static char deep[2000];
    assert_int_equal(ask(HTTP_POST, "/alerts", "secret-one", "{")->status, 400);
    (void)strcpy(deep, "{\"x\":");
    memset(deep + 5, '[', sizeof deep - 6);
    assert_int_equal(ask(HTTP_POST, "/alerts", "secret-one", deep)->status, 413);
}

static void paths_and_methods_are_answered_as_they_should(void **state)
{
    (void)state;
    assert_int_equal(ask(HTTP_GET, "/healthz", NULL, "")->status, 200);
    assert_int_equal(ask(HTTP_HEAD, "/readyz", NULL, "")->status, 200);
    assert_int_equal(ask(HTTP_GET, "/", NULL, "")->status, 404);
    assert_int_equal(ask(HTTP_GET, "/alerts", "secret-one", "")->status, 405);
    assert_int_equal(ask(HTTP_POST, "/metrics", NULL, "")->status, 405);
    atomic_store(&intake.ready, false);
    assert_int_equal(ask(HTTP_GET, "/readyz", NULL, "")->status, 503);
    assert_int_equal(ask(HTTP_GET, "/healthz", NULL, "")->status, 200);
    const struct request fault = {.fault = 431, .fault_text = "headers: expected fewer"};
    assert_int_equal(intake_handle(&intake, &fault, arena)->status, 431);
}

static void metrics_are_openmetrics_when_asked_for(void **state)
{
    (void)state;
    static const struct header accept = {{"accept", 6}, {"application/openmetrics-text", 28}};
    const struct request request = {
        .method = HTTP_GET, .path = {"/metrics", 8}, .headers = &accept, .header_count = 1};
    struct error err = {0};
    (void)alerts(BODY(ALERT("firing", "user01", "m")));
    const struct response *response = intake_handle(&intake, &request, arena);
    if (!exposition_check(response->body.p, response->body.n, EXPOSITION_OPENMETRICS, &err))
        fail_msg("%s", err.message);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
static const struct CMUnitTest tests[] = {
    CASE(only_the_webhooks_token_opens_alerts),
    CASE(a_rotated_token_counts_at_once),
    CASE(every_reason_to_dispatch_nothing_is_counted),
    CASE(the_breaker_is_shown_by_model),
    CASE(what_was_accepted_is_there_after_a_restart),
    CASE(a_person_asks_with_a_token_of_their_own),
    CASE(bad_bodies_are_400_and_large_ones_413),
    CASE(paths_and_methods_are_answered_as_they_should),
    CASE(metrics_are_openmetrics_when_asked_for),
};

T_MAIN(tests)
