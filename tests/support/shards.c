#include "tests/support/shards.h"

#include "base/number.h"
#include "model/model_file.h"
#include "model/stats_file.h"
#include "tests/support/t.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[SHARDS_FEATURES] = {"income", "age", "rooms"};

/* 0 .. 1 from a row and a column. */
static double uniform(size_t row, size_t column)
{
    uint64_t z = (row * 16 + column + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

double shards_row(size_t i, double *x)
{
    x[0] = 0.5 + 9 * uniform(i, 0) * uniform(i, 1);
    x[1] = floor(52 * uniform(i, 2));
    x[2] = 3 + 4 * uniform(i, 3);
    double noise = uniform(i, 4) + uniform(i, 5) - 1;
    return 200 + 30 * log(x[0]) + 10 * sin(x[1] / 9) + x[2] * x[2] / 3 + 6 * noise;
}

static void put_number(FILE *out, double value, char end)
{
    char text[NUMBER_TEXT_MAX];
    (void)fwrite(text, 1, number_write(text, value), out);
    (void)fputc(end, out);
}

void shards_write(const char *path, size_t first, size_t rows)
{
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    (void)fprintf(out, "%s,price,%s,%s\n", names[0], names[1], names[2]);
    for (size_t i = first; i < first + rows; i++) {
        double x[SHARDS_FEATURES], y = shards_row(i, x);
        put_number(out, x[0], ',');
        put_number(out, y, ',');
        put_number(out, x[1], ',');
        put_number(out, x[2], '\n');
    }
    assert_int_equal(fclose(out), 0);
}

static void set_features(struct model_feature *features, enum model_kind kind)
{
    static const struct transform plain[SHARDS_FEATURES] = {
        {TRANSFORM_STANDARDISE, 0.5, 9.5, 2.7, 2, 0, false, 0, 0},
        {TRANSFORM_STANDARDISE, 0, 51, 25, 15, 0, false, 0, 0},
        {TRANSFORM_STANDARDISE, 3, 7, 5, 1.2, 0, false, 0, 0}};
    for (size_t j = 0; j < SHARDS_FEATURES; j++)
        features[j] = (struct model_feature){names[j], plain[j]};
    if (kind == MODEL_KERNEL)
        features[0].transform =
            (struct transform){TRANSFORM_LOG, 0.5, 9.5, 0.8, 0.7, 0.1, true, 0.4, 10};
}

static void set_quantiles(double *quantiles)
{
    for (size_t i = 0; i < MODEL_QUANTILES; i++) {
        double level = ((double)i + 0.5) / MODEL_QUANTILES;
        quantiles[i] = 0.5 + 9 * level * level;
        quantiles[MODEL_QUANTILES + i] = floor(52 * level);
        quantiles[2 * MODEL_QUANTILES + i] = 3 + 4 * level;
        quantiles[3 * MODEL_QUANTILES + i] = 150 + 100 * level; /* of the prediction */
    }
}

void shards_write_map(const char *path, enum model_kind kind, double penalty)
{
    static const struct kernel_direction directions[] = {{0, 2, true}};
    static const double scales[] = {0.5, 0.4, 0.3, 0.2};
    double centres[SHARDS_CENTRES * SHARDS_FEATURES], coefficients[SHARDS_CENTRES];
    double quantiles[(SHARDS_FEATURES + 1) * MODEL_QUANTILES];
    struct model_feature features[SHARDS_FEATURES];
    size_t count = kind == MODEL_KERNEL ? SHARDS_CENTRES : SHARDS_FEATURES;
    set_features(features, kind);
    set_quantiles(quantiles);
    for (size_t m = 0; m < SHARDS_CENTRES; m++)
        for (size_t j = 0; j < SHARDS_FEATURES; j++)
            centres[m * SHARDS_FEATURES + j] = 4 * uniform(m, 6 + j) - 2;
    for (size_t m = 0; m < SHARDS_CENTRES; m++)
        coefficients[m] = 1;
    struct model_parts parts = {
        .name = "map",
        .version = "3",
        .kind = kind,
        .target_name = "price",
        .target_unit = "k",
        .features = features,
        .feature_count = SHARDS_FEATURES,
        .quantiles = quantiles,
        .predicted_quantiles = true,
        .kernel = {SHARDS_FEATURES, 1, SHARDS_CENTRES, directions, scales, centres},
        .prediction = {190, coefficients, count},
        .card = {.rows = 100, .penalty = penalty}};
    if (kind == MODEL_KERNEL) {
        parts.residual = (struct model_function){2, coefficients, count};
        parts.interval = (struct model_interval){.scaled = true, .floor = 0.5};
    }
    struct error err = {0};
    memset(parts.card.data_sha256, 'a', 64);
    struct model *model = model_new(&parts, &err);
    if (model == NULL || !model_save_path(model, path, &err))
        fail_msg("%s", err.message);
    model_free(model);
}

void shards_collect(struct stats *s, const char *map_path, enum stats_kind kind, const char *csv)
{
    struct error err = {0};
    size_t n = 0;
    FILE *in = fopen(map_path, "rb");
    assert_non_null(in);
    char *text = model_read_text(in, &n, &err);
    (void)fclose(in);
    struct dataset *ds = dataset_new_path(csv, 1000000, &err);
    if (text == NULL || ds == NULL || !stats_init(s, kind, text, n, &err) ||
        !stats_collect(s, ds, NULL, NULL, &err))
        fail_msg("%s", err.message);
    dataset_free(ds);
    free(text);
}

void shards_stats(const char *map_path, enum stats_kind kind, const char *csv, const char *out)
{
    struct error err = {0};
    struct stats s;
    shards_collect(&s, map_path, kind, csv);
    if (!stats_save_path(&s, out, &err))
        fail_msg("%s", err.message);
    stats_clear(&s);
}
