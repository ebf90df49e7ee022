#include "server/relay/ledger.h"

#include "tests/support/process.h"
#include "tests/support/t.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

static char folder[512], journal[600];
static struct metrics *metrics;
static struct ledger_config config;

static int set_up(void **state)
{
    (void)state;
    process_folder(folder, sizeof folder);
    (void)snprintf(journal, sizeof journal, "%s/journal", folder);
    metrics = metrics_new(RELAY_SHARDS);
    config = (struct ledger_config){
        .policy = {.hourly_budget = 64, .breaker_after = 1000, .max_attempts = 3},
        .journal = journal,
        .rewrite_bytes = 1 << 20,
        .telemetry = relay_telemetry_new(metrics, "1", "r")};
    assert_non_null(config.telemetry);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    relay_telemetry_free(config.telemetry);
    metrics_free(metrics);
    process_remove(folder);
    return 0;
}

static struct ledger *open_ledger(void)
{
    struct error err = {0};
    struct ledger *ledger = ledger_open(&config, &err);
    if (ledger == NULL)
        fail_msg("%s", err.message);
    return ledger;
}

static enum policy_verdict ask(struct ledger *ledger, const char *model, char id[POLICY_ID_MAX + 1])
{
    const struct policy_drift drift = {"user01", model, NAN, NAN};
    enum policy_verdict verdict;
    struct error err = {0};
    if (!ledger_manual(ledger, &drift, &verdict, id, &err))
        fail_msg("%s", err.message);
    return verdict;
}

static off_t journal_size(void)
{
    struct stat info;
    assert_int_equal(stat(journal, &info), 0);
    return info.st_size;
}

/* No more than the journal has now may be written to any file. */
static void fill_disk(struct rlimit *before)
{
    struct rlimit small;
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, before), 0);
    small = (struct rlimit){(rlim_t)journal_size() + 10, before->rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
}

static void ids_are_hexadecimal_and_differ(void **state)
{
    (void)state;
    char first[POLICY_ID_MAX + 1], second[POLICY_ID_MAX + 1];
    struct ledger *ledger = open_ledger();
    assert_int_equal(ask(ledger, "a", first), POLICY_ACCEPTED);
    assert_int_equal(ask(ledger, "b", second), POLICY_ACCEPTED);
    assert_int_equal(strspn(first, "0123456789abcdef"), POLICY_ID_MAX);
    assert_string_not_equal(first, second);
    ledger_close(ledger);
}

static void what_cannot_be_recorded_has_not_happened(void **state)
{
    (void)state;
    char id[POLICY_ID_MAX + 1];
    struct rlimit before;
    struct error err = {0};
    enum policy_verdict verdict;
    const struct policy_drift drift = {"user01", "m", NAN, NAN};
    struct ledger *ledger = open_ledger();
    fill_disk(&before);
    bool recorded = ledger_manual(ledger, &drift, &verdict, id, &err);
    bool healthy = ledger_healthy(ledger);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_false(recorded);
    assert_false(healthy);
    assert_int_equal(ask(ledger, "m", id), POLICY_ACCEPTED); /* not in flight */
    assert_true(ledger_healthy(ledger));
    ledger_close(ledger);
}

static void an_answer_that_cannot_be_recorded_is_asked_for_again(void **state)
{
    (void)state;
    char id[POLICY_ID_MAX + 1];
    struct rlimit before;
    struct policy_step step;
    struct ledger *ledger = open_ledger();
    assert_int_equal(ask(ledger, "m", id), POLICY_ACCEPTED);
    assert_true(ledger_next(ledger, &step));
    assert_int_equal(step.action, POLICY_DISPATCH);
    fill_disk(&before);
    const struct policy_answer accepted = {.reply = REPLY_ACCEPTED, .run_id = 7};
    ledger_answered(ledger, &step, &accepted, "");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    ledger_close(ledger);
    ledger = open_ledger();
    assert_true(ledger_next(ledger, &step));
    assert_int_equal(step.action, POLICY_FIND);
    assert_string_equal(step.key.id, id);
    ledger_close(ledger);
}

static void the_journal_is_rewritten_when_it_has_grown_and_loses_nothing(void **state)
{
    (void)state;
    char model[16], id[POLICY_ID_MAX + 1];
    struct policy_step step;
    config.rewrite_bytes = 4096;
    struct ledger *ledger = open_ledger();
    off_t most = 0;
    for (unsigned i = 0; i < 50; i++) { /* five models, ten times */
        (void)snprintf(model, sizeof model, "m%u", i % 5);
        assert_int_equal(ask(ledger, model, id), POLICY_ACCEPTED);
        assert_true(ledger_next(ledger, &step));
        const struct policy_answer refused = {.reply = REPLY_REFUSED, .status = 422};
        ledger_answered(ledger, &step, &refused, "");
        most = journal_size() > most ? journal_size() : most;
    }
    assert_int_equal(ask(ledger, "last", id), POLICY_ACCEPTED);
    assert_true(most < 16384); /* 151 lines of about 400 to 1000 bytes */
    ledger_close(ledger);
    ledger = open_ledger();
    assert_true(ledger_next(ledger, &step));
    assert_int_equal(step.action, POLICY_DISPATCH);
    assert_string_equal(step.key.id, id);
    ledger_close(ledger);
}

static void a_journal_that_is_not_ours_is_refused(void **state)
{
    (void)state;
    struct error err = {0};
    FILE *out = fopen(journal, "w");
    assert_non_null(out);
    (void)fputs("hello\nworld\n", out);
    assert_int_equal(fclose(out), 0);
    assert_null(ledger_open(&config, &err));
    assert_contains(err.message, "line 1");
}

static void a_stopped_ledger_has_nothing_to_do(void **state)
{
    (void)state;
    char id[POLICY_ID_MAX + 1];
    struct policy_step step;
    struct ledger *ledger = open_ledger();
    assert_int_equal(ask(ledger, "m", id), POLICY_ACCEPTED);
    ledger_stop(ledger);
    assert_false(ledger_next(ledger, &step));
    ledger_close(ledger);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
static const struct CMUnitTest tests[] = {
    CASE(ids_are_hexadecimal_and_differ),
    CASE(what_cannot_be_recorded_has_not_happened),
    CASE(an_answer_that_cannot_be_recorded_is_asked_for_again),
    CASE(the_journal_is_rewritten_when_it_has_grown_and_loses_nothing),
    CASE(a_journal_that_is_not_ours_is_refused),
    CASE(a_stopped_ledger_has_nothing_to_do),
};

T_MAIN(tests)
