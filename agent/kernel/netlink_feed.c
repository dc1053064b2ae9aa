/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "agent/common/array.h"
#include "agent/kernel/netlink_internal.h"

/* Room for some 10,000 routes, as a routing daemon sets them when it starts, or for what some
 * hundred pods make when they start at once. */
#define RECEIVE_BUFFER (8 * 1024 * 1024)
/* So many messages, and the loop serves others. */
#define READ_MAX 256

static int join_groups(struct mnl_socket *socket)
{
	static const int groups[] = {RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
				     RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE};

	for (size_t i = 0; i < COUNT(groups); i++) {
		int group = groups[i];

		if (mnl_socket_setsockopt(socket, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) <
		    0)
			return -errno;
	}
	return 0;
}

int netlink_feed_open(struct netlink_feed *feed)
{
	int size = RECEIVE_BUFFER, fd, r;

	feed->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!feed->socket || mnl_socket_bind(feed->socket, 0, MNL_SOCKET_AUTOPID) < 0) {
		r = -errno;
		netlink_feed_close(feed);
		return r;
	}
	fd = mnl_socket_get_fd(feed->socket);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	r = join_groups(feed->socket);
	if (r < 0)
		netlink_feed_close(feed);
	return r;
}

void netlink_feed_close(struct netlink_feed *feed)
{
	if (feed->socket)
		mnl_socket_close(feed->socket);
	feed->socket = NULL;
}

int netlink_feed_read(struct netlink_feed *feed,
		      void (*message)(const struct nlmsghdr *header, void *data), void *data)
{
	for (int i = 0; i < READ_MAX; i++) {
		ssize_t got =
			mnl_socket_recvfrom(feed->socket, feed->receive, sizeof(feed->receive));
		const struct nlmsghdr *header = (const struct nlmsghdr *)feed->receive;
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
			message(header, data);
	}
	return 0;
}
