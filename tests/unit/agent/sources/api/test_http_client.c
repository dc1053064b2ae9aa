/* SPDX-License-Identifier: Apache-2.0 */
/* Requests on a loop, against a server on the same one. */
#include "agent/sources/api/http_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>

#include "tests/unit/unit.h"

#define HEAD(status, more) "HTTP/1.1 " status "\r\nContent-Type: application/json\r\n" more "\r\n"

struct world {
	uv_loop_t loop;
	struct http_client *client;
	uv_tcp_t listener;
	uv_tcp_t peers[16];
	size_t peer_count;
	uint16_t port;
	const char *answer; /* to each request; NULL: none */
	bool hang_up;	    /* behind it */
	unsigned int held;  /* behind it the loop does nothing else for so many ms */
	char asked[4096];
};

/* What became of a request. */
struct outcome {
	int status;
	char type[64];
	unsigned int retry_after;
	char body[256];
	bool ended;
	char failure[256];
	int answer; /* of the body's handler */
	size_t heads, ends;
};

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buffer)
{
	static char bytes[4096];

	*buffer = uv_buf_init(bytes, sizeof(bytes));
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buffer)
{
	struct world *world = stream->data;
	uv_buf_t answer;

	if (got < 0) {
		uv_read_stop(stream);
		return;
	}
	snprintf(world->asked, sizeof(world->asked), "%.*s", (int)got, buffer->base);
	if (!world->answer)
		return;
	answer = uv_buf_init((char *)world->answer, (unsigned int)strlen(world->answer));
	uv_try_write(stream, &answer, 1);
	uv_sleep(world->held);
	if (world->hang_up && !uv_is_closing((uv_handle_t *)stream))
		uv_close((uv_handle_t *)stream, NULL);
}

static void on_connection(uv_stream_t *listener, int status)
{
	struct world *world = listener->data;
	uv_tcp_t *peer = &world->peers[world->peer_count++];

	uv_tcp_init(&world->loop, peer);
	peer->data = world;
	CU_ASSERT_FATAL(uv_accept(listener, (uv_stream_t *)peer) == 0);
	uv_read_start((uv_stream_t *)peer, on_alloc, on_read);
}

static void begin(struct world *world, const char *answer)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int length = sizeof(address);

	*world = (struct world){.answer = answer};
	uv_loop_init(&world->loop);
	uv_tcp_init(&world->loop, &world->listener);
	world->listener.data = world;
	uv_tcp_bind(&world->listener, (struct sockaddr *)&address, 0);
	CU_ASSERT_FATAL(uv_listen((uv_stream_t *)&world->listener, 8, on_connection) == 0);
	uv_tcp_getsockname(&world->listener, (struct sockaddr *)&address, &length);
	world->port = ntohs(address.sin_port);
	CU_ASSERT_FATAL(http_client_new(&world->loop, 2000, &world->client) == 0);
}

static void end(struct world *world)
{
	http_client_free(world->client);
	if (!uv_is_closing((uv_handle_t *)&world->listener))
		uv_close((uv_handle_t *)&world->listener, NULL);
	for (size_t i = 0; i < world->peer_count; i++)
		if (!uv_is_closing((uv_handle_t *)&world->peers[i]))
			uv_close((uv_handle_t *)&world->peers[i], NULL);
	unit_end_loop(&world->loop);
}

static void on_head(int status, const char *type, unsigned int retry_after, void *data)
{
	struct outcome *outcome = data;

	outcome->heads++;
	outcome->status = status;
	outcome->retry_after = retry_after;
	snprintf(outcome->type, sizeof(outcome->type), "%s", type ? type : "");
}

static int on_body(const char *bytes, size_t length, void *data)
{
	struct outcome *outcome = data;
	size_t used = strlen(outcome->body);

	CU_ASSERT(outcome->heads == 1);
	snprintf(outcome->body + used, sizeof(outcome->body) - used, "%.*s", (int)length, bytes);
	return outcome->answer;
}

static void on_end(const char *failure, void *data)
{
	struct outcome *outcome = data;

	outcome->ended = true;
	outcome->ends++;
	snprintf(outcome->failure, sizeof(outcome->failure), "%s", failure ? failure : "");
}

static const struct http_handlers handlers = {on_head, on_body, on_end};
static const struct identity nobody, bearer = {.token = (char *)"secret"};

