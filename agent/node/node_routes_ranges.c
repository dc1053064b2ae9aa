/* SPDX-License-Identifier: Apache-2.0 */
/* Which ranges there are, and which route each is to have. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/node/node_routes_internal.h"
#include "agent/common/address.h"

struct pod_range *ranges_find(const struct node_routes *r, const struct prefix *range)
{
	return (struct pod_range *)prefix_index_find(&r->ranges, range);
}

struct pod_range *ranges_get(struct node_routes *r, const struct prefix *range)
{
	struct pod_range *found = ranges_find(r, range);

	if (found)
		return found;
	found = calloc(1, sizeof(*found));
	if (!found)
		return NULL;
	found->range = *range;
	if (prefix_index_add(&r->ranges, &found->range) < 0) {
		free(found);
		return NULL;
	}
	return found;
}

void ranges_forget(struct node_routes *r, struct pod_range *range)
{
	prefix_index_remove(&r->ranges, &range->range);
	free(range->why);
	free(range);
}

void ranges_clear(struct node_routes *r)
{
	while (r->ranges.count)
		ranges_forget(r, (struct pod_range *)r->ranges.items[r->ranges.count - 1]);
	prefix_index_clear(&r->ranges);
}

struct reading {
	struct node_routes *routes;
	int result;
};

static void read_claim(const struct prefix *range, void *data)
{
	struct reading *reading = data;
	struct pod_range *entry = ranges_get(reading->routes, range);

	if (entry)
		routes_ready(reading->routes, entry);
	else
		reading->result = -ENOMEM;
}

int ranges_read(struct node_routes *r)
{
	struct reading reading = {.routes = r};

	peers_each_range(r->env.peers, read_claim, &reading);
	/* Those that nobody claims any more as well. */
	for (size_t i = 0; i < r->ranges.count; i++)
		routes_ready(r, (struct pod_range *)r->ranges.items[i]);
	return reading.result;
}

void ranges_evaluate(const struct node_routes *r, struct pod_range *range)
{
	const struct peer_route *route = peers_route(r->env.peers, &range->range);

	range->is_claimed = peers_claims_range(r->env.peers, &range->range);
	range->want = WANT_NONE;
	if (!route)
		return;
	switch (route->way) {
	case WAY_TUNNEL:
		/* Without the link there can be no route. */
		if (!route->ifindex)
			return;
		break;
	case WAY_NATIVE:
		break;
	case WAY_UNKNOWN:
		range->want = WANT_UNKNOWN;
		return;
	case WAY_NONE:
		return;
	}
	range->want = WANT_ROUTE;
	range->wanted = (struct next_stop){
		.ifindex = route->ifindex, .gateway = route->gateway, .source = route->source};
}

const char *ranges_node(const struct node_routes *r, const struct pod_range *range)
{
	const struct peer *peer = peers_owner(r->env.peers, &range->range);

	return peer ? peer->name : "";
}
