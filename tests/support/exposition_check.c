/* Line by line; what has to be remembered is the current family, the current histogram series, and every
 * name and series seen so far. Tables are small and searched linearly: pages of tests are. */
#define _GNU_SOURCE /* strndup */
#include "tests/support/exposition_check.h"

#include "base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    NAME_MAX_BYTES = 200,
    SERIES_MAX_BYTES = 1024,
    LABELS_MAX = 16,
    LE_MAX_BYTES = 64,
    SEEN_MAX = 8192
};

struct checker {
    bool openmetrics, ended;
    unsigned line;
    char family[NAME_MAX_BYTES], type[32];
    bool help, typed, unit, sampled;
    char *seen[SEEN_MAX]; /* families as "# name", series with their labels sorted */
    size_t seen_count;
    char histogram[SERIES_MAX_BYTES]; /* labels of the series being read, without le */
    double bound, bucket;             /* last of its buckets */
    bool in_histogram, has_sum;
    struct error *err;
};

static bool refuse(const struct checker *c, const char *what)
{
    return error_set(c->err, ERR_INVALID, "line %u: %s", c->line, what);
}

static bool remember(struct checker *c, const char *text, const char *what)
{
    for (size_t i = 0; i < c->seen_count; i++)
        if (strcmp(c->seen[i], text) == 0)
            return refuse(c, what);
    if (c->seen_count == SEEN_MAX)
        return refuse(c, "too many series for this checker");
    c->seen[c->seen_count++] = strdup(text);
    return true;
}

