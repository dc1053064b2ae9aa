/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The slow path, once per flow and change: which way the packet goes in its flow, Service,
 * endpoint, way out, identities, rule sets. What comes of it is put in force by flow_pair.h.
 */
#pragma once

#include "frontend.h"

/* fwd's translation before the change, from the entry of its replies. */
static __always_inline void old_from_reply(struct slow_path *path, const struct packet *p,
					   const struct flow_copy *stale)
{
	struct port_pair reversed =
		ports_reversed(p->tuple.proto, p->tuple.sport_be, p->tuple.dport_be);

	flow_reply_tuple(&p->tuple, stale, p->family, &path->fwd.tuple);
	path->old.new_sport_be = reversed.sport_be;
	path->old.new_dport_be = reversed.dport_be;
	if (p->family == FAMILY_V4) {
		path->old.new_saddr_be[0] = p->tuple.v4.daddr_be;
		path->old.new_daddr_be[0] = p->tuple.v4.saddr_be;
	} else {
		__builtin_memcpy(path->old.new_saddr_be, p->tuple.v6.daddr_be, 16);
		__builtin_memcpy(path->old.new_daddr_be, p->tuple.v6.saddr_be, 16);
	}
}

/* Which way does the packet at hand go in its flow, and what did the flow's entry say before the
 * change? 0 or -reason. */
__noinline int slow_path_orient(struct packet *p, struct flow_copy *stale)
{
	struct flow_verdict *verdict = flow_verdict_get();
	struct slow_path *path = slow_path_get();

	if (!p || !stale || !path || !verdict)
		return -REASON_INTERNAL;
	__builtin_memset(verdict, 0, sizeof(*verdict));
	path->flags = 0;
	/*
	 * The start of a TCP flow is its SYN: a later fragment, which shows no flags, opens none;
	 * what its first was refused it is refused. What the host's own stack sends is not doubted.
	 * Nor is what is handed on by a table (frontend_from_outside()): it may have been idle.
	 */
	if (!stale->generation && p->tuple.proto == IPPROTO_TCP && p->tuple.zone != ZONE_HOST &&
	    !is_syn(p) && !p->frontend)
		return -REASON_NO_FLOW;
	path->question.length = p->length;
	path->source_link = p->tuple.zone == ZONE_POD ? p->link : 0;
	path->fwd.place.kind = path->rev.place.kind = PLACE_NONE;
	path->fwd.seen.generation = path->rev.seen.generation = 0;
	path->old.generation = 0;
	path->old.state = 0;
	path->native_peer = 0;
	if (stale->generation) {
		path->flags |= SLOW_PATH_KNOWN;
		path->old = *stale;
	}
	if (stale->generation && stale->state & FLOW_REPLY) {
		path->flags |= SLOW_PATH_REPLY;
		path->source_link = 0;
		old_from_reply(path, p, stale);
	} else {
		path->fwd.tuple = p->tuple;
	}
	path->src = tuple_saddr(&path->fwd.tuple, p->family);
	path->dst = tuple_daddr(&path->fwd.tuple, p->family);
	path->new_src = path->src;
	path->new_dst = path->dst;
	path->new_sport_be = path->fwd.tuple.sport_be;
	path->new_dport_be = path->fwd.tuple.dport_be;
	return 0;
}

/* May the flow stay with the endpoint it has? A connection that only begins goes to one that takes
 * new ones; datagrams, `others`: if there is one. */
static __always_inline bool slow_path_stays(const struct slow_path *path, const struct packet *p,
					    __u32 service_id, __u32 others,
					    const struct polder_addr *endpoint)
{
	__u32 state = service_backend_state(service_id, endpoint, path->old.new_dport_be);

	if (state == BACKEND_ACTIVE)
		return true;
	if (state != BACKEND_TERMINATING)
		return false;
	return path->fwd.tuple.proto == IPPROTO_TCP ? path->flags & SLOW_PATH_REPLY || !is_syn(p)
						    : !others;
}

/*
 * What is served where the flow goes; NULL: nothing. What the node's stack forwards to a pod has
 * been to no Service, nor has what comes from outside for a pod. `ret_to`: the address's entry, if
 * `ret_looked`.
 */
