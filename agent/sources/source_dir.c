/* SPDX-License-Identifier: Apache-2.0 */
/* The watched directory: which files changed, came and went. */
#include "agent/sources/source_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/common/log.h"
#include "agent/sources/last_good.h"
#include "agent/sources/source_file.h"
#include "agent/common/hash.h"

/* A file that is away for longer is deleted. An editor on a busy machine needs some ms to put it
 * back. */
#define DELETION_MS 30
/* While the directory is missing, and while it is there (for what inotify cannot tell). */
#define MISSING_MS 50
#define CHECK_MS   1000
/* Where the kernel gives no watch, names and times are compared with each check; so often it is
 * asked again. */
#define CHECKS_PER_TRY 10

#define DIRECTORY_EVENTS                                                                           \
	(IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB |        \
	 IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)
#define TARGET_EVENTS (IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF)
/* After these a file is whole; after others somebody may still be writing. */
#define WHOLE_EVENTS (IN_CLOSE_WRITE | IN_MOVED_TO)

struct watched_file {
	char *name;
	char *origin;	  /* path */
	int target_watch; /* of what a symbolic link leads to; -1: none */
	bool is_link;
	bool changed;	     /* to be read; in the source's list of those */
	bool whole;	     /* and if it is bad, that is no writer's intermediate state */
	bool retry;	     /* to be read again by the next check */
	bool gone;	     /* was not there when it was read; in the source's list of those */
	uint64_t gone_since; /* ms of the loop's clock */
	bool seen;	     /* by the running scan */
	bool in_force;	     /* what was read from it, now or before a restart */
	bool unknown;	     /* since the start nobody knows what it asks for */
	struct timespec modified, altered; /* what it was like when it was looked at last */
	off_t size;
	ino_t inode;
	struct error *problem; /* as told to the store; NULL: none */
	TAILQ_ENTRY(watched_file) in_changed, in_gone;
	UT_hash_handle hh;
};

TAILQ_HEAD(watched_files, watched_file);

/* There may be a file for each pod of a cluster: what an event asks for is found without a look at
 * all of them. */
struct source_dir {
	uv_loop_t *loop;
	char *path;
	struct store *store;
	struct last_good *copies; /* NULL: none are kept */
	bool keep_failed;	  /* the last copy could not be kept; told once */
	void (*on_synced)(void *data);
	void *data;
	bool synced;
	int inotify_fd; /* -1: the kernel gives none; all is polled */
	int watch;	/* of the directory; -1: it is missing, or polled */
	bool polled;	/* the directory is there, and the kernel gives no watch for it */
	bool polled_told;
	unsigned int checks;
	dev_t device;
	ino_t inode;
	bool rescan;
	bool links_changed;	    /* something that a link may lead through */
	struct watched_file *files; /* by name */
	struct watched_files changed, gone;
	size_t links, retries, unknown; /* files with is_link, with retry, with unknown */
	struct error *problem;		/* of the directory */
	uv_poll_t poll;
	uv_timer_t check;
	uv_timer_t deletion;
	uv_work_t sync; /* of copies to the disk */
	struct last_good_sync *syncing;
	bool sync_failed; /* told */
	int handles;	  /* and a sync that runs */
};

/* ---------------------------------------------------------------- problems */

static bool same_problem(const struct error *a, const struct error *b)
{
	return a && strcmp(a->path, b->path) == 0 && strcmp(a->text, b->text) == 0 &&
	       a->line == b->line && a->column == b->column;
}

/* Told once, however often it is found. `known` is where the owner keeps the last one. */
static void set_problem(struct source_dir *source, const char *origin, bool in_force, bool blocking,
			struct error **known, const struct error *error)
{
	const char *then = in_force   ? "what was read from it before stays in force"
			   : blocking ? "it has no valid version from before: nothing is changed, "
					"and the node is not ready, until it is valid or deleted"
				      : "nothing of it is in force";

