/* Cells and quantiles: of the reference itself, of columns of few values, of what has moved away. */
#include "model/histogram.h"
#include "tests/support/t.h"

#include <math.h>

static void make_reference(double *quantiles)
{
    for (size_t i = 0; i < MODEL_QUANTILES; i++)
        quantiles[i] = ((double)i + 0.5) / MODEL_QUANTILES;
}

static uint64_t total(const struct histogram *h)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < HISTOGRAM_CELLS; i++)
        sum += h->cells[i];
    return sum;
}

static void quantiles_of_other_rows_come_back(void **state)
{
    (void)state;
    double reference[MODEL_QUANTILES], got[MODEL_QUANTILES];
    struct histogram h;
    make_reference(reference);
    histogram_init(&h, reference, 0, 1);
    enum { ROWS = 100000 };
    for (size_t i = 0; i < ROWS;
         i++) { /* the square of a uniform number, shifted out of the range */
        double u = ((double)i + 0.5) / ROWS;
        histogram_add(&h, u * u + 0.5);
    }
    assert_int_equal(total(&h), ROWS);
    histogram_quantiles(&h, got);
    for (size_t i = 0; i < MODEL_QUANTILES; i++) {
        double level = ((double)i + 0.5) / MODEL_QUANTILES, expected = level * level + 0.5;
        /* beyond the greatest reference there is one cell, inside they are narrow */
        if (fabs(got[i] - expected) > (expected < 1 ? 0.002 : 0.12))
            fail_msg("quantile %zu: %g, expected %g", i, got[i], expected);
    }
}

static void few_values_stay_what_they_are(void **state)
{
    (void)state;
    double reference[MODEL_QUANTILES], got[MODEL_QUANTILES];
    struct histogram h;
    for (size_t i = 0; i < MODEL_QUANTILES; i++)
        reference[i] = i < 10 ? 0.1 : i < 30 ? 0.7 : 52;
    histogram_init(&h, reference, 0.1, 52);
    for (size_t i = 0; i < 64; i++)
        histogram_add(&h, i < 32 ? 0.1 : i < 34 ? 0.7 : 52);
    histogram_quantiles(&h, got);
    for (size_t i = 0; i < MODEL_QUANTILES; i++)
        assert_close(got[i], i < 16 ? 0.1 : i < 17 ? 0.7 : 52, 0);
}

static void constant_column_stays_constant(void **state)
{
    (void)state;
    double reference[MODEL_QUANTILES], got[MODEL_QUANTILES];
    struct histogram h;
    make_reference(reference);
    histogram_init(&h, reference, 0, 1);
    histogram_add(&h, 7);
    histogram_add(&h, 7);
    histogram_quantiles(&h, got);
    assert_close(got[0], 7, 0);
    assert_close(got[MODEL_QUANTILES - 1], 7, 0);
}

static void counts_add_up_and_go_away_again(void **state)
{
    (void)state;
    double reference[MODEL_QUANTILES];
    struct histogram a, b, both;
    make_reference(reference);
    histogram_init(&a, reference, 0, 1);
    b = both = a;
    for (size_t i = 0; i < 100; i++) {
        double x = (double)(i * i % 101) / 50 - 0.5;
        histogram_add(i % 3 == 0 ? &a : &b, x);
        histogram_add(&both, x);
    }
    histogram_merge(&a, &b);
    assert_memory_equal(&a, &both, sizeof a);
    assert_true(histogram_subtract(&both, &b));
    assert_int_equal(total(&both), 34);
    assert_false(histogram_subtract(&both, &a));
}

static void without_a_reference_the_extremes_are_known(void **state)
{
    (void)state;
    struct histogram h;
    histogram_init(&h, NULL, 0, 0);
    assert_true(h.least > h.greatest);
    histogram_add(&h, 3);
    histogram_add(&h, -2);
    assert_close(h.least, -2, 0);
    assert_close(h.greatest, 3, 0);
    assert_int_equal(total(&h), 2);
}

static void score_is_in_its_cell_and_less_than_a_hundredth_below_its_bound(void **state)
{
    (void)state;
    for (double score = 0x1p-63; score < 0x1p63; score *= 1.0071) {
        size_t cell = score_cell(score);
        assert_in_range(cell, 1, SCORE_CELLS - 2);
        if (!(score_bound(cell) > score && score_bound(cell) <= score * 1.0079 &&
              score_bound(cell - 1) <= score))
            fail_msg("%g is in a cell up to %g", score, score_bound(cell));
    }
    assert_int_equal(score_cell(0), 0);
    assert_int_equal(score_cell(1e300), SCORE_CELLS - 1);
    assert_int_equal(score_cell(INFINITY), SCORE_CELLS - 1);
    assert_true(isinf(score_bound(SCORE_CELLS - 1)));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(quantiles_of_other_rows_come_back),
    cmocka_unit_test(few_values_stay_what_they_are),
    cmocka_unit_test(constant_column_stays_constant),
    cmocka_unit_test(counts_add_up_and_go_away_again),
    cmocka_unit_test(without_a_reference_the_extremes_are_known),
    cmocka_unit_test(score_is_in_its_cell_and_less_than_a_hundredth_below_its_bound),
};

T_MAIN(tests)
