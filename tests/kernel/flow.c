/* SPDX-License-Identifier: Apache-2.0 */
/* A server that says one line to each TCP connection, and a client that prints what it is told: for guests without libraries. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static int complain(const char *what, const char *where)
{
	fprintf(stderr, "flow: %s %s: %s\n", what, where, strerror(errno));
	return 1;
}

/* IPv4 is served by the same socket. */
static int serve(const char *port, const char *line)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)atoi(port)) };
	int fd = socket(AF_INET6, SOCK_STREAM, 0);
	int on = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0 || listen(fd, 16) < 0)
		return complain("cannot serve port", port);
	if (daemon(0, 0) < 0)
		return complain("cannot go to the background, port", port);
	for (;;) {
		int peer = accept(fd, NULL, NULL);

		if (peer < 0)
			continue;
		(void)!write(peer, line, strlen(line));
		close(peer);
	}
}

static int parse(const char *address, const char *port, struct sockaddr_storage *ret, socklen_t *ret_length)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = v4.sin_port };

	if (inet_pton(AF_INET, address, &v4.sin_addr) == 1) {
		memcpy(ret, &v4, sizeof(v4));
		*ret_length = sizeof(v4);
		return 0;
	}
	if (inet_pton(AF_INET6, address, &v6.sin6_addr) == 1) {
		memcpy(ret, &v6, sizeof(v6));
		*ret_length = sizeof(v6);
		return 0;
	}
	return -EINVAL;
}

static int ask(const char *address, const char *port)
{
	struct timeval limit = { .tv_sec = 4 };
	struct sockaddr_storage to;
	char line[256];
	socklen_t length;
	ssize_t got;
	int fd;

	if (parse(address, port, &to, &length) < 0) {
		errno = EINVAL;
		return complain("not an address:", address);
	}
	fd = socket(to.ss_family, SOCK_STREAM, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0)
		return complain("no socket for", address);
	if (connect(fd, (struct sockaddr *)&to, length) < 0)
		return complain("cannot connect to", address);
	got = read(fd, line, sizeof(line));
	if (got <= 0)
		return complain("no answer from", address);
	printf("%.*s\n", (int)got, line);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "serve") == 0)
		return serve(argv[2], argv[3]);
	if (argc == 4 && strcmp(argv[1], "ask") == 0)
		return ask(argv[2], argv[3]);
	fprintf(stderr, "usage: flow serve PORT LINE | flow ask ADDRESS PORT\n");
	return 2;
}
