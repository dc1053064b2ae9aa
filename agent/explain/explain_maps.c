/* SPDX-License-Identifier: Apache-2.0 */
/* The second way: the entries of the maps, key by key, as the program looks them up. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/explain/explain_internal.h"
#include "agent/policy/local_pods.h"

/* One verdict: what the program keeps in its scratch. */
struct look {
	const struct explain *explain;
	const struct explain_path *path;
	struct maps *maps;
	struct explain_method *method;
	unsigned int slot;
	bool to_itself;
};

static int find_address(const struct look *look, const struct polder_addr *addr,
			struct address_entry *ret)
{
	struct address_key key = {.prefixlen = 128, .addr = *addr};
	const struct address_entry *local = local_pods_find(look->maps, addr);

	if (!local)
		return maps_find(look->maps, MAP_ADDRESSES, &key, ret);
	*ret = *local;
	return 0;
}

static bool find_pod(const struct look *look, uint32_t ifindex, struct pod_entry *ret)
{
	uint32_t index = maps_pod_index(look->maps, ifindex);

	return maps_find(look->maps, MAP_PODS, &index, ret) == 0 && ret->ifindex == ifindex &&
	       ifindex;
}

static bool is_service_address(const struct look *look, const struct polder_addr *addr)
{
	struct service_key key = {.addr = *addr};
	struct service_entry entry;

	return maps_find(look->maps, MAP_SERVICES, &key, &entry) == 0;
}

/* ---------------------------------------------------------------- rule sets */

struct cells {
	struct ruleset_entry set;
	struct ruleset_cell cell[2]; /* by the peer's identity, by its address */
	bool found[2];
};

static void find_cell(const struct look *look, uint32_t peer_class, uint32_t port_class, int which,
		      struct cells *cells)
{
	const struct ruleset_entry *set = &cells->set;
	struct ruleset_cell_key key = {
		.ruleset = set->number, .peer_class = peer_class, .port_class = port_class};
	uint32_t at = (peer_class - 1) * set->port_classes + port_class,
		 element = set->cell_first + at;

	if (!peer_class)
		return;
	if (!set->cell_count)
		cells->found[which] =
			maps_find(look->maps, MAP_RULESET_CELLS, &key, &cells->cell[which]) == 0;
	else if (port_class < set->port_classes && at < set->cell_count)
		cells->found[which] = maps_find(look->maps, MAP_RULESET_TABLES, &element,
						&cells->cell[which]) == 0;
}

static void find_cells(const struct look *look, uint32_t identity, const struct polder_addr *peer,
		       struct cells *cells)
{
	uint32_t ruleset = cells->set.number;
	struct ruleset_peer_key by_identity = {.ruleset = ruleset, .identity = identity};
	struct ruleset_prefix_key by_address = {
		.prefixlen = 32 + 128, .ruleset = ruleset, .addr = *peer};
	struct ruleset_port_key by_port = {.prefixlen = 64,
					   .ruleset = ruleset,
					   .proto = look->explain->proto,
					   .port_be = htons(look->path->port)};
	uint32_t prefix_class = 0, port_class = 0, peer_class;
	struct ruleset_peer found;

	if (cells->set.flags & RULESET_HAS_PORTS)
		maps_find(look->maps, MAP_RULESET_PORTS, &by_port, &port_class);
	if (cells->set.flags & RULESET_HAS_PREFIXES)
		maps_find(look->maps, MAP_RULESET_PREFIXES, &by_address, &prefix_class);
	if (maps_find(look->maps, MAP_RULESET_PEERS, &by_identity, &found) == 0)
		peer_class = found.peer_class[look->slot];
	else
		peer_class = identity >= IDENTITY_FIRST_POD ? cells->set.default_pod_class
							    : cells->set.default_world_class;
	find_cell(look, peer_class, port_class, 0, cells);
	find_cell(look, prefix_class, port_class, 1, cells);
}

/* The cell whose rule comes first in this step; NULL: none has one. */
static const struct ruleset_cell *decide_step(const struct cells *cells, enum policy_step step)
{
	const struct ruleset_cell *decides = NULL;

	for (int i = 0; i < 2; i++)
		if (cells->found[i] && cells->cell[i].verdict[step] != CELL_NONE &&
		    (!decides || cells->cell[i].rank[step] < decides->rank[step]))
			decides = &cells->cell[i];
	return decides;
}

