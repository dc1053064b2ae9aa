/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/node/node_routes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/log.h"

struct installed {
	struct route_spec route;
	bool wanted;
};

struct node_routes {
	struct installed *items;
	size_t count;
};

int node_routes_new(struct node_routes **ret)
{
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : -ENOMEM;
}

void node_routes_free(struct node_routes *r)
{
	if (!r)
		return;
	free(r->items);
	free(r);
}

/* The uplink on whose network the address lies; 0: none. Or -errno: nobody knows. */
static int neighbour_link(const struct node *node, struct netlink *nl,
			  const struct polder_addr *addr)
{
	size_t i, j;
	int r;

	for (i = 0; i < node->uplink_count; i++) {
		struct prefix *list = NULL;
		size_t count = 0;
		bool found = false;

		if (!node->uplinks[i].ifindex)
			continue;
		r = netlink_address_list(nl, node->uplinks[i].ifindex, &list, &count);
		if (r < 0)
			return r;
		for (j = 0; j < count && !found; j++) {
			struct prefix network = list[j];
			char text[PREFIX_TEXT_MAX];

			/* The list keeps host bits; a parsed prefix has none. */
			found = prefix_parse(prefix_format(&network, text), &network) == 0 &&
				addr_is_v4(&network.addr) == addr_is_v4(addr) &&
				prefix_contains(&network, addr);
		}
		free(list);
		if (found)
			return node->uplinks[i].ifindex;
	}
	return 0;
}

static bool route_equal(const struct route_spec *a, const struct route_spec *b)
{
	return a->ifindex == b->ifindex && a->destination.length == b->destination.length &&
	       memcmp(&a->destination.addr, &b->destination.addr, sizeof(a->destination.addr)) ==
		       0 &&
	       memcmp(&a->gateway, &b->gateway, sizeof(a->gateway)) == 0;
}

/* 0 or -errno; `*ret_unsure`: it is not noted that the route is wanted. */
static int want(struct node_routes *r, struct netlink *nl, const struct route_spec *route,
		bool *ret_unsure)
{
	struct installed *grown;
	size_t i;

	for (i = 0; i < r->count; i++)
		if (route_equal(&r->items[i].route, route)) {
			r->items[i].wanted = true;
			return netlink_route_exists(nl, route) ? 0
							       : netlink_route_replace(nl, route);
		}
	grown = reallocarray(r->items, r->count + 1, sizeof(*grown));
	if (!grown) {
		*ret_unsure = true;
		return -ENOMEM;
	}
	r->items = grown;
	grown[r->count++] = (struct installed){.route = *route, .wanted = true};
	return netlink_route_replace(nl, route);
}

/* The link and gateway to a range; no link: there is no route to it. */
static int find_gateway(const struct node_object *other, const struct prefix *range,
			const struct node *node, struct netlink *nl, struct route_spec *route)
{
	size_t i;
	int link;

	for (i = 0; i < other->internal_count && !route->ifindex; i++) {
		const struct polder_addr *gateway = &other->addresses[i];

		if (addr_is_v4(gateway) != addr_is_v4(&range->addr))
			continue;
		link = neighbour_link(node, nl, gateway);
		if (link < 0)
			return link;
		route->ifindex = link;
		route->gateway = *gateway;
	}
	return 0;
}

static int want_node(struct node_routes *r, const struct object *other, const struct node *node,
		     struct netlink *nl, bool *ret_unsure)
{
	size_t i;
	int first = 0;

	for (i = 0; i < other->node.pod_range_count; i++) {
		const struct prefix *range = &other->node.pod_ranges[i];
		struct route_spec route = {};
		int result;

		result = find_gateway(&other->node, range, node, nl, &route);
		if (result == 0 && !route.ifindex)
			continue;
		*ret_unsure |= result < 0;
		route.destination.addr = range->addr;
		route.destination.length = range->length;
		route.family = addr_is_v4(&range->addr) ? FAMILY_V4 : FAMILY_V6;
		route.has_gateway = true;
		if (result == 0)
			result = want(r, nl, &route, ret_unsure);
		if (result < 0) {
			log_error("routes", "node %s: route to its pods: %s: %s", other->name,
				  strerror(-result), netlink_error(nl));
			first = first ? first : result;
		}
	}
	return first;
}

int node_routes_apply(struct node_routes *r, const struct store *store, const struct config *config,
		      const struct node *node, struct netlink *nl)
{
	size_t count, i, kept = 0;
	const struct object *const *nodes = store_objects(store, OBJECT_NODE, &count);
	bool unsure = false;
	int first = 0, result;

	for (i = 0; i < r->count; i++)
		r->items[i].wanted = false;
	for (i = 0; i < count; i++) {
		if (strcmp(nodes[i]->name, config->node_name) == 0)
			continue;
		result = want_node(r, nodes[i], node, nl, &unsure);
		first = first ? first : result;
	}
	/* A route is deleted only if it is known of all that are wanted which they are. */
	for (i = 0; i < r->count; i++) {
		if (unsure || r->items[i].wanted)
			r->items[kept++] = r->items[i];
		else
			netlink_route_delete(nl, &r->items[i].route);
	}
	r->count = kept;
	return first;
}
