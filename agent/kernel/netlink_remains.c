/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kernel/netlink_remains.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/address.h"
#include "agent/kernel/netlink_internal.h"
#include "agent/kernel/netlink_neighbour.h"
#include "agent/kernel/netlink_vxlan.h"

/* As agent/pods makes them. */
#define LINK_PREFIX  "pld"
#define LINK_DIGITS  11
#define ALIAS_PREFIX "polder "

struct list {
	struct remain *items;
	size_t count;
	int *links; /* all of them, for their filters */
	size_t link_count;
	uint8_t family; /* of the dump that runs */
};

/* NULL: no memory. */
static struct remain *append(struct list *list, enum remain_kind kind)
{
	struct remain *grown = reallocarray(list->items, list->count + 1, sizeof(*grown));

	if (!grown)
		return NULL;
	list->items = grown;
	grown += list->count++;
	*grown = (struct remain){.kind = kind};
	return grown;
}

static int keep_message(struct remain *remain, const struct nlmsghdr *header)
{
	remain->message = malloc(header->nlmsg_len);
	if (!remain->message)
		return -ENOMEM;
	memcpy(remain->message, header, header->nlmsg_len);
	return 0;
}

/* ---------------------------------------------------------------- links */

static bool is_link_name(const char *name)
{
	if (strncmp(name, LINK_PREFIX, strlen(LINK_PREFIX)) != 0 ||
	    strlen(name) != strlen(LINK_PREFIX) + LINK_DIGITS)
		return false;
	for (const char *c = name + strlen(LINK_PREFIX); *c; c++)
		if (!isdigit((unsigned char)*c) && (*c < 'a' || *c > 'f'))
			return false;
	return true;
}

static bool is_marked(const struct nlmsghdr *header)
{
	const struct nlattr *attr;

	mnl_attr_for_each(attr, header, sizeof(struct ifinfomsg))
	{
		if (mnl_attr_get_type(attr) == IFLA_IFALIAS &&
		    mnl_attr_get_payload_len(attr) > strlen(ALIAS_PREFIX))
			return memcmp(mnl_attr_get_payload(attr), ALIAS_PREFIX,
				      strlen(ALIAS_PREFIX)) == 0;
	}
	return false;
}

