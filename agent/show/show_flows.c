/* SPDX-License-Identifier: Apache-2.0 */
/* The list of flows, gathered in slices: the loop goes on meanwhile, and of a long list only what
 * its reader has not taken yet is in memory. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/kernel/counters.h"
#include "agent/kernel/flows_top.h"
#include "agent/observe/flow_filter.h"
#include "agent/show/show_internal.h"

#define SLICE_NS   1000000
#define SORTED_MAX 10000

struct walk {
	const struct show_sources *sources;
	struct event_names names;
	struct flow_filter *filter; /* NULL: all */
	uint32_t idle_most;	    /* ticks */
	struct flows_cursor cursor;
	struct control_list *list;
	size_t left;
	struct flows_top top; /* no items: not sorted */
	size_t next;	      /* of `top` that goes out */
	bool sorted;
	json_t **nodes; /* names, by the peers' numbers; NULL: no memory */
};

static uint64_t ticks_to_seconds(uint32_t ticks)
{
	return ((uint64_t)ticks << FLOW_TICK_SHIFT) / 1000000000;
}

/* ---------------------------------------------------------------- one flow */

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

static void read_addresses(const struct flow_record *record, struct flow_subject *ret)
{
	const struct flow_copy *content = &record->flow.content;
	const struct flow_tuple *t = &record->flow.tuple;
	struct polder_addr addresses[FLOW_ADDRESSES];
	const struct flow_table table = {.family = record->family};

	flow_addresses(&table, &record->flow, addresses);
	ret->from = (struct flow_end){addresses[0], t->sport_be};
	ret->to = (struct flow_end){addresses[1], t->dport_be};
	if (!(content->state & FLOW_TRANSLATED))
		return;
	ret->from_becomes = (struct flow_end){addresses[2], content->new_sport_be};
	ret->to_becomes = (struct flow_end){addresses[3], content->new_dport_be};
}

/* What stands in the table has passed. */
static void subject_of(const struct flow_record *record, struct flow_subject *ret)
{
	*ret = (struct flow_subject){
		.family = record->family,
		.proto = record->flow.tuple.proto,
		.verdict = VERDICT_ALLOW,
		.reason = REASON_NONE,
		.egress_rule = record->rules.egress_rule,
		.ingress_rule = record->rules.ingress_rule,
	};
	read_addresses(record, ret);
}

/* Of the pod, before or after translation; "": no pod's. */
static json_t *pod_name(const struct walk *walk, const struct flow_end *end,
			const struct flow_end *becomes)
{
	char name[EVENT_NAME_MAX];

	if (walk->names.pod(&end->addr, name, sizeof(name), walk->names.data) < 0 &&
	    (addr_is_zero(&becomes->addr) ||
	     walk->names.pod(&becomes->addr, name, sizeof(name), walk->names.data) < 0))
		name[0] = '\0';
	return json_string(name);
}

/* The Service that the flow, or the one that it answers, was opened to. */
static json_t *service_name(const struct walk *walk, const struct flow_subject *subject, bool reply)
{
	const struct flow_end *end = reply ? &subject->from_becomes : &subject->to;
	char name[EVENT_NAME_MAX];

	if (addr_is_zero(&end->addr) ||
	    walk->names.service(&end->addr, end->port_be, subject->proto, name, sizeof(name),
				walk->names.data) < 0)
		name[0] = '\0';
	return json_string(name);
}

static void add_process(json_t *document, const char *key, const struct walk *walk,
			const struct event_socket *socket)
{
	json_t *process = walk->names.process(socket, walk->names.data);

	if (process)
		json_object_set_new(document, key, process);
}

static void add_processes(json_t *document, const struct walk *walk,
			  const struct flow_subject *subject)
{
	struct event_socket from, to;

	flow_subject_sockets(subject, &from, &to);
	add_process(document, "source_process", walk, &from);
	add_process(document, "destination_process", walk, &to);
}

static json_t *policy_of(const struct walk *walk, uint32_t rule)
{
	struct rule_origin origin;

	if (!rule || walk->names.rule(rule, &origin, walk->names.data) < 0)
		return json_null();
	return event_rule_document(&origin, &walk->names);
}

static void add_names(json_t *document, const struct walk *walk, const struct flow_record *record)
{
	bool reply = record->flow.content.state & FLOW_REPLY;
	struct flow_subject subject;

	subject_of(record, &subject);
	json_object_set_new(document, "source_pod",
			    pod_name(walk, &subject.from, &subject.from_becomes));
	json_object_set_new(document, "destination_pod",
			    pod_name(walk, &subject.to, &subject.to_becomes));
	json_object_set_new(document, "service", service_name(walk, &subject, reply));
	json_object_set_new(document, "verdict", json_string("allow"));
	json_object_set_new(document, "egress_policy", policy_of(walk, subject.egress_rule));
	json_object_set_new(document, "ingress_policy", policy_of(walk, subject.ingress_rule));
	add_processes(document, walk, &subject);
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
		"idle_seconds", (json_int_t)ticks_to_seconds(record->idle), "packets",
		(json_int_t)flow->packets, "bytes", show_u64(flow->bytes), "out_ifindex",
		(json_int_t)ifindex, "mtu", (int)mtu);
	if (document) {
		json_object_set_new(document, "node", node_document(walk, flow));
		add_translations(document, record);
		add_names(document, walk, record);
	}
	return document;
}

/* ---------------------------------------------------------------- the list */

static bool matches(const struct walk *walk, const struct flow_record *record)
{
	struct flow_subject subject;

	if (record->idle > walk->idle_most)
		return false;
	if (!walk->filter)
		return true;
	subject_of(record, &subject);
	return flow_filter_matches(walk->filter, &subject, &walk->names);
}

