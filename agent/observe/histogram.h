/* SPDX-License-Identifier: Apache-2.0 */
/* How long something took, counted in steps from half a millisecond to ten seconds. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_STEPS 14
extern const double histogram_steps[HISTOGRAM_STEPS]; /* seconds, the upper ends */

struct histogram {
	uint64_t counts[HISTOGRAM_STEPS + 1]; /* not added up; the last one: what took longer */
	uint64_t count, sum_ns;
};

void histogram_add(struct histogram *histogram, uint64_t ns);
