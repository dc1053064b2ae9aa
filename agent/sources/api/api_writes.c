/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/sources/api/api_writes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/common/cleanup.h"
#include "agent/common/log.h"
#include "agent/sources/api/api_internal.h"
#include "agent/sources/api/backoff.h"
#include "agent/sources/api/json_span.h"
#include "agent/sources/api/own_node.h"

#define REQUEST_MS 15000
#define BODY_MAX   (2u << 20) /* of a Node; they have images by the hundred */
/* Rights do not come by themselves. */
#define FORBIDDEN_MS 60000
/* All nodes refuse the same object at the same moment: each waits for a part of this, at random. */
#define SPREAD_MS      20 /* for each node of the cluster */
#define SPREAD_MOST_MS 120000
#define SPREAD_FEW_MS  1000
/* Events, one after the other. */
#define PACE_MS 1000
/* Who has left it alone for so long does not want it otherwise. */
#define QUIET_MS 60000
#define NEVER	 UINT64_MAX

const char *const write_kind_names[WRITE_KINDS] = {"taint", "condition", "event", "lease",
						   "address"};
const char *const write_result_names[WRITE_RESULTS] = {"done",	  "known",  "conflict",
						       "refused", "failed", "dropped"};

struct note {
	char *path, *body; /* NULL: free */
	uint64_t due_ms;
};

/* What is written of one kind, with its own patience. */
struct lane {
	struct backoff backoff;
	uint64_t due_ms;
	char told[400]; /* the problem that the store has; "": none */
	uint64_t results[WRITE_RESULTS];
};

struct api_writes {
	struct api_source *source;
	char *node;
	bool ready;
	bool known; /* the cluster has an object of this node */
	bool stale; /* it is read before it is written */
	struct own_node own;
	struct lane lanes[WRITE_LANES];
	struct note notes[WRITES_EVENTS_MAX];
	size_t note_count;

	/* What is on its way. */
	struct http_request *request; /* NULL: nothing */
	enum write_kind kind;
	bool reading;
	struct note *note;
	int status;
	uint64_t retry_after_ms;
	char *body;
	size_t length;
};

/* ---------------------------------------------------------------- life */

int api_writes_new(struct api_source *source, const char *node, struct api_writes **ret)
{
	struct api_writes *writes = calloc(1, sizeof(*writes));

	if (!writes)
		return -ENOMEM;
	writes->source = source;
	writes->node = strdup(node);
	if (!writes->node) {
		free(writes);
		return -ENOMEM;
	}
	*ret = writes;
	return 0;
}

static void forget_note(struct api_writes *writes, struct note *note)
{
	free(note->path);
	free(note->body);
	*note = (struct note){};
	writes->note_count--;
}

static void forget_answer(struct api_writes *writes)
{
	writes->request = NULL;
	free(writes->body);
	writes->body = NULL;
	writes->length = 0;
	writes->status = 0;
	writes->retry_after_ms = 0;
}

void api_writes_free(struct api_writes *writes)
{
	if (!writes)
		return;
	http_request_cancel(writes->request);
	forget_answer(writes);
	for (size_t i = 0; i < WRITES_EVENTS_MAX; i++)
		if (writes->notes[i].path)
			forget_note(writes, &writes->notes[i]);
	free(writes->node);
	free(writes);
}

/* ---------------------------------------------------------------- what is wrong */

static void tell(struct api_writes *writes, enum write_kind kind, const char *text)
{
	struct lane *lane = &writes->lanes[kind];
	char origin[32];
	struct error error;

	if (strcmp(lane->told, text) == 0)
		return;
	snprintf(lane->told, sizeof(lane->told), "%s", text);
	snprintf(origin, sizeof(origin), "api:write/%s", write_kind_names[kind]);
	if (lane->told[0]) {
		log_error("api", "%s", lane->told);
		error_at(&error, -EIO, "", "%s", lane->told);
	} else {
		log_info("api", "the %s can be written again", write_kind_names[kind]);
	}
	store_set_problem(writes->source->store, origin, lane->told[0] ? &error : NULL);
}

static const char *right_of(enum write_kind kind)
{
	static const char *const rights[WRITE_LANES] = {"\"patch\" of \"nodes\"",
							"\"patch\" of \"nodes/status\"",
							"\"create\" of \"events\""};

	return rights[kind];
}

/* The server's words, as far as there are any. */
static void read_words(const struct api_writes *writes, char *text, size_t size)
{
	struct span body = {writes->body ? writes->body : "", writes->length, true}, message;

	text[0] = '\0';
	if (!span_member(body, "message", &message) || message.length < 2)
		return;
	snprintf(text, size, ": %.*s", (int)(message.length - 2), message.text + 1);
	for (; *text; text++)
		if ((unsigned char)*text < ' ')
			*text = ' ';
}

