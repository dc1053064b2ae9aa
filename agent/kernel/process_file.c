/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kernel/process_file.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST_PID_NAMESPACE 0xEFFFFFFCu /* its number, since Linux 3.8 */
#define START_TIME	    20		/* fields behind the name, of proc(5)'s stat */

/* Numbers of processes are those of the node's first namespace. */
static bool is_numbered_alike(void)
{
	struct stat status;

	return stat("/proc/self/ns/pid", &status) == 0 && status.st_ino == FIRST_PID_NAMESPACE;
}

/* False: there is none. */
static bool read_start(uint32_t pid, uint64_t *ret_ns)
{
	char path[64], text[1024], *at;
	uint64_t ticks;
	ssize_t length;
	int fd;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	length = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (length <= 0)
		return false;
	text[length] = '\0';
	/* The name may have any bytes, parentheses too. */
	at = strrchr(text, ')');
	for (int i = 0; at && i < START_TIME; i++)
		at = strchr(at + 1, ' ');
	if (!at || sscanf(at, " %" SCNu64, &ticks) != 1)
		return false;
	*ret_ns = ticks * (1000000000 / (uint64_t)sysconf(_SC_CLK_TCK));
	return true;
}

bool process_file_read(uint32_t pid, uint64_t since_ns, char *path, size_t size)
{
	uint64_t start_ns;
	char link[64];
	ssize_t length;

	/* One that began later has got the number of one that has ended. */
	if (!is_numbered_alike() || !read_start(pid, &start_ns) || start_ns > since_ns)
		return false;
	snprintf(link, sizeof(link), "/proc/%" PRIu32 "/exe", pid);
	length = readlink(link, path, size - 1);
	if (length <= 0)
		return false;
	path[length] = '\0';
	return true;
}
