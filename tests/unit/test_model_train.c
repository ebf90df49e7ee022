/* From text to model: what is learnt, what the card says, the tables that break naive trainers, and what
 * is refused before the long part. The solver itself is test_ridge's. */
#include "model/model_train.h"

#include "model/model_file.h"
#include "model/model_score.h"
#include "tests/support/process.h"
#include "tests/support/t.h"

#include <math.h>
#include <sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct train_options make_options(double penalty)
{
    return (struct train_options){
        .name = "m", .version = "1", .target = "y", .unit = "", .date = "", .penalty = penalty};
}

static struct model *try_to_train(const struct train_options *options, const char *text,
                                  const char *holdout, struct error *err)
{
    struct dataset *held = NULL;
    struct model *model = NULL;
    FILE *in = fmemopen((void *)(uintptr_t)text, strlen(text), "r"), *more = NULL;
    assert_non_null(in);
    struct dataset *ds = dataset_new(in, "t.csv", 1000000, err);
    if (holdout != NULL) {
        more = fmemopen((void *)(uintptr_t)holdout, strlen(holdout), "r");
        assert_non_null(more);
        held = dataset_new(more, "h.csv", 1000000, err);
        assert_non_null(held);
    }
    if (ds != NULL)
        model = model_train(options, ds, held, err);
    dataset_free(ds);
    dataset_free(held);
    (void)fclose(in);
    if (more != NULL)
        (void)fclose(more);
    return model;
}

static struct model *train(const struct train_options *options, const char *text)
{
    struct error err = {0};
    struct model *model = try_to_train(options, text, NULL, &err);
    if (model == NULL)
        fail_msg("%s", err.message);
    return model;
}

static double predict(const struct model *model, const double *x)
{
    double y;
    model_predict(model, 1, x, &y);
    return y;
}

/* ---- what is learnt ---- */

static void train_recovers_a_plane(void **state)
{
    (void)state;
    struct train_options options = make_options(0);
    struct model *model = train(&options, "a,b,y\n0,0,5\n1,0,7\n0,1,2\n1,1,4\n2,5,-6\n");
    assert_close(predict(model, (const double[]){10, 20}), 5 + 2 * 10 - 3 * 20.0, 1e-12);
    assert_close(predict(model, (const double[]){0.5, -1}), 9.0, 1e-12);
    model_free(model);
}

static void the_quantiles_of_the_predictions_are_learnt_with_those_of_the_features(void **state)
{
    (void)state;
    struct train_options options = make_options(0);
    struct model *model = train(&options, "a,b,y\n0,0,5\n1,0,7\n0,1,2\n1,1,4\n2,5,-6\n");
    const double *quantiles = model_predicted_quantiles(model);
    static const double predictions[] = {-6, 2, 4, 5, 7};
    size_t count;
    assert_non_null(quantiles);
    for (size_t i = 0; i < 32; i++)
        assert_close(quantiles[i], predictions[(2 * i + 1) * 5 / 64], 1e-12);
    assert_close(model_feature_quantiles(model, 1, &count)[31], 5, 0);
    model_free(model);
}

static const char noisy[] =
    "a,b,id,y\n1,40,7,3.1\n2,10,5,4.2\n3,30,3,6.4\n4,90,2,7.7\n5,20,8,10.4\n6,50,1,11.6\n7,80,4,"
    "14\n";
static const char noisy_reordered[] =
    "y,id,b,a\n3.1,7,40,1\n4.2,5,10,2\n6.4,3,30,3\n7.7,2,90,4\n10.4,8,20,5\n11.6,1,50,6\n14,4,80,"
    "7\n";

static void features_are_all_columns_but_the_target_and_the_dropped(void **state)
{
    (void)state;
    struct train_options options = make_options(1);
    struct model *model = train(&options, noisy);
    assert_int_equal(model_feature_count(model), 3);
    assert_string_equal(model_feature_name(model, 0), "a");
    assert_string_equal(model_feature_name(model, 2), "id");
    assert_string_equal(model_target_name(model), "y");
    model_free(model);
    const char *const dropped[] = {"id", "a"};
    options.dropped = dropped;
    options.dropped_count = 2;
    model = train(&options, noisy);
    assert_int_equal(model_feature_count(model), 1);
    assert_string_equal(model_feature_name(model, 0), "b");
    model_free(model);
}

