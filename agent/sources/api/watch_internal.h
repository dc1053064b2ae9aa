/* SPDX-License-Identifier: Apache-2.0 */
/* What the questions' and the answers' half of a watch share. */
#pragma once

#include "agent/sources/api/backoff.h"
#include "agent/sources/api/splitter.h"
#include "agent/sources/api/watch.h"

#define NEVER_MS    UINT64_MAX
#define VERSION_MAX 129 /* a resourceVersion and its end */
#define REASON_MAX  400
#define REFUSAL_MAX 4096

enum watch_phase { PHASE_STREAM, PHASE_LIST, PHASE_FOLLOW, PHASE_ABSENT };

struct watch {
	const struct watch_resource *resource;
	const struct watch_hooks *hooks;
	enum watch_phase phase;
	bool synced;
	char version[VERSION_MAX]; /* resourceVersion; "": none */
	char *token;		   /* of the next page; NULL: the first one */
	bool unpaged;		   /* a list without pages: tokens expire too soon */
	unsigned int expired;	   /* lists whose token did, in a row */
	struct backoff backoff;
	uint64_t due_ms;
	uint64_t last_list_ms;	  /* NEVER_MS */
	uint64_t stream_again_ms; /* 0: streaming lists are believed to work */
	unsigned int stream_failures, follow_failures;
	bool has_bookmarks; /* the server has sent one */
	uint64_t events, lists, last_ms;
	enum watch_result failed;
	char error[REASON_MAX];

	/* The answer that is read. */
	struct splitter *splitter;
	bool asking;
	int status; /* 0: nothing came yet */
	bool is_json, is_html;
	uint64_t retry_after_ms;
	uint64_t seconds; /* of the watch that was asked for */
	uint64_t began_ms, heard_ms;
	bool progress; /* an object or bookmark came */
	enum watch_result outcome;
	char reason[REASON_MAX];
	char body[REFUSAL_MAX]; /* the beginning of one that is no list */
	size_t body_length;
};

/* Notes how the answer ends, the first time. -ECANCELED. */
int watch_fail(struct watch *watch, enum watch_result result, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* All objects have come. */
void watch_listed(struct watch *watch);

/* watch_answer.c */
int watch_take_item(const char *text, size_t length, bool whole, void *data);
int watch_take_event(const char *text, size_t length, bool whole, void *data);
/* resourceVersion and continue of a page. 0, or -ECANCELED: it is not one of this resource. */
int watch_read_list_meta(struct watch *watch);
/* Of an answer with another status than 200. */
void watch_read_refusal(struct watch *watch);
/* 0: it is no number. */
uint64_t watch_version_number(const char *version);
