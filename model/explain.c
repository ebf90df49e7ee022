/* The kernel is a product over its columns, so over the factors: sets of inputs that share no column. A
 * factor has states: its inputs present, absent, and for a pair one of each; a state is a mean of column
 * products over draws of what is absent. States of all centres come block by block, and what a node of
 * the quadrature needs of the other factors from products before and after, without division. An exp per
 * centre is avoided: exp(-w|v - d|) is the lesser of exp(w v) exp(-w d) and exp(-w v) exp(w d). */
#include "model/explain.h"

#include "model/model_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    BLOCK = 64, /* centres worked on at a time: what they need stays in the first-level cache */
    COLUMNS_MAX = EXPLAIN_SET_MAX + KERNEL_DIRECTIONS_MAX, /* of a factor */
    DRAWN_MAX = 3, /* inputs whose quantiles are combined in every way */
};

/* Largest exponent of a centre's side: exp(+-600) is neither 0 nor infinite, so its product with a row's
 * side, which may be either, is no NaN. */
static const double exponent_max = 600;

/* A column of the kernel, at every centre: d is u_a, u_a + u_b or u_a - u_b. */
struct column {
    unsigned a, b;
    int sign;   /* of u_b; 0: an input */
    bool steep; /* exponents beyond the largest: exp it is, and rise is w d */
    double scale, shift;
    double *rise, *fall; /* (padded) exp(w (d - shift)) and its inverse */
};

/* The same of one row or draw: exp(w (v - shift)) and its inverse; steep: w v and nothing. */
struct point {
    double rise, fall;
};

struct factor {
    const unsigned *inputs;
    size_t input_count;
    const struct column *columns;
    size_t column_count, draws;
    size_t player;  /* that of its first input */
    size_t second;  /* a pair's other player */
    double *absent; /* (padded) */
};

struct explainer {
    struct arena *arena; /* holds the explainer itself, too */
    const struct model *model;
    size_t players;
    const char **names; /* (players) */
    double base;
    double *quantiles; /* (inputs, MODEL_QUANTILES), transformed */
    double *means;     /* linear: (inputs), of those */

    /* kernel */
    size_t padded;        /* centres rounded up to whole blocks */
    double *coefficients; /* (padded) */
    struct factor *factors;
    size_t factor_count, point_count; /* points: of one row, all states */
    double *nodes, *weights;          /* (node_count), of Gauss and Legendre on [0, 1] */
    size_t node_count;
};

static bool no_memory(struct error *err)
{
    return error_set(err, ERR_NO_MEMORY, "out of memory");
}

static bool is_pair(const struct factor *factor)
{
    return factor->input_count == 2;
}

/* ---- which inputs belong together ---- */

/* owner[j] becomes the first input of those that j is connected with; a direction of scale 0 connects
 * nothing. */
static void find_sets(const struct kernel_map *map, unsigned *owner)
{
    for (unsigned j = 0; j < map->inputs; j++)
        owner[j] = j;
    for (size_t d = 0; d < map->direction_count; d++) {
        unsigned a = owner[map->directions[d].a], b = owner[map->directions[d].b];
        for (size_t j = 0; map->scales[map->inputs + d] > 0 && j < map->inputs; j++)
            if (owner[j] == a || owner[j] == b)
                owner[j] = a < b ? a : b;
    }
}

static size_t count_owned(const unsigned *owner, size_t inputs, unsigned first)
{
    size_t n = 0;
    for (size_t j = 0; j < inputs; j++)
        n += owner[j] == first;
    return n;
}

static bool check_sets(const struct kernel_map *map, struct error *err)
{
    unsigned owner[EXPLAIN_KERNEL_INPUTS_MAX];
    if (map->inputs > EXPLAIN_KERNEL_INPUTS_MAX)
        return error_set(err, ERR_UNSUPPORTED,
                         "expected a kernel model of at most %d inputs, got %zu",
                         EXPLAIN_KERNEL_INPUTS_MAX, map->inputs);
    find_sets(map, owner);
    for (unsigned j = 0; j < map->inputs; j++)
        if (count_owned(owner, map->inputs, j) > EXPLAIN_SET_MAX)
            return error_set(err, ERR_UNSUPPORTED,
                             "expected at most %d inputs connected by directions, got %zu",
                             EXPLAIN_SET_MAX, count_owned(owner, map->inputs, j));
    return true;
}

