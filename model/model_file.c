/* One table per JSON object says what its members are called, what they hold and where that lives in
 * memory; reading and writing both walk the tables, so they cannot disagree. The file is read whole,
 * its digest checked, and only then parsed. What a value may be is not decided here but by model_new,
 * for trainer and loader alike. */
#include "model/model_file.h"

#include "base/json.h"
#include "model/model_internal.h"
#include "model/replace_file.h"

#include <errno.h>
#include <math.h>
#include <sha2.h>
#include <stdlib.h>
#include <string.h>

/* A model's parts, and the lengths that they leave to one another. */
struct artifact {
    uint64_t format_version;
    struct model_parts parts;
    size_t scale_count, centre_numbers; /* of the map; 0: there is none */
    size_t quantile_rows;
    size_t has_interval; /* its scale at least: 1, else 0 */
    char sha256[SHA256_DIGEST_STRING_LENGTH];
};

/* ---- the tables ---- */

enum field_kind {
    VERSION, /* uint64_t, only MODEL_FORMAT_VERSION */
    COUNT,   /* uint64_t */
    UNSIGNED,
    BOOLEAN,  /* bool */
    NUMBER,   /* double */
    FIGURE,   /* double, NAN is null */
    TEXT,     /* const char * */
    CHARS,    /* char[max] */
    WORD,     /* enum, spelled as in words[max] */
    CLIP,     /* struct transform: [low, high], null if it does not clip */
    NUMBERS,  /* const double *, at most max */
    ROWS,     /* const double *, at most max rows of MODEL_QUANTILES; no rows are null */
    OBJECT,   /* members */
    OPTIONAL, /* members, null if the count is 0 */
    LIST,     /* pointer to at most max structs of members */
};

struct field {
    const char *name;
    enum field_kind kind;
    size_t offset, count; /* of the value and of its size_t count */
    size_t max;
    const char *const *words;
    const struct object *members;
};

struct object {
    const struct field *fields;
    size_t count, size; /* size: of the struct */
};

#define AT(type, member) offsetof(struct type, member)
#define FIELD(name_, kind_, type, member)                                                          \
    {                                                                                              \
        .name = (name_), .kind = (kind_), .offset = AT(type, member)                               \
    }
#define CHARS_FIELD(name_, type, member)                                                           \
    {                                                                                              \
        .name = (name_), .kind = CHARS, .offset = AT(type, member),                                \
        .max = sizeof(((struct type *)NULL)->member)                                               \
    }
#define WORD_FIELD(name_, type, member, words_)                                                    \
    {                                                                                              \
        .name = (name_), .kind = WORD, .offset = AT(type, member),                                 \
        .max = sizeof(words_) / sizeof *(words_), .words = (words_)                                \
    }
#define ARRAY_FIELD(name_, kind_, type, member, count_, max_)                                      \
    {                                                                                              \
        .name = (name_), .kind = (kind_), .offset = AT(type, member), .count = AT(type, count_),   \
        .max = (max_)                                                                              \
    }
#define OBJECT_FIELD(name_, type, member, object)                                                  \
    {                                                                                              \
        .name = (name_), .kind = OBJECT, .offset = AT(type, member), .members = &(object)          \
    }
#define OPTIONAL_FIELD(name_, type, member, count_, object)                                        \
    {                                                                                              \
        .name = (name_), .kind = OPTIONAL, .offset = AT(type, member), .count = AT(type, count_),  \
        .members = &(object)                                                                       \
    }
#define LIST_FIELD(name_, type, member, count_, max_, object)                                      \
    {                                                                                              \
        .name = (name_), .kind = LIST, .offset = AT(type, member), .count = AT(type, count_),      \
        .max = (max_), .members = &(object)                                                        \
    }
#define MEMBERS(fields, type)                                                                      \
    {                                                                                              \
        (fields), sizeof(fields) / sizeof *(fields), sizeof(struct type)                           \
    }

static const struct field figures_fields[] = {
    FIELD("rows", COUNT, model_figures, rows),
    FIELD("mae", FIGURE, model_figures, mae),
    FIELD("rmse", FIGURE, model_figures, rmse),
    FIELD("r2", FIGURE, model_figures, r2),
};
static const struct object figures = MEMBERS(figures_fields, model_figures);

