/* Kills ridge-relay at every point where a crash could matter, starts it again, and counts dispatches.
 *
 * The program under test is this one: started with --relay N it becomes a relay that kills itself at the
 * N-th point its probe passes (before and after each write and sync of the journal, each step of rewriting
 * it, each request to GitHub), and prints the point. What the kernel had not been told to sync is taken
 * away by the parent, half a line of it.
 */
#define _GNU_SOURCE /* poll with no descriptors */
#include "server/relay/relay.h"
#include "tests/support/exposition_check.h"
#include "tests/support/http_client.h"
#include "tests/support/relay_bench.h"
#include "tests/support/t.h"

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POST_START  "POST /repos/octo-org/octo-repo/actions/workflows/retrain-model.yaml/dispatches"
#define SCRIPT(...) ((const int[]){__VA_ARGS__, -1})

/* ---- the child ---- */

struct fuse {
    atomic_uint left; /* points to pass; 0: never */
};

static void burn(void *ctx, const char *point)
{
    struct fuse *fuse = ctx;
    if (atomic_load(&fuse->left) == 0 || atomic_fetch_sub(&fuse->left, 1) != 1)
        return;
    dprintf(STDOUT_FILENO, "killed at %s\n", point);
    (void)raise(SIGKILL);
}

static int run_relay(unsigned points, int argc, char **argv)
{
    static const struct relay_build build = {"0", "test"};
    struct fuse fuse = {points};
    const struct relay_probe probe = {burn, &fuse};
    struct relay_config config;
    struct error err = {0};
    sigset_t signals;
    int got;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &signals, NULL);
    if (!relay_config_read(&config, argc, argv, &err)) {
        dprintf(STDOUT_FILENO, "%s\n", err.message);
        return 2;
    }
    struct log *log = log_start(STDERR_FILENO, config.log_level, &err);
    struct relay *relay = log == NULL ? NULL : relay_start(&config, &build, log, &probe, &err);
    if (relay == NULL) {
        dprintf(STDOUT_FILENO, "%s\n", err.message);
        log_stop(log);
        return 1;
    }
    log_event(log, LOG_INFO, "ready", LOG_NUMBER("http_port", relay_port(relay)));
    (void)sigwait(&signals, &got);
    relay_stop(relay);
    log_stop(log);
    return 0;
}

/* ---- the parent ---- */

static struct relay_bench bench;

static void start_child(unsigned points)
{
    char count[16];
    static const char *const more[] = {"--journal_rewrite_bytes=1500", "--poll_interval=0.01",
                                       "--retry_delay=0.01", "--list_delay=0.01", NULL};
    (void)snprintf(count, sizeof count, "%u", points);
    const char *const program[] = {"/proc/self/exe", "--relay", count, NULL};
    relay_bench_spawn(&bench, program, more);
}

/* One request to a program that may die of it: false when no answer came back. */
static bool try_request(const char *head, const char *body, struct http_answer *answer)
{
    struct http_client client;
    if (!http_client_try_open(&client, bench.port))
        return false;
    bool told = http_client_try_send(&client, head, strlen(head)) &&
                http_client_try_send(&client, body, strlen(body)) &&
                http_client_read(&client, false, answer);
    http_client_close(&client);
    return told;
}

/* Sends an alert as Alertmanager does: false when no 2xx came back. */
static bool try_alert(const char *status)
{
    char body[1024], head[512];
    struct http_answer answer;
    (void)relay_bench_body(body, sizeof body, status, "user01");
    (void)snprintf(head, sizeof head,
                   "POST /alerts HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer webhook-secret\r\n"
                   "Content-Length: %zu\r\n\r\n",
                   strlen(body));
    if (!try_request(head, body, &answer))
        return false;
    assert_int_equal(answer.status, 202);
    http_answer_clear(&answer);
    return true;
}

/* Waits until no dispatch and no run is pending; false when the program died. */
static bool lives_to_settle(void)
{
    struct http_answer answer;
    for (int i = 0; i < 4000; i++) {
        double queued = -1, running = -1;
        if (!try_request("GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n", "", &answer))
            return false;
        bool told =
            exposition_value(answer.body, answer.body_len, "relay_queue_depth", &queued) &&
            exposition_value(answer.body, answer.body_len, "relay_runs_in_flight", &running);
        http_answer_clear(&answer);
        assert_true(told);
        if (queued + running == 0)
            return true;
        (void)poll(NULL, 0, 5);
    }
    fail_msg("never settles:\n%s", bench.relay->text);
    return false;
}

