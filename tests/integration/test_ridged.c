/* The program as an operator meets it: started, probed, asked, scraped, told to stop, started wrong. */
#define _GNU_SOURCE /* setenv, strdup */
#include "tests/support/exposition_check.h"
#include "tests/support/http_client.h"
#include "tests/support/process.h"
#include "tests/support/t.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const model_path = "model/california-housing.json";
static const char *const row_body =
    "{\"instances\":[[8.3252,41.0,6.984,1.0238,322.0,2.5556,37.88,"
    "-122.23]]}";

struct running {
    struct process *process;
    unsigned http, metrics;
};

static struct running start(const char *const *extra)
{
    static char program[512];
    const char *argv[24] = {program,          "--model_dir",      model_path,
                            "--http_port=0",  "--metrics_port=0", "--host=127.0.0.1",
                            "--drain_delay=0"};
    size_t n = 7;
    (void)snprintf(program, sizeof program, "%s", process_program("ridged"));
    while (extra != NULL && *extra != NULL)
        argv[n++] = *extra++;
    struct running r = {process_start(argv), 0, 0};
    process_expect(r.process, "\"event\":\"ready\"", 20);
    const char *ready = strstr(r.process->text, "\"event\":\"ready\"");
    r.http = process_number(ready, "http_port");
    r.metrics = process_number(ready, "metrics_port");
    return r;
}

static void stop(struct running *r)
{
    process_signal(r->process, SIGTERM);
    assert_int_equal(process_wait(r->process, 30), 0);
    process_free(r->process);
}

/* Answers are reused: what the last one held is freed first. */
static void get(unsigned port, const char *path, struct http_answer *answer)
{
    http_answer_clear(answer);
    http_client_request(port, "GET", path, NULL, NULL, 0, answer);
}

static void predict(unsigned port, const char *body, struct http_answer *answer)
{
    http_answer_clear(answer);
    http_client_request(port, "POST", "/v1/models/california-housing:predict", NULL, body,
                        strlen(body), answer);
}

static void serves_and_stops_cleanly(void **state)
{
    (void)state;
    struct http_answer answer = {0};
    struct running r = start(NULL);
    get(r.http, "/", &answer);
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer.body, "{\"status\":\"alive\"}");
    get(r.http, "/readyz", &answer);
    assert_int_equal(answer.status, 200);
    predict(r.http, row_body, &answer);
    assert_int_equal(answer.status, 200);
    assert_contains(answer.body, "{\"predictions\":[");
    stop(&r);
    http_answer_clear(&answer);
}

/* The one row of the README, through the server and through the command line. */
static void predicts_the_same_bits_as_the_model_tool(void **state)
{
    (void)state;
    char folder[512], csv[600], output[4096], tool[512];
    struct http_answer answer = {0};
    process_folder(folder, sizeof folder);
    (void)snprintf(csv, sizeof csv, "%s/row.csv", folder);
    FILE *out = fopen(csv, "w");
    assert_non_null(out);
    (void)fputs(
        "MedInc,HouseAge,AveRooms,AveBedrms,Population,AveOccup,Latitude,Longitude\n"
        "8.3252,41.0,6.984,1.0238,322.0,2.5556,37.88,-122.23\n",
        out);
    (void)fclose(out);
    (void)snprintf(tool, sizeof tool, "%s", process_program("ridge"));
    const char *const argv[] = {tool, "predict", "--model", model_path, "--data", csv, NULL};
    assert_int_equal(process_run(argv, output, sizeof output), 0);
    char *last = strrchr(output, ',') + 1;
    last[strcspn(last, "\r\n")] = '\0';

    struct running r = start(NULL);
    predict(r.http, row_body, &answer);
    char expected[256];
    (void)snprintf(expected, sizeof expected, "{\"predictions\":[%s]}", last);
    assert_string_equal(answer.body, expected);
    stop(&r);
    process_remove(folder);
    http_answer_clear(&answer);
}

static void the_metrics_port_answers_nothing_else(void **state)
{
    (void)state;
    struct http_answer answer = {0};
    struct running r = start(NULL);
    get(r.metrics, "/healthz", &answer);
    assert_int_equal(answer.status, 200);
    get(r.metrics, "/readyz", &answer);
    assert_int_equal(answer.status, 200);
    get(r.metrics, "/metrics", &answer);
    assert_int_equal(answer.status, 200);
    predict(r.metrics, row_body, &answer);
    assert_int_equal(answer.status, 404);
    get(r.metrics, "/", &answer);
    assert_int_equal(answer.status, 404);
    get(r.metrics, "/v1/models", &answer);
    assert_int_equal(answer.status, 404);
    stop(&r);
    http_answer_clear(&answer);
}

