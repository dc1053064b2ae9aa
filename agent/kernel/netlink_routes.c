/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kernel/netlink_routes.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "agent/kernel/netlink_internal.h"

bool netlink_kernel_route_decode(const struct nlmsghdr *header, struct kernel_route *ret)
{
	const struct rtmsg *message = mnl_nlmsg_get_payload(header);
	struct kernel_route route = {};
	const struct nlattr *attr;
	bool several = false;

	if ((header->nlmsg_type != RTM_NEWROUTE && header->nlmsg_type != RTM_DELROUTE) ||
	    mnl_nlmsg_get_payload_len(header) < sizeof(*message) ||
	    message->rtm_table != RT_TABLE_MAIN || message->rtm_flags & RTM_F_CLONED ||
	    (message->rtm_family != AF_INET && message->rtm_family != AF_INET6))
		return false;
	route.family = message->rtm_family == AF_INET ? FAMILY_V4 : FAMILY_V6;
	route.is_ours = message->rtm_protocol == NETLINK_ROUTE_PROTOCOL;
	route.destination.length = message->rtm_dst_len;
	if (route.family == FAMILY_V4) {
		route.destination.length += POLDER_V4_MAPPED_BITS;
		route.destination.addr.bytes[10] = route.destination.addr.bytes[11] = 0xff;
	}
	mnl_attr_for_each(attr, header, sizeof(*message))
	{
		switch (mnl_attr_get_type(attr)) {
		case RTA_DST:
			(void)netlink_get_addr(attr, &route.destination.addr);
			break;
		case RTA_GATEWAY:
			route.has_gateway = netlink_get_addr(attr, &route.gateway) == 0;
			break;
		case RTA_PREFSRC:
			(void)netlink_get_addr(attr, &route.source);
			break;
		case RTA_OIF:
			if (mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
				route.ifindex = (int)mnl_attr_get_u32(attr);
			break;
		case RTA_MULTIPATH:
			several = true;
			break;
		default:
			break;
		}
	}
	if (several || message->rtm_type != RTN_UNICAST) {
		route.has_gateway = false;
		route.ifindex = 0;
	}
	*ret = route;
	return true;
}

struct route_array {
	struct kernel_route *items;
	size_t count, size;
};

static int keep_own_route(const struct nlmsghdr *header, void *data)
{
	struct route_array *array = data;
	struct kernel_route route;

	if (!netlink_kernel_route_decode(header, &route) || !route.is_ours)
		return 0;
	if (array->count == array->size) {
		size_t size = array->size ? array->size * 2 : 64;
		struct kernel_route *grown = reallocarray(array->items, size, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		array->items = grown;
		array->size = size;
	}
	array->items[array->count++] = route;
	return 0;
}

static void forget_routes(void *data)
{
	((struct route_array *)data)->count = 0;
}

int netlink_dump_main_routes(struct netlink *nl, uint8_t family, uint8_t protocol,
			     netlink_callback callback, void (*reset)(void *data), void *data)
{
	struct nlmsghdr *header = netlink_begin(nl, RTM_GETROUTE, NLM_F_DUMP);
	struct rtmsg *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));
	int on = 1, off = 0, r;

	message->rtm_family = family;
	message->rtm_table = RT_TABLE_MAIN;
	message->rtm_protocol = protocol;
	/* Only then the kernel heeds what the request says of table and protocol (since 4.20). */
	(void)mnl_socket_setsockopt(nl->socket, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
	r = netlink_dump(nl, header, callback, reset, data);
	(void)mnl_socket_setsockopt(nl->socket, NETLINK_GET_STRICT_CHK, &off, sizeof(off));
	/* A family that the kernel does not have, or a table that nothing stands in yet. */
	return r == -ENOENT || r == -EAFNOSUPPORT || r == -EOPNOTSUPP ? 0 : r;
}

int netlink_own_routes(struct netlink *nl, uint8_t family, struct kernel_route **ret,
		       size_t *ret_count)
{
	struct route_array array = {};
	int r = netlink_dump_main_routes(nl, family == FAMILY_V4 ? AF_INET : AF_INET6,
					 NETLINK_ROUTE_PROTOCOL, keep_own_route, forget_routes,
					 &array);

	if (r < 0) {
		free(array.items);
		return r;
	}
	*ret = array.items;
	*ret_count = array.count;
	return 0;
}

struct route_answer {
	struct kernel_route route;
	bool found;
};

static int keep_answer(const struct nlmsghdr *header, void *data)
{
	struct route_answer *answer = data;

	answer->found |= netlink_kernel_route_decode(header, &answer->route);
	return 0;
}

int netlink_route_to(struct netlink *nl, const struct prefix *destination, struct kernel_route *ret)
{
	struct nlmsghdr *header = netlink_begin(nl, RTM_GETROUTE, 0);
	struct rtmsg *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));
	struct route_answer answer = {};
	int r;

	message->rtm_family = netlink_family(&destination->addr);
	message->rtm_flags = RTM_F_FIB_MATCH;
	message->rtm_dst_len = addr_is_v4(&destination->addr) ? 32 : 128;
	netlink_put_addr(header, RTA_DST, &destination->addr);
	r = netlink_talk(nl, header, keep_answer, &answer);
	if (r == -ENETUNREACH || r == -EHOSTUNREACH || r == -EACCES || r == -EINVAL)
		return -ENOENT;
	if (r < 0)
		return r;
	if (!answer.found)
		return -ENOENT;
	*ret = answer.route;
	return 0;
}