bool explainer_supports(const struct model *model, struct error *err)
{
    const struct model_parts *parts = &model->parts;
    if (parts->quantiles == NULL)
        return error_set(err, ERR_UNSUPPORTED,
                         "expected a model with quantiles of its features, got one without");
    return parts->kind != MODEL_KERNEL || check_sets(&parts->kernel, err);
}

/* ---- columns ---- */

static double column_value(const struct column *c, const double *u)
{
    return c->sign == 0 ? u[c->a] : c->sign > 0 ? u[c->a] + u[c->b] : u[c->a] - u[c->b];
}

static struct point column_point(const struct column *c, const double *u)
{
    double v = column_value(c, u);
    if (c->steep)
        return (struct point){c->scale * v, 0};
    return (struct point){exp(c->scale * (v - c->shift)), exp(-c->scale * (v - c->shift))};
}

/* Fills the arrays of a column whose other members are set. */
static bool make_column(struct column *c, const struct kernel_map *map, size_t padded,
                        struct arena *arena, struct error *err)
{
    double low = INFINITY, high = -INFINITY;
    c->rise = arena_array(arena, padded, sizeof *c->rise);
    c->fall = arena_array(arena, padded, sizeof *c->fall);
    if (c->rise == NULL || c->fall == NULL)
        return no_memory(err);
    for (size_t m = 0; m < map->centre_count; m++) {
        double d = column_value(c, map->centres + m * map->inputs);
        low = d < low ? d : low;
        high = d > high ? d : high;
    }
    c->shift = low / 2 + high / 2;
    c->steep = !(c->scale * (high - c->shift) <= exponent_max);
    for (size_t m = 0; m < padded; m++) { /* centres of the padding count for nothing */
        const double *z = map->centres + (m < map->centre_count ? m : 0) * map->inputs;
        struct point at = column_point(c, z);
        c->rise[m] = at.rise;
        c->fall[m] = at.fall;
    }
    return true;
}

/* product[m] *= the column's kernel between the point and centre first + m */
static void multiply(const struct column *c, struct point at, size_t first,
                     double product[restrict BLOCK])
{
    const double *rise = c->rise + first, *fall = c->fall + first;
    if (c->steep) {
        for (size_t m = 0; m < BLOCK; m++)
            product[m] *= exp(-fabs(at.rise - rise[m]));
        return;
    }
    for (size_t m = 0; m < BLOCK; m++) {
        double up = at.rise * fall[m], down = at.fall * rise[m];
        product[m] *= up < down ? up : down;
    }
}

/* sum[m] += products of the factor's columns over n points each */
static void add_products(const struct factor *f, const struct point *points, size_t n, size_t first,
                         double sum[restrict BLOCK])
{
    double product[BLOCK];
    for (size_t i = 0; i < n; i++) {
        for (size_t m = 0; m < BLOCK; m++)
            product[m] = 1;
        for (size_t c = 0; c < f->column_count; c++)
            multiply(&f->columns[c], *points++, first, product);
        for (size_t m = 0; m < BLOCK; m++)
            sum[m] += product[m];
    }
}

static struct point *put_points(const struct factor *f, const double *u, struct point *points)
{
    for (size_t c = 0; c < f->column_count; c++)
        *points++ = column_point(&f->columns[c], u);
    return points;
}

/* ---- what is absent ---- */

/* Product in the field of 32 elements, modulo x^5 + x^2 + 1. */
static size_t field_product(size_t a, size_t b)
{
    size_t product = 0;
    for (size_t bit = 0; bit < 5; bit++)
        product ^= (b >> bit & 1) != 0 ? a << bit : 0;
    for (size_t bit = 8; bit >= 5; bit--)
        product ^= (product >> bit & 1) != 0 ? (size_t)0x25 << (bit - 5) : 0;
    return product;
}

/* Puts draw i of the factor's inputs into u. The draw's digits are the coefficients of a polynomial,
 * an input's quantile its value at the input's own place: any DRAWN_MAX inputs meet in every way equally
 * often (an orthogonal array of Reed and Solomon). */
