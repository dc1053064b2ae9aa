/* SPDX-License-Identifier: Apache-2.0 */
/* What objects share: metadata, labels, selectors, addresses. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/common/array.h"
#include "agent/common/address.h"
#include "policy/objects/decode.h"
#include "policy/objects/limits.h"
#include "policy/objects/syntax.h"

int decode_default_text(char **text, const char *value)
{
	if (*text)
		return 0;
	*text = strdup(value);
	return *text ? 0 : -ENOMEM;
}

static int check_label(const struct json_at *at, const char *key, const char *value)
{
	const char *reason;
	int r = syntax_label_key(key, &reason);

	if (r == 0 && value)
		r = syntax_label_value(value, &reason);
	return r < 0 ? json_fail(at, r, "%s", reason) : 0;
}

static int check_map(const struct json_at *at, size_t limit)
{
	int r = json_expect(at, JSON_OBJECT);

	if (r < 0)
		return r;
	if (json_object_size(at->value) > limit)
		return json_fail(at, -EFBIG, "has %zu entries; the limit is %zu",
				 json_object_size(at->value), limit);
	return 0;
}

/* A label's value stands in the map itself: null is no value. */
static int check_map_entry(const struct json_at *map, const char *key, const json_t *value)
{
	struct json_at at = {.value = value, .parent = map, .key = key, .error = map->error};
	int r = json_expect(&at, JSON_STRING);

	return r < 0 ? r : check_label(&at, key, json_string_value(value));
}

int decode_labels(const struct json_at *at, void *target)
{
	struct labels *labels = target;
	const char *key;
	json_t *value;
	int r = check_map(at, LIMIT_LABELS);

	if (r < 0)
		return r;
	json_object_foreach ((json_t *)at->value, key, value) {
		r = check_map_entry(at, key, value);
		if (r == 0)
			r = labels_set(labels, key, json_string_value(value));
		if (r < 0)
			return r;
	}
	return 0;
}

/* Makes room for `more` terms; the terms in use keep their content. */
static int grow_terms(struct selector *selector, size_t more)
{
	struct selector_term *terms =
		reallocarray(selector->terms, selector->count + more + 1, sizeof(*terms));

	if (!terms)
		return -ENOMEM;
	memset(&terms[selector->count], 0, (more + 1) * sizeof(*terms));
	selector->terms = terms;
	return 0;
}

static int add_match_label(struct selector *selector, const char *key, const char *value)
{
	struct selector_term *term = &selector->terms[selector->count++];

	*term = (struct selector_term){.op = SELECTOR_IN};
	term->key = strdup(key);
	term->values = calloc(1, sizeof(*term->values));
	if (!term->key || !term->values)
		return -ENOMEM;
	term->values[0] = strdup(value);
	if (!term->values[0])
		return -ENOMEM;
	term->value_count = 1;
	return 0;
}

int decode_match_labels(const struct json_at *at, void *target)
{
	struct selector *selector = target;
	const char *key;
	json_t *value;
	int r = check_map(at, LIMIT_SELECTOR_TERMS);

	if (r == 0)
		r = grow_terms(selector, json_object_size(at->value));
	if (r < 0)
		return r;
	json_object_foreach ((json_t *)at->value, key, value) {
		r = check_map_entry(at, key, value);
		if (r == 0)
			r = add_match_label(selector, key, json_string_value(value));
		if (r < 0)
			return r;
	}
	return 0;
}

static int decode_operator(const struct json_at *at, void *target)
{
	static const char *const names[] = {
		[SELECTOR_IN] = "In",
		[SELECTOR_NOT_IN] = "NotIn",
		[SELECTOR_EXISTS] = "Exists",
		[SELECTOR_DOES_NOT_EXIST] = "DoesNotExist",
	};
	enum selector_operator *op = target;
	int r = json_expect(at, JSON_STRING);

	if (r < 0)
		return r;
	for (size_t i = 0; i < COUNT(names); i++) {
		if (strcmp(json_string_value(at->value), names[i]) == 0) {
			*op = (enum selector_operator)i;
			return 0;
		}
	}
	return json_fail(at, -EINVAL, "must be In, NotIn, Exists or DoesNotExist, not \"%.32s\"",
			 json_string_value(at->value));
}

static int decode_term_key(const struct json_at *at, void *target)
{
	char **key = target;
	int r = json_text(at, LIMIT_LABEL_PREFIX + 1 + LIMIT_LABEL_NAME, key);

	return r < 0 ? r : check_label(at, *key, NULL);
}

