/* ridge against scikit-learn's numbers, against a naive second solver with real refits, and against
 * what must hold of every ridge regression. */
#include "model/ridge.h"
#include "tests/support/t.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PENALTIES = 8 };

/* ---- tables as sources ---- */

struct table {
    size_t rows, cols;
    double *x, *y;
    size_t at_most; /* rows per block; 0: as many as asked for */
    double *metric; /* (cols, cols); NULL: the identity */
};

static struct table table_new(size_t rows, size_t cols)
{
    struct table t = {rows, cols, calloc(rows * cols, sizeof(double)), calloc(rows, sizeof(double)),
                      0,    NULL};
    assert_true(t.x != NULL && t.y != NULL);
    return t;
}

static void table_free(struct table *t)
{
    free(t->x);
    free(t->y);
    free(t->metric);
}

static bool read_table(void *ctx, uint64_t first, size_t max_rows, double *x, double *y,
                       size_t *rows, struct error *err)
{
    const struct table *t = ctx;
    (void)err;
    assert_true(max_rows >= 1 && first + max_rows <= t->rows);
    *rows = t->at_most > 0 && t->at_most < max_rows ? t->at_most : max_rows;
    memcpy(x, t->x + first * t->cols, *rows * t->cols * sizeof *x);
    memcpy(y, t->y + first, *rows * sizeof *y);
    return true;
}

static struct ridge_source source_of(struct table *t)
{
    return (struct ridge_source){t->cols, t->rows, t, read_table};
}

static double uniform(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 11) * 0x1p-53;
}

static double normal(uint64_t *state)
{
    double sum = -6;
    for (int i = 0; i < 12; i++)
        sum += uniform(state);
    return sum;
}

/* y = 3 + sum_j (j + 1) x_j / 4 + noise, with columns of different means and widths. */
static struct table random_table(size_t rows, size_t cols, uint64_t seed)
{
    struct table t = table_new(rows, cols);
    for (size_t i = 0; i < rows; i++) {
        t.y[i] = 3 + normal(&seed);
        for (size_t j = 0; j < cols; j++) {
            double x = normal(&seed) * (1 + (double)(j % 3)) + (double)j;
            t.x[i * cols + j] = x;
            t.y[i] += x * (double)(j + 1) / 4;
        }
    }
    return t;
}

static bool fill_metric(void *ctx, double *p, struct error *err)
{
    const struct table *t = ctx;
    (void)err;
    memcpy(p, t->metric, t->cols * t->cols * sizeof *p);
    return true;
}

/* Gives the table a metric: half the identity and a product of random numbers. */
static void add_metric(struct table *t, uint64_t seed)
{
    size_t n = t->cols;
    double *b = calloc(n * n, sizeof *b);
    t->metric = calloc(n * n, sizeof *t->metric);
    assert_true(b != NULL && t->metric != NULL);
    for (size_t i = 0; i < n * n; i++)
        b[i] = normal(&seed);
    for (size_t i = 0; i < n * n; i++) {
        t->metric[i] = i % (n + 1) == 0 ? 0.5 : 0;
        for (size_t k = 0; k < n; k++)
            t->metric[i] += b[i / n * n + k] * b[i % n * n + k] / (double)n;
    }
    free(b);
}

/* As StandardScaler: mean 0, population variance 1, constant columns only centred. */
static void standardise(struct table *t)
{
    for (size_t j = 0; j < t->cols; j++) {
        long double sum = 0, square = 0;
        for (size_t i = 0; i < t->rows; i++)
            sum += t->x[i * t->cols + j];
        double mean = (double)(sum / (long double)t->rows);
        for (size_t i = 0; i < t->rows; i++) {
            t->x[i * t->cols + j] -= mean;
            square += (long double)t->x[i * t->cols + j] * t->x[i * t->cols + j];
        }
        double width = sqrt((double)(square / (long double)t->rows));
        for (size_t i = 0; i < t->rows && width > 0; i++)
            t->x[i * t->cols + j] /= width;
    }
}

/* ---- fitting ---- */

static struct ridge fit_or_fail(struct table *t, const struct ridge_options *options)
{
    struct error err = {ERR_NONE, ""};
    struct ridge r;
    struct ridge_source source = source_of(t);
    if (!ridge_fit(&source, options, &r, &err))
        fail_msg("ridge_fit: %s", err.message);
    return r;
}

static struct ridge fit_one(struct table *t, double penalty)
{
    return fit_or_fail(t, &(struct ridge_options){.penalties = &penalty,
                                                  .penalty_count = 1,
                                                  .leave_one_out = t->rows > 1});
}

static void assert_refused(const struct ridge_source *source, const struct ridge_options *options,
                           enum error_code code, const char *part)
{
    struct error err = {ERR_NONE, ""};
    struct ridge r;
    assert_false(ridge_fit(source, options, &r, &err));
    assert_contains(err.message, part);
    assert_int_equal(err.code, code);
    assert_null(r.beta);
}

static double predict(const struct ridge *r, const double *x)
{
    double sum = r->intercept;
    for (size_t j = 0; j < r->cols; j++)
        sum += r->beta[j] * x[j];
    return sum;
}

/* Largest difference relative to the largest of b. */
static double difference(const double *a, const double *b, size_t n)
{
    double scale = 0, worst = 0;
    for (size_t i = 0; i < n; i++) {
        scale = fmax(scale, fabs(b[i]));
        worst = fmax(worst, fabs(a[i] - b[i]));
        assert_true(isfinite(a[i]) && isfinite(b[i]));
    }
    return scale > 0 ? worst / scale : worst;
}

static void assert_same_model(const struct ridge *a, const struct ridge *b, double rtol)
{
    assert_int_equal(a->cols, b->cols);
    assert_close(a->intercept, b->intercept, rtol);
    double worst = difference(a->beta, b->beta, b->cols);
    if (worst > rtol)
        fail_msg("coefficients differ by %.3g (allowed %.3g)", worst, rtol);
}

