/* Let Xc and yc be centred. The penalised solution is beta = (Xc'Xc + lambda)^-1 Xc'yc, and row i's
 * leave-one-out residual is r_i / (1 - h_i) with h_i = 1/n + xc_i'(Xc'Xc + lambda)^-1 xc_i (Allen
 * 1974; Golub, Heath and Wahba 1979). Every form of the problem is brought to a basis with rows q_i
 * in which the inverse is diagonal:
 *
 *   Cholesky, one penalty     Xc'Xc + lambda = LL'   q_i = L^-1 xc_i   z = L^-1 Xc'yc   weights 1
 *   eigenvectors, any number  Xc'Xc = V D V'         q_i = V' xc_i     z = V' Xc'yc     1/(d + lambda)
 *   dual, rows < columns      K = U D U'             q_i = row i of U  z = U' yc        1/(d + lambda)
 *
 * With a = sum_j q_ij z_j w_j and b = sum_j q_ij^2 w_j, two matrix products per block of rows for all
 * penalties, the first two have r = yc - a and 1 - h = 1 - 1/n - b. In the dual K = Xc Xc' + s 11'/n:
 * centring makes 1 an eigenvector of eigenvalue 0, and the lift s keeps its rounding error out of
 * sums that are divided by lambda. There r = lambda a and 1 - h = lambda (b - 1/(n (s + lambda))),
 * which holds its digits when h is close to 1.
 *
 * A metric P = LL' turns Xc'Xc into L^-1 Xc'Xc L'^-1 and the eigenvectors V back into L'^-1 V, so that
 * the rows stay as they come; one penalty needs Xc'Xc + lambda P only; in the dual it is the rows that
 * are reduced, Xc L'^-1.
 *
 * The Gram matrix is summed over rows from which a pilot, the mean of the first block, has been
 * subtracted, and moved to the true mean at the end. The first block being B of n rows, the pilot is
 * at most sqrt(n / B) standard deviations off, which bounds the digits that the move can cost. */
#define _GNU_SOURCE /* dladdr, RTLD_DEFAULT */
#include "model/ridge.h"

#include "model/matrix.h"

#include <cblas.h>
#include <dlfcn.h>
#include <float.h>
#include <inttypes.h>
#include <lapacke.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BLOCK_ROWS = 1024,
    BLOCK_NUMBERS = 1 << 22, /* 32 MB */
    PATH_POINTS = 25,
};

/* Below this 1 - h is mostly rounding error, and so is a residual divided by it. */
static const double remainder_min = 1e-12;

/* How far below 0 rounding takes a sum of squares, in units of what was taken away. */
static const double removal_tolerance = 1e-6;

/* What the diagonal of a metric gets on top, in units of its mean. */
static const double metric_jitter = 1e-8;

enum form { FORM_CHOLESKY, FORM_EIGEN, FORM_DUAL };

/* One ridge_fit at work. */
struct fit {
    const struct ridge_source *source;
    const struct ridge_options *options;
    struct ridge *out;
    enum form form;
    size_t size;        /* of the factored matrix */
    struct matrix x, y; /* a block of rows, (rows, cols) and (rows, 1); dual: all of them */
    /* (size, size), column-major: the sums of products, then V or U, or L below and on the diagonal and
     * what was factored above it. */
    struct matrix factor;
    struct matrix metric; /* (cols, cols), if there is one: P, then its factor L */
    struct matrix spread; /* (cols, 1): sum of squares of each centred column */
    struct matrix xy;     /* (cols, 1): Xc'yc; not in the dual */
    double lift;          /* dual: s */
    struct matrix d;      /* (size, 1): eigenvalues; Cholesky: the diagonal of what was factored */
    struct matrix z;      /* (size, 1) */
    struct matrix weight; /* (size, penalties): w */
    struct matrix scaled; /* (size, penalties): z_j w_jl */
};

/* Leave-one-out errors, summed up block by block. */
struct tally {
    struct matrix q;    /* (block rows, size); Cholesky makes q in place, in the fit's x */
    struct matrix a, b; /* (block rows, penalties) */
    struct matrix yc;   /* (block rows, 1): centred targets */
    uint64_t *row;      /* (block rows): the source's row */
    struct matrix sums; /* (2, penalties): of |e| and of e^2 */
    uint64_t rows;
    double sum_y, sum_yy; /* of centred targets */
};

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- rows ---- */

static size_t block_rows(const struct ridge_source *source)
{
    size_t rows = smaller(BLOCK_ROWS, BLOCK_NUMBERS / source->cols);
    return source->rows < rows ? (size_t)source->rows : rows;
}

static bool check_finite(const struct fit *f, uint64_t first, size_t at, size_t rows,
                         struct error *err)
{
    for (size_t i = 0; i < rows; i++) {
        const double *x = matrix_row(&f->x, at + i), y = f->y.data[at + i];
        for (size_t j = 0; j < f->x.cols; j++)
            if (!isfinite(x[j]))
                return error_set(err, ERR_INVALID,
                                 "x[%" PRIu64 "][%zu]: expected a finite number, got %g", first + i,
                                 j, x[j]);
        if (!isfinite(y))
            return error_set(err, ERR_INVALID, "y[%" PRIu64 "]: expected a finite number, got %g",
                             first + i, y);
    }
    return true;
}

/* Reads the source's rows from `first` on into the block's rows from `at` on, at least one. */
static bool read_rows(struct fit *f, uint64_t first, size_t at, size_t *rows, struct error *err)
{
    const struct ridge_source *source = f->source;
    uint64_t left = source->rows - first;
    size_t max_rows = smaller(left < SIZE_MAX ? (size_t)left : SIZE_MAX, f->x.rows - at);
    *rows = 0;
    if (!source->read(source->ctx, first, max_rows, matrix_row(&f->x, at), f->y.data + at, rows,
                      err))
        return false;
    if (*rows == 0 || *rows > max_rows)
        return error_set(err, ERR_INVALID,
                         "rows: expected %" PRIu64
                         ", the source gave %zu of the %zu from row %" PRIu64 " on",
                         source->rows, *rows, max_rows, first);
    return check_finite(f, first, at, *rows, err);
}

/* Means of x(rows, cols) and y(rows), relative to the first row so that a constant's is exact. */
static void find_means(const double *x, const double *y, size_t rows, size_t cols, double *mean,
                       double *mean_y)
{
    double sum_y = 0, n = (double)rows;
    memset(mean, 0, cols * sizeof *mean);
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < cols; j++)
            mean[j] += x[i * cols + j] - x[j];
        sum_y += y[i] - y[0];
    }
    for (size_t j = 0; j < cols; j++)
        mean[j] = x[j] + mean[j] / n;
    *mean_y = y[0] + sum_y / n;
}