static struct http_request *get(struct world *world, const struct identity *identity,
				struct outcome *outcome)
{
	struct http_request *request = NULL;
	char url[64];
	struct http_query query = {.url = url,
				   .identity = identity,
				   .timeout_ms = world->held ? world->held / 2 : 3000};

	snprintf(url, sizeof(url), "http://127.0.0.1:%u/path?a=b", world->port);
	CU_ASSERT_FATAL(http_client_ask(world->client, &query, &handlers, outcome, &request) == 0);
	return request;
}

static bool is_ended(void *data)
{
	return ((struct outcome *)data)->ended;
}

static bool has_body(void *data)
{
	return ((struct outcome *)data)->body[0];
}

static void answer_comes_with_head_body_and_end(void)
{
	struct outcome outcome = {};
	struct world world;

	begin(&world, HEAD("200 OK", "Transfer-Encoding: chunked\r\n") "3\r\n{\"a\r\n4\r\n\":1}\r\n"
								       "0\r\n\r\n");
	get(&world, &bearer, &outcome);
	CU_ASSERT(unit_wait(&world.loop, is_ended, &outcome, 5000));
	CU_ASSERT(outcome.status == 200 && outcome.heads == 1 && outcome.ends == 1);
	CU_ASSERT_STRING_EQUAL(outcome.type, "application/json");
	CU_ASSERT_STRING_EQUAL(outcome.body, "{\"a\":1}");
	CU_ASSERT_STRING_EQUAL(outcome.failure, "");
	CU_ASSERT(strstr(world.asked, "GET /path?a=b HTTP/1.1\r\n") != NULL);
	CU_ASSERT(strstr(world.asked, "Authorization: Bearer secret\r\n") != NULL);
	CU_ASSERT(strstr(world.asked, "Accept-Encoding: gzip\r\n") != NULL);
	CU_ASSERT(http_client_received(world.client) == 7);
	end(&world);
}

/* At once: a server that has to be asked first whether it takes it would cost a turn. */
static void body_is_sent_with_its_method_and_type(void)
{
	struct outcome outcome = {};
	struct http_request *request;
	struct http_query query = {.method = "PATCH",
				   .identity = &nobody,
				   .timeout_ms = 3000,
				   .body = "[{\"op\":\"test\"}]",
				   .type = "application/json-patch+json"};
	struct world world;
	char url[64];

	begin(&world, HEAD("409 Conflict", "Content-Length: 2\r\n") "{}");
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/path", world.port);
	query.url = url;
	CU_ASSERT_FATAL(http_client_ask(world.client, &query, &handlers, &outcome, &request) == 0);
	CU_ASSERT(unit_wait(&world.loop, is_ended, &outcome, 5000));
	CU_ASSERT(outcome.status == 409 && !outcome.failure[0]);
	CU_ASSERT(strstr(world.asked, "PATCH /path HTTP/1.1\r\n") != NULL);
	CU_ASSERT(strstr(world.asked, "Content-Type: application/json-patch+json\r\n") != NULL);
	CU_ASSERT(strstr(world.asked, "Content-Length: 15\r\n") != NULL);
	CU_ASSERT(strstr(world.asked, "\r\n\r\n[{\"op\":\"test\"}]") != NULL);
	CU_ASSERT(!strstr(world.asked, "Expect"));
	end(&world);
}

static void head_is_told_before_there_is_a_body(void)
{
	struct outcome outcome = {};
	struct world world;

	begin(&world, HEAD("429 Too Many", "Retry-After: 7\r\nContent-Length: 5\r\n"));
	get(&world, &nobody, &outcome);
	CU_ASSERT(!unit_wait(&world.loop, is_ended, &outcome, 200));
	CU_ASSERT(outcome.status == 429 && outcome.retry_after == 7 && !outcome.body[0]);
	CU_ASSERT(!strstr(world.asked, "Authorization"));
	end(&world);
}

static void answer_that_is_cut_off_fails(void)
{
	struct outcome outcome = {};
	struct world world;

	begin(&world, HEAD("200 OK", "Transfer-Encoding: chunked\r\n") "3\r\nabc\r\n");
	world.hang_up = true;
	get(&world, &nobody, &outcome);
	CU_ASSERT(unit_wait(&world.loop, is_ended, &outcome, 5000));
	CU_ASSERT(outcome.status == 200 && outcome.failure[0]);
	CU_ASSERT_STRING_EQUAL(outcome.body, "abc");
	end(&world);
}

