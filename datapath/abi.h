/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Every map key, map value and event that programs and user space share. See docs/abi.md. */
#pragma once

#include <linux/types.h>

#include "reasons.h"

/* Part of the pin path: maps of another layout are never reused. */
#define POLDER_LAYOUT_VERSION 7

#ifndef __bpf__
#include <assert.h>
#define ABI_SIZE(type, size) static_assert(sizeof(type) == (size), #type " has a fixed size")
#else
#define ABI_SIZE(type, size) _Static_assert(sizeof(type) == (size), #type " has a fixed size")
#endif

/* An address of either family. IPv4 stands as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2). */
struct polder_addr {
	union {
		__u8 bytes[16];
		__be32 words_be[4];
	};
};
ABI_SIZE(struct polder_addr, 16);

#define POLDER_V4_MAPPED_BITS 96

enum polder_family { FAMILY_V4 = 4, FAMILY_V6 = 6 };

/* Where a packet enters Polder. Part of a flow's key: a spoofed packet from the wire never meets a
 * pod's flow. */
enum polder_zone { ZONE_POD = 0, ZONE_HOST = 1, ZONE_WIRE = 2, ZONE_TUNNEL = 3 };

/*
 * Identities below IDENTITY_FIRST_POD are reserved. Numbers are local to the node.
 */
enum polder_identity {
	IDENTITY_NONE = 0,
	IDENTITY_HOST = 1,	  /* this node */
	IDENTITY_WORLD = 2,	  /* everything outside */
	IDENTITY_REMOTE_NODE = 3, /* other nodes and their host-network pods */
	IDENTITY_UNKNOWN_POD = 4, /* in a pod range, but no object names it */
	IDENTITY_FIRST_POD = 256,
};

/* ------------------------------------------------------------------ flow table */

/*
 * What names a packet's flow in one direction. For ICMP echo, sport is the identifier and dport the
 * type (8 and 0, 128 and 129) in its high byte, so that a request is never the reply of a request;
 * for protocols without ports both are 0. IPv4 uses the first 16 bytes only. Addresses and ports
 * are in network byte order.
 */
struct flow_tuple {
	union {
		struct {
			__be16 sport_be;
			__be16 dport_be;
			__u8 proto;
			__u8 zone;  /* enum polder_zone */
			__u16 peer; /* zone tunnel: who sent it, see `peers`; else 0 */
			union {
				struct {
					__be32 saddr_be;
					__be32 daddr_be;
				} v4;
				struct {
					__be32 saddr_be[4];
					__be32 daddr_be[4];
				} v6;
			};
		};
		__u64 words[5];
	};
};
ABI_SIZE(struct flow_tuple, 40);
#define FLOW_WORDS_V4 2
#define FLOW_WORDS_V6 5

enum flow_action {
	FLOW_NONE = 0,
	FLOW_TO_POD = 1,    /* hop is the pod's place in `pods`: redirect into its namespace */
	FLOW_TO_WIRE = 2,   /* hop is a place in `next_hops` */
	FLOW_TO_HOST = 3,   /* the node's own stack */
	FLOW_TO_STACK = 4,  /* through the node's stack: it translated the flow, so the replies go
			       back by it */
	FLOW_TO_TUNNEL = 5, /* hop is the peer's own place in `next_hops` */
};

/* flow_head.state. The side that opened the flow is the originator. */
enum flow_state {
	FLOW_REPLY = 1 << 0,   /* this entry is the reply direction */
	FLOW_REPLIED = 1 << 1, /* the other side has answered */
	FLOW_ESTABLISHED =
		1
		<< 2, /* never evicted: TCP handshake done; datagrams that go on after an answer */
	FLOW_FIN_ORIG = 1 << 3,
	FLOW_FIN_REPLY = 1 << 4,
	FLOW_RESET = 1 << 5,
	FLOW_TRANSLATED = 1 << 6, /* addresses or ports are rewritten */
	FLOW_SERVICE = 1 << 7,	  /* the destination was chosen by a Service */
	FLOW_RULED = 1 << 8, /* rules allowed it: they stand in `flow_rules4` or `flow_rules6` */
	FLOW_AGAIN =
		1
		<< 9, /* datagrams: the originator has sent in a later tick than the first answer */
	FLOW_AFFINITY = 1 << 10, /* with FLOW_SERVICE: one that keeps a client's endpoint */
};

