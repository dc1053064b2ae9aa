/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What programs that capture, the agent and who reads the packets share. See docs/capture.md. */
#pragma once

#include "abi.h"

/* Of struct capture_record: a reader of another one is refused. */
#define CAPTURE_VERSION 1

/* Bytes of a packet as it came that are kept while its program runs: all that is translated is in
 * them. The rest of a packet stays as it is. */
#define CAPTURE_HEAD 192

/* At a time on a node: each costs every packet a look at its filter. */
#define CAPTURES_MAX 4

/* Of a packet, at most: a perf record has 65,535 bytes with all that stands before. */
#define CAPTURE_SNAPLEN 65000

#define CAPTURE_NETS  4
#define CAPTURE_PORTS 4

enum capture_side { CAPTURE_SOURCE = 1 << 0, CAPTURE_DESTINATION = 1 << 1 };

struct capture_net {
	struct polder_addr addr;
	struct polder_addr mask;
	__u32 sides; /* enum capture_side: one of them is in the net */
	__u32 pad;
};

struct capture_ports {
	__u16 first; /* host byte order */
	__u16 last;
	__u32 sides;
};

/*
 * Array `capture_filters`: what of the packets is for whom. All of it has to hold, for the packet
 * as it came or as it leaves; who reads the packets has the exact expression.
 */
struct capture_filter {
	__u32 active; /* 0: nobody's */
	__u32 snaplen;
	__u32 ifindex; /* of one link; 0: all */
	__u8 drops;    /* 1: only what was dropped or refused */
	__u8 family;   /* enum polder_family; 0: any */
	__u8 proto;    /* 0: any */
	__u8 net_count;
	__u8 port_count;
	__u8 pod_count; /* with these the packet has one of the addresses, or is on the link */
	__u16 pad;
	__u32 pod_ifindex;
	struct polder_addr pods[2];
	struct capture_net nets[CAPTURE_NETS];
	struct capture_ports ports[CAPTURE_PORTS];
};
ABI_SIZE(struct capture_filter, 24 + 32 + CAPTURE_NETS * 40 + CAPTURE_PORTS * 8);

enum capture_flag {
	CAPTURE_XDP = 1 << 0,
	CAPTURE_TOLD = 1 << 1, /* Polder's own: told of where it came in, here only who asks for
				  the link is told */
};

/* Stands before the packet's bytes, as it leaves, in a record of the perf ring. */
struct capture_record {
	__u64 time_ns; /* monotonic clock */
	__u32 ifindex;
	__u32 length;	    /* as it came */
	__u32 length_after; /* as it leaves */
	__u16 captured;	    /* bytes behind this */
	__u16 before;	    /* bytes in `head` */
	__u8 hook;	    /* enum drop_hook */
	__u8 verdict;	    /* enum event_verdict */
	__u8 reason;	    /* enum polder_reason */
	__u8 flags;	    /* enum capture_flag */
	__s32 action;	    /* what the program returned */
	__u32 source_identity;
	__u32 destination_identity;
	__u32 egress_rule; /* as in struct polder_event */
	__u32 ingress_rule;
	__u32 egress_ruleset;
	__u32 ingress_ruleset;
	struct polder_addr backend; /* all 0: none */
	__be16 backend_port_be;
	__u16 pad[3];
	__u8 head[CAPTURE_HEAD];
};
ABI_SIZE(struct capture_record, 80 + CAPTURE_HEAD);

/* Per-CPU hash `capture_lost`: records for which a ring had no room. */
struct capture_place {
	__u32 capture; /* the place in `capture_filters` */
	__u32 ifindex;
	__u32 hook; /* enum drop_hook */
};
#define CAPTURE_PLACES 4096
