#define _GNU_SOURCE /* open_memstream, setenv */
#include "metrics/exposition.h"
#include "tests/support/exposition_check.h"
#include "tests/support/process.h"
#include "tests/support/t.h"

#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { SHARDS = 3 };

static int setup(void **state)
{
    *state = metrics_new(SHARDS);
    assert_non_null(*state);
    return 0;
}

static int teardown(void **state)
{
    metrics_free(*state);
    return 0;
}

static struct metric_series *make(struct metrics *metrics, const struct metric_spec *spec,
                                  const char *const *values)
{
    struct metric_family *family = metrics_family(metrics, spec);
    assert_non_null(family);
    struct metric_series *series = metrics_series(family, values);
    assert_non_null(series);
    return series;
}

/* The page as it is; free it. */
static char *render(struct metrics *metrics, enum exposition_format format)
{
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    assert_non_null(out);
    exposition_write(metrics, format, out);
    assert_int_equal(fclose(out), 0);
    return text;
}

/* The page, which the strict reader has accepted; free it. */
static char *page_of(struct metrics *metrics, enum exposition_format format)
{
    struct error err = {0};
    char *text = render(metrics, format);
    if (!exposition_check(text, strlen(text), format, &err))
        fail_msg("%s in:\n%s", err.message, text);
    return text;
}

static void assert_page(struct metrics *metrics, enum exposition_format format, const char *text)
{
    char *page = page_of(metrics, format);
    assert_string_equal(page, text);
    free(page);
}

/* ---- whole pages ---- */

static void make_one_of_each(struct metrics *metrics)
{
    static const double seconds[] = {1e-5, 0.005, 1, 2.5}, bytes[] = {256, 1048576};
    const char *const labels[] = {"m", "1"};
    struct metric_series *s;
    s = make(metrics,
             &(struct metric_spec){
                 "jobs_total", METRIC_COUNTER, "Jobs.", {"model_name", "version"}, NULL, 0},
             labels);
    metric_add(s, 0, 2);
    metric_add(s, 2, 40);
    s = make(metrics, &(struct metric_spec){"level", METRIC_GAUGE, "Level.", {NULL}, NULL, 0},
             NULL);
    metric_set(s, 0.1);
    s = make(
        metrics,
        &(struct metric_spec){"wait_seconds", METRIC_DURATION, "Wait.", {"model_name"}, seconds, 4},
        labels);
    metric_observe(s, 0, 10000); /* a bound belongs to its bucket */
    metric_observe(s, 1, 10001); /* and ends there */
    metric_observe(s, 2, 3000000000u);
    s = make(metrics,
             &(struct metric_spec){"body_bytes", METRIC_HISTOGRAM, "Body.", {NULL}, bytes, 2},
             NULL);
    metric_observe(s, 0, 257);
    (void)make(metrics,
               &(struct metric_spec){"build_info", METRIC_INFO, "Build.", {"version"}, NULL, 0},
               labels);
}

static const char one_of_each[] =
    "# HELP jobs_total Jobs.\n"
    "# TYPE jobs_total counter\n"
    "jobs_total{model_name=\"m\",version=\"1\"} 42\n"
    "# HELP level Level.\n"
    "# TYPE level gauge\n"
    "level 0.1\n"
    "# HELP wait_seconds Wait.\n"
    "# TYPE wait_seconds histogram\n"
    "wait_seconds_bucket{model_name=\"m\",le=\"1e-05\"} 1\n"
    "wait_seconds_bucket{model_name=\"m\",le=\"0.005\"} 2\n"
    "wait_seconds_bucket{model_name=\"m\",le=\"1.0\"} 2\n"
    "wait_seconds_bucket{model_name=\"m\",le=\"2.5\"} 2\n"
    "wait_seconds_bucket{model_name=\"m\",le=\"+Inf\"} 3\n"
    "wait_seconds_sum{model_name=\"m\"} 3.000020001\n"
    "wait_seconds_count{model_name=\"m\"} 3\n"
    "# HELP body_bytes Body.\n"
    "# TYPE body_bytes histogram\n"
    "body_bytes_bucket{le=\"256.0\"} 0\n"
    "body_bytes_bucket{le=\"1048576.0\"} 1\n"
    "body_bytes_bucket{le=\"+Inf\"} 1\n"
    "body_bytes_sum 257.0\n"
    "body_bytes_count 1\n"
    "# HELP build_info Build.\n"
    "# TYPE build_info gauge\n"
    "build_info{version=\"m\"} 1\n";

static void text_looks_like_this(void **state)
{
    make_one_of_each(*state);
    assert_page(*state, EXPOSITION_TEXT, one_of_each);
}

