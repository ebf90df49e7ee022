/* A call goes through stages: decode, predict, encode (feedback: keep in the journal). Cheap requests run
 * them inside the first api_step; dear ones hand each stage out as a job. Whatever goes wrong ends in call->error, and
 * answer_error is the only place that turns it into a status and a body. */
#define _GNU_SOURCE /* getrandom */
#include "server/predictor/api_internal.h"

#include "base/json.h"
#include "metrics/exposition.h"
#include "server/predictor/ui.h"

#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <time.h>

enum {
    INLINE_NS = 100000,     /* requests estimated below this run on their worker */
    BLOCK_NS = 200000,      /* most work of one block of a job */
    CHARGE_FROM = 524288,   /* cheaper bodies are bounded by the requests in flight already */
    CHARGE_PER_BYTE = 8,    /* body, decoded rows, predictions, answer */
    NUMBER_BYTES = 2,       /* a number in a body takes at least that */
    ATTRIBUTION_BYTES = 40, /* in memory and in the answer, beside its name */
    REQUEST_ID_MAX = 128,
};

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t api_wall_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

/* ---- life ---- */

struct api *api_new(const struct api_config *config, struct error *err)
{
    struct api *api = calloc(1, sizeof *api);
    struct id_counter *ids = calloc(config->shards, sizeof *ids);
    if (api == NULL || ids == NULL) {
        free(api);
        free(ids);
        (void)error_set(err, ERR_NO_MEMORY, "api: out of memory");
        return NULL;
    }
    api->config = *config;
    api->ids = ids;
    /* Ids only have to differ; where no randomness is to be had the clock does. */
    if (getrandom(&api->id_seed, sizeof api->id_seed, GRND_NONBLOCK) != sizeof api->id_seed)
        api->id_seed = now_ns();
    return api;
}

void api_free(struct api *api)
{
    if (api == NULL)
        return;
    free(api->ids);
    free(api);
}

void api_set_lifecycle(struct api *api, enum api_lifecycle lifecycle)
{
    atomic_store(&api->lifecycle, lifecycle);
}

/* ---- memory ---- */

bool api_take_memory(struct api *api, size_t bytes)
{
    size_t budget = api->config.memory_budget_bytes;
    if (atomic_fetch_add(&api->charged, bytes) + bytes <= budget)
        return true;
    api_give_memory(api, bytes);
    return false;
}

void api_give_memory(struct api *api, size_t bytes)
{
    atomic_fetch_sub(&api->charged, bytes);
}

/* ---- responses ---- */

static int error_status(enum error_code code)
{
    switch (code) {
    case ERR_INVALID:
        return 400;
    case ERR_UNAUTHORIZED:
        return 401;
    case ERR_NOT_FOUND:
        return 404;
    case ERR_METHOD:
        return 405;
    case ERR_TOO_LARGE:
        return 413;
    case ERR_OVERLOADED:
        return 429;
    case ERR_UNSUPPORTED:
        return 501;
    case ERR_NOT_READY:
    case ERR_NO_MEMORY:
        return 503;
    case ERR_DEADLINE:
        return 504;
    case ERR_NONE:
    case ERR_INTERNAL:
    case ERR_NUMERIC:
        break;
    }
    return 500;
}

#define LITERAL(text) ((struct span){(text), sizeof(text) - 1})

static void add_header(struct response *response, struct span name, struct span value)
{
    if (response->header_count < RESPONSE_HEADERS_MAX)
        response->headers[response->header_count++] = (struct header){name, value};
}

static void answer(struct api_call *call, int status, const char *content_type, struct span body)
{
    call->response.status = status;
    call->response.content_type = content_type;
    call->response.body = body;
}

void api_answer_json(struct api_call *call, int status, struct span body)
{
    /* KServe's client compares the whole string before it reads "error". */
    answer(call, status, "application/json", body);
}

