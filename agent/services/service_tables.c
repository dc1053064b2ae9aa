/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/services/service_tables.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/hash.h"
#include "agent/common/ranges.h"
#include "agent/common/maglev.h"
#include "policy/objects/digest.h"

struct table {
	struct service_table place;
	uint8_t digest[DIGEST_BYTES]; /* of what it was made from */
	size_t users;
	bool inherited; /* not in `made`: what it was made from is not known */
	bool marked;	/* nobody had it at the mark, nor has taken it since */
	UT_hash_handle by_digest, by_first;
};

struct service_tables {
	struct maps *maps;
	uint32_t size;
	struct ranges *elements;
	struct table *made;	       /* by digest */
	struct table *places;	       /* by first cell: all */
	size_t idle;		       /* without a user */
	struct service_cells *scratch; /* of one table */
};

static uint32_t elements_of(uint32_t size)
{
	return (size + SERVICE_CELLS - 1) / SERVICE_CELLS;
}

int service_tables_open(struct maps *maps, uint32_t size, struct service_tables **ret)
{
	struct service_tables *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->maps = maps;
	t->size = size;
	t->scratch = calloc(elements_of(size), sizeof(*t->scratch));
	if (!t->scratch ||
	    ranges_new(maps_get(maps, MAP_SERVICE_TABLES)->max_entries, &t->elements) < 0) {
		service_tables_close(t);
		return -ENOMEM;
	}
	*ret = t;
	return 0;
}

void service_tables_close(struct service_tables *t)
{
	struct table *table, *next;

	if (!t)
		return;
	HASH_CLEAR(by_digest, t->made);
	HASH_ITER (by_first, t->places, table, next) {
		HASH_DELETE(by_first, t->places, table);
		free(table);
	}
	ranges_free(t->elements);
	free(t->scratch);
	free(t);
}

/* ---------------------------------------------------------------- finding */

static void digest_of(const struct service_tables *t, const struct backend *endpoints,
		      const uint16_t *weights, size_t count, uint8_t ret[DIGEST_BYTES])
{
	struct digest digest;

	digest_begin(&digest);
	digest_add_number(&digest, t->size);
	digest_add_number(&digest, count);
	digest_add(&digest, endpoints, count * sizeof(*endpoints));
	if (weights)
		digest_add(&digest, weights, count * sizeof(*weights));
	digest_end(&digest, ret);
}

static struct table *find_made(const struct service_tables *t, const uint8_t digest[DIGEST_BYTES])
{
	struct table *table;

	HASH_FIND(by_digest, t->made, digest, DIGEST_BYTES, table);
	return table;
}

static struct table *find_place(const struct service_tables *t, uint32_t first)
{
	struct table *table;

	HASH_FIND(by_first, t->places, &first, sizeof(first), table);
	return table;
}

static void use(struct service_tables *t, struct table *table, struct service_table *ret)
{
	t->idle -= !table->users;
	table->users++;
	table->marked = false;
	*ret = table->place;
}

/* ---------------------------------------------------------------- making */

static bool holds_scratch(const struct service_tables *t, const struct table *table)
{
	const struct service_cells *cells;

	if (table->place.size != t->size)
		return false;
	for (uint32_t i = 0; i < elements_of(t->size); i++) {
		cells = maps_element(t->maps, MAP_SERVICE_TABLES, table->place.first + i);
		if (!cells || memcmp(cells, &t->scratch[i], sizeof(*cells)) != 0)
			return false;
	}
	return true;
}

/* One of before the start that says what is in `scratch`; NULL: none. */
static struct table *find_inherited(const struct service_tables *t)
{
	struct table *table, *next;

	HASH_ITER (by_first, t->places, table, next)
		if (table->inherited && holds_scratch(t, table))
			return table;
	return NULL;
}

/* Without a user at first. 0 or -ENOMEM. */
static int add_place(struct service_tables *t, const struct service_table *place,
		     struct table **ret)
{
	struct table *table = calloc(1, sizeof(*table));

	if (!table)
		return -ENOMEM;
	table->place = *place;
	HASH_ADD(by_first, t->places, place.first, sizeof(table->place.first), table);
	if (!HASH_ADDED(by_first, table)) {
		free(table);
		return -ENOMEM;
	}
	t->idle++;
	*ret = table;
	return 0;
}

static void drop_place(struct service_tables *t, struct table *table)
{
	assert(!table->users);
	t->idle--;
	ranges_give(t->elements, table->place.first, elements_of(table->place.size));
	HASH_DELETE(by_first, t->places, table);
	free(table);
}

