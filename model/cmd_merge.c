/* ridge merge: the model of all shards' rows from their statistics, or its intervals from those of its
 * residuals. */
#include "model/cmd.h"

#include "model/merge.h"
#include "model/model_file.h"

#include <math.h>
#include <string.h>

static bool read_choice(const char *text, struct merge_options *merge, struct error *err)
{
    if (text != NULL && strcmp(text, "map") == 0) {
        merge->choice = MERGE_MAP;
        return true;
    }
    bool ok = cmd_read_penalty(text, &merge->penalty);
    merge->choice = isnan(merge->penalty) ? MERGE_AUTO : MERGE_GIVEN;
    return ok || error_set(err, ERR_INVALID,
                           "--penalty: expected auto, map or a number >= 0, got \"%.64s\"", text);
}

static int run(const struct cmd_options *o, struct error *err)
{
    struct cmd_progress progress = {0};
    struct merge_options options = {.parts = o->positional.items,
                                    .part_count = o->positional.count,
                                    .subtracted = o->subtract.items,
                                    .subtracted_count = o->subtract.count,
                                    .name = o->name,
                                    .version = o->version,
                                    .date = o->date,
                                    .progress = cmd_progress_shown() ? cmd_show_progress : NULL,
                                    .progress_ctx = &progress};
    if (!read_choice(o->penalty, &options, err))
        return CMD_USAGE;
    struct model *model = merge(&options, err);
    cmd_clear_progress(&progress);
    bool ok = model != NULL && model_save_path(model, o->out, err);
    model_free(model);
    return ok ? CMD_OK : CMD_FAILED;
}

const struct command cmd_merge = {
    .name = "merge",
    .summary =
        "Makes the model of all rows from the statistics of parts of them, or, from those of "
        "its residuals, gives it intervals.",
    .positional = "PART",
    .many = true,
    .run = run,
    .options = {
        {"out", "FILE", "the artifact; replaced only when all went well", CMD_TEXT, CMD_AT(out),
         true},
        {"subtract", "PARTS", "statistics of rows to forget; comma-separated, repeatable", CMD_LIST,
         CMD_AT(subtract), false},
        {"penalty", "X",
         "ridge penalty; auto chooses it by leave-one-part-out, map keeps the map's (default auto)",
         CMD_TEXT, CMD_AT(penalty), false},
        {"name", "NAME", "the model's name (default the map's)", CMD_TEXT, CMD_AT(name), false},
        {"version", "VERSION", "its version (default the map's)", CMD_TEXT, CMD_AT(version), false},
        {"date", "DATE", "of the merge, for the card (default none)", CMD_TEXT, CMD_AT(date),
         false},
    }};
