/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests with arguments, headers and a body, for servers that are more than a few fixed pages.
 * Answers are texts, or lines that are passed on from a descriptor as fast as both ends go, so that
 * the whole is never in memory.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct http_server;
struct http_exchange; /* ends when its answer was taken, or its peer hangs up */

struct http_service {
	/* Runs in the loop when the request is there whole, must not block, and answers exactly
	 * once before it returns. */
	void (*handler)(struct http_exchange *exchange, void *data);
	void *data;
	size_t body_max;	    /* what is longer is refused (413) */
	const char *const *headers; /* of every answer: name, value, …, NULL */
};
/* All requests are the service's; there are no routes then. Borrowed. */
void http_serve_requests(struct http_server *server, const struct http_service *service);

/* Borrowed, as what follows. */
const char *http_exchange_method(const struct http_exchange *exchange);
const char *http_exchange_path(const struct http_exchange *exchange);
/* NULL: there is none; "": it stands more than once, and no one of them counts. */
const char *http_exchange_header(const struct http_exchange *exchange, const char *name);
/* Ends with a NUL, which does not count. */
const char *http_exchange_body(const struct http_exchange *exchange, size_t *ret_length);
/* Arguments behind the "?", decoded, in their order. Ends early where `visit` says false. False:
 * it did, or one has a NUL in it. */
bool http_exchange_each_argument(const struct http_exchange *exchange,
				 bool (*visit)(const char *key, const char *value, void *data),
				 void *data);

/* One header more, for the answer that follows. Borrowed until then. */
void http_answer_header(struct http_exchange *exchange, const char *name, const char *value);
/* `text` is taken (free()d; NULL: no memory, the connection is closed). */
void http_answer(struct http_exchange *exchange, unsigned int status, const char *content_type,
		 char *text, size_t length);
/* As that, with a text that lives as long as the program. */
void http_answer_static(struct http_exchange *exchange, unsigned int status,
			const char *content_type, const char *text, size_t length);

/* The first bytes of a line are enough to know it by. */
#define HTTP_LINE_HEAD 128
struct http_lines {
	int fd;		      /* non-blocking; taken */
	unsigned int most_ms; /* for the whole answer */
	const char *content_type;
	/* The status, by the head of the first line. */
	unsigned int (*status)(const char *head, size_t length);
	/* Does the line with this head end the answer? */
	bool (*is_last)(const char *head, size_t length);
};
void http_answer_lines(struct http_exchange *exchange, const struct http_lines *lines);