	if (same_problem(*known, error))
		return;
	free(*known);
	*known = malloc(sizeof(**known));
	if (*known)
		**known = *error;
	if (error->line > 0)
		log_error("source", "%s:%d:%d: %s: %s; %s", origin, error->line, error->column,
			  error->path, error->text, then);
	else
		log_error("source", "%s: %s: %s; %s", origin, error->path, error->text, then);
	if (store_set_problem(source->store, origin, error) < 0)
		log_error("source",
			  "%s: out of memory; the problem with this file is not in the status",
			  origin);
}

static void clear_problem(struct source_dir *source, const char *origin, struct error **known)
{
	if (!*known)
		return;
	free(TAKE_PTR(*known));
	store_set_problem(source->store, origin, NULL);
	log_info("source", "%s: valid again", origin);
}

/* ---------------------------------------------------------------- copies of good files */

static void open_copies(struct source_dir *source, const char *directory)
{
	int r = directory ? last_good_open(directory, &source->copies) : 0;

	if (r < 0)
		log_error("source",
			  "%s: copies of valid files cannot be kept: %s; a file that is invalid "
			  "when polderd starts has no last valid version",
			  directory, strerror(-r));
}

static void log_kept(struct source_dir *source, const struct watched_file *file, int kept)
{
	if (kept < 0 && !source->keep_failed)
		log_error(
			"source",
			"%s: no copy can be kept: %s; if the file is invalid when polderd starts, "
			"an older copy or nothing is used instead",
			file->origin, strerror(-kept));
	source->keep_failed = kept < 0;
}

/* A file that is broken before anything was read from it stands for what it held last. */
static void restore(struct source_dir *source, struct watched_file *file)
{
	struct error error;
	int r;

	if (file->in_force || source->synced || !source->copies)
		return;
	r = source_file_restore(file->origin, source->store, source->copies, &error);
	file->in_force = r == 0;
	if (r == 0)
		log_warning("source",
			    "%s: the last valid version, from before the start, is in force",
			    file->origin);
	else if (r == -EBADMSG)
		log_error("source",
			  "%s: the copy of its last valid version is damaged; renamed to .bad",
			  file->origin);
	else if (r == -EINVAL)
		log_error("source", "%s: the last valid version can no longer be used: %s: %s",
			  file->origin, error.path, error.text);
	else if (r != -ENOENT)
		log_error("source", "%s: the copy of its last valid version cannot be read: %s",
			  file->origin, strerror(-r));
}

/*
 * A new file that is broken from the first moment on: nothing was in force before it came, and
 * nothing is what it stands for after a restart. Not before all files have been read: there it may
 * be what a crash has left of a good one.
 */
static void keep_absence(struct source_dir *source, const struct watched_file *file)
{
	static const char nothing[] = "[]";

	if (!file->in_force && source->synced && source->copies)
		(void)last_good_keep(source->copies, file->origin, nothing, strlen(nothing));
}

static void delete_copy(struct source_dir *source, const struct watched_file *file)
{
	int r = source->copies ? last_good_delete(source->copies, file->origin) : 0;

	if (r < 0)
		log_warning("source", "%s is deleted, but its copy cannot be deleted: %s",
			    file->origin, strerror(-r));
}

/* ---------------------------------------------------------------- files */

static void set_changed(struct source_dir *source, struct watched_file *file, bool changed)
{
	if (changed && !file->changed)
		TAILQ_INSERT_TAIL(&source->changed, file, in_changed);
	else if (!changed && file->changed)
		TAILQ_REMOVE(&source->changed, file, in_changed);
	file->changed = changed;
}

static void set_gone(struct source_dir *source, struct watched_file *file, bool gone)
{
	if (gone && !file->gone)
		TAILQ_INSERT_TAIL(&source->gone, file, in_gone);
	else if (!gone && file->gone)
		TAILQ_REMOVE(&source->gone, file, in_gone);
	file->gone = gone;
}

static void set_retry(struct source_dir *source, struct watched_file *file, bool retry)
{
	source->retries += retry;
	source->retries -= file->retry;
	file->retry = retry;
}

