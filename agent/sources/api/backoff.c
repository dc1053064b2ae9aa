/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/sources/api/backoff.h"

uint64_t backoff_next(struct backoff *backoff, uint64_t random)
{
	uint64_t step = BACKOFF_FIRST_MS;

	for (unsigned int i = 0; i < backoff->failures && step < BACKOFF_MOST_MS / 2; i++)
		step *= 2;
	if (step > BACKOFF_MOST_MS / 2)
		step = BACKOFF_MOST_MS / 2;
	backoff->failures++;
	return step + random % (step + 1);
}

void backoff_reset(struct backoff *backoff)
{
	backoff->failures = 0;
}
