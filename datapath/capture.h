/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Programs that capture: each object has a second entry program, of the same functions, that tells
 * of each packet what it was, what was decided and what it has become. It stands on the links in
 * place of the first only while somebody captures; of the first one no instruction differs. What is
 * done here decides nothing.
 */
#pragma once

#include "event.h"
#include "flow_rules.h"

#include "capture_abi.h"

/* Not read-only: Linux 6.1 passes no pointer into a read-only map to a global function. */
MAP(capture_filters, BPF_MAP_TYPE_ARRAY, __u32, struct capture_filter, CAPTURES_MAX, 0);

/* Each made by who reads it, with a ring for each CPU. */
struct capture_ring {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, CAPTURES_MAX);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
	__array(values, struct capture_ring);
} capture_rings SEC(".maps");

MAP(capture_lost, BPF_MAP_TYPE_PERCPU_HASH, struct capture_place, __u64, CAPTURE_PLACES,
    BPF_F_NO_PREALLOC);

/* What filters look at: Ethernet and IP header, ports. */
#define CAPTURE_OUTLINE 64
struct capture_look {
	__u8 bytes[CAPTURE_OUTLINE];
};

/* Of the packet at hand on this CPU. */
struct capture_scratch {
	struct capture_record record;
	struct capture_look after;
	/* A bit for each capture. */
	__u32 concerned; /* may want the packet, whatever it is */
	__u32 wanted;	 /* wants it as it came */
};
MAP(capture_scratches, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct capture_scratch, 1, 0);

static __always_inline struct capture_scratch *capture_scratch_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&capture_scratches, &zero);
}

/* The first bytes of the frame, `most` of them at most. Returns how many. */
static __always_inline __u32 capture_load(packet_context *ctx, __u8 *to, __u32 length,
					  const __u32 most)
{
	__u32 last = (length < most ? length : most) - 1;

	/* Linux 6.1 learns from comparisons with a greater number, not from those with 0. */
	opaque(last);
	if (last >= most || packet_load(ctx, 0, to, last + 1))
		return 0;
	return last + 1;
}

/* The same for what filters look at: word by word where it lies in one piece, as nearly always,
 * without a call of the kernel. `to` is aligned to words. */
static __always_inline __u32 capture_look_at(packet_context *ctx, void *to, __u32 length)
{
	const __u64 *from = (const void *)(long)ctx->data;
	const void *end = (const void *)(long)ctx->data_end;
	__u64 *words = to;

	if ((const void *)(from + CAPTURE_OUTLINE / sizeof(*from)) > end)
		return capture_load(ctx, to, length, CAPTURE_OUTLINE);
	for (__u32 i = 0; i < CAPTURE_OUTLINE / sizeof(*from); i++)
		words[i] = from[i];
	return CAPTURE_OUTLINE;
}

/* ------------------------------------------------------------------ filters */

/* What a frame's first bytes say. */
struct capture_outline {
	const __u8 *source, *destination; /* addresses in the frame */
	const __u8 *ports;		  /* what stands where TCP, UDP and SCTP have them */
	__u8 family;			  /* 0: not IP */
	__u8 proto;
	__u8 plain; /* no option, extension header or later fragment hides the ports */
};

static __always_inline void capture_outline_of(const __u8 *head, __u32 length,
					       struct capture_outline *o)
{
	const struct ipv4_header *ip4 = (const void *)(head + ETH_HLEN);
	const struct ipv6_header *ip6 = (const void *)(head + ETH_HLEN);
	__be16 kind = frame_kind(head);

