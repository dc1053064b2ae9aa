/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket among peers that are too many, ask for nothing, or have gone. */
#include "agent/control/control.h"

#include <errno.h>
#include <malloc.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/unit/unit.h"

void __asan_init(void) __attribute__((weak)); /* there in that build only */

#define PEERS_MAX 400

struct world {
	char directory[32];
	char path[64];
	uv_loop_t loop;
	struct control_server *server;
	struct control_request *kept[PEERS_MAX];
	size_t kept_count, calls, done;
	size_t items; /* of the list, and how many of them have been made */
	size_t made;
	int peers[PEERS_MAX];
	size_t peer_count;
};

static void on_echo(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	struct world *world = data;

	(void)netns_fd;
	world->calls++;
	control_reply(request, json_deep_copy(args));
}

static void on_later(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	struct world *world = data;

	(void)args;
	(void)netns_fd;
	world->kept[world->kept_count++] = request;
}

/* A list of numbers, each with a text of a kibibyte. */
static bool fill(struct control_list *list, void *data)
{
	static char text[1024];
	struct world *world = data;

	memset(text, 'x', sizeof(text) - 1);
	for (int i = 0; i < 64 && world->made < world->items; i++) {
		world->made++;
		if (!control_list_add(list, json_pack("[I, s]", (json_int_t)world->made, text)))
			return true;
	}
	return world->made == world->items;
}

static void on_done(void *data)
{
	((struct world *)data)->done++;
}

static void on_list(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	struct world *world = data;

	(void)netns_fd;
	world->made = 0;
	world->items = (size_t)json_integer_value(json_object_get(args, "items"));
	control_reply_list(request, fill, on_done, world);
}

static void begin(struct world *world)
{
	*world = (struct world){};
	unit_directory(world->directory);
	snprintf(world->path, sizeof(world->path), "%s/polder.sock", world->directory);
	uv_loop_init(&world->loop);
	CU_ASSERT_FATAL(control_server_new(&world->loop, world->path, &world->server) == 0);
	control_register(world->server, "echo", on_echo, world);
	control_register(world->server, "later", on_later, world);
	control_register(world->server, "list", on_list, world);
	control_register(world->server, "cni.add", on_echo, world);
	control_register(world->server, "cni.later", on_later, world);
}

static void end(struct world *world)
{
	while (world->peer_count > 0)
		close(world->peers[--world->peer_count]);
	control_server_free(world->server);
	while (world->kept_count > 0)
		control_reply(world->kept[--world->kept_count], json_object());
	unit_end_loop(&world->loop);
	unit_remove_directory(world->directory);
}

static int connect_peer(struct world *world)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", world->path);
	CU_ASSERT_FATAL(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	return fd;
}

static void say(int fd, const char *text)
{
	CU_ASSERT(send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text));
}

#define REQUEST(op, args) "{\"version\":1,\"op\":\"" op "\",\"args\":" args "}\n"

/* `count` peers that say `text`; "": nothing. */
static void crowd(struct world *world, size_t count, const char *text)
{
	for (size_t i = 0; i < count; i++) {
		CU_ASSERT_FATAL(world->peer_count < PEERS_MAX);
		world->peers[world->peer_count] = connect_peer(world);
		say(world->peers[world->peer_count++], text);
		uv_run(&world->loop, UV_RUN_NOWAIT);
		uv_run(&world->loop, UV_RUN_NOWAIT);
	}
}

struct answer {
	int fd;
	size_t stop_at; /* bytes; 0: read all */
	char begin[128];
	size_t length;
	char last; /* byte */
	bool end;  /* of the line, or of the connection */
};

static bool has_answer(void *data)
{
	struct answer *answer = data;
	char part[65536];
	ssize_t got;

	while (!answer->end) {
		got = recv(answer->fd, part, sizeof(part), MSG_DONTWAIT);
		if (got < 0 && errno == EAGAIN)
			return false;
		answer->end = got <= 0 || part[got - 1] == '\n';
		for (ssize_t i = 0; i < got && answer->length + (size_t)i < 127; i++)
			answer->begin[answer->length + (size_t)i] = part[i];
		answer->length += got > 0 ? (size_t)got : 0;
		answer->last = got > 0 ? part[got - 1] : '\0';
		if (answer->stop_at && answer->length >= answer->stop_at)
			return true;
	}
	return true;
}

/* Asks on a connection of its own. */
static struct answer ask(struct world *world, const char *request, unsigned int ms)
{
	struct answer answer = {.fd = connect_peer(world)};

	say(answer.fd, request);
	CU_ASSERT(unit_wait(&world->loop, has_answer, &answer, ms));
	close(answer.fd);
	return answer;
}

