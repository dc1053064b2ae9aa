/* SPDX-License-Identifier: Apache-2.0 */
/* From a text to objects: one object, lists, arrays; all of them or none. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/objects/decode.h"
#include "agent/common/cleanup.h"
#include "agent/common/json_scan.h"
#include "agent/common/json_text.h"
#include "policy/objects/limits.h"

/* A text of so many bytes, and most have less, is shortened on the stack. */
#define KEPT_TEXT (16u << 10)

struct kind {
	const char *name;
	const char *group; /* "": the core group */
	const char *api_version;
	bool namespaced;
	int (*decode)(const struct json_at *at, struct object *object);
	const struct json_kept *kept; /* NULL: an unknown member is an error */
};

static const struct kind kinds[OBJECT_KIND_COUNT] = {
	[OBJECT_NAMESPACE] = {"Namespace", "", "v1", false, decode_namespace, namespace_kept},
	[OBJECT_NODE] = {"Node", "", "v1", false, decode_node, node_kept},
	[OBJECT_POD] = {"Pod", "", "v1", true, decode_pod, pod_kept},
	[OBJECT_SERVICE] = {"Service", "", "v1", true, decode_service, service_kept},
	[OBJECT_ENDPOINT_SLICE] = {"EndpointSlice", "discovery.k8s.io", "discovery.k8s.io/v1", true,
				   decode_slice, slice_kept},
	[OBJECT_NETWORK_POLICY] = {"NetworkPolicy", "networking.k8s.io", "networking.k8s.io/v1",
				   true, decode_network_policy, NULL},
	[OBJECT_CLUSTER_NETWORK_POLICY] = {"ClusterNetworkPolicy", "policy.networking.k8s.io",
					   "policy.networking.k8s.io/v1alpha2", false,
					   decode_cluster_network_policy, NULL},
	[OBJECT_TRAFFIC_ALERT] = {"TrafficAlert", "polder.dev", "polder.dev/v1alpha1", false,
				  decode_traffic_alert, NULL},
};

const char *object_kind_name(enum object_kind kind)
{
	return kind < OBJECT_KIND_COUNT ? kinds[kind].name : "unknown";
}

bool object_kind_is_global(enum object_kind kind)
{
	return kind < OBJECT_KIND_COUNT && !kinds[kind].namespaced;
}

/* What an object is called by itself or by the list that holds it. Not terminated: lengths count.
 */
struct type {
	const char *kind;
	size_t kind_length;
	const char *api_version; /* NULL: not said */
};

struct decoding {
	struct object_list list;
	size_t capacity;
	unsigned int nesting;
};

static int decode_value(struct decoding *d, const struct json_at *at, const struct type *inherited);

/* A group with a dot may be anybody's; others are the API server's own. */
static bool is_foreign(const struct kind *kind, const char *api_version)
{
	const char *slash = strchr(api_version, '/');
	size_t length = slash ? (size_t)(slash - api_version) : 0;

	if (length == strlen(kind->group) && strncmp(api_version, kind->group, length) == 0)
		return false;
	return memchr(api_version, '.', length);
}

/* Finds the kind. 0, -ENOENT: not one of ours, -EINVAL: ours, but in a version that is not. */
static int find_kind(const struct json_at *at, const struct type *type, enum object_kind *ret)
{
	struct json_at version = json_key(at, "apiVersion");

	for (int i = 0; i < OBJECT_KIND_COUNT; i++) {
		const struct kind *kind = &kinds[i];

		if (strlen(kind->name) != type->kind_length ||
		    strncmp(kind->name, type->kind, type->kind_length) != 0)
			continue;
		if (!type->api_version)
			return json_fail(&version, -EINVAL, "is missing; a %s has %s", kind->name,
					 kind->api_version);
		if (strcmp(type->api_version, kind->api_version) == 0) {
			*ret = (enum object_kind)i;
			return 0;
		}
		if (is_foreign(kind, type->api_version))
			return -ENOENT;
		return json_fail(&version, -EINVAL, "%.64s has no supported %s; use %s",
				 type->api_version, kind->name, kind->api_version);
	}
	return -ENOENT;
}

static int append(struct decoding *d, struct object *object)
{
	if (d->list.count == d->capacity) {
		size_t capacity = d->capacity ? d->capacity * 2 : 16;
		struct object **objects =
			reallocarray(d->list.objects, capacity, sizeof(struct object *));

		if (!objects)
			return -ENOMEM;
		d->list.objects = objects;
		d->capacity = capacity;
	}
	d->list.objects[d->list.count++] = object;
	return 0;
}

