/* The pass against a long double sum over the same map, its exponential against exp2l over the whole
 * range, and the versions of it bit by bit against one another. */
#include "model/kernel.h"

#include "tests/support/t.h"

#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t next_random(uint64_t *seed)
{
    *seed += 0x9e3779b97f4a7c15u;
    uint64_t z = (*seed ^ *seed >> 30) * 0xbf58476d1ce4e5b9u;
    return (z ^ z >> 27) * 0x94d049bb133111ebu;
}

static double uniform(uint64_t *seed)
{
    return (double)(next_random(seed) >> 11) * 0x1p-53;
}

enum { INPUTS_MAX = 20, CENTRES_MAX = 200, DIRECTIONS_MAX = 6 };

/* A map in storage that a case may spoil. */
struct sample {
    struct kernel_direction directions[DIRECTIONS_MAX];
    double scales[INPUTS_MAX + DIRECTIONS_MAX], centres[CENTRES_MAX * INPUTS_MAX];
    double coefficients[CENTRES_MAX + KERNEL_LANES], u[INPUTS_MAX];
    struct kernel_map map;
};

/* Two inputs, one direction of each sort, three centres. */
static void make_sample(struct sample *s)
{
    *s = (struct sample){.directions = {{0, 1, false}, {1, 0, true}},
                         .scales = {0.5, 0.25, 0.125, 2},
                         .centres = {1, 2, -1, 0.5, 0, 0},
                         .coefficients = {3, -1, 0.5},
                         .u = {0.25, -0.5},
                         .map = {.inputs = 2, .direction_count = 2, .centre_count = 3}};
    s->map.directions = s->directions;
    s->map.scales = s->scales;
    s->map.centres = s->centres;
}

static void make_random(struct sample *s, uint64_t *seed)
{
    make_sample(s);
    s->map.inputs = 1 + next_random(seed) % INPUTS_MAX;
    s->map.centre_count = 1 + next_random(seed) % CENTRES_MAX;
    s->map.direction_count = s->map.inputs > 1 ? next_random(seed) % (DIRECTIONS_MAX + 1) : 0;
    for (size_t d = 0; d < s->map.direction_count; d++) {
        unsigned a = (unsigned)(next_random(seed) % s->map.inputs);
        unsigned b = (unsigned)((a + 1 + next_random(seed) % (s->map.inputs - 1)) % s->map.inputs);
        s->directions[d] = (struct kernel_direction){a, b, next_random(seed) % 2 == 0};
    }
    for (size_t j = 0; j < s->map.inputs + s->map.direction_count; j++)
        s->scales[j] = next_random(seed) % 4 == 0 ? 0 : exp(4 * uniform(seed) - 3);
    for (size_t i = 0; i < s->map.centre_count * s->map.inputs; i++)
        s->centres[i] = round((uniform(seed) * 8 - 4) * 1e4) / 1e4;
    memset(s->coefficients, 0, sizeof s->coefficients);
    for (size_t m = 0; m < s->map.centre_count; m++)
        s->coefficients[m] = (uniform(seed) - 0.5) * exp(6 * uniform(seed));
    for (size_t j = 0; j < s->map.inputs; j++)
        s->u[j] = uniform(seed) * 8 - 4;
}

static struct kernel *new_kernel(const struct sample *s)
{
    struct error err = {0};
    struct kernel *kernel = kernel_new(&s->map, &err);
    if (kernel == NULL)
        fail_msg("%s", err.message);
    return kernel;
}

static void assert_refused(const struct sample *s, enum error_code code, const char *part)
{
    struct error err = {0};
    assert_null(kernel_new(&s->map, &err));
    assert_int_equal(err.code, code);
    assert_contains(err.message, part);
}

/* ---- against the formula ---- */

static long double column(const struct sample *s, const double *u, size_t j)
{
    if (j < s->map.inputs)
        return u[j];
    const struct kernel_direction *d = &s->directions[j - s->map.inputs];
    return d->difference ? (long double)u[d->a] - u[d->b] : (long double)u[d->a] + u[d->b];
}

static long double distance(const struct sample *s, size_t m)
{
    long double sum = 0;
    for (size_t j = 0; j < s->map.inputs + s->map.direction_count; j++)
        sum +=
            s->scales[j] * fabsl(column(s, s->u, j) - column(s, s->centres + m * s->map.inputs, j));
    return sum;
}