static void tell_refusal(struct api_writes *writes, enum write_kind kind)
{
	const char *const whats[WRITE_LANES] = {
		"the taint " OWN_NODE_TAINT " cannot be taken from this node",
		"the condition NetworkUnavailable of this node cannot be set",
		"Events on refused objects cannot be written"};
	char words[200], text[400];

	read_words(writes, words, sizeof(words));
	if (writes->status == 403)
		snprintf(text, sizeof(text),
			 "%s: grant %s, see deploy/kubernetes/rbac.yaml; the server says status "
			 "403%s",
			 whats[kind], right_of(kind), words);
	else
		snprintf(text, sizeof(text), "%s: status %d%s", whats[kind], writes->status, words);
	tell(writes, kind, text);
}

/* ---------------------------------------------------------------- this node */

static bool is_own(const struct api_writes *writes, const char *text, size_t length)
{
	struct span object = {text, length, true}, meta;
	char name[LIMIT_NAME + 1];

	return span_member(object, "metadata", &meta) &&
	       span_text(meta, "name", name, sizeof(name)) && strcmp(name, writes->node) == 0;
}

/* False: it cannot be read. An older one than what is known tells nothing new: answers and events
 * come in any order. */
static bool take_node(struct api_writes *writes, const char *text, size_t length)
{
	struct own_node own;

	if (own_node_read(text, length, &own) < 0)
		return false;
	if (writes->known && own.version && own.version < writes->own.version)
		return true;
	writes->own = own;
	writes->known = true;
	writes->stale = false;
	api_schedule(writes->source);
	return true;
}

void api_writes_node(struct api_writes *writes, const char *text, size_t length)
{
	if (is_own(writes, text, length))
		take_node(writes, text, length);
}

void api_writes_list(struct api_writes *writes)
{
	writes->known = false;
}

void api_writes_node_gone(struct api_writes *writes, const char *text, size_t length)
{
	if (is_own(writes, text, length))
		writes->known = false;
}

void api_writes_synced(const struct api_writes *writes)
{
	if (!writes->known)
		log_warning("api",
			    "the cluster has no Node of the name %s: its taint " OWN_NODE_TAINT
			    " and condition NetworkUnavailable stay as they are; --node-name says "
			    "which Node this is",
			    writes->node);
}

void api_writes_set_ready(struct api_writes *writes, bool ready)
{
	if (writes->ready == ready)
		return;
	writes->ready = ready;
	api_schedule(writes->source);
}

void api_writes_hurry(struct api_writes *writes)
{
	for (size_t i = 0; i < WRITE_LANES; i++) {
		backoff_reset(&writes->lanes[i].backoff);
		writes->lanes[i].due_ms = 0;
	}
}

/* ---------------------------------------------------------------- Events */

static struct note *find_room(struct api_writes *writes)
{
	for (size_t i = 0; i < WRITES_EVENTS_MAX; i++)
		if (!writes->notes[i].path)
			return &writes->notes[i];
	return NULL;
}

static uint64_t spread(const struct api_writes *writes, const struct refusal *refusal)
{
	uint64_t most = SPREAD_MS * store_count(writes->source->store, OBJECT_NODE);

	if (refusal->few && most > SPREAD_FEW_MS)
		most = SPREAD_FEW_MS;
	if (most > SPREAD_MOST_MS)
		most = SPREAD_MOST_MS;
	return api_random(writes->source) % (most + 1);
}

void api_writes_refused(struct api_writes *writes, const struct refusal *refusal)
{
	struct note *room = find_room(writes);
	CLEANUP(cleanup_free) char *body = NULL, *path = NULL;

	if (room)
		body = refusal_event(refusal, writes->node, (int64_t)time(NULL));
	if (body && asprintf(&path, "/api/v1/namespaces/%s/events", refusal_namespace(refusal)) < 0)
		path = NULL;
	if (!path) {
		writes->lanes[WRITE_EVENT].results[WRITE_DROPPED]++;
		return;
	}
	*room = (struct note){.path = TAKE_PTR(path),
			      .body = TAKE_PTR(body),
			      .due_ms = api_now(writes->source) + spread(writes, refusal)};
	writes->note_count++;
	api_schedule(writes->source);
}

static struct note *next_note(const struct api_writes *writes)
{
	struct note *first = NULL;

	for (size_t i = 0; i < WRITES_EVENTS_MAX; i++) {
		const struct note *note = &writes->notes[i];

		if (note->path && (!first || note->due_ms < first->due_ms))
			first = (struct note *)note;
	}
	return first;
}

/* ---------------------------------------------------------------- answers */

