/* SPDX-License-Identifier: Apache-2.0 */
/* Datagrams to the service manager's socket. */
#include "agent/observe/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/common/cleanup.h"

struct notify_watchdog {
	uv_timer_t timer;
};

int notify_send(const char *text)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	CLEANUP(cleanup_close) int fd = -1;
	socklen_t length;

	if (!path || !path[0])
		return 0;
	if ((path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof(address.sun_path))
		return -EAFNOSUPPORT;
	memcpy(address.sun_path, path, strlen(path));
	length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
	if (path[0] == '@')
		address.sun_path[0] = '\0';

	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&address, length) < 0)
		return -errno;
	return 0;
}

int notify_ready(void)
{
	return notify_send("READY=1");
}

int notify_stopping(void)
{
	return notify_send("STOPPING=1");
}

static void on_timer(uv_timer_t *timer)
{
	notify_send("WATCHDOG=1");
}

/* Milliseconds between two signs of life; 0: nobody asks this process for them. */
static uint64_t watchdog_interval(void)
{
	const char *usec = getenv("WATCHDOG_USEC");
	const char *pid = getenv("WATCHDOG_PID");
	unsigned long long value;
	char *end;

	if (!usec || (pid && strtoll(pid, NULL, 10) != getpid()))
		return 0;
	errno = 0;
	value = strtoull(usec, &end, 10);
	if (errno || end == usec || *end || value == 0)
		return 0;
	return value < 2000 ? 1 : value / 2000;
}

int notify_watchdog_start(uv_loop_t *loop, struct notify_watchdog **ret)
{
	uint64_t interval = watchdog_interval();
	struct notify_watchdog *watchdog;

	if (!interval) {
		*ret = NULL;
		return 0;
	}
	watchdog = calloc(1, sizeof(*watchdog));
	if (!watchdog)
		return -ENOMEM;
	uv_timer_init(loop, &watchdog->timer);
	uv_timer_start(&watchdog->timer, on_timer, 0, interval);
	uv_unref((uv_handle_t *)&watchdog->timer);
	*ret = watchdog;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	free(handle);
}

void notify_watchdog_stop(struct notify_watchdog *watchdog)
{
	if (watchdog)
		uv_close((uv_handle_t *)&watchdog->timer, on_closed);
}
