/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/node/pod_range.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cleanup.h"
#include "agent/common/log.h"
#include "agent/kernel/netlink_on_link.h"
#include "agent/pods/pods.h"

/* Shorter than any range of pods: routes that stand for the default route, in halves, are such. */
#define SHORT_V4 (POLDER_V4_MAPPED_BITS + 8)
#define SHORT_V6 16

static bool is_default(const struct on_link *one)
{
	return !one->is_address &&
	       one->range.length < (addr_is_v4(&one->range.addr) ? SHORT_V4 : SHORT_V6);
}

static bool meet(const struct prefix *a, const struct prefix *b)
{
	return prefix_contains(a, &b->addr) || prefix_contains(b, &a->addr);
}

static const struct link_info *link_of(const struct link_info *links, size_t count, int ifindex)
{
	for (size_t i = 0; i < count; i++)
		if (links[i].ifindex == ifindex)
			return &links[i];
	return NULL;
}

static bool is_pods(const struct link_info *link)
{
	return link && link->is_veth && memcmp(link->mac, pods_gateway_mac, 6) == 0;
}

static void describe(const struct prefix *range, const struct on_link *other,
		     const struct link_info *link, char *message, size_t size)
{
	char range_text[PREFIX_TEXT_MAX], text[PREFIX_TEXT_MAX], addr[INET6_ADDRSTRLEN];
	const char *name = link ? link->name : "that has just gone";

	if (other->is_address && prefix_contains(range, &other->range.addr))
		snprintf(message, size,
			 "--pod-cidr %s has the address %s of link %s in it: pods' addresses must "
			 "be nobody else's; choose another range",
			 prefix_format(range, range_text), addr_format(&other->range.addr, addr),
			 name);
	else
		snprintf(message, size,
			 "--pod-cidr %s meets the network of the %s %s on link %s, which the node "
			 "would be cut off from; choose another range",
			 prefix_format(range, range_text), other->is_address ? "address" : "route",
			 prefix_format(&other->range, text), name);
}

static int check(const struct prefix *range, const struct on_link *all, size_t count,
		 const struct link_info *links, size_t link_count, char *message, size_t size)
{
	for (size_t i = 0; i < count; i++) {
		const struct link_info *link;

		if (is_default(&all[i]) || !meet(range, &all[i].range))
			continue;
		link = link_of(links, link_count, all[i].ifindex);
		if (is_pods(link))
			continue;
		describe(range, &all[i], link, message, size);
		return -EADDRINUSE;
	}
	return 0;
}

/* Pods of before have addresses of the range, and go on: policies that nobody changes any more
 * would be the worse for all. */
static bool has_pods(const struct prefix *range, const struct on_link *all, size_t count,
		     const struct link_info *links, size_t link_count)
{
	for (size_t i = 0; i < count; i++)
		if (!all[i].is_address && prefix_contains(range, &all[i].range.addr) &&
		    is_pods(link_of(links, link_count, all[i].ifindex)))
			return true;
	return false;
}

int pod_range_check(const struct config *config, struct netlink *nl, char *message, size_t size)
{
	const struct prefix *const ranges[] = {&config->pod_cidr_v4, &config->pod_cidr_v6};
	CLEANUP(cleanup_free) struct link_info *links = NULL;
	CLEANUP(cleanup_free) struct on_link *all = NULL;
	size_t link_count = 0, count = 0;
	int r = netlink_link_list(nl, &links, &link_count);

	if (r == 0)
		r = netlink_on_link_list(nl, &all, &count);
	if (r < 0) {
		snprintf(message, size, "the host's addresses and routes cannot be read: %s",
			 strerror(-r));
		return r;
	}
	for (size_t i = 0; i < 2 && r == 0; i++) {
		if (ranges[i]->length)
			r = check(ranges[i], all, count, links, link_count, message, size);
		if (r != -EADDRINUSE || !has_pods(ranges[i], all, count, links, link_count))
			continue;
		log_warning("node", "%s; pods have addresses of it, and are served", message);
		message[0] = '\0';
		r = 0;
	}
	return r;
}

/* What of the network is on a link without a gateway: the caller's, free(). NULL: no memory. */
static struct on_link *list_on_link(const struct network *network, size_t *ret_count)
{
	struct on_link *all =
		calloc(network->address_count + network->route_count + 1, sizeof(*all));
	size_t count = 0;

	if (!all)
		return NULL;
	for (size_t i = 0; i < network->address_count; i++)
		all[count++] = (struct on_link){.ifindex = network->addresses[i].ifindex,
						.range = network->addresses[i].prefix,
						.is_address = true};
	for (size_t i = 0; i < network->route_count; i++) {
		const struct route_info *route = &network->routes[i];

		if (route->type == RTN_UNICAST && route->ifindex && !route->has_gateway)
			all[count++] = (struct on_link){.ifindex = route->ifindex,
							.range = route->destination};
	}
	*ret_count = count;
	return all;
}

int pod_range_meets(const struct config *config, const struct network *network, char *message,
		    size_t size)
{
	const struct prefix *const ranges[] = {&config->pod_cidr_v4, &config->pod_cidr_v6};
	CLEANUP(cleanup_free) struct on_link *all = NULL;
	size_t count = 0;

	message[0] = '\0';
	all = list_on_link(network, &count);
	if (!all)
		return -ENOMEM;
	for (size_t i = 0; i < 2; i++)
		if (ranges[i]->length && check(ranges[i], all, count, network->links,
					       network->link_count, message, size) < 0)
			break;
	return 0;
}
