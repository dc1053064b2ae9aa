/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Telling the sender: TCP RST (RFC 9293, 3.10.7), ICMP unreachable, time exceeded, too big (RFC
 * 792, RFC 1191, RFC 4443). */
#pragma once

#include "event.h"
#include "tunnel.h"

struct tcp_header {
	__be16 sport_be;
	__be16 dport_be;
	__be32 seq_be;
	__be32 ack_be;
	__u8 offset;
	__u8 flags;
	__be16 window_be;
	__u16 check;
	__be16 urgent_be;
};

struct icmp_header {
	__u8 type;
	__u8 code;
	__u16 check;
	__be16 unused_be;
	__be16 mtu_be; /* ICMPv6: the low half of the 32-bit MTU */
};

/*
 * What an error quotes: the header without options and 8 bytes; of TCP its header. A packet whose
 * sum is left to the device cannot be cut before the field that the sum will stand in.
 */
#define ICMP_INNER_V4  28
#define ICMP_INNER_V6  48
#define ICMP_INNER_TCP 12 /* more of TCP */

struct reject_message {
	__u8 type;
	__u8 code;
	__u16 mtu;
};

#define REJECT_TTL 64

static __always_inline void swap_macs(struct ethhdr *eth)
{
	__u8 mac[ETH_ALEN];

	__builtin_memcpy(mac, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, mac, ETH_ALEN);
}

static __always_inline __u64 sum_words(const __be32 *words, int count)
{
	__u64 sum = 0;
	int i;

	for (i = 0; i < count; i++)
		sum += words[i];
	return sum;
}

static __always_inline __u64 sum_addrs(const struct packet *p)
{
	if (p->family == FAMILY_V4)
		return (__u64)p->tuple.v4.saddr_be + p->tuple.v4.daddr_be;
	return sum_words(p->tuple.v6.saddr_be, 8);
}

/* An IP header for the answer: source and destination change places. `payload` bytes follow. */
static __always_inline void answer_header4(struct ipv4_header *ip, const struct packet *p,
					   __be32 source, __u8 proto, __u16 payload)
{
	__builtin_memset(ip, 0, sizeof(*ip));
	ip->version_ihl = 0x45;
	ip->length_be = bpf_htons(sizeof(*ip) + payload);
	ip->fragment_be = bpf_htons(IPV4_DONT_FRAGMENT);
	ip->ttl = REJECT_TTL;
	ip->proto = proto;
	ip->saddr_be = source;
	ip->daddr_be = p->tuple.v4.saddr_be;
	ip->check = ~csum_fold16(sum_words((__be32 *)ip, sizeof(*ip) / 4));
}

static __always_inline void answer_header6(struct ipv6_header *ip, const struct packet *p,
					   const __be32 *source, __u8 proto, __u16 payload)
{
	ip->version_class_label_be = bpf_htonl(0x60000000);
	ip->payload_be = bpf_htons(payload);
	ip->next = proto;
	ip->hops = REJECT_TTL;
	__builtin_memcpy(ip->saddr_be, source, 16);
	__builtin_memcpy(ip->daddr_be, p->tuple.v6.saddr_be, 16);
}

static __always_inline void answer_rst(struct tcp_header *tcp, const struct packet *p, __be32 seq,
				       __be32 ack, __u16 payload)
{
	__builtin_memset(tcp, 0, sizeof(*tcp));
	tcp->sport_be = p->tuple.dport_be;
	tcp->dport_be = p->tuple.sport_be;
	tcp->offset = 5 << 4;
	if (p->tcp_flags & TCP_ACK) {
		tcp->flags = TCP_RST;
		tcp->seq_be = ack;
	} else {
		tcp->flags = TCP_RST | TCP_ACK;
		tcp->ack_be = bpf_htonl(bpf_ntohl(seq) + payload + !!(p->tcp_flags & TCP_SYN) +
					!!(p->tcp_flags & TCP_FIN));
	}
	tcp->check = ~csum_fold16(sum_addrs(p) + bpf_htons(IPPROTO_TCP) + bpf_htons(sizeof(*tcp)) +
				  sum_words((__be32 *)tcp, sizeof(*tcp) / 4));
}

