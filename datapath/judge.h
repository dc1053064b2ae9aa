/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The slow path, once per flow and change: which way the packet goes in its flow, Service,
 * endpoint, way out, identities, rule sets. What comes of it is put in force by flow_pair.h.
 */
#pragma once

#include "event.h"
#include "next_hop.h"
#include "service.h"

/* Scratch of one judgement: too large for the stack of a program. */
struct work {
	struct flow_side fwd;	/* the originator's packets, as they enter */
	struct flow_side rev;	/* the replies, as they enter */
	struct flow_copy old;	/* fwd's translation before the change; generation 0: none */
	struct flow_copy other; /* for look-ups */
	struct flow_tuple twin;
	struct policy_question question;
	struct polder_addr src, dst; /* fwd's, untranslated */
	struct polder_addr new_src, new_dst;
	__be16 new_sport_be, new_dport_be;
	__u32 source_link; /* of the pod that opened the flow; 0: none is known */
	__u32 flags;	   /* enum work_flag */
	union {
		struct {
			__u32 generation; /* of the judgement */
			__u32 slot;	  /* that it reads */
		};
		__u64 in_force; /* both, as control has them: read before any other map */
	};
	__u32 port_at; /* of the search for a source port: where it began */
	__u32 port_tries;
	__u32 port_linger; /* ports of flows that are as good as over are taken too */
};

enum work_flag {
	WORK_SERVICE = 1 << 0,
	WORK_MASQUERADE = 1 << 1,
	WORK_HAIRPIN = 1 << 2,
	WORK_REPLY = 1 << 3,	  /* the packet at hand is a reply */
	WORK_KNOWN = 1 << 5,	  /* the flow was in the table */
	WORK_OVER_SHARE = 1 << 4, /* a new entry takes the place of one of the same pod, or none */
};

MAP(works, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct work, 1, 0);

static __always_inline struct work *work_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&works, &zero);
}