/* Leave-one-out residuals as they come, (rows, penalties). */
struct residuals {
    double e[4096];
    size_t count, next_row;
};

static bool collect(void *ctx, uint64_t row, const double *e, size_t count, struct error *err)
{
    struct residuals *r = ctx;
    (void)err;
    assert_true(row >= r->next_row);
    r->next_row = (size_t)row + 1;
    for (size_t l = 0; l < count; l++)
        r->e[r->count++] = e[l];
    return true;
}

/* ---- the second oracle ---- */

/* Solves a(n, n) x = b in long double by Gauss's elimination with row exchange; x ends up in b. */
static void eliminate(long double *a, long double *b, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        size_t best = k;
        for (size_t i = k + 1; i < n; i++)
            if (fabsl(a[i * n + k]) > fabsl(a[best * n + k]))
                best = i;
        for (size_t j = 0; j < n; j++) {
            long double swap = a[k * n + j];
            a[k * n + j] = a[best * n + j];
            a[best * n + j] = swap;
        }
        long double swap = b[k];
        b[k] = b[best];
        b[best] = swap;
        for (size_t i = k + 1; i < n; i++) {
            long double factor = a[i * n + k] / a[k * n + k];
            for (size_t j = k; j < n; j++)
                a[i * n + j] -= factor * a[k * n + j];
            b[i] -= factor * b[k];
        }
    }
    for (size_t k = n; k-- > 0;) {
        for (size_t j = k + 1; j < n; j++)
            b[k] -= a[k * n + j] * b[j];
        b[k] /= a[k * n + k];
    }
}

/* Normal equations with the intercept as an unpenalised column, all rows but `without`. */
static void naive_fit(const struct table *t, double penalty, size_t without, long double *solution)
{
    size_t n = t->cols + 1;
    long double *a = calloc(n * n, sizeof *a), jitter = 0; /* see ridge.h */
    assert_non_null(a);
    for (size_t j = 0; t->metric != NULL && j < t->cols; j++)
        jitter += 1e-8L * t->metric[j * (t->cols + 1)] / (long double)t->cols;
    memset(solution, 0, n * sizeof *solution);
    for (size_t i = 0; i < t->rows; i++)
        for (size_t j = 0; i != without && j < n; j++) {
            long double xj = j == 0 ? 1 : t->x[i * t->cols + j - 1];
            solution[j] += xj * t->y[i];
            for (size_t k = 0; k < n; k++)
                a[j * n + k] += xj * (k == 0 ? 1 : t->x[i * t->cols + k - 1]);
        }
    for (size_t j = 1; j < n; j++)
        for (size_t k = 1; k < n; k++) {
            long double p = t->metric != NULL ? t->metric[(j - 1) * t->cols + k - 1] : j == k;
            a[j * n + k] += penalty * (p + (j == k ? jitter : 0));
        }
    eliminate(a, solution, n);
    free(a);
}

static double naive_predict(const long double *solution, const double *x, size_t cols)
{
    long double sum = solution[0];
    for (size_t j = 0; j < cols; j++)
        sum += solution[j + 1] * x[j];
    return (double)sum;
}

/* Fits by both, leaves every row out by both. Returns the largest relative difference. */
static double compare_with_naive(struct table *t, double penalty)
{
    long double solution[64];
    double naive[64], model[64];
    struct residuals loo = {.count = 0};
    struct ridge r =
        fit_or_fail(t, &(struct ridge_options){.penalties = &penalty,
                                               .penalty_count = 1,
                                               .metric = t->metric ? fill_metric : NULL,
                                               .metric_ctx = t,
                                               .leave_one_out = true,
                                               .residuals = collect,
                                               .residuals_ctx = &loo});
    naive_fit(t, penalty, SIZE_MAX, solution);
    for (size_t j = 0; j <= t->cols; j++) {
        naive[j] = (double)solution[j];
        model[j] = j == 0 ? r.intercept : r.beta[j - 1];
    }
    double worst = difference(model, naive, t->cols + 1), absolute = 0, square = 0;
    assert_int_equal(loo.count, t->rows);
    for (size_t i = 0; i < t->rows; i++) {
        naive_fit(t, penalty, i, solution);
        naive[i] = t->y[i] - naive_predict(solution, t->x + i * t->cols, t->cols);
        absolute += fabs(naive[i]) / (double)t->rows;
        square += naive[i] * naive[i] / (double)t->rows;
    }
    worst = fmax(worst, difference(loo.e, naive, t->rows));
    assert_int_equal(r.leave_one_out[0].rows, t->rows);
    assert_close(r.leave_one_out[0].mae, absolute, 1e-9);
    assert_close(r.leave_one_out[0].rmse, sqrt(square), 1e-9);
    ridge_clear(&r);
    return worst;
}

