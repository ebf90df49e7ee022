/* Training from tables to models: what is chosen, what is stored, and tables that have killed trainers. */
#include "model/model_train.h"

#include "model/model_file.h"
#include "model/model_internal.h"
#include "tests/support/t.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double uniform(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 11) * 0x1p-53;
}

/* A table of columns a, b, c ... and y, kept as a CSV file without a name. */
struct table {
    FILE *file;
    size_t rows, cols;
    double *x, *y;
};

static struct table table_new(size_t rows, size_t cols, uint64_t seed)
{
    struct table t = {NULL, rows, cols, calloc(rows * cols, sizeof(double)),
                      calloc(rows, sizeof(double))};
    assert_true(t.x != NULL && t.y != NULL);
    for (size_t i = 0; i < rows * cols; i++)
        t.x[i] = 2 * uniform(&seed) - 1;
    return t;
}

static void table_free(struct table *t)
{
    if (t->file != NULL)
        assert_int_equal(fclose(t->file), 0);
    free(t->x);
    free(t->y);
}

static void write_table(struct table *t)
{
    t->file = tmpfile();
    assert_non_null(t->file);
    for (size_t j = 0; j < t->cols; j++)
        (void)fprintf(t->file, "c%zu,", j);
    (void)fprintf(t->file, "y\n");
    for (size_t i = 0; i < t->rows; i++) {
        for (size_t j = 0; j < t->cols; j++)
            (void)fprintf(t->file, "%.17g,", t->x[i * t->cols + j]);
        (void)fprintf(t->file, "%.17g\n", t->y[i]);
    }
    rewind(t->file);
}

static struct train_options default_options(void)
{
    return (struct train_options){
        .name = "m", .version = "1", .target = "y", .unit = "", .date = "", .penalty = NAN};
}

static struct model *try_to_train(struct table *t, const struct train_options *options,
                                  struct error *err)
{
    write_table(t);
    struct dataset *ds = dataset_new(t->file, "table", 100000, err);
    assert_non_null(ds);
    struct model *model = model_train(options, ds, NULL, err);
    dataset_free(ds);
    return model;
}

static struct model *train_with(struct table *t, const struct train_options *options)
{
    struct error err = {0};
    struct model *model = try_to_train(t, options, &err);
    if (model == NULL)
        fail_msg("model_train: %s", err.message);
    return model;
}

static struct model *train(struct table *t)
{
    struct train_options options = default_options();
    return train_with(t, &options);
}

/* y = sin(3 a) + b^2 and a little noise. */
static struct table curved_table(size_t rows, uint64_t seed)
{
    struct table t = table_new(rows, 3, seed);
    seed += 100;
    for (size_t i = 0; i < rows; i++) {
        const double *x = t.x + i * 3;
        t.y[i] = sin(3 * x[0]) + x[1] * x[1] + 0.1 * (uniform(&seed) - 0.5);
    }
    return t;
}

static double mean_error(const struct model *model, const struct table *t)
{
    double sum = 0, f;
    for (size_t i = 0; i < t->rows; i++) {
        model_predict(model, 1, t->x + i * t->cols, &f);
        sum += fabs(t->y[i] - f) / (double)t->rows;
    }
    return sum;
}

static void a_curved_table_gets_a_kernel(void **state)
{
    (void)state;
    struct table t = curved_table(600, 1), unseen = curved_table(300, 2);
    struct model *model = train(&t);
    const struct model_card *card = model_card(model);
    assert_string_equal(model_kind(model), "kernel");
    assert_true(card->leave_one_out.rmse < 0.3 * card->linear.rmse);
    assert_int_equal(card->leave_one_out.rows, 150);
    assert_int_equal(card->linear.rows, 600);
    double mae = mean_error(model, &unseen);
    assert_true(mae < 0.08);
    assert_true(mae > 0.6 * card->leave_one_out.mae && mae < 1.6 * card->leave_one_out.mae);
    model_free(model);
    table_free(&t);
    table_free(&unseen);
}

