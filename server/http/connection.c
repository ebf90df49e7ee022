/* One turn of a connection: read what has arrived into the worker's buffer (or the connection's own, in
 * mid-message), parse and dispatch as many requests as are there, gather their responses, send them
 * with one call, and put aside what is left over. The read event stays registered from open to close
 * except while output or a response is waited for, so an ordinary request costs recv, send and its share
 * of epoll_wait. */
#define _GNU_SOURCE /* MSG_NOSIGNAL */
#include "server/http/http_internal.h"

#include "base/number.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* ---- input buffers ---- */

static void drop_input(struct connection *c)
{
    if (c->owned)
        worker_let_go(c->worker, c->data, c->capacity);
    c->data = NULL;
    c->n = c->pos = c->capacity = 0;
    c->owned = false;
}

/* Moves what has not been consumed into an own buffer of at least `capacity` bytes; with nothing left
 * and no wish for more, gives the buffer up. False: no memory for it, or not within the budget. */
static bool keep_input(struct connection *c, size_t capacity)
{
    size_t left = c->n - c->pos;
    if (left == 0 && capacity == 0) {
        drop_input(c);
        return true;
    }
    if (capacity < left)
        capacity = left;
    if (c->owned && c->pos > 0) {
        memmove(c->data, c->data + c->pos, left);
        c->n = left;
        c->pos = 0;
    }
    if (!c->owned || c->capacity < capacity) {
        char *data =
            worker_hold(c->worker, c->owned ? c->data : NULL, c->owned ? c->capacity : 0, capacity);
        if (data == NULL)
            return false;
        if (!c->owned)
            memcpy(data, c->data + c->pos, left);
        c->data = data;
        c->capacity = capacity;
        c->owned = true;
    }
    c->n = left;
    c->pos = 0;
    return true;
}

/* Bytes the message being read wants in its buffer. What a client only announces does not size an
 * allocation: beyond a megabyte the buffer doubles with what has really come, when it is nearly full. */
static size_t wanted_bytes(const struct connection *c)
{
    size_t have = c->n - c->pos, doubled = have * 2 < 4096 ? 4096 : have * 2, whole = SIZE_MAX;
    if (c->owned && c->capacity - have > have / 4)
        return have;
    if (c->state == READ_BODY)
        whole = c->head_length + c->body_length;
    if (c->state == READ_CHUNKS) /* the framing not yet passed over is less than one read */
        whole = c->head_length + c->body_max + READ_BYTES;
    bool small = c->state == READ_BODY && whole <= READ_BYTES * 4;
    return small || whole < doubled ? whole : doubled;
}

/* ---- opening and closing ---- */

static void process(struct connection *c);
static void on_readable(evutil_socket_t fd, short what, void *ctx);
static void on_writable(evutil_socket_t fd, short what, void *ctx);

void connection_open(struct http_worker *worker, int fd)
{
    struct connection *c = calloc(1, sizeof *c);
    worker_count(&worker->open, 1);
    if (c != NULL) {
        c->worker = worker;
        c->fd = fd;
        c->next = worker->connections;
        if (c->next != NULL)
            c->next->previous = c;
        worker->connections = c;
        c->readable = event_new(worker->base, fd, EV_READ | EV_PERSIST, on_readable, c);
        c->writable = event_new(worker->base, fd, EV_WRITE, on_writable, c);
        if (c->readable != NULL && c->writable != NULL && event_add(c->readable, NULL) == 0) {
            worker_set_deadline(c, DEADLINE_IDLE);
            return;
        }
        connection_close(c);
        return;
    }
    worker_count(&worker->open, (uint64_t)-1);
    atomic_fetch_sub(&worker->server->open, 1);
    (void)close(fd);
}

/* The peer is gone: a pending exchange is cut loose and told. */
static void detach_exchange(struct connection *c)
{
    struct http_exchange *exchange = c->exchange;
    const struct http_handler *handler = &c->worker->server->config.handler;
    if (exchange == NULL)
        return;
    c->exchange = NULL;
    exchange->connection = NULL;
    if (handler->gone != NULL)
        handler->gone(handler->ctx, exchange);
}

static void drop_output(struct connection *c)
{
    worker_let_go(c->worker, c->out, c->out_n);
    c->out = NULL;
    c->out_n = c->out_pos = 0;
}

