/* ridge prepare: rows to retrain, choose and judge a model on, and what was dropped on the way. */
#include "model/cmd.h"

#include "model/model_file.h"
#include "model/prepare.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

static const double SHARE_DEFAULT = 0.2, MARGIN_DEFAULT = 1, MIN_ROWS_DEFAULT = 100;

static bool check_margin(const char *option, double value, struct error *err)
{
    return (value >= 0 && isfinite(value)) ||
           error_set(err, ERR_INVALID, "%s: expected a number >= 0, got %g", option, value);
}

static bool check_usage(const struct cmd_options *o, struct prepare_options *p, struct error *err)
{
    double recent = cmd_number_or(o->recent_rows, FEEDBACK_ROWS_MAX);
    double least = cmd_number_or(o->min_rows, MIN_ROWS_DEFAULT);
    p->selection = cmd_number_or(o->selection, SHARE_DEFAULT);
    p->validation = cmd_number_or(o->validation, SHARE_DEFAULT);
    p->margin = cmd_number_or(o->margin, MARGIN_DEFAULT);
    p->target_margin = cmd_number_or(o->target_margin, MARGIN_DEFAULT);
    if (!(p->selection > 0 && p->validation > 0 && p->selection + p->validation < 1))
        return error_set(err, ERR_INVALID,
                         "--selection and --validation: expected shares above 0, together below 1, "
                         "got %g and %g",
                         p->selection, p->validation);
    if (!cmd_check_count("--recent_rows", recent, 1, FEEDBACK_ROWS_MAX, err) ||
        !cmd_check_count("--min_rows", least, 1, FEEDBACK_ROWS_MAX, err) ||
        !check_margin("--margin", p->margin, err) ||
        !check_margin("--target_margin", p->target_margin, err))
        return false;
    p->recent_rows = (size_t)recent;
    p->min_rows = (size_t)least;
    return true;
}

/* ---- the report ---- */

static void put_drop(struct json_writer *w, const char *reason, const struct dropped *dropped)
{
    if (dropped->rows == 0)
        return;
    json_begin_object(w);
    json_key(w, "reason");
    json_put_string(w, reason);
    json_key(w, "rows");
    json_put_u64(w, dropped->rows);
    json_key(w, "first");
    json_put_string(w, dropped->first);
    json_end_object(w);
}

static void begin_file(struct json_writer *w, const char *path, uint64_t rows)
{
    json_begin_object(w);
    json_key(w, "file");
    json_put_string(w, path);
    json_key(w, "rows");
    json_put_u64(w, rows);
    json_key(w, "dropped");
    json_begin_array(w);
}

static void end_file(struct json_writer *w)
{
    json_end_array(w);
    json_end_object(w);
}

static void put_inputs(struct json_writer *w, const struct prepare_options *o,
                       const struct prepared *p)
{
    json_key(w, "read");
    json_begin_array(w);
    begin_file(w, o->base, p->base_rows);
    put_drop(w, feedback_drop_words[DROP_FEATURE_RANGE], &p->base_dropped);
    end_file(w);
    for (size_t i = 0; i < p->feedback.source_count; i++) {
        const struct feedback_source *source = &p->feedback.sources[i];
        begin_file(w, source->path, source->rows);
        for (size_t k = 0; k < FEEDBACK_DROPS; k++)
            put_drop(w, feedback_drop_words[k], &source->dropped[k]);
        end_file(w);
    }
    json_end_array(w);
}

static void put_slice(struct json_writer *w, const char *file, const struct prepared_slice *slice)
{
    json_begin_object(w);
    json_key(w, "file");
    json_put_string(w, file);
    json_key(w, "rows");
    json_put_u64(w, slice->rows);
    if (!isnan(slice->from)) {
        json_key(w, "from");
        json_put_number(w, slice->from);
        json_key(w, "to");
        json_put_number(w, slice->to);
    }
    if (slice->sha256[0] != '\0') {
        json_key(w, "sha256");
        json_put_string(w, slice->sha256);
    }
    json_end_object(w);
}

