/* plane.h - a whole door with a tiny model behind it, for tests without sockets.
 *
 * The model is "plane", version "1": features a and b, f = 1 + 2a + 3b. Its quantiles have mean 0, so
 * its base is 1; its intervals are f +- 0.25 k at the level k / 10, k = 1 .. 9.
 */
#ifndef TESTS_SUPPORT_PLANE_H
#define TESTS_SUPPORT_PLANE_H

#include "server/predictor/api.h"

struct plane {
    struct metrics *metrics;
    struct telemetry *telemetry;
    struct registry *registry;
    struct monitor *monitor;
    struct api *api;
    struct arena *arena;
    char folder[512]; /* holds model.json: "plane", version "1" */
};

enum { PLANE_SHARDS = 4, PLANE_MAX_ROWS = 1000, PLANE_BUDGET = 8 << 20 };

/* Made and ready; fails the test otherwise. plane_init_with serves another model, and frees it. */
void plane_init(struct plane *plane);
void plane_init_with(struct plane *plane, struct model *model);
void plane_clear(struct plane *plane);

/* The model alone, or another plane, f = intercept + 2a + 3b, and "plane" without quantiles and
 * intervals; model_free. */
struct model *plane_model(const char *version, double intercept);
struct model *plane_model_bare(void);
/* The first as an artifact. */
void plane_save(const char *path, const char *version, double intercept);

/* One request through the whole door on the given surface; the arena is reset before. Behind a ? in the path
 * stands the query. headers is
 * terminated by an empty name and may be NULL. */
const struct response *plane_ask(struct plane *plane, enum api_surface surface, const char *method,
                                 const char *path, const struct header *headers, struct span body);

/* plane_ask on the predict port with no headers and a NUL-terminated body. */
const struct response *plane_post(struct plane *plane, const char *path, const char *body);
const struct response *plane_get(struct plane *plane, const char *path);

/* The body as a NUL-terminated text in the arena. */
const char *plane_text(struct plane *plane, const struct response *response);

#endif
