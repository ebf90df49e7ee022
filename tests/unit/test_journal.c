/* The journal's promise: what was acknowledged is there, whatever fails or dies. */
#include "server/predictor/journal.h"

#include "tests/support/journal_rows.h"
#include "tests/support/process.h"
#include "tests/support/t.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX = 200000 };

static struct journal_stats stats_of(struct journal *journal)
{
    struct journal_stats stats;
    journal_stats(journal, &stats);
    return stats;
}

/* ---- tickets ---- */

/* A gate in place of fsync. */
static struct gate {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    bool closed;
    unsigned waiting, passed;
} gate = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, 0, 0};

static int gate_sync(int fd)
{
    (void)fd;
    (void)pthread_mutex_lock(&gate.lock);
    gate.waiting++;
    (void)pthread_cond_broadcast(&gate.moved);
    while (gate.closed)
        (void)pthread_cond_wait(&gate.moved, &gate.lock);
    gate.waiting--;
    gate.passed++;
    (void)pthread_mutex_unlock(&gate.lock);
    return 0;
}

static void gate_set(bool closed)
{
    (void)pthread_mutex_lock(&gate.lock);
    gate.closed = closed;
    (void)pthread_cond_broadcast(&gate.moved);
    (void)pthread_mutex_unlock(&gate.lock);
}

static void gate_await_somebody(void)
{
    (void)pthread_mutex_lock(&gate.lock);
    while (gate.waiting == 0)
        (void)pthread_cond_wait(&gate.moved, &gate.lock);
    (void)pthread_mutex_unlock(&gate.lock);
}

struct counted {
    struct journal_ticket ticket;
    _Atomic int durable, failed;
};

static void count(struct journal_ticket *ticket, bool durable)
{
    struct counted *counted = (struct counted *)(void *)ticket;
    (void)atomic_fetch_add(durable ? &counted->durable : &counted->failed, 1);
}

static bool append_counted(struct journal *journal, uint64_t first, size_t rows,
                           struct counted *counted, struct error *err)
{
    struct made_row *made = calloc(rows + 1, sizeof *made);
    struct journal_row *plain = calloc(rows + 1, sizeof *plain);
    struct arena *arena = arena_new(4096, 0);
    assert_true(made != NULL && plain != NULL && arena != NULL);
    for (size_t i = 0; i < rows; i++) {
        made_row(&made[i], first + i);
        plain[i] = made[i].row;
    }
    if (counted != NULL)
        counted->ticket.done = count;
    bool ok =
        journal_append(journal, plain, rows, arena, counted != NULL ? &counted->ticket : NULL, err);
    arena_free(arena);
    free(plain);
    free(made);
    return ok;
}

static void rows_are_acknowledged_after_the_fsync_and_share_the_next_one(void **state)
{
    (void)state;
    enum { APPENDS = 50 };
    char folder[256];
    struct error err = {0};
    static struct counted tickets[APPENDS + 1];
    static uint64_t numbers[MAX];
    process_folder(folder, sizeof folder);
    struct journal_config config = journal_rows_config(folder);
    config.io.sync = gate_sync;
    struct journal *journal = journal_rows_start(&config);
    unsigned before = gate.passed;
    gate_set(true);
    assert_true(append_counted(journal, 0, 2, &tickets[0], &err));
    gate_await_somebody();
    for (size_t i = 1; i <= APPENDS; i++)
        assert_true(append_counted(journal, 2 * i, 2, &tickets[i], &err));
    for (size_t i = 0; i <= APPENDS; i++)
        assert_int_equal(tickets[i].durable + tickets[i].failed, 0);
    assert_int_equal(stats_of(journal).rows, 0);
    assert_int_equal(journal_rows_read(journal, numbers, MAX, NULL), 0); /* written, not durable */
    gate_set(false);
    journal_stop(journal);
    for (size_t i = 0; i <= APPENDS; i++) {
        assert_int_equal(tickets[i].durable, 1);
        assert_int_equal(tickets[i].failed, 0);
    }
    assert_int_equal(gate.passed - before, 2);
    journal = journal_rows_start(&config);
    assert_int_equal(journal_rows_read(journal, numbers, MAX, NULL), 2 * (APPENDS + 1));
    journal_stop(journal);
    process_remove(folder);
}

