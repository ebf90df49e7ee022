/* Attributions against brute force over all coalitions, with an own reading of the game; what they sum
 * up to; players and their names; bounds. */
#include "model/explain.h"

#include "model/model_internal.h"
#include "tests/support/t.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INPUTS = 6, CENTRES_MAX = 200, DIRECTIONS = 8, Q = MODEL_QUANTILES };

static double next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 11) * 0x1p-53;
}

/* ---- models ---- */

struct sample {
    size_t inputs, centre_count, direction_count;
    bool linear;
    const struct kernel_direction *directions;
    double scales[INPUTS + DIRECTIONS];
    unsigned set[INPUTS]; /* inputs with the same number are connected; ascending */
    uint64_t seed;
};

static const char *const names[INPUTS] = {"rooms", "age", "x", "y", "z", "grade \"A\""};

/* Some features are clipped, some in logs. */
static struct transform make_transform(size_t j)
{
    struct transform t = {.min = 0, .max = 1, .mean = 0.1 * (double)j, .scale = 0.5};
    if (j % 3 == 1) {
        t.clipped = true;
        t.low = -0.2;
        t.high = 1.1;
    }
    if (j == 4) {
        t.kind = TRANSFORM_LOG;
        t.clipped = true;
        t.low = -0.1;
        t.high = 1.5;
        t.offset = 0.3;
    }
    return t;
}

/* Quantiles of inputs are uneven, so that order and weight of every one matter. */
static struct model *make_model(const struct sample *s)
{
    static double centres[CENTRES_MAX * INPUTS], coefficients[CENTRES_MAX], quantiles[INPUTS * Q];
    struct model_feature features[INPUTS];
    struct error err = {0};
    uint64_t random = s->seed;
    for (size_t j = 0; j < s->inputs; j++) {
        features[j] = (struct model_feature){names[j], make_transform(j)};
        for (size_t i = 0; i < Q; i++)
            quantiles[j * Q + i] =
                (i > 0 ? quantiles[j * Q + i - 1] : 0) + next_random(&random) / 16;
    }
    for (size_t i = 0; i < s->centre_count * s->inputs; i++)
        centres[i] = 4 * next_random(&random) - 2;
    for (size_t i = 0; i < CENTRES_MAX; i++)
        coefficients[i] = 2 * next_random(&random) - 1;
    struct model_parts parts = {
        .name = "m",
        .version = "1",
        .kind = s->linear ? MODEL_LINEAR : MODEL_KERNEL,
        .target_name = "t",
        .target_unit = "",
        .features = features,
        .feature_count = s->inputs,
        .quantiles = quantiles,
        .prediction = {0.75, coefficients, s->linear ? s->inputs : s->centre_count}};
    if (!s->linear)
        parts.kernel = (struct kernel_map){s->inputs,     s->direction_count, s->centre_count,
                                           s->directions, s->scales,          centres};
    memset(parts.card.data_sha256, '0', 64);
    struct model *model = model_new(&parts, &err);
    if (model == NULL)
        fail_msg("%s", err.message);
    return model;
}

static struct explainer *new_explainer(const struct model *model)
{
    struct error err = {ERR_NONE, "untouched"};
    struct explainer *e = explainer_new(model, &err);
    if (e == NULL)
        fail_msg("%s", err.message);
    assert_string_equal(err.message, "untouched");
    return e;
}

static void run(const struct explainer *e, size_t rows, const double *x, double *phi)
{
    struct error err = {0};
    assert_true(explainer_run(e, rows, x, phi, &err));
}

/* ---- brute force ---- */

static double distance(const struct kernel_map *map, const double *u, const double *z, size_t c)
{
    if (c < map->inputs)
        return map->scales[c] * fabs(u[c] - z[c]);
    const struct kernel_direction *d = &map->directions[c - map->inputs];
    double sign = d->difference ? -1 : 1;
    return map->scales[c] * fabs(u[d->a] + sign * u[d->b] - z[d->a] - sign * z[d->b]);
}

/* exp(-distances) of one set's columns */
static double set_kernel(const struct kernel_map *map, const struct sample *s, unsigned set,
                         const double *u, const double *z)
{
    double sum = 0;
    for (size_t c = 0; c < map->inputs + map->direction_count; c++)
        if (s->set[c < map->inputs ? c : map->directions[c - map->inputs].a] == set)
            sum += distance(map, u, z, c);
    return exp(-sum);
}

