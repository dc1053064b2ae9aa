/* SPDX-License-Identifier: Apache-2.0 */
/* A writer of Prometheus' text format (0.0.4): families with help and type, base units, labels
 * escaped. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "agent/observe/histogram.h"

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric_label {
	const char *name;
	const char *value;
};

/* No memory: remembered, told by metrics_finish(). */
struct metrics;
struct metrics *metrics_new(void); /* NULL: no memory */
void metrics_free(struct metrics *metrics);

/*
 * Begins a family; its samples follow, all of them before the next family. Names are lower case
 * with underscores, end in their base unit
 * (_seconds, _bytes) and, for counters, in _total. A family is begun once.
 */
void metrics_family(struct metrics *metrics, const char *name, enum metric_type type,
		    const char *help);
void metrics_sample(struct metrics *metrics, double value, const struct metric_label *labels,
		    size_t label_count);
/* Exact beyond 2^53. */
void metrics_sample_u64(struct metrics *metrics, uint64_t value, const struct metric_label *labels,
			size_t label_count);

/* The samples of one histogram (_bucket, _sum, _count) in a family of that type, in seconds. */
#define METRIC_LABELS_MAX 4
void metrics_histogram(struct metrics *metrics, const struct histogram *histogram,
		       const struct metric_label *labels, size_t label_count);

/* The same of other steps: `counts` has one more than `ends`, for what is beyond the last, and they
 * are not added up. */
struct metric_buckets {
	const double *ends;
	const uint64_t *counts;
	size_t steps;
	double sum;
};
void metrics_buckets(struct metrics *metrics, const struct metric_buckets *buckets,
		     const struct metric_label *labels, size_t label_count);

/* A family of one sample without labels. */
void metrics_single(struct metrics *metrics, const char *name, enum metric_type type,
		    const char *help, double value);

/* The text, to be freed by the caller, and its length (may be NULL). NULL: no memory. The writer is
 * empty afterwards. */
char *metrics_finish(struct metrics *metrics, size_t *ret_length);
