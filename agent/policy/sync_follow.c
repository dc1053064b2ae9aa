/* SPDX-License-Identifier: Apache-2.0 */
/* What changed since the last run: into the compiler, and into the claims to addresses. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/policy/policy_sync_internal.h"
#include "policy/objects/array.h"

/* A list that more objects have grown, as all do at the start, is given back. */
#define NOTED_KEPT 1024

/* ---------------------------------------------------------------- what is noted */

void policy_sync_mark(struct policy_sync *sync, const struct object *object)
{
	struct object **grown =
		array_grow(sync->dirty, sync->dirty_count, &sync->dirty_capacity, sizeof(*grown));

	if (!grown) {
		sync->resync = true;
		return;
	}
	sync->dirty = grown;
	sync->dirty[sync->dirty_count++] = object_share(object);
}

static bool is_named(const struct object *object, const char *namespace, const char *name)
{
	return strcmp(object->name, name) == 0 && strcmp(object->namespace, namespace) == 0;
}

static struct remote_pod *find_known(const struct policy_sync *sync, const char *namespace,
				     const char *name)
{
	struct hash_table_item *item =
		hash_table_find(&sync->known, hash_table_hash_of_names(namespace, name));

	while (item && !is_named(((struct remote_pod *)item)->object, namespace, name))
		item = hash_table_find_next(item);
	return (struct remote_pod *)item;
}

/* All of them: the first one after NULL. */
static struct remote_pod *next_known(const struct policy_sync *sync, const struct remote_pod *known)
{
	return (struct remote_pod *)(known ? hash_table_next(&sync->known, &known->by_key)
					   : hash_table_first(&sync->known));
}

struct policy_pod *policy_sync_known_pod(const struct policy_sync *sync,
					 const struct object *object)
{
	const struct remote_pod *known = find_known(sync, object->namespace, object->name);

	return known ? known->compiled : NULL;
}

void policy_sync_mark_pod(struct policy_sync *sync, const char *namespace, const char *name)
{
	const struct object *object = store_get(sync->store, OBJECT_POD, namespace, name);
	const struct remote_pod *known = find_known(sync, namespace, name);

	if (object)
		policy_sync_mark(sync, object);
	else if (known)
		policy_sync_mark(sync, known->object);
}

static void clear_noted(struct policy_sync *sync)
{
	for (size_t i = 0; i < sync->dirty_count; i++)
		object_free(sync->dirty[i]);
	sync->dirty_count = 0;
	if (sync->dirty_capacity > NOTED_KEPT) {
		free(sync->dirty);
		sync->dirty = NULL;
		sync->dirty_capacity = 0;
	}
}

/* ---------------------------------------------------------------- pods of other nodes */

/* To the address at this place. */
static struct address_claim *claim_at(struct remote_pod *known, size_t place)
{
	return place ? &known->more[place - 1] : &known->first;
}

static void drop_claims(struct policy_sync *sync, struct remote_pod *known)
{
	size_t count = known->more ? known->object->pod.address_count : 1;

	for (size_t i = 0; i < count; i++)
		addresses_unclaim(sync->addresses, claim_at(known, i));
	free(known->more);
	known->more = NULL;
	known->first = (struct address_claim){};
}

static void known_free(struct policy_sync *sync, struct remote_pod *known)
{
	drop_claims(sync, known);
	object_free(known->object);
	free(known);
}

static int drop_pod(struct policy_sync *sync, struct remote_pod *known)
{
	int r = policy_compiler_remove_pod(sync->compiler, known->compiled);

	hash_table_remove(&sync->known, &known->by_key);
	known_free(sync, known);
	return r;
}

/* NULL: no memory. */
static struct remote_pod *known_new(struct policy_sync *sync, const struct object *object)
{
	struct remote_pod *known = calloc(1, sizeof(*known));

