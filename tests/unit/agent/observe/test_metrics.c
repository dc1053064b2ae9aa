/* SPDX-License-Identifier: Apache-2.0 */
/* Prometheus text, and the HTTP server that hands it out. */
#include "agent/observe/metrics.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sys/socket.h>

#include "agent/observe/http.h"
#include "agent/common/listen_address.h"
#include "tests/unit/unit.h"

static bool finished_as(struct metrics *metrics, const char *expected)
{
	size_t length = 0;
	char *text = metrics_finish(metrics, &length);
	bool same = text && length == strlen(text) && strcmp(text, expected) == 0;

	if (!same)
		printf("\n%s", text);
	free(text);
	metrics_free(metrics);
	return same;
}

static void writes_help_type_and_samples(void)
{
	const struct metric_label labels[] = {{"reason", "short_packet"}, {"hook", "to_pod"}};
	struct metrics *metrics = metrics_new();

	metrics_family(metrics, "polder_drops_total", METRIC_COUNTER, "Packets dropped.");
	metrics_sample_u64(metrics, UINT64_MAX, labels, 2);
	metrics_sample_u64(metrics, 0, labels, 1);
	metrics_single(metrics, "polder_up_seconds", METRIC_GAUGE, "Age.", 0.1);
	CU_ASSERT(finished_as(metrics,
			      "# HELP polder_drops_total Packets dropped.\n"
			      "# TYPE polder_drops_total counter\n"
			      "polder_drops_total{reason=\"short_packet\",hook=\"to_pod\"} "
			      "18446744073709551615\n"
			      "polder_drops_total{reason=\"short_packet\"} 0\n"
			      "# HELP polder_up_seconds Age.\n"
			      "# TYPE polder_up_seconds gauge\n"
			      "polder_up_seconds 0.1\n"));
}

static void escapes_labels_and_help(void)
{
	const struct metric_label label = {"name", "a\"b\\c\nd"};
	struct metrics *metrics = metrics_new();

	metrics_family(metrics, "x", METRIC_GAUGE, "one\ntwo \\ \"three\"");
	metrics_sample(metrics, 1, &label, 1);
	CU_ASSERT(finished_as(metrics, "# HELP x one\\ntwo \\\\ \"three\"\n# TYPE x gauge\n"
				       "x{name=\"a\\\"b\\\\c\\nd\"} 1\n"));
}

static void writes_numbers_that_read_back(void)
{
	struct metrics *metrics = metrics_new();

	metrics_family(metrics, "x", METRIC_GAUGE, "h");
	metrics_sample(metrics, INFINITY, NULL, 0);
	metrics_sample(metrics, -INFINITY, NULL, 0);
	metrics_sample(metrics, NAN, NULL, 0);
	metrics_sample(metrics, 1.0 / 3, NULL, 0);
	metrics_sample(metrics, 1e9, NULL, 0);
	CU_ASSERT(finished_as(metrics, "# HELP x h\n# TYPE x gauge\nx +Inf\nx -Inf\nx NaN\n"
				       "x 0.3333333333333333\nx 1e+09\n"));
}

static void grows_without_limit(void)
{
	struct metrics *metrics = metrics_new();
	size_t length = 0;
	char *text;

	metrics_family(metrics, "x", METRIC_GAUGE, "h");
	for (int i = 0; i < 20000; i++)
		metrics_sample_u64(metrics, 1, NULL, 0);
	text = metrics_finish(metrics, &length);
	CU_ASSERT(text && length == strlen(text) && length > 20000 * 4);
	free(text);
	text = metrics_finish(metrics, &length);
	CU_ASSERT(text && length == 0);
	free(text);
	metrics_free(metrics);
}

/* ---------------------------------------------------------------- HTTP */

static void reads_listen_addresses(void)
{
	static const char *const wrong[] = {
		"",	     "9100",	     "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536",
		"::1:9100",  "[::1:9100",    "[::1]9100", "host:9100",	"127.0.0.1:+1",
		"[]:9100",   "127.0.0.1:1 ", "1.2.3:9",	  "[x]:1",	"127.0.0.1:99999999999",
		"[::1%lo]:1"};
	struct sockaddr_in6 address;

	CU_ASSERT(listen_address_parse("127.0.0.1:9100", &address) == 0);
	CU_ASSERT(ntohs(address.sin6_port) == 9100);
	CU_ASSERT(IN6_IS_ADDR_V4MAPPED(&address.sin6_addr));
	CU_ASSERT(listen_address_parse("[::1]:1", &address) == 0);
	CU_ASSERT(IN6_IS_ADDR_LOOPBACK(&address.sin6_addr));
	CU_ASSERT(listen_address_parse(":65535", &address) == 0);
	CU_ASSERT(IN6_IS_ADDR_UNSPECIFIED(&address.sin6_addr));
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		CU_ASSERT(listen_address_parse(wrong[i], &address) == -EINVAL);
}

static unsigned int on_metrics(char **ret_body, size_t *ret_length, void *data)
{
	const size_t size = *(size_t *)data;

	*ret_body = malloc(size);
	memset(*ret_body, 'm', size);
	*ret_length = size;
	return 200;
}

static unsigned int on_ready(char **ret_body, size_t *ret_length, void *data)
{
	return 503;
}

