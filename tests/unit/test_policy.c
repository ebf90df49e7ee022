#include "server/relay/policy.h"

#include "tests/support/t.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define SECOND UINT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define NOW    (UINT64_C(1800000000) * SECOND)

static const struct policy_settings plain = {.cooldown_ms = 6 * HOUR,
                                             .write_interval_ms = SECOND,
                                             .list_delay_ms = MINUTE,
                                             .poll_interval_ms = 30 * SECOND,
                                             .retry_ms = 5 * SECOND,
                                             .run_timeout_ms = 6 * HOUR,
                                             .hourly_budget = 4,
                                             .breaker_after = 3,
                                             .max_attempts = 4};
static const struct policy_drift drift = {"user01", "california-housing", 0.54, 0.6};
static const char *const id = "0123456789abcdef0123456789abcdef";

static struct policy policy;
static struct policy_change change;
static struct policy_step step;
static enum policy_conclusion conclusion;

static int set_up(void **state)
{
    (void)state;
    policy_init(&policy, &plain);
    return 0;
}

static enum policy_verdict fire_as(const struct policy_drift *what, uint64_t now)
{
    enum policy_verdict verdict = policy_firing(&policy, what, id, now, &change);
    if (verdict == POLICY_ACCEPTED)
        policy_commit(&policy, &change);
    return verdict;
}

static enum policy_verdict fire(uint64_t now)
{
    return fire_as(&drift, now);
}

/* Takes the step that is due and, for a dispatch, its intent. */
static enum policy_action take(uint64_t now)
{
    policy_next(&policy, now, &step);
    if (step.action == POLICY_DISPATCH) {
        policy_intent(&policy, &step, now, &change);
        assert_true(change.durable);
        policy_commit(&policy, &change);
    }
    return step.action;
}

static enum policy_outcome hear(struct policy_answer answer, uint64_t now)
{
    enum policy_outcome outcome =
        policy_answered(&policy, &step, &answer, now, 0.5, &change, &conclusion);
    policy_commit(&policy, &change);
    return outcome;
}

/* Everything from a firing alert to the run's end, by `now`. */
static void retrain(uint64_t now)
{
    assert_int_equal(fire(now), POLICY_ACCEPTED);
    assert_int_equal(take(now), POLICY_DISPATCH);
    assert_int_equal(hear((struct policy_answer){.reply = REPLY_ACCEPTED, .run_id = 7}, now),
                     OUTCOME_ACCEPTED);
    assert_int_equal(take(now + MINUTE), POLICY_POLL);
    assert_int_equal(hear((struct policy_answer){.reply = REPLY_CONCLUDED}, now + MINUTE),
                     OUTCOME_CONCLUDED);
}

/* ---- alerts ---- */

static void the_score_is_the_mean_of_both_relative_distances(void **state)
{
    (void)state;
    assert_close(policy_drift_score(0.54, 0.6), 0.2, 1e-12);
    assert_close(policy_drift_score(0.45, 0.75), 0, 0);
    assert_close(policy_drift_score(0.3, 0.9), 0, 0);
    assert_close(policy_drift_score(0.9, NAN), 0.5, 1e-12);
    assert_close(policy_drift_score(NAN, 0.0), 0.5, 1e-12);
    assert_close(policy_drift_score(NAN, NAN), 0, 0);
}

static void no_figures_make_the_score_more_than_a_number_to_write(void **state)
{
    (void)state;
    assert_close(policy_drift_score(1e308, -1e308), 1000, 0);
    assert_close(policy_drift_score(1e308, 0.9), 500, 0);
    assert_close(policy_drift_score(-1e308, 1e308), 0, 0);
}

static void a_firing_alert_is_queued_with_score_and_reason(void **state)
{
    (void)state;
    assert_int_equal(fire(NOW), POLICY_ACCEPTED);
    assert_true(change.durable);
    const struct policy_key *key = &policy.keys[0];
    assert_int_equal(policy.count, 1);
    assert_int_equal(key->state, POLICY_QUEUED);
    assert_string_equal(key->id, id);
    assert_close(key->score, 0.2, 1e-12);
    assert_string_equal(key->reason,
                        "mae 0.54 (normal: at most 0.45), r2 0.6 (normal: at least 0.75)");
    assert_int_equal(take(NOW), POLICY_DISPATCH);
}

