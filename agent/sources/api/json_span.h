/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of a JSON text, found without building a tree of it; also of a text that is cut off. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct span {
	const char *text;
	size_t length;
	bool whole; /* false: the text ends inside of it */
};

/*
 * The value of a member of the object that `object` holds; the first one of this name. What is
 * behind it is not looked at, so the text need not be JSON there. False: there is none.
 */
bool span_member(struct span object, const char *key, struct span *ret);
/* The string at `value` without its quotes, terminated. False: it is none, is cut off, has escapes,
 * or more than size - 1 bytes. */
bool span_string(struct span value, char *buffer, size_t size);
/* Both: the string member of an object. */
bool span_text(struct span object, const char *key, char *buffer, size_t size);
