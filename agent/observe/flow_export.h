/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events as JSON lines into a file or a Unix stream socket, for whoever collects logs. So many a
 * second and no more, never waited for: what cannot be written in time is counted as lost, and a
 * line says so.
 */
#pragma once

#include <uv.h>

#include "agent/observe/events.h"

struct flow_export_options {
	const char *target;  /* a path; with "unix:" before it a socket's */
	uint32_t mask;	     /* enum event_mask */
	uint32_t per_second; /* 0: no limit */
	uint64_t most_bytes; /* of a file, then it becomes TARGET.1 and a new one begins; 0: no
				limit */
};

struct flow_export;
/* All is borrowed. 0 or -ENOMEM: what is wrong with the target is told by flow_export_read(), and
 * tried again. */
int flow_export_open(uv_loop_t *loop, struct events *events, const struct event_names *names,
		     const struct flow_export_options *options, struct flow_export **ret);
/* Takes NULL. Before events_close(). Writes what is left, and waits a second for that at most; the
 * memory goes with the loop's next turns. */
void flow_export_close(struct flow_export *out);

struct flow_export_stats {
	uint64_t written; /* lines */
	uint64_t limited; /* events beyond the rate */
	uint64_t lost; /* lines that the target did not take, and events the ring had no room for */
	char error[256]; /* why the target cannot be written now; "": it can */
};
void flow_export_read(const struct flow_export *out, struct flow_export_stats *ret);
