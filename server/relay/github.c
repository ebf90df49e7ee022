#define _DEFAULT_SOURCE /* explicit_bzero */
#include "server/relay/github.h"

#include "base/number.h"
#include "server/token.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    RESPONSE_BYTES_MAX = 8 << 20, /* a hundred runs are about 2 MB */
    ARENA_FIRST = 65536,
    ARENA_MOST = 32 << 20,
    TEXT_ROOM = 256,
};

struct github {
    struct github_config config;
    pthread_t thread;
    CURL *curl;
    struct arena *arena; /* of one step */
};

/* One request and what comes back. */
struct exchange {
    struct arena *arena;
    char *data;
    size_t n, capacity;
};

/* ---- one request ---- */

static size_t take_body(char *data, size_t size, size_t count, void *ctx)
{
    struct exchange *x = ctx;
    size_t n = size * count, needed = x->n + n;
    if (needed > RESPONSE_BYTES_MAX)
        return 0; /* ends the transfer */
    if (needed > x->capacity) {
        size_t capacity = needed * 2;
        char *grown = arena_grow(x->arena, x->data, x->capacity, capacity);
        if (grown == NULL)
            return 0;
        x->data = grown;
        x->capacity = capacity;
    }
    memcpy(x->data + x->n, data, n);
    x->n = needed;
    return n;
}

/* False when there was no memory; the list then is as long as it got. */
static bool add_header(struct curl_slist **headers, const char *text)
{
    struct curl_slist *longer = curl_slist_append(*headers, text);
    if (longer != NULL)
        *headers = longer;
    return longer != NULL;
}

static void free_headers(struct curl_slist *headers)
{
    for (struct curl_slist *h = headers; h != NULL; h = h->next)
        explicit_bzero(h->data, strlen(h->data)); /* one of them is the token */
    curl_slist_free_all(headers);
}

static bool make_headers(const struct github *github, bool post, struct curl_slist **headers,
                         struct error *err)
{
    static const char scheme[] = "Authorization: Bearer ";
    char token[TOKEN_MAX + 1], line[sizeof scheme + TOKEN_MAX], version[64];
    if (!token_read(github->config.token_file, token, err))
        return false;
    (void)snprintf(line, sizeof line, "%s%s", scheme, token);
    (void)snprintf(version, sizeof version, "X-GitHub-Api-Version: %s",
                   github->config.target.api_version);
    bool ok = add_header(headers, "Accept: application/vnd.github+json") &&
              add_header(headers, version) && add_header(headers, line) &&
              (!post || add_header(headers, "Content-Type: application/json"));
    explicit_bzero(token, sizeof token);
    explicit_bzero(line, sizeof line);
    return ok || error_set(err, ERR_NO_MEMORY, "out of memory");
}

static void set_options(struct github *github, const struct github_request *request,
                        struct curl_slist *headers, struct exchange *x)
{
    CURL *curl = github->curl;
    bool loopback = github_is_loopback(github->config.target.api_url);
    curl_easy_reset(curl);
    (void)curl_easy_setopt(curl, CURLOPT_URL, request->url);
    (void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, loopback ? "http" : "https");
    if (loopback)
        (void)curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    (void)curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(curl, CURLOPT_FORBID_REUSE, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)github->config.timeout_ms);
    (void)curl_easy_setopt(curl, CURLOPT_USERAGENT, github->config.user_agent);
    (void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, x);
    if (request->body.p != NULL) {
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)request->body.n);
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body.p);
    }
}

/* No byte of the request can have left. Anything else may have been taken. */
static bool never_left(CURLcode code)
{
    switch (code) {
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        return true;
    default:
        return false;
    }
}

static uint64_t header_number(CURL *curl, const char *name, uint64_t missing)
{
    struct curl_header *header;
    double value;
    if (curl_easy_header(curl, name, 0, CURLH_HEADER, -1, &header) != CURLHE_OK ||
        number_read_text(header->value, strlen(header->value), &value) != NUMBER_OK || value < 0 ||
        value > 1e15)
        return missing;
    return (uint64_t)value;
}