static void value_is_the_exponential_of_the_scaled_distance(void **state)
{
    (void)state;
    struct sample s;
    double out[KERNEL_LANES];
    make_sample(&s);
    struct kernel *kernel = new_kernel(&s);
    assert_int_equal(kernel_padded(kernel), 8);
    kernel_row(kernel, s.u, out);
    /* (0.25, -0.5) from (1, 2): 0.75 and 2.5, the sums 3.25, the differences 1.75 apart */
    assert_close(out[0], exp(-(0.5 * 0.75 + 0.25 * 2.5 + 0.125 * 3.25 + 2 * 1.75)), 2e-15);
    assert_close(out[1], exp(-(0.5 * 1.25 + 0.25 * 1.0 + 0.125 * 0.25 + 2 * 2.25)), 2e-15);
    assert_close(out[2], exp(-(0.5 * 0.25 + 0.25 * 0.5 + 0.125 * 0.25 + 2 * 0.75)), 2e-15);
    for (size_t m = 3; m < KERNEL_LANES; m++)
        assert_close(out[m], 0.0, 0);
    assert_close(kernel_sum(kernel, s.u, s.coefficients), 3 * out[0] - out[1] + 0.5 * out[2],
                 1e-15);
    kernel_free(kernel);
}

static void row_and_sum_agree_with_long_double_arithmetic(void **state)
{
    (void)state;
    uint64_t seed = 11;
    for (int round = 0; round < 300; round++) {
        struct sample s;
        double out[CENTRES_MAX + KERNEL_LANES];
        long double sum = 0, size = 0;
        make_random(&s, &seed);
        struct kernel *kernel = new_kernel(&s);
        kernel_row(kernel, s.u, out);
        for (size_t m = 0; m < s.map.centre_count; m++) {
            long double exact = expl(-distance(&s, m));
            /* What is rounded are terms of some 100 units of 1e-16, not their difference alone. */
            assert_close(out[m], (double)exact, 1e-13);
            sum += s.coefficients[m] * exact;
            size += fabsl(s.coefficients[m] * exact);
        }
        double got = kernel_sum(kernel, s.u, s.coefficients);
        assert_true(fabsl(got - sum) <= 1e-13L * size);
        kernel_free(kernel);
    }
}

static void value_at_a_centre_is_exactly_one(void **state)
{
    (void)state;
    uint64_t seed = 12;
    for (int round = 0; round < 100; round++) {
        struct sample s;
        double out[CENTRES_MAX + KERNEL_LANES];
        make_random(&s, &seed);
        struct kernel *kernel = new_kernel(&s);
        for (size_t m = 0; m < s.map.centre_count; m++) {
            kernel_row(kernel, s.centres + m * s.map.inputs, out);
            assert_close(out[m], 1.0, 0);
        }
        kernel_free(kernel);
    }
}

/* ---- the exponential ---- */

/* One centre at 0 and a scale whose quotient by ln 2 is exactly 1: k(u) = 2^-|u|. */
static struct kernel *new_exponential(struct sample *s)
{
    make_sample(s);
    s->scales[0] = 0x1.62e42fefa39efp-1;
    s->centres[0] = 0;
    s->map.inputs = s->map.centre_count = 1;
    s->map.direction_count = 0;
    return new_kernel(s);
}

static double exp2_minus(const struct kernel *kernel, double x)
{
    double out[KERNEL_LANES];
    kernel_row(kernel, &x, out);
    return out[0];
}

static void exponential_is_within_two_to_the_minus_51_wherever_it_is_normal(void **state)
{
    (void)state;
    struct sample s;
    uint64_t seed = 13;
    long double worst = 0;
    struct kernel *kernel = new_exponential(&s);
    for (int i = 0; i < 400000; i++) {
        double x = i % 4 == 0   ? 1021 * uniform(&seed)
                   : i % 4 == 1 ? 40 * uniform(&seed)
                   : i % 4 == 2 ? round(1020 * uniform(&seed)) + 0.5 - 1e-3 * uniform(&seed)
                                : ldexp(uniform(&seed), -(int)(next_random(&seed) % 1070));
        long double exact = exp2l(-(long double)x);
        long double error = fabsl(exp2_minus(kernel, x) - exact) / exact;
        worst = error > worst ? error : worst;
    }
    /* Were it far below, this would not be the function that is served. */
    assert_true(worst <= 0x1p-51L && worst > 0x1p-53L);
    kernel_free(kernel);
}

