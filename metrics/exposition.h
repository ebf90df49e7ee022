/* exposition.h - a registry as Prometheus text 0.0.4 or OpenMetrics 1.0.
 *
 * Idea:    one renderer, two spellings. Both write le="1.0" style bounds, so that a series keeps its
 *          identity whichever format was negotiated.
 * Does not: emit timestamps, _created lines or exemplars.
 * Threads: any; takes the registry's lock for the rendering.
 * Memory:  exposition_write: the caller's stream; exposition_text: the caller's arena.
 * Errors:  the stream's own (ferror); false when out of memory.
 * Sources: prometheus.io exposition_formats; OpenMetrics 1.0; RFC 9110 section 12.5.1 (Accept).
 */
#ifndef METRICS_EXPOSITION_H
#define METRICS_EXPOSITION_H

#include "base/arena.h"
#include "metrics/metrics.h"

#include <stdio.h>

enum exposition_format { EXPOSITION_TEXT, EXPOSITION_OPENMETRICS };

void exposition_write(struct metrics *metrics, enum exposition_format format, FILE *out);

/* The same as text in the arena. */
bool exposition_text(struct metrics *metrics, enum exposition_format format, struct arena *arena,
                     struct span *out) MUST_CHECK;

/* The Content-Type that goes with a format. */
const char *exposition_content_type(enum exposition_format format);

/* Chooses by an Accept header (accept[0..n); n == 0 when absent): the supported type of the highest
 * q, the more specific first; text 0.0.4 when nothing fits. */
enum exposition_format exposition_negotiate(const char *accept, size_t n);

#endif
