/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets of the kernel, found by whom they are connected to, and ended. Needs root and a loopback
 * link that is up. */
#include "agent/kernel/sock_diag.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/common/address.h"
#include "agent/common/array.h"
#include "agent/kernel/netlink.h"
#include "tests/unit/unit.h"

#define FOUND_MAX 64

static struct netlink *diag;

struct found {
	struct connected_socket items[FOUND_MAX];
	size_t count;
};

static int note(const struct connected_socket *socket, void *data)
{
	struct found *found = data;

	CU_ASSERT_FATAL(found->count < FOUND_MAX);
	found->items[found->count++] = *socket;
	return 0;
}

static struct backend peer(const char *text, uint16_t port)
{
	struct backend peer = {.port_be = htons(port)};

	CU_ASSERT_FATAL(addr_parse(text, &peer.addr) == 0);
	return peer;
}

/* Connected to the address, by a socket of the family. */
static int connect_to(int family, int type, const char *text, uint16_t port)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), r;

	CU_ASSERT_FATAL(fd >= 0);
	if (family == AF_INET) {
		CU_ASSERT_FATAL(inet_pton(AF_INET, text, &v4.sin_addr) == 1);
		r = connect(fd, (struct sockaddr *)&v4, sizeof(v4));
	} else {
		CU_ASSERT_FATAL(inet_pton(AF_INET6, text, &v6.sin6_addr) == 1);
		r = connect(fd, (struct sockaddr *)&v6, sizeof(v6));
	}
	CU_ASSERT_FATAL(r == 0 || errno == EINPROGRESS);
	return fd;
}

static int listen_at(const char *text, uint16_t port)
{
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	CU_ASSERT_FATAL(inet_pton(AF_INET6, text, &v6.sin6_addr) == 1);
	CU_ASSERT_FATAL(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0);
	CU_ASSERT_FATAL(bind(fd, (struct sockaddr *)&v6, sizeof(v6)) == 0);
	CU_ASSERT_FATAL(listen(fd, 8) == 0);
	return fd;
}

static uint64_t cookie_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t length = sizeof(cookie);

	CU_ASSERT_FATAL(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length) == 0);
	return cookie;
}

static int error_of(int fd)
{
	int error = 0;
	socklen_t length = sizeof(error);

	CU_ASSERT_FATAL(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0);
	return error;
}

static bool finds(uint8_t proto, const struct backend *peers, size_t count, int fd)
{
	struct found found = {};
	bool there = false;

	CU_ASSERT(sock_diag_list(diag, proto, peers, count, note, &found) == 0);
	for (size_t i = 0; i < found.count; i++)
		there |= found.items[i].cookie == cookie_of(fd);
	return there;
}

static void this_kernel_can_end_sockets(void)
{
	CU_ASSERT_EQUAL(sock_diag_probe(diag), 0);
}

static void lists_sockets_that_are_connected_to_one_of_some_peers(void)
{
	int v4 = connect_to(AF_INET, SOCK_DGRAM, "127.0.0.2", 5000),
	    mapped = connect_to(AF_INET6, SOCK_DGRAM, "::ffff:127.0.0.2", 5000),
	    v6 = connect_to(AF_INET6, SOCK_DGRAM, "::1", 5000),
	    port = connect_to(AF_INET, SOCK_DGRAM, "127.0.0.2", 5001);
	const struct backend one = peer("127.0.0.2", 5000), other = peer("::1", 5000);
	struct backend many[SOCK_DIAG_PEERS_MAX + 1];

	for (size_t count = 1; count <= COUNT(many); count++) {
		for (size_t i = 0; i < count; i++)
			many[i] = i % 2 ? peer("::2", (uint16_t)(6000 + i))
					: peer("127.0.0.9", (uint16_t)(6000 + i));
		/* Where it stands decides nothing. */
		many[count / 2] = one;
		CU_ASSERT(finds(IPPROTO_UDP, many, count, v4));
		CU_ASSERT(finds(IPPROTO_UDP, many, count, mapped));
		if (count > SOCK_DIAG_PEERS_MAX)
			break;
		CU_ASSERT(!finds(IPPROTO_UDP, many, count, v6));
		CU_ASSERT(!finds(IPPROTO_UDP, many, count, port));
		many[count - 1] = other;
		CU_ASSERT(finds(IPPROTO_UDP, many, count, v6));
		CU_ASSERT(count < 3 || finds(IPPROTO_UDP, many, count, v4));
	}
	CU_ASSERT(!finds(IPPROTO_TCP, &one, 1, v4));
	CU_ASSERT(finds(IPPROTO_UDP, NULL, 0, v4) && finds(IPPROTO_UDP, NULL, 0, v6));
	close(v4);
	close(mapped);
	close(v6);
	close(port);
}

static void tells_whom_a_socket_is_connected_to(void)
{
	int fd = connect_to(AF_INET6, SOCK_DGRAM, "::ffff:127.0.0.2", 5000);
	const struct backend one = peer("127.0.0.2", 5000);
	struct found found = {};

	CU_ASSERT(sock_diag_list(diag, IPPROTO_UDP, &one, 1, note, &found) == 0);
	CU_ASSERT_FATAL(found.count == 1);
	CU_ASSERT_EQUAL(found.items[0].cookie, cookie_of(fd));
	CU_ASSERT_EQUAL(found.items[0].family, AF_INET6);
	CU_ASSERT_EQUAL(found.items[0].proto, IPPROTO_UDP);
	CU_ASSERT_EQUAL(found.items[0].remote_port_be, htons(5000));
	CU_ASSERT(memcmp(&found.items[0].remote, &one.addr, sizeof(one.addr)) == 0);
	close(fd);
}

