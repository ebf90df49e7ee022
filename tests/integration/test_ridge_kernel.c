/* ridge predict and ridge inspect as programs, over a small kernel model. */
#include "base/number.h"
#include "model/model_file.h"
#include "model/model_internal.h"
#include "tests/support/process.h"
#include "tests/support/t.h"

#include <stdlib.h>
#include <string.h>

enum { FEATURES = 2, CENTRES = 3 };

/* A folder with model.json, and the same model. */
struct place {
    char folder[512], model_path[600], data_path[600];
    struct model *model;
};

static void make_place(struct place *place)
{
    static const struct kernel_direction directions[] = {{0, 1, true}};
    static const double scales[] = {0.5, 0.25, 1}, centres[] = {0.1, -0.2, 1, 0.5, -1, 2};
    static const double coefficients[] = {1.5, -0.75, 0.3}, scores[] = {0.5, 1};
    static const struct model_feature features[] = {
        {"income", {TRANSFORM_LOG, 1, 9, 1.5, 0.5, 0.25, true, 0.5, 10}},
        {"age", {TRANSFORM_STANDARDISE, 0, 99, 40, 16, 0, true, -5, 104}}};
    struct model_parts parts = {.name = "houses",
                                .version = "1",
                                .kind = MODEL_KERNEL,
                                .target_name = "price",
                                .target_unit = "",
                                .features = features,
                                .feature_count = FEATURES,
                                .kernel = {FEATURES, 1, CENTRES, directions, scales, centres},
                                .prediction = {2, coefficients, CENTRES},
                                .interval = {false, 0, scores, 2},
                                .card = {.rows = 7, .linear = {7, 0.5, 0.75, 0.25}}};
    struct error err = {0};
    memset(parts.card.data_sha256, 'a', 64);
    process_folder(place->folder, sizeof place->folder);
    (void)snprintf(place->model_path, sizeof place->model_path, "%s/model.json", place->folder);
    (void)snprintf(place->data_path, sizeof place->data_path, "%s/data.csv", place->folder);
    place->model = model_new(&parts, &err);
    if (place->model == NULL || !model_save_path(place->model, place->model_path, &err))
        fail_msg("%s", err.message);
}

static void remove_place(struct place *place)
{
    model_free(place->model);
    process_remove(place->folder);
}

static void predict(const struct place *place, const char *csv, char *output, size_t capacity)
{
    const char *const argv[] = {
        process_program("ridge"), "predict", "--model", place->model_path, "--data",
        place->data_path,         NULL};
    FILE *out = fopen(place->data_path, "wb");
    assert_non_null(out);
    (void)fputs(csv, out);
    (void)fclose(out);
    assert_int_equal(process_run(argv, output, capacity), 0);
}

static void predict_prints_the_bits_that_the_model_gives(void **state)
{
    (void)state;
    struct place place;
    char output[4096], expected[4096], number[NUMBER_TEXT_MAX + 1] = "";
    const double x[] = {3, 41};
    double y;
    make_place(&place);
    predict(&place, "age,income\n41,3\n", output, sizeof output);
    model_predict(place.model, 1, x, &y);
    number[number_write(number, y)] = '\0';
    (void)snprintf(expected, sizeof expected, "income,age,prediction\n3.0,41.0,%s\n", number);
    assert_string_equal(output, expected);
    remove_place(&place);
}

static void predict_counts_the_values_it_clipped(void **state)
{
    (void)state;
    struct place place;
    char output[4096];
    make_place(&place);
    predict(&place, "income,age\n-7,41\n3,1e9\n11,-6\n3,41\n", output, sizeof output);
    assert_contains(output, "ridge predict: 4 values of 4 rows lay outside the range");
    remove_place(&place);
}

static void inspect_shows_the_map(void **state)
{
    (void)state;
    static const char *const lines[] = {"kernel, 2 features, 3 centres\n",
                                        "linear instead MAE 0.5, RMSE 0.75, R2 0.25 (7 rows)\n",
                                        "from 2 quantiles of unseen residuals\n",
                                        "income                   log ",
                                        "age                      standardise ",
                                        "directions               income - age, w 1\n"};
    struct place place;
    char output[4096];
    make_place(&place);
    const char *const argv[] = {process_program("ridge"), "inspect", place.model_path, NULL};
    assert_int_equal(process_run(argv, output, sizeof output), 0);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        assert_contains(output, lines[i]);
    remove_place(&place);
}

static void inspect_as_json_prints_the_artifact_itself(void **state)
{
    (void)state;
    struct place place;
    char output[8192], text[8192] = "";
    make_place(&place);
    const char *const argv[] = {process_program("ridge"), "inspect", "--json", "true",
                                place.model_path,         NULL};
    assert_int_equal(process_run(argv, output, sizeof output), 0);
    FILE *in = fopen(place.model_path, "rb");
    assert_non_null(in);
    assert_in_range(fread(text, 1, sizeof text - 1, in), 1000, sizeof text - 2);
    (void)fclose(in);
    assert_string_equal(output, text);
    remove_place(&place);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(predict_prints_the_bits_that_the_model_gives),
    cmocka_unit_test(predict_counts_the_values_it_clipped),
    cmocka_unit_test(inspect_shows_the_map),
    cmocka_unit_test(inspect_as_json_prints_the_artifact_itself),
};

T_MAIN(tests)
