#define _GNU_SOURCE /* setrlimit's RLIMIT_CORE, fork */
#include "metrics/metrics.h"
#include "tests/support/t.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SHARDS = 3 };

static const double bounds[] = {0.001, 0.5, 2};

static const struct metric_spec counter = {"work_total", METRIC_COUNTER, "Work.",
                                           {"kind"},     NULL,           0};
static const struct metric_spec gauge = {"level", METRIC_GAUGE, "Level.", {NULL}, NULL, 0};
static const struct metric_spec duration = {"wait_seconds", METRIC_DURATION, "Wait.",
                                            {NULL},         bounds,          3};

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

static struct metric_family *family(void *metrics, const struct metric_spec *spec)
{
    struct metric_family *made = metrics_family(metrics, spec);
    assert_non_null(made);
    return made;
}

static struct metric_series *series(struct metric_family *of, const char *value)
{
    struct metric_series *made = metrics_series(of, (const char *const[]){value});
    assert_non_null(made);
    return made;
}

static void a_counter_is_the_sum_of_its_shards(void **state)
{
    struct metric_series *s = series(family(*state, &counter), "a");
    assert_true(metric_read(s) == 0);
    for (unsigned shard = 0; shard < SHARDS; shard++)
        metric_add(s, shard, shard + 1);
    assert_true(metric_read(s) == 6);
}

static void a_gauge_may_go_up_on_one_shard_and_down_on_another(void **state)
{
    struct metric_series *s = series(family(*state, &gauge), NULL);
    metric_gauge_add(s, 0, 2);
    metric_gauge_add(s, 1, -5);
    assert_true(metric_read(s) == -3);
}

static void a_gauge_shows_the_last_value_it_was_set_to(void **state)
{
    struct metric_series *s = series(family(*state, &gauge), NULL);
    metric_set(s, 0.1);
    metric_set(s, -1e300);
    assert_true(metric_read(s) == -1e300);
}

static void a_counter_kept_elsewhere_is_set(void **state)
{
    struct metric_series *s = series(family(*state, &counter), "a");
    metric_set(s, 12.5);
    assert_true(metric_read(s) == 12.5);
}

static void a_histogram_reads_as_the_number_of_its_observations(void **state)
{
    struct metric_series *s = series(family(*state, &duration), NULL);
    metric_observe(s, 0, 0);
    metric_observe(s, 1, 1000000);
    metric_observe(s, 2, UINT64_C(1) << 62);
    assert_true(metric_read(s) == 3);
}

static void a_series_is_made_once_for_the_same_label_values(void **state)
{
    struct metric_family *f = family(*state, &counter);
    char value[] = "a";
    struct metric_series *a = series(f, value);
    value[0] = 'b'; /* values are copied, so this is another series */
    struct metric_series *b = series(f, value);
    assert_ptr_not_equal(a, b);
    assert_ptr_equal(series(f, "a"), a);
    assert_ptr_equal(series(f, "b"), b);
}

static void series_are_removed_from_any_place_and_made_again_at_zero(void **state)
{
    static const char *const names[] = {"first", "middle", "last"};
    struct metric_family *f = family(*state, &counter);
    struct metric_series *made[3];
    for (size_t i = 0; i < 3; i++) {
        made[i] = series(f, names[i]);
        metric_add(made[i], 0, i + 1);
    }
    metrics_series_remove(f, NULL);
    for (size_t i = 3; i-- > 0;) {
        metrics_series_remove(f, made[i]);
        made[i] = series(f, names[i]);
        assert_true(metric_read(made[i]) == 0);
        metric_add(made[i], 0, 10 * (i + 1));
    }
    for (size_t i = 0; i < 3; i++) {
        assert_ptr_equal(series(f, names[i]), made[i]);
        assert_true(metric_read(made[i]) == (double)(10 * (i + 1)));
    }
}

static void a_series_stays_until_its_last_user_has_left(void **state)
{
    struct metric_family *f = family(*state, &counter);
    struct metric_series *s = series(f, "a");
    assert_ptr_equal(series(f, "a"), s);
    metric_add(s, 0, 1);
    metrics_series_remove(f, s);
    assert_true(metric_read(s) == 1);
    metrics_series_remove(f, s);
    s = series(f, "a");
    assert_true(metric_read(s) == 0);
}

/* ---- the programmer's mistakes ---- */

#define NAMED(text, type)                                                                          \
    {                                                                                              \
        (text), (type), "Help.", {NULL}, NULL, 0                                                   \
    }