static void put_draw(const struct explainer *e, const struct factor *f, size_t i, double *u)
{
    for (size_t k = 0; k < f->input_count; k++) {
        size_t index = i / MODEL_QUANTILES % MODEL_QUANTILES;
        index ^= field_product(k, i / (MODEL_QUANTILES * MODEL_QUANTILES));
        index = i % MODEL_QUANTILES ^ field_product(k, index);
        u[f->inputs[k]] = e->quantiles[f->inputs[k] * MODEL_QUANTILES + index];
    }
}

static void make_absent(const struct explainer *e, struct factor *f)
{
    struct point points[MODEL_QUANTILES * COLUMNS_MAX];
    double u[EXPLAIN_KERNEL_INPUTS_MAX] = {0};
    memset(f->absent, 0, e->padded * sizeof *f->absent);
    for (size_t i = 0; i < f->draws; i += MODEL_QUANTILES) {
        struct point *next = points;
        for (size_t k = i; k < i + MODEL_QUANTILES; k++) {
            put_draw(e, f, k, u);
            next = put_points(f, u, next);
        }
        for (size_t first = 0; first < e->padded; first += BLOCK)
            add_products(f, points, MODEL_QUANTILES, first, f->absent + first);
    }
    for (size_t m = 0; m < e->padded; m++)
        f->absent[m] /= (double)f->draws;
}

/* ---- making one ---- */

static bool make_quantiles(struct explainer *e, struct error *err)
{
    const struct model_parts *parts = &e->model->parts;
    size_t n = parts->feature_count;
    e->quantiles = arena_array(e->arena, n * MODEL_QUANTILES, sizeof *e->quantiles);
    e->means = arena_array(e->arena, n, sizeof *e->means);
    if (e->quantiles == NULL || e->means == NULL)
        return no_memory(err);
    for (size_t j = 0; j < n; j++) {
        double sum = 0;
        for (size_t i = j * MODEL_QUANTILES; i < (j + 1) * MODEL_QUANTILES; i++) {
            e->quantiles[i] = transform_value(&parts->features[j].transform, parts->quantiles[i]);
            sum += e->quantiles[i];
        }
        e->means[j] = sum / MODEL_QUANTILES;
    }
    return true;
}

/* Roots of the Legendre polynomial by Newton's method, from the usual first guess. */
static bool make_nodes(struct explainer *e, struct error *err)
{
    size_t n = e->node_count = (e->players + 1) / 2;
    e->nodes = arena_array(e->arena, n, sizeof *e->nodes);
    e->weights = arena_array(e->arena, n, sizeof *e->weights);
    if (e->nodes == NULL || e->weights == NULL)
        return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        double x = cos(acos(-1) * ((double)i + 0.75) / ((double)n + 0.5)), slope = 1, step = 1;
        for (int turn = 0; turn < 20 && fabs(step) > 1e-16; turn++) {
            double before = 1, value = x;
            for (size_t k = 2; k <= n; k++) {
                double next =
                    ((double)(2 * k - 1) * x * value - (double)(k - 1) * before) / (double)k;
                before = value;
                value = next;
            }
            slope = (double)n * (x * value - before) / (x * x - 1);
            step = value / slope;
            x -= step;
        }
        e->nodes[i] = (1 + x) / 2;
        e->weights[i] = 1 / ((1 - x * x) * slope * slope);
    }
    return true;
}

/* "a+b+c" of the inputs that `first` owns. */
static const char *join_names(const struct explainer *e, const unsigned *owner, unsigned first)
{
    const struct model *model = e->model;
    size_t n = model_feature_count(model);
    char *text = arena_alloc(e->arena, n * (MODEL_TEXT_MAX + 1)), *end = text;
    for (size_t j = first; text != NULL && j < n; j++) {
        if (owner[j] != first)
            continue;
        size_t length = strlen(model_feature_name(model, j));
        if (end != text)
            end[-1] = '+';
        memcpy(end, model_feature_name(model, j), length + 1);
        end += length + 1;
    }
    return text;
}

