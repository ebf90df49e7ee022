/* The door without sockets: routing, order of checks, statuses, counting, resumable calls. What a body
 * may look like is in tests/unit/test_v1.c and tests/conformance. */
#define _GNU_SOURCE /* pipe2 */
#include "base/json.h"
#include "model/model_internal.h"
#include "server/predictor/ui.h"
#include "tests/support/plane.h"
#include "tests/support/t.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int setup(void **state)
{
    struct plane *plane = calloc(1, sizeof *plane);
    plane_init(plane);
    *state = plane;
    return 0;
}

static int teardown(void **state)
{
    plane_clear(*state);
    free(*state);
    return 0;
}

static const char predict_path[] = "/v1/models/plane:predict";
static const char explain_path[] = "/v1/models/plane:explain";

static struct span header_of(const struct response *response, const char *name)
{
    for (size_t i = 0; i < response->header_count; i++)
        if (strlen(name) == response->headers[i].name.n &&
            memcmp(name, response->headers[i].name.p, response->headers[i].name.n) == 0)
            return response->headers[i].value;
    return (struct span){NULL, 0};
}

static void assert_answer(struct plane *p, const struct response *response, int status,
                          const char *text)
{
    assert_string_equal(plane_text(p, response), text);
    assert_int_equal(response->status, status);
    assert_string_equal(response->content_type, "application/json");
}

static void every_small_route_answers(void **state)
{
    struct plane *p = *state;
    assert_answer(p, plane_get(p, "/"), 200, "{\"status\":\"alive\"}");
    assert_answer(p, plane_get(p, "/v1/models"), 200, "{\"models\":[\"plane\"]}");
    assert_answer(p, plane_get(p, "/v1/models/plane"), 200, "{\"name\":\"plane\",\"ready\":true}");
    assert_answer(p, plane_get(p, "/healthz"), 200, "{\"live\":true}");
    assert_answer(p, plane_get(p, "/readyz"), 200, "{\"ready\":true}");
}

static void the_page_comes_with_the_policy_that_keeps_it_to_itself(void **state)
{
    struct plane *p = *state;
    const struct response *page = plane_get(p, "/ui");
    assert_int_equal(page->status, 200);
    assert_string_equal(page->content_type, "text/html; charset=utf-8");
    assert_contains(plane_text(p, page), "<!doctype html>");
    struct span policy = header_of(page, "Content-Security-Policy");
    assert_int_equal(policy.n, ui_policy().n);
    assert_memory_equal(policy.p, ui_policy().p, policy.n);
    assert_int_equal(header_of(page, "Cache-Control").n, strlen("no-cache"));
    assert_int_equal(plane_ask(p, API_OBSERVER, "GET", "/ui", NULL, (struct span){"", 0})->status,
                     404);
}

static void the_card_is_that_of_the_model_served(void **state)
{
    struct plane *p = *state;
    const struct response *card = plane_get(p, "/ui/model");
    assert_int_equal(card->status, 200);
    assert_string_equal(card->content_type, "application/json");
    assert_contains(plane_text(p, card), "{\"name\":\"plane\",\"version\":\"1\",");
    assert_contains(plane_text(p, card), "\"holdout\":{\"rows\":100,\"mae\":0.25,");
}

static void the_page_can_be_switched_off(void **state)
{
    struct plane *p = *state;
    struct error err = {0};
    struct api_config config = {.registry = p->registry,
                                .telemetry = p->telemetry,
                                .metrics = p->metrics,
                                .max_rows = PLANE_MAX_ROWS,
                                .memory_budget_bytes = PLANE_BUDGET,
                                .shards = PLANE_SHARDS};
    api_free(p->api);
    assert_non_null(p->api = api_new(&config, &err));
    assert_answer(p, plane_get(p, "/ui"), 404, "{\"detail\":\"Not Found\"}");
    assert_answer(p, plane_get(p, "/ui/model"), 404, "{\"detail\":\"Not Found\"}");
    assert_answer(p, plane_post(p, "/ui", ""), 404, "{\"detail\":\"Not Found\"}");
}

