// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * TC, the tunnel's device, egress: what the node's own stack sends to other nodes' pods gets its
 * peer here, and what a process answers at a node port the node port's address. What Polder
 * redirects has its peer already. The node is no router into the tunnel: what it forwards leaves
 * only with an address of its own.
 */
#include "context_tc.h"
#include "capture_tc.h"
#include "answer.h"
#include "icmp_error.h"
#include "parse.h"
#include "redirected.h"
#include "source_wire.h"
#include "tunnel.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __always_inline bool is_own_address(const struct packet *p)
{
	struct polder_addr source = tuple_saddr(&p->tuple, p->family);
	const struct address_entry *from;

	if (source_is_node(p, p->family))
		return true;
	from = address_find(&source);
	return from &&
	       (from->flags & (ADDRESS_NODE | ADDRESS_LOCAL)) == (ADDRESS_NODE | ADDRESS_LOCAL);
}

/* The peer behind which the destination is; 0: it is behind none that is reached by the tunnel. */
static __always_inline __u32 peer_of_destination(const struct packet *p)
{
	struct polder_addr destination = tuple_daddr(&p->tuple, p->family);
	const struct address_entry *to = address_find(&destination);
	const struct peer_entry *peer;

	if (!to || to->flags & ADDRESS_LOCAL)
		return 0;
	peer = peer_at(to->peer);
	return peer && peer_way(peer, p->family) & PEER_TUNNEL_V4 ? to->peer : 0;
}

/* Global: verified once. 0 or -reason. */
__noinline int send(struct __sk_buff *skb, struct packet *p)
{
	__u32 peer;
	int result;

	if (!p)
		return -REASON_INTERNAL;
	if (p->family == FAMILY_V4
		    ? is_multicast4(p->tuple.v4.daddr_be)
		    : is_multicast6(p->tuple.v6.daddr_be) || is_link_local6(p->tuple.v6.daddr_be))
		return -REASON_MULTICAST;
	if (!is_own_address(p))
		return -REASON_PEER_SOURCE;
	peer = peer_of_destination(p);
	if (!peer)
		return -REASON_TUNNEL_PEER;
	result = tunnel_write_macs(skb);
	return result ? result : tunnel_key_set(skb, peer);
}

/* The error that the node sends about a packet for a process of it. 0 or -reason. */
static __always_inline int turn_error(struct __sk_buff *skb, struct packet *p,
				      struct flow_copy *flow, __u8 family)
{
	int result = icmp_error_turn(skb, p, flow, family);

	if (!result)
		result = rewrite(skb, p, flow, NULL, false, ZONE_HOST, family);
	return result == -REASON_REWRITE ? result : 0; /* else it is about no Service's flow */
}

/* Pods of other nodes use this node's ports, whose endpoint may be a process. 0 or -reason. */
static __always_inline int turn(struct __sk_buff *skb, struct packet *p, struct flow_copy *flow,
				__u8 family)
{
	if (unlikely(p->flags & PACKET_ICMP_ERROR))
		return turn_error(skb, p, flow, family);
	return is_answer(skb, p) ? follow_answer(skb, p, flow, family) : 0;
}

static __always_inline int handle(struct __sk_buff *skb, struct packet *p, struct flow_copy *flow)
{
	struct cursor c = CURSOR(skb);
	__be16 kind;
	int result;

	if (c.data + ETH_HLEN > c.end)
		return -REASON_SHORT;
	kind = frame_kind(c.data);
	if (kind != bpf_htons(ETH_P_IP) && kind != bpf_htons(ETH_P_IPV6))
		return -REASON_L2_UNKNOWN;
	result = kind == bpf_htons(ETH_P_IP) ? parse(skb, p, c, FAMILY_V4)
					     : parse(skb, p, c, FAMILY_V6);
	if (!result)
		result = send(skb, p);
	if (result)
		return result;
	return kind == bpf_htons(ETH_P_IP) ? turn(skb, p, flow, FAMILY_V4)
					   : turn(skb, p, flow, FAMILY_V6);
}

static __always_inline int run(struct __sk_buff *skb, const bool captures)
{
	struct packet p = {
		.length = skb->len, .link = skb->ingress_ifindex, .hook = DROP_TO_TUNNEL};
	struct flow_copy flow;
	int result;

	/* The refusals that from_tunnel sends back have a key, too. */
	if (likely(is_redirected(skb)) || tunnel_key_peer(skb, 1))
		return capture_told(skb, &p, DROP_TO_TUNNEL, captures);
	capture_begin(skb, DROP_TO_TUNNEL, 0, captures);
	p.tuple.zone = ZONE_HOST;
	result = handle(skb, &p, &flow);
	if (likely(!result))
		return capture_passed(skb, &p, TC_ACT_OK, captures);
	drop_count(skb->ifindex, &p, -result, VERDICT_DROP);
	return capture_refused(skb, &p, TC_ACT_SHOT, -result, captures);
}

SEC("tc")
int to_tunnel(struct __sk_buff *skb)
{
	return run(skb, false);
}

/* While somebody captures: capture.h. */
SEC("tc")
int to_tunnel_capture(struct __sk_buff *skb)
{
	return run(skb, true);
}
