/* One table per shard finds the keys of both the held and the remembered predictions; which of them are
 * still held follows from how many came after. */
#include "server/predictor/ids.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_PER_LOCK = 64 };

struct key {
    uint64_t hash[2];
};

/* A key in the ring; number n is kept at n % keys. */
struct slot {
    struct key key;
    uint64_t number;
    bool live, claimed;
};

struct held {
    uint64_t version, time_ns;
    double prediction;
};

struct shard {
    pthread_mutex_t lock;
    uint64_t next;     /* number of the next prediction */
    struct slot *slot; /* (keys) */
    struct held *held; /* (holds); number n at n % holds */
    double *x;         /* (holds, features) */
    uint64_t *table;   /* (1 << bits): entries of live slots, 0 empty; linear probing */
};

struct ids {
    struct ids_config config;
    size_t holds, keys; /* per shard */
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

static struct key row_key(struct key request, size_t row)
{
    request.hash[0] += row;
    return request;
}

static struct shard *shard_of(const struct ids *ids, struct key request)
{
    return &ids->shard[request.hash[1] % ids->config.shards];
}

/* ---- the table ---- */

/* An entry is 32 bits of the hash, then 1 + the slot's index: what does not match is told, and moved, without
 * touching its slot. The product spreads the rows of a request over the table. */
static uint64_t entry_of(struct key key, size_t index)
{
    uint64_t mixed = key.hash[0] * 0x9e3779b97f4a7c15;
    return (mixed & 0xffffffff00000000) | (index + 1);
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
    shard->slot = calloc(ids->keys, sizeof *shard->slot);
    shard->held = calloc(ids->holds, sizeof *shard->held);
    shard->x = calloc(ids->holds * ids->config.features, sizeof *shard->x);
    shard->table = calloc((size_t)1 << ids->bits, sizeof *shard->table);
    return shard->slot != NULL && shard->held != NULL && shard->x != NULL && shard->table != NULL;
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
        free(shard->held);
        free(shard->x);
        free(shard->table);
    }
    free(ids->shard);
    free(ids);
}

/* ---- use ---- */

static void put_row(const struct ids *ids, struct shard *shard, struct key key,
                    const struct held *held, const double *x)
{
    size_t features = ids->config.features, index = shard->next % ids->keys;
    struct slot *slot = &shard->slot[index];
    if (slot->live)
        table_remove(ids, shard, find(ids, shard, slot->key));
    size_t at = find(ids, shard, key);
    if (shard->table[at] != 0) {
        table_remove(ids, shard, at);
        at = find(ids, shard, key);
    }
    shard->table[at] = entry_of(key, index);
    *slot = (struct slot){.key = key, .number = shard->next, .live = true};
    size_t place = shard->next % ids->holds;
    shard->held[place] = *held;
    memcpy(shard->x + place * features, x, features * sizeof *x);
    shard->next++;
}

void ids_put(struct ids *ids, struct span request, uint64_t version, uint64_t time_ns, size_t rows,
             const double *x, const double *y)
{
    struct key key = key_of(ids, request);
    struct shard *shard = shard_of(ids, key);
    for (size_t row = 0; row < rows;) {
        size_t end = rows - row > ROWS_PER_LOCK ? row + ROWS_PER_LOCK : rows;
        (void)pthread_mutex_lock(&shard->lock);
        for (; row < end; row++)
            put_row(ids, shard, row_key(key, row), &(struct held){version, time_ns, y[row]},
                    x + row * ids->config.features);
        (void)pthread_mutex_unlock(&shard->lock);
    }
}

static enum ids_answer claim(const struct ids *ids, struct shard *shard, struct key key,
                             struct ids_prediction *out, double *x)
{
    size_t at = find(ids, shard, key), features = ids->config.features;
    if (shard->table[at] == 0)
        return IDS_UNKNOWN;
    struct slot *slot = &shard->slot[index_of(shard->table[at])];
    if (slot->claimed)
        return IDS_DUPLICATE;
    if (shard->next - slot->number > ids->holds)
        return IDS_LATE;
    slot->claimed = true;
    size_t place = slot->number % ids->holds;
    const struct held *held = &shard->held[place];
    *out = (struct ids_prediction){held->version, held->time_ns, held->prediction, slot->number};
    memcpy(x, shard->x + place * features, features * sizeof *x);
    return IDS_FOUND;
}

enum ids_answer ids_claim(struct ids *ids, struct span request, size_t row,
                          struct ids_prediction *out, double *x)
{
    struct key key = key_of(ids, request);
    struct shard *shard = shard_of(ids, key);
    (void)pthread_mutex_lock(&shard->lock);
    enum ids_answer answer = claim(ids, shard, row_key(key, row), out, x);
    (void)pthread_mutex_unlock(&shard->lock);
    return answer;
}

void ids_release(struct ids *ids, struct span request, size_t row, uint64_t number)
{
    struct key key = key_of(ids, request);
    struct shard *shard = shard_of(ids, key);
    (void)pthread_mutex_lock(&shard->lock);
    size_t at = find(ids, shard, row_key(key, row));
    struct slot *slot = shard->table[at] != 0 ? &shard->slot[index_of(shard->table[at])] : NULL;
    if (slot != NULL && slot->number == number)
        slot->claimed = false;
    (void)pthread_mutex_unlock(&shard->lock);
}