static void exponential_ends_in_zero_and_never_in_a_subnormal(void **state)
{
    (void)state;
    struct sample s;
    struct kernel *kernel = new_exponential(&s);
    const double far[] = {1021,    nextafter(1021, 2000),
                          1022,    1074,
                          1075,    2047,
                          4096,    1e6,
                          1e15,    0x1p52,
                          0x1p53,  1e100,
                          1e300,   DBL_MAX,
                          INFINITY};
    assert_close(exp2_minus(kernel, 0), 1.0, 0);
    assert_close(exp2_minus(kernel, 1), 0.5, 0);
    assert_close(exp2_minus(kernel, 1020), 0x1p-1020, 0);
    assert_true(exp2_minus(kernel, nextafter(1021, 0)) > DBL_MIN);
    for (size_t i = 0; i < sizeof far / sizeof *far; i++) {
        assert_true(exp2_minus(kernel, far[i]) == 0);
        assert_true(exp2_minus(kernel, -far[i]) == 0);
    }
    kernel_free(kernel);
}

/* ---- the versions ---- */

static void set_far(struct sample *s, uint64_t *seed)
{
    static const double far[] = {1e3,     -1e5,     1e18,     -1e100,   1e300,
                                 DBL_MAX, -DBL_MAX, INFINITY, -INFINITY};
    s->u[next_random(seed) % s->map.inputs] = far[next_random(seed) % (sizeof far / sizeof *far)];
}

static void assert_same_bits(struct kernel *kernel, const struct sample *s)
{
    double expected[CENTRES_MAX + KERNEL_LANES], out[CENTRES_MAX + KERNEL_LANES], sum, again;
    size_t bytes = kernel_padded(kernel) * sizeof *out;
    kernel_set_pass(kernel, KERNEL_BASELINE);
    kernel_row(kernel, s->u, expected);
    sum = kernel_sum(kernel, s->u, s->coefficients);
    assert_true(isfinite(sum));
    for (enum kernel_pass pass = 0; pass < KERNEL_PASS_COUNT; pass++) {
        if (!kernel_pass_runs(pass))
            continue;
        kernel_set_pass(kernel, pass);
        kernel_row(kernel, s->u, out);
        assert_memory_equal(out, expected, bytes);
        again = kernel_sum(kernel, s->u, s->coefficients);
        assert_memory_equal(&again, &sum, sizeof sum);
    }
}

static void all_versions_give_the_same_bits(void **state)
{
    (void)state;
    uint64_t seed = 14;
    for (int round = 0; round < 1000; round++) {
        struct sample s;
        make_random(&s, &seed);
        if (round < 70)
            s.map.centre_count = (size_t)round % 35 + 1; /* each rest of a group */
        if (round % 10 == 1)
            memset(s.scales, 0, sizeof s.scales);
        struct kernel *kernel = new_kernel(&s);
        assert_same_bits(kernel, &s);
        set_far(&s, &seed);
        assert_same_bits(kernel, &s);
        kernel_free(kernel);
    }
}

static void sum_is_that_of_the_row_in_eight_fixed_lanes(void **state)
{
    (void)state;
    uint64_t seed = 15;
    for (int round = 0; round < 200; round++) {
        struct sample s;
        double out[CENTRES_MAX + KERNEL_LANES], lane[KERNEL_LANES] = {0};
        make_random(&s, &seed);
        struct kernel *kernel = new_kernel(&s);
        kernel_row(kernel, s.u, out);
        for (size_t m = 0; m < kernel_padded(kernel); m++)
            lane[m % 8] = fma(out[m], s.coefficients[m], lane[m % 8]);
        double sum = ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
                     ((lane[1] + lane[5]) + (lane[3] + lane[7]));
        assert_close(kernel_sum(kernel, s.u, s.coefficients), sum, 0);
        kernel_free(kernel);
    }
}

