/* True values through the door, without sockets: what is answered, what the journal holds, and what the
 * figures say. Sockets, crashes and full disks are in tests/integration/test_feedback.c. */
#define _GNU_SOURCE /* RLIMIT_FSIZE's signal, poll with no descriptors */
#include "model/drift.h"
#include "model/model_file.h"
#include "model/model_internal.h"
#include "tests/support/exposition_check.h"
#include "tests/support/plane.h"
#include "tests/support/process.h"
#include "tests/support/t.h"

#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const char feedback_path[] = "/v1/models/plane:feedback";
static const char predict_path[] = "/v1/models/plane:predict";

#define LABELS_OF(version)                                                                         \
    "model_name=\"plane\",version=\"" version                                                      \
    "\",user_id=\"user01\",namespace=\"kubeflow-"                                                  \
    "user01\""
#define LABELS LABELS_OF("1")

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

/* ---- asking ---- */

static struct span header_of(const struct response *response, const char *name)
{
    for (size_t i = 0; i < response->header_count; i++)
        if (strlen(name) == response->headers[i].name.n &&
            memcmp(name, response->headers[i].name.p, response->headers[i].name.n) == 0)
            return response->headers[i].value;
    return (struct span){"", 0};
}

static void assert_header(const struct response *response, const char *name, const char *value)
{
    struct span found = header_of(response, name);
    assert_int_equal(found.n, strlen(value));
    assert_memory_equal(found.p, value, found.n);
}

static const struct response *post_as(struct plane *p, const char *id, const char *path,
                                      const char *body)
{
    const struct header headers[] = {{{"x-request-id", 12}, {id, strlen(id)}}, {{0}, {0}}};
    return plane_ask(p, API_EVERYTHING, "POST", path, headers, (struct span){body, strlen(body)});
}

static void predict_as(struct plane *p, const char *id, const char *instances)
{
    char body[8192];
    (void)snprintf(body, sizeof body, "{\"instances\":%s}", instances);
    assert_int_equal(post_as(p, id, predict_path, body)->status, 200);
}

static void expect(struct plane *p, const char *body, int status, const char *answer)
{
    const struct response *r = plane_post(p, feedback_path, body);
    assert_string_equal(plane_text(p, r), answer);
    assert_int_equal(r->status, status);
}

/* One id of a prediction 1 (of [0,0]) and what becomes of its true value. */
static void expect_id(struct plane *p, const char *id, const char *outcome)
{
    char body[256], answer[256];
    (void)snprintf(body, sizeof body, "{\"ids\":[\"%s\"],\"targets\":[1]}", id);
    (void)snprintf(answer, sizeof answer, "{\"accepted\":%d,\"results\":[\"%s\"]}",
                   strcmp(outcome, "accepted") == 0, outcome);
    expect(p, body, 200, answer);
}

/* The whole of GET :feedback, or the error's body; in static storage. */
static const char *journal(struct plane *p, const char *query, int status)
{
    static char text[1 << 20];
    char path[512];
    size_t n = 0;
    struct span piece;
    (void)snprintf(path, sizeof path, "%s%s", feedback_path, query);
    const struct response *r = plane_get(p, path);
    assert_int_equal(r->status, status);
    if (r->stream == NULL) {
        (void)snprintf(text, sizeof text, "%.*s", (int)r->body.n, r->body.p);
        return text;
    }
    assert_string_equal(r->content_type, "text/csv; charset=utf-8");
    enum stream_state state;
    while ((state = r->stream->next(r->stream, &piece)) == STREAM_PIECE) {
        assert_true(piece.n > 0 && piece.p[piece.n - 1] == '\n');
        assert_true(n + piece.n < sizeof text);
        memcpy(text + n, piece.p, piece.n);
        n += piece.n;
    }
    assert_int_equal(state, STREAM_END);
    r->stream->end(r->stream);
    text[n] = '\0';
    return text;
}

static size_t lines_of(const char *text)
{
    size_t lines = 0;
    for (; (text = strchr(text, '\n')) != NULL; text++)
        lines++;
    return lines;
}

static void read_page(struct plane *p, struct span *page)
{
    struct error err = {0};
    *page = plane_get(p, "/metrics")->body;
    if (!exposition_check(page->p, page->n, EXPOSITION_TEXT, &err))
        fail_msg("%s", err.message);
}

static bool has_metric(struct plane *p, const char *series)
{
    struct span page;
    double value;
    read_page(p, &page);
    return exposition_value(page.p, page.n, series, &value);
}

static double metric(struct plane *p, const char *series)
{
    struct span page;
    double value;
    read_page(p, &page);
    if (!exposition_value(page.p, page.n, series, &value))
        fail_msg("expected %s in:\n%.*s", series, (int)page.n, page.p);
    return value;
}

static bool load(struct plane *p, const char *version, double intercept)
{
    struct error err = {0};
    char path[600];
    bool swapped;
    (void)snprintf(path, sizeof path, "%s/model.json", p->folder);
    plane_save(path, version, intercept);
    if (!registry_load(p->registry, &swapped, &err))
        fail_msg("%s", err.message);
    return swapped;
}

/* ---- joining ---- */

static void instances_are_predicted_kept_and_answered(void **state)
{
    struct plane *p = *state;
    expect(p, "{\"instances\":[[1,2],[0,0]],\"targets\":[9.5,0]}", 200,
           "{\"accepted\":2,\"results\":[\"accepted\",\"accepted\"],\"predictions\":[9.0,1.0]}");
    expect(p, "{\"targets\":[1],\"inputs\":[[1,2]]}", 200,
           "{\"accepted\":1,\"results\":[\"accepted\"],\"predictions\":[9.0]}");
    assert_int_equal(lines_of(journal(p, "", 200)), 1 + 3);
}

