/* The window against sums computed afresh from the rows that should be in it. */
#include "model/quality.h"

#include "tests/support/t.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#define SECOND ((uint64_t)1000000000)

static struct quality *new_window(size_t rows, uint64_t age_ns, double offset)
{
    struct error err = {0};
    struct quality_config config = {rows, age_ns, offset};
    struct quality *quality = quality_new(&config, &err);
    if (quality == NULL)
        fail_msg("%s", err.message);
    return quality;
}

static void add(struct quality *quality, uint64_t time_ns, double prediction, double target)
{
    struct quality_row row = {time_ns, prediction, target, QUALITY_NO_INTERVAL};
    assert_true(quality_add(quality, &row));
}

static struct quality_report read_at(struct quality *quality, uint64_t now_ns)
{
    struct quality_report report;
    quality_read(quality, now_ns, &report);
    return report;
}

static double uniform(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (double)(*state >> 11) * 0x1p-53;
}

static void figures_are_those_of_the_textbook(void **state)
{
    (void)state;
    struct quality *quality = new_window(10, 0, 3);
    const double predictions[] = {1, 2.5, 3, 5}, targets[] = {1.5, 2, 3.5, 4};
    for (size_t i = 0; i < 4; i++)
        add(quality, i + 1, predictions[i], targets[i]);
    struct quality_report r = read_at(quality, 4);
    assert_int_equal(r.rows, 4);
    assert_close(r.mae, 2.5 / 4, 0);
    assert_close(r.rmse, sqrt(1.75 / 4), 1e-15);
    assert_close(r.bias, 0.5 / 4, 0);
    /* mean 2.75: spread 1.5625 + 0.5625 + 0.5625 + 1.5625 = 4.25 */
    assert_close(r.r2, 1 - 1.75 / 4.25, 1e-15);
    assert_close(r.deviation_sum, -1.0, 0);
    assert_close(r.deviation_squared_sum, 4.5, 0);
    assert_true(isnan(r.coverage));
    assert_int_equal(r.last_time_ns, 4);
    quality_free(quality);
}

static void an_empty_window_has_no_figures(void **state)
{
    (void)state;
    struct quality *quality = new_window(5, SECOND, 0);
    struct quality_report r = read_at(quality, 0);
    assert_int_equal(r.rows, 0);
    assert_true(isnan(r.mae) && isnan(r.rmse) && isnan(r.bias) && isnan(r.r2) && isnan(r.coverage));
    assert_int_equal(r.last_time_ns, 0);
    add(quality, 7 * SECOND, 1e100, 3);
    r = read_at(quality, 8 * SECOND);
    assert_int_equal(r.rows, 0);
    assert_true(isnan(r.mae) && r.absolute_error_sum == 0 && r.squared_error_sum == 0);
    assert_int_equal(r.last_time_ns, 7 * SECOND);
    quality_free(quality);
}

static void a_row_too_many_pushes_the_oldest_out(void **state)
{
    (void)state;
    struct quality *quality = new_window(3, 0, 0);
    for (uint64_t i = 0; i < 10; i++)
        add(quality, i, (double)i, 0);
    struct quality_report r = read_at(quality, 1000 * SECOND);
    assert_int_equal(r.rows, 3);
    assert_close(r.absolute_error_sum, 7.0 + 8 + 9, 0);
    quality_free(quality);
}

static void a_row_leaves_when_it_reaches_the_age(void **state)
{
    (void)state;
    struct quality *quality = new_window(100, 10 * SECOND, 0);
    for (uint64_t i = 1; i <= 5; i++)
        add(quality, i * SECOND, (double)i, 0);
    assert_int_equal(read_at(quality, 11 * SECOND - 1).rows, 5);
    assert_int_equal(read_at(quality, 11 * SECOND).rows, 4);
    add(quality, 14 * SECOND, 100, 0);
    struct quality_report r = read_at(quality, 14 * SECOND);
    assert_int_equal(r.rows, 2);
    assert_close(r.absolute_error_sum, 105.0, 0);
    quality_free(quality);
}

static void a_clock_set_back_keeps_rows_and_breaks_nothing(void **state)
{
    (void)state;
    struct quality *quality = new_window(100, 10 * SECOND, 0);
    add(quality, 100 * SECOND, 1, 0);
    add(quality, 5 * SECOND, 2, 0);
    assert_int_equal(read_at(quality, 5 * SECOND).rows, 2);
    assert_int_equal(read_at(quality, 5 * SECOND).last_time_ns, 100 * SECOND);
    assert_int_equal(read_at(quality, 110 * SECOND).rows, 0);
    quality_free(quality);
}

static void r2_is_undefined_where_the_targets_do_not_vary(void **state)
{
    (void)state;
    uint64_t seed = 5;
    /* 0.1 and 1e9 / 3 have no exact square or multiple */
    const double targets[] = {0, 0.1, 2, 1e9 / 3, 1e-200, -1e149};
    for (size_t t = 0; t < sizeof targets / sizeof *targets; t++) {
        struct quality *quality = new_window(777, 0, 2);
        for (uint64_t i = 0; i < 2000; i++) {
            add(quality, i, uniform(&seed), targets[t]);
            assert_true(isnan(read_at(quality, i).r2));
        }
        quality_free(quality);
    }
}

