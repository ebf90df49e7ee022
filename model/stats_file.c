/* One function walks through the statistics in the order of the file; whether it reads or writes them is
 * up to the stream, so the two cannot disagree. */
#include "model/stats_file.h"

#include "model/model_file.h"
#include "model/model_internal.h"
#include "model/replace_file.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <sha2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct header {
    char magic[8];
    uint32_t version, byte_order;
    uint64_t kind, map_bytes, cols, histograms, rows;
    char data_sha256[64];
};

static const struct header model_header = {.magic = {'R', 'I', 'D', 'G', 'S', 'T', 'A', 'T'},
                                           .version = STATS_FORMAT_VERSION,
                                           .byte_order = 0x01020304};

struct stream {
    FILE *file;
    SHA2_CTX sha;
    bool (*pass)(struct stream *stream, void *data, size_t bytes); /* reads or writes */
};

static bool read_bytes(struct stream *stream, void *data, size_t bytes)
{
    if (fread(data, 1, bytes, stream->file) != bytes)
        return false;
    SHA256Update(&stream->sha, data, bytes);
    return true;
}

static bool write_bytes(struct stream *stream, void *data, size_t bytes)
{
    SHA256Update(&stream->sha, data, bytes);
    return fwrite(data, 1, bytes, stream->file) == bytes;
}

/* ---- the order of things ---- */

static bool pass_moments(struct stream *stream, struct ridge_moments *m)
{
    size_t p = m->cols;
    bool ok = stream->pass(stream, &m->mean_y, sizeof m->mean_y) &&
              stream->pass(stream, &m->yy, sizeof m->yy) &&
              stream->pass(stream, m->mean.data, p * sizeof(double)) &&
              stream->pass(stream, m->xy.data, p * sizeof(double));
    for (size_t j = 0; ok && j < p; j++)
        ok = stream->pass(stream, m->gram.data + j * p + j, (p - j) * sizeof(double));
    return ok;
}

static bool pass_errors(struct stream *stream, struct stats *s)
{
    struct stats_errors *e = &s->errors;
    return stream->pass(stream, &e->absolute, sizeof e->absolute) &&
           stream->pass(stream, &e->squares, sizeof e->squares) &&
           stream->pass(stream, &e->mean_y, sizeof e->mean_y) &&
           stream->pass(stream, &e->yy, sizeof e->yy) &&
           stream->pass(stream, s->scores, SCORE_CELLS * sizeof *s->scores);
}

/* Everything behind the map and before the digest. */
static bool pass_sums(struct stream *stream, struct stats *s)
{
    bool ok = true;
    for (size_t c = 0; ok && c < s->columns; c++) {
        struct histogram *h = &s->histograms[c];
        ok = stream->pass(stream, &h->least, sizeof h->least) &&
             stream->pass(stream, &h->greatest, sizeof h->greatest) &&
             stream->pass(stream, h->cells, sizeof h->cells);
    }
    return ok &&
           (s->kind == STATS_ROWS ? pass_moments(stream, &s->moments) : pass_errors(stream, s));
}

/* Bytes of the file that a header, whose counts are bounded, announces. */
static uint64_t file_bytes(const struct header *h)
{
    uint64_t numbers = h->histograms * (2 + HISTOGRAM_CELLS);
    if (h->kind == STATS_ROWS)
        numbers += 2 + 2 * h->cols + h->cols * (h->cols + 1) / 2;
    else
        numbers += 4 + SCORE_CELLS;
    return sizeof *h + h->map_bytes + 8 * numbers + SHA256_DIGEST_LENGTH;
}

/* ---- reading ---- */

static bool damaged(const char *what, struct error *err)
{
    return error_set(err, ERR_INVALID, "damaged: %s", what);
}

static bool check_format(const struct header *h, struct error *err)
{
    if (memcmp(h->magic, model_header.magic, sizeof h->magic) != 0)
        return error_set(err, ERR_INVALID, "expected a statistics file of ridge stats");
    if (h->byte_order != model_header.byte_order)
        return error_set(err, ERR_INVALID, "expected the byte order of this machine, got another");
    return h->version == STATS_FORMAT_VERSION ||
           error_set(err, ERR_INVALID, "format version: expected %d, got %" PRIu32,
                     STATS_FORMAT_VERSION, h->version);
}

static bool check_count(const char *what, uint64_t count, uint64_t least, uint64_t most,
                        struct error *err)
{
    return (count >= least && count <= most) ||
           error_set(err, ERR_INVALID, "%s: expected %" PRIu64 " to %" PRIu64 ", got %" PRIu64,
                     what, least, most, count);
}

static bool check_header(const struct header *h, uint64_t size, struct error *err)
{
    bool residuals = h->kind == STATS_RESIDUALS;
    if (!check_format(h, err) || !check_count("kind", h->kind, 0, STATS_KIND_COUNT - 1, err) ||
        !check_count("map", h->map_bytes, 1, MODEL_FILE_BYTES_MAX, err) ||
        !check_count("columns", h->cols, !residuals, residuals ? 0 : RIDGE_MAX_COLS, err) ||
        !check_count("histograms", h->histograms, 2, MODEL_FEATURES_MAX + 1, err) ||
        !check_count("rows", h->rows, 1, STATS_ROWS_MAX, err))
        return false;
    return file_bytes(h) == size ||
           error_set(err, ERR_INVALID,
                     "damaged or cut short: expected %" PRIu64 " bytes, got %" PRIu64,
                     file_bytes(h), size);
}

