/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* ICMP errors about packets of known flows: outer and inner headers are translated back (RFC 5508,
 * RFC 4884). */
#pragma once

#include "forward.h"

/* The packet inside an ICMP error: the tuple as its sender's side saw it, and where its parts
 * stand. */
struct inner_packet {
	struct flow_tuple tuple;
	__u16 ip; /* offset of its IP header */
	__u16 l4;
	__u16 ports;	/* offset of what a translation changes */
	__u8 has_check; /* its transport checksum is there */
	__u8 pad;
};

/* Scratch: too large for the stack of a program. */
struct icmp_scratch {
	struct inner_packet inner;
	struct flow_tuple tuple; /* of the flow's packets that go the error's way */
	struct flow_copy other;	 /* for a look-up */
};
MAP(icmp_scratch, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct icmp_scratch, 1, 0);

static __always_inline int inner_transport(struct __sk_buff *skb, const struct packet *p,
					   struct inner_packet *inner)
{
	const bool v4 = p->family == FAMILY_V4;
	struct flow_tuple *t = &inner->tuple;
	__u8 head[8];

	/* What lies behind the message's end is no part of it, and no sum covers it. */
	if (inner->l4 + sizeof(head) > p->ip_length + ETH_HLEN)
		return -REASON_SHORT;
	if (bpf_skb_load_bytes(skb, inner->l4, head, sizeof(head)))
		return -REASON_SHORT;
	inner->ports = inner->l4;
	switch (t->proto) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_SCTP:
		t->sport_be = *(__be16 *)head;
		t->dport_be = *(__be16 *)(head + 2);
		inner->has_check = t->proto == IPPROTO_UDP && *(__u16 *)(head + 6);
		return 0;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		/* The other family's is no echo, and has no identifier. */
		if ((v4 && head[0] != ICMP_ECHO && head[0] != ICMP_ECHO_REPLY) ||
		    (!v4 && head[0] != ICMP6_ECHO && head[0] != ICMP6_ECHO_REPLY) ||
		    v4 != (t->proto == IPPROTO_ICMP))
			return -REASON_ICMP_NO_FLOW;
		t->sport_be = *(__be16 *)(head + 4);
		t->dport_be = bpf_htons(head[0] << 8);
		inner->ports = inner->l4 + 4;
		inner->has_check = 1;
		return 0;
	default:
		return 0;
	}
}

/* Extension headers inside are not followed: a router cuts after 8 bytes of what comes next. */
static __always_inline int inner_parse(struct __sk_buff *skb, const struct packet *p,
				       struct inner_packet *inner)
{
	struct ipv4_header ip4;
	struct ipv6_header ip6;

	__builtin_memset(inner, 0, sizeof(*inner));
	inner->ip = p->l4 + 8;
	if (p->family == FAMILY_V4) {
		if (bpf_skb_load_bytes(skb, inner->ip, &ip4, sizeof(ip4)))
			return -REASON_SHORT;
		if (ip4.version_ihl < 0x45 || ip4.version_ihl > 0x4f ||
		    ip4.fragment_be & bpf_htons(IPV4_OFFSET_MASK))
			return -REASON_ICMP_NO_FLOW;
		inner->tuple.proto = ip4.proto;
		inner->tuple.v4.saddr_be = ip4.saddr_be;
		inner->tuple.v4.daddr_be = ip4.daddr_be;
		inner->l4 = inner->ip + (ip4.version_ihl & 0xf) * 4;
		return inner_transport(skb, p, inner);
	}
	if (bpf_skb_load_bytes(skb, inner->ip, &ip6, sizeof(ip6)))
		return -REASON_SHORT;
	if (bpf_ntohl(ip6.version_class_label_be) >> 28 != 6)
		return -REASON_ICMP_NO_FLOW;
	inner->tuple.proto = ip6.next;
	__builtin_memcpy(inner->tuple.v6.saddr_be, ip6.saddr_be, 32);
	inner->l4 = inner->ip + sizeof(ip6);
	return inner_transport(skb, p, inner);
}

/* The tuple of the flow's packets that go the error's way. */
static __always_inline void inner_reversed(const struct inner_packet *inner, const struct packet *p,
					   struct flow_tuple *t)
{
	t->words[0] = 0;
	t->proto = inner->tuple.proto;
	t->zone = p->tuple.zone;
	t->peer = p->tuple.peer;
	tuple_set_reversed_ports(t, inner->tuple.sport_be, inner->tuple.dport_be);
	if (p->family == FAMILY_V4) {
		t->v4.saddr_be = inner->tuple.v4.daddr_be;
		t->v4.daddr_be = inner->tuple.v4.saddr_be;
	} else {
		__builtin_memcpy(t->v6.saddr_be, inner->tuple.v6.daddr_be, 16);
		__builtin_memcpy(t->v6.daddr_be, inner->tuple.v6.saddr_be, 16);
	}
}

