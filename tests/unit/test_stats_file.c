/* The statistics file: every bit comes back, and nothing that is not such a file is taken for one. */
#include "model/stats_file.h"

#include "tests/support/process.h"
#include "tests/support/shards.h"
#include "tests/support/t.h"

#include <sha2.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_BYTES = 120, FILE_MAX = 1 << 17 };

/* Where the header has its counts. */
enum { VERSION_AT = 8, ORDER_AT = 12, KIND_AT = 16, MAP_AT = 24, COLS_AT = 32, HISTOGRAMS_AT = 40 };
enum { ROWS_AT = 48 };

struct place {
    char folder[512], map[600], csv[600], part[600], other[600];
    uint8_t bytes[FILE_MAX]; /* of the part */
    size_t n;
};

static int make_place(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    assert_non_null(p);
    process_folder(p->folder, sizeof p->folder);
    (void)snprintf(p->map, sizeof p->map, "%s/map.json", p->folder);
    (void)snprintf(p->csv, sizeof p->csv, "%s/rows.csv", p->folder);
    (void)snprintf(p->part, sizeof p->part, "%s/part.stats", p->folder);
    (void)snprintf(p->other, sizeof p->other, "%s/other.stats", p->folder);
    shards_write_map(p->map, MODEL_KERNEL, 1);
    shards_write(p->csv, 0, 50);
    shards_stats(p->map, STATS_ROWS, p->csv, p->part);
    FILE *in = fopen(p->part, "rb");
    assert_non_null(in);
    p->n = fread(p->bytes, 1, sizeof p->bytes, in);
    assert_in_range(p->n, 10000, sizeof p->bytes - 1);
    (void)fclose(in);
    *state = p;
    return 0;
}

static int remove_place(void **state)
{
    struct place *p = *state;
    process_remove(p->folder);
    free(p);
    return 0;
}

static void write_other(const struct place *p, const uint8_t *bytes, size_t n)
{
    FILE *out = fopen(p->other, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, n, out), n);
    assert_int_equal(fclose(out), 0);
}

static void refuse(const struct place *p, const uint8_t *bytes, size_t n, const char *part)
{
    struct error err = {0};
    struct stats s;
    write_other(p, bytes, n);
    assert_false(stats_load_path(p->other, &s, &err));
    assert_contains(err.message, part);
    assert_contains(err.message, p->other);
    assert_int_equal(err.code, ERR_INVALID);
    assert_null(s.map);
}

/* Writes a changed copy whose digest is right again. */
static void refuse_sealed(const struct place *p, size_t at, const void *value, size_t size,
                          const char *part)
{
    SHA2_CTX sha;
    uint8_t *copy = malloc(p->n);
    assert_non_null(copy);
    memcpy(copy, p->bytes, p->n);
    memcpy(copy + at, value, size);
    SHA256Init(&sha);
    SHA256Update(&sha, copy, p->n - SHA256_DIGEST_LENGTH);
    SHA256Final(copy + p->n - SHA256_DIGEST_LENGTH, &sha);
    refuse(p, copy, p->n, part);
    free(copy);
}

static void refuse_count(const struct place *p, size_t at, uint64_t count, const char *part)
{
    refuse_sealed(p, at, &count, sizeof count, part);
}

static void saved_statistics_come_back_bit_by_bit(void **state)
{
    const struct place *p = *state;
    struct error err = {0};
    static const enum stats_kind kinds[] = {STATS_ROWS, STATS_RESIDUALS};
    for (size_t i = 0; i < 2; i++) {
        struct stats a, b;
        shards_collect(&a, p->map, kinds[i], p->csv);
        assert_true(stats_save_path(&a, p->other, &err));
        if (!stats_load_path(p->other, &b, &err))
            fail_msg("%s", err.message);
        size_t cols = a.moments.cols;
        assert_int_equal(b.kind, kinds[i]);
        assert_int_equal(b.rows, 50);
        assert_string_equal(a.data_sha256, b.data_sha256);
        assert_string_equal(model_sha256(a.map), model_sha256(b.map));
        assert_memory_equal(a.histograms, b.histograms, a.columns * sizeof *a.histograms);
        assert_memory_equal(&a.errors, &b.errors, sizeof a.errors);
        assert_int_equal(b.moments.cols, cols);
        for (size_t j = 0; j < cols * cols; j++) /* above the diagonal there is nothing */
            assert_true(a.moments.gram.data[j] == b.moments.gram.data[j] || j / cols > j % cols);
        assert_memory_equal(a.moments.xy.data, b.moments.xy.data, cols * sizeof(double));
        assert_memory_equal(a.moments.mean.data, b.moments.mean.data, cols * sizeof(double));
        if (kinds[i] == STATS_RESIDUALS)
            assert_memory_equal(a.scores, b.scores, SCORE_CELLS * sizeof *a.scores);
        stats_clear(&a);
        stats_clear(&b);
    }
}

