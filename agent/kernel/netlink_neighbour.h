/* SPDX-License-Identifier: Apache-2.0 */
/* Neighbours that the kernel is to keep known, whether anybody speaks to them or not. */
#pragma once

#include "agent/kernel/netlink.h"

struct nlmsghdr;

/* An entry of the kernel's table. */
struct neighbour_info {
	int ifindex;
	struct polder_addr addr;
	uint16_t state;	  /* NUD_* */
	uint8_t flags;	  /* NTF_* */
	bool is_managed;  /* the kernel probes it again and again: since Linux 5.16 */
	uint8_t protocol; /* who made it: NETLINK_ROUTE_PROTOCOL is Polder; 0: nobody says */
};

/* False: the message holds no neighbour with an address of a family of ours. */
bool netlink_neighbour_decode(const struct nlmsghdr *header, struct neighbour_info *ret);
/* 0; -ENOENT, also where the link is no more. */
int netlink_neighbour_get(struct netlink *nl, int ifindex, const struct polder_addr *addr,
			  struct neighbour_info *ret);
/* All of both families; the caller's array, free(). 0 or -errno. */
int netlink_neighbour_list(struct netlink *nl, struct neighbour_info **ret, size_t *ret_count);
/* Is it an administrator's or a routing daemon's, or of a link that has no neighbours? Then the
 * next two leave it alone. */
bool netlink_neighbour_is_others(const struct neighbour_info *info);
/* Asks for its MAC address, now and whenever that is in doubt; the entry is marked as Polder's, and
 * no garbage collection takes it. Before Linux 5.16: now alone. 0 or -errno. */
int netlink_neighbour_keep(struct netlink *nl, int ifindex, const struct polder_addr *addr);
int netlink_neighbour_delete(struct netlink *nl, int ifindex,
			     const struct polder_addr *addr); /* gone already: 0 */
