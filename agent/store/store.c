/* SPDX-License-Identifier: Apache-2.0 */
/* Objects by kind, namespace and name; which origin gave them; what origins could not be read. */
#include "agent/store/store.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cleanup.h"
#include "agent/store/store_internal.h"
#include "policy/objects/limits.h"

/* Longer than what any object may have: a longer name is no object's. */
#define NAMES_MAX (LIMIT_NAMESPACE + LIMIT_NAME)

struct store *store_new(void)
{
	return calloc(1, sizeof(struct store));
}

static void candidate_free(struct candidate *candidate)
{
	if (candidate == &candidate->entry->only)
		candidate->origin = NULL;
	else
		free(candidate);
}

static void entry_free(struct store *store, struct entry *entry)
{
	if (entry->item.object)
		hash_table_remove(&store->entries, &entry->by_name);
	free(entry);
}

static void origin_free(struct store *store, struct origin *origin)
{
	HASH_DEL(store->origins, origin);
	free(origin->problem);
	free(origin);
}

void store_free(struct store *store)
{
	struct origin *origin, *next_origin;
	struct hash_table_item *item, *next;
	struct candidate *candidate;
	struct entry *entry;

	if (!store)
		return;
	for (item = hash_table_first(&store->entries); item; item = next) {
		next = hash_table_next(&store->entries, item);
		entry = (struct entry *)item;
		while ((candidate = entry->candidates)) {
			entry->candidates = candidate->next;
			object_free(candidate->object);
			candidate_free(candidate);
		}
		object_free(entry->reported);
		free(entry);
	}
	hash_table_clear(&store->entries);
	HASH_ITER (hh, store->origins, origin, next_origin)
		origin_free(store, origin);
	for (size_t i = 0; i < OBJECT_KIND_COUNT; i++)
		index_clear(&store->kinds[i]);
	free(store);
}

void store_listen(struct store *store, store_listener listener, void *data)
{
	assert(store->listener_count < LISTENERS_MAX);
	store->listeners[store->listener_count].call = listener;
	store->listeners[store->listener_count].data = data;
	store->listener_count++;
}

static void notify(struct store *store, const struct object *object, bool deleted)
{
	for (size_t i = 0; i < store->listener_count; i++)
		store->listeners[i].call(object, deleted, store->listeners[i].data);
}

static uint32_t hash_of(enum object_kind kind, const char *namespace, const char *name)
{
	return hash_table_hash_of_names(namespace, name) + (uint32_t)kind;
}

static bool is_named(const struct entry *entry, enum object_kind kind, const char *namespace,
		     const char *name)
{
	const struct object *object = entry->item.object;

	return entry->kind == kind && strcmp(object->name, name) == 0 &&
	       strcmp(object->namespace, namespace) == 0;
}

static struct entry *find_entry(const struct store *store, enum object_kind kind,
				const char *namespace, const char *name)
{
	struct hash_table_item *item =
		hash_table_find(&store->entries, hash_of(kind, namespace, name));

	while (item && !is_named((struct entry *)item, kind, namespace, name))
		item = hash_table_find_next(item);
	return (struct entry *)item;
}

static struct origin *find_origin(const struct store *store, const char *name)
{
	struct origin *origin;

	HASH_FIND_STR(store->origins, name, origin);
	return origin;
}

static struct candidate *find_candidate(const struct entry *entry, const struct origin *origin)
{
	struct candidate *candidate = entry->candidates;

	while (candidate && candidate->origin != origin)
		candidate = candidate->next;
	return candidate;
}

/* What an origin gave by this name. */
static struct candidate *find_given(const struct store *store, const char *origin_name,
				    enum object_kind kind, const char *namespace, const char *name)
{
	const struct origin *origin = find_origin(store, origin_name);
	struct entry *entry = origin ? find_entry(store, kind, namespace, name) : NULL;

	return entry ? find_candidate(entry, origin) : NULL;
}

/* The candidate that counts. */
static struct candidate *first_of(const struct entry *entry)
{
	struct candidate *candidate = entry->candidates;

	while (candidate && !candidate->object)
		candidate = candidate->next;
	return candidate;
}

static struct object *counting(const struct entry *entry)
{
	const struct candidate *first = first_of(entry);

	return first ? first->object : NULL;
}

/* NULL: no memory. */
static struct origin *need_origin(struct store *store, const char *name)
{
	struct origin *origin = find_origin(store, name);
	size_t size = strlen(name) + 1;

