/* SPDX-License-Identifier: Apache-2.0 */
/* The program that measures connections (datapath/latency.bpf.c): attached while it is wanted, and
 * what it has measured. */
#pragma once

#include "agent/kernel/datapath.h"
#include "datapath/latency.h"

/*
 * Attaches the program to the configured cgroup, or takes it away with its maps. Idempotent; what
 * an earlier agent has measured, and the connections that it follows, are taken over. 0 or -errno
 * with `message`: then nothing is measured, or, if that may pass, by the earlier one's program.
 */
int latency_want(struct datapath *datapath, bool wanted, char *message, size_t size);
/* Is it attached? */
bool latency_is_on(const struct datapath *datapath);

struct latency_entry {
	struct latency_key key;
	struct latency_value value;
};
/* All that was measured, to be freed; nothing if it is off. 0 or -errno. */
int latency_read(const struct datapath *datapath, struct latency_entry **ret, size_t *ret_count);
/* Whose it was is no more. */
void latency_forget(const struct datapath *datapath, const struct latency_key *key);
/* Events for which there was no room. */
uint64_t latency_lost(const struct datapath *datapath);

/* Upper end of a bucket in us; the last one has none. */
uint64_t latency_bucket_end(size_t bucket);
/* How many there are, and the value below which the share `q` of them is, in us: as if those of a
 * bucket were spread evenly over it. 0: there are none. */
uint64_t latency_number(const struct latency_histogram *histogram);
double latency_quantile(const struct latency_histogram *histogram, double q);
