/* Blocking sockets whose waits go through poll, so that a silent server fails a test instead of hanging
 * it. */
#define _GNU_SOURCE /* MSG_NOSIGNAL, memmem */
#include "tests/support/http_client.h"

#include "tests/support/t.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

static struct sockaddr_in loopback(unsigned port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return to;
}

bool http_client_try_open(struct http_client *client, unsigned port)
{
    int on = 1;
    struct sockaddr_in to = loopback(port);
    *client = (struct http_client){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (client->fd < 0)
        fail_msg("socket: %s", strerror(errno));
    if (connect(client->fd, (struct sockaddr *)&to, sizeof to) != 0) {
        (void)close(client->fd);
        return false;
    }
    (void)setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return true;
}

void http_client_open(struct http_client *client, unsigned port)
{
    if (!http_client_try_open(client, port))
        fail_msg("connect to port %u: %s", port, strerror(errno));
}

void http_client_close(struct http_client *client)
{
    (void)close(client->fd);
    free(client->data);
    *client = (struct http_client){.fd = -1};
}

bool http_client_try_send(struct http_client *client, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t sent = send(client->fd, bytes, n, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return false;
        bytes += sent;
        n -= (size_t)sent;
    }
    return true;
}

void http_client_send(struct http_client *client, const char *bytes, size_t n)
{
    if (!http_client_try_send(client, bytes, n))
        fail_msg("send: %s", strerror(errno));
}

void http_client_send_text(struct http_client *client, const char *text)
{
    http_client_send(client, text, strlen(text));
}

void http_client_half_close(struct http_client *client)
{
    assert_int_equal(shutdown(client->fd, SHUT_WR), 0);
}

/* Reads what is there; false at the end of the connection. */
static bool receive(struct http_client *client)
{
    struct pollfd fd = {.fd = client->fd, .events = POLLIN};
    if (client->capacity - client->n < 65536) {
        client->capacity = client->capacity * 2 + 131072;
        client->data = realloc(client->data, client->capacity);
        assert_non_null(client->data);
    }
    if (poll(&fd, 1, HTTP_CLIENT_MS) <= 0)
        fail_msg("no answer within %d ms; so far:\n%.*s", HTTP_CLIENT_MS, (int)client->n,
                 client->data);
    ssize_t got = recv(client->fd, client->data + client->n, client->capacity - client->n - 1, 0);
    if (got > 0)
        client->n += (size_t)got;
    return got > 0;
}

static void split_headers(struct http_answer *answer, char *line)
{
    while (*line != '\0' && answer->header_count < HTTP_CLIENT_HEADERS) {
        char *end = strstr(line, "\r\n"), *colon = strchr(line, ':');
        if (end == NULL || colon == NULL || colon > end)
            fail_msg("not a header: %s", line);
        *end = *colon = '\0';
        answer->names[answer->header_count] = line;
        answer->values[answer->header_count++] = colon + 1 + strspn(colon + 1, " ");
        line = end + 2;
    }
}

/* Takes n bytes off what was received, reading more as needed; they go to the body's end. */
static void take(struct http_client *client, struct http_answer *answer, size_t n)
{
    while (client->n < n)
        if (!receive(client))
            fail_msg("the connection ended inside a body");
    char *body = realloc(answer->body, answer->body_len + n + 1);
    assert_non_null(body);
    memcpy(body + answer->body_len, client->data, n);
    answer->body = body;
    answer->body_len += n;
    body[answer->body_len] = '\0';
    client->n -= n;
    memmove(client->data, client->data + n, client->n);
}

/* Chunks without extensions or trailers, as ours are. */
static void take_chunks(struct http_client *client, struct http_answer *answer)
{
    size_t n = 1;
    while (n > 0) {
        char *end;
        while (client->n == 0 || (end = memmem(client->data, client->n, "\r\n", 2)) == NULL)
            if (!receive(client))
                fail_msg("the connection ended inside a chunk's size");
        size_t line = (size_t)(end - client->data) + 2, kept = answer->body_len;
        take(client, answer, line);
        n = strtoul(answer->body + kept, &end, 16);
        assert_ptr_equal(end, answer->body + kept + line - 2);
        answer->body_len = kept;
        take(client, answer, n + 2);
        assert_memory_equal(answer->body + answer->body_len - 2, "\r\n", 2);
        answer->body[answer->body_len -= 2] = '\0';
    }
}

bool http_client_read(struct http_client *client, bool head, struct http_answer *answer)
{
    char *end = NULL;
    *answer = (struct http_answer){0};
    while (client->n == 0 || (end = memmem(client->data, client->n, "\r\n\r\n", 4)) == NULL)
        if (!receive(client)) {
            if (client->n > 0)
                fail_msg("the connection ended inside a head: %.*s", (int)client->n, client->data);
            return false;
        }
    size_t head_bytes = (size_t)(end - client->data) + 4;
    answer->text = malloc(head_bytes + 1);
    assert_non_null(answer->text);
    memcpy(answer->text, client->data, head_bytes);
    answer->text[head_bytes - 2] = '\0'; /* without the empty line */
    if (sscanf(answer->text, "HTTP/1.1 %d ", &answer->status) != 1)
        fail_msg("not a status line: %s", answer->text);
    split_headers(answer, strstr(answer->text, "\r\n") + 2);
    const char *length = http_answer_header(answer, "Content-Length");
    client->n -= head_bytes;
    memmove(client->data, client->data + head_bytes, client->n);
    bool bodiless = head || length == NULL || answer->status / 100 == 1;
    take(client, answer, bodiless ? 0 : strtoul(length, NULL, 10));
    if (!head && http_answer_header(answer, "Transfer-Encoding") != NULL)
        take_chunks(client, answer);
    return true;
}

bool http_client_at_end(struct http_client *client)
{
    return client->n == 0 && !receive(client);
}

const char *http_answer_header(const struct http_answer *answer, const char *name)
{
    for (size_t i = 0; i < answer->header_count; i++)
        if (strcasecmp(answer->names[i], name) == 0)
            return answer->values[i];
    return NULL;
}

void http_answer_clear(struct http_answer *answer)
{
    free(answer->text);
    free(answer->body);
    *answer = (struct http_answer){0};
}

void http_client_request(unsigned port, const char *method, const char *target, const char *headers,
                         const char *body, size_t body_len, struct http_answer *answer)
{
    char head[4096];
    struct http_client client;
    http_client_open(&client, port);
    (void)snprintf(head, sizeof head,
                   "%s %s HTTP/1.1\r\nHost: test\r\nContent-Length: %zu\r\n%s\r\n", method, target,
                   body_len, headers != NULL ? headers : "");
    http_client_send_text(&client, head);
    http_client_send(&client, body, body_len);
    if (!http_client_read(&client, strcmp(method, "HEAD") == 0, answer))
        fail_msg("%s %s: closed without an answer", method, target);
    http_client_close(&client);
}

unsigned http_client_free_port(void)
{
    struct sockaddr_in address = loopback(0);
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    (void)close(fd);
    return ntohs(address.sin_port);
}
