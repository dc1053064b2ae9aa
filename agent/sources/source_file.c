/* SPDX-License-Identifier: Apache-2.0 */
/* Reading, decoding and checking one resource file. */
#include "agent/sources/source_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/common/file.h"
#include "agent/sources/last_good.h"

/* A device or a pipe must not even be opened. */
static enum file_state check_type(const struct stat *status, struct error *ret_error)
{
	if (!S_ISREG(status->st_mode)) {
		error_at(ret_error, -EINVAL, "$", "it is not a regular file");
		return FILE_BAD;
	}
	if (status->st_size > OBJECT_TEXT_MAX) {
		error_at(ret_error, -EFBIG, "$", "the file has %lld bytes; the limit is %u",
			 (long long)status->st_size, OBJECT_TEXT_MAX);
		return FILE_BAD;
	}
	return FILE_GOOD;
}

static enum file_state open_file(int dir_fd, const char *name, int *ret_fd, size_t *ret_size,
				 struct error *ret_error)
{
	CLEANUP(cleanup_close) int fd = -1;
	enum file_state state;
	struct stat status;

	if (fstatat(dir_fd, name, &status, 0) < 0) {
		struct stat link;
		int saved = errno;

		if (saved == ENOENT && fstatat(dir_fd, name, &link, AT_SYMLINK_NOFOLLOW) < 0)
			return FILE_GONE;
		error_at(ret_error, -saved, "$", "%s",
			 saved == ENOENT ? "the symbolic link leads to no file" : strerror(saved));
		return FILE_UNREADABLE;
	}
	state = check_type(&status, ret_error);
	if (state != FILE_GOOD)
		return state;
	fd = openat(dir_fd, name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &status) < 0) {
		error_at(ret_error, -errno, "$", "the file cannot be opened: %s", strerror(errno));
		return FILE_UNREADABLE;
	}
	state = check_type(&status, ret_error);
	if (state != FILE_GOOD)
		return state;
	*ret_fd = TAKE_FD(fd);
	*ret_size = (size_t)status.st_size;
	return FILE_GOOD;
}

/* The file may grow meanwhile: that shows as -EAGAIN. */
static int read_whole(int fd, size_t size, char **ret, size_t *ret_length)
{
	int r = file_read_all(fd, size, ret, ret_length);

	return r == -EFBIG ? -EAGAIN : r;
}

/* All or nothing, from the text to the store. */
static enum file_state put_text(const char *text, size_t length, const char *origin,
				struct store *store, struct error *ret_error)
{
	struct object_list list = {0};
	int r;

	memset(ret_error, 0, sizeof(*ret_error));
	r = objects_decode(text, length, &list, ret_error);
	if (r == -ENOMEM) {
		error_at(ret_error, -ENOMEM, "$", "out of memory");
		return FILE_UNREADABLE;
	}
	if (r < 0)
		return FILE_BAD;
	r = store_replace(store, origin, &list);
	if (r == -EEXIST)
		error_at(ret_error, r, "$",
			 "two objects in the file have the same kind, namespace and name");
	else if (r == -EINVAL)
		error_at(ret_error, r, "$", "the name of an object is too long");
	else if (r < 0)
		error_at(ret_error, -ENOMEM, "$", "out of memory");
	object_list_clear(&list);
	if (r < 0)
		return r == -ENOMEM ? FILE_UNREADABLE : FILE_BAD;
	return FILE_GOOD;
}

enum file_state source_file_load(int dir_fd, const char *name, const char *origin,
				 struct store *store, struct last_good *copies, int *ret_kept,
				 struct error *ret_error)
{
	CLEANUP(cleanup_close) int fd = -1;
	CLEANUP(cleanup_free) char *text = NULL;
	size_t size = 0, length = 0;
	enum file_state state;
	int r;

	state = open_file(dir_fd, name, &fd, &size, ret_error);
	if (state != FILE_GOOD)
		return state;
	r = read_whole(fd, size, &text, &length);
	if (r < 0) {
		if (r == -EAGAIN)
			error_at(ret_error, r, "$",
				 "the file grew while it was read; it will be read again");
		else
			error_at(ret_error, r, "$", "the file cannot be read: %s", strerror(-r));
		return FILE_UNREADABLE;
	}
	state = put_text(text, length, origin, store, ret_error);
	if (state == FILE_GOOD)
		*ret_kept = copies ? last_good_keep(copies, origin, text, length) : 0;
	return state;
}

int source_file_restore(const char *origin, struct store *store, struct last_good *copies,
			struct error *ret_error)
{
	CLEANUP(cleanup_free) char *text = NULL;
	size_t length = 0;
	int r = last_good_find(copies, origin, &text, &length);

	if (r < 0)
		return r;
	switch (put_text(text, length, origin, store, ret_error)) {
	case FILE_GOOD:
		return 0;
	case FILE_BAD:
		return -EINVAL;
	default:
		return -ENOMEM;
	}
}
