/* The door without sockets: routing, order of checks, statuses, counting, resumable calls. What a body
 * may look like is in tests/unit/test_v1.c and tests/conformance. */
#include "server/predictor/ui.h"
#include "tests/support/plane.h"
#include "tests/support/t.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static void explain_is_501_until_the_model_can(void **state)
{
    struct plane *p = *state;
    assert_int_equal(plane_post(p, "/v1/models/plane:explain", "{\"instances\":[[1,2]]}")->status,
                     501);
    assert_int_equal(plane_post(p, "/v1/models/nope:explain", "{}")->status, 404);
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

/* A dear request hands its work out; whoever runs the blocks, in whatever order, the answer is the
 * same as in place. */
static void a_large_request_can_be_run_block_by_block_elsewhere(void **state)
{
    struct plane *p = *state;
    size_t n = 200000, at;
    char *body = malloc(n);
    assert_non_null(body);
    at = (size_t)sprintf(body, "{\"instances\":[[1,2]");
    for (int i = 0; i < 999; i++)
        at += (size_t)sprintf(body + at, ",[%d,                                %*d]", i, 60, i % 7);
    at += (size_t)sprintf(body + at, "]}");
    assert_true(at < n);
    struct request request = {.method = HTTP_POST,
                              .method_name = {"POST", 4},
                              .path = {predict_path, sizeof predict_path - 1},
                              .body = {body, at}};
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
    CASE(explain_is_501_until_the_model_can),
    CASE(the_observer_answers_health_and_metrics_only),
    CASE(only_the_observer_negotiates_openmetrics),
    CASE(readiness_follows_the_lifecycle_and_predict_goes_on_while_draining),
    CASE(a_request_id_is_kept_or_made_and_always_returned),
    CASE(framing_faults_become_json_with_their_status),
    CASE(a_body_that_is_too_large_matters_only_where_a_body_is_wanted),
    CASE(more_rows_than_allowed_are_413),
    CASE(a_body_beyond_the_memory_budget_is_413_and_a_full_budget_is_429),
    CASE(a_large_request_can_be_run_block_by_block_elsewhere),
    CASE(a_prediction_that_overflows_is_refused_by_row),
    CASE(predictions_are_counted_by_outcome_and_a_404_is_nobodys),
    CASE(quality_shows_the_cards_holdout_and_says_that_it_is_not_live),
};

T_MAIN(tests)
