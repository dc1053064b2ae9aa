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

static void few_rows_stay_as_they_are(void)
{
	struct latency_row rows[] = {row_of(LATENCY_NODE, 0, 1), row_of(LATENCY_POD, 7, 2),
				     row_of(LATENCY_POD, 8, 3)};

	CU_ASSERT_FATAL(latency_join_rows(rows, 3, 2) == 3);
	CU_ASSERT(rows[2].entry.key.id == 8 && rows[2].entry.value.counts[LATENCY_RESETS] == 3);
	CU_ASSERT_STRING_EQUAL(rows[2].name, "web");
}

static void those_beyond_the_limit_are_one_of_their_kind(void)
{
	struct latency_row rows[] = {
		row_of(LATENCY_POD, 1, 1),	row_of(LATENCY_POD, 2, 2),
		row_of(LATENCY_POD, 3, 4),	row_of(LATENCY_POD, 4, 8),
		row_of(LATENCY_POD, 5, 16),	row_of(LATENCY_SERVICE, 1, 32),
		row_of(LATENCY_SERVICE, 2, 64), row_of(LATENCY_SERVICE, 3, 128),
	};
	const struct latency_row *rest = &rows[2];

	CU_ASSERT_FATAL(latency_join_rows(rows, 8, 2) == 6);
	CU_ASSERT(rows[1].entry.key.id == 2 && rows[1].entry.value.counts[LATENCY_RESETS] == 2);
	CU_ASSERT(rest->entry.key.kind == LATENCY_POD);
	CU_ASSERT_STRING_EQUAL(rest->name, "");
	CU_ASSERT_STRING_EQUAL(rest->namespace, "");
	CU_ASSERT(rest->port == 0);
	CU_ASSERT(rest->entry.value.counts[LATENCY_RESETS] == 4 + 8 + 16);
	CU_ASSERT(rest->entry.value.measures[LATENCY_CONNECT].counts[3] == 28);
	CU_ASSERT(rest->entry.value.measures[LATENCY_CONNECT].sum_us == 280);
	CU_ASSERT(rows[3].entry.key.kind == LATENCY_SERVICE && rows[3].port == 80);
	CU_ASSERT(rows[5].entry.value.counts[LATENCY_RESETS] == 128);
	CU_ASSERT_STRING_EQUAL(rows[5].name, "");
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(few_rows_stay_as_they_are),
		UNIT_TEST(those_beyond_the_limit_are_one_of_their_kind),
	};

	return UNIT_RUN("show_latency", tests);
}
