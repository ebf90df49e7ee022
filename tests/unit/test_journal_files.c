/* Files of the journal: what is listed, made, taken up again after every possible tear, and read. */
#include "server/predictor/journal_files.h"

#include "tests/support/journal_rows.h"
#include "tests/support/process.h"
#include "tests/support/t.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct scene {
    char folder[256];
    struct journal_place place;
};

static int no_sync(int fd)
{
    (void)fd;
    return 0;
}

static const char header[] = "time,id,model_version,a,b,c,prediction,y,crc32\n";

static void begin(struct scene *scene)
{
    process_folder(scene->folder, sizeof scene->folder);
    scene->place = (struct journal_place){
        .folder = open(scene->folder, O_RDONLY | O_DIRECTORY),
        .name = "pod",
        .header = {header, sizeof header - 1},
        .feature_count = JOURNAL_ROWS_FEATURES,
        .io = {write, no_sync},
    };
    assert_true(scene->place.folder >= 0);
}

static void end(struct scene *scene)
{
    (void)close(scene->place.folder);
    process_remove(scene->folder);
}

static void put_file(const struct scene *scene, const char *name, const char *bytes, size_t n)
{
    int fd = openat(scene->place.folder, name, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, n), n);
    (void)close(fd);
}

/* The header and rows 0 to count - 1; ends[i] is where the i-th line ends, ends[0] the header. */
static size_t contents(char *out, size_t count, size_t *ends)
{
    size_t n = sizeof header - 1;
    memcpy(out, header, n);
    ends[0] = n;
    for (size_t i = 0; i < count; i++) {
        struct made_row made;
        made_row(&made, i);
        n += journal_write_line(out + n, &made.row, JOURNAL_ROWS_FEATURES);
        ends[i + 1] = n;
    }
    return n;
}

static void only_the_places_own_files_are_listed_in_order(void **state)
{
    (void)state;
    struct scene scene;
    struct journal_file files[JOURNAL_FILES_MAX];
    struct error err = {0};
    size_t count;
    begin(&scene);
    static const char *const names[] = {
        "pod.00000012.csv",     "pod.00000003.csv",  "pod.0000000a.csv",   "pod.3.csv",
        "pod.00000004.csv.tmp", "pod2.00000001.csv", "pod.x.00000001.csv", "other.00000001.csv",
        "pod.000000004.csv",    "Pod.00000001.csv"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        put_file(&scene, names[i], "abcdefghij", i);
    assert_int_equal(mkdirat(scene.place.folder, "pod.00000009.csv", 0700), 0);
    assert_true(journal_files_list(&scene.place, files, &count, &err));
    assert_int_equal(count, 2);
    assert_int_equal(files[0].sequence, 3);
    assert_int_equal(files[0].bytes, 1);
    assert_int_equal(files[1].sequence, 12);
    end(&scene);
}

static void more_files_than_there_can_be_are_refused(void **state)
{
    (void)state;
    struct scene scene;
    struct journal_file files[JOURNAL_FILES_MAX];
    struct error err = {0};
    size_t count;
    begin(&scene);
    for (int i = 1; i <= JOURNAL_FILES_MAX + 1; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "pod.%08d.csv", i);
        put_file(&scene, name, "", 0);
    }
    assert_false(journal_files_list(&scene.place, files, &count, &err));
    assert_int_equal(err.code, ERR_TOO_LARGE);
    end(&scene);
}

/* What the machine may leave of a file when it dies: any prefix. Every whole line stays, nothing else. */
static void a_file_cut_at_any_byte_keeps_its_whole_lines(void **state)
{
    (void)state;
    enum { ROWS = 4 };
    struct scene scene;
    char text[4096];
    size_t ends[ROWS + 1], n = contents(text, ROWS, ends);
    begin(&scene);
    for (size_t cut = 0; cut <= n; cut++) {
        struct journal_file file = {1, cut};
        struct journal_repair repair = {0, 0};
        struct error err = {0};
        size_t whole = 0;
        int fd;
        put_file(&scene, "pod.00000001.csv", text, cut);
        if (!journal_file_resume(&scene.place, &file, &fd, &repair, &err))
            fail_msg("%s", err.message);
        while (whole < ROWS && ends[whole + 1] <= cut)
            whole++;
        if (cut < ends[0]) { /* no row can have been acknowledged */
            assert_int_equal(fd, -1);
            assert_int_equal(file.bytes, 0);
            assert_int_equal(faccessat(scene.place.folder, "pod.00000001.csv", F_OK, 0), -1);
            continue;
        }
        assert_true(fd >= 0);
        assert_int_equal(file.bytes, ends[whole]);
        assert_int_equal(repair.torn_bytes, cut - ends[whole]);
        assert_int_equal(repair.damaged_lines, 0);
        assert_int_equal(lseek(fd, 0, SEEK_END), ends[whole]);
        (void)close(fd);
    }
    end(&scene);
}

static void damage_before_a_good_line_is_counted_and_left_in_place(void **state)
{
    (void)state;
    enum { ROWS = 6 };
    struct scene scene;
    char text[4096];
    size_t ends[ROWS + 1], n = contents(text, ROWS, ends);
    struct journal_file file = {1, n};
    struct journal_repair repair = {0, 0};
    struct error err = {0};
    int fd;
    begin(&scene);
    memset(text + ends[1] + 3, 0, 5); /* in row 1 */
    text[ends[3] - 1] = 'x';          /* rows 2 and 3 run together */
    text[ends[6] - 2] ^= 1;           /* the last one, row 5 */
    put_file(&scene, "pod.00000001.csv", text, n);
    assert_true(journal_file_resume(&scene.place, &file, &fd, &repair, &err));
    assert_int_equal(repair.damaged_lines, 2);
    assert_int_equal(repair.torn_bytes, ends[6] - ends[5]);
    assert_int_equal(file.bytes, ends[5]);
    (void)close(fd);
    end(&scene);
}

