#include "model/interval.h"

#include "model/model_internal.h"

#include <math.h>

bool interval_score(const struct model *model, double level, double *score, struct error *err)
{
    const struct model_interval *interval = &model->parts.interval;
    size_t n = interval->score_count;
    if (n == 0)
        return error_set(err, ERR_UNSUPPORTED,
                         "expected a model that gives intervals, got one that does not");
    double rank = level * (double)(n + 1);
    /* 0.07 * 100 is a little above 7, which is meant. */
    rank = fabs(rank - rint(rank)) < 1e-9 * rank ? rint(rank) : ceil(rank);
    if (!(level > 0 && level < 1 && rank <= (double)n))
        return error_set(err, ERR_INVALID,
                         "expected a number above 0 and at most %zu/%zu (%.4g), got %.6g", n, n + 1,
                         (double)n / (double)(n + 1), level);
    *score = interval->scores[(size_t)rank - 1];
    return true;
}

void interval_half_widths(const struct model *model, double score, size_t rows, const double *x,
                          double *half)
{
    const struct model_parts *parts = &model->parts;
    for (size_t i = 0; i < rows; i++, x += parts->feature_count) {
        double r = 1;
        if (parts->interval.scaled)
            r = fmax(model_function_value(model, &parts->residual, x), parts->interval.floor);
        half[i] = score * r;
    }
}
