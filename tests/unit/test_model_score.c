/* Figures by hand and by a plain loop; the model is plane.h's, f = 1 + 2a + 3b, its target y. */
#include "model/model_score.h"

#include "tests/support/plane.h"
#include "tests/support/t.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool score_bytes(const char *text, size_t n, struct model_figures *figures,
                        struct error *err)
{
    struct model *model = plane_model("1", 1);
    FILE *in = fmemopen((void *)(uintptr_t)text, n, "r");
    assert_non_null(in);
    struct dataset *ds = dataset_new(in, "t.csv", 1000000, err);
    bool ok = ds != NULL && model_score(model, ds, figures, err);
    dataset_free(ds);
    (void)fclose(in);
    model_free(model);
    return ok;
}

static struct model_figures score(const char *text)
{
    struct model_figures figures;
    struct error err = {0};
    if (!score_bytes(text, strlen(text), &figures, &err))
        fail_msg("%s", err.message);
    return figures;
}

static void figures_are_those_of_the_textbook(void **state)
{
    (void)state;
    /* predictions 1, 3, 4, 6; errors 0, 1, -2, 1; mean of y 3.5, squares around it 21 */
    struct model_figures f = score("a,b,y\n0,0,1\n1,0,4\n0,1,2\n1,1,7\n");
    assert_int_equal(f.rows, 4);
    assert_close(f.mae, 1.0, 0);
    assert_close(f.rmse, sqrt(1.5), 1e-15);
    assert_close(f.r2, 1 - 6.0 / 21.0, 1e-15);
}

static void columns_may_come_in_any_order_with_others_between(void **state)
{
    (void)state;
    struct model_figures f = score("y,id,b,\"a\"\n1,x,0,0\n4,,0,1\n2,\"y,z\",1,0\n7,7,1,1\n");
    assert_close(f.mae, 1.0, 0);
    assert_close(f.r2, 1 - 6.0 / 21.0, 1e-15);
}

static void r2_of_a_constant_target_is_undefined(void **state)
{
    (void)state;
    struct model_figures f = score("a,b,y\n0,0,2\n1,0,2\n0,1,2\n");
    assert_true(isnan(f.r2));
    assert_close(f.mae, 4.0 / 3, 1e-15);
    f = score("a,b,y\n0,0,0.1\n");
    assert_true(isnan(f.r2));
    assert_int_equal(f.rows, 1);
    assert_close(f.mae, 0.9, 1e-15);
}

static void many_blocks_of_rows_give_what_a_plain_loop_gives(void **state)
{
    (void)state;
    enum { ROWS = 2 * MODEL_BLOCK_ROWS + 1 };
    char *text = malloc(ROWS * 64), *p = text + sprintf(text, "a,b,y\n");
    static double y[ROWS];
    long double absolute = 0, squares = 0, sum = 0, around = 0;
    uint64_t s = 1;
    for (int i = 0; i < ROWS; i++) {
        double a = i % 7, b = -i % 11;
        s = s * 6364136223846793005u + 1442695040888963407u;
        y[i] = 1e6 + (double)(s >> 48);
        p += sprintf(p, "%g,%g,%.17g\n", a, b, y[i]);
        long double error = (long double)y[i] - (1 + 2 * a + 3 * b);
        absolute += fabsl(error);
        squares += error * error;
        sum += y[i];
    }
    for (int i = 0; i < ROWS; i++)
        around += (y[i] - sum / ROWS) * (y[i] - sum / ROWS);
    struct model_figures f = score(text);
    assert_int_equal(f.rows, ROWS);
    assert_close(f.mae, (double)(absolute / ROWS), 1e-13);
    assert_close(f.rmse, (double)sqrtl(squares / ROWS), 1e-13);
    assert_close(f.r2, (double)(1 - squares / around), 1e-12);
    free(text);
}

