/* True values and the real program: what it has acknowledged survives being killed, a full disk is told
 * and outlived, the token is rotated under it, and a drain waits for the disk. */
#define _GNU_SOURCE /* prlimit, poll with no descriptors */
#include "tests/support/exposition_check.h"
#include "tests/support/http_client.h"
#include "tests/support/plane.h"
#include "tests/support/process.h"
#include "tests/support/t.h"

#include <glob.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CLIENTS = 4, EXTRA = 6 };

#define LABELS "model_name=\"plane\",version=\"1\",user_id=\"\",namespace=\"\""

static const char feedback_path[] = "/v1/models/plane:feedback";

struct running {
    struct process *process;
    unsigned http, metrics;
    char folder[512], path[700], model[700];
};

static void begin(struct running *r)
{
    *r = (struct running){0};
    process_folder(r->folder, sizeof r->folder);
    (void)snprintf(r->model, sizeof r->model, "%s/model.json", r->folder);
    plane_save(r->model, "1", 1);
}

/* In a folder of its own, which is kept from one start to the next; extra may be NULL. */
static void start(struct running *r, const char *const *extra)
{
    const char *argv[12 + EXTRA] = {
        process_program("ridged"), "--model_dir",       r->model,
        "--http_port=0",           "--metrics_port=0",  "--host=127.0.0.1",
        "--drain_delay=0",         "--workers=2",       "--quality_min_samples=1",
        "--feedback_name=pod",     "--watch_interval=0"};
    size_t n = 11;
    char folder[600];
    (void)snprintf(folder, sizeof folder, "--feedback_dir=%s", r->folder);
    argv[n++] = folder;
    for (size_t i = 0; extra != NULL && extra[i] != NULL && i < EXTRA - 1; i++)
        argv[n++] = extra[i];
    r->process = process_start(argv);
    process_expect(r->process, "\"event\":\"ready\"", 20);
    const char *ready = strstr(r->process->text, "\"event\":\"ready\"");
    r->http = process_number(ready, "http_port");
    r->metrics = process_number(ready, "metrics_port");
}

static void stop(struct running *r)
{
    process_signal(r->process, SIGTERM);
    assert_int_equal(process_wait(r->process, 30), 0);
    process_free(r->process);
}

static double metric(const struct running *r, const char *series)
{
    double value = -1;
    struct error err = {0};
    struct http_answer answer;
    http_client_request(r->metrics, "GET", "/metrics", NULL, NULL, 0, &answer);
    if (!exposition_check(answer.body, answer.body_len, EXPOSITION_TEXT, &err))
        fail_msg("%s", err.message);
    bool found = exposition_value(answer.body, answer.body_len, series, &value);
    http_answer_clear(&answer);
    return found ? value : NAN;
}

/* Status of POST :feedback of one true value for [0,0]. */
static int tell(unsigned port, const char *headers, double target)
{
    char body[128];
    struct http_answer answer;
    (void)snprintf(body, sizeof body, "{\"instances\":[[0,0]],\"targets\":[%.17g]}", target);
    http_client_request(port, "POST", feedback_path, headers, body, strlen(body), &answer);
    int status = answer.status;
    http_answer_clear(&answer);
    return status;
}

static void read_journal(const struct running *r, const char *headers, struct http_answer *answer)
{
    http_client_request(r->http, "GET", feedback_path, headers, NULL, 0, answer);
    assert_int_equal(answer->status, 200);
}

static size_t lines_of(const char *text)
{
    size_t lines = 0;
    for (; (text = strchr(text, '\n')) != NULL; text++)
        lines++;
    return lines;
}

static size_t rows_in_journal(const struct running *r)
{
    struct http_answer answer;
    read_journal(r, NULL, &answer);
    size_t rows = lines_of(answer.body) - 1;
    http_answer_clear(&answer);
    return rows;
}

/* ---- two at once ---- */

