/* What is common to writers and readers of the feedback journal. */
#include "base/journal_format.h"

#include "tests/support/t.h"

static void the_checksum_is_zlibs_in_hexadecimal(void **state)
{
    (void)state;
    /* the check value of CRC-32, as every description of it gives it */
    char out[JOURNAL_CRC_BYTES];
    journal_put_crc(out, (struct span){"123456789", 9});
    assert_memory_equal(out, ",cbf43926\n", JOURNAL_CRC_BYTES);
}

static void a_line_holds_only_with_every_byte_as_it_was(void **state)
{
    (void)state;
    char line[] = "123456789,cbf43926\n";
    size_t n = sizeof line - 1;
    assert_true(journal_crc_holds((struct span){line, n}));
    for (size_t cut = 0; cut < n; cut++) {
        char *copy = t_guarded(line, cut);
        assert_false(journal_crc_holds((struct span){copy, cut}));
        t_guarded_free(copy, cut);
    }
    for (size_t i = 0; i < n; i++) {
        line[i] ^= 1;
        assert_false(journal_crc_holds((struct span){line, n}));
        line[i] ^= 1;
    }
}

static void fixed_columns_get_out_of_the_way(void **state)
{
    (void)state;
    static const char *const others[] = {"a", "id", "_id", "__time"};
    assert_int_equal(journal_underscores("id", others, 4), 2);
    assert_int_equal(journal_underscores("time", others, 4), 0);
    assert_int_equal(journal_underscores("id", others, 1), 0);
    assert_int_equal(journal_underscores("id", others, 0), 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_checksum_is_zlibs_in_hexadecimal),
    cmocka_unit_test(a_line_holds_only_with_every_byte_as_it_was),
    cmocka_unit_test(fixed_columns_get_out_of_the_way),
};

T_MAIN(tests)
