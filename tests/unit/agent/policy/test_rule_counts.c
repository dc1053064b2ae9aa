/* SPDX-License-Identifier: Apache-2.0 */
/* Which rules have a counter, and for how long. On the kernel's maps; needs root. */
#include "agent/policy/rule_counts.h"

#include "agent/config/config.h"
#include "tests/unit/small_maps.h"
#include "tests/unit/unit.h"

/* Rules, and numbers of sets. */
#define ROOM 4

struct world {
	struct config config;
	struct maps *maps;
	struct rule_counts *counts;
};

static void begin(struct world *w)
{
	*w = (struct world){.config = small_config(64)};
	w->config.max_rule_counters = ROOM;
	w->maps = small_maps(&w->config, NULL);
	CU_ASSERT_FATAL(rule_counts_open(w->maps, &w->counts) == 0);
}

static void end(struct world *w)
{
	rule_counts_close(w->counts);
	maps_close(w->maps);
}

static struct compiled_cell cell_of(uint32_t rule)
{
	return (struct compiled_cell){.cell = {.rule = {rule}}};
}

static bool is_counted(const struct world *w, uint32_t rule)
{
	return rule_counts_counted(w->counts, rule);
}

static void a_rule_is_counted_while_some_set_names_it(void)
{
	struct compiled_cell a = cell_of(1), b[] = {cell_of(1), cell_of(2)};
	const struct compiled_ruleset first = {.id = 10, .cells = &a, .cell_count = 1},
				      second = {.id = 11, .cells = b, .cell_count = 2};
	struct world w;

	begin(&w);
	CU_ASSERT(rule_counts_hold(w.counts, &first) == 0);
	CU_ASSERT(rule_counts_hold(w.counts, &second) == 0);
	CU_ASSERT(is_counted(&w, 1) && is_counted(&w, 2) && is_counted(&w, RULE_DEFAULT | 10));
	rule_counts_release(w.counts, &first);
	rule_counts_prune(w.counts);
	CU_ASSERT(is_counted(&w, 1) && is_counted(&w, 2) && !is_counted(&w, RULE_DEFAULT | 10));
	rule_counts_release(w.counts, &second);
	rule_counts_prune(w.counts);
	CU_ASSERT(!is_counted(&w, 1) && !is_counted(&w, 2) && !is_counted(&w, RULE_DEFAULT | 11));
	end(&w);
}

static void a_set_that_is_back_before_the_sweep_keeps_its_rules(void)
{
	struct compiled_cell a = cell_of(1);
	const struct compiled_ruleset set = {.id = 10, .cells = &a, .cell_count = 1};
	struct world w;

	begin(&w);
	CU_ASSERT(rule_counts_hold(w.counts, &set) == 0);
	rule_counts_release(w.counts, &set);
	CU_ASSERT(rule_counts_hold(w.counts, &set) == 0);
	rule_counts_prune(w.counts);
	CU_ASSERT(is_counted(&w, 1));
	/* Held again by one that looks at all sets: still once. */
	CU_ASSERT(rule_counts_hold(w.counts, &set) == 0);
	rule_counts_release(w.counts, &set);
	rule_counts_prune(w.counts);
	CU_ASSERT(!is_counted(&w, 1));
	end(&w);
}

static void what_no_set_has_held_again_goes(void)
{
	struct compiled_cell a = cell_of(1), b = cell_of(2);
	const struct compiled_ruleset first = {.id = 10, .cells = &a, .cell_count = 1},
				      second = {.id = 11, .cells = &b, .cell_count = 1};
	struct world w;

	begin(&w);
	CU_ASSERT(rule_counts_hold(w.counts, &first) == 0);
	CU_ASSERT(rule_counts_hold(w.counts, &second) == 0);
	rule_counts_release_all(w.counts);
	CU_ASSERT(rule_counts_hold(w.counts, &second) == 0);
	rule_counts_prune(w.counts);
	CU_ASSERT(!is_counted(&w, 1) && is_counted(&w, 2));
	rule_counts_release_all(w.counts);
	rule_counts_prune(w.counts);
	CU_ASSERT(!is_counted(&w, 2));
	end(&w);
}

static void a_rule_without_room_is_told_and_gets_the_first_that_comes(void)
{
	struct compiled_cell a[] = {cell_of(1), cell_of(2), cell_of(3)}, b = cell_of(4);
	const struct compiled_ruleset first = {.id = 10, .cells = a, .cell_count = 3},
				      second = {.id = 11, .cells = &b, .cell_count = 1};
	struct world w;

	begin(&w);
	CU_ASSERT(rule_counts_hold(w.counts, &first) == 0);
	CU_ASSERT(rule_counts_uncounted(w.counts) == 0);
	CU_ASSERT(rule_counts_hold(w.counts, &second) == 0);
	CU_ASSERT(rule_counts_uncounted(w.counts) == 2 && !is_counted(&w, 4));
	/* One that goes without having found any is not told any more. */
	rule_counts_release(w.counts, &second);
	rule_counts_prune(w.counts);
	CU_ASSERT(rule_counts_uncounted(w.counts) == 0);
	CU_ASSERT(rule_counts_hold(w.counts, &second) == 0);
	CU_ASSERT(rule_counts_uncounted(w.counts) == 2);
	rule_counts_release(w.counts, &first);
	rule_counts_prune(w.counts);
	CU_ASSERT(rule_counts_uncounted(w.counts) == 0 && is_counted(&w, 4));
	end(&w);
}

static void what_flows_that_are_over_have_counted_outlives_the_agent(void)
{
	struct compiled_cell a = cell_of(1);
	const struct compiled_ruleset set = {.id = 10, .cells = &a, .cell_count = 1};
	const struct flow_rules rules = {.egress_rule = 1};
	struct rule_counter counter;
	struct world w;

	begin(&w);
	CU_ASSERT(rule_counts_hold(w.counts, &set) == 0);
	for (int i = 1; i <= 2; i++) {
		rule_counts_over(&rules, 3, 300, w.counts);
		rule_counts_flush(w.counts);
		rule_counts_close(w.counts);
		CU_ASSERT_FATAL(rule_counts_open(w.maps, &w.counts) == 0);
		counter = rule_counts_get(w.counts, 1);
		CU_ASSERT(counter.packets == (uint64_t)(3 * i));
		CU_ASSERT(counter.bytes == (uint64_t)(300 * i));
		CU_ASSERT(rule_counts_hold(w.counts, &set) == 0);
	}
	end(&w);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(a_rule_is_counted_while_some_set_names_it),
		UNIT_TEST(a_set_that_is_back_before_the_sweep_keeps_its_rules),
		UNIT_TEST(what_no_set_has_held_again_goes),
		UNIT_TEST(a_rule_without_room_is_told_and_gets_the_first_that_comes),
		UNIT_TEST(what_flows_that_are_over_have_counted_outlives_the_agent),
	};

	return UNIT_RUN("rule counts", tests);
}
