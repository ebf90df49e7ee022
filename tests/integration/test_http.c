/* The HTTP server over real sockets, with a handler of a few lines: how bytes come in pieces, what
 * limits do, who is told when somebody leaves, and how it all ends. */
#define _GNU_SOURCE /* memmem */
#include "server/http/http.h"

#include "tests/support/http_client.h"
#include "tests/support/t.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { WAIT_S = 20, SHARD = 7 };

/* ---- a server with a small handler ---- */

/* An exchange that is answered later; lives in its arena. */
struct later {
    struct http_task task;
    struct http_exchange *exchange;
    struct span body;
    struct later *next;
};

/* Shared by the workers and the test, under the lock. */
struct host {
    struct http_server *server;
    unsigned port;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct later *waiting; /* pending, newest first */
    size_t waiting_count, gone_count, answered;
    size_t heads; /* calls of head() */
    size_t streams_ended;
    size_t charged, room; /* bytes that are held, and may be; 0: any number */
    bool done;            /* for release_until_told */
};

static struct span text_span(const char *text)
{
    return (struct span){text, strlen(text)};
}

static bool path_is(const struct request *request, const char *path)
{
    return request->path.n == strlen(path) && memcmp(request->path.p, path, request->path.n) == 0;
}

static void answer(struct http_exchange *exchange, int status, struct span body)
{
    const char *shard = &"0123456789abcdef"[http_shard(exchange) % 16];
    struct response response = {.status = status,
                                .content_type = "text/plain",
                                .headers = {{{"x-shard", 7}, {shard, 1}}},
                                .header_count = 1,
                                .body = body};
    http_respond(exchange, &response);
}

static void count(struct host *host, size_t *what)
{
    (void)pthread_mutex_lock(&host->lock);
    ++*what;
    (void)pthread_cond_broadcast(&host->changed);
    (void)pthread_mutex_unlock(&host->lock);
}

/* /later: the exchange waits until release_all. */
static void put_off(struct host *host, struct http_exchange *exchange, struct span body)
{
    struct later *later = arena_alloc(http_arena(exchange), sizeof *later);
    assert_non_null(later);
    *later = (struct later){.exchange = exchange, .body = body};
    *http_slot(exchange) = later;
    (void)pthread_mutex_lock(&host->lock);
    later->next = host->waiting;
    host->waiting = later;
    host->waiting_count++;
    (void)pthread_cond_broadcast(&host->changed);
    (void)pthread_mutex_unlock(&host->lock);
}

/* /big?bytes: a body of so many bytes, each the last digit of its place. */
static struct span big_body(struct http_exchange *exchange, const struct request *request)
{
    char digits[16] = "";
    memcpy(digits, request->query.p, request->query.n < 15 ? request->query.n : 15);
    size_t n = strtoul(digits, NULL, 10);
    char *body = arena_alloc(http_arena(exchange), n);
    assert_non_null(body);
    for (size_t i = 0; i < n; i++)
        body[i] = (char)('0' + i % 10);
    return (struct span){body, n};
}

/* /stream?pieces: pieces of 100,000 bytes; /stream_fails breaks off behind them. */
struct counted_stream {
    struct response_stream stream;
    struct host *host;
    size_t left;
    bool fails;
    char piece[100000];
};

static enum stream_state next_piece(struct response_stream *stream, struct span *piece)
{
    struct counted_stream *s = (struct counted_stream *)(void *)stream; /* its first member */
    if (s->left == 0)
        return s->fails ? STREAM_FAILED : STREAM_END;
    memset(s->piece, (int)('a' + s->left-- % 26), sizeof s->piece);
    *piece = (struct span){s->piece, sizeof s->piece};
    return STREAM_PIECE;
}

static void end_pieces(struct response_stream *stream)
{
    struct counted_stream *s = (struct counted_stream *)(void *)stream;
    count(s->host, &s->host->streams_ended);
    free(s);
}

static void answer_stream(struct host *host, struct http_exchange *exchange,
                          const struct request *request)
{
    char digits[16] = "";
    memcpy(digits, request->query.p, request->query.n < 15 ? request->query.n : 15);
    struct counted_stream *s = malloc(sizeof *s);
    assert_non_null(s);
    s->stream = (struct response_stream){next_piece, end_pieces};
    s->host = host;
    s->left = strtoul(digits, NULL, 10);
    s->fails = path_is(request, "/stream_fails");
    http_respond(exchange, &(struct response){.status = 200, .stream = &s->stream});
}

static void handle(void *ctx, struct http_exchange *exchange, const struct request *request)
{
    struct host *host = ctx;
    count(host, &host->answered);
    if (request->fault != 0 && path_is(request, "/fault_later"))
        put_off(host, exchange, text_span(request->fault_text));
    else if (request->fault != 0)
        answer(exchange, request->fault, text_span(request->fault_text));
    else if (path_is(request, "/later"))
        put_off(host, exchange, request->body);
    else if (path_is(request, "/big"))
        answer(exchange, 200, big_body(exchange, request));
    else if (path_is(request, "/stream") || path_is(request, "/stream_fails"))
        answer_stream(host, exchange, request);
    else if (path_is(request, "/none"))
        answer(exchange, 204, (struct span){NULL, 0});
    else if (path_is(request, "/400"))
        answer(exchange, 400, text_span("no"));
    else if (path_is(request, "/close"))
        http_respond(exchange, &(struct response){.status = 200, .close = true});
    else
        answer(exchange, 200, request->body);
}

static int head(void *ctx, const struct request *request, size_t *body_max)
{
    struct host *host = ctx;
    count(host, &host->heads);
    if (path_is(request, "/small"))
        *body_max = 10;
    return path_is(request, "/refused") ? 413 : 0;
}

static bool charge(void *ctx, ptrdiff_t bytes)
{
    struct host *host = ctx;
    (void)pthread_mutex_lock(&host->lock);
    bool fits = bytes <= 0 || host->room == 0 || host->charged + (size_t)bytes <= host->room;
    if (fits)
        host->charged += (size_t)bytes;
    (void)pthread_cond_broadcast(&host->changed);
    (void)pthread_mutex_unlock(&host->lock);
    return fits;
}

static void gone(void *ctx, struct http_exchange *exchange)
{
    struct host *host = ctx;
    assert_non_null(*http_slot(exchange));
    count(host, &host->gone_count);
}

static void run_later(struct http_task *task)
{
    struct later *later = (struct later *)(void *)task; /* its first member */
    answer(later->exchange, 200, later->body);
}