	if (!known)
		return NULL;
	if (hash_table_add(&sync->known, &known->by_key,
			   hash_table_hash_of_names(object->namespace, object->name)) < 0) {
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

/* 0 or -ENOMEM: there are none. */
static int make_claims(struct policy_sync *sync, struct remote_pod *known)
{
	size_t count = known->object->pod.address_count;
	int r = 0;

	if (count > 1) {
		known->more = calloc(count - 1, sizeof(*known->more));
		if (!known->more)
			return -ENOMEM;
	}
	for (size_t i = 0; i < count && r == 0; i++) {
		claim_at(known, i)->pod = known->object;
		r = addresses_claim(sync->addresses, claim_at(known, i),
				    &known->object->pod.addresses[i]);
	}
	if (r < 0)
		drop_claims(sync, known);
	return r;
}

/* Claims to its addresses, in the place of those there are. Takes the share. 0 or -ENOMEM. */
static int take_object(struct policy_sync *sync, struct remote_pod *known, struct object *object)
{
	bool same = known->first.address && same_addresses(known->object, object);

	if (!same)
		drop_claims(sync, known);
	object_free(known->object);
	known->object = object;
	if (!same)
		return make_claims(sync, known);
	for (size_t i = 0; i < object->pod.address_count; i++)
		claim_at(known, i)->pod = object;
	return 0;
}

/* Ours, but not connected (not yet, or not by us): nothing is said of its addresses. */
static bool is_placed_here(const struct policy_sync *sync, const struct object *object)
{
	return object->pod.node_name && strcmp(object->pod.node_name, sync->config->node_name) == 0;
}

static void set_claims(struct policy_sync *sync, struct remote_pod *known, uint32_t identity)
{
	for (size_t i = 0; i < known->object->pod.address_count; i++) {
		struct address_claim *claim = claim_at(known, i);

		if (claim->identity == identity)
			continue;
		claim->identity = identity;
		addresses_claim_changed(sync->addresses, claim);
	}
}

static int follow_known(struct policy_sync *sync, struct remote_pod *known,
			const struct object *object)
{
	const struct pod_addresses addresses = {object->pod.addresses, object->pod.address_count};
	struct object *before = object_share(known->object); /* the compiler still borrows of it */
	uint32_t identity = 0;
	int r = take_object(sync, known, object_share(object));

	if (r == 0)
		r = policy_compiler_set_pod(sync->compiler, &known->compiled, object, &addresses,
					    false, 0);
	object_free(before);
	if (r < 0)
		return r;
	if (!is_placed_here(sync, object))
		identity = policy_compiler_pod(sync->compiler, known->compiled).identity;
	set_claims(sync, known, identity);
	return 0;
}

static int follow_pod(struct policy_sync *sync, const char *namespace, const char *name)
{
	const struct object *object = store_get(sync->store, OBJECT_POD, namespace, name);
	struct remote_pod *known = find_known(sync, namespace, name);

	if (!object || (pod_is_local(sync, object) && !object->pod.host_network))
		return known ? drop_pod(sync, known) : 0;
	if (!known)
		known = known_new(sync, object);
	return known ? follow_known(sync, known, object) : -ENOMEM;
}

/* ---------------------------------------------------------------- pods of this node */

static void mark_pods(struct policy_sync *sync, const char *namespace, const char *name)
{
	struct synced_pod *pod;

	for (pod = sync->pods; pod; pod = pod->next)
		if (strcmp(pod->object.namespace, namespace) == 0 &&
		    (!name || strcmp(pod->object.name, name) == 0))
			pod->dirty = pod->labels_due = sync->labels_due = true;
}

static void mark_local(struct policy_sync *sync, const struct object *object)
{
	if (object->kind == OBJECT_NAMESPACE)
		mark_pods(sync, object->name, NULL);
	else if (object->kind == OBJECT_POD && pod_is_named(sync, object))
		mark_pods(sync, object->namespace, object->name);
}

static int follow_local(struct policy_sync *sync, struct synced_pod *pod)
{
	const struct pod_addresses addresses = {pod->addresses, pod->address_count};
	int r = policy_compiler_set_pod(sync->compiler, &pod->compiled, pod_object_of(sync, pod),
					&addresses, true, pod->terminating);

	for (size_t i = 0; i < pod->address_count && r == 0; i++) {
		if (pod->claims[i].address)
			continue;
		pod->claims[i].pod = &pod->object;
		pod->claims[i].ifindex = pod->entry.ifindex;
		r = addresses_claim(sync->addresses, &pod->claims[i], &pod->addresses[i]);
	}
	if (r == 0)
		pod->dirty = false;
	return r;
}

/* ---------------------------------------------------------------- objects */

static int follow_policy(struct policy_sync *sync, const struct object *noted)
{
	const struct object *object =
		store_get(sync->store, noted->kind, noted->namespace, noted->name);

	return object ? policy_compiler_set_policy(sync->compiler, object)
		      : policy_compiler_remove_policy(sync->compiler, noted->kind, noted->namespace,
						      noted->name);
}

static int follow_object(struct policy_sync *sync, const struct object *noted)
{
	switch (noted->kind) {
	case OBJECT_POD:
		return follow_pod(sync, noted->namespace, noted->name);
	case OBJECT_NAMESPACE:
		return policy_compiler_set_namespace(
			sync->compiler, noted->name,
			store_get(sync->store, OBJECT_NAMESPACE, "", noted->name));
	case OBJECT_NETWORK_POLICY:
	case OBJECT_CLUSTER_NETWORK_POLICY:
		return follow_policy(sync, noted);
	default:
		return 0;
	}
}

static int follow_kind(struct policy_sync *sync, enum object_kind kind)
{
	size_t count, i;
	const struct object *const *objects = store_objects(sync->store, kind, &count);
	int r = 0;

	for (i = 0; i < count && r == 0; i++)
		r = follow_object(sync, objects[i]);
	return r;
}

static int follow_all(struct policy_sync *sync)
{
	static const enum object_kind kinds[] = {OBJECT_NAMESPACE, OBJECT_CLUSTER_NETWORK_POLICY,
						 OBJECT_NETWORK_POLICY, OBJECT_POD};
	int r = 0;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]) && r == 0; i++)
		r = follow_kind(sync, kinds[i]);
	return r;
}

