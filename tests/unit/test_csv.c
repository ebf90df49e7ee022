/* What is written reads back. */
#include "model/csv.h"

#include "tests/support/t.h"

#include <stdlib.h>

static void fields_are_quoted_only_where_they_must_be(void **state)
{
    (void)state;
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    assert_non_null(out);
    csv_put_name(out, "plain", ',');
    csv_put_name(out, "a,b", ',');
    csv_put_name(out, "say \"x\"", ',');
    csv_put_name(out, "line\nend", '\n');
    csv_put_number(out, 0.1, ',');
    csv_put_number(out, -3, '\n');
    assert_int_equal(fclose(out), 0);
    assert_string_equal(text, "plain,\"a,b\",\"say \"\"x\"\"\",\"line\nend\"\n0.1,-3.0\n");
    free(text);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(fields_are_quoted_only_where_they_must_be),
};

T_MAIN(tests)
