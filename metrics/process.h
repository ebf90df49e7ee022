/* process.h - the process_* family every Prometheus client exports, read from /proc/self.
 *
 * Does not: invent a value: what cannot be read is absent.
 * Threads: registers an on-scrape update; see metrics.h.
 * Memory:  a few hundred bytes owned by the registry's caller: process_metrics_free.
 * Errors:  NULL when out of memory.
 */
#ifndef METRICS_PROCESS_H
#define METRICS_PROCESS_H

#include "metrics/metrics.h"

struct process_metrics;

struct process_metrics *process_metrics_new(struct metrics *metrics) MUST_CHECK;
void process_metrics_free(struct process_metrics *process);

#endif
