/* SPDX-License-Identifier: Apache-2.0 */
/* Flows of addresses that were touched: which look finds them, and when all are re-evaluated. On
 * the kernel's maps; needs root. */
#include "agent/reconcile/touched.h"

#include <arpa/inet.h>

#include "agent/kernel/flow_table.h"
#include "tests/unit/agent/policy/sync_world.h"
#include "tests/unit/unit.h"

#define PODS 64

struct touch_world {
	struct sync_world w;
	struct flows *flows;
	struct touched *touched;
};

static uint32_t generation(const struct sync_world *w)
{
	return maps_control(w->maps)->generation;
}

static void touch_begin(struct touch_world *t)
{
	struct flows_maps tables;

	t->w = (struct sync_world){};
	sync_world_begin(&t->w, NULL);
	sync_world_run_and_commit(&t->w);
	tables = flows_maps_of(t->w.maps);
	t->flows = flows_new(&tables);
	CU_ASSERT_FATAL(t->flows != NULL);
	t->touched = touched_new(t->w.maps, t->flows);
	CU_ASSERT_FATAL(t->touched != NULL);
}

static void touch_end(struct touch_world *t)
{
	touched_free(t->touched);
	flows_free(t->flows);
	sync_world_end(&t->w);
}

/* What a program writes: a flow from the pod to an address. `seq` odd: it has not ended. */
static void place_flow_at(struct touch_world *t, const struct polder_addr *to, uint32_t seq)
{
	struct flow4_set set = {};
	uint32_t zero = 0;
	uint64_t tags = 0x55;
	struct flow4 *flow = &set.way[0];
	struct flow_tuple tuple = {.v4.saddr_be = t->w.pod.ipv4.words_be[3],
				   .v4.daddr_be = to->words_be[3]};

	tuple.proto = IPPROTO_UDP;
	memcpy(flow->key, tuple.words, sizeof(flow->key));
	flow->head.seq = seq;
	flow->head.generation = generation(&t->w);
	CU_ASSERT_FATAL(maps_put(t->w.maps, MAP_FLOWS4, &zero, &set) == 0);
	CU_ASSERT_FATAL(maps_put(t->w.maps, MAP_FLOW_TAGS4, &zero, &tags) == 0);
}

static void place_flow(struct touch_world *t, const struct polder_addr *to)
{
	place_flow_at(t, to, 0);
}

static uint32_t flow_generation(struct touch_world *t)
{
	struct flow4_set set = {};
	uint32_t zero = 0;

	CU_ASSERT_FATAL(maps_find(t->w.maps, MAP_FLOWS4, &zero, &set) == 0);
	return set.way[0].head.generation;
}

static void what_a_program_writes_behind_the_first_look_is_found_by_the_second(void)
{
	struct polder_addr changed = sync_world_addr("10.2.0.1");
	struct touch_world t;
	uint32_t before;

	touch_begin(&t);
	before = generation(&t.w);
	touched_change(t.touched, &changed);
	CU_ASSERT(touched_owes_look(t.touched));
	touched_look(t.touched);
	CU_ASSERT(!touched_owes_look(t.touched));
	place_flow(&t, &changed);
	/* A wait that began before the first look does not count. */
	touched_second_look(t.touched);
	CU_ASSERT(flow_generation(&t) == before);
	touched_mark(t.touched);
	touched_second_look(t.touched);
	CU_ASSERT(flow_generation(&t) == FLOW_GENERATION_DOUBTED);
	CU_ASSERT(generation(&t.w) == before);
	touch_end(&t);
}

static void an_entry_that_a_writer_holds_moves_the_generation(void)
{
	const struct polder_addr changed = sync_world_addr("10.9.0.9");
	struct touch_world t;
	uint32_t before;

	touch_begin(&t);
	before = generation(&t.w);
	place_flow_at(&t, &changed, 3);
	touched_change(t.touched, &changed);
	touched_look(t.touched);
	CU_ASSERT(generation(&t.w) == before + 1);
	touch_end(&t);
}

static void an_address_given_again_at_once_moves_the_generation(void)
{
	struct local_pod gone = {.ifindex = 65540, .ipv4 = sync_world_addr("10.1.0.7")},
			 other = {.ifindex = 65541, .ipv4 = sync_world_addr("10.1.0.8")};
	struct local_pod heir = {.ifindex = 65542, .ipv4 = sync_world_addr("10.1.0.7")},
			 place = {.ifindex = 65540 + PODS, .ipv4 = sync_world_addr("10.1.0.9")};
	struct touch_world t;
	uint32_t before;

	touch_begin(&t);
	for (int i = 0; i < 2; i++) {
		before = generation(&t.w);
		touched_leave(t.touched, &gone);
		place_flow(&t, &gone.ipv4);
		touched_enter(t.touched, &other);
		CU_ASSERT(generation(&t.w) == before && flow_generation(&t) == before);
		touched_enter(t.touched, i ? &heir : &place);
		CU_ASSERT(generation(&t.w) == before + 1);
		CU_ASSERT(flow_generation(&t) == 0); /* forgotten before the next one is there */
		/* Its own flows stay. */
		place_flow(&t, &gone.ipv4);
		touched_mark(t.touched);
		touched_second_look(t.touched);
		CU_ASSERT(flow_generation(&t) == before + 1);
	}
	touch_end(&t);
}

