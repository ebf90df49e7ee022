/* The card against a model made here; the page against the policy that goes with it. */
#define _GNU_SOURCE /* memmem */
#include "server/predictor/ui.h"

#include "base/json.h"
#include "model/model_internal.h"
#include "tests/support/t.h"

#include <math.h>
#include <string.h>

enum { FEATURES = 2 };

/* A model whose names need escaping, with or without quantiles and scores. */
static struct model *make_model(bool complete)
{
    static const struct model_feature features[FEATURES] = {
        {"<b>\"x\"</b>",
         {.kind = TRANSFORM_STANDARDISE, .min = -1, .max = 9, .mean = 4, .scale = 2}},
        {"\xc3\xa4ge",
         {.kind = TRANSFORM_LOG,
          .min = 0,
          .max = 3,
          .mean = 0,
          .scale = 1,
          .offset = 0.5,
          .clipped = true,
          .low = 0,
          .high = 3}},
    };
    static const double coefficients[FEATURES] = {1, 2}, scores[] = {0.1, 0.2};
    double quantiles[FEATURES][MODEL_QUANTILES];
    for (size_t i = 0; i < MODEL_QUANTILES; i++) {
        quantiles[0][i] = (double)i / 8;
        quantiles[1][i] = 3 - 3.0 / (double)(i + 1);
    }
    struct model_parts parts = {.name = "houses",
                                .version = "7",
                                .kind = MODEL_LINEAR,
                                .target_name = "price",
                                .target_unit = "100000 USD",
                                .features = features,
                                .feature_count = FEATURES,
                                .quantiles = complete ? &quantiles[0][0] : NULL,
                                .prediction = {0, coefficients, FEATURES},
                                .interval = {false, 0, scores, complete ? 2 : 0},
                                .card = {.rows = 1000,
                                         .date = "2026-11-24",
                                         .penalty = 0.5,
                                         .kernel = "none",
                                         .threads = 1,
                                         .leave_one_out = {1000, 0.25, 0.5, NAN},
                                         .holdout = {0, NAN, NAN, NAN},
                                         .linear = {0, NAN, NAN, NAN}}};
    struct error err = {0};
    memset(parts.card.data_sha256, 'c', 64);
    struct model *model = model_new(&parts, &err);
    if (model == NULL)
        fail_msg("%s", err.message);
    return model;
}

/* The card as a tree; strict JSON or the case fails. */
static cJSON *read_card(bool complete, const char *served_name)
{
    struct arena *arena = arena_new(4096, 0);
    struct model *model = make_model(complete);
    struct error err = {0};
    struct span json;
    assert_non_null(arena);
    assert_true(ui_card(model, served_name, arena, &json, &err));
    cJSON *tree = json_tree(json, &err);
    if (tree == NULL)
        fail_msg("%s", err.message);
    model_free(model);
    arena_free(arena);
    return tree;
}

static const char *text_at(const cJSON *object, const char *name)
{
    const char *text = cJSON_GetStringValue(json_member(object, name));
    assert_non_null(text);
    return text;
}

static double number_at(const cJSON *object, const char *name)
{
    const cJSON *member = json_member(object, name);
    assert_true(cJSON_IsNumber(member));
    return cJSON_GetNumberValue(member);
}

static void card_says_what_the_model_is(void **state)
{
    (void)state;
    cJSON *card = read_card(true, "served-as");
    const cJSON *target = json_member(card, "target"), *training = json_member(card, "card");
    assert_string_equal(text_at(card, "name"), "served-as");
    assert_string_equal(text_at(card, "version"), "7");
    assert_string_equal(text_at(card, "kind"), "linear");
    assert_string_equal(text_at(card, "sha256"), "");
    assert_string_equal(text_at(target, "name"), "price");
    assert_string_equal(text_at(target, "unit"), "100000 USD");
    assert_string_equal(text_at(training, "date"), "2026-11-24");
    assert_int_equal(strlen(text_at(training, "data_sha256")), 64);
    assert_close(number_at(training, "rows"), 1000, 0);
    assert_close(number_at(training, "penalty"), 0.5, 0);
    assert_true(cJSON_IsTrue(json_member(card, "intervals")));
    cJSON_Delete(card);
}