void connection_close(struct connection *c)
{
    struct http_worker *worker = c->worker;
    detach_exchange(c);
    worker_clear_deadline(c);
    *(c->previous != NULL ? &c->previous->next : &worker->connections) = c->next;
    if (c->next != NULL)
        c->next->previous = c->previous;
    if (c->readable != NULL)
        event_free(c->readable);
    if (c->writable != NULL)
        event_free(c->writable);
    drop_input(c);
    drop_output(c);
    if (c->stream != NULL)
        c->stream->end(c->stream);
    (void)close(c->fd);
    free(c);
    worker_count(&worker->open, (uint64_t)-1);
    atomic_fetch_sub(&worker->server->open, 1);
    worker_end_if_drained(worker);
}

/* ---- output ---- */

/* Puts what the socket did not take behind what waits already. */
static void put_aside(struct connection *c, const struct iovec parts[2], size_t sent)
{
    size_t waiting = c->out_n - c->out_pos;
    char *out =
        worker_hold(c->worker, NULL, 0, waiting + parts[0].iov_len + parts[1].iov_len - sent);
    if (out == NULL) {
        c->broken = true;
        return;
    }
    if (waiting > 0)
        memcpy(out, c->out + c->out_pos, waiting);
    for (size_t i = 0; i < 2; i++) {
        size_t skip = sent < parts[i].iov_len ? sent : parts[i].iov_len,
               left = parts[i].iov_len - skip;
        if (left > 0)
            memcpy(out + waiting, (const char *)parts[i].iov_base + skip, left);
        waiting += left;
        sent -= skip;
    }
    drop_output(c);
    c->out = out;
    c->out_n = waiting;
    if (event_add(c->writable, NULL) != 0)
        c->broken = true;
    (void)event_del(c->readable); /* no new requests before the answers are taken */
    worker_set_deadline(c, DEADLINE_WRITE);
}

/* Sends the gathered responses and, behind them, body (may be empty). */
static void send_parts(struct connection *c, struct span body)
{
    struct http_worker *worker = c->worker;
    struct iovec parts[2] = {{worker->output, worker->output_n},
                             {(void *)(uintptr_t)body.p, body.n}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    size_t total = worker->output_n + body.n;
    ssize_t sent = 0;
    worker->output_n = 0;
    if (total == 0 || c->broken)
        return;
    if (c->out == NULL)
        do
            sent = sendmsg(c->fd, &message, MSG_NOSIGNAL);
        while (sent < 0 && errno == EINTR);
    if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
        c->broken = true;
        return;
    }
    size_t done = sent > 0 ? (size_t)sent : 0;
    worker_count(&worker->bytes_out, done);
    if (done < total)
        put_aside(c, parts, done);
}

static void on_writable(evutil_socket_t fd, short what, void *ctx)
{
    struct connection *c = ctx;
    (void)what;
    worker_touch_time(c->worker);
    if (c->out == NULL) { /* a stream's next turn */
        process(c);
        return;
    }
    ssize_t sent = send(fd, c->out + c->out_pos, c->out_n - c->out_pos, MSG_NOSIGNAL);
    if (sent > 0) {
        worker_count(&c->worker->bytes_out, (uint64_t)sent);
        c->out_pos += (size_t)sent;
        worker_set_deadline(c, DEADLINE_WRITE);
    } else if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
        connection_close(c);
        return;
    }
    if (c->out_pos < c->out_n) {
        if (event_add(c->writable, NULL) != 0)
            connection_close(c);
        return;
    }
    drop_output(c);
    worker_clear_deadline(c); /* what follows may be a wait for a response, which has none */
    if (c->stream == NULL && event_add(c->readable, NULL) != 0) {
        connection_close(c);
        return;
    }
    process(c);
}

/* ---- responses ---- */

static const char *reason(int status)
{
    static const struct {
        int status;
        const char *text;
    } reasons[] = {{200, "OK"},
                   {202, "Accepted"},
                   {204, "No Content"},
                   {304, "Not Modified"},
                   {307, "Temporary Redirect"},
                   {400, "Bad Request"},
                   {401, "Unauthorized"},
                   {404, "Not Found"},
                   {405, "Method Not Allowed"},
                   {408, "Request Timeout"},
                   {413, "Content Too Large"},
                   {417, "Expectation Failed"},
                   {429, "Too Many Requests"},
                   {431, "Request Header Fields Too Large"},
                   {500, "Internal Server Error"},
                   {501, "Not Implemented"},
                   {503, "Service Unavailable"},
                   {504, "Gateway Timeout"},
                   {505, "HTTP Version Not Supported"}};
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].status == status)
            return reasons[i].text;
    return "Unknown";
}

