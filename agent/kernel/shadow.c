/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kernel/shadow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/hash.h"

struct element {
	UT_hash_handle hh;
	bool wanted, marked;
	_Alignas(8) char bytes[]; /* key, then value at value_at */
};

struct shadow {
	struct maps *maps;
	enum map_index index;
	uint32_t key_size, value_size, value_at, max_entries;
	struct element *elements;
};

static struct element *element_add(struct shadow *s, const void *key, const void *value)
{
	struct element *e = calloc(1, sizeof(*e) + s->value_at + s->value_size);

	if (!e)
		return NULL;
	memcpy(e->bytes, key, s->key_size);
	memcpy(e->bytes + s->value_at, value, s->value_size);
	HASH_ADD_KEYPTR(hh, s->elements, e->bytes, s->key_size, e);
	if (HASH_ADDED(hh, e))
		return e;
	free(e);
	return NULL;
}

int shadow_open(struct maps *maps, enum map_index index, struct shadow **ret)
{
	const struct map_info *info = maps_get(maps, index);
	struct shadow *s = calloc(1, sizeof(*s));
	void *keys = NULL, *values = NULL;
	size_t count = 0, i;
	int r;

	if (!s)
		return -ENOMEM;
	*s = (struct shadow){.maps = maps,
			     .index = index,
			     .key_size = info->key_size,
			     .value_size = info->value_size,
			     .value_at = (info->key_size + 7) & ~7u,
			     .max_entries = info->max_entries};
	r = maps_dump(maps, index, &keys, &values, &count);
	for (i = 0; i < count && r == 0; i++)
		if (!element_add(s, (char *)keys + i * s->key_size, (char *)values + i * s->value_size))
			r = -ENOMEM;
	free(keys);
	free(values);
	if (r < 0) {
		shadow_close(s);
		return r;
	}
	*ret = s;
	return 0;
}

void shadow_close(struct shadow *s)
{
	struct element *e, *next;

	if (!s)
		return;
	HASH_ITER(hh, s->elements, e, next) {
		HASH_DEL(s->elements, e);
		free(e);
	}
	free(s);
}

size_t shadow_count(const struct shadow *s)
{
	return HASH_COUNT(s->elements);
}

size_t shadow_room(const struct shadow *s)
{
	size_t count = HASH_COUNT(s->elements);

	return count < s->max_entries ? s->max_entries - count : 0;
}

static struct element *find(const struct shadow *s, const void *key)
{
	struct element *e;

	HASH_FIND(hh, s->elements, key, s->key_size, e);
	return e;
}

const void *shadow_find(const struct shadow *s, const void *key)
{
	const struct element *e = find(s, key);

	return e ? e->bytes + s->value_at : NULL;
}

int shadow_put(struct shadow *s, const void *key, const void *value)
{
	struct element *e = find(s, key);
	int r;

	if (e) {
		e->wanted = true;
		if (memcmp(e->bytes + s->value_at, value, s->value_size) == 0)
			return 0;
		r = maps_put(s->maps, s->index, key, value);
		if (r == 0)
			memcpy(e->bytes + s->value_at, value, s->value_size);
		return r;
	}
	if (!shadow_room(s))
		return -E2BIG;
	e = element_add(s, key, value);
	if (!e)
		return -ENOMEM;
	r = maps_put(s->maps, s->index, key, value);
	if (r < 0) {
		HASH_DEL(s->elements, e);
		free(e);
		return r;
	}
	e->wanted = true;
	return 0;
}

static int drop(struct shadow *s, struct element *e)
{
	int r = maps_delete(s->maps, s->index, e->bytes);

	if (r < 0)
		return r;
	HASH_DEL(s->elements, e);
	free(e);
	return 0;
}

int shadow_delete(struct shadow *s, const void *key)
{
	struct element *e = find(s, key);

	return e ? drop(s, e) : 0;
}

void shadow_begin(struct shadow *s)
{
	struct element *e, *next;

	HASH_ITER(hh, s->elements, e, next)
		e->wanted = e->marked = false;
}

bool shadow_want(struct shadow *s, const void *key)
{
	struct element *e = find(s, key);

	if (e)
		e->wanted = true;
	return e != NULL;
}

bool shadow_is_wanted(const struct shadow *s, const void *key)
{
	const struct element *e = find(s, key);

	return e && e->wanted;
}

void shadow_unwant(struct shadow *s, const void *key)
{
	struct element *e = find(s, key);

	if (e)
		e->wanted = false;
}

int shadow_drop_unwanted(struct shadow *s, const void *key)
{
	struct element *e = find(s, key);

	return e && !e->wanted ? drop(s, e) : 0;
}

void shadow_mark(struct shadow *s, const void *key)
{
	struct element *e = find(s, key);

	if (e)
		e->marked = true;
}

bool shadow_is_marked(const struct shadow *s, const void *key)
{
	const struct element *e = find(s, key);

	return e && e->marked;
}

void shadow_drop_marked(struct shadow *s)
{
	struct element *e, *next;

	HASH_ITER(hh, s->elements, e, next)
		if (e->marked)
			drop(s, e);
}

int shadow_sweep(struct shadow *s)
{
	return shadow_sweep_if(s, NULL, NULL);
}

int shadow_sweep_if(struct shadow *s, bool (*belongs)(const void *key, const void *data), const void *data)
{
	struct element *e, *next;
	int count = 0, r;

	HASH_ITER(hh, s->elements, e, next) {
		if (e->wanted || (belongs && !belongs(e->bytes, data)))
			continue;
		r = drop(s, e);
		if (r < 0)
			return r;
		count++;
	}
	return count;
}

int shadow_each(const struct shadow *s, int (*visit)(const void *key, const void *value, void *data), void *data)
{
	struct element *e, *next;
	int r;

	HASH_ITER(hh, s->elements, e, next) {
		r = visit(e->bytes, e->bytes + s->value_at, data);
		if (r)
			return r;
	}
	return 0;
}
