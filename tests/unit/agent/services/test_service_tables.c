/* SPDX-License-Identifier: Apache-2.0 */
/* Tables in the kernel's map: when they are shared, when their cells are used again, what a restart
 * finds. Needs root. */
#include "agent/services/service_tables.h"

#include <arpa/inet.h>
#include <errno.h>

#include "agent/common/maglev.h"
#include "tests/unit/small_maps.h"
#include "tests/unit/unit.h"

#define SIZE 67 /* cells: three elements */
#define EACH 3
#define ROOM 448 /* cells of the map: four tables, and two elements */

struct world {
	struct config config;
	struct maps *maps;
	struct service_tables *tables;
};

static void begin(struct world *w)
{
	*w = (struct world){.config = small_config(ROOM)};
	w->maps = small_maps(&w->config, NULL);
	CU_ASSERT_FATAL(maps_get(w->maps, MAP_SERVICE_TABLES)->max_entries == ROOM / SERVICE_CELLS);
	CU_ASSERT_FATAL(service_tables_open(w->maps, SIZE, &w->tables) == 0);
}

static void end(struct world *w)
{
	service_tables_close(w->tables);
	maps_close(w->maps);
}

/* As the agent that comes next finds it. */
static void restart(struct world *w)
{
	service_tables_close(w->tables);
	CU_ASSERT_FATAL(service_tables_open(w->maps, SIZE, &w->tables) == 0);
}

static void prune(struct world *w)
{
	service_tables_prune_mark(w->tables);
	service_tables_prune(w->tables);
}

/* 10.1.N.1 to 10.1.N.COUNT. */
static const struct backend *set_of(int n, int count)
{
	static struct backend list[SIZE + 1];

	for (int i = 0; i < count; i++) {
		list[i] = (struct backend){.port_be = htons(80)};
		list[i].addr.words_be[2] = htonl(0xffff);
		list[i].addr.words_be[3] = htonl(0x0a010000 + n * 256 + i + 1);
	}
	return list;
}

static struct service_table take(struct world *w, int n, int count)
{
	struct service_table table = {};

	CU_ASSERT_FATAL(service_tables_take(w->tables, set_of(n, count), NULL, count, &table) == 0);
	return table;
}

static bool holds(struct world *w, const struct service_table *table, int n, int count)
{
	uint16_t expected[SIZE];
	const struct service_cells *cells;

	CU_ASSERT_FATAL(maglev_fill(set_of(n, count), NULL, count, SIZE, expected) == 0);
	for (uint32_t i = 0; i < SIZE; i++) {
		cells = maps_element(w->maps, MAP_SERVICE_TABLES, table->first + i / SERVICE_CELLS);
		if (!cells || cells->places[i % SERVICE_CELLS] != expected[i])
			return false;
	}
	return table->size == SIZE;
}

static void a_table_stands_in_the_map(void)
{
	struct service_table table;
	struct world w;

	begin(&w);
	table = take(&w, 1, 3);
	CU_ASSERT(holds(&w, &table, 1, 3));
	CU_ASSERT(service_tables_count(w.tables) == 1);
	CU_ASSERT(service_tables_elements_used(w.tables) == EACH);
	end(&w);
}

static void equal_sets_share_one(void)
{
	struct service_table one, same, other, weighted;
	const uint16_t weights[3] = {1, 2, 3};
	struct world w;

	begin(&w);
	one = take(&w, 1, 3);
	same = take(&w, 1, 3);
	other = take(&w, 2, 3);
	CU_ASSERT(service_tables_take(w.tables, set_of(1, 3), weights, 3, &weighted) == 0);
	CU_ASSERT(one.first == same.first && one.first != other.first);
	CU_ASSERT(weighted.first != one.first && weighted.first != other.first);
	CU_ASSERT(service_tables_count(w.tables) == 3);
	service_tables_give(w.tables, &one);
	prune(&w);
	CU_ASSERT(holds(&w, &same, 1, 3) && service_tables_elements_used(w.tables) == 3 * EACH);
	end(&w);
}

/* What has been given back may still be read by a program that runs. */
static void cells_are_not_used_again_before_programs_have_ended(void)
{
	struct service_table one, two, three;
	struct world w;

	begin(&w);
	one = take(&w, 1, 3);
	service_tables_give(w.tables, &one);
	two = take(&w, 2, 3);
	CU_ASSERT(two.first != one.first && holds(&w, &one, 1, 3));
	service_tables_prune_mark(w.tables);
	service_tables_give(w.tables, &two); /* behind the mark */
	CU_ASSERT(service_tables_prune(w.tables) == 1);
	three = take(&w, 3, 3);
	CU_ASSERT(three.first == one.first && holds(&w, &two, 2, 3));
	prune(&w);
	CU_ASSERT(service_tables_elements_used(w.tables) == EACH);
	end(&w);
}

static void one_that_is_taken_again_stays(void)
{
	struct service_table one, again;
	struct world w;

	begin(&w);
	one = take(&w, 1, 3);
	service_tables_give(w.tables, &one);
	service_tables_prune_mark(w.tables);
	again = take(&w, 1, 3);
	CU_ASSERT(again.first == one.first);
	CU_ASSERT(service_tables_prune(w.tables) == 0 && holds(&w, &again, 1, 3));
	service_tables_give(w.tables, &again);
	/* Given back behind the mark: the next one takes it. */
	CU_ASSERT(service_tables_prune(w.tables) == 0);
	service_tables_prune_mark(w.tables);
	CU_ASSERT(service_tables_prune(w.tables) == 1);
	CU_ASSERT(service_tables_elements_used(w.tables) == 0);
	end(&w);
}

