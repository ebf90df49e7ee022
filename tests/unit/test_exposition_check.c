/* The strict reader is what the other tests trust, so every rule is shown to refuse a page that breaks it,
 * above all those that `promtool check metrics` lets through. */
#include "tests/support/exposition_check.h"
#include "tests/support/t.h"

#include <stdio.h>
#include <string.h>

struct bad_page {
    const char *text, *message;
};

static void refuse(const struct bad_page *pages, size_t n, enum exposition_format format)
{
    for (size_t i = 0; i < n; i++) {
        struct error err = {0};
        if (exposition_check(pages[i].text, strlen(pages[i].text), format, &err))
            fail_msg("accepted, though %s:\n%s", pages[i].message, pages[i].text);
        assert_int_equal(err.code, ERR_INVALID);
        assert_string_equal(err.message, pages[i].message);
    }
}
#define REFUSE(pages, format) refuse((pages), sizeof(pages) / sizeof *(pages), (format))

static void accept(const char *text, enum exposition_format format)
{
    struct error err = {0};
    if (!exposition_check(text, strlen(text), format, &err))
        fail_msg("%s in:\n%s", err.message, text);
}

#define G        "# HELP g G.\n# TYPE g gauge\n"
#define C        "# HELP c_total C.\n# TYPE c_total counter\n"
#define H        "# HELP h H.\n# TYPE h histogram\n"
#define OM_G     "# TYPE g gauge\n# HELP g G.\n"
#define OM_C     "# TYPE c counter\n# HELP c C.\n"
#define OM_H     "# TYPE h histogram\n# HELP h H.\n"
#define END      "# EOF\n"
#define COUNT(n) "h_sum 1\nh_count " #n "\n"

static void good_pages_are_accepted(void **state)
{
    (void)state;
    accept("", EXPOSITION_TEXT);
    accept(END, EXPOSITION_OPENMETRICS);
    accept(G "g 1\n" C "c_total{a=\"1\"} 0\nc_total{a=\"2\"} 3\n" H
             "h_bucket{le=\"0.005\"} 1\nh_bucket{le=\"1.0\"} 1\nh_bucket{le=\"+Inf\"} 2\n" COUNT(2),
           EXPOSITION_TEXT);
    accept(OM_G "g{a=\"\\\\ \\\" \\n \xc3\xa9\"} NaN\n" OM_C
                "c_total 2.5\n"
                "# TYPE b info\n# HELP b B.\nb_info{v=\"1\"} 1\n"
                "# TYPE t_seconds gauge\n# UNIT t_seconds seconds\n# HELP t_seconds T.\n"
                "t_seconds -Inf\n" OM_H
                "h_bucket{le=\"1e-05\"} 1\nh_bucket{le=\"+Inf\"} 1\n" COUNT(1) END,
           EXPOSITION_OPENMETRICS);
    accept(H
           "h_bucket{a=\"1\",le=\"+Inf\"} 0\nh_sum{a=\"1\"} 0\nh_count{a=\"1\"} 0\n"
           "h_bucket{a=\"2\",le=\"+Inf\"} 7\nh_sum{a=\"2\"} 0.5\nh_count{a=\"2\"} 7\n",
           EXPOSITION_TEXT);
}

/* promtool finds nothing wrong with any of these. */
static void what_promtool_overlooks_is_refused(void **state)
{
    (void)state;
    static const struct bad_page pages[] = {
        {H "h_bucket{le=\"1.0\"} 1\n" COUNT(1),
         "line 4: _sum and _count follow the +Inf bucket of their series"},
        {H "h_bucket{le=\"2.0\"} 1\nh_bucket{le=\"1.0\"} 1\nh_bucket{le=\"+Inf\"} 1\n" COUNT(1),
         "line 4: buckets must ascend"},
        {H "h_bucket{le=\"+Inf\"} 1\nh_bucket{le=\"1.0\"} 1\n" COUNT(1),
         "line 4: buckets must ascend"},
        {H "h_bucket{le=\"1.0\"} 2\nh_bucket{le=\"2.0\"} 1\nh_bucket{le=\"+Inf\"} 2\n" COUNT(2),
         "line 4: bucket counts must not fall"},
        {H "h_bucket{le=\"1.0\"} 1\nh_bucket{le=\"+Inf\"} 1\n" COUNT(2),
         "line 6: _count must equal the +Inf bucket"},
        {G "g{a=\"1\"} 1\ng{a=\"1\"} 2\n", "line 4: a series comes twice"},
        {G "g{a=\"1\",b=\"2\"} 1\ng{b=\"2\",a=\"1\"} 2\n", "line 4: a series comes twice"},
        {G "g 1\n" C "c_total 1\ng{a=\"1\"} 1\n",
         "line 7: a sample follows the HELP and TYPE of its family"},
    };
    REFUSE(pages, EXPOSITION_TEXT);
}