	if (origin)
		return origin;
	origin = calloc(1, sizeof(*origin) + size);
	if (!origin)
		return NULL;
	memcpy(origin->name, name, size);
	HASH_ADD_KEYPTR(hh, store->origins, origin->name, size - 1, origin);
	if (HASH_ADDED(hh, origin))
		return origin;
	free(origin);
	return NULL;
}

/* An origin that gives nothing, has no problem and is waited for by nobody is forgotten. */
static void drop_idle_origin(struct store *store, struct origin *origin)
{
	if (origin && !origin->candidates && !origin->problem && !origin->list_round &&
	    !origin->expected)
		origin_free(store, origin);
}

static void drop_idle_entry(struct store *store, struct entry *entry)
{
	if (!entry->candidates && !entry->changed)
		entry_free(store, entry);
}

/* The object is its caller's until it is given to the entry. */
static int need_entry(struct store *store, const struct object *object, struct entry **ret)
{
	struct entry *entry = find_entry(store, object->kind, object->namespace, object->name);

	if (entry) {
		*ret = entry;
		return 0;
	}
	if (strlen(object->namespace) + strlen(object->name) > NAMES_MAX)
		return -EINVAL;
	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return -ENOMEM;
	entry->item.object = object;
	entry->kind = object->kind;
	entry->item.place = INDEX_NOWHERE;
	if (hash_table_add(&store->entries, &entry->by_name,
			   hash_of(object->kind, object->namespace, object->name)) < 0) {
		free(entry);
		return -ENOMEM;
	}
	*ret = entry;
	return 0;
}

static void link_candidate(struct candidate *candidate)
{
	struct origin *origin = candidate->origin;
	struct candidate **at = &candidate->entry->candidates;

	while (*at && strcmp((*at)->origin->name, origin->name) < 0)
		at = &(*at)->next;
	candidate->next = *at;
	*at = candidate;
	candidate->previous_of_origin = origin->last;
	if (origin->last)
		origin->last->next_of_origin = candidate;
	else
		origin->candidates = candidate;
	origin->last = candidate;
}

static void unlink_candidate(struct candidate *candidate)
{
	struct candidate **at = &candidate->entry->candidates;

	while (*at != candidate)
		at = &(*at)->next;
	*at = candidate->next;
	if (candidate->next_of_origin)
		candidate->next_of_origin->previous_of_origin = candidate->previous_of_origin;
	else
		candidate->origin->last = candidate->previous_of_origin;
	if (candidate->previous_of_origin)
		candidate->previous_of_origin->next_of_origin = candidate->next_of_origin;
	else
		candidate->origin->candidates = candidate->next_of_origin;
}

/* The origin's place for the object: the one it has, or one without an object. */
static int need_candidate(struct store *store, struct origin *origin, const struct object *object,
			  struct candidate **ret)
{
	struct candidate *candidate;
	struct entry *entry;
	int r = need_entry(store, object, &entry);

	if (r < 0)
		return r;
	candidate = find_candidate(entry, origin);
	if (!candidate) {
		candidate = entry->only.origin ? malloc(sizeof(*candidate)) : &entry->only;
		if (!candidate) {
			drop_idle_entry(store, entry);
			return -ENOMEM;
		}
		*candidate = (struct candidate){.origin = origin, .entry = entry};
		link_candidate(candidate);
	}
	*ret = candidate;
	return 0;
}

/* What was made room for, and then given nothing. */
static void drop_unused(struct store *store, struct candidate *candidate)
{
	struct entry *entry = candidate->entry;

	if (candidate->object)
		return;
	unlink_candidate(candidate);
	candidate_free(candidate);
	drop_idle_entry(store, entry);
}

/* ---------------------------------------------------------------- batches */

void store_batch_begin(struct store *store)
{
	assert(!store->telling);
	store->batches++;
}

/* The entry is about to change. */
static void touch(struct store *store, struct entry *entry)
{
	const struct object *object = counting(entry);

	if (entry->changed)
		return;
	entry->changed = true;
	entry->silent = false;
	entry->reported = object ? object_share(object) : NULL;
	entry->next_changed = NULL;
	if (store->changed)
		store->last_changed->next_changed = entry;
	else
		store->changed = entry;
	store->last_changed = entry;
}

/* Out of the index. Its name stands in what listeners know; if they know nothing of it, it is found
 * no more. */
static void take_out(struct store *store, struct entry *entry)
{
	index_remove(&store->kinds[entry->kind], &entry->item);
	entry->item.object = entry->reported;
	if (!entry->reported)
		hash_table_remove(&store->entries, &entry->by_name);
}

