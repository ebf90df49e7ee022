/* stats_file.h - statistics on their way from the machine that made them to the one that merges them.
 *
 * Format:  "RIDGSTAT", then whole numbers and doubles in the byte order of the machine that wrote them
 *          (x86-64: little-endian), which the fourth word tells:
 *            u32 version = 1, u32 0x01020304
 *            u64 kind (0 rows, 1 residuals), bytes of the map, columns of the moments (residuals: 0),
 *                histograms, rows
 *            64 bytes: SHA-256 of the rows' file in hexadecimal digits
 *            the map: the artifact, byte by byte; its own digest is what tells maps apart
 *            per histogram (one per feature, one for the prediction): f64 least, greatest,
 *                u64 cells[267]
 *            rows: f64 mean_y, yy, mean[], xy[], the lower triangle of the Gram matrix by columns
 *            residuals: f64 absolute, squares, mean_y, yy, u64 scores[16386]
 *            32 bytes: SHA-256 of everything before
 * Does not: convert byte orders, authenticate, read pipes.
 * Threads: no state.
 * Memory:  counts are bounded, and compared with the size of the file, before they size an allocation.
 * Errors:  ERR_NOT_FOUND no such file, ERR_INVALID damaged or not such a file, ERR_NO_MEMORY,
 *          ERR_INTERNAL I/O; messages begin with the path.
 */
#ifndef MODEL_STATS_FILE_H
#define MODEL_STATS_FILE_H

#include "model/stats.h"

enum { STATS_FORMAT_VERSION = 1 };

/* Rows that one file may tell of. */
#define STATS_ROWS_MAX ((uint64_t)1 << 48)

/* Fills *s, for stats_clear. */
bool stats_load_path(const char *path, struct stats *s, struct error *err) MUST_CHECK;

/* Replaces path as replace_file.h says. *s is read only. */
bool stats_save_path(struct stats *s, const char *path, struct error *err) MUST_CHECK;

#endif
