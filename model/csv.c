#include "model/csv.h"

#include "base/number.h"

#include <string.h>

void csv_put_name(FILE *out, const char *name, char end)
{
    bool quotes = strpbrk(name, ",\"\r\n") != NULL;
    if (quotes)
        (void)putc('"', out);
    for (; *name != '\0'; name++) {
        if (*name == '"')
            (void)putc('"', out);
        (void)putc(*name, out);
    }
    if (quotes)
        (void)putc('"', out);
    (void)putc(end, out);
}

void csv_put_number(FILE *out, double value, char end)
{
    char text[NUMBER_TEXT_MAX + 1];
    size_t n = number_write(text, value);
    text[n++] = end;
    (void)fwrite(text, 1, n, out);
}
