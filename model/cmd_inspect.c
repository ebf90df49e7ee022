/* ridge inspect: what an artifact says about itself. */
#include "model/cmd.h"

#include "model/model_file.h"
#include "model/model_internal.h"

static void print_figures(const char *what, const struct model_figures *f)
{
    if (f->rows == 0)
        (void)printf("%-14s not measured\n", what);
    else
        (void)printf("%-14s MAE %.6g, RMSE %.6g, R2 %.6g (%llu rows)\n", what, f->mae, f->rmse,
                     f->r2, (unsigned long long)f->rows);
}

static void print_card(const struct model_card *card)
{
    (void)printf("%-14s %llu rows%s%s, penalty %.6g, %s, %u %s\n", "trained",
                 (unsigned long long)card->rows, *card->date != '\0' ? ", " : "", card->date,
                 card->penalty, card->kernel, card->threads,
                 card->threads == 1 ? "thread" : "threads");
    (void)printf("%-14s %s\n", "data sha256", card->data_sha256);
    print_figures("leave-one-out", &card->leave_one_out);
    print_figures("holdout", &card->holdout);
    if (card->linear.rows > 0)
        print_figures("linear instead", &card->linear);
}

/* The one number that the model has for feature j: its coefficient, or its scale in the kernel. */
static double weight(const struct model_parts *parts, size_t j)
{
    return parts->kind == MODEL_KERNEL ? parts->kernel.scales[j]
                                       : parts->prediction.coefficients[j];
}

static void print_features(const struct model_parts *parts)
{
    (void)printf("\n%-24s %-11s %12s %12s %12s %12s %12s\n", "feature", "transform", "min", "max",
                 "mean", "scale", parts->kind == MODEL_KERNEL ? "w" : "coefficient");
    for (size_t j = 0; j < parts->feature_count; j++) {
        const struct transform *t = &parts->features[j].transform;
        (void)printf("%-24s %-11s %12.6g %12.6g %12.6g %12.6g %12.6g\n", parts->features[j].name,
                     t->kind == TRANSFORM_LOG ? "log" : "standardise", t->min, t->max, t->mean,
                     t->scale, weight(parts, j));
    }
    (void)printf("%-24s %-11s %12s %12s %12s %12s %12.6g\n", "intercept", "", "", "", "", "",
                 parts->prediction.intercept);
}

static void print_directions(const struct model_parts *parts)
{
    const struct kernel_map *map = &parts->kernel;
    for (size_t d = 0; d < map->direction_count; d++) {
        const struct kernel_direction *direction = &map->directions[d];
        (void)printf("%-24s %s %c %s, w %.6g\n", d == 0 ? "directions" : "",
                     parts->features[direction->a].name, direction->difference ? '-' : '+',
                     parts->features[direction->b].name, map->scales[map->inputs + d]);
    }
}

static void print_interval(const struct model_interval *interval)
{
    if (interval->score_count == 0)
        (void)printf("%-14s none\n", "intervals");
    else
        (void)printf("%-14s from %zu %squantiles of unseen residuals\n", "intervals",
                     interval->score_count, interval->scaled ? "locally scaled " : "");
}

static void print(const struct model *model)
{
    const struct model_parts *parts = &model->parts;
    const char *unit = model_target_unit(model);
    (void)printf("%-14s %s, version %s\n", "model", model_name(model), model_version(model));
    (void)printf("%-14s %s\n", "sha256", model_sha256(model));
    (void)printf("%-14s %s, %zu features", "kind", model_kind(model), model_feature_count(model));
    if (parts->kind == MODEL_KERNEL)
        (void)printf(", %zu centres", parts->kernel.centre_count);
    (void)printf("\n%-14s %s%s%s\n", "target", model_target_name(model),
                 *unit != '\0' ? ", in " : "", unit);
    print_card(model_card(model));
    print_interval(&parts->interval);
    print_features(parts);
    print_directions(parts);
}

static int run(const struct cmd_options *o, struct error *err)
{
    bool ok = true;
    struct model *model = model_load_path(o->positional.items[0], err);
    if (model == NULL)
        return CMD_FAILED;
    if (o->json)
        ok = model_save(model, stdout, err);
    else
        print(model);
    model_free(model);
    return ok ? CMD_OK : CMD_FAILED;
}

const struct command cmd_inspect = {
    .name = "inspect",
    .summary = "Checks an artifact and shows what it says about itself.",
    .positional = "MODEL",
    .run = run,
    .options = {
        {"json", "BOOLEAN", "print the artifact itself (default false)", CMD_BOOLEAN, CMD_AT(json),
         false},
    }};