/* Is found by its digest from now on. 0 or -ENOMEM. */
static int name_it(struct service_tables *t, struct table *table,
		   const uint8_t digest[DIGEST_BYTES])
{
	memcpy(table->digest, digest, DIGEST_BYTES);
	HASH_ADD(by_digest, t->made, digest, DIGEST_BYTES, table);
	if (!HASH_ADDED(by_digest, table))
		return -ENOMEM;
	table->inherited = false;
	return 0;
}

/* `scratch` in elements that nobody has. */
static int write_new(struct service_tables *t, struct table **ret)
{
	struct service_table place = {.size = t->size};
	uint32_t count = elements_of(t->size);
	int r = ranges_take(t->elements, count, &place.first);

	if (r < 0)
		return r;
	r = maps_elements_put(t->maps, MAP_SERVICE_TABLES, place.first, count, t->scratch);
	if (r == 0)
		r = add_place(t, &place, ret);
	if (r < 0)
		ranges_give(t->elements, place.first, count);
	return r;
}

static int make(struct service_tables *t, const uint8_t digest[DIGEST_BYTES], struct table **ret)
{
	struct table *table = find_inherited(t);
	bool is_new = !table;
	int r = is_new ? write_new(t, &table) : 0;

	if (r < 0)
		return r;
	r = name_it(t, table, digest);
	if (r == 0)
		*ret = table;
	else if (is_new)
		drop_place(t, table);
	return r;
}

int service_tables_take(struct service_tables *t, const struct backend *endpoints,
			const uint16_t *weights, size_t count, struct service_table *ret)
{
	uint8_t digest[DIGEST_BYTES];
	struct table *table;
	int r = 0;

	if (count > t->size || count > MAGLEV_ENDPOINTS_MAX)
		return -ERANGE;
	digest_of(t, endpoints, weights, count, digest);
	table = find_made(t, digest);
	if (!table) {
		r = maglev_fill(endpoints, weights, (uint32_t)count, t->size, t->scratch->places);
		if (r == 0)
			r = make(t, digest, &table);
	}
	if (r == 0)
		use(t, table, ret);
	return r;
}

void service_tables_give(struct service_tables *t, const struct service_table *place)
{
	struct table *table = place->size ? find_place(t, place->first) : NULL;

	if (!place->size)
		return;
	assert(table && table->users);
	table->users--;
	t->idle += !table->users;
}

/* ---------------------------------------------------------------- before the start */

int service_tables_inherit(struct service_tables *t, const struct service_table *place)
{
	struct table *table = place->size ? find_place(t, place->first) : NULL;
	int r;

	if (!place->size || (table && table->place.size == place->size))
		return 0;
	r = ranges_take_at(t->elements, place->first, elements_of(place->size));
	if (r < 0)
		return r;
	r = add_place(t, place, &table);
	if (r < 0)
		ranges_give(t->elements, place->first, elements_of(place->size));
	else
		table->inherited = true;
	return r;
}

/* They were in force: programs may be reading them. */
void service_tables_disinherit(struct service_tables *t)
{
	struct table *table, *next;

	HASH_ITER (by_first, t->places, table, next) {
		if (!table->inherited)
			continue;
		table->inherited = false;
		memset(table->digest, 0, sizeof(table->digest));
	}
}

/* ---------------------------------------------------------------- what goes */

void service_tables_prune_mark(struct service_tables *t)
{
	struct table *table, *next;

	if (!t->idle)
		return;
	HASH_ITER (by_first, t->places, table, next)
		table->marked = !table->users && !table->inherited;
}

size_t service_tables_prune(struct service_tables *t)
{
	struct table *table, *next;
	size_t freed = 0;

	if (!t->idle)
		return 0;
	HASH_ITER (by_first, t->places, table, next) {
		if (!table->marked || table->users)
			continue;
		if (find_made(t, table->digest) == table)
			HASH_DELETE(by_digest, t->made, table);
		drop_place(t, table);
		freed++;
	}
	return freed;
}

/* ---------------------------------------------------------------- telling */

uint32_t service_tables_size(const struct service_tables *t)
{
	return t->size;
}

size_t service_tables_count(const struct service_tables *t)
{
	return HASH_CNT(by_first, t->places) - t->idle;
}

uint32_t service_tables_elements_used(const struct service_tables *t)
{
	return ranges_used(t->elements);
}

uint32_t service_tables_longest_free(const struct service_tables *t)
{
	return ranges_longest_free(t->elements);
}

uint32_t service_tables_elements(const struct service_tables *t)
{
	return elements_of(t->size);
}
