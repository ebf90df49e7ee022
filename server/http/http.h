/* http.h - HTTP/1.1 server: sockets in, exchanges out.
 *
 * Idea:    one event_base per worker thread, each with its own SO_REUSEPORT listener; a connection
 *          belongs to one worker for life, so nothing on the hot path is locked. The parser is strict
 *          (RFC 9112) and refuses what smuggles. Bytes are parsed where they were read; a connection
 *          owns a buffer only in mid-message. Responses are written directly; what the socket does
 *          not take waits for it to become writable.
 * Does not: TLS, HTTP/2, compression, routing, JSON. A status outside framing is the handler's affair.
 * Threads: http_start, http_close_connections, http_drain, http_stop: the main thread. The handler runs
 *          on the exchange's worker. http_respond: that worker only. http_post: any thread.
 * Memory:  an exchange and its arena belong to the worker and are recycled after the response has been
 *          written (or the peer has left and the handler has responded). What a connection keeps between
 *          turns, partial requests and responses not yet taken, is charged to the handler.
 * Errors:  ERR_INVALID bad address or busy port (the message names it), ERR_NO_MEMORY, ERR_INTERNAL.
 */
#ifndef SERVER_HTTP_HTTP_H
#define SERVER_HTTP_HTTP_H

#include "base/arena.h"
#include "base/error.h"
#include "server/http/message.h"

struct http_server;
struct http_worker;
struct http_exchange;

struct http_limits {
    size_t header_bytes; /* request line and headers; over it: 431 */
    size_t header_count; /* over it: 431 */
    size_t body_bytes;   /* hard cap whatever head() says; over it: 413 */
    size_t connections;  /* per server; beyond it new ones are accepted and closed at once */
    size_t in_flight;    /* exchanges waiting for their response, per server; over it: 429 */
    unsigned request_ms; /* from the first byte of a request to its last: 408 */
    unsigned idle_ms;    /* keep-alive between requests */
    unsigned write_ms;   /* a response that makes no progress for so long is cut */
};

/* The defaults the README states. */
struct http_limits http_default_limits(void);

struct http_handler {
    void *ctx;
    /* Before the body is read: 0 to go on, or a status; may lower *body_max (bytes). With a status the
     * request reaches request() at once with fault set, and the connection closes after the answer
     * unless the body has arrived already. May be NULL. */
    int (*head)(void *ctx, const struct request *request, size_t *body_max);
    /* A whole request, or a framing fault (request->fault != 0). Exactly one http_respond follows, now
     * or later. */
    void (*request)(void *ctx, struct http_exchange *exchange, const struct request *request);
    /* Asks for bytes > 0 of memory before input or output that has to wait is kept; false refuses: the
     * request is answered with fault 429, an answer is cut. bytes < 0 gives back and is never refused.
     * On any worker. May be NULL. */
    bool (*charge)(void *ctx, ptrdiff_t bytes);
    /* The peer left, or the server stops, before the response: the handler may stop working but still
     * calls http_respond once. May be NULL. */
    void (*gone)(void *ctx, struct http_exchange *exchange);
};

/* What the server counts, summed over its workers when read; for /metrics. */
struct http_stats {
    uint64_t connections_accepted, connections_refused, connections_open, exchanges_in_flight;
    uint64_t bytes_in, bytes_out;
};

struct http_config {
    const char *host;     /* numeric IPv4 or IPv6 address, "0.0.0.0" */
    unsigned port;        /* 0: the system picks */
    unsigned workers;     /* >= 1 */
    unsigned first_shard; /* worker i is shard first_shard + i */
    struct http_limits limits;
    struct http_handler handler;
};

/* Binds (loudly failing on a busy port), starts the workers and returns when all of them accept. */
struct http_server *http_start(const struct http_config *config, struct error *err) MUST_CHECK;

/* The port actually bound. */
unsigned http_port(const struct http_server *server);

struct http_stats http_stats(const struct http_server *server);

/* From now on every response says Connection: close and is the last of its connection. */
void http_close_connections(struct http_server *server);

/* Accepts what has already arrived, closes the listeners, finishes what is in flight, closes the
 * rest; returns true when every connection is gone, false when deadline_ms passed first. */
bool http_drain(struct http_server *server, unsigned deadline_ms);

/* Cuts every connection, waits until the handlers have answered what is pending (gone() has told them
 * to hurry), ends the workers and frees everything. So what answers is stopped after the server. */
void http_stop(struct http_server *server);

/* ---- for the handler ---- */

/* Arena of the exchange; lives until the response is written. */
struct arena *http_arena(struct http_exchange *exchange);
struct http_worker *http_worker_of(struct http_exchange *exchange);
/* Shard of the exchange's worker, for metrics. */
unsigned http_shard(const struct http_exchange *exchange);
/* A slot the handler may use to find its own state again, in gone() for instance; NULL at first. */
void **http_slot(struct http_exchange *exchange);

/* Answers; once, on the owning worker: inside request(), or from a posted task, never inside request() of
 * another exchange. The response's memory must live as long as the arena. */
void http_respond(struct http_exchange *exchange, const struct response *response);

/* Work posted to a worker; embedded in the poster's own struct, so posting cannot fail. */
struct http_task {
    void (*run)(struct http_task *task); /* on the worker */
    struct http_task *next;              /* the queue's */
};
void http_post(struct http_worker *worker, struct http_task *task);

#endif
