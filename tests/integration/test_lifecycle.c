/* The program in bad company: what it says when it cannot start, full disks, blocked logs, no descriptors,
 * and being told to stop at the worst moment. */
#define _GNU_SOURCE /* prlimit */
#include "tests/support/exposition_check.h"
#include "tests/support/http_client.h"
#include "tests/support/plane.h"
#include "tests/support/process.h"
#include "tests/support/t.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CLIENTS = 64, LINES = 20000 };

static const char predict[] =
    "POST /v1/models/plane:predict HTTP/1.1\r\nHost: t\r\nContent-Length: 21\r\n\r\n"
    "{\"instances\":[[1,2]]}";

/* A folder with an artifact, and the program that serves it. */
struct running {
    struct process *process;
    unsigned http, metrics;
    char folder[512], path[700], told[700];
};

static void make_folder(struct running *r)
{
    *r = (struct running){.process = NULL};
    process_folder(r->folder, sizeof r->folder);
    (void)snprintf(r->path, sizeof r->path, "%s/model.json", r->folder);
    (void)snprintf(r->told, sizeof r->told, "%s/told", r->folder);
    plane_save(r->path, "1", 1);
}

static void read_ports(struct running *r)
{
    process_expect(r->process, "\"event\":\"ready\"", 20);
    const char *ready = strstr(r->process->text, "\"event\":\"ready\"");
    r->http = process_number(ready, "http_port");
    r->metrics = process_number(ready, "metrics_port");
}

static void start(struct running *r, const char *first, const char *second)
{
    char program[600];
    make_folder(r);
    (void)snprintf(program, sizeof program, "%s", process_program("ridged"));
    const char *const argv[] = {
        program, "--model_dir", r->path, "--http_port=0", "--metrics_port=0", "--host=127.0.0.1",
        first,   second,        NULL};
    r->process = process_start(argv);
    read_ports(r);
}

static void stop(struct running *r)
{
    process_signal(r->process, SIGTERM);
    assert_int_equal(process_wait(r->process, 30), 0);
    process_free(r->process);
    process_remove(r->folder);
}

static void expect_answer(struct http_client *client, int status)
{
    struct http_answer answer;
    if (!http_client_read(client, false, &answer))
        fail_msg("closed without an answer");
    assert_int_equal(answer.status, status);
    http_answer_clear(&answer);
}

static void expect_usable(unsigned port)
{
    struct http_client client;
    http_client_open(&client, port);
    http_client_send_text(&client, predict);
    expect_answer(&client, 200);
    http_client_close(&client);
}

/* ---- starts that fail ---- */

static void write_text(const char *path, const char *text)
{
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    (void)fputs(text, out);
    assert_int_equal(fclose(out), 0);
}

static void read_text(const char *path, char *text, size_t capacity)
{
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    text[fread(text, 1, capacity - 1, in)] = '\0';
    (void)fclose(in);
}

/* One line on stderr that is an error and says `text`, the same text alone in the termination log, and the
 * exit code. The command is for the shell; $R is the program with its ports and its termination log. */
static void expect_refusal(struct running *r, const char *command, int code, const char *text)
{
    char script[4096], output[8192], told[1024], program[600];
    (void)snprintf(program, sizeof program, "%s", process_program("ridged"));
    write_text(r->told, "stale");
    (void)snprintf(
        script, sizeof script,
        "R='%s --termination_log=%s --host=127.0.0.1 --metrics_port=0 --http_port=0'; %s", program,
        r->told, command);
    const char *const argv[] = {"sh", "-c", script, NULL};
    int got = process_run(argv, output, sizeof output);
    read_text(r->told, told, sizeof told);
    assert_contains(output, text);
    assert_int_equal(got, code);
    assert_contains(told, text);
    assert_null(strchr(told, '\n'));
    assert_ptr_equal(strchr(output, '\n'), output + strlen(output) - 1); /* one line */
}

