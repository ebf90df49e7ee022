/* Exercises model_file.c, model_new and base/json beneath them. The input is loaded as it is, and once
 * more with the last line that belongs to it, because no fuzzer finds a digest. What loads must save,
 * load again, save to the same bytes, and predict the same. */
#include "model/model_file.h"

#include <sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct text {
    char *p;
    size_t n;
};

static struct text seal(const uint8_t *body, size_t n)
{
    char hex[SHA256_DIGEST_STRING_LENGTH];
    struct text sealed = {malloc(n + 128), 0};
    memcpy(sealed.p, body, n);
    if (n > 0 && body[n - 1] != '\n')
        sealed.p[n++] = '\n';
    (void)SHA256Data((const uint8_t *)sealed.p, n, hex);
    sealed.n = n + (size_t)sprintf(sealed.p + n, "\"sha256\":\"%s\"}\n", hex);
    return sealed;
}

static struct model *load(const char *text, size_t n)
{
    struct error err = {0};
    FILE *in = n > 0 ? fmemopen((void *)(uintptr_t)text, n, "rb") : NULL;
    if (in == NULL)
        return NULL;
    struct model *model = model_load(in, "fuzz", &err);
    (void)fclose(in);
    if ((model == NULL) != (err.code != ERR_NONE) || strlen(err.message) >= sizeof err.message)
        abort();
    return model;
}

static struct text save(const struct model *model)
{
    struct text text = {NULL, 0};
    struct error err = {0};
    FILE *out = open_memstream(&text.p, &text.n);
    if (out == NULL || !model_save(model, out, &err))
        abort();
    (void)fclose(out);
    return text;
}

static double predict(const struct model *model)
{
    double y, min, max, *x = calloc(model_feature_count(model), sizeof *x);
    for (size_t j = 0; j < model_feature_count(model); j++) {
        model_feature_range(model, j, &min, &max);
        x[j] = max;
    }
    model_predict(model, 1, x, &y);
    free(x);
    return y;
}

static void check(const char *text, size_t n)
{
    struct model *model = load(text, n);
    if (model == NULL)
        return;
    struct text first = save(model);
    struct model *again = load(first.p, first.n);
    if (again == NULL)
        abort();
    struct text second = save(again);
    double a = predict(model), b = predict(again);
    if (first.n != second.n || memcmp(first.p, second.p, first.n) != 0 ||
        memcmp(&a, &b, sizeof a) != 0)
        abort();
    model_free(model);
    model_free(again);
    free(first.p);
    free(second.p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check((const char *)data, size);
    struct text sealed = seal(data, size);
    check(sealed.p, sealed.n);
    free(sealed.p);
    return 0;
}
