/* SPDX-License-Identifier: Apache-2.0 */
/* From the kernel's network to what the node is: addresses, ways out, and what is missing. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/node/node.h"
#include "agent/common/address.h"
#include "agent/node/peers.h"
#include "agent/node/pod_range.h"

/* ---------------------------------------------------------------- addresses */

static bool is_loopback(const struct polder_addr *addr)
{
	return addr_is_v4(addr) ? addr->bytes[12] == 127
				: memcmp(addr->bytes, &in6addr_loopback, 16) == 0;
}

static bool is_link_local(const struct polder_addr *addr)
{
	return !addr_is_v4(addr) && addr->bytes[0] == 0xfe && (addr->bytes[1] & 0xc0) == 0x80;
}

static bool is_reachable(const struct address_info *a)
{
	return !is_loopback(&a->prefix.addr) && !is_link_local(&a->prefix.addr);
}

static bool is_on_uplink(const struct node *node, const struct address_info *address)
{
	for (size_t i = 0; i < node->uplink_count; i++)
		if (node->uplinks[i].ifindex == address->ifindex)
			return true;
	return false;
}

/* Uplinks are known. */
static int list_addresses(const struct network *network, struct node *node)
{
	struct prefix *all = calloc(network->address_count + 1, sizeof(*all));
	size_t count = 0;

	if (!all)
		return -ENOMEM;
	for (int others = 0; others < 2; others++) {
		for (size_t i = 0; i < network->address_count; i++)
			if (is_reachable(&network->addresses[i]) &&
			    is_on_uplink(node, &network->addresses[i]) == !others)
				all[count++] = network->addresses[i].prefix;
		if (!others)
			node->uplink_address_count = count;
	}
	node->addresses = all;
	node->address_count = count;
	return 0;
}

bool node_has_node_ports(const struct node *node, const struct config *config,
			 const struct polder_addr *addr)
{
	size_t count =
		config->node_port_address_count ? node->address_count : node->uplink_address_count;
	bool own = memcmp(&node->ipv4, addr, sizeof(*addr)) == 0 ||
		   memcmp(&node->ipv6, addr, sizeof(*addr)) == 0;

	for (size_t i = 0; i < count && !own; i++)
		own = memcmp(&node->addresses[i].addr, addr, sizeof(*addr)) == 0;
	return own && config_node_ports_at(config, addr);
}

static const struct node_egress *whole(const struct node *node, bool v4)
{
	for (size_t i = 0; i < node->egress_count; i++)
		if (node->egress[i].prefix.length == (v4 ? POLDER_V4_MAPPED_BITS : 0) &&
		    addr_is_v4(&node->egress[i].prefix.addr) == v4)
			return &node->egress[i];
	return NULL;
}

/* The address that the node is known by: as configured, else what most of its packets leave with.
 */
static struct polder_addr node_ip(const struct config *config, const struct node *node, bool v4)
{
	const struct polder_addr *configured = v4 ? &config->node_ip_v4 : &config->node_ip_v6;
	const struct node_egress *way = whole(node, v4);
	const struct network *n = &node->network;

	if (!addr_is_zero(configured))
		return *configured;
	if (way && !addr_is_zero(&way->source))
		return way->source;
	for (size_t i = 0; i < node->uplink_count; i++)
		for (size_t j = 0; j < n->address_count; j++)
			if (node->uplinks[i].ifindex == n->addresses[j].ifindex &&
			    addr_is_v4(&n->addresses[j].prefix.addr) == v4 &&
			    is_reachable(&n->addresses[j]))
				return n->addresses[j].prefix.addr;
	return (struct polder_addr){};
}

/* ---------------------------------------------------------------- ways out */

static int find_ways(const struct config *config, struct node *node)
{
	int served[CONFIG_MAX_UPLINKS];
	struct egress_input input = {.network = &node->network,
				     .uplinks = served,
				     .node_ip_v4 = config->node_ip_v4,
				     .node_ip_v6 = config->node_ip_v6};

	for (size_t i = 0; i < node->uplink_count; i++)
		if (node->uplinks[i].state == UPLINK_READY)
			served[input.uplink_count++] = node->uplinks[i].ifindex;
	return egress_routes_compute(&input, &node->egress, &node->egress_count);
}

static bool leads_out(const struct config *config, const struct node_egress *way)
{
	return way->ifindex && (!config->masquerade || !addr_is_zero(&way->source));
}

static enum node_reach reach_of(const struct config *config, const struct node *node, bool v4)
{
	const struct node_egress *way = whole(node, v4);