/* Stores bytes inside the ICMP message and keeps its checksum right. `size` 2, 4 or 16. */
static __always_inline int icmp_store(struct __sk_buff *skb, __u32 check, __u32 offset,
				      const void *from, const void *to, __u32 size)
{
	__u64 diff;
	__u32 i;

	if (size == 2) {
		diff = csum_change16(*(const __be16 *)from, *(const __be16 *)to);
	} else {
		diff = 0;
		for (i = 0; i < size / 4; i++)
			diff += csum_change32(((const __be32 *)from)[i], ((const __be32 *)to)[i]);
	}
	if (bpf_skb_store_bytes(skb, offset, to, size, 0))
		return -REASON_REWRITE;
	return bpf_l4_csum_replace(skb, check, 0, csum_fold16(diff), 0) ? -REASON_REWRITE : 0;
}

/* Adds `diff` to a 16-bit checksum field inside the ICMP message; where 0 says that there is none,
 * the sum 0 is all ones (`no_zero`, RFC 768). */
static __always_inline int inner_check_add(struct __sk_buff *skb, __u32 check, __u32 offset,
					   __u16 diff, bool no_zero)
{
	__u16 old, new;

	if (bpf_skb_load_bytes(skb, offset, &old, 2))
		return -REASON_REWRITE;
	new = ~csum_fold16((__u64)(__u16)~old + diff);
	if (no_zero && !new)
		new = 0xffff;
	return icmp_store(skb, check, offset, &old, &new, 2);
}

/* The inner packet as the flow's other side knows it: the entry's translation, turned round. */
static __always_inline int inner_rewrite(struct __sk_buff *skb, const struct packet *p,
					 const struct inner_packet *inner,
					 const struct flow_copy *f)
{
	struct port_pair ports =
		ports_reversed(inner->tuple.proto, f->new_sport_be, f->new_dport_be);
	__u32 check = p->l4 + 2;
	__u16 addr_diff = f->addr_diff, port_diff;
	int result;

	port_diff = csum_fold16(
		csum_change16(inner->tuple.sport_be, ports.sport_be) +
		(inner->tuple.proto == IPPROTO_ICMP || inner->tuple.proto == IPPROTO_ICMPV6
			 ? 0
			 : csum_change16(inner->tuple.dport_be, ports.dport_be)));
	if (p->family == FAMILY_V4) {
		if ((result = icmp_store(skb, check, inner->ip + 12, &inner->tuple.v4.saddr_be,
					 &f->new_daddr_be[0], 4)) ||
		    (result = icmp_store(skb, check, inner->ip + 16, &inner->tuple.v4.daddr_be,
					 &f->new_saddr_be[0], 4)) ||
		    (result = inner_check_add(skb, check, inner->ip + 10, addr_diff, false)))
			return result;
	} else {
		if ((result = icmp_store(skb, check, inner->ip + 8, inner->tuple.v6.saddr_be,
					 f->new_daddr_be, 16)) ||
		    (result = icmp_store(skb, check, inner->ip + 24, inner->tuple.v6.daddr_be,
					 f->new_saddr_be, 16)))
			return result;
	}
	if (inner->tuple.proto == IPPROTO_ICMP || inner->tuple.proto == IPPROTO_ICMPV6) {
		if ((result = icmp_store(skb, check, inner->ports, &inner->tuple.sport_be,
					 &ports.sport_be, 2)))
			return result;
		if (inner->tuple.proto == IPPROTO_ICMP)
			addr_diff = 0;
		return inner_check_add(skb, check, inner->l4 + 2,
				       csum_fold16((__u64)addr_diff + port_diff), false);
	}
	if ((result = icmp_store(skb, check, inner->ports, &inner->tuple.sport_be, &ports.sport_be,
				 2)) ||
	    (result = icmp_store(skb, check, inner->ports + 2, &inner->tuple.dport_be,
				 &ports.dport_be, 2)))
		return result;
	if (inner->has_check)
		return inner_check_add(skb, check, inner->l4 + 6,
				       csum_fold16((__u64)addr_diff + port_diff), true);
	return 0;
}

/* The outer header: to the flow's other side; from the endpoint only if the endpoint itself speaks.
 */
static __always_inline void outer_content(const struct packet *p, const struct flow_tuple *t,
					  struct flow_copy *f)
{
	if (p->family == FAMILY_V4) {
		if (p->tuple.v4.saddr_be != t->v4.saddr_be)
			f->new_saddr_be[0] = p->tuple.v4.saddr_be;
	} else if (p->tuple.v6.saddr_be[0] != t->v6.saddr_be[0] ||
		   p->tuple.v6.saddr_be[1] != t->v6.saddr_be[1] ||
		   p->tuple.v6.saddr_be[2] != t->v6.saddr_be[2] ||
		   p->tuple.v6.saddr_be[3] != t->v6.saddr_be[3]) {
		__builtin_memcpy(f->new_saddr_be, p->tuple.v6.saddr_be, 16);
	}
	/* The tuple as if it were the packet's: no ports. */
	content_diffs(&p->tuple, f, p->family);
	f->port_diff = 0;
}

/*
 * The flow was found by the packet inside: the outer header has to say the same. An error goes to
 * who sent that packet, whoever sends the error; a pod speaks of its own flows only.
 */
