/* Memory runs out, a disk fails: at the first call, at the second, and so on until none is left. What comes
 * of it is an error that says so or the right result, never a crash, a leak, a wrong answer, or silence. */
#define _GNU_SOURCE /* memmem */
#include "base/json.h"
#include "model/model_file.h"
#include "server/http/http.h"
#include "tests/failures/inject.h"
#include "tests/support/exposition_check.h"
#include "tests/support/http_client.h"
#include "tests/support/plane.h"
#include "tests/support/process.h"
#include "tests/support/t.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { NTH_MAX = 5000 };

/* True when the nth allocation of this thread is to fail next; false when all have had their turn, which
 * the last round shows by none having failed. */
static bool next_round(size_t *nth)
{
    bool over = *nth > 0 && !inject_failed(INJECT_ALLOC);
    inject_fail(INJECT_ALLOC, 0);
    if (over)
        return false;
    assert_true(++*nth < NTH_MAX);
    inject_fail(INJECT_ALLOC, *nth);
    return true;
}

/* What failed did so because memory was out, and says so. */
static void expect_no_memory(const struct error *err)
{
    bool told =
        err->code == ERR_NO_MEMORY || strstr(err->message, "Cannot allocate memory") != NULL;
    if (!told || !inject_failed(INJECT_ALLOC))
        fail_msg("expected no memory, got %d: %s", (int)err->code, err->message);
}

/* ---- artifacts ---- */

static const char *const artifacts[] = {"tests/fuzz/corpus/model_file/sealed.json",
                                        "tests/fuzz/corpus/model_file/kernel_sealed.json"};

static void load_fails_whole_whichever_allocation_does(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof artifacts / sizeof *artifacts; i++) {
        size_t nth = 0, before = inject_live();
        while (next_round(&nth)) {
            struct error err = {0};
            inject_expose(true);
            struct model *model = model_load_path(artifacts[i], &err);
            inject_expose(false);
            if (model == NULL) /* a stream without a buffer of its own reads on */
                expect_no_memory(&err);
            model_free(model);
            assert_int_equal(inject_live(), before);
        }
        assert_true(nth > 5);
    }
}

/* A place with an old artifact in it. */
struct place {
    char folder[512], path[600];
};

static void make_place(struct place *place)
{
    process_folder(place->folder, sizeof place->folder);
    (void)snprintf(place->path, sizeof place->path, "%s/model.json", place->folder);
    plane_save(place->path, "old", 1);
}

/* The artifact that is there is whole, of that version, and alone. */
static void expect_only(const struct place *place, const char *version)
{
    struct error err = {0};
    struct model *model = model_load_path(place->path, &err);
    if (model == NULL)
        fail_msg("%s", err.message);
    assert_string_equal(model_version(model), version);
    model_free(model);
    DIR *folder = opendir(place->folder);
    assert_non_null(folder);
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            assert_string_equal(entry->d_name, "model.json");
    (void)closedir(folder);
}

static void save_keeps_the_old_file_whichever_allocation_fails(void **state)
{
    (void)state;
    struct place place;
    struct model *model = plane_model("new", 2);
    size_t nth = 0, before;
    make_place(&place);
    before = inject_live();
    while (next_round(&nth)) {
        struct error err = {0};
        inject_expose(true);
        bool saved = model_save_path(model, place.path, &err);
        inject_expose(false);
        if (!saved)
            expect_no_memory(&err);
        assert_int_equal(inject_live(), before);
        expect_only(&place, saved ? "new" : "old");
    }
    model_free(model);
    process_remove(place.folder);
}

static void save_keeps_the_old_file_when_fsync_or_rename_fails(void **state)
{
    (void)state;
    struct place place;
    struct model *model = plane_model("new", 2);
    make_place(&place);
    static const enum inject_kind kinds[] = {INJECT_FSYNC, INJECT_RENAME};
    for (size_t i = 0; i < 2; i++) {
        struct error err = {0};
        inject_fail(kinds[i], 1);
        inject_expose(true);
        bool saved = model_save_path(model, place.path, &err);
        inject_expose(false);
        assert_false(saved);
        assert_int_equal(err.code, ERR_INTERNAL);
        assert_contains(err.message, "model.json: Input/output error");
        expect_only(&place, "old");
    }
    model_free(model);
    process_remove(place.folder);
}

/* The folder's own fsync comes when the new file is in place already: that is told, and the file is whole. */
static void a_folder_that_cannot_be_synced_is_told(void **state)
{
    (void)state;
    struct place place;
    struct error err = {0};
    struct model *model = plane_model("new", 2);
    make_place(&place);
    inject_fail(INJECT_FSYNC, 2);
    inject_expose(true);
    bool saved = model_save_path(model, place.path, &err);
    inject_expose(false);
    assert_false(saved);
    assert_int_equal(err.code, ERR_INTERNAL);
    expect_only(&place, "new");
    model_free(model);
    process_remove(place.folder);
}

