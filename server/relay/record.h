/* record.h - what the journal keeps of a decision: a key and what all keys share, as one JSON object.
 *
 * Idea:    every record is whole: the last one of a key says all about it, so replaying is taking them up
 *          in order, and compacting is writing one for each key.
 * Format:  {"at":ms,"user":"user01","model":"m","state":"queued","dispatched":ms,"recovered":ms,
 *          "retrains":n,"id":"<32 hex digits>","reason":"...","score":x,"requested":ms,"sent":ms,
 *          "due":ms,"attempts":n,"run":n,"blocked":ms,"wrote":ms,"requests":[ms,...]}. Members may come
 *          in any order and unknown ones are passed over; all of these must be there.
 * Does not: know files or checksums.
 * Threads: no state.
 * Memory:  in the arena.
 * Errors:  ERR_INVALID "state: expected idle, queued, sent or running, got \"x\"", ERR_NO_MEMORY.
 */
#ifndef SERVER_RELAY_RECORD_H
#define SERVER_RELAY_RECORD_H

#include "base/arena.h"
#include "server/relay/policy.h"

struct record {
    uint64_t at_ms; /* when it was decided */
    struct policy_key key;
    struct policy_shared shared;
};

/* *out has no line end. */
bool record_write(const struct record *record, struct arena *arena, struct span *out,
                  struct error *err) MUST_CHECK;

bool record_read(struct span text, struct arena *arena, struct record *record,
                 struct error *err) MUST_CHECK;

#endif
