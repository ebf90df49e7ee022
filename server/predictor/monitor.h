/* monitor.h - true values that come back: found by id, written to the journal, given to the windows.
 *
 * Idea:    predictions are kept for a while under their request's id. A true value names one, or brings
 *          its instance along; what it and its prediction were goes to the journal, and counts in the
 *          quality window of the model that made the prediction if that is still the one served.
 *          The journal's rows rebuild the window when the program starts again. If it starts while the one
 *          before it still has the journal, as in a rollout, predictions are served and true values
 *          refused until that one ends.
 * Does not: decode or encode bodies, or decide when an answer may be given.
 * Threads: monitor_remember, monitor_claim, monitor_append, monitor_settle, monitor_stream: any.
 *          monitor_new, monitor_open, monitor_try_journal, monitor_free: the loader, monitor_free after
 *          all others. monitor_awaits_journal: any.
 *          monitor_publish: one at a time.
 * Memory:  that of ids.h and journal.h. Released with monitor_free.
 * Errors:  those of journal.h.
 */
#ifndef SERVER_PREDICTOR_MONITOR_H
#define SERVER_PREDICTOR_MONITOR_H

#include "server/http/message.h"
#include "server/log.h"
#include "server/predictor/feedback.h"
#include "server/predictor/journal.h"
#include "server/predictor/registry.h"

struct monitor;

enum {
    MONITOR_REQUEST_ROWS_MAX = 256, /* rows of a request that are kept by id */
    MONITOR_STREAMS_MAX = 16,       /* readers of the journal at once */
};

struct monitor_config {
    unsigned shards;        /* threads that will ask */
    unsigned journal_shard; /* metric shard of the journal's thread */
    size_t predictions;     /* kept by id; 0: none */
    const char *folder;     /* of the journal; NULL: none */
    const char *name;       /* of this pod, for the journal's files */
    uint64_t file_bytes, total_bytes;
    struct registry *registry;
    struct telemetry *telemetry;
    struct log *log; /* may be NULL */
};

struct monitor *monitor_new(const struct monitor_config *config, struct error *err) MUST_CHECK;
void monitor_free(struct monitor *monitor); /* NULL is allowed */

/* After the first model was loaded: makes room for its predictions, opens the journal with its schema, and
 * gives the journal's rows of its version to its window. True as well if another process has the journal. */
bool monitor_open(struct monitor *monitor, const struct served *served,
                  struct error *err) MUST_CHECK;

/* Whether a journal is to be kept and another process had it at the last try. */
bool monitor_awaits_journal(const struct monitor *monitor);

/* Another try, while monitor_awaits_journal. What goes wrong beside that process is logged; a window that
 * could not be given all rows has what it was given. */
void monitor_try_journal(struct monitor *monitor, const struct served *served);

/* Sets the metrics that are measured rather than counted, of the served model and the journal, as of now.
 * From metrics_on_scrape. */
void monitor_publish(struct monitor *monitor, uint64_t monotonic_ns, uint64_t wall_ns);

/* ---- predictions ---- */

/* y(rows) was answered for x(rows, features) under this request id. */
void monitor_remember(struct monitor *monitor, const struct served *served, struct span request,
                      size_t rows, const double *x, const double *y);

/* ---- true values ---- */

/* One true value and what is known of its prediction. */
struct truth {
    struct feedback_id id;
    double target, prediction;
    double *x;       /* (features) */
    uint64_t model;  /* number of the served model that made the prediction */
    uint64_t number; /* of a claim */
    bool claimed;
    enum feedback_outcome outcome;
};

/* Looks up truths[0..count) by their ids; x must have room. Sets prediction and outcome. */
void monitor_claim(struct monitor *monitor, const struct served *served, struct truth *truths,
                   size_t count);

/* Hands those with a prediction to the journal. *waits tells whether ticket->done will be called; it is
 * not on failure, nor where there is no journal, or nothing to write, or ticket is NULL. ERR_NOT_READY while
 * monitor_awaits_journal. */
bool monitor_append(struct monitor *monitor, const struct truth *truths, size_t count,
                    uint64_t wall_ns, struct arena *arena, struct journal_ticket *ticket,
                    bool *waits, struct error *err) MUST_CHECK;

/* After they were kept (or not): counts them and adds them to the window, or gives the claims back. */
void monitor_settle(struct monitor *monitor, const struct served *served, unsigned shard,
                    const struct truth *truths, size_t count, uint64_t wall_ns, bool kept);

/* The journal's durable rows as CSV with their header, behind the row with the id `since` (n 0: all).
 * ERR_UNSUPPORTED without a journal, ERR_NOT_READY it is awaited, ERR_NOT_FOUND no such row, ERR_OVERLOADED MONITOR_STREAMS_MAX are
 * being read. */
struct response_stream *monitor_stream(struct monitor *monitor, struct span since,
                                       struct error *err) MUST_CHECK;

#endif
