#include "tests/support/journal_rows.h"

#include "tests/support/t.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct span text(const char *s)
{
    return (struct span){s, strlen(s)};
}

void made_row(struct made_row *out, uint64_t n)
{
    (void)snprintf(out->id, sizeof out->id, "%llu/0", (unsigned long long)n);
    out->features[0] = (double)n;
    out->features[1] = (double)n / 3;
    out->features[2] = -1e-300 * (double)n;
    out->row = (struct journal_row){.time_ns = 1764000000000000000 + n,
                                    .id = text(out->id),
                                    .version = text(n % 7 == 0 ? "2,\"b\"" : "1"),
                                    .features = out->features,
                                    .prediction = (double)n * 0.1,
                                    .target = 1 / (1 + (double)n)};
}

static void assert_same_text(struct span a, struct span b)
{
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.p, b.p, a.n);
}

uint64_t made_row_number(struct span line)
{
    struct journal_texts texts;
    struct journal_row row;
    struct made_row expected;
    struct error err = {0};
    double features[JOURNAL_ROWS_FEATURES];
    if (!journal_read_line(line, JOURNAL_ROWS_FEATURES, features, &texts, &row, &err))
        fail_msg("%s: %.*s", err.message, (int)line.n, line.p);
    made_row(&expected, (uint64_t)features[0]);
    assert_int_equal(row.time_ns, expected.row.time_ns);
    assert_same_text(row.id, expected.row.id);
    assert_same_text(row.version, expected.row.version);
    assert_memory_equal(row.features, expected.features, sizeof expected.features);
    assert_close(row.prediction, expected.row.prediction, 0);
    assert_close(row.target, expected.row.target, 0);
    return (uint64_t)features[0];
}

static int no_sync(int fd)
{
    (void)fd;
    return 0;
}

struct journal_config journal_rows_config(const char *folder)
{
    static const char *const names[JOURNAL_ROWS_FEATURES] = {"rooms", "id", "a, \"b\""};
    return (struct journal_config){.folder = folder,
                                   .name = "pod",
                                   .schema = {names, JOURNAL_ROWS_FEATURES, "price"},
                                   .batch_bytes = 1 << 16,
                                   .io = {NULL, no_sync}};
}

struct journal *journal_rows_start(const struct journal_config *config)
{
    struct error err = {0};
    struct journal *journal = journal_start(config, &err);
    if (journal == NULL)
        fail_msg("%s", err.message);
    return journal;
}

struct waiter {
    struct journal_ticket ticket;
    pthread_mutex_t lock;
    pthread_cond_t told;
    bool done, durable;
};

static void tell(struct journal_ticket *ticket, bool durable)
{
    struct waiter *waiter = (struct waiter *)(void *)ticket;
    (void)pthread_mutex_lock(&waiter->lock);
    waiter->done = true;
    waiter->durable = durable;
    (void)pthread_cond_signal(&waiter->told);
    (void)pthread_mutex_unlock(&waiter->lock);
}

bool journal_rows_append(struct journal *journal, uint64_t n)
{
    struct waiter waiter = {
        {tell, NULL}, PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, false};
    struct made_row made;
    struct error err = {0};
    struct arena *arena = arena_new(4096, 0);
    assert_non_null(arena);
    made_row(&made, n);
    bool ok = journal_append(journal, &made.row, 1, arena, &waiter.ticket, &err);
    (void)pthread_mutex_lock(&waiter.lock);
    while (ok && !waiter.done)
        (void)pthread_cond_wait(&waiter.told, &waiter.lock);
    (void)pthread_mutex_unlock(&waiter.lock);
    (void)pthread_mutex_destroy(&waiter.lock);
    (void)pthread_cond_destroy(&waiter.told);
    arena_free(arena);
    return ok && waiter.durable;
}

void journal_rows_fill(struct journal *journal, uint64_t first, uint64_t count)
{
    for (uint64_t n = first; n < first + count; n++)
        assert_true(journal_rows_append(journal, n));
}

size_t journal_rows_read(struct journal *journal, uint64_t *numbers, size_t max,
                         struct journal_reader_report *report)
{
    struct error err = {0};
    struct journal_reader *reader = journal_reader_new(journal, &err);
    struct span line;
    size_t n = 0;
    assert_non_null(reader);
    for (;;) {
        if (!journal_reader_next(reader, &line, &err))
            fail_msg("%s", err.message);
        if (line.n == 0)
            break;
        assert_true(n < max);
        numbers[n++] = made_row_number(line);
    }
    if (report != NULL)
        journal_reader_report(reader, report);
    journal_reader_free(reader);
    return n;
}
