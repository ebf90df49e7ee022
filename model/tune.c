/* The search is over x = (log scale of every active column, log penalty per row) and minimises the
 * logarithm of the leave-one-out RMSE, so that steps and gains are relative. */
#include "model/tune.h"

#include "model/centres.h"
#include "model/ridge.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    CENTRES = 700,
    ROWS = 6000,
    FINE_CENTRES = 4096, /* at most in the last search, */
    FINE_ROWS = 4,       /* and rows for each of them, as many as the model itself would have */
    WIDE = 80,     /* columns from which on centres and rows shrink, so that time is bounded */
    RIVALS = 8,    /* inputs whose pairs compete; all 56 directions fit in a map */
    PAIRS_MAX = 4, /* that stay */
    MEMORY = 12,   /* steps that the search remembers */
    TRIES = 5,     /* step lengths */
    PATIENCE = 3,  /* iterations that must gain `tolerance` together */
    START_PENALTIES = 21, /* 1e-8 .. 1e2 per row */
};

static const double tolerance = 3e-4; /* of log RMSE */
static const double step_max = 1.1;   /* a factor of 3 */
static const double scale_min = 1e-6, scale_max = 1e4;
static const double penalty_min = 1e-10, penalty_max = 1e4;
static const double direction_gain = 0.01;  /* of log RMSE: what directions must bring together */
static const double direction_worth = 5e-4; /* and each of them */

/* Rows and centres of one search, and the map that is being tried. */
struct problem {
    const struct matrix *u;
    const double *y;
    size_t rows, centres; /* the first rows are the centres */
    double *spread;       /* (inputs): mean distance from the median */
    struct kernel_map map;
    struct kernel_direction *directions; /* (KERNEL_DIRECTIONS_MAX) */
    double *scales;                      /* (inputs + KERNEL_DIRECTIONS_MAX) */
    double penalty;                      /* per row */
    struct kernel *kernel;
    struct matrix points; /* (columns, padded): columns of the centres */
    double *k, *slope;    /* (padded); (columns): dE/dscale */
    const struct tune_progress *progress;
    double done, share; /* of the progress: before this search, and of one evaluation */
};

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t columns_of(const struct problem *p)
{
    return p->map.inputs + p->map.direction_count;
}

/* ---- the error and its gradient ---- */

static bool read_rows(void *ctx, uint64_t first, size_t max_rows, double *x, double *y,
                      size_t *rows, struct error *err)
{
    struct problem *p = ctx;
    (void)err;
    *rows = max_rows;
    for (size_t i = 0; i < max_rows; i++) {
        kernel_row(p->kernel, matrix_row(p->u, (size_t)first + i), p->k);
        memcpy(x + i * p->centres, p->k, p->centres * sizeof *x);
        y[i] = p->y[first + i];
    }
    return true;
}

static bool fill_metric(void *ctx, double *metric, struct error *err)
{
    size_t rows;
    struct problem *p = ctx;
    double *y = calloc(p->centres, sizeof *y);
    bool ok = y != NULL && read_rows(ctx, 0, p->centres, metric, y, &rows, err);
    free(y);
    return ok || error_set(err, ERR_NO_MEMORY, "tune: out of memory");
}

static bool is_judged(void *ctx, uint64_t row)
{
    return row >= ((const struct problem *)ctx)->centres;
}

/* sum_m weight[m] |at - points[m]| in a fixed order, eight at a time. */
static double weigh_distances(const double *weight, const double *points, size_t padded, double at)
{
    double sums[KERNEL_LANES] = {0};
    for (size_t m = 0; m < padded; m += KERNEL_LANES)
        for (size_t l = 0; l < KERNEL_LANES; l++)
            sums[l] += weight[m + l] * fabs(at - points[m + l]);
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) +
           ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

/* The chain rule from derivatives by k(u, z_m) to those by the scales. */
static void add_slopes(struct problem *p, const double *u, const double *by_k)
{
    kernel_row(p->kernel, u, p->k);
    for (size_t m = 0; m < p->centres; m++)
        p->k[m] *= by_k[m];
    for (size_t j = 0; j < columns_of(p); j++)
        if (p->scales[j] > 0)
            p->slope[j] -= weigh_distances(p->k, matrix_row(&p->points, j), p->points.cols,
                                           centres_column(&p->map, u, j));
}