static void predict_answers_one_prediction_per_row(void **state)
{
    struct plane *p = *state;
    assert_answer(p, plane_post(p, predict_path, "{\"instances\":[[1,2],[0,0]]}"), 200,
                  "{\"predictions\":[9.0,1.0]}");
    assert_answer(p, plane_post(p, predict_path, "{\"instances\":[{\"b\":2,\"a\":1}]}"), 200,
                  "{\"predictions\":[9.0]}");
}

static void a_trailing_slash_is_forgiven(void **state)
{
    struct plane *p = *state;
    assert_int_equal(plane_get(p, "/v1/models/")->status, 200);
    assert_int_equal(plane_get(p, "/v1/models/plane/")->status, 200);
    assert_int_equal(plane_get(p, "//")->status, 404);
}

static void unknown_paths_keep_kserves_words(void **state)
{
    struct plane *p = *state;
    static const char *const paths[] = {"/v1",         "/v3/x",          "/x",
                                        "//v1/models", "/v1/models/a/b", "/metricsx"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        assert_answer(p, plane_get(p, paths[i]), 404, "{\"detail\":\"Not Found\"}");
}

static void unknown_models_keep_kserves_words(void **state)
{
    struct plane *p = *state;
    assert_answer(p, plane_get(p, "/v1/models/nope"), 404,
                  "{\"error\":\"Model with name nope does not exist.\"}");
    /* The model is looked for before the body is. */
    assert_answer(p, plane_post(p, "/v1/models/nope:predict", "not json"), 404,
                  "{\"error\":\"Model with name nope does not exist.\"}");
}

static void a_wrong_method_is_405_and_names_the_right_one(void **state)
{
    struct plane *p = *state;
    static const struct {
        const char *method, *path, *allow;
    } cases[] = {{"GET", "/v1/models/plane:predict", "POST"},
                 {"PUT", "/v1/models/plane:predict", "POST"},
                 {"HEAD", "/v1/models/plane:predict", "POST"},
                 {"GET", "/v1/models/nope:predict", "POST"},
                 {"POST", "/v1/models/plane", "GET, HEAD"},
                 {"POST", "/v1/models/plane:foo", "GET, HEAD"},
                 {"POST", "/", "GET, HEAD"},
                 {"DELETE", "/metrics", "GET, HEAD"},
                 {"OPTIONS", "/v1/models", "GET, HEAD"},
                 {"FOO", "/healthz", "GET, HEAD"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct response *r = plane_ask(p, API_EVERYTHING, cases[i].method, cases[i].path,
                                             NULL, (struct span){"", 0});
        assert_int_equal(r->status, 405);
        struct span allow = header_of(r, "Allow");
        assert_int_equal(allow.n, strlen(cases[i].allow));
        assert_memory_equal(allow.p, cases[i].allow, allow.n);
        assert_contains(plane_text(p, r), "{\"error\":\"method: expected ");
    }
}

static void explain_answers_base_prediction_and_attributions(void **state)
{
    struct plane *p = *state;
    assert_answer(p, plane_post(p, explain_path, "{\"instances\":[[1,2]]}"), 200,
                  "{\"explanations\":[{\"base\":1.0,\"prediction\":9.0,"
                  "\"attributions\":{\"a\":2.0,\"b\":6.0}}]}");
    assert_int_equal(plane_post(p, "/v1/models/nope:explain", "{}")->status, 404);
    const struct response *r = plane_post(p, explain_path, "{\"instances\":[[1e308,1e308]]}");
    assert_answer(p, r, 400,
                  "{\"error\":\"row 0: expected a finite prediction, got one that overflows\"}");
}

static void predict_answers_intervals_when_asked(void **state)
{
    struct plane *p = *state;
    assert_answer(
        p, plane_post(p, predict_path, "{\"instances\":[[1,2]],\"parameters\":{\"interval\":0.5}}"),
        200, "{\"predictions\":[9.0],\"intervals\":[[7.75,10.25]]}");
}

static void a_model_that_cannot_explain_or_give_intervals_says_501(void **state)
{
    struct plane bare;
    (void)state;
    plane_init_with(&bare, plane_model_bare());
    /* That is known before the body is looked at. */
    assert_answer(&bare, plane_post(&bare, explain_path, "not json"), 501,
                  "{\"error\":\"Model with name plane cannot explain: expected a model with "
                  "quantiles of its features, got one without\"}");
    assert_answer(
        &bare,
        plane_post(&bare, predict_path,
                   "{\"instances\":[[1,2]],\"parameters\":{\"interval\":0.5}}"),
        501,
        "{\"error\":\"parameters.interval: expected a model that gives intervals, got one "
        "that does not\"}");
    assert_int_equal(plane_post(&bare, predict_path, "{\"instances\":[[1,2]]}")->status, 200);
    plane_clear(&bare);
}

static void the_observer_answers_health_and_metrics_only(void **state)
{
    struct plane *p = *state;
    static const char *const yes[] = {"/metrics", "/healthz", "/readyz"};
    static const char *const no[] = {"/", "/v1/models", "/v1/models/plane",
                                     "/v1/models/plane:predict"};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        assert_int_equal(
            plane_ask(p, API_OBSERVER, "GET", yes[i], NULL, (struct span){"", 0})->status, 200);
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        assert_int_equal(
            plane_ask(p, API_OBSERVER, "GET", no[i], NULL, (struct span){"", 0})->status, 404);
}

static void only_the_observer_negotiates_openmetrics(void **state)
{
    struct plane *p = *state;
    static const char accept[] =
        "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    const struct header headers[] = {{{"Accept", 6}, {accept, sizeof accept - 1}}, {{0}, {0}}};
    const struct response *r =
        plane_ask(p, API_OBSERVER, "GET", "/metrics", headers, (struct span){"", 0});
    assert_contains(r->content_type, "application/openmetrics-text; version=1.0.0");
    assert_contains(plane_text(p, r), "\n# EOF\n");
    r = plane_ask(p, API_EVERYTHING, "GET", "/metrics", headers, (struct span){"", 0});
    assert_string_equal(r->content_type, "text/plain; version=0.0.4; charset=utf-8");
}

static void readiness_follows_the_lifecycle_and_predict_goes_on_while_draining(void **state)
{
    struct plane *p = *state;
    static const struct {
        enum api_lifecycle lifecycle;
        int alive, ready, model, predict;
    } cases[] = {{API_STARTING, 200, 503, 503, 503},
                 {API_READY, 200, 200, 200, 200},
                 {API_DRAINING, 200, 503, 503, 200}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        api_set_lifecycle(p->api, cases[i].lifecycle);
        assert_int_equal(plane_get(p, "/")->status, cases[i].alive);
        assert_int_equal(plane_get(p, "/healthz")->status, 200);
        assert_int_equal(plane_get(p, "/readyz")->status, cases[i].ready);
        assert_int_equal(plane_get(p, "/v1/models/plane")->status, cases[i].model);
        assert_int_equal(plane_post(p, predict_path, "{\"instances\":[[1,2]]}")->status,
                         cases[i].predict);
    }
    api_set_lifecycle(p->api, API_STARTING);
    assert_answer(p, plane_get(p, "/v1/models/plane"), 503,
                  "{\"error\":\"Model with name plane is not ready.\"}");
}

static void a_request_id_is_kept_or_made_and_always_returned(void **state)
{
    struct plane *p = *state;
    struct span body = {"", 0};
    const struct header told[] = {{{"X-Request-Id", 12}, {"abc-123", 7}}, {{0}, {0}}};
    struct span id =
        header_of(plane_ask(p, API_EVERYTHING, "GET", "/", told, body), "x-request-id");
    assert_int_equal(id.n, 7);
    assert_memory_equal(id.p, "abc-123", 7);
    char first[17] = "", second[17] = "";
    id = header_of(plane_get(p, "/"), "x-request-id");
    assert_int_equal(id.n, 16);
    memcpy(first, id.p, 16);
    id = header_of(plane_get(p, "/nope"), "x-request-id");
    memcpy(second, id.p, 16);
    assert_string_not_equal(first, second);
    /* An id that could break a log line or a header is replaced. */
    const struct header bad[] = {{{"x-request-id", 12}, {"a b", 3}}, {{0}, {0}}};
    assert_int_equal(
        header_of(plane_ask(p, API_EVERYTHING, "GET", "/", bad, body), "x-request-id").n, 16);
}

static void framing_faults_become_json_with_their_status(void **state)
{
    struct plane *p = *state;
    static const int faults[] = {400, 408, 417, 431, 501, 505};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        struct request request = {.fault = faults[i], .fault_text = "what was wrong"};
        arena_reset(p->arena);
        assert_answer(p, api_handle(p->api, API_EVERYTHING, &request, p->arena, 0), faults[i],
                      "{\"error\":\"what was wrong\"}");
    }
}

static void a_body_that_is_too_large_matters_only_where_a_body_is_wanted(void **state)
{
    struct plane *p = *state;
    struct request request = {.method = HTTP_POST,
                              .method_name = {"POST", 4},
                              .path = {"/v1/models/nope:predict", 23},
                              .fault = 413,
                              .fault_text = "body: expected fewer bytes"};
    assert_int_equal(api_handle(p->api, API_EVERYTHING, &request, p->arena, 0)->status, 404);
    request.path = (struct span){predict_path, sizeof predict_path - 1};
    assert_int_equal(api_handle(p->api, API_EVERYTHING, &request, p->arena, 0)->status, 413);
}

/* {"instances":[[0,0],[0,0],...]} with so many rows; freed by the caller. */
static char *rows_body(size_t rows)
{
    char *body = malloc(rows * 6 + 32);
    assert_non_null(body);
    size_t n = (size_t)sprintf(body, "{\"instances\":[");
    for (size_t i = 0; i < rows; i++)
        n += (size_t)sprintf(body + n, "%s[0,0]", i == 0 ? "" : ",");
    (void)sprintf(body + n, "]}");
    return body;
}

static void more_rows_than_allowed_are_413(void **state)
{
    struct plane *p = *state;
    char *body = rows_body(PLANE_MAX_ROWS);
    assert_int_equal(plane_post(p, predict_path, body)->status, 200);
    free(body);
    body = rows_body(PLANE_MAX_ROWS + 1);
    const struct response *r = plane_post(p, predict_path, body);
    assert_int_equal(r->status, 413);
    assert_contains(plane_text(p, r), "instances: expected at most 1000 rows");
    assert_int_equal(plane_post(p, explain_path, body)->status, 413);
    free(body);
}

static void an_explanation_needs_more_of_the_memory_budget(void **state)
{
    struct plane *p = *state;
    size_t n = PLANE_BUDGET / 16;
    char *body = malloc(n + 1);
    assert_non_null(body);
    memset(body, ' ', n);
    body[n] = '\0';
    assert_int_equal(plane_post(p, predict_path, body)->status, 400);
    assert_int_equal(plane_post(p, explain_path, body)->status, 413);
    free(body);
}

static void a_body_beyond_the_memory_budget_is_413_and_a_full_budget_is_429(void **state)
{
    struct plane *p = *state;
    size_t large = PLANE_BUDGET / 8 + 1, half = PLANE_BUDGET / 16 + 1;
    char *body = malloc(large + 1);
    assert_non_null(body);
    memset(body, ' ', large);
    body[large] = '\0';
    assert_int_equal(plane_post(p, predict_path, body)->status, 413);
    body[half] = '\0';
    struct request request = {.method = HTTP_POST,
                              .method_name = {"POST", 4},
                              .path = {predict_path, sizeof predict_path - 1},
                              .body = {body, half}};
    /* The first holds its share until it ends, so there is none left for the second. */
    arena_reset(p->arena);
    struct api_call *first = api_begin(p->api, API_EVERYTHING, &request, p->arena, 0);
    const struct response *second = api_handle(p->api, API_EVERYTHING, &request, p->arena, 1);
    assert_int_equal(second->status, 429);
    assert_memory_equal(header_of(second, "Retry-After").p, "1", 1);
    struct job job = {0};
    while (api_step(first, &job) == API_COMPUTE)
        for (size_t i = 0; i < job.blocks; i++)
            job.run(first, i);
    assert_int_equal(api_end(first)->status, 400);
    assert_int_equal(api_handle(p->api, API_EVERYTHING, &request, p->arena, 1)->status, 400);
    free(body);
}

/* A body that is too dear to be run in place: 1000 rows in 100 kB; freed by the caller. */
static struct request dear_request(char **body)
{
    size_t n = 200000, at;
    *body = malloc(n);
    assert_non_null(*body);
    at = (size_t)sprintf(*body, "{\"instances\":[[1,2]");
    for (int i = 0; i < 999; i++)
        at +=
            (size_t)sprintf(*body + at, ",[%d,                                %*d]", i, 60, i % 7);
    at += (size_t)sprintf(*body + at, "]}");
    assert_true(at < n);
    return (struct request){.method = HTTP_POST,
                            .method_name = {"POST", 4},
                            .path = {predict_path, sizeof predict_path - 1},
                            .body = {*body, at}};
}

/* A dear request hands its work out; whoever runs the blocks, in whatever order, the answer is the
 * same as in place. */
static void a_large_request_can_be_run_block_by_block_elsewhere(void **state)
{
    struct plane *p = *state;
    char *body;
    struct request request = dear_request(&body);
    arena_reset(p->arena);
    struct api_call *call = api_begin(p->api, API_EVERYTHING, &request, p->arena, 0);
    struct job job = {0};
    size_t jobs = 0;
    while (api_step(call, &job) == API_COMPUTE) {
        jobs++;
        for (size_t i = job.blocks; i-- > 0;)
            job.run(job.call, i);
    }
    assert_int_equal(jobs, 3);
    const struct response *r = api_end(call);
    assert_int_equal(r->status, 200);
    const char *text = plane_text(p, r);
    assert_memory_equal(text, "{\"predictions\":[9.0,1.0,6.0,11.0,", 33);
    free(body);
}

/* "plane" with centres: dear enough to be explained elsewhere. */
static struct model *kernel_plane(void)
{
    enum { CENTRES = 500 };
    static const struct model_feature features[] = {{"a", {.min = -9, .max = 9, .scale = 1}},
                                                    {"b", {.min = -9, .max = 9, .scale = 1}}};
    static const struct kernel_direction sum = {0, 1, false};
    static const double scales[] = {0.1, 0.2, 0.3};
    double centres[CENTRES * 2], coefficients[CENTRES], quantiles[2 * MODEL_QUANTILES];
    struct error err = {0};
    for (size_t i = 0; i < CENTRES; i++) {
        centres[2 * i] = (double)(i % 7) - 3;
        centres[2 * i + 1] = (double)(i % 11) - 5;
        coefficients[i] = (double)(i % 3) - 1;
    }
    for (size_t i = 0; i < MODEL_QUANTILES; i++)
        quantiles[i] = quantiles[MODEL_QUANTILES + i] = (double)i / 4 - 4;
    struct model_parts parts = {.name = "plane",
                                .version = "1",
                                .kind = MODEL_KERNEL,
                                .target_name = "y",
                                .target_unit = "",
                                .features = features,
                                .feature_count = 2,
                                .quantiles = quantiles,
                                .kernel = {2, 1, CENTRES, &sum, scales, centres},
                                .prediction = {1, coefficients, CENTRES}};
    memset(parts.card.data_sha256, '0', 64);
    struct model *model = model_new(&parts, &err);
    if (model == NULL)
        fail_msg("%s", err.message);
    return model;
}

static void explanations_can_be_run_block_by_block_elsewhere(void **state)
{
    struct plane p;
    (void)state;
    plane_init_with(&p, kernel_plane());
    char *body = rows_body(20);
    struct request request = {.method = HTTP_POST,
                              .method_name = {"POST", 4},
                              .path = {explain_path, sizeof explain_path - 1},
                              .body = {body, strlen(body)}};
    struct arena *arena = arena_new(4096, 0);
    const struct response *whole = plane_post(&p, explain_path, body);
    assert_int_equal(whole->status, 200);
    struct api_call *call = api_begin(p.api, API_EVERYTHING, &request, arena, 0);
    struct job job = {0};
    size_t jobs = 0, blocks = 0;
    while (api_step(call, &job) == API_COMPUTE) {
        jobs++;
        blocks += job.blocks;
        for (size_t i = job.blocks; i-- > 0;)
            job.run(job.call, i);
    }
    const struct response *r = api_end(call);
    assert_int_equal(jobs, 3);
    assert_true(blocks > 3);
    assert_int_equal(r->body.n, whole->body.n);
    assert_memory_equal(r->body.p, whole->body.p, whole->body.n);
    arena_free(arena);
    free(body);
    plane_clear(&p);
}

struct asking {
    struct api *api;
    unsigned shard;
    char text[512];
};

static void *ask_for_an_explanation(void *arg)
{
    static const char body[] = "{\"instances\":[[1,2]]}";
    struct asking *a = arg;
    struct arena *arena = arena_new(4096, 0);
    struct request request = {.method = HTTP_POST,
                              .method_name = {"POST", 4},
                              .path = {explain_path, sizeof explain_path - 1},
                              .body = {body, sizeof body - 1}};
    const struct response *r = api_handle(a->api, API_EVERYTHING, &request, arena, a->shard);
    (void)snprintf(a->text, sizeof a->text, "%d %.*s", r->status, (int)r->body.n, r->body.p);
    arena_free(arena);
    return NULL;
}

static void threads_that_ask_at_once_share_one_explainer(void **state)
{
    struct plane p;
    struct asking asking[PLANE_SHARDS];
    pthread_t threads[PLANE_SHARDS];
    struct error err = {0};
    (void)state;
    plane_init_with(&p, kernel_plane());
    for (unsigned i = 0; i < PLANE_SHARDS; i++) {
        asking[i] = (struct asking){p.api, i, ""};
        assert_int_equal(pthread_create(&threads[i], NULL, ask_for_an_explanation, &asking[i]), 0);
    }
    for (unsigned i = 0; i < PLANE_SHARDS; i++)
        (void)pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < PLANE_SHARDS; i++)
        assert_string_equal(asking[i].text, asking[0].text);
    assert_contains(asking[0].text, "200 {\"explanations\":[{\"base\":");
    struct served *served = registry_at(p.registry, 0, 0);
    const struct explainer *first = served_explainer(served, &err);
    assert_ptr_equal(first, served_explainer(served, &err));
    plane_clear(&p);
}

