/* dataset.h - CSV in: columns by name, numbers exactly, memory independent of the row count.
 *
 * Format:  RFC 4180 with a header line: fields in quotes may hold commas, line ends and doubled
 *          quotes; lines end in LF or CRLF. A byte order mark in front, a missing last line end and
 *          blank lines at the end are fine. Numbers as number_read_text takes them. Every row has
 *          as many fields as the header; columns that were not selected may hold anything.
 * Does not: guess separators or types, trim names, fill in missing cells, accept "nan" or "inf",
 *          bare CR or NUL bytes.
 * Threads: a dataset belongs to its caller.
 * Memory:  released with dataset_free; one 64 KB read buffer, one field and the header, whatever the
 *          length of the file.
 * Errors:  every message starts with the place: `file.csv:12: column "MedInc": expected a number,
 *          got "abc"`, 12 being the line on which the row begins. ERR_INVALID the text is not such a
 *          table, ERR_TOO_LARGE over a bound below or max_rows, ERR_NOT_FOUND no such file,
 *          ERR_NO_MEMORY, ERR_INTERNAL I/O. After an error only dataset_free is allowed.
 *
 *   ds = dataset_new_path("train.csv", 10000000, err);
 *   dataset_select(ds, (const char *const[]){"MedInc", "MedHouseVal"}, 2, err);
 *   while (dataset_read(ds, 1024, x, &rows, err) && rows > 0) ...
 */
#ifndef MODEL_DATASET_H
#define MODEL_DATASET_H

#include "base/error.h"
#include "model/matrix.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
    DATASET_MAX_COLUMNS = 4096,
    DATASET_MAX_FIELD = 1 << 16,  /* bytes, after unquoting */
    DATASET_MAX_RECORD = 1 << 20, /* bytes of a row with its quotes and line end */
};

struct dataset;

/* Reads the header from `in`, which is borrowed, must outlive the dataset, and is read to its end.
 * name (copied) is for messages. A row after max_rows rows is ERR_TOO_LARGE. */
struct dataset *dataset_new(FILE *in, const char *name, uint64_t max_rows,
                            struct error *err) MUST_CHECK;

/* dataset_new of a file, or of standard input when path is "-"; the dataset closes the file. */
struct dataset *dataset_new_path(const char *path, uint64_t max_rows, struct error *err) MUST_CHECK;

/* NULL is allowed. */
void dataset_free(struct dataset *ds);

/* The header: names are unquoted, unique, NUL-terminated and live as long as the dataset. */
size_t dataset_column_count(const struct dataset *ds);
const char *dataset_column_name(const struct dataset *ds, size_t column);

/* Chooses the columns that rows are made of, in that order; a name that is missing from the header
 * or given twice is ERR_INVALID. Required once, before reading. */
bool dataset_select(struct dataset *ds, const char *const *names, size_t count,
                    struct error *err) MUST_CHECK;

/* Reads the next rows into x (max_rows, selected columns), row-major. *rows < max_rows says that the
 * data has ended; *rows is 0 from then on. All values are finite. */
bool dataset_read(struct dataset *ds, size_t max_rows, double *x, size_t *rows,
                  struct error *err) MUST_CHECK;

/* Reads all remaining rows, at most the dataset's max_rows; released with matrix_clear. */
bool dataset_read_all(struct dataset *ds, struct matrix *out, struct error *err) MUST_CHECK;

/* Goes back to the first row for another pass, with the same selection. Needs a file: a pipe or a
 * terminal is ERR_INVALID "...: cannot be read twice". A file whose bytes differ from the first
 * complete pass is ERR_INVALID at the end of the later pass. */
bool dataset_rewind(struct dataset *ds, struct error *err) MUST_CHECK;

/* Rows delivered in this pass. */
uint64_t dataset_rows(const struct dataset *ds);

/* SHA-256 of the bytes of the first complete pass, 64 hex digits; "" while there has been none (a
 * pass is complete when dataset_read has delivered fewer rows than asked for). */
const char *dataset_sha256(const struct dataset *ds);

#endif
