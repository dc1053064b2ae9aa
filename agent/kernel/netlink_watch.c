/* SPDX-License-Identifier: Apache-2.0 */
/* Routes, addresses and links as they change, routes with all that they say. */
#include "agent/kernel/netlink_routes.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "agent/common/array.h"
#include "agent/kernel/netlink_internal.h"

/* Room for some 10,000 routes, as a routing daemon sets them when it starts. */
#define WATCH_RECEIVE_BUFFER (8 * 1024 * 1024)
/* So many messages, and the loop serves others. */
#define WATCH_READ_MAX 512

struct netlink_watch {
	struct mnl_socket *socket;
	char receive[NETLINK_RECEIVE_SIZE] __attribute__((aligned(8)));
};

static int join_groups(struct mnl_socket *socket)
{
	static const int groups[] = {RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, RTNLGRP_LINK,
				     RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR};

	for (size_t i = 0; i < COUNT(groups); i++) {
		int group = groups[i];

		if (mnl_socket_setsockopt(socket, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) <
		    0)
			return -errno;
	}
	return 0;
}

int netlink_watch_open(struct netlink_watch **ret)
{
	struct netlink_watch *watch = calloc(1, sizeof(*watch));
	int size = WATCH_RECEIVE_BUFFER, fd, r;

	if (!watch)
		return -ENOMEM;
	watch->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!watch->socket || mnl_socket_bind(watch->socket, 0, MNL_SOCKET_AUTOPID) < 0) {
		r = -errno;
		netlink_watch_close(watch);
		return r;
	}
	fd = mnl_socket_get_fd(watch->socket);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	r = join_groups(watch->socket);
	if (r < 0) {
		netlink_watch_close(watch);
		return r;
	}
	*ret = watch;
	return 0;
}

void netlink_watch_close(struct netlink_watch *watch)
{
	if (!watch)
		return;
	if (watch->socket)
		mnl_socket_close(watch->socket);
	free(watch);
}

int netlink_watch_fd(const struct netlink_watch *watch)
{
	return mnl_socket_get_fd(watch->socket);
}

static void dispatch(const struct nlmsghdr *header, const struct netlink_watch_calls *calls,
		     void *data)
{
	const void *payload = mnl_nlmsg_get_payload(header);
	struct kernel_route route;

	switch (header->nlmsg_type) {
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		if (netlink_kernel_route_decode(header, &route))
			calls->route(&route, header->nlmsg_type == RTM_DELROUTE, data);
		return;
	case RTM_NEWADDR:
	case RTM_DELADDR:
		if (mnl_nlmsg_get_payload_len(header) >= sizeof(struct ifaddrmsg))
			calls->address((int)((const struct ifaddrmsg *)payload)->ifa_index, data);
		return;
	case RTM_NEWLINK:
	case RTM_DELLINK:
		if (mnl_nlmsg_get_payload_len(header) >= sizeof(struct ifinfomsg))
			calls->link(((const struct ifinfomsg *)payload)->ifi_index, data);
		return;
	default:
		return;
	}
}

int netlink_watch_read(struct netlink_watch *watch, const struct netlink_watch_calls *calls,
		       void *data)
{
	for (int i = 0; i < WATCH_READ_MAX; i++) {
		ssize_t got =
			mnl_socket_recvfrom(watch->socket, watch->receive, sizeof(watch->receive));
		const struct nlmsghdr *header = (const struct nlmsghdr *)watch->receive;
		int left;

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return 0;
		if (got < 0)
			/* A message cut short is a message lost. */
			return errno == ENOSPC ? -ENOBUFS : -errno;
		left = (int)got;
		for (; mnl_nlmsg_ok(header, left); header = mnl_nlmsg_next(header, &left))
			dispatch(header, calls, data);
	}
	return 0;
}
