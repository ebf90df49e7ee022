/* cmd.h - the frame of the `ridge` program: commands as data, options by table, errors to stderr.
 *
 * Idea:    a command is one struct: name, what help says, a table of its options, a function. Parsing
 *          and help read the same table. --name=value and --name value; every option takes a value;
 *          the last one wins, except for lists, which collect; unknown options and abbreviations are
 *          refused.
 * Does not: know what any option means.
 * Threads: none.
 * Memory:  values point into argv, where lists are cut at their commas.
 * Errors:  usage errors are exit code 2, too few rows 3 where a command says so, everything else that
 *          fails 1; the message names the option.
 */
#ifndef MODEL_CMD_H
#define MODEL_CMD_H

#include "base/error.h"
#include "base/json.h"
#include "model/dataset.h"
#include "model/model.h"

#include <stddef.h>
#include <stdio.h>

/* Exit codes; CMD_TOO_FEW: rows, and nothing else is wrong. */
enum { CMD_OK, CMD_FAILED, CMD_USAGE, CMD_TOO_FEW };

/* Rows a data file may have. */
enum { CMD_ROWS_MAX = 1000000000 };

enum cmd_kind {
    CMD_TEXT,   /* const char *, NULL when not given */
    CMD_NUMBER, /* double, NAN when not given */
    CMD_BOOLEAN,
    CMD_LIST, /* struct cmd_list; comma-separated and repeatable */
};

enum { CMD_LIST_MAX = 4096 };
struct cmd_list {
    const char *items[CMD_LIST_MAX];
    size_t count;
};

/* Every option of every command. */
struct cmd_options {
    struct cmd_list positional; /* the arguments that are no options */
    const char *model, *map, *champion, *data, *holdout_data, *target, *out;
    const char *name, *version, *unit, *date, *features, *penalty, *prior;
    double max_mae, min_r2, interval, centres, confidence;
    double selection, validation, recent_rows, min_rows, margin, target_margin;
    bool json, residuals, keep_before_shift;
    struct cmd_list drop, subtract, feedback;
};

struct cmd_option {
    const char *name, *value, *help; /* value: what help calls it */
    enum cmd_kind kind;
    size_t offset; /* in struct cmd_options */
    bool required;
};

enum { CMD_OPTIONS_MAX = 16 };
struct command {
    const char *name, *summary;
    const char *positional; /* what help calls an argument that is no option; NULL: there is none */
    bool many;              /* one or more of them, else exactly one */
    int (*run)(const struct cmd_options *options, struct error *err); /* the exit code */
    struct cmd_option options[CMD_OPTIONS_MAX];                       /* up to a NULL name */
};

extern const struct command cmd_train, cmd_validate, cmd_predict, cmd_explain, cmd_inspect,
    cmd_stats, cmd_merge, cmd_prepare, cmd_retrain;

#define CMD_AT(member) offsetof(struct cmd_options, member)

/* Fills *options from argv[1..argc), argv[0] being the command's name; *help tells whether --help was
 * among them, and nothing else counts then. */
bool cmd_parse(const struct command *command, int argc, char **argv, struct cmd_options *options,
               bool *help, struct error *err) MUST_CHECK;

/* One line that begins "usage: ", and everything about the options. */
void cmd_usage(const struct command *command, FILE *out);
void cmd_help(const struct command *command, FILE *out);

/* A penalty: NAN for none or "auto", else a number >= 0. */
bool cmd_read_penalty(const char *text, double *penalty) MUST_CHECK;

/* A number that was given, or the fallback. */
double cmd_number_or(double value, double fallback);

/* ERR_INVALID naming the option unless the value is whole and within the bounds. */
bool cmd_check_count(const char *option, double value, double least, double most,
                     struct error *err) MUST_CHECK;

/* ---- progress ---- */

struct cmd_progress {
    const char *stage;
    double began_s, shown_s; /* of the stage */
};

/* Whether there is a terminal to show it on. */
bool cmd_progress_shown(void);

/* Rewrites the last line of the terminal, at most ten times a second; ctx is a struct cmd_progress that
 * began as zeros, fraction NAN if that is unknown. */
void cmd_show_progress(void *ctx, const char *stage, double fraction);
void cmd_clear_progress(const struct cmd_progress *p);

/* ---- rows in, rows out ---- */

/* What a command does with the rows of a file. */
struct cmd_rows {
    const char *command;
    void *ctx;
    /* Writes the header, once the file is known to have the model's features. */
    void (*header)(void *ctx);
    /* x(rows, features); the first of them is row first of the file, counted from 1. */
    bool (*block)(void *ctx, uint64_t first, size_t rows, const double *x, struct error *err);
};

/* Hands the model's features of all rows of a file ("-": standard input) on, at most MODEL_BLOCK_ROWS
 * at a time, so that neither memory nor the first line out waits for the last line in. Says on stderr
 * how many values the model clipped. */
bool cmd_each_block(const struct model *model, const char *path, const struct cmd_rows *rows,
                    struct error *err) MUST_CHECK;

/* Members of the object that w is in: rows, mae, rmse, r2. */
void cmd_put_figures(struct json_writer *w, const struct model_figures *figures);

/* A report is one JSON object, to standard output when it ends, with a line end. Between the two calls w takes
 * its members; the second releases what the first has allocated, whatever it returns. */
bool cmd_begin_report(struct json_writer *w, struct error *err) MUST_CHECK;
bool cmd_end_report(struct json_writer *w, struct error *err) MUST_CHECK;

/* ERR_NUMERIC naming the row of the file unless the value is finite. */
bool cmd_check_finite(double value, const char *what, uint64_t row, struct error *err) MUST_CHECK;

#endif