static void set_unknown(struct source_dir *source, struct watched_file *file, bool unknown)
{
	source->unknown += unknown;
	source->unknown -= file->unknown;
	file->unknown = unknown;
}

static void set_link(struct source_dir *source, struct watched_file *file, bool is_link)
{
	source->links += is_link;
	source->links -= file->is_link;
	file->is_link = is_link;
}

static bool eligible(const char *name)
{
	size_t length = strlen(name);

	return name[0] != '.' && length > 5 && strcmp(name + length - 5, ".json") == 0;
}

static struct watched_file *need_file(struct source_dir *source, const char *name)
{
	struct watched_file *file;

	HASH_FIND_STR(source->files, name, file);
	if (file)
		return file;
	file = calloc(1, sizeof(*file));
	if (!file)
		return NULL;
	file->target_watch = -1;
	file->name = strdup(name);
	if (!file->name || asprintf(&file->origin, "%s/%s", source->path, name) < 0) {
		free(file->name);
		free(file);
		return NULL;
	}
	HASH_ADD_KEYPTR(hh, source->files, file->name, strlen(file->name), file);
	if (HASH_ADDED(hh, file))
		return file;
	free(file->origin);
	free(file->name);
	free(file);
	return NULL;
}

static void unwatch_target(struct source_dir *source, struct watched_file *file)
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

static void file_free(struct source_dir *source, struct watched_file *file)
{
	unwatch_target(source, file);
	set_changed(source, file, false);
	set_gone(source, file, false);
	set_retry(source, file, false);
	set_unknown(source, file, false);
	set_link(source, file, false);
	HASH_DEL(source->files, file);
	free(file->problem);
	free(file->origin);
	free(file->name);
	free(file);
}

/* What happens to the file behind a link happens outside the directory. False: it cannot be
 * watched. */
static bool watch_target(struct source_dir *source, struct watched_file *file, int dir_fd)
{
	char path[64 + NAME_MAX];
	struct stat status;
	int watch;

	set_link(source, file,
		 fstatat(dir_fd, file->name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
			 S_ISLNK(status.st_mode));
	if (!file->is_link) {
		unwatch_target(source, file);
		return true;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir_fd, file->name);
	watch = source->inotify_fd < 0 ? -1
				       : inotify_add_watch(source->inotify_fd, path, TARGET_EVENTS);
	if (watch == file->target_watch)
		return watch >= 0 || source->polled;
	unwatch_target(source, file);
	file->target_watch = watch;
	return watch >= 0 || source->polled;
}

/* Has the file (of a link: what it leads to) become another one since it was looked at last? */
static bool looks_changed(struct watched_file *file, int dir_fd)
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

static void delete_file(struct source_dir *source, struct watched_file *file)
{
	struct object_list nothing = {0};

	if (store_replace(source->store, file->origin, &nothing) < 0) {
		set_gone(source, file, true);
		set_retry(source, file, true);
		return;
	}
	log_debug("source", "%s: deleted", file->origin);
	delete_copy(source, file);
	free(TAKE_PTR(file->problem));
	store_set_problem(source->store, file->origin, NULL);
	file_free(source, file);
}

static void on_deletion(uv_timer_t *timer);

static void read_file(struct source_dir *source, struct watched_file *file, int dir_fd)
{
	struct error error;
	/* Watched first: a change while it is read is not missed. */
	bool watched = watch_target(source, file, dir_fd);
	enum file_state state;
	bool whole = file->whole;
	int kept = 0;

	set_changed(source, file, false);
	file->whole = false;
	if (source->polled)
		looks_changed(file, dir_fd);
	state = source_file_load(dir_fd, file->name, file->origin, source->store, source->copies,
				 &kept, &error);
	if (state == FILE_GONE && !file->gone)
		file->gone_since = uv_now(source->deletion.loop);
	set_gone(source, file, state == FILE_GONE);
	set_retry(source, file,
		  state == FILE_UNREADABLE || (state == FILE_BAD && !whole) || !watched);
	if (state == FILE_GOOD) {
		file->in_force = true;
		set_unknown(source, file, false);
		log_kept(source, file, kept);
		clear_problem(source, file->origin, &file->problem);
		log_debug("source", "%s: read", file->origin);
	} else if (state == FILE_GONE) {
		set_retry(source, file, false);
		set_unknown(source, file, false);
		if (!uv_is_active((uv_handle_t *)&source->deletion))
			uv_timer_start(&source->deletion, on_deletion, DELETION_MS, 0);
	} else if (whole) {
		restore(source, file);
		keep_absence(source, file);
		set_unknown(source, file, !file->in_force && !source->synced);
		set_problem(source, file->origin, file->in_force, file->unknown, &file->problem,
			    &error);
	}
}

static void read_changed(struct source_dir *source, int dir_fd)
{
	struct watched_file *file;

	while ((file = TAILQ_FIRST(&source->changed)))
		read_file(source, file, dir_fd);
}

/* ---------------------------------------------------------------- the directory */

static bool is_attached(const struct source_dir *source)
{
	return source->watch >= 0 || source->polled;
}

/* The directory's descriptor, if the path still leads to the one that is watched. Not kept open: an
 * open directory hides its removal. */
static int open_watched(const struct source_dir *source)
{
	CLEANUP(cleanup_close) int fd = -1;
	struct stat status;

	if (!is_attached(source))
		return -ENOENT;
	fd = open(source->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &status) < 0)
		return -errno;
	if (status.st_dev != source->device || status.st_ino != source->inode)
		return -ESTALE;
	return TAKE_FD(fd);
}

