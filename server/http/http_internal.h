/* http_internal.h - servers, workers, connections and exchanges, for the files of this folder only.
 *
 * http.c        a server: binding, threads, drain, stop
 * worker.c      a worker: its loop, listener, tasks, deadlines, recycled buffers and exchanges
 * connection.c  a connection: reading, parsing, dispatching, writing
 *
 * Threads: a worker and everything it points to belongs to its thread, but for the members marked
 * atomic and the task queue.
 */
#ifndef SERVER_HTTP_HTTP_INTERNAL_H
#define SERVER_HTTP_HTTP_INTERNAL_H

#include "server/http/http.h"
#include "server/http/parser.h"

#include <event2/event.h>
#include <event2/listener.h>
#include <pthread.h>
#include <stdatomic.h>

enum {
    READ_BYTES = 256 * 1024,         /* most that is read from a connection in one turn */
    WRITE_BYTES = 64 * 1024,         /* responses of one turn are gathered up to this */
    ARENA_BYTES = 16 * 1024,         /* first block of an exchange's arena */
    SPARE_MAX = 64,                  /* exchanges and read buffers kept for reuse */
    TICK_MS = 100,                   /* how often deadlines are looked at */
    LINGER_MS = 2000,                /* how long input behind the last answer is read and dropped */
    LINGER_BYTES = 32 * 1024 * 1024, /* and how much of it */
    FIRST_REQUEST_GRACE_MS = 1000,   /* draining: for connections that have not asked yet */
};

/* ---- deadlines: lists in order of expiry, because every list has one constant timeout ---- */

enum deadline_kind {
    DEADLINE_IDLE,
    DEADLINE_REQUEST,
    DEADLINE_WRITE,
    DEADLINE_LINGER,
    DEADLINE_COUNT
};

struct deadline_list {
    struct connection *first, *last;
    unsigned timeout_ms;
};

/* ---- exchanges ---- */

struct http_exchange {
    struct connection *connection; /* NULL once the peer has left */
    struct http_worker *worker;
    struct arena *arena;
    struct http_head head;
    char *kept; /* buffer the request points into, owned while pending; NULL: somebody else's */
    size_t kept_bytes; /* of it that are charged */
    void *slot;
    bool responded, pending;
    struct http_exchange *next; /* spare list */
};

/* ---- connections ---- */

enum connection_state {
    READ_HEAD,
    READ_BODY,
    READ_CHUNKS,
    WAIT_RESPONSE, /* an exchange is pending */
    DROP_INPUT, /* answered: what still arrives is read and dropped, then the connection closes */
};

struct connection {
    struct http_worker *worker;
    int fd;
    struct event *readable, *writable;
    enum connection_state state;
    bool peer_done;    /* the peer has sent its last byte */
    bool close_after;  /* no request is read after the current response */
    bool linger;       /* the peer does not know that: it may still be sending */
    bool broken;       /* reset, or out of memory: nothing more can be sent */
    unsigned answered; /* requests answered so far */

    char *data; /* input not yet consumed: own buffer, or the worker's for the length of a turn */
    size_t n, pos, capacity;
    bool owned;

    struct head_search search;
    struct chunked chunked;
    size_t head_length, body_length, body_max;
    size_t dropped;                 /* bytes dropped so far */
    struct http_exchange *exchange; /* pending */

    char *out; /* what the socket did not take */
    size_t out_n, out_pos;
    struct response_stream *stream; /* body being sent in pieces */
    bool chunked_out;               /* framed by chunks; else by the end of the connection */
    bool stream_begun;

    enum deadline_kind deadline;
    bool listed;
    uint64_t deadline_ms;
    struct connection *list_previous, *list_next; /* deadline list */
    struct connection *previous, *next;           /* all of the worker's */
};

/* ---- workers ---- */

struct http_worker {
    struct http_server *server;
    pthread_t thread;
    unsigned shard;
    struct event_base *base;
    struct evconnlistener *listener;
    struct event *wake, *tick;
    int listen_fd, wake_fd;
    bool draining, accept_paused;
    uint64_t now_ns; /* when the current turn began */
    uint64_t drain_ms;

    _Atomic(struct http_task *) posted;
    atomic_uint posting; /* threads inside http_post, who may still use wake_fd */
    struct http_task drain_task, stop_task; /* posted by the main thread, once each */

    struct connection *connections;
    size_t pending; /* exchanges waiting for their response */
    struct deadline_list deadlines[DEADLINE_COUNT];

    char *input; /* READ_BYTES */
    char *output;
    size_t output_n;
    struct http_exchange *spare_exchanges;
    size_t spare_count;

    time_t date_second;
    char date[64]; /* "Date: ...\r\n" */

    /* Written by this worker, read by anybody. */
    _Atomic uint64_t accepted, refused, open, in_flight, bytes_in, bytes_out;
};

struct http_server {
    struct http_config config;
    unsigned port, started;
    atomic_bool closing;
    atomic_size_t open, pending; /* connections; exchanges waiting for their response */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned live; /* workers whose loop runs; under lock */
    struct http_worker workers[];
};

/* Adds to a counter that only the calling worker writes. */
static inline void worker_count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

/* worker.c */
bool worker_init(struct http_worker *worker, struct http_server *server, unsigned index,
                 int listen_fd, struct error *err) MUST_CHECK;
void worker_clear(struct http_worker *worker);
void *worker_run(void *worker);
/* Tasks: accept what has arrived, then end when the last connection is gone; close them all, then end
 * when the last pending exchange has been answered. */
void worker_drain(struct http_task *drain_task);
void worker_stop(struct http_task *stop_task);
void worker_end_if_drained(struct http_worker *worker);
void worker_touch_time(struct http_worker *worker);
void worker_set_deadline(struct connection *connection, enum deadline_kind kind);
void worker_clear_deadline(struct connection *connection);
/* Charged memory that outlives a turn, of which held (NULL, or held_bytes long) becomes the beginning; NULL
 * when that is refused or there is none, held being as it was. */
void *worker_hold(struct http_worker *worker, void *held, size_t held_bytes,
                  size_t bytes) MUST_CHECK;
void worker_let_go(struct http_worker *worker, void *held, size_t bytes);
struct http_exchange *worker_take_exchange(struct http_worker *worker) MUST_CHECK;
void worker_give_exchange(struct http_worker *worker, struct http_exchange *exchange);
const char *worker_date(struct http_worker *worker);

/* connection.c */
void connection_open(struct http_worker *worker, int fd);
void connection_close(struct connection *connection);
void connection_expire(struct connection *connection);
/* Looks once whether something has arrived; closes the connection if it is idle. */
void connection_drain(struct connection *connection);

#endif
