/* Rows are numbered as they come; which of them are still held, or remembered, follows from how many came
 * after. A table per shard finds the requests: a request has at least one row, so there are never more of them
 * than rows remembered. */
#include "server/predictor/ids.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    ROWS_PER_LOCK = 64,
    WAITING_MAX = 32, /* requests that are not in the table yet */
};

struct key {
    uint64_t hash[2];
};

/* A request in the ring; the n-th is kept at n % ring. */
struct slot {
    struct key key;
    uint64_t first; /* number of its first row */
    uint64_t version;
    uint32_t rows;
    bool live; /* in the table */
};

struct shard {
    pthread_mutex_t lock;
    uint64_t next;         /* number of the next row */
    uint64_t next_request; /* and of the next request */
    uint64_t entered;      /* requests before this one have been entered into the table */
    struct slot *slot;     /* (ring) */
    bool *claimed;         /* (keys); row n at n % keys */
    double *y;             /* (holds); row n at n % holds, as in */
    double *x;             /* (holds, features) */
    uint64_t *table;       /* (1 << bits): entries of live slots, 0 empty; linear probing */
};

struct ids {
    struct ids_config config;
    size_t holds, keys; /* per shard */
    size_t ring;        /* requests: those that are in the table, and those that wait */
    unsigned bits;      /* of a table's size: at least twice the keys */
    struct shard *shard;
};

/* ---- hashing ---- */

static uint64_t rotate(uint64_t x, unsigned by)
{
    return x << by | x >> (64 - by);
}

static void sip_rounds(uint64_t v[4], int rounds)
{
    while (rounds-- > 0) {
        v[0] += v[1], v[2] += v[3];
        v[1] = rotate(v[1], 13) ^ v[0], v[3] = rotate(v[3], 16) ^ v[2];
        v[0] = rotate(v[0], 32);
        v[2] += v[1], v[0] += v[3];
        v[1] = rotate(v[1], 17) ^ v[2], v[3] = rotate(v[3], 21) ^ v[0];
        v[2] = rotate(v[2], 32);
    }
}

static void sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_rounds(v, 2);
    v[0] ^= word;
}

/* Up to eight bytes, the first one lowest. */
static uint64_t little_endian(const char *p, size_t n)
{
    uint64_t word = 0;
    for (size_t i = 0; i < n; i++)
        word |= (uint64_t)(unsigned char)p[i] << 8 * i;
    return word;
}

void ids_hash(const uint64_t secret[2], struct span text, uint64_t out[2])
{
    uint64_t v[4] = {secret[0] ^ 0x736f6d6570736575, secret[1] ^ 0x646f72616e646f6d ^ 0xee,
                     secret[0] ^ 0x6c7967656e657261, secret[1] ^ 0x7465646279746573};
    size_t i = 0;
    for (; text.n - i >= 8; i += 8)
        sip_word(v, little_endian(text.p + i, 8));
    sip_word(v, little_endian(text.p + i, text.n - i) | (uint64_t)text.n << 56);
    v[2] ^= 0xee;
    sip_rounds(v, 4);
    out[0] = v[0] ^ v[1] ^ v[2] ^ v[3];
    v[1] ^= 0xdd;
    sip_rounds(v, 4);
    out[1] = v[0] ^ v[1] ^ v[2] ^ v[3];
}

static struct key key_of(const struct ids *ids, struct span request)
{
    struct key key = {{0, 0}};
    ids_hash(ids->config.secret, request, key.hash);
    return key;
}

static struct shard *shard_of(const struct ids *ids, struct key request)
{
    return &ids->shard[request.hash[1] % ids->config.shards];
}

/* ---- the table ---- */

/* An entry is 32 bits of the hash, then 1 + the slot's index: what does not match is told, and moved, without
 * touching its slot. */
static uint64_t entry_of(struct key key, size_t index)
{
    return (key.hash[0] & 0xffffffff00000000) | (index + 1);
}

static size_t index_of(uint64_t entry)
{
    return (size_t)(entry & 0xffffffff) - 1;
}

/* Where an entry's search begins. */
static size_t home_of(const struct ids *ids, uint64_t entry)
{
    return (size_t)(entry >> (64 - ids->bits));
}

static size_t table_mask(const struct ids *ids)
{
    return ((size_t)1 << ids->bits) - 1;
}

/* The place of a key, or the empty one where it would go. */
static size_t find(const struct ids *ids, const struct shard *shard, struct key key)
{
    uint64_t wanted = entry_of(key, 0), entry;
    size_t at = home_of(ids, wanted);
    for (; (entry = shard->table[at]) != 0; at = (at + 1) & table_mask(ids))
        if (entry >> 32 == wanted >> 32 &&
            memcmp(&shard->slot[index_of(entry)].key, &key, sizeof key) == 0)
            break;
    return at;
}

