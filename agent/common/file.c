/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/common/file.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/common/cleanup.h"

#define READ_FIRST 4096

int file_write_all(int fd, const void *data, size_t length)
{
	const char *position = data;

	while (length > 0) {
		ssize_t written = write(fd, position, length);

		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return -errno;
		position += written;
		length -= (size_t)written;
	}
	return 0;
}

/* Room that most probably suffices: a file's size, its end and a NUL. */
static size_t first_size(int fd, size_t max)
{
	struct stat status;
	size_t size;

	if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || status.st_size <= 0)
		return READ_FIRST;
	size = (size_t)status.st_size;
	return (size < max ? size : max) + 2;
}

int file_read_all(int fd, size_t max, char **ret, size_t *ret_length)
{
	CLEANUP(cleanup_free) char *data = NULL;
	size_t length = 0, size = first_size(fd, max);

	data = malloc(size);
	if (!data)
		return -ENOMEM;
	for (;;) {
		ssize_t got;

		if (length + 1 >= size) {
			char *larger;

			size *= 2;
			larger = realloc(data, size);
			if (!larger)
				return -ENOMEM;
			data = larger;
		}
		got = read(fd, data + length, size - length - 1);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		length += (size_t)got;
		if (length > max)
			return -EFBIG;
	}
	data[length] = '\0';
	*ret = TAKE_PTR(data);
	*ret_length = length;
	return 0;
}