static void a_start_that_fails_says_why_in_one_line_and_where_kubernetes_looks(void **state)
{
    (void)state;
    struct running r;
    char command[2048];
    make_folder(&r);
    expect_refusal(&r, "$R --model_dir=/nowhere/at/all", 1, "/nowhere/at/all");
    expect_refusal(&r, "$R --http_port=x", 2, "--http_port: expected a whole number");
    (void)snprintf(command, sizeof command,
                   "echo '{\"format\":1}' >%s/bad.json; $R --model_dir=%s/bad.json", r.folder,
                   r.folder);
    expect_refusal(&r, command, 1, "bad.json: expected");
    (void)snprintf(command, sizeof command,
                   "head -c 700 %s >%s/cut.json; $R --model_dir=%s/cut.json", r.path, r.folder,
                   r.folder);
    expect_refusal(&r, command, 1, "cut.json: expected");
    (void)snprintf(command, sizeof command, "mkdir %s/empty; $R --model_dir=%s/empty", r.folder,
                   r.folder);
    expect_refusal(&r, command, 1, "empty");
    /* Root reads what it likes unless it gives that up. */
    (void)snprintf(command, sizeof command, "chmod 000 %s; %s $R --model_dir=%s", r.path,
                   geteuid() == 0 ? "setpriv --bounding-set=-dac_override,-dac_read_search" : "",
                   r.path);
    expect_refusal(&r, command, 1, "model.json: Permission denied");
    process_remove(r.folder);
}

static void a_busy_port_is_named_whichever_it_is(void **state)
{
    (void)state;
    struct running r, other;
    char command[1024], text[64];
    start(&r, "--drain_delay=0", NULL);
    make_folder(&other);
    (void)snprintf(command, sizeof command, "$R --model_dir=%s --http_port=%u", other.path, r.http);
    (void)snprintf(text, sizeof text, "port %u: Address already in use", r.http);
    /* By then the model has been loaded, which was worth a line. */
    char script[2048];
    (void)snprintf(script, sizeof script, "%s 2>&1 | grep -v model_loaded; exit 1", command);
    expect_refusal(&other, script, 1, text);
    (void)snprintf(command, sizeof command, "$R --model_dir=%s --metrics_port=%u", other.path,
                   r.metrics);
    (void)snprintf(text, sizeof text, "port %u: Address already in use", r.metrics);
    expect_refusal(&other, command, 1, text);
    process_remove(other.folder);
    stop(&r);
}

/* ---- logs ---- */

static void requests_go_on_while_nobody_reads_the_log_and_the_loss_is_told(void **state)
{
    (void)state;
    struct running r;
    struct http_client client;
    start(&r, "--access_log=true", "--drain_delay=0");
    http_client_open(&client, r.http);
    for (int i = 0; i < LINES / 10; i++) { /* far more than a pipe and the log's ring hold */
        for (int k = 0; k < 10; k++)
            http_client_send_text(&client, predict);
        for (int k = 0; k < 10; k++)
            expect_answer(&client, 200);
    }
    http_client_close(&client);
    process_expect(r.process, "\"event\":\"log_lines_dropped\"", 20);
    expect_usable(r.http);
    stop(&r);
}

static void a_blocked_log_does_not_hold_up_the_end(void **state)
{
    (void)state;
    struct running r;
    struct http_client client;
    int status = 0;
    start(&r, "--access_log=true", "--drain_delay=0");
    http_client_open(&client, r.http);
    for (int i = 0; i < LINES / 10; i++) {
        http_client_send_text(&client, predict);
        expect_answer(&client, 200);
    }
    http_client_close(&client);
    process_signal(r.process, SIGTERM);
    for (int i = 0; waitpid(r.process->pid, &status, WNOHANG) == 0;
         i++) { /* unread all the while */
        assert_true(i < 20000);
        (void)poll(NULL, 0, 1);
    }
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    r.process->pid = 0;
    process_free(r.process);
    process_remove(r.folder);
}

