/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The slow path, once per flow and change: Service, endpoint, identities, rule sets, source translation; then both
 * entries of the flow are written.
 */
#pragma once

#include "event.h"
#include "flow.h"
#include "policy.h"
#include "service.h"

#define SNAT_TRIES 64

/* Scratch of one judgement: too large for the stack of a program. */
struct work {
	struct flow_tuple fwd; /* the originator's packets, as they enter */
	struct flow_tuple rev; /* the replies, as they enter */
	struct flow_copy out;  /* content of fwd's entry */
	struct flow_copy back; /* content of rev's entry */
	struct flow_copy old;  /* fwd's translation before the change; generation 0: none */
	struct flow_copy seen; /* for look-ups */
	struct flow_tuple twin;
	struct flow_was was[2]; /* fwd's and rev's entries, before they were written */
	struct policy_question question;
	struct polder_addr src, dst; /* fwd's, untranslated */
	struct polder_addr new_src, new_dst;
	__be16 new_sport_be, new_dport_be;
	__u32 source_link;
	__u32 flags; /* enum work_flag */
};

enum work_flag {
	WORK_SERVICE = 1 << 0,
	WORK_MASQUERADE = 1 << 1,
	WORK_HAIRPIN = 1 << 2,
	WORK_REPLY = 1 << 3, /* the packet at hand is a reply */
	WORK_SOURCE = 1 << 4, /* the source port is chosen here */
};

MAP(works, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct work, 1, 0);

static __always_inline struct work *work_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&works, &zero);
}

/*
 * Global functions, here and below, are verified once and not for each way that leads to them; they also keep
 * the stack of the deepest call low.
 *
 * 1: found, copied.
 */
__noinline int flow_lookup(struct flow_tuple *t, struct flow_copy *copy, __u8 family)
{
	const struct control *control = control_get();

	if (!t || !copy || !control)
		return 0;
	if (family == FAMILY_V4)
		return flow_find(t, flow_hash(t, FAMILY_V4, control), FAMILY_V4, copy) != NULL;
	return flow_find(t, flow_hash(t, FAMILY_V6, control), FAMILY_V6, copy) != NULL;
}

/* enum flow_write_result */
__noinline int flow_store(struct flow_tuple *t, struct flow_copy *content, __u8 family)
{
	const struct control *control = control_get();
	struct work *w = work_get();
	struct flow_place place;
	struct flow_was *was;
	__u32 length;
	int result;

	if (!t || !content || !control || !w)
		return FLOW_FULL;
	was = content->state & FLOW_REPLY ? &w->was[1] : &w->was[0];
	length = !(content->state & FLOW_REPLY) == !(w->flags & WORK_REPLY) ? w->question.length : 0;
	if (family == FAMILY_V4)
		result = flow_write(t, flow_hash(t, FAMILY_V4, control), content, FAMILY_V4, now_ticks(), length, &place,
				    was);
	else
		result = flow_write(t, flow_hash(t, FAMILY_V6, control), content, FAMILY_V6, now_ticks(), length, &place,
				    was);
	if (result == FLOW_WRITTEN && place.evicts)
		count_up(COUNTER_FLOWS_EVICTED);
	return result;
}

/* Tells in was[0] what stood there. */
__noinline int flow_remove(struct flow_tuple *t, __u8 family)
{
	const struct control *control = control_get();
	struct work *w = work_get();

	if (!t || !control || !w)
		return 0;
	w->was[0].kind = WAS_NOT_TOUCHED;
	if (family == FAMILY_V4)
		flow_delete(t, flow_hash(t, FAMILY_V4, control), FAMILY_V4, &w->was[0]);
	else
		flow_delete(t, flow_hash(t, FAMILY_V6, control), FAMILY_V6, &w->was[0]);
	return 0;
}

/*
 * Notes the rules of this judgement beside an entry that was written, and counts for the rules that stood there the packets
 * that were seen under them.
 */
