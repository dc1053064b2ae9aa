/* SPDX-License-Identifier: Apache-2.0 */
/* Routes of the whole host, by one dump for each family. */
#pragma once

#include "agent/kernel/netlink.h"

/* A route of the main table as the kernel tells it. */
struct kernel_route {
	struct prefix destination;
	uint8_t family;	  /* enum polder_family */
	bool is_ours;	  /* of Polder's protocol */
	bool has_gateway; /* of its own family, and the only next hop */
	struct polder_addr gateway;
	struct polder_addr source; /* that the node's own packets leave with; all 0: none */
	int ifindex;		   /* 0: none, or several next hops */
};

/*
 * All routes of a family (enum polder_family) with Polder's protocol in the main table. The kernel
 * leaves out those of others: 50,000 of them cost it some milliseconds. 0 or -errno; `*ret` is the
 * caller's.
 */
int netlink_own_routes(struct netlink *nl, uint8_t family, struct kernel_route **ret,
		       size_t *ret_count);
/* The route that packets to the destination's first address take now. 0, -ENOENT (none, or one that
 * forbids) or -errno. */
int netlink_route_to(struct netlink *nl, const struct prefix *destination,
		     struct kernel_route *ret);