/* Whatever the stage in which the peer leaves: no later stage runs, and the memory it was charged for is
 * given back. */
static void a_cancelled_request_ends_with_the_stage_it_is_in(void **state)
{
    struct plane *p = *state;
    char *body;
    struct request request = dear_request(&body);
    for (size_t stage = 1; stage <= 2; stage++) {
        size_t jobs = 0;
        struct job job = {0};
        arena_reset(p->arena);
        struct api_call *call = api_begin(p->api, API_EVERYTHING, &request, p->arena, 0);
        while (api_step(call, &job) == API_COMPUTE) {
            if (++jobs == stage)
                api_cancel(call);
            for (size_t i = 0; i < job.blocks; i++)
                job.run(call, i);
        }
        assert_int_equal(jobs, stage);
        assert_int_equal(api_end(call)->status, 504);
    }
    for (size_t i = 0; i < 2 * PLANE_BUDGET / (8 * request.body.n); i++) {
        arena_reset(p->arena);
        assert_int_equal(api_handle(p->api, API_EVERYTHING, &request, p->arena, 0)->status, 200);
    }
    free(body);
}

/* An arena that runs out in mid-answer, at every place where it can. */
static void exhausted_memory_is_503_wherever_it_happens(void **state)
{
    struct plane *p = *state;
    static const char *const paths[] = {"/v1/models", "/v1/models/plane", "/v1/models/plane:foo",
                                        "/metrics", predict_path};
    static const char body[] = "{\"instances\":[[1,2],[\"1\",2],[3,4]]}";
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        bool predict = paths[i] == predict_path;
        int wanted = i == 2 ? 404 : 200;
        size_t failed = 0, limit = 64;
        for (int status = 0; status != wanted; limit += 16) {
            struct arena *arena = arena_new(32, limit);
            struct request request = {.method = predict ? HTTP_POST : HTTP_GET,
                                      .method_name = {"", 0},
                                      .path = {paths[i], strlen(paths[i])},
                                      .body = {body, predict ? sizeof body - 1 : 0}};
            assert_non_null(arena);
            const struct response *r = api_handle(p->api, API_EVERYTHING, &request, arena, 0);
            status = r->status;
            if (status == 503)
                assert_memory_equal(r->body.p, "{\"error\":\"out of memory\"}", r->body.n);
            failed += status == 503;
            arena_free(arena);
            assert_true(limit < 1 << 20);
        }
        assert_true(failed > 3);
    }
}

