/* Which artifact a path names, and its replacement while threads predict. */
#include "server/predictor/registry.h"

#include "metrics/exposition.h"
#include "tests/support/plane.h"
#include "tests/support/process.h"
#include "tests/support/t.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SHARDS = 4, SWAPS = 60 };

/* A registry over a fresh folder. */
struct house {
    char folder[512], path[700];
    struct metrics *metrics;
    struct telemetry *telemetry;
    struct registry *registry;
};

static void open_house(struct house *h, const char *name)
{
    static const struct telemetry_labels labels = {"user01", "kubeflow-user01", "0", "test"};
    static const struct observed_config observed = {SHARDS, 100, 0, 1000000000, 10};
    process_folder(h->folder, sizeof h->folder);
    assert_non_null(h->metrics = metrics_new(SHARDS));
    assert_non_null(h->telemetry = telemetry_new(h->metrics, &labels));
    assert_non_null(h->registry = registry_new(h->telemetry, h->folder, name, &observed));
}

static void close_house(struct house *h)
{
    registry_free(h->registry);
    telemetry_free(h->telemetry);
    metrics_free(h->metrics);
    process_remove(h->folder);
}

/* A path below the folder; overwritten by the next call. */
static const char *below(struct house *h, const char *name)
{
    (void)snprintf(h->path, sizeof h->path, "%s/%s", h->folder, name);
    return h->path;
}

static void save(struct house *h, const char *name, const char *version, double intercept)
{
    plane_save(below(h, name), version, intercept);
}

static void load(struct house *h, bool expected)
{
    struct error err = {0};
    bool swapped;
    if (!registry_load(h->registry, &swapped, &err))
        fail_msg("%s", err.message);
    assert_int_equal(swapped, expected);
}

static void refuse(struct house *h, const char *part)
{
    struct error err = {0};
    bool swapped = true;
    assert_false(registry_load(h->registry, &swapped, &err));
    assert_false(swapped);
    assert_contains(err.message, part);
}

static const char *version_now(struct house *h, unsigned shard)
{
    struct served *served = registry_at(h->registry, shard, 0);
    return served == NULL ? "none" : model_version(served->model);
}

static void scrape(struct house *h, char **text)
{
    size_t n;
    FILE *out = open_memstream(text, &n);
    assert_non_null(out);
    exposition_write(h->metrics, EXPOSITION_TEXT, out);
    assert_int_equal(fclose(out), 0);
}

static void nothing_is_served_before_the_first_artifact(void **state)
{
    (void)state;
    struct house h;
    open_house(&h, NULL);
    assert_null(registry_at(h.registry, 0, 0));
    assert_null(registry_find(h.registry, 1, (struct span){"plane", 5}));
    refuse(&h, "model.json: No such file");
    save(&h, "model.json", "1", 1);
    assert_true(registry_changed(h.registry));
    load(&h, true);
    assert_false(registry_changed(h.registry));
    assert_non_null(registry_find(h.registry, 1, (struct span){"plane", 5}));
    assert_null(registry_find(h.registry, 1, (struct span){"plan", 4}));
    assert_null(registry_at(h.registry, 0, 1));
    close_house(&h);
}

static void the_last_version_of_a_folder_counts_unless_it_holds_a_model_itself(void **state)
{
    (void)state;
    static const char *const versions[] = {"9", "10", "2", ".11"};
    struct house h;
    char name[64];
    open_house(&h, NULL);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(mkdir(below(&h, versions[i]), 0755), 0);
        (void)snprintf(name, sizeof name, "%s/model.json", versions[i]);
        save(&h, name, "1", (double)i);
    }
    assert_int_equal(mkdir(below(&h, "12"), 0755), 0); /* empty: still being copied */
    load(&h, true);
    save(&h, "10/model.json", "ten", 1);
    assert_true(registry_changed(h.registry));
    load(&h, true);
    assert_string_equal(version_now(&h, 0), "ten");
    save(&h, "12/model.json", "twelve", 1);
    assert_true(registry_changed(h.registry));
    load(&h, true);
    assert_string_equal(version_now(&h, 0), "twelve");
    save(&h, "model.json", "own", 1);
    assert_true(registry_changed(h.registry));
    load(&h, true);
    assert_string_equal(version_now(&h, 0), "own");
    close_house(&h);
}

