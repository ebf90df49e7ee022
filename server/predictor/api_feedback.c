/* True values: decoded, joined to their predictions, kept, and only then answered. */
#include "server/predictor/api_internal.h"

#include <string.h>

enum {
    ITEMS_MAX = 10000,
    ITEM_BYTES = 1024,  /* of memory per item, beside its features: truth, journal row, line */
    FEATURE_BYTES = 80, /* of memory per feature of an item: the number, and its place in a line */
};

/* ---- decoding ---- */

/* With instances there is one prediction to make for each. */
static bool decode_instances(struct api_call *call, size_t targets)
{
    if (!v1_decode(call->request->body, call->served->model, ITEMS_MAX, call->arena, &call->input,
                   &call->error) ||
        (call->y = api_results(call, 1)) == NULL)
        return false;
    return call->input.rows == targets ||
           error_set(&call->error, ERR_INVALID,
                     "targets: expected %zu numbers, one per instance, got %zu", call->input.rows,
                     targets);
}

static bool make_truths(struct api_call *call, const struct feedback *body)
{
    size_t features = model_feature_count(call->served->model);
    if (!api_charge(call, body->count * (ITEM_BYTES + features * FEATURE_BYTES)))
        return false;
    call->truths = arena_array(call->arena, body->count, sizeof *call->truths);
    double *x = arena_array(call->arena, body->count * features, sizeof *x);
    if (call->truths == NULL || x == NULL)
        return error_set(&call->error, ERR_NO_MEMORY, "out of memory");
    call->truth_count = body->count;
    if (body->ids == NULL)
        memcpy(x, call->input.x, body->count * features * sizeof *x);
    for (size_t i = 0; i < body->count; i++)
        call->truths[i] = (struct truth){
            .id = body->ids != NULL ? body->ids[i] : (struct feedback_id){call->id, i},
            .target = body->targets[i],
            .x = x + i * features};
    return true;
}

void feedback_run_decode(struct api_call *call)
{
    struct feedback body;
    if (feedback_decode(call->request->body, ITEMS_MAX, call->arena, &body, &call->error) &&
        (body.ids != NULL || decode_instances(call, body.count)))
        (void)make_truths(call, &body);
}

/* ---- keeping ---- */

static void find_predictions(struct api_call *call)
{
    if (call->y == NULL) {
        monitor_claim(call->api->config.monitor, call->served, call->truths, call->truth_count);
        return;
    }
    for (size_t i = 0; i < call->truth_count; i++) {
        call->truths[i].prediction = call->y[i];
        call->truths[i].model = call->served->number;
        call->truths[i].outcome = FEEDBACK_ACCEPTED;
    }
}

/* On the journal's thread. */
static void on_done(struct journal_ticket *ticket, bool durable)
{
    struct api_call *call =
        (struct api_call *)(void *)((char *)ticket - offsetof(struct api_call, ticket));
    void (*wake)(void *) = call->wake;
    void *ctx = call->wake_ctx;
    /* After this the owner may go on, and the call with it. */
    atomic_store(&call->keeping, durable ? KEEPING_DONE : KEEPING_FAILED);
    wake(ctx);
}

/* Made before anything is kept: what was kept must not fail to be answered. */
static bool make_answer(struct api_call *call)
{
    enum feedback_outcome *outcomes = arena_array(call->arena, call->truth_count, sizeof *outcomes);
    if (outcomes == NULL)
        return error_set(&call->error, ERR_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < call->truth_count; i++)
        outcomes[i] = call->truths[i].outcome;
    return feedback_encode(outcomes, call->y, call->truth_count, call->arena, &call->answer,
                           &call->error);
}

static bool begin_keeping(struct api_call *call)
{
    const struct api_config *config = &call->api->config;
    bool waits = false;
    if (call->y != NULL && !v1_check_predictions(call->y, call->input.rows, &call->error))
        return false;
    find_predictions(call);
    call->wall_ns = api_wall_ns();
    call->ticket.done = on_done;
    atomic_store(&call->keeping, KEEPING_WAITS);
    served_pin(call->served);
    call->pinned = true;
    if (!make_answer(call) ||
        !monitor_append(config->monitor, call->truths, call->truth_count, call->wall_ns,
                        call->arena, config->feedback_durable ? &call->ticket : NULL, &waits,
                        &call->error))
        atomic_store(&call->keeping, KEEPING_FAILED);
    else if (!waits)
        atomic_store(&call->keeping, KEEPING_DONE);
    return waits;
}

bool feedback_keep(struct api_call *call)
{
    if (atomic_load(&call->keeping) == KEEPING_NOT_BEGUN && begin_keeping(call))
        return true;
    bool kept = atomic_load(&call->keeping) == KEEPING_DONE;
    monitor_settle(call->api->config.monitor, call->served, call->shard, call->truths,
                   call->truth_count, call->wall_ns, kept);
    if (kept)
        api_answer_json(call, 200, call->answer);
    else if (call->error.code == ERR_NONE)
        (void)error_set(&call->error, ERR_NOT_READY,
                        "feedback: could not be made durable; nothing was kept, try again");
    return false;
}

/* ---- the journal as an answer ---- */

/* The decoded value of the query's parameter `since`; n is 0 when there is none. */
static bool read_since(struct api_call *call, struct span *since)
{
    struct span query = call->request->query;
    *since = (struct span){"", 0};
    if (query.n == 0)
        return true;
    const char *p = query.p, *end = query.p + query.n;
    while (p < end && ((size_t)(end - p) < 6 || memcmp(p, "since=", 6) != 0)) {
        const char *next = memchr(p, '&', (size_t)(end - p));
        p = next != NULL ? next + 1 : end;
    }
    if (p >= end)
        return true;
    char *to = arena_alloc(call->arena, (size_t)(end - p)), *out = to;
    if (to == NULL)
        return error_set(&call->error, ERR_NO_MEMORY, "out of memory");
    for (p += 6; p < end && *p != '&'; p++) {
        if (*p != '%') {
            *out++ = *p;
            continue;
        }
        int byte = request_escape(p, end);
        if (byte < 0)
            return error_set(&call->error, ERR_INVALID,
                             "since: expected two hexadecimal digits after '%%'");
        *out++ = (char)byte;
        p += 2;
    }
    *since = (struct span){to, (size_t)(out - to)};
    for (size_t i = 0; i < since->n; i++)
        if (to[i] <= ' ' || to[i] > '~')
            return error_set(&call->error, ERR_INVALID,
                             "since: expected printable ASCII without blanks");
    return true;
}

void feedback_answer_journal(struct api_call *call)
{
    struct span since;
    if (!read_since(call, &since))
        return;
    call->response.stream = monitor_stream(call->api->config.monitor, since, &call->error);
    if (call->response.stream == NULL)
        return;
    call->response.status = 200;
    call->response.content_type = "text/csv; charset=utf-8";
}