static size_t name_length(const char *p)
{
    size_t n = strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
    return *p >= '0' && *p <= '9' ? 0 : n;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* ---- the end of things ---- */

static bool end_histogram(struct checker *c)
{
    if (c->in_histogram)
        return refuse(c, "a histogram series ends without _count");
    return true;
}

static bool end_family(struct checker *c)
{
    if (c->family[0] == '\0')
        return true;
    if (!c->help || !c->typed)
        return refuse(c, "a family needs both HELP and TYPE");
    return end_histogram(c);
}

/* ---- comment lines ---- */

static bool begin_family(struct checker *c, const char *name, size_t n)
{
    char key[NAME_MAX_BYTES + 4];
    if (n == strlen(c->family) && memcmp(c->family, name, n) == 0)
        return !c->sampled || refuse(c, "HELP, TYPE and UNIT come before the samples");
    if (!end_family(c))
        return false;
    (void)snprintf(c->family, sizeof c->family, "%.*s", (int)n, name);
    (void)snprintf(key, sizeof key, "# %s", c->family);
    c->help = c->typed = c->unit = c->sampled = c->in_histogram = false;
    return remember(c, key, "a family comes twice, or in two places");
}

#define ORDER "the order is TYPE, UNIT, HELP"

static bool check_type(struct checker *c, const char *type)
{
    static const char *const types[] = {"counter", "gauge", "histogram", "info"};
    bool known = false;
    if (c->typed)
        return refuse(c, "TYPE comes twice");
    c->typed = true;
    (void)snprintf(c->type, sizeof c->type, "%s", type);
    for (size_t i = 0; i < 4; i++)
        known |= strcmp(type, types[i]) == 0 && (i < 3 || c->openmetrics);
    if (!known)
        return refuse(c, "unknown type");
    bool counter = strcmp(type, "counter") == 0;
    if (c->openmetrics && (ends_with(c->family, "_total") || ends_with(c->family, "_info")))
        return refuse(c, "OpenMetrics families are named without the suffix of their samples");
    if (!c->openmetrics && counter != ends_with(c->family, "_total"))
        return refuse(c, "counters, and they alone, end in _total");
    return true;
}

static bool check_unit(struct checker *c, const char *unit)
{
    size_t n = strlen(c->family), m = strlen(unit);
    if (!c->openmetrics || c->unit)
        return refuse(c, "expected one # HELP, # TYPE or # UNIT");
    if (!c->typed || c->help)
        return refuse(c, ORDER);
    c->unit = true;
    return (m > 0 && n > m + 1 && ends_with(c->family, unit) && c->family[n - m - 1] == '_') ||
           refuse(c, "UNIT must end the name");
}

static bool check_help(struct checker *c, const char *text)
{
    if (c->help)
        return refuse(c, "expected one # HELP, # TYPE or # UNIT");
    if (c->openmetrics && !c->typed)
        return refuse(c, ORDER);
    c->help = true;
    for (; *text != '\0'; text++) {
        bool escaped = *text == '\\' && text[1] != '\0' &&
                       strchr(c->openmetrics ? "\\n\"" : "\\n", text[1]) != NULL;
        if (!escaped && (*text == '\\' || (c->openmetrics && *text == '"')))
            return refuse(c, "bad escape in HELP");
        text += escaped;
    }
    return true;
}

static bool check_comment(struct checker *c, char *line)
{
    if (strcmp(line, "# EOF") == 0 && c->openmetrics)
        return (c->ended = true);
    char *kind = line + 2, *name = line[1] == ' ' ? strchr(kind, ' ') : NULL;
    if (name == NULL)
        return refuse(c, "expected # HELP, # TYPE or # UNIT");
    size_t n = name_length(++name);
    if (n == 0 || n >= NAME_MAX_BYTES || name[n] != ' ')
        return refuse(c, "expected a family name and a text");
    if (!begin_family(c, name, n))
        return false;
    char *text = name + n + 1;
    if (strncmp(kind, "TYPE ", 5) == 0)
        return check_type(c, text);
    if (strncmp(kind, "UNIT ", 5) == 0)
        return check_unit(c, text);
    return strncmp(kind, "HELP ", 5) == 0 ? check_help(c, text)
                                          : refuse(c, "expected # HELP, # TYPE or # UNIT");
}

/* ---- samples ---- */

/* One label="value"; the end of it, or NULL. */
static char *check_label(const struct checker *c, char *p)
{
    size_t n = name_length(p);
    if (n == 0 || p[n] != '=' || p[n + 1] != '"') {
        (void)refuse(c, "expected label=\"value\"");
        return NULL;
    }
    for (p += n + 2; *p != '"'; p++)
        if (*p == '\0' || (*p == '\\' && (p[1] == '\0' || strchr("\\\"n", *++p) == NULL))) {
            (void)refuse(c, "bad escape or end in a label value");
            return NULL;
        }
    return p + 1;
}

/* Labels of one sample, each as it is written: name="value". */
struct labels {
    struct span of[LABELS_MAX];
    size_t n;
};

static bool label_is(struct span label, const char *name, size_t n)
{
    return label.n > n && memcmp(label.p, name, n) == 0 && label.p[n] == '=';
}

static int compare_labels(const void *a, const void *b)
{
    const struct span *x = a, *y = b;
    int order = memcmp(x->p, y->p, x->n < y->n ? x->n : y->n);
    return order != 0 ? order : (x->n > y->n) - (x->n < y->n);
}

/* {labels} at p, sorted; where the value begins, or NULL. */
static char *check_labels(const struct checker *c, char *p, struct labels *labels)
{
    labels->n = 0;
    if (*p == '{') {
        do {
            char *start = p + 1;
            p = check_label(c, start);
            if (p == NULL)
                return NULL;
            if (labels->n == LABELS_MAX) {
                (void)refuse(c, "too long for this checker");
                return NULL;
            }
            labels->of[labels->n++] = (struct span){start, (size_t)(p - start)};
        } while (*p == ',');
        if (*p++ != '}') {
            (void)refuse(c, "expected '}'");
            return NULL;
        }
    }
    if (*p != ' ') {
        (void)refuse(c, "expected a blank before the value");
        return NULL;
    }
    qsort(labels->of, labels->n, sizeof *labels->of, compare_labels);
    return p;
}

/* The labels but le as one text, in their order; le's value apart. */
static bool join_labels(const struct checker *c, const struct labels *labels, char *others,
                        char *le)
{
    size_t n = 0;
    *others = *le = '\0';
    for (size_t i = 0; i < labels->n; i++) {
        const struct span label = labels->of[i];
        if (i > 0 && label_is(label, labels->of[i - 1].p, name_length(labels->of[i - 1].p)))
            return refuse(c, "a label comes twice");
        if (n + label.n + 2 > SERIES_MAX_BYTES)
            return refuse(c, "too long for this checker");
        if (label_is(label, "le", 2))
            (void)snprintf(le, LE_MAX_BYTES, "%.*s", (int)label.n - 5, label.p + 4);
        else
            n += (size_t)sprintf(others + n, "%.*s,", (int)label.n, label.p);
    }
    return true;
}

static bool read_value(const struct checker *c, const char *text, double *value)
{
    char *end;
    if (strspn(text, "+-0123456789.eEInfNa") != strlen(text) || *text == '\0')
        return refuse(c, "expected a value and nothing behind it");
    *value = strtod(text, &end);
    return *end == '\0' || refuse(c, "expected a number");
}

/* "1.0", "0.005", "1e-05": the form a bound has in both formats. */
static bool canonical_bound(const char *le, double bound)
{
    char text[64];
    if (isinf(bound))
        return strcmp(le, "+Inf") == 0;
    for (int digits = 1; digits < 18; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, bound);
        if (strtod(text, NULL) == bound)
            break;
    }
    if (strpbrk(text, ".e") == NULL)
        (void)strncat(text, ".0", sizeof text - strlen(text) - 1);
    return strcmp(text, le) == 0 || (strchr(text, 'e') != NULL && strtod(le, NULL) == bound);
}

static bool check_bucket(struct checker *c, const char *others, const char *le, double value)
{
    double bound = strtod(le, NULL);
    if (*le == '\0' || !canonical_bound(le, bound))
        return refuse(c, "a bucket needs an le written like 1.0");
    if (!(value >= 0) || isinf(value) || value != floor(value))
        return refuse(c, "bucket counts are whole numbers");
    if (c->in_histogram && strcmp(c->histogram, others) == 0) {
        if (!(bound > c->bound))
            return refuse(c, "buckets must ascend");
        if (value < c->bucket)
            return refuse(c, "bucket counts must not fall");
    } else if (!end_histogram(c)) {
        return false;
    }
    (void)snprintf(c->histogram, sizeof c->histogram, "%s", others);
    c->in_histogram = true;
    c->has_sum = false;
    c->bound = bound;
    c->bucket = value;
    return true;
}

