#include "model/retrain.h"

#include "model/model_score.h"
#include "model/prepare.h"

#include <errno.h>
#include <math.h>
#include <string.h>

static const uint64_t ROWS_MAX = 1000000000;

const char *const retrain_words[RETRAIN_WAYS] = {"prior", "feedback", "base_and_feedback"};

static struct dataset *open_slice(const struct retrain_options *o, enum prepare_slice slice,
                                  struct error *err)
{
    char path[PATH_MAX];
    return prepare_path(o->folder, slice, path, err) ? dataset_new_path(path, ROWS_MAX, err) : NULL;
}

/* ---- two files as one ---- */

static bool io_error(const char *path, struct error *err)
{
    return error_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_INTERNAL, "%s: %s", path,
                     strerror(errno));
}

/* Appends a file; all but its first line if it is not the first file. */
static bool append(FILE *to, const char *path, bool header, struct error *err)
{
    char buffer[1 << 14];
    size_t n = 1;
    FILE *in = fopen(path, "rb");
    if (in == NULL)
        return io_error(path, err);
    for (int c = 0; !header && c != '\n' && c != EOF;)
        c = getc(in);
    while (n > 0 && (n = fread(buffer, 1, sizeof buffer, in)) > 0)
        (void)fwrite(buffer, 1, n, to);
    bool ok = (!ferror(in) && !ferror(to)) || io_error(path, err);
    (void)fclose(in);
    return ok;
}

static bool same_columns(const struct retrain_options *o, struct error *err)
{
    struct dataset *a = open_slice(o, SLICE_BASE, err),
                   *b = a != NULL ? open_slice(o, SLICE_FEEDBACK, err) : NULL;
    bool ok = b != NULL;
    if (ok) {
        size_t n = dataset_column_count(a);
        bool same = dataset_column_count(b) == n;
        for (size_t j = 0; same && j < n; j++)
            same = strcmp(dataset_column_name(a, j), dataset_column_name(b, j)) == 0;
        ok = same || error_set(err, ERR_INVALID, "%s and %s: expected the same columns",
                               prepare_files[SLICE_BASE], prepare_files[SLICE_FEEDBACK]);
    }
    dataset_free(a);
    dataset_free(b);
    return ok;
}

/* base.csv and feedback.csv, in a file without a name. */
static FILE *join(const struct retrain_options *o, struct error *err)
{
    char base[PATH_MAX], feedback[PATH_MAX];
    if (!same_columns(o, err) || !prepare_path(o->folder, SLICE_BASE, base, err) ||
        !prepare_path(o->folder, SLICE_FEEDBACK, feedback, err))
        return NULL;
    FILE *joined = tmpfile();
    if (joined == NULL) {
        (void)io_error("temporary file", err);
        return NULL;
    }
    if (append(joined, base, true, err) && append(joined, feedback, false, err)) {
        if (fflush(joined) == 0 && fseeko(joined, 0, SEEK_SET) == 0)
            return joined;
        (void)io_error("temporary file", err);
    }
    (void)fclose(joined);
    return NULL;
}

/* ---- candidates ---- */

static struct model *train(const struct retrain_options *o, enum retrain_way way,
                           struct dataset *ds, struct error *err)
{
    const struct train_options options = {
        .name = o->name,
        .version = o->version,
        .target = model_target_name(o->champion),
        .unit = model_target_unit(o->champion),
        .date = o->date,
        .centres = o->centres,
        .penalty = NAN,
        .prior = way == RETRAIN_PRIOR ? o->champion : NULL,
        .progress = o->progress,
        .progress_ctx = o->progress_ctx,
    };
    struct dataset *holdout = open_slice(o, SLICE_SELECTION, err);
    struct model *model = holdout != NULL ? model_train(&options, ds, holdout, err) : NULL;
    dataset_free(holdout);
    return model;
}

static struct model *try_way(const struct retrain_options *o, enum retrain_way way,
                             struct error *err)
{
    FILE *joined = NULL;
    struct dataset *ds = NULL;
    if (way != RETRAIN_BOTH)
        ds = open_slice(o, SLICE_FEEDBACK, err);
    else if ((joined = join(o, err)) != NULL)
        ds = dataset_new(joined, "base.csv and feedback.csv", ROWS_MAX, err);
    struct model *model = ds != NULL ? train(o, way, ds, err) : NULL;
    dataset_free(ds);
    if (joined != NULL)
        (void)fclose(joined);
    return model;
}

static double mae_of(const struct candidate *c)
{
    return c->model != NULL ? model_card(c->model)->holdout.mae : INFINITY;
}

static bool score_champion(const struct retrain_options *o, struct model_figures *figures,
                           struct error *err)
{
    struct dataset *ds = open_slice(o, SLICE_SELECTION, err);
    bool ok = ds != NULL && model_score(o->champion, ds, figures, err);
    dataset_free(ds);
    return ok;
}

bool retrain(const struct retrain_options *o, struct retrained *out, struct error *err)
{
    *out = (struct retrained){.winner = RETRAIN_PRIOR};
    if (!score_champion(o, &out->champion, err))
        return false;
    for (size_t w = 0; w < RETRAIN_WAYS; w++) {
        struct candidate *c = &out->candidates[w];
        c->model = try_way(o, (enum retrain_way)w, &c->error);
        if (mae_of(c) < mae_of(&out->candidates[out->winner]))
            out->winner = (enum retrain_way)w;
    }
    if (out->candidates[out->winner].model != NULL)
        return true;
    *err = out->candidates[RETRAIN_PRIOR].error;
    error_prefix(err, "no candidate could be fitted; the first");
    return false;
}

void retrained_clear(struct retrained *r)
{
    for (size_t w = 0; w < RETRAIN_WAYS; w++)
        model_free(r->candidates[w].model);
    *r = (struct retrained){.winner = RETRAIN_PRIOR};
}
