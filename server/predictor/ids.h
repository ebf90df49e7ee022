/* ids.h - predictions already given, kept until their true values come back.
 *
 * Idea:    rings of fixed size, one per shard, chosen by the request id's hash. A key is the 128-bit
 *          SipHash-2-4 of the request id under a secret of the process: text of any length costs the same
 *          memory, and no client can find two ids that meet. A request of many rows costs one key, so that
 *          keeping them costs little more than copying them. The newest predictions of a ring are held
 *          whole; the IDS_REMEMBERED times as many before them by key only, so that a true value that comes
 *          late is told from one whose prediction was never given here.
 * Does not: keep ids as text, read a clock, persist anything. A request id that is used again replaces
 *          what was kept under it, all its rows.
 * Threads: any; a lock per shard, held for at most 64 rows at a time.
 * Memory:  allocated once: per prediction held 8 + 8 * features bytes, and 230 to 300 for keys.
 *          Released with ids_free.
 * Errors:  ERR_INVALID, ERR_TOO_LARGE, ERR_NO_MEMORY.
 * Sources: Aumasson and Bernstein, SipHash (2012), with the 128-bit output of their reference code.
 */
#ifndef SERVER_PREDICTOR_IDS_H
#define SERVER_PREDICTOR_IDS_H

#include "base/arena.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ids;

enum {
    IDS_PREDICTIONS_MAX = 1 << 24,
    IDS_FEATURES_MAX = 4096,
    IDS_REMEMBERED = 3,
};

struct ids_config {
    unsigned shards;    /* at least 1 */
    size_t predictions; /* held, in all shards together: 1 to IDS_PREDICTIONS_MAX; rounded up */
    size_t features;    /* of every row: 1 to IDS_FEATURES_MAX */
    uint64_t secret[2]; /* random, of this process */
};

struct ids_prediction {
    uint64_t version; /* as ids_put was given it */
    double prediction;
    uint64_t number; /* which of its shard's predictions it was; for ids_release */
};

enum ids_answer {
    IDS_FOUND,
    IDS_DUPLICATE, /* claimed before */
    IDS_LATE,      /* given, but no longer held */
    IDS_UNKNOWN,   /* never given here, or forgotten altogether */
};

struct ids *ids_new(const struct ids_config *config, struct error *err) MUST_CHECK;
void ids_free(struct ids *ids); /* NULL is allowed */

/* Keeps the predictions y(rows) for x(rows, features) under (request, 0) to (request, rows - 1); rows is below
 * 2^32. version is any number that tells the caller which model it was. */
void ids_put(struct ids *ids, struct span request, uint64_t version, size_t rows, const double *x,
             const double *y);

/* Looks a row up. On IDS_FOUND it fills *out and x(features) and counts the row as claimed: of two
 * threads with the same id one finds it, the other gets IDS_DUPLICATE. */
enum ids_answer ids_claim(struct ids *ids, struct span request, size_t row,
                          struct ids_prediction *out, double *x) MUST_CHECK;

/* Undoes a claim whose true value could not be kept after all. number is from ids_claim. */
void ids_release(struct ids *ids, struct span request, size_t row, uint64_t number);

/* The 128-bit SipHash-2-4 of a text, low half first; for the tests. */
void ids_hash(const uint64_t secret[2], struct span text, uint64_t out[2]);

#endif
