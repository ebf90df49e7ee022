/* A cell that is too small to have its own neighbour looks for one among all rows, so that there can be
 * more centres than half the rows. */
#include "model/centres.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Rows that differ by less in every column are the same to a centre rounded to 1e-4. */
static const double different = 4e-4;

enum { OWN_NEIGHBOUR = 2 }; /* rows from which on a cell does not look outside */

struct member {
    double value;
    size_t row;
};

struct cutting {
    const struct matrix *u;
    const struct kernel_map *map;
    struct matrix at;       /* (rows, columns), scaled */
    struct member *members; /* (rows), cell by cell */
    struct centres *out;
};

/* ---- distances ---- */

static double distance(const struct cutting *c, size_t a, size_t b)
{
    const double *x = matrix_row(&c->at, a), *y = matrix_row(&c->at, b);
    double sum = 0;
    for (size_t j = 0; j < c->at.cols; j++)
        sum += fabs(x[j] - y[j]);
    return sum;
}

static bool differ(const struct cutting *c, size_t a, size_t b)
{
    const double *x = matrix_row(c->u, a), *y = matrix_row(c->u, b);
    size_t j = 0;
    while (j < c->u->cols && fabs(x[j] - y[j]) < different)
        j++;
    return j < c->u->cols;
}

static size_t find_innermost(const struct cutting *c, size_t from, size_t count)
{
    size_t best = from;
    double least = INFINITY;
    for (size_t i = from; i < from + count; i++) {
        double sum = 0;
        for (size_t k = from; k < from + count; k++)
            sum += distance(c, c->members[i].row, c->members[k].row);
        if (sum < least) {
            least = sum;
            best = i;
        }
    }
    return c->members[best].row;
}

/* The nearest of the members that differs from the row; false if there is none. */
static bool find_neighbour(const struct cutting *c, size_t row, size_t from, size_t count,
                           size_t *neighbour)
{
    double least = INFINITY;
    for (size_t i = from; i < from + count; i++) {
        size_t other = c->members[i].row;
        double d = other == row ? INFINITY : distance(c, row, other);
        if (d < least && differ(c, row, other)) {
            least = d;
            *neighbour = other;
        }
    }
    return isfinite(least);
}

/* ---- cells ---- */

