/* SPDX-License-Identifier: Apache-2.0 */
/* How each peer is reached, by this node's networks and its tunnel; and which ranges cannot be
 * another node's because they are this one's. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/address.h"
#include "agent/node/peers_internal.h"

const char *const peer_way_names[] = {
	[WAY_NONE] = "routes",
	[WAY_NATIVE] = "native",
	[WAY_TUNNEL] = "tunnel",
	[WAY_UNKNOWN] = "unknown",
};

/* ---------------------------------------------------------------- this node's networks */

static bool is_of_a_link(const struct address_info *network)
{
	return !addr_reserved_reason(&network->prefix.addr) && network->prefix.length;
}

/* The networks without host bits, each once. 0 or -ENOMEM. */
static int index_own(const struct address_info *list, size_t count, struct prefix **ret_items,
		     struct prefix_index *ret)
{
	struct prefix *items = calloc(count + 1, sizeof(*items));
	struct prefix_index index = {};
	size_t used = 0, i;
	int result = items ? 0 : -ENOMEM;

	for (i = 0; i < count && result == 0; i++) {
		if (!is_of_a_link(&list[i]))
			continue;
		items[used] = list[i].prefix;
		prefix_clear_host_bits(&items[used]);
		if (prefix_index_find(&index, &items[used]))
			continue;
		result = prefix_index_add(&index, &items[used++]);
	}
	if (result < 0) {
		prefix_index_clear(&index);
		free(items);
		return result;
	}
	*ret_items = items;
	*ret = index;
	return 0;
}

const struct prefix *peers_own_network(const struct peers *p, const struct prefix *range)
{
	const struct prefix *found = prefix_index_find(&p->own, range);

	if (!found)
		found = prefix_index_inside(&p->own, range, NULL);
	return found ? found : prefix_index_around(&p->own, range, NULL);
}

static bool is_on_a_link(const struct peers *p, const struct polder_addr *addr)
{
	for (size_t i = 0; i < p->network_count; i++)
		if (memcmp(&p->networks[i].prefix.addr, addr, sizeof(*addr)) == 0)
			return true;
	return false;
}

bool peers_is_own_address(const struct peers *p, const struct polder_addr *addr)
{
	return is_on_a_link(p, addr) ||
	       (!addr_is_zero(&p->node_ipv4) && memcmp(&p->node_ipv4, addr, sizeof(*addr)) == 0) ||
	       (!addr_is_zero(&p->node_ipv6) && memcmp(&p->node_ipv6, addr, sizeof(*addr)) == 0);
}

static bool meets(const struct prefix *a, const struct prefix *b)
{
	return b->length &&
	       (prefix_covers(a, &b->addr, b->length) || prefix_covers(b, &a->addr, a->length));
}

/* An InternalIP of the peer that is one of this node's. */
static bool has_own_address(const struct peers *p, const struct peer *peer, bool v4)
{
	for (size_t i = 0; i < peer->internal_count; i++)
		if (addr_is_v4(&peer->addresses[i]) == v4 &&
		    peers_is_own_address(p, &peer->addresses[i]))
			return true;
	return false;
}

static bool is_host(const struct peers *p, const struct claimed *place)
{
	return place->prefix.length == 128 && peers_host(p, &place->prefix.addr) == place;
}

bool peers_is_ours(const struct peers *p, const struct claimed *place)
{
	if (is_host(p, place))
		return peers_is_own_address(p, &place->prefix.addr);
	return meets(&place->prefix, &p->config->pod_cidr_v4) ||
	       meets(&place->prefix, &p->config->pod_cidr_v6);
}

/* Of another Node than this one. */
static bool is_claimed(const struct claimed *place)
{
	const struct claim *claim = place->claims;

	while (claim && claim->peer->is_self)
		claim = claim->next;
	return claim;
}

enum range_fault peers_fault_of(const struct peers *p, const struct claimed *place)
{
	if (!is_claimed(place))
		return RANGE_GOOD;
	if (peers_is_ours(p, place))
		return RANGE_OURS;
	if (!place->owner)
		return RANGE_TAKEN;
	if (place->owner->is_self || is_host(p, place))
		return RANGE_GOOD;
	if (peers_own_network(p, &place->prefix))
		return RANGE_HOST;
	return has_own_address(p, place->owner, prefix_is_v4(&place->prefix)) ? RANGE_GATEWAY
									      : RANGE_GOOD;
}

/* ---------------------------------------------------------------- one peer's ways */

/* fe80::/64 is on every link and says nothing. */
static bool is_link_local(const struct polder_addr *addr)
{
	return !addr_is_v4(addr) && addr->bytes[0] == 0xfe && (addr->bytes[1] & 0xc0) == 0x80;
}