static void fit_and_residuals_equal_the_naive_solver_with_every_row_left_out_in_turn(void **state)
{
    (void)state;
    static const struct {
        size_t rows, cols;
    } shapes[] = {{40, 4}, {40, 1}, {9, 8}, {8, 8}, {7, 8}, {10, 30}, {2, 1}, {2, 3}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (double penalty = 1e-3; penalty < 1e5; penalty *= 100) {
            struct table t = random_table(shapes[s].rows, shapes[s].cols, s);
            double worst = compare_with_naive(&t, penalty);
            if (worst > 1e-9)
                fail_msg("%zu x %zu, penalty %g: differs by %.3g", t.rows, t.cols, penalty, worst);
            table_free(&t);
        }
}

/* ---- a metric, and the gradient ---- */

static void a_metric_gives_the_naive_solution_in_every_form(void **state)
{
    (void)state;
    static const size_t shapes[][2] = {{40, 4}, {9, 8}, {8, 8}, {7, 8}, {10, 30}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (double penalty = 1e-2; penalty < 1e3; penalty *= 100) {
            struct table t = random_table(shapes[s][0], shapes[s][1], s);
            add_metric(&t, s);
            double worst = compare_with_naive(&t, penalty);
            if (worst > 1e-8)
                fail_msg("%zu x %zu, penalty %g: differs by %.3g", t.rows, t.cols, penalty, worst);
            table_free(&t);
        }
}

static void one_penalty_and_the_path_agree_with_a_metric(void **state)
{
    (void)state;
    struct table t = random_table(60, 7, 5);
    add_metric(&t, 6);
    double penalties[] = {0.1, 1, 10, 100};
    struct ridge_options options = {
        .penalties = penalties, .penalty_count = 4, .metric = fill_metric, .metric_ctx = &t};
    struct ridge path = fit_or_fail(&t, &options);
    options.penalties = &path.penalty;
    options.penalty_count = 1;
    options.leave_one_out = true;
    struct ridge one = fit_or_fail(&t, &options);
    assert_same_model(&one, &path, 1e-9);
    assert_close(one.leave_one_out[0].rmse, path.leave_one_out[path.chosen].rmse, 1e-9);
    ridge_clear(&one);
    ridge_clear(&path);
    table_free(&t);
}

static bool judge_thirds(void *ctx, uint64_t row)
{
    (void)ctx;
    return row % 3 != 0;
}

struct derivatives {
    double by_x[64 * 8], by_p[64];
    size_t cols;
};

static bool take_rows(void *ctx, uint64_t first, size_t rows, double *dx, struct error *err)
{
    struct derivatives *d = ctx;
    (void)err;
    memcpy(d->by_x + first * d->cols, dx, rows * d->cols * sizeof *dx);
    return true;
}

static bool take_metric(void *ctx, double *dp, struct error *err)
{
    struct derivatives *d = ctx;
    (void)err;
    memcpy(d->by_p, dp, d->cols * d->cols * sizeof *dp);
    return true;
}

static double squared_error(struct table *t, double penalty)
{
    struct ridge r = fit_or_fail(t, &(struct ridge_options){.penalties = &penalty,
                                                            .penalty_count = 1,
                                                            .metric = fill_metric,
                                                            .metric_ctx = t,
                                                            .leave_one_out = true,
                                                            .judged = judge_thirds});
    double rmse = r.leave_one_out[0].rmse;
    ridge_clear(&r);
    return rmse * rmse;
}

/* Central difference of the error when x moves, and its mirror image y unless it is x itself. */
static double slope_of(struct table *t, double penalty, double *x, double *y)
{
    const double step = 1e-5, at = *x;
    *x = *y = at + step;
    double above = squared_error(t, penalty);
    *x = *y = at - step;
    double below = squared_error(t, penalty);
    *x = *y = at;
    return (above - below) / (2 * step);
}

static void the_gradient_is_the_slope_of_the_leave_one_out_error(void **state)
{
    (void)state;
    enum { ROWS = 30, COLS = 5 };
    struct error err = {ERR_NONE, ""};
    struct derivatives d = {.cols = COLS};
    struct ridge_gradient g = {.ctx = &d, .rows = take_rows, .metric = take_metric};
    struct table t = random_table(ROWS, COLS, 77);
    double penalty = 3;
    add_metric(&t, 78);
    t.at_most = 7;
    struct ridge_source source = source_of(&t);
    const struct ridge_options options = {.penalties = &penalty,
                                          .penalty_count = 1,
                                          .metric = fill_metric,
                                          .metric_ctx = &t,
                                          .judged = judge_thirds};
    assert_true(ridge_gradient(&source, &options, &g, &err));
    assert_close(g.error, squared_error(&t, penalty), 1e-12);
    for (size_t i = 0; i < ROWS * COLS; i++)
        assert_true(fabs(d.by_x[i] - slope_of(&t, penalty, &t.x[i], &t.x[i])) < 1e-7);
    for (size_t i = 0; i < COLS; i++)
        for (size_t j = 0; j <= i; j++) {
            size_t at = i * COLS + j, mirror = j * COLS + i;
            double both = i == j ? d.by_p[at] : d.by_p[at] + d.by_p[mirror];
            assert_true(fabs(both - slope_of(&t, penalty, &t.metric[at], &t.metric[mirror])) <
                        1e-7);
        }
    double rise = squared_error(&t, penalty * exp(1e-5)) - squared_error(&t, penalty * exp(-1e-5));
    assert_true(fabs(g.by_log_penalty - rise / 2e-5) < 1e-7);
    table_free(&t);
}

static void a_gradient_wants_one_penalty_a_metric_and_enough_rows(void **state)
{
    (void)state;
    static const double penalties[] = {1, 2};
    struct table t = random_table(12, 6, 1), few = random_table(5, 6, 1);
    add_metric(&t, 2);
    add_metric(&few, 2);
    struct derivatives d = {.cols = 6};
    struct ridge_gradient g = {.ctx = &d, .rows = take_rows, .metric = take_metric};
    const struct ridge_options two = {
        .penalties = penalties, .penalty_count = 2, .metric = fill_metric, .metric_ctx = &t};
    const struct ridge_options plain = {.penalties = penalties, .penalty_count = 1};
    struct ridge_options one = {
        .penalties = penalties, .penalty_count = 1, .metric = fill_metric, .metric_ctx = &few};
    struct ridge_source source = source_of(&t), short_source = source_of(&few);
    struct error err = {ERR_NONE, ""};
    assert_false(ridge_gradient(&source, &two, &g, &err));
    assert_contains(err.message, "expected one penalty");
    assert_false(ridge_gradient(&source, &plain, &g, &err));
    assert_false(ridge_gradient(&short_source, &one, &g, &err));
    assert_int_equal(err.code, ERR_INVALID);
    table_free(&t);
    table_free(&few);
}

static void a_metric_that_is_not_positive_definite_is_refused(void **state)
{
    (void)state;
    static const double penalties[] = {1, 2};
    struct table t = random_table(20, 3, 1);
    struct ridge_source source = source_of(&t);
    add_metric(&t, 2);
    t.metric[0] = -1;
    assert_refused(
        &source,
        &(struct ridge_options){
            .penalties = penalties, .penalty_count = 2, .metric = fill_metric, .metric_ctx = &t},
        ERR_NUMERIC, "metric: not positive definite");
    table_free(&t);
}

/* ---- scikit-learn ---- */

struct golden {
    char name[32];
    struct table table;
    size_t count;
    double penalties[MAX_PENALTIES], chosen;
    double *coefficients[MAX_PENALTIES], *predictions[MAX_PENALTIES], *squares[MAX_PENALTIES];
};

static void scan_word(FILE *in, const char *word)
{
    char got[32];
    assert_int_equal(fscanf(in, "%31s", got), 1);
    assert_string_equal(got, word);
}

static double *scan_numbers(FILE *in, const char *word, double *values, size_t n)
{
    if (word != NULL)
        scan_word(in, word);
    if (values == NULL)
        values = calloc(n, sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(fscanf(in, "%lf", &values[i]), 1);
    return values;
}

static bool golden_init(struct golden *g, FILE *in)
{
    size_t rows, cols;
    if (fscanf(in, " table %31s %zu %zu %zu", g->name, &rows, &cols, &g->count) != 4)
        return false;
    assert_true(g->count <= MAX_PENALTIES);
    g->table = table_new(rows, cols);
    for (size_t i = 0; i < rows; i++) {
        scan_numbers(in, NULL, g->table.x + i * cols, cols);
        scan_numbers(in, NULL, g->table.y + i, 1);
    }
    scan_numbers(in, "penalties", g->penalties, g->count);
    scan_numbers(in, "chosen", &g->chosen, 1);
    for (size_t l = 0; l < g->count; l++) {
        g->coefficients[l] = scan_numbers(in, "coefficients", NULL, cols + 1);
        g->predictions[l] = scan_numbers(in, "predictions", NULL, rows);
        g->squares[l] = scan_numbers(in, "squared_errors", NULL, rows);
    }
    standardise(&g->table);
    return true;
}

static void golden_clear(struct golden *g)
{
    for (size_t l = 0; l < g->count; l++) {
        free(g->coefficients[l]);
        free(g->predictions[l]);
        free(g->squares[l]);
    }
    table_free(&g->table);
}

static void for_each_golden(void (*check)(struct golden *))
{
    struct golden g;
    size_t tables = 0;
    FILE *in = fopen("tests/golden/ridge_golden.txt", "r");
    assert_non_null(in);
    assert_true(fscanf(in, "%*[^\n]") != EOF);
    for (; golden_init(&g, in); tables++) {
        check(&g);
        golden_clear(&g);
    }
    assert_int_equal(tables, 3);
    (void)fclose(in);
}

static void check_model(const struct golden *g, const struct ridge *r, size_t l)
{
    const struct table *t = &g->table;
    double bar = strcmp(g->name, "collinear") == 0 ? 1e-7 : 1e-9;
    double *predictions = calloc(t->rows, sizeof *predictions);
    assert_non_null(predictions);
    for (size_t i = 0; i < t->rows; i++)
        predictions[i] = predict(r, t->x + i * t->cols);
    double by_beta = difference(r->beta, g->coefficients[l] + 1, t->cols);
    double by_prediction = difference(predictions, g->predictions[l], t->rows);
    print_message("%-16s penalty %-8g coefficients %.1e predictions %.1e\n", g->name,
                  g->penalties[l], by_beta, by_prediction);
    assert_true(by_beta <= bar);
    assert_true(by_prediction <= 1e-9);
    assert_close(r->intercept, g->coefficients[l][0], 1e-9);
    free(predictions);
}

static void check_each_penalty(struct golden *g)
{
    for (size_t l = 0; l < g->count; l++) {
        struct ridge r = fit_one(&g->table, g->penalties[l]);
        check_model(g, &r, l);
        ridge_clear(&r);
    }
}

static void every_penalty_gives_the_coefficients_of_scikit_learn(void **state)
{
    (void)state;
    for_each_golden(check_each_penalty);
}

static void check_path(struct golden *g)
{
    size_t rows = g->table.rows;
    double worst = 0;
    struct residuals loo = {.count = 0};
    struct ridge r = fit_or_fail(&g->table, &(struct ridge_options){.penalties = g->penalties,
                                                                    .penalty_count = g->count,
                                                                    .residuals = collect,
                                                                    .residuals_ctx = &loo});
    assert_close(r.penalty, g->chosen, 0);
    assert_int_equal(loo.count, rows * g->count);
    check_model(g, &r, r.chosen);
    for (size_t l = 0; l < g->count; l++) {
        double *squares = calloc(rows, sizeof *squares), sum = 0;
        assert_non_null(squares);
        for (size_t i = 0; i < rows; i++) {
            squares[i] = loo.e[i * g->count + l] * loo.e[i * g->count + l];
            sum += g->squares[l][i];
        }
        worst = fmax(worst, difference(squares, g->squares[l], rows));
        assert_close(r.leave_one_out[l].rmse, sqrt(sum / (double)rows), 1e-9);
        free(squares);
    }
    print_message("%-16s squared leave-one-out errors %.1e\n", g->name, worst);
    assert_true(worst <= 1e-9);
    ridge_clear(&r);
}

static void the_path_chooses_the_penalty_and_has_the_errors_of_scikit_learn(void **state)
{
    (void)state;
    for_each_golden(check_path);
}

/* ---- what holds of every ridge regression ---- */

static void a_huge_penalty_gives_the_mean(void **state)
{
    (void)state;
    struct table t = random_table(50, 3, 1);
    double mean = 0;
    for (size_t i = 0; i < t.rows; i++)
        mean += t.y[i] / (double)t.rows;
    struct ridge r = fit_one(&t, 1e300);
    assert_close(r.intercept, mean, 1e-14);
    for (size_t j = 0; j < t.cols; j++)
        assert_true(fabs(r.beta[j]) < 1e-290);
    ridge_clear(&r);
    table_free(&t);
}

static void shifting_the_target_shifts_only_the_intercept(void **state)
{
    (void)state;
    struct table t = random_table(50, 3, 2);
    struct ridge before = fit_one(&t, 0.7);
    for (size_t i = 0; i < t.rows; i++)
        t.y[i] += 1024;
    struct ridge after = fit_one(&t, 0.7);
    assert_close(after.intercept, before.intercept + 1024, 1e-13);
    assert_true(difference(after.beta, before.beta, t.cols) < 1e-12);
    assert_close(after.leave_one_out[0].rmse, before.leave_one_out[0].rmse, 1e-11);
    ridge_clear(&before);
    ridge_clear(&after);
    table_free(&t);
}

static void shifting_a_column_changes_no_coefficient(void **state)
{
    (void)state;
    struct table t = random_table(50, 3, 3);
    struct ridge before = fit_one(&t, 0.7);
    for (size_t i = 0; i < t.rows; i++)
        t.x[i * t.cols + 1] += 1e6;
    struct ridge after = fit_one(&t, 0.7);
    assert_true(difference(after.beta, before.beta, t.cols) < 1e-9);
    assert_close(after.intercept, before.intercept - 1e6 * before.beta[1], 1e-9);
    ridge_clear(&before);
    ridge_clear(&after);
    table_free(&t);
}

static void column_order_does_not_matter(void **state)
{
    (void)state;
    static const size_t rows[] = {50, 3};
    for (size_t s = 0; s < 2; s++) {
        struct table t = random_table(rows[s], 5, 4), mirrored = table_new(rows[s], 5);
        for (size_t i = 0; i < t.rows; i++) {
            mirrored.y[i] = t.y[i];
            for (size_t j = 0; j < t.cols; j++)
                mirrored.x[i * t.cols + j] = t.x[i * t.cols + t.cols - 1 - j];
        }
        struct ridge a = fit_or_fail(&t, NULL), b = fit_or_fail(&mirrored, NULL);
        assert_int_equal(a.chosen, b.chosen);
        for (size_t j = 0; j < t.cols; j++)
            assert_close(a.beta[j], b.beta[t.cols - 1 - j], 1e-9);
        assert_close(a.intercept, b.intercept, 1e-9);
        ridge_clear(&a);
        ridge_clear(&b);
        table_free(&t);
        table_free(&mirrored);
    }
}

static void every_row_twice_is_every_row_once_at_half_the_penalty(void **state)
{
    (void)state;
    struct table t = random_table(30, 4, 5), twice = table_new(60, 4);
    for (size_t i = 0; i < twice.rows; i++) {
        memcpy(twice.x + i * t.cols, t.x + i / 2 * t.cols, t.cols * sizeof *t.x);
        twice.y[i] = t.y[i / 2];
    }
    struct ridge a = fit_one(&t, 3), b = fit_one(&twice, 6);
    assert_same_model(&a, &b, 1e-12);
    ridge_clear(&a);
    ridge_clear(&b);
    table_free(&t);
    table_free(&twice);
}

static void block_sizes_do_not_matter(void **state)
{
    (void)state;
    static const size_t at_most[] = {1, 7, 1024, 1500};
    struct table t = random_table(2600, 6, 6);
    struct ridge whole = fit_or_fail(&t, NULL);
    for (size_t s = 0; s < sizeof at_most / sizeof *at_most; s++) {
        t.at_most = at_most[s];
        struct ridge r = fit_or_fail(&t, NULL);
        assert_same_model(&r, &whole, 1e-11);
        assert_int_equal(r.chosen, whole.chosen);
        assert_close(r.leave_one_out[3].mae, whole.leave_one_out[3].mae, 1e-11);
        assert_int_equal(r.leave_one_out[3].rows, 2600);
        ridge_clear(&r);
    }
    ridge_clear(&whole);
    table_free(&t);
}

static void one_penalty_and_the_path_agree(void **state)
{
    (void)state;
    static const size_t rows[] = {2600, 30, 8};
    for (size_t s = 0; s < 3; s++) {
        struct table t = random_table(rows[s], 9, 7);
        struct ridge path = fit_or_fail(&t, NULL), one = fit_one(&t, path.penalty);
        assert_same_model(&one, &path, 1e-10);
        assert_close(one.leave_one_out[0].rmse, path.leave_one_out[path.chosen].rmse, 1e-10);
        assert_close(one.leave_one_out[0].r2, path.leave_one_out[path.chosen].r2, 1e-9);
        ridge_clear(&path);
        ridge_clear(&one);
        table_free(&t);
    }
}

static void the_dual_form_agrees_with_the_primal(void **state)
{
    (void)state;
    /* a constant column more makes rows < columns without changing the problem */
    struct table t = random_table(12, 12, 8), wider = table_new(12, 13);
    for (size_t i = 0; i < t.rows; i++) {
        memcpy(wider.x + i * wider.cols, t.x + i * t.cols, t.cols * sizeof *t.x);
        wider.x[i * wider.cols + 12] = 0.1;
        wider.y[i] = t.y[i];
    }
    struct ridge primal = fit_one(&t, 0.5), dual = fit_one(&wider, 0.5);
    assert_true(difference(dual.beta, primal.beta, t.cols) < 1e-11);
    assert_close(dual.beta[12], 0, 0);
    assert_close(dual.intercept, primal.intercept, 1e-11);
    assert_close(dual.leave_one_out[0].rmse, primal.leave_one_out[0].rmse, 1e-10);
    ridge_clear(&primal);
    ridge_clear(&dual);
    table_free(&t);
    table_free(&wider);
}

static void fitting_twice_gives_the_same_bits(void **state)
{
    (void)state;
    struct table t = random_table(2000, 17, 9);
    struct ridge a = fit_or_fail(&t, NULL), b = fit_or_fail(&t, NULL);
    assert_memory_equal(a.beta, b.beta, t.cols * sizeof *a.beta);
    assert_memory_equal(&a.intercept, &b.intercept, sizeof a.intercept);
    assert_memory_equal(a.leave_one_out, b.leave_one_out,
                        a.penalty_count * sizeof *a.leave_one_out);
    ridge_clear(&a);
    ridge_clear(&b);
    table_free(&t);
}

static void rows_sorted_far_from_the_first_block_lose_no_digits(void **state)
{
    (void)state;
    struct table t = random_table(3000, 2, 10);
    long double solution[3];
    for (size_t i = 0; i < t.rows; i++) {
        t.x[i * 2] = 1e6 + (double)i / 100;
        t.x[i * 2 + 1] = i < 1024 ? 1e3 : 1e3 + t.x[i * 2 + 1];
    }
    struct ridge r = fit_one(&t, 1);
    naive_fit(&t, 1, SIZE_MAX, solution);
    /* the naive sums are not centred: 12 of their 19 digits are left */
    assert_close(r.beta[0], (double)solution[1], 1e-8);
    assert_close(r.beta[1], (double)solution[2], 1e-8);
    ridge_clear(&r);
    table_free(&t);
}

/* ---- degenerate tables ---- */

static void a_constant_column_gets_no_weight(void **state)
{
    (void)state;
    static const size_t rows[] = {2600, 40, 3};
    for (size_t s = 0; s < 3; s++)
        for (size_t constant = 0; constant < 4; constant++) {
            struct table t = random_table(rows[s], 4, 11);
            for (size_t i = 0; i < t.rows; i++)
                t.x[i * t.cols + constant] = 0.1;
            struct ridge path = fit_or_fail(&t, NULL), one = fit_one(&t, 1);
            assert_close(path.beta[constant], 0, 0);
            assert_close(one.beta[constant], 0, 0);
            ridge_clear(&path);
            ridge_clear(&one);
            table_free(&t);
        }
}

static void a_constant_target_gives_itself_at_the_largest_penalty(void **state)
{
    (void)state;
    static const size_t rows[] = {2600, 3};
    for (size_t s = 0; s < 2; s++) {
        struct table t = random_table(rows[s], 4, 12);
        for (size_t i = 0; i < t.rows; i++)
            t.y[i] = 0.1;
        struct ridge r = fit_or_fail(&t, NULL);
        assert_int_equal(r.chosen, r.penalty_count - 1);
        assert_close(r.intercept, 0.1, 0);
        for (size_t j = 0; j < t.cols; j++)
            assert_true(r.beta[j] == 0);
        assert_true(r.leave_one_out[r.chosen].rmse == 0);
        assert_true(isnan(r.leave_one_out[r.chosen].r2));
        ridge_clear(&r);
        table_free(&t);
    }
}

static void only_constant_columns_give_the_mean(void **state)
{
    (void)state;
    struct table t = random_table(10, 2, 13);
    for (size_t i = 0; i < 20; i++)
        t.x[i] = -7;
    struct ridge r = fit_or_fail(&t, NULL);
    assert_close(r.intercept, r.mean_y, 0);
    assert_close(r.penalties[0], 1e-8, 1e-15);
    assert_close(r.penalties[r.penalty_count - 1], 1e4, 1e-15);
    ridge_clear(&r);
    table_free(&t);
}

static void one_row_gives_its_target_and_no_choice(void **state)
{
    (void)state;
    for (size_t cols = 1; cols < 4; cols++) {
        struct table t = random_table(1, cols, 14);
        struct ridge r = fit_one(&t, 1);
        struct ridge_source source = source_of(&t);
        assert_close(predict(&r, t.x), t.y[0], 0);
        assert_int_equal(r.leave_one_out[0].rows, 0);
        assert_true(isnan(r.leave_one_out[0].rmse));
        assert_refused(&source, NULL, ERR_INVALID, "rows: leave-one-out needs at least 2, got 1");
        ridge_clear(&r);
        table_free(&t);
    }
}

static void equal_penalties_in_error_mean_the_larger_one(void **state)
{
    (void)state;
    static const double penalties[] = {5, 40, 3};
    struct table t = random_table(10, 2, 15);
    for (size_t i = 0; i < t.rows; i++)
        t.y[i] = -2;
    struct ridge r =
        fit_or_fail(&t, &(struct ridge_options){.penalties = penalties, .penalty_count = 3});
    assert_int_equal(r.chosen, 1);
    assert_close(r.penalty, 40, 0);
    ridge_clear(&r);
    table_free(&t);
}

static void penalty_zero_is_least_squares_where_that_is_determined(void **state)
{
    (void)state;
    struct table t = random_table(30, 3, 16), twins = random_table(30, 3, 16);
    assert_true(compare_with_naive(&t, 0) < 1e-10);
    for (size_t i = 0; i < twins.rows; i++)
        twins.x[i * 3 + 2] = 2 * twins.x[i * 3] - twins.x[i * 3 + 1];
    struct ridge_source collinear = source_of(&twins);
    struct ridge_options zero = {.penalties = (double[]){0}, .penalty_count = 1};
    assert_refused(&collinear, &zero, ERR_NUMERIC, "the columns are linearly dependent");
    collinear.rows = twins.rows = 2;
    assert_refused(&collinear, &zero, ERR_NUMERIC, "there are fewer rows than columns");
    table_free(&t);
    table_free(&twins);
}

static void a_row_that_determines_itself_has_an_infinite_error_never_nan(void **state)
{
    (void)state;
    /* column 1 is 1 in row 0 only; without a penalty that row has h = 1 */
    struct table t = random_table(10, 2, 17);
    for (size_t i = 0; i < t.rows; i++)
        t.x[i * 2 + 1] = i == 0;
    struct ridge r = fit_one(&t, 0);
    assert_true(isinf(r.leave_one_out[0].rmse) && isinf(r.leave_one_out[0].mae));
    assert_true(isinf(r.leave_one_out[0].r2));
    assert_true(isfinite(r.beta[0]) && isfinite(r.beta[1]));
    ridge_clear(&r);
    static const double tiny[] = {1e-14, 1e-13};
    struct ridge_source source = source_of(&t);
    assert_refused(&source, &(struct ridge_options){.penalties = tiny, .penalty_count = 2},
                   ERR_NUMERIC, "none has a finite leave-one-out error");
    table_free(&t);
}

/* ---- refusals ---- */

static void values_that_are_not_finite_are_refused_by_place(void **state)
{
    (void)state;
    static const size_t rows[] = {2600, 3};
    for (size_t s = 0; s < 2; s++) {
        struct table t = random_table(rows[s], 4, 18);
        struct ridge_source source = source_of(&t);
        char place[64];
        t.x[(rows[s] - 1) * 4 + 2] = NAN;
        snprintf(place, sizeof place, "x[%zu][2]: expected a finite number, got nan", rows[s] - 1);
        assert_refused(&source, NULL, ERR_INVALID, place);
        t.y[1] = -INFINITY;
        assert_refused(&source, NULL, ERR_INVALID, "y[1]: expected a finite number, got -inf");
        table_free(&t);
    }
}

static void values_too_large_to_square_are_refused(void **state)
{
    (void)state;
    static const size_t rows[] = {2600, 3};
    for (size_t s = 0; s < 2; s++) {
        struct table t = random_table(rows[s], 4, 19);
        struct ridge_source source = source_of(&t);
        t.x[1] = 1e200;
        assert_refused(&source, NULL, ERR_NUMERIC, "columns: their squares exceed");
        t.x[1] = 1;
        t.y[0] = 1.5e308;
        t.y[1] = -1.5e308;
        assert_refused(&source, NULL, ERR_NUMERIC, "");
        table_free(&t);
    }
}

static void shapes_and_penalties_out_of_bounds_are_refused_before_reading(void **state)
{
    (void)state;
    static const double bad[][2] = {{-1, 1}, {1, 0}, {NAN, 1}, {1, INFINITY}};
    static double many[RIDGE_MAX_PENALTIES + 1];
    struct ridge_source source = {.cols = 2, .rows = 5, .ctx = NULL, .read = NULL};
    for (size_t s = 0; s < 4; s++)
        assert_refused(&source, &(struct ridge_options){.penalties = bad[s], .penalty_count = 2},
                       ERR_INVALID, "]: expected a finite number above 0, got");
    assert_refused(&source, &(struct ridge_options){.penalties = bad[0], .penalty_count = 1},
                   ERR_INVALID, "penalties[0]: expected a finite number above 0, got -1");
    assert_refused(
        &source,
        &(struct ridge_options){.penalties = many, .penalty_count = RIDGE_MAX_PENALTIES + 1},
        ERR_INVALID, "penalties: expected at most 256, got 257");
    source.rows = 0;
    assert_refused(&source, NULL, ERR_INVALID, "rows: expected at least 1, got 0");
    source.cols = 0;
    assert_refused(&source, NULL, ERR_INVALID, "columns: expected 1 to 16384, got 0");
    source.cols = RIDGE_MAX_COLS + 1;
    assert_refused(&source, NULL, ERR_INVALID, "columns: expected 1 to 16384, got 16385");
}

/* A source that misbehaves in the given call. */
struct faulty {
    struct table table;
    size_t rows; /* says this many */
    int call, fault_call;
};

static bool read_faulty(void *ctx, uint64_t first, size_t max_rows, double *x, double *y,
                        size_t *rows, struct error *err)
{
    struct faulty *f = ctx;
    if (!read_table(&f->table, first, max_rows, x, y, rows, err))
        return false;
    if (++f->call != f->fault_call)
        return true;
    *rows = f->rows;
    return f->rows != 7 || error_set(err, ERR_DEADLINE, "disk on fire");
}

static void a_source_that_breaks_its_promise_is_refused(void **state)
{
    (void)state;
    static const size_t rows[] = {2600, 3};
    for (size_t s = 0; s < 2; s++)
        for (int call = 1; call <= (s == 0 ? 6 : 1); call++) {
            struct faulty f = {.table = random_table(rows[s], 4, 20), .fault_call = call};
            struct ridge_source source = {4, rows[s], &f, read_faulty};
            assert_refused(&source, NULL, ERR_INVALID, "the source gave 0 of the ");
            f.rows = SIZE_MAX;
            f.call = 0;
            assert_refused(&source, NULL, ERR_INVALID, "the source gave 18446744073709551615 of");
            f.rows = 7;
            f.call = 0;
            assert_refused(&source, NULL, ERR_DEADLINE, "disk on fire");
            table_free(&f.table);
        }
}

/* ---- leave-one-out to order ---- */

static bool judge_odd(void *ctx, uint64_t row)
{
    ++*(size_t *)ctx;
    return row % 2 == 1;
}

static bool judge_none(void *ctx, uint64_t row)
{
    (void)ctx;
    (void)row;
    return false;
}

static void only_judged_rows_count(void **state)
{
    (void)state;
    static const size_t rows[] = {1300, 6};
    for (size_t s = 0; s < 2; s++) {
        static const double penalties[] = {1, 2};
        struct table t = random_table(rows[s], 7, 21);
        struct residuals all = {.count = 0}, odd = {.count = 0};
        size_t asked = 0;
        struct ridge_options options = {.penalties = penalties,
                                        .penalty_count = 2,
                                        .residuals = collect,
                                        .residuals_ctx = &all};
        struct ridge a = fit_or_fail(&t, &options);
        options.judged = judge_odd;
        options.judged_ctx = &asked;
        options.residuals_ctx = &odd;
        struct ridge b = fit_or_fail(&t, &options);
        assert_int_equal(asked, rows[s]);
        assert_int_equal(b.leave_one_out[0].rows, rows[s] / 2);
        assert_int_equal(odd.count, rows[s]);
        for (size_t i = 0; i < rows[s] / 2; i++)
            assert_close(odd.e[2 * i], all.e[2 * (2 * i + 1)], 1e-10);
        ridge_clear(&a);
        ridge_clear(&b);
        table_free(&t);
    }
}

static void judging_nothing_leaves_no_choice(void **state)
{
    (void)state;
    struct table t = random_table(20, 2, 22);
    struct ridge_source source = source_of(&t);
    struct ridge_options options = {.judged = judge_none};
    assert_refused(&source, &options, ERR_INVALID, "penalties: no row is judged");
    options.penalties = (double[]){1};
    options.penalty_count = 1;
    options.leave_one_out = true;
    struct ridge r = fit_or_fail(&t, &options);
    assert_int_equal(r.leave_one_out[0].rows, 0);
    assert_true(isnan(r.leave_one_out[0].mae));
    ridge_clear(&r);
    table_free(&t);
}

static bool stop_at_row_4(void *ctx, uint64_t row, const double *e, size_t count, struct error *err)
{
    (void)ctx;
    (void)e;
    (void)count;
    return row < 4 || error_set(err, ERR_DEADLINE, "enough");
}

static void a_failing_receiver_stops_the_fit(void **state)
{
    (void)state;
    struct table t = random_table(20, 2, 23);
    struct ridge_source source = source_of(&t);
    assert_refused(&source, &(struct ridge_options){.residuals = stop_at_row_4}, ERR_DEADLINE,
                   "enough");
    table_free(&t);
}

static void the_default_path_scales_with_the_columns(void **state)
{
    (void)state;
    struct table t = random_table(500, 3, 24);
    standardise(&t);
    struct ridge r = fit_or_fail(&t, NULL);
    assert_int_equal(r.penalty_count, 25);
    assert_close(r.penalties[0], 500e-8, 1e-12);
    assert_close(r.penalties[16], 500, 1e-12);
    assert_close(r.penalties[24], 500e4, 1e-12);
    assert_true(r.leave_one_out[r.chosen].r2 > 0.5 && r.leave_one_out[r.chosen].r2 < 1);
    ridge_clear(&r);
    table_free(&t);
}

static void the_kernel_and_the_thread_count_can_be_told(void **state)
{
    (void)state;
    char kernel[RIDGE_KERNEL_MAX];
    unsigned threads = ridge_threads();
    ridge_kernel(kernel);
    print_message("%s, %u threads\n", kernel, threads);
    assert_true(strlen(kernel) > 0 && strlen(kernel) < sizeof kernel);
    ridge_set_threads(0);
    assert_int_equal(ridge_threads(), 1);
    ridge_set_threads(2);
    assert_int_equal(ridge_threads(), 2);
    ridge_set_threads(threads);
}

static void clearing_twice_is_allowed(void **state)
{
    (void)state;
    struct table t = random_table(5, 2, 25);
    struct ridge r = fit_one(&t, 1);
    ridge_clear(&r);
    ridge_clear(&r);
    assert_null(r.beta);
    table_free(&t);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(fit_and_residuals_equal_the_naive_solver_with_every_row_left_out_in_turn),
    cmocka_unit_test(a_metric_gives_the_naive_solution_in_every_form),
    cmocka_unit_test(one_penalty_and_the_path_agree_with_a_metric),
    cmocka_unit_test(the_gradient_is_the_slope_of_the_leave_one_out_error),
    cmocka_unit_test(a_gradient_wants_one_penalty_a_metric_and_enough_rows),
    cmocka_unit_test(a_metric_that_is_not_positive_definite_is_refused),
    cmocka_unit_test(every_penalty_gives_the_coefficients_of_scikit_learn),
    cmocka_unit_test(the_path_chooses_the_penalty_and_has_the_errors_of_scikit_learn),
    cmocka_unit_test(a_huge_penalty_gives_the_mean),
    cmocka_unit_test(shifting_the_target_shifts_only_the_intercept),
    cmocka_unit_test(shifting_a_column_changes_no_coefficient),
    cmocka_unit_test(column_order_does_not_matter),
    cmocka_unit_test(every_row_twice_is_every_row_once_at_half_the_penalty),
    cmocka_unit_test(block_sizes_do_not_matter),
    cmocka_unit_test(one_penalty_and_the_path_agree),
    cmocka_unit_test(the_dual_form_agrees_with_the_primal),
    cmocka_unit_test(fitting_twice_gives_the_same_bits),
    cmocka_unit_test(rows_sorted_far_from_the_first_block_lose_no_digits),
    cmocka_unit_test(a_constant_column_gets_no_weight),
    cmocka_unit_test(a_constant_target_gives_itself_at_the_largest_penalty),
    cmocka_unit_test(only_constant_columns_give_the_mean),
    cmocka_unit_test(one_row_gives_its_target_and_no_choice),
    cmocka_unit_test(equal_penalties_in_error_mean_the_larger_one),
    cmocka_unit_test(penalty_zero_is_least_squares_where_that_is_determined),
    cmocka_unit_test(a_row_that_determines_itself_has_an_infinite_error_never_nan),
    cmocka_unit_test(values_that_are_not_finite_are_refused_by_place),
    cmocka_unit_test(values_too_large_to_square_are_refused),
    cmocka_unit_test(shapes_and_penalties_out_of_bounds_are_refused_before_reading),
    cmocka_unit_test(a_source_that_breaks_its_promise_is_refused),
    cmocka_unit_test(only_judged_rows_count),
    cmocka_unit_test(judging_nothing_leaves_no_choice),
    cmocka_unit_test(a_failing_receiver_stops_the_fit),
    cmocka_unit_test(the_default_path_scales_with_the_columns),
    cmocka_unit_test(the_kernel_and_the_thread_count_can_be_told),
    cmocka_unit_test(clearing_twice_is_allowed),
};

T_MAIN(tests)
