/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/sources/api/api_objects.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cleanup.h"
#include "agent/common/hash.h"
#include "agent/common/json_text.h"
#include "agent/common/log.h"
#include "agent/sources/api/json_span.h"
#include "agent/sources/api/refusal.h"
#include "agent/sources/api/splitter.h"
#include "policy/objects/limits.h"

#define NAME_SIZE (LIMIT_NAME + LIMIT_NAMESPACE + 3)

/* Which object a text is about. */
struct subject {
	char namespace[LIMIT_NAMESPACE + 1], name[LIMIT_NAME + 1];
	char uid[REFUSAL_UID_MAX + 1]; /* "": not in the text */
};

struct refused {
	char name[NAME_SIZE]; /* NAMESPACE/NAME */
	bool listed;	      /* by the list that is on its way */
	bool isolates;	      /* a policy that never had a valid version */
	char told[160];	      /* what is wrong with it, or the beginning of that */
	UT_hash_handle hh;
};

struct api_objects {
	struct store *store;
	enum object_kind kind;
	char origin[64];
	api_objects_refuser on_refused;
	void *data;
	struct refused *refused;
	bool nameless; /* the list has one that cannot be told from what it leaves out */
	bool told_many;
};

int api_objects_new(struct store *store, enum object_kind kind, const char *resource,
		    api_objects_refuser on_refused, void *data, struct api_objects **ret)
{
	struct api_objects *objects = calloc(1, sizeof(*objects));

	if (!objects)
		return -ENOMEM;
	objects->store = store;
	objects->kind = kind;
	objects->on_refused = on_refused;
	objects->data = data;
	snprintf(objects->origin, sizeof(objects->origin), "api:%s", resource);
	if (store_expect(store, objects->origin) < 0) {
		free(objects);
		return -ENOMEM;
	}
	*ret = objects;
	return 0;
}

void api_objects_free(struct api_objects *objects)
{
	struct refused *refused, *next;

	if (!objects)
		return;
	HASH_ITER (hh, objects->refused, refused, next) {
		HASH_DEL(objects->refused, refused);
		free(refused);
	}
	free(objects);
}

const char *api_objects_origin(const struct api_objects *objects)
{
	return objects->origin;
}

size_t api_objects_refused(const struct api_objects *objects)
{
	return HASH_COUNT(objects->refused);
}

/* ---------------------------------------------------------------- names */

/* False: the text has no name, or not in what there is of it. */
static bool identify(const struct api_objects *objects, const char *text, size_t length, bool whole,
		     struct subject *ret)
{
	struct span object = {text, length, whole}, meta;

	if (!span_member(object, "metadata", &meta) ||
	    !span_text(meta, "name", ret->name, sizeof(ret->name)) || !ret->name[0])
		return false;
	ret->namespace[0] = ret->uid[0] = '\0';
	span_text(meta, "uid", ret->uid, sizeof(ret->uid));
	if (!object_kind_is_global(objects->kind) &&
	    !span_text(meta, "namespace", ret->namespace, sizeof(ret->namespace)))
		snprintf(ret->namespace, sizeof(ret->namespace), "default");
	return true;
}

static void name_subject(const struct object *object, struct subject *ret)
{
	*ret = (struct subject){};
	snprintf(ret->namespace, sizeof(ret->namespace), "%s", object->namespace);
	snprintf(ret->name, sizeof(ret->name), "%s", object->name);
}

static void full_name(const struct subject *subject, char text[NAME_SIZE])
{
	snprintf(text, NAME_SIZE, "%s%s%s", subject->namespace, subject->namespace[0] ? "/" : "",
		 subject->name);
}

/* ---------------------------------------------------------------- refusals */

static void problem_origin(const struct api_objects *objects, const char *name, char *text,
			   size_t size)
{
	snprintf(text, size, "%s/%s", objects->origin, name);
}

static struct refused *find_refused(const struct api_objects *objects,
				    const struct subject *subject)
{
	struct refused *refused = NULL;
	char name[NAME_SIZE];

	full_name(subject, name);
	HASH_FIND_STR(objects->refused, name, refused);
	return refused;
}

static void forget_refused(struct api_objects *objects, struct refused *refused, const char *why)
{
	char origin[NAME_SIZE + sizeof(objects->origin) + 1];

	problem_origin(objects, refused->name, origin, sizeof(origin));
	store_set_problem(objects->store, origin, NULL);
	log_info("api", "%s: %s", origin, why);
	HASH_DEL(objects->refused, refused);
	free(refused);
}

static struct refused *need_refused(struct api_objects *objects, const struct subject *subject)
{
	struct refused *refused = find_refused(objects, subject);

	if (refused || HASH_COUNT(objects->refused) >= API_REFUSED_MAX)
		return refused;
	refused = calloc(1, sizeof(*refused));
	if (!refused)
		return NULL;
	full_name(subject, refused->name);
	HASH_ADD_STR(objects->refused, name, refused);
	if (HASH_ADDED(hh, refused))
		return refused;
	free(refused);
	return NULL;
}

