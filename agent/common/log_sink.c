/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Standard error is often shared with other processes, so its own O_NONBLOCK stays as it is: a
 * socket is sent to with MSG_DONTWAIT, a pipe or a terminal is opened once more. Files are written.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/common/log_internal.h"

#define KEPT_MOST (256u << 10) /* bytes that wait for who reads them */

static struct {
	dev_t device;
	ino_t inode;
	mode_t mode;
	int again; /* the same pipe or terminal, opened with O_NONBLOCK; -1: it could not be */
	char kept[KEPT_MOST];
	size_t kept_length;
	uint64_t lost, lost_untold;
} sink = {.again = -1};

/* Standard error may be another file than the last time: tests and daemons replace it. */
static void look(void)
{
	struct stat status;

	if (fstat(STDERR_FILENO, &status) < 0)
		status = (struct stat){};
	if (sink.again >= 0 && status.st_dev == sink.device && status.st_ino == sink.inode)
		return;
	if (sink.again >= 0)
		close(sink.again);
	sink.again = -1;
	sink.device = status.st_dev;
	sink.inode = status.st_ino;
	sink.mode = status.st_mode;
	if (S_ISFIFO(sink.mode) || S_ISCHR(sink.mode))
		sink.again = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

/* JOURNAL_STREAM is inherited by children whose standard error goes elsewhere: only the same file
 * counts (systemd.exec(5)). */
bool log_sink_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat status;

	if (!stream || sscanf(stream, "%llu:%llu", &device, &inode) != 2)
		return false;
	return fstat(STDERR_FILENO, &status) == 0 && status.st_dev == device &&
	       status.st_ino == inode;
}

/* A pipe that cannot be opened again has room for PIPE_BUF bytes when it says that it has any. */
static ssize_t write_if_ready(const char *text, size_t length)
{
	struct pollfd entry = {.fd = STDERR_FILENO, .events = POLLOUT};

	if (poll(&entry, 1, 0) <= 0 || !(entry.revents & POLLOUT)) {
		errno = entry.revents & POLLERR ? EPIPE : EAGAIN;
		return -1;
	}
	return write(STDERR_FILENO, text, length < PIPE_BUF ? length : PIPE_BUF);
}

static ssize_t write_now(const char *text, size_t length)
{
	ssize_t sent;

	do {
		if (S_ISSOCK(sink.mode))
			sent = send(STDERR_FILENO, text, length, MSG_DONTWAIT | MSG_NOSIGNAL);
		else if (sink.again >= 0)
			sent = write(sink.again, text, length);
		else if (S_ISFIFO(sink.mode) || S_ISCHR(sink.mode))
			sent = write_if_ready(text, length);
		else
			sent = write(STDERR_FILENO, text, length);
	} while (sent < 0 && errno == EINTR);
	return sent;
}

/* As much as goes. 0, or -errno: -EAGAIN if the rest may go later. `*ret_sent` is set always. */
static int write_some(const char *text, size_t length, size_t *ret_sent)
{
	size_t sent = 0;

	*ret_sent = 0;
	while (sent < length) {
		ssize_t more = write_now(text + sent, length - sent);

		if (more < 0)
			return -errno;
		sent += (size_t)more;
		*ret_sent = sent;
	}
	return 0;
}

void log_sink_lose(uint64_t lines)
{
	sink.lost += lines;
	sink.lost_untold += lines;
}

static uint64_t count_lines(const char *text, size_t length)
{
	uint64_t lines = 0;

	for (const char *end = text + length; (text = memchr(text, '\n', (size_t)(end - text)));
	     text++)
		lines++;
	return lines;
}

bool log_sink_flush(void)
{
	size_t sent = 0;
	int r;

	if (sink.kept_length == 0)
		return true;
	look();
	r = write_some(sink.kept, sink.kept_length, &sent);
	if (r < 0 && r != -EAGAIN) {
		/* Who read it is gone. */
		log_sink_lose(count_lines(sink.kept + sent, sink.kept_length - sent));
		sent = sink.kept_length;
	}
	if (sent) {
		memmove(sink.kept, sink.kept + sent, sink.kept_length - sent);
		sink.kept_length -= sent;
	}
	return sink.kept_length == 0;
}

static void keep(const char *text, size_t length)
{
	memcpy(sink.kept + sink.kept_length, text, length);
	sink.kept_length += length;
}

bool log_sink_put(const char *record, size_t length)
{
	size_t sent = 0;
	int r = 0;

	if (log_sink_flush()) {
		look();
		r = write_some(record, length, &sent);
		/* A record that has begun ends before another one. */
		if (r == -EAGAIN && sent > 0) {
			keep(record + sent, length - sent);
			return true;
		}
	} else {
		r = -EAGAIN;
	}
	if (r == -EAGAIN && length <= KEPT_MOST - sink.kept_length) {
		keep(record, length);
		return true;
	}
	return r == 0;
}

uint64_t log_sink_lost(void)
{
	return sink.lost;
}

uint64_t log_sink_lost_untold(void)
{
	return sink.lost_untold;
}

void log_sink_told(void)
{
	sink.lost_untold = 0;
}
