/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket's connections: one request after the other on each, answered now, later, or as
 * a stream. */
#include "agent/control/control.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#include "agent/common/cleanup.h"
#include "agent/common/log.h"
#include "agent/control/control_internal.h"
#include "agent/control/control_message.h"

#define REQUEST_MAX	   (1u << 20)
#define STREAM_WAITING_MAX (1u << 20)
#define READ_CHUNK	   16384
#define PASSED_FDS_MAX	   4
#define IDLE_MS		   1000

static void on_connection_event(uv_poll_t *poll, int status, int events);
static void on_connect(uv_poll_t *poll, int status, int events);

/* ---------------------------------------------------------------- connections */

static size_t waiting(const struct connection *connection)
{
	return connection->output.waiting;
}

/* Reads only what it may handle: the next request is left in the socket until this one is answered.
 */
static void update_events(struct connection *connection)
{
	bool stream = connection->request && connection->request->stream;
	int events = 0;

	if (waiting(connection) > 0 || connection->broken)
		events |= UV_WRITABLE;
	if (!connection->end && !connection->postponed &&
	    (stream || (!connection->request && waiting(connection) == 0)))
		events |= UV_READABLE;
	if (events)
		uv_poll_start(&connection->poll, events, on_connection_event);
	else
		uv_poll_stop(&connection->poll);
}

void request_free(struct control_request *request)
{
	if (request->server) {
		DL_DELETE(request->server->requests, request);
		request->server->stats.ordinary -= request->ordinary;
	}
	if (request->connection)
		request->connection->request = NULL;
	free(request);
}

static void end_stream(struct control_request *request)
{
	request->closed(request, request->closed_data);
	request_free(request);
}

static void on_connection_closed(uv_handle_t *handle)
{
	free(handle->data);
}

/* The request, if any, stays with whoever has to answer it. */
void connection_hang_up(struct connection *connection)
{
	struct control_request *request = connection->request;
	struct control_server *server = connection->server;

	control_turns_forget(connection);
	DL_DELETE(server->connections, connection);
	server->stats.connections--;
	if (request && request->list) {
		control_list_end(request);
	} else if (request) {
		request->connection = NULL;
		connection->request = NULL;
		if (request->stream)
			end_stream(request);
	}
	free(connection->in);
	output_clear(&connection->output);
	if (connection->passed_fd >= 0)
		close(connection->passed_fd);
	uv_close((uv_handle_t *)&connection->poll, on_connection_closed);
	close(connection->fd);
}

static int reserve(char **buffer, size_t *size, size_t wanted)
{
	size_t larger = *size ? *size : 4096;
	char *moved;

	if (wanted <= *size)
		return 0;
	while (larger < wanted)
		larger *= 2;
	moved = realloc(*buffer, larger);
	if (!moved)
		return -ENOMEM;
	*buffer = moved;
	*size = larger;
	return 0;
}

void connection_send(struct connection *connection, char *line, size_t length)
{
	if (line && waiting(connection) == 0)
		connection->progress = uv_now(connection->server->loop);
	if (!line || output_put(&connection->output, line, length) < 0)
		connection->broken = true;
	update_events(connection);
}

/* -EPIPE and the like: the peer is gone. */
static int flush(struct connection *connection)
{
	size_t before = waiting(connection);
	int r = output_send(&connection->output, connection->fd);

	if (waiting(connection) != before)
		connection->progress = uv_now(connection->server->loop);
	if (r == 0 && connection->request && connection->request->list)
		control_lists_fill(connection->server);
	return r;
}

/* ---------------------------------------------------------------- reading */

/* Keeps one descriptor for the next request and closes every other one. */
static void take_descriptors(struct connection *connection, struct msghdr *message)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		size_t count;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (connection->passed_fd < 0)
				connection->passed_fd = fd;
			else
				close(fd);
		}
	}
}

