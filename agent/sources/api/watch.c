/* SPDX-License-Identifier: Apache-2.0 */
/* What is asked next, by how the last answer ended. What is in it is read by watch_answer.c. */
#include "agent/sources/api/watch.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/sources/api/watch_internal.h"

/* An answer that ended sooner was none: what comes next waits. */
#define LIVED_MS 5000
/* After so many failures of one kind something else is tried. */
#define STREAM_TRIES 3
#define WATCH_TRIES  3
/* Lists that follow each other faster wait. */
#define RELIST_MS 10000

const char *const watch_result_names[WATCH_RESULTS] = {
	[WATCH_FINE] = "none",
	[WATCH_CUT] = "cut_off",
	[WATCH_FAILED] = "connection",
	[WATCH_GONE] = "gone",
	[WATCH_BACKWARDS] = "backwards",
	[WATCH_THROTTLED] = "throttled",
	[WATCH_UNAUTHORIZED] = "unauthorized",
	[WATCH_FORBIDDEN] = "forbidden",
	[WATCH_NOT_FOUND] = "not_found",
	[WATCH_SERVER] = "server",
	[WATCH_MALFORMED] = "malformed",
	[WATCH_SILENT] = "silent",
	[WATCH_NO_MEMORY] = "no_memory",
};

struct watch *watch_new(const struct watch_resource *resource, const struct watch_hooks *hooks)
{
	struct watch *watch = calloc(1, sizeof(*watch));

	if (!watch)
		return NULL;
	watch->resource = resource;
	watch->hooks = hooks;
	watch->phase = PHASE_STREAM;
	watch->last_list_ms = NEVER_MS;
	return watch;
}

void watch_free(struct watch *watch)
{
	if (!watch)
		return;
	splitter_free(watch->splitter);
	free(watch->token);
	free(watch);
}

uint64_t watch_due(const struct watch *watch)
{
	return watch->due_ms;
}

bool watch_is_synced(const struct watch *watch)
{
	return watch->synced;
}

/* ---------------------------------------------------------------- the question */

static uint64_t random_in(const struct watch *watch, uint64_t min, uint64_t max)
{
	return min + watch->hooks->random(watch->hooks->data) % (max - min + 1);
}

/* Letters and digits stay; a continue token is base64. */
static int escape(const char *text, char *buffer, size_t size)
{
	size_t used = 0;

	for (; *text; text++) {
		bool plain = (*text >= '0' && *text <= '9') || (*text >= 'a' && *text <= 'z') ||
			     (*text >= 'A' && *text <= 'Z') || strchr("-_.", *text);

		if (used + 4 > size)
			return -ENAMETOOLONG;
		if (plain)
			buffer[used++] = *text;
		else
			used += (size_t)snprintf(buffer + used, 4, "%%%02X", (unsigned char)*text);
	}
	buffer[used] = '\0';
	return 0;
}

/* A list without a resourceVersion is what the store has now, not what a cache of a server that was
 * cut off had once. */
static int write_query(struct watch *watch, char query[WATCH_QUERY_MAX])
{
	const char *path = watch->resource->path;
	char token[WATCH_QUERY_MAX - 512] = "";

	watch->seconds = random_in(watch, WATCH_SECONDS_MIN, WATCH_SECONDS_MAX);
	if (watch->phase == PHASE_STREAM)
		snprintf(query, WATCH_QUERY_MAX,
			 "%s?watch=true&allowWatchBookmarks=true&sendInitialEvents=true"
			 "&resourceVersionMatch=NotOlderThan&timeoutSeconds=%llu",
			 path, (unsigned long long)watch->seconds);
	else if (watch->phase == PHASE_FOLLOW)
		snprintf(query, WATCH_QUERY_MAX,
			 "%s?watch=true&allowWatchBookmarks=true&resourceVersion=%s"
			 "&timeoutSeconds=%llu",
			 path, watch->version, (unsigned long long)watch->seconds);
	else if (watch->token && escape(watch->token, token, sizeof(token)) == 0)
		snprintf(query, WATCH_QUERY_MAX, "%s?limit=%d&continue=%s", path, WATCH_PAGE,
			 token);
	else if (watch->token)
		return -ENAMETOOLONG;
	else if (watch->unpaged)
		snprintf(query, WATCH_QUERY_MAX, "%s", path);
	else
		snprintf(query, WATCH_QUERY_MAX, "%s?limit=%d", path, WATCH_PAGE);
	return 0;
}

