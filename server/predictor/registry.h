/* registry.h - the models being served, by name.
 *
 * Idea:    a served model is an immutable model together with its series; finding one is a comparison
 *          of names, with no lock.
 * Does not: predict, count, or reload.
 * Threads: registry_load by main before the workers start; the others by any thread after.
 * Memory:  the registry owns models and series; a struct served is valid until registry_free.
 * Errors:  registry_load: those of model_load_path, with the path named.
 */
#ifndef SERVER_PREDICTOR_REGISTRY_H
#define SERVER_PREDICTOR_REGISTRY_H

#include "base/arena.h"
#include "model/explain.h"
#include "model/model.h"
#include "server/predictor/telemetry.h"

struct registry;

enum { SERVED_NAME_MAX = 255 };

struct served {
    char name[SERVED_NAME_MAX + 1]; /* in the URL */
    struct model *model;
    struct telemetry_model *telemetry;
    struct lazy_explainer *explainer; /* see registry_explainer */
};

struct registry *registry_new(struct telemetry *telemetry) MUST_CHECK;
void registry_free(struct registry *registry);

/* Loads `path`/model.json, or path itself if it is a file, and serves it under name (NULL: the
 * artifact's own). name is copied. */
bool registry_load(struct registry *registry, const char *path, const char *name,
                   struct error *err) MUST_CHECK;

/* The served model of that name, or NULL. */
const struct served *registry_find(const struct registry *registry, struct span name);

/* The served model's explainer, made by the first call while others wait; lives as long as the model.
 * NULL: those of explainer_new. */
const struct explainer *registry_explainer(const struct served *served,
                                           struct error *err) MUST_CHECK;

/* The i-th served model in the order of loading, or NULL past the end. */
const struct served *registry_at(const struct registry *registry, size_t i);

#endif
