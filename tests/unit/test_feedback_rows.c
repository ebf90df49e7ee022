/* What is read from journals, what is dropped from them and how that is told. */
#include "model/feedback_rows.h"

#include "tests/support/feedback_lines.h"
#include "tests/support/plane.h"
#include "tests/support/t.h"

#include <stdlib.h>
#include <string.h>

struct place {
    struct model *model;
    struct plausible plausible;
    struct feedback_rows rows;
    char *text; /* a journal that is being made */
    size_t n;
    FILE *out;
};

static int make_place(void **state)
{
    struct error err = {0};
    struct place *p = calloc(1, sizeof *p);
    assert_non_null(p);
    p->model = plane_model("1", 1);
    assert_true(plausible_init(&p->plausible, p->model, 1, &err));
    plausible_set_target(&p->plausible, 1, 51, 1);
    assert_true(feedback_rows_init(&p->rows, &p->plausible, &err));
    assert_non_null(p->out = open_memstream(&p->text, &p->n));
    *state = p;
    return 0;
}

static int remove_place(void **state)
{
    struct place *p = *state;
    (void)fclose(p->out);
    free(p->text);
    feedback_rows_clear(&p->rows);
    plausible_clear(&p->plausible);
    model_free(p->model);
    free(p);
    return 0;
}

/* Reads what has been made so far as a file of that name, and begins another. */
static bool read_made(struct place *p, const char *path, struct error *err)
{
    (void)fclose(p->out);
    FILE *in = p->n > 0 ? fmemopen(p->text, p->n, "rb") : fopen("/dev/null", "rb");
    assert_non_null(in);
    bool ok = feedback_rows_read(&p->rows, in, path, err);
    (void)fclose(in);
    free(p->text);
    assert_non_null(p->out = open_memstream(&p->text, &p->n));
    return ok;
}

static void read_or_fail(struct place *p, const char *path)
{
    struct error err = {0};
    if (!read_made(p, path, &err))
        fail_msg("%s", err.message);
}

static void expect_row(const struct place *p, size_t i, const char *id, double a, double b,
                       double y)
{
    const struct feedback_row *row = &p->rows.rows[i];
    assert_true(i < p->rows.count);
    assert_true(span_is(row->id, id));
    assert_close(row->values[0], a, 0);
    assert_close(row->values[1], b, 0);
    assert_close(row->values[2], y, 0);
}

static void expect_drop(const struct place *p, size_t source, enum feedback_drop why, uint64_t rows,
                        const char *first)
{
    const struct dropped *dropped = &p->rows.sources[source].dropped[why];
    assert_int_equal(dropped->rows, rows);
    assert_string_equal(dropped->first, first);
}

