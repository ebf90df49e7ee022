/* Tables by hand, the bounds at their edges, and the seam of the read buffer at every byte. */
#define _GNU_SOURCE /* fopencookie, mallinfo2 */
#include "model/dataset.h"

#include "tests/support/process.h"
#include "tests/support/t.h"

#include <malloc.h>
#include <math.h>
#include <sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BUFFER_BYTES = 1 << 16 }; /* what dataset.c reads at a time */

/* Bytes, NULs among them. */
struct text {
    const char *p;
    size_t n;
};
#define TEXT(literal) ((struct text){(literal), sizeof(literal) - 1})

static struct text text_of(const char *p)
{
    return (struct text){p, strlen(p)};
}

/* ---- opening ---- */

/* A dataset over bytes in memory. */
struct table {
    FILE *in;
    struct dataset *ds;
};

static bool open_bytes(struct table *t, struct text text, uint64_t max_rows, struct error *err)
{
    /* fmemopen refuses empty buffers */
    t->in = text.n > 0 ? fmemopen((void *)(uintptr_t)text.p, text.n, "r") : fopen("/dev/null", "r");
    assert_non_null(t->in);
    t->ds = dataset_new(t->in, "t.csv", max_rows, err);
    return t->ds != NULL;
}

static void close_table(struct table *t)
{
    dataset_free(t->ds);
    (void)fclose(t->in);
}

/* Opens and selects columns, "a,b" for two of them. */
static void open_columns(struct table *t, struct text text, const char *columns)
{
    struct error err = {0};
    char names[256];
    const char *list[8];
    size_t n = 0;
    (void)snprintf(names, sizeof names, "%s", columns);
    for (char *save, *name = strtok_r(names, ",", &save); name != NULL;
         name = strtok_r(NULL, ",", &save))
        list[n++] = name;
    if (!open_bytes(t, text, 1000000, &err) || !dataset_select(t->ds, list, n, &err))
        fail_msg("%s", err.message);
}

/* The whole table must be these numbers, rows * cols of them. */
static void assert_table(struct text text, const char *columns, const double *expected, size_t rows,
                         size_t cols)
{
    struct table t;
    struct matrix m;
    struct error err = {0};
    open_columns(&t, text, columns);
    if (!dataset_read_all(t.ds, &m, &err))
        fail_msg("%.*s: %s", (int)text.n, text.p, err.message);
    assert_int_equal(m.rows, rows);
    assert_int_equal(m.cols, cols);
    for (size_t i = 0; i < rows * cols; i++)
        assert_close(m.data[i], expected[i], 0);
    assert_int_equal(dataset_rows(t.ds), rows);
    matrix_clear(&m);
    close_table(&t);
}

static void assert_header_refused(struct text text, enum error_code code, const char *message)
{
    struct table t;
    struct error err = {0};
    assert_false(open_bytes(&t, text, 1000, &err));
    assert_string_equal(err.message, message);
    assert_int_equal(err.code, code);
    close_table(&t);
}

static void assert_rows_refused(struct text text, const char *columns, enum error_code code,
                                const char *message)
{
    struct table t;
    struct matrix m;
    struct error err = {0};
    open_columns(&t, text, columns);
    assert_false(dataset_read_all(t.ds, &m, &err));
    assert_null(m.data);
    assert_string_equal(err.message, message);
    assert_int_equal(err.code, code);
    close_table(&t);
}

/* ---- the format ---- */

static void columns_are_found_by_name_in_any_order(void **state)
{
    (void)state;
    const double ab[] = {1, 2, 3, 4}, ba[] = {2, 1, 4, 3}, b[] = {2, 4};
    struct text text = TEXT("a,x,b\n1,?,2\n3,\"no, number\",4\n");
    assert_table(text, "a,b", ab, 2, 2);
    assert_table(text, "b,a", ba, 2, 2);
    assert_table(text, "b", b, 2, 1);
}

static void header_gives_the_names_unquoted(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "b, c", "d \"e\"", "f\r\ng", " h ", "", "\xc3\xa4"};
    struct table t;
    struct error err = {0};
    assert_true(open_bytes(
        &t, TEXT("\357\273\277a,\"b, c\",\"d \"\"e\"\"\",\"f\r\ng\", h ,,\xc3\xa4\r\n"), 1, &err));
    assert_int_equal(dataset_column_count(t.ds), 7);
    for (size_t j = 0; j < 7; j++)
        assert_string_equal(dataset_column_name(t.ds, j), names[j]);
    close_table(&t);
}

