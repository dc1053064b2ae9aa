/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/sources/api/splitter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cleanup.h"
#include "agent/common/json_scan.h"

/* A buffer that a large object has grown is given back. */
#define BUFFER_KEPT (256u << 10)
#define ITEMS	    "items"

struct buffer {
	char *text;
	size_t length, size;
};

struct splitter {
	enum splitter_form form;
	splitter_take take;
	void *data;
	unsigned int depth; /* of open brackets before the next byte */
	unsigned int base;  /* objects begin at this depth */
	bool quoted, escaped;
	bool in_object; /* an object that is taken out */
	bool over;	/* it is larger than what is kept */
	bool in_items, closed;
	bool comma;		     /* between items: one has to come */
	bool first;		     /* no item has been seen */
	char key[sizeof(ITEMS) + 1]; /* the last string at depth 1, or its beginning */
	size_t key_length;
	struct buffer object, rest;
};

struct splitter *splitter_new(enum splitter_form form, splitter_take take, void *data)
{
	struct splitter *splitter = calloc(1, sizeof(*splitter));

	if (!splitter)
		return NULL;
	splitter->form = form;
	splitter->take = take;
	splitter->data = data;
	splitter->base = form == SPLIT_LIST ? 2 : 0;
	return splitter;
}

void splitter_free(struct splitter *splitter)
{
	if (!splitter)
		return;
	free(splitter->object.text);
	free(splitter->rest.text);
	free(splitter);
}

static int append(struct buffer *buffer, const char *bytes, size_t length)
{
	size_t size = buffer->size ? buffer->size : 4096;
	char *text;

	while (size < buffer->length + length + 1)
		size *= 2;
	if (size != buffer->size) {
		text = realloc(buffer->text, size);
		if (!text)
			return -ENOMEM;
		buffer->text = text;
		buffer->size = size;
	}
	memcpy(buffer->text + buffer->length, bytes, length);
	buffer->length += length;
	buffer->text[buffer->length] = '\0';
	return 0;
}

/* What belongs to the object that is being read. */
static int keep(struct splitter *splitter, const char *bytes, size_t length)
{
	struct buffer *object = &splitter->object;

	if (!splitter->over && object->length + length <= SPLITTER_OBJECT_MAX)
		return append(object, bytes, length);
	splitter->over = true;
	if (object->length > SPLITTER_HEAD) {
		object->length = SPLITTER_HEAD;
		object->text[object->length] = '\0';
	}
	return 0;
}

static int keep_rest(struct splitter *splitter, const char *bytes, size_t length)
{
	if (splitter->rest.length + length > SPLITTER_REST_MAX)
		return -EBADMSG;
	return append(&splitter->rest, bytes, length);
}

static int give(struct splitter *splitter)
{
	struct buffer *object = &splitter->object;
	int r = splitter->take(object->text, object->length, !splitter->over, splitter->data);

	object->length = 0;
	splitter->over = splitter->in_object = false;
	if (object->size > BUFFER_KEPT) {
		free(TAKE_PTR(object->text));
		object->size = 0;
	}
	return r;
}

/* Does what stands between quotes end within the bytes? `*place` is behind it then, or at their
 * end. */
static void skip_quoted(struct splitter *splitter, const char *bytes, size_t length, size_t *place)
{
	size_t i = *place;

	while (i < length && splitter->quoted) {
		if (splitter->escaped) {
			splitter->escaped = false;
			i++;
			continue;
		}
		i = (size_t)(json_scan_plain(bytes + i, bytes + length) - bytes);
		if (i == length)
			break;
		splitter->escaped = bytes[i] == '\\';
		splitter->quoted = bytes[i] != '"';
		i++;
	}
	*place = i;
}

