/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the program at skb:kfree_skb and the agent share. See docs/observe.md. */
#pragma once

#include "abi.h"

/* The kernel's own reasons (enum skb_drop_reason) are numbers that differ from release to release;
 * those of its subsystems stand above the low 16 bits. The programs tell apart so many. */
#define KERNEL_REASONS	   256
#define KERNEL_REASON_REST (KERNEL_REASONS - 1) /* where all others are counted */

/* Array `kernel_drop_settings`, one entry: bits by reason. */
struct kernel_drop_settings {
	__u64 left_out[KERNEL_REASONS / 64]; /* nobody wants to know */
	/* Our programs' own verdicts, in the node's network namespace: they have said why. */
	__u64 own[KERNEL_REASONS / 64];
};
ABI_SIZE(struct kernel_drop_settings, 2 * KERNEL_REASONS / 8);

/* Per-CPU array `kernel_drop_counts`: packets by reason, behind them what was not told. */
enum kernel_drop_count {
	KERNEL_DROPS_LOST = KERNEL_REASONS, /* the ring was full */
	KERNEL_DROPS_LIMITED,		    /* beyond events-per-second */
	KERNEL_DROP_COUNTS
};

enum kernel_drop_place {
	KERNEL_DROP_NODE,     /* in the node's network namespace */
	KERNEL_DROP_SENDER,   /* in that of the pod of this node that sends */
	KERNEL_DROP_RECEIVER, /* in that of the pod of this node that it was for */
};

/* Ring buffer `kernel_drops`. */
#define KERNEL_DROPS_BYTES (1 << 18)
struct kernel_drop {
	__u64 time_ns;	/* monotonic clock */
	__u64 location; /* address of the kernel's code that gave the packet up */
	__u32 reason;	/* enum skb_drop_reason of the running kernel */
	__u32 length;	/* bytes that were left of it */
	__u8 place;	/* enum kernel_drop_place */
	__u8 family;	/* enum polder_family */
	__u8 proto;
	__u8 masqueraded; /* the source is a pod's, and the packet had `wire_source` in its place */
	struct polder_addr saddr;
	struct polder_addr daddr;
	__be16 sport_be; /* of TCP, UDP and SCTP */
	__be16 dport_be;
	char device[16]; /* "": not known any more */
	__be16 wire_port_be;
	__u8 pad[2];
	struct polder_addr wire_source;
};
ABI_SIZE(struct kernel_drop, 104);
