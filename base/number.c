/* Reading: scan digits into a 64-bit significand and a decimal exponent; small cases are exact in
 * double arithmetic (Clinger 1990), nearly all others need one or two 64x64 products with a table of
 * powers (Eisel and Lemire, as in Lemire 2021), and what is left goes to the C library, on a bounded
 * copy without a decimal point, so that the locale cannot matter.
 * Writing: Schubfach (Giulietti 2021): the shortest decimal inside the rounding interval, found with
 * three products of the same table. */
#include "base/number.h"

#include "base/number_table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

__extension__ typedef unsigned __int128 wide;

enum {
    DIGITS_KEPT = 19,      /* as many decimal digits as a uint64_t always holds */
    DIGITS_DECIDING = 768, /* of digits beyond these only matters whether one is not zero */
    EXPONENT_LIMIT = 1000000,
};

/* A decimal number as scanned: value = significand * 10^exponent unless truncated. */
struct decimal {
    uint64_t significand;     /* of the digits, or of the first DIGITS_KEPT when truncated */
    int64_t exponent;         /* that goes with significand */
    const char *digits, *end; /* the digits with their point, without sign and exponent */
    bool negative, truncated;
};

static double double_of(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static bool is_digit(char c)
{
    return (unsigned char)(c - '0') < 10;
}

/* ---- scanning ---- */

/* Eight digits at once, if p[0..8) are digits: pairs, then fours, then eight, in one register. */
static bool eight_digits(const char *p, uint64_t *value)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    v -= 0x3030303030303030u;
    if (((v + 0x7676767676767676u) | v) & 0x8080808080808080u)
        return false;
    v = v * 10 + (v >> 8);
    *value = ((v & 0x000000ff000000ffu) * 0x000f424000000064u +
              ((v >> 16) & 0x000000ff000000ffu) * 0x0000271000000001u) >>
             32;
    return true;
}

/* Appends the digits at p to *w, which may wrap: more than DIGITS_KEPT are scanned again. */
static const char *scan_digits(const char *p, const char *end, uint64_t *w)
{
    uint64_t eight;
    while (end - p >= 8 && eight_digits(p, &eight)) {
        *w = *w * 100000000 + eight;
        p += 8;
    }
    for (; p < end && is_digit(*p); p++)
        *w = *w * 10 + (uint64_t)(*p - '0');
    return p;
}

/* Reads [+-]digits behind an 'e'; NULL when there are none. */
static const char *scan_exponent(const char *p, const char *end, int64_t *exponent)
{
    bool negative = p < end && *p == '-';
    int64_t e = 0;
    if (p < end && (*p == '-' || *p == '+'))
        p++;
    const char *start = p;
    for (; p < end && is_digit(*p); p++)
        if (e < EXPONENT_LIMIT)
            e = e * 10 + (*p - '0');
    *exponent += negative ? -e : e;
    return p == start ? NULL : p;
}

/* Keeps the first DIGITS_KEPT significant digits of `count`; leading zeros do not count. */
static void truncate_digits(struct decimal *d, size_t count)
{
    const char *p = d->digits;
    for (; p < d->end && (*p == '0' || *p == '.'); p++)
        count -= *p == '0';
    d->digits = p;
    if (count <= DIGITS_KEPT)
        return;
    d->truncated = true;
    d->exponent += (int64_t)count - DIGITS_KEPT;
    d->significand = 0;
    for (int kept = 0; kept < DIGITS_KEPT; p++)
        if (*p != '.') {
            d->significand = d->significand * 10 + (uint64_t)(*p - '0');
            kept++;
        }
}

/* One number at p; the byte behind it, or NULL. lenient: as in number_read_text. */
static inline const char *scan(const char *p, const char *end, bool lenient, struct decimal *d)
{
    uint64_t w = 0;
    d->negative = p < end && *p == '-';
    d->truncated = false;
    if (d->negative || (lenient && p < end && *p == '+'))
        p++;
    d->digits = p;
    p = scan_digits(p, end, &w);
    size_t count = (size_t)(p - d->digits);
    if (!lenient && (count == 0 || (count > 1 && *d->digits == '0')))
        return NULL;
    d->exponent = 0;
    if (p < end && *p == '.') {
        const char *fraction = ++p;
        p = scan_digits(p, end, &w);
        d->exponent = fraction - p;
        count += (size_t)(p - fraction);
        if (!lenient && p == fraction)
            return NULL;
    }
    d->end = p;
    d->significand = w;
    if (count == 0)
        return NULL;
    if (p < end && (*p == 'e' || *p == 'E') &&
        (p = scan_exponent(p + 1, end, &d->exponent)) == NULL)
        return NULL;
    if (count > DIGITS_KEPT)
        truncate_digits(d, count);
    return p;
}

/* ---- decimal to double ---- */

