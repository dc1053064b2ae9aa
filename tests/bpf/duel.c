/* SPDX-License-Identifier: Apache-2.0 */
/* Threads pinned to two CPUs that meet before and after each step. */
#include "duel.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

/* How long one side waits for the other before it lets somebody else have the CPU. */
#define SPINS 20000
/* Turns of an empty loop by which a side starts later: some hundred nanoseconds at most. */
#define DELAY_MASK 511

struct match {
	const struct duel *duel;
	int cpus[2];
	_Atomic uint64_t arrived;
	bool over; /* written by side 0 while side 1 waits */
	uint64_t rounds;
};

struct side {
	struct match *match;
	int number;
	uint64_t met; /* how often it has met the other */
	uint32_t random;
};

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static bool pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) == 0;
}

static void meet(struct side *side)
{
	uint64_t wanted = 2 * ++side->met;

	atomic_fetch_add(&side->match->arrived, 1);
	for (uint32_t spins = 0; atomic_load(&side->match->arrived) < wanted; spins++)
		if (spins > SPINS)
			sched_yield();
}

static void wait_a_moment(struct side *side)
{
	side->random ^= side->random << 13;
	side->random ^= side->random >> 17;
	side->random ^= side->random << 5;
	for (volatile uint32_t turns = side->random & DELAY_MASK; turns; turns--)
		;
}

static void step(struct side *side, uint64_t round)
{
	const struct duel *duel = side->match->duel;

	wait_a_moment(side);
	duel->step(duel->data, side->number, round);
}

static void *second(void *data)
{
	struct side side = {.match = data, .number = 1, .random = 0x9e3779b9};

	pin(side.match->cpus[1]);
	for (uint64_t round = 0;; round++) {
		meet(&side);
		if (side.match->over)
			return NULL;
		step(&side, round);
		meet(&side);
	}
}

static void first(struct match *match)
{
	const struct duel *duel = match->duel;
	struct side side = {.match = match, .number = 0, .random = 0x85ebca6b};
	uint64_t end = now_ms() + duel->milliseconds;

	do {
		if (duel->between)
			duel->between(duel->data, match->rounds);
		meet(&side);
		step(&side, match->rounds);
		meet(&side);
		if (duel->after)
			duel->after(duel->data, match->rounds);
		match->rounds++;
	} while (now_ms() < end && match->rounds != duel->max_rounds);
	match->over = true;
	meet(&side);
}

/* The first two CPUs that this process may run on. */
static bool two_cpus(const cpu_set_t *allowed, int cpus[2])
{
	int found = 0;

	for (int cpu = 0; cpu < CPU_SETSIZE && found < 2; cpu++)
		if (CPU_ISSET(cpu, allowed))
			cpus[found++] = cpu;
	return found == 2;
}

uint64_t duel_run(const struct duel *duel)
{
	struct match match = {.duel = duel};
	cpu_set_t before;
	pthread_t thread;

	if (sched_getaffinity(0, sizeof(before), &before) < 0 || !two_cpus(&before, match.cpus))
		return 0;
	if (pthread_create(&thread, NULL, second, &match))
		return 0;
	pin(match.cpus[0]);
	first(&match);
	pthread_join(thread, NULL);
	sched_setaffinity(0, sizeof(before), &before);
	return match.rounds;
}