/* ---- the log ---- */

/* What one request with this method leaves in the log. */
static void log_of(struct plane *p, bool access_log, const char *path, char text[4096])
{
    int ends[2];
    struct error err = {0};
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    struct log *log = log_start(ends[1], LOG_INFO, &err);
    assert_non_null(log);
    struct api_config config = {.registry = p->registry,
                                .telemetry = p->telemetry,
                                .metrics = p->metrics,
                                .log = log,
                                .access_log = access_log,
                                .max_rows = 10,
                                .memory_budget_bytes = PLANE_BUDGET,
                                .shards = PLANE_SHARDS};
    struct api *api = api_new(&config, &err);
    assert_non_null(api);
    const struct header told[] = {{{"x-request-id", 12}, {"abc-123", 7}}};
    struct request request = {.method = HTTP_GET,
                              .method_name = {"GET", 3},
                              .path = {path, strlen(path)},
                              .headers = told,
                              .header_count = 1};
    arena_reset(p->arena);
    (void)api_handle(api, API_EVERYTHING, &request, p->arena, 0);
    api_free(api);
    log_stop(log);
    (void)close(ends[1]);
    ssize_t n = read(ends[0], text, 4095);
    (void)close(ends[0]);
    assert_true(n >= 0);
    text[n] = '\0';
}

