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
#include <sys/stat.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/common/log.h"
#include "agent/sources/last_good.h"
#include "agent/sources/source_dir_internal.h"
#include "agent/sources/source_file.h"

/* A file that is away for longer is deleted. An editor on a busy machine needs some ms to put it
 * back. */
#define DELETION_MS 30
/* While the directory is missing. */
#define MISSING_MS 50
/* So many checks until what could not be kept is tried again. */
#define OWED_CHECKS 5
/* After these a file is whole; after others somebody may still be writing. */
#define WHOLE_EVENTS (IN_CLOSE_WRITE | IN_MOVED_TO)

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

static void open_copies(struct source_dir *source)
{
	int r = source->copies_path ? last_good_open(source->copies_path, &source->copies) : 0;

	if (r < 0 && !source->copies_failed)
		log_error("source",
			  "%s: copies of valid files cannot be kept: %s; a file that is invalid "
			  "when polderd starts has no last valid version; retried every %d s",
			  source->copies_path, strerror(-r), OWED_CHECKS * CHECK_MS / 1000);
	else if (r == 0 && source->copies_failed)
		log_info("source", "%s: copies of valid files are kept again", source->copies_path);
	source->copies_failed = r < 0;
}

static void log_kept(struct source_dir *source, const struct watched_file *file, int kept)
{
	if (kept < 0 && !source->keep_failed)
		log_error(
			"source",
			"%s: no copy can be kept: %s; if the file is invalid when polderd starts, "
			"an older copy or nothing is used instead; retried every %d s",
			file->origin, strerror(-kept), OWED_CHECKS * CHECK_MS / 1000);
	source->keep_failed = kept < 0;
}