static bool take_rows(void *ctx, uint64_t first, size_t rows, double *dx, struct error *err)
{
    struct problem *p = ctx;
    (void)err;
    for (size_t i = 0; i < rows; i++)
        add_slopes(p, matrix_row(p->u, (size_t)first + i), dx + i * p->centres);
    return true;
}

static bool take_metric(void *ctx, double *dp, struct error *err)
{
    return take_rows(ctx, 0, ((struct problem *)ctx)->centres, dp, err);
}

/* Makes the kernel of the map being tried. */
static bool set_kernel(struct problem *p, struct error *err)
{
    kernel_free(p->kernel);
    p->kernel = kernel_new(&p->map, err);
    return p->kernel != NULL;
}

/* Number of variables of the search: active columns and the penalty. */
static size_t count_variables(const struct problem *p)
{
    size_t n = 1;
    for (size_t j = 0; j < columns_of(p); j++)
        n += p->scales[j] > 0;
    return n;
}

static void get_variables(const struct problem *p, double *x)
{
    for (size_t j = 0; j < columns_of(p); j++)
        if (p->scales[j] > 0)
            *x++ = log(p->scales[j]);
    *x = log(p->penalty);
}

static double clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

static void set_variables(struct problem *p, const double *x)
{
    for (size_t j = 0; j < columns_of(p); j++)
        if (p->scales[j] > 0)
            p->scales[j] = clamp(exp(*x++), scale_min, scale_max);
    p->penalty = clamp(exp(*x), penalty_min, penalty_max);
}

static struct ridge_source source_of(struct problem *p)
{
    return (struct ridge_source){p->centres, p->rows, p, read_rows};
}

/* log RMSE of the current variables and its gradient by them; infinite where there is none. */
static bool evaluate(struct problem *p, double *value, double *slope, struct error *err)
{
    struct error failure = {0};
    double penalty = p->penalty * (double)p->rows;
    const struct ridge_source source = source_of(p);
    const struct ridge_options options = {.penalties = &penalty,
                                          .penalty_count = 1,
                                          .metric = fill_metric,
                                          .metric_ctx = p,
                                          .judged = is_judged,
                                          .judged_ctx = p};
    struct ridge_gradient gradient = {.ctx = p, .rows = take_rows, .metric = take_metric};
    p->done += p->share;
    if (p->progress != NULL)
        p->progress->tell(p->progress->ctx, p->done < 1 ? p->done : 1);
    memset(p->slope, 0, columns_of(p) * sizeof *p->slope);
    *value = INFINITY;
    if (!set_kernel(p, err))
        return false;
    if (!ridge_gradient(&source, &options, &gradient, &failure)) {
        if (failure.code != ERR_NUMERIC)
            *err = failure;
        return failure.code == ERR_NUMERIC;
    }
    /* an error of 0 is that of a constant target: nothing to search for */
    *value = log(fmax(gradient.error, DBL_MIN)) / 2;
    double each = gradient.error > DBL_MIN ? 1 / (2 * gradient.error) : 0;
    for (size_t j = 0; j < columns_of(p); j++)
        if (p->scales[j] > 0)
            *slope++ = p->slope[j] * p->scales[j] * each;
    *slope = gradient.by_log_penalty * each;
    return true;
}

/* ---- the search ---- */

/* Limited-memory BFGS: the last steps and what they changed in the gradient, oldest overwritten. */
struct search {
    size_t n, kept, next;
    double *x, *g, *trial, *trial_g, *direction; /* (n) */
    double *s, *t;                               /* (MEMORY, n) */
    double rho[MEMORY];
    double value;
};

static bool search_init(struct search *s, size_t n, struct error *err)
{
    *s = (struct search){.n = n};
    s->x = calloc((5 + 2 * MEMORY) * n, sizeof *s->x);
    if (s->x == NULL)
        return error_set(err, ERR_NO_MEMORY, "tune: out of memory");
    s->g = s->x + n;
    s->trial = s->g + n;
    s->trial_g = s->trial + n;
    s->direction = s->trial_g + n;
    s->s = s->direction + n;
    s->t = s->s + MEMORY * n;
    return true;
}

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static double largest(const double *a, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, fabs(a[i]));
    return most;
}

