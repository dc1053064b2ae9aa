/* SPDX-License-Identifier: Apache-2.0 */
/* When the reconciler looks through the flow table. */
#include <errno.h>

#include "tests/unit/agent/reconcile/reconciler_world.h"
#include "tests/unit/unit.h"

static uint64_t turn_after_a_pod(struct world *w, int number)
{
	world_put_pod(w, number);
	CU_ASSERT(reconciler_run(w->reconciler) == 0);
	return reconciler_due(w->reconciler).turn_ns;
}

static void looks_that_take_long_are_apart_in_a_stream_of_changes(void)
{
	struct world w;

	world_begin(&w);
	w.now += 1000 * MS;
	for (int i = 1; i < 6; i++) {
		CU_ASSERT(turn_after_a_pod(&w, i) <= w.now);
		w.tick = i < 4 ? 0 : 15 * MS;
		reconciler_end_turn(w.reconciler);
		w.tick = 0;
	}
	w.now += 10 * MS;
	CU_ASSERT(turn_after_a_pod(&w, 6) > w.now);
	CU_ASSERT(turn_after_a_pod(&w, 7) <= w.now - 10 * MS + RECONCILER_LOOK_MAX_NS);
	world_end(&w);
}

/* A first look that comes while a grace period runs. */
static void a_look_wants_a_grace_period_of_its_own(void)
{
	struct world w;

	world_begin(&w);
	world_put_policy(&w, 1);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(reconciler_begin(w.reconciler));
	CU_ASSERT(reconciler_due(w.reconciler).turn_ns <= w.now);
	reconciler_end_turn(w.reconciler);
	reconciler_commit(w.reconciler, 0);
	CU_ASSERT(reconciler_due(w.reconciler).begin_ns != SLOTS_NEVER);
	world_end(&w);
}

static void flows_are_reevaluated_when_a_wait_for_their_second_look_fails(void)
{
	uint32_t before;
	struct world w;

	world_begin(&w);
	before = world_generation(&w);
	world_put_policy(&w, 1);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	reconciler_end_turn(w.reconciler);
	CU_ASSERT(world_generation(&w) == before);
	CU_ASSERT(reconciler_begin(w.reconciler));
	reconciler_commit(w.reconciler, -EPERM);
	CU_ASSERT(world_generation(&w) == before + 1);
	world_commit(&w);
	world_end(&w);
}

static void a_second_look_that_was_taken_is_not_owed_any_more(void)
{
	uint32_t before;
	struct world w;

	world_begin(&w);
	world_put_policy(&w, 1);
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	reconciler_end_turn(w.reconciler);
	world_commit(&w);
	before = world_generation(&w);
	reconciler_synced(w.reconciler); /* a run that touches nothing */
	CU_ASSERT(reconciler_run(w.reconciler) == 0);
	CU_ASSERT(reconciler_begin(w.reconciler));
	reconciler_commit(w.reconciler, -EPERM);
	CU_ASSERT(world_generation(&w) == before);
	world_end(&w);
}

static void a_pod_inherits_no_flows_of_one_that_just_left(void)
{
	uint32_t before;
	struct world w;

	world_begin(&w);
	before = world_generation(&w);
	reconciler_detach(w.reconciler, &w.pod);
	CU_ASSERT(world_generation(&w) == before);
	CU_ASSERT(reconciler_attach(w.reconciler, &w.pod) == 0);
	CU_ASSERT(world_generation(&w) == before + 1);
	world_end(&w);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(looks_that_take_long_are_apart_in_a_stream_of_changes),
		UNIT_TEST(a_look_wants_a_grace_period_of_its_own),
		UNIT_TEST(flows_are_reevaluated_when_a_wait_for_their_second_look_fails),
		UNIT_TEST(a_second_look_that_was_taken_is_not_owed_any_more),
		UNIT_TEST(a_pod_inherits_no_flows_of_one_that_just_left),
	};

	return UNIT_RUN("reconciler_looks", tests);
}
