/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/sources/api/json_span.h"

#include <string.h>

#include "agent/common/json_scan.h"

struct cursor {
	const char *at, *end;
};

static void skip_space(struct cursor *cursor)
{
	while (cursor->at < cursor->end && json_is_space(*cursor->at))
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

/* Behind what ends there, or (NULL: it does not end) at the end of the text. */
static bool go_to(struct cursor *cursor, const char *behind)
{
	cursor->at = behind ? behind : cursor->end;
	return behind;
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
		if (!go_to(&cursor, json_scan_string(cursor.at, cursor.end)))
			return false;
		found = (size_t)(cursor.at - 1 - name) == length && memcmp(name, key, length) == 0;
		if (!take(&cursor, ':'))
			return false;
		skip_space(&cursor);
		value = cursor.at;
		whole = go_to(&cursor, json_scan_value(cursor.at, cursor.end));
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
