/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's VXLAN device in external mode: programs say of each packet where it goes. */
#pragma once

#include "agent/kernel/netlink.h"

struct vxlan_spec {
	const char *name;
	uint8_t mac[6];
	uint16_t port; /* UDP, host byte order */
	uint32_t mtu;
	const char *alias;
};

/* The tunnel's: how it is known again. */
extern const uint8_t netlink_vxlan_mac[6];
/* A VXLAN device with that address. */
bool netlink_vxlan_is_ours(const struct link_info *link);

struct vxlan_info {
	struct link_info link; /* kind "vxlan" if it is one */
	bool external;
	uint16_t port;
};

/* Makes it, set down, without learning, ARP and addresses of its own. -EEXIST: a link has the name,
 * or the kernel cannot tell the device from another one; netlink_error() says what it says. */
int netlink_vxlan_add(struct netlink *nl, const struct vxlan_spec *spec, int *ret_ifindex);
int netlink_vxlan_get(struct netlink *nl, const char *name, struct vxlan_info *ret); /* -ENODEV */
/* Another VXLAN device than `ifindex` with this port; -ENOENT. */
int netlink_vxlan_with_port(struct netlink *nl, uint16_t port, int ifindex, struct vxlan_info *ret);
