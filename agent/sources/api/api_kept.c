/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/sources/api/api_kept.h"

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
#include "agent/common/hash_table.h"
#include "agent/common/log.h"
#include "agent/sources/api/kept_file.h"

#define ORIGIN	   "api:kept"
#define API_PREFIX "api:"
/* Changes of so long are written together. */
#define WRITE_MS 200
/* After a crash of the machine at most so much is missing. */
#define SYNC_MS	   5000
#define CONFIRM_MS 60000
#define RETRY_MS   60000
/* A file of more than twice what counts in it, and this, is written anew. */
#define SLACK_BYTES (1u << 20)
#define NEVER	    UINT64_MAX

/* The last that is known of an object, to be written. */
struct change {
	struct hash_table_item item;
	struct change *next;
	struct object *object; /* a share */
	bool deleted, closed;
};

struct changes {
	struct hash_table table;
	struct change *first, *last;
};

/* What there is when the file is begun: of many objects, and so not as changes. */
struct known {
	struct object *object; /* a share */
	bool closed;
};

/* What the thread does; it touches nothing else. */
struct job {
	const char *path;
	struct known *all;
	size_t count;
	struct changes changes;
	bool fresh; /* the file begins with this */
	bool whole, sync, touch, compact;
	uint64_t size; /* of the file, before and after */
	bool compacted;
	int result;
};

struct api_kept {
	uv_loop_t *loop;
	struct store *store;
	struct kept_hooks hooks;
	char *path;
	struct changes changes;
	uv_timer_t timer;
	uv_work_t work;
	struct job job;
	bool busy, closing, timer_closed;
	bool last_begun; /* the job of the end has been made */
	bool recalled;
	bool fresh; /* there is no file yet; it is begun when all has been listed */
	bool whole_wanted, whole_there; /* all has been listed; the file says so */
	bool confirmed;			/* since the last touch */
	bool unsynced;
	uint64_t size, base; /* of the file now, and when it was last without slack */
	uint64_t synced_ms, touched_ms, due_ms, retry_ms;
	int64_t time;
	int failure; /* told; 0: none */
};

/* ---------------------------------------------------------------- changes */

static uint32_t hash_of(const struct object *object)
{
	return hash_table_hash_of_names(object->namespace, object->name) + (uint32_t)object->kind;
}

static bool is_same(const struct object *a, const struct object *b)
{
	return a->kind == b->kind && strcmp(a->name, b->name) == 0 &&
	       strcmp(a->namespace, b->namespace) == 0;
}

static struct change *find_change(const struct changes *changes, const struct object *object)
{
	struct hash_table_item *item = hash_table_find(&changes->table, hash_of(object));

	while (item && !is_same(((struct change *)item)->object, object))
		item = hash_table_find_next(item);
	return (struct change *)item;
}

static struct change *add_change(struct changes *changes, const struct object *object)
{
	struct change *change = calloc(1, sizeof(*change));

	if (!change || hash_table_add(&changes->table, &change->item, hash_of(object)) < 0) {
		free(change);
		return NULL;
	}
	if (changes->last)
		changes->last->next = change;
	else
		changes->first = change;
	changes->last = change;
	return change;
}

static void clear_changes(struct changes *changes)
{
	struct change *change, *next;

	for (change = changes->first; change; change = next) {
		next = change->next;
		object_free(change->object);
		free(change);
	}
	hash_table_clear(&changes->table);
	*changes = (struct changes){};
}

static void schedule(struct api_kept *kept);

/* Without memory the file lacks something: it is begun anew. */
static void fail(struct api_kept *kept, int r)
{
	struct error error;

	unlink(kept->path);
	clear_changes(&kept->changes);
	kept->fresh = true;
	kept->whole_there = false;
	kept->size = kept->base = 0;
	kept->time = 0;
	kept->retry_ms = uv_now(kept->loop) + RETRY_MS;
	if (kept->failure == r)
		return;
	kept->failure = r;
	error_at(&error, r, kept->path,
		 "the objects of the API server cannot be kept: %s; a polderd that starts while no "
		 "server is reached will have none, and connect no pods; retried every minute",
		 r == -ESTALE ? "somebody else has written to the file" : strerror(-r));
	log_error("api", "%s: %s", kept->path, error.text);
	store_set_problem(kept->store, ORIGIN, &error);
}