/* Empties a place and moves up those behind it that would no longer be found. */
static void table_remove(const struct ids *ids, struct shard *shard, size_t at)
{
    size_t mask = table_mask(ids), gap = at;
    shard->slot[index_of(shard->table[at])].live = false;
    for (size_t i = (at + 1) & mask; shard->table[i] != 0; i = (i + 1) & mask) {
        size_t home = home_of(ids, shard->table[i]);
        if (((i - home) & mask) < ((i - gap) & mask))
            continue;
        shard->table[gap] = shard->table[i];
        gap = i;
    }
    shard->table[gap] = 0;
}

/* ---- life ---- */

static bool check_config(const struct ids_config *config, struct error *err)
{
    if (config->shards == 0)
        return error_set(err, ERR_INVALID, "prediction ids: expected at least one shard");
    if (config->predictions == 0 || config->predictions > IDS_PREDICTIONS_MAX)
        return error_set(err, config->predictions == 0 ? ERR_INVALID : ERR_TOO_LARGE,
                         "prediction ids: expected 1 to %d predictions, got %zu",
                         IDS_PREDICTIONS_MAX, config->predictions);
    if (config->features == 0 || config->features > IDS_FEATURES_MAX)
        return error_set(err, config->features == 0 ? ERR_INVALID : ERR_TOO_LARGE,
                         "prediction ids: expected 1 to %d features, got %zu", IDS_FEATURES_MAX,
                         config->features);
    return true;
}

static bool shard_init(const struct ids *ids, struct shard *shard)
{
    (void)pthread_mutex_init(&shard->lock, NULL);
    shard->slot = calloc(ids->ring, sizeof *shard->slot);
    shard->claimed = calloc(ids->keys, sizeof *shard->claimed);
    shard->y = calloc(ids->holds, sizeof *shard->y);
    shard->x = calloc(ids->holds * ids->config.features, sizeof *shard->x);
    shard->table = calloc((size_t)1 << ids->bits, sizeof *shard->table);
    return shard->slot != NULL && shard->claimed != NULL && shard->y != NULL && shard->x != NULL &&
           shard->table != NULL;
}

struct ids *ids_new(const struct ids_config *config, struct error *err)
{
    if (!check_config(config, err))
        return NULL;
    struct ids *ids = calloc(1, sizeof *ids);
    bool ok = ids != NULL && (ids->shard = calloc(config->shards, sizeof *ids->shard)) != NULL;
    if (ok) {
        ids->config = *config;
        ids->holds = (config->predictions + config->shards - 1) / config->shards;
        ids->keys = ids->holds * (1 + IDS_REMEMBERED);
        ids->ring = ids->keys + WAITING_MAX;
        for (ids->bits = 3; (size_t)1 << ids->bits < 2 * ids->keys; ids->bits++)
            ;
        for (unsigned i = 0; i < config->shards; i++)
            ok = shard_init(ids, &ids->shard[i]) && ok;
    }
    if (ok)
        return ids;
    ids_free(ids);
    (void)error_set(err, ERR_NO_MEMORY, "prediction ids: no memory for %zu predictions",
                    config->predictions);
    return NULL;
}

void ids_free(struct ids *ids)
{
    if (ids == NULL)
        return;
    for (unsigned i = 0; ids->shard != NULL && i < ids->config.shards; i++) {
        struct shard *shard = &ids->shard[i];
        (void)pthread_mutex_destroy(&shard->lock);
        free(shard->slot);
        free(shard->claimed);
        free(shard->y);
        free(shard->x);
        free(shard->table);
    }
    free(ids->shard);
    free(ids);
}

/* ---- use ---- */

/* The first row, from begin on, of those numbered from first on that is still among the last `kept`. */
static size_t first_kept(const struct shard *shard, uint64_t first, size_t begin, size_t kept)
{
    uint64_t oldest = shard->next > kept ? shard->next - kept : 0;
    return oldest > first + begin ? (size_t)(oldest - first) : begin;
}

/* How many of `rows` come before the end of a ring that they are put into at place. */
static size_t run_of(size_t rows, size_t place, size_t ring)
{
    return rows < ring - place ? rows : ring - place;
}

/* Copies rows begin to end of those that are numbered from first on. Others may have come since the numbers
 * were given, so many that some are late already. */
static void put_rows(const struct ids *ids, struct shard *shard, uint64_t first, size_t begin,
                     size_t end, const double *x, const double *y)
{
    size_t features = ids->config.features, run;
    for (size_t row = first_kept(shard, first, begin, ids->keys); row < end; row += run) {
        size_t place = (first + row) % ids->keys;
        run = run_of(end - row, place, ids->keys);
        memset(shard->claimed + place, 0, run * sizeof *shard->claimed);
    }
    for (size_t row = first_kept(shard, first, begin, ids->holds); row < end; row += run) {
        size_t place = (first + row) % ids->holds;
        run = run_of(end - row, place, ids->holds);
        memcpy(shard->y + place, y + row, run * sizeof *y);
        memcpy(shard->x + place * features, x + row * features, run * features * sizeof *x);
    }
}

static void expect_entry(const struct ids *ids, const struct shard *shard, uint64_t request)
{
    struct key key = shard->slot[request % ids->ring].key;
    __builtin_prefetch(&shard->table[home_of(ids, entry_of(key, 0))], 1);
}