/* One player per input of a set of one or two, else one for all. */
static bool make_players(struct explainer *e, const unsigned *owner, size_t *player,
                         struct error *err)
{
    size_t n = model_feature_count(e->model);
    e->names = arena_array(e->arena, n, sizeof *e->names);
    if (e->names == NULL)
        return no_memory(err);
    for (unsigned j = 0; j < n; j++) {
        bool set = owner != NULL && count_owned(owner, n, owner[j]) > 2;
        player[j] = set && owner[j] != j ? player[owner[j]] : e->players++;
        if (!set)
            e->names[player[j]] = model_feature_name(e->model, j);
        else if (owner[j] == j && (e->names[player[j]] = join_names(e, owner, j)) == NULL)
            return no_memory(err);
    }
    return true;
}

/* The columns of the factor of `first` that are not constant. */
static bool make_columns(struct explainer *e, const unsigned *owner, unsigned first,
                         struct factor *f, struct error *err)
{
    const struct kernel_map *map = &e->model->parts.kernel;
    struct column *columns = arena_array(e->arena, COLUMNS_MAX, sizeof *columns);
    if (columns == NULL)
        return no_memory(err);
    f->columns = columns;
    for (size_t j = 0; j < map->inputs + map->direction_count; j++) {
        struct column *c = &columns[f->column_count];
        *c = (struct column){.a = (unsigned)j, .scale = map->scales[j]};
        if (j >= map->inputs) {
            const struct kernel_direction *d = &map->directions[j - map->inputs];
            c->a = d->a;
            c->b = d->b;
            c->sign = d->difference ? -1 : 1;
        }
        if (c->scale > 0 && owner[c->a] == first) {
            if (!make_column(c, map, e->padded, e->arena, err))
                return false;
            f->column_count++;
        }
    }
    return true;
}

static bool make_factor(struct explainer *e, const unsigned *owner, const size_t *player,
                        unsigned first, struct error *err)
{
    size_t n = model_feature_count(e->model);
    struct factor *f = &e->factors[e->factor_count++];
    unsigned *inputs = arena_array(e->arena, n, sizeof *inputs);
    *f = (struct factor){.inputs = inputs, .draws = MODEL_QUANTILES, .player = player[first]};
    f->absent = arena_array(e->arena, e->padded, sizeof *f->absent);
    if (inputs == NULL || f->absent == NULL)
        return no_memory(err);
    for (unsigned j = first; j < n; j++)
        if (owner[j] == first)
            inputs[f->input_count++] = j;
    for (size_t k = 1; k < f->input_count && k < DRAWN_MAX; k++)
        f->draws *= MODEL_QUANTILES;
    if (is_pair(f))
        f->second = player[inputs[1]];
    if (!make_columns(e, owner, first, f, err))
        return false;
    make_absent(e, f);
    e->point_count += f->column_count * (is_pair(f) ? 1 + 2 * MODEL_QUANTILES : 1);
    return true;
}

static bool make_kernel(struct explainer *e, struct error *err)
{
    const struct model_parts *parts = &e->model->parts;
    unsigned owner[EXPLAIN_KERNEL_INPUTS_MAX] = {0};
    size_t player[EXPLAIN_KERNEL_INPUTS_MAX], centres = parts->kernel.centre_count;
    find_sets(&parts->kernel, owner);
    e->padded = (centres + BLOCK - 1) / BLOCK * BLOCK;
    e->coefficients = arena_array(e->arena, e->padded, sizeof *e->coefficients);
    e->factors = arena_array(e->arena, parts->feature_count, sizeof *e->factors);
    if (e->coefficients == NULL || e->factors == NULL)
        return no_memory(err);
    memset(e->coefficients, 0, e->padded * sizeof *e->coefficients);
    memcpy(e->coefficients, parts->prediction.coefficients, centres * sizeof *e->coefficients);
    if (!make_players(e, owner, player, err) || !make_nodes(e, err))
        return false;
    for (unsigned j = 0; j < parts->feature_count; j++)
        if (owner[j] == j && !make_factor(e, owner, player, j, err))
            return false;
    e->base = parts->prediction.intercept;
    for (size_t m = 0; m < centres; m++) {
        double product = e->coefficients[m];
        for (size_t f = 0; f < e->factor_count; f++)
            product *= e->factors[f].absent[m];
        e->base += product;
    }
    return true;
}

static bool make_linear(struct explainer *e, struct error *err)
{
    const struct model_function *f = &e->model->parts.prediction;
    size_t player[MODEL_FEATURES_MAX];
    e->base = f->intercept;
    for (size_t j = 0; j < f->coefficient_count; j++)
        e->base += f->coefficients[j] * e->means[j];
    return make_players(e, NULL, player, err);
}

