/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/observe/flow_history_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cleanup.h"
#include "agent/common/clock.h"
#include "agent/common/file.h"
#include "agent/common/log.h"
#include "agent/observe/flow_history_text.h"

#define CATEGORY  "flow-history"
#define FILE_MODE 0600 /* it says who speaks to whom */

struct flow_history_file {
	uv_loop_t *loop;
	char *path;
	struct flow_history *history;
	uint64_t most_bytes;
	struct flow_history_file_stats stats;
	char problem[512];
	bool foreign; /* what is there is somebody else's: it is left alone */
	uv_timer_t timer;
	uv_work_t work;
	struct flow_history_image image; /* what the thread writes */
	int error;			 /* what came of it */
	size_t length;
	bool working;
	uv_mutex_t writing;
	bool closed; /* under the mutex: the thread's version is an old one by now */
	bool timer_closed;
};

/* ---------------------------------------------------------------- reading */

__attribute__((format(printf, 2, 3))) static void set_problem(struct flow_history_file *file,
							      const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vsnprintf(file->problem, sizeof(file->problem), format, list);
	va_end(list);
	log_warning(CATEGORY, "%s", file->problem);
}

/* Is nobody's but to be replaced: what is no history may be anything. */
static void refuse(struct flow_history_file *file, int error)
{
	file->foreign = true;
	if (error == -EBADMSG)
		set_problem(file,
			    "flow-history-file %s is no history of flows, and is left alone: name "
			    "another file, or remove it and restart polderd",
			    file->path);
	else if (error == -EPROTO)
		set_problem(file,
			    "flow-history-file %s is of another release of Polder, and is left "
			    "alone: name another file, or remove it and restart polderd",
			    file->path);
	else if (error == -EFBIG)
		set_problem(file,
			    "flow-history-file %s is more than four times as large as flow-history "
			    "allows, and is left alone: raise flow-history, or remove the file, "
			    "and restart polderd",
			    file->path);
	else
		set_problem(file,
			    "flow-history-file %s cannot be read, and is left alone: %s; mend that "
			    "and restart polderd",
			    file->path, strerror(-error));
}

static void tell_read(struct flow_history_file *file, const struct flow_history_read *read)
{
	file->stats.left_out = read->damaged;
	file->stats.cut_off = read->cut_off;
	if (read->damaged || read->cut_off)
		log_warning(CATEGORY,
			    "%s is damaged: %zu lines were left out%s, %zu entries are good and "
			    "kept; the history is whole since this start only",
			    file->path, read->damaged,
			    read->cut_off ? " and its end is missing" : "", read->entries);
	else
		log_info(CATEGORY, "%s: %zu entries", file->path, read->entries);
}

/* 0 or -ENOMEM. */
static int read_file(struct flow_history_file *file)
{
	CLEANUP(cleanup_free) char *text = NULL;
	const struct flow_history_now now = flow_history_now();
	struct flow_history_read read = {0};
	size_t length = 0;
	int r = file_read(file->path, O_NOFOLLOW, 4 * file->most_bytes, &text, &length);

	if (r == -ENOENT)
		return 0;
	if (r == 0)
		r = flow_history_parse(file->history, text, length, &now, &read);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		refuse(file, r);
		return 0;
	}
	file->stats.bytes = length;
	tell_read(file, &read);
	flow_history_expire(file->history, now.history_ns);
	return 0;
}

/* ---------------------------------------------------------------- writing */

/* The old version stays where this one cannot be written. In any thread. */
static int write_image(const char *path, const struct flow_history_image *image, size_t *ret_length)
{
	CLEANUP(cleanup_free) char *text = NULL;
	struct iovec part;
	int r = flow_history_format(image, &text, &part.iov_len);

	if (r < 0)
		return r;
	part.iov_base = text;
	*ret_length = part.iov_len;
	return file_replace(path, &part, 1, FILE_MODE, true);
}