struct exchange {
	int fd;
	char *answer;
	size_t length;
	bool end;
};

static bool answered(void *data)
{
	struct exchange *exchange = data;

	while (!exchange->end) {
		ssize_t got;

		exchange->answer = realloc(exchange->answer, exchange->length + 65537);
		got = recv(exchange->fd, exchange->answer + exchange->length, 65536, MSG_DONTWAIT);
		if (got < 0 && errno == EAGAIN)
			return false;
		if (got > 0)
			exchange->length += (size_t)got;
		else
			exchange->end = true;
		exchange->answer[exchange->length] = '\0';
	}
	return true;
}

static int connect_to(uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons(port),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CU_ASSERT_FATAL(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	return fd;
}

/* Sends the text and returns the whole answer; the server closes. */
static char *ask(uv_loop_t *loop, uint16_t port, const char *request)
{
	struct exchange exchange = {.fd = connect_to(port)};

	CU_ASSERT(send(exchange.fd, request, strlen(request), MSG_NOSIGNAL) > 0);
	CU_ASSERT(unit_wait(loop, answered, &exchange, 5000));
	close(exchange.fd);
	return exchange.answer;
}

static bool answer_begins(uv_loop_t *loop, uint16_t port, const char *request, const char *begin)
{
	char *answer = ask(loop, port, request);
	bool same = answer && strncmp(answer, begin, strlen(begin)) == 0;

	if (!same)
		printf("\n%.200s\n", answer ? answer : "(nothing)");
	free(answer);
	return same;
}

#define END " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

static void serves_get_and_head_only(void)
{
	struct http_server *server;
	size_t size = 300000;
	uv_loop_t loop;
	uint16_t port;
	char *answer;

	uv_loop_init(&loop);
	CU_ASSERT_FATAL(http_server_new(&loop, "127.0.0.1:0", &server) == 0);
	port = http_server_port(server);
	CU_ASSERT(port != 0);
	http_route(server, "/metrics", HTTP_TYPE_METRICS, on_metrics, &size);
	http_route(server, "/readyz", HTTP_TYPE_TEXT, on_ready, NULL);

	answer = ask(&loop, port, "GET /metrics" END);
	CU_ASSERT(strncmp(answer, "HTTP/1.1 200 ", 13) == 0);
	CU_ASSERT(strstr(answer, "Content-Type: text/plain; version=0.0.4") != NULL);
	CU_ASSERT(strstr(answer, "Content-Length: 300000\r\n") != NULL);
	CU_ASSERT(strlen(strstr(answer, "\r\n\r\n") + 4) == size);
	free(answer);
	answer = ask(&loop, port, "HEAD /metrics" END);
	CU_ASSERT(strstr(answer, "Content-Length: 300000\r\n") != NULL);
	CU_ASSERT(strlen(strstr(answer, "\r\n\r\n") + 4) == 0);
	free(answer);
	CU_ASSERT(answer_begins(&loop, port, "GET /readyz" END, "HTTP/1.1 503 "));
	CU_ASSERT(answer_begins(&loop, port, "GET /" END, "HTTP/1.1 404 "));
	CU_ASSERT(answer_begins(&loop, port, "GET /metrics/../x" END, "HTTP/1.1 404 "));
	CU_ASSERT(answer_begins(&loop, port, "DELETE /metrics" END, "HTTP/1.1 405 "));
	CU_ASSERT(answer_begins(&loop, port,
				"POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
				"Content-Length: 5\r\n\r\nhello",
				"HTTP/1.1 405 "));
	http_server_free(server);
	unit_end_loop(&loop);
}

static void tells_that_a_port_is_taken(void)
{
	struct http_server *first, *second;
	char address[32];
	uv_loop_t loop;

	uv_loop_init(&loop);
	CU_ASSERT_FATAL(http_server_new(&loop, "127.0.0.1:0", &first) == 0);
	snprintf(address, sizeof(address), "127.0.0.1:%u", http_server_port(first));
	CU_ASSERT(http_server_new(&loop, address, &second) == -EADDRINUSE);
	CU_ASSERT(http_server_new(&loop, "nonsense", &second) == -EINVAL);
	http_server_free(first);
	unit_end_loop(&loop);
}

static void ends_with_clients_still_there(void)
{
	struct http_server *server;
	uv_loop_t loop;
	int idle, half;

	uv_loop_init(&loop);
	CU_ASSERT_FATAL(http_server_new(&loop, ":0", &server) == 0);
	idle = connect_to(http_server_port(server));
	half = connect_to(http_server_port(server));
	CU_ASSERT(send(half, "GET /met", 8, MSG_NOSIGNAL) == 8);
	unit_wait(&loop, NULL, NULL, 20);
	http_server_free(server);
	unit_end_loop(&loop);
	close(idle);
	close(half);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(writes_help_type_and_samples),  UNIT_TEST(escapes_labels_and_help),
		UNIT_TEST(writes_numbers_that_read_back), UNIT_TEST(grows_without_limit),
		UNIT_TEST(reads_listen_addresses),	  UNIT_TEST(serves_get_and_head_only),
		UNIT_TEST(tells_that_a_port_is_taken),	  UNIT_TEST(ends_with_clients_still_there),
	};

	return UNIT_RUN("metrics", tests);
}
