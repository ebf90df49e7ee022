/* bootstrap.h - how sure it is that the mean of some numbers is above zero.
 *
 * Idea:    the numbers are drawn again, with replacement, as many as there are, and their mean is taken;
 *          the (1 - confidence)-quantile of BOOTSTRAP_RESAMPLES such means is a lower bound of the true
 *          mean that holds with that confidence. The k-th smallest is taken, k = (1 - confidence) times
 *          (BOOTSTRAP_RESAMPLES + 1). Beyond BOOTSTRAP_BLOCKS_MAX numbers it is blocks that are drawn, sums
 *          of as many neighbours each, so that neither memory nor time grows any further.
 *          The random numbers have a fixed seed: the same numbers give the same bound.
 * Does not: assume a distribution. Numbers must not depend on each other, but for neighbours in a block.
 * Threads: a bootstrap belongs to its caller.
 * Memory:  BOOTSTRAP_BLOCKS_MAX doubles; released with bootstrap_clear.
 * Errors:  ERR_NUMERIC a number or a sum that is not finite, ERR_NO_MEMORY.
 * Source:  Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13 (percentile intervals).
 */
#ifndef MODEL_BOOTSTRAP_H
#define MODEL_BOOTSTRAP_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum {
    BOOTSTRAP_RESAMPLES = 9999,
    BOOTSTRAP_BLOCKS_MAX = 1 << 15,
    BOOTSTRAP_ROWS_MIN = 30, /* fewer numbers say too little of how they vary */
};

struct bootstrap {
    double *sums;  /* (blocks), of block_rows numbers each; the last of fewer, perhaps */
    uint64_t rows; /* numbers taken in */
    uint64_t block_rows;
    size_t blocks;
};

bool bootstrap_init(struct bootstrap *b, struct error *err) MUST_CHECK;

void bootstrap_add(struct bootstrap *b, double value);

/* confidence: 0.5 to 0.999. *lower is NAN for fewer than BOOTSTRAP_ROWS_MIN numbers, *mean for none. */
bool bootstrap_bound(const struct bootstrap *b, double confidence, double *mean, double *lower,
                     struct error *err) MUST_CHECK;

void bootstrap_clear(struct bootstrap *b);

#endif