/* {"name": text}, or a constant when there is no memory even for that. */
static struct span one_member(struct api_call *call, const char *name, const char *text)
{
    struct json_writer w;
    struct span body;
    json_writer_init(&w, call->arena);
    json_begin_object(&w);
    json_key(&w, name);
    json_put_string(&w, text);
    json_end_object(&w);
    return json_writer_finish(&w, &body) ? body : LITERAL("{\"error\":\"out of memory\"}");
}

static void answer_status(struct api_call *call, int status, const char *message)
{
    api_answer_json(call, status, one_member(call, "error", message));
    if (status == 429 || status == 503)
        add_header(&call->response, LITERAL("Retry-After"), LITERAL("1"));
}

static void answer_error(struct api_call *call)
{
    int status = error_status(call->error.code);
    const char *message = call->error.message;
    if (status == 500) {
        /* What failed inside is for the log; the client learns that it was not its fault. */
        log_event(call->api->config.log, LOG_ERROR, "request_failed",
                  LOG_SPAN("request_id", call->id), LOG_TEXT("error", call->error.message));
        message = "internal error; see the server's log under this request's x-request-id";
    }
    answer_status(call, status, message);
}

/* ---- routing ---- */

struct route {
    const char *path;
    bool get, post;
};

static const struct route routes[ROUTE_COUNT] = {
    [ROUTE_ROOT] = {"/", true, false},           [ROUTE_MODELS] = {"/v1/models", true, false},
    [ROUTE_MODEL] = {NULL, true, false},         [ROUTE_PREDICT] = {NULL, false, true},
    [ROUTE_EXPLAIN] = {NULL, false, true},       [ROUTE_FEEDBACK] = {NULL, true, true},
    [ROUTE_UI] = {"/ui", true, false},           [ROUTE_UI_MODEL] = {"/ui/model", true, false},
    [ROUTE_METRICS] = {"/metrics", true, false}, [ROUTE_HEALTHZ] = {"/healthz", true, false},
    [ROUTE_READYZ] = {"/readyz", true, false},
};

/* Splits "name:verb" at its last colon; names hold none, so an unknown verb stays part of the name
 * and is answered as KServe does: no such model. */
static enum telemetry_route model_route(struct span rest, struct span *name)
{
    const char *colon = memrchr(rest.p, ':', rest.n);
    *name = rest;
    if (colon == NULL)
        return ROUTE_MODEL;
    static const struct {
        const char *text;
        enum telemetry_route route;
    } verbs[] = {
        {":predict", ROUTE_PREDICT}, {":explain", ROUTE_EXPLAIN}, {":feedback", ROUTE_FEEDBACK}};
    struct span verb = {colon, rest.n - (size_t)(colon - rest.p)};
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (span_is(verb, verbs[i].text)) {
            name->n = (size_t)(colon - rest.p);
            return verbs[i].route;
        }
    return ROUTE_MODEL;
}

static enum telemetry_route find_route(enum api_surface surface, struct span path,
                                       struct span *name)
{
    static const char prefix[] = "/v1/models/";
    const size_t n = sizeof prefix - 1;
    if (path.n > 1 && path.p[path.n - 1] == '/' && path.p[path.n - 2] != '/')
        path.n--;
    if (surface == API_EVERYTHING && path.n > n && memcmp(path.p, prefix, n) == 0) {
        struct span rest = {path.p + n, path.n - n};
        return memchr(rest.p, '/', rest.n) == NULL ? model_route(rest, name) : ROUTE_OTHER;
    }
    for (size_t i = 0; i < ROUTE_COUNT; i++)
        if (routes[i].path != NULL && span_is(path, routes[i].path) &&
            (surface == API_EVERYTHING || i >= ROUTE_METRICS))
            return (enum telemetry_route)i;
    return ROUTE_OTHER;
}

static bool check_method(struct api_call *call, const struct route *route)
{
    enum http_method method = call->request->method;
    if ((route->post && method == HTTP_POST) ||
        (route->get && (method == HTTP_GET || method == HTTP_HEAD)))
        return true;
    struct span allow = !route->post  ? LITERAL("GET, HEAD")
                        : !route->get ? LITERAL("POST")
                                      : LITERAL("GET, HEAD, POST");
    add_header(&call->response, LITERAL("Allow"), allow);
    return error_set(&call->error, ERR_METHOD, "method: expected %s, got %.*s", allow.p,
                     (int)(call->request->method_name.n < 32 ? call->request->method_name.n : 32),
                     call->request->method_name.p);
}

