/* SPDX-License-Identifier: Apache-2.0 */
/* Each method of waiting waits for a program that runs on another CPU. Needs root. */
#include "agent/kernel/program_wait.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "busy.skel.h"
#include "tests/bpf/suite.h"

#define TRIES  100
#define ROUNDS (1 << 23) /* at least 20 ms */

struct run {
	struct bpf_object *object;
	volatile uint64_t *marks; /* begun, ended, rounds */
	pthread_t thread;
	int result;
};

static void *run_busy(void *data)
{
	struct run *run = data;
	char frame[64] = "";
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame));

	run->result = bpf_prog_test_run_opts(
		bpf_program__fd(bpf_object__find_program_by_name(run->object, "busy")), &opts);
	return NULL;
}

static void begin(struct run *run)
{
	size_t size;
	const void *elf = busy_bpf__elf_bytes(&size);

	*run = (struct run){.object = bpf_object__open_mem(elf, size, NULL)};
	CU_ASSERT_FATAL(run->object && bpf_object__load(run->object) == 0);
	run->marks = mmap(NULL, sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE, MAP_SHARED,
			  bpf_object__find_map_fd_by_name(run->object, "marks"), 0);
	CU_ASSERT_FATAL(run->marks != MAP_FAILED);
	run->marks[2] = ROUNDS;
	CU_ASSERT_FATAL(pthread_create(&run->thread, NULL, run_busy, run) == 0);
	while (!run->marks[0])
		;
}

static void end(struct run *run)
{
	pthread_join(run->thread, NULL);
	CU_ASSERT(run->result == 0);
	munmap((void *)run->marks, sysconf(_SC_PAGESIZE));
	bpf_object__close(run->object);
}

/* Without waiting, the program would still be running: else these tests prove nothing. */
static void program_outlasts_the_moment(void)
{
	bool outlasted = false;
	struct run run;

	/* A machine that is busy itself may come back to this thread too late. */
	for (int i = 0; i < TRIES && !outlasted; i++) {
		begin(&run);
		outlasted = !run.marks[1];
		end(&run);
	}
	CU_ASSERT(outlasted);
}

static void waits_by(const struct program_wait *wait, enum program_wait_method method)
{
	struct run run;

	begin(&run);
	CU_ASSERT(program_wait_by(wait, method) == 0);
	CU_ASSERT(run.marks[1]);
	end(&run);
}

static void waits(enum program_wait_method method)
{
	struct program_wait wait;

	program_wait_open(&wait);
	waits_by(&wait, method);
	program_wait_close(&wait);
}

static int prove(struct program_wait *wait)
{
	int r = -EAGAIN;

	/* A machine that is busy itself may see it at no time. */
	for (int i = 0; i < TRIES && r == -EAGAIN; i++)
		r = program_wait_prove(wait);
	return r;
}

static void end_of_a_mount_waits_for_a_running_program(void)
{
	struct program_wait wait;

	program_wait_open(&wait);
	CU_ASSERT(program_wait_by(&wait, PROGRAM_WAIT_UNMOUNT) == -EOPNOTSUPP);
	if (sysconf(_SC_NPROCESSORS_ONLN) > 1) {
		CU_ASSERT_FATAL(prove(&wait) == 0);
		CU_ASSERT(program_wait_probe(&wait) == PROGRAM_WAIT_UNMOUNT);
		for (int i = 0; i < 10; i++)
			waits_by(&wait, PROGRAM_WAIT_UNMOUNT);
	}
	program_wait_close(&wait);
}

static int wait_for_nothing(void)
{
	return 0;
}

static int cannot_wait(void)
{
	return -EPERM;
}

/* What does not wait is seen not to. */
static void what_does_not_wait_is_not_proven(void)
{
	bool refuted = sysconf(_SC_NPROCESSORS_ONLN) == 1;

	for (int i = 0; i < TRIES; i++) {
		int r = program_wait_is_true(wait_for_nothing);

		CU_ASSERT(r == -EOPNOTSUPP || r == -EAGAIN);
		refuted |= r == -EOPNOTSUPP;
	}
	CU_ASSERT(refuted);
	CU_ASSERT(sysconf(_SC_NPROCESSORS_ONLN) == 1 ||
		  program_wait_is_true(cannot_wait) == -EPERM);
}

static void membarrier_waits_for_a_running_program(void)
{
	struct program_wait wait;

	program_wait_open(&wait);
	if (program_wait_by(&wait, PROGRAM_WAIT_MEMBARRIER) < 0) {
		printf("membarrier is refused here (nohz_full?): the other way is taken\n");
		CU_ASSERT(program_wait_probe(&wait) == PROGRAM_WAIT_MAP_UPDATE);
	} else if (sysconf(_SC_NPROCESSORS_ONLN) > 1) {
		waits(PROGRAM_WAIT_MEMBARRIER);
	}
	program_wait_close(&wait);
}

static void map_update_waits_for_a_running_program(void)
{
	waits(PROGRAM_WAIT_MAP_UPDATE);
}

static void without_any_way_an_error_is_told(void)
{
	struct program_wait wait = {.outer = -1, .inner = -1};

	CU_ASSERT(program_wait_by(&wait, PROGRAM_WAIT_MAP_UPDATE) < 0);
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(program_outlasts_the_moment),
		SUITE_TEST(end_of_a_mount_waits_for_a_running_program),
		SUITE_TEST(what_does_not_wait_is_not_proven),
		SUITE_TEST(membarrier_waits_for_a_running_program),
		SUITE_TEST(map_update_waits_for_a_running_program),
		SUITE_TEST(without_any_way_an_error_is_told),
	};

	return SUITE_RUN("program_wait", tests);
}
