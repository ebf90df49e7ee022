/* Artifacts are made by hand here and sealed with a digest of the test's own, so that reader and
 * writer are each held against text, not only against one another. */
#define _GNU_SOURCE /* fmemopen beside seteuid */
#include "model/model_file.h"

#include "model/model_internal.h"
#include "tests/support/process.h"
#include "tests/support/t.h"

#include <dirent.h>
#include <math.h>
#include <sha2.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHA "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

/* Thirty times the same number, of the thirty-two that a row of quantiles has. */
#define FIVE(x) x ".0," x ".0," x ".0," x ".0," x ".0"
#define TENS(x) FIVE(x) "," FIVE(x) "," FIVE(x) "," FIVE(x) "," FIVE(x) "," FIVE(x)

/* All but the last line. */
static const char *const good =
    "{\"format_version\":1,\n"
    "\"name\":\"houses\",\n"
    "\"version\":\"1.0-rc_2\",\n"
    "\"kind\":\"kernel\",\n"
    "\"target\":{\"name\":\"price\",\"unit\":\"100000 USD\"},\n"
    "\"features\":["
    "{\"name\":\"rooms\",\"min\":1.0,\"max\":9.0,"
    "\"transform\":{\"kind\":\"log\",\"clip\":[0.5,10.0],\"offset\":0.25,"
    "\"mean\":5.0,\"scale\":2.0}},"
    "{\"name\":\"age \\\"\xc3\xa4\\\"\",\"min\":-0.0,\"max\":1e+300,"
    "\"transform\":{\"kind\":\"standardise\",\"clip\":null,\"offset\":0.0,"
    "\"mean\":40.0,\"scale\":16.0}}],\n"
    "\"quantiles\":[[" TENS("1") ",1.0,2.0],[" TENS("-3") ",4.0,1e+300]],\n"
    "\"map\":{\"directions\":[{\"a\":1,\"b\":0,\"difference\":true}],"
    "\"scales\":[0.5,0.0,1.5],"
    "\"centres\":[0.1234,-1.0001,-0.0,2.5,1.0,3.0]},\n"
    "\"parameters\":{\"intercept\":7.0,\"coefficients\":[3.0,-1.0,0.25]},\n"
    "\"residual\":{\"intercept\":0.5,\"coefficients\":[0.0,0.125,-2.0]},\n"
    "\"interval\":{\"scaled\":true,\"floor\":0.0625,\"scores\":[0.0,0.75,3.5]},\n"
    "\"card\":{\"rows\":18446744073709551615,\"data_sha256\":\"" SHA
    "\","
    "\"date\":\"2026-11-24\",\"penalty\":0.1,\"kernel\":\"Haswell\",\"threads\":4,"
    "\"leave_one_out\":{\"rows\":10,\"mae\":0.5,\"rmse\":0.75,\"r2\":0.25},"
    "\"holdout\":{\"rows\":0,\"mae\":null,\"rmse\":null,\"r2\":null},"
    "\"linear\":{\"rows\":9,\"mae\":0.625,\"rmse\":0.875,\"r2\":0.125}},\n";

/* The same where nothing is optional. */
static const char *const linear =
    "{\"format_version\":1,\n"
    "\"name\":\"houses\",\n"
    "\"version\":\"1\",\n"
    "\"kind\":\"linear\",\n"
    "\"target\":{\"name\":\"price\",\"unit\":\"\"},\n"
    "\"features\":["
    "{\"name\":\"rooms\",\"min\":1.0,\"max\":9.0,\"transform\":{\"kind\":\"standardise\","
    "\"clip\":null,\"offset\":0.0,\"mean\":5.0,\"scale\":2.0}},"
    "{\"name\":\"age\",\"min\":0.0,\"max\":99.0,\"transform\":{\"kind\":\"standardise\","
    "\"clip\":[-1.0,100.0],\"offset\":0.0,\"mean\":40.0,\"scale\":16.0}}],\n"
    "\"quantiles\":null,\n"
    "\"map\":null,\n"
    "\"parameters\":{\"intercept\":7.0,\"coefficients\":[3.0,-1.0]},\n"
    "\"residual\":null,\n"
    "\"interval\":null,\n"
    "\"card\":{\"rows\":5,\"data_sha256\":\"" SHA
    "\","
    "\"date\":\"\",\"penalty\":0.0,\"kernel\":\"\",\"threads\":0,"
    "\"leave_one_out\":{\"rows\":0,\"mae\":null,\"rmse\":null,\"r2\":null},"
    "\"holdout\":{\"rows\":0,\"mae\":null,\"rmse\":null,\"r2\":null},"
    "\"linear\":{\"rows\":0,\"mae\":null,\"rmse\":null,\"r2\":null}},\n";

enum { TEXT_MAX = 4096, LAST_LINE = 77 };

struct artifact {
    char *text;
    size_t n;
};

/* body and the last line that belongs to it; text is the caller's to free. */
static struct artifact seal(const char *body, size_t n)
{
    char hex[SHA256_DIGEST_STRING_LENGTH];
    struct artifact a = {malloc(n + LAST_LINE + 1), n + LAST_LINE};
    memcpy(a.text, body, n);
    (void)SHA256Data((const uint8_t *)body, n, hex);
    (void)sprintf(a.text + n, "\"sha256\":\"%s\"}\n", hex);
    return a;
}

static struct model *load(const char *text, size_t n, struct error *err)
{
    char *copy = malloc(n > 0 ? n : 1);
    memcpy(copy, text, n);
    FILE *in = n > 0 ? fmemopen(copy, n, "rb") : fopen("/dev/null", "rb");
    assert_non_null(in);
    struct model *model = model_load(in, "test.json", err);
    (void)fclose(in);
    free(copy);
    return model;
}

static struct model *load_sealed(const char *body, struct error *err)
{
    struct artifact a = seal(body, strlen(body));
    struct model *model = load(a.text, a.n, err);
    free(a.text);
    return model;
}

static struct model *load_good(void)
{
    struct error err = {0};
    struct model *model = load_sealed(good, &err);
    if (model == NULL)
        fail_msg("%s", err.message);
    return model;
}

/* good with the first `old` replaced. */
static void replace(char *out, const char *old, const char *new)
{
    const char *at = strstr(good, old);
    if (at == NULL)
        fail_msg("the artifact has no %s", old);
    int n = snprintf(out, TEXT_MAX, "%.*s%s%s", (int)(at - good), good, new, at + strlen(old));
    assert_in_range(n, 1, TEXT_MAX - 1);
}

static void assert_refused(const char *body, enum error_code code, const char *part)
{
    struct error err = {0};
    struct model *model = load_sealed(body, &err);
    if (model != NULL)
        fail_msg("accepted: %s", body);
    assert_contains(err.message, "test.json: ");
    assert_contains(err.message, part);
    assert_int_equal(err.code, code);
}

static struct artifact save(const struct model *model)
{
    struct artifact a = {NULL, 0};
    struct error err = {0};
    FILE *out = open_memstream(&a.text, &a.n);
    if (!model_save(model, out, &err))
        fail_msg("%s", err.message);
    (void)fclose(out);
    return a;
}

