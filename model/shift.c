#include "model/shift.h"

#include <math.h>

static const double SHIFT_LIMIT = 2.7;

/* The first number of the new level, or 0. */
static size_t find_one(const double *x, size_t n)
{
    double mean = 0, squares = 0, sum = 0, most = 0;
    size_t at = 0;
    for (size_t i = 0; i < n; i++)
        mean += x[i] / (double)n;
    for (size_t i = 0; i < n; i++) {
        squares += (x[i] - mean) * (x[i] - mean);
        sum += x[i] - mean;
        if (fabs(sum) > most) {
            most = fabs(sum);
            at = i + 1;
        }
    }
    return most > SHIFT_LIMIT * sqrt(squares) ? at : 0;
}

size_t shift_find(const double *x, size_t n, size_t least)
{
    size_t begin = 0, found;
    while ((found = find_one(x + begin, n - begin)) > 0 && n - begin - found >= least)
        begin += found;
    return begin;
}