static void wait_for(struct api_writes *writes, struct lane *lane, uint64_t ms)
{
	if (writes->retry_after_ms > ms)
		ms = writes->retry_after_ms;
	lane->due_ms = api_now(writes->source) + ms;
}

static void wait_backoff(struct api_writes *writes, struct lane *lane)
{
	wait_for(writes, lane, backoff_next(&lane->backoff, api_random(writes->source)));
}

static void node_done(struct api_writes *writes)
{
	struct lane *lane = &writes->lanes[writes->kind];

	if (writes->kind == WRITE_TAINT)
		log_info("api", "node %s: the taint " OWN_NODE_TAINT " is removed", writes->node);
	else
		log_info("api", "node %s: NetworkUnavailable is False", writes->node);
	/* The answer is the Node as it is now; one that is too large is read by itself. */
	if (!writes->body || !take_node(writes, writes->body, writes->length))
		writes->stale = true;
	/* Somebody may want it otherwise, again and again: then it is longer each time before it
	 * is written. */
	wait_backoff(writes, lane);
}

/* The list of one Node. */
static void take_read(struct api_writes *writes)
{
	struct span body = {writes->body ? writes->body : "", writes->length, true}, items;

	writes->stale = false;
	if (!span_member(body, "items", &items) || items.length < 4 || !items.whole) {
		writes->known = false;
		return;
	}
	/* The brackets of the list. */
	take_node(writes, items.text + 1, items.length - 2);
}

static enum write_result result_of(const struct api_writes *writes, const char *failure)
{
	int status = writes->status;

	if (failure || !status || status == 401 || status == 408 || status == 429 || status >= 500)
		return WRITE_FAILED;
	if (status < 300)
		return WRITE_DONE;
	if (status == 409 && writes->kind == WRITE_EVENT)
		return WRITE_KNOWN;
	if (status == 409 || (status == 422 && writes->kind == WRITE_TAINT))
		return WRITE_CONFLICT;
	return WRITE_REFUSED;
}

static void node_answered(struct api_writes *writes, enum write_result result)
{
	struct lane *lane = &writes->lanes[writes->kind];

	if (result == WRITE_DONE && writes->reading) {
		take_read(writes);
	} else if (result == WRITE_DONE) {
		node_done(writes);
	} else if (result == WRITE_CONFLICT) {
		writes->stale = true;
		wait_backoff(writes, lane);
	} else if (writes->status == 404) {
		writes->known = false; /* the watch will tell of another one */
	} else {
		tell_refusal(writes, writes->kind);
		wait_for(writes, lane, FORBIDDEN_MS);
	}
}

/* Nobody reads Events of a namespace that is being deleted. */
static bool is_of_no_use(const struct api_writes *writes)
{
	return writes->status == 404 ||
	       (writes->status == 403 && writes->body &&
		memmem(writes->body, writes->length, "being terminated", 16));
}

static void event_answered(struct api_writes *writes, enum write_result result)
{
	struct lane *lane = &writes->lanes[WRITE_EVENT];

	if (result == WRITE_REFUSED && writes->status == 403 && !is_of_no_use(writes)) {
		tell_refusal(writes, WRITE_EVENT);
		wait_for(writes, lane, FORBIDDEN_MS);
		return;
	}
	if (result == WRITE_REFUSED && !is_of_no_use(writes))
		tell_refusal(writes, WRITE_EVENT);
	forget_note(writes, writes->note);
	wait_for(writes, lane, PACE_MS);
}

static void finish(struct api_writes *writes, const char *failure)
{
	struct lane *lane = &writes->lanes[writes->kind];
	enum write_result result = result_of(writes, failure);

	lane->results[result]++;
	log_debug("api", "write of %s: status %d: %s", write_kind_names[writes->kind],
		  writes->status, failure ? failure : write_result_names[result]);
	if (writes->status == 401)
		writes->source->credentials_due_ms = 0;
	if (result == WRITE_FAILED) {
		wait_backoff(writes, lane);
		return;
	}
	if (result == WRITE_DONE || result == WRITE_KNOWN) {
		tell(writes, writes->kind, "");
		if (writes->kind == WRITE_EVENT)
			backoff_reset(&lane->backoff);
	}
	if (writes->kind == WRITE_EVENT)
		event_answered(writes, result);
	else
		node_answered(writes, result);
}

static void on_head(int status, const char *type, unsigned int retry_after, void *data)
{
	struct api_writes *writes = data;

	(void)type;
	writes->status = status;
	writes->retry_after_ms = 1000ull * (retry_after > 30 ? 30 : retry_after);
	api_heard(writes->source);
}

