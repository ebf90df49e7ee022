#define _GNU_SOURCE /* pipe2 */
#include "base/json.h"
#include "server/log.h"
#include "tests/support/t.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Everything that was logged, once the log has stopped and the write end is closed. */
static char *read_all(int fd)
{
    size_t n = 0, capacity = 1 << 20;
    char *text = malloc(capacity + 1);
    ssize_t got;
    assert_non_null(text);
    while ((got = read(fd, text + n, capacity - n)) > 0) {
        n += (size_t)got;
        if (n == capacity)
            text = realloc(text, (capacity *= 2) + 1);
        assert_non_null(text);
    }
    text[n] = '\0';
    (void)close(fd);
    return text;
}

static void a_line_is_one_json_object(void **state)
{
    (void)state;
    int ends[2];
    struct error err = {0};
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    struct log *log = log_start(ends[1], LOG_INFO, &err);
    assert_non_null(log);
    log_event(log, LOG_INFO, "tested", LOG_TEXT("text", "a\"b\\c\nd\x01\xc3\xa9"),
              LOG_NUMBER("n", 42), LOG_REAL("x", 0.5));
    log_event(log, LOG_DEBUG, "too_low", LOG_NUMBER("n", 1));
    log_stop(log);
    (void)close(ends[1]);
    char *text = read_all(ends[0]);
    size_t n = strlen(text);
    assert_int_equal(text[n - 1], '\n');
    assert_ptr_equal(strchr(text, '\n'), text + n - 1);
    cJSON *line = json_tree((struct span){text, n}, &err);
    assert_non_null(line);
    assert_string_equal(json_member(line, "level")->valuestring, "info");
    assert_string_equal(json_member(line, "event")->valuestring, "tested");
    assert_true(json_member(line, "n")->valuedouble == 42);
    assert_true(json_member(line, "x")->valuedouble == 0.5);
    assert_int_equal(strlen(json_member(line, "time")->valuestring), 27);
    cJSON_Delete(line);
    free(text);
}

static void a_field_that_does_not_fit_is_left_out_whole(void **state)
{
    (void)state;
    int ends[2];
    struct error err = {0};
    char huge[5000];
    memset(huge, 'x', sizeof huge - 1);
    huge[sizeof huge - 1] = '\0';
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    struct log *log = log_start(ends[1], LOG_INFO, &err);
    log_event(log, LOG_ERROR, "long", LOG_NUMBER("first", 1), LOG_TEXT("huge", huge));
    log_stop(log);
    (void)close(ends[1]);
    char *text = read_all(ends[0]);
    cJSON *line = json_tree((struct span){text, strlen(text)}, &err);
    assert_non_null(line);
    assert_non_null(json_member(line, "first"));
    assert_null(json_member(line, "huge"));
    cJSON_Delete(line);
    free(text);
}

enum { WRITERS = 4, LINES = 200 };

static void *write_many(void *log)
{
    for (int i = 0; i < LINES; i++)
        log_event(log, LOG_INFO, "many", LOG_NUMBER("i", i));
    return NULL;
}

static void lines_of_many_threads_do_not_mix(void **state)
{
    (void)state;
    int ends[2];
    struct error err = {0};
    pthread_t threads[WRITERS];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    (void)fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
    struct log *log = log_start(ends[1], LOG_INFO, &err);
    for (size_t i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_many, log), 0);
    for (size_t i = 0; i < WRITERS; i++)
        (void)pthread_join(threads[i], NULL);
    uint64_t dropped = log_dropped(log);
    log_stop(log);
    (void)close(ends[1]);
    char *text = read_all(ends[0]);
    unsigned lines = 0;
    for (char *line = text, *lf; (lf = strchr(line, '\n')) != NULL; line = lf + 1, lines++) {
        cJSON *object = json_tree((struct span){line, (size_t)(lf - line)}, &err);
        assert_non_null(object);
        cJSON_Delete(object);
    }
    assert_int_equal(lines + dropped, WRITERS * LINES);
    free(text);
}

/* Nobody reads the pipe: callers must not wait, lines are dropped, and the drop is reported when the
 * sink moves again. */
static void a_blocked_sink_drops_lines_and_never_blocks_a_caller(void **state)
{
    (void)state;
    int ends[2];
    struct error err = {0};
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    struct log *log = log_start(ends[1], LOG_INFO, &err);
    for (int i = 0; i < 20000; i++)
        log_event(log, LOG_INFO, "flood", LOG_NUMBER("i", i));
    assert_true(log_dropped(log) > 0);
    char chunk[65536];
    struct pollfd readable = {.fd = ends[0], .events = POLLIN};
    bool reported = false;
    size_t kept = 0;
    static char text[4 << 20];
    while (!reported && poll(&readable, 1, 5000) > 0) {
        ssize_t n = read(ends[0], chunk, sizeof chunk);
        assert_true(n > 0 && kept + (size_t)n < sizeof text);
        memcpy(text + kept, chunk, (size_t)n);
        kept += (size_t)n;
        text[kept] = '\0';
        reported = strstr(text, "log_lines_dropped") != NULL;
    }
    assert_true(reported);
    (void)signal(SIGPIPE,
                 SIG_IGN); /* as the program does: a closed sink is an error, not a signal */
    (void)close(ends[0]);
    log_stop(log);
    (void)close(ends[1]);
}

static void levels_are_words_in_any_case(void **state)
{
    (void)state;
    enum log_level level;
    assert_true(log_level_parse("DEBUG", &level));
    assert_int_equal(level, LOG_DEBUG);
    assert_true(log_level_parse("warning", &level));
    assert_int_equal(level, LOG_WARNING);
    assert_false(log_level_parse("loud", &level));
    log_event(NULL, LOG_ERROR, "nowhere", LOG_NUMBER("n", 1));
    log_stop(NULL);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_line_is_one_json_object),
    cmocka_unit_test(a_field_that_does_not_fit_is_left_out_whole),
    cmocka_unit_test(lines_of_many_threads_do_not_mix),
    cmocka_unit_test(a_blocked_sink_drops_lines_and_never_blocks_a_caller),
    cmocka_unit_test(levels_are_words_in_any_case),
};

T_MAIN(tests)