static void centre(double *x, double *y, size_t rows, size_t cols, const double *mean,
                   double mean_y)
{
    for (size_t i = 0; i < rows; i++, x += cols) {
        for (size_t j = 0; j < cols; j++)
            x[j] -= mean[j];
        y[i] -= mean_y;
    }
}

static void centre_rows(struct fit *f, size_t rows)
{
    centre(f->x.data, f->y.data, rows, f->x.cols, f->out->mean, f->out->mean_y);
}

/* ---- LAPACK ---- */

static bool undetermined(double penalty, const char *why, struct error *err)
{
    return error_set(err, ERR_NUMERIC, "penalty %g leaves the coefficients undetermined: %s",
                     penalty, why);
}

static bool factored(const char *routine, lapack_int info, struct error *err)
{
    if (info == 0)
        return true;
    if (info == LAPACK_WORK_MEMORY_ERROR || info == LAPACK_TRANSPOSE_MEMORY_ERROR)
        return error_set(err, ERR_NO_MEMORY, "%s: out of memory", routine);
    return error_set(err, ERR_NUMERIC, "%s: failed with status %d", routine, (int)info);
}

/* ---- metric ---- */

static bool fill_metric(struct fit *f, struct error *err)
{
    size_t p = f->out->cols;
    double trace = 0;
    if (!matrix_init(&f->metric, p, p, err) ||
        !f->options->metric(f->options->metric_ctx, f->metric.data, err))
        return false;
    for (size_t j = 0; j < p; j++)
        trace += f->metric.data[j * p + j];
    for (size_t j = 0; j < p; j++)
        f->metric.data[j * p + j] += metric_jitter * trace / (double)p;
    return isfinite(trace) || error_set(err, ERR_INVALID, "metric: expected finite numbers");
}

static bool factor_metric(struct fit *f, struct error *err)
{
    lapack_int p = (lapack_int)f->out->cols;
    if (!fill_metric(f, err))
        return false;
    lapack_int info = LAPACKE_dpotrf(LAPACK_COL_MAJOR, 'L', p, f->metric.data, p);
    if (info > 0)
        return error_set(err, ERR_NUMERIC, "metric: not positive definite");
    return factored("metric", info, err);
}

/* The Gram matrix of rows that are reduced by the metric. */
static bool reduce_gram(struct fit *f, struct error *err)
{
    lapack_int p = (lapack_int)f->size;
    return factor_metric(f, err) && factored("reduction",
                                             LAPACKE_dsygst(LAPACK_COL_MAJOR, 1, 'L', p,
                                                            f->factor.data, p, f->metric.data, p),
                                             err);
}

/* Columns of `vectors` (cols, count) from the reduced basis back to the columns of X. */
static void expand(const struct fit *f, double *vectors, size_t count)
{
    int p = (int)f->out->cols;
    cblas_dtrsm(CblasColMajor, CblasLeft, CblasLower, CblasTrans, CblasNonUnit, p, (int)count, 1,
                f->metric.data, p, vectors, p);
}

/* ---- moments ---- */

static bool check_cols(size_t cols, struct error *err)
{
    return (cols > 0 && cols <= RIDGE_MAX_COLS) ||
           error_set(err, ERR_INVALID, "columns: expected 1 to %d, got %zu", RIDGE_MAX_COLS, cols);
}

bool ridge_moments_init(struct ridge_moments *m, size_t cols, struct error *err)
{
    *m = (struct ridge_moments){.cols = cols};
    if (check_cols(cols, err) && matrix_init(&m->mean, cols, 1, err) &&
        matrix_init(&m->gram, cols, cols, err) && matrix_init(&m->xy, cols, 1, err) &&
        matrix_init(&m->sum, cols, 1, err))
        return true;
    ridge_moments_clear(m);
    return false;
}

void ridge_moments_clear(struct ridge_moments *m)
{
    matrix_clear(&m->mean);
    matrix_clear(&m->gram);
    matrix_clear(&m->xy);
    matrix_clear(&m->sum);
    *m = (struct ridge_moments){.cols = 0};
}

/* The sums are about the pilot, which is in mean until ridge_moments_finish. */
void ridge_moments_add(struct ridge_moments *m, size_t rows, double *x, double *y)
{
    int p = (int)m->cols, n = (int)rows;
    if (m->rows == 0)
        find_means(x, y, rows, m->cols, m->mean.data, &m->mean_y);
    centre(x, y, rows, m->cols, m->mean.data, m->mean_y);
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < m->cols; j++)
            m->sum.data[j] += x[i * m->cols + j];
        m->sum_y += y[i];
        m->yy += y[i] * y[i];
    }
    cblas_dsyrk(CblasColMajor, CblasLower, CblasNoTrans, p, n, 1, x, p, 1, m->gram.data, p);
    cblas_dgemv(CblasColMajor, CblasNoTrans, p, n, 1, x, p, y, 1, 1, m->xy.data, 1);
    m->rows += rows;
}

/* Moves the sums from the pilot to the mean. */
void ridge_moments_finish(struct ridge_moments *m)
{
    int p = (int)m->cols;
    double n = (double)m->rows, *sum = m->sum.data, sum_y = m->sum_y;
    if (m->rows == 0)
        return;
    cblas_dsyr(CblasColMajor, CblasLower, p, -1 / n, sum, 1, m->gram.data, p);
    cblas_daxpy(p, -sum_y / n, sum, 1, m->xy.data, 1);
    cblas_daxpy(p, 1 / n, sum, 1, m->mean.data, 1);
    m->mean_y += sum_y / n;
    m->yy = fmax(m->yy - sum_y * sum_y / n, 0);
    memset(sum, 0, m->cols * sizeof *sum);
    m->sum_y = 0;
}

/* What is left of a sum of squares; rounding may leave less than nothing. */
static bool check_squares(double *left, double taken, struct error *err)
{
    if (!(*left >= -removal_tolerance * taken))
        return error_set(err, ERR_INVALID, "expected rows that are part of the others");
    *left = fmax(*left, 0);
    return true;
}

/* With N rows about m and k about q, d = q - m, s = 1 or -1: there are N + s k rows, their mean is
 * m + s k/(N + s k) d, and their sums of products are those of m plus s times the part's and
 * s N k/(N + s k) dd'. */
