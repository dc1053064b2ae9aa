/* SPDX-License-Identifier: Apache-2.0 */
/* What Polder has made in the kernel's network state, found without any record of it. */
#pragma once

#include "agent/kernel/netlink.h"

enum remain_kind {
	REMAIN_LINK,
	REMAIN_TUNNEL,
	REMAIN_RULE,
	REMAIN_ROUTE,
	REMAIN_NEIGHBOUR,
	REMAIN_FILTER,
};

struct remain {
	enum remain_kind kind;
	char text[160]; /* for people: a name, a prefix, a rule's place */
	int ifindex;
	struct polder_addr addr; /* a neighbour's */
	bool egress;
	enum clsact_position position;
	void *message; /* of the kernel, as it lists it; owned */
};

/*
 * Pods' links (veth pairs by their name, or marked as Polder's), rules, routes and neighbours (not
 * permanent ones) of protocol 80 in all tables, and clsact filters by Polder's name on whatever
 * link. Free with netlink_remains_free(). 0 or -errno.
 */
int netlink_remains_list(struct netlink *nl, struct remain **ret, size_t *ret_count);
void netlink_remains_free(struct remain *list, size_t count); /* takes NULL */
/* Gone already: 0. Else 0 or -errno. */
int netlink_remain_delete(struct netlink *nl, const struct remain *remain);