/* Bytes read; 0 at the end; -EAGAIN or another -errno. */
static ssize_t receive(struct connection *connection, char *buffer, size_t size)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(PASSED_FDS_MAX * sizeof(int))];
	} control;
	struct iovec part = {buffer, size};
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t got;

	do {
		got = recvmsg(connection->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	take_descriptors(connection, &message);
	return got;
}

/* A stream's peer has nothing more to say; what it says is thrown away. */
static int read_stream(struct connection *connection)
{
	char nowhere[READ_CHUNK];
	ssize_t got = receive(connection, nowhere, sizeof(nowhere));

	if (got == -EAGAIN)
		return 0;
	if (connection->passed_fd >= 0)
		close(TAKE_FD(connection->passed_fd));
	return got > 0 ? 0 : -EPIPE;
}

static int read_requests(struct connection *connection)
{
	ssize_t got;

	if (reserve(&connection->in, &connection->in_size, connection->in_length + READ_CHUNK) < 0)
		return -ENOMEM;
	got = receive(connection, connection->in + connection->in_length, READ_CHUNK);
	if (got == -EAGAIN)
		return 0;
	if (got < 0)
		return (int)got;
	if (got == 0)
		connection->end = true;
	connection->in_length += (size_t)got;
	connection->progress = uv_now(connection->server->loop);
	connection_process(connection);
	return 0;
}

void connection_go_on(struct connection *connection, int r)
{
	if (r == 0 && connection->end && !connection->request && !connection->postponed &&
	    waiting(connection) == 0)
		r = -EPIPE;
	/* Its peer will say that the agent hung up, and have the operator look here. */
	if (r < 0 && r != -EPIPE && r != -ECONNRESET && !connection->broken)
		log_warning("control",
			    "the connection of process %d cannot be served, and is closed: %s",
			    connection->pid, strerror(-r));
	if (r < 0)
		connection_hang_up(connection);
	else
		update_events(connection);
}

static void on_connection_event(uv_poll_t *poll, int status, int events)
{
	struct connection *connection = poll->data;
	int r = status < 0 ? -EPIPE : 0;

	if (r == 0 && connection->broken)
		r = -ENOMEM;
	if (r == 0 && (events & UV_WRITABLE)) {
		r = flush(connection);
		if (r == 0)
			connection_process(connection);
	}
	if (r == 0 && (events & UV_READABLE)) {
		if (connection->request && connection->request->stream)
			r = read_stream(connection);
		else if (!connection->request && waiting(connection) == 0)
			r = read_requests(connection);
	}
	connection_go_on(connection, r);
}

/* ---------------------------------------------------------------- requests */

static const struct operation *find_operation(const struct control_server *server, const char *name)
{
	const struct operation *operation;

	LL_FOREACH(server->operations, operation)
	{
		if (strcmp(operation->name, name) == 0)
			return operation;
	}
	return NULL;
}

static void refuse(struct connection *connection, int code, const char *text)
{
	size_t length = 0;
	char *line = control_format_error(code, text, NULL, &length);

	connection_send(connection, line, length);
}

/* Room for one more of those that are not the plugin's? Else it is refused. */
static bool check_room(struct connection *connection, const struct operation *operation)
{
	struct control_server *server = connection->server;
	char text[256], busiest[96];

	if (operation->is_plugins || server->stats.ordinary < ORDINARY_MAX)
		return true;
	control_name_busiest(server, busiest, sizeof(busiest));
	snprintf(text, sizeof(text),
		 "%d requests and streams are open already, and the connections that are left are "
		 "kept for the CNI plugin; look at %s",
		 ORDINARY_MAX, busiest);
	log_warning("control", "%s of process %d is refused: %s", operation->name, connection->pid,
		    text);
	server->stats.refused++;
	refuse(connection, EBUSY, text);
	return false;
}

/*
 * Who has hung up has told its caller that nothing was done, and perhaps the opposite has been
 * asked for since: an ADD that is carried out after its DEL stays for ever.
 */
static bool check_peer_waits(struct connection *connection, const struct operation *operation)
{
	if (!connection_is_gone(connection))
		return true;
	log_info("control", "%s of process %d is not carried out: it has hung up", operation->name,
		 connection->pid);
	connection->server->stats.abandoned++;
	connection->broken = true;
	return false;
}

static void run_operation(struct connection *connection, const struct operation *operation,
			  const struct control_message *message)
{
	CLEANUP(cleanup_close) int fd = TAKE_FD(connection->passed_fd);
	struct control_server *server = connection->server;
	struct control_request *request;
	char text[256];
	uint64_t began;

	if (!operation) {
		snprintf(text, sizeof(text), "unknown operation \"%.100s\"", message->operation);
		refuse(connection, CONTROL_UNKNOWN_OPERATION, text);
		return;
	}
	if (!check_peer_waits(connection, operation) || !check_room(connection, operation))
		return;
	request = calloc(1, sizeof(*request));
	if (!request) {
		connection->broken = true;
		return;
	}
	request->ordinary = !operation->is_plugins;
	connection->server->stats.ordinary += request->ordinary;
	connection->server->stats.requests++;
	request->server = connection->server;
	request->connection = connection;
	connection->request = request;
	DL_APPEND(connection->server->requests, request);
	/* From here the request may be answered and gone at any time. */
	began = uv_hrtime();
	operation->handler(request, message->args, fd, operation->data);
	if (operation->is_plugins)
		control_turns_count(server, uv_hrtime() - began);
}

/* False: it is to be handled in another turn of the loop. */
static bool handle_line(struct connection *connection, const char *line, size_t length)
{
	struct control_message message = {0};
	const struct operation *operation;
	bool postponed;
	char error[512];
	int code;

	code = control_message_parse(line, length, &message, error, sizeof(error));
	if (code) {
		if (connection->passed_fd >= 0)
			close(TAKE_FD(connection->passed_fd));
		refuse(connection, code, error);
		return true;
	}
	operation = find_operation(connection->server, message.operation);
	postponed = operation && operation->is_plugins && control_turns_postpone(connection);
	if (!postponed)
		run_operation(connection, operation, &message);
	control_message_clear(&message);
	return !postponed;
}

/* Handles complete lines until one waits for its answer, its answer for the peer, or itself for its
 * turn. */
void connection_process(struct connection *connection)
{
	size_t done = 0;

	if (connection->in_length == 0)
		return;
	while (!connection->request && !connection->broken && waiting(connection) == 0) {
		size_t left = connection->in_length - done;
		char *line = connection->in + done;
		char *feed = left ? memchr(line, '\n', left) : NULL;

		if (left > REQUEST_MAX && (!feed || (size_t)(feed - line) > REQUEST_MAX)) {
			refuse(connection, CONTROL_BAD_REQUEST,
			       "the request is longer than 1048576 bytes");
			connection->end = true;
			done = connection->in_length;
			break;
		}
		if (!feed)
			break;
		if (feed > line && !handle_line(connection, line, (size_t)(feed - line)))
			break;
		done += (size_t)(feed - line) + 1;
	}
	connection->in_length -= done;
	if (connection->in_length > 0) {
		memmove(connection->in, connection->in + done, connection->in_length);
	} else {
		free(TAKE_PTR(connection->in));
		connection->in_size = 0;
	}
}

/* Takes `line`. */
static void answer(struct control_request *request, char *line, size_t length)
{
	struct connection *connection = request->connection;

	assert(!request->stream);
	request_free(request);
	if (connection)
		connection_send(connection, line, length);
	else
		free(line);
}

void control_reply(struct control_request *request, json_t *result)
{
	size_t length = 0;
	char *line = control_format_result(result, &length);

	answer(request, line, length);
}

void control_fail(struct control_request *request, int code, const char *message,
		  const char *details)
{
	size_t length = 0;
	char *line = control_format_error(code, message, details, &length);

	answer(request, line, length);
}

void control_stream_begin(struct control_request *request,
			  void (*closed)(struct control_request *request, void *data), void *data)
{
	assert(!request->stream);
	request->stream = true;
	request->closed = closed;
	request->closed_data = data;
	if (request->connection)
		update_events(request->connection);
	else if (!request->server)
		end_stream(request);
	/* Else the next tick ends it: not under the caller's feet. */
}

int control_stream_send(struct control_request *request, json_t *line)
{
	struct connection *connection = request->connection;
	size_t length = 0;
	char *text;

	assert(request->stream);
	if (!connection || connection->broken) {
		json_decref(line);
		return -EPIPE;
	}
	if (waiting(connection) >= STREAM_WAITING_MAX) {
		json_decref(line);
		return -ENOBUFS;
	}
	text = line ? control_format_result(line, &length) : NULL;
	if (!text)
		return -ENOMEM;
	if (waiting(connection) + length > STREAM_WAITING_MAX) {
		free(text);
		return -ENOBUFS;
	}
	connection_send(connection, text, length);
	return 0;
}

/* ---------------------------------------------------------------- the server */

static int check_peer(int fd, int *ret_pid)
{
	static const char refusal[] =
		"{\"version\":1,\"ok\":false,\"error\":{\"code\":13,\"message\":"
		"\"only root may use this socket\",\"details\":\"\"}}\n";
	struct ucred peer;
	socklen_t length = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0) {
		int r = -errno;

		log_warning("control", "a connection is closed: whose it is cannot be asked: %s",
			    strerror(-r));
		return r;
	}
	*ret_pid = peer.pid;
	if (peer.uid == 0)
		return 0;
	log_warning("control", "process %d of user %u was refused: only root may use the socket",
		    peer.pid, peer.uid);
	if (send(fd, refusal, sizeof(refusal) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return -EACCES;
	return -EACCES;
}

/* Takes `fd`. */
static int add_connection(struct control_server *server, int fd, int pid)
{
	struct connection *connection = calloc(1, sizeof(*connection));
	int r;

	if (!connection) {
		close(fd);
		return -ENOMEM;
	}
	r = uv_poll_init(server->loop, &connection->poll, fd);
	if (r < 0) {
		free(connection);
		close(fd);
		return r;
	}
	connection->server = server;
	connection->fd = fd;
	connection->pid = pid;
	connection->passed_fd = -1;
	connection->progress = uv_now(server->loop);
	connection->poll.data = connection;
	DL_APPEND(server->connections, connection);
	server->stats.connections++;
	update_events(connection);
	return 0;
}

int control_connect(struct control_server *server, int *ret_fd)
{
	int ends[2], r;

	if (!control_make_room(server))
		return -EBUSY;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	r = add_connection(server, ends[0], getpid());
	if (r < 0) {
		close(ends[1]);
		return r;
	}
	*ret_fd = ends[1];
	return 0;
}

static void pause_accepting(struct control_server *server, int error)
{
	if (server->paused)
		return;
	if (error == EMFILE)
		log_error("control",
			  "no new connections are accepted at the moment: all descriptors that "
			  "polderd may have are open (LimitNOFILE in its unit)");
	else if (error == EBUSY)
		log_error("control",
			  "no new connections are accepted at the moment: %d are open, all in use",
			  CONNECTIONS_MAX);
	else
		log_error("control", "no new connections are accepted at the moment: %s",
			  strerror(error));
	server->paused = true;
	server->stats.paused++;
	uv_poll_stop(&server->poll);
}

static void on_connect(uv_poll_t *poll, int status, int events)
{
	struct control_server *server = poll->data;

	for (;;) {
		int fd, r, pid = 0;

		fd = accept4(server->socket.listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd < 0) {
			if (errno != EAGAIN)
				pause_accepting(server, errno);
			return;
		}
		if (check_peer(fd, &pid) < 0) {
			server->stats.not_root++;
			close(fd);
			continue;
		}
		r = add_connection(server, fd, pid);
		if (r < 0)
			log_error("control", "a connection of process %d was dropped: %s", pid,
				  strerror(-r));
		/* Room is made for the next one: it may be the plugin's. */
		if (!control_make_room(server)) {
			pause_accepting(server, EBUSY);
			return;
		}
	}
}

static void on_idle_timer(uv_timer_t *timer)
{
	struct control_server *server = timer->data;
	struct connection *connection, *next_connection;
	struct control_request *request, *next_request;
	const char *why = "";

	DL_FOREACH_SAFE(server->connections, connection, next_connection)
	{
		if (!connection_is_stalled(connection, &why))
			continue;
		log_info("control", "the connection of process %d is closed: %s", connection->pid,
			 why);
		server->stats.closed_idle++;
		connection_hang_up(connection);
	}
	DL_FOREACH_SAFE(server->requests, request, next_request)
	{
		if (request->stream && !request->connection)
			end_stream(request);
	}
	if (server->paused && control_make_room(server)) {
		server->paused = false;
		uv_poll_start(&server->poll, UV_READABLE, on_connect);
	}
}

static void on_server_closed(uv_handle_t *handle)
{
	struct control_server *server = handle->data;

	if (--server->handles == 0)
		free(server);
}

int control_server_new(uv_loop_t *loop, const char *path, struct control_server **ret)
{
	struct control_server *server = calloc(1, sizeof(*server));
	int r;

	if (!server)
		return -ENOMEM;
	server->loop = loop;
	r = control_socket_open(path, &server->socket);
	if (r < 0)
		goto free_server;
	r = uv_poll_init(loop, &server->poll, server->socket.listen_fd);
	if (r < 0)
		goto close_socket;
	uv_timer_init(loop, &server->idle_timer);
	uv_idle_init(loop, &server->fill);
	control_turns_init(server);
	server->handles = 4;
	server->poll.data = server->idle_timer.data = server->fill.data = server;
	uv_poll_start(&server->poll, UV_READABLE, on_connect);
	uv_timer_start(&server->idle_timer, on_idle_timer, IDLE_MS, IDLE_MS);
	uv_unref((uv_handle_t *)&server->idle_timer);
	*ret = server;
	return 0;

close_socket:
	control_socket_close(&server->socket);
free_server:
	free(server);
	return r;
}

int control_server_repair(struct control_server *server)
{
	struct control_socket *old = &server->socket, made;
	int r;

	if (control_socket_is_there(old))
		return 0;
	uv_poll_stop(&server->poll);
	/* The path has no lock any more, or one that would keep ourselves out. */
	close(TAKE_FD(old->lock_fd));
	r = control_socket_open(old->path, &made);
	/* Under the number that the loop knows. */
	if (r == 0 && dup3(made.listen_fd, old->listen_fd, O_CLOEXEC) < 0) {
		r = -errno;
		control_socket_close(&made);
	} else if (r == 0) {
		close(made.listen_fd);
		made.listen_fd = old->listen_fd;
		free(old->path);
		*old = made;
	}
	if (!server->paused)
		uv_poll_start(&server->poll, UV_READABLE, on_connect);
	return r < 0 ? r : 1;
}

void control_server_free(struct control_server *server)
{
	struct connection *connection, *next_connection;
	struct control_request *request, *next_request;
	struct operation *operation, *next_operation;

	if (!server)
		return;
	/* Answers that are ready get a last chance to leave. */
	DL_FOREACH_SAFE(server->connections, connection, next_connection)
	{
		flush(connection);
		connection_hang_up(connection);
	}
	DL_FOREACH_SAFE(server->requests, request, next_request)
	{
		if (request->stream) {
			end_stream(request);
			continue;
		}
		DL_DELETE(server->requests, request);
		request->server = NULL;
	}
	LL_FOREACH_SAFE(server->operations, operation, next_operation)
	{
		free(operation->name);
		free(operation);
	}
	uv_close((uv_handle_t *)&server->poll, on_server_closed);
	uv_close((uv_handle_t *)&server->idle_timer, on_server_closed);
	uv_close((uv_handle_t *)&server->fill, on_server_closed);
	uv_close((uv_handle_t *)&server->turns, on_server_closed);
	control_socket_close(&server->socket);
}

int control_register(struct control_server *server, const char *name, control_handler handler,
		     void *data)
{
	struct operation *operation;

	if (find_operation(server, name))
		return -EEXIST;
	operation = calloc(1, sizeof(*operation));
	if (!operation)
		return -ENOMEM;
	operation->name = strdup(name);
	if (!operation->name) {
		free(operation);
		return -ENOMEM;
	}
	operation->handler = handler;
	operation->data = data;
	operation->is_plugins = strncmp(name, "cni.", strlen("cni.")) == 0;
	LL_PREPEND(server->operations, operation);
	return 0;
}

void control_read_stats(const struct control_server *server, struct control_stats *ret)
{
	*ret = server->stats;
}
