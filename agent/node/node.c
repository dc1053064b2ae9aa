/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/node/node.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/kernel/maps.h"
#include "agent/pods/pods.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

static bool is_loopback(const struct polder_addr *addr)
{
	return addr_is_v4(addr) ? addr->bytes[12] == 127
				: memcmp(addr->bytes, &in6addr_loopback, 16) == 0;
}

static bool is_link_local(const struct polder_addr *addr)
{
	return !addr_is_v4(addr) && addr->bytes[0] == 0xfe && (addr->bytes[1] & 0xc0) == 0x80;
}

static int find_uplinks(const struct config *config, struct netlink *nl, struct node *node,
			char *message, size_t size)
{
	struct link_info link;
	int ifindex;
	size_t i;

	for (i = 0; i < config->uplink_count; i++) {
		if (netlink_link_get(nl, config->uplinks[i], &link) < 0) {
			snprintf(message, size,
				 "--uplink %s: no such link; `ip link` lists all links",
				 config->uplinks[i]);
			return -ENODEV;
		}
		node->uplinks[i] = (struct node_uplink){
			.ifindex = link.ifindex, .mtu = link.mtu, .xdp = "off"};
		memcpy(node->uplinks[i].name, link.name, IFNAMSIZ);
		node->uplink_count++;
	}
	if (node->uplink_count)
		return 0;
	if (netlink_default_route(nl, FAMILY_V4, &ifindex) < 0 &&
	    netlink_default_route(nl, FAMILY_V6, &ifindex) < 0)
		return 0;
	if (netlink_link_get_index(nl, ifindex, &link) < 0)
		return 0;
	node->uplinks[0] =
		(struct node_uplink){.ifindex = link.ifindex, .mtu = link.mtu, .xdp = "off"};
	memcpy(node->uplinks[0].name, link.name, IFNAMSIZ);
	node->uplink_count = 1;
	return 0;
}

/* The first address of a family that others can reach. */
static void pick_address(const struct prefix *list, size_t count, bool v4, struct polder_addr *ret)
{
	size_t i;

	for (i = 0; i < count; i++) {
		const struct polder_addr *addr = &list[i].addr;

		if (addr_is_v4(addr) == v4 && !is_loopback(addr) && !is_link_local(addr)) {
			*ret = *addr;
			return;
		}
	}
}

int node_refresh_addresses(struct netlink *nl, struct node *node)
{
	struct link_info *links = NULL;
	struct prefix *all = NULL;
	size_t count = 0, link_count = 0, i, j;
	int r;

	r = netlink_link_list(nl, &links, &link_count);
	if (r < 0)
		return r;
	for (i = 0; i < link_count && r == 0; i++) {
		struct prefix *list = NULL, *grown;
		size_t n = 0;

		r = netlink_address_list(nl, links[i].ifindex, &list, &n);
		grown = r == 0 && n ? reallocarray(all, count + n, sizeof(*all)) : all;
		if (r == 0 && n && !grown)
			r = -ENOMEM;
		if (r == 0)
			all = grown;
		for (j = 0; j < n && r == 0; j++)
			if (!is_loopback(&list[j].addr) && !is_link_local(&list[j].addr))
				all[count++] = list[j];
		free(list);
	}
	free(links);
	if (r < 0) {
		free(all);
		return r;
	}
	free(node->addresses);
	node->addresses = all;
	node->address_count = count;
	return 0;
}

int node_discover(const struct config *config, struct netlink *nl, struct node *ret, char *message,
		  size_t size)
{
	struct node node = {};
	struct prefix *list = NULL;
	size_t count = 0;
	int r;

	r = find_uplinks(config, nl, &node, message, size);
	if (r < 0)
		return r;
	node.ipv4 = config->node_ip_v4;
	node.ipv6 = config->node_ip_v6;
	if (node.uplink_count &&
	    netlink_address_list(nl, node.uplinks[0].ifindex, &list, &count) == 0) {
		if (addr_is_zero(&node.ipv4))
			pick_address(list, count, true, &node.ipv4);
		if (addr_is_zero(&node.ipv6))
			pick_address(list, count, false, &node.ipv6);
		free(list);
	}
	r = node_refresh_addresses(nl, &node);
	if (r < 0) {
		snprintf(message, size, "the node's addresses cannot be read: %s", strerror(-r));
		return r;
	}
	*ret = node;
	return 0;
}

void node_clear(struct node *node)
{
	free(node->addresses);
	*node = (struct node){};
}

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

/* The node's own address comes from the node, never from the wire. */
static void own_address(struct datapath_config *c, const struct polder_addr *addr)
{
	const struct prefix prefix = {.addr = *addr, .length = 128};

	if (!addr_is_zero(addr))
		own_range(c, &prefix);
}

int node_write_next_hops(const struct node *node, struct maps *maps)
{
	uint32_t place;
	int r = 0;

	for (place = 0; place < NEXT_HOP_UPLINKS && r == 0; place++) {
		struct next_hop old = {}, hop = {};

		if (place < node->uplink_count && node->uplinks[place].ifindex)
			hop = (struct next_hop){.claim = HOP_READY,
						.ifindex = (uint32_t)node->uplinks[place].ifindex,
						.mtu = (uint16_t)node->uplinks[place].mtu};
		r = maps_find(maps, MAP_NEXT_HOPS, &place, &old);
		if (r == 0 && (old.ifindex != hop.ifindex || old.mtu != hop.mtu))
			r = maps_put(maps, MAP_NEXT_HOPS, &place, &hop);
	}
	return r;
}

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

int node_datapath_config(const struct config *config, const struct node *node,
			 const struct maps *maps, struct datapath_config *ret)
{
	struct datapath_config c = {
		.flow4_sets = maps_get(maps, MAP_FLOWS4)->max_entries,
		.flow6_sets = maps_get(maps, MAP_FLOWS6)->max_entries,
		.fragment_sets = maps_get(maps, MAP_FRAGMENTS)->max_entries,
		.pods_mask = maps_get(maps, MAP_PODS)->max_entries - 1,
		.masquerade_port_min = config->masquerade_port_min,
		.masquerade_port_max = config->masquerade_port_max,
		.masquerade_v4 = config->masquerade && !addr_is_zero(&node->ipv4),
		.masquerade_v6 = config->masquerade && !addr_is_zero(&node->ipv6),
		.stack_mark = config->stack_mark,
	};
	socklen_t length = sizeof(c.netns_cookie);
	struct polder_addr gateway;
	int fd, r = 0;

#if !defined(__x86_64__) && !defined(__i386__)
	c.weak_order = 1;
#endif
	memcpy(c.gateway_mac, pods_gateway_mac, 6);
	c.gateway_ipv4_be = inet_addr(PODS_GATEWAY_V4);
	addr_parse(PODS_GATEWAY_V6, &gateway);
	memcpy(c.gateway_ipv6_be, &gateway, 16);
	c.node_ipv4_be = node->ipv4.words_be[3];
	memcpy(c.node_ipv6_be, &node->ipv6, 16);
	own_range(&c, &config->pod_cidr_v4);
	own_range(&c, &config->pod_cidr_v6);
	local_pods(&c, config, maps);
	own_address(&c, &node->ipv4);
	own_address(&c, &node->ipv6);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &c.netns_cookie, &length) < 0)
		r = -errno;
	if (fd >= 0)
		close(fd);
	if (r == 0)
		*ret = c;
	return r;
}
