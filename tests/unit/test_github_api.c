#include "server/relay/github_api.h"

#include "tests/support/t.h"

#include <stdio.h>
#include <string.h>

#define NOW UINT64_C(1800000000000)
#define ID  "0123456789abcdef0123456789abcdef"

static struct arena *arena;
static const struct github_target plain = {"https://api.github.com",
                                           "octo-org/octo-repo",
                                           "retrain-model.yaml",
                                           "main",
                                           "2022-11-28",
                                           true};

static int set_up(void **state)
{
    (void)state;
    arena = arena_new(4096, 0);
    return arena == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    arena_free(arena);
    return 0;
}

static struct policy_step step_of(enum policy_action action)
{
    return (struct policy_step){.action = action,
                                .key = {.user = "user01",
                                        .model = "m",
                                        .id = ID,
                                        .reason = "mae 0.54 (normal: at most 0.45)",
                                        .score = 0.20004,
                                        .requested_ms = NOW,
                                        .run_id = 30433642}};
}

static struct github_request request_of(const struct github_target *target,
                                        enum policy_action action)
{
    struct policy_step step = step_of(action);
    struct github_request request;
    struct error err = {0};
    assert_true(github_request(target, &step, arena, &request, &err));
    return request;
}

static const char *body_of(const struct github_request *request)
{
    return arena_text(arena, request->body.p, request->body.n);
}

static struct policy_answer answer_of(enum policy_action action, int status, const char *body)
{
    struct policy_step step = step_of(action);
    size_t n = strlen(body);
    char *text = t_guarded(body, n);
    struct github_response response = {.status = status, .body = {text, n}};
    struct policy_answer answer = github_answer(&step, &response, NOW, arena);
    t_guarded_free(text, n);
    return answer;
}

/* ---- requests ---- */

static void a_dispatch_carries_four_inputs_as_strings(void **state)
{
    (void)state;
    struct github_request request = request_of(&plain, POLICY_DISPATCH);
    assert_string_equal(request.url,
                        "https://api.github.com/repos/octo-org/octo-repo/actions/workflows/"
                        "retrain-model.yaml/dispatches");
    assert_string_equal(
        body_of(&request),
        "{\"ref\":\"main\",\"inputs\":{\"user_id\":\"user01\",\"drift_score\":\"0.2000\","
        "\"drift_reason\":\"mae 0.54 (normal: at most 0.45)\",\"correlation_id\":\"" ID
        "\"},\"return_run_details\":true}");
}

static void run_details_are_asked_for_only_where_the_question_is_known(void **state)
{
    (void)state;
    struct github_target target = plain;
    target.api_version = "2026-03-10";
    struct github_request request = request_of(&target, POLICY_DISPATCH);
    assert_null(strstr(body_of(&request), "return_run_details"));
    target = plain;
    target.return_run_details = false;
    request = request_of(&target, POLICY_DISPATCH);
    assert_null(strstr(body_of(&request), "return_run_details"));
}

static void the_list_is_of_runs_since_a_little_before_the_request(void **state)
{
    (void)state;
    struct github_request request = request_of(&plain, POLICY_FIND);
    assert_null(request.body.p);
    assert_string_equal(request.url,
                        "https://api.github.com/repos/octo-org/octo-repo/actions/workflows/"
                        "retrain-model.yaml/runs?event=workflow_dispatch&created=%3E%3D"
                        "2027-01-15T07:55:00Z&per_page=100");
}

static void a_poll_asks_for_the_run(void **state)
{
    (void)state;
    struct github_request request = request_of(&plain, POLICY_POLL);
    assert_null(request.body.p);
    assert_string_equal(request.url,
                        "https://api.github.com/repos/octo-org/octo-repo/actions/runs/30433642");
}

/* ---- settings ---- */