static __always_inline const struct service_entry *
slow_path_frontend(struct slow_path *path, const struct packet *p,
		   const struct address_entry **ret_to, bool *ret_looked)
{
	const struct flow_tuple *t = &path->fwd.tuple;
	const bool known = p->frontend || path->old.state & FLOW_SERVICE;
	const struct service_entry *service;
	__u32 flags = 0;

	if (t->zone == ZONE_HOST || !has_service_ports(t->proto) ||
	    (t->zone != ZONE_POD && !known && p->hook == DROP_TO_POD))
		return NULL;
	if (t->zone == ZONE_POD || known) {
		service = service_find(&path->dst, t->dport_be, t->proto);
		if (service)
			return service;
	}
	*ret_to = address_find(&path->dst);
	*ret_looked = true;
	if (*ret_to)
		flags = (*ret_to)->flags;
	barrier();
	if (flags & ADDRESS_POD)
		return NULL;
	if (flags && !(flags & ADDRESS_LOCAL) && t->zone == ZONE_WIRE)
		path->flags |= SLOW_PATH_HANDED_ON; /* for another node */
	return frontend_find(&path->dst, t->dport_be, t->proto, flags, t->zone != ZONE_POD);
}

/* What is asked of a Service from outside: may it be, and how is it answered? 0 or -reason. */
static __always_inline int slow_path_outside(struct slow_path *path, const struct packet *p,
					     const struct service_entry *service,
					     enum service_caller caller)
{
	if (!(service->flags & SERVICE_EXTERNAL))
		return -REASON_SERVICE_FROM_OUTSIDE;
	/* A published port has one endpoint, of this node: whoever it is keeps the address. */
	if (service->flags & SERVICE_HOST_PORT)
		return 0;
	if (caller != CALLER_OUTSIDE) {
		path->flags |= SLOW_PATH_NODE_SOURCE;
		return 0;
	}
	if (!frontend_admits(service, &path->src))
		return -REASON_SERVICE_SOURCE;
	if (service->flags & SERVICE_EXTERNAL_LOCAL)
		return 0;
	path->flags |= service->flags & SERVICE_DSR ? SLOW_PATH_HAND_ON : SLOW_PATH_NODE_SOURCE;
	if (p->hook == DROP_FROM_TUNNEL)
		path->flags |= SLOW_PATH_HANDED_ON;
	return 0;
}

/* Who answers a client outside is decided by the flow's first packet, whatever is known of the
 * client since: the endpoint's node, to which it goes untranslated, or this one. */
static __always_inline void slow_path_keep_handing_on(struct slow_path *path)
{
	path->flags &= ~SLOW_PATH_HAND_ON;
	if (path->fwd.tuple.zone != ZONE_POD && !(path->old.state & FLOW_TRANSLATED))
		path->flags |= SLOW_PATH_HAND_ON;
}

/* Endpoint of a flow that goes to a Service. 0 or -reason. */
static __always_inline int slow_path_service(struct slow_path *path, const struct packet *p,
					     const struct service_entry *service)
{
	const struct flow_tuple *t = &path->fwd.tuple;
	enum service_caller caller;
	struct polder_addr old_dst;
	int result;
	bool local;

	if (!service)
		return path->old.state & FLOW_SERVICE ? -REASON_ENDPOINT_GONE : 0;
	path->flags |= SLOW_PATH_SERVICE;
	if (service->affinity_seconds)
		path->flags |= SLOW_PATH_AFFINITY;
	caller = frontend_caller(path, service);
	result = t->zone == ZONE_POD ? 0 : slow_path_outside(path, p, service, caller);
	if (result)
		return result;
	local = service_is_local(service, caller);
	if (path->old.generation && path->old.state & FLOW_SERVICE) {
		old_dst = p->family == FAMILY_V4 ? addr_from4(path->old.new_daddr_be[0])
						 : addr_from6(path->old.new_daddr_be);
		if (slow_path_stays(path, p, service->id,
				    local ? service->local_count : service->backend_count,
				    &old_dst)) {
			path->new_dst = old_dst;
			path->new_dport_be = path->old.new_dport_be;
			slow_path_keep_handing_on(path);
			return 0;
		}
	}
	/* TCP never moves in mid-stream; a datagram's next one, and a SYN that nobody answered, may
	 * go elsewhere. */
	if (path->flags & SLOW_PATH_REPLY ||
	    (t->proto == IPPROTO_TCP && path->old.generation && !is_syn(p)))
		return -REASON_ENDPOINT_GONE;
	path->old.generation = 0;
	path->service = *service;
	return frontend_choose(path, local);
}

