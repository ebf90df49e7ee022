/* What a reader returns: all that is durable, nothing else, across rotated and damaged files. */
#include "server/predictor/journal_reader.h"

#include "tests/support/journal_rows.h"
#include "tests/support/process.h"
#include "tests/support/t.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MAX = 2000 };

static struct span text(const char *s)
{
    return (struct span){s, strlen(s)};
}

static void assert_rows(struct journal *journal, uint64_t first, uint64_t count)
{
    static uint64_t numbers[MAX];
    assert_int_equal(journal_rows_read(journal, numbers, MAX, NULL), count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(numbers[i], first + i);
}

static size_t file_count(struct journal *journal)
{
    static struct journal_file files[JOURNAL_FILES_MAX];
    return journal_durable(journal, files);
}

static void rows_are_read_in_order_across_files_and_restarts(void **state)
{
    (void)state;
    char folder[256];
    process_folder(folder, sizeof folder);
    struct journal_config config = journal_rows_config(folder);
    config.file_bytes = 1000;
    struct journal *journal = journal_rows_start(&config);
    assert_rows(journal, 0, 0);
    journal_rows_fill(journal, 0, 100);
    assert_true(file_count(journal) > 5);
    assert_rows(journal, 0, 100);
    journal_stop(journal);
    journal = journal_rows_start(&config);
    assert_rows(journal, 0, 100);
    journal_rows_fill(journal, 100, 50);
    assert_rows(journal, 0, 150);
    journal_stop(journal);
    process_remove(folder);
}

static void since_goes_on_behind_the_first_row_with_that_id(void **state)
{
    (void)state;
    char folder[256];
    struct error err = {0};
    struct span line;
    process_folder(folder, sizeof folder);
    struct journal_config config = journal_rows_config(folder);
    config.file_bytes = 1000;
    struct journal *journal = journal_rows_start(&config);
    journal_rows_fill(journal, 0, 60);
    journal_rows_fill(journal, 41, 1); /* once more, last */
    static const struct {
        const char *id;
        uint64_t first;
        size_t count;
    } cases[] = {{"0/0", 1, 60}, {"41/0", 42, 19}, {"58/0", 59, 2}, {"59/0", 41, 1}};
    for (size_t c = 0; c < 4; c++) {
        size_t n = 0;
        struct journal_reader *reader = journal_reader_new(journal, &err);
        assert_non_null(reader);
        assert_true(journal_reader_since(reader, text(cases[c].id), &err));
        while (journal_reader_next(reader, &line, &err) && line.n > 0)
            if (n++ == 0)
                assert_int_equal(made_row_number(line), cases[c].first);
        assert_int_equal(n, cases[c].count);
        assert_true(journal_reader_next(reader, &line, &err) && line.n == 0);
        journal_reader_free(reader);
    }
    struct journal_reader *reader = journal_reader_new(journal, &err);
    assert_false(journal_reader_since(reader, text("0"), &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_contains(err.message, "no row with the id \"0\"");
    journal_reader_free(reader);
    journal_reader_free(NULL);
    journal_stop(journal);
    process_remove(folder);
}

static void damage_is_passed_over_and_counted(void **state)
{
    (void)state;
    char folder[256], path[512];
    static uint64_t numbers[MAX];
    struct journal_reader_report report;
    process_folder(folder, sizeof folder);
    struct journal_config config = journal_rows_config(folder);
    config.file_bytes = 1000;
    struct journal *journal = journal_rows_start(&config);
    journal_rows_fill(journal, 0, 40);
    struct span header = journal_header_line(journal);
    /* a byte of the second file's first row, and the end of the third */
    (void)snprintf(path, sizeof path, "%s/pod.00000002.csv", folder);
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, "?", 1, (off_t)header.n + 4), 1);
    (void)close(fd);
    (void)snprintf(path, sizeof path, "%s/pod.00000003.csv", folder);
    fd = open(path, O_WRONLY);
    assert_int_equal(ftruncate(fd, lseek(fd, 0, SEEK_END) - 5), 0);
    (void)close(fd);
    assert_int_equal(journal_rows_read(journal, numbers, MAX, &report), 38);
    assert_int_equal(report.rows, 38);
    assert_int_equal(report.damaged, 2);
    journal_stop(journal);
    process_remove(folder);
}

static void files_of_another_schema_are_kept_and_passed_over(void **state)
{
    (void)state;
    char folder[256];
    static uint64_t numbers[MAX];
    struct journal_reader_report report;
    process_folder(folder, sizeof folder);
    struct journal_config config = journal_rows_config(folder), other = config;
    static const char *const names[] = {"rooms", "age", "bedrooms"};
    other.schema.features = names;
    struct journal *journal = journal_rows_start(&config);
    journal_rows_fill(journal, 0, 5);
    journal_stop(journal);
    journal = journal_rows_start(&other);
    assert_int_equal(file_count(journal), 2);
    journal_rows_fill(journal, 5, 3);
    assert_int_equal(journal_rows_read(journal, numbers, MAX, &report), 3);
    assert_int_equal(report.foreign, 1);
    journal_stop(journal);
    journal = journal_rows_start(&config); /* and back: neither is written to */
    journal_rows_fill(journal, 8, 1);
    assert_int_equal(journal_rows_read(journal, numbers, MAX, &report), 6);
    assert_int_equal(numbers[5], 8);
    assert_int_equal(file_count(journal), 3);
    journal_stop(journal);
    process_remove(folder);
}

static int refused_syncs;

static int sometimes_sync(int fd)
{
    (void)fd;
    errno = EIO;
    return refused_syncs-- > 0 ? -1 : 0;
}

/* The row is in the file, but not known to be on the disk, and was answered with an error. */
static void rows_whose_fsync_failed_are_not_read(void **state)
{
    (void)state;
    char folder[256];
    process_folder(folder, sizeof folder);
    struct journal_config config = journal_rows_config(folder);
    config.io.sync = sometimes_sync;
    struct journal *journal = journal_rows_start(&config);
    journal_rows_fill(journal, 0, 3);
    refused_syncs = 1;
    assert_false(journal_rows_append(journal, 1000));
    assert_rows(journal, 0, 3);
    journal_rows_fill(journal, 3, 2);
    assert_rows(journal, 0, 5);
    journal_stop(journal);
    process_remove(folder);
}

static void a_file_removed_while_it_is_read_is_an_error(void **state)
{
    (void)state;
    char folder[256];
    struct error err = {0};
    struct span line = {NULL, 0};
    process_folder(folder, sizeof folder);
    struct journal_config config = journal_rows_config(folder);
    config.file_bytes = 1000;
    config.total_bytes = 3000;
    struct journal *journal = journal_rows_start(&config);
    journal_rows_fill(journal, 0, 20);
    struct journal_reader *reader = journal_reader_new(journal, &err);
    assert_true(journal_reader_next(reader, &line, &err) && line.n > 0);
    journal_rows_fill(journal, 20, 100);
    bool ok;
    while ((ok = journal_reader_next(reader, &line, &err)) && line.n > 0)
        ;
    assert_false(ok);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    journal_reader_free(reader);
    journal_stop(journal);
    process_remove(folder);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(rows_are_read_in_order_across_files_and_restarts),
    cmocka_unit_test(since_goes_on_behind_the_first_row_with_that_id),
    cmocka_unit_test(damage_is_passed_over_and_counted),
    cmocka_unit_test(files_of_another_schema_are_kept_and_passed_over),
    cmocka_unit_test(rows_whose_fsync_failed_are_not_read),
    cmocka_unit_test(a_file_removed_while_it_is_read_is_an_error),
};

T_MAIN(tests)
