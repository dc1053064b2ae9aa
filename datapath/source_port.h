/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The source port (ICMP: identifier) of a flow whose source is translated, or whose replies would
 * be another flow's. */
#pragma once

#include "flow_pair.h"

/* The second half of the tries also takes ports of flows that are closed or were answered once, see
 * pair_reply_tuple(). */
#define PORT_TRIES 64
/* Few once so many searches towards a peer have failed in this tick: one may have been bad luck. */
#define PORT_TRIES_WHEN_FULL 8
#define PORT_SEARCHES_FAILED 8
/* Small enough to try them all, one after the other. */
#define PORT_RANGE_SMALL PORT_TRIES
/* In a range at least this large a pod gets three quarters of the ports towards a peer: which, is
 * hashed. */
#define PORT_RANGE_SHARED 1024

/* Does a socket of the node use the port towards the same peer, or listen on it? 1: yes. */
__noinline int node_socket_uses(packet_context *ctx, struct flow_tuple *rev, __u8 family)
{
	struct bpf_sock_tuple t = {};
	struct bpf_sock *sk;
	__u32 size;

	if (!rev)
		return 0;
	if (family == FAMILY_V4) {
		t.ipv4.saddr = rev->v4.saddr_be;
		t.ipv4.daddr = rev->v4.daddr_be;
		t.ipv4.sport = rev->sport_be;
		t.ipv4.dport = rev->dport_be;
		size = sizeof(t.ipv4);
	} else {
		__builtin_memcpy(t.ipv6.saddr, rev->v6.saddr_be, 32);
		t.ipv6.sport = rev->sport_be;
		t.ipv6.dport = rev->dport_be;
		size = sizeof(t.ipv6);
	}
	if (rev->proto == IPPROTO_TCP)
		sk = bpf_skc_lookup_tcp(ctx, &t, size, BPF_F_CURRENT_NETNS, 0);
	else if (rev->proto == IPPROTO_UDP)
		sk = bpf_sk_lookup_udp(ctx, &t, size, BPF_F_CURRENT_NETNS, 0);
	else
		return 0;
	if (!sk)
		return 0;
	bpf_sk_release(sk);
	return 1;
}

/* The peer's word in `nat_full`. */
static __always_inline __u32 *port_full_word(const struct flow_tuple *rev, __u8 family)
{
	__u64 hash = rev->words[0] & ~0xffff0000ULL; /* without the port that is looked for */
	__u32 slot;

	hash ^= family == FAMILY_V4 ? rev->v4.saddr_be
				    : (__u64)(rev->v6.saddr_be[0] ^ rev->v6.saddr_be[3]) << 32 ^
					      rev->v6.saddr_be[1] ^ rev->v6.saddr_be[2];
	slot = (hash * 0x9e3779b97f4a7c15ULL >> 40) % NAT_FULL_SLOTS;
	return bpf_map_lookup_elem(&nat_full, &slot);
}

/* How many searches for a port towards the peer have failed in this tick; NAT_FULL_FAILED: or more.
 */
static __always_inline __u32 port_searches_failed(const __u32 *full)
{
	__u32 word = READ_ONCE(*full);

	return (word ^ now_ticks() << NAT_FULL_SHIFT) > NAT_FULL_FAILED ? 0
									: word & NAT_FULL_FAILED;
}

static __always_inline void port_search_failed(__u32 *full)
{
	__u32 failed = port_searches_failed(full);

	failed += failed < NAT_FULL_FAILED;
	WRITE_ONCE(*full, now_ticks() << NAT_FULL_SHIFT | failed);
}

/* One pod alone cannot use up a peer's ports: another one's quarter that it must leave is
 * elsewhere. */
static __always_inline bool port_shared(const struct slow_path *path, __u32 port, __u32 count)
{
	__u32 hash = (port >> 4) * 0x9e3779b1u ^ (path->fwd.content.owner + 1) * 0x85ebca6bu;

	hash ^= hash >> 15;
	hash *= 0xc2b2ae35u;
	hash ^= hash >> 13;
	hash *= 0x27d4eb2fu;
	return count < PORT_RANGE_SHARED || hash >> 30;
}

/* The search for a port: what it needs from one try to the next, in works[0]. */
static __always_inline void port_search_begin(struct slow_path *path, __u8 family)
{
	const __u32 *full = port_full_word(&path->rev.tuple, family);

	path->port_at = bpf_get_prandom_u32() >> 8;
	path->port_tries = PORT_TRIES;
	if (full && port_searches_failed(full) >= PORT_SEARCHES_FAILED)
		path->port_tries = PORT_TRIES_WHEN_FULL;
}

/*
 * The place in a range of `count` ports that a try leads to. In a large range each try is anywhere:
 * searches that step from one port to the next run into what searches before them have taken.
 */
static __always_inline __u32 port_place(__u32 try, __u32 count)
{
	if (count <= PORT_RANGE_SMALL)
		return try % count;
	try *= 0x9e3779b1u;
	try ^= try >> 15;
	try *= 0x85ebca6bu;
	try ^= try >> 13;
	return try % count;
}

/*
 * The contents with the port of the try numbered `i`: without masquerade the sender's own is the
 * first choice. 0, PAIR_AGAIN: this one is not the pod's to take; -reason: all have been tried.
 */
__noinline int port_next(__u32 i, __u8 family)
{
	__u32 first = config.masquerade_port_min, count = config.masquerade_port_max - first + 1,
	      port, *full;
	struct slow_path *path = slow_path_get();

	if (!path || !count)
		return -REASON_INTERNAL;
	if (!i)
		port_search_begin(path, family);
	if (i >= path->port_tries || i >= count + 1) {
		full = port_full_word(&path->rev.tuple, family);
		if (full)
			port_search_failed(full);
		return -REASON_NAT_PORTS;
	}
	port = first + port_place(path->port_at + i, count);
	if (!i && !(path->flags & SLOW_PATH_MASQUERADE))
		port = bpf_ntohs(path->fwd.tuple.sport_be);
	else if (path->fwd.tuple.zone == ZONE_POD && !port_shared(path, port, count))
		return PAIR_AGAIN;
	path->port_linger = i >= path->port_tries / 2 || count <= path->port_tries;
	path->new_sport_be = bpf_htons(port);
	return 0;
}

/* A source port, with rev's place held. 0 or -reason. */
static __always_inline int port_take(packet_context *ctx, struct slow_path *path, __u8 family)
{
	int result;
	__u32 i;

	for (i = 0; i < PORT_TRIES + 1; i++) {
		result = port_next(i, family);
		if (result < 0)
			return result;
		if (result == PAIR_AGAIN)
			continue;
		pair_contents(family);
		result = pair_reply_tuple(path, path->port_linger, family);
		if (result == REPLY_TAKEN || result == REPLY_BUSY ||
		    (path->flags & (SLOW_PATH_MASQUERADE | SLOW_PATH_PASSES_BY) &&
		     node_socket_uses(ctx, &path->rev.tuple, family))) {
			count_up(COUNTER_NAT_RETRIES);
			continue;
		}
		result = flow_take(&path->rev, path->flags & SLOW_PATH_OVER_SHARE, family);
		if (result == TAKE_OK) {
			count_up(COUNTER_NAT_ALLOCATED);
			return 0;
		}
		if (result == TAKE_FULL)
			return take_failed(result, path->flags & SLOW_PATH_OVER_SHARE);
	}
	return -REASON_NAT_PORTS;
}
