/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of links, addresses and routes, as the kernel tells them. */
#include "agent/kernel/netlink.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>

#include "agent/kernel/netlink_internal.h"
#include "agent/kernel/netlink_network.h"

struct netlink_monitor {
	struct netlink_feed feed;
};

int netlink_monitor_open(struct netlink_monitor **ret)
{
	struct netlink_monitor *monitor = calloc(1, sizeof(*monitor));
	int r = monitor ? netlink_feed_open(&monitor->feed) : -ENOMEM;

	if (r < 0)
		free(monitor);
	else
		*ret = monitor;
	return r;
}

void netlink_monitor_close(struct netlink_monitor *monitor)
{
	if (monitor)
		netlink_feed_close(&monitor->feed);
	free(monitor);
}

int netlink_monitor_fd(const struct netlink_monitor *monitor)
{
	return mnl_socket_get_fd(monitor->feed.socket);
}

static bool decode_link(const struct nlmsghdr *header, struct netlink_event *event)
{
	const struct ifinfomsg *message = mnl_nlmsg_get_payload(header);

	/* A bridge's port comes as AF_BRIDGE: no link has gone then. */
	if (netlink_link_decode(header, &event->link) < 0 || message->ifi_family != AF_UNSPEC)
		return false;
	event->change = header->nlmsg_type == RTM_NEWLINK ? NETLINK_LINK_NEW : NETLINK_LINK_GONE;
	return true;
}

static bool decode_address(const struct nlmsghdr *header, struct netlink_event *event)
{
	const struct ifaddrmsg *message = mnl_nlmsg_get_payload(header);

	if (mnl_nlmsg_get_payload_len(header) < sizeof(*message))
		return false;
	event->change = NETLINK_ADDRESS;
	event->link.ifindex = (int)message->ifa_index;
	return true;
}

struct listener {
	netlink_listener call;
	void *data;
};

static void dispatch(const struct nlmsghdr *header, void *data)
{
	const struct listener *listener = data;
	struct netlink_event event = {.change = NETLINK_ROUTES};
	struct route_info route = {};
	bool told = false;

	switch (header->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		told = decode_link(header, &event);
		break;
	case RTM_NEWADDR:
	case RTM_DELADDR:
		told = decode_address(header, &event);
		break;
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		event.route = &route;
		told = netlink_route_decode(header, &route);
		break;
	}
	if (told)
		listener->call(&event, listener->data);
}

int netlink_monitor_read(struct netlink_monitor *monitor, netlink_listener call, void *data)
{
	struct listener listener = {.call = call, .data = data};

	return netlink_feed_read(&monitor->feed, dispatch, &listener);
}
