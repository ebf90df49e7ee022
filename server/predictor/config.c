/* One table says everything about an option: name, environment name, how to read it, where it goes,
 * what --help says. getopt_long would take abbreviations and the next option for a value, and cannot say
 * which word it did not know. */
#define _GNU_SOURCE /* sched_getaffinity */
#include "server/predictor/config.h"

#include "base/number.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum kind { TEXT, UNSIGNED, SIZE, BOOLEAN, LEVEL };

struct option_spec {
    const char *name, *environment;
    enum kind kind;
    size_t offset;
    double least, most; /* of a number */
    const char *value;  /* default, read like a told one; NULL: computed, or none */
    const char *shown;  /* what --help says the default is */
    const char *help;
};

#define TEXT_AT(member)                  TEXT, offsetof(struct config, member), 0, 0
#define UNSIGNED_AT(member, least, most) UNSIGNED, offsetof(struct config, member), least, most
#define SIZE_AT(member, most)            SIZE, offsetof(struct config, member), 1, most
#define COUNT_AT(member, least, most)    SIZE, offsetof(struct config, member), least, most
#define DEFAULT(text)                    text, text
static const struct option_spec specs[] = {
    {"model_dir", NULL, TEXT_AT(model_dir), DEFAULT("/mnt/models"),
     "folder that holds model.json, or the artifact itself"},
    {"model_name", "INFERENCE_SERVICE_NAME", TEXT_AT(model_name), NULL, "the artifact's",
     "name in the URL"},
    {"host", NULL, TEXT_AT(host), DEFAULT("0.0.0.0"), "address both ports listen on"},
    {"http_port", NULL, UNSIGNED_AT(http_port, 0, 65535), DEFAULT("8080"),
     "predictions, health, metrics; 0 picks one"},
    {"metrics_port", NULL, UNSIGNED_AT(metrics_port, 0, 65535), DEFAULT("8000"),
     "health and metrics only; 0 picks one"},
    {"workers", NULL, UNSIGNED_AT(workers, 1, 256), NULL, "the CPU quota, rounded up",
     "threads that serve requests"},
    {"user_id", "USER_ID", TEXT_AT(user_id), DEFAULT(""), "label user_id of every model metric"},
    {"namespace", "POD_NAMESPACE", TEXT_AT(space), DEFAULT(""),
     "label namespace of every model metric"},
    {"max_body_bytes", NULL, SIZE_AT(max_body_bytes, 1e9), DEFAULT("16777216"),
     "largest request body; 413 over it"},
    {"max_rows", NULL, SIZE_AT(max_rows, 1e7), DEFAULT("100000"),
     "most instances in a request; 413 over it"},
    {"memory_budget_bytes", NULL, SIZE_AT(memory_budget_bytes, 1e12), DEFAULT("268435456"),
     "most memory requests and answers may take; 429 over it"},
    {"max_connections", NULL, SIZE_AT(max_connections, 1e6), DEFAULT("10000"),
     "open connections on each port"},
    {"request_timeout", NULL, UNSIGNED_AT(request_timeout_s, 1, 3600), DEFAULT("30"),
     "seconds a client has to send a whole request"},
    {"keep_alive", NULL, UNSIGNED_AT(keep_alive_s, 1, 3600), DEFAULT("75"),
     "seconds an idle connection is kept; longer than any proxy's"},
    {"drain_delay", NULL, UNSIGNED_AT(drain_delay_s, 0, 3600), DEFAULT("5"),
     "seconds between readiness off and the end of accepting"},
    {"drain_timeout", NULL, UNSIGNED_AT(drain_timeout_s, 0, 3600), DEFAULT("20"),
     "seconds requests in flight have to finish"},
    {"watch_interval", NULL, UNSIGNED_AT(watch_interval_s, 0, 86400), DEFAULT("5"),
     "seconds between looks for a further artifact; 0: only on SIGHUP"},
    {"termination_log", NULL, TEXT_AT(termination_log), DEFAULT("/dev/termination-log"),
     "file, if there is one, that is told why the program could not start"},
    {"access_log", NULL, BOOLEAN, offsetof(struct config, access_log), 0, 0, DEFAULT("false"),
     "one log line per request"},
    {"feedback_dir", NULL, TEXT_AT(feedback_dir), NULL, "none",
     "folder of the feedback journal; without one true values are not kept on disk"},
    {"feedback_name", "POD_NAME", TEXT_AT(feedback_name), NULL, "the host's name",
     "name of the journal's files, different for every replica"},
    {"feedback_token_file", NULL, TEXT_AT(feedback_token_file), NULL, "none",
     "file with the bearer token that feedback requires; read again when it changes"},
    {"feedback_durable", NULL, BOOLEAN, offsetof(struct config, feedback_durable), 0, 0,
     DEFAULT("true"), "answer feedback only when it is on disk"},
    {"feedback_predictions", NULL, COUNT_AT(feedback_predictions, 0, 1 << 24), DEFAULT("10000"),
     "predictions kept by id for their true values"},
    {"feedback_file_bytes", NULL, SIZE_AT(feedback_file_bytes, 1e12), DEFAULT("67108864"),
     "size at which a further journal file is begun"},
    {"feedback_total_bytes", NULL, SIZE_AT(feedback_total_bytes, 1e15), DEFAULT("1073741824"),
     "size of all journal files, over which the oldest go"},
    {"quality_window", NULL, COUNT_AT(quality_window, 1, 1 << 24), DEFAULT("5000"),
     "true values that the quality figures are of, at most"},
    {"quality_max_age", NULL, UNSIGNED_AT(quality_max_age_s, 0, 31536000), DEFAULT("86400"),
     "seconds after which a true value no longer counts; 0: never"},
    {"quality_min_samples", NULL, COUNT_AT(quality_min_samples, 1, 1 << 24), DEFAULT("200"),
     "true values below which the model card's figures are shown"},
    {"drift_window", NULL, UNSIGNED_AT(drift_window_s, 1, 31536000), DEFAULT("3600"),
     "seconds that the drift figures are of"},
    {"ui", NULL, BOOLEAN, offsetof(struct config, ui), 0, 0, DEFAULT("true"),
     "serve the page for people at /ui"},
    {"log_level", "KSERVE_LOGLEVEL", LEVEL, offsetof(struct config, log_level), 0, 0,
     DEFAULT("info"), "debug, info, warning or error"},
};
enum { SPEC_COUNT = sizeof specs / sizeof *specs };

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

