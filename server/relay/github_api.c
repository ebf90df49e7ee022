#include "server/relay/github_api.h"

#include "base/json.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define CLOCKS_APART_MS   UINT64_C(300000) /* GitHub's clock may be behind ours */
#define WAIT_MS_MOST      UINT64_C(604800000)
#define RUNS_PER_PAGE     100
#define MESSAGE_BYTES_MAX 200

/* ---- settings ---- */

static bool starts_with(const char *text, const char *start)
{
    return strncasecmp(text, start, strlen(start)) == 0;
}

bool github_is_loopback(const char *api_url)
{
    static const char *const starts[] = {"http://127.0.0.1", "http://localhost", "http://[::1]"};
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        size_t n = strlen(starts[i]);
        if (starts_with(api_url, starts[i]) && strchr(":/", api_url[n]) != NULL)
            return true;
    }
    return false;
}

/* 1 to 200 letters, digits and characters of `more`; no dots alone. */
static bool is_name(const char *text, size_t n, const char *more)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    bool dots = true;
    for (size_t i = 0; i < n; i++) {
        if (strchr(plain, text[i]) == NULL && strchr(more, text[i]) == NULL)
            return false;
        dots = dots && text[i] == '.';
    }
    return n > 0 && n <= 200 && !dots;
}

static bool is_repository(const char *text)
{
    const char *slash = strchr(text, '/');
    return slash != NULL && is_name(text, (size_t)(slash - text), "-_.") &&
           is_name(slash + 1, strlen(slash + 1), "-_.");
}

bool github_check_target(const struct github_target *target, struct error *err)
{
    const char *url = target->api_url;
    size_t n = strlen(url);
    if ((!starts_with(url, "https://") && !github_is_loopback(url)) || n < 9 || n > 512 ||
        url[n - 1] == '/' || strpbrk(url, " \t\r\n@?#") != NULL)
        return error_set(
            err, ERR_INVALID,
            "--github_api_url: expected https://..., or http:// and a loopback address, "
            "without a slash at its end, got \"%s\"",
            url);
    if (!is_repository(target->repository))
        return error_set(err, ERR_INVALID, "--github_repository: expected OWNER/NAME, got \"%s\"",
                         target->repository);
    if (!is_name(target->workflow, strlen(target->workflow), "-_."))
        return error_set(err, ERR_INVALID, "--github_workflow: expected a file name, got \"%s\"",
                         target->workflow);
    if (!is_name(target->ref, strlen(target->ref), "-_./"))
        return error_set(err, ERR_INVALID, "--github_ref: expected a branch or tag, got \"%s\"",
                         target->ref);
    if (strcmp(target->api_version, "2022-11-28") != 0 &&
        strcmp(target->api_version, "2026-03-10") != 0)
        return error_set(err, ERR_INVALID,
                         "--github_api_version: expected 2022-11-28 or 2026-03-10, got \"%s\"",
                         target->api_version);
    return true;
}

/* ---- requests ---- */

static void put_input(struct json_writer *w, const char *name, const char *value)
{
    json_key(w, name);
    json_put_string(w, value);
}

static bool dispatch_body(const struct github_target *target, const struct policy_key *key,
                          struct arena *arena, struct span *out)
{
    struct json_writer w;
    char score[32];
    (void)snprintf(score, sizeof score, "%.4f", key->score);
    json_writer_init(&w, arena);
    json_begin_object(&w);
    put_input(&w, "ref", target->ref);
    json_key(&w, "inputs");
    json_begin_object(&w);
    put_input(&w, "user_id", key->user);
    put_input(&w, "drift_score", score);
    put_input(&w, "drift_reason", key->reason);
    put_input(&w, "correlation_id", key->id);
    json_end_object(&w);
    if (target->return_run_details && strcmp(target->api_version, "2022-11-28") == 0) {
        json_key(&w, "return_run_details");
        json_put_bool(&w, true);
    }
    json_end_object(&w);
    return json_writer_finish(&w, out);
}