static int decode_term_value(const struct json_at *at, void *target)
{
	char **value = target;
	const char *reason;
	int r = json_text(at, LIMIT_LABEL_VALUE, value);

	if (r < 0)
		return r;
	r = syntax_label_value(*value, &reason);
	return r < 0 ? json_fail(at, r, "%s", reason) : 0;
}

static int decode_term_values(const struct json_at *at, void *target)
{
	struct selector_term *term = target;
	struct json_items items = {};
	int r = json_items(at, LIMIT_SELECTOR_VALUES, sizeof(*term->values), decode_term_value,
			   &items);

	term->values = items.items;
	term->value_count = items.count;
	return r;
}

static int decode_term(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {
		{"key", decode_term_key, offsetof(struct selector_term, key), true},
		{"operator", decode_operator, offsetof(struct selector_term, op), true},
		{"values", decode_term_values, 0, false},
	};
	struct selector_term *term = target;
	struct json_at values;
	bool wants_values;
	int r = json_fields(at, FIELDS_STRICT, fields, COUNT(fields), term);

	if (r < 0)
		return r;
	values = json_key(at, "values");
	wants_values = term->op == SELECTOR_IN || term->op == SELECTOR_NOT_IN;
	if (wants_values && term->value_count == 0)
		return json_fail(&values, -EINVAL, "must have a value for In and NotIn");
	if (!wants_values && term->value_count > 0)
		return json_fail(&values, -EINVAL, "must be empty for Exists and DoesNotExist");
	return 0;
}

static int decode_expressions(const struct json_at *at, void *target)
{
	struct selector *selector = target;
	struct json_items items = {};
	int r = json_items(at, LIMIT_SELECTOR_TERMS, sizeof(struct selector_term), decode_term,
			   &items);
	size_t count = items.count;

	if (count > 0 && grow_terms(selector, count) == 0) {
		memcpy(&selector->terms[selector->count], items.items,
		       count * sizeof(struct selector_term));
		selector->count += count;
	} else if (count > 0) {
		struct selector lost = {.terms = items.items, .count = count};

		selector_clear(&lost);
		return -ENOMEM;
	}
	free(items.items);
	return r;
}

int decode_selector(const struct json_at *at, void *target)
{
	static const struct json_field fields[] = {
		{"matchLabels", decode_match_labels, 0, false},
		{"matchExpressions", decode_expressions, 0, false},
	};

	return json_fields(at, FIELDS_STRICT, fields, COUNT(fields), target);
}

int decode_addr(const struct json_at *at, void *target)
{
	struct polder_addr *addr = target;
	int r = json_expect(at, JSON_STRING);

	if (r < 0)
		return r;
	if (addr_parse(json_string_value(at->value), addr) < 0)
		return json_fail(at, -EINVAL, "must be an IPv4 or IPv6 address, not \"%.64s\"",
				 json_string_value(at->value));
	return 0;
}

int decode_usable_addr(const struct json_at *at, void *target)
{
	const char *reserved;
	int r = decode_addr(at, target);

	if (r < 0)
		return r;
	reserved = addr_reserved_reason(target);
	if (reserved)
		return json_fail(at, -EINVAL, "%s is %s, which cannot be used here",
				 json_string_value(at->value), reserved);
	return 0;
}

int decode_prefix(const struct json_at *at, void *target)
{
	struct prefix *prefix = target;
	int r = json_expect(at, JSON_STRING);

	if (r < 0)
		return r;
	if (prefix_parse(json_string_value(at->value), prefix) < 0)
		return json_fail(at, -EINVAL,
				 "must be a block such as 10.0.0.0/8 or fd00::/64, not \"%.64s\"",
				 json_string_value(at->value));
	return 0;
}

int decode_port_name(const struct json_at *at, void *target)
{
	char **slot = target, *text;
	int r = json_text(at, LIMIT_PORT_NAME, &text);

	if (r < 0)
		return r;
	free(*slot);
	*slot = text;
	return 0;
}

static int decode_name(const struct json_at *at, size_t limit, char **ret)
{
	const char *reason;
	int r = json_text(at, limit, ret);

	if (r < 0)
		return r;
	r = syntax_name(*ret, &reason);
	return r < 0 ? json_fail(at, r, "%s", reason) : 0;
}

