/* SPDX-License-Identifier: Apache-2.0 */
/* Routes, addresses and links as they change, routes with all that they say. */
#include "agent/kernel/netlink_routes.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>

#include "agent/kernel/netlink_internal.h"

struct netlink_watch {
	struct netlink_feed feed;
};

int netlink_watch_open(struct netlink_watch **ret)
{
	struct netlink_watch *watch = calloc(1, sizeof(*watch));
	int r = watch ? netlink_feed_open(&watch->feed) : -ENOMEM;

	if (r < 0)
		free(watch);
	else
		*ret = watch;
	return r;
}

void netlink_watch_close(struct netlink_watch *watch)
{
	if (watch)
		netlink_feed_close(&watch->feed);
	free(watch);
}

int netlink_watch_fd(const struct netlink_watch *watch)
{
	return mnl_socket_get_fd(watch->feed.socket);
}

struct listener {
	const struct netlink_watch_calls *calls;
	void *data;
};

static void dispatch(const struct nlmsghdr *header, void *data)
{
	const struct listener *listener = data;
	const struct netlink_watch_calls *calls = listener->calls;
	const void *payload = mnl_nlmsg_get_payload(header);
	struct kernel_route route;

	switch (header->nlmsg_type) {
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		if (netlink_kernel_route_decode(header, &route))
			calls->route(&route, header->nlmsg_type == RTM_DELROUTE, listener->data);
		return;
	case RTM_NEWADDR:
	case RTM_DELADDR:
		if (mnl_nlmsg_get_payload_len(header) >= sizeof(struct ifaddrmsg))
			calls->address((int)((const struct ifaddrmsg *)payload)->ifa_index,
				       listener->data);
		return;
	case RTM_NEWLINK:
	case RTM_DELLINK:
		if (mnl_nlmsg_get_payload_len(header) >= sizeof(struct ifinfomsg))
			calls->link(((const struct ifinfomsg *)payload)->ifi_index, listener->data);
		return;
	default:
		return;
	}
}

int netlink_watch_read(struct netlink_watch *watch, const struct netlink_watch_calls *calls,
		       void *data)
{
	struct listener listener = {.calls = calls, .data = data};

	return netlink_feed_read(&watch->feed, dispatch, &listener);
}