/* The start of a connection. */
static __always_inline bool is_syn(const struct packet *p)
{
	return (p->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN;
}

/* fwd's translation before the change, from the entry of its replies. */
static __always_inline void old_from_reply(struct work *w, const struct packet *p,
					   const struct flow_copy *stale)
{
	struct port_pair reversed =
		ports_reversed(p->tuple.proto, p->tuple.sport_be, p->tuple.dport_be);

	flow_twin(&p->tuple, stale, p->family, &w->fwd.tuple);
	w->old.new_sport_be = reversed.sport_be;
	w->old.new_dport_be = reversed.dport_be;
	if (p->family == FAMILY_V4) {
		w->old.new_saddr_be[0] = p->tuple.v4.daddr_be;
		w->old.new_daddr_be[0] = p->tuple.v4.saddr_be;
	} else {
		__builtin_memcpy(w->old.new_saddr_be, p->tuple.v6.daddr_be, 16);
		__builtin_memcpy(w->old.new_daddr_be, p->tuple.v6.saddr_be, 16);
	}
}

/* Which way does the packet at hand go in its flow, and what did the flow's entry say before the
 * change? 0 or -reason. */
__noinline int judge_orient(struct packet *p, struct flow_copy *stale)
{
	struct judgement *j = judgement_get();
	struct work *w = work_get();

	if (!p || !stale || !w || !j)
		return -REASON_INTERNAL;
	__builtin_memset(j, 0, sizeof(*j));
	w->flags = 0;
	/*
	 * The start of a TCP flow is its SYN: a later fragment, which shows no flags, opens none;
	 * what its first was refused it is refused. What the host's own stack sends is not doubted.
	 */
	if (!stale->generation && p->tuple.proto == IPPROTO_TCP && p->tuple.zone != ZONE_HOST &&
	    !is_syn(p))
		return -REASON_NO_FLOW;
	w->question.length = p->length;
	w->source_link = p->tuple.zone == ZONE_POD ? p->link : 0;
	w->fwd.place.kind = w->rev.place.kind = PLACE_NONE;
	w->fwd.seen.generation = w->rev.seen.generation = 0;
	w->old.generation = 0;
	w->old.state = 0;
	if (stale->generation) {
		w->flags |= WORK_KNOWN;
		w->old = *stale;
	}
	if (stale->generation && stale->state & FLOW_REPLY) {
		w->flags |= WORK_REPLY;
		w->source_link = 0;
		old_from_reply(w, p, stale);
	} else {
		w->fwd.tuple = p->tuple;
	}
	w->src = tuple_saddr(&w->fwd.tuple, p->family);
	w->dst = tuple_daddr(&w->fwd.tuple, p->family);
	w->new_src = w->src;
	w->new_dst = w->dst;
	w->new_sport_be = w->fwd.tuple.sport_be;
	w->new_dport_be = w->fwd.tuple.dport_be;
	return 0;
}

/* May the flow stay with the endpoint it has? A connection that only begins goes to one that takes
 * new ones. */
static __always_inline bool judge_stays(const struct work *w, const struct packet *p,
					const struct service_entry *service,
					const struct polder_addr *endpoint)
{
	__u32 member = service_member(service->id, endpoint, w->old.new_dport_be);

	if (member == MEMBER_ACTIVE)
		return true;
	if (member != MEMBER_TERMINATING)
		return false;
	return w->fwd.tuple.proto == IPPROTO_TCP ? w->flags & WORK_REPLY || !is_syn(p)
						 : !service->backend_count;
}

/* Endpoint of a flow that goes to a Service. 0 or -reason. */
static __always_inline int judge_service(struct work *w, const struct packet *p, __u32 random)
{
	const struct flow_tuple *t = &w->fwd.tuple;
	const struct service_entry *service;
	const struct backend *backend;
	struct polder_addr old_dst;

	if (t->proto != IPPROTO_TCP && t->proto != IPPROTO_UDP)
		return 0;
	service = service_find(&w->dst, t->dport_be, t->proto);
	if (!service)
		return w->old.state & FLOW_SERVICE ? -REASON_ENDPOINT_GONE : 0;
	w->flags |= WORK_SERVICE;
	if (w->old.generation && w->old.state & FLOW_SERVICE) {
		old_dst = p->family == FAMILY_V4 ? addr_from4(w->old.new_daddr_be[0])
						 : addr_from6(w->old.new_daddr_be);
		if (judge_stays(w, p, service, &old_dst)) {
			w->new_dst = old_dst;
			w->new_dport_be = w->old.new_dport_be;
			return 0;
		}
	}
	/* TCP never moves in mid-stream; a datagram's next one, and a SYN that nobody answered, may
	 * go elsewhere. */
	if (w->flags & WORK_REPLY || (t->proto == IPPROTO_TCP && w->old.generation && !is_syn(p)))
		return -REASON_ENDPOINT_GONE;
	w->old.generation = 0;
	backend = service_pick(service, random);
	if (!backend)
		return -REASON_NO_ENDPOINT;
	w->new_dst = backend->addr;
	w->new_dport_be = backend->port_be;
	return 0;
}

static __always_inline struct polder_addr node_addr(__u8 family)
{
	struct polder_addr node = {};

	if (family == FAMILY_V4)
		return addr_from4(config.node_ipv4_be);
	copy_addr6(node.words_be, config.node_ipv6_be);
	return node;
}

/*
 * Does the flow leave with the node's address? Decided by its first packet: the peer knows the flow
 * by it, and a reply that is on its way has been sent to it. `flags` of the destination's address.
 */
static __always_inline bool judge_masquerades(const struct work *w, const struct packet *p,
					      __u32 flags)
{
	struct polder_addr old, node = node_addr(p->family);

	if (w->old.generation) {
		old = p->family == FAMILY_V4 ? addr_from4(w->old.new_saddr_be[0])
					     : addr_from6(w->old.new_saddr_be);
		return addr_equal(&old, &node);
	}
	return (p->family == FAMILY_V4 ? config.masquerade_v4 : config.masquerade_v6) &&
	       !(flags & ~ADDRESS_LOCAL);
}

/* To the wire: the uplink, until the kernel has said more. The way of before stays if it is by the
 * same uplink. 0 or -reason. */
static __always_inline int judge_wire(struct flow_copy *content, __u32 link)
{
	int place = uplink_hop(link);

	if (place < 0)
		return -REASON_NO_ROUTE;
	content->action = FLOW_TO_WIRE;
	content->hop = place;
	return 0;
}

/*
 * Can the source port (ICMP: identifier) be another? SCTP's CRC covers the whole packet; the other
 * family's ICMP is a protocol without ports.
 */
static __always_inline bool has_port_to_choose(const struct flow_tuple *t, __u8 family)
{
	switch (t->proto) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
		return true;
	case IPPROTO_ICMP:
		return family == FAMILY_V4 && (t->dport_be == bpf_htons(ICMP_ECHO << 8) ||
					       t->dport_be == bpf_htons(ICMP_ECHO_REPLY << 8));
	case IPPROTO_ICMPV6:
		return family == FAMILY_V6 && (t->dport_be == bpf_htons(ICMP6_ECHO << 8) ||
					       t->dport_be == bpf_htons(ICMP6_ECHO_REPLY << 8));
	default:
		return false;
	}
}

