/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the HTTP server share. */
#pragma once

#include <microhttpd.h>
#include <stdbool.h>

#include "agent/observe/http.h"
#include "agent/observe/http_exchange.h"

struct route {
	const char *path;
	const char *content_type;
	http_handler handler;
	void *data;
	unsigned int cache_ms;	     /* so long an answer is given again; 0: never */
	struct MHD_Response *cached; /* NULL: none */
	unsigned int cached_status;
	uint64_t cached_at; /* loop time */
	const char *header; /* see struct http_page */
	void (*header_value)(char *value, size_t size, void *data);
};

/* One that was accepted. Its first request is its only one. */
struct http_connection {
	int fd; /* MHD's */
	struct in6_addr address;
	uint64_t began;			     /* loop time; of the answer, once `answered` */
	bool answered;			     /* the request was read whole */
	bool closing;			     /* shut down; MHD has not seen it yet */
	unsigned int answer_ms;		     /* for the answer */
	struct http_exchange *exchange;	     /* NULL: none, or of a server of routes */
	struct http_connection *prev, *next; /* the oldest first */
};

struct http_server {
	uv_loop_t *loop;
	struct MHD_Daemon *daemon;
	int listen_fd;
	uv_poll_t accept;
	uv_poll_t poll; /* MHD's epoll descriptor */
	uv_timer_t timer;
	uv_timer_t idle_timer;
	int handles; /* still open in the loop */
	struct route routes[HTTP_ROUTES_MAX];
	size_t route_count;
	struct route every_path;	    /* without a handler: none */
	const struct http_service *service; /* NULL: the routes above */
	char *path;			    /* of the Unix socket; NULL: none */
	uint16_t port;
	struct http_connection *connections;
	struct http_connection *adding; /* handed to MHD at the moment */
	bool paused;			/* not accepting until the next pruning */
	struct http_stats stats;
};

/* http_connections.c */
#define HTTP_CONNECTIONS_MAX 64
/* Starts to accept. `listen_fd` is taken on success. 0 or -errno. */
int http_connections_start(struct http_server *server, int listen_fd);
void http_connections_stop(struct http_server *server);
/* MHD tells of connections that come and go. */
void http_connection_notify(void *data, struct MHD_Connection *connection, void **context,
			    enum MHD_ConnectionNotificationCode code);
/* The request of a connection was read whole. */
void http_connection_answered(struct http_server *server, struct MHD_Connection *connection);
struct http_connection *http_connection_of(struct MHD_Connection *connection);

/* http_listen.c: a listening socket at "ADDR:PORT" or "unix:PATH" (then `*ret_path` is to be
 * removed in the end, and freed). 0 or -errno. */
int http_listen(const char *address, int *ret_fd, char **ret_path);

/* http_exchange.c: what MHD tells of requests of a service. */
enum MHD_Result http_exchange_on_data(struct http_server *server, struct MHD_Connection *connection,
				      const char *url, const char *method, const char *upload,
				      size_t *upload_size, void **context);
void http_exchange_on_completed(void *server, struct MHD_Connection *connection, void **context,
				enum MHD_RequestTerminationCode code);
/* Does it wait for its descriptor? MHD then does not look at its connection. */
bool http_exchange_waits(const struct http_exchange *exchange);
/* It gets no answer any more. Takes NULL. */
void http_exchange_cancel(struct http_exchange *exchange);

/* http.c: lets MHD go on. */
void http_run(struct http_server *server);
