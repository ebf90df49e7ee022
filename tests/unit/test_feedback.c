#include "server/predictor/feedback.h"

#include "tests/support/t.h"

#include <stdio.h>
#include <string.h>

enum { MAX = 5 };

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

static bool decode(const char *body, struct feedback *out, struct error *err)
{
    *err = (struct error){0};
    return feedback_decode((struct span){body, strlen(body)}, MAX, arena, out, err);
}

static void accept(const char *body, struct feedback *out)
{
    struct error err;
    if (!decode(body, out, &err))
        fail_msg("%s: %s", body, err.message);
}

static void ids_and_targets_come_in_pairs(void **state)
{
    (void)state;
    struct feedback f;
    accept("{\"targets\":[1.5,-2],\"ids\":[\"ab\",\"c/d/12\"]}", &f);
    assert_int_equal(f.count, 2);
    assert_close(f.targets[0], 1.5, 0);
    assert_close(f.targets[1], -2, 0);
    assert_int_equal(f.ids[0].request.n, 2);
    assert_int_equal(f.ids[0].row, 0);
    assert_int_equal(f.ids[1].request.n, 3);
    assert_memory_equal(f.ids[1].request.p, "c/d", 3);
    assert_int_equal(f.ids[1].row, 12);
}

static void a_slash_without_digits_behind_it_belongs_to_the_id(void **state)
{
    (void)state;
    struct feedback f;
    accept("{\"targets\":[0,0,0],\"ids\":[\"a/\",\"a/x1\",\"a/1x\"]}", &f);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(f.ids[i].row, 0);
        assert_true(f.ids[i].request.n > 1);
    }
}

static void instances_are_left_to_their_own_decoder(void **state)
{
    (void)state;
    struct feedback f;
    accept("{\"instances\":[[1,2]],\"targets\":[3],\"more\":{}}", &f);
    assert_null(f.ids);
    assert_int_equal(f.count, 1);
    accept("{\"inputs\":[[1,2]],\"targets\":[3],\"targets\":[4]}", &f);
    assert_close(f.targets[0], 4, 0);
}

static void every_mistake_is_named_with_its_place(void **state)
{
    (void)state;
    static const struct {
        const char *body, *part;
        enum error_code code;
    } cases[] = {
        {"", "Unrecognized request format", ERR_INVALID},
        {"[]", "Unrecognized request format", ERR_INVALID},
        {"{\"targets\":[1]}", "got neither", ERR_INVALID},
        {"{\"targets\":[1],\"ids\":[\"a\"],\"instances\":[]}", "got both", ERR_INVALID},
        {"{\"ids\":[\"a\"]}", "targets: expected a list, which is missing", ERR_INVALID},
        {"{\"ids\":[\"a\"],\"targets\":1}", "targets: expected a list", ERR_INVALID},
        {"{\"ids\":[],\"targets\":[]}", "targets: expected at least one", ERR_INVALID},
        {"{\"ids\":[\"a\"],\"targets\":[null]}", "targets[0]: expected a finite number",
         ERR_INVALID},
        {"{\"ids\":[\"a\"],\"targets\":[1e999]}", "targets[0]: expected a finite number",
         ERR_INVALID},
        {"{\"ids\":[\"a\"],\"targets\":[1,2]}", "ids: expected a list of 2", ERR_INVALID},
        {"{\"ids\":[\"a\",\"b\"],\"targets\":[1]}", "ids: expected a list of 1", ERR_INVALID},
        {"{\"ids\":\"a\",\"targets\":[1]}", "ids: expected a list of 1", ERR_INVALID},
        {"{\"ids\":[7],\"targets\":[1]}", "ids[0]: expected a string", ERR_INVALID},
        {"{\"ids\":[\"\"],\"targets\":[1]}", "ids[0]: expected a string", ERR_INVALID},
        {"{\"ids\":[\"/3\"],\"targets\":[1]}", "ids[0]: expected a string", ERR_INVALID},
        {"{\"instances\":[],\"targets\":[1,2,3,4,5,6]}", "targets: expected at most 5 elements",
         ERR_TOO_LARGE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err;
        struct feedback f;
        if (decode(cases[i].body, &f, &err))
            fail_msg("accepted: %s", cases[i].body);
        assert_contains(err.message, cases[i].part);
        assert_int_equal(err.code, cases[i].code);
    }
}

static void an_id_has_a_limit(void **state)
{
    (void)state;
    struct feedback f;
    struct error err;
    char body[400], id[FEEDBACK_ID_MAX + 2];
    memset(id, 'x', sizeof id);
    (void)snprintf(body, sizeof body, "{\"ids\":[\"%.*s/7\"],\"targets\":[1]}", FEEDBACK_ID_MAX,
                   id);
    accept(body, &f);
    (void)snprintf(body, sizeof body, "{\"ids\":[\"%.*s/7\"],\"targets\":[1]}", FEEDBACK_ID_MAX + 1,
                   id);
    assert_false(decode(body, &f, &err));
    assert_contains(err.message, "at most 128 bytes");
}

static void the_answer_says_what_became_of_each(void **state)
{
    (void)state;
    static const enum feedback_outcome outcomes[] = {FEEDBACK_ACCEPTED, FEEDBACK_LATE,
                                                     FEEDBACK_DUPLICATE, FEEDBACK_UNKNOWN,
                                                     FEEDBACK_OTHER_VERSION};
    static const double y[] = {0.5, 1, 2, 3, 4};
    struct error err = {0};
    struct span body;
    assert_true(feedback_encode(outcomes, NULL, 5, arena, &body, &err));
    static const char expected[] =
        "{\"accepted\":1,\"results\":[\"accepted\",\"late\",\"duplicate\",\"unknown\","
        "\"other_version\"]}";
    assert_int_equal(body.n, sizeof expected - 1);
    assert_memory_equal(body.p, expected, body.n);
    assert_true(feedback_encode(outcomes, y, 1, arena, &body, &err));
    static const char with_predictions[] =
        "{\"accepted\":1,\"results\":[\"accepted\"],\"predictions\":[0.5]}";
    assert_int_equal(body.n, sizeof with_predictions - 1);
    assert_memory_equal(body.p, with_predictions, body.n);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
static const struct CMUnitTest tests[] = {
    CASE(ids_and_targets_come_in_pairs),
    CASE(a_slash_without_digits_behind_it_belongs_to_the_id),
    CASE(instances_are_left_to_their_own_decoder),
    CASE(every_mistake_is_named_with_its_place),
    CASE(an_id_has_a_limit),
    CASE(the_answer_says_what_became_of_each),
};

T_MAIN(tests)
