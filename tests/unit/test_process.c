#define _GNU_SOURCE /* open_memstream, prctl */
#include "metrics/exposition.h"
#include "metrics/process.h"
#include "tests/support/exposition_check.h"
#include "tests/support/t.h"

#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct fixture {
    struct metrics *metrics;
    struct process_metrics *process;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    assert_non_null(f->metrics = metrics_new(1));
    assert_non_null(f->process = process_metrics_new(f->metrics));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    process_metrics_free(f->process);
    metrics_free(f->metrics);
    free(f);
    return 0;
}

/* The value as a scrape sees it now; NaN when it is absent. */
static double scrape(const struct fixture *f, const char *name)
{
    struct error err = {0};
    char *text = NULL;
    size_t n = 0;
    double value = NAN;
    FILE *out = open_memstream(&text, &n);
    assert_non_null(out);
    exposition_write(f->metrics, EXPOSITION_TEXT, out);
    assert_int_equal(fclose(out), 0);
    if (!exposition_check(text, n, EXPOSITION_TEXT, &err))
        fail_msg("%s in:\n%s", err.message, text);
    if (!exposition_value(text, n, name, &value))
        value = NAN;
    free(text);
    return value;
}

static void every_name_prometheus_clients_export_is_there(void **state)
{
    static const char *const names[] = {"process_cpu_seconds_total",
                                        "process_open_fds",
                                        "process_max_fds",
                                        "process_virtual_memory_bytes",
                                        "process_resident_memory_bytes",
                                        "process_virtual_memory_max_bytes",
                                        "process_start_time_seconds",
                                        "process_threads"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (isnan(scrape(*state, names[i])))
            fail_msg("%s is missing", names[i]);
}

static void cpu_time_grows_with_work(void **state)
{
    double before = scrape(*state, "process_cpu_seconds_total");
    struct timespec cpu;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    time_t until = cpu.tv_nsec < 950000000 ? cpu.tv_sec : cpu.tv_sec + 1;
    long nanoseconds = (cpu.tv_nsec + 50000000) % 1000000000; /* 50 ms of CPU time: five ticks */
    while (cpu.tv_sec < until || (cpu.tv_sec == until && cpu.tv_nsec < nanoseconds))
        (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    double after = scrape(*state, "process_cpu_seconds_total");
    assert_true(after > before);
    assert_true(after <= (double)cpu.tv_sec + 1);
}

static void an_open_descriptor_is_counted(void **state)
{
    double before = scrape(*state, "process_open_fds");
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(scrape(*state, "process_open_fds") == before + 1);
    (void)close(fd);
    assert_true(scrape(*state, "process_open_fds") == before);
}

static void limits_are_the_soft_ones(void **state)
{
    struct rlimit limit, lower;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    lower = (struct rlimit){limit.rlim_cur - 1, limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &lower), 0);
    assert_true(scrape(*state, "process_max_fds") == (double)lower.rlim_cur);
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    assert_int_equal(getrlimit(RLIMIT_AS, &limit), 0);
    double expected = limit.rlim_cur == RLIM_INFINITY ? INFINITY : (double)limit.rlim_cur;
    assert_true(scrape(*state, "process_virtual_memory_max_bytes") == expected);
}

/* Touched pages are resident, reserved ones are not. */
static void memory_is_counted_in_bytes(void **state)
{
    const size_t bytes = 32 << 20;
    double resident = scrape(*state, "process_resident_memory_bytes");
    double virtual = scrape(*state, "process_virtual_memory_bytes");
    char *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(map != MAP_FAILED);
    assert_true(scrape(*state, "process_virtual_memory_bytes") >= virtual + (double)bytes);
    assert_true(scrape(*state, "process_resident_memory_bytes") < resident + (double)bytes / 2);
    memset(map, 1, bytes);
    assert_true(scrape(*state, "process_resident_memory_bytes") > resident + (double)bytes / 2);
    (void)munmap(map, bytes);
}

static void *wait_for(void *barrier)
{
    (void)pthread_barrier_wait(barrier);
    return NULL;
}

static void threads_are_counted(void **state)
{
    double before = scrape(*state, "process_threads");
    pthread_t thread;
    pthread_barrier_t barrier;
    assert_int_equal(pthread_barrier_init(&barrier, NULL, 2), 0);
    assert_int_equal(pthread_create(&thread, NULL, wait_for, &barrier), 0);
    double during = scrape(*state, "process_threads");
    (void)pthread_barrier_wait(&barrier);
    assert_int_equal(pthread_join(thread, NULL), 0);
    (void)pthread_barrier_destroy(&barrier);
    assert_true(during == before + 1);
}

static void the_start_is_a_moment_ago(void **state)
{
    double start = scrape(*state, "process_start_time_seconds"), now = (double)time(NULL);
    /* The kernel's boot time has whole seconds and follows the clock when that is set. */
    assert_true(start <= now + 2);
    assert_true(start > now - 3600);
    assert_true(scrape(*state, "process_start_time_seconds") == start);
}

/* Fields of /proc/self/stat are counted behind the name, which may look like them. */
static void a_strange_program_name_shifts_nothing(void **state)
{
    char name[16] = "";
    double before = scrape(*state, "process_start_time_seconds");
    (void)prctl(PR_GET_NAME, name);
    (void)prctl(PR_SET_NAME, ") R 1 (2 3) 4 5");
    double threads = scrape(*state, "process_threads");
    double after = scrape(*state, "process_start_time_seconds");
    (void)prctl(PR_SET_NAME, name);
    assert_true(after == before);
    assert_true(threads >= 1 && threads < 100);
}

/* The last descriptor is taken, so nothing under /proc can be opened. */
static void what_cannot_be_read_is_absent(void **state)
{
    struct rlimit limit, none;
    assert_true(isfinite(scrape(*state, "process_open_fds")) != 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = (struct rlimit){0, limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    double fds = scrape(*state, "process_open_fds"),
           cpu = scrape(*state, "process_cpu_seconds_total");
    double most = scrape(*state, "process_max_fds");
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    assert_true(isnan(fds));
    assert_true(isnan(cpu));
    assert_true(most == 0);
    assert_true(isfinite(scrape(*state, "process_cpu_seconds_total")) != 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
static const struct CMUnitTest tests[] = {
    CASE(every_name_prometheus_clients_export_is_there),
    CASE(cpu_time_grows_with_work),
    CASE(an_open_descriptor_is_counted),
    CASE(limits_are_the_soft_ones),
    CASE(memory_is_counted_in_bytes),
    CASE(threads_are_counted),
    CASE(the_start_is_a_moment_ago),
    CASE(a_strange_program_name_shifts_nothing),
    CASE(what_cannot_be_read_is_absent),
};

T_MAIN(tests)