/* Mean of a set's kernel over everything its absent inputs can be, the first of them from `from` on. */
static double set_mean(const struct model *model, const struct sample *s, unsigned set,
                       unsigned present, size_t from, double *u, const double *z)
{
    const struct model_parts *parts = &model->parts;
    double sum = 0, own;
    size_t j = from;
    while (j < s->inputs && (s->set[j] != set || (present >> j & 1) != 0))
        j++;
    if (j == s->inputs)
        return set_kernel(&parts->kernel, s, set, u, z);
    own = u[j];
    for (size_t i = 0; i < Q; i++) {
        u[j] = transform_value(&parts->features[j].transform, parts->quantiles[j * Q + i]);
        sum += set_mean(model, s, set, present, j + 1, u, z);
    }
    u[j] = own;
    return sum / Q;
}

static double kernel_value(const struct model *model, const struct sample *s, unsigned present,
                           const double *x)
{
    double u[INPUTS], value = model->parts.prediction.intercept;
    for (size_t j = 0; j < s->inputs; j++)
        u[j] = transform_value(&model->parts.features[j].transform, x[j]);
    for (size_t m = 0; m < s->centre_count; m++) {
        double product = model->parts.prediction.coefficients[m];
        for (unsigned set = 0; set < INPUTS; set++)
            product *=
                set_mean(model, s, set, present, 0, u, model->parts.kernel.centres + m * s->inputs);
        value += product;
    }
    return value;
}

/* A linear value is the mean of predictions in which absent inputs run through their quantiles. */
static double linear_value(const struct model *model, const struct sample *s, unsigned present,
                           const double *x)
{
    double row[INPUTS], y, sum = 0;
    for (size_t i = 0; i < Q; i++) {
        for (size_t j = 0; j < s->inputs; j++)
            row[j] = (present >> j & 1) != 0 ? x[j] : model->parts.quantiles[j * Q + i];
        model_predict(model, 1, row, &y);
        sum += y;
    }
    return sum / Q;
}

/* Inputs of each player as bits: those of a set of three and more stand together. */
static size_t find_players(const struct sample *s, unsigned members[INPUTS])
{
    size_t n = 0;
    for (unsigned j = 0; j < s->inputs; j++) {
        unsigned bits = 0, size = 0;
        for (unsigned k = 0; k < s->inputs; k++)
            if (s->set[k] == s->set[j]) {
                bits |= 1u << k;
                size++;
            }
        if (size < 3)
            members[n++] = 1u << j;
        else if ((bits & ((1u << j) - 1)) == 0)
            members[n++] = bits;
    }
    return n;
}

static double factorial(size_t n)
{
    return n < 2 ? 1 : (double)n * factorial(n - 1);
}

static unsigned inputs_of(const unsigned *members, size_t players, unsigned coalition)
{
    unsigned inputs = 0;
    for (size_t k = 0; k < players; k++)
        inputs |= (coalition >> k & 1) != 0 ? members[k] : 0;
    return inputs;
}

/* phi by the definition; returns the value of the empty coalition. */
static double brute_force(const struct model *model, const struct sample *s, const double *x,
                          size_t players, const unsigned *members, double *phi)
{
    double values[1 << INPUTS];
    for (unsigned c = 0; c < 1u << players; c++) {
        unsigned present = inputs_of(members, players, c);
        values[c] =
            s->linear ? linear_value(model, s, present, x) : kernel_value(model, s, present, x);
    }
    for (size_t k = 0; k < players; k++) {
        phi[k] = 0;
        for (unsigned c = 0; c < 1u << players; c++) {
            size_t size = (size_t)__builtin_popcount(c);
            if ((c >> k & 1) == 0)
                phi[k] += factorial(size) * factorial(players - size - 1) / factorial(players) *
                          (values[c | 1u << k] - values[c]);
        }
    }
    return values[0];
}

static double largest(const double *values, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, fabs(values[i]));
    return most;
}

static void assert_near(double a, double b, double scale)
{
    if (!(fabs(a - b) <= 1e-9 * scale))
        fail_msg("expected %.17g, got %.17g", b, a);
}

static void assert_equals_brute_force(const struct sample *s, int rows)
{
    struct model *model = make_model(s);
    struct explainer *e = new_explainer(model);
    unsigned members[INPUTS];
    size_t players = find_players(s, members);
    uint64_t random = s->seed + 1;
    assert_int_equal(explainer_player_count(e), players);
    for (int i = 0; i < rows; i++) {
        double x[INPUTS], phi[INPUTS], expected[INPUTS];
        for (size_t j = 0; j < s->inputs; j++)
            x[j] = 3 * next_random(&random) - 1;
        run(e, 1, x, phi);
        double base = brute_force(model, s, x, players, members, expected);
        assert_close(explainer_base(e), base, 1e-9);
        for (size_t k = 0; k < players; k++)
            assert_near(phi[k], expected[k], largest(expected, players));
    }
    explainer_free(e);
    model_free(model);
}

