/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/sources/api/json_span.h"

#include <string.h>

struct cursor {
	const char *at, *end;
};

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void skip_space(struct cursor *cursor)
{
	while (cursor->at < cursor->end && is_space(*cursor->at))
		cursor->at++;
}

static bool take(struct cursor *cursor, char c)
{
	skip_space(cursor);
	if (cursor->at == cursor->end || *cursor->at != c)
		return false;
	cursor->at++;
	return true;
}

/* Behind the closing quote. False: the text ends before. */
static bool skip_string(struct cursor *cursor)
{
	for (cursor->at++; cursor->at < cursor->end; cursor->at++) {
		if (*cursor->at == '\\')
			cursor->at++;
		else if (*cursor->at == '"') {
			cursor->at++;
			return true;
		}
	}
	cursor->at = cursor->end;
	return false;
}

/* Behind the closing bracket. */
static bool skip_nested(struct cursor *cursor)
{
	size_t depth = 0;

	while (cursor->at < cursor->end) {
		char c = *cursor->at;

		if (c == '"') {
			if (!skip_string(cursor))
				return false;
			continue;
		}
		cursor->at++;
		depth += c == '{' || c == '[';
		if ((c == '}' || c == ']') && --depth == 0)
			return true;
	}
	return false;
}

static bool skip_value(struct cursor *cursor)
{
	if (cursor->at == cursor->end)
		return false;
	if (*cursor->at == '"')
		return skip_string(cursor);
	if (*cursor->at == '{' || *cursor->at == '[')
		return skip_nested(cursor);
	while (cursor->at < cursor->end && !is_space(*cursor->at) && *cursor->at != ',' &&
	       *cursor->at != '}' && *cursor->at != ']')
		cursor->at++;
	return cursor->at < cursor->end;
}

bool span_member(struct span object, const char *key, struct span *ret)
{
	struct cursor cursor = {object.text, object.text + object.length};
	size_t length = strlen(key);

	if (!take(&cursor, '{'))
		return false;
	do {
		const char *name, *value;
		bool found, whole;

		skip_space(&cursor);
		if (cursor.at == cursor.end || *cursor.at != '"')
			return false;
		name = cursor.at + 1;
		if (!skip_string(&cursor))
			return false;
		found = (size_t)(cursor.at - 1 - name) == length && memcmp(name, key, length) == 0;
		if (!take(&cursor, ':'))
			return false;
		skip_space(&cursor);
		value = cursor.at;
		whole = skip_value(&cursor);
		if (found) {
			*ret = (struct span){value, (size_t)(cursor.at - value), whole};
			return value < cursor.end;
		}
	} while (take(&cursor, ','));
	return false;
}

bool span_string(struct span value, char *buffer, size_t size)
{
	size_t length = value.length - 2;

	if (!value.whole || value.length < 2 || value.text[0] != '"' || length >= size ||
	    memchr(value.text + 1, '\\', length) || memchr(value.text + 1, '\0', length))
		return false;
	memcpy(buffer, value.text + 1, length);
	buffer[length] = '\0';
	return true;
}

bool span_text(struct span object, const char *key, char *buffer, size_t size)
{
	struct span value;

	return span_member(object, key, &value) && span_string(value, buffer, size);
}
