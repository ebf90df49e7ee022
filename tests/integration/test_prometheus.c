/* A real Prometheus scrapes a real ridged: the contract's labels arrive and the rate is above zero. */
#define _GNU_SOURCE /* poll with no descriptors */
#include "tests/support/http_client.h"
#include "tests/support/process.h"
#include "tests/support/t.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static const char *const body =
    "{\"instances\":[[8.3252,41.0,6.984,1.0238,322.0,2.5556,37.88,-122.23]]}";

static void write_config(const char *path, unsigned port)
{
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    (void)fprintf(out,
                  "global: {scrape_interval: 1s}\n"
                  "scrape_configs:\n"
                  "  - job_name: ridged\n"
                  "    static_configs: [{targets: ['127.0.0.1:%u']}]\n",
                  port);
    (void)fclose(out);
}

static unsigned free_port(void)
{
    return http_client_free_port();
}

static void prometheus_sees_the_rate_with_the_four_labels(void **state)
{
    (void)state;
    char folder[512], config[600], storage[600], listen[64], path[1024];
    struct http_answer answer = {0};
    if (access("/usr/bin/prometheus", X_OK) != 0)
        t_skip("prometheus is not installed");
    process_folder(folder, sizeof folder);
    const char *const ridged_argv[] = {process_program("ridged"),
                                       "--model_dir=model/california-housing.json",
                                       "--host=127.0.0.1",
                                       "--http_port=0",
                                       "--metrics_port=0",
                                       "--user_id=user01",
                                       "--namespace=kubeflow-user01",
                                       "--drain_delay=0",
                                       NULL};
    struct process *ridged = process_start(ridged_argv);
    process_expect(ridged, "\"event\":\"ready\"", 20);
    const char *ready = strstr(ridged->text, "\"event\":\"ready\"");
    unsigned http = process_number(ready, "http_port"), port = free_port();

    (void)snprintf(config, sizeof config, "--config.file=%s/prometheus.yml", folder);
    (void)snprintf(storage, sizeof storage, "--storage.tsdb.path=%s/data", folder);
    (void)snprintf(listen, sizeof listen, "--web.listen-address=127.0.0.1:%u", port);
    write_config(config + strlen("--config.file="), process_number(ready, "metrics_port"));
    const char *const argv[] = {"/usr/bin/prometheus", config, storage, listen, NULL};
    struct process *prometheus = process_start(argv);
    process_expect(prometheus, "Server is ready", 60);

    /* Two scrapes with growth between them are needed; ask until they are there. */
    (void)snprintf(
        path, sizeof path,
        "/api/v1/"
        "query?query=rate(model_prediction_total%%7Bmodel_name%%3D%%22california-housing%%22,"
        "version%%3D%%221%%22,user_id%%3D%%22user01%%22,namespace%%3D%%22kubeflow-user01%%22,"
        "status%%3D%%22success%%22%%7D[1m])%%3E0");
    bool seen = false;
    for (int i = 0; i < 300 && !seen; i++) {
        http_client_request(http, "POST", "/v1/models/california-housing:predict", NULL, body,
                            strlen(body), &answer);
        assert_int_equal(answer.status, 200);
        http_answer_clear(&answer);
        http_client_request(port, "GET", path, NULL, NULL, 0, &answer);
        seen = answer.status == 200 && strstr(answer.body, "\"metric\":{") != NULL;
        if (!seen)
            http_answer_clear(&answer);
        (void)poll(NULL, 0, 100);
    }
    assert_true(seen);
    assert_contains(answer.body, "\"user_id\":\"user01\"");
    assert_contains(answer.body, "\"namespace\":\"kubeflow-user01\"");
    assert_contains(answer.body, "\"model_name\":\"california-housing\"");
    assert_contains(answer.body, "\"version\":\"1\"");
    http_answer_clear(&answer);
    http_client_request(port, "GET", "/api/v1/targets?state=active", NULL, NULL, 0, &answer);
    assert_contains(answer.body, "\"health\":\"up\"");
    assert_contains(answer.body, "\"lastError\":\"\"");
    http_answer_clear(&answer);

    process_signal(prometheus, SIGTERM);
    assert_int_equal(process_wait(prometheus, 30), 0);
    process_free(prometheus);
    process_signal(ridged, SIGTERM);
    assert_int_equal(process_wait(ridged, 30), 0);
    process_free(ridged);
    process_remove(folder);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(prometheus_sees_the_rate_with_the_four_labels),
};

T_MAIN(tests)
