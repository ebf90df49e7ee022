/* That a bound holds as often as it says, and that nothing passes which should not. */
#include "model/bootstrap.h"

#include "model/random.h"
#include "tests/support/t.h"

#include <math.h>

static double bound(const struct bootstrap *b, double confidence, double *mean)
{
    double lower;
    struct error err = {0};
    if (!bootstrap_bound(b, confidence, mean, &lower, &err))
        fail_msg("%s", err.message);
    return lower;
}

/* The sum of three uniform numbers less their mean: variance 1/4. */
static double noise(uint64_t *random)
{
    double sum = -1.5;
    for (int i = 0; i < 3; i++)
        sum += (double)(random_next(random) >> 11) * 0x1p-53;
    return sum;
}

static void fill(struct bootstrap *b, size_t n, double mean, uint64_t seed)
{
    struct error err = {0};
    assert_true(bootstrap_init(b, &err));
    for (size_t i = 0; i < n; i++)
        bootstrap_add(b, mean + noise(&seed));
}

static void equal_numbers_are_never_above_zero(void **state)
{
    (void)state;
    struct bootstrap b;
    double mean;
    struct error err = {0};
    assert_true(bootstrap_init(&b, &err));
    for (size_t i = 0; i < 1000; i++)
        bootstrap_add(&b, 0);
    assert_close(bound(&b, 0.5, &mean), 0, 0);
    assert_close(mean, 0, 0);
    bootstrap_clear(&b);
}

/* The mean of n such numbers is nearly normal with deviation 0.5 / sqrt(n). */
static void the_bound_is_the_normal_one_where_that_is_right(void **state)
{
    (void)state;
    struct bootstrap b;
    double mean;
    fill(&b, 2500, 0.3, 1);
    (void)bound(&b, 0.95, &mean);
    double deviation = 0.01;
    double at_95 = (mean - bound(&b, 0.95, &mean)) / deviation;
    double at_50 = (mean - bound(&b, 0.5, &mean)) / deviation;
    double at_999 = (mean - bound(&b, 0.999, &mean)) / deviation;
    assert_true(fabs(at_95 - 1.645) < 0.08);
    assert_true(fabs(at_50) < 0.05);
    assert_true(fabs(at_999 - 3.09) < 0.3);
    bootstrap_clear(&b);
}

/* Of models that are as good as their champion, one in twenty may pass: 400 trials, so 20 +- 4.4. */
static void as_many_pass_by_chance_as_the_confidence_says(void **state)
{
    (void)state;
    unsigned passed = 0;
    double mean;
    for (uint64_t trial = 0; trial < 400; trial++) {
        struct bootstrap b;
        fill(&b, 60, 0, trial * 1000003);
        passed += bound(&b, 0.95, &mean) > 0;
        bootstrap_clear(&b);
    }
    assert_in_range(passed, 9, 34);
}

static void a_clear_gain_passes_and_a_loss_never(void **state)
{
    (void)state;
    double mean;
    for (int sign = -1; sign <= 1; sign += 2) {
        struct bootstrap b;
        fill(&b, 200, sign * 0.2, 5);
        assert_int_equal(bound(&b, 0.95, &mean) > 0, sign > 0);
        bootstrap_clear(&b);
    }
}

static void too_few_numbers_give_no_bound(void **state)
{
    (void)state;
    struct bootstrap b;
    double mean;
    fill(&b, 0, 0, 1);
    assert_true(isnan(bound(&b, 0.95, &mean)) && isnan(mean));
    for (size_t i = 0; i < BOOTSTRAP_ROWS_MIN; i++) {
        assert_true(isnan(bound(&b, 0.95, &mean)));
        bootstrap_add(&b, 1);
    }
    assert_close(bound(&b, 0.95, &mean), 1, 1e-15);
    bootstrap_clear(&b);
}

static void more_numbers_than_blocks_share_them(void **state)
{
    (void)state;
    struct bootstrap b;
    double mean;
    size_t n = 2 * BOOTSTRAP_BLOCKS_MAX + 3;
    fill(&b, n, 0.01, 9);
    assert_int_equal(b.rows, n);
    assert_int_equal(b.block_rows, 4);
    assert_int_equal(b.blocks, n / 4 + 1);
    double lower = bound(&b, 0.95, &mean), deviation = 0.5 / sqrt((double)n);
    assert_true(fabs((mean - lower) / deviation - 1.645) < 0.1);
    bootstrap_clear(&b);
}

static void numbers_that_overflow_are_refused(void **state)
{
    (void)state;
    struct bootstrap b;
    double mean, lower;
    struct error err = {0};
    fill(&b, 100, 0, 1);
    bootstrap_add(&b, INFINITY);
    assert_false(bootstrap_bound(&b, 0.95, &mean, &lower, &err));
    assert_int_equal(err.code, ERR_NUMERIC);
    bootstrap_clear(&b);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(equal_numbers_are_never_above_zero),
    cmocka_unit_test(the_bound_is_the_normal_one_where_that_is_right),
    cmocka_unit_test(as_many_pass_by_chance_as_the_confidence_says),
    cmocka_unit_test(a_clear_gain_passes_and_a_loss_never),
    cmocka_unit_test(too_few_numbers_give_no_bound),
    cmocka_unit_test(more_numbers_than_blocks_share_them),
    cmocka_unit_test(numbers_that_overflow_are_refused),
};

T_MAIN(tests)
