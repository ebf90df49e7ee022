/* kernel.h - the product-Laplace kernel and the pass over its centres.
 *
 * Formula: k(u, z) = exp(-sum_j w_j |d_j(u) - d_j(z)|), j over the inputs and then the directions:
 *          d_j(u) = u_j for an input, u_a + u_b or u_a - u_b for a direction.
 * Idea:    a row meets all centres in one fused pass, eight fixed lanes wide, with an exp of its own:
 *          the same bits alone, in any batch, on every x86-64 CPU with FMA. Without FMA the bits are
 *          the same too, and the pass is slow.
 * Does not: transform raw inputs, choose anything, know what the sum means.
 * Threads: immutable after kernel_new; share it freely.
 * Memory:  kernel_new copies the map; released with kernel_free.
 * Errors:  ERR_INVALID a map that breaks a bound (the message names the member, as the artifact spells
 *          it), ERR_TOO_LARGE, ERR_NO_MEMORY.
 * Source:  Laplace kernel; Nystroem: Williams and Seeger 2001.
 */
#ifndef MODEL_KERNEL_H
#define MODEL_KERNEL_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    KERNEL_CENTRES_MAX = 16384,
    KERNEL_INPUTS_MAX = 4096,
    KERNEL_NUMBERS_MAX = 1 << 23, /* centres * inputs */
    KERNEL_DIRECTIONS_MAX = 64,
    KERNEL_LANES = 8,
};

/* A further column, made of two different inputs. */
struct kernel_direction {
    unsigned a, b;
    bool difference; /* u_a - u_b; else u_a + u_b */
};

/* The feature map as plain data. */
struct kernel_map {
    size_t inputs, direction_count, centre_count;
    const struct kernel_direction *directions; /* (direction_count) */
    const double *scales;                      /* (inputs + direction_count), w: finite, >= 0 */
    const double *centres; /* (centre_count, inputs), row-major, transformed inputs, finite */
};

struct kernel;

/* Checks and copies a map of 1 .. KERNEL_CENTRES_MAX centres. */
struct kernel *kernel_new(const struct kernel_map *map, struct error *err) MUST_CHECK;
void kernel_free(struct kernel *kernel); /* NULL is allowed */

/* Centres rounded up to KERNEL_LANES: the length of the arrays below, whose last elements are zero. */
size_t kernel_padded(const struct kernel *kernel);

/* out(padded) = k(u, z_m) for one transformed row u(inputs); the padding becomes 0. */
void kernel_row(const struct kernel *kernel, const double *u, double *out);

/* sum_m coefficients[m] k(u, z_m); coefficients(padded). */
double kernel_sum(const struct kernel *kernel, const double *u, const double *coefficients);

/* Estimated nanoseconds of either. */
double kernel_row_ns(const struct kernel *kernel);

/* ---- for tests and measurements ---- */

/* The versions of the pass, slowest first. A kernel takes the last that runs. */
enum kernel_pass { KERNEL_BASELINE, KERNEL_AVX2, KERNEL_AVX512, KERNEL_PASS_COUNT };
extern const char *const kernel_pass_words[KERNEL_PASS_COUNT];

/* Whether this CPU has what the version needs. */
bool kernel_pass_runs(enum kernel_pass pass);

/* Has the kernel use that version, which must run here, before it is shared. */
void kernel_set_pass(struct kernel *kernel, enum kernel_pass pass);

#endif
