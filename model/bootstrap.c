#include "model/bootstrap.h"

#include "model/random.h"

#include <math.h>
#include <stdlib.h>

bool bootstrap_init(struct bootstrap *b, struct error *err)
{
    *b = (struct bootstrap){.block_rows = 1};
    b->sums = calloc(BOOTSTRAP_BLOCKS_MAX, sizeof *b->sums);
    return b->sums != NULL || error_set(err, ERR_NO_MEMORY, "bootstrap: out of memory");
}

void bootstrap_clear(struct bootstrap *b)
{
    free(b->sums);
    *b = (struct bootstrap){0};
}

/* Makes one block of every two. */
static void join_blocks(struct bootstrap *b)
{
    for (size_t i = 0; i < b->blocks / 2; i++)
        b->sums[i] = b->sums[2 * i] + b->sums[2 * i + 1];
    b->blocks /= 2;
    b->block_rows *= 2;
}

void bootstrap_add(struct bootstrap *b, double value)
{
    if (b->rows % b->block_rows == 0) {
        if (b->blocks == BOOTSTRAP_BLOCKS_MAX)
            join_blocks(b);
        b->sums[b->blocks++] = 0;
    }
    b->sums[b->blocks - 1] += value;
    b->rows++;
}

/* The mean of as many blocks as there are, drawn with replacement. */
static double draw_mean(const struct bootstrap *b, uint64_t *random)
{
    uint64_t short_by = b->block_rows * b->blocks - b->rows; /* rows that the last block lacks */
    uint64_t rows = b->block_rows * b->blocks;
    double sum = 0;
    for (size_t i = 0; i < b->blocks; i++) {
        size_t at = (size_t)((random_next(random) >> 32) * b->blocks >> 32);
        sum += b->sums[at];
        rows -= at == b->blocks - 1 ? short_by : 0;
    }
    return sum / (double)rows;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

bool bootstrap_bound(const struct bootstrap *b, double confidence, double *mean, double *lower,
                     struct error *err)
{
    double sum = 0;
    uint64_t random = 3;
    *lower = NAN;
    for (size_t i = 0; i < b->blocks; i++)
        sum += b->sums[i];
    *mean = sum / (double)b->rows;
    if (b->rows > 0 && !isfinite(sum))
        return error_set(err, ERR_NUMERIC, "bootstrap: expected finite numbers");
    if (b->rows < BOOTSTRAP_ROWS_MIN)
        return true;
    double *means = calloc(BOOTSTRAP_RESAMPLES, sizeof *means);
    if (means == NULL)
        return error_set(err, ERR_NO_MEMORY, "bootstrap: out of memory");
    for (size_t i = 0; i < BOOTSTRAP_RESAMPLES; i++)
        means[i] = draw_mean(b, &random);
    qsort(means, BOOTSTRAP_RESAMPLES, sizeof *means, compare);
    /* A rounding error must not take the next one. */
    *lower = means[(size_t)((1 - confidence) * (BOOTSTRAP_RESAMPLES + 1) + 1e-6) - 1];
    free(means);
    return true;
}
