#include "server/relay/journal.h"

#include "tests/support/process.h"
#include "tests/support/t.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINES_MAX = 64 };

static char folder[512], path[600];
static char lines[LINES_MAX][64];
static size_t line_count;

static int set_up(void **state)
{
    (void)state;
    process_folder(folder, sizeof folder);
    (void)snprintf(path, sizeof path, "%s/journal", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    process_remove(folder);
    return 0;
}

static bool take(void *ctx, struct span text, struct error *err)
{
    (void)ctx;
    if (text.n == 3 && memcmp(text.p, "bad", 3) == 0)
        return error_set(err, ERR_INVALID, "not this one");
    assert_true(line_count < LINES_MAX);
    (void)snprintf(lines[line_count++], sizeof *lines, "%.*s", (int)text.n, text.p);
    return true;
}

static struct relay_journal *open_with(size_t *cut, struct error *err)
{
    static const struct relay_journal_reader reader = {take, NULL};
    line_count = 0;
    return relay_journal_open(path, &reader, NULL, cut, err);
}

static struct relay_journal *open_journal(size_t *cut)
{
    struct error err = {0};
    struct relay_journal *journal = open_with(cut, &err);
    if (journal == NULL)
        fail_msg("%s", err.message);
    return journal;
}

static void append(struct relay_journal *journal, const char *text)
{
    struct error err = {0};
    if (!relay_journal_append(journal, (struct span){text, strlen(text)}, &err))
        fail_msg("%s", err.message);
}

static void put(const char *bytes, size_t n)
{
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, n, out), n);
    assert_int_equal(fclose(out), 0);
}

static size_t get(char *bytes, size_t room)
{
    FILE *in = fopen(path, "rb");
    assert_non_null(in);
    size_t n = fread(bytes, 1, room, in);
    (void)fclose(in);
    return n;
}

static void lines_come_back_in_order(void **state)
{
    (void)state;
    size_t cut;
    char bytes[256];
    struct relay_journal *journal = open_journal(&cut);
    append(journal, "first");
    append(journal, "");
    append(journal, "third");
    assert_int_equal(relay_journal_bytes(journal), get(bytes, sizeof bytes));
    relay_journal_close(journal);
    assert_memory_equal(bytes, "9271ee57 first\n00000000 \n", 25); /* the format, for good */
    journal = open_journal(&cut);
    assert_int_equal(cut, 0);
    assert_int_equal(line_count, 3);
    assert_string_equal(lines[0], "first");
    assert_string_equal(lines[1], "");
    assert_string_equal(lines[2], "third");
    relay_journal_close(journal);
}

static void a_torn_tail_of_any_length_is_cut_off(void **state)
{
    (void)state;
    size_t cut;
    char bytes[256];
    struct relay_journal *journal = open_journal(&cut);
    append(journal, "whole");
    size_t whole = (size_t)relay_journal_bytes(journal);
    append(journal, "torn");
    size_t n = get(bytes, sizeof bytes);
    relay_journal_close(journal);
    for (size_t length = whole; length < n; length++) {
        put(bytes, length);
        journal = open_journal(&cut);
        assert_int_equal(line_count, 1);
        assert_int_equal(cut, length - whole);
        append(journal, "after");
        relay_journal_close(journal);
        journal = open_journal(&cut);
        assert_int_equal(line_count, 2);
        assert_string_equal(lines[1], "after");
        relay_journal_close(journal);
    }
}

static void a_damaged_last_line_is_cut_off_and_an_earlier_one_refused(void **state)
{
    (void)state;
    size_t cut;
    char bytes[256];
    struct error err = {0};
    struct relay_journal *journal = open_journal(&cut);
    append(journal, "one");
    append(journal, "two");
    size_t n = get(bytes, sizeof bytes);
    relay_journal_close(journal);
    for (size_t i = 0; i < n; i++) {
        char was = bytes[i];
        bytes[i] ^= 1;
        put(bytes, n);
        bytes[i] = was;
        journal = open_with(&cut, &err);
        if (i == n / 2 - 1) /* two lines become one, at the end */
            assert_int_equal(line_count, 0);
        else if (i < n / 2) {
            assert_null(journal);
            assert_contains(err.message, "line 1: expected its checksum");
        } else {
            assert_non_null(journal);
            assert_int_equal(line_count, 1);
        }
        relay_journal_close(journal);
    }
}

