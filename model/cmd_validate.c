/* ridge validate: scores the model on rows with true values, compares with limits and a champion, and
 * says everything in one line of JSON. */
#include "model/cmd.h"

#include "base/json.h"
#include "model/model_file.h"
#include "model/model_score.h"

#include <math.h>
#include <string.h>

static const double CONFIDENCE_DEFAULT = 0.95, CONFIDENCE_MIN = 0.5, CONFIDENCE_MAX = 0.999;

/* The models and how they did; the second is the champion, if there is one. */
struct contest {
    const char *paths[2];
    struct model *models[2];
    struct dataset *data[2];
    struct model_figures figures[2];
    struct bootstrap gains; /* by how much the champion's errors are larger */
    double confidence, gain, gain_lower;
};

static bool open_contest(struct contest *c, const char *data, struct error *err)
{
    for (size_t i = 0; i < 2 && c->paths[i] != NULL; i++)
        if ((c->models[i] = model_load_path(c->paths[i], err)) == NULL ||
            (c->data[i] = dataset_new_path(data, CMD_ROWS_MAX, err)) == NULL)
            return false;
    return bootstrap_init(&c->gains, err);
}

static bool score(struct contest *c, struct error *err)
{
    if (c->models[1] == NULL)
        return model_score(c->models[0], c->data[0], &c->figures[0], err);
    const struct model *const models[2] = {c->models[0], c->models[1]};
    return model_score_pair(models, c->data, c->figures, &c->gains, err) &&
           bootstrap_bound(&c->gains, c->confidence, &c->gain, &c->gain_lower, err);
}

static void close_contest(struct contest *c)
{
    for (size_t i = 0; i < 2; i++) {
        model_free(c->models[i]);
        dataset_free(c->data[i]);
    }
    bootstrap_clear(&c->gains);
}

/* ---- the report ---- */

static void put_contender(struct json_writer *w, const char *role, const struct model *model,
                          const struct model_figures *figures)
{
    json_key(w, role);
    json_begin_object(w);
    json_key(w, "name");
    json_put_string(w, model_name(model));
    json_key(w, "version");
    json_put_string(w, model_version(model));
    json_key(w, "sha256");
    json_put_string(w, model_sha256(model));
    cmd_put_figures(w, figures);
    json_end_object(w);
}

static void begin_check(struct json_writer *w, const char *name, double limit, double value,
                        bool passed)
{
    json_begin_object(w);
    json_key(w, "check");
    json_put_string(w, name);
    json_key(w, "limit");
    json_put_number(w, limit);
    json_key(w, "value");
    json_put_number(w, value);
    json_key(w, "passed");
    json_put_bool(w, passed);
}

/* A limit that was not given, NAN, is no check. Returns whether the check, if any, has passed. */
static bool put_check(struct json_writer *w, const char *name, double limit, double value,
                      bool passed)
{
    if (isnan(limit))
        return true;
    begin_check(w, name, limit, value, passed);
    json_end_object(w);
    return passed;
}

/* A bound that could not be had is not above zero. */
static bool put_champion_check(struct json_writer *w, const struct contest *c)
{
    bool passed = c->gain_lower > 0;
    if (c->models[1] == NULL)
        return true;
    begin_check(w, "better_than_champion", 0, c->gain_lower, passed);
    json_key(w, "mean_gain");
    json_put_number(w, c->gain);
    json_key(w, "confidence");
    json_put_number(w, c->confidence);
    json_key(w, "resamples");
    json_put_u64(w, BOOTSTRAP_RESAMPLES);
    json_end_object(w);
    return passed;
}

/* An undefined R2 is not at least anything. */
static bool put_checks(struct json_writer *w, const struct cmd_options *o, const struct contest *c)
{
    const struct model_figures *figures = &c->figures[0];
    json_key(w, "checks");
    json_begin_array(w);
    bool mae = put_check(w, "max_mae", o->max_mae, figures->mae, figures->mae <= o->max_mae);
    bool r2 = put_check(w, "min_r2", o->min_r2, figures->r2, figures->r2 >= o->min_r2);
    bool champion = put_champion_check(w, c);
    json_end_array(w);
    return mae && r2 && champion;
}

static bool report(const struct cmd_options *o, const struct contest *c, bool *passed,
                   struct error *err)
{
    struct json_writer w;
    if (!cmd_begin_report(&w, err))
        return false;
    put_contender(&w, "model", c->models[0], &c->figures[0]);
    if (c->models[1] != NULL)
        put_contender(&w, "champion", c->models[1], &c->figures[1]);
    *passed = put_checks(&w, o, c);
    json_key(&w, "passed");
    json_put_bool(&w, *passed);
    return cmd_end_report(&w, err);
}

static bool check_usage(const struct cmd_options *o, double confidence, struct error *err)
{
    if (o->champion != NULL && strcmp(o->data, "-") == 0)
        return error_set(
            err, ERR_INVALID,
            "--data: expected a file, for the champion reads it too, got standard input");
    return (confidence >= CONFIDENCE_MIN && confidence <= CONFIDENCE_MAX) ||
           error_set(err, ERR_INVALID, "--confidence: expected %g to %g, got %g", CONFIDENCE_MIN,
                     CONFIDENCE_MAX, confidence);
}

static int run(const struct cmd_options *o, struct error *err)
{
    struct contest c = {.paths = {o->model, o->champion},
                        .confidence = cmd_number_or(o->confidence, CONFIDENCE_DEFAULT)};
    bool passed = false;
    if (!check_usage(o, c.confidence, err))
        return CMD_USAGE;
    bool ok = open_contest(&c, o->data, err) && score(&c, err) && report(o, &c, &passed, err);
    close_contest(&c);
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
        {"champion", "FILE", "artifact that the model must be better than on these rows", CMD_TEXT,
         CMD_AT(champion), false},
        {"confidence", "X", "that it is better, 0.5 to 0.999 (default 0.95)", CMD_NUMBER,
         CMD_AT(confidence), false},
        {"max_mae", "X", "largest mean absolute error that passes", CMD_NUMBER, CMD_AT(max_mae),
         false},
        {"min_r2", "X", "least R2 that passes", CMD_NUMBER, CMD_AT(min_r2), false},
    }};
