/* SPDX-License-Identifier: Apache-2.0 */
/* What changed since the last pass: into the compiler, and into the claims to addresses. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/policy/enforce_internal.h"
#include "policy/objects/array.h"
#include "policy/objects/limits.h"

#define KEY_SIZE (LIMIT_NAMESPACE + LIMIT_NAME + 2)

/* ---------------------------------------------------------------- what is noted */

void enforce_note(struct enforce *e, const struct object *object)
{
	struct object **grown =
		array_grow(e->dirty, e->dirty_count, &e->dirty_capacity, sizeof(*grown));

	if (!grown) {
		e->resync = true;
		return;
	}
	e->dirty = grown;
	e->dirty[e->dirty_count++] = object_share(object);
}

static uint32_t hash_of(const char *key)
{
	return hash_table_hash_of(key, strlen(key));
}

static struct known_pod *find_known(const struct enforce *e, const char *namespace,
				    const char *name)
{
	struct hash_table_item *item;
	char key[KEY_SIZE];

	snprintf(key, sizeof(key), "%s/%s", namespace, name);
	item = hash_table_find(&e->known, hash_of(key));
	while (item && strcmp(((struct known_pod *)item)->key, key) != 0)
		item = hash_table_find_next(item);
	return (struct known_pod *)item;
}

/* All of them: the first one after NULL. */
static struct known_pod *next_known(const struct enforce *e, const struct known_pod *known)
{
	return (struct known_pod *)(known ? hash_table_next(&e->known, &known->by_key)
					  : hash_table_first(&e->known));
}

struct policy_pod *enforce_known_pod(const struct enforce *e, const struct object *object)
{
	const struct known_pod *known = find_known(e, object->namespace, object->name);

	return known ? known->compiled : NULL;
}

void enforce_note_pod(struct enforce *e, const char *namespace, const char *name)
{
	const struct object *object = store_get(e->store, OBJECT_POD, namespace, name);
	const struct known_pod *known = find_known(e, namespace, name);

	if (object)
		enforce_note(e, object);
	else if (known)
		enforce_note(e, known->object);
}

static void clear_noted(struct enforce *e)
{
	for (size_t i = 0; i < e->dirty_count; i++)
		object_free(e->dirty[i]);
	e->dirty_count = 0;
}

/* ---------------------------------------------------------------- pods of other nodes */

static void known_free(struct enforce *e, struct known_pod *known)
{
	size_t count = known->claims ? known->object->pod.address_count : 0;

	for (size_t i = 0; i < count; i++)
		addresses_unclaim(e->addresses, &known->claims[i]);
	object_free(known->object);
	free(known->claims);
	free(known);
}

static int forget_pod(struct enforce *e, struct known_pod *known)
{
	int r = policy_compiler_remove_pod(e->compiler, known->compiled);

	hash_table_remove(&e->known, &known->by_key);
	known_free(e, known);
	return r;
}

/* NULL: no memory. */
static struct known_pod *known_new(struct enforce *e, const struct object *object)
{
	size_t size = strlen(object->namespace) + strlen(object->name) + 2;
	struct known_pod *known = calloc(1, sizeof(*known) + size);

	if (!known)
		return NULL;
	snprintf(known->key, size, "%s/%s", object->namespace, object->name);
	if (hash_table_add(&e->known, &known->by_key, hash_of(known->key)) < 0) {
		free(known);
		return NULL;
	}
	known->object = object_share(object);
	return known;
}

static bool same_addresses(const struct object *a, const struct object *b)
{
	size_t count = a->pod.address_count;

	return count == b->pod.address_count &&
	       (count == 0 ||
		memcmp(a->pod.addresses, b->pod.addresses, count * sizeof(*a->pod.addresses)) == 0);
}

/* Claims to the object's addresses, in the place of those there are. Takes the share. 0 or -ENOMEM.
 */
static int take_object(struct enforce *e, struct known_pod *known, struct object *object)
{
	size_t count = object->pod.address_count, i;
	struct address_claim *claims;
	int r = 0;

	if (known->claims && same_addresses(known->object, object)) {
		object_free(known->object);
		known->object = object;
		return 0;
	}
	claims = calloc(count ? count : 1, sizeof(*claims));
	if (!claims) {
		object_free(object);
		return -ENOMEM;
	}
	for (i = 0; known->claims && i < known->object->pod.address_count; i++)
		addresses_unclaim(e->addresses, &known->claims[i]);
	free(known->claims);
	object_free(known->object);
	known->claims = claims;
	known->object = object;
	for (i = 0; i < count && r == 0; i++) {
		claims[i].owner = known->key;
		r = addresses_claim(e->addresses, &claims[i], &object->pod.addresses[i]);
	}
	return r;
}