static void the_access_log_is_one_json_line_for_each_request_if_it_is_wanted(void **state)
{
    char text[4096];
    struct error err = {0};
    log_of(*state, false, "/healthz", text);
    assert_string_equal(text, "");
    log_of(*state, true, "/no\"pe\n", text);
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    cJSON *line = json_tree((struct span){text, strlen(text)}, &err);
    assert_non_null(line);
    assert_string_equal(json_member(line, "event")->valuestring, "request");
    assert_string_equal(json_member(line, "method")->valuestring, "GET");
    assert_string_equal(json_member(line, "path")->valuestring, "/no\"pe\n");
    assert_string_equal(json_member(line, "request_id")->valuestring, "abc-123");
    assert_true(json_member(line, "status")->valuedouble == 404);
    assert_true(json_member(line, "response_bytes")->valuedouble == 22);
    assert_non_null(json_member(line, "microseconds"));
    cJSON_Delete(line);
}

static void a_prediction_that_overflows_is_refused_by_row(void **state)
{
    struct plane *p = *state;
    const struct response *r = plane_post(p, predict_path, "{\"instances\":[[1,2],[1e308,1e308]]}");
    assert_int_equal(r->status, 400);
    assert_contains(plane_text(p, r), "1");
}

static double read_metric(struct plane *p, const char *series)
{
    const char *text = plane_text(p, plane_get(p, "/metrics"));
    char line[256];
    (void)snprintf(line, sizeof line, "\n%s ", series);
    const char *at = strstr(text, line);
    if (at == NULL)
        fail_msg("expected %s in:\n%s", series, text);
    return strtod(at + strlen(line), NULL);
}

