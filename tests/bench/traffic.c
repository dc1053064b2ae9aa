/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TCP server and its clients, all of them as plain as can be:
 *   bench-traffic serve PORT               answers each byte, one connection after the other
 *   bench-traffic rr ADDRESS PORT SECONDS  one connection: prints exchanges a second
 *   bench-traffic times ADDRESS PORT SECONDS  one connection: prints microseconds of an exchange,
 *                                          the median, and what 99 of 100 are below
 *   bench-traffic crr ADDRESS PORT COUNT   connect, one exchange, close: prints the median of
 *                                          microseconds
 *   bench-traffic rate ADDRESS PORT SECONDS  connect, one exchange, close: prints connections a
 *                                          second
 *   bench-traffic hold ADDRESS PORT SOURCE-PORT  connects, exchanges a byte, prints "held", waits
 *                                          for the end of its input
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST_EXCHANGES 1000000 /* a second */

_Noreturn static void fail(const char *what)
{
	fprintf(stderr, "bench-traffic: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static struct sockaddr_in address_of(const char *text, const char *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};

	if (inet_pton(AF_INET, text, &address.sin_addr) != 1)
		fail(text);
	return address;
}

static int new_socket(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0)
		fail("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

_Noreturn static void serve(const char *port)
{
	struct sockaddr_in address = address_of("0.0.0.0", port);
	int listener = new_socket(), fd;
	char byte;

	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(listener, 128) < 0)
		fail("bind");
	printf("serving\n");
	fflush(stdout);
	for (;;) {
		fd = accept(listener, NULL, NULL);
		if (fd < 0)
			fail("accept");
		while (read(fd, &byte, 1) == 1 && write(fd, &byte, 1) == 1)
			;
		close(fd);
	}
}

static int connected(const struct sockaddr_in *address, int sport)
{
	struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(sport)};
	int fd = new_socket();

	if (sport && bind(fd, (struct sockaddr *)&own, sizeof(own)) < 0)
		fail("bind");
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
		fail("connect");
	return fd;
}

static void exchange(int fd)
{
	char byte = 'x';

	if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1)
		fail("exchange");
}

static void request_response(const struct sockaddr_in *address, double seconds)
{
	int fd = connected(address, 0);
	unsigned long count = 0;
	double begun, ended;

	for (int i = 0; i < 1000; i++)
		exchange(fd);
	begun = ended = now();
	while (ended - begun < seconds) {
		for (int i = 0; i < 100; i++)
			exchange(fd);
		count += 100;
		ended = now();
	}
	printf("%.1f\n", count / (ended - begun));
	close(fd);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void exchange_times(const struct sockaddr_in *address, double seconds)
{
	size_t room = seconds * MOST_EXCHANGES, count = 0;
	double *times = calloc(room, sizeof(*times)), begun, last, then;
	int fd = connected(address, 0);

	if (!times)
		fail("memory");
	for (begun = last = now(); last - begun < seconds && count < room; last = then) {
		exchange(fd);
		then = now();
		times[count++] = then - last;
	}
	qsort(times, count, sizeof(*times), compare);
	printf("%.2f %.2f\n", times[count / 2] * 1e6, times[count * 99 / 100] * 1e6);
	free(times);
	close(fd);
}

static void connect_request_close(const struct sockaddr_in *address, int count)
{
	double *times = calloc(count, sizeof(*times)), begun;
	int fd;

	if (!times)
		fail("memory");
	for (int i = 0; i < count; i++) {
		begun = now();
		fd = connected(address, 0);
		exchange(fd);
		close(fd);
		times[i] = now() - begun;
	}
	qsort(times, count, sizeof(*times), compare);
	printf("%.2f\n", times[count / 2] * 1e6);
	free(times);
}

static void connection_rate(const struct sockaddr_in *address, double seconds)
{
	double begun = now(), ended = begun;
	unsigned long count = 0;
	int fd;

	for (; ended - begun < seconds; count++) {
		fd = connected(address, 0);
		exchange(fd);
		close(fd);
		ended = now();
	}
	printf("%.1f\n", count / (ended - begun));
}

static void hold(const struct sockaddr_in *address, int sport)
{
	int fd = connected(address, sport);
	char byte;

	exchange(fd);
	printf("held\n");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	close(fd);
}

int main(int argc, char **argv)
{
	struct sockaddr_in address;

	if (argc == 3 && !strcmp(argv[1], "serve"))
		serve(argv[2]);
	if (argc != 5) {
		fprintf(stderr,
			"usage: bench-traffic serve PORT | rr|times|crr|rate|hold ADDRESS PORT "
			"NUMBER\n");
		return 2;
	}
	address = address_of(argv[2], argv[3]);
	if (!strcmp(argv[1], "rr"))
		request_response(&address, atof(argv[4]));
	else if (!strcmp(argv[1], "times"))
		exchange_times(&address, atof(argv[4]));
	else if (!strcmp(argv[1], "crr"))
		connect_request_close(&address, atoi(argv[4]));
	else if (!strcmp(argv[1], "rate"))
		connection_rate(&address, atof(argv[4]));
	else if (!strcmp(argv[1], "hold"))
		hold(&address, atoi(argv[4]));
	return 0;
}
