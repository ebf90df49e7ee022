/* ledger.h - the policy, its journal and its metrics behind one lock.
 *
 * Idea:    decide, make durable, commit, count: in this order, whoever asks. The HTTP worker enters what
 *          alerts want; the GitHub thread takes what is due and brings back what came of it.
 * Does not: speak HTTP to anybody.
 * Threads: ledger_alerts and ledger_manual from any; ledger_next and ledger_answered from one thread.
 *          The lock is held over an fdatasync, so the worker may wait for a disk.
 * Memory:  released with ledger_close, after both threads are done.
 * Errors:  ledger_open: those of the journal. Entering: ERR_INTERNAL when the journal cannot be written;
 *          what had not been recorded has not happened.
 */
#ifndef SERVER_RELAY_LEDGER_H
#define SERVER_RELAY_LEDGER_H

#include "server/log.h"
#include "server/relay/journal.h"
#include "server/relay/telemetry.h"

/* Borrowed, must outlive the ledger. log and probe may be NULL. */
struct ledger_config {
    struct policy_settings policy;
    const char *journal;
    uint64_t rewrite_bytes; /* a longer journal is rewritten */
    struct relay_telemetry *telemetry;
    struct log *log;
    const struct relay_probe *probe;
};

struct ledger;

struct ledger *ledger_open(const struct ledger_config *config, struct error *err) MUST_CHECK;
void ledger_close(struct ledger *ledger); /* NULL is allowed */

/* What became of a body's events. */
struct ledger_tally {
    size_t queued, recovered, suppressed; /* suppressed: those ignored among them */
};

/* Enters every event. On failure some may have been recorded; the same body may come again. */
bool ledger_alerts(struct ledger *ledger, const struct webhook *webhook, struct ledger_tally *tally,
                   struct error *err) MUST_CHECK;

/* A person's wish; *verdict says what became of it, id the dispatch's when accepted. */
bool ledger_manual(struct ledger *ledger, const struct policy_drift *drift,
                   enum policy_verdict *verdict, char id[POLICY_ID_MAX + 1],
                   struct error *err) MUST_CHECK;

/* Whether the last write to the journal worked. */
bool ledger_healthy(struct ledger *ledger);

/* Waits for the next thing to do; the intent of a dispatch is on disk when it returns. False: stop. */
bool ledger_next(struct ledger *ledger, struct policy_step *step) MUST_CHECK;

/* What GitHub said to it; text, for the log, says more where GitHub or the system did. */
void ledger_answered(struct ledger *ledger, const struct policy_step *step,
                     const struct policy_answer *answer, const char *text);

/* The wall clock the ledger decides by, in milliseconds since 1970. */
uint64_t ledger_now_ms(void);

/* Makes ledger_next return false, now and for ever. */
void ledger_stop(struct ledger *ledger);

#endif
