/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/node/prefix_index.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/address.h"

#define SIZE_LEAST 16

/* The place of the first item that does not stand before `prefix`. */
static size_t place_of(const struct prefix_index *index, const struct prefix *prefix)
{
	size_t low = 0, high = index->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (prefix_compare(index->items[middle], prefix) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int make_room(struct prefix_index *index)
{
	const struct prefix **grown;
	size_t size = index->size ? index->size * 2 : SIZE_LEAST;

	if (index->count < index->size)
		return 0;
	grown = reallocarray(index->items, size, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	index->items = grown;
	index->size = size;
	return 0;
}

int prefix_index_add(struct prefix_index *index, const struct prefix *item)
{
	size_t place = place_of(index, item);
	int r = make_room(index);

	if (r < 0)
		return r;
	memmove(index->items + place + 1, index->items + place,
		(index->count - place) * sizeof(*index->items));
	index->items[place] = item;
	index->count++;
	index->lengths[item->length]++;
	return 0;
}

void prefix_index_remove(struct prefix_index *index, const struct prefix *item)
{
	size_t place = place_of(index, item);

	assert(place < index->count && index->items[place] == item);
	index->count--;
	index->lengths[item->length]--;
	memmove(index->items + place, index->items + place + 1,
		(index->count - place) * sizeof(*index->items));
}

const struct prefix *prefix_index_find(const struct prefix_index *index,
				       const struct prefix *prefix)
{
	size_t place = place_of(index, prefix);

	if (place == index->count || prefix_compare(index->items[place], prefix) != 0)
		return NULL;
	return index->items[place];
}

const struct prefix *prefix_index_inside(const struct prefix_index *index,
					 const struct prefix *prefix, const struct prefix *item)
{
	size_t place = place_of(index, item ? item : prefix);

	/* What lies inside a range stands directly behind it. */
	if (place < index->count && prefix_compare(index->items[place], item ? item : prefix) == 0)
		place++;
	if (place == index->count ||
	    !prefix_covers(prefix, &index->items[place]->addr, index->items[place]->length))
		return NULL;
	return index->items[place];
}

const struct prefix *prefix_index_around(const struct prefix_index *index,
					 const struct prefix *prefix, const struct prefix *item)
{
	unsigned int length = item ? item->length : prefix->length;
	const struct prefix *found;

	while (length-- > 0) {
		struct prefix outer = {.addr = prefix->addr, .length = (uint8_t)length};

		if (!index->lengths[length])
			continue;
		prefix_clear_host_bits(&outer);
		found = prefix_index_find(index, &outer);
		if (found)
			return found;
	}
	return NULL;
}

void prefix_index_clear(struct prefix_index *index)
{
	free(index->items);
	*index = (struct prefix_index){};
}
