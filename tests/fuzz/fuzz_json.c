/* The JSON reader and writer against themselves and cJSON, on any bytes.
 *
 * What the fast path accepts, the slow one accepts: as many bytes, the same bits, each number what strtod
 * makes of its token; what it declines leaves the reader where it was. A text has a tree exactly when it
 * is valid and holds nothing that cJSON would read wrongly; then tree and reader agree on every value,
 * and what is written of it is read back and written the same again. */
#include "base/json.h"

#include <stdlib.h>
#include <string.h>

enum { INPUT_MAX = 8192, COLS_MAX = 4, ROWS_MAX = 100 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static bool same_bits(double a, double b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

/* ---- fast and slow ---- */

/* The number that comes next, by the slow path, its token read by the C library too. */
static void check_number(struct json_reader *r, double expected)
{
    struct error err = {0};
    struct json_reader ahead = *r;
    struct span token;
    double value;
    check(json_skip(&ahead, &token, &err) && json_number(r, &value, &err));
    char *text = strndup(token.p, token.n);
    check(text != NULL && same_bits(value, expected) && same_bits(strtod(text, NULL), expected));
    free(text);
    check(r->p == ahead.p);
}

static void check_numbers(struct json_reader *r, const double *expected, size_t n)
{
    struct error err = {0};
    bool more;
    check(json_enter_array(r, &err));
    for (size_t i = 0; i < n; i++) {
        check(json_next_element(r, &more, &err) && more);
        check_number(r, expected[i]);
    }
    check(json_next_element(r, &more, &err) && !more);
}

static void check_matrix(const char *text, size_t n, size_t cols, struct arena *arena)
{
    struct json_reader fast, slow;
    struct json_matrix m;
    struct error err = {0};
    bool oom = true, more;
    json_reader_init(&fast, text, n);
    json_reader_init(&slow, text, n);
    if (!json_matrix(&fast, arena, cols, ROWS_MAX, &m, &oom)) {
        check(!oom && fast.p == text && fast.depth == 0);
        return;
    }
    check(m.cols == cols && m.rows > 0 && m.rows <= ROWS_MAX && json_enter_array(&slow, &err));
    for (size_t i = 0; i < m.rows; i++) {
        check(json_next_element(&slow, &more, &err) && more);
        check_numbers(&slow, m.data + i * cols, cols);
    }
    check(json_next_element(&slow, &more, &err) && !more && slow.p == fast.p);
}

static void check_vector(const char *text, size_t n, struct arena *arena)
{
    struct json_reader fast, slow;
    struct json_matrix v;
    bool oom = true;
    json_reader_init(&fast, text, n);
    json_reader_init(&slow, text, n);
    if (!json_vector(&fast, arena, ROWS_MAX, &v, &oom)) {
        check(!oom && fast.p == text && fast.depth == 0);
        return;
    }
    check(v.rows == 1 && v.cols <= ROWS_MAX);
    check_numbers(&slow, v.data, v.cols);
    check(slow.p == fast.p);
}

/* ---- trees ---- */

/* Walks text and tree side by side, writing what they hold. */
struct walk {
    struct json_reader r;
    struct json_writer w;
    struct arena *arena;
};

static void walk_value(struct walk *walk, const cJSON *item);

/* A key, raw as the reader gives it, is read as the string that it is. */
static void walk_key(struct walk *walk, struct span raw, const cJSON *item)
{
    struct json_reader key;
    struct span name;
    struct error err = {0};
    json_reader_init(&key, raw.p - 1, raw.n + 2);
    check(json_string(&key, walk->arena, &name, &err));
    check(strcmp(name.p, item->string) == 0 && strlen(name.p) == name.n);
    json_key(&walk->w, name.p);
}

static void walk_object(struct walk *walk, const cJSON *object)
{
    struct error err = {0};
    struct span raw;
    bool more, escaped;
    check(json_enter_object(&walk->r, &err));
    json_begin_object(&walk->w);
    const cJSON *item = object->child;
    while (json_next_member(&walk->r, &more, &raw, &escaped, &err) && more) {
        check(item != NULL && escaped == (memchr(raw.p, '\\', raw.n) != NULL));
        walk_key(walk, raw, item);
        walk_value(walk, item);
        item = item->next;
    }
    check(err.code == ERR_NONE && item == NULL);
    json_end_object(&walk->w);
}

static void walk_array(struct walk *walk, const cJSON *array)
{
    struct error err = {0};
    bool more;
    check(json_enter_array(&walk->r, &err));
    json_begin_array(&walk->w);
    const cJSON *item = array->child;
    while (json_next_element(&walk->r, &more, &err) && more) {
        check(item != NULL);
        walk_value(walk, item);
        item = item->next;
    }
    check(err.code == ERR_NONE && item == NULL);
    json_end_array(&walk->w);
}

static void walk_scalar(struct walk *walk, enum json_kind kind, const cJSON *item)
{
    struct error err = {0};
    struct span text;
    bool value;
    if (kind == JSON_NUMBER) {
        check(cJSON_IsNumber(item));
        check_number(&walk->r, item->valuedouble);
        json_put_number(&walk->w, item->valuedouble);
    } else if (kind == JSON_STRING) {
        check(json_string(&walk->r, walk->arena, &text, &err) && cJSON_IsString(item));
        check(strlen(text.p) == text.n && strcmp(text.p, item->valuestring) == 0);
        json_put_span(&walk->w, text);
    } else if (kind == JSON_NULL) {
        check(json_skip(&walk->r, &text, &err) && cJSON_IsNull(item));
        json_put_null(&walk->w);
    } else {
        check(json_bool(&walk->r, &value, &err) && cJSON_IsBool(item));
        check(value == (bool)cJSON_IsTrue(item) && value == (kind == JSON_TRUE));
        json_put_bool(&walk->w, value);
    }
}

static void walk_value(struct walk *walk, const cJSON *item)
{
    struct error err = {0};
    enum json_kind kind;
    check(json_peek(&walk->r, &kind, &err));
    if (kind == JSON_OBJECT) {
        check(cJSON_IsObject(item));
        walk_object(walk, item);
    } else if (kind == JSON_ARRAY) {
        check(cJSON_IsArray(item));
        walk_array(walk, item);
    } else {
        walk_scalar(walk, kind, item);
    }
}

/* Whether the text is JSON, and nothing that cJSON would read wrongly. */
static bool should_have_tree(struct span text, struct error *err)
{
    struct json_reader r;
    struct span whole;
    json_reader_init(&r, text.p, text.n);
    return json_skip(&r, &whole, err) && json_end(&r, err) && !r.saw_nul && !r.saw_overflow &&
           !r.saw_long;
}

/* Reads the text as a tree; what was written of it, or nothing if it has none. */
static struct span write_again(struct span text, struct arena *arena)
{
    struct walk walk = {.arena = arena};
    struct error err = {0}, why = {0};
    struct span out = {NULL, 0};
    cJSON *tree = json_tree(text, &err);
    check((tree != NULL) == should_have_tree(text, &why));
    if (tree == NULL) {
        check(err.code == ERR_INVALID || err.code == ERR_TOO_LARGE);
        return (struct span){NULL, 0};
    }
    json_reader_init(&walk.r, text.p, text.n);
    json_writer_init(&walk.w, arena);
    walk_value(&walk, tree);
    check(json_end(&walk.r, &err) && json_writer_finish(&walk.w, &out));
    cJSON_Delete(tree);
    return out;
}

static void check_tree(struct span text, struct arena *arena)
{
    struct span first = write_again(text, arena);
    if (first.p == NULL)
        return;
    struct span second = write_again(first, arena);
    check(second.n == first.n && memcmp(second.p, first.p, first.n) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > INPUT_MAX)
        return 0;
    struct arena *arena = arena_new(4096, 0);
    char *text = malloc(size > 0 ? size : 1); /* ends with the allocation */
    check(arena != NULL && text != NULL);
    memcpy(text, data, size);
    for (size_t cols = 1; cols <= COLS_MAX; cols++)
        check_matrix(text, size, cols, arena);
    check_vector(text, size, arena);
    check_tree((struct span){text, size}, arena);
    free(text);
    arena_free(arena);
    return 0;
}