static bool assign(struct config *config, const struct option_spec *spec, const char *text,
                   struct error *err)
{
    void *to = (char *)config + spec->offset;
    double value = 0;
    switch (spec->kind) {
    case TEXT:
        *(const char **)to = text;
        return true;
    case BOOLEAN:
        return read_boolean(spec->name, text, to, err);
    case LEVEL:
        return read_level(spec->name, text, to, err);
    case UNSIGNED:
        if (!read_integer(spec, text, &value, err))
            return false;
        *(unsigned *)to = (unsigned)value;
        return true;
    case SIZE:
        if (!read_integer(spec, text, &value, err))
            return false;
        *(size_t *)to = (size_t)value;
        return true;
    }
    return false;
}

/* ---- defaults ---- */

/* CPUs a cgroup v2 quota allows, rounded up; 0 where there is none. */
static unsigned quota_cpus(void)
{
    double quota, period;
    unsigned cpus = 0;
    FILE *in = fopen("/sys/fs/cgroup/cpu.max", "r");
    if (in == NULL)
        return 0;
    if (fscanf(in, "%lf %lf", &quota, &period) == 2 && period > 0 && quota > 0)
        cpus = (unsigned)((quota + period - 1) / period);
    (void)fclose(in);
    return cpus;
}

static unsigned default_workers(void)
{
    cpu_set_t set;
    unsigned cpus = quota_cpus();
    unsigned all = sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
    return cpus == 0 || cpus > all ? all : cpus;
}

static bool read_defaults(struct config *config, struct error *err)
{
    *config = (struct config){.workers = default_workers()};
    for (size_t i = 0; i < SPEC_COUNT; i++) {
        const char *told = specs[i].environment == NULL ? NULL : getenv(specs[i].environment);
        const char *text = told != NULL && *told != '\0' ? told : specs[i].value;
        if (text != NULL && !assign(config, &specs[i], text, err))
            return false;
    }
    return true;
}

/* ---- the command line ---- */

static void note_unknown(struct config *config, const char *option)
{
    for (size_t i = 0; i < config->unknown_count; i++)
        if (strcmp(config->unknown[i], option) == 0)
            return;
    if (config->unknown_count < CONFIG_UNKNOWN_MAX)
        config->unknown[config->unknown_count++] = option;
}

/* The option whose name is text[0..n), or NULL; names are not abbreviated. */
static const struct option_spec *find_spec(const char *text, size_t n)
{
    for (size_t i = 0; i < SPEC_COUNT; i++)
        if (strlen(specs[i].name) == n && memcmp(specs[i].name, text, n) == 0)
            return &specs[i];
    return NULL;
}

/* Reads the option argv[*i], moving *i on to its value when that stands apart. */
static bool read_option(struct config *config, char *const *argv, int *i, struct error *err)
{
    const char *word = argv[*i], *equals = strchr(word, '=');
    size_t n = equals != NULL ? (size_t)(equals - word) : strlen(word);
    if (strcmp(word, "--help") == 0)
        return (config->help = true);
    if (strcmp(word, "--version") == 0)
        return (config->version = true);
    const struct option_spec *spec = n > 2 ? find_spec(word + 2, n - 2) : NULL;
    if (spec == NULL) {
        note_unknown(config, word);
        return true;
    }
    if (equals != NULL)
        return assign(config, spec, equals + 1, err);
    const char *next = argv[*i + 1];
    if (next == NULL || strncmp(next, "--", 2) == 0)
        return error_set(err, ERR_INVALID, "%s: expected a value", word);
    return assign(config, spec, argv[++*i], err);
}

bool config_read(struct config *config, int argc, char *const *argv, struct error *err)
{
    if (!read_defaults(config, err))
        return false;
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--", 2) == 0) {
            if (!read_option(config, argv, &i, err))
                return false;
        } else if (argv[i][0] == '-') {
            note_unknown(config, argv[i]);
        } /* else the value of an option nobody knows */
    }
    return config->quality_min_samples <= config->quality_window ||
           error_set(err, ERR_INVALID,
                     "--quality_min_samples: expected at most --quality_window (%zu), got %zu",
                     config->quality_window, config->quality_min_samples);
}

void config_help(FILE *out)
{
    (void)fputs(
        "usage: ridged [--option value | --option=value]...\n"
        "Serves a model over KServe's V1 protocol. Flag over environment over default.\n\n",
        out);
    for (size_t i = 0; i < SPEC_COUNT; i++) {
        (void)fprintf(out, "  --%-20s %s", specs[i].name, specs[i].help);
        if (*specs[i].shown != '\0')
            (void)fprintf(out, " (default %s)", specs[i].shown);
        if (specs[i].environment != NULL)
            (void)fprintf(out, " [%s]", specs[i].environment);
        (void)fputc('\n', out);
    }
    (void)fputs("  --help, --version\n", out);
}
