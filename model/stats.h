/* stats.h - what rows on one machine say, in so few numbers that those of many machines can be added.
 *
 * Idea:    with the feature map phi of a model fixed, a fit needs the moments of (phi(u(x)), y) only
 *          (ridge.h), whose size is that of the map and not of the rows. Parts of the rows are summed up
 *          where they are; sums are merged and, to forget rows, subtracted. Beside the moments a part
 *          counts the inputs and the predictions over the map's quantiles (histogram.h), from which the
 *          merged model gets its own.
 *          The errors of the merged model can only be known once it is there. A second pass counts them,
 *          of rows that it has not seen: figures and conformal scores |y - f(x)| / r(x) (interval.h).
 * Does not: fit (merge.h), choose the map, keep rows.
 * Threads: OpenBLAS's. The callback runs on the calling thread.
 * Memory:  M^2 doubles for M columns of the map, blocks of rows (at most 32 MB + 1024 rows), the map;
 *          released with stats_clear.
 * Errors:  those of dataset.h; ERR_INVALID parts that do not go together; ERR_NUMERIC a prediction or a
 *          feature that is not finite; ERR_NO_MEMORY.
 */
#ifndef MODEL_STATS_H
#define MODEL_STATS_H

#include "model/dataset.h"
#include "model/histogram.h"
#include "model/model.h"
#include "model/ridge.h"

enum stats_kind {
    STATS_ROWS,      /* first pass: moments of the rows */
    STATS_RESIDUALS, /* second pass: errors of the map's own prediction */
    STATS_KIND_COUNT
};

/* Sums over rows of the errors e = y - f(x). */
struct stats_errors {
    double absolute, squares; /* of e */
    double mean_y, yy;        /* mean of y, sum of squares around it */
};

struct stats {
    enum stats_kind kind;
    struct model *map;
    char *map_text; /* its artifact, map_bytes long */
    size_t map_bytes;
    char data_sha256[65]; /* of the rows' file, or of those of all parts */
    uint64_t rows;
    size_t columns;               /* features, and the prediction */
    struct histogram *histograms; /* (columns), of the map's prediction */
    struct ridge_moments moments; /* STATS_ROWS */
    struct stats_errors errors;   /* STATS_RESIDUALS, and */
    uint64_t *scores;             /* (SCORE_CELLS) */
};

/* Statistics of no rows through a map: an artifact's bytes, which are copied. */
bool stats_init(struct stats *s, enum stats_kind kind, const char *map_text, size_t map_bytes,
                struct error *err) MUST_CHECK;
void stats_clear(struct stats *s); /* a struct of zeros may be cleared, too */

/* Sums up all rows of ds, in which nothing has been selected yet, into a fresh *s. tell, unless NULL, is
 * called after every block. */
bool stats_collect(struct stats *s, struct dataset *ds, void (*tell)(void *ctx), void *ctx,
                   struct error *err) MUST_CHECK;

/* Whether a part is of the same kind and map: else ERR_INVALID, which names both maps' digests. */
bool stats_check_match(const struct stats *s, const struct stats *part,
                       struct error *err) MUST_CHECK;

/* Adds or takes away a part that matches. ERR_INVALID when rows are taken away that cannot have been
 * there; *s is then good for nothing but clearing. */
bool stats_merge(struct stats *s, const struct stats *part, struct error *err) MUST_CHECK;
bool stats_subtract(struct stats *s, const struct stats *part, struct error *err) MUST_CHECK;

/* Quantiles of a column, MODEL_QUANTILES of them; false: its histogram has no reference. */
bool stats_quantiles(const struct stats *s, size_t column, double *quantiles);

#endif