/* Eisel-Lemire for significand * 10^exponent, significand != 0. False when 128 bits do not decide. */
static bool multiply_exactly(uint64_t significand, int64_t exponent, double *value)
{
    if (exponent < POWER_FIRST) {
        *value = 0.0;
        return true;
    }
    if (exponent > 308) {
        *value = INFINITY;
        return true;
    }
    const uint64_t *power = powers_of_ten[exponent - POWER_FIRST];
    int zeros = __builtin_clzll(significand);
    uint64_t w = significand << zeros;
    wide product = (wide)w * power[0];
    uint64_t high = (uint64_t)(product >> 64), low = (uint64_t)product;
    if ((high & 0x1ff) == 0x1ff) { /* the bits that round are in doubt: refine with the low half */
        uint64_t carry = (uint64_t)((wide)w * power[1] >> 64);
        low += carry;
        high += low < carry;
        if (low == UINT64_MAX && (exponent < -27 || exponent > 55))
            return false;
    }
    int upper = (int)(high >> 63);
    uint64_t mantissa = high >> (upper + 9);
    /* floor(log2(10^exponent)) by fixed point, the shift being arithmetic in gcc and clang; 1023 is the
     * bias. */
    // cppcheck-suppress shiftNegativeLHS
    int64_t biased = ((217706 * exponent) >> 16) + 63 + upper - zeros + 1023;
    if (biased <= 0) { /* subnormal */
        if (1 - biased >= 64) {
            *value = 0.0;
            return true;
        }
        mantissa >>= 1 - biased;
        mantissa = (mantissa + (mantissa & 1)) >> 1;
        *value = double_of(mantissa); /* rounding up to the smallest normal does the right thing */
        return true;
    }
    /* A tie that looks like "just above": round to even must go down. Only these exponents have any. */
    if (low <= 1 && exponent >= -4 && exponent <= 23 && (mantissa & 3) == 1 &&
        mantissa << (upper + 9) == high)
        mantissa &= ~(uint64_t)1;
    mantissa = (mantissa + (mantissa & 1)) >> 1;
    if (mantissa >> 53 != 0) {
        mantissa >>= 1;
        biased++;
    }
    if (biased >= 0x7ff)
        *value = INFINITY;
    else
        *value = double_of((mantissa & (((uint64_t)1 << 52) - 1)) | (uint64_t)biased << 52);
    return true;
}

/* The C library decides, on a copy of at most DIGITS_DECIDING digits whose point has moved into the
 * exponent; it rounds correctly. */
static double decide_by_library(const struct decimal *d)
{
    char text[DIGITS_DECIDING + 32];
    size_t n = 0;
    bool more = false;
    for (const char *p = d->digits; p < d->end; p++) {
        if (*p == '.')
            continue;
        if (n < DIGITS_DECIDING)
            text[n++] = *p;
        else
            more |= *p != '0';
    }
    int64_t exponent = d->truncated ? d->exponent - ((int64_t)n - DIGITS_KEPT) : d->exponent;
    if (more) {
        text[n++] = '1';
        exponent--;
    }
    text[n++] = 'e';
    if (exponent < 0)
        text[n++] = '-';
    n += number_write_u64(text + n, (uint64_t)(exponent < 0 ? -exponent : exponent));
    text[n] = '\0';
    return strtod(text, NULL);
}

