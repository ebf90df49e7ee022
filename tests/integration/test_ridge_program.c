/* The model tool as people meet it: real files, pipes and a terminal; what it prints and its exit codes. */
#define _GNU_SOURCE /* forkpty */
#include "base/json.h"
#include "tests/support/process.h"
#include "tests/support/t.h"

#include <poll.h>
#include <pty.h>
#include <sha2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* y = 5 + 2a - 3b, and a column that is no feature */
static const char plane_csv[] = "a,b,id,y\n0,0,r1,5\n1,0,r2,7\n0,1,r3,2\n1,1,r4,4\n2,5,r5,-6\n";

/* A folder with plane.csv, where a case may make more. */
struct place {
    char folder[512];
    char csv[600], model[600], other[600], program[512];
};

static void write_file(const char *path, const char *text)
{
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    (void)fputs(text, out);
    assert_int_equal(fclose(out), 0);
}

static char *read_file(const char *path)
{
    char *text = calloc(1, 1 << 16);
    FILE *in = fopen(path, "rb");
    assert_true(text != NULL && in != NULL);
    assert_true(fread(text, 1, (1 << 16) - 1, in) > 0);
    (void)fclose(in);
    return text;
}

static int make_place(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    assert_non_null(p);
    process_folder(p->folder, sizeof p->folder);
    (void)snprintf(p->csv, sizeof p->csv, "%s/plane.csv", p->folder);
    (void)snprintf(p->model, sizeof p->model, "%s/model.json", p->folder);
    (void)snprintf(p->other, sizeof p->other, "%s/other", p->folder);
    (void)snprintf(p->program, sizeof p->program, "%s", process_program("ridge"));
    write_file(p->csv, plane_csv);
    *state = p;
    return 0;
}

static int remove_place(void **state)
{
    struct place *p = *state;
    process_remove(p->folder);
    free(p);
    return 0;
}

/* ---- running ---- */

enum { OUTPUT_MAX = 1 << 16 };
static char output[OUTPUT_MAX]; /* of the last run, stdout and stderr */

/* Runs ridge with the arguments up to NULL; the exit code. */
#define RIDGE(p, ...) run_ridge((const char *const[]){(p)->program, __VA_ARGS__, NULL})
static int run_ridge(const char *const *argv)
{
    return process_run(argv, output, sizeof output);
}

/* Runs a line of shell in which $r is the program and $1, $2 the arguments given. */
static int run_shell(const struct place *p, const char *script, const char *one, const char *two)
{
    const char *const argv[] = {"/bin/sh", "-c", script, "sh", one, two, NULL};
    assert_int_equal(setenv("r", p->program, 1), 0);
    return process_run(argv, output, sizeof output);
}

static void expect(int code, int expected_code, const char *part)
{
    assert_contains(output, part);
    if (code != expected_code)
        fail_msg("exit code %d, expected %d:\n%s", code, expected_code, output);
}

static void train_plane(const struct place *p)
{
    int code = RIDGE(p, "train", "--data", p->csv, "--target=y", "--drop", "id", "--penalty", "0",
                     "--out", p->model);
    expect(code, 0, "");
    assert_string_equal(output, "");
}

static cJSON *parse(const char *text)
{
    struct error err = {0};
    cJSON *tree = json_tree((struct span){text, strlen(text)}, &err);
    if (tree == NULL)
        fail_msg("%s in:\n%s", err.message, text);
    return tree;
}

static double number_at(const cJSON *object, const char *name)
{
    const cJSON *member = json_member(object, name);
    assert_non_null(member);
    assert_true(cJSON_IsNumber(member));
    return member->valuedouble;
}

/* ---- train ---- */

static void train_writes_a_sealed_artifact_and_nothing_else(void **state)
{
    struct place *p = *state;
    char sha256[SHA256_DIGEST_STRING_LENGTH];
    train_plane(p);
    char *text = read_file(p->model);
    cJSON *model = parse(text);
    (void)SHA256Data((const uint8_t *)plane_csv, strlen(plane_csv), sha256);
    assert_string_equal(json_member(model, "name")->valuestring, "model");
    assert_string_equal(json_member(model, "version")->valuestring, "1");
    assert_string_equal(json_member(json_member(model, "card"), "data_sha256")->valuestring,
                        sha256);
    assert_int_equal(cJSON_GetArraySize(json_member(model, "features")), 2);
    cJSON_Delete(model);
    free(text);
    assert_int_equal(run_shell(p, "ls -A \"$1\"", p->folder, NULL), 0);
    assert_string_equal(output, "model.json\nplane.csv\n");
}

