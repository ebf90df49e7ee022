/* Distances are in units of ln 2, so that exp becomes 2^-s, whose argument is reduced without rounding.
 * Columns come in pairs, and a pair is stored as its sum and its difference, because
 * |a| + |b| = max(|a + b|, |a - b|): four operations instead of six, in every lane of every centre. */
#include "model/kernel.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* One column of the map: scale * (u_a + sign * u_b). */
struct column {
    double scale; /* w / ln 2 */
    double sign;  /* 0 for an input */
    unsigned a, b;
};

struct kernel {
    size_t centres, padded;
    size_t columns; /* those whose scale is not 0, and perhaps one that is 0: an even number */
    struct column *column;
    double *points; /* (padded / KERNEL_LANES, columns, KERNEL_LANES) */
    enum kernel_pass pass;
};

enum {
    GROUP = 4, /* blocks of KERNEL_LANES centres that are evaluated together */
    COLUMNS_MAX = KERNEL_INPUTS_MAX + KERNEL_DIRECTIONS_MAX + 1,
};

/* However far a row is from a centre, no operation below overflows. */
static const double CENTRE_MAX = 1e150, ROW_MAX = 1e300;

/* ---- the pass ---- */

#define INLINE static inline __attribute__((always_inline))

/* Without it the sums of a group live in memory. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* Minimax for 2^-r, |r| <= 1/2, through 1 at 0: relative error 2.3e-16 before rounding. */
#define EXP2_1  (-0x1.62e42fefa3a12p-1)
#define EXP2_2  0x1.ebfbdff82c431p-3
#define EXP2_3  (-0x1.c6b08d703e17ap-5)
#define EXP2_4  0x1.3b2ab6fbd6d05p-7
#define EXP2_5  (-0x1.5d87fe9b8efd1p-10)
#define EXP2_6  0x1.4309126c00bdfp-13
#define EXP2_7  (-0x1.ffcb58ca31191p-17)
#define EXP2_8  0x1.62c147a4afdfcp-20
#define EXP2_9  (-0x1.b671b2f14537ap-24)
#define EXP2_10 0x1.e3a9046bc2ff4p-28

#define ROUNDER  0x1.8p52
#define EXP2_END 1021.0 /* 2^-s is normal below */

/* The sign bit taken off, the greater kept: what vectors without an instruction for it do. */
#define ABS_BITS ((uint64_t)INT64_MAX)

#if defined(__x86_64__)
#define NAME(x)       x##_avx512
#define TARGET        __attribute__((target("avx512f,avx512dq,fma")))
#define LANES         8
#define FMA(a, b, c)  ((lanes_avx512)_mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c)))
#define MAX_ABS(a, b) ((lanes_avx512)_mm512_range_pd((__m512d)(a), (__m512d)(b), 11))
#define ADD_BELOW(p, q, s)                                                                         \
    _mm512_maskz_add_epi64(_mm512_cmp_pd_mask((__m512d)(s), _mm512_set1_pd(EXP2_END), _CMP_LT_OQ), \
                           (__m512i)(p), (__m512i)(q))
#include "model/kernel_pass.h"

#define NAME(x)      x##_avx2
#define TARGET       __attribute__((target("avx2,fma")))
#define LANES        4
#define FMA(a, b, c) ((lanes_avx2)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c)))
#define MAX_ABS(a, b)                                                                              \
    ((lanes_avx2)_mm256_max_pd((__m256d)((bits_avx2)(a)&ABS_BITS),                                 \
                               (__m256d)((bits_avx2)(b)&ABS_BITS)))
#define ADD_BELOW(p, q, s) (((p) + (q)) & (bits_avx2)((s) < EXP2_END))
#include "model/kernel_pass.h"
#endif

/* Two lanes, which every CPU has; fma is the C library's, 100 times slower, where the CPU has none. */
#if defined(FP_FAST_FMA)
enum { FMA_IS_FAST = true };
#else
enum { FMA_IS_FAST = false };
#endif
typedef double pair __attribute__((vector_size(16)));
typedef uint64_t pair_bits __attribute__((vector_size(16)));

INLINE pair pair_fma(pair a, pair b, pair c)
{
    return (pair){fma(a[0], b[0], c[0]), fma(a[1], b[1], c[1])};
}

