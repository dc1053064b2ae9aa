/* SPDX-License-Identifier: Apache-2.0 */
/* Rows and tables of before the start, until their sets are known again. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/log.h"
#include "agent/services/services_internal.h"

static struct set_row row_named_by(const struct service_entry *entry)
{
	struct set_row row = {.first = entry->backend_first, .count = entry->backend_count};

	if (!entry->local_count)
		return row;
	if (!entry->backend_count)
		return (struct set_row){.first = entry->local_first, .count = entry->local_count};
	/* The sets overlap, or meet: together they are the row. */
	if (entry->local_first < row.first) {
		row.count += row.first - entry->local_first;
		row.first = entry->local_first;
	}
	if (entry->local_first + entry->local_count > row.first + row.count)
		row.count = entry->local_first + entry->local_count - row.first;
	return row;
}

static struct inherited *inherited_find(const struct services *s, uint32_t first)
{
	struct inherited *i;

	HASH_FIND(hh, s->inherited, &first, sizeof(first), i);
	return i;
}

static int inherited_add(struct services *s, const struct set_row *row, uint32_t id)
{
	struct inherited *i = calloc(1, sizeof(*i));

	if (!i)
		return -ENOMEM;
	*i = (struct inherited){.first = row->first, .count = row->count, .id = id};
	HASH_ADD(hh, s->inherited, first, sizeof(i->first), i);
	if (HASH_ADDED(hh, i))
		return 0;
	free(i);
	return -ENOMEM;
}

/* All frontends of a set name its row. 0; -EEXIST, -ERANGE: it cannot be its own; -ENOMEM. */
static int inherit_row(struct services *s, const struct service_entry *entry)
{
	const struct set_row row = row_named_by(entry);
	const struct inherited *known = row.count ? inherited_find(s, row.first) : NULL;
	int r;

	if (!row.count || (known && known->count == row.count && known->id == entry->id))
		return 0;
	r = ranges_take_at(s->backends, row.first, row.count);
	if (r < 0)
		return r;
	r = inherited_add(s, &row, entry->id);
	if (r < 0)
		ranges_give(s->backends, row.first, row.count);
	return r;
}

/* A row that cannot be the entry's own, or beyond the map: it has none then. */
static int keep_row(struct services *s, struct service_entry *entry)
{
	const struct set_row row = row_named_by(entry);
	int r = inherit_row(s, entry);

	if (r != -EEXIST && r != -ERANGE)
		return r;
	log_error("services",
		  "map services: Service port %u names backends %u to %llu, which are another's or "
		  "beyond the map's end: "
		  "it has no endpoint until its object has been read",
		  entry->id, row.first, (unsigned long long)row.first + row.count - 1);
	entry->backend_first = entry->backend_count = 0;
	entry->local_first = entry->local_count = 0;
	return 0;
}

/* Without its table an endpoint is chosen at random. */
static int keep_table(struct services *s, uint32_t id, uint32_t *first, uint32_t *size)
{
	const struct service_table table = {.first = *first, .size = *size};
	int r = service_tables_inherit(s->tables, &table);

	if (r != -EEXIST && r != -ERANGE)
		return r;
	log_error("services",
		  "map services: Service port %u names cells %u to %llu of service_tables, which "
		  "are another's or beyond the map's end: endpoints are chosen at random until its "
		  "object has been read",
		  id, *first, (unsigned long long)*first + *size - 1);
	*first = *size = 0;
	return 0;
}

/* An entry of before the start keeps its number, and the row and the tables that can be its own. */
static int inherit(const void *key, const void *value, void *data)
{
	struct services *s = data;
	struct service_entry kept = *(const struct service_entry *)value;
	int r = keep_row(s, &kept);

	if (r == 0)
		r = keep_table(s, kept.id, &kept.table_first, &kept.table_size);
	if (r == 0)
		r = keep_table(s, kept.id, &kept.local_table_first, &kept.local_table_size);
	if (r < 0)
		return r;
	if (kept.id >= s->next_id || s->ids_used_up) {
		s->next_id = kept.id + 1;
		s->ids_used_up |= !s->next_id;
	}
	return memcmp(&kept, value, sizeof(kept)) == 0 ? 0 : map_cache_put(s->services, key, &kept);
}

int sets_inherit(struct services *s)
{
	return map_cache_each(s->services, inherit, s);
}

void sets_disinherit(struct services *s)
{
	struct inherited *i, *next;

	service_tables_disinherit(s->tables);
	HASH_ITER (hh, s->inherited, i, next) {
		HASH_DEL(s->inherited, i);
		leave_row(s, i->first, i->count);
		free(i);
	}
}

void inherited_take(struct services *s, const struct service_entry *entry, struct set_row *ret)
{
	struct inherited *row = inherited_find(s, row_named_by(entry).first);

	if (!row || row->id != entry->id)
		return;
	*ret = (struct set_row){.first = row->first, .count = row->count};
	HASH_DEL(s->inherited, row);
	free(row);
}
