/* SPDX-License-Identifier: Apache-2.0 */
/* How much of its million instructions the running kernel's verifier needs for each program. */
#include "suite.h"

#include <bpf/bpf.h>

#define BUDGET 200000

static uint32_t verified(int fd)
{
	struct bpf_prog_info info = {0};
	uint32_t size = sizeof(info);

	CU_ASSERT_EQUAL(bpf_obj_get_info_by_fd(fd, &info, &size), 0);
	printf("\n    %-12s %7u verified, %5u instructions ", info.name, info.verified_insns,
	       info.xlated_prog_len / 8);
	return info.verified_insns;
}

static void every_program_is_verified_well_below_the_limit(void)
{
	for (int i = 0; i < HOOK_COUNT; i++)
		CU_ASSERT(verified(world->programs[i]) < BUDGET);
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(every_program_is_verified_well_below_the_limit),
	};

	return SUITE_RUN("the verifier", tests);
}