static char *put(char *to, const char *text, size_t n)
{
    memcpy(to, text, n);
    return to + n;
}

#define PUT(to, literal) put((to), (literal), sizeof(literal) - 1)

/* Bytes the head of a response can take at most. */
static size_t head_bound(const struct response *response)
{
    size_t bytes = 512;
    if (response->content_type != NULL)
        bytes += strlen(response->content_type);
    for (size_t i = 0; i < response->header_count; i++)
        bytes += response->headers[i].name.n + response->headers[i].value.n + 4;
    return bytes;
}

static char *put_header(char *to, struct span name, struct span value)
{
    to = put(to, name.p, name.n);
    to = PUT(to, ": ");
    to = put(to, value.p, value.n);
    return PUT(to, "\r\n");
}

/* The head of a response; the end of what was written. */
static char *put_head(struct connection *c, const struct response *response, bool keep_alive,
                      bool http10, char *to)
{
    const char *date = worker_date(c->worker), *text = reason(response->status);
    bool bodiless = response->status == 204 || response->status == 304;
    to = PUT(to, "HTTP/1.1 ");
    to += number_write_u64(to, (uint64_t)response->status);
    *to++ = ' ';
    to = put(to, text, strlen(text));
    to = PUT(to, "\r\n");
    to = put(to, date, strlen(date));
    if (response->content_type != NULL) {
        to = PUT(to, "Content-Type: ");
        to = put(to, response->content_type, strlen(response->content_type));
        to = PUT(to, "\r\n");
    }
    if (response->stream != NULL && !http10) {
        to = PUT(to, "Transfer-Encoding: chunked\r\n");
    } else if (!bodiless && response->stream == NULL) {
        to = PUT(to, "Content-Length: ");
        to += number_write_u64(to, response->body.n);
        to = PUT(to, "\r\n");
    }
    for (size_t i = 0; i < response->header_count; i++)
        to = put_header(to, response->headers[i].name, response->headers[i].value);
    if (!keep_alive)
        to = PUT(to, "Connection: close\r\n");
    else if (http10)
        to = PUT(to, "Connection: keep-alive\r\n");
    return PUT(to, "\r\n");
}

/* Puts a response behind those gathered; sends when it does not fit. */
static void write_response(struct connection *c, const struct http_head *head,
                           const struct response *response, bool keep_alive)
{
    struct http_worker *worker = c->worker;
    bool bodiless =
        response->status == 204 || response->status == 304 || head->request.method == HTTP_HEAD;
    struct span body = bodiless ? (struct span){NULL, 0} : response->body;
    size_t bound = head_bound(response);
    if (bound > WRITE_BYTES) { /* no handler of ours has headers that long */
        c->broken = true;
        return;
    }
    if (bound > WRITE_BYTES - worker->output_n)
        send_parts(c, (struct span){NULL, 0});
    char *start = worker->output + worker->output_n;
    char *end = put_head(c, response, keep_alive, head->http10, start);
    worker->output_n += (size_t)(end - start);
    if (body.n <= WRITE_BYTES - worker->output_n) {
        if (body.n > 0)
            memcpy(worker->output + worker->output_n, body.p, body.n);
        worker->output_n += body.n;
    } else {
        send_parts(c, body);
    }
}

/* ---- exchanges ---- */

struct arena *http_arena(struct http_exchange *exchange)
{
    return exchange->arena;
}

struct http_worker *http_worker_of(struct http_exchange *exchange)
{
    return exchange->worker;
}

unsigned http_shard(const struct http_exchange *exchange)
{
    return exchange->worker->shard;
}

void **http_slot(struct http_exchange *exchange)
{
    return &exchange->slot;
}

/* ---- bodies in pieces ---- */

/* The connection takes the stream over; HEAD wants none of it. */
static void start_stream(struct connection *c, struct response_stream *stream,
                         const struct http_head *head)
{
    if (head->request.method == HTTP_HEAD) {
        stream->end(stream);
        return;
    }
    c->stream = stream;
    c->chunked_out = !head->http10;
    c->stream_begun = false;
    (void)event_del(c->readable); /* no new requests before the answer is taken */
}