/* Answers, from this thread, all that waits; oldest first. */
static void release_all(struct host *host)
{
    struct later *oldest = NULL, *next;
    (void)pthread_mutex_lock(&host->lock);
    for (struct later *l = host->waiting; l != NULL; l = next) {
        next = l->next;
        l->next = oldest;
        oldest = l;
    }
    host->waiting = NULL;
    host->waiting_count = 0;
    (void)pthread_mutex_unlock(&host->lock);
    for (; oldest != NULL; oldest = next) {
        next = oldest->next; /* the exchange may be gone as soon as it is posted */
        oldest->task.run = run_later;
        http_post(http_worker_of(oldest->exchange), &oldest->task);
    }
}

static size_t read_count(struct host *host, const size_t *what)
{
    (void)pthread_mutex_lock(&host->lock);
    size_t n = *what;
    (void)pthread_mutex_unlock(&host->lock);
    return n;
}

/* Waits until *what, which is under the lock, has come to n. */
static void wait_until(struct host *host, const size_t *what, size_t n)
{
    struct timespec end;
    int rc = 0;
    (void)clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += WAIT_S;
    (void)pthread_mutex_lock(&host->lock);
    while (*what < n && rc == 0)
        rc = pthread_cond_timedwait(&host->changed, &host->lock, &end);
    size_t got = *what;
    (void)pthread_mutex_unlock(&host->lock);
    if (got < n)
        fail_msg("waited for %zu, got %zu", n, got);
}

/* Polls until the server has n connections open, or has read n bytes. */
static void wait_for_connections(struct host *host, uint64_t n)
{
    for (int i = 0; i < WAIT_S * 1000; i++) {
        if (http_stats(host->server).connections_open == n)
            return;
        (void)poll(NULL, 0, 1);
    }
    fail_msg("expected %u connections, got %u", (unsigned)n,
             (unsigned)http_stats(host->server).connections_open);
}

static void wait_for_bytes(struct host *host, uint64_t n)
{
    struct timespec begin, now;
    (void)clock_gettime(CLOCK_MONOTONIC, &begin);
    while (http_stats(host->server).bytes_in < n) {
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec - begin.tv_sec > WAIT_S)
            fail_msg("the server has not read %u bytes", (unsigned)n);
    }
}

/* ---- one server per case ---- */

static struct http_limits roomy(void)
{
    struct http_limits limits = http_default_limits();
    limits.header_bytes = 1024;
    limits.header_count = 20;
    return limits;
}

static void start_with(struct host *host, unsigned workers, struct http_limits limits)
{
    struct error err = {0};
    *host = (struct host){.server = NULL};
    (void)pthread_mutex_init(&host->lock, NULL);
    (void)pthread_cond_init(&host->changed, NULL);
    struct http_config config = {
        .host = "127.0.0.1",
        .workers = workers,
        .first_shard = SHARD,
        .limits = limits,
        .handler = {.ctx = host, .head = head, .request = handle, .charge = charge, .gone = gone}};
    host->server = http_start(&config, &err);
    if (host->server == NULL)
        fail_msg("%s", err.message);
    host->port = http_port(host->server);
}

static void start(struct host *host)
{
    start_with(host, 1, roomy());
}

/* After the server: what was charged has been given back, whatever the case did. */
static void clear(struct host *host)
{
    assert_int_equal(host->charged, 0);
    (void)pthread_cond_destroy(&host->changed);
    (void)pthread_mutex_destroy(&host->lock);
}

/* Every case ends here: whatever happened, no connection may be left over. */
static void stop(struct host *host)
{
    wait_for_connections(host, 0);
    assert_int_equal(http_stats(host->server).exchanges_in_flight, 0);
    http_stop(host->server);
    clear(host);
}

/* ---- asking ---- */

#define GET(target) "GET " target " HTTP/1.1\r\nHost: a\r\n\r\n"
#define POST(target, n, body)                                                                      \
    "POST " target " HTTP/1.1\r\nHost: a\r\nContent-Length: " n "\r\n\r\n" body

static void expect_kind(struct http_client *client, bool is_head, int status, const char *body,
                        bool closes)
{
    struct http_answer got;
    if (!http_client_read(client, is_head, &got))
        fail_msg("closed without an answer; expected %d", status);
    if (got.status != status)
        fail_msg("expected %d, got %d: %s", status, got.status, got.body);
    if (body != NULL)
        assert_string_equal(got.body, body);
    const char *connection = http_answer_header(&got, "Connection");
    assert_int_equal(connection != NULL && strcmp(connection, "close") == 0, closes);
    assert_non_null(http_answer_header(&got, "Date"));
    http_answer_clear(&got);
}

/* An answer after which the connection stays; body NULL: any. */
static void expect(struct http_client *client, int status, const char *body)
{
    expect_kind(client, false, status, body, false);
}

/* The last answer of a connection. */
static void expect_last(struct http_client *client, int status, const char *body)
{
    expect_kind(client, false, status, body, true);
    assert_true(http_client_at_end(client));
    http_client_close(client);
}

/* The connection can still be used; then it is closed. */
static void expect_usable(struct http_client *client)
{
    http_client_send_text(client, POST("/echo", "5", "still"));
    expect(client, 200, "still");
    http_client_close(client);
}

static void expect_end(struct http_client *client)
{
    assert_true(http_client_at_end(client));
    http_client_close(client);
}

/* ---- messages in pieces ---- */

static void a_message_may_be_cut_anywhere(void **state)
{
    (void)state;
    static const char message[] =
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        "3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n"
        "\r\nPOST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nfgh";
    const size_t length = sizeof message - 1;
    char twice[2 * sizeof message];
    struct host host;
    struct http_client client;
    start(&host);
    http_client_open(&client, host.port);
    (void)sprintf(twice, "%s%s", message, message);
    /* Twice the message in three pieces; the middle one ends one and begins the other. */
    for (size_t at = 0; at < length; at++) {
        uint64_t before = 2 * length * at;
        http_client_send(&client, message, at);
        wait_for_bytes(&host, before + at); /* so the pieces are read one by one */
        http_client_send(&client, twice + at, length);
        wait_for_bytes(&host, before + length + at);
        http_client_send(&client, message + at, length - at);
        for (int i = 0; i < 2; i++) {
            expect(&client, 200, "abcde");
            expect(&client, 200, "fgh");
        }
    }
    http_client_close(&client);
    http_client_open(&client, host.port);
    for (size_t at = 0; at < length; at++)
        http_client_send(&client, message + at, 1);
    expect(&client, 200, "abcde");
    expect(&client, 200, "fgh");
    expect_usable(&client);
    stop(&host);
}

