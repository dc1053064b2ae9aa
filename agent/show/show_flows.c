/* SPDX-License-Identifier: Apache-2.0 */
/* The list of flows, gathered in slices: the loop goes on meanwhile, and of a long list only what
 * its reader has not taken yet is in memory. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/kernel/counters.h"
#include "agent/show/show_internal.h"

#define SLICE_NS 1000000

struct walk {
	const struct show_sources *sources;
	struct flows_cursor cursor;
	struct control_list *list;
	size_t left;
	json_t **nodes; /* names, by the peers' numbers; NULL: no memory */
};

static json_t *addr_document(const __be32 *words, uint8_t family)
{
	struct polder_addr addr = {.words_be = {0, 0, htonl(0xffff), words[0]}};
	char text[INET6_ADDRSTRLEN];

	if (family == FAMILY_V6)
		memcpy(&addr, words, sizeof(addr));
	return json_string(addr_format(&addr, text));
}

static const char *action_name(uint8_t action)
{
	static const char *const names[] = {
		[FLOW_NONE] = "none",	 [FLOW_TO_POD] = "pod",	    [FLOW_TO_WIRE] = "wire",
		[FLOW_TO_HOST] = "host", [FLOW_TO_STACK] = "stack", [FLOW_TO_TUNNEL] = "tunnel",
	};

	return action < sizeof(names) / sizeof(*names) ? names[action] : "unknown";
}

static json_t *state_document(uint16_t state)
{
	static const struct {
		uint16_t bit;
		const char *name;
	} names[] = {
		{FLOW_REPLIED, "replied"},   {FLOW_ESTABLISHED, "established"},
		{FLOW_FIN_ORIG, "fin_orig"}, {FLOW_FIN_REPLY, "fin_reply"},
		{FLOW_RESET, "reset"},	     {FLOW_TRANSLATED, "translated"},
		{FLOW_SERVICE, "service"},   {FLOW_AFFINITY, "affinity"},
	};
	json_t *list = json_array();

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (state & names[i].bit)
			json_array_append_new(list, json_string(names[i].name));
	return list;
}

/* What a source or destination becomes: address "" and port 0 if it stays as it is. */
static void add_translation(json_t *flow, const char *address_key, const char *port_key,
			    uint8_t family, const __be32 *addr, const __be32 *new_addr,
			    __be16 port_be, __be16 new_port_be)
{
	size_t size = family == FAMILY_V4 ? 4 : 16;
	bool changed = memcmp(addr, new_addr, size) != 0 || port_be != new_port_be;

	json_object_set_new(flow, address_key,
			    changed ? addr_document(new_addr, family) : json_string(""));
	json_object_set_new(flow, port_key, json_integer(changed ? ntohs(new_port_be) : 0));
}

static void add_translations(json_t *document, const struct flow_record *record)
{
	const struct flow_copy *content = &record->flow.content;
	const struct flow_tuple *t = &record->flow.tuple;
	bool v4 = record->family == FAMILY_V4, translated = content->state & FLOW_TRANSLATED;
	const __be32 *saddr = v4 ? &t->v4.saddr_be : t->v6.saddr_be;
	const __be32 *daddr = v4 ? &t->v4.daddr_be : t->v6.daddr_be;

	json_object_set_new(document, "source", addr_document(saddr, record->family));
	json_object_set_new(document, "destination", addr_document(daddr, record->family));
	add_translation(document, "new_source", "new_source_port", record->family, saddr,
			translated ? content->new_saddr_be : saddr, t->sport_be,
			translated ? content->new_sport_be : t->sport_be);
	add_translation(document, "new_destination", "new_destination_port", record->family, daddr,
			translated ? content->new_daddr_be : daddr, t->dport_be,
			translated ? content->new_dport_be : t->dport_be);
}

/* Link and MTU of the way out; 0: the node's own stack, or it is gone. */
static void way_out(struct maps *maps, const struct flow_copy *content, uint32_t *ret_ifindex,
		    uint32_t *ret_mtu)
{
	uint32_t place = content->hop;
	struct pod_entry pod = {};
	struct next_hop hop = {};

	if (content->action == FLOW_TO_POD && maps_find(maps, MAP_PODS, &place, &pod) == 0)
		*ret_mtu = pod.mtu;
	else if ((content->action == FLOW_TO_WIRE || content->action == FLOW_TO_TUNNEL) &&
		 maps_find(maps, MAP_NEXT_HOPS, &place, &hop) == 0)
		*ret_mtu = hop.mtu;
	else
		*ret_mtu = 0;
	*ret_ifindex = content->action == FLOW_TO_POD ? pod.ifindex : hop.ifindex;
}