static void settings_that_do_not_fit_a_url_are_refused(void **state)
{
    (void)state;
    static const struct {
        struct github_target target;
        const char *named;
    } bad[] = {
        {{"http://api.github.com", "o/r", "w", "main", "2022-11-28", true}, "github_api_url"},
        {{"http://127.0.0.1.evil.org", "o/r", "w", "main", "2022-11-28", true}, "github_api_url"},
        {{"http://127.0.0.1", "o/r", "w", "main", "2022-11-28", true}, NULL},
        {{"http://127.0.0.1:80/", "o/r", "w", "main", "2022-11-28", true}, "github_api_url"},
        {{"https://", "o/r", "w", "main", "2022-11-28", true}, "github_api_url"},
        {{"https://a@b", "o/r", "w", "main", "2022-11-28", true}, "github_api_url"},
        {{"", "o/r", "w", "main", "2022-11-28", true}, "github_api_url"},
        {{"https://ghe/api/v3", "o", "w", "main", "2022-11-28", true}, "github_repository"},
        {{"https://ghe/api/v3", "o/r/x", "w", "main", "2022-11-28", true}, "github_repository"},
        {{"https://ghe/api/v3", "../r", "w", "main", "2022-11-28", true}, "github_repository"},
        {{"https://ghe/api/v3", "o/", "w", "main", "2022-11-28", true}, "github_repository"},
        {{"https://ghe/api/v3", "o/r", "a/b", "main", "2022-11-28", true}, "github_workflow"},
        {{"https://ghe/api/v3", "o/r", "w", "a b", "2022-11-28", true}, "github_ref"},
        {{"https://ghe/api/v3", "o/r", "w", "", "2022-11-28", true}, "github_ref"},
        {{"https://ghe/api/v3", "o/r", "w", "main", "2023", true}, "github_api_version"},
        {{"https://ghe/api/v3", "o/r.x", "w.yaml", "feature/a", "2026-03-10", true}, NULL},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error err = {0};
        bool ok = github_check_target(&bad[i].target, &err);
        assert_int_equal(ok, bad[i].named == NULL);
        if (!ok)
            assert_contains(err.message, bad[i].named);
    }
}

static void only_loopback_is_loopback(void **state)
{
    (void)state;
    assert_true(github_is_loopback("http://127.0.0.1:8080"));
    assert_true(github_is_loopback("http://localhost/x"));
    assert_true(github_is_loopback("http://[::1]:1"));
    assert_false(github_is_loopback("http://localhost.org"));
    assert_false(github_is_loopback("https://127.0.0.1"));
}

/* ---- answers ---- */

static void both_kinds_of_success_are_accepted(void **state)
{
    (void)state;
    struct policy_answer answer =
        answer_of(POLICY_DISPATCH, 200,
                  "{\"workflow_run_id\":30433642,\"run_url\":\"https://a\",\"html_url\":\"h\"}");
    assert_int_equal(answer.reply, REPLY_ACCEPTED);
    assert_int_equal(answer.run_id, 30433642);
    answer = answer_of(POLICY_DISPATCH, 204, "");
    assert_int_equal(answer.reply, REPLY_ACCEPTED);
    assert_int_equal(answer.run_id, 0);
    answer = answer_of(POLICY_DISPATCH, 200, "<html>");
    assert_int_equal(answer.reply, REPLY_ACCEPTED);
    assert_int_equal(answer.run_id, 0);
}

static void statuses_are_told_apart_by_what_asking_again_would_do(void **state)
{
    (void)state;
    static const struct {
        int status;
        enum policy_reply reply;
    } cases[] = {{400, REPLY_REFUSED}, {401, REPLY_REFUSED}, {404, REPLY_REFUSED},
                 {422, REPLY_REFUSED}, {301, REPLY_REFUSED}, {403, REPLY_LIMITED},
                 {429, REPLY_LIMITED}, {408, REPLY_UNSURE},  {500, REPLY_UNSURE},
                 {502, REPLY_UNSURE},  {503, REPLY_UNSURE},  {0, REPLY_UNSURE}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct policy_answer answer = answer_of(POLICY_DISPATCH, cases[i].status, "{}");
        assert_int_equal(answer.reply, cases[i].reply);
        assert_int_equal(answer.status, cases[i].status);
        assert_int_equal(answer.wait_ms, 0);
    }
}