/* direction = -H g, no component above step_max. */
static void find_direction(struct search *s)
{
    double a[MEMORY] = {0}, *d = s->direction;
    size_t n = s->n;
    for (size_t i = 0; i < n; i++)
        d[i] = -s->g[i];
    for (size_t k = 0; k < s->kept; k++) {
        size_t at = (s->next + 2 * MEMORY - 1 - k) % MEMORY;
        a[at] = s->rho[at] * dot(s->s + at * n, d, n);
        for (size_t i = 0; i < n; i++)
            d[i] -= a[at] * s->t[at * n + i];
    }
    size_t last = (s->next + MEMORY - 1) % MEMORY;
    double steep = largest(s->g, n);
    double scale = s->kept > 0 ? 1 / (s->rho[last] * dot(s->t + last * n, s->t + last * n, n))
                               : (steep > 0 ? 0.5 / steep : 0);
    for (size_t i = 0; i < n; i++)
        d[i] *= scale;
    for (size_t k = s->kept; k-- > 0;) {
        size_t at = (s->next + 2 * MEMORY - 1 - k) % MEMORY;
        double b = s->rho[at] * dot(s->t + at * n, d, n);
        for (size_t i = 0; i < n; i++)
            d[i] += (a[at] - b) * s->s[at * n + i];
    }
    double most = largest(d, n);
    for (size_t i = 0; i < n && most > step_max; i++)
        d[i] *= step_max / most;
}

/* Remembers the step from x to trial, if the gradient rose along it, and takes it. */
static void take_step(struct search *s, double value)
{
    size_t n = s->n;
    double *step = s->s + s->next * n, *change = s->t + s->next * n;
    for (size_t i = 0; i < n; i++) {
        step[i] = s->trial[i] - s->x[i];
        change[i] = s->trial_g[i] - s->g[i];
    }
    double rise = dot(step, change, n);
    if (rise > 1e-10 * sqrt(dot(step, step, n) * dot(change, change, n))) {
        s->rho[s->next] = 1 / rise;
        s->next = (s->next + 1) % MEMORY;
        s->kept += s->kept < MEMORY;
    }
    memcpy(s->x, s->trial, n * sizeof *s->x);
    memcpy(s->g, s->trial_g, n * sizeof *s->g);
    s->value = value;
}

/* Tries the direction, then shorter; *moved tells whether a step was taken. */
static bool advance(struct problem *p, struct search *s, bool *moved, struct error *err)
{
    double value, slope, length = 1;
    find_direction(s);
    slope = dot(s->direction, s->g, s->n);
    if (slope >= 0) { /* not a descent: start the memory anew */
        s->kept = 0;
        find_direction(s);
        slope = dot(s->direction, s->g, s->n);
    }
    *moved = false;
    for (int k = 0; k < TRIES && slope < 0; k++, length *= 0.3) {
        for (size_t i = 0; i < s->n; i++)
            s->trial[i] = s->x[i] + length * s->direction[i];
        set_variables(p, s->trial);
        get_variables(p, s->trial);
        if (!evaluate(p, &value, s->trial_g, err))
            return false;
        if (value <= s->value + 1e-4 * length * slope) {
            *moved = value < s->value;
            take_step(s, value);
            break;
        }
    }
    set_variables(p, s->x);
    return true;
}

/* Improves the variables of p; *value becomes the log RMSE. */
static bool descend(struct problem *p, int iterations, double *value, struct error *err)
{
    struct search s;
    double before[PATIENCE];
    bool moved = true;
    if (!search_init(&s, count_variables(p), err))
        return false;
    get_variables(p, s.x);
    bool ok = evaluate(p, &s.value, s.g, err);
    for (int k = 0; ok && moved && k < iterations && isfinite(s.value); k++) {
        if (k >= PATIENCE && before[k % PATIENCE] - s.value < tolerance)
            break;
        before[k % PATIENCE] = s.value;
        ok = advance(p, &s, &moved, err);
    }
    *value = s.value;
    free(s.x);
    return ok;
}

/* ---- a problem ---- */

/* The columns of the centres, for the chain rule; after every change of the directions. */
static bool set_points(struct problem *p, struct error *err)
{
    size_t padded = (p->centres + KERNEL_LANES - 1) / KERNEL_LANES * KERNEL_LANES;
    matrix_clear(&p->points);
    if (!matrix_init(&p->points, columns_of(p), padded, err))
        return false;
    for (size_t j = 0; j < columns_of(p); j++)
        for (size_t m = 0; m < p->centres; m++)
            matrix_row(&p->points, j)[m] = centres_column(&p->map, matrix_row(p->u, m), j);
    return true;
}

