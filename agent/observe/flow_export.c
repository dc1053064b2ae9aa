/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/observe/flow_export.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/common/log.h"

#define WAITING_MAX (1u << 20) /* bytes that were not handed to a writer */
#define FLUSH_MS    200
#define RETRY_NS    5000000000ull
#define SOCKET_MS   1000 /* as long a socket's reader is waited for */
#define UNIX_PREFIX "unix:"

/* Lines, as they will be written. */
struct lines {
	char *text;
	size_t length, size;
	uint64_t count;
};

/* What a thread of the loop's pool works on, while `busy`. */
struct writer {
	char *path;
	bool is_socket;
	uint64_t most_bytes;
	int fd; /* -1: not open */
	struct lines lines;
	uint64_t written; /* lines of these */
	int error;	  /* -errno of this write */
};

struct flow_export {
	uv_loop_t *loop;
	const struct event_names *names;
	struct event_subscriber *tap;
	struct lines waiting;
	struct writer writer;
	bool busy, closing;
	uv_work_t work;
	uv_timer_t timer;
	int handles;
	uint32_t per_second, left; /* of this second */
	uint64_t second;
	uint64_t retry_ns; /* not before */
	uint64_t untold;   /* lost since a line said so */
	struct flow_export_stats stats;
};

/* ---------------------------------------------------------------- the target */

static int open_file(const char *path)
{
	/* As a log collector finds it, but nobody else: it says who speaks to whom. */
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC,
		      0640);
	struct stat status;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode)) {
		close(fd);
		return -EINVAL;
	}
	return fd;
}

static int open_socket(const char *path)
{
	const struct timeval patience = {.tv_usec = 0, .tv_sec = SOCKET_MS / 1000};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), r;

	if (fd < 0)
		return -errno;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	/* Of connect() as well. */
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

/* A file that was moved or removed, or is full, is followed by a new one. */
static void rotate(struct writer *writer)
{
	CLEANUP(cleanup_free) char *old = NULL;
	struct stat there, here;
	bool moved;

	if (writer->is_socket || writer->fd < 0 || fstat(writer->fd, &here) < 0)
		return;
	moved = stat(writer->path, &there) < 0 || there.st_ino != here.st_ino ||
		there.st_dev != here.st_dev;
	if (!moved && (!writer->most_bytes ||
		       (uint64_t)here.st_size + writer->lines.length <= writer->most_bytes ||
		       here.st_size == 0))
		return;
	if (!moved && (asprintf(&old, "%s.1", writer->path) < 0 || rename(writer->path, old) < 0))
		return;
	close(TAKE_FD(writer->fd));
}

static uint64_t lines_in(const char *text, size_t length)
{
	uint64_t count = 0;

	for (size_t i = 0; i < length; i++)
		count += text[i] == '\n';
	return count;
}

static ssize_t write_some(const struct writer *writer, const char *text, size_t length)
{
	return writer->is_socket ? send(writer->fd, text, length, MSG_NOSIGNAL)
				 : write(writer->fd, text, length);
}

/* In a thread. Whatever is left of the lines is lost. */
static void write_lines(struct writer *writer)
{
	size_t done = 0;
	ssize_t n;

	writer->written = 0;
	writer->error = 0;
	rotate(writer);
	if (writer->fd < 0)
		writer->fd =
			writer->is_socket ? open_socket(writer->path) : open_file(writer->path);
	if (writer->fd < 0) {
		writer->error = writer->fd;
		writer->fd = -1;
		return;
	}
	while (done < writer->lines.length && !writer->error) {
		n = write_some(writer, writer->lines.text + done, writer->lines.length - done);
		if (n >= 0)
			done += (size_t)n;
		else if (errno != EINTR)
			writer->error = errno == EAGAIN ? -ETIMEDOUT : -errno;
	}
	writer->written = lines_in(writer->lines.text, done);
	/* A line that was cut off is no reader's who connects again; in a file it is ended. */
	if (writer->error && done && !writer->is_socket && writer->lines.text[done - 1] != '\n' &&
	    write_some(writer, "\n", 1) < 0)
		writer->error = -errno;
	if (writer->error)
		close(TAKE_FD(writer->fd));
}

static void write_in_thread(uv_work_t *work)
{
	struct flow_export *out = work->data;

	write_lines(&out->writer);
}

/* ---------------------------------------------------------------- lines */

static void count_lost(struct flow_export *out, uint64_t count)
{
	out->stats.lost += count;
	out->untold += count;
}

static void lines_clear(struct lines *lines)
{
	free(lines->text);
	*lines = (struct lines){0};
}

static bool lines_add(struct lines *lines, const char *text, size_t length)
{
	size_t size = lines->size ? lines->size : 16384;
	char *larger;

	if (lines->length + length + 1 > WAITING_MAX)
		return false;
	while (size < lines->length + length + 1)
		size *= 2;
	if (size != lines->size) {
		larger = realloc(lines->text, size);
		if (!larger)
			return false;
		lines->text = larger;
		lines->size = size;
	}
	memcpy(lines->text + lines->length, text, length);
	lines->length += length;
	lines->text[lines->length++] = '\n';
	lines->count++;
	return true;
}

