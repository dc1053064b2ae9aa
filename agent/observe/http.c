/* SPDX-License-Identifier: Apache-2.0 */
/* libmicrohttpd without threads: its epoll descriptor is one more descriptor of the loop. It does
 * not listen itself: who connects is accepted by http_connections.c. */
#include "agent/observe/http.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/observe/http_internal.h"

/* Of MHD: more than are accepted, since it learns a little later that one was closed. */
#define CONNECTIONS_MAX	  (4 * HTTP_CONNECTIONS_MAX)
#define IDLE_SECONDS	  10
#define CONNECTION_MEMORY 16384

static uint16_t bound_port(int fd)
{
	struct sockaddr_in6 address = {0};
	socklen_t length = sizeof(address);

	getsockname(fd, (struct sockaddr *)&address, &length);
	/* The port stands at the same place in both families. */
	return ntohs(address.sin6_port);
}

/* Takes `body`. NULL: no memory. */
static struct MHD_Response *make_response(const char *content_type, char *body, size_t length)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(
		length, body ? body : (void *)"",
		body ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);

	if (!response) {
		free(body);
		return NULL;
	}
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
	MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
	/* A connection has one request: so it is known how long it may take. */
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
	return response;
}

static enum MHD_Result refuse(struct MHD_Connection *connection, unsigned int status,
			      const char *text)
{
	char *body = strdup(text);
	struct MHD_Response *response =
		make_response(HTTP_TYPE_TEXT, body, body ? strlen(body) : 0);
	enum MHD_Result result;

	if (!response)
		return MHD_NO;
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

static void forget_cached(struct route *route)
{
	if (route->cached)
		MHD_destroy_response(route->cached);
	route->cached = NULL;
}

static void add_header(const struct route *route, struct MHD_Response *response)
{
	char value[64] = "";

	route->header_value(value, sizeof(value), route->data);
	MHD_add_response_header(response, route->header, value);
}

/* However many ask, the handler runs at most once within `cache_ms`, and its text is in memory
 * once. */
static enum MHD_Result answer(struct http_server *server, struct route *route,
			      struct MHD_Connection *connection)
{
	uint64_t now = uv_now(server->loop);
	enum MHD_Result result;
	char *body = NULL;
	size_t length = 0;

	if (!route->cached || now - route->cached_at >= route->cache_ms) {
		forget_cached(route);
		route->cached_status = route->handler(&body, &length, route->data);
		route->cached = make_response(route->content_type, body, body ? length : 0);
		route->cached_at = now;
		if (route->cached && route->header)
			add_header(route, route->cached);
	}
	if (!route->cached)
		return MHD_NO;
	result = MHD_queue_response(connection, route->cached_status, route->cached);
	if (!route->cache_ms)
		forget_cached(route);
	return result;
}

static enum MHD_Result on_request(void *data, struct MHD_Connection *connection, const char *url,
				  const char *method, const char *version, const char *upload,
				  size_t *upload_size, void **context)
{
	struct http_server *server = data;

	(void)version;
	if (server->service)
		return http_exchange_on_data(server, connection, url, method, upload, upload_size,
					     context);
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0) {
		if (*upload_size > 0) {
			*upload_size = 0;
			return MHD_YES;
		}
		http_connection_answered(server, connection);
		return refuse(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
	}
	/* The first call comes with the headers only. */
	if (!*context) {
		*context = server;
		return MHD_YES;
	}
	/* A body that GET has no use for. */
	if (*upload_size > 0) {
		*upload_size = 0;
		return MHD_YES;
	}
	http_connection_answered(server, connection);
	for (size_t i = 0; i < server->route_count; i++)
		if (strcmp(server->routes[i].path, url) == 0)
			return answer(server, &server->routes[i], connection);
	if (server->every_path.handler)
		return answer(server, &server->every_path, connection);
	return refuse(connection, MHD_HTTP_NOT_FOUND, "no such page\n");
}

static void on_timer(uv_timer_t *timer);

void http_run(struct http_server *server)
{
	MHD_UNSIGNED_LONG_LONG timeout;

	MHD_run(server->daemon);
	if (MHD_get_timeout(server->daemon, &timeout) == MHD_YES)
		uv_timer_start(&server->timer, on_timer, timeout, 0);
	else
		uv_timer_stop(&server->timer);
}

static void on_timer(uv_timer_t *timer)
{
	http_run(timer->data);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	http_run(poll->data);
}

static int start_daemon(struct http_server *server)
{
	server->daemon = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
		on_request, server, MHD_OPTION_NOTIFY_CONNECTION, http_connection_notify, server,
		MHD_OPTION_NOTIFY_COMPLETED, http_exchange_on_completed, server,
		MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
		IDLE_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
		MHD_OPTION_END);
	return server->daemon ? 0 : errno ? -errno : -EIO;
}

