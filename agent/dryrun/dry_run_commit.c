/* SPDX-License-Identifier: Apache-2.0 */
/* Puts objects into the resources directory as a new file, and waits until they are in force. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/common/file.h"
#include "agent/dryrun/dry_run_internal.h"

#define WAIT_MS	       10000
#define NAME_MAX_BYTES 64

struct commit {
	const struct show_sources *sources;
	struct control_request *request;
	struct dry_run_changes changes;
	char *path;
	struct reconciler_wait wait;
	uv_timer_t timer;
};

/* An object's own file is the truth: it is edited there, not overridden from another place. */
static int check_origins(const struct commit *commit, char *message, size_t size)
{
	const struct store *store = commit->sources->store;
	const char *origin;
	char text[512];

	for (size_t i = 0; i < commit->changes.objects.count; i++) {
		const struct object *object = commit->changes.objects.objects[i];

		origin = store_origin(store, object->kind, object->namespace, object->name);
		if (!origin)
			continue;
		dry_run_object_text(object->kind, object->namespace, object->name, text,
				    sizeof(text));
		snprintf(message, size, "%s is defined in %s; edit that file. Nothing was written",
			 text, origin);
		return -EEXIST;
	}
	for (size_t i = 0; i < commit->changes.removal_count; i++) {
		const struct dry_run_removal *removal = &commit->changes.removals[i];

		origin = store_origin(store, removal->kind, removal->namespace, removal->name);
		dry_run_object_text(removal->kind, removal->namespace, removal->name, text,
				    sizeof(text));
		snprintf(message, size, "%s is defined in %s; delete it there. Nothing was written",
			 text, origin ? origin : "no file");
		return -EEXIST;
	}
	return 0;
}

/* The file's bytes, beside and hidden from the readers of the directory; then it appears under its
 * name. */
static int write_file(int dir_fd, const char *name, const char *text, size_t length)
{
	CLEANUP(cleanup_close) int fd = -1;
	char hidden[NAME_MAX_BYTES + 8];
	int r;

	snprintf(hidden, sizeof(hidden), ".%s.tmp", name);
	fd = openat(dir_fd, hidden, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	r = file_write_all(fd, text, length);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (r == 0 && linkat(dir_fd, hidden, dir_fd, name, 0) < 0)
		r = -errno;
	unlinkat(dir_fd, hidden, 0);
	if (r == 0)
		fsync(dir_fd);
	return r;
}

/* polder-try-20261122-221500.json, or with a number more if that is taken. */
static int write_new_file(const char *directory, const char *text, size_t length, char **ret_path)
{
	CLEANUP(cleanup_close) int dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	time_t now = time(NULL);
	char stamp[32], name[NAME_MAX_BYTES];
	struct tm tm;
	int r = -EEXIST;

	if (dir_fd < 0)
		return -errno;
	gmtime_r(&now, &tm);
	strftime(stamp, sizeof(stamp), "%Y%m%d-%H%M%S", &tm);
	for (unsigned int i = 0; r == -EEXIST && i < 100; i++) {
		snprintf(name, sizeof(name), i ? "polder-try-%s-%u.json" : "polder-try-%s.json",
			 stamp, i);
		r = write_file(dir_fd, name, text, length);
	}
	if (r == 0 && asprintf(ret_path, "%s%s%s", directory,
			       directory[strlen(directory) - 1] == '/' ? "" : "/", name) < 0) {
		*ret_path = NULL;
		return -ENOMEM;
	}
	return r;
}

/* ---------------------------------------------------------------- in force */

static void on_closed(uv_handle_t *handle)
{
	struct commit *commit = handle->data;

	dry_run_changes_clear(&commit->changes);
	free(commit->path);
	free(commit);
}

static bool in_store(const struct commit *commit)
{
	for (size_t i = 0; i < commit->changes.objects.count; i++) {
		const struct object *object = commit->changes.objects.objects[i];
		const struct object *present = store_get(commit->sources->store, object->kind,
							 object->namespace, object->name);

		if (!present || !object_equal(present, object))
			return false;
	}
	return true;
}

static void commit_end(struct commit *commit)
{
	uv_close((uv_handle_t *)&commit->timer, on_closed);
}

/* With the next change that is in force the objects may be, too. */
static void look(void *data)
{
	struct commit *commit = data;
	struct reconciler *reconciler = commit->sources->reconciler;
	struct reconciler_progress progress;

	reconciler_progress(reconciler, &progress);
	if (!progress.pending && in_store(commit)) {
		control_reply(commit->request,
			      json_pack("{s:s, s:b}", "file", commit->path, "in_force", 1));
		commit_end(commit);
		return;
	}
	commit->wait.change = reconciler_change(reconciler) + !progress.pending;
	reconciler_after(reconciler, &commit->wait);
}

static void on_late(uv_timer_t *timer)
{
	struct commit *commit = timer->data;
	char message[512];

	reconciler_cancel(commit->sources->reconciler, &commit->wait);
	snprintf(message, sizeof(message),
		 "%.300s was written, but is not in force after %d s; see polderctl status",
		 commit->path, WAIT_MS / 1000);
	control_fail(commit->request, ETIMEDOUT, message, NULL);
	commit_end(commit);
}

static int read_text(int fd, char **ret, size_t *ret_length)
{
	off_t length = lseek(fd, 0, SEEK_END);
	char *text = length < 0 ? NULL : malloc((size_t)length + 1);

	if (!text || pread(fd, text, (size_t)length, 0) != length) {
		free(text);
		return -ENOMEM;
	}
	*ret = text;
	*ret_length = (size_t)length;
	return 0;
}

static int commit_write(struct commit *commit, const json_t *args, int fd, char *message,
			size_t size)
{
	const char *directory = commit->sources->config->resources;
	CLEANUP(cleanup_free) char *text = NULL;
	size_t length = 0;
	int r = dry_run_read_changes(args, fd, &commit->changes, message, size);

	if (r == 0)
		r = check_origins(commit, message, size);
	if (r < 0)
		return r;
	if (!directory) {
		snprintf(
			message, size,
			"polderd has no resources directory (--resources) to write the objects to");
		return -ENOTSUP;
	}
	r = read_text(fd, &text, &length);
	if (r == 0)
		r = write_new_file(directory, text, length, &commit->path);
	if (r < 0)
		snprintf(message, size, "%s: cannot write a file in the directory: %s", directory,
			 strerror(-r));
	return r;
}

void dry_run_commit(struct control_request *request, const json_t *args, int fd, void *data)
{
	struct commit *commit = calloc(1, sizeof(*commit));
	char message[640] = "no memory";
	int r = -ENOMEM;

	if (commit) {
		commit->sources = data;
		r = commit_write(commit, args, fd, message, sizeof(message));
	}
	if (r < 0) {
		control_fail(request, -r, message, NULL);
		if (commit)
			dry_run_changes_clear(&commit->changes);
		free(commit);
		return;
	}
	commit->request = request;
	uv_timer_init(commit->sources->loop, &commit->timer);
	commit->timer.data = commit;
	uv_timer_start(&commit->timer, on_late, WAIT_MS, 0);
	commit->wait = (struct reconciler_wait){.call = look, .data = commit};
	look(commit);
}
