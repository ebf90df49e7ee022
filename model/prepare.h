/* prepare.h - base table and feedback journals to what a model is retrained, chosen and judged on.
 *
 * Idea:    feedback that can be used (feedback_rows.h) is cut by time: the older part is for fitting, the
 *          next for choosing among fits, the latest for judging the one chosen, which so is judged on rows
 *          that none of them saw, and on the future as seen from them. Rows of one request, and rows of one
 *          time, stay together, on the side of their latest; a border moves to the nearest place where that
 *          is so. What came before the champion's errors took another level (shift.h) would teach the new
 *          model what no longer holds, and is dropped, if enough is left; that looks at the champion's errors
 *          on all rows, at no other model's. The same input gives the same bytes, in whatever order the
 *          journals are named.
 * Format:  FOLDER/base.csv, feedback.csv, selection.csv, validation.csv: the champion's features in its
 *          order, and its target. Each is replaced whole.
 * Does not: keep time or id in the files, shuffle, balance or impute.
 * Threads: no state.
 * Memory:  that of feedback_rows.h; the base table streams. Released with prepared_clear.
 * Errors:  those of dataset.h for the base table, which is refused as a whole for a cell that is no
 *          number; those of feedback_rows.h; ERR_INTERNAL I/O.
 */
#ifndef MODEL_PREPARE_H
#define MODEL_PREPARE_H

#include "model/feedback_rows.h"

#include <limits.h>

enum prepare_slice { SLICE_BASE, SLICE_FEEDBACK, SLICE_SELECTION, SLICE_VALIDATION, SLICE_COUNT };
extern const char *const prepare_files[SLICE_COUNT]; /* their names in the folder */

/* The path of one of them; ERR_INVALID if it is too long. */
bool prepare_path(const char *folder, enum prepare_slice slice, char path[PATH_MAX],
                  struct error *err) MUST_CHECK;

struct prepare_options {
    const struct model *champion;
    const char *base; /* the table that the champion, or a model like it, was trained on */
    const char *const *feedback; /* (feedback_count): journals */
    size_t feedback_count;
    const char *folder;           /* exists */
    double selection, validation; /* shares of the feedback, each above 0, together below 1 */
    bool keep_before_shift;
    size_t recent_rows;           /* only that many, the latest; 0: all */
    size_t min_rows;              /* of every slice of the feedback */
    double margin, target_margin; /* plausible.h; the target's range is the base table's */
};

struct prepared_slice {
    uint64_t rows;
    double from, to; /* of the rows' times; NAN for the base table */
    char sha256[65]; /* of the file; "" if it was not written */
};

struct prepared {
    struct plausible plausible;
    struct feedback_rows feedback; /* its sources say what was dropped of them */
    uint64_t base_rows;            /* read */
    struct dropped base_dropped;   /* a feature is not plausible */
    struct prepared_slice slices[SLICE_COUNT];
    bool enough; /* every slice of the feedback has min_rows; else no file was written */
};

/* *out is to be cleared whatever comes of it. */
bool prepare(const struct prepare_options *options, struct prepared *out,
             struct error *err) MUST_CHECK;
void prepared_clear(struct prepared *p);

/* Where the slices of rows(count) in order of time end: the feedback's at borders[0], the selection's at
 * borders[1]. Puts the rows in the order that these borders are of. */
bool prepare_cut(struct feedback_row *rows, size_t count, double selection, double validation,
                 size_t borders[2], struct error *err) MUST_CHECK;

#endif
