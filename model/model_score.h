/* model_score.h - how well a model does on rows whose true values are known.
 *
 * Formula: MAE = mean |y - f|; RMSE = sqrt(mean (y - f)^2); R2 = 1 - sum (y - f)^2 / sum (y - mean)^2,
 *          undefined (NAN) when all y are equal.
 * Does not: hold the rows in memory.
 * Threads: no state.
 * Memory:  one block of rows per model, borrowed from the heap.
 * Errors:  those of dataset.h (a missing column among them); ERR_INVALID no rows; ERR_NUMERIC a
 *          prediction or a figure that is not finite.
 */
#ifndef MODEL_MODEL_SCORE_H
#define MODEL_MODEL_SCORE_H

#include "model/bootstrap.h"
#include "model/dataset.h"
#include "model/model.h"

/* Rows that commands and figures work on at a time. */
enum { MODEL_BLOCK_ROWS = 1024 };

/* Selects the model's features, in its order, and behind them its target if that is wanted. */
bool model_select(const struct model *model, bool target, struct dataset *ds,
                  struct error *err) MUST_CHECK;

/* Scores all rows of ds, fresh or rewound, in which nothing has been selected yet. */
bool model_score(const struct model *model, struct dataset *ds, struct model_figures *figures,
                 struct error *err) MUST_CHECK;

/* Scores two models on the same rows: data[0] and data[1] are the same file opened twice, for models may
 * have their features in different order, or different ones. Takes |error of models[1]| - |error of
 * models[0]| of every row into *gains, which is above zero where the first model is better. */
bool model_score_pair(const struct model *const models[2], struct dataset *const data[2],
                      struct model_figures figures[2], struct bootstrap *gains,
                      struct error *err) MUST_CHECK;

#endif
