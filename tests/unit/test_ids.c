/* The rings against a plain list that remembers everything. */
#include "server/predictor/ids.h"

#include "tests/support/t.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FEATURES = 3 };

static struct span text(const char *s)
{
    return (struct span){s, strlen(s)};
}

static struct ids *new_ids(unsigned shards, size_t predictions)
{
    struct error err = {0};
    struct ids_config config = {shards, predictions, FEATURES, {1, 2}};
    struct ids *ids = ids_new(&config, &err);
    if (ids == NULL)
        fail_msg("%s", err.message);
    return ids;
}

/* One row whose numbers all follow from n. */
static void put(struct ids *ids, const char *request, double n)
{
    const double x[FEATURES] = {n, n + 1, n + 2}, y = -n;
    ids_put(ids, text(request), (uint64_t)n, 1, x, &y);
}

static enum ids_answer claim(struct ids *ids, const char *request, size_t row)
{
    struct ids_prediction out;
    double x[FEATURES];
    return ids_claim(ids, text(request), row, &out, x);
}

/* Of the bytes 0 1 2 ... under the key 0 1 ... 15, from the authors' reference code. */
static void the_hash_is_siphash(void **state)
{
    (void)state;
    static const unsigned char empty[16] = {0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6,
                                            0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55, 0x02, 0x93},
                               one[16] = {0xda, 0x87, 0xc1, 0xd8, 0x6b, 0x99, 0xaf, 0x44,
                                          0x34, 0x76, 0x59, 0x11, 0x9b, 0x22, 0xfc, 0x45};
    const uint64_t secret[2] = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
    uint64_t out[2];
    ids_hash(secret, (struct span){"", 0}, out);
    assert_memory_equal(out, empty, 16);
    ids_hash(secret, (struct span){"\0", 1}, out);
    assert_memory_equal(out, one, 16);
}

static void a_hash_reads_its_text_and_no_byte_more(void **state)
{
    (void)state;
    const uint64_t secret[2] = {3, 4};
    uint64_t seen[40][2];
    for (size_t n = 0; n < 40; n++) {
        char *copy = t_guarded("0123456789012345678901234567890123456789", n);
        ids_hash(secret, (struct span){copy, n}, seen[n]);
        for (size_t m = 0; m < n; m++)
            assert_memory_not_equal(seen[m], seen[n], sizeof seen[n]);
        t_guarded_free(copy, n);
    }
}

static void a_prediction_is_found_once_with_all_it_was_given_with(void **state)
{
    (void)state;
    struct ids *ids = new_ids(4, 100);
    struct ids_prediction out;
    double x[FEATURES];
    put(ids, "abc", 7);
    put(ids, "abd", 8);
    assert_int_equal(ids_claim(ids, text("abc"), 0, &out, x), IDS_FOUND);
    assert_int_equal(out.version, 7);
    assert_close(out.prediction, -7.0, 0);
    assert_close(x[0], 7.0, 0);
    assert_close(x[2], 9.0, 0);
    assert_int_equal(claim(ids, "abc", 0), IDS_DUPLICATE);
    assert_int_equal(claim(ids, "abc", 1), IDS_UNKNOWN);
    assert_int_equal(claim(ids, "ab", 0), IDS_UNKNOWN);
    assert_int_equal(claim(ids, "", 0), IDS_UNKNOWN);
    assert_int_equal(claim(ids, "abd", 0), IDS_FOUND);
    ids_free(ids);
}

static void every_row_of_a_batch_has_its_own_key(void **state)
{
    (void)state;
    enum { ROWS = 1000 };
    double x[ROWS * FEATURES], y[ROWS], one[FEATURES];
    struct ids_prediction out;
    struct ids *ids = new_ids(2, 2 * ROWS);
    for (size_t i = 0; i < ROWS; i++) {
        y[i] = (double)i;
        for (size_t j = 0; j < FEATURES; j++)
            x[i * FEATURES + j] = (double)(i * 10 + j);
    }
    ids_put(ids, text("batch"), 1, ROWS, x, y);
    for (size_t i = ROWS; i-- > 0;) {
        assert_int_equal(ids_claim(ids, text("batch"), i, &out, one), IDS_FOUND);
        assert_close(out.prediction, y[i], 0);
        assert_memory_equal(one, x + i * FEATURES, sizeof one);
    }
    assert_int_equal(claim(ids, "batch", ROWS), IDS_UNKNOWN);
    assert_int_equal(claim(ids, "batch", SIZE_MAX), IDS_UNKNOWN);
    ids_free(ids);
}

