/* SPDX-License-Identifier: Apache-2.0 */
/* When the other slot may be written, and when a grace period begins. */
#include "agent/reconcile/slots.h"

#include "tests/unit/unit.h"

#define MS 1000000ull

static void a_run_makes_a_grace_period_due_some_time_later(void)
{
	struct slots s = {};

	CU_ASSERT(slots_due(&s) == SLOTS_NEVER);
	CU_ASSERT(!slots_begin(&s));
	slots_ran(&s, false, 100 * MS);
	CU_ASSERT(slots_due(&s) == 150 * MS);
	/* More runs do not put it off. */
	slots_ran(&s, false, 120 * MS);
	CU_ASSERT(slots_due(&s) == 150 * MS);
	CU_ASSERT(slots_writable(&s));
	CU_ASSERT(slots_begin(&s));
	CU_ASSERT(s.grace == GRACE_RUNNING);
	CU_ASSERT(slots_due(&s) == SLOTS_NEVER);
	CU_ASSERT(!slots_begin(&s));
	CU_ASSERT(slots_end(&s, false, 151 * MS));
	CU_ASSERT(s.grace == GRACE_IDLE && s.state == SLOTS_ALIKE);
}

static void after_a_switch_the_other_slot_is_written_only_after_a_grace_period(void)
{
	struct slots s = {};

	slots_ran(&s, true, 100 * MS);
	CU_ASSERT(s.state == SLOTS_SWITCHED);
	CU_ASSERT(!slots_writable(&s));
	/* Services alone run meanwhile. */
	slots_ran(&s, false, 110 * MS);
	CU_ASSERT(!slots_writable(&s));
	CU_ASSERT(slots_begin(&s));
	CU_ASSERT(s.state == SLOTS_WAITING);
	CU_ASSERT(!slots_writable(&s));
	CU_ASSERT(slots_end(&s, false, 160 * MS));
	CU_ASSERT(slots_writable(&s));
}

static void a_run_that_has_to_wait_brings_the_grace_period_forward(void)
{
	struct slots s = {};

	slots_ran(&s, true, 100 * MS);
	slots_hurry(&s);
	CU_ASSERT(slots_due(&s) == 0);
	CU_ASSERT(slots_begin(&s));
	/* It is under way: nothing more is needed. */
	slots_hurry(&s);
	CU_ASSERT(slots_end(&s, false, 101 * MS));
	CU_ASSERT(s.grace == GRACE_IDLE);
	/* The next one comes at the time that was set for this one. */
	slots_ran(&s, false, 110 * MS);
	CU_ASSERT(slots_due(&s) == 150 * MS);
}

static void while_runs_have_to_wait_a_switch_is_followed_by_its_grace_period_at_once(void)
{
	struct slots s = {};

	slots_ran(&s, true, 100 * MS);
	slots_hurry(&s);
	slots_ran(&s, false, 110 * MS);
	CU_ASSERT(slots_begin(&s));
	CU_ASSERT(slots_end(&s, false, 118 * MS));
	slots_ran(&s, true, 118 * MS);
	CU_ASSERT(slots_due(&s) == 0);
	CU_ASSERT(slots_begin(&s));
	CU_ASSERT(slots_end(&s, false, 126 * MS));
	/* What switches nothing has time, and so has a switch when nobody has waited for a second.
	 */
	slots_ran(&s, false, 130 * MS);
	CU_ASSERT(slots_due(&s) > 130 * MS);
	CU_ASSERT(slots_begin(&s));
	CU_ASSERT(slots_end(&s, false, 190 * MS));
	slots_ran(&s, true, 1110 * MS);
	CU_ASSERT(slots_due(&s) > 1110 * MS);
}

static void what_a_grace_period_did_not_cover_gets_another_one(void)
{
	struct slots s = {};

	slots_ran(&s, false, 100 * MS);
	CU_ASSERT(slots_begin(&s));
	slots_ran(&s, false, 155 * MS);
	CU_ASSERT(s.grace == GRACE_OVERTAKEN);
	CU_ASSERT(slots_due(&s) == SLOTS_NEVER);
	CU_ASSERT(slots_end(&s, false, 160 * MS));
	CU_ASSERT(slots_due(&s) == 205 * MS);
}

static void a_stream_of_runs_without_a_switch_does_not_keep_the_slots_apart(void)
{
	struct slots s = {};

	slots_ran(&s, true, 100 * MS);
	CU_ASSERT(slots_begin(&s));
	slots_ran(&s, false, 151 * MS);
	/* The grace period covers the switch, if not all that came behind it. */
	CU_ASSERT(slots_end(&s, false, 152 * MS));
	CU_ASSERT(s.state == SLOTS_ALIKE && s.grace == GRACE_DUE);
}

static void a_switch_while_a_grace_period_runs_is_not_covered_by_it(void)
{
	struct slots s = {};

	slots_ran(&s, false, 100 * MS);
	CU_ASSERT(slots_begin(&s));
	slots_ran(&s, true, 151 * MS);
	CU_ASSERT(s.state == SLOTS_SWITCHED && s.grace == GRACE_OVERTAKEN);
	slots_hurry(&s);
	CU_ASSERT(!slots_end(&s, false, 152 * MS));
	CU_ASSERT(!slots_writable(&s));
	CU_ASSERT(slots_due(&s) == 0);
	CU_ASSERT(slots_begin(&s));
	CU_ASSERT(slots_end(&s, false, 153 * MS));
	CU_ASSERT(slots_writable(&s));
}

static void a_grace_period_that_failed_is_tried_again_and_nothing_is_written(void)
{
	struct slots s = {};

	slots_ran(&s, true, 100 * MS);
	CU_ASSERT(slots_begin(&s));
	CU_ASSERT(!slots_end(&s, true, 160 * MS));
	CU_ASSERT(s.state == SLOTS_SWITCHED);
	CU_ASSERT(slots_due(&s) == 5160 * MS);
	/* Unless a change wants to get in. */
	slots_hurry(&s);
	CU_ASSERT(slots_due(&s) == 0);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(a_run_makes_a_grace_period_due_some_time_later),
		UNIT_TEST(after_a_switch_the_other_slot_is_written_only_after_a_grace_period),
		UNIT_TEST(a_run_that_has_to_wait_brings_the_grace_period_forward),
		UNIT_TEST(while_runs_have_to_wait_a_switch_is_followed_by_its_grace_period_at_once),
		UNIT_TEST(what_a_grace_period_did_not_cover_gets_another_one),
		UNIT_TEST(a_stream_of_runs_without_a_switch_does_not_keep_the_slots_apart),
		UNIT_TEST(a_switch_while_a_grace_period_runs_is_not_covered_by_it),
		UNIT_TEST(a_grace_period_that_failed_is_tried_again_and_nothing_is_written),
	};

	return UNIT_RUN("slots", tests);
}
