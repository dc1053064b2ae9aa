/* SPDX-License-Identifier: Apache-2.0 */
/* Which links are uplinks at present, and what is wrong with those that are not. */
#include <net/if_arp.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>

#include "agent/node/node.h"

const char *const uplink_state_names[UPLINK_STATES] = {
	[UPLINK_READY] = "ready",
	[UPLINK_MISSING] = "missing",
	[UPLINK_REFUSED] = "refused",
	[UPLINK_DOWN] = "down",
};

/* ---------------------------------------------------------------- can the link serve */

static const char *type_name(const struct link_info *link)
{
	if (link->kind[0])
		return link->kind;
	switch (link->type) {
	case ARPHRD_LOOPBACK:
		return "loopback";
	case ARPHRD_PPP:
		return "ppp";
	case ARPHRD_INFINIBAND:
		return "infiniband";
	default:
		return "no Ethernet";
	}
}

/* A port's packets are its master's: what is attached to the port sees other addresses, or none. */
static bool is_port(const struct link_info *link)
{
	return link->master && strcmp(link->slave_kind, "vrf") != 0;
}

static enum uplink_state judge_link(const struct network *network, const struct link_info *link,
				    char *reason, size_t size)
{
	const struct link_info *master;

	reason[0] = '\0';
	if (link->type != ARPHRD_ETHER) {
		snprintf(reason, size,
			 "its type (%s, %u) has no Ethernet header; pods' packets cannot leave by "
			 "it; name another link with --uplink",
			 type_name(link), link->type);
		return UPLINK_REFUSED;
	}
	if (is_port(link)) {
		master = network_link(network, link->master);
		snprintf(reason, size, "it is a port of the %s %s; name that one with --uplink",
			 link->slave_kind[0] ? link->slave_kind : "link",
			 master ? master->name : "it belongs to");
		return UPLINK_REFUSED;
	}
	if (!link->up) {
		snprintf(reason, size, "it is down; ip link set %s up", link->name);
		return UPLINK_DOWN;
	}
	return UPLINK_READY;
}

/* ---------------------------------------------------------------- which links */

static const struct node_uplink *old_uplink(const struct node *old, const char *name)
{
	for (size_t i = 0; i < old->uplink_count; i++)
		if (strcmp(old->uplinks[i].name, name) == 0)
			return &old->uplinks[i];
	return NULL;
}

static bool is_listed(const struct node *node, const char *name)
{
	return old_uplink(node, name) != NULL;
}

/* `link` NULL: there is none of that name. */
static void add_uplink(const struct network *network, const struct node *old, const char *name,
		       const struct link_info *link, bool configured, struct node *node)
{
	struct node_uplink *uplink = &node->uplinks[node->uplink_count];
	const struct node_uplink *before = old_uplink(old, name);

	if (node->uplink_count == CONFIG_MAX_UPLINKS || is_listed(node, name))
		return;
	*uplink = (struct node_uplink){
		.configured = configured, .state = UPLINK_MISSING, .xdp = "off"};
	snprintf(uplink->name, sizeof(uplink->name), "%s", name);
	if (link)
		uplink->state = judge_link(network, link, uplink->reason, sizeof(uplink->reason));
	else
		snprintf(uplink->reason, sizeof(uplink->reason),
			 "there is no such link; `ip link` lists all links; it is taken when it "
			 "appears");
	if (link && uplink->state != UPLINK_REFUSED) {
		uplink->ifindex = link->ifindex;
		uplink->mtu = link->mtu;
	}
	if (before && before->ifindex == uplink->ifindex)
		uplink->xdp = before->xdp;
	if (before) {
		memcpy(uplink->attach_error, before->attach_error, sizeof(before->attach_error));
		memcpy(uplink->xdp_note, before->xdp_note, sizeof(before->xdp_note));
	}
	uplink->since = before && before->state == uplink->state ? before->since : time(NULL);
	node->uplink_count++;
}

static const struct route_info *default_route(const struct network *network, bool v4)
{
	const struct route_info *best = NULL;

	for (size_t i = 0; i < network->route_count; i++) {
		const struct route_info *route = &network->routes[i];

		if (route->type == RTN_UNICAST && route->ifindex &&
		    route->destination.length == (v4 ? POLDER_V4_MAPPED_BITS : 0) &&
		    addr_is_v4(&route->destination.addr) == v4 &&
		    (!best || route->priority < best->priority))
			best = route;
	}
	return best;
}

/* The links of both families' default routes. Where there is none at present, those of before. */
static void find_automatic(const struct network *network, const struct node *old, struct node *node)
{
	for (int family = 0; family < 2; family++) {
		const struct route_info *route = default_route(network, family == 0);
		const struct link_info *link = route ? network_link(network, route->ifindex) : NULL;

		if (link)
			add_uplink(network, old, link->name, link, false, node);
	}
	if (node->uplink_count)
		return;
	for (size_t i = 0; i < old->uplink_count; i++) {
		const char *name = old->uplinks[i].name;

		add_uplink(network, old, name, network_link_named(network, name), false, node);
	}
}

/* Places that neither the uplinks of before nor those of now have are free. */
static void give_places(const struct node *old, struct node *node)
{
	uint32_t taken = 0;

	for (size_t i = 0; i < old->uplink_count; i++)
		if (old->uplinks[i].ifindex)
			taken |= 1u << old->uplinks[i].place;
	for (size_t i = 0; i < node->uplink_count; i++) {
		struct node_uplink *uplink = &node->uplinks[i];
		uint32_t place = 0;

		while (taken & 1u << place)
			place++;
		for (size_t j = 0; j < old->uplink_count; j++)
			if (old->uplinks[j].ifindex && old->uplinks[j].ifindex == uplink->ifindex)
				place = old->uplinks[j].place;
		uplink->place = place;
		if (uplink->ifindex)
			taken |= 1u << place;
	}
}

void node_find_uplinks(const struct config *config, const struct network *network,
		       struct node *node)
{
	struct node found = {};

	for (size_t i = 0; i < config->uplink_count; i++)
		add_uplink(network, node, config->uplinks[i],
			   network_link_named(network, config->uplinks[i]), true, &found);
	if (!config->uplink_count)
		find_automatic(network, node, &found);
	give_places(node, &found);
	memcpy(node->uplinks, found.uplinks, sizeof(node->uplinks));
	node->uplink_count = found.uplink_count;
}