static void end_stream(struct connection *c)
{
    c->stream->end(c->stream);
    c->stream = NULL;
    worker_clear_deadline(c);
    if (event_add(c->readable, NULL) != 0)
        c->broken = true;
}

/* Frames one piece: the end of the chunk before, the size of this one. */
static void send_piece(struct connection *c, struct span piece)
{
    struct http_worker *worker = c->worker;
    char *to = worker->output;
    if (c->chunked_out)
        to += sprintf(to, "%s%zx\r\n", c->stream_begun ? "\r\n" : "", piece.n);
    if (c->chunked_out && piece.n == 0)
        to = PUT(to, "\r\n");
    worker->output_n = (size_t)(to - worker->output);
    c->stream_begun = true;
    send_parts(c, piece);
}

/* One piece a turn, so that a long stream does not hold up others. True when the stream has ended. */
static bool stream_on(struct connection *c)
{
    struct span piece = {NULL, 0};
    switch (c->stream->next(c->stream, &piece)) {
    case STREAM_PIECE:
        if (piece.n > 0)
            send_piece(c, piece);
        if (c->broken || c->out != NULL)
            return false;
        worker_set_deadline(c, DEADLINE_WRITE);
        c->broken = event_add(c->writable, NULL) != 0;
        return false;
    case STREAM_END:
        send_piece(c, (struct span){NULL, 0});
        end_stream(c);
        return true;
    case STREAM_FAILED:
        break;
    }
    c->broken = true;
    return false;
}

static void deliver(struct http_exchange *exchange, const struct response *response)
{
    struct connection *c = exchange->connection;
    bool endless = response->stream != NULL && exchange->head.http10;
    bool keep_alive = exchange->head.keep_alive && !c->close_after && !response->close &&
                      !endless &&
                      !atomic_load_explicit(&c->worker->server->closing, memory_order_relaxed);
    write_response(c, &exchange->head, response, keep_alive);
    c->close_after = !keep_alive;
    c->linger |= exchange->head.keep_alive && !keep_alive; /* it has not been expecting that */
    c->answered++;
    if (response->stream != NULL)
        start_stream(c, response->stream, &exchange->head);
}

void http_respond(struct http_exchange *exchange, const struct response *response)
{
    struct http_worker *worker = exchange->worker;
    struct connection *c = exchange->connection;
    if (!exchange->pending) { /* inside the handler: the caller goes on */
        deliver(exchange, response);
        exchange->responded = true;
        return;
    }
    worker->pending--;
    atomic_fetch_sub_explicit(&worker->server->pending, 1, memory_order_relaxed);
    worker_count(&worker->in_flight, (uint64_t)-1);
    if (c != NULL) {
        c->exchange = NULL;
        c->state = READ_HEAD;
        if (event_add(c->readable, NULL) != 0)
            c->broken = true;
        deliver(exchange, response);
    }
    worker_give_exchange(worker, exchange);
    if (c != NULL)
        process(c);
    else
        worker_end_if_drained(worker);
}

/* The exchange outlives this turn: it takes over the buffer its request points into. */
static void make_pending(struct connection *c, struct http_exchange *exchange, size_t consumed)
{
    struct http_worker *worker = c->worker;
    /* A worker's own buffer is not charged: requests in flight are counted already, and one that was read
     * must not be lost for want of room. */
    char *fresh = c->owned ? NULL : malloc(READ_BYTES);
    exchange->pending = true;
    worker->pending++;
    atomic_fetch_add_explicit(&worker->server->pending, 1, memory_order_relaxed);
    c->exchange = exchange;
    c->state = WAIT_RESPONSE;
    /* The rest of the input moves to a buffer of the connection's own; the old one stays as it is. */
    c->pos += consumed;
    size_t left = c->n - c->pos;
    char *rest = left > 0 ? worker_hold(worker, NULL, 0, left) : NULL;
    if (rest != NULL)
        memcpy(rest, c->data + c->pos, left);
    c->broken |= (left > 0 && rest == NULL) || (!c->owned && fresh == NULL);
    /* Without a fresh buffer the worker keeps its own; the request is lost. */
    if (c->owned || fresh != NULL) {
        exchange->kept = c->data;
        exchange->kept_bytes = c->owned ? c->capacity : 0;
    }
    if (fresh != NULL)
        worker->input = fresh;
    c->data = rest;
    c->owned = rest != NULL;
    c->capacity = c->n = rest != NULL ? left : 0;
    c->pos = 0;
    worker_clear_deadline(c);
}

