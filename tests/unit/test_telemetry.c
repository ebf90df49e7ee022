#define _GNU_SOURCE /* open_memstream */
#include "metrics/exposition.h"
#include "server/predictor/telemetry.h"
#include "tests/support/exposition_check.h"
#include "tests/support/plane.h"
#include "tests/support/t.h"

#include "model/model_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FOUR   "model_name=\"served\",version=\"1\",user_id=\"user01\",namespace=\"ns\""
#define FAMILY "model_prediction_total{" FOUR ",status="

struct fixture {
    struct metrics *metrics;
    struct telemetry *telemetry;
    struct model *model;
    struct telemetry_model *series;
    char *page; /* the last one */
};

static void remove_model(struct fixture *f)
{
    telemetry_model_retire(f->series);
    telemetry_model_free(f->series);
}

static int setup(void **state)
{
    static const struct telemetry_labels labels = {"user01", "ns", "1.2.3", "abc"};
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    assert_non_null(f->metrics = metrics_new(2));
    assert_non_null(f->telemetry = telemetry_new(f->metrics, &labels));
    f->model = plane_model("1", 1);
    assert_non_null(f->series = telemetry_model_new(f->telemetry, "served", f->model));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    remove_model(f);
    telemetry_free(f->telemetry);
    metrics_free(f->metrics);
    model_free(f->model);
    free(f->page);
    free(f);
    return 0;
}

static const char *scrape(struct fixture *f, enum exposition_format format)
{
    struct error err = {0};
    size_t n = 0;
    free(f->page);
    f->page = NULL;
    FILE *out = open_memstream(&f->page, &n);
    assert_non_null(out);
    exposition_write(f->metrics, format, out);
    assert_int_equal(fclose(out), 0);
    if (!exposition_check(f->page, n, format, &err))
        fail_msg("%s in:\n%s", err.message, f->page);
    return f->page;
}

/* NaN when there is no such series. */
static double value_of(struct fixture *f, const char *series)
{
    double value = NAN;
    const char *page = scrape(f, EXPOSITION_TEXT);
    return exposition_value(page, strlen(page), series, &value) ? value : NAN;
}

static void assert_value(struct fixture *f, const char *series, double expected)
{
    double value = value_of(f, series);
    if (value != expected)
        fail_msg("%s: expected %g, got %g in:\n%s", series, expected, value, f->page);
}

static void the_contract_is_there_at_zero_before_the_first_request(void **state)
{
    static const char *const zero[] = {FAMILY "\"success\"}",
                                       FAMILY "\"error\"}",
                                       "model_prediction_rows_total{" FOUR "}",
                                       "model_prediction_latency_count{" FOUR "}",
                                       "model_quality_live{" FOUR "}",
                                       "request_preprocess_seconds_count{model_name=\"served\"}",
                                       "request_predict_seconds_count{model_name=\"served\"}",
                                       "request_postprocess_seconds_count{model_name=\"served\"}",
                                       "http_requests_in_flight",
                                       "http_request_body_bytes_count"};
    for (size_t i = 0; i < sizeof zero / sizeof *zero; i++)
        assert_value(*state, zero[i], 0);
}

static void both_formats_are_strictly_valid(void **state)
{
    struct fixture *f = *state;
    telemetry_prediction(f->series, 0, true, 3, 12345);
    (void)scrape(f, EXPOSITION_TEXT);
    assert_contains(scrape(f, EXPOSITION_OPENMETRICS), "\nmodel_info{" FOUR ",kind=\"linear\",");
}

static void latency_buckets_reach_from_ten_microseconds_to_ten_seconds(void **state)
{
    static const char *const bounds[] = {"1e-05", "0.01", "0.05", "0.1", "1.0", "10.0", "+Inf"};
    const char *page = scrape(*state, EXPOSITION_TEXT);
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++) {
        char bucket[256];
        (void)snprintf(bucket, sizeof bucket,
                       "\nmodel_prediction_latency_bucket{" FOUR ",le=\"%s\"} ", bounds[i]);
        assert_contains(page, bucket);
    }
}

static void a_prediction_counts_once_in_its_outcome_and_its_rows_if_it_has_any(void **state)
{
    struct fixture *f = *state;
    telemetry_prediction(f->series, 0, true, 3, 1000);
    telemetry_prediction(f->series, 1, true, 4, 2000000000);
    telemetry_prediction(f->series, 1, false, 5, 1000);
    assert_value(f, FAMILY "\"success\"}", 2);
    assert_value(f, FAMILY "\"error\"}", 1);
    assert_value(f, "model_prediction_rows_total{" FOUR "}", 7);
    assert_value(f, "model_prediction_latency_count{" FOUR "}", 3);
    assert_value(f, "model_prediction_latency_bucket{" FOUR ",le=\"1e-05\"}", 2);
    assert_close(value_of(f, "model_prediction_latency_sum{" FOUR "}"), 2.000002, 1e-12);
}

static void a_stage_is_observed_in_seconds(void **state)
{
    struct fixture *f = *state;
    telemetry_stage(f->series, 0, STAGE_PREDICT, 500000000);
    assert_value(f, "request_predict_seconds_sum{model_name=\"served\"}", 0.5);
    assert_value(f, "request_predict_seconds_count{model_name=\"served\"}", 1);
    assert_value(f, "request_preprocess_seconds_count{model_name=\"served\"}", 0);
}