/* ---- there and back ---- */

static void load_reads_every_member(void **state)
{
    (void)state;
    double min, max;
    struct model *model = load_good();
    const struct model_card *card = model_card(model);
    assert_string_equal(model_name(model), "houses");
    assert_string_equal(model_version(model), "1.0-rc_2");
    assert_string_equal(model_kind(model), "kernel");
    assert_string_equal(model_target_name(model), "price");
    assert_string_equal(model_target_unit(model), "100000 USD");
    assert_int_equal(model_feature_count(model), 2);
    assert_string_equal(model_feature_name(model, 0), "rooms");
    assert_string_equal(model_feature_name(model, 1), "age \"\xc3\xa4\"");
    model_feature_range(model, 1, &min, &max);
    assert_close(min, -0.0, 0);
    assert_close(max, 1e300, 0);
    assert_true(card->rows == UINT64_MAX);
    assert_string_equal(card->data_sha256, SHA);
    assert_string_equal(card->date, "2026-11-24");
    assert_close(card->penalty, 0.1, 0);
    assert_string_equal(card->kernel, "Haswell");
    assert_int_equal(card->threads, 4);
    assert_int_equal(card->leave_one_out.rows, 10);
    assert_close(card->leave_one_out.mae, 0.5, 0);
    assert_close(card->leave_one_out.rmse, 0.75, 0);
    assert_close(card->leave_one_out.r2, 0.25, 0);
    assert_int_equal(card->holdout.rows, 0);
    assert_true(isnan(card->holdout.mae) && isnan(card->holdout.rmse) && isnan(card->holdout.r2));
    assert_int_equal(card->linear.rows, 9);
    assert_close(card->linear.r2, 0.125, 0);
    model_free(model);
}

static void load_reads_every_part_of_a_kernel_model(void **state)
{
    (void)state;
    struct model *model = load_good();
    const struct model_parts *parts = &model->parts;
    const struct transform *t = &parts->features[0].transform;
    assert_int_equal(t->kind, TRANSFORM_LOG);
    assert_true(t->clipped && t->low == 0.5 && t->high == 10 && t->offset == 0.25);
    assert_false(parts->features[1].transform.clipped);
    assert_close(parts->quantiles[0], 1.0, 0);
    assert_close(parts->quantiles[2 * MODEL_QUANTILES - 1], 1e300, 0);
    assert_int_equal(parts->kernel.inputs, 2);
    assert_int_equal(parts->kernel.centre_count, 3);
    assert_int_equal(parts->kernel.direction_count, 1);
    assert_int_equal(parts->kernel.directions[0].a, 1);
    assert_int_equal(parts->kernel.directions[0].b, 0);
    assert_true(parts->kernel.directions[0].difference);
    assert_close(parts->kernel.scales[2], 1.5, 0);
    assert_close(parts->kernel.centres[3], 2.5, 0);
    assert_close(parts->prediction.coefficients[2], 0.25, 0);
    assert_close(parts->residual.intercept, 0.5, 0);
    assert_int_equal(parts->residual.coefficient_count, 3);
    assert_close(parts->residual.coefficients[1], 0.125, 0);
    assert_true(parts->interval.scaled);
    assert_close(parts->interval.floor, 0.0625, 0);
    assert_int_equal(parts->interval.score_count, 3);
    assert_close(parts->interval.scores[1], 0.75, 0);
    model_free(model);
}

static void load_takes_null_for_what_a_model_can_do_without(void **state)
{
    (void)state;
    const double x[] = {7, 56};
    double y;
    struct error err = {0};
    struct model *model = load_sealed(linear, &err);
    assert_non_null(model);
    assert_string_equal(model_kind(model), "linear");
    assert_null(model->parts.quantiles);
    assert_int_equal(model->parts.kernel.centre_count, 0);
    assert_int_equal(model->parts.residual.coefficient_count, 0);
    assert_int_equal(model->parts.interval.score_count, 0);
    model_predict(model, 1, x, &y);
    assert_close(y, 9.0, 0);
    model_free(model);
}

static void save_writes_the_very_bytes_that_were_loaded(void **state)
{
    (void)state;
    const char *const bodies[] = {good, linear};
    for (size_t i = 0; i < 2; i++) {
        struct error err = {0};
        struct artifact expected = seal(bodies[i], strlen(bodies[i]));
        struct model *model = load(expected.text, expected.n, &err);
        assert_non_null(model);
        struct artifact a = save(model);
        assert_int_equal(a.n, expected.n);
        assert_memory_equal(a.text, expected.text, a.n);
        /* model_sha256 is what the last line says. */
        assert_memory_equal(expected.text + expected.n - 3 - 64, model_sha256(model), 64);
        model_free(model);
        free(a.text);
        free(expected.text);
    }
}

static uint64_t next_random(uint64_t *seed)
{
    *seed += 0x9e3779b97f4a7c15u;
    uint64_t z = (*seed ^ *seed >> 30) * 0xbf58476d1ce4e5b9u;
    return (z ^ z >> 27) * 0x94d049bb133111ebu;
}

/* Any finite double, every exponent as likely as the others. */
static double any_double(uint64_t *seed)
{
    for (;;) {
        uint64_t bits = next_random(seed);
        double value;
        memcpy(&value, &bits, sizeof value);
        if (isfinite(value))
            return value;
    }
}

static void assert_same_transform(const struct transform *a, const struct transform *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->clipped, b->clipped);
    const double *const x[] = {&a->min,    &a->max, &a->mean, &a->scale,
                               &a->offset, &a->low, &a->high};
    const double *const y[] = {&b->min,    &b->max, &b->mean, &b->scale,
                               &b->offset, &b->low, &b->high};
    for (size_t i = 0; i < sizeof x / sizeof *x; i++)
        assert_memory_equal(x[i], y[i], sizeof(double));
}

static void assert_same_function(const struct model_function *a, const struct model_function *b)
{
    assert_memory_equal(&a->intercept, &b->intercept, sizeof a->intercept);
    assert_int_equal(a->coefficient_count, b->coefficient_count);
    assert_memory_equal(a->coefficients, b->coefficients,
                        a->coefficient_count * sizeof *a->coefficients);
}

/* Saves, loads, and saves again; the model that was loaded is the caller's. */
static struct model *there_and_back(const struct model *model)
{
    struct error err = {0};
    struct artifact a = save(model), again;
    struct model *loaded = load(a.text, a.n, &err);
    if (loaded == NULL)
        fail_msg("%s", err.message);
    for (size_t j = 0; j < model_feature_count(model); j++)
        assert_same_transform(&loaded->parts.features[j].transform,
                              &model->parts.features[j].transform);
    assert_same_function(&loaded->parts.prediction, &model->parts.prediction);
    assert_same_function(&loaded->parts.residual, &model->parts.residual);
    again = save(loaded);
    assert_int_equal(again.n, a.n);
    assert_memory_equal(again.text, a.text, a.n);
    free(a.text);
    free(again.text);
    return loaded;
}

