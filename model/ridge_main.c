/* ridge: finds the command, has its options read, runs it, and turns the outcome into words and an
 * exit code. */
#include "model/cmd.h"
#include "model/ridge.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef RIDGED_VERSION
#define RIDGED_VERSION "unknown"
#endif
#ifndef RIDGED_REVISION
#define RIDGED_REVISION "unknown"
#endif

static const struct command *const commands[] = {&cmd_train,   &cmd_validate, &cmd_predict,
                                                 &cmd_explain, &cmd_inspect,  &cmd_stats,
                                                 &cmd_merge,   &cmd_prepare,  &cmd_retrain};
enum { COMMAND_COUNT = sizeof commands / sizeof commands[0] };

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

static void print_help(FILE *out)
{
    (void)fputs(
        "usage: ridge COMMAND [--option value | --option=value]...\n"
        "Trains, validates and runs ridge regression models.\n\n",
        out);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        (void)fprintf(out, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    (void)fputs("\nridge COMMAND --help lists the options of a command; ridge --version.\n", out);
}

static int run_command(const struct command *command, int argc, char **argv)
{
    struct cmd_options options;
    struct error err = {0};
    bool help = false;
    int code = CMD_USAGE;
    if (cmd_parse(command, argc, argv, &options, &help, &err)) {
        if (help) {
            cmd_help(command, stdout);
            return CMD_OK;
        }
        code = command->run(&options, &err);
    }
    if (err.code != ERR_NONE)
        (void)fprintf(stderr, "ridge %s: %s\n", command->name, err.message);
    if (code == CMD_USAGE)
        cmd_usage(command, stderr);
    return code;
}

/* ---- the kernel of OpenBLAS ---- */

/* OpenBLAS takes a CPU that is younger than itself for one without AVX-512, which costs 1.7x. It reads
 * the name of a kernel from the environment before main, so saying better takes a second exec. */
static const char core_variable[] = "OPENBLAS_CORETYPE";

static bool has_avx512(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512cd") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
#else
    return false;
#endif
}

/* A variable that is set, by the user or by this function, stays as it is: there is no second time. When
 * exec fails the work is done all the same, slower. */
static void prefer_avx512(char **argv)
{
    char core[RIDGE_KERNEL_MAX];
    ridge_kernel(core);
    if (getenv(core_variable) != NULL || !has_avx512() ||
        (strncmp(core, "Haswell", strlen("Haswell")) != 0 &&
         strncmp(core, "Zen", strlen("Zen")) != 0))
        return;
    if (setenv(core_variable, "SkylakeX", 0) == 0)
        (void)execv("/proc/self/exe", argv);
}

static int run(int argc, char **argv)
{
    const struct command *command = argc > 1 ? find_command(argv[1]) : NULL;
    if (command == &cmd_train || command == &cmd_retrain)
        prefer_avx512(argv);
    if (command != NULL)
        return run_command(command, argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "--help") == 0) {
        print_help(stdout);
        return CMD_OK;
    }
    if (argc > 1 && strcmp(argv[1], "--version") == 0) {
        (void)printf("ridge %s (%s)\n", RIDGED_VERSION, RIDGED_REVISION);
        return CMD_OK;
    }
    if (argc > 1)
        (void)fprintf(stderr, "ridge: %s: unknown command\n", argv[1]);
    print_help(stderr);
    return CMD_USAGE;
}

int main(int argc, char **argv)
{
    /* A file over the size limit is an error like a full disk: named, and cleaned up after. */
    (void)signal(SIGXFSZ, SIG_IGN);
    int code = run(argc, argv);
    /* What did not arrive was not said. */
    if (fflush(stdout) != 0 || ferror(stdout)) {
        (void)fprintf(stderr, "ridge: standard output: %s\n", strerror(errno));
        return CMD_FAILED;
    }
    return code;
}
