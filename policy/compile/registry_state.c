/* SPDX-License-Identifier: Apache-2.0 */
/* The registry as JSON, for the state file. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/compile/registry.h"

#define STATE_VERSION 1

/* A text that grows. A tree of all values would take more than ten times as much memory, and one of
 * each item five times as long. */
struct text {
	char *bytes;
	size_t length, size;
	bool failed;
};

static void append(struct text *text, const char *bytes, size_t length)
{
	size_t size = text->size;
	char *grown;

	while (size < text->length + length + 1)
		size = size ? 2 * size : 4096;
	grown = size == text->size ? text->bytes : realloc(text->bytes, size);
	if (!grown) {
		text->failed = true;
		return;
	}
	memcpy(grown + text->length, bytes, length);
	text->bytes = grown;
	text->size = size;
	text->length += length;
	text->bytes[text->length] = '\0';
}

static void append_text(struct text *text, const char *words)
{
	append(text, words, strlen(words));
}

/* Numbers and fixed words only. */
static void append_format(struct text *text, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void append_format(struct text *text, const char *format, ...)
{
	char words[128];
	va_list args;

	va_start(args, format);
	vsnprintf(words, sizeof(words), format, args);
	va_end(args);
	append_text(text, words);
}

/* How many bytes stand in a JSON string as they are (RFC 8259, 7). */
static size_t plain_length(const char *string)
{
	size_t length = 0;

	while ((unsigned char)string[length] >= ' ' && string[length] != '"' &&
	       string[length] != '\\')
		length++;
	return length;
}

static void append_string(struct text *text, const char *string)
{
	append_text(text, "\"");
	for (;;) {
		size_t length = plain_length(string);

		append(text, string, length);
		string += length;
		if (!*string)
			break;
		append_format(text, "\\u%04x", (unsigned char)*string++);
	}
	append_text(text, "\"");
}

/* Between items of an array or members of an object. */
static void append_comma(struct text *text)
{
	char last = text->length ? text->bytes[text->length - 1] : '\0';

	if (last != '[' && last != '{')
		append_text(text, ",");
}

/* A member; its value comes next. */
static void append_name(struct text *text, const char *name)
{
	append_comma(text);
	append_string(text, name);
	append_text(text, ":");
}

static void append_number(struct text *text, const char *name, uint32_t number)
{
	append_name(text, name);
	append_format(text, "%" PRIu32, number);
}

static void append_word(struct text *text, const char *name, const char *word)
{
	append_name(text, name);
	append_string(text, word);
}

static void begin_item(struct text *text)
{
	append_comma(text);
	append_text(text, "{");
}

static void end_item(struct text *text)
{
	append_text(text, "}");
}

static void export_labels(const struct labels *labels, struct text *text)
{
	append_name(text, "labels");
	append_text(text, "{");
	for (size_t i = 0; i < labels->count; i++)
		append_word(text, labels->items[i].key, labels->items[i].value);
	append_text(text, "}");
}

static void export_ports(const struct registry_identity *entry, struct text *text)
{
	append_name(text, "ports");
	append_text(text, "[");
	for (size_t i = 0; i < entry->port_count; i++) {
		begin_item(text);
		append_word(text, "name", entry->ports[i].name);
		append_number(text, "port", entry->ports[i].port);
		append_number(text, "proto", entry->ports[i].proto);
		end_item(text);
	}
	append_text(text, "]");
}

static void export_identities(const struct policy_registry *registry, struct text *text)
{
	struct registry_identity *entry, *next;

	HASH_ITER (hh, registry->identities, entry, next) {
		begin_item(text);
		append_number(text, "id", entry->id);
		export_labels(&entry->labels, text);
		append_word(text, "namespace", entry->namespace);
		export_ports(entry, text);
		end_item(text);
	}
}

static void export_rulesets(const struct policy_registry *registry, struct text *text)
{
	struct registry_ruleset *entry, *next;

	HASH_ITER (hh, registry->rulesets, entry, next) {
		begin_item(text);
		append_name(text, "digest");
		append_format(text, "\"%016" PRIx64 "%016" PRIx64 "\"", entry->digest[0],
			      entry->digest[1]);
		append_number(text, "id", entry->id);
		end_item(text);
	}
}

static void export_rules(const struct policy_registry *registry, struct text *text)
{
	struct registry_rule *entry, *next;

	HASH_ITER (hh, registry->rules, entry, next) {
		begin_item(text);
		append_name(text, "egress");
		append_text(text, entry->egress ? "true" : "false");
		append_number(text, "index", entry->index);
		append_word(text, "name", entry->name);
		append_word(text, "namespace", entry->namespace);
		append_number(text, "number", entry->number);
		end_item(text);
	}
}

static uint32_t next_unreserved(uint32_t next, uint32_t reserved)
{
	if (!next || reserved == UINT32_MAX)
		return 0;
	return next > reserved ? next : reserved + 1;
}

char *policy_registry_export(const struct policy_registry *registry, const char *first)
{
	struct text text = {};
	char *fitting;

	append_text(&text, "{");
	append_text(&text, first);
	append_text(&text, "\"identities\":[");
	export_identities(registry, &text);
	append_text(&text, "]");
	append_number(&text, "next_identity",
		      next_unreserved(registry->next_identity, registry->reserved_identities));
	append_number(&text, "next_rule", registry->next_rule);
	append_number(&text, "next_ruleset",
		      next_unreserved(registry->next_ruleset, registry->reserved_rulesets));
	append_name(&text, "rules");
	append_text(&text, "[");
	export_rules(registry, &text);
	append_text(&text, "]");
	append_name(&text, "rulesets");
	append_text(&text, "[");
	export_rulesets(registry, &text);
	append_text(&text, "]");
	append_number(&text, "version", STATE_VERSION);
	append_text(&text, "}");
	if (text.failed) {
		free(text.bytes);
		return NULL;
	}
	fitting = realloc(text.bytes, text.length + 1);
	return fitting ? fitting : text.bytes;
}

static int read_number(const json_t *object, const char *key, json_int_t min, json_int_t max,
		       uint32_t *ret)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_integer(value) || json_integer_value(value) < min ||
	    json_integer_value(value) > max)
		return -EINVAL;
	*ret = (uint32_t)json_integer_value(value);
	return 0;
}

