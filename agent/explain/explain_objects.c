/* SPDX-License-Identifier: Apache-2.0 */
/* The first way: the objects themselves, and what the configuration says of the way out. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/explain/explain_internal.h"

int explain_gather(struct explain *explain)
{
	const struct store *store = explain->sources->store;
	struct evaluate_objects *objects = &explain->objects;
	const struct object *const *policies, *const *cluster;
	size_t count, more;

	objects->namespaces = store_objects(store, OBJECT_NAMESPACE, &objects->namespace_count);
	objects->nodes = store_objects(store, OBJECT_NODE, &objects->node_count);
	policies = store_objects(store, OBJECT_NETWORK_POLICY, &count);
	cluster = store_objects(store, OBJECT_CLUSTER_NETWORK_POLICY, &more);
	explain->policies = calloc(count + more + 1, sizeof(*explain->policies));
	if (!explain->policies)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		explain->policies[i] = policies[i];
	for (size_t i = 0; i < more; i++)
		explain->policies[count + i] = cluster[i];
	objects->policies = explain->policies;
	objects->policy_count = count + more;
	return 0;
}

void explain_policy_name(const struct object *policy, char *buffer, size_t size)
{
	snprintf(buffer, size, "%s%s%s", policy->namespace, *policy->namespace ? "/" : "",
		 policy->name);
}

static bool is_pod_range(const struct explain *explain, const struct polder_addr *addr)
{
	for (size_t i = 0; i < explain->objects.node_count; i++) {
		const struct node_object *node = &explain->objects.nodes[i]->node;

		for (size_t j = 0; j < node->pod_range_count; j++)
			if (prefix_contains(&node->pod_ranges[j], addr))
				return true;
	}
	return false;
}

static bool is_masqueraded(const struct explain *explain, const struct explain_path *path)
{
	const struct config *config = explain->sources->config;

	if (!config->masquerade || path->to.kind != EXPLAIN_ADDRESS || path->to.node ||
	    is_pod_range(explain, &path->addr))
		return false;
	for (size_t i = 0; i < config->no_masquerade_count; i++)
		if (prefix_contains(&config->no_masquerade[i], &path->addr))
			return false;
	return true;
}

const struct peer *explain_peer(const struct explain *explain, const struct polder_addr *addr)
{
	const struct peers *peers = explain->sources->peers;
	const struct peer *peer = NULL;
	enum peer_way way;

	if (!peers)
		return NULL;
	if (!peers_number_behind(peers, addr, &peer))
		peer = peers_node_with(peers, addr);
	if (!peer || peer->is_self || !peer->number)
		return NULL;
	way = peer->routes[!addr_is_v4(addr)].way;
	return way == WAY_TUNNEL || way == WAY_NATIVE ? peer : NULL;
}

/* Why the packet has nowhere to go, whatever policy says; 0: it has. */
static unsigned int route_reason(const struct explain *explain, const struct explain_path *path)
{
	const struct node *node = explain->sources->node;
	const struct node_egress *way =
		egress_routes_find(node->egress, node->egress_count, &path->addr);
	bool here = path->to.local || path->to.kind == EXPLAIN_THIS_NODE;
	const struct peer *peer = explain_peer(explain, &path->addr);

	if (path->vantage != EXPLAIN_FROM_POD && path->vantage != EXPLAIN_FROM_WIRE)
		return 0;
	if (!here && explain_in_own_range(explain, &path->addr))
		return REASON_UNKNOWN_POD;
	if (path->vantage != EXPLAIN_FROM_POD || here)
		return 0;
	if (peer)
		return peer->routes[!addr_is_v4(&path->addr)].ifindex ? 0 : REASON_NO_ROUTE;
	if (!way || !way->ifindex)
		return way && way->reason ? way->reason : REASON_NO_ROUTE;
	return is_masqueraded(explain, path) && addr_is_zero(&way->source) ? REASON_NO_NODE_ADDRESS
									   : 0;
}