/*
 * Written under `seq`: even when stable, odd while one writer (a CPU or the agent's collector), who
 * won it by compare-and-swap, fills the entry. A reader copies what it needs and compares seq
 * again; one that meets a writer tries again. An evaluation with the same outcome moves
 * `generation` alone, by a compare-and-swap of `stamp`. `last`, `packets`, `bytes` and `state`
 * change in place.
 */
struct flow_head {
	union {
		struct {
			__u32 seq;
			__u32 generation; /* of the verdict; 0: the place is free */
		};
		__u64 stamp; /* both: little-endian hosts only, as everything that runs these
				programs */
	};
	__u32 last; /* last use, in ticks: the coarse monotonic clock / 2^30 ns */
	__u32 packets;
	__u64 bytes;
	union {
		struct {
			__u16 state; /* enum flow_state bits */
			__u8 action; /* enum flow_action */
			__u8 pad;
		};
		__u32 state_word; /* for atomic changes of `state` */
	};
	__u16 hop;	 /* a place in `pods` or `next_hops`, by action */
	__u16 owner;	 /* the place in `pods` of the pod that the entry counts for, see struct
			    flow_usage */
	__u16 addr_diff; /* checksum difference of the addresses, folded (RFC 1624), as
			    bpf_csum_diff gives it */
	__u16 port_diff; /* the same of the ports */
	__be16 new_sport_be;
	__be16 new_dport_be;
};
ABI_SIZE(struct flow_head, 40);

/*
 * The owner of what is no pod's: flows of the node itself, and of what it forwards, that have a
 * port of the masquerade range. No place in `flow_usage`: when the table is nearly full they are
 * the first that give way.
 */
#define FLOW_OWNER_NODE 0xffff

/* A generation that is never in force: an entry that has it is re-evaluated. */
#define FLOW_GENERATION_DOUBTED 1

struct flow4 { /* one cache line */
	__u64 key[FLOW_WORDS_V4];
	struct flow_head head;
	__be32 new_saddr_be;
	__be32 new_daddr_be;
} __attribute__((aligned(8)));
ABI_SIZE(struct flow4, 64);

struct flow6 { /* two cache lines */
	__u64 key[FLOW_WORDS_V6];
	struct flow_head head;
	__be32 new_saddr_be[4];
	__be32 new_daddr_be[4];
	__u64 pad[2];
} __attribute__((aligned(8)));
ABI_SIZE(struct flow6, 128);

/* A tuple may stand in any way of the two sets that its hash names. */
#define FLOW_WAYS 8
struct flow4_set {
	struct flow4 way[FLOW_WAYS];
};
struct flow6_set {
	struct flow6 way[FLOW_WAYS];
};

/*
 * Arrays `flow_tags4` and `flow_tags6`, beside the flow table: for each set a word with a byte for
 * each way, 8 bits of the hash of the tuple that stands there, 0 if the way is free. A hint: the
 * entry's key and seq decide. Written while the entry is held.
 */
#define FLOW_TAG_FREE 0

/*
 * Idle time-outs, ticks of 2^30 ns (1.07 s: a shift is cheaper than a division). The programs use
 * them to find a place and to tell that a flow is over, the agent's collector to free it. A flow is
 * over when both its directions have been idle for so long. After
 * net.netfilter.nf_conntrack_*_timeout, except that an established TCP connection is kept for 6.4
 * hours.
 */
#define FLOW_TICK_SHIFT		      30
#define FLOW_TIMEOUT_TCP_ESTABLISHED  21600
#define FLOW_TIMEOUT_TCP_NEW	      56
#define FLOW_TIMEOUT_TCP_WAIT	      112 /* both sides have sent FIN */
#define FLOW_TIMEOUT_TCP_RESET	      10
#define FLOW_TIMEOUT_STREAM	      112 /* datagrams that go on after an answer */
#define FLOW_TIMEOUT_DATAGRAM	      28  /* the others, ICMP too */
#define FLOW_TIMEOUT_SCTP_NEW	      28
#define FLOW_TIMEOUT_SCTP_ESTABLISHED 21600
#define FLOW_TIMEOUT_OTHER	      559 /* GRE, ESP and whatever has no ports */
/* No time-out is shorter: an entry that was used since is not over, whatever it is. */
#define FLOW_TIMEOUT_LEAST 10

