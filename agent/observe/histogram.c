/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/observe/histogram.h"

const double histogram_steps[HISTOGRAM_STEPS] = {
	0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
};

void histogram_add(struct histogram *histogram, uint64_t ns)
{
	size_t step = 0;

	while (step < HISTOGRAM_STEPS && (double)ns / 1e9 > histogram_steps[step])
		step++;
	histogram->counts[step]++;
	histogram->count++;
	histogram->sum_ns += ns;
}
