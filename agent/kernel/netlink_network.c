/* SPDX-License-Identifier: Apache-2.0 */
/* All addresses, routes and address labels of a network namespace: one dump each. */
#include "agent/kernel/netlink_network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_addrlabel.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "agent/kernel/netlink_internal.h"

/* What a dump gathers: elements of `size` bytes. */
struct gathered {
	void *items;
	size_t size, count, room;
};

/* Room for one more, zeroed: elements are compared as bytes. NULL: no memory. */
static void *gather(struct gathered *g)
{
	if (g->count == g->room) {
		size_t room = g->room ? 2 * g->room : 64;
		void *items = reallocarray(g->items, room, g->size);

		if (!items)
			return NULL;
		g->items = items;
		g->room = room;
	}
	return memset((char *)g->items + g->size * g->count++, 0, g->size);
}

static void forget(void *data)
{
	struct gathered *g = data;

	g->count = 0;
}

/* Hands over what a dump gathered; `r`: what it said. */
static int give(struct gathered *g, int r, void **ret, size_t *ret_count)
{
	if (r < 0) {
		free(g->items);
		return r;
	}
	*ret = g->items;
	*ret_count = g->count;
	return 0;
}

/* In the 128 bits in which all prefixes are counted. */
static uint8_t mapped_length(uint8_t family, uint8_t length)
{
	return family == AF_INET ? length + POLDER_V4_MAPPED_BITS : length;
}

static uint32_t u32_or(const struct nlattr *attr, uint32_t otherwise)
{
	return attr && mnl_attr_validate(attr, MNL_TYPE_U32) == 0 ? mnl_attr_get_u32(attr)
								  : otherwise;
}

/* ---------------------------------------------------------------- addresses */

bool netlink_address_decode(const struct nlmsghdr *header, struct address_info *ret)
{
	const struct ifaddrmsg *message = mnl_nlmsg_get_payload(header);
	const struct nlattr *attr, *attrs[IFA_MAX + 1] = {}, *own;

	if (header->nlmsg_type != RTM_NEWADDR ||
	    mnl_nlmsg_get_payload_len(header) < sizeof(*message))
		return false;
	mnl_attr_for_each(attr, header, sizeof(*message))
	{
		if (mnl_attr_get_type(attr) <= IFA_MAX)
			attrs[mnl_attr_get_type(attr)] = attr;
	}
	/* Of a point-to-point link IFA_ADDRESS is the other end's. */
	own = attrs[IFA_LOCAL] ? attrs[IFA_LOCAL] : attrs[IFA_ADDRESS];
	if (!own || netlink_get_addr(own, &ret->prefix.addr) < 0)
		return false;
	ret->prefix.length = mapped_length(message->ifa_family, message->ifa_prefixlen);
	ret->ifindex = (int)message->ifa_index;
	ret->flags = u32_or(attrs[IFA_FLAGS], message->ifa_flags);
	ret->scope = message->ifa_scope;
	return true;
}

static int keep_address(const struct nlmsghdr *header, void *data)
{
	struct gathered *g = data;
	struct address_info *info = gather(g);

	if (!info)
		return -ENOMEM;
	g->count -= !netlink_address_decode(header, info);
	return 0;
}

int netlink_all_addresses(struct netlink *nl, struct address_info **ret, size_t *ret_count)
{
	struct nlmsghdr *header = netlink_begin(nl, RTM_GETADDR, NLM_F_DUMP);
	struct ifaddrmsg *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));
	struct gathered g = {.size = sizeof(struct address_info)};

	message->ifa_family = AF_UNSPEC;
	return give(&g, netlink_dump(nl, header, keep_address, forget, &g), (void **)ret,
		    ret_count);
}

/* ------------------------------------------------------------------- routes */

/* One way of a route: its own, or one of several. */
struct nexthop {
	unsigned int flags;
	const struct nlattr *oif, *gateway;
};

static void take_nexthop(const struct nexthop *hop, struct route_info *info)
{
	if (info->ifindex || hop->flags & RTNH_F_DEAD)
		return;
	info->ifindex = (int)u32_or(hop->oif, 0);
	info->has_gateway = hop->gateway && netlink_get_addr(hop->gateway, &info->gateway) == 0;
}

/* The first of several ways that is alive. */
static void take_multipath(const struct nlattr *list, struct route_info *info)
{
	const struct rtnexthop *next = mnl_attr_get_payload(list);
	size_t left = mnl_attr_get_payload_len(list);

	while (left >= sizeof(*next) && next->rtnh_len >= sizeof(*next) && next->rtnh_len <= left) {
		size_t step = MNL_ALIGN(next->rtnh_len);
		struct nexthop hop = {.flags = next->rtnh_flags};
		const struct nlattr *attr;

		const void *attrs = next + 1;

		mnl_attr_for_each_payload(attrs, next->rtnh_len - sizeof(*next))
		{
			if (mnl_attr_get_type(attr) == RTA_GATEWAY)
				hop.gateway = attr;
		}
		if (!info->ifindex && !(hop.flags & RTNH_F_DEAD)) {
			take_nexthop(&hop, info);
			info->ifindex = next->rtnh_ifindex;
		}
		if (step >= left)
			break;
		left -= step;
		next = (const void *)((const char *)next + step);
	}
}

