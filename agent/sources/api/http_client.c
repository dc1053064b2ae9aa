/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/sources/api/http_client.h"

#include <curl/curl.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "agent/common/cleanup.h"

/* A certificate or key that was replaced counts for new connections. */
#define CONNECTION_SECONDS 900
#define KEEPALIVE_PROBES   3
/* More than there are connections to an API server. */
#define SOCKETS_AT_ONCE 64

struct http_request {
	struct http_client *client;
	CURL *easy;
	struct curl_slist *headers, *connect_to;
	struct http_handlers handlers;
	void *data;
	char error[CURL_ERROR_SIZE];
	bool headed;
	uint64_t due_ms; /* 0: it may last */
	struct http_request *prev, *next;
};

/* A socket of curl's that is waited for. */
struct waiter {
	struct http_client *client;
	uv_poll_t poll;
	curl_socket_t socket;
	short wanted; /* POLLIN, POLLOUT */
	struct waiter *prev, *next;
};

struct http_client {
	uv_loop_t *loop;
	uint64_t silence_ms;
	CURLM *multi;
	uv_timer_t timer, deadline; /* curl's; the first request's */
	int handles;		    /* that are not closed yet */
	struct http_request *requests;
	struct waiter *waiters;
	bool closing; /* connections: sockets are given up */
	uint64_t received;
};

/* ---------------------------------------------------------------- requests */

/* Not the loop's time, which stands still while it is held up. */
static uint64_t now_ms(void)
{
	return uv_hrtime() / 1000000;
}

static void request_free(struct http_request *request)
{
	if (request->easy)
		curl_easy_cleanup(request->easy);
	curl_slist_free_all(request->headers);
	curl_slist_free_all(request->connect_to);
	free(request);
}

/* Out of curl's hands and the client's list. */
static void request_take_out(struct http_request *request)
{
	curl_multi_remove_handle(request->client->multi, request->easy);
	DL_DELETE(request->client->requests, request);
}

void http_request_cancel(struct http_request *request)
{
	if (!request)
		return;
	request_take_out(request);
	request_free(request);
}

static void tell_head(struct http_request *request)
{
	curl_off_t retry_after = 0;
	const char *type = NULL;
	long status = 0;

	curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
	if (request->headed || status < 200)
		return;
	request->headed = true;
	curl_easy_getinfo(request->easy, CURLINFO_CONTENT_TYPE, &type);
	curl_easy_getinfo(request->easy, CURLINFO_RETRY_AFTER, &retry_after);
	request->handlers.head((int)status, type,
			       retry_after < 0		  ? 0
			       : retry_after > UINT16_MAX ? UINT16_MAX
							  : (unsigned int)retry_after,
			       request->data);
}

/* An empty line ends the head, that of 100 Continue as well. */
static size_t on_header(char *text, size_t size, size_t count, void *data)
{
	size_t length = size * count;

	if (length <= 2 && (text[0] == '\r' || text[0] == '\n'))
		tell_head(data);
	return length;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *data)
{
	struct http_request *request = data;
	size_t length = size * count;

	tell_head(request);
	if (length == 0)
		return 0;
	request->client->received += length;
	return request->handlers.body(bytes, length, request->data) < 0 ? 0 : length;
}

/* A path that goes dead without a word: probes find it when nothing is sent, the time-out of what
 * is not acknowledged when something is. */
static int on_socket_made(void *data, curl_socket_t fd, curlsocktype purpose)
{
	const struct http_client *client = data;
	int seconds = (int)(client->silence_ms / 1000 / (KEEPALIVE_PROBES + 1)), one = 1;
	unsigned int limit = (unsigned int)client->silence_ms;
	int probes = KEEPALIVE_PROBES;

	(void)purpose;
	if (seconds < 1)
		seconds = 1;
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof(seconds));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &seconds, sizeof(seconds));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit, sizeof(limit));
	return CURL_SOCKOPT_OK;
}