static void reasons_name_only_what_was_told(void **state)
{
    (void)state;
    const struct policy_drift none = {"user01", "a", NAN, NAN}, r2 = {"user01", "b", NAN, -1e300},
                              mae = {"user01", "c", 1e300, NAN};
    assert_int_equal(fire_as(&none, NOW), POLICY_ACCEPTED);
    assert_int_equal(fire_as(&r2, NOW), POLICY_ACCEPTED);
    assert_int_equal(fire_as(&mae, NOW), POLICY_ACCEPTED);
    assert_string_equal(policy.keys[0].reason, "drift");
    assert_string_equal(policy.keys[1].reason, "r2 -1e+300 (normal: at least 0.75)");
    assert_string_equal(policy.keys[2].reason, "mae 1e+300 (normal: at most 0.45)");
}

static void one_dispatch_is_in_flight_per_model(void **state)
{
    (void)state;
    const struct policy_drift other = {"user01", "other", NAN, NAN},
                              another = {"user02", "california-housing", NAN, NAN};
    assert_int_equal(fire(NOW), POLICY_ACCEPTED);
    assert_int_equal(fire(NOW), POLICY_IN_FLIGHT);
    assert_int_equal(fire_as(&other, NOW), POLICY_ACCEPTED);
    assert_int_equal(fire_as(&another, NOW), POLICY_ACCEPTED);
    assert_int_equal(take(NOW), POLICY_DISPATCH);
    assert_int_equal(fire(NOW), POLICY_IN_FLIGHT);
    (void)hear((struct policy_answer){.reply = REPLY_ACCEPTED, .run_id = 7}, NOW);
    assert_int_equal(fire(NOW + 24 * HOUR), POLICY_IN_FLIGHT);
}

static void a_cooldown_starts_with_the_accepted_dispatch(void **state)
{
    (void)state;
    retrain(NOW);
    assert_int_equal(fire(NOW + 2 * MINUTE), POLICY_COOLDOWN);
    assert_int_equal(fire(NOW + 6 * HOUR - 1), POLICY_COOLDOWN);
    assert_int_equal(fire(NOW - HOUR), POLICY_COOLDOWN); /* the clock was set back */
    assert_int_equal(fire(NOW + 6 * HOUR), POLICY_ACCEPTED);
}

static void a_refused_dispatch_starts_no_cooldown(void **state)
{
    (void)state;
    assert_int_equal(fire(NOW), POLICY_ACCEPTED);
    assert_int_equal(take(NOW), POLICY_DISPATCH);
    assert_int_equal(hear((struct policy_answer){.reply = REPLY_REFUSED, .status = 422}, NOW),
                     OUTCOME_REFUSED);
    assert_int_equal(policy.keys[0].state, POLICY_IDLE);
    assert_int_equal(take(NOW + HOUR), POLICY_WAIT);
    assert_int_equal(fire(NOW + SECOND), POLICY_ACCEPTED);
}

static void the_budget_counts_requests_of_the_past_hour(void **state)
{
    (void)state;
    static const char *const models[] = {"a", "b", "c", "d", "e"};
    struct policy_drift any = drift;
    for (size_t i = 0; i < 4; i++) {
        any.model = models[i];
        assert_int_equal(fire_as(&any, NOW + i * MINUTE), POLICY_ACCEPTED);
    }
    any.model = models[4];
    assert_int_equal(fire_as(&any, NOW + 4 * MINUTE), POLICY_BUDGET);
    assert_int_equal(fire_as(&any, NOW + HOUR - 1), POLICY_BUDGET);
    assert_int_equal(fire_as(&any, NOW + HOUR), POLICY_ACCEPTED);
    any.model = "f";
    assert_int_equal(fire_as(&any, NOW + HOUR), POLICY_BUDGET);
}