INLINE pair pair_max_abs(pair a, pair b)
{
    const pair_bits x = (pair_bits)a & ABS_BITS, y = (pair_bits)b & ABS_BITS;
    const pair_bits first = (pair_bits)((pair)x > (pair)y);
    return (pair)((x & first) | (y & ~first));
}

#define NAME(x)            x##_baseline
#define TARGET             /* none */
#define LANES              2
#define FMA(a, b, c)       pair_fma(a, b, c)
#define MAX_ABS(a, b)      pair_max_abs(a, b)
#define ADD_BELOW(p, q, s) (((p) + (q)) & (bits_baseline)((s) < EXP2_END))
#include "model/kernel_pass.h"

static const struct pass {
    void (*row)(const struct kernel *k, const double *at, double *out);
    void (*sum)(const struct kernel *k, const double *at, const double *coefficients,
                double sums[KERNEL_LANES]);
    double centre_ns, column_ns; /* of a centre, and of each of its columns: measured at 2.6 GHz */
} passes[KERNEL_PASS_COUNT] = {
    [KERNEL_BASELINE] = {row_baseline, sum_baseline, FMA_IS_FAST ? 1 : 2000, 0.15},
#if defined(__x86_64__)
    [KERNEL_AVX2] = {row_avx2, sum_avx2, 0.65, 0.085},
    [KERNEL_AVX512] = {row_avx512, sum_avx512, 0.35, 0.06},
#endif
};

const char *const kernel_pass_words[] = {
    [KERNEL_BASELINE] = "baseline", [KERNEL_AVX2] = "AVX2", [KERNEL_AVX512] = "AVX-512"};

bool kernel_pass_runs(enum kernel_pass pass)
{
#if defined(__x86_64__)
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (pass == KERNEL_AVX512)
        return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq");
    if (pass == KERNEL_AVX2)
        return avx2;
#endif
    return pass == KERNEL_BASELINE;
}

/* ---- the map ---- */

static bool check_directions(const struct kernel_map *map, struct error *err)
{
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
    return true;
}

static bool check_counts(const struct kernel_map *map, struct error *err)
{
    if (map->centre_count == 0 || map->centre_count > KERNEL_CENTRES_MAX)
        return error_set(err, map->centre_count == 0 ? ERR_INVALID : ERR_TOO_LARGE,
                         "map.centres: expected 1 to %d, got %zu", KERNEL_CENTRES_MAX,
                         map->centre_count);
    if (map->inputs == 0 || map->inputs > KERNEL_INPUTS_MAX)
        return error_set(err, map->inputs == 0 ? ERR_INVALID : ERR_TOO_LARGE,
                         "map.centres: expected 1 to %d inputs, got %zu", KERNEL_INPUTS_MAX,
                         map->inputs);
    return map->inputs * map->centre_count <= KERNEL_NUMBERS_MAX ||
           error_set(err, ERR_TOO_LARGE, "map.centres: expected at most %d numbers, got %zu",
                     KERNEL_NUMBERS_MAX, map->inputs * map->centre_count);
}

static bool check_map(const struct kernel_map *map, struct error *err)
{
    if (!check_counts(map, err) || !check_directions(map, err))
        return false;
    for (size_t j = 0; j < map->inputs + map->direction_count; j++)
        if (!isfinite(map->scales[j]) || map->scales[j] < 0)
            return error_set(err, ERR_INVALID, "map.scales[%zu]: expected a finite number >= 0", j);
    for (size_t i = 0; i < map->centre_count * map->inputs; i++)
        if (!isfinite(map->centres[i]))
            return error_set(err, ERR_INVALID, "map.centres[%zu]: expected a finite number", i);
    return true;
}

static double within(double x, double limit)
{
    return x > limit ? limit : x < -limit ? -limit : x;
}

/* Where u lies on the column. */
static double place(const struct column *c, const double *u)
{
    double a = within(u[c->a], DBL_MAX), b = within(u[c->b], DBL_MAX);
    return within(c->scale * within(a + c->sign * b, DBL_MAX), ROW_MAX);
}