static void note(struct api_kept *kept, const struct object *object, bool deleted)
{
	struct change *change = find_change(&kept->changes, object);

	if (!change)
		change = add_change(&kept->changes, object);
	if (!change) {
		fail(kept, -ENOMEM);
		return;
	}
	object_free(change->object);
	change->object = object_share(object);
	change->deleted = deleted;
	change->closed = !deleted && kept->hooks.is_closed(object, kept->hooks.data);
	if (kept->due_ms == NEVER)
		kept->due_ms = uv_now(kept->loop) + WRITE_MS;
}

static bool is_ours(const struct api_kept *kept, const struct object *object)
{
	const char *origin =
		store_origin(kept->store, object->kind, object->namespace, object->name);

	return origin && strncmp(origin, API_PREFIX, strlen(API_PREFIX)) == 0;
}

/* A deletion of what the file does not have does no harm. */
static void on_change(const struct object *object, bool deleted, void *data)
{
	struct api_kept *kept = data;

	/* A file that is not begun will begin with what there is then. */
	if ((kept->fresh && !kept->busy) || kept->retry_ms || kept->closing ||
	    (!deleted && !is_ours(kept, object)))
		return;
	note(kept, object, deleted);
	schedule(kept);
}

static size_t store_size(const struct store *store)
{
	size_t count = 0;

	for (enum object_kind kind = 0; kind < OBJECT_KIND_COUNT; kind++)
		count += store_count(store, kind);
	return count;
}

/* What the file begins with. 0 or -ENOMEM. */
static int take_everything(const struct api_kept *kept, struct job *job)
{
	size_t count;

	job->all = calloc(store_size(kept->store) + 1, sizeof(*job->all));
	if (!job->all)
		return -ENOMEM;
	for (enum object_kind kind = 0; kind < OBJECT_KIND_COUNT; kind++) {
		const struct object *const *objects = store_objects(kept->store, kind, &count);

		for (size_t i = 0; i < count; i++)
			if (is_ours(kept, objects[i]))
				job->all[job->count++] = (struct known){
					.object = object_share(objects[i]),
					.closed =
						kept->hooks.is_closed(objects[i], kept->hooks.data),
				};
	}
	return 0;
}

static void job_clear(struct job *job)
{
	for (size_t i = 0; i < job->count; i++)
		object_free(job->all[i].object);
	free(job->all);
	job->all = NULL;
	job->count = 0;
	clear_changes(&job->changes);
}

/* ---------------------------------------------------------------- in the thread */

static void write_object(const struct object *object, bool closed, struct kept_lines *lines)
{
	CLEANUP(cleanup_free) char *json = object_encode(object);

	if (json)
		kept_add_object(lines, object->kind, object->namespace, object->name, json, closed);
	else
		lines->result = -ENOMEM;
}

static void write_lines(const struct job *job, struct kept_lines *lines)
{
	if (job->fresh)
		kept_add_head(lines);
	for (size_t i = 0; i < job->count && lines->result == 0; i++)
		write_object(job->all[i].object, job->all[i].closed, lines);
	for (const struct change *change = job->changes.first; change && lines->result == 0;
	     change = change->next) {
		const struct object *object = change->object;

		if (change->deleted)
			kept_add_deletion(lines, object->kind, object->namespace, object->name);
		else
			write_object(object, change->closed, lines);
	}
	if (job->whole)
		kept_add_whole(lines);
}

/* Somebody else's file, or one that somebody has changed, is none of ours. */
static int open_file(const struct job *job)
{
	int flags = O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
	CLEANUP(cleanup_close)
	int fd = open(job->path, job->fresh ? flags | O_CREAT | O_TRUNC : flags, 0600);
	struct stat status;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &status) < 0)
		return -errno;
	if (!S_ISREG(status.st_mode) || (!job->fresh && (uint64_t)status.st_size != job->size))
		return -ESTALE;
	return TAKE_FD(fd);
}

static int append(struct job *job)
{
	CLEANUP(cleanup_close) int fd = open_file(job);
	struct kept_lines lines = {.fd = fd};
	int r;

	if (fd < 0)
		return fd;
	write_lines(job, &lines);
	r = kept_lines_end(&lines);
	if (r < 0)
		return r;
	job->size = (job->fresh ? 0 : job->size) + lines.written;
	if (job->touch && futimens(fd, NULL) < 0)
		return -errno;
	return job->sync && fsync(fd) < 0 ? -errno : 0;
}

static void run_job(struct job *job)
{
	struct stat status;
	int r = append(job);

	if (r == 0 && job->compact) {
		r = kept_file_compact(job->path);
		if (r == 0 && stat(job->path, &status) < 0)
			r = -errno;
		if (r == 0)
			job->size = (uint64_t)status.st_size;
		job->compacted = r == 0;
	}
	job->result = r;
}