static bool check_histogram(struct checker *c, const char *suffix, const char *others,
                            const char *le, double value)
{
    if (strcmp(suffix, "_bucket") == 0)
        return check_bucket(c, others, le, value);
    if (!c->in_histogram || strcmp(c->histogram, others) != 0 || !isinf(c->bound))
        return refuse(c, "_sum and _count follow the +Inf bucket of their series");
    if (strcmp(suffix, "_sum") == 0) {
        c->has_sum = true;
        return (value >= 0 && !isinf(value)) || refuse(c, "a sum is finite and not negative");
    }
    if (strcmp(suffix, "_count") != 0)
        return refuse(c, "expected _bucket, _sum or _count");
    c->in_histogram = false;
    if (!c->has_sum)
        return refuse(c, "a histogram needs _sum before _count");
    return value == c->bucket || refuse(c, "_count must equal the +Inf bucket");
}

static bool check_value(struct checker *c, const char *suffix, const char *others, const char *le,
                        double value)
{
    if (strcmp(c->type, "histogram") == 0)
        return check_histogram(c, suffix, others, le, value);
    if (*le != '\0')
        return refuse(c, "le belongs to histograms");
    if (strcmp(c->type, "counter") == 0) {
        if (strcmp(suffix, c->openmetrics ? "_total" : "") != 0)
            return refuse(c, "a counter's sample ends in _total");
        return (value >= 0 && !isinf(value)) || refuse(c, "counters are finite and not negative");
    }
    if (strcmp(suffix, strcmp(c->type, "info") == 0 ? "_info" : "") != 0)
        return refuse(c, "wrong suffix");
    return strcmp(c->type, "info") != 0 || value == 1 || refuse(c, "an info is 1");
}

static bool check_sample(struct checker *c, char *line)
{
    char name[NAME_MAX_BYTES], others[SERIES_MAX_BYTES], le[LE_MAX_BYTES];
    char series[NAME_MAX_BYTES + SERIES_MAX_BYTES + LE_MAX_BYTES + 3];
    size_t n = name_length(line), family = strlen(c->family);
    struct labels labels;
    double value = 0;
    if (n == 0 || n >= sizeof name)
        return refuse(c, "expected a metric name");
    (void)snprintf(name, sizeof name, "%.*s", (int)n, line);
    if (family == 0 || strncmp(name, c->family, family) != 0 || !c->help || !c->typed)
        return refuse(c, "a sample follows the HELP and TYPE of its family");
    c->sampled = true;
    const char *at = check_labels(c, line + n, &labels);
    if (at == NULL || !join_labels(c, &labels, others, le))
        return false;
    (void)snprintf(series, sizeof series, "%s{%s%s}", name, others, le);
    return remember(c, series, "a series comes twice") && read_value(c, at + 1, &value) &&
           check_value(c, name + family, others, le, value);
}

/* ---- the page ---- */

static bool is_utf8(const char *p, const char *end)
{
    for (size_t n; p < end; p += n)
        if ((n = json_utf8_length(p, end)) == 0)
            return false;
    return true;
}

static bool check_lines(struct checker *c, char *text)
{
    for (char *line = text, *lf; *line != '\0'; line = lf + 1) {
        c->line++;
        lf = strchr(line, '\n');
        if (lf == NULL)
            return refuse(c, "the last line must end in LF");
        *lf = '\0';
        if (c->ended)
            return refuse(c, "nothing may follow # EOF");
        if (strchr(line, '\r') != NULL || *line == '\0')
            return refuse(c, "expected no CR and no empty line");
        if (!is_utf8(line, lf))
            return refuse(c, "expected UTF-8");
        if (!(line[0] == '#' ? check_comment(c, line) : check_sample(c, line)))
            return false;
    }
    if (c->openmetrics && !c->ended)
        return refuse(c, "OpenMetrics ends with # EOF");
    return end_family(c);
}

bool exposition_check(const char *text, size_t n, enum exposition_format format, struct error *err)
{
    struct checker *c = calloc(1, sizeof *c);
    char *copy = strndup(text, n);
    if (c == NULL || copy == NULL)
        abort();
    c->openmetrics = format == EXPOSITION_OPENMETRICS;
    c->err = err;
    bool ok = strlen(copy) == n ? check_lines(c, copy) : refuse(c, "expected no NUL");
    for (size_t i = 0; i < c->seen_count; i++)
        free(c->seen[i]);
    free(c);
    free(copy);
    return ok;
}

bool exposition_value(const char *text, size_t n, const char *series, double *value)
{
    size_t m = strlen(series);
    for (const char *p = text, *end = text + n; p < end;) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        if (lf == NULL)
            return false;
        if ((size_t)(lf - p) > m && memcmp(p, series, m) == 0 && p[m] == ' ') {
            *value = strtod(p + m + 1, NULL);
            return true;
        }
        p = lf + 1;
    }
    return false;
}