static void ids_find_the_rows_of_their_requests(void **state)
{
    struct plane *p = *state;
    predict_as(p, "one", "[[1,2]]");
    predict_as(p, "a/b", "[[0,0],[0,1],[0,2]]");
    expect(p, "{\"ids\":[\"a/b/2\",\"one\",\"a/b\",\"a/b/3\"],\"targets\":[7,9,1,0]}", 200,
           "{\"accepted\":3,\"results\":[\"accepted\",\"accepted\",\"accepted\",\"unknown\"]}");
    const char *text = journal(p, "", 200);
    assert_contains(text, ",a/b/2,1,0.0,2.0,7.0,7.0,");
    assert_contains(text, ",one,1,1.0,2.0,9.0,9.0,");
    assert_contains(text, ",a/b,1,0.0,0.0,1.0,1.0,");
    assert_int_equal(lines_of(text), 1 + 3);
}

static void an_id_made_by_the_server_is_as_good_as_the_clients(void **state)
{
    struct plane *p = *state;
    char id[32];
    struct span made =
        header_of(plane_post(p, predict_path, "{\"instances\":[[0,0]]}"), "x-request-id");
    (void)snprintf(id, sizeof id, "%.*s", (int)made.n, made.p);
    expect_id(p, id, "accepted");
}

static void each_true_value_is_told_what_became_of_it(void **state)
{
    struct plane *p = *state;
    char id[16];
    predict_as(p, "old", "[[0,0]]");
    predict_as(p, "older", "[[0,0]]");
    expect_id(p, "older", "accepted");
    expect_id(p, "older", "duplicate");
    expect(p, "{\"ids\":[\"old/0\",\"old\",\"never\"],\"targets\":[1,1,1]}", 200,
           "{\"accepted\":1,\"results\":[\"accepted\",\"duplicate\",\"unknown\"]}");
    predict_as(p, "first", "[[0,0]]");
    /* 25 are held by each of the four shards, the keys of 75 more are remembered; the hash decides. */
    for (int i = 0; i < 240; i++) {
        (void)snprintf(id, sizeof id, "n%d", i);
        predict_as(p, id, "[[0,0]]");
    }
    expect_id(p, "first", "late");
    expect_id(p, "old", "duplicate");
    for (int i = 0; i < 800; i++) {
        (void)snprintf(id, sizeof id, "m%d", i);
        predict_as(p, id, "[[0,0]]");
    }
    expect_id(p, "first", "unknown");
    assert_true(metric(p, "model_feedback_total{" LABELS ",outcome=\"accepted\"}") == 2);
    assert_true(metric(p, "model_feedback_total{" LABELS ",outcome=\"duplicate\"}") == 3);
    assert_true(metric(p, "model_feedback_total{" LABELS ",outcome=\"unknown\"}") == 2);
    assert_true(metric(p, "model_feedback_total{" LABELS ",outcome=\"late\"}") == 1);
    assert_true(metric(p, "model_feedback_total{" LABELS ",outcome=\"other_version\"}") == 0);
    /* Only what was accepted is kept. */
    assert_int_equal(lines_of(journal(p, "", 200)), 1 + 2);
    assert_true(metric(p, "feedback_journal_rows_total") == 2);
}

static void rows_beyond_those_kept_of_a_request_are_unknown(void **state)
{
    struct plane *p = *state;
    char body[4096] = "[[0,0]";
    for (int i = 1; i < MONITOR_REQUEST_ROWS_MAX + 10; i++)
        (void)strcat(body, ",[0,0]");
    (void)strcat(body, "]");
    predict_as(p, "batch", body);
    /* Of 256 rows a shard of this plane holds the newest 25. */
    expect(p, "{\"ids\":[\"batch/255\",\"batch/256\"],\"targets\":[1,1]}", 200,
           "{\"accepted\":1,\"results\":[\"accepted\",\"unknown\"]}");
}

/* ---- versions ---- */

static void
true_values_for_a_version_replaced_are_journaled_and_counted_but_not_windowed(void **state)
{
    struct plane *p = *state;
    predict_as(p, "before", "[[0,0]]");
    assert_true(load(p, "2", 10));
    expect_id(p, "before", "other_version");
    predict_as(p, "after", "[[0,0]]");
    expect_id(p, "after", "accepted");
    const char *text = journal(p, "", 200);
    assert_contains(text, ",before,1,0.0,0.0,1.0,1.0,");
    assert_contains(text, ",after,2,0.0,0.0,10.0,1.0,");
    assert_true(metric(p, "model_window_rows{" LABELS_OF("2") "}") == 1);
    assert_true(metric(p, "model_window_absolute_errors{" LABELS_OF("2") "}") == 9);
    assert_true(metric(p, "model_feedback_total{" LABELS_OF("2") ",outcome=\"other_version\"}") ==
                1);
    assert_true(metric(p, "model_feedback_total{" LABELS_OF("2") ",outcome=\"accepted\"}") == 1);
}

/* Between the moment when a model is served and the loader's next step nothing may be lost. */
static void what_is_told_of_a_model_just_swapped_in_is_journaled(void **state)
{
    struct plane *p = *state;
    assert_true(load(p, "2", 10));
    expect(p, "{\"instances\":[[0,0]],\"targets\":[9]}", 200,
           "{\"accepted\":1,\"results\":[\"accepted\"],\"predictions\":[10.0]}");
    assert_contains(journal(p, "", 200), ",2,0.0,0.0,10.0,9.0,");
}

