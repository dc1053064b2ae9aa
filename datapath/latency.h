/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What connections are measured by: histograms of pods, Services and the node, shared with user
 * space. */
#pragma once

#include "abi.h"

/* What a histogram is of. */
enum latency_kind {
	LATENCY_NODE,	 /* sockets of the node's own network namespace; id 0 */
	LATENCY_POD,	 /* id: the host-side link's number */
	LATENCY_SERVICE, /* id: service_entry.id; asked by sockets of this node */
	LATENCY_KINDS
};

/* Map `latencies`, a hash of the programs' object alone: no other layout when it changes. */
struct latency_key {
	__u32 kind; /* enum latency_kind */
	__u32 id;
};
ABI_SIZE(struct latency_key, 8);

/* Bucket i counts what took at most 2^i times the first step and more than half of that; the last
 * one all that took longer. */
#define LATENCY_STEP_SHIFT 4 /* the first step: 16 us */
#define LATENCY_BUCKETS	   24
#define LATENCY_OWNERS	   16384
#define LATENCY_SOCKETS	   65536 /* connections at once */

struct latency_histogram {
	__u64 sum_us;
	__u64 counts[LATENCY_BUCKETS];
};

enum latency_measure {
	LATENCY_CONNECT,    /* of the client: SYN to established */
	LATENCY_ROUND_TRIP, /* smoothed, of both ends */
	LATENCY_FIRST_BYTE, /* of the client: the first request to its answer's first byte */
	LATENCY_ANSWER, /* of the server: the first request's arrival to the answer's first byte */
	LATENCY_MEASURES
};

enum latency_count {
	LATENCY_RETRANSMITTED, /* segments */
	LATENCY_RESETS,	       /* connections that ended so, sent or received */
	LATENCY_TIMEOUTS,      /* connections whose peer did not answer any more, or never did */
	LATENCY_FAILED,	       /* connects that were refused or given up by the process */
	LATENCY_COUNTS
};

struct latency_value {
	struct latency_histogram measures[LATENCY_MEASURES];
	__u64 counts[LATENCY_COUNTS];
};
ABI_SIZE(struct latency_value, 832);
