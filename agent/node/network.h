/* SPDX-License-Identifier: Apache-2.0 */
/* The node's network as the kernel has it at one moment, without the links of pods and what leads
 * there. */
#pragma once

#include "agent/kernel/netlink_network.h"

struct network {
	struct link_info *links;
	struct address_info *addresses; /* by link, those of a link in the kernel's order */
	struct route_info *routes;
	struct address_label *labels;
	size_t link_count, address_count, route_count, label_count;
};

/* 0 or -errno. */
int network_read(struct netlink *nl, struct network *ret);
/* Puts addresses in the order that the others need: network_read() has. 0 or -ENOMEM. */
int network_sort(struct network *network);
void network_clear(struct network *network); /* takes a zeroed one */
/* A pod's host side: its comings and goings change nothing here. */
bool network_is_pods(const struct link_info *link);
/* Is all that Polder looks at the same? */
bool network_equal(const struct network *a, const struct network *b);
const struct link_info *network_link(const struct network *network, int ifindex); /* NULL */
const struct link_info *network_link_named(const struct network *network, const char *name);
/* How many bits from the first on are the same. */
unsigned int network_common_bits(const struct polder_addr *a, const struct polder_addr *b);
bool network_has_address(const struct network *network, const struct polder_addr *addr);

/*
 * Which address of the node a packet that leaves by a route gets, as the kernel chooses it: the
 * route's own, else for IPv4 the link's first address in the gateway's network
 * (inet_select_addr()), for IPv6 by RFC 6724. Differently from the kernel, deprecated addresses
 * come last in both families, and temporary ones behind public ones whatever use_tempaddr says. All
 * zero: none.
 */
struct polder_addr network_source(const struct network *network, const struct route_info *route,
				  const struct polder_addr *destination);
