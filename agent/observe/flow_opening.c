/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/observe/flow_opening.h"

#include <arpa/inet.h>

#include "agent/observe/flow_filter.h"

bool flow_opening_of_event(const struct polder_event *event, struct flow_opening *ret)
{
	bool ports = flow_proto_has_ports(event->proto);
	bool translated = !addr_is_zero(&event->backend);
	bool by_policy =
		event->reason == REASON_POLICY_EGRESS || event->reason == REASON_POLICY_INGRESS;

	if (!event->family || (event->type != EVENT_FLOW && !by_policy))
		return false;
	*ret = (struct flow_opening){
		.from = event->saddr,
		.asked = event->daddr,
		.to = translated ? event->backend : event->daddr,
		.from_port = ports ? ntohs(event->sport_be) : 0,
		.asked_port = ports ? ntohs(event->dport_be) : 0,
		.port = !ports ? 0 : ntohs(translated ? event->backend_port_be : event->dport_be),
		.proto = event->proto,
		.zone = event->zone,
		.egress_allowed = event->reason != REASON_POLICY_EGRESS,
		.ingress_allowed = event->reason != REASON_POLICY_INGRESS,
		.time_ns = event->time_ns,
	};
	return true;
}

bool flow_opening_of_flow(const struct flow_record *record, uint32_t generation, uint64_t now_ns,
			  struct flow_opening *ret)
{
	const struct flow_table table = {.family = record->family};
	const struct flow_copy *content = &record->flow.content;
	const struct flow_tuple *t = &record->flow.tuple;
	bool ports = flow_proto_has_ports(t->proto), translated = content->state & FLOW_TRANSLATED;
	uint64_t idle_ns = (uint64_t)record->idle << FLOW_TICK_SHIFT;
	struct polder_addr addresses[FLOW_ADDRESSES];

	if (content->state & FLOW_REPLY || content->generation != generation)
		return false;
	flow_addresses(&table, &record->flow, addresses);
	*ret = (struct flow_opening){
		.from = addresses[0],
		.asked = addresses[1],
		.to = translated ? addresses[3] : addresses[1],
		.from_port = ports ? ntohs(t->sport_be) : 0,
		.asked_port = ports ? ntohs(t->dport_be) : 0,
		.port = !ports ? 0 : ntohs(translated ? content->new_dport_be : t->dport_be),
		.proto = t->proto,
		.zone = t->zone,
		.egress_allowed = true,
		.ingress_allowed = true,
		.time_ns = idle_ns < now_ns ? now_ns - idle_ns : 0,
	};
	return true;
}
