/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two slots of each policy entry, and the grace periods between their uses. One slot is in
 * force, the other one is written, one word switches. What was in force before may be written again
 * when the programs that ran during the switch have ended: a grace period.
 *
 *     ALIKE    a run switches           -> SWITCHED
 *     SWITCHED a grace period begins    -> WAITING
 *     WAITING  it ends                  -> ALIKE
 *     WAITING  it failed                -> SWITCHED
 *
 * Grace periods also free what is not named any more, switch or not, so each run makes one due. One
 * runs at a time.
 *
 *     IDLE      a run                   -> DUE
 *     DUE       it begins               -> RUNNING
 *     RUNNING   it ends                 -> IDLE
 *     RUNNING   a run                   -> OVERTAKEN
 *     OVERTAKEN it ends                 -> DUE
 *     both      it failed               -> DUE
 *
 * No kernel, no clock: times are the caller's, in ns.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define SLOTS_NEVER UINT64_MAX
/* Programs run for microseconds; the delay gathers the remains of changes that come in a burst. */
#define SLOTS_DELAY_NS 50000000ull
/* So long after a run had to wait for a slot, a switch is followed by its grace period at once: who
 * changes policy comes more often than the delay, and would wait each time. */
#define SLOTS_PRESSED_NS 1000000000ull
/* Until a grace period that could not be waited for is tried again. */
#define SLOTS_RETRY_NS 5000000000ull

/* What the slot that is not in force holds. */
enum slots_state {
	SLOTS_ALIKE,	/* the same as the one in force: it may be written */
	SLOTS_SWITCHED, /* what was in force before: programs may still read it */
	SLOTS_WAITING,	/* the same, and the grace period that runs began after the switch */
};

enum grace_state {
	GRACE_IDLE,	 /* nothing is left that a program may still use */
	GRACE_DUE,	 /* something is: a grace period has to begin */
	GRACE_RUNNING,	 /* it runs, for all there was when it began */
	GRACE_OVERTAKEN, /* it runs, and there is more since: another one has to follow */
};

/* Zeroed: both slots alike, nothing due. */
struct slots {
	enum slots_state state;
	enum grace_state grace;
	uint64_t begin_ns; /* when the next grace period has to begin, if one is due */
	bool hurry;	   /* it has to begin as soon as it can */
	bool pressed;	   /* a run had to wait */
	uint64_t pressed_until_ns;
};

/* May the slot that is not in force be written? */
bool slots_writable(const struct slots *slots);
/* A run has ended. `switched`: and has switched, which needs a writable slot. */
void slots_ran(struct slots *slots, bool switched, uint64_t now_ns);
/* A run has to put off what it was to write: the grace period it needs begins as soon as one can.
 */
void slots_hurry(struct slots *slots);

/* When a grace period has to begin; SLOTS_NEVER: none is due, or one is running. */
uint64_t slots_due(const struct slots *slots);
/* False: none is due, or one is running. Else it begins now. */
bool slots_begin(struct slots *slots);
/*
 * The grace period that ran is over, or (`failed`) it could not be waited for and is tried again
 * later. True: nobody reads the slot that is not in force; the caller makes both alike now.
 */
bool slots_end(struct slots *slots, bool failed, uint64_t now_ns);
