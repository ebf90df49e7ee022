/* Reads any bytes behind a header as a feedback journal, each line twice: as it is, and sealed with its right
 * checksum, so that what is behind the checksum is reached. Every line is a row or dropped with words; rows
 * are finite, plausible, in order and of different ids; and the same bytes in two files give the same rows. */
#define _GNU_SOURCE /* fmemopen, open_memstream */
#include "model/feedback_rows.h"

#include "base/journal_format.h"
#include "tests/support/feedback_lines.h"
#include "tests/support/plane.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { INPUT_MAX = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static bool read_text(struct feedback_rows *f, const char *text, size_t n, struct error *err)
{
    FILE *in = n > 0 ? fmemopen((void *)(uintptr_t)text, n, "rb") : fopen("/dev/null", "rb");
    check(in != NULL);
    bool ok = feedback_rows_read(f, in, "t", err);
    (void)fclose(in);
    return ok;
}

static void check_words(const char *text)
{
    check(*text != '\0');
    for (; *text != '\0'; text++)
        check((unsigned char)*text >= ' ');
}

/* Every line is accounted for. */
static void check_source(const struct feedback_rows *f, size_t source, uint64_t kept)
{
    const struct feedback_source *s = &f->sources[source];
    uint64_t dropped = 0;
    for (size_t k = 0; k < FEEDBACK_DROPS; k++) {
        dropped += s->dropped[k].rows;
        if (s->dropped[k].rows > 0)
            check_words(s->dropped[k].first);
    }
    check(dropped + kept == s->rows);
}

static void check_rows(const struct feedback_rows *f)
{
    size_t count = f->plausible->features + 1;
    for (size_t i = 0; i < f->count; i++) {
        const struct feedback_row *row = &f->rows[i];
        check(isfinite(row->time) && row->time >= 0 && row->id.n > 0);
        check(plausible_check(f->plausible, row->values, count) == count);
        check(feedback_request(row->id).n > 0);
        if (i > 0) {
            check(row[-1].time <= row->time);
            check(row[-1].id.n != row->id.n || memcmp(row[-1].id.p, row->id.p, row->id.n) != 0);
        }
    }
}

static void read_twice(const struct plausible *plausible, const char *text, size_t n)
{
    struct feedback_rows f;
    struct error err = {0};
    check(feedback_rows_init(&f, plausible, &err));
    if (read_text(&f, text, n, &err)) {
        check_source(&f, 0, f.count);
        feedback_rows_arrange(&f, 0);
        size_t kept = f.count;
        check_source(&f, 0, kept);
        check_rows(&f);
        check(read_text(&f, text, n, &err));
        feedback_rows_arrange(&f, 0);
        check(f.count == kept);
        check_source(&f, 1, 0);
    } else {
        check(err.code == ERR_INVALID || err.code == ERR_TOO_LARGE);
        check(strncmp(err.message, "t:1: ", 5) == 0);
    }
    feedback_rows_clear(&f);
}

/* The lines, each with the checksum that it should have. */
static void seal(FILE *out, const char *text, size_t n)
{
    char crc[JOURNAL_CRC_BYTES];
    for (size_t begin = 0, i = 0; i <= n; i++)
        if (i == n || text[i] == '\n') {
            journal_put_crc(crc, (struct span){text + begin, i - begin});
            (void)fwrite(text + begin, 1, i - begin, out);
            (void)fwrite(crc, 1, sizeof crc, out);
            begin = i + 1;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct plausible plausible;
    struct error err = {0};
    char *sealed = NULL;
    size_t n = 0;
    if (size > INPUT_MAX)
        return 0;
    struct model *model = plane_model("1", 1);
    check(plausible_init(&plausible, model, 1, &err));
    plausible_set_target(&plausible, -50, 50, 1);
    read_twice(&plausible, (const char *)data, size);
    FILE *out = open_memstream(&sealed, &n);
    check(out != NULL);
    (void)fputs(FEEDBACK_LINES_HEADER, out);
    seal(out, (const char *)data, size);
    check(fclose(out) == 0);
    read_twice(&plausible, sealed, n);
    free(sealed);
    plausible_clear(&plausible);
    model_free(model);
    return 0;
}