static int keep_link(const struct nlmsghdr *header, void *data)
{
	struct list *list = data;
	struct link_info info;
	struct remain *remain;
	int *grown;

	if (header->nlmsg_type != RTM_NEWLINK || netlink_link_decode(header, &info) < 0)
		return 0;
	grown = reallocarray(list->links, list->link_count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	list->links = grown;
	if (netlink_vxlan_is_ours(&info)) {
		remain = append(list, REMAIN_TUNNEL);
		if (!remain)
			return -ENOMEM;
		remain->ifindex = info.ifindex;
		snprintf(remain->text, sizeof(remain->text), "%s", info.name);
		return 0;
	}
	if (!info.is_veth || (!is_link_name(info.name) && !is_marked(header))) {
		grown[list->link_count++] = info.ifindex;
		return 0;
	}
	remain = append(list, REMAIN_LINK);
	if (!remain)
		return -ENOMEM;
	remain->ifindex = info.ifindex;
	snprintf(remain->text, sizeof(remain->text), "%s", info.name);
	return 0;
}

/* ---------------------------------------------------------------- routes and rules */

static void put_prefix(char *text, size_t size, uint8_t family, const void *bytes, uint8_t length)
{
	char address[INET6_ADDRSTRLEN];

	if (bytes && inet_ntop(family, bytes, address, sizeof(address)))
		snprintf(text, size, "%s/%u", address, length);
	else
		snprintf(text, size, "default (%s)", family == AF_INET ? "IPv4" : "IPv6");
}

static int keep_route(const struct nlmsghdr *header, void *data)
{
	const struct rtmsg *message = mnl_nlmsg_get_payload(header);
	const void *destination = NULL;
	const struct nlattr *attr;
	struct remain *remain;

	if (header->nlmsg_type != RTM_NEWROUTE ||
	    mnl_nlmsg_get_payload_len(header) < sizeof(*message) ||
	    message->rtm_protocol != NETLINK_ROUTE_PROTOCOL)
		return 0;
	mnl_attr_for_each(attr, header, sizeof(*message)) if (mnl_attr_get_type(attr) == RTA_DST)
		destination = mnl_attr_get_payload(attr);
	remain = append(data, REMAIN_ROUTE);
	if (!remain)
		return -ENOMEM;
	put_prefix(remain->text, sizeof(remain->text), message->rtm_family, destination,
		   message->rtm_dst_len);
	return keep_message(remain, header);
}

static int keep_rule(const struct nlmsghdr *header, void *data)
{
	const struct fib_rule_hdr *message = mnl_nlmsg_get_payload(header);
	uint8_t protocol = 0;
	const struct nlattr *attr;
	struct remain *remain;
	uint32_t priority = 0;

	if (header->nlmsg_type != RTM_NEWRULE ||
	    mnl_nlmsg_get_payload_len(header) < sizeof(*message))
		return 0;
	mnl_attr_for_each(attr, header, sizeof(*message))
	{
		if (mnl_attr_get_type(attr) == FRA_PROTOCOL && mnl_attr_get_payload_len(attr) == 1)
			protocol = mnl_attr_get_u8(attr);
		else if (mnl_attr_get_type(attr) == FRA_PRIORITY &&
			 mnl_attr_get_payload_len(attr) == 4)
			priority = mnl_attr_get_u32(attr);
	}
	if (protocol != NETLINK_ROUTE_PROTOCOL)
		return 0;
	remain = append(data, REMAIN_RULE);
	if (!remain)
		return -ENOMEM;
	snprintf(remain->text, sizeof(remain->text), "IPv%d rule of priority %u",
		 message->family == AF_INET ? 4 : 6, priority);
	return keep_message(remain, header);
}

/* ---------------------------------------------------------------- dumps */

static void forget_links(void *data)
{
	struct list *list = data;

	/* A dump that is read again begins anew; links are the first. */
	list->link_count = 0;
	while (list->count > 0)
		free(list->items[--list->count].message);
}

/* Of this family: those before it are of the other one, and whole. */
static void forget_family(struct list *list, enum remain_kind kind)
{
	while (list->count > 0 && list->items[list->count - 1].kind == kind) {
		struct remain *last = &list->items[list->count - 1];
		const struct rtmsg *message = mnl_nlmsg_get_payload(last->message);

		if (message->rtm_family != list->family)
			return;
		free(last->message);
		list->count--;
	}
}

static void forget_routes(void *data)
{
	forget_family(data, REMAIN_ROUTE);
}

static void forget_rules(void *data)
{
	forget_family(data, REMAIN_RULE);
}

static int list_links(struct netlink *nl, struct list *list)
{
	struct nlmsghdr *header = netlink_begin(nl, RTM_GETLINK, NLM_F_DUMP);
	struct ifinfomsg *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));

	message->ifi_family = AF_UNSPEC;
	return netlink_dump(nl, header, keep_link, forget_links, list);
}

/* struct rtmsg and struct fib_rule_hdr begin alike, and are of one size. */
static int list_family(struct netlink *nl, uint8_t family, bool routes, struct list *list)
{
	struct nlmsghdr *header =
		netlink_begin(nl, routes ? RTM_GETROUTE : RTM_GETRULE, NLM_F_DUMP);
	struct rtmsg *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));
	int r;

	list->family = family;
	message->rtm_family = family;
	r = netlink_dump(nl, header, routes ? keep_route : keep_rule,
			 routes ? forget_routes : forget_rules, list);
	return r == -EAFNOSUPPORT || r == -EOPNOTSUPP ? 0 : r;
}

