/* SPDX-License-Identifier: Apache-2.0 */
/* A connection whose answer waits for more bytes of its descriptor is suspended: MHD would ask
 * again and again otherwise. */
#include "agent/observe/http_exchange.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "agent/common/cleanup.h"
#include "agent/observe/http_internal.h"

#define READ_BLOCK 16384u

struct http_exchange {
	struct http_server *server;
	struct MHD_Connection *connection;
	char *url, *method;
	char *body;
	size_t length, size;
	const char *header, *header_value; /* of the answer; NULL: none more */
	bool too_long, handled, answered, cancelled;

	/* The answer's lines; lines.fd -1: it has none. */
	struct http_lines lines;
	uv_poll_t poll;
	bool has_poll, suspended, begun, ended;
	char head[HTTP_LINE_HEAD]; /* of the line that is read */
	size_t head_length;
};

/* ---------------------------------------------------------------- life */

static struct http_exchange *exchange_new(struct http_server *server,
					  struct MHD_Connection *connection, const char *url,
					  const char *method)
{
	struct http_connection *held = http_connection_of(connection);
	struct http_exchange *exchange = calloc(1, sizeof(*exchange));

	if (!exchange)
		return NULL;
	exchange->server = server;
	exchange->connection = connection;
	exchange->lines.fd = -1;
	exchange->url = strdup(url);
	exchange->method = strdup(method);
	if (!exchange->url || !exchange->method) {
		free(exchange->url);
		free(exchange->method);
		free(exchange);
		return NULL;
	}
	if (held)
		held->exchange = exchange;
	return exchange;
}

static void exchange_free(struct http_exchange *exchange)
{
	free(exchange->url);
	free(exchange->method);
	free(exchange->body);
	free(exchange);
}

static void on_closed(uv_handle_t *handle)
{
	exchange_free(handle->data);
}

void http_exchange_on_completed(void *data, struct MHD_Connection *connection, void **context,
				enum MHD_RequestTerminationCode code)
{
	struct http_connection *held = http_connection_of(connection);
	const struct http_server *server = data;
	struct http_exchange *exchange = *context;

	(void)code;
	/* A server of routes keeps something else there. */
	if (!server->service || !exchange)
		return;
	*context = NULL;
	if (held)
		held->exchange = NULL;
	if (exchange->has_poll)
		uv_close((uv_handle_t *)&exchange->poll, on_closed);
	if (exchange->lines.fd >= 0)
		close(exchange->lines.fd);
	if (!exchange->has_poll)
		exchange_free(exchange);
}

bool http_exchange_waits(const struct http_exchange *exchange)
{
	return exchange && exchange->suspended;
}

static void resume(struct http_exchange *exchange)
{
	if (!exchange->suspended)
		return;
	exchange->suspended = false;
	uv_poll_stop(&exchange->poll);
	MHD_resume_connection(exchange->connection);
}

void http_exchange_cancel(struct http_exchange *exchange)
{
	if (!exchange)
		return;
	exchange->cancelled = true;
	resume(exchange);
}

/* ---------------------------------------------------------------- what is asked */

const char *http_exchange_method(const struct http_exchange *exchange)
{
	return exchange->method;
}

const char *http_exchange_path(const struct http_exchange *exchange)
{
	return exchange->url;
}

struct header_search {
	const char *name, *value;
};

static enum MHD_Result find_header(void *data, enum MHD_ValueKind kind, const char *key,
				   const char *value)
{
	struct header_search *search = data;

	(void)kind;
	if (strcasecmp(key, search->name) == 0)
		search->value = search->value || !value ? "" : value;
	return MHD_YES;
}

const char *http_exchange_header(const struct http_exchange *exchange, const char *name)
{
	struct header_search search = {.name = name};

	MHD_get_connection_values(exchange->connection, MHD_HEADER_KIND, find_header, &search);
	return search.value;
}

const char *http_exchange_body(const struct http_exchange *exchange, size_t *ret_length)
{
	*ret_length = exchange->length;
	return exchange->body ? exchange->body : "";
}

struct argument_visit {
	bool (*visit)(const char *key, const char *value, void *data);
	void *data;
	bool refused;
};

static enum MHD_Result visit_argument(void *data, enum MHD_ValueKind kind, const char *key,
				      size_t key_size, const char *value, size_t value_size)
{
	struct argument_visit *visit = data;

	(void)kind;
	if (!value)
		value = "";
	if (strlen(key) != key_size || strlen(value) != value_size ||
	    !visit->visit(key, value, visit->data))
		visit->refused = true;
	return visit->refused ? MHD_NO : MHD_YES;
}

bool http_exchange_each_argument(const struct http_exchange *exchange,
				 bool (*visit)(const char *key, const char *value, void *data),
				 void *data)
{
	struct argument_visit state = {visit, data, false};

	MHD_get_connection_values_n(exchange->connection, MHD_GET_ARGUMENT_KIND, visit_argument,
				    &state);
	return !state.refused;
}

/* ---------------------------------------------------------------- answers */

void http_answer_header(struct http_exchange *exchange, const char *name, const char *value)
{
	exchange->header = name;
	exchange->header_value = value;
}

/* Takes `response`, NULL too. */
static void queue(struct http_exchange *exchange, unsigned int status, const char *content_type,
		  struct MHD_Response *response)
{
	const char *const *header = exchange->server->service->headers;