/* ---------------------------------------------------------------- all of it */

/* The compiler and all that it borrows. */
void policy_sync_clear_known(struct policy_sync *sync)
{
	struct remote_pod *known, *next;
	struct synced_pod *pod;

	for (pod = sync->pods; pod; pod = pod->next) {
		pod->compiled = NULL;
		pod->isolation[0] = pod->isolation[1] = NULL;
	}
	if (sync->compiler && !sync->successor)
		sync->successor = policy_compiler_new_after(sync->compiler);
	policy_compiler_free(sync->compiler);
	sync->compiler = NULL;
	for (known = next_known(sync, NULL); known; known = next) {
		next = next_known(sync, known);
		known_free(sync, known);
	}
	hash_table_clear(&sync->known);
	clear_noted(sync);
	sync->resync = true;
}

/* One that knows nothing. */
static int begin_anew(struct policy_sync *sync)
{
	struct synced_pod *pod;

	policy_sync_clear_known(sync);
	sync->compiler = sync->successor ? sync->successor : policy_compiler_new(sync->registry);
	sync->successor = NULL;
	for (pod = sync->pods; pod; pod = pod->next)
		pod->dirty = pod->labels_due = sync->labels_due = true;
	sync->nodes_dirty = sync->deleted_changed = sync->write_all = true;
	return sync->compiler ? 0 : -ENOMEM;
}

static int follow_noted(struct policy_sync *sync)
{
	int r = 0;

	for (size_t i = 0; i < sync->dirty_count; i++)
		mark_local(sync, sync->dirty[i]);
	for (size_t i = 0; i < sync->dirty_count && r == 0; i++)
		r = follow_object(sync, sync->dirty[i]);
	return r;
}

static int set_deleted(struct policy_sync *sync)
{
	struct policy_sync_input in = {};
	int r = policy_sync_gather_deleted(sync, &in);

	if (r == 0)
		r = policy_compiler_set_deleted(sync->compiler, in.deleted, in.deleted_in_run,
						sync->deleted_count);
	policy_sync_input_clear(&in);
	if (r == 0)
		sync->deleted_changed = false;
	return r;
}

/* Pods whose identities are made of other labels or ports than before. */
static int regroup(struct policy_sync *sync)
{
	struct synced_pod *pod;
	struct remote_pod *known;
	int r = 0;

	if (!policy_compiler_regroup(sync->compiler))
		return 0;
	for (pod = sync->pods; pod; pod = pod->next)
		pod->dirty |= policy_compiler_concerns(sync->compiler, pod_object_of(sync, pod));
	for (known = next_known(sync, NULL); known && r == 0; known = next_known(sync, known))
		if (policy_compiler_concerns(sync->compiler, known->object))
			r = follow_known(sync, known, known->object);
	return r;
}

static int give_changes(struct policy_sync *sync)
{
	struct synced_pod *pod;
	bool all = sync->resync, nodes_changed = sync->node_objects_changed;
	size_t count;
	const struct object *const *nodes = store_objects(sync->store, OBJECT_NODE, &count);
	int r = all ? begin_anew(sync) : 0;

	if (r == 0)
		r = all ? follow_all(sync) : follow_noted(sync);
	if (r == 0)
		r = deleted_policies_update(sync);
	if (r == 0 && sync->deleted_changed)
		r = set_deleted(sync);
	if (r == 0)
		r = regroup(sync);
	for (pod = sync->pods; pod && r == 0; pod = pod->next)
		if (pod->dirty)
			r = follow_local(sync, pod);
	if (r == 0)
		r = nodes_write(sync);
	if (r == 0)
		policy_compiler_set_nodes(sync->compiler, nodes, count, nodes_changed || all);
	sync->node_objects_changed &= r < 0;
	return r;
}

int policy_sync_follow(struct policy_sync *sync)
{
	int r = give_changes(sync);

	if (r < 0)
		return r;
	clear_noted(sync);
	sync->resync = false;
	return 0;
}