static void dropped_columns_may_hold_anything(void **state)
{
    (void)state;
    struct train_options options = make_options(0);
    const char *const dropped[] = {"id"};
    options.dropped = dropped;
    options.dropped_count = 1;
    struct model *model = train(&options, "id,a,y\nx,1,2\n\"a,b\",2,4\n,3,6\n");
    assert_close(predict(model, (const double[]){5}), 10.0, 1e-13);
    model_free(model);
}

static void column_order_does_not_matter(void **state)
{
    (void)state;
    struct train_options options = make_options(NAN);
    struct model *one = train(&options, noisy), *other = train(&options, noisy_reordered);
    assert_string_equal(model_feature_name(other, 0), "id");
    assert_close(model_card(one)->penalty, model_card(other)->penalty, 1e-12);
    const double x[] = {2.5, 77, 4}, reordered[] = {4, 77, 2.5};
    assert_close(predict(one, x), predict(other, reordered), 1e-12);
    model_free(one);
    model_free(other);
}

static void an_infinite_penalty_is_the_mean(void **state)
{
    (void)state;
    struct train_options options = make_options(1e300);
    struct model *model = train(&options, "a,y\n1,2\n2,4\n3,9\n");
    assert_close(predict(model, (const double[]){100}), 5.0, 1e-12);
    model_free(model);
}

/* ---- the card ---- */

static void card_says_what_the_model_was_made_from(void **state)
{
    (void)state;
    char sha256[SHA256_DIGEST_STRING_LENGTH];
    struct train_options options = make_options(0.5);
    options.name = "houses";
    options.version = "7";
    options.unit = "USD";
    options.date = "2026-11-24";
    struct model *model = train(&options, noisy);
    const struct model_card *card = model_card(model);
    (void)SHA256Data((const uint8_t *)noisy, strlen(noisy), sha256);
    assert_string_equal(model_name(model), "houses");
    assert_string_equal(model_version(model), "7");
    assert_string_equal(model_target_unit(model), "USD");
    assert_string_equal(card->date, "2026-11-24");
    assert_string_equal(card->data_sha256, sha256);
    assert_int_equal(card->rows, 7);
    assert_close(card->penalty, 0.5, 0);
    assert_true(card->threads >= 1 && card->kernel[0] != '\0');
    assert_int_equal(card->leave_one_out.rows, 7);
    assert_true(card->leave_one_out.rmse >= card->leave_one_out.mae);
    assert_true(card->leave_one_out.mae > 0 && card->leave_one_out.r2 < 1);
    assert_int_equal(card->holdout.rows, 0);
    assert_true(isnan(card->holdout.mae));
    double min, max;
    model_feature_range(model, 1, &min, &max);
    assert_close(min, 10.0, 0);
    assert_close(max, 90.0, 0);
    model_free(model);
}

static void holdout_figures_are_those_of_score(void **state)
{
    (void)state;
    static const char holdout[] = "y,a,x,b,id\n4,1.5,?,30,3\n9,4,?,10,1\n12,6.5,?,70,9\n";
    struct train_options options = make_options(NAN);
    struct error err = {0};
    struct model_figures expected;
    struct model *model = try_to_train(&options, noisy, holdout, &err);
    assert_non_null(model);
    FILE *in = fmemopen((void *)(uintptr_t)holdout, strlen(holdout), "r");
    assert_non_null(in);
    struct dataset *ds = dataset_new(in, "h.csv", 10, &err);
    assert_true(ds != NULL && model_score(model, ds, &expected, &err));
    const struct model_figures *figures = &model_card(model)->holdout;
    assert_int_equal(figures->rows, 3);
    assert_close(figures->mae, expected.mae, 0);
    assert_close(figures->rmse, expected.rmse, 0);
    assert_close(figures->r2, expected.r2, 0);
    dataset_free(ds);
    (void)fclose(in);
    model_free(model);
}

