/* Decodes any bytes as an Alertmanager notification. What is accepted asks only for listed users, their own
 * models under proper names, each once, with figures that are numbers or NaN; and what the policy makes of
 * it goes through a record unchanged. What is refused is so with words that can be shown. */
#include "base/json.h"
#include "server/relay/record.h"
#include "server/relay/webhook.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void check_words(const struct error *err)
{
    const char *p = err->message, *end = p + strlen(p);
    check(err->code == ERR_INVALID || err->code == ERR_TOO_LARGE);
    check(p < end);
    for (size_t n; p < end; p += n) {
        n = json_utf8_length(p, end);
        check(n > 0 && (unsigned char)*p >= ' ' && *p != 0x7f);
    }
}

/* A dispatch queued for the event, written for the journal and read back. */
static void check_recorded(const struct webhook_event *event, struct arena *arena)
{
    static struct policy policy;
    const struct policy_settings settings = {.hourly_budget = 1, .breaker_after = 1};
    struct policy_change change;
    struct record record, again;
    struct error err = {0};
    struct span text;
    policy_init(&policy, &settings);
    check(policy_firing(&policy, &event->drift, "0123456789abcdef0123456789abcdef", 1, &change) ==
          POLICY_ACCEPTED);
    check(isfinite(change.key.score) && change.key.score >= 0);
    memset(&record, 0, sizeof record);
    record.at_ms = 1;
    record.key = change.key;
    record.shared = change.shared;
    check(record_write(&record, arena, &text, &err));
    check(record_read(text, arena, &again, &err));
    check(memcmp(&record, &again, sizeof record) == 0);
}

static void check_event(const struct webhook *webhook, size_t i, const struct webhook_users *users,
                        struct arena *arena)
{
    const struct webhook_event *event = &webhook->events[i];
    struct span user = {event->drift.user, strlen(event->drift.user)};
    check(webhook_knows_user(users, user));
    check(webhook_is_model((struct span){event->drift.model, strlen(event->drift.model)}));
    check(!isinf(event->drift.mae) && !isinf(event->drift.r2));
    for (size_t j = 0; j < i; j++)
        check(strcmp(webhook->events[j].drift.user, event->drift.user) != 0 ||
              strcmp(webhook->events[j].drift.model, event->drift.model) != 0);
    if (event->firing)
        check_recorded(event, arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct webhook_users users = {{"user01", "a"}, 2};
    struct arena *arena = arena_new(65536, 0);
    struct webhook webhook;
    struct policy_drift drift;
    struct error err = {0};
    struct span body = {(const char *)data, size};
    if (webhook_decode(body, &users, arena, &webhook, &err)) {
        check(webhook.count <= WEBHOOK_ALERTS_MAX);
        for (size_t i = 0; i < webhook.count; i++)
            check_event(&webhook, i, &users, arena);
    } else {
        check_words(&err);
    }
    err = (struct error){0};
    if (webhook_decode_manual(body, &users, arena, &drift, &err))
        check(webhook_is_model((struct span){drift.model, strlen(drift.model)}));
    else
        check_words(&err);
    arena_free(arena);
    return 0;
}