static __always_inline int check_outer(const struct packet *p, const struct flow_tuple *t)
{
	struct polder_addr to = tuple_daddr(&p->tuple, p->family),
			   inner_source = tuple_daddr(t, p->family);
	struct polder_addr from = tuple_saddr(&p->tuple, p->family),
			   inner_destination = tuple_saddr(t, p->family);

	if (!addr_equal(&to, &inner_source))
		return -REASON_ICMP_NO_FLOW;
	return p->tuple.zone != ZONE_POD || addr_equal(&from, &inner_destination)
		       ? 0
		       : -REASON_ICMP_NO_FLOW;
}

static __always_inline struct icmp_scratch *icmp_scratch_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&icmp_scratch, &zero);
}

/*
 * Is the verdict in force? An entry that moved to make room is re-evaluated with the next packet
 * of its direction, which may not come before the error is heeded; the other direction's says as
 * much. A change that concerns the flow reaches both.
 */
static __always_inline bool icmp_error_in_force(struct icmp_scratch *scratch,
						struct flow_copy *flow, __u32 generation,
						__u8 family)
{
	if (flow->generation != FLOW_GENERATION_DOUBTED)
		return flow->generation == generation;
	return flow_other_side(&scratch->tuple, flow, &scratch->other, family) == FLOW_FOUND &&
	       scratch->other.generation == generation;
}

/* Finds the flow that the error is about; `flow` holds its entry. 0 or -reason. */
__noinline int icmp_error_find(struct packet *p, struct flow_copy *flow)
{
	const struct control *control = control_get();
	struct icmp_scratch *scratch = icmp_scratch_get();
	int outcome;

	if (!p || !flow || !scratch || !control)
		return -REASON_INTERNAL;
	inner_reversed(&scratch->inner, p, &scratch->tuple);
	outcome = flow_lookup(&scratch->tuple, tuple_hash(&scratch->tuple, p->family, control),
			      flow, p->family);
	/* About what the pod sent to the node, if the node translates that: as flow_to_pod() finds
	 * its replies. */
	if (outcome == FLOW_ABSENT && p->hook == DROP_TO_POD && p->tuple.zone == ZONE_WIRE) {
		scratch->tuple.zone = ZONE_HOST;
		outcome = flow_lookup(&scratch->tuple,
				      tuple_hash(&scratch->tuple, p->family, control), flow,
				      p->family);
		if (outcome == FLOW_FOUND && !(flow->state & FLOW_REPLY))
			outcome = FLOW_ABSENT;
	}
	if (outcome == FLOW_BUSY)
		return -REASON_FLOW_BUSY;
	if (outcome == FLOW_ABSENT ||
	    !icmp_error_in_force(scratch, flow, READ_ONCE(control->generation), p->family) ||
	    flow_idle(&scratch->tuple, flow, &scratch->other,
		      flow_timeout(scratch->tuple.proto, flow->state), p->family))
		return -REASON_ICMP_NO_FLOW;
	return check_outer(p, &scratch->tuple);
}

/* Reads the packet inside. 0 or -reason. */
__noinline int icmp_error_parse(struct __sk_buff *skb, struct packet *p)
{
	struct icmp_scratch *scratch = icmp_scratch_get();

	return p && scratch ? inner_parse(skb, p, &scratch->inner) : -REASON_INTERNAL;
}

/* Translates the packet inside; `flow` then holds what forward() is to do with the outer one. 0 or
 * -reason. */
__noinline int icmp_error_translate(struct __sk_buff *skb, struct packet *p, struct flow_copy *flow)
{
	struct icmp_scratch *scratch = icmp_scratch_get();
	int result;

	if (!p || !flow || !scratch)
		return -REASON_INTERNAL;
	result = inner_rewrite(skb, p, &scratch->inner, flow);
	if (result)
		return result;
	outer_content(p, &scratch->tuple, flow);
	return 0;
}

/* Translates an error about a known flow, but for the outer addresses; `flow` says what becomes of
 * those. 0 or -reason. */
static __always_inline int icmp_error_turn(struct __sk_buff *skb, struct packet *p,
					   struct flow_copy *flow, __u8 family)
{
	int result = icmp_error_parse(skb, p);

	/* What is handed to a global function has to be written to. */
	__builtin_memset(flow, 0, sizeof(*flow));
	if (!result)
		result = icmp_error_find(p, flow);
	if (!result && flow->state & FLOW_TRANSLATED)
		result = icmp_error_translate(skb, p, flow);
	if (result)
		return result;
	/* ICMPv6 sums cover the outer addresses, ICMP's do not. */
	if (family == FAMILY_V6 && flow->state & FLOW_TRANSLATED &&
	    bpf_l4_csum_replace(skb, p->l4 + 2, 0, flow->addr_diff, BPF_F_PSEUDO_HDR))
		return -REASON_REWRITE;
	return 0;
}

static __always_inline int follow_icmp_error(struct __sk_buff *skb, struct packet *p,
					     struct flow_copy *flow, __u8 zone, __u8 family)
{
	int result = icmp_error_turn(skb, p, flow, family);

	return result ? result : forward(skb, p, flow, zone, family);
}