#define LABELS "model_name=\"plane\",version=\"1\",user_id=\"user01\",namespace=\"kubeflow-user01\""

static void predictions_are_counted_by_outcome_and_a_404_is_nobodys(void **state)
{
    struct plane *p = *state;
    assert_true(read_metric(p, "model_prediction_total{" LABELS ",status=\"success\"}") == 0);
    assert_true(read_metric(p, "model_prediction_total{" LABELS ",status=\"error\"}") == 0);
    (void)plane_post(p, predict_path, "{\"instances\":[[1,2],[3,4]]}");
    (void)plane_post(p, predict_path, "{\"instances\":[[1]]}");
    (void)plane_post(p, predict_path, "nonsense");
    (void)plane_post(p, "/v1/models/nope:predict", "{}");
    (void)plane_ask(p, API_EVERYTHING, "GET", predict_path, NULL, (struct span){"", 0});
    assert_true(read_metric(p, "model_prediction_total{" LABELS ",status=\"success\"}") == 1);
    assert_true(read_metric(p, "model_prediction_total{" LABELS ",status=\"error\"}") == 2);
    assert_true(read_metric(p, "model_prediction_rows_total{" LABELS "}") == 2);
    assert_true(read_metric(p, "model_prediction_latency_count{" LABELS "}") == 3);
    assert_true(read_metric(p, "request_preprocess_seconds_count{model_name=\"plane\"}") == 3);
    assert_true(read_metric(p, "request_predict_seconds_count{model_name=\"plane\"}") == 1);
    assert_true(read_metric(p, "request_postprocess_seconds_count{model_name=\"plane\"}") == 1);
    assert_true(read_metric(p,
                            "http_requests_total{route=\"/v1/models/{model}:predict\","
                            "code=\"404\"}") == 1);
    /* The scrape that is being answered is the one in flight. */
    assert_true(read_metric(p, "http_requests_in_flight") == 1);
}

