/* CPU nanoseconds per centre and row of the pass over 4,096 centres of 8 inputs, alone (p' = 8) and with 4
 * directions (p' = 12), by each version of the pass that this CPU runs: median and range of rounds that
 * take turns. One line each: p', version, median, least, most. */
#include "model/kernel.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { INPUTS = 8, DIRECTIONS = 4, CENTRES = 4096, ROWS = 50, ROUNDS = 31 };

static double cpu_nanoseconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void fill(double *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (double)rand() / RAND_MAX * 4 - 2;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double measure(struct kernel *kernel, enum kernel_pass pass, const double *rows,
                      const double *coefficients)
{
    size_t count = pass == KERNEL_BASELINE ? ROWS / 10 : ROWS;
    double sum = 0;
    kernel_set_pass(kernel, pass);
    double start = cpu_nanoseconds();
    for (size_t i = 0; i < count; i++)
        sum += kernel_sum(kernel, rows + i * INPUTS, coefficients);
    double ns = (cpu_nanoseconds() - start) / (double)count / CENTRES;
    return isfinite(sum) ? ns : NAN; /* so that the sum is wanted */
}

static int bench(size_t directions)
{
    static double centres[CENTRES * INPUTS], rows[ROWS * INPUTS], coefficients[CENTRES];
    static double ns[KERNEL_PASS_COUNT][ROUNDS];
    static const double scales[INPUTS + DIRECTIONS] = {1,   .5,  .25, 2,   .7,  .3,
                                                       1.5, 1.1, .4,  .25, 1.3, .9};
    static const struct kernel_direction pairs[DIRECTIONS] = {
        {0, 1, false}, {0, 1, true}, {6, 7, false}, {6, 7, true}};
    const struct kernel_map map = {INPUTS, directions, CENTRES, pairs, scales, centres};
    struct error err = {0};
    fill(centres, CENTRES * INPUTS);
    fill(rows, ROWS * INPUTS);
    fill(coefficients, CENTRES);
    struct kernel *kernel = kernel_new(&map, &err);
    if (kernel == NULL) {
        (void)fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    for (size_t round = 0; round < ROUNDS; round++)
        for (enum kernel_pass pass = 0; pass < KERNEL_PASS_COUNT; pass++)
            if (kernel_pass_runs(pass))
                ns[pass][round] = measure(kernel, pass, rows, coefficients);
    for (enum kernel_pass pass = 0; pass < KERNEL_PASS_COUNT; pass++) {
        if (!kernel_pass_runs(pass))
            continue;
        qsort(ns[pass], ROUNDS, sizeof **ns, by_value);
        (void)printf("%zu %s %.3f %.3f %.3f\n", INPUTS + directions, kernel_pass_words[pass],
                     ns[pass][ROUNDS / 2], ns[pass][0], ns[pass][ROUNDS - 1]);
    }
    kernel_free(kernel);
    return 0;
}

int main(void)
{
    return bench(0) | bench(DIRECTIONS);
}
