/* ui.h - the page a person looks at: one document, part of the program, and the card it reads.
 *
 * Idea:    ui/page.html, page.css, page.js and the charts' library become one document when the program
 *          is built. It loads nothing: the policy allows its own style and script by their digests and
 *          requests to the server it came from. What it shows it works out in the browser from
 *          /ui/model, /metrics, :predict and :explain.
 * Does not: route, render, or know what is measured.
 * Threads: no state.
 * Memory:  page and policy live for ever; the card in the arena.
 * Errors:  ERR_NO_MEMORY.
 */
#ifndef SERVER_PREDICTOR_UI_H
#define SERVER_PREDICTOR_UI_H

#include "base/arena.h"
#include "model/model.h"

/* The document, text/html in UTF-8. */
struct span ui_page(void);

/* The value of the Content-Security-Policy header to send with it. */
struct span ui_policy(void);

/* {"name","version","kind","sha256","target":{"name","unit"},
 *  "features":[{"name","min","max","typical","quantiles":[...]|null}, ...],
 *  "card":{"rows","date","data_sha256","penalty","leave_one_out":{"rows","mae","rmse","r2"}|null,
 *          "holdout":...|null,"linear":...|null},"intervals":bool}
 * name is the one in the URL; figures that were not measured are null, and so is an undefined number. */
bool ui_card(const struct model *model, const char *served_name, struct arena *arena,
             struct span *json, struct error *err) MUST_CHECK;

#endif
