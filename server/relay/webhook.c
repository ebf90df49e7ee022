/* The body is read once, front to back; what an alert says is gathered before it is judged, because the
 * order of its members is free. */
#include "server/relay/webhook.h"

#include "base/json.h"
#include "base/number.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- names ---- */

/* A DNS label (RFC 1123): lower-case letters, digits, and hyphens inside. */
static bool is_label(struct span name, size_t max)
{
    if (name.n == 0 || name.n > max || name.p[0] == '-' || name.p[name.n - 1] == '-')
        return false;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if ((c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-')
            return false;
    }
    return true;
}

bool webhook_is_model(struct span name)
{
    return is_label(name, POLICY_MODEL_MAX);
}

bool webhook_knows_user(const struct webhook_users *users, struct span name)
{
    for (size_t i = 0; i < users->count; i++)
        if (span_is(name, users->names[i]))
            return true;
    return false;
}

static bool add_user(struct webhook_users *users, const char *path, size_t number, char *line,
                     struct error *err)
{
    char *name = line + strspn(line, " \t\r\n");
    name[strcspn(name, " \t\r\n")] = '\0';
    if (*name == '\0' || *name == '#')
        return true;
    if (!is_label((struct span){name, strlen(name)}, POLICY_USER_MAX))
        return error_set(
            err, ERR_INVALID,
            "%s: line %zu: expected a name of lower-case letters, digits and hyphens, at "
            "most %d",
            path, number, POLICY_USER_MAX);
    if (users->count == WEBHOOK_USERS_MAX)
        return error_set(err, ERR_TOO_LARGE, "%s: expected at most %d users", path,
                         WEBHOOK_USERS_MAX);
    memcpy(users->names[users->count++], name, strlen(name) + 1);
    return true;
}

bool webhook_users_load(struct webhook_users *users, const char *path, struct error *err)
{
    char line[256];
    bool ok = true;
    FILE *in = fopen(path, "re");
    users->count = 0;
    if (in == NULL)
        return error_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_INTERNAL, "%s: %s", path,
                         strerror(errno));
    for (size_t number = 1; ok && fgets(line, sizeof line, in) != NULL; number++)
        ok = add_user(users, path, number, line, err);
    if (ok && ferror(in))
        ok = error_set(err, ERR_INTERNAL, "%s: %s", path, strerror(errno));
    (void)fclose(in);
    if (ok && users->count == 0)
        ok = error_set(err, ERR_INVALID, "%s: expected at least one user", path);
    return ok;
}

/* ---- one alert ---- */

/* What it says; p is NULL where it says nothing. */
struct alert {
    struct span status, action, user, space, model, mae, r2;
};

struct field {
    const char *name;
    struct span *to;
};

/* An object whose members of these names are strings; the others may be anything. */
static bool read_strings(struct json_reader *r, const struct field *fields, size_t count,
                         struct arena *arena, struct error *err)
{
    struct span key, other;
    bool more, escaped;
    if (!json_enter_object(r, err))
        return false;
    while (json_next_member(r, &more, &key, &escaped, err)) {
        if (!more)
            return true;
        size_t i = 0;
        while (i < count && !span_is(key, fields[i].name))
            i++;
        if (!(i < count ? json_string(r, arena, fields[i].to, err) : json_skip(r, &other, err)))
            return false;
    }
    return false;
}

static bool read_alert(struct json_reader *r, struct arena *arena, struct alert *alert,
                       struct error *err)
{
    const struct field labels[] = {{"action", &alert->action},
                                   {"user_id", &alert->user},
                                   {"namespace", &alert->space},
                                   {"model_name", &alert->model}};
    const struct field annotations[] = {{"mae", &alert->mae}, {"r2", &alert->r2}};
    struct span key, other;
    bool more, escaped, ok;
    memset(alert, 0, sizeof *alert);
    if (!json_enter_object(r, err))
        return false;
    while (json_next_member(r, &more, &key, &escaped, err)) {
        if (!more)
            return true;
        if (span_is(key, "status"))
            ok = json_string(r, arena, &alert->status, err);
        else if (span_is(key, "labels"))
            ok = read_strings(r, labels, sizeof labels / sizeof *labels, arena, err);
        else if (span_is(key, "annotations"))
            ok = read_strings(r, annotations, sizeof annotations / sizeof *annotations, arena, err);
        else
            ok = json_skip(r, &other, err);
        if (!ok)
            return false;
    }
    return false;
}

/* The reason to ignore it, or WEBHOOK_IGNORED. */
static enum webhook_ignored screen(const struct alert *alert, const struct webhook_users *users)
{
    static const char prefix[] = "kubeflow-";
    const size_t n = sizeof prefix - 1;
    if (!span_is(alert->action, "retrain"))
        return IGNORED_ACTION;
    if (!webhook_knows_user(users, alert->user))
        return IGNORED_USER;
    if (alert->space.n != n + alert->user.n || memcmp(alert->space.p, prefix, n) != 0 ||
        memcmp(alert->space.p + n, alert->user.p, alert->user.n) != 0)
        return IGNORED_NAMESPACE;
    return webhook_is_model(alert->model) ? WEBHOOK_IGNORED : IGNORED_MODEL;
}

/* An annotation's number; NaN when it is none. */
static double figure(struct span text)
{
    double value;
    return text.n > 0 && number_read_text(text.p, text.n, &value) == NUMBER_OK ? value : NAN;
}

