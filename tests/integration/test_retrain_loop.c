/* From true values that have moved to a better model, with the real programs: the server keeps them, the
 * journal is fetched by its route with the token, prepare, retrain and validate decide. */
#include "base/number.h"
#include "model/dataset.h"
#include "model/model_file.h"
#include "model/model_score.h"
#include "tests/support/http_client.h"
#include "tests/support/process.h"
#include "tests/support/t.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BATCH = 100, TABLE_MAX = 30000, OUTPUT_MAX = 1 << 16, BASE_ROWS = 500 };

#define AUTHORIZATION "Authorization: Bearer secret\r\n"

/* What a true value has become; x is the row. */
typedef double (*shift)(const double *x, double y);

static double none(const double *x, double y)
{
    (void)x;
    return y;
}

static double higher(const double *x, double y)
{
    (void)x;
    return y + 0.6;
}

static double higher_in_the_north(const double *x, double y)
{
    return x[6] > 36 ? y + 1 : y;
}

/* A server, its champion, and rows that it has not seen. */
struct loop {
    char folder[512], champion[600], base[600], feedback[600], slices[600], model[600];
    struct process *server;
    unsigned port;
    char predict[128], route[128];
    struct matrix rows; /* (rows, features + 1) */
    size_t features;
    char output[OUTPUT_MAX];
};

static int run(struct loop *l, const char *const *argv)
{
    return process_run(argv, l->output, sizeof l->output);
}

#define RIDGE(l, ...) run(l, (const char *const[]){process_program("ridge"), __VA_ARGS__, NULL})

static void expect(const struct loop *l, int code, int expected)
{
    if (code != expected)
        fail_msg("exit code %d, expected %d:\n%s", code, expected, l->output);
}

static void begin(struct loop *l)
{
    /* ThreadSanitizer cannot see how OpenBLAS's threads, which it has not compiled, wait for each other. */
    assert_int_equal(setenv("OPENBLAS_NUM_THREADS", "1", 1), 0);
    process_folder(l->folder, sizeof l->folder);
    (void)snprintf(l->champion, sizeof l->champion, "%s/champion.json", l->folder);
    (void)snprintf(l->base, sizeof l->base, "%s/table.csv", l->folder);
    (void)snprintf(l->feedback, sizeof l->feedback, "%s/fetched.csv", l->folder);
    (void)snprintf(l->slices, sizeof l->slices, "%s/slices", l->folder);
    (void)snprintf(l->model, sizeof l->model, "%s/model.json", l->folder);
}

static void end(struct loop *l)
{
    if (l->server != NULL) {
        process_signal(l->server, SIGTERM);
        assert_int_equal(process_wait(l->server, 30), 0);
        process_free(l->server);
    }
    matrix_clear(&l->rows);
    process_remove(l->folder);
    free(l);
}

static void start_server(struct loop *l, const char *name)
{
    char token[600], journal[600], token_option[700];
    (void)snprintf(token, sizeof token, "%s/token", l->folder);
    (void)snprintf(token_option, sizeof token_option, "--feedback_token_file=%s", token);
    (void)snprintf(journal, sizeof journal, "--feedback_dir=%s", l->folder);
    (void)snprintf(l->predict, sizeof l->predict, "/v1/models/%s:predict", name);
    (void)snprintf(l->route, sizeof l->route, "/v1/models/%s:feedback", name);
    FILE *out = fopen(token, "wb");
    assert_non_null(out);
    (void)fputs("secret\n", out);
    assert_int_equal(fclose(out), 0);
    l->server = process_start((const char *const[]){
        process_program("ridged"), "--model_dir", l->champion, "--http_port=0", "--metrics_port=0",
        "--host=127.0.0.1", "--drain_delay=0", "--workers=1", "--feedback_name=pod", journal,
        token_option, NULL});
    process_expect(l->server, "\"event\":\"ready\"", 30);
    l->port = process_number(strstr(l->server->text, "\"event\":\"ready\""), "http_port");
}

/* ---- the client ---- */

static void post(const struct loop *l, const char *path, const char *headers, const char *body,
                 const char *expected)
{
    struct http_answer answer;
    http_client_request(l->port, "POST", path, headers, body, strlen(body), &answer);
    if (answer.status != 200 || strstr(answer.body, expected) == NULL)
        fail_msg("%s: %d %s, expected %s", path, answer.status, answer.body, expected);
    http_answer_clear(&answer);
}

static void put_number(FILE *out, double value, char end_with)
{
    char text[NUMBER_TEXT_MAX];
    (void)fwrite(text, 1, number_write(text, value), out);
    (void)fputc(end_with, out);
}

