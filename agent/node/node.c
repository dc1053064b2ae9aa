/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/node/node.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/kernel/maps.h"
#include "agent/kernel/map_cache.h"
#include "agent/kernel/namespace.h"
#include "agent/pods/pods.h"

static void prefix_to_range(const struct prefix *prefix, struct polder_range *ret)
{
	int bit;

	*ret = (struct polder_range){.addr = prefix->addr};
	for (bit = 0; bit < prefix->length; bit++)
		ret->mask.bytes[bit / 8] |= 0x80 >> bit % 8;
}

static void own_range(struct datapath_config *c, const struct prefix *prefix)
{
	if (prefix->length)
		prefix_to_range(prefix, &c->own_range[c->own_range_count++]);
}

/* ---------------------------------------------------------------- maps */

static int write_this_node(const struct node *node, struct maps *maps)
{
	struct node_addresses old = {}, new = {.ipv4_be = node->ipv4.words_be[3]};
	const uint32_t zero = 0;
	int r;

	memcpy(new.ipv6_be, &node->ipv6, sizeof(new.ipv6_be));
	r = maps_find(maps, MAP_THIS_NODE, &zero, &old);
	if (r == 0 && memcmp(&old, &new, sizeof(new)) != 0)
		r = maps_put(maps, MAP_THIS_NODE, &zero, &new);
	return r;
}

/* The uplink that has the place; NULL: it is nobody's. */
static const struct node_uplink *uplink_at(const struct node *node, uint32_t place)
{
	for (size_t i = 0; i < node->uplink_count; i++)
		if (node->uplinks[i].ifindex && node->uplinks[i].place == place)
			return &node->uplinks[i];
	return NULL;
}

/* The uplinks' places, or with `release` those that are nobody's. */
static int write_hops(const struct node *node, struct maps *maps, bool release)
{
	uint32_t place;
	int r = 0;

	for (place = 0; place < NEXT_HOP_UPLINKS && r == 0; place++) {
		const struct node_uplink *uplink = uplink_at(node, place);
		struct next_hop old = {}, hop = {};

		if (!uplink != release)
			continue;
		if (uplink)
			hop = (struct next_hop){.claim = HOP_READY,
						.ifindex = (uint32_t)uplink->ifindex,
						.mtu = uplink->mtu > UINT16_MAX
							       ? UINT16_MAX
							       : (uint16_t)uplink->mtu};
		r = maps_find(maps, MAP_NEXT_HOPS, &place, &old);
		if (r == 0 && (old.ifindex != hop.ifindex || old.mtu != hop.mtu))
			r = maps_put(maps, MAP_NEXT_HOPS, &place, &hop);
	}
	return r;
}

static void way_to_entry(const struct node *node, const struct node_egress *way,
			 struct address_key *key, struct egress_route *entry)
{
	*key = (struct address_key){.prefixlen = way->prefix.length, .addr = way->prefix.addr};
	*entry = (struct egress_route){.source = way->source, .reason = way->reason};
	for (size_t i = 0; i < node->uplink_count; i++)
		if (way->ifindex && node->uplinks[i].ifindex == way->ifindex) {
			entry->ifindex = (uint32_t)way->ifindex;
			entry->hop = (uint16_t)node->uplinks[i].place;
		}
}

/* Those that lead, or those that forbid. What finds no room is left out; 0 or the first error. */
static int put_ways(const struct node *node, struct map_cache *cache, bool leading)
{
	int first = 0;

	for (size_t i = 0; i < node->egress_count; i++) {
		struct address_key key;
		struct egress_route entry;
		int r;

		if ((node->egress[i].ifindex != 0) != leading)
			continue;
		way_to_entry(node, &node->egress[i], &key, &entry);
		r = map_cache_put(cache, &key, &entry);
		if (r < 0 && r != -E2BIG)
			return r;
		if (first == 0)
			first = r;
	}
	return first;
}

/* Without room it is ways that are missing and not prohibitions: those go first, and what nobody
 * wants any more makes room. */
