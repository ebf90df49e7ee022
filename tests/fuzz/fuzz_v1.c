/* Decodes any bytes as a predict body. What is accepted has rows, all finite, and decodes to the same
 * bits again when written canonically, by either path. What is refused is so with words that can be
 * shown, and with KServe's words exactly if it is not JSON. */
#include "base/json.h"
#include "model/model_internal.h"
#include "server/predictor/v1.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FEATURES = 3, MAX_ROWS = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static struct model *make_model(void)
{
    const struct transform plain = {
        .kind = TRANSFORM_STANDARDISE, .min = 0, .max = 1, .mean = 0, .scale = 1};
    const struct model_feature features[FEATURES] = {
        {"a", plain}, {"ab", plain}, {"\xc3\xa4", plain}};
    const double coefficients[FEATURES] = {0}, scores[] = {1, 2, 3};
    struct model_parts parts = {.name = "m",
                                .version = "1",
                                .target_name = "y",
                                .target_unit = "",
                                .features = features,
                                .feature_count = FEATURES,
                                .prediction = {0, coefficients, FEATURES},
                                .interval = {false, 0, scores, 3}};
    struct error err = {0};
    memset(parts.card.data_sha256, '0', 64);
    return model_new(&parts, &err);
}

static void check_words(const struct error *err, bool is_json)
{
    static const char kserve[] = "Unrecognized request format: ";
    const char *p = err->message, *end = p + strlen(p);
    check(err->code == ERR_INVALID || err->code == ERR_TOO_LARGE);
    check(is_json == (strncmp(p, kserve, sizeof kserve - 1) != 0));
    check(p < end);
    for (size_t n; p < end; p += n) {
        n = json_utf8_length(p, end);
        check(n > 0 && (unsigned char)*p >= ' ' && *p != 0x7f);
    }
}

/* {"key":[[...],...]} */
static struct span write_rows(const struct v1_request *request, const char *start,
                              struct arena *arena)
{
    struct json_writer w;
    struct span body;
    json_writer_init(&w, arena);
    json_begin_array(&w);
    for (size_t i = 0; i < request->rows; i++)
        json_put_numbers(&w, request->x + i * FEATURES, FEATURES);
    json_end_array(&w);
    check(json_writer_finish(&w, &body));
    size_t n = strlen(start);
    char *text = arena_alloc(arena, n + body.n + 1);
    check(text != NULL);
    memcpy(text, start, n);
    memcpy(text + n, body.p, body.n);
    text[n + body.n] = '}';
    return (struct span){text, n + body.n + 1};
}

static void check_decodes_again(const struct v1_request *request, const char *start,
                                const struct model *model, struct arena *arena)
{
    struct v1_request again;
    struct error err = {0};
    check(v1_decode(write_rows(request, start, arena), model, MAX_ROWS, arena, &again, &err));
    check(again.rows == request->rows);
    check(memcmp(again.x, request->x, again.rows * FEATURES * sizeof *again.x) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct model *model = make_model();
    struct arena *arena = arena_new(4096, 0);
    struct v1_request request;
    struct error err = {0}, why = {0};
    struct json_reader r;
    struct span body = {(const char *)data, size}, whole;
    json_reader_init(&r, body.p, body.n);
    bool is_json = json_skip(&r, &whole, &why) && json_end(&r, &why);
    if (v1_decode(body, model, MAX_ROWS, arena, &request, &err)) {
        check(is_json && request.rows >= 1 && request.rows <= MAX_ROWS);
        for (size_t i = 0; i < request.rows * FEATURES; i++)
            check(isfinite(request.x[i]));
        check(!request.interval || (request.interval_score >= 1 && request.interval_score <= 3));
        check_decodes_again(&request, "{\"instances\":", model, arena);
        check_decodes_again(&request, "{\"\\u0069nputs\":", model, arena);
    } else {
        check_words(&err, is_json);
    }
    arena_free(arena);
    model_free(model);
    return 0;
}