/*
 * May a flow that was there keep its source? The peer knows it by that, and a reply that is on its
 * way has been sent to it: as long as it is what the way gives, or an own address of the uplink
 * that the way leads by. 0 or -reason.
 */
static __always_inline int slow_path_kept_source(struct slow_path *path,
						 const struct egress_route *way)
{
	const struct egress_route *own;
	__u32 ifindex = way->ifindex;

	if (addr_equal(&path->new_src, &way->source))
		return 0;
	if (!(way->source.words_be[0] | way->source.words_be[3]))
		return -REASON_NO_NODE_ADDRESS;
	own = egress_route_find(path, &path->new_src);
	return own && own->ifindex == ifindex && addr_equal(&path->new_src, &own->source)
		       ? 0
		       : -REASON_SOURCE_GONE;
}

/*
 * With which source does the flow leave? Whether it is translated is decided by its first packet.
 * `flags` of the destination's address. 0 or -reason.
 */
static __always_inline int slow_path_masquerade(struct slow_path *path, const struct packet *p,
						const struct egress_route *way, __u32 flags)
{
	int result = 0;

	if (path->old.generation) {
		path->new_src = p->family == FAMILY_V4 ? addr_from4(path->old.new_saddr_be[0])
						       : addr_from6(path->old.new_saddr_be);
		if (addr_equal(&path->new_src, &path->src))
			return 0;
		result = slow_path_kept_source(path, way);
	} else {
		if (!(p->family == FAMILY_V4 ? config.masquerade_v4 : config.masquerade_v6) ||
		    flags & ~ADDRESS_LOCAL)
			return 0;
		path->new_src = way->source;
		if (!(way->source.words_be[0] | way->source.words_be[3]))
			result = -REASON_NO_NODE_ADDRESS;
	}
	path->flags |= SLOW_PATH_MASQUERADE;
	if (result)
		return result;
	return has_port_to_choose(&path->fwd.tuple, p->family) ? 0 : -REASON_NAT_PROTOCOL;
}

/* Back to the wire by the link that a packet came in by. 0 or -reason. */
static __always_inline int slow_path_wire(struct flow_copy *content, __u32 link)
{
	int index = uplink_hop(link);

	if (index < 0)
		return -REASON_NO_ROUTE;
	content->action = FLOW_TO_WIRE;
	content->hop = index;
	return 0;
}

/* To the wire: the uplink, until the kernel has said more. 0 or -reason. */
static __always_inline int slow_path_out(struct slow_path *path, const struct packet *p,
					 __u32 flags)
{
	const struct egress_route *way = egress_route_find(path, &path->new_dst);

	if (!way || !way->ifindex)
		return way && way->reason ? -(int)way->reason : -REASON_NO_ROUTE;
	path->fwd.content.action = FLOW_TO_WIRE;
	path->fwd.content.hop = way->hop;
	return path->fwd.tuple.zone == ZONE_POD ? slow_path_masquerade(path, p, way, flags) : 0;
}

/*
 * Is the address behind a node that `peers` says the way to? Then no route is asked for. A flow
 * that left with an address of this node before goes on as it did.
 */
static __always_inline bool slow_path_to_peer(struct slow_path *path, const struct packet *p,
					      __u32 number)
{
	const struct peer_entry *peer = peer_at(number);
	struct polder_addr old_src;
	__u32 way;

	if (!peer || path->fwd.tuple.zone != ZONE_POD)
		return false;
	way = peer_way(peer, p->family);
	if (path->old.generation) {
		old_src = p->family == FAMILY_V4 ? addr_from4(path->old.new_saddr_be[0])
						 : addr_from6(path->old.new_saddr_be);
		if (!addr_equal(&old_src, &path->src))
			return false;
	}
	path->fwd.content.action = way == PEER_NATIVE_V4 ? FLOW_TO_WIRE : FLOW_TO_TUNNEL;
	path->fwd.content.hop = NEXT_HOP_PEERS + number;
	return way;
}