static bool combine(struct ridge_moments *m, const struct ridge_moments *part, int sign,
                    struct error *err)
{
    int p = (int)m->cols;
    double n = (double)m->rows, k = (double)part->rows, s = sign, rows = n + s * k;
    double *d = m->sum.data;
    if (part->cols != m->cols)
        return error_set(err, ERR_INVALID, "columns: expected %zu, got %zu", m->cols, part->cols);
    for (size_t j = 0; j < m->cols; j++)
        d[j] = part->mean.data[j] - m->mean.data[j];
    double d_y = part->mean_y - m->mean_y, weight = s * n * k / rows;
    for (size_t j = 0; j < m->cols; j++)
        cblas_daxpy(p - (int)j, s, part->gram.data + j * m->cols + j, 1,
                    m->gram.data + j * m->cols + j, 1);
    cblas_dsyr(CblasColMajor, CblasLower, p, weight, d, 1, m->gram.data, p);
    cblas_daxpy(p, s, part->xy.data, 1, m->xy.data, 1);
    cblas_daxpy(p, weight * d_y, d, 1, m->xy.data, 1);
    cblas_daxpy(p, s * k / rows, d, 1, m->mean.data, 1);
    m->yy += s * part->yy + weight * d_y * d_y;
    m->mean_y += s * k / rows * d_y;
    m->rows = sign > 0 ? m->rows + part->rows : m->rows - part->rows;
    memset(d, 0, m->cols * sizeof *d);
    return true;
}

bool ridge_moments_merge(struct ridge_moments *m, const struct ridge_moments *part,
                         struct error *err)
{
    return part->rows == 0 || combine(m, part, 1, err);
}

bool ridge_moments_subtract(struct ridge_moments *m, const struct ridge_moments *part,
                            struct error *err)
{
    if (part->rows == 0)
        return true;
    if (part->rows >= m->rows)
        return error_set(err, ERR_INVALID, "rows: expected fewer than %" PRIu64 ", got %" PRIu64,
                         m->rows, part->rows);
    if (!combine(m, part, -1, err) || !check_squares(&m->yy, part->yy, err))
        return false;
    for (size_t j = 0; j < m->cols; j++) {
        size_t at = j * m->cols + j;
        if (!check_squares(&m->gram.data[at], part->gram.data[at], err))
            return false;
    }
    return true;
}

/* ---- pass 1: sums of products ---- */

/* Makes the moments, which are used up, those of the fit. */
static void take_moments(struct fit *f, struct ridge_moments *m)
{
    f->factor = m->gram;
    f->xy = m->xy;
    m->gram = m->xy = (struct matrix){0};
    memcpy(f->out->mean, m->mean.data, m->cols * sizeof *f->out->mean);
    f->out->mean_y = m->mean_y;
    for (size_t j = 0; j < f->size; j++)
        f->spread.data[j] = f->factor.data[j * f->size + j];
}

static bool sum_products(struct fit *f, struct error *err)
{
    struct ridge_moments m;
    size_t rows = 0;
    bool ok = ridge_moments_init(&m, f->size, err);
    for (uint64_t first = 0; ok && first < f->source->rows; first += rows) {
        ok = read_rows(f, first, 0, &rows, err);
        if (ok)
            ridge_moments_add(&m, rows, f->x.data, f->y.data);
    }
    if (ok) {
        ridge_moments_finish(&m);
        take_moments(f, &m);
    }
    ridge_moments_clear(&m);
    return ok;
}

/* Lifts the eigenvalue of the vector of ones to the mean of all eigenvalues. */
static void lift_ones(struct fit *f)
{
    double trace = 0, n = (double)f->size;
    for (size_t i = 0; i < f->size; i++)
        trace += f->factor.data[i * f->size + i];
    f->lift = trace > 0 ? trace / n : 1;
    for (size_t i = 0; i < f->size * f->size; i++)
        f->factor.data[i] += f->lift / n;
}

/* The dual holds all rows, so their true mean comes first. */
static bool sum_products_dual(struct fit *f, struct error *err)
{
    int n = (int)f->size, p = (int)f->x.cols;
    size_t rows = 0;
    for (size_t first = 0; first < f->size; first += rows)
        if (!read_rows(f, first, first, &rows, err))
            return false;
    find_means(f->x.data, f->y.data, f->size, f->x.cols, f->out->mean, &f->out->mean_y);
    centre_rows(f, f->size);
    if (f->options->metric != NULL) {
        if (!factor_metric(f, err))
            return false;
        cblas_dtrsm(CblasColMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, p, n, 1,
                    f->metric.data, p, f->x.data, p);
    }
    cblas_dsyrk(CblasColMajor, CblasLower, CblasTrans, n, p, 1, f->x.data, p, 0, f->factor.data, n);
    lift_ones(f);
    for (size_t i = 0; i < f->size; i++) {
        const double *x = matrix_row(&f->x, i);
        for (size_t j = 0; j < f->x.cols; j++)
            f->spread.data[j] += x[j] * x[j];
    }
    return true;
}

/* ---- penalties ---- */

static bool check_penalties(const struct ridge_options *options, struct error *err)
{
    size_t count = options->penalty_count;
    if (count > RIDGE_MAX_PENALTIES)
        return error_set(err, ERR_INVALID, "penalties: expected at most %d, got %zu",
                         RIDGE_MAX_PENALTIES, count);
    for (size_t l = 0; l < count; l++) {
        double penalty = options->penalties[l];
        if (!isfinite(penalty) || penalty < 0 || (penalty == 0 && count > 1))
            return error_set(err, ERR_INVALID,
                             "penalties[%zu]: expected a finite number above 0, got %g", l,
                             penalty);
    }
    return true;
}

static bool check_options(const struct ridge_source *source, const struct ridge_options *options,
                          struct error *err)
{
    if (!check_cols(source->cols, err))
        return false;
    if (source->rows == 0)
        return error_set(err, ERR_INVALID, "rows: expected at least 1, got 0");
    if (source->rows < 2 && (options->penalty_count != 1 || options->leave_one_out))
        return error_set(err, ERR_INVALID, "rows: leave-one-out needs at least 2, got 1");
    return check_penalties(options, err);
}

/* Fills in the penalties, whose default path needs the spread of the columns. */
static bool set_penalties(struct fit *f, struct error *err)
{
    struct ridge *out = f->out;
    double trace = 0;
    for (size_t j = 0; j < out->cols; j++)
        trace += f->spread.data[j];
    if (!isfinite(trace))
        return error_set(err, ERR_NUMERIC, "columns: their squares exceed the largest double");
    double scale = trace > 0 ? trace / (double)out->cols : 1;
    for (size_t l = 0; l < out->penalty_count; l++)
        out->penalties[l] = f->options->penalty_count > 0 ? f->options->penalties[l]
                                                          : scale * pow(10, (double)l / 2 - 8);
    return true;
}

/* ---- factors ---- */