/* The place among the uplinks; -1: it is none. */
static int uplink_of(const struct peers *p, int ifindex)
{
	for (int i = 0; i < CONFIG_MAX_UPLINKS; i++)
		if (p->uplinks[i] && p->uplinks[i] == ifindex)
			return i;
	return -1;
}

/* The uplink on whose network the address lies, -1: none. `*ret_any`: an uplink has a network of
 * this family. */
static int neighbour_of(const struct peers *p, const struct polder_addr *addr, bool *ret_any)
{
	for (size_t i = 0; i < p->network_count; i++) {
		const struct address_info *network = &p->networks[i];
		int uplink = uplink_of(p, network->ifindex);

		if (uplink < 0 || addr_is_v4(&network->prefix.addr) != addr_is_v4(addr) ||
		    is_link_local(&network->prefix.addr))
			continue;
		*ret_any = true;
		if (prefix_covers(&network->prefix, addr, 128))
			return uplink;
	}
	return -1;
}

/* By the first InternalIP of the family that is a neighbour's. */
static struct peer_route native_route(const struct peers *p, const struct peer *peer, bool v4)
{
	struct peer_route route;

	memset(&route, 0, sizeof(route)); /* routes are compared as bytes */
	for (size_t i = 0; i < peer->internal_count; i++) {
		const struct polder_addr *addr = &peer->addresses[i];
		bool known = false;
		int uplink;

		if (addr_is_v4(addr) != v4)
			continue;
		uplink = neighbour_of(p, addr, &known);
		if (uplink >= 0) {
			route.way = WAY_NATIVE;
			route.ifindex = p->uplinks[uplink];
			route.mtu = p->mtus[uplink];
			route.gateway = *addr;
			return route;
		}
		if (!known)
			route.way = WAY_UNKNOWN;
	}
	return route;
}

/* IPv4 where both have it. All 0: none. */
static void find_ends(const struct peers *p, const struct peer *peer, struct polder_addr *ret_there,
		      struct polder_addr *ret_here)
{
	for (int family = 0; family < 2; family++) {
		const struct polder_addr *here = family == 0 ? &p->node_ipv4 : &p->node_ipv6;

		for (size_t i = 0; i < peer->internal_count && !addr_is_zero(here); i++) {
			if (addr_is_v4(&peer->addresses[i]) != (family == 0))
				continue;
			*ret_there = peer->addresses[i];
			*ret_here = *here;
			return;
		}
	}
}

static struct peer_route tunnel_route(const struct peers *p, const struct polder_addr *underlay,
				      bool v4)
{
	const struct polder_addr *source = v4 ? &p->node_ipv4 : &p->node_ipv6;
	struct peer_route route;

	memset(&route, 0, sizeof(route));
	if (addr_is_zero(underlay))
		return route;
	route.way = WAY_TUNNEL;
	route.ifindex = p->tunnel.ifindex;
	route.mtu = addr_is_v4(underlay) ? p->tunnel.mtu4 : p->tunnel.mtu6;
	if (!addr_is_zero(source) && is_on_a_link(p, source))
		route.source = *source;
	return route;
}

static bool has_ranges(const struct peer *peer, bool v4)
{
	for (size_t i = 0; i < peer->range_count; i++)
		if (prefix_is_v4(&peer->ranges[i].place->prefix) == v4)
			return true;
	return false;
}

/* Is each family that the peer has pods of reached natively, or may be in a moment? */
static bool is_near(const struct peer *peer, const struct peer_route routes[2])
{
	for (int i = 0; i < 2; i++)
		if (has_ranges(peer, i == 0) && routes[i].way == WAY_NONE)
			return false;
	return routes[0].way != WAY_NONE || routes[1].way != WAY_NONE;
}

/* A peer is reached one way, in both families: it has one place in `next_hops`. */
static void find_routes(const struct peers *p, const struct peer *peer,
			const struct polder_addr *underlay, struct peer_route ret[2])
{
	struct peer_route routes[2] = {native_route(p, peer, true), native_route(p, peer, false)};

	if (p->config->tunnel == TUNNEL_VXLAN ||
	    (p->config->tunnel == TUNNEL_AUTO && !is_near(peer, routes) && !addr_is_zero(underlay)))
		for (int i = 0; i < 2; i++)
			routes[i] = tunnel_route(p, underlay, i == 0);
	memcpy(ret, routes, sizeof(routes));
}

static bool is_v6_end(const struct polder_addr *underlay)
{
	return !addr_is_zero(underlay) && !addr_is_v4(underlay);
}

bool peers_have_v6_end(const struct peers *p)
{
	return p->v6_ends > 0;
}

void peer_forget_end(struct peers *p, struct peer *peer)
{
	p->v6_ends -= is_v6_end(&peer->underlay);
	peer->underlay = (struct polder_addr){};
}

