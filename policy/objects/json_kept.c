/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/objects/json_kept.h"

#include <string.h>

#include "agent/common/json_scan.h"

struct keeping {
	const char *at, *end;
	char *out;
};

static bool keep_value(struct keeping *k, const struct json_kept *table);

static void skip_space(struct keeping *k)
{
	while (k->at < k->end && json_is_space(*k->at))
		k->at++;
}

static bool is_next(struct keeping *k, char c)
{
	skip_space(k);
	return k->at < k->end && *k->at == c;
}

static bool take(struct keeping *k, char c)
{
	if (!is_next(k, c))
		return false;
	k->at++;
	return true;
}

static void put(struct keeping *k, const char *from, size_t length)
{
	memcpy(k->out, from, length);
	k->out += length;
}

/* Behind what ends there; NULL: it does not end. */
static bool go_to(struct keeping *k, const char *behind)
{
	if (behind)
		k->at = behind;
	return behind;
}

/* The next value, which is not looked at. */
static bool skip_value(struct keeping *k)
{
	const char *begin;

	skip_space(k);
	begin = k->at;
	return go_to(k, json_scan_value(begin, k->end)) && k->at > begin;
}

static bool copy_value(struct keeping *k)
{
	const char *begin;

	skip_space(k);
	begin = k->at;
	if (!skip_value(k))
		return false;
	put(k, begin, (size_t)(k->at - begin));
	return true;
}

static bool is_named(const char *pattern, const char *name, size_t length)
{
	size_t wanted = strlen(pattern);

	if (wanted && pattern[wanted - 1] == '*')
		return length >= wanted - 1 && memcmp(pattern, name, wanted - 1) == 0;
	return length == wanted && memcmp(pattern, name, length) == 0;
}

static const struct json_kept *find(const struct json_kept *table, const char *name, size_t length)
{
	for (; table->name; table++)
		if (is_named(table->name, name, length))
			return table;
	return NULL;
}

/* The name, and its value if it is kept. `*first`: nothing is in front of it. */
static bool keep_member(struct keeping *k, const struct json_kept *table, bool *first)
{
	static const struct json_kept all = {"", NULL};
	const struct json_kept *kept;
	const char *name;
	size_t length;

	if (!is_next(k, '"'))
		return false;
	name = k->at;
	if (!go_to(k, json_scan_string(name, k->end)))
		return false;
	length = (size_t)(k->at - name);
	kept = find(table, name + 1, length - 2);
	if (!kept && memchr(name, '\\', length))
		kept = &all;
	if (!take(k, ':'))
		return false;
	if (!kept)
		return skip_value(k);
	if (!*first)
		*k->out++ = ',';
	*first = false;
	put(k, name, length);
	*k->out++ = ':';
	return keep_value(k, kept->members);
}

static bool keep_object(struct keeping *k, const struct json_kept *table)
{
	bool first = true;

	k->at++;
	*k->out++ = '{';
	if (!is_next(k, '}')) {
		do {
			if (!keep_member(k, table, &first))
				return false;
		} while (take(k, ','));
	}
	*k->out++ = '}';
	return take(k, '}');
}

static bool keep_array(struct keeping *k, const struct json_kept *table)
{
	bool first = true;

	k->at++;
	*k->out++ = '[';
	if (!is_next(k, ']')) {
		do {
			if (!first)
				*k->out++ = ',';
			first = false;
			/* No array in an array has a table. */
			if (!(is_next(k, '{') ? keep_object(k, table) : copy_value(k)))
				return false;
		} while (take(k, ','));
	}
	*k->out++ = ']';
	return take(k, ']');
}

static bool keep_value(struct keeping *k, const struct json_kept *table)
{
	if (table && is_next(k, '{'))
		return keep_object(k, table);
	if (table && is_next(k, '['))
		return keep_array(k, table);
	return copy_value(k);
}

bool json_keep(const char *text, size_t length, const struct json_kept *table, char *buffer,
	       size_t *ret_length)
{
	struct keeping k = {.at = text, .end = text + length, .out = buffer};

	if (!is_next(&k, '{') || !keep_object(&k, table))
		return false;
	skip_space(&k);
	if (k.at != k.end)
		return false;
	*ret_length = (size_t)(k.out - buffer);
	return true;
}