static void a_straight_table_stays_linear_and_says_so(void **state)
{
    (void)state;
    uint64_t seed = 3;
    struct table t = table_new(300, 3, 3);
    for (size_t i = 0; i < t.rows; i++)
        t.y[i] = 2 * t.x[3 * i] - t.x[3 * i + 1] + uniform(&seed);
    struct model *model = train(&t);
    assert_string_equal(model_kind(model), "linear");
    assert_close(model_card(model)->linear.rmse, model_card(model)->leave_one_out.rmse, 0);
    model_free(model);
    table_free(&t);
}

static void the_caller_may_ask_for_linear_and_for_fewer_centres(void **state)
{
    (void)state;
    struct table a = curved_table(300, 4), b = curved_table(300, 4);
    struct train_options options = default_options();
    options.linear = true;
    struct model *linear = train_with(&a, &options);
    assert_string_equal(model_kind(linear), "linear");
    options.linear = false;
    options.centres = 24;
    struct model *kernel = train_with(&b, &options);
    assert_string_equal(model_kind(kernel), "kernel");
    assert_true(kernel->parts.kernel.centre_count <= 24);
    model_free(linear);
    model_free(kernel);
    table_free(&a);
    table_free(&b);
}

/* Whether z is the middle, to rounding, of two rows that differ. */
static bool is_mean_of_two(const struct matrix *u, const double *z)
{
    for (size_t a = 0; a < u->rows; a++)
        for (size_t b = 0; b < a; b++) {
            const double *x = matrix_row(u, a), *y = matrix_row(u, b);
            double off = 0, apart = 0;
            for (size_t j = 0; j < u->cols; j++) {
                off = fmax(off, fabs((x[j] + y[j]) / 2 - z[j]));
                apart = fmax(apart, fabs(x[j] - y[j]));
            }
            if (off <= 0.5001e-4 && apart > 0)
                return true;
        }
    return false;
}

static void every_stored_centre_is_the_mean_of_two_different_rows(void **state)
{
    (void)state;
    struct error err = {0};
    struct matrix u;
    struct table t = curved_table(200, 5);
    struct model *model = train(&t);
    const struct kernel_map *map = &model->parts.kernel;
    assert_string_equal(model_kind(model), "kernel");
    assert_true(matrix_init(&u, t.rows, t.cols, &err));
    for (size_t i = 0; i < t.rows; i++)
        for (size_t j = 0; j < t.cols; j++)
            matrix_row(&u, i)[j] =
                transform_value(&model->parts.features[j].transform, t.x[i * t.cols + j]);
    for (size_t m = 0; m < map->centre_count; m++)
        assert_true(is_mean_of_two(&u, map->centres + m * map->inputs));
    matrix_clear(&u);
    model_free(model);
    table_free(&t);
}

static char *save(const struct model *model, size_t *bytes)
{
    char *text = NULL;
    struct error err = {0};
    FILE *out = open_memstream(&text, bytes);
    assert_non_null(out);
    assert_true(model_save(model, out, &err));
    assert_int_equal(fclose(out), 0);
    return text;
}

static void training_twice_gives_the_same_bytes(void **state)
{
    (void)state;
    struct table a = curved_table(300, 6), b = curved_table(300, 6);
    size_t a_bytes, b_bytes;
    struct model *first = train(&a), *second = train(&b);
    char *a_text = save(first, &a_bytes), *b_text = save(second, &b_bytes);
    assert_int_equal(a_bytes, b_bytes);
    assert_memory_equal(a_text, b_text, a_bytes);
    free(a_text);
    free(b_text);
    model_free(first);
    model_free(second);
    table_free(&a);
    table_free(&b);
}

/* ---- what may not hurt ---- */

static void assert_finite_predictions(const struct model *model, const struct table *t)
{
    for (size_t i = 0; i < t->rows; i++) {
        double f;
        model_predict(model, 1, t->x + i * t->cols, &f);
        assert_true(isfinite(f));
    }
}

