#include "model/kernel.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct kernel {
    size_t inputs, columns, centres, padded;
    struct kernel_direction *directions; /* (columns - inputs) */
    double *scales;                      /* (columns) */
    double *scaled;                      /* (columns, padded): w_j d_j(z_m) */
};

static bool check_map(const struct kernel_map *map, struct error *err)
{
    if (map->centre_count == 0 || map->centre_count > KERNEL_CENTRES_MAX)
        return error_set(err, map->centre_count == 0 ? ERR_INVALID : ERR_TOO_LARGE,
                         "map.centres: expected 1 to %d, got %zu", KERNEL_CENTRES_MAX,
                         map->centre_count);
    if (map->inputs > (size_t)KERNEL_NUMBERS_MAX / map->centre_count)
        return error_set(err, ERR_TOO_LARGE, "map.centres: expected at most %d numbers, got %zu",
                         KERNEL_NUMBERS_MAX, map->inputs * map->centre_count);
    if (map->direction_count > KERNEL_DIRECTIONS_MAX)
        return error_set(err, ERR_TOO_LARGE, "map.directions: expected at most %d, got %zu",
                         KERNEL_DIRECTIONS_MAX, map->direction_count);
    for (size_t d = 0; d < map->direction_count; d++) {
        const struct kernel_direction *direction = &map->directions[d];
        if (direction->a >= map->inputs || direction->b >= map->inputs ||
            direction->a == direction->b)
            return error_set(err, ERR_INVALID,
                             "map.directions[%zu]: expected two different inputs below %zu", d,
                             map->inputs);
    }
    for (size_t j = 0; j < map->inputs + map->direction_count; j++)
        if (!isfinite(map->scales[j]) || map->scales[j] < 0)
            return error_set(err, ERR_INVALID, "map.scales[%zu]: expected a finite number >= 0", j);
    for (size_t i = 0; i < map->centre_count * map->inputs; i++)
        if (!isfinite(map->centres[i]))
            return error_set(err, ERR_INVALID, "map.centres[%zu]: expected a finite number", i);
    return true;
}

static double column(const struct kernel *k, const double *u, size_t j)
{
    if (j < k->inputs)
        return k->scales[j] * u[j];
    const struct kernel_direction *d = &k->directions[j - k->inputs];
    return k->scales[j] * (d->difference ? u[d->a] - u[d->b] : u[d->a] + u[d->b]);
}

struct kernel *kernel_new(const struct kernel_map *map, struct error *err)
{
    if (!check_map(map, err))
        return NULL;
    struct kernel *k = calloc(1, sizeof *k);
    if (k == NULL)
        goto no_memory;
    k->inputs = map->inputs;
    k->columns = map->inputs + map->direction_count;
    k->centres = map->centre_count;
    k->padded = (k->centres + KERNEL_LANES - 1) / KERNEL_LANES * KERNEL_LANES;
    k->directions = calloc(map->direction_count + 1, sizeof *k->directions);
    k->scales = calloc(k->columns, sizeof *k->scales);
    k->scaled = calloc(k->columns * k->padded, sizeof *k->scaled);
    if (k->directions == NULL || k->scales == NULL || k->scaled == NULL)
        goto no_memory;
    if (map->direction_count > 0)
        memcpy(k->directions, map->directions, map->direction_count * sizeof *k->directions);
    memcpy(k->scales, map->scales, k->columns * sizeof *k->scales);
    for (size_t j = 0; j < k->columns; j++)
        for (size_t m = 0; m < k->centres; m++)
            k->scaled[j * k->padded + m] = column(k, map->centres + m * k->inputs, j);
    return k;
no_memory:
    kernel_free(k);
    (void)error_set(err, ERR_NO_MEMORY, "out of memory");
    return NULL;
}

void kernel_free(struct kernel *kernel)
{
    if (kernel == NULL)
        return;
    free(kernel->directions);
    free(kernel->scales);
    free(kernel->scaled);
    free(kernel);
}

size_t kernel_padded(const struct kernel *kernel)
{
    return kernel->padded;
}

void kernel_row(const struct kernel *k, const double *u, double *out)
{
    memset(out, 0, k->padded * sizeof *out);
    for (size_t j = 0; j < k->columns; j++) {
        double at = column(k, u, j);
        for (size_t m = 0; m < k->centres; m++)
            out[m] += fabs(at - k->scaled[j * k->padded + m]);
    }
    for (size_t m = 0; m < k->centres; m++)
        out[m] = exp(-out[m]);
}

double kernel_sum(const struct kernel *k, const double *u, const double *coefficients)
{
    double sum = 0;
    for (size_t m = 0; m < k->centres; m++) {
        double distance = 0;
        for (size_t j = 0; j < k->columns; j++)
            distance += fabs(column(k, u, j) - k->scaled[j * k->padded + m]);
        sum += coefficients[m] * exp(-distance);
    }
    return sum;
}
