/* What a centre may be: never a training row, always the middle of two that differ. */
#include "model/centres.h"

#include "tests/support/t.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { INPUTS = 3 };

static const double scales[] = {1, 2, 0.1, 3};
static const struct kernel_direction directions[] = {{0, 1, true}};
static const struct kernel_map map = {
    .inputs = INPUTS, .direction_count = 1, .directions = directions, .scales = scales};

static double uniform(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 11) * 0x1p-53;
}

/* Random rows, each number a multiple of `grain` if that is not 0. */
static struct matrix random_rows(size_t rows, double grain, uint64_t seed)
{
    struct matrix u;
    struct error err = {0};
    assert_true(matrix_init(&u, rows, INPUTS, &err));
    for (size_t i = 0; i < rows * INPUTS; i++) {
        u.data[i] = 4 * uniform(&seed) - 2;
        if (grain > 0)
            u.data[i] = grain * floor(u.data[i] / grain);
    }
    return u;
}

static struct centres choose(const struct matrix *u, size_t wanted)
{
    struct centres c;
    struct error err = {0};
    if (!centres_choose(u, &map, wanted, &c, &err))
        fail_msg("centres_choose: %s", err.message);
    assert_true(c.count <= wanted);
    return c;
}

static void assert_centres_are_means(const struct matrix *u, const struct centres *c)
{
    for (size_t m = 0; m < c->count; m++) {
        const double *a = matrix_row(u, c->rows[m][0]), *b = matrix_row(u, c->rows[m][1]);
        const double *z = c->points + m * INPUTS;
        double apart = 0;
        assert_true(c->rows[m][0] < c->rows[m][1] && c->rows[m][1] < u->rows);
        for (size_t j = 0; j < INPUTS; j++) {
            apart = fmax(apart, fabs(a[j] - b[j]));
            assert_true(fabs(z[j] - (a[j] + b[j]) / 2) <= 0.5001e-4);
            assert_close(z[j], nearbyint(z[j] * 1e4) / 1e4, 0);
        }
        assert_true(apart > 2e-4);
    }
}

static bool is_row(const struct matrix *u, const double *z)
{
    bool found = false;
    for (size_t i = 0; i < u->rows && !found; i++) {
        found = true;
        for (size_t j = 0; j < INPUTS; j++)
            found = found && fabs(matrix_row(u, i)[j] - z[j]) <= 0.5001e-4;
    }
    return found;
}

static void every_centre_is_the_mean_of_two_different_rows_and_none_is_a_row(void **state)
{
    (void)state;
    struct matrix u = random_rows(500, 0, 1);
    for (size_t wanted = 1; wanted <= 500; wanted = wanted * 5 / 2 + 1) {
        struct centres c = choose(&u, wanted);
        assert_true(c.count > wanted * 2 / 3);
        assert_centres_are_means(&u, &c);
        for (size_t m = 0; m < c.count; m++)
            assert_false(is_row(&u, c.points + m * INPUTS));
        centres_clear(&c);
    }
    matrix_clear(&u);
}

static void no_two_centres_are_equal(void **state)
{
    (void)state;
    struct matrix u = random_rows(300, 0.5, 2);
    struct centres c = choose(&u, 150);
    assert_true(c.count > 10);
    assert_centres_are_means(&u, &c);
    for (size_t m = 0; m < c.count; m++)
        for (size_t k = 0; k < m; k++)
            assert_memory_not_equal(c.points + m * INPUTS, c.points + k * INPUTS,
                                    INPUTS * sizeof *c.points);
    centres_clear(&c);
    matrix_clear(&u);
}

static void equal_rows_have_no_centre(void **state)
{
    (void)state;
    struct matrix u = random_rows(40, 10, 3);
    for (size_t i = 0; i < u.rows * INPUTS; i++)
        u.data[i] = 1e-4 * (double)(i % 2);
    struct centres c = choose(&u, 10);
    assert_int_equal(c.count, 0);
    centres_clear(&c);
    matrix_clear(&u);
}

static void centres_follow_the_rows(void **state)
{
    (void)state;
    struct matrix u = random_rows(1000, 0, 4);
    for (size_t i = 0; i < 900; i++) /* nine rows in ten lie far to the left */
        matrix_row(&u, i)[0] -= 50;
    struct centres c = choose(&u, 100);
    size_t left = 0;
    for (size_t m = 0; m < c.count; m++)
        left += c.points[m * INPUTS] < -25;
    assert_true(c.count >= 95 && left * 10 >= c.count * 8 && left * 10 <= c.count * 10 - 5);
    centres_clear(&c);
    matrix_clear(&u);
}

static void the_same_rows_give_the_same_centres(void **state)
{
    (void)state;
    struct matrix u = random_rows(200, 0, 5);
    struct centres a = choose(&u, 60), b = choose(&u, 60);
    assert_int_equal(a.count, b.count);
    assert_memory_equal(a.points, b.points, a.count * INPUTS * sizeof *a.points);
    centres_clear(&a);
    centres_clear(&b);
    matrix_clear(&u);
}

static void more_centres_than_rows_are_refused(void **state)
{
    (void)state;
    struct matrix u = random_rows(5, 0, 6);
    struct centres c;
    struct error err = {0};
    assert_false(centres_choose(&u, &map, 6, &c, &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_contains(err.message, "centres: expected 1 to 5, got 6");
    assert_false(centres_choose(&u, &map, 0, &c, &err));
    centres_clear(&c);
    matrix_clear(&u);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_centre_is_the_mean_of_two_different_rows_and_none_is_a_row),
    cmocka_unit_test(no_two_centres_are_equal),
    cmocka_unit_test(equal_rows_have_no_centre),
    cmocka_unit_test(centres_follow_the_rows),
    cmocka_unit_test(the_same_rows_give_the_same_centres),
    cmocka_unit_test(more_centres_than_rows_are_refused),
};

T_MAIN(tests)
