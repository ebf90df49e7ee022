/* ridge.h - the solver: least squares with an L2 penalty, from rows that stream by.
 *
 *   minimise over b, beta:   |y - b - X beta|^2 + lambda beta'P beta     (b is not penalised)
 *
 * P is the identity, or a metric that the caller gives: with X = [k(u_i, z_m)] and P = [k(z_l, z_m)]
 * that is kernel ridge regression on the centres z (Nystroem's features without making them).
 *
 * Idea:    pass 1 over the rows sums up the centred Gram matrix; one factorisation of it answers
 *          every penalty (Cholesky for one, eigenvectors for several); pass 2 computes each row's
 *          leave-one-out residual r_i / (1 - h_i) for every penalty in closed form. With more
 *          columns than rows the (rows, rows) matrix is factored instead. A metric is taken in by
 *          reduction (P = LL', L^-1 Gram L'^-1). ridge_gradient differentiates the leave-one-out
 *          error by every number of X and P. The sums of pass 1 add up over parts of the rows and can be
 *          taken away again (struct ridge_moments). The only file that knows BLAS and LAPACK.
 * Does not: scale columns, make features, hold (rows, cols) in memory when rows > cols, print.
 * Threads: ridge_fit has no state of its own, but OpenBLAS's thread count belongs to the process.
 *          The callbacks run on the calling thread.
 * Memory:  at most 4 m^2 doubles, m = min(rows, cols) - plus rows * cols when rows < cols, and then
 *          cols^2 for a metric - and 64 MB of row blocks, independent of rows. struct ridge is
 *          released with ridge_clear.
 * Errors:  ERR_INVALID bad shape, penalty, or value ("row 17, column 3: not finite"), or a source
 *          that does not keep its promises; ERR_NUMERIC no finite or no unique answer;
 *          ERR_TOO_LARGE; ERR_NO_MEMORY; whatever a callback reports.
 */
#ifndef MODEL_RIDGE_H
#define MODEL_RIDGE_H

#include "base/error.h"
#include "model/matrix.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RIDGE_MAX_COLS = 16384,
    RIDGE_MAX_PENALTIES = 256,
    RIDGE_KERNEL_MAX = 32, /* bytes of ridge_kernel's text with its NUL */
};

/* Rows, made or read by the caller block by block, the same rows on every pass. */
struct ridge_source {
    size_t cols;   /* columns of X, 1 .. RIDGE_MAX_COLS */
    uint64_t rows; /* exactly what a pass delivers, at least 1 */
    void *ctx;
    /* Fills x (max_rows, cols), row-major, and y (max_rows) with rows first, first + 1, ...; *rows,
     * 1 .. max_rows, says how many. A pass asks for first = 0, then for what follows, up to the last
     * row; first = 0 so begins a new pass. */
    bool (*read)(void *ctx, uint64_t first, size_t max_rows, double *x, double *y, size_t *rows,
                 struct error *err);
};

struct ridge_options {
    /* One penalty is used as it is. Several are compared by leave-one-out. None (count 0) means the
     * default path: s * 10^(k / 2), k = -16 .. 8, s the mean column's centred sum of squares (1 if
     * that is 0) - for standardised columns s is the number of rows. Each is finite and above 0; a
     * single one may be 0, ERR_NUMERIC if the rows then leave beta undetermined. */
    const double *penalties;
    size_t penalty_count;

    /* Fills p (cols, cols) with P, symmetric and positive definite; the diagonal gets 1e-8 times its
     * mean on top, so that P may be singular to rounding. NULL: the identity. */
    bool (*metric)(void *ctx, double *p, struct error *err);
    void *metric_ctx;

    /* Compute leave-one-out figures for a single penalty too; several always have them. Costs the
     * second pass. */
    bool leave_one_out;

    /* Whether a row's own leave-one-out error counts; NULL: all count. Rows that do not count cost
     * next to nothing in pass 2, and still are in the fit. */
    bool (*judged)(void *ctx, uint64_t row);
    void *judged_ctx;

    /* Receives each judged row's leave-one-out residuals, y - prediction without that row, one per
     * penalty in the order of struct ridge's penalties; rows ascend. NULL: not wanted. Infinite
     * where the rows do not determine it. */
    bool (*residuals)(void *ctx, uint64_t row, const double *residual, size_t penalty_count,
                      struct error *err);
    void *residuals_ctx;
};

/* Leave-one-out figures. */
struct ridge_figures {
    uint64_t rows;    /* judged rows; 0: not measured, and the rest NAN */
    double mae, rmse; /* infinite where a residual is */
    double r2;        /* 1 - SSE / SST over the judged rows; NAN when their targets are all equal */
};

