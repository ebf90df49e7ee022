/* `ridge explain` and `ridge predict --interval` as their user meets them: what comes out for a kernel
 * model, to the last digit, and what is said when the model or the option cannot. */
#include "base/number.h"
#include "model/explain.h"
#include "model/model_file.h"
#include "model/model_internal.h"
#include "tests/support/plane.h"
#include "tests/support/process.h"
#include "tests/support/t.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INPUTS = 4, PLAYERS = 2, CENTRES = 100, ROWS = 1500 };

static struct {
    char folder[512], model[600], bare[600], csv[600];
    double x[ROWS * INPUTS];
} files;

/* The sums connect three inputs, two of whose names need quotes in CSV. */
static struct model *make_model(void)
{
    static const struct model_feature features[INPUTS] = {
        {"a,b", {.min = -1, .max = 1, .scale = 1}},
        {"c", {.min = -1, .max = 1, .scale = 1}},
        {"d \"e\"", {.min = -1, .max = 1, .scale = 1}},
        {"f", {.min = -1, .max = 1, .scale = 1}}};
    static const struct kernel_direction directions[] = {{0, 2, false}, {2, 3, false}};
    static const double scales[] = {0.5, 0.4, 0.3, 0.2, 0.1, 0.6}, scores[] = {1, 2, 3};
    static double centres[CENTRES * INPUTS], coefficients[CENTRES],
        quantiles[INPUTS * MODEL_QUANTILES];
    struct error err = {0};
    for (size_t i = 0; i < CENTRES * INPUTS; i++)
        centres[i] = (double)(i * 37 % 101) / 50 - 1;
    for (size_t i = 0; i < CENTRES; i++)
        coefficients[i] = (double)(i % 5) - 1.7;
    for (size_t i = 0; i < INPUTS * MODEL_QUANTILES; i++)
        quantiles[i] = (double)(i % MODEL_QUANTILES) / 16 - 1;
    struct model_parts parts = {.name = "m",
                                .version = "1",
                                .kind = MODEL_KERNEL,
                                .target_name = "y",
                                .target_unit = "",
                                .features = features,
                                .feature_count = INPUTS,
                                .quantiles = quantiles,
                                .kernel = {INPUTS, 2, CENTRES, directions, scales, centres},
                                .prediction = {0.5, coefficients, CENTRES},
                                .interval = {false, 0, scores, 3}};
    memset(parts.card.data_sha256, '0', 64);
    struct model *model = model_new(&parts, &err);
    if (model == NULL)
        fail_msg("%s", err.message);
    return model;
}

static void save(struct model *model, const char *path)
{
    struct error err = {0};
    if (!model_save_path(model, path, &err))
        fail_msg("%s", err.message);
    model_free(model);
}

static void path_of(char path[600], const char *name)
{
    (void)snprintf(path, 600, "%s/%s", files.folder, name);
}

/* Columns in another order, and one that no model asks for. */
static void write_csv(void)
{
    FILE *out = fopen(files.csv, "w");
    assert_non_null(out);
    (void)fputs("f,name,\"a,b\",c,\"d \"\"e\"\"\",a,b\n", out);
    for (size_t i = 0; i < ROWS; i++) {
        double *x = files.x + i * INPUTS;
        for (size_t j = 0; j < INPUTS; j++)
            x[j] = (double)((i * INPUTS + j) * 29 % 64) / 32 - 1;
        (void)fprintf(out, "%.17g,row %zu,%.17g,%.17g,%.17g,%zu,2\n", x[3], i, x[0], x[1], x[2], i);
    }
    assert_int_equal(fclose(out), 0);
}

static int setup(void **state)
{
    (void)state;
    process_folder(files.folder, sizeof files.folder);
    path_of(files.model, "model.json");
    path_of(files.bare, "bare.json");
    path_of(files.csv, "rows.csv");
    save(make_model(), files.model);
    save(plane_model_bare(), files.bare);
    write_csv();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    process_remove(files.folder);
    return 0;
}

/* `ridge command` on the rows by their name or from standard input; what comes out, for free. */
static char *run(const char *command, const char *model, bool piped, const char *interval, int code)
{
    static const char script[] =
        "\"$1\" \"$2\" --model \"$3\" --data - ${5:+--interval \"$5\"} <\"$4\"";
    char *text = malloc(PROCESS_OUTPUT_MAX);
    assert_non_null(text);
    const char *named[] = {process_program("ridge"),
                           command,
                           "--model",
                           model,
                           "--data",
                           files.csv,
                           interval != NULL ? "--interval" : NULL,
                           interval,
                           NULL};
    const char *shell[] = {"sh",    "-c",  script,    "sh",     process_program("ridge"),
                           command, model, files.csv, interval, NULL};
    int got = process_run(piped ? shell : named, text, PROCESS_OUTPUT_MAX);
    if (got != code)
        fail_msg("exit code %d, expected %d:\n%.2000s", got, code, text);
    return text;
}