/* Wherever the disk is full. */
static void save_keeps_the_old_file_whichever_byte_cannot_be_written(void **state)
{
    (void)state;
    struct place place;
    struct rlimit unlimited;
    struct model *model = plane_model("new", 2);
    bool saved = false;
    make_place(&place);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &unlimited), 0);
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    for (rlim_t bytes = 0; !saved; bytes += 61) {
        struct error err = {0};
        struct rlimit limit = {bytes, unlimited.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        saved = model_save_path(model, place.path, &err);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &unlimited), 0);
        assert_true(saved || strstr(err.message, "File too large") != NULL);
        expect_only(&place, saved ? "new" : "old");
    }
    (void)signal(SIGXFSZ, handler);
    model_free(model);
    process_remove(place.folder);
}

/* ---- requests ---- */

struct ask {
    enum api_surface surface;
    const char *method, *path, *accept, *body;
    int status; /* of the answer when nothing fails */
};

static const struct ask asks[] = {
    {API_EVERYTHING, "POST", "/v1/models/plane:predict", NULL, "{\"instances\":[[1,2],[3,4]]}",
     200},
    {API_EVERYTHING, "POST", "/v1/models/plane:predict", NULL,
     "{\"instances\":[{\"a\":\"1\",\"b\":true}],\"parameters\":{\"interval\":0.9}}", 200},
    {API_EVERYTHING, "POST", "/v1/models/plane:predict", NULL,
     "{\"inputs\":{\"a\":[1,2],\"b\":[3,4]}}", 400},
    {API_EVERYTHING, "POST", "/v1/models/plane:predict", NULL, "{\"instances\":[[1]]}", 400},
    {API_EVERYTHING, "POST", "/v1/models/plane:predict", NULL, "{", 400},
    {API_EVERYTHING, "POST", "/v1/models/plane:explain", NULL, "{\"instances\":[[1,2],[3,4]]}",
     200},
    {API_EVERYTHING, "POST", "/v1/models/plane:feedback", NULL,
     "{\"instances\":[[1,2]],\"targets\":[9]}", 200},
    {API_EVERYTHING, "POST", "/v1/models/plane:feedback", NULL, "{\"ids\":[\"x\"],\"targets\":[9]}",
     200},
    {API_EVERYTHING, "POST", "/v1/models/none:predict", NULL, "", 404},
    {API_EVERYTHING, "PUT", "/v1/models/plane:predict", NULL, "", 405},
    {API_EVERYTHING, "GET", "/nothing", NULL, "", 404},
    {API_EVERYTHING, "GET", "/v1/models", NULL, "", 200},
    {API_EVERYTHING, "GET", "/v1/models/plane", NULL, "", 200},
    {API_EVERYTHING, "GET", "/ui/model", NULL, "", 200},
    {API_EVERYTHING, "GET", "/metrics", NULL, "", 200},
    {API_OBSERVER, "GET", "/metrics", "application/openmetrics-text; version=1.0.0", "", 200},
    {API_OBSERVER, "GET", "/readyz", NULL, "", 200},
};

static void check_body(const struct response *response)
{
    struct error err = {0};
    struct json_reader r;
    struct span whole, body = response->body;
    if (strcmp(response->content_type, "application/json") == 0) {
        json_reader_init(&r, body.p, body.n);
        if (!json_skip(&r, &whole, &err) || !json_end(&r, &err))
            fail_msg("%s: %.*s", err.message, (int)body.n, body.p);
        return;
    }
    bool open = strstr(response->content_type, "openmetrics") != NULL;
    enum exposition_format format = open ? EXPOSITION_OPENMETRICS : EXPOSITION_TEXT;
    if (!exposition_check(body.p, body.n, format, &err))
        fail_msg("%s in %.*s", err.message, (int)body.n, body.p);
}

/* Asks once in an arena without room, so that everything is an allocation. A text of the answer, if it is
 * the one of a round in which nothing failed; free. */