	o->family = 0;
	if (kind == bpf_htons(ETH_P_IP) && length >= ETH_HLEN + sizeof(*ip4) + 4) {
		o->family = FAMILY_V4;
		o->proto = ip4->proto;
		o->source = (const __u8 *)&ip4->saddr_be;
		o->destination = (const __u8 *)&ip4->daddr_be;
		o->ports = (const __u8 *)(ip4 + 1);
		o->plain = ip4->version_ihl == 0x45 &&
			   !(ip4->fragment_be & bpf_htons(IPV4_OFFSET_MASK));
	} else if (kind == bpf_htons(ETH_P_IPV6) && length >= ETH_HLEN + sizeof(*ip6) + 4) {
		o->family = FAMILY_V6;
		o->proto = ip6->next;
		o->source = (const __u8 *)ip6->saddr_be;
		o->destination = (const __u8 *)ip6->daddr_be;
		o->ports = (const __u8 *)(ip6 + 1);
		o->plain = o->proto == IPPROTO_TCP || o->proto == IPPROTO_UDP ||
			   o->proto == IPPROTO_SCTP || o->proto == IPPROTO_ICMPV6;
	}
}

static __always_inline void capture_address(const __u8 *at, __u8 family, struct polder_addr *ret)
{
	if (family == FAMILY_V6) {
		__builtin_memcpy(ret, at, 16);
		return;
	}
	__builtin_memset(ret, 0, sizeof(*ret));
	ret->words_be[2] = bpf_htonl(0xffff);
	__builtin_memcpy(&ret->words_be[3], at, 4);
}

static __always_inline bool capture_in_net(const struct polder_addr *a,
					   const struct capture_net *net)
{
	return !(((a->words_be[0] & net->mask.words_be[0]) ^ net->addr.words_be[0]) |
		 ((a->words_be[1] & net->mask.words_be[1]) ^ net->addr.words_be[1]) |
		 ((a->words_be[2] & net->mask.words_be[2]) ^ net->addr.words_be[2]) |
		 ((a->words_be[3] & net->mask.words_be[3]) ^ net->addr.words_be[3]));
}

static __always_inline bool capture_nets_match(const struct capture_filter *f,
					       const struct polder_addr *source,
					       const struct polder_addr *destination)
{
	for (int i = 0; i < CAPTURE_NETS && i < f->net_count; i++) {
		const struct capture_net *net = &f->nets[i];

		if (!(net->sides & CAPTURE_SOURCE && capture_in_net(source, net)) &&
		    !(net->sides & CAPTURE_DESTINATION && capture_in_net(destination, net)))
			return false;
	}
	return true;
}

static __always_inline bool capture_addresses_match(const struct capture_filter *f,
						    const struct capture_outline *o)
{
	struct polder_addr source, destination;
	bool is_pods = !f->pod_count;

	if (is_pods && !f->net_count)
		return true;
	capture_address(o->source, o->family, &source);
	capture_address(o->destination, o->family, &destination);
	for (int i = 0; i < 2; i++)
		if (i < f->pod_count &&
		    (addr_equal(&source, &f->pods[i]) || addr_equal(&destination, &f->pods[i])))
			is_pods = true;
	return is_pods && capture_nets_match(f, &source, &destination);
}

static __always_inline bool capture_ports_match(const struct capture_filter *f,
						const struct capture_outline *o)
{
	__u16 sport = o->ports[0] << 8 | o->ports[1], dport = o->ports[2] << 8 | o->ports[3];

	if (f->port_count && o->proto != IPPROTO_TCP && o->proto != IPPROTO_UDP &&
	    o->proto != IPPROTO_SCTP)
		return false;
	for (int i = 0; i < CAPTURE_PORTS && i < f->port_count; i++) {
		const struct capture_ports *p = &f->ports[i];

		if (!(p->sides & CAPTURE_SOURCE && sport >= p->first && sport <= p->last) &&
		    !(p->sides & CAPTURE_DESTINATION && dport >= p->first && dport <= p->last))
			return false;
	}
	return true;
}

/* What is cheap to look at comes first: most packets of a busy node are nobody's. Doubtful ones
 * match: who reads looks again. */
static __always_inline bool capture_head_matches(const struct capture_filter *f, const __u8 *head,
						 __u32 length)
{
	struct capture_outline o;

	if (length < ETH_HLEN)
		return true;
	capture_outline_of(head, length, &o);
	if (!o.family)
		return !f->family && !f->proto && !f->port_count && !f->pod_count;
	if (f->family && o.family != f->family)
		return false;
	if (o.plain && ((f->proto && o.proto != f->proto) || !capture_ports_match(f, &o)))
		return false;
	return capture_addresses_match(f, &o);
}