static void train_takes_every_option(void **state)
{
    struct place *p = *state;
    expect(RIDGE(p, "train", "--data=x", "--data", p->csv, "--target", "y", "--drop=id,b", "--out",
                 p->model, "--name=planes", "--version", "2.1", "--features", "linear",
                 "--penalty=1.5", "--date", "2026-11-24", "--unit", "USD", "--holdout_data",
                 p->csv),
           0, "");
    expect(RIDGE(p, "inspect", p->model), 0, "planes, version 2.1");
    assert_contains(output, "5 rows, 2026-11-24, penalty 1.5");
    assert_contains(output, "y, in USD");
    assert_contains(output, "linear, 1 features");
    expect(RIDGE(p, "train", "--data", p->csv, "--target", "y", "--drop", "id", "--drop", "b",
                 "--out", p->model),
           0, "");
    expect(RIDGE(p, "inspect", p->model), 0, "linear, 1 features");
}

static void degenerate_data_gives_a_model_without_nan_or_a_named_error(void **state)
{
    struct place *p = *state;
    static const struct {
        const char *text, *message; /* NULL: a model */
    } cases[] = {
        {"a,b,y\n1,7,2\n2,7,4\n3,7,7\n", NULL},
        {"a,b,y\n7,7,2\n7,7,4\n", NULL},
        {"a,y\n1,3\n2,3\n3,3\n", NULL},
        {"a,b,c,d,y\n1,0,2,5,1\n0,1,4,5,2\n", NULL},
        {"a,b,y\n1,1,2\n2,2,4\n3,3,7\n", NULL},
        {"a,y\n1,2\n", "rows: leave-one-out needs at least 2, got 1"},
        {"a,y\n", "expected at least one row to train on"},
        {"y\n1\n2\n", "expected a column beside the target"},
        {"a,y\n1,2\ninf,3\n", "other:3: column \"a\": expected a number, got \"inf\""},
        {"a,y\n1,2\n2,nan\n", "other:3: column \"y\": expected a number, got \"nan\""},
        {"a,y\n1,2\n2,\n", "other:3: column \"y\": expected a number, got \"\""},
        {"a,y\n1e300,2\n-1e300,3\n", "expected numbers whose squares do not overflow"},
        {"a,y\n1,1e300\n2,-1e300\n3,1\n", "expected numbers whose squares do not overflow"},
        {"", "other:1: expected a header line, got an empty file"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        (void)unlink(p->model);
        write_file(p->other, cases[i].text);
        int code = RIDGE(p, "train", "--data", p->other, "--target", "y", "--out", p->model);
        if (cases[i].message != NULL) {
            expect(code, 1, cases[i].message);
            assert_int_equal(access(p->model, F_OK), -1);
            continue;
        }
        expect(code, 0, "");
        expect(RIDGE(p, "predict", "--model", p->model, "--data", p->other), 0, ",prediction\n");
        assert_null(strstr(output, "nan"));
        assert_null(strstr(output, "inf"));
    }
}

/* ---- what is written, or not ---- */

/* Two rows of so many columns that the artifact outgrows what ThreadSanitizer's runtime writes. */
static void write_wide(const char *path)
{
    enum { COLUMNS = 4000 };
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    for (int i = 0; i < COLUMNS; i++)
        (void)fprintf(out, "%0100d,", i);
    (void)fputs("y\n", out);
    for (int row = 0; row < 2; row++)
        for (int i = 0; i <= COLUMNS; i++)
            (void)fprintf(out, "%d%c", row, i < COLUMNS ? ',' : '\n');
    assert_int_equal(fclose(out), 0);
}

static void failed_save_leaves_the_old_file_and_nothing_else(void **state)
{
    struct place *p = *state;
    train_plane(p);
    write_wide(p->other);
    char *before = read_file(p->model);
    expect(run_shell(p, "ulimit -f 1200; $r train --data \"$1\" --target y --out \"$2\"", p->other,
                     p->model),
           1, "model.json: File too large");
    char *after = read_file(p->model);
    assert_string_equal(after, before);
    free(after);
    free(before);
    assert_int_equal(run_shell(p, "ls -A \"$1\"", p->folder, NULL), 0);
    assert_string_equal(output, "model.json\nother\nplane.csv\n");
}

static void output_that_cannot_be_a_file_is_named(void **state)
{
    struct place *p = *state;
    char path[700];
    assert_int_equal(mkdir(p->other, 0700), 0);
    expect(RIDGE(p, "train", "--data", p->csv, "--target", "y", "--drop", "id", "--out", p->other),
           1, "/other: Is a directory");
    (void)snprintf(path, sizeof path, "%s/none/model.json", p->folder);
    expect(RIDGE(p, "train", "--data", p->csv, "--target", "y", "--drop", "id", "--out", path), 1,
           "/none/: No such file or directory");
    (void)snprintf(path, sizeof path, "%s/model.json", p->csv);
    expect(RIDGE(p, "train", "--data", p->csv, "--target", "y", "--drop", "id", "--out", path), 1,
           "Not a directory");
    if (geteuid() != 0) { /* root may write anywhere */
        assert_int_equal(chmod(p->other, 0500), 0);
        (void)snprintf(path, sizeof path, "%s/model.json", p->other);
        expect(RIDGE(p, "train", "--data", p->csv, "--target", "y", "--drop", "id", "--out", path),
               1, "model.json: Permission denied");
    }
    assert_int_equal(run_shell(p, "ls -A \"$1\" \"$1/other\"", p->folder, NULL), 0);
    assert_null(strstr(output, "model.json"));
}

static void output_that_does_not_arrive_is_a_failure(void **state)
{
    struct place *p = *state;
    train_plane(p);
    expect(run_shell(p, "$r predict --model \"$1\" --data \"$2\" >/dev/full", p->model, p->csv), 1,
           "ridge: standard output: No space left on device");
    expect(run_shell(p, "$r inspect --json true \"$1\" >/dev/full", p->model, NULL), 1,
           "No space left on device");
}

/* ---- predict ---- */

static void predict_writes_the_features_and_the_prediction_last(void **state)
{
    struct place *p = *state;
    train_plane(p);
    /* other order, unknown columns, the target among them with nonsense in it */
    write_file(p->other, "y,b,name,a\r\n?,0,\"x, y\",0\r\nnan,0.1,,1e22\r\n,-0,z,123456.5\r\n");
    expect(RIDGE(p, "predict", "--model", p->model, "--data", p->other), 0, "");
    char *lines[4], *save;
    size_t n = 0;
    for (char *line = strtok_r(output, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save))
        lines[n < 4 ? n++ : 3] = line;
    assert_int_equal(n, 4);
    assert_string_equal(lines[0], "a,b,prediction");
    static const char *const features[] = {"0.0,0.0,", "1e+22,0.1,", "123456.5,-0.0,"};
    static const double expected[] = {5, 2e22, 246918};
    for (size_t i = 0; i < 3; i++) {
        assert_memory_equal(lines[i + 1], features[i], strlen(features[i]));
        assert_close(strtod(lines[i + 1] + strlen(features[i]), NULL), expected[i], 1e-12);
    }
}

static void predict_reads_standard_input_and_quotes_names(void **state)
{
    struct place *p = *state;
    write_file(p->other, "\"a, \"\"x\"\"\",y\n1,2\n2,4\n3,6.5\n");
    expect(RIDGE(p, "train", "--data", p->other, "--target", "y", "--out", p->model), 0, "");
    expect(RIDGE(p, "predict", "--model", p->model, "--data", p->other), 0, "");
    char *from_file = strdup(output);
    assert_non_null(from_file);
    assert_memory_equal(output, "\"a, \"\"x\"\"\",prediction\n1.0,",
                        strlen("\"a, \"\"x\"\"\",prediction\n1.0,"));
    expect(run_shell(p, "cat \"$2\" | $r predict --model \"$1\" --data -", p->model, p->other), 0,
           "");
    assert_string_equal(output, from_file);
    /* what it wrote, it reads: the prediction is a column it does not know */
    expect(run_shell(p,
                     "$r predict --model \"$1\" --data \"$2\" | $r predict --model \"$1\" --data -",
                     p->model, p->other),
           0, "");
    assert_string_equal(output, from_file);
    free(from_file);
}

static void predict_gives_one_line_a_row_through_many_blocks(void **state)
{
    struct place *p = *state;
    train_plane(p);
    for (int rows = 1023; rows <= 2049; rows += rows == 1023 || rows == 1024 ? 1 : 1024) {
        FILE *out = fopen(p->other, "w");
        assert_non_null(out);
        (void)fputs("b,a\n", out);
        for (int i = 0; i < rows; i++)
            (void)fprintf(out, "0,%d\n", i);
        (void)fclose(out);
        expect(run_shell(
                   p,
                   "$r predict --model \"$1\" --data \"$2\" | awk -F, '"
                   "NR > 1 && ($1 != NR - 2 || $3 < 5 + 2 * $1 - 1e-6 || $3 > 5 + 2 * $1 + 1e-6) "
                   "{ print \"bad: \" $0 } END { print NR }'",
                   p->model, p->other),
               0, "");
        assert_int_equal(strtol(output, NULL, 10), rows + 1);
    }
    write_file(p->other, "b,a\n");
    expect(RIDGE(p, "predict", "--model", p->model, "--data", p->other), 0, "");
    assert_string_equal(output, "a,b,prediction\n");
}

static void predict_names_the_cell_the_column_and_the_row_it_cannot_use(void **state)
{
    struct place *p = *state;
    train_plane(p);
    write_file(p->other, "a,b\n1,2\n1,x\n");
    expect(RIDGE(p, "predict", "--model", p->model, "--data", p->other), 1,
           "other:3: column \"b\": expected a number, got \"x\"");
    write_file(p->other, "a,B\n1,2\n");
    expect(RIDGE(p, "predict", "--model", p->model, "--data", p->other), 1,
           "other:1: expected a column \"b\", got none");
    assert_null(strstr(output, "prediction\n"));
    write_file(p->other, "a,b\n1,2\n1.7e308,-1.7e308\n");
    expect(RIDGE(p, "predict", "--model", p->model, "--data", p->other), 1,
           "row 2: expected a finite prediction, got none");
    expect(RIDGE(p, "predict", "--model", p->csv, "--data", p->csv), 1, "plane.csv: ");
    expect(RIDGE(p, "predict", "--model", "/nonexistent", "--data", p->csv), 1,
           "/nonexistent: No such file or directory");
}

/* ---- validate ---- */

/* plane.csv with every y one more: MAE 1, RMSE 1, R2 1 - 5 / 101.2 */
static const char shifted_csv[] = "y,x,b,a\n6,,0,0\n8,,0,1\n3,,1,0\n5,,1,1\n-5,,5,2\n";

static void validate_reports_in_json_and_by_exit_code(void **state)
{
    struct place *p = *state;
    static const struct {
        const char *option, *value, *check;
        int code;
    } cases[] = {{"--max_mae", "1.0001", "max_mae", 0}, {"--max_mae", "0.9999", "max_mae", 1},
                 {"--min_r2", "0.95", "min_r2", 0},     {"--min_r2", "0.953", "min_r2", 1},
                 {"--max_mae", "0", "max_mae", 1},      {"--min_r2", "-1", "min_r2", 0}};
    train_plane(p);
    write_file(p->other, shifted_csv);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect(RIDGE(p, "validate", "--model", p->model, "--data", p->other, cases[i].option,
                     cases[i].value),
               cases[i].code, "");
        cJSON *report = parse(output);
        const cJSON *model = json_member(report, "model"),
                    *check = json_member(report, "checks")->child;
        assert_close(number_at(model, "rows"), 5.0, 0);
        assert_close(number_at(model, "mae"), 1.0, 1e-12);
        assert_close(number_at(model, "rmse"), 1.0, 1e-12);
        assert_close(number_at(model, "r2"), 1 - 5 / 101.2, 1e-12);
        assert_int_equal(strlen(json_member(model, "sha256")->valuestring), 64);
        assert_string_equal(json_member(check, "check")->valuestring, cases[i].check);
        assert_close(number_at(check, "limit"), strtod(cases[i].value, NULL), 0);
        assert_int_equal(cJSON_IsTrue(json_member(check, "passed")), cases[i].code == 0);
        assert_int_equal(cJSON_IsTrue(json_member(report, "passed")), cases[i].code == 0);
        assert_null(check->next);
        cJSON_Delete(report);
    }
}