/* The index follows. */
static void place(struct store *store, struct entry *entry)
{
	struct store_index *index = &store->kinds[entry->kind];
	const struct object *object = counting(entry);

	if (object && entry->item.place == INDEX_NOWHERE)
		index_add(index, &entry->item, object);
	else if (object)
		index_set(index, &entry->item, object);
	else if (entry->item.place != INDEX_NOWHERE)
		take_out(store, entry);
}

/* It tells which text an object was read from: it goes with its origin, whichever memory has the
 * content. */
static void swap_versions(struct object *a, struct object *b)
{
	char *version = a->resource_version;

	a->resource_version = b->resource_version;
	b->resource_version = version;
}

/*
 * What counts says the same as what was heard of: then the old memory takes its place, so that
 * nobody who holds a pointer notices. It may be another candidate's by now.
 */
static void keep_memory(struct store *store, struct entry *entry)
{
	struct candidate *first = first_of(entry), *other = entry->candidates;
	struct object *object = first->object;

	swap_versions(object, entry->reported);
	while (other && other->object != entry->reported)
		other = other->next;
	first->object = entry->reported;
	if (other) {
		other->object = object;
	} else {
		object_free(object);
		entry->reported = NULL; /* its share is the candidate's now */
	}
	place(store, entry);
}

static void compare(struct store *store, struct entry *entry)
{
	const struct object *object = counting(entry);

	entry->silent = object == entry->reported;
	if (entry->silent || !object || !entry->reported || !object_equal(entry->reported, object))
		return;
	entry->silent = true;
	keep_memory(store, entry);
}

/* A pod's name is taken by the next one: the object is another one, not the same one changed. */
static bool is_succeeded(const struct entry *entry)
{
	const struct object *object = counting(entry), *heard = entry->reported;

	return !entry->silent && object && heard && object->kind == OBJECT_POD && object->uid[0] &&
	       heard->uid[0] && strcmp(object->uid, heard->uid) != 0;
}

/* What is new before what goes: nothing is missing in between. */
static void notify_listeners(struct store *store)
{
	struct entry *entry, *next;

	store->telling = true;
	for (entry = store->changed; entry; entry = entry->next_changed)
		compare(store, entry);
	for (entry = store->changed; entry; entry = entry->next_changed) {
		if (is_succeeded(entry))
			notify(store, entry->reported, true);
		if (!entry->silent && counting(entry))
			notify(store, counting(entry), false);
	}
	for (entry = store->changed; entry; entry = entry->next_changed)
		if (!entry->silent && !counting(entry))
			notify(store, entry->reported, true);
	store->telling = false;
	for (entry = store->changed; entry; entry = next) {
		next = entry->next_changed;
		object_free(TAKE_PTR(entry->reported));
		entry->changed = false;
		drop_idle_entry(store, entry);
	}
	store->changed = store->last_changed = NULL;
}

void store_batch_end(struct store *store)
{
	assert(store->batches > 0 && !store->telling);
	if (--store->batches == 0)
		notify_listeners(store);
}

/* Takes the object. There is room in the index. In a batch. */
static void put(struct store *store, struct candidate *candidate, struct object *object)
{
	struct object *old = candidate->object;

	candidate->round = store->round;
	if (old && object_equal(old, object)) {
		swap_versions(old, object);
		object_free(object);
		return;
	}
	touch(store, candidate->entry);
	candidate->object = object;
	store->given += !old;
	place(store, candidate->entry);
	object_free(old);
}

/* In a batch. The origin stays. */
static void withdraw(struct store *store, struct candidate *candidate)
{
	struct entry *entry = candidate->entry;

	touch(store, entry);
	unlink_candidate(candidate);
	store->given--;
	place(store, entry);
	object_free(candidate->object);
	candidate_free(candidate);
}

int store_upsert(struct store *store, const char *origin_name, struct object *object)
{
	struct origin *origin = need_origin(store, origin_name);
	struct candidate *candidate = NULL;
	int r = origin ? need_candidate(store, origin, object, &candidate) : -ENOMEM;

	if (r == 0 && candidate->entry->item.place == INDEX_NOWHERE)
		r = index_reserve(&store->kinds[object->kind], 1);
	if (r < 0) {
		if (candidate)
			drop_unused(store, candidate);
		drop_idle_origin(store, origin);
		return r;
	}
	store_batch_begin(store);
	put(store, candidate, object);
	store_batch_end(store);
	return 0;
}