void explain_name_rule(const struct explain *explain, uint32_t rule, struct explain_rule *ret)
{
	struct rule_origin origin;

	if (!rule)
		return;
	ret->set = true;
	if (policy_rule_origin(policy_sync_registry(explain->sources->policy_sync), rule, &origin) <
	    0) {
		snprintf(ret->policy, sizeof(ret->policy), "(rule %u)", rule);
		return;
	}
	snprintf(ret->policy, sizeof(ret->policy), "%s%s%s", origin.namespace,
		 *origin.namespace ? "/" : "", origin.name);
	ret->index = origin.index;
}

static unsigned int cells_verdict(const struct look *look, const struct cells *cells,
				  unsigned int denied, uint32_t *ret_rule)
{
	const struct ruleset_cell *cell = decide_step(cells, STEP_ADMIN);
	bool isolates = cells->set.flags & RULESET_ISOLATES;

	if (cell && cell->verdict[STEP_ADMIN] != CELL_PASS) {
		*ret_rule = cell->rule[STEP_ADMIN];
		return cell->verdict[STEP_ADMIN] == CELL_ALLOW ? 0 : denied;
	}
	if (look->to_itself && isolates)
		return 0;
	cell = decide_step(cells, STEP_REST);
	if (!cell)
		return isolates ? denied : 0;
	*ret_rule = cell->rule[STEP_REST];
	return cell->verdict[STEP_REST] == CELL_ALLOW ? 0 : denied;
}

/* `ruleset` is a pod's word. 0, or the reason of a drop. */
static unsigned int ruleset_verdict(const struct look *look, enum direction side, uint32_t ruleset,
				    uint32_t identity, const struct polder_addr *peer)
{
	unsigned int denied = side == EGRESS ? REASON_POLICY_EGRESS : REASON_POLICY_INGRESS;
	struct cells cells = {};
	unsigned int reason;
	uint32_t rule = 0;

	look->method->evaluated[side] = true;
	look->method->ruleset[side] = ruleset;
	if (ruleset == RULESET_OPEN)
		return 0;
	if (ruleset == RULESET_CLOSED)
		return REASON_NOT_READY;
	if (ruleset == RULESET_CAPACITY)
		return REASON_POLICY_CAPACITY;
	if (maps_find(look->maps, MAP_RULESETS, &ruleset, &cells.set) < 0 || !cells.set.number)
		return REASON_INTERNAL;
	look->method->ruleset[side] = cells.set.number;
	find_cells(look, identity, peer, &cells);
	reason = cells_verdict(look, &cells, denied, &rule);
	explain_name_rule(look->explain, rule, &look->method->rule[side]);
	return reason;
}

/* ---------------------------------------------------------------- the way */

/* Does `peers` say how the packet reaches another node? `*ret_reason`: 0 or why it does not. */
static bool route_peer(const struct look *look, uint32_t number, unsigned int *ret_reason)
{
	const uint32_t ways = addr_is_v4(&look->path->addr) ? PEER_TUNNEL_V4 | PEER_NATIVE_V4
							    : PEER_TUNNEL_V6 | PEER_NATIVE_V6;
	uint32_t place = NEXT_HOP_PEERS + number;
	struct peer_entry peer = {};
	struct next_hop hop = {};

	if (!number || maps_find(look->maps, MAP_PEERS, &number, &peer) < 0 || !(peer.flags & ways))
		return false;
	*ret_reason = maps_find(look->maps, MAP_NEXT_HOPS, &place, &hop) == 0 && hop.ifindex
			      ? 0
			      : REASON_NO_ROUTE;
	return true;
}

