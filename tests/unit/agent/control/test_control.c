/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket: requests, answers, descriptors, streams, and peers that misbehave. */
#include "agent/control/control.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "tests/unit/unit.h"

struct world {
	char directory[32];
	char path[64];
	uv_loop_t loop;
	struct control_server *server;
	struct control_request *kept; /* of "later" and "stream" */
	unsigned int calls, closed;
	int sent_fd_size; /* of the file that came along; -1: none */
};

static void on_echo(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	struct world *world = data;
	struct stat status;

	world->calls++;
	world->sent_fd_size =
		netns_fd >= 0 && fstat(netns_fd, &status) == 0 ? (int)status.st_size : -1;
	control_reply(request, json_deep_copy(args));
}

static void on_fail(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	control_fail(request, 7, "no \"such\"\nthing", "with \xff detail");
}

static void on_later(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	struct world *world = data;

	world->calls++;
	world->kept = request;
}

static void on_closed(struct control_request *request, void *data)
{
	struct world *world = data;

	world->closed++;
	world->kept = NULL;
}

static void on_stream(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	struct world *world = data;

	world->kept = request;
	control_stream_begin(request, on_closed, world);
}

static void on_large(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	char *text = malloc((4 << 20) + 1);

	memset(text, 'x', 4 << 20);
	text[4 << 20] = '\0';
	control_reply(request, json_string(text));
	free(text);
}

static void begin(struct world *world)
{
	*world = (struct world){};
	unit_directory(world->directory);
	snprintf(world->path, sizeof(world->path), "%s/run/polder.sock", world->directory);
	uv_loop_init(&world->loop);
	CU_ASSERT_FATAL(control_server_new(&world->loop, world->path, &world->server) == 0);
	control_register(world->server, "echo", on_echo, world);
	control_register(world->server, "fail", on_fail, world);
	control_register(world->server, "later", on_later, world);
	control_register(world->server, "stream", on_stream, world);
	control_register(world->server, "large", on_large, world);
}

static void end(struct world *world)
{
	control_server_free(world->server);
	CU_ASSERT(access(world->path, F_OK) < 0);
	unit_end_loop(&world->loop);
	unit_remove_directory(world->directory);
}

/* ---------------------------------------------------------------- a client without blocking */

struct client {
	int fd;
	char text[1 << 16]; /* what came and was not looked at */
	size_t length;
	bool end;
};

static void connect_client(struct world *world, struct client *client)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	client->length = 0;
	client->end = false;
	client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", world->path);
	CU_ASSERT_FATAL(connect(client->fd, (struct sockaddr *)&address, sizeof(address)) == 0);
}

static void say(struct client *client, const char *text)
{
	CU_ASSERT(send(client->fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text));
}

static bool has_line(void *data)
{
	struct client *client = data;
	ssize_t got;

	while (client->length < sizeof(client->text) - 1) {
		got = recv(client->fd, client->text + client->length,
			   sizeof(client->text) - 1 - client->length, MSG_DONTWAIT);
		if (got <= 0) {
			client->end = got == 0 || errno != EAGAIN;
			break;
		}
		client->length += (size_t)got;
	}
	client->text[client->length] = '\0';
	return client->end || strchr(client->text, '\n');
}

static bool at_end(void *data)
{
	struct client *client = data;

	has_line(client);
	client->length = 0;
	return client->end;
}

/* The next line is this. */
static bool hears(struct world *world, struct client *client, const char *expected)
{
	char *feed;
	bool same;

	if (!unit_wait(&world->loop, has_line, client, 3000))
		return false;
	feed = strchr(client->text, '\n');
	if (!feed)
		return false;
	*feed = '\0';
	same = strcmp(client->text, expected) == 0;
	if (!same)
		printf("\n  %s\n  not %s\n", client->text, expected);
	client->length -= (size_t)(feed + 1 - client->text);
	memmove(client->text, feed + 1, client->length);
	return same;
}

static bool hears_error(struct world *world, struct client *client, int code)
{
	char begin[64], *feed;
	bool same;

	snprintf(begin, sizeof(begin), "{\"version\":1,\"ok\":false,\"error\":{\"code\":%d,", code);
	if (!unit_wait(&world->loop, has_line, client, 3000))
		return false;
	feed = strchr(client->text, '\n');
	same = feed && strncmp(client->text, begin, strlen(begin)) == 0;
	if (!same)
		printf("\n  %s", client->text);
	if (feed) {
		client->length -= (size_t)(feed + 1 - client->text);
		memmove(client->text, feed + 1, client->length);
	}
	return same;
}