/* As a rollout does: the new one has to be ready before the old one is stopped. */
static void a_second_process_takes_the_journal_over_when_the_first_ends(void **state)
{
    (void)state;
    static const char body[] = "{\"instances\":[[0,0]]}";
    struct running old, new;
    struct http_answer answer;
    begin(&old);
    start(&old, NULL);
    new = old;
    assert_int_equal(tell(old.http, NULL, 5), 200);
    start(&new, NULL);
    process_expect(new.process, "\"event\":\"journal_awaited\"", 1);
    http_client_request(new.http, "POST", "/v1/models/plane:predict", NULL, body, sizeof body - 1,
                        &answer);
    assert_int_equal(answer.status, 200);
    http_answer_clear(&answer);
    assert_int_equal(tell(new.http, NULL, 6), 503);
    http_client_request(new.http, "GET", feedback_path, NULL, NULL, 0, &answer);
    assert_int_equal(answer.status, 503);
    assert_contains(answer.body, "another process has the journal");
    http_answer_clear(&answer);
    assert_true(metric(&new, "feedback_journal_failed") == 1);
    assert_int_equal(tell(old.http, NULL, 7), 200);
    stop(&old);
    process_expect(new.process, "\"event\":\"journal_replayed\"", 20);
    while (tell(new.http, NULL, 8) == 503)
        (void)poll(NULL, 0, 10);
    assert_int_equal(rows_in_journal(&new), 3);
    assert_true(metric(&new, "model_window_rows{" LABELS "}") == 3);
    assert_true(metric(&new, "feedback_journal_failed") == 0);
    stop(&new);
    process_remove(new.folder);
}

/* ---- durability ---- */

/* One who tells true values on one connection until it breaks. */
struct teller {
    pthread_t thread;
    unsigned port, number, acknowledged, refused;
    atomic_bool *done; /* NULL: until the connection breaks */
};

static void *tell_on(void *arg)
{
    struct teller *t = arg;
    struct http_client connection;
    char request[512], body[128];
    http_client_open(&connection, t->port);
    for (unsigned i = 0; t->done == NULL || !atomic_load(t->done); i++) {
        struct http_answer answer;
        int n = snprintf(body, sizeof body, "{\"instances\":[[0,0]],\"targets\":[%u]}", i % 7);
        (void)snprintf(request, sizeof request,
                       "POST %s HTTP/1.1\r\nHost: t\r\nx-request-id: t%u-%u\r\n"
                       "Content-Length: %d\r\n\r\n%s",
                       feedback_path, t->number, i, n, body);
        if (!http_client_try_send(&connection, request, strlen(request)) ||
            !http_client_read(&connection, false, &answer))
            break;
        if (answer.status == 200)
            t->acknowledged++;
        else
            t->refused++;
        http_answer_clear(&answer);
    }
    http_client_close(&connection);
    return NULL;
}

static void start_tellers(struct teller tellers[CLIENTS], unsigned port, atomic_bool *done)
{
    for (unsigned i = 0; i < CLIENTS; i++) {
        tellers[i] = (struct teller){.port = port, .number = i, .done = done};
        assert_int_equal(pthread_create(&tellers[i].thread, NULL, tell_on, &tellers[i]), 0);
    }
}

/* Every acknowledged row of every teller; ids are consecutive, so the last one is looked for as well. */
static void assert_complete(const char *journal, const struct teller tellers[CLIENTS])
{
    char id[64];
    for (unsigned i = 0; i < CLIENTS; i++)
        for (unsigned k = 0; k < tellers[i].acknowledged; k++) {
            (void)snprintf(id, sizeof id, ",t%u-%u,1,0.0,0.0,1.0,%u.0,", i, k, k % 7);
            if (strstr(journal, id) == NULL)
                fail_msg("acknowledged, but not in the journal: %s", id);
        }
}

