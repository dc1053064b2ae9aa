// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * TC, uplink, egress: source ports of the masquerade range that others use. What the node's stack
 * sends or forwards with one is entered in the flow table, where pods' flows find the port taken,
 * and leaves with another one where a pod was first. See docs/architecture.md, "Ports of others".
 */
#include "context_tc.h"
#include "capture_tc.h"
#include "answer.h"
#include "icmp_error.h"
#include "parse.h"
#include "redirected.h"
#include "source_wire.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __always_inline bool in_masquerade_range(const struct packet *p)
{
	__u16 port = bpf_ntohs(p->tuple.sport_be);

	return p->flags & PACKET_HAS_PORTS && !(p->flags & PACKET_LATER_FRAGMENT) &&
	       port >= config.masquerade_port_min && port <= config.masquerade_port_max;
}

/* Is the answer's tuple taken by a flow of a pod, or of a client of a Service? */
__noinline int port_collides(struct packet *p)
{
	const struct control *control = control_get();
	struct slow_path *path = slow_path_get();
	struct flow_tuple *answer;

	if (!p || !control || !path)
		return 0;
	answer = &path->reply_tuple;
	answer->words[0] = 0;
	answer->proto = p->tuple.proto;
	answer->zone = ZONE_WIRE;
	tuple_set_reversed_ports(answer, p->tuple.sport_be, p->tuple.dport_be);
	if (p->family == FAMILY_V4) {
		answer->v4.saddr_be = p->tuple.v4.daddr_be;
		answer->v4.daddr_be = p->tuple.v4.saddr_be;
	} else {
		__builtin_memcpy(answer->v6.saddr_be, p->tuple.v6.daddr_be, 16);
		__builtin_memcpy(answer->v6.daddr_be, p->tuple.v6.saddr_be, 16);
	}
	return flow_lookup(answer, tuple_hash(answer, p->family, control), &path->other,
			   p->family) == FLOW_FOUND &&
	       path->other.state & FLOW_TRANSLATED && path->other.state & FLOW_REPLY &&
	       (path->other.action == FLOW_TO_POD || path->other.action == FLOW_TO_WIRE ||
		path->other.action == FLOW_TO_TUNNEL);
}

/* Has the packet an address of the node as its source? Only such meet what is masqueraded. */
__noinline int source_is_of_node(struct packet *p)
{
	const struct address_entry *entry;
	struct polder_addr from;

	if (!p)
		return 0;
	if (source_is_node(p, p->family))
		return 1;
	from = tuple_saddr(&p->tuple, p->family);
	entry = address_find(&from);
	return entry &&
	       (entry->flags & (ADDRESS_NODE | ADDRESS_LOCAL)) == (ADDRESS_NODE | ADDRESS_LOCAL);
}

/* Sockets of the node are found when a port is chosen (node_socket_uses()); what it forwards, and
 * identifiers of its echo requests, are not. */
static __always_inline bool is_tracked(struct __sk_buff *skb, const struct packet *p)
{
	return skb->ingress_ifindex ||
	       (p->tuple.proto != IPPROTO_TCP && p->tuple.proto != IPPROTO_UDP);
}

/*
 * May a flow begin with the packet, seen from here? A TCP connection that was there before Polder
 * as well; what only answers a SYN or an echo request is none.
 */
static __always_inline bool may_begin(const struct packet *p, __u8 family)
{
	if (p->tuple.proto == IPPROTO_TCP)
		return !(p->tcp_flags & TCP_RST) &&
		       (p->tcp_flags & (TCP_SYN | TCP_ACK)) != (TCP_SYN | TCP_ACK);
	if (p->tuple.proto == IPPROTO_UDP)
		return true;
	return has_port_to_choose(&p->tuple, family) &&
	       p->tuple.dport_be == bpf_htons((family == FAMILY_V4 ? ICMP_ECHO : ICMP6_ECHO) << 8);
}

/* Not of a known flow: 1: it is entered; 0: it leaves as it is; -reason. */
static __always_inline int begins(struct __sk_buff *skb, struct packet *p, __u8 family)
{
	bool begins = may_begin(p, family);

	if (is_tracked(skb, p) && begins && !source_is_of_node(p))
		return 0;
	if (!port_collides(p))
		return is_tracked(skb, p) && begins;
	/* In mid-stream the peer knows the port. */
	return begins && (p->tuple.proto != IPPROTO_TCP || is_syn(p)) ? 1 : -REASON_PORT_COLLISION;
}

static __always_inline int follow(struct __sk_buff *skb, struct packet *p, struct flow_copy *flow,
				  __u8 family)
{
	struct flow_head *head;
	int outcome, result;

	if (unlikely(p->flags & PACKET_ICMP_ERROR)) {
		result = follow_icmp_error(skb, p, flow, ZONE_HOST, family);
		return result == -REASON_REWRITE ? result : TC_ACT_OK;
	}
	if (is_answer(skb, p))
		return follow_answer(skb, p, flow, family);
	if (!in_masquerade_range(p))
		return TC_ACT_OK;
	outcome = flow_of(p, flow, &head, family);
	if (outcome == FLOW_ABSENT) {
		result = begins(skb, p, family);
		if (result <= 0)
			return result ? result : TC_ACT_OK;
	}
	result = follow_entry(skb, p, outcome, flow, head, ZONE_HOST, family);
	if (result >= 0 || result == -REASON_REWRITE)
		return result;
	/* No room in the table, or no port. */
	return port_collides(p) ? -REASON_PORT_COLLISION : TC_ACT_OK;
}

static __always_inline int handle(struct __sk_buff *skb, struct packet *p, struct flow_copy *flow)
{
	struct cursor c = CURSOR(skb);
	__be16 kind;

	if (c.data + ETH_HLEN > c.end)
		return TC_ACT_OK;
	kind = frame_kind(c.data); /* the parser may move the bytes */
	if (kind == bpf_htons(ETH_P_IP) && !parse(skb, p, c, FAMILY_V4))
		return follow(skb, p, flow, FAMILY_V4);
	if (kind == bpf_htons(ETH_P_IPV6) && !parse(skb, p, c, FAMILY_V6))
		return follow(skb, p, flow, FAMILY_V6);
	return TC_ACT_OK;
}

static __always_inline int run(struct __sk_buff *skb, const bool captures)
{
	struct packet p = {.length = skb->len, .hook = DROP_TO_WIRE};
	struct flow_copy flow;
	int result;

	if (likely(is_redirected(skb)))
		return capture_told(skb, &p, DROP_TO_WIRE, captures);
	capture_begin(skb, DROP_TO_WIRE, 0, captures);
	p.tuple.zone = ZONE_HOST;
	result = handle(skb, &p, &flow);
	if (likely(result >= 0))
		return capture_passed(skb, &p, result, captures);
	drop_count(skb->ifindex, &p, -result, VERDICT_DROP);
	return capture_refused(skb, &p, TC_ACT_SHOT, -result, captures);
}

SEC("tc")
int to_wire(struct __sk_buff *skb)
{
	return run(skb, false);
}

/* While somebody captures: capture.h. */
SEC("tc")
int to_wire_capture(struct __sk_buff *skb)
{
	return run(skb, true);
}
