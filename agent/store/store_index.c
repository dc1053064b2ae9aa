/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/store/store_index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SIZE_MIN 16

static int compare_objects(const struct object *a, const struct object *b)
{
	int order = strcmp(a->namespace, b->namespace);

	return order ? order : strcmp(a->name, b->name);
}

static int compare_items(const void *a, const void *b)
{
	const struct index_item *x = *(struct index_item *const *)a;
	const struct index_item *y = *(struct index_item *const *)b;

	return compare_objects(x->object, y->object);
}

static size_t take_holes_out(struct index_item **items, size_t count, size_t *ret_first)
{
	size_t kept = 0;

	while (kept < count && items[kept])
		kept++;
	*ret_first = kept;
	for (size_t i = kept; i < count; i++)
		if (items[i])
			items[kept++] = items[i];
	return kept;
}

/* How many of the items come before the object. */
static size_t count_before(struct index_item *const *items, size_t count,
			   const struct object *object)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (compare_objects(items[middle]->object, object) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/*
 * What was added moves behind the end, is sorted there and put between the others from behind, so
 * that each of them moves once. index_reserve() keeps room for that.
 */
static void put_in_order(struct store_index *index)
{
	struct index_item **added = index->items + index->used;
	size_t first, none, before, sorted = index->sorted, more = index->used - index->sorted;

	if (index->count == index->used && more == 0)
		return;
	if (more)
		memcpy(added, index->items + sorted, more * sizeof(struct index_item *));
	more = take_holes_out(added, more, &none);
	sorted = take_holes_out(index->items, sorted, &first);
	if (more > 1)
		qsort(added, more, sizeof(struct index_item *), compare_items);
	for (size_t i = more; i > 0; i--) {
		before = count_before(index->items, sorted, added[i - 1]->object);
		memmove(index->items + before + i, index->items + before,
			(sorted - before) * sizeof(struct index_item *));
		index->items[before + i - 1] = added[i - 1];
		sorted = before;
		first = before < first ? before : first;
	}
	for (size_t i = first; i < index->count; i++) {
		index->items[i]->place = i;
		index->objects[i] = index->items[i]->object;
	}
	index->used = index->sorted = index->count;
}

int index_reserve(struct store_index *index, size_t more)
{
	size_t size = index->size ? index->size : SIZE_MIN;
	const struct object **objects;
	struct index_item **items;

	/* Many holes are room as well. */
	if (index->used > 2 * index->count)
		put_in_order(index);
	while (size < index->used + more + (index->used - index->sorted + more))
		size *= 2;
	if (size == index->size)
		return 0;
	items = reallocarray(index->items, size, sizeof(struct index_item *));
	if (!items)
		return -ENOMEM;
	index->items = items;
	objects = reallocarray(index->objects, size, sizeof(struct object *));
	if (!objects)
		return -ENOMEM;
	index->objects = objects;
	index->size = size;
	return 0;
}

void index_add(struct store_index *index, struct index_item *item, const struct object *object)
{
	size_t place = index->used++;

	index->count++;
	item->object = object;
	item->place = place;
	index->items[place] = item;
	index->objects[place] = object;
	if (index->sorted == place &&
	    (place == 0 || (index->items[place - 1] &&
			    compare_objects(index->items[place - 1]->object, object) < 0)))
		index->sorted++;
}

void index_set(struct store_index *index, struct index_item *item, const struct object *object)
{
	item->object = object;
	index->objects[item->place] = object;
}

void index_remove(struct store_index *index, struct index_item *item)
{
	size_t place = item->place;

	index->items[place] = NULL;
	index->objects[place] = NULL;
	index->count--;
	if (place + 1 == index->used)
		index->used--;
	if (index->sorted > index->used)
		index->sorted = index->used;
	*item = (struct index_item){.place = INDEX_NOWHERE};
}

const struct object *const *index_objects(struct store_index *index)
{
	static const struct object *const none[1];

	if (index->count == 0)
		return none;
	put_in_order(index);
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

const struct object *const *index_objects_in(struct store_index *index, const char *namespace,
					     size_t *ret_count)
{
	const struct object *const *objects = index_objects(index);
	size_t first = find_namespace(objects, index->count, namespace, false);

	*ret_count = find_namespace(objects, index->count, namespace, true) - first;
	return objects + first;
}

void index_clear(struct store_index *index)
{
	free(index->items);
	free(index->objects);
	*index = (struct store_index){};
}