static bool takes_rows(const struct api_call *call)
{
    return call->route == ROUTE_PREDICT || call->route == ROUTE_EXPLAIN ||
           (call->route == ROUTE_FEEDBACK && call->request->method == HTTP_POST);
}

/* Who sends feedback, and who reads it, decides what the next model is. */
static bool check_token(struct api_call *call)
{
    struct token *token = call->api->config.feedback_token;
    if (call->route != ROUTE_FEEDBACK || token == NULL ||
        token_matches(token, request_header(call->request, "Authorization")))
        return true;
    add_header(&call->response, LITERAL("WWW-Authenticate"), LITERAL("Bearer"));
    return error_set(&call->error, ERR_UNAUTHORIZED,
                     "Authorization: expected \"Bearer\" and the feedback token");
}

static bool check_model(struct api_call *call, struct span name)
{
    int shown = (int)(name.n < 128 ? name.n : 128);
    call->served = registry_find(call->api->config.registry, call->shard, name);
    if (call->served == NULL)
        return error_set(&call->error, ERR_NOT_FOUND, "Model with name %.*s does not exist.", shown,
                         name.p);
    enum api_lifecycle lifecycle = atomic_load(&call->api->lifecycle);
    /* While draining the model still answers; only the readiness route says otherwise. */
    bool ready = call->route == ROUTE_MODEL ? lifecycle == API_READY : lifecycle != API_STARTING;
    if (!ready)
        return error_set(&call->error, ERR_NOT_READY, "Model with name %.*s is not ready.", shown,
                         name.p);
    if (call->route != ROUTE_EXPLAIN || explainer_supports(call->served->model, &call->error))
        return true;
    error_prefix(&call->error, "Model with name %.*s cannot explain", shown, name.p);
    return false;
}

/* ---- the small routes ---- */

static void answer_models(struct api_call *call)
{
    struct json_writer w;
    struct span body;
    const struct served *served;
    json_writer_init(&w, call->arena);
    json_begin_object(&w);
    json_key(&w, "models");
    json_begin_array(&w);
    for (size_t i = 0; (served = registry_at(call->api->config.registry, call->shard, i)) != NULL;
         i++)
        json_put_string(&w, served->name);
    json_end_array(&w);
    json_end_object(&w);
    if (json_writer_finish(&w, &body))
        api_answer_json(call, 200, body);
    else
        (void)error_set(&call->error, ERR_NO_MEMORY, "out of memory");
}

static void answer_model(struct api_call *call)
{
    struct json_writer w;
    struct span body;
    json_writer_init(&w, call->arena);
    json_begin_object(&w);
    json_key(&w, "name");
    json_put_string(&w, call->served->name);
    json_key(&w, "ready");
    json_put_bool(&w, true);
    json_end_object(&w);
    if (json_writer_finish(&w, &body))
        api_answer_json(call, 200, body);
    else
        (void)error_set(&call->error, ERR_NO_MEMORY, "out of memory");
}

static void answer_ui(struct api_call *call)
{
    add_header(&call->response, LITERAL("Content-Security-Policy"), ui_policy());
    add_header(&call->response, LITERAL("Cache-Control"), LITERAL("no-cache"));
    add_header(&call->response, LITERAL("X-Content-Type-Options"), LITERAL("nosniff"));
    answer(call, 200, "text/html; charset=utf-8", ui_page());
}

static void answer_ui_model(struct api_call *call)
{
    const struct served *served = registry_at(call->api->config.registry, call->shard, 0);
    struct span card;
    if (served == NULL) {
        (void)error_set(&call->error, ERR_NOT_READY, "No model is loaded.");
        return;
    }
    if (!ui_card(served->model, served->name, call->arena, &card, &call->error))
        return;
    add_header(&call->response, LITERAL("Cache-Control"), LITERAL("no-cache"));
    api_answer_json(call, 200, card);
}

