/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting until every program that runs has ended: what it may have looked up can be changed or
 * removed then. */
#pragma once

/*
 * Each waits for a grace period of RCU, in which programs run: membarrier(2) of all processes,
 * refused by kernels that keep CPUs free of ticks (nohz_full); and the update of a map of maps,
 * behind which the kernel waits.
 */
enum program_wait_method { PROGRAM_WAIT_MEMBARRIER, PROGRAM_WAIT_MAP_UPDATE, PROGRAM_WAIT_METHODS };

struct program_wait {
	int outer, inner; /* of the second method; -1: this kernel makes no such map */
};

/* Never fails: what cannot be made is told by the wait itself. */
void program_wait_open(struct program_wait *ret);
void program_wait_close(struct program_wait *wait); /* idempotent */
/* 0, or -errno: nobody has waited. May be called in any thread. */
int program_wait_by(const struct program_wait *wait, enum program_wait_method method);
/* By the first method that works. 0, or the last one's -errno: then nothing may be removed. */
int program_wait(const struct program_wait *wait);
/* The method that program_wait() takes, by trying. PROGRAM_WAIT_METHODS: none works. */
enum program_wait_method program_wait_probe(const struct program_wait *wait);
