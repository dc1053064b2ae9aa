/* SPDX-License-Identifier: Apache-2.0 */
/* Links: veth pairs made, read, set up and deleted. */
#include "agent/kernel/netlink.h"

#include <errno.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <stdlib.h>
#include <string.h>

#include "agent/kernel/netlink_internal.h"

/* A name that need not end with a NUL. */
static void copy_name(const struct nlattr *attr, char *name, size_t size)
{
	size_t length = mnl_attr_get_payload_len(attr);

	if (length >= size)
		length = size - 1;
	memcpy(name, mnl_attr_get_payload(attr), length);
	name[length] = '\0';
}

static void decode_linkinfo(const struct nlattr *nest, struct link_info *info)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, nest)
	{
		if (mnl_attr_get_type(attr) == IFLA_INFO_KIND)
			copy_name(attr, info->kind, sizeof(info->kind));
		if (mnl_attr_get_type(attr) == IFLA_INFO_SLAVE_KIND)
			copy_name(attr, info->slave_kind, sizeof(info->slave_kind));
	}
	info->is_veth = strcmp(info->kind, "veth") == 0;
}

static void decode_xdp(const struct nlattr *nest, struct link_info *info)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, nest)
	{
		if (mnl_attr_get_type(attr) == IFLA_XDP_PROG_ID &&
		    mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
			info->xdp_prog_id = mnl_attr_get_u32(attr);
	}
}

static void decode_attribute(const struct nlattr *attr, struct link_info *info)
{
	switch (mnl_attr_get_type(attr)) {
	case IFLA_IFNAME:
		if (mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) == 0)
			strncpy(info->name, mnl_attr_get_str(attr), sizeof(info->name) - 1);
		break;
	case IFLA_ADDRESS:
		if (mnl_attr_get_payload_len(attr) == sizeof(info->mac))
			memcpy(info->mac, mnl_attr_get_payload(attr), sizeof(info->mac));
		break;
	case IFLA_MTU:
		if (mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
			info->mtu = mnl_attr_get_u32(attr);
		break;
	case IFLA_MASTER:
		if (mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
			info->master = (int)mnl_attr_get_u32(attr);
		break;
	case IFLA_OPERSTATE:
		/* IFF_RUNNING says yes as long as the kernel does not know. */
		if (mnl_attr_validate(attr, MNL_TYPE_U8) == 0)
			info->running = mnl_attr_get_u8(attr) == IF_OPER_UP;
		break;
	case IFLA_IFALIAS:
		if (mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) == 0)
			strncpy(info->alias, mnl_attr_get_str(attr), sizeof(info->alias) - 1);
		break;
	case IFLA_LINKINFO:
		decode_linkinfo(attr, info);
		break;
	case IFLA_XDP:
		decode_xdp(attr, info);
		break;
	default:
		break;
	}
}

int netlink_link_decode(const struct nlmsghdr *header, struct link_info *ret)
{
	struct link_info info = {};
	const struct ifinfomsg *message = mnl_nlmsg_get_payload(header);
	const struct nlattr *attr;

	if (mnl_nlmsg_get_payload_len(header) < sizeof(*message))
		return -EINVAL;
	info.ifindex = message->ifi_index;
	info.up = message->ifi_flags & IFF_UP;
	info.type = message->ifi_type;
	mnl_attr_for_each(attr, header, sizeof(*message)) decode_attribute(attr, &info);
	*ret = info;
	return 0;
}

static struct ifinfomsg *put_ifinfo(struct nlmsghdr *header, int ifindex)
{
	struct ifinfomsg *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));

	message->ifi_family = AF_UNSPEC;
	message->ifi_index = ifindex;
	return message;
}

int netlink_link_set_alias(struct netlink *nl, int ifindex, const char *alias)
{
	struct nlmsghdr *header = netlink_begin(nl, RTM_NEWLINK, 0);

	put_ifinfo(header, ifindex);
	mnl_attr_put_strz(header, IFLA_IFALIAS, alias);
	return netlink_talk(nl, header, NULL, NULL);
}

