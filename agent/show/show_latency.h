/* SPDX-License-Identifier: Apache-2.0 */
/* What was measured of connections, by name: for the list and for the exporter. */
#pragma once

#include "agent/kernel/latency.h"
#include "agent/show/show_internal.h"

struct latency_row {
	const char *namespace, *name; /* borrowed: until something changes; "": the node */
	uint16_t port;		      /* of a Service; else 0 */
	struct latency_entry entry;
};

extern const char *const latency_kind_names[LATENCY_KINDS];
extern const char *const latency_measure_names[LATENCY_MEASURES];
extern const char *const latency_count_names[LATENCY_COUNTS];

/* By kind and name; to be freed. Nothing is said of what has no name: it is of pods and Services
 * that are no more, or not known yet. 0 or -errno. */
int show_latency_rows(const struct show_sources *sources, struct latency_row **ret,
		      size_t *ret_count);
/* Sorts rows by kind and name, and adds up those of one name: a Service has a number for each
 * family, a pod one for each interface. How many are left. */
size_t latency_join_rows(struct latency_row *rows, size_t count);
/* Of each kind the first `most` stay. How many these are, and the others. */
size_t latency_limit_rows(struct latency_row *rows, size_t count, size_t most,
			  size_t *ret_left_out);