int store_recall(struct store *store, const char *origin_name, struct object *object)
{
	int r;

	if (find_given(store, origin_name, object->kind, object->namespace, object->name))
		return -EEXIST;
	r = store_upsert(store, origin_name, object);
	if (r == 0)
		find_given(store, origin_name, object->kind, object->namespace, object->name)
			->round = 0;
	return r;
}

int store_delete(struct store *store, const char *origin_name, enum object_kind kind,
		 const char *namespace, const char *name)
{
	struct candidate *candidate = find_given(store, origin_name, kind, namespace, name);
	struct origin *origin = candidate ? candidate->origin : NULL;

	if (!candidate)
		return -ENOENT;
	store_batch_begin(store);
	withdraw(store, candidate);
	store_batch_end(store);
	drop_idle_origin(store, origin);
	return 0;
}

/* ---------------------------------------------------------------- all of an origin */

/* All that no round since `round` has named. In a batch. */
static void remove_unlisted(struct store *store, struct origin *origin, uint64_t round)
{
	struct candidate *candidate = origin->candidates, *next;

	for (; candidate; candidate = next) {
		next = candidate->next_of_origin;
		if (candidate->round < round)
			withdraw(store, candidate);
	}
}

int store_list_begin(struct store *store, const char *name)
{
	struct origin *origin = need_origin(store, name);

	if (!origin)
		return -ENOMEM;
	origin->list_round = ++store->round;
	return 0;
}

int store_list_keep(struct store *store, const char *origin, enum object_kind kind,
		    const char *namespace, const char *name)
{
	struct candidate *candidate = find_given(store, origin, kind, namespace, name);

	if (!candidate)
		return -ENOENT;
	candidate->round = store->round;
	return 0;
}

void store_list_end(struct store *store, const char *name)
{
	struct origin *origin = find_origin(store, name);

	assert(origin && origin->list_round);
	store_batch_begin(store);
	remove_unlisted(store, origin, origin->list_round);
	origin->list_round = 0;
	origin->synced = true;
	store_batch_end(store);
	drop_idle_origin(store, origin);
}

void store_list_cancel(struct store *store, const char *name)
{
	struct origin *origin = find_origin(store, name);

	if (!origin)
		return;
	origin->list_round = 0;
	drop_idle_origin(store, origin);
}

/*
 * All memory that the replacement needs, before anything changes: a place for each object of the
 * list, each of which the present round names. `*ret_count`: so many objects have one, also on
 * failure.
 */
static int prepare(struct store *store, struct origin *origin, const struct object_list *list,
		   struct candidate **places, size_t *ret_count)
{
	size_t more[OBJECT_KIND_COUNT] = {0}, i;
	int r = 0;

	for (i = 0; i < list->count && r == 0; i++) {
		r = need_candidate(store, origin, list->objects[i], &places[i]);
		if (r < 0)
			break;
		if (places[i]->round == store->round) {
			r = -EEXIST; /* its author has to say which one counts */
			break;
		}
		places[i]->round = store->round;
		more[list->objects[i]->kind]++;
	}
	*ret_count = i;
	for (size_t kind = 0; kind < OBJECT_KIND_COUNT && r == 0; kind++)
		r = index_reserve(&store->kinds[kind], more[kind]);
	return r;
}

static void forget(struct store *store, const char *name)
{
	struct origin *origin = find_origin(store, name);

	if (!origin)
		return;
	assert(!origin->list_round);
	store_batch_begin(store);
	remove_unlisted(store, origin, UINT64_MAX);
	store_batch_end(store);
	drop_idle_origin(store, origin);
}

int store_replace(struct store *store, const char *name, struct object_list *list)
{
	CLEANUP(cleanup_free) struct candidate **places = NULL;
	struct origin *origin;
	size_t count = 0;
	int r;

	if (list->count == 0) {
		forget(store, name);
		object_list_clear(list);
		return 0;
	}
	places = calloc(list->count, sizeof(*places));
	origin = places ? need_origin(store, name) : NULL;
	assert(!origin || !origin->list_round);
	store->round++;
	r = origin ? prepare(store, origin, list, places, &count) : -ENOMEM;
	if (r < 0) {
		for (size_t i = 0; i < count; i++)
			drop_unused(store, places[i]);
		drop_idle_origin(store, origin);
		return r;
	}
	store_batch_begin(store);
	for (size_t i = 0; i < list->count; i++)
		put(store, places[i], TAKE_PTR(list->objects[i]));
	remove_unlisted(store, origin, store->round);
	store_batch_end(store);
	list->count = 0;
	object_list_clear(list);
	drop_idle_origin(store, origin);
	return 0;
}

