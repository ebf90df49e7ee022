/* model_file.h - the artifact: one JSON document, versioned, bounded, exact, checksummed.
 *
 * Format:  {"format_version":1, "name", "version", "kind":"linear"|"kernel",
 *           "target":{"name","unit"},
 *           "features":[{"name","min","max","transform":{"kind":"standardise"|"log",
 *                        "clip":[low,high],"offset","mean","scale"}}, ...],
 *           "quantiles":[[32 numbers], ...],
 *           "map":{"directions":[{"a","b","difference"}, ...],"scales":[...],"centres":[...]},
 *           "parameters":{"intercept","coefficients":[...]},
 *           "residual":{"intercept","coefficients":[...]},
 *           "interval":{"scaled","floor","scores":[...]},
 *           "card":{"rows","data_sha256","date","penalty","kernel","threads",
 *                   "leave_one_out":{"rows","mae","rmse","r2"},"holdout":{...},"linear":{...}},
 *           "sha256"}
 *          The members mean what struct model_parts says. A direction's a and b count the features
 *          from 0; quantiles come one row per feature, and may have one more for
 *          the predictions; scales come one per feature, then one per direction; centres are all in one flat
 *          array, a feature's number each. clip, quantiles, map, residual and interval are null where
 *          there is none, an undefined figure is null, and the map of kind "linear" is null;
 *          interval.scores is empty where only the intervals' scale is known.
 *          Numbers are in shortest round-trip form, so save, load, predict is bit-exact.
 *          format_version comes first. The last line is
 *          `"sha256":"<64 hex>"}` and LF; the digest covers every byte before that line and is checked
 *          before anything is parsed. Members with other names are ignored; a missing member and one
 *          that is there twice are errors.
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

enum { MODEL_FORMAT_VERSION = 1, MODEL_FILE_BYTES_MAX = 64 << 20 };

/* Reads a whole artifact from a stream; name is only for messages. */
struct model *model_load(FILE *in, const char *name, struct error *err) MUST_CHECK;

/* model_load of a path. */
struct model *model_load_path(const char *path, struct error *err) MUST_CHECK;

/* The two halves of that. All that is left in the stream, at most MODEL_FILE_BYTES_MAX, the caller's to
 * free; and the model of an artifact's n bytes. Their messages do not say which file it is. */
char *model_read_text(FILE *in, size_t *n, struct error *err) MUST_CHECK;
struct model *model_from_text(const char *text, size_t n, struct error *err) MUST_CHECK;

/* Writes the artifact to a stream. */
bool model_save(const struct model *model, FILE *out, struct error *err) MUST_CHECK;

/* Replaces path as replace_file.h says. */
bool model_save_path(const struct model *model, const char *path, struct error *err) MUST_CHECK;

#endif
