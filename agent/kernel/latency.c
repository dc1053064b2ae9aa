/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kernel/latency.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cleanup.h"
#include "agent/kernel/datapath_internal.h"
#include "agent/kernel/optional_programs.h"

#define BATCH 256

/* ---------------------------------------------------------------- the program */

int latency_want(struct datapath *d, bool wanted, char *message, size_t size)
{
	return optional_programs_want(d, DATAPATH_LATENCY, wanted, message, size);
}

bool latency_is_on(const struct datapath *d)
{
	return optional_programs_are_on(d, DATAPATH_LATENCY);
}

/* ---------------------------------------------------------------- what was measured */

struct batch {
	struct latency_key keys[BATCH];
	struct latency_value values[BATCH];
};

static int add_batch(struct latency_entry **list, size_t *count, const struct batch *batch,
		     size_t got)
{
	struct latency_entry *grown = reallocarray(*list, *count + got + 1, sizeof(**list));

	if (!grown)
		return -ENOMEM;
	*list = grown;
	for (size_t i = 0; i < got; i++)
		grown[(*count)++] = (struct latency_entry){batch->keys[i], batch->values[i]};
	return 0;
}

int latency_read(const struct datapath *d, struct latency_entry **ret, size_t *ret_count)
{
	CLEANUP(cleanup_free) struct batch *batch = NULL;
	CLEANUP(cleanup_free) struct latency_entry *list = NULL;
	int fd = datapath_map_fd(d, DATAPATH_LATENCY, "latencies"), r = 0, added;
	size_t count = 0;
	uint64_t at = 0;
	bool first = true;

	*ret = NULL;
	*ret_count = 0;
	if (fd < 0)
		return 0;
	batch = malloc(sizeof(*batch));
	if (!batch)
		return -ENOMEM;
	while (r == 0) {
		uint32_t got = BATCH;

		if (bpf_map_lookup_batch(fd, first ? NULL : &at, &at, batch->keys, batch->values,
					 &got, NULL) < 0)
			r = -errno;
		first = false;
		if (r < 0 && r != -ENOENT)
			return r;
		added = add_batch(&list, &count, batch, got);
		r = added < 0 ? added : r;
	}
	if (r != -ENOENT)
		return r;
	*ret = TAKE_PTR(list);
	*ret_count = count;
	return 0;
}

void latency_forget(const struct datapath *d, const struct latency_key *key)
{
	int fd = datapath_map_fd(d, DATAPATH_LATENCY, "latencies");

	if (fd >= 0)
		(void)bpf_map_delete_elem(fd, key);
}

uint64_t latency_lost(const struct datapath *d)
{
	int fd = datapath_map_fd(d, DATAPATH_LATENCY, "latencies_lost");
	uint64_t lost = 0;
	uint32_t zero = 0;

	return fd >= 0 && bpf_map_lookup_elem(fd, &zero, &lost) == 0 ? lost : 0;
}

/* ---------------------------------------------------------------- histograms */

uint64_t latency_bucket_end(size_t bucket)
{
	return UINT64_C(1) << (LATENCY_STEP_SHIFT + bucket);
}

uint64_t latency_number(const struct latency_histogram *histogram)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < LATENCY_BUCKETS; i++)
		sum += histogram->counts[i];
	return sum;
}

double latency_quantile(const struct latency_histogram *histogram, double q)
{
	double rank = q * (double)latency_number(histogram), below = 0;

	for (size_t i = 0; i < LATENCY_BUCKETS; i++) {
		double count = (double)histogram->counts[i];
		double begin = i ? (double)latency_bucket_end(i - 1) : 0;

		if (count > 0 && below + count >= rank) {
			if (i == LATENCY_BUCKETS - 1)
				return begin; /* longer than all that has an end */
			return begin +
			       ((double)latency_bucket_end(i) - begin) * (rank - below) / count;
		}
		below += count;
	}
	return 0;
}
