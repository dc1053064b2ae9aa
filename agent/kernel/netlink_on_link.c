/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kernel/netlink_on_link.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>

#include "agent/kernel/netlink_internal.h"
#include "agent/kernel/netlink_network.h"

struct on_link_array {
	struct on_link *items;
	size_t count, room;
	size_t kept; /* of the dumps before */
};

static int add(struct on_link_array *array, const struct on_link *one)
{
	size_t room = array->room ? array->room * 2 : 32;
	struct on_link *grown;

	if (array->count == array->room) {
		grown = reallocarray(array->items, room, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		array->items = grown;
		array->room = room;
	}
	array->items[array->count++] = *one;
	return 0;
}

static void forget(void *data)
{
	struct on_link_array *array = data;

	array->count = array->kept;
}

static uint8_t mapped_length(uint8_t family, uint8_t length)
{
	return length + (family == AF_INET ? POLDER_V4_MAPPED_BITS : 0);
}

static int add_addresses(struct netlink *nl, struct on_link_array *array)
{
	struct address_info *list = NULL;
	size_t count = 0, i;
	int r = netlink_all_addresses(nl, &list, &count);

	for (i = 0; i < count && r == 0; i++)
		r = add(array, &(struct on_link){.ifindex = list[i].ifindex,
						 .range = list[i].prefix,
						 .is_address = true});
	free(list);
	return r;
}

static int keep_route(const struct nlmsghdr *header, void *data)
{
	const struct rtmsg *message = mnl_nlmsg_get_payload(header);
	const struct nlattr *attr, *destination = NULL;
	struct on_link one = {};
	bool has_gateway = false;

	if (header->nlmsg_type != RTM_NEWROUTE ||
	    mnl_nlmsg_get_payload_len(header) < sizeof(*message) ||
	    message->rtm_type != RTN_UNICAST || message->rtm_dst_len == 0 ||
	    (message->rtm_flags & RTM_F_CLONED))
		return 0;
	mnl_attr_for_each(attr, header, sizeof(*message))
	{
		if (mnl_attr_get_type(attr) == RTA_DST)
			destination = attr;
		if (mnl_attr_get_type(attr) == RTA_OIF &&
		    mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
			one.ifindex = (int)mnl_attr_get_u32(attr);
		has_gateway |= mnl_attr_get_type(attr) == RTA_GATEWAY ||
			       mnl_attr_get_type(attr) == RTA_VIA;
	}
	if (has_gateway || !one.ifindex || !destination ||
	    netlink_get_addr(destination, &one.range.addr) < 0)
		return 0;
	one.range.length = mapped_length(message->rtm_family, message->rtm_dst_len);
	return add(data, &one);
}

static int list_routes(struct netlink *nl, uint8_t family, struct on_link_array *array)
{
	struct nlmsghdr *header = netlink_begin(nl, RTM_GETROUTE, NLM_F_DUMP);
	struct rtmsg *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));

	message->rtm_family = family;
	array->kept = array->count;
	return netlink_dump(nl, header, keep_route, forget, array);
}

int netlink_on_link_list(struct netlink *nl, struct on_link **ret, size_t *ret_count)
{
	struct on_link_array array = {};
	int r = add_addresses(nl, &array);

	if (r == 0)
		r = list_routes(nl, AF_INET, &array);
	if (r == 0)
		r = list_routes(nl, AF_INET6, &array);
	if (r < 0) {
		free(array.items);
		return r;
	}
	*ret = array.items;
	*ret_count = array.count;
	return 0;
}
