/* SPDX-License-Identifier: Apache-2.0 */
/* Objects by kind, namespace and name; which origin gave them; what origins could not be read. */
#include "agent/store/store.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cleanup.h"
#include "policy/objects/hash.h"
#include "policy/objects/limits.h"

#define LISTENERS_MAX 8

struct origin;

/* One object as one origin gives it. */
struct candidate {
	struct origin *origin;
	struct object *object;
	uint64_t round; /* of the store_replace() that gave it last */
};

/* All objects of one kind, namespace and name, sorted by origin: the first one counts. */
struct entry {
	char *key;
	struct candidate *candidates;
	size_t count;
	UT_hash_handle hh;
};

struct origin {
	char *name;
	struct entry **entries; /* those with a candidate of this origin */
	size_t entry_count;
	struct object_error *problem; /* NULL: none */
	UT_hash_handle hh;
};

/* Entries of a kind in the order of namespace and name; sorted when somebody asks. */
struct index {
	struct entry **entries;
	const struct object **objects; /* what counts of each entry, as readers see it */
	size_t count, size;
	bool sorted;
	bool listed; /* `objects` is as `entries` */
};

/* Longer than what any object may have: a name that does not fit is no object's. */
struct key {
	char text[16 + LIMIT_NAMESPACE + LIMIT_NAME];
};

struct store {
	struct entry *entries;	/* by key */
	struct origin *origins; /* by name */
	struct index kinds[OBJECT_KIND_COUNT];
	struct {
		store_listener call;
		void *data;
	} listeners[LISTENERS_MAX];
	size_t listener_count;
	uint64_t round;
};

struct store *store_new(void)
{
	return calloc(1, sizeof(struct store));
}

static void entry_free(struct store *store, struct entry *entry)
{
	HASH_DEL(store->entries, entry);
	free(entry->candidates);
	free(entry->key);
	free(entry);
}

static void origin_free(struct store *store, struct origin *origin)
{
	HASH_DEL(store->origins, origin);
	free(origin->entries);
	free(origin->problem);
	free(origin->name);
	free(origin);
}

static void free_index(struct index *index)
{
	free(index->entries);
	free(index->objects);
}

