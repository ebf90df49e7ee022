/* exposition_check.h - a strict reader of Prometheus text 0.0.4 and OpenMetrics 1.0, for tests.
 *
 * It refuses what a scrape overlooks: histograms without +Inf, with bounds or counts that fall, or whose
 * +Inf is not the count; samples or families that come twice, whatever the order of their labels, or apart;
 * samples without HELP and TYPE, or before them; wrong suffixes, names, escapes, values; bytes that are not
 * UTF-8; timestamps; a missing last LF or `# EOF`.
 *
 * Errors: ERR_INVALID "line 17: expected ..., got ...".
 */
#ifndef TESTS_SUPPORT_EXPOSITION_CHECK_H
#define TESTS_SUPPORT_EXPOSITION_CHECK_H

#include "base/error.h"
#include "metrics/exposition.h"

#include <stddef.h>

bool exposition_check(const char *text, size_t n, enum exposition_format format,
                      struct error *err) MUST_CHECK;

/* Value of the series written exactly like that: name{a="b",c="d"}. */
bool exposition_value(const char *text, size_t n, const char *series, double *value) MUST_CHECK;

#endif
