/* Shared by all test programs; see t.h. */
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#include "tests/support/t.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void t_filter(void)
{
    const char *glob = getenv("F");
    if (glob != NULL && *glob != '\0')
        cmocka_set_test_filter(glob);
}

void t_assert_close(double a, double b, double rtol, const char *a_text, const char *b_text,
                    const char *file, int line)
{
    double scale = fmax(fabs(a), fabs(b));
    if (rtol == 0.0 ? memcmp(&a, &b, sizeof a) == 0 : fabs(a - b) <= rtol * scale)
        return;
    print_error("%s = %.17g, %s = %.17g, differ by %.3g relative (allowed %.3g)\n", a_text, a,
                b_text, b, fabs(a - b) / scale, rtol);
    _fail(file, line);
}

void t_assert_contains(const char *text, const char *part, const char *file, int line)
{
    if (strstr(text, part) != NULL)
        return;
    print_error("\"%s\"\ndoes not contain \"%s\"\n", text, part);
    _fail(file, line);
}

static int listed(const char *reason)
{
    char line[512];
    int found = 0;
    FILE *list = fopen("tests/skips", "r");
    if (list == NULL)
        return 0;
    while (!found && fgets(line, sizeof line, list) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        found = strcmp(line, reason) == 0;
    }
    (void)fclose(list);
    return found;
}

void t_skip(const char *reason)
{
    const char *ci = getenv("CI");
    print_message("SKIP: %s\n", reason);
    if (ci != NULL && strcmp(ci, "true") == 0 && !listed(reason))
        fail_msg("skipped in CI for a reason that tests/skips does not list: %s", reason);
    skip();
}

static size_t guarded_size(size_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (n + page - 1) / page * page + page;
}

char *t_guarded(const void *bytes, size_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), size = guarded_size(n);
    char *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        abort();
    if (mprotect(map + size - page, page, PROT_NONE) != 0)
        abort();
    char *copy = map + size - page - n;
    if (n > 0)
        memcpy(copy, bytes, n);
    return copy;
}

void t_guarded_free(char *copy, size_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), size = guarded_size(n);
    (void)munmap(copy + n + page - size, size);
}

/* OpenBLAS synchronises its threads in ways that ThreadSanitizer, not built into it, cannot see. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:libopenblas\n";
}
