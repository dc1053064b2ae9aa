/* SPDX-License-Identifier: Apache-2.0 */
/* The flows that there are of a question: looked for beside the loop. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "agent/explain/explain_flows.h"

void explain_flows_ask(struct explain_flows *f, const struct explain *explain)
{
	*f = (struct explain_flows){.family = explain->family,
				    .proto = explain->proto,
				    .port = explain->port,
				    .from = *explain_addr(explain, &explain->from),
				    .to = *explain_addr(explain, &explain->to)};
}

bool explain_flows_are_of(const struct explain_flows *f, const struct explain *explain)
{
	return f->family == explain->family && f->proto == explain->proto &&
	       f->port == explain->port &&
	       memcmp(&f->from, explain_addr(explain, &explain->from), sizeof(f->from)) == 0 &&
	       memcmp(&f->to, explain_addr(explain, &explain->to), sizeof(f->to)) == 0;
}

static bool tuple_has(const struct explain_flows *f, const __be32 *v4, const __be32 *v6,
		      const struct polder_addr *addr)
{
	return f->family == FAMILY_V4 ? *v4 == addr->words_be[3] : memcmp(v6, addr, 16) == 0;
}

static bool is_asked_about(const struct explain_flows *f, const struct flow_tuple *tuple)
{
	bool ports = f->proto != IPPROTO_ICMP && f->proto != IPPROTO_ICMPV6;

	return tuple->proto == f->proto && (!ports || tuple->dport_be == htons(f->port)) &&
	       tuple_has(f, &tuple->v4.saddr_be, tuple->v6.saddr_be, &f->from) &&
	       tuple_has(f, &tuple->v4.daddr_be, tuple->v6.daddr_be, &f->to);
}

static struct explain_flow *seen_add(struct explain_flows *f, const struct flow_tuple *tuple)
{
	const struct flow_table table = {.family = f->family}; /* for comparing */

	for (size_t i = 0; i < f->count; i++)
		if (flow_tuple_equal(&table, &f->seen[i].tuple, tuple))
			return &f->seen[i];
	if (f->count == EXPLAIN_FLOWS_SHOWN)
		return NULL;
	f->seen[f->count] = (struct explain_flow){.tuple = *tuple};
	return &f->seen[f->count++];
}

bool explain_flows_use_port(struct explain_flows *f, uint16_t port)
{
	uint64_t bit = 1ull << (port % 64);
	bool is_free = !(f->used[port / 64] & bit);

	f->used[port / 64] |= bit;
	return is_free;
}

bool explain_flows_look(const struct flow_record *record, void *data)
{
	const struct flow_copy *content = &record->flow.content;
	const struct flow_tuple *tuple = &record->flow.tuple;
	struct flow_tuple opener = *tuple;
	struct explain_flows *f = data;
	struct explain_flow *seen;
	bool reply = content->state & FLOW_REPLY;

	if (record->family != f->family || tuple->proto != f->proto)
		return true;
	explain_flows_use_port(f, ntohs(tuple->sport_be));
	explain_flows_use_port(f, ntohs(tuple->dport_be));
	if (reply) {
		opener = (struct flow_tuple){0};
		flow_reply_tuple(tuple, content, record->family, &opener);
	}
	if (!is_asked_about(f, &opener))
		return true;
	seen = seen_add(f, &opener);
	if (seen && reply) {
		seen->reply_packets = record->flow.packets;
		seen->reply_bytes = record->flow.bytes;
	} else if (seen) {
		seen->content = *content;
		seen->packets = record->flow.packets;
		seen->bytes = record->flow.bytes;
		seen->idle = record->idle;
	}
	return true;
}

json_t *explain_flows_document(const struct explain_flows *f, uint32_t generation)
{
	json_t *list = json_array();

	for (size_t i = 0; i < f->count; i++) {
		const struct explain_flow *seen = &f->seen[i];

		json_array_append_new(
			list,
			json_pack("{s:i, s:I, s:I, s:I, s:I, s:I, s:b, s:b}", "source_port",
				  ntohs(seen->tuple.sport_be), "packets", (json_int_t)seen->packets,
				  "bytes", (json_int_t)seen->bytes, "reply_packets",
				  (json_int_t)seen->reply_packets, "reply_bytes",
				  (json_int_t)seen->reply_bytes, "idle_seconds",
				  (json_int_t)(((uint64_t)seen->idle << FLOW_TICK_SHIFT) /
					       1000000000),
				  "current", seen->content.generation == generation, "established",
				  !!(seen->content.state & FLOW_ESTABLISHED)));
	}
	return list;
}