/* The way out, and whether the source has to be translated. 0 or -reason. */
static __always_inline int judge_route(struct work *w, const struct packet *p,
				       const struct address_entry *to)
{
	__u32 flags = to ? to->flags : 0;
	int result;

	w->fwd.content.hop = 0;
	if (flags & ADDRESS_POD && flags & ADDRESS_LOCAL) {
		w->fwd.content.action = FLOW_TO_POD;
		w->fwd.content.hop = pod_place(to->ifindex);
		return 0;
	}
	if (flags & ADDRESS_NODE && flags & ADDRESS_LOCAL) {
		w->fwd.content.action = FLOW_TO_HOST;
		return 0;
	}
	if (flags & ADDRESS_POD_RANGE && flags & ADDRESS_LOCAL)
		return -REASON_UNKNOWN_POD;
	if (!(w->flags & WORK_SERVICE) &&
	    !(flags & (ADDRESS_POD | ADDRESS_POD_RANGE | ADDRESS_NODE)) &&
	    service_has_address(&w->dst))
		return -REASON_NO_SERVICE_PORT;
	result = judge_wire(&w->fwd.content, to ? to->ifindex : 0);
	if (result)
		return result;
	if (w->fwd.tuple.zone == ZONE_POD && judge_masquerades(w, p, flags)) {
		w->flags |= WORK_MASQUERADE;
		if (!has_port_to_choose(&w->fwd.tuple, p->family))
			return -REASON_NAT_PROTOCOL;
		w->new_src = node_addr(p->family);
	}
	return 0;
}

/*
 * The pod of this node whose packets the node's stack forwards to another one under an address that
 * is no pod's: the node masquerades. Told by the link they came in by; by a reply, by the pod that
 * the flow's entries count for, which else is the one that is sent to. NULL: it is no pod.
 */
static __always_inline const struct pod_entry *judge_masqueraded(const struct work *w,
								 const struct packet *p)
{
	const struct pod_entry *pod = NULL;

	if (w->flags & WORK_REPLY)
		pod = pod_at(w->old.owner);
	else if (p->direction == DROP_TO_POD)
		pod = pod_of_link(p->link);
	if (!pod || !pod->ifindex || w->fwd.content.action != FLOW_TO_POD ||
	    pod_place(pod->ifindex) == w->fwd.content.hop)
		return NULL;
	return pod;
}

/*
 * The pod that opened the flow, and its identity. What the node's stack forwards from a pod's link
 * is the pod's, with its address or masqueraded: its egress holds on that way too. 0 or -reason.
 */
static __always_inline int judge_source(struct work *w, struct judgement *j, const struct packet *p,
					__u32 parity, const struct pod_entry **ret)
{
	const struct address_entry *from;
	const struct pod_entry *pod = NULL;
	__u32 flags = 0, link = 0;

	if (w->fwd.tuple.zone == ZONE_POD && w->source_link) {
		pod = pod_of_link(w->source_link);
	} else {
		from = address_find(&w->src);
		j->source_identity = IDENTITY_WORLD;
		/* Joined with other questions, "is it there?" becomes arithmetic that Linux 6.1
		 * does not follow. */
		if (from) {
			j->source_identity = from->identity[parity];
			flags = from->flags;
			link = from->ifindex;
		}
		barrier();
		/* What has an address of this node did not come from the wire. */
		if (p->direction == DROP_FROM_WIRE && !(w->flags & WORK_REPLY) &&
		    flags & ADDRESS_LOCAL)
			return -REASON_MARTIAN;
		if (flags & ADDRESS_POD && flags & ADDRESS_LOCAL)
			pod = pod_of_link(link);
		else if (w->fwd.tuple.zone == ZONE_WIRE)
			pod = judge_masqueraded(w, p);
		if (pod)
			w->source_link = pod->ifindex;
	}
	if (pod)
		j->source_identity = pod->identity[parity];
	*ret = pod;
	return w->fwd.tuple.zone == ZONE_POD && !pod ? -REASON_NOT_A_POD : 0;
}