static bool is_listening(unsigned port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool connected = connect(fd, (struct sockaddr *)&to, sizeof to) == 0;
    (void)close(fd);
    return connected;
}

static void a_log_on_a_full_disk_costs_lines_and_nothing_else(void **state)
{
    (void)state;
    struct running r;
    char script[2048];
    make_folder(&r);
    r.http = http_client_free_port();
    (void)snprintf(script, sizeof script,
                   "exec %s --model_dir=%s --host=127.0.0.1 --http_port=%u --metrics_port=0 "
                   "--drain_delay=0 --access_log=true 2>/dev/full",
                   process_program("ridged"), r.path, r.http);
    const char *const argv[] = {"sh", "-c", script, NULL};
    r.process = process_start(argv);
    for (int i = 0; !is_listening(r.http); i++) {
        assert_true(i < 20000);
        (void)poll(NULL, 0, 1);
    }
    for (int i = 0; i < 100; i++)
        expect_usable(r.http);
    stop(&r);
}

/* ---- descriptors ---- */

/* The lowest descriptor that the program does not have: with it as the limit there are no new ones. */
static rlim_t first_free_descriptor(pid_t pid)
{
    char path[64], target[64];
    for (rlim_t n = 0;; n++) {
        (void)snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pid, (int)n);
        if (readlink(path, target, sizeof target) < 0)
            return n;
    }
}

static void set_descriptors(pid_t pid, rlim_t n)
{
    struct rlimit limit;
    assert_int_equal(prlimit(pid, RLIMIT_NOFILE, NULL, &limit), 0);
    limit.rlim_cur = n;
    assert_int_equal(prlimit(pid, RLIMIT_NOFILE, &limit, NULL), 0);
}

static void without_descriptors_clients_wait_and_are_served_when_there_are_some(void **state)
{
    (void)state;
    enum { WAITING = 8 };
    struct running r;
    struct http_client kept, waiting[WAITING];
    start(&r, "--workers=2", "--drain_delay=0");
    http_client_open(&kept, r.http);
    http_client_send_text(&kept, predict);
    expect_answer(&kept, 200);
    set_descriptors(r.process->pid, first_free_descriptor(r.process->pid));
    for (size_t i = 0; i < WAITING; i++) {
        http_client_open(&waiting[i], i % 2 ? r.http : r.metrics);
        http_client_send_text(&waiting[i],
                              i % 2 ? predict : "GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n");
    }
    for (int i = 0; i < 10; i++) { /* who is in already is served on */
        http_client_send_text(&kept, predict);
        expect_answer(&kept, 200);
    }
    struct pollfd fd = {.fd = waiting[0].fd, .events = POLLIN};
    assert_int_equal(poll(&fd, 1, 300), 0); /* three ticks: neither refused nor answered */
    set_descriptors(r.process->pid, 1000);
    for (size_t i = 0; i < WAITING; i++) {
        expect_answer(&waiting[i], 200);
        http_client_close(&waiting[i]);
    }
    http_client_close(&kept);
    stop(&r);
}

/* ---- the end ---- */

struct client {
    pthread_t thread;
    unsigned port;
    atomic_bool *away; /* no new connections: the endpoint has been taken off the list */
    size_t answers, failures;
};

/* Asks on, on connections that it keeps as long as it is let; a request that is not answered, or not rightly,
 * is a failure. */
static void *ask_on(void *arg)
{
    struct client *c = arg;
    bool first = true;
    while (first || !atomic_load(c->away)) {
        struct http_client connection;
        first = false;
        http_client_open(&connection, c->port);
        for (bool close = false; !close;) {
            struct http_answer answer = {0};
            bool ok = http_client_try_send(&connection, predict, sizeof predict - 1) &&
                      http_client_read(&connection, false, &answer);
            ok = ok && answer.status == 200 && strcmp(answer.body, "{\"predictions\":[9.0]}") == 0;
            c->answers += ok;
            c->failures += !ok;
            close = !ok || http_answer_header(&answer, "Connection") != NULL;
            http_answer_clear(&answer);
        }
        http_client_close(&connection);
    }
    return NULL;
}

