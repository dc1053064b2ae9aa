/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may connect, and for how long. There is always room for one more: who has the most
 * connections, or the oldest without a request, gives way. So nobody keeps others from the health
 * of the agent, however many connections are opened and however slowly they are used.
 */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#include "agent/common/log.h"
#include "agent/observe/http_internal.h"

#define PER_ADDRESS_MAX 16
/* A request has to be whole, and its answer to be taken, within so long; not each byte. */
#define REQUEST_MS 5000
#define ANSWER_MS  20000
#define IDLE_MS	   1000
#define BATCH	   64 /* accepted in one go */

/* IPv6 hosts have a /64 to choose addresses from: it counts as one. */
static bool same_address(const struct in6_addr *a, const struct in6_addr *b)
{
	bool v4 = IN6_IS_ADDR_V4MAPPED(a) && IN6_IS_ADDR_V4MAPPED(b);

	return memcmp(a, b, v4 ? sizeof(*a) : 8) == 0;
}

static size_t count_of(const struct http_server *server, const struct in6_addr *address)
{
	const struct http_connection *connection;
	size_t count = 0;

	DL_FOREACH(server->connections, connection)
	count += !connection->closing && same_address(&connection->address, address);
	return count;
}

/* The address that has most connections. */
static const struct in6_addr *busiest(const struct http_server *server)
{
	const struct http_connection *connection;
	const struct in6_addr *found = NULL;
	size_t most = 0;

	DL_FOREACH(server->connections, connection)
	{
		size_t count = connection->closing ? 0 : count_of(server, &connection->address);

		if (count > most) {
			most = count;
			found = &connection->address;
		}
	}
	return found;
}

static void shut(struct http_server *server, struct http_connection *connection, uint64_t *counter)
{
	(*counter)++;
	connection->closing = true;
	server->stats.connections--;
	/* MHD finds it ended, and closes it. */
	shutdown(connection->fd, SHUT_RDWR);
	http_exchange_cancel(connection->exchange);
}

/* The oldest of this address; one that has no request yet before one that is answered. */
static void shut_oldest(struct http_server *server, const struct in6_addr *address)
{
	struct http_connection *connection, *found = NULL;

	DL_FOREACH(server->connections, connection)
	{
		if (connection->closing || !same_address(&connection->address, address))
			continue;
		if (!found || (found->answered && !connection->answered))
			found = connection;
	}
	if (found)
		shut(server, found, &server->stats.closed_for_room);
}

static void make_room(struct http_server *server, const struct in6_addr *address)
{
	const struct in6_addr *most;

	if (count_of(server, address) >= PER_ADDRESS_MAX)
		shut_oldest(server, address);
	if (server->stats.connections < HTTP_CONNECTIONS_MAX)
		return;
	most = busiest(server);
	if (most)
		shut_oldest(server, most);
}

static void take_address(const struct sockaddr_storage *from, struct in6_addr *ret)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)from;

	if (from->ss_family == AF_INET6) {
		*ret = ((const struct sockaddr_in6 *)from)->sin6_addr;
		return;
	}
	*ret = (struct in6_addr){.s6_addr = {[10] = 0xff, [11] = 0xff}};
	memcpy(&ret->s6_addr[12], &v4->sin_addr, sizeof(v4->sin_addr));
}

/* Takes `fd`. */
static void add(struct http_server *server, int fd, const struct sockaddr_storage *from,
		socklen_t length)
{
	struct http_connection *connection = calloc(1, sizeof(*connection));

	if (!connection) {
		close(fd);
		return;
	}
	connection->fd = fd;
	connection->began = uv_now(server->loop);
	connection->answer_ms = ANSWER_MS;
	take_address(from, &connection->address);
	make_room(server, &connection->address);
	DL_APPEND(server->connections, connection);
	server->stats.connections++;
	server->adding = connection;
	/* On failure MHD closes the descriptor; without a word if it had not begun. */
	if (MHD_add_connection(server->daemon, fd, (const struct sockaddr *)from, length) !=
		    MHD_YES &&
	    server->adding) {
		DL_DELETE(server->connections, connection);
		server->stats.connections--;
		free(connection);
	}
	server->adding = NULL;
}