/* ------------------------------------------------------------------ pods and addresses */

/*
 * Array `pods`, indexed by the last bits of the ifindex (datapath_config.pods_mask): the agent
 * chooses the ifindex of a host-side link so that no two pods meet. Rule sets and identity stand
 * twice: `control.slot` says which one is in force, so one word switches all of them at once.
 */
#define POLDER_MAX_PODS 8192 /* at most; FRAGMENT_OWNER() has room for one more */
#define POLDER_MIN_PODS 64
#define REJECT_UPLINKS                                                                             \
	64 /* places for uplinks before those for pods, in `reject_budgets`; a power of two,       \
	      POLDER_MIN_PODS at most */
struct pod_entry {
	__u32 ifindex; /* 0: free */
	__u32 flags;   /* enum pod_flag */
	__u8 mac[6];
	__u16 mtu;
	__be32 ipv4_be;	   /* 0: none */
	__be32 ipv6_be[4]; /* all 0: none */
	__u32 identity[2];
	__u32 egress_rules[2]; /* slot of a rule set, or below RULESET_FIRST: enum ruleset_id */
	__u32 ingress_rules[2];
	__u32 pad;
};
ABI_SIZE(struct pod_entry, 64);
enum pod_flag {
	POD_READY = 1 << 0,
	POD_LIMITED = 1 << 1, /* what goes to it waits in a queue on the host's side of its link */
};
/* Of a packet that has its verdict and goes by that queue: the programs of the link let it pass.
 * Only the node itself can set it: what comes out of a namespace, or in by a link, has no mark. */
#define POD_LIMITED_MARK 0x504f4c4du

/* LPM trie `addresses`: prefixlen counts in the 128 bits, 96 + n for IPv4. */
struct address_key {
	__u32 prefixlen;
	struct polder_addr addr;
};
ABI_SIZE(struct address_key, 20);
enum address_flag {
	ADDRESS_POD = 1 << 0,	     /* one pod's address */
	ADDRESS_POD_RANGE = 1 << 1,  /* a range pods get their addresses from: never masqueraded */
	ADDRESS_LOCAL = 1 << 2,	     /* of this node */
	ADDRESS_NODE = 1 << 3,	     /* a node's own address */
	ADDRESS_NO_MASQ = 1 << 4,    /* not masqueraded for another reason */
	ADDRESS_NODE_PORTS = 1 << 5, /* a node's own address at which node ports are served */
};
struct address_entry {
	__u32 identity[2]; /* by control.slot */
	__u32 flags;	   /* enum address_flag */
	union {
		__u32 ifindex; /* ADDRESS_LOCAL: of a pod's link; else 0 */
		__u32 peer;    /* not ADDRESS_LOCAL: the node that the address is behind, see
				  `peers`; 0: none, routes alone say the way */
	};
};
ABI_SIZE(struct address_entry, 16);

/*
 * Array `local_pods`: what `addresses` says of addresses of this node's pods, found without the
 * trie. Index: the address's last bits (datapath_config.local_pods_mask), in the second half for
 * IPv6. Asked for addresses in the node's own pod ranges; an element without flags or of another
 * address says nothing, and the trie answers.
 */
struct local_pod_address {
	struct address_entry entry;
	struct polder_addr addr;
};
ABI_SIZE(struct local_pod_address, 32);

/* ------------------------------------------------------------------ policy */

enum ruleset_id {
	RULESET_OPEN = 0,     /* no policy selects the pod in this direction */
	RULESET_CLOSED = 1,   /* nothing passes: not ready */
	RULESET_CAPACITY = 2, /* nothing passes: its rules did not fit */
	RULESET_FIRST = 16,
};

/*
 * Array `rulesets`. Index: a slot, RULESET_FIRST and up, as the pods' words name it; used for
 * another set only when no program can still be using it. Classes: 0 matches no rule.
 */