static void constant_and_duplicate_columns_do_no_harm(void **state)
{
    (void)state;
    struct table t = curved_table(300, 7);
    struct table wide = table_new(300, 7, 0);
    for (size_t i = 0; i < t.rows; i++) {
        const double *x = t.x + 3 * i;
        memcpy(wide.x + 7 * i, (const double[]){x[0], 5, x[1], x[0], x[2], 0, x[1]}, 7 * sizeof *x);
        wide.y[i] = t.y[i];
    }
    struct model *model = train(&wide);
    assert_string_equal(model_kind(model), "kernel");
    assert_true(model->parts.kernel.scales[1] == 0 && model->parts.kernel.scales[5] == 0);
    assert_true(mean_error(model, &wide) < 0.08);
    model_free(model);
    table_free(&t);
    table_free(&wide);
}

static void few_rows_of_any_number_train(void **state)
{
    (void)state;
    static const size_t counts[] = {1, 2, 3, 19, 20, 30, 59, 60, 61, 100};
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
        struct table t = curved_table(counts[k], 8);
        struct error err = {0};
        struct model *model =
            try_to_train(&t,
                         &(struct train_options){.name = "m",
                                                 .version = "1",
                                                 .target = "y",
                                                 .unit = "",
                                                 .date = "",
                                                 .penalty = counts[k] == 1 ? 1 : NAN},
                         &err);
        if (model == NULL)
            fail_msg("%zu rows: %s", counts[k], err.message);
        assert_finite_predictions(model, &t);
        model_free(model);
        table_free(&t);
    }
}

static void more_columns_than_rows_train(void **state)
{
    (void)state;
    struct table t = table_new(80, 100, 9);
    for (size_t i = 0; i < t.rows; i++)
        t.y[i] = t.x[i * t.cols] * t.x[i * t.cols];
    struct model *model = train(&t);
    assert_finite_predictions(model, &t);
    model_free(model);
    table_free(&t);
}

static void a_constant_target_is_its_own_prediction(void **state)
{
    (void)state;
    struct table t = table_new(100, 2, 10);
    for (size_t i = 0; i < t.rows; i++)
        t.y[i] = 2.5;
    struct model *model = train(&t);
    assert_string_equal(model_kind(model), "linear");
    assert_true(mean_error(model, &t) < 1e-12);
    model_free(model);
    table_free(&t);
}

static void equal_rows_train(void **state)
{
    (void)state;
    uint64_t seed = 11;
    struct table t = table_new(120, 2, 11);
    for (size_t i = 0; i < t.rows; i++) {
        t.x[2 * i] = 3;
        t.x[2 * i + 1] = (double)(i % 2);
        t.y[i] = t.x[2 * i + 1] + uniform(&seed);
    }
    struct model *model = train(&t);
    assert_finite_predictions(model, &t);
    model_free(model);
    table_free(&t);
}

static void heavy_tails_and_counts_train(void **state)
{
    (void)state;
    uint64_t seed = 12;
    struct table t = table_new(500, 4, 12);
    for (size_t i = 0; i < t.rows; i++) {
        double *x = t.x + 4 * i, v = uniform(&seed);
        x[0] = tan(3.14159 * (v - 0.5));           /* Cauchy */
        x[1] = exp(10 * x[1]);                     /* log-uniform over nine decades */
        x[2] = floor(3 * fabs(x[2]));              /* 0, 1, 2 */
        x[3] = v < 0.8 ? 0 : -log(uniform(&seed)); /* mostly 0 */
        t.y[i] = sin(log(x[1])) + x[2] + atan(x[0]);
    }
    struct model *model = train(&t);
    assert_string_equal(model_kind(model), "kernel");
    assert_int_equal(model->parts.features[1].transform.kind, TRANSFORM_LOG);
    assert_int_equal(model->parts.features[0].transform.kind, TRANSFORM_STANDARDISE);
    assert_true(model_card(model)->leave_one_out.r2 > 0.8);
    model_free(model);
    table_free(&t);
}

