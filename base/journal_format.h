/* journal_format.h - what those who write the feedback journal and those who read it agree on.
 *
 * Format:  CSV; the last column is crc32: zlib's CRC-32 of the bytes before its comma, in eight lower-case
 *          hexadecimal digits. Fixed columns are time, id, model_version, prediction, crc32; where a
 *          feature or the target has one of these names, the fixed one gets leading underscores until it
 *          is unique.
 * Does not: read or write the other fields.
 * Threads: no state.
 * Memory:  the caller's.
 * Errors:  none.
 */
#ifndef BASE_JOURNAL_FORMAT_H
#define BASE_JOURNAL_FORMAT_H

#include "base/arena.h"

enum { JOURNAL_CRC_BYTES = 1 + 8 + 1 /* comma, digits, LF */ };

/* How many underscores the fixed column of that name has in front, beside columns that are called
 * others(count). */
size_t journal_underscores(const char *name, const char *const *others, size_t count);

/* Writes what ends a line: out(JOURNAL_CRC_BYTES) behind text. text.n < 2^32. */
void journal_put_crc(char *out, struct span text);

/* Whether a line with its LF ends in the CRC-32 of what is before it. line.n < 2^32. */
bool journal_crc_holds(struct span line) MUST_CHECK;

#endif
