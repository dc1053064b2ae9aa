/* SPDX-License-Identifier: Apache-2.0 */
/* polderctl connectivity probe: one question to a server of the test, to a DNS server, or only a
 * connection; the outcome as JSON. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/cli/cli.h"
#include "agent/cli/connectivity.h"
#include "agent/common/array.h"
#include "agent/common/cleanup.h"
#include "agent/common/clock.h"

#define DEADLINE_MS    3000
#define ASK_AGAIN_MS   1000 /* a datagram may get lost */
#define STREAM_BYTES   300000
#define DATAGRAM_MAX   65000
#define SIZE_MAX_BYTES 1000000
#define GREETING_MAX   256
#define UDP_HEADERS4   28
#define UDP_HEADERS6   48

struct probe {
	struct sockaddr_storage to;
	socklen_t to_size;
	bool udp;
	const char *name; /* of the question to a DNS server; NULL: none */
	bool around_mtu;
	size_t size; /* bytes to be sent back; 0: a connection is enough */
	int fd;
	int64_t deadline;

	const char *result;
	char peer[GREETING_MAX];
	size_t bytes;
	int mtu, rcode;
};

static const char *word_of(int error)
{
	switch (-error) {
	case 0:
		return "answered";
	case ECONNREFUSED:
		return "refused";
	case ECONNRESET:
		return "reset";
	case ETIMEDOUT:
		return "no answer";
	case EHOSTUNREACH:
	case ENETUNREACH:
	case EACCES:
	case EPERM:
		return "unreachable";
	case EBADMSG:
		return "damaged";
	case EMSGSIZE:
		return "too large";
	default:
		return strerror(-error);
	}
}

/* Waits for `events`; -ETIMEDOUT at the deadline. */
static int wait_for(const struct probe *probe, short events, int64_t deadline, short *ret)
{
	struct pollfd polled = {.fd = probe->fd, .events = events};
	int64_t left;

	for (;;) {
		left = deadline - clock_monotonic_ms();
		if (left <= 0)
			return -ETIMEDOUT;
		if (poll(&polled, 1, (int)left) > 0) {
			*ret = polled.revents;
			return 0;
		}
	}
}