static void validate_without_limits_passes(void **state)
{
    struct place *p = *state;
    train_plane(p);
    expect(RIDGE(p, "validate", "--model", p->model, "--data", p->csv), 0,
           "\"checks\":[],\"passed\":true}\n");
}

/* rows rows of y = 5 + 2a - 3b + error, errors of both signs. */
static void write_rows(const char *path, int rows)
{
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    (void)fputs("a,b,y\n", out);
    for (int i = 0; i < rows; i++)
        (void)fprintf(out, "%d,%d,%.17g\n", i % 7, i % 5,
                      5 + 2 * (i % 7) - 3 * (i % 5) + 0.01 * (i % 11 - 5));
    assert_int_equal(fclose(out), 0);
}

static void validate_asks_for_a_model_that_is_surely_better_than_the_champion(void **state)
{
    struct place *p = *state;
    char worse[600];
    train_plane(p);
    (void)snprintf(worse, sizeof worse, "%s/worse.json", p->folder);
    expect(RIDGE(p, "train", "--data", p->csv, "--target=y", "--drop=id", "--penalty=5", "--out",
                 worse, "--name=worse"),
           0, "");
    write_rows(p->other, 100);
    expect(RIDGE(p, "validate", "--model", worse, "--data", p->other, "--champion", p->model), 1,
           "\"check\":\"better_than_champion\",\"limit\":0.0,\"value\":-");
    expect(RIDGE(p, "validate", "--model", p->model, "--data", p->other, "--champion", worse), 0,
           "\"champion\":{\"name\":\"worse\"");
    assert_contains(output, "\"confidence\":0.95,\"resamples\":9999");
    cJSON *report = parse(output);
    const cJSON *check = json_member(report, "checks")->child;
    double gain = number_at(check, "mean_gain"), lower = number_at(check, "value");
    assert_close(gain,
                 number_at(json_member(report, "champion"), "mae") -
                     number_at(json_member(report, "model"), "mae"),
                 1e-9);
    assert_true(lower > 0 && lower < gain);
    cJSON_Delete(report);
    expect(RIDGE(p, "validate", "--model", p->model, "--data", p->other, "--champion", worse,
                 "--confidence=0.99"),
           0, "\"confidence\":0.99");
    /* as good as the champion is not better */
    expect(RIDGE(p, "validate", "--model", worse, "--data", p->other, "--champion", worse), 1,
           "\"value\":0.0,\"passed\":false");
    /* of five rows nothing is sure */
    expect(RIDGE(p, "validate", "--model", p->model, "--data", p->csv, "--champion", worse), 1,
           "\"value\":null,\"passed\":false");
}

