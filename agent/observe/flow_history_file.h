/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeps a history in a file, so that it outlives the agent: read once, then written again as a
 * whole, by a thread, as often as its size allows. A reader of the file, and whoever comes after a
 * crash, sees the old version or the new one; one that cannot be written leaves the old one.
 */
#pragma once

#include <uv.h>

#include "agent/observe/flow_history.h"

/* Written every minute; a large one more seldom, so that it is no more than this in a second. */
#define FLOW_HISTORY_FILE_S    60
#define FLOW_HISTORY_FILE_RATE (64u << 10)

struct flow_history_file;
/*
 * Reads the file into `history`, which is new and has to outlive this. `most_bytes`: of the
 * history's memory; a file of more than four times that is not read. What is wrong with the file is
 * told by flow_history_file_stats(). 0 or -ENOMEM.
 */
int flow_history_file_open(uv_loop_t *loop, const char *path, struct flow_history *history,
			   uint64_t most_bytes, struct flow_history_file **ret);
/* Writes it once more, and waits for that. The memory goes with the loop's next turns. Takes NULL.
 */
void flow_history_file_close(struct flow_history_file *file);

struct flow_history_file_stats {
	uint64_t bytes;	     /* of the version that is there; 0: none yet */
	uint64_t written_ns; /* monotonic clock; 0: not by this agent */
	uint64_t left_out;   /* damaged lines, when it was read */
	bool cut_off;	     /* its end was missing then */
	uint64_t failures;   /* of writing */
	const char *problem; /* why it is not read or not written; "": it is */
};
void flow_history_file_stats(const struct flow_history_file *file,
			     struct flow_history_file_stats *ret);