static double magnitude(const struct decimal *d)
{
    static const double exact[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                   1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                   1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    double value, above;
    if (!d->truncated) {
        /* Both factors are exact doubles, so one operation rounds once (Clinger). */
        if (d->significand <= (uint64_t)1 << 53 && d->exponent >= -22 && d->exponent <= 22)
            return d->exponent < 0 ? (double)d->significand / exact[-d->exponent]
                                   : (double)d->significand * exact[d->exponent];
        if (d->significand == 0)
            return 0.0;
        if (multiply_exactly(d->significand, d->exponent, &value))
            return value;
    } else if (multiply_exactly(d->significand, d->exponent, &value) &&
               multiply_exactly(d->significand + 1, d->exponent, &above) && value == above) {
        return value; /* whatever the digits cut off were */
    }
    return decide_by_library(d);
}

static enum number_status convert(const struct decimal *d, double *value)
{
    double v = magnitude(d);
    if (isinf(v))
        return NUMBER_OVERFLOW;
    *value = d->negative ? -v : v;
    return NUMBER_OK;
}

enum number_status number_read_json(const char *p, const char *end, double *value,
                                    const char **next)
{
    struct decimal d;
    const char *behind = scan(p, end, false, &d);
    if (behind == NULL)
        return NUMBER_SYNTAX;
    *next = behind;
    return convert(&d, value);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

enum number_status number_read_text(const char *p, size_t n, double *value)
{
    struct decimal d;
    const char *end = p + n;
    while (p < end && is_blank(*p))
        p++;
    while (end > p && is_blank(end[-1]))
        end--;
    return scan(p, end, true, &d) == end && end > p ? convert(&d, value) : NUMBER_SYNTAX;
}

/* ---- double to decimal ---- */

/* floor(g * c / 2^127) with the last bit set when anything was cut off. */
static uint64_t round_to_odd(const uint64_t g[2], uint64_t c)
{
    wide low = (wide)g[1] * c;
    wide high = (wide)g[0] * c + (uint64_t)(low >> 64);
    return (uint64_t)(high >> 64) | ((uint64_t)high > 1);
}

/* The shortest decimal digits * 10^*k inside the rounding interval of c * 2^q, nearest to it.
 * `narrow`: the interval below is half as wide (c is a power of two). */
static uint64_t shortest(uint64_t c, int q, bool narrow, int *k)
{
    *k = (q * 1262611 - (narrow ? 524031 : 0)) >> 22; /* floor(log10(2^q)), or of 3/4 of it */
    int h = q + ((-*k * 1741647) >> 19) + 1;          /* so that the products below fit */
    uint64_t g[2] = {powers_of_ten[-*k - POWER_FIRST][0], powers_of_ten[-*k - POWER_FIRST][1]};
    if (-*k < -27 || -*k > 55) /* Schubfach wants powers rounded up */
        g[0] += ++g[1] == 0;
    uint64_t below = round_to_odd(g, (4 * c - 2 + narrow) << h);
    uint64_t v = round_to_odd(g, (4 * c) << h);
    uint64_t above = round_to_odd(g, (4 * c + 2) << h);
    uint64_t odd = c & 1; /* the bounds themselves round to c only when c is even */
    uint64_t s = v / 4, tens = s / 10;
    bool under = below + odd <= 40 * tens, over = 40 * tens + 40 + odd <= above;
    if (s >= 10 && under != over) {
        ++*k;
        return tens + over;
    }
    under = below + odd <= 4 * s;
    over = 4 * s + 4 + odd <= above;
    if (under != over)
        return s + over;
    uint64_t middle = 4 * s + 2;
    return s + (v > middle || (v == middle && (s & 1)));
}

static size_t write_digits(char *out, uint64_t value)
{
    static const char pairs[] =
        "00010203040506070809101112131415161718192021222324"
        "25262728293031323334353637383940414243444546474849"
        "50515253545556575859606162636465666768697071727374"
        "75767778798081828384858687888990919293949596979899";
    char buffer[20], *p = buffer + sizeof buffer;
    for (; value >= 100; value /= 100)
        memcpy(p -= 2, pairs + 2 * (value % 100), 2);
    if (value >= 10)
        memcpy(p -= 2, pairs + 2 * value, 2);
    else
        *--p = (char)('0' + value);
    size_t n = (size_t)(buffer + sizeof buffer - p);
    memcpy(out, p, n);
    return n;
}

size_t number_write_u64(char *out, uint64_t value)
{
    return write_digits(out, value);
}

/* d.ddde+XX */
static size_t write_scientific(char *out, const char *digits, size_t n, int exponent)
{
    size_t length = 0;
    out[length++] = digits[0];
    if (n > 1) {
        out[length++] = '.';
        memcpy(out + length, digits + 1, n - 1);
        length += n - 1;
    }
    out[length++] = 'e';
    out[length++] = exponent < 0 ? '-' : '+';
    if (abs(exponent) < 10)
        out[length++] = '0';
    return length + write_digits(out + length, (uint64_t)abs(exponent));
}

/* Digits with the point behind the first `point` of them, which may be outside. */
static size_t write_plain(char *out, const char *digits, size_t n, int point)
{
    size_t length = 0;
    if (point <= 0) {
        out[length++] = '0';
        out[length++] = '.';
        memset(out + length, '0', (size_t)-point);
        length += (size_t)-point;
        memcpy(out + length, digits, n);
        return length + n;
    }
    size_t whole = (size_t)point;
    if (n <= whole) {
        memcpy(out, digits, n);
        memset(out + n, '0', whole - n);
        memcpy(out + whole, ".0", 2);
        return whole + 2;
    }
    memcpy(out, digits, whole);
    out[whole] = '.';
    memcpy(out + whole + 1, digits + whole, n - whole);
    return n + 1;
}

static size_t write_decimal(char *out, uint64_t significand, int k)
{
    char digits[20];
    size_t n = write_digits(digits, significand);
    int point = (int)n + k;
    while (n > 1 && digits[n - 1] == '0')
        n--;
    return point > -4 && point <= 16 ? write_plain(out, digits, n, point)
                                     : write_scientific(out, digits, n, point - 1);
}

size_t number_write(char *out, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    size_t sign = bits >> 63;
    uint64_t fraction = bits & (((uint64_t)1 << 52) - 1);
    int biased = (int)(bits >> 52 & 0x7ff), k = 0;
    *out = '-'; /* overwritten when there is no sign */
    if (biased == 0 && fraction == 0) {
        memcpy(out + sign, "0.0", 3);
        return sign + 3;
    }
    uint64_t c = biased == 0 ? fraction : fraction | (uint64_t)1 << 52;
    int q = (biased == 0 ? 1 : biased) - 1075;
    uint64_t digits;
    if (q <= 0 && q > -53 && (c & (((uint64_t)1 << -q) - 1)) == 0)
        digits = c >> -q; /* an integer below 2^53 */
    else
        digits = shortest(c, q, fraction == 0 && biased > 1, &k);
    return sign + write_decimal(out + sign, digits, k);
}