static void work_in_thread(uv_work_t *work)
{
	struct api_kept *kept = work->data;

	run_job(&kept->job);
}

/* ---------------------------------------------------------------- on the loop */

static uint64_t next_due(const struct api_kept *kept)
{
	uint64_t due = kept->due_ms;

	if (kept->retry_ms)
		return kept->retry_ms;
	if (kept->fresh && !kept->whole_wanted)
		return NEVER;
	if (kept->unsynced && kept->synced_ms + SYNC_MS < due)
		due = kept->synced_ms + SYNC_MS;
	if (kept->confirmed && kept->touched_ms + CONFIRM_MS < due)
		due = kept->touched_ms + CONFIRM_MS;
	return due;
}

static void on_timer(uv_timer_t *timer);

static void schedule(struct api_kept *kept)
{
	uint64_t now = uv_now(kept->loop), due = next_due(kept);

	if (kept->busy || kept->closing)
		return;
	if (due == NEVER)
		uv_timer_stop(&kept->timer);
	else
		uv_timer_start(&kept->timer, on_timer, due > now ? due - now : 0, 0);
}

/* 0 or -ENOMEM. */
static int begin_job(struct api_kept *kept, bool last)
{
	uint64_t now = uv_now(kept->loop);
	int r;

	kept->job = (struct job){
		.path = kept->path,
		.changes = kept->changes,
		.fresh = kept->fresh,
		.whole = kept->whole_wanted && !kept->whole_there,
		.sync = last || kept->fresh || now >= kept->synced_ms + SYNC_MS,
		.touch = kept->confirmed,
		.compact = !last && kept->size > 2 * kept->base + SLACK_BYTES,
		.size = kept->size,
	};
	kept->changes = (struct changes){};
	kept->due_ms = NEVER;
	kept->confirmed = false;
	if (!kept->fresh)
		return 0;
	r = take_everything(kept, &kept->job);
	if (r < 0)
		job_clear(&kept->job);
	return r;
}

static void end_job(struct api_kept *kept)
{
	struct job *job = &kept->job;
	uint64_t now = uv_now(kept->loop);

	job_clear(job);
	/* It was given up meanwhile. */
	if (kept->retry_ms) {
		unlink(kept->path);
		return;
	}
	if (job->result < 0) {
		fail(kept, job->result);
		return;
	}
	if (kept->failure)
		store_set_problem(kept->store, ORIGIN, NULL);
	kept->failure = 0;
	if (job->fresh || job->compacted)
		kept->base = job->size;
	kept->fresh = false;
	kept->size = job->size;
	kept->whole_there |= job->whole;
	kept->time = kept->whole_there ? (int64_t)time(NULL) : 0;
	kept->unsynced = !job->sync;
	if (job->sync)
		kept->synced_ms = now;
	if (job->touch)
		kept->touched_ms = now;
}

static void release(struct api_kept *kept);

static void on_done(uv_work_t *work, int status)
{
	struct api_kept *kept = work->data;

	if (status < 0)
		kept->job.result = status;
	kept->busy = false;
	end_job(kept);
	if (!kept->closing)
		schedule(kept);
	else if (kept->timer_closed)
		release(kept);
}

static void on_timer(uv_timer_t *timer)
{
	struct api_kept *kept = timer->data;

	kept->retry_ms = 0;
	if (kept->fresh && !kept->whole_wanted)
		return;
	if (begin_job(kept, false) < 0) {
		fail(kept, -ENOMEM);
		schedule(kept);
		return;
	}
	kept->busy = true;
	if (uv_queue_work(kept->loop, &kept->work, work_in_thread, on_done) < 0)
		on_done(&kept->work, -EAGAIN);
}

void api_kept_set_whole(struct api_kept *kept)
{
	kept->whole_wanted = true;
	if (!kept->whole_there && kept->due_ms == NEVER)
		kept->due_ms = uv_now(kept->loop) + WRITE_MS;
	schedule(kept);
}

void api_kept_confirm(struct api_kept *kept)
{
	if (kept->confirmed || !kept->whole_there ||
	    uv_now(kept->loop) < kept->touched_ms + CONFIRM_MS)
		return;
	kept->confirmed = true;
	schedule(kept);
}

bool api_kept_recalled(const struct api_kept *kept)
{
	return kept->recalled;
}

int64_t api_kept_time(const struct api_kept *kept)
{
	return kept->time;
}

const char *api_kept_path(const struct api_kept *kept)
{
	return kept->path;
}

/* ---------------------------------------------------------------- life */