static bool read_map(struct stream *stream, const struct header *h, struct stats *s,
                     struct error *err)
{
    bool ok = false;
    char *text = malloc(h->map_bytes);
    if (text == NULL)
        return error_set(err, ERR_NO_MEMORY, "out of memory");
    if (!read_bytes(stream, text, h->map_bytes))
        (void)damaged("cut short", err);
    else if (stats_init(s, (enum stats_kind)h->kind, text, h->map_bytes, err))
        ok = true;
    else
        error_prefix(err, "map");
    free(text);
    return ok;
}

static bool check_digest(struct stream *stream, struct error *err)
{
    uint8_t expected[SHA256_DIGEST_LENGTH], got[SHA256_DIGEST_LENGTH];
    SHA256Final(got, &stream->sha);
    if (fread(expected, 1, sizeof expected, stream->file) != sizeof expected)
        return damaged("cut short", err);
    return memcmp(expected, got, sizeof got) == 0 || damaged("the SHA-256 differs", err);
}

/* What a sealed file by another hand might hold. */
static bool check_sums(const struct stats *s, struct error *err)
{
    const struct ridge_moments *m = &s->moments;
    const struct stats_errors *e = &s->errors;
    bool ok = m->yy >= 0 && e->absolute >= 0 && e->squares >= 0 && e->yy >= 0 &&
              isfinite(m->yy + m->mean_y + e->absolute + e->squares + e->mean_y + e->yy);
    for (size_t j = 0; ok && j < m->cols; j++) {
        ok = isfinite(m->mean.data[j]) && isfinite(m->xy.data[j]) &&
             m->gram.data[j * m->cols + j] >= 0;
        for (size_t i = j; ok && i < m->cols; i++)
            ok = isfinite(m->gram.data[j * m->cols + i]);
    }
    return ok || damaged("expected finite sums, and squares >= 0", err);
}

static bool check_counts(const uint64_t *cells, size_t count, uint64_t rows, struct error *err)
{
    uint64_t left = rows;
    for (size_t i = 0; i < count; i++) {
        if (cells[i] > left)
            return damaged("a histogram counts more rows than there are", err);
        left -= cells[i];
    }
    return left == 0 || damaged("a histogram counts fewer rows than there are", err);
}

static bool check_content(const struct stats *s, struct error *err)
{
    for (size_t c = 0; c < s->columns; c++) {
        const struct histogram *h = &s->histograms[c];
        if (!(isfinite(h->least) && isfinite(h->greatest) && h->least <= h->greatest))
            return damaged("expected finite ranges", err);
        if (!check_counts(h->cells, HISTOGRAM_CELLS, s->rows, err))
            return false;
    }
    return check_sums(s, err) &&
           (s->kind != STATS_RESIDUALS || check_counts(s->scores, SCORE_CELLS, s->rows, err));
}

static bool load(FILE *in, struct stats *s, struct error *err)
{
    struct stat status;
    struct header h;
    struct stream stream = {.file = in, .pass = read_bytes};
    SHA256Init(&stream.sha);
    if (fstat(fileno(in), &status) != 0)
        return error_set(err, ERR_INTERNAL, "%s", strerror(errno));
    if (!read_bytes(&stream, &h, sizeof h))
        return error_set(err, ERR_INVALID, "expected a statistics file of ridge stats");
    if (!check_header(&h, (uint64_t)status.st_size, err) || !read_map(&stream, &h, s, err))
        return false;
    if (s->columns != h.histograms || s->moments.cols != h.cols)
        return damaged("its map has other columns", err);
    s->rows = s->moments.rows = h.rows;
    memcpy(s->data_sha256, h.data_sha256, sizeof h.data_sha256);
    if (!pass_sums(&stream, s))
        return damaged("cut short", err);
    return check_digest(&stream, err) && check_content(s, err);
}

bool stats_load_path(const char *path, struct stats *s, struct error *err)
{
    *s = (struct stats){.columns = 0};
    FILE *in = fopen(path, "rbe");
    if (in == NULL)
        return error_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_INTERNAL, "%s: %s", path,
                         strerror(errno));
    bool ok = load(in, s, err);
    (void)fclose(in);
    if (!ok) {
        stats_clear(s);
        error_prefix(err, "%s", path);
    }
    return ok;
}

/* ---- writing ---- */

struct saving {
    struct stats *s;
};

static bool save(const void *ctx, FILE *out, struct error *err)
{
    struct stats *s = ((const struct saving *)ctx)->s;
    struct stream stream = {.file = out, .pass = write_bytes};
    uint8_t digest[SHA256_DIGEST_LENGTH];
    struct header h = model_header;
    h.kind = s->kind;
    h.map_bytes = s->map_bytes;
    h.cols = s->moments.cols;
    h.histograms = s->columns;
    h.rows = s->rows;
    memcpy(h.data_sha256, s->data_sha256, sizeof h.data_sha256);
    SHA256Init(&stream.sha);
    bool ok = write_bytes(&stream, &h, sizeof h) &&
              write_bytes(&stream, s->map_text, s->map_bytes) && pass_sums(&stream, s);
    SHA256Final(digest, &stream.sha);
    return (ok && fwrite(digest, 1, sizeof digest, out) == sizeof digest) ||
           error_set(err, ERR_INTERNAL, "%s", strerror(errno));
}

bool stats_save_path(struct stats *s, const char *path, struct error *err)
{
    const struct saving saving = {s};
    return replace_file(path, save, &saving, err);
}