/* The way out of a pod. 0, or the reason of a drop. */
static unsigned int route_pod(const struct look *look, const struct address_entry *to)
{
	uint32_t flags = to ? to->flags : 0;
	const bool masquerade =
		look->explain->sources->config->masquerade && !(flags & ~(uint32_t)ADDRESS_LOCAL);
	const struct address_key key = {.prefixlen = 128, .addr = look->path->addr};
	struct egress_route way = {};
	unsigned int reason;

	if (flags & ADDRESS_LOCAL && flags & (ADDRESS_POD | ADDRESS_NODE))
		return 0;
	if (flags & ADDRESS_POD_RANGE && flags & ADDRESS_LOCAL)
		return REASON_UNKNOWN_POD;
	if (!(flags & (ADDRESS_POD | ADDRESS_POD_RANGE | ADDRESS_NODE)) &&
	    is_service_address(look, &look->path->addr))
		return REASON_NO_SERVICE_PORT;
	if (to && !(flags & ADDRESS_LOCAL) && route_peer(look, to->peer, &reason))
		return reason;
	if (maps_find(look->maps, MAP_EGRESS_ROUTES, &key, &way) < 0 || !way.ifindex)
		return way.reason ? way.reason : REASON_NO_ROUTE;
	return masquerade && addr_is_zero(&way.source) ? REASON_NO_NODE_ADDRESS : 0;
}

static unsigned int route_wire(const struct look *look, const struct address_entry *to,
			       bool *ret_done)
{
	uint32_t flags = to ? to->flags : 0;

	*ret_done = true;
	if (flags & ADDRESS_LOCAL) {
		*ret_done = !(flags & ADDRESS_POD);
		return flags & (ADDRESS_POD | ADDRESS_NODE) ? 0 : REASON_UNKNOWN_POD;
	}
	if (!(flags & (ADDRESS_POD | ADDRESS_POD_RANGE | ADDRESS_NODE)) &&
	    is_service_address(look, &look->path->addr))
		return REASON_SERVICE_FROM_OUTSIDE;
	return 0;
}

static unsigned int policy_verdicts(struct look *look, const struct address_entry *to)
{
	const struct polder_addr *source_addr = explain_addr(look->explain, &look->explain->from);
	struct pod_entry source = {}, destination = {};
	struct address_entry from;
	bool has_from = find_address(look, source_addr, &from) == 0, to_pod;
	unsigned int reason = 0;

	look->method->identity[0] = has_from ? from.identity[look->slot] : IDENTITY_WORLD;
	look->method->identity[1] = to ? to->identity[look->slot] : IDENTITY_WORLD;
	if (look->path->vantage == EXPLAIN_FROM_POD) {
		if (!has_from || !find_pod(look, from.ifindex, &source))
			return REASON_NOT_A_POD;
		look->method->identity[0] = source.identity[look->slot];
	}
	to_pod = to && to->flags & ADDRESS_POD && to->flags & ADDRESS_LOCAL;
	if (to_pod) {
		if (!find_pod(look, to->ifindex, &destination))
			return REASON_NOT_READY;
		look->method->identity[1] = destination.identity[look->slot];
		look->to_itself = source.ifindex && source.ifindex == destination.ifindex;
	}
	if (source.ifindex)
		reason = ruleset_verdict(look, EGRESS, source.egress_rules[look->slot],
					 look->method->identity[1], &look->path->addr);
	if (!reason && to_pod)
		reason = ruleset_verdict(look, INGRESS, destination.ingress_rules[look->slot],
					 look->method->identity[0], source_addr);
	return reason;
}

/* ---------------------------------------------------------------- Services */

/* Of a port that nobody serves; 0: the address is no Service's. */
static unsigned int no_service_port(const struct look *look)
{
	struct service_key key = {.addr = *explain_addr(look->explain, &look->explain->to)};
	struct service_entry entry;

	if (maps_find(look->maps, MAP_SERVICES, &key, &entry) < 0)
		return 0;
	return explain_is_inside(look->explain) || entry.flags & SERVICE_EXTERNAL
		       ? REASON_NO_SERVICE_PORT
		       : REASON_SERVICE_FROM_OUTSIDE;
}

/* By the address itself, else as a node port. */
static bool find_service(const struct look *look, struct service_entry *ret)
{
	struct service_key key = {.addr = *explain_addr(look->explain, &look->explain->to),
				  .port_be = htons(look->explain->port),
				  .proto = look->explain->proto};
	struct address_entry address;

	if (maps_find(look->maps, MAP_SERVICES, &key, ret) == 0)
		return true;
	if (find_address(look, &key.addr, &address) < 0 ||
	    !(address.flags & ADDRESS_NODE_PORTS && address.flags & ADDRESS_LOCAL))
		return false;
	key.addr = addr_unspecified(addr_is_v4(&key.addr));
	return maps_find(look->maps, MAP_SERVICES, &key, ret) == 0;
}