static const struct kernel_direction pair_both[] = {{1, 3, false}, {3, 1, true}},
                                     pair_sum[] = {{0, 2, false}},
                                     two_pairs[] = {{0, 1, true}, {4, 2, false}, {2, 4, false}},
                                     path[] = {{1, 2, false}, {4, 2, true}},
                                     triangle[] = {{0, 1, false}, {1, 2, true}, {0, 2, false}};

static const struct sample linear = {.inputs = 6,
                                     .linear = true,
                                     .set = {0, 1, 2, 3, 4, 5},
                                     .seed = 1},
                           plain = {.inputs = 6,
                                    .centre_count = 70,
                                    .scales = {.5, .3, 1, .2, .8, .1},
                                    .set = {0, 1, 2, 3, 4, 5},
                                    .seed = 2},
                           paired = {.inputs = 5,
                                     .centre_count = 9,
                                     .direction_count = 2,
                                     .directions = pair_both,
                                     .scales = {.5, .3, 1, .2, .8, .6, .7},
                                     .set = {0, 1, 2, 1, 3},
                                     .seed = 3};

static void linear_attributions_equal_brute_force(void **state)
{
    (void)state;
    struct sample s = linear;
    for (s.inputs = 1; s.inputs <= INPUTS; s.inputs++)
        assert_equals_brute_force(&s, 3);
}

static void kernel_attributions_equal_brute_force(void **state)
{
    (void)state;
    struct sample s = plain;
    for (s.inputs = 1; s.inputs <= INPUTS; s.inputs++)
        assert_equals_brute_force(&s, 2);
}

static void pairs_connected_by_directions_equal_brute_force(void **state)
{
    (void)state;
    assert_equals_brute_force(&paired, 3);
    const struct sample one = {.inputs = 3,
                               .centre_count = 20,
                               .direction_count = 1,
                               .directions = pair_sum,
                               .scales = {.5, .3, 0, .9},
                               .set = {0, 1, 0},
                               .seed = 4};
    assert_equals_brute_force(&one, 3);
    const struct sample two = {.inputs = 6,
                               .centre_count = 3,
                               .direction_count = 3,
                               .directions = two_pairs,
                               .scales = {.5, .3, 1, .2, .8, .6, .7, .4, .2},
                               .set = {0, 0, 1, 2, 1, 3},
                               .seed = 5};
    assert_equals_brute_force(&two, 1);
}

static void three_connected_inputs_are_one_player_and_equal_brute_force(void **state)
{
    (void)state;
    struct sample s = {.inputs = 5,
                       .centre_count = 1,
                       .direction_count = 2,
                       .directions = path,
                       .scales = {.5, .3, 1, .2, .8, .6, .7},
                       .set = {0, 1, 1, 2, 1},
                       .seed = 6};
    assert_equals_brute_force(&s, 1);
    s.directions = triangle;
    s.direction_count = 3;
    s.inputs = 4;
    memcpy(s.set, (const unsigned[]){0, 0, 0, 1}, 4 * sizeof *s.set);
    assert_equals_brute_force(&s, 1);
}

static void scales_so_steep_that_exponents_overflow_equal_brute_force(void **state)
{
    (void)state;
    struct sample s = paired;
    static const double steep[] = {1e4, 3, 1e-300, 2e3, 0, 1e3, 700};
    memcpy(s.scales, steep, sizeof steep);
    s.centre_count = 5;
    assert_equals_brute_force(&s, 2);
}

static void a_direction_of_scale_zero_connects_nothing(void **state)
{
    (void)state;
    struct sample s = paired;
    s.scales[5] = s.scales[6] = 0;
    for (unsigned j = 0; j < s.inputs; j++)
        s.set[j] = j;
    assert_equals_brute_force(&s, 1);
}

/* ---- what they sum up to ---- */

static void assert_adds_up(const struct model *model, const struct explainer *e, const double *x)
{
    double phi[EXPLAIN_KERNEL_INPUTS_MAX], y, sum = explainer_base(e);
    model_predict(model, 1, x, &y);
    run(e, 1, x, phi);
    for (size_t k = 0; k < explainer_player_count(e); k++)
        sum += phi[k];
    assert_close(sum, y, 1e-9);
}

