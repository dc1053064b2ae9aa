/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* ARP (RFC 826) and neighbour discovery (RFC 4861) between a pod and its gateway, answered in the
 * program. */
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

/* Who has the gateway? Answered in place. A TC action or -reason. */
static __always_inline int answer_arp(struct __sk_buff *skb, const struct pod_entry *pod)
{
	__be32 pod_ip = pod->ipv4_be, gateway = config.gateway_ipv4_be;
	struct arp_packet *arp;
	struct ethhdr *eth;
	struct cursor c;

	pull_message(skb);
	c = (struct cursor)CURSOR(skb);
	eth = c.data;
	arp = c.data + ETH_HLEN;
	if ((void *)(arp + 1) > c.end)
		return -REASON_SHORT;
	if (arp->hardware_be != bpf_htons(1) || arp->protocol_be != bpf_htons(ETH_P_IP) ||
	    arp->hardware_length != 6 || arp->protocol_length != 4)
		return -REASON_ARP_OTHER;
	if (!mac_equal(arp->sender_mac, pod->mac) ||
	    (load32(arp->sender_ip) != pod_ip && load32(arp->sender_ip) != 0))
		return -REASON_ARP_SPOOF;
	if (arp->operation_be != bpf_htons(1) || load32(arp->target_ip) != gateway)
		return -REASON_ARP_OTHER;
	arp->operation_be = bpf_htons(2);
	__builtin_memcpy(arp->target_mac, arp->sender_mac, 6);
	__builtin_memcpy(arp->target_ip, arp->sender_ip, 4);
	copy_gateway_mac(arp->sender_mac);
	__builtin_memcpy(arp->sender_ip, &gateway, 4);
	__builtin_memcpy(eth->h_dest, pod->mac, ETH_ALEN);
	copy_gateway_mac(eth->h_source);
	return bpf_redirect_peer(skb->ifindex, 0);
}

/* An advertisement of the gateway in the place of the solicitation. */
static __always_inline int advertise_gateway(struct __sk_buff *skb, const struct pod_entry *pod)
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
	__builtin_memcpy(ip->daddr_be, ip->saddr_be, 16);
	for (i = 0; i < 4; i++)
		ip->saddr_be[i] = nd->target_be[i] = config.gateway_ipv6_be[i];
	ip->payload_be = bpf_htons(sizeof(*nd));
	ip->hops = 255;
	nd->type = ND_ADVERTISEMENT;
	nd->code = 0;
	nd->flags_be = bpf_htonl(0xe0000000); /* router, solicited, override */
	nd->option_type = 2;
	nd->option_length = 1;
	copy_gateway_mac(nd->option_mac);
	nd->check = 0;
	nd->check = ~csum_fold16(sum_words(ip->saddr_be, 8) + bpf_htons(IPPROTO_ICMPV6) +
				 bpf_htons(sizeof(*nd)) + sum_words((__be32 *)nd, sizeof(*nd) / 4));
	__builtin_memcpy(c.data, pod->mac, ETH_ALEN);
	copy_gateway_mac(c.data + ETH_ALEN);
	return bpf_redirect_peer(skb->ifindex, 0);
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
	return advertise_gateway(skb, pod);
}
