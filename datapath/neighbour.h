/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* ARP (RFC 826) and neighbour discovery (RFC 4861), answered in the program: a pod that asks for
 * its gateway; who asks, by an uplink, for an address that this node announces. */
#pragma once

#include "reject.h"

struct arp_packet {
	__be16 hardware_be;
	__be16 protocol_be;
	__u8 hardware_length;
	__u8 protocol_length;
	__be16 operation_be;
	__u8 sender_mac[6];
	__u8 sender_ip[4];
	__u8 target_mac[6];
	__u8 target_ip[4];
};

struct nd_message { /* solicitation or advertisement with one link-layer address option */
	__u8 type;
	__u8 code;
	__u16 check;
	__be32 flags_be;
	__be32 target_be[4];
	__u8 option_type;
	__u8 option_length;
	__u8 option_mac[6];
};

#define ND_SOLICITATION	 135
#define ND_ADVERTISEMENT 136

#define MESSAGE_PULL 128 /* an ARP packet; a solicitation with its options */

static __always_inline bool mac_equal(const __u8 *a, const __u8 *b)
{
	return *(const __u32 *)a == *(const __u32 *)b &&
	       *(const __u16 *)(a + 4) == *(const __u16 *)(b + 4);
}

static __always_inline __be32 load32(const __u8 *bytes)
{
	__be32 word;

	__builtin_memcpy(&word, bytes, 4);
	return word;
}

/* The parser has pulled in no more than it needs. */
static __always_inline void pull_message(struct __sk_buff *skb)
{
	__u32 wanted = skb->len < MESSAGE_PULL ? skb->len : MESSAGE_PULL;

	if (unlikely((void *)(long)skb->data + wanted > (void *)(long)skb->data_end))
		bpf_skb_pull_data(skb, wanted);
}

static __always_inline bool is_arp_of_ipv4(const struct arp_packet *arp)
{
	return arp->hardware_be == bpf_htons(1) && arp->protocol_be == bpf_htons(ETH_P_IP) &&
	       arp->hardware_length == 6 && arp->protocol_length == 4;
}

/* The request becomes the answer: `mac` has the address that is asked for. */
static __always_inline void turn_arp(struct ethhdr *eth, struct arp_packet *arp, const __u8 *mac)
{
	__u8 wanted[4];

	__builtin_memcpy(wanted, arp->target_ip, 4);
	arp->operation_be = bpf_htons(2);
	__builtin_memcpy(eth->h_dest, arp->sender_mac, 6);
	__builtin_memcpy(arp->target_mac, arp->sender_mac, 6);
	__builtin_memcpy(arp->target_ip, arp->sender_ip, 4);
	__builtin_memcpy(eth->h_source, mac, 6);
	__builtin_memcpy(arp->sender_mac, mac, 6);
	__builtin_memcpy(arp->sender_ip, wanted, 4);
}

/* Who has the gateway? Answered in place. A TC action or -reason. */
static __always_inline int answer_arp(struct __sk_buff *skb, const struct pod_entry *pod)
{
	__be32 pod_ip = pod->ipv4_be, gateway = config.gateway_ipv4_be;
	struct arp_packet *arp;
	struct ethhdr *eth;
	struct cursor c;
	__u8 mac[6];

	pull_message(skb);
	c = (struct cursor)CURSOR(skb);
	eth = c.data;
	arp = c.data + ETH_HLEN;
	if ((void *)(arp + 1) > c.end)
		return -REASON_SHORT;
	if (!is_arp_of_ipv4(arp))
		return -REASON_ARP_OTHER;
	if (!mac_equal(arp->sender_mac, pod->mac) ||
	    (load32(arp->sender_ip) != pod_ip && load32(arp->sender_ip) != 0))
		return -REASON_ARP_SPOOF;
	if (arp->operation_be != bpf_htons(1) || load32(arp->target_ip) != gateway)
		return -REASON_ARP_OTHER;
	copy_gateway_mac(mac);
	turn_arp(eth, arp, mac);
	return bpf_redirect_peer(skb->ifindex, 0);
}

#define ND_ROUTER    0x80000000
#define ND_SOLICITED 0x40000000
#define ND_OVERRIDE  0x20000000

/* An advertisement of what is asked for in the place of the solicitation: `mac` has it. Who only
 * looks whether the address is free has none, and is told by all of the link being told. 0 or
 * -reason. */