static bool add_header(struct http_request *request, const char *name, const char *value)
{
	CLEANUP(cleanup_free) char *line = NULL;
	struct curl_slist *longer;

	if (asprintf(&line, "%s: %s", name, value) < 0) {
		line = NULL;
		return false;
	}
	longer = curl_slist_append(request->headers, line);
	if (longer)
		request->headers = longer;
	return longer;
}

static bool add_headers(struct http_request *request, const struct http_query *query)
{
	CLEANUP(cleanup_free) char *bearer = NULL;

	if (!add_header(request, "Accept", "application/json"))
		return false;
	if (query->host && !add_header(request, "Host", query->host))
		return false;
	/* Without the second one curl asks first whether it may send the body. */
	if (query->body && (!add_header(request, "Content-Type", query->type) ||
			    !add_header(request, "Expect", "")))
		return false;
	if (!query->identity->token)
		return true;
	if (asprintf(&bearer, "Bearer %s", query->identity->token) < 0) {
		bearer = NULL;
		return false;
	}
	return add_header(request, "Authorization", bearer);
}

static void set_blob(CURL *easy, CURLoption option, const char *text)
{
	struct curl_blob blob = {.data = (void *)text, .flags = CURL_BLOB_COPY};

	if (!text)
		return;
	blob.len = strlen(text);
	curl_easy_setopt(easy, option, &blob);
}

static void set_identity(CURL *easy, const struct identity *identity)
{
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, identity->insecure ? 0L : 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, identity->insecure ? 0L : 2L);
	if (identity->authority) {
		set_blob(easy, CURLOPT_CAINFO_BLOB, identity->authority);
		/* Or the system's authorities were trusted, too. */
		curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	}
	set_blob(easy, CURLOPT_SSLCERT_BLOB, identity->certificate);
	set_blob(easy, CURLOPT_SSLKEY_BLOB, identity->key);
	if (identity->proxy_url)
		curl_easy_setopt(easy, CURLOPT_PROXY, identity->proxy_url);
	if (identity->username && !identity->token) {
		curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
		curl_easy_setopt(easy, CURLOPT_USERNAME, identity->username);
		curl_easy_setopt(easy, CURLOPT_PASSWORD,
				 identity->password ? identity->password : "");
	}
}

static void set_method(CURL *easy, const struct http_query *query)
{
	if (query->body) {
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)strlen(query->body));
		curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, query->body);
	}
	if (query->method)
		curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, query->method);
}

static void set_transfer(struct http_request *request, const struct http_query *query)
{
	struct http_client *client = request->client;
	CURL *easy = request->easy;

	curl_easy_setopt(easy, CURLOPT_URL, query->url);
	curl_easy_setopt(easy, CURLOPT_CONNECT_TO, request->connect_to);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, request->headers);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "polderd/" POLDER_VERSION);
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);
	curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "gzip");
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)client->silence_ms);
	curl_easy_setopt(easy, CURLOPT_MAXLIFETIME_CONN, (long)CONNECTION_SECONDS);
	curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, on_socket_made);
	curl_easy_setopt(easy, CURLOPT_SOCKOPTDATA, client);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, request);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, request);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, request->error);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, request);
	set_method(easy, query);
	set_identity(easy, query->identity);
}

static void set_deadline(struct http_client *client);

int http_client_ask(struct http_client *client, const struct http_query *query,
		    const struct http_handlers *handlers, void *data, struct http_request **ret)
{
	struct http_request *request = calloc(1, sizeof(*request));

	if (!request)
		return -ENOMEM;
	request->client = client;
	request->handlers = *handlers;
	request->data = data;
	request->easy = curl_easy_init();
	if (query->connect_to)
		request->connect_to = curl_slist_append(NULL, query->connect_to);
	if (!request->easy || !add_headers(request, query) ||
	    (query->connect_to && !request->connect_to)) {
		request_free(request);
		return -ENOMEM;
	}
	set_transfer(request, query);
	if (curl_multi_add_handle(client->multi, request->easy) != CURLM_OK) {
		request_free(request);
		return -ENOMEM;
	}
	request->due_ms = query->timeout_ms ? now_ms() + query->timeout_ms : 0;
	DL_APPEND(client->requests, request);
	set_deadline(client);
	*ret = request;
	return 0;
}