static bool was_called(void *data)
{
	return ((struct world *)data)->calls > 0;
}

static bool was_closed(void *data)
{
	return ((struct world *)data)->closed > 0;
}

static bool is_kept(void *data)
{
	return ((struct world *)data)->kept != NULL;
}

static bool sees_end(struct world *world, struct client *client)
{
	return unit_wait(&world->loop, at_end, client, 3000);
}

#define REQUEST(op, args) "{\"version\":1,\"op\":\"" op "\",\"args\":" args "}\n"
#define RESULT(result)	  "{\"version\":1,\"ok\":true,\"result\":" result "}"

static size_t open_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t count = 0;

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

/* ---------------------------------------------------------------- */

static void answers_requests_one_after_the_other(void)
{
	struct client client;
	struct world world;

	begin(&world);
	connect_client(&world, &client);
	say(&client, REQUEST("echo", "{\"a\":1}"));
	CU_ASSERT(hears(&world, &client, RESULT("{\"a\":1}")));
	say(&client, "{\"version\":1,\"op\":\"echo\"}\n");
	CU_ASSERT(hears(&world, &client, RESULT("{}")));
	say(&client,
	    "\n\n" REQUEST("echo", "{\"b\":1}") REQUEST("fail", "{}") REQUEST("echo", "{\"c\":1}"));
	CU_ASSERT(hears(&world, &client, RESULT("{\"b\":1}")));
	CU_ASSERT(hears(&world, &client,
			"{\"version\":1,\"ok\":false,\"error\":{\"code\":7,\"message\":"
			"\"no \\\"such\\\"\\nthing\",\"details\":\"with ? detail\"}}"));
	CU_ASSERT(hears(&world, &client, RESULT("{\"c\":1}")));
	close(client.fd);
	end(&world);
}

static void answers_a_request_that_comes_byte_by_byte(void)
{
	static const char text[] = REQUEST("echo", "{\"a\":\"\\u00e4\"}");
	struct client client;
	struct world world;

	begin(&world);
	connect_client(&world, &client);
	for (size_t i = 0; text[i]; i++) {
		CU_ASSERT(send(client.fd, text + i, 1, MSG_NOSIGNAL) == 1);
		uv_run(&world.loop, UV_RUN_NOWAIT);
	}
	CU_ASSERT(hears(&world, &client, RESULT("{\"a\":\"\u00e4\"}")));
	close(client.fd);
	end(&world);
}

static void refuses_what_is_no_request(void)
{
	static const struct {
		const char *text;
		int code;
	} wrong[] = {
		{"hello\n", 6},
		{"{\n", 6},
		{"[]\n", 6},
		{"\"x\"\n", 6},
		{"{\"version\":1,\"version\":1,\"op\":\"echo\"}\n", 6},
		{"{\"op\":\"echo\"}\n", 1},
		{"{\"version\":2,\"op\":\"echo\"}\n", 1},
		{"{\"version\":\"1\",\"op\":\"echo\"}\n", 1},
		{"{\"version\":1}\n", 6},
		{"{\"version\":1,\"op\":5}\n", 6},
		{"{\"version\":1,\"op\":\"echo\",\"args\":[]}\n", 6},
		{"{\"version\":1,\"op\":\"echo\",\"args\":null}\n", 6},
		{"{\"version\":1,\"op\":\"nothing\"}\n", 2},
		{"{\"version\":1,\"op\":\"\"}\n", 2},
		{"\xff\xfe\n", 6},
	};
	struct client client;
	struct world world;

	begin(&world);
	connect_client(&world, &client);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		say(&client, wrong[i].text);
		CU_ASSERT(hears_error(&world, &client, wrong[i].code));
	}
	CU_ASSERT(world.calls == 0);
	say(&client, REQUEST("echo", "{}"));
	CU_ASSERT(hears(&world, &client, RESULT("{}")));
	close(client.fd);
	end(&world);
}

