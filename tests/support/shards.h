/* shards.h - a table in pieces, and maps to look at it through, for tests of statistics and merges.
 *
 * Row i of the table is always the same; y is a smooth function of the three features and some noise.
 */
#ifndef TESTS_SUPPORT_SHARDS_H
#define TESTS_SUPPORT_SHARDS_H

#include "model/model_internal.h"
#include "model/stats.h"

enum { SHARDS_FEATURES = 3, SHARDS_CENTRES = 24 };

/* Row i: x(SHARDS_FEATURES) and y. */
double shards_row(size_t i, double *x);

/* Writes the rows from `first` on as CSV. */
void shards_write(const char *path, size_t first, size_t rows);

/* Writes an artifact, a poor model of the table: linear, or with SHARDS_CENTRES centres, a log, a
 * direction and a residual function that scales intervals. */
void shards_write_map(const char *path, enum model_kind kind, double penalty);

/* What ridge stats makes of a file; the test fails if it cannot. */
void shards_collect(struct stats *s, const char *map_path, enum stats_kind kind, const char *csv);
void shards_stats(const char *map_path, enum stats_kind kind, const char *csv, const char *out);

#endif