static int decode_object_name(const struct json_at *at, void *target)
{
	return decode_name(at, LIMIT_NAME, target);
}

/* An empty namespace is a missing one. */
static int decode_namespace_name(const struct json_at *at, void *target)
{
	if (json_is_string(at->value) && json_string_length(at->value) == 0)
		return 0;
	return decode_name(at, LIMIT_NAMESPACE, target);
}

static int decode_uid(const struct json_at *at, void *target)
{
	return json_text(at, LIMIT_UID, target);
}

/* For sources that list and watch; of a file nobody asks for it, whatever it is. */
static int decode_resource_version(const struct json_at *at, void *target)
{
	if (!json_is_string(at->value) || json_string_length(at->value) > LIMIT_VERSION)
		return 0;
	return json_text(at, LIMIT_VERSION, target);
}

#define OWN_ANNOTATIONS "polder.dev/"

static const struct json_kept annotations_kept[] = {
	{"kubernetes.io/config.mirror", NULL}, {OWN_ANNOTATIONS "*", NULL}, {}};
const struct json_kept metadata_kept[] = {
	{"name", NULL},
	{"namespace", NULL},
	{"uid", NULL},
	{"resourceVersion", NULL},
	{"labels", NULL},
	{"annotations", annotations_kept},
	{"creationTimestamp", NULL},
	{"deletionTimestamp", NULL},
	{},
};

int decode_metadata(const struct json_at *at, bool namespaced, struct object *object)
{
	static const struct json_field fields[] = {
		{"name", decode_object_name, offsetof(struct object, name), true},
		{"uid", decode_uid, offsetof(struct object, uid), false},
		{"resourceVersion", decode_resource_version,
		 offsetof(struct object, resource_version), false},
		{"labels", decode_labels, offsetof(struct object, labels), false},
		{"namespace", decode_namespace_name, offsetof(struct object, namespace), false},
	};
	struct json_at metadata = json_key(at, "metadata");
	int r = json_fields(&metadata, FIELDS_TOLERANT, fields,
			    COUNT(fields) - (namespaced ? 0 : 1), object);

	if (r == 0)
		r = decode_default_text(&object->uid, "");
	if (r == 0)
		r = decode_default_text(&object->namespace, namespaced ? "default" : "");
	return r;
}

/* RFC 3339 in UTC, as API servers write it. What is none says nothing: files may have anything. */
int64_t decode_created(const struct json_at *at)
{
	struct json_at metadata = json_key(at, "metadata");
	struct json_at created = json_key(&metadata, "creationTimestamp");
	struct tm tm = {};
	const char *end;

	if (!json_is_string(created.value))
		return 0;
	end = strptime(json_string_value(created.value), "%Y-%m-%dT%H:%M:%S", &tm);
	return end && (*end == 'Z' || *end == '.') ? timegm(&tm) : 0;
}

static int add_annotation(const struct json_at *at, struct labels *annotations)
{
	int r = json_expect(at, JSON_STRING);

	if (r < 0)
		return r;
	if (json_string_length(at->value) > LIMIT_STRING)
		return json_fail(at, -EFBIG, "has %zu bytes; the limit is %d",
				 json_string_length(at->value), LIMIT_STRING);
	if (annotations->count == LIMIT_LABELS)
		return json_fail(at, -EFBIG, "is one of more than %d annotations", LIMIT_LABELS);
	return labels_set(annotations, at->key, json_string_value(at->value));
}

int decode_own_annotations(const struct json_at *at, struct labels *ret)
{
	struct json_at metadata = json_key(at, "metadata");
	struct json_at annotations = json_key(&metadata, "annotations");
	const char *key;
	json_t *value;
	int r = 0;

	json_object_foreach ((json_t *)annotations.value, key, value) {
		struct json_at item = {.value = value,
				       .parent = &annotations,
				       .key = key,
				       .error = annotations.error};

		if (strncmp(key, OWN_ANNOTATIONS, strlen(OWN_ANNOTATIONS)) == 0)
			r = add_annotation(&item, ret);
		if (r < 0)
			return r;
	}
	return 0;
}

const struct json_kept namespace_kept[] = {
	{"kind", NULL}, {"apiVersion", NULL}, {"metadata", metadata_kept}, {}};

int decode_namespace(const struct json_at *at, struct object *object)
{
	struct json_at metadata = json_key(at, "metadata");

	object->space.terminating = json_key(&metadata, "deletionTimestamp").value;
	return 0;
}