static void half_a_message_and_then_the_end_closes_in_silence(void **state)
{
    (void)state;
    static const char *const halves[] = {
        "", "GET", "GET / HTTP/1.1\r\nHost: a\r\n", POST("/echo", "5", "1234"),
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc"};
    struct host host;
    struct http_client client;
    start(&host);
    for (size_t i = 0; i < sizeof halves / sizeof *halves; i++) {
        http_client_open(&client, host.port);
        http_client_send_text(&client, halves[i]);
        http_client_half_close(&client);
        expect_end(&client);
        http_client_open(&client, host.port); /* and without waiting */
        http_client_send_text(&client, halves[i]);
        http_client_close(&client);
    }
    wait_for_connections(&host, 0);
    assert_int_equal(host.answered, 0);
    stop(&host);
}

static void requests_sent_before_a_half_close_are_all_answered(void **state)
{
    (void)state;
    struct host host;
    struct http_client client;
    start(&host);
    http_client_open(&client, host.port);
    http_client_send_text(&client,
                          POST("/echo", "1", "a") POST("/echo", "1", "b") POST("/echo", "1", "c"));
    http_client_half_close(&client);
    expect(&client, 200, "a");
    expect(&client, 200, "b");
    expect(&client, 200, "c");
    expect_end(&client);
    /* The same when they are answered later, one after the other. */
    http_client_open(&client, host.port);
    http_client_send_text(&client, POST("/later", "1", "a") POST("/later", "1", "b")
                                       POST("/echo", "1", "c"));
    http_client_half_close(&client);
    for (int i = 0; i < 2; i++) {
        wait_until(&host, &host.waiting_count, 1);
        release_all(&host);
        expect(&client, 200, i == 0 ? "a" : "b");
    }
    expect(&client, 200, "c");
    expect_end(&client);
    stop(&host);
}

static void a_hundred_mixed_requests_can_be_pipelined(void **state)
{
    (void)state;
    static char sent[100 * 256];
    char body[16];
    size_t n = 0;
    struct host host;
    struct http_client client;
    for (int i = 0; i < 100; i++)
        n += (size_t)sprintf(
            sent + n,
            i % 3 == 0   ? "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n%05d"
            : i % 3 == 1 ? "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                           "5\r\n%05d\r\n0\r\n\r\n"
                         : "POST /later HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n%05d",
            i);
    start(&host);
    http_client_open(&client, host.port);
    http_client_send(&client, sent, n);
    for (int i = 0; i < 100; i++) {
        if (i % 3 == 2) {
            wait_until(&host, &host.waiting_count, 1);
            release_all(&host);
        }
        (void)sprintf(body, "%05d", i);
        expect(&client, 200, body);
    }
    expect_usable(&client);
    stop(&host);
}

static char *digits(size_t n)
{
    char *body = malloc(n + 1);
    assert_non_null(body);
    for (size_t i = 0; i < n; i++)
        body[i] = (char)('0' + i % 10);
    body[n] = '\0';
    return body;
}

/* Sends a body of n bytes by Content-Length or in chunks, and expects it back. */
static void echo_large(struct host *host, size_t n, size_t chunk)
{
    char head_text[128], *body = digits(n);
    struct http_client client;
    struct http_answer got;
    http_client_open(&client, host->port);
    (void)sprintf(head_text,
                  chunk == 0
                      ? "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n"
                      : "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
                  n);
    http_client_send_text(&client, head_text);
    for (size_t at = 0; at < n && chunk > 0; at += chunk) {
        size_t part = n - at < chunk ? n - at : chunk;
        (void)sprintf(head_text, "%zx\r\n", part);
        http_client_send_text(&client, head_text);
        http_client_send(&client, body + at, part);
        http_client_send_text(&client, "\r\n");
    }
    if (chunk > 0)
        http_client_send_text(&client, "0\r\n\r\n");
    else
        http_client_send(&client, body, n);
    assert_true(http_client_read(&client, false, &got));
    assert_int_equal(got.status, 200);
    assert_int_equal(got.body_len, n);
    assert_true(memcmp(got.body, body, n) == 0);
    http_answer_clear(&got);
    free(body);
    expect_usable(&client);
}

static void large_bodies_arrive_and_return_whole(void **state)
{
    (void)state;
    struct host host;
    start(&host);
    echo_large(&host, 1250000, 0);
    echo_large(&host, 1250000, 70001);
    echo_large(&host, http_default_limits().body_bytes, 0);
    stop(&host);
}

/* ---- limits ---- */

static void a_request_that_drips_is_408_in_whole_not_by_the_byte(void **state)
{
    (void)state;
    struct http_limits limits = roomy();
    struct host host;
    struct http_client client;
    limits.request_ms = 200;
    start_with(&host, 1, limits);
    static const char *const starts[] = {"POST /echo HTTP/1.1\r\nHost: a\r\nX: ",
                                         POST("/echo", "1000000", "")};
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        http_client_open(&client, host.port);
        http_client_send_text(&client, starts[i]);
        struct pollfd fd = {.fd = client.fd, .events = POLLIN};
        size_t bytes = 0;
        /* The pause of the drip is the wait for the answer. */
        while (bytes++ < 900 && poll(&fd, 1, 20) == 0)
            http_client_send(&client, "x", 1);
        assert_true(bytes < 800); /* each byte came well within the limit */
        expect_last(&client, 408, "request: expected all of it sooner");
    }
    stop(&host);
}

static void an_idle_connection_is_closed_in_silence(void **state)
{
    (void)state;
    struct http_limits limits = roomy();
    struct host host;
    struct http_client fresh, used;
    limits.idle_ms = 300;
    start_with(&host, 1, limits);
    http_client_open(&fresh, host.port);
    http_client_open(&used, host.port);
    http_client_send_text(&used, GET("/echo"));
    expect(&used, 200, "");
    expect_end(&fresh);
    expect_end(&used);
    assert_int_equal(host.answered, 1);
    stop(&host);
}

/* A client whose receive buffer does not grow, so that much stays with the server. */
static void open_narrow(struct http_client *client, unsigned port)
{
    const int bytes = 128 * 1024;
    http_client_open(client, port);
    assert_int_equal(setsockopt(client->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes), 0);
}

static void a_reader_that_stops_is_cut_and_one_that_is_slow_is_not(void **state)
{
    (void)state;
    enum { BYTES = 8000000 };
    struct http_limits limits = roomy();
    struct host host;
    struct http_client stopped, slow;
    struct http_answer got;
    limits.write_ms = 500;
    start_with(&host, 1, limits);
    open_narrow(&stopped, host.port);
    http_client_send_text(&stopped, GET("/big?8000000"));
    wait_until(&host, &host.answered, 1);
    wait_for_connections(&host, 0); /* cut */
    http_client_close(&stopped);
    /* More than the buffers between them hold. */
    open_narrow(&slow, host.port);
    http_client_send_text(&slow, GET("/big?8000000") POST("/echo", "1", "x"));
    assert_true(http_client_read(&slow, false, &got));
    assert_int_equal(got.body_len, BYTES);
    for (size_t i = 0; i < BYTES; i++)
        if (got.body[i] != (char)('0' + i % 10))
            fail_msg("byte %zu", i);
    http_answer_clear(&got);
    expect(&slow, 200, "x");
    expect_usable(&slow);
    stop(&host);
}

