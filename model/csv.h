/* csv.h - a line of CSV, field by field, as dataset.h reads it.
 *
 * Format:  RFC 4180, but LF: quotes only where they are needed, numbers in shortest round-trip form.
 * Does not: count fields, or look at what becomes of the stream: its owner asks ferror.
 * Threads: no state.
 * Memory:  none.
 * Errors:  none.
 */
#ifndef MODEL_CSV_H
#define MODEL_CSV_H

#include <stdio.h>

/* A field and what follows it: ',' or '\n'. */
void csv_put_name(FILE *out, const char *name, char end);
void csv_put_number(FILE *out, double value, char end); /* finite */

#endif