static void a_full_batch_refuses_and_an_append_larger_than_it_is_an_error(void **state)
{
    (void)state;
    char folder[256];
    struct error err = {0};
    static struct counted first, second, third;
    process_folder(folder, sizeof folder);
    struct journal_config config = journal_rows_config(folder);
    config.io.sync = gate_sync;
    config.batch_bytes = 2000;
    struct journal *journal = journal_rows_start(&config);
    gate_set(true);
    assert_true(append_counted(journal, 0, 1, &first, &err));
    gate_await_somebody();
    assert_true(append_counted(journal, 1, 12, &second, &err));
    assert_false(append_counted(journal, 20, 12, &third, &err));
    assert_int_equal(err.code, ERR_OVERLOADED);
    assert_false(append_counted(journal, 20, 100, &third, &err));
    assert_int_equal(err.code, ERR_TOO_LARGE);
    gate_set(false);
    journal_stop(journal);
    assert_int_equal(first.durable + second.durable, 2);
    assert_int_equal(third.durable + third.failed, 0);
    process_remove(folder);
}

static void a_bad_row_keeps_the_others_of_its_append_out(void **state)
{
    (void)state;
    char folder[256];
    struct error err = {0};
    struct made_row made;
    struct journal_row rows[2];
    process_folder(folder, sizeof folder);
    struct journal_config config = journal_rows_config(folder);
    struct journal *journal = journal_rows_start(&config);
    struct arena *arena = arena_new(4096, 0);
    made_row(&made, 1);
    rows[0] = rows[1] = made.row;
    rows[1].id.n = 0;
    assert_false(journal_append(journal, rows, 2, arena, NULL, &err));
    assert_contains(err.message, "rows[1]: id: expected 1 to 160 bytes, got 0");
    assert_true(append_counted(journal, 7, 3, NULL, &err)); /* nobody is told */
    journal_rows_fill(journal, 10, 1);
    assert_int_equal(stats_of(journal).rows, 4);
    arena_free(arena);
    journal_stop(journal);
    journal_stop(NULL);
    process_remove(folder);
}

/* ---- rotation ---- */

static void the_oldest_files_go_when_all_hold_too_much(void **state)
{
    (void)state;
    char folder[256];
    static uint64_t numbers[MAX];
    static struct journal_file files[JOURNAL_FILES_MAX];
    process_folder(folder, sizeof folder);
    struct journal_config config = journal_rows_config(folder);
    config.file_bytes = 1000;
    config.total_bytes = 5000;
    struct journal *journal = journal_rows_start(&config);
    journal_rows_fill(journal, 0, 300);
    size_t count = journal_durable(journal, files),
           rows = journal_rows_read(journal, numbers, MAX, NULL);
    uint64_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        bytes += files[i].bytes;
        assert_true(files[i].bytes <= 1000);
    }
    assert_int_equal(bytes, stats_of(journal).bytes);
    assert_true(bytes <= 5000 && bytes > 3000);
    assert_int_equal(numbers[rows - 1], 299);
    for (size_t i = 1; i < rows; i++)
        assert_int_equal(numbers[i], numbers[i - 1] + 1);
    journal_stop(journal);
    config.total_bytes = 1; /* the limit is kept at start, too; the newest file stays */
    journal = journal_rows_start(&config);
    assert_int_equal(journal_durable(journal, files), 1);
    journal_stop(journal);
    process_remove(folder);
}

/* ---- faults ---- */

/* The n-th call from now fails; 0 never. */
static struct {
    int write, sync;
} fault;

static ssize_t faulty_write(int fd, const void *bytes, size_t n)
{
    if (fault.write > 0 && --fault.write == 0) {
        errno = ENOSPC;
        return -1;
    }
    return write(fd, bytes, n > 7 ? n / 2 : n); /* short writes are nothing special */
}

static int faulty_sync(int fd)
{
    (void)fd;
    errno = EIO;
    return fault.sync > 0 && --fault.sync == 0 ? -1 : 0;
}

static _Atomic int failures_told;

static void told(void *ctx, const char *message)
{
    (void)ctx;
    assert_contains(message, ": ");
    (void)atomic_fetch_add(&failures_told, 1);
}

