/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP server among clients that connect too often, speak too slowly, or do not listen. */
#include "agent/observe/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "tests/unit/unit.h"

#define HOSTILE_MAX 512
#define GET(path)   "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"

struct world {
	uv_loop_t loop;
	struct http_server *server;
	uint16_t port;
	unsigned int rendered;
	int hostile[HOSTILE_MAX];
	size_t hostile_count;
};

static unsigned int on_metrics(char **ret_body, size_t *ret_length, void *data)
{
	struct world *world = data;

	world->rendered++;
	*ret_length = 8u << 20;
	*ret_body = malloc(*ret_length);
	memset(*ret_body, 'm', *ret_length);
	return 200;
}

static unsigned int on_health(char **ret_body, size_t *ret_length, void *data)
{
	(void)data;
	*ret_body = strdup("ok\n");
	*ret_length = 3;
	return 200;
}

static void begin(struct world *world, const char *address)
{
	*world = (struct world){};
	uv_loop_init(&world->loop);
	CU_ASSERT_FATAL(http_server_new(&world->loop, address, &world->server) == 0);
	world->port = http_server_port(world->server);
	http_route_cached(world->server, "/metrics", HTTP_TYPE_METRICS, on_metrics, world, 1000);
	http_route(world->server, "/healthz", HTTP_TYPE_TEXT, on_health, NULL);
}

static void end(struct world *world)
{
	for (size_t i = 0; i < world->hostile_count; i++)
		close(world->hostile[i]);
	http_server_free(world->server);
	unit_end_loop(&world->loop);
}

/* From 127.0.0.HOST; 0: from ::1. */
static int connect_from(const struct world *world, unsigned int host)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET,
				 .sin_addr.s_addr = htonl(0x7f000000 | host)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6,
				  .sin6_port = htons(world->port),
				  .sin6_addr = in6addr_loopback};
	int fd = socket(host ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (host) {
		CU_ASSERT(bind(fd, (struct sockaddr *)&v4, sizeof(v4)) == 0);
		v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		v4.sin_port = htons(world->port);
		CU_ASSERT_FATAL(connect(fd, (struct sockaddr *)&v4, sizeof(v4)) == 0);
	} else {
		CU_ASSERT_FATAL(connect(fd, (struct sockaddr *)&v6, sizeof(v6)) == 0);
	}
	return fd;
}

/* Connections that say `text` and no more. */
static void attack(struct world *world, unsigned int host, size_t count, const char *text)
{
	for (size_t i = 0; i < count; i++) {
		int fd = connect_from(world, host);

		CU_ASSERT_FATAL(world->hostile_count < HOSTILE_MAX);
		if (*text)
			CU_ASSERT(send(fd, text, strlen(text), MSG_NOSIGNAL) > 0);
		world->hostile[world->hostile_count++] = fd;
		uv_run(&world->loop, UV_RUN_NOWAIT);
	}
	unit_wait(&world->loop, NULL, NULL, 20);
}

struct exchange {
	int fd;
	char text[64]; /* the beginning */
	size_t length;
	bool end;
};

static bool answered(void *data)
{
	struct exchange *exchange = data;
	char part[65536];
	ssize_t got;

	while (!exchange->end) {
		got = recv(exchange->fd, part, sizeof(part), MSG_DONTWAIT);
		if (got < 0 && errno == EAGAIN)
			return false;
		exchange->end = got <= 0;
		for (ssize_t i = 0; i < got && exchange->length + (size_t)i < 63; i++)
			exchange->text[exchange->length + (size_t)i] = part[i];
		exchange->length += got > 0 ? (size_t)got : 0;
	}
	return true;
}

/* Is a request answered within `ms`? */
static bool is_served(struct world *world, unsigned int host, const char *request, unsigned int ms)
{
	struct exchange exchange = {.fd = connect_from(world, host)};
	bool served;

	CU_ASSERT(send(exchange.fd, request, strlen(request), MSG_NOSIGNAL) > 0);
	served = unit_wait(&world->loop, answered, &exchange, ms) &&
		 strncmp(exchange.text, "HTTP/1.1 200 ", 13) == 0;
	close(exchange.fd);
	return served;
}