enum { FEATURES = 50, CENTRES = 77 };

/* Features and coefficients of any size for a linear model. */
struct sample {
    char names[FEATURES][8];
    struct model_feature features[FEATURES];
    double coefficients[FEATURES], x[FEATURES];
    struct model_parts parts;
};

static void make_sample(struct sample *s, uint64_t *seed)
{
    for (size_t j = 0; j < FEATURES; j++) {
        double scale = fabs(any_double(seed)) + 0x1p-1022;
        (void)snprintf(s->names[j], sizeof s->names[j], "f%zu", j);
        s->features[j] = (struct model_feature){s->names[j],
                                                {.kind = TRANSFORM_STANDARDISE,
                                                 .min = -1e308,
                                                 .max = 1e308,
                                                 .mean = any_double(seed),
                                                 .scale = scale}};
        s->coefficients[j] = any_double(seed);
        s->x[j] = s->features[j].transform.mean + scale / 3;
    }
    s->parts = (struct model_parts){.name = "m",
                                    .version = "1",
                                    .target_name = "y",
                                    .target_unit = "",
                                    .features = s->features,
                                    .feature_count = FEATURES,
                                    .prediction = {any_double(seed), s->coefficients, FEATURES},
                                    .card = {.data_sha256 = SHA, .penalty = 5e-324}};
}

static void saved_numbers_come_back_bit_by_bit(void **state)
{
    (void)state;
    uint64_t seed = 3;
    for (int round = 0; round < 20; round++) {
        struct sample s;
        struct error err = {0};
        double y[2];
        make_sample(&s, &seed);
        struct model *model = model_new(&s.parts, &err);
        assert_non_null(model);
        struct model *loaded = there_and_back(model);
        model_predict(model, 1, s.x, &y[0]);
        model_predict(loaded, 1, s.x, &y[1]);
        assert_memory_equal(&y[0], &y[1], sizeof y[0]);
        model_free(model);
        model_free(loaded);
    }
}

static double uniform(uint64_t *seed)
{
    return (double)(next_random(seed) >> 11) * 0x1p-53;
}

/* What a kernel has beside a sample. */
struct kernel_sample {
    struct sample s;
    struct kernel_direction directions[2];
    double scales[FEATURES + 2], centres[CENTRES * FEATURES], coefficients[2][CENTRES];
    double quantiles[FEATURES * MODEL_QUANTILES], scores[MODEL_SCORES_MAX];
};

static void make_kernel_sample(struct kernel_sample *k, uint64_t *seed)
{
    make_sample(&k->s, seed);
    for (size_t j = 0; j < FEATURES; j++) {
        struct transform *t = &k->s.features[j].transform;
        double offset = uniform(seed);
        bool clipped = j % 3 != 0;
        *t = (struct transform){j % 3 == 2 ? TRANSFORM_LOG : TRANSFORM_STANDARDISE,
                                1,
                                2,
                                uniform(seed),
                                0.1 + uniform(seed),
                                j % 3 == 2 ? offset : 0,
                                clipped,
                                clipped ? 1 - uniform(seed) : 0,
                                clipped ? 2 + uniform(seed) : 0};
        k->s.x[j] = 0.5 + 2 * uniform(seed);
        k->scales[j] = uniform(seed) / FEATURES;
    }
    k->directions[0] = (struct kernel_direction){3, 49, true};
    k->directions[1] = (struct kernel_direction){49, 3, false};
    k->scales[FEATURES] = k->scales[FEATURES + 1] = uniform(seed);
    for (size_t i = 0; i < CENTRES * FEATURES; i++)
        k->centres[i] = 8 * uniform(seed) - 4;
    for (size_t i = 0; i < 2 * CENTRES; i++)
        k->coefficients[i / CENTRES][i % CENTRES] = any_double(seed) * 1e-10;
    for (size_t i = 0; i < FEATURES * MODEL_QUANTILES; i++)
        k->quantiles[i] = (double)(i % MODEL_QUANTILES) + uniform(seed);
    for (size_t i = 0; i < MODEL_SCORES_MAX; i++)
        k->scores[i] = (double)i / 7 + uniform(seed) / 8;
    struct model_parts *parts = &k->s.parts;
    parts->kind = MODEL_KERNEL;
    parts->kernel = (struct kernel_map){FEATURES, 2, CENTRES, k->directions, k->scales, k->centres};
    parts->prediction = (struct model_function){any_double(seed), k->coefficients[0], CENTRES};
    parts->residual = (struct model_function){any_double(seed), k->coefficients[1], CENTRES};
    parts->quantiles = k->quantiles;
    parts->interval = (struct model_interval){true, uniform(seed), k->scores, MODEL_SCORES_MAX};
}

static void saved_kernel_model_comes_back_bit_by_bit(void **state)
{
    (void)state;
    uint64_t seed = 4;
    for (int round = 0; round < 5; round++) {
        static struct kernel_sample k;
        struct error err = {0};
        double y[2];
        make_kernel_sample(&k, &seed);
        struct model *model = model_new(&k.s.parts, &err);
        assert_non_null(model);
        struct model *loaded = there_and_back(model);
        const struct model_parts *parts = &loaded->parts;
        assert_memory_equal(parts->kernel.scales, k.scales, sizeof k.scales);
        assert_memory_equal(parts->kernel.centres, k.centres, sizeof k.centres);
        assert_memory_equal(parts->quantiles, k.quantiles, sizeof k.quantiles);
        assert_memory_equal(parts->interval.scores, k.scores, sizeof k.scores);
        assert_int_equal(parts->kernel.directions[1].a, 49);
        assert_false(parts->kernel.directions[1].difference);
        model_predict(model, 1, k.s.x, &y[0]);
        model_predict(loaded, 1, k.s.x, &y[1]);
        assert_memory_equal(&y[0], &y[1], sizeof y[0]);
        model_free(model);
        model_free(loaded);
    }
}

static void artifact_of_the_bundled_size_is_below_a_megabyte(void **state)
{
    (void)state;
    enum { MOST = 4096, INPUTS = 8 };
    static double centres[MOST * INPUTS], coefficients[MOST];
    uint64_t seed = 5;
    struct sample s;
    struct error err = {0};
    make_sample(&s, &seed);
    for (size_t i = 0; i < MOST * INPUTS; i++)
        centres[i] = round((8 * uniform(&seed) - 4) * 1e4) / 1e4;
    for (size_t m = 0; m < MOST; m++)
        coefficients[m] = (uniform(&seed) - 0.5) * 1e-3;
    static const double scales[INPUTS] = {1};
    s.parts.kind = MODEL_KERNEL;
    s.parts.feature_count = INPUTS;
    s.parts.kernel = (struct kernel_map){INPUTS, 0, MOST, NULL, scales, centres};
    s.parts.prediction = s.parts.residual = (struct model_function){1, coefficients, MOST};
    struct model *model = model_new(&s.parts, &err);
    assert_non_null(model);
    struct artifact a = save(model);
    assert_in_range(a.n, 1 << 18, 1000000);
    free(a.text);
    model_free(model);
}