static void forget(const struct ids *ids, struct shard *shard, uint64_t request)
{
    const struct slot *slot = &shard->slot[request % ids->ring];
    if (slot->live)
        table_remove(ids, shard, find(ids, shard, slot->key));
}

/* Whatever was put under the same key before is found no more. */
static void enter(const struct ids *ids, struct shard *shard, uint64_t request)
{
    size_t index = request % ids->ring;
    struct slot *slot = &shard->slot[index];
    size_t at = find(ids, shard, slot->key);
    if (shard->table[at] != 0) {
        table_remove(ids, shard, at);
        at = find(ids, shard, slot->key);
    }
    shard->table[at] = entry_of(slot->key, index);
    slot->live = true;
}

/* Enters the requests that are not in the table yet. Each wants two places that have long been left alone,
 * and the wait for memory would be most of what it costs: so all are asked for before the first is used. */
static void enter_waiting(const struct ids *ids, struct shard *shard)
{
    uint64_t begin = shard->entered, end = shard->next_request;
    for (uint64_t r = begin; r < end; r++) {
        expect_entry(ids, shard, r);
        if (r >= ids->keys)
            expect_entry(ids, shard, r - ids->keys);
    }
    for (uint64_t r = begin; r < end; r++) {
        if (r >= ids->keys)
            forget(ids, shard, r - ids->keys);
        enter(ids, shard, r);
    }
    shard->entered = end;
}

static void put_request(const struct ids *ids, struct shard *shard, const struct slot *request)
{
    size_t place = shard->next % ids->holds;
    shard->slot[shard->next_request++ % ids->ring] = *request;
    if (shard->next_request - shard->entered == WAITING_MAX)
        enter_waiting(ids, shard);
    /* As there: the places of the next one. */
    __builtin_prefetch(&shard->slot[shard->next_request % ids->ring], 1);
    __builtin_prefetch(&shard->claimed[shard->next % ids->keys], 1);
    __builtin_prefetch(&shard->y[place], 1);
    __builtin_prefetch(&shard->x[place * ids->config.features], 1);
}

void ids_put(struct ids *ids, struct span request, uint64_t version, size_t rows, const double *x,
             const double *y)
{
    struct slot slot = {.key = key_of(ids, request), .version = version, .rows = (uint32_t)rows};
    struct shard *shard = shard_of(ids, slot.key);
    for (size_t row = 0, end; row < rows; row = end) {
        end = rows - row > ROWS_PER_LOCK ? row + ROWS_PER_LOCK : rows;
        (void)pthread_mutex_lock(&shard->lock);
        if (row == 0) {
            slot.first = shard->next;
            shard->next += rows;
        }
        put_rows(ids, shard, slot.first, row, end, x, y);
        if (end == rows)
            put_request(ids, shard, &slot);
        (void)pthread_mutex_unlock(&shard->lock);
    }
}

/* The request's slot if it has that row and it is remembered, else NULL. */
static const struct slot *find_row(const struct ids *ids, const struct shard *shard, struct key key,
                                   size_t row)
{
    size_t at = find(ids, shard, key);
    if (shard->table[at] == 0)
        return NULL;
    const struct slot *slot = &shard->slot[index_of(shard->table[at])];
    return row < slot->rows && shard->next - (slot->first + row) <= ids->keys ? slot : NULL;
}

static enum ids_answer claim(const struct ids *ids, struct shard *shard, struct key key, size_t row,
                             struct ids_prediction *out, double *x)
{
    size_t features = ids->config.features;
    const struct slot *slot = find_row(ids, shard, key, row);
    if (slot == NULL)
        return IDS_UNKNOWN;
    uint64_t number = slot->first + row;
    bool *claimed = &shard->claimed[number % ids->keys];
    if (*claimed)
        return IDS_DUPLICATE;
    if (shard->next - number > ids->holds)
        return IDS_LATE;
    *claimed = true;
    size_t place = number % ids->holds;
    *out = (struct ids_prediction){slot->version, shard->y[place], number};
    memcpy(x, shard->x + place * features, features * sizeof *x);
    return IDS_FOUND;
}

enum ids_answer ids_claim(struct ids *ids, struct span request, size_t row,
                          struct ids_prediction *out, double *x)
{
    struct key key = key_of(ids, request);
    struct shard *shard = shard_of(ids, key);
    (void)pthread_mutex_lock(&shard->lock);
    enter_waiting(ids, shard);
    enum ids_answer answer = claim(ids, shard, key, row, out, x);
    (void)pthread_mutex_unlock(&shard->lock);
    return answer;
}

void ids_release(struct ids *ids, struct span request, size_t row, uint64_t number)
{
    struct key key = key_of(ids, request);
    struct shard *shard = shard_of(ids, key);
    (void)pthread_mutex_lock(&shard->lock);
    enter_waiting(ids, shard);
    const struct slot *slot = find_row(ids, shard, key, row);
    if (slot != NULL && slot->first + row == number)
        shard->claimed[number % ids->keys] = false;
    (void)pthread_mutex_unlock(&shard->lock);
}
