/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A history as a text that outlives the agent and the machine's start. Each line has a checksum of
 * its own, so that of a damaged one the rest is still good. Times are those of the wall clock.
 */
#pragma once

#include "agent/observe/flow_history.h"

/* One moment, by both clocks. */
struct flow_history_now {
	uint64_t history_ns; /* flow_history_clock() */
	uint64_t wall_ns;
};
struct flow_history_now flow_history_now(void);

/* What is written of a history. It may be made into a text in another thread. */
struct flow_history_image {
	struct flow_history_copy copy;
	uint64_t reach_ns;
	struct flow_gap gaps[FLOW_GAPS_MAX];
	size_t gap_count;
	struct flow_history_now now;
};
/* 0 or -ENOMEM. */
int flow_history_image(const struct flow_history *history, struct flow_history_image *ret);
void flow_history_image_clear(struct flow_history_image *image); /* takes a zeroed one */
/* free() the text. 0 or -ENOMEM. */
int flow_history_format(const struct flow_history_image *image, char **ret, size_t *ret_length);

/* What a text had. */
struct flow_history_read {
	size_t entries; /* that have been restored */
	size_t damaged; /* lines */
	bool cut_off;	/* it has no end: more lines may be missing */
};
/*
 * Into a history that is new. The time since it was written is a gap; if anything of it is missing,
 * the history reaches back to now only, and has what is good all the same. 0; -EBADMSG: it is no
 * such text, and nothing was restored; -EPROTO: it is one of another release, the same; -ENOMEM.
 */
int flow_history_parse(struct flow_history *history, const char *text, size_t length,
		       const struct flow_history_now *now, struct flow_history_read *ret);
