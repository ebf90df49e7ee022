/* ridge train: opens the data, has the model trained, replaces the artifact. */
#include "model/cmd.h"

#include "model/kernel.h"
#include "model/model_file.h"
#include "model/model_train.h"

#include <math.h>
#include <string.h>

static const char *or_else(const char *text, const char *fallback)
{
    return text != NULL ? text : fallback;
}

static bool check_usage(const struct cmd_options *o, struct train_options *train, struct error *err)
{
    const char *features = or_else(o->features, "kernel");
    train->linear = strcmp(features, "linear") == 0;
    if (!train->linear && strcmp(features, "kernel") != 0)
        return error_set(err, ERR_INVALID, "--features: expected kernel or linear, got \"%.64s\"",
                         features);
    if (!isnan(o->centres)) {
        if (!cmd_check_count("--centres", o->centres, 1, KERNEL_CENTRES_MAX, err))
            return false;
        train->centres = (size_t)o->centres;
    }
    return cmd_read_penalty(o->penalty, &train->penalty) ||
           error_set(err, ERR_INVALID, "--penalty: expected auto or a number >= 0, got \"%.64s\"",
                     o->penalty);
}

static struct model *train_on_files(const struct cmd_options *o, const struct train_options *train,
                                    struct error *err)
{
    struct model *model = NULL;
    struct dataset *holdout = NULL, *ds = dataset_new_path(o->data, CMD_ROWS_MAX, err);
    if (ds == NULL)
        return NULL;
    if (o->holdout_data == NULL ||
        (holdout = dataset_new_path(o->holdout_data, CMD_ROWS_MAX, err)) != NULL)
        model = model_train(train, ds, holdout, err);
    dataset_free(holdout);
    dataset_free(ds);
    return model;
}

static int run(const struct cmd_options *o, struct error *err)
{
    struct cmd_progress progress = {0};
    struct train_options train = {.name = or_else(o->name, "model"),
                                  .version = or_else(o->version, "1"),
                                  .target = o->target,
                                  .unit = or_else(o->unit, ""),
                                  .date = or_else(o->date, ""),
                                  .dropped = o->drop.items,
                                  .dropped_count = o->drop.count,
                                  .progress = cmd_progress_shown() ? cmd_show_progress : NULL,
                                  .progress_ctx = &progress};
    if (!check_usage(o, &train, err))
        return CMD_USAGE;
    struct model *prior = NULL, *model = NULL;
    if (o->prior != NULL && (prior = model_load_path(o->prior, err)) == NULL)
        return CMD_FAILED;
    train.prior = prior;
    model = train_on_files(o, &train, err);
    cmd_clear_progress(&progress);
    bool ok = model != NULL && model_save_path(model, o->out, err);
    model_free(model);
    model_free(prior);
    return ok ? CMD_OK : CMD_FAILED;
}

const struct command cmd_train = {
    .name = "train",
    .summary = "Fits a model to the rows of a CSV file and writes its artifact.",
    .run = run,
    .options = {
        {"data", "FILE", "CSV with a header line", CMD_TEXT, CMD_AT(data), true},
        {"target", "COLUMN", "the column to predict", CMD_TEXT, CMD_AT(target), true},
        {"out", "FILE", "the artifact; replaced only when all went well", CMD_TEXT, CMD_AT(out),
         true},
        {"name", "NAME", "the model's name (default model)", CMD_TEXT, CMD_AT(name), false},
        {"version", "VERSION", "its version (default 1)", CMD_TEXT, CMD_AT(version), false},
        {"features", "KIND",
         "kernel (falls back to linear where that is as good) or linear (default kernel)", CMD_TEXT,
         CMD_AT(features), false},
        {"centres", "N", "of the kernel, at most (default 4096)", CMD_NUMBER, CMD_AT(centres),
         false},
        {"prior", "MODEL",
         "a model whose features are kept and whose coefficients the new ones stay near", CMD_TEXT,
         CMD_AT(prior), false},
        {"penalty", "X", "ridge penalty; auto chooses it by leave-one-out (default auto)", CMD_TEXT,
         CMD_AT(penalty), false},
        {"drop", "COLUMNS", "columns that are no features; comma-separated, repeatable", CMD_LIST,
         CMD_AT(drop), false},
        {"holdout_data", "FILE", "CSV the finished model is measured on", CMD_TEXT,
         CMD_AT(holdout_data), false},
        {"date", "DATE", "of training, for the card (default none)", CMD_TEXT, CMD_AT(date), false},
        {"unit", "UNIT", "of the target (default none)", CMD_TEXT, CMD_AT(unit), false},
    }};