struct explainer *explainer_new(const struct model *model, struct error *err)
{
    struct explainer *e = NULL;
    if (!explainer_supports(model, err))
        return NULL;
    struct arena *arena = arena_new(4096, 0);
    if (arena == NULL || (e = arena_alloc(arena, sizeof *e)) == NULL) {
        arena_free(arena);
        (void)no_memory(err);
        return NULL;
    }
    *e = (struct explainer){.arena = arena, .model = model};
    if (make_quantiles(e, err) &&
        (model->parts.kind == MODEL_KERNEL ? make_kernel(e, err) : make_linear(e, err)))
        return e;
    explainer_free(e);
    return NULL;
}

void explainer_free(struct explainer *explainer)
{
    if (explainer != NULL)
        arena_free(explainer->arena);
}

/* ---- what it is ---- */

size_t explainer_player_count(const struct explainer *explainer)
{
    return explainer->players;
}

const char *explainer_player_name(const struct explainer *explainer, size_t player)
{
    return explainer->names[player];
}

double explainer_base(const struct explainer *explainer)
{
    return explainer->base;
}

/* ---- a row ---- */

/* What a row needs of a factor, at the centres of a block. */
struct states {
    double present[BLOCK];
    double only[2][BLOCK]; /* a pair: its first input present, its second */
    double before[BLOCK];  /* coefficient, weight and the factors before it */
};

struct work {
    struct point *points;  /* (point_count) */
    struct states *states; /* (factor_count) */
    double (*sums)[BLOCK]; /* (players) */
};

static void make_points(const struct explainer *e, const double *u, struct point *next)
{
    double drawn[EXPLAIN_KERNEL_INPUTS_MAX];
    memcpy(drawn, u, model_feature_count(e->model) * sizeof *drawn);
    for (const struct factor *f = e->factors; f < e->factors + e->factor_count; f++) {
        next = put_points(f, u, next);
        for (size_t absent = 2; is_pair(f) && absent-- > 0;) {
            unsigned j = f->inputs[absent];
            for (size_t i = 0; i < MODEL_QUANTILES; i++) {
                drawn[j] = e->quantiles[j * MODEL_QUANTILES + i];
                next = put_points(f, drawn, next);
            }
            drawn[j] = u[j];
        }
    }
}

/* The mean over n points of each of the factor's columns. */
static const struct point *mean_state(const struct factor *f, const struct point *points, size_t n,
                                      size_t first, double state[BLOCK])
{
    memset(state, 0, BLOCK * sizeof *state);
    add_products(f, points, n, first, state);
    for (size_t m = 0; n > 1 && m < BLOCK; m++)
        state[m] /= (double)n;
    return points + n * f->column_count;
}

static void make_states(const struct explainer *e, size_t first, const struct work *w)
{
    const struct point *points = w->points;
    for (size_t i = 0; i < e->factor_count; i++) {
        const struct factor *f = &e->factors[i];
        points = mean_state(f, points, 1, first, w->states[i].present);
        for (size_t k = 0; is_pair(f) && k < 2; k++)
            points = mean_state(f, points, MODEL_QUANTILES, first, w->states[i].only[k]);
    }
}

/* product[m] *= the factor's expectation when each of its inputs is present with chance q */
static void multiply_mixed(const struct factor *f, const struct states *s, size_t first, double q,
                           double product[restrict BLOCK])
{
    const double *absent = f->absent + first;
    if (is_pair(f)) {
        double both = q * q, one = q * (1 - q), none = (1 - q) * (1 - q);
        for (size_t m = 0; m < BLOCK; m++)
            product[m] *=
                both * s->present[m] + one * (s->only[0][m] + s->only[1][m]) + none * absent[m];
        return;
    }
    for (size_t m = 0; m < BLOCK; m++)
        product[m] *= q * s->present[m] + (1 - q) * absent[m];
}

