/* message.h - one HTTP request and one HTTP response, as bytes.
 *
 * Does not: know sockets, JSON, or routes.
 * Threads: a request belongs to its exchange's worker; borrowed by whoever is called with it.
 * Memory:  every span of a request points into the exchange's buffers or arena and is valid until
 *          the response has been handed over. What a response points to must live as long as the
 *          exchange's arena, or for ever.
 */
#ifndef SERVER_HTTP_MESSAGE_H
#define SERVER_HTTP_MESSAGE_H

#include "base/arena.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum http_method {
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PUT,
    HTTP_DELETE,
    HTTP_PATCH,
    HTTP_OPTIONS,
    HTTP_OTHER_METHOD
};

struct header {
    struct span name, value; /* as sent; value without blanks around it */
};

struct request {
    enum http_method method;
    struct span method_name;
    struct span path;  /* percent-decoded, no query */
    struct span query; /* raw, without '?' */
    const struct header *headers;
    size_t header_count;
    struct span body;
    uint64_t received_ns; /* CLOCK_MONOTONIC when the last byte of the body arrived */
    int fault; /* 0, or the status of a framing fault: 400, 408, 413, 417, 431, 501, 505 */
    const char *fault_text; /* with a fault: what was expected, what came */
};

enum { RESPONSE_HEADERS_MAX = 8 };

/* A body in pieces, for what is too long to be held; on the heap, because it outlives its exchange. */
enum stream_state { STREAM_PIECE, STREAM_END, STREAM_FAILED /* the connection is cut */ };
struct response_stream {
    /* On the worker, when the socket has taken the piece before; a piece is valid until the next call. */
    enum stream_state (*next)(struct response_stream *stream, struct span *piece);
    void (*end)(struct response_stream *stream); /* once, whatever happened: frees it */
};

struct response {
    int status;
    const char *content_type; /* NULL: none */
    struct header headers[RESPONSE_HEADERS_MAX];
    size_t header_count;
    struct span body;
    struct response_stream *stream; /* instead of a body, handed over; NULL: none */
    bool close;                     /* close the connection after this response */
};

/* Value of the first header of that name (ASCII case-insensitive), or {NULL, 0}. */
struct span request_header(const struct request *request, const char *name);

/* The byte that the %XX at p stands for (RFC 3986 2.1), or -1 if that is none; p < end. */
int request_escape(const char *p, const char *end);

#endif