static void on_check(uv_timer_t *timer);

/* Forgets which directory it was, not what was read from it. */
static void detach(struct source_dir *source)
{
	struct watched_file *file, *next;

	if (source->watch >= 0)
		inotify_rm_watch(source->inotify_fd, TAKE_FD(source->watch));
	HASH_ITER (hh, source->files, file, next)
		unwatch_target(source, file);
	source->polled = false;
	uv_timer_stop(&source->deletion);
}

static void wait_for_directory(struct source_dir *source, int error)
{
	struct error problem = {.path = "$"};

	detach(source);
	snprintf(problem.text, sizeof(problem.text),
		 "the directory cannot be watched: %s; waiting for it", strerror(error));
	set_problem(source, source->path, true, false, &source->problem, &problem);
	uv_timer_start(&source->check, on_check, MISSING_MS, MISSING_MS);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void free_names(char **names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(names[i]);
	free(names);
}

/* The names of the directory's resource files, sorted: free_names(). */
static int list_names(int dir_fd, char ***ret, size_t *ret_count)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	char **names = NULL;
	size_t count = 0, size = 0;
	struct dirent *item;
	int r = 0;

	if (!dir) {
		r = -errno;
		if (fd >= 0)
			close(fd);
		return r;
	}
	while (r == 0 && (errno = 0, item = readdir(dir))) {
		if (!eligible(item->d_name))
			continue;
		if (count == size) {
			char **larger;

			size = size ? size * 2 : 64;
			larger = reallocarray(names, size, sizeof(*names));
			if (!larger) {
				r = -ENOMEM;
				break;
			}
			names = larger;
		}
		names[count] = strdup(item->d_name);
		if (names[count])
			count++;
		else
			r = -ENOMEM;
	}
	if (r == 0 && errno)
		r = -errno;
	closedir(dir);
	if (r < 0) {
		free_names(names, count);
		return r;
	}
	if (count > 1)
		qsort(names, count, sizeof(*names), compare_names);
	*ret = names;
	*ret_count = count;
	return 0;
}

