/* The exact sum against two other exact ways: 128-bit fixed point, and expansions of doubles. */
#include "model/exact_sum.h"

#include "tests/support/t.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

__extension__ typedef __int128 wide;

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Any finite double: every sign, exponent and significand. */
static double any_double(uint64_t *state)
{
    uint64_t bits;
    double x;
    do {
        bits = next_random(state);
        memcpy(&x, &bits, sizeof x);
    } while (!isfinite(x));
    return x;
}

/* Shewchuk's expansion: parts that do not overlap and whose sum is exactly that of the terms. */
struct expansion {
    double part[512];
    size_t count;
};

static void expansion_add(struct expansion *e, double x)
{
    size_t kept = 0;
    for (size_t i = 0; i < e->count; i++) {
        double y = e->part[i], sum = x + y, back = sum - x;
        double rest = (x - (sum - back)) + (y - back);
        if (rest != 0)
            e->part[kept++] = rest;
        x = sum;
    }
    e->part[kept++] = x;
    assert_true(kept < sizeof e->part / sizeof *e->part);
    e->count = kept;
}

/* The expansion is the same number as the sum: taken away, nothing is left. */
static void assert_same(const struct exact_sum *sum, const struct expansion *e)
{
    struct exact_sum rest = *sum;
    for (size_t i = 0; i < e->count; i++)
        exact_sum_add(&rest, -e->part[i]);
    assert_true(exact_sum_value(&rest) == 0);
}

static void one_term_comes_back_with_its_own_bits(void **state)
{
    (void)state;
    uint64_t seed = 1;
    static const double terms[] = {0,       1,      -1,      DBL_MAX,   -DBL_MAX,
                                   DBL_MIN, 5e-324, -5e-324, 0x1p-1022, 0x1p-1023,
                                   0.1,     1e300,  0x1p32,  0x1p-32,   0x1.fffffffffffffp-1};
    for (size_t i = 0; i < sizeof terms / sizeof *terms; i++) {
        struct exact_sum sum = {{0}, 0};
        exact_sum_add(&sum, terms[i]);
        assert_close(exact_sum_value(&sum), terms[i], 0);
    }
    for (int i = 0; i < 100000; i++) {
        struct exact_sum sum = {{0}, 0};
        double x = any_double(&seed);
        exact_sum_add(&sum, x);
        assert_close(exact_sum_value(&sum), x, 0);
    }
}

static void sums_of_fixed_point_terms_are_rounded_as_128_bit_integers_are(void **state)
{
    (void)state;
    uint64_t seed = 2;
    struct exact_sum sum = {{0}, 0};
    wide whole = 0;
    for (int i = 0; i < 200000; i++) {
        int64_t term = (int64_t)(next_random(&seed) >> 11) >> (next_random(&seed) % 53);
        int shift = (int)(next_random(&seed) % 50);
        if (next_random(&seed) & 1)
            term = -term;
        exact_sum_add(&sum, ldexp((double)term, shift - 40));
        whole += (wide)term * ((wide)1 << shift);
        assert_close(exact_sum_value(&sum), ldexp((double)whole, -40), 0);
    }
}

static void terms_of_every_size_cancel_exactly_in_any_order(void **state)
{
    (void)state;
    enum { TERMS = 400, ROUNDS = 50 };
    uint64_t seed = 3;
    for (int round = 0; round < ROUNDS; round++) {
        struct exact_sum forth = {{0}, 0}, back = {{0}, 0};
        struct expansion expansion = {{0}, 0};
        double terms[TERMS];
        for (int i = 0; i < TERMS; i++) {
            /* below the largest exponents, where an expansion does not overflow */
            terms[i] = any_double(&seed) * 0x1p-16;
            exact_sum_add(&forth, terms[i]);
            expansion_add(&expansion, terms[i]);
        }
        for (int i = TERMS - 1; i >= 0; i--)
            exact_sum_add(&back, terms[i]);
        assert_close(exact_sum_value(&forth), exact_sum_value(&back), 0);
        assert_same(&forth, &expansion);
        for (int i = 0; i < TERMS; i++)
            exact_sum_add(&forth, -terms[(i * 7) % TERMS]);
        assert_close(exact_sum_value(&forth), 0.0, 0);
    }
}

static void halfway_sums_round_to_even_unless_anything_follows(void **state)
{
    (void)state;
    struct exact_sum sum = {{0}, 0};
    exact_sum_add(&sum, 1);
    exact_sum_add(&sum, 0x1p-53);
    assert_close(exact_sum_value(&sum), 1.0, 0);
    exact_sum_add(&sum, 5e-324);
    assert_close(exact_sum_value(&sum), 1 + DBL_EPSILON, 0);
    exact_sum_add(&sum, -1e-323);
    assert_close(exact_sum_value(&sum), 1.0, 0);
    double high, low;
    exact_sum_split(&sum, &high, &low);
    assert_close(high, 1.0, 0);
    assert_close(low, 0x1p-53, 0);
}

static void millions_of_the_largest_terms_carry_and_come_back(void **state)
{
    (void)state;
    enum { TERMS = 3 << 20 };
    struct exact_sum sum = {{0}, 0};
    for (int i = 0; i < TERMS; i++)
        exact_sum_add(&sum, -DBL_MAX);
    assert_true(isinf(exact_sum_value(&sum)) && exact_sum_value(&sum) < 0);
    for (int i = 0; i < TERMS - 1; i++)
        exact_sum_add(&sum, DBL_MAX);
    assert_close(exact_sum_value(&sum), -DBL_MAX, 0);
}

static void squares_are_not_rounded(void **state)
{
    (void)state;
    uint64_t seed = 4;
    struct exact_sum sum = {{0}, 0};
    wide whole = 0;
    for (int i = 0; i < 1000; i++) {
        int64_t x = (int64_t)(next_random(&seed) >> 16);
        exact_sum_add_square(&sum, (double)x, 1);
        whole += (wide)x * x;
        x = (int64_t)(next_random(&seed) >> 16);
        exact_sum_add_square(&sum, (double)x, -1);
        whole -= (wide)x * x;
    }
    double high, low;
    exact_sum_split(&sum, &high, &low);
    assert_true((wide)high + (wide)low == whole);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(one_term_comes_back_with_its_own_bits),
    cmocka_unit_test(sums_of_fixed_point_terms_are_rounded_as_128_bit_integers_are),
    cmocka_unit_test(terms_of_every_size_cancel_exactly_in_any_order),
    cmocka_unit_test(halfway_sums_round_to_even_unless_anything_follows),
    cmocka_unit_test(millions_of_the_largest_terms_carry_and_come_back),
    cmocka_unit_test(squares_are_not_rounded),
};

T_MAIN(tests)
