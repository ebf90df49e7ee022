/* Which rows a sample holds, and that it holds them unharmed. */
#include "model/sample.h"

#include "tests/support/t.h"

#include <string.h>

/* A sample of a table whose row i is {i, -i}, taken in by blocks of `block` rows. */
static struct sample sample_of(size_t rows, size_t capacity, size_t block)
{
    struct sample s;
    struct error err = {0};
    assert_true(sample_init(&s, capacity, 2, &err));
    for (size_t i = 0; i < rows; i += block)
        for (size_t k = i; k < i + block && k < rows; k++)
            sample_add(&s, (const double[]){(double)k, -(double)k}, 1);
    assert_true(sample_finish(&s, &err));
    return s;
}

static void assert_in_order(const struct sample *s)
{
    assert_int_equal(s->rows.rows, s->count);
    for (size_t i = 0; i < s->count; i++) {
        assert_true(i == 0 || s->row[i] > s->row[i - 1]);
        assert_close(matrix_row(&s->rows, i)[0], (double)s->row[i], 0);
        assert_close(matrix_row(&s->rows, i)[1], -(double)s->row[i], 0);
    }
}

static void a_table_that_fits_is_kept_whole(void **state)
{
    (void)state;
    for (size_t rows = 0; rows <= 5; rows++) {
        struct sample s = sample_of(rows, 5, 2);
        assert_int_equal(s.count, rows);
        assert_in_order(&s);
        sample_clear(&s);
    }
}

static void a_longer_table_leaves_a_sample_in_its_order(void **state)
{
    (void)state;
    for (size_t rows = 6; rows < 300; rows += 13) {
        struct sample s = sample_of(rows, 5, 7);
        assert_int_equal(s.count, 5);
        assert_in_order(&s);
        assert_true(s.row[4] < rows);
        sample_clear(&s);
    }
}

static void every_part_of_the_table_is_as_likely(void **state)
{
    (void)state;
    enum { ROWS = 20000, KEPT = 2000 };
    size_t tenths[10] = {0};
    struct sample s = sample_of(ROWS, KEPT, 64);
    for (size_t i = 0; i < KEPT; i++)
        tenths[s.row[i] / (ROWS / 10)]++;
    for (size_t k = 0; k < 10; k++) /* 200 expected, standard deviation 13 */
        assert_true(tenths[k] > 140 && tenths[k] < 260);
    sample_clear(&s);
}

static void the_same_rows_give_the_same_sample(void **state)
{
    (void)state;
    struct sample a = sample_of(1000, 50, 1), b = sample_of(1000, 50, 999);
    assert_memory_equal(a.row, b.row, 50 * sizeof *a.row);
    sample_clear(&a);
    sample_clear(&b);
}

static void shuffling_gives_every_number_once_and_not_in_order(void **state)
{
    (void)state;
    enum { COUNT = 100 };
    size_t order[COUNT], again[COUNT], in_place = 0;
    bool seen[COUNT] = {false};
    sample_shuffle(order, COUNT);
    sample_shuffle(again, COUNT);
    assert_memory_equal(order, again, sizeof order);
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(order[i] < COUNT && !seen[order[i]]);
        seen[order[i]] = true;
        in_place += order[i] == i;
    }
    assert_true(in_place < 10);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_table_that_fits_is_kept_whole),
    cmocka_unit_test(a_longer_table_leaves_a_sample_in_its_order),
    cmocka_unit_test(every_part_of_the_table_is_as_likely),
    cmocka_unit_test(the_same_rows_give_the_same_sample),
    cmocka_unit_test(shuffling_gives_every_number_once_and_not_in_order),
};

T_MAIN(tests)