/* The kernel refuses this, and the alias, in the message that makes the link. Where it has no IPv6
 * there is nothing to prevent. */
int netlink_link_refuse_addresses(struct netlink *nl, int ifindex, const char *alias)
{
	struct nlmsghdr *header = netlink_begin(nl, RTM_NEWLINK, 0);
	const bool marked = alias && alias[0];
	struct nlattr *spec, *inet6;
	int r;

	put_ifinfo(header, ifindex);
	if (marked)
		mnl_attr_put_strz(header, IFLA_IFALIAS, alias);
	spec = mnl_attr_nest_start(header, IFLA_AF_SPEC);
	inet6 = mnl_attr_nest_start(header, AF_INET6);
	mnl_attr_put_u8(header, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
	mnl_attr_nest_end(header, inet6);
	mnl_attr_nest_end(header, spec);
	r = netlink_talk(nl, header, NULL, NULL);
	if (r != -EAFNOSUPPORT)
		return r;
	return marked ? netlink_link_set_alias(nl, ifindex, alias) : 0;
}

static void put_peer(struct nlmsghdr *header, const struct veth_spec *spec)
{
	struct nlattr *peer = mnl_attr_nest_start(header, VETH_INFO_PEER);

	put_ifinfo(header, 0);
	mnl_attr_put_strz(header, IFLA_IFNAME, spec->peer_name);
	mnl_attr_put(header, IFLA_ADDRESS, sizeof(spec->peer_mac), spec->peer_mac);
	mnl_attr_put_u32(header, IFLA_MTU, spec->mtu);
	if (spec->peer_netns_fd >= 0)
		mnl_attr_put_u32(header, IFLA_NET_NS_FD, spec->peer_netns_fd);
	mnl_attr_nest_end(header, peer);
}

/* Says which of the three names and numbers was taken. */
static void explain_taken(struct netlink *nl, const struct veth_spec *spec)
{
	struct link_info info;

	if (netlink_link_get_index(nl, spec->ifindex, &info) == 0)
		netlink_set_error(nl, "interface number %d is taken by '%s'", spec->ifindex,
				  info.name);
	else if (netlink_link_get(nl, spec->name, &info) == 0)
		netlink_set_error(nl, "interface name '%s' is taken by number %d", spec->name,
				  info.ifindex);
	else
		netlink_set_error(nl, "the container already has an interface '%s'",
				  spec->peer_name);
}

int netlink_veth_add(struct netlink *nl, const struct veth_spec *spec)
{
	struct nlmsghdr *header = netlink_begin(nl, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
	struct nlattr *info, *data;
	char words[sizeof(nl->error)];
	int r;

	put_ifinfo(header, spec->ifindex);
	mnl_attr_put_strz(header, IFLA_IFNAME, spec->name);
	mnl_attr_put(header, IFLA_ADDRESS, sizeof(spec->mac), spec->mac);
	mnl_attr_put_u32(header, IFLA_MTU, spec->mtu);
	info = mnl_attr_nest_start(header, IFLA_LINKINFO);
	mnl_attr_put_strz(header, IFLA_INFO_KIND, "veth");
	data = mnl_attr_nest_start(header, IFLA_INFO_DATA);
	put_peer(header, spec);
	mnl_attr_nest_end(header, data);
	mnl_attr_nest_end(header, info);
	r = netlink_talk(nl, header, NULL, NULL);
	/* An interface number that is taken is -EBUSY for some kernels. */
	if (r == -EBUSY)
		r = -EEXIST;
	if (r == -EEXIST)
		explain_taken(nl, spec);
	if (r < 0)
		return r;
	r = netlink_link_refuse_addresses(nl, spec->ifindex, spec->alias);
	if (r < 0) {
		memcpy(words, nl->error, sizeof(words));
		(void)netlink_link_delete(nl, spec->ifindex);
		memcpy(nl->error, words, sizeof(words));
	}
	return r;
}

static int keep_one(const struct nlmsghdr *header, void *data)
{
	return netlink_link_decode(header, data);
}

static int get_link(struct netlink *nl, int ifindex, const char *name, struct link_info *ret)
{
	struct nlmsghdr *header = netlink_begin(nl, RTM_GETLINK, 0);
	struct link_info info = {};
	int r;

	put_ifinfo(header, ifindex);
	if (name)
		mnl_attr_put_strz(header, IFLA_IFNAME, name);
	mnl_attr_put_u32(header, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	r = netlink_talk(nl, header, keep_one, &info);
	if (r < 0)
		return r;
	if (info.ifindex == 0)
		return -ENODEV;
	*ret = info;
	return 0;
}

int netlink_link_get(struct netlink *nl, const char *name, struct link_info *ret)
{
	/* The kernel's word for a name that no link can have differs from version to version. */
	if (name[0] == '\0' || strlen(name) >= IFNAMSIZ)
		return -ENODEV;
	return get_link(nl, 0, name, ret);
}

int netlink_link_get_index(struct netlink *nl, int ifindex, struct link_info *ret)
{
	return ifindex > 0 ? get_link(nl, ifindex, NULL, ret) : -ENODEV;
}

struct link_array {
	struct link_info *items;
	size_t count, room;
};

static int keep_all(const struct nlmsghdr *header, void *data)
{
	struct link_array *array = data;

	if (header->nlmsg_type != RTM_NEWLINK)
		return 0;
	if (array->count == array->room) {
		size_t room = array->room ? array->room * 2 : 32;
		struct link_info *items = reallocarray(array->items, room, sizeof(*items));

		if (!items)
			return -ENOMEM;
		array->items = items;
		array->room = room;
	}
	if (netlink_link_decode(header, &array->items[array->count]) == 0)
		array->count++;
	return 0;
}

static void forget_all(void *data)
{
	struct link_array *array = data;

	array->count = 0;
}

int netlink_link_list(struct netlink *nl, struct link_info **ret, size_t *ret_count)
{
	struct nlmsghdr *header = netlink_begin(nl, RTM_GETLINK, NLM_F_DUMP);
	struct link_array array = {};
	int r;

	put_ifinfo(header, 0);
	mnl_attr_put_u32(header, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	r = netlink_dump(nl, header, keep_all, forget_all, &array);
	if (r < 0) {
		free(array.items);
		return r;
	}
	*ret = array.items;
	*ret_count = array.count;
	return 0;
}

static int set_flags(struct netlink *nl, int ifindex, unsigned int flags)
{
	struct nlmsghdr *header = netlink_begin(nl, RTM_NEWLINK, 0);
	struct ifinfomsg *message = put_ifinfo(header, ifindex);

	message->ifi_flags = flags;
	message->ifi_change = IFF_UP;
	return netlink_talk(nl, header, NULL, NULL);
}

int netlink_link_set_mtu(struct netlink *nl, int ifindex, uint32_t mtu)
{
	struct nlmsghdr *header = netlink_begin(nl, RTM_NEWLINK, 0);

	put_ifinfo(header, ifindex);
	mnl_attr_put_u32(header, IFLA_MTU, mtu);
	return netlink_talk(nl, header, NULL, NULL);
}

int netlink_link_set_up(struct netlink *nl, int ifindex)
{
	return set_flags(nl, ifindex, IFF_UP);
}

int netlink_link_set_down(struct netlink *nl, int ifindex)
{
	return set_flags(nl, ifindex, 0);
}

int netlink_link_is_running(struct netlink *nl, int ifindex, bool *ret)
{
	struct link_info info;
	int r = netlink_link_get_index(nl, ifindex, &info);

	if (r < 0)
		return r;
	*ret = info.running;
	return 0;
}

int netlink_link_delete(struct netlink *nl, int ifindex)
{
	struct nlmsghdr *header;
	int r;

	if (ifindex <= 0)
		return 0;
	header = netlink_begin(nl, RTM_DELLINK, 0);
	put_ifinfo(header, ifindex);
	r = netlink_talk(nl, header, NULL, NULL);
	return r == -ENODEV ? 0 : r;
}
