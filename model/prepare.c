#include "model/prepare.h"

#include "model/csv.h"
#include "model/dataset.h"
#include "model/model_score.h"
#include "model/replace_file.h"
#include "model/shift.h"

#include <errno.h>
#include <math.h>
#include <sha2.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t BASE_ROWS_MAX = 1000000000;
static const double ERROR_MAX = 1e100;

const char *const prepare_files[SLICE_COUNT] = {"base.csv", "feedback.csv", "selection.csv",
                                                "validation.csv"};

bool prepare_path(const char *folder, enum prepare_slice slice, char path[PATH_MAX],
                  struct error *err)
{
    return snprintf(path, PATH_MAX, "%s/%s", folder, prepare_files[slice]) < PATH_MAX ||
           error_set(err, ERR_INVALID, "%.64s...: expected a shorter path", folder);
}

static bool no_memory(struct error *err)
{
    return error_set(err, ERR_NO_MEMORY, "prepare: out of memory");
}

/* ---- slices ---- */

/* A row, its request, and when the last true value for that request came. */
struct placed {
    struct feedback_row row;
    struct span request;
    double latest;
};

static int compare_numbers(double a, double b)
{
    return (a > b) - (a < b);
}

/* Rows of one request beside each other, its latest first. */
static int by_request(const void *x, const void *y)
{
    const struct placed *a = x, *b = y;
    int order = span_compare(a->request, b->request);
    return order != 0 ? order : compare_numbers(b->row.time, a->row.time);
}

static int by_latest(const void *x, const void *y)
{
    const struct placed *a = x, *b = y;
    int order = compare_numbers(a->latest, b->latest);
    if (order == 0)
        order = compare_numbers(a->row.time, b->row.time);
    return order != 0 ? order : span_compare(a->row.id, b->row.id);
}

/* The border nearest to `at` that parts no rows which belong together. */
static size_t nearest_border(const struct placed *rows, size_t count, size_t at)
{
    size_t before = at, after = at;
    while (before > 0 && before < count && rows[before].latest == rows[before - 1].latest)
        before--;
    while (after > 0 && after < count && rows[after].latest == rows[after - 1].latest)
        after++;
    return at - before <= after - at ? before : after;
}

bool prepare_cut(struct feedback_row *rows, size_t count, double selection, double validation,
                 size_t borders[2], struct error *err)
{
    struct placed *placed = calloc(count + 1, sizeof *placed);
    if (placed == NULL)
        return no_memory(err);
    for (size_t i = 0; i < count; i++)
        placed[i] = (struct placed){rows[i], feedback_request(rows[i].id), rows[i].time};
    qsort(placed, count, sizeof *placed, by_request);
    for (size_t i = 1; i < count; i++)
        if (span_compare(placed[i].request, placed[i - 1].request) == 0)
            placed[i].latest = placed[i - 1].latest;
    qsort(placed, count, sizeof *placed, by_latest);
    double n = (double)count;
    borders[0] = nearest_border(placed, count, (size_t)(n * (1 - selection - validation)));
    borders[1] = nearest_border(placed, count, (size_t)(n * (1 - validation)));
    for (size_t i = 0; i < count; i++)
        rows[i] = placed[i].row;
    free(placed);
    return true;
}

static void describe(const struct feedback_rows *f, size_t from, size_t to,
                     struct prepared_slice *slice)
{
    *slice = (struct prepared_slice){.rows = to - from, .from = NAN, .to = NAN};
    for (size_t i = from; i < to; i++) {
        slice->from = fmin(slice->from, f->rows[i].time);
        slice->to = fmax(slice->to, f->rows[i].time);
    }
}

/* ---- the base table ---- */

/* What a pass over the base table does with a block of rows(rows, features + 1). */
typedef bool (*base_block)(void *ctx, const double *table, size_t rows);

