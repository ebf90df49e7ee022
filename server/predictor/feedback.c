/* The body is walked once for the spans that matter; then each list is read element by element, so that
 * every error has its place. */
#define _GNU_SOURCE /* memrchr */
#include "server/predictor/feedback.h"

#include "base/json.h"

#include <string.h>

const char *const feedback_words[FEEDBACK_OUTCOMES] = {[FEEDBACK_ACCEPTED] = "accepted",
                                                       [FEEDBACK_LATE] = "late",
                                                       [FEEDBACK_DUPLICATE] = "duplicate",
                                                       [FEEDBACK_UNKNOWN] = "unknown",
                                                       [FEEDBACK_OTHER_VERSION] = "other_version"};

/* Members that were found; p is NULL where there was none. */
struct members {
    struct span ids, targets, instances;
};

static bool no_memory(struct error *err)
{
    return error_set(err, ERR_NO_MEMORY, "out of memory");
}

static struct span *find_member(struct members *members, struct span key)
{
    static const char *const names[] = {"ids", "targets", "instances", "inputs"};
    struct span *const found[] = {&members->ids, &members->targets, &members->instances,
                                  &members->instances};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i]) == key.n && memcmp(names[i], key.p, key.n) == 0)
            return found[i];
    return NULL;
}

static bool walk(struct span body, struct members *members, struct error *err)
{
    struct json_reader r;
    struct span key, value;
    bool more, escaped;
    json_reader_init(&r, body.p, body.n);
    if (!json_enter_object(&r, err))
        return false;
    while (json_next_member(&r, &more, &key, &escaped, err)) {
        if (!more)
            return json_end(&r, err);
        struct span *found = escaped ? NULL : find_member(members, key);
        if (!json_skip(&r, found != NULL ? found : &value, err))
            return false;
    }
    return false;
}

/* Enters the list that value holds; its length is in *count. */
static bool enter_list(struct json_reader *r, struct span value, const char *name, size_t max,
                       size_t *count, struct error *err)
{
    struct json_reader ahead;
    struct span element;
    bool more;
    if (value.p == NULL || *value.p != '[')
        return error_set(err, ERR_INVALID, "%s: expected a list%s", name,
                         value.p == NULL ? ", which is missing" : "");
    json_reader_init(&ahead, value.p, value.n);
    json_reader_init(r, value.p, value.n);
    if (!json_enter_array(&ahead, err))
        return false;
    for (*count = 0; json_next_element(&ahead, &more, err); ++*count) {
        if (!more)
            return json_enter_array(r, err);
        if (*count == max)
            return error_set(err, ERR_TOO_LARGE, "%s: expected at most %zu elements, got more",
                             name, max);
        if (!json_skip(&ahead, &element, err))
            return false;
    }
    return false;
}

static bool read_targets(struct span value, size_t max, struct arena *arena, struct feedback *out,
                         struct error *err)
{
    struct json_reader r;
    bool more;
    if (!enter_list(&r, value, "targets", max, &out->count, err))
        return false;
    if (out->count == 0)
        return error_set(err, ERR_INVALID, "targets: expected at least one, got an empty list");
    double *targets = arena_array(arena, out->count, sizeof *targets);
    if (targets == NULL)
        return no_memory(err);
    for (size_t i = 0; i < out->count; i++)
        if (!json_next_element(&r, &more, err) || !json_number(&r, &targets[i], err))
            return error_set(err, ERR_INVALID, "targets[%zu]: expected a finite number", i);
    out->targets = targets;
    return true;
}

/* "id" or "id/row"; request ids hold printable ASCII, '/' among it, so the last slash counts, and only
 * before digits. */
static bool split_id(struct span text, struct feedback_id *id)
{
    const char *slash = memrchr(text.p, '/', text.n);
    *id = (struct feedback_id){text, 0};
    if (slash != NULL) {
        const char *p = slash + 1, *end = text.p + text.n;
        size_t row = 0;
        while (p < end && *p >= '0' && *p <= '9' && row < 100000000)
            row = row * 10 + (size_t)(*p++ - '0');
        if (p == end && p > slash + 1)
            *id = (struct feedback_id){{text.p, (size_t)(slash - text.p)}, row};
    }
    return id->request.n > 0 && id->request.n <= FEEDBACK_ID_MAX;
}

static bool read_ids(struct span value, struct arena *arena, struct feedback *out,
                     struct error *err)
{
    struct json_reader r;
    struct span text;
    size_t count;
    bool more;
    if (!enter_list(&r, value, "ids", out->count, &count, err) || count != out->count)
        return error_set(err, ERR_INVALID, "ids: expected a list of %zu, one per target",
                         out->count);
    struct feedback_id *ids = arena_array(arena, count, sizeof *ids);
    if (ids == NULL)
        return no_memory(err);
    for (size_t i = 0; i < count; i++) {
        if (!json_next_element(&r, &more, err))
            return false;
        bool ok = json_string(&r, arena, &text, err);
        if (!ok && err->code == ERR_NO_MEMORY)
            return false;
        if (!ok || !split_id(text, &ids[i]))
            return error_set(err, ERR_INVALID,
                             "ids[%zu]: expected a string, a request id of at most %d bytes or one "
                             "with /row behind it",
                             i, FEEDBACK_ID_MAX);
    }
    out->ids = ids;
    return true;
}

bool feedback_decode(struct span body, size_t max_items, struct arena *arena, struct feedback *out,
                     struct error *err)
{
    struct members members = {{NULL, 0}, {NULL, 0}, {NULL, 0}};
    *out = (struct feedback){0, NULL, NULL};
    if (!walk(body, &members, err)) {
        error_prefix(err, "Unrecognized request format");
        return false;
    }
    if ((members.ids.p == NULL) == (members.instances.p == NULL))
        return error_set(err, ERR_INVALID,
                         "body: expected \"targets\" and either \"ids\" or \"instances\", got %s",
                         members.ids.p == NULL ? "neither" : "both");
    return read_targets(members.targets, max_items, arena, out, err) &&
           (members.ids.p == NULL || read_ids(members.ids, arena, out, err));
}

bool feedback_encode(const enum feedback_outcome *outcomes, const double *predictions, size_t count,
                     struct arena *arena, struct span *out, struct error *err)
{
    struct json_writer w;
    uint64_t accepted = 0;
    for (size_t i = 0; i < count; i++)
        accepted += outcomes[i] == FEEDBACK_ACCEPTED;
    json_writer_init(&w, arena);
    json_begin_object(&w);
    json_key(&w, "accepted");
    json_put_u64(&w, accepted);
    json_key(&w, "results");
    json_begin_array(&w);
    for (size_t i = 0; i < count; i++)
        json_put_string(&w, feedback_words[outcomes[i]]);
    json_end_array(&w);
    if (predictions != NULL) {
        json_key(&w, "predictions");
        json_put_numbers(&w, predictions, count);
    }
    json_end_object(&w);
    return json_writer_finish(&w, out) || no_memory(err);
}
