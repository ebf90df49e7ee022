/* options.h - a program's options: one table says everything about each of them.
 *
 * Idea:    name, environment name, how to read it, where it goes, what --help says. Flag > environment >
 *          default; the last of a repeated option wins. getopt_long would take abbreviations and the next
 *          option for a value, and cannot say which word it did not know.
 * Does not: know a program's options, or keep anything.
 * Threads: main only, before any other thread runs (it reads the environment).
 * Memory:  texts point into argv, the environment or the table.
 * Errors:  ERR_INVALID "--http_port: expected a whole number from 0 to 65535, got \"x\"".
 */
#ifndef SERVER_OPTIONS_H
#define SERVER_OPTIONS_H

#include "base/error.h"

#include <stddef.h>
#include <stdio.h>

enum option_kind {
    OPTION_TEXT,     /* const char * */
    OPTION_UNSIGNED, /* unsigned, from least to most */
    OPTION_SIZE,     /* size_t, likewise */
    OPTION_MS,       /* uint64_t of milliseconds; told in seconds, fractions allowed, likewise */
    OPTION_BOOLEAN,  /* bool */
    OPTION_LEVEL,    /* enum log_level */
};

struct option_spec {
    const char *name, *environment;
    enum option_kind kind;
    size_t offset;      /* of the member in the program's struct */
    double least, most; /* of a number */
    const char *value;  /* default, read like a told one; NULL: computed, or none */
    const char *shown;  /* what --help says the default is; "": nothing */
    const char *help;
};

/* What a program has; borrowed. */
struct option_set {
    const struct option_spec *specs;
    size_t count;
    /* A word that is no option, nor the value of one: true to go on. --help and --version come here too. */
    bool (*unknown)(void *config, const char *word, struct error *err);
};

/* Fills what config points to: defaults, then the environment, then argv (which ends in NULL). What the
 * table leaves out keeps its value. */
bool options_read(const struct option_set *set, void *config, int argc, char *const *argv,
                  struct error *err) MUST_CHECK;

/* One line for each option. */
void options_help(const struct option_set *set, FILE *out);

#endif