int store_expect(struct store *store, const char *source)
{
	struct origin *origin = need_origin(store, source);

	if (!origin)
		return -ENOMEM;
	origin->expected = true;
	origin->synced = false;
	return 0;
}

void store_set_synced(struct store *store, const char *source)
{
	struct origin *origin = find_origin(store, source);

	if (origin)
		origin->synced = true;
}

bool store_synced(const struct store *store)
{
	struct origin *origin, *next;

	HASH_ITER (hh, store->origins, origin, next)
		if (origin->expected && !origin->synced)
			return false;
	return true;
}

/* ---------------------------------------------------------------- reading */

const struct object *store_get(const struct store *store, enum object_kind kind,
			       const char *namespace, const char *name)
{
	const struct entry *entry = find_entry(store, kind, namespace, name);

	return entry ? counting(entry) : NULL;
}

const struct object *store_get_from(const struct store *store, const char *origin,
				    enum object_kind kind, const char *namespace, const char *name)
{
	const struct candidate *candidate = find_given(store, origin, kind, namespace, name);

	return candidate ? candidate->object : NULL;
}

const char *store_origin(const struct store *store, enum object_kind kind, const char *namespace,
			 const char *name)
{
	const struct entry *entry = find_entry(store, kind, namespace, name);
	const struct candidate *first = entry ? first_of(entry) : NULL;

	return first ? first->origin->name : NULL;
}

const struct object *const *store_objects(const struct store *store, enum object_kind kind,
					  size_t *ret_count)
{
	/* Order changes nothing that a caller can see. */
	struct store_index *index = (struct store_index *)&store->kinds[kind];

	*ret_count = index->count;
	return index_objects(index);
}

const struct object *const *store_objects_in(const struct store *store, enum object_kind kind,
					     const char *namespace, size_t *ret_count)
{
	return index_objects_in((struct store_index *)&store->kinds[kind], namespace, ret_count);
}

size_t store_count(const struct store *store, enum object_kind kind)
{
	return store->kinds[kind].count;
}

size_t store_conflict_count(const struct store *store)
{
	size_t count = store->given;

	for (size_t kind = 0; kind < OBJECT_KIND_COUNT; kind++)
		count -= store->kinds[kind].count;
	return count;
}

static void visit_conflicts(const struct entry *entry,
			    void (*visit)(const struct store_conflict *conflict, void *data),
			    void *data)
{
	const struct candidate *first = first_of(entry);

	for (const struct candidate *other = first->next; other; other = other->next) {
		const struct store_conflict conflict = {.object = first->object,
							.origin = first->origin->name,
							.ignored = other->origin->name};

		visit(&conflict, data);
	}
}

void store_conflicts(const struct store *store,
		     void (*visit)(const struct store_conflict *conflict, void *data), void *data)
{
	size_t count;

	if (store_conflict_count(store) == 0)
		return;
	for (enum object_kind kind = 0; kind < OBJECT_KIND_COUNT; kind++) {
		const struct object *const *objects = store_objects(store, kind, &count);

		for (size_t i = 0; i < count; i++)
			visit_conflicts(
				find_entry(store, kind, objects[i]->namespace, objects[i]->name),
				visit, data);
	}
}

int store_set_problem(struct store *store, const char *name, const struct error *error)
{
	struct origin *origin = error ? need_origin(store, name) : find_origin(store, name);
	struct error *copy = error && origin ? malloc(sizeof(*copy)) : NULL;

	if (error && !copy) {
		drop_idle_origin(store, origin);
		return -ENOMEM;
	}
	if (!origin)
		return 0;
	if (copy)
		*copy = *error;
	store->problems += !!copy;
	store->problems -= !!origin->problem;
	free(origin->problem);
	origin->problem = copy;
	drop_idle_origin(store, origin);
	return 0;
}

static int compare_origins(const struct origin *a, const struct origin *b)
{
	return strcmp(a->name, b->name);
}

void store_problems(const struct store *store,
		    void (*visit)(const char *origin, const struct error *error, void *data),
		    void *data)
{
	struct store *sorted =
		(struct store *)store; /* order changes nothing that a caller can see */
	struct origin *origin, *next;

	if (store->problems == 0)
		return;
	HASH_SRT(hh, sorted->origins, compare_origins);
	HASH_ITER (hh, store->origins, origin, next)
		if (origin->problem)
			visit(origin->name, origin->problem, data);
}

size_t store_problem_count(const struct store *store)
{
	return store->problems;
}
