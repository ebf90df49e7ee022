/* http_client.h - raw sockets for tests: send bytes, read one response at a time.
 *
 * Every wait ends after HTTP_CLIENT_MS; a failure fails the test with what had arrived.
 */
#ifndef TESTS_SUPPORT_HTTP_CLIENT_H
#define TESTS_SUPPORT_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

enum { HTTP_CLIENT_MS = 60000, HTTP_CLIENT_HEADERS = 32 };

/* A response; texts point into `text`. */
struct http_answer {
    int status;
    size_t header_count;
    const char *names[HTTP_CLIENT_HEADERS], *values[HTTP_CLIENT_HEADERS];
    char *body; /* NUL-terminated */
    size_t body_len;
    char *text; /* owned */
};

/* A connection with what it has received and not yet given out. */
struct http_client {
    int fd;
    char *data;
    size_t n, capacity;
};

/* False when nobody listens. */
bool http_client_try_open(struct http_client *client, unsigned port);
/* The same, failing the test. */
void http_client_open(struct http_client *client, unsigned port);
void http_client_close(struct http_client *client);

/* Sends all n bytes; false when the peer has closed. */
bool http_client_try_send(struct http_client *client, const char *bytes, size_t n);
/* The same, failing the test. */
void http_client_send(struct http_client *client, const char *bytes, size_t n);
void http_client_send_text(struct http_client *client, const char *text);
/* No more will be sent. */
void http_client_half_close(struct http_client *client);

/* Reads one response with its body, by Content-Length or in chunks (none after HEAD: say so). False when the connection
 * ended before a response began. Free with http_answer_clear. */
bool http_client_read(struct http_client *client, bool head, struct http_answer *answer);

/* True when the peer has closed and nothing is left to read. */
bool http_client_at_end(struct http_client *client);

/* Value of the header of that name (any case), or NULL. */
const char *http_answer_header(const struct http_answer *answer, const char *name);
void http_answer_clear(struct http_answer *answer);

/* One request on a fresh connection, which is closed after it. headers: "Name: value\r\n..." or NULL. */
void http_client_request(unsigned port, const char *method, const char *target, const char *headers,
                         const char *body, size_t body_len, struct http_answer *answer);

/* A port of 127.0.0.1 that nobody listened on a moment ago. */
unsigned http_client_free_port(void);

#endif
