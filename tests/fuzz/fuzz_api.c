/* Sends any bytes through the parser and the door, on both surfaces. Whatever they are, the answer is one
 * that can be sent: a known status, never our fault, JSON that is JSON, headers without controls. */
#include "base/json.h"
#include "server/http/parser.h"
#include "tests/support/plane.h"

#include <stdlib.h>
#include <string.h>

enum { HEAD_BYTES = 16384, HEADERS = 100 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static struct plane plane;

static void clear_plane(void)
{
    plane_clear(&plane);
}

/* As connection.c does it with a message that has come whole; what is missing of a body is left out.
 * data is changed. */
static void read_request(char *data, size_t n, struct arena *arena, struct request *request)
{
    struct head_search search = {0};
    struct chunked chunked = {0};
    struct http_fault fault = {0, NULL};
    struct http_head head = {.length = 0};
    size_t length = 0;
    enum parse_status found =
        parse_find_head(&search, data, n, HEAD_BYTES, HEADERS, &length, &fault);
    if (found == PARSE_MORE || (found == PARSE_DONE && search.lines == 0))
        fault = (struct http_fault){408, "late"};
    else if (found == PARSE_DONE && parse_head(data, length, search.lines, arena, &head, &fault)) {
        size_t left = n - length;
        head.request.body = (struct span){data + length, head.length < left ? head.length : left};
        if (head.chunked &&
            parse_chunked(&chunked, data + length, &left, left, &fault) != PARSE_MORE)
            head.request.body.n = chunked.out;
    }
    *request = head.request;
    request->fault = fault.status;
    request->fault_text = fault.text;
    if (fault.status != 0)
        request->body = (struct span){NULL, 0};
}

/* A body in pieces comes to its end. */
static void drain(struct response_stream *stream)
{
    struct span piece;
    enum stream_state state;
    while ((state = stream->next(stream, &piece)) == STREAM_PIECE)
        ;
    check(state == STREAM_END);
    stream->end(stream);
}

static void check_response(const struct response *response)
{
    static const int statuses[] = {200, 400, 404, 405, 408, 413, 417, 429, 431, 501, 503, 505};
    bool known = false, has_id = false;
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        known |= response->status == statuses[i];
    check(known && response->content_type != NULL);
    for (size_t i = 0; i < response->header_count; i++) {
        struct span name = response->headers[i].name, value = response->headers[i].value;
        for (size_t j = 0; j < value.n; j++)
            check(value.p[j] >= ' ' && value.p[j] <= '~');
        has_id |= name.n == 12 && memcmp(name.p, "x-request-id", 12) == 0;
    }
    check(has_id);
    if (response->stream != NULL)
        drain(response->stream);
    if (strcmp(response->content_type, "application/json") != 0)
        return;
    struct json_reader r;
    struct span whole;
    struct error err = {0};
    json_reader_init(&r, response->body.p, response->body.n);
    check(json_skip(&r, &whole, &err) && json_end(&r, &err));
}

static void ask(enum api_surface surface, const uint8_t *data, size_t size)
{
    char *copy = malloc(size + 1);
    check(copy != NULL);
    memcpy(copy + 1, data, size); /* ends with the allocation */
    arena_reset(plane.arena);
    struct request request;
    read_request(copy + 1, size, plane.arena, &request);
    check_response(api_handle(plane.api, surface, &request, plane.arena, 0));
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (plane.api == NULL) {
        plane_init(&plane);
        (void)atexit(clear_plane);
    }
    if (size == 0)
        return 0;
    ask(API_EVERYTHING, data, size);
    ask(API_OBSERVER, data, size);
    return 0;
}