static const struct field card_fields[] = {
    FIELD("rows", COUNT, model_card, rows),
    CHARS_FIELD("data_sha256", model_card, data_sha256),
    CHARS_FIELD("date", model_card, date),
    FIELD("penalty", NUMBER, model_card, penalty),
    CHARS_FIELD("kernel", model_card, kernel),
    FIELD("threads", UNSIGNED, model_card, threads),
    OBJECT_FIELD("leave_one_out", model_card, leave_one_out, figures),
    OBJECT_FIELD("holdout", model_card, holdout, figures),
    OBJECT_FIELD("linear", model_card, linear, figures),
};
static const struct object card = MEMBERS(card_fields, model_card);

static const struct field function_fields[] = {
    FIELD("intercept", NUMBER, model_function, intercept),
    ARRAY_FIELD("coefficients", NUMBERS, model_function, coefficients, coefficient_count,
                KERNEL_CENTRES_MAX),
};
static const struct object function = MEMBERS(function_fields, model_function);

static const struct field interval_fields[] = {
    FIELD("scaled", BOOLEAN, model_interval, scaled),
    FIELD("floor", NUMBER, model_interval, floor),
    ARRAY_FIELD("scores", NUMBERS, model_interval, scores, score_count, MODEL_SCORES_MAX),
};
static const struct object interval = MEMBERS(interval_fields, model_interval);

static const char *const transform_words[] = {
    [TRANSFORM_STANDARDISE] = "standardise", [TRANSFORM_LOG] = "log"};
static const struct field transform_fields[] = {
    WORD_FIELD("kind", transform, kind, transform_words),
    {.name = "clip", .kind = CLIP},
    FIELD("offset", NUMBER, transform, offset),
    FIELD("mean", NUMBER, transform, mean),
    FIELD("scale", NUMBER, transform, scale),
};
static const struct object transform = MEMBERS(transform_fields, transform);

static const struct field feature_fields[] = {
    FIELD("name", TEXT, model_feature, name),
    FIELD("min", NUMBER, model_feature, transform.min),
    FIELD("max", NUMBER, model_feature, transform.max),
    OBJECT_FIELD("transform", model_feature, transform, transform),
};
static const struct object feature = MEMBERS(feature_fields, model_feature);

static const struct field target_fields[] = {
    FIELD("name", TEXT, model_parts, target_name),
    FIELD("unit", TEXT, model_parts, target_unit),
};
static const struct object target = MEMBERS(target_fields, model_parts);

static const struct field direction_fields[] = {
    FIELD("a", UNSIGNED, kernel_direction, a),
    FIELD("b", UNSIGNED, kernel_direction, b),
    FIELD("difference", BOOLEAN, kernel_direction, difference),
};
static const struct object direction = MEMBERS(direction_fields, kernel_direction);

static const struct field map_fields[] = {
    LIST_FIELD("directions", artifact, parts.kernel.directions, parts.kernel.direction_count,
               KERNEL_DIRECTIONS_MAX, direction),
    ARRAY_FIELD("scales", NUMBERS, artifact, parts.kernel.scales, scale_count,
                MODEL_FEATURES_MAX + KERNEL_DIRECTIONS_MAX),
    ARRAY_FIELD("centres", NUMBERS, artifact, parts.kernel.centres, centre_numbers,
                KERNEL_NUMBERS_MAX),
};
static const struct object map = MEMBERS(map_fields, artifact);

/* The digest comes last. */
static const struct field artifact_fields[] = {
    FIELD("format_version", VERSION, artifact, format_version),
    FIELD("name", TEXT, artifact, parts.name),
    FIELD("version", TEXT, artifact, parts.version),
    WORD_FIELD("kind", artifact, parts.kind, model_kind_words),
    OBJECT_FIELD("target", artifact, parts, target),
    LIST_FIELD("features", artifact, parts.features, parts.feature_count, MODEL_FEATURES_MAX,
               feature),
    ARRAY_FIELD("quantiles", ROWS, artifact, parts.quantiles, quantile_rows,
                MODEL_FEATURES_MAX + 1),
    {.name = "map", .kind = OPTIONAL, .count = AT(artifact, centre_numbers), .members = &map},
    OBJECT_FIELD("parameters", artifact, parts.prediction, function),
    OPTIONAL_FIELD("residual", artifact, parts.residual, parts.residual.coefficient_count,
                   function),
    OPTIONAL_FIELD("interval", artifact, parts.interval, has_interval, interval),
    OBJECT_FIELD("card", artifact, parts.card, card),
    CHARS_FIELD("sha256", artifact, sha256),
};
static const struct object artifact_object = MEMBERS(artifact_fields, artifact);