/* at[columns] = u in the order of k->points. */
static void place_row(const struct kernel *k, const double *u, double *at)
{
    for (size_t j = 0; j < k->columns; j += 2) {
        double a = place(&k->column[j], u), b = place(&k->column[j + 1], u);
        at[j] = a + b;
        at[j + 1] = a - b;
    }
}

/* A column whose scale is 0 tells no centre from another. */
static void set_columns(struct kernel *k, const struct kernel_map *map)
{
    const double per_ln2 = 0x1.71547652b82fep+0;
    for (unsigned j = 0; j < map->inputs + map->direction_count; j++) {
        struct column c = {.scale = map->scales[j] * per_ln2, .a = j, .b = j};
        if (j >= map->inputs) {
            const struct kernel_direction *d = &map->directions[j - map->inputs];
            c = (struct column){c.scale, d->difference ? -1 : 1, d->a, d->b};
        }
        if (c.scale > 0)
            k->column[k->columns++] = c;
    }
    k->columns += k->columns % 2;
}

static bool set_points(struct kernel *k, const struct kernel_map *map, struct error *err)
{
    double at[COLUMNS_MAX];
    for (size_t m = 0; m < k->centres; m++) {
        place_row(k, map->centres + m * map->inputs, at);
        double *to = k->points + m / KERNEL_LANES * k->columns * KERNEL_LANES + m % KERNEL_LANES;
        for (size_t j = 0; j < k->columns; j++) {
            if (!(fabs(at[j]) <= CENTRE_MAX))
                return error_set(err, ERR_INVALID,
                                 "map.centres: expected numbers up to %g times their scale, "
                                 "centre %zu has larger ones",
                                 CENTRE_MAX, m);
            to[j * KERNEL_LANES] = at[j];
        }
    }
    return true;
}

static struct kernel *allocate(const struct kernel_map *map)
{
    struct kernel *k = calloc(1, sizeof *k);
    if (k == NULL)
        return NULL;
    k->centres = map->centre_count;
    k->padded = (k->centres + KERNEL_LANES - 1) / KERNEL_LANES * KERNEL_LANES;
    k->column = calloc(map->inputs + map->direction_count + 1, sizeof *k->column);
    if (k->column != NULL)
        set_columns(k, map);
    /* whole blocks of 64 bytes; one more where there is no column */
    size_t bytes = k->padded * (k->columns + 1) * sizeof *k->points;
    k->points = k->column != NULL ? aligned_alloc(KERNEL_LANES * sizeof *k->points, bytes) : NULL;
    if (k->points != NULL) {
        memset(k->points, 0, bytes);
        return k;
    }
    kernel_free(k);
    return NULL;
}

struct kernel *kernel_new(const struct kernel_map *map, struct error *err)
{
    if (!check_map(map, err))
        return NULL;
    struct kernel *k = allocate(map);
    if (k == NULL) {
        (void)error_set(err, ERR_NO_MEMORY, "out of memory");
        return NULL;
    }
    while (k->pass + 1 < KERNEL_PASS_COUNT && kernel_pass_runs(k->pass + 1))
        k->pass++;
    if (set_points(k, map, err))
        return k;
    kernel_free(k);
    return NULL;
}

void kernel_free(struct kernel *kernel)
{
    if (kernel == NULL)
        return;
    free(kernel->column);
    free(kernel->points);
    free(kernel);
}

size_t kernel_padded(const struct kernel *kernel)
{
    return kernel->padded;
}

double kernel_row_ns(const struct kernel *kernel)
{
    const struct pass *pass = &passes[kernel->pass];
    return (double)kernel->padded * (pass->centre_ns + pass->column_ns * (double)kernel->columns);
}

void kernel_set_pass(struct kernel *kernel, enum kernel_pass pass)
{
    kernel->pass = pass;
}

/* ---- the values ---- */

void kernel_row(const struct kernel *k, const double *u, double *out)
{
    double at[COLUMNS_MAX];
    place_row(k, u, at);
    passes[k->pass].row(k, at, out);
    memset(out + k->centres, 0, (k->padded - k->centres) * sizeof *out);
}

double kernel_sum(const struct kernel *k, const double *u, const double *coefficients)
{
    double at[COLUMNS_MAX], s[KERNEL_LANES];
    place_row(k, u, at);
    passes[k->pass].sum(k, at, coefficients, s);
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}