static struct github_response response_of(CURL *curl, const struct exchange *x)
{
    long status = 0;
    curl_off_t retry_after = 0;
    (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &retry_after); /* a date, too */
    return (struct github_response){
        .status = (int)status,
        .body = {x->data, x->n},
        .retry_after_s = retry_after > 0 ? (uint64_t)retry_after : 0,
        .exhausted = header_number(curl, "x-ratelimit-remaining", 1) == 0,
        .ratelimit_reset_s = header_number(curl, "x-ratelimit-reset", 0)};
}

static struct policy_answer perform(struct github *github, const struct policy_step *step,
                                    const struct github_request *request,
                                    struct curl_slist *headers, char text[TEXT_ROOM])
{
    struct exchange x = {github->arena, NULL, 0, 0};
    set_options(github, request, headers, &x);
    relay_probe_at(github->config.probe, "request");
    CURLcode code = curl_easy_perform(github->curl);
    relay_probe_at(github->config.probe, "answered");
    if (code != CURLE_OK) {
        (void)snprintf(text, TEXT_ROOM, "%s", curl_easy_strerror(code));
        return (struct policy_answer){.reply = never_left(code) ? REPLY_NOT_SENT : REPLY_UNSURE};
    }
    struct github_response response = response_of(github->curl, &x);
    struct policy_answer answer = github_answer(step, &response, ledger_now_ms(), github->arena);
    if (response.status >= 300) {
        struct span message = github_message(response.body, github->arena);
        (void)snprintf(text, TEXT_ROOM, "%.*s", (int)message.n, message.n > 0 ? message.p : "");
    }
    return answer;
}

/* What cannot even be asked is as good as not sent: it is tried again. */
static struct policy_answer carry_out(struct github *github, const struct policy_step *step,
                                      char text[TEXT_ROOM])
{
    struct policy_answer answer = {.reply = REPLY_NOT_SENT};
    struct github_request request;
    struct curl_slist *headers = NULL;
    struct error err = {0};
    arena_reset(github->arena);
    if (github_request(&github->config.target, step, github->arena, &request, &err) &&
        make_headers(github, request.body.p != NULL, &headers, &err))
        answer = perform(github, step, &request, headers, text);
    else
        (void)snprintf(text, TEXT_ROOM, "%s", err.message);
    free_headers(headers);
    return answer;
}

/* ---- the thread ---- */

static void *run(void *ctx)
{
    struct github *github = ctx;
    struct policy_step step;
    while (ledger_next(github->config.ledger, &step)) {
        char text[TEXT_ROOM] = "";
        struct policy_answer answer = carry_out(github, &step, text);
        ledger_answered(github->config.ledger, &step, &answer, text);
    }
    return NULL;
}

static void release(struct github *github)
{
    if (github->curl != NULL)
        curl_easy_cleanup(github->curl);
    arena_free(github->arena);
    free(github);
    curl_global_cleanup();
}

struct github *github_start(const struct github_config *config, struct error *err)
{
    struct github *github = calloc(1, sizeof *github);
    if (github == NULL) {
        (void)error_set(err, ERR_NO_MEMORY, "github: out of memory");
        return NULL;
    }
    github->config = *config;
    (void)curl_global_init(CURL_GLOBAL_DEFAULT); /* what fails here fails again below */
    github->arena = arena_new(ARENA_FIRST, ARENA_MOST);
    github->curl = curl_easy_init();
    bool ok = github->arena != NULL && github->curl != NULL;
    if (!ok)
        (void)error_set(err, ERR_NO_MEMORY, "github: out of memory");
    if (ok && pthread_create(&github->thread, NULL, run, github) == 0)
        return github;
    if (ok)
        (void)error_set(err, ERR_INTERNAL, "github: the thread could not be started");
    release(github);
    return NULL;
}

void github_stop(struct github *github)
{
    if (github == NULL)
        return;
    (void)pthread_join(github->thread, NULL);
    release(github);
}
