/* ridge stats: what the rows of one shard add to a fit, or how wrong the merged model is on them. */
#include "model/cmd.h"

#include "model/model_file.h"
#include "model/stats_file.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* How far the reading of the rows is. */
struct reading {
    struct cmd_progress progress;
    FILE *in;
    double bytes; /* of the file; NAN for what is no file */
};

static void show(void *ctx)
{
    struct reading *r = ctx;
    cmd_show_progress(&r->progress, "reading", (double)ftello(r->in) / r->bytes);
}

static FILE *open_file(const char *path, struct error *err)
{
    FILE *in = fopen(path, "rbe");
    if (in == NULL)
        (void)error_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_INTERNAL, "%s: %s", path,
                        strerror(errno));
    return in;
}

static bool load_map(const struct cmd_options *o, struct stats *s, struct error *err)
{
    size_t n;
    char *text = NULL;
    bool ok = false;
    FILE *in = open_file(o->map, err);
    if (in == NULL)
        return false;
    text = model_read_text(in, &n, err);
    ok = text != NULL && stats_init(s, o->residuals ? STATS_RESIDUALS : STATS_ROWS, text, n, err);
    if (!ok)
        error_prefix(err, "%s", o->map);
    free(text);
    (void)fclose(in);
    return ok;
}

static bool collect(const char *path, struct stats *s, struct error *err)
{
    struct stat status;
    struct reading r = {.in = strcmp(path, "-") == 0 ? stdin : open_file(path, err)};
    if (r.in == NULL)
        return false;
    bool file = fstat(fileno(r.in), &status) == 0 && S_ISREG(status.st_mode);
    r.bytes = file ? (double)status.st_size : NAN;
    struct dataset *ds = dataset_new(r.in, path, CMD_ROWS_MAX, err);
    bool ok = ds != NULL && stats_collect(s, ds, cmd_progress_shown() ? show : NULL, &r, err);
    cmd_clear_progress(&r.progress);
    dataset_free(ds);
    if (r.in != stdin)
        (void)fclose(r.in);
    return ok;
}

static int run(const struct cmd_options *o, struct error *err)
{
    struct stats s = {.columns = 0};
    bool ok = load_map(o, &s, err) && collect(o->data, &s, err) && stats_save_path(&s, o->out, err);
    stats_clear(&s);
    return ok ? CMD_OK : CMD_FAILED;
}

const struct command cmd_stats = {
    .name = "stats",
    .summary = "Sums up the rows of a CSV file, through a model's feature map, for ridge merge.",
    .run = run,
    .options = {
        {"map", "MODEL", "the artifact whose transforms and features are used", CMD_TEXT,
         CMD_AT(map), true},
        {"data", "FILE", "CSV with the features and the target; - is standard input", CMD_TEXT,
         CMD_AT(data), true},
        {"out", "FILE", "the statistics; replaced only when all went well", CMD_TEXT, CMD_AT(out),
         true},
        {"residuals", "BOOLEAN",
         "sum up the map's errors instead, on rows that it was not fitted to (default false)",
         CMD_BOOLEAN, CMD_AT(residuals), false},
    }};
