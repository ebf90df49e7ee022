/* Every job runs in place, on the worker that owns the exchange, so a call is over before the handler
 * returns and there is nothing to cancel when a peer leaves. */
#include "server/predictor/serve.h"

static void handle(void *ctx, struct http_exchange *exchange, const struct request *request)
{
    struct serve *serve = ctx;
    http_respond(exchange, api_handle(serve->api, serve->surface, request, http_arena(exchange),
                                      http_shard(exchange)));
}

struct http_handler serve_handler(struct serve *serve)
{
    return (struct http_handler){.ctx = serve, .request = handle};
}