static void card_gives_every_feature_with_its_range_and_quantiles(void **state)
{
    (void)state;
    cJSON *card = read_card(true, "m");
    const cJSON *features = json_member(card, "features");
    assert_int_equal(cJSON_GetArraySize(features), FEATURES);
    const cJSON *first = cJSON_GetArrayItem(features, 0);
    const cJSON *quantiles = json_member(first, "quantiles");
    assert_string_equal(text_at(first, "name"), "<b>\"x\"</b>");
    assert_close(number_at(first, "min"), -1, 0);
    assert_close(number_at(first, "max"), 9, 0);
    assert_close(number_at(first, "typical"), 2, 0);
    assert_int_equal(cJSON_GetArraySize(quantiles), MODEL_QUANTILES);
    assert_close(cJSON_GetNumberValue(cJSON_GetArrayItem(quantiles, 31)), 31.0 / 8, 0);
    assert_string_equal(text_at(cJSON_GetArrayItem(features, 1), "name"), "\xc3\xa4ge");
    cJSON_Delete(card);
}

static void card_of_a_model_without_quantiles_takes_typical_values_from_the_transform(void **state)
{
    (void)state;
    cJSON *card = read_card(false, "m");
    const cJSON *features = json_member(card, "features");
    const cJSON *first = cJSON_GetArrayItem(features, 0), *second = cJSON_GetArrayItem(features, 1);
    assert_true(cJSON_IsNull(json_member(first, "quantiles")));
    assert_close(number_at(first, "typical"), 4, 0);
    assert_close(number_at(second, "typical"), 0.5, 1e-15); /* exp(0) - 0.5 */
    assert_true(cJSON_IsFalse(json_member(card, "intervals")));
    cJSON_Delete(card);
}

static void card_has_null_for_what_was_not_measured(void **state)
{
    (void)state;
    cJSON *card = read_card(true, "m");
    const cJSON *training = json_member(card, "card");
    const cJSON *figures = json_member(training, "leave_one_out");
    assert_close(number_at(figures, "rows"), 1000, 0);
    assert_close(number_at(figures, "mae"), 0.25, 0);
    assert_true(cJSON_IsNull(json_member(figures, "r2")));
    assert_true(cJSON_IsNull(json_member(training, "holdout")));
    assert_true(cJSON_IsNull(json_member(training, "linear")));
    cJSON_Delete(card);
}

static void card_fails_when_memory_runs_out(void **state)
{
    (void)state;
    struct arena *arena = arena_new(256, 256);
    struct model *model = make_model(true);
    struct error err = {0};
    struct span json;
    assert_non_null(arena);
    assert_false(ui_card(model, "m", arena, &json, &err));
    assert_int_equal(err.code, ERR_NO_MEMORY);
    model_free(model);
    arena_free(arena);
}

static bool holds(struct span text, const char *part)
{
    return memmem(text.p, text.n, part, strlen(part)) != NULL;
}

static void page_is_one_document_that_names_no_other(void **state)
{
    (void)state;
    struct span page = ui_page();
    const char end[] = "</html>\n";
    assert_true(page.n > 10000);
    assert_memory_equal(page.p, "<!doctype html>", 15);
    assert_memory_equal(page.p + page.n - strlen(end), end, strlen(end));
    assert_true(holds(page, "Copyright (c) 2022 Leon Sorokin"));
    assert_true(holds(page, "Permission is hereby granted"));
    assert_false(holds(page, " src="));
    assert_false(holds(page, "@import"));
    assert_false(holds(page, "url("));
}

static void policy_lets_nothing_in_but_the_page_itself(void **state)
{
    (void)state;
    struct span policy = ui_policy();
    assert_true(holds(policy, "default-src 'none'; script-src 'sha256-"));
    assert_true(holds(policy, "'; style-src 'sha256-"));
    assert_true(holds(policy, "connect-src 'self';"));
    assert_false(holds(policy, "unsafe"));
    assert_false(holds(policy, "http"));
    assert_null(memchr(policy.p, '\n', policy.n));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(card_says_what_the_model_is),
    cmocka_unit_test(card_gives_every_feature_with_its_range_and_quantiles),
    cmocka_unit_test(card_of_a_model_without_quantiles_takes_typical_values_from_the_transform),
    cmocka_unit_test(card_has_null_for_what_was_not_measured),
    cmocka_unit_test(card_fails_when_memory_runs_out),
    cmocka_unit_test(page_is_one_document_that_names_no_other),
    cmocka_unit_test(policy_lets_nothing_in_but_the_page_itself),
};

T_MAIN(tests)
