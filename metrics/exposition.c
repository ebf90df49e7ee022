/* One walk over the registry. What differs between the two formats is small: the name a counter or
 * info family goes by, the order of the comment lines, and the end. */
#define _GNU_SOURCE /* fopencookie */
#include "metrics/exposition.h"

#include "base/json.h"
#include "base/number.h"
#include "metrics/metrics_internal.h"

#include <math.h>
#include <string.h>
#include <strings.h>

/* What is being written, and how. */
struct page {
    FILE *out;
    bool openmetrics;
};

/* ---- text ---- */

/* A scrape drops the whole page for one byte that is not UTF-8, so such a byte becomes U+FFFD. */
static void put_escaped(FILE *out, const char *text, bool quotes)
{
    const char *end = text + strlen(text);
    for (size_t n; text<end; text += n> 0 ? n : 1) {
        n = json_utf8_length(text, end);
        if (n == 0)
            (void)fputs("\xef\xbf\xbd", out);
        else if (*text == '\n')
            (void)fputs("\\n", out);
        else if (*text == '\\' || (quotes && *text == '"'))
            (void)fprintf(out, "\\%c", *text);
        else
            (void)fwrite(text, 1, n, out);
    }
}

static void put_number(FILE *out, double value)
{
    char text[NUMBER_TEXT_MAX] = "";
    if (!isfinite(value)) {
        (void)fputs(isnan(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf", out);
        return;
    }
    size_t n = number_write(text, value);
    (void)fwrite(text, 1, n, out);
}

static void put_count(FILE *out, uint64_t value)
{
    char text[NUMBER_TEXT_MAX] = "";
    size_t n = number_write_u64(text, value);
    (void)fwrite(text, 1, n, out);
}

/* {a="x",b="y"} with le last when a bound is given (NULL: none); nothing when there are no labels. */
static void put_labels(FILE *out, const struct metric_series *series, const double *bound)
{
    const char *separator = "{";
    for (size_t i = 0; i < series->family->label_count; i++, separator = ",") {
        (void)fprintf(out, "%s%s=\"", separator, series->family->labels[i]);
        put_escaped(out, series->values[i], true);
        (void)fputc('"', out);
    }
    if (bound != NULL) {
        (void)fprintf(out, "%sle=\"", separator);
        put_number(out, *bound);
        (void)fputc('"', out);
        separator = ",";
    }
    if (*separator == ',')
        (void)fputc('}', out);
}

/* ---- families ---- */

/* Bytes of the name without a suffix that OpenMetrics adds to samples only. */
static int family_name_length(const struct metric_family *family, bool openmetrics)
{
    int n = (int)strlen(family->name);
    if (openmetrics && family->type == METRIC_COUNTER)
        return n - (int)strlen("_total");
    if (openmetrics && family->type == METRIC_INFO)
        return n - (int)strlen("_info");
    return n;
}

static const char *type_name(enum metric_type type, bool openmetrics)
{
    switch (type) {
    case METRIC_COUNTER:
        return "counter";
    case METRIC_GAUGE:
        return "gauge";
    case METRIC_HISTOGRAM:
    case METRIC_DURATION:
        return "histogram";
    case METRIC_INFO:
        break;
    }
    return openmetrics ? "info" : "gauge";
}

static void put_unit(const struct page *page, const struct metric_family *family, int n)
{
    static const char *const units[] = {"seconds", "bytes"};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        int length = (int)strlen(units[i]);
        if (n > length + 1 && family->name[n - length - 1] == '_' &&
            memcmp(family->name + n - length, units[i], (size_t)length) == 0)
            (void)fprintf(page->out, "# UNIT %.*s %s\n", n, family->name, units[i]);
    }
}

static void put_header(const struct page *page, const struct metric_family *family)
{
    int n = family_name_length(family, page->openmetrics);
    const char *type = type_name(family->type, page->openmetrics);
    if (page->openmetrics) {
        (void)fprintf(page->out, "# TYPE %.*s %s\n", n, family->name, type);
        put_unit(page, family, n);
    }
    (void)fprintf(page->out, "# HELP %.*s ", n, family->name);
    put_escaped(page->out, family->help, page->openmetrics);
    (void)fputc('\n', page->out);
    if (!page->openmetrics)
        (void)fprintf(page->out, "# TYPE %s %s\n", family->name, type);
}

/* ---- series ---- */

static void put_histogram(const struct page *page, const struct metric_series *series)
{
    const struct metric_family *family = series->family;
    uint64_t buckets[METRIC_BUCKETS_MAX + 1], count = 0, sum;
    double infinity = INFINITY;
    metric_histogram_read(series, buckets, &sum);
    for (size_t i = 0; i <= family->bucket_count; i++) {
        count += buckets[i];
        (void)fprintf(page->out, "%s_bucket", family->name);
        put_labels(page->out, series, i < family->bucket_count ? &family->bounds[i] : &infinity);
        (void)fputc(' ', page->out);
        put_count(page->out, count);
        (void)fputc('\n', page->out);
    }
    (void)fprintf(page->out, "%s_sum", family->name);
    put_labels(page->out, series, NULL);
    (void)fputc(' ', page->out);
    put_number(page->out, (double)sum * (family->type == METRIC_DURATION ? 1e-9 : 1));
    (void)fprintf(page->out, "\n%s_count", family->name);
    put_labels(page->out, series, NULL);
    (void)fputc(' ', page->out);
    put_count(page->out, count);
    (void)fputc('\n', page->out);
}

static void put_series(const struct page *page, const struct metric_series *series)
{
    const struct metric_family *family = series->family;
    if (!atomic_load_explicit(&series->shown, memory_order_relaxed))
        return;
    if (family->type == METRIC_HISTOGRAM || family->type == METRIC_DURATION) {
        put_histogram(page, series);
        return;
    }
    (void)fputs(family->name, page->out);
    put_labels(page->out, series, NULL);
    (void)fputc(' ', page->out);
    double value = family->type == METRIC_INFO ? 1 : metric_read(series);
    if (value == floor(value) && value >= 0 && value < 0x1p53)
        put_count(page->out, (uint64_t)value);
    else
        put_number(page->out, value);
    (void)fputc('\n', page->out);
}

void exposition_write(struct metrics *metrics, enum exposition_format format, FILE *out)
{
    struct page page = {out, format == EXPOSITION_OPENMETRICS};
    (void)pthread_mutex_lock(&metrics->lock);
    for (size_t i = 0; i < metrics->update_count; i++)
        metrics->updates[i].update(metrics->updates[i].ctx);
    for (const struct metric_family *family = metrics->families; family != NULL;
         family = family->next) {
        put_header(&page, family);
        for (const struct metric_series *s = family->series; s != NULL; s = s->next)
            put_series(&page, s);
    }
    (void)pthread_mutex_unlock(&metrics->lock);
    if (page.openmetrics)
        (void)fputs("# EOF\n", out);
}

/* ---- into an arena ---- */

/* A stream into an arena. open_memstream would pass over a piece for which there is no memory, and say
 * nothing at the end. */
struct sink {
    struct arena *arena;
    char *text;
    size_t n, capacity;
    bool failed;
};

static ssize_t append(void *ctx, const char *bytes, size_t n)
{
    struct sink *sink = ctx;
    size_t capacity = (sink->n + n) * 2;
    if (sink->capacity - sink->n < n) {
        char *text = arena_grow(sink->arena, sink->text, sink->capacity, capacity);
        sink->failed |= text == NULL;
        sink->text = text != NULL ? text : sink->text;
        sink->capacity = text != NULL ? capacity : sink->capacity;
    }
    if (sink->failed)
        return 0;
    memcpy(sink->text + sink->n, bytes, n);
    sink->n += n;
    return (ssize_t)n;
}

bool exposition_text(struct metrics *metrics, enum exposition_format format, struct arena *arena,
                     struct span *out)
{
    struct sink sink = {.arena = arena};
    FILE *stream = fopencookie(&sink, "w", (cookie_io_functions_t){.write = append});
    if (stream == NULL)
        return false;
    exposition_write(metrics, format, stream);
    sink.failed |= fclose(stream) != 0;
    *out = (struct span){sink.text, sink.n};
    return !sink.failed;
}

/* ---- negotiation ---- */

const char *exposition_content_type(enum exposition_format format)
{
    return format == EXPOSITION_OPENMETRICS
               ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
               : "text/plain; version=0.0.4; charset=utf-8";
}

static struct span trim(struct span s)
{
    while (s.n > 0 && (*s.p == ' ' || *s.p == '\t')) {
        s.p++;
        s.n--;
    }
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

/* Cuts the part before the next separator off *rest. */
static struct span next_part(struct span *rest, char separator)
{
    const char *at = memchr(rest->p, separator, rest->n);
    struct span part = {rest->p, at != NULL ? (size_t)(at - rest->p) : rest->n};
    rest->p += part.n + (at != NULL);
    rest->n -= part.n + (at != NULL);
    return trim(part);
}

static bool same(struct span s, const char *text)
{
    return s.n == strlen(text) && strncasecmp(s.p, text, s.n) == 0;
}

/* One media range of the header: how well it fits each format (0: not at all) and its q. */
struct range {
    int fit[2];
    double q;
};

static void read_parameter(struct span parameter, struct range *range)
{
    static const char *const versions[] = {
        [EXPOSITION_TEXT] = "0.0.4", [EXPOSITION_OPENMETRICS] = "1.0.0"};
    struct span name = next_part(&parameter, '=');
    struct span value = trim(parameter);
    if (value.n >= 2 && value.p[0] == '"' && value.p[value.n - 1] == '"')
        value = (struct span){value.p + 1, value.n - 2};
    if (same(name, "q") && (number_read_text(value.p, value.n, &range->q) != NUMBER_OK ||
                            range->q < 0 || range->q > 1))
        range->q = 0;
    for (int f = EXPOSITION_TEXT; f <= EXPOSITION_OPENMETRICS; f++)
        if (same(name, "version") && range->fit[f] > 0)
            range->fit[f] = same(value, versions[f]) ? range->fit[f] + 1 : 0;
}

static struct range read_range(struct span text)
{
    struct range range = {{0, 0}, 1};
    struct span type = next_part(&text, ';');
    if (same(type, "application/openmetrics-text"))
        range.fit[EXPOSITION_OPENMETRICS] = 3;
    else if (same(type, "text/plain"))
        range.fit[EXPOSITION_TEXT] = 3;
    else if (same(type, "text/*"))
        range.fit[EXPOSITION_TEXT] = 2;
    else if (same(type, "application/*"))
        range.fit[EXPOSITION_OPENMETRICS] = 2;
    else if (same(type, "*/*"))
        range.fit[EXPOSITION_TEXT] = 1;
    while (text.n > 0)
        read_parameter(next_part(&text, ';'), &range);
    return range;
}

enum exposition_format exposition_negotiate(const char *accept, size_t n)
{
    struct span rest = {accept, n};
    double q[2] = {0, 0};
    int fit[2] = {0, 0};
    while (rest.n > 0) {
        struct range range = read_range(next_part(&rest, ','));
        for (int f = EXPOSITION_TEXT; f <= EXPOSITION_OPENMETRICS; f++)
            if (range.fit[f] > fit[f]) {
                fit[f] = range.fit[f];
                q[f] = range.q;
            }
    }
    /* Equal wishes: the format that was named beats the one a wildcard covers. */
    bool wanted = q[EXPOSITION_OPENMETRICS] > q[EXPOSITION_TEXT] ||
                  (q[EXPOSITION_OPENMETRICS] == q[EXPOSITION_TEXT] &&
                   fit[EXPOSITION_OPENMETRICS] > fit[EXPOSITION_TEXT]);
    return wanted && q[EXPOSITION_OPENMETRICS] > 0 ? EXPOSITION_OPENMETRICS : EXPOSITION_TEXT;
}