static int decode_object(struct decoding *d, const struct json_at *at, enum object_kind kind)
{
	struct object *object = calloc(1, sizeof(*object));
	int r;

	if (!object)
		return -ENOMEM;
	object->kind = kind;
	r = decode_metadata(at, kinds[kind].namespaced, object);
	if (r == 0)
		r = kinds[kind].decode(at, object);
	if (r == 0) {
		object = object_pack(object);
		r = append(d, object);
	}
	if (r < 0)
		object_free(object);
	return r;
}

static int decode_array(struct decoding *d, const struct json_at *at, const struct type *inherited)
{
	int r = 0;

	if (d->nesting == LIMIT_LIST_NESTING)
		return json_fail(at, -EFBIG, "lists are nested more than %d deep",
				 LIMIT_LIST_NESTING);
	d->nesting++;
	for (size_t i = 0; r == 0 && i < json_array_size(at->value); i++) {
		struct json_at item = json_item(at, i);

		r = decode_value(d, &item, inherited);
	}
	d->nesting--;
	return r;
}

/* The type that a list gives to items that do not say theirs. List itself gives none. */
static struct type item_type(const struct type *list)
{
	struct type type = *list;

	type.kind_length -= strlen("List");
	return type;
}

static bool is_list(const struct type *type)
{
	return type->kind_length >= 4 &&
	       strncmp(type->kind + type->kind_length - 4, "List", 4) == 0;
}

static int decode_list(struct decoding *d, const struct json_at *at, const struct type *type)
{
	struct json_at items = json_key(at, "items");
	struct type inherited = item_type(type);
	enum object_kind kind;
	bool known;
	int r = 0;

	if (inherited.kind_length > 0)
		r = find_kind(at, &inherited, &kind);
	known = r == 0;
	if (r < 0 && r != -ENOENT)
		return r;
	if (!items.value && known)
		return 0;
	if (!known && !json_is_array(items.value)) {
		d->list.skipped++;
		return 0;
	}
	r = json_expect(&items, JSON_ARRAY);
	return r < 0 ? r : decode_array(d, &items, inherited.kind_length > 0 ? &inherited : NULL);
}

static int read_type(const struct json_at *at, const struct type *inherited, struct type *ret)
{
	struct json_at kind = json_key(at, "kind"), version = json_key(at, "apiVersion");
	struct type type = {};
	int r = json_expect(at, JSON_OBJECT);

	if (r < 0)
		return r;
	if (inherited && !kind.value)
		type = *inherited;
	if (inherited && !version.value)
		type.api_version = inherited->api_version;
	if (kind.value || !inherited) {
		r = json_expect(&kind, JSON_STRING);
		if (r < 0)
			return r;
		type.kind = json_string_value(kind.value);
		type.kind_length = json_string_length(kind.value);
	}
	if (version.value) {
		r = json_expect(&version, JSON_STRING);
		if (r < 0)
			return r;
		type.api_version = json_string_value(version.value);
	}
	*ret = type;
	return 0;
}

static int decode_value(struct decoding *d, const struct json_at *at, const struct type *inherited)
{
	enum object_kind kind;
	struct type type;
	int r = read_type(at, inherited, &type);

	if (r < 0)
		return r;
	if (is_list(&type))
		return decode_list(d, at, &type);
	r = find_kind(at, &type, &kind);
	if (r == -ENOENT) {
		d->list.skipped++;
		return 0;
	}
	return r < 0 ? r : decode_object(d, at, kind);
}

static int compare_names(const void *a, const void *b)
{
	const struct object *x = *(const struct object *const *)a,
			    *y = *(const struct object *const *)b;
	int order = (int)x->kind - (int)y->kind;

	if (order == 0)
		order = strcmp(x->namespace, y->namespace);
	return order ? order : strcmp(x->name, y->name);
}

/* Which of two objects of one name counts would be a guess. */
static int refuse_doubles(const struct object_list *list, const struct json_at *root)
{
	struct object **sorted;
	int r = 0;

	if (list->count < 2)
		return 0;
	sorted = calloc(list->count, sizeof(struct object *));
	if (!sorted)
		return -ENOMEM;
	memcpy(sorted, list->objects, list->count * sizeof(struct object *));
	qsort(sorted, list->count, sizeof(struct object *), compare_names);
	for (size_t i = 1; r == 0 && i < list->count; i++)
		if (compare_names(&sorted[i - 1], &sorted[i]) == 0)
			r = json_fail(root, -EINVAL, "%s %.63s%s%.120s is defined twice",
				      kinds[sorted[i]->kind].name, sorted[i]->namespace,
				      sorted[i]->namespace[0] ? "/" : "", sorted[i]->name);
	free(sorted);
	return r;
}

/*
 * Counts before anything is built, so that a text cannot make the tree far larger than itself. Only
 * strings need care; what is wrong otherwise the parser says.
 */
