/* Against strtod and printf on millions of random values, Python's repr, and the corners by hand. */
#include "base/number.h"
#include "tests/support/t.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t next_random(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    return *s ^= *s << 17;
}

static double random_double(uint64_t *s)
{
    double value;
    do {
        uint64_t bits = next_random(s);
        memcpy(&value, &bits, sizeof value);
    } while (!isfinite(value));
    return value;
}

/* Reads text by the JSON grammar from a copy that ends at a guard page. */
static enum number_status read_json(const char *text, double *value, size_t *used)
{
    size_t n = strlen(text);
    char *copy = t_guarded(text, n);
    const char *next = copy;
    enum number_status status = number_read_json(copy, copy + n, value, &next);
    *used = (size_t)(next - copy);
    t_guarded_free(copy, n);
    return status;
}

static void assert_reads_as_strtod(const char *text)
{
    double value = -1, expected = strtod(text, NULL);
    size_t used;
    enum number_status status = read_json(text, &value, &used);
    if (isinf(expected)) {
        assert_int_equal(status, NUMBER_OVERFLOW);
        return;
    }
    if (status != NUMBER_OK || memcmp(&value, &expected, sizeof value) != 0 || used != strlen(text))
        fail_msg("%s: status %d, %.17g, expected %.17g", text, (int)status, value, expected);
}

static void random_doubles_survive_writing_and_reading(void **state)
{
    (void)state;
    uint64_t s = 88172645463325252u;
    for (int i = 0; i < 300000; i++) {
        double value = i % 2 ? random_double(&s) : (double)(next_random(&s) >> 11) * 0x1p-51, back;
        char text[NUMBER_TEXT_MAX + 1];
        const char *next;
        size_t n = number_write(text, value);
        text[n] = '\0';
        assert_true(n <= NUMBER_TEXT_MAX);
        if (number_read_json(text, text + n, &back, &next) != NUMBER_OK || next != text + n ||
            memcmp(&value, &back, sizeof value) != 0 || strtod(text, NULL) != value)
            fail_msg("%a was written as %s", value, text);
    }
}

/* Significant digits of a number's text, without leading and trailing zeros. */
static void digits_of(const char *text, char *out)
{
    size_t n = 0;
    for (; *text != '\0' && *text != 'e'; text++)
        if (*text >= '0' && *text <= '9' && (n > 0 || *text != '0'))
            out[n++] = *text;
    while (n > 0 && out[n - 1] == '0')
        n--;
    out[n] = '\0';
}

static void what_is_written_is_the_shortest_and_nearest(void **state)
{
    (void)state;
    uint64_t s = 2463534242u;
    for (int i = 0; i < 30000; i++) {
        double value = random_double(&s);
        char text[64], ours[64], theirs[64];
        text[number_write(text, value)] = '\0';
        digits_of(text, ours);
        for (int precision = 0; precision < 17; precision++) {
            (void)snprintf(text, sizeof text, "%.*e", precision, value);
            if (strtod(text, NULL) == value)
                break;
        }
        digits_of(text, theirs);
        assert_string_equal(ours, theirs);
    }
}

static void writing_agrees_with_pythons_repr(void **state)
{
    (void)state;
    char line[128], text[64], expected[64];
    unsigned lines = 0;
    FILE *in = fopen("tests/golden/number_golden.txt", "r");
    assert_non_null(in);
    for (; fgets(line, sizeof line, in) != NULL; lines++) {
        uint64_t bits;
        double value;
        assert_int_equal(sscanf(line, "%" SCNx64 " %63s", &bits, expected), 2);
        memcpy(&value, &bits, sizeof value);
        text[number_write(text, value)] = '\0';
        assert_string_equal(text, expected);
    }
    (void)fclose(in);
    assert_int_equal(lines, 3000);
}

static void random_decimals_read_as_strtod_reads_them(void **state)
{
    (void)state;
    uint64_t s = 123456789u;
    char text[128];
    for (int i = 0; i < 200000; i++) {
        size_t n = 0, digits = 1 + next_random(&s) % 30, point = next_random(&s) % 31;
        if (next_random(&s) % 4 == 0)
            text[n++] = '-';
        for (size_t d = 0; d < digits; d++) {
            text[n++] = (char)('0' + (d == 0 ? 1 + next_random(&s) % 9 : next_random(&s) % 10));
            if (d == point && d + 1 < digits)
                text[n++] = '.';
        }
        (void)snprintf(text + n, sizeof text - n, "e%d", (int)(next_random(&s) % 700) - 350);
        double value = -1, expected = strtod(text, NULL);
        const char *next;
        enum number_status status = number_read_json(text, text + strlen(text), &value, &next);
        if (isinf(expected) ? status != NUMBER_OVERFLOW
                            : status != NUMBER_OK || memcmp(&value, &expected, sizeof value) != 0)
            fail_msg("%s: %.17g, expected %.17g", text, value, expected);
    }
}