static void score_refuses_what_has_no_figures(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum error_code code;
        const char *message;
    } cases[] = {
        {"a,b,y\n", ERR_INVALID, "expected at least one row to score"},
        {"a,b\n1,2\n", ERR_INVALID, "t.csv:1: expected a column \"y\", got none"},
        {"a,y\n1,2\n", ERR_INVALID, "t.csv:1: expected a column \"b\", got none"},
        {"a,b,y\n1,2,\n", ERR_INVALID, "t.csv:2: column \"y\": expected a number, got \"\""},
        {"a,b,y\n1,2,1e200\n", ERR_NUMERIC, "expected finite errors, got one that overflows"},
        {"a,b,y\n1e308,1e308,1\n", ERR_NUMERIC, "expected finite errors, got one that overflows"},
        {"a,b,y\n1e308,-1e308,1\n", ERR_NUMERIC, "expected finite errors, got one that overflows"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct model_figures f;
        struct error err = {0};
        assert_false(score_bytes(cases[i].text, strlen(cases[i].text), &f, &err));
        assert_string_equal(err.message, cases[i].message);
        assert_int_equal(err.code, cases[i].code);
    }
}

static void select_leaves_the_target_alone_unless_asked(void **state)
{
    (void)state;
    char text[] = "b,y,a\n2,?,1\n";
    struct error err = {0};
    double x[2];
    size_t rows;
    struct model *model = plane_model("1", 1);
    FILE *in = fmemopen(text, strlen(text), "r");
    assert_non_null(in);
    struct dataset *ds = dataset_new(in, "t.csv", 10, &err);
    assert_non_null(ds);
    assert_true(model_select(model, false, ds, &err));
    assert_true(dataset_read(ds, 1, x, &rows, &err));
    assert_close(x[0], 1.0, 0);
    assert_close(x[1], 2.0, 0);
    dataset_free(ds);
    (void)fclose(in);
    model_free(model);
}

/* plane.h's model against one of another intercept, over the same text opened twice. */
static bool score_pair(const char *text, const char *other, double intercept,
                       struct model_figures figures[2], struct bootstrap *gains, struct error *err)
{
    struct model *models[2] = {plane_model("1", 1), plane_model("2", intercept)};
    FILE *in[2] = {fmemopen((void *)(uintptr_t)text, strlen(text), "r"),
                   fmemopen((void *)(uintptr_t)other, strlen(other), "r")};
    struct dataset *data[2] = {dataset_new(in[0], "t.csv", 1000000, err),
                               dataset_new(in[1], "t.csv", 1000000, err)};
    assert_true(data[0] != NULL && data[1] != NULL && bootstrap_init(gains, err));
    bool ok = model_score_pair((const struct model *const[]){models[0], models[1]}, data, figures,
                               gains, err);
    for (size_t i = 0; i < 2; i++) {
        dataset_free(data[i]);
        (void)fclose(in[i]);
        model_free(models[i]);
    }
    return ok;
}

static void a_pair_is_scored_row_by_row(void **state)
{
    (void)state;
    static const char text[] = "a,b,y\n0,0,1\n1,0,4\n0,1,2\n1,1,7\n";
    struct model_figures figures[2];
    struct bootstrap gains;
    struct error err = {0};
    /* errors 0, 1, -2, 1 and, of the other, -2, -1, -4, -1 */
    assert_true(score_pair(text, text, 3, figures, &gains, &err));
    assert_close(figures[0].mae, 1.0, 0);
    assert_close(figures[1].mae, 2.0, 0);
    assert_int_equal(gains.rows, 4);
    assert_close(gains.sums[0], 2, 0);
    assert_close(gains.sums[1], 0, 0);
    assert_close(gains.sums[2], 2, 0);
    assert_close(gains.sums[3], 0, 0);
    bootstrap_clear(&gains);
}

static void a_pair_needs_the_same_rows(void **state)
{
    (void)state;
    struct model_figures figures[2];
    struct bootstrap gains;
    struct error err = {0};
    assert_false(score_pair("a,b,y\n0,0,1\n", "a,b,y\n0,0,1\n0,0,1\n", 3, figures, &gains, &err));
    assert_contains(err.message, "changed while it was read");
    bootstrap_clear(&gains);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(figures_are_those_of_the_textbook),
    cmocka_unit_test(columns_may_come_in_any_order_with_others_between),
    cmocka_unit_test(r2_of_a_constant_target_is_undefined),
    cmocka_unit_test(many_blocks_of_rows_give_what_a_plain_loop_gives),
    cmocka_unit_test(score_refuses_what_has_no_figures),
    cmocka_unit_test(select_leaves_the_target_alone_unless_asked),
    cmocka_unit_test(a_pair_is_scored_row_by_row),
    cmocka_unit_test(a_pair_needs_the_same_rows),
};

T_MAIN(tests)