static void explanations_are_counted_apart_from_predictions(void **state)
{
    struct plane *p = *state;
    assert_true(read_metric(p, "request_explain_seconds_count{model_name=\"plane\"}") == 0);
    (void)plane_post(p, explain_path, "{\"instances\":[[1,2],[3,4]]}");
    (void)plane_post(p, explain_path, "{\"instances\":[[1]]}");
    assert_true(read_metric(p, "request_explain_seconds_count{model_name=\"plane\"}") == 1);
    assert_true(read_metric(p, "request_preprocess_seconds_count{model_name=\"plane\"}") == 2);
    assert_true(read_metric(p, "request_predict_seconds_count{model_name=\"plane\"}") == 0);
    assert_true(read_metric(p, "request_postprocess_seconds_count{model_name=\"plane\"}") == 1);
    assert_true(read_metric(p, "model_prediction_total{" LABELS ",status=\"success\"}") == 0);
    assert_true(read_metric(p, "model_prediction_total{" LABELS ",status=\"error\"}") == 0);
    assert_true(read_metric(p,
                            "http_requests_total{route=\"/v1/models/{model}:explain\","
                            "code=\"200\"}") == 1);
    assert_true(read_metric(p,
                            "http_requests_total{route=\"/v1/models/{model}:explain\","
                            "code=\"400\"}") == 1);
}

