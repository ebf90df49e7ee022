/* One table says where each member goes, for both directions. */
#include "server/relay/record.h"

#include "base/json.h"

#include <string.h>

enum kind { COUNT, SMALL_COUNT, REAL, TEXT, STATE, TIMES };

struct member {
    const char *name;
    enum kind kind;
    size_t offset, room; /* room: of a text with its NUL */
};

#define KEY(name, kind, member)                                                                    \
    {                                                                                              \
        name, kind, offsetof(struct record, key.member), 0                                         \
    }
#define KEY_TEXT(name, member)                                                                     \
    {                                                                                              \
        name, TEXT, offsetof(struct record, key.member), sizeof((struct record *)0)->key.member    \
    }
static const struct member members[] = {
    {"at", COUNT, offsetof(struct record, at_ms), 0},
    KEY_TEXT("user", user),
    KEY_TEXT("model", model),
    KEY("state", STATE, state),
    KEY("dispatched", COUNT, dispatched_ms),
    KEY("recovered", COUNT, recovered_ms),
    KEY("retrains", SMALL_COUNT, retrains),
    KEY_TEXT("id", id),
    KEY_TEXT("reason", reason),
    KEY("score", REAL, score),
    KEY("requested", COUNT, requested_ms),
    KEY("sent", COUNT, sent_ms),
    KEY("due", COUNT, due_ms),
    KEY("attempts", SMALL_COUNT, attempts),
    KEY("run", COUNT, run_id),
    {"blocked", COUNT, offsetof(struct record, shared.blocked_ms), 0},
    {"wrote", COUNT, offsetof(struct record, shared.wrote_ms), 0},
    {"requests", TIMES, offsetof(struct record, shared), 0},
};
enum { MEMBERS = sizeof members / sizeof *members };

static const char *const states[] = {[POLICY_IDLE] = "idle",
                                     [POLICY_QUEUED] = "queued",
                                     [POLICY_SENT] = "sent",
                                     [POLICY_RUNNING] = "running"};
enum { STATES = sizeof states / sizeof *states };

/* ---- writing ---- */

static void put_times(struct json_writer *w, const struct policy_shared *shared)
{
    json_begin_array(w);
    for (size_t i = 0; i < shared->requests; i++)
        json_put_u64(w, shared->requests_ms[i]);
    json_end_array(w);
}

static void put_member(struct json_writer *w, const struct member *member, const void *at)
{
    json_key(w, member->name);
    switch (member->kind) {
    case COUNT:
        json_put_u64(w, *(const uint64_t *)at);
        return;
    case SMALL_COUNT:
        json_put_u64(w, *(const unsigned *)at);
        return;
    case REAL:
        json_put_number(w, *(const double *)at);
        return;
    case TEXT:
        json_put_string(w, at);
        return;
    case STATE:
        json_put_string(w, states[*(const enum policy_state *)at]);
        return;
    case TIMES:
        put_times(w, at);
        return;
    }
}

bool record_write(const struct record *record, struct arena *arena, struct span *out,
                  struct error *err)
{
    struct json_writer w;
    json_writer_init(&w, arena);
    json_begin_object(&w);
    for (size_t i = 0; i < MEMBERS; i++)
        put_member(&w, &members[i], (const char *)record + members[i].offset);
    json_end_object(&w);
    return json_writer_finish(&w, out) || error_set(err, ERR_NO_MEMORY, "record: out of memory");
}

/* ---- reading ---- */

static bool read_text(struct json_reader *r, struct arena *arena, char *to, size_t room,
                      struct error *err)
{
    struct span text;
    if (!json_string(r, arena, &text, err))
        return false;
    if (text.n >= room)
        return error_set(err, ERR_INVALID, "expected at most %zu bytes, got %zu", room - 1, text.n);
    memcpy(to, text.p, text.n + 1);
    return true;
}

static bool read_state(struct json_reader *r, struct arena *arena, enum policy_state *state,
                       struct error *err)
{
    char text[16];
    if (!read_text(r, arena, text, sizeof text, err))
        return false;
    for (size_t i = 0; i < STATES; i++)
        if (strcmp(text, states[i]) == 0) {
            *state = (enum policy_state)i;
            return true;
        }
    return error_set(err, ERR_INVALID, "expected idle, queued, sent or running, got \"%s\"", text);
}

static bool read_times(struct json_reader *r, struct policy_shared *shared, struct error *err)
{
    bool more;
    if (!json_enter_array(r, err))
        return false;
    for (shared->requests = 0; json_next_element(r, &more, err); shared->requests++) {
        if (!more)
            return true;
        if (shared->requests == POLICY_BUDGET_MAX)
            return error_set(err, ERR_INVALID, "expected at most %d", POLICY_BUDGET_MAX);
        if (!json_count(r, UINT64_MAX, &shared->requests_ms[shared->requests], err))
            return false;
    }
    return false;
}

static bool read_member(struct json_reader *r, const struct member *member, struct arena *arena,
                        void *at, struct error *err)
{
    uint64_t count;
    switch (member->kind) {
    case COUNT:
        return json_count(r, UINT64_MAX, at, err);
    case SMALL_COUNT:
        if (!json_count(r, UINT32_MAX, &count, err))
            return false;
        *(unsigned *)at = (unsigned)count;
        return true;
    case REAL:
        return json_number(r, at, err);
    case TEXT:
        return read_text(r, arena, at, member->room, err);
    case STATE:
        return read_state(r, arena, at, err);
    case TIMES:
        return read_times(r, at, err);
    }
    return false;
}

static size_t find_member(struct span key)
{
    size_t i = 0;
    while (i < MEMBERS &&
           (strlen(members[i].name) != key.n || memcmp(members[i].name, key.p, key.n) != 0))
        i++;
    return i;
}

static bool check_seen(const bool seen[MEMBERS], struct error *err)
{
    for (size_t i = 0; i < MEMBERS; i++)
        if (!seen[i])
            return error_set(err, ERR_INVALID, "%s: expected, but missing", members[i].name);
    return true;
}

bool record_read(struct span text, struct arena *arena, struct record *record, struct error *err)
{
    struct json_reader r;
    struct span key, value;
    bool more, escaped, seen[MEMBERS] = {false};
    memset(record, 0, sizeof *record);
    json_reader_init(&r, text.p, text.n);
    if (!json_enter_object(&r, err))
        return false;
    while (json_next_member(&r, &more, &key, &escaped, err)) {
        if (!more)
            return json_end(&r, err) && check_seen(seen, err);
        size_t i = find_member(key);
        if (i == MEMBERS) {
            if (!json_skip(&r, &value, err))
                return false;
            continue;
        }
        seen[i] = true;
        if (!read_member(&r, &members[i], arena, (char *)record + members[i].offset, err)) {
            error_prefix(err, "%s", members[i].name);
            return false;
        }
    }
    return false;
}