static void tear_the_end(const struct running *r)
{
    char pattern[700];
    glob_t found;
    (void)snprintf(pattern, sizeof pattern, "%s/pod.*.csv", r->folder);
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    FILE *last = fopen(found.gl_pathv[found.gl_pathc - 1], "a");
    globfree(&found);
    assert_non_null(last);
    (void)fputs("1795626000.000000000,torn,1,0.0", last);
    (void)fclose(last);
}

static void nothing_acknowledged_is_lost_when_the_program_is_killed(void **state)
{
    (void)state;
    struct running r;
    struct teller tellers[CLIENTS];
    struct http_answer answer;
    unsigned acknowledged = 0;
    begin(&r);
    start(&r, NULL);
    start_tellers(tellers, r.http, NULL);
    while (!(metric(&r, "feedback_journal_rows_total") >= 100))
        (void)poll(NULL, 0, 5);
    process_signal(r.process, SIGKILL);
    for (unsigned i = 0; i < CLIENTS; i++) {
        assert_int_equal(pthread_join(tellers[i].thread, NULL), 0);
        assert_int_equal(tellers[i].refused, 0);
        acknowledged += tellers[i].acknowledged;
    }
    assert_true(acknowledged >= 100 - CLIENTS);
    assert_int_equal(process_wait(r.process, 20), 128 + SIGKILL);
    process_free(r.process);
    tear_the_end(&r);

    start(&r, NULL);
    read_journal(&r, NULL, &answer);
    assert_complete(answer.body, tellers);
    assert_null(strstr(answer.body, "torn"));
    size_t rows = lines_of(answer.body) - 1;
    assert_in_range(rows, acknowledged, acknowledged + CLIENTS);
    http_answer_clear(&answer);
    assert_true(metric(&r, "model_window_rows{" LABELS "}") == (double)rows);
    /* After the repair the file is written on. */
    assert_int_equal(tell(r.http, NULL, 3), 200);
    assert_int_equal(rows_in_journal(&r), rows + 1);
    stop(&r);
    process_remove(r.folder);
}

static void the_window_is_the_same_after_a_restart(void **state)
{
    (void)state;
    struct running r;
    static const char *const series[] = {"model_mae_score{" LABELS "}",
                                         "model_r2_score{" LABELS "}",
                                         "model_rmse_score{" LABELS "}",
                                         "model_bias_score{" LABELS "}",
                                         "model_window_rows{" LABELS "}",
                                         "model_window_squared_errors{" LABELS "}",
                                         "model_window_deviations{" LABELS "}",
                                         "model_interval_window_rows{" LABELS "}",
                                         "model_quality_live{" LABELS "}",
                                         "model_interval_coverage_ratio{" LABELS ",level=\"0.9\"}",
                                         "model_quality_last_feedback_timestamp_seconds{" LABELS
                                         "}"};
    enum { SERIES = sizeof series / sizeof *series };
    double before[SERIES];
    begin(&r);
    start(&r, NULL);
    for (int i = 0; i < 20; i++)
        assert_int_equal(tell(r.http, NULL, sin(i) * 5), 200);
    for (size_t i = 0; i < SERIES; i++)
        before[i] = metric(&r, series[i]);
    assert_true(before[0] > 0);
    process_signal(r.process, SIGKILL);
    assert_int_equal(process_wait(r.process, 20), 128 + SIGKILL);
    process_free(r.process);
    start(&r, NULL);
    for (size_t i = 0; i < SERIES; i++)
        assert_close(metric(&r, series[i]), before[i], 0);
    stop(&r);
    process_remove(r.folder);
}

/* ---- the token ---- */

static void write_token(const char *path, const char *token)
{
    char next[720];
    (void)snprintf(next, sizeof next, "%s.next", path);
    FILE *out = fopen(next, "w");
    assert_non_null(out);
    (void)fprintf(out, "%s\n", token);
    (void)fclose(out);
    assert_int_equal(rename(next, path), 0);
}

