/* SPDX-License-Identifier: Apache-2.0 */
/* What is in an answer of the API server: a list, events, or a refusal. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/common/cleanup.h"
#include "agent/sources/api/json_span.h"
#include "agent/sources/api/watch_internal.h"

#define INITIAL_END "k8s.io/initial-events-end"
/* A server that asks for more is asked earlier. */
#define RETRY_AFTER_MOST 30

uint64_t watch_version_number(const char *version)
{
	size_t digits = strspn(version, "0123456789");

	return digits > 0 && digits < 20 && !version[digits] ? strtoull(version, NULL, 10) : 0;
}

static struct span metadata_of(struct span object)
{
	struct span meta = {"", 0, false};

	span_member(object, "metadata", &meta);
	return meta;
}

static int take_result(struct watch *watch, int r)
{
	if (r == -EBADMSG)
		return watch_fail(watch, WATCH_MALFORMED, "an object without a name is deleted");
	return r == 0 ? 0 : watch_fail(watch, WATCH_NO_MEMORY, "out of memory");
}

/* ---------------------------------------------------------------- refusals */

static enum watch_result result_of(int code, const char *reason)
{
	switch (code) {
	case 401:
		return WATCH_UNAUTHORIZED;
	case 403:
		return WATCH_FORBIDDEN;
	case 404:
		return WATCH_NOT_FOUND;
	case 410:
		return WATCH_GONE;
	case 429:
		return WATCH_THROTTLED;
	default:
		return strcmp(reason, "Expired") == 0 || strcmp(reason, "Gone") == 0 ? WATCH_GONE
										     : WATCH_SERVER;
	}
}

/* Letters of others, for the log and the status. */
static void printable(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 127)
			*text = ' ';
}

/* A string, which may have quotes in it. */
static void read_words(struct span value, char *text, size_t size)
{
	CLEANUP(cleanup_json)
	json_t *string = json_loadb(value.text, value.length, JSON_DECODE_ANY, NULL);

	if (json_is_string(string))
		snprintf(text, size, "%s", json_string_value(string));
	printable(text);
}

/* A Status object; `code` is taken where it names none. */
static int refuse(struct watch *watch, struct span status, int code)
{
	char message[REASON_MAX - 100] = "", reason[64] = "", number[16] = "";
	struct span value;
	const char *words;

	if (span_member(status, "code", &value) && value.whole && value.length < sizeof(number)) {
		memcpy(number, value.text, value.length);
		if (strspn(number, "0123456789") == value.length)
			code = atoi(number);
	}
	span_text(status, "reason", reason, sizeof(reason));
	if (span_member(status, "message", &value))
		read_words(value, message, sizeof(message));
	words = message[0] ? message : reason[0] ? reason : "no reason is given";
	return watch_fail(watch, result_of(code, reason), "status %d: %s", code, words);
}

void watch_read_refusal(struct watch *watch)
{
	struct span body = {watch->body, watch->body_length, true}, kind;
	char start[80];

	if (watch->is_json && span_member(body, "kind", &kind)) {
		refuse(watch, body, watch->status);
		return;
	}
	snprintf(start, sizeof(start), "%.79s",
		 watch->is_html ? "an HTML page, which no API server sends" : watch->body);
	printable(start);
	watch_fail(watch, result_of(watch->status, ""), "status %d%s%s", watch->status,
		   start[0] ? ": " : "", start);
}

void watch_head(struct watch *watch, int status, const char *type, unsigned int retry_after)
{
	watch->status = status;
	watch->is_json = type && strncasecmp(type, "application/json", 16) == 0;
	watch->is_html = type && strncasecmp(type, "text/html", 9) == 0;
	watch->retry_after_ms =
		1000ull * (retry_after > RETRY_AFTER_MOST ? RETRY_AFTER_MOST : retry_after);
	/* It is heard of again, though nothing may have changed. */
	if (status == 200 && watch->is_json && watch->phase == PHASE_FOLLOW) {
		watch->failed = WATCH_FINE;
		watch->error[0] = '\0';
	}
}

/* ---------------------------------------------------------------- lists */

int watch_take_item(const char *text, size_t length, bool whole, void *data)
{
	struct watch *watch = data;

	watch->progress = true;
	return take_result(watch, watch->hooks->put(text, length, whole, watch->hooks->data));
}

static int take_token(struct watch *watch, struct span meta)
{
	char token[WATCH_QUERY_MAX] = "", *copy = NULL;

	span_text(meta, "continue", token, sizeof(token));
	if (token[0]) {
		copy = strdup(token);
		if (!copy)
			return watch_fail(watch, WATCH_NO_MEMORY, "out of memory");
	}
	free(watch->token);
	watch->token = copy;
	return 0;
}

