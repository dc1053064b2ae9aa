/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics stay bounded however many pods and Services there are. */
#include "agent/show/show_latency.h"

#include "tests/unit/unit.h"

static struct latency_row row_of(enum latency_kind kind, uint32_t id, uint64_t resets)
{
	struct latency_row row = {
		.namespace = "demo", .name = "web", .port = 80, .entry.key = {kind, id}};

	row.entry.value.counts[LATENCY_RESETS] = resets;
	row.entry.value.measures[LATENCY_CONNECT].counts[3] = resets;
	row.entry.value.measures[LATENCY_CONNECT].sum_us = 10 * resets;
	return row;
}

static void rows_of_one_name_are_added_up(void)
{
	struct latency_row rows[] = {row_of(LATENCY_SERVICE, 2, 8), row_of(LATENCY_POD, 7, 1),
				     row_of(LATENCY_SERVICE, 9, 16), row_of(LATENCY_NODE, 0, 2),
				     row_of(LATENCY_SERVICE, 5, 4)};

	rows[0].port = 443;
	CU_ASSERT_FATAL(latency_join_rows(rows, 5) == 4);
	CU_ASSERT(rows[0].entry.key.kind == LATENCY_NODE);
	CU_ASSERT(rows[1].entry.key.kind == LATENCY_POD);
	CU_ASSERT(rows[1].entry.value.counts[LATENCY_RESETS] == 1);
	CU_ASSERT(rows[2].port == 80 && rows[2].entry.value.counts[LATENCY_RESETS] == 16 + 4);
	CU_ASSERT(rows[2].entry.value.measures[LATENCY_CONNECT].counts[3] == 20);
	CU_ASSERT(rows[2].entry.value.measures[LATENCY_CONNECT].sum_us == 200);
	CU_ASSERT(rows[3].port == 443 && rows[3].entry.value.counts[LATENCY_RESETS] == 8);
}

static void few_rows_all_stay(void)
{
	struct latency_row rows[] = {row_of(LATENCY_NODE, 0, 1), row_of(LATENCY_POD, 7, 2),
				     row_of(LATENCY_POD, 8, 3)};
	size_t left_out;

	CU_ASSERT_FATAL(latency_limit_rows(rows, 3, 2, &left_out) == 3);
	CU_ASSERT(left_out == 0);
	CU_ASSERT(rows[2].entry.key.id == 8 && rows[2].entry.value.counts[LATENCY_RESETS] == 3);
}

static void those_beyond_the_limit_of_their_kind_are_left_out(void)
{
	struct latency_row rows[] = {
		row_of(LATENCY_POD, 1, 1),	row_of(LATENCY_POD, 2, 2),
		row_of(LATENCY_POD, 3, 4),	row_of(LATENCY_POD, 4, 8),
		row_of(LATENCY_POD, 5, 16),	row_of(LATENCY_SERVICE, 1, 32),
		row_of(LATENCY_SERVICE, 2, 64), row_of(LATENCY_SERVICE, 3, 128),
	};
	size_t left_out;

	CU_ASSERT_FATAL(latency_limit_rows(rows, 8, 2, &left_out) == 4);
	CU_ASSERT(left_out == 4);
	CU_ASSERT(rows[1].entry.key.id == 2 && rows[1].entry.value.counts[LATENCY_RESETS] == 2);
	CU_ASSERT(rows[2].entry.key.kind == LATENCY_SERVICE && rows[2].entry.key.id == 1);
	CU_ASSERT(rows[3].entry.value.counts[LATENCY_RESETS] == 64);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(rows_of_one_name_are_added_up),
		UNIT_TEST(few_rows_all_stay),
		UNIT_TEST(those_beyond_the_limit_of_their_kind_are_left_out),
	};

	return UNIT_RUN("show_latency", tests);
}