struct ruleset_entry {
	__u16 default_pod_class;   /* peers that are pods and not in `ruleset_peers` */
	__u16 default_world_class; /* other peers that are not in `ruleset_peers` */
	__u32 flags;		   /* enum ruleset_flag */
	__u64 digest[2];	   /* of the content: how a restarted agent knows it again */
	__u32 number; /* of the set, in the keys below; never given twice. 0: the slot is free */
	__u32 cell_first;   /* its table in `ruleset_tables` */
	__u32 cell_count;   /* 0: its cells stand in `ruleset_cells` */
	__u32 port_classes; /* cells in a row of the table */
};
ABI_SIZE(struct ruleset_entry, 40);
enum ruleset_flag {
	RULESET_HAS_PREFIXES = 1 << 0,
	RULESET_HAS_PORTS = 1 << 1,
	RULESET_ISOLATES = 1 << 2, /* a NetworkPolicy selects the pod: what no rule matches is
				      denied, else allowed */
};

/* Hash `ruleset_peers`. Classes stand twice, as rule sets do in pod_entry: a namespace's labels
 * change many at once. */
struct ruleset_peer_key {
	__u32 ruleset;
	__u32 identity;
};
struct ruleset_peer {
	__u16 peer_class[2]; /* by control.slot */
};
ABI_SIZE(struct ruleset_peer, 4);

/* LPM trie `ruleset_prefixes` -> __u32 peer class. prefixlen = 32 + bits of the 128-bit address. */
struct ruleset_prefix_key {
	__u32 prefixlen;
	__u32 ruleset;
	struct polder_addr addr;
};
ABI_SIZE(struct ruleset_prefix_key, 24);

/*
 * LPM trie `ruleset_ports` -> __u32 port class. prefixlen = 32: any protocol and port; 48: any port
 * of the protocol; 48 + n: the ports whose first n bits (network order) are these.
 */
struct ruleset_port_key {
	__u32 prefixlen;
	__u32 ruleset;
	__u8 proto;
	__u8 zero;
	__be16 port_be;
};
ABI_SIZE(struct ruleset_port_key, 12);

/*
 * What holds for a class of peers and a class of ports, in each of two steps: the Admin tier, then
 * what is asked if that one leaves it open (NetworkPolicy, or Baseline where no NetworkPolicy
 * selects the pod). Not there, or CELL_NONE: no rule matches. Array `ruleset_tables`: the cell of
 * peer class p (1 and up) and port class q stands at cell_first + (p - 1) * port_classes + q, in a
 * range that is the set's own. Hash `ruleset_cells`: cells of sets whose table would be mostly
 * holes, or found no range.
 */
struct ruleset_cell_key {
	__u32 ruleset;
	__u16 peer_class;
	__u16 port_class;
};
ABI_SIZE(struct ruleset_cell_key, 8);
enum policy_step { STEP_ADMIN, STEP_REST, POLICY_STEPS };
enum cell_verdict { CELL_NONE, CELL_ALLOW, CELL_DENY, CELL_PASS };
struct ruleset_cell {
	__u32 rule[POLICY_STEPS];   /* number of the rule that decides; 0: none matches */
	__u16 rank[POLICY_STEPS];   /* the lower one of the identity's and the prefix's cell decides
				     */
	__u8 verdict[POLICY_STEPS]; /* enum cell_verdict; only the Admin step passes */
	__u16 pad;
};
ABI_SIZE(struct ruleset_cell, 16);

/*
 * Per-CPU hash `rule_counters`: packets denied, and packets of flows that are over or have been
 * re-evaluated by other rules; those of living flows stand in the flow table. Key: a rule's number,
 * or RULE_DEFAULT and a rule set's number for what no rule matched. The agent makes the entries.
 */
#define RULE_DEFAULT 0x80000000u
struct rule_counter {
	__u64 packets;
	__u64 bytes;
};

/* Arrays `flow_rules4` and `flow_rules6`, beside the flow table: the rules that allowed the flow in
 * the same way of the same set. */
struct flow_rules {
	__u32 egress_rule; /* 0: none */
	__u32 ingress_rule;
};
struct flow_rules_set {
	struct flow_rules way[FLOW_WAYS];
};

