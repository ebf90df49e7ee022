#include "base/journal_format.h"

#include <string.h>
#include <zlib.h>

static bool is_taken(const char *name, size_t underscores, const char *const *others, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strspn(others[i], "_") >= underscores && strcmp(others[i] + underscores, name) == 0)
            return true;
    return false;
}

size_t journal_underscores(const char *name, const char *const *others, size_t count)
{
    size_t underscores = 0;
    while (is_taken(name, underscores, others, count))
        underscores++;
    return underscores;
}

void journal_put_crc(char *out, struct span text)
{
    static const char hex[] = "0123456789abcdef";
    unsigned long crc = crc32(0, (const Bytef *)text.p, (uInt)text.n);
    out[0] = ',';
    for (size_t i = 8; i > 0; i--, crc >>= 4)
        out[i] = hex[crc & 15];
    out[9] = '\n';
}

bool journal_crc_holds(struct span line)
{
    char crc[JOURNAL_CRC_BYTES];
    if (line.n < JOURNAL_CRC_BYTES)
        return false;
    size_t n = line.n - JOURNAL_CRC_BYTES;
    journal_put_crc(crc, (struct span){line.p, n});
    return memcmp(crc, line.p + n, JOURNAL_CRC_BYTES) == 0;
}