/* Waits until the program has printed `part` or is dead; true when it lives. */
static bool lives_until(const char *part)
{
    while (strstr(bench.relay->text, part) == NULL) {
        struct pollfd fd = {.fd = bench.relay->out, .events = POLLIN};
        assert_int_equal(poll(&fd, 1, 20000), 1);
        size_t room = sizeof bench.relay->text - 1 - bench.relay->n;
        ssize_t n = read(bench.relay->out, bench.relay->text + bench.relay->n, room);
        if (n <= 0)
            return false;
        bench.relay->n += (size_t)n;
    }
    return true;
}

/* What was written but not synced may be lost in part. */
static void lose_half_a_line(void)
{
    static char text[1 << 20];
    FILE *in = fopen(bench.journal, "rb");
    assert_non_null(in);
    size_t n = fread(text, 1, sizeof text, in), start = n - 1;
    (void)fclose(in);
    while (start > 0 && text[start - 1] != '\n')
        start--;
    assert_int_equal(truncate(bench.journal, (off_t)(start + (n - start) / 2)), 0);
}

/* The killed program's last word; it must have been killed by itself. */
static void bury(void)
{
    assert_int_equal(process_wait(bench.relay, 20), 128 + SIGKILL);
    assert_contains(bench.relay->text, "killed at ");
    if (strstr(bench.relay->text, "killed at written") != NULL)
        lose_half_a_line();
}

/* From an alert to its run's end, and the alert's end, killed at the n-th point. True: it was. */
static bool go_through(unsigned n)
{
    bool killed = false, accepted = false;
    for (unsigned attempt = 0;; attempt++) {
        start_child(attempt == 0 ? n : 0);
        bool lives = lives_until("\"event\":\"ready\"");
        if (lives) {
            relay_bench_ready(&bench);
            accepted = accepted || try_alert("firing");
            lives = accepted && lives_to_settle() && try_alert("resolved");
        }
        if (lives)
            break;
        assert_int_equal(attempt, 0);
        bury();
        killed = true;
    }
    relay_bench_end(&bench);
    return killed;
}

/* All dispatches bear one id. */
static void assert_one_id(void)
{
    char id[40] = "";
    size_t n = mock_github_count(bench.mock, POST_START);
    assert_true(n >= 1);
    for (size_t i = 0; i < n; i++) {
        struct mock_request request = mock_github_request(bench.mock, POST_START, i);
        const char *at = strstr(request.body, "\"correlation_id\":\"");
        assert_non_null(at);
        if (*id == '\0')
            (void)snprintf(id, sizeof id, "%.*s", 32, at + strlen("\"correlation_id\":\""));
        assert_contains(at, id);
    }
}

/* At every point, or every `stride`-th (a journal line has three, so no multiple of that); at most `most`
 * runs may start. */
static void kill_everywhere(const int *script, unsigned stride, unsigned list_late, size_t most)
{
    bool killed = true;
    unsigned n = 1;
    for (; killed; n += stride) {
        relay_bench_open(&bench, script);
        mock_github_list_late(bench.mock, list_late);
        killed = go_through(n);
        assert_one_id();
        size_t runs = mock_github_runs(bench.mock, NULL);
        if (runs < 1 || runs > most)
            fail_msg("killed at point %u: %zu runs", n, runs);
        relay_bench_close(&bench);
    }
    assert_true(n > 15); /* or there is no probe */
}

static void one_run_starts_wherever_the_relay_is_killed(void **state)
{
    (void)state;
    kill_everywhere(SCRIPT(MOCK_ACCEPT), 1, 0, 1);
}

static void one_run_starts_when_github_accepts_in_silence_besides(void **state)
{
    (void)state;
    kill_everywhere(SCRIPT(MOCK_ACCEPT_THEN_500, MOCK_ACCEPT), 2, 0, 1);
}

static void one_run_starts_when_github_fails_besides(void **state)
{
    (void)state;
    kill_everywhere(SCRIPT(MOCK_500, MOCK_ACCEPT), 4, 0, 1);
}

/* Where GitHub's list is later than the relay believes, a run may start twice, with one id, of which the
 * workflow ends the later; none is lost. */
static void a_late_list_may_double_a_run_but_not_its_id(void **state)
{
    (void)state;
    kill_everywhere(SCRIPT(MOCK_ACCEPT), 4, 1, 2);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(one_run_starts_wherever_the_relay_is_killed),
    cmocka_unit_test(one_run_starts_when_github_accepts_in_silence_besides),
    cmocka_unit_test(one_run_starts_when_github_fails_besides),
    cmocka_unit_test(a_late_list_may_double_a_run_but_not_its_id),
};

int main(int argc, char **argv)
{
    if (argc > 2 && strcmp(argv[1], "--relay") == 0)
        return run_relay((unsigned)strtoul(argv[2], NULL, 10), argc - 2, argv + 2);
    t_filter();
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