static void note_written(struct flow_history_file *file, int error, size_t length)
{
	if (error < 0) {
		file->stats.failures++;
		set_problem(file,
			    "flow-history-file %s cannot be written: %s; what it has stays, and it "
			    "is tried again within %d s",
			    file->path, strerror(-error), FLOW_HISTORY_FILE_S);
		return;
	}
	file->problem[0] = '\0';
	file->stats.bytes = length;
	file->stats.written_ns = clock_monotonic_ns();
}

static void write_in_thread(uv_work_t *work)
{
	struct flow_history_file *file = work->data;

	uv_mutex_lock(&file->writing);
	if (!file->closed)
		file->error = write_image(file->path, &file->image, &file->length);
	uv_mutex_unlock(&file->writing);
}

static void free_file(struct flow_history_file *file)
{
	if (file->working || !file->timer_closed)
		return;
	uv_mutex_destroy(&file->writing);
	free(file->path);
	free(file);
}

static void on_time(uv_timer_t *timer);

static void wait_for_next(struct flow_history_file *file)
{
	uint64_t seconds = file->stats.bytes / FLOW_HISTORY_FILE_RATE;

	if (seconds < FLOW_HISTORY_FILE_S || file->problem[0])
		seconds = FLOW_HISTORY_FILE_S;
	uv_timer_start(&file->timer, on_time, seconds * 1000, 0);
}

static void on_written(uv_work_t *work, int status)
{
	struct flow_history_file *file = work->data;

	(void)status;
	flow_history_image_clear(&file->image);
	file->working = false;
	if (file->closed) {
		free_file(file);
		return;
	}
	note_written(file, file->error, file->length);
	wait_for_next(file);
}

static void on_time(uv_timer_t *timer)
{
	struct flow_history_file *file = timer->data;
	int r = flow_history_image(file->history, &file->image);

	file->work.data = file;
	if (r == 0) {
		r = uv_queue_work(file->loop, &file->work, write_in_thread, on_written);
		if (r < 0)
			flow_history_image_clear(&file->image);
	}
	file->working = r == 0;
	if (r < 0) {
		note_written(file, r, 0);
		wait_for_next(file);
	}
}

static void write_last(struct flow_history_file *file)
{
	struct flow_history_image image;
	size_t length = 0;
	int r = flow_history_image(file->history, &image);

	if (r == 0) {
		r = write_image(file->path, &image, &length);
		flow_history_image_clear(&image);
	}
	note_written(file, r, length);
}

/* ---------------------------------------------------------------- its life */

int flow_history_file_open(uv_loop_t *loop, const char *path, struct flow_history *history,
			   uint64_t most_bytes, struct flow_history_file **ret)
{
	struct flow_history_file *file = calloc(1, sizeof(*file));

	if (file)
		file->path = strdup(path);
	if (!file || !file->path || uv_mutex_init(&file->writing) < 0) {
		if (file)
			free(file->path);
		free(file);
		return -ENOMEM;
	}
	file->loop = loop;
	file->history = history;
	file->most_bytes = most_bytes;
	if (read_file(file) < 0) {
		uv_mutex_destroy(&file->writing);
		free(file->path);
		free(file);
		return -ENOMEM;
	}
	uv_timer_init(loop, &file->timer);
	file->timer.data = file;
	/* At once: that it cannot be written is told before there is something to lose. */
	if (!file->foreign)
		uv_timer_start(&file->timer, on_time, 0, 0);
	*ret = file;
	return 0;
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct flow_history_file *file = handle->data;

	file->timer_closed = true;
	free_file(file);
}

void flow_history_file_close(struct flow_history_file *file)
{
	if (!file)
		return;
	/* Waits for the thread. */
	uv_mutex_lock(&file->writing);
	file->closed = true;
	if (!file->foreign)
		write_last(file);
	uv_mutex_unlock(&file->writing);
	uv_timer_stop(&file->timer);
	uv_close((uv_handle_t *)&file->timer, on_timer_closed);
}

void flow_history_file_stats(const struct flow_history_file *file,
			     struct flow_history_file_stats *ret)
{
	*ret = file->stats;
	ret->problem = file->problem;
}