static void corners_read_as_strtod_reads_them(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "0",
        "-0",
        "0.0",
        "-0.0e5",
        "1",
        "0.1",
        "123456789",
        "12345678.12345678",
        "9007199254740991",
        "9007199254740992",
        "9007199254740993",
        "9007199254740992.5",
        "9007199254740993.00000000000000000000000000000000000000000000000000000000001",
        "2.2250738585072011e-308",
        "2.2250738585072012e-308",
        "2.2250738585072014e-308",
        "4.9e-324",
        "2.4703282292062327e-324",
        "2.4703282292062328e-324",
        "1e-400",
        "1e-99999999999999999999",
        "1.7976931348623157e308",
        "1.7976931348623158e308",
        "1.7976931348623159e308",
        "1e308",
        "1e309",
        "1e400",
        "1e99999999999999999999",
        "0e99999999999999999999",
        "123456789012345678901234567890",
        "0.000000000000000000000000000000000000000000000000000000000000000000000000000000000123",
        "100000000000000000000000000000000000000000000000000000000000000000000000000000000000",
        "1.00000000000000011102230246251565404236316680908203125",
        "1.00000000000000011102230246251565404236316680908203124",
        "1.00000000000000011102230246251565404236316680908203126",
        "8.5e-323",
        "1E5",
        "1e+5",
        "1E-5"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_reads_as_strtod(texts[i]);
}

/* Halfway between two doubles, then thousands of zeros, then perhaps a one. */
static void a_tail_of_thousands_of_digits_decides_a_tie(void **state)
{
    (void)state;
    static const char halfway[] = "1.00000000000000011102230246251565404236316680908203125";
    char text[6000];
    for (int one = 0; one < 2; one++) {
        size_t n = sizeof halfway - 1;
        memcpy(text, halfway, n);
        memset(text + n, '0', 5000);
        n += 5000;
        text[n++] = one ? '1' : '0';
        text[n] = '\0';
        double value;
        size_t used;
        assert_int_equal(read_json(text, &value, &used), NUMBER_OK);
        assert_int_equal(used, n);
        assert_true(value == (one ? 1.0 + 0x1p-52 : 1.0));
    }
}

static void what_json_does_not_know_is_not_a_number(void **state)
{
    (void)state;
    static const char *const texts[] = {"",    "-",    "+1",  "01",       "-01",       "00",
                                        "1.",  "1.e5", ".5",  "-.5",      "1e",        "1e+",
                                        "1e-", "NaN",  "nan", "Infinity", "-Infinity", "inf",
                                        "e5",  " 1",   "--1", "/",        ":",         "\xff"};
    double value;
    size_t used;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (read_json(texts[i], &value, &used) != NUMBER_SYNTAX)
            fail_msg("\"%s\" was read as a number", texts[i]);
}

static void reading_stops_behind_the_number(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t used;
    } cases[] = {{"1,2", 1},
                 {"1.5]", 3},
                 {"12345678x", 8},
                 {"1e5e5", 3},
                 {"0x10", 1},
                 {"1-2", 1},
                 {"123456789.123456789 ", 19},
                 {"1e400,", 5}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double value;
        size_t used;
        assert_int_not_equal(read_json(cases[i].text, &value, &used), NUMBER_SYNTAX);
        assert_int_equal(used, cases[i].used);
    }
}

static void people_may_write_numbers_more_freely(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double value;
    } good[] = {{"1", 1},  {" 1.5 ", 1.5}, {"+2", 2},      {"007", 7},   {".5", 0.5},
                {"5.", 5}, {"-.5e1", -5},  {"\t1\r\n", 1}, {"1e3", 1000}};
    static const char *const bad[] = {"",     " ", "nan", "NaN", "inf", "-inf",  "1 2", "1,5",
                                      "0x10", ".", "+",   "1e",  "abc", "1_000", "--1", "+-1"};
    double value;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        size_t n = strlen(good[i].text);
        char *copy = t_guarded(good[i].text, n);
        assert_int_equal(number_read_text(copy, n, &value), NUMBER_OK);
        assert_true(value == good[i].value);
        t_guarded_free(copy, n);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (number_read_text(bad[i], strlen(bad[i]), &value) != NUMBER_SYNTAX)
            fail_msg("\"%s\" was read as a number", bad[i]);
    assert_int_equal(number_read_text("1e999", 5, &value), NUMBER_OVERFLOW);
}

static void unsigned_integers_are_written_in_full(void **state)
{
    (void)state;
    static const uint64_t values[] = {0, 9, 10, 99, 100, 12345, UINT32_MAX, UINT64_MAX};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char text[64], expected[64];
        text[number_write_u64(text, values[i])] = '\0';
        (void)snprintf(expected, sizeof expected, "%" PRIu64, values[i]);
        assert_string_equal(text, expected);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(random_doubles_survive_writing_and_reading),
    cmocka_unit_test(what_is_written_is_the_shortest_and_nearest),
    cmocka_unit_test(writing_agrees_with_pythons_repr),
    cmocka_unit_test(random_decimals_read_as_strtod_reads_them),
    cmocka_unit_test(corners_read_as_strtod_reads_them),
    cmocka_unit_test(a_tail_of_thousands_of_digits_decides_a_tie),
    cmocka_unit_test(what_json_does_not_know_is_not_a_number),
    cmocka_unit_test(reading_stops_behind_the_number),
    cmocka_unit_test(people_may_write_numbers_more_freely),
    cmocka_unit_test(unsigned_integers_are_written_in_full),
};

T_MAIN(tests)
