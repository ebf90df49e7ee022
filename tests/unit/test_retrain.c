/* Which candidates there are, which of them wins, and what one that fails costs. */
#include "model/retrain.h"

#include "model/prepare.h"
#include "tests/support/plane.h"
#include "tests/support/process.h"
#include "tests/support/t.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct place {
    char folder[512];
    struct model *champion;
    struct retrain_options options;
};

static int make_place(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    assert_non_null(p);
    process_folder(p->folder, sizeof p->folder);
    p->champion = plane_model("1", 1);
    p->options = (struct retrain_options){.champion = p->champion,
                                          .folder = p->folder,
                                          .name = "plane",
                                          .version = "2",
                                          .date = "2026-11-25"};
    *state = p;
    return 0;
}

static int remove_place(void **state)
{
    struct place *p = *state;
    model_free(p->champion);
    process_remove(p->folder);
    free(p);
    return 0;
}

static void path_of(const struct place *p, enum prepare_slice slice, char path[700])
{
    (void)snprintf(path, 700, "%s/%s", p->folder, prepare_files[slice]);
}

/* rows rows of y = intercept + slope a + 3b + 0.01 at random. */
static void write_slice(const struct place *p, enum prepare_slice slice, int rows, double intercept,
                        double slope)
{
    char path[700];
    path_of(p, slice, path);
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    (void)fputs("a,b,y\n", out);
    for (int i = 0; i < rows; i++) {
        double a = i * 37 % 21 - 10, b = i * 53 % 17 - 8, noise = i * 29 % 11 - 5;
        (void)fprintf(out, "%.17g,%.17g,%.17g\n", a, b,
                      intercept + slope * a + 3 * b + 0.01 * noise);
    }
    assert_int_equal(fclose(out), 0);
}

static void retrain_or_fail(const struct place *p, struct retrained *out)
{
    struct error err = {0};
    if (!retrain(&p->options, out, &err))
        fail_msg("%s", err.message);
}

static void the_best_on_the_selection_wins(void **state)
{
    struct place *p = *state;
    static const struct {
        int base, feedback;
        double intercept, slope; /* since the shift; before, 1 and 2 */
    } cases[] = {{200, 40, 6, 2}, {200, 55, 1, -7}, {40, 6, 1, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct retrained out;
        write_slice(p, SLICE_BASE, cases[i].base, 1, 2);
        write_slice(p, SLICE_FEEDBACK, cases[i].feedback, cases[i].intercept, cases[i].slope);
        write_slice(p, SLICE_SELECTION, 30, cases[i].intercept, cases[i].slope);
        retrain_or_fail(p, &out);
        double least = INFINITY;
        for (size_t w = 0; w < RETRAIN_WAYS; w++) {
            const struct model *model = out.candidates[w].model;
            assert_non_null(model);
            assert_int_equal(model_card(model)->holdout.rows, 30);
            least = fmin(least, model_card(model)->holdout.mae);
        }
        const struct model *winner = out.candidates[out.winner].model;
        assert_close(model_card(winner)->holdout.mae, least, 0);
        assert_true(least < 0.3);
        assert_true(i == 2 || out.champion.mae > 2);
        assert_string_equal(model_name(winner), "plane");
        assert_string_equal(model_version(winner), "2");
        assert_string_equal(model_card(winner)->date, "2026-11-25");
        retrained_clear(&out);
    }
}

static void candidates_are_fitted_to_the_rows_that_they_are_named_for(void **state)
{
    struct place *p = *state;
    struct retrained out;
    write_slice(p, SLICE_BASE, 200, 1, 2);
    write_slice(p, SLICE_FEEDBACK, 40, 6, 2);
    write_slice(p, SLICE_SELECTION, 30, 6, 2);
    retrain_or_fail(p, &out);
    assert_int_equal(model_card(out.candidates[RETRAIN_PRIOR].model)->rows, 40);
    assert_int_equal(model_card(out.candidates[RETRAIN_FEEDBACK].model)->rows, 40);
    assert_int_equal(model_card(out.candidates[RETRAIN_BOTH].model)->rows, 240);
    /* without the rows of the shift it is nearly the champion */
    assert_true(model_card(out.candidates[RETRAIN_BOTH].model)->holdout.mae > 3);
    retrained_clear(&out);
}

static void a_candidate_that_fails_is_one_less(void **state)
{
    struct place *p = *state;
    struct retrained out;
    char path[700];
    write_slice(p, SLICE_FEEDBACK, 40, 6, 2);
    write_slice(p, SLICE_SELECTION, 30, 6, 2);
    retrain_or_fail(p, &out);
    assert_null(out.candidates[RETRAIN_BOTH].model);
    assert_contains(out.candidates[RETRAIN_BOTH].error.message, "base.csv: No such file");
    assert_non_null(out.candidates[out.winner].model);
    retrained_clear(&out);
    path_of(p, SLICE_BASE, path);
    FILE *base = fopen(path, "wb");
    assert_non_null(base);
    (void)fputs("b,a,y\n1,2,3\n", base);
    assert_int_equal(fclose(base), 0);
    retrain_or_fail(p, &out);
    assert_contains(out.candidates[RETRAIN_BOTH].error.message, "expected the same columns");
    retrained_clear(&out);
}

static void if_all_fail_it_says_why(void **state)
{
    struct place *p = *state;
    struct retrained out;
    struct error err = {0};
    write_slice(p, SLICE_BASE, 200, 1, 2);
    write_slice(p, SLICE_SELECTION, 30, 6, 2);
    assert_false(retrain(&p->options, &out, &err));
    retrained_clear(&out);
    assert_contains(err.message, "no candidate could be fitted; the first: ");
    assert_contains(err.message, "feedback.csv: No such file");
    p->options.folder = "/nonexistent";
    assert_false(retrain(&p->options, &out, &err));
    retrained_clear(&out);
    assert_contains(err.message, "/nonexistent/selection.csv: ");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_place, remove_place)

static const struct CMUnitTest tests[] = {
    CASE(the_best_on_the_selection_wins),
    CASE(candidates_are_fitted_to_the_rows_that_they_are_named_for),
    CASE(a_candidate_that_fails_is_one_less),
    CASE(if_all_fail_it_says_why),
};

T_MAIN(tests)
