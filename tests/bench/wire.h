/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What wire.bpf.c and wire.c share. */
#pragma once

#include <linux/types.h>

#define WIRE_LENGTH	64
#define WIRE_MARK	0x77697265 /* the payload begins so: no translation changes it */
#define WIRE_BURST	64
#define WIRE_ANSWER_SEQ 5000

/*
 * The frame of the first flow, and how the others differ: each has a source port of its own, and
 * they go round `services` destination ports.
 */
struct wire_run {
	__u8 frame[WIRE_LENGTH];
	__u32 link; /* where frames are sent, and come back */
	__u32 flows;
	__u32 services; /* a power of two */
	__u32 next;
	__u32 answer; /* SYNs are answered */
	__u32 client_be;
	__u32 node_be;
	__u32 endpoint_be;
	__u32 burst_left;
	__u32 pad;
	__u64 burst_ns; /* from one burst to the next; 0: no pause between frames */
	__u64 due;	/* when the next burst is, by the kernel's clock */
	__u64 left;	/* frames that are to be sent */
	__u64 begun;	/* when the first one was sent, and the last one */
	__u64 sent;
};

struct wire_counts {
	__u64 forwarded; /* from the node's address to the endpoint's */
	__u64 answered;	 /* back to the client */
	__u64 other;	 /* translated in another way */
	__u64 expected;	 /* as many more are to be forwarded */
	__u64 ended;	 /* when the last one of them was */
};
