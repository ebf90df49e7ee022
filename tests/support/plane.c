/* The model goes through its artifact, as in production. */
#include "tests/support/plane.h"

#include "model/model_file.h"
#include "model/model_internal.h"
#include "tests/support/process.h"
#include "tests/support/t.h"

#include <math.h>
#include <string.h>
#include <time.h>

static struct model *make_model(const char *version, double intercept, const double *quantiles,
                                const struct model_interval *interval)
{
    static const struct model_feature features[] = {
        {"a", {.kind = TRANSFORM_STANDARDISE, .min = -10, .max = 10, .mean = 0, .scale = 1}},
        {"b", {.kind = TRANSFORM_STANDARDISE, .min = -10, .max = 10, .mean = 0, .scale = 1}},
    };
    static const double coefficients[] = {2, 3};
    struct error err = {0};
    struct model_figures none = {0, NAN, NAN, NAN}, holdout = {100, 0.25, 0.5, 0.75};
    struct model_parts parts = {.name = "plane",
                                .version = version,
                                .kind = MODEL_LINEAR,
                                .target_name = "y",
                                .target_unit = "",
                                .features = features,
                                .feature_count = 2,
                                .quantiles = quantiles,
                                .prediction = {intercept, coefficients, 2},
                                .interval = *interval,
                                .card = {.rows = 10,
                                         .data_sha256 = "00000000000000000000000000000000"
                                                        "00000000000000000000000000000000",
                                         .penalty = 1,
                                         .kernel = "none",
                                         .threads = 1,
                                         .leave_one_out = none,
                                         .holdout = holdout}};
    struct model *model = model_new(&parts, &err);
    if (model == NULL)
        fail_msg("%s", err.message);
    return model;
}

struct model *plane_model(const char *version, double intercept)
{
    static const double scores[] = {.25, .5, .75, 1, 1.25, 1.5, 1.75, 2, 2.25};
    const struct model_interval interval = {false, 0, scores, sizeof scores / sizeof *scores};
    double quantiles[2 * MODEL_QUANTILES];
    for (size_t i = 0; i < MODEL_QUANTILES; i++)
        quantiles[i] = quantiles[MODEL_QUANTILES + i] = ((double)i - 15.5) / 2;
    return make_model(version, intercept, quantiles, &interval);
}

struct model *plane_model_bare(void)
{
    return make_model("1", 1, NULL, &(struct model_interval){0});
}

void plane_save(const char *path, const char *version, double intercept)
{
    struct error err = {0};
    struct model *model = plane_model(version, intercept);
    if (!model_save_path(model, path, &err))
        fail_msg("%s", err.message);
    model_free(model);
}

void plane_init(struct plane *plane)
{
    plane_init_with(plane, plane_model("1", 1));
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* As the program does before every exposition. */
static void publish(void *ctx)
{
    const struct plane *plane = ctx;
    monitor_publish(plane->monitor, clock_ns(CLOCK_MONOTONIC), clock_ns(CLOCK_REALTIME));
}

void plane_init_with(struct plane *plane, struct model *model)
{
    static const struct telemetry_labels labels = {"user01", "kubeflow-user01", "0", "test"};
    static const struct observed_config observed = {PLANE_SHARDS, 1000, 0, 3600000000000, 3};
    struct error err = {0};
    char path[600];
    process_folder(plane->folder, sizeof plane->folder);
    (void)snprintf(path, sizeof path, "%s/model.json", plane->folder);
    if (!model_save_path(model, path, &err))
        fail_msg("%s", err.message);
    model_free(model);
    assert_non_null(plane->metrics = metrics_new(PLANE_SHARDS + 1));
    assert_non_null(plane->telemetry = telemetry_new(plane->metrics, &labels));
    assert_non_null(plane->registry =
                        registry_new(plane->telemetry, plane->folder, NULL, &observed));
    const struct monitor_config monitor = {.shards = PLANE_SHARDS,
                                           .journal_shard = PLANE_SHARDS,
                                           .predictions = 100,
                                           .folder = plane->folder,
                                           .name = "plane",
                                           .registry = plane->registry,
                                           .telemetry = plane->telemetry};
    bool swapped;
    if (!registry_load(plane->registry, &swapped, &err))
        fail_msg("%s", err.message);
    assert_non_null(plane->monitor = monitor_new(&monitor, &err));
    if (!monitor_open(plane->monitor, registry_current(plane->registry), &err))
        fail_msg("%s", err.message);
    metrics_on_scrape(plane->metrics, publish, plane);
    struct api_config config = {.registry = plane->registry,
                                .monitor = plane->monitor,
                                .feedback_durable = true,
                                .telemetry = plane->telemetry,
                                .metrics = plane->metrics,
                                .ui = true,
                                .max_rows = PLANE_MAX_ROWS,
                                .memory_budget_bytes = PLANE_BUDGET,
                                .shards = PLANE_SHARDS};
    assert_non_null(plane->api = api_new(&config, &err));
    assert_non_null(plane->arena = arena_new(16384, 0));
    api_set_lifecycle(plane->api, API_READY);
}

void plane_clear(struct plane *plane)
{
    arena_free(plane->arena);
    api_free(plane->api);
    monitor_free(plane->monitor);
    registry_free(plane->registry);
    telemetry_free(plane->telemetry);
    metrics_free(plane->metrics);
    process_remove(plane->folder);
}

static enum http_method method_of(const char *name)
{
    static const char *const names[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"};
    for (int i = 0; i < HTTP_OTHER_METHOD; i++)
        if (strcmp(names[i], name) == 0)
            return (enum http_method)i;
    return HTTP_OTHER_METHOD;
}

const struct response *plane_ask(struct plane *plane, enum api_surface surface, const char *method,
                                 const char *path, const struct header *headers, struct span body)
{
    arena_reset(plane->arena);
    const char *query = strchr(path, '?');
    /* The request lives in the arena, because the response may point into it. */
    struct request *request = arena_alloc(plane->arena, sizeof *request);
    assert_non_null(request);
    *request =
        (struct request){.method = method_of(method),
                         .method_name = {method, strlen(method)},
                         .path = {path, query != NULL ? (size_t)(query - path) : strlen(path)},
                         .headers = headers,
                         .body = body,
                         .received_ns = clock_ns(CLOCK_MONOTONIC)};
    if (query != NULL)
        request->query = (struct span){query + 1, strlen(query + 1)};
    while (headers != NULL && headers[request->header_count].name.n > 0)
        request->header_count++;
    return api_handle(plane->api, surface, request, plane->arena, 0);
}

const struct response *plane_post(struct plane *plane, const char *path, const char *body)
{
    return plane_ask(plane, API_EVERYTHING, "POST", path, NULL, (struct span){body, strlen(body)});
}

const struct response *plane_get(struct plane *plane, const char *path)
{
    return plane_ask(plane, API_EVERYTHING, "GET", path, NULL, (struct span){"", 0});
}

const char *plane_text(struct plane *plane, const struct response *response)
{
    const char *text = arena_text(plane->arena, response->body.p, response->body.n);
    assert_non_null(text);
    return text;
}