void store_free(struct store *store)
{
	struct origin *origin, *next_origin;
	struct entry *entry, *next_entry;

	if (!store)
		return;
	HASH_ITER (hh, store->entries, entry, next_entry) {
		for (size_t i = 0; i < entry->count; i++)
			object_free(entry->candidates[i].object);
		entry_free(store, entry);
	}
	HASH_ITER (hh, store->origins, origin, next_origin)
		origin_free(store, origin);
	for (size_t i = 0; i < OBJECT_KIND_COUNT; i++)
		free_index(&store->kinds[i]);
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

/* The separator sorts before every character that a name may have, so keys sort as namespace and
 * name. False: too long. */
static bool make_key(enum object_kind kind, const char *namespace, const char *name, struct key *ret)
{
	int length = snprintf(ret->text, sizeof(ret->text), "%u\001%s\001%s", kind, namespace, name);

	return length >= 0 && (size_t)length < sizeof(ret->text);
}

static struct entry *find_entry(const struct store *store, enum object_kind kind,
				const char *namespace, const char *name)
{
	struct entry *entry;
	struct key key;

	if (!make_key(kind, namespace, name, &key))
		return NULL;
	HASH_FIND_STR(store->entries, key.text, entry);
	return entry;
}

static struct origin *find_origin(const struct store *store, const char *name)
{
	struct origin *origin;

	HASH_FIND_STR(store->origins, name, origin);
	return origin;
}

static struct origin *need_origin(struct store *store, const char *name)
{
	struct origin *origin = find_origin(store, name);

	if (origin)
		return origin;
	origin = calloc(1, sizeof(*origin));
	if (!origin)
		return NULL;
	origin->name = strdup(name);
	if (!origin->name) {
		free(origin);
		return NULL;
	}
	HASH_ADD_KEYPTR(hh, store->origins, origin->name, strlen(origin->name), origin);
	if (HASH_ADDED(hh, origin))
		return origin;
	free(origin->name);
	free(origin);
	return NULL;
}

/* An origin that gives nothing and has no problem is forgotten. */
static void drop_idle_origin(struct store *store, struct origin *origin)
{
	if (origin && origin->entry_count == 0 && !origin->problem)
		origin_free(store, origin);
}

/* ---------------------------------------------------------------- the sorted index */

static int compare_entries(const void *a, const void *b)
{
	return strcmp((*(struct entry *const *)a)->key, (*(struct entry *const *)b)->key);
}

static void index_sort(struct index *index)
{
	if (index->sorted)
		return;
	if (index->count > 0)
		qsort(index->entries, index->count, sizeof(struct entry *), compare_entries);
	index->sorted = true;
	index->listed = false;
}

static int index_reserve(struct index *index, size_t more)
{
	size_t size = index->size ? index->size : 16;
	const struct object **objects;
	struct entry **entries;

	while (size < index->count + more)
		size *= 2;
	if (size == index->size)
		return 0;
	entries = reallocarray(index->entries, size, sizeof(struct entry *));
	if (!entries)
		return -ENOMEM;
	index->entries = entries;
	objects = reallocarray(index->objects, size, sizeof(struct object *));
	if (!objects)
		return -ENOMEM;
	index->objects = objects;
	index->size = size;
	return 0;
}

static void index_add(struct index *index, struct entry *entry)
{
	index->entries[index->count] = entry;
	index->sorted =
		index->count == 0 ||
		(index->sorted && compare_entries(&index->entries[index->count - 1], &entry) < 0);
	index->count++;
	index->listed = false;
}

static void index_remove(struct index *index, struct entry *entry)
{
	struct entry **found;

	index_sort(index);
	found = bsearch(&entry, index->entries, index->count, sizeof(struct entry *),
			compare_entries);
	assert(found);
	index->listed = false;
	index->count--;
	memmove(found, found + 1,
		(size_t)(index->entries + index->count - found) * sizeof(struct entry *));
}

/* ---------------------------------------------------------------- replacing what an origin gives
 */

static struct candidate *find_candidate(const struct entry *entry, const struct origin *origin)
{
	for (size_t i = 0; i < entry->count; i++) {
		if (entry->candidates[i].origin == origin)
			return &entry->candidates[i];
	}
	return NULL;
}

/* Makes the entry of a key with room for one candidate more. NULL: no memory. An entry without
 * candidates is nothing to a reader. */
static struct entry *need_entry(struct store *store, const struct object *object)
{
	struct entry *entry = find_entry(store, object->kind, object->namespace, object->name);
	struct candidate *larger;
	struct key key;

	if (!entry) {
		entry = make_key(object->kind, object->namespace, object->name, &key)
				? calloc(1, sizeof(*entry))
				: NULL;
		if (!entry)
			return NULL;
		entry->key = strdup(key.text);
		if (!entry->key) {
			free(entry);
			return NULL;
		}
		HASH_ADD_KEYPTR(hh, store->entries, entry->key, strlen(entry->key), entry);
		if (!HASH_ADDED(hh, entry)) {
			free(entry->key);
			free(entry);
			return NULL;
		}
	}
	larger = reallocarray(entry->candidates, entry->count + 1, sizeof(*larger));
	if (!larger)
		return NULL;
	entry->candidates = larger;
	return entry;
}

static void drop_empty_entries(struct store *store, struct entry **entries, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (entries[i] && entries[i]->count == 0)
			entry_free(store, entries[i]);
	}
}

static int compare_pointers(const void *a, const void *b)
{
	const struct entry *x = *(struct entry *const *)a, *y = *(struct entry *const *)b;

	return x < y ? -1 : x > y;
}

/* The same name twice in one list: which one would count is for its author to say. */
static bool has_duplicates(struct entry *const *entries, size_t count, bool *ret_no_memory)
{
	CLEANUP(cleanup_free) struct entry **sorted = calloc(count + 1, sizeof(*sorted));

	*ret_no_memory = !sorted;
	if (!sorted)
		return false;
	memcpy(sorted, entries, count * sizeof(*sorted));
	qsort(sorted, count, sizeof(*sorted), compare_pointers);
	for (size_t i = 1; i < count; i++) {
		if (sorted[i - 1] == sorted[i])
			return true;
	}
	return false;
}

/*
 * All memory that the replacement needs, before anything changes. The array has an entry for each
 * object of the list and room for nothing else; it becomes the origin's.
 */