static void start_over(struct watch *watch)
{
	free(watch->token);
	watch->token = NULL;
}

static int prepare(struct watch *watch)
{
	bool list = watch->phase == PHASE_LIST || watch->phase == PHASE_ABSENT;

	splitter_free(watch->splitter);
	watch->splitter = splitter_new(list ? SPLIT_LIST : SPLIT_VALUES,
				       list ? watch_take_item : watch_take_event, watch);
	if (!watch->splitter)
		return -ENOMEM;
	/* A page that is asked for again is part of the same list. */
	if (watch->phase == PHASE_FOLLOW || watch->token)
		return 0;
	return watch->hooks->list_begin(watch->hooks->data);
}

/* A list begins, of the kind that the server has. */
static void note_list(struct watch *watch, uint64_t now)
{
	if (watch->phase == PHASE_FOLLOW || watch->token)
		return;
	watch->lists++;
	watch->last_list_ms = now;
	if (watch->phase == PHASE_LIST && watch->stream_again_ms && now >= watch->stream_again_ms) {
		watch->phase = PHASE_STREAM;
		watch->stream_again_ms = 0;
		watch->stream_failures = 0;
	}
}

static void forget_answer(struct watch *watch, uint64_t now)
{
	watch->status = 0;
	watch->is_json = watch->is_html = false;
	watch->body_length = 0;
	watch->body[0] = '\0';
	watch->retry_after_ms = 0;
	watch->outcome = WATCH_FINE;
	watch->progress = false;
	watch->reason[0] = '\0';
	watch->began_ms = watch->heard_ms = now;
}

int watch_begin(struct watch *watch, uint64_t now, char query[WATCH_QUERY_MAX])
{
	int r;

	note_list(watch, now);
	forget_answer(watch, now);
	r = prepare(watch);
	if (r == 0)
		r = write_query(watch, query);
	if (r == -ENAMETOOLONG) { /* a token longer than any that was seen */
		start_over(watch);
		watch->unpaged = true;
		return watch_begin(watch, now, query);
	}
	watch->asking = r == 0;
	if (r < 0)
		watch_fail(watch, WATCH_NO_MEMORY, "out of memory");
	return r;
}

/* ---------------------------------------------------------------- the end */

int watch_fail(struct watch *watch, enum watch_result result, const char *format, ...)
{
	va_list args;

	if (watch->outcome != WATCH_FINE)
		return -ECANCELED;
	watch->outcome = result;
	va_start(args, format);
	vsnprintf(watch->reason, sizeof(watch->reason), format, args);
	va_end(args);
	return -ECANCELED;
}

static void wait_backoff(struct watch *watch, uint64_t now)
{
	uint64_t ms = backoff_next(&watch->backoff, watch->hooks->random(watch->hooks->data));

	if (watch->retry_after_ms > ms)
		ms = watch->retry_after_ms;
	watch->due_ms = now + ms;
}

static void to_list(struct watch *watch, uint64_t now)
{
	start_over(watch);
	watch->unpaged = false;
	watch->phase = watch->stream_again_ms ? PHASE_LIST : PHASE_STREAM;
	watch->follow_failures = 0;
	watch->due_ms = now;
	if (watch->last_list_ms != NEVER_MS && now - watch->last_list_ms < RELIST_MS)
		wait_backoff(watch, now);
}

/* Nothing is wrong with that. */
static void no_stream(struct watch *watch, uint64_t now)
{
	watch->failed = WATCH_FINE;
	watch->error[0] = '\0';
	watch->stream_again_ms = now + WATCH_STREAM_AGAIN_MS;
	watch->phase = PHASE_LIST;
	watch->due_ms = now;
}

