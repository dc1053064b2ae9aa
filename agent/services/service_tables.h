/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tables of map `service_tables`: which set of endpoints has which. Equal ones are shared. A
 * table that nobody needs any more keeps its place until no program can still be reading them.
 */
#pragma once

#include <stddef.h>

#include "agent/kernel/maps.h"

struct service_tables;

/* `size`: cells of each table that is made, a prime. 0 or -ENOMEM. */
int service_tables_open(struct maps *maps, uint32_t size, struct service_tables **ret);
void service_tables_close(struct service_tables *tables); /* takes NULL; leaves the map */

/* An element of the map, and cells; `size` 0: there is no table. */
struct service_table {
	uint32_t first, size;
};
/*
 * The table of endpoints that stand one behind the other in `backends`; `weights` as for
 * maglev_fill(). It stands in the map when this returns, and is the caller's until given back.
 * 0; -E2BIG: no room in the map; -ERANGE: more endpoints than cells; -ENOMEM.
 */
int service_tables_take(struct service_tables *tables, const struct backend *endpoints,
			const uint16_t *weights, size_t count, struct service_table *ret);
/* One of them goes. Cannot fail; an empty one is nothing. */
void service_tables_give(struct service_tables *tables, const struct service_table *table);

/*
 * A table that an entry names at the start: its place is not used for another one, and
 * service_tables_take() finds it by what is in it, until service_tables_disinherit(). 0; -EEXIST,
 * -ERANGE: it cannot be a table of its own; -ENOMEM.
 */
int service_tables_inherit(struct service_tables *tables, const struct service_table *table);
void service_tables_disinherit(struct service_tables *tables);

/* Programs that began before the mark have ended by the time of the other: what nobody had at the
 * mark, nor has taken since, is free. How many tables were freed. */
void service_tables_prune_mark(struct service_tables *tables);
size_t service_tables_prune(struct service_tables *tables);

uint32_t service_tables_size(const struct service_tables *tables); /* cells of each */
size_t service_tables_count(const struct service_tables *tables);  /* those in use */
/* Elements of the map: of each table, those in use, and the longest free row. */
uint32_t service_tables_elements(const struct service_tables *tables);
uint32_t service_tables_elements_used(const struct service_tables *tables);
uint32_t service_tables_longest_free(const struct service_tables *tables);