/* Whatever call fails: that row's append fails, and no other; the rows that did not are all there, and
 * in a fresh journal, too. */
static void whichever_write_or_fsync_fails_acknowledged_rows_stay(void **state)
{
    (void)state;
    enum { ROWS = 30 };
    static uint64_t numbers[MAX];
    for (int n = 1; n <= 60; n++)
        for (int kind = 0; kind < 2; kind++) {
            char folder[256];
            uint64_t acknowledged[ROWS + 1];
            size_t count = 0;
            process_folder(folder, sizeof folder);
            struct journal_config config = journal_rows_config(folder);
            config.io = (struct journal_io){faulty_write, faulty_sync};
            config.file_bytes = 1000;
            config.failed = told;
            fault.write = fault.sync = 0;
            failures_told = 0;
            struct journal *journal = journal_rows_start(&config);
            *(kind == 0 ? &fault.write : &fault.sync) = n;
            for (uint64_t i = 0; i < ROWS; i++)
                if (journal_rows_append(journal, i))
                    acknowledged[count++] = i;
            bool failed = fault.write == 0 && fault.sync == 0;
            fault.write = fault.sync = 0;
            assert_true(
                journal_rows_append(journal, ROWS)); /* at the latest now it has recovered */
            acknowledged[count++] = ROWS;
            assert_int_equal(count, ROWS + 1 - failed);
            assert_int_equal(failures_told, failed);
            assert_int_equal(stats_of(journal).lost, failed);
            assert_int_equal(stats_of(journal).rows, count);
            assert_false(stats_of(journal).failed);
            for (int pass = 0; pass < 2; pass++) {
                assert_int_equal(journal_rows_read(journal, numbers, MAX, NULL), count);
                assert_memory_equal(numbers, acknowledged, count * sizeof *numbers);
                journal_stop(journal);
                journal = pass == 0 ? journal_rows_start(&config) : NULL;
            }
            process_remove(folder);
        }
}

static void a_failed_journal_refuses_until_its_pause_is_over(void **state)
{
    (void)state;
    char folder[256];
    struct error err = {0};
    process_folder(folder, sizeof folder);
    struct journal_config config = journal_rows_config(folder);
    config.io = (struct journal_io){faulty_write, faulty_sync};
    config.retry_ms = 3600 * 1000;
    fault.write = 0;
    fault.sync = 0;
    struct journal *journal = journal_rows_start(&config);
    journal_rows_fill(journal, 0, 2);
    fault.sync = 1;
    assert_false(journal_rows_append(journal, 2));
    assert_true(stats_of(journal).failed);
    assert_false(append_counted(journal, 3, 1, NULL, &err));
    assert_int_equal(err.code, ERR_NOT_READY);
    assert_int_equal(stats_of(journal).rows, 2);
    journal_stop(journal);
    process_remove(folder);
}

/* Every try fails for a while; the first that does not makes a new file, and all is well again. */
static void a_journal_recovers_with_a_new_file(void **state)
{
    (void)state;
    char folder[256];
    static uint64_t numbers[MAX];
    static struct journal_file files[JOURNAL_FILES_MAX];
    process_folder(folder, sizeof folder);
    struct journal_config config = journal_rows_config(folder);
    config.io = (struct journal_io){faulty_write, faulty_sync};
    fault.write = 0;
    fault.sync = 0;
    struct journal *journal = journal_rows_start(&config);
    journal_rows_fill(journal, 0, 1);
    for (uint64_t i = 1; i <= 9; i++) {
        /* the header, its fsync, the folder's, the row's */
        *(i % 4 == 0 ? &fault.write : &fault.sync) = i % 4 == 0 ? 1 : (int)(i % 4);
        assert_false(journal_rows_append(journal, i));
        assert_true(stats_of(journal).failed);
    }
    assert_int_equal(journal_durable(journal, files), 1); /* no headers without rows pile up */
    journal_rows_fill(journal, 11, 5);
    assert_false(stats_of(journal).failed);
    assert_int_equal(journal_durable(journal, files), 2);
    assert_int_equal(journal_rows_read(journal, numbers, MAX, NULL), 6);
    assert_int_equal(numbers[0], 0);
    assert_int_equal(numbers[1], 11);
    journal_stop(journal);
    process_remove(folder);
}

