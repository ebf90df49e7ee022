/* ridge validate: scores the model on rows with true values, compares with limits and a champion, and
 * says everything in one line of JSON. */
#include "model/cmd.h"

#include "base/json.h"
#include "model/model_file.h"
#include "model/model_score.h"

#include <math.h>
#include <string.h>

/* A model and how it did. */
struct contender {
    struct model *model;
    struct model_figures figures;
};

static bool score(const char *model_path, const char *data, struct contender *c, struct error *err)
{
    struct dataset *ds = NULL;
    bool ok = (c->model = model_load_path(model_path, err)) != NULL &&
              (ds = dataset_new_path(data, CMD_ROWS_MAX, err)) != NULL &&
              model_score(c->model, ds, &c->figures, err);
    dataset_free(ds);
    return ok;
}

/* ---- the report ---- */

static void put_contender(struct json_writer *w, const char *role, const struct contender *c)
{
    json_key(w, role);
    json_begin_object(w);
    json_key(w, "name");
    json_put_string(w, model_name(c->model));
    json_key(w, "version");
    json_put_string(w, model_version(c->model));
    json_key(w, "sha256");
    json_put_string(w, model_sha256(c->model));
    json_key(w, "rows");
    json_put_u64(w, c->figures.rows);
    json_key(w, "mae");
    json_put_number(w, c->figures.mae);
    json_key(w, "rmse");
    json_put_number(w, c->figures.rmse);
    json_key(w, "r2");
    json_put_number(w, c->figures.r2);
    json_end_object(w);
}

/* A limit that was not given, NAN, is no check. Returns whether the check, if any, has passed. */
static bool put_check(struct json_writer *w, const char *name, double limit, double value,
                      bool passed)
{
    if (isnan(limit))
        return true;
    json_begin_object(w);
    json_key(w, "check");
    json_put_string(w, name);
    json_key(w, "limit");
    json_put_number(w, limit);
    json_key(w, "value");
    json_put_number(w, value);
    json_key(w, "passed");
    json_put_bool(w, passed);
    json_end_object(w);
    return passed;
}

/* An undefined R2 is not at least anything. */
static bool put_checks(struct json_writer *w, const struct cmd_options *o,
                       const struct model_figures *figures, double champion_mae)
{
    json_key(w, "checks");
    json_begin_array(w);
    bool mae = put_check(w, "max_mae", o->max_mae, figures->mae, figures->mae <= o->max_mae);
    bool r2 = put_check(w, "min_r2", o->min_r2, figures->r2, figures->r2 >= o->min_r2);
    bool champion =
        put_check(w, "champion_mae", champion_mae, figures->mae, figures->mae <= champion_mae);
    json_end_array(w);
    return mae && r2 && champion;
}

static bool report(const struct cmd_options *o, const struct contender *model,
                   const struct contender *champion, bool *passed, struct error *err)
{
    struct json_writer w;
    struct span text;
    struct arena *arena = arena_new(4096, 0);
    if (arena == NULL)
        return error_set(err, ERR_NO_MEMORY, "out of memory");
    json_writer_init(&w, arena);
    json_begin_object(&w);
    put_contender(&w, "model", model);
    if (champion->model != NULL)
        put_contender(&w, "champion", champion);
    *passed = put_checks(&w, o, &model->figures, champion->figures.mae);
    json_key(&w, "passed");
    json_put_bool(&w, *passed);
    json_end_object(&w);
    bool ok = json_writer_finish(&w, &text) || error_set(err, ERR_NO_MEMORY, "out of memory");
    if (ok) {
        (void)fwrite(text.p, 1, text.n, stdout);
        (void)putchar('\n');
    }
    arena_free(arena);
    return ok;
}

static int run(const struct cmd_options *o, struct error *err)
{
    struct contender model = {0}, champion = {.figures = {.mae = NAN}};
    bool passed = false;
    if (o->champion != NULL && strcmp(o->data, "-") == 0) {
        (void)error_set(
            err, ERR_INVALID,
            "--data: expected a file, for the champion reads it too, got standard input");
        return CMD_USAGE;
    }
    bool ok = score(o->model, o->data, &model, err) &&
              (o->champion == NULL || score(o->champion, o->data, &champion, err)) &&
              report(o, &model, &champion, &passed, err);
    model_free(model.model);
    model_free(champion.model);
    return ok && passed ? CMD_OK : CMD_FAILED;
}

const struct command cmd_validate = {
    .name = "validate",
    .summary =
        "Scores a model on rows with true values; exit code 0 passed, 1 failed, and a report "
        "in JSON.",
    .run = run,
    .options = {
        {"model", "FILE", "the artifact", CMD_TEXT, CMD_AT(model), true},
        {"data", "FILE", "CSV with the features and the target", CMD_TEXT, CMD_AT(data), true},
        {"champion", "FILE", "artifact whose MAE on the same rows the model's must not exceed",
         CMD_TEXT, CMD_AT(champion), false},
        {"max_mae", "X", "largest mean absolute error that passes", CMD_NUMBER, CMD_AT(max_mae),
         false},
        {"min_r2", "X", "least R2 that passes", CMD_NUMBER, CMD_AT(min_r2), false},
    }};
