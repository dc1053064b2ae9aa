/* SPDX-License-Identifier: Apache-2.0 */
/* Finishes the deletions that the CNI plugin noted while the agent was away. */
#include "agent/pods/cni_queue.h"

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

#include "agent/common/cni_deletion.h"
#include "agent/common/log.h"

#define CATEGORY  "cni"
#define PERIOD_MS 5000

struct cni_queue {
	char *socket; /* beside which the directory is */
	int directory_fd;
	cni_queue_finish finish;
	void *data;
	char logged[NAME_MAX +
		    1]; /* the note named in the last warning: one line, not one each pass */
	uv_fs_event_t watch;
	uv_timer_t timer;
	int open_handles; /* freed with the last one */
};

static bool is_deletion(const char *file)
{
	size_t length = strlen(file), suffix = strlen(CNI_DELETION_SUFFIX);

	return file[0] != '.' && length > suffix &&
	       !strcmp(file + length - suffix, CNI_DELETION_SUFFIX);
}

static void put_aside(struct cni_queue *queue, const char *file)
{
	char aside[NAME_MAX + 1];
	int n = snprintf(aside, sizeof(aside), "%s.bad", file);

	if (n < (int)sizeof(aside) &&
	    !renameat(queue->directory_fd, file, queue->directory_fd, aside)) {
		log_warning(CATEGORY,
			    "note %s/%s is damaged; renamed to %s. If its container still has an "
			    "address, CNI GC frees it",
			    CNI_DELETION_DIRECTORY, file, aside);
		return;
	}
	unlinkat(queue->directory_fd, file, 0);
	log_warning(CATEGORY, "note %s/%s is damaged and cannot be renamed; deleted",
		    CNI_DELETION_DIRECTORY, file);
}

static void log_failure(struct cni_queue *queue, const char *file, int error, const char *what)
{
	if (!strcmp(queue->logged, file))
		return;
	snprintf(queue->logged, sizeof(queue->logged), "%s", file);
	log_warning(CATEGORY, "note %s/%s: %s: %s; retried every %d s", CNI_DELETION_DIRECTORY,
		    file, what, strerror(-error), PERIOD_MS / 1000);
}

static bool finish_deletion(struct cni_queue *queue, const char *file)
{
	struct cni_deletion note;
	int r = cni_deletion_read(queue->directory_fd, file, &note);

	if (r == -ENOENT)
		return false;
	if (r == -EBADMSG) {
		put_aside(queue, file);
		return false;
	}
	if (r < 0) {
		log_failure(queue, file, r, "cannot be read");
		return false;
	}
	r = queue->finish(note.container_id, note.ifname, queue->data);
	if (r < 0) {
		log_failure(queue, file, r, "the attachment could not be freed");
		return false;
	}
	r = cni_deletion_remove(queue->directory_fd, note.container_id, note.ifname);
	if (r < 0) {
		log_failure(queue, file, r, "is done but cannot be removed");
		return false;
	}
	log_info(CATEGORY,
		 "container %s interface %s: finished the deletion that was queued while polderd "
		 "was down",
		 note.container_id, note.ifname);
	return true;
}

size_t cni_queue_run(struct cni_queue *queue)
{
	int fd = openat(queue->directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	size_t done = 0;

	if (!directory) {
		log_failure(queue, ".", -errno, "cannot be listed");
		if (fd >= 0)
			close(fd);
		return 0;
	}
	while ((entry = readdir(directory)))
		if (is_deletion(entry->d_name) && finish_deletion(queue, entry->d_name))
			done++;
	closedir(directory);
	return done;
}

static void on_change(uv_fs_event_t *watch, const char *file, int events, int status)
{
	cni_queue_run(watch->data);
}

static int watch(struct cni_queue *queue)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", queue->directory_fd);
	return uv_fs_event_start(&queue->watch, on_change, path, 0);
}

/* The directory is another one when somebody has removed it, and the plugin has made it again. */
static void follow_directory(struct cni_queue *queue)
{
	struct stat known, found;
	int fd = -1, r = cni_deletion_open_directory(queue->socket, &fd);

	if (r < 0) {
		log_failure(queue, ".", r, "cannot be opened");
		return;
	}
	if (fstat(fd, &found) < 0 || fstat(queue->directory_fd, &known) < 0 ||
	    (found.st_dev == known.st_dev && found.st_ino == known.st_ino)) {
		close(fd);
		return;
	}
	log_warning(CATEGORY, "directory %s has been removed; there is a new one",
		    CNI_DELETION_DIRECTORY);
	uv_fs_event_stop(&queue->watch);
	close(queue->directory_fd);
	queue->directory_fd = fd;
	(void)watch(queue);
}

/* For what failed before, and for a watch that the kernel could not give. */
static void on_timer(uv_timer_t *timer)
{
	follow_directory(timer->data);
	cni_queue_run(timer->data);
}

static void on_closed(uv_handle_t *handle)
{
	struct cni_queue *queue = handle->data;

	if (--queue->open_handles)
		return;
	close(queue->directory_fd);
	free(queue->socket);
	free(queue);
}

static int start(struct cni_queue *queue, uv_loop_t *loop)
{
	int r;

	uv_timer_init(loop, &queue->timer); /* neither init can fail */
	uv_fs_event_init(loop, &queue->watch);
	queue->timer.data = queue->watch.data = queue;
	queue->open_handles = 2;
	r = watch(queue);
	if (r < 0)
		log_warning(CATEGORY, "%s cannot be watched: %s; polled every %d s instead",
			    CNI_DELETION_DIRECTORY, uv_strerror(r), PERIOD_MS / 1000);
	return uv_timer_start(&queue->timer, on_timer, PERIOD_MS, PERIOD_MS);
}

int cni_queue_new(uv_loop_t *loop, const char *socket, cni_queue_finish finish, void *data,
		  struct cni_queue **ret)
{
	struct cni_queue *queue = calloc(1, sizeof(*queue));
	int r;

	if (!queue)
		return -ENOMEM;
	queue->finish = finish;
	queue->data = data;
	queue->socket = strdup(socket);
	r = queue->socket ? cni_deletion_open_directory(socket, &queue->directory_fd) : -ENOMEM;
	if (r < 0) {
		free(queue->socket);
		free(queue);
		return r;
	}
	r = start(queue, loop);
	if (r < 0) {
		cni_queue_free(queue);
		return r;
	}
	cni_queue_run(queue);
	*ret = queue;
	return 0;
}

void cni_queue_free(struct cni_queue *queue)
{
	if (!queue)
		return;
	uv_close((uv_handle_t *)&queue->watch, on_closed);
	uv_close((uv_handle_t *)&queue->timer, on_closed);
}