/* What cannot be journaled any more is not said to be kept. */
static void a_prediction_of_a_version_long_gone_is_late(void **state)
{
    struct plane *p = *state;
    char version[16];
    predict_as(p, "before", "[[0,0]]");
    for (int i = 2; i < 20; i++) {
        (void)snprintf(version, sizeof version, "%d", i);
        assert_true(load(p, version, i));
    }
    expect_id(p, "before", "late");
    assert_int_equal(lines_of(journal(p, "", 200)), 1);
}

static void after_a_swap_the_old_gauges_are_gone_and_the_counters_stay(void **state)
{
    struct plane *p = *state;
    static const char *const gauges[] = {"model_mae_score{" LABELS "}",
                                         "model_r2_score{" LABELS "}",
                                         "model_rmse_score{" LABELS "}",
                                         "model_bias_score{" LABELS "}",
                                         "model_quality_live{" LABELS "}",
                                         "model_window_rows{" LABELS "}",
                                         "model_window_errors{" LABELS "}",
                                         "model_drift_window_rows{" LABELS "}",
                                         "model_quality_last_feedback_timestamp_seconds{" LABELS
                                         "}",
                                         "model_interval_coverage_ratio{" LABELS ",level=\"0.9\"}"};
    struct span page;
    expect(p, "{\"instances\":[[1,2],[0,0],[1,1]],\"targets\":[9.5,-2,6.25]}", 200,
           "{\"accepted\":3,\"results\":[\"accepted\",\"accepted\",\"accepted\"],"
           "\"predictions\":[9.0,1.0,6.0]}");
    for (size_t i = 0; i < sizeof gauges / sizeof *gauges; i++)
        (void)metric(p, gauges[i]);
    assert_true(load(p, "2", 10));
    for (size_t i = 0; i < sizeof gauges / sizeof *gauges; i++)
        assert_false(has_metric(p, gauges[i]));
    assert_true(metric(p, "model_feedback_total{" LABELS ",outcome=\"accepted\"}") == 3);
    (void)metric(p, "model_prediction_total{" LABELS ",status=\"success\"}");
    (void)metric(p, "model_feature_out_of_range_total{" LABELS ",feature=\"a\"}");
    assert_true(metric(p, "model_quality_live{" LABELS_OF("2") "}") == 0);
    assert_true(metric(p, "model_mae_score{" LABELS_OF("2") "}") == 0.25);
    read_page(p, &page);
    assert_null(memmem(page.p, page.n, "model_feature_psi{" LABELS, 20 + sizeof LABELS - 3));
}

/* ---- checks ---- */

static void protect(struct plane *p, struct token *token)
{
    struct error err = {0};
    struct api_config config = {.registry = p->registry,
                                .monitor = p->monitor,
                                .feedback_token = token,
                                .feedback_durable = true,
                                .telemetry = p->telemetry,
                                .metrics = p->metrics,
                                .max_rows = PLANE_MAX_ROWS,
                                .memory_budget_bytes = PLANE_BUDGET,
                                .shards = PLANE_SHARDS};
    api_free(p->api);
    assert_non_null(p->api = api_new(&config, &err));
    api_set_lifecycle(p->api, API_READY);
}

static int ask_status(struct plane *p, const char *method, const char *path, const char *told)
{
    const struct header headers[] = {{{"authorization", 13}, {told, strlen(told)}}, {{0}, {0}}};
    return plane_ask(p, API_EVERYTHING, method, path, headers, (struct span){"not json", 8})
        ->status;
}