static void waiters_of_a_failed_batch_all_learn_of_it(void **state)
{
    (void)state;
    enum { APPENDS = 20 };
    char folder[256];
    struct error err = {0};
    static struct counted tickets[APPENDS];
    process_folder(folder, sizeof folder);
    struct journal_config config = journal_rows_config(folder);
    config.io = (struct journal_io){faulty_write, faulty_sync};
    config.retry_ms = 3600 * 1000;
    fault.write = 0;
    fault.sync = 0;
    struct journal *journal = journal_rows_start(&config);
    fault.write = 1;
    int accepted = 0;
    for (size_t i = 0; i < APPENDS; i++)
        accepted += append_counted(journal, i, 1, &tickets[i], &err);
    journal_stop(journal);
    int failed = 0;
    for (size_t i = 0; i < APPENDS; i++) {
        failed += tickets[i].failed;
        assert_int_equal(tickets[i].durable, 0);
    }
    assert_true(accepted >= 1);
    assert_int_equal(failed, accepted);
    process_remove(folder);
}

static void a_folder_or_name_that_will_not_do_is_refused(void **state)
{
    (void)state;
    char folder[256], longest[JOURNAL_NAME_MAX + 2];
    process_folder(folder, sizeof folder);
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    const char *const names[] = {"", "a/b", "a b", longest};
    for (size_t i = 0; i < 4; i++) {
        struct error err = {0};
        struct journal_config config = journal_rows_config(folder);
        config.name = names[i];
        assert_null(journal_start(&config, &err));
        assert_contains(err.message, "expected a name");
    }
    struct error err = {0};
    struct journal_config config = journal_rows_config("/nowhere/at/all");
    assert_null(journal_start(&config, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_contains(err.message, "/nowhere/at/all");
    config = journal_rows_config(folder);
    struct journal *journal = journal_rows_start(&config);
    assert_null(journal_start(&config, &err));
    assert_contains(err.message, "in use");
    journal_stop(journal);
    process_remove(folder);
}

/* ---- many threads ---- */

enum { THREADS = 4, OWN = 300 };

struct appender {
    struct journal *journal;
    uint64_t first;
};

static void *append_many(void *arg)
{
    const struct appender *appender = arg;
    journal_rows_fill(appender->journal, appender->first, OWN);
    return NULL;
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void threads_append_while_others_read(void **state)
{
    (void)state;
    char folder[256];
    static uint64_t numbers[MAX];
    pthread_t threads[THREADS];
    struct appender appenders[THREADS];
    process_folder(folder, sizeof folder);
    struct journal_config config = journal_rows_config(folder);
    config.file_bytes = 20000;
    struct journal *journal = journal_rows_start(&config);
    for (size_t i = 0; i < THREADS; i++) {
        appenders[i] = (struct appender){journal, i * OWN};
        assert_int_equal(pthread_create(&threads[i], NULL, append_many, &appenders[i]), 0);
    }
    size_t n, least = 0;
    do {
        n = journal_rows_read(journal, numbers, MAX, NULL);
        assert_true(n >= least);
        least = n;
    } while (n < THREADS * OWN);
    for (size_t i = 0; i < THREADS; i++)
        (void)pthread_join(threads[i], NULL);
    qsort(numbers, n, sizeof *numbers, ascending);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(numbers[i], i);
    journal_stop(journal);
    process_remove(folder);
}

/* ---- kill -9 ---- */

enum { IN_FLIGHT = 16, REQUEST_ROWS = 5, ROUNDS = 30 };

/* One request of the child's: rows number to number + REQUEST_ROWS - 1. */
struct request {
    struct journal_ticket ticket;
    sem_t *slots;
    int pipe;
    uint64_t number;
};

static void report(struct journal_ticket *ticket, bool durable)
{
    struct request *request = (struct request *)(void *)ticket;
    if (durable && write(request->pipe, &request->number, sizeof request->number) < 0)
        _exit(3);
    (void)sem_post(request->slots);
    free(request);
}

/* Appends as fast as it can until it is killed. */
static void child(const char *folder, uint64_t number, int pipe_end)
{
    struct journal_config config = journal_rows_config(folder);
    struct error err = {0};
    sem_t slots;
    config.io.sync = NULL; /* the real one */
    config.file_bytes = 20000;
    struct journal *journal = journal_start(&config, &err);
    struct arena *arena = arena_new(1 << 14, 0);
    if (journal == NULL || arena == NULL || sem_init(&slots, 0, IN_FLIGHT) != 0)
        _exit(2);
    for (;; number += REQUEST_ROWS) {
        struct made_row made[REQUEST_ROWS];
        struct journal_row rows[REQUEST_ROWS];
        struct request *request = malloc(sizeof *request);
        if (request == NULL)
            _exit(2);
        *request = (struct request){{report, NULL}, &slots, pipe_end, number};
        for (uint64_t i = 0; i < REQUEST_ROWS; i++) {
            made_row(&made[i], number + i);
            rows[i] = made[i].row;
        }
        (void)sem_wait(&slots);
        arena_reset(arena);
        if (!journal_append(journal, rows, REQUEST_ROWS, arena, &request->ticket, &err))
            _exit(2);
    }
}

/* Runs a child from that number until so many requests have been acknowledged, kills it, and notes every
 * acknowledgement that reached the pipe; returns a number that it has not used. */
static uint64_t run_and_kill(const char *folder, uint64_t number, unsigned acknowledgements,
                             bool *acknowledged)
{
    int ends[2];
    uint64_t got, last = number;
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)close(ends[0]);
        child(folder, number, ends[1]);
    }
    (void)close(ends[1]);
    for (unsigned n = 0; read(ends[0], &got, sizeof got) == (ssize_t)sizeof got; n++) {
        assert_true(got + REQUEST_ROWS < MAX);
        for (uint64_t i = 0; i < REQUEST_ROWS; i++)
            acknowledged[got + i] = true;
        last = got > last ? got : last;
        if (n == acknowledgements)
            assert_int_equal(kill(pid, SIGKILL), 0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    (void)close(ends[0]);
    return last + (uint64_t)REQUEST_ROWS * (IN_FLIGHT + 2);
}

static void a_killed_process_loses_nothing_it_acknowledged(void **state)
{
    (void)state;
    static bool acknowledged[MAX];
    static uint64_t numbers[MAX];
    static unsigned char seen[MAX];
    char folder[256];
    uint64_t seed = 17, number = 0;
    size_t total = 0, n = 0;
    process_folder(folder, sizeof folder);
    for (int round = 0; round < ROUNDS; round++) {
        seed = seed * 6364136223846793005 + 1442695040888963407;
        number = run_and_kill(folder, number, (unsigned)(seed >> 33) % 60, acknowledged);
        struct journal_config config = journal_rows_config(folder);
        struct journal *journal = journal_rows_start(&config);
        n = journal_rows_read(journal, numbers, MAX, NULL);
        journal_stop(journal);
        memset(seen, 0, sizeof seen);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(seen[numbers[i]]++, 0); /* none twice */
        for (uint64_t i = 0; i < number; i++)
            assert_true(seen[i] || !acknowledged[i]);
    }
    for (uint64_t i = 0; i < number; i++)
        total += acknowledged[i];
    print_message("%d kills: %zu rows acknowledged, %zu found\n", ROUNDS, total, n);
    assert_true(total >= ROUNDS * REQUEST_ROWS);
    process_remove(folder);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_killed_process_loses_nothing_it_acknowledged),
    cmocka_unit_test(rows_are_acknowledged_after_the_fsync_and_share_the_next_one),
    cmocka_unit_test(a_full_batch_refuses_and_an_append_larger_than_it_is_an_error),
    cmocka_unit_test(a_bad_row_keeps_the_others_of_its_append_out),
    cmocka_unit_test(the_oldest_files_go_when_all_hold_too_much),
    cmocka_unit_test(whichever_write_or_fsync_fails_acknowledged_rows_stay),
    cmocka_unit_test(a_failed_journal_refuses_until_its_pause_is_over),
    cmocka_unit_test(a_journal_recovers_with_a_new_file),
    cmocka_unit_test(waiters_of_a_failed_batch_all_learn_of_it),
    cmocka_unit_test(a_folder_or_name_that_will_not_do_is_refused),
    cmocka_unit_test(threads_append_while_others_read),
};

T_MAIN(tests)