/* The fitted model and how it was chosen. */
struct ridge {
    size_t cols;
    double intercept;
    double *beta;   /* (cols) */
    double *mean;   /* (cols) of X over all rows */
    double mean_y;  /* intercept = mean_y - mean . beta */
    double penalty; /* penalties[chosen] */

    size_t penalty_count, chosen;
    double *penalties;                   /* (penalty_count) */
    struct ridge_figures *leave_one_out; /* (penalty_count) */
};

/* Fits *out. Of several penalties the least leave-one-out mean squared error wins, the larger
 * penalty when equal. options may be NULL: the default path. Several penalties need at least two
 * rows. Constant columns get beta 0. */
bool ridge_fit(const struct ridge_source *source, const struct ridge_options *options,
               struct ridge *out, struct error *err) MUST_CHECK;

/* Where ridge_gradient puts what it finds; the arrays are the callee's to change. */
struct ridge_gradient {
    void *ctx;
    /* Derivatives by the numbers of rows first, first + 1, ... of X: dx (rows, cols). */
    bool (*rows)(void *ctx, uint64_t first, size_t rows, double *dx, struct error *err);
    /* Derivatives by the numbers of P: dp (cols, cols). */
    bool (*metric)(void *ctx, double *dp, struct error *err);
    double error;          /* mean square of the judged rows' leave-one-out residuals */
    double by_log_penalty; /* its derivative by log lambda */
};

/* The leave-one-out error of one penalty (options: that, a metric, judged) and its gradient, found in
 * three passes over the rows. Needs at least as many rows as columns and a metric; rows that do not
 * determine themselves only (ERR_NUMERIC). */
bool ridge_gradient(const struct ridge_source *source, const struct ridge_options *options,
                    struct ridge_gradient *out, struct error *err) MUST_CHECK;

/* Releases what ridge_fit allocated and zeroes *r. */
void ridge_clear(struct ridge *r);

/* ---- moments: all that a fit at one penalty needs to know of its rows, and they add up ---- */

struct ridge_moments {
    size_t cols;
    uint64_t rows;
    struct matrix mean; /* (cols, 1) of X */
    struct matrix gram; /* (cols, cols): the lower triangle, by columns, of Xc'Xc, Xc = X - mean */
    struct matrix xy;   /* (cols, 1): Xc'yc */
    double mean_y, yy;  /* yy = yc'yc */
    struct matrix sum;  /* (cols, 1); with sum_y: what only ridge_moments_add and _finish know */
    double sum_y;
};

/* Moments of no rows; 1 .. RIDGE_MAX_COLS columns. Released with ridge_moments_clear. */
bool ridge_moments_init(struct ridge_moments *m, size_t cols, struct error *err) MUST_CHECK;
void ridge_moments_clear(struct ridge_moments *m);

/* Takes in rows x(rows, cols), row-major, and y(rows), at least one, all finite; both are changed. All
 * blocks but the last should have as many rows as may be: the first one's mean is what keeps the digits. */
void ridge_moments_add(struct ridge_moments *m, size_t rows, double *x, double *y);

/* After the last ridge_moments_add: the fields are what they are called. */
void ridge_moments_finish(struct ridge_moments *m);

/* Adds or takes away the rows of a part, finished moments of as many columns. ERR_INVALID when rows are
 * taken away that cannot have been there; *m is then good for nothing but clearing.
 * Source: Chan, Golub and LeVeque 1979. */
bool ridge_moments_merge(struct ridge_moments *m, const struct ridge_moments *part,
                         struct error *err) MUST_CHECK;
bool ridge_moments_subtract(struct ridge_moments *m, const struct ridge_moments *part,
                            struct error *err) MUST_CHECK;

/* ridge_fit from moments and with a single penalty; there are no leave-one-out figures. Of the options
 * penalties and metric count. Memory: cols^2 doubles, twice that with a metric. */
bool ridge_solve(const struct ridge_moments *m, const struct ridge_options *options,
                 struct ridge *out, struct error *err) MUST_CHECK;

/* squares(penalty_count) = sum of the squared errors that the fits to all rows but the part's make on
 * the part's rows, exact but for rounding. Of the options penalties, all above 0, and metric count.
 * Memory: 3 cols^2 doubles, 4 cols^2 with a metric. */
bool ridge_held_out(const struct ridge_moments *all, const struct ridge_moments *part,
                    const struct ridge_options *options, double *squares,
                    struct error *err) MUST_CHECK;

/* ---- what did the work, for the training card ---- */

/* OpenBLAS's core name ("SkylakeX"), followed by ", foreign LAPACK" when the LAPACK in use is not
 * OpenBLAS's: answers are then as right but slower. */
void ridge_kernel(char text[RIDGE_KERNEL_MAX]);

/* OpenBLAS's thread count, process-wide. */
unsigned ridge_threads(void);

/* Sets it; 0 is taken as 1. */
void ridge_set_threads(unsigned threads);

#endif
