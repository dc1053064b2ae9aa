/* SPDX-License-Identifier: Apache-2.0 */
#include <CUnit/CUnit.h>
#include <limits.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "agent/kernel/process_file.h"
#include "tests/unit/unit.h"

static uint64_t since_boot_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Numbers in another PID namespace than the node's are not those that programs note. */
static bool is_numbered_alike(void)
{
	char name[64] = "";

	return readlink("/proc/self/ns/pid", name, sizeof(name) - 1) > 0 &&
	       strcmp(name, "pid:[4026531836]") == 0;
}

static void names_the_file_of_a_process_that_runs(void)
{
	char path[PATH_MAX] = "", own[PATH_MAX] = "";

	CU_ASSERT_FATAL(readlink("/proc/self/exe", own, sizeof(own) - 1) > 0);
	CU_ASSERT(process_file_read((uint32_t)getpid(), since_boot_ns(), path, sizeof(path)) ==
		  is_numbered_alike());
	CU_ASSERT_STRING_EQUAL(path, is_numbered_alike() ? own : "");
}

/* The number was another one's then. */
static void says_nothing_of_one_that_began_later(void)
{
	char path[PATH_MAX];

	CU_ASSERT(!process_file_read((uint32_t)getpid(), 1, path, sizeof(path)));
}

static void says_nothing_of_one_that_has_ended(void)
{
	char path[PATH_MAX];
	pid_t child = fork();

	if (child == 0)
		_exit(0);
	CU_ASSERT_FATAL(child > 0 && waitpid(child, NULL, 0) == child);
	CU_ASSERT(!process_file_read((uint32_t)child, since_boot_ns(), path, sizeof(path)));
}

static void a_name_with_parentheses_and_spaces_hides_nothing(void)
{
	char path[PATH_MAX], name[16];

	prctl(PR_GET_NAME, name);
	prctl(PR_SET_NAME, ") R 1 (1 1) 1");
	CU_ASSERT(process_file_read((uint32_t)getpid(), since_boot_ns(), path, sizeof(path)) ==
		  is_numbered_alike());
	CU_ASSERT(!process_file_read((uint32_t)getpid(), 1, path, sizeof(path)));
	prctl(PR_SET_NAME, name);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(names_the_file_of_a_process_that_runs),
		UNIT_TEST(says_nothing_of_one_that_began_later),
		UNIT_TEST(says_nothing_of_one_that_has_ended),
		UNIT_TEST(a_name_with_parentheses_and_spaces_hides_nothing),
	};

	return UNIT_RUN("process_file", tests);
}