/* Ours, but not connected (not yet, or not by us): nothing is said of its addresses. */
static bool is_placed_here(const struct enforce *e, const struct object *object)
{
	return object->pod.node_name && strcmp(object->pod.node_name, e->config->node_name) == 0;
}

static void set_claims(struct enforce *e, struct known_pod *known, uint32_t identity)
{
	for (size_t i = 0; i < known->object->pod.address_count; i++) {
		struct address_claim *claim = &known->claims[i];

		if (claim->identity == identity)
			continue;
		claim->identity = identity;
		addresses_claim_changed(e->addresses, claim);
	}
}

static int follow_known(struct enforce *e, struct known_pod *known, const struct object *object)
{
	const struct pod_addresses addresses = {object->pod.addresses, object->pod.address_count};
	struct object *before = object_share(known->object); /* the compiler still borrows of it */
	uint32_t identity = 0;
	int r = take_object(e, known, object_share(object));

	if (r == 0)
		r = policy_compiler_set_pod(e->compiler, &known->compiled, object, &addresses,
					    false, 0);
	object_free(before);
	if (r < 0)
		return r;
	if (!is_placed_here(e, object))
		identity = policy_compiler_pod(e->compiler, known->compiled).identity;
	set_claims(e, known, identity);
	return 0;
}

static int follow_pod(struct enforce *e, const char *namespace, const char *name)
{
	const struct object *object = store_get(e->store, OBJECT_POD, namespace, name);
	struct known_pod *known = find_known(e, namespace, name);

	if (!object || (pod_is_local(e, object) && !object->pod.host_network))
		return known ? forget_pod(e, known) : 0;
	if (!known)
		known = known_new(e, object);
	return known ? follow_known(e, known, object) : -ENOMEM;
}

/* ---------------------------------------------------------------- pods of this node */

static void mark_pods(struct enforce *e, const char *namespace, const char *name)
{
	struct enforced_pod *pod;

	for (pod = e->pods; pod; pod = pod->next)
		if (strcmp(pod->object.namespace, namespace) == 0 &&
		    (!name || strcmp(pod->object.name, name) == 0))
			pod->dirty = true;
}

static void mark_local(struct enforce *e, const struct object *object)
{
	if (object->kind == OBJECT_NAMESPACE)
		mark_pods(e, object->name, NULL);
	else if (object->kind == OBJECT_POD && pod_is_local(e, object))
		mark_pods(e, object->namespace, object->name);
}

static int follow_local(struct enforce *e, struct enforced_pod *pod)
{
	const struct pod_addresses addresses = {pod->addresses, pod->address_count};
	int r = policy_compiler_set_pod(e->compiler, &pod->compiled, pod_object_of(e, pod),
					&addresses, true, pod->terminating);

	for (size_t i = 0; i < pod->address_count && r == 0; i++) {
		if (pod->claims[i].address)
			continue;
		pod->claims[i].owner = pod->key;
		pod->claims[i].ifindex = pod->entry.ifindex;
		r = addresses_claim(e->addresses, &pod->claims[i], &pod->addresses[i]);
	}
	if (r == 0)
		pod->dirty = false;
	return r;
}

/* ---------------------------------------------------------------- objects */

static int follow_policy(struct enforce *e, const struct object *noted)
{
	const struct object *object =
		store_get(e->store, noted->kind, noted->namespace, noted->name);

	return object ? policy_compiler_set_policy(e->compiler, object)
		      : policy_compiler_remove_policy(e->compiler, noted->kind, noted->namespace,
						      noted->name);
}

static int follow_object(struct enforce *e, const struct object *noted)
{
	switch (noted->kind) {
	case OBJECT_POD:
		return follow_pod(e, noted->namespace, noted->name);
	case OBJECT_NAMESPACE:
		return policy_compiler_set_namespace(
			e->compiler, noted->name,
			store_get(e->store, OBJECT_NAMESPACE, "", noted->name));
	case OBJECT_NETWORK_POLICY:
	case OBJECT_CLUSTER_NETWORK_POLICY:
		return follow_policy(e, noted);
	default:
		return 0;
	}
}

