#define _DEFAULT_SOURCE /* explicit_bzero */
#include "server/token.h"

#include <errno.h>
#include <pthread.h>
#include <sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct token {
    const char *path;
    pthread_mutex_t lock;
    uint8_t digest[SHA256_DIGEST_LENGTH]; /* under lock */
};

static void hash(const char *text, size_t n, uint8_t digest[SHA256_DIGEST_LENGTH])
{
    SHA2_CTX sha;
    SHA256Init(&sha);
    SHA256Update(&sha, (const uint8_t *)text, n);
    SHA256Final(digest, &sha);
}

bool token_read(const char *path, char token[TOKEN_MAX + 1], struct error *err)
{
    char text[TOKEN_MAX + 2];
    FILE *in = fopen(path, "rbe");
    if (in == NULL)
        return error_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_INTERNAL, "%s: %s", path,
                         strerror(errno));
    size_t n = fread(text, 1, sizeof text - 1, in);
    bool failed = ferror(in) != 0;
    (void)fclose(in);
    if (failed)
        return error_set(err, ERR_INTERNAL, "%s: %s", path, strerror(errno));
    text[n] = '\0';
    const char *begin = text + strspn(text, " \t\r\n");
    size_t length = strcspn(begin, " \t\r\n");
    bool rest = begin[length + strspn(begin + length, " \t\r\n")] != '\0' || strlen(text) != n;
    bool ok = !rest && length > 0 && n <= TOKEN_MAX;
    for (size_t i = 0; ok && i < length; i++)
        ok = begin[i] > ' ' && begin[i] < 0x7f;
    if (ok) {
        memcpy(token, begin, length);
        token[length] = '\0';
    }
    explicit_bzero(text, sizeof text);
    return ok || error_set(err, ERR_INVALID,
                           "%s: expected one token of 1 to %d printable ASCII characters", path,
                           TOKEN_MAX);
}

static bool read_digest(const char *path, uint8_t digest[SHA256_DIGEST_LENGTH], struct error *err)
{
    char text[TOKEN_MAX + 1];
    if (!token_read(path, text, err))
        return false;
    hash(text, strlen(text), digest);
    explicit_bzero(text, sizeof text);
    return true;
}

struct token *token_new(const char *path, struct error *err)
{
    struct token *token = calloc(1, sizeof *token);
    if (token == NULL) {
        (void)error_set(err, ERR_NO_MEMORY, "%s: out of memory", path);
        return NULL;
    }
    token->path = path;
    (void)pthread_mutex_init(&token->lock, NULL);
    if (read_digest(path, token->digest, err))
        return token;
    token_free(token);
    return NULL;
}

void token_free(struct token *token)
{
    if (token == NULL)
        return;
    (void)pthread_mutex_destroy(&token->lock);
    free(token);
}

bool token_refresh(struct token *token, struct error *err)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    if (!read_digest(token->path, digest, err))
        return false;
    (void)pthread_mutex_lock(&token->lock);
    memcpy(token->digest, digest, sizeof digest);
    (void)pthread_mutex_unlock(&token->lock);
    return true;
}

bool token_matches(struct token *token, struct span authorization)
{
    static const char scheme[] = "Bearer ";
    const size_t n = sizeof scheme - 1;
    uint8_t told[SHA256_DIGEST_LENGTH], differences = 0;
    if (authorization.n <= n || strncasecmp(authorization.p, scheme, n) != 0)
        return false;
    hash(authorization.p + n, authorization.n - n, told);
    (void)pthread_mutex_lock(&token->lock);
    for (size_t i = 0; i < sizeof told; i++)
        differences |= (uint8_t)(told[i] ^ token->digest[i]);
    (void)pthread_mutex_unlock(&token->lock);
    return differences == 0;
}