/* Of 1e9 + small, sum of squares minus square of the sum would keep no digit in plain doubles. */
static void r2_is_exact_for_targets_far_from_the_offset(void **state)
{
    (void)state;
    enum { ROWS = 500 };
    uint64_t seed = 6;
    struct quality *quality = new_window(ROWS, 0, 0);
    double predictions[ROWS], targets[ROWS], mean = 0, spread = 0, squares = 0;
    for (size_t i = 0; i < ROWS; i++) {
        targets[i] = 1e9 + round(uniform(&seed) * 1024) / 1024;
        predictions[i] = targets[i] + (uniform(&seed) - 0.5) * 0.25;
        add(quality, i, predictions[i], targets[i]);
        mean += (targets[i] - 1e9) / ROWS;
    }
    for (size_t i = 0; i < ROWS; i++) {
        spread += (targets[i] - 1e9 - mean) * (targets[i] - 1e9 - mean);
        squares += (predictions[i] - targets[i]) * (predictions[i] - targets[i]);
    }
    assert_close(read_at(quality, ROWS).r2, 1 - squares / spread, 1e-12);
    quality_free(quality);
}

static void coverage_counts_only_rows_with_an_interval(void **state)
{
    (void)state;
    struct quality *quality = new_window(5, 0, 0);
    static const enum quality_interval hits[] = {
        QUALITY_OUTSIDE,     QUALITY_OUTSIDE, QUALITY_INSIDE, QUALITY_INSIDE,
        QUALITY_NO_INTERVAL, QUALITY_INSIDE,  QUALITY_OUTSIDE};
    for (size_t i = 0; i < 7; i++) {
        struct quality_row row = {i, 1, 2, hits[i]};
        assert_true(quality_add(quality, &row));
    }
    struct quality_report r = read_at(quality, 7);
    assert_int_equal(r.interval_rows, 4);
    assert_close(r.coverage, 0.75, 0);
    quality_free(quality);
}

static void numbers_whose_squares_overflow_are_refused_whole(void **state)
{
    (void)state;
    struct quality *quality = new_window(5, 0, 1);
    const double bad[][2] = {{NAN, 1},   {1, NAN},   {INFINITY, 1},  {1, -INFINITY},
                             {2e150, 1}, {0, 2e150}, {1e308, -1e308}};
    add(quality, 1, 2, 3);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct quality_row row = {2, bad[i][0], bad[i][1], QUALITY_INSIDE};
        assert_false(quality_add(quality, &row));
    }
    struct quality_report r = read_at(quality, 3);
    assert_int_equal(r.rows, 1);
    assert_int_equal(r.interval_rows, 0);
    assert_int_equal(r.last_time_ns, 1);
    quality_free(quality);
}

/* Sums of the rows that should be left, in arithmetic with 128-bit integers: errors and deviations are
 * multiples of 2^-30 below 2^23, so every square is a multiple of 2^-60 below 2^46. */
__extension__ typedef __int128 wide;
struct fresh {
    wide absolute, error, squared, deviation, squared_deviation;
};

static struct fresh sums_afresh(const int64_t (*terms)[2], size_t end, size_t rows)
{
    struct fresh f = {0, 0, 0, 0, 0};
    for (size_t i = end > rows ? end - rows : 0; i < end; i++) {
        wide e = terms[i][0], d = terms[i][1];
        f.absolute += e < 0 ? -e : e;
        f.error += e;
        f.squared += e * e;
        f.deviation += d;
        f.squared_deviation += d * d;
    }
    return f;
}

static void millions_of_updates_leave_exactly_the_sums_of_the_window(void **state)
{
    (void)state;
    enum { UPDATES = 1000000, ROWS = 300 };
    uint64_t seed = 7;
    struct quality *quality = new_window(ROWS, 0, 0);
    int64_t(*terms)[2] = calloc(UPDATES, sizeof *terms);
    assert_non_null(terms);
    for (size_t i = 0; i < UPDATES; i++) {
        /* sizes from 2^-30 to 2^23, so that the small ones drown in any rounded sum */
        terms[i][1] = (int64_t)ldexp(uniform(&seed) - 0.5, (int)(i * 7 % 53));
        terms[i][0] = (int64_t)ldexp(uniform(&seed) - 0.5, (int)(i * 11 % 53)) / 4;
        double target = ldexp((double)terms[i][1], -30);
        add(quality, i, target + ldexp((double)terms[i][0], -30), target);
        if (i % 1000 != 999)
            continue;
        struct quality_report r = read_at(quality, i);
        struct fresh f = sums_afresh((const int64_t(*)[2])terms, i + 1, ROWS);
        assert_close(r.absolute_error_sum, ldexp((double)f.absolute, -30), 0);
        assert_close(r.error_sum, ldexp((double)f.error, -30), 0);
        assert_close(r.squared_error_sum, ldexp((double)f.squared, -60), 0);
        assert_close(r.deviation_sum, ldexp((double)f.deviation, -30), 0);
        assert_close(r.deviation_squared_sum, ldexp((double)f.squared_deviation, -60), 0);
    }
    free(terms);
    quality_free(quality);
}