/* ---- reading ---- */

struct loader {
    struct json_reader reader;
    struct arena *arena;
    char path[128]; /* where it failed: "features[3].transform.mean" */
};

static bool read_object(struct loader *l, const struct object *object, void *base,
                        struct error *err);

/* Puts one step in front of the path; the way up from a failure leads through here. */
static bool fail_at(struct loader *l, const char *step)
{
    char path[2 * sizeof l->path];
    bool dot = l->path[0] != '\0' && l->path[0] != '[';
    (void)snprintf(path, sizeof path, "%.63s%s%s", step, dot ? "." : "", l->path);
    path[sizeof l->path - 1] = '\0';
    memcpy(l->path, path, sizeof l->path);
    return false;
}

static bool fail_at_index(struct loader *l, size_t index)
{
    char step[32];
    (void)snprintf(step, sizeof step, "[%zu]", index);
    return fail_at(l, step);
}

/* The length is looked at before anything is copied; an escape takes at most six bytes. */
static bool read_text(struct loader *l, size_t max, const char **text, struct error *err)
{
    struct json_reader ahead = l->reader;
    struct span raw, value = {"", max + 1};
    if (!json_skip(&ahead, &raw, err))
        return false;
    if (raw.n <= 6 * max + 2 && !json_string(&l->reader, l->arena, &value, err))
        return false;
    if (value.n > max)
        return error_set(err, ERR_INVALID, "expected a string of at most %zu bytes", max);
    *text = value.p;
    return true;
}

static bool read_chars(struct loader *l, size_t capacity, char *chars, struct error *err)
{
    const char *text;
    if (!read_text(l, capacity - 1, &text, err))
        return false;
    memcpy(chars, text, strlen(text) + 1);
    return true;
}

static bool read_word(struct loader *l, const struct field *f, unsigned *value, struct error *err)
{
    const char *text;
    if (!read_text(l, MODEL_TEXT_MAX, &text, err))
        return false;
    for (unsigned i = 0; i < f->max; i++)
        if (strcmp(text, f->words[i]) == 0) {
            *value = i;
            return true;
        }
    return error_set(err, ERR_INVALID, "expected \"%s\" or \"%s\", got \"%.64s\"", f->words[0],
                     f->words[1], text);
}

static bool read_version(struct loader *l, uint64_t *version, struct error *err)
{
    if (!json_count(&l->reader, UINT32_MAX, version, err))
        return false;
    return *version == MODEL_FORMAT_VERSION ||
           error_set(err, ERR_INVALID, "expected %d, got %llu", MODEL_FORMAT_VERSION,
                     (unsigned long long)*version);
}

static bool read_unsigned(struct loader *l, unsigned *value, struct error *err)
{
    uint64_t count;
    if (!json_count(&l->reader, UINT32_MAX, &count, err))
        return false;
    *value = (unsigned)count;
    return true;
}

/* Passes over a null. */
static bool read_null(struct loader *l, bool *null, struct error *err)
{
    enum json_kind kind;
    struct span text;
    *null = false;
    if (!json_peek(&l->reader, &kind, err))
        return false;
    *null = kind == JSON_NULL;
    return !*null || json_skip(&l->reader, &text, err);
}

static bool read_figure(struct loader *l, double *value, struct error *err)
{
    bool null;
    *value = NAN;
    return read_null(l, &null, err) && (null || json_number(&l->reader, value, err));
}

static bool too_many(const struct field *f, struct error *err)
{
    return error_set(err, ERR_TOO_LARGE, "expected at most %zu elements", f->max);
}

