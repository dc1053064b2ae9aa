/* SPDX-License-Identifier: Apache-2.0 */
/* The page's server between a browser and the control server: answers that come late, in parts, or
 * never; and whom it listens to. */
#include "agent/ui/ui.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>

#include "agent/control/control.h"
#include "agent/ui/ui_internal.h"
#include "tests/unit/unit.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: localhost\r\n\r\n"
#define OBJECTS	  "[{}]"
#define POST_TRY                                                                                   \
	"POST /api/policy-try?seconds=60 HTTP/1.1\r\nHost: localhost\r\nX-Polder: 1\r\n"           \
	"Content-Length: 4\r\n\r\n" OBJECTS

struct world {
	uv_loop_t loop;
	char directory[32], path[64];
	struct control_server *control;
	struct ui *ui;
	struct control_request *waiting; /* of the last question */
	unsigned int asked, closed;
};

static void on_question(struct control_request *request, const json_t *args, int netns_fd,
			void *data)
{
	struct world *world = data;

	(void)args;
	(void)netns_fd;
	world->waiting = request;
	world->asked++;
}

static void on_closed(struct control_request *request, void *data)
{
	struct world *world = data;

	(void)request;
	world->waiting = NULL;
	world->closed++;
}

static void on_try(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	struct world *world = data;

	CU_ASSERT(netns_fd >= 0);
	on_question(request, args, netns_fd, data);
	control_stream_begin(request, on_closed, world);
}

static void begin(struct world *world)
{
	static char *const hosts[] = {"page.example", "[2001:db8::1]"};
	struct ui_options options = {.address = "127.0.0.1:0", .hosts = hosts, .host_count = 2};

	*world = (struct world){};
	uv_loop_init(&world->loop);
	unit_directory(world->directory);
	snprintf(world->path, sizeof(world->path), "%s/c.sock", world->directory);
	CU_ASSERT_FATAL(control_server_new(&world->loop, world->path, &world->control) == 0);
	control_register(world->control, "status", on_question, world);
	control_register(world->control, "policy.try", on_try, world);
	options.control = world->control;
	CU_ASSERT_FATAL(ui_new(&world->loop, &options, &world->ui) == 0);
}

static void end(struct world *world)
{
	ui_free(world->ui);
	control_server_free(world->control);
	unit_end_loop(&world->loop);
	unit_remove_directory(world->directory);
}

struct client {
	int fd;
	char text[4096];
	size_t length;
	bool end;
};

static struct client ask(struct world *world, const char *request)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons(ui_port(world->ui)),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct client client = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};

	CU_ASSERT_FATAL(connect(client.fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	CU_ASSERT(send(client.fd, request, strlen(request), MSG_NOSIGNAL) ==
		  (ssize_t)strlen(request));
	return client;
}

static void receive(struct client *client)
{
	ssize_t got;

	while (!client->end) {
		got = recv(client->fd, client->text + client->length,
			   sizeof(client->text) - 1 - client->length, MSG_DONTWAIT);
		if (got < 0 && errno == EAGAIN)
			return;
		client->end = got <= 0;
		client->length += got > 0 ? (size_t)got : 0;
	}
}

static bool has_ended(void *data)
{
	struct client *client = data;

	receive(client);
	return client->end;
}

static bool has_begun(void *data)
{
	struct client *client = data;

	receive(client);
	return client->length > 0;
}

static bool is_asked(void *data)
{
	const struct world *world = data;

	return world->waiting;
}

static bool is_closed(void *data)
{
	const struct world *world = data;

	return world->closed;
}

#define WAIT(world, condition, data) CU_ASSERT(unit_wait(&(world)->loop, condition, data, 10000))

static void answers_wait_for_the_operation(void)
{
	struct world world;
	struct client client;

	begin(&world);
	client = ask(&world, GET("/api/status"));
	WAIT(&world, is_asked, &world);
	unit_wait(&world.loop, NULL, NULL, 20);
	receive(&client);
	CU_ASSERT(client.length == 0 && !client.end);
	control_reply(world.waiting, json_pack("{s:s}", "node", "n1"));
	WAIT(&world, has_ended, &client);
	CU_ASSERT(strstr(client.text, "HTTP/1.1 200 OK\r\n") == client.text);
	CU_ASSERT(strstr(client.text, "\"result\":{\"node\":\"n1\"}}\n") != NULL);
	CU_ASSERT(strcmp(client.text + client.length - 5, "0\r\n\r\n") == 0);
	close(client.fd);
	end(&world);
}

static void an_error_is_a_status_with_its_words(void)
{
	static const struct {
		int code;
		const char *status;
	} errors[] = {{EINVAL, "400"}, {6, "400"},	 {ENOENT, "404"},
		      {EBUSY, "503"},  {ENODATA, "503"}, {ENOMEM, "500"}};
	struct world world;

	begin(&world);
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		struct client client = ask(&world, GET("/api/status"));

		WAIT(&world, is_asked, &world);
		control_fail(world.waiting, errors[i].code, "because", NULL);
		world.waiting = NULL;
		WAIT(&world, has_ended, &client);
		CU_ASSERT(strncmp(client.text + strlen("HTTP/1.1 "), errors[i].status, 3) == 0);
		CU_ASSERT(strstr(client.text, "\"message\":\"because\"") != NULL);
		close(client.fd);
	}
	end(&world);
}