static const double equal_bounds[] = {1, 1}, many_bounds[METRIC_BUCKETS_MAX + 1] = {0};
static const struct metric_spec wrong[] = {
    NAMED("", METRIC_GAUGE),
    NAMED("9lives", METRIC_GAUGE),
    NAMED("with-dash", METRIC_GAUGE),
    NAMED("with:colon", METRIC_GAUGE),
    NAMED("things", METRIC_COUNTER),
    NAMED("_total", METRIC_COUNTER),
    NAMED("things_total", METRIC_GAUGE),
    NAMED("things", METRIC_INFO),
    NAMED("things_info", METRIC_GAUGE),
    NAMED("wait", METRIC_HISTOGRAM),
    NAMED("level", METRIC_GAUGE), /* exists already */
    {"x_total", METRIC_COUNTER, "Help.", {NULL}, bounds, 3},
    {"wait", METRIC_HISTOGRAM, "Help.", {NULL}, equal_bounds, 2},
    {"wait", METRIC_HISTOGRAM, "Help.", {NULL}, many_bounds, METRIC_BUCKETS_MAX + 1},
    {"wait", METRIC_HISTOGRAM, "Help.", {"le"}, bounds, 3},
    {"x", METRIC_GAUGE, "Help.", {"good", "not good"}, NULL, 0},
};
enum { WRONG = sizeof wrong / sizeof *wrong };

static void ignore(void *ctx)
{
    (void)ctx;
}

static void make_wrong(struct metrics *metrics, size_t i)
{
    if (i < WRONG)
        (void)!metrics_family(metrics, &wrong[i]);
    else if (i == WRONG)
        metrics_series_remove(family(metrics, &duration), series(family(metrics, &counter), "a"));
    else if (i == WRONG + 1)
        (void)!metrics_new(0);
    else
        for (size_t updates = 0; updates < 100; updates++)
            metrics_on_scrape(metrics, ignore, NULL);
}

/* In a child, which says nothing and leaves no core. */
static int status_of_wrong(struct metrics *metrics, size_t i)
{
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        const struct rlimit none = {0, 0};
        (void)signal(SIGABRT, SIG_DFL);
        (void)setrlimit(RLIMIT_CORE, &none);
        (void)!freopen("/dev/null", "w", stderr);
        make_wrong(metrics, i);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void wrong_use_aborts(void **state)
{
    (void)family(*state, &gauge);
    for (size_t i = 0; i < WRONG + 3; i++) {
        int status = status_of_wrong(*state, i);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT)
            fail_msg("mistake %zu (%s) went through: status %d", i, i < WRONG ? wrong[i].name : "",
                     status);
    }
}

/* ---- threads ---- */

enum { ADDS = 20000 };

struct writer {
    struct metric_series *counted, *observed, *level;
    unsigned shard;
};

static void *write_shard(void *ctx)
{
    const struct writer *w = ctx;
    for (int i = 0; i < ADDS; i++) {
        metric_add(w->counted, w->shard, 1);
        metric_observe(w->observed, w->shard, (uint64_t)i * 1000);
        metric_gauge_add(w->level, w->shard, i % 2 == 0 ? 1 : -1);
    }
    return NULL;
}

static void nothing_is_lost_when_every_shard_is_written_at_once(void **state)
{
    struct writer writers[SHARDS];
    pthread_t threads[SHARDS];
    struct metric_series *counted = series(family(*state, &counter), "a");
    struct metric_series *observed = series(family(*state, &duration), NULL);
    struct metric_series *level = series(family(*state, &gauge), NULL);
    for (unsigned i = 0; i < SHARDS; i++) {
        writers[i] = (struct writer){counted, observed, level, i};
        assert_int_equal(pthread_create(&threads[i], NULL, write_shard, &writers[i]), 0);
    }
    for (unsigned i = 0; i < SHARDS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_true(metric_read(counted) == SHARDS * ADDS);
    assert_true(metric_read(observed) == SHARDS * ADDS);
    assert_true(metric_read(level) == 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
static const struct CMUnitTest tests[] = {
    CASE(a_counter_is_the_sum_of_its_shards),
    CASE(a_gauge_may_go_up_on_one_shard_and_down_on_another),
    CASE(a_gauge_shows_the_last_value_it_was_set_to),
    CASE(a_counter_kept_elsewhere_is_set),
    CASE(a_histogram_reads_as_the_number_of_its_observations),
    CASE(a_series_is_made_once_for_the_same_label_values),
    CASE(series_are_removed_from_any_place_and_made_again_at_zero),
    CASE(a_series_stays_until_its_last_user_has_left),
    CASE(wrong_use_aborts),
    CASE(nothing_is_lost_when_every_shard_is_written_at_once),
};

T_MAIN(tests)