static void undefined_r2_is_null_and_passes_no_limit(void **state)
{
    struct place *p = *state;
    train_plane(p);
    write_file(p->other, "a,b,y\n0,0,5\n3,2,5\n");
    expect(RIDGE(p, "validate", "--model", p->model, "--data", p->other, "--min_r2", "-1e300"), 1,
           "\"r2\":null");
    assert_contains(output, "\"value\":null,\"passed\":false");
}

static void validate_fails_where_there_is_nothing_to_score(void **state)
{
    struct place *p = *state;
    train_plane(p);
    write_file(p->other, "a,b\n1,2\n");
    expect(RIDGE(p, "validate", "--model", p->model, "--data", p->other), 1,
           "other:1: expected a column \"y\", got none");
    write_file(p->other, "a,b,y\n");
    expect(RIDGE(p, "validate", "--model", p->model, "--data", p->other), 1,
           "expected at least one row to score");
    expect(
        RIDGE(p, "validate", "--model", p->model, "--data", p->csv, "--champion", "/nonexistent"),
        1, "/nonexistent: No such file or directory");
}

/* ---- inspect ---- */

static void inspect_shows_or_gives_back_the_artifact(void **state)
{
    struct place *p = *state;
    train_plane(p);
    char *artifact = read_file(p->model);
    expect(RIDGE(p, "inspect", p->model), 0, "holdout        not measured");
    assert_contains(output, "leave-one-out  MAE ");
    assert_contains(output, "intercept");
    expect(RIDGE(p, "inspect", "--json", "true", p->model), 0, "");
    assert_string_equal(output, artifact);
    expect(RIDGE(p, "inspect", p->model, "--json=yes"), 0, "");
    assert_string_equal(output, artifact);
    *strstr(artifact, "\"y\"") = ' ';
    write_file(p->model, artifact);
    expect(RIDGE(p, "inspect", p->model), 1, "model.json: ");
    free(artifact);
}