/* Prepares a search over so many rows and centres, or as many as there are. */
static bool set_size(struct problem *p, size_t most_rows, size_t most_centres, struct error *err)
{
    double shrink = p->u->cols > WIDE ? sqrt((double)WIDE / (double)p->u->cols) : 1;
    size_t rows = (size_t)((double)most_rows * shrink);
    size_t centres = (size_t)((double)most_centres * shrink);
    p->rows = smaller(rows, p->u->rows);
    p->centres = smaller(centres, p->rows / 3);
    p->map.centres = p->u->data;
    p->map.centre_count = p->centres;
    free(p->k);
    p->k = calloc(p->centres + KERNEL_LANES, sizeof *p->k);
    if (p->k == NULL)
        return error_set(err, ERR_NO_MEMORY, "tune: out of memory");
    return set_points(p, err);
}

static int compare_numbers(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Mean distance from the median, which a few far rows do not rule. */
static bool set_spreads(struct problem *p, struct error *err)
{
    size_t n = smaller(p->u->rows, ROWS);
    double *column = calloc(n, sizeof *column);
    if (column == NULL)
        return error_set(err, ERR_NO_MEMORY, "tune: out of memory");
    for (size_t j = 0; j < p->u->cols; j++) {
        for (size_t i = 0; i < n; i++)
            column[i] = matrix_row(p->u, i)[j];
        qsort(column, n, sizeof *column, compare_numbers);
        double median = column[n / 2], sum = 0;
        size_t quarter = n / 4; /* the middle half: a tail does not count */
        for (size_t i = quarter; i < n - quarter; i++)
            sum += fabs(column[i] - median);
        p->spread[j] = 2 * sum / (double)(n - 2 * quarter);
        if (p->spread[j] == 0) /* more than half the rows are equal */
            for (size_t i = 0; i < n; i++)
                p->spread[j] += fabs(column[i] - median) / (double)n;
    }
    free(column);
    return true;
}

static bool problem_init(struct problem *p, const struct matrix *u, const double *y,
                         struct error *err)
{
    *p = (struct problem){.u = u, .y = y};
    p->spread = calloc(u->cols, sizeof *p->spread);
    p->scales = calloc(u->cols + KERNEL_DIRECTIONS_MAX, sizeof *p->scales);
    p->slope = calloc(u->cols + KERNEL_DIRECTIONS_MAX, sizeof *p->slope);
    p->directions = calloc(KERNEL_DIRECTIONS_MAX, sizeof *p->directions);
    p->map =
        (struct kernel_map){.inputs = u->cols, .directions = p->directions, .scales = p->scales};
    if (p->spread == NULL || p->scales == NULL || p->slope == NULL || p->directions == NULL)
        return error_set(err, ERR_NO_MEMORY, "tune: out of memory");
    return set_size(p, ROWS, CENTRES, err) && set_spreads(p, err);
}

static void problem_clear(struct problem *p)
{
    kernel_free(p->kernel);
    matrix_clear(&p->points);
    free(p->spread);
    free(p->scales);
    free(p->slope);
    free(p->directions);
    free(p->k);
}

/* ---- where to start ---- */

/* The best of a path of penalties for the current scales, as log RMSE. */
static bool choose_penalty(struct problem *p, double *value, struct error *err)
{
    double penalties[START_PENALTIES];
    struct ridge fit;
    struct error failure = {0};
    for (size_t l = 0; l < START_PENALTIES; l++)
        penalties[l] = (double)p->rows * pow(10, (double)l / 2 - 8);
    const struct ridge_source source = source_of(p);
    const struct ridge_options options = {.penalties = penalties,
                                          .penalty_count = START_PENALTIES,
                                          .metric = fill_metric,
                                          .metric_ctx = p,
                                          .judged = is_judged,
                                          .judged_ctx = p};
    *value = INFINITY;
    if (!set_kernel(p, err))
        return false;
    if (!ridge_fit(&source, &options, &fit, &failure)) {
        if (failure.code != ERR_NUMERIC)
            *err = failure;
        return failure.code == ERR_NUMERIC;
    }
    p->penalty = fit.penalty / (double)p->rows;
    *value = log(fmax(fit.leave_one_out[fit.chosen].rmse, DBL_MIN));
    ridge_clear(&fit);
    return true;
}

/* Equal weight for every column that varies; how much, and the penalty, is tried out. */
static bool start(struct problem *p, double *value, struct error *err)
{
    static const double widths[] = {0.3, 1, 3};
    double best = 0, penalty = 1, active = 0, one;
    for (size_t j = 0; j < p->u->cols; j++)
        active += p->spread[j] > 0;
    *value = INFINITY;
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        for (size_t j = 0; j < p->u->cols; j++)
            p->scales[j] = p->spread[j] > 0 ? widths[w] / (active * p->spread[j]) : 0;
        if (!choose_penalty(p, &one, err))
            return false;
        if (one < *value) {
            *value = one;
            best = widths[w];
            penalty = p->penalty;
        }
    }
    for (size_t j = 0; j < p->u->cols; j++)
        p->scales[j] = p->spread[j] > 0 ? best / (active * p->spread[j]) : 0;
    p->penalty = penalty;
    return isfinite(*value) ||
           error_set(err, ERR_NUMERIC, "tune: no scales have a finite leave-one-out error");
}