/* Adds what the factor's players are worth, given the product of all other factors. */
static void add_worth(const struct factor *f, const struct states *s, size_t first, double q,
                      const double others[BLOCK], double (*sums)[BLOCK])
{
    const double *absent = f->absent + first;
    double *sum = sums[f->player];
    if (!is_pair(f)) {
        for (size_t m = 0; m < BLOCK; m++)
            sum[m] += others[m] * (s->present[m] - absent[m]);
        return;
    }
    double *second = sums[f->second];
    for (size_t m = 0; m < BLOCK; m++)
        sum[m] += others[m] *
                  (q * (s->present[m] - s->only[1][m]) + (1 - q) * (s->only[0][m] - absent[m]));
    for (size_t m = 0; m < BLOCK; m++)
        second[m] += others[m] *
                     (q * (s->present[m] - s->only[0][m]) + (1 - q) * (s->only[1][m] - absent[m]));
}

static void add_node(const struct explainer *e, size_t first, double q, double weight,
                     const struct work *w)
{
    double product[BLOCK], others[BLOCK];
    for (size_t m = 0; m < BLOCK; m++)
        product[m] = weight * e->coefficients[first + m];
    for (size_t i = 0; i < e->factor_count; i++) {
        memcpy(w->states[i].before, product, sizeof product);
        multiply_mixed(&e->factors[i], &w->states[i], first, q, product);
    }
    for (size_t m = 0; m < BLOCK; m++)
        product[m] = 1;
    for (size_t i = e->factor_count; i-- > 0;) {
        for (size_t m = 0; m < BLOCK; m++)
            others[m] = w->states[i].before[m] * product[m];
        add_worth(&e->factors[i], &w->states[i], first, q, others, w->sums);
        multiply_mixed(&e->factors[i], &w->states[i], first, q, product);
    }
}

static void kernel_attributions(const struct explainer *e, const double *u, const struct work *w,
                                double *out)
{
    make_points(e, u, w->points);
    memset(w->sums, 0, e->players * sizeof *w->sums);
    for (size_t first = 0; first < e->padded; first += BLOCK) {
        make_states(e, first, w);
        for (size_t i = 0; i < e->node_count; i++)
            add_node(e, first, e->nodes[i], e->weights[i], w);
    }
    for (size_t k = 0; k < e->players; k++) {
        out[k] = 0;
        for (size_t m = 0; m < BLOCK; m++)
            out[k] += w->sums[k][m];
    }
}

static bool run_kernel(const struct explainer *e, size_t rows, const double *x, double *out,
                       struct error *err)
{
    size_t inputs = e->model->parts.feature_count;
    double u[EXPLAIN_KERNEL_INPUTS_MAX];
    struct work w = {.points = calloc(e->point_count + 1, sizeof *w.points),
                     .states = calloc(e->factor_count, sizeof *w.states),
                     .sums = calloc(e->players, sizeof *w.sums)};
    bool ok = w.points != NULL && w.states != NULL && w.sums != NULL;
    for (size_t i = 0; ok && i < rows; i++) {
        for (size_t j = 0; j < inputs; j++)
            u[j] = transform_value(&e->model->parts.features[j].transform, x[i * inputs + j]);
        kernel_attributions(e, u, &w, out + i * e->players);
    }
    free(w.sums);
    free(w.states);
    free(w.points);
    return ok || no_memory(err);
}

static void run_linear(const struct explainer *e, size_t rows, const double *x, double *out)
{
    const struct model_parts *parts = &e->model->parts;
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < parts->feature_count; j++)
            *out++ = parts->prediction.coefficients[j] *
                     (transform_value(&parts->features[j].transform, *x++) - e->means[j]);
}

bool explainer_run(const struct explainer *explainer, size_t rows, const double *x,
                   double *attributions, struct error *err)
{
    if (explainer->model->parts.kind == MODEL_KERNEL)
        return run_kernel(explainer, rows, x, attributions, err);
    run_linear(explainer, rows, x, attributions);
    return true;
}

double explain_row_ns(const struct model *model)
{
    const struct kernel_map *map = &model->parts.kernel;
    double inputs = (double)model->parts.feature_count, directions = (double)map->direction_count;
    if (model->parts.kind == MODEL_LINEAR)
        return 5 + 4 * inputs;
    /* Per centre: the nodes of every factor, and the draws of pairs, three columns or more. */
    return (double)map->centre_count *
           (inputs * (1 + inputs) + 2 * MODEL_QUANTILES * (directions > 0 ? 2 + directions : 0));
}