static void broken_histograms_are_refused(void **state)
{
    (void)state;
    static const struct bad_page pages[] = {
        {H "h_bucket 1\n", "line 3: a bucket needs an le written like 1.0"},
        {H "h_bucket{le=\"1\"} 1\n", "line 3: a bucket needs an le written like 1.0"},
        {H "h_bucket{le=\"0.50\"} 1\n", "line 3: a bucket needs an le written like 1.0"},
        {H "h_bucket{le=\"Inf\"} 1\n", "line 3: a bucket needs an le written like 1.0"},
        {H "h_bucket{le=\"NaN\"} 1\n", "line 3: a bucket needs an le written like 1.0"},
        {H "h_bucket{le=\"x\"} 1\n", "line 3: a bucket needs an le written like 1.0"},
        {H "h_bucket{le=\"+Inf\"} 1.5\n", "line 3: bucket counts are whole numbers"},
        {H "h_bucket{le=\"+Inf\"} +Inf\n", "line 3: bucket counts are whole numbers"},
        {H "h_bucket{le=\"+Inf\"} NaN\n", "line 3: bucket counts are whole numbers"},
        {H "h_bucket{le=\"+Inf\"} -1\n", "line 3: bucket counts are whole numbers"},
        {H "h_bucket{le=\"+Inf\"} 1\nh_sum NaN\nh_count 1\n",
         "line 4: a sum is finite and not negative"},
        {H "h_bucket{le=\"+Inf\"} 1\nh_sum -1\nh_count 1\n",
         "line 4: a sum is finite and not negative"},
        {H "h_bucket{le=\"+Inf\"} 1\nh_count 1\n", "line 4: a histogram needs _sum before _count"},
        {H "h_bucket{le=\"+Inf\"} 1\nh_sum 1\n", "line 4: a histogram series ends without _count"},
        {H "h_bucket{le=\"+Inf\"} 1\nh_sum 1\n" G "g 1\n",
         "line 5: a histogram series ends without _count"},
        {H "h_bucket{a=\"1\",le=\"+Inf\"} 1\nh_bucket{a=\"2\",le=\"+Inf\"} 1\n",
         "line 4: a histogram series ends without _count"},
        {H "h_bucket{a=\"1\",le=\"+Inf\"} 1\nh_sum{a=\"2\"} 1\n",
         "line 4: _sum and _count follow the +Inf bucket of their series"},
        {H "h 1\n", "line 3: _sum and _count follow the +Inf bucket of their series"},
        {H "h_bucket{le=\"+Inf\"} 1\nh_max 1\n", "line 4: expected _bucket, _sum or _count"},
        {G "g{le=\"1.0\"} 1\n", "line 3: le belongs to histograms"},
    };
    REFUSE(pages, EXPOSITION_TEXT);
}