static void answer_metrics(struct api_call *call)
{
    /* KServe's aggregator forwards Prometheus's Accept header and then parses only text 0.0.4, so
     * the predict port never negotiates. */
    struct span accept = request_header(call->request, "Accept");
    enum exposition_format format =
        call->surface == API_OBSERVER ? exposition_negotiate(accept.p, accept.n) : EXPOSITION_TEXT;
    struct span body;
    if (exposition_text(call->api->config.metrics, format, call->arena, &body))
        answer(call, 200, exposition_content_type(format), body);
    else
        (void)error_set(&call->error, ERR_NO_MEMORY, "out of memory");
}

static void answer_small(struct api_call *call)
{
    bool ready = atomic_load(&call->api->lifecycle) == API_READY;
    switch (call->route) {
    case ROUTE_ROOT:
        api_answer_json(call, 200, LITERAL("{\"status\":\"alive\"}"));
        return;
    case ROUTE_MODELS:
        answer_models(call);
        return;
    case ROUTE_MODEL:
        answer_model(call);
        return;
    case ROUTE_UI:
        answer_ui(call);
        return;
    case ROUTE_UI_MODEL:
        answer_ui_model(call);
        return;
    case ROUTE_FEEDBACK:
        feedback_answer_journal(call);
        return;
    case ROUTE_METRICS:
        answer_metrics(call);
        return;
    case ROUTE_HEALTHZ:
        api_answer_json(call, 200, LITERAL("{\"live\":true}"));
        return;
    case ROUTE_READYZ:
        api_answer_json(call, ready ? 200 : 503,
                        ready ? LITERAL("{\"ready\":true}") : LITERAL("{\"ready\":false}"));
        return;
    default:
        (void)error_set(&call->error, ERR_INTERNAL, "route %d has no answer", (int)call->route);
    }
}

/* ---- predict and explain ---- */

/* Every number of a body becomes an attribution with its name. */
static size_t charge_per_byte(const struct api_call *call)
{
    const struct model *model = call->served->model;
    size_t longest = 0;
    if (call->route != ROUTE_EXPLAIN)
        return CHARGE_PER_BYTE;
    for (size_t j = 0; j < model_feature_count(model); j++) {
        size_t n = strlen(model_feature_name(model, j));
        longest = n > longest ? n : longest;
    }
    return CHARGE_PER_BYTE + (longest + ATTRIBUTION_BYTES) / NUMBER_BYTES;
}

bool api_charge(struct api_call *call, size_t bytes)
{
    size_t budget = call->api->config.memory_budget_bytes;
    if (call->charged + bytes > budget)
        return error_set(&call->error, ERR_TOO_LARGE,
                         "memory: expected a request that takes at most %zu bytes, got one that "
                         "takes %zu",
                         budget, call->charged + bytes);
    if (!api_take_memory(call->api, bytes))
        return error_set(&call->error, ERR_OVERLOADED,
                         "memory: expected room for a body of %zu bytes, "
                         "the budget is in use; try again",
                         call->request->body.n);
    call->charged += bytes;
    return true;
}

static bool charge_body(struct api_call *call)
{
    size_t budget = call->api->config.memory_budget_bytes, per_byte = charge_per_byte(call);
    size_t bytes = call->request->body.n * per_byte;
    if (bytes < CHARGE_FROM)
        return true;
    if (bytes > budget)
        return error_set(&call->error, ERR_TOO_LARGE,
                         "body: expected at most %zu bytes within the memory budget, got %zu",
                         budget / per_byte, call->request->body.n);
    return api_charge(call, bytes);
}

double *api_results(struct api_call *call, size_t count)
{
    double *results = arena_array(call->arena, call->input.rows * count, sizeof *results);
    if (results == NULL)
        (void)error_set(&call->error, ERR_NO_MEMORY, "out of memory");
    return results;
}

