/* SPDX-License-Identifier: Apache-2.0 */
/* Little servers and clients for guests without libraries: a line for each TCP connection,
 * datagrams without end, bytes in bulk. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define PACE_US                                                                                    \
	100 /* between two datagrams of a flood: the CPU that takes them has to find time for      \
	       others */

static int complain(const char *what, const char *where)
{
	fprintf(stderr, "flow: %s %s: %s\n", what, where, strerror(errno));
	return 1;
}

/* A bound socket of a process in the background, -1: neither. IPv4 is served by it, too; alone,
 * where the kernel has no IPv6. */
static int open_port(const char *port, int type)
{
	const uint16_t port_be = htons((uint16_t)atoi(port));
	const struct sockaddr_in6 any_v6 = {.sin6_family = AF_INET6, .sin6_port = port_be};
	const struct sockaddr_in any_v4 = {.sin_family = AF_INET, .sin_port = port_be};
	int fd = socket(AF_INET6, type, 0), on = 1;
	const bool v6 = fd >= 0;

	if (!v6)
		fd = socket(AF_INET, type, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    bind(fd, v6 ? (const struct sockaddr *)&any_v6 : (const struct sockaddr *)&any_v4,
		 v6 ? sizeof(any_v6) : sizeof(any_v4)) < 0 ||
	    (type == SOCK_STREAM && listen(fd, 16) < 0)) {
		complain("cannot serve port", port);
		return -1;
	}
	if (daemon(0, 0) < 0) {
		complain("cannot go to the background, port", port);
		return -1;
	}
	return fd;
}

static int serve(const char *port, const char *line)
{
	int fd = open_port(port, SOCK_STREAM);

	if (fd < 0)
		return 1;
	for (;;) {
		int peer = accept(fd, NULL, NULL);

		if (peer < 0)
			continue;
		(void)!write(peer, line, strlen(line));
		close(peer);
	}
}

static int parse(const char *address, const char *port, struct sockaddr_storage *ret,
		 socklen_t *ret_length)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = v4.sin_port};

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
	struct timeval limit = {.tv_sec = 4};
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

/* The number of datagrams that came stands in the file, from the first on. */
static int count(const char *port, const char *path)
{
	int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600), fd = open_port(port, SOCK_DGRAM);
	unsigned int number = 0;
	char text[16];

	if (file < 0)
		return complain("cannot write", path);
	if (fd < 0)
		return 1;
	for (;;) {
		if (recv(fd, text, sizeof(text), 0) < 0)
			continue;
		(void)!pwrite(file, text, (size_t)snprintf(text, sizeof(text), "%u\n", ++number),
			      0);
	}
}

/* Datagrams of one flow, until somebody ends it. */
static int flood(const char *address, const char *port)
{
	struct sockaddr_storage to;
	socklen_t length;
	int fd;

	if (parse(address, port, &to, &length) < 0) {
		errno = EINVAL;
		return complain("not an address:", address);
	}
	fd = socket(to.ss_family, SOCK_DGRAM, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, length) < 0)
		return complain("no socket for", address);
	for (;;) {
		(void)!send(fd, "flood", 5, 0);
		usleep(PACE_US);
	}
}

/* Takes what comes and answers, once the other side has said all, how many bytes that were. */
static int sink(const char *port)
{
	static char buffer[1 << 17];
	int fd = open_port(port, SOCK_STREAM);

	if (fd < 0)
		return 1;
	for (;;) {
		int peer = accept(fd, NULL, NULL);
		uint64_t sum = 0;
		ssize_t got;

		while (peer >= 0 && (got = read(peer, buffer, sizeof(buffer))) > 0)
			sum += (uint64_t)got;
		if (peer >= 0)
			dprintf(peer, "%llu", (unsigned long long)sum);
		close(peer);
	}
}

/* Sends for so many seconds and prints how many bytes a second have arrived. */
static int bulk(const char *address, const char *port, const char *seconds)
{
	static char buffer[1 << 17];
	struct timeval limit = {.tv_sec = 10};
	struct timespec began, now;
	struct sockaddr_storage to;
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
	clock_gettime(CLOCK_MONOTONIC, &began);
	do {
		if (write(fd, buffer, sizeof(buffer)) < 0)
			return complain("nothing moves on towards", address);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec - began.tv_sec < atoi(seconds));
	shutdown(fd, SHUT_WR);
	got = read(fd, buffer, sizeof(buffer) - 1);
	if (got <= 0)
		return complain("no answer from", address);
	buffer[got] = '\0';
	clock_gettime(CLOCK_MONOTONIC, &now);
	printf("%lld\n", atoll(buffer) * 1000 /
				 ((now.tv_sec - began.tv_sec) * 1000 +
				  (now.tv_nsec - began.tv_nsec) / 1000000));
	return 0;
}

/* Does the kernel wait for all CPUs on demand? */
static int membarrier(void)
{
	int r = (int)syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);

	printf("%s\n", r < 0 ? strerror(errno) : "slow_paths");
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (argc == 4 && strcmp(what, "serve") == 0)
		return serve(argv[2], argv[3]);
	if (argc == 4 && strcmp(what, "ask") == 0)
		return ask(argv[2], argv[3]);
	if (argc == 4 && strcmp(what, "count") == 0)
		return count(argv[2], argv[3]);
	if (argc == 4 && strcmp(what, "flood") == 0)
		return flood(argv[2], argv[3]);
	if (argc == 3 && strcmp(what, "sink") == 0)
		return sink(argv[2]);
	if (argc == 5 && strcmp(what, "bulk") == 0)
		return bulk(argv[2], argv[3], argv[4]);
	if (argc == 2 && strcmp(what, "membarrier") == 0)
		return membarrier();
	fprintf(stderr, "usage: flow serve PORT LINE | ask ADDRESS PORT | count PORT FILE | flood "
			"ADDRESS PORT |\n"
			"       sink PORT | bulk ADDRESS PORT SECONDS | membarrier\n");
	return 2;
}