/* Whether the server has sent n bytes, or will soon. */
static bool comes_to_send(const struct host *host, uint64_t n)
{
    for (int i = 0; i < 20 && http_stats(host->server).bytes_out < n; i++)
        (void)poll(NULL, 0, 1);
    return http_stats(host->server).bytes_out >= n;
}

/* Asks until an answer no longer fits into the socket and another is waited for behind it; how many
 * pairs of answers there will be. */
static size_t fill_socket(struct host *host, struct http_client *client)
{
    size_t pairs = 0;
    for (bool fits = true; fits; pairs++) {
        if (pairs > 0)
            release_all(host);
        http_client_send_text(client, GET("/big?60000") POST("/later", "1", "x"));
        wait_until(host, &host->waiting_count, 1);
        fits = comes_to_send(host, (pairs + 1) * 60000);
    }
    return pairs;
}

/* The write deadline ends with the write: a response that is waited for behind it has none. */
static void a_pending_exchange_outlives_the_write_deadline_before_it(void **state)
{
    (void)state;
    struct http_limits limits = roomy();
    struct host host;
    struct http_client client;
    limits.write_ms = 500;
    start_with(&host, 1, limits);
    open_narrow(&client, host.port);
    size_t pairs = fill_socket(&host, &client);
    for (size_t i = 0; i < pairs; i++) {
        if (i > 0)
            expect(&client, 200, "x");
        expect(&client, 200, NULL);
    }
    struct pollfd fd = {.fd = client.fd, .events = POLLIN};
    assert_int_equal(poll(&fd, 1, 700), 0); /* neither an answer nor the end */
    release_all(&host);
    expect(&client, 200, "x");
    expect_usable(&client);
    stop(&host);
}

static void an_answer_waits_behind_one_that_is_not_taken(void **state)
{
    (void)state;
    struct host host;
    struct http_client client;
    start(&host);
    open_narrow(&client, host.port);
    size_t pairs = fill_socket(&host, &client);
    release_all(&host);
    for (size_t i = 0; i < pairs; i++) {
        expect(&client, 200, NULL);
        expect(&client, 200, "x");
    }
    expect_usable(&client);
    stop(&host);
}

static void answers_that_overflow_the_output_buffer_stay_in_order(void **state)
{
    (void)state;
    enum { COUNT = 300 };
    char requests[COUNT * 64], expected[64];
    size_t n = 0;
    struct host host;
    struct http_client client;
    struct http_answer got;
    for (int i = 0; i < COUNT; i++)
        n += (size_t)sprintf(requests + n, GET("/big?%d"), 500 + i * 3);
    start(&host);
    http_client_open(&client, host.port);
    http_client_send(&client, requests, n);
    for (int i = 0; i < COUNT; i++) {
        assert_true(http_client_read(&client, false, &got));
        (void)sprintf(expected, "%d", 500 + i * 3);
        assert_string_equal(http_answer_header(&got, "Content-Length"), expected);
        http_answer_clear(&got);
    }
    expect_usable(&client);
    stop(&host);
}

static void a_body_over_the_limit_is_413_even_to_who_is_still_sending(void **state)
{
    (void)state;
    enum { BYTES = 20000000 };
    struct http_limits limits = roomy();
    struct host host;
    struct http_client client;
    char *body = digits(BYTES);
    limits.body_bytes = 1000000;
    start_with(&host, 1, limits);
    static const char *const heads[] = {
        POST("/echo", "20000000", ""), POST("/small", "20000000", ""),
        POST("/refused", "20000000", ""), POST("/fault_later", "20000000", ""),
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1312D00\r\n"};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        http_client_open(&client, host.port);
        http_client_send_text(&client, heads[i]);
        bool later = strstr(heads[i], "later") != NULL;
        if (later)
            wait_until(&host, &host.waiting_count, 1);
        if (later)
            release_all(&host);
        /* All of it is taken, and only then is the answer read. */
        http_client_send(&client, body, BYTES);
        expect_last(&client, later ? 200 : 413, NULL);
    }
    free(body);
    stop(&host);
}

static void a_refused_body_that_is_there_already_costs_no_connection(void **state)
{
    (void)state;
    struct host host;
    struct http_client client;
    start(&host);
    http_client_open(&client, host.port);
    http_client_send_text(&client, POST("/refused", "3", "abc") POST("/small", "11", "12345678901")
                                       POST("/small", "10", "1234567890"));
    expect(&client, 413, NULL);
    expect(&client, 413, NULL);
    expect(&client, 200, "1234567890");
    expect_usable(&client);
    stop(&host);
}

/* The handler is told which request it was, whether it failed in its first or in its last byte. */
static void a_chunked_body_over_the_limit_keeps_its_request(void **state)
{
    (void)state;
    struct host host;
    struct http_client client;
    start(&host);
    http_client_open(&client, host.port);
    http_client_send_text(&client,
                          "POST /fault_later HTTP/1.1\r\nHost: a\r\n"
                          "Transfer-Encoding: chunked\r\n\r\n1000001\r\n");
    wait_until(&host, &host.waiting_count, 1); /* so it knew the path */
    release_all(&host);
    expect_last(&client, 200, "body: expected fewer bytes");
    stop(&host);
}

/* In the middle of a head, a body, or chunks. */
static void a_request_that_finds_no_room_is_429_with_its_path_if_it_had_one(void **state)
{
    (void)state;
    static const char *const begun[] = {
        "GET /echo HTTP/1.1\r\n", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "POST /fault_later HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc"};
    struct host host;
    struct http_client client;
    start(&host);
    host.room = 1;
    for (size_t i = 0; i < sizeof begun / sizeof *begun; i++) {
        http_client_open(&client, host.port);
        http_client_send_text(&client, GET("/echo")); /* a whole one needs none */
        expect(&client, 200, "");
        http_client_send_text(&client, begun[i]);
        bool later = strstr(begun[i], "later") != NULL;
        if (later)
            wait_until(&host, &host.waiting_count, 1);
        if (later)
            release_all(&host);
        expect_last(&client, later ? 200 : 429, NULL);
    }
    stop(&host);
}

static void a_body_that_grows_beyond_the_room_is_429_and_the_room_is_there_again(void **state)
{
    (void)state;
    enum { BYTES = 8000000 };
    struct host host;
    struct http_client client, other;
    char *body = digits(BYTES);
    start(&host);
    host.room = 5000000;
    for (int i = 0; i < 3; i++) {
        http_client_open(&client, host.port);
        http_client_send_text(&client, POST("/echo", "8000000", ""));
        http_client_send(&client, body, BYTES); /* what is behind the refusal is dropped */
        http_client_open(&other, host.port);
        http_client_send_text(&other, POST("/echo", "3000000", ""));
        http_client_send(&other, body, BYTES / 8 * 3);
        expect_last(&client, 429, NULL);
        expect(&other, 200, NULL);
        expect_usable(&other);
    }
    free(body);
    stop(&host);
}