/* ---- members ---- */

/* Text that can be cut out, and the path of the member whose loss that is. */
static const char *const members[][2] = {
    {"\"format_version\":1,", "format_version"},
    {"\"name\":\"houses\",", "name"},
    {"\"version\":\"1.0-rc_2\",", "version"},
    {"\"kind\":\"kernel\",", "kind"},
    {"\"target\":{\"name\":\"price\",\"unit\":\"100000 USD\"},", "target"},
    {"\"name\":\"price\",", "target.name"},
    {",\"unit\":\"100000 USD\"", "target.unit"},
    {"\"name\":\"rooms\",", "features[0].name"},
    {"\"min\":1.0,", "features[0].min"},
    {"\"max\":1e+300,", "features[1].max"},
    {",\"transform\":{\"kind\":\"standardise\",\"clip\":null,\"offset\":0.0,\"mean\":40.0,"
     "\"scale\":16.0}",
     "features[1].transform"},
    {"\"kind\":\"standardise\",", "features[1].transform.kind"},
    {"\"clip\":[0.5,10.0],", "features[0].transform.clip"},
    {"\"offset\":0.25,", "features[0].transform.offset"},
    {"\"mean\":5.0,", "features[0].transform.mean"},
    {",\"scale\":16.0", "features[1].transform.scale"},
    {"\"quantiles\":[[" TENS("1") ",1.0,2.0],[" TENS("-3") ",4.0,1e+300]],", "quantiles"},
    {"\"map\":{\"directions\":[{\"a\":1,\"b\":0,\"difference\":true}],\"scales\":[0.5,0.0,1.5],"
     "\"centres\":[0.1234,-1.0001,-0.0,2.5,1.0,3.0]},",
     "map"},
    {"\"directions\":[{\"a\":1,\"b\":0,\"difference\":true}],", "map.directions"},
    {"\"a\":1,", "map.directions[0].a"},
    {"\"b\":0,", "map.directions[0].b"},
    {",\"difference\":true", "map.directions[0].difference"},
    {"\"scales\":[0.5,0.0,1.5],", "map.scales"},
    {",\"centres\":[0.1234,-1.0001,-0.0,2.5,1.0,3.0]", "map.centres"},
    {"\"parameters\":{\"intercept\":7.0,\"coefficients\":[3.0,-1.0,0.25]},", "parameters"},
    {"\"intercept\":7.0,", "parameters.intercept"},
    {",\"coefficients\":[3.0,-1.0,0.25]", "parameters.coefficients"},
    {"\"residual\":{\"intercept\":0.5,\"coefficients\":[0.0,0.125,-2.0]},", "residual"},
    {"\"intercept\":0.5,", "residual.intercept"},
    {"\"interval\":{\"scaled\":true,\"floor\":0.0625,\"scores\":[0.0,0.75,3.5]},", "interval"},
    {"\"scaled\":true,", "interval.scaled"},
    {"\"floor\":0.0625,", "interval.floor"},
    {",\"scores\":[0.0,0.75,3.5]", "interval.scores"},
    {"\"rows\":18446744073709551615,", "card.rows"},
    {"\"data_sha256\":\"" SHA "\",", "card.data_sha256"},
    {"\"date\":\"2026-11-24\",", "card.date"},
    {"\"penalty\":0.1,", "card.penalty"},
    {"\"kernel\":\"Haswell\",", "card.kernel"},
    {"\"threads\":4,", "card.threads"},
    {"\"holdout\":{\"rows\":0,\"mae\":null,\"rmse\":null,\"r2\":null},", "card.holdout"},
    {",\"linear\":{\"rows\":9,\"mae\":0.625,\"rmse\":0.875,\"r2\":0.125}", "card.linear"},
    {"\"rows\":10,", "card.leave_one_out.rows"},
    {"\"mae\":0.5,", "card.leave_one_out.mae"},
    {"\"rmse\":null,", "card.holdout.rmse"},
    {",\"r2\":0.25", "card.leave_one_out.r2"},
};
enum { MEMBER_COUNT = sizeof members / sizeof *members };

static void missing_member_is_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < MEMBER_COUNT; i++) {
        char body[TEXT_MAX], part[256];
        replace(body, members[i][0], "");
        (void)snprintf(part, sizeof part, ": %s: missing", members[i][1]);
        assert_refused(body, ERR_INVALID, part);
    }
    /* cut out of the list of features, the member is no longer in the table above */
    assert_refused("{\"features\":[],\n", ERR_INVALID, "format_version: missing");
}

static void member_that_is_there_twice_is_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < MEMBER_COUNT; i++) {
        char body[TEXT_MAX], part[256], twice[2 * 300];
        (void)snprintf(twice, sizeof twice, "%s%s", members[i][0], members[i][0]);
        replace(body, members[i][0], twice);
        (void)snprintf(part, sizeof part, ": %s: expected once, got it twice", members[i][1]);
        assert_refused(body, ERR_INVALID, part);
    }
    char body[TEXT_MAX];
    replace(body, "\"name\"", "\"sha256\":\"" SHA "\",\"name\"");
    assert_refused(body, ERR_INVALID, "sha256: expected once");
}

static void unknown_member_is_ignored_wherever_it_is(void **state)
{
    (void)state;
    static const char *const unknown =
        "\"later\":{\"a\":[1e999,{\"b\":\"\\ud83d\\ude00\"},[]],\"\":null},";
    for (size_t i = 0; i < MEMBER_COUNT; i++) {
        char body[TEXT_MAX], with[1024];
        bool comma = members[i][0][0] == ',';
        (void)snprintf(with, sizeof with, "%s%s%s", comma ? "," : "", unknown,
                       members[i][0] + comma);
        replace(body, members[i][0], with);
        struct error err = {0};
        struct model *model = load_sealed(body, &err);
        if (model == NULL)
            fail_msg("%s: %s", members[i][1], err.message);
        model_free(model);
    }
}

/* Whether the member that holds `value` may hold values[j] of the case below as well. */
static bool is_right_type(const char *path, char value, size_t j)
{
    static const char *const nullable[] = {"mae",       "mse", "r2",       "clip",
                                           "quantiles", "map", "residual", "interval"};
    bool null = false;
    size_t n = strlen(path);
    for (size_t i = 0; i < sizeof nullable / sizeof *nullable; i++) {
        size_t length = strlen(nullable[i]);
        null |= n >= length && strcmp(path + n - length, nullable[i]) == 0;
    }
    switch (j) {
    case 0:
        return value == 't';
    case 1:
        return value == '"';
    case 2:
        return value == '['; /* if too short */
    case 4:
        return null;
    case 6:
        return value == '-' || value == 'n' || (value >= '0' && value <= '9');
    default:
        return false;
    }
}

