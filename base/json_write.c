/* Text grows at the end of an arena block, in place as long as the block has room. */
#include "base/json.h"

#include "base/number.h"

#include <math.h>
#include <string.h>

void json_writer_init(struct json_writer *w, struct arena *arena)
{
    *w = (struct json_writer){.arena = arena};
}

/* Room for n more bytes, or NULL. */
static char *reserve(struct json_writer *w, size_t n)
{
    if (w->failed)
        return NULL;
    if (n > w->capacity - w->n) {
        size_t capacity = w->capacity * 2 + n + 64;
        char *data = arena_grow(w->arena, w->data, w->capacity, capacity);
        if (data == NULL) {
            w->failed = true;
            return NULL;
        }
        w->data = data;
        w->capacity = capacity;
    }
    return w->data + w->n;
}

static void put(struct json_writer *w, const char *text, size_t n)
{
    char *to = reserve(w, n);
    if (to != NULL) {
        memcpy(to, text, n);
        w->n += n;
    }
}

static void separate(struct json_writer *w)
{
    if (w->comma)
        put(w, ",", 1);
    w->comma = true;
}

static void begin(struct json_writer *w, const char *open)
{
    separate(w);
    put(w, open, 1);
    w->comma = false;
}

static void end(struct json_writer *w, const char *close)
{
    put(w, close, 1);
    w->comma = true;
}

void json_begin_object(struct json_writer *w)
{
    begin(w, "{");
}

void json_end_object(struct json_writer *w)
{
    end(w, "}");
}

void json_begin_array(struct json_writer *w)
{
    begin(w, "[");
}

void json_end_array(struct json_writer *w)
{
    end(w, "]");
}

/* ---- strings ---- */

static void put_escape(struct json_writer *w, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *named = c != '\0' ? strchr(from, c) : NULL;
    if (named != NULL)
        put(w, (char[]){'\\', to[named - from]}, 2);
    else
        put(w, (char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
}

static void put_text(struct json_writer *w, struct span text)
{
    const char *p = text.p, *last = text.p + text.n;
    while (p < last) {
        const char *start = p;
        size_t n;
        while (p < last && (unsigned char)*p >= 0x20 && *p != '"' && *p != '\\' &&
               (n = json_utf8_length(p, last)) > 0)
            p += n;
        put(w, start, (size_t)(p - start));
        if (p == last)
            break;
        if ((unsigned char)*p < 0x80)
            put_escape(w, (unsigned char)*p);
        else
            put(w, "\xef\xbf\xbd", 3); /* U+FFFD */
        p++;
    }
}

void json_put_span(struct json_writer *w, struct span text)
{
    separate(w);
    put(w, "\"", 1);
    put_text(w, text);
    put(w, "\"", 1);
}

void json_put_string(struct json_writer *w, const char *text)
{
    json_put_span(w, (struct span){text, strlen(text)});
}

void json_key(struct json_writer *w, const char *name)
{
    json_put_string(w, name);
    put(w, ":", 1);
    w->comma = false;
}

/* ---- scalars ---- */

void json_put_number(struct json_writer *w, double value)
{
    if (!isfinite(value)) {
        json_put_null(w);
        return;
    }
    char *to = reserve(w, NUMBER_TEXT_MAX + 1);
    if (to == NULL)
        return;
    size_t n = w->comma;
    *to = ','; /* overwritten when there is none */
    w->n += n + number_write(to + n, value);
    w->comma = true;
}

void json_put_numbers(struct json_writer *w, const double *values, size_t n)
{
    json_begin_array(w);
    for (size_t i = 0; i < n; i++)
        json_put_number(w, values[i]);
    json_end_array(w);
}

void json_put_u64(struct json_writer *w, uint64_t value)
{
    char text[NUMBER_TEXT_MAX];
    separate(w);
    put(w, text, number_write_u64(text, value));
}

void json_put_bool(struct json_writer *w, bool value)
{
    separate(w);
    put(w, value ? "true" : "false", value ? 4 : 5);
}

void json_put_null(struct json_writer *w)
{
    separate(w);
    put(w, "null", 4);
}

void json_put_raw(struct json_writer *w, struct span text)
{
    separate(w);
    put(w, text.p, text.n);
}

bool json_writer_finish(struct json_writer *w, struct span *out)
{
    *out = (struct span){w->data, w->n};
    return !w->failed;
}
