/* A further artifact reaches the running program: by SIGHUP, by a swapped link that it notices itself,
 * and never when it is damaged; clients that ask all the while lose nothing. */
#include "tests/support/exposition_check.h"
#include "tests/support/http_client.h"
#include "tests/support/plane.h"
#include "tests/support/process.h"
#include "tests/support/t.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CLIENTS = 4, SWAPS = 20 };

struct running {
    struct process *process;
    unsigned http, metrics;
    char folder[512], path[700];
};

static const char *below(struct running *r, const char *name)
{
    (void)snprintf(r->path, sizeof r->path, "%s/%s", r->folder, name);
    return r->path;
}

static void start(struct running *r, const char *watch_interval)
{
    const char *const argv[] = {process_program("ridged"),
                                "--model_dir",
                                r->folder,
                                "--http_port=0",
                                "--metrics_port=0",
                                "--host=127.0.0.1",
                                "--drain_delay=0",
                                "--workers=2",
                                "--watch_interval",
                                watch_interval,
                                NULL};
    r->process = process_start(argv);
    process_expect(r->process, "\"event\":\"ready\"", 20);
    const char *ready = strstr(r->process->text, "\"event\":\"ready\"");
    r->http = process_number(ready, "http_port");
    r->metrics = process_number(ready, "metrics_port");
}

static void stop(struct running *r)
{
    process_signal(r->process, SIGTERM);
    assert_int_equal(process_wait(r->process, 30), 0);
    process_free(r->process);
    process_remove(r->folder);
}

static double metric(const struct running *r, const char *series)
{
    double value = -1;
    struct http_answer answer;
    http_client_request(r->metrics, "GET", "/metrics", NULL, NULL, 0, &answer);
    bool found = exposition_value(answer.body, answer.body_len, series, &value);
    http_answer_clear(&answer);
    return found ? value : -1;
}

static void expect_loaded(struct running *r, const char *version)
{
    char part[128];
    (void)snprintf(part, sizeof part,
                   "\"event\":\"model_loaded\",\"model\":\"plane\",\"version\":\"%s\"", version);
    process_expect(r->process, part, 20);
}

/* ---- clients ---- */

struct client {
    pthread_t thread;
    unsigned port;
    atomic_bool *done;
    unsigned answers, wrong;
};

/* Two rows in one request: both answers must be the same version's. */
static void *ask_on(void *arg)
{
    struct client *c = arg;
    struct http_client connection;
    static const char request[] =
        "POST /v1/models/plane:predict HTTP/1.1\r\nHost: t\r\n"
        "Content-Length: 27\r\n\r\n{\"instances\":[[0,0],[0,0]]}";
    http_client_open(&connection, c->port);
    while (!atomic_load(c->done)) {
        struct http_answer answer;
        double a = -1, b = -2;
        http_client_send(&connection, request, sizeof request - 1);
        if (!http_client_read(&connection, false, &answer)) {
            c->wrong++;
            break;
        }
        (void)sscanf(answer.body, "{\"predictions\":[%lf,%lf]}", &a, &b);
        c->wrong += answer.status != 200 || a != b;
        c->answers++;
        http_answer_clear(&answer);
    }
    http_client_close(&connection);
    return NULL;
}

static void a_hangup_replaces_the_model_under_load_and_loses_nothing(void **state)
{
    (void)state;
    struct running r;
    struct client clients[CLIENTS];
    atomic_bool done = false;
    char version[16];
    process_folder(r.folder, sizeof r.folder);
    plane_save(below(&r, "model.json"), "0", 0);
    start(&r, "0");
    for (size_t i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){.port = r.http, .done = &done};
        assert_int_equal(pthread_create(&clients[i].thread, NULL, ask_on, &clients[i]), 0);
    }
    for (int k = 1; k <= SWAPS; k++) {
        (void)snprintf(version, sizeof version, "%d", k);
        plane_save(below(&r, "model.json"), version, k);
        process_signal(r.process, SIGHUP);
        expect_loaded(&r, version);
    }
    atomic_store(&done, true);
    for (size_t i = 0; i < CLIENTS; i++) {
        assert_int_equal(pthread_join(clients[i].thread, NULL), 0);
        assert_true(clients[i].answers > 0);
        assert_int_equal(clients[i].wrong, 0);
    }
    assert_true(metric(&r, "model_reload_total{outcome=\"success\"}") == SWAPS);
    assert_true(metric(&r,
                       "model_mae_score{model_name=\"plane\",version=\"20\",user_id=\"\","
                       "namespace=\"\"}") > 0);
    assert_true(metric(&r,
                       "model_mae_score{model_name=\"plane\",version=\"19\",user_id=\"\","
                       "namespace=\"\"}") < 0);
    stop(&r);
}

static void a_swapped_link_is_noticed_without_a_signal(void **state)
{
    (void)state;
    struct running r;
    char from[700];
    process_folder(r.folder, sizeof r.folder);
    assert_int_equal(mkdir(below(&r, "..one"), 0755), 0);
    assert_int_equal(mkdir(below(&r, "..two"), 0755), 0);
    plane_save(below(&r, "..one/model.json"), "one", 1);
    plane_save(below(&r, "..two/model.json"), "two", 2);
    assert_int_equal(symlink("..one", below(&r, "..data")), 0);
    assert_int_equal(symlink("..data/model.json", below(&r, "model.json")), 0);
    /* as a read-only volume */
    assert_int_equal(chmod(below(&r, "..two"), 0555), 0);
    start(&r, "1");
    expect_loaded(&r, "one");
    assert_int_equal(symlink("..two", below(&r, "..data_tmp")), 0);
    (void)snprintf(from, sizeof from, "%s", below(&r, "..data_tmp"));
    assert_int_equal(rename(from, below(&r, "..data")), 0);
    expect_loaded(&r, "two");
    assert_int_equal(chmod(below(&r, "..two"), 0755), 0);
    stop(&r);
}

static void a_damaged_artifact_leaves_the_old_one_serving_and_is_told(void **state)
{
    (void)state;
    struct running r;
    struct http_answer answer;
    process_folder(r.folder, sizeof r.folder);
    plane_save(below(&r, "model.json"), "1", 5);
    start(&r, "0");
    assert_true(metric(&r, "model_reload_failed") == 0);
    FILE *out = fopen(below(&r, "model.json"), "a");
    assert_non_null(out);
    (void)fputs("tail\n", out);
    (void)fclose(out);
    process_signal(r.process, SIGHUP);
    process_expect(r.process, "\"event\":\"model_reload_failed\"", 20);
    assert_true(metric(&r, "model_reload_failed") == 1);
    assert_true(metric(&r, "model_reload_total{outcome=\"failure\"}") == 1);
    http_client_request(r.http, "POST", "/v1/models/plane:predict", NULL, "{\"instances\":[[0,0]]}",
                        21, &answer);
    assert_string_equal(answer.body, "{\"predictions\":[5.0]}");
    http_answer_clear(&answer);
    plane_save(below(&r, "model.json"), "2", 6);
    process_signal(r.process, SIGHUP);
    expect_loaded(&r, "2");
    assert_true(metric(&r, "model_reload_failed") == 0);
    stop(&r);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_hangup_replaces_the_model_under_load_and_loses_nothing),
    cmocka_unit_test(a_swapped_link_is_noticed_without_a_signal),
    cmocka_unit_test(a_damaged_artifact_leaves_the_old_one_serving_and_is_told),
};

T_MAIN(tests)
