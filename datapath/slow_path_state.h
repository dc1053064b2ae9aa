/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the slow path's stages share: the scratch of one run, and small questions about it. */
#pragma once

#include "event.h"
#include "next_hop.h"

/* Scratch of one run of the slow path: too large for the stack of a program. */
struct slow_path {
	struct flow_side fwd;	/* the originator's packets, as they enter */
	struct flow_side rev;	/* the replies, as they enter */
	struct flow_copy old;	/* fwd's translation before the change; generation 0: none */
	struct flow_copy other; /* for look-ups */
	struct flow_tuple reply_tuple;
	struct policy_question question;
	struct polder_addr src, dst; /* fwd's, untranslated */
	struct polder_addr new_src, new_dst;
	__be16 new_sport_be, new_dport_be;
	__u32 source_link; /* of the pod that opened the flow; 0: none is known */
	__u32 flags;	   /* enum slow_path_flag */
	union {
		struct {
			__u32 generation; /* of the verdict */
			__u32 slot;	  /* that it reads */
		};
		__u64 in_force; /* both, as control has them: read before any other map */
	};
	__u32 port_at; /* of the search for a source port: where it began */
	__u32 port_tries;
	__u32 port_linger;	      /* ports of flows that are as good as over are taken too */
	struct service_entry service; /* of which an endpoint is chosen: the map is read-only, and
				       * no argument of a global function */
	struct address_key egress_key;
	__u32 native_peer; /* that a flow from the wire comes from, natively routed; 0: none */
};

enum slow_path_flag {
	SLOW_PATH_SERVICE = 1 << 0,
	SLOW_PATH_MASQUERADE = 1 << 1,
	SLOW_PATH_HAIRPIN = 1 << 2,
	SLOW_PATH_REPLY = 1 << 3,     /* the packet at hand is a reply */
	SLOW_PATH_KNOWN = 1 << 5,     /* the flow was in the table */
	SLOW_PATH_PASSES_BY = 1 << 6, /* no pod's: its port alone is kept, or changed */
	SLOW_PATH_NATIVE = 1 << 7, /* by the wire from a peer: its MAC address is to be checked */
	SLOW_PATH_OVER_SHARE =
		1 << 4, /* a new entry takes the place of one of the same pod, or none */
	SLOW_PATH_NODE_SOURCE = 1 << 8, /* from outside to a Service, with an address of this node
					 */
	SLOW_PATH_HAND_ON = 1 << 9,	/* to the endpoint's node, untranslated (DSR) */
	SLOW_PATH_HANDED_ON = 1 << 10,	/* another node has done so */
	SLOW_PATH_AFFINITY = 1 << 11,	/* the Service keeps a client's endpoint */
};

MAP(slow_paths, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct slow_path, 1, 0);

static __always_inline struct slow_path *slow_path_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&slow_paths, &zero);
}

/* The start of a connection. */
static __always_inline bool is_syn(const struct packet *p)
{
	return (p->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN;
}

/* Can the source port (ICMP: identifier) be another? The other family's ICMP is a protocol without
 * ports. */
static __always_inline bool has_port_to_choose(const struct flow_tuple *t, __u8 family)
{
	switch (t->proto) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_SCTP:
		return true;
	case IPPROTO_ICMP:
		return family == FAMILY_V4 && (t->dport_be == bpf_htons(ICMP_ECHO << 8) ||
					       t->dport_be == bpf_htons(ICMP_ECHO_REPLY << 8));
	case IPPROTO_ICMPV6:
		return family == FAMILY_V6 && (t->dport_be == bpf_htons(ICMP6_ECHO << 8) ||
					       t->dport_be == bpf_htons(ICMP6_ECHO_REPLY << 8));
	default:
		return false;
	}
}

/* What holds for an address outside. The key stands in `path`: the stack is small. */
static __always_inline const struct egress_route *egress_route_find(struct slow_path *path,
								    const struct polder_addr *to)
{
	path->egress_key.prefixlen = 128;
	path->egress_key.addr = *to;
	return bpf_map_lookup_elem(&egress_routes, &path->egress_key);
}
