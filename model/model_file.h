/* model_file.h - the artifact: one JSON document, versioned, bounded, exact, checksummed.
 *
 * Format:  members as model_file.c lists them; numbers in shortest round-trip form, so save, load,
 *          predict is bit-exact. The last line is `"sha256":"<64 hex>"}` and LF; the digest covers
 *          every byte before that line and is checked before anything is parsed.
 * Does not: execute anything, authenticate (that is the image's signature), or accept unknown format
 *          versions.
 * Threads: no state.
 * Memory:  model_load returns an object for model_free; file size and every count are bounded before
 *          they size an allocation.
 * Errors:  ERR_NOT_FOUND no such file, ERR_INVALID damaged or not a model (message names the member),
 *          ERR_TOO_LARGE over a bound, ERR_NO_MEMORY, ERR_INTERNAL I/O.
 */
#ifndef MODEL_MODEL_FILE_H
#define MODEL_MODEL_FILE_H

#include "model/model.h"

#include <stdio.h>

enum { MODEL_FORMAT_VERSION = 1 };

/* Reads a whole artifact from a stream; name is only for messages. */
struct model *model_load(FILE *in, const char *name, struct error *err) MUST_CHECK;

/* model_load of a path. */
struct model *model_load_path(const char *path, struct error *err) MUST_CHECK;

/* Writes the artifact to a stream. */
bool model_save(const struct model *model, FILE *out, struct error *err) MUST_CHECK;

/* Replaces path atomically: temporary file in the same folder, fsync, rename, fsync of the folder. */
bool model_save_path(const struct model *model, const char *path, struct error *err) MUST_CHECK;

#endif
