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

/* By kind and name; to be freed. What is of pods and Services that are no more is forgotten. 0 or
 * -errno. */
int show_latency_rows(const struct show_sources *sources, struct latency_row **ret,
		      size_t *ret_count);
/* Of each kind the first `most` stay; the others are added to one of their kind without a name.
 * Rows of a kind stand together. How many are left. */
size_t latency_join_rows(struct latency_row *rows, size_t count, size_t most);