static void training_twice_gives_the_same_bytes(void **state)
{
    (void)state;
    struct train_options options = make_options(NAN);
    char *text[2];
    size_t n[2];
    for (int i = 0; i < 2; i++) {
        struct error err = {0};
        struct model *model = train(&options, noisy);
        FILE *out = open_memstream(&text[i], &n[i]);
        assert_non_null(out);
        assert_true(model_save(model, out, &err));
        (void)fclose(out);
        model_free(model);
    }
    assert_string_equal(text[0], text[1]);
    free(text[0]);
    free(text[1]);
}

/* ---- tables that break naive trainers ---- */

/* Finite wherever one looks, and loadable: model_new has checked the parts. */
static void assert_sensible(const struct model *model, const double *x, double expected,
                            double rtol)
{
    assert_close(predict(model, x), expected, rtol);
    const struct model_card *card = model_card(model);
    assert_false(isinf(card->leave_one_out.mae) || isinf(card->leave_one_out.rmse) ||
                 isinf(card->leave_one_out.r2));
}

static void degenerate_tables_give_sensible_models(void **state)
{
    (void)state;
    static const struct {
        const char *what, *text;
        double penalty, x[4], expected, rtol;
    } cases[] = {
        {"constant column", "a,b,y\n1,7,2\n2,7,4\n3,7,6\n", 1e-12, {4, 7}, 8, 1e-11},
        {"constant column, chosen penalty", "a,b,y\n1,7,2\n2,7,4\n3,7,6\n", NAN, {2, 7}, 4, 1e-12},
        {"all columns constant", "a,b,y\n1,7,2\n1,7,4\n", NAN, {9, 9}, 3, 1e-12},
        {"constant column, given elsewhere", "a,y\n1e300,2\n1e300,4\n", 1, {1e300}, 3, 1e-12},
        {"constant target", "a,y\n1,0.1\n2,0.1\n3,0.1\n", NAN, {50}, 0.1, 1e-12},
        {"zero target", "a,y\n1,0\n2,0\n3,0\n", NAN, {50}, 0, 0},
        {"one row, given penalty", "a,y\n1,2\n", 1, {5}, 2, 0},
        {"two rows, chosen penalty", "a,y\n1,3\n2,5\n", NAN, {1.5}, 4, 1e-12},
        {"more columns than rows",
         "a,b,c,d,y\n1,0,2,5,1\n0,1,4,5,2\n",
         1e-9,
         {1, 0, 2, 5},
         1,
         1e-8},
        {"equal columns", "a,b,y\n1,1,2\n2,2,4\n3,3,6\n", 1e-9, {2, 2}, 4, 1e-8},
        {"equal rows", "a,y\n1,3\n1,3\n2,5\n2,5\n", 1e-9, {1}, 3, 1e-8},
        {"far from zero",
         "a,y\n1000000001,1\n1000000002,2\n1000000003,3\n",
         0,
         {1000000002},
         2,
         1e-6},
        {"tiny", "a,y\n1e-300,1\n2e-300,2\n3e-300,3\n", NAN, {2e-300}, 2, 1e-12},
        {"subnormal", "a,y\n0,1\n5e-324,3\n", NAN, {0}, 2, 1e-12},
        {"large", "a,y\n1e150,1\n2e150,2\n3e150,3\n", 0, {2e150}, 2, 1e-12},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct train_options options = make_options(cases[i].penalty);
        struct error err = {0};
        struct model *model = try_to_train(&options, cases[i].text, NULL, &err);
        if (model == NULL)
            fail_msg("%s: %s", cases[i].what, err.message);
        assert_sensible(model, cases[i].x, cases[i].expected, cases[i].rtol);
        model_free(model);
    }
}

static void undefined_figures_are_left_open(void **state)
{
    (void)state;
    struct train_options options = make_options(1);
    struct model *model = train(&options, "a,y\n1,2\n2,2\n3,2\n");
    assert_true(isnan(model_card(model)->leave_one_out.r2));
    assert_close(model_card(model)->leave_one_out.mae, 0.0, 0);
    model_free(model);
}

/* ---- what is refused ---- */