static double metric(unsigned port, const char *series)
{
    double value = -1;
    struct http_answer answer = {0};
    struct error err = {0};
    get(port, "/metrics", &answer);
    assert_int_equal(answer.status, 200);
    if (!exposition_check(answer.body, answer.body_len, EXPOSITION_TEXT, &err))
        fail_msg("%s", err.message);
    if (!exposition_value(answer.body, answer.body_len, series, &value))
        fail_msg("expected %s in:\n%s", series, answer.body);
    http_answer_clear(&answer);
    return value;
}

#define LABELS                                                                                     \
    "model_name=\"california-housing\",version=\"1\",user_id=\"user07\",namespace=\"kubeflow-"     \
    "user07\""

static void counts_what_it_answers(void **state)
{
    (void)state;
    struct http_answer answer = {0};
    const char *const extra[] = {"--user_id=user07", "--namespace", "kubeflow-user07", NULL};
    struct running r = start(extra);
    for (unsigned port = r.http;; port = r.metrics) {
        assert_true(metric(port, "model_prediction_total{" LABELS ",status=\"success\"}") == 0);
        assert_true(metric(port, "model_prediction_total{" LABELS ",status=\"error\"}") == 0);
        assert_true(metric(port, "model_quality_live{" LABELS "}") == 0);
        assert_true(metric(port, "model_mae_score{" LABELS "}") > 0);
        if (port == r.metrics)
            break;
    }
    for (int i = 0; i < 3; i++)
        predict(r.http, row_body, &answer);
    predict(r.http, "{\"instances\":[[1,2]]}", &answer);
    assert_int_equal(answer.status, 400);
    assert_contains(answer.body, "instances[0]: expected 8 numbers, got 2");
    assert_true(metric(r.metrics, "model_prediction_total{" LABELS ",status=\"success\"}") == 3);
    assert_true(metric(r.metrics, "model_prediction_total{" LABELS ",status=\"error\"}") == 1);
    assert_true(metric(r.metrics, "model_prediction_rows_total{" LABELS "}") == 3);
    assert_true(metric(r.metrics, "model_prediction_latency_count{" LABELS "}") == 4);
    stop(&r);
    http_answer_clear(&answer);
}

/* The predict port speaks to KServe's aggregator, which forwards this header and reads text alone. */
static void only_the_metrics_port_speaks_openmetrics(void **state)
{
    (void)state;
    static const char accept[] =
        "Accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
        "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.3,"
        "*/*;q=0.2\r\n";
    struct http_answer answer = {0};
    struct error err = {0};
    struct running r = start(NULL);
    predict(r.http, row_body, &answer);
    for (int i = 0; i < 2; i++) {
        enum exposition_format format = i == 0 ? EXPOSITION_TEXT : EXPOSITION_OPENMETRICS;
        http_answer_clear(&answer);
        http_client_request(i == 0 ? r.http : r.metrics, "GET", "/metrics", accept, NULL, 0,
                            &answer);
        assert_string_equal(http_answer_header(&answer, "Content-Type"),
                            exposition_content_type(format));
        if (!exposition_check(answer.body, answer.body_len, format, &err))
            fail_msg("%s in:\n%s", err.message, answer.body);
    }
    http_answer_clear(&answer);
    stop(&r);
}

static void promtool_accepts_both_ports_during_traffic(void **state)
{
    (void)state;
    char folder[512], command[700], output[4096];
    struct http_answer answer = {0};
    if (access("/usr/bin/promtool", X_OK) != 0)
        t_skip("promtool is not installed");
    process_folder(folder, sizeof folder);
    struct running r = start(NULL);
    for (unsigned port = r.http;; port = r.metrics) {
        for (int i = 0; i < 20; i++)
            predict(r.http, row_body, &answer);
        get(port, "/metrics", &answer);
        (void)snprintf(command, sizeof command, "%s/page", folder);
        FILE *page = fopen(command, "w");
        assert_non_null(page);
        (void)fwrite(answer.body, 1, answer.body_len, page);
        (void)fclose(page);
        (void)snprintf(command, sizeof command, "promtool check metrics <%s/page", folder);
        const char *const argv[] = {"/bin/sh", "-c", command, NULL};
        int code = process_run(argv, output, sizeof output);
        if (code != 0)
            fail_msg("promtool: %d\n%s", code, output);
        if (port == r.metrics)
            break;
    }
    stop(&r);
    process_remove(folder);
    http_answer_clear(&answer);
}