/* y(rows) = value, value + 1, ... */
static void put_batch(struct ids *ids, const char *request, size_t rows, double value)
{
    double x[100 * FEATURES] = {0}, y[100];
    assert_true(rows <= 100);
    for (size_t i = 0; i < rows; i++)
        y[i] = x[i * FEATURES] = value + (double)i;
    ids_put(ids, text(request), 1, rows, x, y);
}

static void the_rows_of_a_batch_leave_one_by_one(void **state)
{
    (void)state;
    enum { HELD = 10, ALL = HELD * (1 + IDS_REMEMBERED), ROWS = 20 };
    struct ids *ids = new_ids(1, HELD);
    struct ids_prediction out;
    double x[FEATURES];
    put_batch(ids, "batch", ROWS, 100);
    assert_int_equal(claim(ids, "batch", ROWS - HELD - 1), IDS_LATE);
    assert_int_equal(ids_claim(ids, text("batch"), ROWS - HELD, &out, x), IDS_FOUND);
    assert_close(out.prediction, 100.0 + ROWS - HELD, 0);
    assert_close(x[0], 100.0 + ROWS - HELD, 0);
    put_batch(ids, "next", ALL - ROWS + 1, 0);
    assert_int_equal(claim(ids, "batch", 0), IDS_UNKNOWN);
    assert_int_equal(claim(ids, "batch", 1), IDS_LATE);
    assert_int_equal(claim(ids, "batch", ROWS - HELD), IDS_DUPLICATE);
    assert_int_equal(claim(ids, "batch", ROWS - 1), IDS_LATE);
    /* One that has more rows than are remembered. */
    put_batch(ids, "long", 100, 0);
    assert_int_equal(claim(ids, "long", 100 - ALL - 1), IDS_UNKNOWN);
    assert_int_equal(claim(ids, "long", 100 - ALL), IDS_LATE);
    assert_int_equal(claim(ids, "long", 99), IDS_FOUND);
    ids_free(ids);
}

static void a_batch_replaces_all_rows_of_the_one_before_with_its_id(void **state)
{
    (void)state;
    struct ids *ids = new_ids(1, 100);
    struct ids_prediction out;
    double x[FEATURES];
    put_batch(ids, "same", 5, 0);
    assert_int_equal(claim(ids, "same", 1), IDS_FOUND);
    put_batch(ids, "same", 3, 50);
    assert_int_equal(claim(ids, "same", 4), IDS_UNKNOWN);
    assert_int_equal(ids_claim(ids, text("same"), 1, &out, x), IDS_FOUND);
    assert_close(out.prediction, 51.0, 0);
    ids_free(ids);
}

static void an_undone_claim_can_be_made_again(void **state)
{
    (void)state;
    struct ids *ids = new_ids(1, 10);
    struct ids_prediction out;
    double x[FEATURES];
    put(ids, "a", 1);
    assert_int_equal(ids_claim(ids, text("a"), 0, &out, x), IDS_FOUND);
    ids_release(ids, text("a"), 0, out.number);
    assert_int_equal(claim(ids, "a", 0), IDS_FOUND);
    put(ids, "a", 2); /* given again meanwhile, and claimed: the old claim is not its */
    assert_int_equal(claim(ids, "a", 0), IDS_FOUND);
    ids_release(ids, text("a"), 0, out.number);
    assert_int_equal(claim(ids, "a", 0), IDS_DUPLICATE);
    ids_release(ids, text("never"), 0, 0);
    ids_free(ids);
}

static void an_id_used_again_stands_for_the_newer_prediction(void **state)
{
    (void)state;
    struct ids *ids = new_ids(1, 10);
    struct ids_prediction out;
    double x[FEATURES];
    for (int i = 0; i < 1000; i++)
        put(ids, i % 2 == 0 ? "same" : "other", i);
    assert_int_equal(ids_claim(ids, text("same"), 0, &out, x), IDS_FOUND);
    assert_close(out.prediction, -998.0, 0);
    ids_free(ids);
}

static void evicted_ids_are_late_until_they_are_forgotten(void **state)
{
    (void)state;
    enum { HELD = 10, ALL = HELD * (1 + IDS_REMEMBERED) };
    struct ids *ids = new_ids(1, HELD);
    char name[32];
    for (int i = 0; i < 100; i++) {
        (void)snprintf(name, sizeof name, "id-%d", i);
        put(ids, name, i);
        if (i == 95)
            assert_int_equal(claim(ids, name, 0), IDS_FOUND);
    }
    for (int i = 0; i < 100; i++) {
        (void)snprintf(name, sizeof name, "id-%d", i);
        enum ids_answer expected = i == 95           ? IDS_DUPLICATE
                                   : i >= 100 - HELD ? IDS_FOUND
                                   : i >= 100 - ALL  ? IDS_LATE
                                                     : IDS_UNKNOWN;
        assert_int_equal(claim(ids, name, 0), expected);
    }
    ids_free(ids);
}

