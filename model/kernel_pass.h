/* kernel_pass.h - the pass over the centres for one kind of CPU; kernel.c includes it once for each.
 *
 * Idea:    the same C in vectors of LANES doubles. Versions differ in the width of their vectors only:
 *          every centre goes through the same roundings in the same order, so all give the same bits.
 *          A template, hence no include guard.
 * Takes:   NAME(x): x with the version's name; TARGET: attributes of its functions; LANES: 2, 4 or 8;
 *          FMA(a, b, c), MAX_ABS(a, b) = max(|a|, |b|) and ADD_BELOW(p, q, s) = p + q where
 *          s < EXP2_END, else 0, for its vectors; the rest is kernel.c's.
 */

typedef double NAME(lanes) __attribute__((vector_size(LANES * sizeof(double))));
typedef uint64_t NAME(bits) __attribute__((vector_size(LANES * sizeof(double))));
/* Where somebody else's array has them: aligned as a double is. */
typedef double NAME(loose)
    __attribute__((vector_size(LANES * sizeof(double)), aligned(sizeof(double)), may_alias));

TARGET INLINE NAME(lanes) NAME(all)(double x)
{
    return x - (NAME(lanes)){0}; /* not +, which would change -0 and so cost an addition */
}

/* 2^-s for s >= 0: s = n + r with n whole and |r| <= 1/2, then a polynomial in r, then n taken from its
 * exponent. Adding ROUNDER rounds, and leaves -n in the lowest bits. */
TARGET INLINE NAME(lanes) NAME(exp2_minus)(NAME(lanes) s)
{
    const NAME(lanes) shifted = ROUNDER - s, r = s + (shifted - ROUNDER);
    NAME(lanes) p = NAME(all)(EXP2_10);
    p = FMA(p, r, NAME(all)(EXP2_9));
    p = FMA(p, r, NAME(all)(EXP2_8));
    p = FMA(p, r, NAME(all)(EXP2_7));
    p = FMA(p, r, NAME(all)(EXP2_6));
    p = FMA(p, r, NAME(all)(EXP2_5));
    p = FMA(p, r, NAME(all)(EXP2_4));
    p = FMA(p, r, NAME(all)(EXP2_3));
    p = FMA(p, r, NAME(all)(EXP2_2));
    p = FMA(p, r, NAME(all)(EXP2_1));
    p = FMA(p, r, NAME(all)(1.0));
    return (NAME(lanes))ADD_BELOW((NAME(bits))p, (NAME(bits))shifted << 52, s);
}

/* out = k(at, z) of the centres of `blocks` blocks, at most GROUP. Both callers give a constant, so the
 * inner loops unroll and the sums stay in registers; several blocks hide each other's latency. */
TARGET INLINE void NAME(evaluate)(const struct kernel *k, const double *at, const double *points,
                                  size_t blocks, NAME(lanes) * out)
{
    const size_t per_block = KERNEL_LANES / LANES, vectors = blocks * per_block;
    const size_t columns = k->columns;
    const NAME(lanes) zero = {0};
    UNROLL
    for (size_t v = 0; v < vectors; v++)
        out[v] = zero;
    for (size_t j = 0; j < columns; j += 2) {
        const NAME(lanes) sum = NAME(all)(at[j]), difference = NAME(all)(at[j + 1]);
        UNROLL
        for (size_t v = 0; v < vectors; v++) {
            const double *z =
                points + (v / per_block * columns + j) * KERNEL_LANES + v % per_block * LANES;
            const NAME(lanes) a = sum - *(const NAME(loose) *)z;
            const NAME(lanes) b = difference - *(const NAME(loose) *)(z + KERNEL_LANES);
            out[v] += MAX_ABS(a, b);
        }
    }
    UNROLL
    for (size_t v = 0; v < vectors; v++)
        out[v] = NAME(exp2_minus)(out[v]);
}

TARGET INLINE void NAME(store)(const NAME(lanes) * from, size_t vectors, double *to)
{
    UNROLL
    for (size_t v = 0; v < vectors; v++)
        *(NAME(loose) *)(to + v * LANES) = from[v];
}

TARGET static void NAME(row)(const struct kernel *k, const double *at, double *out)
{
    const double *points = k->points;
    size_t left = k->padded / KERNEL_LANES;
    NAME(lanes) value[GROUP * KERNEL_LANES / LANES];
    for (; left >= GROUP; left -= GROUP) {
        NAME(evaluate)(k, at, points, GROUP, value);
        NAME(store)(value, GROUP * KERNEL_LANES / LANES, out);
        points += GROUP * k->columns * KERNEL_LANES;
        out += GROUP * KERNEL_LANES;
    }
    for (; left > 0; left--) {
        NAME(evaluate)(k, at, points, 1, value);
        NAME(store)(value, KERNEL_LANES / LANES, out);
        points += k->columns * KERNEL_LANES;
        out += KERNEL_LANES;
    }
}

/* sum += coefficients * value, block after block. */
TARGET INLINE void NAME(accumulate)(const NAME(lanes) * value, const double *coefficients,
                                    size_t blocks, NAME(lanes) * sum)
{
    const size_t per_block = KERNEL_LANES / LANES;
    UNROLL
    for (size_t v = 0; v < blocks * per_block; v++) {
        const NAME(lanes) c = *(const NAME(loose) *)(coefficients + v * LANES);
        sum[v % per_block] = FMA(value[v], c, sum[v % per_block]);
    }
}

TARGET static void NAME(sum)(const struct kernel *k, const double *at, const double *coefficients,
                             double sums[KERNEL_LANES])
{
    const double *points = k->points;
    size_t left = k->padded / KERNEL_LANES;
    NAME(lanes) value[GROUP * KERNEL_LANES / LANES], sum[KERNEL_LANES / LANES] = {{0}};
    for (; left >= GROUP; left -= GROUP) {
        NAME(evaluate)(k, at, points, GROUP, value);
        NAME(accumulate)(value, coefficients, GROUP, sum);
        points += GROUP * k->columns * KERNEL_LANES;
        coefficients += GROUP * KERNEL_LANES;
    }
    for (; left > 0; left--) {
        NAME(evaluate)(k, at, points, 1, value);
        NAME(accumulate)(value, coefficients, 1, sum);
        points += k->columns * KERNEL_LANES;
        coefficients += KERNEL_LANES;
    }
    NAME(store)(sum, KERNEL_LANES / LANES, sums);
}

#undef NAME
#undef TARGET
#undef LANES
#undef FMA
#undef MAX_ABS
#undef ADD_BELOW
