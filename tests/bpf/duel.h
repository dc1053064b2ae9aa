/* SPDX-License-Identifier: Apache-2.0 */
/* Two CPUs that do something at the same moment, over and over. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * In each round `between` runs alone, then `step` runs on both CPUs at once, each a few hundred
 * nanoseconds earlier or later than the other, by chance. Steps must not call CUnit; `between` and
 * `after` may.
 */
struct duel {
	void (*between)(void *data, uint64_t round); /* NULL: nothing */
	void (*step)(void *data, int side, uint64_t round);
	void (*after)(void *data, uint64_t round); /* alone again; NULL: nothing */
	void *data;
	uint32_t milliseconds; /* at least one round, whatever this says */
	uint64_t max_rounds;   /* 0: no limit */
};

/* Returns the number of rounds; 0: this machine has one CPU, or the threads cannot be had. */
uint64_t duel_run(const struct duel *duel);
