/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Counting drops and telling the agent about packets, with a limit and an exact count of what was
 * not told. */
#pragma once

#include "packet.h"

/* Of the packet at hand on this CPU, valid if it was evaluated. */
MAP(flow_verdicts, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct flow_verdict, 1, 0);

static __always_inline struct flow_verdict *flow_verdict_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&flow_verdicts, &zero);
}

static __always_inline bool event_within_budget(__u32 per_second)
{
	__u32 zero = 0;

	return !per_second || budget_take(bpf_map_lookup_elem(&event_budgets, &zero), per_second);
}

static __always_inline void event_fill(struct polder_event *e, const struct packet *p)
{
	const struct flow_verdict *verdict = p->evaluated ? flow_verdict_get() : NULL;

	e->time_ns = bpf_ktime_get_ns();
	e->hook = p->hook;
	e->family = p->family;
	e->proto = p->tuple.proto;
	e->zone = p->tuple.zone;
	e->tcp_flags = p->tcp_flags;
	if (p->family) {
		e->saddr = tuple_saddr(&p->tuple, p->family);
		e->daddr = tuple_daddr(&p->tuple, p->family);
	}
	e->sport_be = p->tuple.sport_be;
	e->dport_be = p->tuple.dport_be;
	e->length = p->length;
	if (!verdict)
		return;
	e->backend = verdict->backend;
	e->backend_port_be = verdict->backend_port_be;
	e->source_identity = verdict->source_identity;
	e->destination_identity = verdict->destination_identity;
	e->egress_rule = verdict->egress_rule;
	e->ingress_rule = verdict->ingress_rule;
	e->egress_ruleset = verdict->egress_ruleset;
	e->ingress_ruleset = verdict->ingress_ruleset;
}

static __always_inline void event_send(const struct control *control, __u32 ifindex,
				       const struct packet *p, __u8 type, __u8 verdict, __u8 reason)
{
	struct polder_event *e;

	if (!event_within_budget(control->events_per_second)) {
		count_up(COUNTER_EVENTS_LIMITED);
		return;
	}
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) {
		count_up(COUNTER_EVENTS_LOST);
		return;
	}
	__builtin_memset(e, 0, sizeof(*e));
	event_fill(e, p);
	e->type = type;
	e->verdict = verdict;
	e->reason = reason;
	e->ifindex = ifindex;
	bpf_ringbuf_submit(e, 0);
	count_up(COUNTER_EVENTS_SENT);
}

/* The one place where a packet is given up: counted always, told when somebody listens. */
static __always_inline void drop_count(__u32 ifindex, const struct packet *p, int reason,
				       __u8 verdict)
{
	__u32 index = reason * DROP_HOOKS + p->hook;
	struct drop_counter *counter = bpf_map_lookup_elem(&drops, &index);
	const struct control *control = control_get();

	if (counter) {
		counter->packets++;
		counter->bytes += p->length;
	}
	if (control && control->events & EVENT_MASK_DROPS)
		event_send(control, ifindex, p, EVENT_DROP, verdict, reason);
}