static __always_inline void judge_count_flow(const struct judgement *j, struct flow_was *was, __u8 family)
{
	struct flow_rules_set *rules;
	struct flow_rules *at;
	__u32 set = was->set; /* Linux 6.1 takes a key from the stack only */
	void *flows;

	if (was->kind == WAS_NOT_TOUCHED)
		return;
	rules = family == FAMILY_V4 ? bpf_map_lookup_elem(&flow_rules4, &set) : bpf_map_lookup_elem(&flow_rules6, &set);
	if (!rules)
		return;
	at = &rules->way[was->way & (FLOW_WAYS - 1)];
	if (was->kind == WAS_THIS_FLOW && at->egress_rule == j->egress_rule && at->ingress_rule == j->ingress_rule)
		return;
	if (was->packets) {
		policy_count(at->egress_rule, was->packets, was->bytes);
		policy_count(at->ingress_rule, was->packets, was->bytes);
	}
	at->egress_rule = j->egress_rule;
	at->ingress_rule = j->ingress_rule;
	if (was->kind != WAS_THIS_FLOW)
		return;
	flows = family == FAMILY_V4 ? bpf_map_lookup_elem(&flows4, &set) : bpf_map_lookup_elem(&flows6, &set);
	if (flows) {
		struct flow_head *head = flow_head_of(flow_way(flows, was->way, family), family);

		head->packets -= was->packets;
		head->bytes -= was->bytes;
	}
}

__noinline int judge_count(__u8 family)
{
	struct judgement *j = judgement_get();
	struct work *w = work_get();

	if (!j || !w)
		return 0;
	if (family == FAMILY_V4) {
		judge_count_flow(j, &w->was[0], FAMILY_V4);
		judge_count_flow(j, &w->was[1], FAMILY_V4);
	} else {
		judge_count_flow(j, &w->was[0], FAMILY_V6);
		judge_count_flow(j, &w->was[1], FAMILY_V6);
	}
	return 0;
}

static __always_inline bool tuple_equal(const struct flow_tuple *a, const struct flow_tuple *b, __u8 family)
{
	if (a->words[0] != b->words[0] || a->words[1] != b->words[1])
		return false;
	return family == FAMILY_V4 || (a->words[2] == b->words[2] && a->words[3] == b->words[3] &&
				       a->words[4] == b->words[4]);
}

static __always_inline void copy_set_addrs(struct flow_copy *c, const struct polder_addr *src,
					   const struct polder_addr *dst, __u8 family)
{
	if (family == FAMILY_V4) {
		c->new_saddr_be[0] = src->words_be[3];
		c->new_daddr_be[0] = dst->words_be[3];
	} else {
		__builtin_memcpy(c->new_saddr_be, src, 16);
		__builtin_memcpy(c->new_daddr_be, dst, 16);
	}
}

