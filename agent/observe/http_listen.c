/* SPDX-License-Identifier: Apache-2.0 */
/* Where the HTTP server listens. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/common/listen_address.h"
#include "agent/observe/http_internal.h"

#define UNIX_PREFIX "unix:"

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

/* What a dead agent has left is replaced; a file that is something else is not. The mask makes it
 * 0600 from its first moment. */
static int listen_unix(const char *path, int *ret_fd)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	CLEANUP(cleanup_close) int fd = -1;
	struct stat status;
	mode_t mask;
	int r;

	if (!path[0] || strlen(path) >= sizeof(address.sun_path))
		return -EINVAL;
	memcpy(address.sun_path, path, strlen(path));
	if (lstat(path, &status) == 0 && !S_ISSOCK(status.st_mode))
		return -EEXIST;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* One that somebody listens at is not taken away. */
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 || errno == EAGAIN)
		return -EADDRINUSE;
	if (unlink(path) < 0 && errno != ENOENT)
		return -errno;
	mask = umask(0177);
	r = bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	umask(mask);
	if (r == 0 && listen(fd, SOMAXCONN) < 0)
		r = -errno;
	if (r == 0)
		*ret_fd = TAKE_FD(fd);
	return r;
}

int http_listen(const char *address, int *ret_fd, char **ret_path)
{
	CLEANUP(cleanup_free) char *path = NULL;
	struct sockaddr_in6 parsed;
	int r;

	if (strncmp(address, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0) {
		path = strdup(address + strlen(UNIX_PREFIX));
		r = path ? listen_unix(path, ret_fd) : -ENOMEM;
		if (r == 0)
			*ret_path = TAKE_PTR(path);
		return r;
	}
	r = listen_address_parse(address, &parsed);
	if (r < 0)
		return r;
	r = listen_on(&parsed);
	if (r < 0)
		return r;
	*ret_fd = r;
	return 0;
}
