/* Whatever clients send, and however they read, the program's memory stays within its budget and a constant:
 * the binary as it is, asked by /proc how much it has ever had. Not under sanitizers, which have memory of
 * their own. */
#include "tests/support/http_client.h"
#include "tests/support/process.h"
#include "tests/support/t.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    MB = 1 << 20,
    BUDGET = 48 * MB,
    BODY_MAX = 16 * MB,
    /* The program at rest, two workers' buffers, arenas and malloc's own: README says 32 MB. */
    CONSTANT = 32 * MB,
    CLIENTS = 24,
    PIECE = 64 * 1024,
};

struct running {
    struct process *process;
    unsigned http, metrics;
};

static struct running start(void)
{
    const char *const argv[] = {process_program("ridged"),
                                "--model_dir=model/california-housing.json",
                                "--http_port=0",
                                "--metrics_port=0",
                                "--host=127.0.0.1",
                                "--drain_delay=0",
                                "--workers=2",
                                "--request_timeout=60",
                                "--memory_budget_bytes=50331648",
                                "--max_body_bytes=16777216",
                                NULL};
    struct running r = {process_start(argv), 0, 0};
    process_expect(r.process, "\"event\":\"ready\"", 20);
    const char *ready = strstr(r.process->text, "\"event\":\"ready\"");
    r.http = process_number(ready, "http_port");
    r.metrics = process_number(ready, "metrics_port");
    return r;
}

/* Most memory the program has ever had resident, in bytes. */
static size_t peak_bytes(const struct running *r)
{
    char path[64], line[256];
    size_t kilobytes = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)r->process->pid);
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    while (kilobytes == 0 && fgets(line, sizeof line, in) != NULL)
        (void)sscanf(line, "VmHWM: %zu kB", &kilobytes);
    (void)fclose(in);
    assert_true(kilobytes > 0);
    return kilobytes * 1024;
}

static const char row[] = "{\"instances\":[[8.3252,41.0,6.984,1.0238,322.0,2.5556,37.88,-122.23]]}";

/* The others are served all the while, on both ports. */
static void expect_usable(const struct running *r)
{
    struct http_answer answer;
    http_client_request(r->http, "POST", "/v1/models/california-housing:predict", NULL, row,
                        sizeof row - 1, &answer);
    assert_int_equal(answer.status, 200);
    http_answer_clear(&answer);
    http_client_request(r->metrics, "GET", "/metrics", NULL, NULL, 0, &answer);
    assert_int_equal(answer.status, 200);
    http_answer_clear(&answer);
}

static void stop(struct running *r)
{
    expect_usable(r);
    size_t peak = peak_bytes(r);
    if (peak > BUDGET + CONSTANT)
        fail_msg("expected at most %d MB resident, got %zu MB", (BUDGET + CONSTANT) / MB,
                 peak / MB);
    print_message("           peak %zu MB, budget %d MB\n", peak / MB, BUDGET / MB);
    process_signal(r->process, SIGTERM);
    assert_int_equal(process_wait(r->process, 60), 0);
    process_free(r->process);
}

/* ---- uploads ---- */

/* A body of `bytes`: head, pattern again and again, tail. */
struct upload {
    unsigned port;
    size_t bytes;
    const char *head, *pattern, *tail;
    bool chunked;
    int status; /* of the answer, 0: none */
    pthread_t thread;
};

static bool is_answered(const struct http_client *client)
{
    struct pollfd fd = {.fd = client->fd, .events = POLLIN};
    return poll(&fd, 1, 0) != 0;
}

/* Sends until everything is sent or an answer is there. */
static bool send_body(struct http_client *client, const struct upload *u)
{
    char piece[PIECE + 64], frame[32];
    size_t head = strlen(u->head), tail = strlen(u->tail), n = strlen(u->pattern), fill = 0;
    while (fill + n <= PIECE) {
        memcpy(piece + fill, u->pattern, n);
        fill += n;
    }
    size_t pieces = (u->bytes - head - tail) / fill;
    for (size_t i = 0; i < pieces + 2 && !is_answered(client); i++) {
        const char *text = i == 0 ? u->head : i <= pieces ? piece : u->tail;
        size_t bytes = i == 0 ? head : i <= pieces ? fill : tail;
        (void)snprintf(frame, sizeof frame, "%zx\r\n", bytes);
        if (bytes > 0 && ((u->chunked && !http_client_try_send(client, frame, strlen(frame))) ||
                          !http_client_try_send(client, text, bytes) ||
                          (u->chunked && !http_client_try_send(client, "\r\n", 2))))
            return false;
    }
    return !u->chunked || is_answered(client) || http_client_try_send(client, "0\r\n\r\n", 5);
}

static void *run_upload(void *arg)
{
    struct upload *u = arg;
    struct http_client client;
    struct http_answer answer = {0};
    char head[256], framing[64];
    size_t fill = PIECE / strlen(u->pattern) * strlen(u->pattern);
    size_t ends = strlen(u->head) + strlen(u->tail),
           length = ends + (u->bytes - ends) / fill * fill;
    (void)snprintf(framing, sizeof framing,
                   u->chunked ? "Transfer-Encoding: chunked" : "Content-Length: %zu", length);
    (void)snprintf(head, sizeof head,
                   "POST /v1/models/california-housing:predict HTTP/1.1\r\nHost: t\r\n%s\r\n\r\n",
                   framing);
    http_client_open(&client, u->port);
    if (http_client_try_send(&client, head, strlen(head)) && send_body(&client, u) &&
        http_client_read(&client, false, &answer))
        u->status = answer.status;
    http_answer_clear(&answer);
    http_client_close(&client);
    return NULL;
}

static int upload(struct upload u)
{
    (void)run_upload(&u);
    return u.status;
}