/* The way out, and whether the source has to be translated. 0 or -reason. */
static __always_inline int slow_path_route(struct slow_path *path, const struct packet *p,
					   const struct address_entry *to)
{
	__u32 flags = to ? to->flags : 0;

	path->fwd.content.hop = 0;
	if (flags & ADDRESS_POD && flags & ADDRESS_LOCAL) {
		path->fwd.content.action = FLOW_TO_POD;
		path->fwd.content.hop = pod_index(to->ifindex);
		return 0;
	}
	if (flags & ADDRESS_NODE && flags & ADDRESS_LOCAL) {
		path->fwd.content.action = FLOW_TO_HOST;
		return 0;
	}
	if (flags & ADDRESS_POD_RANGE && flags & ADDRESS_LOCAL)
		return -REASON_UNKNOWN_POD;
	if (path->fwd.tuple.zone == ZONE_TUNNEL)
		return -REASON_TUNNEL_DESTINATION;
	if (to && to->peer && slow_path_to_peer(path, p, to->peer))
		return 0;
	if (!(path->flags & SLOW_PATH_SERVICE) &&
	    !(flags & (ADDRESS_POD | ADDRESS_POD_RANGE | ADDRESS_NODE)) &&
	    service_has_address(&path->dst))
		return -REASON_NO_SERVICE_PORT;
	return slow_path_out(path, p, flags);
}

/*
 * The pod of this node whose packets the node's stack forwards to another one under an address that
 * is no pod's: the node masquerades. Told by the link they came in by; by a reply, by the pod that
 * the flow's entries count for, which else is the one that is sent to. NULL: it is no pod.
 */
static __always_inline const struct pod_entry *judge_masqueraded(const struct slow_path *path,
								 const struct packet *p)
{
	const struct pod_entry *pod = NULL;

	if (path->flags & SLOW_PATH_REPLY)
		pod = pod_at(path->old.owner);
	else if (p->hook == DROP_TO_POD)
		pod = pod_of_link(p->link);
	if (!pod || !pod->ifindex || path->fwd.content.action != FLOW_TO_POD ||
	    pod_index(pod->ifindex) == path->fwd.content.hop)
		return NULL;
	return pod;
}

/*
 * What peers' pods send by the wire, or by another link through the node's stack: the peer says
 * whether that may be, or the link is the one that it is reached by. What is reached natively by
 * the link is answered that way, and has its MAC address. 0 or -reason.
 */
static __always_inline int slow_path_from_peer(struct slow_path *path, const struct packet *p,
					       __u32 flags, __u32 number)
{
	const struct next_hop *hop = next_hop_at(NEXT_HOP_PEERS + number);
	const struct peer_entry *peer = peer_at(number);
	bool by_its_link;

	if (!peer || !hop)
		return 0;
	if (peer_way(peer, p->family) == PEER_NATIVE_V4)
		path->native_peer = number;
	if (path->flags & SLOW_PATH_REPLY || config.made_packets)
		return 0;
	by_its_link = hop->ifindex == p->link;
	if (p->hook == DROP_FROM_WIRE && path->native_peer && by_its_link && config.peer_mac_check)
		path->flags |= SLOW_PATH_NATIVE;
	/* A node itself asks another one by the wire, whichever way its pods go. */
	if (path->flags & SLOW_PATH_SERVICE && flags & ADDRESS_NODE)
		return 0;
	return peer->flags & PEER_FROM_WIRE || by_its_link ? 0 : -REASON_PEER_SOURCE;
}

/*
 * Has what comes from outside a Service's address? What a pod asks the Service would be its answer,
 * and leave by the wire. An external address may be a machine's own as well: only the ports that
 * are served there are the Service's.
 */
static __always_inline bool slow_path_poses_as_service(const struct slow_path *path)
{
	const struct flow_tuple *t = &path->fwd.tuple;
	const struct service_entry *service = service_find(&path->src, 0, 0);

	if (!service || !(service->flags & SERVICE_EXTERNAL))
		return service;
	return has_service_ports(t->proto) && service_find(&path->src, t->sport_be, t->proto);
}

