/* In place of what watches predictions, for `make bench`: linked with --wrap, so that the program is the same
 * but for that. */
#include "server/predictor/monitor.h"
#include "server/predictor/observed.h"

void __wrap_observed_predictions(struct observed *observed, unsigned shard, uint64_t monotonic_ns,
                                 size_t rows, const double *x, const double *y);
void __wrap_observed_predictions(struct observed *observed, unsigned shard, uint64_t monotonic_ns,
                                 size_t rows, const double *x, const double *y)
{
    (void)observed, (void)shard, (void)monotonic_ns, (void)rows, (void)x, (void)y;
}

void __wrap_monitor_remember(struct monitor *monitor, const struct served *served,
                             struct span request, size_t rows, const double *x, const double *y);
void __wrap_monitor_remember(struct monitor *monitor, const struct served *served,
                             struct span request, size_t rows, const double *x, const double *y)
{
    (void)monitor, (void)served, (void)request, (void)rows, (void)x, (void)y;
}
