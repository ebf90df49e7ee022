/* Which values are taken for what their column says. */
#include "model/plausible.h"

#include "tests/support/plane.h"
#include "tests/support/t.h"

#include <float.h>
#include <math.h>

static void a_range_is_widened_by_its_own_width(void **state)
{
    (void)state;
    struct plausible p;
    struct error err = {0};
    struct model *model = plane_model("1", 1);
    assert_true(plausible_init(&p, model, 0.5, &err));
    plausible_set_target(&p, 1, 2, 3);
    assert_int_equal(plausible_check(&p, (const double[]){-20, 20, -2}, 3), 3);
    assert_int_equal(plausible_check(&p, (const double[]){-20.5, 20, -2}, 3), 0);
    assert_int_equal(plausible_check(&p, (const double[]){-20, 20.5, -2}, 3), 1);
    assert_int_equal(plausible_check(&p, (const double[]){-20, 20, 5.5}, 3), 2);
    assert_int_equal(plausible_check(&p, (const double[]){-20, 20, 5.5}, 2), 2);
    assert_int_equal(plausible_check(&p, (const double[]){0, NAN, 0}, 3), 1);
    assert_string_equal(plausible_column(&p, 1), "b");
    assert_string_equal(plausible_column(&p, 2), "y");
    plausible_clear(&p);
    model_free(model);
}

static void what_has_no_width_is_not_judged(void **state)
{
    (void)state;
    struct plausible p;
    struct error err = {0};
    struct model *model = plane_model("1", 1);
    assert_true(plausible_init(&p, model, 0, &err));
    assert_int_equal(plausible_check(&p, (const double[]){-10, 10, DBL_MAX}, 3), 3);
    plausible_set_target(&p, 7, 7, 1);
    assert_int_equal(plausible_check(&p, (const double[]){-10, 10, -DBL_MAX}, 3), 3);
    assert_int_equal(plausible_check(&p, (const double[]){10.5, 10, 7}, 3), 0);
    plausible_clear(&p);
    model_free(model);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_range_is_widened_by_its_own_width),
    cmocka_unit_test(what_has_no_width_is_not_judged),
};

T_MAIN(tests)