static void far_inputs_are_taken_to_the_end_of_the_range(void **state)
{
    (void)state;
    struct table t = curved_table(300, 13);
    struct model *model = train(&t);
    const struct transform *first = &model->parts.features[0].transform;
    const double far[] = {1e9, 0, 0}, end[] = {first->high, 0, 0};
    double f[2];
    assert_true(first->clipped && first->high > first->max && first->low < first->min);
    model_predict(model, 1, far, &f[0]);
    model_predict(model, 1, end, &f[1]);
    assert_close(f[0], f[1], 0);
    model_free(model);
    table_free(&t);
}

/* ---- quantiles and intervals ---- */

static void quantiles_ascend_within_the_range(void **state)
{
    (void)state;
    struct table t = curved_table(300, 14);
    struct model *model = train(&t);
    for (size_t j = 0; j < t.cols; j++) {
        double min, max;
        const double *q = model->parts.quantiles + j * MODEL_QUANTILES;
        model_feature_range(model, j, &min, &max);
        assert_true(q[0] >= min && q[MODEL_QUANTILES - 1] <= max);
        for (size_t i = 1; i < MODEL_QUANTILES; i++)
            assert_true(q[i] >= q[i - 1]);
        assert_true(fabs(q[MODEL_QUANTILES / 2]) < 0.2);
    }
    model_free(model);
    table_free(&t);
}

/* y = sin(3 a) + noise that grows with a from 0.05 to 1. */
static struct table fanning_table(size_t rows, uint64_t seed)
{
    struct table t = table_new(rows, 2, seed);
    seed += 100;
    for (size_t i = 0; i < rows; i++) {
        const double *x = t.x + 2 * i;
        t.y[i] = sin(3 * x[0]) + (0.525 + 0.475 * x[0]) * 2 * (uniform(&seed) - 0.5);
    }
    return t;
}

/* The residual function at a raw row, from its parts. */
static double residual_at(const struct model *model, const double *x)
{
    const struct model_parts *parts = &model->parts;
    double u[8], k[1024];
    transform_row(&parts->features[0].transform, 0, x, u);
    for (size_t j = 0; j < parts->feature_count; j++)
        u[j] = transform_value(&parts->features[j].transform, x[j]);
    if (parts->kind == MODEL_KERNEL)
        kernel_row(model->kernel, u, k);
    double r = parts->residual.intercept;
    for (size_t m = 0; m < parts->residual.coefficient_count; m++)
        r += parts->residual.coefficients[m] * (parts->kind == MODEL_KERNEL ? k[m] : u[m]);
    return r;
}

/* Share of rows inside the interval, and its mean half width. */
static double coverage(const struct model *model, const struct table *t, double level,
                       double *width)
{
    const struct model_interval *interval = &model->parts.interval;
    size_t n = interval->score_count, rank = (size_t)ceil(level * (double)(n + 1) - 1e-9);
    double inside = 0;
    *width = 0;
    for (size_t i = 0; i < t->rows; i++) {
        double f, r = residual_at(model, t->x + i * t->cols);
        double half =
            interval->scores[rank - 1] * (interval->scaled ? fmax(r, interval->floor) : 1);
        model_predict(model, 1, t->x + i * t->cols, &f);
        inside += fabs(t->y[i] - f) <= half;
        *width += half / (double)t->rows;
    }
    return inside / (double)t->rows;
}

static void intervals_cover_what_they_say_and_follow_the_noise(void **state)
{
    (void)state;
    struct table t = fanning_table(1000, 15), unseen = fanning_table(2000, 16);
    struct model *model = train(&t);
    const struct model_interval *interval = &model->parts.interval;
    double width, quiet[] = {-0.9, 0}, loud[] = {0.9, 0};
    assert_string_equal(model_kind(model), "kernel");
    assert_true(interval->scaled && interval->score_count == 250);
    assert_true(residual_at(model, loud) > 3 * residual_at(model, quiet));
    for (double level = 0.5; level < 0.96;
         level += 0.15) /* 3 standard errors of 250 and 2,000 rows */
        assert_true(fabs(coverage(model, &unseen, level, &width) - level) <
                    3 * sqrt(level * (1 - level) * (1.0 / 250 + 1.0 / 2000)));
    model_free(model);
    table_free(&t);
    table_free(&unseen);
}

