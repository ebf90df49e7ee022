/* Reads any bytes as a table, all of its columns or the last alone. What is accepted has finite values, the
 * digest of the bytes, the same rows on a second pass and when written canonically. Rows and words are
 * the same wherever the read buffer is cut: a longer header moves the cut through the rows. What is
 * refused is so with a line. */
#define _GNU_SOURCE /* fmemopen, open_memstream */
#include "model/dataset.h"

#include "base/number.h"

#include <math.h>
#include <sha2.h>
#include <stdlib.h>
#include <string.h>

enum { INPUT_MAX = 4096, BUFFER_BYTES = 1 << 16, MAX_ROWS = 64, BATCH = 7 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct text {
    char *p;
    size_t n;
};

/* What reading came to. */
struct result {
    struct matrix rows;
    struct error err;
    char sha256[SHA256_DIGEST_STRING_LENGTH];
};

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* ---- reading ---- */

/* The columns that are read: all, or the last. */
static size_t select_columns(struct dataset *ds, bool all, struct error *err)
{
    size_t count = dataset_column_count(ds), first = all ? 0 : count - 1;
    const char **names = calloc(count, sizeof *names);
    check(names != NULL && count > 0);
    for (size_t j = first; j < count; j++)
        names[j - first] = dataset_column_name(ds, j);
    check(dataset_select(ds, names, count - first, err));
    free(names);
    return count - first;
}

/* Row by row in small batches on the first pass, all at once on the second. */
static bool read_twice(struct dataset *ds, size_t cols, struct result *result)
{
    double *x = calloc(MAX_ROWS * cols + BATCH * cols, sizeof *x);
    size_t n = 0, rows = 0;
    check(x != NULL);
    bool ok;
    while ((ok = dataset_read(ds, BATCH, x + n * cols, &rows, &result->err)) && rows > 0)
        n += rows;
    if (ok) {
        check(n == dataset_rows(ds) && n <= MAX_ROWS);
        memcpy(result->sha256, dataset_sha256(ds), sizeof result->sha256);
        check(dataset_rewind(ds, &result->err) &&
              dataset_read_all(ds, &result->rows, &result->err));
        check(result->rows.rows == n && result->rows.cols == cols);
        for (size_t i = 0; i < n; i++)
            check(memcmp(x + i * cols, matrix_row(&result->rows, i), cols * sizeof *x) == 0);
    }
    free(x);
    return ok;
}

static bool read_table(const char *text, size_t n, bool all, struct result *result)
{
    *result = (struct result){.rows = {0}};
    FILE *in = n > 0 ? fmemopen((void *)(uintptr_t)text, n, "rb") : fopen("/dev/null", "rb");
    check(in != NULL);
    struct dataset *ds = dataset_new(in, "t", MAX_ROWS, &result->err);
    bool ok = ds != NULL && read_twice(ds, select_columns(ds, all, &result->err), result);
    dataset_free(ds);
    (void)fclose(in);
    check(ok == (result->err.code == ERR_NONE));
    return ok;
}

/* ---- writing ---- */

static void put_name(FILE *out, const char *name)
{
    (void)fputc('"', out);
    for (; *name != '\0'; name++) {
        if (*name == '"')
            (void)fputc('"', out);
        (void)fputc(*name, out);
    }
}

static char padding[BUFFER_BYTES];

/* The header in quotes, its last name longer by `more`; NULL if there is none. */
static struct text write_header(const char *text, size_t n, size_t more)
{
    struct text header = {NULL, 0};
    struct error err = {0};
    FILE *in = n > 0 ? fmemopen((void *)(uintptr_t)text, n, "rb") : NULL;
    struct dataset *ds = in != NULL ? dataset_new(in, "t", MAX_ROWS, &err) : NULL;
    if (ds != NULL) {
        FILE *out = open_memstream(&header.p, &header.n);
        check(out != NULL);
        for (size_t j = 0; j < dataset_column_count(ds); j++) {
            (void)fputs(j > 0 ? "\"," : "", out);
            put_name(out, dataset_column_name(ds, j));
        }
        (void)fwrite(padding, 1, more, out);
        (void)fputs("\"\n", out);
        check(fclose(out) == 0);
        dataset_free(ds);
    }
    if (in != NULL)
        (void)fclose(in);
    return header;
}

/* Where the rows begin: behind the first LF that no quotes hold. */
static size_t header_bytes(const char *text, size_t n)
{
    bool quoted = false;
    for (size_t i = 0; i < n; i++) {
        quoted ^= text[i] == '"';
        if (text[i] == '\n' && !quoted)
            return i + 1;
    }
    return n;
}

static struct text join(struct text header, const char *rows, size_t n)
{
    struct text joined = {malloc(header.n + n), header.n + n};
    check(joined.p != NULL);
    memcpy(joined.p, header.p, header.n);
    if (n > 0)
        memcpy(joined.p + header.n, rows, n);
    return joined;
}

/* ---- what must hold ---- */

static void check_same_rows(const struct matrix *a, const struct matrix *b)
{
    check(a->rows == b->rows && a->cols == b->cols);
    for (size_t i = 0; i < a->rows; i++)
        check(memcmp(matrix_row(a, i), matrix_row(b, i), a->cols * sizeof(double)) == 0);
}

/* The rows again, with the end of the read buffer `cut` bytes behind their beginning. */
static void check_cut(const char *text, size_t n, bool all, size_t cut,
                      const struct result *expected)
{
    struct text plain = write_header(text, n, 0);
    if (plain.p == NULL)
        return;
    size_t begin = header_bytes(text, n);
    struct text header = write_header(text, n, BUFFER_BYTES - plain.n - cut);
    struct text moved = join(header, text + begin, n - begin);
    struct result result;
    check(header.n + cut == BUFFER_BYTES);
    (void)read_table(moved.p, moved.n, all, &result);
    check(result.err.code == expected->err.code);
    /* The last column's name, which a message shows, is another one now. */
    if (strstr(expected->err.message, "column") == NULL)
        check(strcmp(result.err.message, expected->err.message) == 0);
    if (result.err.code == ERR_NONE)
        check_same_rows(&result.rows, &expected->rows);
    matrix_clear(&result.rows);
    free(plain.p);
    free(header.p);
    free(moved.p);
}

/* The rows of an accepted table as they are: commas, shortest numbers, LF. */
static void check_canonical(const struct matrix *rows)
{
    struct text text = {NULL, 0};
    struct result again;
    char number[NUMBER_TEXT_MAX];
    FILE *out = open_memstream(&text.p, &text.n);
    check(out != NULL);
    for (size_t j = 0; j < rows->cols; j++)
        (void)fprintf(out, "%sc%zu", j > 0 ? "," : "", j);
    for (size_t i = 0; i < rows->rows; i++)
        for (size_t j = 0; j < rows->cols; j++) {
            (void)fputc(j > 0 ? ',' : '\n', out);
            (void)fwrite(number, 1, number_write(number, matrix_row(rows, i)[j]), out);
        }
    check(fclose(out) == 0 && read_table(text.p, text.n, true, &again));
    check_same_rows(rows, &again.rows);
    matrix_clear(&again.rows);
    free(text.p);
}

static void check_accepted(const struct result *result, const uint8_t *data, size_t size)
{
    char sha256[SHA256_DIGEST_STRING_LENGTH];
    (void)SHA256Data(data, size, sha256);
    check(strcmp(sha256, result->sha256) == 0);
    for (size_t i = 0; i < result->rows.rows; i++)
        for (size_t j = 0; j < result->rows.cols; j++)
            check(isfinite(matrix_row(&result->rows, i)[j]));
    check_canonical(&result->rows);
}

static void check_words(const struct error *err)
{
    char *end;
    check(err->code == ERR_INVALID || err->code == ERR_TOO_LARGE);
    check(strncmp(err->message, "t:", 2) == 0 && strtoul(err->message + 2, &end, 10) >= 1);
    check(strncmp(end, ": ", 2) == 0);
    for (const char *p = err->message; *p != '\0'; p++)
        check((unsigned char)*p >= ' ' && *p != 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct result result;
    if (size > INPUT_MAX)
        return 0;
    memset(padding, 'x', sizeof padding);
    for (int all = 0; all < 2; all++) {
        if (read_table(text, size, all, &result))
            check_accepted(&result, data, size);
        else
            check_words(&result.err);
        size_t rest = size - header_bytes(text, size);
        /* A long header costs as much as hundreds of short tables, so few inputs get one. */
        if (rest > 0 && data[size / 2] % 8 == 0)
            check_cut(text, size, all, 1 + (size * 7919 + data[size - 1]) % rest, &result);
        matrix_clear(&result.rows);
    }
    return 0;
}
