/* SPDX-License-Identifier: Apache-2.0 */
/* What the unit tests share: a program's tests by name, a directory of their own, a loop that runs
 * until something holds. */
#pragma once

#include <CUnit/Basic.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

struct unit_test {
	const char *name;
	void (*run)(void);
};
#define UNIT_TEST(function)                                                                        \
	{                                                                                          \
#function, function                                                                \
	}

/* main()'s work. The exit status is 0 only if every assertion held. */
static inline int unit_run(const char *suite_name, const struct unit_test *tests, size_t count)
{
	CU_pSuite suite;
	bool failed;

	if (CU_initialize_registry() != CUE_SUCCESS)
		return 1;
	suite = CU_add_suite(suite_name, NULL, NULL);
	for (size_t i = 0; i < count; i++)
		CU_add_test(suite, tests[i].name, tests[i].run);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures() > 0;
	CU_cleanup_registry();
	return failed;
}
#define UNIT_RUN(suite, tests) unit_run(suite, tests, sizeof(tests) / sizeof((tests)[0]))

static inline int unit_remove(const char *path, const struct stat *status, int type,
			      struct FTW *place)
{
	return remove(path);
}

/* A directory of mode 0700 under /tmp. End it with unit_remove_directory(). */
static inline const char *unit_directory(char path[32])
{
	snprintf(path, 32, "/tmp/polder-unit-XXXXXX");
	if (!mkdtemp(path))
		abort();
	return path;
}

static inline void unit_remove_directory(const char *path)
{
	nftw(path, unit_remove, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void unit_write(const char *path, const char *text, size_t length)
{
	FILE *file = fopen(path, "we");

	if (!file || fwrite(text, 1, length, file) != length || fclose(file) != 0)
		abort();
}

static inline void unit_on_time(uv_timer_t *timer)
{
	*(bool *)timer->data = true;
}

static inline void unit_on_tick(uv_timer_t *timer)
{
}

/* Runs the loop until `holds` says so, for at most `ms`. What it said last. */
static inline bool unit_wait(uv_loop_t *loop, bool (*holds)(void *data), void *data,
			     unsigned int ms)
{
	uv_timer_t limit, tick;
	bool late = false;

	uv_timer_init(loop, &limit);
	uv_timer_init(loop, &tick);
	uv_update_time(loop);
	limit.data = &late;
	uv_timer_start(&limit, unit_on_time, ms, 0);
	uv_timer_start(&tick, unit_on_tick, 1, 1);
	while (!(holds && holds(data)) && !late)
		uv_run(loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&limit, NULL);
	uv_close((uv_handle_t *)&tick, NULL);
	/* One turn closes both: their memory is this function's. */
	uv_run(loop, UV_RUN_NOWAIT);
	return holds && holds(data);
}

/* Everything must have been closed by then. */
static inline void unit_end_loop(uv_loop_t *loop)
{
	uv_run(loop, UV_RUN_DEFAULT);
	CU_ASSERT(uv_loop_close(loop) == 0);
}