/* ---- directions ---- */

struct pair {
    unsigned a, b;
    double strength;
};

static double strength(const struct problem *p, unsigned j)
{
    return p->scales[j] * p->spread[j];
}

/* The strongest inputs, strongest first; returns how many. */
static size_t find_rivals(const struct problem *p, unsigned rivals[RIVALS])
{
    size_t count = 0;
    for (unsigned j = 0; j < p->u->cols; j++) {
        if (!(p->scales[j] > 0))
            continue;
        size_t at = count < RIVALS ? count++ : RIVALS;
        for (; at > 0 && strength(p, rivals[at - 1]) < strength(p, j); at--)
            if (at < RIVALS)
                rivals[at] = rivals[at - 1];
        if (at < RIVALS)
            rivals[at] = j;
    }
    return count;
}

/* Adds the sum and the difference of a pair, at a fraction of its inputs' scale. */
static void add_pair(struct problem *p, unsigned a, unsigned b, double fraction)
{
    for (int difference = 0; difference < 2; difference++) {
        p->directions[p->map.direction_count] = (struct kernel_direction){a, b, difference};
        p->scales[columns_of(p)] = fraction * sqrt(p->scales[a] * p->scales[b]);
        p->map.direction_count++;
    }
}

static int compare_pairs(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;
    if (x->strength != y->strength)
        return x->strength > y->strength ? -1 : 1;
    return x->a != y->a ? (x->a < y->a ? -1 : 1) : (x->b > y->b) - (x->b < y->b);
}

/* Lets all pairs of the rivals compete; the strongest first in pairs. */
static bool rank_pairs(struct problem *p, struct pair *pairs, size_t *count, struct error *err)
{
    unsigned rivals[RIVALS];
    double value;
    size_t n = find_rivals(p, rivals);
    *count = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t k = i + 1; k < n; k++)
            add_pair(p, rivals[i], rivals[k], 0.1);
    if (n < 2)
        return true;
    if (!set_points(p, err) || !descend(p, 12, &value, err))
        return false;
    for (size_t d = 0; d < p->map.direction_count; d += 2) {
        const struct kernel_direction *direction = &p->directions[d];
        double spread = fmax(p->spread[direction->a], p->spread[direction->b]);
        double *scale = p->scales + p->map.inputs + d;
        pairs[(*count)++] =
            (struct pair){direction->a, direction->b, (scale[0] + scale[1]) * spread};
    }
    qsort(pairs, *count, sizeof *pairs, compare_pairs);
    return true;
}

static void choose_pairs(struct problem *p, const struct pair *pairs, size_t count)
{
    size_t chosen = 0;
    for (size_t k = 0; k < count && chosen < PAIRS_MAX; k++) {
        bool free_inputs = true;
        for (size_t d = 0; d < p->map.direction_count; d++) {
            const struct kernel_direction *other = &p->directions[d];
            free_inputs = free_inputs && other->a != pairs[k].a && other->a != pairs[k].b &&
                          other->b != pairs[k].a && other->b != pairs[k].b;
        }
        if (!free_inputs ||
            pairs[k].strength < 0.1 * sqrt(strength(p, pairs[k].a) * strength(p, pairs[k].b)))
            continue;
        add_pair(p, pairs[k].a, pairs[k].b, 0.5);
        chosen++;
    }
}

