/* SPDX-License-Identifier: Apache-2.0 */
/* inotify, and what is done where the kernel gives no instance or no watch: names, times and sizes
 * are compared with each check. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/common/log.h"
#include "agent/sources/source_dir_internal.h"

/* Checks until the kernel is asked again for a watch. */
#define CHECKS_PER_TRY 10

#define DIRECTORY_EVENTS                                                                           \
	(IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB |        \
	 IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)
#define TARGET_EVENTS (IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF)

bool source_is_attached(const struct source_dir *source)
{
	return source->watch >= 0 || source->polled;
}

void source_unwatch_target(struct source_dir *source, struct watched_file *file)
{
	int watch = TAKE_FD(file->target_watch);
	struct watched_file *other, *next;

	if (watch < 0)
		return;
	/* Two links to one file share the watch. */
	HASH_ITER (hh, source->files, other, next) {
		if (other->target_watch == watch)
			return;
	}
	inotify_rm_watch(source->inotify_fd, watch);
}

bool source_watch_target(struct source_dir *source, struct watched_file *file, int dir_fd)
{
	char path[64 + NAME_MAX];
	struct stat status;
	int watch;

	source_set_link(source, file,
			fstatat(dir_fd, file->name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
				S_ISLNK(status.st_mode));
	if (!file->is_link) {
		source_unwatch_target(source, file);
		return true;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir_fd, file->name);
	watch = source->inotify_fd < 0 ? -1
				       : inotify_add_watch(source->inotify_fd, path, TARGET_EVENTS);
	if (watch == file->target_watch)
		return watch >= 0 || source->polled;
	source_unwatch_target(source, file);
	file->target_watch = watch;
	return watch >= 0 || source->polled;
}

bool source_looks_changed(struct watched_file *file, int dir_fd)
{
	struct stat now = {};
	bool changed;

	if (fstatat(dir_fd, file->name, &now, 0) < 0)
		now = (struct stat){};
	changed = now.st_ino != file->inode || now.st_size != file->size ||
		  memcmp(&now.st_mtim, &file->modified, sizeof(now.st_mtim)) != 0 ||
		  memcmp(&now.st_ctim, &file->altered, sizeof(now.st_ctim)) != 0;
	file->inode = now.st_ino;
	file->size = now.st_size;
	file->modified = now.st_mtim;
	file->altered = now.st_ctim;
	return changed;
}

/* 0 or -errno: then everything is polled. */
static int open_inotify(struct source_dir *source)
{
	int fd, r;

	if (source->inotify_fd >= 0)
		return 0;
	fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = uv_poll_init(source->loop, &source->poll, fd);
	if (r < 0) {
		close(fd);
		return r;
	}
	source->inotify_fd = fd;
	source->poll.data = source;
	source->handles++;
	uv_poll_start(&source->poll, UV_READABLE, source_on_events);
	return 0;
}

static void report_polled(const struct source_dir *source, int error)
{
	log_warning("source",
		    "%s: the kernel cannot tell of changes: %s; the directory is looked at every "
		    "%d s instead. %s",
		    source->path, strerror(error), CHECK_MS / 1000,
		    error == EMFILE   ? "Raise fs.inotify.max_user_instances"
		    : error == ENOSPC ? "Raise fs.inotify.max_user_watches"
				      : "inotify is tried again");
}

int source_watch_directory(struct source_dir *source, int fd)
{
	int r = open_inotify(source);
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (r == 0) {
		source->watch = inotify_add_watch(source->inotify_fd, path, DIRECTORY_EVENTS);
		r = source->watch < 0 ? -errno : 0;
	}
	if (r < 0 && r != -EMFILE && r != -ENFILE && r != -ENOSPC && r != -ENOMEM)
		return r;
	source->polled = r < 0;
	if (r < 0 && !source->polled_told)
		report_polled(source, -r);
	else if (r == 0 && source->polled_told)
		log_info("source", "%s: the kernel tells of changes again", source->path);
	source->polled_told = source->polled;
	return 0;
}

/* What inotify would have told: which files came, changed or went. 0 or -errno. */
static int compare(struct source_dir *source)
{
	CLEANUP(cleanup_close) int fd = source_open_watched(source);
	struct watched_file *file, *next;
	char **names = NULL;
	size_t count = 0;
	int r = fd < 0 ? fd : source_list_names(fd, &names, &count);

	for (size_t i = 0; r == 0 && i < count; i++)
		source->rescan |= !source_need_file(source, names[i]);
	source_free_names(names, count);
	if (r < 0)
		return r;
	HASH_ITER (hh, source->files, file, next) {
		/* Somebody may still be writing: one that is bad is read once more. */
		if (!file->gone && source_looks_changed(file, fd))
			source_set_changed(source, file, true);
	}
	return 0;
}

int source_look_again(struct source_dir *source)
{
	CLEANUP(cleanup_close) int fd = -1;

	if (!source->polled)
		return 0;
	if (++source->checks % CHECKS_PER_TRY == 0) {
		fd = source_open_watched(source);
		if (fd >= 0 && source_watch_directory(source, fd) == 0 && !source->polled)
			source->rescan = true;
	}
	return source->polled ? compare(source) : 0;
}