static void the_breaker_opens_after_retrains_without_recovery(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++)
        retrain(NOW + i * 6 * HOUR);
    assert_true(policy_breaker_open(&policy, &policy.keys[0]));
    assert_int_equal(fire(NOW + 100 * HOUR), POLICY_BREAKER);
    assert_true(
        policy_recovered(&policy, "user01", "california-housing", NOW + 100 * HOUR, &change));
    assert_true(change.durable);
    policy_commit(&policy, &change);
    assert_false(policy_breaker_open(&policy, &policy.keys[0]));
    assert_int_equal(policy.keys[0].recovered_ms, NOW + 100 * HOUR);
    assert_int_equal(fire(NOW + 100 * HOUR), POLICY_ACCEPTED);
}

static void recovery_between_retrains_keeps_the_breaker_closed(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        retrain(NOW + i * 6 * HOUR);
        assert_true(policy_recovered(&policy, "user01", "california-housing",
                                     NOW + i * 6 * HOUR + HOUR, &change));
        policy_commit(&policy, &change);
    }
    assert_int_equal(policy.keys[0].retrains, 0);
}

static void recovery_neither_dispatches_nor_ends_a_cooldown_or_a_job(void **state)
{
    (void)state;
    assert_false(policy_recovered(&policy, "user01", "california-housing", NOW, &change));
    assert_int_equal(policy.count, 0);
    retrain(NOW);
    assert_true(policy_recovered(&policy, "user01", "california-housing", NOW + HOUR, &change));
    policy_commit(&policy, &change);
    assert_int_equal(take(NOW + HOUR), POLICY_WAIT);
    assert_int_equal(step.wait_ms, UINT64_MAX);
    assert_int_equal(fire(NOW + 2 * HOUR), POLICY_COOLDOWN);
    assert_int_equal(fire(NOW + 7 * HOUR), POLICY_ACCEPTED);
    assert_true(policy_recovered(&policy, "user01", "california-housing", NOW + 7 * HOUR, &change));
    policy_commit(&policy, &change);
    assert_int_equal(policy.keys[0].state, POLICY_QUEUED);
}

static void a_person_passes_cooldown_budget_and_breaker_but_not_a_job_at_work(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++)
        retrain(NOW + i * 6 * HOUR);
    policy.shared.requests = 4;
    for (size_t i = 0; i < 4; i++)
        policy.shared.requests_ms[i] = NOW + 12 * HOUR;
    uint64_t now = NOW + 12 * HOUR + MINUTE;
    assert_int_equal(policy_manual(&policy, &drift, id, now, &change), POLICY_ACCEPTED);
    policy_commit(&policy, &change);
    assert_string_equal(policy.keys[0].reason, "manual");
    assert_false(policy_breaker_open(&policy, &policy.keys[0]));
    assert_int_equal(policy_manual(&policy, &drift, id, now, &change), POLICY_IN_FLIGHT);
}

static void the_oldest_request_makes_room_when_people_ask_a_lot(void **state)
{
    (void)state;
    char model[16];
    struct policy_drift any = {"user01", model, NAN, NAN};
    for (unsigned i = 0; i < POLICY_BUDGET_MAX + 2; i++) {
        (void)snprintf(model, sizeof model, "m%u", i);
        assert_int_equal(policy_manual(&policy, &any, id, NOW + i, &change), POLICY_ACCEPTED);
        policy_commit(&policy, &change);
    }
    assert_int_equal(policy.shared.requests, POLICY_BUDGET_MAX);
    assert_int_equal(policy.shared.requests_ms[0], NOW + 2);
}

static void a_full_table_gives_up_only_a_slot_that_holds_nothing(void **state)
{
    (void)state;
    char model[16];
    const struct policy_drift any = {"user01", model, NAN, NAN};
    for (unsigned i = 0; i < POLICY_KEYS_MAX; i++) {
        (void)snprintf(model, sizeof model, "m%u", i);
        assert_int_equal(policy_manual(&policy, &any, id, NOW, &change), POLICY_ACCEPTED);
        policy_commit(&policy, &change);
    }
    policy.shared.requests = 0;
    assert_int_equal(fire(NOW), POLICY_FULL);
    assert_int_equal(policy_manual(&policy, &drift, id, NOW, &change), POLICY_FULL);
    struct policy_key *key = &policy.keys[9];
    key->state = POLICY_IDLE;
    key->dispatched_ms = NOW;
    key->retrains = 1;
    assert_int_equal(fire(NOW + HOUR), POLICY_FULL);
    key->retrains = 0;
    assert_int_equal(fire(NOW + HOUR), POLICY_FULL);
    assert_int_equal(fire(NOW + 6 * HOUR), POLICY_ACCEPTED);
    assert_int_equal(policy.count, POLICY_KEYS_MAX);
    assert_string_equal(key->model, "california-housing");
    assert_int_equal(key->dispatched_ms, 0);
}

