/* token.h - a bearer token that is kept in a file, and the check of a request's against it.
 *
 * Idea:    both sides are hashed and the digests compared without branching, so the time taken tells
 *          neither a prefix nor a length. The file may change while the program runs (a rotated
 *          Secret): token_refresh reads it again.
 * Does not: know which routes are protected, or log a token.
 * Threads: token_matches and token_refresh from any.
 * Memory:  released with token_free; only a digest is kept. What token_read gives is the caller's to wipe.
 * Errors:  ERR_INVALID an empty file, one over TOKEN_MAX bytes, or one with blanks or control
 *          characters inside; ERR_NOT_FOUND, ERR_INTERNAL reading it; ERR_NO_MEMORY. After a failed
 *          refresh the token before still counts.
 * Source:  RFC 6750 section 2.1.
 */
#ifndef SERVER_TOKEN_H
#define SERVER_TOKEN_H

#include "base/arena.h"
#include "base/error.h"

enum { TOKEN_MAX = 4096 };

struct token;

/* Reads the token from the file at path, which is borrowed for good; blanks and line ends around it
 * do not count. */
struct token *token_new(const char *path, struct error *err) MUST_CHECK;
void token_free(struct token *token); /* NULL is allowed */

/* Whether an Authorization header's value is "Bearer <the token>". */
bool token_matches(struct token *token, struct span authorization);

/* The token itself, for a program that has to send it. */
bool token_read(const char *path, char token[TOKEN_MAX + 1], struct error *err) MUST_CHECK;

/* Reads the file again. */
bool token_refresh(struct token *token, struct error *err) MUST_CHECK;

#endif
