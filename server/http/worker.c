/* A worker's loop: accepts, runs posted tasks, looks at deadlines, and recycles what exchanges use. */
#define _GNU_SOURCE /* accept4 */
#include "server/http/http_internal.h"

#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

void worker_touch_time(struct http_worker *worker)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    worker->now_ns = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

const char *worker_date(struct http_worker *worker)
{
    time_t now = time(NULL);
    struct tm utc;
    if (now != worker->date_second) {
        (void)gmtime_r(&now, &utc);
        (void)strftime(worker->date, sizeof worker->date, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n",
                       &utc);
        worker->date_second = now;
    }
    return worker->date;
}

/* ---- deadlines ---- */

void worker_clear_deadline(struct connection *c)
{
    struct deadline_list *list = &c->worker->deadlines[c->deadline];
    if (!c->listed)
        return;
    *(c->list_previous != NULL ? &c->list_previous->list_next : &list->first) = c->list_next;
    *(c->list_next != NULL ? &c->list_next->list_previous : &list->last) = c->list_previous;
    c->listed = false;
}

void worker_set_deadline(struct connection *c, enum deadline_kind kind)
{
    struct deadline_list *list = &c->worker->deadlines[kind];
    worker_clear_deadline(c);
    c->deadline = kind;
    c->deadline_ms = c->worker->now_ns / 1000000 + list->timeout_ms;
    c->list_previous = list->last;
    c->list_next = NULL;
    *(list->last != NULL ? &list->last->list_next : &list->first) = c;
    list->last = c;
    c->listed = true;
}

static void drain_connections(struct http_worker *worker)
{
    for (struct connection *c = worker->connections, *next; c != NULL; c = next) {
        next = c->next;
        connection_drain(c);
    }
    worker_end_if_drained(worker);
}

static void on_tick(evutil_socket_t fd, short what, void *ctx)
{
    struct http_worker *worker = ctx;
    (void)fd, (void)what;
    worker_touch_time(worker);
    for (size_t i = 0; i < DEADLINE_COUNT; i++) {
        struct deadline_list *list = &worker->deadlines[i];
        while (list->first != NULL && list->first->deadline_ms <= worker->now_ns / 1000000)
            connection_expire(list->first);
    }
    if (worker->accept_paused && worker->listener != NULL) {
        worker->accept_paused = false;
        (void)evconnlistener_enable(worker->listener);
    }
    if (worker->draining)
        drain_connections(worker);
}

/* ---- accepting ---- */

static void take_connection(struct http_worker *worker, int fd)
{
    struct http_server *server = worker->server;
    worker_count(&worker->accepted, 1);
    if (atomic_fetch_add(&server->open, 1) < server->config.limits.connections) {
        connection_open(worker, fd);
        return;
    }
    atomic_fetch_sub(&server->open, 1);
    worker_count(&worker->refused, 1);
    (void)close(fd);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address,
                      int length, void *ctx)
{
    (void)listener, (void)address, (void)length;
    take_connection(ctx, fd);
}

/* Out of descriptors or memory: the queue of the kernel waits until the next tick. */
static void on_accept_error(struct evconnlistener *listener, void *ctx)
{
    struct http_worker *worker = ctx;
    worker->accept_paused = true;
    (void)evconnlistener_disable(listener);
}

/* ---- tasks ---- */