/* ---- the command line ---- */

static void wrong_command_lines_are_refused_with_the_usage(void **state)
{
    struct place *p = *state;
    static const struct {
        const char *arguments[8];
        const char *message;
    } cases[] = {
        {{"predict", "--model", "m", "--data", "d", "--out", "x"}, "--out: unknown option"},
        {{"predict", "--model", "m", "--dat", "d"}, "--dat: unknown option"},
        {{"predict", "--model", "m", "--dat=d"}, "--dat=d: unknown option"},
        {{"predict", "--model", "m"}, "--data: expected, not given"},
        {{"predict", "--model", "m", "--data"}, "--data: expected a value"},
        {{"predict", "--model", "m", "--data", "d", "e"}, "e: unexpected argument"},
        {{"predict", "-x"}, "-x: unknown option"},
        {{"predict", "--help=yes"}, "--help=yes: unknown option"},
        {{"predict", "--hel"}, "--hel: unknown option"},
        {{"inspect"}, "expected a MODEL"},
        {{"inspect", "m", "n"}, "n: unexpected argument"},
        {{"inspect", "m", "--json", "maybe"}, "--json: expected true or false, got \"maybe\""},
        {{"validate", "--model", "m", "--data", "d", "--max_mae", "nan"},
         "--max_mae: expected a number, got \"nan\""},
        {{"validate", "--model", "m", "--data", "-", "--champion", "c"},
         "--data: expected a file, for the champion reads it too, got standard input"},
        {{"validate", "--model", "m", "--data", "d", "--confidence=1"},
         "--confidence: expected 0.5 to 0.999, got 1"},
        {{"prepare", "--model=m", "--data=d", "--feedback=f", "--out=o", "--selection=0.5",
          "--validation=0.5"},
         "--selection and --validation: expected shares above 0, together below 1"},
        {{"prepare", "--model=m", "--data=d", "--feedback=f", "--out=o", "--margin=-1"},
         "--margin: expected a number >= 0, got -1"},
        {{"prepare", "--model=m", "--data=d", "--feedback=f", "--out=o", "--min_rows=0"},
         "--min_rows: expected 1 to 4000000, got 0"},
        {{"prepare", "--model=m", "--data=d", "--feedback=f", "--out=o", "--recent_rows=1.5"},
         "--recent_rows: expected 1 to 4000000, got 1.5"},
        {{"prepare", "--model=m", "--data=d", "--out=o"}, "--feedback: expected, not given"},
        {{"retrain", "--champion=m", "--data=d", "--out=o"}, "--version: expected, not given"},
        {{"retrain", "--champion=m", "--data=d", "--out=o", "--version=2", "--centres=0"},
         "--centres: expected 1 to 16384, got 0"},
        {{"validate", "--model", "m", "--data", "d", "--min_r2="},
         "--min_r2: expected a number, got \"\""},
        {{"train", "--data=d", "--target=y", "--out=o", "--penalty=-1"},
         "--penalty: expected auto or a number >= 0, got \"-1\""},
        {{"train", "--data=d", "--target=y", "--out=o", "--features=quadratic"},
         "--features: expected"},
        {{"train", "--data=d", "--target=y", "--out=o", "--drop=a,,b"},
         "--drop: expected names between the commas"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *argv[10] = {p->program};
        for (size_t j = 0; j < 8 && cases[i].arguments[j] != NULL; j++)
            argv[j + 1] = cases[i].arguments[j];
        expect(run_ridge(argv), 2, cases[i].message);
        assert_contains(output, "\nusage: ridge ");
    }
    expect(RIDGE(p, "tarin"), 2, "ridge: tarin: unknown command\nusage: ridge COMMAND");
    expect(run_ridge((const char *const[]){p->program, NULL}), 2, "usage: ridge COMMAND");
}

static void help_and_version_say_what_there_is(void **state)
{
    struct place *p = *state;
    static const char *const commands[] = {"train",   "validate", "predict",
                                           "inspect", "prepare",  "retrain"};
    expect(RIDGE(p, "--help"), 0, "usage: ridge COMMAND");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        char line[64];
        (void)snprintf(line, sizeof line, "\n  %s ", commands[i]);
        expect(RIDGE(p, "--help"), 0, line);
        (void)snprintf(line, sizeof line, "usage: ridge %s ", commands[i]);
        expect(RIDGE(p, commands[i], "--help"), 0, line);
        /* help wins over what is missing and what is behind it */
        expect(RIDGE(p, commands[i], "--help", "--nonsense"), 0, line);
    }
    expect(RIDGE(p, "--version"), 0, "ridge ");
}

