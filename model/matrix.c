/* One allocation per matrix, sized with overflow checks and rounded up to whole cache lines, which
 * aligned_alloc asks for and vector code likes. */
#include "model/matrix.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 };

static bool count_bytes(size_t rows, size_t cols, size_t *bytes)
{
    return !__builtin_mul_overflow(rows, cols, bytes) &&
           !__builtin_mul_overflow(*bytes, sizeof(double), bytes) &&
           *bytes <= PTRDIFF_MAX - ALIGNMENT;
}

static double *allocate_zeros(size_t bytes)
{
    /* at least one line, so that an empty matrix has data too */
    size_t rounded = (bytes / ALIGNMENT + 1) * ALIGNMENT;
    double *data = aligned_alloc(ALIGNMENT, rounded);
    if (data != NULL)
        memset(data, 0, rounded);
    return data;
}

bool matrix_init(struct matrix *m, size_t rows, size_t cols, struct error *err)
{
    size_t bytes;
    *m = (struct matrix){0, 0, NULL};
    if (!count_bytes(rows, cols, &bytes))
        return error_set(err, ERR_TOO_LARGE, "matrix: %zu x %zu numbers do not fit in memory", rows,
                         cols);
    double *data = allocate_zeros(bytes);
    if (data == NULL)
        return error_set(err, ERR_NO_MEMORY, "matrix: out of memory for %zu x %zu numbers", rows,
                         cols);
    *m = (struct matrix){rows, cols, data};
    return true;
}

bool matrix_resize(struct matrix *m, size_t rows, struct error *err)
{
    struct matrix old = *m, resized;
    if (!matrix_init(&resized, rows, old.cols, err))
        return false;
    size_t kept = rows < old.rows ? rows : old.rows;
    if (kept > 0)
        memcpy(resized.data, old.data, kept * old.cols * sizeof(double));
    matrix_clear(&old);
    *m = resized;
    return true;
}

void matrix_clear(struct matrix *m)
{
    free(m->data);
    *m = (struct matrix){0, 0, NULL};
}
