/* centres.h - the kernel's centres: means of two different training rows each.
 *
 * Idea:    the rows are cut at medians of the widest scaled column until there are as many cells as
 *          centres are wanted. A cell's centre is the mean of its innermost row (least sum of distances
 *          to the others) and of the row nearest to that; so centres follow the density of the rows, and
 *          none is a training row. Coordinates are rounded to 1e-4, which is what the artifact holds.
 * Does not: choose scales; promise as many centres as wanted, as rows that hardly differ make no pair.
 * Threads: no state.
 * Memory:  released with centres_clear; working memory is rows * (columns + 4) doubles.
 * Errors:  ERR_INVALID fewer rows than centres; ERR_NO_MEMORY.
 * Source:  cells: Bentley 1975, k-d trees.
 */
#ifndef MODEL_CENTRES_H
#define MODEL_CENTRES_H

#include "model/kernel.h"
#include "model/matrix.h"

struct centres {
    size_t count;
    double *points;    /* (count, inputs), each (u[rows[0]] + u[rows[1]]) / 2 rounded to 1e-4 */
    size_t (*rows)[2]; /* (count) */
};

/* At most `wanted` (1 .. u's rows) centres of the transformed rows u(rows, inputs); map gives inputs,
 * directions and scales. No two centres are equal, and the rows of each differ by more than 2e-4 in a
 * column. count may be 0. */
bool centres_choose(const struct matrix *u, const struct kernel_map *map, size_t wanted,
                    struct centres *out, struct error *err) MUST_CHECK;

void centres_clear(struct centres *centres);

/* The value of column j of the map (inputs, then directions) at u(inputs), not scaled. */
static inline double centres_column(const struct kernel_map *map, const double *u, size_t j)
{
    if (j < map->inputs)
        return u[j];
    const struct kernel_direction *d = &map->directions[j - map->inputs];
    return d->difference ? u[d->a] - u[d->b] : u[d->a] + u[d->b];
}

#endif
