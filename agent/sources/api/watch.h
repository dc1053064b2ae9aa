/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One resource of an API server, listed and then watched: what to ask next, and when; what the
 * answer's bytes mean. Knows no network, no clock and no store: all are given to it.
 *
 *     STREAM  a watch that begins with all objects; a bookmark ends these     ──> FOLLOW
 *     LIST    where the server has no such thing: pages of 500                 ──> FOLLOW
 *     FOLLOW  a watch from a resourceVersion on; history gone ──> STREAM or LIST
 *     ABSENT  the server does not have the resource: looked for again         ──> STREAM or LIST
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WATCH_PAGE 500
/* Of one watch, at random, so that not all end together. */
#define WATCH_SECONDS_MIN 300
#define WATCH_SECONDS_MAX 600
/* A server that sends bookmarks does so about once a minute. */
#define WATCH_SILENCE_MS 150000
/* So long nothing may come while objects are listed, and before an answer begins. */
#define WATCH_LIST_SILENCE_MS 30000
#define WATCH_ABSENT_MS	      30000
#define WATCH_QUERY_MAX	      4096
/* A server without streaming lists is asked for one again. */
#define WATCH_STREAM_AGAIN_MS 3600000

struct watch_resource {
	const char *name;  /* of the API: "pods" */
	const char *group; /* "": the core group */
	const char *path;  /* "/api/v1/pods" */
	const char *kind;  /* "Pod" */
	bool optional;	   /* a server may not have it */
};

/* What is asked of whoever has the objects. `text` is one object in JSON, terminated; `whole`
 * false: only the beginning of one that is too large. */
struct watch_hooks {
	/* All objects follow; again: anew. 0 or -ENOMEM. */
	int (*list_begin)(void *data);
	/* 0; -ENOMEM: the answer is given up, and asked for again. What is wrong with an object is
	 * the hook's business. */
	int (*put)(const char *text, size_t length, bool whole, void *data);
	/* -EBADMSG: it has no name. */
	int (*remove)(const char *text, size_t length, bool whole, void *data);
	/* What was not put since list_begin() is gone. */
	void (*list_end)(void *data);
	uint64_t (*random)(void *data);
	/* Has this server served others of its resources? */
	bool (*is_server)(void *data);
	void *data;
};

enum watch_result {
	WATCH_FINE,
	WATCH_CUT,	    /* the answer ended too early */
	WATCH_FAILED,	    /* no connection, or it failed */
	WATCH_GONE,	    /* the server has forgotten this resourceVersion */
	WATCH_BACKWARDS,    /* it is an older state than the one that is known */
	WATCH_THROTTLED,    /* 429 */
	WATCH_UNAUTHORIZED, /* 401 */
	WATCH_FORBIDDEN,    /* 403 */
	WATCH_NOT_FOUND,    /* 404 */
	WATCH_SERVER,	    /* any other refusal */
	WATCH_MALFORMED,    /* an answer that makes no sense */
	WATCH_SILENT,	    /* nothing came for too long */
	WATCH_NO_MEMORY,
	WATCH_RESULTS,
};
extern const char *const watch_result_names[WATCH_RESULTS]; /* for metrics */

struct watch;

/* Both are borrowed. NULL: no memory. */
struct watch *watch_new(const struct watch_resource *resource, const struct watch_hooks *hooks);
void watch_free(struct watch *watch); /* takes NULL */

/* When to ask next, in ms of the clock that all `now` are of. Not while an answer is read. */
uint64_t watch_due(const struct watch *watch);
/* What: path and query. Then come watch_head(), watch_body() any number of times, watch_end(). 0 or
 * -ENOMEM, after which watch_end() comes as well. */
int watch_begin(struct watch *watch, uint64_t now, char query[WATCH_QUERY_MAX]);
/* `type`: Content-Type, NULL if there is none; `retry_after` in seconds, 0: not said. */
void watch_head(struct watch *watch, int status, const char *type, unsigned int retry_after);
/* 0, or -ECANCELED: nothing more of this answer is wanted. */
int watch_body(struct watch *watch, const char *bytes, size_t length, uint64_t now);
/* `failure`: why it ended, if not by itself or by watch_body(). WATCH_CUT also of a watch that goes
 * on from where it is. */
enum watch_result watch_end(struct watch *watch, const char *failure, uint64_t now);
/* Has the answer begun? */
bool watch_is_answered(const struct watch *watch);
/* Until when something has to come, in ms; then it is ended with watch_give_up(). 0: no limit. */
uint64_t watch_deadline(const struct watch *watch);
/* As watch_end(), of an answer that stays away. */
enum watch_result watch_give_up(struct watch *watch, uint64_t now);

/* The server may be another one, or not what it was: all is listed again, with the next request. */
void watch_relist(struct watch *watch, uint64_t now);
/* At once, whatever it waits for. */
void watch_hurry(struct watch *watch, uint64_t now);
/* Has it said once that the resource is not there, or listed it? */
bool watch_is_synced(const struct watch *watch);

struct watch_state {
	const char *phase;	  /* "list", "watch", "absent" */
	bool current;		  /* listed, and no failure since */
	uint64_t version;	  /* last resourceVersion; 0: none, or no number */
	uint64_t events, lists;	  /* since the start */
	uint64_t last_ms;	  /* when something came last; 0: never */
	enum watch_result result; /* of the last request that failed; WATCH_FINE: none since */
	const char *error;	  /* in words, ""; valid until the next call */
};
void watch_read_state(const struct watch *watch, struct watch_state *ret);
