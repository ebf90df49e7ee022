/* sample.h - some rows of a table that streams by, each as likely as any other.
 *
 * Idea:    reservoir sampling: the first rows fill the sample, later ones replace a random one with
 *          falling probability. The random numbers have a fixed seed, so the same rows give the same
 *          sample.
 * Does not: read anything.
 * Threads: a sample belongs to its caller.
 * Memory:  capacity rows; released with sample_clear.
 * Errors:  ERR_TOO_LARGE, ERR_NO_MEMORY.
 * Source:  Vitter 1985, algorithm R.
 */
#ifndef MODEL_SAMPLE_H
#define MODEL_SAMPLE_H

#include "model/matrix.h"

#include <stdint.h>

struct sample {
    struct matrix rows; /* (capacity, cols); sample_finish makes that (count, cols) */
    uint64_t *row;      /* (count): the row's place in the table; ascending after sample_finish */
    size_t count;
    uint64_t seen, random;
};

bool sample_init(struct sample *s, size_t capacity, size_t cols, struct error *err) MUST_CHECK;

/* Takes in the next rows x(rows, cols). */
void sample_add(struct sample *s, const double *x, size_t rows);

/* After the last row: puts the sample in the order of the table. */
bool sample_finish(struct sample *s, struct error *err) MUST_CHECK;

void sample_clear(struct sample *s);

/* order(count) = 0 .. count - 1, shuffled; the same for the same count. */
void sample_shuffle(size_t *order, size_t count);

#endif