/* Words what json_vector declined. */
static bool refuse_numbers(struct loader *l, const struct field *f, struct error *err)
{
    double number;
    bool more;
    if (!json_enter_array(&l->reader, err))
        return false;
    for (size_t i = 0; i < f->max; i++) {
        if (!json_next_element(&l->reader, &more, err))
            return false;
        if (!more)
            return error_set(err, ERR_INTERNAL, "expected numbers that can be read");
        if (!json_number(&l->reader, &number, err))
            return fail_at_index(l, i);
    }
    return too_many(f, err);
}

static bool read_numbers(struct loader *l, const struct field *f, const double **numbers,
                         size_t *count, struct error *err)
{
    struct json_matrix vector;
    bool oom;
    if (!json_vector(&l->reader, l->arena, f->max, &vector, &oom))
        return oom ? error_set(err, ERR_NO_MEMORY, "out of memory") : refuse_numbers(l, f, err);
    *numbers = vector.data;
    *count = vector.cols;
    return true;
}

/* For what the fast path declined and whose elements need no more precise a place. */
static bool declined(bool oom, const char *expected, struct error *err)
{
    return oom ? error_set(err, ERR_NO_MEMORY, "out of memory")
               : error_set(err, ERR_INVALID, "expected null or %s", expected);
}

static bool read_rows(struct loader *l, const struct field *f, const double **rows, size_t *count,
                      struct error *err)
{
    struct json_matrix matrix;
    bool null, oom;
    if (!read_null(l, &null, err) || null)
        return null;
    if (!json_matrix(&l->reader, l->arena, MODEL_QUANTILES, f->max, &matrix, &oom))
        return declined(oom, "rows of 32 numbers, one per feature", err);
    *rows = matrix.data;
    *count = matrix.rows;
    return true;
}

static bool read_clip(struct loader *l, struct transform *t, struct error *err)
{
    struct json_matrix range;
    bool null, oom;
    if (!read_null(l, &null, err) || null)
        return null;
    if (!json_vector(&l->reader, l->arena, 2, &range, &oom) || range.cols != 2)
        return declined(oom, "two numbers", err);
    t->clipped = true;
    t->low = range.data[0];
    t->high = range.data[1];
    return true;
}

static bool read_optional(struct loader *l, const struct object *members, void *base,
                          struct error *err)
{
    bool null;
    return read_null(l, &null, err) && (null || read_object(l, members, base, err));
}

/* Counts the elements of the array that comes next, enters it, and makes room for them. */
static char *enter_list(struct loader *l, const struct field *f, size_t *count, struct error *err)
{
    struct json_reader ahead = l->reader;
    struct span element;
    bool more;
    if (!json_enter_array(&ahead, err))
        return NULL;
    for (*count = 0;; ++*count) {
        if (!json_next_element(&ahead, &more, err))
            return NULL;
        if (!more)
            break;
        if (*count == f->max) {
            (void)too_many(f, err);
            return NULL;
        }
        if (!json_skip(&ahead, &element, err))
            return NULL;
    }
    char *list = arena_array(l->arena, *count, f->members->size);
    if (list != NULL)
        memset(list, 0, *count * f->members->size);
    else
        (void)error_set(err, ERR_NO_MEMORY, "out of memory");
    return list != NULL && json_enter_array(&l->reader, err) ? list : NULL;
}

static bool read_list(struct loader *l, const struct field *f, void *to, size_t *count,
                      struct error *err)
{
    bool more;
    char *list = enter_list(l, f, count, err);
    if (list == NULL)
        return false;
    for (size_t i = 0; i < *count; i++)
        if (!json_next_element(&l->reader, &more, err) ||
            !read_object(l, f->members, list + i * f->members->size, err))
            return fail_at_index(l, i);
    memcpy(to, &list, sizeof list);
    return json_next_element(&l->reader, &more, err);
}

static bool read_value(struct loader *l, const struct field *f, char *base, struct error *err)
{
    void *to = base + f->offset, *count = base + f->count;
    switch (f->kind) {
    case VERSION:
        return read_version(l, to, err);
    case COUNT:
        return json_count(&l->reader, UINT64_MAX, to, err);
    case UNSIGNED:
        return read_unsigned(l, to, err);
    case BOOLEAN:
        return json_bool(&l->reader, to, err);
    case NUMBER:
        return json_number(&l->reader, to, err);
    case FIGURE:
        return read_figure(l, to, err);
    case TEXT:
        return read_text(l, MODEL_TEXT_MAX, to, err);
    case CHARS:
        return read_chars(l, f->max, to, err);
    case WORD:
        return read_word(l, f, to, err);
    case CLIP:
        return read_clip(l, to, err);
    case NUMBERS:
        return read_numbers(l, f, to, count, err);
    case ROWS:
        return read_rows(l, f, to, count, err);
    case OBJECT:
        return read_object(l, f->members, to, err);
    case OPTIONAL:
        return read_optional(l, f->members, to, err);
    case LIST:
        return read_list(l, f, to, count, err);
    }
    return false;
}

