/* t.h - what every test program includes: cmocka, exact comparisons, a main with a case filter.
 *
 * A test program lists its cases in T_MAIN; F='*glob*' in the environment picks some of them.
 * t_skip() prints its reason; with CI=true a reason that tests/skips does not list is a failure.
 */
#ifndef TESTS_SUPPORT_T_H
#define TESTS_SUPPORT_T_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Fails unless |a - b| <= rtol * max(|a|, |b|); rtol 0 asks for the same bits. */
#define assert_close(a, b, rtol) t_assert_close((a), (b), (rtol), #a, #b, __FILE__, __LINE__)
void t_assert_close(double a, double b, double rtol, const char *a_text, const char *b_text,
                    const char *file, int line);

/* Fails unless text contains part; prints both. */
#define assert_contains(text, part) t_assert_contains((text), (part), __FILE__, __LINE__)
void t_assert_contains(const char *text, const char *part, const char *file, int line);

/* Ends the case as skipped, or as failed when CI=true and the reason is not in tests/skips. */
void t_skip(const char *reason);

/* A copy of n bytes that ends at an unreadable page, so that one byte of over-read crashes. Released
 * with t_guarded_free. */
char *t_guarded(const void *bytes, size_t n);
void t_guarded_free(char *copy, size_t n);

#define T_MAIN(tests)                                                                              \
    int main(void)                                                                                 \
    {                                                                                              \
        t_filter();                                                                                \
        return cmocka_run_group_tests_name(__FILE__, (tests), NULL, NULL);                         \
    }
void t_filter(void);

#endif