/* ---- progress ---- */

/* Runs train with its stderr on a terminal, its stdout in a file; what the terminal was sent. */
static int train_on_a_terminal(const struct place *p, char *screen, size_t capacity)
{
    int master, status = 0;
    size_t n = 0;
    pid_t pid = forkpty(&master, NULL, NULL, NULL);
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)execl(p->program, p->program, "train", "--data", p->csv, "--target", "y", "--drop",
                    "id", "--out", p->model, "--holdout_data", p->csv, (char *)NULL);
        _exit(127);
    }
    struct pollfd fd = {.fd = master, .events = POLLIN};
    while (n + 1 < capacity && poll(&fd, 1, 30000) > 0) {
        ssize_t got = read(master, screen + n, capacity - 1 - n);
        if (got <= 0)
            break; /* EIO: the other side is closed */
        n += (size_t)got;
    }
    screen[n] = '\0';
    (void)close(master); /* hangs it up if it still runs */
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void progress_shows_on_a_terminal_and_is_wiped_at_the_end(void **state)
{
    struct place *p = *state;
    static char screen[4096];
    static const char wipe[] = "\r\033[K";
    assert_int_equal(train_on_a_terminal(p, screen, sizeof screen), 0);
    assert_contains(screen, "\r\033[Kreading");
    assert_contains(screen, "\r\033[Kfitting ");
    assert_contains(screen, " %, ");
    assert_contains(screen, " s left");
    assert_contains(screen, "\r\033[Kmeasuring");
    assert_null(strchr(screen, '\n'));
    size_t n = strlen(screen);
    assert_true(n > strlen(wipe));
    assert_string_equal(screen + n - strlen(wipe), wipe);
    assert_int_equal(access(p->model, R_OK), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_place, remove_place)

static const struct CMUnitTest tests[] = {
    CASE(train_writes_a_sealed_artifact_and_nothing_else),
    CASE(train_takes_every_option),
    CASE(degenerate_data_gives_a_model_without_nan_or_a_named_error),
    CASE(failed_save_leaves_the_old_file_and_nothing_else),
    CASE(output_that_cannot_be_a_file_is_named),
    CASE(output_that_does_not_arrive_is_a_failure),
    CASE(predict_writes_the_features_and_the_prediction_last),
    CASE(predict_reads_standard_input_and_quotes_names),
    CASE(predict_gives_one_line_a_row_through_many_blocks),
    CASE(predict_names_the_cell_the_column_and_the_row_it_cannot_use),
    CASE(validate_reports_in_json_and_by_exit_code),
    CASE(validate_without_limits_passes),
    CASE(validate_asks_for_a_model_that_is_surely_better_than_the_champion),
    CASE(undefined_r2_is_null_and_passes_no_limit),
    CASE(validate_fails_where_there_is_nothing_to_score),
    CASE(inspect_shows_or_gives_back_the_artifact),
    CASE(wrong_command_lines_are_refused_with_the_usage),
    CASE(help_and_version_say_what_there_is),
    CASE(progress_shows_on_a_terminal_and_is_wiped_at_the_end),
};

T_MAIN(tests)
