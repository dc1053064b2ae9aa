/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP requests on the agent's loop: libcurl's multi interface without threads of its own. */
#pragma once

#include <stdint.h>
#include <uv.h>

#include "agent/sources/api/credentials.h"

struct http_client;
struct http_request;

struct http_query {
	const char *method; /* NULL: GET */
	const char *url;
	const char *connect_to; /* "::HOST:PORT"; NULL: as in the URL */
	const char *host;	/* header; NULL: as in the URL */
	const struct identity *identity;
	uint64_t timeout_ms; /* of the whole request; 0: none */
	const char *body;    /* sent with a method; NULL: none */
	const char *type;    /* of the body: Content-Type */
};

/*
 * In this order: head once, if an answer comes; body any number of times; end exactly once. None
 * may start, cancel or reset anything but in `end`, where the request is gone already.
 */
struct http_handlers {
	/* `type`: Content-Type, NULL: none; `retry_after` in seconds. */
	void (*head)(int status, const char *type, unsigned int retry_after, void *data);
	/* 0, or -errno: the request ends. */
	int (*body)(const char *bytes, size_t length, void *data);
	/* `failure`: why it ended early, in words; NULL: it is whole. */
	void (*end)(const char *failure, void *data);
};

/*
 * `silence_ms`: a connection whose peer does not even acknowledge for so long is broken (TCP
 * keepalive and TCP_USER_TIMEOUT); so long connecting may take. 0 or -ENOMEM.
 */
int http_client_new(uv_loop_t *loop, uint64_t silence_ms, struct http_client **ret);
/* Running requests are cancelled. Takes NULL; the memory goes with the loop's next turn. */
void http_client_free(struct http_client *client);
/* All is copied. 0 or -errno. */
int http_client_ask(struct http_client *client, const struct http_query *query,
		    const struct http_handlers *handlers, void *data, struct http_request **ret);
/* No handler is called any more. Takes NULL. */
void http_request_cancel(struct http_request *request);
/* Closes all connections: what is asked next has new ones. Running requests are cancelled. */
void http_client_reset(struct http_client *client);
/* Bytes of bodies since the start, unpacked. */
uint64_t http_client_received(const struct http_client *client);