static void pause_accepting(struct http_server *server, int error)
{
	log_warning("http", "no new connections are accepted for a moment: %s%s", strerror(error),
		    error == EMFILE ? " (LimitNOFILE of polderd's unit)" : "");
	server->paused = true;
	uv_poll_stop(&server->accept);
}

static void on_connect(uv_poll_t *poll, int status, int events)
{
	struct http_server *server = poll->data;

	(void)status;
	(void)events;
	for (unsigned int i = 0; i < BATCH; i++) {
		struct sockaddr_storage from = {};
		socklen_t length = sizeof(from);
		int fd = accept4(server->listen_fd, (struct sockaddr *)&from, &length,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0 &&
		    (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
			pause_accepting(server, errno);
			break;
		}
		if (fd < 0 && errno == EAGAIN)
			break;
		if (fd >= 0)
			add(server, fd, &from, length);
	}
	http_run(server);
}

/* MHD does not look at connections whose answer waits for something. */
static bool has_left(const struct http_connection *connection)
{
	struct pollfd entry = {.fd = connection->fd, .events = POLLRDHUP};

	return http_exchange_waits(connection->exchange) && poll(&entry, 1, 0) > 0;
}

static void on_idle_timer(uv_timer_t *timer)
{
	struct http_server *server = timer->data;
	struct http_connection *connection;
	uint64_t now = uv_now(server->loop);

	DL_FOREACH(server->connections, connection)
	{
		uint64_t limit = connection->answered ? connection->answer_ms : REQUEST_MS;

		if (!connection->closing &&
		    (now - connection->began >= limit || has_left(connection)))
			shut(server, connection, &server->stats.closed_late);
	}
	if (server->paused) {
		server->paused = false;
		uv_poll_start(&server->accept, UV_READABLE, on_connect);
	}
	http_run(server);
}

void http_connection_notify(void *data, struct MHD_Connection *mhd, void **context,
			    enum MHD_ConnectionNotificationCode code)
{
	struct http_server *server = data;
	struct http_connection *connection = *context;

	(void)mhd;
	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		*context = server->adding;
		server->adding = NULL;
	} else if (connection) {
		DL_DELETE(server->connections, connection);
		server->stats.connections -= !connection->closing;
		free(connection);
		*context = NULL;
	}
}

struct http_connection *http_connection_of(struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

void http_connection_answered(struct http_server *server, struct MHD_Connection *mhd)
{
	struct http_connection *connection = http_connection_of(mhd);

	server->stats.requests++;
	if (!connection)
		return;
	connection->answered = true;
	connection->began = uv_now(server->loop);
}

int http_connections_start(struct http_server *server, int listen_fd)
{
	int r = uv_poll_init(server->loop, &server->accept, listen_fd);

	if (r < 0)
		return r;
	uv_timer_init(server->loop, &server->idle_timer);
	server->listen_fd = listen_fd;
	server->handles += 2;
	server->accept.data = server->idle_timer.data = server;
	uv_poll_start(&server->accept, UV_READABLE, on_connect);
	uv_timer_start(&server->idle_timer, on_idle_timer, IDLE_MS, IDLE_MS);
	uv_unref((uv_handle_t *)&server->idle_timer);
	return 0;
}

void http_connections_stop(struct http_server *server)
{
	struct http_connection *connection;

	/* MHD ends no connection that is suspended. */
	DL_FOREACH(server->connections, connection)
	http_exchange_cancel(connection->exchange);
	uv_poll_stop(&server->accept);
	uv_timer_stop(&server->idle_timer);
	close(server->listen_fd);
	server->listen_fd = -1;
}
