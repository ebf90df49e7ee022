/* Outgrowing one machine, as processes: the command lines of k8s/training/, and what ridge stats and ridge
 * merge say when they are used wrongly. */
#define _GNU_SOURCE /* realpath */
#include "model/interval.h"
#include "model/model_file.h"
#include "tests/support/process.h"
#include "tests/support/shards.h"
#include "tests/support/t.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SHARD_ROWS = 150, HOLDOUT_ROWS = 400, FRESH = 10000, COMMAND_MAX = 16, LINE_BYTES = 1024 };

static char output[1 << 16]; /* of the last run, stdout and stderr */

static void path_in(char *path, const char *folder, const char *name)
{
    (void)snprintf(path, LINE_BYTES, "%s/%s", folder, name);
}

/* Manifests say `ridge`, as the image has it. */
static void put_ridge_on_the_path(void)
{
    char path[LINE_BYTES], *folder = realpath(process_program("ridge"), NULL);
    assert_non_null(folder);
    *strrchr(folder, '/') = '\0';
    (void)snprintf(path, sizeof path, "%s:%s", folder, getenv("PATH"));
    assert_int_equal(setenv("PATH", path, 1), 0);
    free(folder);
}

static int make_folder(void **state)
{
    char *folder = calloc(1, 512);
    assert_non_null(folder);
    process_folder(folder, 512);
    put_ridge_on_the_path();
    /* Its threads are not instrumented, so that a race detector sees races in them that are none. */
    assert_int_equal(setenv("OPENBLAS_NUM_THREADS", "1", 1), 0);
    *state = folder;
    return 0;
}

static int remove_folder(void **state)
{
    process_remove(*state);
    free(*state);
    return 0;
}

/* ---- manifests ---- */

/* A Job: how many indices, and what each of them runs. */
struct job {
    char text[8192];
    size_t completions, count;
    char command[COMMAND_MAX][LINE_BYTES];
};

/* The rest of the line behind `key`, which begins the line but for spaces; NULL: no such line. */
static const char *find_line(const char *text, const char *key)
{
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += strspn(line, "\n ");
        if (strncmp(line, key, strlen(key)) == 0)
            return line + strlen(key);
    }
    return NULL;
}

/* Reads the block sequence under `command:`; its items are plain scalars. */
static void read_job(const char *name, struct job *job)
{
    char path[LINE_BYTES];
    *job = (struct job){.completions = 1};
    (void)snprintf(path, sizeof path, "k8s/training/%s.yaml", name);
    FILE *in = fopen(path, "rb");
    assert_non_null(in);
    assert_in_range(fread(job->text, 1, sizeof job->text - 1, in), 100, sizeof job->text - 2);
    (void)fclose(in);
    const char *completions = find_line(job->text, "completions:");
    if (completions != NULL)
        job->completions = strtoul(completions, NULL, 10);
    const char *line = find_line(job->text, "command:");
    assert_non_null(line);
    for (line += strspn(line, "\n "); strncmp(line, "- ", 2) == 0; line += strspn(line, "\n ")) {
        size_t n = strcspn(line, "\n");
        assert_true(job->count < COMMAND_MAX - 1 && n < LINE_BYTES);
        memcpy(job->command[job->count++], line + 2, n - 2);
        line += n;
    }
    assert_true(job->count > 1);
    assert_string_equal(job->command[0], "ridge"); /* the image has no shell */
}

/* Replaces every `from` in the line. */
static void replace(char *line, const char *from, const char *to)
{
    char result[LINE_BYTES] = "";
    const char *rest = line;
    for (const char *at; (at = strstr(rest, from)) != NULL; rest = at + strlen(from)) {
        size_t n = strlen(result);
        (void)snprintf(result + n, sizeof result - n, "%.*s%s", (int)(at - rest), rest, to);
    }
    size_t n = strlen(result);
    (void)snprintf(result + n, sizeof result - n, "%s", rest);
    memcpy(line, result, sizeof result);
}

static struct process *start_index(const struct job *job, size_t index, const char *folder)
{
    char line[COMMAND_MAX][LINE_BYTES], number[32];
    const char *argv[COMMAND_MAX] = {NULL};
    (void)snprintf(number, sizeof number, "%zu", index);
    for (size_t i = 0; i < job->count; i++) {
        memcpy(line[i], job->command[i], LINE_BYTES);
        replace(line[i], "$(JOB_COMPLETION_INDEX)", number);
        replace(line[i], "/training/", folder);
        argv[i] = line[i];
    }
    return process_start(argv);
}

