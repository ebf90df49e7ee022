/* mock_github.h - GitHub's workflow API on a port of its own, as far as ridge-relay uses it.
 *
 * It keeps every request, starts a "run" for each accepted dispatch, and answers dispatches by a script:
 * one word each, the last one for ever. The list shows a run, by its run-name, from the second look on if
 * told to be late. All waits are bounded.
 */
#ifndef TESTS_SUPPORT_MOCK_GITHUB_H
#define TESTS_SUPPORT_MOCK_GITHUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MOCK_REQUESTS_MAX = 512, MOCK_RUNS_MAX = 64, MOCK_SCRIPT_MAX = 16 };

/* What a dispatch meets. */
enum mock_answer {
    MOCK_ACCEPT,           /* 200 with the run's id */
    MOCK_ACCEPT_NO_ID,     /* 204 */
    MOCK_ACCEPT_THEN_HANG, /* the run starts, no answer comes */
    MOCK_ACCEPT_THEN_500,
    MOCK_HANG,
    MOCK_500,
    MOCK_403_RETRY_AFTER, /* Retry-After: 1 */
    MOCK_429_RESET,       /* x-ratelimit-remaining: 0, x-ratelimit-reset: the next second */
    MOCK_401,
    MOCK_404,
    MOCK_422,
};

struct mock_request {
    char line[256];     /* "POST /path?query" */
    char headers[2048]; /* "name: value\n"..., as sent */
    char body[4096];
    uint64_t at_ms; /* CLOCK_MONOTONIC */
};

struct mock_github;

/* script: ends in -1. */
struct mock_github *mock_github_start(const int *script);
void mock_github_stop(struct mock_github *mock);
unsigned mock_github_port(const struct mock_github *mock);

void mock_github_script(struct mock_github *mock, const int *script);
/* A run is at its end at the n-th poll, with this conclusion; 0: never. */
void mock_github_conclude(struct mock_github *mock, unsigned polls, const char *conclusion);
/* Looks at the list that do not show a run yet. */
void mock_github_list_late(struct mock_github *mock, unsigned looks);

/* Requests so far whose line starts with this. */
size_t mock_github_count(struct mock_github *mock, const char *start);
/* Waits until there are n of them; fails the test when they do not come. */
void mock_github_wait(struct mock_github *mock, const char *start, size_t n);
/* A copy of the i-th of them. */
struct mock_request mock_github_request(struct mock_github *mock, const char *start, size_t i);
/* Runs started that bear the id; NULL: any. */
size_t mock_github_runs(struct mock_github *mock, const char *id);

#endif
