/* tune.h - chooses the kernel's scales, directions and penalty from the rows alone.
 *
 * Idea:    kernel ridge regression on some of the rows as centres has a leave-one-out error in closed
 *          form, and ridge_gradient its derivative by every scale and the penalty, so a quasi-Newton
 *          search over their logarithms needs some dozens of fits however many columns there are.
 *          Directions: the sums and differences of all pairs of the strongest inputs compete in one
 *          such search; the strongest pairs that share no input stay, if they lower the error by 1 %.
 *          A last search, with up to half the centres that the model will have, settles the scales.
 * Does not: transform inputs, choose centres or their number, see a row that it is not given, know a
 *          clock or print. Rows that are centres are not judged: their error is not like the others'.
 * Threads: OpenBLAS's; the callback runs on the calling thread.
 * Memory:  about 64 MB of row blocks and 4 c^2 doubles, c the centres of the last search (at most 4,096).
 * Errors:  ERR_INVALID fewer than TUNE_ROWS_MIN rows, ERR_NUMERIC no scales with a finite error,
 *          ERR_NO_MEMORY.
 * Source:  leave-one-out: see ridge.c; search: Nocedal 1980, limited-memory BFGS.
 */
#ifndef MODEL_TUNE_H
#define MODEL_TUNE_H

#include "model/kernel.h"
#include "model/matrix.h"

enum { TUNE_ROWS_MIN = 30, TUNE_ROWS_MAX = 16384 };

/* How far it is, 0 to 1. */
struct tune_progress {
    void (*tell)(void *ctx, double fraction);
    void *ctx;
};

struct tuned {
    size_t inputs, direction_count;
    struct kernel_direction directions[KERNEL_DIRECTIONS_MAX]; /* disjoint pairs of inputs */
    double *scales; /* (inputs + direction_count); 0 for columns that do not count */
    double penalty; /* per row: lambda / rows */
    double rmse;    /* leave-one-out, with the centres of the last search */
};

/* Tunes for a model of so many centres on transformed rows u(rows, inputs) and y(rows), which are in random
 * order: the first TUNE_ROWS_MAX are used. progress may be NULL. Released with tuned_clear. */
bool tune(const struct matrix *u, const double *y, size_t centres,
          const struct tune_progress *progress, struct tuned *out, struct error *err) MUST_CHECK;

void tuned_clear(struct tuned *tuned);

#endif
