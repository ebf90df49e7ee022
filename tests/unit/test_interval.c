/* Scores of every level against the definition; half widths, constant and scaled, of both kinds. */
#include "model/interval.h"

#include "model/model_internal.h"
#include "tests/support/t.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* f = 0, residual = 1 + 2 x; or with centres, residual = 1 + 2 exp(-|u - 3|). */
static struct model *make_model(enum model_kind kind, const struct model_interval *interval)
{
    static const struct model_feature feature = {"x", {.min = 0, .max = 1, .scale = 1}};
    static const double zero = 0, two = 2, scale = 1, centre = 3;
    struct error err = {0};
    struct model_parts parts = {.name = "m",
                                .version = "1",
                                .kind = kind,
                                .target_name = "t",
                                .target_unit = "",
                                .features = &feature,
                                .feature_count = 1,
                                .kernel = {1, 0, 1, NULL, &scale, &centre},
                                .prediction = {0, &zero, 1},
                                .residual = {1, &two, 1},
                                .interval = *interval};
    memset(parts.card.data_sha256, '0', 64);
    struct model *model = model_new(&parts, &err);
    if (model == NULL)
        fail_msg("%s", err.message);
    return model;
}

static struct model *make_linear(const struct model_interval *interval)
{
    return make_model(MODEL_LINEAR, interval);
}

static double score_of(const struct model *model, double level)
{
    struct error err = {ERR_NONE, "untouched"};
    double score = -1;
    if (!interval_score(model, level, &score, &err))
        fail_msg("%g: %s", level, err.message);
    assert_string_equal(err.message, "untouched");
    return score;
}

/* Of n scores the k-th covers the levels above (k - 1) / (n + 1), up to k / (n + 1). */
static void a_levels_score_is_the_least_that_covers_it(void **state)
{
    (void)state;
    static const size_t counts[] = {1, 2, 9, 10, 99, 998, MODEL_SCORES_MAX};
    double scores[MODEL_SCORES_MAX];
    for (size_t k = 0; k < MODEL_SCORES_MAX; k++)
        scores[k] = (double)(k + 1);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        size_t n = counts[i];
        struct model *model = make_linear(&(struct model_interval){false, 0, scores, n});
        for (size_t k = 1; k <= n; k++) {
            double level = (double)k / (double)(n + 1);
            assert_close(score_of(model, level), (double)k, 0);
            assert_close(score_of(model, level - 1e-7), (double)k, 0);
            if (k < n)
                assert_close(score_of(model, level + 1e-7), (double)(k + 1), 0);
        }
        model_free(model);
    }
}

static void decimal_levels_mean_what_they_say(void **state)
{
    (void)state;
    double scores[99];
    for (size_t k = 0; k < 99; k++)
        scores[k] = (double)(k + 1);
    struct model *model = make_linear(&(struct model_interval){false, 0, scores, 99});
    static const double levels[] = {0.01, 0.07, 0.14, 0.28, 0.29, 0.55, 0.56,
                                    0.57, 0.58, 0.8,  0.9,  0.95, 0.99};
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        assert_close(score_of(model, levels[i]), rint(levels[i] * 100), 0);
    model_free(model);
}

static void levels_beyond_the_scores_are_refused(void **state)
{
    (void)state;
    static const double scores[] = {1, 2, 3},
                        bad[] = {0, -0.1, 0.76, 0.999, 1, 1.001, 90, INFINITY, -INFINITY, NAN};
    struct model *model = make_linear(&(struct model_interval){false, 0, scores, 3});
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error err = {0};
        double score = 7;
        assert_false(interval_score(model, bad[i], &score, &err));
        assert_int_equal(err.code, ERR_INVALID);
        assert_contains(err.message, "expected a number above 0 and at most 3/4 (0.75), got ");
        assert_close(score, 7.0, 0);
    }
    model_free(model);
}

static void a_model_without_scores_gives_no_intervals(void **state)
{
    (void)state;
    struct error err = {0};
    double score;
    struct model *model = make_linear(&(struct model_interval){0});
    assert_false(interval_score(model, 0.9, &score, &err));
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    model_free(model);
}

static void assert_half_widths(enum model_kind kind, const struct model_interval *interval,
                               const double expected[4])
{
    static const double x[] = {3, 0, -0.3, -10};
    double half[4];
    struct model *model = make_model(kind, interval);
    interval_half_widths(model, 2, 4, x, half);
    for (size_t i = 0; i < 4; i++)
        assert_close(half[i], expected[i], 1e-15);
    model_free(model);
}

static void half_widths_follow_the_residual_above_its_floor(void **state)
{
    (void)state;
    static const double scores[] = {1, 2, 3};
    const struct model_interval constant = {false, 0, scores, 3}, scaled = {true, 0.5, scores, 3};
    assert_half_widths(MODEL_LINEAR, &constant, (const double[]){2, 2, 2, 2});
    assert_half_widths(MODEL_LINEAR, &scaled, (const double[]){14, 2, 1, 1});
    assert_half_widths(MODEL_KERNEL, &constant, (const double[]){2, 2, 2, 2});
    assert_half_widths(MODEL_KERNEL, &scaled,
                       (const double[]){6, 2 + 4 * exp(-3), 2 + 4 * exp(-3.3), 2 + 4 * exp(-13)});
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_levels_score_is_the_least_that_covers_it),
    cmocka_unit_test(decimal_levels_mean_what_they_say),
    cmocka_unit_test(levels_beyond_the_scores_are_refused),
    cmocka_unit_test(a_model_without_scores_gives_no_intervals),
    cmocka_unit_test(half_widths_follow_the_residual_above_its_floor),
};

T_MAIN(tests)