static void base_and_attributions_add_up_to_the_prediction(void **state)
{
    (void)state;
    const struct sample *const samples[] = {&linear, &plain, &paired};
    static const double far[] = {-1e300, -1e10, -1000, 0, 1000, 1e10, 1e300};
    uint64_t random = 17;
    for (size_t i = 0; i < 3; i++) {
        struct model *model = make_model(samples[i]);
        struct explainer *e = new_explainer(model);
        double x[INPUTS];
        for (int row = 0; row < 200; row++) {
            for (size_t j = 0; j < samples[i]->inputs; j++)
                x[j] = row % 4 == 0 ? far[(size_t)(next_random(&random) * 7)]
                                    : 3 * next_random(&random) - 1;
            assert_adds_up(model, e, x);
        }
        explainer_free(e);
        model_free(model);
    }
}

static void an_input_the_kernel_ignores_is_worth_nothing(void **state)
{
    (void)state;
    struct sample s = plain;
    double phi[INPUTS];
    s.scales[2] = 0;
    struct model *model = make_model(&s);
    struct explainer *e = new_explainer(model);
    run(e, 1, (const double[]){1, 2, 3, 4, 5, 6}, phi);
    assert_close(phi[2], 0.0, 0);
    assert_true(fabs(phi[1]) > 1e-6);
    explainer_free(e);
    model_free(model);
}

static void a_row_has_the_same_bits_alone_and_in_any_batch(void **state)
{
    (void)state;
    enum { ROWS = 7 };
    double x[ROWS * INPUTS], together[ROWS * INPUTS], alone[INPUTS];
    uint64_t random = 5;
    struct model *model = make_model(&paired);
    struct explainer *e = new_explainer(model);
    size_t n = paired.inputs;
    for (size_t i = 0; i < ROWS * n; i++)
        x[i] = next_random(&random);
    run(e, ROWS, x, together);
    for (size_t i = 0; i < ROWS; i++) {
        run(e, 1, x + i * n, alone);
        assert_memory_equal(alone, together + i * n, n * sizeof *alone);
    }
    explainer_free(e);
    model_free(model);
}

/* ---- players ---- */

static void players_have_their_features_names_in_order(void **state)
{
    (void)state;
    const struct sample s = {.inputs = 6,
                             .centre_count = 2,
                             .direction_count = 2,
                             .directions = path,
                             .scales = {1, 1, 1, 1, 1, 1, 1, 1}};
    static const char *const expected[] = {"rooms", "age+x+z", "y", "grade \"A\""};
    struct model *model = make_model(&s);
    struct explainer *e = new_explainer(model);
    assert_int_equal(explainer_player_count(e), 4);
    for (size_t k = 0; k < 4; k++)
        assert_string_equal(explainer_player_name(e, k), expected[k]);
    explainer_free(e);
    model_free(model);
    model = make_model(&linear);
    e = new_explainer(model);
    assert_int_equal(explainer_player_count(e), INPUTS);
    for (size_t k = 0; k < INPUTS; k++)
        assert_string_equal(explainer_player_name(e, k), names[k]);
    explainer_free(e);
    model_free(model);
}

/* ---- wide models ---- */

/* One centre, all scales small; a chain of `connected` inputs by sums of the scale given. */
static struct model *make_wide(size_t inputs, size_t connected, double scale, bool quantiles)
{
    struct model_feature *features = calloc(inputs, sizeof *features);
    char(*text)[24] = calloc(inputs, sizeof *text);
    double *scales = calloc(inputs + KERNEL_DIRECTIONS_MAX, sizeof *scales);
    double *centre = calloc(inputs, sizeof *centre), *q = calloc(inputs * Q, sizeof *q);
    struct kernel_direction directions[KERNEL_DIRECTIONS_MAX];
    static const double coefficient = 2;
    struct error err = {0};
    size_t d = 0;
    for (size_t j = 0; j < inputs; j++) {
        (void)snprintf(text[j], sizeof text[j], "f%zu", j);
        features[j] = (struct model_feature){text[j], {.min = 0, .max = 1, .scale = 1}};
        scales[j] = j < 3 ? 0.5 : 1e-3;
        centre[j] = 0.3;
        for (size_t i = 0; i < Q; i++)
            q[j * Q + i] = (double)(i * i) / (Q * Q);
    }
    for (; d + 1 < connected; d++) {
        directions[d] = (struct kernel_direction){(unsigned)d, (unsigned)d + 1, false};
        scales[inputs + d] = d < 2 ? 0.5 : scale;
    }
    struct model_parts parts = {.name = "m",
                                .version = "1",
                                .kind = MODEL_KERNEL,
                                .target_name = "t",
                                .target_unit = "",
                                .features = features,
                                .feature_count = inputs,
                                .quantiles = quantiles ? q : NULL,
                                .kernel = {inputs, d, 1, directions, scales, centre},
                                .prediction = {0, &coefficient, 1}};
    memset(parts.card.data_sha256, '0', 64);
    struct model *model = model_new(&parts, &err);
    if (model == NULL)
        fail_msg("%s", err.message);
    free(q);
    free(centre);
    free(scales);
    free(text);
    free(features);
    return model;
}