static size_t find_field(const struct object *object, struct span key)
{
    size_t i = 0;
    while (i < object->count && (strlen(object->fields[i].name) != key.n ||
                                 memcmp(object->fields[i].name, key.p, key.n) != 0))
        i++;
    return i;
}

/* Reads the member whose key was just read into base, or passes over it if it is unknown. */
static bool read_member(struct loader *l, const struct object *object, size_t i, unsigned *seen,
                        void *base, struct error *err)
{
    struct span value;
    if (i == object->count)
        return json_skip(&l->reader, &value, err);
    if (*seen >> i & 1)
        (void)error_set(err, ERR_INVALID, "expected once, got it twice");
    else if (read_value(l, &object->fields[i], base, err)) {
        *seen |= 1U << i;
        return true;
    }
    return fail_at(l, object->fields[i].name);
}

static bool read_object(struct loader *l, const struct object *object, void *base,
                        struct error *err)
{
    unsigned seen = 0;
    bool more, escaped;
    struct span key;
    if (!json_enter_object(&l->reader, err))
        return false;
    for (;;) {
        if (!json_next_member(&l->reader, &more, &key, &escaped, err))
            return false;
        if (!more)
            break;
        if (!read_member(l, object, find_field(object, key), &seen, base, err))
            return false;
    }
    for (size_t i = 0; i < object->count; i++)
        if (!(seen >> i & 1)) {
            (void)error_set(err, ERR_INVALID, "missing");
            return fail_at(l, object->fields[i].name);
        }
    return true;
}

/* ---- the file ---- */

/* `"sha256":"<64 hex>"}` and LF */
enum { KEY_BYTES = 10, HEX_BYTES = 64, LAST_LINE_BYTES = KEY_BYTES + HEX_BYTES + 3 };

char *model_read_text(FILE *in, size_t *n, struct error *err)
{
    size_t capacity = 1 << 16;
    char *text = malloc(capacity), *larger = text;
    *n = 0;
    while (larger != NULL && *n <= MODEL_FILE_BYTES_MAX && !feof(in) && !ferror(in)) {
        *n += fread(text + *n, 1, capacity - *n, in);
        if (*n == capacity && (larger = realloc(text, capacity *= 2)) != NULL)
            text = larger;
    }
    if (larger == NULL)
        (void)error_set(err, ERR_NO_MEMORY, "out of memory");
    else if (ferror(in))
        (void)error_set(err, ERR_INTERNAL, "%s", strerror(errno));
    else if (*n > MODEL_FILE_BYTES_MAX)
        (void)error_set(err, ERR_TOO_LARGE, "expected at most %d bytes", MODEL_FILE_BYTES_MAX);
    else
        return text;
    free(text);
    return NULL;
}

static bool check_digest(const char *text, size_t n, struct error *err)
{
    char hex[SHA256_DIGEST_STRING_LENGTH];
    SHA2_CTX sha;
    const char *last = text + n - LAST_LINE_BYTES, *told = last + KEY_BYTES;
    if (n <= LAST_LINE_BYTES || last[-1] != '\n' || memcmp(last, "\"sha256\":\"", KEY_BYTES) != 0 ||
        memcmp(told + HEX_BYTES, "\"}\n", 3) != 0)
        return error_set(
            err, ERR_INVALID,
            "expected a last line \"sha256\":\"<64 hex>\"}: not a model, or cut short");
    SHA256Init(&sha);
    SHA256Update(&sha, (const uint8_t *)text, n - LAST_LINE_BYTES);
    (void)SHA256End(&sha, hex);
    return memcmp(hex, told, HEX_BYTES) == 0 ||
           error_set(err, ERR_INVALID, "sha256: damaged: expected %.*s, got %s", HEX_BYTES, told,
                     hex);
}