static void the_token_is_required_and_rotated_by_a_hangup(void **state)
{
    (void)state;
    struct running r;
    struct http_answer answer;
    char option[800], path[700];
    begin(&r);
    (void)snprintf(path, sizeof path, "%s/token", r.folder);
    (void)snprintf(option, sizeof option, "--feedback_token_file=%s", path);
    const char *const extra[] = {option, NULL};
    write_token(path, "old-secret");
    start(&r, extra);
    assert_int_equal(tell(r.http, NULL, 1), 401);
    http_client_request(r.http, "GET", feedback_path, NULL, NULL, 0, &answer);
    assert_int_equal(answer.status, 401);
    assert_string_equal(http_answer_header(&answer, "WWW-Authenticate"), "Bearer");
    http_answer_clear(&answer);
    assert_int_equal(tell(r.http, "Authorization: Bearer old-secret\r\n", 1), 200);
    write_token(path, "new-secret");
    process_signal(r.process, SIGHUP);
    for (int i = 0; i < 1000; i++) {
        if (tell(r.http, "Authorization: Bearer new-secret\r\n", 1) == 200)
            break;
        (void)poll(NULL, 0, 10);
    }
    assert_int_equal(tell(r.http, "Authorization: Bearer old-secret\r\n", 1), 401);
    read_journal(&r, "Authorization: Bearer new-secret\r\n", &answer);
    assert_int_equal(lines_of(answer.body), 1 + 2);
    http_answer_clear(&answer);
    /* One that cannot be read is told of, and the one before counts. */
    assert_int_equal(unlink(path), 0);
    process_signal(r.process, SIGHUP);
    process_expect(r.process, "\"event\":\"token_refresh_failed\"", 20);
    assert_int_equal(tell(r.http, "Authorization: Bearer new-secret\r\n", 1), 200);
    assert_null(strstr(r.process->text, "secret\""));
    stop(&r);
    process_remove(r.folder);
}

static void a_token_file_that_is_not_there_ends_the_start(void **state)
{
    (void)state;
    char output[4096];
    const char *const argv[] = {process_program("ridged"),
                                "--model_dir=/nowhere",
                                "--http_port=0",
                                "--metrics_port=0",
                                "--feedback_token_file=/nowhere/token",
                                NULL};
    assert_int_equal(process_run(argv, output, sizeof output), 1);
    assert_contains(output, "/nowhere/token");
}

/* ---- a disk that refuses ---- */

static void set_file_limit(const struct running *r, rlim_t bytes)
{
    struct rlimit limit = {bytes, RLIM_INFINITY};
    assert_int_equal(prlimit(r->process->pid, RLIMIT_FSIZE, &limit, NULL), 0);
}

static void a_full_disk_is_503_until_there_is_room_again(void **state)
{
    (void)state;
    struct running r;
    int status = 503;
    begin(&r);
    start(&r, NULL);
    assert_int_equal(tell(r.http, NULL, 1), 200);
    set_file_limit(&r, 100);
    for (int i = 0; i < 3; i++)
        assert_int_equal(tell(r.http, NULL, 2), 503);
    assert_true(metric(&r, "feedback_journal_failed") == 1);
    assert_true(metric(&r, "model_window_rows{" LABELS "}") == 1);
    process_expect(r.process, "\"event\":\"journal_failed\"", 20);
    set_file_limit(&r, RLIM_INFINITY);
    for (int i = 0; i < 1000 && status == 503; i++) {
        status = tell(r.http, NULL, 3);
        if (status == 503)
            (void)poll(NULL, 0, 20);
    }
    assert_int_equal(status, 200);
    assert_true(metric(&r, "feedback_journal_failed") == 0);
    assert_int_equal(rows_in_journal(&r), 2);
    stop(&r);
    start(&r, NULL);
    assert_true(metric(&r, "model_window_rows{" LABELS "}") == 2);
    stop(&r);
    process_remove(r.folder);
}

/* ---- without waiting ---- */