static void a_file_with_another_header_is_left_alone(void **state)
{
    (void)state;
    struct scene scene;
    struct journal_file file = {1, 30};
    struct journal_repair repair = {0, 0};
    struct error err = {0};
    int fd;
    begin(&scene);
    put_file(&scene, "pod.00000001.csv", "time,id,model_version,z,crc32\n", 30);
    assert_true(journal_file_resume(&scene.place, &file, &fd, &repair, &err));
    assert_int_equal(fd, -1);
    assert_int_equal(file.bytes, 30);
    assert_true(journal_file_open(&scene.place, 1, &fd, &err));
    assert_int_equal(fd, -1);
    assert_false(journal_file_open(&scene.place, 2, &fd, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_contains(err.message, "pod.00000002.csv");
    end(&scene);
}

static void a_file_is_made_once(void **state)
{
    (void)state;
    struct scene scene;
    struct journal_file file = {1, 0};
    struct error err = {0};
    int first, second;
    begin(&scene);
    assert_true(journal_file_create(&scene.place, 1, &first, &file.bytes, &err));
    assert_int_equal(file.bytes, sizeof header - 1);
    (void)close(first);
    assert_false(journal_file_create(&scene.place, 1, &second, &file.bytes, &err));
    end(&scene);
}

static void a_name_has_one_process_at_a_time(void **state)
{
    (void)state;
    struct scene scene;
    struct error err = {0};
    int first, second;
    begin(&scene);
    assert_true(journal_files_claim(&scene.place, &first, &err));
    assert_false(journal_files_claim(&scene.place, &second, &err));
    assert_int_equal(second, -1);
    assert_int_equal(err.code, ERR_NOT_READY);
    assert_contains(err.message, ".lock: in use by another process");
    (void)close(first);
    assert_true(journal_files_claim(&scene.place, &second, &err));
    (void)close(second);
    end(&scene);
}

static int failing_sync(int fd)
{
    (void)fd;
    errno = EIO;
    return -1;
}

static ssize_t failing_write(int fd, const void *bytes, size_t n)
{
    errno = ENOSPC;
    return n > 10 ? write(fd, bytes, 10) : -1;
}

static void a_file_that_cannot_be_begun_leaves_nothing(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    for (int i = 0; i < 2; i++) {
        struct error err = {0};
        uint64_t bytes;
        int fd;
        scene.place.io = i == 0 ? (struct journal_io){failing_write, no_sync}
                                : (struct journal_io){write, failing_sync};
        assert_false(journal_file_create(&scene.place, 1, &fd, &bytes, &err));
        assert_int_equal(fd, -1);
        assert_contains(err.message, i == 0 ? "No space left" : "Input/output error");
        assert_int_equal(faccessat(scene.place.folder, "pod.00000001.csv", F_OK, 0), -1);
    }
    journal_file_remove(&scene.place, 1);
    end(&scene);
}

/* Lines around the buffer's end, one longer than the buffer, none at the end. */
static void lines_are_found_whatever_their_length(void **state)
{
    (void)state;
    enum { ROWS = 3000, LONG = 200000 };
    struct scene scene;
    struct journal_lines lines;
    struct error err = {0};
    struct span line;
    size_t *ends = calloc(ROWS + 1, sizeof *ends), damaged = 0, whole = 0;
    char *text = malloc(ROWS * 200 + LONG + 100);
    assert_non_null(ends);
    assert_non_null(text);
    size_t n = contents(text, ROWS, ends);
    memmove(text + ends[1000] + LONG, text + ends[1000], n - ends[1000]);
    memset(text + ends[1000], 'x', LONG);
    text[ends[1000] + LONG - 1] = '\n';
    n += LONG;
    begin(&scene);
    put_file(&scene, "pod.00000001.csv", text, n - 1);
    int fd;
    assert_true(journal_file_open(&scene.place, 1, &fd, &err));
    assert_true(journal_lines_init(&lines, JOURNAL_ROWS_FEATURES, &err));
    journal_lines_enter(&lines, fd, ends[0], n - 1);
    enum journal_line_state found;
    while ((found = journal_lines_next(&lines, &line)) < JOURNAL_TORN) {
        if (found == JOURNAL_WHOLE)
            assert_int_equal(made_row_number(line), whole++);
        else
            damaged++;
    }
    assert_int_equal(found, JOURNAL_TORN);
    assert_int_equal(journal_lines_next(&lines, &line), JOURNAL_END);
    assert_int_equal(journal_lines_position(&lines), n - 1);
    assert_int_equal(whole, ROWS - 1);
    assert_int_equal(damaged, 1);
    journal_lines_clear(&lines);
    end(&scene);
    free(ends);
    free(text);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(only_the_places_own_files_are_listed_in_order),
    cmocka_unit_test(more_files_than_there_can_be_are_refused),
    cmocka_unit_test(a_file_cut_at_any_byte_keeps_its_whole_lines),
    cmocka_unit_test(damage_before_a_good_line_is_counted_and_left_in_place),
    cmocka_unit_test(a_file_with_another_header_is_left_alone),
    cmocka_unit_test(a_file_is_made_once),
    cmocka_unit_test(a_name_has_one_process_at_a_time),
    cmocka_unit_test(a_file_that_cannot_be_begun_leaves_nothing),
    cmocka_unit_test(lines_are_found_whatever_their_length),
};

T_MAIN(tests)