/* After rows of 1e149 and 1e-300 have come and gone, the window has the bits of one that never saw them. */
static void huge_and_tiny_rows_leave_no_trace(void **state)
{
    (void)state;
    enum { ROWS = 64 };
    uint64_t seed = 8;
    struct quality *used = new_window(ROWS, 0, 1), *fresh = new_window(ROWS, 0, 1);
    for (uint64_t i = 0; i < 200000; i++) {
        double scale = pow(10, uniform(&seed) * 449 - 300);
        add(used, i, (uniform(&seed) - 0.5) * scale, (uniform(&seed) - 0.5) * scale);
    }
    for (uint64_t i = 0; i < ROWS; i++) {
        double prediction = uniform(&seed), target = uniform(&seed);
        add(used, i, prediction, target);
        add(fresh, i, prediction, target);
    }
    struct quality_report a = read_at(used, 0), b = read_at(fresh, 0);
    assert_close(a.mae, b.mae, 0);
    assert_close(a.rmse, b.rmse, 0);
    assert_close(a.bias, b.bias, 0);
    assert_close(a.r2, b.r2, 0);
    assert_close(a.deviation_sum, b.deviation_sum, 0);
    assert_close(a.deviation_squared_sum, b.deviation_squared_sum, 0);
    quality_free(used);
    quality_free(fresh);
}

static void added_sums_of_two_windows_give_the_figures_of_both(void **state)
{
    (void)state;
    uint64_t seed = 9;
    struct quality *all = new_window(1000, 0, 2),
                   *part[2] = {new_window(1000, 0, 2), new_window(1000, 0, 2)};
    for (uint64_t i = 0; i < 600; i++) {
        double target = 4 * uniform(&seed), prediction = target + uniform(&seed) - 0.5;
        add(all, i, prediction, target);
        add(part[i % 3 == 0], i, prediction, target);
    }
    struct quality_report whole = read_at(all, 0), a = read_at(part[0], 0), b = read_at(part[1], 0);
    double rows = (double)(a.rows + b.rows), dev = a.deviation_sum + b.deviation_sum;
    double spread = a.deviation_squared_sum + b.deviation_squared_sum - dev * dev / rows;
    assert_close((a.absolute_error_sum + b.absolute_error_sum) / rows, whole.mae, 1e-14);
    assert_close(1 - (a.squared_error_sum + b.squared_error_sum) / spread, whole.r2, 1e-13);
    quality_free(all);
    quality_free(part[0]);
    quality_free(part[1]);
}

static void a_window_of_no_or_too_many_rows_is_refused(void **state)
{
    (void)state;
    const struct quality_config bad[] = {
        {0, 0, 0}, {(size_t)QUALITY_ROWS_MAX + 1, 0, 0}, {10, 0, NAN}};
    const char *const words[] = {"expected 1 to", "got 16777217", "finite offset"};
    for (size_t i = 0; i < 3; i++) {
        struct error err = {0};
        assert_null(quality_new(&bad[i], &err));
        assert_contains(err.message, words[i]);
    }
    quality_free(NULL);
}

static void *add_many(void *window)
{
    for (uint64_t i = 0; i < 20000; i++)
        add(window, i, 1.5, 1);
    return NULL;
}

static void threads_add_while_another_reads(void **state)
{
    (void)state;
    enum { ADDERS = 3 };
    struct quality *quality = new_window(1000, 0, 0);
    pthread_t threads[ADDERS];
    for (size_t i = 0; i < ADDERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add_many, quality), 0);
    for (int i = 0; i < 200; i++) {
        struct quality_report r = read_at(quality, 0);
        assert_true(r.absolute_error_sum == 0.5 * (double)r.rows);
    }
    for (size_t i = 0; i < ADDERS; i++)
        (void)pthread_join(threads[i], NULL);
    assert_int_equal(read_at(quality, 0).rows, 1000);
    quality_free(quality);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(figures_are_those_of_the_textbook),
    cmocka_unit_test(an_empty_window_has_no_figures),
    cmocka_unit_test(a_row_too_many_pushes_the_oldest_out),
    cmocka_unit_test(a_row_leaves_when_it_reaches_the_age),
    cmocka_unit_test(a_clock_set_back_keeps_rows_and_breaks_nothing),
    cmocka_unit_test(r2_is_undefined_where_the_targets_do_not_vary),
    cmocka_unit_test(r2_is_exact_for_targets_far_from_the_offset),
    cmocka_unit_test(coverage_counts_only_rows_with_an_interval),
    cmocka_unit_test(numbers_whose_squares_overflow_are_refused_whole),
    cmocka_unit_test(millions_of_updates_leave_exactly_the_sums_of_the_window),
    cmocka_unit_test(huge_and_tiny_rows_leave_no_trace),
    cmocka_unit_test(added_sums_of_two_windows_give_the_figures_of_both),
    cmocka_unit_test(a_window_of_no_or_too_many_rows_is_refused),
    cmocka_unit_test(threads_add_while_another_reads),
};

T_MAIN(tests)
