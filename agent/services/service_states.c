/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of Services, their slices and namespaces, and which of them have to be looked at.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/services/services_internal.h"
#include "policy/objects/limits.h"

void state_free(struct service_state *w)
{
	struct service_slice *slice;
	struct service_set *set;

	while ((slice = w->slices)) {
		w->slices = slice->next;
		free(slice);
	}
	while ((set = w->sets)) {
		w->sets = set->next;
		set_free(set);
	}
	fixed_free(w->fixed);
	free(w);
}

struct name_key {
	char text[LIMIT_NAMESPACE + LIMIT_NAME + 2];
};

/* NAMESPACE/NAME of an object: decoded ones have no longer names. */
static const char *name_key(const char *namespace, const char *name, struct name_key *buffer)
{
	snprintf(buffer->text, sizeof(buffer->text), "%s/%s", namespace, name);
	return buffer->text;
}

struct service_state *state_find(const struct services *s, const char *namespace, const char *name)
{
	struct name_key key;
	struct service_state *w;

	HASH_FIND_STR(s->states, name_key(namespace, name, &key), w);
	return w;
}

static struct service_space *space_find(const struct services *s, const char *namespace)
{
	struct service_space *space;

	HASH_FIND_STR(s->spaces, namespace, space);
	return space;
}

/* NULL: no memory. */
static struct service_space *space_get(struct services *s, const char *namespace)
{
	struct service_space *space = space_find(s, namespace);
	size_t length = strlen(namespace);

	if (space)
		return space;
	space = calloc(1, sizeof(*space) + length + 1);
	if (!space)
		return NULL;
	memcpy(space->name, namespace, length + 1);
	HASH_ADD_KEYPTR(hh, s->spaces, space->name, length, space);
	if (HASH_ADDED(hh, space))
		return space;
	free(space);
	return NULL;
}

/* One that no Service is left of goes. */
static void space_drop_idle(struct services *s, struct service_space *space)
{
	if (space->states)
		return;
	HASH_DEL(s->spaces, space);
	free(space);
}

/* Pods of its namespace concern it from now on. */
static void sliceless_add(struct service_state *w)
{
	w->previous_sliceless = NULL;
	w->next_sliceless = w->space->sliceless;
	if (w->next_sliceless)
		w->next_sliceless->previous_sliceless = w;
	w->space->sliceless = w;
}

static void sliceless_remove(struct service_state *w)
{
	if (w->next_sliceless)
		w->next_sliceless->previous_sliceless = w->previous_sliceless;
	if (w->previous_sliceless)
		w->previous_sliceless->next_sliceless = w->next_sliceless;
	else
		w->space->sliceless = w->next_sliceless;
}

/* NULL: no memory. */
static struct service_state *state_new(struct services *s, struct service_space *space,
				       const char *name)
{
	struct name_key key;
	size_t length = strlen(name_key(space->name, name, &key));
	struct service_state *w = calloc(1, sizeof(*w) + length + 1);

	if (!w)
		return NULL;
	memcpy(w->key, key.text, length + 1);
	w->space = space;
	w->namespace = space->name;
	w->name = w->key + strlen(space->name) + 1;
	HASH_ADD_KEYPTR(hh, s->states, w->key, length, w);
	if (!HASH_ADDED(hh, w)) {
		free(w);
		return NULL;
	}
	space->states++;
	sliceless_add(w);
	return w;
}

/* NULL: no memory. */
struct service_state *state_get(struct services *s, const char *namespace, const char *name)
{
	struct service_state *w = state_find(s, namespace, name);
	struct service_space *space = w ? NULL : space_get(s, namespace);

	if (!space)
		return w;
	w = state_new(s, space, name);
	if (!w)
		space_drop_idle(s, space);
	return w;
}

/* A Service whose object has gone, with its slices and all that it had in the maps, is forgotten.
 */
void state_drop_idle(struct services *s, struct service_state *w)
{
	struct service_space *space = w->space;

	if (w->dirty || w->slices || w->sets || w->claimants || (w->fixed && !w->fixed->removed) ||
	    store_get(s->store, OBJECT_SERVICE, w->namespace, w->name))
		return;
	sliceless_remove(w);
	HASH_DEL(s->states, w);
	state_free(w);
	space->states--;
	space_drop_idle(s, space);
}

