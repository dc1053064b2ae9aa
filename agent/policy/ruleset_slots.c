/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/policy/ruleset_slots.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/log.h"
#include "agent/common/ranges.h"

#include "agent/common/hash.h"

/* A table may have so many cells for each one that says something, and so many more. */
#define HOLES_PER_CELL 8
#define SMALL_TABLE    64

struct known {
	uint32_t number;
	uint32_t slot;
	UT_hash_handle hh;
};

struct ruleset_slots {
	struct maps *maps;
	struct ranges *slots, *cells;
	struct known *known;
};

const struct ruleset_entry *ruleset_slots_entry(const struct ruleset_slots *s, uint32_t slot)
{
	return maps_element(s->maps, MAP_RULESETS, slot);
}

/* NULL: no memory. */
static struct known *know(struct ruleset_slots *s, uint32_t number, uint32_t slot)
{
	struct known *known = calloc(1, sizeof(*known));

	if (!known)
		return NULL;
	*known = (struct known){.number = number, .slot = slot};
	HASH_ADD(hh, s->known, number, sizeof(known->number), known);
	if (HASH_ADDED(hh, known))
		return known;
	free(known);
	return NULL;
}

/* A slot of before the start. What cannot be right (a damaged pin) is emptied: its pods pass
 * nothing until the first run. */
static int take_over(struct ruleset_slots *s, uint32_t slot)
{
	static const struct ruleset_entry none;
	const struct ruleset_entry *entry = ruleset_slots_entry(s, slot);
	int r = ruleset_slots_find(s, entry->number) ? -EEXIST : ranges_take_at(s->slots, slot, 1);

	if (r == 0) {
		r = ranges_take_at(s->cells, entry->cell_first, entry->cell_count);
		if (r == 0)
			return know(s, entry->number, slot) ? 0 : -ENOMEM;
		ranges_give(s->slots, slot, 1);
	}
	if (r == -ENOMEM)
		return r;
	log_error("policy",
		  "map rulesets: element %u (rule set %u) cannot be right: its number or its cells "
		  "are another's; it is emptied, its "
		  "pods pass nothing until policies have been read",
		  slot, entry->number);
	return maps_element_put(s->maps, MAP_RULESETS, slot, &none);
}

int ruleset_slots_open(struct maps *maps, struct ruleset_slots **ret)
{
	uint32_t size = maps_get(maps, MAP_RULESETS)->max_entries, i;
	struct ruleset_slots *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->maps = maps;
	r = ranges_new(size, &s->slots);
	if (r == 0)
		r = ranges_new(maps_get(maps, MAP_RULESET_TABLES)->max_entries, &s->cells);
	if (r == 0)
		r = ranges_take_at(s->slots, 0, size < RULESET_FIRST ? size : RULESET_FIRST);
	for (i = RULESET_FIRST; i < size && r == 0; i++)
		if (ruleset_slots_entry(s, i)->number)
			r = take_over(s, i);
	if (r < 0) {
		ruleset_slots_close(s);
		return r;
	}
	*ret = s;
	return 0;
}

void ruleset_slots_close(struct ruleset_slots *s)
{
	struct known *known, *next;

	if (!s)
		return;
	HASH_ITER (hh, s->known, known, next) {
		HASH_DEL(s->known, known);
		free(known);
	}
	ranges_free(s->slots);
	ranges_free(s->cells);
	free(s);
}

uint32_t ruleset_slots_find(const struct ruleset_slots *s, uint32_t number)
{
	struct known *known;

	HASH_FIND(hh, s->known, &number, sizeof(number), known);
	return known ? known->slot : 0;
}

uint32_t ruleset_slots_room(const struct ruleset_slots *s)
{
	return maps_get(s->maps, MAP_RULESETS)->max_entries - ranges_used(s->slots);
}

uint32_t ruleset_slots_used(const struct ruleset_slots *s)
{
	return HASH_COUNT(s->known);
}

uint32_t ruleset_slots_cells_used(const struct ruleset_slots *s)
{
	return ranges_used(s->cells);
}

/* A row for each class of peers but 0, a column for each class of ports. Returns the number of
 * cells. */
static uint64_t table_size(const struct compiled_ruleset *set, uint32_t *ret_columns)
{
	uint32_t rows = 0, columns = 0;
	size_t i;

	for (i = 0; i < set->cell_count; i++) {
		if (set->cells[i].peer_class > rows)
			rows = set->cells[i].peer_class;
		if (set->cells[i].port_class >= columns)
			columns = set->cells[i].port_class + 1u;
	}
	*ret_columns = columns;
	return (uint64_t)rows * columns;
}

