/* SPDX-License-Identifier: Apache-2.0 */
/* The most of any number of flows, in order. */
#include "agent/kernel/flows_top.h"

#include "tests/unit/unit.h"

static struct flow_record record_of(uint64_t bytes, uint32_t packets, uint32_t idle)
{
	return (struct flow_record){.flow = {.bytes = bytes, .packets = packets}, .idle = idle};
}

/* 0 to count - 1, each once, in no order. */
static void offer_all(struct flows_top *top, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		uint32_t value = (uint32_t)((uint64_t)i * 7919 % count);
		struct flow_record record = record_of(value, count - value, value);

		flows_top_offer(top, &record);
	}
}

static void the_most_come_first(void)
{
	struct flows_top top;

	CU_ASSERT_FATAL(flows_top_init(&top, FLOWS_BY_BYTES, 10) == 0);
	offer_all(&top, 1000);
	flows_top_sort(&top);
	CU_ASSERT_EQUAL(top.count, 10);
	for (size_t i = 0; i < top.count; i++)
		CU_ASSERT_EQUAL(top.items[i].flow.bytes, 999 - i);
	flows_top_clear(&top);
}

static void each_order_has_its_own_first_one(void)
{
	struct flows_top top;

	CU_ASSERT_FATAL(flows_top_init(&top, FLOWS_BY_PACKETS, 3) == 0);
	offer_all(&top, 100);
	flows_top_sort(&top);
	CU_ASSERT(top.items[0].flow.packets == 100 && top.items[2].flow.packets == 98);
	flows_top_clear(&top);
	/* Used last: idle for the shortest time. */
	CU_ASSERT_FATAL(flows_top_init(&top, FLOWS_BY_USE, 3) == 0);
	offer_all(&top, 100);
	flows_top_sort(&top);
	CU_ASSERT(top.items[0].idle == 0 && top.items[2].idle == 2);
	flows_top_clear(&top);
}

static void fewer_than_asked_for_are_all_there(void)
{
	struct flow_record same = record_of(5, 1, 1);
	struct flows_top top;

	CU_ASSERT_FATAL(flows_top_init(&top, FLOWS_BY_BYTES, 10) == 0);
	flows_top_sort(&top);
	CU_ASSERT_EQUAL(top.count, 0);
	for (int i = 0; i < 4; i++)
		flows_top_offer(&top, &same);
	flows_top_sort(&top);
	CU_ASSERT(top.count == 4 && top.items[3].flow.bytes == 5);
	flows_top_clear(&top);
	flows_top_clear(&top);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(the_most_come_first),
		UNIT_TEST(each_order_has_its_own_first_one),
		UNIT_TEST(fewer_than_asked_for_are_all_there),
	};

	return UNIT_RUN("flows_top", tests);
}
