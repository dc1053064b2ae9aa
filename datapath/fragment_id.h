/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Pods share the node's address towards the outside, not the ids of its fragments. */
#pragma once

#include "maps.h"
#include "packet.h"

/*
 * What a pod's ids are changed by towards one peer: the same for all fragments of a datagram,
 * another for each pod, known to none. Otherwise a pod could send the later fragments of another
 * one's datagram.
 */
static __always_inline __u32 fragment_id_mix(const struct control *control, const struct packet *p)
{
	struct polder_addr ends[2] = {tuple_saddr(&p->tuple, p->family),
				      tuple_daddr(&p->tuple, p->family)};
	__u64 h = control->hash_seed[1];
	int i;

	for (i = 0; i < 4; i++) {
		h ^= (__u64)ends[0].words_be[i] << 32 | ends[1].words_be[i];
		h *= 0xd6e8feb86659fd93ULL;
		h ^= h >> 32;
		h ^= control->hash_seed[0];
	}
	h *= 0x9e3779b97f4a7c15ULL;
	return h >> 32;
}

/* 0 or -reason. The IPv6 fragment header is the last before the transport's. `p` is as it came.
 * Global: verified once. */
__noinline int fragment_id_rewrite(struct __sk_buff *skb, struct packet *p)
{
	const struct control *control = control_get();
	__u32 mix, id;
	__u16 old, new;

	if (!p || !control)
		return -REASON_INTERNAL;
	mix = fragment_id_mix(control, p);
	if (p->family == FAMILY_V6) {
		if (bpf_skb_load_bytes(skb, p->l4 - 4, &id, sizeof(id)))
			return -REASON_REWRITE;
		id ^= mix;
		return bpf_skb_store_bytes(skb, p->l4 - 4, &id, sizeof(id), 0) ? -REASON_REWRITE
									       : 0;
	}
	if (bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct ipv4_header, id_be), &old,
			       sizeof(old)))
		return -REASON_REWRITE;
	new = old ^ (__u16)mix;
	if (bpf_l3_csum_replace(skb, ETH_HLEN + offsetof(struct ipv4_header, check), old, new,
				sizeof(new)) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct ipv4_header, id_be), &new,
				sizeof(new), 0))
		return -REASON_REWRITE;
	return 0;
}
