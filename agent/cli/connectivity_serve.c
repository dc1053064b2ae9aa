/* SPDX-License-Identifier: Apache-2.0 */
/* polderctl connectivity serve: the server of the test's pods. TCP connections are greeted with the
 * host's name and a newline, then what they send is sent back; so are datagrams. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/cli/cli.h"
#include "agent/cli/connectivity.h"

#define CONNECTIONS 64
#define BUFFER	    65536
#define IDLE_MS	    30000

struct connection {
	int fd;
	char *data; /* read, and not yet sent back */
	size_t length, sent;
};

struct server {
	int tcp, udp;
	struct connection connections[CONNECTIONS];
};

/* Both families by one socket where the machine has IPv6. -errno. */
static int open_socket(int type, uint16_t port)
{
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET6, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), no = 0, yes = 1, r;

	if (fd >= 0) {
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof(no));
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
		r = bind(fd, (struct sockaddr *)&six, sizeof(six));
	} else {
		fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (fd < 0)
			return -errno;
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
		r = bind(fd, (struct sockaddr *)&four, sizeof(four));
	}
	if (!r && type == SOCK_STREAM)
		r = listen(fd, CONNECTIONS);
	if (!r)
		return fd;
	r = -errno;
	close(fd);
	return r;
}

static void answer_datagram(int fd)
{
	static char data[BUFFER];
	struct sockaddr_storage from;
	socklen_t size = sizeof(from);
	ssize_t n = recvfrom(fd, data, sizeof(data), 0, (struct sockaddr *)&from, &size);

	if (n >= 0)
		sendto(fd, data, (size_t)n, 0, (struct sockaddr *)&from, size);
}

static void end(struct connection *connection)
{
	close(connection->fd);
	free(connection->data);
	*connection = (struct connection){.fd = -1};
}

static void accept_one(struct server *server)
{
	int fd = accept4(server->tcp, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct connection *free_place = NULL;

	for (size_t i = 0; i < CONNECTIONS; i++)
		if (server->connections[i].fd < 0)
			free_place = &server->connections[i];
	if (fd < 0)
		return;
	if (!free_place) {
		close(fd);
		return;
	}
	*free_place = (struct connection){.fd = fd, .data = malloc(BUFFER)};
	if (!free_place->data) {
		end(free_place);
		return;
	}
	gethostname(free_place->data, 255);
	free_place->data[255] = '\0';
	free_place->length = strlen(free_place->data);
	free_place->data[free_place->length++] = '\n';
}

static void serve_one(struct connection *connection)
{
	ssize_t n;

	if (connection->sent < connection->length) {
		n = send(connection->fd, connection->data + connection->sent,
			 connection->length - connection->sent, MSG_NOSIGNAL);
		if (n > 0)
			connection->sent += (size_t)n;
	} else {
		n = recv(connection->fd, connection->data, BUFFER, 0);
		connection->sent = 0;
		connection->length = n > 0 ? (size_t)n : 0;
	}
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		end(connection);
}

static void turn(struct server *server)
{
	struct pollfd polled[CONNECTIONS + 2] = {{.fd = server->tcp, .events = POLLIN},
						 {.fd = server->udp, .events = POLLIN}};

	for (size_t i = 0; i < CONNECTIONS; i++) {
		const struct connection *connection = &server->connections[i];

		polled[i + 2].fd = connection->fd;
		polled[i + 2].events = connection->sent < connection->length ? POLLOUT : POLLIN;
	}
	if (poll(polled, CONNECTIONS + 2, IDLE_MS) <= 0)
		return;
	for (size_t i = 0; i < CONNECTIONS; i++)
		if (polled[i + 2].revents)
			serve_one(&server->connections[i]);
	if (polled[1].revents)
		answer_datagram(server->udp);
	if (polled[0].revents)
		accept_one(server);
}

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
	stopped = 1;
}

int cli_run_connectivity_serve(struct cli *cli)
{
	struct sigaction action = {.sa_handler = on_signal};
	struct server server = {0};
	uint16_t port;

	if (!connectivity_port(cli, &port))
		return CLI_USAGE;
	server.tcp = open_socket(SOCK_STREAM, port);
	server.udp = open_socket(SOCK_DGRAM, port);
	if (server.tcp < 0 || server.udp < 0) {
		cli_error("port %u cannot be served: %s", port,
			  strerror(server.tcp < 0 ? -server.tcp : -server.udp));
		return CLI_FAILED;
	}
	for (size_t i = 0; i < CONNECTIONS; i++)
		server.connections[i].fd = -1;
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	printf("serving TCP and UDP at port %u\n", port);
	fflush(stdout);
	while (!stopped)
		turn(&server);
	return CLI_OK;
}