/* ---------------------------------------------------------------- where to */

static void path_add(struct explain *explain, const struct polder_addr *addr, uint16_t port)
{
	struct explain_path *path = &explain->paths[explain->path_count++];

	*path = (struct explain_path){.addr = *addr, .port = port};
	explain_find_address(explain, addr, &path->to);
	path->vantage = explain_vantage(explain, &path->to);
}

static bool is_source(const struct service_view *view, const struct polder_addr *addr)
{
	for (size_t i = 0; i < view->source_count; i++)
		if (prefix_contains(&view->sources[i], addr))
			return true;
	return !(view->flags & SERVICE_SOURCES);
}

/* May the sender use it, and which set counts? 0 or why not. */
static unsigned int choose_set(struct explain *explain, const struct service_view *view)
{
	const bool inside = explain_is_inside(explain);
	/* Who is of the cluster, but not here, may come from anywhere. */
	const bool here = explain->from.local || explain->from.kind == EXPLAIN_THIS_NODE;

	if (!inside && !(view->flags & SERVICE_EXTERNAL))
		return REASON_SERVICE_FROM_OUTSIDE;
	if (!inside && !is_source(view, explain_addr(explain, &explain->from)))
		return REASON_SERVICE_SOURCE;
	explain->frontend.local = view->flags & (here	  ? SERVICE_INTERNAL_LOCAL
						 : inside ? 0
							  : SERVICE_EXTERNAL_LOCAL);
	if (explain->frontend.local && !view->local_count)
		return view->backend_count ? REASON_NO_LOCAL_ENDPOINT : REASON_NO_ENDPOINT;
	return view->backend_count ? 0 : REASON_NO_ENDPOINT;
}

static int add_endpoints(struct explain *explain, const struct service_view *view)
{
	const struct backend *list = explain->frontend.local ? view->local : view->backends;
	size_t all = explain->frontend.local ? view->local_count : view->backend_count;
	size_t count = all < EXPLAIN_BACKENDS ? all : EXPLAIN_BACKENDS;

	explain->frontend.count = (uint32_t)all;
	explain->paths = calloc(count + 1, sizeof(*explain->paths));
	if (!explain->paths)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		path_add(explain, &list[i].addr, ntohs(list[i].port_be));
	return 0;
}

static int find_endpoints(struct explain *explain)
{
	const struct service_key key = {.addr = *explain_addr(explain, &explain->to),
					.port_be = htons(explain->port),
					.proto = explain->proto};
	struct service_view view;

	if (!services_find(explain->sources->services, &key, &view)) {
		explain->reason = explain_is_inside(explain) || explain->frontend.external_address
					  ? REASON_NO_SERVICE_PORT
					  : REASON_SERVICE_FROM_OUTSIDE;
		return 0;
	}
	explain->frontend.found = true;
	explain->frontend.port_name = view.port_name;
	explain->frontend.kind = view.kind;
	explain->frontend.flags = view.flags;
	explain->reason = choose_set(explain, &view);
	return explain->reason ? 0 : add_endpoints(explain, &view);
}

int explain_find_paths(struct explain *explain)
{
	struct explain_path *path;
	int r = explain->to.kind == EXPLAIN_SERVICE ? find_endpoints(explain) : 0;

	if (r < 0 || explain->path_count)
		return r;
	if (!explain->paths)
		explain->paths = calloc(1, sizeof(*explain->paths));
	if (!explain->paths)
		return -ENOMEM;
	path = &explain->paths[explain->path_count++];
	*path = (struct explain_path){.to = explain->to,
				      .addr = *explain_addr(explain, &explain->to),
				      .port = explain->port};
	path->vantage = explain_vantage(explain, &path->to);
	if (explain->reason && !explain_is_inside(explain))
		path->vantage = EXPLAIN_FROM_WIRE;
	path->itself = explain->to.local && explain->to.local == explain->from.local;
	return 0;
}

/* ---------------------------------------------------------------- the answer */