static char *ask_once(struct plane *plane, const struct ask *ask)
{
    const struct header headers[] = {{{"accept", 6}, {ask->accept, 0}}, {{NULL, 0}, {NULL, 0}}};
    struct header with[2] = {headers[0], headers[1]};
    struct arena *roomy = plane->arena;
    struct request *request;
    char *text = NULL;
    bool is_json, right;
    assert_non_null(plane->arena = arena_new(1, 0));
    assert_non_null(request = arena_alloc(plane->arena, sizeof *request));
    if (ask->accept != NULL)
        with[0].value.n = strlen(ask->accept);
    *request = (struct request){.method = strcmp(ask->method, "GET") == 0    ? HTTP_GET
                                          : strcmp(ask->method, "POST") == 0 ? HTTP_POST
                                                                             : HTTP_PUT,
                                .method_name = {ask->method, strlen(ask->method)},
                                .path = {ask->path, strlen(ask->path)},
                                .headers = with,
                                .header_count = ask->accept != NULL,
                                .body = {ask->body, strlen(ask->body)}};
    inject_expose(true);
    const struct response *response =
        api_handle(plane->api, ask->surface, request, plane->arena, 0);
    inject_expose(false);
    is_json = strcmp(response->content_type, "application/json") == 0;
    right = response->status == ask->status;
    check_body(response);
    if (!right) {
        assert_true(inject_failed(INJECT_ALLOC));
        if (response->status != 503 ||
            memmem(response->body.p, response->body.n, "memory", 6) == NULL)
            fail_msg("%s %s: %d %.*s", ask->method, ask->path, response->status,
                     (int)response->body.n, response->body.p);
    } else if (is_json) {
        assert_non_null(text = strndup(response->body.p, response->body.n));
    }
    arena_free(plane->arena);
    plane->arena = roomy;
    return text;
}

/* Every request with each of its allocations failing. An error whose text found no memory keeps its status
 * and says that; everything else is the answer that it is without failures, or 503. */
static void ask_all(struct plane *plane)
{
    for (size_t i = 0; i < sizeof asks / sizeof *asks; i++) {
        size_t nth = 0;
        inject_fail(INJECT_ALLOC, 0);
        char *expected = ask_once(plane, &asks[i]), *text;
        while (next_round(&nth)) {
            text = ask_once(plane, &asks[i]);
            if (text != NULL && strcmp(text, expected) != 0 &&
                (asks[i].status == 200 || strcmp(text, "{\"error\":\"out of memory\"}") != 0))
                fail_msg("%s %s, allocation %zu: %s", asks[i].method, asks[i].path, nth, text);
            free(text);
        }
        free(expected);
    }
}

static void a_request_is_right_or_503_whichever_allocation_fails(void **state)
{
    (void)state;
    size_t before = 0;
    for (int i = 0; i < 2; i++) { /* the first time libraries take what they keep */
        struct plane plane;
        before = inject_live();
        plane_init(&plane);
        ask_all(&plane);
        plane_clear(&plane);
    }
    assert_int_equal(inject_live(), before);
}

static void a_reload_that_finds_no_memory_serves_the_old_model_on(void **state)
{
    (void)state;
    struct plane plane;
    char path[600];
    size_t nth = 0;
    bool taken = false;
    plane_init(&plane);
    (void)snprintf(path, sizeof path, "%s/model.json", plane.folder);
    plane_save(path, "2", 2);
    while (next_round(&nth)) {
        struct error err = {0};
        bool swapped = false;
        inject_expose(true);
        bool ok = registry_load(plane.registry, &swapped, &err);
        inject_expose(false);
        if (!ok)
            expect_no_memory(&err);
        taken |= ok;
        const char *answer = plane_text(
            &plane, plane_post(&plane, "/v1/models/plane:predict", "{\"instances\":[[0,0]]}"));
        assert_string_equal(answer, taken ? "{\"predictions\":[2.0]}" : "{\"predictions\":[1.0]}");
    }
    plane_clear(&plane);
}

/* ---- the server ---- */

static void echo(void *ctx, struct http_exchange *exchange, const struct request *request)
{
    (void)ctx;
    http_respond(exchange, &(struct response){.status = request->fault != 0 ? request->fault : 200,
                                              .body = request->body});
}

static struct http_server *start_echo(struct error *err)
{
    const struct http_config config = {.host = "127.0.0.1",
                                       .workers = 2,
                                       .limits = http_default_limits(),
                                       .handler = {.request = echo}};
    return http_start(&config, err);
}

static void the_server_starts_or_says_why_whichever_allocation_fails(void **state)
{
    (void)state;
    struct error none = {0};
    size_t nth = 0;
    http_stop(start_echo(&none)); /* what libevent and threads keep */
    size_t before = inject_live();
    while (next_round(&nth)) {
        struct error err = {0};
        inject_expose(true);
        struct http_server *server = start_echo(&err);
        inject_expose(false);
        if (server == NULL)
            expect_no_memory(&err);
        http_stop(server);
        assert_int_equal(inject_live(), before);
    }
    assert_true(nth > 10);
}

static bool is_whole(const struct http_answer *answer)
{
    for (size_t i = 0; i < answer->body_len; i++)
        if (answer->body[i] != 'b')
            return false;
    return true;
}