static void a_full_map_is_told_and_changes_nothing(void)
{
	struct service_table tables[4], one = {1, 2};
	struct world w;

	begin(&w);
	for (int i = 0; i < 4; i++)
		tables[i] = take(&w, i, 3);
	CU_ASSERT(service_tables_take(w.tables, set_of(9, 3), NULL, 3, &one) == -E2BIG);
	CU_ASSERT(one.first == 1 && one.size == 2);
	for (int i = 0; i < 4; i++)
		CU_ASSERT(holds(&w, &tables[i], i, 3));
	CU_ASSERT(service_tables_longest_free(w.tables) == ROOM / SERVICE_CELLS - 4 * EACH);
	service_tables_give(w.tables, &tables[2]);
	prune(&w);
	CU_ASSERT(take(&w, 9, 3).first == tables[2].first);
	end(&w);
}

static void more_endpoints_than_cells_are_refused(void)
{
	struct service_table table;
	struct world w;

	begin(&w);
	CU_ASSERT(service_tables_take(w.tables, set_of(1, SIZE + 1), NULL, SIZE + 1, &table) ==
		  -ERANGE);
	table = take(&w, 1, SIZE);
	CU_ASSERT(holds(&w, &table, 1, SIZE));
	end(&w);
}

static void a_restart_finds_tables_by_what_is_in_them(void)
{
	struct service_table one, two, found, left;
	struct world w;

	begin(&w);
	one = take(&w, 1, 3);
	two = take(&w, 2, 4);
	restart(&w);
	CU_ASSERT(service_tables_inherit(w.tables, &one) == 0);
	CU_ASSERT(service_tables_inherit(w.tables, &two) == 0);
	CU_ASSERT(service_tables_inherit(w.tables, &two) == 0); /* of another entry */
	left = take(&w, 3, 3);
	CU_ASSERT(left.first != one.first && left.first != two.first);
	found = take(&w, 2, 4);
	CU_ASSERT(found.first == two.first);
	prune(&w); /* what is inherited stays until it is known to be nobody's */
	CU_ASSERT(service_tables_elements_used(w.tables) == 3 * EACH);
	service_tables_disinherit(w.tables);
	prune(&w);
	CU_ASSERT(service_tables_elements_used(w.tables) == 2 * EACH && holds(&w, &two, 2, 4));
	end(&w);
}

static void what_cannot_be_a_table_is_not_inherited(void)
{
	const struct service_table one = {.first = 5, .size = SIZE},
				   meets = {.first = 7, .size = SIZE},
				   longer = {.first = 5, .size = SIZE + 4},
				   beyond = {.first = 12, .size = SIZE}, none = {};
	struct world w;

	begin(&w);
	CU_ASSERT(service_tables_inherit(w.tables, &one) == 0);
	CU_ASSERT(service_tables_inherit(w.tables, &meets) == -EEXIST);
	CU_ASSERT(service_tables_inherit(w.tables, &longer) == -EEXIST);
	CU_ASSERT(service_tables_inherit(w.tables, &beyond) == -ERANGE);
	CU_ASSERT(service_tables_inherit(w.tables, &none) == 0);
	CU_ASSERT(service_tables_elements_used(w.tables) == EACH);
	end(&w);
}

static void one_of_another_size_is_not_taken_for_a_new_one(void)
{
	struct service_table old, new;
	struct world w;

	begin(&w);
	old = take(&w, 1, 3);
	service_tables_close(w.tables);
	CU_ASSERT_FATAL(service_tables_open(w.maps, 71, &w.tables) == 0);
	CU_ASSERT(service_tables_inherit(w.tables, &old) == 0);
	new = take(&w, 1, 3);
	CU_ASSERT(new.size == 71 && new.first == old.first + EACH);
	end(&w);
}

/* Sets that come and go, beside a list of who has what. */
static void a_thousand_steps_leave_every_table_as_it_was_made(void)
{
	struct service_table held[4] = {};
	int sets[4] = {};
	struct world w;

	begin(&w);
	srand(7);
	for (int step = 0; step < 1000; step++) {
		int at = rand() % 4;

		service_tables_give(w.tables, &held[at]);
		held[at] = (struct service_table){};
		sets[at] = rand() % 6;
		if (service_tables_take(w.tables, set_of(sets[at], 3), NULL, 3, &held[at]) < 0)
			CU_ASSERT(service_tables_longest_free(w.tables) < EACH);
		for (int i = 0; i < 4; i++)
			CU_ASSERT(!held[i].size || holds(&w, &held[i], sets[i], 3));
		if (step % 3 == 0)
			service_tables_prune_mark(w.tables);
		if (step % 3 == 2)
			service_tables_prune(w.tables);
	}
	for (int i = 0; i < 4; i++)
		service_tables_give(w.tables, &held[i]);
	prune(&w);
	CU_ASSERT(service_tables_elements_used(w.tables) == 0 &&
		  service_tables_count(w.tables) == 0);
	end(&w);
}

static const struct unit_test tests[] = {
	UNIT_TEST(a_table_stands_in_the_map),
	UNIT_TEST(equal_sets_share_one),
	UNIT_TEST(cells_are_not_used_again_before_programs_have_ended),
	UNIT_TEST(one_that_is_taken_again_stays),
	UNIT_TEST(a_full_map_is_told_and_changes_nothing),
	UNIT_TEST(more_endpoints_than_cells_are_refused),
	UNIT_TEST(a_restart_finds_tables_by_what_is_in_them),
	UNIT_TEST(what_cannot_be_a_table_is_not_inherited),
	UNIT_TEST(one_of_another_size_is_not_taken_for_a_new_one),
	UNIT_TEST(a_thousand_steps_leave_every_table_as_it_was_made),
};

int main(void)
{
	return UNIT_RUN("service tables", tests);
}