static void hand_on(const struct api_objects *objects, const struct subject *subject,
		    const struct error *error)
{
	struct refusal refusal = {.error = *error};

	if (!objects->on_refused)
		return;
	memcpy(refusal.namespace, subject->namespace, sizeof(refusal.namespace));
	memcpy(refusal.name, subject->name, sizeof(refusal.name));
	memcpy(refusal.uid, subject->uid, sizeof(refusal.uid));
	objects->on_refused(&refusal, objects->data);
}

static void tell_refused(struct api_objects *objects, const struct subject *subject,
			 const struct error *error, bool isolates, const char *then)
{
	char name[NAME_SIZE], origin[NAME_SIZE + sizeof(objects->origin) + 1];
	struct refused *refused = need_refused(objects, subject);
	char told[sizeof(refused->told)];

	if (!refused) {
		if (!objects->told_many)
			log_error("api",
				  "%s: more than %d objects cannot be used; those above are in the "
				  "status",
				  objects->origin, API_REFUSED_MAX);
		objects->told_many = true;
		return;
	}
	refused->listed = true;
	refused->isolates = isolates;
	/* Each list finds it again. */
	snprintf(told, sizeof(told), "%.60s %.90s", error->path, error->text);
	if (strcmp(refused->told, told) == 0)
		return;
	memcpy(refused->told, told, sizeof(told));
	full_name(subject, name);
	problem_origin(objects, name, origin, sizeof(origin));
	log_error("api", "%s: %s: %s; %s", origin, error->path, error->text, then);
	store_set_problem(objects->store, origin, error);
	hand_on(objects, subject, error);
}

/* ---------------------------------------------------------------- policies without a version */

/* What a refused policy says of whom it is about, with no rule: nothing passes. */
static json_t *without_rules(const struct api_objects *objects, const json_t *policy, bool selector,
			     bool types)
{
	static const char *const kept[] = {"tier", "priority", "subject"};
	const json_t *spec = json_object_get(policy, "spec");
	json_t *copy = json_object(), *value;

	if (objects->kind == OBJECT_CLUSTER_NETWORK_POLICY) {
		for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
			if ((value = json_object_get(spec, kept[i])))
				json_object_set(copy, kept[i], value);
		return copy;
	}
	value = selector ? json_object_get(spec, "podSelector") : NULL;
	json_object_set_new(copy, "podSelector", value ? json_incref(value) : json_object());
	value = types ? json_object_get(spec, "policyTypes") : NULL;
	json_object_set_new(copy, "policyTypes",
			    value ? json_incref(value) : json_pack("[s, s]", "Ingress", "Egress"));
	return copy;
}

/* A cluster policy isolates nobody by itself: it has to deny. A kind of peer that nobody knows is
 * everybody, where something is denied. */
static void deny_all(json_t *spec)
{
	static const char *const directions[] = {"ingress", "egress"}, *const peers[] = {"from",
											 "to"};

	for (size_t i = 0; i < 2; i++)
		json_object_set_new(
			spec, directions[i],
			json_pack("[{s:s, s:[{s:{}}]}]", "action", "Deny", peers[i], "everybody"));
}

static int put_closed(struct api_objects *objects, const json_t *policy, bool selector, bool types)
{
	CLEANUP(cleanup_json) json_t *spec = without_rules(objects, policy, selector, types);
	CLEANUP(cleanup_json) json_t *closed = NULL;
	CLEANUP(cleanup_free) char *text = NULL;
	struct object *object = NULL;
	struct error error;
	int r;

	if (objects->kind == OBJECT_CLUSTER_NETWORK_POLICY)
		deny_all(spec);
	closed = json_pack("{s:O*, s:O}", "metadata", json_object_get(policy, "metadata"), "spec",
			   spec);
	text = closed ? json_dumps(closed, JSON_COMPACT) : NULL;
	if (!text)
		return -ENOMEM;
	r = object_decode(objects->kind, text, strlen(text), &object, &error);
	if (r < 0)
		return r;
	/* Its text has been read by nobody. */
	free(TAKE_PTR(object->resource_version));
	r = store_upsert(objects->store, objects->origin, object);
	if (r < 0)
		object_free(object);
	return r;
}

/* 0: what it selects is isolated. */
static int isolate(struct api_objects *objects, const char *text, size_t length)
{
	CLEANUP(cleanup_json) json_t *policy = NULL;
	struct error error;
	int r = -EINVAL;

	if (objects->kind != OBJECT_NETWORK_POLICY &&
	    objects->kind != OBJECT_CLUSTER_NETWORK_POLICY)
		return -ENOENT;
	if (objects_check_size(text, length, &error) == 0)
		r = json_text_load(text, length, 0, NULL, &policy);
	if (r < 0)
		return r == -ENOMEM ? r : -EINVAL;
	r = put_closed(objects, policy, true, true);
	if (r == -EINVAL && objects->kind == OBJECT_NETWORK_POLICY)
		r = put_closed(objects, policy, true, false);
	if (r == -EINVAL && objects->kind == OBJECT_NETWORK_POLICY)
		r = put_closed(objects, policy, false, false);
	return r;
}

/* ---------------------------------------------------------------- one object */