static void on_closed(uv_handle_t *handle)
{
	struct http_server *server = handle->data;

	if (--server->handles > 0)
		return;
	free(server->path);
	free(server);
}

int http_server_new(uv_loop_t *loop, const char *address, struct http_server **ret)
{
	CLEANUP(cleanup_close) int listen_fd = -1;
	CLEANUP(cleanup_free) char *path = NULL;
	struct http_server *server;
	int epoll_fd, r;

	r = http_listen(address, &listen_fd, &path);
	if (r < 0)
		return r;
	server = calloc(1, sizeof(*server));
	if (!server)
		return -ENOMEM;
	server->loop = loop;
	server->port = bound_port(listen_fd);
	r = start_daemon(server);
	if (r < 0)
		goto free_server;
	epoll_fd = MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
	r = uv_poll_init(loop, &server->poll, epoll_fd);
	if (r == 0)
		r = http_connections_start(server, listen_fd);
	if (r < 0)
		goto stop_daemon;
	TAKE_FD(listen_fd);
	server->path = TAKE_PTR(path);

	uv_timer_init(loop, &server->timer);
	server->handles += 2;
	server->poll.data = server->timer.data = server;
	uv_poll_start(&server->poll, UV_READABLE, on_readable);
	*ret = server;
	return 0;

stop_daemon:
	MHD_stop_daemon(server->daemon);
free_server:
	free(server);
	return r;
}

void http_server_free(struct http_server *server)
{
	if (!server)
		return;
	uv_poll_stop(&server->poll);
	if (server->path)
		unlink(server->path);
	http_connections_stop(server);
	MHD_stop_daemon(server->daemon);
	for (size_t i = 0; i < server->route_count; i++)
		forget_cached(&server->routes[i]);
	uv_close((uv_handle_t *)&server->accept, on_closed);
	uv_close((uv_handle_t *)&server->idle_timer, on_closed);
	uv_close((uv_handle_t *)&server->poll, on_closed);
	uv_close((uv_handle_t *)&server->timer, on_closed);
}

void http_serve_requests(struct http_server *server, const struct http_service *service)
{
	server->service = service;
}

uint16_t http_server_port(const struct http_server *server)
{
	return server->port;
}

void http_server_read_stats(const struct http_server *server, struct http_stats *ret)
{
	*ret = server->stats;
}

int http_route_cached(struct http_server *server, const char *path, const char *content_type,
		      http_handler handler, void *data, unsigned int cache_ms)
{
	if (server->route_count == HTTP_ROUTES_MAX)
		return -ENOSPC;
	server->routes[server->route_count++] = (struct route){.path = path,
							       .content_type = content_type,
							       .handler = handler,
							       .data = data,
							       .cache_ms = cache_ms};
	return 0;
}

int http_route(struct http_server *server, const char *path, const char *content_type,
	       http_handler handler, void *data)
{
	return http_route_cached(server, path, content_type, handler, data, 0);
}

void http_serve_every_path(struct http_server *server, const struct http_page *page)
{
	server->every_path = (struct route){.content_type = page->content_type,
					    .handler = page->handler,
					    .data = page->data,
					    .header = page->header,
					    .header_value = page->header_value};
}