static __always_inline int turn_solicitation(struct __sk_buff *skb, const __u8 *mac, __u32 flags)
{
	struct nd_message *nd;
	struct ipv6_header *ip;
	struct cursor c;
	int i;

	if (bpf_skb_change_tail(skb, ETH_HLEN + sizeof(*ip) + sizeof(*nd), 0))
		return -REASON_REJECT_FAILED;
	c = (struct cursor)CURSOR(skb);
	ip = c.data + ETH_HLEN;
	nd = (void *)(ip + 1);
	if ((void *)(nd + 1) > c.end)
		return -REASON_SHORT;
	if (is_zero6(ip->saddr_be)) {
		ip->daddr_be[0] = bpf_htonl(0xff020000);
		ip->daddr_be[1] = ip->daddr_be[2] = 0;
		ip->daddr_be[3] = bpf_htonl(1);
		__builtin_memcpy(c.data, "\x33\x33\0\0\0\x01", ETH_ALEN);
	} else {
		flags |= ND_SOLICITED;
		__builtin_memcpy(ip->daddr_be, ip->saddr_be, 16);
		__builtin_memcpy(c.data, c.data + ETH_ALEN, ETH_ALEN);
	}
	for (i = 0; i < 4; i++)
		ip->saddr_be[i] = nd->target_be[i];
	ip->payload_be = bpf_htons(sizeof(*nd));
	ip->hops = 255;
	nd->type = ND_ADVERTISEMENT;
	nd->code = 0;
	nd->flags_be = bpf_htonl(flags);
	nd->option_type = 2;
	nd->option_length = 1;
	__builtin_memcpy(nd->option_mac, mac, ETH_ALEN);
	nd->check = 0;
	nd->check = ~csum_fold16(sum_words(ip->saddr_be, 8) + bpf_htons(IPPROTO_ICMPV6) +
				 bpf_htons(sizeof(*nd)) + sum_words((__be32 *)nd, sizeof(*nd) / 4));
	__builtin_memcpy(c.data + ETH_ALEN, mac, ETH_ALEN);
	return 0;
}

static __always_inline int advertise_gateway(struct __sk_buff *skb)
{
	__u8 mac[6];
	int result;

	copy_gateway_mac(mac);
	result = turn_solicitation(skb, mac, ND_ROUTER | ND_OVERRIDE);
	return result ? result : bpf_redirect_peer(skb->ifindex, 0);
}

static __always_inline bool is_gateway6(const __be32 *addr)
{
	return addr[0] == config.gateway_ipv6_be[0] && addr[1] == config.gateway_ipv6_be[1] &&
	       addr[2] == config.gateway_ipv6_be[2] && addr[3] == config.gateway_ipv6_be[3];
}

/* ICMPv6 of types 130 to 143 from a pod: only asking for the gateway is of use. A TC action or
 * -reason. */
static __always_inline int answer_nd(struct __sk_buff *skb, const struct packet *p,
				     const struct pod_entry *pod)
{
	struct nd_message *nd;
	struct cursor c;

	pull_message(skb);
	c = (struct cursor)CURSOR(skb);
	nd = c.data + ETH_HLEN + sizeof(struct ipv6_header);
	if (is_router_message6(p))
		return -REASON_ROUTER_MESSAGE;
	if (p->icmp_type == ND_ADVERTISEMENT)
		return -REASON_ND_SPOOF;
	if (p->icmp_type != ND_SOLICITATION)
		return p->icmp_type == 133 ? -REASON_ND_OTHER : -REASON_MULTICAST;
	if (p->l4 != ETH_HLEN + sizeof(struct ipv6_header) || p->ttl != 255 ||
	    (void *)&nd->option_type > c.end)
		return -REASON_SHORT;
	if (is_zero6(p->tuple.v6.saddr_be)) /* duplicate address detection: nobody answers */
		return -REASON_ND_OTHER;
	if ((void *)(nd + 1) <= c.end && p->ip_length >= sizeof(struct ipv6_header) + sizeof(*nd) &&
	    nd->option_type == 1 && !mac_equal(nd->option_mac, pod->mac))
		return -REASON_ND_SPOOF;
	if (!is_gateway6(nd->target_be))
		return -REASON_ND_OTHER;
	return advertise_gateway(skb);
}