static bool add_penalty(struct fit *f, struct error *err)
{
    double *gram = f->factor.data, penalty = f->out->penalties[0];
    size_t p = f->size;
    if (f->options->metric == NULL) {
        for (size_t j = 0; j < p; j++)
            gram[j * p + j] += penalty;
        return true;
    }
    if (!fill_metric(f, err))
        return false;
    cblas_daxpy((int)(p * p), penalty, f->metric.data, 1, gram, 1);
    return true;
}

/* Keeps the matrix where its factor will not be. */
static void mirror(struct fit *f)
{
    size_t p = f->size;
    double *a = f->factor.data;
    for (size_t j = 0; j < p; j++) {
        f->d.data[j] = a[j * p + j];
        for (size_t i = j + 1; i < p; i++)
            a[i * p + j] = a[j * p + i];
    }
}

static bool factor_cholesky(struct fit *f, struct error *err)
{
    lapack_int p = (lapack_int)f->size;
    double *l = f->factor.data, penalty = f->out->penalties[0], condition = 0;
    if (!add_penalty(f, err))
        return false;
    mirror(f);
    double norm = LAPACKE_dlansy(LAPACK_COL_MAJOR, '1', 'L', p, l, p);
    lapack_int info = LAPACKE_dpotrf(LAPACK_COL_MAJOR, 'L', p, l, p);
    if (info == 0)
        info = LAPACKE_dpocon(LAPACK_COL_MAJOR, 'L', p, l, p, norm, &condition);
    if (info > 0 || (info == 0 && condition < DBL_EPSILON))
        return undetermined(penalty, "the columns are linearly dependent", err);
    if (!factored("Cholesky", info, err))
        return false;
    memcpy(f->z.data, f->xy.data, f->size * sizeof(double));
    cblas_dtrsv(CblasColMajor, CblasLower, CblasNoTrans, CblasNonUnit, p, l, p, f->z.data, 1);
    for (size_t j = 0; j < f->size; j++) {
        f->weight.data[j] = 1;
        f->scaled.data[j] = f->z.data[j];
    }
    return true;
}

static bool factor_eigen(struct fit *f, struct error *err)
{
    int m = (int)f->size;
    size_t count = f->out->penalty_count;
    const double *right = f->form == FORM_DUAL ? f->y.data : f->xy.data;
    if (f->form == FORM_DUAL && f->out->penalties[0] == 0)
        return undetermined(0, "there are fewer rows than columns", err);
    bool reduced = f->form == FORM_EIGEN && f->options->metric != NULL;
    if (reduced && !reduce_gram(f, err))
        return false;
    if (!factored("eigenvectors",
                  LAPACKE_dsyevd(LAPACK_COL_MAJOR, 'V', 'L', m, f->factor.data, m, f->d.data), err))
        return false;
    if (reduced) {
        expand(f, f->factor.data, f->size);
        matrix_clear(&f->metric);
    }
    cblas_dgemv(CblasColMajor, CblasTrans, m, m, 1, f->factor.data, m, right, 1, 0, f->z.data, 1);
    for (size_t j = 0; j < f->size; j++) {
        /* the matrix is semidefinite: below 0 is rounding error */
        double d = fmax(f->d.data[j], 0);
        for (size_t l = 0; l < count; l++) {
            double weight = 1 / (d + f->out->penalties[l]);
            matrix_row(&f->weight, j)[l] = weight;
            matrix_row(&f->scaled, j)[l] = f->z.data[j] * weight;
        }
    }
    return true;
}

/* ---- pass 2: leave-one-out ---- */

static bool tally_init(struct tally *t, const struct fit *f, struct error *err)
{
    size_t rows = block_rows(f->source), count = f->out->penalty_count;
    t->row = calloc(rows, sizeof *t->row);
    if (t->row == NULL)
        return error_set(err, ERR_NO_MEMORY, "leave-one-out: out of memory");
    return (f->form == FORM_CHOLESKY || matrix_init(&t->q, rows, f->size, err)) &&
           matrix_init(&t->a, rows, count, err) && matrix_init(&t->b, rows, count, err) &&
           matrix_init(&t->yc, rows, 1, err) && matrix_init(&t->sums, 2, count, err);
}

static void tally_clear(struct tally *t)
{
    matrix_clear(&t->q);
    matrix_clear(&t->a);
    matrix_clear(&t->b);
    matrix_clear(&t->yc);
    matrix_clear(&t->sums);
    free(t->row);
}

/* Picks the judged rows of the block that begins with row `first`; the dual has them centred and in
 * place, otherwise they are moved to the front of the block. Returns how many there are. */
static size_t pick_rows(struct fit *f, struct tally *t, uint64_t first, size_t rows)
{
    const struct ridge_options *options = f->options;
    const double *mean = f->out->mean;
    size_t picked = 0;
    for (size_t i = 0; i < rows; i++) {
        if (options->judged != NULL && !options->judged(options->judged_ctx, first + i))
            continue;
        t->row[picked] = first + i;
        if (f->form == FORM_DUAL) {
            t->yc.data[picked++] = f->y.data[first + i];
            continue;
        }
        const double *from = matrix_row(&f->x, i);
        double *to = matrix_row(&f->x, picked);
        for (size_t j = 0; j < f->x.cols; j++)
            to[j] = from[j] - mean[j];
        t->yc.data[picked++] = f->y.data[i] - f->out->mean_y;
    }
    return picked;
}

/* The picked rows in the basis of the factor, (rows, size), row-major. */
static double *project_rows(struct fit *f, struct tally *t, size_t rows)
{
    int n = (int)rows, m = (int)f->size;
    const double *factor = f->factor.data;
    switch (f->form) {
    case FORM_CHOLESKY: /* row-major, the lower L is the upper L' */
        cblas_dtrsm(CblasRowMajor, CblasRight, CblasUpper, CblasNoTrans, CblasNonUnit, n, m, 1,
                    factor, m, f->x.data, m);
        return f->x.data;
    case FORM_EIGEN:
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, m, m, 1, f->x.data, m, factor, m, 0,
                    t->q.data, m);
        return t->q.data;
    case FORM_DUAL:
        for (size_t i = 0; i < rows; i++)
            cblas_dcopy(m, factor + t->row[i], m, matrix_row(&t->q, i), 1);
        break;
    }
    return t->q.data;
}

/* Turns row i of a into leave-one-out residuals and adds them up. */
static void judge_row(const struct fit *f, struct tally *t, size_t i)
{
    double *a = matrix_row(&t->a, i), *b = matrix_row(&t->b, i), yc = t->yc.data[i];
    double n = (double)f->source->rows;
    for (size_t l = 0; l < f->out->penalty_count; l++) {
        double penalty = f->out->penalties[l];
        bool dual = f->form == FORM_DUAL;
        double r = dual ? penalty * a[l] : yc - a[l];
        double left = dual ? penalty * (b[l] - 1 / (n * (f->lift + penalty))) : 1 - 1 / n - b[l];
        a[l] = left > remainder_min ? r / left : INFINITY;
        matrix_row(&t->sums, 0)[l] += fabs(a[l]);
        matrix_row(&t->sums, 1)[l] += a[l] * a[l];
    }
    t->sum_y += yc;
    t->sum_yy += yc * yc;
    t->rows++;
}

