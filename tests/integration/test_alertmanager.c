/* A real Alertmanager (ALERTMANAGER names another) with the committed configuration, its durations 300 times
 * shorter, before a real ridge-relay: what is dispatched, who is told, what is muted. */
#define _GNU_SOURCE /* poll with no descriptors */
#include "tests/support/http_client.h"
#include "tests/support/relay_bench.h"
#include "tests/support/t.h"

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define POST_START "POST /repos/octo-org/octo-repo/actions/workflows/retrain-model.yaml/dispatches"

static struct relay_bench bench;
static struct process *alertmanager;
static unsigned port;

static const char *program(void)
{
    const char *named = getenv("ALERTMANAGER");
    return named != NULL ? named : "/usr/bin/prometheus-alertmanager";
}

/* k8s/monitoring with short durations and local addresses, into the bench's folder. The mock stands for
 * people too: it keeps what it is sent. */
static void rewrite_config(void)
{
    char relay[96], pager[96], chat[96], token[700], text[8192];
    unsigned mock = mock_github_port(bench.mock);
    (void)snprintf(relay, sizeof relay, "ridge-relay.monitoring.svc:9099=127.0.0.1:%u", bench.port);
    (void)snprintf(pager, sizeof pager, "pager.monitoring.svc:8080=127.0.0.1:%u", mock);
    (void)snprintf(chat, sizeof chat, "chat.monitoring.svc:8080=127.0.0.1:%u", mock);
    (void)snprintf(token, sizeof token, "/etc/alertmanager/secrets/relay-token=%s", bench.webhook);
    const char *const argv[] = {"python3",
                                "tests/stack/rewrite.py",
                                "k8s/monitoring",
                                bench.folder,
                                "--scale",
                                "300",
                                "--replace",
                                relay,
                                "--replace",
                                pager,
                                "--replace",
                                chat,
                                "--replace",
                                token,
                                NULL};
    if (process_run(argv, text, sizeof text) != 0)
        fail_msg("%s", text);
}

static void start_alertmanager(void)
{
    char config[700], storage[700], listen[64];
    port = http_client_free_port();
    (void)snprintf(config, sizeof config, "--config.file=%s/alertmanager.yml", bench.folder);
    (void)snprintf(storage, sizeof storage, "--storage.path=%s/alertmanager", bench.folder);
    (void)snprintf(listen, sizeof listen, "--web.listen-address=127.0.0.1:%u", port);
    const char *const argv[] = {
        program(), config, storage, listen, "--cluster.listen-address=", NULL};
    alertmanager = process_start(argv);
    process_expect(alertmanager, "Listening on", 30);
}

/* One alert of user01's model, as Prometheus posts it. Without a start it starts now, so that the group
 * waits: one that is old already is sent at once, before it could be muted. */
static size_t put_alert(char *out, size_t room, const char *labels, bool over)
{
    char ends[64] = "";
    struct tm utc;
    time_t now = time(NULL);
    assert_non_null(gmtime_r(&now, &utc));
    if (over)
        assert_true(strftime(ends, sizeof ends, ",\"endsAt\":\"%Y-%m-%dT%H:%M:%SZ\"", &utc) > 0);
    return (size_t)snprintf(
        out, room,
        "{\"labels\":{%s,\"user_id\":\"user01\",\"namespace\":\"kubeflow-user01\",\"model_name\":"
        "\"california-housing\"},\"annotations\":{\"mae\":\"0.5400\",\"r2\":\"0.6000\"}%s}",
        labels, ends);
}

static void post_alerts(bool over)
{
    static const char *const labels[] = {
        "\"alertname\":\"ModelDriftDetected\",\"action\":\"retrain\",\"reason\":\"mae\"",
        "\"alertname\":\"ModelDriftDetected\",\"action\":\"retrain\",\"reason\":\"r2\"",
        "\"alertname\":\"SevereModelDrift\",\"severity\":\"critical\",\"reason\":\"mae\"",
        "\"alertname\":\"ModelFeatureDrift\",\"severity\":\"warning\",\"feature\":\"MedInc\"",
        "\"alertname\":\"ModelLatencyHigh\",\"severity\":\"warning\""};
    char body[4096] = "[";
    size_t n = 1;
    struct http_answer answer;
    for (size_t i = 0; i < sizeof labels / sizeof *labels; i++) {
        n += put_alert(body + n, sizeof body - n, labels[i], over);
        body[n++] = i + 1 < sizeof labels / sizeof *labels ? ',' : ']';
    }
    http_client_request(port, "POST", "/api/v2/alerts", "Content-Type: application/json\r\n", body,
                        n, &answer);
    if (answer.status != 200)
        fail_msg("%d: %s", answer.status, answer.body);
    http_answer_clear(&answer);
}

static void wait_until_inhibited(const char *alertname)
{
    char path[256], *state = NULL;
    (void)snprintf(path, sizeof path, "/api/v2/alerts?filter=alertname%%3D%%22%s%%22", alertname);
    for (int i = 0; i < 2000 && state == NULL; i++) {
        struct http_answer answer;
        http_client_request(port, "GET", path, NULL, NULL, 0, &answer);
        assert_int_equal(answer.status, 200);
        state = strstr(answer.body, "\"state\":\"suppressed\"");
        http_answer_clear(&answer);
        (void)poll(NULL, 0, 5);
    }
    assert_non_null(state);
}

static void drift_is_dispatched_once_and_severe_drift_pages(void **state)
{
    (void)state;
    if (access(program(), X_OK) != 0)
        t_skip("prometheus-alertmanager is not installed");
    relay_bench_open(&bench, (const int[]){MOCK_ACCEPT, -1});
    relay_bench_start(&bench, (const char *const[]){process_program("ridge-relay"), NULL}, NULL);
    rewrite_config();
    start_alertmanager();
    post_alerts(false);
    mock_github_wait(bench.mock, POST_START, 1);
    mock_github_wait(bench.mock, "POST /page", 1);
    mock_github_wait(bench.mock, "POST /message", 1);
    wait_until_inhibited("ModelFeatureDrift");
    assert_contains(mock_github_request(bench.mock, "POST /page", 0).body, "SevereModelDrift");
    assert_contains(mock_github_request(bench.mock, POST_START, 0).body,
                    "\"drift_score\":\"0.2000\"");
    relay_bench_expect(&bench, "relay_run_conclusion_total{conclusion=\"success\"}", 1);
    for (size_t i = mock_github_count(bench.mock, "POST /message"); i-- > 0;)
        assert_null(strstr(mock_github_request(bench.mock, "POST /message", i).body,
                           "ModelFeatureDrift\""));

    post_alerts(true);
    relay_bench_expect(&bench, "relay_recoveries_total", 1);
    assert_int_equal(mock_github_count(bench.mock, POST_START), 1);
    assert_close(relay_bench_metric(&bench, "relay_suppressed_total{reason=\"action\"}"), 0, 0);

    process_signal(alertmanager, SIGTERM);
    assert_int_equal(process_wait(alertmanager, 30), 0);
    process_free(alertmanager);
    relay_bench_end(&bench);
    relay_bench_close(&bench);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(drift_is_dispatched_once_and_severe_drift_pages),
};

T_MAIN(tests)
