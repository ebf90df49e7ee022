#include "server/relay/telemetry.h"

#include "tests/support/exposition_check.h"
#include "tests/support/t.h"

#include <string.h>

static struct metrics *metrics;
static struct relay_telemetry *telemetry;
static struct arena *arena;
static struct policy policy;

static int set_up(void **state)
{
    (void)state;
    const struct policy_settings settings = {.breaker_after = 2};
    metrics = metrics_new(RELAY_SHARDS);
    telemetry = relay_telemetry_new(metrics, "1.2", "abc");
    arena = arena_new(65536, 0);
    policy_init(&policy, &settings);
    return telemetry == NULL || arena == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    relay_telemetry_free(telemetry);
    metrics_free(metrics);
    arena_free(arena);
    return 0;
}

/* The page, checked. */
static struct span page(void)
{
    struct span text;
    struct error err = {0};
    arena_reset(arena);
    assert_true(exposition_text(metrics, EXPOSITION_TEXT, arena, &text));
    if (!exposition_check(text.p, text.n, EXPOSITION_TEXT, &err))
        fail_msg("%s", err.message);
    return text;
}

static double value_of(const char *series)
{
    double value = -1;
    struct span text = page();
    if (!exposition_value(text.p, text.n, series, &value))
        fail_msg("no %s", series);
    return value;
}

static void set_key(size_t slot, const char *model, enum policy_state state, unsigned retrains)
{
    policy.keys[slot] = (struct policy_key){.user = "user01", .state = state, .retrains = retrains};
    memcpy(policy.keys[slot].model, model, strlen(model) + 1);
    if (slot >= policy.count)
        policy.count = slot + 1;
    relay_telemetry_state(telemetry, &policy, slot);
}

static void every_closed_label_is_there_from_the_start(void **state)
{
    (void)state;
    static const char *const series[] = {"relay_requests_total{route=\"/alerts\",code=\"202\"}",
                                         "relay_requests_total{route=\"other\",code=\"500\"}",
                                         "relay_suppressed_total{reason=\"capacity\"}",
                                         "relay_suppressed_total{reason=\"truncated\"}",
                                         "relay_dispatch_total{outcome=\"gave_up\"}",
                                         "relay_run_conclusion_total{conclusion=\"lost\"}",
                                         "relay_requested_total",
                                         "relay_recoveries_total",
                                         "relay_queue_depth",
                                         "relay_runs_in_flight"};
    double value;
    for (size_t i = 0; i < sizeof series / sizeof *series; i++)
        assert_close(value_of(series[i]), 0, 0);
    struct span text = page();
    assert_false(exposition_value(text.p, text.n, "relay_last_success_timestamp_seconds", &value));
    assert_false(
        exposition_value(text.p, text.n, "relay_suppressed_total{reason=\"accepted\"}", &value));
}

static void queue_and_runs_count_states(void **state)
{
    (void)state;
    set_key(0, "a", POLICY_QUEUED, 0);
    set_key(1, "b", POLICY_SENT, 0);
    set_key(2, "c", POLICY_RUNNING, 0);
    set_key(3, "d", POLICY_IDLE, 0);
    assert_close(value_of("relay_queue_depth"), 2, 0);
    assert_close(value_of("relay_runs_in_flight"), 1, 0);
}

static void a_breaker_leaves_with_the_key_that_had_its_slot(void **state)
{
    (void)state;
    static const char old[] =
        "relay_breaker_open{user_id=\"user01\",namespace=\"kubeflow-user01\",model_name=\"old\"}";
    double value;
    set_key(0, "old", POLICY_IDLE, 1);
    assert_close(value_of(old), 0, 0);
    set_key(0, "old", POLICY_IDLE, 2);
    assert_close(value_of(old), 1, 0);
    set_key(0, "new", POLICY_IDLE, 0);
    assert_close(value_of("relay_breaker_open{user_id=\"user01\",namespace=\"kubeflow-user01\","
                          "model_name=\"new\"}"),
                 0, 0);
    struct span text = page();
    assert_false(exposition_value(text.p, text.n, old, &value));
}

static void an_unknown_status_counts_as_500(void **state)
{
    (void)state;
    relay_telemetry_request(telemetry, RELAY_OTHER, 299);
    assert_close(value_of("relay_requests_total{route=\"other\",code=\"500\"}"), 1, 0);
}

static void what_is_told_is_shown(void **state)
{
    (void)state;
    static const size_t ignored[WEBHOOK_IGNORED] = {[IGNORED_USER] = 3};
    relay_telemetry_ignored(telemetry, ignored);
    relay_telemetry_last_success(telemetry, 1800000000500);
    relay_telemetry_journal(telemetry, 77, true);
    relay_telemetry_outcome(telemetry, OUTCOME_CONCLUDED); /* no dispatch's */
    assert_close(value_of("relay_suppressed_total{reason=\"user\"}"), 3, 0);
    assert_close(value_of("relay_last_success_timestamp_seconds"), 1800000000.5, 0);
    assert_close(value_of("relay_journal_bytes"), 77, 0);
    assert_close(value_of("relay_journal_failed"), 1, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
static const struct CMUnitTest tests[] = {
    CASE(every_closed_label_is_there_from_the_start),
    CASE(queue_and_runs_count_states),
    CASE(a_breaker_leaves_with_the_key_that_had_its_slot),
    CASE(an_unknown_status_counts_as_500),
    CASE(what_is_told_is_shown),
};

T_MAIN(tests)
