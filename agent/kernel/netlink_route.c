/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses, routes and neighbours. */
#include "agent/kernel/netlink.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "agent/kernel/netlink_internal.h"
#include "agent/kernel/netlink_network.h"

/* A prefix length of 128 in the family's own count. */
static uint8_t family_length(const struct polder_addr *addr, uint8_t length)
{
	return addr_is_v4(addr) ? length - POLDER_V4_MAPPED_BITS : length;
}

/* ---------------------------------------------------------------- addresses */

int netlink_address_add(struct netlink *nl, int ifindex, const struct polder_addr *addr,
			uint8_t length)
{
	struct nlmsghdr *header = netlink_begin(nl, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
	struct ifaddrmsg *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));
	struct prefix *list;
	size_t count;
	bool found = false;
	int r;

	message->ifa_family = netlink_family(addr);
	message->ifa_prefixlen = family_length(addr, length);
	message->ifa_flags = addr_is_v4(addr) ? 0 : IFA_F_NODAD;
	message->ifa_scope = RT_SCOPE_UNIVERSE;
	message->ifa_index = ifindex;
	netlink_put_addr(header, IFA_LOCAL, addr);
	netlink_put_addr(header, IFA_ADDRESS, addr);
	r = netlink_talk(nl, header, NULL, NULL);
	if (r != -EEXIST)
		return r;
	r = netlink_address_list(nl, ifindex, &list, &count);
	if (r < 0)
		return r;
	for (size_t i = 0; i < count; i++)
		found |=
			memcmp(&list[i].addr, addr, sizeof(*addr)) == 0 && list[i].length == length;
	free(list);
	if (!found)
		netlink_set_error(nl, "the address exists with another prefix length");
	return found ? 0 : -EEXIST;
}

int netlink_address_list(struct netlink *nl, int ifindex, struct prefix **ret, size_t *ret_count)
{
	struct address_info *all = NULL;
	struct prefix *list;
	size_t all_count = 0, count = 0, i;
	int r = netlink_all_addresses(nl, &all, &all_count);

	if (r < 0)
		return r;
	list = calloc(all_count + 1, sizeof(*list));
	for (i = 0; list && i < all_count; i++)
		if (all[i].ifindex == ifindex)
			list[count++] = all[i].prefix;
	free(all);
	if (!list)
		return -ENOMEM;
	*ret = list;
	*ret_count = count;
	return 0;
}

/* ------------------------------------------------------------------- routes */

static int put_route(struct nlmsghdr *header, const struct route_spec *route)
{
	struct rtmsg *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));
	bool v4 = route->family == FAMILY_V4;
	uint8_t length = route->destination.length;

	if (!v4 && route->family != FAMILY_V6)
		return -EINVAL;
	if (v4)
		length = length >= POLDER_V4_MAPPED_BITS ? length - POLDER_V4_MAPPED_BITS : 0;
	message->rtm_family = v4 ? AF_INET : AF_INET6;
	message->rtm_dst_len = length;
	message->rtm_table = RT_TABLE_MAIN;
	message->rtm_protocol = NETLINK_ROUTE_PROTOCOL;
	message->rtm_type = RTN_UNICAST;
	message->rtm_scope = v4 && !route->has_gateway ? RT_SCOPE_LINK : route->scope;
	if (length > 0)
		mnl_attr_put(header, RTA_DST, v4 ? 4 : 16,
			     route->destination.addr.bytes + (v4 ? 12 : 0));
	mnl_attr_put_u32(header, RTA_OIF, route->ifindex);
	if (route->has_gateway) {
		message->rtm_flags |= RTNH_F_ONLINK;
		netlink_put_addr(header, RTA_GATEWAY, &route->gateway);
	}
	if (route->has_source)
		netlink_put_addr(header, RTA_PREFSRC, &route->source);
	return 0;
}

