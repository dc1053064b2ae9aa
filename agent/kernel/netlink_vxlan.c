/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kernel/netlink_vxlan.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "agent/kernel/netlink_internal.h"

const uint8_t netlink_vxlan_mac[6] = {0x02, 'p', 'l', 't', 'u', 'n'};

bool netlink_vxlan_is_ours(const struct link_info *link)
{
	return strcmp(link->kind, "vxlan") == 0 &&
	       memcmp(link->mac, netlink_vxlan_mac, sizeof(netlink_vxlan_mac)) == 0;
}

static void put_data(struct nlmsghdr *header, const struct vxlan_spec *spec)
{
	struct nlattr *info = mnl_attr_nest_start(header, IFLA_LINKINFO), *data;

	mnl_attr_put_strz(header, IFLA_INFO_KIND, "vxlan");
	data = mnl_attr_nest_start(header, IFLA_INFO_DATA);
	mnl_attr_put_u8(header, IFLA_VXLAN_COLLECT_METADATA, 1);
	mnl_attr_put_u8(header, IFLA_VXLAN_LEARNING, 0);
	mnl_attr_put_u16(header, IFLA_VXLAN_PORT, htons(spec->port));
	/* Without a checksum a datagram of IPv6 is not for everybody (RFC 6935). */
	mnl_attr_put_u8(header, IFLA_VXLAN_UDP_ZERO_CSUM6_TX, 0);
	mnl_attr_put_u8(header, IFLA_VXLAN_UDP_ZERO_CSUM6_RX, 0);
	mnl_attr_nest_end(header, data);
	mnl_attr_nest_end(header, info);
}

int netlink_vxlan_add(struct netlink *nl, const struct vxlan_spec *spec, int *ret_ifindex)
{
	struct nlmsghdr *header = netlink_begin(nl, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
	struct ifinfomsg *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));
	char words[sizeof(nl->error)];
	struct link_info link;
	int r;

	message->ifi_family = AF_UNSPEC;
	message->ifi_flags = IFF_NOARP;
	message->ifi_change = IFF_NOARP;
	mnl_attr_put_strz(header, IFLA_IFNAME, spec->name);
	mnl_attr_put(header, IFLA_ADDRESS, sizeof(spec->mac), spec->mac);
	mnl_attr_put_u32(header, IFLA_MTU, spec->mtu);
	put_data(header, spec);
	r = netlink_talk(nl, header, NULL, NULL);
	if (r == 0)
		r = netlink_link_get(nl, spec->name, &link);
	if (r < 0)
		return r;
	r = netlink_link_refuse_addresses(nl, link.ifindex, spec->alias);
	if (r < 0) {
		memcpy(words, nl->error, sizeof(words));
		(void)netlink_link_delete(nl, link.ifindex);
		memcpy(nl->error, words, sizeof(words));
		return r;
	}
	*ret_ifindex = link.ifindex;
	return 0;
}

static void decode_data(const struct nlattr *nest, struct vxlan_info *info)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, nest)
	{
		if (mnl_attr_get_type(attr) == IFLA_VXLAN_PORT &&
		    mnl_attr_validate(attr, MNL_TYPE_U16) == 0)
			info->port = ntohs(mnl_attr_get_u16(attr));
		if (mnl_attr_get_type(attr) == IFLA_VXLAN_COLLECT_METADATA &&
		    mnl_attr_validate(attr, MNL_TYPE_U8) == 0)
			info->external = mnl_attr_get_u8(attr);
	}
}

static bool decode(const struct nlmsghdr *header, struct vxlan_info *ret)
{
	struct vxlan_info info = {};
	const struct nlattr *attr, *inner;

	if (header->nlmsg_type != RTM_NEWLINK || netlink_link_decode(header, &info.link) < 0)
		return false;
	mnl_attr_for_each(attr, header, sizeof(struct ifinfomsg))
	{
		if (mnl_attr_get_type(attr) != IFLA_LINKINFO)
			continue;
		mnl_attr_for_each_nested(inner, attr)
		{
			if (mnl_attr_get_type(inner) == IFLA_INFO_DATA &&
			    strcmp(info.link.kind, "vxlan") == 0)
				decode_data(inner, &info);
		}
	}
	*ret = info;
	return true;
}

static int keep_one(const struct nlmsghdr *header, void *data)
{
	(void)decode(header, data);
	return 0;
}

int netlink_vxlan_get(struct netlink *nl, const char *name, struct vxlan_info *ret)
{
	struct nlmsghdr *header = netlink_begin(nl, RTM_GETLINK, 0);
	struct ifinfomsg *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));
	struct vxlan_info info = {};
	int r;

	message->ifi_family = AF_UNSPEC;
	mnl_attr_put_strz(header, IFLA_IFNAME, name);
	mnl_attr_put_u32(header, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	r = netlink_talk(nl, header, keep_one, &info);
	if (r < 0)
		return r;
	if (info.link.ifindex == 0)
		return -ENODEV;
	*ret = info;
	return 0;
}

struct search {
	uint16_t port;
	int ifindex;
	struct vxlan_info found;
};

static int keep_with_port(const struct nlmsghdr *header, void *data)
{
	struct search *search = data;
	struct vxlan_info info;

	if (decode(header, &info) && strcmp(info.link.kind, "vxlan") == 0 &&
	    info.port == search->port && info.link.ifindex != search->ifindex)
		search->found = info;
	return 0;
}

static void forget_found(void *data)
{
	((struct search *)data)->found = (struct vxlan_info){};
}

int netlink_vxlan_with_port(struct netlink *nl, uint16_t port, int ifindex, struct vxlan_info *ret)
{
	struct nlmsghdr *header = netlink_begin(nl, RTM_GETLINK, NLM_F_DUMP);
	struct ifinfomsg *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));
	struct search search = {.port = port, .ifindex = ifindex};
	int r;

	message->ifi_family = AF_UNSPEC;
	mnl_attr_put_u32(header, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	r = netlink_dump(nl, header, keep_with_port, forget_found, &search);
	if (r < 0)
		return r;
	if (!search.found.link.ifindex)
		return -ENOENT;
	*ret = search.found;
	return 0;
}
