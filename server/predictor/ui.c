/* The assembler copies the page into the read-only data: no generated source to compile, and no object
 * file of the linker's making, which would leave the stack's permissions open. */
#include "server/predictor/ui.h"

#include "base/json.h"

/* Declares the bytes of a file, found from the repository's root, and how many they are. */
/* clang-format off */
#define EMBED(name, path)                                                                          \
    __asm__(".pushsection .rodata.ui_" #name ",\"a\",@progbits\n"                                  \
            ".globl ui_" #name "_size, ui_" #name "_bytes\n"                                       \
            ".hidden ui_" #name "_size, ui_" #name "_bytes\n"                                      \
            ".balign 8\n"                                                                          \
            "ui_" #name "_size: .quad 1f - ui_" #name "_bytes\n"                                   \
            "ui_" #name "_bytes: .incbin \"" path "\"\n"                                           \
            "1:\n"                                                                                 \
            ".popsection");                                                                        \
    extern const uint64_t ui_##name##_size;                                                        \
    extern const char ui_##name##_bytes[]
/* clang-format on */

#pragma GCC visibility push(hidden)
EMBED(page, "build/ui/page.html");
EMBED(policy, "build/ui/policy");
#pragma GCC visibility pop

struct span ui_page(void)
{
    return (struct span){ui_page_bytes, ui_page_size};
}

struct span ui_policy(void)
{
    return (struct span){ui_policy_bytes, ui_policy_size};
}

/* ---- the card ---- */

static void put_text(struct json_writer *w, const char *key, const char *text)
{
    json_key(w, key);
    json_put_string(w, text);
}

static void put_number(struct json_writer *w, const char *key, double value)
{
    json_key(w, key);
    json_put_number(w, value);
}

static void put_figures(struct json_writer *w, const char *key, const struct model_figures *f)
{
    json_key(w, key);
    if (f->rows == 0) {
        json_put_null(w);
        return;
    }
    json_begin_object(w);
    json_key(w, "rows");
    json_put_u64(w, f->rows);
    put_number(w, "mae", f->mae);
    put_number(w, "rmse", f->rmse);
    put_number(w, "r2", f->r2);
    json_end_object(w);
}

static void put_feature(struct json_writer *w, const struct model *model, size_t j)
{
    size_t count;
    const double *quantiles = model_feature_quantiles(model, j, &count);
    double min, max;
    model_feature_range(model, j, &min, &max);
    json_begin_object(w);
    put_text(w, "name", model_feature_name(model, j));
    put_number(w, "min", min);
    put_number(w, "max", max);
    put_number(w, "typical", model_feature_typical(model, j));
    json_key(w, "quantiles");
    if (quantiles != NULL)
        json_put_numbers(w, quantiles, count);
    else
        json_put_null(w);
    json_end_object(w);
}

static void put_training(struct json_writer *w, const struct model_card *card)
{
    json_begin_object(w);
    json_key(w, "rows");
    json_put_u64(w, card->rows);
    put_text(w, "date", card->date);
    put_text(w, "data_sha256", card->data_sha256);
    put_number(w, "penalty", card->penalty);
    put_figures(w, "leave_one_out", &card->leave_one_out);
    put_figures(w, "holdout", &card->holdout);
    put_figures(w, "linear", &card->linear);
    json_end_object(w);
}

bool ui_card(const struct model *model, const char *served_name, struct arena *arena,
             struct span *json, struct error *err)
{
    struct json_writer w;
    json_writer_init(&w, arena);
    json_begin_object(&w);
    put_text(&w, "name", served_name);
    put_text(&w, "version", model_version(model));
    put_text(&w, "kind", model_kind(model));
    put_text(&w, "sha256", model_sha256(model));
    json_key(&w, "target");
    json_begin_object(&w);
    put_text(&w, "name", model_target_name(model));
    put_text(&w, "unit", model_target_unit(model));
    json_end_object(&w);
    json_key(&w, "features");
    json_begin_array(&w);
    for (size_t j = 0; j < model_feature_count(model); j++)
        put_feature(&w, model, j);
    json_end_array(&w);
    json_key(&w, "card");
    put_training(&w, model_card(model));
    json_key(&w, "intervals");
    json_put_bool(&w, model_gives_intervals(model));
    json_end_object(&w);
    return json_writer_finish(&w, json) || error_set(err, ERR_NO_MEMORY, "out of memory");
}
