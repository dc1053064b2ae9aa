/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting until every program that runs has ended: what it may have looked up can be changed or
 * removed then. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

/*
 * Each waits for a grace period of RCU, in which programs run: the end of a mount, behind which the
 * kernel hurries one (namespace_unlock() of fs/namespace.c: 0.06 ms); membarrier(2) of all
 * processes, refused by kernels that keep CPUs free of ticks (nohz_full); and the update of a map
 * of maps (two ticks or more, each).
 *
 * No document promises any of it. The first one is used only after program_wait_prove() has seen it
 * wait for a program.
 */
enum program_wait_method {
	PROGRAM_WAIT_UNMOUNT,
	PROGRAM_WAIT_MEMBARRIER,
	PROGRAM_WAIT_MAP_UPDATE,
	PROGRAM_WAIT_METHODS
};

struct program_wait {
	int outer, inner;     /* of the last method; -1: this kernel makes no such map */
	atomic_bool unmounts; /* the first one has been proven */
};

/* Never fails: what cannot be made is told by the wait itself. */
void program_wait_open(struct program_wait *ret);
/*
 * Tries whether the end of a mount waits for programs; from now on it is the first method then.
 * Takes some milliseconds of two CPUs; in any thread, beside waits in others. 0, -EAGAIN: not to be
 * seen on a machine that is so busy, -EOPNOTSUPP: it does not wait, or there is one CPU alone, or
 * -errno: it cannot be had or tried.
 */
int program_wait_prove(struct program_wait *wait);
/* Does `wait`, which gives 0 or -errno, wait for a program that runs? As program_wait_prove(). */
int program_wait_is_true(int (*wait)(void));
void program_wait_close(struct program_wait *wait); /* idempotent */
/* 0, or -errno: nobody has waited; one that is not proven is -EOPNOTSUPP. In any thread. */
int program_wait_by(const struct program_wait *wait, enum program_wait_method method);
/* By the first method that works. 0, or the last one's -errno: then nothing may be removed. */
int program_wait(const struct program_wait *wait);
/* The method that program_wait() takes, by trying. PROGRAM_WAIT_METHODS: none works. */
enum program_wait_method program_wait_probe(const struct program_wait *wait);