/* ---- GitHub ---- */

static void dispatches_are_a_write_interval_apart_and_in_turn(void **state)
{
    (void)state;
    const struct policy_drift second = {"user02", "m", NAN, NAN};
    assert_int_equal(fire_as(&second, NOW + 1), POLICY_ACCEPTED);
    assert_int_equal(fire(NOW), POLICY_ACCEPTED);
    assert_int_equal(take(NOW + 2), POLICY_DISPATCH);
    assert_string_equal(step.key.user, "user01");
    (void)hear((struct policy_answer){.reply = REPLY_ACCEPTED, .run_id = 7}, NOW + 3);
    assert_int_equal(take(NOW + 4), POLICY_WAIT);
    assert_int_equal(step.wait_ms, SECOND - 2);
    assert_int_equal(take(NOW + 2 + SECOND), POLICY_DISPATCH);
    assert_string_equal(step.key.user, "user02");
}

static void a_clock_set_back_does_not_stop_the_queue(void **state)
{
    (void)state;
    assert_int_equal(fire(NOW), POLICY_ACCEPTED);
    policy.shared.wrote_ms = NOW + 1000 * HOUR;
    policy_next(&policy, NOW, &step);
    assert_int_equal(step.action, POLICY_WAIT);
    assert_int_equal(step.wait_ms, SECOND);
}

static void an_intent_without_an_answer_is_looked_for_before_it_goes_out_again(void **state)
{
    (void)state;
    assert_int_equal(fire(NOW), POLICY_ACCEPTED);
    assert_int_equal(take(NOW), POLICY_DISPATCH);
    /* Here the program dies; what follows is what it does after a restart. */
    assert_int_equal(take(NOW + SECOND), POLICY_WAIT);
    assert_int_equal(step.wait_ms, MINUTE - SECOND);
    assert_int_equal(take(NOW + MINUTE), POLICY_FIND);
    assert_int_equal(hear((struct policy_answer){.reply = REPLY_ABSENT}, NOW + MINUTE),
                     OUTCOME_ABSENT);
    assert_int_equal(take(NOW + MINUTE), POLICY_DISPATCH);
    assert_string_equal(step.key.id, id);
    assert_int_equal(take(NOW + 2 * MINUTE), POLICY_FIND);
    assert_int_equal(
        hear((struct policy_answer){.reply = REPLY_FOUND, .run_id = 9}, NOW + 2 * MINUTE),
        OUTCOME_FOUND);
    assert_int_equal(policy.keys[0].state, POLICY_RUNNING);
    assert_int_equal(policy.keys[0].run_id, 9);
    assert_int_equal(policy.keys[0].retrains, 1);
}

static void server_errors_back_off_look_first_and_end_after_max_attempts(void **state)
{
    (void)state;
    uint64_t now = NOW;
    enum policy_outcome outcome = OUTCOME_UNSURE;
    assert_int_equal(fire(now), POLICY_ACCEPTED);
    for (unsigned attempt = 1; attempt <= 4; attempt++) {
        assert_int_equal(take(now), POLICY_DISPATCH);
        assert_int_equal(hear((struct policy_answer){.reply = REPLY_UNSURE, .status = 500}, now),
                         OUTCOME_UNSURE);
        assert_int_equal(take(now + MINUTE - 1), POLICY_WAIT);
        now += MINUTE;
        assert_int_equal(take(now), POLICY_FIND);
        outcome = hear((struct policy_answer){.reply = REPLY_ABSENT}, now);
        assert_int_equal(outcome, attempt < 4 ? OUTCOME_ABSENT : OUTCOME_GAVE_UP);
    }
    assert_int_equal(policy.keys[0].state, POLICY_IDLE);
}