static void a_linear_model_has_intervals_too(void **state)
{
    (void)state;
    struct table t = fanning_table(600, 17), unseen = fanning_table(2000, 18);
    struct train_options options = default_options();
    options.linear = true;
    struct model *model = train_with(&t, &options);
    double width;
    assert_int_equal(model->parts.interval.score_count, 600);
    assert_true(fabs(coverage(model, &unseen, 0.9, &width) - 0.9) < 0.05);
    model_free(model);
    table_free(&t);
    table_free(&unseen);
}

/* ---- a prior ---- */

static void check_shift(bool linear)
{
    struct table old = curved_table(500, 19), few = curved_table(60, 20),
                 unseen = curved_table(400, 21);
    struct train_options options = default_options();
    options.linear = linear;
    struct model *prior = train_with(&old, &options);
    double before = mean_error(prior, &unseen);
    for (size_t i = 0; i < few.rows; i++)
        few.y[i] += 0.6;
    for (size_t i = 0; i < unseen.rows; i++)
        unseen.y[i] += 0.6;
    options.prior = prior;
    struct model *model = train_with(&few, &options);
    assert_string_equal(model_kind(model), linear ? "linear" : "kernel");
    assert_true(mean_error(prior, &unseen) > 0.5);
    assert_true(mean_error(model, &unseen) < 1.2 * before + 0.02);
    assert_int_equal(model->parts.interval.score_count, few.rows);
    assert_int_equal(model_card(model)->linear.rows, 0);
    assert_true(model_card(model)->leave_one_out.r2 > (linear ? 0.3 : 0.9));
    model_free(model);
    model_free(prior);
    table_free(&old);
    table_free(&few);
    table_free(&unseen);
}

static void a_prior_follows_a_shift_of_the_target_from_a_few_rows(void **state)
{
    (void)state;
    check_shift(true);
    check_shift(false);
}

static void a_prior_whose_features_are_not_there_is_refused(void **state)
{
    (void)state;
    struct table old = curved_table(100, 22), narrow = table_new(50, 2, 23);
    struct train_options options = default_options();
    struct error err = {0};
    struct model *prior = train_with(&old, &options);
    options.prior = prior;
    assert_null(try_to_train(&narrow, &options, &err));
    assert_contains(err.message, "\"c2\"");
    model_free(prior);
    table_free(&old);
    table_free(&narrow);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_curved_table_gets_a_kernel),
    cmocka_unit_test(a_straight_table_stays_linear_and_says_so),
    cmocka_unit_test(the_caller_may_ask_for_linear_and_for_fewer_centres),
    cmocka_unit_test(every_stored_centre_is_the_mean_of_two_different_rows),
    cmocka_unit_test(training_twice_gives_the_same_bytes),
    cmocka_unit_test(constant_and_duplicate_columns_do_no_harm),
    cmocka_unit_test(few_rows_of_any_number_train),
    cmocka_unit_test(more_columns_than_rows_train),
    cmocka_unit_test(a_constant_target_is_its_own_prediction),
    cmocka_unit_test(equal_rows_train),
    cmocka_unit_test(heavy_tails_and_counts_train),
    cmocka_unit_test(far_inputs_are_taken_to_the_end_of_the_range),
    cmocka_unit_test(quantiles_ascend_within_the_range),
    cmocka_unit_test(intervals_cover_what_they_say_and_follow_the_noise),
    cmocka_unit_test(a_linear_model_has_intervals_too),
    cmocka_unit_test(a_prior_follows_a_shift_of_the_target_from_a_few_rows),
    cmocka_unit_test(a_prior_whose_features_are_not_there_is_refused),
};

T_MAIN(tests)
