#include "model/plausible.h"

#include <math.h>
#include <stdlib.h>

static void set_range(struct plausible *p, size_t column, double min, double max, double margin)
{
    double widening = margin > 0 ? margin * (max - min) : 0; /* the width may be infinite */
    bool judged = max > min;
    p->low[column] = judged ? min - widening : -INFINITY;
    p->high[column] = judged ? max + widening : INFINITY;
}

bool plausible_init(struct plausible *p, const struct model *model, double margin,
                    struct error *err)
{
    size_t n = model_feature_count(model);
    *p = (struct plausible){.model = model, .features = n};
    p->low = calloc(2 * (n + 1), sizeof *p->low);
    if (p->low == NULL)
        return error_set(err, ERR_NO_MEMORY, "out of memory");
    p->high = p->low + n + 1;
    for (size_t j = 0; j < n; j++) {
        double min, max;
        model_feature_range(model, j, &min, &max);
        set_range(p, j, min, max, margin);
    }
    set_range(p, n, 0, 0, 0);
    return true;
}

void plausible_set_target(struct plausible *p, double min, double max, double margin)
{
    set_range(p, p->features, min, max, margin);
}

size_t plausible_check(const struct plausible *p, const double *row, size_t count)
{
    size_t j = 0;
    while (j < count && row[j] >= p->low[j] && row[j] <= p->high[j])
        j++;
    return j;
}

const char *plausible_column(const struct plausible *p, size_t column)
{
    return column < p->features ? model_feature_name(p->model, column)
                                : model_target_name(p->model);
}

void plausible_clear(struct plausible *p)
{
    free(p->low);
    *p = (struct plausible){0};
}