static __always_inline int reject_tcp(struct __sk_buff *skb, const struct packet *p)
{
	__u32 size =
		ETH_HLEN + sizeof(struct tcp_header) +
		(p->family == FAMILY_V4 ? sizeof(struct ipv4_header) : sizeof(struct ipv6_header));
	struct tcp_header old;
	struct cursor c;
	__u16 payload;

	if (p->tcp_flags & TCP_RST || bpf_skb_load_bytes(skb, p->l4, &old, sizeof(old)))
		return -1;
	payload = p->ip_length + ETH_HLEN - p->l4 - (old.offset >> 4) * 4;
	if (bpf_skb_change_tail(skb, size, 0))
		return -1;
	c = (struct cursor)CURSOR(skb);
	if (c.data + ETH_HLEN + sizeof(struct ipv4_header) + sizeof(old) > c.end)
		return -1;
	swap_macs(c.data);
	if (p->family == FAMILY_V4) {
		answer_header4(c.data + ETH_HLEN, p, p->tuple.v4.daddr_be, IPPROTO_TCP,
			       sizeof(old));
		answer_rst(c.data + ETH_HLEN + sizeof(struct ipv4_header), p, old.seq_be,
			   old.ack_be, payload);
		return 0;
	}
	if (c.data + ETH_HLEN + sizeof(struct ipv6_header) + sizeof(old) > c.end)
		return -1;
	answer_header6(c.data + ETH_HLEN, p, p->tuple.v6.daddr_be, IPPROTO_TCP, sizeof(old));
	answer_rst(c.data + ETH_HLEN + sizeof(struct ipv6_header), p, old.seq_be, old.ack_be,
		   payload);
	return 0;
}

/* Cuts the packet to `quote` bytes behind the Ethernet header and makes room for an IP and an ICMP
 * header before them. */
static __always_inline int icmp_make_room(struct __sk_buff *skb, const struct packet *p,
					  __u32 quote)
{
	const __u32 header =
		p->family == FAMILY_V4 ? sizeof(struct ipv4_header) : sizeof(struct ipv6_header);

	if (bpf_skb_change_tail(skb, ETH_HLEN + quote, 0))
		return -1;
	return bpf_skb_adjust_room(skb, header + sizeof(struct icmp_header), BPF_ADJ_ROOM_MAC, 0)
		       ? -1
		       : 0;
}

static __always_inline int reject_icmp4(struct __sk_buff *skb, const struct packet *p,
					__be32 source, const struct reject_message *m, __u32 quote)
{
	struct icmp_header *icmp;
	struct cursor c;

	if (p->l4 != ETH_HLEN + sizeof(struct ipv4_header) || p->length < ETH_HLEN + quote ||
	    icmp_make_room(skb, p, quote))
		return -1;
	c = (struct cursor)CURSOR(skb);
	icmp = c.data + ETH_HLEN + sizeof(struct ipv4_header);
	if ((void *)(icmp + 1) + quote > c.end)
		return -1;
	swap_macs(c.data);
	answer_header4(c.data + ETH_HLEN, p, source, IPPROTO_ICMP, sizeof(*icmp) + quote);
	*icmp = (struct icmp_header){.type = m->type, .code = m->code, .mtu_be = bpf_htons(m->mtu)};
	icmp->check = ~csum_fold16(sum_words((__be32 *)icmp, (sizeof(*icmp) + quote) / 4));
	return 0;
}

static __always_inline int reject_icmp6(struct __sk_buff *skb, const struct packet *p,
					const __be32 *source, const struct reject_message *m,
					__u32 quote)
{
	struct icmp_header *icmp;
	struct ipv6_header *ip;
	struct cursor c;

	if (p->length < ETH_HLEN + quote || icmp_make_room(skb, p, quote))
		return -1;
	c = (struct cursor)CURSOR(skb);
	ip = c.data + ETH_HLEN;
	icmp = (void *)(ip + 1);
	if ((void *)(icmp + 1) + quote > c.end)
		return -1;
	swap_macs(c.data);
	answer_header6(ip, p, source, IPPROTO_ICMPV6, sizeof(*icmp) + quote);
	*icmp = (struct icmp_header){.type = m->type, .code = m->code, .mtu_be = bpf_htons(m->mtu)};
	icmp->check = ~csum_fold16(sum_words(ip->saddr_be, 8) + bpf_htons(IPPROTO_ICMPV6) +
				   bpf_htons(sizeof(*icmp) + quote) +
				   sum_words((__be32 *)icmp, (sizeof(*icmp) + quote) / 4));
	return 0;
}

static __always_inline int reject_icmp4_tell(struct __sk_buff *skb, const struct packet *p,
					     __be32 source, const struct reject_message *m)
{
	if (p->tuple.proto == IPPROTO_TCP)
		return reject_icmp4(skb, p, source, m, ICMP_INNER_V4 + ICMP_INNER_TCP);
	return reject_icmp4(skb, p, source, m, ICMP_INNER_V4);
}

static __always_inline int reject_icmp6_tell(struct __sk_buff *skb, const struct packet *p,
					     const __be32 *source, const struct reject_message *m)
{
	if (p->tuple.proto == IPPROTO_TCP && p->l4 == ETH_HLEN + sizeof(struct ipv6_header))
		return reject_icmp6(skb, p, source, m, ICMP_INNER_V6 + ICMP_INNER_TCP);
	return reject_icmp6(skb, p, source, m, ICMP_INNER_V6);
}