/* Query of a list of the runs that may bear the id. */
static void find_query(char *out, size_t room, const struct policy_key *key)
{
    uint64_t since = key->requested_ms > CLOCKS_APART_MS ? key->requested_ms - CLOCKS_APART_MS : 0;
    time_t seconds = (time_t)(since / 1000);
    struct tm utc;
    char created[32];
    if (gmtime_r(&seconds, &utc) == NULL ||
        strftime(created, sizeof created, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
        (void)snprintf(created, sizeof created, "1970-01-01T00:00:00Z");
    (void)snprintf(out, room, "?event=workflow_dispatch&created=%%3E%%3D%s&per_page=%d", created,
                   RUNS_PER_PAGE);
}

bool github_request(const struct github_target *target, const struct policy_step *step,
                    struct arena *arena, struct github_request *out, struct error *err)
{
    char url[2048], query[128] = "";
    *out = (struct github_request){NULL, {NULL, 0}};
    if (step->action == POLICY_POLL) {
        (void)snprintf(url, sizeof url, "%s/repos/%s/actions/runs/%llu", target->api_url,
                       target->repository, (unsigned long long)step->key.run_id);
    } else {
        bool find = step->action == POLICY_FIND;
        if (find)
            find_query(query, sizeof query, &step->key);
        (void)snprintf(url, sizeof url, "%s/repos/%s/actions/workflows/%s/%s%s", target->api_url,
                       target->repository, target->workflow, find ? "runs" : "dispatches", query);
    }
    out->url = arena_text(arena, url, strlen(url));
    bool ok = out->url != NULL && (step->action != POLICY_DISPATCH ||
                                   dispatch_body(target, &step->key, arena, &out->body));
    return ok || error_set(err, ERR_NO_MEMORY, "out of memory");
}

/* ---- answers ---- */

/* The strings and counts that are looked for in an object; absent or null: {NULL, 0}, 0. */
struct members {
    struct span name, title, status, conclusion, message;
    uint64_t id, workflow_run_id;
};

static bool read_text(struct json_reader *r, struct arena *arena, struct span *out,
                      struct error *err)
{
    enum json_kind kind;
    struct span other;
    if (!json_peek(r, &kind, err))
        return false;
    return kind == JSON_STRING ? json_string(r, arena, out, err) : json_skip(r, &other, err);
}

static bool read_members(struct json_reader *r, struct arena *arena, struct members *out)
{
    struct error err = {0};
    struct span key, other;
    bool more, escaped, ok;
    *out = (struct members){0};
    if (!json_enter_object(r, &err))
        return false;
    while (json_next_member(r, &more, &key, &escaped, &err)) {
        if (!more)
            return true;
        if (span_is(key, "id"))
            ok = json_count(r, UINT64_MAX, &out->id, &err);
        else if (span_is(key, "workflow_run_id"))
            ok = json_count(r, UINT64_MAX, &out->workflow_run_id, &err);
        else if (span_is(key, "name"))
            ok = read_text(r, arena, &out->name, &err);
        else if (span_is(key, "display_title"))
            ok = read_text(r, arena, &out->title, &err);
        else if (span_is(key, "status"))
            ok = read_text(r, arena, &out->status, &err);
        else if (span_is(key, "conclusion"))
            ok = read_text(r, arena, &out->conclusion, &err);
        else if (span_is(key, "message"))
            ok = read_text(r, arena, &out->message, &err);
        else
            ok = json_skip(r, &other, &err);
        if (!ok)
            return false;
    }
    return false;
}

static bool read_object(struct span body, struct arena *arena, struct members *out)
{
    struct json_reader r;
    json_reader_init(&r, body.p, body.n);
    return body.n > 0 && read_members(&r, arena, out);
}

/* Whether a run's title holds the id; titles end in NUL. */
static bool bears(const struct members *run, const char *id)
{
    return (run->name.p != NULL && strstr(run->name.p, id) != NULL) ||
           (run->title.p != NULL && strstr(run->title.p, id) != NULL);
}

struct run_list {
    uint64_t total, listed, found; /* found: the oldest run that bears the id */
};

static bool read_runs(struct json_reader *r, struct arena *arena, const char *id,
                      struct run_list *list)
{
    struct error err = {0};
    struct members run;
    bool more;
    if (!json_enter_array(r, &err))
        return false;
    while (json_next_element(r, &more, &err)) {
        if (!more)
            return true;
        if (!read_members(r, arena, &run))
            return false;
        list->listed++;
        if (run.id != 0 && bears(&run, id) && (list->found == 0 || run.id < list->found))
            list->found = run.id;
    }
    return false;
}

static bool read_list(struct span body, struct arena *arena, const char *id, struct run_list *list)
{
    struct json_reader r;
    struct error err = {0};
    struct span key, other;
    bool more, escaped, ok, runs = false;
    *list = (struct run_list){0, 0, 0};
    json_reader_init(&r, body.p, body.n);
    if (body.n == 0 || !json_enter_object(&r, &err))
        return false;
    while (json_next_member(&r, &more, &key, &escaped, &err)) {
        if (!more)
            return runs;
        if (span_is(key, "total_count"))
            ok = json_count(&r, UINT64_MAX, &list->total, &err);
        else if (span_is(key, "workflow_runs"))
            ok = runs = read_runs(&r, arena, id, list);
        else
            ok = json_skip(&r, &other, &err);
        if (!ok)
            return false;
    }
    return false;
}

static enum policy_conclusion conclusion_of(struct span word)
{
    static const char *const words[] = {[CONCLUSION_SUCCESS] = "success",
                                        [CONCLUSION_FAILURE] = "failure",
                                        [CONCLUSION_CANCELLED] = "cancelled",
                                        [CONCLUSION_TIMED_OUT] = "timed_out"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (span_is(word, words[i]))
            return (enum policy_conclusion)i;
    if (span_is(word, "startup_failure"))
        return CONCLUSION_FAILURE;
    return CONCLUSION_OTHER;
}

/* An answer of 2xx. What cannot be read is as good as none. */
static struct policy_answer read_answer(const struct policy_step *step,
                                        const struct github_response *response, struct arena *arena)
{
    struct policy_answer answer = {.status = response->status, .reply = REPLY_UNSURE};
    struct members members;
    struct run_list list;
    if (step->action == POLICY_DISPATCH) {
        answer.reply = REPLY_ACCEPTED;
        if (read_object(response->body, arena, &members))
            answer.run_id = members.workflow_run_id;
    } else if (step->action == POLICY_FIND) {
        if (!read_list(response->body, arena, step->key.id, &list))
            return answer;
        answer.run_id = list.found;
        if (list.found != 0)
            answer.reply = REPLY_FOUND;
        else if (list.total <= list.listed) /* else it may be on a further page */
            answer.reply = REPLY_ABSENT;
    } else if (read_object(response->body, arena, &members) && members.status.p != NULL) {
        bool over = span_is(members.status, "completed");
        answer.reply = over ? REPLY_CONCLUDED : REPLY_ACTIVE;
        answer.conclusion = over ? conclusion_of(members.conclusion) : CONCLUSION_OTHER;
    }
    return answer;
}

/* How long GitHub wants to be left alone; 0: it did not say. */
static uint64_t told_wait(const struct github_response *response, uint64_t now_ms)
{
    uint64_t wait = 0, reset_s = response->ratelimit_reset_s;
    if (response->retry_after_s != 0)
        wait = response->retry_after_s < WAIT_MS_MOST / 1000 ? response->retry_after_s * 1000
                                                             : WAIT_MS_MOST;
    else if (response->exhausted && reset_s != 0 && reset_s < UINT64_MAX / 1000)
        /* At least a second: what has just passed by our clock may not have by GitHub's. */
        wait = reset_s * 1000 > now_ms + 1000 ? reset_s * 1000 - now_ms : 1000;
    return wait < WAIT_MS_MOST ? wait : WAIT_MS_MOST;
}

struct policy_answer github_answer(const struct policy_step *step,
                                   const struct github_response *response, uint64_t now_ms,
                                   struct arena *arena)
{
    int status = response->status;
    if (status >= 200 && status < 300)
        return read_answer(step, response, arena);
    struct policy_answer answer = {.status = status, .wait_ms = told_wait(response, now_ms)};
    if (status == 403 || status == 429)
        answer.reply = REPLY_LIMITED;
    else if (status >= 500 || status == 408 || status < 200)
        answer.reply = REPLY_UNSURE;
    else
        answer.reply = REPLY_REFUSED;
    return answer;
}

struct span github_message(struct span body, struct arena *arena)
{
    struct members members;
    if (!read_object(body, arena, &members))
        return (struct span){NULL, 0};
    if (members.message.n > MESSAGE_BYTES_MAX)
        members.message.n = MESSAGE_BYTES_MAX;
    return members.message;
}
