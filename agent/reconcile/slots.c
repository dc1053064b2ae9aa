/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/reconcile/slots.h"

#include <assert.h>

bool slots_writable(const struct slots *s)
{
	return s->state == SLOTS_ALIKE;
}

void slots_ran(struct slots *s, bool switched, uint64_t now_ns)
{
	if (s->pressed)
		s->pressed_until_ns = now_ns + SLOTS_PRESSED_NS;
	s->pressed = false;
	if (switched) {
		assert(s->state == SLOTS_ALIKE);
		s->state = SLOTS_SWITCHED;
		s->hurry = now_ns < s->pressed_until_ns;
	}
	if (s->grace == GRACE_DUE || s->grace == GRACE_OVERTAKEN)
		return;
	s->grace = s->grace == GRACE_IDLE ? GRACE_DUE : GRACE_OVERTAKEN;
	/* Not put off by what comes meanwhile: under a stream of changes old rule sets would fill
	 * the maps. The time that was set before a grace period came in a hurry stands, too: the
	 * next change finds both slots alike the sooner. */
	if (s->begin_ns <= now_ns || s->begin_ns > now_ns + SLOTS_DELAY_NS)
		s->begin_ns = now_ns + SLOTS_DELAY_NS;
}

void slots_hurry(struct slots *s)
{
	assert(s->state != SLOTS_ALIKE);
	s->hurry |= s->state == SLOTS_SWITCHED;
	s->pressed = true;
}

uint64_t slots_due(const struct slots *s)
{
	if (s->grace != GRACE_DUE)
		return SLOTS_NEVER;
	return s->hurry ? 0 : s->begin_ns;
}

bool slots_begin(struct slots *s)
{
	if (s->grace != GRACE_DUE)
		return false;
	s->grace = GRACE_RUNNING;
	s->hurry = false;
	if (s->state == SLOTS_SWITCHED)
		s->state = SLOTS_WAITING;
	return true;
}

bool slots_end(struct slots *s, bool failed, uint64_t now_ns)
{
	assert(s->grace == GRACE_RUNNING || s->grace == GRACE_OVERTAKEN);
	if (failed) {
		if (s->state == SLOTS_WAITING)
			s->state = SLOTS_SWITCHED;
		s->grace = GRACE_DUE;
		s->hurry = false;
		s->begin_ns = now_ns + SLOTS_RETRY_NS;
		return false;
	}
	s->grace = s->grace == GRACE_OVERTAKEN ? GRACE_DUE : GRACE_IDLE;
	/* A run has switched meanwhile: what this one waited for is not what stands there now. */
	if (s->state == SLOTS_SWITCHED) {
		s->hurry = true;
		return false;
	}
	s->state = SLOTS_ALIKE;
	return true;
}