/*
 * May what has this source come from there? `flags` and `behind` (not ADDRESS_LOCAL: its peer) of
 * the source's entry in `addresses`, 0 if there is none. 0 or -reason. Global: verified once.
 */
__noinline int slow_path_behind(struct packet *p, __u32 flags, __u32 behind)
{
	struct slow_path *path = slow_path_get();

	if (!p || !path)
		return -REASON_INTERNAL;
	/* It was a flow's when that was looked up; now that it is none's it is the stack's. */
	if (path->fwd.content.action == FLOW_TO_HOST && !(path->flags & SLOW_PATH_SERVICE) &&
	    path->fwd.tuple.zone != ZONE_POD)
		return -REASON_FLOW_BUSY;
	if (path->fwd.tuple.zone == ZONE_TUNNEL)
		return peer_sends(path->fwd.tuple.peer, &path->src, flags, behind);
	/* What has an address of this node did not come from the wire. */
	if (flags & ADDRESS_LOCAL)
		return p->hook == DROP_FROM_WIRE && !(path->flags & SLOW_PATH_REPLY)
			       ? -REASON_MARTIAN
			       : 0;
	if (path->fwd.tuple.zone != ZONE_WIRE)
		return 0;
	if (slow_path_poses_as_service(path))
		return -REASON_MARTIAN;
	return behind ? slow_path_from_peer(path, p, flags, behind) : 0;
}

enum sender_mac {
	SENDER_IS_ANOTHER,
	SENDER_IS_PEER,
	SENDER_PEER_UNKNOWN, /* the kernel has no neighbour by the peer's address */
	SENDER_NOT_TOLD,     /* the kernel does not say: no forwarding on the link */
};

/* Is the frame's sender the one that the kernel knows the peer's address by? enum sender_mac or
 * -reason. Global: verified once. */
__noinline int sender_is_peer(packet_context *ctx, struct packet *p, __u32 number)
{
	struct flow_scratch *scratch = flow_scratch_get();
	struct bpf_fib_lookup *fib;
	__u16 mac[3];
	int result;

	if (!p || !scratch)
		return -REASON_INTERNAL;
	fib = &scratch->fib;
	__builtin_memset(fib, 0, sizeof(*fib));
	fib->ifindex = p->link;
	if (!next_hop_towards(number, p->family, fib) ||
	    packet_load(ctx, ETH_ALEN, mac, sizeof(mac)))
		return SENDER_PEER_UNKNOWN;
	result = bpf_fib_lookup(ctx, fib, sizeof(*fib), BPF_FIB_LOOKUP_OUTPUT);
	if (result)
		return result == BPF_FIB_LKUP_RET_NO_NEIGH ? SENDER_PEER_UNKNOWN : SENDER_NOT_TOLD;
	return mac[0] == *(const __u16 *)fib->dmac && mac[1] == *(const __u16 *)(fib->dmac + 2) &&
			       mac[2] == *(const __u16 *)(fib->dmac + 4)
		       ? SENDER_IS_PEER
		       : SENDER_IS_ANOTHER;
}

/*
 * What has to come from a peer natively: who is not known is not there, as the agent keeps peers
 * known. What is handed on to a peer does not come from it: two nodes that do not know the same
 * endpoints yet would send it to and fro. 0 or -reason.
 */
static __always_inline int peer_mac_check(packet_context *ctx, struct packet *p,
					  const struct slow_path *path)
{
	int sender;

	if (path->flags & SLOW_PATH_NATIVE) {
		sender = sender_is_peer(ctx, p, path->native_peer);
		return sender == SENDER_IS_PEER || sender == SENDER_NOT_TOLD ? 0
									     : -REASON_PEER_SOURCE;
	}
	if (path->flags & SLOW_PATH_HAND_ON && path->fwd.content.action == FLOW_TO_WIRE) {
		sender = sender_is_peer(ctx, p, path->fwd.content.hop - NEXT_HOP_PEERS);
		return sender == SENDER_IS_PEER ? -REASON_HANDED_ON : 0;
	}
	return 0;
}

/*
 * The pod that opened the flow, and its identity. What the node's stack forwards from a pod's link
 * is the pod's, with its address or masqueraded: its egress holds on that way too. 0 or -reason.
 */
