/* SPDX-License-Identifier: Apache-2.0 */
/* Durations in steps, and what is counted of the plugin's requests. */
#include "agent/observe/cni_counts.h"
#include "agent/observe/metrics.h"
#include "tests/unit/unit.h"

static void a_duration_counts_in_its_step_and_all_above(void)
{
	const struct metric_label label = {"command", "ADD"};
	struct histogram histogram = {};
	struct metrics *m = metrics_new();
	char *text;

	histogram_add(&histogram, 0);
	histogram_add(&histogram, 500000); /* the end of the first step belongs to it */
	histogram_add(&histogram, 500001);
	histogram_add(&histogram, 99000000);
	histogram_add(&histogram, 60000000000);
	metrics_family(m, "polder_x_seconds", METRIC_HISTOGRAM, "x.");
	metrics_histogram(m, &histogram, &label, 1);
	text = metrics_finish(m, NULL);
	metrics_free(m);
	CU_ASSERT(strstr(text, "# TYPE polder_x_seconds histogram\n") != NULL);
	CU_ASSERT(strstr(text, "polder_x_seconds_bucket{command=\"ADD\",le=\"0.0005\"} 2\n") !=
		  NULL);
	CU_ASSERT(strstr(text, "{command=\"ADD\",le=\"0.001\"} 3\n") != NULL);
	CU_ASSERT(strstr(text, "{command=\"ADD\",le=\"0.05\"} 3\n") != NULL);
	CU_ASSERT(strstr(text, "{command=\"ADD\",le=\"0.1\"} 4\n") != NULL);
	CU_ASSERT(strstr(text, "{command=\"ADD\",le=\"10\"} 4\n") != NULL);
	CU_ASSERT(strstr(text, "{command=\"ADD\",le=\"+Inf\"} 5\n") != NULL);
	CU_ASSERT(strstr(text, "polder_x_seconds_sum{command=\"ADD\"} 60.100000001\n") != NULL);
	CU_ASSERT(strstr(text, "polder_x_seconds_count{command=\"ADD\"} 5\n") != NULL);
	free(text);
}

static void codes_without_number_take_no_memory_without_end(void)
{
	struct cni_counts counts = {};
	uint64_t sum = 0;

	for (int code = 0; code < 1000; code++)
		cni_counts_add(&counts, COMMAND_DEL, code, 1);
	CU_ASSERT(counts.code_count == CNI_CODES_MAX);
	for (size_t i = 0; i < counts.code_count; i++)
		sum += counts.codes[i].counts[COMMAND_DEL];
	CU_ASSERT(sum == 1000);
	CU_ASSERT(counts.codes[0].code == 0 && counts.codes[0].counts[COMMAND_DEL] == 1);
	CU_ASSERT(counts.durations[COMMAND_DEL].count == 1000);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(a_duration_counts_in_its_step_and_all_above),
		UNIT_TEST(codes_without_number_take_no_memory_without_end),
	};

	return UNIT_RUN("histogram", tests);
}