/* Asks for predictions of rows [from, from + BATCH), then tells their true values by the ids. */
static void tell_batch(struct loop *l, size_t from, shift moved)
{
    char *body = NULL, headers[128], accepted[64];
    size_t n;
    FILE *out = open_memstream(&body, &n);
    assert_non_null(out);
    for (size_t i = 0; i < BATCH; i++) {
        (void)fputs(i == 0 ? "{\"instances\":[[" : ",[", out);
        for (size_t j = 0; j < l->features; j++)
            put_number(out, matrix_row(&l->rows, from + i)[j], j + 1 < l->features ? ',' : ']');
    }
    (void)fputs("]}", out);
    assert_int_equal(fclose(out), 0);
    (void)snprintf(headers, sizeof headers, "x-request-id: batch-%zu\r\n", from);
    post(l, l->predict, headers, body, "predictions");
    free(body);
    assert_non_null(out = open_memstream(&body, &n));
    for (size_t i = 0; i < BATCH; i++)
        (void)fprintf(out, "%s\"batch-%zu/%zu\"", i == 0 ? "{\"ids\":[" : ",", from, i);
    (void)fputs("],\"targets\":[", out);
    for (size_t i = 0; i < BATCH; i++) {
        const double *row = matrix_row(&l->rows, from + i);
        put_number(out, moved(row, row[l->features]), i + 1 < BATCH ? ',' : ']');
    }
    (void)fputc('}', out);
    assert_int_equal(fclose(out), 0);
    (void)snprintf(accepted, sizeof accepted, "{\"accepted\":%d,", BATCH);
    post(l, l->route, AUTHORIZATION, body, accepted);
    free(body);
}

static void fetch_feedback(struct loop *l)
{
    struct http_answer answer;
    http_client_request(l->port, "GET", l->route, NULL, NULL, 0, &answer);
    assert_int_equal(answer.status, 401);
    http_answer_clear(&answer);
    http_client_request(l->port, "GET", l->route, AUTHORIZATION, NULL, 0, &answer);
    assert_int_equal(answer.status, 200);
    FILE *out = fopen(l->feedback, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(answer.body, 1, answer.body_len, out), answer.body_len);
    assert_int_equal(fclose(out), 0);
    http_answer_clear(&answer);
}

/* ---- the decision ---- */

static int validate(struct loop *l, const char *model)
{
    char data[700];
    (void)snprintf(data, sizeof data, "%s/validation.csv", l->slices);
    return RIDGE(l, "validate", "--model", model, "--data", data, "--champion", l->champion,
                 "--max_mae=0.43", "--min_r2=0.77");
}

/* `before` rows as they were, then `after` that have moved. */
static void retrain_on(struct loop *l, const char *name, size_t before, size_t after, shift moved)
{
    start_server(l, name);
    for (size_t from = 0; from < before + after; from += BATCH)
        tell_batch(l, from, from < before ? none : moved);
    fetch_feedback(l);
    expect(l,
           RIDGE(l, "prepare", "--model", l->champion, "--data", l->base, "--feedback", l->feedback,
                 "--out", l->slices),
           0);
    assert_contains(l->output, "\"enough\":true");
}

static void expect_better(struct loop *l)
{
    expect(l,
           RIDGE(l, "retrain", "--champion", l->champion, "--data", l->slices, "--out", l->model,
                 "--version=2", "--centres=32"),
           0);
    expect(l, validate(l, l->model), 0);
    assert_contains(l->output, "\"passed\":true}\n");
    /* one that is no better is refused, by that check too */
    expect(l, validate(l, l->champion), 1);
    assert_contains(l->output, "\"check\":\"better_than_champion\",\"limit\":0.0,\"value\":0.0");
}

/* ---- a table that is made here ---- */

/* y = 1 + 2a - b + a bump, with noise; all repeatable. */
static void make_row(size_t i, double *row)
{
    row[0] = (double)(i * 7919 % 1009) / 1009;
    row[1] = (double)(i * 104729 % 997) / 997;
    double noise = (double)(i * 15485863 % 211) / 211 - 0.5;
    row[2] = 1 + 2 * row[0] - row[1] + exp(-8 * row[0] * row[1]) + 0.2 * noise;
}

static struct loop *make_table(void)
{
    struct error err = {0};
    struct loop *l = calloc(1, sizeof *l);
    assert_non_null(l);
    begin(l);
    l->features = 2;
    FILE *out = fopen(l->base, "wb");
    assert_non_null(out);
    (void)fputs("a,b,y\n", out);
    for (size_t i = 0; i < 300; i++) {
        double row[3];
        make_row(i, row);
        (void)fprintf(out, "%.17g,%.17g,%.17g\n", row[0], row[1], row[2]);
    }
    assert_int_equal(fclose(out), 0);
    expect(l,
           RIDGE(l, "train", "--data", l->base, "--target=y", "--name=bump", "--out", l->champion,
                 "--centres=40"),
           0);
    assert_true(matrix_init(&l->rows, 1000, 3, &err));
    for (size_t i = 0; i < 1000; i++)
        make_row(600 + i, matrix_row(&l->rows, i));
    return l;
}

static void a_shift_is_learnt_and_what_was_before_is_left_out(void **state)
{
    (void)state;
    struct loop *l = make_table();
    retrain_on(l, "bump", 300, 700, higher);
    assert_contains(l->output, "{\"reason\":\"before_shift\",\"rows\":300,");
    expect_better(l);
    end(l);
}