static void train_names_what_is_wrong_with_the_table(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double penalty;
        enum error_code code;
        const char *part;
    } cases[] = {
        {"a,y\n", NAN, ERR_INVALID, "expected at least one row to train on"},
        {"y\n1\n", NAN, ERR_INVALID, "expected a column beside the target"},
        {"a,b\n1,2\n", NAN, ERR_INVALID, "target: expected a column of the data, got \"y\""},
        {"a,y\n1,2\n", NAN, ERR_INVALID, "rows: leave-one-out needs at least 2, got 1"},
        {"a,y\n1,2\n2,inf\n", NAN, ERR_INVALID,
         "t.csv:3: column \"y\": expected a number, got \"inf\""},
        {"a,y\nnan,2\n", NAN, ERR_INVALID, "t.csv:2: column \"a\": expected a number, got \"nan\""},
        {"a,y\n1,2\n,3\n", NAN, ERR_INVALID, "t.csv:3: column \"a\": expected a number, got \"\""},
        {"a,y\n1,1e999\n", NAN, ERR_INVALID, "t.csv:2: column \"y\": expected a number of double"},
        {"a,y\n1e200,1\n-1e200,2\n", NAN, ERR_NUMERIC, "squares do not overflow"},
        {"a,y\n1,1e200\n2,-1e200\n3,1\n", NAN, ERR_NUMERIC,
         "column 1: expected numbers whose squares do not overflow"},
        {"a,b,y\n1,1,2\n2,2,4\n3,3,6\n", 0, ERR_NUMERIC, "the columns are linearly dependent"},
        {"a,b,y\n1,7,2\n2,7,4\n3,7,6\n", 0, ERR_NUMERIC, "the columns are linearly dependent"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct train_options options = make_options(cases[i].penalty);
        struct error err = {0};
        struct model *model = try_to_train(&options, cases[i].text, NULL, &err);
        if (model != NULL)
            fail_msg("trained on %s", cases[i].text);
        assert_contains(err.message, cases[i].part);
        assert_int_equal(err.code, cases[i].code);
    }
}