static void waits_are_told_by_retry_after_then_by_the_reset(void **state)
{
    (void)state;
    const struct policy_step step = step_of(POLICY_DISPATCH);
    static const struct {
        struct github_response response;
        uint64_t wait;
    } cases[] = {
        {{.status = 403, .retry_after_s = 60, .exhausted = true, .ratelimit_reset_s = 1}, 60000},
        {{.status = 429, .exhausted = true, .ratelimit_reset_s = NOW / 1000 + 90}, 90000},
        {{.status = 403, .exhausted = true, .ratelimit_reset_s = NOW / 1000 - 5}, 1000},
        {{.status = 403, .exhausted = false, .ratelimit_reset_s = NOW / 1000 + 90}, 0},
        {{.status = 403, .exhausted = true}, 0},
        {{.status = 403, .retry_after_s = UINT64_MAX}, 604800000},
        {{.status = 403, .exhausted = true, .ratelimit_reset_s = UINT64_MAX}, 0},
        {{.status = 503, .retry_after_s = 7}, 7000},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(github_answer(&step, &cases[i].response, NOW, arena).wait_ms,
                         cases[i].wait);
}

#define RUN(number, name, title)                                                                   \
    "{\"id\":" number ",\"name\":" name ",\"display_title\":" title                                \
    ",\"status\":\"queued\",\"conclusion\":null,\"head_commit\":{\"id\":\"7\",\"name\":1}}"

static void the_id_is_looked_for_in_name_and_title_and_the_oldest_run_counts(void **state)
{
    (void)state;
    struct policy_answer answer = answer_of(
        POLICY_FIND, 200,
        "{\"total_count\":3,\"workflow_runs\":[" RUN("12", "\"r " ID "\"", "null") "," RUN(
            "11", "\"Retrain\"", "\"retrain user01 " ID "\"") "," RUN("10", "\"other\"",
                                                                      "\"other\"") "]}");
    assert_int_equal(answer.reply, REPLY_FOUND);
    assert_int_equal(answer.run_id, 11);
    answer = answer_of(POLICY_FIND, 200,
                       "{\"total_count\":1,\"workflow_runs\":[" RUN("10", "\"a\"", "\"b\"") "]}");
    assert_int_equal(answer.reply, REPLY_ABSENT);
    answer = answer_of(POLICY_FIND, 200, "{\"workflow_runs\":[],\"total_count\":0}");
    assert_int_equal(answer.reply, REPLY_ABSENT);
}

static void a_list_that_is_not_whole_proves_no_absence(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "{}",
                                      "{\"total_count\":0}",
                                      "{\"total_count\":2,\"workflow_runs\":[{\"id\":1}]}",
                                      "{\"total_count\":0,\"workflow_runs\":[",
                                      "{\"workflow_runs\":{}}",
                                      "[]"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(answer_of(POLICY_FIND, 200, bad[i]).reply, REPLY_UNSURE);
}

static void a_run_is_over_when_it_is_completed(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        enum policy_reply reply;
        enum policy_conclusion conclusion;
    } cases[] = {
        {"{\"id\":1,\"status\":\"queued\",\"conclusion\":null}", REPLY_ACTIVE, CONCLUSION_OTHER},
        {"{\"id\":1,\"status\":\"in_progress\",\"conclusion\":null}", REPLY_ACTIVE,
         CONCLUSION_OTHER},
        {"{\"id\":1,\"status\":\"completed\",\"conclusion\":\"success\"}", REPLY_CONCLUDED,
         CONCLUSION_SUCCESS},
        {"{\"status\":\"completed\",\"conclusion\":\"failure\"}", REPLY_CONCLUDED,
         CONCLUSION_FAILURE},
        {"{\"status\":\"completed\",\"conclusion\":\"startup_failure\"}", REPLY_CONCLUDED,
         CONCLUSION_FAILURE},
        {"{\"status\":\"completed\",\"conclusion\":\"cancelled\"}", REPLY_CONCLUDED,
         CONCLUSION_CANCELLED},
        {"{\"status\":\"completed\",\"conclusion\":\"timed_out\"}", REPLY_CONCLUDED,
         CONCLUSION_TIMED_OUT},
        {"{\"status\":\"completed\",\"conclusion\":\"neutral\"}", REPLY_CONCLUDED,
         CONCLUSION_OTHER},
        {"{\"status\":\"completed\",\"conclusion\":null}", REPLY_CONCLUDED, CONCLUSION_OTHER},
        {"{\"id\":1}", REPLY_UNSURE, CONCLUSION_SUCCESS},
        {"nonsense", REPLY_UNSURE, CONCLUSION_SUCCESS},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct policy_answer answer = answer_of(POLICY_POLL, 200, cases[i].body);
        assert_int_equal(answer.reply, cases[i].reply);
        assert_int_equal(answer.conclusion, cases[i].conclusion);
    }
}

static void githubs_words_are_cut(void **state)
{
    (void)state;
    char body[512] = "{\"message\":\"";
    struct span message = github_message((struct span){"{\"message\":\"Not Found\"}", 23}, arena);
    assert_int_equal(message.n, 9);
    assert_memory_equal(message.p, "Not Found", 9);
    memset(body + strlen(body), 'x', 400);
    (void)strcat(body, "\"}");
    assert_int_equal(github_message((struct span){body, strlen(body)}, arena).n, 200);
    assert_null(github_message((struct span){"<html>", 6}, arena).p);
    assert_null(github_message((struct span){NULL, 0}, arena).p);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
static const struct CMUnitTest tests[] = {
    CASE(a_dispatch_carries_four_inputs_as_strings),
    CASE(run_details_are_asked_for_only_where_the_question_is_known),
    CASE(the_list_is_of_runs_since_a_little_before_the_request),
    CASE(a_poll_asks_for_the_run),
    CASE(settings_that_do_not_fit_a_url_are_refused),
    CASE(only_loopback_is_loopback),
    CASE(both_kinds_of_success_are_accepted),
    CASE(statuses_are_told_apart_by_what_asking_again_would_do),
    CASE(waits_are_told_by_retry_after_then_by_the_reset),
    CASE(the_id_is_looked_for_in_name_and_title_and_the_oldest_run_counts),
    CASE(a_list_that_is_not_whole_proves_no_absence),
    CASE(a_run_is_over_when_it_is_completed),
    CASE(githubs_words_are_cut),
};

T_MAIN(tests)