/*
 * Array `flow_usage`, beside `pods` and with one element more, the last, for all of them: entries
 * of the flow tables that count for the pod. In the last one also who was the last that wanted more
 * than its share of a table that is nearly full: its entries give way to those of others while it
 * holds more.
 */
struct flow_usage {
	__u32 entries[2]; /* IPv4, IPv6 */
	__u32 greedy[2];  /* in the last: 1 + the pod's place; 0: nobody */
};
ABI_SIZE(struct flow_usage, 16);

/* ------------------------------------------------------------------ next hops */

/*
 * Array `next_hops`. The first places are the uplinks' own, written by the agent: the neighbour is
 * for the kernel to find. An uplink that is made anew gets another one, for what was evaluated
 * before names the old one until it is re-evaluated. The others are made by the programs from what
 * the kernel's routes and neighbours say, each for one (link, MAC addresses, MTU), and never change
 * while something uses them: what was not used for NEXT_HOP_IDLE ticks may become another.
 */
#define NEXT_HOP_UPLINKS 16
#define NEXT_HOPS	 4096 /* places before those of peers */
#define NEXT_HOP_IDLE	 60
struct next_hop {
	__u32 claim;   /* 0: free, 1: being written, 2: may be read */
	__u32 ifindex; /* 0: none */
	__u16 mtu;     /* bytes of IP, within the tunnel; 0: not known */
	__u8 mac[6];   /* of the neighbour; all 0: found by the kernel for each packet */
	__u8 source_mac[6];
	union {
		__u16 mtu_most; /* of a peer's place: what the agent allows; `mtu` is never above it
				 */
		__u16 told; /* of a place that the programs made: the tick, its low half, in which
			       the kernel itself sent to the neighbour, and so keeps it known */
	};
	__u32 used; /* ticks */
	__u32 peer; /* number of the node that it leads to; 0: none */
};
ABI_SIZE(struct next_hop, 32);
enum next_hop_claim { HOP_FREE = 0, HOP_BUSY = 1, HOP_READY = 2 };

/*
 * LPM trie `egress_routes`: by which uplink pods' packets leave for an address, and with which
 * source if they are masqueraded. Key: struct address_key. Written by the agent from what the
 * node's routes and addresses say at present; both families have an entry for all of their
 * addresses. A node's own address has itself as the source and its uplink: a flow that has it may
 * go on by that uplink.
 */
struct egress_route {
	struct polder_addr source; /* all 0: there is no address to masquerade with */
	__u32 ifindex;		   /* 0: no way out, for `reason` */
	__u16 hop;		   /* the uplink's place in `next_hops` */
	__u16 reason;		   /* enum polder_reason */
};
ABI_SIZE(struct egress_route, 24);

/*
 * Array `peers`: the other nodes, by number. 0 is nobody; a number is given again only when nothing
 * says the one before any more. Its own place in `next_hops` is NEXT_HOP_PEERS + number: written by
 * the agent, with the link (an uplink or the tunnel's), the peer and the MTU, which stands in
 * `mtu_most` too. Natively routed packets leave by a place that the programs make from it once they
 * know the neighbour, those through the tunnel by the peer's own, whose `mtu` the programs lower
 * (and raise again, up to `mtu_most`) as the underlay's path says. Who changes the way to a peer
 * has its flows re-evaluated.
 */
#define POLDER_MAX_PEERS 8192
#define NEXT_HOP_PEERS	 NEXT_HOPS
/* Ethernet, VXLAN, UDP and IP: what a packet through the tunnel is longer on the underlay. */
#define TUNNEL_OVERHEAD_V4 50
#define TUNNEL_OVERHEAD_V6 70
/* The path's MTU is heeded down to here (RFC 8200, 5); below it the underlay may fragment. */
#define TUNNEL_MTU_LEAST 1280
struct peer_entry {
	struct polder_addr underlay; /* its end of the tunnel; all 0: it has none */
	struct polder_addr local;    /* this node's end towards it; all 0: as the kernel chooses */
	__be32 ipv4_be;		     /* the node's own addresses; 0: none. Next hops of what is */
	__be32 ipv6_be[4];	     /* routed natively, and sources beside its pods' */
	__u32 flags;		     /* enum peer_flag; 0: the number is free */
};
ABI_SIZE(struct peer_entry, 56);
enum peer_flag {
	PEER_KNOWN = 1 << 0,
	PEER_TUNNEL_V4 = 1 << 1, /* packets of the family go to it through the tunnel, */
	PEER_TUNNEL_V6 = 1 << 2,
	PEER_NATIVE_V4 = 1 << 3, /* or natively: its address is a neighbour's on the link; with */
	PEER_NATIVE_V6 = 1 << 4, /* neither bit nothing goes by `peers` */
	PEER_FROM_WIRE = 1 << 5, /* its pods' packets may come by an uplink */
};

