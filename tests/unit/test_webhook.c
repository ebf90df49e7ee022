#include "server/relay/webhook.h"

#include "tests/support/process.h"
#include "tests/support/t.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct webhook_users users = {{"user01", "user02", "user20"}, 3};
static struct arena *arena;
static struct webhook out;

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

static bool decode(const char *body, struct error *err)
{
    size_t n = strlen(body);
    char *text = t_guarded(body, n);
    bool ok = webhook_decode((struct span){text, n}, &users, arena, &out, err);
    t_guarded_free(text, n); /* nothing that was decoded may point into the body */
    return ok;
}

static void check(const char *body)
{
    struct error err = {0};
    if (!decode(body, &err))
        fail_msg("%s", err.message);
}

#define BODY(alerts) "{\"version\":\"4\",\"status\":\"firing\",\"alerts\":[" alerts "]}"
#define ALERT(status, user, space, model, annotations)                                             \
    "{\"status\":\"" status "\",\"labels\":{\"action\":\"retrain\",\"user_id\":\"" user            \
    "\",\"namespace\":\"" space "\",\"model_name\":\"" model "\"},\"annotations\":{" annotations   \
    "},\"startsAt\":\"2026-11-25T10:00:00Z\",\"fingerprint\":\"1\"}"
#define FIRING(user)   ALERT("firing", user, "kubeflow-" user, "m", "")
#define RESOLVED(user) ALERT("resolved", user, "kubeflow-" user, "m", "")

static void a_real_notification_becomes_one_event_per_model(void **state)
{
    (void)state;
    /* As Alertmanager 0.25 sends it, two alerts of one model. */
    check(
        "{\"receiver\":\"ridge-relay\",\"status\":\"firing\",\"alerts\":[{\"status\":\"firing\","
        "\"labels\":{\"action\":\"retrain\",\"alertname\":\"ModelDriftDetected\",\"category\":"
        "\"drift_trigger\",\"model_name\":\"california-housing\",\"namespace\":\"kubeflow-user01\","
        "\"reason\":\"mae\",\"severity\":\"warning\",\"user_id\":\"user01\"},\"annotations\":{"
        "\"description\":\"d\",\"mae\":\"0.6120\",\"r2\":\"0.7010\",\"summary\":\"s\"},"
        "\"startsAt\":\"2026-11-25T10:00:00.000Z\",\"endsAt\":\"0001-01-01T00:00:00Z\","
        "\"generatorURL\":\"http://p/g\",\"fingerprint\":\"0f2d\"},{\"status\":\"firing\","
        "\"labels\":{\"action\":\"retrain\",\"alertname\":\"ModelDriftDetected\",\"model_name\":"
        "\"california-housing\",\"namespace\":\"kubeflow-user01\",\"reason\":\"r2\",\"user_id\":"
        "\"user01\"},\"annotations\":{\"mae\":\"0.6230\",\"r2\":\"0.6990\"},\"startsAt\":"
        "\"2026-11-25T10:01:00Z\",\"endsAt\":\"0001-01-01T00:00:00Z\",\"generatorURL\":\"\","
        "\"fingerprint\":\"a1\"}],\"groupLabels\":{\"namespace\":\"kubeflow-user01\"},"
        "\"commonLabels\":{\"action\":\"retrain\"},\"commonAnnotations\":{},\"externalURL\":"
        "\"http://a:9093\",\"version\":\"4\",\"groupKey\":\"{}/{}:{}\",\"truncatedAlerts\":0}");
    assert_int_equal(out.count, 1);
    assert_true(out.events[0].firing);
    assert_string_equal(out.events[0].drift.user, "user01");
    assert_string_equal(out.events[0].drift.model, "california-housing");
    assert_close(out.events[0].drift.mae, 0.623, 0);
    assert_close(out.events[0].drift.r2, 0.699, 0);
}

static void every_alert_is_walked_and_judged_by_itself(void **state)
{
    (void)state;
    check(BODY(FIRING("user01") "," ALERT("firing", "user03", "kubeflow-user03", "m", "") "," ALERT(
        "firing", "user01", "kubeflow-user02", "m",
        "") "," ALERT("firing", "user01", "kubeflow-user0", "m",
                      "") "," ALERT("firing", "user01", "user01", "m",
                                    "") "," ALERT("firing", "user01", "kubeflow-user01", "M",
                                                  "") "," ALERT("firing", "", "kubeflow-", "m",
                                                                "") ","
                                                                    "{\"status\":\"firing\","
                                                                    "\"labels\":{\"action\":"
                                                                    "\"page\",\"user_id\":"
                                                                    "\"user01\"}},"
                                                                    "{\"status\":\"firing\"}"
                                                                    "," RESOLVED(
                                                                        "user20") "," FIRING("user0"
                                                                                             "2")));
    assert_int_equal(out.count, 3);
    assert_string_equal(out.events[0].drift.user, "user01");
    assert_string_equal(out.events[1].drift.user, "user20");
    assert_false(out.events[1].firing);
    assert_string_equal(out.events[2].drift.user, "user02");
    assert_int_equal(out.ignored[IGNORED_ACTION], 2);
    assert_int_equal(out.ignored[IGNORED_USER], 2);
    assert_int_equal(out.ignored[IGNORED_NAMESPACE], 3);
    assert_int_equal(out.ignored[IGNORED_MODEL], 1);
}

