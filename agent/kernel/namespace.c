/* SPDX-License-Identifier: Apache-2.0 */
/* Short work inside another network namespace, and the sysctls of links. */
#include "agent/kernel/namespace.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/nsfs.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

struct namespace_call {
	int netns_fd;
	int (*function)(void *data);
	void *data;
	int result;
};

static void *namespace_thread(void *arg)
{
	struct namespace_call *call = arg;

	if (setns(call->netns_fd, CLONE_NEWNET) < 0)
		call->result = -errno;
	else
		call->result = call->function(call->data);
	return NULL;
}

int namespace_run(int netns_fd, int (*function)(void *data), void *data)
{
	struct namespace_call call = {.netns_fd = netns_fd, .function = function, .data = data};
	sigset_t all, before;
	pthread_t thread;
	int r;

	/* Signals belong to the main thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = -pthread_create(&thread, NULL, namespace_thread, &call);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r < 0)
		return r;
	pthread_join(thread, NULL);
	return call.result;
}

int namespace_check(int netns_fd)
{
	struct stat own, other;
	int type;

	type = ioctl(netns_fd, NS_GET_NSTYPE);
	/* ENOTTY: a file of another kind. */
	if (type < 0)
		return errno == ENOTTY || errno == EOPNOTSUPP || errno == ENODEV ? -EINVAL : -errno;
	if (type != CLONE_NEWNET)
		return -EINVAL;
	if (fstat(netns_fd, &other) < 0 || stat("/proc/thread-self/ns/net", &own) < 0)
		return -errno;
	return own.st_dev == other.st_dev && own.st_ino == other.st_ino ? -EEXIST : 0;
}

int namespace_own_cookie(uint64_t *ret)
{
	socklen_t length = sizeof(*ret);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), r = 0;

	if (fd < 0)
		return -errno;
	if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, ret, &length) < 0)
		r = -errno;
	close(fd);
	return r;
}

static int read_cookie(void *data)
{
	return namespace_own_cookie(data);
}

int namespace_cookie(int netns_fd, uint64_t *ret)
{
	return namespace_run(netns_fd, read_cookie, ret);
}

static const char *sysctls = "/proc/sys/net";

void sysctl_use_directory(const char *directory)
{
	sysctls = directory;
}

int sysctl_link_set(const char *family, const char *link, const char *key, const char *value)
{
	char path[PATH_MAX], now[32];
	ssize_t length;
	int fd, r = 0;

	if (snprintf(path, sizeof(path), "%s/%s/conf/%s/%s", sysctls, family, link, key) >=
	    (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	length = read(fd, now, sizeof(now) - 1);
	close(fd);
	if (length > 0) {
		now[length] = '\0';
		now[strcspn(now, "\n")] = '\0';
		if (strcmp(now, value) == 0)
			return 0;
	}
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, value, strlen(value)) < 0)
		r = -errno;
	close(fd);
	return r;
}
