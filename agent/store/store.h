/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All objects of all sources. The unit of change is one object of one origin; who listens hears of
 * what counts. Nothing that reads needs memory, and neither does a deletion: an answer that there
 * is nothing means that there is nothing.
 *
 * An origin is a place that objects come from, by name: a file, or one list of an API server. When
 * several origins have an object of the same kind, namespace and name, the first of them by name
 * (strcmp) counts, and store_conflicts() tells.
 */
#pragma once

#include "policy/objects/objects.h"

struct store;

/*
 * Called at each change of content (never for an equal object), before store_*() returns, or at the
 * end of a batch. `object` is the new one; for a deletion the old one (deleted true), freed after
 * the call. A pod's object whose uid is another one's is heard of as a deletion and an addition.
 * What another object has replaced is freed when all listeners have heard of the whole
 * change. A listener must not change the store.
 */
typedef void (*store_listener)(const struct object *object, bool deleted, void *data);

struct store *store_new(void);
void store_free(struct store *store);
void store_listen(struct store *store, store_listener listener, void *data);

/* ---------------------------------------------------------------- one object */

/*
 * Puts an object in the place of what the origin had by its kind, namespace and name. Takes it, on
 * success only. An equal one leaves the one that is there where it is, and nobody hears; its
 * resourceVersion is taken over. 0, -ENOMEM, -EINVAL (a longer namespace or name than an object can
 * have): then nothing has changed. It cannot fail where the origin has such an object already.
 */
int store_upsert(struct store *store, const char *origin, struct object *object);
/*
 * The same for an object of before, as long as the origin has none of its name: -EEXIST. No list
 * counts it as named.
 */
int store_recall(struct store *store, const char *origin, struct object *object);
/* Needs no memory. -ENOENT: the origin has no such object. */
int store_delete(struct store *store, const char *origin, enum object_kind kind,
		 const char *namespace, const char *name);

/*
 * A batch: listeners hear at the end of the outermost one what has changed since its begin, once
 * for each object, additions and changes before deletions. What was deleted and put again is
 * changed, or equal, and what came and went they never hear of. Readers see each change at once;
 * what listeners knew stays in memory until the end. Both need no memory.
 */
void store_batch_begin(struct store *store);
void store_batch_end(struct store *store);

/* ---------------------------------------------------------------- all of an origin */

/*
 * All that an origin has, by mark and sweep: store_list_begin(), store_upsert() or
 * store_list_keep() for each object, store_list_end(), which deletes what was not named and counts
 * the origin as synced. In between other changes may come, of this origin too: they count as named.
 * store_list_begin() again begins anew. -ENOMEM.
 */
int store_list_begin(struct store *store, const char *origin);
/* An object that was not decoded again (its resourceVersion is the same) or could not be (the last
 * good one stays). -ENOENT. */
int store_list_keep(struct store *store, const char *origin, enum object_kind kind,
		    const char *namespace, const char *name);
void store_list_end(struct store *store, const char *origin);
/* The list broke off: nothing is deleted. */
void store_list_cancel(struct store *store, const char *origin);

/*
 * All or nothing: replaces all that this origin gave by `list`, taking its objects (`list` is empty
 * then); an empty list deletes them (and needs no memory). 0, -EEXIST (the list has a kind,
 * namespace and name twice), -ENOMEM or -EINVAL; then nothing has changed and the list is still the
 * caller's. A batch of its own. Not while a list of this origin is on its way.
 */
int store_replace(struct store *store, const char *origin, struct object_list *list);

/*
 * What the store waits for: until each of these names has been synced, by store_set_synced() or
 * store_list_end(), the store does not hold all there is. `source` is an origin, or the name of
 * several (a directory). 0 or -ENOMEM.
 */
int store_expect(struct store *store, const char *source);
/* One that nobody expects is none of the store's business. */
void store_set_synced(struct store *store, const char *source);
/* All that are expected; true also if none is. */
bool store_synced(const struct store *store);

/* The last refusal of an origin (a file that could not be read); NULL clears it. Kept apart from
 * its objects. 0 or -ENOMEM. */
int store_set_problem(struct store *store, const char *origin, const struct error *error);

/* ---------------------------------------------------------------- reading */

const struct object *store_get(const struct store *store, enum object_kind kind,
			       const char *namespace, const char *name);
/* What this origin gave, whether it counts or not; NULL: nothing. For its uid and resourceVersion.
 */
const struct object *store_get_from(const struct store *store, const char *origin,
				    enum object_kind kind, const char *namespace, const char *name);
/* The origin whose object of this name counts, or NULL. The string belongs to the store. */
const char *store_origin(const struct store *store, enum object_kind kind, const char *namespace,
			 const char *name);
/*
 * Objects of a kind in the order of namespace and name. Array and objects belong to the store and
 * are valid until it changes. Nothing is allocated: no objects means that there are none. Not NULL.
 */
const struct object *const *store_objects(const struct store *store, enum object_kind kind,
					  size_t *ret_count);
/* The same, of one namespace alone. */
const struct object *const *store_objects_in(const struct store *store, enum object_kind kind,
					     const char *namespace, size_t *ret_count);
size_t store_count(const struct store *store, enum object_kind kind);

/* An object that does not count because another origin gives it too. */
struct store_conflict {
	const struct object *object; /* the one that counts */
	const char *origin;	     /* that gave it */
	const char *ignored;	     /* the origin whose object does not count */
};
/* One call for each, in the order of kind, namespace, name and ignored origin. */
void store_conflicts(const struct store *store,
		     void (*visit)(const struct store_conflict *conflict, void *data), void *data);
size_t store_conflict_count(const struct store *store);

/* One call for each origin that has a problem, in the order of their names. */
void store_problems(const struct store *store,
		    void (*visit)(const char *origin, const struct error *error, void *data),
		    void *data);
size_t store_problem_count(const struct store *store);