static bool is_good(struct answer answer)
{
	return strncmp(answer.begin, "{\"version\":1,\"ok\":true,", 23) == 0;
}

static struct control_stats stats_of(const struct world *world)
{
	struct control_stats stats;

	control_read_stats(world->server, &stats);
	return stats;
}

static void silent_connections_keep_no_request_out(void)
{
	struct world world;

	begin(&world);
	crowd(&world, 300, "");
	CU_ASSERT(is_good(ask(&world, REQUEST("cni.add", "{}"), 500)));
	CU_ASSERT(is_good(ask(&world, REQUEST("echo", "{}"), 500)));
	CU_ASSERT(stats_of(&world).connections < 256);
	CU_ASSERT(stats_of(&world).closed_for_room > 40);
	end(&world);
}

static void waiting_requests_leave_room_for_the_plugin(void)
{
	struct answer refused;
	struct world world;

	begin(&world);
	crowd(&world, 300, REQUEST("later", "{}"));
	CU_ASSERT(world.kept_count == 128);
	CU_ASSERT(stats_of(&world).ordinary == 128);
	refused = ask(&world, REQUEST("echo", "{}"), 500);
	CU_ASSERT(strstr(refused.begin, "\"code\":16,") != NULL);
	CU_ASSERT(is_good(ask(&world, REQUEST("cni.add", "{}"), 500)));
	CU_ASSERT(stats_of(&world).refused == 173);
	/* One less, and there is room for one more. */
	control_reply(world.kept[--world.kept_count], json_object());
	CU_ASSERT(is_good(ask(&world, REQUEST("echo", "{}"), 500)));
	end(&world);
}

static void a_request_whose_peer_has_gone_is_not_carried_out(void)
{
	struct world world;
	int fd;

	begin(&world);
	for (int i = 0; i < 10; i++) {
		fd = connect_peer(&world);
		say(fd, REQUEST("cni.add", "{}") REQUEST("echo", "{}"));
		close(fd);
	}
	unit_wait(&world.loop, NULL, NULL, 50);
	CU_ASSERT(world.calls == 0);
	CU_ASSERT(stats_of(&world).abandoned == 10);
	CU_ASSERT(stats_of(&world).connections == 0);
	end(&world);
}

static void a_request_behind_another_is_not_carried_out_either(void)
{
	struct world world;
	int fd;

	begin(&world);
	fd = connect_peer(&world);
	say(fd, REQUEST("cni.later", "{}") REQUEST("cni.add", "{}"));
	unit_wait(&world.loop, NULL, NULL, 20);
	CU_ASSERT(world.kept_count == 1);
	close(fd);
	control_reply(world.kept[--world.kept_count], json_object());
	unit_wait(&world.loop, NULL, NULL, 50);
	CU_ASSERT(world.calls == 0);
	CU_ASSERT(stats_of(&world).connections == 0);
	end(&world);
}

static void a_long_list_is_made_as_it_is_read(void)
{
	struct rusage before, after;
	struct answer answer;
	struct world world;
	json_t *small;

	begin(&world);
	getrusage(RUSAGE_SELF, &before);
	answer = (struct answer){.fd = connect_peer(&world), .stop_at = 1};
	say(answer.fd, REQUEST("list", "{\"items\":100000}"));
	CU_ASSERT(unit_wait(&world.loop, has_answer, &answer, 5000));
	unit_wait(&world.loop, NULL, NULL, 100);
	/* What waits for the peer, and what the kernel holds. */
	CU_ASSERT(world.made < 5000);
	CU_ASSERT(world.done == 0);
	/* Others are answered meanwhile. */
	CU_ASSERT(is_good(ask(&world, REQUEST("echo", "{}"), 500)));
	answer.stop_at = 0;
	CU_ASSERT(unit_wait(&world.loop, has_answer, &answer, 60000));
	getrusage(RUSAGE_SELF, &after);
	CU_ASSERT(world.made == 100000 && world.done == 1);
	CU_ASSERT(answer.length > 100000 * 1024 && answer.last == '\n');
	/* AddressSanitizer keeps what is freed for a while. */
	CU_ASSERT(__asan_init || after.ru_maxrss - before.ru_maxrss < 8 << 10);
	/* The next request on the same connection. */
	answer = (struct answer){.fd = answer.fd};
	say(answer.fd, REQUEST("echo", "{\"a\":1}"));
	CU_ASSERT(unit_wait(&world.loop, has_answer, &answer, 1000));
	CU_ASSERT(is_good(answer));
	/* Whole, as JSON. */
	answer = (struct answer){.fd = answer.fd};
	say(answer.fd, REQUEST("list", "{\"items\":0}"));
	CU_ASSERT(unit_wait(&world.loop, has_answer, &answer, 1000));
	small = json_loads(answer.begin, 0, NULL);
	CU_ASSERT(json_array_size(json_object_get(small, "result")) == 0 && small);
	json_decref(small);
	close(answer.fd);
	end(&world);
}