static void refuses_a_line_of_more_than_a_mebibyte(void)
{
	char *part = malloc(65536);
	struct client client;
	struct world world;

	begin(&world);
	connect_client(&world, &client);
	memset(part, ' ', 65536);
	for (int i = 0; i < 17; i++) {
		size_t sent = 0;

		while (sent < 65536) {
			ssize_t got = send(client.fd, part + sent, 65536 - sent,
					   MSG_NOSIGNAL | MSG_DONTWAIT);

			if (got < 0 && errno != EAGAIN)
				break;
			sent += got > 0 ? (size_t)got : 0;
			uv_run(&world.loop, UV_RUN_NOWAIT);
			if (got < 0 && has_line(&client))
				break;
		}
	}
	CU_ASSERT(hears_error(&world, &client, 6));
	CU_ASSERT(sees_end(&world, &client));
	close(client.fd);
	free(part);
	end(&world);
}

/* Sends the text with `count` descriptors of the file. */
static void say_with(struct client *client, const char *text, const int *fds, size_t count)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(8 * sizeof(int))];
	} control = {};
	struct iovec part = {(char *)text, strlen(text)};
	struct msghdr message = {.msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = CMSG_SPACE(count * sizeof(int))};

	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(&control.header), fds, count * sizeof(int));
	CU_ASSERT(sendmsg(client->fd, &message, MSG_NOSIGNAL) == (ssize_t)strlen(text));
}

