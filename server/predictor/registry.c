/* One model at a time: its replacement is published under a lock that the loader takes, and a shard
 * only when the generation has moved. */
#define _GNU_SOURCE /* strverscmp */
#include "server/predictor/registry.h"

#include "model/model_file.h"

#include <dirent.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* What a shard holds; a cache line of its own. */
struct view {
    uint64_t generation;
    struct served *served;
    char pad[64 - sizeof(uint64_t) - sizeof(struct served *)];
};

/* Which file it was. */
struct stamp {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified;
};

struct version {
    uint64_t number;
    char name[SERVED_NAME_MAX + 1];
};

struct registry {
    struct telemetry *telemetry;
    const char *path, *name;
    struct observed_config observed;
    struct stamp tried; /* by the last registry_load */
    pthread_mutex_t lock;
    struct served *current;                     /* under lock, as are: */
    struct version versions[REGISTRY_VERSIONS]; /* by number % REGISTRY_VERSIONS */
    _Atomic uint64_t generation;
    struct view views[];
};

struct registry *registry_new(struct telemetry *telemetry, const char *path, const char *name,
                              const struct observed_config *observed)
{
    struct registry *registry =
        calloc(1, sizeof *registry + observed->shards * sizeof(struct view));
    if (registry == NULL)
        return NULL;
    registry->telemetry = telemetry;
    registry->path = path;
    registry->name = name;
    registry->observed = *observed;
    (void)pthread_mutex_init(&registry->lock, NULL);
    return registry;
}

void served_pin(struct served *served)
{
    (void)atomic_fetch_add_explicit(&served->users, 1, memory_order_relaxed);
}

void served_unpin(struct served *served)
{
    if (served == NULL || atomic_fetch_sub(&served->users, 1) > 1)
        return;
    telemetry_model_free(served->telemetry);
    observed_free(served->observed);
    explainer_free(served->explainer);
    (void)pthread_mutex_destroy(&served->explainer_lock);
    model_free(served->model);
    free(served);
}

const struct explainer *served_explainer(struct served *served, struct error *err)
{
    (void)pthread_mutex_lock(&served->explainer_lock);
    if (served->explainer == NULL)
        served->explainer = explainer_new(served->model, err);
    const struct explainer *made = served->explainer;
    (void)pthread_mutex_unlock(&served->explainer_lock);
    return made;
}

struct served *registry_pin(struct registry *registry)
{
    (void)pthread_mutex_lock(&registry->lock);
    struct served *served = registry->current;
    if (served != NULL)
        served_pin(served);
    (void)pthread_mutex_unlock(&registry->lock);
    return served;
}

void registry_free(struct registry *registry)
{
    if (registry == NULL)
        return;
    for (unsigned i = 0; i < registry->observed.shards; i++)
        served_unpin(registry->views[i].served);
    if (registry->current != NULL)
        telemetry_model_retire(registry->current->telemetry);
    served_unpin(registry->current);
    (void)pthread_mutex_destroy(&registry->lock);
    free(registry);
}

/* ---- asking ---- */

static struct served *view(struct registry *registry, unsigned shard)
{
    struct view *view = &registry->views[shard];
    if (atomic_load_explicit(&registry->generation, memory_order_acquire) == view->generation)
        return view->served;
    struct served *old = view->served;
    (void)pthread_mutex_lock(&registry->lock);
    view->served = registry->current;
    view->generation = atomic_load_explicit(&registry->generation, memory_order_relaxed);
    served_pin(view->served);
    (void)pthread_mutex_unlock(&registry->lock);
    served_unpin(old);
    return view->served;
}

struct served *registry_find(struct registry *registry, unsigned shard, struct span name)
{
    struct served *served = view(registry, shard);
    bool found = served != NULL && strlen(served->name) == name.n &&
                 memcmp(served->name, name.p, name.n) == 0;
    return found ? served : NULL;
}

struct served *registry_at(struct registry *registry, unsigned shard, size_t i)
{
    return i == 0 ? view(registry, shard) : NULL;
}

bool registry_version(struct registry *registry, uint64_t number, char name[SERVED_NAME_MAX + 1])
{
    (void)pthread_mutex_lock(&registry->lock);
    const struct version *version = &registry->versions[number % REGISTRY_VERSIONS];
    bool known = version->number == number && number > 0;
    if (known)
        memcpy(name, version->name, sizeof version->name);
    (void)pthread_mutex_unlock(&registry->lock);
    return known;
}

/* ---- which file ---- */

static bool is_file(const char *path, struct stamp *stamp)
{
    struct stat info;
    if (stat(path, &info) != 0 || S_ISDIR(info.st_mode))
        return false;
    *stamp = (struct stamp){info.st_dev, info.st_ino, info.st_size, info.st_mtim};
    return true;
}

static bool join(char file[PATH_MAX], const char *folder, const char *version)
{
    return snprintf(file, PATH_MAX, "%s/%s%smodel.json", folder, version,
                    *version != '\0' ? "/" : "") < PATH_MAX;
}

/* The folder's last version that holds a model.json; false when there is none. Hidden names are what
 * ConfigMap volumes keep behind their links. */