	if (!response)
		return;
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
	if (exchange->header)
		MHD_add_response_header(response, exchange->header, exchange->header_value);
	for (; header && header[0]; header += 2)
		MHD_add_response_header(response, header[0], header[1]);
	exchange->answered = MHD_queue_response(exchange->connection, status, response) == MHD_YES;
	MHD_destroy_response(response);
}

void http_answer(struct http_exchange *exchange, unsigned int status, const char *content_type,
		 char *text, size_t length)
{
	struct MHD_Response *response =
		text ? MHD_create_response_from_buffer(length, text, MHD_RESPMEM_MUST_FREE) : NULL;

	if (!response)
		free(text);
	queue(exchange, status, content_type, response);
}

void http_answer_static(struct http_exchange *exchange, unsigned int status,
			const char *content_type, const char *text, size_t length)
{
	queue(exchange, status, content_type,
	      MHD_create_response_from_buffer(length, (void *)text, MHD_RESPMEM_PERSISTENT));
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct http_exchange *exchange = poll->data;

	(void)status;
	(void)events;
	resume(exchange);
	http_run(exchange->server);
}

static void suspend(struct http_exchange *exchange)
{
	exchange->suspended = true;
	MHD_suspend_connection(exchange->connection);
	uv_poll_start(&exchange->poll, UV_READABLE | UV_DISCONNECT, on_readable);
}

void http_answer_lines(struct http_exchange *exchange, const struct http_lines *lines)
{
	struct http_connection *held = http_connection_of(exchange->connection);

	exchange->lines = *lines;
	if (uv_poll_init(exchange->server->loop, &exchange->poll, lines->fd) < 0)
		return;
	exchange->has_poll = true;
	exchange->poll.data = exchange;
	if (held)
		held->answer_ms = lines->most_ms;
	suspend(exchange);
}

/* The end of the answer within `bytes`; 0: not yet. */
static size_t find_end(struct http_exchange *exchange, const char *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (bytes[i] != '\n') {
			if (exchange->head_length < sizeof(exchange->head))
				exchange->head[exchange->head_length++] = bytes[i];
			continue;
		}
		if (exchange->lines.is_last(exchange->head, exchange->head_length))
			return i + 1;
		exchange->head_length = 0;
	}
	return 0;
}

/* An answer that ends before its last line was cut off: the connection then ends without the mark
 * of the end, which no client takes for the whole. */
static ssize_t read_lines(void *data, uint64_t at, char *buffer, size_t size)
{
	struct http_exchange *exchange = data;
	size_t end;
	ssize_t got;

	(void)at;
	if (exchange->ended)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (exchange->cancelled)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	got = recv(exchange->lines.fd, buffer, size, MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
		suspend(exchange);
		return 0;
	}
	if (got <= 0)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	end = find_end(exchange, buffer, (size_t)got);
	exchange->ended = end > 0;
	return end ? (ssize_t)end : got;
}

/* The first bytes are there, or nothing will be. */
static void begin_lines(struct http_exchange *exchange)
{
	char head[HTTP_LINE_HEAD];
	ssize_t got = recv(exchange->lines.fd, head, sizeof(head), MSG_PEEK | MSG_DONTWAIT);

	if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
		suspend(exchange);
		return;
	}
	/* Else the connection is closed. */
	if (got <= 0)
		return;
	exchange->begun = true;
	queue(exchange, exchange->lines.status(head, (size_t)got), exchange->lines.content_type,
	      MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, READ_BLOCK, read_lines, exchange,
						NULL));
}

/* ---------------------------------------------------------------- what MHD tells */

static int take_body(struct http_exchange *exchange, const char *bytes, size_t count)
{
	size_t wanted = exchange->length + count + 1, size = exchange->size ? exchange->size : 4096;
	char *larger;

	if (exchange->too_long || exchange->length + count > exchange->server->service->body_max) {
		exchange->too_long = true;
		return 0;
	}
	while (size < wanted)
		size *= 2;
	if (size != exchange->size) {
		larger = realloc(exchange->body, size);
		if (!larger)
			return -ENOMEM;
		exchange->body = larger;
		exchange->size = size;
	}
	memcpy(exchange->body + exchange->length, bytes, count);
	exchange->length += count;
	exchange->body[exchange->length] = '\0';
	return 0;
}

static void handle(struct http_exchange *exchange)
{
	static const char too_long[] = "the body is too long\n";
	const struct http_service *service = exchange->server->service;

	exchange->handled = true;
	http_connection_answered(exchange->server, exchange->connection);
	if (exchange->too_long)
		http_answer_static(exchange, MHD_HTTP_CONTENT_TOO_LARGE, HTTP_TYPE_TEXT, too_long,
				   sizeof(too_long) - 1);
	else
		service->handler(exchange, service->data);
}

enum MHD_Result http_exchange_on_data(struct http_server *server, struct MHD_Connection *connection,
				      const char *url, const char *method, const char *upload,
				      size_t *upload_size, void **context)
{
	struct http_exchange *exchange = *context;
	size_t count = *upload_size;

	/* The first call comes with the headers only. */
	if (!exchange) {
		*context = exchange_new(server, connection, url, method);
		return *context ? MHD_YES : MHD_NO;
	}
	if (count > 0) {
		*upload_size = 0;
		return take_body(exchange, upload, count) < 0 ? MHD_NO : MHD_YES;
	}
	if (!exchange->handled)
		handle(exchange);
	else if (exchange->has_poll && !exchange->begun && !exchange->cancelled)
		begin_lines(exchange);
	return exchange->answered || exchange->suspended ? MHD_YES : MHD_NO;
}