static bool admits(const struct look *look, const struct service_entry *service)
{
	struct service_source_key key = {
		.prefixlen = 32 + 128,
		.service_id = service->id,
		.addr = *explain_addr(look->explain, &look->explain->from)};
	uint32_t value;

	return !(service->flags & SERVICE_SOURCES) ||
	       maps_find(look->maps, MAP_SERVICE_SOURCES, &key, &value) == 0;
}

struct range {
	uint32_t first, count;
};

/* The set that counts for the sender. 0, or the reason of a drop. */
static unsigned int find_set(const struct look *look, const struct service_entry *service,
			     struct range *ret)
{
	const struct explain_end *from = &look->explain->from;
	const bool inside = explain_is_inside(look->explain);
	bool local = service->flags & SERVICE_EXTERNAL_LOCAL;

	if (!inside && !(service->flags & SERVICE_EXTERNAL))
		return REASON_SERVICE_FROM_OUTSIDE;
	if (!inside && !admits(look, service))
		return REASON_SERVICE_SOURCE;
	if (inside)
		local = service->flags & SERVICE_INTERNAL_LOCAL &&
			(from->local || from->kind == EXPLAIN_THIS_NODE);
	*ret = local ? (struct range){service->local_first, service->local_count}
		     : (struct range){service->backend_first, service->backend_count};
	if (ret->count)
		return 0;
	return local && service->backend_count ? REASON_NO_LOCAL_ENDPOINT : REASON_NO_ENDPOINT;
}

/* Is the path's endpoint among those that the maps hold? 0, or the reason of a drop; -1: the
 * Service is not there. */
static int find_backend(const struct look *look)
{
	struct service_entry service;
	struct backend backend;
	struct range set = {};
	unsigned int reason;

	if (!find_service(look, &service)) {
		reason = no_service_port(look);
		return reason ? (int)reason : -1;
	}
	reason = find_set(look, &service, &set);
	if (reason)
		return (int)reason;
	for (uint32_t element = set.first; element < set.first + set.count; element++)
		if (maps_find(look->maps, MAP_BACKENDS, &element, &backend) == 0 &&
		    memcmp(&backend.addr, &look->path->addr, sizeof(backend.addr)) == 0 &&
		    ntohs(backend.port_be) == look->path->port)
			return 0;
	return -1;
}

static unsigned int ask(struct look *look)
{
	struct address_entry entry,
		*to = find_address(look, &look->path->addr, &entry) == 0 ? &entry : NULL;
	unsigned int reason;
	bool done = false;

	if (look->path->vantage == EXPLAIN_FROM_NODE)
		return 0; /* proven by the path */
	reason = look->path->vantage == EXPLAIN_FROM_POD ? route_pod(look, to)
							 : route_wire(look, to, &done);
	return reason || done ? reason : policy_verdicts(look, to);
}

void explain_ask_maps(struct explain *explain, struct explain_path *path)
{
	struct explain_method *method = &path->methods[METHOD_MAPS];
	struct look look = {
		.explain = explain,
		.path = path,
		.maps = explain->sources->maps,
		.method = method,
		.slot = maps_slot(explain->sources->maps),
	};
	int backend = 0;

	if (path->itself) {
		snprintf(method->note, sizeof(method->note),
			 "a packet to the pod's own address does not leave the pod");
		return;
	}
	if (path->vantage == EXPLAIN_ELSEWHERE) {
		snprintf(method->note, sizeof(method->note),
			 "neither end is on this node: its maps do not decide");
		return;
	}
	if (path->vantage == EXPLAIN_FROM_NODE && !path->to.local &&
	    explain->to.kind != EXPLAIN_SERVICE) {
		snprintf(method->note, sizeof(method->note),
			 "packets of this node to that destination are not subject to its maps");
		return;
	}
	method->asked = true;
	if (explain->to.kind == EXPLAIN_SERVICE)
		backend = find_backend(&look);
	if (backend < 0) {
		method->reason = REASON_ENDPOINT_GONE;
		snprintf(method->note, sizeof(method->note), "the maps do not have this endpoint");
	} else {
		method->reason = backend ? (unsigned int)backend : ask(&look);
	}
	method->allowed = !method->reason;
}