	if (way && leads_out(config, way))
		return REACH_ALL;
	for (size_t i = 0; i < node->egress_count; i++)
		if (addr_is_v4(&node->egress[i].prefix.addr) == v4 &&
		    node->egress[i].prefix.length < 128 &&
		    !is_link_local(&node->egress[i].prefix.addr) &&
		    leads_out(config, &node->egress[i]))
			return REACH_SOME;
	return REACH_NONE;
}

static const struct node_uplink *ready_uplink(const struct node *node)
{
	for (size_t i = 0; i < node->uplink_count; i++)
		if (node->uplinks[i].state == UPLINK_READY)
			return &node->uplinks[i];
	return NULL;
}

static void tell_exit(const struct config *config, const struct node *node, bool v4,
		      enum node_reach reach, struct node_exit *exit)
{
	const struct polder_addr *configured = v4 ? &config->node_ip_v4 : &config->node_ip_v6;
	const struct node_uplink *uplink = ready_uplink(node);
	const struct node_egress *way = whole(node, v4);
	const char *family = v4 ? "IPv4" : "IPv6";
	char text[INET6_ADDRSTRLEN];

	if (reach == REACH_SOME)
		snprintf(exit->reason, sizeof(exit->reason),
			 "no %s default route by an uplink; pods reach only networks that have a "
			 "route",
			 family);
	else if (!node->uplink_count)
		snprintf(exit->reason, sizeof(exit->reason),
			 "no %s default route; its link becomes the uplink when there is one, or "
			 "name one with --uplink; pods reach only this node",
			 family);
	else if (!uplink)
		snprintf(exit->reason, sizeof(exit->reason),
			 "no uplink is ready; pods reach only this node");
	else if (config->masquerade && !addr_is_zero(configured) &&
		 !network_has_address(&node->network, configured))
		snprintf(exit->reason, sizeof(exit->reason),
			 "no link has the address %s of --node-ip; pods' packets that would leave "
			 "with it are dropped (no_node_address)",
			 addr_format(configured, text));
	else if (way && way->ifindex)
		snprintf(exit->reason, sizeof(exit->reason),
			 "uplink %s has no %s address that others can reach; pods' packets are "
			 "dropped (no_node_address) until it has one",
			 uplink->name, family);
	else
		snprintf(exit->reason, sizeof(exit->reason),
			 "no %s route by an uplink; pods' packets are refused (no_route) until "
			 "there is one",
			 family);
}

static void judge_exits(const struct config *config, struct node *node)
{
	for (int i = 0; i < 2; i++) {
		const bool v4 = i == 0;
		const struct prefix *pods = v4 ? &config->pod_cidr_v4 : &config->pod_cidr_v6;
		const struct polder_addr *ip = v4 ? &config->node_ip_v4 : &config->node_ip_v6;
		struct node_exit *exit = &node->exits[i], old = *exit;
		enum node_reach reach = reach_of(config, node, v4);

		if (!pods->length) {
			*exit = (struct node_exit){};
			continue;
		}
		exit->reason[0] = '\0';
		if (reach > exit->promised)
			exit->promised = reach;
		if (!exit->promised && !addr_is_zero(ip))
			exit->promised = REACH_SOME;
		exit->reach = reach;
		if (reach != REACH_ALL)
			tell_exit(config, node, v4, reach, exit);
		if (!old.since || strcmp(old.reason, exit->reason) != 0)
			exit->since = time(NULL);
	}
}

const char *node_misses(const struct node *node)
{
	for (size_t i = 0; i < node->uplink_count; i++)
		if (node->uplinks[i].configured && node->uplinks[i].state != UPLINK_READY)
			return node->uplinks[i].reason;
	for (size_t i = 0; i < node->uplink_count; i++)
		if (node->uplinks[i].attach_error[0])
			return node->uplinks[i].attach_error;
	for (int i = 0; i < 2; i++)
		if (node->exits[i].reach < node->exits[i].promised)
			return node->exits[i].reason;
	return NULL;
}

static int compare_ranges(const struct config *config, struct node *node)
{
	char before[sizeof(node->range_met)];
	int r;

	memcpy(before, node->range_met, sizeof(before));
	r = pod_range_meets(config, &node->network, node->range_met, sizeof(node->range_met));
	if (strcmp(before, node->range_met) != 0)
		node->range_met_since = time(NULL);
	return r;
}

/* ---------------------------------------------------------------- following */

/* All but the network, from the network. Leaves what it made in `node`, also on error. */
static int understand(const struct config *config, struct node *node)
{
	int r;

	node_find_uplinks(config, &node->network, node);
	r = list_addresses(&node->network, node);
	if (r == 0)
		r = find_ways(config, node);
	if (r < 0)
		return r;
	node->ipv4 = node_ip(config, node, true);
	node->ipv6 = node_ip(config, node, false);
	judge_exits(config, node);
	return compare_ranges(config, node);
}

