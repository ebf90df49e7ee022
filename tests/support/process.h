/* process.h - starts real programs for tests, reads what they print, ends them by their id.
 *
 * Every wait is bounded; a program that is still alive when the test program ends is killed.
 */
#ifndef TESTS_SUPPORT_PROCESS_H
#define TESTS_SUPPORT_PROCESS_H

#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

enum { PROCESS_OUTPUT_MAX = 1 << 20 };

struct process {
    pid_t pid;
    int out; /* its stdout and stderr */
    size_t n;
    char text[PROCESS_OUTPUT_MAX]; /* what was read so far, NUL-terminated */
};

/* Starts argv[0] (searched in PATH unless it has a slash); aborts the test if that fails. */
struct process *process_start(const char *const *argv);

/* Reads until the output contains part; fails the test after `seconds`, printing the output. */
void process_expect(struct process *process, const char *part, unsigned seconds);

/* Reads to the end and waits; returns the exit code, or 128 + signal. Fails the test after `seconds`. */
int process_wait(struct process *process, unsigned seconds);

void process_signal(struct process *process, int signal_number);

/* Kills it if it is still alive and frees the object; NULL is allowed. */
void process_free(struct process *process);

/* Runs to the end: exit code, and the output copied into text (NUL-terminated, cut at capacity). */
int process_run(const char *const *argv, char *text, size_t capacity);

/* Path of a built program ("ridged"): in the folder BUILD names, else in build/. Static storage. */
const char *process_program(const char *name);

/* A fresh folder under TMPDIR; removed with process_remove. */
void process_folder(char *path, size_t capacity);
void process_remove(const char *folder);

/* The number behind `"name":` in text; fails the test when it is not there. */
unsigned process_number(const char *text, const char *name);

#endif