static void where_nothing_has_changed_no_challenger_passes(void **state)
{
    (void)state;
    struct loop *l = make_table();
    retrain_on(l, "bump", 600, 0, none);
    expect(l,
           RIDGE(l, "retrain", "--champion", l->champion, "--data", l->slices, "--out", l->model,
                 "--version=2", "--centres=32"),
           0);
    expect(l, validate(l, l->champion), 1);
    end(l);
}

static void too_few_true_values_are_told_by_the_exit_code(void **state)
{
    (void)state;
    struct loop *l = make_table();
    start_server(l, "bump");
    for (size_t from = 0; from < 200; from += BATCH)
        tell_batch(l, from, higher);
    fetch_feedback(l);
    expect(l,
           RIDGE(l, "prepare", "--model", l->champion, "--data", l->base, "--feedback", l->feedback,
                 "--out", l->slices),
           3);
    assert_contains(l->output, "\"enough\":false}\n");
    assert_contains(l->output,
                    "too few rows: expected at least 100 for validation.csv, got 0 of 200");
    end(l);
}

/* ---- California ---- */

static const char *find_table(void)
{
    static const char *const paths[] = {"data/california.csv",
                                        "../shared/data/california_housing.csv"};
    for (size_t i = 0; i < 2; i++)
        if (access(paths[i], R_OK) == 0)
            return paths[i];
    t_skip("the California housing table is not beside the project");
    return NULL;
}

/* Which rows of the table the bundled model has not seen. */
static void read_holdout(char *held_out)
{
    FILE *in = fopen("tests/golden/holdout_rows.txt", "rb");
    assert_non_null(in);
    for (unsigned row; fscanf(in, "%u", &row) == 1;)
        if (row < TABLE_MAX)
            held_out[row] = 1;
    (void)fclose(in);
}

static void read_table(struct loop *l, const struct model *champion, const char *path)
{
    struct error err = {0};
    struct matrix table = {0};
    struct dataset *ds = dataset_new_path(path, TABLE_MAX, &err);
    char *held_out = calloc(TABLE_MAX, 1);
    size_t kept = 0, written = 0;
    assert_true(held_out != NULL && ds != NULL && model_select(champion, true, ds, &err));
    assert_true(dataset_read_all(ds, &table, &err));
    read_holdout(held_out);
    assert_true(matrix_init(&l->rows, table.rows, table.cols, &err));
    FILE *out = fopen(l->base, "wb");
    assert_non_null(out);
    for (size_t j = 0; j < table.cols; j++)
        (void)fprintf(out, "%s%c",
                      j < l->features ? model_feature_name(champion, j)
                                      : model_target_name(champion),
                      j < l->features ? ',' : '\n');
    for (size_t i = 0; i < table.rows; i++) {
        const double *row = matrix_row(&table, i);
        if (held_out[i])
            memcpy(matrix_row(&l->rows, kept++), row, table.cols * sizeof *row);
        else if (i % 11 == 0 && written++ < BASE_ROWS)
            for (size_t j = 0; j < table.cols; j++)
                put_number(out, row[j], j < l->features ? ',' : '\n');
    }
    assert_int_equal(fclose(out), 0);
    l->rows.rows = kept;
    free(held_out);
    dataset_free(ds);
    matrix_clear(&table);
}

/* Neighbours of the table are neighbours on the map: the held-out rows are told in an order that mixes them. */
static void mix(struct matrix *rows)
{
    struct error err = {0};
    struct matrix mixed = {0};
    assert_true(matrix_init(&mixed, rows->rows, rows->cols, &err));
    for (size_t i = 0; i < rows->rows; i++)
        memcpy(matrix_row(&mixed, i), matrix_row(rows, i * 1009 % rows->rows),
               rows->cols * sizeof(double));
    matrix_clear(rows);
    *rows = mixed;
}

static void learn_california(shift moved)
{
    struct error err = {0};
    const char *table = find_table();
    struct loop *l = calloc(1, sizeof *l);
    assert_non_null(l);
    begin(l);
    (void)snprintf(l->champion, sizeof l->champion, "model/california-housing.json");
    struct model *champion = model_load_path(l->champion, &err);
    assert_non_null(champion);
    l->features = model_feature_count(champion);
    read_table(l, champion, table);
    mix(&l->rows);
    model_free(champion);
    retrain_on(l, "california-housing", 300, 1200, moved);
    assert_contains(l->output, "{\"reason\":\"before_shift\",\"rows\":");
    expect_better(l);
    end(l);
}

static void house_values_that_are_all_higher_are_learnt(void **state)
{
    (void)state;
    learn_california(higher);
}

static void house_values_that_are_higher_in_the_north_are_learnt(void **state)
{
    (void)state;
    learn_california(higher_in_the_north);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_shift_is_learnt_and_what_was_before_is_left_out),
    cmocka_unit_test(where_nothing_has_changed_no_challenger_passes),
    cmocka_unit_test(too_few_true_values_are_told_by_the_exit_code),
    cmocka_unit_test(house_values_that_are_all_higher_are_learnt),
    cmocka_unit_test(house_values_that_are_higher_in_the_north_are_learnt),
};

T_MAIN(tests)
