/* Every job runs in place, on the worker that owns the exchange. A call that waits for the journal leaves
 * its exchange pending; the journal's thread posts it back to the worker. Peers that leave meanwhile change
 * nothing: what they sent is kept all the same. */
#include "server/predictor/serve.h"

/* A call that waits; in the exchange's arena. */
struct waiting {
    struct http_task task;
    struct http_exchange *exchange;
    struct api_call *call;
    struct job job;
};

static void go_on(struct waiting *w)
{
    enum api_step step;
    while ((step = api_step(w->call, &w->job)) == API_COMPUTE)
        for (size_t i = 0; i < w->job.blocks; i++)
            w->job.run(w->call, i);
    if (step == API_DONE)
        http_respond(w->exchange, api_end(w->call));
}

static void run(struct http_task *task)
{
    go_on((struct waiting *)(void *)task); /* its first member */
}

/* On the journal's thread. */
static void wake(void *ctx)
{
    struct waiting *w = ctx;
    http_post(http_worker_of(w->exchange), &w->task);
}

static void handle(void *ctx, struct http_exchange *exchange, const struct request *request)
{
    const struct serve *serve = ctx;
    struct arena *arena = http_arena(exchange);
    struct waiting *w = arena_alloc(arena, sizeof *w);
    struct api_call *call =
        w != NULL ? api_begin(serve->api, serve->surface, request, arena, http_shard(exchange))
                  : NULL;
    if (call == NULL) {
        http_respond(exchange, api_no_memory());
        return;
    }
    *w = (struct waiting){.task = {.run = run}, .exchange = exchange, .call = call};
    api_on_durable(call, wake, w);
    go_on(w);
}

static bool charge(void *ctx, ptrdiff_t bytes)
{
    const struct serve *serve = ctx;
    if (bytes >= 0)
        return api_take_memory(serve->api, (size_t)bytes);
    api_give_memory(serve->api, (size_t)-bytes);
    return true;
}

/* Scrapes and probes must not fail for want of a predict request's memory: the few connections that the
 * observer is given are not charged. */
struct http_handler serve_handler(struct serve *serve)
{
    return (struct http_handler){
        .ctx = serve, .request = handle, .charge = serve->surface == API_OBSERVER ? NULL : charge};
}