static bool judge_rows(struct fit *f, struct tally *t, uint64_t first, size_t rows,
                       struct error *err)
{
    const struct ridge_options *options = f->options;
    size_t picked = pick_rows(f, t, first, rows), count = f->out->penalty_count;
    int n = (int)picked, m = (int)f->size, k = (int)count;
    if (picked == 0)
        return true;
    double *q = project_rows(f, t, picked);
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, k, m, 1, q, m, f->scaled.data, k, 0,
                t->a.data, k);
    for (size_t i = 0; i < picked * f->size; i++)
        q[i] *= q[i];
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, k, m, 1, q, m, f->weight.data, k, 0,
                t->b.data, k);
    for (size_t i = 0; i < picked; i++) {
        judge_row(f, t, i);
        if (options->residuals != NULL && !options->residuals(options->residuals_ctx, t->row[i],
                                                              matrix_row(&t->a, i), count, err))
            return false;
    }
    return true;
}

static void set_figures(const struct tally *t, struct ridge *out)
{
    double n = (double)t->rows, total = t->sum_yy - t->sum_y * t->sum_y / n;
    for (size_t l = 0; l < out->penalty_count && t->rows > 0; l++) {
        double absolute = matrix_row(&t->sums, 0)[l], square = matrix_row(&t->sums, 1)[l];
        out->leave_one_out[l] = (struct ridge_figures){
            .rows = t->rows,
            .mae = absolute / n,
            .rmse = sqrt(square / n),
            .r2 = total > 0 ? 1 - square / total : NAN,
        };
    }
}

static bool choose_penalty(struct ridge *out, struct error *err)
{
    size_t best = 0;
    for (size_t l = 1; l < out->penalty_count; l++) {
        double error = out->leave_one_out[l].rmse, least = out->leave_one_out[best].rmse;
        if (error < least || (error == least && out->penalties[l] > out->penalties[best]))
            best = l;
    }
    out->chosen = best;
    out->penalty = out->penalties[best];
    if (out->penalty_count == 1)
        return true;
    if (out->leave_one_out[best].rows == 0)
        return error_set(err, ERR_INVALID, "penalties: no row is judged, so none can be chosen");
    if (!isfinite(out->leave_one_out[best].rmse))
        return error_set(err, ERR_NUMERIC,
                         "penalties: none has a finite leave-one-out error, expected larger ones");
    return true;
}

static bool leave_one_out(struct fit *f, struct error *err)
{
    struct tally t = {.rows = 0};
    bool ok = false;
    size_t block = block_rows(f->source), rows = 0;
    if (!tally_init(&t, f, err))
        goto out;
    for (uint64_t first = 0; first < f->source->rows; first += rows) {
        if (f->form == FORM_DUAL)
            rows = smaller(block, f->size - (size_t)first);
        else if (!read_rows(f, first, 0, &rows, err))
            goto out;
        if (!judge_rows(f, &t, first, rows, err))
            goto out;
    }
    set_figures(&t, f->out);
    ok = true;
out:
    tally_clear(&t);
    return ok;
}

/* ---- the fit ---- */

/* All but the rows and the sums of their products. */
static bool fit_init_basis(struct fit *f, struct error *err)
{
    size_t count = f->out->penalty_count;
    return matrix_init(&f->spread, f->out->cols, 1, err) && matrix_init(&f->d, f->size, 1, err) &&
           matrix_init(&f->z, f->size, 1, err) && matrix_init(&f->weight, f->size, count, err) &&
           matrix_init(&f->scaled, f->size, count, err);
}

static bool fit_init(struct fit *f, struct error *err)
{
    const struct ridge_source *source = f->source;
    size_t cols = source->cols;
    if (source->rows < cols)
        f->form = FORM_DUAL;
    else
        f->form = f->out->penalty_count == 1 ? FORM_CHOLESKY : FORM_EIGEN;
    bool dual = f->form == FORM_DUAL;
    f->size = dual ? (size_t)source->rows : cols;
    size_t held = dual ? f->size : block_rows(source);
    return matrix_init(&f->x, held, cols, err) && matrix_init(&f->y, held, 1, err) &&
           (!dual || matrix_init(&f->factor, f->size, f->size, err)) && fit_init_basis(f, err);
}

static void fit_clear(struct fit *f)
{
    matrix_clear(&f->x);
    matrix_clear(&f->y);
    matrix_clear(&f->factor);
    matrix_clear(&f->metric);
    matrix_clear(&f->spread);
    matrix_clear(&f->xy);
    matrix_clear(&f->d);
    matrix_clear(&f->z);
    matrix_clear(&f->weight);
    matrix_clear(&f->scaled);
}

static bool ridge_init(struct ridge *r, size_t cols, size_t count, struct error *err)
{
    *r = (struct ridge){
        .cols = cols,
        .penalty_count = count,
        .beta = calloc(cols, sizeof *r->beta),
        .mean = calloc(cols, sizeof *r->mean),
        .penalties = calloc(count, sizeof *r->penalties),
        .leave_one_out = calloc(count, sizeof *r->leave_one_out),
    };
    if (r->beta == NULL || r->mean == NULL || r->penalties == NULL || r->leave_one_out == NULL)
        return error_set(err, ERR_NO_MEMORY, "ridge: out of memory for %zu columns", cols);
    for (size_t l = 0; l < count; l++)
        r->leave_one_out[l] = (struct ridge_figures){0, NAN, NAN, NAN};
    return true;
}

/* left(size) = Xc'yc - (Xc'Xc + lambda P) beta, with more digits than its terms have. */
static void subtract_product(const struct fit *f, const double *beta, long double *left)
{
    size_t p = f->size;
    for (size_t i = 0; i < p; i++) {
        const double *row = f->factor.data + i * p; /* its elements before the diagonal */
        long double sum = f->xy.data[i] - (long double)f->d.data[i] * beta[i];
        for (size_t j = 0; j < i; j++) {
            sum -= (long double)row[j] * beta[j];
            left[j] -= (long double)row[j] * beta[i];
        }
        left[i] = sum;
    }
}

/* A step of Newton's towards the coefficients that the sums determine, away from what rounding in the
 * factor made of them; fits to the same sums, added up in another order, then differ least. */