static __always_inline int slow_path_source(struct slow_path *path, struct flow_verdict *verdict,
					    struct packet *p, __u32 parity,
					    const struct pod_entry **ret)
{
	const struct address_entry *from;
	const struct pod_entry *pod = NULL;
	__u32 flags = 0, link = 0;
	int result;

	if (path->fwd.tuple.zone == ZONE_POD && path->source_link) {
		pod = pod_of_link(path->source_link);
	} else {
		from = address_find(&path->src);
		verdict->source_identity = IDENTITY_WORLD;
		/* Joined with other questions, "is it there?" becomes arithmetic that Linux 6.1
		 * does not follow. */
		if (from) {
			verdict->source_identity = from->identity[parity];
			flags = from->flags;
			link = from->ifindex;
		}
		barrier();
		result = slow_path_behind(p, flags, link);
		if (result)
			return result;
		if (flags & ADDRESS_POD && flags & ADDRESS_LOCAL)
			pod = pod_of_link(link);
		else if (path->fwd.tuple.zone == ZONE_WIRE)
			pod = judge_masqueraded(path, p);
		if (pod)
			path->source_link = pod->ifindex;
	}
	if (pod)
		verdict->source_identity = pod->identity[parity];
	*ret = pod;
	return path->fwd.tuple.zone == ZONE_POD && !pod ? -REASON_NOT_A_POD : 0;
}

/* 0 or -reason. */
static __always_inline int slow_path_egress(struct slow_path *path, struct flow_verdict *verdict,
					    const struct pod_entry *source, __u32 parity)
{
	int reason;

	path->question.ruleset = source->egress_rules[parity];
	path->question.identity = verdict->destination_identity;
	path->question.peer = path->new_dst;
	reason = policy_verdict(&path->question);
	verdict->egress_ruleset = path->question.ruleset; /* its number now */
	verdict->egress_rule = path->question.rule;
	return -reason;
}

/* Asked about the sender as it is: of a pod the address that it has, whatever the node makes of it.
 */
static __always_inline int slow_path_ingress(struct slow_path *path, struct flow_verdict *verdict,
					     const struct pod_entry *source,
					     const struct pod_entry *destination, __u32 parity,
					     __u8 family)
{
	int reason;

	path->question.ruleset = destination->ingress_rules[parity];
	path->question.identity = verdict->source_identity;
	path->question.peer = path->src;
	if (source)
		path->question.peer = family == FAMILY_V4 ? addr_from4(source->ipv4_be)
							  : addr_from6(source->ipv6_be);
	reason = policy_verdict(&path->question);
	verdict->ingress_ruleset = path->question.ruleset; /* its number now */
	verdict->ingress_rule = path->question.rule;
	return reason == REASON_POLICY_EGRESS ? -REASON_POLICY_INGRESS : -reason;
}

/* Egress of the source, ingress of the destination. 0 or -reason. */
static __always_inline int slow_path_policy(struct slow_path *path, struct flow_verdict *verdict,
					    struct packet *p, __u32 parity,
					    const struct address_entry *to)
{
	const struct pod_entry *source = NULL, *destination = NULL;
	int result;

	path->question.to_itself = 0;
	verdict->destination_identity = to ? to->identity[parity] : IDENTITY_WORLD;
	if (path->fwd.content.action == FLOW_TO_POD) {
		destination = pod_at(path->fwd.content.hop);
		if (!destination || !destination->ifindex)
			return -REASON_NOT_READY;
		verdict->destination_identity = destination->identity[parity];
	}
	if (path->fwd.tuple.zone == ZONE_HOST) {
		verdict->source_identity = IDENTITY_HOST;
		return 0; /* NP-18: proven by the path, not by an address */
	}
	result = slow_path_source(path, verdict, p, parity, &source);
	if (result)
		return result;
	/* NP-20: a pod may always reach itself; by way of a Service only as far as NetworkPolicies
	 * go. */
	if (source && destination == source) {
		/* By its own address the answer has a tuple of its own, if the ports differ. */
		if (!(path->flags & SLOW_PATH_SERVICE) &&
		    path->fwd.tuple.sport_be != path->fwd.tuple.dport_be)
			return 0;
		if (path->fwd.tuple.zone == ZONE_POD) {
			path->flags |= SLOW_PATH_HAIRPIN;
			path->new_src = path->dst;
		}
		if (!(path->flags & SLOW_PATH_SERVICE))
			return 0;
		path->question.to_itself = 1;
	}
	path->question.slot = parity;
	path->question.proto = path->fwd.tuple.proto;
	path->question.port_be =
		path->fwd.tuple.proto == IPPROTO_ICMP || path->fwd.tuple.proto == IPPROTO_ICMPV6
			? 0
			: path->new_dport_be;
	result = source ? slow_path_egress(path, verdict, source, parity) : 0;
	return result || !destination
		       ? result
		       : slow_path_ingress(path, verdict, source, destination, parity, p->family);
}

