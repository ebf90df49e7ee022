/* ridge explain: the base, what every player adds to it, the prediction they come to. */
#include "model/cmd.h"

#include "model/csv.h"
#include "model/explain.h"
#include "model/model_file.h"
#include "model/model_score.h"

#include <stdlib.h>

struct explaining {
    const struct model *model;
    struct explainer *explainer;
    double *attributions; /* (MODEL_BLOCK_ROWS, players) */
    double y[MODEL_BLOCK_ROWS];
};

static void put_header(void *ctx)
{
    const struct explaining *e = ctx;
    csv_put_name(stdout, "base", ',');
    for (size_t k = 0; k < explainer_player_count(e->explainer); k++)
        csv_put_name(stdout, explainer_player_name(e->explainer, k), ',');
    csv_put_name(stdout, "prediction", '\n');
}

static bool put_rows(void *ctx, uint64_t first, size_t rows, const double *x, struct error *err)
{
    struct explaining *e = ctx;
    size_t players = explainer_player_count(e->explainer);
    const double *next = e->attributions;
    model_predict(e->model, rows, x, e->y);
    if (!explainer_run(e->explainer, rows, x, e->attributions, err))
        return false;
    for (size_t i = 0; i < rows; i++, next += players) {
        if (!cmd_check_finite(e->y[i], "prediction", first + i, err))
            return false;
        for (size_t k = 0; k < players; k++)
            if (!cmd_check_finite(next[k], "attribution", first + i, err))
                return false;
        csv_put_number(stdout, explainer_base(e->explainer), ',');
        for (size_t k = 0; k < players; k++)
            csv_put_number(stdout, next[k], ',');
        csv_put_number(stdout, e->y[i], '\n');
    }
    return true;
}

static bool explain_all(struct explaining *e, const char *path, struct error *err)
{
    e->explainer = explainer_new(e->model, err);
    if (e->explainer == NULL)
        return false;
    size_t players = explainer_player_count(e->explainer);
    e->attributions = calloc(MODEL_BLOCK_ROWS * players, sizeof *e->attributions);
    if (e->attributions == NULL)
        return error_set(err, ERR_NO_MEMORY, "out of memory");
    return cmd_each_block(e->model, path, &(struct cmd_rows){"explain", e, put_header, put_rows},
                          err);
}

static int run(const struct cmd_options *o, struct error *err)
{
    struct model *model = model_load_path(o->model, err);
    struct explaining e = {.model = model};
    bool ok = model != NULL && explain_all(&e, o->data, err);
    free(e.attributions);
    explainer_free(e.explainer);
    model_free(model);
    return ok ? CMD_OK : CMD_FAILED;
}

const struct command cmd_explain = {
    .name = "explain",
    .summary = "Explains every row of a CSV file: base + one attribution per input = prediction.",
    .run = run,
    .options = {
        {"model", "FILE", "the artifact", CMD_TEXT, CMD_AT(model), true},
        {"data", "FILE", "CSV with the features by name; - is standard input", CMD_TEXT,
         CMD_AT(data), true},
    }};
