#define _GNU_SOURCE /* memmem */
#include "tests/support/mock_github.h"

#include "server/http/http.h"
#include "tests/support/t.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WAIT_MS = 20000, ID_ROOM = 64, FIRST_RUN = 30433642 };

static const char repository[] = "/repos/octo-org/octo-repo/actions/";

struct mock_run {
    char id[ID_ROOM]; /* correlation id */
    unsigned polls, looks;
};

struct mock_github {
    struct http_server *server;
    pthread_mutex_t lock;
    int script[MOCK_SCRIPT_MAX];
    size_t script_at, requests, runs;
    unsigned concluded_at, list_late;
    char conclusion[32];
    struct mock_request log[MOCK_REQUESTS_MAX];
    struct mock_run run[MOCK_RUNS_MAX];
};

static uint64_t clock_ms(clockid_t clock)
{
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- what came ---- */

static void keep(struct mock_github *mock, const struct request *request)
{
    if (mock->requests == MOCK_REQUESTS_MAX)
        abort();
    struct mock_request *to = &mock->log[mock->requests++];
    size_t n = 0;
    to->at_ms = clock_ms(CLOCK_MONOTONIC);
    (void)snprintf(to->line, sizeof to->line, "%.*s %.*s%s%.*s", (int)request->method_name.n,
                   request->method_name.p, (int)request->path.n, request->path.p,
                   request->query.n > 0 ? "?" : "", (int)request->query.n, request->query.p);
    for (size_t i = 0; i < request->header_count && n < sizeof to->headers; i++)
        n += (size_t)snprintf(to->headers + n, sizeof to->headers - n, "%.*s: %.*s\n",
                              (int)request->headers[i].name.n, request->headers[i].name.p,
                              (int)request->headers[i].value.n, request->headers[i].value.p);
    (void)snprintf(to->body, sizeof to->body, "%.*s", (int)request->body.n, request->body.p);
}

static void start_run(struct mock_github *mock, const char *body)
{
    static const char key[] = "\"correlation_id\":\"";
    const char *id = strstr(body, key);
    if (mock->runs == MOCK_RUNS_MAX || id == NULL)
        abort();
    struct mock_run *run = &mock->run[mock->runs++];
    id += sizeof key - 1;
    *run = (struct mock_run){"", 0, 0};
    (void)snprintf(run->id, sizeof run->id, "%.*s", (int)strcspn(id, "\""), id);
}

/* ---- answers ---- */

static struct span copy(struct arena *arena, const char *text)
{
    char *to = arena_text(arena, text, strlen(text));
    if (to == NULL)
        abort();
    return (struct span){to, strlen(to)};
}

static void say(struct response *response, int status, struct arena *arena, const char *body)
{
    response->status = status;
    response->content_type = status == 204 ? NULL : "application/json; charset=utf-8";
    response->body = copy(arena, body);
}

static void add_header(struct response *response, struct arena *arena, const char *name,
                       const char *value)
{
    response->headers[response->header_count++] =
        (struct header){copy(arena, name), copy(arena, value)};
}

/* False: no answer comes. */
static bool dispatch(struct mock_github *mock, struct arena *arena, struct response *response)
{
    char text[256];
    int how = mock->script[mock->script_at];
    if (mock->script[mock->script_at + 1] >= 0)
        mock->script_at++;
    if (how <= MOCK_ACCEPT_THEN_500)
        start_run(mock, mock->log[mock->requests - 1].body);
    switch (how) {
    case MOCK_ACCEPT:
        (void)snprintf(text, sizeof text,
                       "{\"workflow_run_id\":%zu,\"run_url\":\"u\",\"html_url\":\"h\"}",
                       FIRST_RUN + mock->runs - 1);
        say(response, 200, arena, text);
        return true;
    case MOCK_ACCEPT_NO_ID:
        say(response, 204, arena, "");
        return true;
    case MOCK_ACCEPT_THEN_500:
    case MOCK_500:
        say(response, 500, arena, "{\"message\":\"Server Error\"}");
        return true;
    case MOCK_403_RETRY_AFTER:
        say(response, 403, arena, "{\"message\":\"You have exceeded a secondary rate limit\"}");
        add_header(response, arena, "Retry-After", "1");
        return true;
    case MOCK_429_RESET:
        say(response, 429, arena, "{\"message\":\"API rate limit exceeded\"}");
        (void)snprintf(text, sizeof text, "%llu",
                       (unsigned long long)(clock_ms(CLOCK_REALTIME) / 1000 + 1));
        add_header(response, arena, "X-RateLimit-Remaining", "0");
        add_header(response, arena, "X-RateLimit-Reset", text);
        return true;
    case MOCK_401:
        say(response, 401, arena, "{\"message\":\"Bad credentials\"}");
        return true;
    case MOCK_404:
        say(response, 404, arena, "{\"message\":\"Not Found\"}");
        return true;
    case MOCK_422:
        say(response, 422, arena, "{\"message\":\"No ref found for: main\"}");
        return true;
    default:
        return false;
    }
}

static void list(struct mock_github *mock, struct arena *arena, struct response *response)
{
    char text[MOCK_RUNS_MAX * 256];
    size_t shown = 0, n = 0;
    char *at = text;
    for (size_t i = 0; i < mock->runs; i++)
        shown += mock->run[i].looks >= mock->list_late;
    n += (size_t)snprintf(at, sizeof text, "{\"total_count\":%zu,\"workflow_runs\":[", shown);
    for (size_t i = 0, comma = 0; i < mock->runs; i++)
        if (mock->run[i].looks++ >= mock->list_late)
            n += (size_t)snprintf(at + n, sizeof text - n,
                                  "%s{\"id\":%zu,\"name\":\"Retrain\",\"display_title\":"
                                  "\"retrain user01 %s\",\"status\":\"queued\",\"conclusion\":null,"
                                  "\"actor\":{\"login\":\"octocat\",\"id\":1}}",
                                  comma++ > 0 ? "," : "", FIRST_RUN + i, mock->run[i].id);
    (void)snprintf(at + n, sizeof text - n, "]}");
    say(response, 200, arena, text);
}

static void show_run(struct mock_github *mock, size_t number, struct arena *arena,
                     struct response *response)
{
    char text[256];
    if (number < FIRST_RUN || number - FIRST_RUN >= mock->runs) {
        say(response, 404, arena, "{\"message\":\"Not Found\"}");
        return;
    }
    bool over =
        ++mock->run[number - FIRST_RUN].polls >= mock->concluded_at && mock->concluded_at > 0;
    (void)snprintf(text, sizeof text, "{\"id\":%zu,\"status\":\"%s\",\"conclusion\":%s%s%s}",
                   number, over ? "completed" : "in_progress", over ? "\"" : "",
                   over ? mock->conclusion : "null", over ? "\"" : "");
    say(response, 200, arena, text);
}

static void handle(void *ctx, struct http_exchange *exchange, const struct request *request)
{
    struct mock_github *mock = ctx;
    struct arena *arena = http_arena(exchange);
    struct response response = {0};
    bool answered = true;
    (void)pthread_mutex_lock(&mock->lock);
    keep(mock, request);
    const char *line = mock->log[mock->requests - 1].line, *rest = strstr(line, repository);
    rest = rest == NULL ? "" : rest + sizeof repository - 1;
    if (strncmp(line, "POST ", 5) == 0 &&
        strcmp(rest, "workflows/retrain-model.yaml/dispatches") == 0)
        answered = dispatch(mock, arena, &response);
    else if (strncmp(rest, "workflows/retrain-model.yaml/runs?", 34) == 0)
        list(mock, arena, &response);
    else if (strncmp(rest, "runs/", 5) == 0)
        show_run(mock, strtoul(rest + 5, NULL, 10), arena, &response);
    else
        say(&response, 404, arena, "{\"message\":\"Not Found\"}");
    (void)pthread_mutex_unlock(&mock->lock);
    if (answered)
        http_respond(exchange, &response);
}

/* Nobody waits for what hangs any more. */
static void gone(void *ctx, struct http_exchange *exchange)
{
    const struct response nothing = {.status = 503};
    (void)ctx;
    http_respond(exchange, &nothing);
}

/* ---- for the test ---- */

struct mock_github *mock_github_start(const int *script)
{
    struct error err = {0};
    struct mock_github *mock = calloc(1, sizeof *mock);
    assert_non_null(mock);
    (void)pthread_mutex_init(&mock->lock, NULL);
    mock_github_script(mock, script);
    mock_github_conclude(mock, 1, "success");
    struct http_config config = {.host = "127.0.0.1",
                                 .workers = 1,
                                 .limits = http_default_limits(),
                                 .handler = {.ctx = mock, .request = handle, .gone = gone}};
    mock->server = http_start(&config, &err);
    if (mock->server == NULL)
        fail_msg("%s", err.message);
    return mock;
}

void mock_github_stop(struct mock_github *mock)
{
    http_stop(mock->server);
    (void)pthread_mutex_destroy(&mock->lock);
    free(mock);
}

unsigned mock_github_port(const struct mock_github *mock)
{
    return http_port(mock->server);
}

void mock_github_script(struct mock_github *mock, const int *script)
{
    size_t n = 0;
    (void)pthread_mutex_lock(&mock->lock);
    do {
        assert_true(n < MOCK_SCRIPT_MAX);
        mock->script[n] = script[n];
    } while (script[n++] >= 0);
    mock->script_at = 0;
    (void)pthread_mutex_unlock(&mock->lock);
}

void mock_github_conclude(struct mock_github *mock, unsigned polls, const char *conclusion)
{
    (void)pthread_mutex_lock(&mock->lock);
    mock->concluded_at = polls;
    (void)snprintf(mock->conclusion, sizeof mock->conclusion, "%s", conclusion);
    (void)pthread_mutex_unlock(&mock->lock);
}

void mock_github_list_late(struct mock_github *mock, unsigned looks)
{
    (void)pthread_mutex_lock(&mock->lock);
    mock->list_late = looks;
    (void)pthread_mutex_unlock(&mock->lock);
}

size_t mock_github_count(struct mock_github *mock, const char *start)
{
    size_t count = 0;
    (void)pthread_mutex_lock(&mock->lock);
    for (size_t i = 0; i < mock->requests; i++)
        count += strncmp(mock->log[i].line, start, strlen(start)) == 0;
    (void)pthread_mutex_unlock(&mock->lock);
    return count;
}

void mock_github_wait(struct mock_github *mock, const char *start, size_t n)
{
    uint64_t end = clock_ms(CLOCK_MONOTONIC) + WAIT_MS;
    while (mock_github_count(mock, start) < n) {
        if (clock_ms(CLOCK_MONOTONIC) > end)
            fail_msg("expected %zu of \"%s\", got %zu", n, start, mock_github_count(mock, start));
        (void)poll(NULL, 0, 2);
    }
}

struct mock_request mock_github_request(struct mock_github *mock, const char *start, size_t i)
{
    struct mock_request found = {"", "", "", 0};
    (void)pthread_mutex_lock(&mock->lock);
    for (size_t at = 0; at < mock->requests; at++)
        if (strncmp(mock->log[at].line, start, strlen(start)) == 0 && i-- == 0)
            found = mock->log[at];
    (void)pthread_mutex_unlock(&mock->lock);
    if (found.line[0] == '\0')
        fail_msg("no such request: %s", start);
    return found;
}

size_t mock_github_runs(struct mock_github *mock, const char *id)
{
    size_t count = 0;
    (void)pthread_mutex_lock(&mock->lock);
    for (size_t i = 0; i < mock->runs; i++)
        count += id == NULL || strcmp(mock->run[i].id, id) == 0;
    (void)pthread_mutex_unlock(&mock->lock);
    return count;
}