void http_post(struct http_worker *worker, struct http_task *task)
{
    /* As soon as the task can be seen, it may run, be the last, and the worker be cleared: that waits
     * until nobody is in here. */
    (void)atomic_fetch_add_explicit(&worker->posting, 1, memory_order_relaxed);
    struct http_task *head = atomic_load_explicit(&worker->posted, memory_order_relaxed);
    do
        task->next = head;
    while (!atomic_compare_exchange_weak_explicit(&worker->posted, &head, task,
                                                  memory_order_release, memory_order_relaxed));
    uint64_t one = 1;
    if (head == NULL) /* otherwise somebody has woken the worker already */
        while (write(worker->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
            ;
    (void)atomic_fetch_sub_explicit(&worker->posting, 1, memory_order_release);
}

static void on_wake(evutil_socket_t fd, short what, void *ctx)
{
    struct http_worker *worker = ctx;
    struct http_task *task, *reversed = NULL, *next;
    uint64_t count;
    (void)what;
    worker_touch_time(worker);
    while (read(fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
    task = atomic_exchange_explicit(&worker->posted, NULL, memory_order_acquire);
    for (; task != NULL; task = next) { /* oldest first */
        next = task->next;
        task->next = reversed;
        reversed = task;
    }
    for (; reversed != NULL; reversed = next) {
        next = reversed->next;
        reversed->run(reversed);
    }
}

/* ---- drain ---- */

static void close_listener(struct http_worker *worker)
{
    if (worker->listener != NULL)
        evconnlistener_free(worker->listener);
    worker->listener = NULL;
}

void worker_drain(struct http_task *task)
{
    struct http_worker *worker = (void *)((char *)task - offsetof(struct http_worker, drain_task));
    worker->draining = true;
    worker->drain_ms = worker->now_ns / 1000000;
    /* What the kernel has accepted was promised an answer: take it all before closing the door. */
    for (int fd; worker->listener != NULL;) {
        fd = accept4(worker->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            take_connection(worker, fd);
        else if (errno != EINTR && errno != ECONNABORTED)
            break;
    }
    close_listener(worker);
    drain_connections(worker);
}

void worker_stop(struct http_task *task)
{
    struct http_worker *worker = (void *)((char *)task - offsetof(struct http_worker, stop_task));
    worker->draining = true;
    close_listener(worker);
    while (worker->connections != NULL)
        connection_close(worker->connections);
    worker_end_if_drained(worker);
}

void worker_end_if_drained(struct http_worker *worker)
{
    if (worker->draining && worker->connections == NULL && worker->pending == 0)
        (void)event_base_loopbreak(worker->base);
}

/* ---- memory ---- */

/* Asking for a negative number of bytes cannot fail. */
static bool charge(struct http_worker *worker, ptrdiff_t bytes)
{
    const struct http_handler *handler = &worker->server->config.handler;
    return handler->charge == NULL || handler->charge(handler->ctx, bytes);
}

void *worker_hold(struct http_worker *worker, void *held, size_t held_bytes, size_t bytes)
{
    ptrdiff_t more = (ptrdiff_t)bytes - (ptrdiff_t)held_bytes;
    if (!charge(worker, more))
        return NULL;
    void *grown = realloc(held, bytes);
    if (grown == NULL)
        (void)charge(worker, -more);
    return grown;
}

void worker_let_go(struct http_worker *worker, void *held, size_t bytes)
{
    free(held);
    if (held != NULL)
        (void)charge(worker, -(ptrdiff_t)bytes);
}

/* ---- recycling ---- */

struct http_exchange *worker_take_exchange(struct http_worker *worker)
{
    struct http_exchange *exchange = worker->spare_exchanges;
    if (exchange != NULL) {
        worker->spare_exchanges = exchange->next;
        worker->spare_count--;
        return exchange;
    }
    exchange = calloc(1, sizeof *exchange);
    if (exchange == NULL)
        return NULL;
    exchange->worker = worker;
    exchange->arena = arena_new(ARENA_BYTES, 0);
    if (exchange->arena == NULL) {
        free(exchange);
        return NULL;
    }
    return exchange;
}

static void free_exchange(struct http_exchange *exchange)
{
    arena_free(exchange->arena);
    free(exchange);
}

void worker_give_exchange(struct http_worker *worker, struct http_exchange *exchange)
{
    worker_let_go(worker, exchange->kept, exchange->kept_bytes);
    if (worker->spare_count == SPARE_MAX) {
        free_exchange(exchange);
        return;
    }
    arena_reset(exchange->arena);
    *exchange = (struct http_exchange){
        .worker = worker, .arena = exchange->arena, .next = worker->spare_exchanges};
    worker->spare_exchanges = exchange;
    worker->spare_count++;
}

/* ---- life ---- */

static bool make_events(struct http_worker *worker)
{
    static const struct timeval tick = {0, TICK_MS * 1000};
    struct event_config *config = event_config_new();
    if (config == NULL)
        return false;
    (void)event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    worker->base = event_base_new_with_config(config);
    event_config_free(config);
    if (worker->base == NULL)
        return false;
    worker->wake = event_new(worker->base, worker->wake_fd, EV_READ | EV_PERSIST, on_wake, worker);
    worker->tick = event_new(worker->base, -1, EV_PERSIST, on_tick, worker);
    worker->listener =
        evconnlistener_new(worker->base, on_accept, worker,
                           LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, worker->listen_fd);
    if (worker->wake == NULL || worker->tick == NULL || worker->listener == NULL)
        return false;
    evconnlistener_set_error_cb(worker->listener, on_accept_error);
    return event_add(worker->wake, NULL) == 0 && event_add(worker->tick, &tick) == 0;
}

bool worker_init(struct http_worker *worker, struct http_server *server, unsigned index,
                 int listen_fd, struct error *err)
{
    const struct http_limits *limits = &server->config.limits;
    worker->server = server;
    worker->shard = server->config.first_shard + index;
    worker->listen_fd = listen_fd;
    worker->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    worker->input = malloc(READ_BYTES);
    worker->output = malloc(WRITE_BYTES);
    worker->deadlines[DEADLINE_IDLE].timeout_ms = limits->idle_ms;
    worker->deadlines[DEADLINE_REQUEST].timeout_ms = limits->request_ms;
    worker->deadlines[DEADLINE_WRITE].timeout_ms = limits->write_ms;
    worker->deadlines[DEADLINE_LINGER].timeout_ms = LINGER_MS;
    worker_touch_time(worker);
    if (worker->wake_fd >= 0 && worker->input != NULL && worker->output != NULL &&
        make_events(worker))
        return true;
    return error_set(err, ERR_NO_MEMORY, "http: no memory or descriptors for a worker");
}

/* Everything a worker has, also one whose worker_init failed half-way. */
void worker_clear(struct http_worker *worker)
{
    struct http_exchange *next;
    while (atomic_load_explicit(&worker->posting, memory_order_acquire) > 0)
        (void)sched_yield();
    for (struct http_exchange *e = worker->spare_exchanges; e != NULL; e = next) {
        next = e->next;
        free_exchange(e);
    }
    close_listener(worker);
    if (worker->wake != NULL)
        event_free(worker->wake);
    if (worker->tick != NULL)
        event_free(worker->tick);
    if (worker->base != NULL)
        event_base_free(worker->base);
    if (worker->wake_fd >= 0)
        (void)close(worker->wake_fd);
    free(worker->input);
    free(worker->output);
}

void *worker_run(void *ctx)
{
    struct http_worker *worker = ctx;
    struct http_server *server = worker->server;
    (void)event_base_dispatch(worker->base);
    (void)pthread_mutex_lock(&server->lock);
    server->live--;
    (void)pthread_cond_signal(&server->changed);
    (void)pthread_mutex_unlock(&server->lock);
    return NULL;
}