void state_mark(struct services *s, struct service_state *w)
{
	if (!w || w->dirty)
		return;
	w->dirty = true;
	w->next_dirty = s->dirty;
	s->dirty = w;
}

static bool is_slice(const struct service_slice *slice, const char *namespace, const char *name)
{
	return strcmp(slice->name, name) == 0 && strcmp(slice->state->namespace, namespace) == 0;
}

static struct service_slice *slice_find(const struct services *s, const char *namespace,
					const char *name)
{
	struct hash_table_item *item =
		hash_table_find(&s->slices, hash_table_hash_of_names(namespace, name));

	while (item && !is_slice((struct service_slice *)item, namespace, name))
		item = hash_table_find_next(item);
	return (struct service_slice *)item;
}

/* It is no longer its Service's. Needs no memory. */
static void slice_drop(struct services *s, struct service_slice *slice)
{
	struct service_state *w = slice->state;
	struct service_slice **at;

	for (at = &w->slices; *at != slice; at = &(*at)->next)
		;
	*at = slice->next;
	if (!w->slices)
		sliceless_add(w);
	state_mark(s, w);
	hash_table_remove(&s->slices, &slice->by_name);
	free(slice);
}

static int slice_add(struct services *s, struct service_state *w, const char *name)
{
	size_t size = strlen(name) + 1;
	struct service_slice *slice = calloc(1, sizeof(*slice) + size);

	if (!slice)
		return -ENOMEM;
	memcpy(slice->name, name, size);
	if (hash_table_add(&s->slices, &slice->by_name,
			   hash_table_hash_of_names(w->namespace, name)) < 0) {
		free(slice);
		return -ENOMEM;
	}
	if (!w->slices)
		sliceless_remove(w);
	slice->state = w;
	slice->next = w->slices;
	w->slices = slice;
	return 0;
}

/* A slice may come, go, or change the Service it names. 0 or -ENOMEM. */
static int slice_changed(struct services *s, const struct object *object, bool deleted)
{
	const char *service = deleted ? NULL : object->slice.service;
	struct service_slice *slice = slice_find(s, object->namespace, object->name);
	struct service_state *w;

	if (slice && (!service || strcmp(slice->state->name, service) != 0)) {
		slice_drop(s, slice);
		slice = NULL;
	}
	if (!service)
		return 0;
	w = state_get(s, object->namespace, service);
	if (!w)
		return -ENOMEM;
	state_mark(s, w);
	return slice ? 0 : slice_add(s, w, object->name);
}

static int service_changed(struct services *s, const struct object *service)
{
	struct service_state *w = state_get(s, service->namespace, service->name);

	state_mark(s, w);
	return w ? 0 : -ENOMEM;
}

/* ---------------------------------------------------------------- nodes */

static void mark_claimants(struct services *s, const struct claim *claim)
{
	if (claim)
		claim_mark_others(s, claim, NULL);
}

/* Services with an address that is the node's, or its pods', and those that may get theirs back. */
static void mark_at_node(struct services *s, const struct node_object *node)
{
	for (size_t i = 0; i < node->address_count; i++)
		mark_claimants(s, claim_of_address(s, &node->addresses[i]));
	for (size_t i = 0; i < node->pod_range_count; i++)
		claims_mark_inside(s, &node->pod_ranges[i]);
	mark_refused(s);
}

/* The zone of this node, when it is another one: hints are read anew. 0 or -ENOMEM. */
static int follow_zone(struct services *s, const struct object *node)
{
	const char *zone = node_zone(node);
	struct service_state *w, *next;
	char *copy = NULL;

	if (zone && s->zone && strcmp(zone, s->zone) == 0)
		return 0;
	if (!zone && !s->zone)
		return 0;
	if (zone && !(copy = strdup(zone)))
		return -ENOMEM;
	free(s->zone);
	s->zone = copy;
	HASH_ITER (hh, s->states, w, next)
		state_mark(s, w);
	return 0;
}

static int node_changed(struct services *s, const struct object *node, bool deleted)
{
	mark_at_node(s, &node->node);
	if (strcmp(node->name, s->env.config->node_name) != 0)
		return 0;
	return follow_zone(s, deleted ? NULL : node);
}