/* Too large to be read, or of no use: what was there before stays. */
static int refuse(struct api_objects *objects, const char *text, size_t length, bool whole,
		  const struct error *error)
{
	const struct refused *before;
	struct subject subject;
	int r;

	if (!identify(objects, text, length, whole, &subject)) {
		/* What the list leaves out may be this one. */
		objects->nameless = true;
		log_error("api", "%s: an object without a name: %s", objects->origin, error->text);
		return 0;
	}
	r = store_list_keep(objects->store, objects->origin, objects->kind, subject.namespace,
			    subject.name);
	before = find_refused(objects, &subject);
	if (r == 0 && !(before && before->isolates)) {
		tell_refused(objects, &subject, error, false,
			     "its last valid version stays in force");
		return 0;
	}
	/* It may select others than before. */
	r = isolate(objects, text, length);
	if (r == -ENOMEM)
		return r;
	tell_refused(objects, &subject, error, r == 0,
		     r == 0 ? "it has no valid version from before: what it selects is isolated"
			    : "it has no valid version from before: nothing of it is in force");
	return 0;
}

static int put(struct api_objects *objects, struct object *object)
{
	struct subject subject;
	struct refused *refused;
	int r;

	name_subject(object, &subject);
	r = store_upsert(objects->store, objects->origin, object);
	if (r < 0) {
		object_free(object);
		return -ENOMEM;
	}
	refused = objects->refused ? find_refused(objects, &subject) : NULL;
	if (refused)
		forget_refused(objects, refused, "valid again");
	return 0;
}

int api_objects_put(struct api_objects *objects, const char *text, size_t length, bool whole)
{
	struct object *object = NULL;
	struct error error;
	int r;

	if (!whole) {
		error_at(&error, -EFBIG, "$", "the object has more than %u bytes",
			 SPLITTER_OBJECT_MAX);
		return refuse(objects, text, length, whole, &error);
	}
	r = object_decode(objects->kind, text, length, &object, &error);
	if (r == -ENOMEM)
		return r;
	return r < 0 ? refuse(objects, text, length, whole, &error) : put(objects, object);
}

int api_objects_remove(struct api_objects *objects, const char *text, size_t length, bool whole)
{
	struct refused *refused;
	struct subject subject;

	/* What went nobody knows: a list will tell. */
	if (!identify(objects, text, length, whole, &subject))
		return -EBADMSG;
	store_delete(objects->store, objects->origin, objects->kind, subject.namespace,
		     subject.name);
	refused = objects->refused ? find_refused(objects, &subject) : NULL;
	if (refused)
		forget_refused(objects, refused, "deleted");
	return 0;
}

/* ---------------------------------------------------------------- lists */

int api_objects_list_begin(struct api_objects *objects)
{
	struct refused *refused, *next;

	objects->nameless = false;
	HASH_ITER (hh, objects->refused, refused, next)
		refused->listed = false;
	return store_list_begin(objects->store, objects->origin);
}

void api_objects_list_end(struct api_objects *objects)
{
	struct refused *refused, *next;

	if (objects->nameless) {
		store_list_cancel(objects->store, objects->origin);
		store_set_synced(objects->store, objects->origin);
	} else {
		store_list_end(objects->store, objects->origin);
	}
	HASH_ITER (hh, objects->refused, refused, next)
		if (!refused->listed)
			forget_refused(objects, refused, "deleted");
}

/* ---------------------------------------------------------------- what was kept */

static void recall_refused(struct api_objects *objects, const struct subject *subject)
{
	char name[NAME_SIZE], origin[NAME_SIZE + sizeof(objects->origin) + 1];
	struct refused *refused = need_refused(objects, subject);
	struct error error;

	if (!refused)
		return;
	refused->isolates = true;
	full_name(subject, name);
	problem_origin(objects, name, origin, sizeof(origin));
	error_at(&error, -EINVAL, "$",
		 "it was refused before polderd was started: what it selects is isolated");
	store_set_problem(objects->store, origin, &error);
}

int api_objects_recall(struct api_objects *objects, const char *text, size_t length, bool closed)
{
	struct object *object = NULL;
	struct subject subject;
	struct error error;
	int r = object_decode(objects->kind, text, length, &object, &error);

	if (r < 0)
		return r;
	name_subject(object, &subject);
	r = store_recall(objects->store, objects->origin, object);
	if (r < 0)
		object_free(object);
	if (r == 0 && closed)
		recall_refused(objects, &subject);
	return r == -EEXIST ? 0 : r;
}

void api_objects_forget(struct api_objects *objects)
{
	struct object_list none = {};
	struct refused *refused, *next;

	(void)store_replace(objects->store, objects->origin, &none);
	HASH_ITER (hh, objects->refused, refused, next)
		forget_refused(objects, refused, "forgotten");
}

bool api_objects_is_closed(const struct api_objects *objects, const struct object *object)
{
	const struct refused *refused;
	struct subject subject;

	if (!objects->refused)
		return false;
	name_subject(object, &subject);
	refused = find_refused(objects, &subject);
	return refused && refused->isolates;
}
