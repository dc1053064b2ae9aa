/* SPDX-License-Identifier: Apache-2.0 */
/*
 * There may be several 100,000 elements, so each takes little more than its key and value: they
 * stand in pieces of memory of CHUNK elements, which stay where they are, and a table of their
 * numbers by hash finds them, by open addressing.
 */
#include "agent/kernel/map_cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK	  128
#define TABLE_MIN 64

struct element {
	uint32_t hash;
	bool present, wanted, owed;
	_Alignas(8) char bytes[]; /* key, then value at value_at; of one that is free the next free
				     one's number */
};

struct map_cache {
	struct maps *maps;
	enum map_index index;
	uint32_t key_size, value_size, value_at, max_entries;
	char **chunks;
	size_t chunk_count, chunk_room;
	uint32_t *table;     /* numbers + 1; 0: nothing. Never more than half full */
	uint32_t table_size; /* a power of two */
	uint32_t used;	     /* numbers that were ever given out */
	uint32_t free;	     /* number + 1 of the first free one below `used` */
	uint32_t count;
	uint32_t owed; /* elements that have been deleted, but not in the map */
};

static size_t element_size(const struct map_cache *s)
{
	return sizeof(struct element) + s->value_at + ((s->value_size + 7) & ~7u);
}

static struct element *element_at(const struct map_cache *s, uint32_t number)
{
	return (struct element *)(s->chunks[number / CHUNK] + number % CHUNK * element_size(s));
}

static uint32_t hash_of(const struct map_cache *s, const void *key)
{
	uint64_t hash = s->key_size, word;

	for (uint32_t i = 0; i < s->key_size; i += sizeof(word)) {
		uint32_t left = s->key_size - i;

		word = 0;
		memcpy(&word, (const char *)key + i, left < sizeof(word) ? left : sizeof(word));
		hash = (hash ^ word) * 0x9e3779b97f4a7c15ull;
		hash ^= hash >> 32;
	}
	return (uint32_t)hash;
}

/* The place in the table of the key, or the empty one where it belongs. There is a table. */
static uint32_t place_of(const struct map_cache *s, const void *key, uint32_t hash)
{
	uint32_t mask = s->table_size - 1, place = hash & mask;

	for (; s->table[place]; place = (place + 1) & mask) {
		const struct element *e = element_at(s, s->table[place] - 1);

		if (e->hash == hash && memcmp(e->bytes, key, s->key_size) == 0)
			break;
	}
	return place;
}

static struct element *find(const struct map_cache *s, const void *key)
{
	uint32_t place;

	if (!s->count)
		return NULL;
	place = place_of(s, key, hash_of(s, key));
	return s->table[place] ? element_at(s, s->table[place] - 1) : NULL;
}

static int reserve_table(struct map_cache *s)
{
	uint32_t size = s->table_size ? 2 * s->table_size : TABLE_MIN, place;
	uint32_t *table;

	if (2 * (s->count + 1) <= s->table_size)
		return 0;
	table = calloc(size, sizeof(*table));
	if (!table)
		return -ENOMEM;
	for (uint32_t i = 0; i < s->used; i++) {
		const struct element *e = element_at(s, i);

		if (!e->present)
			continue;
		for (place = e->hash & (size - 1); table[place]; place = (place + 1) & (size - 1))
			;
		table[place] = i + 1;
	}
	free(s->table);
	s->table = table;
	s->table_size = size;
	return 0;
}

static int reserve_chunk(struct map_cache *s)
{
	size_t room = s->chunk_room ? 2 * s->chunk_room : 8;
	char **chunks;

	if (s->free || s->used < s->chunk_count * CHUNK)
		return 0;
	if (s->chunk_count == s->chunk_room) {
		chunks = reallocarray(s->chunks, room, sizeof(*chunks));
		if (!chunks)
			return -ENOMEM;
		s->chunks = chunks;
		s->chunk_room = room;
	}
	s->chunks[s->chunk_count] = malloc(CHUNK * element_size(s));
	if (!s->chunks[s->chunk_count])
		return -ENOMEM;
	s->chunk_count++;
	return 0;
}

/* A key that is not there. NULL: no memory. */
static struct element *element_add(struct map_cache *s, const void *key, const void *value)
{
	uint32_t number, hash = hash_of(s, key);
	struct element *e;

	if (reserve_table(s) < 0 || reserve_chunk(s) < 0)
		return NULL;
	number = s->free ? s->free - 1 : s->used++;
	e = element_at(s, number);
	if (s->free)
		memcpy(&s->free, e->bytes, sizeof(s->free));
	*e = (struct element){.hash = hash, .present = true};
	memcpy(e->bytes, key, s->key_size);
	memcpy(e->bytes + s->value_at, value, s->value_size);
	s->table[place_of(s, key, hash)] = number + 1;
	maps_keep_count(s->maps, s->index, ++s->count);
	return e;
}

/* Those behind the place that could stand in it move up, so that no search ends before them. */
static void close_gap(struct map_cache *s, uint32_t place)
{
	uint32_t mask = s->table_size - 1, next = place;

	for (;;) {
		next = (next + 1) & mask;
		if (!s->table[next])
			break;
		/* As far from where it belongs as the gap is, or farther. */
		if (((next - element_at(s, s->table[next] - 1)->hash) & mask) <
		    ((next - place) & mask))
			continue;
		s->table[place] = s->table[next];
		place = next;
	}
	s->table[place] = 0;
}

static void element_remove(struct map_cache *s, struct element *e)
{
	uint32_t place = place_of(s, e->bytes, e->hash), number = s->table[place] - 1;

	close_gap(s, place);
	e->present = false;
	memcpy(e->bytes, &s->free, sizeof(s->free));
	s->free = number + 1;
	maps_keep_count(s->maps, s->index, --s->count);
}