static bool read_base(const struct prepare_options *o, struct dataset *ds, base_block block,
                      void *ctx, struct error *err)
{
    size_t cols = model_feature_count(o->champion) + 1, rows = MODEL_BLOCK_ROWS;
    double *table = calloc(MODEL_BLOCK_ROWS * cols, sizeof *table);
    bool ok = table != NULL || no_memory(err);
    while (ok && rows == MODEL_BLOCK_ROWS)
        ok = dataset_read(ds, MODEL_BLOCK_ROWS, table, &rows, err) && block(ctx, table, rows);
    free(table);
    return ok;
}

/* The first pass. */
struct scan {
    struct prepared *out;
    double min, max; /* of the target */
};

static bool scan_block(void *ctx, const double *table, size_t rows)
{
    struct scan *s = ctx;
    const struct plausible *p = &s->out->plausible;
    for (size_t i = 0; i < rows; i++, table += p->features + 1) {
        size_t at = plausible_check(p, table, p->features);
        s->out->base_rows++;
        if (at < p->features) {
            dropped_add(&s->out->base_dropped, "row %llu: %.64s: expected %g to %g, got %g",
                        (unsigned long long)s->out->base_rows, plausible_column(p, at), p->low[at],
                        p->high[at], table[at]);
            continue;
        }
        s->out->slices[SLICE_BASE].rows++;
        s->min = fmin(s->min, table[p->features]);
        s->max = fmax(s->max, table[p->features]);
    }
    return true;
}

static bool scan_base(const struct prepare_options *o, struct dataset *ds, struct prepared *out,
                      struct error *err)
{
    struct scan s = {out, INFINITY, -INFINITY};
    out->slices[SLICE_BASE] = (struct prepared_slice){.from = NAN, .to = NAN};
    if (!model_select(o->champion, true, ds, err) || !read_base(o, ds, scan_block, &s, err))
        return false;
    if (out->slices[SLICE_BASE].rows == 0)
        return error_set(err, ERR_INVALID, "%s: expected a row that can be used", o->base);
    plausible_set_target(&out->plausible, s.min, s.max, o->target_margin);
    return true;
}

/* ---- files ---- */

/* What is written to one of them. */
struct writing {
    const struct prepare_options *options;
    struct prepared *out;
    struct dataset *base;
    size_t from, to; /* rows of the feedback */
    FILE *file;
};

static void put_header(const struct plausible *p, FILE *out)
{
    for (size_t j = 0; j <= p->features; j++)
        csv_put_name(out, plausible_column(p, j), j < p->features ? ',' : '\n');
}

static void put_row(const double *row, size_t features, FILE *out)
{
    for (size_t j = 0; j <= features; j++)
        csv_put_number(out, row[j], j < features ? ',' : '\n');
}

static bool check_written(FILE *out, struct error *err)
{
    return !ferror(out) || error_set(err, ERR_INTERNAL, "%s", strerror(errno));
}

static bool write_block(void *ctx, const double *table, size_t rows)
{
    const struct writing *w = ctx;
    const struct plausible *p = &w->out->plausible;
    for (size_t i = 0; i < rows; i++, table += p->features + 1)
        if (plausible_check(p, table, p->features) == p->features)
            put_row(table, p->features, w->file);
    return true;
}

static bool write_base(const void *ctx, FILE *out, struct error *err)
{
    struct writing w = *(const struct writing *)ctx;
    w.file = out;
    put_header(&w.out->plausible, out);
    return dataset_rewind(w.base, err) && read_base(w.options, w.base, write_block, &w, err) &&
           check_written(out, err);
}

static bool write_feedback(const void *ctx, FILE *out, struct error *err)
{
    const struct writing *w = ctx;
    put_header(&w->out->plausible, out);
    for (size_t i = w->from; i < w->to; i++)
        put_row(w->out->feedback.rows[i].values, w->out->plausible.features, out);
    return check_written(out, err);
}