static void wrong_comment_lines_are_refused(void **state)
{
    (void)state;
    static const struct bad_page pages[] = {
        {"# TYPE g gauge\ng 1\n", "line 2: a sample follows the HELP and TYPE of its family"},
        {"# HELP g G.\ng 1\n", "line 2: a sample follows the HELP and TYPE of its family"},
        {"g 1\n", "line 1: a sample follows the HELP and TYPE of its family"},
        {"# HELP g G.\n", "line 1: a family needs both HELP and TYPE"},
        {G "g 1\n# HELP g G.\n", "line 4: HELP, TYPE and UNIT come before the samples"},
        {G "g 1\n" C "c_total 1\n" G "g{a=\"1\"} 1\n",
         "line 7: a family comes twice, or in two places"},
        {"# HELP g G.\n# HELP g G.\n", "line 2: expected one # HELP, # TYPE or # UNIT"},
        {"# TYPE g gauge\n# TYPE g gauge\n", "line 2: TYPE comes twice"},
        {"# HELP g G.\n# TYPE g guage\n", "line 2: unknown type"},
        {"# HELP g G.\n# TYPE g untyped\n", "line 2: unknown type"},
        {"# HELP b_info B.\n# TYPE b_info info\n", "line 2: unknown type"},
        {"# HELP c C.\n# TYPE c counter\n", "line 2: counters, and they alone, end in _total"},
        {"# HELP c_total C.\n# TYPE c_total gauge\n",
         "line 2: counters, and they alone, end in _total"},
        {"# a remark\n", "line 1: expected a family name and a text"},
        {"# remark\n", "line 1: expected # HELP, # TYPE or # UNIT"},
        {"#HELP g G.\n", "line 1: expected # HELP, # TYPE or # UNIT"},
        {"# HELP 9g G.\n", "line 1: expected a family name and a text"},
        {"# HELP g a\\x\n", "line 1: bad escape in HELP"},
        {"# HELP g a\\\"b\n", "line 1: bad escape in HELP"},
        {"# HELP g a\\\n", "line 1: bad escape in HELP"},
        {"# HELP t_s T.\n# UNIT t_s s\n", "line 2: expected one # HELP, # TYPE or # UNIT"},
        {"# EOF\n", "line 1: expected # HELP, # TYPE or # UNIT"},
    };
    REFUSE(pages, EXPOSITION_TEXT);
}

static void wrong_samples_are_refused(void **state)
{
    (void)state;
    static const struct bad_page pages[] = {
        {G "g 1", "line 3: the last line must end in LF"},
        {"# HELP g G.\r\n", "line 1: expected no CR and no empty line"},
        {G "\ng 1\n", "line 3: expected no CR and no empty line"},
        {G "g 1 1700000000\n", "line 3: expected a value and nothing behind it"},
        {G "g  1\n", "line 3: expected a value and nothing behind it"},
        {G "g 1 \n", "line 3: expected a value and nothing behind it"},
        {G "g \n", "line 3: expected a value and nothing behind it"},
        {G "g 0x1\n", "line 3: expected a value and nothing behind it"},
        {G "g 1e\n", "line 3: expected a number"},
        {G "g 0,5\n", "line 3: expected a value and nothing behind it"},
        {G "g\n", "line 3: expected a blank before the value"},
        {G "g\t1\n", "line 3: expected a blank before the value"},
        {G "g{} 1\n", "line 3: expected label=\"value\""},
        {G "g{a=\"1\",} 1\n", "line 3: expected label=\"value\""},
        {G "g{a=1} 1\n", "line 3: expected label=\"value\""},
        {G "g{a=\"1\" 1\n", "line 3: expected '}'"},
        {G "g{a=\"1\"}1\n", "line 3: expected a blank before the value"},
        {G "g{a=\"1\",a=\"2\"} 1\n", "line 3: a label comes twice"},
        {G "g{a=\"\\x\"} 1\n", "line 3: bad escape or end in a label value"},
        {G "g{a=\"1} 1\n", "line 3: bad escape or end in a label value"},
        {G "g{a=\"1\\\n", "line 3: bad escape or end in a label value"},
        {G "g{a=\"\xff\"} 1\n", "line 3: expected UTF-8"},
        {G "gg 1\n", "line 3: wrong suffix"},
        {G " g 1\n", "line 3: expected a metric name"},
        {C "c_total -1\n", "line 3: counters are finite and not negative"},
        {C "c_total NaN\n", "line 3: counters are finite and not negative"},
        {C "c_total +Inf\n", "line 3: counters are finite and not negative"},
        {C "c_total_created 1\n", "line 3: a counter's sample ends in _total"},
    };
    REFUSE(pages, EXPOSITION_TEXT);
}

