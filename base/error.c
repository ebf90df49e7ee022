/* Formatting into a fixed buffer; a cut never leaves half a UTF-8 character behind, because
 * messages quote what clients sent and end up in JSON. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Takes away the last character of a full buffer if it is not whole. */
static void cut_at_character(char *text, size_t capacity)
{
    size_t start = capacity - 1;
    while (start > 0 && ((unsigned char)text[start - 1] & 0xC0) == 0x80)
        start--;
    if (start == 0 || (unsigned char)text[start - 1] < 0xC0)
        return;
    unsigned char lead = (unsigned char)text[--start];
    size_t whole = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (capacity - 1 - start < whole)
        text[start] = '\0';
}

__attribute__((format(printf, 2, 0))) static void format(struct error *err, const char *fmt,
                                                         va_list args)
{
    int n = vsnprintf(err->message, sizeof err->message, fmt, args);
    if (n >= (int)sizeof err->message)
        cut_at_character(err->message, sizeof err->message);
}

void error_fill(struct error *err, enum error_code code, const char *fmt, ...)
{
    va_list args;
    err->code = code;
    va_start(args, fmt);
    format(err, fmt, args);
    va_end(args);
}

void error_prefix(struct error *err, const char *fmt, ...)
{
    struct error place = {0}, cause = *err;
    va_list args;
    va_start(args, fmt);
    format(&place, fmt, args);
    va_end(args);
    error_fill(err, cause.code, "%s: %s", place.message, cause.message);
}