/* Every answer of a long run with ids that come again, against a list of all that happened. */
static void answers_are_those_of_a_list_of_everything(void **state)
{
    (void)state;
    enum { HELD = 50, NAMES = 300, STEPS = 50000 };
    struct ids *ids = new_ids(1, HELD);
    uint64_t seed = 11, given = 0;
    struct {
        uint64_t number;
        bool given, claimed;
    } list[NAMES] = {{0, false, false}};
    for (int step = 0; step < STEPS; step++) {
        char name[32];
        seed = seed * 6364136223846793005 + 1442695040888963407;
        size_t which = (seed >> 33) % NAMES;
        (void)snprintf(name, sizeof name, "%zu", which);
        if (seed >> 62 == 0) {
            list[which].given = true;
            list[which].claimed = false;
            list[which].number = given++;
            put(ids, name, step);
            continue;
        }
        uint64_t behind = given - list[which].number;
        enum ids_answer expected = IDS_FOUND;
        if (!list[which].given || behind > HELD * (1 + IDS_REMEMBERED))
            expected = IDS_UNKNOWN;
        else if (list[which].claimed)
            expected = IDS_DUPLICATE;
        else if (behind > HELD)
            expected = IDS_LATE;
        else
            list[which].claimed = true;
        assert_int_equal(claim(ids, name, 0), expected);
    }
    ids_free(ids);
}

static void sizes_out_of_bounds_are_refused(void **state)
{
    (void)state;
    static const struct ids_config bad[] = {{0, 1, 1, {0, 0}},
                                            {1, 0, 1, {0, 0}},
                                            {1, (size_t)IDS_PREDICTIONS_MAX + 1, 1, {0, 0}},
                                            {1, 1, 0, {0, 0}},
                                            {1, 1, IDS_FEATURES_MAX + 1, {0, 0}}};
    static const char *const words[] = {"one shard", "predictions, got 0", "got 16777217",
                                        "features, got 0", "got 4097"};
    for (size_t i = 0; i < 5; i++) {
        struct error err = {0};
        assert_null(ids_new(&bad[i], &err));
        assert_contains(err.message, words[i]);
    }
    ids_free(NULL);
}

enum { THREADS = 4, OWN = 3000 };
struct client {
    struct ids *ids;
    unsigned number;
    _Atomic unsigned *shared_found;
};

/* Puts and claims its own ids, and competes for the shared ones. */
static void *use(void *arg)
{
    const struct client *client = arg;
    char name[64];
    for (int i = 0; i < OWN; i++) {
        (void)snprintf(name, sizeof name, "%u-%d", client->number, i);
        put(client->ids, name, i);
        assert_int_equal(claim(client->ids, name, 0), IDS_FOUND);
        (void)snprintf(name, sizeof name, "shared-%d", i);
        if (claim(client->ids, name, 0) == IDS_FOUND)
            (void)atomic_fetch_add(client->shared_found, 1);
    }
    return NULL;
}

static void of_threads_with_one_id_exactly_one_finds_it(void **state)
{
    (void)state;
    struct ids *ids = new_ids(3, (THREADS + 1) * OWN * 2);
    struct client clients[THREADS];
    pthread_t threads[THREADS];
    _Atomic unsigned found = 0;
    char name[64];
    for (int i = 0; i < OWN; i++) {
        (void)snprintf(name, sizeof name, "shared-%d", i);
        put(ids, name, i);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        clients[i] = (struct client){ids, i, &found};
        assert_int_equal(pthread_create(&threads[i], NULL, use, &clients[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++)
        (void)pthread_join(threads[i], NULL);
    assert_int_equal(found, OWN);
    ids_free(ids);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_hash_is_siphash),
    cmocka_unit_test(a_hash_reads_its_text_and_no_byte_more),
    cmocka_unit_test(a_prediction_is_found_once_with_all_it_was_given_with),
    cmocka_unit_test(every_row_of_a_batch_has_its_own_key),
    cmocka_unit_test(the_rows_of_a_batch_leave_one_by_one),
    cmocka_unit_test(a_batch_replaces_all_rows_of_the_one_before_with_its_id),
    cmocka_unit_test(an_undone_claim_can_be_made_again),
    cmocka_unit_test(an_id_used_again_stands_for_the_newer_prediction),
    cmocka_unit_test(evicted_ids_are_late_until_they_are_forgotten),
    cmocka_unit_test(answers_are_those_of_a_list_of_everything),
    cmocka_unit_test(sizes_out_of_bounds_are_refused),
    cmocka_unit_test(of_threads_with_one_id_exactly_one_finds_it),
};

T_MAIN(tests)
