/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/common/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

int file_open_directory(const char *path, int *ret_fd, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	char directory[PATH_MAX] = ".";
	int fd;

	if (!name[0] || strlen(name) > NAME_MAX - sizeof(".tmp"))
		return -EINVAL;
	if (slash) {
		size_t length = slash == path ? 1 : (size_t)(slash - path);

		if (length >= sizeof(directory))
			return -ENAMETOOLONG;
		memcpy(directory, path, length);
		directory[length] = '\0';
	}
	fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	*ret_name = name;
	return 0;
}

static int write_temporary(int dir, const char *name, const struct iovec *parts, size_t count,
			   mode_t mode, bool sync)
{
	CLEANUP(cleanup_close) int fd = -1;
	int r = 0;

	fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0)
		return -errno;
	if (fchmod(fd, mode) < 0)
		return -errno;
	for (size_t i = 0; i < count && r == 0; i++)
		r = file_write_all(fd, parts[i].iov_base, parts[i].iov_len);
	if (r == 0 && sync && fsync(fd) < 0)
		r = -errno;
	/* Some file systems tell of a full disk only here. A signal says nothing: the descriptor is
	 * closed, and what was written is. */
	if (close(TAKE_FD(fd)) < 0 && errno != EINTR && r == 0)
		r = -errno;
	return r;
}

int file_replace(const char *path, const struct iovec *parts, size_t count, mode_t mode, bool sync)
{
	CLEANUP(cleanup_close) int dir = -1;
	char temporary[NAME_MAX + 1];
	const char *name;
	int r;

	r = file_open_directory(path, &dir, &name);
	if (r < 0)
		return r;
	snprintf(temporary, sizeof(temporary), ".%s.tmp", name);

	r = write_temporary(dir, temporary, parts, count, mode, sync);
	if (r == 0 && renameat(dir, temporary, dir, name) < 0)
		r = -errno;
	if (r < 0) {
		unlinkat(dir, temporary, 0);
		return r;
	}
	return sync && fsync(dir) < 0 ? -errno : 0;
}

int file_read(const char *path, int flags, size_t max, char **ret, size_t *ret_length)
{
	CLEANUP(cleanup_close) int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | flags);
	struct stat status;

	if (fd < 0 || fstat(fd, &status) < 0)
		return -errno;
	if (!S_ISREG(status.st_mode))
		return -EBADMSG;
	return file_read_all(fd, max, ret, ret_length);
}