/*
 * Array `tunnel_ends`: which peer sends from an address, found without a hash map. A peer's stands
 * in one of the PEER_PROBES elements from the address's hash on (tunnel_end_hash()). Elements
 * are written without a lock: one is freed before it becomes another's.
 */
#define TUNNEL_ENDS 32768
#define PEER_PROBES 4
struct tunnel_end {
	struct polder_addr underlay;
	__u32 peer; /* 0: free */
};
ABI_SIZE(struct tunnel_end, 20);

/* Of `underlay`, modulo TUNNEL_ENDS. */
static inline __u32 tunnel_end_hash(const struct polder_addr *underlay)
{
	__u32 hash = underlay->words_be[0] * 0x9e3779b1u ^ underlay->words_be[1] * 0x85ebca6bu ^
		     underlay->words_be[2] * 0xc2b2ae35u ^ underlay->words_be[3] * 0x27d4eb2fu;

	return (hash ^ hash >> 15) % TUNNEL_ENDS;
}

/* Array `this_node`, one element: the node's first address of each family, as it is now. */
struct node_addresses {
	__be32 ipv4_be;	   /* 0: none */
	__be32 ipv6_be[4]; /* all 0: none */
};
ABI_SIZE(struct node_addresses, 20);

/*
 * Array `nat_full`: for a hash of a peer (address, port, protocol) the tick in which no source
 * port towards it was found, and in the lowest bits how often. From a few times on the search is
 * short for the rest of that tick.
 */
#define NAT_FULL_SLOTS	1024
#define NAT_FULL_SHIFT	4
#define NAT_FULL_FAILED ((1u << NAT_FULL_SHIFT) - 1)

#include "abi_services.h"

/* ------------------------------------------------------------------ fragments */

/* What names the fragments of one datagram. */
struct fragment_key {
	union {
		struct {
			struct polder_addr saddr;
			struct polder_addr daddr;
			__be32 id_be;
			__u8 proto; /* 0 for IPv6: a later fragment does not tell */
			__u8 zone;
			__u16 peer; /* as in struct flow_tuple */
		};
		__u64 words[5];
	};
};
ABI_SIZE(struct fragment_key, 40);

/*
 * Array `fragments`: the ports that a first fragment carried (RFC 791, RFC 8200 4.5). A datagram
 * may stand in any way of the set that its hash names. Written under `seq` like an entry of the
 * flow table. The owner is who the datagram is held for or against: the pod that sends it, else the
 * pod or the node that it is for. Where a set is full, who has most in it gives way.
 */
struct fragment_entry { /* one cache line */
	struct fragment_key key;
	__u32 seq;
	__u32 ticks; /* when the first came; valid for FRAGMENT_TIMEOUT */
	__be16 sport_be;
	__be16 dport_be;
	__u16 owner; /* FRAGMENT_OWNER(); 0: the place is free */
	__u8 proto;
	__u8 pad[9];
};
ABI_SIZE(struct fragment_entry, 64);
#define FRAGMENT_WAYS 8
struct fragment_set {
	struct fragment_entry way[FRAGMENT_WAYS];
};
#define FRAGMENT_OWNER(zone, slot) ((__u16)((zone) << 14 | ((slot) + 1)))
#define FRAGMENT_OWNER_NODE	   POLDER_MAX_PODS /* as a slot */
#define FRAGMENT_TIMEOUT	   30

/* ------------------------------------------------------------------ control, counters, events */