static void openmetrics_has_rules_of_its_own(void **state)
{
    (void)state;
    static const struct bad_page pages[] = {
        {"", "line 0: OpenMetrics ends with # EOF"},
        {OM_G "g 1\n", "line 3: OpenMetrics ends with # EOF"},
        {OM_G "g 1\n# EOF", "line 4: the last line must end in LF"},
        {END OM_G, "line 2: nothing may follow # EOF"},
        {END "\n", "line 2: nothing may follow # EOF"},
        {"# HELP g G.\n# TYPE g gauge\n" END, "line 1: the order is TYPE, UNIT, HELP"},
        {"# TYPE t_s gauge\n# HELP t_s T.\n# UNIT t_s s\n" END,
         "line 3: the order is TYPE, UNIT, HELP"},
        {"# TYPE c_total counter\n",
         "line 1: OpenMetrics families are named without the suffix of their samples"},
        {"# TYPE b_info info\n",
         "line 1: OpenMetrics families are named without the suffix of their samples"},
        {OM_C "c 1\n", "line 3: a counter's sample ends in _total"},
        {OM_C "c_created 1\n", "line 3: a counter's sample ends in _total"},
        {"# TYPE b info\n# HELP b B.\nb 1\n", "line 3: wrong suffix"},
        {"# TYPE b info\n# HELP b B.\nb_info 2\n", "line 3: an info is 1"},
        {"# UNIT t_s s\n", "line 1: the order is TYPE, UNIT, HELP"},
        {"# TYPE t_s gauge\n# UNIT t_s s\n# UNIT t_s s\n",
         "line 3: expected one # HELP, # TYPE or # UNIT"},
        {"# TYPE t_s gauge\n# UNIT t_s seconds\n", "line 2: UNIT must end the name"},
        {"# TYPE ts gauge\n# UNIT ts s\n", "line 2: UNIT must end the name"},
        {"# TYPE s gauge\n# UNIT s s\n", "line 2: UNIT must end the name"},
        {"# TYPE g gauge\n# HELP g a \"b\"\n", "line 2: bad escape in HELP"},
        {OM_G "g 1 # {a=\"1\"} 1\n", "line 3: expected a value and nothing behind it"},
        {OM_G "g 1 1700000000.5\n", "line 3: expected a value and nothing behind it"},
        {OM_G "# a remark\n", "line 3: expected a family name and a text"},
        {OM_H "h_bucket{le=\"1\"} 1\n", "line 3: a bucket needs an le written like 1.0"},
    };
    REFUSE(pages, EXPOSITION_OPENMETRICS);
}

static void a_nul_is_refused_where_it_stands(void **state)
{
    (void)state;
    struct error err = {0};
    assert_false(exposition_check("# EOF\n\0", 7, EXPOSITION_OPENMETRICS, &err));
    assert_string_equal(err.message, "line 0: expected no NUL");
}

static void texts_too_long_for_the_tables_are_refused(void **state)
{
    (void)state;
    char page[4096], text[3000];
    struct error err = {0};
    memset(text, 'g', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    int n = snprintf(page, sizeof page, "# HELP %.300s G.\n", text);
    assert_false(exposition_check(page, (size_t)n, EXPOSITION_TEXT, &err));
    assert_string_equal(err.message, "line 1: expected a family name and a text");
    n = snprintf(page, sizeof page, G "g{a=\"%s\"} 1\n", text);
    assert_false(exposition_check(page, (size_t)n, EXPOSITION_TEXT, &err));
    assert_string_equal(err.message, "line 3: too long for this checker");
}

static void a_value_is_found_by_its_whole_series(void **state)
{
    (void)state;
    static const char page[] = G "g{a=\"1\"} 2\ngg 3\ng 4\n";
    double value = 0;
    assert_true(exposition_value(page, sizeof page - 1, "g", &value));
    assert_true(value == 4);
    assert_true(exposition_value(page, sizeof page - 1, "g{a=\"1\"}", &value));
    assert_true(value == 2);
    assert_false(exposition_value(page, sizeof page - 1, "g{a=\"2\"}", &value));
    assert_false(exposition_value(page, sizeof page - 2, "g", &value));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(good_pages_are_accepted),
    cmocka_unit_test(what_promtool_overlooks_is_refused),
    cmocka_unit_test(broken_histograms_are_refused),
    cmocka_unit_test(wrong_comment_lines_are_refused),
    cmocka_unit_test(wrong_samples_are_refused),
    cmocka_unit_test(openmetrics_has_rules_of_its_own),
    cmocka_unit_test(a_nul_is_refused_where_it_stands),
    cmocka_unit_test(texts_too_long_for_the_tables_are_refused),
    cmocka_unit_test(a_value_is_found_by_its_whole_series),
};

T_MAIN(tests)
