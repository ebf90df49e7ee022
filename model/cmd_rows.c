/* What commands that answer every row of a CSV file with a line of CSV have in common. */
#include "model/cmd.h"

#include "model/model_score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void cmd_put_figures(struct json_writer *w, const struct model_figures *figures)
{
    json_key(w, "rows");
    json_put_u64(w, figures->rows);
    json_key(w, "mae");
    json_put_number(w, figures->mae);
    json_key(w, "rmse");
    json_put_number(w, figures->rmse);
    json_key(w, "r2");
    json_put_number(w, figures->r2);
}

bool cmd_begin_report(struct json_writer *w, struct error *err)
{
    struct arena *arena = arena_new(4096, 0);
    if (arena == NULL)
        return error_set(err, ERR_NO_MEMORY, "out of memory");
    json_writer_init(w, arena);
    json_begin_object(w);
    return true;
}

bool cmd_end_report(struct json_writer *w, struct error *err)
{
    struct span text;
    json_end_object(w);
    bool ok = json_writer_finish(w, &text) || error_set(err, ERR_NO_MEMORY, "out of memory");
    if (ok) {
        (void)fwrite(text.p, 1, text.n, stdout);
        (void)putchar('\n');
    }
    arena_free(w->arena);
    return ok;
}

bool cmd_check_finite(double value, const char *what, uint64_t row, struct error *err)
{
    return isfinite(value) ||
           error_set(err, ERR_NUMERIC, "row %llu: expected a finite %s, got none",
                     (unsigned long long)row, what);
}

static bool read_blocks(const struct model *model, struct dataset *ds, const struct cmd_rows *rows,
                        struct error *err)
{
    size_t n = MODEL_BLOCK_ROWS, clipped = 0;
    double *x = calloc(MODEL_BLOCK_ROWS * model_feature_count(model), sizeof *x);
    bool ok = x != NULL || error_set(err, ERR_NO_MEMORY, "out of memory");
    while (ok && n == MODEL_BLOCK_ROWS) {
        uint64_t first = dataset_rows(ds) + 1;
        ok = dataset_read(ds, MODEL_BLOCK_ROWS, x, &n, err) &&
             rows->block(rows->ctx, first, n, x, err);
        clipped += ok ? model_clipped(model, n, x) : 0;
    }
    if (ok && clipped > 0)
        (void)fprintf(
            stderr,
            "ridge %s: %zu values of %llu rows lay outside the range that the model keeps "
            "and were clipped to it\n",
            rows->command, clipped, (unsigned long long)dataset_rows(ds));
    free(x);
    return ok;
}

bool cmd_each_block(const struct model *model, const char *path, const struct cmd_rows *rows,
                    struct error *err)
{
    struct dataset *ds = dataset_new_path(path, CMD_ROWS_MAX, err);
    bool ok = ds != NULL && model_select(model, false, ds, err);
    if (ok) {
        rows->header(rows->ctx);
        ok = read_blocks(model, ds, rows, err);
    }
    dataset_free(ds);
    return ok;
}