static void set_owed(struct source_dir *source, struct watched_file *file, bool owed)
{
	source->owed += owed;
	source->owed -= file->owed;
	file->owed = owed;
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
	else if (r != -ENOENT && !file->owed)
		log_error("source",
			  "%s: the copy of its last valid version cannot be read: %s; retried "
			  "every %d s",
			  file->origin, strerror(-r), OWED_CHECKS * CHECK_MS / 1000);
	set_owed(source, file, r < 0 && r != -EBADMSG && r != -EINVAL && r != -ENOENT);
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

void source_set_changed(struct source_dir *source, struct watched_file *file, bool changed)
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

void source_set_link(struct source_dir *source, struct watched_file *file, bool is_link)
{
	source->links += is_link;
	source->links -= file->is_link;
	file->is_link = is_link;
}

struct watched_file *source_need_file(struct source_dir *source, const char *name)
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

static void file_free(struct source_dir *source, struct watched_file *file)
{
	source_unwatch_target(source, file);
	source_set_changed(source, file, false);
	set_gone(source, file, false);
	set_retry(source, file, false);
	set_unknown(source, file, false);
	set_owed(source, file, false);
	source_set_link(source, file, false);
	HASH_DEL(source->files, file);
	free(file->problem);
	free(file->origin);
	free(file->name);
	free(file);
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
	bool watched = source_watch_target(source, file, dir_fd);
	enum file_state state;
	bool whole = file->whole;
	int kept = 0;

	source_set_changed(source, file, false);
	file->whole = false;
	if (source->polled)
		source_looks_changed(file, dir_fd);
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
		set_owed(source, file, kept < 0);
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

/* Not kept open: an open directory hides its removal. */
int source_open_watched(const struct source_dir *source)
{
	CLEANUP(cleanup_close) int fd = -1;
	struct stat status;

	if (!source_is_attached(source))
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
		source_unwatch_target(source, file);
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

/* Everything is read anew, then what is not there is deleted. */
static int scan(struct source_dir *source, int dir_fd)
{
	struct watched_file *file, *next;
	char **names = NULL;
	size_t count = 0;
	int r;

	r = source_list_names(dir_fd, &names, &count);
	if (r < 0)
		return r;
	source->rescan = source->links_changed = false;
	HASH_ITER (hh, source->files, file, next)
		file->seen = false;
	for (size_t i = 0; i < count && r == 0; i++) {
		file = source_need_file(source, names[i]);
		if (file) {
			file->seen = file->whole = true;
			read_file(source, file, dir_fd);
		} else {
			r = -ENOMEM;
		}
	}
	source_free_names(names, count);
	if (r < 0)
		return r;
	HASH_ITER (hh, source->files, file, next) {
		if (!file->seen)
			delete_file(source, file);
	}
	log_debug("source", "%s: %zu files read", source->path, count);
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
	r = source_watch_directory(source, fd);
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
				source_set_changed(source, file, true);
		}
	}
	source->links_changed = false;
}

/* Reads what the events named. */
static void process(struct source_dir *source)
{
	CLEANUP(cleanup_close) int fd = source_open_watched(source);
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
	CLEANUP(cleanup_close) int fd = source_open_watched(source);
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

/* Those of before are moved: they are newer than what is there. */
static void move_copies(struct source_dir *source)
{
	last_good_close(TAKE_PTR(source->copies));
	if (source->copies_path)
		(void)last_good_import(source->next_path, source->copies_path);
	free(source->copies_path);
	source->copies_path = TAKE_PTR(source->next_path);
}

/*
 * Copies that could not be kept, or that somebody has removed, and files whose copy could not be
 * read: all of these are read anew once in a while.
 */
static void catch_up(struct source_dir *source)
{
	bool all = source->next_path, lost;
	struct watched_file *file, *next;

	if (source->syncing || (!all && ++source->owed_checks % OWED_CHECKS))
		return;
	if (all)
		move_copies(source);
	lost = source->copies_path && access(source->copies_path, F_OK) < 0;
	if (lost && source->copies)
		last_good_close(TAKE_PTR(source->copies));
	if (source->copies_path && !source->copies) {
		open_copies(source);
		all = source->copies;
	}
	if (!all && !source->owed)
		return;
	HASH_ITER (hh, source->files, file, next) {
		if (!file->owed && !(all && (file->in_force || file->unknown)))
			continue;
		source_set_changed(source, file, true);
		file->whole = true;
	}
}

static void on_check(uv_timer_t *timer)
{
	struct source_dir *source = timer->data;
	struct watched_file *file, *next;

	sync_copies(source);
	catch_up(source);
	if (!source_is_attached(source) || source_look_again(source) < 0) {
		attach(source);
		return;
	}
	if (source->retries) {
		HASH_ITER (hh, source->files, file, next) {
			if (!file->retry)
				continue;
			source_set_changed(source, file, true);
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
		source_set_changed(source, file, true);
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
	if (!source_is_eligible(event->name)) {
		/* Such as the link "..data" that a mounted ConfigMap is switched by. */
		source->links_changed |=
			(event->mask & (IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE)) != 0;
		return false;
	}
	file = source_need_file(source, event->name);
	if (!file) {
		source->rescan = true;
		return false;
	}
	source_set_changed(source, file, true);
	file->whole |= (event->mask & WHOLE_EVENTS) != 0;
	return false;
}

void source_on_events(uv_poll_t *poll, int status, int events)
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
	else if (source_is_attached(source) && has_work(source))
		process(source);
}

int source_dir_keep_in(struct source_dir *source, const char *last_good)
{
	char *path = strdup(last_good);

	if (!path)
		return -ENOMEM;
	free(source->next_path);
	source->next_path = path;
	return 0;
}

void source_dir_reload(struct source_dir *source)
{
	source->rescan = true;
	uv_timer_start(&source->check, on_check, 0,
		       source_is_attached(source) ? CHECK_MS : MISSING_MS);
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
	source->copies_path = last_good ? strdup(last_good) : NULL;
	if (!source->path || (last_good && !source->copies_path))
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
	open_copies(source);
	*ret = source;
	return 0;

free_source:
	free(source->copies_path);
	free(source->path);
	free(source);
	return r;
}

static void release(struct source_dir *source)
{
	if (--source->handles > 0)
		return;
	last_good_close(source->copies);
	free(source->copies_path);
	free(source->next_path);
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