/* ---- all alerts ---- */

struct decoder {
    const struct webhook_users *users;
    struct arena *arena;
    struct webhook *out;
    size_t alerts;
};

static struct webhook_event *event_of(struct webhook *out, const struct alert *alert)
{
    struct webhook_event *event = out->events;
    /* Screened names come from json_string, so they end in NUL. */
    for (; event < out->events + out->count; event++)
        if (strcmp(event->drift.user, alert->user.p) == 0 &&
            strcmp(event->drift.model, alert->model.p) == 0)
            return event;
    out->count++;
    *event = (struct webhook_event){false, {alert->user.p, alert->model.p, NAN, NAN}};
    return event;
}

static bool add_alert(struct decoder *d, const struct alert *alert, struct error *err)
{
    bool firing = span_is(alert->status, "firing");
    if (!firing && !span_is(alert->status, "resolved"))
        return error_set(err, ERR_INVALID, "status: expected \"firing\" or \"resolved\"");
    enum webhook_ignored reason = screen(alert, d->users);
    if (reason != WEBHOOK_IGNORED) {
        d->out->ignored[reason]++;
        return true;
    }
    struct webhook_event *event = event_of(d->out, alert);
    if (!firing)
        return true;
    event->firing = true;
    event->drift.mae = fmax(event->drift.mae, figure(alert->mae)); /* NaN loses */
    event->drift.r2 = fmin(event->drift.r2, figure(alert->r2));
    return true;
}

static bool read_alerts(struct json_reader *r, struct decoder *d, struct error *err)
{
    struct alert alert;
    bool more;
    d->out->count = 0; /* the last of repeated members counts */
    memset(d->out->ignored, 0, sizeof d->out->ignored);
    if (!json_enter_array(r, err))
        return false;
    for (d->alerts = 0; json_next_element(r, &more, err); d->alerts++) {
        if (!more)
            return true;
        if (d->alerts == WEBHOOK_ALERTS_MAX)
            return error_set(err, ERR_TOO_LARGE, "alerts: expected at most %d", WEBHOOK_ALERTS_MAX);
        if (!read_alert(r, d->arena, &alert, err) || !add_alert(d, &alert, err)) {
            error_prefix(err, "alerts[%zu]", d->alerts);
            return false;
        }
    }
    return false;
}

/* An event that only ends cannot be believed when alerts were left out. */
static void drop_recoveries(struct webhook *out)
{
    size_t kept = 0;
    for (size_t i = 0; i < out->count; i++)
        if (out->events[i].firing)
            out->events[kept++] = out->events[i];
    out->ignored[IGNORED_TRUNCATED] += out->count - kept;
    out->count = kept;
}

static bool read_body(struct json_reader *r, struct decoder *d, struct span *version,
                      uint64_t *truncated, bool *alerts, struct error *err)
{
    struct span key, other;
    bool more, escaped, ok;
    if (!json_enter_object(r, err))
        return false;
    while (json_next_member(r, &more, &key, &escaped, err)) {
        if (!more)
            return json_end(r, err);
        if (span_is(key, "version"))
            ok = json_string(r, d->arena, version, err);
        else if (span_is(key, "truncatedAlerts"))
            ok = json_count(r, UINT64_MAX, truncated, err);
        else if (span_is(key, "alerts"))
            ok = (*alerts = true) && read_alerts(r, d, err);
        else
            ok = json_skip(r, &other, err);
        if (!ok)
            return false;
    }
    return false;
}

bool webhook_decode(struct span body, const struct webhook_users *users, struct arena *arena,
                    struct webhook *out, struct error *err)
{
    struct json_reader r;
    struct span version = {NULL, 0};
    uint64_t truncated = 0;
    bool alerts = false;
    *out = (struct webhook){.count = 0};
    struct decoder d = {users, arena, out, 0};
    out->events = arena_array(arena, WEBHOOK_ALERTS_MAX, sizeof *out->events);
    if (out->events == NULL)
        return error_set(err, ERR_NO_MEMORY, "out of memory");
    json_reader_init(&r, body.p, body.n);
    if (!read_body(&r, &d, &version, &truncated, &alerts, err)) {
        error_prefix(err, "body");
        return false;
    }
    if (!span_is(version, "4") || !alerts)
        return error_set(
            err, ERR_INVALID,
            "body: expected an Alertmanager notification, version \"4\" with \"alerts\"");
    if (truncated > 0)
        drop_recoveries(out);
    return true;
}

bool webhook_decode_manual(struct span body, const struct webhook_users *users, struct arena *arena,
                           struct policy_drift *out, struct error *err)
{
    struct json_reader r;
    struct span user = {NULL, 0}, model = {NULL, 0};
    const struct field fields[] = {{"user_id", &user}, {"model_name", &model}};
    json_reader_init(&r, body.p, body.n);
    if (!read_strings(&r, fields, sizeof fields / sizeof *fields, arena, err) ||
        !json_end(&r, err)) {
        error_prefix(err, "body");
        return false;
    }
    if (!webhook_knows_user(users, user))
        return error_set(err, ERR_INVALID, "user_id: expected a listed user");
    if (!webhook_is_model(model))
        return error_set(err, ERR_INVALID,
                         "model_name: expected a name of lower-case letters, digits and hyphens");
    *out = (struct policy_drift){user.p, model.p, NAN, NAN};
    return true;
}
