/* SPDX-License-Identifier: Apache-2.0 */
/* Who wants to speak with whom: a connection's beginning, from an event or from the flow table. */
#pragma once

#include <stdbool.h>

#include "agent/common/address.h"
#include "agent/kernel/flows.h"

struct flow_opening {
	struct polder_addr from, asked, to;   /* `to`: after translation */
	uint16_t from_port, asked_port, port; /* host byte order; 0: none */
	uint8_t proto, zone;
	bool egress_allowed, ingress_allowed;
	uint64_t time_ns;
};

/* False: the event is about none. What was dropped for another reason than policy says nothing
 * about who wants to speak with whom. */
bool flow_opening_of_event(const struct polder_event *event, struct flow_opening *ret);
/*
 * False: the entry is none's. Replies are the same flow, and one that is to be evaluated again
 * (`generation` is the present one) may be denied by now: if it is not, its next packet makes it
 * current.
 */
bool flow_opening_of_flow(const struct flow_record *record, uint32_t generation, uint64_t now_ns,
			  struct flow_opening *ret);
