/* SPDX-License-Identifier: Apache-2.0 */
/* Access to JSON values that knows where it is: fields by table, errors with their JSON path. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct error;
struct labels;

/* A value and the way to it. Lives on the stack; `parent` must outlive it. */
struct json_at {
	const json_t *value; /* NULL: absent; null counts as absent */
	const struct json_at *parent;
	const char *key; /* NULL: `index` */
	size_t index;
	struct error *error;
};

/* Decodes the value at `at`, which is present, into `target`. 0 or -errno with the error filled. */
typedef int (*json_decoder)(const struct json_at *at, void *target);

struct json_field {
	const char *name;
	json_decoder decode;
	size_t offset;
	bool required;
};

enum field_strictness { FIELDS_TOLERANT, FIELDS_STRICT };

/* An array's decoded items, zeroed before they are decoded; `count` counts those begun. */
struct json_items {
	void *items;
	size_t count;
};

struct json_at json_root(const json_t *value, struct error *error);
struct json_at json_key(const struct json_at *parent, const char *key);
struct json_at json_item(const struct json_at *parent, size_t index);

/* Fills the error with the path of `at`; returns `code`. */
int json_fail(const struct json_at *at, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* 0, or -EINVAL if the value is of another type or absent. */
int json_expect(const struct json_at *at, json_type type);

/* Decodes the fields of an object; FIELDS_STRICT refuses names that are not in the table. */
int json_fields(const struct json_at *at, enum field_strictness strictness,
		const struct json_field *fields, size_t count, void *target);
/* Decodes every item of an array into items of `size` bytes. `ret` is filled on failure too, to be
 * freed. */
int json_items(const struct json_at *at, size_t limit, size_t size, json_decoder decode,
	       struct json_items *ret);
/* A copy of a string of at most `limit` bytes; the caller owns it. */
int json_text(const struct json_at *at, size_t limit, char **ret);
int json_integer_in(const struct json_at *at, json_int_t min, json_int_t max, json_int_t *ret);

/* For tables: char *, replaced; bool; uint16_t from 1 to 65535; uint8_t IPPROTO_*. A skipped field
 * is only named. */
int json_get_string(const struct json_at *at, void *target);
int json_get_bool(const struct json_at *at, void *target);
int json_get_port(const struct json_at *at, void *target);
int json_get_protocol(const struct json_at *at, void *target);
int json_get_skipped(const struct json_at *at, void *target);

/* {"key": "value"}; a new reference. */
json_t *json_of_labels(const struct labels *labels);
