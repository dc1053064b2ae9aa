/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a process of the node answers a Service's client, on the links' way out. */
#pragma once

#include "forward.h"
#include "fragment.h"

/* May the packet be what a process of the node answers a Service's client? Of a later fragment the
 * first one tells. */
static __always_inline bool is_answer(struct __sk_buff *skb, const struct packet *p)
{
	return !skb->ingress_ifindex && has_service_ports(p->tuple.proto) &&
	       (p->flags & PACKET_LATER_FRAGMENT || is_host_endpoint(p->tuple.sport_be));
}

/*
 * What a process of the node answers a Service's client leaves with the Service's address, by the
 * way that the stack has chosen. TC_ACT_OK or -reason.
 */
static __always_inline int follow_answer(struct __sk_buff *skb, struct packet *p,
					 struct flow_copy *flow, __u8 family)
{
	struct flow_head *head;
	int outcome, result;

	if (unlikely(p->flags & PACKET_LATER_FRAGMENT) && fragment_complete(p))
		return TC_ACT_OK;
	outcome = flow_of(p, flow, &head, family);
	if (outcome == FLOW_ABSENT || (outcome != FLOW_BUSY && !(flow->state & FLOW_REPLY)))
		return TC_ACT_OK;
	result = follow_found(skb, p, flow, outcome, head, family);
	if (!result)
		result = rewrite(skb, p, flow, NULL, false, ZONE_HOST, family);
	return result ? result : fragment_follow(skb, p, TC_ACT_OK);
}
