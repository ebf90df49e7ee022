/* getopt_long does the splitting. It would take abbreviations, too, so what it found is compared with
 * what was typed: an abbreviation that works today breaks when the next option is added. */
#include "model/cmd.h"

#include "base/number.h"

#include <getopt.h>
#include <math.h>
#include <string.h>
#include <strings.h>

enum { OPTION_HELP = CMD_OPTIONS_MAX };

static size_t count_options(const struct command *command)
{
    size_t n = 0;
    while (n < CMD_OPTIONS_MAX && command->options[n].name != NULL)
        n++;
    return n;
}

/* ---- values ---- */

static bool read_number(const char *text, double *value, struct error *err)
{
    return number_read_text(text, strlen(text), value) == NUMBER_OK ||
           error_set(err, ERR_INVALID, "expected a number, got \"%.64s\"", text);
}

double cmd_number_or(double value, double fallback)
{
    return isnan(value) ? fallback : value;
}

bool cmd_check_count(const char *option, double value, double least, double most, struct error *err)
{
    return (value >= least && value <= most && value == floor(value)) ||
           error_set(err, ERR_INVALID, "%s: expected %.0f to %.0f, got %g", option, least, most,
                     value);
}

bool cmd_read_penalty(const char *text, double *penalty)
{
    *penalty = NAN;
    if (text == NULL || strcmp(text, "auto") == 0)
        return true;
    return number_read_text(text, strlen(text), penalty) == NUMBER_OK && *penalty >= 0;
}

static bool read_boolean(const char *text, bool *value, struct error *err)
{
    static const char *const words[][2] = {{"true", "false"}, {"yes", "no"}, {"on", "off"},
                                           {"t", "f"},        {"y", "n"},    {"1", "0"}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        for (size_t j = 0; j < 2; j++)
            if (strcasecmp(text, words[i][j]) == 0) {
                *value = j == 0;
                return true;
            }
    return error_set(err, ERR_INVALID, "expected true or false, got \"%.64s\"", text);
}

static bool read_list(char *text, struct cmd_list *list, struct error *err)
{
    for (char *next; text != NULL; text = next) {
        next = strchr(text, ',');
        if (next != NULL)
            *next++ = '\0';
        if (*text == '\0')
            return error_set(err, ERR_INVALID, "expected names between the commas");
        if (list->count == CMD_LIST_MAX)
            return error_set(err, ERR_INVALID, "expected at most %d names", CMD_LIST_MAX);
        list->items[list->count++] = text;
    }
    return true;
}

static bool assign(struct cmd_options *options, const struct cmd_option *option, char *text,
                   struct error *err)
{
    void *to = (char *)options + option->offset;
    switch (option->kind) {
    case CMD_TEXT:
        *(const char **)to = text;
        return true;
    case CMD_NUMBER:
        return read_number(text, to, err);
    case CMD_BOOLEAN:
        return read_boolean(text, to, err);
    case CMD_LIST:
        return read_list(text, to, err);
    }
    return false;
}

/* ---- the command line ---- */

static void make_table(const struct command *command, struct option *table)
{
    size_t n = count_options(command);
    for (size_t i = 0; i < n; i++)
        table[i] = (struct option){command->options[i].name, required_argument, NULL, (int)i};
    table[n] = (struct option){"help", no_argument, NULL, OPTION_HELP};
    table[n + 1] = (struct option){0};
}

/* The argument an option was found in; its value may be the end of it or the next one. */
static const char *typed(char *const *argv)
{
    return argv[optind - (optarg != NULL && optarg == argv[optind - 1] ? 2 : 1)];
}

static bool is_spelled_out(const char *argument, const char *name)
{
    size_t n = strlen("--") + strlen(name);
    return strlen(argument) >= n && memcmp(argument + strlen("--"), name, strlen(name)) == 0 &&
           (argument[n] == '=' || argument[n] == '\0');
}

static bool take(const struct command *command, int c, char **argv, struct cmd_options *options,
                 struct error *err)
{
    if (c == ':')
        return error_set(err, ERR_INVALID, "%.64s: expected a value", argv[optind - 1]);
    if (c == '?' && optopt > ' ')
        return error_set(err, ERR_INVALID, "-%c: unknown option", optopt);
    const struct cmd_option *option = &command->options[c == '?' ? 0 : c];
    if (c == '?' || !is_spelled_out(typed(argv), option->name))
        return error_set(err, ERR_INVALID, "%.64s: unknown option", typed(argv));
    if (assign(options, option, optarg, err))
        return true;
    error_prefix(err, "--%s", option->name);
    return false;
}

static bool take_positional(const struct command *command, int argc, char **argv,
                            struct cmd_options *options, struct error *err)
{
    struct cmd_list *list = &options->positional;
    size_t wanted = command->positional == NULL ? 0 : command->many ? CMD_LIST_MAX : 1;
    for (int i = optind; i < argc; i++) {
        if (list->count == wanted)
            return error_set(err, ERR_INVALID, "%.64s: unexpected argument", argv[i]);
        list->items[list->count++] = argv[i];
    }
    return list->count > 0 || wanted == 0 ||
           error_set(err, ERR_INVALID, "expected a %s", command->positional);
}

static bool check_required(const struct command *command, const struct cmd_options *options,
                           struct error *err)
{
    for (size_t i = 0; i < count_options(command); i++) {
        const struct cmd_option *option = &command->options[i];
        const void *at = (const char *)options + option->offset;
        if (option->required && *(const char *const *)at == NULL)
            return error_set(err, ERR_INVALID, "--%s: expected, not given", option->name);
    }
    return true;
}

bool cmd_parse(const struct command *command, int argc, char **argv, struct cmd_options *options,
               bool *help, struct error *err)
{
    struct option table[CMD_OPTIONS_MAX + 2];
    make_table(command, table);
    *options = (struct cmd_options){.max_mae = NAN,
                                    .min_r2 = NAN,
                                    .interval = NAN,
                                    .centres = NAN,
                                    .confidence = NAN,
                                    .selection = NAN,
                                    .validation = NAN,
                                    .recent_rows = NAN,
                                    .min_rows = NAN,
                                    .margin = NAN,
                                    .target_margin = NAN};
    *help = false;
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, ":", table, NULL)) != -1;) {
        if (c == OPTION_HELP && is_spelled_out(typed(argv), "help")) {
            *help = true;
            return true;
        }
        if (!take(command, c == OPTION_HELP ? '?' : c, argv, options, err))
            return false;
    }
    return take_positional(command, argc, argv, options, err) &&
           check_required(command, options, err);
}

/* ---- help ---- */

void cmd_usage(const struct command *command, FILE *out)
{
    (void)fprintf(out, "usage: ridge %s", command->name);
    if (command->positional != NULL)
        (void)fprintf(out, command->many ? " %s..." : " %s", command->positional);
    for (size_t i = 0; i < count_options(command); i++) {
        const struct cmd_option *option = &command->options[i];
        (void)fprintf(out, option->required ? " --%s %s" : " [--%s %s]", option->name,
                      option->value);
    }
    (void)fputc('\n', out);
}

void cmd_help(const struct command *command, FILE *out)
{
    cmd_usage(command, out);
    (void)fprintf(out, "%s\n\n", command->summary);
    for (size_t i = 0; i < count_options(command); i++) {
        const struct cmd_option *option = &command->options[i];
        (void)fprintf(out, "  --%-13s %-8s %s\n", option->name, option->value, option->help);
    }
    (void)fputs("  --help\n", out);
}
