/* SPDX-License-Identifier: Apache-2.0 */
/* Which way pods' packets leave the node, and with which source: the content of the map
 * `egress_routes`.
 */
#pragma once

#include "agent/kernel/maps.h"
#include "agent/node/network.h"

struct node_egress {
	struct prefix prefix;
	struct polder_addr source; /* all 0: no address to masquerade with */
	int ifindex;		   /* 0: no way */
	uint16_t reason;	   /* enum polder_reason: why there is none */
};

struct egress_input {
	const struct network *network;
	const int *uplinks; /* ifindices of those that are served */
	size_t uplink_count;
	struct polder_addr node_ip_v4, node_ip_v6; /* configured; all 0: as the kernel chooses */
};

/*
 * One element for each prefix that says something else than the one around it, sorted by address
 * and length: a look-up by the longest prefix finds what the kernel would do. Both families'
 * shortest prefixes are there always. Each uplink's own address stands there with the uplink and
 * itself: with that source a flow may go on by that uplink. `*ret` is the caller's: free(). 0 or
 * -ENOMEM.
 */
int egress_routes_compute(const struct egress_input *input, struct node_egress **ret,
			  size_t *ret_count);
/* The element that a look-up finds; NULL: none. */
const struct node_egress *egress_routes_find(const struct node_egress *ways, size_t count,
					     const struct polder_addr *to);