/* curl's words, the special ones before the general ones. */
static const char *failure_of(const struct http_request *request, CURLcode code)
{
	return code == CURLE_OK	   ? NULL
	       : request->error[0] ? request->error
				   : curl_easy_strerror(code);
}

static void check_ends(struct http_client *client)
{
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(client->multi, &left))) {
		CURLcode code = message->data.result;
		struct http_request *request = NULL;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &request);
		tell_head(request);
		request_take_out(request);
		request->handlers.end(failure_of(request, code), request->data);
		request_free(request);
	}
}

/* ---------------------------------------------------------------- the loop */

static void on_waiter_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void waiter_drop(struct waiter *waiter)
{
	DL_DELETE(waiter->client->waiters, waiter);
	uv_poll_stop(&waiter->poll);
	uv_close((uv_handle_t *)&waiter->poll, on_waiter_closed);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
	struct waiter *waiter = poll->data;
	struct http_client *client = waiter->client;
	int flags = 0, running;

	if (status < 0)
		flags = CURL_CSELECT_ERR;
	if (events & UV_READABLE)
		flags |= CURL_CSELECT_IN;
	if (events & UV_WRITABLE)
		flags |= CURL_CSELECT_OUT;
	curl_multi_socket_action(client->multi, waiter->socket, flags, &running);
	check_ends(client);
}

static struct waiter *waiter_new(struct http_client *client, curl_socket_t fd)
{
	struct waiter *waiter = calloc(1, sizeof(*waiter));

	if (!waiter)
		return NULL;
	waiter->client = client;
	waiter->socket = fd;
	if (uv_poll_init_socket(client->loop, &waiter->poll, fd) < 0) {
		free(waiter);
		return NULL;
	}
	waiter->poll.data = waiter;
	DL_APPEND(client->waiters, waiter);
	return waiter;
}

/* Where there is no memory, curl's timer looks at the socket. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *data, void *socket_data)
{
	struct http_client *client = data;
	struct waiter *waiter = socket_data;
	int events = 0;

	(void)easy;
	if (client->closing)
		return 0;
	if (what == CURL_POLL_REMOVE) {
		if (waiter) {
			curl_multi_assign(client->multi, fd, NULL);
			waiter_drop(waiter);
		}
		return 0;
	}
	if (!waiter) {
		waiter = waiter_new(client, fd);
		if (!waiter)
			return -1;
		curl_multi_assign(client->multi, fd, waiter);
	}
	if (what != CURL_POLL_IN)
		events |= UV_WRITABLE;
	if (what != CURL_POLL_OUT)
		events |= UV_READABLE;
	waiter->wanted =
		(short)((events & UV_READABLE ? POLLIN : 0) | (events & UV_WRITABLE ? POLLOUT : 0));
	uv_poll_start(&waiter->poll, events, on_ready);
	return 0;
}

static int flags_of(short events)
{
	int flags = events & (POLLERR | POLLNVAL) ? CURL_CSELECT_ERR : 0;

	if (events & (POLLIN | POLLHUP))
		flags |= CURL_CSELECT_IN;
	if (events & POLLOUT)
		flags |= CURL_CSELECT_OUT;
	return flags;
}

static void read_what_has_come(struct http_client *client)
{
	struct pollfd sockets[SOCKETS_AT_ONCE];
	struct waiter *waiter;
	nfds_t count = 0;
	int running;

	DL_FOREACH(client->waiters, waiter)
	{
		if (count < SOCKETS_AT_ONCE)
			sockets[count++] =
				(struct pollfd){.fd = waiter->socket, .events = waiter->wanted};
	}
	if (poll(sockets, count, 0) <= 0)
		return;
	/* Of one that is closed meanwhile curl knows nothing any more. */
	for (nfds_t i = 0; i < count; i++)
		if (sockets[i].revents)
			curl_multi_socket_action(client->multi, sockets[i].fd,
						 flags_of(sockets[i].revents), &running);
}

