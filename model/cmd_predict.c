/* ridge predict: CSV to CSV in blocks of rows, so that neither memory nor the first line out waits for
 * the last line in. */
#include "model/cmd.h"

#include "base/number.h"
#include "model/model_file.h"
#include "model/model_score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Quotes where RFC 4180 asks for it. */
static void put_name(const char *name)
{
    if (strpbrk(name, ",\"\r\n") == NULL) {
        (void)fputs(name, stdout);
        return;
    }
    (void)putchar('"');
    for (; *name != '\0'; name++) {
        if (*name == '"')
            (void)putchar('"');
        (void)putchar(*name);
    }
    (void)putchar('"');
}

static void put_header(const struct model *model)
{
    for (size_t j = 0; j < model_feature_count(model); j++) {
        put_name(model_feature_name(model, j));
        (void)putchar(',');
    }
    (void)puts("prediction");
}

static void put_number(double value, char end)
{
    char text[NUMBER_TEXT_MAX + 1];
    size_t n = number_write(text, value);
    text[n++] = end;
    (void)fwrite(text, 1, n, stdout);
}

static bool put_rows(size_t features, uint64_t first, size_t rows, const double *x, const double *y,
                     struct error *err)
{
    for (size_t i = 0; i < rows; i++) {
        if (!isfinite(y[i]))
            return error_set(err, ERR_NUMERIC, "row %llu: expected a finite prediction, got none",
                             (unsigned long long)(first + i + 1));
        for (size_t j = 0; j < features; j++)
            put_number(*x++, ',');
        put_number(y[i], '\n');
    }
    return true;
}

static bool predict_all(const struct model *model, struct dataset *ds, struct error *err)
{
    size_t features = model_feature_count(model), rows = MODEL_BLOCK_ROWS;
    double *x = calloc(MODEL_BLOCK_ROWS * (features + 1), sizeof *x);
    if (x == NULL)
        return error_set(err, ERR_NO_MEMORY, "out of memory");
    double *y = x + MODEL_BLOCK_ROWS * features;
    bool ok = true;
    size_t clipped = 0;
    while (ok && rows == MODEL_BLOCK_ROWS) {
        uint64_t first = dataset_rows(ds);
        ok = dataset_read(ds, MODEL_BLOCK_ROWS, x, &rows, err);
        if (!ok)
            break;
        model_predict(model, rows, x, y);
        clipped += model_clipped(model, rows, x);
        ok = put_rows(features, first, rows, x, y, err);
    }
    if (ok && clipped > 0)
        (void)fprintf(stderr,
                      "ridge predict: %zu values of %llu rows lay outside the range that the "
                      "model keeps and were clipped to it\n",
                      clipped, (unsigned long long)dataset_rows(ds));
    free(x);
    return ok;
}

static int run(const struct cmd_options *o, struct error *err)
{
    struct dataset *ds = NULL;
    struct model *model = model_load_path(o->model, err);
    bool ok = model != NULL && (ds = dataset_new_path(o->data, CMD_ROWS_MAX, err)) != NULL &&
              model_select(model, false, ds, err);
    if (ok) {
        put_header(model);
        ok = predict_all(model, ds, err);
    }
    dataset_free(ds);
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
    }};
