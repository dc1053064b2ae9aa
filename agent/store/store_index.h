/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects of one kind in the order of namespace and name, as one array. An addition goes behind the
 * sorted part and a removal leaves a hole; the array is put in order when somebody reads it, which
 * allocates nothing.
 */
#pragma once

#include "policy/objects/objects.h"

#define INDEX_NOWHERE SIZE_MAX

/* Part of what its owner keeps of an object; stays where it is in memory. */
struct index_item {
	const struct object *object;
	size_t place; /* INDEX_NOWHERE: in no index */
};

struct store_index {
	struct index_item **items;     /* NULL: a hole */
	const struct object **objects; /* the items', as readers see them */
	size_t used, sorted; /* places, holes included; how many of the first are in order */
	size_t count;	     /* items */
	size_t size;
};

/* Room for so many more index_add(). 0 or -ENOMEM. */
int index_reserve(struct store_index *index, size_t more);
/* There is room, see index_reserve(). */
void index_add(struct store_index *index, struct index_item *item, const struct object *object);
/* Another object of the same name. */
void index_set(struct store_index *index, struct index_item *item, const struct object *object);
void index_remove(struct store_index *index, struct index_item *item);
/* index->count objects in order. Valid until the next change. Not NULL. */
const struct object *const *index_objects(struct store_index *index);
/* Those of one namespace. */
const struct object *const *index_objects_in(struct store_index *index, const char *namespace,
					     size_t *ret_count);
void index_clear(struct store_index *index);