static bool refine(struct fit *f, struct error *err)
{
    int p = (int)f->size;
    double *step = f->z.data;
    long double *left = calloc(f->size, sizeof *left);
    if (left == NULL)
        return error_set(err, ERR_NO_MEMORY, "ridge: out of memory for %d columns", p);
    subtract_product(f, f->out->beta, left);
    for (size_t j = 0; j < f->size; j++)
        step[j] = (double)left[j];
    free(left);
    cblas_dtrsv(CblasColMajor, CblasLower, CblasNoTrans, CblasNonUnit, p, f->factor.data, p, step,
                1);
    cblas_dtrsv(CblasColMajor, CblasLower, CblasTrans, CblasNonUnit, p, f->factor.data, p, step, 1);
    cblas_daxpy(p, 1, step, 1, f->out->beta, 1);
    return true;
}

/* beta of the chosen penalty, from the basis back to the columns. */
static bool set_coefficients(struct fit *f, struct error *err)
{
    struct ridge *out = f->out;
    int m = (int)f->size, p = (int)out->cols, count = (int)out->penalty_count;
    const double *factor = f->factor.data, *chosen = f->scaled.data + out->chosen;
    switch (f->form) {
    case FORM_CHOLESKY:
        cblas_dcopy(p, chosen, 1, out->beta, 1);
        cblas_dtrsv(CblasColMajor, CblasLower, CblasTrans, CblasNonUnit, p, factor, p, out->beta,
                    1);
        if (!refine(f, err))
            return false;
        break;
    case FORM_EIGEN:
        cblas_dgemv(CblasColMajor, CblasNoTrans, p, p, 1, factor, p, chosen, count, 0, out->beta,
                    1);
        break;
    case FORM_DUAL:
        cblas_dgemv(CblasColMajor, CblasNoTrans, m, m, 1, factor, m, chosen, count, 0, f->z.data,
                    1);
        cblas_dgemv(CblasColMajor, CblasNoTrans, p, m, 1, f->x.data, p, f->z.data, 1, 0, out->beta,
                    1);
        if (f->options->metric != NULL)
            expand(f, out->beta, 1);
        break;
    }
    out->intercept = out->mean_y;
    for (size_t j = 0; j < out->cols; j++) {
        if (f->spread.data[j] == 0 && f->options->metric == NULL)
            out->beta[j] = 0; /* eigenvectors of equal eigenvalues may mix it with others */
        out->intercept -= out->mean[j] * out->beta[j];
        if (!isfinite(out->beta[j]))
            return error_set(err, ERR_NUMERIC, "beta[%zu]: not a finite number", j);
    }
    return isfinite(out->intercept) ||
           error_set(err, ERR_NUMERIC, "intercept: not a finite number");
}

static bool fit(struct fit *f, struct error *err)
{
    if (!fit_init(f, err))
        return false;
    if (!(f->form == FORM_DUAL ? sum_products_dual(f, err) : sum_products(f, err)))
        return false;
    if (!set_penalties(f, err))
        return false;
    if (!(f->form == FORM_CHOLESKY ? factor_cholesky(f, err) : factor_eigen(f, err)))
        return false;
    if ((f->out->penalty_count > 1 || f->options->leave_one_out) && !leave_one_out(f, err))
        return false;
    return choose_penalty(f->out, err) && set_coefficients(f, err);
}

bool ridge_fit(const struct ridge_source *source, const struct ridge_options *options,
               struct ridge *out, struct error *err)
{
    static const struct ridge_options defaults = {.penalty_count = 0};
    if (options == NULL)
        options = &defaults;
    size_t count = options->penalty_count > 0 ? options->penalty_count : PATH_POINTS;
    struct fit f = {.source = source, .options = options, .out = out};
    *out = (struct ridge){.cols = 0};
    bool ok = check_options(source, options, err) && ridge_init(out, source->cols, count, err) &&
              fit(&f, err);
    fit_clear(&f);
    if (!ok)
        ridge_clear(out);
    return ok;
}

/* ---- fits from moments ---- */

/* The fit's sums are those of `all` less the part's, if there is one. */
static bool start_from(struct fit *f, const struct ridge_moments *all,
                       const struct ridge_moments *part, struct error *err)
{
    struct ridge_moments m;
    bool ok = fit_init_basis(f, err) && ridge_moments_init(&m, all->cols, err);
    if (!ok)
        return false;
    ok = ridge_moments_merge(&m, all, err) &&
         (part == NULL || ridge_moments_subtract(&m, part, err));
    if (ok)
        take_moments(f, &m);
    ridge_moments_clear(&m);
    return ok && set_penalties(f, err);
}

bool ridge_solve(const struct ridge_moments *m, const struct ridge_options *options,
                 struct ridge *out, struct error *err)
{
    struct fit f = {.options = options, .out = out, .form = FORM_CHOLESKY, .size = m->cols};
    *out = (struct ridge){.cols = 0};
    bool ok = check_penalties(options, err);
    if (ok && (options->penalty_count != 1 || m->rows == 0))
        ok = error_set(err, ERR_INVALID, "solve: expected one penalty and at least one row");
    ok = ok && ridge_init(out, m->cols, 1, err) && start_from(&f, m, NULL, err) &&
         factor_cholesky(&f, err) && choose_penalty(out, err) && set_coefficients(&f, err);
    fit_clear(&f);
    if (!ok)
        ridge_clear(out);
    return ok;
}

/* Sums of squared errors on the part's rows: with centred rows Xc beta = yc - e up to a shift,
 * |e|^2 = yy - 2 beta'xy + beta'Xc'Xc beta + rows shift^2. */
static bool judge_part(const struct fit *f, const struct ridge_moments *part, double *squares,
                       struct error *err)
{
    struct matrix beta, product = {0};
    int p = (int)f->size, count = (int)f->out->penalty_count;
    bool ok = matrix_init(&beta, f->out->penalty_count, f->size, err) &&
              matrix_init(&product, f->out->penalty_count, f->size, err);
    if (ok) {
        cblas_dgemm(CblasColMajor, CblasNoTrans, CblasTrans, p, count, p, 1, f->factor.data, p,
                    f->scaled.data, count, 0, beta.data, p);
        cblas_dsymm(CblasColMajor, CblasLeft, CblasLower, p, count, 1, part->gram.data, p,
                    beta.data, p, 0, product.data, p);
    }
    for (size_t l = 0; ok && l < f->out->penalty_count; l++) {
        const double *b = matrix_row(&beta, l);
        double shift = part->mean_y - f->out->mean_y - cblas_ddot(p, b, 1, part->mean.data, 1) +
                       cblas_ddot(p, b, 1, f->out->mean, 1);
        double around = part->yy - 2 * cblas_ddot(p, b, 1, part->xy.data, 1) +
                        cblas_ddot(p, b, 1, matrix_row(&product, l), 1);
        squares[l] = fmax(around, 0) + (double)part->rows * shift * shift;
    }
    matrix_clear(&beta);
    matrix_clear(&product);
    return ok;
}