static void ends_one(uint8_t proto, int fd, const struct backend *to, int want)
{
	struct found found = {};
	size_t i = 0;

	CU_ASSERT(sock_diag_list(diag, proto, to, 1, note, &found) == 0);
	while (i < found.count && found.items[i].cookie != cookie_of(fd))
		i++;
	CU_ASSERT_FATAL(i < found.count);
	/* Another socket that has the tuple now is not meant. */
	found.items[i].id.idiag_cookie[0]++;
	CU_ASSERT_EQUAL(sock_diag_end(diag, &found.items[i]), -ENOENT);
	CU_ASSERT_EQUAL(error_of(fd), 0);
	found.items[i].id.idiag_cookie[0]--;
	CU_ASSERT_EQUAL(sock_diag_end(diag, &found.items[i]), 0);
	CU_ASSERT_EQUAL(error_of(fd), want);
	CU_ASSERT_EQUAL(sock_diag_end(diag, &found.items[i]), -ENOENT);
	CU_ASSERT(!finds(proto, to, 1, fd));
}

static void ends_the_very_socket(void)
{
	static const struct {
		int family, type;
		const char *address;
	} cases[] = {
		{AF_INET, SOCK_DGRAM, "127.0.0.2"},
		{AF_INET6, SOCK_DGRAM, "::ffff:127.0.0.2"},
		{AF_INET6, SOCK_DGRAM, "::1"},
		{AF_INET, SOCK_STREAM, "127.0.0.2"},
		{AF_INET6, SOCK_STREAM, "::ffff:127.0.0.2"},
		{AF_INET6, SOCK_STREAM, "::1"},
	};
	int listener = listen_at("::", 5000);

	for (size_t i = 0; i < COUNT(cases); i++) {
		int fd = connect_to(cases[i].family, cases[i].type, cases[i].address, 5000),
		    other = connect_to(cases[i].family, cases[i].type, cases[i].address, 5000);
		bool v4 = strchr(cases[i].address, '.');
		struct backend to = peer(v4 ? "127.0.0.2" : "::1", 5000);
		uint8_t proto = cases[i].type == SOCK_DGRAM ? IPPROTO_UDP : IPPROTO_TCP;

		ends_one(proto, fd, &to, ECONNABORTED);
		CU_ASSERT_EQUAL(error_of(other), 0);
		CU_ASSERT(finds(proto, &to, 1, other));
		close(fd);
		close(other);
	}
	close(listener);
}

static bool listens(uint8_t proto, const char *address, uint16_t port)
{
	struct backend at = peer(address, port);
	uint32_t user = 1;
	int r = sock_diag_find_listener(diag, proto, &at.addr, port, &user);

	CU_ASSERT(r == 0 || r == -ENOENT);
	CU_ASSERT(r < 0 || user == getuid());
	return r == 0;
}

static void finds_who_waits_at_a_port(void)
{
	int everywhere = listen_at("::", 5001);
	int connected = connect_to(AF_INET, SOCK_STREAM, "127.0.0.2", 5001);
	int one = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in at = {.sin_family = AF_INET,
				 .sin_port = htons(5002),
				 .sin_addr.s_addr = htonl(0x7f000002)};

	CU_ASSERT_FATAL(bind(one, (struct sockaddr *)&at, sizeof(at)) == 0);
	CU_ASSERT(listens(IPPROTO_TCP, "127.0.0.1", 5001) && listens(IPPROTO_TCP, "::1", 5001));
	CU_ASSERT(listens(IPPROTO_TCP, "0.0.0.0", 5001) && listens(IPPROTO_TCP, "::", 5001));
	CU_ASSERT(!listens(IPPROTO_UDP, "127.0.0.1", 5001) && !listens(IPPROTO_TCP, "::1", 5003));
	CU_ASSERT(listens(IPPROTO_UDP, "127.0.0.2", 5002) && listens(IPPROTO_UDP, "0.0.0.0", 5002));
	CU_ASSERT(!listens(IPPROTO_UDP, "127.0.0.1", 5002) && !listens(IPPROTO_UDP, "::", 5002));
	close(one);
	close(everywhere);
	/* Who is connected waits for nobody. */
	CU_ASSERT(!listens(IPPROTO_TCP, "127.0.0.2", 5001));
	close(connected);
}

static const struct unit_test tests[] = {
	UNIT_TEST(this_kernel_can_end_sockets),
	UNIT_TEST(lists_sockets_that_are_connected_to_one_of_some_peers),
	UNIT_TEST(tells_whom_a_socket_is_connected_to),
	UNIT_TEST(ends_the_very_socket),
	UNIT_TEST(finds_who_waits_at_a_port),
};

int main(void)
{
	struct netlink *nl = NULL;
	int failed;

	if (unshare(CLONE_NEWNET) < 0) {
		fprintf(stderr, "skipped: network namespaces need root (CAP_SYS_ADMIN)\n");
		return 77;
	}
	if (netlink_open(-1, &nl) < 0 || netlink_link_set_up(nl, 1) < 0 ||
	    sock_diag_open(&diag) < 0)
		return 1;
	netlink_close(nl);
	failed = UNIT_RUN("sock_diag", tests);
	netlink_close(diag);
	return failed;
}
