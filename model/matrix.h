/* matrix.h - row-major matrix of doubles, and the allocation behind it.
 *
 * Idea:    {rows, cols, data} is plain data: element (i, j) is data[i * cols + j]. A view of some
 *          rows is the same struct pointing into another's data and is never cleared.
 * Does not: compute anything, keep strides, or share ownership.
 * Threads: no state; a matrix belongs to its caller.
 * Memory:  matrix_init allocates, matrix_clear releases; data is aligned to 64 bytes.
 * Errors:  ERR_TOO_LARGE the size does not fit in size_t, ERR_NO_MEMORY.
 */
#ifndef MODEL_MATRIX_H
#define MODEL_MATRIX_H

#include "base/error.h"

#include <stddef.h>

struct matrix {
    size_t rows, cols;
    double *data; /* (rows, cols), row-major; NULL when cleared */
};

/* Makes *m a matrix of zeros. Either count may be 0; data is then valid but holds nothing. On
 * failure *m is as matrix_clear leaves it. */
bool matrix_init(struct matrix *m, size_t rows, size_t cols, struct error *err) MUST_CHECK;

/* Changes the row count, keeping the rows that are in both; added rows are zeros. On failure *m is
 * unchanged. */
bool matrix_resize(struct matrix *m, size_t rows, struct error *err) MUST_CHECK;

/* Releases data and makes *m {0, 0, NULL}; a matrix of zero bytes may be cleared too. */
void matrix_clear(struct matrix *m);

/* Row i, cols values long. */
static inline double *matrix_row(const struct matrix *m, size_t i)
{
    return m->data + i * m->cols;
}

#endif
