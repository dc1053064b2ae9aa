/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/common/table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SIZE_MIN 16

uint64_t table_hash_bytes(const void *bytes, size_t length)
{
	uint64_t hash = length, word;

	for (size_t i = 0; i < length; i += sizeof(word)) {
		size_t left = length - i;

		word = 0;
		memcpy(&word, (const char *)bytes + i, left < sizeof(word) ? left : sizeof(word));
		hash = (hash ^ word) * 0x9e3779b97f4a7c15ull;
		hash ^= hash >> 32;
	}
	return hash;
}

void *table_find(const struct table *t, uint64_t hash, table_is is, const void *key)
{
	size_t mask = t->size - 1;

	if (!t->count)
		return NULL;
	for (size_t place = hash & mask; t->items[place]; place = (place + 1) & mask)
		if (is(t->items[place], key))
			return t->items[place];
	return NULL;
}

static void put(void **items, size_t size, void *item, uint64_t hash)
{
	size_t place = hash & (size - 1);

	while (items[place])
		place = (place + 1) & (size - 1);
	items[place] = item;
}

static int grow(struct table *t, table_hash hash_of)
{
	size_t size = t->size ? 2 * t->size : SIZE_MIN;
	void **items = calloc(size, sizeof(*items));

	if (!items)
		return -ENOMEM;
	for (size_t i = 0; i < t->size; i++)
		if (t->items[i])
			put(items, size, t->items[i], hash_of(t->items[i]));
	free(t->items);
	t->items = items;
	t->size = size;
	return 0;
}

int table_add(struct table *t, void *item, table_hash hash_of)
{
	if (2 * (t->count + 1) > t->size && grow(t, hash_of) < 0)
		return -ENOMEM;
	put(t->items, t->size, item, hash_of(item));
	t->count++;
	return 0;
}

/* Those behind it that would not be found over the hole move up. */
void table_remove(struct table *t, const void *item, table_hash hash_of)
{
	size_t mask = t->size - 1, hole, place;

	for (hole = hash_of(item) & mask; t->items[hole] != item; hole = (hole + 1) & mask)
		;
	t->items[hole] = NULL;
	t->count--;
	for (place = (hole + 1) & mask; t->items[place]; place = (place + 1) & mask) {
		size_t home = hash_of(t->items[place]) & mask;

		if (((place - home) & mask) < ((place - hole) & mask))
			continue;
		t->items[hole] = t->items[place];
		t->items[place] = NULL;
		hole = place;
	}
}

void table_clear(struct table *t)
{
	free(t->items);
	*t = (struct table){};
}

void *table_next(const struct table *t, size_t *at)
{
	while (*at < t->size) {
		void *item = t->items[(*at)++];

		if (item)
			return item;
	}
	return NULL;
}
