/* json.h - strict RFC 8259 reader that decodes numbers in place, and a writer.
 *
 * Idea:    one pull reader validates every byte it passes (grammar, UTF-8, escapes, depth) and is the
 *          only scanner there is. Matrices of numbers, the bulk of every request, are decoded straight
 *          into an arena by a fast path that accepts or declines and never words an error. Anything
 *          else is skipped as a span and may be handed to cJSON, which so never sees invalid text.
 * Does not: build a tree itself, keep comments, or accept NaN, a BOM, trailing bytes, lone surrogates.
 * Threads: a reader or writer belongs to its caller.
 * Memory:  spans point into the caller's text, which must outlive them. Arrays and writer output live
 *          in the arena. Trees from json_tree are the caller's: cJSON_Delete.
 * Errors:  ERR_INVALID "byte 17: expected ',' or ']'"; ERR_TOO_LARGE for depth; ERR_NO_MEMORY.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/arena.h"
#include "base/error.h"

#include <cjson/cJSON.h>
#include <stddef.h>
#include <stdint.h>

enum {
    JSON_MAX_DEPTH = 512,
    JSON_TREE_NUMBER_MAX = 63, /* characters of a number that cJSON reads */
};

enum json_kind {
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT
};

/* ---- reading ---- */

/* Visible so that it can live on the stack; treat the members as private. */
struct json_reader {
    const char *begin, *p, *end;
    unsigned depth;
    bool saw_nul;                         /* a string held \u0000 */
    bool saw_overflow;                    /* a number passed over rounds to infinity */
    bool saw_long;                        /* a number passed over is more than cJSON reads */
    uint64_t fresh[JSON_MAX_DEPTH / 64];  /* bit d: container at depth d has had no element yet */
    uint64_t object[JSON_MAX_DEPTH / 64]; /* bit d: that container is an object */
};

/* Prepares to read text[0..n), which is borrowed and need not end in NUL. */
void json_reader_init(struct json_reader *r, const char *text, size_t n);

/* Kind of the value that comes next, from its first byte (blanks skipped). */
bool json_peek(struct json_reader *r, enum json_kind *kind, struct error *err) MUST_CHECK;

/* Enters the object (array) that comes next. */
bool json_enter_object(struct json_reader *r, struct error *err) MUST_CHECK;
bool json_enter_array(struct json_reader *r, struct error *err) MUST_CHECK;

/* Inside an object: *more tells whether a member follows; then *key is its raw text between the
 * quotes and *escaped whether that holds a backslash, and its value comes next. At the closing
 * brace *more is false and the object has been left. */
bool json_next_member(struct json_reader *r, bool *more, struct span *key, bool *escaped,
                      struct error *err) MUST_CHECK;

/* Inside an array: *more tells whether an element follows; at the bracket the array is left. */
bool json_next_element(struct json_reader *r, bool *more, struct error *err) MUST_CHECK;

/* Reads a number; one that rounds to infinity is ERR_INVALID. */
bool json_number(struct json_reader *r, double *value, struct error *err) MUST_CHECK;

/* Reads an integral number in [0, max] written without fraction or exponent. */
bool json_count(struct json_reader *r, uint64_t max, uint64_t *value, struct error *err) MUST_CHECK;

/* Reads true or false. */
bool json_bool(struct json_reader *r, bool *value, struct error *err) MUST_CHECK;

/* Reads a string into the arena, unescaped, NUL-terminated; \u0000 is refused. */
bool json_string(struct json_reader *r, struct arena *arena, struct span *value,
                 struct error *err) MUST_CHECK;

/* Validates and passes over any value; *value spans it without surrounding blanks. Only the grammar
 * counts here: a number that would overflow is passed over. */
bool json_skip(struct json_reader *r, struct span *value, struct error *err) MUST_CHECK;

/* After the outermost value: only blanks may remain. */
bool json_end(struct json_reader *r, struct error *err) MUST_CHECK;

/* Bytes of the UTF-8 character at p (RFC 3629: shortest form, no surrogates), or 0 if it is none;
 * p < end. */
size_t json_utf8_length(const char *p, const char *end);

/* ---- the fast path ---- */

/* Row-major matrix of numbers decoded from text. */
struct json_matrix {
    double *data; /* (rows, cols), in the arena */
    size_t rows, cols;
};

/* Decodes the next value as [[n, ...], ...] where every row has exactly cols numbers and there is
 * at least one row. Returns true and consumes it, or returns false, *oom telling whether memory was
 * the reason, with the reader where it was: somebody else reads the value, and words the error. */
bool json_matrix(struct json_reader *r, struct arena *arena, size_t cols, size_t max_rows,
                 struct json_matrix *out, bool *oom) MUST_CHECK;

/* Decodes the next value as [n, n, ...] (may be empty) with at most max numbers; same contract. */
bool json_vector(struct json_reader *r, struct arena *arena, size_t max, struct json_matrix *out,
                 bool *oom) MUST_CHECK;

/* ---- trees for everything that is not bulk ---- */

/* Validates text strictly, then parses it with cJSON. Strings holding \u0000, and numbers that overflow
 * or are longer than JSON_TREE_NUMBER_MAX, are refused. Release with cJSON_Delete. NULL on error. */
cJSON *json_tree(struct span text, struct error *err) MUST_CHECK;

/* The last member of that name (case-sensitive), or NULL; object may be NULL. */
const cJSON *json_member(const cJSON *object, const char *name);

/* ---- writing ---- */

/* Compact JSON into an arena. Commas are its business. After a failed allocation everything else is
 * a no-op and json_writer_finish fails, so only that call is checked. */
struct json_writer {
    struct arena *arena;
    char *data;
    size_t n, capacity;
    bool failed, comma;
};

void json_writer_init(struct json_writer *w, struct arena *arena);
void json_begin_object(struct json_writer *w);
void json_end_object(struct json_writer *w);
void json_begin_array(struct json_writer *w);
void json_end_array(struct json_writer *w);
void json_key(struct json_writer *w, const char *name);
void json_put_string(struct json_writer *w, const char *text); /* invalid UTF-8 becomes U+FFFD */
void json_put_span(struct json_writer *w, struct span text);   /* likewise */
void json_put_number(struct json_writer *w, double value);     /* not finite: null */
void json_put_numbers(struct json_writer *w, const double *values, size_t n); /* an array */
void json_put_u64(struct json_writer *w, uint64_t value);
void json_put_bool(struct json_writer *w, bool value);
void json_put_null(struct json_writer *w);
/* Appends text as it is, as one value; it must be valid JSON. */
void json_put_raw(struct json_writer *w, struct span text);

/* The text so far (in the arena, not NUL-terminated); false when memory ran out. */
bool json_writer_finish(struct json_writer *w, struct span *out) MUST_CHECK;

#endif