bool peer_find_ways(struct peers *p, struct peer *peer)
{
	struct polder_addr there = {}, here = {};
	struct peer_route routes[2];
	bool same;

	if (peer->is_self)
		return false;
	if (p->config->tunnel != TUNNEL_NONE)
		find_ends(p, peer, &there, &here);
	find_routes(p, peer, &there, routes);
	same = memcmp(routes, peer->routes, sizeof(routes)) == 0 &&
	       memcmp(&there, &peer->underlay, sizeof(there)) == 0 &&
	       memcmp(&here, &peer->local, sizeof(here)) == 0;
	if (routes[0].way != peer->routes[0].way || routes[1].way != peer->routes[1].way)
		peer->since = time(NULL);
	memcpy(peer->routes, routes, sizeof(routes));
	p->v6_ends += is_v6_end(&there);
	p->v6_ends -= is_v6_end(&peer->underlay);
	peer->underlay = there;
	peer->local = here;
	if (!same)
		peers_hold_neighbours(p, peer);
	return !same;
}

/* ---------------------------------------------------------------- all of them */

static void find_all_ways(struct peers *p)
{
	struct hash_table_item *item;

	for (item = hash_table_first(&p->all); item; item = hash_table_next(&p->all, item)) {
		struct peer *peer = (struct peer *)item;

		if (!peer_find_ways(p, peer))
			continue;
		peers_mark_dirty(p, peer);
		peers_tell_way(p, peer);
	}
}

static void find_all_faults(struct peers *p)
{
	for (size_t i = 0; i < p->ranges.count; i++) {
		struct claimed *place = (struct claimed *)p->ranges.items[i];
		enum range_fault fault = peers_fault_of(p, place);

		if (fault == place->fault)
			continue;
		place->fault = fault;
		if (place->owner)
			peers_mark_dirty(p, place->owner);
		peers_tell(p, &place->prefix, PEERS_OWNER);
	}
}

static bool same_network(const struct peers *p, const struct peers_network *n)
{
	if (n->address_count != p->network_count ||
	    memcmp(&n->node_ipv4, &p->node_ipv4, sizeof(p->node_ipv4)) != 0 ||
	    memcmp(&n->node_ipv6, &p->node_ipv6, sizeof(p->node_ipv6)) != 0)
		return false;
	for (size_t i = 0; i < CONFIG_MAX_UPLINKS; i++)
		if (p->uplinks[i] != (i < n->uplink_count ? n->uplinks[i] : 0) ||
		    p->mtus[i] != (i < n->uplink_count ? n->mtus[i] : 0))
			return false;
	for (size_t i = 0; i < n->address_count; i++)
		if (n->addresses[i].ifindex != p->networks[i].ifindex ||
		    prefix_compare(&n->addresses[i].prefix, &p->networks[i].prefix) != 0)
			return false;
	return true;
}

int peers_set_network(struct peers *p, const struct peers_network *n)
{
	struct address_info *copy;
	struct prefix_index own = {};
	struct prefix *items = NULL;
	int r;

	if (same_network(p, n))
		return 0;
	copy = calloc(n->address_count + 1, sizeof(*copy));
	r = copy ? index_own(n->addresses, n->address_count, &items, &own) : -ENOMEM;
	if (r < 0) {
		free(copy);
		return r;
	}
	if (n->address_count)
		memcpy(copy, n->addresses, n->address_count * sizeof(*copy));
	free(p->networks);
	free(p->own_items);
	prefix_index_clear(&p->own);
	p->networks = copy;
	p->network_count = n->address_count;
	p->own_items = items;
	p->own = own;
	p->node_ipv4 = n->node_ipv4;
	p->node_ipv6 = n->node_ipv6;
	for (size_t i = 0; i < CONFIG_MAX_UPLINKS; i++) {
		p->uplinks[i] = i < n->uplink_count ? n->uplinks[i] : 0;
		p->mtus[i] = i < n->uplink_count ? n->mtus[i] : 0;
	}
	find_all_ways(p);
	find_all_faults(p);
	for (size_t i = 0; i < p->hosts.count; i++)
		peers_resolve_host(p, (struct claimed *)p->hosts.items[i]);
	return 0;
}

void peers_set_tunnel(struct peers *p, const struct peers_tunnel *tunnel)
{
	if (p->tunnel.ifindex == tunnel->ifindex && p->tunnel.mtu4 == tunnel->mtu4 &&
	    p->tunnel.mtu6 == tunnel->mtu6)
		return;
	p->tunnel = *tunnel;
	find_all_ways(p);
}

const struct peers_tunnel *peers_get_tunnel(const struct peers *p)
{
	return &p->tunnel;
}