static int list_neighbours(struct netlink *nl, struct list *list)
{
	struct neighbour_info *all = NULL;
	char text[INET6_ADDRSTRLEN];
	size_t count = 0;
	int r = netlink_neighbour_list(nl, &all, &count);

	for (size_t i = 0; i < count && r == 0; i++) {
		struct remain *remain;

		if (all[i].protocol != NETLINK_ROUTE_PROTOCOL ||
		    netlink_neighbour_is_others(&all[i]))
			continue;
		remain = append(list, REMAIN_NEIGHBOUR);
		if (!remain) {
			r = -ENOMEM;
			break;
		}
		remain->ifindex = all[i].ifindex;
		remain->addr = all[i].addr;
		snprintf(remain->text, sizeof(remain->text), "%s", addr_format(&all[i].addr, text));
	}
	free(all);
	return r;
}

static int list_filters(struct netlink *nl, struct list *list)
{
	for (size_t i = 0; i < list->link_count * 4; i++) {
		bool egress = i % 2;
		enum clsact_position position = i % 4 < 2 ? CLSACT_FIRST : CLSACT_BEHIND;
		int ifindex = list->links[i / 4];
		struct link_info info;
		struct remain *remain;
		uint32_t id = 0;

		if (netlink_clsact_query(nl, ifindex, egress, position, &id) < 0 || !id)
			continue;
		remain = append(list, REMAIN_FILTER);
		if (!remain)
			return -ENOMEM;
		if (netlink_link_get_index(nl, ifindex, &info) < 0)
			snprintf(info.name, sizeof(info.name), "%d", ifindex);
		remain->ifindex = ifindex;
		remain->egress = egress;
		remain->position = position;
		snprintf(remain->text, sizeof(remain->text), "%s %s, program %u", info.name,
			 egress ? "egress" : "ingress", id);
	}
	return 0;
}

int netlink_remains_list(struct netlink *nl, struct remain **ret, size_t *ret_count)
{
	static const uint8_t families[] = {AF_INET, AF_INET6};
	struct list list = {};
	int r = list_links(nl, &list);

	for (size_t i = 0; i < 2 && r == 0; i++)
		r = list_family(nl, families[i], false, &list);
	for (size_t i = 0; i < 2 && r == 0; i++)
		r = list_family(nl, families[i], true, &list);
	if (r == 0)
		r = list_neighbours(nl, &list);
	if (r == 0)
		r = list_filters(nl, &list);
	free(list.links);
	if (r < 0) {
		netlink_remains_free(list.items, list.count);
		return r;
	}
	*ret = list.items;
	*ret_count = list.count;
	return 0;
}

void netlink_remains_free(struct remain *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(list[i].message);
	free(list);
}

/* The kernel takes its own description back, but for what only a listing holds. */
static int delete_message(struct netlink *nl, const struct nlmsghdr *listed, uint16_t type)
{
	struct nlmsghdr *header = netlink_begin(nl, type, 0);
	size_t length = mnl_nlmsg_get_payload_len(listed);

	if (length > NETLINK_SEND_SIZE - MNL_NLMSG_HDRLEN)
		return -EMSGSIZE;
	memcpy(mnl_nlmsg_put_extra_header(header, length), mnl_nlmsg_get_payload(listed), length);
	return netlink_talk(nl, header, NULL, NULL);
}

int netlink_remain_delete(struct netlink *nl, const struct remain *remain)
{
	int r;

	switch (remain->kind) {
	case REMAIN_LINK:
	case REMAIN_TUNNEL:
		return netlink_link_delete(nl, remain->ifindex);
	case REMAIN_NEIGHBOUR:
		return netlink_neighbour_delete(nl, remain->ifindex, &remain->addr);
	case REMAIN_FILTER:
		return netlink_clsact_detach(nl, remain->ifindex, remain->egress, remain->position);
	case REMAIN_RULE:
		r = delete_message(nl, remain->message, RTM_DELRULE);
		return r == -ENOENT ? 0 : r;
	case REMAIN_ROUTE:
		/* Those of a link that was deleted have gone with it. */
		r = delete_message(nl, remain->message, RTM_DELROUTE);
		return r == -ESRCH || r == -ENODEV || r == -ENOENT ? 0 : r;
	}
	return -EINVAL;
}