static int on_body(const char *bytes, size_t length, void *data)
{
	struct api_writes *writes = data;
	char *longer;

	if (length > BODY_MAX - writes->length)
		return writes->reading ? -EFBIG : 0;
	longer = realloc(writes->body, writes->length + length + 1);
	if (!longer)
		return -ENOMEM;
	writes->body = longer;
	memcpy(longer + writes->length, bytes, length);
	writes->length += length;
	longer[writes->length] = '\0';
	return 0;
}

static void on_end(const char *failure, void *data)
{
	struct api_writes *writes = data;

	finish(writes, failure);
	forget_answer(writes);
	api_schedule(writes->source);
}

static const struct http_handlers handlers = {on_head, on_body, on_end};

/* ---------------------------------------------------------------- requests */

static void send_to(struct api_writes *writes, enum write_kind kind,
		    const struct api_question *what)
{
	int r;

	writes->kind = kind;
	r = api_ask(writes->source, what, &handlers, writes, &writes->request);
	if (r == 0)
		return;
	writes->request = NULL;
	finish(writes, strerror(-r));
}

static void read_node(struct api_writes *writes, enum write_kind kind)
{
	char query[LIMIT_NAME + 64];

	snprintf(query, sizeof(query), "/api/v1/nodes?fieldSelector=metadata.name%%3D%s",
		 writes->node);
	writes->reading = true;
	send_to(writes, kind, &(struct api_question){.query = query, .timeout_ms = REQUEST_MS});
}

static void patch_node(struct api_writes *writes, enum write_kind kind, uint64_t now)
{
	struct lane *lane = &writes->lanes[kind];
	CLEANUP(cleanup_free)
	char *body = kind == WRITE_TAINT
			     ? own_node_taint_patch(&writes->own)
			     : own_node_condition_patch(&writes->own, (int64_t)time(NULL));
	char query[LIMIT_NAME + 64];

	writes->reading = false;
	if (now - lane->due_ms > QUIET_MS)
		backoff_reset(&lane->backoff);
	snprintf(query, sizeof(query), "/api/v1/nodes/%s%s", writes->node,
		 kind == WRITE_TAINT ? "" : "/status");
	if (!body) {
		wait_backoff(writes, lane);
		return;
	}
	send_to(writes, kind,
		&(struct api_question){.method = "PATCH",
				       .query = query,
				       .body = body,
				       .type = kind == WRITE_TAINT
						       ? "application/json-patch+json"
						       : "application/strategic-merge-patch+json",
				       .timeout_ms = REQUEST_MS});
}

static void send_event(struct api_writes *writes)
{
	writes->reading = false;
	writes->note = next_note(writes);
	send_to(writes, WRITE_EVENT,
		&(struct api_question){.method = "POST",
				       .query = writes->note->path,
				       .body = writes->note->body,
				       .type = "application/json",
				       .timeout_ms = REQUEST_MS});
}

static bool wants(const struct api_writes *writes, enum write_kind kind)
{
	if (kind == WRITE_EVENT)
		return writes->note_count;
	if (!writes->ready || !writes->known)
		return false;
	return kind == WRITE_TAINT ? writes->own.taint_count : !writes->own.available;
}

static uint64_t lane_due(const struct api_writes *writes, enum write_kind kind)
{
	uint64_t due = writes->lanes[kind].due_ms;

	if (!wants(writes, kind))
		return NEVER;
	if (kind == WRITE_EVENT && next_note(writes)->due_ms > due)
		due = next_note(writes)->due_ms;
	return due;
}

uint64_t api_writes_due(const struct api_writes *writes)
{
	uint64_t due = NEVER;

	if (writes->request || !writes->source->connected)
		return NEVER;
	for (enum write_kind kind = 0; kind < WRITE_LANES; kind++)
		if (lane_due(writes, kind) < due)
			due = lane_due(writes, kind);
	return due;
}

void api_writes_run(struct api_writes *writes, uint64_t now)
{
	for (enum write_kind kind = 0; kind < WRITE_LANES; kind++) {
		if (writes->request || !writes->source->connected)
			return;
		if (lane_due(writes, kind) > now)
			continue;
		if (kind == WRITE_EVENT)
			send_event(writes);
		else if (writes->stale)
			read_node(writes, kind);
		else
			patch_node(writes, kind, now);
	}
}

void api_writes_cut(struct api_writes *writes)
{
	if (!writes->request)
		return;
	http_request_cancel(writes->request);
	finish(writes, "the connection is closed");
	forget_answer(writes);
}

void api_writes_status(const struct api_writes *writes, struct write_status ret[WRITE_KINDS],
		       size_t *ret_waiting)
{
	for (size_t i = 0; i < WRITE_LANES; i++) {
		ret[i].error = writes->lanes[i].told;
		memcpy(ret[i].results, writes->lanes[i].results, sizeof(ret[i].results));
	}
	*ret_waiting = writes->note_count;
}
