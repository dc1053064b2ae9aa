/* SPDX-License-Identifier: Apache-2.0 */
/* Access to JSON values that knows where it is. */
#include "policy/objects/json.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/objects/limits.h"
#include "policy/objects/objects.h"

static const char *const type_names[] = {
	[JSON_OBJECT] = "an object",
	[JSON_ARRAY] = "an array",
	[JSON_STRING] = "a string",
	[JSON_INTEGER] = "an integer",
	[JSON_REAL] = "a number with a fraction",
	[JSON_TRUE] = "true",
	[JSON_FALSE] = "false",
	[JSON_NULL] = "null",
};

struct json_at json_root(const json_t *value, struct error *error)
{
	return (struct json_at){.value = value, .error = error};
}

struct json_at json_key(const struct json_at *parent, const char *key)
{
	const json_t *value = json_object_get(parent->value, key);

	return (struct json_at){
		.value = json_is_null(value) ? NULL : value,
		.parent = parent,
		.key = key,
		.error = parent->error,
	};
}

struct json_at json_item(const struct json_at *parent, size_t index)
{
	return (struct json_at){
		.value = json_array_get(parent->value, index),
		.parent = parent,
		.index = index,
		.error = parent->error,
	};
}

static bool is_plain_key(const char *key)
{
	size_t length =
		strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");

	return length > 0 && key[length] == '\0';
}

/* A key as a user may see it: at most 64 bytes, nothing that a terminal would obey. */
static void quote_key(const char *key, char *buffer, size_t size)
{
	size_t i, used = 0;

	for (i = 0; key[i] && i < 64 && used + 1 < size; i++) {
		unsigned char c = (unsigned char)key[i];

		buffer[used++] = c < 0x20 || c == 0x7f || c == '"' ? '?' : (char)c;
	}
	buffer[used] = '\0';
}

static void write_path(const struct json_at *at, char *buffer, size_t size)
{
	char key[72];
	size_t used;

	if (!at->parent) {
		snprintf(buffer, size, "$");
		return;
	}
	write_path(at->parent, buffer, size);
	used = strlen(buffer);
	if (!at->key) {
		snprintf(buffer + used, size - used, "[%zu]", at->index);
		return;
	}
	quote_key(at->key, key, sizeof(key));
	snprintf(buffer + used, size - used, is_plain_key(at->key) ? ".%s" : "[\"%s\"]", key);
}

int json_fail(const struct json_at *at, int code, const char *format, ...)
{
	struct error *error = at->error;
	va_list args;

	*error = (struct error){.code = -code};
	write_path(at, error->path, sizeof(error->path));
	va_start(args, format);
	vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
	return code;
}

int json_expect(const struct json_at *at, json_type type)
{
	if (!at->value)
		return json_fail(at, -EINVAL, "is missing; %s is required", type_names[type]);
	if (json_typeof(at->value) != type)
		return json_fail(at, -EINVAL, "must be %s, not %s", type_names[type],
				 type_names[json_typeof(at->value)]);
	return 0;
}

static int refuse_unknown(const struct json_at *at, const struct json_field *fields, size_t count)
{
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)at->value, key, value) {
		struct json_at child = json_key(at, key);
		size_t i;

		for (i = 0; i < count && strcmp(fields[i].name, key) != 0; i++)
			;
		if (i == count)
			return json_fail(&child, -EINVAL, "is an unknown field");
	}
	return 0;
}

int json_fields(const struct json_at *at, enum field_strictness strictness,
		const struct json_field *fields, size_t count, void *target)
{
	int r = json_expect(at, JSON_OBJECT);

	if (r < 0)
		return r;
	if (strictness == FIELDS_STRICT) {
		r = refuse_unknown(at, fields, count);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < count; i++) {
		struct json_at child = json_key(at, fields[i].name);

		if (!child.value && fields[i].required)
			return json_fail(&child, -EINVAL, "is missing");
		if (!child.value)
			continue;
		r = fields[i].decode(&child, (char *)target + fields[i].offset);
		if (r < 0)
			return r;
	}
	return 0;
}

int json_items(const struct json_at *at, size_t limit, size_t size, json_decoder decode,
	       struct json_items *ret)
{
	int r = json_expect(at, JSON_ARRAY);
	size_t count;

	if (r < 0)
		return r;
	count = json_array_size(at->value);
	if (count > limit)
		return json_fail(at, -EFBIG, "has %zu items; the limit is %zu", count, limit);
	if (count == 0)
		return 0;
	ret->items = calloc(count, size);
	if (!ret->items)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		struct json_at item = json_item(at, i);

		if (json_is_null(item.value))
			return json_fail(&item, -EINVAL, "must not be null");
		ret->count = i + 1;
		r = decode(&item, (char *)ret->items + i * size);
		if (r < 0)
			return r;
	}
	return 0;
}

int json_text(const struct json_at *at, size_t limit, char **ret)
{
	int r = json_expect(at, JSON_STRING);
	char *copy;

	if (r < 0)
		return r;
	if (json_string_length(at->value) > limit)
		return json_fail(at, -EFBIG, "has %zu bytes; the limit is %zu",
				 json_string_length(at->value), limit);
	copy = strdup(json_string_value(at->value));
	if (!copy)
		return -ENOMEM;
	*ret = copy;
	return 0;
}

int json_integer_in(const struct json_at *at, json_int_t min, json_int_t max, json_int_t *ret)
{
	int r = json_expect(at, JSON_INTEGER);
	json_int_t value;

	if (r < 0)
		return r;
	value = json_integer_value(at->value);
	if (value < min || value > max)
		return json_fail(at, -EINVAL, "must be from %lld to %lld, not %lld", (long long)min,
				 (long long)max, (long long)value);
	*ret = value;
	return 0;
}

int json_get_string(const struct json_at *at, void *target)
{
	char **slot = target, *text;
	int r = json_text(at, LIMIT_STRING, &text);

	if (r < 0)
		return r;
	free(*slot);
	*slot = text;
	return 0;
}

int json_get_bool(const struct json_at *at, void *target)
{
	bool *slot = target;

	if (!json_is_boolean(at->value))
		return json_fail(at, -EINVAL, "must be true or false, not %s",
				 type_names[json_typeof(at->value)]);
	*slot = json_is_true(at->value);
	return 0;
}

int json_get_port(const struct json_at *at, void *target)
{
	uint16_t *slot = target;
	json_int_t value;
	int r = json_integer_in(at, 1, 65535, &value);

	if (r < 0)
		return r;
	*slot = (uint16_t)value;
	return 0;
}

int json_get_protocol(const struct json_at *at, void *target)
{
	uint8_t *slot = target;
	const char *text;
	int r = json_expect(at, JSON_STRING);

	if (r < 0)
		return r;
	text = json_string_value(at->value);
	if (strcmp(text, "TCP") == 0)
		*slot = IPPROTO_TCP;
	else if (strcmp(text, "UDP") == 0)
		*slot = IPPROTO_UDP;
	else if (strcmp(text, "SCTP") == 0)
		*slot = IPPROTO_SCTP;
	else
		return json_fail(at, -EINVAL, "must be TCP, UDP or SCTP, not \"%.32s\"", text);
	return 0;
}

int json_get_skipped(const struct json_at *at, void *target)
{
	return 0;
}

json_t *json_of_labels(const struct labels *labels)
{
	json_t *object = json_object();

	for (size_t i = 0; i < labels->count; i++)
		json_object_set_new(object, labels->items[i].key,
				    json_string(labels->items[i].value));
	return object;
}
