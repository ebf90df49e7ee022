#include "model/exact_sum.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

/* A term changes a digit by less than 2^32, so this many terms cannot overflow one. */
enum { TERMS_PER_CARRY = 1 << 20, LOWEST_EXPONENT = -1074 };

/* Brings every digit but the last into [0, 2^32); the last one keeps the sign. */
static void carry(struct exact_sum *sum)
{
    for (int i = 0; i < EXACT_SUM_DIGITS - 1; i++) {
        int64_t low = sum->digit[i] & 0xffffffff;
        sum->digit[i + 1] += (sum->digit[i] - low) / ((int64_t)1 << 32);
        sum->digit[i] = low;
    }
    sum->uncarried = 0;
}

void exact_sum_add(struct exact_sum *sum, double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    unsigned exponent = bits >> 52 & 0x7ff;
    uint64_t significand = bits & (((uint64_t)1 << 52) - 1);
    if (exponent > 0) {
        significand |= (uint64_t)1 << 52;
        exponent--;
    }
    unsigned shift = exponent % 32;
    uint64_t low = significand << shift, high = significand >> 32 >> (32 - shift);
    int64_t *digit = sum->digit + exponent / 32, sign = signbit(x) ? -1 : 1;
    digit[0] += sign * (int64_t)(low & 0xffffffff);
    digit[1] += sign * (int64_t)(low >> 32);
    digit[2] += sign * (int64_t)high;
    if (++sum->uncarried == TERMS_PER_CARRY)
        carry(sum);
}

void exact_sum_add_square(struct exact_sum *sum, double x, double sign)
{
    double square = x * x;
    exact_sum_add(sum, sign * square);
    exact_sum_add(sum, sign * fma(x, x, -square)); /* what the product was rounded by */
}

/* Rounds a sum whose digits are carried and not negative. */
static double round_positive(const struct exact_sum *sum)
{
    int top = EXACT_SUM_DIGITS - 1;
    while (top > 1 && sum->digit[top] == 0)
        top--;
    uint64_t head = (uint64_t)sum->digit[top] << 32 | (uint64_t)sum->digit[top - 1];
    if (head == 0)
        return 0;
    int left = __builtin_clzll(head);
    uint64_t next = top >= 2 ? (uint64_t)sum->digit[top - 2] : 0;
    bool rest = (next << left & 0xffffffff) != 0;
    for (int i = top - 3; i >= 0 && !rest; i--)
        rest = sum->digit[i] != 0;
    head = head << left | next << left >> 32;
    /* The lowest of the 64 bits stands for all that follow: enough to round to 53 correctly. */
    return ldexp((double)(head | rest), 32 * (top - 1) + LOWEST_EXPONENT - left);
}

double exact_sum_value(const struct exact_sum *sum)
{
    struct exact_sum size = *sum;
    carry(&size);
    if (size.digit[EXACT_SUM_DIGITS - 1] >= 0)
        return round_positive(&size);
    for (int i = 0; i < EXACT_SUM_DIGITS; i++)
        size.digit[i] = -size.digit[i];
    carry(&size);
    return -round_positive(&size);
}

void exact_sum_split(const struct exact_sum *sum, double *high, double *low)
{
    struct exact_sum rest = *sum;
    *high = exact_sum_value(sum);
    *low = 0;
    if (!isfinite(*high))
        return;
    exact_sum_add(&rest, -*high);
    *low = exact_sum_value(&rest);
}