/* Keeps asking on a fresh connection each time while the server is told to stop: whatever was accepted
 * is answered. */
static void finishes_what_is_in_flight_when_told_to_stop(void **state)
{
    (void)state;
    struct http_answer answer = {0};
    const char *const extra[] = {"--drain_delay=1", NULL};
    struct running r = start(extra);
    process_signal(r.process, SIGTERM);
    process_expect(r.process, "\"event\":\"draining\"", 10);
    get(r.metrics, "/readyz", &answer);
    assert_int_equal(answer.status, 503);
    get(r.http, "/v1/models/california-housing", &answer);
    assert_int_equal(answer.status, 503);
    predict(r.http, row_body, &answer);
    assert_int_equal(answer.status, 200);
    assert_non_null(http_answer_header(&answer, "Connection"));
    assert_string_equal(http_answer_header(&answer, "Connection"), "close");
    assert_int_equal(process_wait(r.process, 30), 0);
    process_free(r.process);
    http_answer_clear(&answer);
}

static void unknown_options_are_warned_of_and_skipped_with_their_values(void **state)
{
    (void)state;
    const char *const extra[] = {"--enable_docs_url", "true", "--predictor_host=x",
                                 "--http_port",       "0",    "--model_name=early",
                                 "--model_name",      "late", NULL};
    struct http_answer answer = {0};
    struct running r = start(extra);
    process_expect(r.process, "\"event\":\"unknown_option\",\"option\":\"--predictor_host\"", 10);
    get(r.http, "/v1/models", &answer);
    assert_string_equal(answer.body, "{\"models\":[\"late\"]}");
    stop(&r);
    http_answer_clear(&answer);
}

static void expect_failure(const char *const *argv, int code, const char *text)
{
    char output[8192];
    int got = process_run(argv, output, sizeof output);
    assert_contains(output, text);
    assert_int_equal(got, code);
}

static void a_wrong_start_ends_with_one_clear_line(void **state)
{
    (void)state;
    char folder[512], file[600], port[32], program[512];
    (void)snprintf(program, sizeof program, "%s", process_program("ridged"));
    process_folder(folder, sizeof folder);
    (void)snprintf(file, sizeof file, "%s/model.json", folder);
    const char *const missing[] = {program,         "--model_dir",      folder,
                                   "--http_port=0", "--metrics_port=0", NULL};
    expect_failure(missing, 1, "model.json");
    FILE *out = fopen(file, "w");
    assert_non_null(out);
    (void)fputs("{\"format\":1}\n", out);
    (void)fclose(out);
    expect_failure(missing, 1, "start_failed");

    struct running r = start(NULL);
    (void)snprintf(port, sizeof port, "--http_port=%u", r.http);
    const char *const busy[] = {
        program, "--model_dir", model_path, port, "--metrics_port=0", "--host=127.0.0.1", NULL};
    expect_failure(busy, 1, "in use");
    stop(&r);

    const char *const usage[] = {program, "--http_port=x", NULL};
    expect_failure(usage, 2, "--http_port: expected a whole number from 0 to 65535, got \"x\"");
    process_remove(folder);
}

static void help_and_version_exit_zero(void **state)
{
    (void)state;
    char program[512];
    (void)snprintf(program, sizeof program, "%s", process_program("ridged"));
    const char *const help[] = {program, "--help", NULL}, *const version[] = {program, "--version",
                                                                              NULL};
    expect_failure(help, 0, "--model_dir");
    expect_failure(help, 0, "[INFERENCE_SERVICE_NAME]");
    expect_failure(version, 0, "ridged ");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(serves_and_stops_cleanly),
    cmocka_unit_test(predicts_the_same_bits_as_the_model_tool),
    cmocka_unit_test(the_metrics_port_answers_nothing_else),
    cmocka_unit_test(counts_what_it_answers),
    cmocka_unit_test(only_the_metrics_port_speaks_openmetrics),
    cmocka_unit_test(promtool_accepts_both_ports_during_traffic),
    cmocka_unit_test(finishes_what_is_in_flight_when_told_to_stop),
    cmocka_unit_test(unknown_options_are_warned_of_and_skipped_with_their_values),
    cmocka_unit_test(a_wrong_start_ends_with_one_clear_line),
    cmocka_unit_test(help_and_version_exit_zero),
};

T_MAIN(tests)