static void a_model_recovers_only_when_none_of_its_alerts_fires(void **state)
{
    (void)state;
    check(BODY(
        RESOLVED("user01") "," FIRING("user01") "," RESOLVED("user02") "," RESOLVED("user02")));
    assert_int_equal(out.count, 2);
    assert_true(out.events[0].firing);
    assert_false(out.events[1].firing);
    check(BODY(FIRING("user01") "," RESOLVED("user01")));
    assert_int_equal(out.count, 1);
    assert_true(out.events[0].firing);
}

static void a_resolved_alert_adds_no_figures(void **state)
{
    (void)state;
    check(BODY(ALERT("firing", "user01", "kubeflow-user01", "m", "\"mae\":\"0.5\"") "," ALERT(
        "resolved", "user01", "kubeflow-user01", "m", "\"mae\":\"0.9\"")));
    assert_close(out.events[0].drift.mae, 0.5, 0);
    assert_true(isnan(out.events[0].drift.r2));
}

static void figures_that_are_no_numbers_are_not_told(void **state)
{
    (void)state;
    check(BODY(
        ALERT("firing", "user01", "kubeflow-user01", "m", "\"mae\":\"\",\"r2\":\"NaN; rm -rf\"")));
    assert_true(isnan(out.events[0].drift.mae));
    assert_true(isnan(out.events[0].drift.r2));
    check(BODY(
        ALERT("firing", "user01", "kubeflow-user01", "m", "\"mae\":\"1e999\",\"r2\":\"-0.5\"")));
    assert_true(isnan(out.events[0].drift.mae));
    assert_close(out.events[0].drift.r2, -0.5, 0);
}

static void a_truncated_group_recovers_nobody(void **state)
{
    (void)state;
    check("{\"version\":\"4\",\"truncatedAlerts\":1,\"alerts\":[" RESOLVED("user01") "," FIRING(
        "user02") "]}");
    assert_int_equal(out.count, 1);
    assert_string_equal(out.events[0].drift.user, "user02");
    assert_int_equal(out.ignored[IGNORED_TRUNCATED], 1);
}

static void escaped_labels_are_compared_as_what_they_mean(void **state)
{
    (void)state;
    check(BODY(ALERT("firing", "\\u0075ser01", "kubeflow-user01", "m", "")));
    assert_int_equal(out.count, 1);
    assert_string_equal(out.events[0].drift.user, "user01");
}

static void what_is_no_notification_is_refused_with_its_place(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"", "byte 0"},
        {"[]", "expected"},
        {"{}", "version \"4\""},
        {"{\"version\":\"3\",\"alerts\":[]}", "version \"4\""},
        {"{\"version\":4,\"alerts\":[]}", "byte"},
        {"{\"version\":\"4\"}", "\"alerts\""},
        {"{\"version\":\"4\",\"alerts\":{}}", "byte"},
        {"{\"version\":\"4\",\"alerts\":[]} x", "byte"},
        {"{\"version\":\"4\",\"alerts\":[],\"truncatedAlerts\":-1}", "byte"},
        {BODY("{\"status\":\"maybe\"}"), "alerts[0]: status"},
        {BODY("{\"labels\":{}}"), "alerts[0]: status"},
        {BODY(FIRING("user01") ",{\"status\":\"firing\",\"labels\":{\"action\":1}}"), "alerts[1]"},
        {BODY("{\"status\":\"firing\",\"labels\":[]}"), "alerts[0]"},
        {BODY("{\"status\":\"firing\",\"labels\":{\"user_id\":\"a\\u0000b\"}}"), "u0000"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error err = {0};
        assert_false(decode(bad[i][0], &err));
        assert_int_equal(err.code, ERR_INVALID);
        assert_contains(err.message, bad[i][1]);
    }
}

static void too_many_alerts_and_too_much_depth_are_too_large(void **state)
{
    (void)state;
    static char body[64 * 1024];
    struct error err = {0};
    size_t n = (size_t)sprintf(body, "{\"version\":\"4\",\"alerts\":[{\"status\":\"firing\"}");
    for (size_t i = 1; i < WEBHOOK_ALERTS_MAX; i++)
        n += (size_t)sprintf(body + n, ",{\"status\":\"firing\"}");
    (void)strcpy(body + n, "]}");
    check(body);
    assert_int_equal(out.ignored[IGNORED_ACTION], WEBHOOK_ALERTS_MAX);
    (void)strcpy(body + n, ",{}]}");
    assert_false(decode(body, &err));
    assert_int_equal(err.code, ERR_TOO_LARGE);
    n = (size_t)sprintf(body, "{\"version\":\"4\",\"x\":");
    memset(body + n, '[', 1000);
    body[n + 1000] = '\0';
    assert_false(decode(body, &err));
    assert_int_equal(err.code, ERR_TOO_LARGE);
}