static bool write_slice(const struct writing *w, enum prepare_slice slice, struct error *err)
{
    char path[PATH_MAX];
    if (!prepare_path(w->options->folder, slice, path, err) ||
        !replace_file(path, slice == SLICE_BASE ? write_base : write_feedback, w, err))
        return false;
    return SHA256File(path, w->out->slices[slice].sha256) != NULL ||
           error_set(err, ERR_INTERNAL, "%s: %s", path, strerror(errno));
}

static bool write_slices(const struct prepare_options *o, struct dataset *base,
                         const size_t borders[2], struct prepared *out, struct error *err)
{
    size_t ends[SLICE_COUNT] = {0, borders[0], borders[1], out->feedback.count};
    for (size_t s = 0; s < SLICE_COUNT; s++) {
        const struct writing w = {
            .options = o, .out = out, .base = base, .from = s > 0 ? ends[s - 1] : 0, .to = ends[s]};
        if (!write_slice(&w, (enum prepare_slice)s, err))
            return false;
    }
    return true;
}

/* ---- all of it ---- */

/* So many rows that every slice gets its least. */
static size_t enough_rows(const struct prepare_options *o)
{
    double least = fmin(fmin(o->selection, o->validation), 1 - o->selection - o->validation);
    return (size_t)ceil((double)o->min_rows / least);
}

/* An error that overflows is a very large one. */
static bool drop_before_shift(const struct prepare_options *o, struct feedback_rows *f,
                              struct error *err)
{
    double *errors = calloc(f->count + 1, sizeof *errors);
    size_t features = f->plausible->features;
    if (errors == NULL)
        return no_memory(err);
    for (size_t i = 0; i < f->count; i++) {
        model_predict(o->champion, 1, f->rows[i].values, &errors[i]);
        errors[i] = fabs(f->rows[i].values[features] - errors[i]);
        if (!(errors[i] <= ERROR_MAX))
            errors[i] = ERROR_MAX;
    }
    feedback_rows_drop_first(f, shift_find(errors, f->count, enough_rows(o)), DROP_BEFORE_SHIFT);
    free(errors);
    return true;
}

static bool read_feedback(const struct prepare_options *o, struct prepared *out, size_t borders[2],
                          struct error *err)
{
    struct feedback_rows *f = &out->feedback;
    if (!feedback_rows_init(f, &out->plausible, err))
        return false;
    for (size_t i = 0; i < o->feedback_count; i++)
        if (!feedback_rows_read_path(f, o->feedback[i], err))
            return false;
    feedback_rows_arrange(f, o->recent_rows);
    if (!o->keep_before_shift && !drop_before_shift(o, f, err))
        return false;
    if (!prepare_cut(f->rows, f->count, o->selection, o->validation, borders, err))
        return false;
    describe(f, 0, borders[0], &out->slices[SLICE_FEEDBACK]);
    describe(f, borders[0], borders[1], &out->slices[SLICE_SELECTION]);
    describe(f, borders[1], f->count, &out->slices[SLICE_VALIDATION]);
    out->enough = true;
    for (size_t s = SLICE_FEEDBACK; s < SLICE_COUNT; s++)
        out->enough = out->enough && out->slices[s].rows >= o->min_rows;
    return true;
}

bool prepare(const struct prepare_options *o, struct prepared *out, struct error *err)
{
    size_t borders[2];
    *out = (struct prepared){.enough = false};
    struct dataset *base = dataset_new_path(o->base, BASE_ROWS_MAX, err);
    bool ok = base != NULL && plausible_init(&out->plausible, o->champion, o->margin, err) &&
              scan_base(o, base, out, err) && read_feedback(o, out, borders, err) &&
              (!out->enough || write_slices(o, base, borders, out, err));
    dataset_free(base);
    return ok;
}

void prepared_clear(struct prepared *p)
{
    feedback_rows_clear(&p->feedback);
    plausible_clear(&p->plausible);
}