static void a_try_is_told_line_by_line(void)
{
	struct world world;
	struct client client;

	begin(&world);
	client = ask(&world, POST_TRY);
	WAIT(&world, is_asked, &world);
	control_stream_send(world.waiting, json_pack("{s:s}", "type", "begin"));
	WAIT(&world, has_begun, &client);
	unit_wait(&world.loop, NULL, NULL, 20);
	receive(&client);
	CU_ASSERT(strstr(client.text, "{\"type\":\"begin\"}") != NULL);
	CU_ASSERT(!client.end && !world.closed);
	control_stream_send(world.waiting, json_pack("{s:s, s:i}", "type", "end", "denied", 0));
	WAIT(&world, has_ended, &client);
	CU_ASSERT(strcmp(client.text + client.length - 5, "0\r\n\r\n") == 0);
	WAIT(&world, is_closed, &world);
	close(client.fd);
	end(&world);
}

static void who_leaves_ends_what_he_asked_for(void)
{
	struct world world;
	struct client client;

	begin(&world);
	client = ask(&world, POST_TRY);
	WAIT(&world, is_asked, &world);
	close(client.fd);
	WAIT(&world, is_closed, &world);
	end(&world);
}

/* What it had sent is not the whole, and does not look like it. */
static void an_answer_that_is_cut_off_has_no_end(void)
{
	struct world world;
	struct client client;

	begin(&world);
	client = ask(&world, POST_TRY);
	WAIT(&world, is_asked, &world);
	control_stream_send(world.waiting, json_pack("{s:s}", "type", "begin"));
	WAIT(&world, has_begun, &client);
	control_server_free(world.control);
	world.control = NULL;
	WAIT(&world, has_ended, &client);
	CU_ASSERT(strstr(client.text, "0\r\n\r\n") == NULL);
	close(client.fd);
	end(&world);
}

static void it_ends_while_answers_wait(void)
{
	struct client clients[3];
	struct world world;

	begin(&world);
	for (size_t i = 0; i < 3; i++) {
		clients[i] = ask(&world, POST_TRY);
		world.waiting = NULL;
		WAIT(&world, is_asked, &world);
	}
	control_stream_send(world.waiting, json_pack("{s:s}", "type", "begin"));
	end(&world);
	CU_ASSERT(world.asked == 3 && world.closed == 3);
	for (size_t i = 0; i < 3; i++) {
		CU_ASSERT(has_ended(&clients[i]));
		close(clients[i].fd);
	}
}

static void a_body_in_parts_is_one_and_a_long_one_is_refused(void)
{
	static const char head[] =
		"POST /api/policy-try HTTP/1.1\r\nHost: localhost\r\nX-Polder: 1\r\n"
		"Content-Length: 300000\r\n\r\n";
	struct client client;
	struct world world;
	char *body = malloc(300000);

	memset(body, ' ', 300000);
	begin(&world);
	client = ask(&world, head);
	for (size_t sent = 0; sent < 300000; sent += 50000) {
		CU_ASSERT(send(client.fd, body, 50000, MSG_NOSIGNAL) == 50000);
		unit_wait(&world.loop, NULL, NULL, 5);
	}
	WAIT(&world, has_ended, &client);
	CU_ASSERT(strstr(client.text, "HTTP/1.1 413 ") == client.text);
	CU_ASSERT(strstr(client.text, "Content-Security-Policy: default-src 'none'") != NULL);
	CU_ASSERT(world.asked == 0);
	close(client.fd);
	free(body);
	end(&world);
}

static void names_of_this_machine_and_those_that_are_configured_are_listened_to(void)
{
	static const char *const good[] = {"localhost",	   "localhost:80",   "LocalHost:65535",
					   "127.0.0.1",	   "[::1]",	     "[::1]:9966",
					   "page.example", "PAGE.example:1", "[2001:db8::1]:1"};
	static const char *const bad[] = {"",
					  ":80",
					  "evil.example",
					  "localhost.evil.example",
					  "localhost:",
					  "localhost:80x",
					  "localhost:123456",
					  "localhost:80:80",
					  "localhost ",
					  "[::1",
					  "[::1]x",
					  "::1",
					  "[::1]:",
					  "127.0.0.2",
					  "xpage.example",
					  "page.example.",
					  "page.exampl",
					  "[2001:db8::2]",
					  "[",
					  "]"};
	struct world world;

	begin(&world);
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		CU_ASSERT(ui_host_allowed(&world.ui->options, good[i]));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CU_ASSERT(!ui_host_allowed(&world.ui->options, bad[i]));
	end(&world);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(answers_wait_for_the_operation),
		UNIT_TEST(an_error_is_a_status_with_its_words),
		UNIT_TEST(a_try_is_told_line_by_line),
		UNIT_TEST(who_leaves_ends_what_he_asked_for),
		UNIT_TEST(an_answer_that_is_cut_off_has_no_end),
		UNIT_TEST(it_ends_while_answers_wait),
		UNIT_TEST(a_body_in_parts_is_one_and_a_long_one_is_refused),
		UNIT_TEST(names_of_this_machine_and_those_that_are_configured_are_listened_to),
	};

	return UNIT_RUN("ui", tests);
}