/* Which answer a reason asks for. */
struct reject_answer {
	bool reset;	  /* TCP: RST */
	bool from_router; /* the gateway speaks, not the destination */
	__u8 type4, code4, type6, code6;
};

static __always_inline bool reject_answer_for(int reason, struct reject_answer *answer)
{
	switch (reason) {
	case REASON_NO_ENDPOINT:
	case REASON_NO_SERVICE_PORT:
	case REASON_ENDPOINT_GONE:
	case REASON_NO_FLOW:
	case REASON_SOURCE_GONE:
	case REASON_SERVICE_NO_FLOW:
		*answer = (struct reject_answer){true, false, 3, 3, 1, 4};
		return true;
	case REASON_UNKNOWN_POD:
		*answer = (struct reject_answer){false, true, 3, 1, 1, 3};
		return true;
	case REASON_TTL_EXPIRED:
		*answer = (struct reject_answer){false, true, 11, 0, 3, 0};
		return true;
	case REASON_TOO_BIG:
		*answer = (struct reject_answer){false, true, 3, 4, 2, 0};
		return true;
	case REASON_NO_ROUTE:
	case REASON_NO_NODE_ADDRESS:
		*answer = (struct reject_answer){false, true, 3, 0, 1, 0};
		return true;
	case REASON_ROUTE_UNREACHABLE:
		*answer = (struct reject_answer){false, true, 3, 1, 1, 0};
		return true;
	case REASON_ROUTE_PROHIBITED:
		*answer = (struct reject_answer){false, true, 3, 13, 1, 1};
		return true;
	default:
		return false;
	}
}

/*
 * Turns the packet into its refusal. 0: done, to be sent back the way it came; -1: none to be sent
 * (never about ICMP errors, fragments, multicast: RFC 1122, 3.2.2).
 */
__noinline int reject_make(struct __sk_buff *skb, struct packet *p, int reason, __u32 mtu)
{
	const struct pod_entry *pod = pod_of_link(skb->ifindex);
	const struct node_addresses *node = this_node_get();
	struct reject_answer answer = {};

	if (!p || !node || !reject_answer_for(reason, &answer) ||
	    p->flags & (PACKET_ICMP_ERROR | PACKET_LATER_FRAGMENT))
		return -1;
	/* A pod learns at once that its connection is lost, or goes nowhere; the outside learns
	 * nothing about the node. */
	if ((reason == REASON_NO_FLOW || reason == REASON_UNKNOWN_POD ||
	     reason == REASON_SOURCE_GONE || reason == REASON_NO_NODE_ADDRESS) &&
	    p->tuple.zone != ZONE_POD)
		return -1;
	/* A client's packet that another node handed on: the client is not where it came from. */
	if (p->tuple.zone == ZONE_WIRE && p->hook == DROP_FROM_TUNNEL)
		return -1;
	/* Who sends datagrams has a new flow with the next one. */
	if (reason == REASON_SOURCE_GONE && p->tuple.proto != IPPROTO_TCP)
		return -1;
	if (answer.reset && p->tuple.proto == IPPROTO_TCP)
		return reject_tcp(skb, p);
	if (p->family == FAMILY_V4) {
		const struct reject_message m = {answer.type4, answer.code4, mtu};
		__be32 router = pod ? config.gateway_ipv4_be : node->ipv4_be;

		/* A node without an address has no name to speak in. */
		if (answer.from_router && !router)
			return -1;

		return reject_icmp4_tell(skb, p, answer.from_router ? router : p->tuple.v4.daddr_be,
					 &m);
	} else {
		const struct reject_message m = {answer.type6, answer.code6, mtu};
		__be32 source[4];

		if (!answer.from_router)
			copy_addr6(source, p->tuple.v6.daddr_be);
		else if (pod)
			copy_addr6(source, config.gateway_ipv6_be);
		else
			copy_addr6(source, node->ipv6_be);
		if (answer.from_router && !source[0])
			return -1;
		return reject_icmp6_tell(skb, p, source, &m);
	}
}

/*
 * Array `reject_budgets`, one in each object: tokens for what is sent back by a link. Who is asked
 * to answer forged packets without end would otherwise do so at the cost of whoever they name. CPUs
 * share a link's tokens without a lock: one more or less is no harm.
 */
struct reject_budget {
	__u64 refilled_ns;
	__u64 tokens;
};
MAP(reject_budgets, BPF_MAP_TYPE_ARRAY, __u32, struct reject_budget, REJECT_UPLINKS + 4096, 0);

