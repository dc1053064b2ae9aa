/* SPDX-License-Identifier: Apache-2.0 */
/* Standard streams that a caller closed. */
#include "agent/common/streams.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_closed(int fd)
{
	return fcntl(fd, F_GETFD) < 0 && errno == EBADF;
}

/* The lowest free number is the one that is missing. */
static int fill(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDONLY);
	} while (fd < 0 && errno == EINTR);
	return fd < 0 ? -errno : 0;
}

void streams_fill(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		int r = is_closed(fd) ? fill() : 0;

		if (r < 0) {
			fprintf(stderr,
				"standard stream %d is closed, and /dev/null cannot be opened in "
				"its place: %s\n",
				fd, strerror(-r));
			exit(EXIT_FAILURE);
		}
	}
}