/* Which way does the packet at hand go in its flow, and what did the flow's entry say before the change? 0 or -reason. */
__noinline int judge_orient(struct packet *p, struct flow_copy *stale)
{
	struct judgement *j = judgement_get();
	struct work *w = work_get();
	struct port_pair reversed;

	if (!p || !stale || !w || !j)
		return -REASON_INTERNAL;
	__builtin_memset(j, 0, sizeof(*j));
	w->flags = 0;
	/*
	 * The start of a TCP flow is its SYN: a later fragment, which shows no flags, opens none; what its first was refused it is
	 * refused. What the host's own stack sends is not doubted.
	 */
	if (!stale->generation && p->tuple.proto == IPPROTO_TCP && p->tuple.zone != ZONE_HOST &&
	    (p->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) != TCP_SYN)
		return -REASON_NO_FLOW;

	w->was[0].kind = w->was[1].kind = WAS_NOT_TOUCHED;
	w->question.length = p->length;
	w->source_link = 0;
	w->out.mtu = 0;
	w->old.generation = 0;
	w->old.state = 0;
	if (!stale->generation) {
		w->fwd = p->tuple;
	} else if (!(stale->state & FLOW_REPLY)) {
		w->fwd = p->tuple;
		w->old = *stale;
	} else {
		w->flags |= WORK_REPLY;
		w->old = *stale;
		flow_twin(&p->tuple, stale, p->family, &w->fwd);
		reversed = ports_reversed(p->tuple.proto, p->tuple.sport_be, p->tuple.dport_be);
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
	w->src = tuple_saddr(&w->fwd, p->family);
	w->dst = tuple_daddr(&w->fwd, p->family);
	w->new_src = w->src;
	w->new_dst = w->dst;
	w->new_sport_be = w->fwd.sport_be;
	w->new_dport_be = w->fwd.dport_be;
	return 0;
}

/* Endpoint of a flow that goes to a Service. 0 or -reason. */
static __always_inline int judge_service(struct work *w, const struct packet *p, __u32 random)
{
	const struct service_entry *service;
	const struct backend *backend;
	struct polder_addr old_dst;
	__u32 member;

	if (w->fwd.proto != IPPROTO_TCP && w->fwd.proto != IPPROTO_UDP)
		return 0;
	service = service_find(&w->dst, w->fwd.dport_be, w->fwd.proto);
	if (!service)
		return w->old.state & FLOW_SERVICE ? -REASON_ENDPOINT_GONE : 0;
	w->flags |= WORK_SERVICE;
	if (w->old.generation && w->old.state & FLOW_SERVICE) {
		old_dst = p->family == FAMILY_V4 ? addr_from4(w->old.new_daddr_be[0])
						 : addr_from6(w->old.new_daddr_be);
		member = service_member(service->id, &old_dst, w->old.new_dport_be);
		if (member == MEMBER_ACTIVE ||
		    (member == MEMBER_TERMINATING &&
		     (w->fwd.proto == IPPROTO_TCP || !service->backend_count))) {
			w->new_dst = old_dst;
			w->new_dport_be = w->old.new_dport_be;
			return 0;
		}
	}
	/* TCP never moves in mid-stream; a datagram's next one may go elsewhere. */
	if (w->fwd.proto == IPPROTO_TCP && w->old.generation)
		return -REASON_ENDPOINT_GONE;
	w->old.generation = 0;
	if (w->flags & WORK_REPLY)
		return -REASON_ENDPOINT_GONE;
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
 * Does the flow leave with the node's address? Decided by its first packet: the peer knows the flow by it, and a reply that is on its
 * way has been sent to it. `flags` of the destination's address.
 */
static __always_inline bool judge_masquerades(const struct work *w, const struct packet *p, __u32 flags)
{
	struct polder_addr old, node = node_addr(p->family);

	if (w->old.generation) {
		old = p->family == FAMILY_V4 ? addr_from4(w->old.new_saddr_be[0]) : addr_from6(w->old.new_saddr_be);
		return addr_equal(&old, &node);
	}
	return (p->family == FAMILY_V4 ? config.masquerade_v4 : config.masquerade_v6) && !(flags & ~ADDRESS_LOCAL);
}

/* The way out, and whether the source has to be translated. 0 or -reason. */
static __always_inline int judge_route(struct work *w, const struct packet *p, const struct address_entry *to)
{
	__u32 flags = to ? to->flags : 0;

	if (flags & ADDRESS_POD && flags & ADDRESS_LOCAL) {
		w->out.action = FLOW_TO_POD;
		w->out.out_ifindex = to->ifindex;
		return 0;
	}
	if (flags & ADDRESS_NODE && flags & ADDRESS_LOCAL) {
		w->out.action = FLOW_TO_HOST;
		w->out.out_ifindex = 0;
		return 0;
	}
	if (flags & ADDRESS_POD_RANGE && flags & ADDRESS_LOCAL)
		return -REASON_UNKNOWN_POD;
	if (!(w->flags & WORK_SERVICE) && !(flags & (ADDRESS_POD | ADDRESS_POD_RANGE | ADDRESS_NODE)) &&
	    service_has_address(&w->dst))
		return -REASON_NO_SERVICE_PORT;
	w->out.action = FLOW_TO_WIRE;
	w->out.out_ifindex = to && to->ifindex ? to->ifindex : config.uplink_ifindex;
	if (!w->out.out_ifindex)
		return -REASON_NO_ROUTE;
	if (w->fwd.zone == ZONE_POD && judge_masquerades(w, p, flags)) {
		w->flags |= WORK_MASQUERADE;
		if (!(p->flags & PACKET_HAS_PORTS) && !(p->flags & PACKET_LATER_FRAGMENT))
			return -REASON_NAT_PROTOCOL;
		if (w->fwd.proto == IPPROTO_SCTP)
			return -REASON_NAT_PROTOCOL; /* its CRC covers the whole packet */
		w->new_src = node_addr(p->family);
	}
	return 0;
}

/* Egress of the source, ingress of the destination. 0 or -reason. */
static __always_inline int judge_policy(struct work *w, struct judgement *j, __u32 parity,
					const struct address_entry *to)
{
	const struct pod_entry *source = NULL, *destination = NULL;
	const struct address_entry *from;
	int reason;

	w->question.to_itself = 0;
	j->destination_identity = to ? to->identity[parity] : IDENTITY_WORLD;
	if (w->fwd.zone == ZONE_HOST) {
		j->source_identity = IDENTITY_HOST;
		return 0; /* NP-18: proven by the path, not by an address */
	}
	if (w->fwd.zone != ZONE_POD || !w->source_link) {
		from = address_find(&w->src);
		j->source_identity = from ? from->identity[parity] : IDENTITY_WORLD;
		w->source_link = from ? from->ifindex : 0;
	}
	if (w->fwd.zone == ZONE_POD) {
		source = pod_of_link(w->source_link);
		if (!source)
			return -REASON_NOT_A_POD;
		j->source_identity = source->identity[parity];
	}
	if (w->out.action == FLOW_TO_POD) {
		destination = pod_of_link(w->out.out_ifindex);
		if (!destination)
			return -REASON_NOT_READY;
		w->out.mtu = destination->mtu;
		j->destination_identity = destination->identity[parity];
		/* NP-20: a pod may always reach itself; by way of a Service only as far as NetworkPolicies go. */
		if (destination == source) {
			w->flags |= WORK_HAIRPIN;
			w->new_src = w->dst;
			if (!(w->flags & WORK_SERVICE))
				return 0;
			w->question.to_itself = 1;
		}
	}
	w->question.slot = parity;
	w->question.proto = w->fwd.proto;
	w->question.port_be = w->fwd.proto == IPPROTO_ICMP || w->fwd.proto == IPPROTO_ICMPV6 ? 0 : w->new_dport_be;
	if (source) {
		w->question.ruleset = source->egress_rules[parity];
		w->question.identity = j->destination_identity;
		w->question.peer = w->new_dst;
		j->egress_ruleset = w->question.ruleset;
		reason = policy_judge(&w->question);
		j->egress_rule = w->question.rule;
		if (reason)
			return -reason;
	}
	if (destination) {
		w->question.ruleset = destination->ingress_rules[parity];
		w->question.identity = j->source_identity;
		w->question.peer = w->src;
		j->ingress_ruleset = w->question.ruleset;
		reason = policy_judge(&w->question);
		j->ingress_rule = w->question.rule;
		if (reason)
			return reason == REASON_POLICY_EGRESS ? -REASON_POLICY_INGRESS : -reason;
	}
	return 0;
}

/* Checksum differences of an entry: what the packet's sums grow by when `content` is applied to `t`. */
static __always_inline void content_diffs(const struct flow_tuple *t, struct flow_copy *content, __u8 family)
{
	__u64 addrs = 0, ports = 0;
	int i;

	if (family == FAMILY_V4) {
		addrs = csum_change32(t->v4.saddr_be, content->new_saddr_be[0]) +
			csum_change32(t->v4.daddr_be, content->new_daddr_be[0]);
	} else {
		for (i = 0; i < 4; i++)
			addrs += csum_change32(t->v6.saddr_be[i], content->new_saddr_be[i]) +
				 csum_change32(t->v6.daddr_be[i], content->new_daddr_be[i]);
	}
	ports = csum_change16(t->sport_be, content->new_sport_be) +
		csum_change16(t->dport_be, content->new_dport_be);
	content->addr_diff = csum_fold16(addrs);
	content->port_diff = csum_fold16(ports);
}

/* The replies' tuple, from fwd and its translation. */
static __always_inline void judge_reply_tuple(struct work *w, __u8 family)
{
	w->out.new_sport_be = w->new_sport_be;
	w->out.new_dport_be = w->new_dport_be;
	copy_set_addrs(&w->out, &w->new_src, &w->new_dst, family);
	flow_twin(&w->fwd, &w->out, family, &w->rev);
}

static __always_inline int contents_fill(struct work *w, __u32 generation, __u8 family)
{
	struct port_pair back = ports_reversed(w->fwd.proto, w->fwd.sport_be, w->fwd.dport_be);
	__u8 keep = w->old.generation ? w->old.state & (FLOW_REPLIED | FLOW_ESTABLISHED | FLOW_FIN_ORIG |
							 FLOW_FIN_REPLY | FLOW_RESET)
				      : 0;

	content_diffs(&w->fwd, &w->out, family);
	if (w->flags & WORK_SERVICE)
		keep |= FLOW_SERVICE;
	if (w->out.new_sport_be != w->fwd.sport_be || w->out.new_dport_be != w->fwd.dport_be ||
	    !addr_equal(&w->new_src, &w->src) || !addr_equal(&w->new_dst, &w->dst))
		keep |= FLOW_TRANSLATED;
	w->out.generation = generation;
	w->out.state = keep;
	w->back.generation = generation;
	w->back.state = keep | FLOW_REPLY;
	/* A reply leaves with fwd's own addresses and ports, changed about. */
	w->back.new_sport_be = back.sport_be;
	w->back.new_dport_be = back.dport_be;
	copy_set_addrs(&w->back, &w->dst, &w->src, family);
	content_diffs(&w->rev, &w->back, family);
	return 0;
}

/* rev and both entries' contents, from fwd and its translation. `generation` was read before any other map. */
__noinline int judge_contents(struct work *w, __u32 generation, __u8 family)
{
	if (!w)
		return 0;
	judge_reply_tuple(w, family);
	return contents_fill(w, generation, family);
}

static __always_inline void judge_way_back(struct work *w, struct __sk_buff *skb)
{
	/* Where the packet came in, also when the node's stack has forwarded it. */
	__u32 link = skb->ingress_ifindex, mtu = 0;

	opaque(link); /* the context is read at fixed offsets only */
	w->back.mtu = 0;
	switch (w->fwd.zone) {
	case ZONE_POD:
		w->back.action = FLOW_TO_POD;
		w->back.out_ifindex = w->source_link;
		break;
	case ZONE_HOST:
		w->back.action = FLOW_TO_HOST;
		w->back.out_ifindex = 0;
		break;
	default:
		w->back.action = FLOW_TO_WIRE;
		w->back.out_ifindex = w->flags & WORK_REPLY ? w->old.out_ifindex : link;
		bpf_check_mtu(skb, w->back.out_ifindex, &mtu, 0, 0);
		w->back.mtu = mtu;
	}
	if (w->out.action == FLOW_TO_WIRE) {
		mtu = 0;
		bpf_check_mtu(skb, w->out.out_ifindex, &mtu, 0, 0);
		w->out.mtu = mtu;
	}
}

/* Does a socket of the node use the port towards the same peer, or listen on it? 1: yes. */
__noinline int node_socket_uses(struct __sk_buff *skb, struct flow_tuple *rev, __u8 family)
{
	struct bpf_sock_tuple t = {};
	struct bpf_sock *sk;
	__u32 size;

	if (!rev)
		return 0;
	if (family == FAMILY_V4) {
		t.ipv4.saddr = rev->v4.saddr_be;
		t.ipv4.daddr = rev->v4.daddr_be;
		t.ipv4.sport = rev->sport_be;
		t.ipv4.dport = rev->dport_be;
		size = sizeof(t.ipv4);
	} else {
		__builtin_memcpy(t.ipv6.saddr, rev->v6.saddr_be, 32);
		t.ipv6.sport = rev->sport_be;
		t.ipv6.dport = rev->dport_be;
		size = sizeof(t.ipv6);
	}
	if (rev->proto == IPPROTO_TCP)
		sk = bpf_skc_lookup_tcp(skb, &t, size, BPF_F_CURRENT_NETNS, 0);
	else if (rev->proto == IPPROTO_UDP)
		sk = bpf_sk_lookup_udp(skb, &t, size, BPF_F_CURRENT_NETNS, 0);
	else
		return 0;
	if (!sk)
		return 0;
	bpf_sk_release(sk);
	return 1;
}

/* Is the replies' tuple free, or ours already? 1: yes. */
static __always_inline int reply_tuple_free(struct work *w, __u8 family)
{
	if (!flow_lookup(&w->rev, &w->seen, family) || flow_closed(w->seen.state) ||
	    flow_age(now_ticks(), w->seen.last) > flow_timeout(w->rev.proto, w->seen.state))
		return 1;
	flow_twin(&w->rev, &w->seen, family, &w->twin);
	return tuple_equal(&w->twin, &w->fwd, family);
}

/* Two CPUs may take one port at once: whoever then sees another entry of the tuple takes its own back. */
static __always_inline int tuple_doubled(const struct flow_tuple *t, __u64 hash, __u8 family)
{
	void *set = flow_set(hash, 0, family);
	__u64 count = 0;
	__u32 i;

	for (i = 0; i < 2 * FLOW_WAYS; i++) {
		if (i == FLOW_WAYS)
			set = flow_set(hash, 1, family);
		if (!set)
			return 0;
		if (flow_key_equal(flow_way(set, i, family), t, family) &&
		    flow_head_of(flow_way(set, i, family), family)->generation)
			count++;
		forget(count, hash);
	}
	/* Both hashes may name the same set. */
	return flow_set(hash, 0, family) == flow_set(hash, 1, family) ? count > 2 : count > 1;
}

/* 1: yes. */
__noinline int reply_tuple_doubled(struct flow_tuple *t, __u8 family)
{
	const struct control *control = control_get();

	if (!t || !control)
		return 0;
	return family == FAMILY_V4 ? tuple_doubled(t, flow_hash(t, FAMILY_V4, control), FAMILY_V4)
				   : tuple_doubled(t, flow_hash(t, FAMILY_V6, control), FAMILY_V6);
}

/* Tries one source port (ICMP: identifier) for the flow in works[0]. 1: taken and written, 0: try another. */
__noinline int snat_try(struct __sk_buff *skb, __u32 port, __u32 generation, __u8 family)
{
	struct work *w = work_get();

	if (!w)
		return 0;
	w->new_sport_be = bpf_htons(port);
	judge_contents(w, generation, family);
	if (!reply_tuple_free(w, family) ||
	    (w->flags & WORK_MASQUERADE && node_socket_uses(skb, &w->rev, family))) {
		count_up(COUNTER_NAT_RETRIES);
		return 0;
	}
	if (flow_store(&w->rev, &w->back, family) != FLOW_WRITTEN)
		return 0;
	if (reply_tuple_doubled(&w->rev, family)) {
		flow_remove(&w->rev, family);
		return 0;
	}
	count_up(COUNTER_NAT_ALLOCATED);
	return 1;
}

/* A source port of the range, with rev's entry written. 0 or -reason. */
__noinline int judge_snat(struct __sk_buff *skb, __u32 generation, __u8 family)
{
	__u32 first = config.masquerade_port_min;
	__u32 count = config.masquerade_port_max - first + 1;
	__u32 at = bpf_get_prandom_u32() >> 1;
	struct work *w = work_get();
	__u32 i;

	if (!w)
		return -REASON_INTERNAL;
	if (w->old.generation && w->old.state & FLOW_TRANSLATED &&
	    snat_try(skb, bpf_ntohs(w->old.new_sport_be), generation, family))
		return 0;
	/* Without masquerade the sender's own port is the first choice. */
	if (!(w->flags & WORK_MASQUERADE) && snat_try(skb, bpf_ntohs(w->fwd.sport_be), generation, family))
		return 0;
	for (i = 0; i < SNAT_TRIES && i < count; i++)
		if (snat_try(skb, first + (at + i) % count, generation, family))
			return 0;
	return -REASON_NAT_PORTS;
}

/* Both entries' contents. 1 if the source port has to be chosen and WORK_SOURCE is set, 0 if not, or -reason. */
__noinline int judge_prepare(struct __sk_buff *skb, __u32 generation, __u8 family)
{
	struct work *w = work_get();

	if (!w)
		return -REASON_INTERNAL;
	judge_way_back(w, skb);
	judge_contents(w, generation, family);
	if (!(w->flags & (WORK_MASQUERADE | WORK_HAIRPIN)) && reply_tuple_free(w, family))
		return 0;
	if (w->fwd.proto != IPPROTO_TCP && w->fwd.proto != IPPROTO_UDP && w->fwd.proto != IPPROTO_ICMP &&
	    w->fwd.proto != IPPROTO_ICMPV6)
		return -REASON_NAT_PROTOCOL;
	w->flags |= WORK_SOURCE;
	return 1;
}

/* Writes both entries; rev's stands already if its port was chosen. 0 or -reason. */
__noinline int judge_store(__u32 generation, __u8 family)
{
	struct work *w = work_get();

	if (!w)
		return -REASON_INTERNAL;
	if (w->flags & WORK_SOURCE)
		judge_contents(w, generation, family);
	else if (flow_store(&w->rev, &w->back, family) == FLOW_FULL)
		return -REASON_FLOW_TABLE_FULL;
	if (flow_store(&w->fwd, &w->out, family) == FLOW_FULL) {
		flow_remove(&w->rev, family);
		return -REASON_FLOW_TABLE_FULL;
	}
	judge_count(family);
	return 0;
}

/* What was allowed before and is not now leaves no entry behind. */
__noinline int judge_forget(struct packet *p, struct flow_copy *stale)
{
	struct work *w = work_get();

	if (!p || !stale || !w)
		return 0;
	flow_twin(&p->tuple, stale, p->family, &w->rev);
	flow_remove(&p->tuple, p->family);
	w->was[1] = w->was[0];
	w->was[0].kind = WAS_NOT_TOUCHED;
	/* The other direction may belong to a newer flow by now. */
	if (flow_lookup(&w->rev, &w->seen, p->family)) {
		flow_twin(&w->rev, &w->seen, p->family, &w->twin);
		if (tuple_equal(&w->twin, &p->tuple, p->family))
			flow_remove(&w->rev, p->family);
	}
	return judge_count(p->family);
}

/* Where to, and whether at all. 0 or -reason. `parity` of the generation. */
__noinline int judge_decide(struct packet *p, __u32 parity)
{
	struct judgement *j = judgement_get();
	const struct address_entry *to;
	struct work *w = work_get();
	int result = 0;

	if (!p || !j || !w)
		return -REASON_INTERNAL;
	if (w->fwd.zone == ZONE_POD)
		result = judge_service(w, p, bpf_get_prandom_u32());
	if (result)
		return result;
	to = address_find(&w->new_dst);
	result = judge_route(w, p, to);
	return result ? result : judge_policy(w, j, parity & 1, to);
}

/* Tells of a new flow, where somebody listens. */
__noinline int judge_tell(struct __sk_buff *skb, struct packet *p)
{
	const struct control *control = control_get();

	if (p && control && control->events & EVENT_MASK_FLOWS)
		event_send(control, skb->ifindex, p, EVENT_FLOW, VERDICT_ALLOW, REASON_NONE);
	return 0;
}

static __always_inline bool denied_by_policy(int reason)
{
	return reason == REASON_POLICY_EGRESS || reason == REASON_POLICY_INGRESS || reason == REASON_NOT_READY ||
	       reason == REASON_POLICY_CAPACITY;
}

/*
 * Judges the packet's flow. `flow` holds the entry that was found and is out of date (generation 0: none); on success it holds
 * what applies to this packet. 0 or -reason; judgements[0] tells what was found either way.
 */
__noinline int judge(struct __sk_buff *skb, struct packet *p, struct flow_copy *flow)
{
	const struct control *control = control_get();
	struct judgement *j = judgement_get();
	struct work *w = work_get();
	__u32 generation;
	int result;

	if (!p || !j || !flow || !w || !control)
		return -REASON_INTERNAL;
	generation = READ_ONCE(control->generation);
	barrier();
	result = judge_orient(p, flow);
	/* The address of a pod's own packet has been checked: it is that of the pod behind the link. */
	if (p->tuple.zone == ZONE_POD && !(w->flags & WORK_REPLY))
		w->source_link = skb->ifindex;
	if (!result)
		result = judge_decide(p, generation & 1);
	if (!result)
		result = judge_prepare(skb, generation, p->family);
	if (result > 0)
		result = judge_snat(skb, generation, p->family);
	if (!result)
		result = judge_store(generation, p->family);
	p->judged = 1;
	if (w->flags & WORK_SERVICE) {
		j->backend = w->new_dst;
		j->backend_port_be = w->new_dport_be;
	}
	j->reason = -result;
	if (result) {
		/* What one rule allowed has no flow to be counted in. */
		if (result != -REASON_POLICY_EGRESS && j->egress_rule)
			policy_count(j->egress_rule, 1, p->length);
		if (result != -REASON_POLICY_INGRESS && j->ingress_rule)
			policy_count(j->ingress_rule, 1, p->length);
		/* What policy denies now it may allow again: the flow stays known, to be judged at every packet. */
		if (flow->generation && !denied_by_policy(-result))
			judge_forget(p, flow);
		return result;
	}
	count_up(flow->generation ? COUNTER_FLOWS_REJUDGED : COUNTER_FLOWS_CREATED);
	if (!flow->generation)
		judge_tell(skb, p);
	*flow = w->flags & WORK_REPLY ? w->back : w->out;
	return 0;
}