static void put_numbers(FILE *out, const double *values, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char text[NUMBER_TEXT_MAX + 1];
        text[number_write(text, values[i])] = '\0';
        (void)fprintf(out, "%s%c", text, i + 1 < n ? ',' : '\n');
    }
}

/* What the library says about the rows, as explain writes it. */
static char *expected_explanations(void)
{
    static double y[ROWS], phi[ROWS * PLAYERS];
    struct error err = {0};
    struct model *model = make_model();
    struct explainer *e = explainer_new(model, &err);
    char *text = NULL;
    size_t n;
    FILE *out = open_memstream(&text, &n);
    assert_non_null(e);
    assert_int_equal(explainer_player_count(e), PLAYERS);
    assert_true(explainer_run(e, ROWS, files.x, phi, &err));
    model_predict(model, ROWS, files.x, y);
    (void)fputs("base,\"a,b+d \"\"e\"\"+f\",c,prediction\n", out);
    for (size_t i = 0; i < ROWS; i++) {
        const double line[] = {explainer_base(e), phi[PLAYERS * i], phi[PLAYERS * i + 1], y[i]};
        put_numbers(out, line, 4);
    }
    (void)fclose(out);
    explainer_free(e);
    model_free(model);
    return text;
}

static void explain_writes_base_attributions_and_prediction_of_every_row(void **state)
{
    (void)state;
    char *expected = expected_explanations();
    for (int piped = 0; piped < 2; piped++) {
        char *text = run("explain", files.model, piped != 0, NULL, 0);
        assert_string_equal(text, expected);
        free(text);
    }
    free(expected);
}

static void explain_says_which_model_it_needs(void **state)
{
    (void)state;
    char *text = run("explain", files.bare, false, NULL, 1);
    assert_string_equal(text,
                        "ridge explain: expected a model with quantiles of its features, got one "
                        "without\n");
    free(text);
}

static void predict_adds_the_interval_before_the_prediction(void **state)
{
    (void)state;
    static double y[ROWS];
    struct model *model = make_model();
    char *text = run("predict", files.model, true, "0.5", 0), *expected = NULL;
    size_t n;
    FILE *out = open_memstream(&expected, &n);
    model_predict(model, ROWS, files.x, y);
    (void)fputs("\"a,b\",c,\"d \"\"e\"\"\",f,lower,upper,prediction\n", out);
    for (size_t i = 0; i < ROWS; i++) {
        const double *x = files.x + i * INPUTS;
        const double line[] = {x[0], x[1], x[2], x[3], y[i] - 2, y[i] + 2, y[i]};
        put_numbers(out, line, 7);
    }
    (void)fclose(out);
    assert_string_equal(text, expected);
    free(expected);
    free(text);
    model_free(model);
}

static void predict_says_which_intervals_it_can_give(void **state)
{
    (void)state;
    char *text = run("predict", files.model, false, "0.9", 1);
    assert_string_equal(text,
                        "ridge predict: --interval: expected a number above 0 and at most 3/4 "
                        "(0.75), got 0.9\n");
    free(text);
    text = run("predict", files.bare, false, "0.9", 1);
    assert_string_equal(text,
                        "ridge predict: --interval: expected a model that gives intervals, "
                        "got one that does not\n");
    free(text);
    text = run("predict", files.model, false, "wide", 2);
    assert_contains(text, "ridge predict: --interval: expected a number, got \"wide\"\n");
    free(text);
}

static void a_row_without_a_finite_prediction_is_named(void **state)
{
    (void)state;
    char output[4096];
    static const char script[] =
        "printf 'a,b\\n1,2\\n1e308,1e308\\n' | \"$1\" explain --model \"$2\" --data -";
    char plane[600];
    path_of(plane, "plane.json");
    save(plane_model("1", 1), plane);
    const char *argv[] = {"sh", "-c", script, "sh", process_program("ridge"), plane, NULL};
    assert_int_equal(process_run(argv, output, sizeof output), 1);
    assert_contains(output, "ridge explain: row 2: expected a finite prediction, got none\n");
    assert_contains(output, "base,a,b,prediction\n1.0,2.0,6.0,9.0\n");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(explain_writes_base_attributions_and_prediction_of_every_row),
    cmocka_unit_test(explain_says_which_model_it_needs),
    cmocka_unit_test(predict_adds_the_interval_before_the_prediction),
    cmocka_unit_test(predict_says_which_intervals_it_can_give),
    cmocka_unit_test(a_row_without_a_finite_prediction_is_named),
};

int main(void)
{
    t_filter();
    return cmocka_run_group_tests_name(__FILE__, tests, setup, teardown);
}