static void openmetrics_looks_like_this(void **state)
{
    make_one_of_each(*state);
    assert_page(*state, EXPOSITION_OPENMETRICS,
                "# TYPE jobs counter\n"
                "# HELP jobs Jobs.\n"
                "jobs_total{model_name=\"m\",version=\"1\"} 42\n"
                "# TYPE level gauge\n"
                "# HELP level Level.\n"
                "level 0.1\n"
                "# TYPE wait_seconds histogram\n"
                "# UNIT wait_seconds seconds\n"
                "# HELP wait_seconds Wait.\n"
                "wait_seconds_bucket{model_name=\"m\",le=\"1e-05\"} 1\n"
                "wait_seconds_bucket{model_name=\"m\",le=\"0.005\"} 2\n"
                "wait_seconds_bucket{model_name=\"m\",le=\"1.0\"} 2\n"
                "wait_seconds_bucket{model_name=\"m\",le=\"2.5\"} 2\n"
                "wait_seconds_bucket{model_name=\"m\",le=\"+Inf\"} 3\n"
                "wait_seconds_sum{model_name=\"m\"} 3.000020001\n"
                "wait_seconds_count{model_name=\"m\"} 3\n"
                "# TYPE body_bytes histogram\n"
                "# UNIT body_bytes bytes\n"
                "# HELP body_bytes Body.\n"
                "body_bytes_bucket{le=\"256.0\"} 0\n"
                "body_bytes_bucket{le=\"1048576.0\"} 1\n"
                "body_bytes_bucket{le=\"+Inf\"} 1\n"
                "body_bytes_sum 257.0\n"
                "body_bytes_count 1\n"
                "# TYPE build info\n"
                "# HELP build Build.\n"
                "build_info{version=\"m\"} 1\n"
                "# EOF\n");
}

static void an_empty_registry_is_a_valid_page(void **state)
{
    assert_page(*state, EXPOSITION_TEXT, "");
    assert_page(*state, EXPOSITION_OPENMETRICS, "# EOF\n");
}

/* ---- values and texts ---- */

static const struct metric_spec level = {"level", METRIC_GAUGE, "Level.", {NULL}, NULL, 0};

static void values_are_written_exactly_in_every_range(void **state)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0, "0"},
                 {-0.0, "0"},
                 {3, "3"},
                 {-3, "-3.0"},
                 {0.1, "0.1"},
                 {1.0 / 3, "0.3333333333333333"},
                 {1732540000, "1732540000"},
                 {0x1p53, "9007199254740992.0"},
                 {1e300, "1e+300"},
                 {5e-324, "5e-324"},
                 {INFINITY, "+Inf"},
                 {-INFINITY, "-Inf"}};
    struct metric_series *s = make(*state, &level, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char expected[128];
        metric_set(s, cases[i].value);
        (void)snprintf(expected, sizeof expected,
                       "# HELP level Level.\n# TYPE level gauge\nlevel %s\n", cases[i].text);
        assert_page(*state, EXPOSITION_TEXT, expected);
    }
}

static void a_gauge_is_absent_until_it_is_a_number(void **state)
{
    struct metric_series *s = make(*state, &level, NULL);
    static const char absent[] = "# HELP level Level.\n# TYPE level gauge\n";
    assert_page(*state, EXPOSITION_TEXT, absent);
    metric_set(s, 1);
    assert_page(*state, EXPOSITION_TEXT, "# HELP level Level.\n# TYPE level gauge\nlevel 1\n");
    metric_set(s, NAN);
    assert_page(*state, EXPOSITION_TEXT, absent);
}

static void help_and_label_values_are_escaped_as_each_format_wants(void **state)
{
    static const struct metric_spec spec = {"level",  METRIC_GAUGE, "a\\b\n\"c\"",
                                            {"text"}, NULL,         0};
    metric_set(make(*state, &spec, (const char *const[]){"a\\b\n\"c\" \xc3\xa9"}), 1);
    assert_page(*state, EXPOSITION_TEXT,
                "# HELP level a\\\\b\\n\"c\"\n# TYPE level gauge\n"
                "level{text=\"a\\\\b\\n\\\"c\\\" \xc3\xa9\"} 1\n");
    assert_page(*state, EXPOSITION_OPENMETRICS,
                "# TYPE level gauge\n# HELP level a\\\\b\\n\\\"c\\\"\n"
                "level{text=\"a\\\\b\\n\\\"c\\\" \xc3\xa9\"} 1\n# EOF\n");
}

/* Prometheus drops a whole scrape for one label that is not UTF-8, and labels come from outside. */
static void a_label_value_that_is_not_utf8_does_not_spoil_the_page(void **state)
{
    static const struct metric_spec spec = {"level", METRIC_GAUGE, "Level.", {"text"}, NULL, 0};
    metric_set(make(*state, &spec, (const char *const[]){"a\xff\xc3"}), 1);
    assert_page(*state, EXPOSITION_TEXT,
                "# HELP level Level.\n# TYPE level gauge\n"
                "level{text=\"a\xef\xbf\xbd\xef\xbf\xbd\"} 1\n");
}

