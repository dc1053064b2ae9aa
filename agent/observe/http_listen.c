/* SPDX-License-Identifier: Apache-2.0 */
/* Where the HTTP server listens. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/common/listen_address.h"
#include "agent/observe/http_internal.h"

/* Where IPv6 is switched off, an IPv4 socket serves. */
static int listen_v4(const struct sockaddr_in6 *address)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = address->sin6_port};
	CLEANUP(cleanup_close) int fd = -1;
	int one = 1;

	memcpy(&v4.sin_addr, &address->sin6_addr.s6_addr[12], sizeof(v4.sin_addr));
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&v4, sizeof(v4)) < 0 || listen(fd, SOMAXCONN) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static int listen_on(const struct sockaddr_in6 *address)
{
	bool v4 = IN6_IS_ADDR_V4MAPPED(&address->sin6_addr);
	bool any = IN6_IS_ADDR_UNSPECIFIED(&address->sin6_addr);
	CLEANUP(cleanup_close) int fd = -1;
	int one = 1, v6_only = 0;

	if (v4)
		return listen_v4(address);
	fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return errno == EAFNOSUPPORT && any ? listen_v4(address) : -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof(v6_only));
	if (bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ||
	    listen(fd, SOMAXCONN) < 0)
		return -errno;
	return TAKE_FD(fd);
}

int http_listen(const char *address, int *ret_fd)
{
	struct sockaddr_in6 parsed;
	int r;

	r = listen_address_parse(address, &parsed);
	if (r < 0)
		return r;
	r = listen_on(&parsed);
	if (r < 0)
		return r;
	*ret_fd = r;
	return 0;
}
