/* A server is its workers: sockets are bound first, all of them on one port, then the threads start. */
#define _GNU_SOURCE /* SO_REUSEPORT */
#include "server/http/http_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BACKLOG = 4096 };

struct http_limits http_default_limits(void)
{
    return (struct http_limits){.header_bytes = 16 * 1024,
                                .header_count = 100,
                                .body_bytes = 16 * 1024 * 1024,
                                .connections = 10000,
                                .in_flight = 1024,
                                .request_ms = 30 * 1000,
                                .idle_ms = 75 * 1000,
                                .write_ms = 30 * 1000};
}

/* ---- sockets ---- */

/* An address of either family. */
struct address {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } socket;
    socklen_t length;
};

static bool parse_address(const char *host, unsigned port, struct address *address,
                          struct error *err)
{
    *address = (struct address){.length = sizeof address->socket.v4};
    if (inet_pton(AF_INET, host, &address->socket.v4.sin_addr) == 1) {
        address->socket.v4.sin_family = AF_INET;
        address->socket.v4.sin_port = htons((uint16_t)port);
        return true;
    }
    address->length = sizeof address->socket.v6;
    if (inet_pton(AF_INET6, host, &address->socket.v6.sin6_addr) == 1) {
        address->socket.v6.sin6_family = AF_INET6;
        address->socket.v6.sin6_port = htons((uint16_t)port);
        return true;
    }
    return error_set(err, ERR_INVALID, "host: expected an IPv4 or IPv6 address, got \"%s\"", host);
}

static int bind_socket(const struct address *address, unsigned port, bool shared, struct error *err)
{
    int on = 1;
    int fd = socket(address->socket.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        (!shared || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0) &&
        bind(fd, &address->socket.any, address->length) == 0)
        return fd;
    (void)error_set(err, ERR_INVALID, "port %u: %s", port, strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    return -1;
}

static unsigned bound_port(int fd)
{
    struct address address = {.length = sizeof address.socket};
    if (getsockname(fd, &address.socket.any, &address.length) != 0)
        return 0;
    return ntohs(address.socket.any.sa_family == AF_INET ? address.socket.v4.sin_port
                                                         : address.socket.v6.sin6_port);
}

/* A listening socket of one worker; accepted sockets inherit TCP_NODELAY from it. */
static int listen_socket(const struct http_config *config, unsigned port, struct error *err)
{
    int on = 1, fd = -1;
    struct address address;
    if (!parse_address(config->host, port, &address, err) ||
        (fd = bind_socket(&address, port, true, err)) < 0)
        return -1;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    (void)error_set(err, ERR_INVALID, "port %u: %s", port, strerror(errno));
    (void)close(fd);
    return -1;
}

/* With SO_REUSEPORT two servers of one user would share a port in silence, so it is bound once
 * without. */
static bool port_is_free(const struct http_config *config, struct error *err)
{
    struct address address;
    if (!parse_address(config->host, config->port, &address, err))
        return false;
    int fd = bind_socket(&address, config->port, false, err);
    if (fd < 0)
        return false;
    (void)close(fd);
    return true;
}

/* ---- life ---- */

static bool make_workers(struct http_server *server, struct error *err)
{
    const struct http_config *config = &server->config;
    for (unsigned i = 0; i < config->workers; i++)
        server->workers[i].wake_fd = server->workers[i].listen_fd = -1;
    for (unsigned i = 0; i < config->workers; i++) {
        int fd = listen_socket(config, i == 0 ? config->port : server->port, err);
        if (fd < 0)
            return false;
        server->port = bound_port(fd);
        if (!worker_init(&server->workers[i], server, i, fd, err)) {
            if (server->workers[i].listener == NULL)
                (void)close(fd);
            return false;
        }
    }
    return true;
}

static bool start_threads(struct http_server *server, struct error *err)
{
    for (; server->started < server->config.workers; server->started++) {
        struct http_worker *worker = &server->workers[server->started];
        (void)pthread_mutex_lock(&server->lock);
        server->live++;
        (void)pthread_mutex_unlock(&server->lock);
        int rc = pthread_create(&worker->thread, NULL, worker_run, worker);
        if (rc != 0)
            return error_set(err, ERR_INTERNAL, "http: no thread: %s", strerror(rc));
    }
    return true;
}

struct http_server *http_start(const struct http_config *config, struct error *err)
{
    if (!port_is_free(config, err))
        return NULL;
    struct http_server *server =
        calloc(1, sizeof *server + config->workers * sizeof *server->workers);
    if (server == NULL) {
        (void)error_set(err, ERR_NO_MEMORY, "http: out of memory");
        return NULL;
    }
    server->config = *config;
    (void)pthread_mutex_init(&server->lock, NULL);
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&server->changed, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    /* The sockets listen already, so connections made from now on are only a little late. */
    if (make_workers(server, err) && start_threads(server, err))
        return server;
    http_stop(server);
    return NULL;
}

unsigned http_port(const struct http_server *server)
{
    return server->port;
}

struct http_stats http_stats(const struct http_server *server)
{
    struct http_stats sum = {0};
    for (unsigned i = 0; i < server->config.workers; i++) {
        const struct http_worker *w = &server->workers[i];
        sum.connections_accepted += atomic_load_explicit(&w->accepted, memory_order_relaxed);
        sum.connections_refused += atomic_load_explicit(&w->refused, memory_order_relaxed);
        sum.connections_open += atomic_load_explicit(&w->open, memory_order_relaxed);
        sum.exchanges_in_flight += atomic_load_explicit(&w->in_flight, memory_order_relaxed);
        sum.bytes_in += atomic_load_explicit(&w->bytes_in, memory_order_relaxed);
        sum.bytes_out += atomic_load_explicit(&w->bytes_out, memory_order_relaxed);
    }
    return sum;
}

void http_close_connections(struct http_server *server)
{
    atomic_store_explicit(&server->closing, true, memory_order_relaxed);
}

/* Waits until every loop has ended; false when the deadline passes first. */
static bool wait_for_loops(struct http_server *server, const struct timespec *deadline)
{
    (void)pthread_mutex_lock(&server->lock);
    int rc = 0;
    while (server->live > 0 && rc == 0)
        rc = pthread_cond_timedwait(&server->changed, &server->lock, deadline);
    bool ended = server->live == 0;
    (void)pthread_mutex_unlock(&server->lock);
    return ended;
}

bool http_drain(struct http_server *server, unsigned deadline_ms)
{
    struct timespec deadline;
    (void)clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += deadline_ms / 1000;
    deadline.tv_nsec += (long)(deadline_ms % 1000) * 1000000;
    if (deadline.tv_nsec >= 1000000000) {
        deadline.tv_sec++;
        deadline.tv_nsec -= 1000000000;
    }
    http_close_connections(server);
    for (unsigned i = 0; i < server->started; i++) {
        server->workers[i].drain_task.run = worker_drain;
        http_post(&server->workers[i], &server->workers[i].drain_task);
    }
    return wait_for_loops(server, &deadline);
}

void http_stop(struct http_server *server)
{
    if (server == NULL)
        return;
    for (unsigned i = 0; i < server->started; i++) {
        server->workers[i].stop_task.run = worker_stop;
        http_post(&server->workers[i], &server->workers[i].stop_task);
    }
    for (unsigned i = 0; i < server->started; i++)
        (void)pthread_join(server->workers[i].thread, NULL);
    for (unsigned i = 0; i < server->config.workers; i++)
        worker_clear(&server->workers[i]);
    (void)pthread_cond_destroy(&server->changed);
    (void)pthread_mutex_destroy(&server->lock);
    free(server);
}