/* Array `control`, one entry, mapped by the agent. */
struct control {
	union {
		struct {
			__u32 generation; /* moved: every flow is re-evaluated; never 0 or
					     FLOW_GENERATION_DOUBTED */
			__u32 slot; /* 0 or 1: of the two that pods, addresses and peers' classes
				       stand in, the one in force */
		};
		__u64 in_force; /* both: an evaluation reads them by one load, the agent changes
				   them by one store */
	};
	__u32 events;		  /* enum event_mask: what somebody listens to */
	__u32 events_per_second;  /* for each CPU; 0: no limit */
	__u32 flow_share[2];	  /* entries (IPv4, IPv6) that a pod may have once the table is over
				     three quarters full; 0: no limit */
	__u32 rejects_per_second; /* RST and ICMP made for each pod link and each uplink; 0: no
				     limit */
	__u32 moving;	    /* enum moving_bit: maps are being replaced by larger or smaller ones */
	__u64 hash_seed[2]; /* drawn when the map is made; never changed, flows are placed by it */
};
ABI_SIZE(struct control, 48);
/*
 * While programs are on different flow tables none of them writes an entry: all tables hold the
 * same flows. Who opens a flow meanwhile sends its packet again.
 */
enum moving_bit {
	MOVING_HOLD = 1 << 0, /* no entry of a flow is made or changed */
	MOVING_NEXT = 1 << 1, /* programs have been given the maps in `next`: those count */
};
enum event_mask { EVENT_MASK_DROPS = 1 << 0, EVENT_MASK_FLOWS = 1 << 1 };

/* Per-CPU array `drops`, index reason * DROP_HOOKS + hook. */
enum drop_hook {
	DROP_FROM_POD,
	DROP_TO_POD,
	DROP_FROM_WIRE,
	DROP_TO_WIRE,
	DROP_SOCKET,
	DROP_FROM_TUNNEL,
	DROP_TO_TUNNEL,
	DROP_HOOKS
};
struct drop_counter {
	__u64 packets;
	__u64 bytes;
};

/* Per-CPU array `counters`, __u64 each. Append only. */
#define POLDER_COUNTERS(X)                                                                         \
	X(EVENTS_SENT, "events_sent", "Events handed to the ring buffer")                          \
	X(EVENTS_LOST, "events_lost", "Events lost because the ring buffer was full")              \
	X(EVENTS_LIMITED, "events_limited", "Events withheld by the rate limit")                   \
	X(FLOWS_CREATED, "flows_created", "Flows that were evaluated for the first time")          \
	X(FLOWS_REEVALUATED, "flows_reevaluated", "Flows that were re-evaluated after a change")   \
	X(FLOWS_EVICTED, "flows_evicted", "Unanswered flows that made room for new ones")          \
	X(NAT_ALLOCATED, "nat_ports_allocated", "Source ports chosen for translated flows")        \
	X(NAT_RETRIES, "nat_port_retries", "Source ports that were taken when tried")              \
	X(REJECTS, "rejects", "Refusals sent to the sender (RST, ICMP)")                           \
	X(SOCKET_TRANSLATED, "socket_translations",                                                \
	  "Connects and sends of the node sent to an endpoint")                                    \
	X(FRAGMENTS_TRACKED, "fragments_tracked", "First fragments remembered")                    \
	X(FLOWS_RESTAMPED, "flows_restamped",                                                      \
	  "Flows that were re-evaluated with the same outcome")                                    \
	X(FLOWS_DOUBLED, "flows_doubled",                                                          \
	  "Evaluations given up because another CPU had the same flow")                            \
	X(NEXT_HOPS_MADE, "next_hops_made",                                                        \
	  "Next hops learnt from the kernel's routes and neighbours")                              \
	X(FRAGMENTS_EVICTED, "fragments_evicted",                                                  \
	  "First fragments forgotten early for newer ones")                                        \
	X(REJECTS_LIMITED, "rejects_limited",                                                      \
	  "Refusals that were not sent: more than the link may have")                              \
	X(FLOWS_DISPLACED, "flows_displaced",                                                      \
	  "Flow entries that moved to their second set to make room")                              \
	X(SOCKETS_UNKNOWN, "sockets_unknown",                                                      \
	  "Connects of the node to an endpoint for which map socket_peers had no room")            \
	X(ECHOES_ANSWERED, "echoes_answered",                                                      \
	  "Echo requests to Services' addresses that the programs answered")