/* Everything is read anew, then what is not there is deleted. */
static int scan(struct source_dir *source, int dir_fd)
{
	struct watched_file *file, *next;
	char **names = NULL;
	size_t count = 0;
	int r;

	r = list_names(dir_fd, &names, &count);
	if (r < 0)
		return r;
	source->rescan = source->links_changed = false;
	HASH_ITER (hh, source->files, file, next)
		file->seen = false;
	for (size_t i = 0; i < count && r == 0; i++) {
		file = need_file(source, names[i]);
		if (file) {
			file->seen = file->whole = true;
			read_file(source, file, dir_fd);
		} else {
			r = -ENOMEM;
		}
	}
	free_names(names, count);
	if (r < 0)
		return r;
	HASH_ITER (hh, source->files, file, next) {
		if (!file->seen)
			delete_file(source, file);
	}
	log_debug("source", "%s: %zu files read", source->path, count);
	return 0;
}

static void on_events(uv_poll_t *poll, int status, int events);

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
	uv_poll_start(&source->poll, UV_READABLE, on_events);
	return 0;
}

static void tell_polled(const struct source_dir *source, int error)
{
	log_warning("source",
		    "%s: the kernel cannot tell of changes: %s; the directory is looked at every "
		    "%d s instead. %s",
		    source->path, strerror(error), CHECK_MS / 1000,
		    error == EMFILE   ? "Raise fs.inotify.max_user_instances"
		    : error == ENOSPC ? "Raise fs.inotify.max_user_watches"
				      : "inotify is tried again");
}

/* Which directory it is, and a watch for it if the kernel gives one. 0 or -errno. */
static int watch_directory(struct source_dir *source, int fd)
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
		tell_polled(source, -r);
	else if (r == 0 && source->polled_told)
		log_info("source", "%s: the kernel tells of changes again", source->path);
	source->polled_told = source->polled;
	return 0;
}

/* Watched before it is listed: a file that comes in between is read twice, not never. */
static int find_directory(struct source_dir *source)
{
	CLEANUP(cleanup_close) int fd = -1;
	struct stat status;
	int r;

	fd = open(source->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &status) < 0)
		return -errno;
	r = watch_directory(source, fd);
	if (r < 0)
		return r;
	source->device = status.st_dev;
	source->inode = status.st_ino;
	return scan(source, fd);
}

/* A file that is broken, and whose good version nobody knows, may deny what others allow: until it
 * is whole, or gone, not all has been read. */
static void become_synced(struct source_dir *source)
{
	if (source->synced || source->unknown)
		return;
	source->synced = true;
	/* What is not there was deleted while nobody watched. */
	if (source->copies)
		last_good_prune(source->copies);
	log_info("source", "%s: initial read of %u files done", source->path,
		 HASH_COUNT(source->files));
	store_set_synced(source->store, source->path);
	/* Last: the callback may free the source. */
	if (source->on_synced)
		source->on_synced(source->data);
}

/* Takes whatever directory the path leads to now. */
static void attach(struct source_dir *source)
{
	int r;

	detach(source);
	r = find_directory(source);
	if (r < 0) {
		wait_for_directory(source, -r);
		return;
	}
	clear_problem(source, source->path, &source->problem);
	uv_timer_start(&source->check, on_check, CHECK_MS, CHECK_MS);
	become_synced(source);
}

static void mark_links(struct source_dir *source)
{
	struct watched_file *file, *next;

	if (source->links_changed && source->links) {
		HASH_ITER (hh, source->files, file, next) {
			if (file->is_link)
				set_changed(source, file, true);
		}
	}
	source->links_changed = false;
}

/* Reads what the events named. */
static void process(struct source_dir *source)
{
	CLEANUP(cleanup_close) int fd = open_watched(source);
	int r = fd < 0 ? fd : 0;

	if (r == 0 && source->rescan) {
		r = scan(source, fd);
	} else if (r == 0) {
		mark_links(source);
		read_changed(source, fd);
	}
	if (r < 0)
		attach(source);
	else
		become_synced(source);
}

/* Is there anything to read? A file that is written beside its place and then renamed comes as four
 * events, one of which counts. */
static bool has_work(const struct source_dir *source)
{
	return source->rescan || !TAILQ_EMPTY(&source->changed) ||
	       (source->links_changed && source->links);
}

