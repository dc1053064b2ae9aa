/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/sources/last_good.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/common/state_file.h"
#include "policy/objects/digest.h"
#include "agent/common/hash.h"
#include "policy/objects/objects.h"

#define NAME_LENGTH 32 /* hexadecimal digits of the origin's digest */
#define ASIDE	    ".bad"

/*
 * A copy is written as NAME.new, which is whole as long as the machine runs. To be found after a
 * crash of the machine it is renamed to NAME.sync, synced, and renamed to NAME: the older one stays
 * until then. The newest that is whole counts.
 */
static const char *const versions[] = {".new", ".sync", ""};
#define NEWEST	 versions[0]
#define IN_SYNC	 versions[1]
#define VERSIONS (sizeof(versions) / sizeof(versions[0]))

/* So many files are synced one by one; more of them with the whole file system. */
#define FILES_ONE_BY_ONE 16

/* Of the file system's size. */
#define SHARE_DIVISOR 8

/* A copy in the directory. */
struct copy {
	char name[NAME_LENGTH + 1];
	size_t size;
	bool asked_for;
	bool pending; /* its newest version is not synced */
	UT_hash_handle hh;
};

struct last_good {
	char *directory;
	struct copy *copies; /* by name */
	size_t total, limit;
	size_t pending;
	struct last_good_sync *running; /* NULL: none */
};

struct last_good_sync {
	int directory;
	size_t count;
	int result;
	char (*names)[NAME_LENGTH + 1];
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
	copies->pending -= copy->pending;
	free(copy);
}

static void set_pending(struct last_good *copies, struct copy *copy, bool pending)
{
	copies->pending += pending;
	copies->pending -= copy->pending;
	copy->pending = pending;
}

/* ---------------------------------------------------------------- the directory */

/* What the machine's crash has cut short stands for nothing. One that cannot be read now may be
 * whole. */
static bool is_damaged(const struct last_good *copies, const char *name, const char *version)
{
	CLEANUP(cleanup_free) char *content = NULL;
	char path[PATH_MAX];
	int r = path_of(copies, name, version, path);

	if (r == 0)
		r = state_file_read(path, OBJECT_TEXT_MAX + PATH_MAX, &content, NULL);
	return r == -EBADMSG || r == -EFBIG;
}

