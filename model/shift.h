/* shift.h - since when a sequence of numbers has been of another level.
 *
 * Formula: S_k = sum_{i<k} (x_i - mean); the level changed at the k of the largest |S_k| if that exceeds
 *          SHIFT_LIMIT sqrt(n) sd. Where nothing changed, it does so with a probability of 2 exp(-2
 *          SHIFT_LIMIT^2), one in a million, if the numbers do not depend on each other. The rest is then
 *          searched again.
 * Does not: tell a slow change from a sudden one, or see one in a handful of numbers.
 * Threads: no state.
 * Memory:  none.
 * Errors:  none.
 * Source:  Page 1955, "A test for a change in a parameter occurring at an unknown point"; the limit: of a
 *          Brownian bridge (Kolmogorov 1933).
 */
#ifndef MODEL_SHIFT_H
#define MODEL_SHIFT_H

#include <stddef.h>

/* Where in x(n), finite, the last stretch of one level begins that has at least `least` numbers; 0 if there was
 * no change. */
size_t shift_find(const double *x, size_t n, size_t least);

#endif
