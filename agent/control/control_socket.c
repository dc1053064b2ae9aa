/* SPDX-License-Identifier: Apache-2.0 */
/* Who owns the control socket's path is decided by a lock, which dies with its process. */
#include "agent/control/control_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/common/cleanup.h"

#define BACKLOG 1024 /* the system limits it (net.core.somaxconn) */

static int check_directory(const char *path)
{
	char directory[PATH_MAX];
	struct stat status;
	const char *slash = strrchr(path, '/');

	if (!slash || slash == path || (size_t)(slash - path) >= sizeof(directory))
		return -EINVAL;
	snprintf(directory, sizeof(directory), "%.*s", (int)(slash - path), path);
	if (mkdir(directory, 0700) < 0 && errno != EEXIST)
		return -errno;
	if (stat(directory, &status) < 0)
		return -errno;
	if (status.st_uid != geteuid() || (status.st_mode & (S_IWGRP | S_IWOTH)))
		return -EPERM;
	return 0;
}

/* A lock file that its owner removed meanwhile guards nothing: only the one that the path still
 * names counts. */
static int take_lock(const char *lock_path, int *ret_fd)
{
	for (;;) {
		CLEANUP(cleanup_close) int fd = -1;
		struct stat ours, named;

		fd = open(lock_path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd < 0)
			return -errno;
		if (flock(fd, LOCK_EX | LOCK_NB) < 0)
			return errno == EWOULDBLOCK ? -EADDRINUSE : -errno;
		if (fstat(fd, &ours) < 0)
			return -errno;
		if (stat(lock_path, &named) == 0 && named.st_dev == ours.st_dev &&
		    named.st_ino == ours.st_ino) {
			*ret_fd = TAKE_FD(fd);
			return 0;
		}
	}
}

static int remove_stale(const char *path)
{
	struct stat status;

	if (lstat(path, &status) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(status.st_mode))
		return -EEXIST;
	return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

/* The mask makes the file 0600 from its first moment. */
static int bind_private(int fd, const struct sockaddr_un *address)
{
	mode_t mask = umask(0177);
	int r = 0;

	if (bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
		r = -errno;
	umask(mask);
	return r;
}

static int listen_at(const char *path, int *ret_fd)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	CLEANUP(cleanup_close) int fd = -1;
	int r;

	memcpy(address.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	r = remove_stale(path);
	if (r == 0)
		r = bind_private(fd, &address);
	if (r < 0)
		return r;
	if (listen(fd, BACKLOG) < 0) {
		r = -errno;
		unlink(path);
		return r;
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int control_socket_open(const char *path, struct control_socket *ret)
{
	struct control_socket socket = {.listen_fd = -1, .lock_fd = -1};
	CLEANUP(cleanup_free) char *copy = NULL;
	char lock_path[sizeof(((struct sockaddr_un *)0)->sun_path) + sizeof(".lock")];
	struct stat status = {0};
	int r;

	if (strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return -ENAMETOOLONG;
	r = check_directory(path);
	if (r < 0)
		return r;
	copy = strdup(path);
	if (!copy)
		return -ENOMEM;
	snprintf(lock_path, sizeof(lock_path), "%s.lock", path);
	r = take_lock(lock_path, &socket.lock_fd);
	if (r < 0)
		return r;
	r = listen_at(path, &socket.listen_fd);
	if (r < 0) {
		unlink(lock_path);
		close(socket.lock_fd);
		return r;
	}
	lstat(path, &status);
	socket.device = status.st_dev;
	socket.inode = status.st_ino;
	socket.path = TAKE_PTR(copy);
	*ret = socket;
	return 0;
}

bool control_socket_is_there(const struct control_socket *socket)
{
	struct stat status;

	return lstat(socket->path, &status) == 0 && status.st_dev == socket->device &&
	       status.st_ino == socket->inode;
}

void control_socket_close(struct control_socket *socket)
{
	char lock_path[sizeof(((struct sockaddr_un *)0)->sun_path) + sizeof(".lock")];

	/* Somebody may have put another file in its place. */
	if (control_socket_is_there(socket))
		unlink(socket->path);
	snprintf(lock_path, sizeof(lock_path), "%s.lock", socket->path);
	unlink(lock_path);
	close(socket->listen_fd);
	if (socket->lock_fd >= 0)
		close(socket->lock_fd);
	free(socket->path);
	*socket = (struct control_socket){.listen_fd = -1, .lock_fd = -1};
}
