#include "server/predictor/journal_line.h"

#include "base/journal_format.h"
#include "base/number.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TIME_MAX = 20 + 1 + 9 };

#define SECOND 1000000000u

/* ---- the header ---- */

/* A name as it will be written; fixed columns may need underscores. */
struct column {
    const char *name;
    size_t underscores;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Gives back the names of features and target, sorted. */
static const char **sort_names(const struct journal_schema *schema, struct arena *arena,
                               struct error *err)
{
    size_t n = schema->feature_count;
    if (n == 0 || n > JOURNAL_FEATURES_MAX) {
        (void)error_set(err, n == 0 ? ERR_INVALID : ERR_TOO_LARGE,
                        "journal: expected 1 to %d features, got %zu", JOURNAL_FEATURES_MAX, n);
        return NULL;
    }
    const char **names = arena_array(arena, n + 1, sizeof *names);
    if (names == NULL) {
        (void)error_set(err, ERR_NO_MEMORY, "journal: no memory for %zu names", n);
        return NULL;
    }
    memcpy(names, schema->features, n * sizeof *names);
    names[n] = schema->target;
    qsort(names, n + 1, sizeof *names, by_name);
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], names[i + 1]) == 0) {
            (void)error_set(err, ERR_INVALID, "journal: two columns are called \"%s\"", names[i]);
            return NULL;
        }
    return names;
}

/* Writes text, in quotes if it needs them; returns the bytes, at most 2 n + 2. */
static size_t put_text(char *out, const char *text, size_t n)
{
    bool quoted = false;
    size_t to = 0;
    for (size_t i = 0; i < n; i++)
        quoted = quoted || strchr(",\"\r\n", text[i]) != NULL;
    if (quoted)
        out[to++] = '"';
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '"')
            out[to++] = '"';
        out[to++] = text[i];
    }
    if (quoted)
        out[to++] = '"';
    return to;
}

static size_t put_column(char *out, struct column column, char end)
{
    memset(out, '_', column.underscores);
    size_t n = column.underscores;
    n += put_text(out + n, column.name, strlen(column.name));
    out[n++] = end;
    return n;
}

bool journal_header(const struct journal_schema *schema, struct arena *arena, struct span *out,
                    struct error *err)
{
    const char **names = sort_names(schema, arena, err);
    if (names == NULL)
        return false;
    struct column fixed[] = {
        {"time", 0}, {"id", 0}, {"model_version", 0}, {"prediction", 0}, {"crc32", 0}};
    size_t bytes = 2 * strlen(schema->target) + 3, n = 0;
    for (size_t j = 0; j < schema->feature_count; j++)
        bytes += 2 * strlen(schema->features[j]) + 3;
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        fixed[i].underscores = journal_underscores(fixed[i].name, names, schema->feature_count + 1);
        bytes += fixed[i].underscores + strlen(fixed[i].name) + 1;
    }
    char *text = arena_alloc(arena, bytes);
    if (text == NULL)
        return error_set(err, ERR_NO_MEMORY, "journal: no memory for a header of %zu bytes", bytes);
    for (size_t i = 0; i < 3; i++)
        n += put_column(text + n, fixed[i], ',');
    for (size_t j = 0; j < schema->feature_count; j++)
        n += put_column(text + n, (struct column){schema->features[j], 0}, ',');
    n += put_column(text + n, fixed[3], ',');
    n += put_column(text + n, (struct column){schema->target, 0}, ',');
    n += put_column(text + n, fixed[4], '\n');
    *out = (struct span){text, n};
    return true;
}

/* ---- writing ---- */

static bool check_text(struct span text, size_t max, const char *what, struct error *err)
{
    if (text.n == 0 || text.n > max)
        return error_set(err, text.n == 0 ? ERR_INVALID : ERR_TOO_LARGE,
                         "%s: expected 1 to %zu bytes, got %zu", what, max, text.n);
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] <= ' ' || text.p[i] > '~')
            return error_set(err, ERR_INVALID, "%s: expected printable ASCII without blanks", what);
    return true;
}

bool journal_check_row(const struct journal_row *row, size_t feature_count, struct error *err)
{
    if (!check_text(row->id, JOURNAL_ID_MAX, "id", err) ||
        !check_text(row->version, JOURNAL_VERSION_MAX, "model_version", err))
        return false;
    if (!isfinite(row->prediction) || !isfinite(row->target))
        return error_set(err, ERR_INVALID, "journal: expected a finite prediction and target");
    for (size_t j = 0; j < feature_count; j++)
        if (!isfinite(row->features[j]))
            return error_set(err, ERR_INVALID, "features[%zu]: expected a finite number", j);
    return true;
}

