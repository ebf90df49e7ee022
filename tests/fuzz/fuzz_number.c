/* Numbers in and out against the C library. The input as text: read as JSON and as people write it, each
 * verdict compared with a plain statement of the grammar, each value with strtod of the token. Its first
 * eight bytes as a double and as an integer: written, read back, and compared with printf. */
#include "base/number.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INPUT_MAX = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static bool same_bits(double a, double b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

/* ---- in ---- */

static size_t digits(const char *p)
{
    return strspn(p, "0123456789");
}

/* Bytes of the exponent at p, or 0. */
static size_t exponent(const char *p)
{
    if (*p != 'e' && *p != 'E')
        return 0;
    size_t sign = p[1] == '+' || p[1] == '-', n = digits(p + 1 + sign);
    return n > 0 ? 1 + sign + n : 0;
}

/* Bytes of the JSON number at the front of a NUL-terminated text, or 0: also for what begins like one and
 * breaks off. */
static size_t json_length(const char *text)
{
    const char *p = text + (*text == '-');
    size_t whole = digits(p);
    if (whole == 0 || (whole > 1 && *p == '0'))
        return 0;
    p += whole;
    if (*p == '.') {
        size_t fraction = digits(p + 1);
        if (fraction == 0)
            return 0;
        p += 1 + fraction;
    }
    if (*p == 'e' || *p == 'E') {
        if (exponent(p) == 0)
            return 0;
        p += exponent(p);
    }
    return (size_t)(p - text);
}

/* Whether the whole text is one number as people write them. */
static bool is_plain_number(const char *p)
{
    p += *p == '-' || *p == '+';
    size_t whole = digits(p), fraction = 0;
    p += whole;
    if (*p == '.') {
        fraction = digits(p + 1);
        p += 1 + fraction;
    }
    p += exponent(p);
    return whole + fraction > 0 && *p == '\0';
}

static void check_value(enum number_status status, double value, const char *token)
{
    double expected = strtod(token, NULL);
    check((status == NUMBER_OVERFLOW) == (bool)isinf(expected));
    check(status == NUMBER_OVERFLOW || same_bits(value, expected));
}

static void check_json(const char *exact, size_t n, char *text)
{
    double value = 0;
    const char *next = NULL;
    enum number_status status = number_read_json(exact, exact + n, &value, &next);
    size_t length = json_length(text);
    check((status == NUMBER_SYNTAX) == (length == 0));
    if (length == 0)
        return;
    check(next == exact + length);
    text[length] = '\0';
    check_value(status, value, text);
}

static void check_text(const char *exact, size_t n, char *text)
{
    double value = 0;
    enum number_status status = number_read_text(exact, n, &value);
    static const char blanks[] = " \t\r\n";
    text += strspn(text, blanks);
    for (size_t end = strlen(text); end > 0 && strchr(blanks, text[end - 1]) != NULL;)
        text[--end] = '\0';
    check((status != NUMBER_SYNTAX) == is_plain_number(text));
    if (status != NUMBER_SYNTAX)
        check_value(status, value, text);
}

static void check_reading(const uint8_t *data, size_t size)
{
    char *exact = malloc(size > 0 ? size : 1), *text = malloc(size + 1);
    check(exact != NULL && text != NULL);
    memcpy(exact, data, size);
    memcpy(text, data, size);
    text[size] = '\0';
    if (memchr(data, '\0', size) == NULL) {
        check_json(exact, size, text);
        memcpy(text, data, size);
        check_text(exact, size, text);
    } else { /* C texts cannot hold it; a number cannot either */
        double value;
        check(number_read_text(exact, size, &value) == NUMBER_SYNTAX);
    }
    free(exact);
    free(text);
}

/* ---- out ---- */

/* The significant digits of a written number, without zeros at either end. */
static size_t significant(const char *text, char *out)
{
    size_t n = 0;
    for (; *text != '\0' && *text != 'e'; text++)
        if (*text >= '0' && *text <= '9' && (n > 0 || *text != '0'))
            out[n++] = *text;
    while (n > 0 && out[n - 1] == '0')
        n--;
    out[n] = '\0';
    return n;
}

/* As many digits as needed: with one less nothing reads back; with as many, printf's nearest, if that
 * reads back, is what was written. */
static void check_shortest(double value, const char *text)
{
    char ours[64], theirs[64], printed[64];
    size_t n = significant(text, ours);
    if (n > 1) {
        (void)snprintf(printed, sizeof printed, "%.*e", (int)n - 2, value);
        check(!same_bits(strtod(printed, NULL), value));
    }
    (void)snprintf(printed, sizeof printed, "%.*e", n > 0 ? (int)n - 1 : 0, value);
    (void)significant(printed, theirs);
    check(!same_bits(strtod(printed, NULL), value) || strcmp(ours, theirs) == 0);
}

static void check_writing(double value)
{
    char text[NUMBER_TEXT_MAX + 1], printed[64];
    double again = 0;
    const char *next = NULL;
    size_t n = number_write(text, value);
    check(n > 0 && n <= NUMBER_TEXT_MAX);
    text[n] = '\0';
    check(json_length(text) == n && same_bits(strtod(text, NULL), value));
    check(number_read_json(text, text + n, &again, &next) == NUMBER_OK && next == text + n);
    check(same_bits(again, value));
    check_shortest(value, text);
    n = (size_t)snprintf(printed, sizeof printed, "%.17g", value);
    check(number_read_json(printed, printed + n, &again, &next) == NUMBER_OK);
    check(next == printed + n && same_bits(again, value));
}

static void check_integer(uint64_t value)
{
    char text[NUMBER_TEXT_MAX + 1], printed[64];
    text[number_write_u64(text, value)] = '\0';
    (void)snprintf(printed, sizeof printed, "%llu", (unsigned long long)value);
    check(strcmp(text, printed) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    double value;
    uint64_t integer;
    if (size > INPUT_MAX)
        return 0;
    check_reading(data, size);
    if (size < sizeof value)
        return 0;
    memcpy(&value, data, sizeof value);
    memcpy(&integer, data, sizeof integer);
    check_integer(integer >> data[size - 1] % 64);
    if (isfinite(value))
        check_writing(value);
    return 0;
}
