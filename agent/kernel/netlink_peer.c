/* SPDX-License-Identifier: Apache-2.0 */
/* The other side of a veth pair, in whatever namespace it is. */
#include "agent/kernel/netlink.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "agent/kernel/netlink_internal.h"

/* Of a link's answer. */
struct peer {
	int ifindex;	/* of the other side; 0: none is told */
	int netns;	/* the namespace's number here; -1: this one */
	uint8_t mac[6]; /* of the link that was asked for */
	bool has_mac;
};

static int read_peer(const struct nlmsghdr *header, void *data)
{
	struct peer *peer = data;
	const struct nlattr *attr;

	if (header->nlmsg_type != RTM_NEWLINK ||
	    mnl_nlmsg_get_payload_len(header) < sizeof(struct ifinfomsg))
		return 0;
	mnl_attr_for_each(attr, header, sizeof(struct ifinfomsg))
	{
		switch (mnl_attr_get_type(attr)) {
		case IFLA_LINK:
			if (mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
				peer->ifindex = (int)mnl_attr_get_u32(attr);
			break;
		case IFLA_LINK_NETNSID:
			if (mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
				peer->netns = (int)mnl_attr_get_u32(attr);
			break;
		case IFLA_ADDRESS:
			peer->has_mac = mnl_attr_get_payload_len(attr) == sizeof(peer->mac);
			if (peer->has_mac)
				memcpy(peer->mac, mnl_attr_get_payload(attr), sizeof(peer->mac));
			break;
		default:
			break;
		}
	}
	return 0;
}

/* `netns` -1: of this namespace. */
static int ask(struct netlink *nl, int ifindex, int netns, struct peer *ret)
{
	struct nlmsghdr *header = netlink_begin(nl, RTM_GETLINK, 0);
	struct ifinfomsg *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));

	message->ifi_family = AF_UNSPEC;
	message->ifi_index = ifindex;
	if (netns >= 0)
		mnl_attr_put_u32(header, IFLA_TARGET_NETNSID, (uint32_t)netns);
	*ret = (struct peer){.netns = -1};
	return netlink_talk(nl, header, read_peer, ret);
}

int netlink_link_peer_mac(struct netlink *nl, int ifindex, uint8_t ret_mac[6])
{
	struct peer here, there;
	int r = ask(nl, ifindex, -1, &here);

	if (r == 0 && here.ifindex <= 0)
		r = -ENOENT;
	if (r == 0)
		r = ask(nl, here.ifindex, here.netns, &there);
	if (r == 0 && !there.has_mac)
		r = -ENOENT;
	if (r == 0)
		memcpy(ret_mac, there.mac, sizeof(there.mac));
	return r;
}