/* All indices side by side, as a cluster would. */
static void run_job(const char *name, const char *folder)
{
    struct job job;
    struct process *pods[COMMAND_MAX];
    char slashed[LINE_BYTES];
    path_in(slashed, folder, "");
    read_job(name, &job);
    assert_in_range(job.completions, 1, COMMAND_MAX);
    for (size_t i = 0; i < job.completions; i++)
        pods[i] = start_index(&job, i, slashed);
    for (size_t i = 0; i < job.completions; i++) {
        int code = process_wait(pods[i], 60);
        if (code != 0 || pods[i]->n > 0)
            fail_msg("%s %zu: exit code %d: %s", name, i, code, pods[i]->text);
        process_free(pods[i]);
    }
}

static struct model *load(const char *folder, const char *name)
{
    struct error err = {0};
    char path[LINE_BYTES];
    path_in(path, folder, name);
    struct model *model = model_load_path(path, &err);
    if (model == NULL)
        fail_msg("%s", err.message);
    return model;
}

static size_t write_shards(const char *folder)
{
    struct job job;
    char path[LINE_BYTES], name[64];
    read_job("stats", &job);
    for (size_t i = 0; i < job.completions; i++) {
        (void)snprintf(name, sizeof name, "shard-%zu.csv", i);
        path_in(path, folder, name);
        shards_write(path, i * SHARD_ROWS, SHARD_ROWS);
        (void)snprintf(name, sizeof name, "holdout-%zu.csv", i);
        path_in(path, folder, name);
        shards_write(path, FRESH + i * HOLDOUT_ROWS, HOLDOUT_ROWS);
    }
    return job.completions;
}

static int run(const char *const *argv)
{
    return process_run(argv, output, sizeof output);
}
#define RIDGE(...) run((const char *const[]){"ridge", __VA_ARGS__, NULL})

static void assert_same_predictions(const struct model *a, const struct model *b)
{
    for (size_t i = 0; i < 500; i++) {
        double x[SHARDS_FEATURES], y[2];
        (void)shards_row(FRESH + i, x);
        model_predict(a, 1, x, &y[0]);
        model_predict(b, 1, x, &y[1]);
        assert_close(y[0], y[1], 1e-9);
    }
}

static void jobs_of_the_manifests_make_a_model_with_intervals(void **state)
{
    const char *folder = *state;
    char map[LINE_BYTES];
    struct error err = {0};
    double score, inside = 0;
    path_in(map, folder, "map.json");
    shards_write_map(map, MODEL_KERNEL, 0.5);
    size_t shards = write_shards(folder);
    run_job("stats", folder);
    run_job("merge", folder);
    struct model *merged = load(folder, "merged.json");
    assert_int_equal(model_card(merged)->rows, shards * SHARD_ROWS);
    assert_false(model_gives_intervals(merged));
    run_job("residuals", folder);
    run_job("intervals", folder);
    struct model *model = load(folder, "model.json");
    assert_int_equal(model_card(model)->holdout.rows, shards * HOLDOUT_ROWS);
    assert_true(model_card(model)->holdout.r2 > 0.8);
    assert_same_predictions(model, merged);
    assert_true(interval_score(model, 0.9, &score, &err));
    for (size_t i = 0; i < 5000; i++) {
        double x[SHARDS_FEATURES], y = shards_row(20000 + i, x), f, half;
        model_predict(model, 1, x, &f);
        interval_half_widths(model, score, 1, x, &half);
        inside += fabs(y - f) <= half;
    }
    assert_true(fabs(inside / 5000 - 0.9) < 0.03);
    model_free(merged);
    model_free(model);
}

static void manifests_meet_the_restricted_pod_security_standard(void **state)
{
    static const char *const names[] = {"stats", "merge", "residuals", "intervals"};
    static const char *const lines[] = {"runAsNonRoot: true", "type: RuntimeDefault",
                                        "allowPrivilegeEscalation: false", "drop: [ALL]",
                                        "readOnlyRootFilesystem: true"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct job job;
        read_job(names[i], &job);
        for (size_t k = 0; k < sizeof lines / sizeof *lines; k++)
            if (find_line(job.text, lines[k]) == NULL)
                fail_msg("%s.yaml: no %s", names[i], lines[k]);
    }
}

/* ---- the programs alone ---- */