static void pass_stays_within_the_arrays_however_they_are_aligned(void **state)
{
    (void)state;
    uint64_t seed = 16;
    for (int round = 0; round < 40; round++) {
        struct sample s;
        double expected[CENTRES_MAX + KERNEL_LANES];
        make_random(&s, &seed);
        struct kernel *kernel = new_kernel(&s);
        size_t bytes = kernel_padded(kernel) * sizeof(double);
        kernel_row(kernel, s.u, expected);
        char *u = t_guarded(s.u, s.map.inputs * sizeof(double));
        char *out = t_guarded(expected, bytes), *coefficients = t_guarded(s.coefficients, bytes);
        memset(out, 0xff, bytes);
        kernel_row(kernel, (const double *)(void *)u, (double *)(void *)out);
        assert_memory_equal(out, expected, bytes);
        double sum = kernel_sum(kernel, s.u, s.coefficients);
        assert_close(kernel_sum(kernel, s.u, (const double *)(void *)coefficients), sum, 0);
        memmove(s.coefficients + 1, s.coefficients, bytes);
        assert_close(kernel_sum(kernel, s.u, s.coefficients + 1), sum, 0);
        t_guarded_free(u, s.map.inputs * sizeof(double));
        t_guarded_free(out, bytes);
        t_guarded_free(coefficients, bytes);
        kernel_free(kernel);
    }
}

/* ---- far rows ---- */

static void far_row_is_zero_and_never_nan(void **state)
{
    (void)state;
    uint64_t seed = 17;
    for (int round = 0; round < 300; round++) {
        struct sample s;
        double out[CENTRES_MAX + KERNEL_LANES];
        make_random(&s, &seed);
        s.scales[0] = 0.125; /* so that the column counts */
        struct kernel *kernel = new_kernel(&s);
        for (size_t j = 1; j < s.map.inputs; j++)
            set_far(&s, &seed);
        s.u[0] = round % 2 == 0 ? -INFINITY : DBL_MAX;
        kernel_row(kernel, s.u, out);
        for (size_t m = 0; m < s.map.centre_count; m++)
            assert_true(out[m] == 0);
        assert_true(kernel_sum(kernel, s.u, s.coefficients) == 0);
        kernel_free(kernel);
    }
}

static void column_of_scale_zero_does_not_count_wherever_the_row_is(void **state)
{
    (void)state;
    struct sample s;
    double near[KERNEL_LANES], far[KERNEL_LANES];
    make_sample(&s);
    s.map.direction_count = 0;
    s.scales[1] = 0;
    struct kernel *kernel = new_kernel(&s);
    kernel_row(kernel, s.u, near);
    const double values[] = {1e300, -DBL_MAX, INFINITY};
    for (size_t i = 0; i < 3; i++) {
        s.u[1] = values[i];
        kernel_row(kernel, s.u, far);
        assert_memory_equal(far, near, sizeof far);
    }
    kernel_free(kernel);
}

/* ---- what it refuses ---- */

static void new_refuses_counts_beyond_the_bounds(void **state)
{
    (void)state;
    struct sample s;
    make_sample(&s);
    s.map.centre_count = 0;
    assert_refused(&s, ERR_INVALID, "map.centres: expected 1 to 16384, got 0");
    /* None of these may be looked at: there are only three. */
    s.map.centre_count = KERNEL_CENTRES_MAX + 1;
    assert_refused(&s, ERR_TOO_LARGE, "map.centres: expected 1 to 16384, got 16385");
    s.map.centre_count = SIZE_MAX;
    assert_refused(&s, ERR_TOO_LARGE, "map.centres");
    make_sample(&s);
    s.map.inputs = 0;
    assert_refused(&s, ERR_INVALID, "map.centres: expected 1 to 4096 inputs");
    s.map.inputs = SIZE_MAX;
    assert_refused(&s, ERR_TOO_LARGE, "map.centres: expected 1 to 4096 inputs");
    s.map.inputs = KERNEL_INPUTS_MAX;
    s.map.centre_count = KERNEL_CENTRES_MAX;
    assert_refused(&s, ERR_TOO_LARGE, "map.centres: expected at most 8388608 numbers");
    make_sample(&s);
    s.map.direction_count = KERNEL_DIRECTIONS_MAX + 1;
    assert_refused(&s, ERR_TOO_LARGE, "map.directions: expected at most 64, got 65");
}