/* May it be for this capture, whatever the packet is? */
static __always_inline bool capture_concerns(const struct capture_filter *f,
					     const struct capture_record *r)
{
	return f->active && (!f->ifindex || f->ifindex == r->ifindex) &&
	       !(r->flags & CAPTURE_TOLD && !f->ifindex);
}

/* Does the capture, which the packet on the link concerns, want it, of which `length` bytes are in
 * `look`? Global: verified once. */
__noinline int capture_wants(struct capture_filter *f, struct capture_look *look, __u32 length,
			     __u32 link)
{
	if (!f || !look)
		return 0;
	if (f->pod_ifindex && f->pod_ifindex == link && !f->family && !f->proto && !f->net_count &&
	    !f->port_count)
		return 1;
	return capture_head_matches(f, look->bytes, length);
}

/* Which captures the packet concerns, and which want it as it came: its first bytes are looked at
 * if it concerns any. */
static __always_inline void capture_ask(struct capture_scratch *s, packet_context *ctx,
					__u32 length)
{
	struct capture_look *head = (void *)s->record.head;
	__u32 concerned = 0, wanted = 0, i, place;

#pragma clang loop unroll(full)
	for (i = 0; i < CAPTURES_MAX; i++) {
		struct capture_filter *f;

		place = i;
		f = bpf_map_lookup_elem(&capture_filters, &place);
		if (!f || !capture_concerns(f, &s->record))
			continue;
		if (!concerned)
			s->record.before = capture_look_at(ctx, head, length);
		concerned |= 1U << i;
		if (capture_wants(f, head, s->record.before, s->record.ifindex))
			wanted |= 1U << i;
	}
	s->concerned = concerned;
	s->wanted = wanted;
}

/* ------------------------------------------------------------------ records */

/* Global: verified once. Before the program: all of the head is kept of what somebody wants as it
 * came, of other packets what names them. */
__noinline int capture_came(packet_context *ctx, __u32 link, __u32 length, __u32 hook, __u32 flags)
{
	struct capture_scratch *s = capture_scratch_get();
	struct capture_record *r;

	if (!s)
		return 0;
	r = &s->record;
	r->before = 0;
	r->ifindex = link;
	r->length = length;
	r->hook = hook;
	r->flags = flags;
	capture_ask(s, ctx, length);
	if (s->wanted)
		r->before = capture_load(ctx, r->head, length, CAPTURE_HEAD);
	return 0;
}

/* What the slow path has found about this packet. */
static __always_inline void capture_take_verdict(struct capture_record *r)
{
	const struct flow_verdict *found = flow_verdict_get();

	if (!found)
		return;
	r->backend = found->backend;
	r->backend_port_be = found->backend_port_be;
	r->source_identity = found->source_identity;
	r->destination_identity = found->destination_identity;
	r->egress_rule = found->egress_rule;
	r->ingress_rule = found->ingress_rule;
	r->egress_ruleset = found->egress_ruleset;
	r->ingress_ruleset = found->ingress_ruleset;
}

/* The rules that allowed a known flow stand beside its entry. */
static __always_inline void capture_take_rules(struct packet *p, struct capture_record *r)
{
	const struct control *control = control_get();
	const struct flow_rules_set *rules;
	struct flow_copy copy;

	if (!control || flow_search(&p->tuple, tuple_hash(&p->tuple, p->family, control), &copy,
				    p->family) != FLOW_FOUND)
		return;
	if (!(copy.state & FLOW_RULED))
		return;
	rules = p->family == FAMILY_V4 ? bpf_map_lookup_elem(&flow_rules4, &copy.set)
				       : bpf_map_lookup_elem(&flow_rules6, &copy.set);
	if (!rules)
		return;
	r->egress_rule = rules->way[copy.way & (FLOW_WAYS - 1)].egress_rule;
	r->ingress_rule = rules->way[copy.way & (FLOW_WAYS - 1)].ingress_rule;
}