static void descriptors_go_with_their_request_and_are_closed(void)
{
	struct client client;
	struct world world;
	int fds[8];
	size_t before;

	begin(&world);
	connect_client(&world, &client);
	say(&client, REQUEST("echo", "{}"));
	CU_ASSERT(hears(&world, &client, RESULT("{}")));
	CU_ASSERT(world.sent_fd_size == -1);
	fds[0] = open(world.directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	CU_ASSERT(write(fds[0], "12345", 5) == 5);
	for (size_t i = 1; i < 8; i++)
		fds[i] = fds[0];
	before = open_files();

	say_with(&client, REQUEST("echo", "{}"), fds, 1);
	CU_ASSERT(hears(&world, &client, RESULT("{}")));
	CU_ASSERT(world.sent_fd_size == 5);
	say(&client, REQUEST("echo", "{}"));
	CU_ASSERT(hears(&world, &client, RESULT("{}")));
	CU_ASSERT(world.sent_fd_size == -1);
	/* Too many, with what is no request, with half a request. */
	say_with(&client, REQUEST("echo", "{}"), fds, 8);
	CU_ASSERT(hears(&world, &client, RESULT("{}")));
	CU_ASSERT(world.sent_fd_size == 5);
	say_with(&client, "nonsense\n", fds, 1);
	CU_ASSERT(hears_error(&world, &client, 6));
	say_with(&client, REQUEST("nothing", "{}"), fds, 1);
	CU_ASSERT(hears_error(&world, &client, 2));
	CU_ASSERT(open_files() == before);
	say_with(&client, "{\"version\":1,", fds, 2);
	unit_wait(&world.loop, NULL, NULL, 20);
	CU_ASSERT(open_files() == before + 1);
	close(client.fd);
	unit_wait(&world.loop, NULL, NULL, 20);
	CU_ASSERT(open_files() == before - 2);
	close(fds[0]);
	end(&world);
}

static void a_request_may_be_answered_later(void)
{
	struct client client;
	struct world world;

	begin(&world);
	connect_client(&world, &client);
	say(&client, REQUEST("later", "{}") REQUEST("echo", "{\"after\":1}"));
	CU_ASSERT(unit_wait(&world.loop, was_called, &world, 3000));
	unit_wait(&world.loop, NULL, NULL, 20);
	CU_ASSERT(world.calls == 1);
	control_reply(world.kept, json_string("done"));
	CU_ASSERT(hears(&world, &client, RESULT("\"done\"")));
	CU_ASSERT(hears(&world, &client, RESULT("{\"after\":1}")));
	close(client.fd);
	end(&world);
}

static void a_peer_that_only_stops_sending_gets_its_answer(void)
{
	struct client client;
	struct world world;

	begin(&world);
	connect_client(&world, &client);
	say(&client, REQUEST("later", "{}") REQUEST("echo", "{}"));
	shutdown(client.fd, SHUT_WR);
	CU_ASSERT(unit_wait(&world.loop, was_called, &world, 3000));
	unit_wait(&world.loop, NULL, NULL, 20);
	control_reply(world.kept, NULL);
	CU_ASSERT(hears_error(&world, &client, 12));
	CU_ASSERT(hears(&world, &client, RESULT("{}")));
	CU_ASSERT(sees_end(&world, &client));
	close(client.fd);
	end(&world);
}

static void a_peer_that_hangs_up_leaves_nothing(void)
{
	struct client client;
	struct world world;
	size_t before;

	begin(&world);
	before = open_files();
	connect_client(&world, &client);
	close(client.fd);
	connect_client(&world, &client);
	say(&client, "{\"version\":1,\"op\":\"ec");
	unit_wait(&world.loop, NULL, NULL, 10);
	close(client.fd);
	connect_client(&world, &client);
	say(&client, REQUEST("later", "{}"));
	CU_ASSERT(unit_wait(&world.loop, was_called, &world, 3000));
	close(client.fd);
	unit_wait(&world.loop, NULL, NULL, 10);
	control_reply(world.kept, json_object());
	unit_wait(&world.loop, NULL, NULL, 10);
	CU_ASSERT(open_files() == before);
	end(&world);
}

static void a_request_may_outlive_the_server(void)
{
	struct client client;
	struct world world;

	begin(&world);
	connect_client(&world, &client);
	say(&client, REQUEST("later", "{}"));
	CU_ASSERT(unit_wait(&world.loop, was_called, &world, 3000));
	end(&world);
	control_fail(world.kept, 5, "too late", NULL);
	close(client.fd);
}

static void a_stream_lasts_until_the_peer_hangs_up(void)
{
	struct client client;
	struct world world;

	begin(&world);
	connect_client(&world, &client);
	say(&client, REQUEST("stream", "{}") "what it says is thrown away");
	CU_ASSERT(unit_wait(&world.loop, is_kept, &world, 3000));
	CU_ASSERT(control_stream_send(world.kept, json_integer(1)) == 0);
	CU_ASSERT(control_stream_send(world.kept, json_integer(2)) == 0);
	CU_ASSERT(hears(&world, &client, RESULT("1")));
	CU_ASSERT(hears(&world, &client, RESULT("2")));
	say(&client, "more of it");
	unit_wait(&world.loop, NULL, NULL, 10);
	CU_ASSERT(world.closed == 0);
	close(client.fd);
	CU_ASSERT(unit_wait(&world.loop, was_closed, &world, 3000));
	unit_wait(&world.loop, NULL, NULL, 10);
	CU_ASSERT(world.closed == 1);
	end(&world);
}

static void a_stream_ends_with_the_server(void)
{
	struct client client;
	struct world world;

	begin(&world);
	connect_client(&world, &client);
	say(&client, REQUEST("stream", "{}"));
	CU_ASSERT(unit_wait(&world.loop, is_kept, &world, 3000));
	CU_ASSERT(control_stream_send(world.kept, json_integer(1)) == 0);
	end(&world);
	CU_ASSERT(world.closed == 1);
	CU_ASSERT(at_end(&client));
	close(client.fd);
}

static void a_stream_for_a_peer_that_is_gone_ends(void)
{
	struct client client;
	struct world world;

	begin(&world);
	connect_client(&world, &client);
	say(&client, REQUEST("later", "{}"));
	CU_ASSERT(unit_wait(&world.loop, was_called, &world, 3000));
	close(client.fd);
	control_reply(world.kept, json_object());
	unit_wait(&world.loop, NULL, NULL, 10);
	connect_client(&world, &client);
	world.calls = 0;
	say(&client, REQUEST("later", "{}"));
	CU_ASSERT(unit_wait(&world.loop, was_called, &world, 3000));
	close(client.fd);
	control_stream_begin(world.kept, on_closed, &world);
	CU_ASSERT(unit_wait(&world.loop, was_closed, &world, 3000));
	end(&world);
	CU_ASSERT(world.closed == 1);
}

static void a_slow_reader_of_a_stream_loses_lines_not_memory(void)
{
	struct client client;
	struct world world;
	int sent = 0, lost = 0;
	char text[1001] = "";

	memset(text, 'x', sizeof(text) - 1);
	begin(&world);
	connect_client(&world, &client);
	say(&client, REQUEST("stream", "{}"));
	CU_ASSERT(unit_wait(&world.loop, is_kept, &world, 3000));
	for (int i = 0; i < 20000; i++) {
		int r = control_stream_send(world.kept, json_string(text));

		CU_ASSERT(r == 0 || r == -ENOBUFS);
		sent += r == 0;
		lost += r == -ENOBUFS;
		if (i % 100 == 0)
			uv_run(&world.loop, UV_RUN_NOWAIT);
	}
	CU_ASSERT(sent > 900 && sent < 3000);
	CU_ASSERT(lost == 20000 - sent);
	CU_ASSERT(world.closed == 0);
	close(client.fd);
	CU_ASSERT(unit_wait(&world.loop, was_closed, &world, 3000));
	end(&world);
}

static bool has_all(void *data)
{
	struct client *client = data;

	while (!client->end) {
		ssize_t got = recv(client->fd, client->text, sizeof(client->text), MSG_DONTWAIT);

		if (got < 0 && errno == EAGAIN)
			return client->length > (4 << 20) + 30;
		if (got <= 0)
			client->end = true;
		else
			client->length += (size_t)got;
	}
	return true;
}

static void a_long_answer_arrives_whole(void)
{
	struct client client;
	struct world world;

	begin(&world);
	connect_client(&world, &client);
	say(&client, REQUEST("large", "{}"));
	CU_ASSERT(unit_wait(&world.loop, has_all, &client, 5000));
	CU_ASSERT(client.length == (4 << 20) + strlen(RESULT("\"\"")) + 1);
	client.length = 0;
	say(&client, REQUEST("large", "{}"));
	unit_wait(&world.loop, NULL, NULL, 20);
	close(client.fd);
	end(&world);
}

/* ---------------------------------------------------------------- the socket's file */

static void the_socket_is_private(void)
{
	struct world world;
	struct stat status;
	char directory[64];

	begin(&world);
	snprintf(directory, sizeof(directory), "%s/run", world.directory);
	CU_ASSERT(stat(world.path, &status) == 0 && (status.st_mode & 07777) == 0600);
	CU_ASSERT(stat(directory, &status) == 0 && (status.st_mode & 07777) == 0700);
	end(&world);
}

static void a_live_agents_socket_is_not_taken(void)
{
	struct control_server *second = NULL;
	struct client client;
	struct world world;

	begin(&world);
	CU_ASSERT(control_server_new(&world.loop, world.path, &second) == -EADDRINUSE);
	CU_ASSERT(second == NULL);
	connect_client(&world, &client);
	say(&client, REQUEST("echo", "{}"));
	CU_ASSERT(hears(&world, &client, RESULT("{}")));
	close(client.fd);
	end(&world);
}

static void a_dead_agents_socket_is_replaced(void)
{
	struct client client;
	struct world world;
	int status;
	pid_t pid;

	begin(&world);
	control_server_free(world.server);
	uv_run(&world.loop, UV_RUN_NOWAIT);
	pid = fork();
	if (pid == 0) {
		uv_loop_t loop;

		uv_loop_init(&loop);
		_exit(control_server_new(&loop, world.path, &world.server) == 0 ? 0 : 1);
	}
	CU_ASSERT(waitpid(pid, &status, 0) == pid && status == 0);
	CU_ASSERT(access(world.path, F_OK) == 0);
	CU_ASSERT_FATAL(control_server_new(&world.loop, world.path, &world.server) == 0);
	control_register(world.server, "echo", on_echo, &world);
	connect_client(&world, &client);
	say(&client, REQUEST("echo", "{}"));
	CU_ASSERT(hears(&world, &client, RESULT("{}")));
	close(client.fd);
	end(&world);
}

static void refuses_places_where_no_socket_may_be(void)
{
	struct control_server *server;
	char directory[32], path[160];
	uv_loop_t loop;

	uv_loop_init(&loop);
	unit_directory(directory);
	snprintf(path, sizeof(path), "%s/plain", directory);
	unit_write(path, "precious", 8);
	CU_ASSERT(control_server_new(&loop, path, &server) == -EEXIST);
	CU_ASSERT(access(path, F_OK) == 0);
	chmod(directory, 0770);
	snprintf(path, sizeof(path), "%s/sock", directory);
	CU_ASSERT(control_server_new(&loop, path, &server) == -EPERM);
	chmod(directory, 0755);
	snprintf(path, sizeof(path), "%s/%0100d", directory, 0);
	CU_ASSERT(control_server_new(&loop, path, &server) == -ENAMETOOLONG);
	CU_ASSERT(control_server_new(&loop, "/nonexistent-polder/x/sock", &server) == -ENOENT);
	unit_end_loop(&loop);
	unit_remove_directory(directory);
}

static void peers_that_are_not_root_are_refused(void)
{
	struct world world;
	int status, pipe_fds[2];
	char got[512] = "";
	ssize_t length;
	pid_t pid;

	begin(&world);
	if (geteuid() != 0) {
		printf(" (not root: left out) ");
		end(&world);
		return;
	}
	chmod(world.directory, 0755);
	snprintf(got, sizeof(got), "%s/run", world.directory);
	chmod(got, 0755);
	chmod(world.path, 0666);
	CU_ASSERT_FATAL(pipe2(pipe_fds, O_CLOEXEC) == 0);
	pid = fork();
	if (pid == 0) {
		struct sockaddr_un address = {.sun_family = AF_UNIX};
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);

		snprintf(address.sun_path, sizeof(address.sun_path), "%s", world.path);
		if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0 ||
		    connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
		    write(pipe_fds[1], "c", 1) != 1)
			_exit(1);
		send(fd, REQUEST("echo", "{}"), strlen(REQUEST("echo", "{}")), MSG_NOSIGNAL);
		length = recv(fd, got, sizeof(got), 0);
		_exit(length > 0 && memmem(got, (size_t)length, "only root", 9) &&
				      recv(fd, got, sizeof(got), 0) <= 0
			      ? 0
			      : 2);
	}
	CU_ASSERT(read(pipe_fds[0], got, 1) == 1);
	unit_wait(&world.loop, NULL, NULL, 50);
	CU_ASSERT(waitpid(pid, &status, 0) == pid && status == 0);
	CU_ASSERT(world.calls == 0);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	end(&world);
}