static void more_changes_than_are_looked_for_move_the_generation_once(void)
{
	struct polder_addr changed = sync_world_addr("10.3.0.0");
	struct touch_world t;
	uint32_t before;

	touch_begin(&t);
	before = generation(&t.w);
	for (int i = 0; i < 5000; i++) {
		changed.words_be[3] = htonl(0x0a030000 + i);
		touched_change(t.touched, &changed);
	}
	CU_ASSERT(generation(&t.w) == before + 1);
	touch_end(&t);
}

static void without_a_wait_every_flow_is_reevaluated(void)
{
	struct polder_addr changed = sync_world_addr("10.2.0.1");
	struct touch_world t;
	uint32_t before;

	touch_begin(&t);
	before = generation(&t.w);
	touched_change(t.touched, &changed);
	touched_look(t.touched);
	touched_mark(t.touched);
	touched_give_up(t.touched);
	CU_ASSERT(generation(&t.w) == before + 1);
	touched_give_up(t.touched);
	CU_ASSERT(generation(&t.w) == before + 1);
	touch_end(&t);
}

static void a_wait_covers_what_had_its_first_look_when_it_began(void)
{
	struct polder_addr early = sync_world_addr("10.2.0.1"), late = sync_world_addr("10.2.0.2");
	struct touch_world t;
	uint32_t before;

	touch_begin(&t);
	before = generation(&t.w);
	touched_change(t.touched, &early);
	touched_look(t.touched);
	touched_mark(t.touched);
	touched_change(t.touched, &late);
	touched_look(t.touched);
	place_flow(&t, &late);
	touched_second_look(t.touched);
	CU_ASSERT(flow_generation(&t) == before);
	touched_mark(t.touched);
	touched_second_look(t.touched);
	CU_ASSERT(flow_generation(&t) == FLOW_GENERATION_DOUBTED);
	touch_end(&t);
}

/* A flow of the new generation is another one than those that it has overtaken. */
static void an_address_told_again_behind_a_new_generation_is_looked_for(void)
{
	struct polder_addr changed = sync_world_addr("10.2.0.1");
	struct touch_world t;

	touch_begin(&t);
	touched_change(t.touched, &changed);
	maps_move_generation(t.w.maps);
	place_flow(&t, &changed);
	touched_change(t.touched, &changed);
	touched_look(t.touched);
	CU_ASSERT(flow_generation(&t) == FLOW_GENERATION_DOUBTED);
	touch_end(&t);
}

static void an_address_given_again_leaves_others_to_the_wait_that_runs(void)
{
	struct local_pod gone = {.ifindex = 65540, .ipv4 = sync_world_addr("10.1.0.7")},
			 other = {.ifindex = 65541, .ipv4 = sync_world_addr("10.1.0.8")},
			 heir = {.ifindex = 65542, .ipv4 = sync_world_addr("10.1.0.7")};
	struct touch_world t;

	touch_begin(&t);
	touched_leave(t.touched, &gone);
	touched_leave(t.touched, &other);
	touched_mark(t.touched);
	touched_enter(t.touched, &heir);
	place_flow(&t, &other.ipv4);
	touched_second_look(t.touched);
	CU_ASSERT(flow_generation(&t) == 0);
	touch_end(&t);
}

/* The pod stands behind the node's address: only by the owner is the flow known as its. */
static void flows_that_count_for_a_pod_are_touched_with_it(void)
{
	struct local_pod gone = {.ifindex = 65540, .ipv4 = sync_world_addr("10.1.0.7")};
	uint32_t place = gone.ifindex % PODS, zero = 0;
	struct polder_addr owner = flow_owner_addr(place, FAMILY_V4),
			   foreign = sync_world_addr("10.9.0.9");
	struct touch_world t;
	struct flow4_set set;

	touch_begin(&t);
	for (int leaves = 0; leaves < 2; leaves++) {
		place_flow(&t, &foreign);
		CU_ASSERT_FATAL(maps_find(t.w.maps, MAP_FLOWS4, &zero, &set) == 0);
		set.way[0].head.owner = place;
		CU_ASSERT_FATAL(maps_put(t.w.maps, MAP_FLOWS4, &zero, &set) == 0);
		if (leaves)
			touched_leave(t.touched, &gone);
		else
			touched_change(t.touched, &owner);
		touched_look(t.touched);
		touched_mark(t.touched);
		touched_second_look(t.touched);
		CU_ASSERT(flow_generation(&t) == (leaves ? 0 : FLOW_GENERATION_DOUBTED));
	}
	touch_end(&t);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(what_a_program_writes_behind_the_first_look_is_found_by_the_second),
		UNIT_TEST(an_entry_that_a_writer_holds_moves_the_generation),
		UNIT_TEST(an_address_given_again_at_once_moves_the_generation),
		UNIT_TEST(more_changes_than_are_looked_for_move_the_generation_once),
		UNIT_TEST(without_a_wait_every_flow_is_reevaluated),
		UNIT_TEST(a_wait_covers_what_had_its_first_look_when_it_began),
		UNIT_TEST(an_address_told_again_behind_a_new_generation_is_looked_for),
		UNIT_TEST(an_address_given_again_leaves_others_to_the_wait_that_runs),
		UNIT_TEST(flows_that_count_for_a_pod_are_touched_with_it),
	};

	return UNIT_RUN("touched", tests);
}