static bool add_flow(const struct flow_record *record, void *data)
{
	struct walk *walk = data;
	uint32_t generation = maps_control(walk->sources->maps)->generation;

	if (!matches(walk, record))
		return true;
	walk->left--;
	return control_list_add(walk->list, flow_document(walk, record, generation)) &&
	       walk->left > 0;
}

static bool offer_flow(const struct flow_record *record, void *data)
{
	struct walk *walk = data;

	if (matches(walk, record))
		flows_top_offer(&walk->top, record);
	return true;
}

/* What was kept goes out when all have been looked at. */
static bool fill_sorted(struct walk *walk)
{
	const uint64_t end = uv_hrtime() + SLICE_NS;
	uint32_t generation = maps_control(walk->sources->maps)->generation;

	if (!walk->sorted) {
		if (!flows_walk(walk->sources->flows, &walk->cursor, SLICE_NS, offer_flow, walk))
			return false;
		flows_top_sort(&walk->top);
		walk->sorted = true;
	}
	while (walk->next < walk->top.count && uv_hrtime() < end)
		if (!control_list_add(
			    walk->list,
			    flow_document(walk, &walk->top.items[walk->next++], generation)))
			return true;
	return walk->next >= walk->top.count;
}

static bool fill(struct control_list *list, void *data)
{
	struct walk *walk = data;

	walk->list = list;
	if (walk->top.items)
		return fill_sorted(walk);
	return flows_walk(walk->sources->flows, &walk->cursor, SLICE_NS, add_flow, walk);
}

/* Peers may come and go before the list has ended. */
json_t **show_node_names(const struct peers *peers)
{
	json_t **nodes = calloc(POLDER_MAX_PEERS, sizeof(json_t *));
	const struct peer *peer = NULL;

	while (nodes && (peer = peers_next(peers, peer)))
		if (peer->number)
			nodes[peer->number] = json_string(peer->name);
	return nodes;
}

void show_free_node_names(json_t **nodes)
{
	for (size_t i = 0; nodes && i < POLDER_MAX_PEERS; i++)
		json_decref(nodes[i]);
	free(nodes);
}

static void end_walk(void *data)
{
	struct walk *walk = data;

	show_free_node_names(walk->nodes);
	flows_top_clear(&walk->top);
	flow_filter_free(walk->filter);
	free(walk);
}

/* ---------------------------------------------------------------- the question */

static int refuse(struct error *error, const char *text)
{
	return error_set(error, -EINVAL, EINVAL, "%s", text);
}

static int read_limit(struct walk *walk, const json_t *args, struct error *error)
{
	const json_t *limit = json_object_get(args, "limit");

	if (limit && (!json_is_integer(limit) || json_integer_value(limit) < 0))
		return refuse(error, "limit: expected a number, 0 for all");
	walk->left = (size_t)json_integer_value(limit);
	if (!walk->left)
		walk->left = SIZE_MAX;
	return 0;
}

static int read_order(struct walk *walk, const json_t *args, struct error *error)
{
	static const char *const names[FLOWS_ORDERS] = {"bytes", "packets", "use"};
	const char *sort = json_string_value(json_object_get(args, "sort"));
	enum flows_order order = 0;

	if (!json_object_get(args, "sort"))
		return 0;
	while (order < FLOWS_ORDERS && (!sort || strcmp(sort, names[order]) != 0))
		order++;
	if (order == FLOWS_ORDERS)
		return refuse(error, "sort: expected bytes, packets or use (the last used first)");
	if (walk->left > SORTED_MAX)
		return refuse(error, "sort: only a list of 1 to 10000 flows is sorted: give a "
				     "limit, or sort what is listed");
	if (flows_top_init(&walk->top, order, walk->left) < 0)
		return error_set(error, -ENOMEM, ENOMEM, "polderd is out of memory");
	return 0;
}

static int read_since(struct walk *walk, const json_t *args, struct error *error)
{
	const json_t *since = json_object_get(args, "since_seconds");

	walk->idle_most = UINT32_MAX;
	if (!since)
		return 0;
	if (!json_is_integer(since) || json_integer_value(since) < 0 ||
	    json_integer_value(since) > INT32_MAX)
		return refuse(error, "since_seconds: expected a number of seconds");
	walk->idle_most =
		(uint32_t)(((uint64_t)json_integer_value(since) * 1000000000) >> FLOW_TICK_SHIFT);
	return 0;
}

/* Whose answer could only be empty is told so. */
static int read_filter(struct walk *walk, const json_t *args, struct error *error)
{
	int r = show_filter_parse(walk->sources, json_object_get(args, "filter"), &walk->filter,
				  error);

	if (r < 0)
		return r;
	if (!(flow_filter_mask(walk->filter, EVENT_MASK_FLOWS)))
		return refuse(error,
			      "filter: the flow table holds what is allowed; what is dropped "
			      "and why: polderctl drop list, polderctl monitor --drops");
	return 0;
}

static int read_question(struct walk *walk, const json_t *args, struct error *error)
{
	int r = read_limit(walk, args, error);

	if (r == 0)
		r = read_since(walk, args, error);
	if (r == 0)
		r = read_filter(walk, args, error);
	if (r == 0)
		r = read_order(walk, args, error);
	return r;
}

void show_flows(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	struct walk *walk = calloc(1, sizeof(*walk));
	struct error error;

	if (!walk) {
		show_reply(request, NULL);
		return;
	}
	walk->sources = data;
	if (read_question(walk, args, &error) < 0) {
		control_fail(request, error.code, error.text, NULL);
		end_walk(walk);
		return;
	}
	show_event_names(walk->sources, &walk->names);
	walk->nodes = show_node_names(walk->sources->peers);
	control_reply_list(request, fill, end_walk, walk);
}
