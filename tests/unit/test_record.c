#include "server/relay/record.h"

#include "tests/support/t.h"

#include <stdio.h>
#include <string.h>

static struct arena *arena;

static int set_up(void **state)
{
    (void)state;
    arena = arena_new(4096, 0);
    return arena == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    arena_free(arena);
    return 0;
}

/* Every member with a value of its own, counts at their largest. */
static struct record full(void)
{
    struct record record;
    memset(&record, 0, sizeof record);
    record.at_ms = 1;
    memset(record.key.user, 'u', POLICY_USER_MAX);
    memset(record.key.model, 'm', POLICY_MODEL_MAX);
    memset(record.key.id, 'f', POLICY_ID_MAX);
    memset(record.key.reason, '"', POLICY_REASON_MAX);
    record.key.state = POLICY_RUNNING;
    record.key.dispatched_ms = UINT64_MAX;
    record.key.recovered_ms = 3;
    record.key.retrains = UINT32_MAX;
    record.key.score = 0.1;
    record.key.requested_ms = 4;
    record.key.sent_ms = 5;
    record.key.due_ms = 6;
    record.key.attempts = 7;
    record.key.run_id = UINT64_MAX - 1;
    record.shared.blocked_ms = 8;
    record.shared.wrote_ms = 9;
    record.shared.requests = POLICY_BUDGET_MAX;
    for (size_t i = 0; i < POLICY_BUDGET_MAX; i++)
        record.shared.requests_ms[i] = UINT64_MAX - i;
    return record;
}

static void a_record_reads_back_the_same_and_fits_a_journal_line(void **state)
{
    (void)state;
    struct record record = full(), again;
    struct error err = {0};
    struct span text;
    assert_true(record_write(&record, arena, &text, &err));
    assert_true(text.n < 4000);
    assert_null(memchr(text.p, '\n', text.n));
    char *copy = t_guarded(text.p, text.n);
    assert_true(record_read((struct span){copy, text.n}, arena, &again, &err));
    t_guarded_free(copy, text.n);
    assert_memory_equal(&record, &again, sizeof record);
}

static void every_state_reads_back(void **state)
{
    (void)state;
    for (int s = POLICY_IDLE; s <= POLICY_RUNNING; s++) {
        struct record record = full(), again;
        struct error err = {0};
        struct span text;
        record.key.state = (enum policy_state)s;
        assert_true(record_write(&record, arena, &text, &err));
        assert_true(record_read(text, arena, &again, &err));
        assert_int_equal(again.key.state, s);
    }
}

/* The record with `from` replaced by `to`. */
static bool read_changed(const char *from, const char *to, struct error *err)
{
    struct record record = full(), again;
    struct span text;
    char changed[8192];
    memcpy(record.key.user, "user01", 7);
    memcpy(record.key.reason, "drift", 6);
    assert_true(record_write(&record, arena, &text, err));
    const char *whole = arena_text(arena, text.p, text.n), *at = strstr(whole, from);
    if (at == NULL)
        fail_msg("no %s in %s", from, whole);
    (void)snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - whole), whole, to,
                   at + strlen(from));
    return record_read((struct span){changed, strlen(changed)}, arena, &again, err);
}

static void unknown_members_are_passed_over(void **state)
{
    (void)state;
    struct error err = {0};
    assert_true(read_changed("{\"at\"", "{\"later\":{\"a\":[1]},\"at\"", &err));
}

static void what_is_no_record_is_refused_with_its_member(void **state)
{
    (void)state;
    static const char *const bad[][3] = {
        {"\"running\"", "\"walking\"", "state: expected idle"},
        {"\"running\"", "7", "state"},
        {"\"user01\"", "\"a name that is longer than a user's may be\"", "user: expected at most"},
        {"\"at\":1", "\"at\":-1", "at"},
        {"\"score\":0.1", "\"score\":\"x\"", "score"},
        {"\"retrains\":4294967295", "\"retrains\":4294967296", "retrains"},
        {"\"requests\":[", "\"requests\":[1,", "requests: expected at most"},
        {"\"run\":", "\"ran\":", "run: expected, but missing"},
        {"{\"at\"", "{{\"at\"", "expected"},
        {"]}", "]", "expected"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error err = {0};
        assert_false(read_changed(bad[i][0], bad[i][1], &err));
        assert_contains(err.message, bad[i][2]);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
static const struct CMUnitTest tests[] = {
    CASE(a_record_reads_back_the_same_and_fits_a_journal_line),
    CASE(every_state_reads_back),
    CASE(unknown_members_are_passed_over),
    CASE(what_is_no_record_is_refused_with_its_member),
};

T_MAIN(tests)