static void what_is_not_awaited_is_on_disk_when_the_program_ends(void **state)
{
    (void)state;
    struct running r;
    const char *const extra[] = {"--feedback_durable=false", NULL};
    begin(&r);
    start(&r, extra);
    for (int i = 0; i < 50; i++)
        assert_int_equal(tell(r.http, NULL, i), 200);
    assert_true(metric(&r, "model_window_rows{" LABELS "}") == 50);
    stop(&r);
    start(&r, extra);
    assert_int_equal(rows_in_journal(&r), 50);
    stop(&r);
    process_remove(r.folder);
}

/* ---- all at once ---- */

/* Four tell, one reads the journal, one scrapes, and the model is replaced: what is read is a beginning of
 * what is there, and in the end nothing is missing. */
static void telling_reading_scraping_and_swapping_go_on_at_once(void **state)
{
    (void)state;
    struct running r;
    struct teller tellers[CLIENTS];
    atomic_bool done = false;
    size_t rows = 0, acknowledged = 0;
    char version[16];
    begin(&r);
    const char *const extra[] = {"--feedback_file_bytes=4096", NULL};
    start(&r, extra);
    start_tellers(tellers, r.http, &done);
    for (int i = 2; i < 12; i++) {
        size_t read = rows_in_journal(&r);
        assert_true(read >= rows);
        rows = read;
        (void)metric(&r, "model_quality_live{" LABELS "}");
        (void)snprintf(version, sizeof version, "%d", i);
        plane_save(r.model, version, i);
        process_signal(r.process, SIGHUP);
        (void)snprintf(version, sizeof version, "\"version\":\"%d\"", i);
        process_expect(r.process, version, 20);
    }
    atomic_store(&done, true);
    for (unsigned i = 0; i < CLIENTS; i++) {
        assert_int_equal(pthread_join(tellers[i].thread, NULL), 0);
        assert_int_equal(tellers[i].refused, 0);
        acknowledged += tellers[i].acknowledged;
    }
    assert_int_equal(rows_in_journal(&r), acknowledged);
    stop(&r);
    process_remove(r.folder);
}

/* The last true values come while the program is told to end: each is answered, and what is answered 200 is
 * there. */
static void a_drain_waits_for_true_values_on_their_way_to_disk(void **state)
{
    (void)state;
    struct running r;
    struct teller tellers[CLIENTS];
    struct http_answer answer;
    begin(&r);
    start(&r, NULL);
    start_tellers(tellers, r.http, NULL);
    while (!(metric(&r, "feedback_journal_rows_total") >= 50))
        (void)poll(NULL, 0, 5);
    stop(&r);
    size_t acknowledged = 0;
    for (unsigned i = 0; i < CLIENTS; i++) {
        assert_int_equal(pthread_join(tellers[i].thread, NULL), 0);
        assert_int_equal(tellers[i].refused, 0);
        acknowledged += tellers[i].acknowledged;
    }
    start(&r, NULL);
    read_journal(&r, NULL, &answer);
    assert_complete(answer.body, tellers);
    assert_int_equal(lines_of(answer.body) - 1, acknowledged);
    http_answer_clear(&answer);
    stop(&r);
    process_remove(r.folder);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_second_process_takes_the_journal_over_when_the_first_ends),
    cmocka_unit_test(nothing_acknowledged_is_lost_when_the_program_is_killed),
    cmocka_unit_test(the_window_is_the_same_after_a_restart),
    cmocka_unit_test(the_token_is_required_and_rotated_by_a_hangup),
    cmocka_unit_test(a_token_file_that_is_not_there_ends_the_start),
    cmocka_unit_test(a_full_disk_is_503_until_there_is_room_again),
    cmocka_unit_test(what_is_not_awaited_is_on_disk_when_the_program_ends),
    cmocka_unit_test(telling_reading_scraping_and_swapping_go_on_at_once),
    cmocka_unit_test(a_drain_waits_for_true_values_on_their_way_to_disk),
};

T_MAIN(tests)