/* Trains on all rows, then merges its shards at the same map and penalty. */
static void merge_predicts_what_train_predicts(void **state)
{
    const char *folder = *state;
    char all[LINE_BYTES], map[LINE_BYTES], out[LINE_BYTES], script[4 * LINE_BYTES];
    size_t shards = write_shards(folder);
    path_in(all, folder, "all.csv");
    path_in(map, folder, "map.json");
    path_in(out, folder, "again.json");
    shards_write(all, 0, shards * SHARD_ROWS);
    static const char *const features[] = {"--features=linear", "--centres=60"};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(
            RIDGE("train", "--data", all, "--target", "price", "--out", map, features[i]), 0);
        run_job("stats", folder);
        (void)snprintf(script, sizeof script,
                       "exec ridge merge '%s'/part-*.stats --penalty map --out '%s'", folder, out);
        assert_int_equal(run((const char *const[]){"sh", "-c", script, NULL}), 0);
        struct model *trained = load(folder, "map.json"), *again = load(folder, "again.json");
        assert_string_equal(model_kind(trained), i == 0 ? "linear" : "kernel");
        assert_same_predictions(trained, again);
        model_free(trained);
        model_free(again);
    }
}

static void expect(int code, int expected, const char *part)
{
    assert_contains(output, part);
    if (code != expected)
        fail_msg("exit code %d, expected %d:\n%s", code, expected, output);
}

static void wrong_use_is_told_apart_from_what_fails(void **state)
{
    const char *folder = *state;
    char map[LINE_BYTES], csv[LINE_BYTES], part[LINE_BYTES], out[LINE_BYTES];
    path_in(map, folder, "map.json");
    path_in(csv, folder, "rows.csv");
    path_in(part, folder, "part.stats");
    path_in(out, folder, "model.json");
    shards_write_map(map, MODEL_LINEAR, 1);
    shards_write(csv, 0, 40);
    expect(RIDGE("stats", "--data", csv, "--out", part), 2, "ridge stats: --map: expected");
    expect(RIDGE("stats", "--map", csv, "--data", csv, "--out", part), 1, "rows.csv: expected");
    expect(RIDGE("stats", "--map", map, "--data", part, "--out", part), 1, "part.stats: ");
    expect(RIDGE("stats", "--map", map, "--data", csv, "--out", part), 0, "");
    assert_string_equal(output, "");
    expect(RIDGE("merge", "--out", out), 2, "ridge merge: expected a PART");
    expect(RIDGE("merge", part), 2, "ridge merge: --out: expected");
    expect(RIDGE("merge", part, "--penalty", "-1", "--out", out), 2,
           "--penalty: expected auto, map or a number >= 0, got \"-1\"");
    expect(RIDGE("merge", part, "--out", out), 1, "expected two parts, got 1");
    expect(RIDGE("merge", part, csv, "--out", out), 1,
           "rows.csv: expected a statistics file of ridge stats");
    expect(RIDGE("merge", "--penalty", "3", "--name=houses", part, "--out", out), 0, "");
    struct model *model = load(folder, "model.json");
    assert_string_equal(model_name(model), "houses");
    assert_close(model_card(model)->penalty, 3, 0);
    model_free(model);
    expect(RIDGE("inspect", out), 0, "intervals      none\n");
    expect(RIDGE("merge", "--help"), 0, "usage: ridge merge PART... --out FILE");
}

static void stats_reads_a_pipe(void **state)
{
    const char *folder = *state;
    char map[LINE_BYTES], csv[LINE_BYTES], script[4 * LINE_BYTES];
    path_in(map, folder, "map.json");
    path_in(csv, folder, "rows.csv");
    shards_write_map(map, MODEL_LINEAR, 1);
    shards_write(csv, 0, 40);
    (void)snprintf(script, sizeof script,
                   "cd '%s' && cat rows.csv | ridge stats --map map.json --data - --out a && "
                   "ridge stats --map map.json --data rows.csv --out b && cmp a b",
                   folder);
    expect(run((const char *const[]){"sh", "-c", script, NULL}), 0, "");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
static const struct CMUnitTest tests[] = {
    CASE(jobs_of_the_manifests_make_a_model_with_intervals),
    CASE(manifests_meet_the_restricted_pod_security_standard),
    CASE(merge_predicts_what_train_predicts),
    CASE(wrong_use_is_told_apart_from_what_fails),
    CASE(stats_reads_a_pipe),
};

T_MAIN(tests)
