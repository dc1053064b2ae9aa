/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network namespace's addresses, routes and address labels as a whole. Prefixes are counted in
 * 128 bits, so that the IPv4 default route is ::ffff:0.0.0.0/96. Elements are zeroed before they
 * are filled: equal ones are equal as bytes.
 */
#pragma once

#include "agent/kernel/netlink.h"

struct address_info {
	struct prefix prefix; /* of the network, with the address's host bits */
	int ifindex;
	uint32_t flags; /* IFA_F_* */
	uint8_t scope;	/* RT_SCOPE_* */
};

/* A route of the table main; of one with several ways the first that is alive. */
struct route_info {
	struct prefix destination;
	int ifindex; /* 0: it has no way, or none that is alive */
	uint32_t priority;
	uint8_t type; /* RTN_* */
	uint8_t scope;
	uint8_t protocol;
	bool has_gateway, has_source;
	struct polder_addr gateway; /* may be of the other family */
	struct polder_addr source;  /* that the administrator or DHCP prefers */
};

/* ip-addrlabel(8), RFC 6724. */
struct address_label {
	struct prefix prefix;
	int ifindex; /* 0: of all links */
	uint32_t label;
};

/* The arrays are the caller's: free(). 0 or -errno. */
int netlink_all_addresses(struct netlink *nl, struct address_info **ret, size_t *ret_count);
int netlink_all_routes(struct netlink *nl, struct route_info **ret, size_t *ret_count);
int netlink_all_labels(struct netlink *nl, struct address_label **ret, size_t *ret_count);