#define SUCCESSES                                                                                  \
    "model_prediction_total{model_name=\"plane\",version=\"1\",user_id=\"\",namespace=\"\","       \
    "status=\"success\"}"

static void not_one_request_of_64_clients_fails_when_it_is_told_to_stop(void **state)
{
    (void)state;
    struct running r;
    struct client clients[CLIENTS];
    struct http_answer answer = {0};
    atomic_bool away = false;
    size_t answers = 0;
    start(&r, "--drain_delay=1", "--workers=2");
    for (size_t i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){.port = r.http, .away = &away};
        assert_int_equal(pthread_create(&clients[i].thread, NULL, ask_on, &clients[i]), 0);
    }
    double done = 0;
    while (done < CLIENTS * 50) { /* all of them are at it */
        http_answer_clear(&answer);
        http_client_request(r.metrics, "GET", "/metrics", NULL, NULL, 0, &answer);
        assert_true(exposition_value(answer.body, answer.body_len, SUCCESSES, &done));
    }
    process_signal(r.process, SIGTERM);
    do { /* what Kubernetes does when it sees a pod that is not ready */
        http_answer_clear(&answer);
        http_client_request(r.metrics, "GET", "/readyz", NULL, NULL, 0, &answer);
    } while (answer.status == 200);
    atomic_store(&away, true);
    http_answer_clear(&answer);
    for (size_t i = 0; i < CLIENTS; i++) {
        assert_int_equal(pthread_join(clients[i].thread, NULL), 0);
        assert_int_equal(clients[i].failures, 0);
        assert_true(clients[i].answers > 0);
        answers += clients[i].answers;
    }
    print_message("           %zu answers\n", answers);
    assert_int_equal(process_wait(r.process, 30), 0);
    assert_contains(r.process->text, "\"event\":\"drained\"");
    process_free(r.process);
    process_remove(r.folder);
}

/* The first process ignores signals that it does not wait for, and inherits orphans. */
static void it_stops_when_it_is_the_first_process(void **state)
{
    (void)state;
    struct running r;
    char program[600], path[128];
    int child = 0;
    if (geteuid() != 0)
        t_skip("a process namespace needs root");
    make_folder(&r);
    (void)snprintf(program, sizeof program, "%s", process_program("ridged"));
    const char *const argv[] = {
        "unshare", "--pid",         "--fork",           program,           "--model_dir",
        r.path,    "--http_port=0", "--metrics_port=0", "--drain_delay=0", "--host=127.0.0.1",
        NULL};
    r.process = process_start(argv);
    read_ports(&r);
    expect_usable(r.http);
    (void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)r.process->pid,
                   (int)r.process->pid);
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    assert_int_equal(fscanf(in, "%d", &child), 1);
    (void)fclose(in);
    assert_int_equal(kill(child, SIGTERM), 0);
    assert_int_equal(process_wait(r.process, 30), 0);
    process_free(r.process);
    process_remove(r.folder);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_start_that_fails_says_why_in_one_line_and_where_kubernetes_looks),
    cmocka_unit_test(a_busy_port_is_named_whichever_it_is),
    cmocka_unit_test(requests_go_on_while_nobody_reads_the_log_and_the_loss_is_told),
    cmocka_unit_test(a_blocked_log_does_not_hold_up_the_end),
    cmocka_unit_test(a_log_on_a_full_disk_costs_lines_and_nothing_else),
    cmocka_unit_test(without_descriptors_clients_wait_and_are_served_when_there_are_some),
    cmocka_unit_test(not_one_request_of_64_clients_fails_when_it_is_told_to_stop),
    cmocka_unit_test(it_stops_when_it_is_the_first_process),
};

T_MAIN(tests)