static void the_widest_kernel_adds_up_and_a_wider_one_is_refused(void **state)
{
    (void)state;
    struct error err = {0};
    double x[EXPLAIN_KERNEL_INPUTS_MAX];
    struct model *model = make_wide(EXPLAIN_KERNEL_INPUTS_MAX, 2, 0.5, true);
    struct explainer *e = new_explainer(model);
    for (size_t j = 0; j < EXPLAIN_KERNEL_INPUTS_MAX; j++)
        x[j] = (double)(j % 5) - 2;
    assert_adds_up(model, e, x);
    explainer_free(e);
    model_free(model);
    model = make_wide(EXPLAIN_KERNEL_INPUTS_MAX + 1, 2, 0.5, true);
    assert_null(explainer_new(model, &err));
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    assert_string_equal(err.message, "expected a kernel model of at most 256 inputs, got 257");
    model_free(model);
}

static void the_largest_set_adds_up_and_a_larger_one_is_refused(void **state)
{
    (void)state;
    struct error err = {0};
    double x[EXPLAIN_SET_MAX + 1] = {0.5, -1, 2};
    struct model *model = make_wide(EXPLAIN_SET_MAX, EXPLAIN_SET_MAX, 0.1, true);
    struct explainer *e = new_explainer(model);
    assert_int_equal(explainer_player_count(e), 1);
    assert_adds_up(model, e, x);
    explainer_free(e);
    model_free(model);
    model = make_wide(EXPLAIN_SET_MAX + 1, EXPLAIN_SET_MAX + 1, 0.1, true);
    assert_null(explainer_new(model, &err));
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    assert_string_equal(err.message, "expected at most 32 inputs connected by directions, got 33");
    model_free(model);
}

/* Inputs that are in the set but hardly matter leave what any three of them see as it is. */
static void any_three_of_a_larger_set_are_drawn_independently(void **state)
{
    (void)state;
    struct model *three = make_wide(5, 3, 0, true);
    struct model *all = make_wide(5, 5, 1e-13, true);
    struct explainer *a = new_explainer(three), *b = new_explainer(all);
    assert_int_equal(explainer_player_count(a), 3);
    assert_int_equal(explainer_player_count(b), 1);
    assert_close(explainer_base(b), explainer_base(a), 1e-6);
    explainer_free(a);
    explainer_free(b);
    model_free(three);
    model_free(all);
}

static void a_model_without_quantiles_is_refused(void **state)
{
    (void)state;
    struct error err = {0};
    struct model *model = make_wide(3, 0, 0, false);
    assert_false(explainer_supports(model, &err));
    assert_null(explainer_new(model, &err));
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    assert_string_equal(err.message,
                        "expected a model with quantiles of its features, got one without");
    model_free(model);
    explainer_free(NULL);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(linear_attributions_equal_brute_force),
    cmocka_unit_test(kernel_attributions_equal_brute_force),
    cmocka_unit_test(pairs_connected_by_directions_equal_brute_force),
    cmocka_unit_test(three_connected_inputs_are_one_player_and_equal_brute_force),
    cmocka_unit_test(scales_so_steep_that_exponents_overflow_equal_brute_force),
    cmocka_unit_test(a_direction_of_scale_zero_connects_nothing),
    cmocka_unit_test(base_and_attributions_add_up_to_the_prediction),
    cmocka_unit_test(an_input_the_kernel_ignores_is_worth_nothing),
    cmocka_unit_test(a_row_has_the_same_bits_alone_and_in_any_batch),
    cmocka_unit_test(players_have_their_features_names_in_order),
    cmocka_unit_test(the_widest_kernel_adds_up_and_a_wider_one_is_refused),
    cmocka_unit_test(the_largest_set_adds_up_and_a_larger_one_is_refused),
    cmocka_unit_test(any_three_of_a_larger_set_are_drawn_independently),
    cmocka_unit_test(a_model_without_quantiles_is_refused),
};

T_MAIN(tests)
