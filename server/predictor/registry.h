/* registry.h - the model being served, and its replacement while requests run.
 *
 * Idea:    a served model is an immutable model together with its series. The loader publishes a new
 *          one and raises a generation counter; every shard keeps a counted reference of its own and
 *          compares the counter once per request, so the hot path takes no lock and writes nothing
 *          that is shared. The last who holds an old model frees it.
 * Does not: predict, count, or decide when to reload.
 * Threads: registry_load, registry_changed: the loader (main). registry_find, registry_at: the thread
 *          that owns the shard. registry_version, registry_pin, served_*: any.
 * Memory:  the registry owns models and series. A struct served is valid until its shard asks again,
 *          or for as long as it is pinned.
 * Errors:  registry_load: those of model_load_path, with the path named; what was served before is
 *          then served on.
 */
#ifndef SERVER_PREDICTOR_REGISTRY_H
#define SERVER_PREDICTOR_REGISTRY_H

#include "base/arena.h"
#include "model/explain.h"
#include "model/model.h"
#include "server/predictor/observed.h"
#include "server/predictor/telemetry.h"

#include <pthread.h>
#include <stdatomic.h>

struct registry;

enum {
    SERVED_NAME_MAX = 255,
    REGISTRY_VERSIONS = 16, /* whose names are kept */
};

struct served {
    char name[SERVED_NAME_MAX + 1]; /* in the URL */
    struct model *model;
    uint64_t number; /* 1, 2, ... in the order of loading */
    struct telemetry_model *telemetry;
    struct observed *observed;
    pthread_mutex_t explainer_lock;
    struct explainer *explainer; /* under its lock; NULL until the first explanation */
    atomic_size_t users;         /* the registry's */
};

/* Serves path, an artifact or a folder, under name (NULL: the artifact's own); both are borrowed for
 * good. In a folder model.json counts or, if there is none, the model.json of the subfolder whose
 * version comes last (2 < 10, v1.9 < v1.10). observed->shards threads will ask. */
struct registry *registry_new(struct telemetry *telemetry, const char *path, const char *name,
                              const struct observed_config *observed) MUST_CHECK;

/* After every thread that asks has ended. */
void registry_free(struct registry *registry);

/* Loads what the path names now and publishes it, unless it is the very artifact that is being served;
 * *swapped tells. An artifact with other features or another target than the one being served is
 * ERR_INVALID: clients send rows in that one's order. */
bool registry_load(struct registry *registry, bool *swapped, struct error *err) MUST_CHECK;

/* Whether the path has come to name another file than the one that registry_load tried last: another
 * target of a symbolic link, a replaced or rewritten file, a further version. */
bool registry_changed(const struct registry *registry);

/* What the loader published last, or NULL; the loader's own question. */
const struct served *registry_current(const struct registry *registry);

/* The served model of that name, or NULL. */
struct served *registry_find(struct registry *registry, unsigned shard, struct span name);

/* The i-th served model, or NULL past the end. */
struct served *registry_at(struct registry *registry, unsigned shard, size_t i);

/* Copies the name of the version that the served model of that number is or was; false when it has been
 * forgotten, as all but the last REGISTRY_VERSIONS are. */
bool registry_version(struct registry *registry, uint64_t number,
                      char name[SERVED_NAME_MAX + 1]) MUST_CHECK;

/* The model's explainer, made by the first who asks; later ones wait for it. As long-lived as served.
 * ERR_UNSUPPORTED where the model cannot explain, ERR_NO_MEMORY. */
const struct explainer *served_explainer(struct served *served, struct error *err) MUST_CHECK;

/* What the loader published last, pinned, for a thread that is no shard or asks under another lock; NULL
 * before the first. */
struct served *registry_pin(struct registry *registry);

/* Keeps a served model beyond its shard's next question. */
void served_pin(struct served *served);
void served_unpin(struct served *served);

#endif