static bool parse(struct loader *l, struct artifact *artifact, struct error *err)
{
    if (read_object(l, &artifact_object, artifact, err))
        return json_end(&l->reader, err);
    if (l->path[0] != '\0')
        error_prefix(err, "%s", l->path);
    return false;
}

/* Turns lengths into counts; what a count may be is model_new's business. */
static bool finish_map(struct artifact *a, struct error *err)
{
    struct kernel_map *kernel = &a->parts.kernel;
    size_t features = a->parts.feature_count, columns = features + kernel->direction_count;
    if ((a->parts.kind == MODEL_KERNEL) != (a->centre_numbers > 0))
        return error_set(err, ERR_INVALID, "map: expected centres if and only if kind is \"%s\"",
                         model_kind_words[MODEL_KERNEL]);
    if (a->parts.kind != MODEL_KERNEL || features == 0)
        return true;
    if (a->scale_count != columns)
        return error_set(err, ERR_INVALID,
                         "map.scales: expected %zu numbers, one per feature and direction, got %zu",
                         columns, a->scale_count);
    if (a->centre_numbers % features != 0)
        return error_set(err, ERR_INVALID,
                         "map.centres: expected %zu numbers per centre, got %zu in all", features,
                         a->centre_numbers);
    kernel->inputs = features;
    kernel->centre_count = a->centre_numbers / features;
    return true;
}

static bool finish(struct artifact *a, struct error *err)
{
    size_t features = a->parts.feature_count;
    a->parts.predicted_quantiles = a->quantile_rows == features + 1;
    if (a->quantile_rows > 0 && a->quantile_rows != features && !a->parts.predicted_quantiles)
        return error_set(err, ERR_INVALID,
                         "quantiles: expected %zu rows, one per feature, or one more, got %zu",
                         features, a->quantile_rows);
    return finish_map(a, err);
}

static struct model *parse_model(const char *text, size_t n, struct error *err)
{
    struct artifact artifact = {0};
    struct loader l = {.arena = arena_new(1 << 16, 0)};
    struct model *model = NULL;
    json_reader_init(&l.reader, text, n);
    if (l.arena == NULL)
        (void)error_set(err, ERR_NO_MEMORY, "out of memory");
    else if (parse(&l, &artifact, err) && finish(&artifact, err))
        model = model_new(&artifact.parts, err);
    if (model != NULL)
        memcpy(model->sha256, artifact.sha256, sizeof model->sha256);
    arena_free(l.arena);
    return model;
}

struct model *model_from_text(const char *text, size_t n, struct error *err)
{
    return check_digest(text, n, err) ? parse_model(text, n, err) : NULL;
}

struct model *model_load(FILE *in, const char *name, struct error *err)
{
    struct model *model = NULL;
    size_t n;
    char *text = model_read_text(in, &n, err);
    if (text != NULL)
        model = model_from_text(text, n, err);
    free(text);
    if (model == NULL)
        error_prefix(err, "%s", name);
    return model;
}

static bool io_error(const char *path, struct error *err)
{
    return error_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_INTERNAL, "%s: %s", path,
                     strerror(errno));
}

struct model *model_load_path(const char *path, struct error *err)
{
    FILE *in = fopen(path, "rbe");
    if (in == NULL) {
        (void)io_error(path, err);
        return NULL;
    }
    struct model *model = model_load(in, path, err);
    (void)fclose(in);
    return model;
}

/* ---- writing ---- */

static void put_object(struct json_writer *w, const struct object *object, const void *base);

static void put_clip(struct json_writer *w, const struct transform *t)
{
    if (t->clipped)
        json_put_numbers(w, (const double[]){t->low, t->high}, 2);
    else
        json_put_null(w);
}

static void put_rows(struct json_writer *w, const double *rows, size_t count)
{
    if (count == 0) {
        json_put_null(w);
        return;
    }
    json_begin_array(w);
    for (size_t i = 0; i < count; i++)
        json_put_numbers(w, rows + i * MODEL_QUANTILES, MODEL_QUANTILES);
    json_end_array(w);
}

static void put_list(struct json_writer *w, const struct object *members, const char *list,
                     size_t count)
{
    json_begin_array(w);
    for (size_t i = 0; i < count; i++)
        put_object(w, members, list + i * members->size);
    json_end_array(w);
}