static struct http_request *find_overdue(const struct http_client *client)
{
	struct http_request *request;
	uint64_t now = now_ms();

	DL_FOREACH(client->requests, request)
	{
		if (request->due_ms && request->due_ms <= now)
			return request;
	}
	return NULL;
}

/*
 * The loop looks at its timers before it looks at sockets, and so does curl. Where the loop was
 * held up, or had no CPU, answers may have come that a time-out of curl's would take for none:
 * they are read first here.
 */
static void on_deadline(uv_timer_t *timer)
{
	struct http_client *client = timer->data;
	struct http_request *request;

	read_what_has_come(client);
	check_ends(client);
	while ((request = find_overdue(client))) {
		request_take_out(request);
		request->handlers.end("the answer did not come in time", request->data);
		request_free(request);
	}
	set_deadline(client);
}

static void set_deadline(struct http_client *client)
{
	const struct http_request *request;
	uint64_t now = now_ms(), due = UINT64_MAX;

	DL_FOREACH(client->requests, request)
	{
		if (request->due_ms && request->due_ms < due)
			due = request->due_ms;
	}
	uv_timer_stop(&client->deadline);
	if (due != UINT64_MAX)
		uv_timer_start(&client->deadline, on_deadline, due > now ? due - now : 1, 0);
}

static void on_timer(uv_timer_t *timer)
{
	struct http_client *client = timer->data;
	int running;

	curl_multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	check_ends(client);
}

static int on_curl_timer(CURLM *multi, long ms, void *data)
{
	struct http_client *client = data;

	(void)multi;
	if (client->closing)
		return 0;
	if (ms < 0)
		uv_timer_stop(&client->timer);
	else
		uv_timer_start(&client->timer, on_timer, (uint64_t)ms, 0);
	return 0;
}

/* ---------------------------------------------------------------- life */

static int open_multi(struct http_client *client, CURLM **ret)
{
	CURLM *multi = curl_multi_init();

	if (!multi)
		return -ENOMEM;
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, client);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
	curl_multi_setopt(multi, CURLMOPT_TIMERDATA, client);
	*ret = multi;
	return 0;
}

int http_client_new(uv_loop_t *loop, uint64_t silence_ms, struct http_client **ret)
{
	struct http_client *client;

	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return -ENOMEM;
	client = calloc(1, sizeof(*client));
	if (!client)
		return -ENOMEM;
	client->loop = loop;
	client->silence_ms = silence_ms;
	if (open_multi(client, &client->multi) < 0) {
		free(client);
		return -ENOMEM;
	}
	uv_timer_init(loop, &client->timer);
	uv_timer_init(loop, &client->deadline);
	client->timer.data = client->deadline.data = client;
	client->handles = 2;
	*ret = client;
	return 0;
}

static void close_multi(struct http_client *client)
{
	struct http_request *request, *next_request;
	struct waiter *waiter, *next;

	for (request = client->requests; request; request = next_request) {
		next_request = request->next;
		http_request_cancel(request);
	}
	/* Before their descriptors are closed. */
	for (waiter = client->waiters; waiter; waiter = next) {
		next = waiter->next;
		waiter_drop(waiter);
	}
	client->closing = true;
	curl_multi_cleanup(client->multi);
	client->closing = false;
	client->multi = NULL;
	uv_timer_stop(&client->timer);
}

/* Without memory for another one the old connections stay. */
void http_client_reset(struct http_client *client)
{
	CURLM *multi = NULL;

	if (open_multi(client, &multi) < 0)
		return;
	close_multi(client);
	client->multi = multi;
}

static void on_client_closed(uv_handle_t *handle)
{
	struct http_client *client = handle->data;

	if (--client->handles == 0)
		free(client);
}

void http_client_free(struct http_client *client)
{
	if (!client)
		return;
	close_multi(client);
	uv_close((uv_handle_t *)&client->timer, on_client_closed);
	uv_close((uv_handle_t *)&client->deadline, on_client_closed);
}

uint64_t http_client_received(const struct http_client *client)
{
	return client->received;
}
