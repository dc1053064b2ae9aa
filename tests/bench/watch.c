/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells when a Service's new endpoint is in force, seen by its clients.
 *   bench-watch serve PORT LETTER   sends LETTER to whoever connects
 *   bench-watch ask ADDRESS PORT    connects again and again; prints "asking", then, when the
 * letter differs from the first one, CLOCK_MONOTONIC in nanoseconds
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PAUSE_US	100  /* between two questions: ports are not without end */
#define ANSWER_LIMIT_US 5000 /* while a Service is rewritten, an answer may be lost */
#define ASK_LIMIT_S	120

_Noreturn static void fail(const char *what)
{
	fprintf(stderr, "bench-watch: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

_Noreturn static void serve(const struct sockaddr_in *own, char letter)
{
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1, fd;

	if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(listener, (const struct sockaddr *)own, sizeof(*own)) < 0 ||
	    listen(listener, 128) < 0)
		fail("listening");
	printf("serving\n");
	fflush(stdout);
	for (;;) {
		fd = accept(listener, NULL, NULL);
		if (fd < 0)
			continue;
		if (send(fd, &letter, 1, MSG_NOSIGNAL) < 0)
			fprintf(stderr, "bench-watch: a client is gone: %s\n", strerror(errno));
		close(fd);
	}
}

/* The answer, or 0 if none came. */
static char ask_once(const struct sockaddr_in *address)
{
	struct timeval limit = {.tv_usec = ANSWER_LIMIT_US};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char byte;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0)
		fail("socket");
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ||
	    recv(fd, &byte, 1, 0) != 1)
		byte = 0;
	close(fd);
	return byte;
}

static int ask(const struct sockaddr_in *address)
{
	int64_t begun = now_ns();
	char first = 0, answer;

	while (now_ns() - begun < ASK_LIMIT_S * 1000000000LL) {
		answer = ask_once(address);
		if (answer && !first) {
			first = answer;
			printf("asking\n");
			fflush(stdout);
		}
		if (answer && answer != first) {
			printf("%lld\n", (long long)now_ns());
			return 0;
		}
		usleep(PAUSE_US);
	}
	fprintf(stderr, "bench-watch: %s\n", first ? "the answer stayed the same" : "no answer");
	return 1;
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET};

	if (argc == 4 && !strcmp(argv[1], "serve")) {
		address.sin_port = htons(atoi(argv[2]));
		serve(&address, argv[3][0]);
	}
	if (argc != 4 || strcmp(argv[1], "ask") ||
	    inet_pton(AF_INET, argv[2], &address.sin_addr) != 1) {
		fprintf(stderr, "usage: bench-watch serve PORT LETTER | ask ADDRESS PORT\n");
		return 2;
	}
	address.sin_port = htons(atoi(argv[3]));
	return ask(&address);
}