static void put_value(struct json_writer *w, const struct field *f, const char *base)
{
    const void *from = base + f->offset, *count = base + f->count;
    switch (f->kind) {
    case VERSION:
    case COUNT:
        json_put_u64(w, *(const uint64_t *)from);
        return;
    case UNSIGNED:
        json_put_u64(w, *(const unsigned *)from);
        return;
    case BOOLEAN:
        json_put_bool(w, *(const bool *)from);
        return;
    case NUMBER:
    case FIGURE:
        json_put_number(w, *(const double *)from);
        return;
    case TEXT:
        json_put_string(w, *(const char *const *)from);
        return;
    case CHARS:
        json_put_string(w, from);
        return;
    case WORD:
        json_put_string(w, f->words[*(const unsigned *)from]);
        return;
    case CLIP:
        put_clip(w, from);
        return;
    case NUMBERS:
        json_put_numbers(w, *(const double *const *)from, *(const size_t *)count);
        return;
    case ROWS:
        put_rows(w, *(const double *const *)from, *(const size_t *)count);
        return;
    case OPTIONAL:
        if (*(const size_t *)count == 0) {
            json_put_null(w);
            return;
        }
        put_object(w, f->members, from);
        return;
    case OBJECT:
        put_object(w, f->members, from);
        return;
    case LIST:
        put_list(w, f->members, *(const char *const *)from, *(const size_t *)count);
        return;
    }
}

static void put_object(struct json_writer *w, const struct object *object, const void *base)
{
    json_begin_object(w);
    for (size_t i = 0; i < object->count; i++) {
        json_key(w, object->fields[i].name);
        put_value(w, &object->fields[i], base);
    }
    json_end_object(w);
}

/* Writes text and counts it into the digest. */
static void emit(FILE *out, SHA2_CTX *sha, struct span text)
{
    SHA256Update(sha, (const uint8_t *)text.p, text.n);
    (void)fwrite(text.p, 1, text.n, out);
}

/* One line per member, for people who read differences. */
static bool emit_members(FILE *out, SHA2_CTX *sha, struct arena *arena,
                         const struct artifact *artifact)
{
    const struct field *fields = artifact_fields;
    for (size_t i = 0; i + 1 < artifact_object.count; i++) {
        struct json_writer w;
        struct span text;
        arena_reset(arena);
        json_writer_init(&w, arena);
        json_key(&w, fields[i].name);
        put_value(&w, &fields[i], (const char *)artifact);
        if (!json_writer_finish(&w, &text))
            return false;
        emit(out, sha, (struct span){"{", i == 0});
        emit(out, sha, text);
        emit(out, sha, (struct span){",\n", 2});
    }
    return true;
}

bool model_save(const struct model *model, FILE *out, struct error *err)
{
    const struct model_parts *parts = &model->parts;
    const struct kernel_map *kernel = &parts->kernel;
    const struct artifact artifact = {.format_version = MODEL_FORMAT_VERSION,
                                      .parts = *parts,
                                      .scale_count = kernel->inputs + kernel->direction_count,
                                      .centre_numbers = kernel->centre_count * kernel->inputs,
                                      .quantile_rows = model_quantile_rows(parts),
                                      .has_interval = parts->interval.scaled ||
                                                      parts->interval.score_count > 0};
    char hex[SHA256_DIGEST_STRING_LENGTH];
    SHA2_CTX sha;
    struct arena *arena = arena_new(1 << 16, 0);
    SHA256Init(&sha);
    bool ok = arena != NULL && emit_members(out, &sha, arena, &artifact);
    arena_free(arena);
    if (!ok)
        return error_set(err, ERR_NO_MEMORY, "out of memory");
    (void)SHA256End(&sha, hex);
    (void)fprintf(out, "\"sha256\":\"%s\"}\n", hex);
    return (fflush(out) == 0 && !ferror(out)) ||
           error_set(err, ERR_INTERNAL, "%s", strerror(errno));
}

static bool write_model(const void *ctx, FILE *out, struct error *err)
{
    return model_save(ctx, out, err);
}

bool model_save_path(const struct model *model, const char *path, struct error *err)
{
    return replace_file(path, write_model, model, err);
}