static uint64_t open_now(const struct world *world)
{
	struct http_stats stats;

	http_server_read_stats(world->server, &stats);
	return stats.connections;
}

static void many_silent_connections_keep_nobody_out(void)
{
	static const unsigned int hosts[] = {1, 0};
	struct world world;

	for (size_t i = 0; i < 2; i++) {
		begin(&world, hosts[i] ? "127.0.0.1:0" : "[::1]:0");
		for (unsigned int round = 0; round < 3; round++) {
			attack(&world, hosts[i], 100, "");
			CU_ASSERT(is_served(&world, hosts[i], GET("/healthz"), 500));
			CU_ASSERT(open_now(&world) <= 16);
		}
		end(&world);
	}
}

static void many_addresses_keep_nobody_out(void)
{
	struct world world;

	begin(&world, "127.0.0.1:0");
	for (unsigned int host = 2; host < 32; host++)
		attack(&world, host, 10, "GET /metr");
	CU_ASSERT(open_now(&world) <= 64);
	CU_ASSERT(is_served(&world, 1, GET("/healthz"), 500));
	CU_ASSERT(is_served(&world, 40, GET("/metrics"), 5000));
	end(&world);
}

static void connections_that_end_leave_room(void)
{
	struct http_stats stats;
	struct world world;

	begin(&world, ":0");
	for (unsigned int round = 0; round < 5; round++) {
		attack(&world, 1, 33, "");
		while (world.hostile_count > 0)
			close(world.hostile[--world.hostile_count]);
		unit_wait(&world.loop, NULL, NULL, 20);
		CU_ASSERT(open_now(&world) == 0);
		CU_ASSERT(is_served(&world, 1, GET("/healthz"), 500));
		CU_ASSERT(is_served(&world, 0, GET("/healthz"), 500));
	}
	http_server_read_stats(world.server, &stats);
	CU_ASSERT(stats.requests == 10);
	end(&world);
}

/* Does the server close the connection, though a byte comes every tenth of a second? */
static void a_request_that_comes_byte_by_byte_has_a_deadline(void)
{
	static const char text[] =
		"GET /healthz HTTP/1.1\r\nHost: x\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
	struct exchange exchange;
	struct http_stats stats;
	struct world world;
	size_t sent = 0;

	begin(&world, "127.0.0.1:0");
	exchange = (struct exchange){.fd = connect_from(&world, 1)};
	while (sent < sizeof(text) - 1 && !exchange.end) {
		if (send(exchange.fd, text + sent++, 1, MSG_NOSIGNAL) < 0)
			break;
		unit_wait(&world.loop, answered, &exchange, 100);
	}
	CU_ASSERT(exchange.end);
	CU_ASSERT(sent > 30 && sent < 80);
	CU_ASSERT(exchange.length == 0);
	http_server_read_stats(world.server, &stats);
	CU_ASSERT(stats.closed_late == 1 && stats.requests == 0);
	close(exchange.fd);
	end(&world);
}

static void answers_that_nobody_reads_are_in_memory_once(void)
{
	struct rusage before, after;
	struct world world;

	begin(&world, "127.0.0.1:0");
	CU_ASSERT(is_served(&world, 1, GET("/metrics"), 5000));
	getrusage(RUSAGE_SELF, &before);
	for (unsigned int host = 2; host < 8; host++)
		attack(&world, host, 10, GET("/metrics"));
	getrusage(RUSAGE_SELF, &after);
	/* 60 answers of 8 MiB; the kernel's buffers are not ours. */
	CU_ASSERT(after.ru_maxrss - before.ru_maxrss < 40 << 10);
	CU_ASSERT(is_served(&world, 1, GET("/healthz"), 500));
	CU_ASSERT(world.rendered <= 4);
	end(&world);
}