static void member_of_the_wrong_type_is_named(void **state)
{
    (void)state;
    static const char *const values[] = {"true", "\"5\"", "[]", "{}",
                                         "null", "-1e",   "7",  "\"\\u0000\""};
    for (size_t i = 0; i < MEMBER_COUNT; i++)
        for (size_t j = 0; j < sizeof values / sizeof *values; j++) {
            char body[TEXT_MAX], with[512], part[256];
            const char *old = members[i][0], *path = members[i][1], *value = strchr(old, ':') + 1;
            if (is_right_type(path, *value, j))
                continue;
            (void)snprintf(with, sizeof with, "%.*s%s%s", (int)(value - old), old, values[j],
                           old[0] != ',' ? "," : "");
            replace(body, old, with);
            /* What is not JSON is found while the elements are counted. */
            size_t n = j == 5 ? strcspn(path, "[") : strlen(path);
            (void)snprintf(part, sizeof part, ": %.*s", (int)n, path);
            assert_refused(body, ERR_INVALID, part);
        }
}

static void bad_value_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *old, *new, *part;
        enum error_code code;
    } cases[] = {
        {"_version\":1,", "_version\":2,", "format_version: expected 1, got 2", ERR_INVALID},
        {"_version\":1,", "_version\":1.0,", "format_version: byte 18", ERR_INVALID},
        {"_version\":1,", "_version\":-1,", "format_version: byte", ERR_INVALID},
        {"houses", "", ": name: expected 1 to 255", ERR_INVALID},
        {"houses", "a/b", ": name: expected 1 to 255", ERR_INVALID},
        {"1.0-rc_2", "a b", ": version: expected 1 to 255", ERR_INVALID},
        {"\"kernel\"", "\"forest\"", ": kind: expected \"linear\" or \"kernel\", got \"forest\"",
         ERR_INVALID},
        {"\"kernel\"", "\"linear\"", ": map: expected centres if and only if", ERR_INVALID},
        {"price", "", "target.name", ERR_INVALID},
        {"100000 USD", "\\n", "target.unit", ERR_INVALID},
        {"standardise", "logs", "features[1].transform.kind: expected \"standardise\" or \"log\"",
         ERR_INVALID},
        {"standardise", "log", "features[1]", ERR_INVALID}, /* not clipped */
        {"[0.5,10.0]", "[0.5]", "features[0].transform.clip: expected null or two", ERR_INVALID},
        {"[0.5,10.0]", "[0.5,10.0,11.0]", "transform.clip: expected null or two", ERR_INVALID},
        {"[0.5,10.0]", "[1.5,10.0]", "features[0]", ERR_INVALID},   /* above min */
        {"[0.5,10.0]", "[0.5,8.0]", "features[0]", ERR_INVALID},    /* below max */
        {"[0.5,10.0]", "[-0.25,10.0]", "features[0]", ERR_INVALID}, /* log of 0 */
        {"\"offset\":0.25", "\"offset\":-0.5", "features[0]", ERR_INVALID},
        {"rooms", "age \\\"\\u00e4\\\"", "features: expected different names", ERR_INVALID},
        {"rooms", "", "features[0].name", ERR_INVALID},
        {"rooms", "\xff", "features: byte", ERR_INVALID},
        {"\"min\":1.0", "\"min\":9.5", "features[0]", ERR_INVALID},
        {"1e+300", "1e+309", "features[1].max: byte", ERR_INVALID},
        {"\"scale\":2.0", "\"scale\":0.0", "features[0]", ERR_INVALID},
        {"\"scale\":2.0", "\"scale\":-2.0", "features[0]", ERR_INVALID},
        {"\"scale\":2.0", "\"scale\":5e-324", "features[0]", ERR_INVALID},
        {",1.0,2.0],", ",2.0],", "quantiles: expected null or rows of 32 numbers", ERR_INVALID},
        {"[[1.0,", "[[[1.0],", "quantiles: expected null or rows", ERR_INVALID},
        {",1.0,2.0],", ",1.0,0.5],", "quantiles[0]: expected finite, ascending", ERR_INVALID},
        {",[" TENS("-3") ",4.0,1e+300]]", "]",
         "quantiles: expected 2 rows, one per feature, or one more, got 1", ERR_INVALID},
        {"\"a\":1", "\"a\":2", "map.directions[0]: expected two different inputs below 2",
         ERR_INVALID},
        {"\"a\":1", "\"a\":0", "map.directions[0]: expected two different inputs", ERR_INVALID},
        {"\"a\":1", "\"a\":-1", "map.directions[0].a: byte", ERR_INVALID},
        {"[0.5,0.0,1.5]", "[0.5,0.0]", "map.scales: expected 3 numbers", ERR_INVALID},
        {"[0.5,0.0,1.5]", "[0.5,0.0,-1.5]", "map.scales[2]: expected a finite number >= 0",
         ERR_INVALID},
        {"[0.5,0.0,1.5]", "[0.5,0.0,null]", "map.scales[2]: byte", ERR_INVALID},
        {"-1.0001", "null", "map.centres[1]: byte", ERR_INVALID},
        {"-1.0001", "[1.0]", "map.centres[1]: byte", ERR_INVALID},
        {"-1.0001", "1e309", "map.centres[1]: byte", ERR_INVALID},
        {",3.0]", "]", "map.centres: expected 2 numbers per centre, got 5 in all", ERR_INVALID},
        {",3.0]", ",3.0,1.0,2.0]", "parameters.coefficients: expected 4 numbers, one per centre",
         ERR_INVALID},
        {"[3.0,-1.0,0.25]", "[]", "parameters.coefficients: expected 3 numbers", ERR_INVALID},
        {"[3.0,-1.0,0.25]", "[3.0]", "parameters.coefficients: expected 3 numbers", ERR_INVALID},
        {"[3.0,-1.0,0.25]", "[3.0,-1.0,0.0,1.0]", "expected 3 numbers, one per centre, got 4",
         ERR_INVALID},
        {"[3.0,-1.0,0.25]", "[3.0,null,1.0]", "parameters.coefficients[1]: byte", ERR_INVALID},
        {"[3.0,-1.0,0.25]", "[3.0,[1.0]]", "parameters.coefficients[1]: byte", ERR_INVALID},
        {"[3.0,-1.0,0.25]", "[1e400,1.0]", "parameters.coefficients[0]: byte", ERR_INVALID},
        {"[3.0,-1.0,0.25]", "[3.0,-1.0", "parameters.coefficients: byte", ERR_INVALID},
        {"0.125,", "", "residual.coefficients: expected 3 numbers", ERR_INVALID},
        {"0.0625", "0.0", "interval.floor: expected a number > 0", ERR_INVALID},
        {"0.75,3.5", "3.5,0.75", "interval.scores[2]: expected finite, ascending", ERR_INVALID},
        {"\"r2\":0.125", "\"r2\":1.5", "card.linear", ERR_INVALID},
        {"18446744073709551615", "18446744073709551616", "card.rows: byte", ERR_INVALID},
        {"18446744073709551615", "-1", "card.rows: byte", ERR_INVALID},
        {"18446744073709551615", "1.5", "card.rows: byte", ERR_INVALID},
        {"aaaab", "AAAAb", "card.data_sha256: expected 64", ERR_INVALID},
        {"aaaab", "aaab", "card.data_sha256: expected 64", ERR_INVALID},
        {"aaaab", "aaaaab", "card.data_sha256: expected a string of at most 64", ERR_INVALID},
        {"2026-11-24", "12345678901234567890123456789012",
         "card.date: expected a string of at most 31", ERR_INVALID},
        {"Haswell", "12345678901234567890123456789012",
         "card.kernel: expected a string of at most 31", ERR_INVALID},
        {":0.1,", ":-0.1,", "card.penalty", ERR_INVALID},
        {"\"threads\":4", "\"threads\":4294967296", "card.threads: byte", ERR_INVALID},
        {"\"mae\":0.5", "\"mae\":-0.5", "card.leave_one_out", ERR_INVALID},
        {"\"r2\":0.25", "\"r2\":1.25", "card.leave_one_out", ERR_INVALID},
        {"},\n\"features", "}},\n\"features", ": features: missing", ERR_INVALID},
        {"{\"format", "[{\"format", "byte 0: expected an object", ERR_INVALID},
        {"{\"format", " \xef\xbb\xbf{\"format", "byte 1: expected an object", ERR_INVALID},
        {",\n\"name\"", "\n\"name\"", "byte 20: expected ',' or '}'", ERR_INVALID},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char body[TEXT_MAX];
        replace(body, cases[i].old, cases[i].new);
        assert_refused(body, cases[i].code, cases[i].part);
    }
}