/* The other node: from where the flow comes through the tunnel, or to where it goes. */
static json_t *node_document(const struct walk *walk, const struct flow_snapshot *flow)
{
	const struct flow_copy *content = &flow->content;
	struct next_hop hop = {};
	uint32_t place = content->hop, number = 0;

	if (flow->tuple.zone == ZONE_TUNNEL)
		number = flow->tuple.peer;
	else if ((content->action == FLOW_TO_WIRE || content->action == FLOW_TO_TUNNEL) &&
		 maps_find(walk->sources->maps, MAP_NEXT_HOPS, &place, &hop) == 0)
		number = hop.peer;
	return walk->nodes && number < POLDER_MAX_PEERS && walk->nodes[number]
		       ? json_incref(walk->nodes[number])
		       : json_null();
}

static json_t *flow_document(const struct walk *walk, const struct flow_record *record,
			     uint32_t generation)
{
	const struct flow_snapshot *flow = &record->flow;
	const struct flow_copy *content = &flow->content;
	struct maps *maps = walk->sources->maps;
	char proto[PROTO_NAME_MAX];
	uint32_t ifindex, mtu;
	json_t *document;

	way_out(maps, content, &ifindex, &mtu);
	document = json_pack(
		"{s:s, s:s, s:i, s:i, s:i, s:s, s:o, s:b, s:I, s:b, s:I, s:I, s:o, s:I, s:i}",
		"family", family_name(record->family), "proto",
		proto_name(flow->tuple.proto, proto), "zone", flow->tuple.zone, "source_port",
		ntohs(flow->tuple.sport_be), "destination_port", ntohs(flow->tuple.dport_be),
		"action", action_name(content->action), "state", state_document(content->state),
		"reply", !!(content->state & FLOW_REPLY), "generation",
		(json_int_t)content->generation, "current", content->generation == generation,
		"idle_seconds",
		(json_int_t)(((uint64_t)record->idle << FLOW_TICK_SHIFT) / 1000000000), "packets",
		(json_int_t)flow->packets, "bytes", show_u64(flow->bytes), "out_ifindex",
		(json_int_t)ifindex, "mtu", (int)mtu);
	if (document) {
		json_object_set_new(document, "node", node_document(walk, flow));
		add_translations(document, record);
	}
	return document;
}

static bool add_flow(const struct flow_record *record, void *data)
{
	struct walk *walk = data;
	uint32_t generation = maps_control(walk->sources->maps)->generation;

	walk->left--;
	return control_list_add(walk->list, flow_document(walk, record, generation)) &&
	       walk->left > 0;
}

static bool fill(struct control_list *list, void *data)
{
	struct walk *walk = data;

	walk->list = list;
	return flows_walk(walk->sources->flows, &walk->cursor, SLICE_NS, add_flow, walk);
}

/* Peers may come and go before the list has ended. */
static json_t **name_nodes(const struct peers *peers)
{
	json_t **nodes = calloc(POLDER_MAX_PEERS, sizeof(json_t *));
	const struct peer *peer = NULL;

	while (nodes && (peer = peers_next(peers, peer)))
		if (peer->number)
			nodes[peer->number] = json_string(peer->name);
	return nodes;
}

static void end_walk(void *data)
{
	struct walk *walk = data;

	for (size_t i = 0; walk->nodes && i < POLDER_MAX_PEERS; i++)
		json_decref(walk->nodes[i]);
	free(walk->nodes);
	free(walk);
}

void show_flows(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	const json_t *limit = json_object_get(args, "limit");
	struct walk *walk;

	if (limit && (!json_is_integer(limit) || json_integer_value(limit) < 0)) {
		control_fail(request, EINVAL, "limit: expected a number, 0 for all", NULL);
		return;
	}
	walk = calloc(1, sizeof(*walk));
	if (!walk) {
		show_reply(request, NULL);
		return;
	}
	walk->sources = data;
	walk->nodes = name_nodes(walk->sources->peers);
	walk->left = (size_t)json_integer_value(limit);
	if (!walk->left)
		walk->left = SIZE_MAX;
	control_reply_list(request, fill, end_walk, walk);
}