static void run_decode(struct api_call *call, size_t block)
{
    (void)block;
    if (call->route == ROUTE_FEEDBACK) {
        feedback_run_decode(call);
        return;
    }
    if (!v1_decode(call->request->body, call->served->model, call->api->config.max_rows,
                   call->arena, &call->input, &call->error) ||
        (call->y = api_results(call, 1)) == NULL)
        return;
    if (call->route == ROUTE_PREDICT && call->input.interval)
        call->half = api_results(call, 1);
    if (call->route != ROUTE_EXPLAIN)
        return;
    call->explainer = served_explainer(call->served, &call->error);
    if (call->explainer != NULL)
        call->attributions = api_results(call, explainer_player_count(call->explainer));
}

static void run_explain(struct api_call *call, size_t first, size_t rows, const double *x)
{
    struct error err = {0};
    size_t players = explainer_player_count(call->explainer);
    if (!explainer_run(call->explainer, rows, x, call->attributions + first * players, &err))
        atomic_store_explicit(&call->starved, true, memory_order_relaxed);
}

static void run_predict(struct api_call *call, size_t block)
{
    const struct model *model = call->served->model;
    size_t first = block * call->rows_per_block, rows = call->input.rows - first;
    const double *x = call->input.x + first * model_feature_count(model);
    if (rows > call->rows_per_block)
        rows = call->rows_per_block;
    if (atomic_load_explicit(&call->cancelled, memory_order_relaxed))
        return;
    model_predict(model, rows, x, call->y + first);
    if (call->half != NULL)
        interval_half_widths(model, call->input.interval_score, rows, x, call->half + first);
    if (call->attributions != NULL)
        run_explain(call, first, rows, x);
}

static void run_encode(struct api_call *call, size_t block)
{
    struct span body;
    size_t rows = call->input.rows;
    (void)block;
    if (call->attributions != NULL
            ? v1_encode_explanations(call->explainer, call->y, call->attributions, rows,
                                     call->arena, &body, &call->error)
            : v1_encode(call->y, call->half, rows, call->arena, &body, &call->error))
        api_answer_json(call, 200, body);
}

/* Observes the stage that just ended and starts the clock of the next. */
static void end_stage(struct api_call *call, enum telemetry_stage stage)
{
    uint64_t now = now_ns();
    if (call->route != ROUTE_FEEDBACK)
        telemetry_stage(call->served->telemetry, call->shard, stage, now - call->stage_started_ns);
    call->stage_started_ns = now;
}

/* Fills *job with the current stage's work. */
static void describe(struct api_call *call, struct job *job)
{
    job->call = call;
    job->blocks = 1;
    job->run = call->stage == STAGE_DECODING ? run_decode : run_encode;
    if (call->stage == STAGE_PREDICTING) {
        job->run = run_predict;
        job->blocks = (call->input.rows + call->rows_per_block - 1) / call->rows_per_block;
    }
}

/* After a stage's blocks have run: observe it and move on. */
static void advance(struct api_call *call)
{
    const enum telemetry_stage observed[] = {
        [STAGE_DECODING] = STAGE_PREPROCESS,
        [STAGE_PREDICTING] = call->route == ROUTE_EXPLAIN ? STAGE_EXPLAIN : STAGE_PREDICT,
        [STAGE_ENCODING] = STAGE_POSTPROCESS};
    if (atomic_load_explicit(&call->starved, memory_order_relaxed))
        (void)error_set(&call->error, ERR_NO_MEMORY, "out of memory");
    /* What a cancelled stage left undone must not be read by the next. */
    if (call->error.code == ERR_NONE &&
        atomic_load_explicit(&call->cancelled, memory_order_relaxed))
        (void)error_set(&call->error, ERR_DEADLINE, "request: cancelled before it was answered");
    bool failed = call->error.code != ERR_NONE;
    /* As in KServe, preprocess is observed for every request that reached the model, the rest only
     * when it succeeded. */
    if (!failed || call->stage == STAGE_DECODING)
        end_stage(call, observed[call->stage]);
    bool kept = call->route == ROUTE_FEEDBACK;
    enum stage next = call->stage == STAGE_PREDICTING && !kept ? STAGE_ENCODING : call->stage + 1;
    call->stage = failed ? STAGE_FINISHED : next;
}

