/* SPDX-License-Identifier: Apache-2.0 */
/* Is a program that runs waited for? One that runs for a millisecond is run to see. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "agent/kernel/program_wait.h"

#include "busy.skel.h"

/* 0.6 ms at least: the CPU is the program's for as long. */
#define ROUNDS (1ull << 18)
/* So often it has to be seen. */
#define SEEN  5
#define TRIES 50

struct proof {
	struct bpf_object *object;
	volatile uint64_t *marks; /* begun, ended, rounds */
	atomic_bool over;
	int result;
};

static void *run_busy(void *data)
{
	struct proof *proof = data;
	char frame[64] = "";
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame));
	struct bpf_program *busy = bpf_object__find_program_by_name(proof->object, "busy");

	proof->result = bpf_prog_test_run_opts(bpf_program__fd(busy), &opts);
	atomic_store(&proof->over, true);
	return NULL;
}

/* How often the CPU was taken from this thread. */
static long interruptions(void)
{
	struct rusage usage = {};

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_nivcsw;
}

/*
 * 1: the program ran and was waited for; 0: it ran at no time in question, or may have ended while
 * this thread had no CPU; or -errno.
 */
static int try(struct proof *proof, int (*wait)(void))
{
	long before, interrupted;
	pthread_t thread;
	bool ran, ended;
	int r;

	proof->marks[0] = proof->marks[1] = 0;
	proof->marks[2] = ROUNDS;
	atomic_store(&proof->over, false);
	r = -pthread_create(&thread, NULL, run_busy, proof);
	if (r < 0)
		return r;
	while (!proof->marks[0] && !atomic_load(&proof->over))
		sched_yield();
	before = interruptions();
	ran = proof->marks[0] && !proof->marks[1];
	r = wait();
	ended = proof->marks[1];
	interrupted = interruptions() - before;
	pthread_join(thread, NULL);
	if (r < 0 || proof->result < 0)
		return r < 0 ? r : proof->result;
	if (ran && !ended)
		return -EOPNOTSUPP;
	return ran && interrupted == 0;
}

static int prove(struct proof *proof, int (*wait)(void))
{
	int seen = 0, r = 0;

	for (int i = 0; i < TRIES && seen < SEEN && r >= 0; i++) {
		r = try(proof, wait);
		seen += r > 0;
	}
	if (r < 0)
		return r;
	return seen == SEEN ? 0 : -EAGAIN;
}

int program_wait_is_true(int (*wait)(void))
{
	size_t size, page = (size_t)sysconf(_SC_PAGESIZE);
	const void *elf = busy_bpf__elf_bytes(&size);
	struct proof proof = {};
	void *marks;
	int r;

	if (sysconf(_SC_NPROCESSORS_ONLN) == 1)
		return -EOPNOTSUPP;
	proof.object = bpf_object__open_mem(elf, size, NULL);
	r = proof.object ? bpf_object__load(proof.object) : -errno;
	if (r == 0) {
		marks = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED,
			     bpf_object__find_map_fd_by_name(proof.object, "marks"), 0);
		r = marks == MAP_FAILED ? -errno : 0;
	}
	if (r == 0) {
		proof.marks = marks;
		r = prove(&proof, wait);
		munmap(marks, page);
	}
	bpf_object__close(proof.object);
	return r;
}
