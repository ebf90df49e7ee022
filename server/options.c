#include "server/options.h"

#include "base/number.h"
#include "server/log.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- values ---- */

static bool read_integer(const struct option_spec *spec, const char *text, double *value,
                         struct error *err)
{
    if (number_read_text(text, strlen(text), value) == NUMBER_OK && *value >= spec->least &&
        *value <= spec->most && *value == (double)(uint64_t)*value)
        return true;
    return error_set(err, ERR_INVALID,
                     "--%s: expected a whole number from %.0f to %.0f, got \"%s\"", spec->name,
                     spec->least, spec->most, text);
}

static bool read_seconds(const struct option_spec *spec, const char *text, double *value,
                         struct error *err)
{
    if (number_read_text(text, strlen(text), value) == NUMBER_OK && *value >= spec->least &&
        *value <= spec->most)
        return true;
    return error_set(err, ERR_INVALID, "--%s: expected from %g to %.0f seconds, got \"%s\"",
                     spec->name, spec->least, spec->most, text);
}

static bool read_boolean(const char *name, const char *text, bool *value, struct error *err)
{
    static const char *const words[][2] = {{"true", "false"}, {"yes", "no"}, {"on", "off"},
                                           {"t", "f"},        {"y", "n"},    {"1", "0"}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        for (size_t j = 0; j < 2; j++)
            if (strcasecmp(text, words[i][j]) == 0) {
                *value = j == 0;
                return true;
            }
    return error_set(err, ERR_INVALID, "--%s: expected true or false, got \"%s\"", name, text);
}

static bool read_level(const char *name, const char *text, enum log_level *level, struct error *err)
{
    return log_level_parse(text, level) ||
           error_set(err, ERR_INVALID, "--%s: expected debug, info, warning or error, got \"%s\"",
                     name, text);
}

static bool assign(void *config, const struct option_spec *spec, const char *text,
                   struct error *err)
{
    void *to = (char *)config + spec->offset;
    double value = 0;
    switch (spec->kind) {
    case OPTION_TEXT:
        *(const char **)to = text;
        return true;
    case OPTION_BOOLEAN:
        return read_boolean(spec->name, text, to, err);
    case OPTION_LEVEL:
        return read_level(spec->name, text, to, err);
    case OPTION_UNSIGNED:
        if (!read_integer(spec, text, &value, err))
            return false;
        *(unsigned *)to = (unsigned)value;
        return true;
    case OPTION_SIZE:
        if (!read_integer(spec, text, &value, err))
            return false;
        *(size_t *)to = (size_t)value;
        return true;
    case OPTION_MS:
        if (!read_seconds(spec, text, &value, err))
            return false;
        *(uint64_t *)to = (uint64_t)(value * 1000 + 0.5);
        return true;
    }
    return false;
}

/* ---- where they come from ---- */

static bool read_defaults(const struct option_set *set, void *config, struct error *err)
{
    for (size_t i = 0; i < set->count; i++) {
        const struct option_spec *spec = &set->specs[i];
        const char *told = spec->environment == NULL ? NULL : getenv(spec->environment);
        const char *text = told != NULL && *told != '\0' ? told : spec->value;
        if (text != NULL && !assign(config, spec, text, err))
            return false;
    }
    return true;
}

/* The option whose name is text[0..n), or NULL; names are not abbreviated. */
static const struct option_spec *find_spec(const struct option_set *set, const char *text, size_t n)
{
    for (size_t i = 0; i < set->count; i++)
        if (strlen(set->specs[i].name) == n && memcmp(set->specs[i].name, text, n) == 0)
            return &set->specs[i];
    return NULL;
}

/* Reads the option argv[*i], moving *i on to its value when that stands apart. */
static bool read_option(const struct option_set *set, void *config, char *const *argv, int *i,
                        struct error *err)
{
    const char *word = argv[*i], *equals = strchr(word, '=');
    size_t n = equals != NULL ? (size_t)(equals - word) : strlen(word);
    const struct option_spec *spec = n > 2 ? find_spec(set, word + 2, n - 2) : NULL;
    if (spec == NULL)
        return set->unknown(config, word, err);
    if (equals != NULL)
        return assign(config, spec, equals + 1, err);
    const char *next = argv[*i + 1];
    if (next == NULL || strncmp(next, "--", 2) == 0)
        return error_set(err, ERR_INVALID, "%s: expected a value", word);
    return assign(config, spec, argv[++*i], err);
}

bool options_read(const struct option_set *set, void *config, int argc, char *const *argv,
                  struct error *err)
{
    bool ok = read_defaults(set, config, err);
    for (int i = 1; ok && i < argc; i++)
        ok = strncmp(argv[i], "--", 2) == 0 ? read_option(set, config, argv, &i, err)
                                            : set->unknown(config, argv[i], err);
    return ok;
}

void options_help(const struct option_set *set, FILE *out)
{
    for (size_t i = 0; i < set->count; i++) {
        const struct option_spec *spec = &set->specs[i];
        (void)fprintf(out, "  --%-20s %s", spec->name, spec->help);
        if (*spec->shown != '\0')
            (void)fprintf(out, " (default %s)", spec->shown);
        if (spec->environment != NULL)
            (void)fprintf(out, " [%s]", spec->environment);
        (void)fputc('\n', out);
    }
    (void)fputs("  --help, --version\n", out);
}