static void expect_refused(struct place *p, const char *text, const char *message)
{
    struct error err = {0};
    (void)fputs(text, p->out);
    assert_false(read_made(p, "j.csv", &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_contains(err.message, message);
}

static void rows_are_read_in_any_order_of_the_columns(void **state)
{
    struct place *p = *state;
    (void)fputs(FEEDBACK_LINES_HEADER, p->out);
    feedback_lines_row(p->out, 5.5, "one", 1, 2, 9);
    read_or_fail(p, "a.csv");
    (void)fputs("\"b\",y,a,more,id,time,crc32\n", p->out);
    feedback_lines_put(p->out, "4,19,3,\"x,\"\"y\",\"two\",6");
    read_or_fail(p, "b.csv");
    feedback_rows_arrange(&p->rows, 0);
    assert_int_equal(p->rows.count, 2);
    expect_row(p, 0, "one", 1, 2, 9);
    expect_row(p, 1, "two", 3, 4, 19);
    assert_close(p->rows.rows[0].time, 5.5, 0);
}

static void a_damaged_line_and_a_torn_end_are_dropped_and_told(void **state)
{
    struct place *p = *state;
    (void)fputs(FEEDBACK_LINES_HEADER, p->out);
    feedback_lines_row(p->out, 1, "one", 1, 2, 9);
    (void)fputs("2.0,two,1,1.0,2.0,0.0,9.0,00000000\n\n", p->out);
    feedback_lines_row(p->out, 3, "three", 1, 2, 9);
    (void)fputs("4.0,four,1,1.0,2", p->out);
    read_or_fail(p, "j.csv");
    assert_int_equal(p->rows.count, 2);
    assert_int_equal(p->rows.sources[0].rows, 5);
    expect_drop(p, 0, DROP_DAMAGED, 3, "line 3: expected its CRC-32 in the last column");
}

static void a_line_that_is_too_long_costs_only_itself(void **state)
{
    struct place *p = *state;
    (void)fputs(FEEDBACK_LINES_HEADER, p->out);
    for (size_t i = 0; i < FEEDBACK_LINE_MAX + 1; i++)
        (void)fputc('x', p->out);
    (void)fputc('\n', p->out);
    feedback_lines_row(p->out, 1, "one", 1, 2, 9);
    read_or_fail(p, "j.csv");
    assert_int_equal(p->rows.count, 1);
    expect_drop(p, 0, DROP_DAMAGED, 1, "line 2: expected its CRC-32 in the last column");
}

static void cells_that_are_none_of_their_column_are_dropped_and_told(void **state)
{
    static const struct {
        const char *line, *first;
    } cases[] = {
        {"1,r,1,nan,2,0,9", "line 2: field 4: expected a number"},
        {"1,r,1,1e999,2,0,9", "line 2: field 4: expected a number"},
        {"1,r,1,1,,0,9", "line 2: field 5: expected a number"},
        {"1,r,1,1,2,0,inf", "line 2: field 7: expected a number"},
        {"-1,r,1,1,2,0,9", "line 2: field 1: expected a number"},
        {"yesterday,r,1,1,2,0,9", "line 2: field 1: expected a number"},
        {"1,,1,1,2,0,9", "line 2: field 2: expected an id"},
        {"1,r,1,1,2,0", "line 2: field 7: expected a number"},
        {"1,r,1,1,2,0,9,9", "line 2: expected 8 fields, got 9"},
        {"1,\"r,1,1,2,0,9", "line 2: expected a closing quote and a comma"},
        {"1,\"r\"s,1,1,2,0,9", "line 2: expected a closing quote and a comma"},
    };
    struct place *p = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        (void)fputs(FEEDBACK_LINES_HEADER, p->out);
        feedback_lines_put(p->out, cases[i].line);
        read_or_fail(p, "j.csv");
        expect_drop(p, i, DROP_UNREADABLE, 1, cases[i].first);
    }
    assert_int_equal(p->rows.count, 0);
}

static void values_that_are_not_plausible_are_dropped_and_told(void **state)
{
    struct place *p = *state;
    (void)fputs(FEEDBACK_LINES_HEADER, p->out);
    feedback_lines_row(p->out, 1, "r1", -30, 30, -49);
    feedback_lines_row(p->out, 2, "r2", 1, 2, 101);
    feedback_lines_row(p->out, 3, "r3", -30.5, 2, 9);
    feedback_lines_row(p->out, 4, "r4", 1, 30.5, 9);
    feedback_lines_row(p->out, 5, "r5", 1, 2, 101.5);
    read_or_fail(p, "j.csv");
    assert_int_equal(p->rows.count, 2);
    expect_drop(p, 0, DROP_FEATURE_RANGE, 2, "line 4: a: expected -30 to 30, got -30.5");
    expect_drop(p, 0, DROP_TARGET_RANGE, 1, "line 6: y: expected -49 to 101, got 101.5");
}

static void of_an_id_the_first_row_is_kept(void **state)
{
    struct place *p = *state;
    (void)fputs(FEEDBACK_LINES_HEADER, p->out);
    feedback_lines_row(p->out, 3, "r", 3, 0, 9);
    feedback_lines_row(p->out, 2, "r/1", 2, 0, 9);
    read_or_fail(p, "a.csv");
    (void)fputs(FEEDBACK_LINES_HEADER, p->out);
    feedback_lines_row(p->out, 1, "r", 1, 0, 9);
    feedback_lines_row(p->out, 2, "r/1", 2, 0, 9);
    read_or_fail(p, "b.csv");
    feedback_rows_arrange(&p->rows, 0);
    assert_int_equal(p->rows.count, 2);
    expect_row(p, 0, "r", 1, 0, 9);
    expect_row(p, 1, "r/1", 2, 0, 9);
    expect_drop(p, 0, DROP_DUPLICATE, 1, "line 2: its id is that of b.csv:2");
    expect_drop(p, 1, DROP_DUPLICATE, 1, "line 3: its id is that of a.csv:3");
}

static void rows_that_differ_under_one_id_and_time_do_not_depend_on_the_order_of_files(void **state)
{
    struct place *p = *state;
    double kept[2];
    for (int turn = 0; turn < 2; turn++) {
        for (int file = 0; file < 2; file++) {
            (void)fputs(FEEDBACK_LINES_HEADER, p->out);
            feedback_lines_row(p->out, 1, "r", file == turn ? 1 : 2, 0, 9);
            read_or_fail(p, "j.csv");
        }
        feedback_rows_arrange(&p->rows, 0);
        assert_int_equal(p->rows.count, 1);
        kept[turn] = p->rows.rows[0].values[0];
        p->rows.count = 0;
    }
    assert_close(kept[0], kept[1], 0);
}

static void only_the_latest_rows_are_kept_if_that_is_wanted(void **state)
{
    struct place *p = *state;
    (void)fputs(FEEDBACK_LINES_HEADER, p->out);
    feedback_lines_row(p->out, 3, "c", 3, 0, 9);
    feedback_lines_row(p->out, 1, "a", 1, 0, 9);
    feedback_lines_row(p->out, 2, "b", 2, 0, 9);
    read_or_fail(p, "j.csv");
    feedback_rows_arrange(&p->rows, 2);
    assert_int_equal(p->rows.count, 2);
    expect_row(p, 0, "b", 2, 0, 9);
    expect_row(p, 1, "c", 3, 0, 9);
    expect_drop(p, 0, DROP_OLD, 1, "line 3: 2 rows follow");
}

static void a_header_of_another_model_is_refused_with_the_column(void **state)
{
    struct place *p = *state;
    expect_refused(p, "", "j.csv:1: expected a header line");
    expect_refused(p, "time,id,a,y,crc32\n", "j.csv:1: expected a column \"b\", got none");
    expect_refused(p, "time,id,a,b,crc32\n", "j.csv:1: expected a column \"y\", got none");
    expect_refused(p, "id,a,b,y,crc32\n", "j.csv:1: expected a column \"time\", got none");
    expect_refused(p, "time,a,b,y,crc32\n", "j.csv:1: expected a column \"id\", got none");
    expect_refused(p, "time,id,a,b,y\n", "j.csv:1: expected the last column to be crc32");
    expect_refused(p, "time,id,a,a,b,y,crc32\n", "j.csv:1: expected different column names");
    expect_refused(p, "time,id,\"a,b,y,crc32\n", "j.csv:1: expected a closing quote");
}

static void a_file_that_is_not_there_is_named(void **state)
{
    struct place *p = *state;
    struct error err = {0};
    assert_false(feedback_rows_read_path(&p->rows, "/nonexistent", &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_contains(err.message, "/nonexistent: ");
}

static void a_request_is_an_id_without_its_row(void **state)
{
    (void)state;
    static const char *const cases[][2] = {{"abc", "abc"}, {"abc/1", "abc"}, {"abc/12", "abc"},
                                           {"a/b", "a/b"}, {"a/1/2", "a/1"}, {"12", "12"},
                                           {"/1", "/1"},   {"abc/", "abc/"}, {"a1", "a1"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct span id = {cases[i][0], strlen(cases[i][0])};
        if (!span_is(feedback_request(id), cases[i][1]))
            fail_msg("%s", cases[i][0]);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_place, remove_place)

static const struct CMUnitTest tests[] = {
    CASE(rows_are_read_in_any_order_of_the_columns),
    CASE(a_damaged_line_and_a_torn_end_are_dropped_and_told),
    CASE(a_line_that_is_too_long_costs_only_itself),
    CASE(cells_that_are_none_of_their_column_are_dropped_and_told),
    CASE(values_that_are_not_plausible_are_dropped_and_told),
    CASE(of_an_id_the_first_row_is_kept),
    CASE(rows_that_differ_under_one_id_and_time_do_not_depend_on_the_order_of_files),
    CASE(only_the_latest_rows_are_kept_if_that_is_wanted),
    CASE(a_header_of_another_model_is_refused_with_the_column),
    CASE(a_file_that_is_not_there_is_named),
    cmocka_unit_test(a_request_is_an_id_without_its_row),
};

T_MAIN(tests)