static void a_list_ends_when_its_reader_goes(void)
{
	struct world world;
	int fd;

	begin(&world);
	fd = connect_peer(&world);
	say(fd, REQUEST("list", "{\"items\":1000000}"));
	unit_wait(&world.loop, NULL, NULL, 50);
	CU_ASSERT(world.done == 0);
	close(fd);
	unit_wait(&world.loop, NULL, NULL, 50);
	CU_ASSERT(world.done == 1);
	CU_ASSERT(stats_of(&world).ordinary == 0);
	/* And with the server. */
	fd = connect_peer(&world);
	say(fd, REQUEST("list", "{\"items\":1000000}"));
	unit_wait(&world.loop, NULL, NULL, 50);
	end(&world);
	CU_ASSERT(world.done == 2);
	close(fd);
}

static void on_slow(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	struct world *world = data;

	(void)netns_fd;
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(args, "number")),
			(json_int_t)world->done);
	world->done++;
	usleep(6000);
	control_reply(request, json_object());
}

static void on_question(struct control_request *request, const json_t *args, int netns_fd,
			void *data)
{
	struct world *world = data;

	(void)args;
	(void)netns_fd;
	world->made = world->done;
	world->calls++;
	control_reply(request, json_object());
}

/* As many as there are containers in a node's start; who asks meanwhile waits for two of them. */
static void many_adds_at_once_are_carried_out_in_turn_and_let_questions_through(void)
{
	struct world world;
	char text[128];

	begin(&world);
	control_register(world.server, "cni.slow", on_slow, &world);
	control_register(world.server, "question", on_question, &world);
	for (size_t i = 0; i < 40; i++) {
		world.peers[world.peer_count++] = connect_peer(&world);
		uv_run(&world.loop, UV_RUN_NOWAIT);
		uv_run(&world.loop, UV_RUN_NOWAIT);
	}
	world.peers[world.peer_count++] = connect_peer(&world);
	for (size_t i = 0; i < 40; i++) {
		snprintf(text, sizeof(text), REQUEST("cni.slow", "{\"number\":%zu}"), i);
		say(world.peers[i], text);
	}
	say(world.peers[40], REQUEST("question", "{}"));
	for (int i = 0; i < 4; i++)
		uv_run(&world.loop, UV_RUN_NOWAIT);
	CU_ASSERT(world.calls == 1 && world.made <= 4);
	/* One that hangs up while it waits is not carried out. */
	close(world.peers[39]);
	world.peers[39] = dup(0);
	for (int i = 0; i < 200 && world.done < 39; i++)
		uv_run(&world.loop, UV_RUN_NOWAIT);
	for (int i = 0; i < 5; i++)
		uv_run(&world.loop, UV_RUN_NOWAIT);
	CU_ASSERT_EQUAL(world.done, 39);
	end(&world);
}

/* However long; then they come in the order in which they were asked. */
static void held_requests_of_the_plugin_wait_and_others_do_not(void)
{
	struct world world;

	begin(&world);
	control_register(world.server, "cni.slow", on_slow, &world);
	control_register(world.server, "question", on_question, &world);
	crowd(&world, 2, "");
	control_hold(world.server, true);
	say(world.peers[0], REQUEST("cni.slow", "{\"number\":0}"));
	say(world.peers[1], REQUEST("cni.slow", "{\"number\":1}"));
	crowd(&world, 1, REQUEST("question", "{}"));
	unit_wait(&world.loop, NULL, NULL, 50);
	CU_ASSERT(world.calls == 1 && world.done == 0);
	control_hold(world.server, false);
	unit_wait(&world.loop, NULL, NULL, 50);
	CU_ASSERT_EQUAL(world.done, 2);
	end(&world);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(silent_connections_keep_no_request_out),
		UNIT_TEST(waiting_requests_leave_room_for_the_plugin),
		UNIT_TEST(a_request_whose_peer_has_gone_is_not_carried_out),
		UNIT_TEST(a_request_behind_another_is_not_carried_out_either),
		UNIT_TEST(a_long_list_is_made_as_it_is_read),
		UNIT_TEST(a_list_ends_when_its_reader_goes),
		UNIT_TEST(many_adds_at_once_are_carried_out_in_turn_and_let_questions_through),
		UNIT_TEST(held_requests_of_the_plugin_wait_and_others_do_not),
	};

	return UNIT_RUN("control_load", tests);
}
