/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kernel/netlink_neighbour.h"

#include <errno.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>

#include "agent/kernel/netlink_internal.h"

bool netlink_neighbour_decode(const struct nlmsghdr *header, struct neighbour_info *ret)
{
	const struct ndmsg *message = mnl_nlmsg_get_payload(header);
	struct neighbour_info info = {};
	const struct nlattr *attr;
	bool has_address = false;

	if (mnl_nlmsg_get_payload_len(header) < sizeof(*message) ||
	    (message->ndm_family != AF_INET && message->ndm_family != AF_INET6) ||
	    message->ndm_flags & NTF_PROXY)
		return false;
	info.ifindex = message->ndm_ifindex;
	info.state = message->ndm_state;
	info.flags = message->ndm_flags;
	mnl_attr_for_each(attr, header, sizeof(*message))
	{
		switch (mnl_attr_get_type(attr)) {
		case NDA_DST:
			has_address = netlink_get_addr(attr, &info.addr) == 0;
			break;
		case NDA_PROTOCOL:
			if (mnl_attr_validate(attr, MNL_TYPE_U8) == 0)
				info.protocol = mnl_attr_get_u8(attr);
			break;
		case NDA_FLAGS_EXT:
			if (mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
				info.is_managed = mnl_attr_get_u32(attr) & NTF_EXT_MANAGED;
			break;
		}
	}
	*ret = info;
	return has_address;
}

static struct nlmsghdr *begin(struct netlink *nl, uint16_t type, uint16_t flags, int ifindex,
			      const struct polder_addr *addr, uint8_t neighbour_flags)
{
	struct nlmsghdr *header = netlink_begin(nl, type, flags);
	struct ndmsg *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));

	message->ndm_family = netlink_family(addr);
	message->ndm_ifindex = ifindex;
	message->ndm_flags = neighbour_flags;
	netlink_put_addr(header, NDA_DST, addr);
	return header;
}

static int keep_one(const struct nlmsghdr *header, void *data)
{
	if (header->nlmsg_type == RTM_NEWNEIGH)
		(void)netlink_neighbour_decode(header, data);
	return 0;
}

int netlink_neighbour_get(struct netlink *nl, int ifindex, const struct polder_addr *addr,
			  struct neighbour_info *ret)
{
	struct neighbour_info info = {};
	int r = netlink_talk(nl, begin(nl, RTM_GETNEIGH, 0, ifindex, addr, 0), keep_one, &info);

	if (r == -ENODEV)
		return -ENOENT;
	if (r < 0)
		return r;
	*ret = info;
	return info.ifindex ? 0 : -ENOENT;
}

struct neighbour_array {
	struct neighbour_info *items;
	size_t count, room;
};

static int keep_each(const struct nlmsghdr *header, void *data)
{
	struct neighbour_array *array = data;
	size_t room = array->room ? array->room * 2 : 64;
	struct neighbour_info info, *grown;

	if (header->nlmsg_type != RTM_NEWNEIGH || !netlink_neighbour_decode(header, &info))
		return 0;
	if (array->count == array->room) {
		grown = reallocarray(array->items, room, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		array->items = grown;
		array->room = room;
	}
	array->items[array->count++] = info;
	return 0;
}

static void forget(void *data)
{
	((struct neighbour_array *)data)->count = 0;
}

int netlink_neighbour_list(struct netlink *nl, struct neighbour_info **ret, size_t *ret_count)
{
	struct nlmsghdr *header = netlink_begin(nl, RTM_GETNEIGH, NLM_F_DUMP);
	struct ndmsg *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));
	struct neighbour_array array = {};
	int r;

	message->ndm_family = AF_UNSPEC;
	r = netlink_dump(nl, header, keep_each, forget, &array);
	if (r < 0) {
		free(array.items);
		return r;
	}
	*ret = array.items;
	*ret_count = array.count;
	return 0;
}

bool netlink_neighbour_is_others(const struct neighbour_info *info)
{
	if (info->state & (NUD_PERMANENT | NUD_NOARP))
		return true;
	return info->flags & NTF_EXT_LEARNED && info->protocol != NETLINK_ROUTE_PROTOCOL;
}

int netlink_neighbour_keep(struct netlink *nl, int ifindex, const struct polder_addr *addr)
{
	/* The state stays what it is: the kernel begins with NUD_NONE. */
	struct nlmsghdr *header = begin(nl, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, ifindex,
					addr, NTF_USE | NTF_EXT_LEARNED);

	mnl_attr_put_u8(header, NDA_PROTOCOL, NETLINK_ROUTE_PROTOCOL);
	mnl_attr_put_u32(header, NDA_FLAGS_EXT, NTF_EXT_MANAGED);
	return netlink_talk(nl, header, NULL, NULL);
}

int netlink_neighbour_delete(struct netlink *nl, int ifindex, const struct polder_addr *addr)
{
	int r = netlink_talk(nl, begin(nl, RTM_DELNEIGH, 0, ifindex, addr, 0), NULL, NULL);

	return r == -ENOENT || r == -ENODEV || r == -ENXIO ? 0 : r;
}
