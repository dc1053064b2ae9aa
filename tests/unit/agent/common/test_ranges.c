/* SPDX-License-Identifier: Apache-2.0 */
/* Who has which elements of an array. */
#include "agent/common/ranges.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/unit.h"

static struct ranges *make(uint32_t size)
{
	struct ranges *ranges = NULL;

	CU_ASSERT_FATAL(ranges_new(size, &ranges) == 0);
	return ranges;
}

static uint32_t take(struct ranges *ranges, uint32_t count)
{
	uint32_t first = UINT32_MAX;

	CU_ASSERT(ranges_take(ranges, count, &first) == 0);
	return first;
}

static void gives_the_lowest_range_that_is_long_enough(void)
{
	struct ranges *r = make(100);

	CU_ASSERT(take(r, 10) == 0);
	CU_ASSERT(take(r, 20) == 10);
	CU_ASSERT(take(r, 30) == 30);
	ranges_give(r, 0, 10);
	CU_ASSERT(take(r, 11) == 60);
	CU_ASSERT(take(r, 10) == 0);
	CU_ASSERT(ranges_used(r) == 71);
	ranges_free(r);
}

static void neighbours_grow_together(void)
{
	struct ranges *r = make(30);

	take(r, 10);
	take(r, 10);
	take(r, 10);
	CU_ASSERT(ranges_longest_free(r) == 0);
	ranges_give(r, 0, 10);
	ranges_give(r, 20, 10);
	CU_ASSERT(ranges_longest_free(r) == 10);
	ranges_give(r, 10, 10);
	CU_ASSERT(ranges_longest_free(r) == 30);
	CU_ASSERT(take(r, 30) == 0);
	ranges_give(r, 0, 30);
	take(r, 10);
	take(r, 10);
	ranges_give(r, 0, 10);
	ranges_give(r, 10, 10); /* a gap on both sides */
	CU_ASSERT(ranges_longest_free(r) == 30 && ranges_used(r) == 0);
	ranges_free(r);
}

static void says_when_no_range_is_long_enough(void)
{
	struct ranges *r = make(10);
	uint32_t first = 77;

	take(r, 4);
	take(r, 2);
	ranges_give(r, 0, 4);
	CU_ASSERT(ranges_take(r, 5, &first) == -E2BIG);
	CU_ASSERT(first == 77);
	CU_ASSERT(ranges_used(r) == 2 && ranges_longest_free(r) == 4);
	CU_ASSERT(ranges_take(r, UINT32_MAX, &first) == -E2BIG);
	ranges_free(r);
	r = make(0);
	CU_ASSERT(ranges_take(r, 1, &first) == -E2BIG);
	ranges_free(r);
}

static void nothing_takes_nothing(void)
{
	struct ranges *r = make(1);

	CU_ASSERT(take(r, 0) == 0);
	CU_ASSERT(ranges_take_at(r, 500, 0) == 0);
	ranges_give(r, 500, 0);
	CU_ASSERT(ranges_used(r) == 0 && take(r, 1) == 0);
	CU_ASSERT(take(r, 0) == 0);
	ranges_free(r);
}

static void takes_a_certain_range_once(void)
{
	struct ranges *r = make(100);

	CU_ASSERT(ranges_take_at(r, 40, 20) == 0);
	CU_ASSERT(ranges_take_at(r, 40, 20) == -EEXIST);
	CU_ASSERT(ranges_take_at(r, 30, 11) == -EEXIST);
	CU_ASSERT(ranges_take_at(r, 59, 1) == -EEXIST);
	CU_ASSERT(ranges_take_at(r, 20, 60) == -EEXIST);
	CU_ASSERT(ranges_take_at(r, 30, 10) == 0);
	CU_ASSERT(ranges_take_at(r, 60, 40) == 0);
	CU_ASSERT(ranges_take_at(r, 99, 1) == -EEXIST);
	CU_ASSERT(ranges_take_at(r, 99, 2) == -ERANGE);
	CU_ASSERT(ranges_take_at(r, 100, 1) == -ERANGE);
	CU_ASSERT(ranges_take_at(r, UINT32_MAX, 2) == -ERANGE);
	CU_ASSERT(ranges_take_at(r, 1, UINT32_MAX) == -ERANGE);
	CU_ASSERT(take(r, 30) == 0);
	CU_ASSERT(ranges_used(r) == 100 && ranges_longest_free(r) == 0);
	ranges_free(r);
}

#define SIZE 512
#define HELD 128

/* Against a plain list of who owns each number. */
static void a_thousand_steps_agree_with_a_list_of_owners(void)
{
	struct ranges *r = make(SIZE);
	struct {
		uint32_t first, count;
	} held[HELD] = {};
	bool taken[SIZE] = {};
	uint32_t state = 12345, used = 0;

	for (int step = 0; step < 20000; step++) {
		uint32_t i, first = 0, at = (state = state * 1103515245 + 12345) >> 16 & (HELD - 1),
			    run = 0;

		if (held[at].count) {
			ranges_give(r, held[at].first, held[at].count);
			memset(&taken[held[at].first], 0, held[at].count);
			used -= held[at].count;
			held[at].count = 0;
		} else {
			held[at].count = 1 + ((state = state * 1103515245 + 12345) >> 16) % 12;
			for (i = 0; i < SIZE && run < held[at].count; i++)
				run = taken[i] ? 0 : run + 1;
			if (ranges_take(r, held[at].count, &first) < 0) {
				CU_ASSERT_FATAL(run < held[at].count);
				held[at].count = 0;
				continue;
			}
			CU_ASSERT_FATAL(run == held[at].count && first == i - run);
			held[at].first = first;
			memset(&taken[first], 1, held[at].count);
			used += held[at].count;
		}
		CU_ASSERT_FATAL(ranges_used(r) == used);
	}
	ranges_free(r);
}

static const struct unit_test tests[] = {
	UNIT_TEST(gives_the_lowest_range_that_is_long_enough),
	UNIT_TEST(neighbours_grow_together),
	UNIT_TEST(says_when_no_range_is_long_enough),
	UNIT_TEST(nothing_takes_nothing),
	UNIT_TEST(takes_a_certain_range_once),
	UNIT_TEST(a_thousand_steps_agree_with_a_list_of_owners),
};

int main(void)
{
	return UNIT_RUN("ranges", tests);
}