/* A ConfigMap volume: model.json -> ..data/model.json, ..data -> a folder that is replaced whole. */
static void a_swapped_link_is_a_change(void **state)
{
    (void)state;
    struct house h;
    char other[700];
    open_house(&h, NULL);
    assert_int_equal(mkdir(below(&h, "..one"), 0755), 0);
    assert_int_equal(mkdir(below(&h, "..two"), 0755), 0);
    save(&h, "..one/model.json", "one", 1);
    save(&h, "..two/model.json", "two", 2);
    assert_int_equal(symlink("..one", below(&h, "..data")), 0);
    assert_int_equal(symlink("..data/model.json", below(&h, "model.json")), 0);
    load(&h, true);
    assert_string_equal(version_now(&h, 0), "one");
    assert_false(registry_changed(h.registry));
    assert_int_equal(symlink("..two", below(&h, "..data_tmp")), 0);
    (void)snprintf(other, sizeof other, "%s", below(&h, "..data_tmp"));
    assert_int_equal(rename(other, below(&h, "..data")), 0);
    assert_true(registry_changed(h.registry));
    load(&h, true);
    assert_string_equal(version_now(&h, 0), "two");
    close_house(&h);
}

static void the_same_artifact_again_is_no_swap(void **state)
{
    (void)state;
    struct house h;
    open_house(&h, NULL);
    save(&h, "model.json", "1", 1);
    load(&h, true);
    struct served *served = registry_at(h.registry, 0, 0);
    save(&h, "model.json", "1", 1);
    assert_true(registry_changed(h.registry));
    load(&h, false);
    assert_ptr_equal(registry_at(h.registry, 0, 0), served);
    assert_false(registry_changed(h.registry));
    close_house(&h);
}

static void a_corrupt_artifact_leaves_the_old_one_serving_and_is_tried_once(void **state)
{
    (void)state;
    struct house h;
    open_house(&h, NULL);
    save(&h, "model.json", "1", 1);
    load(&h, true);
    FILE *out = fopen(below(&h, "model.json"), "w");
    assert_non_null(out);
    (void)fputs("{}\n", out);
    (void)fclose(out);
    assert_true(registry_changed(h.registry));
    refuse(&h, "model.json: expected a last line");
    assert_string_equal(version_now(&h, 2), "1");
    assert_false(registry_changed(h.registry));
    assert_int_equal(unlink(below(&h, "model.json")), 0);
    assert_true(registry_changed(h.registry));
    refuse(&h, "No such file");
    assert_string_equal(version_now(&h, 3), "1");
    close_house(&h);
}

static void a_name_that_no_url_can_hold_is_refused(void **state)
{
    (void)state;
    struct house h;
    open_house(&h, "a/b");
    save(&h, "model.json", "1", 1);
    refuse(&h, "model_name: expected 1 to 255 bytes without '/' and ':', got \"a/b\"");
    close_house(&h);
}

static void gauges_leave_with_the_old_version_and_counters_stay(void **state)
{
    (void)state;
    struct house h;
    char *text;
    open_house(&h, NULL);
    save(&h, "model.json", "1", 1);
    load(&h, true);
    struct served *old = registry_at(h.registry, 0, 0);
    served_pin(old);
    save(&h, "model.json", "2", 1);
    load(&h, true);
    telemetry_prediction(old->telemetry, 0, true, 1, 1000); /* what was in flight still counts */
    served_unpin(old);
    scrape(&h, &text);
    assert_contains(text, "model_mae_score{model_name=\"plane\",version=\"2\"");
    assert_null(strstr(text, "model_mae_score{model_name=\"plane\",version=\"1\""));
    assert_null(strstr(text, "model_info{model_name=\"plane\",version=\"1\""));
    assert_contains(text,
                    "model_prediction_total{model_name=\"plane\",version=\"1\",user_id=\"user01\","
                    "namespace=\"kubeflow-user01\",status=\"success\"} 1\n");
    free(text);
    close_house(&h);
}

static void another_artifact_of_the_same_version_keeps_the_gauges(void **state)
{
    (void)state;
    struct house h;
    char *text;
    open_house(&h, NULL);
    save(&h, "model.json", "1", 1);
    load(&h, true);
    save(&h, "model.json", "1", 2);
    load(&h, true);
    scrape(&h, &text);
    assert_contains(text, "model_mae_score{model_name=\"plane\",version=\"1\"");
    free(text);
    close_house(&h);
}