/* Hands a request (or a fault) to the handler. consumed: bytes of input it takes up. */
static void dispatch(struct connection *c, struct http_exchange *exchange, size_t consumed)
{
    struct http_worker *worker = c->worker;
    const struct http_handler *handler = &worker->server->config.handler;
    exchange->connection = c;
    exchange->head.request.received_ns = worker->now_ns;
    worker_count(&worker->in_flight, 1);
    handler->request(handler->ctx, exchange, &exchange->head.request);
    if (!exchange->responded) {
        make_pending(c, exchange, consumed);
        return;
    }
    worker_count(&worker->in_flight, (uint64_t)-1);
    c->pos += consumed;
    c->state = READ_HEAD;
    worker_give_exchange(worker, exchange);
}

/* Answers a fault; the connection closes after it, and what the client still sends is dropped so that
 * it gets to read the answer. */
static void dispatch_fault(struct connection *c, struct http_exchange *exchange,
                           struct http_fault fault)
{
    exchange->head.request.fault = fault.status;
    exchange->head.request.fault_text = fault.text;
    exchange->head.request.body = (struct span){NULL, 0};
    c->close_after = c->linger = true;
    dispatch(c, exchange, c->n - c->pos);
}

/* ---- requests ---- */

static void start_message(struct connection *c)
{
    c->search = (struct head_search){0};
    c->chunked = (struct chunked){0};
    c->head_length = c->body_length = 0;
}

/* An exchange for the next request, or NULL: then the connection is given up. */
static struct http_exchange *take_exchange(struct connection *c)
{
    struct http_exchange *exchange = worker_take_exchange(c->worker);
    if (exchange == NULL)
        c->broken = true;
    return exchange;
}

static void fault_without_head(struct connection *c, struct http_fault fault)
{
    struct http_exchange *exchange = take_exchange(c);
    if (exchange != NULL)
        dispatch_fault(c, exchange, fault);
}

static void say_continue(struct connection *c)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (WRITE_BYTES - c->worker->output_n < sizeof text)
        send_parts(c, (struct span){NULL, 0});
    memcpy(c->worker->output + c->worker->output_n, text, sizeof text - 1);
    c->worker->output_n += sizeof text - 1;
}

/* What the head decides: how the body is framed, and whether it is wanted. 0, or a fault's status. */
static struct http_fault decide_body(struct connection *c, struct http_exchange *exchange)
{
    const struct http_config *config = &c->worker->server->config;
    const struct http_head *head = &exchange->head;
    struct http_fault fault = {0, NULL};
    c->body_max = config->limits.body_bytes;
    if (config->handler.head != NULL)
        fault.status = config->handler.head(config->handler.ctx, &head->request, &c->body_max);
    if (fault.status != 0)
        fault.text = "refused before the body was read";
    else if (head->length > c->body_max)
        fault = (struct http_fault){413, "body: expected fewer bytes"};
    c->body_length = head->length;
    return fault;
}

/* Parses the head at the front of the input into a fresh exchange. */
static struct http_exchange *parse(struct connection *c)
{
    struct http_fault fault;
    struct http_exchange *exchange = take_exchange(c);
    if (exchange == NULL)
        return NULL;
    if (parse_head(c->data + c->pos, c->head_length, c->search.lines, exchange->arena,
                   &exchange->head, &fault))
        return exchange;
    dispatch_fault(c, exchange, fault);
    return NULL;
}

/* A whole request is there. Its framing is not lost, so the connection stays whatever happens to it. */
static void complete(struct connection *c, struct http_exchange *exchange, struct span body,
                     size_t consumed)
{
    const struct http_server *server = c->worker->server;
    struct request *request = &exchange->head.request;
    request->body = body;
    if (request->fault == 0 && atomic_load_explicit(&server->pending, memory_order_relaxed) >=
                                   server->config.limits.in_flight) {
        request->fault = 429;
        request->fault_text = "server: expected fewer requests in flight";
    }
    dispatch(c, exchange, consumed);
    start_message(c);
}

