#include "model/sample.h"

#include "model/random.h"

#include <stdlib.h>
#include <string.h>

/* 0 .. n - 1; the bias of a remainder is below n / 2^64. */
static uint64_t below(uint64_t *state, uint64_t n)
{
    return random_next(state) % n;
}

bool sample_init(struct sample *s, size_t capacity, size_t cols, struct error *err)
{
    *s = (struct sample){.random = 1};
    if (!matrix_init(&s->rows, capacity, cols, err))
        return false;
    s->row = calloc(capacity, sizeof *s->row);
    return s->row != NULL || error_set(err, ERR_NO_MEMORY, "sample: out of memory");
}

void sample_add(struct sample *s, const double *x, size_t rows)
{
    size_t cols = s->rows.cols, capacity = s->rows.rows;
    for (size_t i = 0; i < rows; i++, x += cols) {
        uint64_t at = s->seen < capacity ? s->seen : below(&s->random, s->seen + 1);
        if (at < capacity) {
            memcpy(matrix_row(&s->rows, (size_t)at), x, cols * sizeof *x);
            s->row[at] = s->seen;
        }
        s->seen++;
    }
    s->count = s->seen < capacity ? (size_t)s->seen : capacity;
}

struct place {
    uint64_t row;
    size_t at;
};

static int compare_places(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    return x->row < y->row ? -1 : x->row > y->row;
}

/* Moves row places[i].at to i, cycle by cycle: the sample may be most of the memory there is. */
static void reorder(struct sample *s, struct place *places, double *held)
{
    size_t bytes = s->rows.cols * sizeof *held;
    for (size_t start = 0; start < s->count; start++) {
        size_t to = start, from = places[to].at;
        if (from == to)
            continue;
        memcpy(held, matrix_row(&s->rows, start), bytes);
        for (; from != start; from = places[to].at) {
            memcpy(matrix_row(&s->rows, to), matrix_row(&s->rows, from), bytes);
            places[to].at = to;
            to = from;
        }
        memcpy(matrix_row(&s->rows, to), held, bytes);
        places[to].at = to;
    }
}

bool sample_finish(struct sample *s, struct error *err)
{
    struct place *places = calloc(s->count + 1, sizeof *places);
    double *held = calloc(s->rows.cols + 1, sizeof *held);
    bool ok = places != NULL && held != NULL;
    for (size_t i = 0; ok && i < s->count; i++)
        places[i] = (struct place){s->row[i], i};
    if (ok) {
        qsort(places, s->count, sizeof *places, compare_places);
        for (size_t i = 0; i < s->count; i++)
            s->row[i] = places[i].row;
        reorder(s, places, held);
        s->rows.rows = s->count;
    }
    free(places);
    free(held);
    return ok || error_set(err, ERR_NO_MEMORY, "sample: out of memory");
}

void sample_clear(struct sample *s)
{
    matrix_clear(&s->rows);
    free(s->row);
    *s = (struct sample){0};
}

void sample_shuffle(size_t *order, size_t count)
{
    uint64_t state = 2;
    for (size_t i = 0; i < count; i++) {
        size_t at = (size_t)below(&state, i + 1);
        order[i] = order[at];
        order[at] = i;
    }
}