static void the_versions_of_late_are_known_by_their_numbers(void **state)
{
    (void)state;
    struct house h;
    char version[16], found[SERVED_NAME_MAX + 1] = "";
    open_house(&h, NULL);
    assert_false(registry_version(h.registry, 0, found));
    assert_false(registry_version(h.registry, 1, found));
    for (int i = 1; i <= REGISTRY_VERSIONS + 2; i++) {
        (void)snprintf(version, sizeof version, "v%d", i);
        save(&h, "model.json", version, i);
        load(&h, true);
        assert_int_equal(registry_current(h.registry)->number, i);
    }
    for (unsigned i = 0; i <= REGISTRY_VERSIONS + 3; i++) {
        bool kept = i > 2 && i <= REGISTRY_VERSIONS + 2;
        assert_int_equal(registry_version(h.registry, i, found), kept);
        (void)snprintf(version, sizeof version, "v%u", i);
        if (kept)
            assert_string_equal(found, version);
    }
    close_house(&h);
}

static void a_pinned_model_outlives_its_replacement(void **state)
{
    (void)state;
    struct house h;
    const double x[] = {1, 1};
    double y;
    open_house(&h, NULL);
    save(&h, "model.json", "1", 100);
    load(&h, true);
    struct served *old = registry_at(h.registry, 0, 0);
    served_pin(old);
    save(&h, "model.json", "2", 200);
    load(&h, true);
    assert_string_equal(version_now(&h, 0), "2");
    model_predict(old->model, 1, x, &y);
    assert_close(y, 105, 0);
    served_unpin(old);
    close_house(&h);
}

/* ---- threads ---- */

struct reader {
    struct registry *registry;
    unsigned shard;
    atomic_bool *stop;
    unsigned answers, mixed;
};

/* One answer, one version: version k has intercept k. */
static void *read_on(void *arg)
{
    struct reader *r = arg;
    const double x[] = {0, 0, 0, 0};
    double y[2];
    while (!atomic_load(r->stop)) {
        const struct served *served =
            registry_find(r->registry, r->shard, (struct span){"plane", 5});
        model_predict(served->model, 2, x, y);
        double told = strtod(model_version(served->model), NULL);
        r->mixed += y[0] != told || y[1] != told;
        r->answers++;
    }
    return NULL;
}

static void replacing_under_load_mixes_and_loses_nothing(void **state)
{
    (void)state;
    struct house h;
    pthread_t threads[SHARDS];
    struct reader readers[SHARDS];
    atomic_bool stop = false;
    char version[16];
    open_house(&h, NULL);
    save(&h, "model.json", "0", 0);
    load(&h, true);
    for (unsigned i = 0; i < SHARDS; i++) {
        readers[i] = (struct reader){h.registry, i, &stop, 0, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, read_on, &readers[i]), 0);
    }
    for (int k = 1; k <= SWAPS; k++) {
        (void)snprintf(version, sizeof version, "%d", k);
        save(&h, "model.json", version, k);
        load(&h, true);
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < SHARDS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(readers[i].mixed, 0);
    }
    (void)snprintf(version, sizeof version, "%d", SWAPS);
    assert_string_equal(version_now(&h, 0), version);
    close_house(&h);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(nothing_is_served_before_the_first_artifact),
    cmocka_unit_test(the_last_version_of_a_folder_counts_unless_it_holds_a_model_itself),
    cmocka_unit_test(a_swapped_link_is_a_change),
    cmocka_unit_test(the_same_artifact_again_is_no_swap),
    cmocka_unit_test(a_corrupt_artifact_leaves_the_old_one_serving_and_is_tried_once),
    cmocka_unit_test(a_name_that_no_url_can_hold_is_refused),
    cmocka_unit_test(gauges_leave_with_the_old_version_and_counters_stay),
    cmocka_unit_test(another_artifact_of_the_same_version_keeps_the_gauges),
    cmocka_unit_test(the_versions_of_late_are_known_by_their_numbers),
    cmocka_unit_test(a_pinned_model_outlives_its_replacement),
    cmocka_unit_test(replacing_under_load_mixes_and_loses_nothing),
};

T_MAIN(tests)