static void update_level(void *ctx)
{
    metric_set(ctx, metric_read(ctx) + 1);
}

static void what_is_read_on_demand_is_read_once_for_each_page(void **state)
{
    struct metric_series *s = make(*state, &level, NULL);
    metric_set(s, 0);
    metrics_on_scrape(*state, update_level, s);
    assert_page(*state, EXPOSITION_TEXT, "# HELP level Level.\n# TYPE level gauge\nlevel 1\n");
    assert_page(*state, EXPOSITION_TEXT, "# HELP level Level.\n# TYPE level gauge\nlevel 2\n");
}

static void a_locale_with_a_decimal_comma_changes_nothing(void **state)
{
    char folder[512], output[600], text[4096];
    process_folder(folder, sizeof folder);
    (void)snprintf(output, sizeof output, "%s/de_DE.UTF-8", folder);
    const char *const argv[] = {"localedef", "-i", "de_DE", "-f", "UTF-8", output, NULL};
    bool made = process_run(argv, text, sizeof text) == 0;
    (void)setenv("LOCPATH", folder, 1);
    if (!made || setlocale(LC_ALL, "de_DE.UTF-8") == NULL) {
        process_remove(folder);
        t_skip("no locale with a decimal comma can be made");
    }
    (void)snprintf(text, sizeof text, "%.1f", 0.5);
    make_one_of_each(*state);
    char *page = render(*state, EXPOSITION_TEXT);
    (void)setlocale(LC_ALL, "C");
    process_remove(folder);
    assert_string_equal(text, "0,5"); /* or the case has shown nothing */
    assert_string_equal(page, one_of_each);
    free(page);
}

/* ---- while others write ---- */

enum { PAGES = 200, AMOUNT = 3 };

struct traffic {
    struct metric_series *counter, *histogram, *gauge;
    atomic_bool *stop;
    unsigned shard;
};

static void *make_traffic(void *ctx)
{
    const struct traffic *t = ctx;
    while (!atomic_load_explicit(t->stop, memory_order_relaxed)) {
        metric_gauge_add(t->gauge, t->shard, 1);
        metric_add(t->counter, t->shard, 1);
        metric_observe(t->histogram, t->shard, AMOUNT);
        metric_gauge_add(t->gauge, t->shard, -1);
    }
    return NULL;
}

static double value_of(const char *page, const char *series)
{
    double value = NAN;
    if (!exposition_value(page, strlen(page), series, &value))
        fail_msg("expected %s in:\n%s", series, page);
    return value;
}

/* Series come and go as models do. */
static void replace_series(struct metric_family *family, int i)
{
    char name[16];
    (void)snprintf(name, sizeof name, "%d", i);
    struct metric_series *s = metrics_series(family, (const char *const[]){name});
    assert_non_null(s);
    metric_set(s, i);
    metrics_series_remove(family, s);
}

static void look_at_pages(struct metrics *metrics, struct metric_family *models)
{
    double counted = 0, observed = 0;
    for (int i = 0; i < PAGES; i++) {
        replace_series(models, i);
        char *page = page_of(metrics, i % 2 == 0 ? EXPOSITION_TEXT : EXPOSITION_OPENMETRICS);
        double total = value_of(page, "jobs_total"), count = value_of(page, "body_bytes_count");
        assert_true(total >= counted && count >= observed);
        /* Sum, count and buckets are of one instant: an observation is in all of them or in none. */
        assert_true(value_of(page, "body_bytes_sum") == AMOUNT * count);
        assert_true(fabs(value_of(page, "level")) <= SHARDS);
        counted = total;
        observed = count;
        free(page);
    }
}

