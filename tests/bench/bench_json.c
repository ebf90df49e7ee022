/* Decoding {"instances":[[8 numbers]...]}: the matrix fast path beside cJSON, alternating, medians. */
#include "base/json.h"
#include "base/number.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 9, COLS = 8 };

static double now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static size_t make_body(char *out, size_t rows, int full)
{
    size_t n = (size_t)sprintf(out, "{\"instances\":[");
    unsigned seed = 7;
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < COLS; j++) {
            seed = seed * 1664525u + 1013904223u;
            double value = (double)seed / 4294967296.0 * 5;
            out[n++] = j == 0 ? '[' : ',';
            n += full ? number_write(out + n, value) : (size_t)sprintf(out + n, "%.3f", value);
        }
        n += (size_t)sprintf(out + n, i + 1 < rows ? "]," : "]");
    }
    return n + (size_t)sprintf(out + n, "]}");
}

static double with_matrix(const char *body, size_t n, struct arena *arena, double *sum)
{
    struct json_reader r;
    struct json_matrix m = {0};
    struct error err = {0};
    struct span key;
    bool more, escaped, oom;
    double start = now_ns();
    arena_reset(arena);
    json_reader_init(&r, body, n);
    if (!json_enter_object(&r, &err) || !json_next_member(&r, &more, &key, &escaped, &err) ||
        !json_matrix(&r, arena, COLS, 1000000, &m, &oom) ||
        !json_next_member(&r, &more, &key, &escaped, &err) || more || !json_end(&r, &err))
        abort();
    *sum += m.data[m.rows * COLS - 1];
    return now_ns() - start;
}

static double with_cjson(const char *body, size_t n, double *sum)
{
    double start = now_ns();
    const cJSON *row, *cell;
    cJSON *tree = cJSON_ParseWithLength(body, n);
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(tree, "instances"))
        cJSON_ArrayForEach(cell, row) *sum += cell->valuedouble;
    cJSON_Delete(tree);
    return now_ns() - start;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(void)
{
    static char body[4 << 20];
    struct arena *arena = arena_new(1 << 22, 0);
    double sum = 0;
    for (int full = 0; full < 2; full++)
        for (size_t rows = 1; rows <= 10000; rows *= 100) {
            double a[ROUNDS], b[ROUNDS];
            size_t n = make_body(body, rows, full), repeat = 20000 / rows + 1;
            for (int round = 0; round < ROUNDS; round++) {
                a[round] = b[round] = 0;
                for (size_t i = 0; i < repeat; i++)
                    a[round] += with_matrix(body, n, arena, &sum);
                for (size_t i = 0; i < repeat; i++)
                    b[round] += with_cjson(body, n, &sum);
            }
            qsort(a, ROUNDS, sizeof *a, by_value);
            qsort(b, ROUNDS, sizeof *b, by_value);
            double bytes = (double)n * (double)repeat;
            (void)printf("%5zu rows, %-9s: matrix %6.0f MB/s (%8.0f ns), cJSON %5.0f MB/s, %.1fx\n",
                         rows, full ? "17 digits" : "x.xxx", bytes / a[ROUNDS / 2] * 1e3,
                         a[ROUNDS / 2] / (double)repeat, bytes / b[ROUNDS / 2] * 1e3,
                         b[ROUNDS / 2] / a[ROUNDS / 2]);
        }
    arena_free(arena);
    return sum == 0.123;
}