/*
 * Of the node itself, or forwarded by it, and to the wire: the stack has chosen the way, only the
 * source port is of interest here. Its answers come from the wire, by whichever hook. What the
 * node's stack sends to a pod of this node is one flow, by whichever link it leaves: a route may
 * have gone for a moment.
 */
static __always_inline bool slow_path_passes_by(const struct slow_path *path,
						const struct packet *p)
{
	const struct address_entry *to;

	if (path->fwd.tuple.zone != ZONE_HOST)
		return false;
	if (p->tuple.zone == ZONE_WIRE)
		return true;
	if (p->hook != DROP_TO_WIRE)
		return false;
	to = address_find(&path->dst);
	return !to || (to->flags & (ADDRESS_POD | ADDRESS_LOCAL)) != (ADDRESS_POD | ADDRESS_LOCAL);
}

/* Where the flow goes is through the tunnel, or was: what comes from elsewhere than there, as an
 * answer, comes by a way that is not its any more. */
static __always_inline bool slow_path_strays(const struct slow_path *path, const struct packet *p)
{
	const struct flow_copy *out = &path->fwd.content;

	if (!(path->flags & SLOW_PATH_REPLY))
		return false;
	if (out->action == FLOW_TO_TUNNEL)
		return p->tuple.zone != ZONE_TUNNEL || p->tuple.peer + NEXT_HOP_PEERS != out->hop;
	return p->tuple.zone == ZONE_TUNNEL;
}

/* A segment in mid-stream of no known flow may have been another node's to hand on before: it goes
 * where the table says, but begins no flow with an endpoint that does not know it. 0 or -reason. */
static __always_inline int slow_path_frontend_route(struct slow_path *path, const struct packet *p,
						    const struct address_entry *to)
{
	int result = frontend_route(path, p, to);

	if (result || path->flags & (SLOW_PATH_KNOWN | SLOW_PATH_HAND_ON) ||
	    p->tuple.proto != IPPROTO_TCP)
		return result;
	return is_syn(p) ? 0 : -REASON_SERVICE_NO_FLOW;
}

/* Where to, and whether at all. 0 or -reason. */
__noinline int slow_path_decide(struct packet *p)
{
	struct flow_verdict *verdict = flow_verdict_get();
	const struct address_entry *to = NULL;
	const struct service_entry *service;
	struct slow_path *path = slow_path_get();
	bool looked = false;
	int result;

	if (!p || !verdict || !path)
		return -REASON_INTERNAL;
	if (slow_path_passes_by(path, p)) {
		path->flags |= SLOW_PATH_PASSES_BY;
		path->fwd.content.action = FLOW_TO_STACK;
		path->fwd.content.hop = 0;
		return 0;
	}
	service = slow_path_frontend(path, p, &to, &looked);
	result = slow_path_service(path, p, service);
	if (result)
		return result;
	if (!looked || path->flags & SLOW_PATH_SERVICE)
		to = address_find(&path->new_dst);
	if (path->flags & SLOW_PATH_SERVICE && path->fwd.tuple.zone != ZONE_POD)
		result = slow_path_frontend_route(path, p, to);
	else
		result = slow_path_route(path, p, to);
	if (!result && slow_path_strays(path, p))
		result = -REASON_PEER_SOURCE;
	return result ? result : slow_path_policy(path, verdict, p, path->slot & 1, to);
}
