/* explain.h - exact Shapley values: how much each input moved a prediction away from the base.
 *
 * Game:    an absent input is drawn from its quantiles in the artifact, independently of the others, so
 *          a coalition's value is b + sum_m c_m prod_f E_fm, f over the factors of the kernel: one per
 *          input, or per set of inputs that directions connect. The base is the value of no input.
 * Formula: phi_j = integral over q in [0, 1] of dv / dq_j where all inputs are present with chance q: a
 *          polynomial of degree players - 1, so Gauss-Legendre with half as many nodes is exact.
 *          Linear: phi_j = beta_j (u_j - mean of u_j over the quantiles).
 * Players: every input; the two of a pair connected by directions too, by the pair's four states. Three
 *          and more connected inputs are one player, "a+b+c"; absent, they are drawn from
 *          MODEL_QUANTILES^3 points that any three of them fill evenly.
 * Does not: sample, predict (model_predict does), or explain a model without quantiles.
 * Threads: immutable after explainer_new; share it freely. It borrows the model.
 * Memory:  released with explainer_free. For a kernel three numbers per centre and input, made when it is
 *          made; for 4,096 centres that takes about 10 ms with a pair, half a second with a larger set.
 * Errors:  ERR_UNSUPPORTED this model cannot be explained, and why; ERR_NO_MEMORY.
 * Source:  Shapley 1953; Owen 1972 for the multilinear extension.
 */
#ifndef MODEL_EXPLAIN_H
#define MODEL_EXPLAIN_H

#include "base/error.h"
#include "model/model.h"

enum {
    EXPLAIN_KERNEL_INPUTS_MAX =
        256,              /* a row's time grows with their square; linear models: any number */
    EXPLAIN_SET_MAX = 32, /* inputs connected by directions */
};

struct explainer;

/* Whether explainer_new would take the model; costs next to nothing. */
bool explainer_supports(const struct model *model, struct error *err) MUST_CHECK;

struct explainer *explainer_new(const struct model *model, struct error *err) MUST_CHECK;
void explainer_free(struct explainer *explainer); /* NULL is allowed */

/* Players in the order of their first inputs; names live as long as the explainer. */
size_t explainer_player_count(const struct explainer *explainer);
const char *explainer_player_name(const struct explainer *explainer, size_t player);

/* The value of no input; base + a row's attributions = its prediction. */
double explainer_base(const struct explainer *explainer);

/* attributions(rows, players), row-major, from x(rows, features) as model_predict takes it. A row's
 * result has the same bits alone or in any batch. May be infinite or NaN where the prediction is. */
bool explainer_run(const struct explainer *explainer, size_t rows, const double *x,
                   double *attributions, struct error *err) MUST_CHECK;

/* Estimated nanoseconds to explain one row; what admission and scheduling count with. */
double explain_row_ns(const struct model *model);

#endif