static void a_list_that_never_answers_ends_too(void **state)
{
    (void)state;
    uint64_t now = NOW;
    enum policy_outcome outcome = OUTCOME_UNSURE;
    assert_int_equal(fire(now), POLICY_ACCEPTED);
    assert_int_equal(take(now), POLICY_DISPATCH);
    for (unsigned i = 0; i < 10 && outcome == OUTCOME_UNSURE; i++) {
        policy_next(&policy, now += HOUR, &step);
        assert_int_equal(step.action, POLICY_FIND);
        outcome = hear((struct policy_answer){.reply = REPLY_UNSURE}, now);
    }
    assert_int_equal(outcome, OUTCOME_GAVE_UP);
}

static void without_a_connection_the_wait_doubles_and_nothing_is_looked_for(void **state)
{
    (void)state;
    /* jitter 0.5: three quarters of 5, 10, 20 seconds */
    static const uint64_t waits[] = {3750, 7500, 15000};
    uint64_t now = NOW;
    assert_int_equal(fire(now), POLICY_ACCEPTED);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(take(now), POLICY_DISPATCH);
        assert_int_equal(hear((struct policy_answer){.reply = REPLY_NOT_SENT}, now),
                         OUTCOME_UNREACHABLE);
        assert_int_equal(take(now), POLICY_WAIT);
        assert_int_equal(step.wait_ms, waits[i]);
        now += waits[i];
    }
    assert_int_equal(take(now), POLICY_DISPATCH);
    assert_int_equal(hear((struct policy_answer){.reply = REPLY_NOT_SENT}, now), OUTCOME_GAVE_UP);
}

static void back_off_ends_at_ten_minutes(void **state)
{
    (void)state;
    assert_int_equal(fire(NOW), POLICY_ACCEPTED);
    policy.settings.max_attempts = 1000;
    policy.keys[0].attempts = 900;
    assert_int_equal(take(NOW), POLICY_DISPATCH);
    (void)hear((struct policy_answer){.reply = REPLY_NOT_SENT}, NOW);
    assert_int_equal(take(NOW), POLICY_WAIT);
    assert_int_equal(step.wait_ms, 450 * SECOND);
}

static void a_rate_limit_stops_every_call_for_as_long_as_it_says(void **state)
{
    (void)state;
    const struct policy_drift second = {"user02", "m", NAN, NAN};
    assert_int_equal(fire(NOW), POLICY_ACCEPTED);
    assert_int_equal(take(NOW), POLICY_DISPATCH);
    assert_int_equal(hear((struct policy_answer){REPLY_LIMITED, 403, 0, 90 * SECOND, 0}, NOW),
                     OUTCOME_LIMITED);
    assert_int_equal(policy.keys[0].state, POLICY_QUEUED);
    assert_int_equal(fire_as(&second, NOW + SECOND), POLICY_ACCEPTED);
    assert_int_equal(take(NOW + 2 * SECOND), POLICY_WAIT);
    assert_int_equal(step.wait_ms, 88 * SECOND);
    assert_int_equal(take(NOW + 90 * SECOND), POLICY_DISPATCH);
    assert_string_equal(step.key.user, "user01");
}

static void a_rate_limit_that_says_nothing_waits_a_minute_then_doubles(void **state)
{
    (void)state;
    assert_int_equal(fire(NOW), POLICY_ACCEPTED);
    assert_int_equal(take(NOW), POLICY_DISPATCH);
    (void)hear((struct policy_answer){.reply = REPLY_LIMITED, .status = 403}, NOW);
    assert_int_equal(take(NOW), POLICY_WAIT);
    assert_int_equal(step.wait_ms, MINUTE);
    assert_int_equal(take(NOW + MINUTE), POLICY_DISPATCH);
    (void)hear((struct policy_answer){.reply = REPLY_LIMITED, .status = 403}, NOW + MINUTE);
    assert_int_equal(take(NOW + MINUTE), POLICY_WAIT);
    assert_int_equal(step.wait_ms, 2 * MINUTE);
}

