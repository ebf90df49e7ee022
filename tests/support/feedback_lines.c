#include "tests/support/feedback_lines.h"

#include "base/journal_format.h"

#include <string.h>

void feedback_lines_put(FILE *out, const char *text)
{
    char crc[JOURNAL_CRC_BYTES];
    struct span span = {text, strlen(text)};
    journal_put_crc(crc, span);
    (void)fwrite(text, 1, span.n, out);
    (void)fwrite(crc, 1, sizeof crc, out);
}

void feedback_lines_row(FILE *out, double time, const char *id, double a, double b, double y)
{
    char text[256];
    (void)snprintf(text, sizeof text, "%.9f,%s,1,%.17g,%.17g,0.0,%.17g", time, id, a, b, y);
    feedback_lines_put(out, text);
}
