/* ridge retrain: tries several fits on what ridge prepare has made, and writes the best. */
#include "model/cmd.h"

#include "model/kernel.h"
#include "model/model_file.h"
#include "model/retrain.h"

#include <math.h>

static void put_candidate(struct json_writer *w, enum retrain_way way, const struct candidate *c)
{
    json_begin_object(w);
    json_key(w, "candidate");
    json_put_string(w, retrain_words[way]);
    if (c->model == NULL) {
        json_key(w, "error");
        json_put_string(w, c->error.message);
    } else {
        json_key(w, "kind");
        json_put_string(w, model_kind(c->model));
        json_key(w, "training_rows");
        json_put_u64(w, model_card(c->model)->rows);
        cmd_put_figures(w, &model_card(c->model)->holdout);
    }
    json_end_object(w);
}

static bool report(const struct cmd_options *o, const struct retrained *r, struct error *err)
{
    struct json_writer w;
    if (!cmd_begin_report(&w, err))
        return false;
    json_key(&w, "champion");
    json_begin_object(&w);
    cmd_put_figures(&w, &r->champion);
    json_end_object(&w);
    json_key(&w, "candidates");
    json_begin_array(&w);
    for (size_t i = 0; i < RETRAIN_WAYS; i++)
        put_candidate(&w, (enum retrain_way)i, &r->candidates[i]);
    json_end_array(&w);
    json_key(&w, "chosen");
    json_put_string(&w, retrain_words[r->winner]);
    json_key(&w, "out");
    json_put_string(&w, o->out);
    return cmd_end_report(&w, err);
}

static int run(const struct cmd_options *o, struct error *err)
{
    struct cmd_progress progress = {0};
    struct retrained retrained = {.winner = RETRAIN_PRIOR};
    if (!isnan(o->centres) && !cmd_check_count("--centres", o->centres, 1, KERNEL_CENTRES_MAX, err))
        return CMD_USAGE;
    struct model *champion = model_load_path(o->champion, err);
    if (champion == NULL)
        return CMD_FAILED;
    const struct retrain_options options = {
        .champion = champion,
        .folder = o->data,
        .name = o->name != NULL ? o->name : model_name(champion),
        .version = o->version,
        .date = o->date != NULL ? o->date : "",
        .centres = isnan(o->centres) ? 0 : (size_t)o->centres,
        .progress = cmd_progress_shown() ? cmd_show_progress : NULL,
        .progress_ctx = &progress};
    bool ok = retrain(&options, &retrained, err);
    cmd_clear_progress(&progress);
    ok = ok && model_save_path(retrained.candidates[retrained.winner].model, o->out, err) &&
         report(o, &retrained, err);
    retrained_clear(&retrained);
    model_free(champion);
    return ok ? CMD_OK : CMD_FAILED;
}

const struct command cmd_retrain = {
    .name = "retrain",
    .summary =
        "Fits several models to what ridge prepare has made, writes the one that is best on "
        "selection.csv, and a report in JSON.",
    .run = run,
    .options = {
        {"champion", "FILE", "the artifact that is served", CMD_TEXT, CMD_AT(champion), true},
        {"data", "FOLDER", "what ridge prepare has made", CMD_TEXT, CMD_AT(data), true},
        {"out", "FILE", "the artifact; replaced only when all went well", CMD_TEXT, CMD_AT(out),
         true},
        {"version", "VERSION", "of the new model", CMD_TEXT, CMD_AT(version), true},
        {"name", "NAME", "of the new model (default the champion's)", CMD_TEXT, CMD_AT(name),
         false},
        {"date", "DATE", "of training, for the card (default none)", CMD_TEXT, CMD_AT(date), false},
        {"centres", "N", "of the kernel, at most (default 4096)", CMD_NUMBER, CMD_AT(centres),
         false},
    }};
