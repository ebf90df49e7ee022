/* Every protocol case, twice: through the door alone, and through a socket. With RIDGED_ADDRESS_PORT set
 * the socket cases go to a server that is already running on that port of this machine, which must serve
 * the model the case files name. */
#define _GNU_SOURCE /* setenv */
#include "server/predictor/serve.h"
#include "tests/conformance/case.h"
#include "tests/support/http_client.h"
#include "tests/support/plane.h"
#include "tests/support/t.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const files[] = {"tests/conformance/v1.txt"};
enum { FILES = sizeof files / sizeof *files };

struct state {
    struct plane plane;
    struct arena *arena; /* of the cases */
    const struct conformance_case *cases[FILES];
    size_t counts[FILES];
};

static int setup(void **state)
{
    struct error err = {0};
    struct state *s = calloc(1, sizeof *s);
    plane_init(&s->plane);
    s->arena = arena_new(1 << 16, 0);
    for (size_t i = 0; i < FILES; i++)
        if (!conformance_load(files[i], s->arena, &s->cases[i], &s->counts[i], &err))
            fail_msg("%s", err.message);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct state *s = *state;
    plane_clear(&s->plane);
    arena_free(s->arena);
    free(s);
    return 0;
}

static void report(const char *file, const struct conformance_case *c, const struct error *err)
{
    print_error("%s:%u: %s: %s\n", file, c->line, c->title, err->message);
}

/* All headers of a response, as case.h wants them. */
static size_t all_headers(const struct response *response, struct header *out)
{
    size_t n = response->header_count;
    memcpy(out, response->headers, n * sizeof *out);
    if (response->content_type != NULL)
        out[n++] = (struct header){{"Content-Type", 12},
                                   {response->content_type, strlen(response->content_type)}};
    return n;
}

static bool through_the_door(struct state *s, const struct conformance_case *c, struct error *err)
{
    struct header headers[RESPONSE_HEADERS_MAX + 1];
    arena_reset(s->plane.arena);
    api_set_lifecycle(s->plane.api, c->starting ? API_STARTING : API_READY);
    const struct response *r =
        api_handle(s->plane.api, API_EVERYTHING, &c->request, s->plane.arena, 0);
    struct span body = c->request.method == HTTP_HEAD ? (struct span){"", 0} : r->body;
    return conformance_compare(c, r->status, headers, all_headers(r, headers), body, err);
}

static void every_case_holds_through_the_door(void **state)
{
    struct state *s = *state;
    size_t failed = 0, ran = 0;
    for (size_t f = 0; f < FILES; f++)
        for (size_t i = 0; i < s->counts[f]; i++, ran++) {
            struct error err = {0};
            if (!through_the_door(s, &s->cases[f][i], &err)) {
                report(files[f], &s->cases[f][i], &err);
                failed++;
            }
        }
    print_message("%zu cases through the door\n", ran);
    assert_true(ran > 0);
    assert_int_equal(failed, 0);
}

/* ---- the same through a socket ---- */

static void send_case(struct http_client *client, const struct conformance_case *c)
{
    char head[8192];
    int n = snprintf(head, sizeof head, "%.*s %.*s HTTP/1.1\r\nHost: test\r\n",
                     (int)c->request.method_name.n, c->request.method_name.p, (int)c->target.n,
                     c->target.p);
    for (size_t i = 0; i < c->request.header_count; i++) {
        const struct header *h = &c->request.headers[i];
        n += snprintf(head + n, sizeof head - (size_t)n, "%.*s: %.*s\r\n", (int)h->name.n,
                      h->name.p, (int)h->value.n, h->value.p);
    }
    n += snprintf(head + n, sizeof head - (size_t)n, "Content-Length: %zu\r\n\r\n",
                  c->request.body.n);
    assert_true((size_t)n < sizeof head);
    http_client_send(client, head, (size_t)n);
    http_client_send(client, c->request.body.p, c->request.body.n);
}

/* One connection for all cases: an error of a request leaves it usable. */
static bool through_a_socket(struct http_client *client, const struct conformance_case *c,
                             struct error *err)
{
    struct http_answer answer;
    struct header headers[HTTP_CLIENT_HEADERS];
    send_case(client, c);
    if (!http_client_read(client, c->request.method == HTTP_HEAD, &answer))
        return error_set(err, ERR_INVALID, "the connection was closed");
    for (size_t i = 0; i < answer.header_count; i++)
        headers[i] = (struct header){{answer.names[i], strlen(answer.names[i])},
                                     {answer.values[i], strlen(answer.values[i])}};
    bool ok = conformance_compare(c, answer.status, headers, answer.header_count,
                                  (struct span){answer.body, answer.body_len}, err);
    http_answer_clear(&answer);
    return ok;
}

static void every_case_holds_through_a_socket(void **state)
{
    struct state *s = *state;
    struct error err = {0};
    struct http_client client;
    size_t failed = 0;
    const char *outside = getenv("RIDGED_ADDRESS_PORT");
    struct serve serve = {s->plane.api, API_EVERYTHING};
    struct http_config config = {.host = "127.0.0.1",
                                 .workers = 1,
                                 .limits = http_default_limits(),
                                 .handler = serve_handler(&serve)};
    struct http_server *server = http_start(&config, &err);
    if (server == NULL)
        fail_msg("%s", err.message);
    http_client_open(&client,
                     outside != NULL ? (unsigned)strtoul(outside, NULL, 10) : http_port(server));
    for (size_t f = 0; f < FILES; f++)
        for (size_t i = 0; i < s->counts[f]; i++) {
            const struct conformance_case *c = &s->cases[f][i];
            if (outside != NULL && c->starting)
                continue;
            api_set_lifecycle(s->plane.api, c->starting ? API_STARTING : API_READY);
            if (!through_a_socket(&client, c, &err)) {
                report(files[f], c, &err);
                failed++;
            }
        }
    http_client_close(&client);
    http_stop(server);
    assert_int_equal(failed, 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(every_case_holds_through_the_door, setup, teardown),
    cmocka_unit_test_setup_teardown(every_case_holds_through_a_socket, setup, teardown),
};

T_MAIN(tests)
