/* SPDX-License-Identifier: Apache-2.0 */
/* Can a link send from XDP? Asked of the generic netlink family "netdev" (Linux 6.3,
 * Documentation/netlink/specs/netdev.yaml). */
#include <errno.h>
#include <linux/genetlink.h>
#include <string.h>

#include "agent/kernel/netlink_internal.h"

/* From linux/netdev.h, which the headers of Debian 12 do not have. */
#define NETDEV_FAMILY		 "netdev"
#define NETDEV_COMMAND_GET	 1
#define NETDEV_ATTR_IFINDEX	 1
#define NETDEV_ATTR_XDP_FEATURES 3
#define NETDEV_XDP_NDO_XMIT	 (1u << 2)

static struct nlmsghdr *begin_command(struct netlink *nl, uint16_t family, uint8_t command)
{
	struct nlmsghdr *header = netlink_begin(nl, family, 0);
	struct genlmsghdr *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));

	message->cmd = command;
	message->version = 1;
	return header;
}

static int read_family(const struct nlmsghdr *header, void *data)
{
	uint16_t *family = data;
	const struct nlattr *attr;

	mnl_attr_for_each(attr, header, sizeof(struct genlmsghdr))
	{
		if (mnl_attr_get_type(attr) == CTRL_ATTR_FAMILY_ID &&
		    mnl_attr_validate(attr, MNL_TYPE_U16) == 0)
			*family = mnl_attr_get_u16(attr);
	}
	return 0;
}

static int read_features(const struct nlmsghdr *header, void *data)
{
	uint64_t *features = data;
	const struct nlattr *attr;

	mnl_attr_for_each(attr, header, sizeof(struct genlmsghdr))
	{
		if (mnl_attr_get_type(attr) == NETDEV_ATTR_XDP_FEATURES &&
		    mnl_attr_validate(attr, MNL_TYPE_U64) == 0)
			*features = mnl_attr_get_u64(attr);
	}
	return 0;
}

static int ask_features(struct netlink *nl, int ifindex, uint64_t *ret)
{
	struct nlmsghdr *header = begin_command(nl, GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
	uint16_t family = 0;
	int r;

	mnl_attr_put_strz(header, CTRL_ATTR_FAMILY_NAME, NETDEV_FAMILY);
	r = netlink_talk(nl, header, read_family, &family);
	if (r < 0)
		return r;
	if (!family)
		return -ENOENT;
	header = begin_command(nl, family, NETDEV_COMMAND_GET);
	mnl_attr_put_u32(header, NETDEV_ATTR_IFINDEX, (uint32_t)ifindex);
	return netlink_talk(nl, header, read_features, ret);
}

int netlink_xdp_sends(const struct link_info *link)
{
	uint64_t features = 0;
	struct netlink *nl;
	int r;

	/* A driver that runs XDP programs sends what they give back (XDP_TX); of a veth pair it is
	 * the other side that has to be ready. */
	if (!link->is_veth)
		return 1;
	r = netlink_open_protocol(-1, NETLINK_GENERIC, &nl);
	if (r < 0)
		return r;
	r = ask_features(nl, link->ifindex, &features);
	netlink_close(nl);
	return r < 0 ? r : !!(features & NETDEV_XDP_NDO_XMIT);
}
