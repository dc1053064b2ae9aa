/* SPDX-License-Identifier: Apache-2.0 */
/* Where rule sets stand in the arrays, when their places are used again, and what a restart finds.
 * Needs root. */
#include "agent/policy/ruleset_slots.h"

#include <errno.h>

#include "agent/config/config.h"
#include "tests/unit/small_maps.h"
#include "tests/unit/unit.h"

#define CELLS 64

struct world {
	struct config config;
	struct maps *maps;
	struct ruleset_slots *slots;
};

static void begin(struct world *w)
{
	*w = (struct world){.config = small_config(CELLS)};
	w->maps = small_maps(&w->config, NULL);
	CU_ASSERT_FATAL(ruleset_slots_open(w->maps, &w->slots) == 0);
}

static void end(struct world *w)
{
	ruleset_slots_close(w->slots);
	maps_close(w->maps);
}

static void restart(struct world *w)
{
	ruleset_slots_close(w->slots);
	CU_ASSERT_FATAL(ruleset_slots_open(w->maps, &w->slots) == 0);
}

/* A set with one cell, for the last class of peers and of ports. */
struct made {
	struct compiled_cell cell;
	struct compiled_ruleset set;
};

static const struct compiled_ruleset *make(struct made *made, uint32_t number, uint16_t peers,
					   uint16_t ports)
{
	made->cell = (struct compiled_cell){.peer_class = peers,
					    .port_class = ports - 1,
					    .cell.rule = {number},
					    .cell.verdict = {CELL_ALLOW}};
	made->set = (struct compiled_ruleset){.id = number, .cells = &made->cell, .cell_count = 1};
	return &made->set;
}

/* The slot, 0: no room. */
static uint32_t put(struct world *w, const struct compiled_ruleset *set, bool table)
{
	struct ruleset_reservation reservation;

	if (ruleset_slots_reserve(w->slots, set, table, &reservation) < 0)
		return 0;
	CU_ASSERT(ruleset_slots_put_cells(w->slots, &reservation, set) == 0);
	CU_ASSERT(ruleset_slots_put(w->slots, &reservation) == 0);
	return reservation.slot;
}

static bool keeps(uint32_t number, const void *data)
{
	return number == *(const uint32_t *)data;
}

static void prune_all_but(struct world *w, uint32_t number)
{
	CU_ASSERT(ruleset_slots_prune(w->slots, keeps, &number) >= 0);
}

static void cells_stand_in_rows_of_peer_classes(void)
{
	struct made made;
	struct world w;
	uint32_t slot;

	begin(&w);
	slot = put(&w, make(&made, 100, 3, 4), true);
	CU_ASSERT(slot == RULESET_FIRST);
	CU_ASSERT(ruleset_slots_find(w.slots, 100) == slot);
	CU_ASSERT_FATAL(ruleset_slots_entry(w.slots, slot) != NULL);
	CU_ASSERT(ruleset_slots_entry(w.slots, slot)->number == 100);
	CU_ASSERT(ruleset_slots_entry(w.slots, slot)->cell_count == 12 &&
		  ruleset_slots_entry(w.slots, slot)->port_classes == 4);
	for (uint32_t i = 0; i < 12; i++) {
		const struct ruleset_cell *cell = maps_element(w.maps, MAP_RULESET_TABLES, i);

		CU_ASSERT(cell->verdict[0] == (i == 11 ? CELL_ALLOW : CELL_NONE));
	}
	end(&w);
}

static void a_range_that_is_used_again_keeps_nothing_of_the_set_before(void)
{
	struct made made;
	struct world w;

	begin(&w);
	put(&w, make(&made, 100, 1, 2), true); /* its cell: element 1 */
	prune_all_but(&w, 0);
	CU_ASSERT(ruleset_slots_find(w.slots, 100) == 0 && ruleset_slots_cells_used(w.slots) == 0);
	put(&w, make(&made, 101, 1, 4), true);
	CU_ASSERT(((const struct ruleset_cell *)maps_element(w.maps, MAP_RULESET_TABLES, 1))
			  ->verdict[0] == CELL_NONE);
	CU_ASSERT(((const struct ruleset_cell *)maps_element(w.maps, MAP_RULESET_TABLES, 3))
			  ->rule[0] == 101);
	end(&w);
}

static void slots_are_used_again_after_the_sweep_only(void)
{
	struct made made;
	struct world w;
	uint32_t first, second;

	begin(&w);
	first = put(&w, make(&made, 100, 1, 1), true);
	second = put(&w, make(&made, 101, 1, 1), true);
	CU_ASSERT(first != second);
	prune_all_but(&w, 101);
	CU_ASSERT(ruleset_slots_entry(w.slots, first)->number == 0);
	CU_ASSERT(put(&w, make(&made, 102, 1, 1), true) == first);
	CU_ASSERT(ruleset_slots_find(w.slots, 101) == second);
	CU_ASSERT(ruleset_slots_used(w.slots) == 2);
	end(&w);
}