static void a_run_is_polled_to_its_end(void **state)
{
    (void)state;
    assert_int_equal(fire(NOW), POLICY_ACCEPTED);
    assert_int_equal(take(NOW), POLICY_DISPATCH);
    (void)hear((struct policy_answer){.reply = REPLY_ACCEPTED, .run_id = 7}, NOW);
    assert_int_equal(take(NOW + 30 * SECOND), POLICY_POLL);
    assert_int_equal(step.key.run_id, 7);
    assert_int_equal(hear((struct policy_answer){.reply = REPLY_ACTIVE}, NOW + 30 * SECOND),
                     OUTCOME_WATCHING);
    assert_false(change.durable);
    assert_int_equal(take(NOW + 60 * SECOND), POLICY_POLL);
    /* A poll without an answer is no news. */
    assert_int_equal(hear((struct policy_answer){.reply = REPLY_UNSURE}, NOW + 60 * SECOND),
                     OUTCOME_WATCHING);
    assert_int_equal(take(NOW + 90 * SECOND), POLICY_POLL);
    assert_int_equal(
        hear((struct policy_answer){.reply = REPLY_CONCLUDED, .conclusion = CONCLUSION_FAILURE},
             NOW + 90 * SECOND),
        OUTCOME_CONCLUDED);
    assert_int_equal(conclusion, CONCLUSION_FAILURE);
    assert_int_equal(policy.keys[0].state, POLICY_IDLE);
    assert_int_equal(policy.keys[0].dispatched_ms, NOW);
}

static void an_accepted_run_without_an_id_is_found_in_the_list(void **state)
{
    (void)state;
    assert_int_equal(fire(NOW), POLICY_ACCEPTED);
    assert_int_equal(take(NOW), POLICY_DISPATCH);
    (void)hear((struct policy_answer){.reply = REPLY_ACCEPTED, .status = 204}, NOW);
    assert_int_equal(take(NOW + MINUTE), POLICY_FIND);
    assert_int_equal(hear((struct policy_answer){.reply = REPLY_ABSENT}, NOW + MINUTE),
                     OUTCOME_WATCHING);
    assert_int_equal(policy.keys[0].state, POLICY_RUNNING);
    assert_int_equal(take(NOW + 2 * MINUTE), POLICY_FIND);
    (void)hear((struct policy_answer){.reply = REPLY_FOUND, .run_id = 7}, NOW + 2 * MINUTE);
    assert_true(change.durable);
    assert_int_equal(policy.keys[0].retrains, 1);
    assert_int_equal(take(NOW + 3 * MINUTE), POLICY_POLL);
}

static void a_run_that_is_gone_or_never_ends_is_lost(void **state)
{
    (void)state;
    assert_int_equal(fire(NOW), POLICY_ACCEPTED);
    assert_int_equal(take(NOW), POLICY_DISPATCH);
    (void)hear((struct policy_answer){.reply = REPLY_ACCEPTED, .run_id = 7}, NOW);
    struct policy_key running = policy.keys[0];
    assert_int_equal(take(NOW + MINUTE), POLICY_POLL);
    assert_int_equal(
        hear((struct policy_answer){.reply = REPLY_REFUSED, .status = 401}, NOW + MINUTE),
        OUTCOME_WATCHING);
    assert_int_equal(take(NOW + 2 * MINUTE), POLICY_POLL);
    assert_int_equal(
        hear((struct policy_answer){.reply = REPLY_REFUSED, .status = 404}, NOW + 2 * MINUTE),
        OUTCOME_CONCLUDED);
    assert_int_equal(conclusion, CONCLUSION_LOST);
    policy.keys[0] = running;
    assert_int_equal(take(NOW + 6 * HOUR), POLICY_POLL);
    assert_int_equal(hear((struct policy_answer){.reply = REPLY_ACTIVE}, NOW + 6 * HOUR),
                     OUTCOME_CONCLUDED);
    assert_int_equal(conclusion, CONCLUSION_LOST);
}