static bool same_bytes(const void *a, size_t a_count, const void *b, size_t b_count, size_t size)
{
	return a_count == b_count && (!a_count || memcmp(a, b, a_count * size) == 0);
}

static bool same_uplinks(const struct node *a, const struct node *b)
{
	if (a->uplink_count != b->uplink_count)
		return false;
	for (size_t i = 0; i < a->uplink_count; i++) {
		const struct node_uplink *one = &a->uplinks[i], *other = &b->uplinks[i];

		if (strcmp(one->name, other->name) != 0 || one->ifindex != other->ifindex ||
		    one->mtu != other->mtu || one->state != other->state ||
		    one->place != other->place)
			return false;
	}
	return true;
}

static bool same_addresses(const struct node *a, const struct node *b)
{
	if (a->address_count != b->address_count ||
	    a->uplink_address_count != b->uplink_address_count ||
	    memcmp(&a->ipv4, &b->ipv4, sizeof(a->ipv4)) != 0 ||
	    memcmp(&a->ipv6, &b->ipv6, sizeof(a->ipv6)) != 0)
		return false;
	for (size_t i = 0; i < a->address_count; i++)
		if (memcmp(&a->addresses[i].addr, &b->addresses[i].addr,
			   sizeof(a->addresses[i].addr)) != 0)
			return false;
	return true;
}

static unsigned int differences(const struct node *old, const struct node *new)
{
	unsigned int changes = 0;

	if (!same_uplinks(old, new))
		changes |= NODE_UPLINKS;
	if (!same_bytes(old->egress, old->egress_count, new->egress, new->egress_count,
			sizeof(*old->egress)))
		changes |= NODE_EGRESS;
	if (!same_addresses(old, new))
		changes |= NODE_ADDRESSES;
	return changes;
}

int node_follow(const struct config *config, struct netlink *nl, struct node *node,
		unsigned int *ret_changes)
{
	struct node next = *node;
	int r;

	*ret_changes = 0;
	next.network = (struct network){};
	next.addresses = NULL;
	next.egress = NULL;
	r = network_read(nl, &next.network);
	if (r < 0)
		return r;
	if (network_equal(&node->network, &next.network)) {
		network_clear(&next.network);
		return 0;
	}
	r = understand(config, &next);
	if (r < 0) {
		node_clear(&next);
		return r;
	}
	*ret_changes = differences(node, &next);
	next.changes++;
	node_clear(node);
	*node = next;
	return 0;
}

/* ---------------------------------------------------------------- the start */

int node_discover(const struct config *config, struct netlink *nl, struct node *ret, char *message,
		  size_t size)
{
	struct node node = {};
	int r = network_read(nl, &node.network);

	if (r == 0)
		r = understand(config, &node);
	if (r < 0) {
		snprintf(message, size, "the node's links, addresses and routes cannot be read: %s",
			 strerror(-r));
		node_clear(&node);
		return r;
	}
	*ret = node;
	return 0;
}

int node_copy(const struct node *from, struct node *to)
{
	struct node copy = *from;

	copy.network = (struct network){};
	copy.addresses = calloc(from->address_count + 1, sizeof(*copy.addresses));
	copy.egress = calloc(from->egress_count + 1, sizeof(*copy.egress));
	if (!copy.addresses || !copy.egress) {
		free(copy.addresses);
		free(copy.egress);
		return -ENOMEM;
	}
	if (from->address_count)
		memcpy(copy.addresses, from->addresses,
		       from->address_count * sizeof(*copy.addresses));
	if (from->egress_count)
		memcpy(copy.egress, from->egress, from->egress_count * sizeof(*copy.egress));
	*to = copy;
	return 0;
}

void node_clear(struct node *node)
{
	network_clear(&node->network);
	free(node->addresses);
	free(node->egress);
	*node = (struct node){};
}

/* ---------------------------------------------------------------- for others */

int node_tell_peers(const struct node *node, struct peers *peers)
{
	struct peers_network network = {.addresses = node->network.addresses,
					.address_count = node->network.address_count,
					.uplink_count = node->uplink_count,
					.node_ipv4 = node->ipv4,
					.node_ipv6 = node->ipv6};
	uint32_t mtus[CONFIG_MAX_UPLINKS];
	int uplinks[CONFIG_MAX_UPLINKS];

	for (size_t i = 0; i < node->uplink_count; i++) {
		uplinks[i] = node->uplinks[i].ifindex;
		mtus[i] = node->uplinks[i].mtu;
	}
	network.uplinks = uplinks;
	network.mtus = mtus;
	return peers_set_network(peers, &network);
}
