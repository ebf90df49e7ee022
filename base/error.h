/* error.h - the one error value every fallible function fills.
 *
 * Idea:    codes are words of the domain, never HTTP statuses or errno values; the server maps them
 *          in one table. A message reads "<place>: <expected>, <got>" and is written for the person
 *          who sent the input.
 * Does not: log, abort, keep a global "last error", or carry a cause chain.
 * Threads: a struct error belongs to its caller; the functions share nothing.
 * Memory:  no allocation; messages longer than the buffer are cut at a UTF-8 character.
 * Errors:  struct error *err is always the last parameter, never NULL, and untouched on success.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <stdbool.h>

#define MUST_CHECK              __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, first) __attribute__((format(printf, fmt, first)))

enum error_code {
    ERR_NONE,
    ERR_INVALID,      /* malformed, wrong shape, wrong type, non-finite */
    ERR_UNAUTHORIZED, /* missing or wrong bearer token */
    ERR_NOT_FOUND,    /* no such path, model, version, file */
    ERR_METHOD,       /* the path exists, the method does not */
    ERR_TOO_LARGE,    /* over a byte, row or depth limit */
    ERR_OVERLOADED,   /* a queue or the memory budget is full */
    ERR_INTERNAL,     /* our fault */
    ERR_NUMERIC,      /* the computation has no finite answer */
    ERR_UNSUPPORTED,  /* named by the protocol, not by this model */
    ERR_NOT_READY,    /* loading or draining */
    ERR_NO_MEMORY,    /* an allocation sized by the input failed */
    ERR_DEADLINE,     /* the request's own deadline passed */
};

struct error {
    enum error_code code;
    char message[256]; /* NUL-terminated */
};

/* Fills *err and is false, so that failing is one line: return error_set(err, ERR_INVALID, "...", ...).
 * A macro only so that compilers and analysers see the false. */
#define error_set(err, code, ...)                                                                  \
    __extension__({                                                                                \
        error_fill((err), (code), __VA_ARGS__);                                                    \
        false;                                                                                     \
    })
void error_fill(struct error *err, enum error_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Puts "<place>: " in front of err->message; for callers that know where a callee failed. */
void error_prefix(struct error *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