static void later_format_is_recognised_before_its_members(void **state)
{
    (void)state;
    assert_refused("{\"format_version\":2,\"anything\":\"else\",\n", ERR_INVALID,
                   "format_version: expected 1, got 2");
}

static void dates_and_names_of_the_longest_length_fit(void **state)
{
    (void)state;
    char body[TEXT_MAX], name[256] = {0};
    struct error err = {0};
    memset(name, 'n', 255);
    replace(body, "houses", name);
    struct model *model = load_sealed(body, &err);
    assert_non_null(model);
    assert_string_equal(model_name(model), name);
    model_free(model);
    replace(body, "2026-11-24", "1234567890123456789012345678901");
    model = load_sealed(body, &err);
    assert_non_null(model);
    assert_string_equal(model_card(model)->date, "1234567890123456789012345678901");
    model_free(model);
}

/* ---- bounds ---- */

/* good with the array `old` replaced by one that holds count copies of element. */
static char *with_long_array(const char *old, const char *element, size_t count)
{
    const char *at = strstr(good, old);
    assert_non_null(at);
    size_t n = strlen(good) + count * (strlen(element) + 1) + 16;
    char *body = malloc(n);
    char *p = body + sprintf(body, "%.*s[", (int)(at - good), good);
    for (size_t i = 0; i < count; i++)
        p += sprintf(p, "%s%s", i > 0 ? "," : "", element);
    (void)sprintf(p, "]%s", at + strlen(old));
    return body;
}

static void load_refuses_huge_counts_before_allocating(void **state)
{
    (void)state;
    static const struct {
        const char *array, *element;
        size_t most;
        const char *path;
    } cases[] = {
        {"[3.0,-1.0,0.25]", "0", KERNEL_CENTRES_MAX, "parameters.coefficients"},
        {"[0.0,0.125,-2.0]", "0", KERNEL_CENTRES_MAX, "residual.coefficients"},
        {"[0.0,0.75,3.5]", "0", MODEL_SCORES_MAX, "interval.scores"},
        {"[0.5,0.0,1.5]", "0", MODEL_FEATURES_MAX + KERNEL_DIRECTIONS_MAX, "map.scales"},
        {"[0.1234,-1.0001,-0.0,2.5,1.0,3.0]", "0", KERNEL_NUMBERS_MAX, "map.centres"},
        {"[{\"a\":1,\"b\":0,\"difference\":true}]", "{}", KERNEL_DIRECTIONS_MAX, "map.directions"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char part[128];
        char *body = with_long_array(cases[i].array, cases[i].element, cases[i].most + 1);
        (void)snprintf(part, sizeof part, ": %s: expected at most %zu elements", cases[i].path,
                       cases[i].most);
        assert_refused(body, ERR_TOO_LARGE, part);
        free(body);
    }
}

static void load_refuses_too_many_centres(void **state)
{
    (void)state;
    /* Two features: as many numbers as there may be, but twice as many centres as those. */
    char *body =
        with_long_array("[0.1234,-1.0001,-0.0,2.5,1.0,3.0]", "0", 4 * (size_t)KERNEL_CENTRES_MAX);
    assert_refused(body, ERR_TOO_LARGE, "map.centres: expected 1 to 16384, got 32768");
    free(body);
}

static void load_refuses_a_long_list_of_features(void **state)
{
    (void)state;
    char *body = malloc(3 * (MODEL_FEATURES_MAX + 1) + 64), *p = body;
    p += sprintf(p, "{\"format_version\":1,\"features\":[{}");
    for (size_t i = 0; i < MODEL_FEATURES_MAX; i++)
        p += sprintf(p, ",{}");
    (void)sprintf(p, "],\n");
    assert_refused(body, ERR_TOO_LARGE, "features: expected at most 4096 elements");
    free(body);
}

static void load_refuses_a_huge_name_before_copying_it(void **state)
{
    (void)state;
    enum { LONG = 1 << 20 };
    char *body = malloc(LONG + 64);
    size_t n = (size_t)sprintf(body, "{\"format_version\":1,\"name\":\"");
    memset(body + n, 'n', LONG);
    (void)sprintf(body + n + LONG, "\",\n");
    assert_refused(body, ERR_INVALID, "name: expected a string of at most 255 bytes");
    free(body);
}

static void load_refuses_deep_nesting_in_what_it_ignores(void **state)
{
    (void)state;
    char body[TEXT_MAX] = "{\"later\":";
    memset(body + strlen(body), '[', 1000);
    (void)strcat(body, ",\n");
    assert_refused(body, ERR_TOO_LARGE, "nesting");
}

static void load_refuses_a_file_that_never_ends(void **state)
{
    (void)state;
    struct error err = {0};
    assert_null(model_load_path("/dev/zero", &err));
    assert_int_equal(err.code, ERR_TOO_LARGE);
    assert_contains(err.message, "/dev/zero: expected at most 67108864 bytes");
}

/* ---- damage ---- */

static void artifact_cut_short_anywhere_is_refused(void **state)
{
    (void)state;
    struct artifact a = seal(good, strlen(good));
    for (size_t n = 0; n < a.n; n++) {
        struct error err = {0};
        assert_null(load(a.text, n, &err));
        assert_int_equal(err.code, ERR_INVALID);
        assert_contains(err.message, "test.json: expected a last line");
    }
    free(a.text);
}

static void artifact_cut_short_and_sealed_again_is_refused(void **state)
{
    (void)state;
    for (size_t n = 0; n < strlen(good); n++) {
        struct error err = {0};
        char *body = malloc(n + 1);
        memcpy(body, good, n);
        body[n] = '\n'; /* the last line begins on a line of its own */
        struct artifact a = seal(body, n + 1);
        struct model *model = load(a.text, a.n, &err);
        /* Only without the comma's line end, which is then put back, is it whole. */
        assert_int_equal(model != NULL, n + 1 == strlen(good));
        assert_int_equal(err.code, model != NULL ? ERR_NONE : ERR_INVALID);
        model_free(model);
        free(a.text);
        free(body);
    }
}

static void every_flipped_bit_is_noticed(void **state)
{
    (void)state;
    struct artifact a = seal(good, strlen(good));
    for (size_t i = 0; i < a.n; i++)
        for (int bit = 0; bit < 8; bit++) {
            struct error err = {0};
            a.text[i] = (char)(a.text[i] ^ 1 << bit);
            assert_null(load(a.text, a.n, &err));
            assert_int_equal(err.code, ERR_INVALID);
            a.text[i] = (char)(a.text[i] ^ 1 << bit);
        }
    free(a.text);
}

static void tampered_centre_or_scale_is_refused(void **state)
{
    (void)state;
    static const char *const numbers[][2] = {
        {"0.1234", "0.1334"}, {"-1.0001", "-1.0002"}, {"1.5]", "1.6]"}, {"2.5,1.0", "2.5,1.1"}};
    /* The digest finds it, whatever the value. */
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        char body[TEXT_MAX];
        struct error err = {0};
        struct artifact a = seal(good, strlen(good)), b;
        replace(body, numbers[i][0], numbers[i][1]);
        memcpy(a.text, body, strlen(good));
        assert_null(load(a.text, a.n, &err));
        assert_contains(err.message, "sha256: damaged");
        /* Sealed again, it is a model: that nobody made another one is for the signature to say. */
        b = seal(body, strlen(body));
        struct model *model = load(b.text, b.n, &err);
        assert_non_null(model);
        model_free(model);
        free(a.text);
        free(b.text);
    }
    /* With a right digest the values still have to be possible; bad_value_is_named has more. */
    char body[TEXT_MAX];
    replace(body, "[0.5,0.0,1.5]", "[1e200,0.0,1.5]");
    assert_refused(body, ERR_INVALID, "map.centres: expected numbers up to 1e+150");
    replace(body, "2.5,1.0", "1e300,1.0");
    assert_refused(body, ERR_INVALID, "map.centres: expected numbers up to 1e+150");
}