static int recall_one(const struct kept_object *object, void *data)
{
	const struct api_kept *kept = data;

	if (object->kind >= OBJECT_KIND_COUNT)
		return -EBADMSG;
	return kept->hooks.recall((enum object_kind)object->kind, object->json, object->length,
				  object->closed, kept->hooks.data);
}

static int recall_all(struct api_kept *kept, const struct kept_content *content)
{
	int r;

	store_batch_begin(kept->store);
	r = kept_file_each(content, recall_one, kept);
	if (r < 0)
		kept->hooks.forget(kept->hooks.data);
	store_batch_end(kept->store);
	return r;
}

/* What a crash has cut off goes, so that whole lines follow whole lines. */
static int take_content(struct api_kept *kept, const struct kept_content *content)
{
	struct stat status;
	int r = content->whole ? recall_all(kept, content) : -ENODATA;

	if (r == 0 && stat(kept->path, &status) < 0)
		r = -errno;
	if (r == 0 && truncate(kept->path, (off_t)content->valid) < 0)
		r = -errno;
	if (r != 0)
		return r;
	kept->recalled = kept->whole_there = kept->whole_wanted = true;
	kept->time = status.st_mtim.tv_sec;
	kept->size = content->valid;
	kept->base = content->bytes;
	return 0;
}

/* Nothing that is not known for certain is in force: what cannot be read is begun anew. */
static void load(struct api_kept *kept)
{
	struct kept_content content = {};
	char beside[4096];
	int r;

	/* What a compaction has left that was cut short. */
	snprintf(beside, sizeof(beside), "%s.new", kept->path);
	unlink(beside);
	r = kept_file_read(kept->path, &content);

	if (r == 0) {
		r = take_content(kept, &content);
		if (r == 0)
			log_info("api", "%s: %zu objects, as they were %lld s ago", kept->path,
				 content.live, (long long)(time(NULL) - kept->time));
		kept_content_clear(&content);
	}
	if (r == 0)
		return;
	kept->fresh = true;
	if (r == -ENOENT || r == -ENODATA)
		return;
	snprintf(beside, sizeof(beside), "%s.bad", kept->path);
	if (rename(kept->path, beside) < 0)
		unlink(kept->path);
	log_warning("api",
		    "%s: the objects that were kept cannot be used: %s; the file is put aside "
		    "(.bad), and until the API server is reached no new pods are connected",
		    kept->path,
		    r == -EBADMSG || r == -EINVAL ? "it is damaged, or of another version"
						  : strerror(-r));
}

static void release(struct api_kept *kept)
{
	bool owed =
		kept->changes.first || kept->unsynced || (kept->whole_wanted && !kept->whole_there);

	/* A file that has not been begun is begun by api_kept_free(), or not any more. */
	owed = kept->last_begun || (owed && !kept->fresh);
	if (!kept->retry_ms && owed) {
		if (!kept->last_begun)
			(void)begin_job(kept, true);
		run_job(&kept->job);
		if (kept->job.result < 0) {
			log_warning("api", "%s: the objects cannot be kept: %s", kept->path,
				    strerror(-kept->job.result));
			unlink(kept->path);
		}
	}
	job_clear(&kept->job);
	clear_changes(&kept->changes);
	free(kept->path);
	free(kept);
}

static void on_closed(uv_handle_t *handle)
{
	struct api_kept *kept = handle->data;

	kept->timer_closed = true;
	if (!kept->busy)
		release(kept);
}

void api_kept_free(struct api_kept *kept)
{
	if (!kept)
		return;
	kept->closing = true;
	/* The store is there no longer when the rest is written. */
	if (kept->fresh && kept->whole_wanted && !kept->busy && !kept->retry_ms)
		kept->last_begun = begin_job(kept, true) == 0;
	uv_close((uv_handle_t *)&kept->timer, on_closed);
}

int api_kept_new(uv_loop_t *loop, struct store *store, const char *path,
		 const struct kept_hooks *hooks, struct api_kept **ret)
{
	struct api_kept *kept = calloc(1, sizeof(*kept));

	if (!kept)
		return -ENOMEM;
	kept->path = strdup(path);
	if (!kept->path) {
		free(kept);
		return -ENOMEM;
	}
	kept->loop = loop;
	kept->store = store;
	kept->hooks = *hooks;
	kept->due_ms = NEVER;
	kept->work.data = kept;
	uv_timer_init(loop, &kept->timer);
	kept->timer.data = kept;
	load(kept);
	store_listen(store, on_change, kept);
	*ret = kept;
	return 0;
}