static void exhausted_memory_is_an_error_of_its_own(void **state)
{
    (void)state;
    struct error err = {0};
    struct arena *small = arena_new(256, 256);
    static const char body[] = BODY(FIRING("user01"));
    assert_false(webhook_decode((struct span){body, sizeof body - 1}, &users, small, &out, &err));
    assert_int_equal(err.code, ERR_NO_MEMORY);
    arena_free(small);
}

static void a_model_name_is_a_dns_label(void **state)
{
    (void)state;
    static const char *const good[] = {"m", "california-housing", "0a", "a--b"};
    static const char *const bad[] = {"", "-a", "a-", "a_b", "A", "a.b", "a b", "\xc3\xa4", "a/b"};
    char longest[POLICY_MODEL_MAX + 2];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(webhook_is_model((struct span){good[i], strlen(good[i])}));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(webhook_is_model((struct span){bad[i], strlen(bad[i])}));
    memset(longest, 'a', sizeof longest);
    assert_true(webhook_is_model((struct span){longest, POLICY_MODEL_MAX}));
    assert_false(webhook_is_model((struct span){longest, POLICY_MODEL_MAX + 1}));
}

static void a_wish_needs_a_listed_user_and_a_model(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"{}", "user_id"},
        {"{\"user_id\":\"user03\",\"model_name\":\"m\"}", "user_id"},
        {"{\"user_id\":\"user01\"}", "model_name"},
        {"{\"user_id\":\"user01\",\"model_name\":\"M\"}", "model_name"},
        {"{\"user_id\":\"user01\",\"model_name\":\"m\"}}", "body"},
        {"null", "body"}};
    static const char good[] = "{\"model_name\":\"m\",\"user_id\":\"user20\",\"why\":[1]}";
    struct policy_drift drift;
    struct error err = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(webhook_decode_manual((struct span){bad[i][0], strlen(bad[i][0])}, &users,
                                           arena, &drift, &err));
        assert_contains(err.message, bad[i][1]);
    }
    assert_true(
        webhook_decode_manual((struct span){good, sizeof good - 1}, &users, arena, &drift, &err));
    assert_string_equal(drift.user, "user20");
    assert_string_equal(drift.model, "m");
    assert_true(isnan(drift.mae));
}

static bool load(const char *text, struct webhook_users *to, struct error *err)
{
    char folder[512], path[600];
    process_folder(folder, sizeof folder);
    (void)snprintf(path, sizeof path, "%s/users", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    (void)fputs(text, file);
    (void)fclose(file);
    bool ok = webhook_users_load(to, path, err);
    process_remove(folder);
    return ok;
}

static void the_users_file_holds_one_name_a_line(void **state)
{
    (void)state;
    static struct webhook_users loaded;
    static char many[WEBHOOK_USERS_MAX * 8 + 16];
    struct error err = {0};
    assert_true(load("# who\nuser01\n\n  user-02 \r\nx", &loaded, &err));
    assert_int_equal(loaded.count, 3);
    assert_string_equal(loaded.names[1], "user-02");
    assert_true(webhook_knows_user(&loaded, (struct span){"x!", 1}));
    assert_false(load("", &loaded, &err));
    assert_contains(err.message, "at least one user");
    assert_false(load("user01\nUser\n", &loaded, &err));
    assert_contains(err.message, "line 2");
    for (size_t i = 0; i <= WEBHOOK_USERS_MAX; i++)
        (void)sprintf(many + strlen(many), "u%zu\n", i);
    assert_false(load(many, &loaded, &err));
    assert_int_equal(err.code, ERR_TOO_LARGE);
    assert_false(webhook_users_load(&loaded, "/nonexistent/users", &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
static const struct CMUnitTest tests[] = {
    CASE(a_real_notification_becomes_one_event_per_model),
    CASE(every_alert_is_walked_and_judged_by_itself),
    CASE(a_model_recovers_only_when_none_of_its_alerts_fires),
    CASE(a_resolved_alert_adds_no_figures),
    CASE(figures_that_are_no_numbers_are_not_told),
    CASE(a_truncated_group_recovers_nobody),
    CASE(escaped_labels_are_compared_as_what_they_mean),
    CASE(what_is_no_notification_is_refused_with_its_place),
    CASE(too_many_alerts_and_too_much_depth_are_too_large),
    CASE(exhausted_memory_is_an_error_of_its_own),
    CASE(a_model_name_is_a_dns_label),
    CASE(a_wish_needs_a_listed_user_and_a_model),
    CASE(the_users_file_holds_one_name_a_line),
};

T_MAIN(tests)
