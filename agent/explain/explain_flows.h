/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flows that there are of a question, and the ports that its sender's flows have. Gathered by
 * another thread (struct flows_scan), so it holds all that it compares with.
 */
#pragma once

#include "agent/explain/explain_internal.h"

#define EXPLAIN_FLOWS_SHOWN 16

/* One flow, both directions. */
struct explain_flow {
	struct flow_tuple tuple; /* its opener's */
	struct flow_copy content;
	uint64_t packets, bytes, reply_packets, reply_bytes;
	uint32_t idle; /* ticks */
};

struct explain_flows {
	uint8_t family, proto;
	uint16_t port;
	struct polder_addr from, to;
	uint64_t used[65536 / 64]; /* ports of all flows of family and protocol, a bit for each */
	struct explain_flow seen[EXPLAIN_FLOWS_SHOWN];
	size_t count;
};

/* Of a question that has been parsed; nothing is found yet. */
void explain_flows_ask(struct explain_flows *flows, const struct explain *explain);
/* Is the question, parsed again, the same? Names may stand for other addresses by now. */
bool explain_flows_are_of(const struct explain_flows *flows, const struct explain *explain);
/* A flows_visitor; `data` is the struct explain_flows. */
bool explain_flows_look(const struct flow_record *record, void *data);
/* From now on the port is in use. False: it was already. */
bool explain_flows_use_port(struct explain_flows *flows, uint16_t port);
/* `generation`: under which flows are current. */
json_t *explain_flows_document(const struct explain_flows *flows, uint32_t generation);
