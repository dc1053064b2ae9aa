/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The flow table's arithmetic, without helpers or maps: where a tuple stands, how long it may be idle, what the other
 * direction is called. Programs and the agent's collector share it.
 */
#pragma once

#ifdef __bpf__
#include <linux/in.h>
#include <linux/in6.h>
#else
#include <netinet/in.h>
#endif
#include <stdbool.h>

#include <bpf/bpf_endian.h>

#include "abi.h"

#define ICMP_ECHO 8
#define ICMP_ECHO_REPLY 0
#define ICMP6_ECHO 128
#define ICMP6_ECHO_REPLY 129

#define FLOW_SIZE(family) ((family) == FAMILY_V4 ? sizeof(struct flow4) : sizeof(struct flow6))
#define FLOW_WORDS(family) ((family) == FAMILY_V4 ? FLOW_WORDS_V4 : FLOW_WORDS_V6)

/* A stable copy of an entry. Addresses of IPv4 stand in the first word. */
struct flow_copy {
	__u32 generation;
	__u32 out_ifindex;
	__u16 mtu;
	__u8 action;
	__u8 state;
	__u16 addr_diff;
	__u16 port_diff;
	__be16 new_sport_be;
	__be16 new_dport_be;
	__be32 new_saddr_be[4];
	__be32 new_daddr_be[4];
	__u32 last;
};

static __always_inline __u64 flow_hash(const struct flow_tuple *t, __u8 family, const struct control *c)
{
	__u64 h = (t->words[0] ^ c->hash_seed[0]) * 0x9e3779b97f4a7c15ULL;

	h ^= h >> 32;
	h = (h ^ t->words[1] ^ c->hash_seed[1]) * 0xd6e8feb86659fd93ULL;
	h ^= h >> 29;
	if (family == FAMILY_V6) {
		h = (h ^ t->words[2]) * 0x9e3779b97f4a7c15ULL;
		h ^= h >> 32;
		h = (h ^ t->words[3]) * 0xd6e8feb86659fd93ULL;
		h ^= h >> 29;
		h = (h ^ t->words[4]) * 0x9e3779b97f4a7c15ULL;
		h ^= h >> 32;
	}
	h *= 0xff51afd7ed558ccdULL;
	return h ^ (h >> 32);
}

/* The number of a tuple's set; `which` 0 or 1, `sets` a power of two. */
static __always_inline __u32 flow_set_index(__u64 hash, __u8 which, __u32 sets)
{
	return (__u32)(which ? hash >> 24 : hash) & (sets - 1);
}

/* The way of each set that is looked at first, and filled first. */
static __always_inline __u32 flow_first_way(__u64 hash, __u8 which)
{
	return (which ? hash >> 58 : hash >> 61) & (FLOW_WAYS - 1);
}

static __always_inline bool flow_closed(__u8 state)
{
	return (state & FLOW_RESET) ||
	       (state & (FLOW_FIN_ORIG | FLOW_FIN_REPLY)) == (FLOW_FIN_ORIG | FLOW_FIN_REPLY);
}

static __always_inline __u32 flow_timeout(__u8 proto, __u8 state)
{
	if (proto == IPPROTO_TCP) {
		if (flow_closed(state))
			return FLOW_TIMEOUT_TCP_CLOSED;
		return state & FLOW_ESTABLISHED ? FLOW_TIMEOUT_TCP_ESTABLISHED : FLOW_TIMEOUT_TCP_NEW;
	}
	if (proto == IPPROTO_UDP)
		return state & FLOW_ESTABLISHED ? FLOW_TIMEOUT_UDP_ESTABLISHED : FLOW_TIMEOUT_UDP_NEW;
	return FLOW_TIMEOUT_OTHER;
}

/* Ticks since the last use. A use after `now` was read is no use of long ago. */
static __always_inline __u32 flow_age(__u32 now, __u32 last)
{
	__u32 age = now - last;

	return age & ~(__u32)((__s32)age >> 31); /* no branch: the verifier would follow both */
}

struct port_pair {
	__be16 sport_be;
	__be16 dport_be;
};

/* The ports of a reply: they change sides; an echo keeps its identifier, request and reply types change places. */
static __always_inline struct port_pair ports_reversed(__u8 proto, __be16 sport, __be16 dport)
{
	struct port_pair pair = {.sport_be = dport, .dport_be = sport};

	if (proto == IPPROTO_ICMP) {
		pair.sport_be = sport;
		pair.dport_be = dport == bpf_htons(ICMP_ECHO << 8) ? bpf_htons(ICMP_ECHO_REPLY << 8)
				: dport == bpf_htons(ICMP_ECHO_REPLY << 8) ? bpf_htons(ICMP_ECHO << 8)
									  : dport;
	} else if (proto == IPPROTO_ICMPV6) {
		pair.sport_be = sport;
		pair.dport_be = dport == bpf_htons(ICMP6_ECHO << 8) ? bpf_htons(ICMP6_ECHO_REPLY << 8)
				: dport == bpf_htons(ICMP6_ECHO_REPLY << 8) ? bpf_htons(ICMP6_ECHO << 8)
									   : dport;
	}
	return pair;
}

static __always_inline void tuple_set_reversed_ports(struct flow_tuple *t, __be16 sport, __be16 dport)
{
	struct port_pair pair = ports_reversed(t->proto, sport, dport);

	t->sport_be = pair.sport_be;
	t->dport_be = pair.dport_be;
}

/* The other direction's tuple, from an entry's tuple and its content. */
static __always_inline void flow_twin(const struct flow_tuple *t, const struct flow_copy *content, __u8 family,
				      struct flow_tuple *twin)
{
	twin->words[0] = 0;
	twin->proto = t->proto;
	twin->zone = content->action == FLOW_TO_POD ? ZONE_POD
		     : content->action == FLOW_TO_WIRE ? ZONE_WIRE
						       : ZONE_HOST;
	tuple_set_reversed_ports(twin, content->new_sport_be, content->new_dport_be);
	if (family == FAMILY_V4) {
		twin->v4.saddr_be = content->new_daddr_be[0];
		twin->v4.daddr_be = content->new_saddr_be[0];
	} else {
		__builtin_memcpy(twin->v6.saddr_be, content->new_daddr_be, 16);
		__builtin_memcpy(twin->v6.daddr_be, content->new_saddr_be, 16);
	}
}
