/* ridge predict: the features, the interval if one is asked for, the prediction. */
#include "model/cmd.h"

#include "model/csv.h"
#include "model/interval.h"
#include "model/model_file.h"
#include "model/model_score.h"

#include <math.h>

struct predicting {
    const struct model *model;
    bool interval;
    double score; /* of the interval's level */
    double y[MODEL_BLOCK_ROWS], half[MODEL_BLOCK_ROWS];
};

static void put_header(void *ctx)
{
    const struct predicting *p = ctx;
    for (size_t j = 0; j < model_feature_count(p->model); j++)
        csv_put_name(stdout, model_feature_name(p->model, j), ',');
    if (p->interval) {
        csv_put_name(stdout, "lower", ',');
        csv_put_name(stdout, "upper", ',');
    }
    csv_put_name(stdout, "prediction", '\n');
}

static bool put_rows(void *ctx, uint64_t first, size_t rows, const double *x, struct error *err)
{
    struct predicting *p = ctx;
    model_predict(p->model, rows, x, p->y);
    if (p->interval)
        interval_half_widths(p->model, p->score, rows, x, p->half);
    for (size_t i = 0; i < rows; i++) {
        if (!cmd_check_finite(p->y[i], "prediction", first + i, err) ||
            (p->interval &&
             !cmd_check_finite(fabs(p->y[i]) + p->half[i], "interval", first + i, err)))
            return false;
        for (size_t j = 0; j < model_feature_count(p->model); j++)
            csv_put_number(stdout, *x++, ',');
        if (p->interval) {
            csv_put_number(stdout, p->y[i] - p->half[i], ',');
            csv_put_number(stdout, p->y[i] + p->half[i], ',');
        }
        csv_put_number(stdout, p->y[i], '\n');
    }
    return true;
}

static bool read_interval(struct predicting *p, double level, struct error *err)
{
    p->interval = !isnan(level);
    if (!p->interval || interval_score(p->model, level, &p->score, err))
        return true;
    error_prefix(err, "--interval");
    return false;
}

static int run(const struct cmd_options *o, struct error *err)
{
    struct model *model = model_load_path(o->model, err);
    struct predicting p = {.model = model};
    bool ok = model != NULL && read_interval(&p, o->interval, err) &&
              cmd_each_block(model, o->data,
                             &(struct cmd_rows){"predict", &p, put_header, put_rows}, err);
    model_free(model);
    return ok ? CMD_OK : CMD_FAILED;
}

const struct command cmd_predict = {
    .name = "predict",
    .summary = "Predicts every row of a CSV file; writes the features and, last, the prediction.",
    .run = run,
    .options = {
        {"model", "FILE", "the artifact", CMD_TEXT, CMD_AT(model), true},
        {"data", "FILE", "CSV with the features by name; - is standard input", CMD_TEXT,
         CMD_AT(data), true},
        {"interval", "LEVEL", "adds lower and upper: an interval that covers 0.9, say, of new rows",
         CMD_NUMBER, CMD_AT(interval), false},
    }};
