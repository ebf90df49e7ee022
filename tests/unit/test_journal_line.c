/* Lines of the journal: there and back, and everything that is not one. */
#include "server/predictor/journal_line.h"

#include "tests/support/t.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct span text(const char *s)
{
    return (struct span){s, strlen(s)};
}

static void assert_header(const char *const *features, size_t count, const char *target,
                          const char *expected)
{
    struct error err = {0};
    struct span header;
    struct arena *arena = arena_new(1024, 0);
    struct journal_schema schema = {features, count, target};
    if (!journal_header(&schema, arena, &header, &err))
        fail_msg("%s", err.message);
    assert_int_equal(header.n, strlen(expected));
    assert_memory_equal(header.p, expected, header.n);
    arena_free(arena);
}

static void a_header_names_every_column_once(void **state)
{
    (void)state;
    assert_header((const char *const[]){"MedInc", "HouseAge"}, 2, "MedHouseVal",
                  "time,id,model_version,MedInc,HouseAge,prediction,MedHouseVal,crc32\n");
    assert_header(
        (const char *const[]){"a,b", "say \"x\"", "line\nend"}, 3, "y",
        "time,id,model_version,\"a,b\",\"say \"\"x\"\"\",\"line\nend\",prediction,y,crc32\n");
}

static void a_fixed_column_gives_way_to_a_feature_of_its_name(void **state)
{
    (void)state;
    assert_header((const char *const[]){"id", "_id", "time"}, 3, "prediction",
                  "_time,__id,model_version,id,_id,time,_prediction,prediction,crc32\n");
}

static void names_that_are_not_unique_or_too_many_are_refused(void **state)
{
    (void)state;
    struct span header;
    struct arena *arena = arena_new(1024, 0);
    static const char *const names[] = {"a", "y"};
    const struct journal_schema bad[] = {{names, 2, "y"}, {names, 0, "y"}, {names, 4097, "y"}};
    static const char *const words[] = {"two columns are called \"y\"", "got 0", "got 4097"};
    for (size_t i = 0; i < 3; i++) {
        struct error err = {0};
        assert_false(journal_header(&bad[i], arena, &header, &err));
        assert_contains(err.message, words[i]);
    }
    arena_free(arena);
}

static void a_line_is_spelt_like_this(void **state)
{
    (void)state;
    const double features[] = {8.3252, -0.0, 1e-7};
    struct journal_row row = {
        1764088841000000042, text("ab\"c,d/17"), text("1.2"), features, 4.5, 4};
    char line[1024];
    size_t n = journal_write_line(line, &row, 3);
    static const char expected[] =
        "1764088841.000000042,\"ab\"\"c,d/17\",1.2,8.3252,-0.0,1e-07,4.5,4.0,";
    assert_int_equal(n, sizeof expected - 1 + 9);
    assert_memory_equal(line, expected, sizeof expected - 1);
    assert_int_equal(line[n - 1], '\n');
    assert_true(journal_line_is_whole((struct span){line, n}));
}

/* "123456789" has the CRC-32 cbf43926: the check value of every description of it. */
static void the_crc_is_the_usual_one(void **state)
{
    (void)state;
    assert_true(journal_line_is_whole(text("123456789,cbf43926\n")));
    assert_false(journal_line_is_whole(text("123456789,CBF43926\n")));
    assert_false(journal_line_is_whole(text("123456789,cbf43926")));
    assert_false(journal_line_is_whole(text("123456780,cbf43926\n")));
    assert_false(journal_line_is_whole(text("cbf43926\n")));
    assert_false(journal_line_is_whole((struct span){"", 0}));
}

static void the_longest_row_fits_and_comes_back_with_the_same_bits(void **state)
{
    (void)state;
    enum { FEATURES = 500 };
    char id[JOURNAL_ID_MAX], version[JOURNAL_VERSION_MAX],
        *line = malloc(journal_line_max(FEATURES));
    double features[FEATURES], back[FEATURES];
    struct journal_texts texts;
    struct journal_row row, read;
    struct error err = {0};
    assert_non_null(line);
    memset(id, '"', sizeof id);
    memset(version, ',', sizeof version);
    for (size_t j = 0; j < FEATURES; j++)
        features[j] = (j % 2 == 0 ? -1 : 1) * nextafter(DBL_MAX / (double)(j + 1), 0);
    row = (struct journal_row){UINT64_MAX, {id, sizeof id}, {version, sizeof version},
                               features,   -DBL_MIN,        -5e-324};
    assert_true(journal_check_row(&row, FEATURES, &err));
    size_t n = journal_write_line(line, &row, FEATURES);
    assert_true(n <= journal_line_max(FEATURES));
    char *copy = t_guarded(line, n);
    if (!journal_read_line((struct span){copy, n}, FEATURES, back, &texts, &read, &err))
        fail_msg("%s", err.message);
    assert_true(journal_line_has_id((struct span){copy, n}, row.id));
    assert_int_equal(read.time_ns, UINT64_MAX);
    assert_memory_equal(read.id.p, id, sizeof id);
    assert_memory_equal(read.version.p, version, sizeof version);
    assert_memory_equal(back, features, sizeof features);
    assert_close(read.prediction, -DBL_MIN, 0);
    assert_close(read.target, -5e-324, 0);
    t_guarded_free(copy, n);
    free(line);
}

