/* Rows stream by in blocks of (features, target); the mean of y and the squares around it follow
 * Welford's recurrence, through a transform, which is that. */
#include "model/model_score.h"

#include "model/model_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct sums {
    double absolute, squares; /* of the errors */
    struct transform target;  /* its scale: sum of squares around the mean */
    uint64_t rows;
};

bool model_select(const struct model *model, bool target, struct dataset *ds, struct error *err)
{
    size_t n = model_feature_count(model);
    const char **names = malloc((n + 1) * sizeof *names);
    if (names == NULL)
        return error_set(err, ERR_NO_MEMORY, "out of memory");
    for (size_t j = 0; j < n; j++)
        names[j] = model_feature_name(model, j);
    names[n] = model_target_name(model);
    bool ok = dataset_select(ds, names, n + target, err);
    free(names);
    return ok;
}

/* Takes in rows of (features, target); x and f are room for the features and predictions. */
static void add_rows(const struct model *model, struct sums *sums, const double *table, size_t rows,
                     double *x, double *f)
{
    size_t n = model_feature_count(model);
    for (size_t i = 0; i < rows; i++)
        memcpy(x + i * n, table + i * (n + 1), n * sizeof *x);
    model_predict(model, rows, x, f);
    for (size_t i = 0; i < rows; i++) {
        double y = table[i * (n + 1) + n], error = y - f[i];
        sums->absolute += fabs(error);
        sums->squares += error * error;
        transform_learn(&sums->target, 1, sums->rows++, &y, 1);
    }
}

static bool sum_up(const struct model *model, struct dataset *ds, struct sums *sums,
                   struct error *err)
{
    size_t n = model_feature_count(model), rows = MODEL_BLOCK_ROWS;
    double *room = calloc(MODEL_BLOCK_ROWS * (2 * n + 2), sizeof *room);
    if (room == NULL)
        return error_set(err, ERR_NO_MEMORY, "out of memory");
    double *x = room + MODEL_BLOCK_ROWS * (n + 1), *f = x + MODEL_BLOCK_ROWS * n;
    bool ok = true;
    while (ok && rows == MODEL_BLOCK_ROWS) {
        ok = dataset_read(ds, MODEL_BLOCK_ROWS, room, &rows, err);
        if (ok)
            add_rows(model, sums, room, rows, x, f);
    }
    free(room);
    return ok;
}

bool model_score(const struct model *model, struct dataset *ds, struct model_figures *figures,
                 struct error *err)
{
    struct sums sums = {0};
    if (!model_select(model, true, ds, err) || !sum_up(model, ds, &sums, err))
        return false;
    double n = (double)sums.rows, around = sums.target.scale;
    if (sums.rows == 0)
        return error_set(err, ERR_INVALID, "expected at least one row to score");
    if (!isfinite(sums.squares) || !isfinite(around))
        return error_set(err, ERR_NUMERIC, "expected finite errors, got one that overflows");
    *figures = (struct model_figures){.rows = sums.rows,
                                      .mae = sums.absolute / n,
                                      .rmse = sqrt(sums.squares / n),
                                      .r2 = around > 0 ? 1 - sums.squares / around : NAN};
    return true;
}
