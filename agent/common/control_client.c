/* SPDX-License-Identifier: Apache-2.0 */
/* The asking end of the control socket: one line of JSON out, lines of JSON in, each with a
 * deadline. */
#include "agent/common/control_client.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "agent/common/clock.h"

#define PROTOCOL_VERSION 1
#define BUFFER_FIRST	 4096
#define RETRY_MS	 20

struct control_client {
	int fd;
	char *buffer;
	size_t used, room;
	size_t scanned;	 /* so many bytes hold no newline */
	size_t consumed; /* the last line, still in front of the buffer */
	size_t answer_max;
};

static int64_t deadline_of(int timeout_ms)
{
	return timeout_ms < 0 ? -1 : clock_monotonic_ms() + timeout_ms;
}

/* Milliseconds for poll(): -1 for ever, 0 when the deadline has passed. */
static int time_left(int64_t deadline)
{
	int64_t left;

	if (deadline < 0)
		return -1;
	left = deadline - clock_monotonic_ms();
	return left < 0 ? 0 : (int)left;
}

static int wait_for(int fd, short events, int64_t deadline)
{
	struct pollfd entry = {.fd = fd, .events = events};
	int n;

	do {
		n = poll(&entry, 1, time_left(deadline));
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n ? 0 : -ETIMEDOUT;
}

/* A Unix socket whose backlog is full says EAGAIN and cannot be polled for. */
static int connect_until(int fd, const struct sockaddr_un *address, int64_t deadline)
{
	while (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0) {
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		if (!time_left(deadline))
			return -ETIMEDOUT;
		poll(NULL, 0, RETRY_MS);
	}
	return 0;
}

int control_client_connect(const char *path, size_t answer_max, int timeout_ms,
			   struct control_client **ret)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct control_client *client;
	int r;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	client = calloc(1, sizeof(*client));
	if (!client)
		return -ENOMEM;
	client->answer_max = answer_max;
	client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	r = client->fd < 0 ? -errno : connect_until(client->fd, &address, deadline_of(timeout_ms));
	if (r < 0) {
		control_client_free(client);
		return r;
	}
	*ret = client;
	return 0;
}

void control_client_free(struct control_client *client)
{
	if (!client)
		return;
	if (client->fd >= 0)
		close(client->fd);
	free(client->buffer);
	free(client);
}

/* The descriptor rides on the first byte. */
static ssize_t send_some(int socket_fd, const char *data, size_t length, int fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec part = {.iov_base = (char *)data, .iov_len = length};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

	if (fd >= 0) {
		message.msg_control = control.space;
		message.msg_controllen = sizeof(control.space);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(int));
	}
	return sendmsg(socket_fd, &message, MSG_NOSIGNAL);
}

static int send_all(int socket_fd, const char *data, size_t length, int fd, int64_t deadline)
{
	size_t sent = 0;
	ssize_t n;
	int r;

	while (sent < length) {
		n = send_some(socket_fd, data + sent, length - sent, sent ? -1 : fd);
		if (n >= 0) {
			sent += (size_t)n;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno == EPIPE)
			return -ECONNRESET;
		if (errno != EAGAIN)
			return -errno;
		r = wait_for(socket_fd, POLLOUT, deadline);
		if (r < 0)
			return r;
	}
	return 0;
}

int control_client_send(struct control_client *client, const char *operation, const json_t *args,
			int fd, int timeout_ms)
{
	json_t *request = json_pack("{s:i, s:s}", "version", PROTOCOL_VERSION, "op", operation);
	char *text = NULL;
	size_t length;
	int r = -ENOMEM;

	if (!request)
		return -ENOMEM;
	/* The cast is for the reference count only. */
	if (args ? json_object_set(request, "args", (json_t *)args)
		 : json_object_set_new(request, "args", json_object()))
		goto out;
	text = json_dumps(request, JSON_COMPACT);
	if (!text)
		goto out;
	length = strlen(text);
	text[length] = '\n'; /* in place of the NUL */
	r = send_all(client->fd, text, length + 1, fd, deadline_of(timeout_ms));
out:
	free(text);
	json_decref(request);
	return r;
}

