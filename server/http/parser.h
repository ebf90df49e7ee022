/* parser.h - HTTP/1.1 message syntax: bytes in, a request head and its framing out.
 *
 * Idea:    first find the end of the head, remembering how far was looked, so that a client that drips
 *          costs linear time; then parse it in one go. Chunked bodies are decoded in place. Strict by
 *          default: whatever two parsers could read differently (and so smuggle) is refused.
 * Does not: allocate except from the arena (header list, decoded path), read sockets, or know routes.
 * Threads: no state of its own.
 * Memory:  spans point into the bytes parsed, or into the arena.
 * Errors:  a status (400, 413, 417, 431, 501, 505) and a constant text; 503 when the arena is exhausted.
 * Source:  RFC 9112 (syntax), RFC 9110 (fields, Expect), RFC 3986 (target).
 */
#ifndef SERVER_HTTP_PARSER_H
#define SERVER_HTTP_PARSER_H

#include "base/arena.h"
#include "base/error.h"
#include "server/http/message.h"

/* What is wrong with a message; status 0: nothing. */
struct http_fault {
    int status;
    const char *text;
};

enum parse_status { PARSE_MORE, PARSE_DONE, PARSE_FAULT };

/* How far the search for the end of a head has come; zero it before a new message. */
struct head_search {
    size_t line_start, looked; /* offsets from the first byte of the message */
    size_t lines;
};

/* Looks for the end of the head in data[0..n). PARSE_DONE: *length is the head with its empty line. */
enum parse_status parse_find_head(struct head_search *search, const char *data, size_t n,
                                  size_t max_bytes, size_t max_headers, size_t *length,
                                  struct http_fault *fault) MUST_CHECK;

struct http_head {
    struct request request; /* without body and time */
    size_t length;          /* of the body by Content-Length */
    bool chunked, keep_alive, expect_continue, http10;
};

/* Parses data[0..length), a whole head as parse_find_head found it, with `lines` lines. */
bool parse_head(const char *data, size_t length, size_t lines, struct arena *arena,
                struct http_head *head, struct http_fault *fault) MUST_CHECK;

/* Decoder of one chunked body; zero it before use. */
struct chunked {
    enum { CHUNK_SIZE, CHUNK_DATA, CHUNK_DATA_END, CHUNK_TRAILER } state;
    size_t left;    /* of the current chunk */
    size_t in, out; /* offsets into the data: consumed, and decoded so far */
    size_t framing; /* bytes of the size line or trailer being read, bounded */
};

/* Decodes in place what data[in..*length) adds. PARSE_MORE: what was consumed is taken out of the data
 * and *length, which is then the decoded body and part of a line. PARSE_DONE: the body is data[0..out),
 * in is the first byte behind the message. */
enum parse_status parse_chunked(struct chunked *state, char *data, size_t *length, size_t max_body,
                                struct http_fault *fault) MUST_CHECK;

#endif