static void the_method_comes_first_then_the_token_then_the_model_then_the_body(void **state)
{
    struct plane *p = *state;
    struct error err = {0};
    char path[600];
    (void)snprintf(path, sizeof path, "%s/token", p->folder);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    (void)fputs("secret\n", out);
    (void)fclose(out);
    struct token *token = token_new(path, &err);
    assert_non_null(token);
    protect(p, token);

    const struct response *r =
        plane_ask(p, API_EVERYTHING, "PUT", "/v1/models/nope:feedback", NULL, (struct span){"", 0});
    assert_int_equal(r->status, 405);
    assert_header(r, "Allow", "GET, HEAD, POST");
    r = plane_post(p, "/v1/models/nope:feedback", "not json");
    assert_int_equal(r->status, 401);
    assert_header(r, "WWW-Authenticate", "Bearer");
    assert_string_equal(
        plane_text(p, r),
        "{\"error\":\"Authorization: expected \\\"Bearer\\\" and the feedback token\"}");
    assert_int_equal(plane_get(p, feedback_path)->status, 401);
    assert_int_equal(ask_status(p, "HEAD", feedback_path, ""), 401);
    static const char *const wrong[] = {"secret",        "Bearer",         "Bearer ",
                                        "Bearer secre",  "Bearer secrett", "Basic s",
                                        "Bearer Secret", "Token x"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(ask_status(p, "POST", feedback_path, wrong[i]), 401);
    assert_int_equal(ask_status(p, "POST", "/v1/models/nope:feedback", "Bearer secret"), 404);
    assert_int_equal(ask_status(p, "POST", feedback_path, "Bearer secret"), 400);
    assert_int_equal(ask_status(p, "POST", feedback_path, "bearer secret"), 400);
    /* The other routes are open. */
    assert_int_equal(plane_post(p, predict_path, "{\"instances\":[[0,0]]}")->status, 200);
    assert_int_equal(
        plane_ask(p, API_OBSERVER, "GET", feedback_path, NULL, (struct span){"", 0})->status, 404);
    api_set_lifecycle(p->api, API_STARTING);
    assert_int_equal(ask_status(p, "POST", feedback_path, "Bearer x"), 401);
    assert_int_equal(ask_status(p, "POST", feedback_path, "Bearer secret"), 503);
    api_set_lifecycle(p->api, API_DRAINING);
    assert_int_equal(ask_status(p, "POST", feedback_path, "Bearer secret"), 400);
    protect(p, NULL);
    token_free(token);
}

static void a_body_that_is_wrong_is_refused_by_its_place_and_keeps_nothing(void **state)
{
    struct plane *p = *state;
    static const struct {
        const char *body, *message;
    } cases[] = {
        {"{\"targets\":[1]}",
         "body: expected \\\"targets\\\" and either \\\"ids\\\" or "
         "\\\"instances\\\", got neither"},
        {"{\"targets\":[1],\"ids\":[\"a\"],\"instances\":[[0,0]]}", "got both"},
        {"{\"instances\":[[0,0]]}", "targets: expected a list, which is missing"},
        {"{\"instances\":[[0,0]],\"targets\":[1,2]}",
         "targets: expected 1 numbers, one per instance, got 2"},
        {"{\"instances\":[[0,0]],\"targets\":[null]}", "targets[0]: expected a finite number"},
        {"{\"instances\":[[0,0]],\"targets\":[1e999]}", "targets[0]: expected a finite number"},
        {"{\"instances\":[[0]],\"targets\":[1]}", "instances[0]: expected 2 numbers, got 1"},
        {"{\"instances\":[[0,0],[1e308,1e308]],\"targets\":[1,1]}",
         "row 1: expected a finite prediction"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct response *r = plane_post(p, feedback_path, cases[i].body);
        assert_contains(plane_text(p, r), cases[i].message);
        assert_int_equal(r->status, 400);
    }
    assert_int_equal(lines_of(journal(p, "", 200)), 1);
    assert_true(metric(p, "model_feedback_total{" LABELS ",outcome=\"accepted\"}") == 0);
    assert_true(metric(p,
                       "http_requests_total{route=\"/v1/models/{model}:feedback\","
                       "code=\"400\"}") == sizeof cases / sizeof *cases);
}

/* {"ids":["x", "x", ...],"targets":[0,0,...]}, so long that it is run as jobs; freed by the caller. */
static char *ids_body(size_t count)
{
    char *body = malloc(count * 32 + 64);
    assert_non_null(body);
    size_t n = (size_t)sprintf(body, "{\"ids\":[\"x\"");
    for (size_t i = 1; i < count; i++)
        n += (size_t)sprintf(body + n, ",%20s\"x\"", "");
    n += (size_t)sprintf(body + n, "],\"targets\":[0");
    for (size_t i = 1; i < count; i++)
        n += (size_t)sprintf(body + n, ",0");
    (void)sprintf(body + n, "]}");
    return body;
}

static void more_than_10000_true_values_are_413(void **state)
{
    struct plane *p = *state;
    char *body = ids_body(10001);
    const struct response *r = plane_post(p, feedback_path, body);
    assert_int_equal(r->status, 413);
    assert_contains(plane_text(p, r), "targets: expected at most 10000 elements");
    free(body);
}

static size_t most_at_once(struct plane *p)
{
    size_t least = 1, most = 10000;
    while (least < most) {
        size_t count = (least + most + 1) / 2;
        char *body = ids_body(count);
        int status = plane_post(p, feedback_path, body)->status;
        assert_true(status == 200 || status == 413);
        free(body);
        if (status == 200)
            least = count;
        else
            most = count - 1;
    }
    return least;
}

static void true_values_are_charged_for_the_memory_they_take(void **state)
{
    struct plane *p = *state;
    size_t most = most_at_once(p);
    assert_in_range(most, 1000, 9000);
    char *body = ids_body(most);
    struct request request = {.method = HTTP_POST,
                              .method_name = {"POST", 4},
                              .path = {feedback_path, sizeof feedback_path - 1},
                              .body = {body, strlen(body)}};
    struct arena *arena = arena_new(4096, 0);
    struct job job = {0};
    arena_reset(p->arena);
    /* All is charged until the end, as far as one call goes before it would wait. */
    struct api_call *first = api_begin(p->api, API_EVERYTHING, &request, p->arena, 0);
    assert_int_equal(api_step(first, &job), API_COMPUTE);
    job.run(first, 0);
    const struct response *second = api_handle(p->api, API_EVERYTHING, &request, arena, 1);
    assert_int_equal(second->status, 429);
    assert_header(second, "Retry-After", "1");
    while (api_step(first, &job) == API_COMPUTE)
        for (size_t i = 0; i < job.blocks; i++)
            job.run(first, i);
    assert_int_equal(api_end(first)->status, 200);
    arena_reset(arena);
    assert_int_equal(api_handle(p->api, API_EVERYTHING, &request, arena, 1)->status, 200);
    arena_free(arena);
    free(body);
}

/* An arena that runs out wherever it can: until there is an answer that says so, nothing is claimed. */
static void exhausted_memory_is_503_and_the_prediction_can_be_told_again(void **state)
{
    struct plane *p = *state;
    static const char body[] = "{\"ids\":[\"kept\"],\"targets\":[1]}";
    size_t failed = 0;
    int status = 0;
    predict_as(p, "kept", "[[0,0]]");
    for (size_t limit = 64; status != 200; limit += 16) {
        struct arena *arena = arena_new(32, limit);
        struct request request = {.method = HTTP_POST,
                                  .method_name = {"POST", 4},
                                  .path = {feedback_path, sizeof feedback_path - 1},
                                  .body = {body, sizeof body - 1}};
        const struct response *r = api_handle(p->api, API_EVERYTHING, &request, arena, 0);
        status = r->status;
        assert_true(status == 200 || status == 503);
        failed += status == 503;
        if (status == 200)
            assert_memory_equal(r->body.p, "{\"accepted\":1,", 14);
        arena_free(arena);
        assert_true(limit < 1 << 20);
    }
    assert_true(failed > 3);
    assert_int_equal(lines_of(journal(p, "", 200)), 1 + 1);
}

/* ---- the journal ---- */

static void the_journal_is_read_from_a_row_on(void **state)
{
    struct plane *p = *state;
    assert_string_equal(journal(p, "", 200), "time,id,model_version,a,b,prediction,y,crc32\n");
    predict_as(p, "r", "[[0,0],[0,1],[0,2]]");
    expect(p, "{\"ids\":[\"r\",\"r/1\",\"r/2\"],\"targets\":[1,2,3]}", 200,
           "{\"accepted\":3,\"results\":[\"accepted\",\"accepted\",\"accepted\"]}");
    assert_int_equal(lines_of(journal(p, "", 200)), 1 + 3);
    assert_int_equal(lines_of(journal(p, "?since=", 200)), 1 + 3);
    assert_int_equal(lines_of(journal(p, "?sinc=r&asince=r", 200)), 1 + 3);
    const char *text = journal(p, "?since=r/1", 200);
    assert_int_equal(lines_of(text), 1 + 1);
    assert_contains(text, ",r/2,1,0.0,2.0,7.0,3.0,");
    assert_int_equal(lines_of(journal(p, "?a=b&since=r%2F1&since=x", 200)), 1 + 1);
    assert_int_equal(lines_of(journal(p, "?since=%72%2f2&a", 200)), 1);
    assert_string_equal(journal(p, "?since=nobody", 404),
                        "{\"error\":\"since: no row with the id \\\"nobody\\\"\"}");
    static const char *const bad[] = {"?since=%", "?since=r%2", "?since=%zz", "?since=%2&a=1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_contains(journal(p, bad[i], 400), "since: expected two hexadecimal digits");
    /* Whatever is asked for, the answer is JSON. */
    assert_string_equal(journal(p, "?since=%ff%0a%00", 400),
                        "{\"error\":\"since: expected printable ASCII without blanks\"}");
}

static void a_long_journal_comes_in_pieces_of_whole_lines(void **state)
{
    struct plane *p = *state;
    enum { ROWS = 1000, TIMES = 5 };
    char *body = malloc(ROWS * 16 + 64), since[64];
    size_t n = (size_t)sprintf(body, "{\"targets\":[0");
    for (int i = 1; i < ROWS; i++)
        n += (size_t)sprintf(body + n, ",%d", i);
    n += (size_t)sprintf(body + n, "],\"instances\":[[0,0]");
    for (int i = 1; i < ROWS; i++)
        n += (size_t)sprintf(body + n, ",[0,0]");
    (void)sprintf(body + n, "]}");
    for (int i = 0; i < TIMES; i++) {
        (void)snprintf(since, sizeof since, "time-%d", i);
        assert_int_equal(post_as(p, since, feedback_path, body)->status, 200);
    }
    free(body);
    assert_int_equal(lines_of(journal(p, "", 200)), 1 + TIMES * ROWS);
    assert_int_equal(lines_of(journal(p, "?since=time-1/499", 200)), 1 + 500 + 3 * ROWS);
    assert_true(metric(p, "model_window_rows{" LABELS "}") == 1000);
}

static void only_the_header_fields_of_the_journal_answer_a_head(void **state)
{
    struct plane *p = *state;
    const struct response *r =
        plane_ask(p, API_EVERYTHING, "HEAD", feedback_path, NULL, (struct span){"", 0});
    assert_int_equal(r->status, 200);
    assert_non_null(r->stream);
    r->stream->end(r->stream);
}

static void more_readers_of_the_journal_than_there_is_room_for_are_429(void **state)
{
    struct plane *p = *state;
    struct response_stream *streams[MONITOR_STREAMS_MAX];
    for (size_t i = 0; i < MONITOR_STREAMS_MAX; i++)
        assert_non_null(streams[i] = plane_get(p, feedback_path)->stream);
    const struct response *r = plane_get(p, feedback_path);
    assert_int_equal(r->status, 429);
    assert_header(r, "Retry-After", "1");
    (void)journal(p, "?since=nobody", 429);
    for (size_t i = 0; i < MONITOR_STREAMS_MAX; i++)
        streams[i]->end(streams[i]);
    /* One that finds nothing gives its place back, too. */
    for (size_t i = 0; i < 2 * MONITOR_STREAMS_MAX; i++)
        (void)journal(p, "?since=nobody", 404);
    (void)journal(p, "", 200);
}

static void without_a_journal_true_values_count_and_reading_is_501(void **state)
{
    struct plane *p = *state;
    struct error err = {0};
    const struct monitor_config config = {
        .shards = PLANE_SHARDS, .registry = p->registry, .telemetry = p->telemetry};
    monitor_free(p->monitor);
    assert_non_null(p->monitor = monitor_new(&config, &err));
    assert_true(monitor_open(p->monitor, registry_current(p->registry), &err));
    protect(p, NULL);
    assert_contains(journal(p, "", 501), "--feedback_dir");
    expect(p, "{\"instances\":[[0,0]],\"targets\":[9]}", 200,
           "{\"accepted\":1,\"results\":[\"accepted\"],\"predictions\":[1.0]}");
    assert_true(metric(p, "model_window_rows{" LABELS "}") == 1);
    assert_int_equal(
        plane_post(p, feedback_path, "{\"instances\":[[1e308,1e308]],\"targets\":[9]}")->status,
        400);
    /* No predictions are kept either. */
    predict_as(p, "x", "[[0,0]]");
    expect_id(p, "x", "unknown");
}

static void set_file_limit(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* One who waits for the disk and one who is refused at once both learn it; then it goes on. */
static void what_cannot_be_written_is_503_and_can_be_told_again(void **state)
{
    struct plane *p = *state;
    const struct response *r;
    predict_as(p, "x", "[[0,0]]");
    void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
    set_file_limit(16);
    for (int i = 0; i < 2; i++) {
        r = plane_post(p, feedback_path, "{\"ids\":[\"x\"],\"targets\":[1]}");
        if (r->status != 503)
            set_file_limit(RLIM_INFINITY);
        assert_int_equal(r->status, 503);
        assert_header(r, "Retry-After", "1");
    }
    set_file_limit(RLIM_INFINITY);
    (void)signal(SIGXFSZ, before);
    assert_true(metric(p, "feedback_journal_failed") == 1);
    assert_true(metric(p, "model_feedback_total{" LABELS ",outcome=\"accepted\"}") == 0);
    assert_true(metric(p, "model_window_rows{" LABELS "}") == 0);
    for (int i = 0; i < 1000; i++) {
        r = plane_post(p, feedback_path, "{\"ids\":[\"x\"],\"targets\":[1]}");
        if (r->status == 200)
            break;
        assert_int_equal(r->status, 503);
        (void)poll(NULL, 0, 20);
    }
    assert_string_equal(plane_text(p, r), "{\"accepted\":1,\"results\":[\"accepted\"]}");
    assert_int_equal(lines_of(journal(p, "", 200)), 1 + 1);
    assert_true(metric(p, "feedback_journal_failed") == 0);
}

/* ---- quality ---- */

static void the_cards_figures_show_until_there_are_enough_true_values(void **state)
{
    struct plane *p = *state;
    assert_true(metric(p, "model_mae_score{" LABELS "}") == 0.25);
    assert_true(metric(p, "model_rmse_score{" LABELS "}") == 0.5);
    assert_true(metric(p, "model_r2_score{" LABELS "}") == 0.75);
    assert_false(has_metric(p, "model_bias_score{" LABELS "}"));
    assert_false(has_metric(p, "model_quality_last_feedback_timestamp_seconds{" LABELS "}"));
    for (int i = 0; i < 2; i++) {
        assert_true(metric(p, "model_quality_live{" LABELS "}") == 0);
        (void)plane_post(p, feedback_path, "{\"instances\":[[0,0]],\"targets\":[9]}");
    }
    assert_true(metric(p, "model_mae_score{" LABELS "}") == 0.25);
    assert_true(metric(p, "model_window_rows{" LABELS "}") == 2);
    assert_false(has_metric(p, "model_interval_coverage_ratio{" LABELS ",level=\"0.9\"}"));
    (void)plane_post(p, feedback_path, "{\"instances\":[[0,0]],\"targets\":[9]}");
    assert_true(metric(p, "model_quality_live{" LABELS "}") == 1);
    assert_true(metric(p, "model_mae_score{" LABELS "}") == 8);
}

/* Predictions 9, 1, 6; errors -0.5, 3, -0.25; true values about the intercept 1: 8.5, -3, 5.25. */
static void the_figures_are_those_of_a_hand_computation(void **state)
{
    struct plane *p = *state;
    (void)plane_post(p, feedback_path,
                     "{\"instances\":[[1,2],[0,0],[1,1]],\"targets\":[9.5,-2,6.25]}");
    static const struct {
        const char *series;
        double value;
    } exact[] = {
        {"model_window_rows{" LABELS "}", 3},
        {"model_window_absolute_errors{" LABELS "}", 3.75},
        {"model_window_squared_errors{" LABELS "}", 9.3125},
        {"model_window_errors{" LABELS "}", 2.25},
        {"model_window_deviations{" LABELS "}", 10.75},
        {"model_window_squared_deviations{" LABELS "}", 108.8125},
        {"model_interval_window_rows{" LABELS "}", 3},
        {"model_mae_score{" LABELS "}", 1.25},
        {"model_bias_score{" LABELS "}", 0.75},
    };
    for (size_t i = 0; i < sizeof exact / sizeof *exact; i++)
        assert_close(metric(p, exact[i].series), exact[i].value, 0);
    assert_close(metric(p, "model_rmse_score{" LABELS "}"), sqrt(9.3125 / 3), 1e-15);
    assert_close(metric(p, "model_r2_score{" LABELS "}"),
                 1 - 9.3125 / (108.8125 - 10.75 * 10.75 / 3), 1e-14);
    /* The interval of 0.9 is +- 2.25. */
    assert_close(metric(p, "model_interval_coverage_ratio{" LABELS ",level=\"0.9\"}"), 2.0 / 3,
                 1e-15);
    assert_true(metric(p, "model_quality_last_feedback_timestamp_seconds{" LABELS "}") > 1.7e9);
}

static void an_r2_that_is_undefined_is_absent(void **state)
{
    struct plane *p = *state;
    (void)plane_post(p, feedback_path, "{\"instances\":[[1,2],[0,0],[1,1]],\"targets\":[5,5,5]}");
    assert_true(metric(p, "model_quality_live{" LABELS "}") == 1);
    assert_close(metric(p, "model_mae_score{" LABELS "}"), 3, 0);
    assert_false(has_metric(p, "model_r2_score{" LABELS "}"));
}

/* ---- drift ---- */

/* The p-quantile of the standard normal distribution. */
static double normal_quantile(double p)
{
    double low = -9, high = 9;
    while (high - low > 1e-9) {
        double middle = (low + high) / 2;
        if (erfc(-middle / sqrt(2)) / 2 < p)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* f = 1 + 2a + 3b of standard normal inputs, whose expected error is 0.5 + 0.25 a where that is above 0. */
static struct model *normal_plane(void)
{
    static const struct model_feature features[] = {
        {"a", {.kind = TRANSFORM_STANDARDISE, .min = -4, .max = 4, .mean = 0, .scale = 1}},
        {"b", {.kind = TRANSFORM_STANDARDISE, .min = -4, .max = 4, .mean = 0, .scale = 1}},
    };
    static const double coefficients[] = {2, 3}, residual[] = {0.25, 0};
    double quantiles[3 * MODEL_QUANTILES];
    struct error err = {0};
    for (size_t i = 0; i < MODEL_QUANTILES; i++) {
        double q = normal_quantile(((double)i + 0.5) / MODEL_QUANTILES);
        quantiles[i] = quantiles[MODEL_QUANTILES + i] = q;
        quantiles[2 * MODEL_QUANTILES + i] = 1 + sqrt(13) * q;
    }
    struct model_parts parts = {.name = "plane",
                                .version = "1",
                                .kind = MODEL_LINEAR,
                                .target_name = "y",
                                .target_unit = "",
                                .features = features,
                                .feature_count = 2,
                                .quantiles = quantiles,
                                .predicted_quantiles = true,
                                .prediction = {1, coefficients, 2},
                                .residual = {0.5, residual, 2}};
    memset(parts.card.data_sha256, '0', 64);
    struct model *model = model_new(&parts, &err);
    if (model == NULL)
        fail_msg("%s", err.message);
    return model;
}

/* Predicts `rows` single rows of normal inputs, a shifted; returns the mean expected error of those rows
 * whose expected error the server looks at. */
static double predict_normal(struct plane *p, size_t rows, double shift)
{
    char instance[128];
    double sum = 0;
    size_t looked_at = 0;
    for (size_t i = 0; i < rows; i++) {
        /* Strides that are coprime to the number of rows visit every quantile once. */
        double a = normal_quantile(((double)(i * 7 % rows) + 0.5) / (double)rows) + shift;
        double b = normal_quantile(((double)(i * 11 % rows) + 0.5) / (double)rows);
        (void)snprintf(instance, sizeof instance, "[[%.17g,%.17g]]", a, b);
        predict_as(p, "same", instance);
        if (i % EXPECTED_EVERY != 0)
            continue;
        sum += fmax(0.5 + 0.25 * a, 0);
        looked_at++;
    }
    return sum / (double)looked_at;
}

static void drift_names_the_input_that_was_shifted(void **state)
{
    struct plane p;
    (void)state;
    plane_init_with(&p, normal_plane());
    double expected = predict_normal(&p, DRIFT_ROWS_MIN, 1);
    assert_true(metric(&p, "model_drift_window_rows{" LABELS "}") == DRIFT_ROWS_MIN);
    assert_true(metric(&p, "model_feature_psi{" LABELS ",feature=\"a\"}") > 0.25);
    assert_true(metric(&p, "model_feature_psi{" LABELS ",feature=\"b\"}") < 0.02);
    /* The distance of two normals one sigma apart is 0.38. */
    assert_in_range(1000 * metric(&p, "model_feature_ks{" LABELS ",feature=\"a\"}"), 340, 420);
    assert_true(metric(&p, "model_feature_ks{" LABELS ",feature=\"b\"}") < 0.03);
    assert_in_range(1000 * metric(&p, "model_prediction_psi{" LABELS "}"), 100, 600);
    assert_close(metric(&p, "model_expected_mae{" LABELS "}"), expected, 1e-12);
    assert_true(metric(&p, "model_not_estimable_rows_total{" LABELS "}") == 0);
    plane_clear(&p);
}

static void there_is_no_drift_of_the_same_inputs_nor_a_figure_of_a_few(void **state)
{
    struct plane p;
    (void)state;
    plane_init_with(&p, normal_plane());
    (void)predict_normal(&p, DRIFT_ROWS_MIN - 1, 0);
    assert_false(has_metric(&p, "model_feature_psi{" LABELS ",feature=\"a\"}"));
    predict_as(&p, "last", "[[0,0]]");
    assert_true(metric(&p, "model_feature_psi{" LABELS ",feature=\"a\"}") < 0.02);
    assert_true(metric(&p, "model_feature_psi{" LABELS ",feature=\"b\"}") < 0.02);
    assert_true(metric(&p, "model_feature_out_of_range_total{" LABELS ",feature=\"a\"}") == 0);
    predict_as(&p, "out", "[[4.5,0]]");
    predict_as(&p, "out", "[[-4.5,5]]");
    assert_true(metric(&p, "model_feature_out_of_range_total{" LABELS ",feature=\"a\"}") == 2);
    assert_true(metric(&p, "model_feature_out_of_range_total{" LABELS ",feature=\"b\"}") == 1);
    plane_clear(&p);
}

/* Artifacts of old have quantiles of their features alone. */
static void rows_are_counted_without_a_reference_for_the_prediction(void **state)
{
    struct plane *p = *state;
    for (int i = 0; i < 3; i++)
        predict_as(p, "x", "[[0,0]]");
    assert_true(metric(p, "model_drift_window_rows{" LABELS "}") == 3);
    assert_false(has_metric(p, "model_prediction_psi{" LABELS "}"));
}

/* Feedback is no traffic: what it predicts drifts nowhere and is no predict request. */
static void feedback_does_not_count_as_prediction(void **state)
{
    struct plane *p = *state;
    (void)plane_post(p, feedback_path, "{\"instances\":[[20,0]],\"targets\":[1]}");
    assert_true(metric(p, "model_drift_window_rows{" LABELS "}") == 0);
    assert_true(metric(p, "model_prediction_total{" LABELS ",status=\"success\"}") == 0);
    assert_true(metric(p, "model_prediction_rows_total{" LABELS "}") == 0);
    assert_true(metric(p, "request_predict_seconds_count{model_name=\"plane\"}") == 0);
    assert_true(metric(p,
                       "http_requests_total{route=\"/v1/models/{model}:feedback\","
                       "code=\"200\"}") == 1);
}

/* ---- the page ---- */

static void promtool_takes(struct plane *p, struct span page)
{
    char file[600], command[700], output[4096];
    (void)snprintf(file, sizeof file, "%s/page", p->folder);
    FILE *out = fopen(file, "w");
    assert_non_null(out);
    assert_int_equal(fwrite(page.p, 1, page.n, out), page.n);
    (void)fclose(out);
    (void)snprintf(command, sizeof command, "promtool check metrics <%s", file);
    const char *const argv[] = {"/bin/sh", "-c", command, NULL};
    if (process_run(argv, output, sizeof output) != 0)
        fail_msg("%s", output);
}

static void the_page_is_valid_in_both_formats_with_every_series_on_it(void **state)
{
    struct plane p;
    struct span page;
    struct error err = {0};
    static const char accept[] = "application/openmetrics-text;version=1.0.0";
    const struct header headers[] = {{{"Accept", 6}, {accept, sizeof accept - 1}}, {{0}, {0}}};
    static const char *const names[] = {
        "model_expected_mae{",     "model_feature_psi{",
        "model_feature_ks{",       "model_prediction_psi{",
        "model_prediction_ks{",    "model_feedback_total{",
        "model_window_rows{",      "model_quality_last_feedback_timestamp_seconds{",
        "model_bias_score{",       "feedback_journal_fsync_seconds_bucket{",
        "feedback_journal_bytes ", "feedback_journal_rows_total "};
    (void)state;
    plane_init_with(&p, normal_plane());
    (void)predict_normal(&p, DRIFT_ROWS_MIN, 1);
    (void)plane_post(&p, feedback_path, "{\"instances\":[[1,2],[0,0],[1,1]],\"targets\":[9,0,6]}");
    const struct response *r =
        plane_ask(&p, API_OBSERVER, "GET", "/metrics", headers, (struct span){"", 0});
    if (!exposition_check(r->body.p, r->body.n, EXPOSITION_OPENMETRICS, &err))
        fail_msg("%s", err.message);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_contains(plane_text(&p, r), names[i]);
    read_page(&p, &page);
    if (access("/usr/bin/promtool", X_OK) == 0)
        promtool_takes(&p, page);
    plane_clear(&p);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
static const struct CMUnitTest tests[] = {
    CASE(instances_are_predicted_kept_and_answered),
    CASE(ids_find_the_rows_of_their_requests),
    CASE(an_id_made_by_the_server_is_as_good_as_the_clients),
    CASE(each_true_value_is_told_what_became_of_it),
    CASE(rows_beyond_those_kept_of_a_request_are_unknown),
    CASE(true_values_for_a_version_replaced_are_journaled_and_counted_but_not_windowed),
    CASE(what_is_told_of_a_model_just_swapped_in_is_journaled),
    CASE(a_prediction_of_a_version_long_gone_is_late),
    CASE(after_a_swap_the_old_gauges_are_gone_and_the_counters_stay),
    CASE(the_method_comes_first_then_the_token_then_the_model_then_the_body),
    CASE(a_body_that_is_wrong_is_refused_by_its_place_and_keeps_nothing),
    CASE(more_than_10000_true_values_are_413),
    CASE(true_values_are_charged_for_the_memory_they_take),
    CASE(exhausted_memory_is_503_and_the_prediction_can_be_told_again),
    CASE(the_journal_is_read_from_a_row_on),
    CASE(a_long_journal_comes_in_pieces_of_whole_lines),
    CASE(only_the_header_fields_of_the_journal_answer_a_head),
    CASE(more_readers_of_the_journal_than_there_is_room_for_are_429),
    CASE(without_a_journal_true_values_count_and_reading_is_501),
    CASE(what_cannot_be_written_is_503_and_can_be_told_again),
    CASE(the_cards_figures_show_until_there_are_enough_true_values),
    CASE(the_figures_are_those_of_a_hand_computation),
    CASE(an_r2_that_is_undefined_is_absent),
    cmocka_unit_test(drift_names_the_input_that_was_shifted),
    cmocka_unit_test(there_is_no_drift_of_the_same_inputs_nor_a_figure_of_a_few),
    CASE(rows_are_counted_without_a_reference_for_the_prediction),
    CASE(feedback_does_not_count_as_prediction),
    cmocka_unit_test(the_page_is_valid_in_both_formats_with_every_series_on_it),
};

T_MAIN(tests)