/* 0 or -reason. */
static __always_inline int judge_egress(struct work *w, struct judgement *j,
					const struct pod_entry *source, __u32 parity)
{
	int reason;

	w->question.ruleset = source->egress_rules[parity];
	w->question.identity = j->destination_identity;
	w->question.peer = w->new_dst;
	reason = policy_judge(&w->question);
	j->egress_ruleset = w->question.ruleset; /* its number now */
	j->egress_rule = w->question.rule;
	return -reason;
}

/* Asked about the sender as it is: of a pod the address that it has, whatever the node makes of it.
 */
static __always_inline int judge_ingress(struct work *w, struct judgement *j,
					 const struct pod_entry *source,
					 const struct pod_entry *destination, __u32 parity,
					 __u8 family)
{
	int reason;

	w->question.ruleset = destination->ingress_rules[parity];
	w->question.identity = j->source_identity;
	w->question.peer = w->src;
	if (source)
		w->question.peer = family == FAMILY_V4 ? addr_from4(source->ipv4_be)
						       : addr_from6(source->ipv6_be);
	reason = policy_judge(&w->question);
	j->ingress_ruleset = w->question.ruleset; /* its number now */
	j->ingress_rule = w->question.rule;
	return reason == REASON_POLICY_EGRESS ? -REASON_POLICY_INGRESS : -reason;
}

/* Egress of the source, ingress of the destination. 0 or -reason. */
static __always_inline int judge_policy(struct work *w, struct judgement *j, const struct packet *p,
					__u32 parity, const struct address_entry *to)
{
	const struct pod_entry *source = NULL, *destination = NULL;
	int result;

	w->question.to_itself = 0;
	j->destination_identity = to ? to->identity[parity] : IDENTITY_WORLD;
	if (w->fwd.content.action == FLOW_TO_POD) {
		destination = pod_at(w->fwd.content.hop);
		if (!destination || !destination->ifindex)
			return -REASON_NOT_READY;
		j->destination_identity = destination->identity[parity];
	}
	if (w->fwd.tuple.zone == ZONE_HOST) {
		j->source_identity = IDENTITY_HOST;
		return 0; /* NP-18: proven by the path, not by an address */
	}
	result = judge_source(w, j, p, parity, &source);
	if (result)
		return result;
	/* NP-20: a pod may always reach itself; by way of a Service only as far as NetworkPolicies
	 * go. */
	if (source && destination == source) {
		if (w->fwd.tuple.zone == ZONE_POD) {
			w->flags |= WORK_HAIRPIN;
			w->new_src = w->dst;
		}
		if (!(w->flags & WORK_SERVICE))
			return 0;
		w->question.to_itself = 1;
	}
	w->question.slot = parity;
	w->question.proto = w->fwd.tuple.proto;
	w->question.port_be =
		w->fwd.tuple.proto == IPPROTO_ICMP || w->fwd.tuple.proto == IPPROTO_ICMPV6
			? 0
			: w->new_dport_be;
	result = source ? judge_egress(w, j, source, parity) : 0;
	return result || !destination ? result
				      : judge_ingress(w, j, source, destination, parity, p->family);
}

/* Where to, and whether at all. 0 or -reason. */
__noinline int judge_decide(struct packet *p)
{
	struct judgement *j = judgement_get();
	const struct address_entry *to;
	struct work *w = work_get();
	int result = 0;

	if (!p || !j || !w)
		return -REASON_INTERNAL;
	if (w->fwd.tuple.zone == ZONE_POD)
		result = judge_service(w, p, bpf_get_prandom_u32());
	if (result)
		return result;
	to = address_find(&w->new_dst);
	result = judge_route(w, p, to);
	return result ? result : judge_policy(w, j, p, w->slot & 1, to);
}