static void a_set_whose_table_finds_no_range_goes_to_the_hash(void)
{
	struct made made;
	struct world w;
	uint32_t slot;

	begin(&w);
	put(&w, make(&made, 100, 10, 6), true);
	slot = put(&w, make(&made, 101, 1, 5), true);
	CU_ASSERT(slot != 0 && ruleset_slots_entry(w.slots, slot)->cell_count == 0);
	slot = put(&w, make(&made, 102, 1, 4), true);
	CU_ASSERT(slot != 0 && ruleset_slots_entry(w.slots, slot)->cell_count == 4);
	CU_ASSERT(ruleset_slots_cells_used(w.slots) == CELLS);
	CU_ASSERT(!ruleset_slots_is_sparse(make(&made, 103, 8, 8)));
	CU_ASSERT(ruleset_slots_is_sparse(make(&made, 103, 65535, 65535)));
	slot = put(&w, &made.set, true); /* more than any map has */
	CU_ASSERT(slot != 0 && ruleset_slots_entry(w.slots, slot)->cell_count == 0);
	end(&w);
}

static void no_slot_is_left_over_when_all_are_taken(void)
{
	struct ruleset_reservation reservation;
	struct made made;
	struct world w;
	uint32_t room, number = 100;

	begin(&w);
	room = ruleset_slots_room(w.slots);
	CU_ASSERT(room >= 4 * 64);
	for (uint32_t i = 0; i < room; i++)
		CU_ASSERT_FATAL(put(&w, make(&made, number++, 1, 1), false) != 0);
	CU_ASSERT(ruleset_slots_room(w.slots) == 0);
	CU_ASSERT(ruleset_slots_reserve(w.slots, make(&made, number, 1, 1), true, &reservation) ==
		  -E2BIG);
	CU_ASSERT(ruleset_slots_cells_used(w.slots) == 0);
	prune_all_but(&w, 100);
	CU_ASSERT(ruleset_slots_room(w.slots) == room - 1);
	end(&w);
}

static void a_restart_learns_slots_and_ranges(void)
{
	struct made made;
	struct world w;
	uint32_t first, second;

	begin(&w);
	first = put(&w, make(&made, 100, 2, 2), true);
	second = put(&w, make(&made, 101, 3, 3), true);
	prune_all_but(&w, 101);
	restart(&w);
	CU_ASSERT(ruleset_slots_find(w.slots, 100) == 0);
	CU_ASSERT(ruleset_slots_find(w.slots, 101) == second);
	CU_ASSERT(ruleset_slots_cells_used(w.slots) == 9);
	CU_ASSERT(put(&w, make(&made, 102, 2, 2), true) == first);
	CU_ASSERT(((const struct ruleset_cell *)maps_element(w.maps, MAP_RULESET_TABLES, 4 + 8))
			  ->rule[0] == 101);
	end(&w);
}

static void an_element_that_cannot_be_right_is_emptied(void)
{
	struct ruleset_entry beyond = {
		.number = 7, .cell_first = CELLS - 1, .cell_count = 2, .port_classes = 1};
	struct ruleset_entry twice = {.number = 100};
	struct made made;
	struct world w;
	uint32_t slot;

	begin(&w);
	slot = put(&w, make(&made, 100, 1, 1), true);
	CU_ASSERT_FATAL(maps_element_put(w.maps, MAP_RULESETS, slot + 1, &beyond) == 0);
	CU_ASSERT_FATAL(maps_element_put(w.maps, MAP_RULESETS, slot + 2, &twice) == 0);
	restart(&w);
	CU_ASSERT(ruleset_slots_find(w.slots, 100) == slot && ruleset_slots_find(w.slots, 7) == 0);
	CU_ASSERT(ruleset_slots_entry(w.slots, slot + 1)->number == 0);
	CU_ASSERT(ruleset_slots_entry(w.slots, slot + 2)->number == 0);
	CU_ASSERT(put(&w, make(&made, 101, 1, 1), true) == slot + 1);
	end(&w);
}

static const struct unit_test tests[] = {
	UNIT_TEST(cells_stand_in_rows_of_peer_classes),
	UNIT_TEST(a_range_that_is_used_again_keeps_nothing_of_the_set_before),
	UNIT_TEST(slots_are_used_again_after_the_sweep_only),
	UNIT_TEST(a_set_whose_table_finds_no_range_goes_to_the_hash),
	UNIT_TEST(no_slot_is_left_over_when_all_are_taken),
	UNIT_TEST(a_restart_learns_slots_and_ranges),
	UNIT_TEST(an_element_that_cannot_be_right_is_emptied),
};

int main(void)
{
	return UNIT_RUN("ruleset slots", tests);
}