static void same_rows_give_the_same_bytes(void **state)
{
    struct place *p = *state;
    uint8_t again[FILE_MAX];
    shards_stats(p->map, STATS_ROWS, p->csv, p->other);
    FILE *in = fopen(p->other, "rb");
    assert_non_null(in);
    assert_int_equal(fread(again, 1, sizeof again, in), p->n);
    (void)fclose(in);
    assert_memory_equal(again, p->bytes, p->n);
}

static void file_cut_short_anywhere_is_refused(void **state)
{
    const struct place *p = *state;
    for (size_t n = 0; n < p->n; n += n < HEADER_BYTES + 10 ? 1 : 997)
        refuse(p, p->bytes, n, n < HEADER_BYTES ? "expected a statistics file" : "cut short");
    refuse(p, p->bytes, p->n - 1, "cut short");
}

static void bytes_behind_the_end_are_refused(void **state)
{
    struct place *p = *state;
    refuse(p, p->bytes, p->n + 1, "damaged or cut short: expected");
}

static void flipped_bits_are_noticed(void **state)
{
    struct place *p = *state;
    for (size_t at = 0; at < p->n; at += at < HEADER_BYTES ? 1 : 499) {
        p->bytes[at] = (uint8_t)(p->bytes[at] ^ 1U << at % 8);
        refuse(p, p->bytes, p->n, p->other);
        p->bytes[at] = (uint8_t)(p->bytes[at] ^ 1U << at % 8);
    }
}

static void load_refuses_huge_counts_before_allocating(void **state)
{
    const struct place *p = *state;
    const uint64_t huge[] = {UINT64_MAX, (uint64_t)1 << 61, (uint64_t)1 << 33};
    for (size_t i = 0; i < sizeof huge / sizeof *huge; i++) {
        refuse_count(p, MAP_AT, huge[i], "map: expected 1 to 67108864, got");
        refuse_count(p, COLS_AT, huge[i], "columns: expected 1 to 16384, got");
        refuse_count(p, HISTOGRAMS_AT, huge[i], "histograms: expected 2 to 4097, got");
    }
    refuse_count(p, ROWS_AT, UINT64_MAX, "rows: expected 1 to 281474976710656, got");
    refuse_count(p, ROWS_AT, 0, "rows: expected 1 to");
    refuse_count(p, KIND_AT, 2, "kind: expected 0 to 1, got 2");
    /* within bounds, but there is no such file behind it: 2 GB for a few bytes */
    refuse_count(p, COLS_AT, RIDGE_MAX_COLS, "damaged or cut short: expected 10");
}

static void other_formats_are_told_apart(void **state)
{
    const struct place *p = *state;
    const uint32_t version = 2, order = 0x04030201;
    refuse_sealed(p, 0, "{", 1, "expected a statistics file of ridge stats");
    refuse_sealed(p, VERSION_AT, &version, sizeof version, "format version: expected 1, got 2");
    refuse_sealed(p, ORDER_AT, &order, sizeof order, "expected the byte order of this machine");
}

static void sums_that_cannot_be_are_refused(void **state)
{
    const struct place *p = *state;
    uint64_t map_bytes, cells = 1000;
    memcpy(&map_bytes, p->bytes + MAP_AT, sizeof map_bytes);
    size_t histograms = HEADER_BYTES + (size_t)map_bytes;
    size_t sums = histograms + (SHARDS_FEATURES + 1) * (2 + HISTOGRAM_CELLS) * 8;
    size_t gram = sums + (2 + 2 * SHARDS_CENTRES) * 8;
    const double nan = 0.0 / (double)(cells - 1000), less = -1;
    refuse_sealed(p, histograms, &nan, 8, "damaged: expected finite ranges");
    refuse_sealed(p, histograms + 16, &cells, 8, "damaged: a histogram counts more rows");
    refuse_sealed(p, sums + 8, &less, 8, "damaged: expected finite sums");
    refuse_sealed(p, gram, &less, 8, "damaged: expected finite sums");
    refuse_sealed(p, gram + 8, &nan, 8, "damaged: expected finite sums");
    refuse_sealed(p, HEADER_BYTES + 30, "x", 1, "map: ");
    refuse_count(p, ROWS_AT, 51, "damaged: a histogram counts fewer rows");
}

static void what_is_no_file_is_refused(void **state)
{
    const struct place *p = *state;
    struct error err = {0};
    struct stats s;
    assert_false(stats_load_path(p->folder, &s, &err));
    assert_contains(err.message, p->folder);
    assert_false(stats_load_path("/nowhere/part.stats", &s, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    shards_collect(&s, p->map, STATS_ROWS, p->csv);
    assert_false(stats_save_path(&s, "/nowhere/part.stats", &err));
    stats_clear(&s);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_place, remove_place)
static const struct CMUnitTest tests[] = {
    CASE(saved_statistics_come_back_bit_by_bit),
    CASE(same_rows_give_the_same_bytes),
    CASE(file_cut_short_anywhere_is_refused),
    CASE(bytes_behind_the_end_are_refused),
    CASE(flipped_bits_are_noticed),
    CASE(load_refuses_huge_counts_before_allocating),
    CASE(other_formats_are_told_apart),
    CASE(sums_that_cannot_be_are_refused),
    CASE(what_is_no_file_is_refused),
};

T_MAIN(tests)