void services_node_changed(struct services *s)
{
	struct claim *claim;

	for (claim = claim_next(s, NULL); claim; claim = claim_next(s, claim))
		if (!claim->key.port_be &&
		    claim->address_written == address_is_on_node(s, &claim->key.addr))
			mark_claimants(s, claim);
	mark_refused(s);
}

/* ---------------------------------------------------------------- what is no Service */

/* Texts of its own. 0 or -ENOMEM. */
static int fixed_copy(const struct services_fixed *from, struct fixed **ret)
{
	struct fixed *fixed = calloc(1, sizeof(*fixed));

	if (!fixed)
		return -ENOMEM;
	fixed->said = *from;
	fixed->name = strdup(from->name);
	fixed->owner = strdup(from->owner);
	if (!fixed->name || !fixed->owner) {
		fixed_free(fixed);
		return -ENOMEM;
	}
	fixed->said.name = fixed->name;
	fixed->said.owner = fixed->owner;
	*ret = fixed;
	return 0;
}

int services_put_fixed(struct services *s, const struct services_fixed *said)
{
	struct service_state *w;
	struct fixed *fixed;
	int r;

	if (strlen(said->name) > LIMIT_NAME)
		return -EINVAL;
	r = fixed_copy(said, &fixed);
	if (r < 0)
		return r;
	w = state_get(s, "", said->name);
	if (!w) {
		fixed_free(fixed);
		return -ENOMEM;
	}
	if (w->fixed)
		problems_clear_of(s, w);
	fixed_free(w->fixed);
	w->fixed = fixed;
	state_mark(s, w);
	return 0;
}

void services_remove_fixed(struct services *s, const char *name)
{
	struct service_state *w = state_find(s, "", name);

	if (!w || !w->fixed)
		return;
	w->fixed->removed = true;
	state_mark(s, w);
}

void services_look_again(struct services *s, const char *namespace, const char *name)
{
	state_mark(s, state_find(s, namespace, name));
}

/* ---------------------------------------------------------------- changes of objects */

/* A change that finds no memory is not lost: the next services_apply() looks at all objects. */
void services_object_changed(struct services *s, const struct object *object, bool deleted)
{
	int r = 0;

	if (object->kind == OBJECT_SERVICE)
		r = service_changed(s, object);
	else if (object->kind == OBJECT_ENDPOINT_SLICE)
		r = slice_changed(s, object, deleted);
	else if (object->kind == OBJECT_POD)
		services_pods_changed(s, object->namespace);
	else if (object->kind == OBJECT_NODE)
		r = node_changed(s, object, deleted);
	s->missed |= r < 0;
}

/* After a change that was missed. 0 or -ENOMEM: then it is still to be done. */
int states_look_at_all(struct services *s)
{
	size_t count, i;
	const struct object *const *services = store_objects(s->store, OBJECT_SERVICE, &count);
	const struct object *const *slices;
	struct service_state *w, *next;
	int r = follow_zone(s, store_get(s->store, OBJECT_NODE, "", s->env.config->node_name));

	for (i = 0; i < count && r == 0; i++)
		r = service_changed(s, services[i]);
	slices = store_objects(s->store, OBJECT_ENDPOINT_SLICE, &count);
	for (i = 0; i < count && r == 0; i++)
		r = slice_changed(s, slices[i], false);
	/* Those whose object has gone are known. */
	HASH_ITER (hh, s->states, w, next)
		state_mark(s, w);
	s->missed = r < 0;
	return r;
}

static void pods_changed_in(struct services *s, const struct service_space *space)
{
	const struct object *service;
	struct service_state *w;

	for (w = space->sliceless; w; w = w->next_sliceless) {
		service = store_get(s->store, OBJECT_SERVICE, w->namespace, w->name);
		if (service && service->service.has_selector)
			state_mark(s, w);
	}
}

void services_pods_changed(struct services *s, const char *namespace)
{
	struct service_space *space, *next;

	if (namespace && *namespace) {
		space = space_find(s, namespace);
		if (space)
			pods_changed_in(s, space);
		return;
	}
	HASH_ITER (hh, s->spaces, space, next)
		pods_changed_in(s, space);
}