enum polder_counter {
#define X(id, name, text) COUNTER_##id,
	POLDER_COUNTERS(X)
#undef X
		COUNTER_COUNT
};

enum event_type { EVENT_DROP = 1, EVENT_FLOW = 2 };
enum event_verdict { VERDICT_DROP = 0, VERDICT_ALLOW = 1, VERDICT_REJECT = 2 };

/* Ring buffer `events`. */
struct polder_event {
	__u64 time_ns; /* monotonic clock */
	__u8 type;     /* enum event_type */
	__u8 verdict;  /* enum event_verdict */
	__u8 reason;   /* enum polder_reason */
	__u8 hook;     /* enum drop_hook: where it was seen */
	__u8 family;   /* enum polder_family; 0: not IP */
	__u8 proto;
	__u8 zone;
	__u8 tcp_flags;
	struct polder_addr saddr;
	struct polder_addr daddr;   /* before translation */
	struct polder_addr backend; /* after translation; all 0: none */
	__be16 sport_be;
	__be16 dport_be;
	__be16 backend_port_be;
	__u16 pad;
	__u32 ifindex; /* the link the packet came in by */
	__u32 length;  /* bytes, with the Ethernet header */
	__u32 source_identity;
	__u32 destination_identity;
	__u32 egress_rule; /* number of the deciding rule; 0: none */
	__u32 ingress_rule;
	__u32 egress_ruleset;
	__u32 ingress_ruleset;
};
ABI_SIZE(struct polder_event, 104);

/* Per-CPU array `flow_verdicts`, one in each object, one entry: what the slow path found out; zero
 * where it did not come so far. */
struct flow_verdict {
	struct polder_addr backend;
	__be16 backend_port_be;
	__u16 reason; /* enum polder_reason: why the flow may not pass */
	__u32 source_identity;
	__u32 destination_identity;
	__u32 egress_rule;
	__u32 ingress_rule;
	__u32 egress_ruleset;
	__u32 ingress_ruleset;
	__u32 pad;
};
ABI_SIZE(struct flow_verdict, 48);

/* `.rodata` of every object: what cannot change while a program is loaded. */
#define POLDER_MAX_OWN_RANGES 2
struct polder_range {
	struct polder_addr addr;
	struct polder_addr mask;
};
struct datapath_config {
	__u32 flow4_sets; /* powers of two */
	__u32 flow6_sets;
	__u8 gateway_mac[6];	   /* of every host-side link */
	__u16 masquerade_port_min; /* host byte order */
	__u16 masquerade_port_max;
	__u8 masquerade_v4; /* 1: pods' packets to the outside leave with an address of the node */
	__u8 masquerade_v6;
	__be32 gateway_ipv4_be;
	__be32 gateway_ipv6_be[4];
	__u64 netns_cookie;    /* of the node: sockets of other namespaces are left alone */
	__u32 own_range_count; /* the node's own pod ranges: sources that never come from the wire
				*/
	__u32 weak_order;      /* 1: the CPU may reorder loads (not x86) */
	__u32 local_pods_mask; /* half the elements of `local_pods`, less one */
	__be32 pod_range_ipv4_be; /* of the node's own pods, with its mask */
	__be32 pod_mask_ipv4_be;
	__be32 pod_range_ipv6_be[2]; /* its first 64 bits */
	__be32 pod_mask_ipv6_be[2];
	__u32 stack_mark;     /* set on what a pod sends to the node's stack; without it the stack
				 forwards nothing of a pod */
	__u32 fragment_sets;  /* a power of two */
	__u32 pods_mask;      /* elements of `pods`, a power of two, less one */
	__u32 tunnel_vni;     /* of all packets through the tunnel */
	__u32 peer_mac_check; /* 1: what natively routed peers' pods send has the MAC address that
				 the kernel knows the peer by */
	__u32 made_packets;   /* 1: loaded for test-run alone: by which link a peer's packet came is
				 not asked */
	__u16 node_port_min; /* host byte order: ports that Services have at the node's addresses */
	__u16 node_port_max;
	__be16 tunnel_port_be; /* of the tunnel's outer packets, which are the node's own stack's */
	__u16 pad;
	struct polder_range own_range[POLDER_MAX_OWN_RANGES];
};