/* What is told once it is sure that somebody is told. Global: verified once. */
__noinline int capture_fill(struct packet *p)
{
	struct capture_scratch *s = capture_scratch_get();
	struct capture_record *r;

	if (!s || !p)
		return 0;
	r = &s->record;
	r->time_ns = bpf_ktime_get_ns();
	r->source_identity = r->destination_identity = 0;
	r->egress_rule = r->ingress_rule = r->egress_ruleset = r->ingress_ruleset = 0;
	__builtin_memset(&r->backend, 0, sizeof(r->backend));
	r->backend_port_be = 0;
	if (r->verdict == VERDICT_ALLOW && p->family)
		capture_take_rules(p, r);
	else if (p->evaluated)
		capture_take_verdict(r);
	return 0;
}

static __always_inline void capture_count_lost(__u32 capture, const struct capture_record *r)
{
	struct capture_place place = {capture, r->ifindex, r->hook};
	__u64 one = 1, *count = bpf_map_lookup_elem(&capture_lost, &place);

	if (count)
		(*count)++;
	else
		bpf_map_update_elem(&capture_lost, &place, &one, BPF_NOEXIST);
}

static __always_inline void capture_send(packet_context *ctx, __u32 place, __u32 length,
					 struct capture_record *r)
{
	const struct capture_filter *f = bpf_map_lookup_elem(&capture_filters, &place);
	void *ring = bpf_map_lookup_elem(&capture_rings, &place);
	__u64 n;

	if (!f || !ring)
		return;
	n = length < f->snaplen ? length : f->snaplen;
	if (n > CAPTURE_SNAPLEN)
		n = CAPTURE_SNAPLEN;
	r->captured = n;
	if (bpf_perf_event_output(ctx, ring, n << 32 | BPF_F_CURRENT_CPU, r, sizeof(*r)))
		capture_count_lost(place, r);
}

/* What a packet that leaves was looked at for. */
struct capture_leaving {
	__u32 length; /* of the frame */
	__u32 after;  /* bytes of it in the scratch's `after` */
	bool is_looked_at;
	bool is_filled;
};

static __always_inline bool capture_wants_it_now(struct capture_scratch *s, packet_context *ctx,
						 struct capture_filter *f,
						 struct capture_leaving *leaving)
{
	if (!leaving->is_looked_at)
		leaving->after = capture_look_at(ctx, &s->after, leaving->length);
	leaving->is_looked_at = true;
	return capture_wants(f, &s->after, leaving->after, s->record.ifindex);
}

/* Tells one capture, which the packet concerns, if it wants it. */
static __always_inline void capture_tell(struct capture_scratch *s, packet_context *ctx,
					 struct packet *p, __u32 place,
					 struct capture_leaving *leaving)
{
	struct capture_filter *f = bpf_map_lookup_elem(&capture_filters, &place);

	if (!f || (f->drops && s->record.verdict == VERDICT_ALLOW))
		return;
	if (!(s->wanted & 1U << place) && !capture_wants_it_now(s, ctx, f, leaving))
		return;
	if (!leaving->is_filled)
		capture_fill(p);
	leaving->is_filled = true;
	capture_send(ctx, place, leaving->length, &s->record);
}

/*
 * Behind the program: `outcome` is the verdict and, 8 bits higher, the reason. Global: verified
 * once.
 */
__noinline int capture_left(packet_context *ctx, struct packet *p, __u32 length, int action,
			    __u32 outcome)
{
	struct capture_scratch *s = capture_scratch_get();
	struct capture_leaving leaving = {.length = length};

	if (!s || !p || !s->concerned)
		return 0;
	s->record.verdict = outcome;
	s->record.reason = outcome >> 8;
	s->record.action = action;
	s->record.length_after = length;
	/* Linux 6.1 takes a loop for endless whose head is reached behind a call. */
#pragma clang loop unroll(full)
	for (__u32 i = 0; i < CAPTURES_MAX; i++)
		if (s->concerned & 1U << i)
			capture_tell(s, ctx, p, i, &leaving);
	return 0;
}

#define CAPTURE_OUTCOME(verdict, reason) ((verdict) | (__u32)(reason) << 8)
