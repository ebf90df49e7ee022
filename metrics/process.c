/* /proc/self/stat, /proc/self/fd and getrlimit, read at every scrape. */
#include "metrics/process.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum item { CPU, OPEN_FDS, MAX_FDS, VIRTUAL, VIRTUAL_MAX, RESIDENT, START, THREADS, ITEM_COUNT };

struct process_metrics {
    struct metric_series *series[ITEM_COUNT];
};

static const struct metric_spec specs[ITEM_COUNT] = {
    [CPU] = {"process_cpu_seconds_total",
             METRIC_COUNTER,
             "Total user and system CPU time spent in seconds.",
             {NULL},
             NULL,
             0},
    [OPEN_FDS] =
        {"process_open_fds", METRIC_GAUGE, "Number of open file descriptors.", {NULL}, NULL, 0},
    [MAX_FDS] = {"process_max_fds",
                 METRIC_GAUGE,
                 "Maximum number of open file descriptors.",
                 {NULL},
                 NULL,
                 0},
    [VIRTUAL] = {"process_virtual_memory_bytes",
                 METRIC_GAUGE,
                 "Virtual memory size in bytes.",
                 {NULL},
                 NULL,
                 0},
    [VIRTUAL_MAX] = {"process_virtual_memory_max_bytes",
                     METRIC_GAUGE,
                     "Maximum amount of virtual memory available in bytes.",
                     {NULL},
                     NULL,
                     0},
    [RESIDENT] = {"process_resident_memory_bytes",
                  METRIC_GAUGE,
                  "Resident memory size in bytes.",
                  {NULL},
                  NULL,
                  0},
    [START] = {"process_start_time_seconds",
               METRIC_GAUGE,
               "Start time of the process since the Unix epoch in seconds.",
               {NULL},
               NULL,
               0},
    [THREADS] = {"process_threads", METRIC_GAUGE, "Number of threads.", {NULL}, NULL, 0},
};

/* Seconds since the epoch at which the machine started; NaN if unknown. */
static double boot_time(void)
{
    char line[256];
    double seconds = NAN;
    FILE *in = fopen("/proc/stat", "r");
    if (in == NULL)
        return NAN;
    while (fgets(line, sizeof line, in) != NULL)
        if (sscanf(line, "btime %lf", &seconds) == 1)
            break;
    (void)fclose(in);
    return seconds;
}

static void update_stat(struct process_metrics *p)
{
    char text[1024];
    unsigned long long user, system, threads, start, size;
    long long resident;
    FILE *in = fopen("/proc/self/stat", "r");
    size_t n = in == NULL ? 0 : fread(text, 1, sizeof text - 1, in);
    if (in != NULL)
        (void)fclose(in);
    text[n] = '\0';
    /* The program's name stands in parentheses and may hold anything; fields are counted behind it. */
    const char *fields = strrchr(text, ')');
    if (fields == NULL ||
        sscanf(
            fields + 1,
            " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %llu %*d %llu "
            "%llu %lld",
            &user, &system, &threads, &start, &size, &resident) != 6)
        return;
    double hz = (double)sysconf(_SC_CLK_TCK);
    metric_set(p->series[CPU], (double)(user + system) / hz);
    metric_set(p->series[THREADS], (double)threads);
    metric_set(p->series[START], boot_time() + (double)start / hz);
    metric_set(p->series[VIRTUAL], (double)size);
    metric_set(p->series[RESIDENT], (double)resident * (double)sysconf(_SC_PAGESIZE));
}

static void update_descriptors(struct process_metrics *p)
{
    double count = -3; /* ".", ".." and the folder's own descriptor */
    DIR *folder = opendir("/proc/self/fd");
    if (folder == NULL)
        return;
    while (readdir(folder) != NULL)
        count++;
    (void)closedir(folder);
    metric_set(p->series[OPEN_FDS], count);
}

static void update_limit(struct metric_series *series, int resource)
{
    struct rlimit limit;
    if (getrlimit(resource, &limit) == 0)
        metric_set(series, limit.rlim_cur == RLIM_INFINITY ? INFINITY : (double)limit.rlim_cur);
}

static void update(void *ctx)
{
    struct process_metrics *p = ctx;
    /* What cannot be read this time must not show what was read before. */
    for (size_t i = 0; i < ITEM_COUNT; i++)
        metric_set(p->series[i], NAN);
    update_stat(p);
    update_descriptors(p);
    update_limit(p->series[MAX_FDS], RLIMIT_NOFILE);
    update_limit(p->series[VIRTUAL_MAX], RLIMIT_AS);
}

struct process_metrics *process_metrics_new(struct metrics *metrics)
{
    struct process_metrics *p = calloc(1, sizeof *p);
    bool ok = p != NULL;
    for (size_t i = 0; ok && i < ITEM_COUNT; i++) {
        struct metric_family *family = metrics_family(metrics, &specs[i]);
        ok = family != NULL && (p->series[i] = metrics_series(family, NULL)) != NULL;
    }
    if (!ok) {
        free(p);
        return NULL;
    }
    metrics_on_scrape(metrics, update, p);
    return p;
}

void process_metrics_free(struct process_metrics *process)
{
    free(process);
}