static void quality_shows_the_cards_holdout_and_says_that_it_is_not_live(void **state)
{
    struct plane *p = *state;
    assert_true(read_metric(p, "model_mae_score{" LABELS "}") == 0.25);
    assert_true(read_metric(p, "model_r2_score{" LABELS "}") == 0.75);
    assert_true(read_metric(p, "model_quality_live{" LABELS "}") == 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
static const struct CMUnitTest tests[] = {
    CASE(every_small_route_answers),
    CASE(the_page_comes_with_the_policy_that_keeps_it_to_itself),
    CASE(the_card_is_that_of_the_model_served),
    CASE(the_page_can_be_switched_off),
    CASE(predict_answers_one_prediction_per_row),
    CASE(a_trailing_slash_is_forgiven),
    CASE(unknown_paths_keep_kserves_words),
    CASE(unknown_models_keep_kserves_words),
    CASE(a_wrong_method_is_405_and_names_the_right_one),
    CASE(explain_answers_base_prediction_and_attributions),
    CASE(predict_answers_intervals_when_asked),
    cmocka_unit_test(a_model_that_cannot_explain_or_give_intervals_says_501),
    CASE(the_observer_answers_health_and_metrics_only),
    CASE(only_the_observer_negotiates_openmetrics),
    CASE(readiness_follows_the_lifecycle_and_predict_goes_on_while_draining),
    CASE(a_request_id_is_kept_or_made_and_always_returned),
    CASE(framing_faults_become_json_with_their_status),
    CASE(a_body_that_is_too_large_matters_only_where_a_body_is_wanted),
    CASE(more_rows_than_allowed_are_413),
    CASE(an_explanation_needs_more_of_the_memory_budget),
    CASE(a_body_beyond_the_memory_budget_is_413_and_a_full_budget_is_429),
    CASE(a_large_request_can_be_run_block_by_block_elsewhere),
    cmocka_unit_test(explanations_can_be_run_block_by_block_elsewhere),
    cmocka_unit_test(threads_that_ask_at_once_share_one_explainer),
    CASE(a_cancelled_request_ends_with_the_stage_it_is_in),
    CASE(exhausted_memory_is_503_wherever_it_happens),
    CASE(the_access_log_is_one_json_line_for_each_request_if_it_is_wanted),
    CASE(a_prediction_that_overflows_is_refused_by_row),
    CASE(predictions_are_counted_by_outcome_and_a_404_is_nobodys),
    CASE(explanations_are_counted_apart_from_predictions),
    CASE(quality_shows_the_cards_holdout_and_says_that_it_is_not_live),
};

T_MAIN(tests)