int objects_check_size(const char *text, size_t length, struct error *error)
{
	struct json_at root = json_root(NULL, error);
	const char *at = text, *end = text + length;
	size_t depth = 0, deepest = 0, values = 1;

	if (length > OBJECT_TEXT_MAX)
		return json_fail(&root, -EFBIG, "the text has %zu bytes; the limit is %u", length,
				 OBJECT_TEXT_MAX);
	while (at && at < end) {
		char c = *at;

		values += c == ',' || c == ':' || c == '[' || c == '{';
		depth += c == '[' || c == '{';
		deepest = depth > deepest ? depth : deepest;
		if ((c == ']' || c == '}') && depth > 0)
			depth--;
		at = c == '"' ? json_scan_string(at, end) : at + 1;
	}
	if (deepest > LIMIT_DEPTH)
		return json_fail(&root, -EFBIG, "nested %zu deep; the limit is %d", deepest,
				 LIMIT_DEPTH);
	if (values > LIMIT_VALUES)
		return json_fail(&root, -EFBIG, "has more than the limit of %d values",
				 LIMIT_VALUES);
	return 0;
}

static int parse(const char *text, size_t length, json_t **ret, struct error *error)
{
	struct json_at root = json_root(NULL, error);
	json_error_t problem;
	int r = json_text_load(text, length, JSON_REJECT_DUPLICATES, &problem, ret);

	if (r != -EBADMSG)
		return r;
	json_fail(&root, -EINVAL, "not JSON: %s", problem.text);
	error->line = problem.line > 0 ? problem.line : 0;
	error->column = problem.column > 0 ? problem.column : 0;
	return -EINVAL;
}

int objects_decode(const char *text, size_t length, struct object_list *ret,
		   struct error *ret_error)
{
	struct error error = {};
	struct decoding d = {};
	struct json_at at = json_root(NULL, &error);
	json_t *value = NULL;
	int r = objects_check_size(text, length, &error);

	if (r == 0)
		r = parse(text, length, &value, &error);
	at.value = value;
	if (r == 0)
		r = json_is_array(value) ? decode_array(&d, &at, NULL)
					 : decode_value(&d, &at, NULL);
	if (r == 0)
		r = refuse_doubles(&d.list, &at);
	json_decref(value);
	if (r == 0) {
		*ret = d.list;
		return 0;
	}
	if (r == -ENOMEM)
		json_fail(&(struct json_at){.error = &error}, r, "out of memory");
	object_list_clear(&d.list);
	*ret_error = error;
	return r;
}

/* One object of a kind that its place tells: it may say so itself, and nothing else. */
static int decode_alone(struct decoding *d, const struct json_at *at, enum object_kind expected)
{
	struct type inherited = {.kind = kinds[expected].name,
				 .kind_length = strlen(kinds[expected].name),
				 .api_version = kinds[expected].api_version};
	enum object_kind kind = OBJECT_KIND_COUNT;
	struct type type;
	int r = read_type(at, &inherited, &type);

	if (r == 0)
		r = find_kind(at, &type, &kind);
	if (r == -ENOENT || (r == 0 && kind != expected)) {
		struct json_at named = json_key(at, "kind");

		return json_fail(&named, -EINVAL, "is %.*s, not %s", (int)type.kind_length,
				 type.kind, inherited.kind);
	}
	return r < 0 ? r : decode_object(d, at, expected);
}

/* Without what nobody reads, where that may be left out. */
static int parse_kept(const struct json_kept *kept, const char *text, size_t length, json_t **ret,
		      struct error *error)
{
	bool is_large = kept && length > KEPT_TEXT;
	CLEANUP(cleanup_free) char *large = is_large ? malloc(length) : NULL;
	char small[KEPT_TEXT], *buffer = is_large ? large : small;
	int r;

	if (!buffer)
		return -ENOMEM;
	if (kept && json_keep(text, length, kept, buffer, &length))
		text = buffer;
	r = objects_check_size(text, length, error);
	return r < 0 ? r : parse(text, length, ret, error);
}

int object_decode(enum object_kind kind, const char *text, size_t length, struct object **ret,
		  struct error *ret_error)
{
	struct error error = {};
	struct decoding d = {};
	struct json_at at = json_root(NULL, &error);
	struct json_scratch scratch;
	json_t *value = NULL;
	int r;

	json_scratch_begin(&scratch);
	r = parse_kept(kinds[kind].kept, text, length, &value, &error);
	at.value = value;
	if (r == 0)
		r = decode_alone(&d, &at, kind);
	json_decref(value);
	json_scratch_end(&scratch);
	if (r == 0) {
		*ret = d.list.objects[0];
		free(d.list.objects);
		return 0;
	}
	if (r == -ENOMEM)
		json_fail(&(struct json_at){.error = &error}, r, "out of memory");
	object_list_clear(&d.list);
	*ret_error = error;
	return r;
}