static void an_alert_that_ends_while_its_dispatch_is_on_the_wire_is_not_forgotten(void **state)
{
    (void)state;
    assert_int_equal(fire(NOW), POLICY_ACCEPTED);
    assert_int_equal(take(NOW), POLICY_DISPATCH);
    assert_true(policy_recovered(&policy, "user01", "california-housing", NOW + 1, &change));
    policy_commit(&policy, &change);
    (void)hear((struct policy_answer){.reply = REPLY_ACCEPTED, .run_id = 7}, NOW + 2);
    assert_int_equal(policy.keys[0].recovered_ms, NOW + 1);
    assert_int_equal(policy.keys[0].retrains, 1);
}

static void what_is_restored_goes_on_where_it_was(void **state)
{
    (void)state;
    struct error err = {0};
    assert_int_equal(fire(NOW), POLICY_ACCEPTED);
    assert_int_equal(take(NOW), POLICY_DISPATCH);
    struct policy before = policy;
    policy_init(&policy, &plain);
    assert_true(policy_restore(&policy, &before.keys[0], &before.shared, NOW, &err));
    assert_true(policy_restore(&policy, &before.keys[0], &before.shared, NOW, &err));
    assert_int_equal(policy.count, 1);
    assert_int_equal(fire(NOW), POLICY_IN_FLIGHT);
    assert_int_equal(take(NOW + MINUTE), POLICY_FIND);
    assert_string_equal(step.key.id, id);
}

static void more_models_at_work_than_slots_are_not_restored(void **state)
{
    (void)state;
    struct error err = {0};
    struct policy_key key = {.user = "user01", .state = POLICY_QUEUED};
    for (unsigned i = 0; i < POLICY_KEYS_MAX; i++) {
        (void)snprintf(key.model, sizeof key.model, "m%u", i);
        assert_true(policy_restore(&policy, &key, &policy.shared, NOW, &err));
    }
    (void)snprintf(key.model, sizeof key.model, "more");
    assert_false(policy_restore(&policy, &key, &policy.shared, NOW, &err));
    assert_int_equal(err.code, ERR_TOO_LARGE);
}

#define CASE(name) cmocka_unit_test_setup(name, set_up)
static const struct CMUnitTest tests[] = {
    CASE(the_score_is_the_mean_of_both_relative_distances),
    CASE(no_figures_make_the_score_more_than_a_number_to_write),
    CASE(a_firing_alert_is_queued_with_score_and_reason),
    CASE(reasons_name_only_what_was_told),
    CASE(one_dispatch_is_in_flight_per_model),
    CASE(a_cooldown_starts_with_the_accepted_dispatch),
    CASE(a_refused_dispatch_starts_no_cooldown),
    CASE(the_budget_counts_requests_of_the_past_hour),
    CASE(the_breaker_opens_after_retrains_without_recovery),
    CASE(recovery_between_retrains_keeps_the_breaker_closed),
    CASE(recovery_neither_dispatches_nor_ends_a_cooldown_or_a_job),
    CASE(a_person_passes_cooldown_budget_and_breaker_but_not_a_job_at_work),
    CASE(the_oldest_request_makes_room_when_people_ask_a_lot),
    CASE(a_full_table_gives_up_only_a_slot_that_holds_nothing),
    CASE(dispatches_are_a_write_interval_apart_and_in_turn),
    CASE(a_clock_set_back_does_not_stop_the_queue),
    CASE(an_intent_without_an_answer_is_looked_for_before_it_goes_out_again),
    CASE(server_errors_back_off_look_first_and_end_after_max_attempts),
    CASE(a_list_that_never_answers_ends_too),
    CASE(without_a_connection_the_wait_doubles_and_nothing_is_looked_for),
    CASE(back_off_ends_at_ten_minutes),
    CASE(a_rate_limit_stops_every_call_for_as_long_as_it_says),
    CASE(a_rate_limit_that_says_nothing_waits_a_minute_then_doubles),
    CASE(a_run_is_polled_to_its_end),
    CASE(an_accepted_run_without_an_id_is_found_in_the_list),
    CASE(a_run_that_is_gone_or_never_ends_is_lost),
    CASE(an_alert_that_ends_while_its_dispatch_is_on_the_wire_is_not_forgotten),
    CASE(what_is_restored_goes_on_where_it_was),
    CASE(more_models_at_work_than_slots_are_not_restored),
};

T_MAIN(tests)