/* Of the tables that are asked for every packet; those that say what is local say nothing else. */
static bool is_kept(const struct rtmsg *message, uint32_t table)
{
	return table == RT_TABLE_MAIN && !(message->rtm_flags & RTM_F_CLONED) &&
	       !message->rtm_tos && !message->rtm_src_len &&
	       (message->rtm_family == AF_INET || message->rtm_family == AF_INET6);
}

bool netlink_route_decode(const struct nlmsghdr *header, struct route_info *ret)
{
	const struct rtmsg *message = mnl_nlmsg_get_payload(header);
	const struct nlattr *attr, *attrs[RTA_MAX + 1] = {};
	struct nexthop own;

	if (mnl_nlmsg_get_payload_len(header) < sizeof(*message))
		return false;
	mnl_attr_for_each(attr, header, sizeof(*message))
	{
		if (mnl_attr_get_type(attr) <= RTA_MAX)
			attrs[mnl_attr_get_type(attr)] = attr;
	}
	if (!is_kept(message, u32_or(attrs[RTA_TABLE], message->rtm_table)))
		return false;
	if (message->rtm_family == AF_INET)
		ret->destination.addr.words_be[2] = htonl(0xffff);
	if (attrs[RTA_DST])
		(void)netlink_get_addr(attrs[RTA_DST], &ret->destination.addr);
	ret->destination.length = mapped_length(message->rtm_family, message->rtm_dst_len);
	ret->type = message->rtm_type;
	ret->scope = message->rtm_scope;
	ret->protocol = message->rtm_protocol;
	ret->priority = u32_or(attrs[RTA_PRIORITY], 0);
	ret->has_source =
		attrs[RTA_PREFSRC] && netlink_get_addr(attrs[RTA_PREFSRC], &ret->source) == 0;
	own = (struct nexthop){message->rtm_flags, attrs[RTA_OIF], attrs[RTA_GATEWAY]};
	take_nexthop(&own, ret);
	if (attrs[RTA_MULTIPATH])
		take_multipath(attrs[RTA_MULTIPATH], ret);
	return true;
}

static int keep_route(const struct nlmsghdr *header, void *data)
{
	struct gathered *g = data;
	struct route_info *info;

	if (header->nlmsg_type != RTM_NEWROUTE)
		return 0;
	info = gather(g);
	if (!info)
		return -ENOMEM;
	g->count -= !netlink_route_decode(header, info);
	return 0;
}

int netlink_all_routes(struct netlink *nl, struct route_info **ret, size_t *ret_count)
{
	struct gathered g = {.size = sizeof(struct route_info)};

	return give(&g, netlink_dump_main_routes(nl, AF_UNSPEC, 0, keep_route, forget, &g),
		    (void **)ret, ret_count);
}

/* ----------------------------------------------------------- address labels */

static int keep_label(const struct nlmsghdr *header, void *data)
{
	const struct ifaddrlblmsg *message = mnl_nlmsg_get_payload(header);
	const struct nlattr *attr, *attrs[IFAL_MAX + 1] = {};
	struct address_label *label;

	if (header->nlmsg_type != RTM_NEWADDRLABEL ||
	    mnl_nlmsg_get_payload_len(header) < sizeof(*message))
		return 0;
	mnl_attr_for_each(attr, header, sizeof(*message))
	{
		if (mnl_attr_get_type(attr) <= IFAL_MAX)
			attrs[mnl_attr_get_type(attr)] = attr;
	}
	if (!attrs[IFAL_ADDRESS] || !attrs[IFAL_LABEL])
		return 0;
	label = gather(data);
	if (!label)
		return -ENOMEM;
	(void)netlink_get_addr(attrs[IFAL_ADDRESS], &label->prefix.addr);
	label->prefix.length = message->ifal_prefixlen;
	label->ifindex = (int)message->ifal_index;
	label->label = u32_or(attrs[IFAL_LABEL], 0);
	return 0;
}

int netlink_all_labels(struct netlink *nl, struct address_label **ret, size_t *ret_count)
{
	struct nlmsghdr *header = netlink_begin(nl, RTM_GETADDRLABEL, NLM_F_DUMP);
	struct ifaddrlblmsg *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));
	struct gathered g = {.size = sizeof(struct address_label)};
	int r;

	message->ifal_family = AF_INET6;
	r = give(&g, netlink_dump(nl, header, keep_label, forget, &g), (void **)ret, ret_count);
	if (r != -EOPNOTSUPP && r != -EAFNOSUPPORT)
		return r;
	/* A kernel without IPv6. */
	*ret = NULL;
	*ret_count = 0;
	return 0;
}