static bool report(const struct prepare_options *o, const struct prepared *p, struct error *err)
{
    struct json_writer w;
    if (!cmd_begin_report(&w, err))
        return false;
    put_inputs(&w, o, p);
    json_key(&w, "slices");
    json_begin_array(&w);
    for (size_t s = 0; s < SLICE_COUNT; s++)
        put_slice(&w, prepare_files[s], &p->slices[s]);
    json_end_array(&w);
    json_key(&w, "enough");
    json_put_bool(&w, p->enough);
    return cmd_end_report(&w, err);
}

/* ---- the command ---- */

static int too_few(const struct prepare_options *o, const struct prepared *p, struct error *err)
{
    size_t s = SLICE_FEEDBACK;
    while (s < SLICE_VALIDATION && p->slices[s].rows >= o->min_rows)
        s++;
    (void)error_set(err, ERR_INVALID,
                    "too few rows: expected at least %zu for %s, got %llu of %zu that can be used; "
                    "nothing was written",
                    o->min_rows, prepare_files[s], (unsigned long long)p->slices[s].rows,
                    p->feedback.count);
    return CMD_TOO_FEW;
}

static bool make_folder(const char *path, struct error *err)
{
    return mkdir(path, 0777) == 0 || errno == EEXIST ||
           error_set(err, ERR_INTERNAL, "%s: %s", path, strerror(errno));
}

static int run(const struct cmd_options *o, struct error *err)
{
    struct prepared prepared = {.enough = false};
    struct prepare_options options = {.base = o->data,
                                      .feedback = o->feedback.items,
                                      .feedback_count = o->feedback.count,
                                      .folder = o->out,
                                      .keep_before_shift = o->keep_before_shift};
    if (!check_usage(o, &options, err))
        return CMD_USAGE;
    struct model *champion = model_load_path(o->model, err);
    options.champion = champion;
    bool ok = champion != NULL && make_folder(o->out, err) && prepare(&options, &prepared, err) &&
              report(&options, &prepared, err);
    int code = !ok ? CMD_FAILED : prepared.enough ? CMD_OK : too_few(&options, &prepared, err);
    prepared_clear(&prepared);
    model_free(champion);
    return code;
}

const struct command cmd_prepare = {
    .name = "prepare",
    .summary =
        "Makes the rows to retrain a model on, to choose it by and to judge it by from feedback "
        "journals; exit code 3 if there are too few, and a report in JSON.",
    .run = run,
    .options = {
        {"model", "FILE", "the champion: its features and their ranges", CMD_TEXT, CMD_AT(model),
         true},
        {"data", "FILE", "CSV that it was trained on, or the like", CMD_TEXT, CMD_AT(data), true},
        {"feedback", "FILES", "journals from :feedback; comma-separated, repeatable", CMD_LIST,
         CMD_AT(feedback), true},
        {"out", "FOLDER", "for base.csv, feedback.csv, selection.csv, validation.csv", CMD_TEXT,
         CMD_AT(out), true},
        {"selection", "SHARE", "of the feedback, before the latest, for choosing (default 0.2)",
         CMD_NUMBER, CMD_AT(selection), false},
        {"validation", "SHARE", "of the feedback, the latest, for judging (default 0.2)",
         CMD_NUMBER, CMD_AT(validation), false},
        {"recent_rows", "N", "of the feedback, the latest, that are used (default all)", CMD_NUMBER,
         CMD_AT(recent_rows), false},
        {"keep_before_shift", "BOOL",
         "use rows from before the champion's errors changed, too (default false)", CMD_BOOLEAN,
         CMD_AT(keep_before_shift), false},
        {"min_rows", "N", "that every part of the feedback must have (default 100)", CMD_NUMBER,
         CMD_AT(min_rows), false},
        {"margin", "X",
         "by how many widths of the champion's range a feature may be outside it (default 1)",
         CMD_NUMBER, CMD_AT(margin), false},
        {"target_margin", "X", "the same for the target and its range in --data (default 1)",
         CMD_NUMBER, CMD_AT(target_margin), false},
    }};
