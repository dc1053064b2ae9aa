/* SPDX-License-Identifier: Apache-2.0 */
/* Walking over JSON text (RFC 8259) that nobody reads. What is wrong in it the parser says. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline bool json_is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The bits of the bytes that are zero; above the lowest one there may be more. */
static inline uint64_t json_zero_bytes(uint64_t word)
{
	return (word - 0x0101010101010101ull) & ~word & 0x8080808080808080ull;
}

/* Within a string: the next quote or backslash, or `end`. Eight bytes at a time: most of a text is
 * strings. */
static inline const char *json_scan_plain(const char *at, const char *end)
{
	/* Only there the lowest bit is that of the first byte. */
	const bool by_words = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;

	while (by_words && end - at >= 8) {
		uint64_t word, found;

		memcpy(&word, at, sizeof(word));
		found = json_zero_bytes(word ^ 0x2222222222222222ull) |
			json_zero_bytes(word ^ 0x5c5c5c5c5c5c5c5cull);
		if (found)
			return at + (__builtin_ctzll(found) >> 3);
		at += 8;
	}
	while (at < end && *at != '"' && *at != '\\')
		at++;
	return at;
}

/* `at`: the quote that a string begins with. Behind the one that ends it; NULL: it does not end. */
static inline const char *json_scan_string(const char *at, const char *end)
{
	for (at = json_scan_plain(at + 1, end); at < end; at = json_scan_plain(at, end)) {
		if (*at == '"')
			return at + 1;
		if (end - at < 2)
			break;
		at += 2;
	}
	return NULL;
}

/* `at`: an opening bracket. Behind the one that closes it, whichever kind; NULL: there is none. */
static inline const char *json_scan_nested(const char *at, const char *end)
{
	size_t depth = 0;

	while (at && at < end) {
		char c = *at;

		if (c == '"') {
			at = json_scan_string(at, end);
			continue;
		}
		at++;
		depth += c == '{' || c == '[';
		if ((c == '}' || c == ']') && --depth == 0)
			return at;
	}
	return NULL;
}

/* A value without spaces before it. Behind it (what is none may be empty); NULL: it does not end.
 */
static inline const char *json_scan_value(const char *at, const char *end)
{
	if (at == end)
		return NULL;
	if (*at == '"')
		return json_scan_string(at, end);
	if (*at == '{' || *at == '[')
		return json_scan_nested(at, end);
	while (at < end && !json_is_space(*at) && *at != ',' && *at != '}' && *at != ']')
		at++;
	return at < end ? at : NULL;
}