static void a_request_counts_by_route_and_status(void **state)
{
    struct fixture *f = *state;
    telemetry_request(f->telemetry, 0, ROUTE_PREDICT, 413, 1000);
    telemetry_request(f->telemetry, 1, ROUTE_PREDICT, 413, 300);
    telemetry_request(f->telemetry, 0, ROUTE_OTHER, 404, 0);
    assert_value(f, "http_requests_total{route=\"/v1/models/{model}:predict\",code=\"413\"}", 2);
    assert_value(f, "http_requests_total{route=\"other\",code=\"404\"}", 1);
    assert_value(f, "http_requests_total{route=\"/metrics\",code=\"200\"}", 0);
    assert_value(f, "http_request_body_bytes_sum", 1300);
    assert_value(f, "http_request_body_bytes_count", 3);
}

/* Labels come from closed sets: a status nobody thought of must not make a series, nor be lost. */
static void an_unknown_status_counts_as_500(void **state)
{
    struct fixture *f = *state;
    telemetry_request(f->telemetry, 0, ROUTE_ROOT, 299, 0);
    assert_value(f, "http_requests_total{route=\"/\",code=\"500\"}", 1);
    assert_null(strstr(f->page, "code=\"299\""));
}

static void requests_in_flight_go_up_and_down(void **state)
{
    struct fixture *f = *state;
    telemetry_in_flight(f->telemetry, 0, 1);
    telemetry_in_flight(f->telemetry, 1, 1);
    assert_value(f, "http_requests_in_flight", 2);
    telemetry_in_flight(f->telemetry, 0, -1);
    assert_value(f, "http_requests_in_flight", 1);
}

static void quality_is_the_cards_holdout(void **state)
{
    assert_value(*state, "model_mae_score{" FOUR "}", 0.25);
    assert_value(*state, "model_r2_score{" FOUR "}", 0.75);
    assert_value(*state, "model_quality_live{" FOUR "}", 0);
}

static void a_card_without_a_holdout_shows_no_quality(void **state)
{
    struct fixture *f = *state;
    struct model_parts *parts = &f->model->parts;
    remove_model(f);
    parts->card.holdout.rows = 0;
    f->series = telemetry_model_new(f->telemetry, "served", f->model);
    assert_non_null(f->series);
    assert_true(isnan(value_of(f, "model_mae_score{" FOUR "}")) != 0);
    assert_true(isnan(value_of(f, "model_r2_score{" FOUR "}")) != 0);
    assert_value(f, "model_quality_live{" FOUR "}", 0);
}

/* A rate over the change of a model has to be right, and the old model's quality is nobody's. */
static void gauges_leave_with_their_model_and_counters_stay(void **state)
{
    struct fixture *f = *state;
    telemetry_model_retire(f->series);
    telemetry_prediction(f->series, 0, true, 1, 1000); /* what was in flight */
    assert_value(f, FAMILY "\"success\"}", 1);
    assert_null(strstr(f->page, "model_mae_score{"));
    assert_null(strstr(f->page, "model_r2_score{"));
    assert_null(strstr(f->page, "model_quality_live{"));
    assert_null(strstr(f->page, "model_info{"));
    telemetry_model_free(f->series);
    f->series = telemetry_model_new(f->telemetry, "served", f->model);
    assert_non_null(f->series);
    telemetry_prediction(f->series, 0, true, 1, 1000);
    assert_value(f, FAMILY "\"success\"}", 2);
    assert_value(f, "model_mae_score{" FOUR "}", 0.25);
}

static void reloads_are_counted_by_outcome_and_the_last_one_is_shown(void **state)
{
    struct fixture *f = *state;
    assert_value(f, "model_reload_total{outcome=\"success\"}", 0);
    assert_value(f, "model_reload_total{outcome=\"failure\"}", 0);
    assert_value(f, "model_reload_failed", 0);
    telemetry_reload(f->telemetry, false);
    assert_value(f, "model_reload_failed", 1);
    telemetry_reload(f->telemetry, true);
    assert_value(f, "model_reload_total{outcome=\"success\"}", 1);
    assert_value(f, "model_reload_total{outcome=\"failure\"}", 1);
    assert_value(f, "model_reload_failed", 0);
}

static void the_program_and_the_artifact_introduce_themselves(void **state)
{
    struct fixture *f = *state;
    char info[512];
    (void)snprintf(info, sizeof info, "\nmodel_info{" FOUR ",kind=\"linear\",sha256=\"%s\"} 1\n",
                   model_sha256(f->model));
    assert_contains(scrape(f, EXPOSITION_TEXT), info);
    assert_contains(f->page, "\nridged_build_info{version=\"1.2.3\",revision=\"abc\",compiler=\"");
}

/* KServe's aggregator appends labels of these names itself. */
static void reserved_label_names_are_not_used(void **state)
{
    const char *page = scrape(*state, EXPOSITION_TEXT);
    assert_null(strstr(page, "service_name="));
    assert_null(strstr(page, "configuration_name="));
    assert_null(strstr(page, "revision_name="));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
static const struct CMUnitTest tests[] = {
    CASE(the_contract_is_there_at_zero_before_the_first_request),
    CASE(both_formats_are_strictly_valid),
    CASE(latency_buckets_reach_from_ten_microseconds_to_ten_seconds),
    CASE(a_prediction_counts_once_in_its_outcome_and_its_rows_if_it_has_any),
    CASE(a_stage_is_observed_in_seconds),
    CASE(a_request_counts_by_route_and_status),
    CASE(an_unknown_status_counts_as_500),
    CASE(requests_in_flight_go_up_and_down),
    CASE(quality_is_the_cards_holdout),
    CASE(a_card_without_a_holdout_shows_no_quality),
    CASE(gauges_leave_with_their_model_and_counters_stay),
    CASE(reloads_are_counted_by_outcome_and_the_last_one_is_shown),
    CASE(the_program_and_the_artifact_introduce_themselves),
    CASE(reserved_label_names_are_not_used),
};

T_MAIN(tests)
