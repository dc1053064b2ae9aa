/* SPDX-License-Identifier: Apache-2.0 */
/* A made frame through a loaded program (BPF_PROG_TEST_RUN): what it does with it, and what the
 * slow path found out. Nothing is sent. */
#pragma once

#include "agent/kernel/datapath.h"
#include "agent/kernel/maps.h"

#define TEST_FRAME_MIN 14
#define TEST_FRAME_MAX 9216

struct test_packet {
	enum datapath_hook hook; /* not DATAPATH_SOCKETS */
	uint32_t link;		 /* whose program it is; must be there in this network namespace */
	uint32_t ingress; /* where the node got the packet: `link` itself, another link, 0: sent by
			     the node itself */
	uint32_t mark;
	int program;	   /* one that goes on in the hook's own; 0: that one at once */
	const void *frame; /* with the Ethernet header and checksums */
	size_t length;
};

struct test_result {
	int verdict;		    /* what the program returned: TC_ACT_*, XDP_* */
	enum event_verdict outcome; /* VERDICT_REJECT: `frame` is the answer to the sender */
	enum polder_reason reason;  /* of a drop; REASON_NONE: there was none */
	enum drop_hook hook;	    /* with a reason: where it was counted */
	bool evaluated;		    /* by this packet; else `flow_verdict` is all 0 */
	bool opened;		    /* and it is a new flow */
	struct flow_verdict flow_verdict;
	size_t length;
	uint8_t frame[TEST_FRAME_MAX]; /* as the program left it, of a dropped packet too */
};

struct test_run;

/*
 * `alone`: nothing but test_run() runs programs on these maps, and nobody reads their events; then
 * the answers cost least. Else (the node's own maps) `datapath` is one of datapath_load_apart():
 * the answers are this packet's whatever passes meanwhile. Maps and programs are borrowed. 0 or
 * -errno.
 */
int test_run_open(struct maps *maps, const struct datapath *datapath, bool alone,
		  struct test_run **ret);
void test_run_close(struct test_run *run); /* takes NULL */

/*
 * The packet leaves in the maps what any other would: flow entries, counters. 0, -EINVAL (length,
 * hook), -ENODEV (no such link), -errno. For one thread at a time.
 */
int test_run(struct test_run *run, const struct test_packet *packet, struct test_result *ret);
/* The same without looking into the maps: only `verdict`, `length` and `frame`. For any number of
 * threads. */
int test_run_program(const struct datapath *datapath, const struct test_packet *packet,
		     struct test_result *ret);