static void handler_of_the_body_ends_it(void)
{
	struct outcome outcome = {.answer = -ECANCELED};
	struct world world;

	begin(&world, HEAD("200 OK", "Content-Length: 5\r\n") "ab");
	get(&world, &nobody, &outcome);
	CU_ASSERT(unit_wait(&world.loop, is_ended, &outcome, 5000));
	CU_ASSERT(outcome.ends == 1 && outcome.failure[0]);
	end(&world);
}

static void refused_connection_fails_in_words(void)
{
	struct outcome outcome = {};
	struct world world;

	begin(&world, NULL);
	uv_close((uv_handle_t *)&world.listener, NULL);
	uv_run(&world.loop, UV_RUN_NOWAIT);
	get(&world, &nobody, &outcome);
	CU_ASSERT(unit_wait(&world.loop, is_ended, &outcome, 5000));
	CU_ASSERT(outcome.heads == 0 && strstr(outcome.failure, "127.0.0.1") != NULL);
	end(&world);
}

static void redirections_are_not_followed(void)
{
	struct outcome outcome = {};
	struct world world;

	begin(&world, HEAD("302 Found", "Location: http://192.0.2.1/\r\nContent-Length: 0\r\n"));
	get(&world, &bearer, &outcome);
	CU_ASSERT(unit_wait(&world.loop, is_ended, &outcome, 5000));
	CU_ASSERT(outcome.status == 302 && !outcome.failure[0]);
	end(&world);
}

/* At any time; nobody hears of them again. */
/* Timers come first in a turn of the loop. */
static void answer_that_came_while_the_loop_was_held_up_counts(void)
{
	struct outcome outcome = {};
	struct world world;

	begin(&world, HEAD("200 OK", "Content-Length: 2\r\n") "{}");
	world.held = 2000;
	get(&world, &nobody, &outcome);
	CU_ASSERT(unit_wait(&world.loop, is_ended, &outcome, 5000));
	CU_ASSERT(outcome.status == 200);
	CU_ASSERT_STRING_EQUAL(outcome.body, "{}");
	CU_ASSERT_STRING_EQUAL(outcome.failure, "");
	end(&world);
}

static void requests_are_cancelled(void)
{
	struct outcome outcomes[3] = {};
	struct http_request *requests[3];
	struct world world;

	begin(&world, HEAD("200 OK", "Content-Length: 500\r\n") "ab");
	for (int i = 0; i < 3; i++)
		requests[i] = get(&world, &nobody, &outcomes[i]);
	http_request_cancel(requests[0]);
	CU_ASSERT(unit_wait(&world.loop, has_body, &outcomes[1], 5000));
	http_request_cancel(requests[1]);
	http_request_cancel(NULL);
	CU_ASSERT(unit_wait(&world.loop, has_body, &outcomes[2], 5000));
	end(&world);
	for (int i = 0; i < 3; i++)
		CU_ASSERT(outcomes[i].ends == 0);
}

static void connections_are_made_anew_after_a_reset(void)
{
	struct outcome first = {}, second = {};
	struct world world;

	begin(&world, HEAD("200 OK", "Content-Length: 500\r\n") "ab");
	get(&world, &nobody, &first);
	CU_ASSERT(unit_wait(&world.loop, has_body, &first, 5000));
	http_client_reset(world.client);
	world.answer = HEAD("200 OK", "Content-Length: 2\r\n") "ab";
	get(&world, &nobody, &second);
	CU_ASSERT(unit_wait(&world.loop, is_ended, &second, 5000));
	CU_ASSERT(first.ends == 0 && world.peer_count == 2 && !second.failure[0]);
	end(&world);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(answer_comes_with_head_body_and_end),
		UNIT_TEST(body_is_sent_with_its_method_and_type),
		UNIT_TEST(head_is_told_before_there_is_a_body),
		UNIT_TEST(answer_that_is_cut_off_fails),
		UNIT_TEST(handler_of_the_body_ends_it),
		UNIT_TEST(refused_connection_fails_in_words),
		UNIT_TEST(redirections_are_not_followed),
		UNIT_TEST(answer_that_came_while_the_loop_was_held_up_counts),
		UNIT_TEST(requests_are_cancelled),
		UNIT_TEST(connections_are_made_anew_after_a_reset),
	};

	/* As for polderd. */
	signal(SIGPIPE, SIG_IGN);
	unsetenv("http_proxy");
	return UNIT_RUN("sources/api/http_client", tests);
}