static const char *read_text(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

static int import_labels(const json_t *object, struct labels *ret)
{
	const char *key;
	json_t *value;

	if (!json_is_object(object))
		return -EINVAL;
	json_object_foreach ((json_t *)object, key, value) {
		if (!json_is_string(value))
			return -EINVAL;
		if (labels_set(ret, key, json_string_value(value)) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* Names are borrowed from the JSON. */
static int import_ports(const json_t *array, struct named_port **ret, size_t *ret_count)
{
	size_t count = json_array_size(array);
	struct named_port *ports = json_is_array(array) ? calloc(count + 1, sizeof(*ports)) : NULL;
	uint32_t proto, port;

	if (!ports)
		return json_is_array(array) ? -ENOMEM : -EINVAL;
	for (size_t i = 0; i < count; i++) {
		const json_t *item = json_array_get(array, i);
		const char *name = read_text(item, "name");

		if (!name || read_number(item, "proto", 0, 255, &proto) < 0 ||
		    read_number(item, "port", 1, 65535, &port) < 0) {
			free(ports);
			return -EINVAL;
		}
		ports[i] = (struct named_port){
			.name = (char *)name, .proto = (uint8_t)proto, .port = (uint16_t)port};
	}
	*ret = ports;
	*ret_count = count;
	return 0;
}

static int import_identity(struct policy_registry *registry, const json_t *item)
{
	const char *namespace = read_text(item, "namespace");
	struct named_port *ports = NULL;
	struct labels labels = {};
	size_t port_count = 0;
	uint32_t id;
	int r = read_number(item, "id", IDENTITY_FIRST_POD, UINT32_MAX, &id);

	if (!namespace)
		return -EINVAL;
	if (r == 0)
		r = import_labels(json_object_get(item, "labels"), &labels);
	if (r == 0)
		r = import_ports(json_object_get(item, "ports"), &ports, &port_count);
	if (r == 0)
		r = registry_add_identity(registry, id, namespace, &labels, ports, port_count);
	labels_clear(&labels);
	free(ports);
	return r;
}

static int import_ruleset(struct policy_registry *registry, const json_t *item)
{
	const char *hex = read_text(item, "digest");
	uint64_t digest[2];
	uint32_t id;

	if (!hex || strlen(hex) != 32 || strspn(hex, "0123456789abcdef") != 32 ||
	    sscanf(hex, "%16" SCNx64 "%16" SCNx64, &digest[0], &digest[1]) != 2 ||
	    read_number(item, "id", RULESET_FIRST, UINT32_MAX, &id) < 0)
		return -EINVAL;
	return registry_add_ruleset(registry, id, digest);
}

static int import_rule(struct policy_registry *registry, const json_t *item)
{
	const char *namespace = read_text(item, "namespace"), *name = read_text(item, "name");
	const json_t *egress = json_object_get(item, "egress");
	uint32_t number, index;

	if (!namespace || !name || !json_is_boolean(egress) ||
	    read_number(item, "number", 1, UINT32_MAX, &number) < 0 ||
	    read_number(item, "index", 0, UINT32_MAX, &index) < 0)
		return -EINVAL;
	return registry_add_rule(registry, number, namespace, name, json_is_true(egress), index);
}

static int import_each(struct policy_registry *registry, const json_t *state, const char *key,
		       int (*import)(struct policy_registry *, const json_t *))
{
	const json_t *array = json_object_get(state, key);
	int r = json_is_array(array) ? 0 : -EINVAL;

	for (size_t i = 0; r == 0 && i < json_array_size(array); i++)
		r = import(registry, json_array_get(array, i));
	return r == -EEXIST ? -EINVAL : r;
}

/* Numbers that were given once and forgotten lie below `next` too: it never goes back. */
static int import_next(const json_t *state, const char *key, uint32_t *next)
{
	uint32_t value;

	if (read_number(state, key, 0, UINT32_MAX, &value) < 0 ||
	    (value == 0 ? false : *next == 0 || value < *next))
		return -EINVAL;
	*next = value;
	return 0;
}

int policy_registry_import(struct policy_registry *registry, const json_t *state)
{
	int r = 0;

	if (registry->identities || registry->rulesets || registry->rules ||
	    registry->compilation > 0)
		return -EINVAL;
	if (!json_is_integer(json_object_get(state, "version")) ||
	    json_integer_value(json_object_get(state, "version")) != STATE_VERSION)
		return -EINVAL;
	r = import_each(registry, state, "identities", import_identity);
	if (r == 0)
		r = import_each(registry, state, "rulesets", import_ruleset);
	if (r == 0)
		r = import_each(registry, state, "rules", import_rule);
	if (r == 0)
		r = import_next(state, "next_identity", &registry->next_identity);
	if (r == 0)
		r = import_next(state, "next_ruleset", &registry->next_ruleset);
	if (r == 0)
		r = import_next(state, "next_rule", &registry->next_rule);
	if (r < 0)
		registry_clear(registry);
	else
		registry->reserved_rulesets = registry->next_ruleset - 1;
	if (r == 0)
		registry->reserved_identities = registry->next_identity - 1;
	return r;
}