static void a_page_is_whole_while_every_shard_is_written(void **state)
{
    static const double bytes[] = {1, 2, 4, 8};
    static const struct metric_spec model = {"model", METRIC_GAUGE, "Model.", {"name"}, NULL, 0};
    struct metrics *metrics = *state;
    struct traffic traffic[SHARDS];
    pthread_t threads[SHARDS];
    atomic_bool stop = false;
    struct traffic made = {
        .counter = make(
            metrics, &(struct metric_spec){"jobs_total", METRIC_COUNTER, "Jobs.", {NULL}, NULL, 0},
            NULL),
        .histogram = make(
            metrics,
            &(struct metric_spec){"body_bytes", METRIC_HISTOGRAM, "Body.", {NULL}, bytes, 4}, NULL),
        .gauge = make(metrics, &level, NULL),
        .stop = &stop};
    struct metric_family *models = metrics_family(metrics, &model);
    metric_gauge_add(made.gauge, 0, 0);
    for (unsigned i = 0; i < SHARDS; i++) {
        traffic[i] = made;
        traffic[i].shard = i;
        assert_int_equal(pthread_create(&threads[i], NULL, make_traffic, &traffic[i]), 0);
    }
    look_at_pages(metrics, models);
    atomic_store(&stop, true);
    for (unsigned i = 0; i < SHARDS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
}

/* ---- negotiation ---- */

static void the_format_is_negotiated(void **state)
{
    (void)state;
    static const struct {
        const char *accept;
        enum exposition_format format;
    } cases[] = {
        /* Prometheus 2.42 */
        {"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;"
         "q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
         EXPOSITION_OPENMETRICS},
        /* Prometheus 3 */
        {"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
         "application/openmetrics-text;version=0.0.1;q=0.5,"
         "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
         "text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
         EXPOSITION_OPENMETRICS},
        /* Prometheus 3 told to prefer text */
        {"text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5,"
         "application/openmetrics-text;version=1.0.0;q=0.4,*/*;q=0.2",
         EXPOSITION_TEXT},
        /* Prometheus 3 with protobuf first */
        {"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;"
         "encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,"
         "text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
         EXPOSITION_OPENMETRICS},
        /* curl, a browser, nothing, what nobody here speaks */
        {"*/*", EXPOSITION_TEXT},
        {"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", EXPOSITION_TEXT},
        {"", EXPOSITION_TEXT},
        {"application/json", EXPOSITION_TEXT},
        {"application/openmetrics-text;version=2.0.0", EXPOSITION_TEXT},
        {"application/openmetrics-text;version=0.0.1", EXPOSITION_TEXT},
        /* spelling */
        {"application/openmetrics-text", EXPOSITION_OPENMETRICS},
        {"APPLICATION/OpenMetrics-Text ; Version=\"1.0.0\" ; Q=0.9 , text/plain;q=0.1",
         EXPOSITION_OPENMETRICS},
        {"application/openmetrics-textual", EXPOSITION_TEXT},
        {",, ;, application/openmetrics-text;;", EXPOSITION_OPENMETRICS},
        /* q */
        {"text/plain;q=0.9,application/openmetrics-text;q=0.8", EXPOSITION_TEXT},
        {"text/plain;q=0.8,application/openmetrics-text;q=0.9", EXPOSITION_OPENMETRICS},
        {"text/plain,application/openmetrics-text", EXPOSITION_TEXT},
        {"application/openmetrics-text;q=0", EXPOSITION_TEXT},
        {"application/openmetrics-text;q=much", EXPOSITION_TEXT},
        {"application/openmetrics-text;q=7,text/plain;q=0.1", EXPOSITION_TEXT},
        {"application/openmetrics-text;q=-1", EXPOSITION_TEXT},
        /* the more specific range counts, wherever it stands */
        {"text/plain;q=0.9,text/plain;version=0.0.4;q=0.1,application/openmetrics-text;q=0.5",
         EXPOSITION_OPENMETRICS},
        {"application/*;q=0.1,application/openmetrics-text;q=0.9,text/*;q=0.5",
         EXPOSITION_OPENMETRICS},
        {"text/*;q=0.1,application/*;q=0.9", EXPOSITION_OPENMETRICS},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        /* A header's value is not NUL-terminated. */
        size_t n = strlen(cases[i].accept);
        char *accept = t_guarded(cases[i].accept, n);
        enum exposition_format format = exposition_negotiate(accept, n);
        t_guarded_free(accept, n);
        if (format != cases[i].format)
            fail_msg("Accept: %s gave %s", cases[i].accept, exposition_content_type(format));
    }
    assert_int_equal(exposition_negotiate(NULL, 0), EXPOSITION_TEXT);
}

static void each_format_has_its_content_type(void **state)
{
    (void)state;
    assert_string_equal(exposition_content_type(EXPOSITION_TEXT),
                        "text/plain; version=0.0.4; charset=utf-8");
    assert_string_equal(exposition_content_type(EXPOSITION_OPENMETRICS),
                        "application/openmetrics-text; version=1.0.0; charset=utf-8");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
static const struct CMUnitTest tests[] = {
    CASE(text_looks_like_this),
    CASE(openmetrics_looks_like_this),
    CASE(an_empty_registry_is_a_valid_page),
    CASE(values_are_written_exactly_in_every_range),
    CASE(a_gauge_is_absent_until_it_is_a_number),
    CASE(help_and_label_values_are_escaped_as_each_format_wants),
    CASE(a_label_value_that_is_not_utf8_does_not_spoil_the_page),
    CASE(what_is_read_on_demand_is_read_once_for_each_page),
    CASE(a_locale_with_a_decimal_comma_changes_nothing),
    CASE(a_page_is_whole_while_every_shard_is_written),
    cmocka_unit_test(the_format_is_negotiated),
    cmocka_unit_test(each_format_has_its_content_type),
};

T_MAIN(tests)