static __always_inline bool reject_within_budget(const struct packet *p, __u32 link)
{
	__u32 place = p->tuple.zone == ZONE_POD ? REJECT_UPLINKS + pod_index(link)
						: link % REJECT_UPLINKS;
	struct reject_budget *budget = bpf_map_lookup_elem(&reject_budgets, &place);
	const struct control *control = control_get();
	__u64 now;

	if (!control || !budget)
		return false;
	if (!control->rejects_per_second)
		return true;
	now = bpf_ktime_get_ns();
	if (now - budget->refilled_ns > 1000000000ULL) {
		budget->refilled_ns = now;
		budget->tokens = control->rejects_per_second;
	}
	if (!budget->tokens) {
		count_up(COUNTER_REJECTS_LIMITED);
		return false;
	}
	budget->tokens--;
	return true;
}

/* Back to where the packet came from. */
static __always_inline int send_back(struct __sk_buff *skb, const struct packet *p, __u32 link)
{
	if (p->tuple.zone == ZONE_POD)
		return bpf_redirect_peer(link, 0);
	if (p->tuple.zone == ZONE_TUNNEL && tunnel_key_set(skb, p->tuple.peer))
		return TC_ACT_SHOT;
	skb->mark |= config.stack_mark; /* to_wire leaves it alone: redirected.h */
	return bpf_redirect(link, 0);
}

/* A whole echo request. */
static __always_inline bool is_echo_request(const struct packet *p)
{
	if (p->flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT))
		return false;
	return p->family == FAMILY_V4
		       ? p->tuple.proto == IPPROTO_ICMP && p->icmp_type == ICMP_ECHO
		       : p->tuple.proto == IPPROTO_ICMPV6 && p->icmp_type == ICMP6_ECHO;
}

/* Turns an echo request into its answer: that source and destination change places alters no sum.
 * 0, or -1: not done. Global: verified once. */
__noinline int echo_make(struct __sk_buff *skb, struct packet *p)
{
	struct cursor c = CURSOR(skb);
	struct ipv4_header *ip4 = c.data + ETH_HLEN;
	struct ipv6_header *ip6 = c.data + ETH_HLEN;
	bool v4 = p && p->family == FAMILY_V4;
	__u16 before = bpf_htons((v4 ? ICMP_ECHO : ICMP6_ECHO) << 8);
	__u16 after = bpf_htons((v4 ? ICMP_ECHO_REPLY : ICMP6_ECHO_REPLY) << 8);
	__u8 type = v4 ? ICMP_ECHO_REPLY : ICMP6_ECHO_REPLY;

	if (!p || c.data + ETH_HLEN + sizeof(*ip4) > c.end)
		return -1;
	if (v4) {
		ip4->check = ~csum_fold16(
			(__u64)(__u16)~ip4->check +
			csum_change16(bpf_htons(ip4->ttl << 8), bpf_htons(REJECT_TTL << 8)));
		ip4->ttl = REJECT_TTL;
		ip4->saddr_be = p->tuple.v4.daddr_be;
		ip4->daddr_be = p->tuple.v4.saddr_be;
	} else {
		if (c.data + ETH_HLEN + sizeof(*ip6) > c.end)
			return -1;
		ip6->hops = REJECT_TTL;
		copy_addr6(ip6->saddr_be, p->tuple.v6.daddr_be);
		copy_addr6(ip6->daddr_be, p->tuple.v6.saddr_be);
	}
	swap_macs(c.data);
	return bpf_l4_csum_replace(skb, p->l4 + 2, before, after, 2) ||
			       bpf_skb_store_bytes(skb, p->l4, &type, 1, 0)
		       ? -1
		       : 0;
}

/*
 * The one exit for what is not forwarded from a pod or the wire: count, tell the agent, answer the
 * sender if the reason asks for it.
 */
static __always_inline int refuse(struct __sk_buff *skb, struct packet *p, int reason)
{
	struct reject_answer answer;
	__u32 link = skb->ifindex;
	bool told = false;

	opaque(link); /* the context is read at fixed offsets only */

	if (reason <= 0 || reason >= REASON_COUNT)
		reason = REASON_INTERNAL;
	/* Services' addresses are there: who asks whether they are is answered. */
	if (reason == REASON_NO_SERVICE_PORT && is_echo_request(p) && !echo_make(skb, p)) {
		count_up(COUNTER_ECHOES_ANSWERED);
		return send_back(skb, p, link);
	}
	if (p->family && reject_answer_for(reason, &answer) && reject_within_budget(p, link))
		told = reject_make(skb, p, reason, reason == REASON_TOO_BIG ? p->mtu : 0) == 0;
	drop_count(link, p, reason, told ? VERDICT_REJECT : VERDICT_DROP);
	if (!told)
		return TC_ACT_SHOT;
	count_up(COUNTER_REJECTS);
	return send_back(skb, p, link);
}
