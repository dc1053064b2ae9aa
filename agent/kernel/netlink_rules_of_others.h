/* SPDX-License-Identifier: Apache-2.0 */
/* Routing rules of the administrator and of other software that pods' packets pass by: which link
 * they leave by is table main's word. */
#pragma once

#include "agent/kernel/netlink.h"

#define RULE_TEXT 160

struct passed_rules {
	size_t count;
	char first[RULE_TEXT]; /* "100 (IPv4, from 10.244.0.0/16 lookup 200)" */
};

/*
 * Those that would hold for a packet from one of these ranges, which the node's stack forwards
 * without a mark, and that lead it to another table than main or forbid it. 0 or
 * -errno.
 */
int netlink_passed_rules(struct netlink *nl, const struct prefix *ranges, size_t count,
			 struct passed_rules *ret);