void watch_listed(struct watch *watch)
{
	watch->hooks->list_end(watch->hooks->data);
	watch->synced = true;
	watch->failed = WATCH_FINE;
	watch->error[0] = '\0';
	backoff_reset(&watch->backoff);
	watch->stream_failures = watch->follow_failures = watch->expired = 0;
	watch->phase = PHASE_FOLLOW;
	start_over(watch);
}

/* An answer of status 200 to a LIST that came whole. */
static void end_page(struct watch *watch, uint64_t now)
{
	if (watch_read_list_meta(watch) < 0)
		return;
	backoff_reset(&watch->backoff);
	watch->due_ms = now;
	if (watch->token) {
		watch->phase = PHASE_LIST;
		return;
	}
	watch->unpaged = false;
	watch_listed(watch);
}

static void end_good(struct watch *watch, bool cut, uint64_t now)
{
	bool lived = now - watch->began_ms >= LIVED_MS;

	if (watch->phase == PHASE_LIST || watch->phase == PHASE_ABSENT) {
		if (splitter_is_whole(watch->splitter))
			end_page(watch, now);
		else
			watch_fail(watch, WATCH_CUT, "the list ends too early");
		return;
	}
	if (watch->phase == PHASE_STREAM) {
		watch_fail(watch, WATCH_CUT, "the watch ended before all objects had come");
		return;
	}
	/* A watch ends when its time is over, and whenever the server likes. */
	if (lived || watch->progress)
		backoff_reset(&watch->backoff);
	watch->follow_failures = 0;
	if (!lived)
		wait_backoff(watch, now);
	else /* those of all nodes, if it has cut them off together */
		watch->due_ms = now + (cut ? random_in(watch, 0, 1000) : 0);
}

/* In the middle of pages: the rest is of another state. */
static void end_gone(struct watch *watch, uint64_t now)
{
	bool paging = watch->token;

	to_list(watch, now);
	if (paging) {
		watch->due_ms = now;
		if (++watch->expired > 1)
			watch->unpaged = true;
		if (watch->expired > 2)
			wait_backoff(watch, now);
	}
}

/* The server has no such resource, and so nobody has an object of it. 0 or -ENOMEM. */
static int end_absent(struct watch *watch, uint64_t now)
{
	bool was_absent = watch->phase == PHASE_ABSENT;
	bool begun = watch->phase != PHASE_FOLLOW && !watch->token;

	if (!begun && watch->hooks->list_begin(watch->hooks->data) < 0)
		return -ENOMEM;
	watch_listed(watch);
	watch->phase = PHASE_ABSENT;
	watch->version[0] = '\0';
	watch->outcome = WATCH_FINE;
	watch->due_ms = now + (was_absent ? random_in(watch, WATCH_ABSENT_MS, 2 * WATCH_ABSENT_MS)
					  : WATCH_ABSENT_MS);
	return 0;
}

/* Not every page that says 404 is an API server's. */
static bool is_absent(const struct watch *watch)
{
	return watch->outcome == WATCH_NOT_FOUND && watch->resource->optional && !watch->is_html &&
	       watch->hooks->is_server(watch->hooks->data);
}

/* Does the server not know streaming lists, or do they not work? */
static bool stream_fails(struct watch *watch)
{
	switch (watch->outcome) {
	case WATCH_SILENT:
		return true;
	case WATCH_MALFORMED:
		if (!watch->is_json) /* this is no API server at all */
			return false;
		/* fallthrough */
	case WATCH_SERVER:
		return watch->status < 500 || ++watch->stream_failures >= STREAM_TRIES;
	case WATCH_CUT:
	case WATCH_FORBIDDEN:
	case WATCH_NOT_FOUND:
		return ++watch->stream_failures >= STREAM_TRIES;
	default:
		return false;
	}
}

/* What a watch says makes no sense, again and again, or a state is asked for that the server does
 * not have yet: a list will tell. */