static void new_refuses_a_direction_that_is_not_of_two_inputs(void **state)
{
    (void)state;
    const struct kernel_direction bad[] = {
        {2, 0, true}, {0, 2, false}, {1, 1, false}, {0, UINT_MAX, true}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct sample s;
        make_sample(&s);
        s.directions[1] = bad[i];
        assert_refused(&s, ERR_INVALID, "map.directions[1]: expected two different inputs below 2");
    }
}

static void new_refuses_scales_and_centres_that_are_no_numbers(void **state)
{
    (void)state;
    const double bad[] = {NAN, INFINITY, -INFINITY};
    struct sample s;
    for (size_t i = 0; i < 3; i++) {
        make_sample(&s);
        s.scales[3] = bad[i];
        assert_refused(&s, ERR_INVALID, "map.scales[3]: expected a finite number >= 0");
        make_sample(&s);
        s.centres[4] = bad[i];
        assert_refused(&s, ERR_INVALID, "map.centres[4]: expected a finite number");
    }
    make_sample(&s);
    s.scales[0] = -DBL_MIN;
    assert_refused(&s, ERR_INVALID, "map.scales[0]");
}

static void new_refuses_centres_that_overflow_once_scaled(void **state)
{
    (void)state;
    struct sample s;
    make_sample(&s);
    s.centres[3] = 1e300;
    assert_refused(&s, ERR_INVALID, "centre 1 has larger ones");
    make_sample(&s);
    s.scales[2] = DBL_MAX; /* centre 2 lies at 0 of everything */
    assert_refused(&s, ERR_INVALID, "centre 0 has larger ones");
    make_sample(&s);
    s.scales[1] = 0;
    s.map.direction_count = 0;
    s.centres[3] = 1e300; /* nobody looks at that column */
    kernel_free(new_kernel(&s));
}

static void kernel_owes_nothing_to_the_map(void **state)
{
    (void)state;
    struct sample s;
    double before[KERNEL_LANES], after[KERNEL_LANES], u[2];
    make_sample(&s);
    memcpy(u, s.u, sizeof u);
    struct kernel *kernel = new_kernel(&s);
    kernel_row(kernel, u, before);
    memset(&s, 0xff, sizeof s);
    kernel_row(kernel, u, after);
    assert_memory_equal(after, before, sizeof after);
    kernel_free(kernel);
    kernel_free(NULL);
}

static void costs_grow_with_centres_and_columns(void **state)
{
    (void)state;
    struct sample s;
    make_sample(&s);
    struct kernel *few = new_kernel(&s);
    s.map.centre_count = 100;
    struct kernel *many = new_kernel(&s);
    assert_true(kernel_row_ns(few) > 0);
    assert_true(kernel_row_ns(many) > 5 * kernel_row_ns(few));
    kernel_set_pass(many, KERNEL_BASELINE);
    assert_true(kernel_row_ns(many) > 10 * kernel_row_ns(few));
    kernel_free(few);
    kernel_free(many);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(value_is_the_exponential_of_the_scaled_distance),
    cmocka_unit_test(row_and_sum_agree_with_long_double_arithmetic),
    cmocka_unit_test(value_at_a_centre_is_exactly_one),
    cmocka_unit_test(exponential_is_within_two_to_the_minus_51_wherever_it_is_normal),
    cmocka_unit_test(exponential_ends_in_zero_and_never_in_a_subnormal),
    cmocka_unit_test(all_versions_give_the_same_bits),
    cmocka_unit_test(sum_is_that_of_the_row_in_eight_fixed_lanes),
    cmocka_unit_test(pass_stays_within_the_arrays_however_they_are_aligned),
    cmocka_unit_test(far_row_is_zero_and_never_nan),
    cmocka_unit_test(column_of_scale_zero_does_not_count_wherever_the_row_is),
    cmocka_unit_test(new_refuses_counts_beyond_the_bounds),
    cmocka_unit_test(new_refuses_a_direction_that_is_not_of_two_inputs),
    cmocka_unit_test(new_refuses_scales_and_centres_that_are_no_numbers),
    cmocka_unit_test(new_refuses_centres_that_overflow_once_scaled),
    cmocka_unit_test(kernel_owes_nothing_to_the_map),
    cmocka_unit_test(costs_grow_with_centres_and_columns),
};

T_MAIN(tests)