static void take_rule(const struct evaluate_direction *direction, struct explain_rule *ret)
{
	if (direction->basis != EVALUATE_RULE)
		return;
	ret->set = true;
	explain_policy_name(direction->policy, ret->policy, sizeof(ret->policy));
	ret->index = (uint32_t)direction->index;
}

/* What was deleted and holds for a pod of this node that ends. */
static int hold(const struct explain *explain, const struct explain_end *end,
		struct evaluate_end *ret, const struct object ***ret_array)
{
	if (!end->local)
		return 0;
	ret->held_count =
		policy_sync_held_policies(explain->sources->policy_sync, end->local, ret_array);
	ret->held = *ret_array;
	return *ret_array ? 0 : -ENOMEM;
}

static bool may_be_a_pod(const struct explain *explain, const struct polder_addr *addr)
{
	return explain_in_own_range(explain, addr) || is_pod_range(explain, addr);
}

/* An end as the other one's policies see it. A pod that found no room in the map is nobody's there,
 * however well its object is known. */
static struct evaluate_end seen(const struct explain *explain, const struct explain_end *end,
				const struct polder_addr *addr, bool other_is_here)
{
	struct evaluate_end ret = {.pod = end->pod, .addr = *addr};
	bool nodes = end->kind == EXPLAIN_THIS_NODE || (end->kind == EXPLAIN_ADDRESS && end->node);

	if (end->local || nodes)
		return ret;
	ret.unseen = end->pod && other_is_here &&
		     policy_sync_pod_without_room(explain->sources->policy_sync, addr);
	ret.unknown_pod = (!end->pod || ret.unseen) && may_be_a_pod(explain, addr);
	return ret;
}

/* Closed, as the object of its name is another pod's. */
static bool waits(const struct explain *explain, const struct explain_end *end)
{
	return end->local && policy_sync_pod_waits(explain->sources->policy_sync, end->local);
}

static unsigned int policy_reason(const struct explain *explain, const struct explain_path *path)
{
	if (waits(explain, &explain->from))
		return REASON_NOT_READY;
	if (!path->answer.egress.allowed)
		return REASON_POLICY_EGRESS;
	if (waits(explain, &path->to))
		return REASON_NOT_READY;
	return path->answer.ingress.allowed ? 0 : REASON_POLICY_INGRESS;
}

int explain_ask_objects(struct explain *explain, struct explain_path *path)
{
	struct explain_method *method = &path->methods[METHOD_OBJECTS];
	struct evaluate_question question = {
		.source = seen(explain, &explain->from, explain_addr(explain, &explain->from),
			       path->to.local),
		.destination = seen(explain, &path->to, &path->addr, explain->from.local),
		.proto = explain->proto,
		.port = path->port,
		.from_own_node = explain->from.kind == EXPLAIN_THIS_NODE && path->to.local,
		.through_service = explain->to.kind == EXPLAIN_SERVICE,
	};
	int r;

	method->asked = true;
	path->peer[EGRESS] = question.destination;
	path->peer[INGRESS] = question.source;
	method->reason = explain->reason;
	if (explain->reason)
		return 0;
	r = hold(explain, &explain->from, &question.source, &path->held[EGRESS]);
	if (r == 0)
		r = hold(explain, &path->to, &question.destination, &path->held[INGRESS]);
	if (r == 0)
		r = policy_evaluate(&explain->objects, &question, &path->answer);
	if (r < 0)
		return r;
	method->evaluated[EGRESS] = path->answer.egress.basis != EVALUATE_NOT_ASKED;
	method->evaluated[INGRESS] = path->answer.ingress.basis != EVALUATE_NOT_ASKED;
	take_rule(&path->answer.egress, &method->rule[EGRESS]);
	take_rule(&path->answer.ingress, &method->rule[INGRESS]);
	method->reason = route_reason(explain, path);
	if (!method->reason)
		method->reason = policy_reason(explain, path);
	method->allowed = !method->reason;
	return 0;
}
