/* SPDX-License-Identifier: Apache-2.0 */
#include <CUnit/CUnit.h>

#include "agent/kernel/latency.h"
#include "tests/unit/unit.h"

static void nothing_measured_has_no_quantile(void)
{
	const struct latency_histogram none = {};

	CU_ASSERT(latency_number(&none) == 0);
	CU_ASSERT(latency_quantile(&none, 0.5) == 0);
}

static void each_bucket_ends_at_twice_the_one_before(void)
{
	CU_ASSERT(latency_bucket_end(0) == 16);
	CU_ASSERT(latency_bucket_end(1) == 32);
	CU_ASSERT(latency_bucket_end(LATENCY_BUCKETS - 2) == 16 << (LATENCY_BUCKETS - 2));
}

static void a_quantile_lies_in_the_bucket_that_has_it(void)
{
	struct latency_histogram histogram = {};

	histogram.counts[0] = 90;
	histogram.counts[10] = 10;
	CU_ASSERT(latency_number(&histogram) == 100);
	CU_ASSERT(latency_quantile(&histogram, 0.5) > 0);
	CU_ASSERT(latency_quantile(&histogram, 0.5) <= 16);
	CU_ASSERT(latency_quantile(&histogram, 0.9) == 16);
	CU_ASSERT(latency_quantile(&histogram, 0.99) > (double)latency_bucket_end(9));
	CU_ASSERT(latency_quantile(&histogram, 0.99) < (double)latency_bucket_end(10));
	CU_ASSERT(latency_quantile(&histogram, 1) == (double)latency_bucket_end(10));
}

/* How much longer nobody knows. */
static void beyond_the_last_end_the_quantile_is_that_end(void)
{
	struct latency_histogram histogram = {};

	histogram.counts[LATENCY_BUCKETS - 1] = 3;
	CU_ASSERT(latency_quantile(&histogram, 0.5) ==
		  (double)latency_bucket_end(LATENCY_BUCKETS - 2));
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(nothing_measured_has_no_quantile),
		UNIT_TEST(each_bucket_ends_at_twice_the_one_before),
		UNIT_TEST(a_quantile_lies_in_the_bucket_that_has_it),
		UNIT_TEST(beyond_the_last_end_the_quantile_is_that_end),
	};

	return UNIT_RUN("latency", tests);
}