static void an_exposition_is_made_once_a_second(void)
{
	struct world world;

	begin(&world, "127.0.0.1:0");
	for (int i = 0; i < 20; i++)
		CU_ASSERT(is_served(&world, 1, GET("/metrics"), 5000));
	CU_ASSERT(world.rendered >= 1 && world.rendered <= 3);
	world.rendered = 0;
	unit_wait(&world.loop, NULL, NULL, 1050);
	CU_ASSERT(is_served(&world, 1, GET("/metrics"), 5000));
	CU_ASSERT(world.rendered == 1);
	end(&world);
}

static void a_lack_of_descriptors_passes(void)
{
	struct rlimit limit, low;
	struct world world;
	int fd, waiting;

	begin(&world, "127.0.0.1:0");
	waiting = connect_from(&world, 1);
	getrlimit(RLIMIT_NOFILE, &limit);
	low = limit;
	fd = dup(0);
	close(fd);
	low.rlim_cur = (rlim_t)fd;
	setrlimit(RLIMIT_NOFILE, &low);
	unit_wait(&world.loop, NULL, NULL, 50);
	setrlimit(RLIMIT_NOFILE, &limit);
	CU_ASSERT(is_served(&world, 1, GET("/healthz"), 3000));
	close(waiting);
	end(&world);
}

static unsigned int on_any_path(char **ret_body, size_t *ret_length, void *data)
{
	*ret_body = strdup("{}");
	*ret_length = 2;
	return *(const unsigned int *)data;
}

static void write_status(char *value, size_t size, void *data)
{
	snprintf(value, size, "%u", *(const unsigned int *)data);
}

/* The whole answer. */
static const char *fetch(struct world *world, const char *request)
{
	static char text[1024];
	struct exchange exchange = {.fd = connect_from(world, 1)};
	ssize_t got = 0;
	size_t length = 0;

	CU_ASSERT(send(exchange.fd, request, strlen(request), MSG_NOSIGNAL) > 0);
	unit_wait(&world->loop, NULL, NULL, 50);
	while ((got = recv(exchange.fd, text + length, sizeof(text) - 1 - length, MSG_DONTWAIT)) >
	       0)
		length += (size_t)got;
	text[length] = '\0';
	close(exchange.fd);
	return text;
}

static void every_path_is_answered_with_a_header_of_its_own(void)
{
	unsigned int status = 200;
	const struct http_page page = {.content_type = HTTP_TYPE_JSON,
				       .handler = on_any_path,
				       .header = "X-Status",
				       .header_value = write_status,
				       .data = &status};
	struct world world;

	begin(&world, ":0");
	CU_ASSERT(strstr(fetch(&world, GET("/any")), "HTTP/1.1 404 ") != NULL);
	http_serve_every_path(world.server, &page);
	for (size_t i = 0; i < 2; i++) {
		const char *answer = fetch(&world, i ? GET("/any?x=1") : GET("/"));

		CU_ASSERT(strncmp(answer, "HTTP/1.1 200 ", 13) == 0);
		CU_ASSERT(strstr(answer, "X-Status: 200\r\n") && strstr(answer, "\r\n\r\n{}") &&
			  strstr(answer, "Content-Type: application/json"));
	}
	/* Nothing is kept, and routes come first. */
	status = 503;
	CU_ASSERT(strstr(fetch(&world, GET("/")), "X-Status: 503") != NULL);
	CU_ASSERT(strstr(fetch(&world, GET("/healthz")), "X-Status") == NULL);
	CU_ASSERT(strncmp(fetch(&world, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"),
			  "HTTP/1.1 405 ", 13) == 0);
	end(&world);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(many_silent_connections_keep_nobody_out),
		UNIT_TEST(many_addresses_keep_nobody_out),
		UNIT_TEST(connections_that_end_leave_room),
		UNIT_TEST(a_request_that_comes_byte_by_byte_has_a_deadline),
		UNIT_TEST(answers_that_nobody_reads_are_in_memory_once),
		UNIT_TEST(an_exposition_is_made_once_a_second),
		UNIT_TEST(a_lack_of_descriptors_passes),
		UNIT_TEST(every_path_is_answered_with_a_header_of_its_own),
	};

	return UNIT_RUN("http", tests);
}
