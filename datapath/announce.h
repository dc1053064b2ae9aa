/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Addresses that this node announces on an uplink: who asks for one, by ARP or by neighbour
 * discovery, is answered here, for as long as the agent has promised and no longer. */
#pragma once

#include "neighbour.h"

static __always_inline const struct announced *announced_find(const struct polder_addr *addr,
							      __u32 link)
{
	const struct announced *entry = bpf_map_lookup_elem(&announced, addr);

	return entry && entry->ifindex == link && bpf_ktime_get_boot_ns() < entry->until_ns ? entry
											    : NULL;
}

/* Any ARP message on an uplink. A TC action. */
__noinline int answer_announced_arp(struct __sk_buff *skb)
{
	const struct announced *entry;
	struct polder_addr wanted = {};
	struct arp_packet *arp;
	struct cursor c;
	__u8 mac[6];

	pull_message(skb);
	c = (struct cursor)CURSOR(skb);
	arp = c.data + ETH_HLEN;
	if ((void *)(arp + 1) > c.end || !is_arp_of_ipv4(arp) || arp->operation_be != bpf_htons(1))
		return TC_ACT_OK;
	wanted.words_be[2] = bpf_htonl(0xffff);
	wanted.words_be[3] = load32(arp->target_ip);
	/* Who tells of himself asks nobody. */
	if (load32(arp->sender_ip) == wanted.words_be[3])
		return TC_ACT_OK;
	entry = announced_find(&wanted, skb->ifindex);
	if (!entry)
		return TC_ACT_OK;
	__builtin_memcpy(mac, entry->mac, 6);
	turn_arp(c.data, arp, mac);
	return bpf_redirect(skb->ifindex, 0);
}

/* Neighbour discovery on an uplink, of any kind. A TC action or -reason. */
__noinline int answer_announced_nd(struct __sk_buff *skb, const struct packet *p)
{
	const struct announced *entry;
	struct polder_addr wanted;
	struct nd_message *nd;
	struct cursor c;
	__u8 mac[6];
	int result;

	if (!p || p->icmp_type != ND_SOLICITATION || p->ttl != 255 ||
	    p->l4 != ETH_HLEN + sizeof(struct ipv6_header))
		return TC_ACT_OK;
	pull_message(skb);
	c = (struct cursor)CURSOR(skb);
	nd = c.data + ETH_HLEN + sizeof(struct ipv6_header);
	if ((void *)&nd->option_type > c.end)
		return TC_ACT_OK;
	__builtin_memcpy(&wanted, nd->target_be, sizeof(wanted));
	entry = announced_find(&wanted, skb->ifindex);
	if (!entry)
		return TC_ACT_OK;
	__builtin_memcpy(mac, entry->mac, 6);
	result = turn_solicitation(skb, mac, ND_OVERRIDE);
	return result ? result : bpf_redirect(skb->ifindex, 0);
}