static bool follow_fails(struct watch *watch)
{
	if (watch->outcome == WATCH_SILENT)
		return true;
	return (watch->outcome == WATCH_SERVER || watch->outcome == WATCH_MALFORMED) &&
	       watch->status < 500 && ++watch->follow_failures >= WATCH_TRIES;
}

static void end_bad(struct watch *watch, uint64_t now)
{
	if (watch->outcome == WATCH_GONE || watch->outcome == WATCH_BACKWARDS) {
		end_gone(watch, now);
	} else if (watch->phase == PHASE_STREAM && stream_fails(watch)) {
		no_stream(watch, now);
	} else if (watch->phase == PHASE_FOLLOW && follow_fails(watch)) {
		to_list(watch, now);
	} else {
		wait_backoff(watch, now);
	}
}

static void finish(struct watch *watch, bool cut, uint64_t now)
{
	watch->asking = false;
	if (is_absent(watch) && end_absent(watch, now) == 0)
		return;
	if (watch->outcome == WATCH_FINE)
		end_good(watch, cut, now);
	if (watch->outcome == WATCH_FINE)
		return;
	watch->failed = watch->outcome;
	memcpy(watch->error, watch->reason, sizeof(watch->error));
	end_bad(watch, now);
}

enum watch_result watch_end(struct watch *watch, const char *failure, uint64_t now)
{
	if (watch->outcome == WATCH_FINE && watch->status != 0 && watch->status != 200)
		watch_read_refusal(watch);
	if (watch->outcome == WATCH_FINE && watch->status == 0)
		watch_fail(watch, WATCH_FAILED, "%s", failure ? failure : "there was no answer");
	/* What came before a connection broke has come; a list is whole or not. */
	if (watch->outcome == WATCH_FINE && failure && watch->phase != PHASE_FOLLOW)
		watch_fail(watch, WATCH_CUT, "%s", failure);
	finish(watch, failure, now);
	return watch->outcome == WATCH_FINE && failure ? WATCH_CUT : watch->outcome;
}

bool watch_is_answered(const struct watch *watch)
{
	return watch->asking && watch->status;
}

uint64_t watch_deadline(const struct watch *watch)
{
	uint64_t end = watch->began_ms + (watch->seconds + 30) * 1000;

	if (!watch->asking)
		return 0;
	if (watch->phase != PHASE_FOLLOW || !watch->status)
		return watch->heard_ms + WATCH_LIST_SILENCE_MS;
	if (watch->has_bookmarks && watch->heard_ms + WATCH_SILENCE_MS < end)
		return watch->heard_ms + WATCH_SILENCE_MS;
	return end;
}

enum watch_result watch_give_up(struct watch *watch, uint64_t now)
{
	watch_fail(watch, watch->status ? WATCH_SILENT : WATCH_FAILED,
		   "nothing came from the server for %llu s",
		   (unsigned long long)(now - watch->heard_ms) / 1000);
	finish(watch, true, now);
	return watch->outcome;
}

void watch_relist(struct watch *watch, uint64_t now)
{
	watch->asking = false;
	if (watch->phase == PHASE_FOLLOW)
		to_list(watch, now);
}

void watch_hurry(struct watch *watch, uint64_t now)
{
	backoff_reset(&watch->backoff);
	watch->due_ms = now;
}

void watch_read_state(const struct watch *watch, struct watch_state *ret)
{
	static const char *const names[] = {[PHASE_STREAM] = "list",
					    [PHASE_LIST] = "list",
					    [PHASE_FOLLOW] = "watch",
					    [PHASE_ABSENT] = "absent"};

	*ret = (struct watch_state){
		.phase = names[watch->phase],
		.current = watch->synced && watch->failed == WATCH_FINE &&
			   (watch->phase == PHASE_FOLLOW || watch->phase == PHASE_ABSENT),
		.version = watch_version_number(watch->version),
		.events = watch->events,
		.lists = watch->lists,
		.last_ms = watch->last_ms,
		.result = watch->failed,
		.error = watch->error,
	};
}