static void a_line_that_its_reader_refuses_is_named(void **state)
{
    (void)state;
    size_t cut;
    struct error err = {0};
    struct relay_journal *journal = open_journal(&cut);
    append(journal, "good");
    append(journal, "bad");
    relay_journal_close(journal);
    assert_null(open_with(&cut, &err));
    assert_contains(err.message, "line 2: not this one");
}

static void only_one_process_has_it(void **state)
{
    (void)state;
    size_t cut;
    struct error err = {0};
    struct relay_journal *journal = open_journal(&cut);
    assert_null(open_with(&cut, &err));
    assert_int_equal(err.code, ERR_OVERLOADED);
    relay_journal_close(journal);
    relay_journal_close(open_journal(&cut));
}

static void rewriting_replaces_the_lines_and_goes_on(void **state)
{
    (void)state;
    size_t cut;
    struct error err = {0};
    struct relay_journal *journal = open_journal(&cut);
    for (size_t i = 0; i < 20; i++)
        append(journal, "old");
    const struct span kept[] = {{"a", 1}, {"bc", 2}};
    assert_true(relay_journal_rewrite(journal, kept, 2, &err));
    assert_int_equal(relay_journal_bytes(journal), 23);
    append(journal, "new");
    relay_journal_close(journal);
    relay_journal_close(open_journal(&cut));
    assert_int_equal(line_count, 3);
    assert_string_equal(lines[1], "bc");
    assert_string_equal(lines[2], "new");
}

static void a_failed_rewrite_keeps_the_old_lines(void **state)
{
    (void)state;
    size_t cut;
    struct error err = {0};
    static char large[RELAY_JOURNAL_LINE_MAX];
    struct relay_journal *journal = open_journal(&cut);
    append(journal, "old");
    memset(large, 'x', sizeof large);
    const struct span bad = {large, sizeof large};
    assert_false(relay_journal_append(journal, bad, &err));
    assert_int_equal(err.code, ERR_TOO_LARGE);
    assert_false(relay_journal_rewrite(journal, &bad, 1, &err));
    append(journal, "more");
    relay_journal_close(journal);
    relay_journal_close(open_journal(&cut));
    assert_int_equal(line_count, 2);
}

static void a_full_disk_leaves_no_half_line(void **state)
{
    (void)state;
    size_t cut;
    struct error err = {0};
    struct rlimit before, small = {0, 0};
    struct relay_journal *journal = open_journal(&cut);
    append(journal, "one");
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    (void)signal(SIGXFSZ, SIG_IGN);
    small.rlim_max = before.rlim_max;
    small.rlim_cur = relay_journal_bytes(journal) + 5;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    bool written = relay_journal_append(journal, (struct span){"two", 3}, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_false(written);
    append(journal, "three");
    relay_journal_close(journal);
    relay_journal_close(open_journal(&cut));
    assert_int_equal(cut, 0);
    assert_int_equal(line_count, 2);
    assert_string_equal(lines[1], "three");
}

static void what_cannot_be_opened_is_named(void **state)
{
    (void)state;
    size_t cut;
    struct error err = {0};
    static const struct relay_journal_reader reader = {take, NULL};
    static char longest[5000];
    assert_null(relay_journal_open("/nonexistent/journal", &reader, NULL, &cut, &err));
    assert_contains(err.message, "/nonexistent/journal");
    assert_int_equal(mkdir(path, 0700), 0);
    assert_null(relay_journal_open(path, &reader, NULL, &cut, &err));
    assert_int_equal(rmdir(path), 0);
    memset(longest, 'x', sizeof longest - 1);
    assert_null(relay_journal_open(longest, &reader, NULL, &cut, &err));
    assert_int_equal(err.code, ERR_INVALID);
    put("x", 1);
    assert_int_equal(truncate(path, RELAY_JOURNAL_BYTES_MAX + 1L), 0);
    assert_null(relay_journal_open(path, &reader, NULL, &cut, &err));
    assert_int_equal(err.code, ERR_TOO_LARGE);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
static const struct CMUnitTest tests[] = {
    CASE(lines_come_back_in_order),
    CASE(a_torn_tail_of_any_length_is_cut_off),
    CASE(a_damaged_last_line_is_cut_off_and_an_earlier_one_refused),
    CASE(a_line_that_its_reader_refuses_is_named),
    CASE(only_one_process_has_it),
    CASE(rewriting_replaces_the_lines_and_goes_on),
    CASE(a_failed_rewrite_keeps_the_old_lines),
    CASE(a_full_disk_leaves_no_half_line),
    CASE(what_cannot_be_opened_is_named),
};

T_MAIN(tests)