static void flipped_and_sealed_again_it_is_refused_or_a_model(void **state)
{
    (void)state;
    char body[TEXT_MAX];
    size_t n = strlen(good), models = 0;
    strcpy(body, good);
    for (size_t i = 0; i < n; i++)
        for (int bit = 0; bit < 8; bit++) {
            struct error err = {0};
            body[i] = (char)(body[i] ^ 1 << bit);
            struct artifact a = seal(body, n);
            struct model *model = load(a.text, a.n, &err);
            if (model == NULL)
                assert_int_not_equal(err.code, ERR_NONE);
            models += model != NULL;
            model_free(model);
            free(a.text);
            body[i] = (char)(body[i] ^ 1 << bit);
        }
    /* Digits, names and unknown members can change; most of the text cannot. */
    assert_in_range(models, 100, 8 * n / 2);
}

static void bytes_behind_the_end_are_refused(void **state)
{
    (void)state;
    struct artifact a = seal(good, strlen(good));
    char *longer = malloc(2 * a.n);
    struct error err = {0};
    memcpy(longer, a.text, a.n);
    longer[a.n] = '\n';
    assert_null(load(longer, a.n + 1, &err));
    assert_int_equal(err.code, ERR_INVALID);
    memcpy(longer + a.n, a.text, a.n);
    assert_null(load(longer, 2 * a.n, &err));
    assert_int_equal(err.code, ERR_INVALID);
    free(longer);
    free(a.text);
}

static void digest_in_capitals_or_of_other_bytes_is_refused(void **state)
{
    (void)state;
    struct artifact a = seal(good, strlen(good));
    struct error err = {0};
    char *hex = a.text + a.n - 3 - 64;
    for (int i = 0; i < 64; i++)
        if (hex[i] >= 'a')
            hex[i] = (char)(hex[i] - 'a' + 'A');
    assert_null(load(a.text, a.n, &err));
    assert_contains(err.message, "sha256: damaged");
    memset(hex, '0', 64);
    assert_null(load(a.text, a.n, &err));
    assert_contains(err.message, "damaged: expected 0000");
    free(a.text);
}