static int put_all_ways(const struct node *node, struct map_cache *cache)
{
	int forbidding = put_ways(node, cache, false), leading;

	if (forbidding < 0 && forbidding != -E2BIG)
		return forbidding;
	leading = put_ways(node, cache, true);
	return leading < 0 ? leading : forbidding;
}

static int write_ways(const struct node *node, struct maps *maps)
{
	struct map_cache *cache = NULL;
	int r = map_cache_open(maps, MAP_EGRESS_ROUTES, &cache), pruned = 0;

	if (r < 0)
		return r;
	map_cache_begin(cache);
	r = put_all_ways(node, cache);
	if (r == 0 || r == -E2BIG)
		pruned = map_cache_prune(cache);
	if (r == -E2BIG && pruned > 0)
		r = put_all_ways(node, cache);
	map_cache_close(cache);
	return pruned < 0 ? pruned : r;
}

int node_write_maps(const struct node *node, struct maps *maps, bool *ret_changed)
{
	uint64_t before = maps_writes(maps);
	int r = write_this_node(node, maps);

	if (r == 0)
		r = write_hops(node, maps, false);
	if (r == 0)
		r = write_ways(node, maps);
	*ret_changed = maps_writes(maps) != before;
	return r;
}

int node_release_hops(const struct node *node, struct maps *maps)
{
	return write_hops(node, maps, true);
}

/* ---------------------------------------------------------------- constants */

/* Where `local_pods` is worth a look. A family without range: no address is. */
static void local_pods(struct datapath_config *c, const struct config *config,
		       const struct maps *maps)
{
	struct polder_range range = {};

	c->local_pods_mask = maps_local_pods_mask(maps);
	prefix_to_range(&config->pod_cidr_v4, &range);
	c->pod_range_ipv4_be = config->pod_cidr_v4.length ? range.addr.words_be[3] : UINT32_MAX;
	c->pod_mask_ipv4_be = range.mask.words_be[3];
	prefix_to_range(&config->pod_cidr_v6, &range);
	memcpy(c->pod_range_ipv6_be, &range.addr, sizeof(c->pod_range_ipv6_be));
	memcpy(c->pod_mask_ipv6_be, &range.mask, sizeof(c->pod_mask_ipv6_be));
	if (!config->pod_cidr_v6.length)
		memset(c->pod_range_ipv6_be, 0xff, sizeof(c->pod_range_ipv6_be));
}

int node_datapath_config(const struct config *config, const struct maps *maps,
			 struct datapath_config *ret)
{
	struct datapath_config c = {
		.flow4_sets = maps_get(maps, MAP_FLOWS4)->max_entries,
		.flow6_sets = maps_get(maps, MAP_FLOWS6)->max_entries,
		.fragment_sets = maps_get(maps, MAP_FRAGMENTS)->max_entries,
		.pods_mask = maps_get(maps, MAP_PODS)->max_entries - 1,
		.masquerade_port_min = config->masquerade_port_min,
		.masquerade_port_max = config->masquerade_port_max,
		.node_port_min = config->node_port_min,
		.node_port_max = config->node_port_max,
		.masquerade_v4 = config->masquerade,
		.masquerade_v6 = config->masquerade,
		.stack_mark = config->stack_mark,
		.tunnel_vni = config->tunnel_vni,
		.tunnel_port_be = htons(config->tunnel_port),
		.peer_mac_check = config->peer_mac_check,
	};
	struct polder_addr gateway;
	uint64_t netns_cookie;
	int r;

#if !defined(__x86_64__) && !defined(__i386__)
	c.weak_order = 1;
#endif
	memcpy(c.gateway_mac, pods_gateway_mac, 6);
	c.gateway_ipv4_be = inet_addr(PODS_GATEWAY_V4);
	addr_parse(PODS_GATEWAY_V6, &gateway);
	memcpy(c.gateway_ipv6_be, &gateway, 16);
	own_range(&c, &config->pod_cidr_v4);
	own_range(&c, &config->pod_cidr_v6);
	local_pods(&c, config, maps);
	r = namespace_own_cookie(&netns_cookie);
	if (r < 0)
		return r;
	c.netns_cookie = netns_cookie;
	*ret = c;
	return 0;
}