static void every_way_to_end_lines_is_the_same_table(void **state)
{
    (void)state;
    const double expected[] = {1, 2, 3, 4};
    static const char *const texts[] = {"a,b\n1,2\n3,4\n",
                                        "a,b\n1,2\n3,4",
                                        "a,b\r\n1,2\r\n3,4\r\n",
                                        "a,b\r\n1,2\n3,4",
                                        "a,b\n1,2\n3,4\n\n\n",
                                        "a,b\n1,2\r\n3,4\r\n\r\n\n",
                                        "\"a\",\"b\"\r\n\"1\",\"2\"\r\n\"3\",\"4\"",
                                        "a,b\n 1 ,\t2\n+3,04.\n",
                                        "\357\273\277a,b\n1e0,.2e1\n\"3\",4"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_table(text_of(texts[i]), "a,b", expected, 2, 2);
}

static void header_without_rows_is_an_empty_table(void **state)
{
    (void)state;
    static const char *const texts[] = {"a,b", "a,b\n", "a,b\r\n", "a,b\n\n\r\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_table(text_of(texts[i]), "b", NULL, 0, 1);
}

static void header_that_is_none_is_refused(void **state)
{
    (void)state;
    assert_header_refused((struct text){"", 0}, ERR_INVALID,
                          "t.csv:1: expected a header line, got an empty file");
    assert_header_refused(TEXT("\xef\xbb\xbf"), ERR_INVALID,
                          "t.csv:1: expected a header line, got an empty file");
    assert_header_refused(TEXT("\na,b\n"), ERR_INVALID,
                          "t.csv:1: expected a header line, got a blank one");
    assert_header_refused(TEXT("\r\na,b\n"), ERR_INVALID,
                          "t.csv:1: expected a header line, got a blank one");
    assert_header_refused(TEXT("a,b,a\n"), ERR_INVALID,
                          "t.csv:1: expected different column names, got \"a\" twice");
    assert_header_refused(TEXT(",b,\n"), ERR_INVALID,
                          "t.csv:1: expected different column names, got \"\" twice");
    assert_header_refused(TEXT("a,\"b\n"), ERR_INVALID,
                          "t.csv:1: expected a closing quote, got the end of the file");
    assert_header_refused(TEXT("a,b\0c\n"), ERR_INVALID,
                          "t.csv:1: expected a comma or a line end after a field, got a NUL byte");
}

static void bad_cells_are_refused_with_line_and_column(void **state)
{
    (void)state;
    static const struct {
        const char *cell, *message;
    } cases[] = {
        {"", "expected a number, got \"\""},
        {"abc", "expected a number, got \"abc\""},
        {"1 2", "expected a number, got \"1 2\""},
        {"1;2", "expected a number, got \"1;2\""},
        {"0x10", "expected a number, got \"0x10\""},
        {"nan", "expected a number, got \"nan\""},
        {"-inf", "expected a number, got \"-inf\""},
        {"1e999", "expected a number of double range, got \"1e999\""},
        {"\"\"", "expected a number, got \"\""},
        {"\"1,5\"", "expected a number, got \"1,5\""},
        {"\"x\n\ty\"", "expected a number, got \"x??y\""},
        {"12345678901234567890123456789012345678901234567890x",
         "expected a number, got \"12345678901234567890123456789012345678901234...\""},
        {"123456789012345678901234567890123456789012\xc3\xa4\xc3\xa4",
         "expected a number, got \"123456789012345678901234567890123456789012\xc3\xa4...\""}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256], message[256];
        int n =
            snprintf(text, sizeof text, "x,Med Inc,b\n\"two\nlines\",1,2\n,%s,3\n", cases[i].cell);
        (void)snprintf(message, sizeof message, "t.csv:4: column \"Med Inc\": %s",
                       cases[i].message);
        assert_rows_refused((struct text){text, (size_t)n}, "b,Med Inc", ERR_INVALID, message);
        const double b[] = {2, 3};
        assert_table((struct text){text, (size_t)n}, "b", b, 2, 1);
    }
}

static void rows_that_do_not_fit_the_header_are_refused(void **state)
{
    (void)state;
    assert_rows_refused(TEXT("a,b\n1\n"), "a", ERR_INVALID, "t.csv:2: expected 2 fields, got 1");
    assert_rows_refused(TEXT("a,b\n1,2\n1,2,3"), "a", ERR_INVALID,
                        "t.csv:3: expected 2 fields, got 3");
    assert_rows_refused(TEXT("a,b\n1,2,\n"), "a", ERR_INVALID, "t.csv:2: expected 2 fields, got 3");
    /* a lost comma explains the cell, not the other way round */
    assert_rows_refused(TEXT("a,b\n1;2\n"), "a", ERR_INVALID, "t.csv:2: expected 2 fields, got 1");
    assert_rows_refused(TEXT("a,b\n\n1,2\n"), "a", ERR_INVALID,
                        "t.csv:2: expected 2 fields, got a blank line");
    assert_rows_refused(TEXT("a,b\n1,2\n\n\n1,2\n"), "a", ERR_INVALID,
                        "t.csv:3: expected 2 fields, got a blank line");
    assert_rows_refused(TEXT("a\n1\n\"\"\n"), "a", ERR_INVALID,
                        "t.csv:3: column \"a\": expected a number, got \"\"");
}

static void text_that_is_no_csv_is_refused_in_any_column(void **state)
{
    (void)state;
    static const char after[] = "t.csv:2: expected a comma or a line end after a field, got ";
    static const struct {
        struct text text;
        const char *message;
    } cases[] = {{TEXT("a,x\n1,y\"z\"\n"), "a quote"},
                 {TEXT("a,x\n1,\"y\"z\n"), "text behind the closing quote"},
                 {TEXT("a,x\n1,\"y\"\"\"\"z\n"), NULL},
                 {TEXT("a,x\n1,y\rz\n"), "a bare CR"},
                 {TEXT("a,x\n1,y\r"), "a bare CR"},
                 {TEXT("a,x\n1,\r\r\n"), "a bare CR"},
                 {TEXT("a,x\n1,y\0\n"), "a NUL byte"},
                 {TEXT("a,x\n1,\"y\"\0\n"), "a NUL byte"},
                 {TEXT("a,x\n1,\"y\0\"\n"), NULL},
                 {TEXT("a,x\n1,\"y\n\n"), NULL}};
    static const char *const others[] = {
        [2] = "t.csv:2: expected a closing quote, got the end of the file",
        [8] = "t.csv:2: expected text in quotes, got a NUL byte",
        [9] = "t.csv:2: expected a closing quote, got the end of the file"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char message[128];
        (void)snprintf(message, sizeof message, "%s%s", after,
                       cases[i].message != NULL ? cases[i].message : "");
        assert_rows_refused(cases[i].text, "a", ERR_INVALID,
                            cases[i].message != NULL ? message : others[i]);
    }
}

static void selection_must_name_columns_of_the_header_once(void **state)
{
    (void)state;
    struct table t;
    struct error err = {0};
    assert_true(open_bytes(&t, TEXT("a,b\n"), 1, &err));
    assert_false(dataset_select(t.ds, (const char *const[]){"a", "B"}, 2, &err));
    assert_string_equal(err.message, "t.csv:1: expected a column \"B\", got none");
    assert_false(dataset_select(t.ds, (const char *const[]){"b", "b"}, 2, &err));
    assert_string_equal(err.message, "t.csv:1: column \"b\": selected twice");
    close_table(&t);
}

/* ---- bounds ---- */

/* Grows by printing; freed by the caller. */
struct builder {
    FILE *out;
    char *p;
    size_t n;
};

static void builder_init(struct builder *b)
{
    b->p = NULL;
    b->out = open_memstream(&b->p, &b->n);
    assert_non_null(b->out);
}

static void put_times(struct builder *b, char c, size_t times)
{
    while (times-- > 0)
        (void)fputc(c, b->out);
}

static struct text built(struct builder *b)
{
    (void)fclose(b->out);
    return (struct text){b->p, b->n};
}

static struct text make_columns(struct builder *b, size_t columns)
{
    builder_init(b);
    for (int row = 0; row < 2; row++)
        for (size_t j = 0; j < columns; j++)
            (void)fprintf(b->out, "%zu%c", j, j + 1 < columns ? ',' : '\n');
    return built(b);
}

static void column_count_ends_at_its_bound(void **state)
{
    (void)state;
    struct builder b;
    const double last[] = {DATASET_MAX_COLUMNS - 1};
    char name[16];
    (void)snprintf(name, sizeof name, "%d", DATASET_MAX_COLUMNS - 1);
    assert_table(make_columns(&b, DATASET_MAX_COLUMNS), name, last, 1, 1);
    free(b.p);
    assert_header_refused(make_columns(&b, DATASET_MAX_COLUMNS + 1), ERR_TOO_LARGE,
                          "t.csv:1: expected at most 4096 columns");
    free(b.p);
}

/* A row whose unselected field has so many bytes, plain or of doubled quotes in quotes. */
static struct text make_field(struct builder *b, size_t bytes, bool quoted)
{
    builder_init(b);
    (void)fputs(quoted ? "x,a\n\"" : "x,a\n", b->out);
    put_times(b, quoted ? '"' : 'x', quoted ? 2 * bytes : bytes);
    (void)fputs(quoted ? "\",7\n" : ",7\n", b->out);
    return built(b);
}

static void field_length_ends_at_its_bound(void **state)
{
    (void)state;
    const double seven[] = {7};
    for (int quoted = 0; quoted < 2; quoted++) {
        struct builder b;
        assert_table(make_field(&b, DATASET_MAX_FIELD, quoted), "a", seven, 1, 1);
        free(b.p);
        assert_rows_refused(make_field(&b, DATASET_MAX_FIELD + 1, quoted), "a", ERR_TOO_LARGE,
                            "t.csv:2: expected a field of at most 65536 bytes");
        free(b.p);
    }
}

/* A second row of exactly so many bytes with its line end. */
static struct text make_record(struct builder *b, size_t bytes)
{
    enum { FIELDS = 17 };
    builder_init(b);
    for (int j = 0; j < FIELDS; j++)
        (void)fprintf(b->out, "c%d,", j);
    (void)fputs("a\n", b->out);
    put_times(b, ',', FIELDS);
    (void)fputs("7\n", b->out);
    size_t left = bytes - FIELDS - 2;
    for (int j = 0; j < FIELDS; j++) {
        size_t n = left < DATASET_MAX_FIELD ? left : DATASET_MAX_FIELD;
        put_times(b, 'x', n);
        (void)fputc(',', b->out);
        left -= n;
    }
    (void)fputs("7\n", b->out);
    return built(b);
}

static void row_length_ends_at_its_bound(void **state)
{
    (void)state;
    struct builder b;
    const double sevens[] = {7, 7};
    assert_table(make_record(&b, DATASET_MAX_RECORD), "a", sevens, 2, 1);
    free(b.p);
    assert_rows_refused(make_record(&b, DATASET_MAX_RECORD + 1), "a", ERR_TOO_LARGE,
                        "t.csv:3: expected a row of at most 1048576 bytes");
    free(b.p);
}

static void row_count_ends_at_its_bound(void **state)
{
    (void)state;
    struct table t;
    struct error err = {0};
    double x[8];
    size_t rows;
    assert_true(open_bytes(&t, TEXT("a\n1\n2\n"), 2, &err));
    assert_true(dataset_select(t.ds, (const char *const[]){"a"}, 1, &err));
    assert_true(dataset_read(t.ds, 8, x, &rows, &err));
    assert_int_equal(rows, 2);
    close_table(&t);
    assert_true(open_bytes(&t, TEXT("a\n1\n2\n3\n"), 2, &err));
    assert_true(dataset_select(t.ds, (const char *const[]){"a"}, 1, &err));
    assert_false(dataset_read(t.ds, 8, x, &rows, &err));
    assert_int_equal(err.code, ERR_TOO_LARGE);
    assert_string_equal(err.message, "t.csv:4: expected at most 2 rows");
    close_table(&t);
}

/* ---- reading in pieces ---- */

/* Every kind of seam: quotes, doubled quotes, CRLF, signs, exponents, multibyte names. */
static const char seamed[] =
    "7,\"a \"\"b\"\",\r\nc\",-1.5e-3\r\n\"8\",\"\",+0.25\n9,\xc3\xa4,\"1e+2\"\r\n10,x,4\r\n\r\n";

static void the_seam_of_the_buffer_may_be_at_any_byte(void **state)
{
    (void)state;
    static const char header[] = "a,x,b\r\n1,";
    const double expected[] = {1, 2, 7, -1.5e-3, 8, 0.25, 9, 1e2, 10, 4};
    for (size_t before = 0; before <= sizeof seamed + 4; before++) {
        struct builder b;
        builder_init(&b);
        (void)fputs(header, b.out);
        /* the seam comes `before` bytes behind the filler */
        put_times(&b, 'f', BUFFER_BYTES - (sizeof header - 1) - before);
        (void)fputs(",2\r\n", b.out);
        (void)fputs(seamed, b.out);
        assert_table(built(&b), "a,b", expected, 5, 2);
        free(b.p);
    }
}

/* A stream that gives few bytes at a time, as a slow pipe does. */
struct slow {
    struct text text;
    size_t at, step;
    bool broken; /* fails at the end */
};

static ssize_t read_slowly(void *cookie, char *to, size_t n)
{
    struct slow *slow = cookie;
    size_t left = slow->text.n - slow->at;
    n = n < slow->step ? n : slow->step;
    n = n < left ? n : left;
    memcpy(to, slow->text.p + slow->at, n);
    slow->at += n;
    return n == 0 && slow->broken ? -1 : (ssize_t)n;
}

static FILE *open_slow(struct slow *slow)
{
    FILE *in = fopencookie(slow, "r", (cookie_io_functions_t){.read = read_slowly});
    assert_non_null(in);
    (void)setvbuf(in, NULL, _IONBF, 0);
    return in;
}

static void a_slow_pipe_gives_the_same_table(void **state)
{
    (void)state;
    const double expected[] = {7, -1.5e-3, 8, 0.25, 9, 1e2, 10, 4};
    char bytes[sizeof seamed + 16];
    int n = snprintf(bytes, sizeof bytes, "\357\273\277a,x,b\n%s", seamed);
    for (size_t step = 1; step < 20; step++) {
        struct slow slow = {{bytes, (size_t)n}, 0, step, false};
        struct matrix m;
        struct error err = {0};
        FILE *in = open_slow(&slow);
        struct dataset *ds = dataset_new(in, "pipe", 10, &err);
        assert_non_null(ds);
        assert_true(dataset_select(ds, (const char *const[]){"a", "b"}, 2, &err));
        assert_true(dataset_read_all(ds, &m, &err));
        assert_int_equal(m.rows, 4);
        assert_memory_equal(m.data, expected, sizeof expected);
        matrix_clear(&m);
        dataset_free(ds);
        (void)fclose(in);
    }
}

static void read_errors_are_not_the_end_of_the_file(void **state)
{
    (void)state;
    struct builder b;
    builder_init(&b);
    (void)fputs("a\n", b.out);
    for (int i = 0; i < BUFFER_BYTES; i++)
        (void)fputs("1\n", b.out);
    struct text rows = built(&b);
    const size_t broken_at[] = {0, 1, 6, rows.n};
    for (size_t i = 0; i < sizeof broken_at / sizeof *broken_at; i++) {
        struct slow slow = {{rows.p, broken_at[i]}, 0, BUFFER_BYTES, true};
        struct matrix m;
        struct error err = {0};
        FILE *in = open_slow(&slow);
        struct dataset *ds = dataset_new(in, "pipe", 1000000, &err);
        assert_int_equal(ds != NULL, broken_at[i] > BUFFER_BYTES);
        assert_false(ds != NULL && dataset_select(ds, (const char *const[]){"a"}, 1, &err) &&
                     dataset_read_all(ds, &m, &err));
        assert_int_equal(err.code, ERR_INTERNAL);
        assert_contains(err.message, "pipe:");
        assert_contains(err.message, ": read error: ");
        dataset_free(ds);
        (void)fclose(in);
    }
    free(b.p);
}

static void paths_that_cannot_be_read_are_named(void **state)
{
    (void)state;
    struct error err = {0};
    assert_null(dataset_new_path("/", 10, &err));
    assert_int_equal(err.code, ERR_INTERNAL);
    assert_string_equal(err.message, "/:1: read error: Is a directory");
    assert_null(dataset_new_path("/nonexistent/t.csv", 10, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_string_equal(err.message, "/nonexistent/t.csv: No such file or directory");
}

static void rows_come_in_blocks_and_then_no_more(void **state)
{
    (void)state;
    for (size_t block = 1; block < 7; block++) {
        struct table t;
        struct error err = {0};
        double x[8], next = 1;
        size_t rows = block;
        open_columns(&t, TEXT("a\n1\n2\n3\n4\n5\n6\n"), "a");
        while (rows == block) {
            assert_true(dataset_read(t.ds, block, x, &rows, &err));
            for (size_t i = 0; i < rows; i++)
                assert_close(x[i], next++, 0);
        }
        assert_close(next, 7.0, 0);
        assert_int_equal(dataset_rows(t.ds), 6);
        assert_true(dataset_read(t.ds, block, x, &rows, &err));
        assert_int_equal(rows, 0);
        close_table(&t);
    }
}

static void memory_does_not_grow_with_the_rows(void **state)
{
    (void)state;
    struct builder b;
    struct table t;
    struct error err = {0};
    double x[64];
    size_t rows = 64;
    builder_init(&b);
    (void)fputs("a\n", b.out);
    for (int i = 0; i < 100000; i++)
        (void)fprintf(b.out, "%d\n", i);
    open_columns(&t, built(&b), "a");
    assert_true(dataset_read(t.ds, 64, x, &rows, &err));
    struct mallinfo2 before = mallinfo2();
    while (rows == 64)
        assert_true(dataset_read(t.ds, 64, x, &rows, &err));
    struct mallinfo2 after = mallinfo2();
    assert_int_equal(dataset_rows(t.ds), 100000);
    assert_true(after.uordblks + after.hblkhd <= before.uordblks + before.hblkhd);
    close_table(&t);
    free(b.p);
}

/* ---- several passes ---- */

static void digest(struct text text, char hex[SHA256_DIGEST_STRING_LENGTH])
{
    (void)SHA256Data((const uint8_t *)text.p, text.n, hex);
}

static void digest_is_that_of_the_bytes_of_a_whole_pass(void **state)
{
    (void)state;
    char expected[SHA256_DIGEST_STRING_LENGTH];
    struct text text = TEXT("\357\273\277a,b\r\n1,x\r\n2,\"y\"\r\n\r\n");
    struct table t;
    struct error err = {0};
    double x[8];
    size_t rows;
    digest(text, expected);
    open_columns(&t, text, "a");
    assert_string_equal(dataset_sha256(t.ds), "");
    assert_true(dataset_read(t.ds, 2, x, &rows, &err));
    assert_string_equal(dataset_sha256(t.ds), "");
    assert_true(dataset_rewind(t.ds, &err));
    assert_int_equal(dataset_rows(t.ds), 0);
    assert_true(dataset_read(t.ds, 3, x, &rows, &err));
    assert_int_equal(rows, 2);
    assert_close(x[1], 2.0, 0);
    assert_string_equal(dataset_sha256(t.ds), expected);
    close_table(&t);
}

static void rewind_goes_back_to_where_the_stream_was(void **state)
{
    (void)state;
    struct table t;
    struct error err = {0};
    struct matrix m;
    char skipped[8];
    struct text text = TEXT("title\na,b\n1,2\n");
    t.in = fmemopen((void *)(uintptr_t)text.p, text.n, "r");
    assert_non_null(t.in);
    assert_non_null(fgets(skipped, sizeof skipped, t.in));
    t.ds = dataset_new(t.in, "t.csv", 10, &err);
    assert_non_null(t.ds);
    assert_true(dataset_select(t.ds, (const char *const[]){"b"}, 1, &err));
    for (int pass = 0; pass < 3; pass++) {
        assert_true(dataset_read_all(t.ds, &m, &err));
        assert_int_equal(m.rows, 1);
        assert_close(m.data[0], 2.0, 0);
        matrix_clear(&m);
        assert_true(dataset_rewind(t.ds, &err));
    }
    close_table(&t);
}

static void write_text(const char *path, const char *text)
{
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    (void)fputs(text, out);
    assert_int_equal(fclose(out), 0);
}

static void later_passes_must_find_the_same_bytes(void **state)
{
    (void)state;
    char folder[512], path[600];
    struct matrix m;
    process_folder(folder, sizeof folder);
    (void)snprintf(path, sizeof path, "%s/t.csv", folder);
    static const struct {
        const char *text, *message;
    } changes[] = {{"a,b\n1,2\n", NULL},
                   {"a,b\n1,3\n", ": changed since it was first read"},
                   {"a,b\n1,2\n\n", ": changed since it was first read"},
                   {"a,b\n", ": changed since it was first read"},
                   {"b,a\n1,2\n", ":1: expected the header of the first pass, got another"},
                   {"a\n1\n", ":1: expected the header of the first pass, got another"},
                   {"a,b,c\n1,2,3\n", ":1: expected the header of the first pass, got another"},
                   {"", ":1: expected the header of the first pass, got another"}};
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        struct error err = {0};
        write_text(path, "a,b\n1,2\n");
        struct dataset *ds = dataset_new_path(path, 10, &err);
        assert_non_null(ds);
        assert_true(dataset_select(ds, (const char *const[]){"a"}, 1, &err));
        assert_true(dataset_read_all(ds, &m, &err));
        matrix_clear(&m);
        write_text(path, changes[i].text);
        bool same = dataset_rewind(ds, &err) && dataset_read_all(ds, &m, &err);
        assert_int_equal(same, changes[i].message == NULL);
        if (same)
            matrix_clear(&m);
        else
            assert_string_equal(err.message + strlen(path), changes[i].message);
        dataset_free(ds);
    }
    process_remove(folder);
}

static void a_pipe_cannot_be_read_twice(void **state)
{
    (void)state;
    int ends[2];
    struct matrix m;
    struct error err = {0};
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "a\n1\n", 4), 4);
    (void)close(ends[1]);
    FILE *in = fdopen(ends[0], "rb");
    assert_non_null(in);
    struct dataset *ds = dataset_new(in, "pipe", 10, &err);
    assert_non_null(ds);
    assert_true(dataset_select(ds, (const char *const[]){"a"}, 1, &err));
    assert_true(dataset_read_all(ds, &m, &err));
    assert_int_equal(m.rows, 1);
    matrix_clear(&m);
    assert_false(dataset_rewind(ds, &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_string_equal(err.message, "pipe: cannot be read twice, expected a regular file");
    dataset_free(ds);
    (void)fclose(in);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(columns_are_found_by_name_in_any_order),
    cmocka_unit_test(header_gives_the_names_unquoted),
    cmocka_unit_test(every_way_to_end_lines_is_the_same_table),
    cmocka_unit_test(header_without_rows_is_an_empty_table),
    cmocka_unit_test(header_that_is_none_is_refused),
    cmocka_unit_test(bad_cells_are_refused_with_line_and_column),
    cmocka_unit_test(rows_that_do_not_fit_the_header_are_refused),
    cmocka_unit_test(text_that_is_no_csv_is_refused_in_any_column),
    cmocka_unit_test(selection_must_name_columns_of_the_header_once),
    cmocka_unit_test(column_count_ends_at_its_bound),
    cmocka_unit_test(field_length_ends_at_its_bound),
    cmocka_unit_test(row_length_ends_at_its_bound),
    cmocka_unit_test(row_count_ends_at_its_bound),
    cmocka_unit_test(the_seam_of_the_buffer_may_be_at_any_byte),
    cmocka_unit_test(a_slow_pipe_gives_the_same_table),
    cmocka_unit_test(read_errors_are_not_the_end_of_the_file),
    cmocka_unit_test(paths_that_cannot_be_read_are_named),
    cmocka_unit_test(rows_come_in_blocks_and_then_no_more),
    cmocka_unit_test(memory_does_not_grow_with_the_rows),
    cmocka_unit_test(digest_is_that_of_the_bytes_of_a_whole_pass),
    cmocka_unit_test(rewind_goes_back_to_where_the_stream_was),
    cmocka_unit_test(later_passes_must_find_the_same_bytes),
    cmocka_unit_test(a_pipe_cannot_be_read_twice),
};

T_MAIN(tests)
