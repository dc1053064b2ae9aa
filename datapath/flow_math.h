/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The flow table's arithmetic, without helpers or maps: where a tuple stands, how long it may be
 * idle, what the other direction is called. Programs and the agent's collector share it.
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

#define ICMP_ECHO	 8
#define ICMP_ECHO_REPLY	 0
#define ICMP6_ECHO	 128
#define ICMP6_ECHO_REPLY 129

#define FLOW_SIZE(family)  ((family) == FAMILY_V4 ? sizeof(struct flow4) : sizeof(struct flow6))
#define FLOW_WORDS(family) ((family) == FAMILY_V4 ? FLOW_WORDS_V4 : FLOW_WORDS_V6)

/*
 * A stable copy of an entry, and where it stands. Addresses of IPv4 stand in the first word. What
 * is next to each other in an entry is so here: it is copied by words.
 */
struct flow_copy {
	union {
		struct {
			__u32 seq;
			__u32 generation;
		};
		__u64 stamp;
	};
	__u32 last;
	__u32 set;
	union {
		struct { /* as in struct flow_head, from `state` on */
			__u16 state;
			__u8 action;
			__u8 way; /* nothing in an entry */
			__u16 hop;
			__u16 owner;
			__u16 addr_diff;
			__u16 port_diff;
			__be16 new_sport_be;
			__be16 new_dport_be;
		};
		__u64 way_words[2];
	};
	union {
		struct {
			__be32 new_saddr_be[4];
			__be32 new_daddr_be[4];
		};
		__u64 addr_words[4];
	};
};

