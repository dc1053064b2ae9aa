/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/common/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "agent/common/cleanup.h"

/* Names that others may have taken are passed over, so many. */
#define NAMES	4
#define BACKLOG 128

/* Between a process's bind(2) and its listen(2). */
#define LISTEN_WAIT_NS 10000000
#define LISTEN_TRIES   5

static int lock_opened(int fd, int *ret_fd)
{
	int r;

	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
		*ret_fd = fd;
		return 0;
	}
	r = -errno;
	close(fd);
	return r;
}

int lock_directory(const char *path, int *ret_fd)
{
	return lock_opened(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), ret_fd);
}

int lock_file(const char *path, int *ret_fd)
{
	return lock_opened(open(path, O_CREAT | O_RDWR | O_NOFOLLOW | O_CLOEXEC, 0600), ret_fd);
}

bool lock_is_at(const char *path, int fd)
{
	struct stat here, locked;

	return fd >= 0 && stat(path, &here) == 0 && fstat(fd, &locked) == 0 &&
	       here.st_dev == locked.st_dev && here.st_ino == locked.st_ino;
}

/* ---------------------------------------------------------------- network namespaces */

static socklen_t name_of(const char *name, int number, struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	/* A zero byte first: the name is the network namespace's, not a file system's. */
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
			   (size_t)snprintf(ret->sun_path + 1, sizeof(ret->sun_path) - 1,
					    number ? "%s-%d" : "%s", name, number));
}

/* Whose it is. 0: nobody's; 1: a process of root's, or one that does not say; -EPERM: another's. */
static int ask_owner(const char *name, int number, int tries, pid_t *ret_pid)
{
	CLEANUP(cleanup_close)
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_un address;
	socklen_t length = name_of(name, number, &address);
	struct ucred peer = {};
	socklen_t size = sizeof(peer);

	*ret_pid = 0;
	if (fd < 0)
		return -errno;
	for (int i = 0; connect(fd, (struct sockaddr *)&address, length) < 0; i++) {
		if (errno != ECONNREFUSED && errno != EAGAIN)
			return -errno;
		/* Nobody's, or of a process that has not come to listen, or to accept, yet. */
		if (i == tries)
			return 0;
		nanosleep(&(struct timespec){.tv_nsec = LISTEN_WAIT_NS}, NULL);
	}
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return 1;
	*ret_pid = peer.pid;
	return peer.uid == 0 ? 1 : -EPERM;
}

static int take_name(const char *name, int number, int *ret_fd)
{
	CLEANUP(cleanup_close)
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_un address;
	socklen_t length = name_of(name, number, &address);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, BACKLOG) < 0)
		return -errno;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* Has a process of root's one of the names but for `own`? */
static bool is_taken(const char *name, int own, pid_t *ret_pid)
{
	for (int number = 0; number < NAMES; number++)
		if (number != own && ask_owner(name, number, 0, ret_pid) == 1)
			return true;
	return false;
}

int lock_network_namespace(const char *name, int *ret_fd, pid_t *ret_pid)
{
	CLEANUP(cleanup_close) int fd = -1;
	int r = -EADDRINUSE, own = 0;

	for (own = 0; own < NAMES && r == -EADDRINUSE; own += r < 0) {
		r = take_name(name, own, &fd);
		if (r == -EADDRINUSE && ask_owner(name, own, LISTEN_TRIES, ret_pid) == 1)
			return r;
	}
	if (r < 0)
		return r == -EADDRINUSE ? -EPERM : r;
	/* One that had to pass over names which are free again. */
	if (is_taken(name, own, ret_pid))
		return -EADDRINUSE;
	*ret_fd = TAKE_FD(fd);
	return 0;
}