static int prepare(struct store *store, const struct object_list *list, struct entry ***ret)
{
	size_t wanted[OBJECT_KIND_COUNT] = {0};
	struct entry **entries = calloc(list->count + 1, sizeof(*entries));
	bool no_memory = !entries;
	int r = -ENOMEM;

	for (size_t i = 0; i < list->count && !no_memory; i++) {
		entries[i] = need_entry(store, list->objects[i]);
		no_memory = !entries[i];
		wanted[list->objects[i]->kind]++;
	}
	for (size_t kind = 0; kind < OBJECT_KIND_COUNT && !no_memory; kind++)
		no_memory = index_reserve(&store->kinds[kind], wanted[kind]) < 0;
	if (!no_memory && has_duplicates(entries, list->count, &no_memory))
		r = -EEXIST;
	else if (!no_memory)
		r = 0;
	if (r < 0) {
		CLEANUP(cleanup_free) struct entry **unique = entries;
		size_t count = 0;

		/* An entry that stands twice must be freed once. */
		for (size_t i = 0; entries && i < list->count && entries[i]; i++)
			count++;
		if (count > 0)
			qsort(entries, count, sizeof(*entries), compare_pointers);
		for (size_t i = 1; i < count; i++) {
			if (entries[i] == entries[i - 1])
				entries[i - 1] = NULL;
		}
		drop_empty_entries(store, unique, count);
		return r;
	}
	*ret = entries;
	return 0;
}

/* Room was made by need_entry(). */
static void insert_candidate(struct entry *entry, const struct candidate *candidate)
{
	size_t place = 0;

	while (place < entry->count &&
	       strcmp(entry->candidates[place].origin->name, candidate->origin->name) < 0)
		place++;
	memmove(entry->candidates + place + 1, entry->candidates + place,
		(entry->count - place) * sizeof(*candidate));
	entry->candidates[place] = *candidate;
	entry->count++;
}

/*
 * What counts may have moved from `before` (NULL: nothing did) to another candidate. Where both say
 * the same, the first one's place is taken by the old memory, so that nobody who holds a pointer
 * notices. `keep` holds `before` when no candidate does any more; it is freed here.
 */
static void settle(struct store *store, struct entry *entry, const struct object *before,
		   struct object *keep)
{
	struct object *now = entry->candidates[0].object;

	if (now != before) {
		store->kinds[now->kind].listed = false;
		if (before && object_equal(before, now)) {
			struct object *old = keep;

			for (size_t i = 1; i < entry->count && !old; i++) {
				if (entry->candidates[i].object == before) {
					old = entry->candidates[i].object;
					entry->candidates[i].object = now;
					now = NULL;
				}
			}
			entry->candidates[0].object = old;
			object_free(now);
			return;
		}
		notify(store, now, false);
	}
	object_free(keep);
}

/* Takes `object`. */
static void put(struct store *store, struct entry *entry, struct origin *origin,
		struct object *object)
{
	const struct object *before = entry->count > 0 ? entry->candidates[0].object : NULL;
	struct candidate *candidate = find_candidate(entry, origin);
	struct object *old = NULL;

	if (candidate) {
		candidate->round = store->round;
		if (object_equal(candidate->object, object)) {
			object_free(object);
			return;
		}
		old = candidate->object;
		candidate->object = object;
	} else {
		insert_candidate(entry, &(struct candidate){origin, object, store->round});
		if (entry->count == 1)
			index_add(&store->kinds[object->kind], entry);
	}
	settle(store, entry, before, old);
}

/* Takes the origin's object out of the entry, which may cease to exist. */
static void withdraw(struct store *store, struct entry *entry, struct origin *origin)
{
	struct candidate *candidate = find_candidate(entry, origin);
	const struct object *before = entry->candidates[0].object;
	struct object *object = candidate->object;

	entry->count--;
	memmove(candidate, candidate + 1,
		(size_t)(entry->candidates + entry->count - candidate) * sizeof(*candidate));
	if (entry->count > 0) {
		settle(store, entry, before, object);
		return;
	}
	index_remove(&store->kinds[object->kind], entry);
	entry_free(store, entry);
	notify(store, object, true);
	object_free(object);
}

int store_replace(struct store *store, const char *origin_name, struct object_list *list)
{
	struct origin *origin = need_origin(store, origin_name);
	struct entry **entries, **old;
	size_t old_count;
	int r;

	if (!origin)
		return -ENOMEM;
	r = prepare(store, list, &entries);
	if (r < 0) {
		drop_idle_origin(store, origin);
		return r;
	}
	old = origin->entries;
	old_count = origin->entry_count;
	origin->entries = entries;
	origin->entry_count = list->count;

	/* What is new before what goes: nothing is missing in between. */
	store->round++;
	for (size_t i = 0; i < list->count; i++)
		put(store, entries[i], origin, TAKE_PTR(list->objects[i]));
	for (size_t i = 0; i < old_count; i++) {
		if (find_candidate(old[i], origin)->round != store->round)
			withdraw(store, old[i], origin);
	}
	free(old);
	list->count = 0;
	object_list_clear(list);
	drop_idle_origin(store, origin);
	return 0;
}

/* ---------------------------------------------------------------- questions */