static double row_ns(const struct api_call *call)
{
    const struct model *model = call->served->model;
    return model_row_ns(model) + (call->route == ROUTE_EXPLAIN ? explain_row_ns(model) : 0);
}

static bool is_cheap(const struct api_call *call)
{
    size_t features = model_feature_count(call->served->model);
    double bytes = (double)call->request->body.n;
    /* A number takes at least two bytes; eight is what real rows come to. */
    double rows = 1 + bytes / (8.0 * (double)features);
    return bytes + rows * row_ns(call) < INLINE_NS;
}

static void start_rows(struct api_call *call)
{
    double rows = BLOCK_NS / row_ns(call);
    call->rows_per_block = rows < 1 ? 1 : rows > 1e6 ? 1000000 : (size_t)rows;
    call->inplace = is_cheap(call);
    call->stage = STAGE_DECODING;
    call->stage_started_ns = now_ns();
}

/* ---- the call ---- */

/* splitmix64's finaliser: a bijection, so ids of one process never repeat. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static bool usable_id(struct span id)
{
    for (size_t i = 0; i < id.n; i++)
        if (id.p[i] <= ' ' || id.p[i] > '~')
            return false;
    return id.n > 0 && id.n <= REQUEST_ID_MAX;
}

static struct span request_id(struct api *api, const struct request *request, struct arena *arena,
                              unsigned shard)
{
    static const char hex[] = "0123456789abcdef";
    struct span told = request_header(request, "x-request-id");
    char *made;
    if (usable_id(told))
        return told;
    uint64_t x = mix(api->id_seed + ((uint64_t)shard << 48) + api->ids[shard].next++);
    made = arena_alloc(arena, 16);
    if (made == NULL)
        return (struct span){NULL, 0};
    for (size_t i = 0; i < 16; i++, x >>= 4)
        made[15 - i] = hex[x & 15];
    return (struct span){made, 16};
}

/* Everything that is checked before the body is looked at. */
static bool admit(struct api_call *call)
{
    const struct request *request = call->request;
    struct span name = {NULL, 0};
    /* Whether there is room for a body matters only once it is known to be wanted. */
    bool deferred = request->fault == 413 || request->fault == 429;
    if (request->fault != 0 && !deferred) {
        answer_status(call, request->fault, request->fault_text);
        return false;
    }
    call->route = find_route(call->surface, request->path, &name);
    if ((call->route == ROUTE_UI || call->route == ROUTE_UI_MODEL) && !call->api->config.ui)
        call->route = ROUTE_OTHER;
    if (call->route == ROUTE_OTHER) {
        api_answer_json(call, 404, LITERAL("{\"detail\":\"Not Found\"}"));
        return false;
    }
    if (!check_method(call, &routes[call->route]) || !check_token(call) ||
        (name.p != NULL && !check_model(call, name)))
        return false;
    if (deferred) {
        answer_status(call, request->fault, request->fault_text);
        return false;
    }
    return !takes_rows(call) || charge_body(call);
}

struct api_call *api_begin(struct api *api, enum api_surface surface, const struct request *request,
                           struct arena *arena, unsigned shard)
{
    struct api_call *call = arena_alloc(arena, sizeof *call);
    if (call == NULL)
        return NULL;
    *call = (struct api_call){.api = api,
                              .request = request,
                              .arena = arena,
                              .surface = surface,
                              .shard = shard,
                              .route = ROUTE_OTHER,
                              .stage = STAGE_FINISHED};
    call->id = request_id(api, request, arena, shard);
    telemetry_in_flight(api->config.telemetry, shard, 1);
    if (call->id.p == NULL) /* feedback is joined by it */
        (void)error_set(&call->error, ERR_NO_MEMORY, "out of memory");
    if (call->id.p == NULL || !admit(call))
        return call;
    if (takes_rows(call))
        start_rows(call);
    else
        answer_small(call);
    return call;
}