static bool last_version(const char *folder, char file[PATH_MAX], struct stamp *stamp)
{
    char best[NAME_MAX + 1] = "";
    struct stamp found;
    DIR *dir = opendir(folder);
    if (dir == NULL)
        return false;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        if (entry->d_name[0] != '.' && strverscmp(entry->d_name, best) > 0 &&
            join(file, folder, entry->d_name) && is_file(file, &found)) {
            (void)snprintf(best, sizeof best, "%s", entry->d_name);
            *stamp = found;
        }
    (void)closedir(dir);
    return *best != '\0' && join(file, folder, best);
}

/* The file that path names now. Where nothing is found, the place where it was looked for first, for
 * the message. */
static struct stamp resolve(const char *path, char file[PATH_MAX])
{
    struct stamp stamp = {0};
    struct stat info;
    bool folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    if (!folder) {
        (void)snprintf(file, PATH_MAX, "%s", path);
        (void)is_file(path, &stamp);
    } else if (!(join(file, path, "") && is_file(file, &stamp)) &&
               !last_version(path, file, &stamp))
        (void)join(file, path, "");
    return stamp;
}

bool registry_changed(const struct registry *registry)
{
    char file[PATH_MAX];
    struct stamp now = resolve(registry->path, file), then = registry->tried;
    return now.device != then.device || now.inode != then.inode || now.size != then.size ||
           now.modified.tv_sec != then.modified.tv_sec ||
           now.modified.tv_nsec != then.modified.tv_nsec;
}

/* ---- loading ---- */

static bool check_name(const char *name, struct error *err)
{
    size_t n = strlen(name);
    return (n > 0 && n <= SERVED_NAME_MAX && strpbrk(name, "/:") == NULL) ||
           error_set(err, ERR_INVALID,
                     "model_name: expected 1 to %d bytes without '/' and ':', got \"%.64s\"",
                     SERVED_NAME_MAX, name);
}

/* The new model takes the place of the old: rows by position must mean the same. */
static bool check_schema(const struct model *model, const struct model *old, struct error *err)
{
    size_t features = model_feature_count(old);
    bool same = model_feature_count(model) == features &&
                strcmp(model_target_name(model), model_target_name(old)) == 0;
    for (size_t j = 0; same && j < features; j++)
        same = strcmp(model_feature_name(model, j), model_feature_name(old, j)) == 0;
    return same || error_set(err, ERR_INVALID,
                             "expected the features and the target of the model being served; "
                             "another schema takes a restart");
}

static struct served *make_served(struct registry *registry, struct model *model, struct error *err)
{
    const char *name = registry->name != NULL ? registry->name : model_name(model);
    struct served *served = calloc(1, sizeof *served);
    if (served == NULL) {
        (void)error_set(err, ERR_NO_MEMORY, "out of memory");
        return NULL;
    }
    (void)snprintf(served->name, sizeof served->name, "%s", name);
    served->number = atomic_load_explicit(&registry->generation, memory_order_relaxed) + 1;
    served->observed = observed_new(model, &registry->observed, err);
    if (served->observed == NULL) {
        free(served);
        return NULL;
    }
    served->telemetry = telemetry_model_new(registry->telemetry, served->name, model);
    if (served->telemetry == NULL) {
        observed_free(served->observed);
        free(served);
        (void)error_set(err, ERR_NO_MEMORY, "out of memory");
        return NULL;
    }
    served->model = model;
    atomic_init(&served->users, 1);
    (void)pthread_mutex_init(&served->explainer_lock, NULL);
    return served;
}

static void publish(struct registry *registry, struct served *served)
{
    (void)pthread_mutex_lock(&registry->lock);
    struct served *old = registry->current;
    struct version *version = &registry->versions[served->number % REGISTRY_VERSIONS];
    version->number = served->number;
    (void)snprintf(version->name, sizeof version->name, "%s", model_version(served->model));
    registry->current = served;
    (void)atomic_fetch_add_explicit(&registry->generation, 1, memory_order_release);
    (void)pthread_mutex_unlock(&registry->lock);
    if (old != NULL)
        telemetry_model_retire(old->telemetry);
    served_unpin(old);
}

const struct served *registry_current(const struct registry *registry)
{
    return registry->current; /* which only the loader changes */
}

bool registry_load(struct registry *registry, bool *swapped, struct error *err)
{
    char file[PATH_MAX];
    const struct served *current = registry_current(registry);
    *swapped = false;
    if (registry->name != NULL && !check_name(registry->name, err))
        return false;
    registry->tried = resolve(registry->path, file);
    struct model *model = model_load_path(file, err);
    if (model == NULL)
        return false;
    if (current != NULL && strcmp(model_sha256(model), model_sha256(current->model)) == 0) {
        model_free(model);
        return true;
    }
    struct served *served = NULL;
    if (current == NULL || check_schema(model, current->model, err))
        served = make_served(registry, model, err);
    if (served == NULL) {
        model_free(model);
        error_prefix(err, "%s", file);
        return false;
    }
    publish(registry, served);
    *swapped = true;
    return true;
}
