/* number.h - decimal text to double and back, exactly.
 *
 * Idea:    reading is correctly rounded (round to nearest, ties to even): Clinger's fast path, then
 *          Eisel-Lemire (Lemire 2021, "Number parsing at a gigabyte per second"), then an exact
 *          fallback. Writing gives the shortest digits that read back to the same double, the
 *          closest of them (Schubfach: Giulietti 2021). One 128-bit power table serves both.
 * Does not: depend on the locale, accept hexadecimal, or write NaN and infinities.
 * Threads: no state.
 * Memory:  none allocated; the caller's buffers only.
 * Errors:  by return value; the caller words the message.
 */
#ifndef BASE_NUMBER_H
#define BASE_NUMBER_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/* Longest text number_write and number_write_u64 produce, without a NUL. */
enum { NUMBER_TEXT_MAX = 32 };

enum number_status {
    NUMBER_OK,
    NUMBER_SYNTAX,   /* not a number of the grammar */
    NUMBER_OVERFLOW, /* rounds to infinity */
};

/* Reads one number by RFC 8259's grammar (no leading plus, zeros, bare point) from the front of
 * [p, end). *next is the first byte not consumed, on NUMBER_OVERFLOW too. Underflow gives a subnormal or zero and is OK. */
enum number_status number_read_json(const char *p, const char *end, double *value,
                                    const char **next) MUST_CHECK;

/* Reads all of [p, p + n) as people and CSV files write numbers: as above, and also a leading plus,
 * leading zeros, ".5" and "5."; blanks around it are allowed. "nan" and "inf" are NUMBER_SYNTAX. */
enum number_status number_read_text(const char *p, size_t n, double *value) MUST_CHECK;

/* Writes a finite value, shortest round trip, at most NUMBER_TEXT_MAX bytes, no NUL; returns the
 * length. Form of Python's repr: "1.0", "0.0001", "1e-05", "123456789012345.0", "1e+16", "-0.0". */
size_t number_write(char *out, double value);

/* Writes an unsigned integer in decimal; at most 20 bytes, no NUL; returns the length. */
size_t number_write_u64(char *out, uint64_t value);

#endif