static void last_line_must_be_a_line_of_its_own(void **state)
{
    (void)state;
    struct error err = {0};
    char *body = strdup(good);
    body[strlen(body) - 1] = ' ';
    assert_null(load_sealed(body, &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_contains(err.message, "expected a last line");
    free(body);
}

/* ---- files ---- */

static void load_path_says_what_is_the_matter_with_the_file(void **state)
{
    (void)state;
    struct error err = {0};
    char folder[512], path[600];
    process_folder(folder, sizeof folder);
    (void)snprintf(path, sizeof path, "%s/none.json", folder);
    assert_null(model_load_path(path, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_contains(err.message, path);
    assert_null(model_load_path(folder, &err));
    assert_int_equal(err.code, ERR_INTERNAL);
    assert_contains(err.message, folder);
    assert_null(model_load_path("/dev/null", &err));
    assert_int_equal(err.code, ERR_INVALID);
    process_remove(folder);
}

static void save_notices_that_the_disk_is_full(void **state)
{
    (void)state;
    struct error err = {0};
    struct model *model = load_good();
    FILE *out = fopen("/dev/full", "wb");
    assert_non_null(out);
    assert_false(model_save(model, out, &err));
    assert_int_equal(err.code, ERR_INTERNAL);
    (void)fclose(out);
    model_free(model);
}

static size_t count_files(const char *folder)
{
    size_t count = 0;
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    (void)closedir(dir);
    return count;
}

/* A folder with "model.json", which is no model, in it. */
struct place {
    char folder[512], path[600];
};

static void write_text(const char *path, const char *text)
{
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    (void)fputs(text, out);
    (void)fclose(out);
}

static void make_place(struct place *place)
{
    process_folder(place->folder, sizeof place->folder);
    (void)snprintf(place->path, sizeof place->path, "%s/model.json", place->folder);
    write_text(place->path, "old");
}

static void assert_old_and_alone(const struct place *place)
{
    char text[16] = {0};
    FILE *in = fopen(place->path, "rb");
    assert_non_null(in);
    assert_int_equal(fread(text, 1, sizeof text - 1, in), 3);
    (void)fclose(in);
    assert_string_equal(text, "old");
    assert_int_equal(count_files(place->folder), 1);
}

static void save_path_replaces_the_file_and_leaves_nothing_else(void **state)
{
    (void)state;
    struct place place;
    struct error err = {0};
    struct model *model = load_good();
    struct stat info;
    make_place(&place);
    mode_t before = umask(027);
    assert_true(model_save_path(model, place.path, &err));
    (void)umask(before);
    assert_int_equal(count_files(place.folder), 1);
    assert_int_equal(stat(place.path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0640);
    struct model *loaded = model_load_path(place.path, &err);
    assert_non_null(loaded);
    assert_string_equal(model_name(loaded), "houses");
    model_free(loaded);
    model_free(model);
    process_remove(place.folder);
}

static void save_path_knows_the_current_folder(void **state)
{
    (void)state;
    struct place place;
    struct error err = {0};
    struct model *model = load_good();
    char *here = getcwd(NULL, 0);
    make_place(&place);
    assert_int_equal(chdir(place.folder), 0);
    bool ok = model_save_path(model, "other.json", &err);
    assert_int_equal(chdir(here), 0);
    assert_true(ok);
    assert_int_equal(count_files(place.folder), 2);
    free(here);
    model_free(model);
    process_remove(place.folder);
}

static void save_path_passes_over_what_a_killed_program_left(void **state)
{
    (void)state;
    struct place place;
    struct error err = {0};
    char stale[700];
    struct model *model = load_good();
    make_place(&place);
    (void)snprintf(stale, sizeof stale, "%s/.model.json.0", place.folder);
    write_text(stale, "half");
    assert_true(model_save_path(model, place.path, &err));
    assert_int_equal(count_files(place.folder), 2);
    model_free(model);
    process_remove(place.folder);
}

static void assert_save_fails(const struct model *model, const char *path, enum error_code code,
                              const char *part)
{
    struct error err = {0};
    assert_false(model_save_path(model, path, &err));
    assert_int_equal(err.code, code);
    assert_contains(err.message, part);
}

static void save_path_fails_in_a_folder_that_is_not_there(void **state)
{
    (void)state;
    struct place place;
    char path[700];
    struct model *model = load_good();
    make_place(&place);
    (void)snprintf(path, sizeof path, "%s/none/model.json", place.folder);
    assert_save_fails(model, path, ERR_NOT_FOUND, "/none/: No such file");
    (void)snprintf(path, sizeof path, "%s/x", place.path); /* the folder is a file */
    assert_save_fails(model, path, ERR_INTERNAL, "model.json/: Not a directory");
    assert_save_fails(model, place.folder, ERR_INTERNAL, place.folder);
    (void)snprintf(path, sizeof path, "%s/", place.folder);
    assert_save_fails(model, path, ERR_NOT_FOUND, place.folder);
    assert_old_and_alone(&place);
    model_free(model);
    process_remove(place.folder);
}

static void failing_rename_leaves_no_temporary_file(void **state)
{
    (void)state;
    struct place place;
    char path[700];
    struct model *model = load_good();
    make_place(&place);
    (void)snprintf(path, sizeof path, "%s/folder", place.folder);
    assert_int_equal(mkdir(path, 0777), 0);
    assert_save_fails(model, path, ERR_INTERNAL, "folder: Is a directory");
    assert_int_equal(count_files(path), 0);
    assert_int_equal(rmdir(path), 0);
    assert_old_and_alone(&place);
    model_free(model);
    process_remove(place.folder);
}

static void read_only_folder_keeps_the_old_file(void **state)
{
    (void)state;
    struct place place;
    struct model *model = load_good();
    uid_t user = geteuid();
    make_place(&place);
    assert_int_equal(chmod(place.folder, 0555), 0);
    if (user == 0) /* the superuser may write anywhere, so be somebody else for a moment */
        assert_int_equal(seteuid(65534), 0);
    struct error err = {0};
    bool ok = model_save_path(model, place.path, &err);
    if (user == 0)
        assert_int_equal(seteuid(0), 0);
    assert_false(ok);
    assert_int_equal(err.code, ERR_INTERNAL);
    assert_contains(err.message, "model.json: Permission denied");
    assert_int_equal(chmod(place.folder, 0755), 0);
    assert_old_and_alone(&place);
    model_free(model);
    process_remove(place.folder);
}

static void write_that_breaks_off_keeps_the_old_file(void **state)
{
    (void)state;
    struct place place;
    struct rlimit before, little;
    struct model *model = load_good();
    make_place(&place);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    little = (struct rlimit){100, before.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
    struct error err = {0};
    bool ok = model_save_path(model, place.path, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    (void)signal(SIGXFSZ, handler);
    assert_false(ok);
    assert_int_equal(err.code, ERR_INTERNAL);
    assert_contains(err.message, "model.json: File too large");
    assert_old_and_alone(&place);
    model_free(model);
    process_remove(place.folder);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(load_reads_every_member),
    cmocka_unit_test(load_reads_every_part_of_a_kernel_model),
    cmocka_unit_test(load_takes_null_for_what_a_model_can_do_without),
    cmocka_unit_test(save_writes_the_very_bytes_that_were_loaded),
    cmocka_unit_test(saved_numbers_come_back_bit_by_bit),
    cmocka_unit_test(saved_kernel_model_comes_back_bit_by_bit),
    cmocka_unit_test(artifact_of_the_bundled_size_is_below_a_megabyte),
    cmocka_unit_test(missing_member_is_named),
    cmocka_unit_test(member_that_is_there_twice_is_named),
    cmocka_unit_test(unknown_member_is_ignored_wherever_it_is),
    cmocka_unit_test(member_of_the_wrong_type_is_named),
    cmocka_unit_test(bad_value_is_named),
    cmocka_unit_test(later_format_is_recognised_before_its_members),
    cmocka_unit_test(dates_and_names_of_the_longest_length_fit),
    cmocka_unit_test(load_refuses_huge_counts_before_allocating),
    cmocka_unit_test(load_refuses_too_many_centres),
    cmocka_unit_test(load_refuses_a_long_list_of_features),
    cmocka_unit_test(load_refuses_a_huge_name_before_copying_it),
    cmocka_unit_test(load_refuses_deep_nesting_in_what_it_ignores),
    cmocka_unit_test(load_refuses_a_file_that_never_ends),
    cmocka_unit_test(artifact_cut_short_anywhere_is_refused),
    cmocka_unit_test(artifact_cut_short_and_sealed_again_is_refused),
    cmocka_unit_test(every_flipped_bit_is_noticed),
    cmocka_unit_test(tampered_centre_or_scale_is_refused),
    cmocka_unit_test(flipped_and_sealed_again_it_is_refused_or_a_model),
    cmocka_unit_test(bytes_behind_the_end_are_refused),
    cmocka_unit_test(digest_in_capitals_or_of_other_bytes_is_refused),
    cmocka_unit_test(last_line_must_be_a_line_of_its_own),
    cmocka_unit_test(load_path_says_what_is_the_matter_with_the_file),
    cmocka_unit_test(save_notices_that_the_disk_is_full),
    cmocka_unit_test(save_path_replaces_the_file_and_leaves_nothing_else),
    cmocka_unit_test(save_path_knows_the_current_folder),
    cmocka_unit_test(save_path_passes_over_what_a_killed_program_left),
    cmocka_unit_test(save_path_fails_in_a_folder_that_is_not_there),
    cmocka_unit_test(failing_rename_leaves_no_temporary_file),
    cmocka_unit_test(read_only_folder_keeps_the_old_file),
    cmocka_unit_test(write_that_breaks_off_keeps_the_old_file),
};

T_MAIN(tests)