static const struct upload brackets = {.head = "{\"instances\":", .pattern = "[", .tail = ""};
/* Rows of one-digit numbers: the most numbers for the bytes, and more rows than are allowed. */
static const struct upload digits = {
    .head = "{\"instances\":[", .pattern = "[1,2,3,4,5,6,7,8],", .tail = "[1,2,3,4,5,6,7,8]]}"};
/* The same as far as it goes into one row, which the fast path reads before it declines. */
static const struct upload one_row = {.head = "{\"instances\":[[", .pattern = "1,", .tail = "1]]}"};

static struct upload with(struct upload u, const struct running *r, size_t bytes, bool chunked)
{
    u.port = r->http;
    u.bytes = bytes;
    u.chunked = chunked;
    return u;
}

static void a_hundred_megabytes_are_refused_before_they_are_held(void **state)
{
    (void)state;
    struct running r = start();
    const struct upload *const kinds[] = {&brackets, &digits, &one_row};
    for (size_t i = 0; i < 3; i++)
        for (int chunked = 0; chunked < 2; chunked++)
            assert_int_equal(upload(with(*kinds[i], &r, 100 * MB, chunked)), 413);
    stop(&r);
}

static void a_body_within_the_limits_is_read_within_the_budget(void **state)
{
    (void)state;
    struct running r = start();
    for (int chunked = 0; chunked < 2; chunked++) {
        assert_int_equal(upload(with(digits, &r, 1000000, chunked)), 200);
        assert_int_equal(upload(with(brackets, &r, 3 * MB, chunked)), 413); /* too deep */
        assert_int_equal(upload(with(one_row, &r, 3 * MB, chunked)), 400);
        /* As bytes it would do; what it takes in work does not. */
        assert_int_equal(upload(with(digits, &r, 15 * MB, chunked)), 413);
    }
    stop(&r);
}

static void many_uploads_at_once_are_429_as_soon_as_the_budget_is_full(void **state)
{
    (void)state;
    struct running r = start();
    struct upload u[CLIENTS];
    size_t refused = 0;
    for (size_t i = 0; i < CLIENTS; i++) {
        u[i] = with(i % 2 ? digits : one_row, &r, 5 * MB, i % 3 == 0);
        assert_int_equal(pthread_create(&u[i].thread, NULL, run_upload, &u[i]), 0);
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        assert_int_equal(pthread_join(u[i].thread, NULL), 0);
        bool known =
            u[i].status == 200 || u[i].status == 400 || u[i].status == 413 || u[i].status == 429;
        if (!known)
            fail_msg("upload %zu: status %d", i, u[i].status);
        refused += u[i].status == 429;
    }
    print_message("           %zu of %d uploads refused\n", refused, CLIENTS);
    stop(&r);
}

/* Uploads that stop half-way hold what they have sent, so that others find no room; when they leave, the
 * room is there again. */
static void uploads_that_stall_are_charged_for_what_they_have_sent(void **state)
{
    (void)state;
    struct running r = start();
    struct http_client stalled[CLIENTS];
    char *half = malloc(4 * MB);
    int status;
    static const char head[] =
        "POST /v1/models/california-housing:predict HTTP/1.1\r\nHost: t\r\nContent-Length: "
        "8000000\r\n\r\n";
    assert_non_null(half);
    memset(half, ' ', 4 * MB);
    for (size_t i = 0; i < CLIENTS; i++) {
        http_client_open(&stalled[i], r.http);
        http_client_send_text(&stalled[i], head);
        (void)http_client_try_send(&stalled[i], half, 4 * MB);
    }
    do /* what the kernel has taken reaches the server in time */
        status = upload(with(one_row, &r, 4 * MB, false));
    while (status == 400);
    assert_int_equal(status, 429);
    expect_usable(&r);
    for (size_t i = 0; i < CLIENTS; i++)
        http_client_close(&stalled[i]);
    free(half);
    do
        status = upload(with(one_row, &r, 4 * MB, false));
    while (status == 429);
    assert_int_equal(status, 400);
    stop(&r);
}

/* Answers that nobody reads are held as well, or their connection ends. */
static void answers_that_nobody_takes_are_charged(void **state)
{
    (void)state;
    struct running r = start();
    struct http_client deaf[CLIENTS * 4];
    char head[256];
    size_t rows = 30000, n = 0;
    char *body = malloc(64 + rows * 18);
    assert_non_null(body);
    n = (size_t)sprintf(body, "%s", "{\"instances\":[");
    for (size_t i = 0; i < rows; i++)
        n += (size_t)sprintf(body + n, "[1,2,3,4,5,6,7,%zu]%s", i % 10, i + 1 < rows ? "," : "]}");
    (void)snprintf(head, sizeof head,
                   "POST /v1/models/california-housing:predict HTTP/1.1\r\nHost: t\r\n"
                   "Content-Length: %zu\r\n\r\n",
                   n);
    for (size_t i = 0; i < CLIENTS * 4; i++) {
        http_client_open(&deaf[i], r.http);
        for (int k = 0; k < 2; k++)
            if (http_client_try_send(&deaf[i], head, strlen(head)))
                (void)http_client_try_send(&deaf[i], body, n);
    }
    expect_usable(&r);
    for (size_t i = 0; i < CLIENTS * 4; i++)
        http_client_close(&deaf[i]);
    free(body);
    stop(&r);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_hundred_megabytes_are_refused_before_they_are_held),
    cmocka_unit_test(a_body_within_the_limits_is_read_within_the_budget),
    cmocka_unit_test(many_uploads_at_once_are_429_as_soon_as_the_budget_is_full),
    cmocka_unit_test(uploads_that_stall_are_charged_for_what_they_have_sent),
    cmocka_unit_test(answers_that_nobody_takes_are_charged),
};

T_MAIN(tests)
