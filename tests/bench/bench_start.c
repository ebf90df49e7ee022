/* Time from exec to the first 200 on /readyz of the predict port, and resident memory then: fresh
 * processes, median of many. Connecting is retried without pause: what is measured is the server. */
#define _GNU_SOURCE /* setenv */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { RUNS = 31 };

static double milliseconds_now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static int ready(unsigned short port)
{
    static const char request[] = "GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    char answer[64] = "";
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int ok = connect(fd, (struct sockaddr *)&to, sizeof to) == 0 &&
             write(fd, request, sizeof request - 1) == (ssize_t)sizeof request - 1 &&
             read(fd, answer, sizeof answer - 1) > 12 && memcmp(answer + 9, "200", 3) == 0;
    (void)close(fd);
    return ok;
}

static long resident_kb(pid_t pid)
{
    char path[64], line[256];
    long kb = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *in = fopen(path, "r");
    while (in != NULL && fgets(line, sizeof line, in) != NULL)
        (void)sscanf(line, "VmRSS: %ld", &kb);
    if (in != NULL)
        (void)fclose(in);
    return kb;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    double ms[RUNS], kb[RUNS];
    char option[32];
    unsigned short port = argc == 3 ? (unsigned short)atoi(argv[2]) : 0;
    if (port == 0) {
        (void)fputs("usage: bench_start <ridged> <free port>\n", stderr);
        return 2;
    }
    (void)snprintf(option, sizeof option, "--http_port=%u", port);
    for (int i = 0; i < RUNS; i++) {
        double start = milliseconds_now();
        pid_t pid = fork();
        if (pid == 0) {
            (void)!freopen("/dev/null", "w", stderr);
            (void)execl(argv[1], argv[1], "--model_dir=model/california-housing.json",
                        "--host=127.0.0.1", option, "--metrics_port=0", "--drain_delay=0",
                        (char *)NULL);
            _exit(127);
        }
        while (!ready(port))
            if (milliseconds_now() - start > 5000 || waitpid(pid, NULL, WNOHANG) != 0)
                return 1;
        ms[i] = milliseconds_now() - start;
        kb[i] = (double)resident_kb(pid);
        (void)kill(pid, SIGTERM);
        (void)waitpid(pid, NULL, 0);
    }
    qsort(ms, RUNS, sizeof *ms, by_value);
    qsort(kb, RUNS, sizeof *kb, by_value);
    (void)printf(
        "exec to first 200 on /readyz: %.1f ms median of %d runs, %.1f to %.1f (expected at most "
        "12)\n",
        ms[RUNS / 2], RUNS, ms[0], ms[RUNS - 1]);
    (void)printf("resident memory then: %.1f MB median (expected at most 12)\n",
                 kb[RUNS / 2] / 1024);
    return 0;
}