static int compare_members(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    if (x->value != y->value)
        return x->value < y->value ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

/* The column whose mean distance from its mean is greatest. */
static size_t widest_column(const struct cutting *c, size_t from, size_t count)
{
    size_t widest = 0;
    double most = -1;
    for (size_t j = 0; j < c->at.cols; j++) {
        double mean = 0, spread = 0;
        for (size_t i = from; i < from + count; i++)
            mean += matrix_row(&c->at, c->members[i].row)[j] / (double)count;
        for (size_t i = from; i < from + count; i++)
            spread += fabs(matrix_row(&c->at, c->members[i].row)[j] - mean);
        if (spread > most) {
            most = spread;
            widest = j;
        }
    }
    return widest;
}

static void add_centre(struct cutting *c, size_t from, size_t count)
{
    struct centres *out = c->out;
    size_t rows = c->at.rows, row = find_innermost(c, from, count), other = row;
    if (!(count >= OWN_NEIGHBOUR && find_neighbour(c, row, from, count, &other)) &&
        !(count < OWN_NEIGHBOUR && find_neighbour(c, row, 0, rows, &other)))
        return;
    const double *x = matrix_row(c->u, row), *y = matrix_row(c->u, other);
    double *point = out->points + out->count * c->u->cols;
    for (size_t j = 0; j < c->u->cols; j++)
        point[j] = nearbyint((x[j] + y[j]) / 2 * 1e4) / 1e4;
    out->rows[out->count][0] = row < other ? row : other;
    out->rows[out->count++][1] = row < other ? other : row;
}

/* Cuts members [from, from + count) into `cells` cells. */
static void cut(struct cutting *c, size_t from, size_t count, size_t cells)
{
    while (cells > 1) { /* the right half by loop, so that the depth is log2 of the cells */
        size_t column = widest_column(c, from, count), left = cells / 2;
        size_t at = (size_t)((double)count * (double)left / (double)cells + 0.5);
        at = at < left ? left : count - at < cells - left ? count - (cells - left) : at;
        for (size_t i = from; i < from + count; i++)
            c->members[i].value = matrix_row(&c->at, c->members[i].row)[column];
        qsort(c->members + from, count, sizeof *c->members, compare_members);
        cut(c, from, at, left);
        from += at;
        count -= at;
        cells -= left;
    }
    add_centre(c, from, count);
}

/* ---- twins ---- */

static size_t hash(const double *point, size_t inputs)
{
    uint64_t h = 0;
    for (size_t j = 0; j < inputs; j++) {
        double value = point[j] + 0.0; /* -0 is 0 */
        uint64_t bits;
        memcpy(&bits, &value, sizeof bits);
        h = (h ^ bits) * 0x9E3779B97F4A7C15u;
        h ^= h >> 29;
    }
    return (size_t)h;
}

/* Keeps the first of equal centres. */
static bool drop_twins(struct centres *c, size_t inputs, struct error *err)
{
    size_t slots = 16, kept = 0;
    while (slots < 2 * c->count)
        slots *= 2;
    size_t *table = calloc(slots, sizeof *table); /* index + 1 */
    if (table == NULL)
        return error_set(err, ERR_NO_MEMORY, "centres: out of memory");
    for (size_t m = 0; m < c->count; m++) {
        double *point = c->points + m * inputs;
        size_t slot = hash(point, inputs) & (slots - 1), j = inputs;
        for (; table[slot] != 0; slot = (slot + 1) & (slots - 1)) {
            const double *other = c->points + (table[slot] - 1) * inputs;
            for (j = 0; j < inputs && point[j] == other[j];)
                j++;
            if (j == inputs)
                break;
        }
        if (table[slot] != 0)
            continue;
        memmove(c->points + kept * inputs, point, inputs * sizeof *point);
        memmove(c->rows[kept], c->rows[m], sizeof c->rows[m]);
        table[slot] = ++kept;
    }
    c->count = kept;
    free(table);
    return true;
}

/* ---- all of it ---- */

static void place_rows(struct cutting *c)
{
    for (size_t i = 0; i < c->at.rows; i++) {
        double *at = matrix_row(&c->at, i);
        for (size_t j = 0; j < c->at.cols; j++)
            at[j] = c->map->scales[j] * centres_column(c->map, matrix_row(c->u, i), j);
        c->members[i].row = i;
    }
}

bool centres_choose(const struct matrix *u, const struct kernel_map *map, size_t wanted,
                    struct centres *out, struct error *err)
{
    struct cutting c = {.u = u, .map = map, .out = out};
    *out = (struct centres){0};
    if (wanted == 0 || wanted > u->rows)
        return error_set(err, ERR_INVALID, "centres: expected 1 to %zu, got %zu", u->rows, wanted);
    bool ok = matrix_init(&c.at, u->rows, map->inputs + map->direction_count, err);
    if (ok) {
        c.members = calloc(u->rows, sizeof *c.members);
        out->points = calloc(wanted * u->cols, sizeof *out->points);
        out->rows = calloc(wanted, sizeof *out->rows);
        ok = (c.members != NULL && out->points != NULL && out->rows != NULL) ||
             error_set(err, ERR_NO_MEMORY, "centres: out of memory");
    }
    if (ok) {
        place_rows(&c);
        cut(&c, 0, u->rows, wanted);
        ok = drop_twins(out, u->cols, err);
    }
    free(c.members);
    matrix_clear(&c.at);
    if (!ok)
        centres_clear(out);
    return ok;
}

void centres_clear(struct centres *centres)
{
    free(centres->points);
    free(centres->rows);
    *centres = (struct centres){0};
}
