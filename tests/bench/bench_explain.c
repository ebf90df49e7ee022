/* Explaining one row of a kernel model of 4,096 centres and 8 inputs, two of them connected by their sum
 * and their difference: median of several runs, in CPU time of one thread. */
#include "model/explain.h"
#include "model/model_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { INPUTS = 8, DIRECTIONS = 2, CENTRES = 4096, ROWS = 50, ROUNDS = 9 };

static double now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static double next_random(void)
{
    static unsigned seed = 7;
    seed = seed * 1664525u + 1013904223u;
    return (double)seed / 4294967296.0 * 4 - 2;
}

static struct model *make_model(double *centres, double *coefficients, double *quantiles)
{
    static const char *const names[INPUTS] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    static const struct kernel_direction directions[DIRECTIONS] = {{6, 7, false}, {6, 7, true}};
    static const double scales[INPUTS + DIRECTIONS] = {.2, .1, .3, .1, .02, .4, .8, .9, .7, .6};
    struct model_feature features[INPUTS];
    struct error err = {0};
    struct model_parts parts = {
        .name = "m",
        .version = "1",
        .kind = MODEL_KERNEL,
        .target_name = "y",
        .target_unit = "",
        .features = features,
        .feature_count = INPUTS,
        .quantiles = quantiles,
        .kernel = {INPUTS, DIRECTIONS, CENTRES, directions, scales, centres},
        .prediction = {1, coefficients, CENTRES}};
    memset(parts.card.data_sha256, '0', 64);
    for (size_t j = 0; j < INPUTS; j++)
        features[j] = (struct model_feature){names[j], {.min = -2, .max = 2, .scale = 1}};
    for (size_t i = 0; i < CENTRES * INPUTS; i++)
        centres[i] = next_random();
    for (size_t i = 0; i < CENTRES; i++)
        coefficients[i] = next_random();
    for (size_t i = 0; i < INPUTS * MODEL_QUANTILES; i++)
        quantiles[i] = -2 + 4 * ((double)(i % MODEL_QUANTILES) + 0.5) / MODEL_QUANTILES;
    return model_new(&parts, &err);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(void)
{
    static double centres[CENTRES * INPUTS], coefficients[CENTRES],
        quantiles[INPUTS * MODEL_QUANTILES], x[ROWS * INPUTS], phi[ROWS * INPUTS];
    double ms[ROUNDS];
    struct error err = {0};
    struct model *model = make_model(centres, coefficients, quantiles);
    double start = now_ms();
    struct explainer *explainer = model != NULL ? explainer_new(model, &err) : NULL;
    double made = now_ms() - start;
    if (explainer == NULL)
        return 1;
    for (size_t i = 0; i < ROWS * INPUTS; i++)
        x[i] = next_random();
    for (size_t r = 0; r < ROUNDS; r++) {
        start = now_ms();
        if (!explainer_run(explainer, ROWS, x, phi, &err))
            return 1;
        ms[r] = (now_ms() - start) / ROWS;
    }
    qsort(ms, ROUNDS, sizeof *ms, compare);
    printf(
        "explain: %d centres, %d inputs, a pair with %d directions: %.3f ms a row (%.3f to %.3f), "
        "estimated %.3f; tables once %.1f ms\n",
        CENTRES, INPUTS, DIRECTIONS, ms[ROUNDS / 2], ms[0], ms[ROUNDS - 1],
        explain_row_ns(model) * 1e-6, made);
    explainer_free(explainer);
    model_free(model);
    return 0;
}