static int follow_kind(struct enforce *e, enum object_kind kind)
{
	size_t count, i;
	const struct object *const *objects = store_objects(e->store, kind, &count);
	int r = 0;

	for (i = 0; i < count && r == 0; i++)
		r = follow_object(e, objects[i]);
	return r;
}

static int follow_all(struct enforce *e)
{
	static const enum object_kind kinds[] = {OBJECT_NAMESPACE, OBJECT_CLUSTER_NETWORK_POLICY,
						 OBJECT_NETWORK_POLICY, OBJECT_POD};
	int r = 0;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]) && r == 0; i++)
		r = follow_kind(e, kinds[i]);
	return r;
}

/* ---------------------------------------------------------------- all of it */

/* The compiler and all that it borrows. */
void enforce_forget_all(struct enforce *e)
{
	struct known_pod *known, *next;
	struct enforced_pod *pod;

	for (pod = e->pods; pod; pod = pod->next) {
		pod->compiled = NULL;
		pod->isolation[0] = pod->isolation[1] = NULL;
	}
	policy_compiler_free(e->compiler);
	e->compiler = NULL;
	for (known = next_known(e, NULL); known; known = next) {
		next = next_known(e, known);
		known_free(e, known);
	}
	hash_table_clear(&e->known);
	clear_noted(e);
	e->resync = true;
}

/* One that knows nothing. */
static int begin_anew(struct enforce *e)
{
	struct enforced_pod *pod;

	enforce_forget_all(e);
	e->compiler = policy_compiler_new(e->registry);
	for (pod = e->pods; pod; pod = pod->next)
		pod->dirty = true;
	e->nodes_dirty = e->deleted_changed = e->write_all = true;
	return e->compiler ? 0 : -ENOMEM;
}

static int follow_noted(struct enforce *e)
{
	int r = 0;

	for (size_t i = 0; i < e->dirty_count; i++)
		mark_local(e, e->dirty[i]);
	for (size_t i = 0; i < e->dirty_count && r == 0; i++)
		r = follow_object(e, e->dirty[i]);
	return r;
}

static int set_deleted(struct enforce *e)
{
	struct enforce_input in = {};
	int r = enforce_gather_deleted(e, &in);

	if (r == 0)
		r = policy_compiler_set_deleted(e->compiler, in.deleted, in.deleted_in_run,
						e->deleted_count);
	enforce_input_clear(&in);
	if (r == 0)
		e->deleted_changed = false;
	return r;
}

/* Pods whose identities are made of other labels or ports than before. */
static int regroup(struct enforce *e)
{
	struct enforced_pod *pod;
	struct known_pod *known;
	int r = 0;

	if (!policy_compiler_regroup(e->compiler))
		return 0;
	for (pod = e->pods; pod; pod = pod->next)
		pod->dirty |= policy_compiler_concerns(e->compiler, pod_object_of(e, pod));
	for (known = next_known(e, NULL); known && r == 0; known = next_known(e, known))
		if (policy_compiler_concerns(e->compiler, known->object))
			r = follow_known(e, known, known->object);
	return r;
}

static int give_changes(struct enforce *e)
{
	struct enforced_pod *pod;
	bool all = e->resync, nodes_changed = e->nodes_dirty;
	size_t count;
	const struct object *const *nodes = store_objects(e->store, OBJECT_NODE, &count);
	int r = all ? begin_anew(e) : 0;

	if (r == 0)
		r = all ? follow_all(e) : follow_noted(e);
	if (r == 0)
		r = deleted_policies_settle(e);
	if (r == 0 && e->deleted_changed)
		r = set_deleted(e);
	if (r == 0)
		r = regroup(e);
	for (pod = e->pods; pod && r == 0; pod = pod->next)
		if (pod->dirty)
			r = follow_local(e, pod);
	if (r == 0)
		r = nodes_write(e);
	if (r == 0)
		policy_compiler_set_nodes(e->compiler, nodes, count, nodes_changed || all);
	return r;
}

int enforce_follow(struct enforce *e)
{
	int r = give_changes(e);

	if (r < 0)
		return r;
	clear_noted(e);
	e->resync = false;
	return 0;
}