static void rows_that_cannot_be_a_line_are_refused(void **state)
{
    (void)state;
    char longest[300];
    const double fine[] = {1, 2}, bad[] = {1, NAN};
    memset(longest, 'x', sizeof longest);
    const struct journal_row rows[] = {
        {0, {"", 0}, text("1"), fine, 1, 1},
        {0, {longest, JOURNAL_ID_MAX + 1}, text("1"), fine, 1, 1},
        {0, text("a b"), text("1"), fine, 1, 1},
        {0, text("a\nb"), text("1"), fine, 1, 1},
        {0, text("\xc3\xa4"), text("1"), fine, 1, 1},
        {0, text("a"), {longest, JOURNAL_VERSION_MAX + 1}, fine, 1, 1},
        {0, text("a"), text("1"), bad, 1, 1},
        {0, text("a"), text("1"), fine, INFINITY, 1},
        {0, text("a"), text("1"), fine, 1, NAN}};
    static const char *const words[] = {"id: expected 1 to 160 bytes, got 0",
                                        "got 161",
                                        "printable",
                                        "printable",
                                        "printable",
                                        "model_version: expected 1 to 255",
                                        "features[1]: expected a finite number",
                                        "finite",
                                        "finite"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct error err = {0};
        assert_false(journal_check_row(&rows[i], 2, &err));
        assert_contains(err.message, words[i]);
    }
}

/* Every byte changed to every other value: none of these lines is taken. */
static void no_change_of_one_byte_goes_unnoticed(void **state)
{
    (void)state;
    const double features[] = {0.5, 1};
    struct journal_row row = {5, text("x\"/1"), text("1"), features, 2, 3};
    char line[512];
    size_t n = journal_write_line(line, &row, 2);
    for (size_t i = 0; i < n; i++)
        for (int c = 1; c < 256; c++) {
            line[i] = (char)(line[i] ^ c);
            assert_false(journal_line_is_whole((struct span){line, n}));
            line[i] = (char)(line[i] ^ c);
        }
    assert_true(journal_line_is_whole((struct span){line, n}));
}

/* Lines whose CRC is right but whose contents are not a row: as many fields too many or few, no numbers. */
static void whole_lines_that_are_no_row_are_refused(void **state)
{
    (void)state;
    static const char *const bodies[] = {"1.000000000,a,1,1,2,3",
                                         "1.000000000,a,1,1,2,3,4,5",
                                         "1.00000000,a,1,1,2,3,4",
                                         "1,a,1,1,2,3,4",
                                         "18446744073.999999999,a,1,1,2,3,4",
                                         "99999999999999999999.000000000,a,1,1,2,3,4",
                                         "1.000000000,\"a,1,1,2,3,4",
                                         "1.000000000,\"a\"b,1,1,2,3,4",
                                         "1.000000000,a,1,x,2,3,4",
                                         "1.000000000,a,1,,2,3,4",
                                         "1.000000000,a,1,1,2,3,nan",
                                         "1.000000000,a,1,1,2,3,1e999",
                                         "",
                                         ",,,,,,"};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct error err = {0};
        struct journal_texts texts;
        struct journal_row row;
        double features[2];
        char line[512];
        size_t n = strlen(bodies[i]);
        memcpy(line, bodies[i], n);
        /* bit by bit, as the definition has it */
        unsigned long crc = 0xffffffff;
        for (size_t k = 0; k < n; k++) {
            crc ^= (unsigned char)line[k];
            for (int bit = 0; bit < 8; bit++)
                crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
        }
        (void)snprintf(line + n, sizeof line - n, ",%08lx\n", crc ^ 0xffffffff);
        n += 10;
        assert_true(journal_line_is_whole((struct span){line, n}));
        assert_false(journal_read_line((struct span){line, n}, 2, features, &texts, &row, &err));
        assert_contains(err.message, "expected a row of 2 features");
    }
}

static void an_id_is_compared_as_it_was_given(void **state)
{
    (void)state;
    const double features[] = {1};
    struct journal_row row = {5, text("a\"b,c"), text("1"), features, 2, 3};
    char line[512];
    struct span whole = {line, journal_write_line(line, &row, 1)};
    assert_true(journal_line_has_id(whole, text("a\"b,c")));
    assert_false(journal_line_has_id(whole, text("a\"b,")));
    assert_false(journal_line_has_id(whole, text("\"a\"\"b,c\"")));
    assert_false(journal_line_has_id(text("nonsense"), text("nonsense")));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_header_names_every_column_once),
    cmocka_unit_test(a_fixed_column_gives_way_to_a_feature_of_its_name),
    cmocka_unit_test(names_that_are_not_unique_or_too_many_are_refused),
    cmocka_unit_test(a_line_is_spelt_like_this),
    cmocka_unit_test(the_crc_is_the_usual_one),
    cmocka_unit_test(the_longest_row_fits_and_comes_back_with_the_same_bits),
    cmocka_unit_test(rows_that_cannot_be_a_line_are_refused),
    cmocka_unit_test(no_change_of_one_byte_goes_unnoticed),
    cmocka_unit_test(whole_lines_that_are_no_row_are_refused),
    cmocka_unit_test(an_id_is_compared_as_it_was_given),
};

T_MAIN(tests)
