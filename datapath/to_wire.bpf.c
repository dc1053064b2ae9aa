// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * TC, uplink, egress: a packet of the node's own sockets must not use a port that a masqueraded
 * flow has towards the same peer: the answer would go to the pod. Forwarded packets pass untouched.
 */
#include "event.h"
#include "flow.h"
#include "parse.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __always_inline bool in_masquerade_range(const struct packet *p)
{
	__u16 port = bpf_ntohs(p->tuple.sport_be);

	return p->flags & PACKET_HAS_PORTS && !(p->flags & PACKET_LATER_FRAGMENT) &&
	       port >= config.masquerade_port_min && port <= config.masquerade_port_max;
}

/* Is the answer's tuple taken by a flow of a pod? */
static __always_inline int check_collision(struct packet *p, __u8 family)
{
	const struct control *control = control_get();
	struct flow_tuple answer = {.proto = p->tuple.proto, .zone = ZONE_WIRE};
	struct flow_head *head;
	struct flow_copy flow;

	if (!control || !in_masquerade_range(p))
		return 0;
	tuple_set_reversed_ports(&answer, p->tuple.sport_be, p->tuple.dport_be);
	if (family == FAMILY_V4) {
		answer.v4.saddr_be = p->tuple.v4.daddr_be;
		answer.v4.daddr_be = p->tuple.v4.saddr_be;
	} else {
		__builtin_memcpy(answer.v6.saddr_be, p->tuple.v6.daddr_be, 16);
		__builtin_memcpy(answer.v6.daddr_be, p->tuple.v6.saddr_be, 16);
	}
	if (flow_find(&answer, flow_hash(&answer, family, control), family, &flow, &head) !=
	    FLOW_FOUND)
		return 0;
	return flow.action == FLOW_TO_POD && flow.state & FLOW_TRANSLATED ? -REASON_PORT_COLLISION
									  : 0;
}

SEC("tc")
int to_wire(struct __sk_buff *skb)
{
	struct packet p = {.length = skb->len, .hook = DROP_TO_WIRE};
	struct cursor c = CURSOR(skb);
	int result = 0;
	__be16 kind;

	if (likely(skb->ingress_ifindex))
		return TC_ACT_OK;
	if (c.data + ETH_HLEN > c.end)
		return TC_ACT_OK;
	kind = frame_kind(c.data); /* the parser may move the bytes */
	if (kind == bpf_htons(ETH_P_IP) && !parse(skb, &p, c, FAMILY_V4))
		result = check_collision(&p, FAMILY_V4);
	else if (kind == bpf_htons(ETH_P_IPV6) && !parse(skb, &p, c, FAMILY_V6))
		result = check_collision(&p, FAMILY_V6);
	if (likely(!result))
		return TC_ACT_OK;
	drop_count(skb->ifindex, &p, -result, VERDICT_DROP);
	return TC_ACT_SHOT;
}