static void train_names_what_is_wrong_with_the_options(void **state)
{
    (void)state;
    const char *const dropped[] = {"id", "it"}, *const target_too[] = {"a", "b", "id", "y"};
    const struct {
        struct train_options options;
        const char *message;
    } cases[] = {
        {{.name = "a b", .version = "1", .target = "y", .unit = "", .date = ""},
         "name: expected 1 to 255 of A-Z a-z 0-9 . _ -, got \"a b\""},
        {{.name = "m", .version = "", .target = "y", .unit = "", .date = ""},
         "version: expected 1 to 255 of A-Z a-z 0-9 . _ -, got \"\""},
        {{.name = "m", .version = "1", .target = "Y", .unit = "", .date = ""},
         "target: expected a column of the data, got \"Y\""},
        {{.name = "m",
          .version = "1",
          .target = "y",
          .unit = "",
          .date = "the twenty-fourth of November 2026"},
         "date: expected at most 31 bytes"},
        {{.name = "m",
          .version = "1",
          .target = "y",
          .unit = "",
          .date = "",
          .dropped = dropped,
          .dropped_count = 2},
         "drop: expected a column of the data, got \"it\""},
        {{.name = "m",
          .version = "1",
          .target = "y",
          .unit = "",
          .date = "",
          .dropped = target_too,
          .dropped_count = 4},
         "expected a column beside the target"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err = {0};
        assert_null(try_to_train(&cases[i].options, noisy, NULL, &err));
        assert_string_equal(err.message, cases[i].message);
        assert_int_equal(err.code, ERR_INVALID);
    }
}

static void holdout_without_rows_or_columns_is_refused(void **state)
{
    (void)state;
    struct train_options options = make_options(1);
    struct error err = {0};
    assert_null(try_to_train(&options, noisy, "a,b,id,y\n", &err));
    assert_string_equal(err.message, "expected at least one row to score");
    assert_null(try_to_train(&options, noisy, "a,b,y\n1,2,3\n", &err));
    assert_string_equal(err.message, "h.csv:1: expected a column \"id\", got none");
}

static void a_stream_that_cannot_be_read_twice_is_refused(void **state)
{
    (void)state;
    struct train_options options = make_options(1);
    struct error err = {0};
    FILE *in = popen("printf 'a,y\\n1,2\\n2,3\\n'", "r");
    assert_non_null(in);
    struct dataset *ds = dataset_new(in, "pipe", 10, &err);
    assert_non_null(ds);
    assert_null(model_train(&options, ds, NULL, &err));
    assert_string_equal(err.message, "pipe: cannot be read twice, expected a regular file");
    dataset_free(ds);
    (void)pclose(in);
}

/* ---- while it works ---- */

/* What the callback was told, and a file to change while it is read. */
struct listener {
    char stages[256]; /* "reading fitting ", each once */
    double last;      /* fraction of the stage */
    const char *append_to, *line;
};

static void listen(void *ctx, const char *stage, double fraction)
{
    struct listener *l = ctx;
    if (strstr(l->stages, stage) == NULL) {
        (void)strcat(strcat(l->stages, stage), " ");
        l->last = 0;
    }
    if (!isnan(fraction)) {
        assert_true(fraction >= l->last && fraction <= 1);
        l->last = fraction;
        if (l->append_to != NULL) {
            FILE *out = fopen(l->append_to, "a");
            assert_non_null(out);
            (void)fputs(l->line, out);
            (void)fclose(out);
            l->append_to = NULL;
        }
    }
}

static void progress_names_the_stages_and_never_goes_back(void **state)
{
    (void)state;
    struct listener listener = {.last = 0};
    struct train_options options = make_options(NAN);
    struct error err = {0};
    options.progress = listen;
    options.progress_ctx = &listener;
    struct model *model = try_to_train(&options, noisy, noisy, &err);
    assert_non_null(model);
    assert_string_equal(listener.stages, "reading fitting measuring ");
    model_free(model);
    listener.stages[0] = '\0';
    model = try_to_train(&options, noisy, NULL, &err);
    assert_string_equal(listener.stages, "reading fitting ");
    assert_close(listener.last, 1.0, 0);
    model_free(model);
}

static void a_file_that_changes_between_passes_is_refused(void **state)
{
    (void)state;
    static const char *const lines[][2] = {{"8,60,6,15\n", "the data grew while it was read"},
                                           {"\n", "changed since it was first read"}};
    char folder[512], path[600];
    process_folder(folder, sizeof folder);
    (void)snprintf(path, sizeof path, "%s/t.csv", folder);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct listener listener = {.append_to = path, .line = lines[i][0]};
        struct train_options options = make_options(1);
        struct error err = {0};
        FILE *out = fopen(path, "w");
        assert_non_null(out);
        (void)fputs(noisy, out);
        (void)fclose(out);
        options.progress = listen;
        options.progress_ctx = &listener;
        struct dataset *ds = dataset_new_path(path, 100, &err);
        assert_non_null(ds);
        assert_null(model_train(&options, ds, NULL, &err));
        assert_contains(err.message, lines[i][1]);
        assert_int_equal(err.code, ERR_INVALID);
        dataset_free(ds);
    }
    process_remove(folder);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(train_recovers_a_plane),
    cmocka_unit_test(the_quantiles_of_the_predictions_are_learnt_with_those_of_the_features),
    cmocka_unit_test(features_are_all_columns_but_the_target_and_the_dropped),
    cmocka_unit_test(dropped_columns_may_hold_anything),
    cmocka_unit_test(column_order_does_not_matter),
    cmocka_unit_test(an_infinite_penalty_is_the_mean),
    cmocka_unit_test(card_says_what_the_model_was_made_from),
    cmocka_unit_test(holdout_figures_are_those_of_score),
    cmocka_unit_test(training_twice_gives_the_same_bytes),
    cmocka_unit_test(degenerate_tables_give_sensible_models),
    cmocka_unit_test(undefined_figures_are_left_open),
    cmocka_unit_test(train_names_what_is_wrong_with_the_table),
    cmocka_unit_test(train_names_what_is_wrong_with_the_options),
    cmocka_unit_test(holdout_without_rows_or_columns_is_refused),
    cmocka_unit_test(a_stream_that_cannot_be_read_twice_is_refused),
    cmocka_unit_test(progress_names_the_stages_and_never_goes_back),
    cmocka_unit_test(a_file_that_changes_between_passes_is_refused),
};

T_MAIN(tests)