bool ruleset_slots_is_sparse(const struct compiled_ruleset *set)
{
	uint32_t columns;

	return table_size(set, &columns) > HOLES_PER_CELL * set->cell_count + SMALL_TABLE;
}

int ruleset_slots_reserve(struct ruleset_slots *s, const struct compiled_ruleset *set, bool table,
			  struct ruleset_reservation *ret)
{
	struct ruleset_reservation reservation = {.entry = set->entry};
	uint32_t columns;
	uint64_t size = table_size(set, &columns);
	int r = ranges_take(s->slots, 1, &reservation.slot);

	if (r < 0)
		return r;
	reservation.entry.number = set->id;
	if (table && size && size <= UINT32_MAX) {
		r = ranges_take(s->cells, size, &reservation.entry.cell_first);
		if (r == 0) {
			reservation.entry.cell_count = size;
			reservation.entry.port_classes = columns;
		} else if (r != -E2BIG) {
			ranges_give(s->slots, reservation.slot, 1);
			return r;
		}
	}
	*ret = reservation;
	return 0;
}

void ruleset_slots_release(struct ruleset_slots *s, const struct ruleset_reservation *reservation)
{
	ranges_give(s->cells, reservation->entry.cell_first, reservation->entry.cell_count);
	ranges_give(s->slots, reservation->slot, 1);
}

int ruleset_slots_put_cells(struct ruleset_slots *s, const struct ruleset_reservation *reservation,
			    const struct compiled_ruleset *set)
{
	const struct ruleset_entry *entry = &reservation->entry;
	struct ruleset_cell *cells = calloc(entry->cell_count + 1, sizeof(*cells));
	int r = cells ? 0 : -ENOMEM;
	size_t i;

	for (i = 0; i < set->cell_count && r == 0; i++) {
		const struct compiled_cell *c = &set->cells[i];
		uint32_t at = (c->peer_class - 1u) * entry->port_classes + c->port_class;

		if (c->peer_class && c->port_class < entry->port_classes && at < entry->cell_count)
			cells[at] = c->cell;
	}
	/* The holes too: another set's cells may stand there. */
	for (i = 0; i < entry->cell_count && r == 0; i++)
		r = maps_element_put(s->maps, MAP_RULESET_TABLES, entry->cell_first + i, &cells[i]);
	free(cells);
	return r;
}

int ruleset_slots_put(struct ruleset_slots *s, const struct ruleset_reservation *reservation)
{
	struct known *known = NULL;
	int r;

	/* First: a header in the map that nobody knows would never be removed. */
	if (!ruleset_slots_find(s, reservation->entry.number)) {
		known = know(s, reservation->entry.number, reservation->slot);
		if (!known)
			return -ENOMEM;
	}
	r = maps_element_put(s->maps, MAP_RULESETS, reservation->slot, &reservation->entry);
	if (r < 0 && known) {
		HASH_DEL(s->known, known);
		free(known);
	}
	return r;
}

static int forget(struct ruleset_slots *s, struct known *known)
{
	static const struct ruleset_entry none;
	const struct ruleset_reservation reservation = {
		.slot = known->slot, .entry = *ruleset_slots_entry(s, known->slot)};
	int r = maps_element_put(s->maps, MAP_RULESETS, known->slot, &none);

	if (r < 0)
		return r;
	ruleset_slots_release(s, &reservation);
	HASH_DEL(s->known, known);
	free(known);
	return 0;
}

int ruleset_slots_drop(struct ruleset_slots *s, uint32_t number)
{
	struct known *known;

	HASH_FIND(hh, s->known, &number, sizeof(number), known);
	return known ? forget(s, known) : 0;
}

int ruleset_slots_prune(struct ruleset_slots *s, bool (*wanted)(uint32_t number, const void *data),
			const void *data)
{
	struct known *known, *next;
	int count = 0, r;

	HASH_ITER (hh, s->known, known, next) {
		if (wanted(known->number, data))
			continue;
		r = forget(s, known);
		if (r < 0)
			return r;
		count++;
	}
	return count;
}

int ruleset_slots_each(const struct ruleset_slots *s,
		       int (*visit)(const struct ruleset_entry *entry, void *data), void *data)
{
	struct known *known, *next;
	int r;

	HASH_ITER (hh, s->known, known, next) {
		r = visit(ruleset_slots_entry(s, known->slot), data);
		if (r)
			return r;
	}
	return 0;
}
