/* SPDX-License-Identifier: Apache-2.0 */
/* How long to wait before what has failed is tried again: longer each time, and never all nodes of
 * a cluster at once. */
#pragma once

#include <stdint.h>

#define BACKOFF_FIRST_MS 800
#define BACKOFF_MOST_MS	 30000

struct backoff {
	unsigned int failures; /* in a row */
};

/* In ms: at random between a step and twice of it, of steps that double, BACKOFF_FIRST_MS to
 * BACKOFF_MOST_MS. `random`: any number. */
uint64_t backoff_next(struct backoff *backoff, uint64_t random);
/* It went well. */
void backoff_reset(struct backoff *backoff);
