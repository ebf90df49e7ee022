/* serve.h - joins the door to the HTTP server: exchanges in, calls run, responses out.
 *
 * Does not: decide anything about a request; that is api.c.
 * Threads: the handlers run on the HTTP workers.
 * Memory:  a struct serve is the caller's and must outlive the HTTP server.
 * Errors:  none of its own.
 */
#ifndef SERVER_PREDICTOR_SERVE_H
#define SERVER_PREDICTOR_SERVE_H

#include "server/http/http.h"
#include "server/predictor/api.h"

struct serve {
    struct api *api;
    enum api_surface surface;
};

/* The handler that answers with serve->api on serve->surface. */
struct http_handler serve_handler(struct serve *serve);

#endif