static __always_inline __u64 flow_hash(const struct flow_tuple *t, __u8 family,
				       const struct control *c)
{
	__u64 h = (t->words[0] ^ c->hash_seed[0]) * 0x9e3779b97f4a7c15ULL;

	h ^= h >> 32;
	h = (h ^ t->words[1] ^ c->hash_seed[1]) * 0xd6e8feb86659fd93ULL;
	h ^= h >> 29;
	/* Each word meets the seed: who does not know it finds no two tuples of one hash. */
	if (family == FAMILY_V6) {
		h = (h ^ t->words[2] ^ c->hash_seed[0]) * 0x9e3779b97f4a7c15ULL;
		h ^= (h >> 32) + c->hash_seed[1];
		h = (h ^ t->words[3] ^ c->hash_seed[1]) * 0xd6e8feb86659fd93ULL;
		h ^= (h >> 29) + c->hash_seed[0];
		h = (h ^ t->words[4] ^ c->hash_seed[1]) * 0x9e3779b97f4a7c15ULL;
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

/* The way of each set that is filled first; that of set 0 is looked at first. */
static __always_inline __u32 flow_first_way(__u64 hash, __u8 which)
{
	return (which ? hash >> 58 : hash >> 61) & (FLOW_WAYS - 1);
}

/* Never FLOW_TAG_FREE. */
static __always_inline __u8 flow_tag(__u64 hash)
{
	__u64 tag = hash >> 48 & 0xff, before = tag - 1;

	asm volatile("" : "+r"(before)); /* no branch */
	return tag | before >> 63;
}

#define TAG_ONES  0x0101010101010101ULL
#define TAG_HIGHS 0x8080808080808080ULL

/* The high bit of each byte of a set's tags that is free. */
static __always_inline __u64 flow_tags_free(__u64 tags)
{
	return ~(((tags & ~TAG_HIGHS) + ~TAG_HIGHS) | tags | ~TAG_HIGHS);
}

/* The high bit of each byte that equals the tag. */
static __always_inline __u64 flow_tags_equal(__u64 tags, __u8 tag)
{
	return flow_tags_free(tags ^ tag * TAG_ONES);
}

/* How many high bits are set. */
static __always_inline __u32 flow_tags_count(__u64 highs)
{
	return (highs >> 7) * TAG_ONES >> 56;
}

/* The way of the lowest high bit; at least one is set. */
static __always_inline __u32 flow_tags_first(__u64 highs)
{
	return ((highs & -highs) >> 7) * 0x0001020304050607ULL >> 56;
}

static __always_inline bool flow_closed(__u16 state)
{
	return (state & FLOW_RESET) ||
	       (state & (FLOW_FIN_ORIG | FLOW_FIN_REPLY)) == (FLOW_FIN_ORIG | FLOW_FIN_REPLY);
}

/* Ticks that a flow of this state may be idle in both directions. */
static __always_inline __u32 flow_timeout(__u8 proto, __u16 state)
{
	switch (proto) {
	case IPPROTO_TCP:
		if (state & FLOW_RESET)
			return FLOW_TIMEOUT_TCP_RESET;
		if (flow_closed(state))
			return FLOW_TIMEOUT_TCP_WAIT;
		return state & FLOW_ESTABLISHED ? FLOW_TIMEOUT_TCP_ESTABLISHED
						: FLOW_TIMEOUT_TCP_NEW;
	case IPPROTO_SCTP:
		return state & FLOW_ESTABLISHED ? FLOW_TIMEOUT_SCTP_ESTABLISHED
						: FLOW_TIMEOUT_SCTP_NEW;
	case IPPROTO_UDP:
		return state & FLOW_ESTABLISHED ? FLOW_TIMEOUT_STREAM : FLOW_TIMEOUT_DATAGRAM;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return FLOW_TIMEOUT_DATAGRAM;
	default:
		return FLOW_TIMEOUT_OTHER;
	}
}

/* Answered once and no stream: over for both sides, as good as they can tell. */
static __always_inline bool flow_one_shot(__u8 proto, __u16 state)
{
	return proto != IPPROTO_TCP && (state & (FLOW_REPLIED | FLOW_ESTABLISHED)) == FLOW_REPLIED;
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

/* A message of a type that no message answers: no packet has this tuple. */
#define ICMP_NO_ANSWER 1

/* The type that answers a query (RFC 792, RFC 950, RFC 4443, RFC 4620), in the tuple's form. */
static __always_inline __be16 icmp_answer(__u8 proto, __be16 type_be)
{
	__u8 type = bpf_ntohs(type_be) >> 8, answer;

	if (proto == IPPROTO_ICMP)
		answer = type == ICMP_ECHO	    ? ICMP_ECHO_REPLY
			 : type == ICMP_ECHO_REPLY  ? ICMP_ECHO
			 : type >= 13 && type <= 18 ? ((type - 1) ^ 1) + 1
						    : type;
	else
		answer = type == ICMP6_ECHO	    ? ICMP6_ECHO_REPLY
			 : type == ICMP6_ECHO_REPLY ? ICMP6_ECHO
						    : type;
	if (answer != type)
		return bpf_htons(answer << 8);
	return type_be ^ bpf_htons(ICMP_NO_ANSWER);
}

/* The ports of a reply: they change sides; an echo keeps its identifier, request and reply types
 * change places. */
static __always_inline struct port_pair ports_reversed(__u8 proto, __be16 sport, __be16 dport)
{
	struct port_pair pair = {.sport_be = dport, .dport_be = sport};

	if (proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6) {
		pair.sport_be = sport;
		pair.dport_be = icmp_answer(proto, dport);
	}
	return pair;
}

static __always_inline void tuple_set_reversed_ports(struct flow_tuple *t, __be16 sport,
						     __be16 dport)
{
	struct port_pair pair = ports_reversed(t->proto, sport, dport);

	t->sport_be = pair.sport_be;
	t->dport_be = pair.dport_be;
}

/* The zone that the other side's packets come from. */
static __always_inline __u8 flow_zone_behind(__u8 action)
{
	switch (action) {
	case FLOW_TO_POD:
		return ZONE_POD;
	case FLOW_TO_WIRE:
	case FLOW_TO_STACK:
		return ZONE_WIRE;
	case FLOW_TO_TUNNEL:
		return ZONE_TUNNEL;
	default:
		return ZONE_HOST;
	}
}

/* The other direction's tuple, from an entry's tuple and its content. Both may be the same room. */
static __always_inline void flow_reply_tuple(const struct flow_tuple *t,
					     const struct flow_copy *content, __u8 family,
					     struct flow_tuple *reply)
{
	__u8 proto = t->proto;

	reply->words[0] = 0;
	reply->proto = proto;
	reply->zone = flow_zone_behind(content->action);
	if (content->action == FLOW_TO_TUNNEL)
		reply->peer = content->hop - NEXT_HOP_PEERS;
	tuple_set_reversed_ports(reply, content->new_sport_be, content->new_dport_be);
	if (family == FAMILY_V4) {
		reply->v4.saddr_be = content->new_daddr_be[0];
		reply->v4.daddr_be = content->new_saddr_be[0];
	} else {
		__builtin_memcpy(reply->v6.saddr_be, content->new_daddr_be, 16);
		__builtin_memcpy(reply->v6.daddr_be, content->new_saddr_be, 16);
	}
}
