/* histogram.h - how often values fell on and between fixed edges; counts of parts add up.
 *
 * Idea:    the edges are the quantiles of a reference and three more in every gap between two of
 *          them; a value on an edge has a cell of its own, so columns of few values keep theirs.
 *          Quantiles come back by interpolation inside a cell, whose outermost ones end at the least and
 *          the greatest value seen.
 *          Scores, numbers >= 0 of any size, have cells of equal ratio instead and need no reference.
 * Does not: forget extremes: what is subtracted leaves least and greatest as they are.
 * Threads: a histogram belongs to its caller.
 * Memory:  none but the structs.
 * Errors:  none.
 */
#ifndef MODEL_HISTOGRAM_H
#define MODEL_HISTOGRAM_H

#include "model/model_internal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HISTOGRAM_EDGES_PER_GAP = 4,
    /* The reference's quantiles between its least and its greatest value. */
    HISTOGRAM_EDGES = (MODEL_QUANTILES + 1) * HISTOGRAM_EDGES_PER_GAP + 1,
    HISTOGRAM_CELLS = 2 * HISTOGRAM_EDGES + 1,
};

struct histogram {
    double least, greatest; /* INFINITY and -INFINITY while there is no value */
    uint64_t cells[HISTOGRAM_CELLS];
    double edges[HISTOGRAM_EDGES]; /* ascending, may be equal */
};

/* An empty histogram over a reference: quantiles(MODEL_QUANTILES), ascending, least and greatest around
 * them. quantiles may be NULL: then only least and greatest are of use. */
void histogram_init(struct histogram *h, const double *quantiles, double least, double greatest);

void histogram_add(struct histogram *h, double x);

/* Adds or takes away a part with the same edges. False: it has values that *h has not. */
void histogram_merge(struct histogram *h, const struct histogram *part);
bool histogram_subtract(struct histogram *h, const struct histogram *part) MUST_CHECK;

/* quantiles(MODEL_QUANTILES): the ((i + 1/2) / MODEL_QUANTILES)-quantiles. At least one value. */
void histogram_quantiles(const struct histogram *h, double *quantiles);

/* ---- scores ---- */

enum { SCORE_CELLS_PER_OCTAVE = 128, SCORE_OCTAVES = 128 };
/* Scores from 2^-64 up to 2^64, and two cells for what lies outside. */
enum { SCORE_CELLS = SCORE_CELLS_PER_OCTAVE * SCORE_OCTAVES + 2 };

size_t score_cell(double score);

/* The least number above every score of the cell, at most 0.8 % above any of them; INFINITY for the
 * last. */
double score_bound(size_t cell);

#endif