/* The head is there: goes on to the body, or answers at once. True when the request is done with. */
static bool begin_body(struct connection *c)
{
    struct http_exchange *exchange = parse(c);
    if (exchange == NULL)
        return true;
    struct http_fault fault = decide_body(c, exchange);
    size_t have = c->n - c->pos - c->head_length;
    if (!exchange->head.chunked &&
        have >= c->body_length) { /* the ordinary case: all in one read */
        exchange->head.request.fault = fault.status;
        exchange->head.request.fault_text = fault.text;
        complete(c, exchange, (struct span){c->data + c->pos + c->head_length, c->body_length},
                 c->head_length + c->body_length);
        return true;
    }
    if (fault.status != 0) {
        dispatch_fault(c, exchange, fault);
        return true;
    }
    if (exchange->head.expect_continue && have == 0)
        say_continue(c);
    c->state = exchange->head.chunked ? READ_CHUNKS : READ_BODY;
    worker_give_exchange(c->worker, exchange); /* parsed again when the body is there */
    return false;
}

/* Completes a request whose body took more than one read (or chunks): its head is parsed again, because
 * the buffer may have moved. */
static bool end_body(struct connection *c, size_t body_bytes, size_t consumed)
{
    struct http_exchange *exchange = parse(c);
    if (exchange != NULL)
        complete(c, exchange, (struct span){c->data + c->pos + c->head_length, body_bytes},
                 consumed);
    return true;
}

static bool step_head(struct connection *c, const char *message, size_t n)
{
    struct http_fault fault = {0, NULL};
    const struct http_limits *limits = &c->worker->server->config.limits;
    if (n == 0)
        return false;
    switch (parse_find_head(&c->search, message, n, limits->header_bytes, limits->header_count,
                            &c->head_length, &fault)) {
    case PARSE_MORE:
        return false;
    case PARSE_DONE:
        break;
    case PARSE_FAULT:
        fault_without_head(c, fault);
        return true;
    }
    if (c->search.lines == 0) { /* RFC 9112 2.2: an empty line before the request line is skipped */
        c->pos += c->head_length;
        start_message(c);
        return true;
    }
    return begin_body(c) || c->state == READ_CHUNKS;
}

/* One step with the input there is; false when more is needed. */
static bool step(struct connection *c)
{
    struct http_fault fault = {0, NULL};
    char *message = c->data + c->pos;
    size_t n = c->n - c->pos;
    if (c->state == READ_HEAD)
        return step_head(c, message, n);
    if (c->state == READ_BODY) {
        size_t whole = c->head_length + c->body_length;
        return n >= whole && end_body(c, c->body_length, whole);
    }
    n -= c->head_length;
    switch (parse_chunked(&c->chunked, message + c->head_length, &n, c->body_max, &fault)) {
    case PARSE_MORE:
        c->n = c->pos + c->head_length + n;
        return false;
    case PARSE_DONE:
        return end_body(c, c->chunked.out, c->head_length + c->chunked.in);
    case PARSE_FAULT:
        break;
    }
    struct http_exchange *exchange = parse(c);
    if (exchange != NULL)
        dispatch_fault(c, exchange, fault);
    return true;
}

/* ---- a turn ---- */

/* After the last response of a connection: closes it, unless the client may still be sending: closing
 * with unread input would reset the connection and take the answer with it. */
static void finish(struct connection *c)
{
    bool unread = c->linger || c->n > c->pos;
    if (!unread || c->peer_done) {
        connection_close(c);
        return;
    }
    c->state = DROP_INPUT;
    (void)shutdown(c->fd, SHUT_WR);
    c->pos = c->n;
    if (!keep_input(c, 0)) {
        connection_close(c);
        return;
    }
    worker_set_deadline(c, DEADLINE_LINGER);
}

/* Between requests and in the middle of one, a connection has different deadlines. */
static void set_read_deadline(struct connection *c)
{
    bool idle = c->n == c->pos && c->state == READ_HEAD;
    if (idle)
        worker_set_deadline(c, DEADLINE_IDLE);
    else if (!c->listed || c->deadline != DEADLINE_REQUEST)
        worker_set_deadline(c, DEADLINE_REQUEST);
}

/* There is no room for the rest of a request: it is answered unread, and the last one. */
static void refuse_input(struct connection *c)
{
    static const struct http_fault full = {
        429, "memory: expected room for the request, the budget is in use; try again"};
    struct http_exchange *exchange;
    if (c->state == READ_HEAD)
        fault_without_head(c, full);
    else if ((exchange = parse(c)) != NULL)
        dispatch_fault(c, exchange, full);
}