/* Bytes of an object, to its end or that of the bytes. */
static int read_object(struct splitter *splitter, const char *bytes, size_t length, size_t *place)
{
	size_t begin = *place, i = begin;
	int r;

	while (i < length) {
		char c = bytes[i];

		if (splitter->quoted) {
			skip_quoted(splitter, bytes, length, &i);
			continue;
		}
		i++;
		splitter->quoted = c == '"';
		if (c == '{' || c == '[') {
			if (++splitter->depth > SPLITTER_DEPTH_MAX)
				return -EBADMSG;
		} else if ((c == '}' || c == ']') && --splitter->depth == splitter->base) {
			r = keep(splitter, bytes + begin, i - begin);
			*place = i;
			return r < 0 ? r : give(splitter);
		}
	}
	*place = i;
	return keep(splitter, bytes + begin, i - begin);
}

/* Between objects: what may stand there, or the next one. */
static int read_between(struct splitter *splitter, char c, size_t *place)
{
	if (c == '{' && (splitter->form == SPLIT_VALUES || splitter->first || splitter->comma)) {
		splitter->in_object = true;
		splitter->first = splitter->comma = false;
		return 0;
	}
	++*place;
	if (json_is_space(c))
		return 0;
	if (splitter->form == SPLIT_VALUES)
		return -EBADMSG;
	if (c == ',' && !splitter->comma && !splitter->first) {
		splitter->comma = true;
		return 0;
	}
	if (c != ']' || splitter->comma)
		return -EBADMSG;
	splitter->in_items = false;
	splitter->depth = 1;
	return keep_rest(splitter, "]", 1);
}

/* The strings at depth 1 are names of members, or their values, which no array follows. */
static void note_key(struct splitter *splitter, const char *bytes, size_t length)
{
	for (size_t i = 0; i < length && splitter->key_length < sizeof(splitter->key); i++)
		splitter->key[splitter->key_length++] = bytes[i];
}

static bool at_items(const struct splitter *splitter)
{
	/* With its closing quote. */
	return splitter->depth == 1 && splitter->key_length == sizeof(ITEMS) &&
	       memcmp(splitter->key, ITEMS "\"", sizeof(ITEMS)) == 0;
}

static int open_bracket(struct splitter *splitter, char c)
{
	if (c == '[' && at_items(splitter))
		splitter->in_items = splitter->first = true;
	if (splitter->depth == 0 && c != '{')
		return -EBADMSG;
	return ++splitter->depth > SPLITTER_DEPTH_MAX ? -EBADMSG : 0;
}

/* A list outside of its items, up to them or the end of the bytes. */
static int read_rest(struct splitter *splitter, const char *bytes, size_t length, size_t *place)
{
	size_t begin = *place, i = begin;
	int r = 0;

	while (i < length && r == 0 && !splitter->in_items) {
		char c = bytes[i];
		size_t from = i;

		if (splitter->quoted) {
			skip_quoted(splitter, bytes, length, &i);
			if (splitter->depth == 1)
				note_key(splitter, bytes + from, i - from);
			continue;
		}
		i++;
		if (json_is_space(c))
			continue;
		if (splitter->closed || (splitter->depth == 0 && c != '{'))
			return -EBADMSG;
		splitter->quoted = c == '"';
		if (c == '"' && splitter->depth == 1)
			splitter->key_length = 0;
		if (c == '{' || c == '[')
			r = open_bracket(splitter, c);
		else if (c == '}' || c == ']')
			splitter->closed = --splitter->depth == 0;
	}
	*place = i;
	return r < 0 ? r : keep_rest(splitter, bytes + begin, i - begin);
}

int splitter_feed(struct splitter *splitter, const char *bytes, size_t length)
{
	size_t place = 0;
	int r = 0;

	while (place < length && r == 0) {
		if (splitter->in_object)
			r = read_object(splitter, bytes, length, &place);
		else if (splitter->form == SPLIT_VALUES || splitter->in_items)
			r = read_between(splitter, bytes[place], &place);
		else
			r = read_rest(splitter, bytes, length, &place);
	}
	return r;
}

bool splitter_is_whole(const struct splitter *splitter)
{
	return splitter->form == SPLIT_LIST ? splitter->closed : !splitter->in_object;
}

const char *splitter_rest(const struct splitter *splitter, size_t *ret_length)
{
	*ret_length = splitter->rest.length;
	return splitter->rest.text ? splitter->rest.text : "";
}