/* A request in pieces and one in a single read: answered rightly, or 429, or their connection ends. */
static void converse(unsigned port, const char *body, size_t n)
{
    static const char heads[][96] = {
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n493e0\r\n"};
    for (size_t i = 0; i < 2; i++) {
        struct http_client client;
        struct http_answer answer = {0};
        http_client_open(&client, port);
        bool sent = http_client_try_send(&client, heads[i], strlen(heads[i])) &&
                    http_client_try_send(&client, body, n) &&
                    (i == 0 || http_client_try_send(&client, "\r\n0\r\n\r\n", 7));
        if (sent && http_client_read(&client, false, &answer))
            assert_true(answer.status == 429 ||
                        (answer.status == 200 && is_whole(&answer) && answer.body_len == n));
        http_answer_clear(&answer);
        http_client_close(&client);
    }
}

static void wait_for_no_connection(const struct http_server *server)
{
    for (int i = 0; http_stats(server).connections_open > 0; i++) {
        assert_true(i < 20000);
        (void)poll(NULL, 0, 1);
    }
}

static void a_connection_is_answered_or_closed_whichever_allocation_fails(void **state)
{
    (void)state;
    struct error err = {0};
    size_t nth = 0, n = 300000, before = 0;
    char *body = malloc(n);
    assert_non_null(body);
    memset(body, 'b', n);
    while (next_round(&nth)) {
        struct http_server *server = start_echo(&err);
        assert_non_null(server);
        inject_expose_others(true);
        converse(http_port(server), body, n);
        wait_for_no_connection(server);
        inject_expose_others(false);
        converse(http_port(server), body, n); /* the next ones are served as ever */
        http_stop(server);
        if (nth > 1)
            assert_int_equal(inject_live(), before);
        before = inject_live();
    }
    free(body);
}

/* ---- the whole program ---- */

/* inject.so lies beside this program. */
static const char *preload(void)
{
    static char path[4200];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 16);
    assert_true(n > 0);
    path[n] = '\0';
    (void)snprintf(strrchr(path, '/'), 16, "/inject.so");
    return path;
}

/* One start with the nth allocation failing, and a stop; false when there was no nth. */
static bool start_and_stop(const char *folder, size_t nth)
{
    char library[4300], number[64], model[700], program[600];
    (void)snprintf(library, sizeof library, "LD_PRELOAD=%s", preload());
    (void)snprintf(number, sizeof number, "INJECT_ALLOC=%zu", nth);
    (void)snprintf(model, sizeof model, "--model_dir=%s", folder);
    (void)snprintf(program, sizeof program, "%s", process_program("ridged"));
    const char *const argv[] = {"env",
                                library,
                                number,
                                program,
                                model,
                                "--http_port=0",
                                "--workers=1",
                                "--metrics_port=0",
                                "--host=127.0.0.1",
                                "--drain_delay=0",
                                NULL};
    struct process *process = process_start(argv);
    process_expect(process, "\n", 20);
    process_signal(process, SIGTERM);
    int code = process_wait(process, 20);
    const char *text = process->text;
    bool told = strstr(text, "memory") != NULL || strstr(text, "Resource temporarily") != NULL;
    if (code == 0 ? strstr(text, "\"event\":\"ready\"") == NULL : code != 1 || !told)
        fail_msg("allocation %zu: exit code %d\n%s", nth, code, text);
    bool over = strstr(text, "INJECT_ALLOC") != NULL;
    process_free(process);
    return !over;
}

/* From exec on: it comes up, or says that memory is out and exits with 1; told to stop, it does. Most of its
 * allocations are series of metrics, so steps become longer; the parts above have taken each of theirs. */
static void the_program_starts_or_says_why_whichever_allocation_fails(void **state)
{
    (void)state;
    struct place place;
    size_t nth = 1;
    make_place(&place);
    while (start_and_stop(place.folder, nth)) {
        nth += 1 + nth / 32;
        assert_true(nth < NTH_MAX);
    }
    process_remove(place.folder);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(load_fails_whole_whichever_allocation_does),
    cmocka_unit_test(save_keeps_the_old_file_whichever_allocation_fails),
    cmocka_unit_test(save_keeps_the_old_file_when_fsync_or_rename_fails),
    cmocka_unit_test(a_folder_that_cannot_be_synced_is_told),
    cmocka_unit_test(save_keeps_the_old_file_whichever_byte_cannot_be_written),
    cmocka_unit_test(a_request_is_right_or_503_whichever_allocation_fails),
    cmocka_unit_test(a_reload_that_finds_no_memory_serves_the_old_model_on),
    cmocka_unit_test(the_server_starts_or_says_why_whichever_allocation_fails),
    cmocka_unit_test(a_connection_is_answered_or_closed_whichever_allocation_fails),
    cmocka_unit_test(the_program_starts_or_says_why_whichever_allocation_fails),
};

T_MAIN(tests)
