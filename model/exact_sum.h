/* exact_sum.h - a sum of doubles without any rounding, in constant memory.
 *
 * Idea:    a fixed-point number wide enough for every finite double (2^-1074 to 2^1024, and 2^63 terms
 *          of that size), kept in 32-bit digits with room for carries. Adding x and later -x leaves no
 *          trace, whatever came between, so a window's sum cannot drift. (Kulisch's accumulator with
 *          deferred carries, as in Neal 2015, arXiv 1505.05571.)
 * Does not: take infinities or NaN.
 * Threads: a sum belongs to its caller.
 * Memory:  the caller's struct, 560 bytes; all zero is the sum 0.
 * Errors:  none.
 */
#ifndef MODEL_EXACT_SUM_H
#define MODEL_EXACT_SUM_H

#include <stdint.h>

enum { EXACT_SUM_DIGITS = 69 };

/* The sum is that of digit[i] * 2^(32 i - 1074). */
struct exact_sum {
    int64_t digit[EXACT_SUM_DIGITS];
    uint64_t uncarried; /* terms added since the digits were last brought below 2^32 */
};

/* Adds a finite x. */
void exact_sum_add(struct exact_sum *sum, double x);

/* Adds (sign 1) or takes away (sign -1) x * x, which must not overflow; exact unless it is below 1e-291. */
void exact_sum_add_square(struct exact_sum *sum, double x, double sign);

/* The sum, rounded once to nearest; infinite if it is beyond every double. */
double exact_sum_value(const struct exact_sum *sum);

/* The sum as *high + *low: the nearest double, and the nearest double to what that leaves over. */
void exact_sum_split(const struct exact_sum *sum, double *high, double *low);

#endif