static void many_connections_wait_their_turn(void)
{
	enum { COUNT = 300 };
	struct client *clients = calloc(COUNT, sizeof(*clients));
	struct world world;

	begin(&world);
	for (int i = 0; i < COUNT; i++) {
		connect_client(&world, &clients[i]);
		say(&clients[i], REQUEST("echo", "{}"));
		uv_run(&world.loop, UV_RUN_NOWAIT);
	}
	for (int i = 0; i < COUNT; i++) {
		CU_ASSERT(hears(&world, &clients[i], RESULT("{}")));
		close(clients[i].fd);
	}
	free(clients);
	end(&world);
}

static void names_are_registered_once(void)
{
	struct world world;

	begin(&world);
	CU_ASSERT(control_register(world.server, "echo", on_echo, &world) == -EEXIST);
	end(&world);
	control_server_free(NULL);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(answers_requests_one_after_the_other),
		UNIT_TEST(answers_a_request_that_comes_byte_by_byte),
		UNIT_TEST(refuses_what_is_no_request),
		UNIT_TEST(refuses_a_line_of_more_than_a_mebibyte),
		UNIT_TEST(descriptors_go_with_their_request_and_are_closed),
		UNIT_TEST(a_request_may_be_answered_later),
		UNIT_TEST(a_peer_that_only_stops_sending_gets_its_answer),
		UNIT_TEST(a_peer_that_hangs_up_leaves_nothing),
		UNIT_TEST(a_request_may_outlive_the_server),
		UNIT_TEST(a_stream_lasts_until_the_peer_hangs_up),
		UNIT_TEST(a_stream_ends_with_the_server),
		UNIT_TEST(a_stream_for_a_peer_that_is_gone_ends),
		UNIT_TEST(a_slow_reader_of_a_stream_loses_lines_not_memory),
		UNIT_TEST(a_long_answer_arrives_whole),
		UNIT_TEST(the_socket_is_private),
		UNIT_TEST(a_live_agents_socket_is_not_taken),
		UNIT_TEST(a_dead_agents_socket_is_replaced),
		UNIT_TEST(refuses_places_where_no_socket_may_be),
		UNIT_TEST(peers_that_are_not_root_are_refused),
		UNIT_TEST(many_connections_wait_their_turn),
		UNIT_TEST(names_are_registered_once),
	};

	return UNIT_RUN("control", tests);
}
