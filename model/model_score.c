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

/* A model on its way through the rows. */
struct scorer {
    const struct model *model;
    struct dataset *ds;
    struct sums sums;
    double *table, *x, *f, *errors; /* the block: (rows, features + 1), and what becomes of it */
    size_t rows;                    /* of the block */
};

static bool scorer_init(struct scorer *s, const struct model *model, struct dataset *ds,
                        struct error *err)
{
    size_t n = model_feature_count(model);
    *s = (struct scorer){.model = model, .ds = ds, .rows = MODEL_BLOCK_ROWS};
    s->table = calloc(MODEL_BLOCK_ROWS * (2 * n + 3), sizeof *s->table);
    if (s->table == NULL)
        return error_set(err, ERR_NO_MEMORY, "out of memory");
    s->x = s->table + MODEL_BLOCK_ROWS * (n + 1);
    s->f = s->x + MODEL_BLOCK_ROWS * n;
    s->errors = s->f + MODEL_BLOCK_ROWS;
    return model_select(model, true, ds, err);
}

static void scorer_clear(struct scorer *s)
{
    free(s->table);
}

/* Scores the next block; s->rows < MODEL_BLOCK_ROWS is the last. */
static bool score_block(struct scorer *s, struct error *err)
{
    size_t n = model_feature_count(s->model);
    if (!dataset_read(s->ds, MODEL_BLOCK_ROWS, s->table, &s->rows, err))
        return false;
    for (size_t i = 0; i < s->rows; i++)
        memcpy(s->x + i * n, s->table + i * (n + 1), n * sizeof *s->x);
    model_predict(s->model, s->rows, s->x, s->f);
    for (size_t i = 0; i < s->rows; i++) {
        double y = s->table[i * (n + 1) + n], error = y - s->f[i];
        s->errors[i] = error;
        s->sums.absolute += fabs(error);
        s->sums.squares += error * error;
        transform_learn(&s->sums.target, 1, s->sums.rows++, &y, 1);
    }
    return true;
}

static bool finish(const struct sums *sums, struct model_figures *figures, struct error *err)
{
    double n = (double)sums->rows, around = sums->target.scale;
    if (sums->rows == 0)
        return error_set(err, ERR_INVALID, "expected at least one row to score");
    if (!isfinite(sums->squares) || !isfinite(around))
        return error_set(err, ERR_NUMERIC, "expected finite errors, got one that overflows");
    *figures = (struct model_figures){.rows = sums->rows,
                                      .mae = sums->absolute / n,
                                      .rmse = sqrt(sums->squares / n),
                                      .r2 = around > 0 ? 1 - sums->squares / around : NAN};
    return true;
}

bool model_score(const struct model *model, struct dataset *ds, struct model_figures *figures,
                 struct error *err)
{
    struct scorer s;
    bool ok = scorer_init(&s, model, ds, err);
    while (ok && s.rows == MODEL_BLOCK_ROWS)
        ok = score_block(&s, err);
    ok = ok && finish(&s.sums, figures, err);
    scorer_clear(&s);
    return ok;
}

/* Both models' next blocks have to be of the same rows. */
static bool score_blocks(struct scorer s[2], struct bootstrap *gains, struct error *err)
{
    if (!score_block(&s[0], err) || !score_block(&s[1], err))
        return false;
    if (s[0].rows != s[1].rows)
        return error_set(err, ERR_INVALID, "the data changed while it was read");
    for (size_t i = 0; i < s[0].rows; i++)
        bootstrap_add(gains, fabs(s[1].errors[i]) - fabs(s[0].errors[i]));
    return true;
}

bool model_score_pair(const struct model *const models[2], struct dataset *const data[2],
                      struct model_figures figures[2], struct bootstrap *gains, struct error *err)
{
    struct scorer s[2] = {0};
    if (strcmp(model_target_name(models[0]), model_target_name(models[1])) != 0)
        return error_set(err, ERR_INVALID, "expected models of one target, got %.64s and %.64s",
                         model_target_name(models[0]), model_target_name(models[1]));
    bool ok =
        scorer_init(&s[0], models[0], data[0], err) && scorer_init(&s[1], models[1], data[1], err);
    while (ok && s[0].rows == MODEL_BLOCK_ROWS)
        ok = score_blocks(s, gains, err);
    ok = ok && finish(&s[0].sums, &figures[0], err) && finish(&s[1].sums, &figures[1], err);
    scorer_clear(&s[0]);
    scorer_clear(&s[1]);
    return ok;
}