static void an_answer_that_finds_no_room_ends_its_connection_alone(void **state)
{
    (void)state;
    struct host host;
    struct http_client client, other;
    start(&host);
    host.room = 100000;
    http_client_open(&other, host.port);
    http_client_open(&client, host.port);
    http_client_send_text(&client, GET("/big?15000000"));
    wait_for_connections(&host, 1);
    http_client_close(&client);
    expect_usable(&other);
    stop(&host);
}

static void a_connection_over_the_cap_is_closed_and_the_others_stay(void **state)
{
    (void)state;
    struct http_limits limits = roomy();
    struct host host;
    struct http_client clients[4];
    limits.connections = 3;
    start_with(&host, 1, limits);
    for (size_t i = 0; i < 3; i++) {
        http_client_open(&clients[i], host.port);
        http_client_send_text(&clients[i], GET("/echo"));
        expect(&clients[i], 200, "");
    }
    http_client_open(&clients[3], host.port);
    expect_end(&clients[3]);
    assert_int_equal(http_stats(host.server).connections_refused, 1);
    assert_int_equal(http_stats(host.server).connections_accepted, 4);
    expect_usable(&clients[0]);
    wait_for_connections(&host, 2);
    http_client_open(&clients[0], host.port);
    for (size_t i = 0; i < 3; i++)
        expect_usable(&clients[i]);
    stop(&host);
}

static void exchanges_over_the_cap_are_429_and_their_connections_stay(void **state)
{
    (void)state;
    enum { CAP = 3 };
    struct http_limits limits = roomy();
    struct host host;
    struct http_client clients[CAP], more, uploading;
    limits.in_flight = CAP;
    start_with(&host, 1, limits);
    /* One that passed its head before the cap was reached, and is whole only after. */
    http_client_open(&uploading, host.port);
    http_client_send_text(&uploading, POST("/later", "3", "a"));
    wait_until(&host, &host.heads, 1);
    for (size_t i = 0; i < CAP; i++) {
        http_client_open(&clients[i], host.port);
        http_client_send_text(&clients[i], POST("/later", "3", "abc"));
        wait_until(&host, &host.waiting_count, i + 1);
    }
    assert_int_equal(http_stats(host.server).exchanges_in_flight, CAP);
    http_client_open(&more, host.port);
    http_client_send_text(&more, POST("/later", "3", "def") GET("/echo"));
    expect(&more, 429, "server: expected fewer requests in flight");
    expect(&more, 429, NULL);
    http_client_send_text(&uploading, "bc");
    expect(&uploading, 429, NULL);
    release_all(&host);
    for (size_t i = 0; i < CAP; i++) {
        expect(&clients[i], 200, "abc");
        expect_usable(&clients[i]);
    }
    expect_usable(&more);
    expect_usable(&uploading);
    stop(&host);
}

/* ---- the protocol over a socket ---- */

static void the_client_is_told_to_continue_only_when_it_waits_for_it(void **state)
{
    (void)state;
#define EXPECT_HEAD(target, n)                                                                     \
    "POST " target " HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: " n "\r\n\r\n"
    struct host host;
    struct http_client client;
    struct http_answer got;
    start(&host);
    http_client_open(&client, host.port);
    http_client_send_text(&client, EXPECT_HEAD("/echo", "3"));
    assert_true(http_client_read(&client, false, &got));
    assert_int_equal(got.status, 100);
    assert_int_equal(got.header_count, 0);
    http_answer_clear(&got);
    http_client_send_text(&client, "abc");
    expect(&client, 200, "abc");
    http_client_send_text(&client,
                          "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
                          "Transfer-Encoding: chunked\r\n\r\n");
    assert_true(http_client_read(&client, false, &got));
    assert_int_equal(got.status, 100);
    http_answer_clear(&got);
    http_client_send_text(&client, "1\r\nx\r\n0\r\n\r\n");
    expect(&client, 200, "x");
    /* It has begun to send, or has nothing to send, or is of an older version. */
    http_client_send_text(&client, EXPECT_HEAD("/echo", "3") "abc" EXPECT_HEAD("/echo", "0"));
    expect(&client, 200, "abc");
    expect(&client, 200, "");
    http_client_send_text(&client,
                          "POST /echo HTTP/1.0\r\nExpect: 100-continue\r\n"
                          "Connection: keep-alive\r\nContent-Length: 3\r\n\r\n");
    http_client_send_text(&client, "abc");
    assert_true(http_client_read(&client, false, &got));
    assert_int_equal(got.status, 200);
    assert_string_equal(http_answer_header(&got, "Connection"), "keep-alive");
    http_answer_clear(&got);
    /* It is told no instead. */
    http_client_send_text(&client, EXPECT_HEAD("/small", "11"));
    expect_last(&client, 413, NULL);
    http_client_open(&client, host.port);
    http_client_send_text(&client,
                          "POST / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n"
                          "Content-Length: 3\r\n\r\n");
    expect_last(&client, 417, NULL);
    stop(&host);
}