enum api_step api_step(struct api_call *call, struct job *next)
{
    if (next->call == call) /* what was handed out has been run */
        advance(call);
    while (call->stage != STAGE_FINISHED) {
        if (call->stage == STAGE_KEEPING) {
            next->call = NULL;
            if (feedback_keep(call))
                return API_DURABLE;
            call->stage = STAGE_FINISHED;
            continue;
        }
        describe(call, next);
        if (!call->inplace)
            return API_COMPUTE;
        for (size_t i = 0; i < next->blocks; i++)
            next->run(call, i);
        advance(call);
    }
    next->call = NULL;
    return API_DONE;
}

static void write_access_log(const struct api_call *call, uint64_t latency_ns)
{
    log_event(call->api->config.log, LOG_INFO, "request",
              LOG_SPAN("method", call->request->method_name), LOG_SPAN("path", call->request->path),
              LOG_NUMBER("status", call->response.status),
              LOG_NUMBER("request_bytes", call->request->body.n),
              LOG_NUMBER("response_bytes", call->response.body.n),
              LOG_NUMBER("microseconds", latency_ns / 1000), LOG_SPAN("request_id", call->id));
}

/* Shows what was answered to those who compare it with training and with true values. */
static void remember(struct api_call *call)
{
    observed_predictions(call->served->observed, call->shard, call->request->received_ns,
                         call->input.rows, call->input.x, call->y);
    monitor_remember(call->api->config.monitor, call->served, call->id, call->input.rows,
                     call->input.x, call->y);
}

const struct response *api_end(struct api_call *call)
{
    struct api *api = call->api;
    bool unanswered = call->response.status == 0;
    if (unanswered && call->error.code == ERR_NONE)
        (void)error_set(&call->error, ERR_INTERNAL, "the handler set neither answer nor error");
    if (unanswered)
        answer_error(call);
    if (call->id.p != NULL)
        add_header(&call->response, LITERAL("x-request-id"), call->id);
    if (call->charged > 0)
        api_give_memory(api, call->charged);
    if (call->route == ROUTE_PREDICT && call->response.status == 200)
        remember(call);
    uint64_t now = now_ns(), since = call->request->received_ns;
    uint64_t latency = now > since ? now - since : 0;
    if (call->route == ROUTE_PREDICT && call->served != NULL)
        telemetry_prediction(call->served->telemetry, call->shard, call->response.status == 200,
                             call->input.rows, latency);
    telemetry_request(api->config.telemetry, call->shard, call->route, call->response.status,
                      call->request->body.n);
    telemetry_in_flight(api->config.telemetry, call->shard, -1);
    if (api->config.access_log)
        write_access_log(call, latency);
    if (call->pinned)
        served_unpin(call->served);
    return &call->response;
}

void api_on_durable(struct api_call *call, void (*wake)(void *ctx), void *ctx)
{
    call->wake = wake;
    call->wake_ctx = ctx;
}

void api_cancel(struct api_call *call)
{
    atomic_store_explicit(&call->cancelled, true, memory_order_relaxed);
}

static void post_semaphore(void *ctx)
{
    (void)sem_post(ctx);
}

static void run_in_place(const struct job *job)
{
    for (size_t i = 0; i < job->blocks; i++)
        job->run(job->call, i);
}

const struct response *api_handle(struct api *api, enum api_surface surface,
                                  const struct request *request, struct arena *arena,
                                  unsigned shard)
{
    struct job job = {0};
    sem_t durable;
    struct api_call *call = api_begin(api, surface, request, arena, shard);
    if (call == NULL)
        return api_no_memory();
    (void)sem_init(&durable, 0, 0);
    api_on_durable(call, post_semaphore, &durable);
    for (enum api_step step; (step = api_step(call, &job)) != API_DONE;)
        if (step == API_COMPUTE)
            run_in_place(&job);
        else
            while (sem_wait(&durable) != 0)
                ;
    (void)sem_destroy(&durable);
    return api_end(call);
}

const struct response *api_no_memory(void)
{
    static const struct response no_memory = {
        .status = 503,
        .content_type = "application/json",
        .body = {"{\"error\":\"out of memory\"}", sizeof "{\"error\":\"out of memory\"}" - 1}};
    return &no_memory;
}
