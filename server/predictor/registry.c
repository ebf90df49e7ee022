/* One model for now; kept as a list so that names and versions have their place. */
#include "server/predictor/registry.h"

#include "model/model_file.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MODELS_MAX = 1 };

struct lazy_explainer {
    pthread_mutex_t lock;
    struct explainer *made; /* under the lock; immutable once there */
};

struct registry {
    struct telemetry *telemetry;
    struct served served[MODELS_MAX];
    size_t count;
};

struct registry *registry_new(struct telemetry *telemetry)
{
    struct registry *registry = calloc(1, sizeof *registry);
    if (registry != NULL)
        registry->telemetry = telemetry;
    return registry;
}

static struct lazy_explainer *lazy_explainer_new(void)
{
    struct lazy_explainer *lazy = calloc(1, sizeof *lazy);
    if (lazy != NULL && pthread_mutex_init(&lazy->lock, NULL) != 0) {
        free(lazy);
        lazy = NULL;
    }
    return lazy;
}

static void lazy_explainer_free(struct lazy_explainer *lazy)
{
    if (lazy == NULL)
        return;
    explainer_free(lazy->made);
    (void)pthread_mutex_destroy(&lazy->lock);
    free(lazy);
}

static void clear_served(struct served *served)
{
    lazy_explainer_free(served->explainer);
    telemetry_model_free(served->telemetry);
    model_free(served->model);
}

void registry_free(struct registry *registry)
{
    if (registry == NULL)
        return;
    for (size_t i = 0; i < registry->count; i++)
        clear_served(&registry->served[i]);
    free(registry);
}

static struct model *load_path(const char *path, struct error *err)
{
    struct stat info;
    char file[PATH_MAX];
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode))
        return model_load_path(path, err);
    if (snprintf(file, sizeof file, "%s/model.json", path) >= (int)sizeof file) {
        (void)error_set(err, ERR_TOO_LARGE, "model_dir: expected a path below %d bytes", PATH_MAX);
        return NULL;
    }
    return model_load_path(file, err);
}

static bool valid_name(const char *name)
{
    size_t n = strlen(name);
    return n > 0 && n <= SERVED_NAME_MAX && strpbrk(name, "/:") == NULL;
}

bool registry_load(struct registry *registry, const char *path, const char *name, struct error *err)
{
    if (registry->count == MODELS_MAX)
        return error_set(err, ERR_TOO_LARGE, "registry: expected at most %d models", MODELS_MAX);
    if (name != NULL && !valid_name(name))
        return error_set(err, ERR_INVALID,
                         "model_name: expected 1 to %d bytes without '/' and ':', got \"%.64s\"",
                         SERVED_NAME_MAX, name);
    struct model *model = load_path(path, err);
    if (model == NULL)
        return false;
    /* The series keep a pointer to the name, so the entry is filled where it will stay. */
    struct served *served = &registry->served[registry->count];
    (void)snprintf(served->name, sizeof served->name, "%s",
                   name != NULL ? name : model_name(model));
    served->model = model;
    served->telemetry = telemetry_model_new(registry->telemetry, served->name, model);
    served->explainer = lazy_explainer_new();
    if (served->telemetry == NULL || served->explainer == NULL) {
        clear_served(served);
        return error_set(err, ERR_NO_MEMORY, "%s: out of memory", path);
    }
    registry->count++;
    return true;
}

const struct served *registry_find(const struct registry *registry, struct span name)
{
    for (size_t i = 0; i < registry->count; i++) {
        const struct served *served = &registry->served[i];
        if (strlen(served->name) == name.n && memcmp(served->name, name.p, name.n) == 0)
            return served;
    }
    return NULL;
}

const struct explainer *registry_explainer(const struct served *served, struct error *err)
{
    struct lazy_explainer *lazy = served->explainer;
    (void)pthread_mutex_lock(&lazy->lock);
    if (lazy->made == NULL)
        lazy->made = explainer_new(served->model, err);
    const struct explainer *made = lazy->made;
    (void)pthread_mutex_unlock(&lazy->lock);
    return made;
}

const struct served *registry_at(const struct registry *registry, size_t i)
{
    return i < registry->count ? &registry->served[i] : NULL;
}
