/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small HTTP server for metrics and health, in the agent's loop. GET and HEAD only; one request
 * for each connection. Clients may be hostile: each has a limit and a deadline, and none keeps
 * others out.
 */
#pragma once

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct http_server;

/*
 * Answers a request: fills `*ret_body` (taken, free()d by the server; may stay NULL) and
 * `*ret_length`, and returns the HTTP status. Runs in the loop and must not block.
 */
typedef unsigned int (*http_handler)(char **ret_body, size_t *ret_length, void *data);

/*
 * `address`: "127.0.0.1:9100", "[::1]:9100", ":9100" (all addresses), port 0 takes a free one;
 * "unix:PATH" is a socket of mode 0600. 0 or -errno (-EINVAL: not an address; -EADDRINUSE; -EEXIST:
 * a file that is no socket is in the way).
 */
int http_server_new(uv_loop_t *loop, const char *address, struct http_server **ret);
/* Takes NULL. Open connections are closed; the memory is released by the loop's next turn. */
void http_server_free(struct http_server *server);
uint16_t http_server_port(const struct http_server *server);

/* `path` and `content_type` must live as long as the server. 0 or -ENOSPC (HTTP_ROUTES_MAX). */
#define HTTP_ROUTES_MAX 8
int http_route(struct http_server *server, const char *path, const char *content_type,
	       http_handler handler, void *data);

/* As http_route(); an answer is given again for `cache_ms`, without asking the handler. */
int http_route_cached(struct http_server *server, const char *path, const char *content_type,
		      http_handler handler, void *data, unsigned int cache_ms);

/*
 * What is answered at each path that is no route's; without it they are not found. `header` (NULL:
 * none) is one more, with the value that `header_value` writes.
 */
struct http_page {
	const char *content_type;
	http_handler handler;
	const char *header;
	void (*header_value)(char *value, size_t size, void *data);
	void *data;
};
void http_serve_every_path(struct http_server *server, const struct http_page *page);

struct http_stats {
	uint64_t connections; /* open now */
	uint64_t requests;    /* that were read whole */
	uint64_t closed_for_room;
	uint64_t closed_late; /* request or answer took too long */
};
void http_server_read_stats(const struct http_server *server, struct http_stats *ret);

#define HTTP_TYPE_JSON	  "application/json"
#define HTTP_TYPE_TEXT	  "text/plain; charset=utf-8"
#define HTTP_TYPE_METRICS "text/plain; version=0.0.4; charset=utf-8"