static int connect_to(struct probe *probe)
{
	int error = 0, type = probe->udp ? SOCK_DGRAM : SOCK_STREAM;
	socklen_t size = sizeof(error);
	short events;

	probe->fd = socket(probe->to.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (probe->fd < 0)
		return -errno;
	if (!connect(probe->fd, (struct sockaddr *)&probe->to, probe->to_size))
		return 0;
	if (errno != EINPROGRESS)
		return -errno;
	if (wait_for(probe, POLLOUT, probe->deadline, &events) < 0)
		return -ETIMEDOUT;
	getsockopt(probe->fd, SOL_SOCKET, SO_ERROR, &error, &size);
	return -error;
}

/* Bytes that tell where they belong, so that pieces that change places are seen. */
static uint8_t pattern(size_t at)
{
	return (uint8_t)(at ^ (at >> 8) * 31 ^ (at >> 16) * 17);
}

/* ---------------------------------------------------------------- TCP */

/* What has come: first the greeting, to its newline, then the pattern from `*got` on. */
static int take_stream(struct probe *probe, const char *data, size_t length, bool *greeted,
		       size_t *got)
{
	for (size_t i = 0; i < length; i++) {
		if (*greeted) {
			if ((uint8_t)data[i] != pattern((*got)++))
				return -EBADMSG;
		} else if (data[i] == '\n') {
			*greeted = true;
		} else if (strlen(probe->peer) + 1 < sizeof(probe->peer)) {
			probe->peer[strlen(probe->peer)] = data[i];
		} else {
			return -EBADMSG;
		}
	}
	return 0;
}

static int send_stream(struct probe *probe, size_t *sent)
{
	char piece[16384];
	size_t length = probe->size - *sent < sizeof(piece) ? probe->size - *sent : sizeof(piece);
	ssize_t n;

	for (size_t i = 0; i < length; i++)
		piece[i] = (char)pattern(*sent + i);
	n = send(probe->fd, piece, length, MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return -errno;
	*sent += n > 0 ? (size_t)n : 0;
	return 0;
}

static int exchange_stream(struct probe *probe)
{
	size_t sent = 0, got = 0;
	bool greeted = false;
	char piece[16384];
	short events;
	ssize_t n;
	int r = 0;

	while (!r && (got < probe->size || !greeted)) {
		r = wait_for(probe, sent < probe->size ? POLLIN | POLLOUT : POLLIN, probe->deadline,
			     &events);
		if (!r && events & POLLOUT && sent < probe->size)
			r = send_stream(probe, &sent);
		if (r || !(events & (POLLIN | POLLERR | POLLHUP)))
			continue;
		n = recv(probe->fd, piece, sizeof(piece), 0);
		if (n > 0)
			r = take_stream(probe, piece, (size_t)n, &greeted, &got);
		else if (n == 0)
			r = -ECONNRESET;
		else if (errno != EAGAIN && errno != EINTR)
			r = -errno;
	}
	probe->bytes = got;
	return r;
}

/* ---------------------------------------------------------------- UDP */

/* Waits for the datagram's answer; others are left aside. */
static int receive_answer(struct probe *probe, const char *sent, size_t length, int64_t deadline)
{
	static char answer[DATAGRAM_MAX + 1];
	short events;
	ssize_t n;
	int r;

	for (;;) {
		r = wait_for(probe, POLLIN, deadline, &events);
		if (r < 0)
			return r;
		n = recv(probe->fd, answer, sizeof(answer), 0);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (n >= 8 && !memcmp(answer, sent, 8))
			return (size_t)n == length && !memcmp(answer, sent, length) ? 0 : -EBADMSG;
	}
}

static int exchange_datagram(struct probe *probe, size_t length)
{
	static char data[DATAGRAM_MAX];
	int r = -ETIMEDOUT;

	for (size_t i = 0; i < length; i++)
		data[i] = (char)pattern(i);
	if (length >= 8 && getrandom(data, 8, 0) != 8)
		return -EIO;
	while (r == -ETIMEDOUT || r == -EMSGSIZE) {
		int64_t again = clock_monotonic_ms() + ASK_AGAIN_MS;

		if (clock_monotonic_ms() >= probe->deadline)
			return r;
		if (send(probe->fd, data, length, MSG_NOSIGNAL) < 0 && errno != EMSGSIZE)
			return -errno;
		r = receive_answer(probe, data, length, again);
	}
	if (!r)
		probe->bytes += length;
	return r;
}

/* One byte below, at, and above what fits in one packet, and what takes several. */
static int exchange_around_mtu(struct probe *probe)
{
	bool six = probe->to.ss_family == AF_INET6;
	socklen_t size = sizeof(probe->mtu);
	int r = getsockopt(probe->fd, six ? IPPROTO_IPV6 : IPPROTO_IP, six ? IPV6_MTU : IP_MTU,
			   &probe->mtu, &size);
	size_t fits;

	if (r < 0)
		return -errno;
	if (probe->mtu < 576 || probe->mtu > DATAGRAM_MAX / 3)
		probe->mtu = probe->mtu < 576 ? 576 : DATAGRAM_MAX / 3;
	fits = (size_t)(probe->mtu - (six ? UDP_HEADERS6 : UDP_HEADERS4));
	for (size_t i = 0; !r && i < 4; i++) {
		const size_t sizes[] = {fits - 1, fits, fits + 1, 3 * fits};

		probe->deadline = clock_monotonic_ms() + DEADLINE_MS;
		r = exchange_datagram(probe, sizes[i]);
	}
	return r;
}

/* ---------------------------------------------------------------- DNS */

/* A question of type A for probe->name. Returns its length; 0: the name is none. */
static size_t make_question(const struct probe *probe, uint8_t *ret, size_t size)
{
	static const uint8_t header[12] = {[2] = 1, [5] = 1}, tail[5] = {0, 0, 1, 0, 1};
	const char *label = probe->name;
	size_t used = sizeof(header), length;

	memcpy(ret, header, sizeof(header));
	if (getrandom(ret, 2, 0) != 2)
		return 0;
	while (*label) {
		length = strcspn(label, ".");
		if (!length || length > 63 || used + length + 1 + sizeof(tail) > size)
			return 0;
		ret[used++] = (uint8_t)length;
		memcpy(ret + used, label, length);
		used += length;
		label += length + (label[length] == '.');
	}
	memcpy(ret + used, tail, sizeof(tail));
	return used + sizeof(tail);
}

/* Any answer to the question shows that the server was reached: also that there is no such name. */
static int ask_name(struct probe *probe)
{
	uint8_t question[300], answer[1500];
	size_t length = make_question(probe, question, sizeof(question));
	short events;
	ssize_t n;

	if (!length)
		return -EINVAL;
	while (clock_monotonic_ms() < probe->deadline) {
		if (send(probe->fd, question, length, MSG_NOSIGNAL) < 0)
			return -errno;
		if (wait_for(probe, POLLIN, clock_monotonic_ms() + ASK_AGAIN_MS, &events) < 0)
			continue;
		n = recv(probe->fd, answer, sizeof(answer), 0);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (n < 12 || memcmp(answer, question, 2) || !(answer[2] & 0x80))
			continue;
		probe->bytes = (size_t)n;
		probe->rcode = answer[3] & 15;
		return 0;
	}
	return -ETIMEDOUT;
}

/* ---------------------------------------------------------------- the command */

bool connectivity_port(const struct cli *cli, uint16_t *ret)
{
	const char *text = cli->values[CLI_PORT];
	char *end;
	long value = text ? strtol(text, &end, 10) : CONNECTIVITY_PORT;

	if (text && (*end || end == text || value < 1 || value > 65535)) {
		cli_error("--port %s: expected a number from 1 to 65535", text);
		return false;
	}
	*ret = (uint16_t)value;
	return true;
}

static bool parse_to(const struct cli *cli, uint16_t port, struct probe *ret)
{
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)&ret->to;
	struct sockaddr_in *four = (struct sockaddr_in *)&ret->to;
	const char *text = cli->values[CLI_TO];

	if (text && inet_pton(AF_INET, text, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons(port);
		ret->to_size = sizeof(*four);
	} else if (text && inet_pton(AF_INET6, text, &six->sin6_addr) == 1) {
		six->sin6_family = AF_INET6;
		six->sin6_port = htons(port);
		ret->to_size = sizeof(*six);
	} else {
		cli_error("--to %s: expected an address", text ? text : "is missing");
		return false;
	}
	return true;
}

static bool parse_size(const struct cli *cli, struct probe *ret)
{
	const char *text = cli->values[CLI_SIZE];
	char *end;
	unsigned long value;

	ret->around_mtu = text && !strcmp(text, "mtu");
	ret->size = ret->around_mtu && !ret->udp ? STREAM_BYTES : 64;
	if (!text || ret->around_mtu)
		return true;
	value = strtoul(text, &end, 10);
	if (*end || end == text || *text == '-' ||
	    value > (ret->udp ? DATAGRAM_MAX : SIZE_MAX_BYTES) || (ret->udp && value < 8)) {
		cli_error("--size %s: expected mtu, or bytes: up to %d of TCP (0: a connection is "
			  "enough), from 8 to %d of UDP",
			  text, SIZE_MAX_BYTES, DATAGRAM_MAX);
		return false;
	}
	ret->size = value;
	return true;
}

static int run_probe(struct probe *probe)
{
	int r;

	probe->deadline = clock_monotonic_ms() + DEADLINE_MS;
	r = connect_to(probe);
	if (r || (!probe->udp && !probe->size && !probe->name))
		return r;
	if (probe->name)
		return ask_name(probe);
	if (!probe->udp)
		return exchange_stream(probe);
	return probe->around_mtu ? exchange_around_mtu(probe)
				 : exchange_datagram(probe, probe->size);
}

int cli_run_connectivity_probe(struct cli *cli)
{
	const char *proto = cli->values[CLI_PROTO];
	struct probe probe = {.name = cli->values[CLI_NAME], .fd = -1};
	int64_t begun = clock_monotonic_ms();
	json_t *outcome;
	uint16_t port;
	int r;

	probe.udp = probe.name || (proto && !strcasecmp(proto, "udp"));
	if (proto && strcasecmp(proto, "udp") && strcasecmp(proto, "tcp")) {
		cli_error("--proto %s: a probe is of tcp or udp", proto);
		return CLI_USAGE;
	}
	if (!connectivity_port(cli, &port) || !parse_to(cli, port, &probe) ||
	    !parse_size(cli, &probe))
		return CLI_USAGE;
	r = run_probe(&probe);
	outcome = json_pack("{s:s, s:s, s:I, s:i, s:i, s:I}", "result", word_of(r), "peer",
			    probe.peer, "bytes", (json_int_t)probe.bytes, "mtu", probe.mtu, "rcode",
			    probe.rcode, "ms", (json_int_t)(clock_monotonic_ms() - begun));
	if (!outcome) /* a greeting that is not UTF-8 */
		outcome = json_pack("{s:s}", "result", "damaged");
	cli_print_json(outcome);
	json_decref(outcome);
	if (probe.fd >= 0)
		close(probe.fd);
	return r ? CLI_FAILED : CLI_OK;
}