static int make_room(struct control_client *client)
{
	size_t room = client->room ? client->room * 2 : BUFFER_FIRST;
	char *buffer;

	if (client->used < client->room)
		return 0;
	if (client->used >= client->answer_max)
		return -EMSGSIZE;
	buffer = realloc(client->buffer, room);
	if (!buffer)
		return -ENOMEM;
	client->buffer = buffer;
	client->room = room;
	return 0;
}

static int read_some(struct control_client *client, int64_t deadline)
{
	ssize_t n;
	int r = make_room(client);

	while (!r) {
		n = recv(client->fd, client->buffer + client->used, client->room - client->used, 0);
		if (n > 0) {
			client->used += (size_t)n;
			return 0;
		}
		if (n == 0)
			return -ECONNRESET;
		if (errno == EAGAIN)
			r = wait_for(client->fd, POLLIN, deadline);
		else if (errno != EINTR)
			r = -errno;
	}
	return r;
}

/* The line lies in the client's buffer until the next call. */
static int read_line(struct control_client *client, int64_t deadline, const char **ret_line,
		     size_t *ret_length)
{
	char *end;
	int r;

	if (client->consumed) {
		client->used -= client->consumed;
		memmove(client->buffer, client->buffer + client->consumed, client->used);
		client->consumed = client->scanned = 0;
	}
	for (;;) {
		end = client->used > client->scanned ? memchr(client->buffer + client->scanned,
							      '\n', client->used - client->scanned)
						     : NULL;
		if (end)
			break;
		client->scanned = client->used;
		r = read_some(client, deadline);
		if (r < 0)
			return r;
	}
	*ret_length = (size_t)(end - client->buffer);
	*ret_line = client->buffer;
	client->consumed = *ret_length + 1;
	return 0;
}

static void copy_text(const json_t *error, const char *key, char *ret, size_t size)
{
	const char *text = json_string_value(json_object_get(error, key));
	size_t length = text ? strlen(text) : 0;

	if (length >= size) {
		length = size - 1;
		while (length && ((unsigned char)text[length] & 0xc0) == 0x80)
			length--; /* not in the middle of a character */
	}
	memcpy(ret, text ? text : "", length);
	ret[length] = '\0';
}

static int check_answer(const json_t *answer, json_t **ret_result, struct error *ret_failure)
{
	const json_t *version = json_object_get(answer, "version");
	const json_t *ok = json_object_get(answer, "ok");
	json_t *result = json_object_get(answer, "result");
	const json_t *error = json_object_get(answer, "error");

	if (json_integer_value(version) != PROTOCOL_VERSION)
		return -EPROTO;
	if (json_is_true(ok) && result) {
		*ret_result = json_incref(result);
		return 0;
	}
	if (!json_is_false(ok) || !json_is_object(error))
		return -EPROTO;
	ret_failure->code = (int)json_integer_value(json_object_get(error, "code"));
	copy_text(error, "message", ret_failure->text, sizeof(ret_failure->text));
	copy_text(error, "details", ret_failure->details, sizeof(ret_failure->details));
	return -EREMOTEIO;
}

int control_client_receive(struct control_client *client, int timeout_ms, json_t **ret_result,
			   struct error *ret_failure)
{
	const char *line;
	size_t length;
	json_t *answer;
	int r = read_line(client, deadline_of(timeout_ms), &line, &length);

	if (r < 0)
		return r;
	answer = json_loadb(line, length, JSON_REJECT_DUPLICATES, NULL);
	if (!answer)
		return -EPROTO;
	r = check_answer(answer, ret_result, ret_failure);
	json_decref(answer);
	return r;
}
