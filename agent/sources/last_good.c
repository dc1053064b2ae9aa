/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/sources/last_good.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/common/state_file.h"
#include "policy/objects/digest.h"
#include "agent/common/hash.h"
#include "policy/objects/objects.h"

#define NAME_LENGTH 32 /* hexadecimal digits of the origin's digest */
#define ASIDE	    ".bad"

/* A copy in the directory. */
struct copy {
	char name[NAME_LENGTH + 1];
	size_t size;
	bool asked_for;
	UT_hash_handle hh;
};

struct last_good {
	char *directory;
	struct copy *copies; /* by name */
	size_t total;
};

static void name_of(const char *origin, char name[NAME_LENGTH + 1])
{
	uint8_t bytes[DIGEST_BYTES];
	struct digest digest;

	digest_begin(&digest);
	digest_add(&digest, origin, strlen(origin));
	digest_end(&digest, bytes);
	for (int i = 0; i < NAME_LENGTH / 2; i++)
		snprintf(name + 2 * i, 3, "%02x", bytes[i]);
}

static bool is_name(const char *text)
{
	return strlen(text) == NAME_LENGTH && strspn(text, "0123456789abcdef") == NAME_LENGTH;
}

static int path_of(const struct last_good *copies, const char *name, const char *ending, char *path)
{
	int length = snprintf(path, PATH_MAX, "%s/%s%s", copies->directory, name, ending);

	return length < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static struct copy *find_copy(const struct last_good *copies, const char *name)
{
	struct copy *copy;

	HASH_FIND_STR(copies->copies, name, copy);
	return copy;
}

static struct copy *need_copy(struct last_good *copies, const char *name)
{
	struct copy *copy = find_copy(copies, name);

	if (copy)
		return copy;
	copy = calloc(1, sizeof(*copy));
	if (!copy)
		return NULL;
	snprintf(copy->name, sizeof(copy->name), "%s", name);
	HASH_ADD_STR(copies->copies, name, copy);
	if (HASH_ADDED(hh, copy))
		return copy;
	free(copy);
	return NULL;
}

static void drop_copy(struct last_good *copies, struct copy *copy)
{
	HASH_DEL(copies->copies, copy);
	copies->total -= copy->size;
	free(copy);
}

/* ---------------------------------------------------------------- the directory */

static int add_copy(struct last_good *copies, int dir_fd, const char *name)
{
	struct stat status;
	struct copy *copy;

	if (fstatat(dir_fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	copy = need_copy(copies, name);
	if (!copy)
		return -ENOMEM;
	copy->size = (size_t)status.st_size;
	copies->total += copy->size;
	return 0;
}

/* What was put aside belongs to a copy, so that it goes when the origin does. */
static int add_entry(struct last_good *copies, int dir_fd, const char *entry)
{
	char name[NAME_LENGTH + 1];

	if (is_name(entry))
		return add_copy(copies, dir_fd, entry);
	if (entry[0] == '.' && strstr(entry, ".tmp")) {
		unlinkat(dir_fd, entry, 0);
		return 0;
	}
	if (strlen(entry) != NAME_LENGTH + strlen(ASIDE) || strcmp(entry + NAME_LENGTH, ASIDE) != 0)
		return 0;
	snprintf(name, sizeof(name), "%.*s", NAME_LENGTH, entry);
	return is_name(name) && !need_copy(copies, name) ? -ENOMEM : 0;
}

static int read_directory(struct last_good *copies)
{
	DIR *dir = opendir(copies->directory);
	struct dirent *entry;
	int r = 0;

	if (!dir)
		return -errno;
	while (r == 0 && (errno = 0, entry = readdir(dir)))
		r = add_entry(copies, dirfd(dir), entry->d_name);
	if (r == 0 && errno)
		r = -errno;
	closedir(dir);
	return r;
}

int last_good_open(const char *directory, struct last_good **ret)
{
	struct last_good *copies = calloc(1, sizeof(*copies));
	int r = 0;

	if (!copies)
		return -ENOMEM;
	copies->directory = strdup(directory);
	if (!copies->directory)
		r = -ENOMEM;
	else if (mkdir(directory, 0700) < 0 && errno != EEXIST)
		r = -errno;
	if (r == 0)
		r = read_directory(copies);
	if (r < 0) {
		last_good_close(copies);
		return r;
	}
	*ret = copies;
	return 0;
}

void last_good_close(struct last_good *copies)
{
	struct copy *copy, *next;

	if (!copies)
		return;
	HASH_ITER (hh, copies->copies, copy, next) {
		HASH_DEL(copies->copies, copy);
		free(copy);
	}
	free(copies->directory);
	free(copies);
}

/* ---------------------------------------------------------------- copies */

/* The origin and a zero byte come first: two origins with one digest would be noticed. */
static int read_copy(const char *path, const char *origin, char **ret_text, size_t *ret_length)
{
	CLEANUP(cleanup_free) char *content = NULL;
	size_t head = strlen(origin) + 1, length = 0;
	int r = state_file_read(path, head + OBJECT_TEXT_MAX, &content, &length);

	if (r < 0)
		return r == -EFBIG ? -EBADMSG : r;
	if (length < head || memcmp(content, origin, head) != 0)
		return -EBADMSG;
	memmove(content, content + head, length - head + 1);
	*ret_text = TAKE_PTR(content);
	*ret_length = length - head;
	return 0;
}

static int write_copy(struct last_good *copies, struct copy *copy, const char *path,
		      const char *origin, const char *text, size_t length)
{
	size_t head = strlen(origin) + 1;
	CLEANUP(cleanup_free) char *content = NULL;
	int r;

	if (copies->total - copy->size + head + length > LAST_GOOD_TOTAL_MAX)
		return -EDQUOT;
	content = malloc(head + length + 1);
	if (!content)
		return -ENOMEM;
	memcpy(content, origin, head);
	memcpy(content + head, text, length);
	r = state_file_write_unsynced(path, content, head + length);
	if (r < 0)
		return r;
	copies->total += head + length - copy->size;
	copy->size = head + length;
	return 0;
}

int last_good_keep(struct last_good *copies, const char *origin, const char *text, size_t length)
{
	CLEANUP(cleanup_free) char *present = NULL;
	char name[NAME_LENGTH + 1], path[PATH_MAX];
	size_t present_length = 0;
	struct copy *copy;
	int r;

	name_of(origin, name);
	r = path_of(copies, name, "", path);
	if (r < 0)
		return r;
	copy = need_copy(copies, name);
	if (!copy)
		return -ENOMEM;
	copy->asked_for = true;
	if (copy->size > length && read_copy(path, origin, &present, &present_length) == 0 &&
	    present_length == length && memcmp(present, text, length) == 0)
		return 0;
	return write_copy(copies, copy, path, origin, text, length);
}

int last_good_find(struct last_good *copies, const char *origin, char **ret_text,
		   size_t *ret_length)
{
	char name[NAME_LENGTH + 1], path[PATH_MAX], aside[PATH_MAX];
	struct copy *copy;
	int r;

	name_of(origin, name);
	copy = find_copy(copies, name);
	if (!copy)
		return -ENOENT;
	copy->asked_for = true;
	r = path_of(copies, name, "", path);
	if (r == 0)
		r = path_of(copies, name, ASIDE, aside);
	if (r == 0)
		r = read_copy(path, origin, ret_text, ret_length);
	if (r == -EBADMSG && rename(path, aside) < 0)
		return -errno;
	return r;
}

static int forget(struct last_good *copies, struct copy *copy)
{
	static const char *const endings[] = {"", ASIDE};
	char path[PATH_MAX];

	for (size_t i = 0; i < 2; i++) {
		int r = path_of(copies, copy->name, endings[i], path);

		if (r == 0 && unlink(path) < 0 && errno != ENOENT)
			r = -errno;
		if (r < 0)
			return r;
	}
	drop_copy(copies, copy);
	return 0;
}

int last_good_delete(struct last_good *copies, const char *origin)
{
	char name[NAME_LENGTH + 1];
	struct copy *copy;

	name_of(origin, name);
	copy = find_copy(copies, name);
	return copy ? forget(copies, copy) : 0;
}

size_t last_good_prune(struct last_good *copies)
{
	struct copy *copy, *next;
	size_t count = 0;

	HASH_ITER (hh, copies->copies, copy, next) {
		if (!copy->asked_for && forget(copies, copy) == 0)
			count++;
	}
	return count;
}
