/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of links, addresses and routes, as the kernel tells them. */
#include "agent/kernel/netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "agent/common/array.h"
#include "agent/kernel/netlink_internal.h"
#include "agent/kernel/netlink_neighbour.h"
#include "agent/kernel/netlink_network.h"
#include "agent/kernel/netlink_routes.h"

/* Room for some 10,000 routes, as a routing daemon sets them when it starts, or for what some
 * hundred pods make when they start at once. */
#define RECEIVE_BUFFER (8 * 1024 * 1024)
/* So many messages, and the loop serves others. */
#define READ_MAX 256

struct netlink_monitor {
	struct mnl_socket *socket;
	char receive[NETLINK_RECEIVE_SIZE] __attribute__((aligned(8)));
};

/* Neighbours that come and change, which may be many a second, are left out by the kernel. A
 * notification is one message. */
static int leave_out_new_neighbours(struct mnl_socket *socket)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_type)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(RTM_NEWNEIGH), 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
	};
	const struct sock_fprog program = {.len = COUNT(code), .filter = code};

	if (setsockopt(mnl_socket_get_fd(socket), SOL_SOCKET, SO_ATTACH_FILTER, &program,
		       sizeof(program)) < 0)
		return -errno;
	return 0;
}

static int join_groups(struct mnl_socket *socket)
{
	static const int groups[] = {RTNLGRP_LINK,	 RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
				     RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE,  RTNLGRP_NEIGH};

	for (size_t i = 0; i < COUNT(groups); i++) {
		int group = groups[i];

		if (mnl_socket_setsockopt(socket, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) <
		    0)
			return -errno;
	}
	return 0;
}

static int open_socket(struct netlink_monitor *monitor)
{
	int size = RECEIVE_BUFFER, fd, r;

	monitor->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!monitor->socket || mnl_socket_bind(monitor->socket, 0, MNL_SOCKET_AUTOPID) < 0)
		return -errno;
	fd = mnl_socket_get_fd(monitor->socket);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	r = leave_out_new_neighbours(monitor->socket);
	return r < 0 ? r : join_groups(monitor->socket);
}

int netlink_monitor_open(struct netlink_monitor **ret)
{
	struct netlink_monitor *monitor = malloc(sizeof(*monitor));
	int r;

	if (!monitor)
		return -ENOMEM;
	monitor->socket = NULL; /* the buffer need not be cleared */
	r = open_socket(monitor);
	if (r < 0)
		netlink_monitor_close(monitor);
	else
		*ret = monitor;
	return r;
}

void netlink_monitor_close(struct netlink_monitor *monitor)
{
	if (monitor && monitor->socket)
		mnl_socket_close(monitor->socket);
	free(monitor);
}

int netlink_monitor_fd(const struct netlink_monitor *monitor)
{
	return mnl_socket_get_fd(monitor->socket);
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

static bool decode_neighbour(const struct nlmsghdr *header, struct netlink_event *event)
{
	struct neighbour_info info;

	if (!netlink_neighbour_decode(header, &info))
		return false;
	event->change = NETLINK_NEIGHBOUR_GONE;
	event->link.ifindex = info.ifindex;
	event->addr = info.addr;
	return true;
}

/* Calls for a message that says something. */
static void dispatch(const struct nlmsghdr *header, netlink_listener listener, void *data)
{
	struct netlink_event event = {.change = NETLINK_ROUTES};
	struct route_info route = {};
	struct kernel_route kernel_route;
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
	case RTM_DELNEIGH:
		told = decode_neighbour(header, &event);
		break;
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		event.deleted = header->nlmsg_type == RTM_DELROUTE;
		if (netlink_route_decode(header, &route))
			event.route = &route;
		if (netlink_kernel_route_decode(header, &kernel_route))
			event.kernel_route = &kernel_route;
		told = event.route || event.kernel_route;
		break;
	}
	if (told)
		listener(&event, data);
}

int netlink_monitor_read(struct netlink_monitor *monitor, netlink_listener listener, void *data)
{
	for (int i = 0; i < READ_MAX; i++) {
		ssize_t got = mnl_socket_recvfrom(monitor->socket, monitor->receive,
						  sizeof(monitor->receive));
		const struct nlmsghdr *header = (const struct nlmsghdr *)monitor->receive;
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
			dispatch(header, listener, data);
	}
	return 0;
}
