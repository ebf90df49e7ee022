/* The slices: where they are cut, and that the same rows give the same bytes. */
#include "model/prepare.h"

#include "tests/support/feedback_lines.h"
#include "tests/support/plane.h"
#include "tests/support/process.h"
#include "tests/support/t.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- cutting ---- */

/* Rows of these times and ids, cut by 0.2 and 0.2. */
static void cut(struct feedback_row *rows, const double *times, const char *const *ids, size_t n,
                size_t borders[2])
{
    struct error err = {0};
    for (size_t i = 0; i < n; i++)
        rows[i] = (struct feedback_row){.time = times[i], .id = {ids[i], strlen(ids[i])}};
    if (!prepare_cut(rows, n, 0.2, 0.2, borders, &err))
        fail_msg("%s", err.message);
}

static const char *const letters[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"};

static void slices_are_by_time(void **state)
{
    (void)state;
    struct feedback_row rows[10];
    size_t borders[2];
    cut(rows, (const double[]){1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, letters, 10, borders);
    assert_int_equal(borders[0], 6);
    assert_int_equal(borders[1], 8);
    for (size_t i = 0; i < 10; i++)
        assert_close(rows[i].time, (double)i + 1, 0);
}

static void rows_of_one_time_stay_together(void **state)
{
    (void)state;
    struct feedback_row rows[10];
    size_t borders[2];
    cut(rows, (const double[]){1, 2, 3, 4, 5, 5, 5, 5, 9, 10}, letters, 10, borders);
    assert_int_equal(borders[0], 4); /* 4 is as near to 6 as 8 is */
    assert_int_equal(borders[1], 8);
    cut(rows, (const double[]){5, 5, 5, 5, 5, 5, 5, 5, 5, 5}, letters, 10, borders);
    assert_int_equal(borders[0], 10); /* one slice has all, the others too few */
    assert_int_equal(borders[1], 10);
    cut(rows, (const double[]){0}, letters, 0, borders);
    assert_int_equal(borders[0] + borders[1], 0);
}

static void rows_of_one_request_go_where_its_latest_goes(void **state)
{
    (void)state;
    struct feedback_row rows[10];
    size_t borders[2];
    static const char *const ids[] = {"r", "b", "c", "d", "e", "f", "g", "h", "r/2", "r/1"};
    cut(rows, (const double[]){1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, ids, 10, borders);
    assert_int_equal(borders[0], 6);
    assert_int_equal(borders[1], 7); /* 7 and 10 are the borders near 8 */
    for (size_t i = borders[1]; i < 10; i++)
        assert_int_equal(rows[i].id.p[0], 'r');
}

/* ---- the whole ---- */

enum { ROWS = 300 };

struct place {
    char folder[512], base[600], out[600], journals[3][600];
    struct model *champion;
    struct prepare_options options;
    const char *paths[3];
};

static int make_place(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    assert_non_null(p);
    process_folder(p->folder, sizeof p->folder);
    (void)snprintf(p->base, sizeof p->base, "%s/table.csv", p->folder);
    (void)snprintf(p->out, sizeof p->out, "%s", p->folder);
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(p->journals[i], sizeof p->journals[i], "%s/journal-%zu.csv", p->folder, i);
        p->paths[i] = p->journals[i];
    }
    FILE *base = fopen(p->base, "wb");
    assert_non_null(base);
    (void)fputs("y,a,note,b\n1,0,x,0\n31,0,x,10\n21,10,x,0\n77,99,x,0\n", base);
    assert_int_equal(fclose(base), 0);
    p->champion = plane_model("1", 1);
    p->options = (struct prepare_options){.champion = p->champion,
                                          .base = p->base,
                                          .feedback = p->paths,
                                          .feedback_count = 3,
                                          .folder = p->out,
                                          .selection = 0.2,
                                          .validation = 0.2,
                                          .min_rows = 20,
                                          .margin = 1,
                                          .target_margin = 1};
    *state = p;
    return 0;
}

static int remove_place(void **state)
{
    struct place *p = *state;
    model_free(p->champion);
    process_remove(p->folder);
    free(p);
    return 0;
}

/* ROWS rows over three replicas, every tenth in two of them; from row `shift` on y is 5 more. */
static void write_journals(const struct place *p, int shift)
{
    char id[32];
    for (int file = 0; file < 3; file++) {
        FILE *out = fopen(p->journals[file], "wb");
        assert_non_null(out);
        (void)fputs(FEEDBACK_LINES_HEADER, out);
        for (int i = 0; i < ROWS; i++)
            if (i % 3 == file || (i % 10 == 0 && (i + 1) % 3 == file)) {
                double a = i % 7, b = i % 5, wrong = i % 2 == 0 ? 0.5 : -0.5;
                (void)snprintf(id, sizeof id, "r%03d", i);
                feedback_lines_row(out, 1000 + i, id, a, b,
                                   1 + 2 * a + 3 * b + wrong + (i >= shift ? 5 : 0));
            }
        assert_int_equal(fclose(out), 0);
    }
}

static void prepare_or_fail(const struct place *p, struct prepared *out)
{
    struct error err = {0};
    if (!prepare(&p->options, out, &err))
        fail_msg("%s", err.message);
}

static char *read_slice(const struct place *p, enum prepare_slice slice)
{
    char path[700], *text = calloc(1, 1 << 16);
    (void)snprintf(path, sizeof path, "%s/%s", p->out, prepare_files[slice]);
    FILE *in = fopen(path, "rb");
    assert_true(text != NULL && in != NULL);
    assert_true(fread(text, 1, (1 << 16) - 1, in) > 0);
    (void)fclose(in);
    return text;
}

static void every_row_is_in_one_slice_and_by_time(void **state)
{
    struct place *p = *state;
    struct prepared out;
    write_journals(p, ROWS);
    prepare_or_fail(p, &out);
    assert_true(out.enough);
    assert_int_equal(out.base_rows, 4);
    assert_int_equal(out.base_dropped.rows, 1);
    assert_string_equal(out.base_dropped.first, "row 4: a: expected -30 to 30, got 99");
    assert_int_equal(out.slices[SLICE_BASE].rows, 3);
    assert_int_equal(out.slices[SLICE_FEEDBACK].rows, 180);
    assert_int_equal(out.slices[SLICE_SELECTION].rows, 60);
    assert_int_equal(out.slices[SLICE_VALIDATION].rows, 60);
    assert_close(out.slices[SLICE_FEEDBACK].from, 1000, 0);
    assert_close(out.slices[SLICE_FEEDBACK].to, 1179, 0);
    assert_close(out.slices[SLICE_SELECTION].from, 1180, 0);
    assert_close(out.slices[SLICE_VALIDATION].to, 1299, 0);
    uint64_t duplicates = 0;
    for (size_t i = 0; i < 3; i++)
        duplicates += out.feedback.sources[i].dropped[DROP_DUPLICATE].rows;
    assert_int_equal(duplicates, ROWS / 10);
    prepared_clear(&out);
    char *base = read_slice(p, SLICE_BASE), *selection = read_slice(p, SLICE_SELECTION);
    assert_string_equal(base, "a,b,y\n0.0,0.0,1.0\n0.0,10.0,31.0\n10.0,0.0,21.0\n");
    assert_memory_equal(selection, "a,b,y\n5.0,0.0,11.5\n", 19);
    free(base);
    free(selection);
}

static void the_order_of_the_journals_does_not_matter(void **state)
{
    static const int orders[][3] = {{0, 1, 2}, {2, 1, 0}, {1, 2, 0}};
    struct place *p = *state;
    char first[SLICE_COUNT][65];
    write_journals(p, ROWS);
    for (size_t turn = 0; turn < 3; turn++) {
        struct prepared out;
        for (size_t i = 0; i < 3; i++)
            p->paths[i] = p->journals[orders[turn][i]];
        prepare_or_fail(p, &out);
        for (size_t s = 0; s < SLICE_COUNT; s++) {
            assert_int_equal(strlen(out.slices[s].sha256), 64);
            if (turn == 0)
                memcpy(first[s], out.slices[s].sha256, sizeof first[s]);
            assert_string_equal(out.slices[s].sha256, first[s]);
        }
        prepared_clear(&out);
    }
}

static void rows_from_before_a_shift_are_dropped_unless_they_are_wanted(void **state)
{
    struct place *p = *state;
    struct prepared out;
    write_journals(p, 120);
    prepare_or_fail(p, &out);
    assert_close(out.slices[SLICE_FEEDBACK].from, 1120, 0);
    assert_int_equal(out.slices[SLICE_VALIDATION].rows, 36);
    uint64_t dropped = 0;
    for (size_t i = 0; i < 3; i++)
        dropped += out.feedback.sources[i].dropped[DROP_BEFORE_SHIFT].rows;
    assert_int_equal(dropped, 120);
    prepared_clear(&out);
    p->options.keep_before_shift = true;
    prepare_or_fail(p, &out);
    assert_close(out.slices[SLICE_FEEDBACK].from, 1000, 0);
    prepared_clear(&out);
    p->options.keep_before_shift = false;
    p->options.min_rows = 50; /* of 180 rows a fifth is fewer */
    prepare_or_fail(p, &out);
    assert_true(out.enough);
    assert_close(out.slices[SLICE_FEEDBACK].from, 1000, 0);
    prepared_clear(&out);
}

static void too_few_rows_write_nothing(void **state)
{
    struct place *p = *state;
    struct prepared out;
    write_journals(p, ROWS);
    p->options.min_rows = 61;
    prepare_or_fail(p, &out);
    assert_false(out.enough);
    assert_int_equal(out.slices[SLICE_SELECTION].rows, 60);
    assert_string_equal(out.slices[SLICE_BASE].sha256, "");
    prepared_clear(&out);
    char path[700];
    (void)snprintf(path, sizeof path, "%s/base.csv", p->out);
    assert_int_equal(access(path, F_OK), -1);
}

static void bad_input_is_refused_with_its_place(void **state)
{
    struct place *p = *state;
    struct prepared out;
    struct error err = {0};
    write_journals(p, ROWS);
    p->paths[1] = "/nonexistent";
    assert_false(prepare(&p->options, &out, &err));
    prepared_clear(&out);
    assert_contains(err.message, "/nonexistent: ");
    p->paths[1] = p->journals[1];
    FILE *base = fopen(p->base, "wb");
    assert_non_null(base);
    (void)fputs("a,b,y\n1,2,3\n1,,3\n", base);
    assert_int_equal(fclose(base), 0);
    assert_false(prepare(&p->options, &out, &err));
    prepared_clear(&out);
    assert_contains(err.message, "table.csv:3: column \"b\": expected a number");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_place, remove_place)

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(slices_are_by_time),
    cmocka_unit_test(rows_of_one_time_stay_together),
    cmocka_unit_test(rows_of_one_request_go_where_its_latest_goes),
    CASE(every_row_is_in_one_slice_and_by_time),
    CASE(the_order_of_the_journals_does_not_matter),
    CASE(rows_from_before_a_shift_are_dropped_unless_they_are_wanted),
    CASE(too_few_rows_write_nothing),
    CASE(bad_input_is_refused_with_its_place),
};

T_MAIN(tests)