const struct object *store_get(const struct store *store, enum object_kind kind,
			       const char *namespace, const char *name)
{
	const struct entry *entry = find_entry(store, kind, namespace, name);

	return entry && entry->count > 0 ? entry->candidates[0].object : NULL;
}

const char *store_origin(const struct store *store, enum object_kind kind, const char *namespace,
			 const char *name)
{
	const struct entry *entry = find_entry(store, kind, namespace, name);

	return entry && entry->count > 0 ? entry->candidates[0].origin->name : NULL;
}

const struct object *const *store_objects(const struct store *store, enum object_kind kind,
					  size_t *ret_count)
{
	static const struct object *const none[1];
	/* Sorting changes nothing that a caller can see. */
	struct index *index = (struct index *)&store->kinds[kind];

	*ret_count = index->count;
	if (index->count == 0)
		return none;
	index_sort(index);
	for (size_t i = 0; i < index->count && !index->listed; i++)
		index->objects[i] = index->entries[i]->candidates[0].object;
	index->listed = true;
	return index->objects;
}

/* The first object whose namespace is this one (`after`: comes after it), or the end. */
static size_t find_namespace(const struct object *const *objects, size_t count,
			     const char *namespace, bool after)
{
	size_t first = 0;

	while (count > 0) {
		size_t half = count / 2;
		int order = strcmp(objects[first + half]->namespace, namespace);

		if (order < 0 || (order == 0 && after)) {
			first += half + 1;
			count -= half + 1;
		} else {
			count = half;
		}
	}
	return first;
}

const struct object *const *store_objects_in(const struct store *store, enum object_kind kind,
					     const char *namespace, size_t *ret_count)
{
	size_t count, first;
	const struct object *const *objects = store_objects(store, kind, &count);

	first = find_namespace(objects, count, namespace, false);
	*ret_count = find_namespace(objects, count, namespace, true) - first;
	return objects + first;
}

size_t store_count(const struct store *store, enum object_kind kind)
{
	return store->kinds[kind].count;
}

size_t store_conflicts(const struct store *store, struct store_conflict **ret)
{
	struct store_conflict *conflicts;
	size_t count = 0;

	for (size_t kind = 0; kind < OBJECT_KIND_COUNT; kind++) {
		for (size_t i = 0; i < store->kinds[kind].count; i++)
			count += store->kinds[kind].entries[i]->count - 1;
	}
	conflicts = calloc(count + 1, sizeof(*conflicts));
	*ret = conflicts;
	if (!conflicts)
		return 0;
	count = 0;
	for (size_t kind = 0; kind < OBJECT_KIND_COUNT; kind++) {
		index_sort((struct index *)&store->kinds[kind]);
		for (size_t i = 0; i < store->kinds[kind].count; i++) {
			const struct entry *entry = store->kinds[kind].entries[i];

			for (size_t j = 1; j < entry->count; j++)
				conflicts[count++] = (struct store_conflict){
					.object = entry->candidates[0].object,
					.origin = entry->candidates[0].origin->name,
					.ignored = entry->candidates[j].origin->name,
				};
		}
	}
	return count;
}

/* ---------------------------------------------------------------- problems */

int store_set_problem(struct store *store, const char *name, const struct object_error *error)
{
	struct origin *origin = error ? need_origin(store, name) : find_origin(store, name);
	struct object_error *copy;

	if (!error) {
		if (origin) {
			free(TAKE_PTR(origin->problem));
			drop_idle_origin(store, origin);
		}
		return 0;
	}
	if (!origin)
		return -ENOMEM;
	copy = malloc(sizeof(*copy));
	if (!copy) {
		drop_idle_origin(store, origin);
		return -ENOMEM;
	}
	*copy = *error;
	free(origin->problem);
	origin->problem = copy;
	return 0;
}

static int compare_problems(const void *a, const void *b)
{
	return strcmp(((const struct store_problem *)a)->origin,
		      ((const struct store_problem *)b)->origin);
}

size_t store_problems(const struct store *store, struct store_problem **ret)
{
	struct store_problem *problems;
	struct origin *origin, *next;
	size_t count = 0;

	HASH_ITER (hh, store->origins, origin, next)
		count += origin->problem != NULL;
	problems = calloc(count + 1, sizeof(*problems));
	*ret = problems;
	if (!problems)
		return 0;
	count = 0;
	HASH_ITER (hh, store->origins, origin, next) {
		if (origin->problem)
			problems[count++] = (struct store_problem){origin->name, *origin->problem};
	}
	qsort(problems, count, sizeof(*problems), compare_problems);
	return count;
}