int watch_read_list_meta(struct watch *watch)
{
	struct span list = {.whole = true}, meta;
	char kind[64] = "", expected[80];

	list.text = splitter_rest(watch->splitter, &list.length);
	span_text(list, "kind", kind, sizeof(kind));
	if (strcmp(kind, "Status") == 0)
		return refuse(watch, list, 500);
	snprintf(expected, sizeof(expected), "%sList", watch->resource->kind);
	if (strcmp(kind, expected) != 0)
		return watch_fail(watch, WATCH_MALFORMED, "the answer is \"%s\", not %s", kind,
				  expected);
	meta = metadata_of(list);
	if (!span_text(meta, "resourceVersion", watch->version, sizeof(watch->version)) ||
	    !watch->version[0])
		return watch_fail(watch, WATCH_MALFORMED, "the list has no resourceVersion");
	return take_token(watch, meta);
}

/* ---------------------------------------------------------------- events */

/* An older state than what is known: the server's store was put back. */
static bool is_older(const struct watch *watch, const char *version)
{
	uint64_t known = watch_version_number(watch->version), now = watch_version_number(version);

	return known && now && now < known;
}

static int note_version(struct watch *watch, struct span meta)
{
	char version[VERSION_MAX];

	if (!span_text(meta, "resourceVersion", version, sizeof(version)) || !version[0])
		return 0;
	if (watch->phase == PHASE_STREAM)
		return 0; /* in no order */
	if (is_older(watch, version))
		return watch_fail(watch, WATCH_BACKWARDS,
				  "resourceVersion %s comes after %s: the server's data was put "
				  "back; all is listed again",
				  version, watch->version);
	memcpy(watch->version, version, sizeof(version));
	return 0;
}

/* A bookmark names no object. */
static int take_bookmark(struct watch *watch, struct span meta)
{
	struct span annotations = {"", 0, false};
	char version[VERSION_MAX] = "", end[8] = "";

	watch->has_bookmarks = true;
	span_member(meta, "annotations", &annotations);
	span_text(annotations, INITIAL_END, end, sizeof(end));
	if (watch->phase != PHASE_STREAM)
		return note_version(watch, meta);
	if (strcmp(end, "true") != 0) /* the server has not understood the question */
		return watch_fail(watch, WATCH_MALFORMED, "the server has no streaming lists");
	if (!span_text(meta, "resourceVersion", version, sizeof(version)) || !version[0])
		return watch_fail(watch, WATCH_MALFORMED, "a bookmark has no resourceVersion");
	memcpy(watch->version, version, sizeof(version));
	watch_listed(watch);
	return 0;
}

static int take_object(struct watch *watch, const char *type, struct span object)
{
	const struct watch_hooks *hooks = watch->hooks;
	/* What is behind the object is of the event: the text ends here for the hook. */
	char *end = (char *)object.text + object.length, saved = *end;
	int r;

	*end = '\0';
	r = strcmp(type, "DELETED") == 0
		    ? hooks->remove(object.text, object.length, object.whole, hooks->data)
		    : hooks->put(object.text, object.length, object.whole, hooks->data);
	*end = saved;
	if (r < 0)
		return take_result(watch, r);
	watch->events++;
	return note_version(watch, metadata_of(object));
}

int watch_take_event(const char *text, size_t length, bool whole, void *data)
{
	struct watch *watch = data;
	struct span event = {text, length, whole}, object = {"", 0, false};
	char type[16] = "";
	int r;

	span_text(event, "type", type, sizeof(type));
	span_member(event, "object", &object);
	if (object.length == 0 || object.text[0] != '{')
		return watch_fail(watch, WATCH_MALFORMED, "an event without an object");
	if (strcmp(type, "ERROR") == 0)
		return refuse(watch, object, 500);
	if (strcmp(type, "BOOKMARK") == 0)
		r = take_bookmark(watch, metadata_of(object));
	else if (strcmp(type, "ADDED") == 0 || strcmp(type, "MODIFIED") == 0 ||
		 strcmp(type, "DELETED") == 0)
		r = take_object(watch, type, object);
	else
		return watch_fail(watch, WATCH_MALFORMED, "an event of type \"%s\"", type);
	watch->progress |= r == 0;
	return r;
}

/* ---------------------------------------------------------------- bytes */

static void keep_refusal(struct watch *watch, const char *bytes, size_t length)
{
	size_t room = sizeof(watch->body) - 1 - watch->body_length;

	if (length > room)
		length = room;
	memcpy(watch->body + watch->body_length, bytes, length);
	watch->body_length += length;
	watch->body[watch->body_length] = '\0';
}

int watch_body(struct watch *watch, const char *bytes, size_t length, uint64_t now)
{
	int r;

	if (watch->outcome != WATCH_FINE)
		return -ECANCELED;
	watch->heard_ms = watch->last_ms = now;
	if (watch->status != 200) {
		keep_refusal(watch, bytes, length);
		return 0;
	}
	if (!watch->is_json)
		return watch_fail(watch, WATCH_MALFORMED, "%s",
				  watch->is_html
					  ? "the answer is an HTML page: this is no API server"
					  : "the answer is not JSON: this is no API server");
	r = splitter_feed(watch->splitter, bytes, length);
	if (r == -ENOMEM)
		return watch_fail(watch, WATCH_NO_MEMORY, "out of memory");
	if (r < 0)
		return watch_fail(watch, WATCH_MALFORMED, "the answer is not the JSON of a %s",
				  watch->phase == PHASE_LIST ? "list" : "watch");
	return 0;
}
