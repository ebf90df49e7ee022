/* Four workers under everything at once: predictions, explanations, feedback, errors, bodies of a megabyte,
 * scrapes on both ports, reloads, and the end in the middle of it. What is asked is checked here; what runs
 * beside what, by ThreadSanitizer, under which this makes the program exit with a code of its own. */
#include "tests/support/http_client.h"
#include "tests/support/plane.h"
#include "tests/support/process.h"
#include "tests/support/t.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { KINDS = 8, RELOADS = 6, LARGE_ROWS = 60000 };

/* One kind of client: what it sends again and again, and what it must get. */
struct kind {
    const char *method, *path, *body;
    int status;
    bool observer; /* to the metrics port */
};

struct client {
    pthread_t thread;
    const struct kind *kind;
    unsigned port;
    atomic_bool *done;
    atomic_size_t answers;
    size_t wrong;
};

/* Asks until it is told to stop or the server closes. */
static void *ask_on(void *arg)
{
    struct client *c = arg;
    const struct kind *kind = c->kind;
    struct http_client connection;
    char head[256];
    size_t n = strlen(kind->body);
    (void)snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: t\r\nContent-Length: %zu\r\n\r\n",
                   kind->method, kind->path, n);
    http_client_open(&connection, c->port);
    for (bool last = false; !last && !atomic_load(c->done);) {
        struct http_answer answer = {0};
        if (!http_client_try_send(&connection, head, strlen(head)) ||
            !http_client_try_send(&connection, kind->body, n) ||
            !http_client_read(&connection, false, &answer))
            break;
        c->wrong += answer.status != kind->status;
        (void)atomic_fetch_add(&c->answers, 1);
        last = http_answer_header(&answer, "Connection") != NULL;
        http_answer_clear(&answer);
    }
    http_client_close(&connection);
    return NULL;
}

static char *large_body(void)
{
    char *body = malloc(32 + LARGE_ROWS * 8), *to = body;
    assert_non_null(body);
    to += sprintf(to, "{\"instances\":[");
    for (size_t i = 0; i < LARGE_ROWS; i++)
        to += sprintf(to, "[%zu,2],", i % 10);
    (void)sprintf(to - 1, "]}");
    return body;
}

static void reload(struct process *process, const char *path, int version)
{
    char text[16], part[96];
    (void)snprintf(text, sizeof text, "%d", version);
    plane_save(path, text, version);
    process_signal(process, SIGHUP);
    (void)snprintf(part, sizeof part,
                   "\"event\":\"model_loaded\",\"model\":\"plane\",\"version\":\"%d\"", version);
    process_expect(process, part, 60);
}

/* Until it has been answered under the last version. */
static void wait_for_answers(struct client *c)
{
    size_t enough = atomic_load(&c->answers) + 2;
    for (int i = 0; atomic_load(&c->answers) < enough; i++) {
        if (i > HTTP_CLIENT_MS)
            fail_msg("%s %s: no answer any more", c->kind->method, c->kind->path);
        (void)poll(NULL, 0, 1);
    }
}

static void four_workers_under_mixed_traffic_reloads_scrapes_and_the_end(void **state)
{
    (void)state;
    char folder[512], path[600], feedback[600];
    char *large = large_body();
    const struct kind kinds[KINDS] = {
        {"POST", "/v1/models/plane:predict", "{\"instances\":[[1,2],[3,4]]}", 200, false},
        {"POST", "/v1/models/plane:explain", "{\"instances\":[[1,2]]}", 200, false},
        {"POST", "/v1/models/plane:feedback", "{\"instances\":[[1,2]],\"targets\":[9]}", 200,
         false},
        {"POST", "/v1/models/plane:predict", "{\"instances\":[[1]]}", 400, false},
        {"POST", "/v1/models/plane:predict", large, 200, false},
        {"POST", "/v1/models/none:predict", "{}", 404, false},
        {"GET", "/metrics", "", 200, false},
        {"GET", "/metrics", "", 200, true}};
    struct client clients[KINDS * 2];
    atomic_bool done = false;
    process_folder(folder, sizeof folder);
    (void)snprintf(path, sizeof path, "%s/model.json", folder);
    (void)snprintf(feedback, sizeof feedback, "--feedback_dir=%s", folder);
    plane_save(path, "0", 0);
    const char *const argv[] = {
        process_program("ridged"), "--model_dir",       path,          "--http_port=0",
        "--metrics_port=0",        "--host=127.0.0.1",  "--workers=4", "--drain_delay=0",
        "--watch_interval=0",      "--access_log=true", feedback,      NULL};
    struct process *process = process_start(argv);
    process_expect(process, "\"event\":\"ready\"", 20);
    const char *ready = strstr(process->text, "\"event\":\"ready\"");
    unsigned http = process_number(ready, "http_port"),
             metrics = process_number(ready, "metrics_port");
    for (size_t i = 0; i < KINDS * 2; i++) {
        const struct kind *kind = &kinds[i % KINDS];
        clients[i] =
            (struct client){.kind = kind, .port = kind->observer ? metrics : http, .done = &done};
        assert_int_equal(pthread_create(&clients[i].thread, NULL, ask_on, &clients[i]), 0);
    }
    for (int version = 1; version <= RELOADS; version++)
        reload(process, path, version);
    for (size_t i = 0; i < KINDS * 2; i++)
        wait_for_answers(&clients[i]);
    process_signal(process, SIGTERM); /* at work, all of them */
    int code = process_wait(process, 60);
    atomic_store(&done, true);
    for (size_t i = 0; i < KINDS * 2; i++) {
        assert_int_equal(pthread_join(clients[i].thread, NULL), 0);
        assert_int_equal(clients[i].wrong, 0);
    }
    if (code != 0)
        fail_msg("exit code %d\n%s", code, process->text);
    process_free(process);
    process_remove(folder);
    free(large);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(four_workers_under_mixed_traffic_reloads_scrapes_and_the_end),
};

T_MAIN(tests)