static void on_deletion(uv_timer_t *timer)
{
	struct source_dir *source = timer->data;
	CLEANUP(cleanup_close) int fd = open_watched(source);
	uint64_t now = uv_now(timer->loop), left = 0;
	struct watched_file *file, *next;

	if (fd < 0) {
		/* The whole directory went, not these files. */
		attach(source);
		return;
	}
	for (file = TAILQ_FIRST(&source->gone); file; file = next) {
		next = TAILQ_NEXT(file, in_gone);
		/* Each file has its own time. */
		if (now - file->gone_since < DELETION_MS) {
			if (!left || file->gone_since + DELETION_MS - now < left)
				left = file->gone_since + DELETION_MS - now;
			continue;
		}
		if (faccessat(fd, file->name, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
			delete_file(source, file);
		else
			set_gone(source, file, false);
	}
	if (left)
		uv_timer_start(timer, on_deletion, left, 0);
	become_synced(source);
}

/* ---------------------------------------------------------------- copies to the disk */

static void sync_in_thread(uv_work_t *work)
{
	struct source_dir *source = work->data;

	last_good_sync_run(source->syncing);
}

static void release(struct source_dir *source);

static void on_sync_done(uv_work_t *work, int status)
{
	struct source_dir *source = work->data;
	int r = last_good_sync_end(source->copies, TAKE_PTR(source->syncing));

	(void)status;
	if (r < 0 && !source->sync_failed)
		log_error("source",
			  "copies of valid files cannot be brought to the disk: %s; a reboot may "
			  "find older ones; retried every second",
			  strerror(-r));
	source->sync_failed = r < 0;
	release(source);
}

static void sync_copies(struct source_dir *source)
{
	if (!source->copies || source->syncing)
		return;
	source->syncing = last_good_sync_begin(source->copies);
	if (!source->syncing)
		return;
	source->sync.data = source;
	source->handles++;
	if (uv_queue_work(source->check.loop, &source->sync, sync_in_thread, on_sync_done) < 0) {
		sync_in_thread(&source->sync);
		on_sync_done(&source->sync, 0);
	}
}

/* What inotify would have told: which files came, changed or went. 0 or -errno. */
static int compare(struct source_dir *source)
{
	CLEANUP(cleanup_close) int fd = open_watched(source);
	struct watched_file *file, *next;
	char **names = NULL;
	size_t count = 0;
	int r = fd < 0 ? fd : list_names(fd, &names, &count);

	for (size_t i = 0; r == 0 && i < count; i++)
		source->rescan |= !need_file(source, names[i]);
	free_names(names, count);
	if (r < 0)
		return r;
	HASH_ITER (hh, source->files, file, next) {
		/* Somebody may still be writing: one that is bad is read once more. */
		if (!file->gone && looks_changed(file, fd))
			set_changed(source, file, true);
	}
	return 0;
}

static void look_again(struct source_dir *source)
{
	CLEANUP(cleanup_close) int fd = -1;

	if (++source->checks % CHECKS_PER_TRY == 0) {
		fd = open_watched(source);
		if (fd >= 0 && watch_directory(source, fd) == 0 && !source->polled)
			source->rescan = true;
	}
	if (source->polled && compare(source) < 0)
		attach(source);
}

static void on_check(uv_timer_t *timer)
{
	struct source_dir *source = timer->data;
	struct watched_file *file, *next;

	sync_copies(source);
	if (source->polled)
		look_again(source);
	if (!is_attached(source)) {
		attach(source);
		return;
	}
	if (source->retries) {
		HASH_ITER (hh, source->files, file, next) {
			if (!file->retry)
				continue;
			set_changed(source, file, true);
			file->whole = true;
		}
	}
	process(source);
}

/* ---------------------------------------------------------------- events */

static void mark_targets(struct source_dir *source, const struct inotify_event *event)
{
	struct watched_file *file, *next;

	HASH_ITER (hh, source->files, file, next) {
		if (file->target_watch != event->wd)
			continue;
		set_changed(source, file, true);
		file->whole |= (event->mask & WHOLE_EVENTS) != 0;
		if (event->mask & IN_IGNORED)
			file->target_watch = -1;
	}
}

/* True: the directory itself is gone. */
static bool mark(struct source_dir *source, const struct inotify_event *event)
{
	struct watched_file *file;

	if (event->mask & IN_Q_OVERFLOW) {
		log_warning("source",
			    "%s: the kernel dropped change events; reading the directory again",
			    source->path);
		source->rescan = true;
		return false;
	}
	if (event->wd != source->watch) {
		mark_targets(source, event);
		return false;
	}
	if (event->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED))
		return true;
	if (event->len == 0)
		return false;
	if (!eligible(event->name)) {
		/* Such as the link "..data" that a mounted ConfigMap is switched by. */
		source->links_changed |=
			(event->mask & (IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE)) != 0;
		return false;
	}
	file = need_file(source, event->name);
	if (!file) {
		source->rescan = true;
		return false;
	}
	set_changed(source, file, true);
	file->whole |= (event->mask & WHOLE_EVENTS) != 0;
	return false;
}

static void on_events(uv_poll_t *poll, int status, int events)
{
	struct source_dir *source = poll->data;
	_Alignas(struct inotify_event) char buffer[16384];
	bool lost = false;

	for (;;) {
		ssize_t got = read(source->inotify_fd, buffer, sizeof(buffer));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		for (char *place = buffer; place < buffer + got;) {
			const struct inotify_event *event = (const void *)place;

			lost |= mark(source, event);
			place += sizeof(*event) + event->len;
		}
	}
	if (lost)
		attach(source);
	else if (is_attached(source) && has_work(source))
		process(source);
}

void source_dir_reload(struct source_dir *source)
{
	source->rescan = true;
	uv_timer_start(&source->check, on_check, 0, is_attached(source) ? CHECK_MS : MISSING_MS);
}

/* ---------------------------------------------------------------- life */

int source_dir_new(uv_loop_t *loop, const char *path, const char *last_good, struct store *store,
		   void (*on_synced)(void *data), void *data, struct source_dir **ret)
{
	struct source_dir *source = calloc(1, sizeof(*source));
	int r = -ENOMEM;

	if (!source)
		return -ENOMEM;
	source->loop = loop;
	source->watch = source->inotify_fd = -1;
	TAILQ_INIT(&source->changed);
	TAILQ_INIT(&source->gone);
	source->store = store;
	source->on_synced = on_synced;
	source->data = data;
	source->path = strdup(path);
	if (!source->path)
		goto free_source;
	for (size_t last = strlen(source->path); last > 1 && source->path[last - 1] == '/'; last--)
		source->path[last - 1] = '\0';
	if (store_expect(store, source->path) < 0)
		goto free_source;
	uv_timer_init(loop, &source->check);
	uv_timer_init(loop, &source->deletion);
	source->handles = 2;
	source->check.data = source->deletion.data = source;
	uv_timer_start(&source->check, on_check, 0, 0);
	open_copies(source, last_good);
	*ret = source;
	return 0;

free_source:
	free(source->path);
	free(source);
	return r;
}

static void release(struct source_dir *source)
{
	if (--source->handles > 0)
		return;
	last_good_close(source->copies);
	free(source->problem);
	free(source->path);
	free(source);
}

static void on_closed(uv_handle_t *handle)
{
	release(handle->data);
}

void source_dir_free(struct source_dir *source)
{
	struct watched_file *file, *next;

	if (!source)
		return;
	HASH_ITER (hh, source->files, file, next)
		file_free(source, file);
	if (source->inotify_fd >= 0) {
		uv_close((uv_handle_t *)&source->poll, on_closed);
		close(source->inotify_fd);
	}
	uv_close((uv_handle_t *)&source->check, on_closed);
	uv_close((uv_handle_t *)&source->deletion, on_closed);
}