/* Answers the requests that are there, up to one that has to wait. */
static void work_off(struct connection *c)
{
    while (!c->broken && c->out == NULL && c->stream == NULL && !c->close_after &&
           c->state <= READ_CHUNKS) {
        unsigned answered = c->answered;
        bool went_on = step(c);
        /* A finished request ends its deadline; the next one starts its own. */
        if (c->answered != answered && c->deadline == DEADLINE_REQUEST)
            worker_clear_deadline(c);
        if (!went_on)
            break;
    }
}

/* Works off the input, sends what came of it, and prepares for the next turn. */
static void process(struct connection *c)
{
    do {
        work_off(c);
        send_parts(c, (struct span){NULL, 0});
    } while (c->stream != NULL && c->out == NULL && !c->broken && stream_on(c));
    if (c->broken) {
        connection_close(c);
        return;
    }
    bool waiting = c->state == WAIT_RESPONSE || c->out != NULL || c->stream != NULL;
    if (!waiting && (c->close_after || c->peer_done)) {
        finish(c);
        return;
    }
    bool partial = c->n > c->pos;
    if (keep_input(c, partial && !waiting ? wanted_bytes(c) : 0)) {
        if (!waiting)
            set_read_deadline(c);
    } else if (partial && !waiting) {
        refuse_input(c);
        process(c);
    } else {
        connection_close(c);
    }
}

/* Reads once; the bytes, 0 when there are none now, -1 when the connection is over. */
static ssize_t receive(struct connection *c)
{
    struct http_worker *worker = c->worker;
    if (!c->owned) {
        c->data = worker->input;
        c->capacity = READ_BYTES;
        c->n = c->pos = 0;
    }
    size_t room = c->capacity - c->n; /* process() has made some */
    ssize_t got = recv(c->fd, c->data + c->n, room < READ_BYTES ? room : READ_BYTES, 0);
    if (got > 0) {
        c->n += (size_t)got;
        worker_count(&worker->bytes_in, (uint64_t)got);
        return got;
    }
    if (got == 0) {
        c->peer_done = true;
        return 0;
    }
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 0 : -1;
}

/* A refused client still sends: its bytes are read and dropped for a while. */
static void drop(struct connection *c)
{
    ssize_t got = recv(c->fd, c->worker->input, READ_BYTES, 0);
    if (got > 0) {
        c->dropped += (size_t)got;
        worker_count(&c->worker->bytes_in, (uint64_t)got);
    }
    if (got == 0 || c->dropped > LINGER_BYTES ||
        (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
        connection_close(c);
}

/* A response is pending: input waits in the kernel; only the peer's leaving is of interest. */
static void watch(struct connection *c)
{
    char byte;
    ssize_t got = recv(c->fd, &byte, 1, MSG_PEEK);
    if (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
        connection_close(c);
        return;
    }
    c->peer_done |= got == 0;
    if (got >= 0)
        (void)event_del(c->readable);
}

static void on_readable(evutil_socket_t fd, short what, void *ctx)
{
    struct connection *c = ctx;
    (void)fd, (void)what;
    worker_touch_time(c->worker);
    if (c->state == WAIT_RESPONSE) {
        watch(c);
        return;
    }
    if (c->state == DROP_INPUT) {
        drop(c);
        return;
    }
    ssize_t got = receive(c);
    if (got < 0) {
        connection_close(c);
        return;
    }
    if (got > 0 || c->peer_done)
        process(c);
    else if (!c->owned)
        c->n = c->pos = 0;
}

void connection_expire(struct connection *c)
{
    static const struct http_fault late = {408, "request: expected all of it sooner"};
    if (c->deadline != DEADLINE_REQUEST || c->state > READ_CHUNKS) {
        connection_close(c);
        return;
    }
    fault_without_head(c, late);
    process(c);
}

void connection_drain(struct connection *c)
{
    struct http_worker *worker = c->worker;
    uint64_t age_ms = worker->now_ns / 1000000 - worker->drain_ms;
    bool idle = c->state == READ_HEAD && c->n == c->pos && c->out == NULL && c->stream == NULL;
    if (!idle)
        return;
    ssize_t got = receive(c);
    if (got < 0) {
        connection_close(c);
        return;
    }
    if (got > 0 || c->peer_done) {
        process(c);
        return;
    }
    if (!c->owned)
        c->n = c->pos = 0;
    /* Who has just connected is about to ask; who was answered before has been told to go. */
    if (c->answered > 0 || age_ms > FIRST_REQUEST_GRACE_MS)
        connection_close(c);
}