static int add_copy(struct last_good *copies, int dir_fd, const char *entry, const char *name,
		    const char *version)
{
	struct stat status;
	struct copy *copy;

	if (fstatat(dir_fd, entry, &status, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (version[0] && is_damaged(copies, name, version)) {
		unlinkat(dir_fd, entry, 0);
		return 0;
	}
	copy = need_copy(copies, name);
	if (!copy)
		return -ENOMEM;
	copies->total += (size_t)status.st_size - copy->size;
	copy->size = (size_t)status.st_size;
	if (version[0])
		set_pending(copies, copy, true);
	return 0;
}

/* What was put aside belongs to a copy, so that it goes when the origin does. */
static int add_entry(struct last_good *copies, int dir_fd, const char *entry)
{
	char name[NAME_LENGTH + 1];

	if (entry[0] == '.' && strstr(entry, ".tmp")) {
		unlinkat(dir_fd, entry, 0);
		return 0;
	}
	snprintf(name, sizeof(name), "%.*s", NAME_LENGTH, entry);
	if (!is_name(name))
		return 0;
	for (size_t i = 0; i < VERSIONS; i++)
		if (strcmp(entry + NAME_LENGTH, versions[i]) == 0)
			return add_copy(copies, dir_fd, entry, name, versions[i]);
	if (strcmp(entry + NAME_LENGTH, ASIDE) != 0)
		return 0;
	return need_copy(copies, name) ? 0 : -ENOMEM;
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

/* Copies are to leave room for others. */
static size_t limit_of(const char *directory)
{
	struct statvfs status;
	uint64_t share;

	if (statvfs(directory, &status) < 0)
		return LAST_GOOD_TOTAL_MAX;
	share = (uint64_t)status.f_blocks * status.f_frsize / SHARE_DIVISOR;
	return share < LAST_GOOD_TOTAL_MAX ? (size_t)share : LAST_GOOD_TOTAL_MAX;
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
	copies->limit = limit_of(directory);
	if (r < 0) {
		last_good_close(copies);
		return r;
	}
	*ret = copies;
	return 0;
}

/* Everything that waits for it, before the process ends. */
static void sync_now(struct last_good *copies)
{
	struct last_good_sync *sync = copies->directory ? last_good_sync_begin(copies) : NULL;

	if (!sync)
		return;
	last_good_sync_run(sync);
	(void)last_good_sync_end(copies, sync);
}

void last_good_close(struct last_good *copies)
{
	struct copy *copy, *next;

	if (!copies)
		return;
	sync_now(copies);
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

/* The newest that is whole. -ENOENT; -EBADMSG: none is; -errno: it cannot be read, and an older one
 * does not stand for it. */
static int read_newest(const struct last_good *copies, const char *name, const char *origin,
		       char **ret_text, size_t *ret_length)
{
	char path[PATH_MAX];
	int result = -ENOENT;

	for (size_t i = 0; i < VERSIONS; i++) {
		int r = path_of(copies, name, versions[i], path);

		if (r == 0)
			r = read_copy(path, origin, ret_text, ret_length);
		if (r != -ENOENT && r != -EBADMSG)
			return r;
		if (r == -EBADMSG)
			result = r;
	}
	return result;
}

static int write_copy(struct last_good *copies, struct copy *copy, const char *path,
		      const char *origin, const char *text, size_t length)
{
	size_t head = strlen(origin) + 1;
	CLEANUP(cleanup_free) char *content = NULL;
	int r;

	if (copies->total - copy->size + head + length > copies->limit)
		return -EDQUOT;
	content = malloc(head + length + 1);
	if (!content)
		return -ENOMEM;
	memcpy(content, origin, head);
	memcpy(content + head, text, length);
	r = state_file_write_unsynced(path, content, head + length);
	/* Somebody has removed the directory. */
	if (r == -ENOENT && mkdir(copies->directory, 0700) == 0)
		r = state_file_write_unsynced(path, content, head + length);
	if (r < 0)
		return r;
	copies->total += head + length - copy->size;
	copy->size = head + length;
	set_pending(copies, copy, true);
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
	r = path_of(copies, name, NEWEST, path);
	if (r < 0)
		return r;
	copy = need_copy(copies, name);
	if (!copy)
		return -ENOMEM;
	copy->asked_for = true;
	if (copy->size > length &&
	    read_newest(copies, name, origin, &present, &present_length) == 0 &&
	    present_length == length && memcmp(present, text, length) == 0)
		return 0;
	return write_copy(copies, copy, path, origin, text, length);
}

/* -EBADMSG, or what keeps it where it is. */
static int put_aside(const struct last_good *copies, const char *name)
{
	char path[PATH_MAX], aside[PATH_MAX];

	for (size_t i = 0; i < VERSIONS; i++) {
		int r = path_of(copies, name, versions[i], path);

		if (r == 0)
			r = path_of(copies, name, ASIDE, aside);
		if (r == 0 && rename(path, aside) < 0 && errno != ENOENT)
			r = -errno;
		if (r < 0)
			return r;
	}
	return -EBADMSG;
}

int last_good_find(struct last_good *copies, const char *origin, char **ret_text,
		   size_t *ret_length)
{
	char name[NAME_LENGTH + 1];
	struct copy *copy;
	int r;

	name_of(origin, name);
	copy = find_copy(copies, name);
	if (!copy)
		return -ENOENT;
	copy->asked_for = true;
	r = read_newest(copies, name, origin, ret_text, ret_length);
	return r == -EBADMSG ? put_aside(copies, name) : r;
}

static int unlink_all(const struct last_good *copies, const char *name)
{
	static const char *const endings[] = {".new", ".sync", "", ASIDE};
	char path[PATH_MAX];

	for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
		int r = path_of(copies, name, endings[i], path);

		if (r == 0 && unlink(path) < 0 && errno != ENOENT)
			r = -errno;
		if (r < 0)
			return r;
	}
	return 0;
}

static int forget(struct last_good *copies, struct copy *copy)
{
	int r = unlink_all(copies, copy->name);

	if (r == 0)
		drop_copy(copies, copy);
	return r;
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

/* ---------------------------------------------------------------- another directory's */

/* The newest that is whole. 0 or -errno. */
static int move_copy(const struct last_good *from, const struct last_good *to, const char *name)
{
	char path[PATH_MAX];
	int r = -ENOENT;

	for (size_t i = 0; i < VERSIONS && r < 0; i++) {
		CLEANUP(cleanup_free) char *content = NULL;
		size_t length = 0;

		r = path_of(from, name, versions[i], path);
		if (r == 0)
			r = state_file_read(path, OBJECT_TEXT_MAX + PATH_MAX, &content, &length);
		if (r == 0 && path_of(to, name, NEWEST, path) == 0)
			return state_file_write_unsynced(path, content, length);
	}
	return r;
}

static bool same_directory(const char *a, const char *b)
{
	struct stat first, second;

	return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev &&
	       first.st_ino == second.st_ino;
}

size_t last_good_import(const char *directory, const char *from)
{
	struct last_good *copies = NULL, *others = NULL;
	struct copy *copy, *next;
	size_t count = 0;

	if (access(from, F_OK) < 0 || same_directory(directory, from))
		return 0;
	if (last_good_open(directory, &copies) < 0)
		return 0;
	if (last_good_open(from, &others) == 0) {
		HASH_ITER (hh, others->copies, copy, next) {
			count += move_copy(others, copies, copy->name) == 0;
			(void)forget(others, copy);
		}
		last_good_close(others);
		rmdir(from);
	}
	last_good_close(copies);
	return count;
}

/* ---------------------------------------------------------------- to the disk */

bool last_good_pending(const struct last_good *copies)
{
	return copies->pending > 0 && !copies->running;
}

static void sync_free(struct last_good_sync *sync)
{
	if (sync->directory >= 0)
		close(sync->directory);
	free(sync->names);
	free(sync);
}

/* The version that is to be synced, out of the way of newer ones. */
static bool set_apart(const struct last_good *copies, const char *name)
{
	char from[PATH_MAX], to[PATH_MAX];

	if (path_of(copies, name, NEWEST, from) < 0 || path_of(copies, name, IN_SYNC, to) < 0)
		return false;
	/* One that an earlier try has set apart is still there. */
	return rename(from, to) == 0 || (errno == ENOENT && access(to, F_OK) == 0);
}

struct last_good_sync *last_good_sync_begin(struct last_good *copies)
{
	struct last_good_sync *sync;
	struct copy *copy, *next;

	if (!last_good_pending(copies))
		return NULL;
	sync = calloc(1, sizeof(*sync));
	if (!sync)
		return NULL;
	sync->names = calloc(copies->pending + 1, sizeof(*sync->names)); /* never of 0 bytes */
	sync->directory = open(copies->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (!sync->names || sync->directory < 0) {
		sync_free(sync);
		return NULL;
	}
	HASH_ITER (hh, copies->copies, copy, next) {
		if (!copy->pending)
			continue;
		set_pending(copies, copy, false);
		if (set_apart(copies, copy->name))
			memcpy(sync->names[sync->count++], copy->name, sizeof(copy->name));
	}
	copies->running = sync;
	return sync;
}

static int sync_file(int directory, const char *name)
{
	CLEANUP(cleanup_close)
	int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static int sync_one(const struct last_good_sync *sync, size_t i)
{
	char from[NAME_LENGTH + sizeof(".sync")];
	int r;

	snprintf(from, sizeof(from), "%s%s", sync->names[i], IN_SYNC);
	r = sync->count > FILES_ONE_BY_ONE ? 0 : sync_file(sync->directory, from);
	/* An origin that went meanwhile has taken its copies with it. */
	if (r == 0 && renameat(sync->directory, from, sync->directory, sync->names[i]) < 0)
		r = -errno;
	return r == -ENOENT ? 0 : r;
}

void last_good_sync_run(struct last_good_sync *sync)
{
	if (sync->count > FILES_ONE_BY_ONE && syncfs(sync->directory) < 0)
		sync->result = -errno;
	for (size_t i = 0; i < sync->count && sync->result == 0; i++)
		sync->result = sync_one(sync, i);
	if (sync->result == 0 && fsync(sync->directory) < 0)
		sync->result = -errno;
}

int last_good_sync_end(struct last_good *copies, struct last_good_sync *sync)
{
	int r = sync->result;

	copies->running = NULL;
	for (size_t i = 0; i < sync->count; i++) {
		struct copy *copy = find_copy(copies, sync->names[i]);

		if (!copy)
			(void)unlink_all(copies, sync->names[i]);
		else if (r < 0)
			set_pending(copies, copy, true);
	}
	sync_free(sync);
	return r;
}