static void head_has_the_length_of_a_body_it_does_not_send(void **state)
{
    (void)state;
    struct host host;
    struct http_client client;
    struct http_answer got;
    start(&host);
    http_client_open(&client, host.port);
    http_client_send_text(&client, "HEAD /big?300000 HTTP/1.1\r\nHost: a\r\n\r\n" GET(
                                       "/none") "HEAD /400 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_true(http_client_read(&client, true, &got));
    assert_int_equal(got.status, 200);
    assert_string_equal(http_answer_header(&got, "Content-Length"), "300000");
    assert_string_equal(http_answer_header(&got, "X-Shard"), "7");
    http_answer_clear(&got);
    assert_true(http_client_read(&client, false, &got));
    assert_int_equal(got.status, 204);
    assert_null(http_answer_header(&got, "Content-Length"));
    http_answer_clear(&got);
    expect_kind(&client, true, 400, NULL, false);
    expect_usable(&client);
    stop(&host);
}

static void http_1_0_closes_unless_asked_to_stay(void **state)
{
    (void)state;
    struct host host;
    struct http_client client;
    struct http_answer got;
    start(&host);
    http_client_open(&client, host.port);
    for (int i = 0; i < 2; i++) {
        http_client_send_text(&client, "GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert_true(http_client_read(&client, false, &got));
        assert_int_equal(got.status, 200);
        assert_string_equal(http_answer_header(&got, "Connection"), "keep-alive");
        http_answer_clear(&got);
    }
    http_client_send_text(&client, "GET /echo HTTP/1.0\r\n\r\n");
    expect_last(&client, 200, "");
    stop(&host);
}

static void a_close_is_the_last_answer_whatever_comes_behind_it(void **state)
{
    (void)state;
    struct host host;
    struct http_client client;
    start(&host);
    http_client_open(&client, host.port);
    http_client_send_text(
        &client, "GET /echo HTTP/1.1\r\nHost: a\r\nConnection: foo, close\r\n\r\n" GET("/echo"));
    expect_last(&client, 200, "");
    http_client_open(&client, host.port);
    http_client_send_text(&client, GET("/close") GET("/echo"));
    expect_last(&client, 200, "");
    assert_int_equal(host.answered, 2);
    stop(&host);
}

/* Who is told to close may have more on its way: that must not cost it the answer. */
static void a_close_by_the_server_waits_for_what_the_client_still_sends(void **state)
{
    (void)state;
    struct host host;
    struct http_client client;
    struct http_answer got;
    start(&host);
    for (int i = 0; i < 20; i++) {
        http_client_open(&client, host.port);
        http_client_send_text(&client, GET("/close"));
        assert_true(http_client_read(&client, false, &got));
        http_answer_clear(&got);
        for (int part = 0; part < 3; part++)
            http_client_send_text(&client, GET("/echo"));
        expect_end(&client); /* an end, not a reset */
    }
    assert_int_equal(host.answered, 20);
    stop(&host);
}

static void a_handlers_error_leaves_the_connection_usable_and_lost_framing_does_not(void **state)
{
    (void)state;
    static const struct {
        const char *request;
        int status;
    } faults[] = {{"GET / HTTP/1.1\r\n\r\n", 400},
                  {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
                  {"\n", 400},
                  {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
                  {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
                   "Content-Length: 4\r\n\r\n0\r\n\r\n",
                   400},
                  {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400},
                  {POST("/", "99999999999999999999", ""), 413}};
    struct host host;
    struct http_client client;
    start(&host);
    http_client_open(&client, host.port);
    http_client_send_text(&client, GET("/400"));
    expect(&client, 400, "no");
    expect_usable(&client);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        http_client_open(&client, host.port);
        /* What follows a fault is not a request, and what came before it is answered. */
        http_client_send_text(&client, POST("/echo", "1", "a"));
        http_client_send_text(&client, faults[i].request);
        http_client_send_text(&client, GET("/echo"));
        expect(&client, 200, "a");
        expect_last(&client, faults[i].status, NULL);
    }
    size_t answered = 2 + 2 * sizeof faults / sizeof *faults;
    assert_int_equal(host.answered, answered);
    stop(&host);
}

static void a_huge_head_is_431(void **state)
{
    (void)state;
    struct host host;
    struct http_client client;
    start(&host);
    http_client_open(&client, host.port);
    http_client_send_text(&client, "GET / HTTP/1.1\r\n");
    for (int i = 0; i < 10000; i++)
        if (!http_client_try_send(&client, "A: b\r\n", 6))
            break;
    expect_last(&client, 431, NULL);
    http_client_open(&client, host.port);
    char *line = digits(200000);
    (void)http_client_try_send(&client, line, 200000);
    free(line);
    expect_last(&client, 431, NULL);
    stop(&host);
}

/* ---- pending exchanges ---- */

static void a_pending_request_keeps_its_bytes_while_others_come(void **state)
{
    (void)state;
    enum { CLIENTS = 8, BYTES = 100000 };
    struct host host;
    struct http_client clients[CLIENTS], other;
    struct http_answer got;
    char head_text[128], *body = digits(BYTES);
    start(&host);
    for (size_t i = 0; i < CLIENTS; i++) {
        http_client_open(&clients[i], host.port);
        (void)sprintf(head_text, "POST /later HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n",
                      BYTES - i);
        http_client_send_text(&clients[i], head_text);
        http_client_send(&clients[i], body + i, BYTES - i);
        http_client_send_text(&clients[i], POST("/echo", "4", "next")); /* waits its turn */
        wait_until(&host, &host.waiting_count, i + 1);
        http_client_open(&other, host.port);
        expect_usable(&other);
    }
    release_all(&host);
    for (size_t i = 0; i < CLIENTS; i++) {
        assert_true(http_client_read(&clients[i], false, &got));
        assert_int_equal(got.body_len, BYTES - i);
        assert_true(memcmp(got.body, body + i, got.body_len) == 0);
        http_answer_clear(&got);
        expect(&clients[i], 200, "next");
        expect_usable(&clients[i]);
    }
    free(body);
    stop(&host);
}

/* Leaves with a reset, which is how a peer that is gone for good looks. */
static void leave(struct http_client *client)
{
    const struct linger now = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    http_client_close(client);
}

static void the_handler_is_told_when_a_peer_leaves_and_may_still_answer(void **state)
{
    (void)state;
    struct host host;
    struct http_client client;
    start(&host);
    for (size_t i = 1; i <= 3; i++) {
        http_client_open(&client, host.port);
        http_client_send_text(&client, POST("/later", "3", "abc"));
        wait_until(&host, &host.waiting_count, 1);
        leave(&client);
        wait_until(&host, &host.gone_count, i);
        wait_for_connections(&host, 0);
        assert_int_equal(http_stats(host.server).exchanges_in_flight, 1);
        release_all(&host);
        http_client_open(&client, host.port);
        expect_usable(&client);
    }
    stop(&host);
}

/* ---- the end ---- */

static void *stop_server(void *server)
{
    http_stop(server);
    return NULL;
}

/* ---- bodies in pieces ---- */

static void expect_stream(struct http_client *client, size_t pieces)
{
    struct http_answer got;
    assert_true(http_client_read(client, false, &got));
    assert_string_equal(http_answer_header(&got, "Transfer-Encoding"), "chunked");
    assert_null(http_answer_header(&got, "Content-Length"));
    assert_int_equal(got.body_len, pieces * 100000);
    for (size_t i = 0; i < got.body_len; i++)
        if (got.body[i] != (char)('a' + (pieces - i / 100000) % 26))
            fail_msg("byte %zu is %c", i, got.body[i]);
    http_answer_clear(&got);
}

static void a_body_in_pieces_arrives_whole_and_the_next_answer_behind_it(void **state)
{
    (void)state;
    struct host host;
    struct http_client client;
    start(&host);
    http_client_open(&client, host.port);
    http_client_send_text(&client, GET("/stream?0") GET("/stream?1") GET("/stream?60") GET("/400"));
    expect_stream(&client, 0);
    expect_stream(&client, 1);
    expect_stream(&client, 60);
    expect(&client, 400, "no");
    assert_int_equal(read_count(&host, &host.streams_ended), 3);
    expect_usable(&client);
    stop(&host);
}

static void a_reader_that_pauses_holds_up_its_own_stream_only(void **state)
{
    (void)state;
    struct host host;
    struct http_client slow, other;
    start(&host);
    http_client_open(&slow, host.port);
    http_client_open(&other, host.port);
    http_client_send_text(&slow, GET("/stream?200"));
    expect_usable(&other);
    assert_int_equal(read_count(&host, &host.streams_ended),
                     0); /* 20 MB are more than the sockets hold */
    expect_stream(&slow, 200);
    expect_usable(&slow);
    stop(&host);
}

static void head_and_http_1_0_get_a_stream_in_their_own_ways(void **state)
{
    (void)state;
    struct host host;
    struct http_client client;
    struct http_answer got;
    start(&host);
    http_client_open(&client, host.port);
    http_client_send_text(&client, "HEAD /stream?3 HTTP/1.1\r\nHost: a\r\n\r\n");
    expect_kind(&client, true, 200, "", false);
    assert_int_equal(read_count(&host, &host.streams_ended), 1);
    http_client_send_text(&client, "GET /stream?3 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_true(http_client_read(&client, false, &got));
    assert_null(http_answer_header(&got, "Transfer-Encoding"));
    http_answer_clear(&got);
    while (!http_client_at_end(&client)) /* the end of the connection is the end of the body */
        client.n = 0;
    http_client_close(&client);
    stop(&host);
}

static void a_stream_ends_when_its_reader_leaves_or_it_fails(void **state)
{
    (void)state;
    struct host host;
    struct http_client client;
    start(&host);
    http_client_open(&client, host.port);
    http_client_send_text(&client, GET("/stream?1000"));
    wait_until(&host, &host.answered, 1);
    http_client_close(&client);
    wait_until(&host, &host.streams_ended, 1);
    http_client_open(&client, host.port);
    http_client_send_text(&client, GET("/stream_fails?2"));
    wait_until(&host, &host.streams_ended, 2);
    while (!http_client_at_end(&client)) {
        assert_null(memmem(client.data, client.n, "\r\n0\r\n", 5)); /* no end that looks like one */
        client.n = 0;
    }
    http_client_close(&client);
    stop(&host);
}

static void stop_ends_the_streams_that_run(void **state)
{
    (void)state;
    struct host host;
    struct http_client client;
    start(&host);
    http_client_open(&client, host.port);
    http_client_send_text(&client, GET("/stream?1000"));
    wait_until(&host, &host.answered, 1);
    http_stop(host.server);
    assert_int_equal(host.streams_ended, 1);
    clear(&host);
    http_client_close(&client);
}

static void stop_waits_for_what_is_pending(void **state)
{
    (void)state;
    struct host host;
    struct http_client clients[3];
    start_with(&host, 2, roomy());
    for (size_t i = 0; i < 3; i++) {
        http_client_open(&clients[i], host.port);
        http_client_send_text(&clients[i], POST("/later", "3", "abc"));
        wait_until(&host, &host.waiting_count, i + 1);
    }
    pthread_t stopping;
    assert_int_equal(pthread_create(&stopping, NULL, stop_server, host.server), 0);
    wait_until(&host, &host.gone_count, 3); /* told to hurry, with the answers still to come */
    for (size_t i = 0; i < 3; i++)
        expect_end(&clients[i]);
    release_all(&host);
    assert_int_equal(pthread_join(stopping, NULL), 0);
    clear(&host);
}

static void drain_answers_what_is_pending_and_says_close(void **state)
{
    (void)state;
    struct host host;
    struct http_client pending, idle, asking;
    start(&host);
    http_client_open(&pending, host.port);
    http_client_send_text(&pending, POST("/later", "3", "abc"));
    wait_until(&host, &host.waiting_count, 1);
    http_client_open(&idle, host.port);
    http_client_send_text(&idle, GET("/echo"));
    expect(&idle, 200, "");
    http_close_connections(host.server);
    http_client_open(&asking, host.port);
    http_client_send_text(&asking, POST("/echo", "1", "x"));
    expect_last(&asking, 200, "x");
    http_client_open(&asking, host.port);
    http_client_send_text(&asking, POST("/echo", "5", "begun"));
    expect_last(&asking, 200, "begun");
    assert_false(http_drain(host.server, 100)); /* one is pending */
    expect_end(&idle);
    release_all(&host);
    expect_last(&pending, 200, "abc");
    wait_for_connections(&host, 0);
    http_stop(host.server);
    clear(&host);
}

static void drain_takes_requests_that_have_connected_but_not_yet_asked(void **state)
{
    (void)state;
    struct host host;
    struct http_client clients[8];
    start(&host);
    for (size_t i = 0; i < 8; i++)
        http_client_open(&clients[i], host.port);
    assert_false(http_drain(host.server, 1)); /* all of them have a moment left */
    for (size_t i = 0; i < 8; i++) {
        http_client_send_text(&clients[i], POST("/echo", "1", "x"));
        expect_last(&clients[i], 200, "x");
    }
    wait_for_connections(&host, 0);
    http_stop(host.server);
    clear(&host);
}

/* ---- many clients ---- */

enum { HAMMERS = 16 };

struct hammer {
    struct host *host;
    pthread_t thread;
    size_t answers;
};

/* A connection that is refused or reset: nothing was promised. */
static bool try_open(struct http_client *client, unsigned port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *client = (struct http_client){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (connect(client->fd, (struct sockaddr *)&to, sizeof to) == 0)
        return true;
    http_client_close(client);
    return false;
}

/* Asks on one connection until it is told to close; false when nobody answers any more. */
static bool hammer_connection(struct hammer *h)
{
    static const char echo[] = POST("/echo", "2", "ab"), later[] = POST("/later", "2", "ab");
    struct http_client client;
    struct http_answer got;
    bool any = false, open = try_open(&client, h->host->port);
    if (!open)
        return false;
    for (; open; h->answers++) {
        bool put_off = h->answers % 4 == 3;
        if (!http_client_try_send(&client, put_off ? later : echo,
                                  put_off ? sizeof later - 1 : sizeof echo - 1) ||
            !http_client_read(&client, false, &got))
            break;
        any = true;
        const char *connection = http_answer_header(&got, "Connection");
        open = connection == NULL || strcmp(connection, "close") != 0;
        http_answer_clear(&got);
    }
    http_client_close(&client);
    return any;
}

static void *hammer(void *ctx)
{
    while (hammer_connection(ctx))
        ;
    return NULL;
}

/* Stands for a compute pool: answers whatever waits. */
static void *release_until_told(void *ctx)
{
    struct host *host = ctx;
    (void)pthread_mutex_lock(&host->lock);
    while (!host->done) {
        while (host->waiting == NULL && !host->done)
            (void)pthread_cond_wait(&host->changed, &host->lock);
        (void)pthread_mutex_unlock(&host->lock);
        release_all(host);
        (void)pthread_mutex_lock(&host->lock);
    }
    (void)pthread_mutex_unlock(&host->lock);
    return NULL;
}

/* Clients that hammer, and what answers them later. */
struct crowd {
    struct hammer hammers[HAMMERS];
    pthread_t pool;
};

/* Returns when they have had some answers. */
static void crowd_start(struct crowd *crowd, struct host *host)
{
    assert_int_equal(pthread_create(&crowd->pool, NULL, release_until_told, host), 0);
    for (size_t i = 0; i < HAMMERS; i++) {
        struct hammer *h = &crowd->hammers[i];
        *h = (struct hammer){.host = host};
        assert_int_equal(pthread_create(&h->thread, NULL, hammer, h), 0);
    }
    wait_until(host, &host->answered, 1000);
}

/* Behind http_stop; how many answers they had. */
static size_t crowd_end(struct crowd *crowd, struct host *host)
{
    size_t answers = 0;
    for (size_t i = 0; i < HAMMERS; i++) {
        assert_int_equal(pthread_join(crowd->hammers[i].thread, NULL), 0);
        answers += crowd->hammers[i].answers;
    }
    (void)pthread_mutex_lock(&host->lock);
    host->done = true;
    (void)pthread_cond_broadcast(&host->changed);
    (void)pthread_mutex_unlock(&host->lock);
    assert_int_equal(pthread_join(crowd->pool, NULL), 0);
    return answers;
}

/* What the handler saw, the clients got, although the server is drained under their hands. */
static void drain_answers_everything_it_took_while_clients_hammer(void **state)
{
    (void)state;
    for (unsigned workers = 1; workers <= 4; workers += 3) {
        struct host host;
        struct crowd crowd;
        start_with(&host, workers, roomy());
        crowd_start(&crowd, &host);
        http_close_connections(host.server);
        wait_until(&host, &host.answered, 2000); /* each on a connection of its own */
        assert_true(http_drain(host.server, WAIT_S * 1000));
        assert_int_equal(http_stats(host.server).connections_open, 0);
        http_stop(host.server);
        assert_int_equal(crowd_end(&crowd, &host), host.answered);
        clear(&host);
    }
}

static void stop_cuts_clients_that_hammer(void **state)
{
    (void)state;
    struct host host;
    struct crowd crowd;
    start_with(&host, 4, roomy());
    crowd_start(&crowd, &host);
    http_stop(host.server);
    assert_true(crowd_end(&crowd, &host) <= host.answered);
    clear(&host);
}

/* ---- starting ---- */

static void a_busy_port_or_a_name_for_an_address_is_refused(void **state)
{
    (void)state;
    struct host host;
    struct error err = {0};
    start(&host);
    struct http_config config = {.host = "127.0.0.1",
                                 .port = host.port,
                                 .workers = 1,
                                 .limits = roomy(),
                                 .handler = {.request = handle}};
    assert_null(http_start(&config, &err));
    assert_int_equal(err.code, ERR_INVALID);
    char expected[64];
    (void)sprintf(expected, "port %u: Address already in use", host.port);
    assert_string_equal(err.message, expected);
    config.host = "localhost";
    assert_null(http_start(&config, &err));
    assert_contains(err.message, "host: expected an IPv4 or IPv6 address, got \"localhost\"");
    stop(&host);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_message_may_be_cut_anywhere),
    cmocka_unit_test(half_a_message_and_then_the_end_closes_in_silence),
    cmocka_unit_test(requests_sent_before_a_half_close_are_all_answered),
    cmocka_unit_test(a_hundred_mixed_requests_can_be_pipelined),
    cmocka_unit_test(large_bodies_arrive_and_return_whole),
    cmocka_unit_test(a_request_that_drips_is_408_in_whole_not_by_the_byte),
    cmocka_unit_test(an_idle_connection_is_closed_in_silence),
    cmocka_unit_test(a_reader_that_stops_is_cut_and_one_that_is_slow_is_not),
    cmocka_unit_test(a_pending_exchange_outlives_the_write_deadline_before_it),
    cmocka_unit_test(an_answer_waits_behind_one_that_is_not_taken),
    cmocka_unit_test(answers_that_overflow_the_output_buffer_stay_in_order),
    cmocka_unit_test(a_body_over_the_limit_is_413_even_to_who_is_still_sending),
    cmocka_unit_test(a_refused_body_that_is_there_already_costs_no_connection),
    cmocka_unit_test(a_chunked_body_over_the_limit_keeps_its_request),
    cmocka_unit_test(a_request_that_finds_no_room_is_429_with_its_path_if_it_had_one),
    cmocka_unit_test(a_body_that_grows_beyond_the_room_is_429_and_the_room_is_there_again),
    cmocka_unit_test(an_answer_that_finds_no_room_ends_its_connection_alone),
    cmocka_unit_test(a_connection_over_the_cap_is_closed_and_the_others_stay),
    cmocka_unit_test(exchanges_over_the_cap_are_429_and_their_connections_stay),
    cmocka_unit_test(the_client_is_told_to_continue_only_when_it_waits_for_it),
    cmocka_unit_test(head_has_the_length_of_a_body_it_does_not_send),
    cmocka_unit_test(http_1_0_closes_unless_asked_to_stay),
    cmocka_unit_test(a_close_is_the_last_answer_whatever_comes_behind_it),
    cmocka_unit_test(a_close_by_the_server_waits_for_what_the_client_still_sends),
    cmocka_unit_test(a_handlers_error_leaves_the_connection_usable_and_lost_framing_does_not),
    cmocka_unit_test(a_huge_head_is_431),
    cmocka_unit_test(a_pending_request_keeps_its_bytes_while_others_come),
    cmocka_unit_test(the_handler_is_told_when_a_peer_leaves_and_may_still_answer),
    cmocka_unit_test(a_body_in_pieces_arrives_whole_and_the_next_answer_behind_it),
    cmocka_unit_test(a_reader_that_pauses_holds_up_its_own_stream_only),
    cmocka_unit_test(head_and_http_1_0_get_a_stream_in_their_own_ways),
    cmocka_unit_test(a_stream_ends_when_its_reader_leaves_or_it_fails),
    cmocka_unit_test(stop_ends_the_streams_that_run),
    cmocka_unit_test(stop_waits_for_what_is_pending),
    cmocka_unit_test(drain_answers_what_is_pending_and_says_close),
    cmocka_unit_test(drain_takes_requests_that_have_connected_but_not_yet_asked),
    cmocka_unit_test(drain_answers_everything_it_took_while_clients_hammer),
    cmocka_unit_test(stop_cuts_clients_that_hammer),
    cmocka_unit_test(a_busy_port_or_a_name_for_an_address_is_refused),
};

T_MAIN(tests)
