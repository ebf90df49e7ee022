#include "server/relay/intake.h"

#include "base/json.h"
#include "metrics/exposition.h"

#include <string.h>

#define LITERAL(text) ((struct span){(text), sizeof(text) - 1})

/* One request on its way. */
struct visit {
    struct intake *intake;
    const struct request *request;
    struct arena *arena;
    enum relay_route route;
    struct response *response;
};

/* ---- responses ---- */

static void add_header(struct response *response, struct span name, struct span value)
{
    response->headers[response->header_count++] = (struct header){name, value};
}

static void answer(struct visit *v, int status, struct span body)
{
    v->response->status = status;
    v->response->content_type = "application/json";
    v->response->body = body;
}

static void answer_written(struct visit *v, int status, struct json_writer *w)
{
    struct span body;
    if (json_writer_finish(w, &body))
        answer(v, status, body);
    else
        answer(v, 503, LITERAL("{\"error\":\"out of memory\"}"));
}

static void answer_text(struct visit *v, int status, const char *name, const char *text)
{
    struct json_writer w;
    json_writer_init(&w, v->arena);
    json_begin_object(&w);
    json_key(&w, name);
    json_put_string(&w, text);
    json_end_object(&w);
    answer_written(v, status, &w);
}

static void answer_fault(struct visit *v, int status, const char *text)
{
    answer_text(v, status, "error", text);
}

static void answer_error(struct visit *v, const struct error *err)
{
    switch (err->code) {
    case ERR_INVALID:
        answer_fault(v, 400, err->message);
        return;
    case ERR_TOO_LARGE:
        answer_fault(v, 413, err->message);
        return;
    default: /* Alertmanager comes again after a 5xx, as it should */
        answer_fault(v, 503, "not recorded; see the log");
        add_header(v->response, LITERAL("Retry-After"), LITERAL("5"));
    }
}

/* ---- routes ---- */

static bool authorized(struct visit *v, struct token *token)
{
    struct error err = {0};
    /* The file may have been rotated. While it cannot be read the token before counts. */
    if (!token_refresh(token, &err))
        log_event(v->intake->log, LOG_WARNING, "token_not_read", LOG_TEXT("error", err.message));
    if (token_matches(token, request_header(v->request, "Authorization")))
        return true;
    answer_fault(v, 401, "Authorization: expected \"Bearer\" and the token");
    add_header(v->response, LITERAL("WWW-Authenticate"), LITERAL("Bearer"));
    return false;
}

static void take_alerts(struct visit *v)
{
    struct webhook webhook;
    struct ledger_tally tally;
    struct error err = {0};
    struct json_writer w;
    if (!authorized(v, v->intake->webhook_token))
        return;
    if (!webhook_decode(v->request->body, v->intake->users, v->arena, &webhook, &err) ||
        !ledger_alerts(v->intake->ledger, &webhook, &tally, &err)) {
        answer_error(v, &err);
        return;
    }
    json_writer_init(&w, v->arena);
    json_begin_object(&w);
    json_key(&w, "queued");
    json_put_u64(&w, tally.queued);
    json_key(&w, "recovered");
    json_put_u64(&w, tally.recovered);
    json_key(&w, "suppressed");
    json_put_u64(&w, tally.suppressed);
    json_end_object(&w);
    answer_written(v, 202, &w);
}

static void take_wish(struct visit *v)
{
    struct policy_drift drift;
    struct error err = {0};
    enum policy_verdict verdict;
    char id[POLICY_ID_MAX + 1];
    if (!authorized(v, v->intake->override_token))
        return;
    if (!webhook_decode_manual(v->request->body, v->intake->users, v->arena, &drift, &err) ||
        !ledger_manual(v->intake->ledger, &drift, &verdict, id, &err))
        answer_error(v, &err);
    else if (verdict == POLICY_ACCEPTED)
        answer_text(v, 202, "correlation_id", id);
    else
        answer_fault(v, verdict == POLICY_IN_FLIGHT ? 409 : 503, relay_verdict_words[verdict]);
}

static void show_metrics(struct visit *v)
{
    struct span accept = request_header(v->request, "Accept");
    enum exposition_format format = exposition_negotiate(accept.p, accept.n);
    struct span body;
    if (!exposition_text(v->intake->metrics, format, v->arena, &body)) {
        answer_fault(v, 503, "out of memory");
        return;
    }
    v->response->status = 200;
    v->response->content_type = exposition_content_type(format);
    v->response->body = body;
}

static void show_ready(struct visit *v)
{
    if (!atomic_load(&v->intake->ready))
        answer_fault(v, 503, "starting or stopping");
    else if (!ledger_healthy(v->intake->ledger))
        answer_fault(v, 503, "the journal cannot be written");
    else
        answer(v, 200, LITERAL("{\"status\":\"ready\"}"));
}

static enum relay_route find_route(const struct visit *v)
{
    size_t i = 0;
    while (i < RELAY_OTHER && !span_is(v->request->path, relay_route_names[i]))
        i++;
    if (i == RELAY_RETRAIN && v->intake->override_token == NULL)
        return RELAY_OTHER;
    return (enum relay_route)i;
}

static bool check_method(struct visit *v)
{
    enum http_method method = v->request->method;
    bool post = v->route == RELAY_ALERTS || v->route == RELAY_RETRAIN;
    if (post ? method == HTTP_POST : method == HTTP_GET || method == HTTP_HEAD)
        return true;
    answer_fault(v, 405, post ? "method: expected POST" : "method: expected GET or HEAD");
    add_header(v->response, LITERAL("Allow"), post ? LITERAL("POST") : LITERAL("GET, HEAD"));
    return false;
}

static void route(struct visit *v)
{
    if (v->request->fault != 0) {
        answer_fault(v, v->request->fault, v->request->fault_text);
        return;
    }
    v->route = find_route(v);
    if (v->route != RELAY_OTHER && !check_method(v))
        return;
    switch (v->route) {
    case RELAY_ALERTS:
        take_alerts(v);
        return;
    case RELAY_RETRAIN:
        take_wish(v);
        return;
    case RELAY_METRICS:
        show_metrics(v);
        return;
    case RELAY_HEALTHZ:
        answer(v, 200, LITERAL("{\"status\":\"alive\"}"));
        return;
    case RELAY_READYZ:
        show_ready(v);
        return;
    case RELAY_OTHER:
    case RELAY_ROUTES:
        break;
    }
    answer_fault(v, 404, "path: expected /alerts, /retrain, /metrics, /healthz or /readyz");
}

const struct response *intake_handle(struct intake *intake, const struct request *request,
                                     struct arena *arena)
{
    static const struct response no_memory = {
        .status = 503,
        .content_type = "application/json",
        .body = {"{\"error\":\"out of memory\"}", sizeof "{\"error\":\"out of memory\"}" - 1}};
    struct response *response = arena_alloc(arena, sizeof *response);
    if (response == NULL)
        return &no_memory;
    *response = (struct response){0};
    struct visit v = {intake, request, arena, RELAY_OTHER, response};
    route(&v);
    relay_telemetry_request(intake->telemetry, v.route, response->status);
    return response;
}
