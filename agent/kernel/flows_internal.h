/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by what passes over the flow tables and what looks at them. */
#pragma once

#include "agent/kernel/flows.h"

#define STUCK_MAX 64

/* An entry that was odd when a scan came by. */
struct stuck {
	uint32_t table, set, way, seq;
	uint64_t since;
	uint64_t scan; /* the last one that saw it */
};

/* What one scan has counted so far. */
struct flow_scan {
	bool running;
	bool failed;	     /* no memory for a window: the counts are not whole */
	uint32_t table, set; /* where it is */
	uint64_t entries[2];
	uint64_t packets, bytes;
	uint64_t worked_ns;
	struct flows_unanswered unanswered;
	struct flow_usage
		*counted; /* what each pod's places should say; NULL: no memory, or nobody counts */
};

struct flows {
	struct flow_table tables[2]; /* IPv4, IPv6 */
	const struct control *control;
	uint64_t (*clock_ns)(void);
	int rules_fd[2];
	flows_over over;
	void *over_data;
	struct flow_window window, reply_window;
	struct flow_usage *usage; /* mapped whole */
	uint32_t usage_count;
	struct flow_scan scan;
	struct stuck stuck[STUCK_MAX];
	size_t stuck_count;
	uint64_t over_packets, over_bytes; /* of flows that were freed */
	struct flows_stats stats;

	uv_timer_t timer;
	uv_idle_t idle;
	uint32_t scan_now;
	int handles;
	void (*stopped)(void *data);
	void *stopped_data;
};

/* Counts the entry if the node has left it without an answer. */
void flows_note_unanswered(struct flow_scan *scan, const struct flow_table *table,
			   const void *entry);

/* The rules beside the entries of a set; none where they cannot be read. */
void flows_read_rules(const struct flows *flows, const struct flow_table *table, uint32_t set,
		      struct flow_rules_set *ret);
