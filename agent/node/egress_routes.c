/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/node/egress_routes.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/address.h"

/* Where something may change: a route's destination, or a border between two source addresses. */
struct point {
	struct prefix prefix;
	const struct route_info *route; /* NULL: the one around it holds */
	size_t order;			/* of routes alike the first counts */
};

struct points {
	struct point *items;
	size_t count, room;
	bool failed;
};

static void add_point(struct points *p, const struct polder_addr *addr, unsigned int length,
		      const struct route_info *route)
{
	size_t room = p->room ? 2 * p->room : 64;
	struct point *items, *point;

	if (p->count == p->room) {
		items = reallocarray(p->items, room, sizeof(*items));
		if (!items) {
			p->failed = true;
			return;
		}
		p->items = items;
		p->room = room;
	}
	point = &p->items[p->count];
	*point = (struct point){.route = route, .order = p->count};
	point->prefix = (struct prefix){.addr = *addr, .length = (uint8_t)length};
	for (unsigned int bit = length; bit < 128; bit++)
		point->prefix.addr.bytes[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
	p->count++;
}

/* By address and length; a route before a border, the preferred route before others. */
static int compare_points(const void *a, const void *b)
{
	const struct point *one = a, *other = b;
	int order = prefix_compare(&one->prefix, &other->prefix);

	if (order)
		return order;
	if (!one->route != !other->route)
		return one->route ? -1 : 1;
	if (one->route && one->route->priority != other->route->priority)
		return one->route->priority < other->route->priority ? -1 : 1;
	return one->order < other->order ? -1 : one->order > other->order;
}

/* ---------------------------------------------------------------- borders */

static bool is_served(const struct egress_input *input, int ifindex)
{
	for (size_t i = 0; i < input->uplink_count; i++)
		if (input->uplinks[i] == ifindex)
			return true;
	return false;
}

static int compare_addresses(const void *a, const void *b)
{
	const struct address_info *const *one = a, *const *other = b;

	return memcmp(&(*one)->prefix.addr, &(*other)->prefix.addr, sizeof(struct polder_addr));
}

/*
 * Rule 8 of RFC 6724: of two addresses the one with more bits in common with the destination, as
 * far as its network goes. That changes where the two part, and where the shorter network ends.
 * Neighbours in the sorted list part last, so they show every place where any two do.
 */
static void add_borders(struct points *p, const struct address_info *const *sorted, size_t count)
{
	bool lengths[129] = {};

	for (size_t i = 0; i < count; i++) {
		lengths[sorted[i]->prefix.length] = true;
		add_point(p, &sorted[i]->prefix.addr, 128, NULL); /* rule 1 */
	}
	for (size_t i = 0; i < count; i++)
		for (unsigned int length = 0; length < sorted[i]->prefix.length; length++)
			if (lengths[length])
				add_point(p, &sorted[i]->prefix.addr, length + 1, NULL);
	for (size_t i = 0; i + 1 < count; i++) {
		const struct polder_addr *a = &sorted[i]->prefix.addr,
					 *b = &sorted[i + 1]->prefix.addr;
		unsigned int bits = network_common_bits(a, b);

		if (bits == 128)
			continue;
		add_point(p, a, bits + 1, NULL);
		add_point(p, b, bits + 1, NULL);
	}
}

static void add_all_borders(struct points *p, const struct network *n)
{
	const struct address_info **sorted = calloc(n->address_count + 1, sizeof(*sorted));
	size_t count = 0;

	if (!sorted) {
		p->failed = true;
		return;
	}
	for (size_t i = 0; i < n->address_count; i++)
		if (!addr_is_v4(&n->addresses[i].prefix.addr) &&
		    n->addresses[i].scope == RT_SCOPE_UNIVERSE)
			sorted[count++] = &n->addresses[i];
	qsort(sorted, count, sizeof(*sorted), compare_addresses);
	add_borders(p, sorted, count);
	free(sorted);
	for (size_t i = 0; count > 1 && i < n->label_count; i++)
		add_point(p, &n->labels[i].prefix.addr, n->labels[i].prefix.length, NULL);
}

/* ---------------------------------------------------------------- the ways */

/* Is there a point inside the prefix, or exactly there? */
static bool has_point(const struct points *p, const struct prefix *prefix, bool *ret_exact)
{
	size_t low = 0, high = p->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (prefix_compare(&p->items[middle].prefix, prefix) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == p->count)
		return false;
	*ret_exact = prefix_compare(&p->items[low].prefix, prefix) == 0;
	return prefix_covers(prefix, &p->items[low].prefix.addr, p->items[low].prefix.length);
}

/* An address for which the prefix is the longest point: what holds for it holds for all others like
 * it. One that points inside cover wholly has none, and any will do. */
static struct polder_addr typical(const struct points *p, const struct prefix *prefix)
{
	struct prefix at = *prefix;

	while (at.length < 128) {
		struct prefix half = at;
		bool exact = false, other_exact = false;

		half.length++;
		half.addr.bytes[at.length / 8] |= (uint8_t)(0x80 >> at.length % 8);
		if (!has_point(p, &half, &exact))
			return half.addr;
		half.addr = at.addr;
		if (!has_point(p, &half, &other_exact))
			return half.addr;
		if (exact && other_exact)
			break;
		if (other_exact)
			half.addr.bytes[at.length / 8] |= (uint8_t)(0x80 >> at.length % 8);
		at = half;
	}
	return at.addr;
}

/* Why nothing leaves by it. What `throw` leaves to other tables none of them has. */
static uint16_t reason_of(const struct route_info *route)
{
	switch (route ? route->type : RTN_UNSPEC) {
	case RTN_UNREACHABLE:
		return REASON_ROUTE_UNREACHABLE;
	case RTN_PROHIBIT:
		return REASON_ROUTE_PROHIBITED;
	case RTN_BLACKHOLE:
		return REASON_ROUTE_BLACKHOLE;
	default:
		return REASON_NO_ROUTE;
	}
}

static struct node_egress way_of(const struct egress_input *input, const struct points *p,
				 const struct point *point, const struct route_info *route)
{
	const bool v4 = route && addr_is_v4(&route->destination.addr);
	const struct polder_addr *configured = v4 ? &input->node_ip_v4 : &input->node_ip_v6;
	struct polder_addr to;
	struct node_egress way;

	memset(&way, 0, sizeof(way)); /* ways are compared as bytes */
	way.prefix = point->prefix;
	if (!route || route->type != RTN_UNICAST || !is_served(input, route->ifindex)) {
		way.reason = reason_of(route);
		return way;
	}
	way.ifindex = route->ifindex;
	if (addr_is_zero(configured)) {
		to = v4 ? point->prefix.addr : typical(p, &point->prefix);
		way.source = network_source(input->network, route, &to);
	} else if (network_has_address(input->network, configured)) {
		way.source = *configured;
	}
	return way;
}

static bool same_way(const struct node_egress *a, const struct node_egress *b)
{
	return a->ifindex == b->ifindex && a->reason == b->reason &&
	       memcmp(&a->source, &b->source, sizeof(a->source)) == 0;
}

/* A point, the route that holds there, and the element of the map that a look-up finds there. */
struct level {
	const struct route_info *route;
	struct node_egress way;
	struct prefix prefix;
};

/* Routes that say what is delivered here say nothing of what leaves. */
static bool leads(const struct route_info *route)
{
	switch (route->type) {
	case RTN_UNICAST:
		return route->ifindex != 0;
	case RTN_BLACKHOLE:
	case RTN_UNREACHABLE:
	case RTN_PROHIBIT:
	case RTN_THROW:
		return true;
	default:
		return false;
	}
}

static void gather_points(const struct egress_input *input, struct points *p)
{
	static const struct polder_addr v4 = {.bytes = {[10] = 0xff, [11] = 0xff}}, v6 = {};
	const struct network *n = input->network;

	add_point(p, &v4, POLDER_V4_MAPPED_BITS, NULL);
	add_point(p, &v6, 0, NULL);
	for (size_t i = 0; i < n->route_count; i++)
		if (leads(&n->routes[i]))
			add_point(p, &n->routes[i].destination.addr,
				  n->routes[i].destination.length, &n->routes[i]);
	add_all_borders(p, n);
	if (!p->failed)
		qsort(p->items, p->count, sizeof(*p->items), compare_points);
}

static bool is_root(const struct prefix *prefix)
{
	return prefix->length == 0 ||
	       (prefix->length == POLDER_V4_MAPPED_BITS && addr_is_v4(&prefix->addr));
}

/* From the shortest prefix to those inside it. No chain of prefixes is longer than 129. */
static size_t walk(const struct egress_input *input, const struct points *p,
		   struct node_egress *ways)
{
	struct level chain[130];
	size_t depth = 0, count = 0;

	for (size_t i = 0; i < p->count; i++) {
		const struct point *point = &p->items[i];
		struct level level = {.prefix = point->prefix, .route = point->route};
		bool root = is_root(&point->prefix);

		if (i && prefix_compare(&p->items[i - 1].prefix, &point->prefix) == 0)
			continue;
		while (depth && !prefix_covers(&chain[depth - 1].prefix, &point->prefix.addr,
					       point->prefix.length))
			depth--;
		/* What holds for all of IPv6 says nothing of IPv4. */
		if (!level.route && depth && !root)
			level.route = chain[depth - 1].route;
		level.way = way_of(input, p, point, level.route);
		if (root || !depth || !same_way(&level.way, &chain[depth - 1].way))
			ways[count++] = level.way;
		chain[depth++] = level;
	}
	return count;
}

static int compare_ways(const void *a, const void *b)
{
	const struct node_egress *one = a, *other = b;

	return prefix_compare(&one->prefix, &other->prefix);
}

static struct node_egress *find_way(struct node_egress *ways, size_t count,
				    const struct prefix *prefix)
{
	const struct node_egress key = {.prefix = *prefix};

	return bsearch(&key, ways, count, sizeof(*ways), compare_ways);
}

/* Nothing that leaves goes to the node's own addresses: their places are free for what they are
 * themselves. */
static size_t add_own(const struct egress_input *input, struct node_egress *ways, size_t count)
{
	const struct network *n = input->network;
	size_t all = count;

	for (size_t i = 0; i < n->address_count; i++) {
		const struct address_info *a = &n->addresses[i];
		const struct prefix own = {.addr = a->prefix.addr, .length = 128};
		struct node_egress *way;

		if (!is_served(input, a->ifindex) || a->scope == RT_SCOPE_HOST)
			continue;
		way = find_way(ways, count, &own);
		if (!way)
			way = &ways[all++];
		memset(way, 0, sizeof(*way));
		way->prefix = own;
		way->source = a->prefix.addr;
		way->ifindex = a->ifindex;
	}
	if (all)
		qsort(ways, all, sizeof(*ways), compare_ways);
	return all;
}

int egress_routes_compute(const struct egress_input *input, struct node_egress **ret,
			  size_t *ret_count)
{
	struct points points = {};
	struct node_egress *ways = NULL;

	gather_points(input, &points);
	if (!points.failed)
		ways = calloc(points.count + input->network->address_count + 1, sizeof(*ways));
	if (!ways) {
		free(points.items);
		return -ENOMEM;
	}
	*ret_count = add_own(input, ways, walk(input, &points, ways));
	*ret = ways;
	free(points.items);
	return 0;
}

const struct node_egress *egress_routes_find(const struct node_egress *ways, size_t count,
					     const struct polder_addr *to)
{
	const struct node_egress *best = NULL;

	/* Those that hold an address stand before it, the longest last. */
	for (size_t i = 0; i < count; i++)
		if (prefix_covers(&ways[i].prefix, to, 128) &&
		    (!best || ways[i].prefix.length > best->prefix.length))
			best = &ways[i];
	return best;
}
