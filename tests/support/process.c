/* Programs run with stdout and stderr on one pipe; waits poll that pipe. */
#define _GNU_SOURCE /* nftw, pipe2 */
#include "tests/support/process.h"

#include "tests/support/t.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double seconds_now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

struct process *process_start(const char *const *argv)
{
    int ends[2];
    struct process *process = calloc(1, sizeof *process);
    if (process == NULL || pipe2(ends, O_CLOEXEC) != 0)
        fail_msg("no pipe for %s: %s", argv[0], strerror(errno));
    process->pid = fork();
    if (process->pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a case that fails leaves nothing running */
        (void)dup2(ends[1], STDOUT_FILENO);
        (void)dup2(ends[1], STDERR_FILENO);
        (void)execvp(argv[0], (char *const *)(uintptr_t)argv);
        dprintf(STDERR_FILENO, "%s: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    (void)close(ends[1]);
    process->out = ends[0];
    return process;
}

/* Reads what is there, waiting until `limit`; false at the end of the output or past the limit. */
static int read_some(struct process *process, double limit)
{
    double left = limit - seconds_now();
    struct pollfd fd = {.fd = process->out, .events = POLLIN};
    if (left <= 0 || poll(&fd, 1, (int)(left * 1000) + 1) <= 0)
        return 0;
    size_t room = sizeof process->text - 1 - process->n;
    ssize_t n = read(process->out, process->text + process->n, room);
    if (n > 0)
        process->n += (size_t)n;
    return n > 0;
}

void process_expect(struct process *process, const char *part, unsigned seconds)
{
    double limit = seconds_now() + seconds;
    while (strstr(process->text, part) == NULL)
        if (!read_some(process, limit))
            fail_msg("expected \"%s\" within %u s in:\n%s", part, seconds, process->text);
}

int process_wait(struct process *process, unsigned seconds)
{
    int status = 0;
    double limit = seconds_now() + seconds;
    while (read_some(process, limit))
        ;
    while (waitpid(process->pid, &status, WNOHANG) == 0) {
        if (seconds_now() > limit)
            fail_msg("still running after %u s; it printed:\n%s", seconds, process->text);
        (void)poll(NULL, 0, 2);
    }
    process->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void process_signal(struct process *process, int signal_number)
{
    assert_int_equal(kill(process->pid, signal_number), 0);
}

void process_free(struct process *process)
{
    if (process == NULL)
        return;
    if (process->pid > 0) {
        (void)kill(process->pid, SIGKILL);
        (void)waitpid(process->pid, NULL, 0);
    }
    (void)close(process->out);
    free(process);
}

int process_run(const char *const *argv, char *text, size_t capacity)
{
    struct process *process = process_start(argv);
    int code = process_wait(process, 60);
    (void)snprintf(text, capacity, "%s", process->text);
    process_free(process);
    return code;
}

const char *process_program(const char *name)
{
    static char path[512];
    const char *folder = getenv("BUILD");
    (void)snprintf(path, sizeof path, "%s/%s", folder != NULL ? folder : "build", name);
    return path;
}

void process_folder(char *path, size_t capacity)
{
    const char *root = getenv("TMPDIR");
    (void)snprintf(path, capacity, "%s/ridged-XXXXXX", root != NULL ? root : "/tmp");
    if (mkdtemp(path) == NULL)
        fail_msg("%s: %s", path, strerror(errno));
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)info, (void)type, (void)where;
    return remove(path);
}

void process_remove(const char *folder)
{
    (void)nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

unsigned process_number(const char *text, const char *name)
{
    char key[64];
    (void)snprintf(key, sizeof key, "\"%s\":", name);
    const char *at = strstr(text, key);
    if (at == NULL)
        fail_msg("expected %s in:\n%s", key, text);
    return (unsigned)strtoul(at + strlen(key), NULL, 10);
}