int netlink_route_replace(struct netlink *nl, const struct route_spec *route)
{
	struct nlmsghdr *header = netlink_begin(nl, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
	int r = put_route(header, route);

	return r < 0 ? r : netlink_talk(nl, header, NULL, NULL);
}

int netlink_route_add(struct netlink *nl, const struct route_spec *route)
{
	struct nlmsghdr *header = netlink_begin(nl, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
	int r = put_route(header, route);

	return r < 0 ? r : netlink_talk(nl, header, NULL, NULL);
}

int netlink_route_delete(struct netlink *nl, const struct route_spec *route)
{
	struct nlmsghdr *header = netlink_begin(nl, RTM_DELROUTE, 0);
	int r = put_route(header, route);

	if (r < 0)
		return r;
	((struct rtmsg *)mnl_nlmsg_get_payload(header))->rtm_scope = RT_SCOPE_NOWHERE;
	r = netlink_talk(nl, header, NULL, NULL);
	return r == -ESRCH || r == -ENODEV ? 0 : r;
}

struct route_match {
	const struct route_spec *wanted;
	bool found;
};

static bool same_addr(const struct nlattr *attr, const struct polder_addr *wanted)
{
	struct polder_addr addr;

	return attr && netlink_get_addr(attr, &addr) == 0 &&
	       memcmp(&addr, wanted, sizeof(addr)) == 0;
}

static bool route_equal(const struct nlattr **attrs, const struct rtmsg *message,
			const struct route_spec *wanted)
{
	bool v4 = wanted->family == FAMILY_V4;
	uint8_t length = wanted->destination.length;

	if (v4)
		length = length >= POLDER_V4_MAPPED_BITS ? length - POLDER_V4_MAPPED_BITS : 0;
	if (message->rtm_family != (v4 ? AF_INET : AF_INET6) || message->rtm_dst_len != length ||
	    message->rtm_type != RTN_UNICAST)
		return false;
	if (length > 0 && !same_addr(attrs[RTA_DST], &wanted->destination.addr))
		return false;
	if (wanted->ifindex &&
	    (!attrs[RTA_OIF] || (int)mnl_attr_get_u32(attrs[RTA_OIF]) != wanted->ifindex))
		return false;
	if (wanted->has_gateway && !same_addr(attrs[RTA_GATEWAY], &wanted->gateway))
		return false;
	return !wanted->has_source || same_addr(attrs[RTA_PREFSRC], &wanted->source);
}

static const struct rtmsg *route_attrs(const struct nlmsghdr *header, const struct nlattr **attrs)
{
	const struct rtmsg *message = mnl_nlmsg_get_payload(header);
	const struct nlattr *attr;

	if (header->nlmsg_type != RTM_NEWROUTE ||
	    mnl_nlmsg_get_payload_len(header) < sizeof(*message))
		return NULL;
	mnl_attr_for_each(attr, header, sizeof(*message))
	{
		uint16_t type = mnl_attr_get_type(attr);

		if (type <= RTA_MAX &&
		    (type != RTA_OIF || mnl_attr_validate(attr, MNL_TYPE_U32) == 0))
			attrs[type] = attr;
	}
	return message;
}

static int match_route(const struct nlmsghdr *header, void *data)
{
	const struct nlattr *attrs[RTA_MAX + 1] = {};
	const struct rtmsg *message = route_attrs(header, attrs);
	struct route_match *match = data;

	if (message && message->rtm_table == RT_TABLE_MAIN)
		match->found |= route_equal(attrs, message, match->wanted);
	return 0;
}

static void forget_match(void *data)
{
	struct route_match *match = data;

	match->found = false;
}

/* The kernel says by many errors that no route leads there. */
static int not_there(int r)
{
	switch (r) {
	case -ENOMEM:
	case -ENOBUFS:
	case -EAGAIN:
	case -EINTR:
	case -EMFILE:
	case -EPERM:
	case -EIO:
		return r;
	default:
		return -ENOENT;
	}
}

/* A host route is asked for by address (one message); others are looked for in the whole table. */
int netlink_route_find(struct netlink *nl, const struct route_spec *route)
{
	struct route_match match = {.wanted = route};
	struct nlmsghdr *header;
	struct rtmsg *message;
	uint8_t family = route->family == FAMILY_V4 ? AF_INET : AF_INET6;
	int r;

	if (route->destination.length != 128) {
		r = netlink_dump_main_routes(nl, family, 0, match_route, forget_match, &match);
		return r < 0 ? not_there(r) : match.found ? 0 : -ENOENT;
	}
	header = netlink_begin(nl, RTM_GETROUTE, 0);
	message = mnl_nlmsg_put_extra_header(header, sizeof(*message));
	message->rtm_family = family;
	message->rtm_flags = RTM_F_FIB_MATCH;
	message->rtm_dst_len = route->family == FAMILY_V4 ? 32 : 128;
	netlink_put_addr(header, RTA_DST, &route->destination.addr);
	r = netlink_talk(nl, header, match_route, &match);
	return r < 0 ? not_there(r) : match.found ? 0 : -ENOENT;
}

struct default_route {
	uint8_t family; /* AF_* */
	uint32_t metric;
	int ifindex;
};

static int keep_default(const struct nlmsghdr *header, void *data)
{
	const struct nlattr *attrs[RTA_MAX + 1] = {};
	const struct rtmsg *message = route_attrs(header, attrs);
	struct default_route *best = data;
	uint32_t metric = 0;

	if (!message || message->rtm_family != best->family || message->rtm_dst_len != 0 ||
	    message->rtm_table != RT_TABLE_MAIN || message->rtm_type != RTN_UNICAST ||
	    !attrs[RTA_OIF])
		return 0;
	if (attrs[RTA_PRIORITY] && mnl_attr_validate(attrs[RTA_PRIORITY], MNL_TYPE_U32) == 0)
		metric = mnl_attr_get_u32(attrs[RTA_PRIORITY]);
	if (best->ifindex == 0 || metric < best->metric)
		*best = (struct default_route){best->family, metric,
					       (int)mnl_attr_get_u32(attrs[RTA_OIF])};
	return 0;
}

static void forget_default(void *data)
{
	((struct default_route *)data)->ifindex = 0;
}

int netlink_default_route(struct netlink *nl, uint8_t family, int *ret_ifindex)
{
	struct default_route best = {.family = family == FAMILY_V4 ? AF_INET : AF_INET6};
	int r = netlink_dump_main_routes(nl, best.family, 0, keep_default, forget_default, &best);

	if (r < 0)
		return r;
	if (best.ifindex == 0)
		return -ENOENT;
	*ret_ifindex = best.ifindex;
	return 0;
}

static int keep_local(const struct nlmsghdr *header, void *data)
{
	const struct rtmsg *message = mnl_nlmsg_get_payload(header);

	if (header->nlmsg_type == RTM_NEWROUTE &&
	    mnl_nlmsg_get_payload_len(header) >= sizeof(*message))
		*(bool *)data = message->rtm_type == RTN_LOCAL;
	return 0;
}

bool netlink_address_is_local(struct netlink *nl, const struct polder_addr *addr)
{
	struct nlmsghdr *header = netlink_begin(nl, RTM_GETROUTE, 0);
	struct rtmsg *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));
	bool local = false;

	message->rtm_family = netlink_family(addr);
	message->rtm_dst_len = addr_is_v4(addr) ? 32 : 128;
	netlink_put_addr(header, RTA_DST, addr);
	return netlink_talk(nl, header, keep_local, &local) == 0 && local;
}

/* --------------------------------------------------------------- neighbours */

int netlink_neighbour_replace(struct netlink *nl, int ifindex, const struct polder_addr *addr,
			      const uint8_t mac[6])
{
	struct nlmsghdr *header = netlink_begin(nl, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE);
	struct ndmsg *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));

	message->ndm_family = netlink_family(addr);
	message->ndm_ifindex = ifindex;
	message->ndm_state = NUD_PERMANENT;
	netlink_put_addr(header, NDA_DST, addr);
	mnl_attr_put(header, NDA_LLADDR, 6, mac);
	return netlink_talk(nl, header, NULL, NULL);
}