int map_cache_open(struct maps *maps, enum map_index index, struct map_cache **ret)
{
	const struct map_info *info = maps_get(maps, index);
	struct map_cache *s = calloc(1, sizeof(*s));
	void *keys = NULL, *values = NULL;
	size_t count = 0, i;
	int r;

	if (!s)
		return -ENOMEM;
	*s = (struct map_cache){.maps = maps,
				.index = index,
				.key_size = info->key_size,
				.value_size = info->value_size,
				.value_at = (info->key_size + 7) & ~7u,
				.max_entries = info->max_entries};
	maps_keep_count(maps, index, 0);
	r = maps_dump(maps, index, &keys, &values, &count);
	for (i = 0; i < count && r == 0; i++)
		if (!element_add(s, (char *)keys + i * s->key_size,
				 (char *)values + i * s->value_size))
			r = -ENOMEM;
	free(keys);
	free(values);
	if (r < 0) {
		map_cache_close(s);
		return r;
	}
	*ret = s;
	return 0;
}

void map_cache_close(struct map_cache *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->chunk_count; i++)
		free(s->chunks[i]);
	free(s->chunks);
	free(s->table);
	free(s);
}

size_t map_cache_count(const struct map_cache *s)
{
	return s->count;
}

size_t map_cache_room(const struct map_cache *s)
{
	return s->count < s->max_entries ? s->max_entries - s->count : 0;
}

const void *map_cache_find(const struct map_cache *s, const void *key)
{
	const struct element *e = find(s, key);

	return e && !e->owed ? e->bytes + s->value_at : NULL;
}

/* Nothing is to be done about it any more. */
static void want(struct map_cache *s, struct element *e)
{
	s->owed -= e->owed;
	e->owed = false;
	e->wanted = true;
}

int map_cache_put(struct map_cache *s, const void *key, const void *value)
{
	struct element *e = find(s, key);
	int r;

	if (e) {
		want(s, e);
		if (memcmp(e->bytes + s->value_at, value, s->value_size) == 0)
			return 0;
		r = maps_put(s->maps, s->index, key, value);
		if (r == 0)
			memcpy(e->bytes + s->value_at, value, s->value_size);
		return r;
	}
	if (!map_cache_room(s))
		return -E2BIG;
	e = element_add(s, key, value);
	if (!e)
		return -ENOMEM;
	r = maps_put(s->maps, s->index, key, value);
	if (r < 0) {
		element_remove(s, e);
		return r;
	}
	e->wanted = true;
	return 0;
}

static int drop(struct map_cache *s, struct element *e)
{
	int r = maps_delete(s->maps, s->index, e->bytes);

	if (r < 0)
		return r;
	want(s, e);
	element_remove(s, e);
	return 0;
}

/* As drop(); on failure map_cache_settle() will do it. */
static int drop_or_owe(struct map_cache *s, struct element *e)
{
	int r = drop(s, e);

	if (r < 0) {
		e->wanted = false;
		s->owed += !e->owed;
		e->owed = true;
	}
	return r;
}

int map_cache_delete(struct map_cache *s, const void *key)
{
	struct element *e = find(s, key);

	return e ? drop_or_owe(s, e) : 0;
}

int map_cache_settle(struct map_cache *s)
{
	int result = 0;

	for (uint32_t i = 0; i < s->used && s->owed; i++) {
		struct element *e = element_at(s, i);
		int r = e->present && e->owed ? drop(s, e) : 0;

		if (r < 0 && result == 0)
			result = r;
	}
	return result;
}

bool map_cache_owes(const struct map_cache *s)
{
	return s->owed > 0;
}

bool map_cache_owes_key(const struct map_cache *s, const void *key)
{
	const struct element *e = find(s, key);

	return e && e->owed;
}

void map_cache_begin(struct map_cache *s)
{
	for (uint32_t i = 0; i < s->used; i++)
		element_at(s, i)->wanted = false;
}

bool map_cache_want(struct map_cache *s, const void *key)
{
	struct element *e = find(s, key);

	if (e)
		want(s, e);
	return e != NULL;
}

bool map_cache_is_wanted(const struct map_cache *s, const void *key)
{
	const struct element *e = find(s, key);

	return e && e->wanted;
}

void map_cache_unwant(struct map_cache *s, const void *key)
{
	struct element *e = find(s, key);

	if (e)
		e->wanted = false;
}

int map_cache_drop_unwanted(struct map_cache *s, const void *key)
{
	struct element *e = find(s, key);

	return e && !e->wanted ? drop(s, e) : 0;
}

int map_cache_prune(struct map_cache *s)
{
	return map_cache_prune_if(s, NULL, NULL);
}

int map_cache_prune_if(struct map_cache *s, bool (*belongs)(const void *key, const void *data),
		       const void *data)
{
	int count = 0, result = 0, r;

	for (uint32_t i = 0; i < s->used; i++) {
		struct element *e = element_at(s, i);

		if (!e->present || e->wanted || (belongs && !belongs(e->bytes, data)))
			continue;
		r = drop_or_owe(s, e);
		if (r < 0 && result == 0)
			result = r;
		count += r == 0;
	}
	return result < 0 ? result : count;
}

int map_cache_each(const struct map_cache *s,
		   int (*visit)(const void *key, const void *value, void *data), void *data)
{
	for (uint32_t i = 0; i < s->used; i++) {
		const struct element *e = element_at(s, i);
		int r = e->present ? visit(e->bytes, e->bytes + s->value_at, data) : 0;

		if (r)
			return r;
	}
	return 0;
}