bool ridge_held_out(const struct ridge_moments *all, const struct ridge_moments *part,
                    const struct ridge_options *options, double *squares, struct error *err)
{
    struct ridge fitted = {.cols = 0};
    struct fit f = {.options = options, .out = &fitted, .form = FORM_EIGEN, .size = all->cols};
    bool ok = check_penalties(options, err);
    if (ok && (options->penalty_count == 0 || !(options->penalties[0] > 0)))
        ok = error_set(err, ERR_INVALID, "penalties: expected numbers above 0");
    ok = ok && ridge_init(&fitted, all->cols, options->penalty_count, err) &&
         start_from(&f, all, part, err) && factor_eigen(&f, err) &&
         judge_part(&f, part, squares, err);
    fit_clear(&f);
    ridge_clear(&fitted);
    return ok;
}

/* ---- the gradient of the leave-one-out error ---- */

/* With A = Xc'Xc + lambda P = LL', c = A^-1 Xc'yc, r = yc - Xc c, and for a judged row h = 1/n + xc'A^-1 xc
 * and e = r / (1 - h), the error is E = mean e^2 over the judged rows. Let alpha = dE/dr and beta = dE/dh
 * (0 for rows that are not judged), rows q = L^-1 xc of Q, v = A^-1 Xc'alpha, t = Xc v and
 * T = Q'diag(beta)Q. Then
 *
 *   dE/dXc = (t - alpha) c' - r v' + 2 (diag(beta) Q - Q T) L^-1
 *   dE/dP  = lambda (v c' - L'^-1 T L^-1)
 *
 * and dE/dX is dE/dXc less its column means, 1'dE/dXc = -(1'alpha) c' + 2 beta'Q L^-1. */
struct gradient {
    struct matrix q, b;          /* (block rows, size) */
    struct matrix t;             /* (size, size): T, its lower triangle by columns */
    struct matrix c, u, v, mean; /* (size, 1): u = Xc'alpha; mean of dE/dXc */
    struct matrix alpha, beta;   /* (rows, 1) */
    double squares;              /* sum of e^2 */
    size_t judged;
};

static bool gradient_init(struct gradient *g, const struct fit *f, struct error *err)
{
    size_t p = f->size, rows = (size_t)f->source->rows;
    return matrix_init(&g->q, f->x.rows, p, err) && matrix_init(&g->b, f->x.rows, p, err) &&
           matrix_init(&g->t, p, p, err) && matrix_init(&g->c, p, 1, err) &&
           matrix_init(&g->u, p, 1, err) && matrix_init(&g->v, p, 1, err) &&
           matrix_init(&g->mean, p, 1, err) && matrix_init(&g->alpha, rows, 1, err) &&
           matrix_init(&g->beta, rows, 1, err);
}

static void gradient_clear(struct gradient *g)
{
    matrix_clear(&g->q);
    matrix_clear(&g->b);
    matrix_clear(&g->t);
    matrix_clear(&g->c);
    matrix_clear(&g->u);
    matrix_clear(&g->v);
    matrix_clear(&g->mean);
    matrix_clear(&g->alpha);
    matrix_clear(&g->beta);
}

/* vector = L^-1 vector, or L'^-1 vector. */
static void solve(const struct fit *f, double *vector, bool transposed)
{
    cblas_dtrsv(CblasColMajor, CblasLower, transposed ? CblasTrans : CblasNoTrans, CblasNonUnit,
                (int)f->size, f->factor.data, (int)f->size, vector, 1);
}

/* Rows of q or, with Q L^-1, of a result: columns of their transpose. */
static void solve_rows(const struct fit *f, double *rows, size_t count, bool transposed)
{
    cblas_dtrsm(CblasColMajor, CblasLeft, CblasLower, transposed ? CblasTrans : CblasNoTrans,
                CblasNonUnit, (int)f->size, (int)count, 1, f->factor.data, (int)f->size, rows,
                (int)f->size);
}

/* Reads a block of rows, centred, and makes q of it. */
static bool read_block(struct fit *f, struct gradient *g, uint64_t first, size_t *rows,
                       struct error *err)
{
    if (!read_rows(f, first, 0, rows, err))
        return false;
    centre_rows(f, *rows);
    memcpy(g->q.data, f->x.data, *rows * f->size * sizeof(double));
    solve_rows(f, g->q.data, *rows, false);
    return true;
}

/* e, alpha and beta of the block's judged rows, not yet divided by their count. */
static bool judge_block(struct fit *f, struct gradient *g, uint64_t first, size_t rows,
                        struct error *err)
{
    const struct ridge_options *options = f->options;
    int p = (int)f->size;
    for (size_t i = 0; i < rows; i++) {
        uint64_t row = first + i;
        if (options->judged != NULL && !options->judged(options->judged_ctx, row))
            continue;
        const double *q = matrix_row(&g->q, i);
        double left = 1 - 1 / (double)f->source->rows - cblas_ddot(p, q, 1, q, 1);
        if (!(left > remainder_min))
            return undetermined(f->out->penalties[0], "a row determines itself", err);
        double e = (f->y.data[i] - cblas_ddot(p, q, 1, f->z.data, 1)) / left;
        g->squares += e * e;
        g->alpha.data[row] = 2 * e / left;
        g->beta.data[row] = 2 * e * e / left;
        g->judged++;
    }
    return true;
}

/* Adds the block to T, u and 2 beta'Q. */
static void add_block(struct fit *f, struct gradient *g, uint64_t first, size_t rows)
{
    int p = (int)f->size, n = (int)rows;
    const double *alpha = g->alpha.data + first, *beta = g->beta.data + first;
    cblas_dgemv(CblasRowMajor, CblasTrans, n, p, 1, f->x.data, p, alpha, 1, 1, g->u.data, 1);
    cblas_dgemv(CblasRowMajor, CblasTrans, n, p, 2, g->q.data, p, beta, 1, 1, g->mean.data, 1);
    for (size_t i = 0; i < rows; i++)
        cblas_dscal(p, sqrt(beta[i]), matrix_row(&g->q, i), 1);
    cblas_dsyrk(CblasColMajor, CblasLower, CblasNoTrans, p, n, 1, g->q.data, p, 1, g->t.data, p);
}

