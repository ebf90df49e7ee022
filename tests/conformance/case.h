/* case.h - protocol cases written as text: read here, run by whoever includes this.
 *
 * Format:  == title
 *          @ starting                      optional: the server is not ready yet; see below
 *          METHOD /target?query
 *          Header: value                   any number
 *                                          a blank line, then the body as it is; or neither
 *          --
 *          200
 *          Header: value                   expected; others may come as well
 *                                          a blank line, then the expected body; or neither
 *
 *          Lines that begin with '#' are prose, except inside a request's body. A body ends before
 *          the line end that precedes "--", "== " or prose; it may have several lines. An expected
 *          body is JSON and compared by structure: members in any order, none missing, none more. ~x
 *          is a number within 1e-9 of x, relative; any other number has to be the very same double;
 *          the string "..." stands for any value, and as a header's value for any text. Without an
 *          expected body the body is not compared.
 * Idea:    a case is a struct request ready for api_handle, and its target as a client writes it.
 * Does not: run anything, or know routes.
 * Memory:  everything in the arena.
 * Errors:  ERR_NOT_FOUND no such file; ERR_INVALID "v1.txt:17: expected ...", or what differs:
 *          "status: expected 200, got 400; {...}", "body.predictions[0]: expected ~9, got 8".
 */
#ifndef TESTS_CONFORMANCE_CASE_H
#define TESTS_CONFORMANCE_CASE_H

#include "base/arena.h"
#include "base/error.h"
#include "server/http/message.h"

struct conformance_case {
    const char *title;
    unsigned line;          /* where it begins */
    bool starting;          /* to be run before the server is ready */
    struct span target;     /* path and query as written, percent-encoded */
    struct request request; /* the same, decoded; received_ns is 0 */
    int status;
    const struct header *headers; /* expected */
    size_t header_count;
    struct span body; /* expected; p is NULL when not compared */
};

bool conformance_load(const char *path, struct arena *arena, const struct conformance_case **cases,
                      size_t *n, struct error *err) MUST_CHECK;

/* Reads cases from text; name is for messages. text has to live as long as the cases. */
bool conformance_parse(struct span text, const char *name, struct arena *arena,
                       const struct conformance_case **cases, size_t *n,
                       struct error *err) MUST_CHECK;

/* Compares what came with what the case expects. headers: all of them, Content-Type too. */
bool conformance_compare(const struct conformance_case *expected, int status,
                         const struct header *headers, size_t header_count, struct span body,
                         struct error *err) MUST_CHECK;

#endif
