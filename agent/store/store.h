/* SPDX-License-Identifier: Apache-2.0 */
/* All objects of all sources, and what changed since the last pass. */
#pragma once

#include "policy/objects/objects.h"

struct store;

/*
 * Called at each change of content (never for an equal object), before store_*() returns. `object` is the new one; for a
 * deletion the old one (deleted true), freed after the call.
 */
typedef void (*store_listener)(const struct object *object, bool deleted, void *data);

struct store *store_new(void);
void store_free(struct store *store);
void store_listen(struct store *store, store_listener listener, void *data);

/*
 * `origin` names the place an object comes from (a file's name, "api"). Replaces all that this origin gave by `list`, taking
 * its objects (`list` is empty then); an empty list deletes them. 0, -EEXIST (the list has a kind, namespace and name twice) or -ENOMEM; then
 * nothing has changed and the list is still the caller's. Listeners hear of additions and changes before deletions. When two origins hold the same kind, namespace and name, the first one by name (strcmp) counts and
 * store_conflicts() tells.
 */
int store_replace(struct store *store, const char *origin, struct object_list *list);

/* The last refusal of an origin (a file that could not be read); NULL clears it. Kept apart from its objects. */
int store_set_problem(struct store *store, const char *origin, const struct object_error *error);

const struct object *store_get(const struct store *store, enum object_kind kind,
			       const char *namespace, const char *name);
/* The origin whose object of this name counts, or NULL. The string belongs to the store. */
const char *store_origin(const struct store *store, enum object_kind kind, const char *namespace, const char *name);
/*
 * Objects of a kind in the order of namespace and name. Array and objects belong to the store and are valid until it changes. Nothing is
 * allocated: no objects means that there are none. Not NULL.
 */
const struct object *const *store_objects(const struct store *store, enum object_kind kind, size_t *ret_count);
/* The same, of one namespace alone. */
const struct object *const *store_objects_in(const struct store *store, enum object_kind kind, const char *namespace,
					     size_t *ret_count);
size_t store_count(const struct store *store, enum object_kind kind);

/* One line for each object that does not count because another origin gives it too. */
struct store_conflict {
	const struct object *object; /* the one that counts */
	const char *origin;          /* that gave it */
	const char *ignored;         /* the origin whose object does not count */
};
/* The array belongs to the caller (free()); the strings to the store. */
size_t store_conflicts(const struct store *store, struct store_conflict **ret);

struct store_problem {
	const char *origin;
	struct object_error error;
};
/* The array belongs to the caller (free()). */
size_t store_problems(const struct store *store, struct store_problem **ret);