size_t journal_line_max(size_t feature_count)
{
    return TIME_MAX + 2 * (JOURNAL_ID_MAX + JOURNAL_VERSION_MAX) + 4 + 3 +
           (feature_count + 2) * (NUMBER_TEXT_MAX + 1) + JOURNAL_CRC_BYTES;
}

static size_t put_time(char *out, uint64_t time_ns)
{
    size_t n = number_write_u64(out, time_ns / SECOND);
    uint64_t rest = time_ns % SECOND;
    out[n] = '.';
    for (size_t i = 9; i > 0; i--, rest /= 10)
        out[n + i] = (char)('0' + rest % 10);
    return n + 10;
}

size_t journal_write_line(char *out, const struct journal_row *row, size_t feature_count)
{
    size_t n = put_time(out, row->time_ns);
    out[n++] = ',';
    n += put_text(out + n, row->id.p, row->id.n);
    out[n++] = ',';
    n += put_text(out + n, row->version.p, row->version.n);
    for (size_t j = 0; j < feature_count + 2; j++) {
        out[n++] = ',';
        n += number_write(out + n, j < feature_count    ? row->features[j]
                                   : j == feature_count ? row->prediction
                                                        : row->target);
    }
    journal_put_crc(out + n, (struct span){out, n});
    return n + JOURNAL_CRC_BYTES;
}

/* ---- reading ---- */

bool journal_line_is_whole(struct span line)
{
    return line.n <= journal_line_max(JOURNAL_FEATURES_MAX) && journal_crc_holds(line);
}

/* Takes the text up to the next comma off the front of *rest, unquoted into out(max). */
static bool take_text(struct span *rest, char *out, size_t max, struct span *text)
{
    const char *p = rest->p, *end = p + rest->n;
    bool quoted = p < end && *p == '"';
    size_t n = 0;
    for (p += quoted; p < end && (quoted || *p != ','); out[n++] = *p++) {
        if (quoted && *p == '"' && (++p == end || *p != '"')) {
            quoted = false;
            break;
        }
        if (n == max)
            return false;
    }
    if (quoted || p == end || *p != ',')
        return false;
    *text = (struct span){out, n};
    *rest = (struct span){p + 1, (size_t)(end - p - 1)};
    return true;
}

static bool take_number(struct span *rest, double *value)
{
    const char *end = rest->p + rest->n, *next;
    if (number_read_json(rest->p, end, value, &next) != NUMBER_OK || next == end || *next != ',')
        return false;
    *rest = (struct span){next + 1, (size_t)(end - next - 1)};
    return true;
}

static bool take_digits(const char **p, const char *end, uint64_t *value)
{
    const char *begin = *p;
    for (*value = 0; *p < end && **p >= '0' && **p <= '9'; ++*p) {
        uint64_t digit = (uint64_t)(**p - '0');
        if (*value > (UINT64_MAX - digit) / 10)
            return false;
        *value = *value * 10 + digit;
    }
    return *p > begin;
}

static bool take_time(struct span *rest, uint64_t *time_ns)
{
    const char *p = rest->p, *end = p + rest->n;
    uint64_t seconds, nanoseconds;
    if (!take_digits(&p, end, &seconds) || p == end || *p++ != '.')
        return false;
    const char *point = p;
    if (!take_digits(&p, end, &nanoseconds) || p - point != 9 || p == end || *p != ',' ||
        seconds > (UINT64_MAX - nanoseconds) / SECOND)
        return false;
    *time_ns = seconds * SECOND + nanoseconds;
    *rest = (struct span){p + 1, (size_t)(end - p - 1)};
    return true;
}

bool journal_read_line(struct span line, size_t feature_count, double *features,
                       struct journal_texts *texts, struct journal_row *row, struct error *err)
{
    if (!journal_line_is_whole(line))
        return error_set(err, ERR_INVALID, "crc32: expected that of the line");
    struct span rest = {line.p, line.n - JOURNAL_CRC_BYTES + 1};
    bool ok = take_time(&rest, &row->time_ns) &&
              take_text(&rest, texts->id, sizeof texts->id, &row->id) &&
              take_text(&rest, texts->version, sizeof texts->version, &row->version);
    for (size_t j = 0; ok && j < feature_count; j++)
        ok = take_number(&rest, &features[j]);
    ok = ok && take_number(&rest, &row->prediction) && take_number(&rest, &row->target);
    row->features = features;
    return (ok && rest.n == 0) ||
           error_set(err, ERR_INVALID, "journal: expected a row of %zu features", feature_count);
}

bool journal_line_has_id(struct span line, struct span id)
{
    struct span rest = line, found;
    uint64_t time_ns;
    char text[JOURNAL_ID_MAX];
    return take_time(&rest, &time_ns) && take_text(&rest, text, sizeof text, &found) &&
           found.n == id.n && memcmp(found.p, id.p, id.n) == 0;
}