/* Takes the reference. */
static bool add_document(struct flow_export *out, json_t *document)
{
	CLEANUP(cleanup_json) json_t *owned = document;
	CLEANUP(cleanup_free)
	char *text = owned ? json_dumps(owned, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;

	return text && lines_add(&out->waiting, text, strlen(text));
}

/* Whether the target can be written is told once, and when it changes. */
static void note_result(struct flow_export *out)
{
	const struct writer *writer = &out->writer;
	bool was_well = !out->stats.error[0];

	out->stats.written += writer->written;
	if (writer->lines.count > writer->written)
		count_lost(out, writer->lines.count - writer->written);
	if (!writer->error) {
		if (!was_well)
			log_info("flow-export", "%s%s is written again, %llu events were lost",
				 writer->is_socket ? UNIX_PREFIX : "", writer->path,
				 (unsigned long long)out->untold);
		out->stats.error[0] = '\0';
		return;
	}
	out->retry_ns = uv_hrtime() + RETRY_NS;
	snprintf(out->stats.error, sizeof(out->stats.error),
		 "%.160s cannot be written: %s; tried again every 5 s, events are lost meanwhile",
		 writer->path,
		 writer->error == -ETIMEDOUT ? "its reader does not read"
		 : writer->error == -EINVAL  ? "it is no regular file"
					     : strerror(-writer->error));
	if (was_well)
		log_warning("flow-export", "%s", out->stats.error);
}

static void free_if_closed(struct flow_export *out)
{
	if (out->handles || out->busy)
		return;
	if (out->writer.fd >= 0)
		close(out->writer.fd);
	lines_clear(&out->waiting);
	lines_clear(&out->writer.lines);
	free(out->writer.path);
	free(out);
}

static void flush(struct flow_export *out);

static void on_written(uv_work_t *work, int status)
{
	struct flow_export *out = work->data;

	out->busy = false;
	if (status < 0)
		out->writer.error = status;
	note_result(out);
	lines_clear(&out->writer.lines);
	/* What came while the writer was at it is not left behind at the end. */
	if (out->closing || out->waiting.length > WAITING_MAX / 2)
		flush(out);
	if (out->closing)
		free_if_closed(out);
}

/* What waits goes to the writer, if he is not at it. */
static void flush(struct flow_export *out)
{
	if (out->busy || (out->stats.error[0] && uv_hrtime() < out->retry_ns))
		return;
	if (out->untold && add_document(out, json_pack("{s:I}", "lost", (json_int_t)out->untold)))
		out->untold = 0;
	if (!out->waiting.length)
		return;
	out->writer.lines = out->waiting;
	out->waiting = (struct lines){0};
	out->busy = uv_queue_work(out->loop, &out->work, write_in_thread, on_written) == 0;
	if (!out->busy) {
		count_lost(out, out->writer.lines.count);
		lines_clear(&out->writer.lines);
	}
}

static void on_time(uv_timer_t *timer)
{
	flush(timer->data);
}

/* ---------------------------------------------------------------- events */

static bool is_within_rate(struct flow_export *out)
{
	uint64_t second = uv_hrtime() / 1000000000;

	if (!out->per_second)
		return true;
	if (second != out->second) {
		out->second = second;
		out->left = out->per_second;
	}
	if (!out->left)
		return false;
	out->left--;
	return true;
}

static void on_event(const struct polder_event *event, void *data)
{
	struct flow_export *out = data;

	/* Before the document is made: that is what costs. */
	if (!is_within_rate(out)) {
		out->stats.limited++;
		out->untold++;
		return;
	}
	if (!add_document(out, event_document(event, out->names)))
		count_lost(out, 1);
	if (out->waiting.length > WAITING_MAX / 2)
		flush(out);
}

static void on_lost(uint64_t count, void *data)
{
	count_lost(data, count);
}

int flow_export_open(uv_loop_t *loop, struct events *events, const struct event_names *names,
		     const struct flow_export_options *options, struct flow_export **ret)
{
	const bool is_socket = strncmp(options->target, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0;
	struct flow_export *out = calloc(1, sizeof(*out));
	const struct event_tap tap = {.event = on_event, .lost = on_lost, .data = out};

	if (!out)
		return -ENOMEM;
	out->loop = loop;
	out->names = names;
	out->per_second = options->per_second;
	out->work.data = out;
	out->writer = (struct writer){
		.path = strdup(options->target + (is_socket ? strlen(UNIX_PREFIX) : 0)),
		.is_socket = is_socket,
		.most_bytes = options->most_bytes,
		.fd = -1};
	out->tap = events_tap(events, options->mask, &tap);
	if (!out->writer.path || !out->tap) {
		events_unsubscribe(out->tap);
		free(out->writer.path);
		free(out);
		return -ENOMEM;
	}
	uv_timer_init(loop, &out->timer);
	out->handles = 1;
	out->timer.data = out;
	uv_timer_start(&out->timer, on_time, FLUSH_MS, FLUSH_MS);
	uv_unref((uv_handle_t *)&out->timer);
	*ret = out;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	struct flow_export *out = handle->data;

	out->handles--;
	free_if_closed(out);
}

void flow_export_close(struct flow_export *out)
{
	if (!out)
		return;
	events_unsubscribe(out->tap);
	flush(out);
	out->closing = true;
	uv_close((uv_handle_t *)&out->timer, on_closed);
}

void flow_export_read(const struct flow_export *out, struct flow_export_stats *ret)
{
	*ret = out->stats;
}