static void remove_direction(struct problem *p, size_t d)
{
    size_t after = p->map.direction_count - 1 - d;
    double *scales = p->scales + p->map.inputs;
    memmove(p->directions + d, p->directions + d + 1, after * sizeof *p->directions);
    memmove(scales + d, scales + d + 1, after * sizeof *scales);
    p->map.direction_count--;
}

/* Takes out directions without which the error is hardly greater. */
static bool prune(struct problem *p, double *value, double *slope, struct error *err)
{
    for (size_t d = p->map.direction_count; d-- > 0;) {
        double *scale = p->scales + p->map.inputs + d, kept = *scale, without;
        *scale = 0;
        if (!evaluate(p, &without, slope, err))
            return false;
        if (without < *value + direction_worth) {
            remove_direction(p, d);
            *value = without;
            if (!set_points(p, err))
                return false;
        } else
            *scale = kept;
    }
    return true;
}

/* Adds the directions that help. */
static bool find_directions(struct problem *p, double *value, struct error *err)
{
    struct pair pairs[RIVALS * (RIVALS - 1) / 2];
    size_t count, inputs = p->u->cols;
    double with = INFINITY, penalty = p->penalty;
    double *room = calloc(2 * inputs + KERNEL_DIRECTIONS_MAX + 1, sizeof *room);
    if (room == NULL)
        return error_set(err, ERR_NO_MEMORY, "tune: out of memory");
    double *scales = room, *slope = room + inputs;
    memcpy(scales, p->scales, inputs * sizeof *scales);
    bool ok = rank_pairs(p, pairs, &count, err);
    memcpy(p->scales, scales, inputs * sizeof *scales);
    p->penalty = penalty;
    p->map.direction_count = 0;
    if (ok && count > 0) {
        choose_pairs(p, pairs, count);
        ok = p->map.direction_count == 0 ||
             (set_points(p, err) && descend(p, 15, &with, err) && prune(p, &with, slope, err));
    }
    if (ok && with > *value - direction_gain) {
        memcpy(p->scales, scales, inputs * sizeof *scales);
        p->penalty = penalty;
        p->map.direction_count = 0;
        ok = set_points(p, err);
    } else
        *value = with;
    free(room);
    return ok;
}

/* ---- all of it ---- */

static bool solve(struct problem *p, size_t centres, double *value, struct error *err)
{
    size_t fine = smaller(centres / 2, FINE_CENTRES);
    if (!start(p, value, err) || !descend(p, 25, value, err) || !find_directions(p, value, err))
        return false;
    if (p->u->rows <= ROWS || fine <= CENTRES)
        return true;
    p->done = 0.7;
    p->share = 0.03;
    size_t rows = FINE_ROWS * fine > ROWS ? FINE_ROWS * fine : ROWS;
    return set_size(p, rows, fine, err) && descend(p, 6, value, err);
}

static bool keep(const struct problem *p, double value, struct tuned *out, struct error *err)
{
    size_t columns = columns_of(p);
    *out = (struct tuned){.inputs = p->map.inputs,
                          .direction_count = p->map.direction_count,
                          .penalty = p->penalty,
                          .rmse = exp(value)};
    out->scales = calloc(columns, sizeof *out->scales);
    if (out->scales == NULL)
        return error_set(err, ERR_NO_MEMORY, "tune: out of memory");
    memcpy(out->directions, p->directions, p->map.direction_count * sizeof *p->directions);
    for (size_t j = 0; j < columns; j++)
        out->scales[j] = p->scales[j] > 10 * scale_min ? p->scales[j] : 0;
    return true;
}

bool tune(const struct matrix *u, const double *y, size_t centres,
          const struct tune_progress *progress, struct tuned *out, struct error *err)
{
    struct problem p;
    double value;
    *out = (struct tuned){.inputs = 0};
    if (u->rows < TUNE_ROWS_MIN)
        return error_set(err, ERR_INVALID, "tune: expected at least %d rows, got %zu",
                         TUNE_ROWS_MIN, u->rows);
    bool ok = problem_init(&p, u, y, err);
    p.progress = progress;
    p.share = 0.01;
    ok = ok && solve(&p, centres, &value, err) && keep(&p, value, out, err);
    problem_clear(&p);
    return ok;
}

void tuned_clear(struct tuned *tuned)
{
    free(tuned->scales);
    *tuned = (struct tuned){.inputs = 0};
}
