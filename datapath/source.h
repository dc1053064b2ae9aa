/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Is the sender who it says it is, and may such a packet be there at all? Before anything else. */
#pragma once

#include "neighbour.h"
#include "source_wire.h"

/* Source routes let a packet go round the address that was evaluated (RFC 791, 3.1; RFC 5095). */
static __always_inline int check_ipv4_options(struct __sk_buff *skb, const struct packet *p)
{
	__u32 offset = ETH_HLEN + sizeof(struct ipv4_header);
	__u8 option[2];
	int i;

	for (i = 0; i < 40; i++) {
		if (offset >= p->l4)
			return 0;
		if (bpf_skb_load_bytes(skb, offset, option, 1))
			return -REASON_SHORT;
		if (option[0] == 0)
			return 0;
		if (option[0] == 1) {
			offset++;
			continue;
		}
		if (option[0] == 131 || option[0] == 137)
			return -REASON_IP_OPTIONS;
		if (offset + 1 >= p->l4 || bpf_skb_load_bytes(skb, offset + 1, &option[1], 1) ||
		    option[1] < 2)
			return -REASON_SHORT;
		offset += option[1];
	}
	return 0;
}

__noinline int ipv4_options_check(struct __sk_buff *skb, struct packet *p)
{
	return p ? check_ipv4_options(skb, p) : -REASON_INTERNAL;
}

/* A packet from a pod: its own address, its own MAC (checked by the caller), nothing that only a
 * router may send. */
static __always_inline int check_pod_source(const struct packet *p, const struct pod_entry *pod,
					    __u8 family)
{
	int result;

	if (family == FAMILY_V4) {
		if (!pod->ipv4_be || p->tuple.v4.saddr_be != pod->ipv4_be)
			return is_loopback4(p->tuple.v4.saddr_be) ? -REASON_LOOPBACK
								  : -REASON_SOURCE_IP;
		result = check_addresses(p, family);
		if (result)
			return result;
		if (unlikely(is_router_message4(p)))
			return -REASON_ROUTER_MESSAGE;
		return is_multicast4(p->tuple.v4.daddr_be) || !p->tuple.v4.daddr_be
			       ? -REASON_MULTICAST
			       : 0;
	}
	if (is_zero6(pod->ipv6_be) || p->tuple.v6.saddr_be[0] != pod->ipv6_be[0] ||
	    p->tuple.v6.saddr_be[1] != pod->ipv6_be[1] ||
	    p->tuple.v6.saddr_be[2] != pod->ipv6_be[2] ||
	    p->tuple.v6.saddr_be[3] != pod->ipv6_be[3]) {
		if (is_link_local6(p->tuple.v6.saddr_be) && is_multicast6(p->tuple.v6.daddr_be))
			return -REASON_MULTICAST;
		return is_loopback6(p->tuple.v6.saddr_be) ? -REASON_LOOPBACK : -REASON_SOURCE_IP;
	}
	result = check_addresses(p, family);
	if (result)
		return result;
	if (is_multicast6(p->tuple.v6.daddr_be) || is_link_local6(p->tuple.v6.daddr_be) ||
	    is_zero6(p->tuple.v6.daddr_be))
		return -REASON_MULTICAST;
	/* DHCPv6 server and relay messages (RFC 8415, 7.2): from port 547 to clients. */
	if (p->tuple.proto == IPPROTO_UDP && p->tuple.sport_be == bpf_htons(547) &&
	    p->tuple.dport_be == bpf_htons(546))
		return -REASON_ROUTER_MESSAGE;
	return 0;
}