/* Divides the sums by the count of judged rows and finishes v and the mean. */
static void finish_sums(struct fit *f, struct gradient *g)
{
    int p = (int)f->size, n = (int)g->alpha.rows;
    double each = 1 / (double)g->judged, sum = 0;
    for (size_t i = 0; i < g->alpha.rows; i++)
        sum += g->alpha.data[i];
    solve(f, g->mean.data, true);
    cblas_daxpy(p, -sum, g->c.data, 1, g->mean.data, 1);
    cblas_dscal(p, each / n, g->mean.data, 1);
    cblas_dscal(n, each, g->alpha.data, 1);
    cblas_dscal(n, each, g->beta.data, 1);
    cblas_dscal(p * p, each, g->t.data, 1);
    cblas_daxpy(p, each, g->u.data, 1, g->v.data, 1);
    solve(f, g->v.data, false);
    solve(f, g->v.data, true);
}

static bool judge_all(struct fit *f, struct gradient *g, struct error *err)
{
    size_t rows = 0;
    for (uint64_t first = 0; first < f->source->rows; first += rows) {
        if (!read_block(f, g, first, &rows, err) || !judge_block(f, g, first, rows, err))
            return false;
        add_block(f, g, first, rows);
    }
    if (g->judged == 0)
        return error_set(err, ERR_INVALID, "gradient: no row is judged");
    finish_sums(f, g);
    return true;
}

/* b = dE/dX of the block. */
static void differentiate_block(const struct fit *f, struct gradient *g, uint64_t first,
                                size_t rows)
{
    int p = (int)f->size, n = (int)rows;
    cblas_dsymm(CblasColMajor, CblasLeft, CblasLower, p, n, -2, g->t.data, p, g->q.data, p, 0,
                g->b.data, p);
    for (size_t i = 0; i < rows; i++)
        cblas_daxpy(p, 2 * g->beta.data[first + i], matrix_row(&g->q, i), 1, matrix_row(&g->b, i),
                    1);
    solve_rows(f, g->b.data, rows, true);
    for (size_t i = 0; i < rows; i++) {
        const double *x = matrix_row(&f->x, i);
        double *b = matrix_row(&g->b, i);
        double r = f->y.data[i] - cblas_ddot(p, x, 1, g->c.data, 1);
        double t = cblas_ddot(p, x, 1, g->v.data, 1) - g->alpha.data[first + i];
        for (size_t j = 0; j < f->size; j++)
            b[j] += t * g->c.data[j] - r * g->v.data[j] - g->mean.data[j];
    }
}

static bool tell_rows(struct fit *f, struct gradient *g, const struct ridge_gradient *out,
                      struct error *err)
{
    size_t rows = 0;
    for (uint64_t first = 0; first < f->source->rows; first += rows) {
        if (!read_block(f, g, first, &rows, err))
            return false;
        differentiate_block(f, g, first, rows);
        if (!out->rows(out->ctx, first, rows, g->b.data, err))
            return false;
    }
    return true;
}

static bool tell_metric(struct fit *f, struct gradient *g, struct ridge_gradient *out,
                        struct error *err)
{
    size_t p = f->size;
    double penalty = f->out->penalties[0], *t = g->t.data;
    for (size_t j = 0; j < p; j++)
        for (size_t i = j + 1; i < p; i++)
            t[i * p + j] = t[j * p + i];
    solve_rows(f, t, p, true); /* T is symmetric: columns are rows */
    cblas_dtrsm(CblasColMajor, CblasRight, CblasLower, CblasNoTrans, CblasNonUnit, (int)p, (int)p,
                1, f->factor.data, (int)p, t, (int)p);
    out->by_log_penalty = 0;
    for (size_t i = 0; i < p; i++)
        for (size_t j = 0; j < p; j++) {
            t[i * p + j] = penalty * (g->v.data[i] * g->c.data[j] - t[i * p + j]);
            out->by_log_penalty += t[i * p + j] * f->metric.data[i * p + j];
        }
    return out->metric(out->ctx, t, err);
}

static bool gradient(struct fit *f, struct gradient *g, struct ridge_gradient *out,
                     struct error *err)
{
    if (!fit_init(f, err) || !gradient_init(g, f, err) || !sum_products(f, err) ||
        !set_penalties(f, err) || !factor_cholesky(f, err))
        return false;
    memcpy(g->c.data, f->z.data, f->size * sizeof(double));
    solve(f, g->c.data, true);
    if (!judge_all(f, g, err))
        return false;
    out->error = g->squares / (double)g->judged;
    return tell_rows(f, g, out, err) && tell_metric(f, g, out, err);
}

bool ridge_gradient(const struct ridge_source *source, const struct ridge_options *options,
                    struct ridge_gradient *out, struct error *err)
{
    struct ridge fitted = {.cols = 0};
    struct fit f = {.source = source, .options = options, .out = &fitted};
    struct gradient g = {.judged = 0};
    bool ok = check_options(source, options, err);
    if (ok && (options->penalty_count != 1 || options->metric == NULL ||
               source->rows < source->cols || source->rows > INT_MAX))
        ok = error_set(err, ERR_INVALID,
                       "gradient: expected one penalty, a metric and no more columns than rows");
    ok = ok && ridge_init(&fitted, source->cols, 1, err) && gradient(&f, &g, out, err);
    gradient_clear(&g);
    fit_clear(&f);
    ridge_clear(&fitted);
    return ok;
}

void ridge_clear(struct ridge *r)
{
    free(r->beta);
    free(r->mean);
    free(r->penalties);
    free(r->leave_one_out);
    *r = (struct ridge){.cols = 0};
}

/* ---- what did the work ---- */

/* Whether the dpotrf that LAPACKE calls lives in the same file as OpenBLAS, or in the liblapack that
 * distributions build from it and keep in a folder of its name. */
static bool lapack_is_openblas(void)
{
    Dl_info lapack, blas;
    void *dpotrf = dlsym(RTLD_DEFAULT, "dpotrf_");
    void *name = dlsym(RTLD_DEFAULT, "openblas_get_corename");
    if (dpotrf == NULL || name == NULL) /* linked statically: no telling, and no way to swap it */
        return true;
    return dladdr(dpotrf, &lapack) != 0 && dladdr(name, &blas) != 0 &&
           (lapack.dli_fbase == blas.dli_fbase || strstr(lapack.dli_fname, "openblas") != NULL);
}

void ridge_kernel(char text[RIDGE_KERNEL_MAX])
{
    const char *suffix = lapack_is_openblas() ? "" : ", foreign LAPACK";
    snprintf(text, RIDGE_KERNEL_MAX, "%.*s%s", (int)(RIDGE_KERNEL_MAX - 1 - strlen(suffix)),
             openblas_get_corename(), suffix);
}

unsigned ridge_threads(void)
{
    return (unsigned)openblas_get_num_threads();
}

void ridge_set_threads(unsigned threads)
{
    openblas_set_num_threads(threads == 0 ? 1 : (int)threads);
}
